#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    *state = rig_new(&o);
    return 0;
}

static int limited(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.max_keepalive_s = 100;
    *state = rig_new(&o);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* SN12-6.2-1: the session is durable before the client hears so. */
static void connect_is_confirmed_when_the_session_is_stored(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
}

/* SN12-6.2-6 */
static void connect_repeated_before_the_disk_answers_is_confirmed_once(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "a > CONNECT keepalive_s=60 client_id='a'\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
}

/* SN12-6.2-2, SN12-5.4.7-1, SN12-6.11-2 */
static void a_will_is_asked_for_stored_and_fires_when_the_client_is_lost(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 retain=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 65999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w/a\n"
            "    store 3 qos=1 retain w/a 'gone'\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "stored\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    publish 3 qos=1 retain w/a 'gone'\n"
            "delivered 3\n"
            "    forget 3 lazy\n"
            "wait 200000\n");
}

/* SN12-6.2-7, SN12-6.2-8, A-10, A-11 */
static void every_step_of_the_will_dialogue_can_be_repeated(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLTOPIC qos=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLMSGREQ\n"
            "wait 10000\n"
            "    +10000\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > WILLMSG message='gone'\n"
            "    * FRAME_UNEXPECTED: WILLMSG\n"
            "a > WILLTOPIC qos=1 topic='w/a'\n"
            "    * FRAME_UNEXPECTED: WILLTOPIC\n");
}

/* SN12-6.2-9 */
static void a_will_dialogue_that_is_abandoned_leaves_nothing(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "wait 60000\n"
            "    +10000\n"
            "    a < WILLTOPICREQ\n"
            "    +20000\n"
            "    a < WILLTOPICREQ\n"
            "    +30000\n"
            "    a < WILLTOPICREQ\n"
            "    +40000\n"
            "    * WILL_ABANDONED a\n"
            "a > WILLTOPIC topic='x'\n"
            "    * FRAME_UNEXPECTED: WILLTOPIC\n"
            "a > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    a < DISCONNECT\n");
}

/* SN12-5.3.14-1, SN12-6.2-4 */
static void a_will_topic_with_a_wildcard_ends_the_connect(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='x/#'\n"
            "    * FRAME_BAD: wildcard-in-name\n"
            "    * CLIENT_REFUSED a: will\n"
            "    a < CONNACK code=not-supported\n"
            "a > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    a < DISCONNECT\n");
}

/* SN12-5.3.4-4 */
static void a_will_with_qos_minus_one_ends_the_connect(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=-1 topic='x'\n"
            "    * FRAME_BAD: will-qos\n"
            "    * CLIENT_REFUSED a: will\n"
            "    a < CONNACK code=not-supported\n");
}

/* SN12-5.4.7-2, SN12-6.12-3, SN12-6.3-4, SN12-6.3-3, SN12-6.3-6, SN12-6.3-2, A-17, A-18 */
static void the_will_lives_as_long_as_the_session_or_its_deletion(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='1'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "a > CONNECT keepalive_s=20 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w\n"
            "    save session 1 lazy\n"
            "a > CONNECT will=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC empty=1\n"
            "    erase will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
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
            "a > CONNECT clean=1 keepalive_s=20 client_id='a'\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    erase all of 1\n");
}

/* SN12-5.4.22-1, SN12-5.4.23-1, SN12-6.4-1, SN12-6.4-2, SN12-6.4-3, SN12-5.4.24-1, SN12-5.4.25-1 */
static void a_will_is_updated_in_parts_and_deleted(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='1'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > WILLMSGUPD message='2'\n"
            "    save will 1\n"
            "stored\n"
            "    a < WILLMSGRESP code=accepted\n"
            "a > WILLTOPICUPD qos=2 retain=1 topic='w2'\n"
            "    save will 1\n"
            "stored\n"
            "    a < WILLTOPICRESP code=accepted\n"
            "a > WILLTOPICUPD topic='w/#'\n"
            "    * FRAME_BAD: wildcard-in-name\n"
            "    * TOPIC_REFUSED a: will\n"
            "    a < WILLTOPICRESP code=not-supported\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w2\n"
            "    store 5 qos=2 retain w2 '2'\n"
            "    save session 1 lazy\n"
            "a > CONNECT keepalive_s=20 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > WILLTOPICUPD empty=1\n"
            "    erase will 1\n"
            "stored\n"
            "    a < WILLTOPICRESP code=accepted\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "    save account lazy\n");
}

