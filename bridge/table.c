#include "bridge/table.h"

#include <string.h>

static uint32_t bucket_count(uint32_t count)
{
    uint32_t buckets = 16;
    while (buckets < count && buckets < 1u << 30)
        buckets *= 2;
    return buckets;
}

size_t table_size(uint32_t count)
{
    return sizeof(struct table_link *) * bucket_count(count);
}

void table_init(struct table *t, void *memory, uint32_t count)
{
    t->buckets = memory;
    t->mask = bucket_count(count) - 1;
}

void table_add(struct table *t, struct table_link *link, uint32_t hash)
{
    struct table_link **head = &t->buckets[hash & t->mask];
    link->hash = hash;
    link->next = *head;
    link->from = head;
    if (link->next != NULL)
        link->next->from = &link->next;
    *head = link;
}

void table_remove(struct table_link *link)
{
    if (link->from == NULL)
        return;
    *link->from = link->next;
    if (link->next != NULL)
        link->next->from = link->from;
    link->next = NULL;
    link->from = NULL;
}

static struct table_link *with_hash(struct table_link *link, uint32_t hash)
{
    while (link != NULL && link->hash != hash)
        link = link->next;
    return link;
}

struct table_link *table_first(const struct table *t, uint32_t hash)
{
    return with_hash(t->buckets[hash & t->mask], hash);
}

struct table_link *table_next(const struct table_link *link)
{
    return with_hash(link->next, link->hash);
}

/* SipHash-1-3 (Aumasson and Bernstein): sensors choose client ids and topic
 * names, so the hash must not be theirs to choose. */
struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

uint32_t table_hash(uint64_t seed, const void *data, size_t len)
{
    struct sip s = {
        .v0 = seed ^ 0x736f6d6570736575u,
        .v1 = 0x646f72616e646f6du,
        .v2 = seed ^ 0x6c7967656e657261u,
        .v3 = 0x7465646279746573u,
    };
    const uint8_t *at = data;
    uint64_t last = (uint64_t)len << 56;
    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word = 0;
        for (unsigned i = 0; i < 8; i++)
            word |= (uint64_t)at[i] << 8 * i;
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }
    for (unsigned i = 0; i < len; i++)
        last |= (uint64_t)at[i] << 8 * i;
    s.v3 ^= last;
    sip_round(&s);
    s.v0 ^= last;
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&s);
    const uint64_t h = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    return (uint32_t)(h ^ h >> 32);
}
