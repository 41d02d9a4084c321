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

static int begin_with(void **state, void (*change)(struct rig_options *o))
{
    struct rig_options o;
    rig_defaults(&o);
    change(&o);
    *state = rig_new(&o);
    return 0;
}

static void change_early(struct rig_options *o)
{
    o->config.broker_ack_stored = false;
}

static int early(void **state)
{
    return begin_with(state, change_early);
}

static void change_retry(struct rig_options *o)
{
    o->links[0].retry_min_ms = 1000;
}

static int measured(void **state)
{
    return begin_with(state, change_retry);
}

static void change_rate(struct rig_options *o)
{
    o->links[1].bits_per_s = 1200;
}

static int slow(void **state)
{
    return begin_with(state, change_rate);
}

static void change_predefined(struct rig_options *o)
{
    static const struct bridge_predefined predefined[] = {
        {NULL, 1, "a/very/long/name/that/does/not/fit/into/any/register/on/this/link"}};
    o->config.predefined = predefined;
    o->config.predefined_count = 1;
}

static int long_predefined(void **state)
{
    return begin_with(state, change_predefined);
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

/* SN12-6.9-1, SN12-6.9-2, SN12-6.9-3, SN12-5.4.16-1, SN12-5.4.16-2, SN12-6.9-10, A-23 */
static void subscribe_is_confirmed_by_the_broker_and_then_by_the_disk(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=2 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    subscribe 1 qos=2 t/1 retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t/1\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "a > REGISTER mid=2 name='t/1'\n"
            "    a < REGACK tid=1 mid=2 code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=3 name='t/+'\n"
            "    subscribe 2 qos=1 t/+ retained\n"
            "subscribed 2 1\n"
            "    save filter 1 2 qos=1 t/+\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=3 code=accepted\n"
            "a > SUBSCRIBE qos=0 mid=4 predefined=2\n"
            "    subscribe 3 qos=0 a/two retained\n"
            "subscribed 3 0\n"
            "    save filter 1 3 qos=0 a/two\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=2 mid=4 code=accepted\n"
            "a > SUBSCRIBE qos=0 mid=5 short='AB'\n"
            "    subscribe 4 qos=0 AB retained\n"
            "subscribed 4 0\n"
            "    save filter 1 4 qos=0 AB\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=5 code=accepted\n");
}

/* SN12-6.9-4, SN12-6.9-5, SN12-6.9-11, SN12-5.4.15-1, SN12-5.3.4-4, SN12-5.4.16-3, A-36, A-38 */
static void a_subscribe_that_cannot_be_served_is_refused(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE mid=1 name='t/#/x'\n"
            "    * FRAME_BAD: bad-filter\n"
            "    * SUBSCRIPTION_REFUSED a: bad-filter\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=not-supported\n"
            "a > SUBSCRIBE mid=2 name=''\n"
            "    * FRAME_BAD: empty-topic\n"
            "    * SUBSCRIPTION_REFUSED a: empty-topic\n"
            "    a < SUBACK qos=0 tid=0 mid=2 code=not-supported\n"
            "a > SUBSCRIBE mid=3 predefined=9\n"
            "    * SUBSCRIPTION_REFUSED a: topic\n"
            "    a < SUBACK qos=0 tid=0 mid=3 code=invalid-topic-id\n"
            "a > SUBSCRIBE mid=4 short='/#'\n"
            "    * FRAME_BAD: wildcard-in-name\n"
            "    * SUBSCRIPTION_REFUSED a: wildcard-in-name\n"
            "    a < SUBACK qos=0 tid=0 mid=4 code=not-supported\n"
            "a > SUBSCRIBE qos=-1 mid=5 name='t'\n"
            "    * FRAME_BAD: sub-qos\n"
            "    * SUBSCRIPTION_REFUSED a: sub-qos\n"
            "    a < SUBACK qos=0 tid=0 mid=5 code=not-supported\n"
            "a > SUBSCRIBE mid=0 name='t'\n"
            "    * FRAME_BAD: msgid-zero\n"
            "    * SUBSCRIPTION_REFUSED a: msgid-zero\n"
            "    a < SUBACK qos=0 tid=0 mid=0 code=not-supported\n"
            "a > hex 06 12 03 00 07 41\n"
            "    * FRAME_BAD: topic-id-type\n"
            "    * SUBSCRIPTION_REFUSED a: topic-id-type\n"
            "    a < SUBACK qos=0 tid=0 mid=7 code=not-supported\n"
            "a > SUBSCRIBE qos=1 mid=8 name='secret'\n"
            "    save topic 1 1 secret\n"
            "    subscribe 1 qos=1 secret retained\n"
            "subscribed 1 135\n"
            "    * BROKER_REFUSED_FILTER a: secret\n"
            "    a < SUBACK qos=0 tid=0 mid=8 code=not-supported\n"
            "a > SUBSCRIBE qos=1 mid=9 name='t'\n"
            "    save topic 1 2 t\n"
            "    subscribe 2 qos=1 t retained\n"
            "subscribed 2 0\n"
            "    save filter 1 1 qos=0 t\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=2 mid=9 code=accepted\n");
}

/* SN12-6.9-9, SN12-6.9-12 */
static void a_repeated_subscribe_is_answered_again(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=1 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    subscribe 1 qos=1 t/1 retained\n"
            "a > SUBSCRIBE dup=1 qos=1 mid=1 name='t/1'\n"
            "a > SUBSCRIBE qos=1 mid=2 name='t/2'\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t/1\n"
            "a > SUBSCRIBE dup=1 qos=1 mid=1 name='t/1'\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "a > SUBSCRIBE dup=1 qos=1 mid=1 name='t/1'\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n");
}

/* The promise is the bridge's to keep. */
static void a_subscription_while_the_broker_is_away_is_granted_and_made_later(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "a > SUBSCRIBE qos=1 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    save filter 1 1 qos=1 t/1\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=2 name='t/2'\n"
            "    save topic 1 2 t/2\n"
            "    save filter 1 2 qos=1 t/2\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=2 mid=2 code=accepted\n"
            "a > UNSUBSCRIBE mid=3 name='t/2'\n"
            "    erase filter 1 2\n"
            "stored\n"
            "    a < UNSUBACK mid=3\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 t/1 retained\n"
            "subscribed 1 1\n"
            "message token 1 qos=1 retain t/1 'old'\n"
            "    store 8 for 1 qos=1 retain t/1 'old'\n"
            "    a < PUBLISH qos=1 retain=1 tid=1 mid=9 data='old'\n"
            "stored\n"
            "    accept 1\n");
}

/* What is published before the broker has heard of a subscription is lost to it, so SUBACK
 * waits for a connection that is being made for the first time. */
