/* When a line is there: contacts that are planned, and a link that comes and goes at random.
 *
 * Contacts come from a list, from a period, or from a satellite's orbit; without any of these
 * there always is one. flap_up and flap_down are the means of exponentially distributed times.
 *
 * A low satellite is far and behind haze: orbit_loss is the share of frames lost (low) at the
 * station's least elevation; it falls with the sine of the elevation, to none overhead.
 */
#include "sim/node.h"
#include "sim/orbit.h"

struct plan {
    struct sim_node node;
    bool has_orbit;
    struct sim_orbit orbit;
    struct sim_span contact; /* the present one, or the next */
    struct sim_timer contact_timer;
    struct sim_random random;
    bool is_away;
    struct sim_timer flap_timer;
};

/* The first contact that ends after now; from and to SIM_NEVER when there is none. */
static struct sim_span next_contact(const struct plan *plan, uint64_t now_us)
{
    const struct sim_profile *p = plan->node.line->profile;
    const struct sim_span never = {SIM_NEVER, SIM_NEVER};
    for (uint32_t i = 0; i < p->contacts.count; i++)
        if (p->contacts.list[i].high > now_us)
            return p->contacts.list[i];
    if (p->contact_every_us > 0) {
        uint64_t from_us = p->contact_after_us;
        if (from_us + p->contact_for_us <= now_us)
            from_us +=
                (now_us - from_us - p->contact_for_us) / p->contact_every_us * p->contact_every_us +
                p->contact_every_us;
        return (struct sim_span){from_us, from_us + p->contact_for_us};
    }
    if (plan->has_orbit)
        return sim_orbit_next(&plan->orbit, now_us);
    return never;
}

/* At the start, and when a contact begins or ends. */
static void contact_changes(void *ctx, uint64_t arg)
{
    struct plan *plan = ctx;
    struct sim_line *l = plan->node.line;
    const uint64_t now_us = sim_now(l->world);
    (void)arg;
    if (plan->contact.high <= now_us)
        plan->contact = next_contact(plan, now_us);
    const bool is_there = plan->contact.low <= now_us;
    sim_timer_set(l->world, &plan->contact_timer,
                  is_there ? plan->contact.high : plan->contact.low);
    sim_line_set(l, SIM_CAUSE_CONTACT, !is_there, "no-contact");
}

static void arrange_flap(struct plan *plan)
{
    struct sim_line *l = plan->node.line;
    const struct sim_profile *p = l->profile;
    const uint64_t mean_us = plan->is_away ? p->flap_down_us : p->flap_up_us;
    sim_timer_set(l->world, &plan->flap_timer,
                  sim_now(l->world) + sim_random_wait(&plan->random, mean_us));
}

static void flaps(void *ctx, uint64_t arg)
{
    struct plan *plan = ctx;
    (void)arg;
    plan->is_away = !plan->is_away;
    arrange_flap(plan);
    sim_line_set(plan->node.line, SIM_CAUSE_FLAP, plan->is_away, "away");
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct plan *plan = (struct plan *)n;
    const int64_t one = 1 << 30;
    const int64_t least = plan->orbit.sin_elevation;
    const int64_t height = sim_orbit_height(&plan->orbit, sim_now(n->line->world) / SIM_MS);
    const int64_t chance = n->line->profile->orbit_loss * (one - height) / (one - least + 1);
    if (sim_random_chance(&plan->random, (uint32_t)chance))
        sim_lose(n->line, p, "low");
    else
        sim_pass(n, p);
}

static void close_plan(struct sim_node *n)
{
    struct plan *plan = (struct plan *)n;
    sim_timer_stop(n->line->world, &plan->contact_timer);
    sim_timer_stop(n->line->world, &plan->flap_timer);
}

/* Whoever makes the chains joins it behind the air if it is not NULL. */
struct sim_node *sim_plan_add(struct sim_line *l)
{
    static const struct sim_node_ops ops = {.take = take, .close = close_plan};
    const struct sim_profile *p = l->profile;
    const bool has_contacts =
        p->contacts.count > 0 || p->contact_every_us > 0 || p->orbit_altitude_km > 0;
    if (!has_contacts && p->flap_up_us == 0)
        return NULL;
    struct plan *plan = sim_node_new(l, sizeof *plan, &ops);
    plan->contact_timer = (struct sim_timer){.fn = contact_changes, .ctx = plan};
    plan->flap_timer = (struct sim_timer){.fn = flaps, .ctx = plan};
    sim_line_random(l, "flap", &plan->random);
    plan->has_orbit = p->orbit_altitude_km > 0;
    if (plan->has_orbit)
        sim_orbit_init(&plan->orbit, p);
    if (p->flap_up_us > 0)
        arrange_flap(plan);
    if (has_contacts)
        contact_changes(plan, 0);
    return plan->has_orbit && p->orbit_loss > 0 ? &plan->node : NULL;
}
