/* Calls: a link that must be dialled before anything passes.
 *
 * The first frame makes a call, and waits with the others in the queue behind this node. The
 * call stands after a time within dial, or finds the other end busy, or has no answer; then it is
 * tried again after dial_retry, dial_tries times in all, before what waits is lost (no-call). A
 * call ends by itself after a random time with the mean dial_drop, and is hung up after dial_idle
 * without a frame. Minutes that have begun are paid for.
 */
#include "sim/node.h"

#define MINUTE_US (60 * SIM_S)

enum state {
    HUNG_UP,
    DIALLING,
    PAUSED, /* before the next try */
    STANDS,
};

struct dial {
    struct sim_node node;
    struct sim_random random;
    enum state state;
    uint32_t tries;         /* that failed, one after the other */
    struct sim_timer timer; /* the answer to a call; the end of a pause */
    struct sim_timer fails; /* the call drops by itself */
    struct sim_timer idle;
    struct sim_timer minute;
};

static void note(struct dial *d, const char *text)
{
    sim_line_say(d->node.line, (struct sim_record){.type = SIM_NOTE, .text = text});
}

static void in(struct dial *d, struct sim_timer *t, uint64_t wait_us)
{
    struct sim_world *w = d->node.line->world;
    sim_timer_set(w, t, sim_now(w) + wait_us);
}

static void call(struct dial *d)
{
    d->state = DIALLING;
    note(d, "dials");
    in(d, &d->timer, sim_draw(&d->random, d->node.line->profile->dial));
}

/* There is something to send, and no call. */
static void call_again(struct dial *d)
{
    d->state = PAUSED;
    in(d, &d->timer, d->node.line->profile->dial_retry_us);
}

static void stop_timers(struct dial *d)
{
    struct sim_world *w = d->node.line->world;
    sim_timer_stop(w, &d->timer);
    sim_timer_stop(w, &d->fails);
    sim_timer_stop(w, &d->idle);
    sim_timer_stop(w, &d->minute);
}

static void hang_up(struct dial *d, const char *why)
{
    stop_timers(d);
    d->state = HUNG_UP;
    sim_line_set(d->node.line, SIM_CAUSE_CALL, true, why);
    if (d->node.line->waiting > 0)
        call_again(d);
}

static void stands(struct dial *d)
{
    const struct sim_profile *p = d->node.line->profile;
    d->state = STANDS;
    d->tries = 0;
    sim_line_pay(d->node.line, p->cost_per_minute);
    in(d, &d->minute, MINUTE_US);
    if (p->dial_drop_us > 0)
        in(d, &d->fails, sim_random_wait(&d->random, p->dial_drop_us));
    if (p->dial_idle_us > 0)
        in(d, &d->idle, p->dial_idle_us);
    sim_line_set(d->node.line, SIM_CAUSE_CALL, false, NULL);
}

/* NULL: it succeeds. On a line that is down for another reason nobody answers. */
static const char *outcome(struct dial *d)
{
    const struct sim_profile *p = d->node.line->profile;
    const uint64_t draw = sim_random_below(&d->random, SIM_ALWAYS);
    if (d->node.line->causes != SIM_CAUSE_CALL)
        return "no answer";
    if (draw < p->dial_busy)
        return "busy";
    if (draw < (uint64_t)p->dial_busy + p->dial_fail)
        return "no answer";
    return NULL;
}

static void time_is_over(void *ctx, uint64_t arg)
{
    struct dial *d = ctx;
    (void)arg;
    if (d->state == PAUSED) {
        call(d);
        return;
    }
    const char *failure = outcome(d);
    if (failure == NULL) {
        stands(d);
        return;
    }
    note(d, failure);
    if (++d->tries < d->node.line->profile->dial_tries) {
        call_again(d);
        return;
    }
    d->state = HUNG_UP;
    d->tries = 0;
    sim_line_give_up(d->node.line, "no-call");
}

static void drops(void *ctx, uint64_t arg)
{
    (void)arg;
    hang_up(ctx, "dropped");
}

static void is_idle(void *ctx, uint64_t arg)
{
    struct dial *d = ctx;
    (void)arg;
    if (d->node.line->waiting > 0)
        in(d, &d->idle, d->node.line->profile->dial_idle_us);
    else
        hang_up(d, "idle");
}

static void next_minute(void *ctx, uint64_t arg)
{
    struct dial *d = ctx;
    (void)arg;
    sim_line_pay(d->node.line, d->node.line->profile->cost_per_minute);
    in(d, &d->minute, MINUTE_US);
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct dial *d = (struct dial *)n;
    const uint32_t by = n->line->profile->dial_by;
    const bool may_call =
        by == SIM_DIAL_BOTH || by == (p->direction == SIM_UP ? SIM_DIAL_DEVICE : SIM_DIAL_GATEWAY);
    if (d->state == HUNG_UP && may_call)
        call(d);
    if (d->state == STANDS && n->line->profile->dial_idle_us > 0)
        in(d, &d->idle, n->line->profile->dial_idle_us);
    sim_pass(n, p);
}

/* The line went down under a standing call. */
static void drop(struct sim_node *n, const char *why, bool queues)
{
    struct dial *d = (struct dial *)n;
    (void)why;
    (void)queues;
    if (d->state == STANDS)
        hang_up(d, "dropped");
}

static void close_dial(struct sim_node *n)
{
    stop_timers((struct dial *)n);
}

void sim_dial_add(struct sim_line *l)
{
    static const struct sim_node_ops ops = {.take = take, .drop = drop, .close = close_dial};
    if (l->profile->dial.high == 0)
        return;
    struct dial *d = sim_node_new(l, sizeof *d, &ops);
    d->timer = (struct sim_timer){.fn = time_is_over, .ctx = d};
    d->fails = (struct sim_timer){.fn = drops, .ctx = d};
    d->idle = (struct sim_timer){.fn = is_idle, .ctx = d};
    d->minute = (struct sim_timer){.fn = next_minute, .ctx = d};
    sim_line_random(l, "dial", &d->random);
    sim_node_join(&d->node, SIM_UP);
    sim_node_join(&d->node, SIM_DOWN);
    sim_line_set(l, SIM_CAUSE_CALL, true, "no-call");
}
