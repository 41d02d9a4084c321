#include "bridge/core.h"

#define PROOF_OF_FILTERS ((unsigned)PROOF_REQUEST | PROOF_MESSAGE)

/* A broker may answer what it does not like by closing the connection: a topic that is too
 * deep, a packet that is too large, a retained message where there are none. The same again
 * after every reconnect would keep everybody's messages from getting through. So what was
 * under way at losses is looked at; the reason does not matter.
 *
 *   - What was under way, undecided, at SUSPECT_LOSSES losses is a suspect.
 *   - While there are suspects each of them is handed over alone: nothing else is under
 *     way, nothing else is handed over. One that is answered is none any more.
 *   - One that was lost alone SUSPECT_ALONE times waits, and the others go. If there are
 *     none it is tried again now and then, and that does not count.
 *   - When in some connection another one has been answered it is tried alone once more,
 *     in that connection, after some silence. When that is lost the SUSPECT_SURE'th time
 *     in all it is set aside: dropped, named, counted.
 *
 * Why nothing else is dropped. What is dropped was in seven or eight connections the last,
 * or only thing that went out before the loss, was never answered in any, and each time
 * alone. In the last two of these the broker had answered another one of its kind before:
 * so a broker that is stopped, restarted or broken for all drops nothing. And before each
 * but the first of the trials the connection had been silent and well for
 * SUSPECT_STILL_MS. A link that fails by chance in the share p of the time that one
 * answer takes would have to do so five times in a row, at one message: p^5, and that
 * only after three losses with that message under way. What is not answered in time at p
 * near 1 gets nothing else answered either, and then nothing is dropped.
 *
 * Why what is the reason is found. It is under way at every loss, so it becomes a
 * suspect at the third; it is lost alone, so it waits after three more, and others go.
 * If there are no others, it holds up nobody. Pauses grow meanwhile.
 *
 * What it costs. QoS 0 is not sent again and never suspected. While suspects are tried it
 * waits, so that it is not it on which the broker hangs up. What comes later by the topic
 * of one that waits may overtake it. At QoS 2 a suspect is published anew, by another
 * packet id, as with a session that the broker has lost: a broker that has it without
 * having said so has it twice. A restart forgets all suspicions. */

/* In this connection something else was answered, so that it is not the broker. */
static bool is_proved(const struct upstream *u, unsigned proof)
{
    return (u->proof & proof) != 0;
}

static bool is_tried(const struct upstream *u, const struct suspicion *s, unsigned proof, bool any)
{
    return suspect_is(s) && (any || s->alone < SUSPECT_ALONE || is_proved(u, proof));
}

static struct filter *next_filter(const struct upstream *u, bool any)
{
    for (struct filter *f = u->filters_first; f != NULL; f = f->all_next)
        if (is_tried(u, &f->suspicion, PROOF_OF_FILTERS, any) && subscribe_is_wanted(f))
            return f;
    return NULL;
}

static struct message *next_message(const struct upstream *u, bool any)
{
    struct message *next = NULL;
    for (const struct lane *l = u->lanes; l != NULL; l = l->next)
        for (struct message *m = l->queue.head; m != NULL; m = m->next) {
            if (is_tried(u, &m->suspicion, PROOF_MESSAGE, any) &&
                (next == NULL || m->seq < next->seq))
                next = m;
            if (!l->queue.newest && !u->disordered && !m->sent && !m->published)
                break; /* those behind were never handed over */
        }
    return next;
}

static void try_it(struct bridge *b, struct upstream *u, struct filter *f, struct message *m)
{
    u->trying = true;
    if (f != NULL)
        subscribe_try(b, f);
    else
        uplink_try(b, u, m);
    u->trying = u->inflight + u->sync_open > 0; /* it may have expired */
}

bool suspect_pump(struct bridge *b, struct upstream *u)
{
    if (u->suspects == 0 || b->stopping)
        return false;
    if (u->trying)
        return true;
    const bool busy = upstream_under_way(u) > 0;
    const bool idle = !busy && b->now_ms >= u->still_ms + SUSPECT_IDLE_MS;
    struct filter *f = upstream_is_open(u) ? next_filter(u, idle) : NULL;
    struct message *m = f == NULL ? next_message(u, idle) : NULL;
    if (f == NULL && m == NULL) { /* they wait until something else is answered, or long */
        if (!busy)
            upstream_remind(b, u, u->still_ms + SUSPECT_IDLE_MS);
        return false;
    }
    if (busy)
        return true;
    const bool was_alone = (f == NULL ? &m->suspicion : &f->suspicion)->alone > 0;
    if (was_alone && b->now_ms < u->still_ms + SUSPECT_STILL_MS)
        upstream_remind(b, u, u->still_ms + SUSPECT_STILL_MS);
    else
        try_it(b, u, f, m);
    return true;
}

void suspect_clear(struct upstream *u, struct suspicion *s)
{
    if (suspect_is(s))
        u->suspects--;
    *s = (struct suspicion){0};
}

void suspect_proof(struct upstream *u, enum proof proof)
{
    u->proof |= (uint8_t)proof;
    u->trying = false;
}

/* ---- a connection is lost -------------------------------------------------------- */

static bool blame(struct upstream *u, struct suspicion *s, unsigned proof)
{
    if (suspect_is(s))
        s->alone += u->trying && (s->alone < SUSPECT_ALONE || is_proved(u, proof));
    else if (++s->losses == SUSPECT_LOSSES)
        u->suspects++;
    return s->losses > 1;
}

bool suspect_lost(struct bridge *b, struct upstream *u)
{
    const uint32_t before = u->suspects;
    bool again = false;
    u->careful = u->trying;
    for (struct filter *f = u->filters_first; f != NULL; f = f->all_next)
        if (f->state == FILTER_PENDING)
            again |= blame(u, &f->suspicion, PROOF_OF_FILTERS);
    for (const struct lane *l = u->lanes; l != NULL; l = l->next)
        for (struct message *m = l->queue.head; m != NULL; m = m->next)
            if (m->published && m->qos > 0)
                again |= blame(u, &m->suspicion, PROOF_MESSAGE);
    if (u->suspects > before)
        bridge_note(b, BRIDGE_NOTE_BROKER_SUSPECTS, u->session, sn_bytes(NULL, 0), u->suspects);
    return again;
}

void suspect_judge(struct bridge *b, struct upstream *u)
{
    for (struct filter *f = u->filters_first; f != NULL && u->suspects > 0; f = f->all_next)
        if (f->suspicion.alone >= SUSPECT_SURE)
            subscribe_set_aside(b, f);
    for (const struct lane *l = u->lanes; l != NULL && u->suspects > 0; l = l->next)
        for (struct message *m = l->queue.head, *next; m != NULL; m = next) {
            next = m->next;
            if (m->suspicion.alone >= SUSPECT_SURE)
                uplink_set_aside(b, u, m);
        }
}
