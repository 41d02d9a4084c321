/* A hash table of links that live inside the things it holds.
 *
 * The number of buckets is fixed when it is made, from the configured limits,
 * so that adding never allocates and never stops to rehash. Removing needs the
 * link only. The table does not compare keys: walk the links of a hash with
 * table_first() and table_next() and compare there.
 */
#ifndef BRIDGE_TABLE_H
#define BRIDGE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table_link {
    struct table_link *next;
    struct table_link **from; /* what points here; NULL while in no table */
    uint32_t hash;
};

struct table {
    struct table_link **buckets;
    uint32_t mask;
};

/* How much memory a table for about count things needs. */
size_t table_size(uint32_t count);

/* Makes an empty table in zeroed memory of table_size(count). */
void table_init(struct table *t, void *memory, uint32_t count);

void table_add(struct table *t, struct table_link *link, uint32_t hash);
void table_remove(struct table_link *link); /* allowed when in no table */

/* The links with just this hash, in no particular order. */
struct table_link *table_first(const struct table *t, uint32_t hash);
struct table_link *table_next(const struct table_link *link);

/* A hash of octets that an outsider who does not know seed cannot steer; pass
 * a hash as seed to combine several. */
uint32_t table_hash(uint64_t seed, const void *data, size_t len);

#define TABLE_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

#endif
