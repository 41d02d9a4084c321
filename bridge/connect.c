#include "bridge/core.h"

#include <assert.h>

#include "bridge/permit.h"
#include "mqttsn/topic.h"

static void ask_for_will(struct bridge *b, struct session *s)
{
    const enum sn_type type = s->dialogue == DIALOGUE_TOPIC ? SN_WILLTOPICREQ : SN_WILLMSGREQ;
    air_send(b, s, &(struct sn_packet){.type = type}, AIR_CONTROL, false);
}

/* The gateway supervises the dialogue, too: every question is repeated. */
static void supervise_dialogue(struct bridge *b, struct session *s)
{
    const struct bridge_link_config *link = b->links[s->link].config;
    sn_retry_start(&s->dialogue_retry, b->now_ms, s->rtt.rto_ms, link->retry_max_ms, link->retries);
    session_reschedule(b, s);
}

static void refuse(struct bridge *b, const struct peer *peer, struct sn_bytes client_id,
                   uint8_t code, const char *why)
{
    bridge_note_at(b, BRIDGE_NOTE_CLIENT_REFUSED, peer->link, client_id, sn_bytes_text(why), code);
    if (air_may_refuse(b, peer))
        air_answer(b, peer, &(struct sn_packet){.type = SN_CONNACK, .code = code});
}

/* A client that never got as far as a session on disk leaves nothing behind. */
static void leave_dialogue(struct bridge *b, struct session *s)
{
    clients_end_dialogue(b, s);
    if (!s->on_disk) {
        clients_remove(b, s);
        return;
    }
    session_reschedule(b, s);
    downlink_pump(b, s); /* what CONNECT has ended goes on */
}

void connect_abandon(struct bridge *b, struct session *s)
{
    bridge_note(b, BRIDGE_NOTE_WILL_ABANDONED, s, sn_bytes(NULL, 0), 0);
    leave_dialogue(b, s);
}

/* Everything CONNECT asks for is known and checked: it takes effect. */
static void accept(struct bridge *b, struct session *s, bool clean, uint16_t keepalive_s)
{
    s->returned |= s->on_disk;
    if (clean)
        clients_wipe(b, s);
    topics_doubt(s);
    s->clean = clean;
    s->hold_until_ms = 0;
    exchanges_connect(s);
    s->subscribe_mid = 0;
    s->subscribing = SUBSCRIBING_NOT;
    s->connects++;
    s->quiet = false;
    const uint8_t before = s->sn.state;
    sn_session_connect(&s->sn, b->now_ms, keepalive_s);
    session_changed(b, s, before);
}

static void store_and_confirm(struct bridge *b, struct session *s, bool new_will)
{
    clients_end_dialogue(b, s);
    s->dialogue = DIALOGUE_STORING;
    s->leaving = false;
    upstream_open(b, s, new_will);
    const uint64_t ticket = save_session(b, s, false);
    if (!await_add(b,
                   (struct await){.kind = AWAIT_CONNACK, .ticket = ticket, .session = s->number}))
        s->dialogue = DIALOGUE_NONE; /* the client repeats its CONNECT */
    session_reschedule(b, s);
}

static void confirm(struct bridge *b, struct session *s)
{
    s->dialogue = DIALOGUE_NONE;
    session_reschedule(b, s); /* silence counts from here on */
    bridge_note(b, BRIDGE_NOTE_CLIENT_CONNECTED, s, sn_bytes(NULL, 0), s->sn.keepalive_s);
    air_send(b, s, &(struct sn_packet){.type = SN_CONNACK, .code = SN_ACCEPTED}, AIR_ACK, false);
    downlink_pump(b, s);
}

/* A broker that is away is no reason to refuse a sensor: its messages are kept. So
 * CONNACK waits for what the broker says to the sensor's own connection only as long
 * as it is likely to say something. */
void connect_done(struct bridge *b, struct session *s)
{
    if (s->dialogue != DIALOGUE_STORING)
        return;
    if (!s->transparent || !s->own->unanswered) {
        confirm(b, s);
        return;
    }
    s->dialogue = DIALOGUE_BROKER;
    s->broker_until_ms = b->now_ms + BROKER_WAIT_MS;
    session_reschedule(b, s);
}

void connect_answered(struct bridge *b, struct session *s)
{
    if (s->dialogue == DIALOGUE_BROKER)
        confirm(b, s);
}

