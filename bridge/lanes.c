#include "bridge/core.h"

#include <assert.h>

/* The shared connection has two queues for each class: the live lane and the
 * backlog. What comes while the broker is there goes to the live lane, so that
 * it need not wait behind a million others, unless an older message of its topic
 * still waits in the backlog: order is kept per topic, and a name counts what
 * waits of it there. A connection of one session's own has one queue only.
 *
 *   - Of one topic, everything in the live lane is older than everything in the
 *     backlog. So a message of the backlog waits for all of the live lane that
 *     are older than it; those came before the last outage.
 *   - Which class a topic's backlog is in may be decided by an older
 *     configuration. New messages follow it there until it is empty.
 *   - A name that was not counted for want of memory makes all new messages wait
 *     in the backlog until it is found there.
 *
 * A class with order = live has promised no order: its new messages go to the
 * live lane whatever waits. With drain = newest its backlog is read from the end;
 * what is in memory is then newer than what is not, but for what is under way. */

#define REFILL_COUNT    512u /* messages per FETCH */
#define REFILL_LOW      256u /* in memory and not under way, when more are asked for */
#define SHARE_WHOLE     100u
#define INFLIGHT0_MAX   2000 /* QoS 0 messages handed to the broker and not yet written */
#define CLASS_OF(queue) ((uint8_t)((queue)&0xFFu))

/* ---- the queues of a connection ---------------------------------------------- */

void lanes_init(struct bridge *b, struct upstream *u, struct queue *more)
{
    u->lanes = more;
    u->queue.newest = more != NULL && classes_at(b->config, 0)->newest;
    for (uint32_t i = 1; more != NULL && i < LANES_MAX; i++) {
        struct queue *q = &more[i - 1];
        q->class = (uint8_t)(i % BRIDGE_CLASSES_MAX);
        q->live = i >= BRIDGE_CLASSES_MAX;
        q->id = BRIDGE_QUEUE_LANES | (q->live ? BRIDGE_LANE_LIVE : 0) | q->class;
        q->newest = !q->live && classes_at(b->config, q->class)->newest;
    }
    /* Classes by priority, those of one priority in the order of the file. */
    uint8_t n = 0;
    for (uint8_t priority = 0; priority < BRIDGE_PRIORITIES; priority++)
        for (uint8_t i = 0; i < BRIDGE_CLASSES_MAX; i++)
            if (classes_at(b->config, i)->priority == priority)
                b->class_order[n++] = i;
    assert(n == BRIDGE_CLASSES_MAX);
}

static struct queue *lane(struct upstream *u, bool live, uint8_t class)
{
    const uint32_t i = class + (live ? BRIDGE_CLASSES_MAX : 0);
    return i == 0 || u->lanes == NULL ? &u->queue : &u->lanes[i - 1];
}

uint32_t lanes_count(const struct upstream *u)
{
    return u->lanes == NULL ? 1 : LANES_MAX;
}

struct queue *lanes_at(struct upstream *u, uint32_t i)
{
    return i == 0 ? &u->queue : &u->lanes[i - 1];
}

struct queue *lanes_find(struct upstream *u, uint32_t id)
{
    if (id < BRIDGE_QUEUE_LANES)
        return id == u->queue.id ? &u->queue : NULL;
    const bool known = u->lanes != NULL && CLASS_OF(id) < BRIDGE_CLASSES_MAX &&
                       (id & ~(BRIDGE_QUEUE_LANES | BRIDGE_LANE_LIVE | 0xFFu)) == 0;
    struct queue *q = known ? lane(u, (id & BRIDGE_LANE_LIVE) != 0, CLASS_OF(id)) : NULL;
    return q != NULL && q->id == id ? q : NULL;
}

/* ---- what waits, by topic ------------------------------------------------------- */

static bool is_tracked(const struct upstream *u, const struct queue *q)
{
    return u->lanes != NULL && !q->live;
}

static void track(const struct queue *q, struct name *name)
{
    if (name->waiting++ == 0) {
        name_share(name);
        name->waiting_class = q->class;
    }
}

void lanes_left(struct bridge *b, struct upstream *u, struct queue *q, struct name *name,
                uint64_t bytes)
{
    q->bytes -= bytes;
    u->waiting--;
    u->bytes -= bytes;
    if (q->live && q->restored > 0)
        q->restored--;
    if (!is_tracked(u, q))
        return;
    if (name == NULL || name->waiting == 0)
        u->untracked--;
    else if (--name->waiting == 0)
        name_put(b, name);
}

