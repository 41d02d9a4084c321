/* `test_report --page FILE` writes the page of a run that is told by hand, for a look at it. */
#include "sim/chart_gnuplot.h"
#include "sim/random.h"
#include "sim/report.h"
#include "sim/words.h"
#include "sim/world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- words ----------------------------------------------------------------- */

static void durations_are_told_in_two_units_at_most(void **state)
{
    static const struct {
        uint64_t us;
        const char *words;
    } cases[] = {
        {0, "0 s"},
        {850, "850 us"},
        {340 * SIM_MS, "340 ms"},
        {SIM_S, "1 s"},
        {1250 * SIM_MS, "1.25 s"},
        {59999999, "59.99 s"},
        {60 * SIM_S, "1 min"},
        {125 * SIM_S, "2 min 5 s"},
        {(3 * 3600 + 12 * 60) * SIM_S, "3 h 12 min"},
        {47 * 3600 * SIM_S, "47 h"},
        {(52 * 3600 + 59) * SIM_S, "2 d 4 h"},
    };
    char words[SIM_WORDS_SIZE];
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(sim_say_duration(words, cases[i].us), cases[i].words);
}

static void all_and_none_are_said_of_nothing_else(void **state)
{
    char words[SIM_WORDS_SIZE];
    (void)state;

    assert_string_equal(sim_say_share(words, 288000, 288000), "100 %");
    assert_string_equal(sim_say_share(words, 287999, 288000), "99.99 %");
    assert_string_equal(sim_say_share(words, 1, 288000), "0.01 %");
    assert_string_equal(sim_say_share(words, 0, 288000), "0 %");
    assert_string_equal(sim_say_share(words, 0, 0), "0 %");
    assert_string_equal(sim_say_share(words, 1, 3), "33.33 %");
}

static void counts_and_octets_are_easy_to_read(void **state)
{
    char words[SIM_WORDS_SIZE];
    (void)state;

    assert_string_equal(sim_say_count(words, 0), "0");
    assert_string_equal(sim_say_count(words, 999), "999");
    assert_string_equal(sim_say_count(words, 288000), "288,000");
    assert_string_equal(sim_say_count(words, UINT64_MAX), "18,446,744,073,709,551,615");
    assert_string_equal(sim_say_octets(words, 999), "999 B");
    assert_string_equal(sim_say_octets(words, 14210), "14.2 kB");
    assert_string_equal(sim_say_octets(words, 999999), "999.9 kB");
    assert_string_equal(sim_say_octets(words, 1400000), "1.4 MB");
    assert_string_equal(sim_say_hundredths(words, 107), "1.07");
}

/* ---- a run, told by hand ---------------------------------------------------- */

struct run {
    struct sim_measure *m;
    struct sim_random random;
    const char *link;
    const char *device;
    uint64_t frame;
};

static void tell_frame(struct run *run, uint64_t at_us, enum sim_direction direction, bool lost,
                       const struct sn_packet *p)
{
    uint8_t frame[300];
    struct sim_record r = {.type = SIM_FRAME_SENT,
                           .at_us = at_us,
                           .direction = direction,
                           .link = run->link,
                           .device = run->device,
                           .frame = ++run->frame,
                           .why = "bit-errors",
                           .bytes = sn_bytes(frame, sn_encode(p, frame, sizeof frame))};
    sim_measure_hear(run->m, &r);
    r.type = SIM_FRAME_STARTED;
    r.air_bits = (uint32_t)(10 * r.bytes.len + 40);
    r.until_us = at_us + r.air_bits * SIM_S / 1200;
    sim_measure_hear(run->m, &r);
    r.type = lost ? SIM_FRAME_LOST : SIM_FRAME_ARRIVED;
    r.at_us = r.until_us;
    sim_measure_hear(run->m, &r);
}

static void tell_message(struct run *run, enum sim_record_type type, uint64_t at_us, uint32_t n)
{
    char payload[20];
    snprintf(payload, sizeof payload, "reading %u", (unsigned)n);
    const struct sim_message message = {
        .topic = sn_bytes_text("wind/1"), .payload = sn_bytes_text(payload), .qos = 1};
    sim_measure_hear(run->m,
                     &(struct sim_record){
                         .type = type, .at_us = at_us, .device = run->device, .message = &message});
}