static void suback_waits_for_the_first_connection(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "a > SUBSCRIBE qos=1 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "a > SUBSCRIBE dup=1 qos=1 mid=1 name='t/1'\n"
            "b > SUBSCRIBE qos=2 mid=1 name='t/#'\n"
            "wait 2900\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 t/1 retained\n"
            "    subscribe 2 qos=2 t/# retained\n"
            "wait 1000\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t/1\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "subscribed 2 2\n"
            "    save filter 2 1 qos=2 t/#\n"
            "stored\n"
            "    b < SUBACK qos=2 tid=0 mid=1 code=accepted\n");
}

static void but_not_for_long(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "a > SUBSCRIBE qos=1 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "wait 2000\n"
            "b > SUBSCRIBE qos=2 mid=1 name='t/#'\n"
            "wait 1000\n"
            "    +1000\n"
            "    save filter 2 1 qos=2 t/#\n"
            "    save filter 1 1 qos=1 t/1\n"
            "stored\n"
            "    b < SUBACK qos=2 tid=0 mid=1 code=accepted\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=2 name='t/2'\n"
            "    save topic 1 2 t/2\n"
            "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "    save filter 1 2 qos=1 t/2\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=2 mid=2 code=accepted\n"
            "wait 2000\n"
            "    +816\n"
            "    connect broker\n"
            "a > SUBSCRIBE qos=1 mid=3 name='t/3'\n"
            "    save topic 1 3 t/3\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 t/1 retained\n"
            "    subscribe 2 qos=2 t/# retained\n"
            "    subscribe 3 qos=1 t/2 retained\n"
            "    subscribe 4 qos=1 t/3 retained\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    save filter 1 3 qos=1 t/3\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=3 mid=3 code=accepted\n"
            "wait 2000\n"
            "    +1920\n"
            "    connect broker\n"
            "a > SUBSCRIBE qos=1 mid=4 name='t/4'\n"
            "    save topic 1 4 t/4\n"
            "    save filter 1 4 qos=1 t/4\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=4 mid=4 code=accepted\n");
}

/* And who waits for the broker's answer when it goes away is granted, too. */
static void a_subscription_under_way_when_the_broker_goes_is_granted(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=1 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    subscribe 1 qos=1 t/1 retained\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    save filter 1 1 qos=1 t/1\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 2 qos=1 t/1 retained\n"
            "subscribed 2 1\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 1000\n"
            "    +534\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 2000\n"
            "    +1084\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 3 qos=1 t/1\n"
            "subscribed 3 1\n");
}

/* A CONNECT in between voids it. */
static void a_subscription_under_way_when_the_client_connects_anew_is_void(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=1 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    subscribe 1 qos=1 t/1 retained\n"
            "a > CONNECT clean=1 client_id='a'\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=1 name='t/2'\n"
            "    save topic 1 1 t/2\n"
            "    subscribe 2 qos=1 t/2 retained\n"
            "subscribed 1 1\n"
            "    unsubscribe 3 t/1\n"
            "subscribed 2 1\n"
            "    save filter 1 1 qos=1 t/2\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "unsubscribed 3\n");
}

/* SN12-4.2-2, SN12-4.2-3, SN12-6.10-10: one subscription at the broker, each client its QoS. */
static void two_clients_share_a_filter_at_the_broker(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=1 mid=1 short='AB'\n"
            "    subscribe 1 qos=1 AB retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "b > SUBSCRIBE qos=0 mid=1 short='AB'\n"
            "    subscribe 2 qos=1 AB retained\n"
            "subscribed 2 1\n"
            "    save filter 2 1 qos=0 AB\n"
            "stored\n"
            "    b < SUBACK qos=0 tid=0 mid=1 code=accepted\n"
            "message token 1 qos=1 AB 'x'\n"
            "    store 5 for 1 qos=1 AB 'x'\n"
            "    a < PUBLISH qos=1 short='AB' mid=6 data='x'\n"
            "    b < PUBLISH qos=0 short='AB' mid=0 data='x'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK tid=16706 mid=10\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n"
            "a > UNSUBSCRIBE mid=2 short='AB'\n"
            "    erase filter 1 1\n"
            "stored\n"
            "    a < UNSUBACK mid=2\n"
            "b > UNSUBSCRIBE mid=2 short='AB'\n"
            "    erase filter 2 1\n"
            "    unsubscribe 3 AB\n"
            "stored\n"
            "    b < UNSUBACK mid=2\n"
            "unsubscribed 3\n");
}

/* A higher QoS is asked for anew; the filters of one client count once per message. */
static void overlapping_subscriptions_deliver_once_with_the_highest_qos(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=0 mid=1 name='AB'\n"
            "    save topic 1 1 AB\n"
            "    subscribe 1 qos=0 AB retained\n"
            "subscribed 1 0\n"
            "    save filter 1 1 qos=0 AB\n"
            "a > SUBSCRIBE qos=0 mid=2 name='#'\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=1 mid=1 code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=3 name='AB'\n"
            "    subscribe 2 qos=1 AB retained\n"
            "subscribed 2 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=3 code=accepted\n"
            "a > SUBSCRIBE qos=0 mid=4 name='#'\n"
            "    subscribe 3 qos=0 # retained\n"
            "subscribed 3 1\n"
            "    save filter 1 2 qos=0 #\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=4 code=accepted\n"
            "message token 1 qos=1 AB 'x'\n"
            "    store 7 for 1 qos=1 AB 'x'\n"
            "    a < PUBLISH qos=1 tid=1 mid=8 data='x'\n");
}

/* SN12-6.9-7, SN12-6.9-8, A-40 */
static void unsubscribe_is_confirmed_even_when_there_was_nothing(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=0 mid=1 name='t/#'\n"
            "    subscribe 1 qos=0 t/# retained\n"
            "subscribed 1 0\n"
            "    save filter 1 1 qos=0 t/#\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=accepted\n"
            "a > UNSUBSCRIBE mid=2 name='t/#'\n"
            "    erase filter 1 1\n"
            "    unsubscribe 2 t/#\n"
            "a > UNSUBSCRIBE mid=3 name='t/#'\n"
            "    a < UNSUBACK mid=3\n"
            "stored\n"
            "    a < UNSUBACK mid=2\n"
            "message qos=0 t/1 'x'\n"
            "    * DOWN_NO_SUBSCRIBER: t/1\n"
            "unsubscribed 2\n"
            "a > UNSUBSCRIBE mid=4 name='#/t'\n"
            "    * FRAME_BAD: bad-filter\n"
            "    a < UNSUBACK mid=4\n"
            "a > UNSUBSCRIBE mid=5 predefined=9\n"
            "    a < UNSUBACK mid=5\n");
}

