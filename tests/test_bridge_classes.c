#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bridge/core.h"
#include "tests/bridge_rig.h"

/* "AB" is urgent and of use for a minute, "CD" may wait; everything else is as ever. */
static const struct bridge_class_config classes[] = {
    {.name = "default", .priority = BRIDGE_PRIORITY_STANDARD},
    {.name = "alarm", .topics = "AB", .priority = 0, .expire_s = 60},
    {.name = "bulk", .topics = "CD", .priority = 7},
};

static int begin_with(void **state, void (*change)(struct rig_options *o))
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.classes = classes;
    o.config.class_count = 3;
    if (change != NULL)
        change(&o);
    *state = rig_new(&o);
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, NULL);
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

static void connect_a(struct rig *r)
{
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
}

/* The rest of its time goes along; what is over is dropped before it costs anything. */
static void messages_expire_on_their_way_to_the_broker(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='AB' mid=1 data='1'\n"
            "    store 2 qos=1 AB '1'\n"
            "stored\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n"
            "wait 30500\n"
            "a > PUBLISH qos=2 short='AB' mid=2 data='2'\n"
            "    store 3 qos=2 AB '2'\n"
            "a > PUBLISH qos=1 short='XY' mid=3 data='3'\n"
            "    store 4 qos=1 XY '3'\n"
            "stored\n"
            "    a < PUBREC mid=2\n"
            "    a < PUBACK tid=22617 mid=3 code=accepted\n"
            "wait 29500\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    * UP_EXPIRED a: AB\n"
            "    forget 2 lazy\n"
            "    publish 3 qos=2 AB '2' expiry 31\n"
            "    publish 4 qos=1 XY '3'\n"
            "    save account lazy\n");
}

/* The broker's limit and the class's: the shorter one counts. */
static void messages_to_sensors_expire_by_class_and_by_the_brokers_word(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "a > SUBSCRIBE qos=1 short='AB' mid=1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 4 for 1 priority 0 qos=1 AB '1'\n"
            "message token 2 qos=1 expiry 600 AB '2'\n"
            "    store 5 for 1 priority 0 qos=1 AB '2'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "wait 30000\n"
            "    +816\n"
            "    connect broker\n"
            "message token 3 qos=1 expiry 20 AB '3'\n"
            "    store 6 for 1 priority 0 qos=1 AB '3'\n"
            "message token 4 qos=1 AB '4'\n"
            "    store 7 for 1 priority 0 qos=1 AB '4'\n"
            "stored\n"
            "    accept 3\n"
            "    accept 4\n"
            "wait 30000\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "    save account lazy\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 4 for 1 priority 0 lazy\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 5 for 1 priority 0 lazy\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 6 for 1 priority 0 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=8 data='4'\n");
}

/* An alarm does not wait behind bulk; each topic keeps its order. */
static void the_urgent_goes_first_to_a_sensor(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "a > SUBSCRIBE qos=1 name='+' mid=1\n"
            "    save filter 1 1 qos=1 +\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "a > DISCONNECT duration_s=600\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 CD '1'\n"
            "    store 4 for 1 priority 7 qos=1 CD '1'\n"
            "message token 2 qos=1 XY '2'\n"
            "    store 5 for 1 qos=1 XY '2'\n"
            "message token 3 qos=1 CD '3'\n"
            "    store 6 for 1 priority 7 qos=1 CD '3'\n"
            "message token 4 qos=1 AB '4'\n"
            "    store 7 for 1 priority 0 qos=1 AB '4'\n"
            "message token 5 qos=1 AB '5'\n"
            "    store 8 for 1 priority 0 qos=1 AB '5'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "    accept 3\n"
            "    accept 4\n"
            "    accept 5\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 short='AB' mid=8 data='4'\n"
            "a > PUBACK mid=8\n"
            "    forget 7 for 1 priority 0 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=9 data='5'\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 priority 0 lazy\n"
            "    a < PUBLISH qos=1 short='XY' mid=6 data='2'\n"
            "a > PUBACK mid=6\n"
            "    forget 5 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='CD' mid=5 data='1'\n"
            "a > PUBACK mid=5\n"
            "    forget 4 for 1 priority 7 lazy\n"
            "    a < PUBLISH qos=1 short='CD' mid=7 data='3'\n"
            "a > PUBACK mid=7\n"
            "    forget 6 for 1 priority 7 lazy\n"
            "    a < PINGRESP\n");
}

static void change_air(struct rig_options *o)
{
    o->links[0].bits_per_s = 1200;
}

static int slow_air(void **state)
{
    return begin_with(state, change_air);
}

/* Whoever has something urgent is served before those who came first. */
static void the_urgent_goes_first_where_air_is_scarce(void **state)
{
    struct rig *r = *state;
    static const char *const peers[] = {"a", "b", "c", "d"};
    rig_conn_down(r, 0, 0);
    for (size_t i = 0; i < 4; i++) {
        rig_frame(r, peers[i],
                  &(struct sn_packet){.type = SN_CONNECT,
                                      .connect = {.protocol_id = SN_PROTOCOL_ID,
                                                  .client_id = sn_bytes_text(peers[i])}});
        rig_commit(r, UINT64_MAX);
        rig_frame(r, peers[i],
                  &(struct sn_packet){.type = SN_SUBSCRIBE,
                                      .subscribe = {.kind = SN_TOPIC_SHORT,
                                                    .mid = 1,
                                                    .tid = i == 3 ? SN_SHORT_ID('A', 'B')
                                                                  : SN_SHORT_ID('C', 'D')}});
        rig_commit(r, UINT64_MAX);
    }
    rig_pass(r, 10000);
    rig_skip(r);
    play(r, "message qos=0 CD '1'\n"
            "    a < PUBLISH qos=0 short='CD' mid=0 data='1'\n"
            "message qos=0 AB '2'\n"
            "wait 2000\n"
            "    +53\n"
            "    b < PUBLISH qos=0 short='CD' mid=0 data='1'\n"
            "    +106\n"
            "    d < PUBLISH qos=0 short='AB' mid=0 data='2'\n"
            "    +160\n"
            "    c < PUBLISH qos=0 short='CD' mid=0 data='1'\n");
}

