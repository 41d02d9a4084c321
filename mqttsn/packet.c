#include "mqttsn/packet.h"

const char *sn_fault_name(enum sn_fault fault)
{
    switch (fault) {
    case SN_OK:
        return "ok";
    case SN_FAULT_TRUNCATED:
        return "truncated";
    case SN_FAULT_LENGTH:
        return "length";
    case SN_FAULT_BAD_LENGTH:
        return "bad-length";
    case SN_FAULT_RESERVED_TYPE:
        return "reserved-type";
    case SN_FAULT_NO_INNER:
        return "no-inner";
    case SN_FAULT_INNER_LENGTH:
        return "inner-length";
    case SN_FAULT_PROTOCOL_ID:
        return "protocol-id";
    case SN_FAULT_EMPTY_CLIENT_ID:
        return "empty-clientid";
    case SN_FAULT_EMPTY_TOPIC:
        return "empty-topic";
    case SN_FAULT_BAD_UTF8:
        return "bad-utf8";
    case SN_FAULT_NUL_IN_TOPIC:
        return "nul-in-topic";
    case SN_FAULT_WILDCARD_IN_NAME:
        return "wildcard-in-name";
    case SN_FAULT_BAD_FILTER:
        return "bad-filter";
    case SN_FAULT_TOPIC_ID_TYPE:
        return "topic-id-type";
    case SN_FAULT_RESERVED_TOPIC_ID:
        return "reserved-topic-id";
    case SN_FAULT_MSGID_ZERO:
        return "msgid-zero";
    case SN_FAULT_QOS_MINUS_ONE:
        return "qosm1-normal";
    case SN_FAULT_SUB_QOS:
        return "sub-qos";
    case SN_FAULT_WILL_QOS:
        return "will-qos";
    case SN_FAULT_COUNT:
        break;
    }
    return "?";
}

const char *sn_type_name(uint8_t type)
{
    switch ((enum sn_type)type) {
    case SN_ADVERTISE:
        return "ADVERTISE";
    case SN_SEARCHGW:
        return "SEARCHGW";
    case SN_GWINFO:
        return "GWINFO";
    case SN_CONNECT:
        return "CONNECT";
    case SN_CONNACK:
        return "CONNACK";
    case SN_WILLTOPICREQ:
        return "WILLTOPICREQ";
    case SN_WILLTOPIC:
        return "WILLTOPIC";
    case SN_WILLMSGREQ:
        return "WILLMSGREQ";
    case SN_WILLMSG:
        return "WILLMSG";
    case SN_REGISTER:
        return "REGISTER";
    case SN_REGACK:
        return "REGACK";
    case SN_PUBLISH:
        return "PUBLISH";
    case SN_PUBACK:
        return "PUBACK";
    case SN_PUBCOMP:
        return "PUBCOMP";
    case SN_PUBREC:
        return "PUBREC";
    case SN_PUBREL:
        return "PUBREL";
    case SN_SUBSCRIBE:
        return "SUBSCRIBE";
    case SN_SUBACK:
        return "SUBACK";
    case SN_UNSUBSCRIBE:
        return "UNSUBSCRIBE";
    case SN_UNSUBACK:
        return "UNSUBACK";
    case SN_PINGREQ:
        return "PINGREQ";
    case SN_PINGRESP:
        return "PINGRESP";
    case SN_DISCONNECT:
        return "DISCONNECT";
    case SN_WILLTOPICUPD:
        return "WILLTOPICUPD";
    case SN_WILLTOPICRESP:
        return "WILLTOPICRESP";
    case SN_WILLMSGUPD:
        return "WILLMSGUPD";
    case SN_WILLMSGRESP:
        return "WILLMSGRESP";
    case SN_FORWARD:
        return "FORWARD";
    }
    return NULL;
}
