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

static void change_acks(struct rig_options *o)
{
    o->config.ack_stored = false;
}

static int broker_acks(void **state)
{
    return begin_with(state, change_acks);
}

static void change_backlog(struct rig_options *o)
{
    o->config.max_backlog = 3;
}

static int small_backlog(void **state)
{
    return begin_with(state, change_backlog);
}

static void change_live(struct rig_options *o)
{
    o->config.max_live = 2;
}

static int small_live(void **state)
{
    return begin_with(state, change_live);
}

static void change_acks_and_live(struct rig_options *o)
{
    change_acks(o);
    change_live(o);
}

static int broker_acks_small_live(void **state)
{
    return begin_with(state, change_acks_and_live);
}

static void change_link(struct rig_options *o)
{
    o->links[0].qos_minus_one = o->links[0].forwarders = false;
}

static int closed_link(void **state)
{
    return begin_with(state, change_link);
}

static void connect_all(struct rig *r)
{
    for (char id[] = "a"; id[0] <= 'b'; id[0]++) {
        rig_frame(r, id,
                  &(struct sn_packet){
                      .type = SN_CONNECT,
                      .connect = {.protocol_id = SN_PROTOCOL_ID, .client_id = sn_bytes(id, 1)}});
        rig_commit(r, UINT64_MAX);
        rig_frame(r, id, &(struct sn_packet){.type = SN_PINGREQ});
    }
    /* Numbers of the transcripts begin after a few that went elsewhere. */
    rig_frame(r, "a", &(struct sn_packet){.type = SN_WILLTOPICUPD, .willtopic.empty = true});
    rig_frame(r, "b", &(struct sn_packet){.type = SN_WILLTOPICUPD, .willtopic.empty = true});
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
}

static void memory(struct rig *r, bool is_there)
{
    rig_bridge(r)->arena.closed = !is_there;
}

/* SN12-5.4.11-1, SN12-6.5-1, SN12-6.5-3, SN12-6.5-4, SN12-5.3.11-1: an id is told when it is
 * stored. */
static void register_gives_a_name_one_id_when_it_is_stored(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > REGISTER mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "a > REGISTER mid=1 name='t/1'\n"
            "stored\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n"
            "a > REGISTER mid=1 name='t/1'\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n"
            "a > REGISTER mid=2 name='t/2'\n"
            "    save topic 1 2 t/2\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > REGISTER mid=3 name='t/3'\n"
            "    save topic 1 2 t/3\n"
            "stored\n"
            "    a < REGACK tid=2 mid=3 code=accepted\n");
}

/* SN12-6.5-2, SN12-5.3.12-2, SN12-5.4.10-1, A-21 */
static void a_register_that_cannot_be_served_is_refused(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > REGISTER mid=1 name='t/#'\n"
            "    * FRAME_BAD: wildcard-in-name\n"
            "    * TOPIC_REFUSED a: wildcard-in-name\n"
            "    a < REGACK tid=0 mid=1 code=not-supported\n"
            "a > REGISTER mid=2 name=''\n"
            "    * FRAME_BAD: empty-topic\n"
            "    * TOPIC_REFUSED a: empty-topic\n"
            "    a < REGACK tid=0 mid=2 code=not-supported\n"
            "a > REGISTER mid=3 name='\\xff'\n"
            "    * FRAME_BAD: bad-utf8\n"
            "    * TOPIC_REFUSED a: bad-utf8\n"
            "    a < REGACK tid=0 mid=3 code=not-supported\n"
            "a > REGISTER mid=0 name='t'\n"
            "    * FRAME_BAD: msgid-zero\n"
            "    * TOPIC_REFUSED a: msgid-zero\n"
            "    a < REGACK tid=0 mid=0 code=not-supported\n"
            "a > hex 07 0A 12 34 00 04 74\n"
            "    save topic 1 1 t\n"
            "stored\n"
            "    a < REGACK tid=1 mid=4 code=accepted\n"
            "a > REGISTER mid=5 name='t2'\n"
            "    save topic 1 2 t2\n"
            "a > REGISTER mid=6 name='t3'\n"
            "    save topic 1 3 t3\n"
            "a > REGISTER mid=7 name='t4'\n"
            "    save topic 1 4 t4\n"
            "a > REGISTER mid=8 name='t5'\n"
            "    save topic 1 5 t5\n"
            "a > REGISTER mid=9 name='t6'\n"
            "    save topic 1 6 t6\n"
            "a > REGISTER mid=10 name='t7'\n"
            "    * TOPIC_REPLACED a: t\n"
            "    erase topic 1 1\n"
            "    save topic 1 7 t7\n"
            "a > REGISTER mid=11 name='t8'\n"
            "    * TOPIC_LIMIT a: t8\n"
            "    a < REGACK tid=0 mid=11 code=congestion\n"
            "stored\n"
            "    a < REGACK tid=2 mid=5 code=accepted\n"
            "    a < REGACK tid=3 mid=6 code=accepted\n"
            "    a < REGACK tid=4 mid=7 code=accepted\n"
            "    a < REGACK tid=5 mid=8 code=accepted\n"
            "    a < REGACK tid=6 mid=9 code=accepted\n"
            "    a < REGACK tid=7 mid=10 code=accepted\n");
}