/* A restart in the middle: the session is lost as well, or neither happened. */
static void a_will_fires_once_however_often_the_bridge_dies(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=2 topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='1'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w\n"
            "    store 3 qos=2 w '1'\n"
            "    save session 1 lazy\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w\n"
            "    store 5 qos=2 w '1'\n"
            "    save session 1 lazy\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "wait 300000\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 5\n"
            "fetched\n"
            "    publish 5 qos=2 w '1'\n"
            "delivered 5\n"
            "    forget 5\n"
            "    save account lazy\n"
            "wait 300000\n");
}

/* Two fields of full size are one record. */
static void a_will_of_full_size_fits(void **state)
{
    struct rig *r = *state;
    static char topic[SN_PACKET_MAX - 10];
    for (size_t i = 0; i < sizeof(topic); i++)
        topic[i] = 't';
    play(r, "a > CONNECT will=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n");
    rig_frame(r, "a",
              &(struct sn_packet){.type = SN_WILLTOPIC,
                                  .willtopic.topic = sn_bytes(topic, sizeof(topic))});
    rig_frame(
        r, "a",
        &(struct sn_packet){.type = SN_WILLMSG, .willmsg.message = sn_bytes(topic, sizeof(topic))});
    rig_skip(r);
    play(r, "kill\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * RESTORED\n"
            "    connect broker\n");
}

/* SN12-5.3.8-1, SN12-5.3.1-1, SN12-5.3.1-3, SN12-5.4.4-3, SN12-5.2.2-3 */
static void a_connect_that_cannot_be_served_is_refused(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT protocol_id=2 client_id='a'\n"
            "    * FRAME_BAD: protocol-id\n"
            "    * CLIENT_REFUSED a: protocol-id\n"
            "    a < CONNACK code=not-supported\n"
            "a > CONNECT client_id=''\n"
            "    * FRAME_BAD: empty-clientid\n"
            "    * CLIENT_REFUSED: empty-clientid\n"
            "    a < CONNACK code=not-supported\n"
            "a > CONNECT client_id='123456789012345678901234'\n"
            "    * CLIENT_REFUSED 123456789012345678901234: client id too long\n"
            "    a < CONNACK code=not-supported\n"
            "a > CONNECT client_id='12345678901234567890123'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED 12345678901234567890123\n"
            "    a < CONNACK code=accepted\n"
            "a > hex 05 04 04 01 00\n"
            "    * FRAME_BAD: truncated\n"
            "a > hex 03 05 00\n"
            "    * FRAME_NOT_FOR_GATEWAY: CONNACK\n");
}

/* SN12-6.2-5 */
static void beyond_max_clients_the_answer_is_congestion(void **state)
{
    struct rig *r = *state;
    for (char id[] = "a"; id[0] < 'i'; id[0]++)
        rig_frame(r, id,
                  &(struct sn_packet){
                      .type = SN_CONNECT,
                      .connect = {.protocol_id = SN_PROTOCOL_ID, .client_id = sn_bytes(id, 1)}});
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
    play(r, "j > CONNECT client_id='j'\n"
            "    * CLIENT_LIMIT j\n"
            "    * CLIENT_REFUSED j: limit\n"
            "    j < CONNACK code=congestion\n"
            "j > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    j < DISCONNECT\n"
            "a > CONNECT clean=1 client_id='a'\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "    erase all of 1\n"
            "j > CONNECT client_id='j'\n"
            "    save session 9\n"
            "stored\n"
            "    * CLIENT_CONNECTED j\n"
            "    j < CONNACK code=accepted\n");
}

