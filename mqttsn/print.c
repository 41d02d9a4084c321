#include "mqttsn/packet.h"

#include <assert.h>
#include <stdio.h>

#define OCTETS_MAX 64 /* of one field are shown; two fields must fit into SN_PRINT_SIZE */

/* A line that grows up to size - 1 and is then left as it is. */
struct line {
    char *out;
    size_t size;
    size_t len;
};

static void put_char(struct line *l, char c)
{
    if (l->len + 1 < l->size) {
        l->out[l->len++] = c;
    }
}

static void put_text(struct line *l, const char *text)
{
    for (; *text != '\0'; text++) {
        put_char(l, *text);
    }
}

static void put_number(struct line *l, const char *name, int value)
{
    char digits[12];
    (void)snprintf(digits, sizeof digits, "%d", value);
    put_char(l, ' ');
    put_text(l, name);
    put_char(l, '=');
    put_text(l, digits);
}

static void put_flag(struct line *l, const char *name, bool set)
{
    if (set) {
        put_number(l, name, 1);
    }
}

static void put_octet(struct line *l, uint8_t octet)
{
    static const char digits[] = "0123456789abcdef";

    if (octet == '"' || octet == '\\') {
        put_char(l, '\\');
        put_char(l, (char)octet);
    } else if (octet >= ' ' && octet <= '~') {
        put_char(l, (char)octet);
    } else {
        put_text(l, "\\x");
        put_char(l, digits[octet >> 4]);
        put_char(l, digits[octet & 0x0F]);
    }
}

static void put_octets(struct line *l, const char *name, struct sn_bytes b)
{
    put_char(l, ' ');
    put_text(l, name);
    put_text(l, "=\"");
    for (size_t i = 0; i < b.len && i < OCTETS_MAX; i++) {
        put_octet(l, b.data[i]);
    }
    put_char(l, '"');
    if (b.len > OCTETS_MAX) {
        put_text(l, "...");
        put_number(l, "len", (int)b.len);
    }
}

static void put_tid(struct line *l, enum sn_topic_kind kind, uint16_t tid)
{
    switch (kind) {
    case SN_TOPIC_NORMAL:
        put_number(l, "tid", tid);
        return;
    case SN_TOPIC_PREDEFINED:
        put_number(l, "predefined", tid);
        return;
    case SN_TOPIC_SHORT: {
        uint8_t name[2];
        struct sn_writer w = sn_writer(name, sizeof name);
        sn_write_u16(&w, tid);
        put_octets(l, "short", sn_bytes(name, sizeof name));
        return;
    }
    case SN_TOPIC_RESERVED:
        put_number(l, "reserved", tid);
        return;
    }
}

/* Table 5; a reserved value stays a number. */
static void put_code(struct line *l, uint8_t code)
{
    switch ((enum sn_return_code)code) {
    case SN_ACCEPTED:
        put_text(l, " code=accepted");
        return;
    case SN_CONGESTION:
        put_text(l, " code=congestion");
        return;
    case SN_INVALID_TOPIC_ID:
        put_text(l, " code=invalid-topic-id");
        return;
    case SN_NOT_SUPPORTED:
        put_text(l, " code=not-supported");
        return;
    }
    put_number(l, "code", code);
}

static void put_willtopic(struct line *l, const struct sn_packet *p)
{
    if (p->willtopic.empty) {
        put_flag(l, "empty", true);
        return;
    }
    put_number(l, "qos", p->willtopic.qos);
    put_flag(l, "retain", p->willtopic.retain);
    put_octets(l, "topic", p->willtopic.topic);
}

static void put_publish(struct line *l, const struct sn_packet *p)
{
    put_flag(l, "dup", p->publish.dup);
    put_number(l, "qos", p->publish.qos);
    put_flag(l, "retain", p->publish.retain);
    put_tid(l, p->publish.kind, p->publish.tid);
    put_number(l, "mid", p->publish.mid);
    put_octets(l, "data", p->publish.data);
}