/* SN12-7.3-1, SN12-6.7-3, SN12-6.7-1, SN12-6.7-6, SN12-5.4.13-1 */
static void ids_belong_to_their_client_and_their_kind(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > REGISTER mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "stored\n"
            "    a < REGACK tid=1 mid=1 code=accepted\n"
            "b > PUBLISH qos=1 tid=1 mid=1 data='x'\n"
            "    * TOPIC_UNKNOWN b\n"
            "    b < PUBACK tid=1 mid=1 code=invalid-topic-id\n"
            "a > PUBLISH qos=1 tid=1 mid=1 data='x'\n"
            "    store 6 qos=1 t/1 'x' lazy\n"
            "    publish 6 qos=1 t/1 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='x'\n"
            "    store 7 qos=1 pre/one 'x' lazy\n"
            "    publish 7 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "a > PUBLISH qos=1 predefined=2 mid=3 data='x'\n"
            "    store 8 qos=1 a/two 'x' lazy\n"
            "    publish 8 qos=1 a/two 'x'\n"
            "b > PUBLISH qos=1 predefined=2 mid=3 data='x'\n"
            "    store 9 qos=1 pre/two 'x' lazy\n"
            "    publish 9 qos=1 pre/two 'x'\n"
            "stored\n"
            "    a < PUBACK tid=2 mid=3 code=accepted\n"
            "    b < PUBACK tid=2 mid=3 code=accepted\n"
            "a > PUBLISH qos=1 short='AB' mid=4 data='x'\n"
            "    store 10 qos=1 AB 'x' lazy\n"
            "    publish 10 qos=1 AB 'x'\n"
            "stored\n"
            "    a < PUBACK tid=16706 mid=4 code=accepted\n");
}

/* SN12-5.4.13-2, SN12-6.6-6, SN12-6.7-2, SN12-6.7-8, SN12-5.3.11-2, SN12-5.3.4-5, SN12-5.4.12-3,
 * */
static void a_publish_without_a_topic_is_answered_whatever_its_qos(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH tid=9 data='x'\n"
            "    * TOPIC_UNKNOWN a\n"
            "    a < PUBACK tid=9 mid=0 code=invalid-topic-id\n"
            "a > PUBLISH qos=1 tid=9 mid=1 data='x'\n"
            "    * TOPIC_UNKNOWN a\n"
            "    a < PUBACK tid=9 mid=1 code=invalid-topic-id\n"
            "a > PUBLISH qos=2 tid=9 mid=2 data='x'\n"
            "    * TOPIC_UNKNOWN a\n"
            "    a < PUBACK tid=9 mid=2 code=invalid-topic-id\n"
            "a > PUBLISH qos=1 tid=65535 mid=3 data='x'\n"
            "    * FRAME_BAD: reserved-topic-id\n"
            "    * TOPIC_UNKNOWN a: reserved-topic-id\n"
            "    a < PUBACK tid=65535 mid=3 code=invalid-topic-id\n"
            "a > PUBLISH qos=1 tid=0 mid=4 data='x'\n"
            "    * FRAME_BAD: reserved-topic-id\n"
            "    * TOPIC_UNKNOWN a: reserved-topic-id\n"
            "    a < PUBACK tid=0 mid=4 code=invalid-topic-id\n"
            "a > PUBLISH qos=1 predefined=9 mid=5 data='x'\n"
            "    * TOPIC_UNKNOWN a\n"
            "    a < PUBACK tid=9 mid=5 code=invalid-topic-id\n"
            "a > PUBLISH qos=1 short='a#' mid=6 data='x'\n"
            "    * FRAME_BAD: wildcard-in-name\n"
            "    * TOPIC_UNKNOWN a: wildcard-in-name\n"
            "    a < PUBACK tid=24867 mid=6 code=not-supported\n"
            "a > PUBLISH qos=1 short='+/' mid=7 data='x'\n"
            "    * FRAME_BAD: wildcard-in-name\n"
            "    * TOPIC_UNKNOWN a: wildcard-in-name\n"
            "    a < PUBACK tid=11055 mid=7 code=not-supported\n"
            "a > PUBLISH qos=1 predefined=1 mid=0 data='x'\n"
            "    * FRAME_BAD: msgid-zero\n"
            "    * TOPIC_UNKNOWN a: msgid-zero\n"
            "    a < PUBACK tid=1 mid=0 code=not-supported\n"
            "a > hex 08 0C 23 00 01 00 09 78\n"
            "    * FRAME_BAD: topic-id-type\n"
            "    * TOPIC_UNKNOWN a: topic-id-type\n"
            "    a < PUBACK tid=1 mid=9 code=not-supported\n");
}

