#include "bridge/core.h"

#include <assert.h>

#include "bridge/permit.h"
#include "mqttsn/topic.h"

/* A client's subscription lives in the tree of filters; the broker is told of a
 * filter once, with the highest QoS that anybody wants. While the broker is
 * away a subscription is granted as asked for: the promise is the bridge's to
 * keep, and it passes it on when the broker is back. What is published until then the
 * broker does not keep for it, so SUBACK waits for a first connection that is being made. */

#define SYNC_MAX    8     /* requests to the broker under way at a time */
#define RETAINED_MS 10000 /* how long after SUBACK retained messages are taken for its answer */
#define REFUSED     0x80

/* ---- telling the broker -------------------------------------------------------- */

static uint8_t wanted_qos(const struct filter *f)
{
    uint8_t qos = 0;
    for (const struct subscription *s = f->subscriptions; s != NULL; s = s->node_next)
        qos = s->qos > qos ? s->qos : qos;
    for (const struct waiting *w = f->waiting; w != NULL; w = w->next)
        qos = w->qos > qos ? w->qos : qos;
    return qos;
}

bool subscribe_is_wanted(const struct filter *f)
{
    return f->subscriptions != NULL || f->waiting != NULL;
}

static uint32_t request_hash(uint32_t request)
{
    return request * 2654435761u;
}

static void request(struct bridge *b, struct filter *f)
{
    const bool subscribe = subscribe_is_wanted(f);
    f->request = ++b->last_request;
    f->state = FILTER_PENDING;
    f->asked_for = subscribe;
    f->asked_qos = wanted_qos(f);
    if (f->wants_retained)
        f->round++;
    table_remove(&f->by_request);
    table_add(&b->filters_by_request, &f->by_request, request_hash(f->request));
    upstream_asks(b, f->upstream);
    f->upstream->sync_open++;
    bridge_emit(
        b, &(struct bridge_action){.type = subscribe ? BRIDGE_DO_SUBSCRIBE : BRIDGE_DO_UNSUBSCRIBE,
                                   .subscribe = {.conn = f->upstream->conn,
                                                 .request = f->request,
                                                 .id = filter_id(f),
                                                 .qos = f->asked_qos,
                                                 .wants_retained = f->wants_retained,
                                                 .filter = name_bytes(f->name)}});
    f->wants_retained = false;
}

void subscribe_pump(struct bridge *b, struct upstream *u)
{
    while (upstream_is_open(u) && !suspect_pump(b, u) && u->sync_first != NULL &&
           u->sync_open < SYNC_MAX) {
        struct filter *f = u->sync_first;
        u->sync_first = f->sync_next;
        if (u->sync_first == NULL)
            u->sync_last = NULL;
        f->in_sync = false;
        const bool known = f->state == FILTER_ACTIVE;
        if (suspect_is(&f->suspicion) && subscribe_is_wanted(f))
            continue; /* it is tried alone */
        if (subscribe_is_wanted(f) ? !known || f->wants_retained || f->asked_qos < wanted_qos(f)
                                   : known)
            request(b, f);
        else
            filter_trim(b, f);
    }
}

void subscribe_try(struct bridge *b, struct filter *f)
{
    request(b, f);
}

/* Puts a filter on the list of those that the broker must hear about. */
static void enlist(struct filter *f)
{
    struct upstream *u = f->upstream;
    if (f->in_sync || f->state == FILTER_PENDING)
        return;
    f->in_sync = true;
    f->sync_next = NULL;
    if (u->sync_last == NULL)
        u->sync_first = f;
    else
        u->sync_last->sync_next = f;
    u->sync_last = f;
}

/* The broker must hear about this filter; if it is away, when it is back. May
 * free the filter. */
static void sync(struct bridge *b, struct filter *f)
{
    struct upstream *u = f->upstream;
    enlist(f);
    subscribe_pump(b, u);
}

/* ---- subscriptions ----------------------------------------------------------------- */

