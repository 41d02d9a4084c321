#include "bridge/core.h"

#include <assert.h>

/* A connection to the broker has two queues for each class: the live lane and the
 * backlog. What comes while the broker is there goes to the live lane, so that
 * it need not wait behind a million others, unless an older message of its topic
 * still waits in the backlog: order is kept per topic, and for each topic it is counted
 * what waits of it there. A queue exists while there is something in it; of a sensor's own
 * connection on which nothing waits only the backlog of class 0 is there, empty. When
 * there is no memory for another one, it serves for all.
 *
 *   - Of one topic, everything in the live lane is older than everything in the
 *     backlog. So a message of the backlog waits for all of the live lane that
 *     are older than it; those came before the last outage.
 *   - Which class a topic's backlog is in may be decided by an older
 *     configuration. New messages follow it there until it is empty.
 *   - A topic that was not counted for want of memory makes all new messages wait
 *     in the backlog until the message is done with.
 *
 * A class with order = live has promised no order: its new messages go to the
 * live lane whatever waits. With drain = newest its backlog is read from the end;
 * what is in memory is then newer than what is not, but for what is under way. */

#define REFILL_COUNT  512u /* messages per FETCH */
#define REFILL_LOW    256u /* in memory and not under way, when more are asked for */
#define SHARE_WHOLE   100u
#define INFLIGHT0_MAX 2000 /* QoS 0 messages handed to the broker and not yet written */

/* ---- the queues of a connection ---------------------------------------------- */

/* Classes by priority, those of one priority in the order of the file. */
void lanes_init(struct bridge *b)
{
    uint8_t n = 0;
    for (uint8_t priority = 0; priority < BRIDGE_PRIORITIES; priority++)
        for (uint8_t i = 0; i < BRIDGE_CLASSES_MAX; i++)
            if (classes_at(b->config, i)->priority == priority)
                b->class_rank[i] = n++;
    assert(n == BRIDGE_CLASSES_MAX);
}

static uint32_t id_of(const struct upstream *u, bool live, uint8_t class)
{
    if (u->conn != 0)
        return (BRIDGE_QUEUE_OWN | u->conn) +
               (class + (live ? BRIDGE_CLASSES_MAX : 0u)) * BRIDGE_OWN_LANE;
    if (class == 0 && !live)
        return BRIDGE_QUEUE_BROKER;
    return BRIDGE_QUEUE_LANES | (live ? BRIDGE_LANE_LIVE : 0) | class;
}

static void add(struct bridge *b, struct upstream *u, struct lane *l, bool live, uint8_t class)
{
    struct lane **at = &u->lanes;
    const uint8_t rank = b->class_rank[class];
    while (*at != NULL && b->class_rank[(*at)->queue.class] < rank + (live ? 1 : 0))
        at = &(*at)->next;
    l->next = *at;
    *at = l;
    l->queue.id = id_of(u, live, class);
    l->queue.class = class;
    l->queue.live = live;
    l->queue.newest = !live && classes_at(b->config, class)->newest;
}

void lanes_open(struct bridge *b, struct upstream *u)
{
    add(b, u, &u->backlog, false, 0);
}

static struct queue *find(const struct upstream *u, bool live, uint8_t class)
{
    for (struct lane *l = u->lanes; l != NULL; l = l->next)
        if (l->queue.class == class && l->queue.live == live)
            return &l->queue;
    return NULL;
}

static struct queue *take(struct bridge *b, struct upstream *u, bool live, uint8_t class)
{
    struct queue *q = find(u, live, class);
    struct lane *l = q == NULL ? arena_take(&b->arena, sizeof(*l)) : NULL;
    if (l == NULL)
        return q;
    add(b, u, l, live, class);
    return &l->queue;
}

struct queue *lanes_find(struct upstream *u, uint32_t id)
{
    for (struct lane *l = u->lanes; l != NULL; l = l->next)
        if (l->queue.id == id)
            return &l->queue;
    return NULL;
}

struct queue *lanes_take(struct bridge *b, struct upstream *u, uint32_t id)
{
    for (uint8_t class = 0; class < BRIDGE_CLASSES_MAX; class ++) {
        if (id == id_of(u, false, class))
            return take(b, u, false, class);
        if (id == id_of(u, true, class))
            return take(b, u, true, class);
    }
    return NULL;
}

void lanes_trim(struct bridge *b, struct upstream *u)
{
    for (struct lane **at = &u->lanes, *l; u->session != NULL && (l = *at) != NULL;) {
        if (l == &u->backlog || queue_count(&l->queue) > 0 || l->queue.fetching) {
            at = &l->next;
        } else {
            *at = l->next;
            arena_put(&b->arena, l);
        }
    }
}

