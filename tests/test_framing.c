#include "radio/crc.h"
#include "radio/framing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FRAME_MAX 300

struct parser {
    struct radio_deframer d;
    uint8_t buffer[RADIO_DEFRAMER_BUFFER(FRAME_MAX)];
};

static const enum radio_framing all[] = {RADIO_FRAMING_COBS, RADIO_FRAMING_SLIP, RADIO_FRAMING_HDLC,
                                         RADIO_FRAMING_RAW};

static const enum radio_framing delimited[] = {RADIO_FRAMING_COBS, RADIO_FRAMING_SLIP,
                                               RADIO_FRAMING_HDLC};

static const enum radio_framing checked[] = {RADIO_FRAMING_COBS, RADIO_FRAMING_HDLC};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A fixed sequence of pseudo-random numbers: the same octets in every run. */
static uint32_t rng = 1;

static uint32_t random_below(uint32_t bound)
{
    rng = rng * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)rng * bound) >> 32);
}

static void parser_init(struct parser *p, enum radio_framing framing)
{
    memset(p->buffer, 0xA5, sizeof(p->buffer));
    radio_deframer_init(&p->d, framing, p->buffer, sizeof(p->buffer));
}

/* Feeds octets and writes down, as text, what came out: "frame 0102; bad check; ". */
static const char *events(struct parser *p, const uint8_t *data, size_t len)
{
    static char text[8192];
    size_t at = 0;
    text[0] = '\0';
    while (len > 0) {
        size_t used = 0;
        const enum radio_deframe verdict = radio_deframer_feed(&p->d, data, len, &used);
        assert_in_range(used, 1, len);
        data += used;
        len -= used;
        if (verdict == RADIO_DEFRAME_MORE) {
            assert_int_equal(len, 0);
            break;
        }
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", radio_deframe_name(verdict));
        if (verdict == RADIO_DEFRAME_FRAME) {
            at += (size_t)snprintf(text + at, sizeof(text) - at, " ");
            for (size_t i = 0; i < p->d.len; i++) {
                at += (size_t)snprintf(text + at, sizeof(text) - at, "%02x", p->d.frame[i]);
            }
        }
        at += (size_t)snprintf(text + at, sizeof(text) - at, "; ");
        assert_true(at < sizeof(text));
    }
    return text;
}

#define EVENTS(p, ...)                                                                             \
    events((p), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

#define ASSERT_ENCODES(framing, frame, expected)                                                   \
    do {                                                                                           \
        uint8_t encoded_[64];                                                                      \
        const size_t n_ =                                                                          \
            radio_framing_encode((framing), (frame), sizeof(frame), encoded_, sizeof(encoded_));   \
        assert_int_equal(n_, sizeof(expected));                                                    \
        assert_memory_equal(encoded_, (expected), sizeof(expected));                               \
    } while (0)

/* Strips the delimiter and undoes COBS without looking at the check: an
 * independent decoder, written the way the paper describes the code. */
static size_t plain_cobs(const uint8_t *in, size_t len, uint8_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        const unsigned count = in[i++];
        for (unsigned k = 1; k < count; k++) {
            out[n++] = in[i++];
        }
        if (count < 255 && i < len) {
            out[n++] = 0;
        }
    }
    return n;
}

static void ccitt_of_the_nine_digits_is_29b1(void **state)
{
    const uint8_t digits[] = "123456789";
    (void)state;

    assert_int_equal(radio_crc_ccitt(RADIO_CRC_START, digits, 9), 0x29B1);
    const uint16_t part = radio_crc_ccitt(RADIO_CRC_START, digits, 4);
    assert_int_equal(radio_crc_ccitt(part, digits + 4, 5), 0x29B1);
    const uint8_t sealed[] = {'1', '2', '3', '4', '5', '6', '7', '8', '9', 0x29, 0xB1};
    assert_int_equal(radio_crc_ccitt(RADIO_CRC_START, sealed, sizeof(sealed)), 0);
}

