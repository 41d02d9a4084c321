#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mqttsn/bytes.h"
#include "tests/bridge_rig.h"

#define HOUR 3600000

/* Client "t" has a broker connection of its own. */
static const struct bridge_mode modes[] = {{.pattern = "t", .transparent = true}};

/* A clean session lasts three hours, one that was used once two, any other five. */
static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.max_clients = 3;
    o.config.expire_clean_s = 3 * 3600;
    o.config.expire_unreturned_s = 2 * 3600;
    o.config.expire_persistent_s = 5 * 3600;
    o.config.modes = modes;
    o.config.mode_count = sizeof(modes) / sizeof(modes[0]);
    *state = rig_new(&o);
    play(*state, "broker up\n"
                 "    * BROKER_UP\n"
                 "wait 3600000\n"); /* nothing expires in the first hour */
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

static void reconnect(struct rig *r, const char *id, bool clean)
{
    rig_frame(r, id,
              &(struct sn_packet){.type = SN_CONNECT,
                                  .connect = {.protocol_id = SN_PROTOCOL_ID,
                                              .clean = clean,
                                              .client_id = sn_bytes_text(id)}});
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
}

static void leave(struct rig *r, const char *id)
{
    rig_frame(r, id, &(struct sn_packet){.type = SN_DISCONNECT});
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
}

static uint32_t clients(const struct rig *r)
{
    struct bridge_status s;
    rig_status(r, &s);
    return s.clients;
}

/* It could be silent for ever, as far as the protocol is concerned. */
static void a_clean_session_without_supervision_ends(void **state)
{
    struct rig *r = *state;
    reconnect(r, "a", true);
    rig_pass(r, 2 * HOUR);
    play(r, "a > PINGREQ\n"
            "    a < PINGRESP\n"
            "wait 10799999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: active\n"
            "    erase all of 1\n");
    assert_int_equal(clients(r), 0);
}

static void a_session_whose_client_does_not_come_back_ends(void **state)
{
    struct rig *r = *state;
    reconnect(r, "a", false);
    reconnect(r, "a", false);
    leave(r, "a");
    rig_pass(r, 5 * HOUR - 1);
    play(r, "wait 1\n"
            "    +1\n"
            "    * SESSION_EXPIRED a\n"
            "    erase all of 1\n");
    assert_int_equal(clients(r), 0);
    reconnect(r, "a", false);
    reconnect(r, "a", false);
    play(r, "wait 18000000\n"
            "    +18000000\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 2 lazy\n"
            "    * SESSION_EXPIRED a\n"
            "    erase all of 2\n");
}

static void who_came_once_and_left_nothing_is_kept_for_less(void **state)
{
    struct rig *r = *state;
    reconnect(r, "a", false);
    reconnect(r, "b", false);
    play(r, "b > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP b\n"
            "    save session 2\n"
            "stored\n"
            "    b < DISCONNECT\n"
            "b > PINGREQ client_id='b'\n"
            "    * CLIENT_AWAKE b\n"
            "    b < PINGRESP\n");
    leave(r, "a");
    leave(r, "b");
    play(r, "wait 7200000\n"
            "    +7200000\n"
            "    * SESSION_EXPIRED a\n"
            "    erase all of 1\n"
            "wait 10800000\n"
            "    +10800000\n"
            "    * SESSION_EXPIRED b\n"
            "    erase all of 2\n");
}

/* They were accepted for it, and are counted. */
static void what_waits_for_who_expires_is_dropped(void **state)
{
    struct rig *r = *state;
    struct bridge_status s;
    reconnect(r, "a", false);
    play(r, "a > SUBSCRIBE qos=1 mid=1 name='t/+'\n"
            "    subscribe 1 qos=1 t/+ retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t/+\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n");
    leave(r, "a");
    play(r, "message token 1 qos=1 t/1 'x'\n"
            "    store 4 for 1 qos=1 t/1 'x'\n"
            "    save account lazy\n"
            "stored\n"
            "    accept 1\n"
            "wait 18000000\n"
            "    +18000000\n"
            "    * SESSION_EXPIRED a\n"
            "    unsubscribe 2 t/+\n"
            "    erase all of 1\n"
            "    save account lazy\n");
    rig_status(r, &s);
    assert_true(s.clients == 0 && s.subscriptions == 0);
    assert_true(s.down.accepted == 1 && s.down.dropped == 1 && s.down.queued == 0);
}

