/* What MQTT-SN 1.2 asks of a gateway across its parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

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

static void connect(struct rig *r, const char *peer)
{
    rig_frame(r, peer,
              &(struct sn_packet){
                  .type = SN_CONNECT,
                  .connect = {.protocol_id = SN_PROTOCOL_ID, .client_id = sn_bytes(peer, 1)}});
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
}

/* SN12-4-1, SN12-6.2-10: active from CONNACK on, and messages pass both ways. */
static void after_connack_everything_works_at_once(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    subscribe 1 qos=1 t/1 retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t/1\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "a > PUBLISH qos=1 tid=1 mid=2 data='up'\n"
            "    store 4 qos=1 t/1 'up' lazy\n"
            "    publish 4 qos=1 t/1 'up'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "delivered 4\n"
            "    forget 4 lazy\n"
            "message token 1 qos=1 t/1 'down'\n"
            "    store 6 for 1 qos=1 t/1 'down'\n"
            "    a < PUBLISH qos=1 tid=1 mid=7 data='down'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK tid=1 mid=7\n"
            "    forget 6 for 1 lazy\n");
}

/* SN12-6.10-12, SN12-6.7-4, SN12-6.9-6: short and predefined topics are no exception. */
static void nobody_gets_what_he_has_not_subscribed_to(void **state)
{
    struct rig *r = *state;
    connect(r, "a");
    connect(r, "b");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "message qos=0 AB 'early'\n"
            "    * DOWN_NO_SUBSCRIBER: AB\n"
            "message qos=0 pre/one 'early'\n"
            "    * DOWN_NO_SUBSCRIBER: pre/one\n"
            "a > SUBSCRIBE mid=1 short='AB'\n"
            "    subscribe 1 qos=0 AB retained\n"
            "subscribed 1 0\n"
            "    save filter 1 1 qos=0 AB\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=accepted\n"
            "b > SUBSCRIBE mid=1 predefined=1\n"
            "    subscribe 2 qos=0 pre/one retained\n"
            "subscribed 2 0\n"
            "    save filter 2 1 qos=0 pre/one\n"
            "stored\n"
            "    b < SUBACK qos=0 tid=1 mid=1 code=accepted\n"
            "message qos=0 AB '1'\n"
            "    a < PUBLISH qos=0 short='AB' mid=0 data='1'\n"
            "message qos=0 pre/one '2'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='2'\n"
            "message qos=0 pre/two '3'\n"
            "    * DOWN_NO_SUBSCRIBER: pre/two\n"
            "message qos=0 AC '4'\n"
            "    * DOWN_NO_SUBSCRIBER: AC\n");
}

/* SN12-6.7-5, SN12-6.7-7, SN12-5.4.15-2: without REGISTER, at the QoS that was asked for. */
static void predefined_and_short_topics_come_under_their_ids(void **state)
{
    struct rig *r = *state;
    connect(r, "a");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=1 mid=1 predefined=2\n"
            "    subscribe 1 qos=1 a/two retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 a/two\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=2 mid=1 code=accepted\n"
            "a > SUBSCRIBE qos=2 mid=2 short='AB'\n"
            "    subscribe 2 qos=2 AB retained\n"
            "subscribed 2 2\n"
            "    save filter 1 2 qos=2 AB\n"
            "stored\n"
            "    a < SUBACK qos=2 tid=0 mid=2 code=accepted\n"
            "message token 1 qos=1 a/two '1'\n"
            "    store 4 for 1 qos=1 a/two '1'\n"
            "    a < PUBLISH qos=1 predefined=2 mid=5 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK tid=2 mid=5\n"
            "    forget 4 for 1 lazy\n"
            "message token 2 qos=2 AB '2'\n"
            "    store 6 for 1 qos=2 AB '2'\n"
            "stored\n"
            "    accept 2\n"
            "    a < PUBLISH qos=2 short='AB' mid=7 data='2'\n");
}