/* ---- lanes --------------------------------------------------------------------------- */

static void change_lanes(struct rig_options *o)
{
    o->lanes = true;
}

static int lanes(void **state)
{
    return begin_with(state, change_lanes);
}

/* Whoever has nothing waiting does not wait; whoever has keeps the order. */
static void only_topics_with_a_backlog_wait_behind_it(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='T1' mid=1 data='1'\n"
            "    store 2 in 0 qos=1 T1 '1'\n"
            "a > PUBLISH qos=1 short='T2' mid=2 data='2'\n"
            "    store 3 in 0 qos=1 T2 '2'\n"
            "stored\n"
            "    a < PUBACK tid=21553 mid=1 code=accepted\n"
            "    a < PUBACK tid=21554 mid=2 code=accepted\n"
            "broker up window 1\n"
            "    * BROKER_UP\n"
            "    publish 2 in 0 qos=1 T1 '1'\n"
            "a > PUBLISH qos=1 short='T1' mid=3 data='3'\n"
            "    store 4 in 0 qos=1 T1 '3' lazy\n"
            "a > PUBLISH qos=1 short='T3' mid=4 data='4'\n"
            "    store 5 in live 0 qos=1 T3 '4' lazy\n"
            "a > PUBLISH qos=1 short='T3' mid=5 data='5'\n"
            "    store 6 in live 0 qos=1 T3 '5' lazy\n"
            "stored\n"
            "    a < PUBACK tid=21553 mid=3 code=accepted\n"
            "    a < PUBACK tid=21555 mid=4 code=accepted\n"
            "    a < PUBACK tid=21555 mid=5 code=accepted\n"
            "delivered 2\n"
            "    forget 2 in 0 lazy\n"
            "    publish 3 in 0 qos=1 T2 '2'\n"
            "delivered 3\n"
            "    forget 3 in 0 lazy\n"
            "    publish 5 in live 0 qos=1 T3 '4'\n"
            "delivered 5\n"
            "    forget 5 in live 0 lazy\n"
            "    publish 6 in live 0 qos=1 T3 '5'\n"
            "delivered 6\n"
            "    forget 6 in live 0 lazy\n"
            "    publish 4 in 0 qos=1 T1 '3'\n"
            "delivered 4\n"
            "    forget 4 in 0 lazy\n"
            "a > PUBLISH qos=1 short='T1' mid=6 data='6'\n"
            "    store 12 in live 0 qos=1 T1 '6' lazy\n"
            "    publish 12 in live 0 qos=1 T1 '6'\n");
}

/* Four of five messages are new ones, as long as there are any. */
static void both_lanes_have_their_share(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='T1' mid=1 data='1'\n"
            "    store 2 in 0 qos=1 T1 '1'\n"
            "a > PUBLISH qos=1 short='T1' mid=2 data='2'\n"
            "    store 3 in 0 qos=1 T1 '2'\n"
            "a > PUBLISH qos=1 short='T1' mid=3 data='3'\n"
            "    store 4 in 0 qos=1 T1 '3'\n"
            "stored\n"
            "    a < PUBACK tid=21553 mid=1 code=accepted\n"
            "    a < PUBACK tid=21553 mid=2 code=accepted\n"
            "    a < PUBACK tid=21553 mid=3 code=accepted\n"
            "broker up window 1\n"
            "    * BROKER_UP\n"
            "    publish 2 in 0 qos=1 T1 '1'\n"
            "a > PUBLISH qos=1 short='T2' mid=4 data='4'\n"
            "    store 5 in live 0 qos=1 T2 '4' lazy\n"
            "a > PUBLISH qos=1 short='T2' mid=5 data='5'\n"
            "    store 6 in live 0 qos=1 T2 '5' lazy\n"
            "a > PUBLISH qos=1 short='T2' mid=6 data='6'\n"
            "    store 7 in live 0 qos=1 T2 '6' lazy\n"
            "a > PUBLISH qos=1 short='T2' mid=7 data='7'\n"
            "    store 8 in live 0 qos=1 T2 '7' lazy\n"
            "a > PUBLISH qos=1 short='T2' mid=8 data='8'\n"
            "    store 9 in live 0 qos=1 T2 '8' lazy\n"
            "stored\n"
            "    a < PUBACK tid=21554 mid=4 code=accepted\n"
            "    a < PUBACK tid=21554 mid=5 code=accepted\n"
            "    a < PUBACK tid=21554 mid=6 code=accepted\n"
            "    a < PUBACK tid=21554 mid=7 code=accepted\n"
            "    a < PUBACK tid=21554 mid=8 code=accepted\n"
            "delivered 2\n"
            "    forget 2 in 0 lazy\n"
            "    publish 3 in 0 qos=1 T1 '2'\n"
            "delivered 3\n"
            "    forget 3 in 0 lazy\n"
            "    publish 5 in live 0 qos=1 T2 '4'\n"
            "delivered 5\n"
            "    forget 5 in live 0 lazy\n"
            "    publish 6 in live 0 qos=1 T2 '5'\n"
            "delivered 6\n"
            "    forget 6 in live 0 lazy\n"
            "    publish 7 in live 0 qos=1 T2 '6'\n"
            "delivered 7\n"
            "    forget 7 in live 0 lazy\n"
            "    publish 8 in live 0 qos=1 T2 '7'\n"
            "delivered 8\n"
            "    forget 8 in live 0 lazy\n"
            "    publish 4 in 0 qos=1 T1 '3'\n"
            "delivered 4\n"
            "    forget 4 in 0 lazy\n"
            "    publish 9 in live 0 qos=1 T2 '8'\n"
            "delivered 9\n"
            "    forget 9 in live 0 lazy\n");
}

