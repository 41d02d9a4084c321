/* The library of scenarios, sim/scenarios/: what must hold does hold in each, and
 * those with a transcript beside them (NAME.out, seed 1) give exactly this one.
 *
 * To write a transcript anew, and then read the difference:
 *   build/snsim run -q sim/scenarios/NAME.sim -t sim/scenarios/NAME.out
 */
#include "sim/run.h"
#include "sim/transcript.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sim_profiles profiles;

static char *read_file(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return NULL;
    assert_true(getdelim(&text, &size, '\0', in) > 0);
    fclose(in);
    return text;
}

static void show_first_difference(const char *is, const char *should)
{
    unsigned line = 1;
    while (*is != '\0' && *is == *should) {
        line += *is == '\n';
        is++, should++;
    }
    while (line > 1 && is[-1] != '\n')
        is--, should--;
    fprintf(stderr, "line %u is:\n%.*s\nshould be:\n%.*s\n", line, (int)strcspn(is, "\n"), is,
            (int)strcspn(should, "\n"), should);
}

/* A scenario as the transcript of seed 1; ends the test if something does not hold. */
static char *play(const char *path)
{
    const struct sim_parameters none = {0};
    struct sim_scenario *s = sim_scenario_open(path, &profiles, &none, stderr);
    char *text = NULL;
    size_t size;
    struct sim_result result;
    assert_non_null(s);
    struct sim_run *run =
        sim_run_open(&(struct sim_run_options){.scenario = s, .seed = 1, .check_every = 100});
    FILE *out = open_memstream(&text, &size);
    sim_trace_listen(sim_run_trace(run), sim_transcript_hear, out);
    sim_run_go(run, &result);
    fclose(out);
    for (size_t i = 0; sim_run_violation(run, i) != NULL; i++)
        fprintf(stderr, "%s\n", sim_run_violation(run, i));
    assert_int_equal(result.violations, 0);
    sim_run_close(run);
    sim_scenario_close(s);
    return text;
}

static void a_scenario_gives_its_transcript(void **state)
{
    const char *path = *state;
    char expected_path[256];
    snprintf(expected_path, sizeof(expected_path), "%.*sout", (int)strlen(path) - 3, path);
    char *expected = read_file(expected_path);
    char *text = play(path);
    assert_non_null(expected);
    if (strcmp(text, expected) != 0)
        show_first_difference(text, expected);
    assert_string_equal(text, expected);
    free(expected);
    free(text);
}

/* What they claim is in the checker; how it comes to pass may change. */
static void those_without_a_transcript_hold_as_well(void **state)
{
    static const char *const paths[] = {
        "sim/scenarios/broker-hangs-up.sim",
        "sim/scenarios/newcomers.sim",
        "sim/scenarios/overlapping-filters.sim",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        free(play(paths[i]));
}

static void the_same_seed_gives_the_same_run(void **state)
{
    (void)state;
    char *first = play("sim/scenarios/sleepers.sim");
    char *second = play("sim/scenarios/sleepers.sim");
    assert_string_equal(first, second);
    free(first);
    free(second);
}

int main(void)
{
    glob_t found;
    struct CMUnitTest tests[200] = {cmocka_unit_test(the_same_seed_gives_the_same_run),
                                    cmocka_unit_test(those_without_a_transcript_hold_as_well)};
    size_t count = 2;
    if (sim_profiles_open(&profiles, NULL, stderr) != 0)
        return 1;
    glob("sim/scenarios/*.out", 0, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc && count < 200; i++) {
        char *path = found.gl_pathv[i];
        strcpy(path + strlen(path) - 3, "sim");
        tests[count++] = (struct CMUnitTest){
            .name = path, .test_func = a_scenario_gives_its_transcript, .initial_state = path};
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const int failed = _cmocka_run_group_tests("scenarios", tests, count, NULL, NULL);
    globfree(&found);
    sim_profiles_close(&profiles);
    return failed;
}