static void fcs16_of_the_nine_digits_is_906e(void **state)
{
    const uint8_t digits[] = "123456789";
    (void)state;

    assert_int_equal((uint16_t)~radio_crc_fcs16(RADIO_CRC_START, digits, 9), 0x906E);
    const uint8_t sealed[] = {'1', '2', '3', '4', '5', '6', '7', '8', '9', 0x6E, 0x90};
    assert_int_equal(radio_crc_fcs16(RADIO_CRC_START, sealed, sizeof(sealed)),
                     RADIO_CRC_FCS16_GOOD);
}

/* The checks worked out bit by bit, apart from the tables under test. */
static uint16_t ccitt_by_bits(const uint8_t *data, size_t len)
{
    uint16_t crc = 0xFFFF;
    for (size_t i = 0; i < len; i++) {
        crc ^= (uint16_t)(data[i] << 8);
        for (int bit = 0; bit < 8; bit++) {
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
        }
    }
    return crc;
}

static void both_checks_agree_with_the_polynomial_bit_by_bit(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 200; n++) {
        uint8_t data[40];
        for (size_t i = 0; i < sizeof(data); i++) {
            data[i] = (uint8_t)random_below(256);
        }
        const size_t len = random_below(sizeof(data));
        assert_int_equal(radio_crc_ccitt(RADIO_CRC_START, data, len), ccitt_by_bits(data, len));
        uint16_t fcs = 0xFFFF;
        for (size_t i = 0; i < len; i++) {
            fcs ^= data[i];
            for (int bit = 0; bit < 8; bit++) {
                fcs = (uint16_t)(fcs & 1 ? fcs >> 1 ^ 0x8408 : fcs >> 1);
            }
        }
        assert_int_equal(radio_crc_fcs16(RADIO_CRC_START, data, len), fcs);
    }
}

static void cobs_frames_are_written_octet_for_octet(void **state)
{
    (void)state;
    const uint8_t pingreq[] = {0x02, 0x16};
    const uint16_t crc = ccitt_by_bits(pingreq, sizeof(pingreq));
    const uint8_t pingreq_sent[] = {0x05, 0x02, 0x16, (uint8_t)(crc >> 8), (uint8_t)crc, 0x00};
    ASSERT_ENCODES(RADIO_FRAMING_COBS, pingreq, pingreq_sent);

    const uint8_t zero[] = {0x00};
    const uint8_t zero_sent[] = {0x01, 0x03, 0xE1, 0xF0, 0x00};
    ASSERT_ENCODES(RADIO_FRAMING_COBS, zero, zero_sent);

    const uint8_t digits[] = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};
    const uint8_t digits_sent[] = {0x0C, '1', '2', '3',  '4',  '5', '6',
                                   '7',  '8', '9', 0x29, 0xB1, 0x00};
    ASSERT_ENCODES(RADIO_FRAMING_COBS, digits, digits_sent);

    const uint8_t inner[] = {0x11, 0x22, 0x00, 0x33};
    const uint16_t inner_crc = ccitt_by_bits(inner, sizeof(inner));
    assert_true((inner_crc >> 8) != 0 && (inner_crc & 0xFF) != 0);
    const uint8_t inner_sent[] = {
        0x03, 0x11, 0x22, 0x04, 0x33, (uint8_t)(inner_crc >> 8), (uint8_t)inner_crc, 0x00};
    ASSERT_ENCODES(RADIO_FRAMING_COBS, inner, inner_sent);
}

static void slip_frames_are_written_as_rfc_1055_says(void **state)
{
    const uint8_t frame[] = {0x01, 0xC0, 0xDB, 0xDC};
    const uint8_t sent[] = {0xC0, 0x01, 0xDB, 0xDC, 0xDB, 0xDD, 0xDC, 0xC0};
    struct parser p;
    (void)state;

    ASSERT_ENCODES(RADIO_FRAMING_SLIP, frame, sent);
    parser_init(&p, RADIO_FRAMING_SLIP);
    assert_string_equal(events(&p, sent, sizeof(sent)), "frame 01c0dbdc; ");
}

