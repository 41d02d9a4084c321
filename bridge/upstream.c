#include "bridge/core.h"

#include <assert.h>
#include <stdio.h>

#include "bridge/pattern.h"

#define ATTEMPTS_MAX 32    /* back-off is at its limit long before */
#define USEFUL_MS    10000 /* a connection that lasted so long was of use in any case */

/* Reason codes of MQTT 5 that the same CONNECT would get again and again. The others
 * say that the broker is busy, moved or out of something: as good as away. */
static bool is_final(uint8_t code)
{
    switch (code) {
    case 0x85: /* client identifier not valid */
    case 0x86: /* bad user name or password */
    case 0x87: /* not authorized */
    case 0x8A: /* banned */
    case 0x8C: /* bad authentication method */
    case 0x90: /* will topic name invalid */
    case 0x95: /* packet too large */
    case 0x99: /* payload format invalid */
    case 0x9A: /* retain not supported */
    case 0x9B: /* QoS not supported */
        return true;
    default:
        return false;
    }
}

/* ---- made and found ---------------------------------------------------------------- */

void upstream_init(struct bridge *b, struct upstream *u, uint32_t conn)
{
    u->conn = conn;
    u->max_qos = 2;
    lanes_open(b, u);
    u->root.upstream = u;
    u->timer.kind = TIMER_UPSTREAM;
    u->timer.due_ms = TIMER_NEVER;
}

bool upstream_add(struct bridge *b, struct session *s)
{
    s->own = arena_take(&b->arena, sizeof(*s->own));
    if (s->own == NULL)
        return false;
    upstream_init(b, s->own, s->number);
    s->own->session = s;
    return true;
}

bool upstream_is_own(const struct bridge *b, struct sn_bytes client_id)
{
    for (size_t i = 0; i < b->config->mode_count; i++)
        if (pattern_matches(sn_bytes_text(b->config->modes[i].pattern), client_id))
            return b->config->modes[i].transparent;
    return b->config->transparent;
}

struct upstream *upstream_find(struct bridge *b, uint32_t conn)
{
    struct session *s = conn == 0 ? NULL : clients_find_number(b, conn);
    return conn == 0 ? &b->shared : s == NULL ? NULL : s->own;
}

struct upstream *upstream_with_queue(struct bridge *b, uint32_t queue)
{
    return bridge_queue_is_up(queue) ? upstream_find(b, bridge_queue_session(queue)) : NULL;
}

void upstream_each(struct bridge *b, upstream_fn *fn, void *ctx)
{
    fn(b, &b->shared, ctx);
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++)
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next) {
            struct session *s = TABLE_ENTRY(l, struct session, by_number);
            if (s->own != NULL)
                fn(b, s->own, ctx);
        }
}

struct upstream *upstream_of(struct bridge *b, const struct session *s)
{
    return s != NULL && s->transparent ? s->own : &b->shared;
}

bool upstream_is_wanted(const struct session *s)
{
    return s->own != NULL && s->own->wanted;
}

/* ---- connecting ---------------------------------------------------------------------- */

/* While the sensor is there, so is its will; what is sent after it has gone is
 * sent without. */
static bool has_will(const struct upstream *u)
{
    return u->session != NULL && u->session->will.topic != NULL && u->ending == ENDING_NOT;
}

/* A clean session waits for QoS 2 messages that the broker may have by the last one: it
 * would forget them, and take their repeats for new ones. */
static void connect_now(struct bridge *b, struct upstream *u)
{
    const struct session *s = u->session;
    u->state = UPSTREAM_CONNECTING;
    u->attempt = ++b->last_attempt;
    u->stale = u->fresh && lanes_are_undecided(b, u);
    b->connecting += s != NULL;
    struct bridge_action a = {.type = BRIDGE_DO_CONNECT,
                              .connect = {.conn = u->conn, .attempt = u->attempt}};
    if (s != NULL) {
        a.connect.client_id = blob_bytes(s->client_id);
        a.connect.clean = u->fresh && !u->stale;
        a.connect.transient = (s->clean || !s->transparent) && !u->stale;
    }
    a.connect.careful = u->careful || u->suspects > 0;
    if (has_will(u)) {
        a.connect.will_topic = name_bytes(s->will.topic);
        a.connect.will_message = blob_bytes(s->will.message);
        a.connect.will_qos = s->will.qos;
        a.connect.will_retain = s->will.retain;
    }
    bridge_emit(b, &a);
}