static struct subscription *find(const struct session *s, const struct filter *f)
{
    struct subscription *sub = s->subscriptions;
    while (sub != NULL && sub->filter != f)
        sub = sub->next;
    return sub;
}

static struct subscription *add(struct bridge *b, struct session *s, struct filter *f, uint32_t key)
{
    struct subscription *sub = arena_take(&b->arena, sizeof(*sub));
    if (sub == NULL)
        return NULL;
    sub->session = s;
    sub->filter = f;
    sub->key = key;
    if (key > s->next_key)
        s->next_key = key;
    sub->next = s->subscriptions;
    s->subscriptions = sub;
    s->subscription_count++;
    sub->node_from = &f->subscriptions;
    sub->node_next = f->subscriptions;
    if (sub->node_next != NULL)
        sub->node_next->node_from = &sub->node_next;
    f->subscriptions = sub;
    b->status.subscriptions++;
    return sub;
}

static void drop(struct bridge *b, struct subscription *sub)
{
    struct subscription **from = &sub->session->subscriptions;
    while (*from != sub)
        from = &(*from)->next;
    *from = sub->next;
    sub->session->subscription_count--;
    *sub->node_from = sub->node_next;
    if (sub->node_next != NULL)
        sub->node_next->node_from = sub->node_from;
    struct filter *f = sub->filter;
    arena_put(&b->arena, sub);
    b->status.subscriptions--;
    if (f->subscriptions == NULL)
        b->status.filters--;
    if (!subscribe_is_wanted(f))
        sync(b, f);
}

/* Another version, or another configuration, granted what this one does not. The
 * broker's session may still have it. */
void subscribe_resume(struct bridge *b, struct session *s)
{
    for (struct subscription *sub = s->subscriptions, *next; sub != NULL; sub = next) {
        struct filter *f = sub->filter;
        next = sub->next;
        if (permit_subscribe(b->config, name_bytes(f->name)) == NULL)
            continue;
        bridge_note(b, BRIDGE_NOTE_SUBSCRIPTION_REFUSED, s, name_bytes(f->name), SN_NOT_SUPPORTED);
        erase_record(b, s, BRIDGE_RECORD_FILTER, sub->key);
        f->state = FILTER_ACTIVE;
        drop(b, sub);
    }
}

void subscribe_remove_all(struct bridge *b, struct session *s)
{
    while (s->subscriptions != NULL)
        drop(b, s->subscriptions);
}

static struct subscription *set(struct bridge *b, struct session *s, struct filter *f, uint8_t qos)
{
    struct subscription *sub = find(s, f);
    if (sub == NULL) {
        const bool first = f->subscriptions == NULL;
        sub = add(b, s, f, s->next_key + 1);
        if (sub == NULL)
            return NULL;
        b->status.filters += first;
    }
    sub->qos = qos;
    return sub;
}

void subscribe_restore(struct bridge *b, struct session *s, struct name *text, uint32_t key,
                       uint8_t qos)
{
    struct filter *f = filter_take(b, upstream_of(b, s), text);
    struct subscription *sub = f == NULL ? NULL : set(b, s, f, qos);
    if (sub == NULL) {
        bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, s, name_bytes(text), 0);
        if (f != NULL)
            filter_trim(b, f);
        return;
    }
    sub->key = key;
    if (key > s->next_key)
        s->next_key = key;
    sync(b, f);
}

/* ---- SUBSCRIBE ------------------------------------------------------------------------ */

static void suback(struct bridge *b, struct session *s, uint16_t mid, uint16_t tid, int8_t qos,
                   uint8_t code)
{
    air_send(b, s,
             &(struct sn_packet){.type = SN_SUBACK,
                                 .suback = {.qos = code == SN_ACCEPTED ? qos : 0, /* */
                                            .tid = code == SN_ACCEPTED ? tid : 0,
                                            .mid = mid,
                                            .code = code}},
             AIR_ACK, false);
}

