#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bridge/core.h"
#include "tests/bridge_rig.h"

/* What one sensor is sent first when more waits for it than memory holds. */

/* "AB" is urgent, "CD" may wait; everything else is as ever. */
static const struct bridge_class_config by_priority[] = {
    {.name = "default", .priority = BRIDGE_PRIORITY_STANDARD},
    {.name = "alarm", .topics = "AB", .priority = 0},
    {.name = "bulk", .topics = "CD", .priority = 7},
};

static struct bridge_class_config classes[3]; /* as it is at present */

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    memcpy(classes, by_priority, sizeof(classes));
    o.config.classes = classes;
    o.config.class_count = 3;
    o.config.max_queue = 40;
    *state = rig_new(&o);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* "a" sleeps, and is subscribed to everything at QoS 2. */
static void sleeper(struct rig *r)
{
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "a > SUBSCRIBE qos=2 name='+' mid=1\n"
            "    save filter 1 1 qos=2 +\n"
            "stored\n"
            "    a < SUBACK qos=2 tid=0 mid=1 code=accepted\n"
            "a > DISCONNECT duration_s=600\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n");
}

static void message_comes(struct rig *r, const char *topic, uint8_t qos)
{
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_MESSAGE,
                                       .message = {.token = rig_ticket(r) + 1,
                                                   .qos = qos,
                                                   .topic = sn_bytes_text(topic),
                                                   .payload = sn_bytes_text("x")}});
}

/* Messages of this topic come and are on the disk. The first of all has the seq 4. */
static void waits(struct rig *r, const char *topic, size_t count)
{
    for (size_t i = 0; i < count; i++)
        message_comes(r, topic, 1);
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
}

static struct bridge_account down(const struct rig *r)
{
    struct bridge_status status;
    rig_status(r, &status);
    return status.down;
}

static struct bridge_account class_down(const struct rig *r, size_t class)
{
    struct bridge_status status;
    rig_status(r, &status);
    return status.classes[class].down;
}

static uint64_t memory_used(const struct rig *r)
{
    struct bridge_status status;
    rig_status(r, &status);
    return status.memory_used;
}

/* An alarm does not wait behind bulk, however much of that there is. */
static void the_urgent_goes_before_what_is_on_the_disk_only(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "CD", 30);
    play(r, "message token 31 qos=1 AB 'fire'\n"
            "    store 34 for 1 priority 0 qos=1 AB 'fire'\n"
            "message token 32 qos=1 XY 'level'\n"
            "    store 35 for 1 qos=1 XY 'level'\n"
            "stored\n"
            "    accept 31\n"
            "    accept 32\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 short='AB' mid=35 data='fire'\n");
}

/* Nor behind other alarms on the disk does anything that is less urgent come first. */
static void each_priority_comes_back_from_the_disk_in_order(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "CD", 10);
    waits(r, "AB", 10);
    play(r, "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 short='AB' mid=15 data='x'\n");
    for (uint16_t mid = 15; mid < 22; mid++)
        rig_frame(r, "a", &(struct sn_packet){.type = SN_PUBACK, .ack.mid = mid});
    rig_skip(r);
    play(r, "a > PUBACK mid=22\n"
            "    forget 21 for 1 priority 0 lazy\n"
            "    fetch for 1 priority 0 from 22\n"
            "fetched\n"
            "    a < PUBLISH qos=1 short='AB' mid=23 data='x'\n"
            "a > PUBACK mid=23\n"
            "    forget 22 for 1 priority 0 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=24 data='x'\n"
            "a > PUBACK mid=24\n"
            "    forget 23 for 1 priority 0 lazy\n"
            "    a < PUBLISH qos=1 short='CD' mid=5 data='x'\n"
            "a > PUBACK mid=5\n"
            "    forget 4 for 1 priority 7 lazy\n"
            "    a < PUBLISH qos=1 short='CD' mid=6 data='x'\n");
}

/* A sleeper without anything urgent pays for nothing. */
static void a_queue_of_its_own_costs_memory_only_while_it_holds_something(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "XY", 30);
    const uint64_t before = memory_used(r);
    waits(r, "AB", 1);
    assert_true(memory_used(r) > before);
    assert_int_equal(down(r).queued, 31);
    play(r, "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 short='AB' mid=35 data='x'\n"
            "a > PUBACK mid=35\n"
            "    forget 34 for 1 priority 0 lazy\n"
            "    a < PUBLISH qos=1 short='XY' mid=5 data='x'\n"
            "a > DISCONNECT duration_s=600\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n");
    assert_int_equal(memory_used(r), before);
}

