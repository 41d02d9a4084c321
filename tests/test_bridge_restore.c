#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bridge/core.h"
#include "tests/bridge_rig.h"

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    *state = rig_new(&o);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

static void reconnect(struct rig *r, const char *peer)
{
    rig_frame(r, peer,
              &(struct sn_packet){
                  .type = SN_CONNECT,
                  .connect = {.protocol_id = SN_PROTOCOL_ID, .client_id = sn_bytes(peer, 1)}});
    rig_commit(r, UINT64_MAX);
    rig_pass(r, 1000);
    rig_skip(r);
}

/* Everything up to SUBACK, with the broker there. */
static void subscribe(struct rig *r, const char *peer, const char *filter, int8_t qos)
{
    struct bridge_status s;
    rig_status(r, &s);
    if (!s.broker_up)
        rig_broker_up(r, false, 50, 2);
    reconnect(r, peer);
    rig_frame(
        r, peer,
        &(struct sn_packet){.type = SN_SUBSCRIBE,
                            .subscribe = {.mid = 1, .qos = qos, .name = sn_bytes_text(filter)}});
    rig_status(r, &s);
    rig_step(r, &(struct bridge_event){
                    .type = BRIDGE_ON_SUBSCRIBED,
                    .subscribed = {.request = s.subscriptions + 1, .code = (uint8_t)qos}});
    rig_commit(r, UINT64_MAX);
    /* Numbers of the transcripts do not depend on what the helpers store. */
    while (rig_ticket(r) < 6)
        rig_frame(r, peer, &(struct sn_packet){.type = SN_WILLTOPICUPD, .willtopic.empty = true});
    rig_commit(r, UINT64_MAX);
    rig_pass(r, 1000);
    rig_skip(r);
}

/* Sessions, ids, subscriptions and addresses: the device notices nothing. */
static void a_restart_is_not_noticed_by_anybody(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/+", 1);
    play(r, "a > REGISTER mid=7 name='own'\n"
            "    save topic 1 1 own\n"
            "stored\n"
            "    a < REGACK tid=1 mid=7 code=accepted\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 t/+\n"
            "subscribed 1 1\n"
            "a > PUBLISH qos=1 tid=1 mid=2 data='x'\n"
            "    store 8 qos=1 own 'x' lazy\n"
            "    publish 8 qos=1 own 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "a > REGISTER mid=8 name='own'\n"
            "    a < REGACK tid=1 mid=8 code=accepted\n"
            "message token 1 qos=1 own 'nobody'\n"
            "    * DOWN_NO_SUBSCRIBER: own\n"
            "    accept 1\n"
            "message token 2 qos=1 t/1 'x'\n"
            "    store 9 for 1 qos=1 t/1 'x'\n"
            "    save topic 1 2 t/1\n"
            "stored\n"
            "    accept 2\n"
            "    a < REGISTER tid=2 mid=52812 name='t/1'\n"
            "a > UNSUBSCRIBE mid=9 name='t/+'\n"
            "    erase filter 1 1\n"
            "    unsubscribe 2 t/+\n"
            "stored\n"
            "    a < UNSUBACK mid=9\n");
}

static void a_node_behind_a_forwarder_is_found_again(void **state)
{
    struct rig *r = *state;
    play(r, "f/n > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "kill\n"
            "    * CLIENT_CONNECTED a\n"
            "    f/n < CONNACK code=accepted\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "f/n > PINGREQ\n"
            "    f/n < PINGRESP\n"
            "f > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    f < DISCONNECT\n");
}

