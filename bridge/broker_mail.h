/* A mailbox between threads: items of one size, and octets beside them.
 *
 * One side adds, the other reads what was added in the same order. A mailbox
 * has no lock: the owner holds his own while adding and while swapping a full
 * mailbox for an empty one, and reads without it. Octets are named by their
 * offset, because they move while the mailbox grows; broker_mail_at() gives
 * the address, which stays until something is added or the mailbox is cleared.
 *
 * A mailbox grows as needed and never refuses: whoever adds keeps the limits.
 * Zeroed memory with item_size set is an empty mailbox.
 */
#ifndef BRIDGE_BROKER_MAIL_H
#define BRIDGE_BROKER_MAIL_H

#include "mqttsn/bytes.h"

struct broker_mail {
    size_t item_size;
    uint8_t *items;
    size_t count;
    size_t capacity;
    uint8_t *octets;
    size_t len;
    size_t size;
    size_t next; /* index of the item that is read next */
};

/* A zeroed item at the end. Valid until the next one is added. */
void *broker_mail_add(struct broker_mail *m);

/* Copies octets and a zero behind them; returns their offset. */
size_t broker_mail_keep(struct broker_mail *m, struct sn_bytes octets);

/* The next item, or NULL when all have been read. */
void *broker_mail_next(struct broker_mail *m);

/* The i-th of the items that have not been read, or NULL. */
void *broker_mail_peek(struct broker_mail *m, size_t i);

/* How many items have not been read. */
size_t broker_mail_left(const struct broker_mail *m);

const uint8_t *broker_mail_at(const struct broker_mail *m, size_t offset);

void broker_mail_swap(struct broker_mail *a, struct broker_mail *b);

/* Empties it. Gives memory back that a burst left behind. */
void broker_mail_clear(struct broker_mail *m);

void broker_mail_free(struct broker_mail *m);

#endif
