#include "mqttsn/client_parts.h"

static void on_register(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p,
                        enum sn_fault fault)
{
    uint8_t code = SN_ACCEPTED;

    if (!snc_is_assignable(p->reg.tid)) {
        code = SN_INVALID_TOPIC_ID;
    } else if (fault != SN_OK || p->reg.name.len > c->cfg->name_size || c->cfg->topics_max == 0) {
        code = SN_NOT_SUPPORTED;
    } else {
        struct sn_client_topic *t = snc_place_for(c, p->reg.name);
        if (t == NULL) {
            code = SN_CONGESTION; /* room comes back with the end of our PUBLISH */
        } else {
            snc_pair(c, t, p->reg.tid);
        }
    }
    snc_send_ack(c, now_ms, SN_REGACK, p->reg.tid, p->reg.mid, code);
}

/* Whether the message is a new one; if so, remembers it until PUBREL. A repeat may
 * be overtaken by PUBREL: it has DUP, and the id of the message that ended last. */
static bool take_qos2(struct sn_client *c, uint16_t mid, bool dup, bool *known)
{
    uint16_t *place = NULL;

    *known = dup && mid == c->qos2_ended;
    if (*known) {
        return false;
    }
    for (size_t i = 0; i < SN_CLIENT_QOS2_MAX; i++) {
        if (c->qos2[i] == mid) {
            *known = true;
            return false;
        }
        if (c->qos2[i] == 0 && place == NULL) {
            place = &c->qos2[i];
        }
    }
    if (place == NULL) {
        return false;
    }
    *place = mid;
    return true;
}

static bool find_topic(struct sn_client *c, const struct sn_packet *p, struct sn_topic_ref *topic,
                       uint8_t short_name[2])
{
    *topic = (struct sn_topic_ref){.kind = p->publish.kind, .tid = p->publish.tid};
    if (p->publish.kind == SN_TOPIC_SHORT) {
        short_name[0] = (uint8_t)(p->publish.tid >> 8);
        short_name[1] = (uint8_t)p->publish.tid;
        topic->name = sn_bytes(short_name, 2);
    } else if (p->publish.kind == SN_TOPIC_NORMAL) {
        const struct sn_client_topic *t =
            snc_is_assignable(p->publish.tid) ? snc_find_tid(c, p->publish.tid) : NULL;
        if (t == NULL) {
            return false;
        }
        topic->name = snc_topic_name(c, (size_t)(t - c->cfg->topics));
    }
    return true;
}

static void on_publish(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    uint8_t short_name[2];
    struct sn_client_event e = {
        .type = SN_EVENT_MESSAGE,
        .message = {.qos = p->publish.qos, .retain = p->publish.retain, .data = p->publish.data}};

    if (p->publish.qos < 0 || p->publish.kind == SN_TOPIC_RESERVED) {
        snc_discard(c, SN_OK, SN_PUBLISH);
        return;
    }
    if (!find_topic(c, p, &e.message.topic, short_name)) {
        snc_send_ack(c, now_ms, SN_PUBACK, p->publish.tid, p->publish.mid, SN_INVALID_TOPIC_ID);
        return;
    }
    if (p->publish.qos == 2) {
        bool known;
        if (take_qos2(c, p->publish.mid, p->publish.dup, &known)) {
            snc_emit(c, &e);
        } else if (!known) {
            snc_discard(c, SN_OK, SN_PUBLISH);
            return;
        }
        snc_send_mid(c, now_ms, SN_PUBREC, p->publish.mid);
        return;
    }
    snc_emit(c, &e);
    if (p->publish.qos == 1) {
        snc_send_ack(c, now_ms, SN_PUBACK, p->publish.tid, p->publish.mid, SN_ACCEPTED);
    }
}

static void on_pubrel(struct sn_client *c, uint64_t now_ms, uint16_t mid)
{
    for (size_t i = 0; i < SN_CLIENT_QOS2_MAX; i++) {
        if (c->qos2[i] == mid) {
            c->qos2[i] = 0;
            c->qos2_ended = mid;
        }
    }
    snc_send_mid(c, now_ms, SN_PUBCOMP, mid); /* a repeated PUBREL wants its answer, too */
}

