/* What is paid for what was sent, whether it arrives or not: by frame and by volume. Volume is
 * counted in octets with overhead_bits; what does not make a hundredth of the unit yet is
 * kept. Calls and mailbox sessions pay for themselves.
 */
#include "sim/node.h"

struct meter {
    struct sim_node node;
    uint64_t rest; /* thousandths of a hundredth */
};

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct meter *m = (struct meter *)n;
    const struct sim_profile *profile = n->line->profile;
    m->rest += ((uint64_t)p->air_bits + 7) / 8 * profile->cost_per_kilobyte;
    sim_line_pay(n->line, profile->cost_per_frame + m->rest / 1000);
    m->rest %= 1000;
    sim_pass(n, p);
}

void sim_meter_add(struct sim_line *l)
{
    static const struct sim_node_ops ops = {.take = take};
    if (l->profile->cost_per_frame == 0 && l->profile->cost_per_kilobyte == 0)
        return;
    struct meter *m = sim_node_new(l, sizeof *m, &ops);
    sim_node_join(&m->node, SIM_UP);
    sim_node_join(&m->node, SIM_DOWN);
}
