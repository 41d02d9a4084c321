#include "bridge/core.h"

#include <assert.h>
#include <string.h>

#define STARVED_MS 1000 /* until the next try to get memory for what is on the disk */

struct bridge_message queue_message(const struct queue *q, const struct message *m)
{
    return (struct bridge_message){
        .seq = m->seq,
        .queue = q->id,
        .session = m->session,
        .received_ms = m->received_ms,
        .expires_ms = m->expires_ms,
        .qos = m->qos,
        .flags = m->flags,
        .mid = m->mid,
        .class = m->class,
        .link = m->link,
        .topic = name_bytes(m->topic),
        .payload = sn_bytes(m->payload, m->len),
    };
}

static const struct session *queue_owner(const struct bridge *b, const struct queue *q)
{
    return clients_find_number(b, bridge_queue_session(q->id));
}

uint64_t queue_count(const struct queue *q)
{
    return q->in_memory + q->on_disk;
}

static struct message *copy(struct bridge *b, struct queue *q, const struct bridge_message *from)
{
    struct message *m = arena_take(&b->arena, sizeof(*m) + from->payload.len);
    if (m == NULL)
        return NULL;
    m->topic = name_take(b, from->topic);
    if (m->topic == NULL) {
        arena_put(&b->arena, m);
        return NULL;
    }
    m->seq = from->seq;
    m->received_ms = from->received_ms;
    m->expires_ms = from->expires_ms;
    m->session = from->session;
    m->len = (uint32_t)from->payload.len;
    m->mid = from->mid;
    m->qos = from->qos;
    m->flags = from->flags;
    m->class = from->class;
    m->link = from->link;
    m->queue = q;
    m->stored = from->qos > 0;
    if (m->len > 0)
        memcpy(m->payload, from->payload.data, m->len);
    return m;
}

/* Into its place by seq; nearly always that is the end. */
static void link_message(struct queue *q, struct message *m)
{
    struct message *before = q->tail;
    while (before != NULL && before->seq > m->seq)
        before = before->prev;
    m->prev = before;
    m->next = before == NULL ? q->head : before->next;
    *(m->prev == NULL ? &q->head : &m->prev->next) = m;
    *(m->next == NULL ? &q->tail : &m->next->prev) = m;
    q->in_memory++;
}

static void leave_on_disk(struct queue *q, uint64_t seq)
{
    if (q->on_disk == 0 || seq < q->disk_from)
        q->disk_from = seq;
    if (q->on_disk++ == 0 || seq > q->disk_last)
        q->disk_last = seq;
}

/* A queue that goes from the newest back keeps the newest in memory: what was
 * there and is not under way makes room. */
static void make_room(struct bridge *b, struct queue *q)
{
    for (struct message *m = q->head, *next; m != NULL; m = next) {
        next = m->next;
        if (!m->stored || m->published || m->sent)
            continue;
        leave_on_disk(q, m->seq);
        sweep_expect(b, m->expires_ms);
        queue_remove(b, q, m);
    }
    q->next_out = NULL;
    for (struct message *m = q->head; m != NULL; m = m->next)
        if (!m->published && !m->held && !suspect_is(&m->suspicion))
            q->next_out = m;
}

struct message *queue_append(struct bridge *b, struct queue *q, const struct bridge_message *from,
                             uint32_t memory_max, bool lazy)
{
    const bool store = from->qos > 0;
    if (store) {
        bridge_emit(b, &(struct bridge_action){
                           .type = BRIDGE_DO_STORE, .lazy = lazy, .store.message = *from});
        if (q->newest && q->in_memory >= memory_max && !q->fetching)
            make_room(b, q);
        else if (!q->newest && (q->on_disk > 0 || q->in_memory >= memory_max)) {
            sweep_expect(b, from->expires_ms);
            leave_on_disk(q, from->seq);
            return NULL;
        }
    }
    struct message *m = bridge_is_memory_short(b) ? NULL : copy(b, q, from);
    if (m != NULL)
        link_message(q, m);
    else if (store) {
        sweep_expect(b, from->expires_ms);
        leave_on_disk(q, from->seq);
    }
    return m;
}

/* Who declines to ask for what is on the disk sees to it that it is asked for later. Of a
 * queue to a sensor session_reschedule() does. */
