#include "mqttsn/topic.h"

/* How many octets may follow the first one of a character, and the range of the
 * second one, which alone tells overlong forms, surrogates and values above
 * U+10FFFF (Unicode, table 3-7). */
struct utf8_form {
    uint8_t first_low, first_high;
    uint8_t more;
    uint8_t second_low, second_high;
};

static const struct utf8_form utf8_forms[] = {
    {0x01, 0x7F, 0, 0, 0},       {0xC2, 0xDF, 1, 0x80, 0xBF}, {0xE0, 0xE0, 2, 0xA0, 0xBF},
    {0xE1, 0xEC, 2, 0x80, 0xBF}, {0xED, 0xED, 2, 0x80, 0x9F}, {0xEE, 0xEF, 2, 0x80, 0xBF},
    {0xF0, 0xF0, 3, 0x90, 0xBF}, {0xF1, 0xF3, 3, 0x80, 0xBF}, {0xF4, 0xF4, 3, 0x80, 0x8F},
};

static const struct utf8_form *find_form(uint8_t first)
{
    for (size_t i = 0; i < sizeof utf8_forms / sizeof *utf8_forms; i++) {
        if (first >= utf8_forms[i].first_low && first <= utf8_forms[i].first_high) {
            return &utf8_forms[i];
        }
    }
    return NULL;
}

enum sn_fault sn_utf8_check(struct sn_bytes text)
{
    struct sn_reader r = sn_reader(text);

    while (sn_reader_left(&r) > 0) {
        const uint8_t first = sn_read_u8(&r);
        if (first == 0) {
            return SN_FAULT_NUL_IN_TOPIC;
        }
        const struct utf8_form *form = find_form(first);
        if (form == NULL) {
            return SN_FAULT_BAD_UTF8;
        }
        for (uint8_t i = 0; i < form->more; i++) {
            /* A read beyond the end gives 0, which lies in no range. */
            const uint8_t next = sn_read_u8(&r);
            if (next < (i == 0 ? form->second_low : 0x80) ||
                next > (i == 0 ? form->second_high : 0xBF)) {
                return SN_FAULT_BAD_UTF8;
            }
        }
    }
    return SN_OK;
}

static bool is_wildcard(uint8_t octet)
{
    return octet == '+' || octet == '#';
}

/* In UTF-8 no octet of a longer character looks like an ASCII one, so that
 * octets can be searched for slashes and wildcards without decoding. */
bool sn_topic_has_wildcard(struct sn_bytes filter)
{
    for (size_t i = 0; i < filter.len; i++) {
        if (is_wildcard(filter.data[i])) {
            return true;
        }
    }
    return false;
}

/* MQTT 3.1.1, 1.5.3: control characters and non-characters SHOULD NOT be in a
 * topic, and whoever receives one MAY close the connection, as brokers do. That
 * connection carries the messages of all clients, so that none of them may
 * cause it. The text is valid UTF-8. */
static bool may_offend_a_broker(struct sn_bytes text)
{
    const uint8_t *t = text.data;

    for (size_t i = 0; i < text.len; i++) {
        if (t[i] < 0x20 || t[i] == 0x7F || (t[i] == 0xC2 && t[i + 1] < 0xA0)) {
            return true; /* U+0001 to U+001F, U+007F to U+009F */
        }
        if (t[i] == 0xEF && t[i + 1] == 0xB7 && t[i + 2] >= 0x90 && t[i + 2] <= 0xAF) {
            return true; /* U+FDD0 to U+FDEF */
        }
        if (i >= 2 && t[i] >= 0xBE && t[i - 1] == 0xBF &&
            (t[i - 2] == 0xEF || (i >= 3 && t[i - 3] >= 0xF0 && (t[i - 2] & 0x0F) == 0x0F))) {
            return true; /* the last two of each plane, U+FFFE to U+10FFFF */
        }
    }
    return false;
}

static enum sn_fault check_text(struct sn_bytes topic)
{
    if (topic.len == 0) {
        return SN_FAULT_EMPTY_TOPIC;
    }
    const enum sn_fault fault = sn_utf8_check(topic);
    return fault == SN_OK && may_offend_a_broker(topic) ? SN_FAULT_BAD_UTF8 : fault;
}

enum sn_fault sn_topic_check_name(struct sn_bytes name)
{
    const enum sn_fault fault = check_text(name);
    if (fault != SN_OK) {
        return fault;
    }
    return sn_topic_has_wildcard(name) ? SN_FAULT_WILDCARD_IN_NAME : SN_OK;
}

enum sn_fault sn_topic_check_filter(struct sn_bytes filter)
{
    const enum sn_fault fault = check_text(filter);
    if (fault != SN_OK) {
        return fault;
    }
    struct sn_bytes level;
    bool more = true;
    while (sn_topic_next_level(&filter, &more, &level)) {
        if (!sn_topic_has_wildcard(level)) {
            continue;
        }
        if (level.len > 1 || (level.data[0] == '#' && more)) {
            return SN_FAULT_BAD_FILTER;
        }
    }
    return SN_OK;
}

bool sn_topic_next_level(struct sn_bytes *rest, bool *more, struct sn_bytes *level)
{
    if (!*more) {
        return false;
    }
    struct sn_reader r = sn_reader(*rest);
    size_t len = 0;
    while (len < rest->len && rest->data[len] != '/') {
        len++;
    }
    *more = len < rest->len;
    *level = sn_read_bytes(&r, len);
    if (*more) {
        sn_read_u8(&r); /* the slash */
    }
    *rest = sn_read_rest(&r);
    return true;
}

bool sn_topic_matches(struct sn_bytes filter, struct sn_bytes name)
{
    /* MQTT 3.1.1, 4.7.2: the server's own topics are not for "#" and "+/...". */
    if (name.data[0] == '$' && is_wildcard(filter.data[0])) {
        return false;
    }
    struct sn_bytes want;
    struct sn_bytes have;
    bool filter_more = true;
    bool name_more = true;
    while (sn_topic_next_level(&filter, &filter_more, &want)) {
        /* "#" stands for any number of levels, also none: "a/#" matches "a". */
        if (want.len == 1 && want.data[0] == '#') {
            return true;
        }
        if (!sn_topic_next_level(&name, &name_more, &have)) {
            return false;
        }
        const bool any = want.len == 1 && want.data[0] == '+';
        if (!any && !sn_bytes_equal(want, have)) {
            return false;
        }
    }
    return !name_more;
}