static void put_subscribe(struct line *l, const struct sn_packet *p)
{
    if (p->type == SN_SUBSCRIBE) {
        put_flag(l, "dup", p->subscribe.dup);
        put_number(l, "qos", p->subscribe.qos);
    }
    put_number(l, "mid", p->subscribe.mid);
    switch (p->subscribe.kind) {
    case SN_TOPIC_NORMAL:
        put_octets(l, "name", p->subscribe.name);
        return;
    case SN_TOPIC_PREDEFINED:
    case SN_TOPIC_SHORT:
        put_tid(l, p->subscribe.kind, p->subscribe.tid);
        return;
    case SN_TOPIC_RESERVED:
        put_octets(l, "reserved", p->subscribe.name);
        return;
    }
}

/* Everything but what an encapsulation holds. */
static void put_packet(struct line *l, const struct sn_packet *p)
{
    put_text(l, sn_type_name((uint8_t)p->type));
    switch (p->type) {
    case SN_ADVERTISE:
        put_number(l, "gw_id", p->advertise.gw_id);
        put_number(l, "duration_s", p->advertise.duration_s);
        return;
    case SN_SEARCHGW:
        put_number(l, "radius", p->searchgw.radius);
        return;
    case SN_GWINFO:
        put_number(l, "gw_id", p->gwinfo.gw_id);
        if (p->gwinfo.gw_add.len > 0) {
            put_octets(l, "gw_add", p->gwinfo.gw_add);
        }
        return;
    case SN_CONNECT:
        put_flag(l, "will", p->connect.will);
        put_flag(l, "clean", p->connect.clean);
        if (p->connect.protocol_id != SN_PROTOCOL_ID) {
            put_number(l, "protocol_id", p->connect.protocol_id);
        }
        put_number(l, "keepalive_s", p->connect.keepalive_s);
        put_octets(l, "client_id", p->connect.client_id);
        return;
    case SN_CONNACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
        put_code(l, p->code);
        return;
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_PINGRESP:
        return;
    case SN_WILLTOPIC:
    case SN_WILLTOPICUPD:
        put_willtopic(l, p);
        return;
    case SN_WILLMSG:
    case SN_WILLMSGUPD:
        put_octets(l, "message", p->willmsg.message);
        return;
    case SN_REGISTER:
        put_number(l, "tid", p->reg.tid);
        put_number(l, "mid", p->reg.mid);
        put_octets(l, "name", p->reg.name);
        return;
    case SN_REGACK:
    case SN_PUBACK:
        put_number(l, "tid", p->ack.tid);
        put_number(l, "mid", p->ack.mid);
        put_code(l, p->ack.code);
        return;
    case SN_PUBLISH:
        put_publish(l, p);
        return;
    case SN_PUBCOMP:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_UNSUBACK:
        put_number(l, "mid", p->mid);
        return;
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
        put_subscribe(l, p);
        return;
    case SN_SUBACK:
        put_number(l, "qos", p->suback.qos);
        put_number(l, "tid", p->suback.tid);
        put_number(l, "mid", p->suback.mid);
        put_code(l, p->suback.code);
        return;
    case SN_PINGREQ:
        if (p->pingreq.client_id.len > 0) {
            put_octets(l, "client_id", p->pingreq.client_id);
        }
        return;
    case SN_DISCONNECT:
        if (p->disconnect.has_duration) {
            put_number(l, "duration_s", p->disconnect.duration_s);
        }
        return;
    case SN_FORWARD:
        put_number(l, "radius", p->forward.radius);
        put_octets(l, "node", p->forward.node);
        return;
    }
}

/* One level only: a chain of encapsulations is as deep as its sender likes. */
static void put_inner(struct line *l, struct sn_bytes inner)
{
    struct sn_packet p;
    const enum sn_fault fault = sn_decode(inner, &p);
    if ((fault == SN_OK || sn_fault_is_answerable(fault)) && p.type != SN_FORWARD) {
        put_text(l, " inner=(");
        put_packet(l, &p);
        put_char(l, ')');
    } else {
        put_octets(l, "inner", inner);
    }
}

size_t sn_print(const struct sn_packet *p, char *out, size_t size)
{
    assert(size > 0);
    struct line l = {.out = out, .size = size};
    put_packet(&l, p);
    if (p->type == SN_FORWARD) {
        put_inner(&l, p->forward.inner);
    }
    out[l.len] = '\0';
    return l.len;
}
