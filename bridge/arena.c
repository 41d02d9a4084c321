#include "bridge/arena.h"

#include <assert.h>
#include <string.h>

struct arena_block {
    struct arena_block *next;
};

struct arena_page {
    struct arena_page *next; /* in stock or in partial */
    struct arena_page *prev;
    struct arena_block *free;
    uint32_t block; /* size of its blocks */
    uint32_t fresh; /* blocks from here on were never given out */
    uint32_t taken; /* blocks in use */
    uint32_t class;
};

static const uint32_t class_size[ARENA_CLASSES] = {
    32,  48,   64,   96,   128,  160,  192,  256,  320,   384,   512,   640,
    768, 1024, 1280, 1536, 2048, 3072, 4096, 8192, 16384, 32768, 65536, ARENA_BLOCK_MAX,
};

static uint32_t class_of(size_t size)
{
    uint32_t class = 0;
    while (class_size[class] < size)
        class ++;
    return class;
}

static void unlink_page(struct arena_page **list, struct arena_page *p)
{
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        *list = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    p->next = p->prev = NULL;
}

static void push_page(struct arena_page **list, struct arena_page *p)
{
    p->prev = NULL;
    p->next = *list;
    if (*list != NULL)
        (*list)->prev = p;
    *list = p;
}

static uint32_t blocks_in(const struct arena_page *p)
{
    return (uint32_t)(ARENA_PAGE / p->block);
}

bool arena_init(struct arena *a, void *memory, size_t size)
{
    memset(a, 0, sizeof(*a));
    const size_t count = size / (ARENA_PAGE + sizeof(struct arena_page) + 1);
    if (count == 0 || count > UINT32_MAX)
        return false;
    a->base = memory;
    a->pages = (struct arena_page *)(void *)(a->base + count * ARENA_PAGE);
    a->page_count = (uint32_t)count;
    return true;
}

static struct arena_page *new_page(struct arena *a, uint32_t class)
{
    struct arena_page *p = a->stock;
    if (p != NULL)
        unlink_page(&a->stock, p);
    else if (a->fresh < a->page_count)
        p = &a->pages[a->fresh++];
    else
        return NULL;
    *p = (struct arena_page){.block = class_size[class], .class = class};
    push_page(&a->partial[class], p);
    return p;
}

void *arena_take(struct arena *a, size_t size)
{
    if (size > ARENA_BLOCK_MAX || a->closed)
        return NULL;
    const uint32_t class = class_of(size);
    struct arena_page *p = a->partial[class];
    if (p == NULL && (p = new_page(a, class)) == NULL)
        return NULL;

    uint8_t *block;
    if (p->free != NULL) {
        block = (uint8_t *)p->free;
        p->free = p->free->next;
    } else {
        block = a->base + (size_t)(p - a->pages) * ARENA_PAGE + (size_t)p->fresh++ * p->block;
    }
    p->taken++;
    if (p->taken == blocks_in(p))
        unlink_page(&a->partial[class], p);
    a->used += p->block;
    memset(block, 0, size);
    return block;
}

void arena_put(struct arena *a, void *block)
{
    if (block == NULL)
        return;
    const size_t at = (size_t)((uint8_t *)block - a->base);
    assert((uint8_t *)block >= a->base && at / ARENA_PAGE < a->fresh);
    struct arena_page *p = &a->pages[at / ARENA_PAGE];
    assert(p->taken > 0 && at % ARENA_PAGE % p->block == 0);

    if (p->taken == blocks_in(p))
        push_page(&a->partial[p->class], p);
    struct arena_block *free = block;
    free->next = p->free;
    p->free = free;
    p->taken--;
    a->used -= p->block;
    if (p->taken == 0) {
        unlink_page(&a->partial[p->class], p);
        push_page(&a->stock, p);
    }
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}

size_t arena_left(const struct arena *a)
{
    size_t left = (size_t)(a->page_count - a->fresh) * ARENA_PAGE;
    for (const struct arena_page *p = a->stock; p != NULL; p = p->next)
        left += ARENA_PAGE;
    return left;
}

size_t arena_block(size_t size)
{
    assert(size <= ARENA_BLOCK_MAX);
    return class_size[class_of(size)];
}

static bool is_listed(const struct arena_page *list, const struct arena_page *p)
{
    while (list != NULL && list != p)
        list = list->next;
    return list != NULL;
}

void arena_check(const struct arena *a)
{
    size_t used = 0;
    for (uint32_t i = 0; i < a->fresh; i++) {
        const struct arena_page *p = &a->pages[i];
        const bool is_partial = p->taken > 0 && p->taken < blocks_in(p);
        uint32_t free = 0;
        for (const struct arena_block *block = p->free; block != NULL; block = block->next)
            free++;
        assert(p->fresh <= blocks_in(p) && p->taken + free == p->fresh);
        assert(is_listed(a->partial[p->class], p) == is_partial);
        assert(is_listed(a->stock, p) == (p->taken == 0));
        used += (size_t)p->taken * p->block;
    }
    assert(used == a->used);
}