/* After an outage everybody comes back at once: some at a time are enough. */
static void next_turn(struct bridge *b)
{
    while (b->turn_first != NULL && !b->stopping && b->connecting < UPSTREAM_CONNECTING_MAX &&
           b->connecting + b->status.connections_up < b->config->max_connections) {
        struct upstream *u = b->turn_first;
        b->turn_first = u->turn_next;
        if (b->turn_first == NULL)
            b->turn_last = NULL;
        u->in_turn = false;
        connect_now(b, u);
    }
}

static void leave_turn(struct bridge *b, struct upstream *u)
{
    struct upstream *before = NULL;
    if (!u->in_turn)
        return;
    for (struct upstream *at = b->turn_first; at != u; at = at->turn_next)
        before = at;
    *(before == NULL ? &b->turn_first : &before->turn_next) = u->turn_next;
    if (b->turn_last == u)
        b->turn_last = before;
    u->in_turn = false;
}

static void want_turn(struct bridge *b, struct upstream *u)
{
    timers_set(&b->timers, &u->timer, TIMER_NEVER);
    if (u->session == NULL) {
        connect_now(b, u);
        return;
    }
    if (!u->in_turn) {
        u->in_turn = true;
        u->turn_next = NULL;
        *(b->turn_last == NULL ? &b->turn_first : &b->turn_last->turn_next) = u;
        b->turn_last = u;
    }
    next_turn(b);
}

void upstream_start(struct bridge *b)
{
    outage_begin(b);
    want_turn(b, &b->shared);
    next_turn(b);
}

/* Back-off doubles up to its limit, and half of it is chance, so that a crowd
 * does not come back in one moment. */
static void try_later(struct bridge *b, struct upstream *u)
{
    uint64_t wait = b->config->reconnect_min_ms;
    for (uint32_t i = 0; i < u->attempts && wait < b->config->reconnect_max_ms; i++)
        wait *= 2;
    if (wait > b->config->reconnect_max_ms)
        wait = b->config->reconnect_max_ms;
    if (u->attempts < ATTEMPTS_MAX)
        u->attempts++;
    const uint64_t next = b->now_ms + wait / 2 + bridge_random(b, (uint32_t)wait / 2 + 1);
    if (!b->stopping)
        timers_set(&b->timers, &u->timer, next);
}

/* ---- the end of a connection -------------------------------------------------------------- */

/* It is no more, for whatever reason. */
static void gone(struct bridge *b, struct upstream *u)
{
    const bool was_up = upstream_is_up(u);
    if (u->session != NULL && was_up)
        b->status.connections_up--;
    if (u->session != NULL && u->state == UPSTREAM_CONNECTING)
        b->connecting--;
    u->state = UPSTREAM_DOWN;
    u->stale = false;
    u->trying = false;
    timers_set(&b->timers, &u->timer, TIMER_NEVER);
    if (was_up && u->session == NULL) {
        outage_begin(b);
        discover_broker(b, false);
    }
    if (was_up)
        uplink_down(b, u);
    if (was_up || u->awaited)
        subscribe_down(b, u);
}

static void disconnect(struct bridge *b, struct upstream *u, bool forget, bool with_will)
{
    u->cut_at = b->seq;
    bridge_emit(b, &(struct bridge_action){
                       .type = BRIDGE_DO_DISCONNECT,
                       .disconnect = {.conn = u->conn, .forget = forget, .with_will = with_will}});
    gone(b, u);
}

/* Even when the connection is lost already: what gives messages to us waits to be told
 * what becomes of this one. */
void upstream_cut(struct bridge *b, struct upstream *u)
{
    bridge_note(b, BRIDGE_NOTE_BROKER_CUT, u->session, sn_bytes(NULL, 0), u->refusals);
    if (u->refusals < ATTEMPTS_MAX)
        u->refusals++;
    if (u->state == UPSTREAM_DOWN) {
        u->cut_at = b->seq;
        bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_DISCONNECT,
                                               .disconnect = {.conn = u->conn}});
        upstream_settled(b, u);
        return;
    }
    disconnect(b, u, false, false);
    u->attempts = u->refusals - 1;
    try_later(b, u);
    next_turn(b);
}

