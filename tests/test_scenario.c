#include "sim/scenario.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sim_profiles profiles;

static struct sim_scenario *read_it(const char *text, char **errors)
{
    size_t size;
    FILE *out = open_memstream(errors, &size);
    struct sim_scenario *s = sim_scenario_read("x.sim", text, &profiles, out);
    fclose(out);
    return s;
}

static struct sim_scenario *must_read(const char *text)
{
    char *errors = NULL;
    struct sim_scenario *s = read_it(text, &errors);
    assert_string_equal(errors, "");
    assert_non_null(s);
    free(errors);
    return s;
}

static void assert_refused(const char *text, const char *complaint)
{
    char *errors = NULL;
    struct sim_scenario *s = read_it(text, &errors);
    assert_null(s);
    assert_string_equal(errors, complaint);
    free(errors);
}

#define LINK "link a profile lan-udp\n"
#define STOP "at 1h stop\n"

static void a_fleet_has_its_plan(void **state)
{
    (void)state;
    struct sim_scenario *s =
        must_read(LINK "fleet s 20 on a   # twenty of them\n"
                       "    publishes p/{n}/t qos 2 every 1m..2m spread 1h\n"
                       "        burst 3 size 20 retain\n"
                       "    publishes id=4 qos -1 from 5m until 1h together\n"
                       "\n"
                       "    subscribes set/+ qos 0\n"
                       "    sleep 10m  keepalive 1h  clean yes  alike yes  outbox 5\n"
                       "    retry 6s..60s  retries 4\n"
                       "    will gone/{name} \"with no word\" qos 1\n"
                       "gateway [topics] 4 p/four\n" STOP);
    assert_int_equal(s->fleet_count, 1);
    const struct sim_device_plan *p = &s->fleets[0].plan;
    assert_int_equal(s->fleets[0].count, 20);
    assert_string_equal(p->publications[0].topic, "p/{n}/t");
    assert_int_equal(p->publications[0].qos, 2);
    assert_int_equal(p->publications[0].every.low, 60 * SIM_S);
    assert_int_equal(p->publications[0].every.high, 120 * SIM_S);
    assert_int_equal(p->publications[0].spread_us, 3600 * SIM_S);
    assert_int_equal(p->publications[0].burst, 3);
    assert_int_equal(p->publications[0].size, 20);
    assert_true(p->publications[0].retain);
    assert_int_equal(p->publications[1].tid, 4);
    assert_int_equal(p->publications[1].qos, -1);
    assert_true(p->publications[1].together);
    assert_string_equal(p->subscriptions[0].filter, "set/+");
    assert_int_equal(p->subscriptions[0].qos, 0);
    assert_int_equal(p->sleep_s, 600);
    assert_int_equal(p->keepalive_s, 3600);
    assert_true(p->clean);
    assert_true(p->alike);
    assert_int_equal(p->outbox, 5);
    assert_int_equal(p->retry, SIM_RETRY_GIVEN);
    assert_int_equal(p->retry_us.high, 60 * SIM_S);
    assert_int_equal(p->retries, 4);
    assert_string_equal(p->will_message, "with no word");
    assert_int_equal(s->stop_us, 3600 * SIM_S);
    assert_true(s->settles);
    sim_scenario_close(s);
}

static void the_gateway_is_configured_by_its_own_keys(void **state)
{
    (void)state;
    struct sim_scenario *s =
        must_read("gateway max_backlog 50 ack broker\n" LINK "gateway [link a] retries 9 roam yes\n"
                  "gateway [topics] 7 x/y\n"
                  "gateway [broker] max_inflight 3\n"
                  "gateway max_queue 8\n" STOP);
    assert_int_equal(s->config.bridge.max_backlog, 50);
    assert_int_equal(s->config.bridge.max_queue, 8);
    assert_false(s->config.bridge.ack_stored);
    assert_int_equal(s->config.bridge.link_count, 1);
    assert_string_equal(s->config.bridge.links[0].name, "a");
    assert_int_equal(s->config.bridge.links[0].retries, 9);
    assert_true(s->config.bridge.links[0].roam);
    assert_int_equal(s->config.bridge.links[0].frame_max, 1472);
    assert_int_equal(s->config.bridge.predefined[0].tid, 7);
    assert_int_equal(s->config.broker.max_inflight, 3);
    sim_scenario_close(s);
}

