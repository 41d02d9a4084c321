#include "sim/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Within so many standard deviations of the mean a count of n draws may lie. A fixed seed
 * decides once and for all, so nothing here fails by chance. */
static void assert_near(uint64_t count, double n, double p)
{
    const double mean = n * p;
    const double variance = n * p * (1 - p);
    const double off = (double)count - mean;
    if (off * off > 9 * variance)
        fail_msg("%llu, expected %.0f", (unsigned long long)count, mean);
}

/* The first numbers of the reference implementation for the state 1, 2, 3, 4. */
static void it_is_xoshiro256(void **state)
{
    struct sim_random r = {.state = {1, 2, 3, 4}};
    (void)state;
    assert_int_equal(sim_random_next(&r), 11520u);
    assert_int_equal(sim_random_next(&r), 0u);
    assert_int_equal(sim_random_next(&r), 1509978240u);
    assert_true(sim_random_next(&r) == 1215971899390074240u);
}

static void the_same_seed_and_name_give_the_same_stream(void **state)
{
    struct sim_random a, b;
    (void)state;
    sim_random_init(&a, 7, "radio/loss");
    sim_random_init(&b, 7, "radio/loss");
    for (int i = 0; i < 100; i++)
        assert_true(sim_random_next(&a) == sim_random_next(&b));
}

static void another_seed_or_name_gives_another_stream(void **state)
{
    struct sim_random a, b, c;
    (void)state;
    sim_random_init(&a, 7, "radio/loss");
    sim_random_init(&b, 8, "radio/loss");
    sim_random_init(&c, 7, "radio/delay");
    const uint64_t first = sim_random_next(&a);
    assert_true(first != sim_random_next(&b));
    assert_true(first != sim_random_next(&c));
}

static void numbers_below_a_limit_are_even(void **state)
{
    struct sim_random r;
    uint64_t count[6] = {0};
    (void)state;
    sim_random_init(&r, 1, "dice");
    for (int i = 0; i < 60000; i++)
        count[sim_random_below(&r, 6)]++;
    for (int face = 0; face < 6; face++)
        assert_near(count[face], 60000, 1.0 / 6);
}

static void between_includes_both_ends(void **state)
{
    struct sim_random r;
    bool seen[3] = {false};
    (void)state;
    sim_random_init(&r, 1, "range");
    for (int i = 0; i < 100; i++) {
        const uint64_t x = sim_random_between(&r, 10, 12);
        assert_in_range(x, 10, 12);
        seen[x - 10] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2]);
    assert_int_equal(sim_random_between(&r, 5, 5), 5);
}

static void chances_come_as_often_as_they_say(void **state)
{
    const uint32_t ppb[] = {1000000, 80000000, 500000000, 999000000};
    struct sim_random r;
    (void)state;
    sim_random_init(&r, 3, "chance");
    for (size_t k = 0; k < 4; k++) {
        uint64_t count = 0;
        for (int i = 0; i < 100000; i++)
            count += sim_random_chance(&r, ppb[k]);
        assert_near(count, 100000, ppb[k] / 1e9);
    }
    assert_false(sim_random_chance(&r, 0));
    assert_true(sim_random_chance(&r, SIM_ALWAYS));
}

/* An exponential distribution: mean and standard deviation are equal, and so many wait
 * longer than the mean: 1/e; longer than twice the mean: 1/e^2. */
static void waits_are_exponential(void **state)
{
    const uint64_t mean = 43200 * UINT64_C(1000000);
    struct sim_random r;
    double sum = 0;
    uint64_t longer = 0, twice = 0;
    (void)state;
    sim_random_init(&r, 5, "wait");
    for (int i = 0; i < 100000; i++) {
        const uint64_t wait = sim_random_wait(&r, mean);
        assert_in_range(wait, 1, 20 * mean);
        sum += (double)wait / (double)mean;
        longer += wait > mean;
        twice += wait > 2 * mean;
    }
    const double off = sum - 100000;
    assert_true(off * off < 9 * 100000);
    assert_near(longer, 100000, 0.36787944);
    assert_near(twice, 100000, 0.13533528);
    assert_int_equal(sim_random_wait(&r, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_xoshiro256),
        cmocka_unit_test(the_same_seed_and_name_give_the_same_stream),
        cmocka_unit_test(another_seed_or_name_gives_another_stream),
        cmocka_unit_test(numbers_below_a_limit_are_even),
        cmocka_unit_test(between_includes_both_ends),
        cmocka_unit_test(chances_come_as_often_as_they_say),
        cmocka_unit_test(waits_are_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