/* SN12-6.2-6, A-09 */
static void the_newest_connect_takes_over_the_session_or_the_address(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "b > CONNECT client_id='a'\n"
            "    * CLIENT_MOVED a\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    b < CONNACK code=accepted\n"
            "a > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    a < DISCONNECT\n"
            "b > PINGREQ\n"
            "    b < PINGRESP\n"
            "b > CONNECT client_id='c'\n"
            "    * CLIENT_REPLACED a: c\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED c\n"
            "    b < CONNACK code=accepted\n"
            "b > PINGREQ\n"
            "    b < PINGRESP\n"
            "wait 100000000\n");
}

/* also while its will is being asked for, or its CONNECT is being stored. */
static void who_loses_the_address_in_the_middle_of_connect_is_lost(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > CONNECT will=1 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > CONNECT client_id='b'\n"
            "    * CLIENT_REPLACED a: b\n"
            "    * WILL_ABANDONED a\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    a < CONNACK code=accepted\n"
            "a > CONNECT client_id='c'\n"
            "    * CLIENT_REPLACED b: c\n"
            "    * CLIENT_LOST b: active\n"
            "    save session 2 lazy\n"
            "    save session 3\n"
            "a > CONNECT client_id='d'\n"
            "    * CLIENT_REPLACED c: d\n"
            "    * CLIENT_LOST c: active\n"
            "    save session 3 lazy\n"
            "    save session 4\n"
            "stored\n"
            "    * CLIENT_CONNECTED d\n"
            "    a < CONNACK code=accepted\n"
            "e > CONNECT will=1 client_id='e'\n"
            "    e < WILLTOPICREQ\n"
            "e > CONNECT client_id='f'\n"
            "    * CLIENT_REPLACED e: f\n"
            "    * WILL_ABANDONED e\n"
            "    save session 6\n"
            "stored\n"
            "    * CLIENT_CONNECTED f\n"
            "    e < CONNACK code=accepted\n");
}

/* SN12-6.3-1, SN12-6.3-5, SN12-6.3-7, A-16 */
static void a_clean_connect_forgets_ids_subscriptions_and_messages(void **state)
{
    struct rig *r = *state;
    play(r, "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > REGISTER mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "stored\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=2 name='t/2'\n"
            "    save topic 1 2 t/2\n"
            "    save filter 1 1 qos=1 t/2\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=2 mid=2 code=accepted\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 t/2 'x'\n"
            "    store 6 for 1 qos=1 t/2 'x'\n"
            "stored\n"
            "    accept 1\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    a < PUBLISH qos=1 tid=2 mid=7 data='x'\n"
            "a > PUBLISH tid=1 data='1'\n"
            "a > CONNECT clean=1 client_id='a'\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH tid=1 data='1'\n"
            "    * TOPIC_UNKNOWN a\n"
            "    a < PUBACK tid=1 mid=0 code=invalid-topic-id\n"
            "message token 2 qos=1 t/2 'y'\n"
            "    * DOWN_NO_SUBSCRIBER: t/2\n"
            "    accept 2\n");
}

/* SN12-5.4.21-1, SN12-6.12-1, SN12-6.12-2, SN12-6.12-4; with CleanSession the session ends here. */
static void disconnect_ends_the_connection_and_can_be_repeated(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 clean=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='1'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "    erase all of 1\n"
            "a > DISCONNECT\n"
            "    * FRAME_UNKNOWN_SENDER: DISCONNECT\n"
            "    a < DISCONNECT\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    * FRAME_UNKNOWN_SENDER: PUBLISH\n"
            "    a < DISCONNECT\n"
            "wait 100000\n");
}