static void tell_exchange(struct run *run, uint64_t at_us, uint32_t n)
{
    struct sn_packet publish = {
        .type = SN_PUBLISH,
        .publish = {.qos = 1, .tid = 1, .mid = (uint16_t)n, .data = sn_bytes_text("0123456789")}};
    const struct sn_packet puback = {.type = SN_PUBACK, .ack = {.tid = 1, .mid = (uint16_t)n}};

    tell_message(run, SIM_DEVICE_PUBLISHES, at_us, n);
    if (sim_random_chance(&run->random, SIM_ALWAYS / 5)) {
        tell_frame(run, at_us, SIM_UP, true, &publish);
        at_us += 5 * SIM_S;
        publish.publish.dup = true;
    }
    tell_frame(run, at_us, SIM_UP, false, &publish);
    tell_frame(run, at_us + SIM_S, SIM_DOWN, false, &puback);
    tell_message(run, SIM_DEVICE_ACCEPTED, at_us + 2 * SIM_S, n);
    tell_message(run, SIM_BROKER_HAS, at_us + 2 * SIM_S + sim_random_wait(&run->random, 20 * SIM_S),
                 n);
}

/* A day: a link that is up for ten minutes of every hour, a reading a minute meanwhile. */
static void tell_a_day(struct run *run, const char *link, const char *device)
{
    *run = (struct run){.m = sim_measure_open(), .link = link, .device = device};
    sim_random_init(&run->random, 1, "report");
    uint32_t n = 0;
    for (uint64_t hour = 0; hour < 24; hour++) {
        const uint64_t at = hour * 3600 * SIM_S;
        sim_measure_hear(run->m,
                         &(struct sim_record){.type = SIM_LINK_UP, .at_us = at, .link = link});
        for (uint64_t minute = 0; minute < 10; minute++)
            tell_exchange(run, at + minute * 60 * SIM_S, ++n);
        sim_measure_hear(run->m, &(struct sim_record){.type = SIM_LINK_DOWN,
                                                      .at_us = at + 600 * SIM_S,
                                                      .link = link,
                                                      .why = "contact"});
    }
    sim_measure_hear(run->m, &(struct sim_record){.type = SIM_LINK_COST,
                                                  .at_us = 86000 * SIM_S,
                                                  .link = link,
                                                  .number = 123450,
                                                  .why = "credits"});
    sim_measure_hear(
        run->m,
        &(struct sim_record){.type = SIM_FAULT, .at_us = 86000 * SIM_S, .text = "the mast falls"});
    sim_measure_end(run->m, 86400 * SIM_S);
}

/* ---- the page ------------------------------------------------------------------ */

static int no_chart(const char *script, size_t len, FILE *out)
{
    (void)len;
    return strncmp(script, "set terminal svg", 16) == 0 && fputs("<svg></svg>", out) >= 0 ? 0
                                                                                          : -EIO;
}

static char *page_of(const struct sim_report *r)
{
    char *page = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&page, &len);
    assert_int_equal(sim_report_write(r, no_chart, out), 0);
    fclose(out);
    return page;
}

static void the_summary_says_in_words_what_came_of_it(void **state)
{
    struct run run;
    char *text = NULL;
    size_t len = 0;
    (void)state;

    tell_a_day(&run, "leo", "buoy");
    FILE *out = open_memstream(&text, &len);
    sim_report_summary(&(struct sim_report){.measure = run.m}, out);
    fclose(out);
    assert_non_null(strstr(text, "In 24 h, 1 device had 240 messages for the broker; all of them "
                                 "(100 %) arrived there."));
    assert_non_null(strstr(text, "The link leo was down 83.33 % of the time"));
    assert_non_null(strstr(text, "it cost 1234.50 credits."));
    free(text);
    sim_measure_close(run.m);
}

