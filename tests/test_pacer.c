#include "radio/pacer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FRAME_MAX 128

static struct radio_pacer pacer;
static void *memory;

static const struct radio_address nobody;

static void start(struct radio_pacer_options o)
{
    o.frame_max = o.frame_max == 0 ? FRAME_MAX : o.frame_max;
    o.slots = o.slots == 0 ? 16 : o.slots;
    free(memory);
    memory = malloc(radio_pacer_size(&o));
    assert_non_null(memory);
    radio_pacer_init(&pacer, &o, memory);
}

static int teardown(void **state)
{
    (void)state;
    free(memory);
    memory = NULL;
    return 0;
}

/* Puts a frame of so many octets, all of them this letter. */
static enum radio_pacer_put put(uint64_t now_ms, uint8_t priority, uint64_t key, char letter,
                                size_t len)
{
    uint8_t frame[FRAME_MAX + 1];
    memset(frame, letter, sizeof(frame));
    return radio_pacer_put(&pacer, now_ms, priority, key, &nobody, frame, len);
}

/* The letters of all frames that may go now, in their order. */
static const char *take_all(uint64_t now_ms)
{
    static char letters[64];
    struct radio_pacer_frame f;
    size_t n = 0;
    while (n < sizeof(letters) - 1 && radio_pacer_take(&pacer, now_ms, &f)) {
        letters[n++] = (char)f.data[0];
    }
    letters[n] = '\0';
    return letters;
}

static void a_link_without_a_rate_passes_everything_at_once(void **state)
{
    (void)state;
    start((struct radio_pacer_options){0});
    assert_int_equal(radio_pacer_deadline(&pacer, 5), RADIO_NEVER);
    put(5, RADIO_PACER_CLASS(0), 0, 'a', 100);
    put(5, RADIO_PACER_CLASS(0), 0, 'b', 100);
    assert_int_equal(radio_pacer_deadline(&pacer, 5), 5);
    struct radio_pacer_frame f;
    assert_true(radio_pacer_take(&pacer, 5, &f));
    assert_int_equal(f.left_ms, 5);
    assert_string_equal(take_all(5), "b");
    assert_int_equal(pacer.queued, 0);
}

/* 1200 bit/s, 10 bits for an octet, 120 bits ahead: 28 octets take a third of a second. */
static void one_frame_at_a_time_is_below_us(void **state)
{
    struct radio_pacer_frame f;
    (void)state;

    start((struct radio_pacer_options){
        .bits_per_s = 1200, .overhead_bits = 120, .bits_per_octet = 10});
    assert_int_equal(radio_pacer_air_us(&pacer, 28), 333334);
    put(1000, RADIO_PACER_CLASS(0), 0, 'a', 28);
    put(1000, RADIO_PACER_CLASS(0), 0, 'b', 28);
    assert_true(radio_pacer_take(&pacer, 1000, &f));
    assert_int_equal(f.left_ms, 1334);
    assert_false(radio_pacer_take(&pacer, 1000, &f));
    assert_int_equal(radio_pacer_deadline(&pacer, 1000), 1333);
    assert_false(radio_pacer_take(&pacer, 1332, &f));
    assert_true(radio_pacer_take(&pacer, 1333, &f));
    assert_int_equal(f.data[0], 'b');
    assert_int_equal(f.left_ms, 1667);
}

/* At 250 kbit/s a frame takes less than the clock can tell; the rate must hold all the same. */
static void short_frames_on_a_fast_link_keep_the_rate(void **state)
{
    struct radio_pacer_frame f;
    (void)state;

    start((struct radio_pacer_options){.bits_per_s = 250000});
    unsigned taken = 0;
    for (uint64_t now = 0; now < 1000; now++) {
        put(now, RADIO_PACER_CLASS(0), 0, 'a', 10);
        put(now, RADIO_PACER_CLASS(0), 0, 'a', 10);
        put(now, RADIO_PACER_CLASS(0), 0, 'a', 10);
        put(now, RADIO_PACER_CLASS(0), 0, 'a', 10);
        while (radio_pacer_take(&pacer, now, &f)) {
            taken++;
        }
    }
    assert_in_range(taken, 3120, 3130); /* 250000 / 80 = 3125 */
}

