#include "sim/measure.h"
#include "sim/random.h"
#include "sim/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- histogram ------------------------------------------------------------- */

static void a_bucket_is_at_most_a_thirty_second_too_long(void **state)
{
    struct sim_random random;
    (void)state;

    sim_random_init(&random, 1, "histogram");
    for (int i = 0; i < 20000; i++) {
        struct sim_histogram h = {0};
        const uint64_t us = sim_random_next(&random) >> (20 + i % 44);
        sim_histogram_add(&h, us);
        h.max_us = UINT64_MAX; /* so that the bucket's own bound is told */
        const uint64_t told = sim_histogram_percentile(&h, 1000);
        assert_true(told >= us && told - us <= us / 32);
    }
}

static void percentiles_of_one_to_a_thousand_are_the_numbers_themselves(void **state)
{
    struct sim_histogram *h = sim_memory(sizeof *h);
    (void)state;

    for (uint64_t us = 1; us <= 1000; us++)
        sim_histogram_add(h, us);
    for (uint32_t per_mille = 1; per_mille <= 1000; per_mille++) {
        const uint64_t told = sim_histogram_percentile(h, per_mille);
        assert_in_range(told, per_mille, per_mille + per_mille / 32);
    }
    assert_int_equal(sim_histogram_mean(h), 500);
    free(h);
}

static void the_highest_percentile_is_the_longest_duration(void **state)
{
    struct sim_histogram h = {0};
    (void)state;

    sim_histogram_add(&h, 123456789);
    assert_int_equal(sim_histogram_percentile(&h, 1000), 123456789);
    sim_histogram_add(&h, UINT64_MAX);
    assert_int_equal(sim_histogram_percentile(&h, 1000), SIM_HISTOGRAM_MAX_US);
}

static void an_empty_histogram_says_nothing(void **state)
{
    const struct sim_histogram h = {0};
    (void)state;

    assert_int_equal(sim_histogram_percentile(&h, 500), 0);
    assert_int_equal(sim_histogram_mean(&h), 0);
}

/* ---- recent ---------------------------------------------------------------- */

static void the_latest_things_are_known_and_old_ones_forgotten(void **state)
{
    struct sim_recent r;
    (void)state;

    sim_recent_open(&r);
    for (uint64_t i = 0; i < 3 * (uint64_t)SIM_RECENT_MAX; i++) {
        const uint64_t key = sim_recent_key(i, sn_bytes_text("reading"));
        assert_null(sim_recent_find(&r, key));
        sim_recent_put(&r, key, i);
        const uint64_t before = i < SIM_RECENT_MAX ? 0 : i - (SIM_RECENT_MAX - 1);
        const struct sim_recent_thing *old =
            sim_recent_find(&r, sim_recent_key(before, sn_bytes_text("reading")));
        assert_non_null(old);
        assert_int_equal(old->at_us, before);
    }
    assert_null(sim_recent_find(&r, sim_recent_key(0, sn_bytes_text("reading"))));
    sim_recent_close(&r);
}

/* ---- measure ---------------------------------------------------------------- */

static void publish_record(struct sim_measure *m, enum sim_record_type type, uint64_t at_us,
                           uint8_t qos, const char *payload)
{
    const struct sim_message message = {
        .topic = sn_bytes_text("wind/1"), .payload = sn_bytes_text(payload), .qos = qos};
    sim_measure_hear(
        m, &(struct sim_record){.type = type, .at_us = at_us, .device = "d1", .message = &message});
}

/* The frame is sent, and on the air for 100 ms with 80 bits more than it has octets. */
static void on_the_air(struct sim_measure *m, enum sim_direction direction, uint64_t at_us,
                       const struct sn_packet *p)
{
    uint8_t frame[300];
    const size_t len = sn_encode(p, frame, sizeof frame);
    struct sim_record r = {.type = SIM_FRAME_SENT,
                           .at_us = at_us,
                           .direction = direction,
                           .link = "radio",
                           .device = "d1",
                           .frame = at_us + 1,
                           .bytes = sn_bytes(frame, len)};
    sim_measure_hear(m, &r);
    r.type = SIM_FRAME_STARTED;
    r.until_us = at_us + 100 * SIM_MS;
    r.air_bits = (uint32_t)(8 * len + 80);
    sim_measure_hear(m, &r);
}

