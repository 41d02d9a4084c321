/* A mailbox that is emptied by sessions: Iridium's Short Burst Data, as its AT references
 * describe SBDIX.
 *
 * A session takes a time within sbd_session, and moves at most one frame up (mobile
 * originated, MO) and one down (mobile terminated, MT) when it succeeds; both arrive after a
 * time within sbd_transit. It fails with a chance that depends on the signal quality (CSQ), a
 * random walk from 0 to 5 with a step every sbd_csq_every; at 0 none is begun. Sessions begin at
 * least sbd_gap apart, and sbd_retry after one that failed. One is begun
 *   - when a frame waits in the device,
 *   - when a frame for it reaches the operator, who rings, if the device has a signal then,
 *   - as long as the last session said that more frames wait,
 *   - every sbd_check, for looking.
 *
 * A session that succeeds is paid for in credits of 50 octets: those of each frame, and one
 * when there was none. Frames wait here: in the device up to its queue, at the operator up to
 * sbd_mailbox.
 */
#include "sim/node.h"

#include <stdlib.h>

#define CREDIT_OCTETS 50
#define CSQ_BEST      5
#define CSQ_GOOD      3

struct sbd {
    struct sim_node node;
    struct sim_random random;
    struct sim_queue waiting[2]; /* by direction */
    bool in_session;
    bool is_called;         /* something may wait at the operator */
    uint64_t since_us;      /* when the session began */
    uint64_t not_before_us; /* the next one */
    uint64_t check_us;      /* when to look */
    uint32_t csq;
    uint64_t csq_us; /* of its last step */
    struct sim_timer timer;
};

/* Takes the steps since the last time. */
static uint32_t csq(struct sbd *s)
{
    const uint64_t step_us = s->node.line->profile->sbd_csq_every_us;
    for (; sim_now(s->node.line->world) - s->csq_us >= step_us; s->csq_us += step_us) {
        const uint64_t draw = sim_random_below(&s->random, 3);
        if (draw == 0 && s->csq > 0)
            s->csq--;
        else if (draw == 2 && s->csq < CSQ_BEST)
            s->csq++;
    }
    return s->csq;
}

static bool wants_session(const struct sbd *s)
{
    return s->waiting[SIM_UP].first != NULL || s->is_called ||
           sim_now(s->node.line->world) >= s->check_us;
}

static void start_of(struct sbd *s, enum sim_direction direction, uint64_t until_us)
{
    if (s->waiting[direction].first != NULL)
        sim_packet_say(s->node.line, s->waiting[direction].first,
                       (struct sim_record){.type = SIM_FRAME_STARTED, .until_us = until_us});
}

static void begin(struct sbd *s)
{
    struct sim_line *l = s->node.line;
    const uint64_t now_us = sim_now(l->world);
    const uint64_t until_us = now_us + sim_draw(&s->random, l->profile->sbd_session);
    s->in_session = true;
    s->since_us = now_us;
    sim_line_say(
        l, (struct sim_record){.type = SIM_NOTE, .text = "session begins", .until_us = until_us});
    start_of(s, SIM_UP, until_us);
    start_of(s, SIM_DOWN, until_us);
    sim_timer_set(l->world, &s->timer, until_us);
}

/* Begins a session, or arranges when to think again. */
static void consider(struct sbd *s)
{
    struct sim_line *l = s->node.line;
    const uint64_t now_us = sim_now(l->world);
    if (s->in_session)
        return;
    if (!wants_session(s))
        sim_timer_set(l->world, &s->timer, s->check_us);
    else if (now_us < s->not_before_us)
        sim_timer_set(l->world, &s->timer, s->not_before_us);
    else if (csq(s) == 0 || !sim_line_is_up(l))
        sim_timer_set(l->world, &s->timer, s->csq_us + l->profile->sbd_csq_every_us);
    else
        begin(s);
}

static uint64_t credits(const struct sim_packet *p)
{
    return p == NULL ? 0 : (p->len + CREDIT_OCTETS - 1) / CREDIT_OCTETS;
}

