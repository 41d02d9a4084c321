/* Rain and fading: from time to time everything is slower and more is lost.
 *
 * Both the time between two fades and the length of one are exponentially distributed.
 */
#include "sim/node.h"

struct fade {
    struct sim_node node;
    struct sim_random random;
    bool is_on;
    struct sim_timer timer;
};

static void turn_over(void *ctx, uint64_t arg)
{
    struct fade *f = ctx;
    struct sim_line *l = f->node.line;
    const struct sim_profile *p = l->profile;
    (void)arg;
    f->is_on = !f->is_on;
    l->slower = f->is_on ? p->fade_slower : 1;
    sim_line_say(l, (struct sim_record){
                        .type = SIM_NOTE,
                        .text = f->is_on ? "fade begins" : "fade ends",
                    });
    const uint64_t mean_us = f->is_on ? p->fade_for_us : p->fade_every_us;
    sim_timer_set(l->world, &f->timer, sim_now(l->world) + sim_random_wait(&f->random, mean_us));
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct fade *f = (struct fade *)n;
    if (f->is_on && sim_random_chance(&f->random, n->line->profile->fade_loss))
        sim_lose(n->line, p, "fade");
    else
        sim_pass(n, p);
}

static void close_fade(struct sim_node *n)
{
    struct fade *f = (struct fade *)n;
    sim_timer_stop(n->line->world, &f->timer);
}

void sim_fade_add(struct sim_line *l)
{
    static const struct sim_node_ops ops = {.take = take, .close = close_fade};
    if (l->profile->fade_every_us == 0)
        return;
    struct fade *f = sim_node_new(l, sizeof *f, &ops);
    f->timer = (struct sim_timer){.fn = turn_over, .ctx = f};
    sim_line_random(l, "fade", &f->random);
    sim_node_join(&f->node, SIM_UP);
    sim_node_join(&f->node, SIM_DOWN);
    sim_timer_set(l->world, &f->timer,
                  sim_now(l->world) + sim_random_wait(&f->random, l->profile->fade_every_us));
}