/* SN12-6.11-1, SN12-7.2-5, SN12-6.11-2, SN12-6.11-3, A-12 */
static void keep_alive_has_a_tolerance_of_half_or_a_tenth(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=40 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 59999\n"
            "a > PINGREQ\n"
            "    a < PINGRESP\n"
            "    save session 1 lazy\n"
            "wait 59999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "b > CONNECT keepalive_s=100 client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "wait 109999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST b: active\n"
            "    save session 2 lazy\n"
            "c > CONNECT client_id='c'\n"
            "    save session 3\n"
            "stored\n"
            "    * CLIENT_CONNECTED c\n"
            "    c < CONNACK code=accepted\n"
            "wait 100000000\n"
            "c > PINGREQ\n"
            "    c < PINGRESP\n");
}

/* The disk hears of a sign of life when the deadline has moved by a tenth. */
static void a_ping_is_not_a_write(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 100\n"
            "a > PINGREQ\n"
            "    a < PINGRESP\n"
            "b > CONNECT keepalive_s=100 client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "wait 10000\n"
            "b > PINGREQ\n"
            "    b < PINGRESP\n"
            "wait 1\n"
            "b > PINGREQ\n"
            "    b < PINGRESP\n"
            "    save session 2 lazy\n");
}

/* SN12-5.4.21-4, SN12-6.12-5, SN12-6.11-5, A-57 */
static void strangers_are_told_so_at_once(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=1 tid=1 mid=1 data='x'\n"
            "    * FRAME_UNKNOWN_SENDER: PUBLISH\n"
            "    a < DISCONNECT\n"
            "a > SUBSCRIBE mid=1 name='x'\n"
            "    * FRAME_UNKNOWN_SENDER: SUBSCRIBE\n"
            "    a < DISCONNECT\n"
            "a > UNSUBSCRIBE mid=1 name='x'\n"
            "    * FRAME_UNKNOWN_SENDER: UNSUBSCRIBE\n"
            "    a < DISCONNECT\n"
            "a > REGISTER mid=1 name='x'\n"
            "    * FRAME_UNKNOWN_SENDER: REGISTER\n"
            "    a < DISCONNECT\n"
            "a > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    a < DISCONNECT\n"
            "a > PINGREQ client_id='a'\n"
            "    * FRAME_UNKNOWN_SENDER a: PINGREQ\n"
            "    a < DISCONNECT\n"
            "a > PUBREL mid=1\n"
            "    * FRAME_UNKNOWN_SENDER: PUBREL\n"
            "    a < DISCONNECT\n"
            "a > DISCONNECT\n"
            "    * FRAME_UNKNOWN_SENDER: DISCONNECT\n"
            "    a < DISCONNECT\n"
            "a > WILLTOPICUPD topic='x'\n"
            "    * FRAME_UNKNOWN_SENDER: WILLTOPICUPD\n"
            "    a < DISCONNECT\n"
            "a > WILLMSG message='x'\n"
            "    * FRAME_UNEXPECTED: WILLMSG\n"
            "a > PUBACK mid=1\n"
            "a > PUBREC mid=1\n"
            "a > PUBCOMP mid=1\n"
            "a > REGACK mid=1\n"
            "a > PINGRESP\n");
}

/* ten answers in ten seconds, to each address; what somebody waits for is answered. */
static void who_babbles_does_not_get_the_air_for_itself(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 10; i++)
        rig_frame(r, "x", &(struct sn_packet){.type = SN_PINGREQ});
    rig_skip(r);
    play(r, "x > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "x > PUBLISH tid=9 data='x'\n"
            "    * FRAME_UNKNOWN_SENDER: PUBLISH\n"
            "y > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    y < DISCONNECT\n"
            "x/n > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    x/n < DISCONNECT\n"
            "wait 9999\n"
            "x > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "wait 1\n"
            "x > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    x < DISCONNECT\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
    for (int i = 0; i < 10; i++)
        rig_frame(r, "a", &(struct sn_packet){.type = SN_PUBLISH, .publish.tid = 9});
    rig_skip(r);
    play(r, "a > PUBLISH tid=9 data='x'\n"
            "    * TOPIC_UNKNOWN a\n"
            "a > PUBLISH qos=1 tid=9 mid=1 data='x'\n"
            "    * TOPIC_UNKNOWN a\n"
            "    a < PUBACK tid=9 mid=1 code=invalid-topic-id\n");
}

