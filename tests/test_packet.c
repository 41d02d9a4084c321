/* The codec against the wire examples of tests/corpus/vectors.json, which were
 * made and checked without it, and against properties of its own.
 *
 * With --frames it prints every packet of each_packet() as a line of JSON, the
 * frame and the fields it was made from, for tests/tshark_packet.py to show to
 * an independent decoder.
 */
#include "mqttsn/packet.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define VECTORS      "tests/corpus/vectors.json"
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- packets as JSON, in the words of the vectors -------------------------- */

static json_t *hex_of(struct sn_bytes b)
{
    char *text = malloc(2 * b.len + 1);
    assert_non_null(text);
    text[0] = '\0';
    for (size_t i = 0; i < b.len; i++) {
        (void)sprintf(text + 2 * i, "%02x", b.data[i]);
    }
    json_t *json = json_string(text);
    free(text);
    return json;
}

/* Text that is not UTF-8 becomes null. */
static json_t *text_of(struct sn_bytes b)
{
    json_t *json = json_stringn(b.len > 0 ? (const char *)b.data : "", b.len);
    return json != NULL ? json : json_null();
}

static json_t *short_of(uint16_t tid)
{
    const uint8_t name[2] = {(uint8_t)(tid >> 8), (uint8_t)tid};
    return text_of(sn_bytes(name, 2));
}

static json_t *fields_of_subscribe(const struct sn_packet *p)
{
    json_t *j =
        json_pack("{si si}", "TopicIdType", (int)p->subscribe.kind, "MsgId", p->subscribe.mid);
    if (p->type == SN_SUBSCRIBE) {
        json_object_set_new(j, "DUP", json_integer(p->subscribe.dup));
        json_object_set_new(j, "QoS", json_integer(p->subscribe.qos));
    }
    switch (p->subscribe.kind) {
    case SN_TOPIC_NORMAL:
    case SN_TOPIC_RESERVED:
        json_object_set_new(j, "TopicName", text_of(p->subscribe.name));
        break;
    case SN_TOPIC_PREDEFINED:
        json_object_set_new(j, "TopicId", json_integer(p->subscribe.tid));
        break;
    case SN_TOPIC_SHORT:
        json_object_set_new(j, "TopicName", short_of(p->subscribe.tid));
        break;
    }
    return j;
}

static json_t *fields_of_body(const struct sn_packet *p)
{
    switch (p->type) {
    case SN_ADVERTISE:
        return json_pack("{si si}", "GwId", p->advertise.gw_id, "Duration",
                         p->advertise.duration_s);
    case SN_SEARCHGW:
        return json_pack("{si}", "Radius", p->searchgw.radius);
    case SN_GWINFO:
        return json_pack("{si so}", "GwId", p->gwinfo.gw_id, "GwAdd", hex_of(p->gwinfo.gw_add));
    case SN_CONNECT:
        return json_pack("{si si si si so}", "Will", p->connect.will, "CleanSession",
                         p->connect.clean, "ProtocolId", p->connect.protocol_id, "Duration",
                         p->connect.keepalive_s, "ClientId", text_of(p->connect.client_id));
    case SN_CONNACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
        return json_pack("{si}", "ReturnCode", p->code);
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_PINGRESP:
        return json_object();
    case SN_WILLTOPIC:
    case SN_WILLTOPICUPD:
        if (p->willtopic.empty) {
            return json_pack("{si}", "Empty", 1);
        }
        return json_pack("{si si so}", "QoS", p->willtopic.qos, "Retain", p->willtopic.retain,
                         "WillTopic", text_of(p->willtopic.topic));
    case SN_WILLMSG:
    case SN_WILLMSGUPD:
        return json_pack("{so}", "WillMsg", hex_of(p->willmsg.message));
    case SN_REGISTER:
        return json_pack("{si si so}", "TopicId", p->reg.tid, "MsgId", p->reg.mid, "TopicName",
                         text_of(p->reg.name));
    case SN_REGACK:
    case SN_PUBACK:
        return json_pack("{si si si}", "TopicId", p->ack.tid, "MsgId", p->ack.mid, "ReturnCode",
                         p->ack.code);
    case SN_PUBLISH:
        return json_pack("{si si si si so si so}", "DUP", p->publish.dup, "QoS", p->publish.qos,
                         "Retain", p->publish.retain, "TopicIdType", (int)p->publish.kind,
                         "TopicId",
                         p->publish.kind == SN_TOPIC_SHORT ? short_of(p->publish.tid)
                                                           : json_integer(p->publish.tid),
                         "MsgId", p->publish.mid, "Data", hex_of(p->publish.data));
    case SN_PUBCOMP:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_UNSUBACK:
        return json_pack("{si}", "MsgId", p->mid);
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
        return fields_of_subscribe(p);
    case SN_SUBACK:
        return json_pack("{si si si si}", "QoS", p->suback.qos, "TopicId", p->suback.tid, "MsgId",
                         p->suback.mid, "ReturnCode", p->suback.code);
    case SN_PINGREQ:
        return json_pack("{so}", "ClientId", text_of(p->pingreq.client_id));
    case SN_DISCONNECT:
        if (!p->disconnect.has_duration) {
            return json_object();
        }
        return json_pack("{si}", "Duration", p->disconnect.duration_s);
    case SN_FORWARD:
        return json_pack("{si so so}", "Radius", p->forward.radius, "WirelessNodeId",
                         hex_of(p->forward.node), "Inner", hex_of(p->forward.inner));
    }
    return NULL;
}

static json_t *fields_of(const struct sn_packet *p)
{
    json_t *j = fields_of_body(p);
    assert_non_null(j);
    const char *name = sn_type_name((uint8_t)p->type);
    json_object_set_new(j, "type", json_string(p->type == SN_FORWARD ? "ENCAPSULATED" : name));
    return j;
}

static void assert_same_fields(const char *what, const json_t *got, const json_t *want)
{
    if (!json_equal(got, want)) {
        fail_msg("%s: %s, not %s", what, json_dumps(got, JSON_SORT_KEYS),
                 json_dumps(want, JSON_SORT_KEYS));
    }
}

/* ---- frames ---------------------------------------------------------------- */

static bool is_usable(enum sn_fault fault)
{
    return fault == SN_OK || sn_fault_is_answerable(fault);
}

/* A copy of exactly the right size, so that the sanitizers see a read beyond it. */
static uint8_t *copy_of(const void *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    return copy;
}

/* Decodes octets that need not outlive the call. */
static enum sn_fault fault_of(const void *data, size_t len)
{
    struct sn_packet p;
    uint8_t *copy = copy_of(data, len);
    const enum sn_fault fault = sn_decode(sn_bytes(copy, len), &p);
    free(copy);
    return fault;
}

#define FRAME(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

static void assert_fault(const void *data, size_t len, enum sn_fault want)
{
    const enum sn_fault got = fault_of(data, len);
    if (got != want) {
        json_t *hex = hex_of(sn_bytes(data, len));
        fail_msg("%s: %s, not %s", json_string_value(hex), sn_fault_name(got), sn_fault_name(want));
    }
}