/* SN12-6.6-1, SN12-6.6-9, SN12-5.4.12-4, SN12-5.3.2-1 */
static void qos_0_goes_to_the_broker_without_an_answer_and_without_the_disk(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH retain=1 predefined=1 data=''\n"
            "    publish 5 qos=0 retain pre/one ''\n"
            "a > PUBLISH predefined=1 mid=7 data='\\x00\\xff'\n"
            "    publish 6 qos=0 pre/one '\\x00\\xff'\n"
            "delivered 5\n"
            "delivered 6\n");
}

/* The first three wait in memory, the others are dropped and counted. */
static void qos_0_waits_up_to_its_limit_while_the_broker_is_away(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH predefined=1 data='1'\n"
            "a > PUBLISH predefined=1 data='2'\n"
            "a > PUBLISH predefined=1 data='3'\n"
            "a > PUBLISH predefined=1 data='4'\n"
            "    * UP_DROPPED_QOS0 a: pre/one\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    publish 5 qos=0 pre/one '1'\n"
            "    publish 6 qos=0 pre/one '2'\n"
            "    publish 7 qos=0 pre/one '3'\n"
            "delivered 5\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    * UP_DROPPED_QOS0 a: pre/one\n"
            "    * UP_DROPPED_QOS0 a: pre/one\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n");
}

/* SN12-6.6-2, SN12-6.6-8, A-29: first the disk, then the acknowledgement. */
static void qos_1_is_acknowledged_when_it_is_stored(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    publish 5 qos=1 pre/one 'x'\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "stored\n");
}

/* Whichever comes first releases the acknowledgement; what the broker has need not be written. */
static void qos_1_is_acknowledged_by_the_broker_if_that_is_faster(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=1 pre/one 'x' lazy\n"
            "    publish 5 qos=1 pre/one 'x'\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "stored\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='y'\n"
            "    store 7 qos=1 pre/one 'y' lazy\n"
            "    publish 7 qos=1 pre/one 'y'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "delivered 7\n"
            "    forget 7 lazy\n"
            "stored\n");
}

/* A lost PUBACK: not delivered again. Without DUP it is another message. */
static void a_repeated_qos_1_publish_is_acknowledged_again(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=1 pre/one 'x' lazy\n"
            "    publish 5 qos=1 pre/one 'x'\n"
            "a > PUBLISH dup=1 qos=1 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "a > PUBLISH dup=1 qos=1 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "a > PUBLISH dup=1 qos=1 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 7 qos=1 pre/one 'x' lazy\n"
            "    publish 7 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "a > PUBLISH dup=1 qos=1 predefined=1 mid=1 data='other'\n"
            "    store 8 qos=1 pre/one 'other' lazy\n"
            "    publish 8 qos=1 pre/one 'other'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n");
}

/* ack = broker */
static void with_ack_broker_the_broker_decides(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=1 pre/one 'x' lazy\n"
            "    publish 5 qos=1 pre/one 'x'\n"
            "stored\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "a > PUBLISH qos=2 predefined=1 mid=2 data='x'\n"
            "    store 7 qos=2 pre/one 'x'\n"
            "stored\n"
            "    publish 7 qos=2 pre/one 'x'\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=2 data='x'\n"
            "    * UP_REPEATED a\n"
            "delivered 7\n"
            "    mark 7 delivered\n"
            "    a < PUBREC mid=2\n"
            "a > PUBREL mid=2\n"
            "    forget 7\n"
            "stored\n"
            "    a < PUBCOMP mid=2\n"
            "a > PUBLISH qos=1 predefined=1 mid=3 data='x'\n"
            "    store 10 qos=1 pre/one 'x' lazy\n"
            "    publish 10 qos=1 pre/one 'x'\n"
            "stored\n"
            "delivered 10 code 135\n"
            "    * UP_REFUSED_BY_BROKER a: pre/one\n"
            "    forget 10 lazy\n"
            "    a < PUBACK tid=1 mid=3 code=not-supported\n"
            "a > PUBLISH qos=2 predefined=1 mid=4 data='x'\n"
            "    store 12 qos=2 pre/one 'x'\n"
            "stored\n"
            "    publish 12 qos=2 pre/one 'x'\n"
            "delivered 12 code 135\n"
            "    * UP_REFUSED_BY_BROKER a: pre/one\n"
            "    forget 12\n"
            "    a < PUBACK tid=1 mid=4 code=not-supported\n"
            "stored\n");
}