uint32_t lanes_live_max(const struct bridge *b, const struct upstream *u)
{
    const uint32_t all = b->config->max_live;
    return u->session == NULL || all < UPSTREAM_OWN_LIVE ? all : UPSTREAM_OWN_LIVE;
}

/* ---- what waits, by topic ------------------------------------------------------- */

static uint32_t backlog_hash(const struct upstream *u, const struct name *name)
{
    return name->link.hash ^ u->conn * 2654435761u;
}

static struct backlog *backlog_find(const struct bridge *b, const struct upstream *u,
                                    const struct name *name)
{
    for (struct table_link *l = table_first(&b->backlogs, backlog_hash(u, name)); l != NULL;
         l = table_next(l)) {
        struct backlog *at = TABLE_ENTRY(l, struct backlog, link);
        if (at->upstream == u && at->name == name)
            return at;
    }
    return NULL;
}

static void track(struct bridge *b, struct upstream *u, const struct queue *q, struct name *name)
{
    struct backlog *at = name == NULL ? NULL : backlog_find(b, u, name);
    if (at == NULL && (name == NULL || (at = arena_take(&b->arena, sizeof(*at))) == NULL)) {
        u->untracked++;
        return;
    }
    if (at->count++ > 0)
        return;
    at->upstream = u;
    at->name = name_share(name);
    at->class = q->class;
    table_add(&b->backlogs, &at->link, backlog_hash(u, name));
}

static void untrack(struct bridge *b, struct backlog *at)
{
    table_remove(&at->link);
    name_put(b, at->name);
    arena_put(&b->arena, at);
}

void lanes_left(struct bridge *b, struct upstream *u, struct queue *q, struct name *name,
                uint64_t bytes)
{
    q->bytes -= bytes;
    u->waiting--;
    u->bytes -= bytes;
    if (q->live && q->restored > 0)
        q->restored--;
    if (q->live)
        return;
    struct backlog *at = name == NULL ? NULL : backlog_find(b, u, name);
    if (at == NULL)
        u->untracked--;
    else if (--at->count == 0)
        untrack(b, at);
}

void lanes_entered(struct bridge *b, struct upstream *u, struct queue *q, struct name *name,
                   uint64_t bytes)
{
    q->bytes += bytes;
    u->waiting++;
    u->bytes += bytes;
    if (!q->live)
        track(b, u, q, name);
}

void lanes_restore(struct bridge *b, struct upstream *u, const struct bridge_event *event)
{
    struct queue *q = lanes_find(u, event->waiting.queue);
    sweep_expect(b, event->waiting.expires_ms);
    q->bytes += event->waiting.bytes;
    u->waiting++;
    u->bytes += event->waiting.bytes;
    q->restored += q->live;
    if (q->live)
        return;
    struct name *name = name_take(b, event->waiting.topic);
    track(b, u, q, name);
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
    if (!q->live)
        u->missing += q->on_disk;
}

static void untrack_all(struct bridge *b, struct upstream *u)
{
    for (uint32_t i = 0; i <= b->backlogs.mask; i++) {
        for (struct table_link *l = b->backlogs.buckets[i], *next; l != NULL; l = next) {
            struct backlog *at = TABLE_ENTRY(l, struct backlog, link);
            next = l->next;
            if (at->upstream == u)
                untrack(b, at);
        }
    }
    u->untracked = u->missing = 0;
}

/* Which topics the missing ones had is not known. When nothing waits on disk only,
 * all that is counted is in memory. */
void lanes_recount(struct bridge *b, struct upstream *u)
{
    if (u->missing == 0)
        return;
    for (const struct lane *l = u->lanes; l != NULL; l = l->next)
        if (l->queue.on_disk > 0)
            return;
    untrack_all(b, u);
    for (struct lane *l = u->lanes; l != NULL; l = l->next)
        for (struct message *m = l->queue.head; m != NULL && !l->queue.live; m = m->next)
            track(b, u, &l->queue, m->topic);
}

void lanes_close(struct bridge *b, struct upstream *u)
{
    assert(u->waiting == 0);
    if (u->missing > 0)
        untrack_all(b, u);
    lanes_trim(b, u);
    for (struct lane *l = u->lanes, *next; l != NULL; l = next) {
        next = l->next;
        if (l != &u->backlog)
            arena_put(&b->arena, l); /* the answer to its FETCH finds nobody */
    }
    u->lanes = NULL;
}

/* ---- where a new message goes ----------------------------------------------------- */

static uint64_t live_count(const struct upstream *u)
{
    uint64_t count = 0;
    for (const struct lane *l = u->lanes; l != NULL; l = l->next)
        count += l->queue.live ? queue_count(&l->queue) : 0;
    return count;
}