static uint8_t hex_digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* The octets of a vector; the caller frees them. */
static uint8_t *frame_of(const json_t *vector, size_t *len)
{
    const char *hex = json_string_value(json_object_get(vector, "hex"));
    const char *head = hex != NULL ? hex : json_string_value(json_object_get(vector, "hex_head"));
    const size_t fill = (size_t)json_integer_value(json_object_get(vector, "fill_count"));
    const int octet = (int)json_integer_value(json_object_get(vector, "fill_byte"));
    assert_non_null(head);
    *len = strlen(head) / 2 + fill;
    uint8_t *frame = malloc(*len > 0 ? *len : 1);
    assert_non_null(frame);
    for (size_t i = 0; i < strlen(head) / 2; i++) {
        frame[i] = (uint8_t)(hex_digit(head[2 * i]) << 4 | hex_digit(head[2 * i + 1]));
    }
    memset(frame + strlen(head) / 2, octet, fill);
    return frame;
}

/* ---- the vectors ----------------------------------------------------------- */

static json_t *vectors;

static int load_vectors(void **state)
{
    json_error_t error;
    (void)state;

    json_t *file = json_load_file(VECTORS, 0, &error);
    if (file == NULL) {
        (void)fprintf(stderr, "%s:%d: %s\n", VECTORS, error.line, error.text);
        return -1;
    }
    vectors = json_incref(json_object_get(file, "vectors"));
    json_decref(file);
    return vectors != NULL ? 0 : -1;
}

static int drop_vectors(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

static const char *id_of(const json_t *vector)
{
    return json_string_value(json_object_get(vector, "id"));
}

static bool has_version(const json_t *vector, const char *version)
{
    return strcmp(json_string_value(json_object_get(vector, "version")), version) == 0;
}

/* The fields of a vector without those that say how they were written: the form
 * of Length and bits that are not used. Sets *plain when there are none such. */
static json_t *meaning_of(const json_t *vector, bool *plain)
{
    static const char *const forms[] = {"FlagsRaw", "CtrlRaw"};
    const json_t *fields = json_object_get(vector, "fields");
    *plain = true;
    if (!json_is_object(fields)) {
        return NULL;
    }
    json_t *meaning = json_deep_copy(fields);
    for (size_t i = 0; i < COUNT(forms); i++) {
        if (json_object_del(meaning, forms[i]) == 0) {
            *plain = false;
        }
    }
    json_object_del(meaning, "LenForm");
    const json_t *fill = json_object_get(vector, "fill_count");
    if (fill != NULL) {
        /* The only such vector is a PUBLISH whose data is nothing but filling. */
        size_t len;
        uint8_t *frame = frame_of(vector, &len);
        const size_t count = (size_t)json_integer_value(fill);
        json_object_set_new(meaning, "Data", hex_of(sn_bytes(frame + len - count, count)));
        free(frame);
    }
    return meaning;
}

/* The layout of every message. SN12-5.2.1-1, SN12-5.2.1-2, SN12-5.3.1-1, SN12-5.3.3-1,
 * SN12-5.3.4-4, SN12-5.3.4-5, SN12-5.3.8-1, SN12-5.3.12-1, SN12-5.4.1-1, SN12-5.4.4-1,
 * SN12-5.4.4-2, SN12-5.4.6-1, SN12-5.4.7-1, SN12-5.4.8-1, SN12-5.4.9-1, SN12-5.4.12-1,
 * SN12-5.4.12-4, SN12-5.4.14-1, SN12-5.4.15-1, SN12-5.4.17-1, SN12-5.4.18-1,
 * SN12-5.4.19-1, SN12-5.4.20-1, SN12-5.5-1, SN12-5.5-6 */
static void each_vector_gives_its_fields_or_its_fault(void **state)
{
    size_t i;
    json_t *vector;
    size_t tried = 0;
    (void)state;

    json_array_foreach(vectors, i, vector)
    {
        if (!has_version(vector, "1.2")) {
            continue;
        }
        struct sn_packet p;
        size_t len;
        uint8_t *frame = frame_of(vector, &len);
        const enum sn_fault fault = sn_decode(sn_bytes(frame, len), &p);
        const json_t *error = json_object_get(vector, "error");
        const char *want = json_is_string(error) ? json_string_value(error) : sn_fault_name(SN_OK);
        if (strcmp(sn_fault_name(fault), want) != 0) {
            fail_msg("%s: %s, not %s", id_of(vector), sn_fault_name(fault), want);
        }
        bool plain;
        json_t *meaning = meaning_of(vector, &plain);
        /* A fault that can be answered leaves the fields to answer with. */
        if (meaning != NULL) {
            assert_true(is_usable(fault));
            json_t *fields = fields_of(&p);
            assert_same_fields(id_of(vector), fields, meaning);
            json_decref(fields);
            json_decref(meaning);
        }
        free(frame);
        tried++;
    }
    assert_int_equal(tried, 149);
}

/* Frames that a peer of the next version may send, too: here only whether they
 * are something in this one. */
static void each_frame_of_two_meanings_is_well_formed_as_its_vector_says(void **state)
{
    size_t i;
    json_t *vector;
    size_t tried = 0;
    (void)state;

    json_array_foreach(vectors, i, vector)
    {
        if (!has_version(vector, "both")) {
            continue;
        }
        size_t len;
        uint8_t *frame = frame_of(vector, &len);
        const enum sn_fault fault = fault_of(frame, len);
        if ((fault == SN_OK) != json_is_true(json_object_get(vector, "well_formed_1_2"))) {
            fail_msg("%s: %s", id_of(vector), sn_fault_name(fault));
        }
        free(frame);
        tried++;
    }
    assert_int_equal(tried, 22);
}

/* SN12-5.2.1-4, SN12-5.2.1-5, SN12-5.3.4-2, SN12-5.5-7: what was read is written
 * again octet by octet, but in the short form and without unused bits. */
static void each_vector_is_written_as_it_was_read(void **state)
{
    static uint8_t out[SN_PACKET_MAX];
    size_t i;
    json_t *vector;
    size_t same = 0;
    size_t other = 0;
    (void)state;

    json_array_foreach(vectors, i, vector)
    {
        struct sn_packet p;
        struct sn_packet again;
        size_t len;
        uint8_t *frame = frame_of(vector, &len);
        if (has_version(vector, "2.0") || !is_usable(sn_decode(sn_bytes(frame, len), &p))) {
            free(frame);
            continue;
        }
        bool plain;
        json_decref(meaning_of(vector, &plain));
        const size_t written = sn_encode(&p, out, sizeof out);
        const bool long_form = frame[0] == 0x01;
        if (plain && !(long_form && len < 256 + 2)) {
            if (!sn_bytes_equal(sn_bytes(out, written), sn_bytes(frame, len))) {
                fail_msg("%s is written otherwise", id_of(vector));
            }
            same++;
        } else {
            assert_int_equal(written, long_form ? len - 2 : len);
            assert_int_not_equal(out[0], 0x01);
            assert_true(is_usable(sn_decode(sn_bytes(out, written), &again)));
            json_t *got = fields_of(&again);
            json_t *want = fields_of(&p);
            assert_same_fields(id_of(vector), got, want);
            json_decref(got);
            json_decref(want);
            other++;
        }
        free(frame);
    }
    assert_true(same > 120);
    assert_int_equal(other, 7);
}

/* Opens encapsulations down to the last one. */
static enum sn_fault innermost_fault(struct sn_bytes frame)
{
    struct sn_packet p;
    enum sn_fault fault;
    do {
        fault = sn_decode(frame, &p);
        frame = fault == SN_OK && p.type == SN_FORWARD ? p.forward.inner : frame;
    } while (fault == SN_OK && p.type == SN_FORWARD);
    return fault;
}

/* A datagram that lost its end is refused, whatever it was. */
static void each_vector_cut_short_is_refused(void **state)
{
    size_t i;
    json_t *vector;
    (void)state;

    json_array_foreach(vectors, i, vector)
    {
        size_t len;
        uint8_t *frame = frame_of(vector, &len);
        if (!has_version(vector, "2.0") && is_usable(fault_of(frame, len))) {
            const size_t end = len < 300 ? len : 300;
            for (size_t cut = 0; cut < end; cut++) {
                uint8_t *part = copy_of(frame, cut);
                assert_false(is_usable(innermost_fault(sn_bytes(part, cut))));
                free(part);
            }
        }
        free(frame);
    }
}

/* ---- length and type ------------------------------------------------------- */

/* Every message: how long it is at least, and at most (0: no limit but the
 * frame's), both with the 1-octet Length. */
static const struct {
    enum sn_type type;
    uint8_t least;
    uint8_t most;
} sizes[] = {
    {SN_ADVERTISE, 5, 5},     {SN_SEARCHGW, 3, 3},   {SN_GWINFO, 3, 0},
    {SN_CONNECT, 6, 0},       {SN_CONNACK, 3, 3},    {SN_WILLTOPICREQ, 2, 2},
    {SN_WILLTOPIC, 2, 0},     {SN_WILLMSGREQ, 2, 2}, {SN_WILLMSG, 2, 0},
    {SN_REGISTER, 6, 0},      {SN_REGACK, 7, 7},     {SN_PUBLISH, 7, 0},
    {SN_PUBACK, 7, 7},        {SN_PUBCOMP, 4, 4},    {SN_PUBREC, 4, 4},
    {SN_PUBREL, 4, 4},        {SN_SUBSCRIBE, 5, 0},  {SN_SUBACK, 8, 8},
    {SN_UNSUBSCRIBE, 5, 0},   {SN_UNSUBACK, 4, 4},   {SN_PINGREQ, 2, 0},
    {SN_PINGRESP, 2, 2},      {SN_DISCONNECT, 2, 4}, {SN_WILLTOPICUPD, 2, 0},
    {SN_WILLTOPICRESP, 3, 3}, {SN_WILLMSGUPD, 2, 0}, {SN_WILLMSGRESP, 3, 3},
};

/* SN12-5.2.1-3, SN12-5.4.2-1, SN12-5.4.4-3, SN12-5.4.5-1 and their like */
static void a_message_of_the_wrong_size_is_refused(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (size_t len = 2; len < 256; len++) {
            uint8_t frame[256 + 2] = {(uint8_t)len, (uint8_t)sizes[i].type};
            uint8_t long_frame[256 + 4] = {0x01, 0, (uint8_t)(len + 2), (uint8_t)sizes[i].type};
            const enum sn_fault fault = fault_of(frame, len);
            /* 5.4.21: half a Duration is neither of the two sizes. */
            const bool half = sizes[i].type == SN_DISCONNECT && len == 3;
            if (len < sizes[i].least || half) {
                assert_int_equal(fault, SN_FAULT_TRUNCATED);
            } else if (sizes[i].most != 0 && len > sizes[i].most) {
                assert_int_equal(fault, SN_FAULT_BAD_LENGTH);
            } else {
                assert_true(is_usable(fault));
            }
            if (len + 2 < 256) {
                assert_int_equal(fault_of(long_frame, len + 2), fault);
            }
        }
    }
}