/* SN12-6.6-3: stored, then PUBREC and on to the broker; the disk frees the id, then PUBCOMP. */
/* Beyond max_live the message is on disk only; its sensor waits all the same. */
static void with_ack_broker_the_sensor_hears_of_a_message_that_was_read_back(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1'\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='2'\n"
            "    store 6 qos=1 pre/one '2'\n"
            "a > PUBLISH qos=1 predefined=1 mid=3 data='3'\n"
            "    store 7 qos=1 pre/one '3'\n"
            "stored\n"
            "broker up window 2\n"
            "    * BROKER_UP\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "    publish 6 qos=1 pre/one '2'\n"
            "    fetch from 7\n"
            "fetched\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    publish 7 qos=1 pre/one '3'\n"
            "delivered 7\n"
            "    forget 7 lazy\n"
            "    a < PUBACK tid=1 mid=3 code=accepted\n");
}

static void qos_2_goes_step_by_step_over_the_disk(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 5 qos=2 pre/one 'x'\n"
            "a > PUBREL mid=1\n"
            "    mark 5 released\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n"
            "delivered 5\n"
            "    forget 5\n"
            "stored\n");
}

/* The broker is first: the row stays until the device has released its id. */
static void qos_2_delivered_before_pubrel_remembers_the_id(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 5 qos=2 pre/one 'x'\n"
            "delivered 5\n"
            "    mark 5 delivered\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=1\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=1\n"
            "a > PUBREL mid=1\n"
            "    forget 5\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n"
            "a > PUBREL mid=1\n"
            "    a < PUBCOMP mid=1\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 8 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n");
}

/* SN12-6.6-4, SN12-6.6-5 */
static void every_frame_of_qos_2_can_be_repeated(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "a > PUBREL mid=1\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 5 qos=2 pre/one 'x'\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=1\n"
            "a > PUBREL mid=1\n"
            "    mark 5 released\n"
            "a > PUBREL mid=1\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n"
            "a > PUBREL mid=1\n"
            "    a < PUBCOMP mid=1\n"
            "delivered 5\n"
            "    forget 5\n"
            "a > PUBREL mid=1\n"
            "    a < PUBCOMP mid=1\n"
            "stored\n");
}

/* A path that reorders: a copy arrives when the exchange is over. It is not a message anew, and
 * whoever sent it can end as if it were open. */
static void a_late_copy_of_a_completed_qos_2_publish_is_no_new_message(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 5 qos=2 pre/one 'x'\n"
            "delivered 5\n"
            "    mark 5 delivered\n"
            "a > PUBREL mid=1\n"
            "    forget 5\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=1\n"
            "a > PUBREL mid=1\n"
            "    a < PUBCOMP mid=1\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 8 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 8 qos=2 pre/one 'x'\n");
}

/* A device that has lost its memory begins with the same ids; other content is another message. */
static void a_rebooted_device_may_use_an_open_id_for_another_message(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 5 qos=2 pre/one 'x'\n"
            "delivered 5\n"
            "    mark 5 delivered\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='y'\n"
            "    forget 5\n"
            "    store 8 qos=2 pre/one 'y'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 8 qos=2 pre/one 'y'\n"
            "a > PUBREL mid=1\n"
            "    mark 8 released\n"
            "kill\n"
            "    a < PUBCOMP mid=1\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='z'\n"
            "    store 10 qos=2 pre/one 'z'\n"
            "kill\n"
            "    a < PUBREC mid=1\n"
            "    * RESTORED\n"
            "    connect broker\n");
}

/* The same over a restart: the stored message is what tells them apart. */
static void a_rebooted_device_may_do_so_after_a_restart(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "kill\n"
            "    a < PUBREC mid=1\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=1\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='y'\n"
            "    mark 5 released\n"
            "    store 7 qos=2 pre/one 'y'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 5\n"
            "fetched\n"
            "    publish 5 qos=2 pre/one 'x'\n"
            "    publish 7 qos=2 pre/one 'y'\n");
}

/* An id freed by a clean CONNECT is free after a restart as well. */
static void a_clean_connect_frees_the_ids_on_the_disk(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "a > PUBLISH qos=2 predefined=1 mid=2 data='y'\n"
            "    store 6 qos=2 pre/one 'y'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    a < PUBREC mid=2\n"
            "    publish 5 qos=2 pre/one 'x'\n"
            "    publish 6 qos=2 pre/one 'y'\n"
            "delivered 5\n"
            "    mark 5 delivered\n"
            "a > CONNECT clean=1 client_id='a'\n"
            "    mark 6 released\n"
            "    forget 5\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "kill\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 12 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 6\n"
            "fetched\n"
            "    publish 6 qos=2 pre/one 'y'\n"
            "    publish 12 qos=2 pre/one 'x'\n");
}

