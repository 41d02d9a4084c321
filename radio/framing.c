#include "radio/framing.h"

#include "radio/crc.h"

#include <assert.h>
#include <string.h>

#define COBS_DELIMITER 0x00
#define COBS_FULL      0xFF /* a block of 254 octets that no 00 follows */

#define SLIP_END     0xC0 /* RFC 1055 */
#define SLIP_ESC     0xDB
#define SLIP_ESC_END 0xDC
#define SLIP_ESC_ESC 0xDD

#define HDLC_FLAG   0x7E /* RFC 1662, 4.1 and 4.2 */
#define HDLC_ESCAPE 0x7D
#define HDLC_FLIP   0x20
#define HDLC_XON    0x11
#define HDLC_XOFF   0x13

#define RAW_LONG_FORM 0x01 /* MQTT-SN 1.2, 5.2.1: two more octets of Length follow */
#define RAW_FORWARDED 0xFE /* MQTT-SN 1.2, 5.5: another message follows the one that ends here */

#define CHECK_SIZE 2

static const char *const framing_names[RADIO_FRAMING_COUNT] = {
    [RADIO_FRAMING_COBS] = "cobs",
    [RADIO_FRAMING_SLIP] = "slip",
    [RADIO_FRAMING_HDLC] = "hdlc",
    [RADIO_FRAMING_RAW] = "raw",
};

const char *radio_framing_name(enum radio_framing framing)
{
    assert((unsigned)framing < RADIO_FRAMING_COUNT);
    return framing_names[framing];
}

bool radio_framing_find(const char *name, enum radio_framing *out)
{
    const size_t len = strlen(name);
    for (unsigned i = 0; i < RADIO_FRAMING_COUNT; i++) {
        if (strlen(framing_names[i]) == len && memcmp(framing_names[i], name, len) == 0) {
            *out = (enum radio_framing)i;
            return true;
        }
    }
    return false;
}

bool radio_framing_is_xonxoff_safe(enum radio_framing framing)
{
    return framing == RADIO_FRAMING_HDLC;
}

const char *radio_deframe_name(enum radio_deframe verdict)
{
    static const char *const names[RADIO_DEFRAME_COUNT] = {
        [RADIO_DEFRAME_MORE] = "more",
        [RADIO_DEFRAME_FRAME] = "frame",
        [RADIO_DEFRAME_BAD_CHECK] = "bad check",
        [RADIO_DEFRAME_BAD_STUFFING] = "bad stuffing",
        [RADIO_DEFRAME_BAD_LENGTH] = "bad length",
        [RADIO_DEFRAME_TOO_SHORT] = "too short",
        [RADIO_DEFRAME_TOO_LONG] = "too long",
        [RADIO_DEFRAME_ABORTED] = "aborted",
        [RADIO_DEFRAME_SILENCE] = "silence",
    };
    assert((unsigned)verdict < RADIO_DEFRAME_COUNT);
    return names[verdict];
}

/* ---- encoding -------------------------------------------------------------- */

size_t radio_framing_bound(enum radio_framing framing, size_t len)
{
    const size_t checked = len + CHECK_SIZE;
    switch (framing) {
    case RADIO_FRAMING_COBS:
        return checked + checked / 254 + 2;
    case RADIO_FRAMING_SLIP:
        return 2 * len + 2;
    case RADIO_FRAMING_HDLC:
        return 2 * checked + 2;
    case RADIO_FRAMING_RAW:
        return len;
    }
    return 0;
}

struct cobs_encoder {
    uint8_t *out;
    size_t len;   /* octets written, with room for the count of the open block */
    size_t count; /* where that count goes */
};

static void cobs_close(struct cobs_encoder *e)
{
    e->out[e->count] = (uint8_t)(e->len - e->count);
    e->count = e->len++;
}

/* A full block is closed by the octet after it, not by its own last octet: data
 * that ends with a full block then needs no empty one behind it. */
static void cobs_put(struct cobs_encoder *e, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (e->len - e->count == COBS_FULL) {
            cobs_close(e);
        }
        if (data[i] == 0) {
            cobs_close(e);
        } else {
            e->out[e->len++] = data[i];
        }
    }
}

static size_t cobs_encode(const uint8_t *frame, size_t len, uint8_t *out)
{
    const uint16_t crc = radio_crc_ccitt(RADIO_CRC_START, frame, len);
    const uint8_t check[CHECK_SIZE] = {(uint8_t)(crc >> 8), (uint8_t)crc};
    struct cobs_encoder e = {.out = out, .len = 1};
    cobs_put(&e, frame, len);
    cobs_put(&e, check, CHECK_SIZE);
    cobs_close(&e);
    out[e.count] = COBS_DELIMITER;
    return e.len;
}

