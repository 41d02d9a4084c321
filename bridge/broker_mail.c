#include "bridge/broker_mail.h"

#include <assert.h>
#include <stdlib.h>

#define KEEP_OCTETS (1024u * 1024u) /* a larger mailbox is given back once it is empty */

/* Running out of memory here would lose an acknowledgement in silence; ending
 * the process instead leaves everything to the store. */
static void *grow(void *memory, size_t *size, size_t needed, size_t unit)
{
    size_t bigger = *size == 0 ? 64 : *size;
    while (bigger < needed)
        bigger *= 2;
    memory = realloc(memory, bigger * unit);
    assert(memory != NULL);
    *size = bigger;
    return memory;
}

void *broker_mail_add(struct broker_mail *m)
{
    if (m->count == m->capacity)
        m->items = grow(m->items, &m->capacity, m->count + 1, m->item_size);
    void *item = m->items + m->count * m->item_size;
    m->count++;
    memset(item, 0, m->item_size);
    return item;
}

size_t broker_mail_keep(struct broker_mail *m, struct sn_bytes octets)
{
    const size_t at = m->len;
    if (m->size - m->len < octets.len + 1)
        m->octets = grow(m->octets, &m->size, m->len + octets.len + 1, 1);
    if (octets.len > 0)
        memcpy(m->octets + at, octets.data, octets.len);
    m->octets[at + octets.len] = 0;
    m->len += octets.len + 1;
    return at;
}

void *broker_mail_next(struct broker_mail *m)
{
    if (m->next == m->count)
        return NULL;
    return m->items + m->next++ * m->item_size;
}

void *broker_mail_peek(struct broker_mail *m, size_t i)
{
    return i < m->count - m->next ? m->items + (m->next + i) * m->item_size : NULL;
}

size_t broker_mail_left(const struct broker_mail *m)
{
    return m->count - m->next;
}

const uint8_t *broker_mail_at(const struct broker_mail *m, size_t offset)
{
    return m->octets + offset;
}

void broker_mail_swap(struct broker_mail *a, struct broker_mail *b)
{
    const struct broker_mail kept = *a;
    *a = *b;
    *b = kept;
}

void broker_mail_clear(struct broker_mail *m)
{
    m->count = 0;
    m->next = 0;
    m->len = 0;
    if (m->size + m->capacity * m->item_size > KEEP_OCTETS)
        broker_mail_free(m);
}

void broker_mail_free(struct broker_mail *m)
{
    free(m->items);
    free(m->octets);
    *m = (struct broker_mail){.item_size = m->item_size};
}
