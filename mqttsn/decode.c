#include "mqttsn/topic.h"

/* 5.3.4 */
static int8_t flags_qos(uint8_t flags)
{
    const uint8_t bits = flags >> 5 & 0x03;
    return (int8_t)(bits == 0x03 ? SN_QOS_MINUS_ONE : bits);
}

static bool flags_dup(uint8_t flags)
{
    return (flags & 0x80) != 0;
}

static bool flags_retain(uint8_t flags)
{
    return (flags & 0x10) != 0;
}

static enum sn_topic_kind flags_kind(uint8_t flags)
{
    return (enum sn_topic_kind)(flags & 0x03);
}

/* 5.2: splits a frame into MsgType, what Length covers after it, and what stands
 * behind the end that Length gives, which only an encapsulation has. */
static enum sn_fault read_header(struct sn_bytes frame, uint8_t *type, struct sn_bytes *body,
                                 struct sn_bytes *behind)
{
    struct sn_reader r = sn_reader(frame);
    size_t len = sn_read_u8(&r);
    const bool is_long = len == 0x01;
    if (is_long) {
        len = sn_read_u16(&r);
    }
    *type = sn_read_u8(&r);
    if (r.failed) {
        return SN_FAULT_TRUNCATED;
    }
    const size_t header_len = frame.len - sn_reader_left(&r);
    if (len < header_len || len > frame.len) {
        return SN_FAULT_LENGTH;
    }
    /* 5.5: Length of an encapsulation ends before the inner message, and is one octet. */
    if (*type == SN_FORWARD ? is_long : len < frame.len) {
        return SN_FAULT_LENGTH;
    }
    *body = sn_read_bytes(&r, len - header_len);
    *behind = sn_read_rest(&r);
    return SN_OK;
}

static void read_connect(struct sn_reader *r, struct sn_packet *p)
{
    const uint8_t flags = sn_read_u8(r);
    p->connect.will = (flags & 0x08) != 0;
    p->connect.clean = (flags & 0x04) != 0;
    p->connect.protocol_id = sn_read_u8(r);
    p->connect.keepalive_s = sn_read_u16(r);
    p->connect.client_id = sn_read_rest(r);
}

static void read_willtopic(struct sn_reader *r, struct sn_packet *p)
{
    p->willtopic.empty = sn_reader_left(r) == 0;
    if (p->willtopic.empty) {
        return;
    }
    const uint8_t flags = sn_read_u8(r);
    p->willtopic.qos = flags_qos(flags);
    p->willtopic.retain = flags_retain(flags);
    p->willtopic.topic = sn_read_rest(r);
}

static void read_publish(struct sn_reader *r, struct sn_packet *p)
{
    const uint8_t flags = sn_read_u8(r);
    p->publish.dup = flags_dup(flags);
    p->publish.qos = flags_qos(flags);
    p->publish.retain = flags_retain(flags);
    p->publish.kind = flags_kind(flags);
    p->publish.tid = sn_read_u16(r);
    p->publish.mid = sn_read_u16(r);
    p->publish.data = sn_read_rest(r);
}

static void read_subscribe(struct sn_reader *r, struct sn_packet *p)
{
    const uint8_t flags = sn_read_u8(r);
    /* 5.4.17: in UNSUBSCRIBE only TopicIdType counts. */
    if (p->type == SN_SUBSCRIBE) {
        p->subscribe.dup = flags_dup(flags);
        p->subscribe.qos = flags_qos(flags);
    }
    p->subscribe.kind = flags_kind(flags);
    p->subscribe.mid = sn_read_u16(r);
    switch (p->subscribe.kind) {
    case SN_TOPIC_PREDEFINED:
    case SN_TOPIC_SHORT:
        p->subscribe.tid = sn_read_u16(r);
        return;
    case SN_TOPIC_NORMAL:
    case SN_TOPIC_RESERVED:
        p->subscribe.name = sn_read_rest(r);
        return;
    }
}