/* SN12-5.3.13-1 */
static void a_will_message_is_any_octets_or_none(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message=''\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "b > CONNECT will=1 keepalive_s=20 client_id='b'\n"
            "    b < WILLTOPICREQ\n"
            "b > WILLTOPIC qos=1 topic='w'\n"
            "    b < WILLMSGREQ\n"
            "b > WILLMSG message='\\x00\\xff\\x0a'\n"
            "    save will 2\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w\n"
            "    store 5 qos=1 w ''\n"
            "    save session 1 lazy\n"
            "    * CLIENT_LOST b: active\n"
            "    * WILL_FIRED b: w\n"
            "    store 7 qos=1 w '\\x00\\xff\\x0a'\n"
            "    save session 2 lazy\n");
}

/* SN12-6.11-4, SN12-6.11-3, SN12-5.3.3-1, A-46: an answer is a sign of life, asked for or
 * not; 10 s and half of it. */
static void every_message_is_a_sign_of_life(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=10 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 14000\n"
            "a > PINGRESP\n"
            "    save session 1 lazy\n"
            "wait 14000\n"
            "a > PUBACK mid=9\n"
            "    save session 1 lazy\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n"
            "wait 14000\n"
            "a > REGISTER mid=1 name='t'\n"
            "    save session 1 lazy\n"
            "    save topic 1 1 t\n"
            "stored\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n"
            "wait 14999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "b > CONNECT keepalive_s=65535 client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "wait 72088499\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST b: active\n"
            "    save session 2 lazy\n");
}

/* SN12-6.5-6, SN12-6.9-12, A-28: two at once break the client's rule, and nothing else. */
static void two_requests_at_once_are_survived(void **state)
{
    struct rig *r = *state;
    connect(r, "a");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > REGISTER mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "a > REGISTER mid=2 name='t/2'\n"
            "    save topic 1 2 t/2\n"
            "stored\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n"
            "    a < REGACK tid=2 mid=2 code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=3 name='t/1'\n"
            "    subscribe 1 qos=1 t/1 retained\n"
            "a > UNSUBSCRIBE mid=4 name='t/2'\n"
            "    a < UNSUBACK mid=4\n"
            "a > SUBSCRIBE qos=1 mid=5 name='t/3'\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t/1\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=3 code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=5 name='t/3'\n"
            "    save topic 1 3 t/3\n"
            "    subscribe 2 qos=1 t/3 retained\n"
            "subscribed 2 1\n"
            "    save filter 1 2 qos=1 t/3\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=3 mid=5 code=accepted\n");
}

/* SN12-6.14-3, SN12-6.14-8, SN12-6.14-9, SN12-6.14-10, SN12-6.14-18: every QoS, names to be
 * learned, several cycles; each message once, PINGRESP last and once. */
static void a_sleeper_gets_everything_in_cycles(void **state)
{
    struct rig *r = *state;
    connect(r, "a");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=2 mid=1 name='#'\n"
            "    subscribe 1 qos=2 # retained\n"
            "subscribed 1 2\n"
            "    save filter 1 1 qos=2 #\n"
            "stored\n"
            "    a < SUBACK qos=2 tid=0 mid=1 code=accepted\n"
            "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message qos=0 AB '0'\n"
            "message token 1 qos=1 t/1 '1'\n"
            "    store 5 for 1 qos=1 t/1 '1'\n"
            "message token 2 qos=2 t/2 '2'\n"
            "    store 6 for 1 qos=2 t/2 '2'\n"
            "message qos=0 t/1 '3'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=0 short='AB' mid=0 data='0'\n"
            "    save topic 1 1 t/1\n"
            "stored\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH qos=1 tid=1 mid=6 data='1'\n"
            "a > PUBACK tid=1 mid=6\n"
            "    forget 5 for 1 lazy\n"
            "    save topic 1 2 t/2\n"
            "stored\n"
            "    a < REGISTER tid=2 mid=2 name='t/2'\n"
            "a > REGACK tid=2 mid=2\n"
            "    a < PUBLISH qos=2 tid=2 mid=7 data='2'\n"
            "a > PUBREC mid=7\n"
            "    mark 6 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=7\n"
            "a > PUBCOMP mid=7\n"
            "    forget 6 for 1\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='3'\n"
            "    a < PINGRESP\n"
            "message token 3 qos=1 t/1 '4'\n"
            "    store 13 for 1 qos=1 t/1 '4'\n"
            "stored\n"
            "    accept 3\n"
            "wait 100000\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=14 data='4'\n"
            "    save account lazy\n"
            "a > PUBACK tid=1 mid=14\n"
            "    forget 13 for 1 lazy\n"
            "    a < PINGRESP\n"
            "    save session 1 lazy\n"
            "wait 100000\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PINGRESP\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "wait 110000\n"
            "    +110000\n"
            "    * CLIENT_LOST a: asleep\n"
            "    save session 1 lazy\n");
}