static void the_gateway_knows_what_a_changed_link_is_like(void **state)
{
    (void)state;
    struct sim_scenario *s = must_read(
        "link a rate 1200 bits_per_octet 10 overhead_bits 40 delay 100ms frame_max 64\n" STOP);
    const struct bridge_link_config *l = &s->config.bridge.links[0];
    assert_int_equal(l->bits_per_s, 1200);
    assert_int_equal(l->bits_per_octet, 10);
    assert_int_equal(l->overhead_bits, 40);
    assert_int_equal(l->frame_max, 64);
    assert_true(l->retry_ms >= 1500);
    sim_scenario_close(s);
}

static void faults_come_at_a_time_or_at_random(void **state)
{
    (void)state;
    struct sim_scenario *s = must_read(LINK "link b profile lan-udp\nfleet s 2 on a\n"
                                            "at 5m broker down for 1m..2m\n"
                                            "about every 1h one s moves b from 10m until 2h\n"
                                            "at operation 17 power cut for 3s\n"
                                            "at 6m clock -1h\n"
                                            "at 7m broker rejects nothing\n" STOP);
    assert_int_equal(s->fault_count, 5);
    assert_int_equal(s->faults[0].kind, SIM_FAULT_BROKER_DOWN);
    assert_int_equal(s->faults[0].at_us, 300 * SIM_S);
    assert_int_equal(s->faults[0].length.high, 120 * SIM_S);
    assert_true(s->faults[1].at_random);
    assert_true(s->faults[1].one);
    assert_int_equal(s->faults[1].link, 1);
    assert_int_equal(s->faults[1].until_us, 7200 * SIM_S);
    assert_int_equal(s->faults[2].operation, 17);
    assert_int_equal(s->faults[3].clock_ms, -3600000);
    assert_true(s->faults[4].ends);
    sim_scenario_close(s);
}

static void every_mistake_is_told_with_its_line_and_what_is_allowed(void **state)
{
    (void)state;
    assert_refused(LINK "devise d on a\n" STOP,
                   "x.sim:2: found \"devise\", allowed is link, device, fleet, commands, gateway, "
                   "broker, disk, memory, at or about\n");
    assert_refused(LINK "device d on b\n" STOP,
                   "x.sim:2: found \"b\", allowed is the name of a link that stands above\n");
    assert_refused(LINK "device d on a\n  publishes t qos 3\n" STOP,
                   "x.sim:3: found \"3\", allowed is a whole number from 0 to 2\n");
    assert_refused(LINK "device d on a publishes t/# every 1m\n" STOP,
                   "x.sim:2: found \"t/#\", allowed is the name of a topic, or id=N\n");
    assert_refused(LINK "at 5 broker down\n" STOP,
                   "x.sim:2: found \"5\", allowed is a time such as 400ms, 90s, 5m, 1h30m or 2d\n");
    assert_refused(LINK "at 5m broker gone\n" STOP,
                   "x.sim:2: found \"broker\", allowed is a fault, see `snsim run --faults`\n");
    assert_refused(
        LINK "device d on a will t\n" STOP,
        "x.sim:2: found \"(the end of the statement)\", allowed is the message of a will\n");
    assert_refused(LINK "  device d\n" STOP,
                   "x.sim:2: found \"device\", allowed is a key of a link, see `snsim profiles "
                   "--keys`\n");
    assert_refused(LINK "link a\n" STOP, "x.sim:2: found \"a\", allowed is a new name of up to 15 "
                                         "letters, digits, - and _\n");
    assert_refused(LINK, "x.sim:2: found no end, `at TIME stop` or `at TIME end` is required\n");
}

static void a_wrong_key_of_the_gateway_is_told_with_the_scenarios_line(void **state)
{
    (void)state;
    assert_refused(LINK "device d on a\ngateway max_queue 7\n    max_qeue 8\n" STOP,
                   "x.sim:4: [bridge] max_qeue: unknown key, did you mean max_queue?\n");
    assert_refused(LINK "gateway [link a] retries 1000\n" STOP,
                   "x.sim:2: [link a] retries: found \"1000\", allowed is a whole number from 0 to "
                   "100\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fleet_has_its_plan),
        cmocka_unit_test(the_gateway_is_configured_by_its_own_keys),
        cmocka_unit_test(the_gateway_knows_what_a_changed_link_is_like),
        cmocka_unit_test(faults_come_at_a_time_or_at_random),
        cmocka_unit_test(every_mistake_is_told_with_its_line_and_what_is_allowed),
        cmocka_unit_test(a_wrong_key_of_the_gateway_is_told_with_the_scenarios_line),
    };
    if (sim_profiles_open(&profiles, NULL, stderr) != 0)
        return 1;
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sim_profiles_close(&profiles);
    return failed;
}