void upstream_refused(struct bridge *b, struct upstream *u, uint64_t ticket)
{
    if (ticket > u->cut_at)
        upstream_cut(b, u); /* which answers all that came by it */
}

void upstream_accepted(struct bridge *b, struct upstream *u)
{
    u->refusals = 0;
    upstream_settled(b, u);
}

static void unwant(struct bridge *b, struct upstream *u)
{
    u->wanted = false;
    u->ending = ENDING_NOT;
    u->unanswered = false;
    b->status.connections--;
    timers_set(&b->timers, &u->timer, TIMER_NEVER);
    leave_turn(b, u);
    if (u->awaited)
        subscribe_down(b, u);
    session_reschedule(b, u->session); /* it may expire, or make room */
}

/* What came by it and is not on the disk yet is waited for: the broker would send it
 * again, and the sensor get it twice. */
static bool may_end(const struct bridge *b, const struct upstream *u)
{
    return u->wanted && u->ending != ENDING_NOT && u->waiting == 0 &&
           !await_has_message(b, u->conn);
}

static bool may_renew(const struct bridge *b, const struct upstream *u)
{
    return u->stale && upstream_is_up(u) && u->inflight + u->inflight0 == 0 &&
           !(u->fresh && lanes_are_undecided(b, u)) && !await_has_message(b, u->conn);
}

/* Returns whether the connection has ended: nothing is left to be sent by it. */
static bool finish(struct bridge *b, struct upstream *u)
{
    const struct session *s = u->session;
    if (!may_end(b, u))
        return false;
    if (u->state != UPSTREAM_DOWN) {
        const bool with_will = u->ending == ENDING_WITH_WILL && upstream_is_up(u);
        disconnect(b, u, s->clean || !s->transparent, with_will);
    }
    unwant(b, u);
    next_turn(b);
    return true;
}

void upstream_await(struct bridge *b, struct upstream *u)
{
    if (!u->awaited)
        timers_set(&b->timers, &u->timer, b->now_ms + BROKER_WAIT_MS);
    u->awaited = true;
}

void upstream_remind(struct bridge *b, struct upstream *u, uint64_t at_ms)
{
    if (upstream_is_up(u) && at_ms < u->timer.due_ms)
        timers_set(&b->timers, &u->timer, at_ms);
}

static uint64_t silent_ms(const struct bridge *b, const struct upstream *u)
{
    const uint64_t ms = (uint64_t)b->config->answer_timeout_s * 1000;
    return ms == 0 || upstream_under_way(u) == 0 ? BRIDGE_NEVER : u->heard_ms + ms;
}

void upstream_asks(struct bridge *b, struct upstream *u)
{
    u->still_ms = b->now_ms;
    if (upstream_under_way(u) == 0)
        u->heard_ms = b->now_ms;
    const uint64_t end_ms = u->heard_ms + (uint64_t)b->config->answer_timeout_s * 1000;
    if (b->config->answer_timeout_s == 0 || end_ms >= u->timer.due_ms)
        return;
    u->patience_ms = end_ms;
    upstream_remind(b, u, end_ms);
}

void upstream_heard(struct bridge *b, struct upstream *u)
{
    u->still_ms = u->heard_ms = b->now_ms;
    if (upstream_under_way(u) == 0 && u->timer.due_ms == u->patience_ms)
        timers_set(&b->timers, &u->timer, TIMER_NEVER);
}

void upstream_settled(struct bridge *b, struct upstream *u)
{
    /* By the timer, for the session may go with it. */
    if (may_end(b, u) || may_renew(b, u))
        timers_set(&b->timers, &u->timer, b->now_ms);
}

/* The broker gets to hear of another will, or a clean session, by a connection
 * made anew. What is in flight is waited for: QoS 2 would not survive it. */
static void renew(struct bridge *b, struct upstream *u)
{
    disconnect(b, u, false, false);
    want_turn(b, u);
}

/* ---- the sensor comes and goes ---------------------------------------------------------------- */

bool upstream_has_room(const struct bridge *b, struct sn_bytes client_id, const struct session *s)
{
    const bool own = s != NULL ? s->transparent : upstream_is_own(b, client_id);
    return !own || (s != NULL && s->own->wanted) ||
           b->status.connections < b->config->max_connections;
}

