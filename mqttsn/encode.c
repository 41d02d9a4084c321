#include "mqttsn/packet.h"

#include <assert.h>

#define SHORT_HEADER 2 /* Length in 1 octet, MsgType */
#define LONG_HEADER  4 /* Length in 3 octets, MsgType */

/* 5.3.4 */
static uint8_t qos_flags(int8_t qos)
{
    assert(qos >= SN_QOS_MINUS_ONE && qos <= 2);
    return (uint8_t)((qos == SN_QOS_MINUS_ONE ? 0x03 : qos) << 5);
}

static uint8_t dup_flag(bool dup)
{
    return dup ? 0x80 : 0;
}

static uint8_t retain_flag(bool retain)
{
    return retain ? 0x10 : 0;
}

static uint8_t kind_flags(enum sn_topic_kind kind)
{
    assert(kind <= SN_TOPIC_RESERVED);
    return (uint8_t)kind;
}

static void write_connect(struct sn_writer *w, const struct sn_packet *p)
{
    sn_write_u8(w, (p->connect.will ? 0x08 : 0) | (p->connect.clean ? 0x04 : 0));
    sn_write_u8(w, p->connect.protocol_id);
    sn_write_u16(w, p->connect.keepalive_s);
    sn_write_bytes(w, p->connect.client_id);
}

static void write_willtopic(struct sn_writer *w, const struct sn_packet *p)
{
    if (p->willtopic.empty) {
        return;
    }
    sn_write_u8(w, qos_flags(p->willtopic.qos) | retain_flag(p->willtopic.retain));
    sn_write_bytes(w, p->willtopic.topic);
}

static void write_publish(struct sn_writer *w, const struct sn_packet *p)
{
    sn_write_u8(w, dup_flag(p->publish.dup) | qos_flags(p->publish.qos) |
                       retain_flag(p->publish.retain) | kind_flags(p->publish.kind));
    sn_write_u16(w, p->publish.tid);
    sn_write_u16(w, p->publish.mid);
    sn_write_bytes(w, p->publish.data);
}

static void write_subscribe(struct sn_writer *w, const struct sn_packet *p)
{
    uint8_t flags = kind_flags(p->subscribe.kind);
    /* 5.4.17: in UNSUBSCRIBE only TopicIdType counts. */
    if (p->type == SN_SUBSCRIBE) {
        flags |= dup_flag(p->subscribe.dup) | qos_flags(p->subscribe.qos);
    }
    sn_write_u8(w, flags);
    sn_write_u16(w, p->subscribe.mid);
    switch (p->subscribe.kind) {
    case SN_TOPIC_PREDEFINED:
    case SN_TOPIC_SHORT:
        sn_write_u16(w, p->subscribe.tid);
        return;
    case SN_TOPIC_NORMAL:
    case SN_TOPIC_RESERVED:
        sn_write_bytes(w, p->subscribe.name);
        return;
    }
}

static void write_fields(struct sn_writer *w, const struct sn_packet *p)
{
    switch (p->type) {
    case SN_ADVERTISE:
        sn_write_u8(w, p->advertise.gw_id);
        sn_write_u16(w, p->advertise.duration_s);
        return;
    case SN_SEARCHGW:
        sn_write_u8(w, p->searchgw.radius);
        return;
    case SN_GWINFO:
        sn_write_u8(w, p->gwinfo.gw_id);
        sn_write_bytes(w, p->gwinfo.gw_add);
        return;
    case SN_CONNECT:
        write_connect(w, p);
        return;
    case SN_CONNACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
        sn_write_u8(w, p->code);
        return;
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_PINGRESP:
        return;
    case SN_WILLTOPIC:
    case SN_WILLTOPICUPD:
        write_willtopic(w, p);
        return;
    case SN_WILLMSG:
    case SN_WILLMSGUPD:
        sn_write_bytes(w, p->willmsg.message);
        return;
    case SN_REGISTER:
        sn_write_u16(w, p->reg.tid);
        sn_write_u16(w, p->reg.mid);
        sn_write_bytes(w, p->reg.name);
        return;
    case SN_REGACK:
    case SN_PUBACK:
        sn_write_u16(w, p->ack.tid);
        sn_write_u16(w, p->ack.mid);
        sn_write_u8(w, p->ack.code);
        return;
    case SN_PUBLISH:
        write_publish(w, p);
        return;
    case SN_PUBCOMP:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_UNSUBACK:
        sn_write_u16(w, p->mid);
        return;
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
        write_subscribe(w, p);
        return;
    case SN_SUBACK:
        sn_write_u8(w, qos_flags(p->suback.qos));
        sn_write_u16(w, p->suback.tid);
        sn_write_u16(w, p->suback.mid);
        sn_write_u8(w, p->suback.code);
        return;
    case SN_PINGREQ:
        sn_write_bytes(w, p->pingreq.client_id);
        return;
    case SN_DISCONNECT:
        if (p->disconnect.has_duration) {
            sn_write_u16(w, p->disconnect.duration_s);
        }
        return;
    case SN_FORWARD:
        assert(p->forward.radius <= 0x03 && p->forward.node.len <= SN_NODE_MAX);
        sn_write_u8(w, p->forward.radius);
        sn_write_bytes(w, p->forward.node);
        return;
    }
    assert(!"a reserved type is never sent");
}

/* What a header makes of len octets of fields (5.2.1). */
static size_t message_size(size_t len)
{
    return len + (len + SHORT_HEADER < 256 ? SHORT_HEADER : LONG_HEADER);
}

size_t sn_publish_size(size_t len)
{
    return message_size(1 + 2 + 2 + len);
}

size_t sn_encode(const struct sn_packet *p, uint8_t *out, size_t size)
{
    if (size < SHORT_HEADER) {
        return 0;
    }
    struct sn_writer w = sn_writer(out + SHORT_HEADER, size - SHORT_HEADER);
    write_fields(&w, p);
    const size_t len = sn_writer_len(&w);
    const size_t message = message_size(len);
    const size_t total = message + (p->type == SN_FORWARD ? p->forward.inner.len : 0);
    if (w.failed || total > size || total > SN_PACKET_MAX) {
        return 0;
    }
    /* Few messages are long, so these move rather than all being counted first. */
    if (message != len + SHORT_HEADER) {
        memmove(out + LONG_HEADER, out + SHORT_HEADER, len);
    }
    struct sn_writer header = sn_writer(out, message - len);
    if (message != len + SHORT_HEADER) {
        sn_write_u8(&header, 0x01);
        sn_write_u16(&header, (uint16_t)message);
    } else {
        sn_write_u8(&header, (uint8_t)message);
    }
    sn_write_u8(&header, (uint8_t)p->type);
    if (p->type == SN_FORWARD) {
        /* 5.5: Length ends here, and the inner message follows. */
        struct sn_writer inner = sn_writer(out + message, size - message);
        sn_write_bytes(&inner, p->forward.inner);
    }
    return total;
}