/* Reads the fields of p->type; the caller asks the cursor whether they were
 * there and whether something is left. Returns false for a reserved type. */
static bool read_fields(struct sn_reader *r, struct sn_packet *p)
{
    switch (p->type) {
    case SN_ADVERTISE:
        p->advertise.gw_id = sn_read_u8(r);
        p->advertise.duration_s = sn_read_u16(r);
        return true;
    case SN_SEARCHGW:
        p->searchgw.radius = sn_read_u8(r);
        return true;
    case SN_GWINFO:
        p->gwinfo.gw_id = sn_read_u8(r);
        p->gwinfo.gw_add = sn_read_rest(r);
        return true;
    case SN_CONNECT:
        read_connect(r, p);
        return true;
    case SN_CONNACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
        p->code = sn_read_u8(r);
        return true;
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_PINGRESP:
        return true;
    case SN_WILLTOPIC:
    case SN_WILLTOPICUPD:
        read_willtopic(r, p);
        return true;
    case SN_WILLMSG:
    case SN_WILLMSGUPD:
        p->willmsg.message = sn_read_rest(r);
        return true;
    case SN_REGISTER:
        p->reg.tid = sn_read_u16(r);
        p->reg.mid = sn_read_u16(r);
        p->reg.name = sn_read_rest(r);
        return true;
    case SN_REGACK:
    case SN_PUBACK:
        p->ack.tid = sn_read_u16(r);
        p->ack.mid = sn_read_u16(r);
        p->ack.code = sn_read_u8(r);
        return true;
    case SN_PUBLISH:
        read_publish(r, p);
        return true;
    case SN_PUBCOMP:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_UNSUBACK:
        p->mid = sn_read_u16(r);
        return true;
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
        read_subscribe(r, p);
        return true;
    case SN_SUBACK:
        p->suback.qos = flags_qos(sn_read_u8(r));
        p->suback.tid = sn_read_u16(r);
        p->suback.mid = sn_read_u16(r);
        p->suback.code = sn_read_u8(r);
        return true;
    case SN_PINGREQ:
        p->pingreq.client_id = sn_read_rest(r);
        return true;
    case SN_DISCONNECT:
        p->disconnect.has_duration = sn_reader_left(r) > 0;
        if (p->disconnect.has_duration) {
            p->disconnect.duration_s = sn_read_u16(r);
        }
        return true;
    case SN_FORWARD:
        p->forward.radius = sn_read_u8(r) & 0x03;
        p->forward.node = sn_read_rest(r);
        return true;
    }
    return false;
}

/* 5.5: what is inside must be one whole message. Its own fields are not looked at. */
static enum sn_fault check_inner(struct sn_bytes inner)
{
    if (inner.len == 0) {
        return SN_FAULT_NO_INNER;
    }
    uint8_t type;
    struct sn_bytes body;
    struct sn_bytes behind;
    return read_header(inner, &type, &body, &behind) == SN_OK ? SN_OK : SN_FAULT_INNER_LENGTH;
}

static enum sn_fault check_connect(const struct sn_packet *p)
{
    if (p->connect.protocol_id != SN_PROTOCOL_ID) {
        return SN_FAULT_PROTOCOL_ID;
    }
    if (p->connect.client_id.len == 0) {
        return SN_FAULT_EMPTY_CLIENT_ID;
    }
    return sn_utf8_check(p->connect.client_id);
}

static enum sn_fault check_willtopic(const struct sn_packet *p)
{
    if (p->willtopic.empty) {
        return SN_OK;
    }
    if (p->willtopic.qos == SN_QOS_MINUS_ONE) {
        return SN_FAULT_WILL_QOS;
    }
    return sn_topic_check_name(p->willtopic.topic);
}

static enum sn_fault check_register(const struct sn_packet *p)
{
    return p->reg.mid == 0 ? SN_FAULT_MSGID_ZERO : sn_topic_check_name(p->reg.name);
}

