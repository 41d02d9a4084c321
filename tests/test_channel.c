#include "sim/channel.h"
#include "sim/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A channel with everything around it, and a transcript of what its trace said:
 * milliseconds, direction and device, and what happened. */
struct bench {
    struct sim_world *w;
    struct sim_trace *trace;
    struct sim_profile profile;
    struct sim_channel *c;
    char text[4096];
    uint64_t count[SIM_NOTE + 1]; /* of records, by type */
    uint64_t last_us;             /* when the last frame arrived */
    uint64_t until_us;            /* of the last frame that began: its last bit */
    uint64_t cost;
    uint8_t last[64]; /* its octets */
    bool is_quiet;
};

static const char *const words[SIM_NOTE + 1] = {
    [SIM_FRAME_ARRIVED] = "arrived", [SIM_FRAME_LOST] = "lost", [SIM_FRAME_DAMAGED] = "damaged",
    [SIM_FRAME_COPIED] = "copied",   [SIM_LINK_UP] = "up",      [SIM_LINK_DOWN] = "down",
    [SIM_LINK_COST] = "cost",        [SIM_NOTE] = "note",
};

static void hear(void *ctx, const struct sim_record *r)
{
    struct bench *b = ctx;
    b->count[r->type]++;
    if (r->type == SIM_FRAME_STARTED)
        b->until_us = r->until_us;
    if (r->type == SIM_LINK_COST)
        b->cost += r->number;
    if (b->is_quiet || r->type == SIM_FRAME_SENT || r->type == SIM_FRAME_STARTED)
        return;
    const size_t len = strlen(b->text);
    const bool is_frame = r->frame != 0;
    snprintf(b->text + len, sizeof b->text - len, "%s%llu %s%s%s%s%s", len > 0 ? ", " : "",
             (unsigned long long)(r->at_us / 1000),
             is_frame ? (r->direction == SIM_UP ? "<" : ">") : "",
             r->device != NULL ? r->device : "", r->device != NULL || is_frame ? " " : "",
             words[r->type], r->why != NULL ? ":" : "");
    const size_t more = strlen(b->text);
    snprintf(b->text + more, sizeof b->text - more, "%s", r->why != NULL ? r->why : "");
}

static void arrived(void *ctx, enum sim_direction direction, uint32_t peer, const uint8_t *frame,
                    size_t len)
{
    struct bench *b = ctx;
    (void)direction;
    (void)peer;
    b->last_us = sim_now(b->w);
    memcpy(b->last, frame, len < sizeof b->last ? len : sizeof b->last);
}

/* Keys and values in pairs, ended by NULL. Devices a and b are attached. */
static struct bench *bench_open(uint64_t seed, const char *const *settings)
{
    struct bench *b = calloc(1, sizeof *b);
    char error[SIM_PROFILE_ERROR_MAX] = "";
    b->w = sim_world_open();
    b->trace = sim_trace_open();
    sim_trace_listen(b->trace, hear, b);
    sim_profile_init(&b->profile, "test");
    for (; *settings != NULL; settings += 2)
        if (!sim_profile_set(&b->profile, settings[0], settings[1], error, sizeof error))
            fail_msg("%s", error);
    if (!sim_profile_check(&b->profile, error, sizeof error))
        fail_msg("%s", error);
    b->c = sim_channel_open(b->w, b->trace, seed, "link", &b->profile, arrived, b);
    assert_int_equal(sim_channel_attach(b->c, "a"), 1);
    assert_int_equal(sim_channel_attach(b->c, "b"), 2);
    return b;
}

#define BENCH(...) bench_open(1, (const char *const[]){__VA_ARGS__, NULL})

static void bench_close(struct bench *b)
{
    sim_world_stop(b->w);
    sim_channel_close(b->c);
    sim_trace_close(b->trace);
    sim_world_close(b->w);
    free(b);
}

static void send(struct bench *b, enum sim_direction direction, uint32_t peer, size_t len)
{
    static const uint8_t zeros[65535];
    sim_channel_send(b->c, direction, peer, zeros, len);
}

static void run_to(struct bench *b, uint64_t ms)
{
    sim_world_run_until(b->w, ms * SIM_MS);
}

/* What was said since the last time. */
static void assert_says(struct bench *b, const char *expected)
{
    assert_string_equal(b->text, expected);
    b->text[0] = '\0';
}

static void assert_near(uint64_t count, double n, double p)
{
    const double off = (double)count - n * p;
    if (off * off > 9 * n * p * (1 - p))
        fail_msg("%llu, expected %.0f", (unsigned long long)count, n * p);
}

static void assert_all_accounted(const struct bench *b)
{
    assert_int_equal(b->count[SIM_FRAME_SENT] + b->count[SIM_FRAME_COPIED],
                     b->count[SIM_FRAME_ARRIVED] + b->count[SIM_FRAME_LOST]);
}

/* ---- the perfect link, and its doors ------------------------------------------- */

static void a_perfect_link_carries_everything_at_once_but_not_within_the_call(void **state)
{
    struct bench *b = BENCH("text", "perfect");
    (void)state;
    send(b, SIM_UP, 1, 20);
    assert_says(b, "");
    run_to(b, 0);
    assert_says(b, "0 <a arrived");
    send(b, SIM_DOWN, 2, 20);
    run_to(b, 10);
    assert_says(b, "0 >b arrived");
    bench_close(b);
}