static void frame_ends(struct sim_measure *m, enum sim_record_type type,
                       enum sim_direction direction, uint64_t at_us, uint64_t frame)
{
    sim_measure_hear(m, &(struct sim_record){.type = type,
                                             .at_us = at_us,
                                             .direction = direction,
                                             .link = "radio",
                                             .device = "d1",
                                             .why = type == SIM_FRAME_LOST ? "loss" : NULL,
                                             .frame = frame});
}

static struct sn_packet publish(bool dup, uint16_t mid)
{
    return (struct sn_packet){
        .type = SN_PUBLISH,
        .publish = {
            .dup = dup, .qos = 1, .tid = 1, .mid = mid, .data = sn_bytes_text("0123456789")}};
}

static void delay_goes_from_the_application_to_the_broker(void **state)
{
    struct sim_measure *m = sim_measure_open();
    (void)state;

    publish_record(m, SIM_DEVICE_PUBLISHES, 1 * SIM_S, 1, "21.5");
    publish_record(m, SIM_DEVICE_ACCEPTED, 3 * SIM_S, 1, "21.5");
    publish_record(m, SIM_BROKER_HAS, 11 * SIM_S, 1, "21.5");
    sim_measure_end(m, 20 * SIM_S);
    const struct sim_flow *flow = &m->flow[SIM_UP][1];
    assert_int_equal(flow->published, 1);
    assert_int_equal(flow->accepted, 1);
    assert_int_equal(flow->delivered, 1);
    assert_int_equal(sim_histogram_percentile(&flow->delay, 500), 10 * SIM_S);
    assert_int_equal(sim_histogram_percentile(&flow->accept_delay, 500), 2 * SIM_S);
    sim_measure_close(m);
}

static void a_second_copy_at_the_broker_is_told_from_the_first(void **state)
{
    struct sim_measure *m = sim_measure_open();
    (void)state;

    publish_record(m, SIM_DEVICE_PUBLISHES, 0, 1, "21.5");
    publish_record(m, SIM_BROKER_HAS, 1, 1, "21.5");
    publish_record(m, SIM_BROKER_HAS, 2, 1, "21.5");
    publish_record(m, SIM_BROKER_HAS, 3, 1, "from somewhere else");
    assert_int_equal(m->flow[SIM_UP][1].delivered, 1);
    assert_int_equal(m->flow[SIM_UP][1].again, 1);
    assert_int_equal(m->flow[SIM_UP][1].unmatched, 1);
    sim_measure_close(m);
}

static void every_recipient_has_a_first_copy(void **state)
{
    struct sim_measure *m = sim_measure_open();
    const struct sim_message message = {
        .topic = sn_bytes_text("all"), .payload = sn_bytes_text("stop"), .qos = 2};
    static const char *const devices[] = {"d1", "d2", "d1"};
    (void)state;

    sim_measure_hear(m, &(struct sim_record){.type = SIM_BROKER_SENDS, .message = &message});
    for (size_t i = 0; i < 3; i++) {
        sim_measure_hear(m, &(struct sim_record){.type = SIM_DEVICE_GOT,
                                                 .at_us = i + 1,
                                                 .device = devices[i],
                                                 .message = &message});
    }
    assert_int_equal(m->flow[SIM_DOWN][2].delivered, 2);
    assert_int_equal(m->flow[SIM_DOWN][2].again, 1);
    sim_measure_close(m);
}

/* 17 octets of PUBLISH are 10 of payload and 7 of header; the repeat is all of it. */
static void bits_on_the_air_are_told_apart(void **state)
{
    struct sim_measure *m = sim_measure_open();
    const struct sn_packet first = publish(false, 1);
    const struct sn_packet again = publish(true, 1);
    const struct sn_packet ack = {.type = SN_PUBACK, .ack = {.tid = 1, .mid = 1}};
    const struct sn_packet ping = {.type = SN_PINGREQ};
    const struct sn_packet connect = {
        .type = SN_CONNECT,
        .connect = {.protocol_id = SN_PROTOCOL_ID, .client_id = sn_bytes_text("d1")}};
    (void)state;

    on_the_air(m, SIM_UP, 0 * SIM_S, &connect);
    on_the_air(m, SIM_UP, 1 * SIM_S, &connect); /* nobody has answered */
    on_the_air(m, SIM_UP, 2 * SIM_S, &first);
    on_the_air(m, SIM_UP, 3 * SIM_S, &again);
    on_the_air(m, SIM_DOWN, 4 * SIM_S, &ack);
    on_the_air(m, SIM_UP, 5 * SIM_S, &ping);
    on_the_air(m, SIM_UP, 6 * SIM_S, &ping);
    sim_measure_end(m, 10 * SIM_S);
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_SESSION), 8 * 8);
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_PAYLOAD), 8 * 10);
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_HEADER), 8 * 7);
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_REPEAT), 8 * (17 + 8));
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_ACK), 8 * 7);
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_KEEPALIVE), 8 * 4);
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_FRAMING), 7 * 80);
    assert_int_equal(m->link[0]->busy_us[SIM_UP], 600 * SIM_MS);
    sim_measure_close(m);
}

