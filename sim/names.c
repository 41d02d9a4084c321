#include "sim/names.h"

#include "bridge/table.h"
#include "sim/world.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 64u

/* Where the name is, or where it would be. */
static uint32_t place(const struct sim_names *n, const char *name)
{
    uint32_t at = table_hash(0, name, strlen(name)) & (n->slots - 1);
    while (n->slot[at] != 0 && strcmp(n->name[n->slot[at] - 1], name) != 0)
        at = (at + 1) & (n->slots - 1);
    return at;
}

static void grow(struct sim_names *n)
{
    n->slots = n->slots == 0 ? SLOTS_FIRST : 2 * n->slots;
    free(n->slot);
    n->slot = sim_memory(n->slots * sizeof n->slot[0]);
    n->name = sim_more_memory(n->name, n->slots / 2 * sizeof n->name[0]);
    for (uint32_t i = 0; i < n->count; i++)
        n->slot[place(n, n->name[i])] = i + 1;
}

uint32_t sim_names_number(struct sim_names *n, const char *name)
{
    if (n->slots == 0)
        grow(n);
    uint32_t at = place(n, name);
    if (n->slot[at] != 0)
        return n->slot[at] - 1;
    if (n->count == n->slots / 2) {
        grow(n);
        at = place(n, name);
    }
    n->name[n->count] = name;
    n->slot[at] = ++n->count;
    return n->count - 1;
}

uint32_t sim_names_find(const struct sim_names *n, const char *name)
{
    const uint32_t at = n->slots == 0 ? 0 : place(n, name);
    return n->slots == 0 || n->slot[at] == 0 ? SIM_NAMES_NONE : n->slot[at] - 1;
}

void sim_names_close(struct sim_names *n)
{
    free(n->name);
    free(n->slot);
    *n = (struct sim_names){0};
}