/* It is told so, or has been. May free the session. */
static void dismiss(struct bridge *b, struct session *s)
{
    const uint8_t before = s->sn.state;
    sn_session_disconnect(&s->sn);
    session_changed(b, s, before);
    upstream_end(b, s, ENDING_QUIETLY);
    if (s->clean) {
        clients_retire(b, s);
        return;
    }
    save_session(b, s, false);
    session_reschedule(b, s);
}

void connect_let_go(struct bridge *b, struct session *s)
{
    assert(s->sn.state == SN_ACTIVE);
    bridge_note(b, BRIDGE_NOTE_CLIENT_LET_GO, s, sn_bytes(NULL, 0), 0);
    downlink_land(b, s);
    air_leave(b, s);
    air_send(b, s, &(struct sn_packet){.type = SN_DISCONNECT}, AIR_ACK, false);
    dismiss(b, s);
}

void connect_refused(struct bridge *b, struct session *s, uint8_t code)
{
    const bool asks = s->dialogue == DIALOGUE_STORING || s->dialogue == DIALOGUE_BROKER;
    const bool hears = s->sn.state == SN_ACTIVE || s->sn.state == SN_AWAKE;
    if (!sn_session_is_connected(&s->sn) || (s->dialogue != DIALOGUE_NONE && !asks))
        return; /* it has gone, or begins again and will hear of it then */
    bridge_note(b, BRIDGE_NOTE_CLIENT_REFUSED, s, sn_bytes_text("by the broker"), code);
    s->dialogue = DIALOGUE_NONE;
    downlink_land(b, s);
    air_leave(b, s);
    if (asks)
        air_send(b, s, &(struct sn_packet){.type = SN_CONNACK, .code = SN_NOT_SUPPORTED}, AIR_ACK,
                 false);
    else if (hears) /* a sleeper hears it when it asks */
        air_send(b, s, &(struct sn_packet){.type = SN_DISCONNECT}, AIR_ACK, false);
    dismiss(b, s);
}

/* 0 is no supervision; the configuration may want some all the same. */
static uint16_t keepalive_of(const struct bridge *b, const struct sn_packet *p)
{
    const uint16_t max_s = b->config->max_keepalive_s;
    const uint16_t wanted_s = p->connect.keepalive_s;
    return max_s != 0 && (wanted_s == 0 || wanted_s > max_s) ? max_s : wanted_s;
}

/* What sensors send is kept while the broker is away, and so may they be. */
static bool is_admitted(struct bridge *b, const struct session *s)
{
    if (upstream_is_up(&b->shared) || upstream_is_up(upstream_of(b, s)))
        return true;
    switch ((enum bridge_offline)b->config->connect_offline) {
    case BRIDGE_OFFLINE_ALL:
        return true;
    case BRIDGE_OFFLINE_KNOWN:
        return s != NULL && s->on_disk;
    case BRIDGE_OFFLINE_NONE:
        return false;
    }
    return false;
}

/* What there is not enough of for this CONNECT; NULL: all of it is there. The session may be
 * NULL. */
static const char *shortage(struct bridge *b, const struct peer *peer, struct sn_bytes id,
                            struct session *s)
{
    if (!is_admitted(b, s))
        return "broker away";
    if (!upstream_has_room(b, id, s)) {
        bridge_note_at(b, BRIDGE_NOTE_CONNECTION_LIMIT, peer->link, id, sn_bytes(NULL, 0),
                       b->status.connections);
        return "limit";
    }
    if (s == NULL)
        return budget_new_client(b, peer) ? NULL : "max_new_clients";
    return s->pending != NULL || budget_write(b, s) ? NULL : "max_writes";
}