static void refuse(struct bridge *b, struct session *s, uint16_t mid, uint8_t code, const char *why)
{
    bridge_note(b, BRIDGE_NOTE_SUBSCRIPTION_REFUSED, s, sn_bytes_text(why), code);
    suback(b, s, mid, 0, 0, code);
}

/* What SUBSCRIBE and UNSUBSCRIBE are about, with a reference for the caller; NULL: *code says why. */
static struct name *subject(struct bridge *b, const struct session *s, const struct sn_packet *p,
                            uint8_t *code)
{
    const uint16_t tid = p->subscribe.tid;
    struct name *name = NULL;
    *code = SN_NOT_SUPPORTED;
    switch (p->subscribe.kind) {
    case SN_TOPIC_NORMAL:
        name = name_take(b, p->subscribe.name);
        if (name == NULL)
            *code = SN_CONGESTION;
        return name;
    case SN_TOPIC_PREDEFINED:
        name = predefined_find(b, s, tid);
        if (name == NULL)
            *code = SN_INVALID_TOPIC_ID;
        return name == NULL ? NULL : name_share(name);
    case SN_TOPIC_SHORT: {
        const uint8_t text[2] = {(uint8_t)(tid >> 8), (uint8_t)tid};
        /* wildcards are senseless in short names. */
        if (sn_topic_check_name(sn_bytes(text, 2)) != SN_OK)
            return NULL;
        name = name_take(b, sn_bytes(text, 2));
        if (name == NULL)
            *code = SN_CONGESTION;
        return name;
    }
    case SN_TOPIC_RESERVED:
        return NULL;
    }
    return NULL;
}

/* 6.9, A-35: the id that PUBLISH will use, 0 for wildcards and short names. */
static bool answer_id(struct bridge *b, struct session *s, const struct sn_packet *p,
                      struct name *name, uint16_t *tid)
{
    *tid = 0;
    if (p->subscribe.kind == SN_TOPIC_PREDEFINED)
        *tid = p->subscribe.tid;
    if (p->subscribe.kind != SN_TOPIC_NORMAL || sn_topic_has_wildcard(name_bytes(name)))
        return true;
    struct topic *t = topics_take(b, s, name, true);
    if (t == NULL)
        return false;
    *tid = t->tid;
    return true;
}

/* The filter is the bridge's to serve from here on; the client hears so when
 * the disk knows. */
static void grant(struct bridge *b, struct session *s, struct filter *f, const struct waiting *w,
                  uint8_t granted)
{
    const uint8_t qos = granted < w->qos ? granted : w->qos;
    struct await *place = await_take(b);
    struct subscription *sub = place == NULL ? NULL : set(b, s, f, qos);
    if (sub == NULL) {
        await_put(b, place);
        s->subscribing = SUBSCRIBING_NOT;
        refuse(b, s, w->mid, SN_CONGESTION, "memory");
        return;
    }
    /* Retained messages that come from here on are for this subscription; with
     * the broker away, those that come once it has been asked. */
    sub->retained_until_ms = upstream_is_up(f->upstream) ? b->now_ms + RETAINED_MS : BRIDGE_NEVER;
    sub->retained_since = b->match_stamp;
    sub->retained_round = f->round;
    s->subscribe_mid = w->mid;
    s->subscribe_tid = w->tid;
    s->subscribe_qos = (int8_t)qos;
    s->subscribing = SUBSCRIBING_TO_DISK;
    await_enter(b, place,
                (struct await){.kind = AWAIT_SUBACK,
                               .ticket = save_subscription(b, sub),
                               .topic = f->name,
                               .session = s->number,
                               .mid = w->mid,
                               .tid = w->tid,
                               .qos = qos});
    session_reschedule(b, s); /* one that has left holds something now */
}

/* Only what has been told to the device may be used towards it: the id of a name is
 * known from here on, and what was held goes out behind SUBACK. */
