#include "sim/check_ids.h"

#include <stdlib.h>
#include <string.h>

#include "mqttsn/topic.h"
#include "sim/recent.h"
#include "sim/world.h"

static struct sim_ids_device *device_of(struct sim_ids *ids, const char *name)
{
    const uint32_t number = sim_names_number(&ids->names, name);
    if (number >= ids->size) {
        const uint32_t size = 2 * number + 16;
        ids->devices = sim_more_memory(ids->devices, size * sizeof(*ids->devices));
        memset(ids->devices + ids->size, 0, (size - ids->size) * sizeof(*ids->devices));
        ids->size = size;
    }
    return &ids->devices[number];
}

static uint64_t hash_of(struct sn_bytes name)
{
    return sim_recent_key(1, name) | 1;
}

/* A new one if need be; good until the next call for this device. */
static struct sim_id *id_of(struct sim_ids_device *d, uint16_t tid)
{
    for (uint32_t i = 0; i < d->count; i++)
        if (d->ids[i].tid == tid)
            return &d->ids[i];
    d->ids = sim_more_memory(d->ids, (d->count + 1) * sizeof(*d->ids));
    d->ids[d->count] = (struct sim_id){.tid = tid};
    return &d->ids[d->count++];
}

/* ---- from the device ------------------------------------------------------------ */

static void asks(struct sim_ids_device *d, uint16_t mid, uint64_t name)
{
    d->open[d->open_next].mid = mid;
    d->open[d->open_next].name = name;
    d->open_next = (d->open_next + 1) % SIM_IDS_OPEN;
}

static void hear_up(struct sim_ids_device *d, const struct sn_packet *p)
{
    if (p->type == SN_CONNECT)
        d->clean = p->connect.clean;
    else if (p->type == SN_REGISTER)
        asks(d, p->reg.mid, hash_of(p->reg.name));
    else if (p->type == SN_SUBSCRIBE)
        asks(d, p->subscribe.mid,
             p->subscribe.kind == SN_TOPIC_NORMAL ? hash_of(p->subscribe.name) : 0);
    else if (p->type == SN_REGACK && p->ack.code == SN_ACCEPTED)
        for (uint32_t i = 0; i < d->count; i++)
            if (d->ids[i].mid == p->ack.mid && d->ids[i].tid == p->ack.tid)
                d->ids[i].told = d->ids[i].offered;
}

/* ---- to the device ---------------------------------------------------------------- */

static void tells(struct sim_ids_device *d, uint16_t mid, uint16_t tid)
{
    for (uint32_t i = 1; tid != 0 && i <= SIM_IDS_OPEN; i++) {
        const uint32_t place = (d->open_next + SIM_IDS_OPEN - i) % SIM_IDS_OPEN;
        if (d->open[place].mid != mid)
            continue;
        if (d->open[place].name != 0)
            id_of(d, tid)->told = d->open[place].name;
        return;
    }
}

static void hear_down(struct sim_ids_device *d, const struct sn_packet *p,
                      const struct sim_record *r, struct sim_claims *claims)
{
    if (p->type == SN_CONNACK && p->code == SN_ACCEPTED && d->clean) {
        d->restarted = false;
        for (uint32_t i = 0; i < d->count; i++) {
            d->ids[i].was_told |= d->ids[i].told != 0;
            d->ids[i].told = d->ids[i].offered = 0;
        }
    } else if (p->type == SN_REGACK && p->ack.code == SN_ACCEPTED) {
        tells(d, p->ack.mid, p->ack.tid);
    } else if (p->type == SN_SUBACK && p->suback.code == SN_ACCEPTED) {
        tells(d, p->suback.mid, p->suback.tid);
    } else if (p->type == SN_REGISTER) {
        struct sim_id *id = id_of(d, p->reg.tid);
        id->mid = p->reg.mid;
        id->offered = hash_of(p->reg.name);
    } else if (p->type == SN_PUBLISH && p->publish.kind == SN_TOPIC_NORMAL && !d->damaged &&
               !d->restarted) {
        const struct sim_id *id = id_of(d, p->publish.tid);
        if (id->told != 0 || (id->was_told && p->publish.qos == 0))
            return;
        sim_claims_violate(claims, r->at_us,
                           "ids: %s gets a message by tid %u, which it was not told", r->device,
                           p->publish.tid);
    }
}

static void restarts(struct sim_ids *ids)
{
    for (uint32_t i = 0; i < ids->names.count; i++)
        ids->devices[i].restarted = true;
}

void sim_ids_hear(struct sim_ids *ids, const struct sim_record *r, struct sim_claims *claims)
{
    const bool sends = r->type == SIM_BRIDGE_ACTION && r->action->type == BRIDGE_DO_SEND;
    const bool arrives = r->type == SIM_FRAME_ARRIVED && r->direction == SIM_UP;
    struct sn_packet p;
    if (r->type == SIM_BRIDGE_STARTED)
        restarts(ids);
    if (r->device == NULL)
        return;
    if (r->type == SIM_FRAME_DAMAGED)
        device_of(ids, r->device)->damaged = true;
    if ((!sends && !arrives) || sn_decode(sends ? r->action->send.bytes : r->bytes, &p) != SN_OK)
        return;
    if (sends)
        hear_down(device_of(ids, r->device), &p, r, claims);
    else
        hear_up(device_of(ids, r->device), &p);
}

void sim_ids_close(struct sim_ids *ids)
{
    for (uint32_t i = 0; i < ids->size; i++)
        free(ids->devices[i].ids);
    free(ids->devices);
    sim_names_close(&ids->names);
}
