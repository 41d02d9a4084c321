/* Memory of the core: blocks of any size out of one region of fixed size.
 *
 * The region is cut into pages; a page serves blocks of one size class and
 * goes back to the common stock when its last block does, so that no mixture
 * of sizes can starve another for ever. Taking and putting back are O(1) and
 * call nobody. Pages that were never used are never touched: with memory from
 * mmap() the region costs what is in use.
 */
#ifndef BRIDGE_ARENA_H
#define BRIDGE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_PAGE      ((size_t)128 * 1024)
#define ARENA_BLOCK_MAX ((size_t)96 * 1024) /* larger than any message with its topic */
#define ARENA_CLASSES   24

struct arena_page;

struct arena {
    uint8_t *base;
    struct arena_page *pages;
    uint32_t page_count;
    uint32_t fresh;                            /* pages from here on were never used */
    struct arena_page *stock;                  /* empty pages that were */
    struct arena_page *partial[ARENA_CLASSES]; /* pages with a free block */
    size_t used;                               /* octets in blocks given out */
    bool closed; /* nothing is given out: how a test runs out of memory */
};

/* Makes an arena of the size octets at memory, which must be zeroed and aligned
 * for any object; returns false when not one page fits. */
bool arena_init(struct arena *a, void *memory, size_t size);

/* A zeroed block of at least size octets, aligned for any object. NULL when
 * size is above ARENA_BLOCK_MAX or no page is left. */
void *arena_take(struct arena *a, size_t size);

/* Gives a block back. NULL is allowed. */
void arena_put(struct arena *a, void *block);

/* Octets that are taken, and that could still be taken in whole pages. */
size_t arena_used(const struct arena *a);
size_t arena_left(const struct arena *a);

/* What a block of size octets takes. */
size_t arena_block(size_t size);

/* Asserts that pages, lists and counts agree. Slow; for bridge_check(). */
void arena_check(const struct arena *a);

#endif