static void wait_for_memory(struct bridge *b, const struct queue *q)
{
    struct upstream *u = upstream_with_queue(b, q->id);
    if (u != NULL && upstream_is_up(u) && q->starved_until_ms < u->timer.due_ms)
        timers_set(&b->timers, &u->timer, q->starved_until_ms);
}

void queue_refill(struct bridge *b, struct queue *q, uint32_t low, uint32_t count)
{
    if (q->on_disk == 0 || q->fetching || q->in_memory >= low)
        return;
    if (b->now_ms < q->starved_until_ms) {
        wait_for_memory(b, q);
        return;
    }
    q->fetching = true;
    q->fetch_last = q->disk_last;
    bridge_emit(b, &(struct bridge_action){
                       .type = BRIDGE_DO_FETCH,
                       .fetch = {.which = q->newest ? BRIDGE_FETCH_NEWEST : BRIDGE_FETCH_OLDEST,
                                 .queue = q->id,
                                 .from = q->newest ? q->disk_last : q->disk_from,
                                 .count = count}});
}

struct message *queue_front(struct bridge *b, struct queue *q)
{
    if (q->on_disk > 0 && (q->head == NULL || q->head->seq >= q->disk_from)) {
        queue_refill(b, q, UINT32_MAX, 8);
        return NULL;
    }
    return q->head;
}

struct message *queue_find(const struct queue *q, uint64_t seq)
{
    struct message *m = q->head;
    while (m != NULL && m->seq < seq)
        m = m->next;
    return m != NULL && m->seq == seq ? m : NULL;
}

/* In a queue that goes from the newest back what is under way lies between those that made
 * room; in others all that is in memory comes before the disk. */
bool queue_is_on_disk(const struct queue *q, uint64_t seq)
{
    const bool in_range = q->on_disk > 0 && seq >= q->disk_from && seq <= q->disk_last;
    return in_range && (!q->newest || queue_find(q, seq) == NULL);
}

void queue_fetched(struct bridge *b, struct queue *q, const struct bridge_event *event)
{
    q->fetching = false;
    for (size_t i = 0; i < event->fetched.count && q->on_disk > 0; i++) {
        const struct bridge_message *from = &event->fetched.messages[i];
        if (!queue_is_on_disk(q, from->seq))
            continue;
        struct message *m = copy(b, q, from);
        if (m == NULL) {
            bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, queue_owner(b, q), sn_bytes(NULL, 0),
                        q->on_disk);
            *(q->newest ? &q->disk_last : &q->disk_from) = from->seq;
            q->starved_until_ms = b->now_ms + STARVED_MS;
            return;
        }
        link_message(q, m);
        if (bridge_queue_is_up(q->id))
            lanes_kept(q, m);
        q->on_disk--;
        if (q->newest)
            q->disk_last = from->seq - 1;
        else
            q->disk_from = from->seq + 1;
    }
    /* The disk says that there is no more, and nothing was added meanwhile. */
    if (event->fetched.end && q->on_disk > 0 && q->disk_last <= q->fetch_last) {
        bridge_note(b, BRIDGE_NOTE_ROWS_MISSING, queue_owner(b, q), sn_bytes(NULL, 0), q->on_disk);
        struct upstream *u = upstream_with_queue(b, q->id);
        if (u != NULL) {
            account_missing_up(b, q->on_disk);
            lanes_missing(b, u, q);
        } else {
            account_missing_down(b, clients_find_number(b, bridge_queue_session(q->id)), q);
        }
        q->on_disk = 0;
    }
}

void queue_remove(struct bridge *b, struct queue *q, struct message *m)
{
    if (q->next_out == m)
        lanes_advance(q);
    *(m->prev == NULL ? &q->head : &m->prev->next) = m->next;
    *(m->next == NULL ? &q->tail : &m->next->prev) = m->prev;
    q->in_memory--;
    if (m->exchange != NULL)
        m->exchange->message = NULL;
    name_put(b, m->topic);
    arena_put(&b->arena, m);
}

void queue_forget(struct bridge *b, struct queue *q, struct message *m, bool lazy)
{
    if (m->stored)
        bridge_emit(b, &(struct bridge_action){
                           .type = BRIDGE_DO_FORGET,
                           .lazy = lazy,
                           .row = {.ticket = bridge_next_seq(b), .queue = q->id, .seq = m->seq}});
    queue_remove(b, q, m);
}

void queue_clear(struct bridge *b, struct queue *q)
{
    while (q->head != NULL)
        queue_remove(b, q, q->head);
    q->on_disk = 0;
}
