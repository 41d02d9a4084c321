#include "bridge/core.h"

/* Clients stay connected while the broker is away, for what they send is kept. Where
 * they could turn to another gateway they may be told, after some time (6.12, A-59). */

void outage_begin(struct bridge *b)
{
    b->outage_ms = b->now_ms;
}

void outage_end(struct bridge *b)
{
    b->outage_ms = BRIDGE_NEVER;
}

uint64_t outage_deadline(const struct bridge *b)
{
    const uint32_t limit_s = b->config->outage_disconnect_s;
    return limit_s == 0 || b->outage_ms == BRIDGE_NEVER ? BRIDGE_NEVER
                                                        : b->outage_ms + (uint64_t)limit_s * 1000;
}

/* Sleepers sleep on: they would not hear it. Who connects later in this outage was let
 * in on purpose. */
void outage_due(struct bridge *b)
{
    if (b->now_ms < outage_deadline(b))
        return;
    outage_end(b);
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++) {
        for (struct table_link *l = b->sessions_by_number.buckets[i], *next; l != NULL; l = next) {
            struct session *s = TABLE_ENTRY(l, struct session, by_number);
            next = l->next; /* letting it go may free it */
            if (s->sn.state == SN_ACTIVE && s->dialogue == DIALOGUE_NONE &&
                !upstream_is_up(upstream_of(b, s)))
                connect_let_go(b, s);
        }
    }
}