/* An outage later, what was live is older than what waits, and goes first. */
static void what_was_live_goes_before_what_came_during_the_outage(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "broker up window 1\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 short='T1' mid=1 data='1'\n"
            "    store 2 in live 0 qos=1 T1 '1' lazy\n"
            "    publish 2 in live 0 qos=1 T1 '1'\n"
            "a > PUBLISH qos=1 short='T1' mid=2 data='2'\n"
            "    store 3 in live 0 qos=1 T1 '2' lazy\n"
            "stored\n"
            "    a < PUBACK tid=21553 mid=1 code=accepted\n"
            "    a < PUBACK tid=21553 mid=2 code=accepted\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "a > PUBLISH qos=1 short='T1' mid=3 data='3'\n"
            "    store 4 in 0 qos=1 T1 '3'\n"
            "stored\n"
            "    a < PUBACK tid=21553 mid=3 code=accepted\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up window 50\n"
            "    * BROKER_UP\n"
            "    publish 2 in live 0 qos=1 T1 '1'\n"
            "    publish 3 in live 0 qos=1 T1 '2'\n"
            "    publish 4 in 0 qos=1 T1 '3'\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PUBLISH qos=1 short='T1' mid=4 data='4'\n"
            "    store 5 in 0 qos=1 T1 '4'\n"
            "stored\n"
            "    a < PUBACK tid=21553 mid=4 code=accepted\n"
            "broker up window 50\n"
            "    * BROKER_UP\n"
            "    fetch in 0 from 4\n"
            "    fetch in live 0 from 2\n"
            "fetched\n"
            "fetched\n"
            "    publish 2 in live 0 qos=1 T1 '1'\n"
            "    publish 3 in live 0 qos=1 T1 '2'\n"
            "    publish 4 in 0 qos=1 T1 '3'\n"
            "    publish 5 in 0 qos=1 T1 '4'\n"
            "delivered 2\n"
            "    forget 2 in live 0 lazy\n"
            "delivered 3\n"
            "    forget 3 in live 0 lazy\n"
            "delivered 4\n"
            "    forget 4 in 0 lazy\n");
}

/* After a restart the topics of what waits are known before it is read. */
static void a_restart_knows_which_topics_wait(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='T1' mid=1 data='1'\n"
            "    store 2 in 0 qos=1 T1 '1'\n"
            "stored\n"
            "    a < PUBACK tid=21553 mid=1 code=accepted\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    fetch in 0 from 2\n"
            "a > PUBLISH qos=1 short='T1' mid=2 data='2'\n"
            "    store 3 in 0 qos=1 T1 '2'\n"
            "a > PUBLISH qos=1 short='T2' mid=3 data='3'\n"
            "    store 4 in live 0 qos=1 T2 '3' lazy\n"
            "    publish 4 in live 0 qos=1 T2 '3'\n"
            "stored\n"
            "    a < PUBACK tid=21553 mid=2 code=accepted\n"
            "    a < PUBACK tid=21554 mid=3 code=accepted\n"
            "fetched\n"
            "    publish 2 in 0 qos=1 T1 '1'\n"
            "    fetch in 0 from 3\n");
}

/* Urgent classes go first within each lane. */
static void classes_go_by_priority(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='CD' mid=1 data='1'\n"
            "    store 2 in 2 qos=1 CD '1'\n"
            "a > PUBLISH qos=1 short='T1' mid=2 data='2'\n"
            "    store 3 in 0 qos=1 T1 '2'\n"
            "a > PUBLISH qos=1 short='AB' mid=3 data='3'\n"
            "    store 4 in 1 qos=1 AB '3'\n"
            "stored\n"
            "    a < PUBACK tid=17220 mid=1 code=accepted\n"
            "    a < PUBACK tid=21553 mid=2 code=accepted\n"
            "    a < PUBACK tid=16706 mid=3 code=accepted\n"
            "broker up window 1\n"
            "    * BROKER_UP\n"
            "    publish 4 in 1 qos=1 AB '3' expiry 60\n"
            "a > PUBLISH qos=1 short='XY' mid=4 data='4'\n"
            "    store 5 in live 0 qos=1 XY '4' lazy\n"
            "stored\n"
            "    a < PUBACK tid=22617 mid=4 code=accepted\n"
            "delivered 4\n"
            "    forget 4 in 1 lazy\n"
            "    publish 3 in 0 qos=1 T1 '2'\n"
            "delivered 3\n"
            "    forget 3 in 0 lazy\n"
            "    publish 5 in live 0 qos=1 XY '4'\n"
            "delivered 5\n"
            "    forget 5 in live 0 lazy\n"
            "    publish 2 in 2 qos=1 CD '1'\n"
            "delivered 2\n"
            "    forget 2 in 2 lazy\n");
}

