#include "bridge/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct thing {
    struct table_link link;
    int number;
};

static int begin(void **state)
{
    struct table *t = calloc(1, sizeof(*t));
    table_init(t, calloc(1, table_size(16)), 16);
    *state = t;
    return 0;
}

static int end(void **state)
{
    struct table *t = *state;
    free(t->buckets);
    free(t);
    return 0;
}

static int count(const struct table *t, uint32_t hash)
{
    int n = 0;
    for (const struct table_link *l = table_first(t, hash); l != NULL; l = table_next(l))
        n++;
    return n;
}

/* 5 and 21 share a bucket of sixteen and are told apart all the same. */
static void things_are_found_by_their_whole_hash(void **state)
{
    struct table *t = *state;
    struct thing a = {.number = 1}, b = {.number = 2}, c = {.number = 3};
    table_add(t, &a.link, 5);
    table_add(t, &b.link, 21);
    table_add(t, &c.link, 5);
    assert_int_equal(count(t, 5), 2);
    assert_int_equal(count(t, 21), 1);
    assert_int_equal(count(t, 37), 0);
    assert_int_equal(TABLE_ENTRY(table_first(t, 21), struct thing, link)->number, 2);
}

static void a_thing_can_be_removed_from_any_place_and_twice(void **state)
{
    struct table *t = *state;
    struct thing things[3] = {{.number = 0}};
    for (int out = 0; out < 3; out++) {
        for (int i = 0; i < 3; i++)
            table_add(t, &things[i].link, 5);
        table_remove(&things[out].link);
        table_remove(&things[out].link);
        assert_int_equal(count(t, 5), 2);
        for (int i = 0; i < 3; i++)
            table_remove(&things[i].link);
        assert_int_equal(count(t, 5), 0);
    }
}

static void more_things_than_buckets_are_allowed(void **state)
{
    struct table *t = *state;
    static struct thing things[1000];
    for (uint32_t i = 0; i < 1000; i++)
        table_add(t, &things[i].link, i / 2);
    for (uint32_t i = 0; i < 500; i++)
        assert_int_equal(count(t, i), 2);
}

/* Whoever does not know the seed cannot make things collide. */
static void the_hash_depends_on_the_seed_and_on_every_octet(void **state)
{
    (void)state;
    const char text[] = "a client id of some length";
    const uint32_t hash = table_hash(1, text, sizeof(text));
    assert_int_equal(hash, table_hash(1, text, sizeof(text)));
    assert_int_not_equal(hash, table_hash(2, text, sizeof(text)));
    for (size_t i = 0; i < sizeof(text); i++) {
        char other[sizeof(text)];
        for (size_t k = 0; k < sizeof(text); k++)
            other[k] = text[k];
        other[i] ^= 1;
        assert_int_not_equal(hash, table_hash(1, other, sizeof(other)));
        assert_int_not_equal(hash, table_hash(1, text, i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(things_are_found_by_their_whole_hash, begin, end),
        cmocka_unit_test_setup_teardown(a_thing_can_be_removed_from_any_place_and_twice, begin,
                                        end),
        cmocka_unit_test_setup_teardown(more_things_than_buckets_are_allowed, begin, end),
        cmocka_unit_test(the_hash_depends_on_the_seed_and_on_every_octet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