/* Those from before a restart may be of any topic. */
static bool is_order_known(const struct upstream *u)
{
    for (const struct lane *l = u->lanes; l != NULL; l = l->next)
        if (l->queue.live && l->queue.restored > 0)
            return false;
    return u->untracked == 0;
}

struct queue *lanes_choose(struct bridge *b, struct upstream *u, const struct name *name,
                           uint8_t class)
{
    const struct backlog *at = backlog_find(b, u, name);
    const bool any_order = classes_at(b->config, class)->live;
    const bool is_next = any_order || (at == NULL && is_order_known(u));
    struct queue *q = NULL;
    if (upstream_is_up(u) && is_next && live_count(u) < lanes_live_max(b, u))
        q = take(b, u, true, class);
    if (q == NULL)
        q = take(b, u, false, at != NULL && !any_order ? at->class : class);
    return q != NULL ? q : &u->backlog.queue;
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

static struct queue *first_to_go(const struct bridge *b, const struct upstream *u, bool live)
{
    for (struct lane *l = u->lanes; l != NULL; l = l->next)
        if (l->queue.live == live && may_go(b, u, &l->queue))
            return &l->queue;
    return NULL;
}

/* The lowest seq in the live lane that is not handed over. */
static uint64_t oldest_live(const struct upstream *u)
{
    uint64_t oldest = UINT64_MAX;
    for (const struct lane *l = u->lanes; l != NULL; l = l->next) {
        const struct queue *q = &l->queue;
        if (q->live && q->next_out != NULL && q->next_out->seq < oldest)
            oldest = q->next_out->seq;
        if (q->live && q->on_disk > 0 && q->disk_from < oldest)
            oldest = q->disk_from;
    }
    return oldest;
}

struct queue *lanes_next(struct bridge *b, struct upstream *u)
{
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

static bool is_passed_over(const struct message *m)
{
    return m->published || m->held || suspect_is(&m->suspicion);
}

void lanes_advance(struct queue *q)
{
    struct message *m = q->next_out;
    do
        m = q->newest ? m->prev : m->next;
    while (m != NULL && is_passed_over(m));
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
    if (q->next_out != NULL && is_passed_over(q->next_out))
        lanes_advance(q);
}

bool lanes_are_undecided(const struct bridge *b, const struct upstream *u)
{
    for (const struct lane *l = u->lanes; l != NULL; l = l->next) {
        if (l->queue.on_disk > 0 && l->queue.disk_from <= b->start_seq)
            return true;
        for (const struct message *m = l->queue.head; m != NULL; m = m->next)
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
    struct queue *backlog = find(u, false, class);
    struct queue *live = find(u, true, class);
    *coming = false;
    struct message *m = backlog == NULL ? NULL : oldest(b, backlog, class, coming);
    if (m == NULL && !*coming && live != NULL)
        m = oldest(b, live, class, coming);
    return m;
}

uint64_t lanes_oldest_seq(const struct upstream *u, uint8_t class)
{
    uint64_t oldest = UINT64_MAX;
    for (const struct lane *l = u->lanes; l != NULL; l = l->next) {
        const struct message *m = l->queue.class == class ? l->queue.head : NULL;
        while (m != NULL && (m->published || m->class != class))
            m = m->next;
        if (m != NULL && m->seq < oldest)
            oldest = m->seq;
        if (l->queue.class == class && l->queue.on_disk > 0 && l->queue.disk_from < oldest)
            oldest = l->queue.disk_from;
    }
    return oldest;
}

struct message *lanes_find_published(struct upstream *u, uint64_t seq)
{
    for (struct lane *l = u->lanes; l != NULL; l = l->next) {
        const struct queue *q = &l->queue;
        struct message *m = q->newest ? q->tail : q->head;
        const bool all = q->newest || u->suspects > 0 || u->disordered;
        while (m != NULL && m->seq != seq && (all || m->published))
            m = q->newest ? m->prev : m->next;
        if (m != NULL && m->seq == seq)
            return m;
    }
    return NULL;
}

/* ---- from the disk ------------------------------------------------------------------- */

bool lanes_await_disk(const struct bridge *b, const struct upstream *u)
{
    for (const struct lane *l = u->lanes; l != NULL; l = l->next)
        if (l->queue.next_out != NULL && l->queue.next_out->seq > b->durable)
            return true;
    return false;
}

void lanes_refill(struct bridge *b, struct upstream *u, uint32_t max)
{
    const uint32_t count = max < REFILL_COUNT ? max : REFILL_COUNT;
    for (struct lane *l = u->lanes; l != NULL; l = l->next) {
        /* QoS 0 messages are in memory, however many wait behind those on the disk. */
        const uint32_t under_way = u->inflight + (uint32_t)u->qos0_waiting;
        queue_refill(b, &l->queue, l->queue.newest ? 1 : under_way + REFILL_LOW, count);
    }
}