static void change_own(struct rig_options *o)
{
    o->lanes = true;
    o->config.transparent = true;
}

static int own(void **state)
{
    return begin_with(state, change_own);
}

static void connect_own(struct rig *r)
{
    play(r, "a > CONNECT client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up window 1\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
}

/* On a sensor's own connection, too: the urgent first, the news not behind all that waited, and
 * the order of each topic kept, over a restart. */
static void a_connection_of_ones_own_has_lanes_and_classes(void **state)
{
    struct rig *r = *state;
    connect_own(r);
    play(r, "broker 1 down\n"
            "    * CONNECTION_LOST a: gone\n"
            "a > PUBLISH qos=1 short='CD' mid=1 data='1'\n"
            "    store 2 via 1 in 2 qos=1 CD '1'\n"
            "a > PUBLISH qos=1 short='T1' mid=2 data='2'\n"
            "    store 3 via 1 in 0 qos=1 T1 '2'\n"
            "a > PUBLISH qos=1 short='T1' mid=3 data='3'\n"
            "    store 4 via 1 in 0 qos=1 T1 '3'\n"
            "a > PUBLISH qos=1 short='AB' mid=4 data='4'\n"
            "    store 5 via 1 in 1 qos=1 AB '4'\n"
            "stored\n"
            "    a < PUBACK tid=17220 mid=1 code=accepted\n"
            "    a < PUBACK tid=21553 mid=2 code=accepted\n"
            "    a < PUBACK tid=21553 mid=3 code=accepted\n"
            "    a < PUBACK tid=16706 mid=4 code=accepted\n"
            "kill\n"
            "    connect via 1 'a'\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker 1 up window 1\n"
            "    * CONNECTION_UP a\n"
            "    fetch via 1 in 1 from 5\n"
            "    fetch via 1 in 0 from 3\n"
            "    fetch via 1 in 2 from 2\n"
            "fetched\n"
            "    publish 5 via 1 in 1 qos=1 AB '4' expiry 60\n"
            "fetched\n"
            "fetched\n"
            "a > PUBLISH qos=1 short='XY' mid=5 data='5'\n"
            "    store 6 via 1 in live 0 qos=1 XY '5' lazy\n"
            "a > PUBLISH qos=1 short='T1' mid=6 data='6'\n"
            "    store 7 via 1 in 0 qos=1 T1 '6' lazy\n"
            "stored\n"
            "    a < PUBACK tid=22617 mid=5 code=accepted\n"
            "    a < PUBACK tid=21553 mid=6 code=accepted\n"
            "delivered 5\n"
            "    forget 5 via 1 in 1 lazy\n"
            "    publish 3 via 1 in 0 qos=1 T1 '2'\n"
            "delivered 3\n"
            "    forget 3 via 1 in 0 lazy\n"
            "    publish 6 via 1 in live 0 qos=1 XY '5'\n"
            "delivered 6\n"
            "    forget 6 via 1 in live 0 lazy\n"
            "    publish 4 via 1 in 0 qos=1 T1 '3'\n"
            "delivered 4\n"
            "    forget 4 via 1 in 0 lazy\n"
            "    publish 7 via 1 in 0 qos=1 T1 '6'\n"
            "delivered 7\n"
            "    forget 7 via 1 in 0 lazy\n"
            "    publish 2 via 1 in 2 qos=1 CD '1'\n"
            "delivered 2\n"
            "    forget 2 via 1 in 2 lazy\n");
}

static void what_does_not_wait_on_a_connection_of_ones_own_costs_no_memory(void **state)
{
    struct rig *r = *state;
    struct bridge_status before;
    struct bridge_status after;
    connect_own(r);
    rig_status(r, &before);
    play(r, "a > PUBLISH qos=1 short='AB' mid=1 data='1'\n"
            "    store 2 via 1 in live 1 qos=1 AB '1' lazy\n"
            "    publish 2 via 1 in live 1 qos=1 AB '1' expiry 60\n"
            "delivered 2\n"
            "    forget 2 via 1 in live 1 lazy\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n"
            "broker 1 down\n"
            "    * CONNECTION_LOST a: gone\n"
            "a > PUBLISH qos=1 short='AB' mid=2 data='2'\n"
            "    store 4 via 1 in 1 qos=1 AB '2'\n"
            "a > PUBLISH qos=1 short='CD' mid=3 data='3'\n"
            "    store 5 via 1 in 2 qos=1 CD '3'\n"
            "stored\n"
            "    a < PUBACK tid=16706 mid=2 code=accepted\n"
            "    a < PUBACK tid=17220 mid=3 code=accepted\n"
            "wait 1000\n"
            "    +816\n"
            "    connect via 1 'a'\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    publish 4 via 1 in 1 qos=1 AB '2' expiry 59\n"
            "    publish 5 via 1 in 2 qos=1 CD '3'\n"
            "delivered 4\n"
            "    forget 4 via 1 in 1 lazy\n"
            "delivered 5\n"
            "    forget 5 via 1 in 2 lazy\n");
    rig_status(r, &after);
    assert_int_equal(after.memory_used, before.memory_used);
}

static const struct bridge_class_config newest_first[] = {
    {.name = "default", .priority = BRIDGE_PRIORITY_STANDARD},
    {.name = "gauge", .topics = "G1, G2", .priority = 3, .live = true, .newest = true},
};

static void change_newest(struct rig_options *o)
{
    o->lanes = true;
    o->config.classes = newest_first;
    o->config.class_count = 2;
    o->config.max_live = 2;
}

static int newest(void **state)
{
    return begin_with(state, change_newest);
}

/* The backlog drains from its end, on the disk too; what is new does not wait for it. */
static void the_newest_go_first_where_order_does_not_count(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='G1' mid=1 data='1'\n"
            "    store 2 in 1 qos=1 G1 '1'\n"
            "a > PUBLISH qos=1 short='G1' mid=2 data='2'\n"
            "    store 3 in 1 qos=1 G1 '2'\n"
            "a > PUBLISH qos=1 short='G1' mid=3 data='3'\n"
            "    store 4 in 1 qos=1 G1 '3'\n"
            "a > PUBLISH qos=1 short='G1' mid=4 data='4'\n"
            "    store 5 in 1 qos=1 G1 '4'\n"
            "a > PUBLISH qos=1 short='G1' mid=5 data='5'\n"
            "    store 6 in 1 qos=1 G1 '5'\n"
            "stored\n"
            "    a < PUBACK tid=18225 mid=1 code=accepted\n"
            "    a < PUBACK tid=18225 mid=2 code=accepted\n"
            "    a < PUBACK tid=18225 mid=3 code=accepted\n"
            "    a < PUBACK tid=18225 mid=4 code=accepted\n"
            "    a < PUBACK tid=18225 mid=5 code=accepted\n"
            "broker up window 1\n"
            "    * BROKER_UP\n"
            "    publish 6 in 1 qos=1 G1 '5'\n"
            "a > PUBLISH qos=1 short='G1' mid=6 data='6'\n"
            "    store 7 in live 1 qos=1 G1 '6' lazy\n"
            "stored\n"
            "    a < PUBACK tid=18225 mid=6 code=accepted\n"
            "delivered 6\n"
            "    forget 6 in 1 lazy\n"
            "    publish 7 in live 1 qos=1 G1 '6'\n"
            "    fetch in 1 back from 5\n"
            "delivered 7\n"
            "    forget 7 in live 1 lazy\n"
            "fetched\n"
            "    publish 5 in 1 qos=1 G1 '4'\n"
            "delivered 5\n"
            "    forget 5 in 1 lazy\n"
            "    publish 4 in 1 qos=1 G1 '3'\n"
            "delivered 4\n"
            "    forget 4 in 1 lazy\n"
            "    fetch in 1 back from 3\n"
            "fetched\n"
            "    publish 3 in 1 qos=1 G1 '2'\n"
            "delivered 3\n"
            "    forget 3 in 1 lazy\n"
            "    publish 2 in 1 qos=1 G1 '1'\n"
            "delivered 2\n"
            "    forget 2 in 1 lazy\n");
}

