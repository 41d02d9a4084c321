#include "bridge/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGES 4

struct fixture {
    struct arena arena;
    void *memory;
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const size_t size = PAGES * (ARENA_PAGE + 64);
    f->memory = calloc(1, size);
    assert_true(arena_init(&f->arena, f->memory, size));
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    arena_check(&f->arena);
    free(f->memory);
    free(f);
    return 0;
}

static void a_block_is_zeroed_aligned_and_counted_by_its_class(void **state)
{
    struct fixture *f = *state;
    uint8_t *block = arena_take(&f->arena, 33);
    assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
    assert_int_equal(arena_used(&f->arena), 48);
    assert_int_equal(arena_block(33), 48);
    memset(block, 0xFF, 48);
    arena_put(&f->arena, block);
    assert_int_equal(arena_used(&f->arena), 0);
    block = arena_take(&f->arena, 40);
    for (int i = 0; i < 40; i++)
        assert_int_equal(block[i], 0);
    arena_put(&f->arena, block);
}

static void blocks_do_not_overlap(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {1, 32, 33, 100, 1000, 5000, 40000};
    uint8_t *blocks[70];
    for (size_t i = 0; i < 70; i++) {
        const size_t size = sizes[i % 6];
        blocks[i] = arena_take(&f->arena, size);
        if (blocks[i] != NULL)
            memset(blocks[i], (int)i, size);
    }
    for (size_t i = 0; i < 70; i++)
        for (size_t k = 0; blocks[i] != NULL && k < sizes[i % 6]; k++)
            assert_int_equal(blocks[i][k], (uint8_t)i);
    arena_check(&f->arena);
}

static void what_is_too_large_or_too_much_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_null(arena_take(&f->arena, ARENA_BLOCK_MAX + 1));
    void *blocks[PAGES];
    for (int i = 0; i < PAGES; i++)
        assert_non_null(blocks[i] = arena_take(&f->arena, ARENA_BLOCK_MAX));
    assert_int_equal(arena_left(&f->arena), 0);
    assert_null(arena_take(&f->arena, 1));
    arena_put(&f->arena, blocks[2]);
    assert_int_equal(arena_left(&f->arena), ARENA_PAGE);
    assert_non_null(arena_take(&f->arena, 1));
    assert_null(arena_take(&f->arena, ARENA_BLOCK_MAX));
}

/* A mixture of sizes cannot starve another for ever. */
static void an_empty_page_serves_any_size_again(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 3; round++) {
        const size_t size = (size_t)64 << (4 * round);
        void *blocks[PAGES * 2048 + 1];
        size_t count = 0;
        while ((blocks[count] = arena_take(&f->arena, size)) != NULL)
            count++;
        assert_int_equal(count, PAGES * (ARENA_PAGE / size));
        /* In an order that is neither that of taking nor its reverse. */
        for (size_t i = 0; i < count; i++)
            arena_put(&f->arena, blocks[i * 7919 % count]);
        arena_check(&f->arena);
        assert_int_equal(arena_used(&f->arena), 0);
        assert_int_equal(arena_left(&f->arena), PAGES * ARENA_PAGE);
    }
}

static void putting_back_nothing_is_allowed(void **state)
{
    struct fixture *f = *state;
    arena_put(&f->arena, NULL);
    assert_int_equal(arena_used(&f->arena), 0);
}

static void less_than_a_page_is_no_arena(void **state)
{
    (void)state;
    struct arena a;
    static uint8_t small[1000];
    assert_false(arena_init(&a, small, sizeof(small)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_block_is_zeroed_aligned_and_counted_by_its_class, begin,
                                        end),
        cmocka_unit_test_setup_teardown(blocks_do_not_overlap, begin, end),
        cmocka_unit_test_setup_teardown(what_is_too_large_or_too_much_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(an_empty_page_serves_any_size_again, begin, end),
        cmocka_unit_test_setup_teardown(putting_back_nothing_is_allowed, begin, end),
        cmocka_unit_test(less_than_a_page_is_no_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