/* Dead exchanges do not shut a device out. */
static void more_open_exchanges_than_allowed_push_out_the_oldest(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    for (uint16_t mid = 1; mid <= 16; mid++)
        rig_frame(r, "a",
                  &(struct sn_packet){
                      .type = SN_PUBLISH,
                      .publish = {.qos = 2, .kind = SN_TOPIC_PREDEFINED, .tid = 1, .mid = mid}});
    rig_skip(r);
    play(r, "a > PUBLISH qos=2 predefined=1 mid=17 data='x'\n"
            "    * UP_CONGESTION a: pre/one\n"
            "    a < PUBACK tid=1 mid=17 code=congestion\n");
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
    play(r, "a > PUBLISH qos=2 predefined=1 mid=17 data='x'\n"
            "    mark 5 released\n"
            "    store 23 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=17\n");
}

/* SN12-6.6-7, A-58 */
static void a_full_backlog_is_answered_with_congestion(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1'\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='2'\n"
            "    store 6 qos=1 pre/one '2'\n"
            "a > PUBLISH qos=1 predefined=1 mid=3 data='3'\n"
            "    store 7 qos=1 pre/one '3'\n"
            "a > PUBLISH qos=1 predefined=1 mid=4 data='4'\n"
            "    * UP_CONGESTION a: pre/one\n"
            "    a < PUBACK tid=1 mid=4 code=congestion\n"
            "a > PUBLISH qos=2 predefined=1 mid=5 data='5'\n"
            "    * UP_CONGESTION a: pre/one\n"
            "    a < PUBACK tid=1 mid=5 code=congestion\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "    a < PUBACK tid=1 mid=3 code=accepted\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "    publish 6 qos=1 pre/one '2'\n"
            "    publish 7 qos=1 pre/one '3'\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "a > PUBLISH qos=1 predefined=1 mid=4 data='4'\n"
            "    store 11 qos=1 pre/one '4' lazy\n"
            "    publish 11 qos=1 pre/one '4'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=4 code=accepted\n");
}

/* The rest waits on the disk and comes back in order; SN12-6.6-10. */
static void the_backlog_beyond_max_live_is_read_back_in_order(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1'\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='2'\n"
            "    store 6 qos=1 pre/one '2'\n"
            "a > PUBLISH qos=2 predefined=1 mid=3 data='3'\n"
            "    store 7 qos=2 pre/one '3'\n"
            "a > PUBLISH predefined=1 data='4'\n"
            "a > PUBLISH qos=1 predefined=1 mid=5 data='5'\n"
            "    store 9 qos=1 pre/one '5'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "    a < PUBREC mid=3\n"
            "    a < PUBACK tid=1 mid=5 code=accepted\n"
            "a > PUBREL mid=3\n"
            "    mark 7 released\n"
            "stored\n"
            "    a < PUBCOMP mid=3\n"
            "broker up window 2\n"
            "    * BROKER_UP\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "    publish 6 qos=1 pre/one '2'\n"
            "    fetch from 7\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "fetched\n"
            "    publish 7 qos=2 pre/one '3'\n"
            "    publish 8 qos=0 pre/one '4'\n"
            "delivered 6\n"
            "    forget 6 lazy\n"
            "    publish 9 qos=1 pre/one '5'\n"
            "delivered 7\n"
            "    forget 7\n"
            "stored\n"
            "a > PUBLISH qos=1 predefined=1 mid=6 data='6'\n"
            "    store 14 qos=1 pre/one '6' lazy\n"
            "    fetch from 14\n"
            "delivered 9\n"
            "    forget 9 lazy\n"
            "delivered 8\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=6 code=accepted\n");
}

/* Many QoS 0 messages in memory behind a backlog on the disk do not keep it there. */
static void qos_0_in_memory_does_not_hold_up_the_disk(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1'\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='2'\n"
            "    store 6 qos=1 pre/one '2'\n"
            "a > PUBLISH qos=1 predefined=1 mid=3 data='3'\n"
            "    store 7 qos=1 pre/one '3'\n"
            "a > PUBLISH predefined=1 data='4'\n"
            "a > PUBLISH predefined=1 data='5'\n"
            "a > PUBLISH predefined=1 data='6'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "    a < PUBACK tid=1 mid=3 code=accepted\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "    publish 6 qos=1 pre/one '2'\n"
            "    fetch from 7\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "delivered 6\n"
            "    forget 6 lazy\n"
            "fetched\n"
            "    publish 7 qos=1 pre/one '3'\n"
            "    publish 8 qos=0 pre/one '4'\n"
            "    publish 9 qos=0 pre/one '5'\n"
            "    publish 10 qos=0 pre/one '6'\n");
}

/* SN12-6.12-6: Undecided messages go out again in order; QoS 0 is not sent twice. */
static void what_was_undecided_goes_again_when_the_broker_is_back(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up window 2\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1' lazy\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "a > PUBLISH predefined=1 data='2'\n"
            "    publish 6 qos=0 pre/one '2'\n"
            "a > PUBLISH qos=1 predefined=1 mid=3 data='3'\n"
            "    store 7 qos=1 pre/one '3' lazy\n"
            "    publish 7 qos=1 pre/one '3'\n"
            "a > PUBLISH qos=1 predefined=1 mid=4 data='4'\n"
            "    store 8 qos=1 pre/one '4' lazy\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    a < PUBACK tid=1 mid=3 code=accepted\n"
            "    a < PUBACK tid=1 mid=4 code=accepted\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    * UP_DROPPED_QOS0 a: pre/one\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up window 2\n"
            "    * BROKER_UP\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "    publish 7 qos=1 pre/one '3'\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "    publish 8 qos=1 pre/one '4'\n"
            "stored\n");
}