static struct bridge_account class_up(const struct rig *r, uint8_t class)
{
    struct bridge_status s;
    rig_status(r, &s);
    return s.classes[class].up;
}

static const struct bridge_class_config newest_expire[] = {
    {.name = "default", .priority = BRIDGE_PRIORITY_STANDARD},
    {.name = "gauge",
     .topics = "G1",
     .priority = 3,
     .keep = BRIDGE_KEEP_NEWEST,
     .expire_s = 30,
     .max_messages = 9,
     .live = true,
     .newest = true},
};

static void change_newest_expire(struct rig_options *o)
{
    change_newest(o);
    o->config.classes = newest_expire;
}

static int newest_and_expire(void **state)
{
    return begin_with(state, change_newest_expire);
}

static void publish_many(struct rig *r, uint16_t first, uint16_t last)
{
    for (uint16_t mid = first; mid <= last; mid++)
        rig_frame(r, "a",
                  &(struct sn_packet){.type = SN_PUBLISH,
                                      .publish = {.qos = 1,
                                                  .kind = SN_TOPIC_SHORT,
                                                  .tid = SN_SHORT_ID('G', '1'),
                                                  .mid = mid,
                                                  .data = sn_bytes_text("x")}});
}

/* Message 6 is under way, and both older and newer ones are on the disk only. */
static void one_under_way_between_those_on_disk(struct rig *r)
{
    connect_a(r);
    publish_many(r, 1, 5);
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
    play(r, "broker up window 1\n"
            "    * BROKER_UP\n"
            "    publish 6 in 1 qos=1 G1 'x' expiry 30\n");
    publish_many(r, 6, 7); /* in the live lane: 7 and 8 */
    publish_many(r, 8, 9); /* in the backlog: 9 on the disk, 10 in memory */
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
}

/* What is under way is in memory, whatever lies around it on the disk: it is counted once, by
 * what the broker says. */
static void what_is_under_way_does_not_expire_on_the_disk(void **state)
{
    struct rig *r = *state;
    one_under_way_between_those_on_disk(r);
    rig_pass(r, 31000);
    rig_skip(r);
    play(r, "fetched\n"
            "    * UP_EXPIRED a: G1\n"
            "    forget 2 in 1 lazy\n"
            "    * UP_EXPIRED a: G1\n"
            "    forget 3 in 1 lazy\n"
            "    * UP_EXPIRED a: G1\n"
            "    forget 4 in 1 lazy\n"
            "    * UP_EXPIRED a: G1\n"
            "    forget 5 in 1 lazy\n"
            "    * UP_EXPIRED a: G1\n"
            "    forget 9 in 1 lazy\n");
    rig_delivered(r, 6, 0);
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
    const struct bridge_account up = class_up(r, 1);
    assert_int_equal(up.delivered, 1);
    assert_int_equal(up.accepted, 9);
    assert_int_equal(rig_rows(r), up.queued);
}