static void acknowledgements_then_control_then_classes(void **state)
{
    (void)state;
    start((struct radio_pacer_options){0});
    put(0, RADIO_PACER_CLASS(7), 0, '7', 1);
    put(0, RADIO_PACER_CLASS(0), 0, '0', 1);
    put(0, RADIO_PACER_CONTROL, 0, 'c', 1);
    put(0, RADIO_PACER_CLASS(3), 0, '3', 1);
    put(0, RADIO_PACER_ACK, 0, 'a', 1);
    put(0, RADIO_PACER_CLASS(3), 0, '4', 1);
    put(0, RADIO_PACER_ACK, 0, 'b', 1);
    assert_string_equal(take_all(0), "abc0347");
}

static void a_repetition_replaces_its_queued_copy_in_place(void **state)
{
    struct radio_pacer_frame f;
    (void)state;

    start((struct radio_pacer_options){0});
    assert_int_equal(put(0, RADIO_PACER_CLASS(0), 7, 'a', 10), RADIO_PACER_QUEUED);
    assert_int_equal(put(0, RADIO_PACER_CLASS(0), 8, 'b', 10), RADIO_PACER_QUEUED);
    assert_int_equal(put(9, RADIO_PACER_CLASS(0), 7, 'A', 12), RADIO_PACER_REPLACED);
    assert_int_equal(pacer.queued, 2);
    assert_true(radio_pacer_take(&pacer, 9, &f));
    assert_int_equal(f.data[0], 'A');
    assert_int_equal(f.len, 12);
    assert_int_equal(f.key, 7);
    assert_string_equal(take_all(9), "b");

    /* What has gone can no longer be replaced. */
    assert_int_equal(put(9, RADIO_PACER_CLASS(0), 7, 'c', 1), RADIO_PACER_QUEUED);
    assert_int_equal(pacer.count.replaced, 1);
    assert_int_equal(pacer.count.taken, 2);
}

static void a_repetition_of_another_priority_moves(void **state)
{
    (void)state;
    start((struct radio_pacer_options){0});
    put(0, RADIO_PACER_CLASS(5), 7, 'a', 1);
    put(0, RADIO_PACER_CLASS(1), 8, 'b', 1);
    assert_int_equal(put(0, RADIO_PACER_CLASS(1), 7, 'A', 1), RADIO_PACER_REPLACED);
    assert_string_equal(take_all(0), "bA");
}

static void key_zero_never_replaces(void **state)
{
    (void)state;
    start((struct radio_pacer_options){0});
    put(0, RADIO_PACER_CLASS(0), RADIO_PACER_NO_KEY, 'a', 1);
    put(0, RADIO_PACER_CLASS(0), RADIO_PACER_NO_KEY, 'b', 1);
    assert_false(radio_pacer_drop(&pacer, RADIO_PACER_NO_KEY));
    assert_string_equal(take_all(0), "ab");
}

static void what_was_acknowledged_meanwhile_is_dropped(void **state)
{
    (void)state;
    start((struct radio_pacer_options){0});
    put(0, RADIO_PACER_CLASS(0), 1, 'a', 1);
    put(0, RADIO_PACER_CLASS(0), 2, 'b', 1);
    put(0, RADIO_PACER_CLASS(0), 3, 'c', 1);
    assert_true(radio_pacer_drop(&pacer, 2));
    assert_false(radio_pacer_drop(&pacer, 2));
    assert_string_equal(take_all(0), "ac");
}

static void when_full_the_lowest_priority_yields_and_is_counted(void **state)
{
    (void)state;
    start((struct radio_pacer_options){.slots = 4});
    put(0, RADIO_PACER_CLASS(7), 0, 'x', 1);
    put(0, RADIO_PACER_CLASS(7), 0, 'y', 1);
    put(0, RADIO_PACER_CLASS(2), 0, 'm', 1);
    put(0, RADIO_PACER_CLASS(2), 0, 'n', 1);
    assert_int_equal(put(0, RADIO_PACER_CLASS(7), 0, 'z', 1), RADIO_PACER_FULL);
    assert_int_equal(put(0, RADIO_PACER_ACK, 0, 'a', 1), RADIO_PACER_QUEUED);
    assert_int_equal(put(0, RADIO_PACER_ACK, 0, 'b', 1), RADIO_PACER_QUEUED);
    assert_int_equal(put(0, RADIO_PACER_ACK, 0, 'c', 1), RADIO_PACER_QUEUED);
    assert_int_equal(put(0, RADIO_PACER_CLASS(2), 0, 'o', 1), RADIO_PACER_FULL);
    assert_int_equal(pacer.count.full[RADIO_PACER_CLASS(7)], 3);
    assert_int_equal(pacer.count.full[RADIO_PACER_CLASS(2)], 2);
    assert_int_equal(pacer.queued, 4);
    assert_string_equal(take_all(0), "abcm");
}

