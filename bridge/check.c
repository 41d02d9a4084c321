#include "bridge/core.h"

#include <assert.h>

/* Everything is walked from the sessions, the filters and the queues; what is
 * found is summed up and must be all that there is. */
struct sums {
    size_t memory;
    uint64_t name_refs;
    uint64_t up_queued;
    uint64_t down_queued;
    uint64_t up_bytes;
    uint64_t waiting; /* in backlogs, as names should know */
    uint32_t clients;
    uint32_t active;
    uint32_t asleep;
    uint32_t lost;
    uint32_t disconnected;
    uint32_t subscriptions; /* of sessions */
    uint32_t subscribers;   /* of filters: the same */
    uint32_t filters;
    uint32_t wanted; /* sessions' own connections */
    uint32_t connecting;
    uint32_t up;
    uint32_t in_turn;
    uint32_t awaits_disk;
    uint32_t timers;
    uint32_t idle;
    uint32_t waiting_for_air;
};

static void block(struct sums *sums, size_t size)
{
    sums->memory += arena_block(size);
}

static void blob(struct sums *sums, const struct blob *blob)
{
    if (blob != NULL)
        block(sums, sizeof(*blob) + blob->len);
}

static void name(const struct bridge *b, struct sums *sums, const struct name *name)
{
    assert(name->refs > 0 && name_find(b, name_bytes(name)) == name);
    sums->name_refs++;
}

/* ---- queues ---------------------------------------------------------------------- */

/* What is on disk only comes after what is in memory, in the order in which it
 * goes; what is under way is not part of that order any more. */
static bool is_before_the_disk(const struct queue *q, const struct message *m)
{
    if (m->qos == 0 || q->on_disk == 0)
        return true;
    return q->newest ? m->published || m->sent || m->seq > q->disk_last : m->seq < q->disk_from;
}

static void queue(const struct bridge *b, struct sums *sums, const struct queue *q)
{
    uint32_t count = 0;
    const struct message *before = NULL;
    for (const struct message *m = q->head; m != NULL; before = m, m = m->next) {
        assert(m->prev == before && (before == NULL || before->seq < m->seq));
        assert(m->seq <= b->seq && m->qos <= 2);
        assert(m->queue == q && is_before_the_disk(q, m));
        assert(m->exchange == NULL || m->exchange->message == m);
        name(b, sums, m->topic);
        block(sums, sizeof(*m) + m->len);
        count++;
    }
    assert(q->tail == before && q->in_memory == count);
    assert(q->on_disk == 0 || q->disk_from <= q->disk_last);
}

struct lane_sums {
    uint32_t inflight;
    uint32_t inflight0;
    uint64_t qos0;
    uint64_t waiting;
    uint64_t bytes;
    uint32_t suspects;
    uint32_t held;
    bool disordered;
};

/* Whether somebody will ask the disk for what goes next. */
static bool is_asked_for(const struct queue *q, const struct timer *timer)
{
    return q->on_disk == 0 || q->in_memory > 0 || q->fetching ||
           (q->starved_until_ms != 0 && timer->due_ms <= q->starved_until_ms);
}

static void lane(const struct bridge *b, struct sums *sums, const struct queue *q,
                 struct lane_sums *all)
{
    const struct message *first = NULL;
    uint64_t bytes = 0;
    queue(b, sums, q);
    for (const struct message *m = q->head; m != NULL; m = m->next) {
        const bool suspect = suspect_is(&m->suspicion);
        /* What is under way comes first, but for what is tried alone. */
        assert(q->newest || first == NULL || !m->published || suspect || all->disordered);
        if (!m->published && !m->held && !suspect && (first == NULL || q->newest))
            first = m;
        all->suspects += suspect;
        all->held += m->held;
        all->inflight += m->published && m->qos > 0;
        all->inflight0 += m->published && m->qos == 0;
        all->qos0 += m->qos == 0;
        bytes += m->len;
    }
    assert(q->next_out == first);
    assert(q->bytes == bytes || (q->on_disk > 0 && q->bytes > bytes) || !b->started);
    assert(q->live || q->restored == 0);
    all->bytes += q->bytes;
    all->waiting += queue_count(q);
    if (!q->live)
        sums->waiting += queue_count(q);
}