/* Retained messages answer the one who has just subscribed (SN12-6.10-11). */
static void retained_messages_go_to_the_new_subscriber_only(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=0 mid=1 short='AB'\n"
            "    subscribe 1 qos=0 AB retained\n"
            "subscribed 1 0\n"
            "    save filter 1 1 qos=0 AB\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=accepted\n"
            "message qos=0 retain AB 'old'\n"
            "    a < PUBLISH qos=0 retain=1 short='AB' mid=0 data='old'\n"
            "wait 10001\n"
            "b > SUBSCRIBE qos=0 mid=1 short='AB'\n"
            "    subscribe 2 qos=0 AB retained\n"
            "subscribed 2 0\n"
            "    save filter 2 1 qos=0 AB\n"
            "stored\n"
            "    b < SUBACK qos=0 tid=0 mid=1 code=accepted\n"
            "message qos=0 retain AB 'old'\n"
            "    b < PUBLISH qos=0 retain=1 short='AB' mid=0 data='old'\n"
            "message qos=0 AB 'new'\n"
            "    a < PUBLISH qos=0 short='AB' mid=0 data='new'\n"
            "    b < PUBLISH qos=0 short='AB' mid=0 data='new'\n");
}

/* MQTT 4.7.2 */
static void a_wildcard_in_front_does_not_match_system_topics(void **state)
{
    struct rig *r = *state;
    connect_all(r, "ab");
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=0 mid=1 name='#'\n"
            "    subscribe 1 qos=0 # retained\n"
            "subscribed 1 0\n"
            "    save filter 1 1 qos=0 #\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=accepted\n"
            "message qos=0 $SYS/x 'x'\n"
            "    * DOWN_NO_SUBSCRIBER: $SYS/x\n");
}

static void subscriptions_are_limited_for_each_client(void **state)
{
    struct rig *r = *state;
    connect_all(r, "a");
    play(r, "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "a > SUBSCRIBE mid=1 name='1/+'\n"
            "    save filter 1 1 qos=0 1/+\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=accepted\n"
            "a > SUBSCRIBE mid=2 name='2/+'\n"
            "    save filter 1 2 qos=0 2/+\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=2 code=accepted\n"
            "a > SUBSCRIBE mid=3 name='3/+'\n"
            "    save filter 1 3 qos=0 3/+\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=3 code=accepted\n"
            "a > SUBSCRIBE mid=4 name='4/+'\n"
            "    save filter 1 4 qos=0 4/+\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=4 code=accepted\n"
            "a > SUBSCRIBE mid=5 name='5/+'\n"
            "    save filter 1 5 qos=0 5/+\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=5 code=accepted\n"
            "a > SUBSCRIBE mid=6 name='6/+'\n"
            "    save filter 1 6 qos=0 6/+\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=6 code=accepted\n"
            "a > SUBSCRIBE mid=7 name='7/+'\n"
            "    * SUBSCRIPTION_LIMIT a: 7/+\n"
            "    * SUBSCRIPTION_REFUSED a: limit\n"
            "    a < SUBACK qos=0 tid=0 mid=7 code=congestion\n"
            "a > SUBSCRIBE mid=8 name='1/+'\n"
            "    save filter 1 1 qos=0 1/+\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=8 code=accepted\n");
}

/* SN12-6.10-2, SN12-6.10-3, SN12-6.10-4, SN12-5.4.10-2: the id is stored, then told, then used. */
static void a_name_is_registered_before_its_first_message(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/+", 0);
    play(r, "message qos=0 t/1 'x'\n"
            "    save topic 1 1 t/1\n"
            "message qos=0 t/1 'y'\n"
            "stored\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='x'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='y'\n"
            "message qos=0 t/1 'z'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='z'\n");
}

/* SN12-6.10-1, SN12-6.7-5, SN12-6.7-7, SN12-5.4.12-2, A-39 */
static void ids_known_to_the_device_need_no_register(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "#", 0);
    play(r, "message qos=0 a/two 'predefined for a'\n"
            "    a < PUBLISH qos=0 predefined=2 mid=0 data='predefined for a'\n"
            "message qos=0 pre/two 'shadowed'\n"
            "    save topic 1 1 pre/two\n"
            "message qos=0 AB 'short'\n"
            "a > REGISTER mid=1 name='t/1'\n"
            "    save topic 1 2 t/1\n"
            "stored\n"
            "    a < REGISTER tid=1 mid=1 name='pre/two'\n"
            "    a < REGACK tid=2 mid=1 code=accepted\n"
            "message qos=0 t/1 'its own'\n");
}

static void change_short(struct rig_options *o)
{
    o->config.register_short = true;
}

static int short_names_registered(void **state)
{
    return begin_with(state, change_short);
}

/* A-39 */
static void a_short_name_that_a_wildcard_matches_may_be_registered(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "#", 0);
    play(r, "message qos=0 AB 'x'\n"
            "    save topic 1 1 AB\n"
            "stored\n"
            "    a < REGISTER tid=1 mid=1 name='AB'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='x'\n"
            "message qos=0 AB 'y'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='y'\n");
}

/* A-39, SN12-6.7-5: it knows the name by nothing else. */
static void a_name_subscribed_as_a_short_one_is_not_registered(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "#", 0);
    play(r, "a > SUBSCRIBE qos=0 mid=2 short='AB'\n"
            "    subscribe 2 qos=0 AB retained\n"
            "subscribed 2 0\n"
            "    save filter 1 2 qos=0 AB\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=0 mid=2 code=accepted\n"
            "message qos=0 AB 'x'\n"
            "    a < PUBLISH qos=0 short='AB' mid=0 data='x'\n");
}

static struct {
    uint8_t sent[300]; /* the last frame */
    size_t sent_len;
    uint8_t published[300]; /* the last payload */
    size_t published_len;
} seen;

static void note_octets(void *ctx, const struct bridge_action *a)
{
    (void)ctx;
    if (a->type == BRIDGE_DO_SEND) {
        seen.sent_len = a->send.bytes.len;
        memcpy(seen.sent, a->send.bytes.data, a->send.bytes.len);
    } else if (a->type == BRIDGE_DO_PUBLISH) {
        seen.published_len = a->publish.message.payload.len;
        memcpy(seen.published, a->publish.message.payload.data, seen.published_len);
    }
}

static void change_watch(struct rig_options *o)
{
    o->watch = note_octets;
}

static int watched(void **state)
{
    return begin_with(state, change_watch);
}

static void message_of(struct rig *r, const uint8_t *data, size_t len)
{
    rig_step(r, &(struct bridge_event){
                    .type = BRIDGE_ON_MESSAGE,
                    .message = {.topic = sn_bytes_text("AB"), .payload = sn_bytes(data, len)}});
    rig_skip(r);
}