static void a_full_queue_still_takes_repetitions(void **state)
{
    (void)state;
    start((struct radio_pacer_options){.slots = 2});
    put(0, RADIO_PACER_CLASS(0), 1, 'a', 1);
    put(0, RADIO_PACER_CLASS(0), 2, 'b', 1);
    assert_int_equal(put(0, RADIO_PACER_CLASS(0), 2, 'B', 1), RADIO_PACER_REPLACED);
    assert_string_equal(take_all(0), "aB");
}

static void frames_above_the_limit_are_refused(void **state)
{
    (void)state;
    start((struct radio_pacer_options){0});
    assert_int_equal(put(0, RADIO_PACER_ACK, 0, 'a', FRAME_MAX), RADIO_PACER_QUEUED);
    assert_int_equal(put(0, RADIO_PACER_ACK, 0, 'a', FRAME_MAX + 1), RADIO_PACER_TOO_LONG);
    assert_int_equal(pacer.count.too_long, 1);
}

static void the_address_travels_with_the_frame(void **state)
{
    const struct radio_address to = {.len = 3, .bytes = {9, 8, 7}};
    struct radio_pacer_frame f;
    (void)state;

    start((struct radio_pacer_options){0});
    radio_pacer_put(&pacer, 0, RADIO_PACER_ACK, 0, &to, (const uint8_t *)"\x02\x17", 2);
    assert_true(radio_pacer_take(&pacer, 0, &f));
    assert_memory_equal(&f.to, &to, sizeof(to));
    assert_int_equal(f.priority, RADIO_PACER_ACK);
}

static void a_frame_that_has_waited_long_rises_but_not_above_control(void **state)
{
    (void)state;
    start((struct radio_pacer_options){.age_ms = 1000});
    put(0, RADIO_PACER_CLASS(7), 0, 'o', 1);
    put(5000, RADIO_PACER_CLASS(3), 0, 'm', 1);
    radio_pacer_hold(&pacer, 5000);
    assert_string_equal(take_all(5000), "om"); /* five steps: better than class 3 */

    put(10000, RADIO_PACER_CLASS(7), 0, 'o', 1);
    put(13000, RADIO_PACER_CLASS(3), 0, 'm', 1);
    assert_string_equal(take_all(13000), "mo"); /* three steps: not yet */

    put(20000, RADIO_PACER_CLASS(7), 0, 'o', 1);
    put(99000, RADIO_PACER_ACK, 0, 'a', 1);
    put(99000, RADIO_PACER_CONTROL, 0, 'c', 1);
    assert_string_equal(take_all(99000), "aoc");
}

static void without_ageing_priorities_are_strict(void **state)
{
    (void)state;
    start((struct radio_pacer_options){0});
    put(0, RADIO_PACER_CLASS(7), 0, 'o', 1);
    put(99999999, RADIO_PACER_CLASS(6), 0, 'm', 1);
    assert_string_equal(take_all(99999999), "mo");
}

static void a_hold_keeps_the_air_from_us(void **state)
{
    (void)state;
    start((struct radio_pacer_options){0});
    put(0, RADIO_PACER_ACK, 0, 'a', 1);
    radio_pacer_hold(&pacer, 700);
    radio_pacer_hold(&pacer, 300);
    assert_int_equal(radio_pacer_deadline(&pacer, 0), 700);
    assert_string_equal(take_all(699), "");
    assert_string_equal(take_all(700), "a");
}

/* An acknowledgement that comes while a frame is on the air is next, before what
 * waited longer: the reason why nothing more may be below us. */
