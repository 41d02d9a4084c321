#include "sim/parameters.h"
#include "sim/sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What becomes of a text, and what is said about it. */
static char *apply(const struct sim_parameters *p, const char *text, char **errors)
{
    size_t len;
    FILE *out = open_memstream(errors, &len);
    char *result = sim_parameters_apply(p, "x.sim", text, out);
    fclose(out);
    return result;
}

static void assert_becomes(const struct sim_parameters *p, const char *text, const char *result)
{
    char *errors = NULL;
    char *got = apply(p, text, &errors);
    assert_string_equal(errors, "");
    assert_string_equal(got, result);
    free(got);
    free(errors);
}

static void assert_refused(const struct sim_parameters *p, const char *text, const char *said)
{
    char *errors = NULL;
    assert_null(apply(p, text, &errors));
    assert_string_equal(errors, said);
    free(errors);
}

static void a_default_stands_from_its_line_on(void **state)
{
    const struct sim_parameters none = {0};
    (void)state;

    assert_becomes(&none, "set n 40\nfleet s $n on radio\n", "\nfleet s 40 on radio\n");
    assert_becomes(&none, "set n\t 4 5  # why\nx ${n}th $n,\n", "\nx 4 5th 4 5,\n");
    assert_becomes(&none, "set empty\n<$empty>", "\n<>");
}

static void a_comment_and_a_doubled_dollar_are_left_alone(void **state)
{
    const struct sim_parameters none = {0};
    (void)state;

    assert_becomes(&none, "a $$SYS/# # costs $5\n# $none", "a $SYS/# # costs $5\n# $none");
}

static void the_command_line_wins(void **state)
{
    struct sim_parameters p = {0};
    (void)state;

    assert_true(sim_parameters_set(&p, "n=50", stderr));
    assert_true(sim_parameters_set(&p, "n=60", stderr));
    assert_becomes(&p, "set n 40\n$n", "\n60");
}

static void what_is_not_known_is_refused_with_its_line(void **state)
{
    struct sim_parameters p = {0};
    (void)state;

    assert_refused(&p, "\n$n\nset n 1\n", "x.sim:2: there is no parameter $n\n");
    assert_refused(&p, "set n 1\nset n 2\n", "x.sim:2: set: it is set already\n");
    assert_refused(&p, "cost 5$ now\n", "x.sim:1: $NAME, ${NAME} or $$ is wanted, not $ \n");
    assert_true(sim_parameters_set(&p, "loss=1", stderr));
    assert_refused(&p, "set n 1\n", "x.sim:2: there is no parameter $loss\n    known here: n\n");
}

static void an_assignment_has_a_name_and_a_value(void **state)
{
    struct sim_parameters p = {0};
    FILE *nowhere = fopen("/dev/null", "w");
    (void)state;

    assert_false(sim_parameters_set(&p, "loss", nowhere));
    assert_false(sim_parameters_set(&p, "=1", nowhere));
    assert_false(sim_parameters_set(&p, "a b=1", nowhere));
    assert_true(sim_parameters_set(&p, "a-b=", nowhere));
    assert_int_equal(p.count, 1);
    fclose(nowhere);
}

static void every_combination_has_its_turn_the_last_axis_first(void **state)
{
    struct sim_sweep s = {0};
    char seen[200] = "";
    (void)state;

    assert_int_equal(sim_sweep_runs(&s), 1);
    assert_true(sim_sweep_add(&s, "n=20,40", stderr));
    assert_true(sim_sweep_add(&s, "retry=10s..10s,measured,", stderr));
    assert_int_equal(sim_sweep_runs(&s), 6);
    for (uint32_t run = 0; run < 6; run++) {
        struct sim_parameters p = {0};
        sim_sweep_choose(&s, run, &p);
        strcat(strcat(strcat(strcat(seen, p.list[0].value), "/"), p.list[1].value), " ");
    }
    assert_string_equal(seen, "20/10s..10s 20/measured 20/ 40/10s..10s 40/measured 40/ ");
}

static size_t columns(const char *line)
{
    size_t count = 1;
    bool quoted = false;
    for (; *line != '\n'; line++) {
        quoted ^= *line == '"';
        count += *line == ',' && !quoted;
    }
    return count;
}

static void a_row_has_a_figure_for_each_column(void **state)
{
    struct sim_sweep s = {0};
    struct sim_measure *m = sim_measure_open();
    char *csv = NULL;
    size_t len = 0;
    (void)state;

    assert_true(sim_sweep_add(&s, "say=\"hello\"", stderr));
    FILE *out = open_memstream(&csv, &len);
    sim_sweep_write_head(&s, out);
    sim_measure_end(m, 1500000);
    sim_sweep_write_row(&s, 0, 7, m, 0, out);
    fclose(out);
    const char *row = strchr(csv, '\n') + 1;
    assert_int_equal(columns(csv), columns(row));
    assert_true(strncmp(row, "\"\"\"hello\"\"\",7,1.500,0,", 22) == 0);
    free(csv);
    sim_measure_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_default_stands_from_its_line_on),
        cmocka_unit_test(a_comment_and_a_doubled_dollar_are_left_alone),
        cmocka_unit_test(the_command_line_wins),
        cmocka_unit_test(what_is_not_known_is_refused_with_its_line),
        cmocka_unit_test(an_assignment_has_a_name_and_a_value),
        cmocka_unit_test(every_combination_has_its_turn_the_last_axis_first),
        cmocka_unit_test(a_row_has_a_figure_for_each_column),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