static void move(struct sbd *s, struct sim_packet *p)
{
    if (p == NULL)
        return;
    s->node.line->waiting--;
    p->late_us += sim_draw(&s->random, s->node.line->profile->sbd_transit);
    sim_pass(&s->node, p);
}

static void end(struct sbd *s)
{
    struct sim_line *l = s->node.line;
    const struct sim_profile *p = l->profile;
    const uint64_t now_us = sim_now(l->world);
    const uint32_t failure = csq(s) >= CSQ_GOOD ? p->sbd_fail_good : p->sbd_fail_poor;
    const bool fails = sim_random_chance(&s->random, failure) || s->csq == 0 || !sim_line_is_up(l);
    s->in_session = false;
    sim_line_say(l, (struct sim_record){
                        .type = SIM_NOTE,
                        .text = fails ? "session fails" : "session ends",
                        .number = s->csq,
                    });
    if (fails) {
        s->not_before_us = now_us + p->sbd_retry_us;
        return;
    }
    s->not_before_us = s->since_us + p->sbd_gap_us;
    s->check_us = p->sbd_check_us > 0 ? now_us + p->sbd_check_us : SIM_NEVER;
    struct sim_packet *up = sim_queue_take(&s->waiting[SIM_UP]);
    struct sim_packet *down = sim_queue_take(&s->waiting[SIM_DOWN]);
    s->is_called = s->waiting[SIM_DOWN].first != NULL;
    const uint64_t count = credits(up) + credits(down);
    sim_line_pay(l, (count > 0 ? count : 1) * p->cost_per_credit);
    move(s, up);
    move(s, down);
}

static void time_is_over(void *ctx, uint64_t arg)
{
    struct sbd *s = ctx;
    (void)arg;
    if (s->in_session)
        end(s);
    consider(s);
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct sbd *s = (struct sbd *)n;
    const struct sim_profile *profile = n->line->profile;
    const bool is_up = p->direction == SIM_UP;
    const uint32_t room = is_up ? profile->path[SIM_UP].queue : profile->sbd_mailbox;
    if (s->waiting[p->direction].count >= room) {
        sim_lose(n->line, p, "queue");
        return;
    }
    n->line->waiting++;
    sim_queue_put(&s->waiting[p->direction], p);
    if (!is_up && profile->sbd_ring && sim_line_is_up(n->line) && csq(s) > 0)
        s->is_called = true;
    consider(s);
}

/* What waits in a mailbox is not on its way. */
static void drop(struct sim_node *n, const char *why, bool queues)
{
    struct sbd *s = (struct sbd *)n;
    for (int d = SIM_UP; queues && d <= SIM_DOWN; d++) {
        n->line->waiting -= s->waiting[d].count;
        sim_lose_all(n->line, &s->waiting[d], why);
    }
}

static void close_sbd(struct sim_node *n)
{
    struct sbd *s = (struct sbd *)n;
    sim_timer_stop(n->line->world, &s->timer);
    sim_forget_all(&s->waiting[SIM_UP]);
    sim_forget_all(&s->waiting[SIM_DOWN]);
}

void sim_sbd_add(struct sim_line *l)
{
    static const struct sim_node_ops ops = {.take = take, .drop = drop, .close = close_sbd};
    if (!l->profile->sbd)
        return;
    struct sbd *s = sim_node_new(l, sizeof *s, &ops);
    const uint64_t now_us = sim_now(l->world);
    s->timer = (struct sim_timer){.fn = time_is_over, .ctx = s};
    s->csq_us = now_us;
    s->check_us = l->profile->sbd_check_us > 0 ? now_us + l->profile->sbd_check_us : SIM_NEVER;
    sim_line_random(l, "sbd", &s->random);
    s->csq = (uint32_t)sim_random_between(&s->random, CSQ_GOOD, CSQ_BEST);
    sim_node_join(&s->node, SIM_UP);
    sim_node_join(&s->node, SIM_DOWN);
    consider(s);
}