/* max_queue is for all of them together. */
static void all_priorities_together_have_one_bound(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "CD", 20);
    waits(r, "AB", 19);
    play(r, "message token 40 qos=1 XY '1'\n"
            "    store 43 for 1 qos=1 XY '1'\n"
            "message token 41 qos=1 AB '2'\n"
            "    * DOWN_QUEUE_FULL a: AB\n"
            "stored\n"
            "    accept 40\n"
            "    accept 41\n");
    assert_int_equal(down(r).queued, 40);
}

/* A restart knows what is urgent, and what had begun is ended before anything else. */
static void a_restart_in_the_middle_of_an_exchange(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "CD", 20);
    play(r, "message token 21 qos=2 CD 'last'\n"
            "    store 24 for 1 priority 7 qos=2 CD 'last'\n"
            "stored\n"
            "    accept 21\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 short='CD' mid=5 data='x'\n");
    for (uint16_t mid = 5; mid < 25; mid++) {
        rig_frame(r, "a", &(struct sn_packet){.type = SN_PUBACK, .ack.mid = mid});
        while (rig_fetched(r))
            ;
    }
    rig_skip(r);
    play(r, "a > PUBREC mid=25\n"
            "    mark 24 for 1 priority 7 released\n"
            "message token 22 qos=1 AB 'fire'\n"
            "    store 46 for 1 priority 0 qos=1 AB 'fire'\n"
            "message token 23 qos=1 CD 'more'\n"
            "    store 47 for 1 priority 7 qos=1 CD 'more'\n"
            "kill\n"
            "    a < PUBREL mid=25\n"
            "    accept 22\n"
            "    accept 23\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    fetch for 1 priority 0 from 46\n"
            "    fetch for 1 priority 7 from 24\n"
            "fetched\n"
            "fetched\n"
            "    a < PUBREL mid=25\n"
            "a > PUBCOMP mid=25\n"
            "    forget 24 for 1 priority 7\n"
            "    a < PUBLISH dup=1 qos=1 short='AB' mid=47 data='fire'\n"
            "a > PUBACK mid=47\n"
            "    forget 46 for 1 priority 0 lazy\n"
            "    a < PUBLISH qos=1 short='CD' mid=48 data='more'\n"
            "a > PUBACK mid=48\n"
            "    forget 47 for 1 priority 7 lazy\n"
            "    a < PINGRESP\n");
}

static void a_restart_gives_the_urgent_first(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "CD", 20);
    waits(r, "AB", 9);
    play(r, "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "message token 40 qos=1 AB 'later'\n"
            "    store 33 for 1 priority 0 qos=1 AB 'later'\n"
            "stored\n"
            "    accept 40\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    fetch for 1 priority 0 from 24\n"
            "    fetch for 1 priority 7 from 4\n"
            "fetched\n"
            "fetched\n"
            "    a < PUBLISH dup=1 qos=1 short='AB' mid=25 data='x'\n"
            "a > PUBACK mid=25\n"
            "    forget 24 for 1 priority 0 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=26 data='x'\n");
    assert_int_equal(down(r).queued, 29);
    assert_int_equal(class_down(r, 1).queued, 9);
}

/* What the disk refuses is gone from its own queue only. */
static void a_refused_alarm_leaves_the_others_alone(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "CD", 20);
    waits(r, "AB", 10);
    play(r, "message token 31 qos=1 AB 'fire'\n"
            "    store 34 for 1 priority 0 qos=1 AB 'fire'\n"
            "message token 32 qos=1 CD 'log'\n"
            "    store 35 for 1 priority 7 qos=1 CD 'log'\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * BROKER_CUT\n"
            "    disconnect broker\n");
    assert_int_equal(down(r).queued, 30);
    assert_int_equal(class_down(r, 1).queued, 10);
    assert_int_equal(class_down(r, 2).queued, 20);
    play(r, "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 short='AB' mid=25 data='x'\n");
}

/* A store from when there was one queue, or other priorities: what waits from then goes in
 * its order up to the last of those, and only then the urgent first. */
