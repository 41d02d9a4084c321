#include "bridge/core.h"

/* Sessions that end by themselves. A session is kept for a client that comes back, and most that
 * do not come back never will: without an end they would fill max_clients for ever.
 *
 * How long depends on what is lost with it. A client with a clean session begins anew
 * anyway; one without supervision may be silent, but not for ever. Where somebody connected
 * once, holds nothing and was not seen again, it was a mistake or a client that has another
 * name each time. Everybody else has ids, subscriptions and messages to come back to.
 *
 * When max_clients are reached before, those that hold nothing for anybody make room, the
 * one that was not heard for longest first. */

#define AFTER_START_MS 3600000 /* nobody could come while we were away */

static bool holds_nothing(const struct session *s)
{
    return s->subscriptions == NULL && s->exchanges == NULL && tiers_count(s) == 0;
}

static uint32_t limit_s(const struct bridge *b, const struct session *s)
{
    if (s->clean)
        return b->config->expire_clean_s;
    if (!s->returned && !sn_session_is_connected(&s->sn) && holds_nothing(s))
        return b->config->expire_unreturned_s;
    return b->config->expire_persistent_s;
}

uint64_t expire_deadline(const struct bridge *b, const struct session *s)
{
    const uint32_t limit = limit_s(b, s);
    const bool connected = sn_session_is_connected(&s->sn);
    if (limit == 0 || !b->started || s->dialogue != DIALOGUE_NONE ||
        (connected && session_deadline(b, s) != SN_NEVER) || (!connected && upstream_is_wanted(s)))
        return SN_NEVER;
    const uint64_t due_ms = s->sn.heard_ms + (uint64_t)limit * 1000;
    return due_ms < b->expire_from_ms ? b->expire_from_ms : due_ms;
}

void expire_start(struct bridge *b)
{
    b->expire_from_ms = b->now_ms + AFTER_START_MS;
}

void expire_due(struct bridge *b, struct session *s)
{
    if (sn_session_is_connected(&s->sn)) {
        connect_lose(b, s,
                     BRIDGE_NOTE_CLIENT_LOST); /* it expires the next time, if it is still there */
        return;
    }
    bridge_note(b, BRIDGE_NOTE_SESSION_EXPIRED, s, sn_bytes(NULL, 0),
                (b->now_ms - s->sn.heard_ms) / 1000);
    upstream_forget(b, s);
    s->clean = true; /* its connection may be needed for that; then nothing is left of it */
    clients_retire(b, s);
}

/* ---- who makes room ------------------------------------------------------------------ */

static bool may_go(const struct session *s)
{
    return !sn_session_is_connected(&s->sn) && s->dialogue == DIALOGUE_NONE && holds_nothing(s) &&
           !upstream_is_wanted(s);
}

void expire_sort(struct bridge *b, struct session *s)
{
    timers_set(&b->idle, &s->idle, may_go(s) ? s->sn.heard_ms : TIMER_NEVER);
}

bool expire_make_room(struct bridge *b)
{
    struct timer *t;
    while ((t = timers_due(&b->idle, TIMER_NEVER - 1)) != NULL) {
        struct session *s = TABLE_ENTRY(t, struct session, idle);
        if (!may_go(s))
            continue; /* it comes back when it is sorted the next time */
        bridge_note(b, BRIDGE_NOTE_SESSION_REPLACED, s, sn_bytes(NULL, 0),
                    (b->now_ms - s->sn.heard_ms) / 1000);
        clients_wipe(b, s);
        clients_remove(b, s);
        return true;
    }
    return false;
}