static void hdlc_frames_are_written_as_rfc_1662_says(void **state)
{
    const uint8_t digits[] = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};
    const uint8_t digits_sent[] = {0x7E, '1', '2', '3',  '4',  '5', '6',
                                   '7',  '8', '9', 0x6E, 0x90, 0x7E};
    (void)state;

    ASSERT_ENCODES(RADIO_FRAMING_HDLC, digits, digits_sent);

    const uint8_t stuffed[] = {0x7E, 0x7D, 0x11, 0x13};
    uint8_t out[32];
    const size_t n = radio_framing_encode(RADIO_FRAMING_HDLC, stuffed, 4, out, sizeof(out));
    const uint8_t begins[] = {0x7E, 0x7D, 0x5E, 0x7D, 0x5D, 0x7D, 0x31, 0x7D, 0x33};
    assert_true(n >= sizeof(begins) + 3);
    assert_memory_equal(out, begins, sizeof(begins));
}

static void hdlc_never_sends_the_octets_of_flow_control(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            const uint8_t frame[] = {(uint8_t)first, (uint8_t)second};
            uint8_t out[16];
            const size_t n = radio_framing_encode(RADIO_FRAMING_HDLC, frame, 2, out, sizeof(out));
            assert_null(memchr(out, 0x11, n));
            assert_null(memchr(out, 0x13, n));
        }
    }
    assert_true(radio_framing_is_xonxoff_safe(RADIO_FRAMING_HDLC));
    assert_false(radio_framing_is_xonxoff_safe(RADIO_FRAMING_COBS));
}

static void hdlc_ignores_flow_control_put_in_on_the_way(void **state)
{
    const uint8_t sent[] = {0x7E, '1', '2', 0x11, '3',  '4',  0x13, '5',
                            '6',  '7', '8', '9',  0x6E, 0x90, 0x7E};
    struct parser p;
    (void)state;

    parser_init(&p, RADIO_FRAMING_HDLC);
    assert_string_equal(events(&p, sent, sizeof(sent)), "frame 313233343536373839; ");
}

/* The vectors of the COBS paper, told apart from the check by a decoder of the test's own. */
static void cobs_stuffing_has_the_published_shape(void **state)
{
    uint8_t frame[600];
    uint8_t out[700];
    uint8_t back[700];
    (void)state;

    for (size_t len = 1; len <= sizeof(frame); len++) {
        for (int zeroes = 0; zeroes < 3; zeroes++) {
            for (size_t i = 0; i < len; i++) {
                frame[i] = zeroes == 1 && i % 254 == 253 ? 0
                           : zeroes == 2                 ? 0
                                                         : (uint8_t)(i % 255 + 1);
            }
            const size_t n = radio_framing_encode(RADIO_FRAMING_COBS, frame, len, out, sizeof(out));
            assert_true(n > 0 && n <= radio_framing_bound(RADIO_FRAMING_COBS, len));
            assert_ptr_equal(memchr(out, 0, n), out + n - 1);
            assert_int_equal(plain_cobs(out, n - 1, back), len + 2);
            assert_memory_equal(back, frame, len);
        }
    }
}

/* Both ways to end data with a full block are in use: with and without an empty
 * block behind it. */
static void cobs_takes_a_full_last_block_in_both_spellings(void **state)
{
    uint8_t data[254];
    (void)state;

    /* Look for 252 octets whose check has no 00 either, so that the block is full. */
    uint16_t crc = 0;
    do {
        for (size_t i = 0; i < 252; i++) {
            data[i] = (uint8_t)(random_below(255) + 1);
        }
        crc = ccitt_by_bits(data, 252);
    } while ((crc & 0xFF) == 0 || crc >> 8 == 0);

    uint8_t out[300];
    const size_t n = radio_framing_encode(RADIO_FRAMING_COBS, data, 252, out, sizeof(out));
    assert_int_equal(n, 1 + 254 + 1);
    assert_int_equal(out[0], 0xFF);
    struct parser p;
    size_t used = 0;
    parser_init(&p, RADIO_FRAMING_COBS);
    assert_int_equal(radio_deframer_feed(&p.d, out, n, &used), RADIO_DEFRAME_FRAME);
    assert_int_equal(p.d.len, 252);
    assert_memory_equal(p.d.frame, data, 252);

    out[255] = 0x01;
    out[256] = 0x00;
    assert_int_equal(radio_deframer_feed(&p.d, out, 257, &used), RADIO_DEFRAME_FRAME);
    assert_int_equal(used, 257);
    assert_int_equal(p.d.len, 252);
    assert_memory_equal(p.d.frame, data, 252);
}

