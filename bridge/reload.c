#include "bridge/core.h"

#include <assert.h>

/* The driver takes care that nothing else differs. */
static void check(const struct bridge_config *a, const struct bridge_config *b)
{
    assert(a->max_clients == b->max_clients && a->max_topics == b->max_topics);
    assert(a->seed == b->seed && a->link_count == b->link_count);
    assert(a->class_count == b->class_count && a->mode_count == b->mode_count);
    for (size_t i = 0; i < a->link_count; i++) {
        assert(sn_bytes_equal(sn_bytes_text(a->links[i].name), sn_bytes_text(b->links[i].name)));
        assert(a->links[i].frame_max == b->links[i].frame_max);
        assert(a->links[i].bits_per_s == b->links[i].bits_per_s);
    }
}

static void change_link(struct bridge *b, uint16_t i)
{
    struct bridge_link *link = &b->links[i];
    const uint16_t advertise_s = link->config->advertise_s;
    link->config = &b->config->links[i];
    link->rtt = air_rtt_limits(link->config);
    if (link->config->advertise_s != advertise_s)
        discover_change(b, i);
}

/* They may be silent for another time now. */
static void change_sessions(struct bridge *b)
{
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++)
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next)
            session_reschedule(b, TABLE_ENTRY(l, struct session, by_number));
}

bool bridge_reload(struct bridge *b, uint64_t now_ms, const struct bridge_config *config)
{
    assert(now_ms >= b->now_ms);
    b->now_ms = now_ms;
    check(b->config, config);
    if (!predefined_change(b, config))
        return false;
    b->config = config;
    for (uint16_t i = 0; i < config->link_count; i++)
        change_link(b, i);
    change_sessions(b);
    downlink_rename(b);
    upstream_hurry(b);
    return true;
}