/* no supervision, or a long one, may be made shorter. */
static void a_keep_alive_may_have_a_limit(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "b > CONNECT keepalive_s=1000 client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "c > CONNECT keepalive_s=60 client_id='c'\n"
            "    save session 3\n"
            "stored\n"
            "    * CLIENT_CONNECTED c\n"
            "    c < CONNACK code=accepted\n"
            "wait 110000\n"
            "    +66000\n"
            "    * CLIENT_LOST c: active\n"
            "    save session 3 lazy\n"
            "    +110000\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "    * CLIENT_LOST b: active\n"
            "    save session 2 lazy\n");
}

/* SN12-6.1-7, SN12-6.1-10, SN12-5.4.2-1, SN12-5.4.3-1 */
static void searchgw_is_answered_and_changes_nothing(void **state)
{
    struct rig *r = *state;
    play(r, "a > SEARCHGW radius=0\n"
            "    a < GWINFO gw_id=7\n"
            "a > hex 02 01\n"
            "    * FRAME_BAD: truncated\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > DISCONNECT duration_s=10\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "a > SEARCHGW radius=1\n"
            "    a < GWINFO gw_id=7\n"
            "wait 15000\n"
            "    +15000\n"
            "    * CLIENT_LOST a: asleep\n"
            "    save session 1 lazy\n");
}

/* A client that does not want to be asked any more. */
static void disconnect_and_ping_in_the_will_dialogue(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > DISCONNECT duration_s=10\n"
            "    a < DISCONNECT\n"
            "a > CONNECT client_id='a'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > CONNECT will=1 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > PINGREQ\n"
            "    * FRAME_UNEXPECTED a: PINGREQ\n"
            "a > DISCONNECT duration_s=10\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 2\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "a > CONNECT client_id='a'\n"
            "    save session 2\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 2\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "a > CONNECT will=1 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > DISCONNECT duration_s=10\n"
            "    a < DISCONNECT\n");
}

/* SN12-4-2, SN12-5.5-1, SN12-5.5-3, SN12-5.5-4, SN12-5.5-5, SN12-5.5-9 */
static void nodes_behind_forwarders_are_clients_of_their_own(void **state)
{
    struct rig *r = *state;
    play(r, "f/n1 > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    f/n1 < CONNACK code=accepted\n"
            "f/n2 > CONNECT client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    f/n2 < CONNACK code=accepted\n"
            "f > CONNECT client_id='c'\n"
            "    save session 3\n"
            "g/n1 > CONNECT client_id='d'\n"
            "    save session 4\n"
            "stored\n"
            "    * CLIENT_CONNECTED c\n"
            "    f < CONNACK code=accepted\n"
            "    * CLIENT_CONNECTED d\n"
            "    g/n1 < CONNACK code=accepted\n"
            "f/n1 > PINGREQ\n"
            "    f/n1 < PINGRESP\n"
            "f/n3 > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    f/n3 < DISCONNECT\n"
            "f/n1 > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    f/n1 < DISCONNECT\n"
            "f/n2 > PINGREQ\n"
            "    f/n2 < PINGRESP\n"
            "f > hex 05 FE 00 6E 31\n"
            "    * FRAME_BAD: no-inner\n"
            "f > hex 05 FE 00 6E 31 05 FE 00 6E 31 02 16\n"
            "    * FRAME_NOT_FOR_GATEWAY: FORWARD\n");
}

/* Before its commit a CONNECT never happened; after it the client goes on. */
static void a_connect_survives_a_restart_from_its_commit_on(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    a < DISCONNECT\n"
            "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "kill\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PINGREQ\n"
            "    a < PINGRESP\n");
}

/* Silence while we were away is not the client's: a fifth of its time and half a minute. */
static void after_a_restart_a_client_has_time_for_a_sign_of_life(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 65999\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "wait 43199\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n");
}