static void a_frame_for_everybody_arrives_at_each(void **state)
{
    struct bench *b = BENCH("rate", "8000");
    (void)state;
    send(b, SIM_DOWN, 0, 20);
    run_to(b, 100);
    assert_says(b, "20 > arrived");
    assert_int_equal(b->count[SIM_FRAME_STARTED], 1);
    bench_close(b);
}

static void too_long_frames_are_lost(void **state)
{
    struct bench *b = BENCH("frame_max_up", "10", "frame_max_down", "20");
    (void)state;
    send(b, SIM_UP, 1, 11);
    send(b, SIM_DOWN, 1, 20);
    run_to(b, 0);
    assert_says(b, "0 <a lost:too-long, 0 >a arrived");
    bench_close(b);
}

static void what_is_under_way_when_the_link_breaks_is_lost(void **state)
{
    struct bench *b = BENCH("rate", "8000", "delay", "50ms");
    (void)state;
    send(b, SIM_UP, 1, 20); /* 20 ms on the air */
    send(b, SIM_UP, 1, 20);
    send(b, SIM_UP, 1, 20);
    run_to(b, 30);
    sim_channel_break(b->c, true);
    assert_false(sim_channel_is_up(b->c));
    send(b, SIM_UP, 1, 20);
    run_to(b, 100);
    sim_channel_break(b->c, false);
    send(b, SIM_UP, 2, 20);
    run_to(b, 200);
    assert_says(b, "30 down:broken, 30 <a lost:link-down, 30 <a lost:link-down, "
                   "30 <a lost:link-down, 30 <a lost:link-down, 100 up, 170 <b arrived");
    assert_all_accounted(b);
    bench_close(b);
}

static void with_hold_frames_wait_for_the_link(void **state)
{
    struct bench *b = BENCH("rate", "8000", "hold", "yes", "queue", "2");
    (void)state;
    sim_channel_break(b->c, true);
    send(b, SIM_UP, 1, 20);
    send(b, SIM_UP, 1, 20);
    send(b, SIM_UP, 1, 20);
    run_to(b, 1000);
    sim_channel_break(b->c, false);
    run_to(b, 1100);
    assert_says(b, "0 down:broken, 0 <a lost:queue, 1000 up, 1020 <a arrived, 1040 <a arrived");
    bench_close(b);
}

/* ---- time on the air ------------------------------------------------------------ */

/* 37 octets of 10 bits and 40 bits more at 1200 bit/s: 341 666.67 us. */
static void serialisation_is_exact_to_the_microsecond(void **state)
{
    struct bench *b = BENCH("rate", "1200", "bits_per_octet", "10", "overhead_bits", "40",
                            "overhead_time", "1ms");
    (void)state;
    send(b, SIM_UP, 1, 37);
    run_to(b, 1000);
    assert_int_equal(b->last_us, 341667 + 1000);
    bench_close(b);
}

static void frames_follow_each_other_at_the_rate_of_each_direction(void **state)
{
    struct bench *b = BENCH("rate_up", "8000", "rate_down", "16k");
    (void)state;
    send(b, SIM_UP, 1, 20);
    send(b, SIM_UP, 2, 20);
    send(b, SIM_DOWN, 1, 20);
    send(b, SIM_DOWN, 2, 20);
    run_to(b, 1000);
    assert_says(b, "10 >a arrived, 20 <a arrived, 20 >b arrived, 40 <b arrived");
    bench_close(b);
}

static void per_device_each_has_a_line_of_its_own(void **state)
{
    struct bench *b = BENCH("rate", "8000", "per_device", "yes");
    (void)state;
    send(b, SIM_UP, 1, 20);
    send(b, SIM_UP, 2, 20);
    send(b, SIM_DOWN, 0, 20);
    run_to(b, 1000);
    assert_says(b, "20 <a arrived, 20 <b arrived, 20 >a arrived, 20 >b arrived");
    bench_close(b);
}

/* SX1276: 20 octets at SF7 take 56.576 ms, 51 + 13 octets at SF10 698.368 ms, at SF12
 * 2793.472 ms. */
static void lora_follows_its_own_formula(void **state)
{
    struct bench *b = BENCH("lora_sf", "7");
    (void)state;
    send(b, SIM_UP, 1, 20);
    run_to(b, 1000);
    assert_int_equal(b->last_us, 56576);
    bench_close(b);
    b = BENCH("lora_sf", "10", "overhead_bits", "104");
    send(b, SIM_UP, 1, 51);
    run_to(b, 1000);
    assert_int_equal(b->last_us, 698368);
    bench_close(b);
    b = BENCH("lora_sf", "12", "overhead_bits", "104");
    send(b, SIM_UP, 1, 51);
    run_to(b, 10000);
    assert_int_equal(b->last_us, 2793472);
    bench_close(b);
}

static void a_duty_cycle_makes_frames_wait(void **state)
{
    struct bench *b = BENCH("rate", "8000", "duty", "1%");
    (void)state;
    send(b, SIM_UP, 1, 20);
    send(b, SIM_UP, 1, 20);
    run_to(b, 10000);
    assert_says(b, "20 <a arrived, 2020 <a arrived");
    bench_close(b);
}

/* ---- loss ------------------------------------------------------------------------- */

static void send_many(struct bench *b, int count, size_t len)
{
    b->is_quiet = true;
    for (int i = 0; i < count; i++) {
        send(b, SIM_UP, 1, len);
        run_to(b, sim_now(b->w) / 1000 + 1000);
    }
    run_to(b, sim_now(b->w) / 1000 + 10000);
    assert_all_accounted(b);
}