static void want(struct bridge *b, struct upstream *u)
{
    b->status.connections += !u->wanted;
    u->met &= u->wanted;
    u->wanted = true;
}

static void make_anew(struct bridge *b, struct upstream *u)
{
    if (u->state == UPSTREAM_DOWN)
        return;
    u->stale = true;
    upstream_settled(b, u);
}

void upstream_open(struct bridge *b, struct session *s, bool new_will)
{
    struct upstream *u = s->own;
    if (!s->transparent)
        return;
    /* One that was about to end has no will at the broker, or an old one. */
    const bool anew = s->clean || new_will || u->ending != ENDING_NOT;
    want(b, u);
    u->ending = ENDING_NOT;
    u->fresh |= s->clean;
    if (u->state == UPSTREAM_DOWN) {
        u->attempts = 0;
        u->unanswered = true;
        want_turn(b, u);
    } else if (anew) {
        u->unanswered = true;
        make_anew(b, u);
    }
}

void upstream_new_will(struct bridge *b, struct session *s)
{
    if (s->transparent && s->own->wanted)
        make_anew(b, s->own);
}

void upstream_end(struct bridge *b, struct session *s, enum ending ending)
{
    struct upstream *u = s->own;
    if (!s->transparent || !u->wanted)
        return;
    u->ending = (uint8_t)ending;
    u->unanswered = false;
    finish(b, u);
}

/* By a connection that begins a clean session and ends when it is up; if there is none to be
 * had now, the broker has limits of its own. */
void upstream_forget(struct bridge *b, struct session *s)
{
    struct upstream *u = s->own;
    if (!s->transparent || s->clean || u->wanted ||
        b->status.connections >= b->config->max_connections)
        return;
    want(b, u);
    u->fresh = true;
    u->ending = ENDING_QUIETLY;
    want_turn(b, u);
}

void upstream_resume(struct bridge *b, struct session *s)
{
    struct upstream *u = s->own;
    const bool connected = s->transparent && sn_session_is_connected(&s->sn);
    if (u == NULL || (!connected && u->waiting == 0))
        return;
    want(b, u);
    if (!connected)
        u->ending = ENDING_QUIETLY;
    u->fresh = !s->transparent; /* what the broker has for the sensor is not for this one */
    want_turn(b, u);
}

void upstream_remove(struct bridge *b, struct session *s)
{
    struct upstream *u = s->own;
    if (u == NULL)
        return;
    if (u->state != UPSTREAM_DOWN)
        disconnect(b, u, true, false);
    if (u->wanted)
        unwant(b, u);
    lanes_close(b, u);
    uplink_leave_disk(b, u);
    subscribe_forget(b, u);
    timers_remove(&b->timers, &u->timer);
    arena_put(&b->arena, u);
    s->own = NULL;
    next_turn(b);
}

/* ---- what the broker says ------------------------------------------------------------------------ */

void upstream_up(struct bridge *b, struct upstream *u, const struct bridge_event *event)
{
    struct session *s = u->session;
    if (u->state != UPSTREAM_CONNECTING || event->up.attempt != u->attempt)
        return;
    u->state = UPSTREAM_UP;
    u->up_ms = u->still_ms = u->heard_ms = b->now_ms;
    u->proof = 0;
    u->careful = false;
    u->window = event->up.window;
    u->max_qos = event->up.max_qos;
    if (s == NULL) {
        bridge_note(b, BRIDGE_NOTE_BROKER_UP, NULL, sn_bytes(NULL, 0), u->waiting);
        outage_end(b);
        discover_broker(b, true);
    } else {
        b->connecting--;
        b->status.connections_up++;
        u->fresh &= u->stale; /* not begun yet, or asked for since */
        bridge_note(b, BRIDGE_NOTE_CONNECTION_UP, s, sn_bytes(NULL, 0), u->waiting);
    }
    u->met = true;
    if (u->awaited && u->stale)
        subscribe_down(b, u); /* that is for the connection to come */
    subscribe_up(b, u, event->up.session_present);
    uplink_pump(b, u);
    upstream_settled(b, u);
    if (s == NULL)
        return;
    next_turn(b);
    if (!u->stale && u->unanswered) {
        u->unanswered = false;
        connect_answered(b, s);
    }
}

