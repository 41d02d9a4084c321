#include "bridge/core.h"

#include <assert.h>

/* Advertisement and discovery (6.1). Frames to everybody go to the link's
 * broadcast address, and to every forwarder that was heard on it, which passes
 * them on within the radius. */

#define NADV       3    /* 7.2: ADVERTISE of another gateway missed before a stand-by takes over */
#define FIRST_MS   1000 /* after the broker is there: spread over this time */
#define RADIUS_MAX 3    /* the encapsulation has two bits for it */

/* ---- forwarders -------------------------------------------------------------- */

static bool is_same(const struct radio_address *a, const struct radio_address *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

bool discover_is_forwarder(const struct bridge *b, uint16_t link,
                           const struct radio_address *address)
{
    const struct bridge_link_config *c = b->links[link].config;
    bool listed = c->forwarder_count == 0;
    for (size_t i = 0; i < c->forwarder_count && !listed; i++)
        listed = radio_mask_has(&c->forwarder_list[i], address);
    return c->forwarders && listed;
}

/* The one not heard for longest gives way: a table of fixed size is enough to
 * reach those that are there. */
void discover_forwarder(struct bridge *b, uint16_t link, const struct radio_address *address)
{
    struct bridge_link *l = &b->links[link];
    struct forwarder *place = &l->forwarders[0];
    for (size_t i = 0; i < BRIDGE_FORWARDERS_MAX; i++) {
        struct forwarder *f = &l->forwarders[i];
        if (f->heard_ms != 0 && is_same(&f->address, address)) {
            place = f;
            break;
        }
        if (f->heard_ms < place->heard_ms)
            place = f;
    }
    place->address = *address;
    place->heard_ms = b->now_ms;
}

/* One that does not fit becomes 0, the whole network: rather too far than too near. */
static uint8_t forwarders_radius(uint8_t radius)
{
    return radius > RADIUS_MAX ? 0 : radius;
}

static void to_everybody(struct bridge *b, uint16_t link, const struct sn_packet *p, uint8_t radius)
{
    const struct radio_address all = {0};
    air_answer(b, &(struct peer){.link = link, .address = &all}, p);
    static const uint8_t nobody[1];
    for (size_t i = 0; i < BRIDGE_FORWARDERS_MAX; i++) {
        const struct forwarder *f = &b->links[link].forwarders[i];
        if (f->heard_ms == 0)
            continue;
        const struct peer peer = {.link = link,
                                  .address = &f->address,
                                  .node = sn_bytes(nobody, 0),
                                  .radius = forwarders_radius(radius)};
        air_answer(b, &peer, p);
    }
}

/* ---- ADVERTISE --------------------------------------------------------------------- */

static bool is_standing_by(const struct bridge *b, uint16_t link)
{
    return b->config->standby && b->links[link].other_until_ms > b->now_ms;
}

static void plan(struct bridge *b, uint16_t link, bool up)
{
    b->links[link].advertise_ms = up && b->links[link].config->advertise_s > 0
                                      ? b->now_ms + bridge_random(b, FIRST_MS)
                                      : BRIDGE_NEVER;
}

/* 6.1: a gateway that cannot reach its server does not advertise itself. */
void discover_broker(struct bridge *b, bool up)
{
    for (uint16_t i = 0; i < b->config->link_count; i++)
        plan(b, i, up);
}

void discover_change(struct bridge *b, uint16_t link)
{
    plan(b, link, upstream_is_up(&b->shared));
}

void discover_start(struct bridge *b)
{
    discover_broker(b, false);
    if (!b->config->standby)
        return;
    /* Somebody else may be there: listen for as long as it may take to hear. */
    for (uint16_t i = 0; i < b->config->link_count; i++)
        b->links[i].other_until_ms =
            b->now_ms + (uint64_t)b->links[i].config->advertise_s * 1000 * NADV;
}

void discover_heard(struct bridge *b, uint16_t link, const struct sn_packet *p)
{
    if (p->advertise.gw_id == b->config->gateway_id)
        return; /* ourselves, or somebody whose id is wrong */
    b->links[link].other_until_ms = b->now_ms + (uint64_t)p->advertise.duration_s * 1000 * NADV;
}

void discover_due(struct bridge *b)
{
    for (uint16_t i = 0; i < b->config->link_count; i++) {
        struct bridge_link *l = &b->links[i];
        if (l->advertise_ms > b->now_ms)
            continue;
        if (is_standing_by(b, i)) {
            l->advertise_ms = l->other_until_ms;
            continue;
        }
        l->advertise_ms = b->now_ms + (uint64_t)l->config->advertise_s * 1000;
        to_everybody(b, i,
                     &(struct sn_packet){.type = SN_ADVERTISE,
                                         .advertise = {.gw_id = b->config->gateway_id,
                                                       .duration_s = l->config->advertise_s}},
                     0);
    }
}

uint64_t discover_deadline(const struct bridge *b)
{
    uint64_t due = BRIDGE_NEVER;
    for (size_t i = 0; i < b->config->link_count; i++)
        due = b->links[i].advertise_ms < due ? b->links[i].advertise_ms : due;
    return due;
}

/* ---- SEARCHGW ---------------------------------------------------------------------- */

/* The bridge buffers while the broker is away and accepts CONNECT, so it
 * answers, unless it is told not to accept anybody then. To everybody, so that others can give up their search,
 * with the radius of the question. */
void discover_search(struct bridge *b, const struct peer *peer, const struct sn_packet *p)
{
    const bool refuses =
        b->config->connect_offline == BRIDGE_OFFLINE_NONE && !upstream_is_up(&b->shared);
    if (refuses || is_standing_by(b, peer->link))
        return;
    const struct sn_packet answer = {.type = SN_GWINFO, .gwinfo.gw_id = b->config->gateway_id};
    struct radio_address all = {0};
    struct peer to = *peer;
    to.radius = forwarders_radius(p->searchgw.radius);
    if (peer->node.data == NULL && b->links[peer->link].config->gwinfo_broadcast)
        to.address = &all;
    air_answer(b, &to, &answer);
}
