#include "bridge/core.h"

#include <assert.h>

#include "mqttsn/topic.h"

/* Subscription identifiers have 28 bits, and 0 is none. */
#define ROUND_BITS  8
#define NUMBER_MASK 0xFFFFEu /* even: the largest id stays below 2^28 */

/* The tree has a node per level of every filter. Children with a name are found
 * through one table for the whole tree, keyed by parent and level; the two
 * wildcards have a place of their own in the node. */

static uint32_t child_hash(const struct bridge *b, const struct filter *parent,
                           struct sn_bytes level)
{
    const uintptr_t p = (uintptr_t)parent;
    return table_hash(b->config->seed ^ p, level.data, level.len);
}

static bool is(struct sn_bytes level, char c)
{
    return level.len == 1 && level.data[0] == (uint8_t)c;
}

static struct filter *child(const struct bridge *b, const struct filter *parent,
                            struct sn_bytes level)
{
    for (struct table_link *l = table_first(&b->filters, child_hash(b, parent, level)); l != NULL;
         l = table_next(l)) {
        struct filter *f = TABLE_ENTRY(l, struct filter, link);
        if (f->parent == parent && sn_bytes_equal(name_bytes(f->level), level))
            return f;
    }
    return NULL;
}

static struct filter *step(const struct bridge *b, const struct filter *parent,
                           struct sn_bytes level)
{
    if (is(level, '+'))
        return parent->plus;
    if (is(level, '#'))
        return parent->hash;
    return child(b, parent, level);
}

static struct filter *add_child(struct bridge *b, struct filter *parent, struct sn_bytes level)
{
    struct filter *f = arena_take(&b->arena, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->level = name_take(b, level);
    if (f->level == NULL) {
        arena_put(&b->arena, f);
        return NULL;
    }
    f->upstream = parent->upstream;
    f->parent = parent;
    parent->children++;
    if (is(level, '+'))
        parent->plus = f;
    else if (is(level, '#'))
        parent->hash = f;
    else
        table_add(&b->filters, &f->link, child_hash(b, parent, level));
    f->all_next = f->upstream->filters_first;
    if (f->all_next != NULL)
        f->all_next->all_prev = f;
    f->upstream->filters_first = f;
    return f;
}

struct filter *filter_find(const struct bridge *b, const struct upstream *u, struct sn_bytes text)
{
    const struct filter *f = &u->root;
    struct sn_bytes level;
    bool more = true;
    while (f != NULL && sn_topic_next_level(&text, &more, &level))
        f = step(b, f, level);
    /* The tree is the bridge's own and not constant; only this path to it is. */
    return f == &u->root || f == NULL ? NULL : (struct filter *)(uintptr_t)f;
}

struct filter *filter_take(struct bridge *b, struct upstream *u, struct name *text)
{
    struct sn_bytes rest = name_bytes(text);
    struct filter *f = &u->root;
    struct sn_bytes level;
    bool more = true;
    while (sn_topic_next_level(&rest, &more, &level)) {
        struct filter *next = step(b, f, level);
        if (next == NULL && (next = add_child(b, f, level)) == NULL) {
            filter_trim(b, f);
            return NULL;
        }
        f = next;
    }
    if (f->name == NULL) {
        f->name = name_share(text);
        f->number = table_hash(0, text->text, text->len) & NUMBER_MASK;
        table_add(&b->filters_by_number, &f->by_number, f->number);
    }
    return f;
}

uint32_t filter_id(const struct filter *f)
{
    return (f->number << ROUND_BITS | f->round) + 1; /* 0 is no identifier */
}

struct filter *filter_with_id(const struct bridge *b, const struct upstream *u, uint32_t id,
                              const struct filter *after)
{
    const uint32_t number = (id - 1) >> ROUND_BITS;
    struct table_link *l =
        after == NULL ? table_first(&b->filters_by_number, number) : table_next(&after->by_number);
    while (l != NULL && TABLE_ENTRY(l, struct filter, by_number)->upstream != u)
        l = table_next(l);
    return l == NULL ? NULL : TABLE_ENTRY(l, struct filter, by_number);
}

static bool is_needed(const struct filter *f)
{
    return f->children > 0 || f->subscriptions != NULL || f->waiting != NULL || f->in_sync ||
           f->state != FILTER_UNKNOWN;
}

void filter_trim(struct bridge *b, struct filter *f)
{
    while (f->parent != NULL && !is_needed(f)) {
        struct filter *parent = f->parent;
        if (parent->plus == f)
            parent->plus = NULL;
        else if (parent->hash == f)
            parent->hash = NULL;
        else
            table_remove(&f->link);
        table_remove(&f->by_request);
        table_remove(&f->by_number);
        if (f->all_prev != NULL)
            f->all_prev->all_next = f->all_next;
        else
            f->upstream->filters_first = f->all_next;
        if (f->all_next != NULL)
            f->all_next->all_prev = f->all_prev;
        parent->children--;
        suspect_clear(f->upstream, &f->suspicion);
        name_put(b, f->name);
        name_put(b, f->level);
        arena_put(&b->arena, f);
        f = parent;
    }
}

/* No filter is deeper than BRIDGE_LEVELS_MAX, but for one of an older version's that is
 * about to end (subscribe_resume()): that keeps the stack small whatever comes. */
static void match(struct bridge *b, struct filter *f, struct sn_bytes rest, bool more,
                  bool wildcards, unsigned depth, filter_node_fn *fn, void *ctx)
{
    struct sn_bytes level;
    if (wildcards && f->hash != NULL)
        fn(ctx, f->hash); /* "#" also stands for no level at all */
    if (!sn_topic_next_level(&rest, &more, &level)) {
        fn(ctx, f);
        return;
    }
    if (depth == BRIDGE_LEVELS_MAX)
        return;
    if (wildcards && f->plus != NULL)
        match(b, f->plus, rest, more, true, depth + 1, fn, ctx);
    struct filter *next = child(b, f, level);
    if (next != NULL)
        match(b, next, rest, more, true, depth + 1, fn, ctx);
}

void filter_each(struct bridge *b, struct upstream *u, struct sn_bytes name, filter_node_fn *fn,
                 void *ctx)
{
    /* MQTT 3.1.1, 4.7.2: a wildcard at the front does not match "$...". */
    const bool wildcards = name.len > 0 && name.data[0] != '$';
    match(b, &u->root, name, true, wildcards, 0, fn, ctx);
}

struct taker {
    filter_fn *fn;
    void *ctx;
};

static void give(void *ctx, struct filter *f)
{
    const struct taker *t = ctx;
    for (struct subscription *s = f->subscriptions, *next; s != NULL; s = next) {
        next = s->node_next;
        t->fn(t->ctx, s);
    }
}

void filter_match(struct bridge *b, struct upstream *u, struct sn_bytes name, filter_fn *fn,
                  void *ctx)
{
    filter_each(b, u, name, give, &(struct taker){.fn = fn, .ctx = ctx});
}