static void single_losses_come_as_often_as_they_say(void **state)
{
    struct bench *b = BENCH("loss", "8%");
    (void)state;
    send_many(b, 50000, 10);
    assert_near(b->count[SIM_FRAME_LOST], 50000, 0.08);
    bench_close(b);
}

/* In the long run p / (p + r) of the frames meet the bad state. Bursts make the variance
 * larger than that of single losses: for a two-state chain by (1 + c) / (1 - c), with
 * c = 1 - p - r, of the part that comes from the state. */
static void bursts_follow_gilbert_and_elliott(void **state)
{
    const double n = 100000, p = 0.02, r = 0.3, bad = 0.6, good = 0.01;
    const double share = p / (p + r), c = 1 - p - r;
    const double loss = share * bad + (1 - share) * good;
    const double variance = n * (loss * (1 - loss) + 2 * share * (1 - share) * (bad - good) *
                                                         (bad - good) * c / (1 - c));
    struct bench *b = BENCH("gemodel", "2% 30% 60% 1%");
    (void)state;
    send_many(b, (int)n, 10);
    const double off = (double)b->count[SIM_FRAME_LOST] - n * loss;
    if (off * off > 9 * variance)
        fail_msg("%llu, expected %.0f", (unsigned long long)b->count[SIM_FRAME_LOST], n * loss);
    bench_close(b);
}

static void repeats_below_take_loss_away_and_cost_time(void **state)
{
    struct bench *b = BENCH("loss", "20%", "arq", "2", "arq_after", "100ms");
    (void)state;
    send_many(b, 20000, 10);
    assert_near(b->count[SIM_FRAME_LOST], 20000, 0.2 * 0.2 * 0.2);
    bench_close(b);
    b = bench_open(4,
                   (const char *const[]){"loss", "99.9%", "arq", "100", "arq_after", "1s", NULL});
    send(b, SIM_UP, 1, 10);
    run_to(b, 200000);
    assert_says(b, "0 <a lost:loss");
    bench_close(b);
}

/* A frame of 64 octets has 512 bits: (1 - 1e-4)^512. */
static void long_frames_suffer_more_from_bit_errors(void **state)
{
    struct bench *b = BENCH("bit_errors", "1e-4");
    (void)state;
    send_many(b, 20000, 64);
    assert_near(b->count[SIM_FRAME_LOST], 20000, 0.0499146);
    bench_close(b);
    b = BENCH("bit_errors", "1e-4");
    send_many(b, 20000, 8);
    assert_near(b->count[SIM_FRAME_LOST], 20000, 0.0063798);
    bench_close(b);
}

static void without_a_check_wrong_bits_arrive(void **state)
{
    static const uint8_t zeros[64];
    struct bench *b = BENCH("corrupt", "100%", "check", "no");
    (void)state;
    send(b, SIM_UP, 1, 64);
    run_to(b, 100);
    assert_says(b, "0 <a damaged, 0 <a arrived");
    assert_memory_not_equal(b->last, zeros, 64);
    bench_close(b);
    b = BENCH("corrupt", "100%");
    send(b, SIM_UP, 1, 64);
    run_to(b, 100);
    assert_says(b, "0 <a lost:bit-errors");
    bench_close(b);
}

static void duplicates_arrive_twice(void **state)
{
    struct bench *b = BENCH("duplicate", "100%");
    (void)state;
    send(b, SIM_DOWN, 1, 10);
    run_to(b, 100);
    assert_says(b, "0 >a copied, 0 >a arrived, 0 >a arrived");
    assert_all_accounted(b);
    bench_close(b);
}

/* ---- delay ------------------------------------------------------------------------- */

static void delays_stay_in_their_range_and_keep_the_order(void **state)
{
    struct bench *b = BENCH("delay", "100ms..300ms");
    (void)state;
    b->is_quiet = true;
    uint64_t least = SIM_NEVER, most = 0;
    for (int i = 0; i < 2000; i++) {
        const uint64_t sent_us = sim_now(b->w);
        send(b, SIM_UP, 1, 10);
        run_to(b, sent_us / 1000 + 400);
        const uint64_t took_us = b->last_us - sent_us;
        least = took_us < least ? took_us : least;
        most = took_us > most ? took_us : most;
    }
    assert_in_range(least, 100000, 101000);
    assert_in_range(most, 299000, 300000);
    /* Sent at once, they arrive in the order in which they were sent. */
    const uint64_t start_us = sim_now(b->w);
    for (uint8_t i = 0; i < 50; i++)
        sim_channel_send(b->c, SIM_UP, 1, &i, 1);
    for (uint8_t last = 0; sim_now(b->w) < start_us + SIM_S;) {
        sim_world_run_until(b->w, sim_now(b->w) + 100);
        assert_true(b->last[0] >= last);
        last = b->last[0];
    }
    bench_close(b);
}

static void a_reordered_frame_is_overtaken(void **state)
{
    struct bench *b = BENCH("delay", "100ms", "reorder_up", "100%", "reorder_by", "50ms");
    (void)state;
    send(b, SIM_UP, 1, 10);
    run_to(b, 10);
    send(b, SIM_DOWN, 1, 10);
    run_to(b, 1000);
    assert_says(b, "110 >a arrived, 150 <a arrived");
    bench_close(b);
}

