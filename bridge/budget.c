#include "bridge/core.h"

/* What one peer may cost the others. Each name that is new is a session, and each request that
 * must survive a restart is a write and a commit, for everybody who is served by this
 * disk. A device needs few of both, but a broken one repeats them as fast as its link
 * carries them. So they have a budget that comes back with the time: all of it may be
 * used at once, and what is beyond it hears congestion. */

#define NEW_CLIENTS_MS 60000
#define WRITES_MS      600000

/* One of count in period_ms; full_ms is when all of them are there again. */
static bool take(uint64_t *full_ms, uint64_t now_ms, uint32_t count, uint32_t period_ms)
{
    const uint64_t from_ms = *full_ms > now_ms ? *full_ms : now_ms;
    const uint64_t to_ms = from_ms + period_ms / count;
    if (to_ms > now_ms + period_ms)
        return false;
    *full_ms = to_ms;
    return true;
}

/* By address, whatever nodes a forwarder names: they cost nothing to make up. Two
 * addresses in one place begin anew each time the other comes; none is refused for the other. */
bool budget_new_client(struct bridge *b, const struct peer *peer)
{
    const uint32_t who =
        table_hash(b->config->seed + peer->link, peer->address->bytes, peer->address->len);
    struct newcomers *n = &b->newcomers[who % NEWCOMERS_PLACES];
    if (b->config->max_new_clients == 0)
        return true;
    if (n->who != who)
        *n = (struct newcomers){.who = who};
    if (take(&n->full_ms, b->now_ms, b->config->max_new_clients, NEW_CLIENTS_MS))
        return true;
    bridge_note_at(b, BRIDGE_NOTE_NEW_CLIENT_LIMIT, peer->link, sn_bytes(NULL, 0),
                   sn_bytes(NULL, 0), b->config->max_new_clients);
    return false;
}

bool budget_write(struct bridge *b, struct session *s)
{
    if (b->config->max_writes == 0 ||
        take(&s->writes_full_ms, b->now_ms, b->config->max_writes, WRITES_MS))
        return true;
    bridge_note(b, BRIDGE_NOTE_WRITE_LIMIT, s, sn_bytes(NULL, 0), b->config->max_writes);
    return false;
}