/* SN12-5.2.1-2, SN12-5.2.1-4, SN12-5.2.1-5, SN12-5.3.2-1: from 256 octets on the length has
 * three; every octet passes as it is. */
static void long_messages_pass_both_ways(void **state)
{
    static const uint8_t head[] = {0x01, 0x01, 0x09, SN_PUBLISH, 0x00, 0x00, 0x01, 0x00, 0x00};
    struct rig *r = *state;
    uint8_t data[256];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    subscribe(r, "a", "AB", 0);
    message_of(r, data, 248);
    assert_int_equal(seen.sent_len, 255);
    assert_int_equal(seen.sent[0], 0xFF);
    assert_int_equal(seen.sent[1], SN_PUBLISH);
    message_of(r, data, 249);
    assert_int_equal(seen.sent_len, 258);
    assert_memory_equal(seen.sent, ((const uint8_t[]){0x01, 0x01, 0x02, SN_PUBLISH}), 4);
    message_of(r, data, 256);
    assert_int_equal(seen.sent_len, sizeof(head) + 256);
    assert_memory_equal(seen.sent, head, sizeof(head));
    assert_memory_equal(seen.sent + sizeof(head), data, 256);
    rig_frame(r, "a",
              &(struct sn_packet){.type = SN_PUBLISH,
                                  .publish = {.tid = 1, .data = sn_bytes(data, 256)}});
    rig_skip(r);
    assert_int_equal(seen.published_len, 256);
    assert_memory_equal(seen.published, data, 256);
}

/* SN12-6.10-9, SN12-5.4.12-3, SN12-6.13-3: one message is open at a time. */
static void qos_1_goes_one_by_one(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 7 for 1 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=8 data='1'\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 8 for 1 qos=1 AB '2'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "a > PUBACK tid=16706 mid=9\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n"
            "a > PUBACK tid=16706 mid=8\n"
            "    forget 7 for 1 lazy\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='2'\n"
            "a > PUBACK tid=16706 mid=9\n"
            "    forget 8 for 1 lazy\n"
            "stored\n");
}

/* SN12-6.10-9: at the device only when it is stored; PUBREL only when PUBREC is. */
static void qos_2_goes_over_the_disk_at_every_step(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 2);
    play(r, "message token 1 qos=2 AB '1'\n"
            "    store 7 for 1 qos=2 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=8 data='1'\n"
            "a > PUBREC mid=8\n"
            "    mark 7 for 1 released\n"
            "a > PUBREC mid=8\n"
            "stored\n"
            "    a < PUBREL mid=8\n"
            "a > PUBREC mid=8\n"
            "    a < PUBREL mid=8\n"
            "a > PUBCOMP mid=8\n"
            "    forget 7 for 1\n"
            "stored\n"
            "a > PUBREC mid=8\n"
            "    a < PUBREL mid=8\n"
            "a > PUBCOMP mid=8\n"
            "    * FRAME_UNEXPECTED a: PUBCOMP\n");
}

/* SN12-6.13-1, SN12-5.3.4-3, SN12-6.13-2, A-44 */
static void an_unanswered_message_is_repeated_with_dup_and_then_waits_for_the_client(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 7 for 1 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=8 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "wait 40000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=8 data='1'\n"
            "    +20000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=8 data='1'\n"
            "    +30000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=8 data='1'\n"
            "    +40000\n"
            "    * CLIENT_NO_ANSWER a: active\n"
            "wait 1000000\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "    save account lazy\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    a < PUBLISH dup=1 qos=1 short='AB' mid=8 data='1'\n"
            "a > PUBACK tid=16706 mid=8\n"
            "    forget 7 for 1 lazy\n");
}

/* SN12-6.13-1 */
static void an_unanswered_register_and_pubrel_are_repeated(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "#", 2);
    play(r, "message token 1 qos=2 t/1 '1'\n"
            "    store 7 for 1 qos=2 t/1 '1'\n"
            "    save topic 1 1 t/1\n"
            "stored\n"
            "    accept 1\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "wait 10000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH qos=2 tid=1 mid=8 data='1'\n"
            "wait 10000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=2 tid=1 mid=8 data='1'\n"
            "a > PUBREC mid=8\n"
            "    mark 7 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=8\n"
            "wait 10000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBREL mid=8\n"
            "a > PUBCOMP mid=8\n"
            "    forget 7 for 1\n");
}

/* SN12-6.10-5, SN12-6.10-6, A-42 */
static void a_rejected_register_is_an_unsubscribe_unless_a_wildcard_stands_for_it(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/#", 1);
    subscribe(r, "a", "t/1", 1);
    reconnect(r, "a");
    play(r, "message token 1 qos=1 t/1 '1'\n"
            "    store 11 for 1 qos=1 t/1 '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=12 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK tid=1 mid=12 code=invalid-topic-id\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1 code=invalid-topic-id\n"
            "    * TOPIC_REJECTED a: t/1\n"
            "    erase filter 1 2\n"
            "    unsubscribe 3 t/1\n"
            "    * DOWN_REJECTED a: t/1\n"
            "    forget 11 for 1 lazy\n"
            "stored\n"
            "unsubscribed 3\n"
            "message token 2 qos=1 t/1 '2'\n"
            "    store 14 for 1 qos=1 t/1 '2'\n"
            "    a < REGISTER tid=1 mid=2 name='t/1'\n"
            "stored\n"
            "    accept 2\n"
            "a > REGACK tid=1 mid=2 code=not-supported\n"
            "    * TOPIC_REJECTED a: t/1\n"
            "    * DOWN_REJECTED a: t/1\n"
            "    forget 14 for 1 lazy\n"
            "message token 3 qos=1 t/2 '2'\n"
            "    store 16 for 1 qos=1 t/2 '2'\n"
            "    save topic 1 2 t/2\n"
            "stored\n"
            "    accept 3\n"
            "    a < REGISTER tid=2 mid=3 name='t/2'\n"
            "a > REGACK tid=2 mid=3 code=congestion\n"
            "wait 10000\n"
            "    +10000\n"
            "    a < REGISTER tid=2 mid=4 name='t/2'\n"
            "a > REGACK tid=2 mid=4\n"
            "    a < PUBLISH qos=1 tid=2 mid=17 data='2'\n");
}

/* SN12-6.10-7, A-43: once, then it is dropped. */
static void an_id_that_the_device_does_not_know_is_registered_again_once(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/1", 1);
    play(r, "message token 1 qos=1 t/1 '1'\n"
            "    store 7 for 1 qos=1 t/1 '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=8 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK tid=1 mid=8 code=invalid-topic-id\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=8 data='1'\n"
            "a > PUBACK tid=1 mid=8 code=invalid-topic-id\n"
            "    * DOWN_REJECTED a: t/1\n"
            "    forget 7 for 1 lazy\n"
            "message token 2 qos=1 t/1 '2'\n"
            "    store 9 for 1 qos=1 t/1 '2'\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='2'\n"
            "stored\n"
            "    accept 2\n"
            "a > PUBACK tid=1 mid=9 code=invalid-topic-id\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n"
            "a > REGACK tid=1 mid=2\n"
            "    * FRAME_UNEXPECTED a: REGACK\n"
            "a > PUBACK tid=1 mid=9\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n"
            "message qos=0 t/1 '3'\n"
            "a > PUBACK tid=1 mid=0 code=invalid-topic-id\n"
            "message qos=0 t/1 '4'\n");
}