void subscribe_done(struct bridge *b, struct session *s, const struct await *a)
{
    if (s->subscribing != SUBSCRIBING_TO_DISK ||
        (s->subscribe_mid != 0 && s->subscribe_mid != a->mid))
        return; /* of before a CONNECT */
    struct topic *t = topics_find_name(b, s, a->topic);
    if (t != NULL && t->tid == a->tid && predefined_find_name(b, s, a->topic) != a->tid)
        t->known = TOPIC_KNOWN;
    s->subscribing = SUBSCRIBING_NOT;
    suback(b, s, a->mid, a->tid, (int8_t)a->qos, SN_ACCEPTED);
    downlink_pump(b, s);
}

/* Whether it is one to be served; else it has been answered, or the one that it repeats is. */
static bool is_new(struct bridge *b, struct session *s, const struct sn_packet *p,
                   enum sn_fault fault)
{
    const uint16_t mid = p->subscribe.mid;
    if (fault != SN_OK) {
        refuse(b, s, mid,
               fault == SN_FAULT_RESERVED_TOPIC_ID ? SN_INVALID_TOPIC_ID : SN_NOT_SUPPORTED,
               sn_fault_name(fault));
        return false;
    }
    if (s->subscribing != SUBSCRIBING_NOT)
        return false; /* repeated, or against the rules (6.9): the first one is answered */
    if (s->subscribe_mid == mid && p->subscribe.dup) {
        suback(b, s, mid, s->subscribe_tid, s->subscribe_qos, SN_ACCEPTED);
        return false;
    }
    if (!budget_write(b, s)) {
        refuse(b, s, mid, SN_CONGESTION, "max_writes");
        return false;
    }
    return true;
}

/* What there is not enough of for this subscription; NULL: nothing, or it is there already. */
static const char *shortage(struct bridge *b, const struct session *s, const struct filter *f,
                            const struct name *name)
{
    if (f != NULL && find(s, f) != NULL)
        return NULL;
    if (s->subscription_count >= b->config->max_subscriptions) {
        bridge_note(b, BRIDGE_NOTE_SUBSCRIPTION_LIMIT, s, name_bytes(name), s->subscription_count);
        return "limit";
    }
    if (f == NULL || bridge_is_memory_short(b)) {
        bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, s, name_bytes(name), 0);
        return "memory";
    }
    return NULL;
}

void subscribe_frame(struct bridge *b, struct session *s, const struct sn_packet *p,
                     enum sn_fault fault)
{
    const uint16_t mid = p->subscribe.mid;
    if (!is_new(b, s, p, fault))
        return;
    uint8_t code;
    struct name *name = subject(b, s, p, &code);
    if (name == NULL) {
        refuse(b, s, mid, code, "topic");
        return;
    }
    const char *const forbidden = permit_subscribe(b->config, name_bytes(name));
    if (forbidden != NULL) {
        refuse(b, s, mid, SN_NOT_SUPPORTED, forbidden);
        name_put(b, name);
        return;
    }
    struct filter *f = filter_take(b, upstream_of(b, s), name);
    struct waiting *w = arena_take(&b->arena, sizeof(*w));
    const char *const why = w == NULL ? "memory" : shortage(b, s, f, name);
    if (why != NULL || !answer_id(b, s, p, name, &w->tid)) {
        refuse(b, s, mid, SN_CONGESTION, why != NULL ? why : "limit");
        arena_put(&b->arena, w);
        if (f != NULL)
            filter_trim(b, f);
        name_put(b, name);
        return;
    }
    name_put(b, name);
    w->session = s->number;
    w->connects = s->connects;
    w->mid = mid;
    w->qos = (uint8_t)p->subscribe.qos;
    s->subscribing = SUBSCRIBING_AT_BROKER;
    f->wants_retained = true;
    const bool is_coming = upstream_is_coming(f->upstream);
    if (is_coming || upstream_is_open(f->upstream)) {
        w->next = f->waiting;
        f->waiting = w;
        sync(b, f);
        if (is_coming)
            upstream_await(b, f->upstream);
        return;
    }
    grant(b, s, f, w, w->qos);
    arena_put(&b->arena, w);
    sync(b, f);
}