/* SN12-5.2.2-2 */
static void every_type_has_a_name_or_is_refused(void **state)
{
    size_t named = 0;
    (void)state;

    for (unsigned type = 0; type <= 0xFF; type++) {
        uint8_t frame[9] = {9, (uint8_t)type};
        const enum sn_fault fault = fault_of(frame, sizeof frame);
        assert_int_equal(sn_type_name((uint8_t)type) == NULL, fault == SN_FAULT_RESERVED_TYPE);
        named += sn_type_name((uint8_t)type) != NULL;
    }
    assert_int_equal(named, COUNT(sizes) + 1);
    assert_string_equal(sn_type_name(0x10), "PUBREL");
}

/* SN12-5.2.1-6, SN12-5.2.1-9: of all values of Length only the true one passes. */
static void a_length_that_disagrees_is_refused(void **state)
{
    uint8_t frame[16] = {0, SN_WILLMSG};
    uint8_t long_frame[16] = {0x01, 0, 0, SN_WILLMSG};
    (void)state;

    for (unsigned len = 0; len <= 0xFF; len++) {
        frame[0] = (uint8_t)len;
        const enum sn_fault want = len == sizeof frame ? SN_OK : SN_FAULT_LENGTH;
        if (len != 0x01) {
            assert_fault(frame, sizeof frame, want);
        }
    }
    for (unsigned len = 0; len <= 0xFFFF; len++) {
        long_frame[1] = (uint8_t)(len >> 8);
        long_frame[2] = (uint8_t)len;
        const enum sn_fault want = len == sizeof long_frame ? SN_OK : SN_FAULT_LENGTH;
        assert_fault(long_frame, sizeof long_frame, want);
    }
    assert_fault("", 0, SN_FAULT_TRUNCATED);
    assert_int_equal(sn_decode(sn_bytes(NULL, 0), NULL), SN_FAULT_TRUNCATED);
    assert_fault(FRAME(0x01, 0x00, 0x04), SN_FAULT_TRUNCATED);
    assert_fault(FRAME(0x01, 0x16), SN_FAULT_TRUNCATED);
}

static void an_unusable_frame_leaves_the_packet_alone(void **state)
{
    static const struct {
        uint8_t frame[8];
        size_t len;
    } cases[] = {
        {{0x02}, 1},
        {{0x03, 0x16}, 2},
        {{0x02, 0x03}, 2},
        {{0x04, 0x05, 0x00, 0x00}, 4},
        {{0x06, 0x0C, 0x00, 0x00, 0x05, 0x00}, 6},
        {{0x05, 0xFE, 0x00, 0x0A, 0x0B}, 5},
        {{0x05, 0xFE, 0x00, 0x0A, 0x0B, 0x03, 0x16}, 7},
    };
    struct sn_packet p;
    struct sn_packet before;
    (void)state;

    memset(&p, 0xA5, sizeof p);
    memset(&before, 0xA5, sizeof before);
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_false(is_usable(sn_decode(sn_bytes(cases[i].frame, cases[i].len), &p)));
        assert_memory_equal(&p, &before, sizeof p);
    }
}

