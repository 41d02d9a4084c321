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

static void change_roam(struct rig_options *o)
{
    o->links[0].roam = false;
}

static int no_roaming(void **state)
{
    return begin_with(state, change_roam);
}

static void change_limit(struct rig_options *o)
{
    o->config.awake_messages = 1;
}

static int one_per_wake(void **state)
{
    return begin_with(state, change_limit);
}

static void change_time(struct rig_options *o)
{
    o->config.awake_s = 15;
}

static int fifteen_seconds(void **state)
{
    return begin_with(state, change_time);
}

static void change_strict(struct rig_options *o)
{
    o->config.strict_sleep = true;
}

static int strict(void **state)
{
    return begin_with(state, change_strict);
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

/* Figure 5; SN12-6.14-1, SN12-6.14-2, SN12-6.14-3, SN12-6.14-6, SN12-6.14-8, SN12-6.14-9,
 * SN12-6.14-10, SN12-5.4.21-2, SN12-5.4.21-3 */
static void a_sleeper_gets_its_messages_between_pingreq_and_pingresp(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message qos=0 AB '0'\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 9 for 1 qos=1 AB '1'\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 10 for 1 qos=1 AB '2'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='0'\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='1'\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n"
            "    a < PUBLISH qos=1 tid=1 mid=11 data='2'\n"
            "a > PUBACK mid=11\n"
            "    forget 10 for 1 lazy\n"
            "    a < PINGRESP\n"
            "message qos=0 AB '3'\n"
            "wait 109999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: asleep\n"
            "    save session 1 lazy\n"
            "    save account lazy\n");
}

/* SN12-6.14-11, SN12-6.14-18 */
static void nothing_buffered_is_answered_by_pingresp_at_once(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PINGRESP\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PINGRESP\n");
}

/* SN12-6.14-4, SN12-6.14-5: the sleep is supervised, the keep-alive is not. */
static void a_sleep_has_its_own_time_and_its_end_fires_the_will(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=2 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='x'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > DISCONNECT duration_s=20\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "wait 29999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: asleep\n"
            "    * WILL_FIRED a: w\n"
            "    save session 1 lazy\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_RETURNED a\n"
            "    save session 1 lazy\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PINGRESP\n");
}

/* SN12-6.14-12, A-50 */
static void pingreq_repeated_while_awake_changes_nothing(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "a > PINGREQ client_id='a'\n"
            "wait 10000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=9 data='1'\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 9 for 1 qos=1 AB '2'\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='2'\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n"
            "    a < PINGRESP\n");
}

/* SN12-6.14-17, SN12-6.13-2, A-44 */
static void what_a_sleeper_does_not_acknowledge_comes_again_with_dup(void **state)
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
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "wait 40000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=9 data='1'\n"
            "    +20000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=9 data='1'\n"
            "    +30000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=9 data='1'\n"
            "    +40000\n"
            "    * CLIENT_NO_ANSWER a: awake\n"
            "a > PUBACK mid=9\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=9 data='1'\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n"
            "    a < PINGRESP\n");
}

/* SN12-6.14-13, A-48, A-49 */
static void connect_ends_the_sleep_and_the_messages_follow(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message qos=0 AB '0'\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 9 for 1 qos=1 AB '1'\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    accept 1\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    a < PUBLISH qos=0 short='AB' mid=0 data='0'\n"
            "    a < PUBLISH qos=1 short='AB' mid=10 data='1'\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n");
}

/* From awake as well. */
static void connect_while_awake(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    a < PUBLISH dup=1 qos=1 short='AB' mid=9 data='1'\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n");
}

/* SN12-6.14-14 */
static void disconnect_ends_the_sleep(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "a > PINGREQ client_id='a'\n"
            "    * FRAME_UNKNOWN_SENDER a: PINGREQ\n"
            "    a < DISCONNECT\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 11 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 short='AB' mid=12 data='1'\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "wait 100000000\n");
}

/* SN12-6.14-15, A-32, A-31 */
static void a_new_duration_counts_from_now(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "wait 100000\n"
            "a > DISCONNECT duration_s=200\n"
            "    save session 1 lazy\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "wait 219999\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 10 for 1 qos=1 AB '1'\n"
            "    save account lazy\n"
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=11 data='1'\n"
            "a > DISCONNECT duration_s=20\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "wait 30000\n"
            "    +30000\n"
            "    * CLIENT_LOST a: asleep\n"
            "    save session 1 lazy\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    a < PUBLISH dup=1 qos=1 short='AB' mid=11 data='1'\n"
            "a > DISCONNECT duration_s=0\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n");
}