/* A-42 */
static void a_congested_device_is_given_time(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 7 for 1 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=8 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK tid=16706 mid=8 code=congestion\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 8 for 1 qos=1 AB '2'\n"
            "wait 10000\n"
            "    +10000\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=8 data='1'\n"
            "a > PUBACK tid=16706 mid=8\n"
            "    forget 7 for 1 lazy\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='2'\n"
            "a > PUBACK tid=16706 mid=9 code=not-supported\n"
            "    * DOWN_REJECTED a: AB\n"
            "    forget 8 for 1 lazy\n");
}

/* SN12-6.10-8, SN12-5.2.1-8, SN12-7.4-1, A-56 */
static void what_does_not_fit_the_link_is_dropped_and_accepted_from_the_broker(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a@1", "#", 1);
    play(r, "message token 1 qos=1 AB '12345678901234567890123456789012345678901234567890123'\n"
            "    store 7 for 1 qos=1 AB '1234567890123456789012345678901234567890... 53'\n"
            "    a@1 < PUBLISH qos=1 short='AB' mid=8 "
            "data='12345678901234567890123456789012345678901234567890123'\n"
            "message token 2 qos=1 AB '123456789012345678901234567890123456789012345678901234'\n"
            "    * DOWN_TOO_LARGE a: AB\n"
            "    accept 2\n"
            "message token 3 qos=1 "
            "a/very/long/name/that/does/not/fit/into/any/register/on/this/link 'x'\n"
            "    * DOWN_TOO_LARGE a: a/very/long/name/that/does/not/fit/into/... 65\n"
            "    accept 3\n"
            "stored\n"
            "    accept 1\n");
}

/* An id that both sides know needs no frame for its name. */
static void a_long_name_with_a_predefined_id_fits_any_frame(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a@1", "#", 0);
    play(r, "message qos=0 a/very/long/name/that/does/not/fit/into/any/register/on/this/link 'x'\n"
            "    a@1 < PUBLISH qos=0 predefined=1 mid=0 data='x'\n");
}

/* SN12-6.3-5, SN12-6.12-3, SN12-6.14-16, A-53 */
static void messages_for_who_is_away_wait_in_order(void **state)
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
            "message qos=0 AB '2'\n"
            "    * DOWN_DROPPED_QOS0 a: AB\n"
            "message token 3 qos=1 AB '3'\n"
            "    store 9 for 1 qos=1 AB '3'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 3\n"
            "wait 100000000\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "    save account lazy\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    a < PUBLISH qos=1 short='AB' mid=9 data='1'\n"
            "a > PUBACK tid=16706 mid=9\n"
            "    forget 8 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=10 data='3'\n"
            "a > PUBACK tid=16706 mid=11\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n");
}

static void messages_expire_while_they_wait(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 expiry 60 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "message token 2 qos=1 expiry 120 AB '2'\n"
            "    store 9 for 1 qos=1 AB '2'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "wait 60000\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "    save account lazy\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 8 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=10 data='2'\n");
}

/* More than memory holds: the rest comes from the disk, and nothing beyond max_queue. */
static void a_long_queue_is_read_back_from_the_disk(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n");
    for (uint64_t i = 1; i <= 22; i++)
        rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_MESSAGE,
                                           .message = {.token = i,
                                                       .qos = 1,
                                                       .topic = sn_bytes_text("AB"),
                                                       .payload = sn_bytes_text("x")}});
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    a < PUBLISH qos=1 short='AB' mid=9 data='x'\n");
    for (uint16_t mid = 9; mid < 16; mid++)
        rig_frame(r, "a", &(struct sn_packet){.type = SN_PUBACK, .ack.mid = mid});
    rig_skip(r);
    play(r, "a > PUBACK mid=16\n"
            "    forget 15 for 1 lazy\n"
            "    fetch for 1 from 16\n"
            "message token 30 qos=0 AB 'last'\n"
            "    accept 30\n"
            "fetched\n"
            "    a < PUBLISH qos=1 short='AB' mid=17 data='x'\n"
            "a > PUBACK mid=17\n"
            "    forget 16 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=18 data='x'\n");
}

/* The restart sends nothing; what was open runs on until its T_retry. */
static void an_open_message_goes_on_after_a_restart_without_a_frame_for_it(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 2);
    play(r, "message token 1 qos=2 AB '1'\n"
            "    store 7 for 1 qos=2 AB '1'\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 8 for 1 qos=1 AB '2'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=8 data='1'\n"
            "    accept 2\n"
            "kill\n"
            "    fetch for 1 from 7\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "fetched\n"
            "a > PUBREC mid=8\n"
            "    mark 7 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=8\n"
            "a > PUBCOMP mid=8\n"
            "    forget 7 for 1\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='2'\n"
            "kill\n"
            "    fetch for 1 from 8\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "fetched\n"
            "wait 10000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=9 data='2'\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n"
            "stored\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n");
}

/* PUBREL was promised: the device may have forgotten the id. */
static void pubrel_goes_on_after_a_restart(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 2);
    play(r, "message token 1 qos=2 AB '1'\n"
            "    store 7 for 1 qos=2 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=8 data='1'\n"
            "a > PUBREC mid=8\n"
            "    mark 7 for 1 released\n"
            "kill\n"
            "    a < PUBREL mid=8\n"
            "    fetch for 1 from 7\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "fetched\n"
            "wait 10000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBREL mid=8\n"
            "a > PUBCOMP mid=8\n"
            "    forget 7 for 1\n"
            "crash\n"
            "    fetch for 1 from 7\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "fetched\n"
            "wait 10000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBREL mid=8\n"
            "a > PUBCOMP mid=8\n"
            "    forget 7 for 1\n"
            "stored\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n");
}

/* A crash before the commit: the broker still has it, and the device never had it. */
static void a_message_that_was_not_stored_is_the_brokers(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 2);
    play(r, "message token 1 qos=2 AB '1'\n"
            "    store 7 for 1 qos=2 AB '1'\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=2 AB\n"
            "subscribed 1 2\n"
            "message token 1 qos=2 AB '1'\n"
            "    store 8 for 1 qos=2 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=9 data='1'\n");
}

