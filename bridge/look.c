/* Looking in, for the operator: what is added up on demand, by going over all sessions. */
#include "bridge/core.h"

typedef void session_fn(void *ctx, const struct bridge *b, const struct session *s);

static void each_session(const struct bridge *b, session_fn *fn, void *ctx)
{
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++)
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next)
            fn(ctx, b, TABLE_ENTRY(l, struct session, by_number));
}

/* ---- links -------------------------------------------------------------------------- */

static void count_session(void *ctx, const struct bridge *b, const struct session *s)
{
    (void)b;
    if (s->link == UINT16_MAX)
        return;
    struct bridge_link_figures *f = (struct bridge_link_figures *)ctx + s->link;
    const uint32_t trip_ms = radio_rtt_smoothed_ms(&s->rtt);
    f->clients++;
    f->connected += sn_session_is_connected(&s->sn);
    if (trip_ms == 0)
        return;
    if (f->measured++ == 0 || trip_ms < f->round_trip_min_ms)
        f->round_trip_min_ms = trip_ms;
    if (trip_ms > f->round_trip_max_ms)
        f->round_trip_max_ms = trip_ms;
    /* The mean so far moves by its share of the difference. */
    const int64_t away = (int64_t)trip_ms - f->round_trip_mean_ms;
    f->round_trip_mean_ms = (uint32_t)(f->round_trip_mean_ms + away / (int64_t)f->measured);
}

void bridge_get_links(const struct bridge *b, struct bridge_link_figures *out)
{
    for (size_t i = 0; i < b->config->link_count; i++) {
        const struct radio_pacer *pacer = b->links[i].pacer;
        out[i] = (struct bridge_link_figures){.paced = pacer != NULL};
        if (pacer == NULL)
            continue;
        out[i].air_queued = pacer->queued;
        out[i].air_used_ms = radio_pacer_used_us(pacer, b->now_ms) / 1000;
        out[i].air_budget_ms = radio_pacer_budget_us(pacer) / 1000;
    }
    each_session(b, count_session, out);
}

/* ---- queues ------------------------------------------------------------------------- */

struct waiting_view {
    bridge_waiting_fn *fn;
    void *ctx;
};

static void add_queue(struct bridge_waiting *w, const struct queue *q)
{
    w->count += queue_count(q);
    w->in_memory += q->in_memory;
    if (q->head != NULL && (w->oldest_ms == 0 || q->head->received_ms < w->oldest_ms))
        w->oldest_ms = q->head->received_ms;
    for (const struct message *m = q->head; m != NULL; m = m->next)
        w->bytes += m->len;
}

static void add_tiers(struct bridge_waiting *w, const struct session *s)
{
    for (const struct tier *t = s->tiers; t != NULL; t = t->next)
        add_queue(w, &t->queue);
}

static void show_session(void *ctx, const struct bridge *b, const struct session *s)
{
    const struct waiting_view *v = ctx;
    struct bridge_waiting w = {.client = blob_bytes(s->client_id), .undecided = s->flying != NULL};
    (void)b;
    if (s->own != NULL && s->own->waiting > 0) {
        struct bridge_waiting own = {.up = true,
                                     .client = blob_bytes(s->client_id),
                                     .undecided = s->own->inflight + s->own->inflight0};
        for (const struct lane *l = s->own->lanes; l != NULL; l = l->next)
            add_queue(&own, &l->queue);
        v->fn(v->ctx, &own);
    }
    add_tiers(&w, s);
    if (w.count > 0)
        v->fn(v->ctx, &w);
}

void bridge_each_waiting(const struct bridge *b, bridge_waiting_fn *fn, void *ctx)
{
    struct waiting_view view = {.fn = fn, .ctx = ctx};
    const struct upstream *u = &b->shared;
    struct bridge_waiting w = {.up = true, .undecided = u->inflight + u->inflight0};
    for (const struct lane *l = u->lanes; l != NULL; l = l->next)
        add_queue(&w, &l->queue);
    fn(ctx, &w);
    each_session(b, show_session, &view);
}
