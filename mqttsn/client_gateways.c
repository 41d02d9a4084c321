#include "mqttsn/client_parts.h"

static struct sn_bytes gateway_address(const struct sn_client_gateway *g)
{
    return sn_bytes(g->address, g->address_len);
}

/* The next known gateway after the place; SNC_NO_GATEWAY if there is none at all. */
static uint8_t gateway_after(const struct sn_client *c, uint8_t place)
{
    const unsigned max = c->cfg->gateways_max;

    for (unsigned i = 1; i <= max; i++) {
        const unsigned at = (place + i) % max;
        if (c->cfg->gateways[at].used) {
            return (uint8_t)at;
        }
    }
    return SNC_NO_GATEWAY;
}

struct sn_bytes snc_current_address(const struct sn_client *c)
{
    if (c->cfg->gateways_max == 0) {
        return sn_bytes(NULL, 0);
    }
    return gateway_address(&c->cfg->gateways[c->gateway]);
}

bool snc_choose_gateway(struct sn_client *c)
{
    if (c->cfg->gateways_max == 0 || c->cfg->gateways[c->gateway].used) {
        return true;
    }
    const uint8_t place = gateway_after(c, c->gateway);
    if (place == SNC_NO_GATEWAY) {
        return false;
    }
    c->gateway = place;
    return true;
}

struct sn_client_gateway *snc_add_gateway(struct sn_client *c, struct sn_bytes address)
{
    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        struct sn_client_gateway *g = &c->cfg->gateways[i];
        if (!g->used) {
            *g = (struct sn_client_gateway){
                .gone_ms = SN_NEVER, .used = true, .address_len = (uint8_t)address.len};
            if (address.len > 0) {
                memcpy(g->address, address.data, address.len);
            }
            return g;
        }
    }
    return NULL;
}

void snc_start_search(struct sn_client *c, uint64_t now_ms)
{
    c->state = SN_CLIENT_SEARCHING;
    c->search_wait_ms = c->cfg->search_ms;
    c->search_at_ms = now_ms + snc_random_up_to(c, c->cfg->search_ms);
}

void snc_next_gateway(struct sn_client *c)
{
    const uint8_t next = gateway_after(c, c->gateway);

    if (next != SNC_NO_GATEWAY) {
        c->gateway = next;
    }
}

static void on_gateway(struct sn_client *c, uint64_t now_ms, uint8_t id, struct sn_bytes address,
                       uint16_t duration_s)
{
    struct sn_client_gateway *g = NULL;
    bool found = false;

    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        struct sn_client_gateway *known = &c->cfg->gateways[i];
        if (known->used && sn_bytes_equal(gateway_address(known), address)) {
            g = known;
        }
    }
    if (address.len > SN_CLIENT_ADDRESS_MAX) {
        return;
    }
    if (g == NULL) {
        g = snc_add_gateway(c, address);
        found = true;
    }
    if (g == NULL) {
        return; /* the table is full of others */
    }
    found = found || !g->has_id;
    g->has_id = true;
    g->id = id;
    if (duration_s > 0) {
        g->gone_ms = now_ms + (uint64_t)c->cfg->advertise_missed * duration_s * 1000;
    }
    if (found) {
        snc_emit(c, &(struct sn_client_event){
                        .type = SN_EVENT_GATEWAY,
                        .gateway = {.found = true, .id = id, .address = gateway_address(g)}});
    }
    if (c->state == SN_CLIENT_SEARCHING) {
        c->search_at_ms = SN_NEVER;
        snc_start_connect(c, now_ms);
    }
}

void snc_postpone_search(struct sn_client *c, uint64_t now_ms)
{
    c->search_at_ms = now_ms + c->search_wait_ms;
    c->search_wait_ms = snc_doubled(c->search_wait_ms, c->cfg->search_max_ms);
}

/* A gateway whose id we know, the current one first; NULL if there is none. */
static const struct sn_client_gateway *known_gateway(const struct sn_client *c)
{
    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        const struct sn_client_gateway *g =
            &c->cfg->gateways[(c->gateway + i) % c->cfg->gateways_max];
        if (g->used && g->has_id) {
            return g;
        }
    }
    return NULL;
}

static void on_searchgw(struct sn_client *c, uint64_t now_ms, uint8_t radius)
{
    if (c->state == SN_CLIENT_SEARCHING) {
        if (radius == c->cfg->search_radius) {
            snc_postpone_search(c, now_ms);
        }
    } else if (known_gateway(c) != NULL && c->gwinfo_at_ms == SN_NEVER) {
        c->gwinfo_at_ms = now_ms + snc_random_up_to(c, c->cfg->gwinfo_ms);
        c->gwinfo_radius = radius;
    }
}

void snc_answer_search(struct sn_client *c)
{
    const struct sn_client_gateway *g = known_gateway(c);

    c->gwinfo_at_ms = SN_NEVER;
    if (g != NULL) {
        snc_broadcast(c, c->gwinfo_radius,
                      &(struct sn_packet){
                          .type = SN_GWINFO,
                          .gwinfo = {.gw_id = g->id, .gw_add = gateway_address(g)},
                      });
    }
}

void snc_drop_silent_gateways(struct sn_client *c, uint64_t now_ms)
{
    const bool attached =
        snc_is_listening(c) || c->state == SN_CLIENT_CONNECTING || c->state == SN_CLIENT_CLOSING;

    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        struct sn_client_gateway *g = &c->cfg->gateways[i];
        if (!g->used || g->gone_ms > now_ms) {
            continue;
        }
        g->gone_ms = SN_NEVER;
        if (attached && i == c->gateway) {
            continue; /* keep-alive and acknowledgements say more than ADVERTISE does */
        }
        g->used = false;
        if (c->ids_of == i) {
            c->ids_of = SNC_NO_GATEWAY;
        }
        snc_emit(c, &(struct sn_client_event){
                        .type = SN_EVENT_GATEWAY,
                        .gateway = {.found = false, .id = g->id, .address = gateway_address(g)}});
    }
}

void snc_on_broadcast(struct sn_client *c, uint64_t now_ms, struct sn_bytes from,
                      const struct sn_packet *p)
{
    if (p->type == SN_ADVERTISE) {
        on_gateway(c, now_ms, p->advertise.gw_id, from, p->advertise.duration_s);
    } else if (p->type == SN_GWINFO) {
        c->gwinfo_at_ms = SN_NEVER; /* somebody was faster than we */
        on_gateway(c, now_ms, p->gwinfo.gw_id, p->gwinfo.gw_add.len > 0 ? p->gwinfo.gw_add : from,
                   0);
    } else {
        on_searchgw(c, now_ms, p->searchgw.radius);
    }
}