static void rows_of_another_configuration_keep_their_order(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    classes[1].priority = classes[2].priority = BRIDGE_PRIORITY_STANDARD;
    waits(r, "AB", 1);
    waits(r, "CD", 2);
    waits(r, "AB", 1);
    waits(r, "XY", 2);
    classes[1].priority = 0;
    play(r, "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "message token 40 qos=1 AB 'new'\n"
            "    store 10 for 1 priority 0 qos=1 AB 'new'\n"
            "stored\n"
            "    accept 40\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    fetch for 1 from 4\n"
            "fetched\n"
            "    a < PUBLISH dup=1 qos=1 short='AB' mid=5 data='x'\n"
            "a > PUBACK mid=5\n"
            "    forget 4 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='CD' mid=6 data='x'\n"
            "a > PUBACK mid=6\n"
            "    forget 5 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='CD' mid=7 data='x'\n"
            "a > PUBACK mid=7\n"
            "    forget 6 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=8 data='x'\n"
            "a > PUBACK mid=8\n"
            "    forget 7 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=11 data='new'\n"
            "a > PUBACK mid=11\n"
            "    forget 10 for 1 priority 0 lazy\n"
            "    a < PUBLISH qos=1 short='XY' mid=9 data='x'\n"
            "a > PUBACK mid=9\n"
            "    forget 8 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='XY' mid=10 data='x'\n"
            "a > PUBACK mid=10\n"
            "    forget 9 for 1 lazy\n"
            "    a < PINGRESP\n");
    assert_int_equal(down(r).queued, 0);
}

/* Rows that are missing are missing in one queue. */
static void the_disk_has_lost_what_was_urgent(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "CD", 20);
    waits(r, "AB", 10);
    for (uint64_t seq = 32; seq <= 33; seq++)
        rig_lose_row(r, 1 + BRIDGE_TIER, seq);
    play(r, "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 short='AB' mid=25 data='x'\n");
    for (uint16_t mid = 25; mid < 33; mid++)
        rig_frame(r, "a", &(struct sn_packet){.type = SN_PUBACK, .ack.mid = mid});
    rig_skip(r);
    play(r, "fetched\n"
            "    * ROWS_MISSING a\n"
            "    a < PUBLISH qos=1 short='CD' mid=5 data='x'\n");
    assert_int_equal(class_down(r, 1).queued, 0);
    assert_int_equal(class_down(r, 1).dropped, 2);
    assert_int_equal(class_down(r, 2).queued, 20);
}

/* A clean session begins with nothing, of any priority, and so does the disk. */
static void a_clean_session_forgets_all_priorities(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "CD", 20);
    waits(r, "AB", 10);
    waits(r, "XY", 1);
    rig_frame(r, "a",
              &(struct sn_packet){.type = SN_CONNECT,
                                  .connect = {.clean = true,
                                              .protocol_id = SN_PROTOCOL_ID,
                                              .client_id = sn_bytes_text("a")}});
    rig_commit(r, UINT64_MAX);
    rig_skip(r);
    assert_int_equal(down(r).queued, 0);
    assert_int_equal(rig_rows(r), 0);
}

/* What expires on the disk is missed in its own queue, and an empty queue is given back. */
static void what_is_urgent_expires_on_the_disk_too(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    waits(r, "CD", 20);
    classes[1].expire_s = 30;
    waits(r, "AB", 2);
    play(r, "kill\n"
            "    * RESTORED\n"
            "    connect broker\n");
    const uint64_t before = memory_used(r);
    play(r, "wait 31000\n"
            "    +30000\n"
            "    fetch expired\n"
            "fetched\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 24 for 1 priority 0 lazy\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 25 for 1 priority 0 lazy\n");
    assert_int_equal(class_down(r, 1).expired, 2);
    assert_int_equal(down(r).queued, 20);
    assert_int_equal(memory_used(r), before - arena_block(sizeof(struct tier)));
}