static void an_acknowledgement_overtakes_the_backlog(void **state)
{
    (void)state;
    start((struct radio_pacer_options){.bits_per_s = 800});
    for (int i = 0; i < 10; i++) {
        put(0, RADIO_PACER_CLASS(0), 0, 'm', 100);
    }
    assert_string_equal(take_all(0), "m");
    put(500, RADIO_PACER_ACK, 0, 'a', 7);
    assert_string_equal(take_all(1000), "a");
    assert_string_equal(take_all(1070), "m");
}

/* 1 %: 36 s an hour. Frames of one second as fast as they may go, for a day. */
static void the_duty_cycle_holds_in_every_hour(void **state)
{
    enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS };
    static uint64_t ends[2000];
    const uint64_t begin = 1790000012345u;
    size_t n = 0;
    (void)state;

    start((struct radio_pacer_options){.bits_per_s = 800, .duty_per_mille = 10});
    uint64_t now = begin;
    while (now < begin + DAY_MS) {
        struct radio_pacer_frame f;
        if (pacer.queued == 0) {
            put(now, RADIO_PACER_CLASS(0), 0, 'm', 100);
        }
        if (radio_pacer_take(&pacer, now, &f)) {
            assert_int_equal(f.left_ms, now + 1000);
            ends[n++] = f.left_ms;
        } else {
            const uint64_t due = radio_pacer_deadline(&pacer, now);
            assert_true(due > now && due < now + HOUR_MS + 60000);
            now = due;
        }
    }
    /* One minute in an hour is given away to counting in minutes. */
    assert_in_range(n, 36 * 23, 36 * 24);
    for (size_t first = 0, last = 0; last < n; last++) {
        while (ends[first] + HOUR_MS <= ends[last] - 1000) {
            first++;
        }
        assert_in_range(last - first + 1, 1, 36);
    }
}

/* A frame of 100 octets takes a second. */
static void air_time_counts_for_an_hour(void **state)
{
    enum { MINUTE_MS = 60000 };
    const uint64_t begin = 1000 * MINUTE_MS;
    struct radio_pacer_frame f;
    (void)state;

    start((struct radio_pacer_options){.bits_per_s = 800});
    assert_int_equal(radio_pacer_used_us(&pacer, begin), 0);
    for (uint64_t minute = 0; minute < 3; minute++) {
        put(begin + minute * MINUTE_MS, RADIO_PACER_CLASS(0), 0, 'm', 100);
        assert_true(radio_pacer_take(&pacer, begin + minute * MINUTE_MS, &f));
        assert_int_equal(radio_pacer_used_us(&pacer, begin + minute * MINUTE_MS),
                         (minute + 1) * 1000000);
    }
    assert_int_equal(radio_pacer_used_us(&pacer, begin + 60 * MINUTE_MS), 3000000);
    assert_int_equal(radio_pacer_used_us(&pacer, begin + 61 * MINUTE_MS), 2000000);
    assert_int_equal(radio_pacer_used_us(&pacer, begin + 63 * MINUTE_MS), 0);
    assert_int_equal(radio_pacer_budget_us(&pacer), 0);

    /* It ends in the minute that follows, which counts from then on. */
    put(begin + 100 * MINUTE_MS - 1, RADIO_PACER_CLASS(0), 0, 'm', 100);
    assert_true(radio_pacer_take(&pacer, begin + 100 * MINUTE_MS - 1, &f));
    assert_int_equal(radio_pacer_used_us(&pacer, begin + 100 * MINUTE_MS - 1), 1000000);
    assert_int_equal(radio_pacer_used_us(&pacer, begin + 160 * MINUTE_MS), 1000000);
    assert_int_equal(radio_pacer_used_us(&pacer, begin + 161 * MINUTE_MS), 0);
}

static void a_frame_that_the_duty_cycle_never_allows_is_refused(void **state)
{
    (void)state;
    start((struct radio_pacer_options){.bits_per_s = 100, .duty_per_mille = 1});
    assert_int_equal(put(0, RADIO_PACER_ACK, 0, 'a', 45), RADIO_PACER_QUEUED); /* 3.6 s */
    assert_int_equal(put(0, RADIO_PACER_ACK, 0, 'b', 46), RADIO_PACER_TOO_LONG);
}

/* Against a plain list: thousands of random puts, drops and takes. */
struct model {
    uint64_t key;
    uint8_t priority;
    uint32_t id;
};