static void uplink(const struct bridge *b, struct sums *sums, const struct upstream *u)
{
    uint32_t held = 0;
    struct lane_sums all = {.disordered = u->disordered};
    for (const struct lane *l = u->lanes; l != NULL; l = l->next) {
        lane(b, sums, &l->queue, &all);
        if (l != &u->backlog)
            block(sums, sizeof(*l));
        assert(!upstream_is_open(u) || b->stopping || is_asked_for(&l->queue, &u->timer));
        assert(l->next == NULL ||
               b->class_rank[l->queue.class] <= b->class_rank[l->next->queue.class]);
    }
    assert(u->inflight == all.inflight && u->inflight0 == all.inflight0);
    assert(u->qos0_waiting == all.qos0 && u->waiting == all.waiting && u->bytes == all.bytes);
    assert(upstream_is_up(u) || all.inflight + all.inflight0 == 0);
    for (const struct filter *f = u->filters_first; f != NULL; f = f->all_next)
        all.suspects += suspect_is(&f->suspicion);
    assert(u->suspects == all.suspects);
    for (const struct hold *h = u->holds; h != NULL; h = h->next) {
        assert(h->message->held && u->disordered);
        block(sums, sizeof(*h));
        held++;
    }
    assert(held == u->hold_count && held <= all.held);
    assert(!u->trying || all.inflight + all.inflight0 + u->sync_open == 1);
    sums->waiting += u->missing;
    sums->waiting -= u->untracked;
    sums->up_queued += all.waiting;
    sums->up_bytes += all.bytes;
}

/* ---- filters ------------------------------------------------------------------------- */

static void filters(const struct bridge *b, struct sums *sums, const struct upstream *u)
{
    uint32_t nodes = 0;
    uint32_t children = u->root.children;
    uint32_t listed = 0;
    uint32_t pending = 0;
    const struct filter *before = NULL;
    for (const struct filter *f = u->filters_first; f != NULL; before = f, f = f->all_next) {
        assert(f->all_prev == before && f->parent != NULL && f->upstream == u);
        assert(f->name == NULL || filter_find(b, u, name_bytes(f->name)) == f);
        assert(f->name != NULL || (f->subscriptions == NULL && f->waiting == NULL && !f->in_sync));
        nodes++;
        children += f->children;
        sums->filters += f->subscriptions != NULL;
        listed += f->in_sync;
        pending += f->state == FILTER_PENDING;
        for (const struct subscription *s = f->subscriptions; s != NULL; s = s->node_next) {
            assert(s->filter == f);
            sums->subscribers++;
        }
        for (const struct waiting *w = f->waiting; w != NULL; w = w->next)
            block(sums, sizeof(*w));
        name(b, sums, f->level);
        if (f->name != NULL)
            name(b, sums, f->name);
        block(sums, sizeof(*f));
    }
    assert(children == nodes);
    assert(pending == u->sync_open && (upstream_is_up(u) || pending == 0));
    const struct filter *last = NULL;
    for (const struct filter *f = u->sync_first; f != NULL; last = f, f = f->sync_next) {
        assert(f->in_sync && listed > 0);
        listed--;
    }
    assert(listed == 0 && u->sync_last == last);
}

static void upstream(const struct bridge *b, struct sums *sums, const struct upstream *u)
{
    sums->timers += u->timer.at != 0;
    assert(!u->stale || u->state != UPSTREAM_DOWN);
    assert(u->ending == ENDING_NOT || u->wanted);
    sums->awaits_disk += u->awaits_disk;
    uplink(b, sums, u);
    filters(b, sums, u);
}

/* A session's own connection: it is wanted while the sensor is there, and while
 * something is left to be sent by it. */
static void own(const struct bridge *b, struct sums *sums, const struct session *s)
{
    const struct upstream *u = s->own;
    const bool connected = s->transparent && sn_session_is_connected(&s->sn);
    assert(u->session == s && u->conn == s->number);
    assert(u->wanted || u->state == UPSTREAM_DOWN);
    assert(u->wanted || !b->started || (!connected && u->waiting == 0));
    assert(!u->wanted || !b->started || connected == (u->ending == ENDING_NOT));
    assert(u->state == UPSTREAM_DOWN || !u->in_turn);
    assert(!u->wanted || u->state != UPSTREAM_DOWN || u->in_turn || u->timer.at != 0 ||
           b->stopping);
    assert(s->transparent || u->filters_first == NULL);
    sums->wanted += u->wanted;
    sums->connecting += u->state == UPSTREAM_CONNECTING;
    sums->up += upstream_is_up(u);
    sums->in_turn += u->in_turn;
    upstream(b, sums, u);
    block(sums, sizeof(*u));
}

