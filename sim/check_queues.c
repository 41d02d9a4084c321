#include "sim/check_queues.h"

#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

static struct sim_queue_held *held_by(struct sim_queues *q, uint32_t session)
{
    for (size_t i = 0; i < q->held_count; i++)
        if (q->held[i].session == session)
            return &q->held[i];
    q->held = sim_more_memory(q->held, (q->held_count + 1) * sizeof(*q->held));
    q->held[q->held_count] = (struct sim_queue_held){.session = session};
    return &q->held[q->held_count++];
}

static void stores(struct sim_queues *q, const struct bridge_message *m)
{
    if (q->pending_count == q->pending_size) {
        q->pending_size = q->pending_size == 0 ? 64 : 2 * q->pending_size;
        q->pending = sim_more_memory(q->pending, q->pending_size * sizeof(*q->pending));
    }
    const uint32_t session = bridge_queue_session(m->queue);
    q->pending[q->pending_count++] = (struct sim_queue_row){.ticket = m->seq, .session = session};
    held_by(q, session)->count++;
}

static void remove_pending(struct sim_queues *q, size_t i)
{
    memmove(&q->pending[i], &q->pending[i + 1], (--q->pending_count - i) * sizeof(*q->pending));
}

static void forgets(struct sim_queues *q, uint32_t queue, uint64_t seq)
{
    struct sim_queue_held *held = held_by(q, bridge_queue_session(queue));
    held->count -= held->count > 0;
    for (size_t i = 0; i < q->pending_count; i++) {
        if (q->pending[i].ticket == seq) {
            remove_pending(q, i);
            return;
        }
    }
}

static void erases(struct sim_queues *q, uint32_t session)
{
    held_by(q, session)->count = 0;
    for (size_t i = q->pending_count; i-- > 0;)
        if (q->pending[i].session == session)
            remove_pending(q, i);
}

static void decided(struct sim_queues *q, uint64_t ticket, bool durable)
{
    size_t i = 0;
    for (; i < q->pending_count && q->pending[i].ticket <= ticket; i++)
        if (!durable)
            held_by(q, q->pending[i].session)->count--;
    q->pending_count -= i;
    if (q->pending_count > 0)
        memmove(q->pending, q->pending + i, q->pending_count * sizeof(*q->pending));
}

static bool any_is_full(const struct sim_queues *q, uint32_t max)
{
    for (size_t i = 0; i < q->held_count; i++)
        if (q->held[i].count >= max)
            return true;
    return false;
}

static void notes(const struct sim_queues *q, const struct sim_record *r,
                  const struct bridge_config *config, struct sim_claims *claims)
{
    const struct bridge_action *a = r->action;
    if (a->note.note == BRIDGE_NOTE_DOWN_QUEUE_FULL && !q->in_memory &&
        config->max_queue_bytes == 0 && !any_is_full(q, config->max_queue))
        sim_claims_violate(claims, r->at_us,
                           "bounds: a message to %.*s is dropped, and no queue is full",
                           (int)a->note.client.len, (const char *)a->note.client.data);
}

static void restarts(struct sim_queues *q)
{
    q->pending_count = 0;
    q->held_count = 0;
}

void sim_queues_hear(struct sim_queues *q, const struct sim_record *r,
                     const struct bridge_config *config, struct sim_claims *claims)
{
    const struct bridge_action *a = r->type == SIM_BRIDGE_ACTION ? r->action : NULL;
    const struct bridge_event *e = r->type == SIM_BRIDGE_EVENT ? r->event : NULL;
    if (r->type == SIM_BRIDGE_KILLED)
        restarts(q);
    else if (r->type == SIM_STORED || r->type == SIM_STORE_FAILED)
        decided(q, r->number, r->type == SIM_STORED);
    else if (e != NULL && e->type == BRIDGE_ON_QUEUE && !bridge_queue_is_up(e->queue.queue))
        held_by(q, bridge_queue_session(e->queue.queue))->count += e->queue.count;
    else if (e != NULL && e->type == BRIDGE_ON_MESSAGE)
        q->in_memory |= e->message.qos == 0;
    else if (r->type == SIM_DEVICE && strcmp(r->why, "subscribed") == 0)
        q->in_memory |= r->message->qos == 0;
    else if (a != NULL && a->type == BRIDGE_DO_STORE && !bridge_queue_is_up(a->store.message.queue))
        stores(q, &a->store.message);
    else if (a != NULL && a->type == BRIDGE_DO_FORGET && !bridge_queue_is_up(a->row.queue))
        forgets(q, a->row.queue, a->row.seq);
    else if (a != NULL && a->type == BRIDGE_DO_ERASE && a->record.record.kind == 0)
        erases(q, a->record.record.session);
    else if (a != NULL && a->type == BRIDGE_DO_NOTE)
        notes(q, r, config, claims);
}

void sim_queues_close(struct sim_queues *q)
{
    free(q->held);
    free(q->pending);
}
