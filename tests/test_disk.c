#include "sim/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COMMIT_US (10 * SIM_MS)
#define LAZY_US   (100 * SIM_MS)

/* A disk, and what it said. */
struct bench {
    struct sim_world *world;
    struct sim_trace *trace;
    struct sim_disk *disk;
    char said[4000];
};

static void on_event(void *ctx, const struct bridge_event *e)
{
    struct bench *b = ctx;
    char *at = b->said + strlen(b->said);
    const size_t size = sizeof(b->said) - strlen(b->said);
    const unsigned ms = b->world == NULL ? 0 : (unsigned)(sim_now(b->world) / SIM_MS);
    if (e->type == BRIDGE_ON_STORED) {
        snprintf(at, size, "%u stored %u\n", ms, (unsigned)e->stored.ticket);
    } else if (e->type == BRIDGE_ON_STORE_FAILED) {
        snprintf(at, size, "%u failed %u\n", ms, (unsigned)e->stored.ticket);
    } else if (e->type == BRIDGE_ON_FETCHED) {
        int n = snprintf(at, size, "%u fetched", ms);
        for (size_t i = 0; i < e->fetched.count; i++)
            n += snprintf(at + n, size - (size_t)n, " %u", (unsigned)e->fetched.messages[i].seq);
        snprintf(at + n, size - (size_t)n, "%s\n", e->fetched.end ? " end" : "");
    } else if (e->type == BRIDGE_ON_QUEUE) {
        snprintf(at, size, "queue %u: %u from %u to %u\n", (unsigned)e->queue.queue,
                 (unsigned)e->queue.count, (unsigned)e->queue.first, (unsigned)e->queue.last);
    } else if (e->type == BRIDGE_ON_RECORD) {
        snprintf(at, size, "record %u %u %u\n", (unsigned)e->record.session,
                 (unsigned)e->record.kind, (unsigned)e->record.key);
    } else if (e->type == BRIDGE_ON_OPEN) {
        snprintf(at, size, "open %u\n", (unsigned)e->open.seq);
    }
}

static void begin_with_room(struct bench *b, uint64_t seed, uint64_t room)
{
    const struct sim_disk_options options = {
        .commit_min_us = COMMIT_US, .commit_max_us = COMMIT_US, .lazy_us = LAZY_US, .room = room};
    memset(b, 0, sizeof(*b));
    b->world = sim_world_open();
    b->trace = sim_trace_open();
    b->disk = sim_disk_open(b->world, b->trace, seed, &options, on_event, b);
}

static void begin(struct bench *b, uint64_t seed)
{
    begin_with_room(b, seed, 0);
}

static void end(struct bench *b)
{
    sim_disk_close(b->disk);
    sim_trace_close(b->trace);
    sim_world_close(b->world);
}

static void store_at(struct bench *b, uint32_t queue, uint64_t seq, uint8_t qos, bool lazy)
{
    sim_disk_put(b->disk,
                 &(struct bridge_action){.type = BRIDGE_DO_STORE,
                                         .lazy = lazy,
                                         .store.message = {.seq = seq,
                                                           .queue = queue,
                                                           .qos = qos,
                                                           .topic = sn_bytes_text("t"),
                                                           .payload = sn_bytes_text("x")}});
}

static void store(struct bench *b, uint64_t seq)
{
    store_at(b, 0, seq, 1, false);
}

static void row(struct bench *b, enum bridge_action_type type, uint64_t ticket, uint64_t seq,
                uint8_t flags)
{
    sim_disk_put(b->disk,
                 &(struct bridge_action){.type = type,
                                         .lazy = true,
                                         .row = {.ticket = ticket, .seq = seq, .flags = flags}});
}

static void record(struct bench *b, enum bridge_action_type type, uint64_t ticket, uint32_t session,
                   uint32_t kind, uint32_t key)
{
    sim_disk_put(b->disk, &(struct bridge_action){
                              .type = type,
                              .record = {.ticket = ticket,
                                         .record = {.session = session,
                                                    .kind = (enum bridge_record_kind)kind,
                                                    .key = key,
                                                    .value = sn_bytes_text("v")}}});
}

static void fetch(struct bench *b, enum bridge_fetch which, uint64_t from, uint32_t count)
{
    sim_disk_put(b->disk,
                 &(struct bridge_action){.type = BRIDGE_DO_FETCH,
                                         .fetch = {.which = which, .from = from, .count = count}});
}

static void turn(struct bench *b, uint64_t ms)
{
    sim_disk_flush(b->disk);
    sim_world_run_until(b->world, sim_now(b->world) + ms * SIM_MS);
}

