#include "bridge/core.h"

#include <assert.h>

/* Every message is counted in four places: over all, for its class, for its link,
 * and for its client. Of a message from a sensor the link is the one it came in by;
 * of a message to a sensor it is the one that the sensor is on, so what waits moves
 * with the sensor. */

static void add(struct bridge_account *a, const struct bridge_account *d)
{
    a->accepted += d->accepted;
    a->delivered += d->delivered;
    a->expired += d->expired;
    a->dropped += d->dropped;
    a->queued += d->queued;
}

/* Where the account of a link is, by the number that rows have. */
static size_t by_number(const struct bridge *b, uint8_t number)
{
    for (size_t i = 0; number != 0 && i < b->config->link_count; i++)
        if (b->links[i].number == number)
            return i;
    return BRIDGE_LINKS_MAX;
}

static size_t by_index(uint16_t link)
{
    return link < BRIDGE_LINKS_MAX ? link : BRIDGE_LINKS_MAX;
}

uint16_t account_link(const struct bridge *b, uint8_t number)
{
    const size_t i = by_number(b, number);
    return i == BRIDGE_LINKS_MAX ? UINT16_MAX : (uint16_t)i;
}

static uint8_t in_range(uint8_t class)
{
    return class < BRIDGE_CLASSES_MAX ? class : 0;
}

/* At the end everything that is to be known is written. */
static void changed(struct bridge *b, struct session *s)
{
    s->account_changed = true;
    if (b->stopping && s->on_disk)
        save_session(b, s, true);
}

void account_up(struct bridge *b, uint32_t session, uint8_t class, uint8_t link,
                struct bridge_account change)
{
    struct session *s = session == 0 ? NULL : clients_find_number(b, session);
    add(&b->status.up, &change);
    add(&b->status.classes[in_range(class)].up, &change);
    add(&b->status.links[by_number(b, link)].up, &change);
    if (s == NULL)
        return;
    add(&s->account.up, &change);
    changed(b, s);
}

void account_down(struct bridge *b, struct session *s, uint8_t class, struct bridge_account change)
{
    add(&b->status.down, &change);
    add(&b->status.classes[in_range(class)].down, &change);
    add(&b->status.links[by_index(s->link)].down, &change);
    add(&s->account.down, &change);
    s->class_queued[in_range(class)] += (uint32_t)change.queued;
    changed(b, s);
}

void account_moved(struct bridge *b, const struct session *s, uint16_t from, uint16_t to)
{
    const uint64_t count = s->account.down.queued;
    const struct bridge_account comes = {.accepted = count, .queued = count};
    const struct bridge_account goes = {.accepted = 0 - count, .queued = 0 - count};
    add(&b->status.links[by_index(from)].down, &goes);
    add(&b->status.links[by_index(to)].down, &comes);
}

/* ---- messages that are not on the disk any more -------------------------------- */

/* A queue has what its priority says; others are in it only from before a change of classes. */
void account_missing_down(struct bridge *b, struct session *s, struct queue *q)
{
    uint32_t lost[BRIDGE_CLASSES_MAX];
    memcpy(lost, s->class_queued, sizeof(lost));
    for (const struct tier *t = s->tiers; t != NULL; t = t->next)
        for (const struct message *m = t->queue.head; m != NULL; m = m->next)
            lost[in_range(m->class)]--;
    q->bytes = 0;
    for (const struct message *m = q->head; m != NULL; m = m->next)
        q->bytes += m->len;
    uint64_t left = q->on_disk;
    for (uint8_t i = 0; i < 2 * BRIDGE_CLASSES_MAX; i++) {
        const uint8_t class = i % BRIDGE_CLASSES_MAX;
        const bool others = i >= BRIDGE_CLASSES_MAX;
        if ((tiers_id(b, s, class) != q->id) != others)
            continue;
        const uint64_t n = lost[class] < left ? lost[class] : left;
        account_down(b, s, class, (struct bridge_account){.dropped = n, .queued = 0 - n});
        left -= n;
    }
    assert(left == 0);
}

/* Of which class, link and client they were is known when nothing else waits on
 * disk only: all that is counted beyond what is in memory. */
void account_missing_up(struct bridge *b, uint64_t count)
{
    add(&b->status.up, &(struct bridge_account){.dropped = count, .queued = 0 - count});
    b->missing_up += count;
}

void account_bytes(struct bridge *b, uint8_t class, uint64_t change)
{
    b->up_bytes += change;
    b->class_bytes[in_range(class)] += change;
}

static void give_up(struct bridge_account *a, uint64_t found)
{
    assert(a->queued >= found);
    a->dropped += a->queued - found;
    a->queued = found;
}

static void sum_disk(struct bridge *b, struct upstream *u, void *ctx)
{
    (void)b;
    for (const struct lane *l = u->lanes; l != NULL; l = l->next)
        *(uint64_t *)ctx += l->queue.on_disk;
}

struct found {
    uint64_t classes[BRIDGE_CLASSES_MAX];
    uint64_t bytes[BRIDGE_CLASSES_MAX];
    uint64_t links[BRIDGE_LINKS_MAX + 1];
};

static void sum_memory(struct bridge *b, struct upstream *u, void *ctx)
{
    struct found *found = ctx;
    for (const struct lane *l = u->lanes; l != NULL; l = l->next) {
        for (const struct message *m = l->queue.head; m != NULL; m = m->next) {
            struct session *s = m->session == 0 ? NULL : clients_find_number(b, m->session);
            found->classes[in_range(m->class)]++;
            found->bytes[in_range(m->class)] += m->len;
            found->links[by_number(b, m->link)]++;
            if (s != NULL)
                s->found++;
        }
    }
}

void account_mend(struct bridge *b)
{
    uint64_t on_disk = 0;
    struct found found = {0};
    if (b->missing_up == 0)
        return;
    upstream_each(b, sum_disk, &on_disk);
    if (on_disk > 0)
        return;
    b->missing_up = 0;
    upstream_each(b, sum_memory, &found);
    for (size_t i = 0; i < BRIDGE_CLASSES_MAX; i++)
        give_up(&b->status.classes[i].up, found.classes[i]);
    memcpy(b->class_bytes, found.bytes, sizeof(b->class_bytes));
    for (size_t i = 0; i <= BRIDGE_LINKS_MAX; i++)
        give_up(&b->status.links[i].up, found.links[i]);
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++)
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next) {
            struct session *s = TABLE_ENTRY(l, struct session, by_number);
            give_up(&s->account.up, s->found);
            s->found = 0;
        }
}

/* ---- after a restart --------------------------------------------------------------- */

/* The account is written now and then, the queues at once: what was accepted and
 * delivered in between is counted here as accepted, so that it adds up. */
static void balance(struct bridge_accounts *a)
{
    a->up.accepted = a->up.delivered + a->up.expired + a->up.dropped + a->up.queued;
    a->down.accepted = a->down.delivered + a->down.expired + a->down.dropped + a->down.queued;
}

void account_balance(struct bridge *b)
{
    struct bridge_accounts all = {.up = b->status.up, .down = b->status.down};
    balance(&all);
    b->status.up = all.up;
    b->status.down = all.down;
    for (size_t i = 0; i < BRIDGE_CLASSES_MAX; i++)
        balance(&b->status.classes[i]);
    for (size_t i = 0; i <= BRIDGE_LINKS_MAX; i++)
        balance(&b->status.links[i]);
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++)
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next)
            balance(&TABLE_ENTRY(l, struct session, by_number)->account);
}