static void what_is_under_way_does_not_give_way_on_the_disk(void **state)
{
    struct rig *r = *state;
    one_under_way_between_those_on_disk(r);
    publish_many(r, 10, 18);
    rig_commit(r, UINT64_MAX);
    while (rig_fetched(r))
        continue;
    rig_delivered(r, 6, 0);
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
    const struct bridge_account up = class_up(r, 1);
    assert_int_equal(up.delivered, 1);
    assert_int_equal(up.accepted, 18);
    assert_int_equal(rig_rows(r), up.queued);
}

/* ---- bounds -------------------------------------------------------------------------- */

static const struct bridge_class_config bounded[] = {
    {.name = "default", .priority = BRIDGE_PRIORITY_STANDARD},
    {.name = "refuse", .topics = "R1", .priority = 3, .max_messages = 2},
    {.name = "oldest",
     .topics = "O1",
     .priority = 3,
     .keep = BRIDGE_KEEP_OLDEST,
     .max_messages = 1},
    {.name = "newest", .topics = "N1", .priority = 3, .keep = BRIDGE_KEEP_NEWEST, .max_bytes = 6},
    {.name = "last",
     .topics = "L1",
     .priority = 3,
     .keep = BRIDGE_KEEP_NEWEST,
     .max_messages = 3,
     .live = true,
     .newest = true},
    {.name = "short", .topics = "S1", .priority = 3, .expire_s = 10},
};

static void change_bounds(struct rig_options *o)
{
    o->lanes = true;
    o->config.classes = bounded;
    o->config.class_count = sizeof(bounded) / sizeof(bounded[0]);
}

static int bounds(void **state)
{
    return begin_with(state, change_bounds);
}

static void change_own_bounds(struct rig_options *o)
{
    change_bounds(o);
    o->config.transparent = true;
}

static int own_bounds(void **state)
{
    return begin_with(state, change_own_bounds);
}

static void change_disk_bounds(struct rig_options *o)
{
    change_bounds(o);
    o->config.max_live = 1;
}

static int disk_bounds(void **state)
{
    return begin_with(state, change_disk_bounds);
}

static void change_bytes(struct rig_options *o)
{
    change_bounds(o);
    o->config.max_backlog_bytes = 10;
    o->config.max_queue_bytes = 8;
    o->config.max_backlog_age_s = 100;
    o->config.max_queue_age_s = 200;
}

static int byte_bounds(void **state)
{
    return begin_with(state, change_bytes);
}

/* One class at its bound is no concern of the others. */
static void a_full_class_that_refuses_answers_congestion(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='R1' mid=1 data='1'\n"
            "    store 2 in 1 qos=1 R1 '1'\n"
            "a > PUBLISH qos=1 short='R1' mid=2 data='2'\n"
            "    store 3 in 1 qos=1 R1 '2'\n"
            "a > PUBLISH qos=1 short='R1' mid=3 data='3'\n"
            "    * UP_CONGESTION a: R1\n"
            "    a < PUBACK tid=21041 mid=3 code=congestion\n"
            "a > PUBLISH qos=2 short='R1' mid=4 data='4'\n"
            "    * UP_CONGESTION a: R1\n"
            "    a < PUBACK tid=21041 mid=4 code=congestion\n"
            "a > PUBLISH qos=0 short='R1' data='5'\n"
            "    * UP_DROPPED_QOS0 a: R1\n"
            "a > PUBLISH qos=1 short='AB' mid=6 data='6'\n"
            "    store 7 in 0 qos=1 AB '6'\n"
            "stored\n"
            "    a < PUBACK tid=21041 mid=1 code=accepted\n"
            "    a < PUBACK tid=21041 mid=2 code=accepted\n"
            "    a < PUBACK tid=16706 mid=6 code=accepted\n");
    assert_int_equal(class_up(r, 1).accepted, 3);
    assert_int_equal(class_up(r, 1).dropped, 1);
}

/* Dropped for good, and acknowledged, only when the disk has what fills the room. */
static void new_ones_are_refused_while_the_disk_may_refuse_the_old(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='O1' mid=1 data='1'\n"
            "    store 2 in 2 qos=1 O1 '1'\n"
            "a > PUBLISH qos=1 short='O1' mid=2 data='2'\n"
            "    * UP_CONGESTION a: O1\n"
            "    a < PUBACK tid=20273 mid=2 code=congestion\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * UP_CONGESTION a: disk\n"
            "    a < PUBACK tid=20273 mid=1 code=congestion\n");
    assert_int_equal(class_up(r, 2).accepted, 0);
}

/* The sensor is relieved of it all the same. */
static void a_full_class_that_keeps_the_oldest_drops_the_new(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='O1' mid=1 data='1'\n"
            "    store 2 in 2 qos=1 O1 '1'\n"
            "stored\n"
            "    a < PUBACK tid=20273 mid=1 code=accepted\n"
            "a > PUBLISH qos=1 short='O1' mid=2 data='2'\n"
            "    * UP_DROPPED_NEW a: O1\n"
            "    a < PUBACK tid=20273 mid=2 code=accepted\n"
            "a > PUBLISH qos=2 short='O1' mid=3 data='3'\n"
            "    * UP_DROPPED_NEW a: O1\n"
            "    a < PUBREC mid=3\n"
            "a > PUBREL mid=3\n"
            "    a < PUBCOMP mid=3\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    publish 2 in 2 qos=1 O1 '1'\n");
    assert_int_equal(class_up(r, 2).accepted, 3);
    assert_int_equal(class_up(r, 2).dropped, 2);
}