static void expect(struct bench *b, const char *said)
{
    assert_string_equal(b->said, said);
    b->said[0] = '\0';
}

static void replay(struct bench *b)
{
    sim_disk_replay(b->disk, on_event, b);
}

static void turns_that_wait_for_a_commit_become_one_batch(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    store(&b, 1);
    turn(&b, 2);
    store(&b, 2);
    turn(&b, 2);
    store(&b, 3);
    turn(&b, 2);
    expect(&b, "");
    turn(&b, 20);
    expect(&b, "10 stored 1\n20 stored 3\n");
    end(&b);
}

static void lazy_operations_wait_for_company(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    store_at(&b, 0, 1, 1, true);
    turn(&b, 50);
    expect(&b, "");
    store(&b, 2);
    turn(&b, 50);
    expect(&b, "60 stored 2\n");
    store_at(&b, 0, 3, 1, true);
    turn(&b, 200);
    expect(&b, "210 stored 3\n");
    end(&b);
}

static void a_fetch_sees_what_was_handed_over_before_it(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    for (uint64_t seq = 1; seq <= 5; seq++)
        store(&b, seq);
    row(&b, BRIDGE_DO_FORGET, 6, 2, 0);
    row(&b, BRIDGE_DO_MARK, 7, 3, BRIDGE_FLAG_DELIVERED);
    fetch(&b, BRIDGE_FETCH_OLDEST, 0, 2);
    fetch(&b, BRIDGE_FETCH_OLDEST, 2, 9);
    fetch(&b, BRIDGE_FETCH_NEWEST, 4, 9);
    store(&b, 8);
    turn(&b, 20);
    expect(&b, "10 stored 8\n10 fetched 1 4\n10 fetched 4 5 end\n10 fetched 4 1 end\n");
    end(&b);
}

static void a_full_disk_refuses_messages_and_nothing_else(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    store(&b, 1);
    turn(&b, 20);
    sim_disk_set(b.disk, SIM_DISK_FULL);
    store(&b, 2);
    row(&b, BRIDGE_DO_FORGET, 3, 1, 0);
    turn(&b, 20);
    expect(&b, "10 stored 1\n30 failed 3\n30 stored 3\n");
    assert_int_equal(sim_image_waiting(sim_disk_image(b.disk)), 0);
    end(&b);
}

/* With room for two: the third waits until one is forgotten. */
static void a_disk_without_room_refuses_messages_until_one_is_forgotten(void **state)
{
    struct bench b;
    (void)state;
    begin_with_room(&b, 1, 2);
    store(&b, 1);
    store(&b, 2);
    turn(&b, 20);
    store(&b, 3);
    turn(&b, 20);
    row(&b, BRIDGE_DO_FORGET, 4, 1, 0);
    store(&b, 5);
    turn(&b, 20);
    expect(&b, "10 stored 2\n30 failed 3\n50 stored 5\n");
    assert_int_equal(sim_image_waiting(sim_disk_image(b.disk)), 2);
    end(&b);
}

static void a_disk_that_fails_keeps_what_is_not_a_message(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    store(&b, 1);
    turn(&b, 20);
    sim_disk_set(b.disk, SIM_DISK_FAILS);
    store(&b, 2);
    row(&b, BRIDGE_DO_FORGET, 3, 1, 0);
    fetch(&b, BRIDGE_FETCH_OLDEST, 0, 9);
    turn(&b, 500);
    expect(&b, "10 stored 1\n30 failed 3\n30 fetched end\n");
    assert_int_equal(sim_image_waiting(sim_disk_image(b.disk)), 1);
    sim_disk_set(b.disk, SIM_DISK_WORKS);
    turn(&b, 1000);
    expect(&b, "1030 stored 3\n");
    assert_int_equal(sim_image_waiting(sim_disk_image(b.disk)), 0);
    end(&b);
}

/* Turns of two messages in one batch: each is there as a whole or not at all, with its flight,
 * and each run of one outcome is told. */
