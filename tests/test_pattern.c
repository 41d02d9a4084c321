#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/pattern.h"

static bool matches(const char *pattern, const char *text)
{
    return pattern_matches(sn_bytes_text(pattern), sn_bytes_text(text));
}

static void letters_stand_for_themselves(void **state)
{
    (void)state;
    assert_true(matches("", ""));
    assert_true(matches("buoy", "buoy"));
    assert_false(matches("buoy", "buoy1"));
    assert_false(matches("buoy1", "buoy"));
    assert_false(matches("", "x"));
    assert_false(matches("Buoy", "buoy"));
}

static void a_question_mark_is_one_octet(void **state)
{
    (void)state;
    assert_true(matches("b?oy", "buoy"));
    assert_true(matches("???", "a:b"));
    assert_false(matches("???", "ab"));
    assert_false(matches("?", ""));
}

static void a_star_is_any_octets_or_none(void **state)
{
    (void)state;
    assert_true(matches("*", ""));
    assert_true(matches("*", "anything"));
    assert_true(matches("buoy-*", "buoy-"));
    assert_true(matches("*-7", "buoy-7"));
    assert_true(matches("a*b*c", "aXbbYcc"));
    assert_true(matches("**", "x"));
    assert_false(matches("a*b*c", "aXcYb"));
    assert_false(matches("*x", ""));
}

/* Tried naively, this would take longer than there is time. */
static void many_stars_are_no_trouble(void **state)
{
    (void)state;
    assert_false(matches("a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b",
                         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_stand_for_themselves),
        cmocka_unit_test(a_question_mark_is_one_octet),
        cmocka_unit_test(a_star_is_any_octets_or_none),
        cmocka_unit_test(many_stars_are_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
