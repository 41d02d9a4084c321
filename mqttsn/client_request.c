#include "mqttsn/client_parts.h"

void snc_finish(struct sn_client *c, enum sn_client_result result, uint8_t code, int8_t qos)
{
    struct sn_client_event e = {.type = SN_EVENT_PUBLISHED,
                                .done = {.result = result, .code = code, .qos = qos}};

    if (c->open.what == SN_SUBSCRIBE) {
        e.type = SN_EVENT_SUBSCRIBED;
    } else if (c->open.what == SN_UNSUBSCRIBE) {
        e.type = SN_EVENT_UNSUBSCRIBED;
    } else if (c->open.what == SN_WILLTOPICUPD) {
        e.type = SN_EVENT_WILL_CHANGED;
    } else if (c->open.qos > 0) {
        e.done.mid = c->open.mid;
    }
    c->open.what = 0;
    sn_retry_stop(&c->open.retry);
    snc_emit(c, &e);
}

void snc_finish_open(struct sn_client *c, enum sn_client_result result)
{
    if (c->open.what != 0) {
        snc_finish(c, result, SN_ACCEPTED, c->open.qos);
    }
}

static void send_open_publish(struct sn_client *c, uint64_t now_ms)
{
    const bool normal = c->open.topic_kind == SN_TOPIC_NORMAL;

    snc_send(c, now_ms,
             &(struct sn_packet){
                 .type = SN_PUBLISH,
                 .publish = {.dup = c->open.sent && c->open.qos > 0,
                             .qos = c->open.qos,
                             .retain = c->open.retain,
                             .kind = (enum sn_topic_kind)c->open.topic_kind,
                             .tid = normal ? c->cfg->topics[c->open.slot].tid : c->open.tid,
                             .mid = c->open.qos > 0 ? c->open.mid : 0,
                             .data = sn_bytes(c->cfg->kept, c->open.len)},
             });
}

static void send_open_subscribe(struct sn_client *c, uint64_t now_ms)
{
    snc_send(c, now_ms,
             &(struct sn_packet){
                 .type = (enum sn_type)c->open.what,
                 .subscribe = {.qos = c->open.qos,
                               .kind = (enum sn_topic_kind)c->open.topic_kind,
                               .mid = c->open.mid,
                               .tid = c->open.tid,
                               .name = sn_bytes(c->cfg->kept, c->open.len)},
             });
}

void snc_send_will_topic(struct sn_client *c, uint64_t now_ms, enum sn_type type)
{
    snc_send(c, now_ms,
             &(struct sn_packet){
                 .type = type,
                 .willtopic = {.empty = c->will.topic.len == 0,
                               .qos = c->will.qos,
                               .retain = c->will.retain,
                               .topic = c->will.topic},
             });
}

void snc_send_will_message(struct sn_client *c, uint64_t now_ms, enum sn_type type)
{
    snc_send(c, now_ms, &(struct sn_packet){.type = type, .willmsg = {.message = c->will.message}});
}

static void send_open(struct sn_client *c, uint64_t now_ms)
{
    switch (c->open.step) {
    case SN_REGISTER:
        snc_send(
            c, now_ms,
            &(struct sn_packet){
                .type = SN_REGISTER,
                .reg = {.tid = 0, .mid = c->open.mid, .name = snc_topic_name(c, c->open.slot)}});
        break;
    case SN_PUBLISH:
        send_open_publish(c, now_ms);
        break;
    case SN_PUBREL:
        snc_send_mid(c, now_ms, SN_PUBREL, c->open.mid);
        break;
    case SN_WILLTOPICUPD:
        snc_send_will_topic(c, now_ms, SN_WILLTOPICUPD);
        break;
    case SN_WILLMSGUPD:
        snc_send_will_message(c, now_ms, SN_WILLMSGUPD);
        break;
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
        send_open_subscribe(c, now_ms);
        break;
    }
    c->open.sent = true;
}

/* A name without an id needs REGISTER before PUBLISH (6.5), and each of the two
 * its own message id. */
static void choose_publish_step(struct sn_client *c)
{
    const bool named = c->open.topic_kind == SN_TOPIC_NORMAL;
    const enum sn_type step =
        named && c->cfg->topics[c->open.slot].tid == 0 ? SN_REGISTER : SN_PUBLISH;

    if (c->open.step != step) {
        c->open.step = (uint8_t)step;
        c->open.mid = snc_take_mid(c);
        c->open.sent = false;
    }
}