void connect_begin(struct bridge *b, const struct peer *peer, const struct sn_packet *p,
                   enum sn_fault fault)
{
    const struct sn_bytes id = p->connect.client_id;
    if (fault != SN_OK) {
        refuse(b, peer, id, SN_NOT_SUPPORTED, sn_fault_name(fault));
        return;
    }
    if (id.len > b->config->max_client_id) {
        refuse(b, peer, id, SN_NOT_SUPPORTED, "client id too long");
        return;
    }
    const uint16_t keepalive_s = keepalive_of(b, p);
    struct session *s = clients_find_id(b, id);
    const bool as_before =
        s != NULL && s->clean == p->connect.clean && s->sn.keepalive_s == keepalive_s;
    if (s != NULL && clients_is_at(s, peer) && as_before &&
        (s->dialogue == DIALOGUE_STORING || s->dialogue == DIALOGUE_BROKER)) {
        sn_session_hear(&s->sn, b->now_ms);
        return; /* repeated; CONNACK is on its way */
    }
    const char *const why = shortage(b, peer, id, s);
    if (why != NULL) {
        refuse(b, peer, id, SN_CONGESTION, why);
        return;
    }
    if (s == NULL && (s = clients_add(b, id, 0)) == NULL) {
        bridge_note_at(b, BRIDGE_NOTE_CLIENT_LIMIT, peer->link, id, sn_bytes(NULL, 0),
                       b->status.clients);
        refuse(b, peer, id, SN_CONGESTION, "limit");
        return;
    }
    if (!clients_is_at(s, peer)) {
        if (s->link != UINT16_MAX)
            bridge_note(b, BRIDGE_NOTE_CLIENT_MOVED, s, sn_bytes(NULL, 0), 0);
        if (!clients_move(b, s, peer)) {
            refuse(b, peer, id, SN_CONGESTION, "memory");
            leave_dialogue(b, s);
            return;
        }
    }
    /* It is alive, and has something else to say than the answer to what is open. */
    sn_session_hear(&s->sn, b->now_ms);
    downlink_land(b, s);
    if (!p->connect.will) {
        accept(b, s, p->connect.clean, keepalive_s);
        store_and_confirm(b, s, false);
        return;
    }
    /* a repeated CONNECT repeats the open question. */
    if (s->pending == NULL) {
        s->pending = arena_take(&b->arena, sizeof(*s->pending));
        if (s->pending == NULL) {
            refuse(b, peer, id, SN_CONGESTION, "memory");
            leave_dialogue(b, s);
            return;
        }
        s->dialogue = DIALOGUE_TOPIC;
    }
    s->pending->clean = p->connect.clean;
    s->pending->keepalive_s = keepalive_s;
    ask_for_will(b, s);
    supervise_dialogue(b, s);
}

static void refuse_will(struct bridge *b, struct session *s, uint8_t code)
{
    bridge_note(b, BRIDGE_NOTE_CLIENT_REFUSED, s, sn_bytes_text("will"), code);
    air_send(b, s, &(struct sn_packet){.type = SN_CONNACK, .code = code}, AIR_ACK, false);
    leave_dialogue(b, s);
}

/* Others may have taken the last connection while the will was asked for. */
static bool is_late(struct bridge *b, struct session *s)
{
    if (upstream_has_room(b, blob_bytes(s->client_id), s))
        return false;
    bridge_note(b, BRIDGE_NOTE_CONNECTION_LIMIT, s, sn_bytes(NULL, 0), b->status.connections);
    refuse_will(b, s, SN_CONGESTION);
    return true;
}

void connect_will_topic(struct bridge *b, struct session *s, const struct sn_packet *p,
                        enum sn_fault fault)
{
    if (s->dialogue == DIALOGUE_MESSAGE) { /* our next question was lost */
        ask_for_will(b, s);
        return;
    }
    if (s->dialogue != DIALOGUE_TOPIC) {
        bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s, sn_bytes_text("WILLTOPIC"), 0);
        return;
    }
    struct pending_connect *pending = s->pending;
    /* the empty form deletes the will, and so do flags without a topic. */
    if (p->willtopic.empty || fault == SN_FAULT_EMPTY_TOPIC) {
        if (is_late(b, s))
            return;
        const bool clean = pending->clean;
        const uint16_t keepalive_s = pending->keepalive_s;
        accept(b, s, clean, keepalive_s);
        clients_drop_will(b, s);
        erase_record(b, s, BRIDGE_RECORD_WILL, 0);
        store_and_confirm(b, s, true);
        return;
    }
    if (fault != SN_OK || permit_publish(b->config, p->willtopic.topic) != NULL) {
        refuse_will(b, s, SN_NOT_SUPPORTED);
        return;
    }
    pending->will_topic = name_take(b, p->willtopic.topic);
    if (pending->will_topic == NULL) {
        refuse_will(b, s, SN_CONGESTION);
        return;
    }
    pending->will_qos = (uint8_t)p->willtopic.qos;
    pending->will_retain = p->willtopic.retain;
    s->dialogue = DIALOGUE_MESSAGE;
    ask_for_will(b, s);
    supervise_dialogue(b, s);
}