/* Nobody could come back while the bridge was away. */
static void a_restart_forgets_no_deadline_but_waits_for_an_hour(void **state)
{
    struct rig *r = *state;
    reconnect(r, "a", false);
    reconnect(r, "b", false);
    reconnect(r, "b", false);
    leave(r, "a");
    leave(r, "b");
    rig_pass(r, 2 * HOUR - 1);
    play(r, "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 3599999\n"
            "wait 1\n"
            "    +1\n"
            "    * SESSION_EXPIRED a\n"
            "    erase all of 1\n"
            "wait 7200001\n"
            "    +7200001\n"
            "    * SESSION_EXPIRED b\n"
            "    erase all of 2\n");
}

/* What was saved before it was known who has returned. */
static void a_session_of_an_early_store_counts_as_one_that_returned(void **state)
{
    struct rig *r = *state;
    uint8_t value[128];
    struct sn_writer w = sn_writer(value, sizeof(value));
    reconnect(r, "a", false);
    sn_write_u8(&w, 1);
    sn_write_u8(&w, 0);
    sn_write_u8(&w, 0);
    sn_write_u32(&w, 0);
    sn_write_u64(&w, rig_now(r));
    sn_write_u16(&w, 0);
    sn_write_u16(&w, 1);
    sn_write_u8(&w, 'a');
    sn_write_u16(&w, 0);
    sn_write_u16(&w, 0);
    sn_write_u8(&w, 0);
    sn_write_u16(&w, 0);
    for (int i = 0; i < 8; i++)
        sn_write_u64(&w, 0);
    rig_spoil(r, 1, BRIDGE_RECORD_SESSION, 0, sn_bytes(value, sn_writer_len(&w)));
    play(r, "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 17999999\n"
            "wait 1\n"
            "    +1\n"
            "    * SESSION_EXPIRED a\n"
            "    erase all of 1\n");
}

/* What an own connection has left to send is not dropped with the session, and the broker is
 * told that nobody will come. */
static void a_session_with_a_connection_of_its_own_ends_at_the_broker_too(void **state)
{
    struct rig *r = *state;
    play(r, "t > CONNECT client_id='t'\n"
            "    connect via 1 't'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 down\n"
            "    * CONNECTION_FAILED t: gone\n"
            "    * CLIENT_CONNECTED t\n"
            "    t < CONNACK code=accepted\n"
            "t > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 2 via 1 qos=1 pre/one 'x'\n"
            "    save account lazy\n"
            "stored\n"
            "    t < PUBACK tid=1 mid=1 code=accepted\n"
            "t > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED t\n"
            "    save session 1\n"
            "stored\n"
            "    t < DISCONNECT\n"
            "wait 36000000\n"
            "    +816\n"
            "    connect via 1 't'\n"
            "broker 1 up\n"
            "    * CONNECTION_UP t\n"
            "    publish 2 via 1 qos=1 pre/one 'x'\n"
            "delivered 2\n"
            "    forget 2 via 1 lazy\n"
            "    save account lazy\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1\n"
            "    * SESSION_EXPIRED t\n"
            "    connect via 1 't' clean\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "broker 1 up\n"
            "    * CONNECTION_UP t\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1 forget\n"
            "    erase all of 1\n");
    assert_int_equal(clients(r), 0);
}