/* ---- sessions ---------------------------------------------------------------------- */

static uint32_t ring(const struct bridge *b, struct sums *sums, const struct session *s,
                     const struct topic *first)
{
    uint32_t count = 0;
    const struct topic *t = first;
    while (t != NULL) {
        assert(t->session == s && t->tid != 0 && t->tid != 0xFFFF);
        assert(t->next->prev == t && t->asked == (first == s->asked));
        assert(topics_find(b, s, t->tid) == t && topics_find_name(b, s, t->name) == t);
        name(b, sums, t->name);
        block(sums, sizeof(*t));
        count++;
        t = t->next == first ? NULL : t->next;
    }
    return count;
}

static void topics(const struct bridge *b, struct sums *sums, const struct session *s)
{
    const uint32_t count = ring(b, sums, s, s->asked) + ring(b, sums, s, s->told);
    assert(s->topic_count == count && count <= b->config->max_topics);
}

static void subscriptions(struct sums *sums, const struct session *s)
{
    uint32_t count = 0;
    for (const struct subscription *sub = s->subscriptions; sub != NULL; sub = sub->next) {
        assert(sub->session == s && sub->qos <= 2 && sub->key <= s->next_key);
        assert(*sub->node_from == sub && sub->filter->name != NULL);
        for (const struct subscription *other = sub->next; other != NULL; other = other->next)
            assert(other->key != sub->key && other->filter != sub->filter);
        block(sums, sizeof(*sub));
        count++;
    }
    assert(s->subscription_count == count);
    sums->subscriptions += count;
}

static void exchanges(struct sums *sums, const struct session *s)
{
    uint32_t count = 0;
    for (const struct exchange *e = s->exchanges; e != NULL; e = e->next) {
        assert(e->session == s && (e->qos == 1 || e->qos == 2));
        assert(e->message == NULL || (e->message->exchange == e && e->message->seq == e->seq));
        assert(e->message == NULL || !e->delivered);
        for (const struct exchange *other = e->next; other != NULL; other = other->next)
            assert(other->mid != e->mid && other->seq != e->seq);
        block(sums, sizeof(*e));
        count++;
    }
    assert(s->exchange_count == count && count <= EXCHANGES_MAX);
}

static void dialogue(const struct bridge *b, struct sums *sums, const struct session *s)
{
    const bool asks = s->dialogue == DIALOGUE_TOPIC || s->dialogue == DIALOGUE_MESSAGE;
    assert((s->pending != NULL) == asks && (s->dialogue_retry.due_ms != SN_NEVER) == asks);
    if (s->pending == NULL)
        return;
    assert((s->pending->will_topic != NULL) == (s->dialogue == DIALOGUE_MESSAGE));
    if (s->pending->will_topic != NULL)
        name(b, sums, s->pending->will_topic);
    block(sums, sizeof(*s->pending));
}

static void tiers(const struct bridge *b, struct sums *sums, const struct session *s)
{
    for (const struct tier *t = s->tiers; t != NULL; t = t->next) {
        const struct queue *q = &t->queue;
        uint64_t bytes = 0;
        queue(b, sums, q);
        assert(bridge_queue_session(q->id) == s->number && tiers_find(s, q->id) == q);
        for (const struct message *m = q->head; m != NULL; m = m->next) {
            assert(q->id == tiers_id(b, s, m->class) || m->seq <= s->mixed_until);
            bytes += m->len;
        }
        assert(q->bytes == bytes || (q->on_disk > 0 && q->bytes >= bytes));
        sums->down_queued += queue_count(q);
        if (t == &s->usual)
            continue;
        assert(!b->started || queue_count(q) > 0 || q->fetching);
        block(sums, sizeof(*t));
    }
    assert(tiers_find(s, s->number) == &s->usual.queue);
}

static void flight(const struct session *s)
{
    const bool flies = s->flight != FLIGHT_NONE;
    assert((s->flying != NULL) == flies);
    assert(!flies || queue_find(s->flying->queue, s->flying->seq) == s->flying);
    assert(!flies || s->sn.state == SN_ACTIVE || s->sn.state == SN_AWAKE);
    assert(!flies || s->link != UINT16_MAX);
    const bool asks = flies && s->flight != FLIGHT_RECEIVED;
    /* An active client may have let all repeats pass. */
    assert(s->retry.due_ms == SN_NEVER ? !asks || s->sn.state == SN_ACTIVE : asks);
}

