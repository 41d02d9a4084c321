#include "bridge/core.h"

/* What waits for a sensor is given to it by the priority of its class, and beyond the first few
 * of a queue only the disk knows what is in it. So each priority has a queue: that of class 0
 * lies in the session, and another one takes memory while there is something in it.
 *
 * A topic has one class, so its messages are in one queue and in order. It is not so with
 * rows from before classes were changed, or from when one queue had all: as long as there are
 * such, what waits goes in the order in which it came, whatever queue it is in. */

#define TIER_OF(id) ((id) / BRIDGE_TIER) /* 0: that of class 0; else the priority + 1 */

static uint8_t priority_of(const struct bridge *b, uint32_t id)
{
    return TIER_OF(id) == 0 ? classes_at(b->config, 0)->priority : (uint8_t)(TIER_OF(id) - 1);
}

void tiers_open(struct session *s)
{
    s->usual.queue.id = s->number;
    s->tiers = &s->usual;
}

uint32_t tiers_id(const struct bridge *b, const struct session *s, uint8_t class)
{
    const uint8_t priority = classes_at(b->config, class)->priority;
    return priority == priority_of(b, s->number) ? s->number
                                                 : s->number + (priority + 1u) * BRIDGE_TIER;
}

struct queue *tiers_find(const struct session *s, uint32_t id)
{
    struct tier *t = s->tiers;
    while (t != NULL && t->queue.id != id)
        t = t->next;
    return t == NULL ? NULL : &t->queue;
}

struct queue *tiers_take(struct bridge *b, struct session *s, uint32_t id)
{
    struct queue *q = tiers_find(s, id);
    struct tier *t = q != NULL || bridge_queue_is_up(id) || TIER_OF(id) >= BRIDGE_TIERS
                         ? NULL
                         : arena_take(&b->arena, sizeof(*t));
    if (t == NULL)
        return q;
    struct tier **at = &s->tiers;
    while (*at != NULL && priority_of(b, (*at)->queue.id) < priority_of(b, id))
        at = &(*at)->next;
    t->queue.id = id;
    t->next = *at;
    *at = t;
    return &t->queue;
}

static void put(struct bridge *b, struct session *s, bool all)
{
    for (struct tier **at = &s->tiers, *t; (t = *at) != NULL;) {
        if (t == &s->usual || (!all && (queue_count(&t->queue) > 0 || t->queue.fetching))) {
            at = &t->next;
        } else {
            *at = t->next;
            arena_put(&b->arena, t);
        }
    }
}

void tiers_trim(struct bridge *b, struct session *s)
{
    put(b, s, false);
}

void tiers_clear(struct bridge *b, struct session *s)
{
    for (struct tier *t = s->tiers; t != NULL; t = t->next) {
        t->queue.bytes = 0;
        queue_clear(b, &t->queue);
    }
    put(b, s, false);
}

void tiers_close(struct bridge *b, struct session *s)
{
    put(b, s, true);
}

uint64_t tiers_count(const struct session *s)
{
    uint64_t count = 0;
    for (const struct tier *t = s->tiers; t != NULL; t = t->next)
        count += queue_count(&t->queue);
    return count;
}

uint64_t tiers_bytes(const struct session *s)
{
    uint64_t bytes = 0;
    for (const struct tier *t = s->tiers; t != NULL; t = t->next)
        bytes += t->queue.bytes;
    return bytes;
}

uint64_t tiers_oldest_ms(const struct session *s)
{
    uint64_t oldest_ms = 0;
    for (const struct tier *t = s->tiers; t != NULL; t = t->next) {
        const struct message *m = t->queue.head;
        if (m != NULL && (oldest_ms == 0 || m->received_ms < oldest_ms))
            oldest_ms = m->received_ms;
    }
    return oldest_ms;
}

bool tiers_are_fetching(const struct session *s)
{
    const struct tier *t = s->tiers;
    while (t != NULL && !t->queue.fetching)
        t = t->next;
    return t != NULL;
}

uint64_t tiers_starved_until_ms(const struct session *s)
{
    uint64_t first = SN_NEVER;
    for (const struct tier *t = s->tiers; t != NULL; t = t->next)
        if (t->queue.starved_until_ms != 0 && t->queue.starved_until_ms < first)
            first = t->queue.starved_until_ms;
    return first;
}

void tiers_feed(const struct bridge *b, struct session *s)
{
    for (struct tier *t = s->tiers; t != NULL; t = t->next)
        if (t->queue.starved_until_ms <= b->now_ms)
            t->queue.starved_until_ms = 0;
}

/* ---- after a restart --------------------------------------------------------------- */

void tiers_restore(const struct bridge *b, struct session *s, const struct bridge_event *event)
{
    if (event->waiting.queue != tiers_id(b, s, event->waiting.class) &&
        event->waiting.seq > s->mixed_until)
        s->mixed_until = event->waiting.seq;
}

bool tiers_resume(struct session *s)
{
    for (struct tier *t = s->tiers; t != NULL; t = t->next)
        t->queue.resuming = queue_count(&t->queue) > 0;
    return tiers_count(s) > 0;
}

/* ---- which goes next ----------------------------------------------------------------- */

/* Of its first message; of one on disk only it may be less. */
static uint64_t first_seq(const struct queue *q)
{
    const uint64_t in_memory = q->head == NULL ? UINT64_MAX : q->head->seq;
    return q->on_disk > 0 && q->disk_from < in_memory ? q->disk_from : in_memory;
}

/* The queue with what came first, while rows are mixed; NULL: they are not. */
static struct queue *mixed(const struct session *s)
{
    struct tier *first = s->tiers;
    for (struct tier *t = first->next; t != NULL; t = t->next)
        if (first_seq(&t->queue) < first_seq(&first->queue))
            first = t;
    return first_seq(&first->queue) <= s->mixed_until ? &first->queue : NULL;
}

static struct message *find_released(const struct session *s)
{
    for (const struct tier *t = s->tiers; t != NULL; t = t->next)
        for (struct message *m = t->queue.head; m != NULL; m = m->next)
            if (m->flags & BRIDGE_FLAG_RELEASED)
                return m;
    return NULL;
}

/* The first of any queue may have begun before a restart. */
static bool fetches_begun(struct bridge *b, struct session *s)
{
    bool fetches = false;
    for (struct tier *t = s->tiers; t != NULL; t = t->next)
        fetches |= t->queue.resuming && queue_front(b, &t->queue) == NULL && t->queue.fetching;
    return fetches;
}

struct message *tiers_next(struct bridge *b, struct session *s)
{
    if (fetches_begun(b, s))
        return NULL;
    struct message *m = find_released(s);
    struct queue *oldest = mixed(s);
    if (m != NULL || oldest != NULL)
        return m != NULL ? m : queue_front(b, oldest);
    for (struct tier *t = s->tiers; t != NULL; t = t->next)
        if ((m = queue_front(b, &t->queue)) != NULL || t->queue.fetching)
            return m;
    return NULL;
}

uint8_t tiers_priority(const struct bridge *b, const struct session *s)
{
    const struct queue *q = mixed(s);
    const struct tier *t = s->tiers;
    while (q == NULL && t != NULL && queue_count(&t->queue) == 0)
        t = t->next;
    if (q == NULL)
        q = t == NULL ? &s->usual.queue : &t->queue;
    return q->head == NULL ? priority_of(b, q->id)
                           : classes_at(b->config, q->head->class)->priority;
}