/* A crowd of names is not to lock newcomers out. */
static void at_max_clients_who_was_silent_for_longest_makes_room(void **state)
{
    struct rig *r = *state;
    for (char id[] = "a"; id[0] < 'd'; id[0]++) {
        reconnect(r, id, false);
        rig_pass(r, 1000);
    }
    leave(r, "b");
    rig_pass(r, 1000);
    leave(r, "a");
    rig_pass(r, 1000);
    play(r, "d > CONNECT client_id='d'\n"
            "    * SESSION_REPLACED b\n"
            "    erase all of 2\n"
            "    save session 4\n"
            "stored\n"
            "    * CLIENT_CONNECTED d\n"
            "    d < CONNACK code=accepted\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "e > CONNECT client_id='e'\n"
            "    * SESSION_REPLACED a\n"
            "    erase all of 1\n"
            "    save session 5\n"
            "stored\n"
            "    * CLIENT_CONNECTED e\n"
            "    e < CONNACK code=accepted\n"
            "f > CONNECT client_id='f'\n"
            "    * CLIENT_LIMIT f\n"
            "    * CLIENT_REFUSED f: limit\n"
            "    f < CONNACK code=congestion\n");
}

static void who_holds_something_makes_no_room(void **state)
{
    struct rig *r = *state;
    reconnect(r, "a", false);
    reconnect(r, "b", false);
    reconnect(r, "c", false);
    play(r, "a > SUBSCRIBE qos=1 mid=1 name='t/+'\n"
            "    subscribe 1 qos=1 t/+ retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t/+\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "b > SUBSCRIBE qos=1 mid=1 name='u/+'\n"
            "    subscribe 2 qos=1 u/+ retained\n"
            "subscribed 2 1\n"
            "    save filter 2 1 qos=1 u/+\n"
            "stored\n"
            "    b < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "b > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP b\n"
            "    save session 2\n"
            "stored\n"
            "    b < DISCONNECT\n"
            "message token 1 qos=1 expiry 60 u/1 'x'\n"
            "    store 7 for 2 qos=1 u/1 'x'\n"
            "    save account lazy\n"
            "stored\n"
            "    accept 1\n"
            "b > UNSUBSCRIBE mid=2 name='u/+'\n"
            "    erase filter 2 1\n"
            "    unsubscribe 3 u/+\n"
            "stored\n"
            "    b < UNSUBACK mid=2\n"
            "c > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 10 qos=2 pre/one 'x'\n"
            "stored\n"
            "    c < PUBREC mid=1\n"
            "    publish 10 qos=2 pre/one 'x'\n"
            "delivered 10\n"
            "    mark 10 delivered\n");
    leave(r, "a");
    leave(r, "b");
    leave(r, "c");
    play(r, "d > CONNECT client_id='d'\n"
            "    * CLIENT_LIMIT d\n"
            "    * CLIENT_REFUSED d: limit\n"
            "    d < CONNACK code=congestion\n");
}

/* The broker answers when the client has left. */
static void a_subscription_that_is_granted_late_is_held_as_well(void **state)
{
    struct rig *r = *state;
    reconnect(r, "a", false);
    play(r, "a > SUBSCRIBE qos=1 mid=1 name='t/+'\n"
            "    subscribe 1 qos=1 t/+ retained\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t/+\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n");
    reconnect(r, "b", false);
    reconnect(r, "c", false);
    play(r, "d > CONNECT client_id='d'\n"
            "    * CLIENT_LIMIT d\n"
            "    * CLIENT_REFUSED d: limit\n"
            "    d < CONNACK code=congestion\n");
    leave(r, "b");
    leave(r, "c");
    rig_pass(r, 3 * HOUR);
    assert_int_equal(clients(r), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_clean_session_without_supervision_ends),
        TEST(a_session_whose_client_does_not_come_back_ends),
        TEST(who_came_once_and_left_nothing_is_kept_for_less),
        TEST(what_waits_for_who_expires_is_dropped),
        TEST(a_restart_forgets_no_deadline_but_waits_for_an_hour),
        TEST(a_session_of_an_early_store_counts_as_one_that_returned),
        TEST(a_session_with_a_connection_of_its_own_ends_at_the_broker_too),
        TEST(at_max_clients_who_was_silent_for_longest_makes_room),
        TEST(who_holds_something_makes_no_room),
        TEST(a_subscription_that_is_granted_late_is_held_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
