#include "sim/check_expiry.h"

#include <inttypes.h>
#include <stdlib.h>

#include "sim/world.h"

#define SLACK_US SIM_S /* between what comes in and what is written, and roundings */

static void stores(struct sim_expiry *e, const struct bridge_message *m, uint64_t at_us)
{
    if (e->count == e->size) {
        e->size = e->size == 0 ? 64 : 2 * e->size;
        e->rows = sim_more_memory(e->rows, e->size * sizeof(*e->rows));
    }
    e->rows[e->count++] = (struct sim_expiry_row){
        .seq = m->seq,
        .at_us = at_us,
        .span_ms = m->expires_ms == 0 ? 0 : m->expires_ms - m->received_ms,
    };
}

static const struct sim_expiry_row *find(const struct sim_expiry *e, uint64_t seq)
{
    size_t low = 0;
    size_t high = e->count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (e->rows[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < e->count && e->rows[low].seq == seq ? &e->rows[low] : NULL;
}

static void ends(struct sim_expiry *e, uint64_t seq, uint64_t at_us, struct sim_claims *claims)
{
    const struct sim_expiry_row *row = find(e, seq);
    if (row == NULL || at_us + SLACK_US >= row->at_us + row->span_ms * SIM_MS)
        return;
    sim_claims_violate(claims, at_us,
                       "expiry: message %" PRIu64 " expires after %" PRIu64 " s of %" PRIu64, seq,
                       (at_us - row->at_us) / SIM_S, row->span_ms / 1000);
}

void sim_expiry_hear(struct sim_expiry *e, const struct sim_record *r, struct sim_claims *claims)
{
    if (r->type == SIM_BRIDGE_EVENT)
        e->expires = false;
    if (r->type != SIM_BRIDGE_ACTION)
        return;
    const struct bridge_action *a = r->action;
    const bool expires = e->expires;
    e->expires = a->type == BRIDGE_DO_NOTE && (a->note.note == BRIDGE_NOTE_UP_EXPIRED ||
                                               a->note.note == BRIDGE_NOTE_DOWN_EXPIRED);
    if (a->type == BRIDGE_DO_STORE)
        stores(e, &a->store.message, r->at_us);
    else if (expires && (a->type == BRIDGE_DO_FORGET || a->type == BRIDGE_DO_MARK))
        ends(e, a->row.seq, r->at_us, claims);
}

void sim_expiry_close(struct sim_expiry *e)
{
    free(e->rows);
}