static size_t random_frame(uint8_t *frame, size_t max, enum radio_framing framing)
{
    const uint8_t nasty[] = {0x00, 0xC0, 0xDB, 0xDC, 0xDD, 0x7E, 0x7D, 0x11, 0x13, 0xFF};
    const size_t len = 2 + random_below((uint32_t)max - 1);
    for (size_t i = 0; i < len; i++) {
        frame[i] =
            random_below(3) == 0 ? nasty[random_below(sizeof(nasty))] : (uint8_t)random_below(256);
    }
    if (framing == RADIO_FRAMING_RAW) {
        if (len < 256) {
            frame[0] = (uint8_t)len;
            frame[1] = 0x0C;
        } else {
            frame[0] = 0x01;
            frame[1] = (uint8_t)(len >> 8);
            frame[2] = (uint8_t)len;
            frame[3] = 0x0C;
        }
    }
    return len;
}

static void every_frame_comes_back_however_the_stream_is_cut(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(all); k++) {
        struct parser p;
        parser_init(&p, all[k]);
        for (unsigned n = 0; n < 2000; n++) {
            uint8_t frame[FRAME_MAX];
            uint8_t out[2 * FRAME_MAX + 8];
            const size_t len = random_frame(frame, FRAME_MAX, all[k]);
            const size_t sent = radio_framing_encode(all[k], frame, len, out, sizeof(out));
            assert_in_range(sent, len, radio_framing_bound(all[k], len));
            unsigned frames = 0;
            for (size_t at = 0; at < sent;) {
                size_t piece = 1 + random_below(40);
                piece = piece > sent - at ? sent - at : piece;
                size_t used = 0;
                if (radio_deframer_feed(&p.d, out + at, piece, &used) == RADIO_DEFRAME_FRAME) {
                    frames++;
                    assert_int_equal(p.d.len, len);
                    assert_memory_equal(p.d.frame, frame, len);
                }
                at += used;
            }
            assert_int_equal(frames, 1);
        }
        assert_int_equal(p.d.count[RADIO_DEFRAME_FRAME], 2000);
        for (unsigned v = RADIO_DEFRAME_FRAME + 1; v < RADIO_DEFRAME_COUNT; v++) {
            assert_int_equal(p.d.count[v], 0);
        }
    }
}

static void delimiters_with_nothing_between_mean_nothing(void **state)
{
    struct parser p;
    (void)state;

    parser_init(&p, RADIO_FRAMING_COBS);
    assert_string_equal(EVENTS(&p, 0, 0, 0, 1, 3, 0xE1, 0xF0, 0, 0, 0), "frame 00; ");
    parser_init(&p, RADIO_FRAMING_SLIP);
    assert_string_equal(EVENTS(&p, 0xC0, 0xC0, 7, 0xC0, 0xC0, 8, 0xC0), "frame 07; frame 08; ");
    parser_init(&p, RADIO_FRAMING_HDLC);
    assert_string_equal(EVENTS(&p, 0x7E, 0x7E, 0x7E, 0x7E), "");
}