/* Whatever the moment of the crash: an acknowledged message is there afterwards. */
static void an_acknowledged_message_survives_every_crash(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='2'\n"
            "    store 6 qos=1 pre/one '2'\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 5\n"
            "fetched\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 5\n"
            "fetched\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "stored\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n");
}

/* The broker refuses it for good: counted, and the queue goes on. */
static void a_message_refused_by_the_broker_does_not_block_the_others(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up window 1\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1' lazy\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "a > PUBLISH qos=2 predefined=1 mid=2 data='2'\n"
            "    store 6 qos=2 pre/one '2'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    a < PUBREC mid=2\n"
            "delivered 5 code 135\n"
            "    * UP_REFUSED_BY_BROKER a: pre/one\n"
            "    forget 5 lazy\n"
            "    publish 6 qos=2 pre/one '2'\n"
            "stored\n"
            "delivered 6 code 135\n"
            "    * UP_REFUSED_BY_BROKER a: pre/one\n"
            "    mark 6 delivered\n"
            "a > PUBREL mid=2\n"
            "    forget 6\n"
            "stored\n"
            "    a < PUBCOMP mid=2\n");
}

/* Refused before the sensor was told: it hears that waiting does not help. */
static void a_refusal_reaches_the_sensor_that_has_not_heard_yet(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1' lazy\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "delivered 5 code 135\n"
            "    * UP_REFUSED_BY_BROKER a: pre/one\n"
            "    forget 5 lazy\n"
            "    a < PUBACK tid=1 mid=1 code=not-supported\n"
            "stored\n");
}

/* MQTT: the broker allows less */
static void qos_is_lowered_to_what_the_broker_allows(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up qos 1\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=2 pre/one '1'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 5 qos=1 pre/one '1'\n");
}

/* The disk refuses: not acknowledged, not kept. */
static void what_cannot_be_stored_is_refused_with_congestion(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1'\n"
            "a > PUBLISH qos=2 predefined=1 mid=2 data='2'\n"
            "    store 6 qos=2 pre/one '2'\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * UP_CONGESTION a: disk\n"
            "    a < PUBACK tid=1 mid=1 code=congestion\n"
            "    * UP_CONGESTION a: disk\n"
            "    a < PUBACK tid=1 mid=2 code=congestion\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 7 qos=1 pre/one '1' lazy\n"
            "    publish 7 qos=1 pre/one '1'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "delivered 7\n"
            "    forget 7 lazy\n");
}

/* It is with the broker already, whose answer decides. */
static void what_cannot_be_stored_but_was_published_is_for_the_broker_to_decide(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1' lazy\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "a > PUBLISH dup=1 qos=1 predefined=1 mid=1 data='1'\n"
            "    * UP_REPEATED a\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    publish 5 qos=1 pre/one '1'\n"
            "delivered 5\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n");
}

/* A SAVE of the same batch is tried again and answered then. */
static void other_answers_outlast_a_refusal(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1'\n"
            "a > REGISTER mid=2 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "c > CONNECT client_id='c'\n"
            "    save session 3\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * UP_CONGESTION a: disk\n"
            "    a < PUBACK tid=1 mid=1 code=congestion\n"
            "stored\n"
            "    a < REGACK tid=1 mid=2 code=accepted\n"
            "    * CLIENT_CONNECTED c\n"
            "    c < CONNACK code=accepted\n");
}

/* SN12-6.8-1, SN12-6.8-2, SN12-6.8-3, SN12-6.8-4, SN12-6.8-5, SN12-6.8-6 */
static void qos_minus_one_needs_no_connection_and_gets_no_answer(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "x > PUBLISH qos=-1 predefined=1 data='x'\n"
            "    publish 1 qos=0 pre/one 'x'\n"
            "x > PUBLISH qos=-1 short='AB' data='x'\n"
            "    publish 2 qos=0 AB 'x'\n"
            "x > PUBLISH qos=-1 tid=1 data='x'\n"
            "    * FRAME_BAD: qosm1-normal\n"
            "    * TOPIC_UNKNOWN: qosm1-normal\n"
            "x > PUBLISH qos=-1 predefined=9 data='x'\n"
            "    * TOPIC_UNKNOWN\n"
            "x > PUBLISH qos=-1 short='a#' data='x'\n"
            "    * FRAME_BAD: wildcard-in-name\n"
            "    * TOPIC_UNKNOWN: wildcard-in-name\n"
            "x > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    x < DISCONNECT\n"
            "delivered 1\n");
}

