/* Frames that are lost: one by one (loss), and in bursts (gemodel).
 *
 * Bursts follow Gilbert and Elliott: a chain with a good and a bad state takes a step with
 * each frame. Names and order are those of tc-netem (sch_netem.c, loss_gilb_ell): p is the
 * chance to go from good to bad, r from bad to good, and a frame is lost with chance 1-h
 * in the bad and 1-k in the good state, in the state before the step. In the long run
 * p / (p + r) of the frames meet the bad state.
 *
 * arq stands for the repeats of a layer below, which cost time: what is lost is tried again.
 */
#include "sim/node.h"

struct loss {
    struct sim_node node;
    const struct sim_path *path;
    struct sim_random random;
    bool is_bad;
};

static bool is_lost(struct loss *s)
{
    const struct sim_gemodel *g = &s->path->gemodel;
    const bool was_bad = s->is_bad;
    if (sim_random_chance(&s->random, was_bad ? g->r : g->p))
        s->is_bad = !was_bad;
    const bool burst = sim_random_chance(&s->random, was_bad ? g->bad : g->good);
    const bool single = sim_random_chance(&s->random, s->path->loss);
    return burst || single;
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct loss *s = (struct loss *)n;
    for (uint32_t repeats = s->path->arq; is_lost(s); repeats--) {
        if (repeats == 0) {
            sim_lose(n->line, p, "loss");
            return;
        }
        p->late_us += s->path->arq_us;
    }
    sim_pass(n, p);
}

void sim_loss_add(struct sim_line *l, enum sim_direction direction)
{
    static const struct sim_node_ops ops = {.take = take};
    const struct sim_path *path = &l->profile->path[direction];
    if (path->loss == 0 && path->gemodel.p == 0 && path->gemodel.good == 0)
        return;
    struct loss *s = sim_node_new(l, sizeof *s, &ops);
    s->path = path;
    sim_line_random(l, direction == SIM_UP ? "loss up" : "loss down", &s->random);
    sim_node_join(&s->node, direction);
}
