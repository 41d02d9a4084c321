#include "bridge/core.h"

void upstream_init(struct upstream *u, uint32_t conn)
{
    u->conn = conn;
    u->max_qos = 2;
    u->queue.id = conn == 0 ? BRIDGE_QUEUE_BROKER : BRIDGE_QUEUE_OWN | conn;
    u->root.upstream = u;
    u->timer.kind = TIMER_UPSTREAM;
    u->timer.due_ms = TIMER_NEVER;
}

struct upstream *upstream_find(struct bridge *b, uint32_t conn)
{
    return conn == 0 ? &b->shared : NULL;
}

struct upstream *upstream_with_queue(struct bridge *b, uint32_t queue)
{
    return bridge_queue_is_up(queue) ? upstream_find(b, bridge_queue_session(queue)) : NULL;
}

struct upstream *upstream_of(struct bridge *b, const struct session *s)
{
    (void)s;
    return &b->shared;
}

void upstream_connect(struct bridge *b, struct upstream *u)
{
    u->state = UPSTREAM_CONNECTING;
    bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_CONNECT, .connect.conn = u->conn});
}

void upstream_up(struct bridge *b, struct upstream *u, const struct bridge_event *event)
{
    u->state = UPSTREAM_UP;
    u->attempts = 0;
    u->window = event->up.window;
    u->max_qos = event->up.max_qos;
    bridge_note(b, BRIDGE_NOTE_BROKER_UP, NULL, sn_bytes(NULL, 0), queue_count(&u->queue));
    discover_broker(b, true);
    subscribe_up(b, u, event->up.session_present);
    uplink_pump(b, u);
}

/* Back-off doubles up to its limit, and half of it is chance, so that a crowd
 * of bridges does not come back in one moment. */
static uint64_t back_off(struct bridge *b, const struct upstream *u)
{
    uint64_t wait = b->config->reconnect_min_ms;
    for (uint32_t i = 0; i < u->attempts && wait < b->config->reconnect_max_ms; i++)
        wait *= 2;
    if (wait > b->config->reconnect_max_ms)
        wait = b->config->reconnect_max_ms;
    return b->now_ms + wait / 2 + bridge_random(b, (uint32_t)wait / 2 + 1);
}

void upstream_down(struct bridge *b, struct upstream *u, const struct bridge_event *event)
{
    const bool was_up = upstream_is_up(u);
    u->state = UPSTREAM_DOWN;
    bridge_note(b, was_up ? BRIDGE_NOTE_BROKER_LOST : BRIDGE_NOTE_BROKER_UNREACHABLE, NULL,
                event->down.why == NULL ? sn_bytes(NULL, 0) : sn_bytes_text(event->down.why),
                u->attempts);
    if (was_up) {
        discover_broker(b, false);
        uplink_down(b, u);
        subscribe_down(b, u);
    }
    const uint64_t next = back_off(b, u);
    u->attempts++;
    if (!b->stopping)
        timers_set(&b->timers, &u->timer, next);
}

void upstream_due(struct bridge *b, struct upstream *u)
{
    if (upstream_is_up(u))
        uplink_pump(b, u); /* memory was short */
    else if (u->state == UPSTREAM_DOWN && !b->stopping)
        upstream_connect(b, u);
}