static void grant_waiting(struct bridge *b, struct filter *f, uint8_t code)
{
    while (f->waiting != NULL) {
        struct waiting *w = f->waiting;
        f->waiting = w->next;
        struct session *s = clients_find_number(b, w->session);
        if (s != NULL && s->subscribing == SUBSCRIBING_AT_BROKER && s->connects == w->connects) {
            if (code < REFUSED) {
                grant(b, s, f, w, code);
            } else {
                s->subscribing = SUBSCRIBING_NOT;
                bridge_note(b, BRIDGE_NOTE_BROKER_REFUSED_FILTER, s, name_bytes(f->name), code);
                suback(b, s, w->mid, 0, 0, SN_NOT_SUPPORTED);
            }
        }
        arena_put(&b->arena, w);
    }
}

static struct filter *find_request(const struct bridge *b, uint32_t number)
{
    for (struct table_link *l = table_first(&b->filters_by_request, request_hash(number));
         l != NULL; l = table_next(l)) {
        struct filter *f = TABLE_ENTRY(l, struct filter, by_request);
        if (f->request == number)
            return f;
    }
    return NULL;
}

void subscribe_answered(struct bridge *b, uint32_t number, uint8_t code)
{
    struct filter *f = find_request(b, number);
    if (f == NULL || f->state != FILTER_PENDING)
        return;
    struct upstream *u = f->upstream;
    const bool subscribed = f->asked_for;
    u->sync_open--;
    upstream_heard(b, u);
    suspect_proof(u, PROOF_REQUEST);
    suspect_clear(u, &f->suspicion);
    if (subscribed && code < REFUSED) {
        f->state = FILTER_ACTIVE;
        f->granted = code;
        for (struct subscription *sub = f->subscriptions; sub != NULL; sub = sub->node_next)
            if (sub->retained_until_ms == BRIDGE_NEVER) {
                sub->retained_until_ms = b->now_ms + RETAINED_MS;
                sub->retained_since = b->match_stamp;
                sub->retained_round = f->round;
            }
        grant_waiting(b, f, code);
    } else {
        f->state = FILTER_UNKNOWN;
        f->named = false;
        if (subscribed) {
            grant_waiting(b, f, code);
            if (f->subscriptions != NULL) /* granted while the broker was away */
                bridge_note(b, BRIDGE_NOTE_BROKER_REFUSED_FILTER, NULL, name_bytes(f->name), code);
        }
    }
    /* Something may have changed while the request was under way. What was refused
     * is not asked for again at once, but somebody may have come after UNSUBSCRIBE. */
    const bool changed =
        subscribe_is_wanted(f) != (f->state == FILTER_ACTIVE) ||
        (subscribe_is_wanted(f) && (f->wants_retained || wanted_qos(f) > f->asked_qos));
    if (changed && (code < REFUSED || !subscribed))
        sync(b, f);
    else
        filter_trim(b, f);
    subscribe_pump(b, u);
    uplink_pump(b, u); /* which may have waited for the answer to this one */
}

/* ---- UNSUBSCRIBE ----------------------------------------------------------------------- */