/* SN12-5.3.4-1: every combination of flags reads like the bits that count. */
static void unused_flags_are_ignored(void **state)
{
    (void)state;

    for (unsigned flags = 0; flags <= 0xFF; flags++) {
        struct sn_packet p;
        const int8_t qos = (int8_t)((flags >> 5 & 3) == 3 ? -1 : (int)(flags >> 5 & 3));

        const uint8_t connect[] = {7, SN_CONNECT, (uint8_t)flags, 1, 0, 60, 'a'};
        assert_int_equal(sn_decode(sn_bytes(connect, sizeof connect), &p), SN_OK);
        assert_int_equal(p.connect.will, flags >> 3 & 1);
        assert_int_equal(p.connect.clean, flags >> 2 & 1);

        const uint8_t will[] = {4, SN_WILLTOPIC, (uint8_t)flags, 'a'};
        assert_int_equal(sn_decode(sn_bytes(will, sizeof will), &p),
                         qos < 0 ? SN_FAULT_WILL_QOS : SN_OK);
        assert_int_equal(p.willtopic.qos, qos);
        assert_int_equal(p.willtopic.retain, flags >> 4 & 1);

        const uint8_t suback[] = {8, SN_SUBACK, (uint8_t)flags, 0, 1, 0, 2, 0};
        assert_int_equal(sn_decode(sn_bytes(suback, sizeof suback), &p), SN_OK);
        assert_int_equal(p.suback.qos, qos);

        const uint8_t publish[] = {7, SN_PUBLISH, (uint8_t)flags, 'a', 'b', 0, 1};
        assert_true(is_usable(sn_decode(sn_bytes(publish, sizeof publish), &p)));
        assert_int_equal(p.publish.dup, flags >> 7);
        assert_int_equal(p.publish.qos, qos);
        assert_int_equal(p.publish.retain, flags >> 4 & 1);
        assert_int_equal(p.publish.kind, flags & 3);

        /* 5.4.17: in UNSUBSCRIBE a QoS of 0b11 means nothing. */
        const uint8_t unsubscribe[] = {7, SN_UNSUBSCRIBE, (uint8_t)flags, 0, 1, 'a', 'b'};
        assert_int_equal(sn_decode(sn_bytes(unsubscribe, sizeof unsubscribe), &p),
                         (flags & 3) == 3 ? SN_FAULT_TOPIC_ID_TYPE : SN_OK);
        assert_int_equal(p.subscribe.qos, 0);
        assert_int_equal(p.subscribe.dup, 0);
    }
}

/* ---- faults that can be answered ------------------------------------------- */

static void an_answerable_fault_leaves_what_the_answer_needs(void **state)
{
    struct sn_packet p;
    (void)state;

    static const uint8_t subscribe[] = {0x07, 0x12, 0x03, 0x12, 0x34, 0x00, 0x07};
    assert_int_equal(sn_decode(sn_bytes(subscribe, 7), &p), SN_FAULT_TOPIC_ID_TYPE);
    assert_int_equal(p.type, SN_SUBSCRIBE);
    assert_int_equal(p.subscribe.mid, 0x1234);

    static const uint8_t regist[] = {0x08, 0x0A, 0x00, 0x00, 0x12, 0x34, 0xC3, 0x28};
    assert_int_equal(sn_decode(sn_bytes(regist, 8), &p), SN_FAULT_BAD_UTF8);
    assert_int_equal(p.type, SN_REGISTER);
    assert_int_equal(p.reg.mid, 0x1234);

    static const uint8_t publish[] = {0x08, 0x0C, 0x43, 0x00, 0x05, 0x12, 0x34, 0x78};
    assert_int_equal(sn_decode(sn_bytes(publish, 8), &p), SN_FAULT_TOPIC_ID_TYPE);
    assert_int_equal(p.publish.qos, 2);
    assert_int_equal(p.publish.tid, 5);
    assert_int_equal(p.publish.mid, 0x1234);
}

/* The order that packet.h promises: a fault that registering again could cure
 * is named only when nothing else is wrong. */
static void of_several_faults_the_incurable_one_is_named(void **state)
{
    (void)state;

    /* CONNECT: ProtocolId, then ClientId */
    assert_fault(FRAME(6, 0x04, 0, 2, 0, 60), SN_FAULT_PROTOCOL_ID);
    assert_fault(FRAME(6, 0x04, 0, 1, 0, 60), SN_FAULT_EMPTY_CLIENT_ID);
    /* PUBLISH: TopicIdType, QoS, MsgId, topic */
    assert_fault(FRAME(7, 0x0C, 0x63, 0, 0, 0, 0), SN_FAULT_TOPIC_ID_TYPE);
    assert_fault(FRAME(7, 0x0C, 0x23, 0, 0, 0, 0), SN_FAULT_TOPIC_ID_TYPE);
    assert_fault(FRAME(7, 0x0C, 0x60, 0, 0, 0, 0), SN_FAULT_QOS_MINUS_ONE);
    assert_fault(FRAME(7, 0x0C, 0x20, 0, 0, 0, 0), SN_FAULT_MSGID_ZERO);
    assert_fault(FRAME(7, 0x0C, 0x22, '#', '/', 0, 0), SN_FAULT_MSGID_ZERO);
    assert_fault(FRAME(7, 0x0C, 0x20, 0, 0, 0, 1), SN_FAULT_RESERVED_TOPIC_ID);
    /* SUBSCRIBE: TopicIdType, QoS, MsgId, topic */
    assert_fault(FRAME(7, 0x12, 0x63, 0, 0, 0, 0), SN_FAULT_TOPIC_ID_TYPE);
    assert_fault(FRAME(7, 0x12, 0x61, 0, 0, 0, 0), SN_FAULT_SUB_QOS);
    assert_fault(FRAME(7, 0x12, 0x01, 0, 0, 0, 0), SN_FAULT_MSGID_ZERO);
    assert_fault(FRAME(7, 0x12, 0x01, 0, 1, 0, 0), SN_FAULT_RESERVED_TOPIC_ID);
    /* REGISTER: MsgId, name; WILLTOPIC: QoS, topic */
    assert_fault(FRAME(7, 0x0A, 0, 0, 0, 0, '#'), SN_FAULT_MSGID_ZERO);
    assert_fault(FRAME(7, 0x0A, 0, 0, 0, 1, '#'), SN_FAULT_WILDCARD_IN_NAME);
    assert_fault(FRAME(3, 0x07, 0x60), SN_FAULT_WILL_QOS);
}

/* SN12-5.4.12-3: MsgId 0 counts where an answer must be told apart by it. */
static void msgid_zero_is_a_fault_only_where_it_is_needed(void **state)
{
    (void)state;

    assert_fault(FRAME(7, 0x0C, 0x00, 0, 5, 0, 0), SN_OK);
    assert_fault(FRAME(7, 0x0C, 0x61, 0, 5, 0, 0), SN_OK);
    assert_fault(FRAME(7, 0x0C, 0x20, 0, 5, 0, 0), SN_FAULT_MSGID_ZERO);
    assert_fault(FRAME(7, 0x0C, 0x40, 0, 5, 0, 0), SN_FAULT_MSGID_ZERO);
    assert_fault(FRAME(6, 0x12, 0x00, 0, 0, 'a'), SN_FAULT_MSGID_ZERO);
    assert_fault(FRAME(6, 0x14, 0x00, 0, 0, 'a'), SN_FAULT_MSGID_ZERO);
    assert_fault(FRAME(7, 0x0A, 0, 0, 0, 0, 'a'), SN_FAULT_MSGID_ZERO);
    assert_fault(FRAME(7, 0x0D, 0, 5, 0, 0, 2), SN_OK);
    assert_fault(FRAME(4, 0x10, 0, 0), SN_OK);
}

/* SN12-5.3.11-2; a short name is no id, so its octets may be 0xFFFF or 0 only as
 * far as they are text. */