/* SN12-6.14-7, A-33 */
static void a_sleeper_may_wake_at_another_address_where_the_link_allows_it(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "b > PINGREQ client_id='a'\n"
            "    * CLIENT_MOVED a\n"
            "    save session 1 lazy\n"
            "    * CLIENT_AWAKE a\n"
            "    b < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "b > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n"
            "    b < PINGRESP\n"
            "a > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    a < DISCONNECT\n"
            "b > PINGREQ\n"
            "    * CLIENT_AWAKE a\n"
            "    b < PINGRESP\n");
}

static void a_sleeper_may_not_wake_at_another_address_elsewhere(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "b > PINGREQ client_id='a'\n"
            "    * FRAME_UNKNOWN_SENDER a: PINGREQ\n"
            "    b < DISCONNECT\n"
            "a > PINGREQ\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PINGRESP\n");
}

/* A-33: nobody takes over an active client by its name. */
static void a_ping_does_not_move_an_active_client(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "b > PINGREQ client_id='a'\n"
            "    * FRAME_UNKNOWN_SENDER a: PINGREQ\n"
            "    b < DISCONNECT\n"
            "a > PINGREQ client_id='a'\n"
            "    a < PINGRESP\n");
}

/* A-51 */
static void a_sleeper_that_publishes_is_served_and_sleeps_on(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=40\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "wait 50000\n"
            "a > PUBLISH qos=1 predefined=2 mid=1 data='x'\n"
            "    save session 1 lazy\n"
            "    store 10 qos=1 a/two 'x' lazy\n"
            "    publish 10 qos=1 a/two 'x'\n"
            "stored\n"
            "    a < PUBACK tid=2 mid=1 code=accepted\n"
            "wait 59999\n"
            "    +10000\n"
            "    save account lazy\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: asleep\n"
            "    save session 1 lazy\n");
}

/* A-51: what began while it was active may end, and QoS -1 asks for no connection. */
static void a_sleeper_may_be_told_to_connect_before_it_asks_for_anything(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=40\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "a > PUBLISH qos=1 predefined=2 mid=1 data='x'\n"
            "    * FRAME_UNEXPECTED a: PUBLISH\n"
            "    a < DISCONNECT\n"
            "a > SUBSCRIBE qos=1 mid=2 name='t'\n"
            "    * FRAME_UNEXPECTED a: SUBSCRIBE\n"
            "    a < DISCONNECT\n"
            "a > UNSUBSCRIBE mid=3 name='AB'\n"
            "    * FRAME_UNEXPECTED a: UNSUBSCRIBE\n"
            "    a < DISCONNECT\n"
            "a > REGISTER mid=4 name='t/1'\n"
            "    * FRAME_UNEXPECTED a: REGISTER\n"
            "    a < DISCONNECT\n"
            "a > PUBLISH qos=-1 predefined=2 mid=0 data='y'\n"
            "    publish 8 qos=0 a/two 'y'\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 9 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='1'\n"
            "a > WILLTOPICUPD empty\n"
            "    * FRAME_UNEXPECTED a: WILLTOPICUPD\n"
            "    a < DISCONNECT\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n"
            "    a < PINGRESP\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > REGISTER mid=4 name='t/1'\n"
            "    save topic 1 2 t/1\n");
}

/* A limit lets the device sleep (A-50). */
static void an_awake_period_may_be_limited(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "message token 2 qos=1 AB '2'\n"
            "    store 9 for 1 qos=1 AB '2'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n"
            "    a < PINGRESP\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='2'\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n"
            "    a < PINGRESP\n");
}

/* The same by time: what is open then still ends, the next one waits for the next wake. */
static void an_awake_period_may_be_limited_in_time(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
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
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "wait 9000\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n"
            "    a < PUBLISH qos=1 tid=1 mid=10 data='2'\n"
            "wait 9000\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n"
            "    a < PINGRESP\n"
            "    save session 1 lazy\n"
            "wait 50000\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=11 data='3'\n"
            "    save account lazy\n"
            "a > PUBACK mid=11\n"
            "    forget 10 for 1 lazy\n"
            "    a < PINGRESP\n"
            "    save session 1 lazy\n");
}