static void each_kind_of_damage_has_its_name(void **state)
{
    struct parser p;
    (void)state;

    parser_init(&p, RADIO_FRAMING_COBS);
    assert_string_equal(EVENTS(&p, 1, 3, 0xE1, 0xF1, 0), "bad check; ");
    assert_string_equal(EVENTS(&p, 9, 1, 2, 0), "bad stuffing; ");
    assert_string_equal(EVENTS(&p, 2, 1, 0), "too short; ");
    assert_string_equal(EVENTS(&p, 3, 0xFF, 0xFF, 0), "too short; ");
    assert_string_equal(EVENTS(&p, 1, 3, 0xE1, 0xF0, 0), "frame 00; ");
    assert_int_equal(p.d.count[RADIO_DEFRAME_TOO_SHORT], 2);
    assert_int_equal(p.d.count[RADIO_DEFRAME_FRAME], 1);

    parser_init(&p, RADIO_FRAMING_SLIP);
    assert_string_equal(EVENTS(&p, 0xC0, 1, 0xDB, 2, 3, 0xC0, 4, 0xC0), "bad stuffing; frame 04; ");
    assert_string_equal(EVENTS(&p, 1, 0xDB, 0xC0, 4, 0xC0), "bad stuffing; frame 04; ");

    parser_init(&p, RADIO_FRAMING_HDLC);
    assert_string_equal(EVENTS(&p, 0x7E, 1, 2, 3, 4, 5, 0x7D, 0x7E, 9, 0x7E),
                        "aborted; too short; ");
    assert_string_equal(EVENTS(&p, '1', '2', '3', 0x6E, 0x90, 0x7E), "bad check; ");

    parser_init(&p, RADIO_FRAMING_RAW);
    assert_string_equal(EVENTS(&p, 0, 2, 0x16), "bad length; ");
    assert_int_equal(radio_deframer_silence(&p.d), RADIO_DEFRAME_MORE);
    assert_string_equal(EVENTS(&p, 1, 0, 3, 0x16), "bad length; ");
    assert_int_equal(radio_deframer_silence(&p.d), RADIO_DEFRAME_MORE);
    assert_string_equal(EVENTS(&p, 1, 0x10, 0, 0x16), "too long; ");
    assert_int_equal(radio_deframer_silence(&p.d), RADIO_DEFRAME_MORE);
    assert_string_equal(EVENTS(&p, 2, 0x16), "frame 0216; ");
}

static void a_frame_of_exactly_the_limit_passes_and_one_more_octet_does_not(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(all); k++) {
        for (size_t len = FRAME_MAX - 1; len <= FRAME_MAX + 1; len++) {
            uint8_t frame[FRAME_MAX + 1];
            uint8_t out[2 * FRAME_MAX + 16];
            memset(frame, 0x55, sizeof(frame));
            frame[0] = 1;
            frame[1] = (uint8_t)(len >> 8);
            frame[2] = (uint8_t)len;
            const size_t sent = radio_framing_encode(all[k], frame, len, out, sizeof(out));
            struct parser p;
            parser_init(&p, all[k]);
            const char *const what = events(&p, out, sent);
            if (len > FRAME_MAX) {
                assert_string_equal(what, "too long; ");
            } else {
                assert_int_equal(strncmp(what, "frame 01", 8), 0);
                assert_int_equal(p.d.len, len);
            }
        }
    }
}

static void endless_noise_without_a_delimiter_is_one_damage(void **state)
{
    const uint8_t good[] = {0x01, 0x03, 0xE1, 0xF0, 0x00};
    uint8_t noise[5000];
    struct parser p;
    (void)state;

    memset(noise, 0x41, sizeof(noise));
    parser_init(&p, RADIO_FRAMING_COBS);
    assert_string_equal(events(&p, noise, sizeof(noise)), "too long; ");
    assert_string_equal(EVENTS(&p, 0), "");
    assert_string_equal(events(&p, good, sizeof(good)), "frame 00; ");
}

/* Noise, one delimiter, frame: the frame must come out, whatever the noise was. */
static void a_frame_after_noise_and_one_delimiter_is_received(void **state)
{
    const uint8_t delimiters[] = {0x00, 0xC0, 0x7E};
    (void)state;

    for (size_t k = 0; k < COUNT(delimited); k++) {
        struct parser p;
        parser_init(&p, delimited[k]);
        for (unsigned n = 0; n < 3000; n++) {
            uint8_t stream[1200];
            uint8_t frame[100];
            size_t at = random_below(400);
            for (size_t i = 0; i < at; i++) {
                stream[i] = (uint8_t)random_below(256);
            }
            stream[at++] = delimiters[k];
            const size_t len = random_frame(frame, sizeof(frame), delimited[k]);
            at += radio_framing_encode(delimited[k], frame, len, stream + at, sizeof(stream) - at);
            bool seen = false;
            for (size_t from = 0; from < at;) {
                size_t used = 0;
                if (radio_deframer_feed(&p.d, stream + from, at - from, &used) ==
                    RADIO_DEFRAME_FRAME) {
                    seen = p.d.len == len && memcmp(p.d.frame, frame, len) == 0;
                }
                from += used;
            }
            assert_true(seen);
        }
    }
}

