/* Topic ids: which of them a device knows, and what waits until it does. */
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

static void connect_all(struct rig *r, const char *peers)
{
    for (; *peers != '\0'; peers++)
        reconnect(r, (char[]){*peers, '\0'});
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

/* SN12-6.10-1: the device learns the id by SUBACK, which waits for the disk. */
static void nothing_goes_out_between_the_grant_and_its_suback(void **state)
{
    struct rig *r = *state;
    connect_all(r, "a");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=0 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    subscribe 1 qos=0 t/1 retained\n"
            "stored\n"
            "subscribed 1 0\n"
            "    save filter 1 1 qos=0 t/1\n"
            "message qos=0 retain t/1 'kept'\n"
            "message qos=0 t/1 'early'\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=1 mid=1 code=accepted\n"
            "    a < PUBLISH qos=0 retain=1 tid=1 mid=0 data='kept'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='early'\n"
            "a > SUBSCRIBE qos=1 mid=2 name='w/+'\n"
            "    subscribe 2 qos=1 w/+ retained\n"
            "subscribed 2 1\n"
            "    save filter 1 2 qos=1 w/+\n"
            "message token 1 qos=1 retain w/1 'kept'\n"
            "    store 7 for 1 qos=1 retain w/1 'kept'\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=2 code=accepted\n"
            "    save topic 1 2 w/1\n"
            "    accept 1\n"
            "stored\n"
            "    a < REGISTER tid=2 mid=1 name='w/1'\n");
}

/* The same for a device that has just woken up: PINGRESP comes behind SUBACK and all else. */
static void an_awake_device_hears_suback_before_its_messages(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/1", 1);
    play(r, "a > DISCONNECT duration_s=60\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 t/1 '1'\n"
            "    store 8 for 1 qos=1 t/1 '1'\n"
            "stored\n"
            "    accept 1\n"
            "a > SUBSCRIBE qos=1 mid=2 name='t/2'\n"
            "    save topic 1 2 t/2\n"
            "    subscribe 2 qos=1 t/2 retained\n"
            "subscribed 2 1\n"
            "    save filter 1 2 qos=1 t/2\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=2 mid=2 code=accepted\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "a > PUBACK tid=1 mid=9\n"
            "    forget 8 for 1 lazy\n"
            "    a < PINGRESP\n");
}

/* A name that a wildcard matches while the device's own REGISTER of it waits for the disk. */
static void a_message_waits_for_the_regack_of_its_name(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/+", 0);
    play(r, "a > REGISTER mid=2 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "message qos=0 t/1 '1'\n"
            "stored\n"
            "    a < REGACK tid=1 mid=2 code=accepted\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='1'\n");
}

/* What was granted before a CONNECT is void: no SUBACK comes into it, and the id is not known. */
static void a_suback_that_waits_for_the_disk_is_void_after_a_connect(void **state)
{
    struct rig *r = *state;
    connect_all(r, "a");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=1 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    subscribe 1 qos=1 t/1 retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t/1\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "message qos=0 t/1 '1'\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n");
}

/* 5.4.13: it counted as delivered when it was sent. */
static void a_qos_0_message_that_the_device_refuses_is_not_delivered(void **state)
{
    struct rig *r = *state;
    struct bridge_status s;
    subscribe(r, "a", "t/1", 0);
    play(r, "message qos=0 t/1 '1'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='1'\n"
            "a > PUBACK tid=1 mid=0 code=invalid-topic-id\n"
            "    * DOWN_REJECTED a: t/1\n"
            "a > PUBACK tid=1 mid=0 code=invalid-topic-id\n"
            "message qos=0 t/1 '2'\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='2'\n");
    rig_status(r, &s);
    assert_int_equal(s.down.accepted, 2);
    assert_int_equal(s.down.delivered, 1);
    assert_int_equal(s.down.dropped, 1);
    assert_int_equal(s.classes[0].down.dropped, 1);
}