/* A simplex transmitter sends each frame three times, unasked. */
static void blind_copies_are_repeats(void **state)
{
    struct sim_measure *m = sim_measure_open();
    const uint8_t frame[] = {8, SN_PUBLISH, 0x61, 0, 1, 0, 0, 'x'};
    (void)state;

    for (uint64_t copy = 0; copy < 3; copy++)
        sim_measure_hear(m, &(struct sim_record){.type = SIM_FRAME_STARTED,
                                                 .at_us = copy * SIM_S,
                                                 .link = "simplex",
                                                 .device = "buoy",
                                                 .frame = 1,
                                                 .bytes = sn_bytes(frame, sizeof frame)});
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_PAYLOAD), 8);
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_REPEAT), 2 * 64);
    sim_measure_close(m);
}

/* After an answer the same CONNECT is a new one, not a repeat. */
static void a_request_after_an_answer_is_a_new_one(void **state)
{
    struct sim_measure *m = sim_measure_open();
    const struct sn_packet connect = {
        .type = SN_CONNECT,
        .connect = {.protocol_id = SN_PROTOCOL_ID, .client_id = sn_bytes_text("d1")}};
    (void)state;

    on_the_air(m, SIM_UP, 0, &connect);
    frame_ends(m, SIM_FRAME_ARRIVED, SIM_DOWN, SIM_S, 1);
    on_the_air(m, SIM_UP, 2 * SIM_S, &connect);
    assert_int_equal(sim_measure_air_bits(m, SIM_AIR_REPEAT), 0);
    sim_measure_close(m);
}

/* Message 1 goes out three times, message 2 once, then id 1 is used anew. */
static void copies_belong_to_their_message(void **state)
{
    struct sim_measure *m = sim_measure_open();
    const struct sn_packet packets[] = {publish(false, 1), publish(true, 1), publish(false, 2),
                                        publish(true, 1), publish(false, 1)};
    (void)state;

    for (size_t i = 0; i < sizeof packets / sizeof packets[0]; i++)
        on_the_air(m, SIM_UP, i * SIM_S, &packets[i]);
    sim_measure_end(m, 10 * SIM_S);
    assert_int_equal(m->copies[SIM_UP][1], 2);
    assert_int_equal(m->copies[SIM_UP][3], 1);
    assert_int_equal(sim_measure_copies(m, SIM_UP), 167);
    sim_measure_close(m);
}

static uint64_t down_in_all_slices(const struct sim_measure *m)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < SIM_SLICES; i++)
        sum += m->link[0]->slice[i].down_us;
    return sum;
}

/* A year, down for the first half of every day: slices widen, nothing is lost of it. */
static void a_year_fits_into_the_slices(void **state)
{
    struct sim_measure *m = sim_measure_open();
    const uint64_t day = 86400 * SIM_S;
    (void)state;

    for (uint64_t i = 0; i < 365; i++) {
        sim_measure_hear(
            m, &(struct sim_record){.type = SIM_LINK_DOWN, .at_us = i * day, .link = "leo"});
        sim_measure_hear(m, &(struct sim_record){
                                .type = SIM_LINK_UP, .at_us = i * day + day / 2, .link = "leo"});
    }
    sim_measure_end(m, 365 * day);
    assert_int_equal(m->link[0]->down_us, 365 * day / 2);
    assert_int_equal(down_in_all_slices(m), 365 * day / 2);
    assert_in_range(m->slices, SIM_SLICES / 2, SIM_SLICES);
    sim_measure_close(m);
}