static size_t slip_encode(const uint8_t *frame, size_t len, uint8_t *out)
{
    size_t at = 0;
    out[at++] = SLIP_END; /* ends whatever noise the line has collected */
    for (size_t i = 0; i < len; i++) {
        if (frame[i] == SLIP_END || frame[i] == SLIP_ESC) {
            out[at++] = SLIP_ESC;
            out[at++] = frame[i] == SLIP_END ? SLIP_ESC_END : SLIP_ESC_ESC;
        } else {
            out[at++] = frame[i];
        }
    }
    out[at++] = SLIP_END;
    return at;
}

static size_t hdlc_put(const uint8_t *data, size_t len, uint8_t *out)
{
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == HDLC_FLAG || data[i] == HDLC_ESCAPE || data[i] == HDLC_XON ||
            data[i] == HDLC_XOFF) {
            out[at++] = HDLC_ESCAPE;
            out[at++] = data[i] ^ HDLC_FLIP;
        } else {
            out[at++] = data[i];
        }
    }
    return at;
}

static size_t hdlc_encode(const uint8_t *frame, size_t len, uint8_t *out)
{
    const uint16_t fcs = (uint16_t)~radio_crc_fcs16(RADIO_CRC_START, frame, len);
    const uint8_t check[CHECK_SIZE] = {(uint8_t)fcs, (uint8_t)(fcs >> 8)};
    size_t at = 0;
    out[at++] = HDLC_FLAG;
    at += hdlc_put(frame, len, out + at);
    at += hdlc_put(check, CHECK_SIZE, out + at);
    out[at++] = HDLC_FLAG;
    return at;
}

size_t radio_framing_encode(enum radio_framing framing, const uint8_t *frame, size_t len,
                            uint8_t *out, size_t size)
{
    if (len == 0 || size < radio_framing_bound(framing, len)) {
        return 0;
    }
    switch (framing) {
    case RADIO_FRAMING_COBS:
        return cobs_encode(frame, len, out);
    case RADIO_FRAMING_SLIP:
        return slip_encode(frame, len, out);
    case RADIO_FRAMING_HDLC:
        return hdlc_encode(frame, len, out);
    case RADIO_FRAMING_RAW:
        memcpy(out, frame, len);
        return len;
    }
    return 0;
}

/* ---- decoding -------------------------------------------------------------- */

static void begin(struct radio_deframer *d)
{
    d->have = 0;
    d->skip = false;
    d->escaped = false;
    d->begun = false;
    d->zero = false;
    d->left = 0;
    d->start = 0;
    d->need = 0;
}

void radio_deframer_init(struct radio_deframer *d, enum radio_framing framing, uint8_t *buffer,
                         size_t size)
{
    assert(size > CHECK_SIZE);
    const bool checked = framing == RADIO_FRAMING_COBS || framing == RADIO_FRAMING_HDLC;
    *d = (struct radio_deframer){
        .framing = framing,
        .buffer = buffer,
        .room = checked ? size : size - CHECK_SIZE,
    };
    radio_deframer_restart(d);
}

void radio_deframer_restart(struct radio_deframer *d)
{
    begin(d);
    /* We may have come in the middle of a frame. A check would tell; slip has
     * none, so it waits for the first END. */
    d->skip = d->framing == RADIO_FRAMING_SLIP;
}

/* Everything up to the next delimiter (raw: the next silence) goes unread. */
static enum radio_deframe damage(struct radio_deframer *d, enum radio_deframe reason)
{
    begin(d);
    d->skip = true;
    return reason;
}

static enum radio_deframe keep(struct radio_deframer *d, uint8_t octet)
{
    if (d->have == d->room) {
        return damage(d, RADIO_DEFRAME_TOO_LONG);
    }
    d->buffer[d->have++] = octet;
    return RADIO_DEFRAME_MORE;
}

static enum radio_deframe whole(struct radio_deframer *d, size_t len)
{
    begin(d);
    d->frame = d->buffer;
    d->len = len;
    return RADIO_DEFRAME_FRAME;
}

static enum radio_deframe checked(struct radio_deframer *d, bool good)
{
    const size_t have = d->have;
    begin(d);
    if (have <= CHECK_SIZE) {
        return RADIO_DEFRAME_TOO_SHORT;
    }
    return good ? whole(d, have - CHECK_SIZE) : RADIO_DEFRAME_BAD_CHECK;
}

static enum radio_deframe cobs_end(struct radio_deframer *d)
{
    if (d->skip || !d->begun) {
        begin(d);
        return RADIO_DEFRAME_MORE;
    }
    if (d->left > 0) {
        begin(d);
        return RADIO_DEFRAME_BAD_STUFFING;
    }
    return checked(d, radio_crc_ccitt(RADIO_CRC_START, d->buffer, d->have) == 0);
}

static enum radio_deframe cobs_octet(struct radio_deframer *d, uint8_t octet)
{
    if (octet == COBS_DELIMITER) {
        return cobs_end(d);
    }
    if (d->skip) {
        return RADIO_DEFRAME_MORE;
    }
    if (d->left > 0) {
        d->left--;
        return keep(d, octet);
    }
    /* A count. The 00 that the block before stood for is data only because
     * another block follows it. */
    const bool zero = d->zero;
    d->begun = true;
    d->zero = octet != COBS_FULL;
    d->left = (uint8_t)(octet - 1);
    return zero ? keep(d, 0) : RADIO_DEFRAME_MORE;
}