/* ---- one air for both directions ------------------------------------------------------ */

static void on_a_half_duplex_link_an_answer_comes_after_the_turn_around(void **state)
{
    struct bench *b = BENCH("rate", "8000", "duplex", "half", "turn", "150ms");
    (void)state;
    send(b, SIM_UP, 1, 20);
    run_to(b, 20);
    send(b, SIM_DOWN, 1, 20);
    run_to(b, 1000);
    assert_says(b, "20 <a arrived, 190 >a arrived");
    bench_close(b);
}

static void stations_listen_before_they_send(void **state)
{
    struct bench *b = BENCH("rate", "8000", "duplex", "half");
    (void)state;
    send(b, SIM_UP, 1, 20);
    run_to(b, 5);
    send(b, SIM_UP, 2, 20);
    run_to(b, 10);
    send(b, SIM_DOWN, 1, 20);
    run_to(b, 1000);
    assert_int_equal(b->count[SIM_FRAME_ARRIVED], 3);
    assert_int_equal(b->last_us, 60000);
    bench_close(b);
}

/* Within sense nobody notices that the air is taken. */
static void who_begins_before_the_carrier_is_noticed_collides(void **state)
{
    struct bench *b = BENCH("rate", "8000", "duplex", "half", "sense", "10ms");
    (void)state;
    send(b, SIM_UP, 1, 20);
    run_to(b, 9);
    send(b, SIM_UP, 2, 20);
    run_to(b, 1000);
    assert_says(b, "20 <a lost:collision, 29 <b lost:collision");
    bench_close(b);
}

static void device_and_gateway_collide_too(void **state)
{
    struct bench *b = BENCH("rate", "8000", "duplex", "half", "access", "aloha");
    (void)state;
    send(b, SIM_UP, 1, 20);
    run_to(b, 9);
    send(b, SIM_DOWN, 2, 20);
    run_to(b, 1000);
    assert_says(b, "20 <a lost:collision, 29 >b lost:collision");
    bench_close(b);
}

/* The gateway's frame is heard by b, which does not hear a. The gateway hears nothing of a
 * while it sends. */
static void a_hidden_device_does_not_disturb_what_another_receives(void **state)
{
    struct bench *b = BENCH("rate", "8000", "duplex", "half", "access", "aloha", "hidden", "yes");
    (void)state;
    send(b, SIM_UP, 1, 20);
    run_to(b, 9);
    send(b, SIM_DOWN, 2, 20);
    run_to(b, 1000);
    assert_says(b, "20 <a lost:collision, 29 >b arrived");
    bench_close(b);
}

static void hidden_devices_collide_at_the_gateway(void **state)
{
    struct bench *b = BENCH("rate", "8000", "duplex", "half", "hidden", "yes");
    (void)state;
    send(b, SIM_UP, 1, 20);
    run_to(b, 9);
    send(b, SIM_UP, 2, 20);
    run_to(b, 1000);
    assert_says(b, "20 <a lost:collision, 29 <b lost:collision");
    bench_close(b);
}

/* ALOHA's law: with exponential times between frames of equal length and a load of g frames per
 * frame time, exp(-2g) of them survive. Thirty devices stand for the many of the law. */
static void aloha_loses_what_its_law_says(void **state)
{
    struct bench *b = BENCH("rate", "8000", "duplex", "half", "access", "aloha");
    struct sim_random r;
    (void)state;
    b->is_quiet = true;
    for (int i = 0; i < 28; i++)
        sim_channel_attach(b->c, "more");
    sim_random_init(&r, 9, "arrivals");
    uint64_t at_us = 0;
    for (int i = 0; i < 20000; i++) {
        at_us += sim_random_wait(&r, 100 * SIM_MS); /* frames of 20 ms: g = 0.2 */
        sim_world_run_until(b->w, at_us);
        send(b, SIM_UP, (uint32_t)sim_random_between(&r, 1, 30), 20);
    }
    run_to(b, at_us / 1000 + 10000);
    assert_all_accounted(b);
    /* Neighbours share their fate, so the count varies more than one of single losses: 3 %. */
    assert_in_range(b->count[SIM_FRAME_ARRIVED], 20000 * 0.6703 * 0.97, 20000 * 0.6703 * 1.03);
    bench_close(b);
}

/* ---- when the link is there ------------------------------------------------------------- */

static void contacts_come_from_a_list(void **state)
{
    struct bench *b = BENCH("contacts", "1s..2s, 4s..5s");
    (void)state;
    send(b, SIM_UP, 1, 10);
    run_to(b, 1500);
    send(b, SIM_UP, 1, 10);
    run_to(b, 10000);
    assert_says(b, "0 down:no-contact, 0 <a lost:link-down, 1000 up, 1500 <a arrived, "
                   "2000 down:no-contact, 4000 up, 5000 down:no-contact");
    bench_close(b);
}

static void contacts_come_periodically(void **state)
{
    struct bench *b = BENCH("contact_every", "10s", "contact_for", "2s", "contact_after", "1s");
    (void)state;
    run_to(b, 24000);
    assert_says(b, "0 down:no-contact, 1000 up, 3000 down:no-contact, 11000 up, "
                   "13000 down:no-contact, 21000 up, 23000 down:no-contact");
    bench_close(b);
}