/* a CONNECT without clean session keeps the ids, too; the answer shows it. */
static void ids_of_before_a_connect_need_no_register(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/1", 1);
    subscribe(r, "a", "t/2", 2);
    reconnect(r, "a");
    play(r, "message token 1 qos=1 t/1 '1'\n"
            "    store 11 for 1 qos=1 t/1 '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=12 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK tid=1 mid=12\n"
            "    forget 11 for 1 lazy\n"
            "message qos=0 t/2 '2'\n"
            "    a < PUBLISH qos=0 tid=2 mid=0 data='2'\n");
    reconnect(r, "a");
    play(r, "message token 2 qos=2 t/2 '3'\n"
            "    store 15 for 1 qos=2 t/2 '3'\n"
            "stored\n"
            "    accept 2\n"
            "    a < PUBLISH qos=2 tid=2 mid=16 data='3'\n"
            "a > PUBREC mid=16\n"
            "    mark 15 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=16\n"
            "a > PUBCOMP mid=16\n"
            "    forget 15 for 1\n"
            "message qos=0 t/1 '4'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='4'\n");
}

/* So does a PUBLISH of its own. */
static void a_device_that_publishes_by_its_ids_has_kept_them(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/1", 0);
    subscribe(r, "a", "t/2", 0);
    reconnect(r, "a");
    play(r, "a > PUBLISH tid=1 data='x'\n"
            "    publish 11 qos=0 t/1 'x'\n"
            "message qos=0 t/2 '1'\n"
            "    a < PUBLISH qos=0 tid=2 mid=0 data='1'\n");
}

/* SN12C-6.10-1: and if not, it says so. */
static void a_device_that_has_lost_its_ids_is_told_again(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/1", 1);
    subscribe(r, "a", "t/2", 1);
    reconnect(r, "a");
    play(r, "message token 1 qos=1 t/1 '1'\n"
            "    store 11 for 1 qos=1 t/1 '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=12 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK tid=1 mid=12 code=invalid-topic-id\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=12 data='1'\n"
            "a > PUBACK tid=1 mid=12\n"
            "    forget 11 for 1 lazy\n"
            "message token 2 qos=1 t/2 '2'\n"
            "    store 13 for 1 qos=1 t/2 '2'\n"
            "    a < REGISTER tid=2 mid=2 name='t/2'\n"
            "stored\n"
            "    accept 2\n");
}

/* Or it says nothing. */
static void a_device_that_does_not_answer_to_an_old_id_is_told_again(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/1", 2);
    reconnect(r, "a");
    play(r, "message token 1 qos=2 t/1 '1'\n"
            "    store 8 for 1 qos=2 t/1 '1'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=9 data='1'\n"
            "wait 10000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH dup=1 qos=2 tid=1 mid=9 data='1'\n"
            "wait 10000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=2 tid=1 mid=9 data='1'\n"
            "a > PUBREC mid=9\n"
            "    mark 8 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=9\n");
}

/* At QoS 0 nothing would show it. */
static void at_qos_0_an_old_id_is_told_again(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/1", 0);
    reconnect(r, "a");
    play(r, "message qos=0 t/1 '1'\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='1'\n"
            "message qos=0 t/1 '2'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='2'\n");
}

static void ids_of_before_a_restart_need_no_register(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/1", 1);
    play(r, "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 t/1\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "message token 1 qos=1 t/1 '1'\n"
            "    store 9 for 1 qos=1 t/1 '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='1'\n");
}

#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(nothing_goes_out_between_the_grant_and_its_suback, begin),
        WITH(an_awake_device_hears_suback_before_its_messages, begin),
        WITH(a_message_waits_for_the_regack_of_its_name, begin),
        WITH(a_suback_that_waits_for_the_disk_is_void_after_a_connect, begin),
        WITH(a_qos_0_message_that_the_device_refuses_is_not_delivered, begin),
        WITH(ids_of_before_a_connect_need_no_register, begin),
        WITH(a_device_that_publishes_by_its_ids_has_kept_them, begin),
        WITH(a_device_that_has_lost_its_ids_is_told_again, begin),
        WITH(a_device_that_does_not_answer_to_an_old_id_is_told_again, begin),
        WITH(at_qos_0_an_old_id_is_told_again, begin),
        WITH(ids_of_before_a_restart_need_no_register, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