/* Any burst of damage inside 16 bits is noticed for certain; what else was done
 * to a frame passes once in 65536 times. The sequence is fixed, so is the outcome. */
static void damaged_frames_are_not_handed_out_when_there_is_a_check(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(checked); k++) {
        struct parser p;
        parser_init(&p, checked[k]);
        unsigned wrong = 0;
        for (unsigned n = 0; n < 20000; n++) {
            uint8_t frame[60];
            uint8_t out[200];
            const size_t len = random_frame(frame, sizeof(frame), checked[k]);
            size_t sent = radio_framing_encode(checked[k], frame, len, out, sizeof(out));
            const uint32_t where = random_below((uint32_t)sent - 1);
            switch (random_below(4)) {
            case 0:
                out[where] ^= (uint8_t)(1u << random_below(8));
                break;
            case 1:
                out[where] = (uint8_t)random_below(256);
                break;
            case 2: /* an octet lost */
                memmove(out + where, out + where + 1, sent - where - 1);
                sent--;
                break;
            case 3: /* an octet too many */
                memmove(out + where + 1, out + where, sent - where);
                out[where] = (uint8_t)random_below(256);
                sent++;
                break;
            }
            for (size_t at = 0; at < sent;) {
                size_t used = 0;
                if (radio_deframer_feed(&p.d, out + at, sent - at, &used) == RADIO_DEFRAME_FRAME &&
                    (p.d.len != len || memcmp(p.d.frame, frame, len) != 0)) {
                    wrong++;
                }
                at += used;
            }
        }
        assert_in_range(wrong, 0, 3);
        assert_true(p.d.count[RADIO_DEFRAME_BAD_CHECK] > 5000);
    }
}

static void silence_ends_an_unfinished_frame_and_the_next_one_is_whole(void **state)
{
    struct parser p;
    (void)state;

    parser_init(&p, RADIO_FRAMING_COBS);
    assert_false(radio_deframer_is_inside(&p.d));
    assert_string_equal(EVENTS(&p, 9, 1, 2), "");
    assert_true(radio_deframer_is_inside(&p.d));
    assert_int_equal(radio_deframer_silence(&p.d), RADIO_DEFRAME_SILENCE);
    assert_false(radio_deframer_is_inside(&p.d));
    assert_int_equal(radio_deframer_silence(&p.d), RADIO_DEFRAME_MORE);
    assert_string_equal(EVENTS(&p, 1, 3, 0xE1, 0xF0, 0), "frame 00; ");
    assert_int_equal(p.d.count[RADIO_DEFRAME_SILENCE], 1);

    parser_init(&p, RADIO_FRAMING_RAW);
    assert_string_equal(EVENTS(&p, 9, 0x0C, 2), "");
    assert_int_equal(radio_deframer_silence(&p.d), RADIO_DEFRAME_SILENCE);
    assert_string_equal(EVENTS(&p, 2, 0x17, 3, 0x01, 0x00), "frame 0217; frame 030100; ");
}

static void slip_does_not_deliver_the_tail_of_a_frame_that_was_under_way(void **state)
{
    struct parser p;
    (void)state;

    parser_init(&p, RADIO_FRAMING_SLIP);
    assert_string_equal(EVENTS(&p, 5, 6, 0xC0, 0xC0, 7, 8, 0xC0), "frame 0708; ");
}

/* MQTT-SN 1.2, 5.5: Length of the encapsulation ends at the node id; the message
 * behind it belongs to the same frame. */
static void raw_keeps_an_encapsulation_and_its_message_together(void **state)
{
    struct parser p;
    (void)state;

    parser_init(&p, RADIO_FRAMING_RAW);
    assert_string_equal(EVENTS(&p, 4, 0xFE, 0, 0x2A, 2, 0x16, 2, 0x17),
                        "frame 04fe002a0216; frame 0217; ");
    assert_string_equal(EVENTS(&p, 1, 0, 6, 0xFE, 0, 0x2A, 1, 0, 4, 0x16, 2, 0x17),
                        "frame 010006fe002a01000416; frame 0217; ");
}