static void store_row(struct sim_measure *m, uint64_t at_us, uint64_t seq)
{
    const struct bridge_action action = {.type = BRIDGE_DO_STORE,
                                         .store = {.message = {.seq = seq}}};
    sim_measure_hear(
        m, &(struct sim_record){.type = SIM_BRIDGE_ACTION, .at_us = at_us, .action = &action});
}

static void what_was_not_durable_is_gone_after_a_kill(void **state)
{
    struct sim_measure *m = sim_measure_open();
    (void)state;

    store_row(m, 0, 1);
    store_row(m, 0, 2);
    sim_measure_hear(m, &(struct sim_record){.type = SIM_STORED, .number = 1});
    sim_measure_hear(m, &(struct sim_record){.type = SIM_BRIDGE_KILLED});
    sim_measure_end(m, 10 * SIM_S);
    assert_int_equal(m->depth[0].to_broker, 2);             /* the most within the slice */
    assert_int_equal(m->depth[m->slices - 1].to_broker, 1); /* what remains */
    sim_measure_close(m);
}

static void a_device_that_gives_up_waits_no_longer(void **state)
{
    struct sim_measure *m = sim_measure_open();
    (void)state;

    publish_record(m, SIM_DEVICE_PUBLISHES, 0, 1, "a");
    publish_record(m, SIM_DEVICE_PUBLISHES, 0, 0, "b"); /* waits for nothing */
    publish_record(m, SIM_DEVICE_GIVES_UP, 5 * SIM_S, 1, "a");
    sim_measure_end(m, 10 * SIM_S);
    assert_int_equal(m->depth[0].devices, 1);
    assert_int_equal(m->depth[m->slices - 1].devices, 0);
    assert_int_equal(m->flow[SIM_UP][1].given_up, 1);
    sim_measure_close(m);
}

static void the_ladder_shows_the_first_device_with_the_fate_of_each_frame(void **state)
{
    struct sim_measure *m = sim_measure_open();
    const struct sn_packet first = publish(false, 1);
    (void)state;

    on_the_air(m, SIM_UP, 1 * SIM_S, &first);
    frame_ends(m, SIM_FRAME_LOST, SIM_UP, 2 * SIM_S, 1 * SIM_S + 1);
    on_the_air(m, SIM_UP, 3 * SIM_S, &first);
    frame_ends(m, SIM_FRAME_ARRIVED, SIM_UP, 4 * SIM_S, 3 * SIM_S + 1);
    assert_int_equal(m->rungs, 2);
    assert_string_equal(m->ladder[0].lost, "loss");
    assert_string_equal(m->ladder[1].lost, "");
    assert_int_equal(m->ladder[1].end_us, 4 * SIM_S);
    assert_string_equal(m->ladder[1].text, "PUBLISH qos=1 tid=1 mid=1 data=\"0123456789\"");
    assert_string_equal(m->loss[0].why, "loss");
    assert_int_equal(m->loss[0].frames[SIM_UP], 1);
    sim_measure_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_is_at_most_a_thirty_second_too_long),
        cmocka_unit_test(percentiles_of_one_to_a_thousand_are_the_numbers_themselves),
        cmocka_unit_test(the_highest_percentile_is_the_longest_duration),
        cmocka_unit_test(an_empty_histogram_says_nothing),
        cmocka_unit_test(the_latest_things_are_known_and_old_ones_forgotten),
        cmocka_unit_test(delay_goes_from_the_application_to_the_broker),
        cmocka_unit_test(a_second_copy_at_the_broker_is_told_from_the_first),
        cmocka_unit_test(every_recipient_has_a_first_copy),
        cmocka_unit_test(bits_on_the_air_are_told_apart),
        cmocka_unit_test(blind_copies_are_repeats),
        cmocka_unit_test(a_request_after_an_answer_is_a_new_one),
        cmocka_unit_test(copies_belong_to_their_message),
        cmocka_unit_test(a_year_fits_into_the_slices),
        cmocka_unit_test(what_was_not_durable_is_gone_after_a_kill),
        cmocka_unit_test(a_device_that_gives_up_waits_no_longer),
        cmocka_unit_test(the_ladder_shows_the_first_device_with_the_fate_of_each_frame),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
