/* Made-up scenarios under a fixed set of seeds, and the power cut after every
 * single operation of the disk. `make soak SEEDS=N` does the same at length. */
#include "sim/compose.h"
#include "sim/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Under sanitizers everything takes twenty times as long. */
#ifdef __SANITIZE_ADDRESS__
#define SEEDS     20
#define CUT_SEEDS 1
#else
#define SEEDS     150
#define CUT_SEEDS 3
#endif

static struct sim_profiles profiles;

/* Returns how many operations the disk had. */
static uint64_t run(const struct sim_scenario *s, uint64_t seed, uint64_t cut, const char *repeat)
{
    struct sim_result result;
    struct sim_run *run = sim_run_open(
        &(struct sim_run_options){.scenario = s, .seed = seed, .kill_at = cut, .check_every = 200});
    sim_run_go(run, &result);
    if (result.violations > 0)
        fprintf(stderr, "%s\nto repeat it: %s --seed %llu --power-cut-at %llu\n",
                sim_run_violation(run, 0), repeat, (unsigned long long)seed,
                (unsigned long long)cut);
    assert_int_equal(result.violations, 0);
    sim_run_close(run);
    return result.operations;
}

static void made_up_scenarios_hold(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        char repeat[120];
        char *text = sim_compose_text(seed);
        struct sim_scenario *s = sim_scenario_read("made-up", text, &profiles, stderr);
        free(text);
        assert_non_null(s);
        snprintf(repeat, sizeof(repeat),
                 "snsim soak --print %llu > made-up.sim && snsim run made-up.sim",
                 (unsigned long long)seed);
        const uint64_t operations = run(s, seed, 0, repeat);
        run(s, seed, 1 + seed * 7919 % (operations + 1), repeat);
        sim_scenario_close(s);
    }
}

static void every_power_cut_holds(const char *text, const char *name)
{
    struct sim_scenario *s = sim_scenario_read(name, text, &profiles, stderr);
    assert_non_null(s);
    for (uint64_t seed = 1; seed <= CUT_SEEDS; seed++) {
        const uint64_t operations = run(s, seed, 0, name);
        assert_true(operations > 50);
        for (uint64_t cut = 1; cut <= operations; cut++)
            run(s, seed, cut, name);
    }
    sim_scenario_close(s);
}

static void the_power_may_be_cut_after_any_operation_with_the_broker_there(void **state)
{
    (void)state;
    every_power_cut_holds("link lan profile lan-udp loss 5%\n"
                          "fleet s 3 on lan\n"
                          "    publishes up/{n} qos 1 every 3s..5s until 30s\n"
                          "    publishes exact/{n} qos 2 every 3s..5s until 30s\n"
                          "    subscribes down/# qos 2\n"
                          "commands c publishes down/all qos 2 every 4s until 30s\n"
                          "at 40s stop\n",
                          "broker-there.sim");
}

static void the_power_may_be_cut_after_any_operation_with_the_broker_away(void **state)
{
    (void)state;
    every_power_cut_holds("link lan profile lan-udp loss 5%\n"
                          "fleet s 2 on lan sleep 10s\n"
                          "    publishes up/{n} qos 1 every 3s..5s until 30s\n"
                          "    publishes exact/{n} qos 2 every 3s..5s until 30s\n"
                          "    subscribes down/# qos 1\n"
                          "commands c publishes down/all qos 1 every 4s until 30s\n"
                          "gateway max_live 3\n"
                          "at 8s  broker down for 20s\n"
                          "at 40s stop\n",
                          "broker-away.sim");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_up_scenarios_hold),
        cmocka_unit_test(the_power_may_be_cut_after_any_operation_with_the_broker_there),
        cmocka_unit_test(the_power_may_be_cut_after_any_operation_with_the_broker_away),
    };
    if (sim_profiles_open(&profiles, NULL, stderr) != 0)
        return 1;
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sim_profiles_close(&profiles);
    return failed;
}