static void a_full_class_that_keeps_the_newest_drops_the_oldest(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=2 short='N1' mid=1 data='111'\n"
            "    store 2 in 3 qos=2 N1 '111'\n"
            "a > PUBLISH qos=1 short='N1' mid=2 data='222'\n"
            "    store 3 in 3 qos=1 N1 '222'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    a < PUBACK tid=20017 mid=2 code=accepted\n"
            "a > PUBLISH qos=1 short='N1' mid=3 data='3333'\n"
            "    * UP_DROPPED_OLD a: N1\n"
            "    mark 2 in 3 delivered\n"
            "    * UP_DROPPED_OLD a: N1\n"
            "    forget 3 in 3 lazy\n"
            "    store 6 in 3 qos=1 N1 '3333'\n"
            "stored\n"
            "    a < PUBACK tid=20017 mid=3 code=accepted\n"
            "a > PUBREL mid=1\n"
            "    forget 2 in 3\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    publish 6 in 3 qos=1 N1 '3333'\n"
            "a > PUBLISH qos=1 short='N1' mid=4 data='4444'\n"
            "    * UP_CONGESTION a: N1\n"
            "    a < PUBACK tid=20017 mid=4 code=congestion\n");
    assert_int_equal(class_up(r, 3).dropped, 2);
    assert_int_equal(class_up(r, 3).queued, 1);
}

/* The bound is that of all: what one sensor's connection does not get rid of is no
 * reason to refuse another's. */
static void the_oldest_of_another_connection_gives_way(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "b > CONNECT client_id='b'\n"
            "    connect via 2 'b'\n"
            "    save session 2\n"
            "stored\n"
            "broker 1 down\n"
            "    * CONNECTION_FAILED a: gone\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "broker 2 down\n"
            "    * CONNECTION_FAILED b: gone\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "a > PUBLISH qos=1 short='N1' mid=1 data='one'\n"
            "    store 3 via 1 in 3 qos=1 N1 'one'\n"
            "a > PUBLISH qos=1 short='N1' mid=2 data='two'\n"
            "    store 4 via 1 in 3 qos=1 N1 'two'\n"
            "b > PUBLISH qos=1 short='N1' mid=1 data='new'\n"
            "    * UP_DROPPED_OLD a: N1\n"
            "    forget 3 via 1 in 3 lazy\n"
            "    a < PUBACK tid=20017 mid=1 code=accepted\n"
            "    store 6 via 2 in 3 qos=1 N1 'new'\n"
            "b > PUBLISH qos=1 short='N1' mid=2 data='neu'\n"
            "    * UP_DROPPED_OLD b: N1\n"
            "    forget 6 via 2 in 3 lazy\n"
            "    b < PUBACK tid=20017 mid=1 code=accepted\n"
            "    store 8 via 2 in 3 qos=1 N1 'neu'\n"
            "b > PUBLISH qos=1 short='N1' mid=3 data='nye'\n"
            "    * UP_DROPPED_OLD b: N1\n"
            "    forget 8 via 2 in 3 lazy\n"
            "    b < PUBACK tid=20017 mid=2 code=accepted\n"
            "    store 10 via 2 in 3 qos=1 N1 'nye'\n"
            "stored\n"
            "    a < PUBACK tid=20017 mid=2 code=accepted\n"
            "    b < PUBACK tid=20017 mid=3 code=accepted\n");
}

/* What is to give way is on the disk only, and has to be read before it can be counted. */
static void the_oldest_on_the_disk_give_way_too(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='N1' mid=1 data='111'\n"
            "    store 2 in 3 qos=1 N1 '111'\n"
            "a > PUBLISH qos=1 short='N1' mid=2 data='222'\n"
            "    store 3 in 3 qos=1 N1 '222'\n"
            "a > PUBLISH qos=1 short='N1' mid=3 data='333'\n"
            "    * UP_DROPPED_OLD a: N1\n"
            "    forget 2 in 3 lazy\n"
            "    a < PUBACK tid=20017 mid=1 code=accepted\n"
            "    store 5 in 3 qos=1 N1 '333'\n"
            "a > PUBLISH qos=1 short='N1' mid=4 data='444'\n"
            "    fetch in 3 from 3\n"
            "    store 6 in 3 qos=1 N1 '444'\n"
            "stored\n"
            "    a < PUBACK tid=20017 mid=2 code=accepted\n"
            "    a < PUBACK tid=20017 mid=3 code=accepted\n"
            "    a < PUBACK tid=20017 mid=4 code=accepted\n"
            "fetched\n"
            "    * UP_DROPPED_OLD a: N1\n"
            "    forget 3 in 3 lazy\n"
            "a > PUBLISH qos=1 short='L1' mid=5 data='5'\n"
            "    store 8 in 4 qos=1 L1 '5'\n"
            "a > PUBLISH qos=1 short='L1' mid=6 data='6'\n"
            "    store 9 in 4 qos=1 L1 '6'\n"
            "a > PUBLISH qos=1 short='L1' mid=7 data='7'\n"
            "    store 10 in 4 qos=1 L1 '7'\n"
            "a > PUBLISH qos=1 short='L1' mid=8 data='8'\n"
            "    fetch in 4 from 8\n"
            "    store 11 in 4 qos=1 L1 '8'\n"
            "stored\n"
            "    a < PUBACK tid=19505 mid=5 code=accepted\n"
            "    a < PUBACK tid=19505 mid=6 code=accepted\n"
            "    a < PUBACK tid=19505 mid=7 code=accepted\n"
            "    a < PUBACK tid=19505 mid=8 code=accepted\n"
            "fetched\n"
            "    * UP_DROPPED_OLD a: L1\n"
            "    forget 8 in 4 lazy\n");
    assert_int_equal(class_up(r, 3).queued, 2);
    assert_int_equal(class_up(r, 4).queued, 3);
}

