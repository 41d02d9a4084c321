/* Any octets, in pieces of any size, into the parser of each framing.
 *
 * The first octet chooses the framing and the limit, the second the size of the
 * pieces; the rest is the stream. What must hold: the pieces make no difference,
 * no frame is longer than the limit, everything consumed is accounted for, and
 * whatever stands before a delimiter does not cost the frame behind it.
 */
#include "radio/framing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(fact)                                                                              \
    do {                                                                                           \
        if (!(fact)) {                                                                             \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #fact);                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define LIMIT_MAX 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct digest {
    uint64_t frames; /* a hash over all frames and their lengths */
    uint64_t count[RADIO_DEFRAME_COUNT];
};

static void add(struct digest *d, const uint8_t *data, size_t len)
{
    d->frames = (d->frames ^ len) * 1099511628211u;
    for (size_t i = 0; i < len; i++) {
        d->frames = (d->frames ^ data[i]) * 1099511628211u;
    }
}

static void feed(struct radio_deframer *d, size_t limit, const uint8_t *data, size_t len,
                 struct digest *out)
{
    while (len > 0) {
        size_t used = 0;
        const enum radio_deframe verdict = radio_deframer_feed(d, data, len, &used);
        REQUIRE(used >= 1 && used <= len);
        REQUIRE(verdict != RADIO_DEFRAME_MORE || used == len);
        data += used;
        len -= used;
        if (verdict == RADIO_DEFRAME_FRAME) {
            REQUIRE(d->len >= 1 && d->len <= limit);
            add(out, d->frame, d->len);
        }
    }
}

static struct digest parse(enum radio_framing framing, size_t limit, size_t piece,
                           const uint8_t *data, size_t size)
{
    struct digest out = {0};
    struct radio_deframer d;
    uint8_t *const buffer = malloc(RADIO_DEFRAMER_BUFFER(limit));
    REQUIRE(buffer != NULL);
    radio_deframer_init(&d, framing, buffer, RADIO_DEFRAMER_BUFFER(limit));
    for (size_t at = 0; at < size; at += piece) {
        feed(&d, limit, data + at, piece < size - at ? piece : size - at, &out);
    }
    memcpy(out.count, d.count, sizeof(out.count));
    free(buffer);
    return out;
}

/* Noise, a delimiter (raw: silence), then a frame that must come out as it went in. */
static void frame_after_noise(enum radio_framing framing, size_t limit, const uint8_t *data,
                              size_t size)
{
    static const uint8_t delimiter[RADIO_FRAMING_COUNT] = {0x00, 0xC0, 0x7E, 0x00};
    uint8_t frame[LIMIT_MAX];
    uint8_t buffer[RADIO_DEFRAMER_BUFFER(LIMIT_MAX)];
    uint8_t octets[2 * LIMIT_MAX + 16];
    struct digest ignored = {0};
    struct digest got = {0};
    struct digest expected = {0};
    struct radio_deframer d;
    size_t len = size % limit + 1;
    len = len > size ? size : len;
    if (framing == RADIO_FRAMING_RAW) {
        len = len > 255 ? 255 : len;
    }
    if (len < 3) {
        return;
    }
    memcpy(frame, data + size - len, len);
    if (framing == RADIO_FRAMING_RAW) {
        frame[0] = (uint8_t)len;
        frame[1] = 0x0C;
    }
    const size_t sent = radio_framing_encode(framing, frame, len, octets, sizeof(octets));
    REQUIRE(sent > 0 && sent <= radio_framing_bound(framing, len));
    radio_deframer_init(&d, framing, buffer, RADIO_DEFRAMER_BUFFER(limit));
    feed(&d, limit, data, size, &ignored);
    if (framing == RADIO_FRAMING_RAW) {
        radio_deframer_silence(&d);
    } else {
        feed(&d, limit, &delimiter[framing], 1, &ignored);
    }
    REQUIRE(!radio_deframer_is_inside(&d));
    feed(&d, limit, octets, sent, &got);
    add(&expected, frame, len);
    REQUIRE(got.frames == expected.frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const enum radio_framing framing = (enum radio_framing)(data[0] % RADIO_FRAMING_COUNT);
    const size_t limit = data[0] / RADIO_FRAMING_COUNT % 2 == 0 ? LIMIT_MAX : 1 + data[0] / 8;
    const size_t piece = 1 + data[1];
    const struct digest whole = parse(framing, limit, size, data + 2, size - 2);
    const struct digest cut = parse(framing, limit, piece, data + 2, size - 2);
    REQUIRE(memcmp(&whole, &cut, sizeof(whole)) == 0);
    frame_after_noise(framing, limit, data + 2, size - 2);
    return 0;
}