void snc_go_on(struct sn_client *c, uint64_t now_ms)
{
    if (c->open.what == 0) {
        return;
    }
    c->open.parked = c->state != SN_CLIENT_ACTIVE || now_ms < c->hold_ms;
    if (c->open.parked) {
        sn_retry_stop(&c->open.retry);
        return;
    }
    if (c->open.what == SN_PUBLISH && c->open.step != SN_PUBREL) {
        choose_publish_step(c);
    }
    snc_start_retry(c, &c->open.retry, now_ms);
    send_open(c, now_ms);
    if (c->open.step == SN_PUBLISH && c->open.qos <= 0) {
        snc_finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, c->open.qos);
    }
}

void snc_repeat_open(struct sn_client *c, uint64_t now_ms)
{
    /* The gateway has meanwhile given the topic's id to another name. */
    if (c->open.step == SN_PUBLISH && c->open.topic_kind == SN_TOPIC_NORMAL &&
        c->cfg->topics[c->open.slot].tid == 0) {
        snc_go_on(c, now_ms);
        return;
    }
    send_open(c, now_ms);
}

/* "Rejected: congestion": the same request again after T_WAIT, as a new one
 * with a message id of its own. A QoS 2 message keeps its id: the gateway may have
 * accepted a copy meanwhile, and must not take what comes then for another one. */
static void wait_for_congestion(struct sn_client *c, uint64_t now_ms)
{
    const enum sn_type what = (enum sn_type)c->open.step;

    c->hold_ms = now_ms + c->cfg->congestion_ms;
    if (what != SN_PUBLISH || c->open.qos != 2) {
        c->open.mid = snc_take_mid(c);
        c->open.sent = false;
    }
    snc_go_on(c, now_ms);
    snc_emit(c, &(struct sn_client_event){.type = SN_EVENT_CONGESTED,
                                          .congested = {.what = what, .until_ms = c->hold_ms}});
}

/* The gateway has refused with a code other than 0. */
static void refuse_open(struct sn_client *c, uint64_t now_ms, uint8_t code)
{
    if (code == SN_CONGESTION) {
        wait_for_congestion(c, now_ms);
    } else {
        snc_finish(c, SN_RESULT_REJECTED, code, 0);
    }
}

void snc_open_request(struct sn_client *c, enum sn_type what, struct sn_topic_ref topic, int8_t qos,
                      struct sn_bytes kept)
{
    c->open.what = (uint8_t)what;
    c->open.step = what == SN_PUBLISH ? 0 : (uint8_t)what; /* REGISTER may come first */
    c->open.topic_kind = (uint8_t)topic.kind;
    c->open.tid = topic.tid;
    c->open.qos = qos;
    c->open.sent = false;
    c->open.cured = false;
    c->open.mid = what == SN_PUBLISH ? 0 : snc_take_mid(c);
    c->open.slot = 0;
    c->open.len = (uint16_t)kept.len;
    if (kept.len > 0) {
        memmove(c->cfg->kept, kept.data, kept.len);
    }
}

static void on_regack(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    const bool expected = c->open.what == SN_PUBLISH && c->open.step == SN_REGISTER &&
                          c->open.mid == p->ack.mid && !c->open.parked;

    if (!expected || (p->ack.code == SN_ACCEPTED && !snc_is_assignable(p->ack.tid))) {
        snc_discard(c, SN_OK, SN_REGACK);
    } else if (p->ack.code != SN_ACCEPTED) {
        refuse_open(c, now_ms, p->ack.code);
    } else {
        snc_pair(c, &c->cfg->topics[c->open.slot], p->ack.tid);
        snc_go_on(c, now_ms);
    }
}

/* 6.6: the gateway may refuse a QoS 0 message, too. It is gone; the next ones
 * must fare better. */
static void on_late_refusal(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    if (p->ack.code == SN_INVALID_TOPIC_ID) {
        struct sn_client_topic *t = snc_find_tid(c, p->ack.tid);
        if (t != NULL) {
            t->tid = 0;
        }
    } else if (p->ack.code == SN_CONGESTION) {
        c->hold_ms = now_ms + c->cfg->congestion_ms;
    }
    snc_emit(c, &(struct sn_client_event){.type = SN_EVENT_DROPPED,
                                          .dropped = {.tid = p->ack.tid, .code = p->ack.code}});
}