/* It was lost. It was of use when the broker has answered something, unless it hung up
 * on what it hung up on before and was not tried on purpose; else the pauses go on to grow,
 * though CONNECT succeeds. */
static void lose(struct bridge *b, struct upstream *u)
{
    const bool tried = u->trying;
    const bool again = suspect_lost(b, u);
    if (b->now_ms - u->up_ms >= USEFUL_MS || (u->proof != 0 && (tried || !again)))
        u->attempts = 0;
    gone(b, u);
    suspect_judge(b, u);
}

void upstream_down(struct bridge *b, struct upstream *u, const struct bridge_event *event)
{
    struct session *s = u->session;
    if (u->state == UPSTREAM_DOWN || event->down.attempt != u->attempt)
        return;
    const struct sn_bytes why =
        event->down.why == NULL ? sn_bytes(NULL, 0) : sn_bytes_text(event->down.why);
    const bool was_up = upstream_is_up(u);
    const bool refused = !was_up && is_final(event->down.code);
    enum bridge_note note = was_up ? BRIDGE_NOTE_BROKER_LOST : BRIDGE_NOTE_BROKER_UNREACHABLE;
    if (s != NULL)
        note = was_up    ? BRIDGE_NOTE_CONNECTION_LOST
               : refused ? BRIDGE_NOTE_CONNECTION_REFUSED
                         : BRIDGE_NOTE_CONNECTION_FAILED;
    bridge_note(b, note, s, why, u->attempts);
    if (was_up)
        lose(b, u);
    else
        gone(b, u);
    if (refused)
        u->attempts = ATTEMPTS_MAX; /* nothing changes that soon */
    try_later(b, u);
    upstream_settled(b, u); /* if it has nothing to send there is no next time */
    if (s == NULL)
        return;
    if (u->ending == ENDING_WITH_WILL)
        u->ending = ENDING_QUIETLY; /* it has lost us: it publishes the will by itself */
    next_turn(b);
    u->unanswered = false;
    if (refused)
        connect_refused(b, s, event->down.code);
    else
        connect_answered(b, s);
}

/* It is connected and says nothing, as one that was stopped or hangs: as if it were away. */
static void give_up(struct bridge *b, struct upstream *u)
{
    char why[80];
    snprintf(why, sizeof(why), "no answer for %llu s, %u wait",
             (unsigned long long)(b->now_ms - u->heard_ms) / 1000, (unsigned)upstream_under_way(u));
    bridge_note(b, BRIDGE_NOTE_BROKER_SILENT, u->session, sn_bytes_text(why),
                upstream_under_way(u));
    bridge_emit(
        b, &(struct bridge_action){.type = BRIDGE_DO_DISCONNECT, .disconnect = {.conn = u->conn}});
    lose(b, u);
    try_later(b, u);
    upstream_settled(b, u);
    next_turn(b);
}

/* It is up, and its timer has come. */
static void look(struct bridge *b, struct upstream *u)
{
    if (silent_ms(b, u) <= b->now_ms) {
        give_up(b, u);
        return;
    }
    subscribe_pump(b, u);
    uplink_pump(b, u);
    u->patience_ms = silent_ms(b, u);
    upstream_remind(b, u, u->patience_ms);
}

static void hurry(struct bridge *b, struct upstream *u)
{
    if (u->state == UPSTREAM_DOWN && u->timer.due_ms != TIMER_NEVER)
        timers_set(&b->timers, &u->timer, b->now_ms);
}

void upstream_hurry(struct bridge *b)
{
    hurry(b, &b->shared);
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++) {
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next) {
            struct session *s = TABLE_ENTRY(l, struct session, by_number);
            if (s->own != NULL)
                hurry(b, s->own);
        }
    }
}

/* May free the session. */
void upstream_due(struct bridge *b, struct upstream *u)
{
    struct session *s = u->session;
    if (u->awaited)
        subscribe_down(b, u);
    if (finish(b, u)) {
        if (s->clean && !sn_session_is_connected(&s->sn) && !s->leaving)
            clients_retire(b, s);
        else if (!s->transparent)
            upstream_remove(b, s);
    } else if (may_renew(b, u)) {
        renew(b, u);
    } else if (upstream_is_up(u)) {
        look(b, u);
    } else if (u->state == UPSTREAM_DOWN && !b->stopping && (s == NULL || u->wanted)) {
        want_turn(b, u);
    }
}
