/* A device that listens only after it has sent: LoRaWAN's class A.
 *
 * The gateway's frames wait until one from their device has arrived, and one of them may begin
 * answer_after its end; if none was there by then, one may a second later still (RX1 and
 * RX2 of LoRaWAN 1.0.3, 3.3). What comes too late waits for the device's next frame. A frame for
 * everybody reaches nobody here (no-listener).
 */
#include "sim/node.h"

#include <stdlib.h>

#define SECOND_US SIM_S /* from the first chance to the second */

struct listener {
    struct answer *answer;
    struct sim_queue queue;
    bool is_second;
    struct sim_timer timer;
};

struct answer {
    struct sim_node node;
    struct listener **listeners; /* by peer */
    uint32_t count;
};

static void listens(void *ctx, uint64_t arg)
{
    struct listener *r = ctx;
    struct sim_line *l = r->answer->node.line;
    struct sim_packet *p = sim_queue_take(&r->queue);
    (void)arg;
    if (p != NULL)
        sim_pass(&r->answer->node, p);
    else if (!r->is_second)
        sim_timer_set(l->world, &r->timer, sim_now(l->world) + SECOND_US);
    r->is_second = true;
}

static struct listener *listener_of(struct answer *a, uint32_t peer)
{
    if (peer >= a->count) {
        const uint32_t count = 2 * peer + 1;
        a->listeners = sim_more_memory(a->listeners, count * sizeof a->listeners[0]);
        while (a->count < count)
            a->listeners[a->count++] = NULL;
    }
    if (a->listeners[peer] == NULL) {
        struct listener *r = a->listeners[peer] = sim_memory(sizeof *r);
        r->answer = a;
        r->timer = (struct sim_timer){.fn = listens, .ctx = r};
    }
    return a->listeners[peer];
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    if (p->peer == 0) {
        sim_lose(n->line, p, "no-listener");
        return;
    }
    struct listener *r = listener_of((struct answer *)n, p->peer);
    if (p->direction == SIM_UP) {
        r->is_second = false;
        sim_timer_set(n->line->world, &r->timer,
                      sim_now(n->line->world) + n->line->profile->answer_us);
        sim_pass(n, p);
    } else if (r->queue.count >= n->line->profile->path[SIM_DOWN].queue) {
        sim_lose(n->line, p, "queue");
    } else {
        sim_queue_put(&r->queue, p);
    }
}

static void drop(struct sim_node *n, const char *why, bool queues)
{
    struct answer *a = (struct answer *)n;
    for (uint32_t i = 0; queues && i < a->count; i++)
        if (a->listeners[i] != NULL)
            sim_lose_all(n->line, &a->listeners[i]->queue, why);
}

static void close_answer(struct sim_node *n)
{
    struct answer *a = (struct answer *)n;
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->listeners[i] == NULL)
            continue;
        sim_timer_stop(n->line->world, &a->listeners[i]->timer);
        sim_forget_all(&a->listeners[i]->queue);
        free(a->listeners[i]);
    }
    free(a->listeners);
}

/* It holds what goes down before the air, and hears what came up behind it, so whoever makes the
 * chain joins it there. NULL when the profile does not ask for it. */
struct sim_node *sim_answer_add(struct sim_line *l)
{
    static const struct sim_node_ops ops = {.take = take, .drop = drop, .close = close_answer};
    if (l->profile->answer_us == 0)
        return NULL;
    struct answer *a = sim_node_new(l, sizeof *a, &ops);
    sim_node_join(&a->node, SIM_DOWN);
    return &a->node;
}