void lanes_entered(struct upstream *u, struct queue *q, struct name *name, uint64_t bytes)
{
    q->bytes += bytes;
    u->waiting++;
    u->bytes += bytes;
    if (is_tracked(u, q))
        track(q, name);
}

void lanes_restore(struct bridge *b, struct upstream *u, const struct bridge_event *event)
{
    struct queue *q = lanes_find(u, event->waiting.queue);
    sweep_expect(b, event->waiting.expires_ms);
    q->bytes += event->waiting.bytes;
    u->waiting++;
    u->bytes += event->waiting.bytes;
    q->restored += q->live;
    if (!is_tracked(u, q))
        return;
    struct name *name = name_take(b, event->waiting.topic);
    if (name == NULL) {
        u->untracked++;
        return;
    }
    track(q, name);
    name_put(b, name);
}

void lanes_missing(struct bridge *b, struct upstream *u, struct queue *q)
{
    uint64_t bytes = 0;
    for (const struct message *m = q->head; m != NULL; m = m->next)
        bytes += m->len;
    u->waiting -= q->on_disk;
    u->bytes -= q->bytes - bytes;
    b->up_bytes -= q->bytes - bytes;
    q->bytes = bytes;
    q->restored = 0;
    if (is_tracked(u, q))
        u->missing += q->on_disk;
}

/* Which topics the missing ones had is not known. When nothing waits on disk only,
 * all that is counted is in memory. */
void lanes_recount(struct bridge *b, struct upstream *u)
{
    for (uint32_t i = 0; i < lanes_count(u); i++)
        if (u->missing == 0 || lanes_at(u, i)->on_disk > 0)
            return;
    for (uint32_t i = 0; u->lanes != NULL && i <= b->names.mask; i++) {
        for (struct table_link *l = b->names.buckets[i], *next; l != NULL; l = next) {
            struct name *name = TABLE_ENTRY(l, struct name, link);
            next = l->next;
            if (name->waiting > 0) {
                name->waiting = 0;
                name_put(b, name);
            }
        }
    }
    u->untracked = u->missing = 0;
    for (uint32_t i = 0; i < lanes_count(u); i++) {
        struct queue *q = lanes_at(u, i);
        for (struct message *m = q->head; m != NULL && is_tracked(u, q); m = m->next)
            track(q, m->topic);
    }
}

/* ---- where a new message goes ----------------------------------------------------- */

static uint64_t live_count(struct upstream *u)
{
    uint64_t count = 0;
    for (uint8_t i = 0; i < BRIDGE_CLASSES_MAX; i++)
        count += queue_count(lane(u, true, i));
    return count;
}

/* Those from before a restart may be of any topic. */
static bool is_order_known(struct upstream *u)
{
    for (uint8_t i = 0; i < BRIDGE_CLASSES_MAX; i++)
        if (lane(u, true, i)->restored > 0)
            return false;
    return u->untracked == 0;
}

struct queue *lanes_choose(struct bridge *b, struct upstream *u, const struct name *name,
                           uint8_t class)
{
    if (u->lanes == NULL)
        return &u->queue;
    const bool any_order = classes_at(b->config, class)->live;
    const bool is_next = any_order || (name->waiting == 0 && is_order_known(u));
    if (upstream_is_up(u) && is_next && live_count(u) < b->config->max_live)
        return lane(u, true, class);
    return lane(u, false, name->waiting > 0 && !any_order ? name->waiting_class : class);
}

/* ---- which message goes next -------------------------------------------------------- */

static bool was_handed_over(const struct bridge *b, const struct message *m)
{
    return m->sent || m->seq <= b->start_seq;
}

static bool may_go(const struct bridge *b, const struct upstream *u, const struct queue *q)
{
    const struct message *m = q->next_out;
    if (m == NULL || (!q->newest && q->on_disk > 0 && m->seq >= q->disk_from))
        return false; /* older ones are still on the disk */
    /* From the newest back they may be anywhere; else they come first. */
    if (upstream_is_deciding(u) && !q->newest && !was_handed_over(b, m))
        return false;
    if (m->qos == 0)
        return u->inflight0 < INFLIGHT0_MAX;
    if (u->inflight >= u->window)
        return false;
    /* Exactly once: were it at the broker and not on the disk at a crash, the
     * sensor's repeat would be taken for a new message. */
    return m->qos == 1 || m->seq <= b->durable;
}

static struct queue *first_to_go(const struct bridge *b, struct upstream *u, bool live)
{
    for (uint8_t i = 0; i < BRIDGE_CLASSES_MAX; i++) {
        struct queue *q = lane(u, live, b->class_order[i]);
        if (may_go(b, u, q))
            return q;
    }
    return NULL;
}