static void what_does_not_fit_is_not_written(void **state)
{
    const uint8_t frame[] = {1, 2, 3};
    (void)state;

    for (size_t k = 0; k < COUNT(all); k++) {
        const size_t bound = radio_framing_bound(all[k], sizeof(frame));
        uint8_t out[32];
        memset(out, 0x77, sizeof(out));
        assert_int_equal(radio_framing_encode(all[k], frame, 3, out, bound - 1), 0);
        assert_int_equal(radio_framing_encode(all[k], frame, 0, out, sizeof(out)), 0);
        for (size_t i = 0; i < sizeof(out); i++) {
            assert_int_equal(out[i], 0x77);
        }
        assert_true(radio_framing_encode(all[k], frame, 3, out, bound) > 0);
        assert_int_equal(out[bound], 0x77);
    }
}

/* The worst frame for each framing needs the bound exactly, so the bound is not
 * generous by accident. */
static void the_bound_is_reached_by_the_worst_frame(void **state)
{
    uint8_t worst[300];
    uint8_t out[700];
    (void)state;

    memset(worst, 0xC0, sizeof(worst));
    assert_int_equal(radio_framing_encode(RADIO_FRAMING_SLIP, worst, 300, out, sizeof(out)),
                     radio_framing_bound(RADIO_FRAMING_SLIP, 300));
    for (size_t i = 0; i < sizeof(worst); i++) {
        worst[i] = (uint8_t)(i % 200 + 1);
    }
    assert_int_equal(radio_framing_encode(RADIO_FRAMING_COBS, worst, 300, out, sizeof(out)),
                     radio_framing_bound(RADIO_FRAMING_COBS, 300));
}

static void framings_are_found_by_their_names(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(all); k++) {
        enum radio_framing found = RADIO_FRAMING_COBS;
        assert_true(radio_framing_find(radio_framing_name(all[k]), &found));
        assert_int_equal(found, all[k]);
    }
    enum radio_framing untouched = RADIO_FRAMING_HDLC;
    assert_false(radio_framing_find("cob", &untouched));
    assert_false(radio_framing_find("", &untouched));
    assert_int_equal(untouched, RADIO_FRAMING_HDLC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ccitt_of_the_nine_digits_is_29b1),
        cmocka_unit_test(fcs16_of_the_nine_digits_is_906e),
        cmocka_unit_test(both_checks_agree_with_the_polynomial_bit_by_bit),
        cmocka_unit_test(cobs_frames_are_written_octet_for_octet),
        cmocka_unit_test(slip_frames_are_written_as_rfc_1055_says),
        cmocka_unit_test(hdlc_frames_are_written_as_rfc_1662_says),
        cmocka_unit_test(hdlc_never_sends_the_octets_of_flow_control),
        cmocka_unit_test(hdlc_ignores_flow_control_put_in_on_the_way),
        cmocka_unit_test(cobs_stuffing_has_the_published_shape),
        cmocka_unit_test(cobs_takes_a_full_last_block_in_both_spellings),
        cmocka_unit_test(every_frame_comes_back_however_the_stream_is_cut),
        cmocka_unit_test(delimiters_with_nothing_between_mean_nothing),
        cmocka_unit_test(each_kind_of_damage_has_its_name),
        cmocka_unit_test(a_frame_of_exactly_the_limit_passes_and_one_more_octet_does_not),
        cmocka_unit_test(endless_noise_without_a_delimiter_is_one_damage),
        cmocka_unit_test(a_frame_after_noise_and_one_delimiter_is_received),
        cmocka_unit_test(damaged_frames_are_not_handed_out_when_there_is_a_check),
        cmocka_unit_test(silence_ends_an_unfinished_frame_and_the_next_one_is_whole),
        cmocka_unit_test(slip_does_not_deliver_the_tail_of_a_frame_that_was_under_way),
        cmocka_unit_test(raw_keeps_an_encapsulation_and_its_message_together),
        cmocka_unit_test(what_does_not_fit_is_not_written),
        cmocka_unit_test(the_bound_is_reached_by_the_worst_frame),
        cmocka_unit_test(framings_are_found_by_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