static void topic_ids_and_short_names_have_their_own_limits(void **state)
{
    (void)state;

    for (unsigned kind = 0; kind <= 1; kind++) {
        assert_fault(FRAME(7, 0x0C, (uint8_t)kind, 0, 0, 0, 0), SN_FAULT_RESERVED_TOPIC_ID);
        assert_fault(FRAME(7, 0x0C, (uint8_t)kind, 0xFF, 0xFF, 0, 0), SN_FAULT_RESERVED_TOPIC_ID);
        assert_fault(FRAME(7, 0x0C, (uint8_t)kind, 0, 1, 0, 0), SN_OK);
        assert_fault(FRAME(7, 0x0C, (uint8_t)kind, 0xFF, 0xFE, 0, 0), SN_OK);
    }
    assert_fault(FRAME(7, 0x0C, 0x02, 0, 0, 0, 0), SN_FAULT_NUL_IN_TOPIC);
    assert_fault(FRAME(7, 0x0C, 0x02, 0xFF, 0xFF, 0, 0), SN_FAULT_BAD_UTF8);
    assert_fault(FRAME(7, 0x0C, 0x02, 0xC3, 0xA9, 0, 0), SN_OK);
    assert_fault(FRAME(7, 0x0C, 0x02, 'a', '#', 0, 0), SN_FAULT_WILDCARD_IN_NAME);
    assert_fault(FRAME(7, 0x12, 0x02, 0, 1, '+', '/'), SN_FAULT_WILDCARD_IN_NAME);
    assert_fault(FRAME(7, 0x14, 0x02, 0, 1, '/', '#'), SN_FAULT_WILDCARD_IN_NAME);
}

/* SN12-5.3.12-2, SN12-5.3.14-1 */
static void a_topic_is_checked_wherever_it_is_given(void **state)
{
    static const uint8_t will[] = {SN_WILLTOPIC, SN_WILLTOPICUPD};
    (void)state;

    for (size_t i = 0; i < COUNT(will); i++) {
        assert_fault(FRAME(4, will[i], 0, 'a'), SN_OK);
        assert_fault(FRAME(3, will[i], 0), SN_FAULT_EMPTY_TOPIC);
        assert_fault(FRAME(6, will[i], 0, 'a', '/', '#'), SN_FAULT_WILDCARD_IN_NAME);
        assert_fault(FRAME(4, will[i], 0, 0xFF), SN_FAULT_BAD_UTF8);
        assert_fault(FRAME(4, will[i], 0, 0x00), SN_FAULT_NUL_IN_TOPIC);
        assert_fault(FRAME(4, will[i], 0x60, 'a'), SN_FAULT_WILL_QOS);
    }
    assert_fault(FRAME(7, SN_REGISTER, 0, 0, 0, 1, '+'), SN_FAULT_WILDCARD_IN_NAME);
    assert_fault(FRAME(7, SN_REGISTER, 0, 0, 0, 1, 0x00), SN_FAULT_NUL_IN_TOPIC);
    assert_fault(FRAME(6, SN_SUBSCRIBE, 0, 0, 1, '+'), SN_OK);
    assert_fault(FRAME(7, SN_SUBSCRIBE, 0, 0, 1, '+', '+'), SN_FAULT_BAD_FILTER);
    assert_fault(FRAME(6, SN_SUBSCRIBE, 0, 0, 1, 0x00), SN_FAULT_NUL_IN_TOPIC);
    assert_fault(FRAME(7, SN_UNSUBSCRIBE, 0, 0, 1, '+', '+'), SN_FAULT_BAD_FILTER);
    assert_fault(FRAME(5, SN_UNSUBSCRIBE, 0, 0, 1), SN_FAULT_EMPTY_TOPIC);
}

static void a_client_id_is_text(void **state)
{
    (void)state;

    assert_fault(FRAME(8, 0x04, 0, 1, 0, 60, 0xC3, 0xA9), SN_OK);
    assert_fault(FRAME(7, 0x04, 0, 1, 0, 60, 0xC3), SN_FAULT_BAD_UTF8);
    assert_fault(FRAME(7, 0x04, 0, 1, 0, 60, 0x00), SN_FAULT_NUL_IN_TOPIC);
    assert_fault(FRAME(3, 0x16, 0xC3), SN_FAULT_BAD_UTF8);
    assert_fault(FRAME(3, 0x16, 0x00), SN_FAULT_NUL_IN_TOPIC);
}

static void each_fault_has_a_name_of_its_own(void **state)
{
    (void)state;

    for (int a = 0; a < SN_FAULT_COUNT; a++) {
        assert_true(strlen(sn_fault_name((enum sn_fault)a)) > 1);
        for (int b = 0; b < a; b++) {
            assert_string_not_equal(sn_fault_name((enum sn_fault)a),
                                    sn_fault_name((enum sn_fault)b));
        }
    }
    assert_false(sn_fault_is_answerable(SN_OK));
    assert_false(sn_fault_is_answerable(SN_FAULT_INNER_LENGTH));
    assert_true(sn_fault_is_answerable(SN_FAULT_PROTOCOL_ID));
    assert_true(sn_fault_is_answerable(SN_FAULT_WILL_QOS));
}

/* ---- encapsulation --------------------------------------------------------- */

/* SN12-5.5-8 */
static void every_node_id_comes_back(void **state)
{
    uint8_t node[SN_NODE_MAX];
    uint8_t out[300];
    (void)state;

    for (size_t i = 0; i < sizeof node; i++) {
        node[i] = (uint8_t)(i ^ 0xA5);
    }
    for (size_t len = 0; len <= sizeof node; len++) {
        const struct sn_packet p = {.type = SN_FORWARD,
                                    .forward = {.radius = len % 4,
                                                .node = sn_bytes(node, len),
                                                .inner = sn_bytes("\x02\x16", 2)}};
        struct sn_packet again;
        const size_t written = sn_encode(&p, out, sizeof out);
        assert_int_equal(written, 3 + len + 2);
        assert_int_equal(out[0], 3 + len);
        assert_int_equal(sn_decode(sn_bytes(out, written), &again), SN_OK);
        assert_int_equal(again.forward.radius, len % 4);
        assert_true(sn_bytes_equal(again.forward.node, p.forward.node));
        assert_true(sn_bytes_equal(again.forward.inner, p.forward.inner));
    }
}

/* SN12-5.5-2, SN12-5.5-9 */
static void what_is_encapsulated_is_one_whole_message(void **state)
{
    (void)state;

    assert_fault(FRAME(3, 0xFE, 0, 2, 0x16), SN_OK);
    assert_fault(FRAME(3, 0xFE, 0, 1, 0, 4, 0x16), SN_OK);
    assert_fault(FRAME(3, 0xFE, 0), SN_FAULT_NO_INNER);
    assert_fault(FRAME(3, 0xFE, 0, 2), SN_FAULT_INNER_LENGTH);
    assert_fault(FRAME(3, 0xFE, 0, 2, 0x16, 0), SN_FAULT_INNER_LENGTH);
    assert_fault(FRAME(3, 0xFE, 0, 3, 0x16), SN_FAULT_INNER_LENGTH);
    assert_fault(FRAME(3, 0xFE, 0, 0, 0x16), SN_FAULT_INNER_LENGTH);
    assert_fault(FRAME(3, 0xFE, 0, 1, 0, 3, 0x16), SN_FAULT_INNER_LENGTH);
    assert_fault(FRAME(3, 0xFE, 0, 1, 0, 5, 0x16), SN_FAULT_INNER_LENGTH);
    /* Whether it means anything is asked when it is decoded itself. */
    assert_fault(FRAME(3, 0xFE, 0, 2, 0x03), SN_OK);
    /* 5.5: Length is one octet here. */
    assert_fault(FRAME(1, 0, 5, 0xFE, 0, 2, 0x16), SN_FAULT_LENGTH);
    assert_fault(FRAME(0, 0xFE, 0, 2, 0x16), SN_FAULT_LENGTH);
    assert_fault(FRAME(2, 0xFE, 0, 2, 0x16), SN_FAULT_TRUNCATED);
}