/* SN12-6.8-6, A-24, A-46 */
static void qos_minus_one_of_a_sleeper_leaves_it_asleep(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > DISCONNECT duration_s=40\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "wait 40000\n"
            "a > PUBLISH qos=-1 predefined=2 data='x'\n"
            "    publish 6 qos=0 a/two 'x'\n"
            "wait 59999\n"
            "    +20000\n"
            "    save account lazy\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: asleep\n"
            "    save session 1 lazy\n");
}

static void qos_minus_one_is_refused_where_the_link_does_not_allow_it(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "x > PUBLISH qos=-1 predefined=1 data='x'\n"
            "    * QOS_MINUS_ONE_REFUSED\n"
            "f/n > CONNECT client_id='a'\n"
            "    * FORWARDER_REFUSED\n");
}

/* SN12-6.6-11, SN12-5.3.7-1: each is answered under its own id. */
static void several_open_messages_are_all_acknowledged(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 5 qos=1 pre/one '1'\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='2'\n"
            "    store 6 qos=1 pre/one '2'\n"
            "b > PUBLISH qos=2 predefined=1 mid=1 data='3'\n"
            "    store 7 qos=2 pre/one '3'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "    b < PUBREC mid=1\n");
}

/* The restart comes between any two steps of QoS 2, and the broker gets one. */
static void qos_2_is_published_under_one_seq_whatever_dies_when(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    store 6 qos=2 pre/one 'x'\n"
            "kill\n"
            "    a < PUBREC mid=1\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=1\n"
            "a > PUBREL mid=1\n"
            "    mark 6 released\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBREL mid=1\n"
            "    mark 6 released\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 6\n"
            "fetched\n"
            "    publish 6 qos=2 pre/one 'x'\n"
            "kill\n"
            "    a < PUBCOMP mid=1\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBREL mid=1\n"
            "    a < PUBCOMP mid=1\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 6\n"
            "fetched\n"
            "    publish 6 qos=2 pre/one 'x'\n"
            "delivered 6\n"
            "    forget 6\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 6\n"
            "fetched\n"
            "    publish 6 qos=2 pre/one 'x'\n"
            "delivered 6\n"
            "    forget 6\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n");
}

/* FETCH was answered with what was there when it was asked. */
static void pubrel_during_a_fetch_is_not_forgotten(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "kill\n"
            "    a < PUBREC mid=1\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 5\n"
            "a > PUBREL mid=1\n"
            "    mark 5 released\n"
            "fetched\n"
            "    publish 5 qos=2 pre/one 'x'\n"
            "delivered 5\n"
            "    forget 5\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n");
}

/* Whatever happens to the connection meanwhile, somebody asks for what is on the disk. */
static void a_shortage_of_memory_outlives_no_connection(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=1 pre/one 'x'\n"
            "kill\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 5\n");
    memory(r, false);
    play(r, "fetched\n"
            "    * MEMORY_FULL\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n");
    memory(r, true);
    play(r, "wait 940\n"
            "    +930\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "wait 10000\n"
            "    +60\n"
            "    fetch from 5\n"
            "fetched\n"
            "    publish 5 qos=1 pre/one 'x'\n");
}

/* What changes something and cannot wait for the disk is not done and not answered: were it
 * answered when it is repeated, a crash could undo it. */
static void requests_that_cannot_wait_for_the_disk_are_not_answered(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=1 mid=1 name='AB'\n"
            "    save topic 1 1 AB\n"
            "    subscribe 1 qos=1 AB retained\n");
    memory(r, false);
    play(r, "subscribed 1 1\n"
            "    * MEMORY_FULL\n"
            "    * SUBSCRIPTION_REFUSED a: memory\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=congestion\n"
            "    unsubscribe 2 AB\n"
            "unsubscribed 2\n");
    memory(r, true);
    play(r, "a > SUBSCRIBE qos=1 mid=2 name='AB'\n"
            "    subscribe 3 qos=1 AB retained\n"
            "subscribed 3 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=2 code=accepted\n"
            "a > PUBLISH qos=2 predefined=1 mid=3 data='x'\n"
            "    store 7 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=3\n"
            "    publish 7 qos=2 pre/one 'x'\n");
    memory(r, false);
    play(r, "a > PUBREL mid=3\n"
            "    * MEMORY_FULL\n"
            "a > UNSUBSCRIBE mid=4 name='AB'\n"
            "    * MEMORY_FULL\n"
            "a > DISCONNECT duration_s=100\n"
            "    * MEMORY_FULL\n");
    memory(r, true);
    play(r, "a > PUBREL mid=3\n"
            "    mark 7 released\n"
            "a > UNSUBSCRIBE mid=4 name='AB'\n"
            "    erase filter 1 1\n"
            "    unsubscribe 4 AB\n"
            "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < PUBCOMP mid=3\n"
            "    a < UNSUBACK mid=4\n"
            "    a < DISCONNECT\n");
}

