#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bridge/classes.h"

static const struct bridge_class_config classes[] = {
    {.name = "default", .priority = 3},
    {.name = "alarm", .topics = "alarm/#, +/alarm", .priority = 0, .expire_s = 60},
    {.name = "bulk", .topics = "log/# alarm/low ,", .priority = 7},
};

static const struct bridge_config config = {.classes = classes, .class_count = 3};
static const struct bridge_config none = {.class_count = 0};

static uint8_t match(const struct bridge_config *c, const char *topic)
{
    return classes_match(c, sn_bytes_text(topic));
}

static void the_first_class_with_a_filter_that_matches_has_the_message(void **state)
{
    (void)state;
    assert_int_equal(match(&config, "alarm/fire"), 1);
    assert_int_equal(match(&config, "pump/alarm"), 1);
    assert_int_equal(match(&config, "alarm/low"), 1);
    assert_int_equal(match(&config, "log/today/7"), 2);
}

static void what_matches_no_class_is_in_class_0(void **state)
{
    (void)state;
    assert_int_equal(match(&config, "plant/1"), 0);
    assert_int_equal(match(&none, "alarm/fire"), 0);
    assert_int_equal(classes_at(&none, 0)->priority, BRIDGE_PRIORITY_STANDARD);
    assert_string_equal(classes_at(&none, 0)->name, "default");
}

/* It was stored under a configuration that had more. */
static void a_number_that_is_no_more_stands_for_class_0(void **state)
{
    (void)state;
    assert_ptr_equal(classes_at(&config, 2), &classes[2]);
    assert_ptr_equal(classes_at(&config, 3), &classes[0]);
    assert_string_equal(classes_at(&none, 9)->name, "default");
}

static void commas_and_spaces_separate_filters(void **state)
{
    (void)state;
    const char *at = " ,a/b\tc,,d ,";
    const char *const filters[] = {"a/b", "c", "d"};
    struct sn_bytes filter;
    for (size_t i = 0; i < 3; i++) {
        assert_true(classes_next_filter(&at, &filter));
        assert_true(sn_bytes_equal(filter, sn_bytes_text(filters[i])));
    }
    assert_false(classes_next_filter(&at, &filter));
    assert_false(classes_next_filter(&at, &filter));
}

static void the_soonest_of_all_limits_counts(void **state)
{
    (void)state;
    assert_int_equal(classes_expires_ms(&classes[0], 1000, 0, 0), 0);
    assert_int_equal(classes_expires_ms(&classes[1], 1000, 0, 0), 61000);
    assert_int_equal(classes_expires_ms(&classes[1], 1000, 30, 0), 31000);
    assert_int_equal(classes_expires_ms(&classes[1], 1000, 90, 120), 61000);
    assert_int_equal(classes_expires_ms(&classes[1], 1000, 90, 10), 11000);
    assert_int_equal(classes_expires_ms(&classes[0], 1000, UINT32_MAX, 0),
                     1000 + (uint64_t)UINT32_MAX * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_class_with_a_filter_that_matches_has_the_message),
        cmocka_unit_test(what_matches_no_class_is_in_class_0),
        cmocka_unit_test(a_number_that_is_no_more_stands_for_class_0),
        cmocka_unit_test(commas_and_spaces_separate_filters),
        cmocka_unit_test(the_soonest_of_all_limits_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