/* The account is written once a minute and when the program ends; the rest follows from the queues. */
static void the_account_survives_a_restart(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 7 qos=1 pre/one 'x' lazy\n"
            "    publish 7 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "delivered 7\n"
            "    forget 7 lazy\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 9 for 1 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 11 for 1 qos=1 AB '2'\n"
            "    a < PUBLISH qos=1 tid=1 mid=12 data='2'\n"
            "stored\n"
            "    accept 2\n"
            "stop\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "kill\n"
            "    fetch for 1 from 11\n"
            "    * RESTORED\n"
            "    connect broker\n");
    struct bridge_status s;
    rig_status(r, &s);
    assert_int_equal(s.classes[0].up.delivered, 1);
    assert_int_equal(s.classes[0].down.delivered, 1);
    assert_int_equal(s.links[0].up.accepted, 1);
    assert_int_equal(s.links[0].down.queued, 1);
    assert_int_equal(s.links[1].up.accepted + s.links[1].down.accepted, 0);
    const struct session *a = clients_find_id(rig_bridge(r), sn_bytes_text("a"));
    assert_int_equal(a->account.up.delivered, 1);
    assert_int_equal(a->account.down.accepted, 2);
    assert_int_equal(a->account.down.delivered, 1);
    assert_int_equal(s.up.accepted, 1);
    assert_int_equal(s.up.delivered, 1);
    assert_int_equal(s.down.accepted, 2);
    assert_int_equal(s.down.queued + s.down.delivered, 2);
}

/* Written once a minute at most. */
static void the_account_is_not_written_for_every_message(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 0);
    play(r, "message qos=0 AB '1'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='1'\n"
            "wait 61000\n"
            "message qos=0 AB '2'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='2'\n"
            "    save account lazy\n"
            "message qos=0 AB '3'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='3'\n"
            "wait 61000\n"
            "a > PINGREQ\n"
            "    a < PINGRESP\n"
            "    save account lazy\n"
            "wait 61000\n"
            "a > PINGREQ\n"
            "    a < PINGRESP\n");
}

/* A record that cannot be read takes nothing else with it. */
static void records_that_cannot_be_read_are_reported_and_left_out(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    subscribe(r, "b", "AB", 1);
    rig_spoil(r, 1, BRIDGE_RECORD_SESSION, 0, sn_bytes_text("\x09nonsense"));
    rig_spoil(r, 2, BRIDGE_RECORD_TOPIC, 0xFFFF, sn_bytes_text("x"));
    rig_spoil(r, 2, BRIDGE_RECORD_FILTER, 9, sn_bytes_text("\x07x"));
    rig_spoil(r, 2, BRIDGE_RECORD_WILL, 0, sn_bytes_text("\x01"));
    rig_spoil(r, 0, BRIDGE_RECORD_ACCOUNT, 0, sn_bytes_text("\x01\x02"));
    play(r, "kill\n"
            "    * RECORD_REFUSED\n"
            "    * RECORD_REFUSED\n"
            "    * RECORD_REFUSED\n"
            "    * RECORD_REFUSED\n"
            "    * RECORD_REFUSED b\n"
            "    * RECORD_REFUSED b\n"
            "    * RECORD_REFUSED b\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    a < DISCONNECT\n"
            "b > PINGREQ\n"
            "    b < PINGRESP\n"
            "a > CONNECT client_id='a'\n"
            "    save session 3\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PINGREQ\n"
            "    a < PINGRESP\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 AB\n"
            "subscribed 1 1\n"
            "message token 1 qos=1 AB 'x'\n"
            "    store 11 for 2 qos=1 AB 'x'\n"
            "    b < PUBLISH qos=1 tid=1 mid=12 data='x'\n"
            "stored\n"
            "    accept 1\n");
}

/* Fewer messages than were announced: the queue goes on behind them. */
static void missing_messages_are_counted_and_do_not_stop_the_others(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=1000\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 9 for 1 qos=1 AB '2'\n"
            "message token 3 qos=1 AB '3'\n"
            "    store 10 for 1 qos=1 AB '3'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "    accept 3\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n");
    rig_lose_row(r, 1, 8);
    rig_lose_row(r, 1, 10);
    play(r, "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    fetch for 1 from 8\n"
            "fetched\n"
            "    * ROWS_MISSING a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=10 data='2'\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n"
            "    a < PINGRESP\n");
}

static void missing_messages_to_the_broker_are_counted(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 7 qos=1 pre/one '1' lazy\n"
            "    publish 7 qos=1 pre/one '1'\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='2'\n"
            "    store 8 qos=1 pre/one '2' lazy\n"
            "    publish 8 qos=1 pre/one '2'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n");
    rig_lose_row(r, BRIDGE_QUEUE_LANES | BRIDGE_LANE_LIVE, 7);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 AB\n"
            "    fetch from 7\n"
            "fetched\n"
            "    * ROWS_MISSING\n"
            "    publish 8 qos=1 pre/one '2'\n");
}