static void octets_and_age_are_bounds_too(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='AB' mid=1 data='12345'\n"
            "    store 2 in 0 qos=1 AB '12345'\n"
            "a > PUBLISH qos=1 short='AB' mid=2 data='67890'\n"
            "    store 3 in 0 qos=1 AB '67890'\n"
            "a > PUBLISH qos=1 short='AB' mid=3 data='x'\n"
            "    * UP_CONGESTION a: AB\n"
            "    a < PUBACK tid=16706 mid=3 code=congestion\n"
            "stored\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n"
            "    a < PUBACK tid=16706 mid=2 code=accepted\n"
            "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "a > SUBSCRIBE qos=1 short='AB' mid=1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "a > SUBSCRIBE qos=1 short='N1' mid=2\n"
            "    save filter 1 2 qos=1 N1\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=2 code=accepted\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 N1 'aaaa'\n"
            "    store 8 for 1 qos=1 N1 'aaaa'\n"
            "message token 2 qos=1 AB 'bbbb'\n"
            "    store 9 for 1 qos=1 AB 'bbbb'\n"
            "message token 3 qos=1 AB 'c'\n"
            "    * DOWN_QUEUE_FULL a: AB\n"
            "message token 4 qos=1 N1 'ddd'\n"
            "    * DOWN_DROPPED_OLD a: N1\n"
            "    forget 8 for 1 lazy\n"
            "    store 11 for 1 qos=1 N1 'ddd'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "    accept 3\n"
            "    accept 4\n"
            "wait 100000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 AB retained\n"
            "    subscribe 2 qos=1 N1 retained\n"
            "    * UP_EXPIRED a: AB\n"
            "    forget 2 in 0 lazy\n"
            "    * UP_EXPIRED a: AB\n"
            "    forget 3 in 0 lazy\n"
            "    save account lazy\n"
            "wait 100000\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 9 for 1 lazy\n"
            "    * DOWN_EXPIRED a: N1\n"
            "    forget 11 for 1 lazy\n"
            "    save account lazy\n");
}

/* Nobody comes for them, and still they go. */
static void what_expires_on_the_disk_is_found(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='S1' mid=1 data='1'\n"
            "    store 2 in 5 qos=1 S1 '1'\n"
            "a > PUBLISH qos=1 short='S1' mid=2 data='2'\n"
            "    store 3 in 5 qos=1 S1 '2'\n"
            "a > PUBLISH qos=2 short='S1' mid=3 data='3'\n"
            "    store 4 in 5 qos=2 S1 '3'\n"
            "stored\n"
            "    a < PUBACK tid=21297 mid=1 code=accepted\n"
            "    a < PUBACK tid=21297 mid=2 code=accepted\n"
            "    a < PUBREC mid=3\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "wait 10000\n"
            "    +10000\n"
            "    fetch expired\n"
            "fetched\n"
            "    * UP_EXPIRED a: S1\n"
            "    forget 2 in 5 lazy\n"
            "    * UP_EXPIRED a: S1\n"
            "    forget 3 in 5 lazy\n"
            "    * UP_EXPIRED a: S1\n"
            "    mark 4 in 5 delivered\n"
            "a > PUBREL mid=3\n"
            "    forget 4 in 5\n"
            "stored\n"
            "    a < PUBCOMP mid=3\n");
    assert_int_equal(class_up(r, 5).expired, 3);
    assert_int_equal(class_up(r, 5).queued, 0);
}

#define WITH(test, setup) cmocka_unit_test_setup_teardown(test, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(only_topics_with_a_backlog_wait_behind_it, lanes),
        WITH(both_lanes_have_their_share, lanes),
        WITH(what_was_live_goes_before_what_came_during_the_outage, lanes),
        WITH(a_restart_knows_which_topics_wait, lanes),
        WITH(classes_go_by_priority, lanes),
        WITH(a_connection_of_ones_own_has_lanes_and_classes, own),
        WITH(what_does_not_wait_on_a_connection_of_ones_own_costs_no_memory, own),
        WITH(the_newest_go_first_where_order_does_not_count, newest),
        WITH(what_is_under_way_does_not_expire_on_the_disk, newest_and_expire),
        WITH(what_is_under_way_does_not_give_way_on_the_disk, newest_and_expire),
        WITH(a_full_class_that_refuses_answers_congestion, bounds),
        WITH(new_ones_are_refused_while_the_disk_may_refuse_the_old, bounds),
        WITH(a_full_class_that_keeps_the_oldest_drops_the_new, bounds),
        WITH(a_full_class_that_keeps_the_newest_drops_the_oldest, bounds),
        WITH(the_oldest_of_another_connection_gives_way, own_bounds),
        WITH(the_oldest_on_the_disk_give_way_too, disk_bounds),
        WITH(octets_and_age_are_bounds_too, byte_bounds),
        WITH(what_expires_on_the_disk_is_found, disk_bounds),
        WITH(the_urgent_goes_first_to_a_sensor, begin),
        WITH(the_urgent_goes_first_where_air_is_scarce, slow_air),
        WITH(messages_expire_on_their_way_to_the_broker, begin),
        WITH(messages_to_sensors_expire_by_class_and_by_the_brokers_word, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