/* What comes only while there is a connection. */
static void on_session(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p,
                       enum sn_fault fault)
{
    if (!snc_is_listening(c)) {
        snc_discard(c, SN_OK, p->type);
        return;
    }
    /* 6.14: as long as messages come, PINGRESP cannot be expected. */
    if (c->state == SN_CLIENT_AWAKE) {
        snc_start_retry(c, &c->retry, now_ms);
    }
    if (p->type == SN_REGISTER) {
        on_register(c, now_ms, p, fault);
    } else if (p->type == SN_PUBREL) {
        on_pubrel(c, now_ms, p->mid);
    } else if (fault == SN_OK) {
        on_publish(c, now_ms, p);
    } else {
        snc_send_ack(c, now_ms, SN_PUBACK, p->publish.tid, p->publish.mid, SN_INVALID_TOPIC_ID);
    }
}

static void on_packet(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p,
                      enum sn_fault fault)
{
    switch (p->type) {
    case SN_WILLTOPICREQ:
        snc_on_will_request(c, now_ms, SN_WILLTOPIC);
        break;
    case SN_WILLMSGREQ:
        snc_on_will_request(c, now_ms, SN_WILLMSG);
        break;
    case SN_CONNACK:
        snc_on_connack(c, now_ms, p->code);
        break;
    case SN_REGISTER:
    case SN_PUBLISH:
    case SN_PUBREL:
        on_session(c, now_ms, p, fault);
        break;
    case SN_REGACK:
    case SN_PUBACK:
    case SN_PUBREC:
    case SN_PUBCOMP:
    case SN_SUBACK:
    case SN_UNSUBACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
        snc_on_answer(c, now_ms, p);
        break;
    case SN_PINGREQ:
        if (snc_is_listening(c)) {
            snc_send(c, now_ms, &(struct sn_packet){.type = SN_PINGRESP});
        } else {
            snc_discard(c, SN_OK, SN_PINGREQ);
        }
        break;
    case SN_PINGRESP:
        snc_on_pingresp(c, now_ms);
        break;
    case SN_DISCONNECT:
        snc_on_disconnect(c, now_ms);
        break;
    case SN_ADVERTISE:
    case SN_SEARCHGW:
    case SN_GWINFO:
    case SN_CONNECT:
    case SN_WILLTOPIC:
    case SN_WILLMSG:
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
    case SN_WILLTOPICUPD:
    case SN_WILLMSGUPD:
    case SN_FORWARD:
        snc_discard(c, SN_OK, p->type); /* only clients send it, or it was dealt with before */
        break;
    }
}

/* Takes the envelope off, if we use one. Returns false when the frame is for
 * another node, or has no envelope, or one too many. */
static bool unwrap(const struct sn_client *c, struct sn_packet *p, enum sn_fault *fault)
{
    if (c->cfg->node.len > 0) {
        if (p->type != SN_FORWARD || !sn_bytes_equal(p->forward.node, c->cfg->node)) {
            return false;
        }
        const struct sn_bytes inner = p->forward.inner;
        *fault = sn_decode(inner, p);
        if (*fault != SN_OK && !sn_fault_is_answerable(*fault)) {
            return true;
        }
    }
    return p->type != SN_FORWARD;
}

/* Faults that deserve an answer: the gateway would repeat it otherwise. */
static bool is_answered(const struct sn_packet *p, enum sn_fault fault)
{
    return fault == SN_OK || p->type == SN_REGISTER ||
           (p->type == SN_PUBLISH && fault == SN_FAULT_RESERVED_TOPIC_ID);
}

void sn_client_frame(struct sn_client *c, uint64_t now_ms, struct sn_bytes from,
                     struct sn_bytes frame)
{
    struct sn_packet p;
    enum sn_fault fault = sn_decode(frame, &p);

    if (fault != SN_OK && !sn_fault_is_answerable(fault)) {
        snc_discard(c, fault, SN_ADVERTISE);
        return;
    }
    if (!unwrap(c, &p, &fault)) {
        snc_discard(c, SN_OK, p.type);
        return;
    }
    if (!is_answered(&p, fault)) {
        snc_discard(c, fault, p.type);
        return;
    }
    if (p.type == SN_ADVERTISE || p.type == SN_SEARCHGW || p.type == SN_GWINFO) {
        snc_on_broadcast(c, now_ms, from, &p);
        return;
    }
    if (c->cfg->gateways_max > 0 && !sn_bytes_equal(from, snc_current_address(c))) {
        snc_discard(c, SN_OK, p.type); /* not our gateway */
        return;
    }
    c->heard_ms = now_ms;
    on_packet(c, now_ms, &p, fault);
}