static void account(const struct bridge_account *a)
{
    assert(a->accepted == a->delivered + a->expired + a->dropped + a->queued);
}

static void session(const struct bridge *b, struct sums *sums, const struct session *s)
{
    assert(clients_find_number(b, s->number) == s);
    assert(clients_find_id(b, blob_bytes(s->client_id)) == s);
    assert(s->link == UINT16_MAX || s->link < b->config->link_count);
    assert((s->by_peer.from != NULL) == (s->link != UINT16_MAX));
    if (s->link != UINT16_MAX) {
        const struct peer peer = {
            .link = s->link, .address = &s->address, .node = blob_bytes(s->node)};
        assert(clients_find_peer(b, &peer) == s);
    }
    sums->clients++;
    sums->active += s->sn.state == SN_ACTIVE;
    sums->asleep += s->sn.state == SN_ASLEEP || s->sn.state == SN_AWAKE;
    sums->lost += s->sn.state == SN_LOST;
    sums->disconnected += s->sn.state == SN_DISCONNECTED;
    sums->timers += s->timer.at != 0;
    sums->idle += s->idle.at != 0;
    sums->waiting_for_air += s->waiting_for_air;
    assert(s->timer.due_ms == TIMER_NEVER || s->timer.at != 0);
    if (b->started && s->dialogue == DIALOGUE_NONE)
        assert(s->timer.due_ms <= session_deadline(b, s));
    if (b->started && s->dialogue == DIALOGUE_NONE && s->subscriptions != NULL)
        assert(s->timer.due_ms <= expire_deadline(b, s) && s->idle.at == 0);
    assert(s->timer.due_ms <= s->retry.due_ms && s->timer.due_ms <= s->dialogue_retry.due_ms);

    assert(!s->transparent || s->own != NULL);
    if (s->own != NULL)
        own(b, sums, s);
    topics(b, sums, s);
    subscriptions(sums, s);
    exchanges(sums, s);
    dialogue(b, sums, s);
    tiers(b, sums, s);
    flight(s);
    uint64_t classes = 0;
    for (size_t i = 0; i < BRIDGE_CLASSES_MAX; i++)
        classes += s->class_queued[i];
    assert(classes == tiers_count(s) && s->account.down.queued == classes);
    if (b->started) {
        account(&s->account.up);
        account(&s->account.down);
    }
    if (s->will.topic != NULL)
        name(b, sums, s->will.topic);
    blob(sums, s->will.message);
    blob(sums, s->client_id);
    blob(sums, s->node);
    block(sums, sizeof(*s));
}

static void sessions(const struct bridge *b, struct sums *sums)
{
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++)
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next)
            session(b, sums, TABLE_ENTRY(l, struct session, by_number));
    const struct bridge_status *status = &b->status;
    assert(sums->clients == status->clients && sums->active == status->active);
    assert(sums->asleep == status->asleep && sums->lost == status->lost);
    assert(sums->disconnected == status->disconnected);
    assert(sums->subscriptions == status->subscriptions);
    assert(sums->down_queued == status->down.queued);
    assert(sums->clients <= b->config->max_clients);
}

static void turns(const struct bridge *b, const struct sums *sums)
{
    const struct upstream *last = NULL;
    uint32_t waiting = 0;
    uint32_t awaits_disk = 0;
    for (const struct upstream *u = b->turn_first; u != NULL; last = u, u = u->turn_next) {
        assert(u->in_turn);
        waiting++;
    }
    assert(b->turn_last == last && waiting == sums->in_turn);
    for (const struct upstream *u = b->disk_first; u != NULL; u = u->disk_next) {
        assert(u->awaits_disk);
        awaits_disk++;
    }
    assert(awaits_disk == sums->awaits_disk);
}

static void upstreams(const struct bridge *b, struct sums *sums)
{
    upstream(b, sums, &b->shared);
    turns(b, sums);
    assert(sums->wanted == b->status.connections && sums->up == b->status.connections_up);
    assert(sums->connecting == b->connecting && b->connecting <= UPSTREAM_CONNECTING_MAX);
    assert(sums->up_queued == b->status.up.queued && sums->filters == b->status.filters);
    assert(sums->subscribers == b->status.subscriptions);
}

/* ---- the rest -------------------------------------------------------------------------- */