static void contacts_come_from_an_orbit(void **state)
{
    struct bench *b = BENCH("orbit_altitude", "550", "station_latitude", "50", "station_longitude",
                            "8", "hold", "yes", "rate", "9600");
    (void)state;
    send(b, SIM_UP, 1, 10);
    run_to(b, 1000000);
    assert_says(b, "0 down:no-contact, 657462 up, 657470 <a arrived, 908053 down:no-contact");
    bench_close(b);
}

/* Half of them at the horizon, fewer above: over whole passes something between. */
static void a_low_satellite_loses_more_than_a_high_one(void **state)
{
    struct bench *b = BENCH("orbit_altitude", "550", "station_latitude", "50", "station_longitude",
                            "8", "orbit_loss", "50%");
    uint64_t lost[2] = {0}, sent[2] = {0}; /* near the ends of the pass, in its middle */
    (void)state;
    b->is_quiet = true;
    /* The second contact: 42065.612 to 42537.595 s, 471.983 s long. */
    for (int i = 0; i < 40000; i++) {
        const uint64_t at_us = 42065612000u + (uint64_t)i * 11799;
        const bool is_middle = i > 15000 && i < 25000;
        sim_world_run_until(b->w, at_us);
        const uint64_t before = b->count[SIM_FRAME_LOST];
        send(b, SIM_UP, 1, 10);
        sim_world_run_until(b->w, at_us);
        if (is_middle || i < 2000 || i > 38000) {
            sent[is_middle]++;
            lost[is_middle] += b->count[SIM_FRAME_LOST] - before;
        }
    }
    assert_in_range(lost[0] * 1000 / sent[0], 450, 500);
    assert_in_range(lost[1] * 1000 / sent[1], 50, 300);
    bench_close(b);
}

/* What a line did before a device came does not matter to its own line. */
static void a_device_that_comes_later_finds_the_contact_of_that_time(void **state)
{
    struct bench *b = BENCH("contact_every", "10s", "contact_for", "2s", "per_device", "yes");
    (void)state;
    run_to(b, 1000);
    b->text[0] = '\0';
    b->is_quiet = true;
    run_to(b, 11000);
    b->is_quiet = false;
    const uint32_t c = sim_channel_attach(b->c, "c");
    send(b, SIM_UP, c, 10);
    run_to(b, 11500);
    assert_says(b, "11000 <c arrived");
    bench_close(b);
}

/* Up and down for 60 s and 20 s on average: the link is there three quarters of the time. */
static void a_flapping_link_is_there_as_much_as_its_means_say(void **state)
{
    struct bench *b = BENCH("flap_up", "60s", "flap_down", "20s");
    (void)state;
    b->is_quiet = true;
    uint64_t there = 0;
    for (uint64_t s = 0; s < 400000; s += 10) {
        run_to(b, s * 1000);
        there += sim_channel_is_up(b->c);
    }
    assert_in_range(b->count[SIM_LINK_DOWN], 5000 * 0.97, 5000 * 1.03);
    assert_in_range(there, 40000 * 0.75 * 0.98, 40000 * 0.75 * 1.02);
    bench_close(b);
}

static void a_fade_slows_the_link_down_and_costs_frames(void **state)
{
    struct bench *b = BENCH("rate", "8000", "fade_every", "1s", "fade_for", "1000h", "fade_slower",
                            "4", "fade_loss", "25%");
    (void)state;
    run_to(b, 30000);
    b->text[0] = '\0';
    send(b, SIM_UP, 1, 20);
    assert_int_equal(b->until_us - sim_now(b->w), 80000);
    run_to(b, 31000);
    b->count[SIM_FRAME_LOST] = 0;
    b->is_quiet = true;
    for (int i = 0; i < 10000; i++) {
        send(b, SIM_UP, 1, 20);
        run_to(b, 31000 + 100 * (uint64_t)i);
    }
    assert_near(b->count[SIM_FRAME_LOST], 10000, 0.25);
    bench_close(b);
}

/* ---- calls -------------------------------------------------------------------------------- */

static void the_first_frame_makes_a_call_and_silence_ends_it(void **state)
{
    struct bench *b = BENCH("rate", "8000", "hold", "yes", "dial", "20s", "dial_idle", "60s",
                            "cost_unit", "minute", "cost_per_minute", "1");
    (void)state;
    assert_false(sim_channel_is_up(b->c));
    run_to(b, 5000);
    send(b, SIM_UP, 1, 20);
    send(b, SIM_DOWN, 1, 20);
    run_to(b, 60000);
    assert_says(b, "0 down:no-call, 5000 note, 25000 cost:minute, 25000 up, 25020 <a arrived, "
                   "25020 >a arrived");
    send(b, SIM_DOWN, 1, 20);
    run_to(b, 300000);
    /* Two minutes had begun by 120 s, when nothing had passed for 60 s. */
    assert_says(b, "60020 >a arrived, 85000 cost:minute, 120000 down:idle");
    assert_int_equal(b->cost, 200);
    bench_close(b);
}

static void a_call_that_fails_is_tried_again_and_then_given_up(void **state)
{
    struct bench *b = BENCH("rate", "8000", "hold", "yes", "dial", "20s", "dial_busy", "99.99999%",
                            "dial_retry", "10s", "dial_tries", "2");
    (void)state;
    send(b, SIM_UP, 1, 20);
    run_to(b, 100000);
    assert_says(b, "0 down:no-call, 0 note, 20000 note, 30000 note, 50000 note, "
                   "50000 <a lost:no-call");
    send(b, SIM_UP, 1, 20);
    run_to(b, 101000);
    assert_says(b, "100000 note");
    bench_close(b);
}