static void a_clean_session_whose_end_was_not_written_ends_at_the_restart(void **state)
{
    struct rig *r = *state;
    play(r, "f/n > CONNECT will=1 clean=1 client_id='b'\n"
            "    f/n < WILLTOPICREQ\n"
            "f/n > WILLTOPIC topic='w'\n"
            "    f/n < WILLMSGREQ\n"
            "f/n > WILLMSG message=''\n"
            "    save will 1\n"
            "    save session 1\n"
            "kill\n"
            "    * CLIENT_CONNECTED b\n"
            "    f/n < CONNACK code=accepted\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "f/n > PINGREQ\n"
            "    f/n < PINGRESP\n"
            "f/n > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED b\n"
            "    save session 1\n"
            "kill\n"
            "    f/n < DISCONNECT\n"
            "    erase all of 1\n"
            "    erase all of 1\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "stored\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n");
}

static void nothing_new_begins_while_stopping(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=20 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "stop\n"
            "a > CONNECT client_id='b'\n"
            "stored\n");
}

/* That CONNECT succeeds is no end to it: the connection has to be of use, or to last. */
static void the_broker_is_tried_again_with_back_off(void **state)
{
    struct rig *r = *state;
    play(r, "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "wait 2000\n"
            "    +816\n"
            "    connect broker\n"
            "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "wait 4000\n"
            "    +1920\n"
            "    connect broker\n"
            "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "wait 8000\n"
            "    +3492\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +6586\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "wait 10000\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 1000\n"
            "    +769\n"
            "    connect broker\n");
}

#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(connect_is_confirmed_when_the_session_is_stored, begin),
        WITH(connect_repeated_before_the_disk_answers_is_confirmed_once, begin),
        WITH(a_will_is_asked_for_stored_and_fires_when_the_client_is_lost, begin),
        WITH(every_step_of_the_will_dialogue_can_be_repeated, begin),
        WITH(a_will_dialogue_that_is_abandoned_leaves_nothing, begin),
        WITH(a_will_topic_with_a_wildcard_ends_the_connect, begin),
        WITH(a_will_with_qos_minus_one_ends_the_connect, begin),
        WITH(the_will_lives_as_long_as_the_session_or_its_deletion, begin),
        WITH(a_will_is_updated_in_parts_and_deleted, begin),
        WITH(a_will_fires_once_however_often_the_bridge_dies, begin),
        WITH(a_will_of_full_size_fits, begin),
        WITH(a_connect_that_cannot_be_served_is_refused, begin),
        WITH(beyond_max_clients_the_answer_is_congestion, begin),
        WITH(the_newest_connect_takes_over_the_session_or_the_address, begin),
        WITH(who_loses_the_address_in_the_middle_of_connect_is_lost, begin),
        WITH(a_clean_connect_forgets_ids_subscriptions_and_messages, begin),
        WITH(disconnect_ends_the_connection_and_can_be_repeated, begin),
        WITH(keep_alive_has_a_tolerance_of_half_or_a_tenth, begin),
        WITH(a_ping_is_not_a_write, begin),
        WITH(strangers_are_told_so_at_once, begin),
        WITH(who_babbles_does_not_get_the_air_for_itself, begin),
        WITH(a_keep_alive_may_have_a_limit, limited),
        WITH(searchgw_is_answered_and_changes_nothing, begin),
        WITH(disconnect_and_ping_in_the_will_dialogue, begin),
        WITH(nodes_behind_forwarders_are_clients_of_their_own, begin),
        WITH(a_connect_survives_a_restart_from_its_commit_on, begin),
        WITH(after_a_restart_a_client_has_time_for_a_sign_of_life, begin),
        WITH(a_clean_session_whose_end_was_not_written_ends_at_the_restart, begin),
        WITH(nothing_new_begins_while_stopping, begin),
        WITH(the_broker_is_tried_again_with_back_off, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
