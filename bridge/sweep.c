#include "bridge/core.h"

/* Expired messages that are in memory are dropped when their turn comes. Those on
 * disk only would take room until then, which for a broker or a sensor that stays
 * away is for ever: the disk is asked for them now and then. */

#define SWEEP_MS    60000 /* how long at most an expired message stays on the disk, about */
#define SWEEP_SOON  1000
#define SWEEP_COUNT 512 /* messages at a time */

void sweep_expect(struct bridge *b, uint64_t expires_ms)
{
    if (expires_ms == 0)
        return;
    uint64_t due = expires_ms < b->now_ms + SWEEP_SOON ? b->now_ms + SWEEP_SOON : expires_ms;
    if (due > b->now_ms + SWEEP_MS)
        due = b->now_ms + SWEEP_MS;
    if (due < b->sweep_ms)
        b->sweep_ms = due;
}

void sweep_due(struct bridge *b)
{
    if (b->now_ms < b->sweep_ms || b->sweeping)
        return;
    b->sweeping = true;
    b->sweep_ms = BRIDGE_NEVER;
    bridge_emit(
        b, &(struct bridge_action){
               .type = BRIDGE_DO_FETCH,
               .fetch = {.which = BRIDGE_FETCH_EXPIRED, .from = b->now_ms, .count = SWEEP_COUNT}});
}

/* While a FETCH of its queue is under way, that one may bring the message as well:
 * then it is left for its turn. */
static void drop(struct bridge *b, const struct bridge_message *m)
{
    struct upstream *u = upstream_with_queue(b, m->queue);
    struct session *s = clients_find_number(b, bridge_queue_session(m->queue));
    struct queue *q = u != NULL                                    ? lanes_find(u, m->queue)
                      : s != NULL && !bridge_queue_is_up(m->queue) ? tiers_find(s, m->queue)
                                                                   : NULL;
    if (q == NULL || q->fetching || !queue_is_on_disk(q, m->seq))
        return;
    if (u == NULL && custody_ticket(b, m->seq) > b->durable)
        return; /* it may yet go away with another copy */
    if (u != NULL)
        uplink_drop_row(b, u, q, m, true);
    else
        downlink_drop_row(b, s, q, m);
    if (s != NULL) {
        tiers_trim(b, s);
        session_reschedule(b, s); /* it may hold nothing any more */
    }
}

void sweep_fetched(struct bridge *b, const struct bridge_event *event)
{
    b->sweeping = false;
    for (size_t i = 0; i < event->fetched.count; i++)
        drop(b, &event->fetched.messages[i]);
    b->sweep_ms = b->now_ms + (event->fetched.end ? SWEEP_MS : SWEEP_SOON);
}