void connect_will_message(struct bridge *b, struct session *s, const struct sn_packet *p)
{
    if (s->dialogue != DIALOGUE_MESSAGE) {
        bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s, sn_bytes_text("WILLMSG"), 0);
        return;
    }
    if (is_late(b, s))
        return;
    struct blob *message = blob_take(b, p->willmsg.message);
    if (message == NULL) {
        refuse_will(b, s, SN_CONGESTION);
        return;
    }
    const struct pending_connect pending = *s->pending;
    s->pending->will_topic = NULL; /* taken over below */
    accept(b, s, pending.clean, pending.keepalive_s);
    clients_drop_will(b, s);
    s->will = (struct will){
        .topic = pending.will_topic,
        .message = message,
        .qos = pending.will_qos,
        .retain = pending.will_retain,
    };
    save_will(b, s);
    store_and_confirm(b, s, true);
}

/* 6.4. The will is ours to publish, so an update is a matter of storing it; if it
 * is the broker's, the sensor's connection there is made anew with it. */
void connect_will_update(struct bridge *b, struct session *s, const struct sn_packet *p,
                         enum sn_fault fault)
{
    const bool is_topic = p->type == SN_WILLTOPICUPD;
    const enum sn_type type = is_topic ? SN_WILLTOPICRESP : SN_WILLMSGRESP;
    uint64_t ticket;
    if (!budget_write(b, s)) {
        air_send(b, s, &(struct sn_packet){.type = type, .code = SN_CONGESTION}, AIR_ACK, false);
        return;
    }
    if (is_topic && (p->willtopic.empty || fault == SN_FAULT_EMPTY_TOPIC)) {
        clients_drop_will(b, s);
        ticket = erase_record(b, s, BRIDGE_RECORD_WILL, 0);
    } else if (fault != SN_OK ||
               (is_topic && permit_publish(b->config, p->willtopic.topic) != NULL)) {
        bridge_note(b, BRIDGE_NOTE_TOPIC_REFUSED, s, sn_bytes_text("will"), 0);
        air_send(b, s, &(struct sn_packet){.type = type, .code = SN_NOT_SUPPORTED}, AIR_ACK, false);
        return;
    } else {
        struct name *topic = is_topic ? name_take(b, p->willtopic.topic) : NULL;
        struct blob *message = is_topic ? NULL : blob_take(b, p->willmsg.message);
        if (topic == NULL && message == NULL) {
            air_send(b, s, &(struct sn_packet){.type = type, .code = SN_CONGESTION}, AIR_ACK,
                     false);
            return;
        }
        if (is_topic) {
            name_put(b, s->will.topic);
            s->will.topic = topic;
            s->will.qos = (uint8_t)p->willtopic.qos;
            s->will.retain = p->willtopic.retain;
        } else {
            arena_put(&b->arena, s->will.message);
            s->will.message = message;
        }
        ticket = save_will(b, s);
    }
    if (is_topic || s->will.topic != NULL)
        upstream_new_will(b, s);
    await_add(b, (struct await){.kind = is_topic ? AWAIT_WILLTOPICRESP : AWAIT_WILLMSGRESP,
                                .ticket = ticket,
                                .session = s->number});
}

/* 6.12, 6.14. The answer waits for the disk: a restart must not take a sleeper,
 * or one who has said goodbye, for lost. */
void connect_end(struct bridge *b, struct session *s, const struct sn_packet *p)
{
    const uint16_t sleep_s = p->disconnect.has_duration ? p->disconnect.duration_s : 0;
    if (!sn_session_is_connected(&s->sn)) { /* its will is being asked for */
        air_send(b, s, &(struct sn_packet){.type = SN_DISCONNECT}, AIR_ACK, false);
        leave_dialogue(b, s);
        return;
    }
    struct await *place = await_take(b);
    if (place == NULL)
        return; /* the client repeats it */
    clients_end_dialogue(b, s);
    downlink_land(b, s);
    air_leave(b, s);
    s->hold_until_ms = 0;
    s->quiet = false;
    const uint8_t before = s->sn.state;
    if (sleep_s > 0) {
        sn_session_sleep(&s->sn, b->now_ms, sleep_s);
        session_changed(b, s, before);
        bridge_note(b, BRIDGE_NOTE_CLIENT_ASLEEP, s, sn_bytes(NULL, 0), sleep_s);
    } else {
        sn_session_disconnect(&s->sn);
        session_changed(b, s, before);
        bridge_note(b, BRIDGE_NOTE_CLIENT_DISCONNECTED, s, sn_bytes(NULL, 0), 0);
        upstream_end(b, s, ENDING_QUIETLY);
    }
    /* There is no way to refuse it: beyond its budget the disk need not hurry. */
    const uint64_t ticket = save_session(b, s, !budget_write(b, s));
    session_reschedule(b, s);
    s->leaving = true;
    await_enter(b, place,
                (struct await){.kind = AWAIT_DISCONNECT, .ticket = ticket, .session = s->number});
}