/* The messages of a session that is gone are nobody's: no other session gets its number. */
static void a_queue_without_its_session_is_reported(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n");
    rig_spoil(r, 1, BRIDGE_RECORD_SESSION, 0, sn_bytes(NULL, 0));
    play(r, "kill\n"
            "    * RECORD_REFUSED\n"
            "    * RECORD_REFUSED\n"
            "    * ROWS_MISSING\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "b > CONNECT client_id='b'\n"
            "    save session 2\n"
            "kill\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "    * RECORD_REFUSED\n"
            "    * RECORD_REFUSED\n"
            "    * ROWS_MISSING\n"
            "    * RESTORED\n"
            "    connect broker\n");
}

/* Its QoS 2 message goes on all the same. */
static void an_exchange_without_its_session_goes_on_to_the_broker(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "broker down\n"
            "    * BROKER_LOST: gone\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='1'\n"
            "    store 7 qos=2 pre/one '1'\n"
            "stored\n"
            "    a < PUBREC mid=1\n");
    rig_spoil(r, 1, BRIDGE_RECORD_SESSION, 0, sn_bytes(NULL, 0));
    play(r, "kill\n"
            "    * RECORD_REFUSED\n"
            "    * RECORD_REFUSED\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 7\n"
            "fetched\n"
            "    publish 7 qos=2 pre/one '1'\n"
            "delivered 7\n"
            "    forget 7\n"
            "stored\n");
}

/* Configuration has changed: who was on that link must come by himself. */
static void a_session_on_a_link_that_is_gone_waits_for_its_device(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 7 for 1 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=8 data='1'\n"
            "stored\n"
            "    accept 1\n");
    rig_rename_link(r, 0, "other");
    play(r, "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "wait 100000\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 8 for 1 qos=1 AB '2'\n"
            "    save account lazy\n"
            "stored\n"
            "    accept 2\n"
            "a > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    a < DISCONNECT\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    fetch for 1 from 7\n"
            "fetched\n"
            "    a < PUBLISH dup=1 qos=1 short='AB' mid=8 data='1'\n"
            "a > PUBACK mid=8\n"
            "    forget 7 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=9 data='2'\n");
}

/* A will that was stored is fired by the next process. */
static void a_stored_will_fires_after_the_restart(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 retain=1 topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    save session 1\n"
            "kill\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "wait 70000\n"
            "    +66000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w\n"
            "    store 3 qos=1 retain w 'gone'\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "stored\n");
}

/* An id that was given stays with its name, whatever was given since. */
static void ids_do_not_change_over_a_restart(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > REGISTER mid=1 name='t/1'\n"
            "    save topic 1 2 t/1\n"
            "a > REGISTER mid=2 name='t/2'\n"
            "    save topic 1 3 t/2\n"
            "stored\n"
            "    a < REGACK tid=2 mid=1 code=accepted\n"
            "    a < REGACK tid=3 mid=2 code=accepted\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > REGISTER mid=3 name='t/3'\n"
            "    save topic 1 4 t/3\n"
            "a > REGISTER mid=4 name='t/1'\n"
            "    a < REGACK tid=2 mid=4 code=accepted\n"
            "stored\n"
            "    a < REGACK tid=4 mid=3 code=accepted\n");
}

#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_restart_is_not_noticed_by_anybody, begin),
        WITH(a_node_behind_a_forwarder_is_found_again, begin),
        WITH(the_account_survives_a_restart, begin),
        WITH(the_account_is_not_written_for_every_message, begin),
        WITH(records_that_cannot_be_read_are_reported_and_left_out, begin),
        WITH(missing_messages_are_counted_and_do_not_stop_the_others, begin),
        WITH(missing_messages_to_the_broker_are_counted, begin),
        WITH(a_queue_without_its_session_is_reported, begin),
        WITH(an_exchange_without_its_session_goes_on_to_the_broker, begin),
        WITH(a_session_on_a_link_that_is_gone_waits_for_its_device, begin),
        WITH(a_stored_will_fires_after_the_restart, begin),
        WITH(ids_do_not_change_over_a_restart, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
