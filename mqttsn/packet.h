/* The messages of MQTT-SN 1.2: one tagged union, to and from octets and text.
 *
 * Chapter 5 of the specification. A struct sn_packet decoded from a frame
 * borrows its variable parts from that frame. Encoding writes the 1-octet
 * Length whenever the total is below 256 (5.2.1) and unused flag bits as 0
 * (5.3.4). Neither direction allocates, logs or keeps state.
 */
#ifndef SN_PACKET_H
#define SN_PACKET_H

#include "mqttsn/bytes.h"

#define SN_PACKET_MAX 65535 /* what the 3-octet Length can express */
#define SN_NODE_MAX   252   /* Wireless Node Id: the 1-octet Length covers it, 5.5 */

/* 5.2.2, table 3 */
enum sn_type {
    SN_ADVERTISE = 0x00,
    SN_SEARCHGW = 0x01,
    SN_GWINFO = 0x02,
    SN_CONNECT = 0x04,
    SN_CONNACK = 0x05,
    SN_WILLTOPICREQ = 0x06,
    SN_WILLTOPIC = 0x07,
    SN_WILLMSGREQ = 0x08,
    SN_WILLMSG = 0x09,
    SN_REGISTER = 0x0A,
    SN_REGACK = 0x0B,
    SN_PUBLISH = 0x0C,
    SN_PUBACK = 0x0D,
    SN_PUBCOMP = 0x0E,
    SN_PUBREC = 0x0F,
    SN_PUBREL = 0x10,
    SN_SUBSCRIBE = 0x12,
    SN_SUBACK = 0x13,
    SN_UNSUBSCRIBE = 0x14,
    SN_UNSUBACK = 0x15,
    SN_PINGREQ = 0x16,
    SN_PINGRESP = 0x17,
    SN_DISCONNECT = 0x18,
    SN_WILLTOPICUPD = 0x1A,
    SN_WILLTOPICRESP = 0x1B,
    SN_WILLMSGUPD = 0x1C,
    SN_WILLMSGRESP = 0x1D,
    SN_FORWARD = 0xFE, /* forwarder encapsulation, 5.5 */
};

/* 5.3.10, table 5. Any other value from a peer is a rejection, too. */
enum sn_return_code {
    SN_ACCEPTED = 0x00,
    SN_CONGESTION = 0x01,
    SN_INVALID_TOPIC_ID = 0x02,
    SN_NOT_SUPPORTED = 0x03,
};

/* 5.3.4: how the topic of PUBLISH, SUBSCRIBE and UNSUBSCRIBE is given */
enum sn_topic_kind {
    SN_TOPIC_NORMAL = 0,     /* PUBLISH: id from REGISTER or SUBACK; SUBSCRIBE: name or filter */
    SN_TOPIC_PREDEFINED = 1, /* id known to both sides in advance */
    SN_TOPIC_SHORT = 2,      /* two octets that are the name */
    SN_TOPIC_RESERVED = 3,
};

#define SN_QOS_MINUS_ONE (-1) /* publish without a connection, 6.8 */
#define SN_PROTOCOL_ID   0x01 /* 5.3.8 */

/* An id and a short name share the same two octets on the wire. */
#define SN_SHORT_ID(a, b) ((uint16_t)((uint8_t)(a) << 8 | (uint8_t)(b)))

struct sn_packet {
    enum sn_type type;
    union {
        struct {
            uint8_t gw_id;
            uint16_t duration_s; /* until the next ADVERTISE */
        } advertise;
        struct {
            uint8_t radius; /* 0: the whole network */
        } searchgw;
        struct {
            uint8_t gw_id;
            struct sn_bytes gw_add; /* empty when a gateway sends it */
        } gwinfo;
        struct {
            bool will;
            bool clean;
            uint8_t protocol_id;
            uint16_t keepalive_s; /* Duration */
            struct sn_bytes client_id;
        } connect;
        struct {
            bool empty; /* the 2-octet form: delete the will */
            int8_t qos;
            bool retain;
            struct sn_bytes topic;
        } willtopic; /* WILLTOPIC, WILLTOPICUPD */
        struct {
            struct sn_bytes message;
        } willmsg; /* WILLMSG, WILLMSGUPD */
        struct {
            uint16_t tid; /* 0 when a client sends it */
            uint16_t mid;
            struct sn_bytes name;
        } reg; /* REGISTER */
        struct {
            bool dup;
            int8_t qos; /* -1, 0, 1, 2 */
            bool retain;
            enum sn_topic_kind kind;
            uint16_t tid;
            uint16_t mid;
            struct sn_bytes data;
        } publish;
        struct {
            uint16_t tid;
            uint16_t mid;
            uint8_t code; /* enum sn_return_code, or a reserved value */
        } ack;            /* REGACK, PUBACK */
        uint16_t mid;     /* PUBREC, PUBREL, PUBCOMP, UNSUBACK */
        struct {
            bool dup;
            int8_t qos;
            enum sn_topic_kind kind;
            uint16_t mid;
            uint16_t tid;         /* when kind is PREDEFINED or SHORT */
            struct sn_bytes name; /* when kind is NORMAL; RESERVED: whatever stood there */
        } subscribe;              /* SUBSCRIBE, UNSUBSCRIBE */
        struct {
            int8_t qos; /* granted; means nothing when code is a rejection */
            uint16_t tid;
            uint16_t mid;
            uint8_t code;
        } suback;
        struct {
            struct sn_bytes client_id; /* empty: plain keep-alive */
        } pingreq;
        struct {
            bool has_duration;
            uint16_t duration_s;
        } disconnect;
        uint8_t code; /* CONNACK, WILLTOPICRESP, WILLMSGRESP */
        struct {
            uint8_t radius;        /* Ctrl bits 1-0 */
            struct sn_bytes node;  /* Wireless Node Id, 0 to SN_NODE_MAX octets */
            struct sn_bytes inner; /* one whole message, either Length form */
        } forward;
    };
};