void unsubscribe_frame(struct bridge *b, struct session *s, const struct sn_packet *p,
                       enum sn_fault fault)
{
    uint8_t code;
    struct name *name = fault == SN_OK ? subject(b, s, p, &code) : NULL;
    struct filter *f = name == NULL ? NULL : filter_find(b, upstream_of(b, s), name_bytes(name));
    struct subscription *sub = f == NULL ? NULL : find(s, f);
    name_put(b, name);
    s->subscribe_mid = 0;
    if (sub == NULL) { /* there is no code to say so */
        air_send(b, s, &(struct sn_packet){.type = SN_UNSUBACK, .mid = p->subscribe.mid}, AIR_ACK,
                 false);
        return;
    }
    struct await *place = budget_write(b, s) ? await_take(b) : NULL;
    if (place == NULL)
        return; /* the client repeats it */
    const uint64_t ticket = erase_record(b, s, BRIDGE_RECORD_FILTER, sub->key);
    drop(b, sub);
    await_enter(b, place,
                (struct await){.kind = AWAIT_UNSUBACK,
                               .ticket = ticket,
                               .session = s->number,
                               .mid = p->subscribe.mid});
}

void subscribe_rejected(struct bridge *b, struct session *s, const struct name *name)
{
    struct filter *f = filter_find(b, upstream_of(b, s), name_bytes(name));
    struct subscription *sub = f == NULL ? NULL : find(s, f);
    if (sub == NULL)
        return; /* matched by a wildcard, which stays (SN12-6.10-6) */
    erase_record(b, s, BRIDGE_RECORD_FILTER, sub->key);
    drop(b, sub);
}

/* ---- the broker comes and goes ---------------------------------------------------------- */

void subscribe_up(struct bridge *b, struct upstream *u, bool session_present)
{
    overlaps_up(b, u, session_present);
    u->sync_open = 0;
    u->awaited = false;
    for (struct filter *f = u->filters_first; f != NULL; f = f->all_next) {
        if (!session_present && f->state == FILTER_ACTIVE)
            f->state = FILTER_UNKNOWN;
        f->named &= session_present;
        if (f->name != NULL)
            enlist(f);
    }
    subscribe_pump(b, u);
}

/* A request under way is undecided: it is made again when the broker is back.
 * Who waits for its answer is granted what it asked for. */
void subscribe_down(struct bridge *b, struct upstream *u)
{
    overlaps_down(b, u);
    for (struct filter *f = u->filters_first; f != NULL; f = f->all_next) {
        if (f->state == FILTER_PENDING)
            f->state = FILTER_UNKNOWN;
        while (f->waiting != NULL) {
            struct waiting *w = f->waiting;
            f->waiting = w->next;
            f->wants_retained = true;
            struct session *s = clients_find_number(b, w->session);
            if (s != NULL && s->subscribing == SUBSCRIBING_AT_BROKER && s->connects == w->connects)
                grant(b, s, f, w, w->qos);
            arena_put(&b->arena, w);
        }
    }
    u->sync_open = 0;
    u->awaited = false;
}

/* Who has been granted it hears nothing of that: there is no message for it. */
void subscribe_set_aside(struct bridge *b, struct filter *f)
{
    suspect_clear(f->upstream, &f->suspicion);
    f->state = FILTER_PENDING; /* it stays until all is done */
    grant_waiting(b, f, REFUSED);
    while (f->subscriptions != NULL) {
        struct subscription *sub = f->subscriptions;
        bridge_note(b, BRIDGE_NOTE_FILTER_SET_ASIDE, sub->session, name_bytes(f->name), 0);
        erase_record(b, sub->session, BRIDGE_RECORD_FILTER, sub->key);
        drop(b, sub);
    }
    f->state = FILTER_UNKNOWN;
    enlist(f);
}

/* The newest node comes first on the list, so it has no children. */
void subscribe_forget(struct bridge *b, struct upstream *u)
{
    u->sync_first = u->sync_last = NULL;
    u->sync_open = 0;
    while (u->filters_first != NULL) {
        struct filter *f = u->filters_first;
        assert(f->subscriptions == NULL && f->children == 0);
        while (f->waiting != NULL) {
            struct waiting *w = f->waiting;
            f->waiting = w->next;
            arena_put(&b->arena, w);
        }
        f->in_sync = false;
        f->state = FILTER_UNKNOWN;
        filter_trim(b, f);
    }
}