static void any_sequence_agrees_with_a_plain_list(void **state)
{
    enum { SLOTS = 24 };
    struct model list[SLOTS];
    size_t n = 0;
    uint32_t rng = 7;
    (void)state;

    start((struct radio_pacer_options){.slots = SLOTS});
    for (uint32_t step = 1; step < 40000; step++) {
        rng = rng * 1664525u + 1013904223u;
        const uint8_t priority = (uint8_t)((rng >> 8) % RADIO_PACER_PRIORITIES);
        const uint64_t key = (rng >> 16) % 40;
        const unsigned what = (rng >> 24) % 8;
        size_t at = 0;
        while (at < n && (key == 0 || list[at].key != key)) {
            at++;
        }
        if (what < 5) {
            const enum radio_pacer_put answer = radio_pacer_put(
                &pacer, 0, priority, key, &nobody, (const uint8_t *)&step, sizeof(step));
            if (at < n) {
                assert_int_equal(answer, RADIO_PACER_REPLACED);
                list[at].id = step;
                if (list[at].priority != priority) {
                    struct model moved = list[at];
                    moved.priority = priority;
                    memmove(list + at, list + at + 1, (n - at - 1) * sizeof(list[0]));
                    list[n - 1] = moved;
                }
                continue;
            }
            if (n == SLOTS) {
                size_t low = 0;
                for (size_t i = 1; i < n; i++) {
                    low = list[i].priority >= list[low].priority ? i : low;
                }
                if (list[low].priority <= priority) {
                    assert_int_equal(answer, RADIO_PACER_FULL);
                    continue;
                }
                memmove(list + low, list + low + 1, (n - low - 1) * sizeof(list[0]));
                n--;
            }
            assert_int_equal(answer, RADIO_PACER_QUEUED);
            list[n++] = (struct model){.key = key, .priority = priority, .id = step};
        } else if (what == 5) {
            assert_int_equal(radio_pacer_drop(&pacer, key), at < n);
            if (at < n) {
                memmove(list + at, list + at + 1, (n - at - 1) * sizeof(list[0]));
                n--;
            }
        } else {
            struct radio_pacer_frame f;
            assert_int_equal(radio_pacer_take(&pacer, 0, &f), n > 0);
            if (n > 0) {
                size_t best = 0;
                for (size_t i = 1; i < n; i++) {
                    best = list[i].priority < list[best].priority ? i : best;
                }
                assert_memory_equal(f.data, &list[best].id, sizeof(uint32_t));
                assert_int_equal(f.key, list[best].key);
                memmove(list + best, list + best + 1, (n - best - 1) * sizeof(list[0]));
                n--;
            }
        }
        assert_int_equal(pacer.queued, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_without_a_rate_passes_everything_at_once),
        cmocka_unit_test(one_frame_at_a_time_is_below_us),
        cmocka_unit_test(short_frames_on_a_fast_link_keep_the_rate),
        cmocka_unit_test(acknowledgements_then_control_then_classes),
        cmocka_unit_test(a_repetition_replaces_its_queued_copy_in_place),
        cmocka_unit_test(a_repetition_of_another_priority_moves),
        cmocka_unit_test(key_zero_never_replaces),
        cmocka_unit_test(what_was_acknowledged_meanwhile_is_dropped),
        cmocka_unit_test(when_full_the_lowest_priority_yields_and_is_counted),
        cmocka_unit_test(a_full_queue_still_takes_repetitions),
        cmocka_unit_test(frames_above_the_limit_are_refused),
        cmocka_unit_test(the_address_travels_with_the_frame),
        cmocka_unit_test(a_frame_that_has_waited_long_rises_but_not_above_control),
        cmocka_unit_test(without_ageing_priorities_are_strict),
        cmocka_unit_test(a_hold_keeps_the_air_from_us),
        cmocka_unit_test(an_acknowledgement_overtakes_the_backlog),
        cmocka_unit_test(the_duty_cycle_holds_in_every_hour),
        cmocka_unit_test(air_time_counts_for_an_hour),
        cmocka_unit_test(a_frame_that_the_duty_cycle_never_allows_is_refused),
        cmocka_unit_test(any_sequence_agrees_with_a_plain_list),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