/* A name is stored, registered, used: all of it before PINGRESP. */
static void an_awake_device_learns_names(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "#", 2);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=2 t/1 '1'\n"
            "    store 8 for 1 qos=2 t/1 '1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    save topic 1 1 t/1\n"
            "stored\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH qos=2 tid=1 mid=9 data='1'\n"
            "a > PUBREC mid=9\n"
            "    mark 8 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=9\n"
            "a > PUBCOMP mid=9\n"
            "    forget 8 for 1\n"
            "    a < PINGRESP\n");
}

/* A sleeper with no room goes back to sleep and keeps its message. */
static void a_congested_sleeper_sleeps_on(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 8 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "a > PUBACK mid=9 code=congestion\n"
            "    a < PINGRESP\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=9 data='1'\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n"
            "    a < PINGRESP\n");
}

/* The restart comes while it sleeps, and while it is awake. */
static void sleep_survives_restarts(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "kill\n"
            "    a < DISCONNECT\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 9 for 1 qos=1 AB '1'\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 AB\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 10 for 1 qos=1 AB '1'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 1\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "wait 60000\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    fetch for 1 from 9\n"
            "fetched\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=10 data='1'\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "wait 9000\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    fetch for 1 from 9\n"
            "fetched\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=10 data='1'\n"
            "a > PUBACK mid=12\n"
            "    * FRAME_UNEXPECTED a: PUBACK\n"
            "stored\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    fetch for 1 from 9\n"
            "wait 109999\n"
            "wait 1\n");
}

/* More than memory holds, all in one awake period. */
static void a_long_queue_is_emptied_in_one_wake(void **state)
{
    struct rig *r = *state;
    subscribe(r, "a", "AB", 1);
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n");
    for (uint64_t i = 1; i <= 10; i++)
        rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_MESSAGE,
                                           .message = {.token = i,
                                                       .qos = 1,
                                                       .topic = sn_bytes_text("AB"),
                                                       .payload = sn_bytes_text("x")}});
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
    play(r, "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='x'\n");
    for (uint16_t mid = 9; mid < 16; mid++)
        rig_frame(r, "a", &(struct sn_packet){.type = SN_PUBACK, .ack.mid = mid});
    rig_skip(r);
    play(r, "a > PUBACK mid=16\n"
            "    forget 15 for 1 lazy\n"
            "    fetch for 1 from 16\n"
            "a > PINGREQ client_id='a'\n"
            "fetched\n"
            "    a < PUBLISH qos=1 tid=1 mid=17 data='x'\n"
            "a > PUBACK mid=17\n"
            "    forget 16 for 1 lazy\n"
            "    a < PUBLISH qos=1 tid=1 mid=18 data='x'\n"
            "a > PUBACK mid=18\n"
            "    forget 17 for 1 lazy\n"
            "    a < PINGRESP\n");
}

#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_sleeper_gets_its_messages_between_pingreq_and_pingresp, begin),
        WITH(nothing_buffered_is_answered_by_pingresp_at_once, begin),
        WITH(a_sleep_has_its_own_time_and_its_end_fires_the_will, begin),
        WITH(pingreq_repeated_while_awake_changes_nothing, begin),
        WITH(what_a_sleeper_does_not_acknowledge_comes_again_with_dup, begin),
        WITH(connect_ends_the_sleep_and_the_messages_follow, begin),
        WITH(connect_while_awake, begin),
        WITH(disconnect_ends_the_sleep, begin),
        WITH(a_new_duration_counts_from_now, begin),
        WITH(a_sleeper_may_wake_at_another_address_where_the_link_allows_it, begin),
        WITH(a_sleeper_may_not_wake_at_another_address_elsewhere, no_roaming),
        WITH(a_ping_does_not_move_an_active_client, begin),
        WITH(a_sleeper_that_publishes_is_served_and_sleeps_on, begin),
        WITH(a_sleeper_may_be_told_to_connect_before_it_asks_for_anything, strict),
        WITH(an_awake_period_may_be_limited, one_per_wake),
        WITH(an_awake_period_may_be_limited_in_time, fifteen_seconds),
        WITH(an_awake_device_learns_names, begin),
        WITH(a_congested_sleeper_sleeps_on, begin),
        WITH(sleep_survives_restarts, begin),
        WITH(a_long_queue_is_emptied_in_one_wake, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
