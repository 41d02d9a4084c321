#include "sim/check_lives.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

static struct sim_life *life_of(struct sim_lives *l, const char *name)
{
    const uint32_t number = sim_names_number(&l->names, name);
    if (number >= l->size) {
        const uint32_t size = 2 * number + 16;
        l->lives = sim_more_memory(l->lives, size * sizeof(*l->lives));
        memset(l->lives + l->size, 0, (size - l->size) * sizeof(*l->lives));
        l->size = size;
    }
    return &l->lives[number];
}

static uint64_t give_up_us(const struct sim_lives *l, const char *link)
{
    for (size_t i = 0; i < l->config->link_count; i++) {
        const struct bridge_link_config *c = &l->config->links[i];
        if (link != NULL && strcmp(c->name, link) == 0)
            return (uint64_t)c->retry_min_ms * (c->retries + 1u) * SIM_MS;
    }
    return 0;
}

/* ---- what the bridge hears --------------------------------------------------------- */

static void hears(struct sim_lives *l, const struct sim_record *r, const struct sn_packet *p)
{
    struct sim_life *d = life_of(l, r->device);
    d->in_touch &= r->at_us - d->heard_us <= d->promise_us;
    d->heard_us = r->at_us;
    d->give_up_us = give_up_us(l, r->link);
    if (p->type == SN_CONNECT) {
        d->connecting = true;
        d->keepalive_us = p->connect.keepalive_s * SIM_S;
    } else if (p->type == SN_DISCONNECT) {
        d->leaving++;
        d->promise_us = p->disconnect.duration_s * SIM_S;
        d->in_touch &= p->disconnect.has_duration && d->promise_us > 0;
    }
}

/* ---- what it says ------------------------------------------------------------------ */

static void says(struct sim_lives *l, const struct sim_record *r, const struct sn_packet *p,
                 struct sim_claims *claims)
{
    struct sim_life *d = life_of(l, r->device);
    if (p->type == SN_CONNACK && p->code == SN_ACCEPTED && d->connecting) {
        d->connecting = false;
        d->in_touch = d->keepalive_us > 0;
        d->promise_us = d->keepalive_us;
    } else if (p->type == SN_DISCONNECT) {
        if (d->leaving > 0) {
            d->leaving--;
            return;
        }
        if (d->in_touch && !d->connecting && r->at_us - d->heard_us <= d->promise_us)
            sim_claims_violate(claims, r->at_us,
                               "alive: %s is told to disconnect, and was never silent for %" PRIu64
                               " s",
                               r->device, d->promise_us / SIM_S);
        d->in_touch = false;
    }
}

static void notes(struct sim_lives *l, const struct sim_record *r, struct sim_claims *claims)
{
    char name[32];
    const struct sn_bytes client = r->action->note.client;
    if (client.len >= sizeof(name))
        return;
    snprintf(name, sizeof(name), "%.*s", (int)client.len, (const char *)client.data);
    const uint32_t number = sim_names_find(&l->names, name);
    if (number == SIM_NAMES_NONE)
        return;
    struct sim_life *d = &l->lives[number];
    if (r->action->note.note == BRIDGE_NOTE_CLIENT_LET_GO)
        d->in_touch = false;
    if (r->action->note.note != BRIDGE_NOTE_WILL_FIRED &&
        r->action->note.note != BRIDGE_NOTE_WILL_LEFT)
        return;
    const uint64_t silent_us = r->at_us - d->heard_us;
    if (silent_us < d->promise_us && silent_us < d->give_up_us)
        sim_claims_violate(claims, r->at_us,
                           "alive: the will of %s is published, which was heard %" PRIu64 " ms ago",
                           name, silent_us / SIM_MS);
}

void sim_lives_hear(struct sim_lives *l, const struct sim_record *r, struct sim_claims *claims)
{
    struct sn_packet p;
    if (r->type == SIM_BRIDGE_KILLED) {
        l->off = true;
        l->off_us = r->at_us;
        for (uint32_t i = 0; i < l->names.count; i++)
            l->lives[i].leaving = 0;
    } else if (r->type == SIM_BRIDGE_STARTED) {
        l->off = false;
        for (uint32_t i = 0; i < l->names.count; i++)
            l->lives[i].heard_us += r->at_us - l->off_us;
    } else if (r->type == SIM_DEVICE && strcmp(r->why, "moves") == 0) {
        life_of(l, r->device)->in_touch = false;
    } else if (r->type == SIM_FRAME_ARRIVED && r->direction == SIM_UP && r->device != NULL) {
        if (!l->off && sn_decode(r->bytes, &p) == SN_OK)
            hears(l, r, &p);
    } else if (r->type == SIM_BRIDGE_ACTION && r->action->type == BRIDGE_DO_SEND) {
        if (r->device != NULL && sn_decode(r->action->send.bytes, &p) == SN_OK)
            says(l, r, &p, claims);
    } else if (r->type == SIM_BRIDGE_ACTION && r->action->type == BRIDGE_DO_NOTE) {
        notes(l, r, claims);
    }
}

void sim_lives_close(struct sim_lives *l)
{
    free(l->lives);
    sim_names_close(&l->names);
}