void connect_gone(struct bridge *b, struct session *s)
{
    if (s->sn.state != SN_DISCONNECTED && s->sn.state != SN_ASLEEP)
        return; /* it is back already */
    s->leaving = false;
    air_send(b, s, &(struct sn_packet){.type = SN_DISCONNECT}, AIR_ACK, false);
    if (s->sn.state == SN_DISCONNECTED && s->clean)
        clients_retire(b, s);
}

static void pong(struct bridge *b, struct session *s)
{
    air_send(b, s, &(struct sn_packet){.type = SN_PINGRESP}, AIR_ACK, false);
}

/* 6.14: it is awake until everything is sent and PINGRESP ends it. */
static void wake(struct bridge *b, struct session *s)
{
    const uint8_t before = s->sn.state;
    s->returned = true;
    sn_session_wake(&s->sn, b->now_ms);
    session_changed(b, s, before);
    s->awake_sent = 0;
    s->awake_ms = b->now_ms;
    bridge_note(b, BRIDGE_NOTE_CLIENT_AWAKE, s, sn_bytes(NULL, 0), tiers_count(s));
    downlink_pump(b, s);
}

void connect_rest(struct bridge *b, struct session *s)
{
    assert(s->sn.state == SN_AWAKE);
    pong(b, s);
    const uint8_t before = s->sn.state;
    sn_session_rest(&s->sn, b->now_ms);
    session_changed(b, s, before);
    save_heard(b, s);
    session_reschedule(b, s);
}

/* Nothing but its silence has ended the connection, and that is over: a reading must not
 * be refused because the one before was late. Its will has gone out and is kept for
 * the next time. A clean session has ended with its loss. */
bool connect_return(struct bridge *b, struct session *s)
{
    if (s->sn.state != SN_LOST || s->clean || s->dialogue != DIALOGUE_NONE || !is_admitted(b, s) ||
        !upstream_has_room(b, blob_bytes(s->client_id), s))
        return false;
    bridge_note(b, BRIDGE_NOTE_CLIENT_RETURNED, s, sn_bytes(NULL, 0),
                (b->now_ms - s->sn.heard_ms) / 1000);
    s->returned = true;
    sn_session_return(&s->sn, b->now_ms);
    session_changed(b, s, SN_LOST);
    upstream_open(b, s, false);
    save_session(b, s, true);
    session_reschedule(b, s);
    return true;
}

/* anybody could fetch another's messages by its client id. */
static bool may_roam(const struct bridge *b, const struct session *s, const struct peer *peer)
{
    const bool was_asleep = s->sn.state == SN_LOST && s->sn.sleep_s > 0;
    return b->links[peer->link].config->roam &&
           (s->sn.state == SN_ASLEEP || s->sn.state == SN_AWAKE || was_asleep);
}

static bool may_ping(struct bridge *b, struct session *s, const struct peer *peer)
{
    if (s->dialogue != DIALOGUE_NONE || (!clients_is_at(s, peer) && !may_roam(b, s, peer)))
        return false;
    if (!sn_session_is_connected(&s->sn) && !connect_return(b, s))
        return false;
    if (clients_is_at(s, peer))
        return true;
    if (!clients_move(b, s, peer))
        return false;
    bridge_note(b, BRIDGE_NOTE_CLIENT_MOVED, s, sn_bytes(NULL, 0), 0);
    save_session(b, s, true);
    return true;
}

