#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "bridge/core.h"
#include "mqttsn/topic.h"
#include "tests/bridge_rig.h"

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    *state = rig_new(&o);
    return 0;
}

static int end(void **state)
{
    bridge_check(rig_bridge(*state));
    rig_free(*state);
    return 0;
}

struct hits {
    unsigned count;
    char text[400];
};

static void hit(void *ctx, struct subscription *s)
{
    struct hits *h = ctx;
    const size_t at = strlen(h->text);
    snprintf(h->text + at, sizeof(h->text) - at, "%s%.*s", at == 0 ? "" : " ", s->filter->name->len,
             (const char *)s->filter->name->text);
    h->count++;
}

static struct session *session(struct bridge *b)
{
    struct session *s = clients_find_id(b, sn_bytes_text("s"));
    return s != NULL ? s : clients_add(b, sn_bytes_text("s"), 0);
}

static void add(struct bridge *b, const char *text)
{
    struct name *name = name_take(b, sn_bytes_text(text));
    subscribe_restore(b, session(b), name, session(b)->next_key + 1, 0);
    name_put(b, name);
}

static struct hits match(struct bridge *b, const char *name)
{
    struct hits h = {.count = 0};
    filter_match(b, &b->shared, sn_bytes_text(name), hit, &h);
    return h;
}

static void names_match_the_filters_of_the_standard(void **state)
{
    struct bridge *b = rig_bridge(*state);
    static const char *const filters[] = {"a",   "a/b", "a/+",  "+/b", "#",   "a/#",
                                          "+/+", "/+",  "a//b", "+/#", "$x/#"};
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
        add(b, filters[i]);
    static const char *const names[] = {"a",  "a/b",  "/b",    "a//b", "c",
                                        "$x", "$x/y", "a/b/c", "/",    "b/b"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unsigned expected = 0;
        for (size_t k = 0; k < sizeof(filters) / sizeof(filters[0]); k++)
            expected += sn_topic_matches(sn_bytes_text(filters[k]), sn_bytes_text(names[i]));
        assert_int_equal(match(b, names[i]).count, expected);
    }
    assert_string_equal(match(b, "$x/y").text, "$x/#");
    assert_string_equal(match(b, "c").text, "# +/#");
}

/* Every filter of four levels out of five words against every name: the tree
 * says what the rule says. */
static void the_tree_agrees_with_the_rule(void **state)
{
    struct bridge *b = rig_bridge(*state);
    static const char *const words[] = {"a", "b", "", "+", "#"};
    static char filters[700][12];
    size_t count = 0;
    for (unsigned n = 0; n < 625; n++) {
        char *f = filters[count];
        snprintf(f, sizeof(filters[0]), "%s/%s/%s/%s", words[n % 5], words[n / 5 % 5],
                 words[n / 25 % 5], words[n / 125]);
        if (sn_topic_check_filter(sn_bytes_text(f)) == SN_OK && n % 3 == 0) {
            add(b, f);
            count++;
        }
    }
    assert_true(count > 50);
    for (unsigned n = 0; n < 81; n++) {
        char name[12];
        snprintf(name, sizeof(name), "%s/%s/%s/%s", words[n % 3], words[n / 3 % 3],
                 words[n / 9 % 3], words[n / 27]);
        unsigned expected = 0;
        for (size_t k = 0; k < count; k++)
            expected += sn_topic_matches(sn_bytes_text(filters[k]), sn_bytes_text(name));
        assert_int_equal(match(b, name).count, expected);
    }
}

static void nothing_remains_of_filters_that_nobody_wants(void **state)
{
    struct bridge *b = rig_bridge(*state);
    session(b);
    const size_t used = arena_used(&b->arena);
    static const char *const filters[] = {"a/b/c/d", "a/b", "#", "a/+/c", "a/+/c/#", "+", ""};
    for (size_t i = 0; filters[i][0] != '\0'; i++)
        add(b, filters[i]);
    assert_int_equal(match(b, "a/b").count, 2);
    subscribe_remove_all(b, session(b));
    assert_int_equal(match(b, "a/b").count, 0);
    b->shared.state = UPSTREAM_UP; /* the list of what the broker must hear is worked off */
    subscribe_up(b, &b->shared, false);
    b->shared.state = UPSTREAM_DOWN;
    assert_null(b->shared.filters_first);
    assert_int_equal(arena_used(&b->arena), used);
}

/* However deep the name: the stack is bounded, "#" above still matches. */
static void a_very_deep_name_is_matched_as_far_as_the_limit(void **state)
{
    struct bridge *b = rig_bridge(*state);
    static char deep[60000];
    for (size_t i = 0; i < sizeof(deep); i++)
        deep[i] = '/';
    add(b, "#");
    add(b, "+/+/#");
    struct hits h = {.count = 0};
    filter_match(b, &b->shared, sn_bytes(deep, sizeof(deep)), hit, &h);
    assert_int_equal(h.count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_match_the_filters_of_the_standard, begin, end),
        cmocka_unit_test_setup_teardown(the_tree_agrees_with_the_rule, begin, end),
        cmocka_unit_test_setup_teardown(nothing_remains_of_filters_that_nobody_wants, begin, end),
        cmocka_unit_test_setup_teardown(a_very_deep_name_is_matched_as_far_as_the_limit, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