/* A late PUBREC must not free an id that is to be used again for the same message. */
static void a_late_pubrec_does_not_end_a_message_that_goes_again(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 2);
    play(r, "message token 1 qos=2 AB '1'\n"
            "    store 7 for 1 qos=2 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=8 data='1'\n"
            "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "a > PUBREC mid=8\n"
            "    * FRAME_UNEXPECTED a: PUBREC\n"
            "a > PUBREC mid=77\n"
            "    a < PUBREL mid=77\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH dup=1 qos=2 tid=1 mid=8 data='1'\n"
            "a > PUBREC mid=8\n"
            "    mark 7 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=8\n"
            "a > PUBCOMP mid=8\n"
            "    forget 7 for 1\n"
            "    a < PINGRESP\n");
}

/* 6.10: after a new CONNECT the device may have forgotten the names (SN12-6.5-5, A-16, A-41). */
static void names_are_registered_once_per_connection(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/1", 0);
    play(r, "message qos=0 t/1 '1'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='1'\n");
    reconnect(r, "a");
    play(r, "message qos=0 t/1 '2'\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='2'\n"
            "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message qos=0 t/1 '3'\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='3'\n"
            "    a < PINGRESP\n");
}

/* The broker must send them again: the connection is made anew. */
static void copies_that_cannot_be_stored_go_back_to_the_broker(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 7 for 1 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=8 data='1'\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * BROKER_CUT\n"
            "    disconnect broker\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "message token 2 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "stored\n"
            "    accept 2\n"
            "a > PUBACK mid=8\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n");
}

static void message_comes(struct rig *r, uint64_t token)
{
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_MESSAGE,
                                       .message = {.token = token,
                                                   .qos = 1,
                                                   .topic = sn_bytes_text("AB"),
                                                   .payload = sn_bytes_text("1")}});
}

/* How long the broker is left alone after the disk has refused a message. */
static uint64_t rest_after_refusal(struct rig *r, uint64_t token)
{
    message_comes(r, token);
    rig_refuse(r, UINT64_MAX);
    assert_false(rig_has_broker(r, 0));
    const uint64_t from = rig_now(r);
    while (!rig_wants_broker(r, 0))
        rig_pass(r, 10);
    rig_broker_up(r, true, 10, 2);
    return rig_now(r) - from;
}

/* A disk that fails for long: later each time, up to a limit, and by chance; and as soon
 * as ever when the disk has taken something. */
static void the_broker_is_left_alone_while_the_disk_refuses(void **state)
{
    struct rig *r = *state;
    uint64_t longest = 1000;
    subscribe(r, "a", "AB", 1);
    for (uint64_t token = 1; token <= 20; token++) {
        const uint64_t rest = rest_after_refusal(r, token);
        assert_true(rest >= longest / 2 && rest <= longest + 10);
        longest = longest < 30000 ? 2 * longest : 60000;
    }
    message_comes(r, 21);
    rig_commit(r, rig_ticket(r));
    assert_true(rest_after_refusal(r, 22) <= 1010);
    rig_skip(r);
}

static void falls_asleep(struct rig *r, const char *peer)
{
    rig_frame(r, peer,
              &(struct sn_packet){.type = SN_DISCONNECT,
                                  .disconnect = {.has_duration = true, .duration_s = 60000}});
    rig_commit(r, UINT64_MAX);
}

/* So many wait on the disk for a sleeper, most of them there only. */
static void sleeper_with(struct rig *r, uint64_t count)
{
    subscribe(r, "a", "AB", 1);
    falls_asleep(r, "a");
    for (uint64_t token = 1; token <= count; token++)
        message_comes(r, token);
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
}

static struct bridge_account down(struct rig *r)
{
    struct bridge_status s;
    rig_status(r, &s);
    return s.down;
}

/* Of what the disk has refused nothing is left, wherever it was: the queue never reads as full. */
static void refused_copies_take_no_room_in_a_deep_queue(void **state)
{
    struct rig *r = *state;
    sleeper_with(r, 12);
    for (uint64_t token = 13; token <= 40; token++) {
        message_comes(r, token);
        message_comes(r, token);
        rig_refuse(r, UINT64_MAX);
        assert_int_equal(down(r).accepted, 12);
        assert_int_equal(down(r).queued, 12);
        while (!rig_wants_broker(r, 0))
            rig_pass(r, 1000);
        rig_broker_up(r, true, 10, 2);
    }
    message_comes(r, 41);
    rig_commit(r, UINT64_MAX);
    assert_int_equal(down(r).queued, 13);
    assert_int_equal(down(r).dropped, 0);
    rig_skip(r);
}

/* The queue has room for 20. What is beyond is dropped only when the others are safe. */
static void a_queue_is_full_of_what_the_disk_has_and_of_nothing_else(void **state)
{
    struct rig *r = *state;
    sleeper_with(r, 19);
    play(r, "message token 20 qos=1 AB 'x'\n"
            "    store 27 for 1 qos=1 AB 'x'\n"
            "message token 21 qos=1 AB 'y'\n"
            "    * DOWN_QUEUE_FULL a: AB\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * BROKER_CUT\n"
            "    disconnect broker\n");
    assert_int_equal(down(r).accepted, 19);
    assert_int_equal(down(r).dropped, 0);
    play(r, "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "message token 22 qos=1 AB 'x'\n"
            "    store 28 for 1 qos=1 AB 'x'\n"
            "message token 23 qos=1 AB 'y'\n"
            "    * DOWN_QUEUE_FULL a: AB\n"
            "stored\n"
            "    accept 22\n"
            "    accept 23\n"
            "message token 24 qos=1 AB 'z'\n"
            "    * DOWN_QUEUE_FULL a: AB\n"
            "    accept 24\n");
    assert_int_equal(down(r).accepted, 22);
    assert_int_equal(down(r).dropped, 2);
}

/* One message is taken with all its copies, or comes again for all: whichever is refused. */
static void a_message_is_refused_with_any_of_its_copies(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    subscribe(r, "b", "AB", 1);
    falls_asleep(r, "b");
    rig_skip(r);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 11 for 1 qos=1 AB '1'\n"
            "    store 12 for 2 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=12 data='1'\n"
            "store failed 11\n"
            "    * STORE_FAILED\n"
            "    forget 12 for 2\n"
            "    * BROKER_CUT\n"
            "    disconnect broker\n"
            "stored\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "message token 2 qos=1 AB '1'\n"
            "    store 14 for 1 qos=1 AB '1'\n"
            "    store 15 for 2 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=15 data='1'\n"
            "stored 14\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    forget 14 for 1\n"
            "    * BROKER_CUT\n"
            "    disconnect broker\n"
            "stored\n");
    assert_int_equal(down(r).accepted, 0);
    assert_int_equal(rig_rows(r), 0);
}