/* Where the newest stay, the oldest of the class make way, and no others. */
static void the_oldest_of_its_own_class_makes_way(void **state)
{
    struct rig *r = *state;
    sleeper(r);
    classes[1].keep = BRIDGE_KEEP_NEWEST;
    waits(r, "CD", 30);
    waits(r, "AB", 10);
    play(r, "message token 41 qos=1 AB 'new'\n"
            "    * DOWN_DROPPED_OLD a: AB\n"
            "    forget 34 for 1 priority 0 lazy\n"
            "    store 45 for 1 priority 0 qos=1 AB 'new'\n"
            "stored\n"
            "    accept 41\n");
    assert_int_equal(class_down(r, 1).queued, 10);
    assert_int_equal(class_down(r, 2).queued, 30);
}

/* ---- compared with a list ---------------------------------------------------------- */

struct model {
    struct {
        uint64_t seq;
        uint8_t priority;
    } waiting[64];
    size_t count;
    uint64_t next; /* what the device has in hand */
    size_t forgotten;
};

static size_t first_of(const struct model *m)
{
    size_t best = 0;
    for (size_t i = 1; i < m->count; i++)
        if (m->waiting[i].priority < m->waiting[best].priority)
            best = i;
    return best;
}

static void compare(void *ctx, const struct bridge_action *a)
{
    struct model *m = ctx;
    if (a->type == BRIDGE_DO_STORE) {
        m->waiting[m->count].seq = a->store.message.seq;
        m->waiting[m->count++].priority = by_priority[a->store.message.class].priority;
    } else if (a->type == BRIDGE_DO_FORGET) {
        const size_t i = first_of(m);
        assert_int_equal(a->row.seq, m->waiting[i].seq);
        memmove(&m->waiting[i], &m->waiting[i + 1], (--m->count - i) * sizeof(m->waiting[0]));
        m->forgotten++;
    }
}

/* Of all mixtures of three, drained in portions, with restarts: always the most urgent, and of
 * those the oldest. */
static void what_goes_is_the_oldest_of_the_most_urgent(void **state)
{
    static const char *const topics[] = {"XY", "AB", "CD"};
    (void)state;
    for (size_t pattern = 0; pattern < 243; pattern++) {
        struct model m = {0};
        struct rig_options o;
        rig_defaults(&o);
        o.config.classes = by_priority;
        o.config.class_count = 3;
        o.config.max_queue = 64;
        o.watch = compare;
        o.ctx = &m;
        struct rig *r = rig_new(&o);
        sleeper(r);
        size_t come = 0;
        for (size_t round = 0; round < 6; round++) {
            size_t digits = pattern;
            for (size_t i = 0; i < 10; i++, come++, digits /= 3)
                waits(r, topics[(digits + (i > 4) * round) % 3], 1);
            if (round % 2 == 1)
                rig_restart(r, true);
            rig_frame(
                r, "a",
                &(struct sn_packet){.type = SN_PINGREQ, .pingreq.client_id = sn_bytes_text("a")});
            for (size_t i = 0; i < (round == 5 ? 60u : 7u) && m.count > 0; i++) {
                while (rig_fetched(r))
                    ;
                const uint64_t seq = m.waiting[first_of(&m)].seq;
                rig_frame(
                    r, "a",
                    &(struct sn_packet){.type = SN_PUBACK, .ack.mid = (uint16_t)(seq % 65535 + 1)});
            }
            rig_frame(r, "a",
                      &(struct sn_packet){.type = SN_DISCONNECT,
                                          .disconnect = {.has_duration = true, .duration_s = 600}});
            rig_commit(r, UINT64_MAX);
            rig_skip(r);
        }
        assert_int_equal(come, 60);
        assert_int_equal(m.forgotten, 60);
        assert_int_equal(down(r).queued, 0);
        rig_free(r);
    }
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(the_urgent_goes_before_what_is_on_the_disk_only),
        WITH(each_priority_comes_back_from_the_disk_in_order),
        WITH(a_queue_of_its_own_costs_memory_only_while_it_holds_something),
        WITH(all_priorities_together_have_one_bound),
        WITH(a_restart_in_the_middle_of_an_exchange),
        WITH(a_restart_gives_the_urgent_first),
        WITH(a_refused_alarm_leaves_the_others_alone),
        WITH(rows_of_another_configuration_keep_their_order),
        WITH(the_disk_has_lost_what_was_urgent),
        WITH(a_clean_session_forgets_all_priorities),
        WITH(what_is_urgent_expires_on_the_disk_too),
        WITH(the_oldest_of_its_own_class_makes_way),
        cmocka_unit_test(what_goes_is_the_oldest_of_the_most_urgent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