static enum radio_deframe slip_octet(struct radio_deframer *d, uint8_t octet)
{
    if (octet == SLIP_END) {
        const bool skip = d->skip;
        const bool escaped = d->escaped;
        const size_t have = d->have;
        begin(d);
        if (!skip && escaped) {
            return RADIO_DEFRAME_BAD_STUFFING;
        }
        return skip || have == 0 ? RADIO_DEFRAME_MORE : whole(d, have);
    }
    if (d->skip) {
        return RADIO_DEFRAME_MORE;
    }
    if (d->escaped) {
        d->escaped = false;
        if (octet != SLIP_ESC_END && octet != SLIP_ESC_ESC) {
            return damage(d, RADIO_DEFRAME_BAD_STUFFING);
        }
        return keep(d, octet == SLIP_ESC_END ? SLIP_END : SLIP_ESC);
    }
    if (octet == SLIP_ESC) {
        d->escaped = true;
        return RADIO_DEFRAME_MORE;
    }
    return keep(d, octet);
}

static enum radio_deframe hdlc_octet(struct radio_deframer *d, uint8_t octet)
{
    if (octet == HDLC_FLAG) {
        const bool nothing = d->skip || (d->have == 0 && !d->escaped);
        const bool aborted = d->escaped;
        if (nothing || aborted) {
            begin(d);
            return nothing ? RADIO_DEFRAME_MORE : RADIO_DEFRAME_ABORTED;
        }
        return checked(d, radio_crc_fcs16(RADIO_CRC_START, d->buffer, d->have) ==
                              RADIO_CRC_FCS16_GOOD);
    }
    /* RFC 1662, 4.2: what the sender would have escaped was put in on the way. */
    if (d->skip || octet == HDLC_XON || octet == HDLC_XOFF) {
        return RADIO_DEFRAME_MORE;
    }
    if (d->escaped) {
        d->escaped = false;
        return keep(d, octet ^ HDLC_FLIP);
    }
    if (octet == HDLC_ESCAPE) {
        d->escaped = true;
        return RADIO_DEFRAME_MORE;
    }
    return keep(d, octet);
}

static enum radio_deframe raw_octet(struct radio_deframer *d, uint8_t octet)
{
    if (d->skip) {
        return RADIO_DEFRAME_MORE;
    }
    if (keep(d, octet) != RADIO_DEFRAME_MORE) {
        return RADIO_DEFRAME_TOO_LONG;
    }
    const uint8_t *const message = d->buffer + d->start;
    const size_t have = d->have - d->start;
    const bool long_form = message[0] == RAW_LONG_FORM;
    if (have == (long_form ? 3 : 1)) {
        d->need = long_form ? (size_t)message[1] << 8 | message[2] : message[0];
        if (d->need < (long_form ? 4 : 2)) {
            return damage(d, RADIO_DEFRAME_BAD_LENGTH);
        }
        if (d->need > d->room - d->start) {
            return damage(d, RADIO_DEFRAME_TOO_LONG);
        }
    }
    if (d->need == 0 || have < d->need) {
        return RADIO_DEFRAME_MORE;
    }
    if (message[long_form ? 3 : 1] == RAW_FORWARDED) {
        d->start = d->have;
        d->need = 0;
        return RADIO_DEFRAME_MORE;
    }
    return whole(d, d->have);
}

static enum radio_deframe take_octet(struct radio_deframer *d, uint8_t octet)
{
    switch (d->framing) {
    case RADIO_FRAMING_COBS:
        return cobs_octet(d, octet);
    case RADIO_FRAMING_SLIP:
        return slip_octet(d, octet);
    case RADIO_FRAMING_HDLC:
        return hdlc_octet(d, octet);
    case RADIO_FRAMING_RAW:
        return raw_octet(d, octet);
    }
    return RADIO_DEFRAME_MORE;
}

enum radio_deframe radio_deframer_feed(struct radio_deframer *d, const uint8_t *data, size_t len,
                                       size_t *used)
{
    for (size_t i = 0; i < len; i++) {
        const enum radio_deframe verdict = take_octet(d, data[i]);
        if (verdict != RADIO_DEFRAME_MORE) {
            d->count[verdict]++;
            *used = i + 1;
            return verdict;
        }
    }
    *used = len;
    return RADIO_DEFRAME_MORE;
}

bool radio_deframer_is_inside(const struct radio_deframer *d)
{
    return d->skip || d->have > 0 || d->begun || d->escaped;
}

enum radio_deframe radio_deframer_silence(struct radio_deframer *d)
{
    const bool lost = !d->skip && radio_deframer_is_inside(d);
    begin(d);
    if (!lost) {
        return RADIO_DEFRAME_MORE;
    }
    d->count[RADIO_DEFRAME_SILENCE]++;
    return RADIO_DEFRAME_SILENCE;
}
