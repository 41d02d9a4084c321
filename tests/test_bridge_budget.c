#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/core.h"
#include "tests/bridge_rig.h"

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.max_new_clients = 3;
    o.config.max_writes = 4;
    *state = rig_new(&o);
    play(*state, "broker up\n"
                 "    * BROKER_UP\n");
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

static void reconnect(struct rig *r, const char *peer, const char *id)
{
    rig_frame(r, peer,
              &(struct sn_packet){
                  .type = SN_CONNECT,
                  .connect = {.protocol_id = SN_PROTOCOL_ID, .client_id = sn_bytes_text(id)}});
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
}

/* A session costs a record, and a place that is not there for others. */
static void names_that_are_new_are_limited_for_each_address(void **state)
{
    struct rig *r = *state;
    reconnect(r, "x", "a");
    reconnect(r, "x", "b");
    reconnect(r, "x", "c");
    play(r, "x > CONNECT client_id='d'\n"
            "    * NEW_CLIENT_LIMIT\n"
            "    * CLIENT_REFUSED d: max_new_clients\n"
            "    x < CONNACK code=congestion\n"
            "y > CONNECT client_id='d'\n"
            "    save session 4\n"
            "stored\n"
            "    * CLIENT_CONNECTED d\n"
            "    y < CONNACK code=accepted\n"
            "x > CONNECT client_id='a'\n"
            "    * CLIENT_REPLACED c: a\n"
            "    * CLIENT_LOST c: active\n"
            "    save session 3 lazy\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    x < CONNACK code=accepted\n"
            "wait 19999\n"
            "x > CONNECT client_id='e'\n"
            "    * NEW_CLIENT_LIMIT\n"
            "    * CLIENT_REFUSED e: max_new_clients\n"
            "    x < CONNACK code=congestion\n"
            "wait 1\n"
            "x > CONNECT client_id='e'\n"
            "    * CLIENT_REPLACED a: e\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "    save session 5\n"
            "stored\n"
            "    * CLIENT_CONNECTED e\n"
            "    x < CONNACK code=accepted\n");
}

/* Node ids are for a forwarder to make up. */
static void nodes_behind_one_forwarder_are_one_address(void **state)
{
    struct rig *r = *state;
    reconnect(r, "f/1", "a");
    reconnect(r, "f/2", "b");
    reconnect(r, "f/3", "c");
    play(r, "f/4 > CONNECT client_id='d'\n"
            "    * NEW_CLIENT_LIMIT\n"
            "    * CLIENT_REFUSED d: max_new_clients\n"
            "    f/4 < CONNACK code=congestion\n");
}

/* Who asks again and again hears why at first, and then nothing: the air is for others. */
static void refusals_are_limited_too(void **state)
{
    struct rig *r = *state;
    reconnect(r, "x", "a");
    reconnect(r, "x", "b");
    reconnect(r, "x", "c");
    for (int i = 0; i < 10; i++)
        play(r, "x > CONNECT client_id='d'\n"
                "    * NEW_CLIENT_LIMIT\n"
                "    * CLIENT_REFUSED d: max_new_clients\n"
                "    x < CONNACK code=congestion\n");
    play(r, "x > CONNECT client_id='d'\n"
            "    * NEW_CLIENT_LIMIT\n"
            "    * CLIENT_REFUSED d: max_new_clients\n");
}