/* Were a copy of QoS 2 with its sensor and another one refused, it would come again. */
static void exactly_once_waits_for_all_copies(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 2);
    subscribe(r, "b", "AB", 2);
    rig_skip(r);
    play(r, "message token 1 qos=2 AB '1'\n"
            "    store 10 for 1 qos=2 AB '1'\n"
            "    store 11 for 2 qos=2 AB '1'\n"
            "stored 10\n"
            "stored\n"
            "    accept 1\n"
            "    b < PUBLISH qos=2 tid=1 mid=12 data='1'\n"
            "    a < PUBLISH qos=2 tid=1 mid=11 data='1'\n");
}

/* broker_ack = early: nobody sends them again. */
static void refused_copies_that_do_not_come_again_stay_in_memory_or_are_counted(void **state)
{
    struct rig *r = *state;
    sleeper_with(r, 7);
    play(r, "message token 8 qos=1 AB 'x'\n"
            "    store 15 for 1 qos=1 AB 'x'\n"
            "    accept 8\n"
            "message token 9 qos=1 AB 'yy'\n"
            "    store 16 for 1 qos=1 AB 'yy'\n"
            "    accept 9\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * DOWN_NOT_STORED a\n");
    assert_int_equal(down(r).queued, 8);
    assert_int_equal(down(r).dropped, 1);
}

/* Memory is short for what the disk has, and the sensor connects anew meanwhile. */
static void a_shortage_of_memory_outlives_no_connect(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    falls_asleep(r, "a");
    message_comes(r, 1);
    rig_commit(r, UINT64_MAX);
    rig_restart(r, true);
    rig_skip(r);
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    fetch for 1 from 8\n");
    rig_bridge(r)->arena.closed = true;
    play(r, "fetched\n"
            "    * MEMORY_FULL a\n");
    rig_bridge(r)->arena.closed = false;
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 2000\n"
            "    +1000\n"
            "    fetch for 1 from 8\n"
            "fetched\n"
            "    a < PUBLISH dup=1 qos=1 short='AB' mid=9 data='1'\n");
}

/* Memory ends after two copies: they are gone, too. */
static void a_message_whose_copies_cannot_all_be_remembered_goes_back_whole(void **state)
{
    struct rig *r = *state;
    struct arena *arena = &rig_bridge(r)->arena;
    subscribe(r, "a", "AB", 1);
    subscribe(r, "b", "AB", 1);
    subscribe(r, "c", "AB", 1);
    connect_all(r, "d");
    const uint32_t pages = arena->page_count;
    arena->page_count = arena->fresh; /* no new pages */
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 14 for 1 qos=1 AB '1'\n"
            "    store 15 for 2 qos=1 AB '1'\n"
            "    * MEMORY_FULL\n"
            "    forget 14 for 1\n"
            "    forget 15 for 2\n"
            "    * BROKER_CUT\n"
            "    disconnect broker\n"
            "stored\n");
    arena->page_count = pages;
    assert_int_equal(down(r).accepted, 0);
    play(r, "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "message token 2 qos=1 AB '1'\n"
            "    store 19 for 1 qos=1 AB '1'\n"
            "    store 20 for 2 qos=1 AB '1'\n"
            "    store 21 for 3 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=20 data='1'\n"
            "    b < PUBLISH qos=1 tid=1 mid=21 data='1'\n"
            "    c < PUBLISH qos=1 tid=1 mid=22 data='1'\n"
            "stored\n"
            "    accept 2\n");
}

/* Without memory to wait for the disk the broker keeps the message, and nothing of it is
 * here. QoS 0 promises nothing and has no need to wait. */
static void a_message_that_the_disk_cannot_be_awaited_for_goes_back_to_the_broker(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    rig_bridge(r)->arena.closed = true;
    play(r, "message token 1 qos=1 AB '1'\n"
            "    * MEMORY_FULL\n"
            "    * BROKER_CUT\n"
            "    disconnect broker\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "message token 2 qos=0 AB '0'\n"
            "    * MEMORY_FULL a: AB\n"
            "    accept 2\n");
    rig_bridge(r)->arena.closed = false;
    play(r, "message token 3 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "stored\n"
            "    accept 3\n");
}

/* The driver hands over nothing more before it knows what becomes of a message. */
static void a_refused_message_is_answered_though_its_connection_is_lost(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 2);
    play(r, "message token 1 qos=2 AB '1'\n"
            "    store 7 for 1 qos=2 AB '1'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * BROKER_CUT\n"
            "    disconnect broker\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n");
}

/* The link may be another one by then: T_retry goes half of the way back to its profile. */
static void a_round_trip_counts_for_less_after_ten_quiet_minutes(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 7 for 1 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=8 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBACK mid=8\n"
            "    forget 7 for 1 lazy\n"
            "stored\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 9 for 1 qos=1 AB '2'\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='2'\n"
            "wait 1000\n"
            "    +1000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=10 data='2'\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n"
            "stored\n"
            "    accept 2\n");
    rig_pass(r, 500000);
    rig_frame(r, "a", &(struct sn_packet){.type = SN_PINGREQ});
    rig_pass(r, 100000);
    rig_commit(r, rig_ticket(r));
    rig_skip(r);
    /* From 1125 ms, for the answer came 1000 ms after the first copy, half of the way to 10 s. */
    play(r, "message token 3 qos=1 AB '3'\n"
            "    store 12 for 1 qos=1 AB '3'\n"
            "    a < PUBLISH qos=1 tid=1 mid=13 data='3'\n"
            "    save account lazy\n"
            "wait 5562\n"
            "    +5562\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=13 data='3'\n");
}

/* broker_ack = early */
static void the_broker_may_be_told_early(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 7 for 1 qos=1 AB '1'\n"
            "    accept 1\n"
            "    a < PUBLISH qos=1 tid=1 mid=8 data='1'\n"
            "stored\n");
}

/* A message for nobody is accepted and noted. */
static void a_message_without_a_subscriber_is_not_held_back(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "message token 1 qos=1 t 'x'\n"
            "    * DOWN_NO_SUBSCRIBER: t\n"
            "    accept 1\n");
}

/* Ids of both directions do not mix (SN12-5.3.7-2). */
static void the_same_message_id_may_be_open_in_both_directions(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 2);
    play(r, "message token 1 qos=2 AB 'down'\n"
            "    store 7 for 1 qos=2 AB 'down'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=8 data='down'\n"
            "a > PUBLISH qos=2 short='AB' mid=8 data='up'\n"
            "    store 8 qos=2 AB 'up'\n"
            "stored\n"
            "    a < PUBREC mid=8\n"
            "    publish 8 qos=2 AB 'up'\n"
            "a > PUBREC mid=8\n"
            "    mark 7 for 1 released\n"
            "a > PUBREL mid=8\n"
            "    mark 8 released\n"
            "stored\n"
            "    a < PUBREL mid=8\n"
            "    a < PUBCOMP mid=8\n"
            "a > PUBCOMP mid=8\n"
            "    forget 7 for 1\n"
            "delivered 9\n"
            "stored\n");
}