static void on_puback(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    const bool ours = c->open.what == SN_PUBLISH && c->open.step == SN_PUBLISH &&
                      c->open.mid == p->ack.mid && !c->open.parked;

    if (!ours) {
        snc_discard(c, SN_OK, SN_PUBACK);
    } else if (p->ack.code == SN_ACCEPTED) {
        if (c->open.qos == 1) {
            snc_finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 1);
        } else {
            snc_discard(c, SN_OK, SN_PUBACK); /* QoS 2 is accepted by PUBREC */
        }
    } else if (p->ack.code == SN_INVALID_TOPIC_ID && c->open.topic_kind == SN_TOPIC_NORMAL &&
               !c->open.cured) {
        c->open.cured = true;
        c->cfg->topics[c->open.slot].tid = 0;
        snc_go_on(c, now_ms);
    } else {
        refuse_open(c, now_ms, p->ack.code);
    }
}

static void on_pubrec(struct sn_client *c, uint64_t now_ms, uint16_t mid)
{
    /* While it waits for the end of congestion a copy was accepted after all. */
    const bool ours = c->open.what == SN_PUBLISH && c->open.mid == mid;

    if (ours && c->open.qos == 2 && c->open.step == SN_PUBLISH) {
        c->open.step = SN_PUBREL;
        if (c->state == SN_CLIENT_ACTIVE) {
            c->open.parked = false;
            snc_start_retry(c, &c->open.retry, now_ms);
        }
    }
    /* Also for a message that is finished, or from before a restart of ours: the
     * gateway waits for PUBREL all the same. */
    snc_send_mid(c, now_ms, SN_PUBREL, mid);
}

static void on_pubcomp(struct sn_client *c, uint16_t mid)
{
    if (c->open.what == SN_PUBLISH && c->open.step == SN_PUBREL && c->open.mid == mid) {
        snc_finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 2);
    } else {
        snc_discard(c, SN_OK, SN_PUBCOMP);
    }
}

static void on_suback(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    if (c->open.what != SN_SUBSCRIBE || c->open.mid != p->suback.mid || c->open.parked) {
        snc_discard(c, SN_OK, SN_SUBACK);
        return;
    }
    if (p->suback.code != SN_ACCEPTED) {
        refuse_open(c, now_ms, p->suback.code);
        return;
    }
    const struct sn_bytes name = sn_bytes(c->cfg->kept, c->open.len);
    if (c->open.topic_kind == SN_TOPIC_NORMAL && !sn_topic_has_wildcard(name) &&
        snc_is_assignable(p->suback.tid)) {
        snc_pair(c, snc_place_for(c, name), p->suback.tid);
    }
    snc_finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, p->suback.qos);
}

static void on_unsuback(struct sn_client *c, uint16_t mid)
{
    if (c->open.what == SN_UNSUBSCRIBE && c->open.mid == mid && !c->open.parked) {
        snc_finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 0);
    } else {
        snc_discard(c, SN_OK, SN_UNSUBACK);
    }
}

static void on_will_response(struct sn_client *c, uint64_t now_ms, enum sn_type step, uint8_t code)
{
    if (c->open.what != SN_WILLTOPICUPD || c->open.step != step || c->open.parked) {
        snc_discard(c, SN_OK, step == SN_WILLTOPICUPD ? SN_WILLTOPICRESP : SN_WILLMSGRESP);
    } else if (code != SN_ACCEPTED) {
        refuse_open(c, now_ms, code);
    } else if (step == SN_WILLTOPICUPD && c->will.topic.len > 0) {
        c->open.step = SN_WILLMSGUPD;
        snc_go_on(c, now_ms);
    } else {
        c->will_state = c->will.topic.len > 0 ? SNC_WILL_TOLD : SNC_WILL_NONE;
        snc_finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 0);
    }
}

void snc_on_answer(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    if (p->type == SN_PUBACK && p->ack.mid == 0 && p->ack.code != SN_ACCEPTED) {
        on_late_refusal(c, now_ms, p);
    } else if (c->state != SN_CLIENT_ACTIVE) {
        snc_discard(c, SN_OK, p->type);
    } else if (p->type == SN_REGACK) {
        on_regack(c, now_ms, p);
    } else if (p->type == SN_PUBACK) {
        on_puback(c, now_ms, p);
    } else if (p->type == SN_PUBREC) {
        on_pubrec(c, now_ms, p->mid);
    } else if (p->type == SN_PUBCOMP) {
        on_pubcomp(c, p->mid);
    } else if (p->type == SN_SUBACK) {
        on_suback(c, now_ms, p);
    } else if (p->type == SN_UNSUBACK) {
        on_unsuback(c, p->mid);
    } else if (p->type == SN_WILLTOPICRESP) {
        on_will_response(c, now_ms, SN_WILLTOPICUPD, p->code);
    } else {
        on_will_response(c, now_ms, SN_WILLMSGUPD, p->code);
    }
}