static void a_patchy_disk_refuses_some_turns_and_keeps_others(void **state)
{
    unsigned refused = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct bench b;
        begin(&b, seed);
        store(&b, 1);
        turn(&b, 1);
        sim_disk_set(b.disk, SIM_DISK_PATCHY);
        for (uint64_t seq = 2; seq <= 8; seq += 2) {
            sim_disk_put_flight(b.disk, seq);
            store_at(&b, 2, seq, 2, false);
            store_at(&b, 3, seq + 1, 2, false);
            turn(&b, 1);
        }
        row(&b, BRIDGE_DO_FORGET, 10, 1, 0);
        turn(&b, 30);
        const struct sim_image *image = sim_disk_image(b.disk);
        for (uint64_t seq = 2; seq <= 8; seq += 2) {
            const bool kept = sim_image_find(image, 2, seq) != NULL;
            assert_true(kept == (sim_image_find(image, 3, seq + 1) != NULL));
            assert_true(kept == sim_disk_has_flight(b.disk, seq));
            refused += !kept;
        }
        assert_null(sim_image_find(image, 0, 1));
        if (seed == 8)
            expect(&b, "10 stored 1\n"
                       "20 stored 3\n20 failed 5\n20 stored 7\n20 failed 10\n20 stored 10\n");
        b.said[0] = '\0';
        end(&b);
    }
    assert_true(refused > 20 && refused < 60);
}

/* Two turns of two messages: a cut leaves none, one turn, or both; never a part. */
static void a_cut_leaves_whole_turns_and_at_least_what_was_reported(void **state)
{
    unsigned seen[6] = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct bench b;
        begin(&b, seed);
        store(&b, 1);
        turn(&b, 20);
        store(&b, 2);
        store(&b, 3);
        turn(&b, 1);
        store(&b, 4);
        store(&b, 5);
        turn(&b, 1);
        store(&b, 6); /* of a turn that has not ended */
        sim_disk_cut(b.disk, false);
        const uint64_t left = sim_image_waiting(sim_disk_image(b.disk));
        assert_true(left == 1 || left == 3 || left == 5);
        seen[left]++;
        b.said[0] = '\0';
        assert_int_equal(sim_disk_replay(b.disk, on_event, &b), 7);
        char expected[60];
        snprintf(expected, sizeof(expected), "queue 0: %u from 1 to %u\n", (unsigned)left,
                 (unsigned)left);
        expect(&b, expected);
        end(&b);
    }
    assert_true(seen[1] > 0 && seen[3] > 0 && seen[5] > 0);
}

static void a_restart_gets_records_queues_and_open_exchanges(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    record(&b, BRIDGE_DO_SAVE, 1, 2, BRIDGE_RECORD_TOPIC, 7);
    record(&b, BRIDGE_DO_SAVE, 2, 2, BRIDGE_RECORD_SESSION, 0);
    record(&b, BRIDGE_DO_SAVE, 3, 0, BRIDGE_RECORD_ACCOUNT, 0);
    record(&b, BRIDGE_DO_SAVE, 4, 3, BRIDGE_RECORD_SESSION, 0);
    store_at(&b, 0, 5, 2, false);
    store_at(&b, 0, 6, 2, false);
    row(&b, BRIDGE_DO_MARK, 7, 6, BRIDGE_FLAG_RELEASED);
    store_at(&b, 2, 8, 1, false);
    store_at(&b, 3, 9, 1, false);
    record(&b, BRIDGE_DO_ERASE, 10, 3, 0, 0);
    turn(&b, 20);
    b.said[0] = '\0';
    replay(&b);
    expect(&b, "record 0 5 0\nrecord 2 1 0\nrecord 2 3 7\n"
               "queue 0: 2 from 5 to 6\nqueue 2: 1 from 8 to 8\nopen 5\n");
    end(&b);
}

static void a_flight_is_there_with_its_turn_or_not_at_all(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    sim_disk_put_flight(b.disk, 70);
    store_at(&b, 2, 1, 2, false);
    turn(&b, 20);
    assert_true(sim_disk_has_flight(b.disk, 70));
    sim_disk_set(b.disk, SIM_DISK_FULL);
    sim_disk_put_flight(b.disk, 71);
    store_at(&b, 2, 2, 2, false);
    turn(&b, 20);
    expect(&b, "10 stored 1\n30 failed 2\n");
    assert_false(sim_disk_has_flight(b.disk, 71));
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_that_wait_for_a_commit_become_one_batch),
        cmocka_unit_test(lazy_operations_wait_for_company),
        cmocka_unit_test(a_fetch_sees_what_was_handed_over_before_it),
        cmocka_unit_test(a_full_disk_refuses_messages_and_nothing_else),
        cmocka_unit_test(a_disk_without_room_refuses_messages_until_one_is_forgotten),
        cmocka_unit_test(a_disk_that_fails_keeps_what_is_not_a_message),
        cmocka_unit_test(a_patchy_disk_refuses_some_turns_and_keeps_others),
        cmocka_unit_test(a_cut_leaves_whole_turns_and_at_least_what_was_reported),
        cmocka_unit_test(a_restart_gets_records_queues_and_open_exchanges),
        cmocka_unit_test(a_flight_is_there_with_its_turn_or_not_at_all),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