/* Without memory nothing is lost and nothing spins. */
static void lack_of_memory_is_waited_for(void **state)
{
    struct rig *r = *state;
    connect_all(r);
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=1 pre/one 'x'\n"
            "kill\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch from 5\n");
    memory(r, false);
    play(r, "fetched\n"
            "    * MEMORY_FULL\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='y'\n"
            "    * UP_CONGESTION a: pre/one\n"
            "    a < PUBACK tid=1 mid=2 code=congestion\n"
            "wait 1500\n"
            "    +1000\n"
            "    fetch from 5\n"
            "fetched\n"
            "    * MEMORY_FULL\n");
    memory(r, true);
    play(r, "wait 1500\n"
            "    +1000\n"
            "    fetch from 5\n"
            "fetched\n"
            "    publish 5 qos=1 pre/one 'x'\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "stored\n");
}

#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, end)

/* One that need not wait for the disk stood behind one that does, which the disk refuses. */
static void what_stood_behind_a_refused_message_goes(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > CONNECT clean=1 keepalive_s=0 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=2 short='ab' mid=1 data='x'\n"
            "    store 2 qos=2 ab 'x'\n"
            "b > PUBLISH qos=-1 predefined=1 mid=0 data='y'\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * UP_CONGESTION a: disk\n"
            "    a < PUBACK tid=24930 mid=1 code=congestion\n"
            "    publish 3 qos=0 pre/one 'y'\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(register_gives_a_name_one_id_when_it_is_stored, begin),
        WITH(a_register_that_cannot_be_served_is_refused, begin),
        WITH(ids_belong_to_their_client_and_their_kind, begin),
        WITH(a_publish_without_a_topic_is_answered_whatever_its_qos, begin),
        WITH(qos_0_goes_to_the_broker_without_an_answer_and_without_the_disk, begin),
        WITH(qos_0_waits_up_to_its_limit_while_the_broker_is_away, begin),
        WITH(qos_1_is_acknowledged_when_it_is_stored, begin),
        WITH(qos_1_is_acknowledged_by_the_broker_if_that_is_faster, begin),
        WITH(a_repeated_qos_1_publish_is_acknowledged_again, begin),
        WITH(with_ack_broker_the_broker_decides, broker_acks),
        WITH(with_ack_broker_the_sensor_hears_of_a_message_that_was_read_back,
             broker_acks_small_live),
        WITH(qos_2_goes_step_by_step_over_the_disk, begin),
        WITH(qos_2_delivered_before_pubrel_remembers_the_id, begin),
        WITH(every_frame_of_qos_2_can_be_repeated, begin),
        WITH(a_late_copy_of_a_completed_qos_2_publish_is_no_new_message, begin),
        WITH(a_rebooted_device_may_use_an_open_id_for_another_message, begin),
        WITH(a_rebooted_device_may_do_so_after_a_restart, begin),
        WITH(a_clean_connect_frees_the_ids_on_the_disk, begin),
        WITH(more_open_exchanges_than_allowed_push_out_the_oldest, begin),
        WITH(a_full_backlog_is_answered_with_congestion, small_backlog),
        WITH(the_backlog_beyond_max_live_is_read_back_in_order, small_live),
        WITH(qos_0_in_memory_does_not_hold_up_the_disk, small_live),
        WITH(what_was_undecided_goes_again_when_the_broker_is_back, begin),
        WITH(an_acknowledged_message_survives_every_crash, begin),
        WITH(a_message_refused_by_the_broker_does_not_block_the_others, begin),
        WITH(a_refusal_reaches_the_sensor_that_has_not_heard_yet, begin),
        WITH(qos_is_lowered_to_what_the_broker_allows, begin),
        WITH(what_cannot_be_stored_is_refused_with_congestion, begin),
        WITH(what_cannot_be_stored_but_was_published_is_for_the_broker_to_decide, begin),
        WITH(other_answers_outlast_a_refusal, begin),
        WITH(qos_minus_one_needs_no_connection_and_gets_no_answer, begin),
        WITH(qos_minus_one_of_a_sleeper_leaves_it_asleep, begin),
        WITH(qos_minus_one_is_refused_where_the_link_does_not_allow_it, closed_link),
        WITH(several_open_messages_are_all_acknowledged, begin),
        WITH(qos_2_is_published_under_one_seq_whatever_dies_when, begin),
        WITH(pubrel_during_a_fetch_is_not_forgotten, begin),
        WITH(a_shortage_of_memory_outlives_no_connection, begin),
        WITH(requests_that_cannot_wait_for_the_disk_are_not_answered, begin),
        WITH(lack_of_memory_is_waited_for, begin),
        WITH(what_stood_behind_a_refused_message_goes, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
