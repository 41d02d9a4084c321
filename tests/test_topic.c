#include "mqttsn/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Calls a check with a copy of exactly the right size, so that the sanitizers
 * see a read beyond its end. */
static enum sn_fault checked(enum sn_fault (*check)(struct sn_bytes), const void *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    const enum sn_fault fault = check(sn_bytes(copy, len));
    free(copy);
    return fault;
}

static void expect(enum sn_fault (*check)(struct sn_bytes), const char *text, enum sn_fault want)
{
    const enum sn_fault got = checked(check, text, strlen(text));
    if (got != want) {
        fail_msg("\"%s\": %s, not %s", text, sn_fault_name(got), sn_fault_name(want));
    }
}

/* The encoder is written here once more, without any table, so that the check
 * is compared with something that cannot share its mistakes. */
static size_t put_utf8(uint32_t c, size_t len, uint8_t *out)
{
    static const uint8_t mark[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    for (size_t i = len; i > 1; i--) {
        out[i - 1] = (uint8_t)(0x80 | (c & 0x3F));
        c >>= 6;
    }
    out[0] = (uint8_t)(mark[len] | c);
    return len;
}

static size_t shortest(uint32_t c)
{
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/* SN12-5.3.12-1: all of Unicode, and nothing else. */
static void every_character_passes_but_surrogates_and_nul(void **state)
{
    uint8_t text[4];
    (void)state;

    for (uint32_t c = 1; c <= 0x10FFFF; c++) {
        const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
        const enum sn_fault want = surrogate ? SN_FAULT_BAD_UTF8 : SN_OK;
        const size_t len = put_utf8(c, shortest(c), text);
        if (sn_utf8_check(sn_bytes(text, len)) != want) {
            fail_msg("U+%04X", c);
        }
    }
    assert_int_equal(checked(sn_utf8_check, "", 1), SN_FAULT_NUL_IN_TOPIC);
}

/* A broker closes the connection that all clients share over one of these. */
static void no_topic_has_control_characters_or_non_characters(void **state)
{
    uint8_t text[6] = "/";
    (void)state;

    for (uint32_t c = 1; c <= 0x10FFFF; c++) {
        const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
        const bool control = c < 0x20 || (c >= 0x7F && c <= 0x9F);
        const bool none = (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
        if (c == '+' || c == '#') {
            continue;
        }
        const size_t len = 1 + put_utf8(c, shortest(c), text + 1);
        const enum sn_fault want = surrogate || control || none ? SN_FAULT_BAD_UTF8 : SN_OK;
        text[len] = 'x';
        if (sn_topic_check_name(sn_bytes(text, len + 1)) != want ||
            sn_topic_check_filter(sn_bytes(text, len + 1)) != want) {
            fail_msg("U+%04X", c);
        }
    }
}

static void values_above_10ffff_are_refused(void **state)
{
    uint8_t text[4];
    (void)state;

    for (uint32_t c = 0x110000; c <= 0x1FFFFF; c++) {
        put_utf8(c, 4, text);
        if (sn_utf8_check(sn_bytes(text, 4)) != SN_FAULT_BAD_UTF8) {
            fail_msg("%X", c);
        }
    }
}

/* An overlong slash or NUL is the classic way around a filter. */
static void overlong_forms_are_refused(void **state)
{
    uint8_t text[4];
    (void)state;

    for (size_t len = 2; len <= 4; len++) {
        const uint32_t end = len == 2 ? 0x80 : len == 3 ? 0x800 : 0x10000;
        for (uint32_t c = 0; c < end; c++) {
            put_utf8(c, len, text);
            if (sn_utf8_check(sn_bytes(text, len)) != SN_FAULT_BAD_UTF8) {
                fail_msg("U+%04X in %zu octets", c, len);
            }
        }
    }
}

static void cut_characters_are_refused(void **state)
{
    static const uint32_t characters[] = {0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF};
    uint8_t text[6];
    (void)state;

    for (size_t i = 0; i < COUNT(characters); i++) {
        const size_t len = put_utf8(characters[i], shortest(characters[i]), text);
        for (size_t cut = 1; cut < len; cut++) {
            assert_int_equal(checked(sn_utf8_check, text, cut), SN_FAULT_BAD_UTF8);
            /* Cut by what follows instead of by the end. */
            uint8_t next[6];
            memcpy(next, text, cut);
            next[cut] = 'a';
            assert_int_equal(checked(sn_utf8_check, next, cut + 1), SN_FAULT_BAD_UTF8);
            next[cut] = 0xC3;
            next[cut + 1] = 0xA9;
            assert_int_equal(checked(sn_utf8_check, next, cut + 2), SN_FAULT_BAD_UTF8);
        }
    }
}

/* What a character's octets hold, by the bit patterns of RFC 3629 alone. */
static bool is_character(const uint8_t *text, size_t len)
{
    const uint8_t lead = (uint8_t)(len == 2 ? 0xC0 : len == 3 ? 0xE0 : 0xF0);
    const uint8_t lead_mask = (uint8_t)(len == 2 ? 0xE0 : len == 3 ? 0xF0 : 0xF8);
    uint32_t c = (uint32_t)(text[0] & ~lead_mask);
    if ((text[0] & lead_mask) != lead) {
        return false;
    }
    for (size_t i = 1; i < len; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return false;
        }
        c = c << 6 | (text[i] & 0x3F);
    }
    return shortest(c) == len && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
}

/* With every second, third and fourth octet there is, not only with those that
 * an encoder would write. */
static void every_longer_sequence_is_a_character_or_refused(void **state)
{
    static const uint8_t later[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF};
    (void)state;

    for (size_t len = 2; len <= 4; len++) {
        for (unsigned first = 0xC0; first <= 0xFF; first++) {
            for (unsigned second = 0; second <= 0xFF; second++) {
                for (size_t i = 0; i < COUNT(later) * COUNT(later); i++) {
                    const uint8_t text[] = {(uint8_t)first, (uint8_t)second,
                                            later[i % COUNT(later)], later[i / COUNT(later)]};
                    const bool whole = len == (first < 0xE0 ? 2u : first < 0xF0 ? 3u : 4u);
                    const bool good = sn_utf8_check(sn_bytes(text, len)) == SN_OK;
                    if (whole && good != is_character(text, len)) {
                        fail_msg("%02X %02X %02X %02X: %d", text[0], text[1], text[2], text[3],
                                 good);
                    }
                }
            }
        }
    }
}

static void octets_that_begin_no_character_are_refused(void **state)
{
    (void)state;

    for (unsigned first = 0x80; first <= 0xFF; first++) {
        if (first >= 0xC2 && first <= 0xF4) {
            continue;
        }
        const uint8_t text[] = {(uint8_t)first, 0x80, 0x80, 0x80, 0x80, 0x80};
        for (size_t len = 1; len <= sizeof text; len++) {
            assert_int_equal(checked(sn_utf8_check, text, len), SN_FAULT_BAD_UTF8);
        }
    }
}

static void a_fault_is_found_behind_good_text(void **state)
{
    (void)state;

    assert_int_equal(checked(sn_utf8_check, "a/b\xC3", 4), SN_FAULT_BAD_UTF8);
    assert_int_equal(checked(sn_utf8_check, "a/\xC3\xA9\x00", 5), SN_FAULT_NUL_IN_TOPIC);
    assert_int_equal(checked(sn_utf8_check, "", 0), SN_OK);
    assert_int_equal(sn_utf8_check(sn_bytes(NULL, 0)), SN_OK);
}

/* SN12-5.3.12-2, SN12-5.3.14-1 */
static void names_are_text_without_wildcards(void **state)
{
    static const char *const good[] = {
        "a", "/", "//", "a/b/c", " ", "$", "$SYS/x", "temp/\xC3\xA9", "a b", "\xEF\xBB\xBF"};
    static const char *const wild[] = {"#", "+", "a/#", "a+b", "a/+/b", "/+", "#a", "$SYS/#"};
    (void)state;

    for (size_t i = 0; i < COUNT(good); i++) {
        expect(sn_topic_check_name, good[i], SN_OK);
    }
    for (size_t i = 0; i < COUNT(wild); i++) {
        expect(sn_topic_check_name, wild[i], SN_FAULT_WILDCARD_IN_NAME);
    }
    expect(sn_topic_check_name, "", SN_FAULT_EMPTY_TOPIC);
    assert_int_equal(checked(sn_topic_check_name, "a\0b", 3), SN_FAULT_NUL_IN_TOPIC);
    assert_int_equal(checked(sn_topic_check_name, "\xC0\xAF", 2), SN_FAULT_BAD_UTF8);
    assert_int_equal(checked(sn_topic_check_name, "+\xFF", 2), SN_FAULT_BAD_UTF8);
}

static void wildcards_stand_alone_and_the_hash_last(void **state)
{
    static const char *const good[] = {"#",   "+",      "+/+",  "/#",      "a/#", "a/+/b", "+/#",
                                       "/+/", "$SYS/#", "a//b", "a/b/c/#", "//#", "a",     "+//"};
    static const char *const bad[] = {"a#",  "#a",     "##",  "#/",       "#/a", "a/#/b",
                                      "a+",  "+a",     "++",  "a/b+",     "+#",  "#+",
                                      "/a#", "a/+b/c", "/#/", "\xC3\xA9#"};
    (void)state;

    for (size_t i = 0; i < COUNT(good); i++) {
        expect(sn_topic_check_filter, good[i], SN_OK);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        expect(sn_topic_check_filter, bad[i], SN_FAULT_BAD_FILTER);
    }
    expect(sn_topic_check_filter, "", SN_FAULT_EMPTY_TOPIC);
    assert_int_equal(checked(sn_topic_check_filter, "#\0", 2), SN_FAULT_NUL_IN_TOPIC);
    assert_int_equal(checked(sn_topic_check_filter, "+/\xED\xA0\x80", 5), SN_FAULT_BAD_UTF8);
}

static void a_name_is_a_filter_without_wildcards(void **state)
{
    (void)state;

    assert_false(sn_topic_has_wildcard(sn_bytes_text("a/b")));
    assert_true(sn_topic_has_wildcard(sn_bytes_text("a/+")));
    assert_true(sn_topic_has_wildcard(sn_bytes_text("#")));
    /* U+042B ends in 0xAB and U+0423 in 0xA3: neither holds 0x2B or 0x23. */
    assert_false(sn_topic_has_wildcard(sn_bytes_text("\xD0\xAB\xD0\xA3")));
}

static void levels_are_what_stands_between_slashes(void **state)
{
    static const struct {
        const char *topic;
        const char *levels[5];
    } cases[] = {
        {"a", {"a"}},         {"a/b", {"a", "b"}}, {"a//b", {"a", "", "b"}},
        {"/", {"", ""}},      {"/a", {"", "a"}},   {"a/", {"a", ""}},
        {"//", {"", "", ""}}, {"", {""}},          {"ab/cde/f", {"ab", "cde", "f"}},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct sn_bytes rest = sn_bytes_text(cases[i].topic);
        struct sn_bytes level;
        bool more = true;
        size_t n = 0;
        while (sn_topic_next_level(&rest, &more, &level)) {
            assert_true(n < COUNT(cases[i].levels) && cases[i].levels[n] != NULL);
            assert_true(sn_bytes_equal(level, sn_bytes_text(cases[i].levels[n])));
            n++;
        }
        assert_null(cases[i].levels[n]);
        assert_false(sn_topic_next_level(&rest, &more, &level));
    }
}

/* The examples of MQTT 3.1.1, 4.7.1 to 4.7.3, and their edges. */
static void filters_match_level_by_level(void **state)
{
    static const struct {
        const char *filter;
        const char *name;
        bool want;
    } cases[] = {
        {"a/b", "a/b", true},
        {"a/b", "a/c", false},
        {"a/b", "a", false},
        {"a", "a/b", false},
        {"a/b", "A/b", false},
        {"a", "ab", false},
        {"ab", "a", false},
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/player1/#", "sport/tennis/player2", false},
        {"sport/tennis/player1/#", "sport/tennis/player11", false},
        {"sport/#", "sport", true},
        {"sport/#", "sports", false},
        {"#", "a", true},
        {"#", "a/b/c", true},
        {"#", "/", true},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+", "finance", true},
        {"+/b", "/b", true},
        {"a/+/b", "a//b", true},
        {"a/+/b", "a/b", false},
        {"a/+/+/b", "a//b", false},
        {"+/#", "a", true},
        {"+/#", "a/b/c", true},
        {"a/+/#", "a", false},
        {"a/+/#", "a/b", true},
        {"a//b", "a//b", true},
        {"a/b", "a//b", false},
        {"a/b/", "a/b", false},
        {"a/b", "a/b/", false},
        {"a/b/+", "a/b/", true},
        {"/#", "a", false},
        {"/#", "/a", true},
        {"/#", "/", true},
        {"//#", "/", true},
        {"temp/+", "temp/\xC3\xA9", true},
        {"temp/\xC3\xA9", "temp/\xC3\xA9", true},
        {"temp/\xC3\xA9", "temp/\xC3\xA8", false},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        expect(sn_topic_check_filter, cases[i].filter, SN_OK);
        expect(sn_topic_check_name, cases[i].name, SN_OK);
        if (sn_topic_matches(sn_bytes_text(cases[i].filter), sn_bytes_text(cases[i].name)) !=
            cases[i].want) {
            fail_msg("\"%s\" and \"%s\"", cases[i].filter, cases[i].name);
        }
    }
}

/* MQTT 3.1.1, 4.7.2 */
static void a_leading_wildcard_does_not_match_a_dollar_topic(void **state)
{
    const struct sn_bytes uptime = sn_bytes_text("$SYS/broker/uptime");
    (void)state;

    assert_false(sn_topic_matches(sn_bytes_text("#"), uptime));
    assert_false(sn_topic_matches(sn_bytes_text("+/#"), uptime));
    assert_false(sn_topic_matches(sn_bytes_text("+/broker/uptime"), uptime));
    assert_false(sn_topic_matches(sn_bytes_text("+"), sn_bytes_text("$")));
    assert_true(sn_topic_matches(sn_bytes_text("$SYS/#"), uptime));
    assert_true(sn_topic_matches(sn_bytes_text("$SYS/+/uptime"), uptime));
    assert_true(sn_topic_matches(sn_bytes_text("$SYS/broker/uptime"), uptime));
    /* Only the first octet of the name counts. */
    assert_true(sn_topic_matches(sn_bytes_text("#"), sn_bytes_text("a/$SYS")));
    assert_true(sn_topic_matches(sn_bytes_text("+/+"), sn_bytes_text("/$SYS")));
}

/* The rules of MQTT once more, recursively and without levels. */
static bool matches(const char *filter, const char *name, bool level_begins)
{
    if (level_begins && filter[0] == '#') {
        return true;
    }
    if (level_begins && filter[0] == '+') {
        while (*name != '\0' && *name != '/') {
            name++;
        }
        return matches(filter + 1, name, false);
    }
    if (*name == '\0') {
        return *filter == '\0' || strcmp(filter, "/#") == 0;
    }
    return *filter == *name && matches(filter + 1, name + 1, *filter == '/');
}

/* Every topic of up to four octets over an alphabet that holds all there is to
 * get wrong, against every filter: both readings of the rules agree. */
static void short_topics_match_like_a_second_reading_of_the_rules(void **state)
{
    static const char alphabet[] = "a/+#$";
    enum { LETTERS = sizeof alphabet - 1, LEN = 4, ALL = 5 + 25 + 125 + 625 };
    size_t pairs = 0;
    (void)state;

    char texts[ALL][LEN + 1];
    size_t count = 0;
    for (size_t len = 1; len <= LEN; len++) {
        size_t all = 1;
        for (size_t i = 0; i < len; i++) {
            all *= LETTERS;
        }
        for (size_t n = 0; n < all; n++) {
            size_t digits = n;
            for (size_t i = 0; i < len; i++) {
                texts[count][i] = alphabet[digits % LETTERS];
                digits /= LETTERS;
            }
            texts[count++][len] = '\0';
        }
    }
    for (size_t f = 0; f < count; f++) {
        const struct sn_bytes filter = sn_bytes_text(texts[f]);
        if (sn_topic_check_filter(filter) != SN_OK) {
            continue;
        }
        for (size_t n = 0; n < count; n++) {
            const struct sn_bytes name = sn_bytes_text(texts[n]);
            if (sn_topic_check_name(name) != SN_OK) {
                continue;
            }
            const bool hidden = texts[n][0] == '$' && (texts[f][0] == '#' || texts[f][0] == '+');
            if (sn_topic_matches(filter, name) != (!hidden && matches(texts[f], texts[n], true))) {
                fail_msg("\"%s\" and \"%s\"", texts[f], texts[n]);
            }
            pairs++;
        }
    }
    assert_true(pairs > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_passes_but_surrogates_and_nul),
        cmocka_unit_test(no_topic_has_control_characters_or_non_characters),
        cmocka_unit_test(values_above_10ffff_are_refused),
        cmocka_unit_test(overlong_forms_are_refused),
        cmocka_unit_test(cut_characters_are_refused),
        cmocka_unit_test(every_longer_sequence_is_a_character_or_refused),
        cmocka_unit_test(octets_that_begin_no_character_are_refused),
        cmocka_unit_test(a_fault_is_found_behind_good_text),
        cmocka_unit_test(names_are_text_without_wildcards),
        cmocka_unit_test(wildcards_stand_alone_and_the_hash_last),
        cmocka_unit_test(a_name_is_a_filter_without_wildcards),
        cmocka_unit_test(levels_are_what_stands_between_slashes),
        cmocka_unit_test(filters_match_level_by_level),
        cmocka_unit_test(a_leading_wildcard_does_not_match_a_dollar_topic),
        cmocka_unit_test(short_topics_match_like_a_second_reading_of_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