static void calls_succeed_as_often_as_they_say(void **state)
{
    struct bench *b = BENCH("rate", "8000", "hold", "yes", "dial", "5s..20s", "dial_fail", "15%",
                            "dial_tries", "1", "dial_idle", "1s");
    (void)state;
    send_many(b, 200, 10);
    b->count[SIM_LINK_UP] = b->count[SIM_FRAME_LOST] = b->count[SIM_FRAME_SENT] = 0;
    for (int i = 0; i < 5000; i++) {
        send(b, SIM_UP, 1, 10);
        run_to(b, sim_now(b->w) / 1000 + 30000);
    }
    assert_near(b->count[SIM_LINK_UP], 5000, 0.85);
    assert_int_equal(b->count[SIM_FRAME_LOST] + b->count[SIM_LINK_UP], 5000);
    bench_close(b);
}

/* The time until a call drops by itself is exponential: after its mean, 1/e still stand. */
static void calls_drop_after_their_mean_time(void **state)
{
    uint64_t standing = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct bench *b =
            bench_open(seed, (const char *const[]){"hold", "yes", "dial", "1s", "dial_idle", "0",
                                                   "dial_drop", "15min", NULL});
        b->is_quiet = true;
        send(b, SIM_UP, 1, 10);
        run_to(b, 1000 + 900000);
        standing += sim_channel_is_up(b->c);
        bench_close(b);
    }
    assert_near(standing, 2000, 0.36787944);
}

static void a_break_ends_the_call_and_what_waits_makes_another(void **state)
{
    struct bench *b = BENCH("rate", "8000", "hold", "yes", "dial", "20s", "dial_tries", "9");
    (void)state;
    send(b, SIM_UP, 1, 20);
    send(b, SIM_UP, 1, 20);
    run_to(b, 20010);
    sim_channel_break(b->c, true);
    run_to(b, 21000);
    sim_channel_break(b->c, false);
    run_to(b, 60000);
    assert_says(b, "0 down:no-call, 0 note, 20000 up, 20010 down:broken, 20010 <a lost:link-down, "
                   "30010 note, 50010 up, 50030 <a arrived");
    bench_close(b);
}

/* ---- mailboxes -------------------------------------------------------------------------------- */

#define SBD                                                                                        \
    "per_device", "yes", "hold", "yes", "sbd", "yes", "sbd_session", "20s", "sbd_transit", "5s",   \
        "sbd_csq_every", "1000h", "sbd_fail_good", "0", "cost_unit", "credit", "cost_per_credit",  \
        "1"

static void a_session_moves_one_frame_each_way_and_is_paid_in_credits(void **state)
{
    struct bench *b = BENCH(SBD);
    (void)state;
    send(b, SIM_UP, 1, 51);
    send(b, SIM_UP, 1, 10);
    send(b, SIM_DOWN, 1, 50);
    run_to(b, 100000);
    assert_says(b, "0 a note, 20000 a note, 20000 a cost:credit, 25000 <a arrived, "
                   "25000 >a arrived, 40000 a note, 60000 a note, 60000 a cost:credit, "
                   "65000 <a arrived");
    assert_int_equal(b->cost, 400);
    bench_close(b);
}

static void a_ring_starts_a_session_and_the_mailbox_is_drained(void **state)
{
    struct bench *b = BENCH(SBD);
    (void)state;
    send(b, SIM_DOWN, 2, 10);
    send(b, SIM_DOWN, 2, 10);
    run_to(b, 100000);
    assert_says(b, "0 b note, 20000 b note, 20000 b cost:credit, 25000 >b arrived, "
                   "40000 b note, 60000 b note, 60000 b cost:credit, 65000 >b arrived");
    bench_close(b);
}

static void without_rings_a_device_looks_into_its_mailbox_and_pays_even_for_nothing(void **state)
{
    struct bench *b = BENCH(SBD, "sbd_ring", "no", "sbd_check", "1h");
    (void)state;
    send(b, SIM_DOWN, 1, 10);
    run_to(b, 3620000);
    assert_int_equal(b->cost, 200); /* a's frame, and b's empty mailbox */
    assert_int_equal(b->count[SIM_FRAME_ARRIVED], 0);
    run_to(b, 3625000);
    assert_int_equal(b->count[SIM_FRAME_ARRIVED], 1);
    bench_close(b);
}

static void a_full_mailbox_loses_what_comes(void **state)
{
    struct bench *b = BENCH(SBD, "sbd_mailbox", "2", "queue_up", "1");
    (void)state;
    for (int i = 0; i < 3; i++)
        send(b, SIM_DOWN, 1, 10);
    for (int i = 0; i < 2; i++)
        send(b, SIM_UP, 1, 10);
    run_to(b, 1000);
    assert_says(b, "0 a note, 0 >a lost:queue, 0 <a lost:queue");
    bench_close(b);
}

static void sessions_fail_by_signal_quality_and_are_tried_again(void **state)
{
    struct bench *b = BENCH(SBD, "sbd_fail_good", "15%", "sbd_retry", "60s");
    (void)state;
    /* The signal never changes here, and is good. Sessions of one frame: n + failures. */
    b->is_quiet = true;
    for (int i = 0; i < 5000; i++) {
        send(b, SIM_UP, 1, 10);
        run_to(b, sim_now(b->w) / 1000 + 3600000);
    }
    assert_int_equal(b->count[SIM_FRAME_ARRIVED], 5000);
    const uint64_t sessions = b->count[SIM_NOTE] / 2;
    assert_near(sessions - 5000, (double)sessions, 0.15);
    bench_close(b);
}