static void awaits(const struct bridge *b, struct sums *sums)
{
    uint64_t ticket = 0;
    uint64_t undecided = 0;
    uint64_t bytes = 0;
    const struct await *last = NULL;
    for (const struct await *a = b->await_first; a != NULL; last = a, a = a->next) {
        assert(a->prev == last);
        assert(a->ticket >= ticket && a->ticket <= b->seq && a->ticket > b->durable);
        ticket = a->ticket;
        if (a->kind == AWAIT_PUBACK || a->kind == AWAIT_PUBREC || a->kind == AWAIT_SUBACK)
            name(b, sums, a->topic);
        undecided += a->kind == AWAIT_PUBACK || a->kind == AWAIT_PUBREC;
        bytes += a->bytes;
        if (a->kind == AWAIT_ACCEPT || a->kind == AWAIT_COPIES)
            sums->memory += custody_memory(a->custody);
        block(sums, sizeof(*a));
    }
    assert(b->undecided_up == undecided && b->undecided_bytes == bytes);
    assert(b->await_last == last && b->durable <= b->covered && b->covered <= b->seq);
}

static void air(const struct bridge *b, const struct sums *sums)
{
    uint32_t waiting = 0;
    for (uint16_t i = 0; i < b->config->link_count; i++) {
        const struct session *last = NULL;
        for (const struct session *s = b->links[i].air_first; s != NULL;
             last = s, s = s->air_next) {
            assert(s->waiting_for_air && s->link == i);
            assert(last == NULL || last->air_priority <= s->air_priority);
            waiting++;
        }
        assert(b->links[i].air_last == last);
    }
    assert(waiting == sums->waiting_for_air);
}

static void accounts(const struct bridge *b)
{
    uint64_t up[2] = {0};
    uint64_t down[2] = {0};
    account(&b->status.up);
    account(&b->status.down);
    for (size_t i = 0; i < BRIDGE_CLASSES_MAX; i++) {
        account(&b->status.classes[i].up);
        account(&b->status.classes[i].down);
        up[0] += b->status.classes[i].up.queued;
        down[0] += b->status.classes[i].down.queued;
    }
    for (size_t i = 0; i <= BRIDGE_LINKS_MAX; i++) {
        account(&b->status.links[i].up);
        account(&b->status.links[i].down);
        up[1] += b->status.links[i].up.queued;
        down[1] += b->status.links[i].down.queued;
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < BRIDGE_CLASSES_MAX; i++)
        bytes += b->class_bytes[i];
    assert(bytes == b->up_bytes || b->missing_up > 0);
    for (int i = 0; i < 2; i++)
        assert(up[i] == b->status.up.queued + b->missing_up && down[i] == b->status.down.queued);
}

static uint64_t backlogs(const struct bridge *b, struct sums *sums)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i <= b->backlogs.mask; i++) {
        for (struct table_link *l = b->backlogs.buckets[i]; l != NULL; l = l->next) {
            const struct backlog *at = TABLE_ENTRY(l, struct backlog, link);
            assert(at->count > 0 && at->upstream->waiting + at->upstream->missing > 0);
            name(b, sums, at->name);
            block(sums, sizeof(*at));
            count += at->count;
        }
    }
    return count;
}

void bridge_check(const struct bridge *b)
{
    struct sums sums = {0};
    arena_check(&b->arena);
    timers_check(&b->timers);
    timers_check(&b->idle);
    sessions(b, &sums);
    upstreams(b, &sums);
    assert(sums.timers == b->timers.count && sums.idle == b->idle.count);
    awaits(b, &sums);
    air(b, &sums);
    if (b->started) {
        accounts(b);
        assert(sums.up_bytes == b->up_bytes);
    }

    for (uint32_t i = 0; i <= b->predefined_by_tid.mask; i++) {
        for (struct table_link *l = b->predefined_by_tid.buckets[i]; l != NULL; l = l->next) {
            const struct predefined *p = TABLE_ENTRY(l, struct predefined, link);
            name(b, &sums, p->name);
            block(&sums, sizeof(*p));
        }
    }
    const uint64_t waiting = backlogs(b, &sums);
    uint64_t refs = 0;
    for (uint32_t i = 0; i <= b->names.mask; i++) {
        for (struct table_link *l = b->names.buckets[i]; l != NULL; l = l->next) {
            const struct name *n = TABLE_ENTRY(l, struct name, link);
            refs += n->refs;
            block(&sums, sizeof(*n) + n->len);
        }
    }
    assert(refs == sums.name_refs && waiting == sums.waiting);
    assert(sums.memory == arena_used(&b->arena));
}