/* One frame at a time on a slow link; the others wait their turn. */
static void a_slow_link_carries_one_frame_at_a_time(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a@1", "AB", 1);
    subscribe(r, "b@1", "AB", 1);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 10 for 1 qos=1 AB '1'\n"
            "    store 11 for 2 qos=1 AB '1'\n"
            "    a@1 < PUBLISH qos=1 tid=1 mid=11 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "wait 1000\n"
            "    +53\n"
            "    b@1 < PUBLISH qos=1 tid=1 mid=12 data='1'\n"
            "a@1 > PUBACK mid=16\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n"
            "b@1 > PUBACK mid=17\n"
            "    * FRAME_UNEXPECTED b: PUBACK\n");
}

/* The copy for a QoS 0 subscriber has a number, too, but no place on the disk. */
static void the_broker_hears_of_copies_of_mixed_qos(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    subscribe(r, "b", "#", 0);
    play(r, "message token 1 qos=1 AB 'x'\n"
            "    store 9 for 1 qos=1 AB 'x'\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='x'\n"
            "    b < PUBLISH qos=0 short='AB' mid=0 data='x'\n"
            "stored\n"
            "    accept 1\n"
            "message token 2 qos=1 AB 'y'\n"
            "    store 11 for 1 qos=1 AB 'y'\n"
            "    b < PUBLISH qos=0 short='AB' mid=0 data='y'\n"
            "stored\n"
            "    accept 2\n");
}

/* It came while UNSUBSCRIBE was under way, and the broker did not like that one. */
static void a_subscribe_during_an_unsubscribe_is_made_when_that_is_answered(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "t/#", 1);
    play(r, "a > UNSUBSCRIBE mid=2 name='t/#'\n"
            "    erase filter 1 1\n"
            "    unsubscribe 2 t/#\n"
            "stored\n"
            "    a < UNSUBACK mid=2\n"
            "a > SUBSCRIBE qos=1 mid=3 name='t/#'\n"
            "unsubscribed 2 135\n"
            "    subscribe 3 qos=1 t/# retained\n"
            "subscribed 3 1\n"
            "    save filter 1 2 qos=1 t/#\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=3 code=accepted\n");
}

#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(subscribe_is_confirmed_by_the_broker_and_then_by_the_disk, begin),
        WITH(a_subscribe_that_cannot_be_served_is_refused, begin),
        WITH(a_repeated_subscribe_is_answered_again, begin),
        WITH(a_subscription_while_the_broker_is_away_is_granted_and_made_later, begin),
        WITH(suback_waits_for_the_first_connection, begin),
        WITH(but_not_for_long, begin),
        WITH(a_subscription_under_way_when_the_broker_goes_is_granted, begin),
        WITH(a_subscription_under_way_when_the_client_connects_anew_is_void, begin),
        WITH(two_clients_share_a_filter_at_the_broker, begin),
        WITH(overlapping_subscriptions_deliver_once_with_the_highest_qos, begin),
        WITH(unsubscribe_is_confirmed_even_when_there_was_nothing, begin),
        WITH(retained_messages_go_to_the_new_subscriber_only, begin),
        WITH(a_wildcard_in_front_does_not_match_system_topics, begin),
        WITH(subscriptions_are_limited_for_each_client, begin),
        WITH(a_name_is_registered_before_its_first_message, begin),
        WITH(ids_known_to_the_device_need_no_register, begin),
        WITH(a_short_name_that_a_wildcard_matches_may_be_registered, short_names_registered),
        WITH(a_name_subscribed_as_a_short_one_is_not_registered, short_names_registered),
        WITH(long_messages_pass_both_ways, watched),
        WITH(qos_1_goes_one_by_one, begin),
        WITH(qos_2_goes_over_the_disk_at_every_step, begin),
        WITH(an_unanswered_message_is_repeated_with_dup_and_then_waits_for_the_client, begin),
        WITH(an_unanswered_register_and_pubrel_are_repeated, begin),
        WITH(a_rejected_register_is_an_unsubscribe_unless_a_wildcard_stands_for_it, begin),
        WITH(an_id_that_the_device_does_not_know_is_registered_again_once, begin),
        WITH(a_congested_device_is_given_time, begin),
        WITH(what_does_not_fit_the_link_is_dropped_and_accepted_from_the_broker, begin),
        WITH(a_long_name_with_a_predefined_id_fits_any_frame, long_predefined),
        WITH(messages_for_who_is_away_wait_in_order, begin),
        WITH(messages_expire_while_they_wait, begin),
        WITH(a_long_queue_is_read_back_from_the_disk, begin),
        WITH(an_open_message_goes_on_after_a_restart_without_a_frame_for_it, begin),
        WITH(pubrel_goes_on_after_a_restart, begin),
        WITH(a_message_that_was_not_stored_is_the_brokers, begin),
        WITH(a_late_pubrec_does_not_end_a_message_that_goes_again, begin),
        WITH(names_are_registered_once_per_connection, begin),
        WITH(copies_that_cannot_be_stored_go_back_to_the_broker, begin),
        WITH(the_broker_is_left_alone_while_the_disk_refuses, begin),
        WITH(refused_copies_take_no_room_in_a_deep_queue, begin),
        WITH(a_queue_is_full_of_what_the_disk_has_and_of_nothing_else, begin),
        WITH(a_message_is_refused_with_any_of_its_copies, begin),
        WITH(exactly_once_waits_for_all_copies, begin),
        WITH(refused_copies_that_do_not_come_again_stay_in_memory_or_are_counted, early),
        WITH(a_shortage_of_memory_outlives_no_connect, begin),
        WITH(a_message_whose_copies_cannot_all_be_remembered_goes_back_whole, begin),
        WITH(a_message_that_the_disk_cannot_be_awaited_for_goes_back_to_the_broker, begin),
        WITH(a_refused_message_is_answered_though_its_connection_is_lost, begin),
        WITH(a_round_trip_counts_for_less_after_ten_quiet_minutes, measured),
        WITH(the_broker_may_be_told_early, early),
        WITH(a_message_without_a_subscriber_is_not_held_back, begin),
        WITH(the_same_message_id_may_be_open_in_both_directions, begin),
        WITH(a_slow_link_carries_one_frame_at_a_time, slow),
        WITH(the_broker_hears_of_copies_of_mixed_qos, begin),
        WITH(a_subscribe_during_an_unsubscribe_is_made_when_that_is_answered, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
