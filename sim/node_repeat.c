/* Blind repeats: a device that hears no answer sends each frame several times.
 *
 * The first copy goes at once, the others after random gaps (Globalstar's simplex modems, Argos).
 * At the other end the first copy that arrives counts, the others are lost (copy): whoever
 * runs such a service removes them. The end remembers the last frames only.
 */
#include "sim/node.h"

#include <stdlib.h>

#define REMEMBERED 64

struct repeat {
    struct sim_node node;
    struct sim_random random;
    struct copy *copies; /* that are still to be sent */
};

struct copy {
    struct copy *next;
    struct repeat *repeat;
    struct sim_packet *packet; /* the original; what is sent is made of it */
    uint32_t left;
    struct sim_timer timer;
};

static void forget(struct copy *c)
{
    struct copy **at = &c->repeat->copies;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    sim_timer_stop(c->repeat->node.line->world, &c->timer);
    free(c->packet);
    free(c);
}

static void arrange(struct copy *c)
{
    struct repeat *r = c->repeat;
    struct sim_world *w = r->node.line->world;
    sim_timer_set(w, &c->timer,
                  sim_now(w) + sim_draw(&r->random, r->node.line->profile->copies_gap));
}

static void time_is_over(void *ctx, uint64_t arg)
{
    struct copy *c = ctx;
    struct repeat *r = c->repeat;
    (void)arg;
    struct sim_packet *p = sim_copy(r->node.line, c->packet);
    if (--c->left > 0)
        arrange(c);
    else
        forget(c);
    sim_pass(&r->node, p);
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct repeat *r = (struct repeat *)n;
    struct copy *c = sim_memory(sizeof *c);
    *c = (struct copy){
        .next = r->copies,
        .repeat = r,
        .packet = sim_packet_clone(p),
        .left = n->line->profile->copies - 1,
        .timer = {.fn = time_is_over, .ctx = c},
    };
    r->copies = c;
    arrange(c);
    sim_pass(n, p);
}

static void close_repeat(struct sim_node *n)
{
    struct repeat *r = (struct repeat *)n;
    while (r->copies != NULL)
        forget(r->copies);
}

void sim_repeat_add(struct sim_line *l)
{
    static const struct sim_node_ops ops = {.take = take, .close = close_repeat};
    if (l->profile->copies == 1)
        return;
    struct repeat *r = sim_node_new(l, sizeof *r, &ops);
    sim_line_random(l, "repeat", &r->random);
    sim_node_join(&r->node, SIM_UP);
}

/* ---- the other end ------------------------------------------------------------------ */

struct repeat_end {
    struct sim_node node;
    uint64_t frames[REMEMBERED];
    uint32_t next;
};

static void take_first(struct sim_node *n, struct sim_packet *p)
{
    struct repeat_end *e = (struct repeat_end *)n;
    for (uint32_t i = 0; i < REMEMBERED; i++) {
        if (e->frames[i] == p->frame) {
            sim_lose(n->line, p, "copy");
            return;
        }
    }
    e->frames[e->next++ % REMEMBERED] = p->frame;
    sim_pass(n, p);
}

void sim_repeat_add_end(struct sim_line *l)
{
    static const struct sim_node_ops ops = {.take = take_first};
    if (l->profile->copies == 1)
        return;
    struct repeat_end *e = sim_node_new(l, sizeof *e, &ops);
    sim_node_join(&e->node, SIM_UP);
}