/* The two octets of a topic that is not given by name. */
static enum sn_fault check_tid(enum sn_topic_kind kind, uint16_t tid)
{
    if (kind == SN_TOPIC_SHORT) {
        uint8_t name[2];
        struct sn_writer w = sn_writer(name, sizeof name);
        sn_write_u16(&w, tid);
        return sn_topic_check_name(sn_bytes(name, sizeof name));
    }
    /* 5.3.11 */
    return tid == 0x0000 || tid == 0xFFFF ? SN_FAULT_RESERVED_TOPIC_ID : SN_OK;
}

static enum sn_fault check_publish(const struct sn_packet *p)
{
    if (p->publish.kind == SN_TOPIC_RESERVED) {
        return SN_FAULT_TOPIC_ID_TYPE;
    }
    /* 6.8: without a connection there is no registration. */
    if (p->publish.qos == SN_QOS_MINUS_ONE && p->publish.kind == SN_TOPIC_NORMAL) {
        return SN_FAULT_QOS_MINUS_ONE;
    }
    if (p->publish.qos > 0 && p->publish.mid == 0) {
        return SN_FAULT_MSGID_ZERO;
    }
    return check_tid(p->publish.kind, p->publish.tid);
}

static enum sn_fault check_subscribe(const struct sn_packet *p)
{
    if (p->subscribe.kind == SN_TOPIC_RESERVED) {
        return SN_FAULT_TOPIC_ID_TYPE;
    }
    if (p->subscribe.qos == SN_QOS_MINUS_ONE) {
        return SN_FAULT_SUB_QOS;
    }
    if (p->subscribe.mid == 0) {
        return SN_FAULT_MSGID_ZERO;
    }
    if (p->subscribe.kind == SN_TOPIC_NORMAL) {
        return sn_topic_check_filter(p->subscribe.name);
    }
    return check_tid(p->subscribe.kind, p->subscribe.tid);
}

/* The faults that can be answered. */
static enum sn_fault check_fields(const struct sn_packet *p)
{
    switch (p->type) {
    case SN_CONNECT:
        return check_connect(p);
    case SN_WILLTOPIC:
    case SN_WILLTOPICUPD:
        return check_willtopic(p);
    case SN_REGISTER:
        return check_register(p);
    case SN_PUBLISH:
        return check_publish(p);
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
        return check_subscribe(p);
    case SN_PINGREQ:
        return sn_utf8_check(p->pingreq.client_id);
    case SN_ADVERTISE:
    case SN_SEARCHGW:
    case SN_GWINFO:
    case SN_CONNACK:
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_WILLMSG:
    case SN_REGACK:
    case SN_PUBACK:
    case SN_PUBCOMP:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_SUBACK:
    case SN_UNSUBACK:
    case SN_PINGRESP:
    case SN_DISCONNECT:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGUPD:
    case SN_WILLMSGRESP:
    case SN_FORWARD:
        break;
    }
    return SN_OK;
}

enum sn_fault sn_decode(struct sn_bytes frame, struct sn_packet *p)
{
    uint8_t type;
    struct sn_bytes body;
    struct sn_bytes behind;
    enum sn_fault fault = read_header(frame, &type, &body, &behind);
    if (fault != SN_OK) {
        return fault;
    }
    struct sn_packet q = {.type = (enum sn_type)type};
    struct sn_reader r = sn_reader(body);
    if (!read_fields(&r, &q)) {
        return SN_FAULT_RESERVED_TYPE;
    }
    if (r.failed) {
        return SN_FAULT_TRUNCATED;
    }
    if (sn_reader_left(&r) > 0) {
        return SN_FAULT_BAD_LENGTH;
    }
    if (q.type == SN_FORWARD) {
        fault = check_inner(behind);
        if (fault != SN_OK) {
            return fault;
        }
        q.forward.inner = behind;
    }
    *p = q;
    return check_fields(&q);
}