static void encapsulations_are_opened_one_by_one(void **state)
{
    static const uint8_t frame[] = {4, 0xFE, 0, 0x0A, 4, 0xFE, 0, 0x0B, 2, 0x16};
    struct sn_packet outer;
    struct sn_packet inner;
    struct sn_packet ping;
    (void)state;

    assert_int_equal(sn_decode(sn_bytes(frame, sizeof frame), &outer), SN_OK);
    assert_int_equal(outer.forward.inner.len, 6);
    assert_int_equal(sn_decode(outer.forward.inner, &inner), SN_OK);
    assert_int_equal(inner.type, SN_FORWARD);
    assert_int_equal(inner.forward.node.data[0], 0x0B);
    assert_int_equal(sn_decode(inner.forward.inner, &ping), SN_OK);
    assert_int_equal(ping.type, SN_PINGREQ);
}

/* ---- a wide set of packets -------------------------------------------------- */

static const uint16_t numbers[] = {0x0000, 0x0001, 0x0080, 0x00FF, 0x0100, 0x1234, 0xFFFE, 0xFFFF};

/* Lengths around the change of the form of Length, which comes at 256. */
static const size_t lengths[] = {0,   1,   2,   3,   23,  100, 243,  244, 245, 246,
                                 247, 248, 249, 250, 251, 252, 253,  254, 255, 256,
                                 257, 258, 259, 511, 512, 513, 1024, 4096};

static const char *const names[] = {
    "a", "AB", "a/b/c", "/", "temp/\xC3\xA9", "$SYS/x", "a b", "\xF0\x9F\x8C\x8A/\xE6\xB0\xB4"};

static uint8_t filling[SN_PACKET_MAX];

typedef void visit(const struct sn_packet *p);

static void each_small_packet(visit *show)
{
    static const enum sn_type with_code[] = {SN_CONNACK, SN_WILLTOPICRESP, SN_WILLMSGRESP};
    static const enum sn_type with_mid[] = {SN_PUBCOMP, SN_PUBREC, SN_PUBREL, SN_UNSUBACK};
    static const enum sn_type with_both[] = {SN_REGACK, SN_PUBACK};
    static const enum sn_type bare[] = {SN_WILLTOPICREQ, SN_WILLMSGREQ, SN_PINGRESP};

    for (size_t i = 0; i < COUNT(bare); i++) {
        show(&(struct sn_packet){.type = bare[i]});
    }
    show(&(struct sn_packet){.type = SN_DISCONNECT});
    for (size_t n = 0; n < COUNT(numbers); n++) {
        const uint16_t number = numbers[n];
        const uint8_t octet = (uint8_t)number;
        show(&(struct sn_packet){.type = SN_SEARCHGW, .searchgw = {octet}});
        show(&(struct sn_packet){.type = SN_DISCONNECT, .disconnect = {true, number}});
        for (size_t i = 0; i < COUNT(with_code); i++) {
            show(&(struct sn_packet){.type = with_code[i], .code = octet});
        }
        for (size_t i = 0; i < COUNT(with_mid); i++) {
            show(&(struct sn_packet){.type = with_mid[i], .mid = number});
        }
        for (size_t m = 0; m < COUNT(numbers); m++) {
            show(&(struct sn_packet){.type = SN_ADVERTISE, .advertise = {octet, numbers[m]}});
            for (size_t i = 0; i < COUNT(with_both); i++) {
                show(&(struct sn_packet){.type = with_both[i],
                                         .ack = {number, numbers[m], (uint8_t)(n ^ m)}});
            }
            for (int8_t qos = 0; qos <= 2; qos++) {
                show(&(struct sn_packet){.type = SN_SUBACK,
                                         .suback = {qos, number, numbers[m], (uint8_t)m}});
            }
        }
    }
}

static void each_packet_with_a_name(visit *show, struct sn_bytes name)
{
    for (unsigned flags = 0; flags < 4; flags++) {
        show(&(struct sn_packet){
            .type = SN_CONNECT,
            .connect = {(flags & 1) != 0, (flags & 2) != 0, SN_PROTOCOL_ID, numbers[flags], name}});
    }
    show(&(struct sn_packet){.type = SN_PINGREQ, .pingreq = {name}});
    for (size_t n = 1; n < COUNT(numbers); n++) {
        show(&(struct sn_packet){.type = SN_REGISTER, .reg = {numbers[n], numbers[n], name}});
    }
    for (int8_t qos = 0; qos <= 2; qos++) {
        for (unsigned flag = 0; flag < 2; flag++) {
            const bool set = flag != 0;
            show(&(struct sn_packet){.type = SN_WILLTOPIC, .willtopic = {false, qos, set, name}});
            show(
                &(struct sn_packet){.type = SN_WILLTOPICUPD, .willtopic = {false, qos, set, name}});
            show(&(struct sn_packet){
                .type = SN_SUBSCRIBE,
                .subscribe = {set, qos, SN_TOPIC_NORMAL, (uint16_t)(qos + 1), 0, name}});
        }
    }
    show(&(struct sn_packet){.type = SN_UNSUBSCRIBE,
                             .subscribe = {.kind = SN_TOPIC_NORMAL, .mid = 0x1234, .name = name}});
}

static void each_packet_with_data(visit *show, struct sn_bytes data)
{
    for (int8_t qos = -1; qos <= 2; qos++) {
        for (unsigned flags = 0; flags < 4; flags++) {
            for (unsigned kind = qos < 0 ? 1 : 0; kind <= SN_TOPIC_SHORT; kind++) {
                show(&(struct sn_packet){
                    .type = SN_PUBLISH,
                    .publish = {(flags & 1) != 0, qos, (flags & 2) != 0, (enum sn_topic_kind)kind,
                                SN_SHORT_ID('A', 'b'), qos > 0 ? 0x1234 : 0, data}});
            }
        }
    }
    show(&(struct sn_packet){.type = SN_WILLMSG, .willmsg = {data}});
    show(&(struct sn_packet){.type = SN_WILLMSGUPD, .willmsg = {data}});
    show(&(struct sn_packet){.type = SN_GWINFO, .gwinfo = {7, data}});
}

static void each_packet_with_an_id(visit *show)
{
    static const uint16_t shorts[] = {SN_SHORT_ID('A', 'B'), SN_SHORT_ID('a', '/'),
                                      SN_SHORT_ID('1', ' '), SN_SHORT_ID('~', '"')};
    /* 0x0000 and 0xFFFF, at both ends, are no ids (5.3.11). */
    for (size_t n = 1; n + 1 < COUNT(numbers); n++) {
        for (size_t s = 0; s < COUNT(shorts); s++) {
            for (unsigned k = SN_TOPIC_PREDEFINED; k <= SN_TOPIC_SHORT; k++) {
                const enum sn_topic_kind kind = (enum sn_topic_kind)k;
                const uint16_t tid = kind == SN_TOPIC_SHORT ? shorts[s] : numbers[n];
                show(&(struct sn_packet){
                    .type = SN_SUBSCRIBE,
                    .subscribe = {
                        .qos = (int8_t)(n % 3), .kind = kind, .mid = numbers[n], .tid = tid}});
                show(&(struct sn_packet){
                    .type = SN_UNSUBSCRIBE,
                    .subscribe = {.kind = kind, .mid = numbers[n], .tid = tid}});
                show(&(struct sn_packet){.type = SN_PUBLISH,
                                         .publish = {.kind = kind, .tid = tid, .mid = numbers[n]}});
            }
        }
        show(&(struct sn_packet){.type = SN_PUBLISH,
                                 .publish = {.qos = 1, .tid = numbers[n], .mid = numbers[n]}});
    }
}

