/* The way from the last bit on the air to the other end.
 *
 * Each frame takes a time within the delay's range, and what the nodes before have added;
 * but none overtakes another, except that a share of them (reorder) takes reorder_by longer
 * and is overtaken.
 */
#include "sim/node.h"

#include <stdlib.h>

struct delay {
    struct sim_node node;
    const struct sim_path *path;
    struct sim_random random;
    struct sim_packet *first; /* the one that is due next; equal times keep their order */
    uint64_t last_us;         /* nobody arrives before that */
    struct sim_timer timer;
};

static void put_in_order(struct delay *d, struct sim_packet *p)
{
    struct sim_packet **at = &d->first;
    while (*at != NULL && (*at)->due_us <= p->due_us)
        at = &(*at)->next;
    p->next = *at;
    *at = p;
}

static void set_timer(struct delay *d)
{
    sim_timer_set(d->node.line->world, &d->timer, d->first != NULL ? d->first->due_us : SIM_NEVER);
}

static void time_is_over(void *ctx, uint64_t arg)
{
    struct delay *d = ctx;
    struct sim_packet *p = d->first;
    (void)arg;
    d->first = p->next;
    set_timer(d);
    sim_pass(&d->node, p);
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct delay *d = (struct delay *)n;
    uint64_t due_us = sim_now(n->line->world) + sim_draw(&d->random, d->path->delay) + p->late_us;
    p->late_us = 0;
    if (sim_random_chance(&d->random, d->path->reorder)) {
        due_us += d->path->reorder_us;
    } else {
        due_us = due_us < d->last_us ? d->last_us : due_us;
        d->last_us = due_us;
    }
    p->due_us = due_us;
    put_in_order(d, p);
    set_timer(d);
}

static void drop(struct sim_node *n, const char *why, bool queues)
{
    struct delay *d = (struct delay *)n;
    (void)queues;
    sim_timer_stop(n->line->world, &d->timer);
    for (struct sim_packet *p; (p = d->first) != NULL;) {
        d->first = p->next;
        sim_lose(n->line, p, why);
    }
}

static void close_delay(struct sim_node *n)
{
    struct delay *d = (struct delay *)n;
    sim_timer_stop(n->line->world, &d->timer);
    for (struct sim_packet *p; (p = d->first) != NULL;) {
        d->first = p->next;
        free(p);
    }
}

void sim_delay_add(struct sim_line *l, enum sim_direction direction)
{
    static const struct sim_node_ops ops = {.take = take, .drop = drop, .close = close_delay};
    const struct sim_path *path = &l->profile->path[direction];
    if (path->delay.high == 0 && path->reorder == 0 && path->arq_us == 0 && !l->profile->sbd)
        return;
    struct delay *d = sim_node_new(l, sizeof *d, &ops);
    d->path = path;
    d->timer = (struct sim_timer){.fn = time_is_over, .ctx = d};
    sim_line_random(l, direction == SIM_UP ? "delay up" : "delay down", &d->random);
    sim_node_join(&d->node, direction);
}