/* The walk is as often at each of its six levels; a frame that meets level 0 waits. */
static void without_a_signal_no_session_begins(void **state)
{
    uint64_t waits = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct bench *b =
            bench_open(seed, (const char *const[]){SBD, "sbd_csq_every", "30s", NULL});
        b->is_quiet = true;
        run_to(b, 86400000);
        send(b, SIM_UP, 1, 10);
        waits += b->count[SIM_NOTE] == 0;
        bench_close(b);
    }
    assert_near(waits, 1000, 1.0 / 6);
}

/* ---- one way, and answers only after frames -------------------------------------------------- */

static void on_a_one_way_link_nothing_goes_down(void **state)
{
    struct bench *b = BENCH("one_way", "yes");
    (void)state;
    send(b, SIM_DOWN, 1, 10);
    run_to(b, 10);
    assert_says(b, "0 >a lost:one-way");
    bench_close(b);
}

static void the_first_of_several_copies_counts(void **state)
{
    struct bench *b = BENCH("copies", "3", "copies_gap", "5min");
    (void)state;
    send(b, SIM_UP, 1, 10);
    run_to(b, 3600000);
    assert_says(b, "0 <a arrived, 300000 <a copied, 300000 <a lost:copy, 600000 <a copied, "
                   "600000 <a lost:copy");
    assert_all_accounted(b);
    bench_close(b);
}

/* Three copies, each lost with 20 %: all of them with 0.8 %. */
static void blind_repeats_make_up_for_losses(void **state)
{
    struct bench *b = BENCH("copies", "3", "copies_gap", "10ms..20ms", "loss", "20%");
    (void)state;
    send_many(b, 20000, 10);
    assert_near(b->count[SIM_FRAME_ARRIVED], 20000, 1 - 0.008);
    bench_close(b);
}

static void a_device_that_listens_after_sending_gets_one_answer_for_each_frame(void **state)
{
    struct bench *b =
        BENCH("rate", "8000", "duplex", "half", "access", "aloha", "answer_after", "1s");
    (void)state;
    send(b, SIM_DOWN, 1, 20);
    send(b, SIM_DOWN, 1, 20);
    run_to(b, 5000);
    assert_says(b, "");
    send(b, SIM_UP, 1, 20);
    run_to(b, 10000);
    assert_says(b, "5020 <a arrived, 6040 >a arrived");
    send(b, SIM_UP, 1, 20);
    run_to(b, 20000);
    assert_says(b, "10020 <a arrived, 11040 >a arrived");
    /* Too late for the first chance, in time for the second, too late for both. */
    send(b, SIM_UP, 1, 20);
    run_to(b, 21500);
    send(b, SIM_DOWN, 1, 20);
    run_to(b, 22500);
    send(b, SIM_DOWN, 1, 20);
    run_to(b, 30000);
    assert_says(b, "20020 <a arrived, 22040 >a arrived");
    bench_close(b);
}

/* ---- cost -------------------------------------------------------------------------------------- */

/* 28 octets of headers and 72 of payload make 0.1 kB; hundredths are kept until they are whole. */
static void volume_is_paid_for_with_its_overhead(void **state)
{
    struct bench *b = BENCH("overhead_bits", "224", "cost_unit", "kB", "cost_per_kilobyte", "0.05");
    (void)state;
    b->is_quiet = true;
    for (int i = 0; i < 100; i++)
        send(b, i % 2 ? SIM_UP : SIM_DOWN, 1, 72);
    run_to(b, 10);
    assert_int_equal(b->cost, 50);
    bench_close(b);
}

/* ---- every profile ------------------------------------------------------------------------------ */

/* Frames up and down at random, and breaks; then a week in which everything can end. The devices
 * send once more and again, for those links on which what goes down waits for it. */
static void every_profile_accounts_for_every_frame(void **state)
{
    struct sim_profiles all;
    (void)state;
    assert_int_equal(sim_profiles_open(&all, NULL, stderr), 0);
    for (size_t i = 0; i < all.count; i++) {
        struct bench *b = BENCH("text", "to be replaced");
        struct sim_random r;
        sim_channel_close(b->c);
        b->is_quiet = true;
        b->c = sim_channel_open(b->w, b->trace, 3, "link", &all.list[i], arrived, b);
        sim_channel_attach(b->c, "a");
        sim_channel_attach(b->c, "b");
        sim_random_init(&r, 6, all.list[i].name);
        for (int n = 0; n < 3000; n++) {
            const enum sim_direction d = sim_random_below(&r, 2) == 0 ? SIM_UP : SIM_DOWN;
            send(b, d, (uint32_t)sim_random_between(&r, d == SIM_UP, 2),
                 (size_t)sim_random_between(&r, 1, 60));
            if (sim_random_below(&r, 100) == 0)
                sim_channel_break(b->c, true);
            else if (sim_random_below(&r, 10) == 0)
                sim_channel_break(b->c, false);
            sim_world_run_until(b->w, sim_now(b->w) + sim_random_wait(&r, 20 * SIM_S));
        }
        sim_channel_break(b->c, false);
        for (int n = 0; n < 1000; n++) {
            send(b, SIM_UP, 1 + n % 2, 1);
            run_to(b, sim_now(b->w) / 1000 + 600000);
        }
        run_to(b, sim_now(b->w) / 1000 + 7 * 86400000);
        const uint64_t begun = b->count[SIM_FRAME_SENT] + b->count[SIM_FRAME_COPIED];
        const uint64_t ended = b->count[SIM_FRAME_ARRIVED] + b->count[SIM_FRAME_LOST];
        if (begun != ended)
            fail_msg("%s: %llu frames, %llu ended", all.list[i].name, (unsigned long long)begun,
                     (unsigned long long)ended);
        assert_true(b->count[SIM_FRAME_ARRIVED] > 100);
        bench_close(b);
    }
    sim_profiles_close(&all);
}