/* The lowest seq in the live lane that is not handed over. */
static uint64_t oldest_live(struct upstream *u)
{
    uint64_t oldest = UINT64_MAX;
    for (uint8_t i = 0; i < BRIDGE_CLASSES_MAX; i++) {
        const struct queue *q = lane(u, true, i);
        if (q->next_out != NULL && q->next_out->seq < oldest)
            oldest = q->next_out->seq;
        if (q->on_disk > 0 && q->disk_from < oldest)
            oldest = q->disk_from;
    }
    return oldest;
}

struct queue *lanes_next(struct bridge *b, struct upstream *u)
{
    if (u->lanes == NULL)
        return may_go(b, u, &u->queue) ? &u->queue : NULL;
    struct queue *live = first_to_go(b, u, true);
    struct queue *backlog = first_to_go(b, u, false);
    if (backlog != NULL && backlog->next_out->seq > oldest_live(u))
        backlog = NULL;
    if (live == NULL || backlog == NULL)
        return live != NULL ? live : backlog;
    u->share += b->config->live_share;
    if (u->share < SHARE_WHOLE)
        return backlog;
    u->share -= SHARE_WHOLE;
    return live;
}

void lanes_advance(struct queue *q)
{
    struct message *m = q->next_out;
    do
        m = q->newest ? m->prev : m->next;
    while (m != NULL && m->published);
    q->next_out = m;
}

void lanes_kept(struct queue *q, struct message *m)
{
    if (q->next_out == NULL || q->newest == (m->seq > q->next_out->seq))
        q->next_out = m;
}

void lanes_rewind(struct queue *q)
{
    q->next_out = q->newest ? q->tail : q->head;
}

bool lanes_are_undecided(const struct bridge *b, struct upstream *u)
{
    for (uint32_t i = 0; i < lanes_count(u); i++) {
        const struct queue *q = lanes_at(u, i);
        if (q->on_disk > 0 && q->disk_from <= b->start_seq)
            return true;
        for (const struct message *m = q->head; m != NULL; m = m->next)
            if (m->qos == 2 && !m->published && was_handed_over(b, m))
                return true;
    }
    return false;
}

static struct message *oldest(struct bridge *b, struct queue *q, uint8_t class, bool *coming)
{
    if (q->on_disk > 0 && (q->newest || q->next_out == NULL || q->next_out->seq >= q->disk_from)) {
        *coming = true;
        if (!q->fetching) {
            q->fetching = true;
            q->fetch_last = q->disk_last;
            bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_FETCH,
                                                   .fetch = {.which = BRIDGE_FETCH_OLDEST,
                                                             .queue = q->id,
                                                             .from = q->disk_from,
                                                             .count = REFILL_LOW}});
        }
        return NULL;
    }
    for (struct message *m = q->head; m != NULL; m = m->next)
        if (!m->published && m->class == class)
            return m;
    return NULL;
}

struct message *lanes_oldest(struct bridge *b, struct upstream *u, uint8_t class, bool *coming)
{
    *coming = false;
    struct message *m = oldest(b, lane(u, false, class), class, coming);
    if (m == NULL && !*coming && u->lanes != NULL)
        m = oldest(b, lane(u, true, class), class, coming);
    return m;
}

struct message *lanes_find_published(struct upstream *u, uint64_t seq)
{
    for (uint32_t i = 0; i < lanes_count(u); i++) {
        const struct queue *q = lanes_at(u, i);
        struct message *m = q->newest ? q->tail : q->head;
        while (m != NULL && m->seq != seq && (q->newest || m->published))
            m = q->newest ? m->prev : m->next;
        if (m != NULL && m->seq == seq)
            return m;
    }
    return NULL;
}

/* ---- from the disk ------------------------------------------------------------------- */

bool lanes_await_disk(const struct bridge *b, struct upstream *u)
{
    for (uint32_t i = 0; i < lanes_count(u); i++) {
        const struct message *m = lanes_at(u, i)->next_out;
        if (m != NULL && m->seq > b->durable)
            return true;
    }
    return false;
}

void lanes_refill(struct bridge *b, struct upstream *u, uint32_t max)
{
    const uint32_t count = max < REFILL_COUNT ? max : REFILL_COUNT;
    for (uint32_t i = 0; i < lanes_count(u); i++) {
        struct queue *q = lanes_at(u, i);
        /* QoS 0 messages are in memory, however many wait behind those on the disk. */
        const uint32_t under_way = u->inflight + (uint32_t)u->qos0_waiting;
        queue_refill(b, q, q->newest ? 1 : under_way + REFILL_LOW, count);
    }
}