/* SN12-6.14-6: awake is not supervised by the sleep's time; repeats end it. */
static void the_sleep_timer_stops_while_awake(void **state)
{
    struct rig *r = *state;
    connect(r, "a");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=1 mid=1 short='AB'\n"
            "    subscribe 1 qos=1 AB retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "a > DISCONNECT duration_s=5\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 4 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 short='AB' mid=5 data='1'\n"
            "wait 9000\n"
            "a > PUBACK tid=16706 mid=5\n"
            "    forget 4 for 1 lazy\n"
            "    a < PINGRESP\n"
            "    save session 1 lazy\n"
            "wait 9999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: asleep\n"
            "    save session 1 lazy\n");
}

/* SN12-6.3-1, SN12-6.3-3, SN12-6.3-6: what CONNECT does to subscriptions and will, by its
 * two flags. */
static void connect_keeps_or_forgets_by_its_flags(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > CONNECT will=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='1'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE mid=1 short='AB'\n"
            "    subscribe 1 qos=0 AB retained\n"
            "subscribed 1 0\n"
            "    save filter 1 1 qos=0 AB\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=accepted\n"
            "a > CONNECT will=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='2'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "message qos=0 AB 'still'\n"
            "    a < PUBLISH qos=0 short='AB' mid=0 data='still'\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w\n"
            "    publish 7 qos=0 w '2'\n"
            "    save session 1 lazy\n"
            "a > CONNECT will=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC empty=1\n"
            "    erase will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "message qos=0 AB 'still'\n"
            "    a < PUBLISH qos=0 short='AB' mid=0 data='still'\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "a > CONNECT will=1 clean=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='3'\n"
            "    unsubscribe 2 AB\n"
            "    erase all of 1\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "unsubscribed 2\n"
            "message qos=0 AB 'no more'\n"
            "    * DOWN_NO_SUBSCRIBER: AB\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w\n"
            "    publish 17 qos=0 w '3'\n"
            "    erase all of 1\n");
}

/* SN12-5.2.2-2, SN12-5.2.2-3, SN12-5.2.1-6, SN12-5.2.1-9: discarded, and the session does
 * not mind. */
static void frames_that_are_not_for_a_gateway_are_discarded(void **state)
{
    struct rig *r = *state;
    connect(r, "a");
    play(r, "a > hex 03 05 00\n"
            "    * FRAME_NOT_FOR_GATEWAY: CONNACK\n"
            "a > hex 02 06\n"
            "    * FRAME_NOT_FOR_GATEWAY: WILLTOPICREQ\n"
            "a > hex 02 08\n"
            "    * FRAME_NOT_FOR_GATEWAY: WILLMSGREQ\n"
            "a > hex 08 13 00 00 01 00 01 00\n"
            "    * FRAME_NOT_FOR_GATEWAY: SUBACK\n"
            "a > hex 04 15 00 01\n"
            "    * FRAME_NOT_FOR_GATEWAY: UNSUBACK\n"
            "a > hex 03 1B 00\n"
            "    * FRAME_NOT_FOR_GATEWAY: WILLTOPICRESP\n"
            "a > hex 03 1D 00\n"
            "    * FRAME_NOT_FOR_GATEWAY: WILLMSGRESP\n"
            "a > hex 02 03\n"
            "    * FRAME_BAD: reserved-type\n"
            "a > hex 02 11\n"
            "    * FRAME_BAD: reserved-type\n"
            "a > hex 02 19\n"
            "    * FRAME_BAD: reserved-type\n"
            "a > hex 02 1E\n"
            "    * FRAME_BAD: reserved-type\n"
            "a > hex 02 FF\n"
            "    * FRAME_BAD: reserved-type\n"
            "a > hex 00 16\n"
            "    * FRAME_BAD: length\n"
            "a > hex 01 00 03 16\n"
            "    * FRAME_BAD: length\n"
            "a > hex 03 16\n"
            "    * FRAME_BAD: length\n"
            "a > hex 02 16 00\n"
            "    * FRAME_BAD: length\n"
            "a > PINGREQ\n"
            "    a < PINGRESP\n");
}