static void what_comes_from_a_scenario_cannot_be_markup(void **state)
{
    struct run run;
    (void)state;

    tell_a_day(&run, "<b>\"link\"</b>", "<i>&device</i>");
    char *page = page_of(&(struct sim_report){.title = "<script>alert(1)</script>",
                                              .about = "a < b",
                                              .command = "snsim run \"x\"",
                                              .scenario = "link <b>",
                                              .verdict = "Lost: <i>1</i>",
                                              .measure = run.m});
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "<b>\""));
    assert_null(strstr(page, "<i>"));
    assert_non_null(strstr(page, "link &lt;b&gt;"));
    free(page);
    sim_measure_close(run.m);
}

static void a_page_needs_nothing_else(void **state)
{
    struct run run;
    (void)state;

    tell_a_day(&run, "leo", "buoy");
    char *page = page_of(&(struct sim_report){.measure = run.m});
    assert_null(strstr(page, "src="));
    assert_null(strstr(page, "href="));
    assert_null(strstr(page, "url("));
    free(page);
    sim_measure_close(run.m);
}

static void a_fault_of_the_chart_is_the_answer(void **state)
{
    struct run run;
    FILE *out = tmpfile();
    (void)state;

    tell_a_day(&run, "leo", "buoy");
    assert_int_equal(sim_chart("this is no gnuplot\n", 19, out), -EIO);
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(sim_report_write(&(struct sim_report){.measure = run.m}, sim_chart, out),
                     -ENOENT);
    fclose(out);
    sim_measure_close(run.m);
}

/* gnuplot itself takes every script, also of names that look like commands, and of a run in
 * which nothing happened. */
static void gnuplot_draws_every_chart(void **state)
{
    struct run run;
    struct sim_measure *empty = sim_measure_open();
    (void)state;

    tell_a_day(&run, "a\"; system 'touch /tmp/no'; \"b", "`touch /tmp/no`");
    sim_measure_end(empty, 0);
    const struct sim_measure *both[] = {run.m, empty};
    for (size_t i = 0; i < 2; i++) {
        char *page = NULL;
        size_t len = 0;
        size_t pictures = 0;
        FILE *out = open_memstream(&page, &len);
        assert_int_equal(sim_report_write(&(struct sim_report){.measure = both[i]}, sim_chart, out),
                         0);
        fclose(out);
        for (const char *at = page; (at = strstr(at, "</svg>")) != NULL; at++)
            pictures++;
        assert_int_equal(pictures, 5);
        free(page);
    }
    sim_measure_close(run.m);
    sim_measure_close(empty);
}

static int write_page(const char *path)
{
    struct run run;
    FILE *out = fopen(path, "w");
    if (out == NULL)
        return 1;
    tell_a_day(&run, "leo", "buoy");
    struct bridge_status *status = sim_memory(sizeof *status);
    status->up = (struct bridge_account){.accepted = 240, .delivered = 240};
    status->notes[1] = 3;
    const int result = sim_report_write(&(struct sim_report){.title = "leo-day",
                                                             .about = "A day on a low orbit.",
                                                             .command = "snsim run leo-day.sim",
                                                             .scenario = "link leo\n",
                                                             .seed = 1,
                                                             .measure = run.m,
                                                             .status = status},
                                        sim_chart, out);
    free(status);
    sim_measure_close(run.m);
    return fclose(out) == 0 && result == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_told_in_two_units_at_most),
        cmocka_unit_test(all_and_none_are_said_of_nothing_else),
        cmocka_unit_test(counts_and_octets_are_easy_to_read),
        cmocka_unit_test(the_summary_says_in_words_what_came_of_it),
        cmocka_unit_test(what_comes_from_a_scenario_cannot_be_markup),
        cmocka_unit_test(a_page_needs_nothing_else),
        cmocka_unit_test(gnuplot_draws_every_chart),
        cmocka_unit_test(a_fault_of_the_chart_is_the_answer),
    };
    if (argc == 3 && strcmp(argv[1], "--page") == 0)
        return write_page(argv[2]);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
