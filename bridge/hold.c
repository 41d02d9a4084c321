#include "bridge/core.h"

/* Messages that the broker does not take now. Some of its reason codes speak of its state and
 * not of the message: a queue that is full, a rate that is too high. Such a message is
 * held: it goes again after a pause, from HOLD_MIN_MS up to HOLD_MAX_MS, and others pass
 * meanwhile, but for those of the same client and topic, whose order is kept.
 *
 * "Unspecified error" and "implementation specific error" (0x80, 0x83) may pass, or may be
 * the broker's word for never: such a message is given up HOLD_AGE_MS after the first
 * refusal. When HOLDS_MAX are held, the broker takes nothing, and nothing else is handed
 * over until one of them is taken. A restart begins anew. */

#define HOLD_MIN_MS 1000
#define HOLD_MAX_MS 60000
#define HOLD_AGE_MS 600000
#define HOLDS_MAX   64 /* of one connection */

bool bridge_may_pass(uint8_t code)
{
    switch (code) {
    case 0x80: /* unspecified error */
    case 0x83: /* implementation specific error */
    case 0x88: /* server unavailable */
    case 0x89: /* server busy */
    case 0x96: /* message rate too high */
    case 0x97: /* quota exceeded */
        return true;
    default:
        return false;
    }
}

static struct hold **find(struct upstream *u, const struct message *m)
{
    struct hold **at = &u->holds;
    while (*at != NULL && (*at)->message != m)
        at = &(*at)->next;
    return at;
}

static bool is_of(const struct message *m, const struct message *other)
{
    return m->topic == other->topic && m->session == other->session;
}

/* The pause doubles; by chance a quarter of it more or less, so that not all come at once. */
static uint64_t pause_ms(struct bridge *b, uint8_t tries)
{
    uint64_t ms = HOLD_MIN_MS;
    for (uint8_t i = 1; i < tries && ms < HOLD_MAX_MS; i++)
        ms *= 2;
    if (ms > HOLD_MAX_MS)
        ms = HOLD_MAX_MS;
    return ms - ms / 4 + bridge_random(b, (uint32_t)ms / 2);
}

bool hold_message(struct bridge *b, struct upstream *u, struct message *m, uint8_t code)
{
    struct hold *h = *find(u, m);
    if (h != NULL && (code == 0x80 || code == 0x83) && b->now_ms >= h->since_ms + HOLD_AGE_MS)
        return false;
    if (h == NULL) {
        h = arena_take(&b->arena, sizeof(*h));
        if (h == NULL) {
            upstream_cut(b, u); /* it is undecided then, and comes again after a pause */
            return true;
        }
        h->message = m;
        h->since_ms = b->now_ms;
        h->next = u->holds;
        u->holds = h;
        u->hold_count++;
        bridge_note(b, BRIDGE_NOTE_UP_HELD, clients_find_number(b, m->session),
                    name_bytes(m->topic), code);
    }
    h->tries += h->tries < UINT8_MAX;
    h->due_ms = b->now_ms + pause_ms(b, h->tries);
    m->published = false;
    m->sent = m->held = true;
    u->disordered = true;
    return true;
}

void hold_clear(struct bridge *b, struct upstream *u, struct message *m)
{
    struct hold **at = find(u, m);
    struct hold *h = *at;
    if (h == NULL)
        return;
    *at = h->next;
    u->hold_count--;
    arena_put(&b->arena, h);
    for (struct lane *l = u->lanes; l != NULL; l = l->next) {
        for (struct message *other = l->queue.head; other != NULL; other = other->next)
            if (other->held && is_of(other, m))
                other->held = *find(u, other) != NULL;
        lanes_rewind(&l->queue);
    }
}

bool hold_blocks(const struct upstream *u, const struct message *m)
{
    for (const struct hold *h = u->holds; h != NULL; h = h->next)
        if (h->message != m && is_of(h->message, m))
            return true;
    return false;
}

bool hold_pump(struct bridge *b, struct upstream *u)
{
    for (struct hold *h = u->holds, *next; h != NULL; h = next) {
        next = h->next;
        if (!h->message->published && h->due_ms <= b->now_ms && u->inflight < u->window)
            uplink_try(b, u, h->message); /* it may have expired, and h is gone then */
    }
    uint64_t due_ms = BRIDGE_NEVER;
    for (const struct hold *h = u->holds; h != NULL; h = h->next)
        if (!h->message->published && h->due_ms < due_ms)
            due_ms = h->due_ms;
    if (due_ms != BRIDGE_NEVER && u->inflight < u->window)
        upstream_remind(b, u, due_ms);
    return u->hold_count >= HOLDS_MAX;
}