/* SN12-5.5-8, SN12-5.5-2, SN12-5.5-7: what is opaque comes back as it was. */
static void wireless_node_ids_of_every_length_come_back(void **state)
{
    struct rig *r = *state;
    static const size_t lengths[] = {0, 1, 2, 8, 252};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        char script[2000];
        char node[253] = "";
        int n = snprintf(script, sizeof(script), "f > hex %02X FE FC", (unsigned)lengths[i] + 3);
        for (size_t k = 0; k < lengths[i]; k++) {
            node[k] = (char)('a' + k % 26);
            n += snprintf(script + n, sizeof(script) - (size_t)n, " %02X", node[k]);
        }
        n += snprintf(script + n, sizeof(script) - (size_t)n,
                      " 01 00 04 16\n"
                      "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
                      "    f/%.40s%s < DISCONNECT\n",
                      node, lengths[i] > 40 ? "... 252" : "");
        play(r, script);
    }
}

/* SN12-5.3.11-1: not even when all the ids below have been given out once. */
static void topic_ids_0_and_ffff_are_never_assigned(void **state)
{
    struct rig *r = *state;
    connect(r, "a");
    play(r, "a > REGISTER mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "stored\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n");
    clients_find_id(rig_bridge(r), sn_bytes_text("a"))->next_tid = 65533;
    play(r, "a > REGISTER mid=2 name='t/2'\n"
            "    save topic 1 65534 t/2\n"
            "a > REGISTER mid=3 name='t/3'\n"
            "    save topic 1 2 t/3\n"
            "stored\n"
            "    a < REGACK tid=65534 mid=2 code=accepted\n"
            "    a < REGACK tid=2 mid=3 code=accepted\n");
}

/* SN12-5.2.2-1, SN12-5.2.2-3, SN12-5.3.10-1, SN12-5.4.12-2, SN12-5.4.21-3, SN12-5.3.4-4:
 * whatever comes in, the rig lets nothing out that a gateway may not send. */
static void nothing_provokes_a_frame_that_a_gateway_may_not_send(void **state)
{
    struct rig *r = *state;
    static const char *const peers[] = {"a", "b@1", "f/n", "x"};
    uint32_t random = 1;
    rig_broker_up(r, false, 50, 2);
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t frame[24];
        for (size_t i = 0; i < sizeof(frame); i++) {
            random = random * 1664525 + 1013904223;
            frame[i] = (uint8_t)(random >> 24) & ((random & 0x300) != 0 ? 0x63 : 0xff);
        }
        frame[0] = (uint8_t)(2 + random % (sizeof(frame) - 2));
        frame[1] = (uint8_t)((random >> 8) % 0x20);
        struct sn_packet p;
        const enum sn_fault fault = sn_decode(sn_bytes(frame, frame[0]), &p);
        if (fault == SN_OK && p.type != SN_FORWARD)
            rig_frame(r, peers[(random >> 16) % 4], &p);
        if (round % 16 == 0)
            rig_commit(r, UINT64_MAX);
        if (round % 64 == 0)
            rig_pass(r, 500);
        rig_skip(r);
    }
}

#define WITH(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(after_connack_everything_works_at_once),
        WITH(nobody_gets_what_he_has_not_subscribed_to),
        WITH(predefined_and_short_topics_come_under_their_ids),
        WITH(a_will_message_is_any_octets_or_none),
        WITH(every_message_is_a_sign_of_life),
        WITH(two_requests_at_once_are_survived),
        WITH(a_sleeper_gets_everything_in_cycles),
        WITH(the_sleep_timer_stops_while_awake),
        WITH(connect_keeps_or_forgets_by_its_flags),
        WITH(frames_that_are_not_for_a_gateway_are_discarded),
        WITH(wireless_node_ids_of_every_length_come_back),
        WITH(topic_ids_0_and_ffff_are_never_assigned),
        WITH(nothing_provokes_a_frame_that_a_gateway_may_not_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