/* ---- the same again -------------------------------------------------------------------- */

static void the_same_seed_gives_the_same_run(void **state)
{
    char *text[3];
    (void)state;
    for (uint64_t run = 0; run < 3; run++) {
        struct bench *b = bench_open(run == 2 ? 8 : 7,
                                     (const char *const[]){"rate", "8000", "loss", "20%", "delay",
                                                           "10ms..90ms", "duplicate", "10%", NULL});
        for (int i = 0; i < 20; i++)
            send(b, i % 2 ? SIM_UP : SIM_DOWN, 1, 10);
        run_to(b, 10000);
        text[run] = strdup(b->text);
        bench_close(b);
    }
    assert_string_equal(text[0], text[1]);
    assert_string_not_equal(text[0], text[2]);
    for (int run = 0; run < 3; run++)
        free(text[run]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_perfect_link_carries_everything_at_once_but_not_within_the_call),
        cmocka_unit_test(a_frame_for_everybody_arrives_at_each),
        cmocka_unit_test(too_long_frames_are_lost),
        cmocka_unit_test(what_is_under_way_when_the_link_breaks_is_lost),
        cmocka_unit_test(with_hold_frames_wait_for_the_link),
        cmocka_unit_test(serialisation_is_exact_to_the_microsecond),
        cmocka_unit_test(frames_follow_each_other_at_the_rate_of_each_direction),
        cmocka_unit_test(per_device_each_has_a_line_of_its_own),
        cmocka_unit_test(lora_follows_its_own_formula),
        cmocka_unit_test(a_duty_cycle_makes_frames_wait),
        cmocka_unit_test(single_losses_come_as_often_as_they_say),
        cmocka_unit_test(bursts_follow_gilbert_and_elliott),
        cmocka_unit_test(repeats_below_take_loss_away_and_cost_time),
        cmocka_unit_test(long_frames_suffer_more_from_bit_errors),
        cmocka_unit_test(without_a_check_wrong_bits_arrive),
        cmocka_unit_test(duplicates_arrive_twice),
        cmocka_unit_test(delays_stay_in_their_range_and_keep_the_order),
        cmocka_unit_test(a_reordered_frame_is_overtaken),
        cmocka_unit_test(on_a_half_duplex_link_an_answer_comes_after_the_turn_around),
        cmocka_unit_test(stations_listen_before_they_send),
        cmocka_unit_test(who_begins_before_the_carrier_is_noticed_collides),
        cmocka_unit_test(device_and_gateway_collide_too),
        cmocka_unit_test(a_hidden_device_does_not_disturb_what_another_receives),
        cmocka_unit_test(hidden_devices_collide_at_the_gateway),
        cmocka_unit_test(aloha_loses_what_its_law_says),
        cmocka_unit_test(contacts_come_from_a_list),
        cmocka_unit_test(contacts_come_periodically),
        cmocka_unit_test(contacts_come_from_an_orbit),
        cmocka_unit_test(a_low_satellite_loses_more_than_a_high_one),
        cmocka_unit_test(a_device_that_comes_later_finds_the_contact_of_that_time),
        cmocka_unit_test(a_flapping_link_is_there_as_much_as_its_means_say),
        cmocka_unit_test(a_fade_slows_the_link_down_and_costs_frames),
        cmocka_unit_test(the_first_frame_makes_a_call_and_silence_ends_it),
        cmocka_unit_test(a_call_that_fails_is_tried_again_and_then_given_up),
        cmocka_unit_test(calls_succeed_as_often_as_they_say),
        cmocka_unit_test(calls_drop_after_their_mean_time),
        cmocka_unit_test(a_break_ends_the_call_and_what_waits_makes_another),
        cmocka_unit_test(a_session_moves_one_frame_each_way_and_is_paid_in_credits),
        cmocka_unit_test(a_ring_starts_a_session_and_the_mailbox_is_drained),
        cmocka_unit_test(without_rings_a_device_looks_into_its_mailbox_and_pays_even_for_nothing),
        cmocka_unit_test(a_full_mailbox_loses_what_comes),
        cmocka_unit_test(sessions_fail_by_signal_quality_and_are_tried_again),
        cmocka_unit_test(without_a_signal_no_session_begins),
        cmocka_unit_test(on_a_one_way_link_nothing_goes_down),
        cmocka_unit_test(the_first_of_several_copies_counts),
        cmocka_unit_test(blind_repeats_make_up_for_losses),
        cmocka_unit_test(a_device_that_listens_after_sending_gets_one_answer_for_each_frame),
        cmocka_unit_test(volume_is_paid_for_with_its_overhead),
        cmocka_unit_test(every_profile_accounts_for_every_frame),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
