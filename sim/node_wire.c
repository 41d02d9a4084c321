/* One direction of a full-duplex link: a queue, and one frame after the other at the rate
 * of the link. All who send in this direction share it.
 *
 * duty: after a frame of so long the sender is silent so long that it was on the air for
 * its share only. Frames wait, also while the line is down if the profile says hold.
 */
#include "sim/node.h"

#include <stdlib.h>

struct wire {
    struct sim_node node;
    enum sim_direction direction;
    struct sim_queue queue;
    struct sim_packet *sending;
    uint64_t not_before_us; /* duty */
    struct sim_timer timer;
};

static void go_on(struct wire *w);

static void begin(struct wire *w)
{
    struct sim_line *l = w->node.line;
    struct sim_packet *p = w->sending = sim_queue_take(&w->queue);
    const uint64_t now_us = sim_now(l->world);
    const uint64_t air_us = sim_airtime(l->profile, w->direction, p->len, l->slower, &p->air_bits);
    const uint64_t duty = l->profile->path[w->direction].duty;
    w->not_before_us = now_us + air_us + air_us * (SIM_ALWAYS - duty) / duty;
    sim_packet_say(l, p,
                   (struct sim_record){.type = SIM_FRAME_STARTED, .until_us = now_us + air_us});
    sim_timer_set(l->world, &w->timer, now_us + air_us);
}

static void go_on(struct wire *w)
{
    struct sim_line *l = w->node.line;
    if (w->sending != NULL || w->queue.first == NULL || !sim_line_is_up(l))
        return;
    if (sim_now(l->world) < w->not_before_us)
        sim_timer_set(l->world, &w->timer, w->not_before_us);
    else
        begin(w);
}

/* The last bit is out, or the silence is over. */
static void time_is_over(void *ctx, uint64_t arg)
{
    struct wire *w = ctx;
    struct sim_packet *p = w->sending;
    (void)arg;
    w->sending = NULL;
    if (p != NULL) {
        w->node.line->waiting--;
        sim_pass(&w->node, p);
    }
    go_on(w);
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct wire *w = (struct wire *)n;
    if (!sim_line_takes(n->line)) {
        sim_lose(n->line, p, "link-down");
        return;
    }
    if (w->queue.count >= n->line->profile->path[w->direction].queue) {
        sim_lose(n->line, p, "queue");
        return;
    }
    n->line->waiting++;
    sim_queue_put(&w->queue, p);
    go_on(w);
}

static void drop(struct sim_node *n, const char *why, bool queues)
{
    struct wire *w = (struct wire *)n;
    struct sim_packet *p = w->sending;
    w->sending = NULL;
    sim_timer_stop(n->line->world, &w->timer);
    if (p != NULL) {
        n->line->waiting--;
        sim_lose(n->line, p, why);
    }
    if (queues) {
        n->line->waiting -= w->queue.count;
        sim_lose_all(n->line, &w->queue, why);
    }
}

static void up(struct sim_node *n)
{
    go_on((struct wire *)n);
}

static void close_wire(struct sim_node *n)
{
    struct wire *w = (struct wire *)n;
    sim_timer_stop(n->line->world, &w->timer);
    sim_forget_all(&w->queue);
    free(w->sending);
}

void sim_wire_add(struct sim_line *l, enum sim_direction direction)
{
    static const struct sim_node_ops ops = {
        .take = take,
        .drop = drop,
        .up = up,
        .close = close_wire,
    };
    if (l->profile->duplex != SIM_FULL_DUPLEX)
        return;
    struct wire *w = sim_node_new(l, sizeof *w, &ops);
    w->direction = direction;
    w->timer = (struct sim_timer){.fn = time_is_over, .ctx = w};
    sim_node_join(&w->node, direction);
}