void connect_ping(struct bridge *b, const struct peer *peer, const struct sn_packet *p)
{
    const struct sn_bytes id = p->pingreq.client_id;
    struct session *s = id.len > 0 ? clients_find_id(b, id) : clients_find_peer(b, peer);
    if (s != NULL && s->dialogue != DIALOGUE_NONE && clients_is_at(s, peer)) {
        bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s, sn_bytes_text("PINGREQ"), 0);
        return;
    }
    if (s == NULL || !may_ping(b, s, peer)) {
        bridge_note_at(b, BRIDGE_NOTE_FRAME_UNKNOWN_SENDER, peer->link, id,
                       sn_bytes_text("PINGREQ"), 0);
        if (air_may_refuse(b, peer))
            air_answer(b, peer, &(struct sn_packet){.type = SN_DISCONNECT});
        return;
    }
    sn_session_hear(&s->sn, b->now_ms);
    switch ((enum sn_state)s->sn.state) {
    case SN_ACTIVE:
        pong(b, s);
        save_heard(b, s);
        downlink_heard(b, s);
        break;
    case SN_ASLEEP:
        wake(b, s);
        break;
    case SN_AWAKE: /* repeated; what is open repeats itself, PINGRESP comes at the end */
        downlink_pump(b, s);
        break;
    case SN_DISCONNECTED:
    case SN_LOST:
        break;
    }
    session_reschedule(b, s);
}

/* The broker has the will of a sensor with a connection of its own, and publishes it
 * when that is dropped. If it is away just now, or has an older will, it is ours. */
static enum ending fire_will(struct bridge *b, struct session *s)
{
    if (s->will.topic == NULL)
        return ENDING_QUIETLY;
    if (s->transparent && upstream_is_open(s->own)) {
        bridge_note(b, BRIDGE_NOTE_WILL_LEFT, s, name_bytes(s->will.topic), 0);
        return ENDING_WITH_WILL;
    }
    bridge_note(b, BRIDGE_NOTE_WILL_FIRED, s, name_bytes(s->will.topic), 0);
    uplink_will(b, s);
    return ENDING_QUIETLY;
}

/* May free the session. */
void connect_lose(struct bridge *b, struct session *s, enum bridge_note why)
{
    bridge_note(b, why, s, sn_bytes_text(sn_state_name(s->sn.state)),
                (b->now_ms - s->sn.heard_ms) / 1000);
    const enum ending ending = fire_will(b, s);
    downlink_land(b, s);
    air_leave(b, s);
    const uint8_t before = s->sn.state;
    sn_session_lose(&s->sn);
    session_changed(b, s, before);
    upstream_end(b, s, ending);
    if (s->clean) {
        clients_retire(b, s);
        return;
    }
    save_session(b, s, true);
    session_reschedule(b, s);
}

/* the message stays. A client that is awake has gone back to sleep. One that is
 * active may be deaf, but it is not lost as long as it keeps its keep-alive: it may have
 * readings to send while what we send does not get through. What is open rests until
 * it is heard, or answers late. */
void connect_no_answer(struct bridge *b, struct session *s)
{
    bridge_note(b, BRIDGE_NOTE_CLIENT_NO_ANSWER, s, sn_bytes_text(sn_state_name(s->sn.state)), 0);
    if (s->sn.state != SN_ACTIVE)
        downlink_land(b, s);
    if (s->sn.state == SN_AWAKE) {
        const uint8_t before = s->sn.state;
        sn_session_rest(&s->sn, b->now_ms);
        session_changed(b, s, before);
    }
    session_reschedule(b, s);
}

void connect_due(struct bridge *b, struct session *s)
{
    if (s->hold_until_ms != 0 && s->hold_until_ms <= b->now_ms) {
        s->hold_until_ms = 0;
        downlink_pump(b, s);
    }
    if (tiers_starved_until_ms(s) <= b->now_ms) {
        tiers_feed(b, s);
        downlink_pump(b, s);
    }
    if (s->dialogue == DIALOGUE_BROKER && s->broker_until_ms <= b->now_ms)
        connect_answered(b, s);
    if (s->dialogue == DIALOGUE_TOPIC || s->dialogue == DIALOGUE_MESSAGE) {
        switch (sn_retry_check(&s->dialogue_retry, b->now_ms)) {
        case SN_RETRY_WAIT:
            break;
        case SN_RETRY_REPEAT:
            ask_for_will(b, s);
            break;
        case SN_RETRY_LOST:
            connect_abandon(b, s);
            return;
        }
    }
    if (session_deadline(b, s) <= b->now_ms && s->dialogue == DIALOGUE_NONE) {
        connect_lose(b, s, BRIDGE_NOTE_CLIENT_LOST);
        return;
    }
    if (expire_deadline(b, s) <= b->now_ms) {
        expire_due(b, s);
        return;
    }
    if (s->retry.due_ms <= b->now_ms)
        downlink_due(b, s);
    else
        session_reschedule(b, s);
}