static void each_encapsulation(visit *show)
{
    static const char connect[] = "\x0D\x04\x04\x01\x00\x3Csensor1";
    static const size_t nodes[] = {0, 1, 2, 3, 4, 8, 252};

    for (size_t i = 0; i < COUNT(nodes); i++) {
        for (uint8_t radius = 0; radius <= 3; radius++) {
            const struct sn_bytes node = sn_bytes(filling + 1, nodes[i]);
            show(&(struct sn_packet){.type = SN_FORWARD,
                                     .forward = {radius, node, sn_bytes("\x02\x16", 2)}});
            show(&(struct sn_packet){
                .type = SN_FORWARD,
                .forward = {radius, node, sn_bytes(connect, sizeof connect - 1)}});
        }
    }
}

static void each_packet(visit *show)
{
    for (size_t i = 0; i < sizeof filling; i++) {
        filling[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    each_small_packet(show);
    show(&(struct sn_packet){.type = SN_WILLTOPIC, .willtopic = {.empty = true}});
    show(&(struct sn_packet){.type = SN_WILLTOPICUPD, .willtopic = {.empty = true}});
    show(&(struct sn_packet){.type = SN_PINGREQ});
    for (size_t i = 0; i < COUNT(names); i++) {
        each_packet_with_a_name(show, sn_bytes_text(names[i]));
    }
    each_packet_with_an_id(show);
    each_encapsulation(show);
    static char long_name[4096];
    memset(long_name, 'n', sizeof long_name);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        each_packet_with_data(show, sn_bytes(filling, lengths[i]));
        if (lengths[i] > 0) {
            each_packet_with_a_name(show, sn_bytes(long_name, lengths[i]));
        }
    }
}

static size_t shown;

static void assert_it_comes_back(const struct sn_packet *p)
{
    static uint8_t out[SN_PACKET_MAX];
    struct sn_packet again;

    const size_t len = sn_encode(p, out, sizeof out);
    uint8_t *frame = copy_of(out, len);
    assert_int_equal(sn_decode(sn_bytes(frame, len), &again), SN_OK);
    json_t *got = fields_of(&again);
    json_t *want = fields_of(p);
    assert_same_fields("decoded", got, want);
    json_decref(got);
    json_decref(want);
    /* One octet less is too little room, and just enough is enough. */
    uint8_t *tight = malloc(len);
    assert_non_null(tight);
    assert_int_equal(sn_encode(p, tight, len), len);
    assert_memory_equal(tight, frame, len);
    free(tight);
    for (size_t size = 0; size < len; size += size < 8 || size + 8 >= len ? 1 : len - 8 - size) {
        uint8_t *small = copy_of(out, size);
        assert_int_equal(sn_encode(p, small, size), 0);
        free(small);
    }
    free(frame);
    shown++;
}

static void every_packet_that_is_written_is_read_as_it_was(void **state)
{
    (void)state;
    shown = 0;
    each_packet(assert_it_comes_back);
    assert_true(shown > 2000);
}

/* SN12-5.2.1-4, SN12-5.2.1-5 */
static void length_grows_to_three_octets_when_one_does_not_do(void **state)
{
    static uint8_t out[SN_PACKET_MAX];
    (void)state;

    assert_int_equal(sn_publish_size(0), 7);
    assert_int_equal(sn_publish_size(248), 255);
    assert_int_equal(sn_publish_size(249), 258);
    for (size_t len = 0; len <= 600; len++) {
        const struct sn_packet p = {.type = SN_PUBLISH,
                                    .publish = {.tid = 5, .data = sn_bytes(filling, len)}};
        const size_t written = sn_encode(&p, out, sizeof out);
        assert_int_equal(written, sn_publish_size(len));
        assert_int_equal(out[0], written < 256 ? written : 0x01);
        assert_int_equal(out[written < 256 ? 1 : 3], SN_PUBLISH);
    }
}

static void the_largest_message_has_65535_octets(void **state)
{
    static uint8_t out[SN_PACKET_MAX + 16];
    struct sn_packet again;
    (void)state;

    struct sn_packet p = {.type = SN_PUBLISH,
                          .publish = {.tid = 5, .data = sn_bytes(filling, SN_PACKET_MAX - 9)}};
    assert_int_equal(sn_encode(&p, out, sizeof out), SN_PACKET_MAX);
    assert_int_equal(sn_decode(sn_bytes(out, SN_PACKET_MAX), &again), SN_OK);
    assert_true(sn_bytes_equal(again.publish.data, p.publish.data));
    p.publish.data.len++;
    assert_int_equal(sn_encode(&p, out, sizeof out), 0);

    /* An encapsulation has no Length that would limit it, but a frame has. */
    static uint8_t inner[SN_PACKET_MAX];
    const struct sn_packet message = {.type = SN_WILLMSG,
                                      .willmsg = {sn_bytes(filling, SN_PACKET_MAX - 7)}};
    const size_t len = sn_encode(&message, inner, sizeof inner);
    struct sn_packet f = {.type = SN_FORWARD, .forward = {.inner = sn_bytes(inner, len)}};
    assert_int_equal(sn_encode(&f, out, sizeof out), SN_PACKET_MAX);
    assert_int_equal(sn_decode(sn_bytes(out, SN_PACKET_MAX), &again), SN_OK);
    f.forward.node = sn_bytes("\x01", 1);
    assert_int_equal(sn_encode(&f, out, sizeof out), 0);
}

/* ---- text ------------------------------------------------------------------ */

static void packets_print_as_one_line(void **state)
{
    static const struct {
        const char *frame;
        size_t len;
        const char *want;
    } cases[] = {
        {"\x0B\x0C\xB0\x00\x05\x12\x34"
         "21.5",
         11, "PUBLISH dup=1 qos=1 retain=1 tid=5 mid=4660 data=\"21.5\""},
        {"\x0B\x0C\x61\x00\x07\x00\x00\"\\\n\xFF", 11,
         "PUBLISH qos=-1 predefined=7 mid=0 data=\"\\\"\\\\\\x0a\\xff\""},
        {"\x07\x12\x22\x00\x04"
         "AB",
         7, "SUBSCRIBE qos=1 mid=4 short=\"AB\""},
        {"\x08\x14\x00\x00\x05"
         "a/#",
         8, "UNSUBSCRIBE mid=5 name=\"a/#\""},
        {"\x07\x04\x08\x01\x00\x3C"
         "a",
         7, "CONNECT will=1 keepalive_s=60 client_id=\"a\""},
        {"\x07\x0D\x00\x05\x00\x01\x02", 7, "PUBACK tid=5 mid=1 code=invalid-topic-id"},
        {"\x03\x05\x80", 3, "CONNACK code=128"},
        {"\x02\x07", 2, "WILLTOPIC empty=1"},
        {"\x05\x00\x07\x03\x84", 5, "ADVERTISE gw_id=7 duration_s=900"},
        {"\x03\x01\x02", 3, "SEARCHGW radius=2"},
        {"\x03\x02\x07", 3, "GWINFO gw_id=7"},
        {"\x05\x02\x07 ~", 5, "GWINFO gw_id=7 gw_add=\" ~\""},
        {"\x07\x04\x04\x02\x00\x3C\x7F", 7,
         "CONNECT clean=1 protocol_id=2 keepalive_s=60 client_id=\"\\x7f\""},
        {"\x04\x07\x50t", 4, "WILLTOPIC qos=2 retain=1 topic=\"t\""},
        {"\x04\x09\x1F\x80", 4, "WILLMSG message=\"\\x1f\\x80\""},
        {"\x07\x0A\x00\x05\x00\x06n", 7, "REGISTER tid=5 mid=6 name=\"n\""},
        {"\x08\x13\x40\x00\x05\x00\x06\x00", 8, "SUBACK qos=2 tid=5 mid=6 code=accepted"},
        {"\x08\x13\x00\x00\x05\x00\x06\x03", 8, "SUBACK qos=0 tid=5 mid=6 code=not-supported"},
        {"\x07\x0B\x00\x05\x00\x06\x01", 7, "REGACK tid=5 mid=6 code=congestion"},
        {"\x04\x0F\x12\x34", 4, "PUBREC mid=4660"},
        {"\x06\x12\x83\x00\x06x", 6, "SUBSCRIBE dup=1 qos=0 mid=6 reserved=\"x\""},
        {"\x07\x0C\x03\x00\x05\x00\x06", 7, "PUBLISH qos=0 reserved=5 mid=6 data=\"\""},
        {"\x05\x16"
         "abc",
         5, "PINGREQ client_id=\"abc\""},
        {"\x02\x16", 2, "PINGREQ"},
        {"\x04\x18\x0E\x10", 4, "DISCONNECT duration_s=3600"},
        {"\x05\xFE\x01\x0A\x0B\x03\x05\x01", 8,
         "FORWARD radius=1 node=\"\\x0a\\x0b\" inner=(CONNACK code=congestion)"},
        {"\x04\xFE\x00\x0A\x04\xFE\x00\x0B\x02\x16", 10,
         "FORWARD radius=0 node=\"\\x0a\" inner=\"\\x04\\xfe\\x00\\x0b\\x02\\x16\""},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sn_packet p;
        char line[SN_PRINT_SIZE];
        assert_true(is_usable(sn_decode(sn_bytes(cases[i].frame, cases[i].len), &p)));
        assert_int_equal(sn_print(&p, line, sizeof line), strlen(cases[i].want));
        assert_string_equal(line, cases[i].want);
    }
}

static void long_data_is_cut_and_its_length_told(void **state)
{
    char line[SN_PRINT_SIZE];
    (void)state;

    const char data[65] = "0123456789012345678901234567890123456789012345678901234567890123x";
    struct sn_packet p = {.type = SN_WILLMSG, .willmsg = {sn_bytes(data, 64)}};
    sn_print(&p, line, sizeof line);
    assert_string_equal(line, "WILLMSG message=\"01234567890123456789012345678901234567890123456789"
                              "01234567890123\"");
    p.willmsg.message.len++;
    sn_print(&p, line, sizeof line);
    assert_string_equal(line, "WILLMSG message=\"01234567890123456789012345678901234567890123456789"
                              "01234567890123\"... len=65");
}

/* Whatever the room, the text is a prefix of the whole, terminated, and clean. */
static void assert_it_prints(const struct sn_packet *p)
{
    char whole[4 * SN_PRINT_SIZE];
    const size_t len = sn_print(p, whole, sizeof whole);

    assert_true(len < SN_PRINT_SIZE);
    assert_int_equal(strlen(whole), len);
    for (size_t i = 0; i < len; i++) {
        assert_in_range(whole[i], ' ', '~');
    }
    for (size_t size = 1; size <= len + 1; size += 1 + size / 8) {
        char *part = malloc(size);
        assert_non_null(part);
        const size_t got = sn_print(p, part, size);
        assert_int_equal(got, size - 1);
        assert_int_equal(part[got], '\0');
        assert_memory_equal(part, whole, got);
        free(part);
    }
}

static void every_packet_prints_into_any_room(void **state)
{
    uint8_t inner[300];
    (void)state;

    each_packet(assert_it_prints);
    /* The longest line there is: two fields of octets that all need escaping. */
    memset(filling, 0, sizeof filling);
    const struct sn_packet p = {.type = SN_WILLMSG, .willmsg = {sn_bytes(filling, 200)}};
    const size_t len = sn_encode(&p, inner, sizeof inner);
    assert_it_prints(&(struct sn_packet){
        .type = SN_FORWARD, .forward = {3, sn_bytes(filling, 252), sn_bytes(inner, len)}});
}

/* ---- main ------------------------------------------------------------------ */

static void print_frame(const struct sn_packet *p)
{
    static uint8_t out[SN_PACKET_MAX];
    const size_t len = sn_encode(p, out, sizeof out);
    json_t *line = json_pack("{so so}", "hex", hex_of(sn_bytes(out, len)), "fields", fields_of(p));
    struct sn_packet inner;
    if (p->type == SN_FORWARD && sn_decode(p->forward.inner, &inner) == SN_OK) {
        json_object_set_new(line, "inner", fields_of(&inner));
    }
    (void)json_dumpf(line, stdout, JSON_COMPACT | JSON_SORT_KEYS);
    (void)putchar('\n');
    json_decref(line);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_vector_gives_its_fields_or_its_fault),
        cmocka_unit_test(each_frame_of_two_meanings_is_well_formed_as_its_vector_says),
        cmocka_unit_test(each_vector_is_written_as_it_was_read),
        cmocka_unit_test(each_vector_cut_short_is_refused),
        cmocka_unit_test(a_message_of_the_wrong_size_is_refused),
        cmocka_unit_test(every_type_has_a_name_or_is_refused),
        cmocka_unit_test(a_length_that_disagrees_is_refused),
        cmocka_unit_test(an_unusable_frame_leaves_the_packet_alone),
        cmocka_unit_test(unused_flags_are_ignored),
        cmocka_unit_test(an_answerable_fault_leaves_what_the_answer_needs),
        cmocka_unit_test(of_several_faults_the_incurable_one_is_named),
        cmocka_unit_test(msgid_zero_is_a_fault_only_where_it_is_needed),
        cmocka_unit_test(topic_ids_and_short_names_have_their_own_limits),
        cmocka_unit_test(a_topic_is_checked_wherever_it_is_given),
        cmocka_unit_test(a_client_id_is_text),
        cmocka_unit_test(each_fault_has_a_name_of_its_own),
        cmocka_unit_test(every_node_id_comes_back),
        cmocka_unit_test(what_is_encapsulated_is_one_whole_message),
        cmocka_unit_test(encapsulations_are_opened_one_by_one),
        cmocka_unit_test(every_packet_that_is_written_is_read_as_it_was),
        cmocka_unit_test(length_grows_to_three_octets_when_one_does_not_do),
        cmocka_unit_test(the_largest_message_has_65535_octets),
        cmocka_unit_test(packets_print_as_one_line),
        cmocka_unit_test(long_data_is_cut_and_its_length_told),
        cmocka_unit_test(every_packet_prints_into_any_room),
    };
    if (argc > 1 && strcmp(argv[1], "--frames") == 0) {
        each_packet(print_frame);
        return 0;
    }
    return cmocka_run_group_tests(tests, load_vectors, drop_vectors);
}