static void writes_are_limited_for_each_client(void **state)
{
    struct rig *r = *state;
    reconnect(r, "a", "a");
    play(r, "a > REGISTER mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "stored\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n"
            "a > SUBSCRIBE qos=0 mid=2 name='t/+'\n"
            "    subscribe 1 qos=0 t/+ retained\n"
            "subscribed 1 0\n"
            "    save filter 1 1 qos=0 t/+\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=2 code=accepted\n"
            "a > WILLTOPICUPD qos=0 topic='w'\n"
            "    save will 1\n"
            "stored\n"
            "    a < WILLTOPICRESP code=accepted\n"
            "a > WILLMSGUPD message='x'\n"
            "    save will 1\n"
            "stored\n"
            "    a < WILLMSGRESP code=accepted\n"
            "a > WILLMSGUPD message='y'\n"
            "    * WRITE_LIMIT a\n"
            "    a < WILLMSGRESP code=congestion\n"
            "a > WILLTOPICUPD qos=0 topic='v'\n"
            "    * WRITE_LIMIT a\n"
            "    a < WILLTOPICRESP code=congestion\n"
            "a > REGISTER mid=3 name='t/2'\n"
            "    * WRITE_LIMIT a\n"
            "    a < REGACK tid=0 mid=3 code=congestion\n"
            "a > REGISTER mid=4 name='t/1'\n"
            "    a < REGACK tid=1 mid=4 code=accepted\n"
            "a > SUBSCRIBE qos=0 mid=5 name='u'\n"
            "    * WRITE_LIMIT a\n"
            "    * SUBSCRIPTION_REFUSED a: max_writes\n"
            "    a < SUBACK qos=0 tid=0 mid=5 code=congestion\n"
            "a > UNSUBSCRIBE mid=6 name='t/+'\n"
            "    * WRITE_LIMIT a\n"
            "a > CONNECT client_id='a'\n"
            "    * WRITE_LIMIT a\n"
            "    * CLIENT_REFUSED a: max_writes\n"
            "    a < CONNACK code=congestion\n"
            "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    * WRITE_LIMIT a\n"
            "    save session 1 lazy\n"
            "stored\n"
            "    a < DISCONNECT\n");
    reconnect(r, "b", "b");
    rig_pass(r, 1);
    play(r, "b > REGISTER mid=1 name='t/1'\n"
            "    save topic 2 1 t/1\n"
            "stored\n"
            "    b < REGACK tid=1 mid=1 code=accepted\n");
}

static void the_budget_comes_back_with_the_time(void **state)
{
    struct rig *r = *state;
    reconnect(r, "a", "a");
    for (int i = 0; i < 4; i++)
        reconnect(r, "a", "a");
    play(r, "wait 149999\n"
            "a > CONNECT client_id='a'\n"
            "    * WRITE_LIMIT a\n"
            "    * CLIENT_REFUSED a: max_writes\n"
            "    a < CONNACK code=congestion\n"
            "wait 1\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > CONNECT client_id='a'\n"
            "    * WRITE_LIMIT a\n"
            "    * CLIENT_REFUSED a: max_writes\n"
            "    a < CONNACK code=congestion\n");
}

/* ---- memory -------------------------------------------------------------------- */

/* Three quarters of the memory are taken by messages that wait. */
static int begin_full(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.links[0].frame_max = 65000;
    o.config.qos0_backlog = o.config.max_live = 100000;
    o.config.max_backlog = 100000;
    struct rig *r = *state = rig_new(&o);
    static const uint8_t data[60000];
    rig_broker_up(r, false, 50, 2);
    rig_conn_down(r, 0, 0);
    reconnect(r, "a", "a");
    play(r, "a > REGISTER mid=1 name='t'\n"
            "    save topic 1 1 t\n"
            "stored\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n"
            "a > SUBSCRIBE qos=0 mid=2 name='t/#'\n"
            "    save filter 1 1 qos=0 t/#\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=2 code=accepted\n");
    while (!bridge_is_memory_short(rig_bridge(r)))
        rig_frame(r, "a",
                  &(struct sn_packet){.type = SN_PUBLISH,
                                      .publish = {.kind = SN_TOPIC_PREDEFINED,
                                                  .tid = 1,
                                                  .data = sn_bytes(data, sizeof(data))}});
    rig_skip(r);
    return 0;
}

/* What is asked for and stays does not take the rest, which others need to be served at all. */
static void subscriptions_and_ids_leave_memory_to_others(void **state)
{
    struct rig *r = *state;
    play(r, "a > SUBSCRIBE qos=0 mid=3 name='u/#'\n"
            "    * MEMORY_FULL a: u/#\n"
            "    * SUBSCRIPTION_REFUSED a: memory\n"
            "    a < SUBACK qos=0 tid=0 mid=3 code=congestion\n"
            "a > REGISTER mid=4 name='u'\n"
            "    * MEMORY_FULL a: u\n"
            "    a < REGACK tid=0 mid=4 code=congestion\n"
            "a > REGISTER mid=5 name='t'\n"
            "    a < REGACK tid=1 mid=5 code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=6 name='t/#'\n"
            "    save filter 1 1 qos=1 t/#\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=6 code=accepted\n"
            "b > CONNECT client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "b > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 77 qos=1 pre/one 'x'\n"
            "stored\n"
            "    b < PUBACK tid=1 mid=1 code=accepted\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_that_are_new_are_limited_for_each_address),
        TEST(nodes_behind_one_forwarder_are_one_address),
        TEST(refusals_are_limited_too),
        TEST(writes_are_limited_for_each_client),
        TEST(the_budget_comes_back_with_the_time),
        cmocka_unit_test_setup_teardown(subscriptions_and_ids_leave_memory_to_others, begin_full,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