/* Why a frame is refused. sn_fault_name() gives each its name, for logs and
 * counters. The first group makes a frame unusable: discard it (SN12-5.2.1-6).
 * With the second group the frame is whole and the packet filled in, so that
 * the receiver can answer it with a return code. */
enum sn_fault {
    SN_OK,
    SN_FAULT_TRUNCATED,     /* ends before its fixed part does */
    SN_FAULT_LENGTH,        /* Length disagrees with what arrived, or cannot be */
    SN_FAULT_BAD_LENGTH,    /* a fixed-size message or field of the wrong size */
    SN_FAULT_RESERVED_TYPE, /* MsgType is reserved */
    SN_FAULT_NO_INNER,      /* encapsulation of nothing */
    SN_FAULT_INNER_LENGTH,  /* encapsulated message does not fill its frame */

    SN_FAULT_PROTOCOL_ID,
    SN_FAULT_EMPTY_CLIENT_ID,
    SN_FAULT_EMPTY_TOPIC,
    SN_FAULT_BAD_UTF8,
    SN_FAULT_NUL_IN_TOPIC,
    SN_FAULT_WILDCARD_IN_NAME,
    SN_FAULT_BAD_FILTER,
    SN_FAULT_TOPIC_ID_TYPE,
    SN_FAULT_RESERVED_TOPIC_ID,
    SN_FAULT_MSGID_ZERO,
    SN_FAULT_QOS_MINUS_ONE, /* QoS -1 with a normal topic id */
    SN_FAULT_SUB_QOS,       /* QoS -1 in SUBSCRIBE */
    SN_FAULT_WILL_QOS,      /* QoS -1 in WILLTOPIC or WILLTOPICUPD */

    SN_FAULT_COUNT,
};

static inline bool sn_fault_is_answerable(enum sn_fault fault)
{
    return fault >= SN_FAULT_PROTOCOL_ID;
}

/* "truncated", "bad-utf8", ...; the names of tests/corpus/vectors.json. */
const char *sn_fault_name(enum sn_fault fault);

/* "CONNECT", ...; NULL for a reserved value. */
const char *sn_type_name(uint8_t type);

/* Reads one frame, which must be exactly one message: nothing after it, nothing
 * missing (5.2.1). On a fault of the first group *p is untouched.
 *
 * A frame with several faults of the second group gets the first of: ProtocolId,
 * TopicIdType, QoS, MsgId, the text of a name, reserved topic id. So the fault
 * that a sender can cure by registering again (answer: invalid topic id) is named
 * only when nothing else is wrong, and cannot send it into a loop.
 *
 * MsgId 0 is a fault where an answer must be told apart by it: REGISTER,
 * SUBSCRIBE, UNSUBSCRIBE, and PUBLISH with QoS 1 and 2. Elsewhere any value
 * passes (a PUBACK to QoS 0 has 0), as does every return code. Flag bits that a
 * message does not use are ignored (5.3.4). The two octets of a short topic name
 * are checked as a name.
 *
 * An encapsulation is opened by one level: inner is known to be as long as its
 * own Length says and is otherwise unread; hand it to sn_decode() again. What is
 * inside may be an encapsulation in turn; whether to open that is up to the
 * caller. Its own Length is one octet (5.5): the 3-octet form is refused. */
enum sn_fault sn_decode(struct sn_bytes frame, struct sn_packet *p);

/* Writes *p. Returns its length, or 0 when it does not fit into size or into
 * SN_PACKET_MAX; out is then undefined. What may be encoded is up to the caller:
 * only values that would write something else are refused by assert (a reserved
 * type, a QoS outside -1 to 2, a radius above 3 or a node id above SN_NODE_MAX
 * in an encapsulation). The packet must not borrow from out. */
size_t sn_encode(const struct sn_packet *p, uint8_t *out, size_t size);

/* How long sn_encode() would make a PUBLISH with len octets of data. */
size_t sn_publish_size(size_t len);

/* One line without newline, fields as "name=value", text quoted, other octets
 * as \xNN, long data cut with "..." and its length. Flags that are not set are
 * left out. Topic ids read tid=5, predefined=7 or short="AB". All of it is
 * printable ASCII, whatever the frame held.
 *
 *   PUBLISH qos=1 tid=5 mid=6 data="21.5"
 *   FORWARD radius=0 node="\x0a\x0b" inner=(PINGREQ client_id="sensor1")
 *
 * Always terminated, so size must not be 0; returns the length written, which is
 * below size. SN_PRINT_SIZE is enough for every packet. */
#define SN_PRINT_SIZE 1024
size_t sn_print(const struct sn_packet *p, char *out, size_t size);

#endif
