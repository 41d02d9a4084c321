/* Octets: a borrowed run of them, a cursor that reads and a cursor that writes.
 *
 * The only place where numbers are put together from octets and taken apart.
 * Both cursors remember failure: a decoder reads all its fields and asks once
 * at the end. MQTT-SN 1.2, 5.2: 16-bit fields are most significant octet first.
 *
 * A struct sn_bytes never owns what it points to. Borrow for the call, copy to
 * keep.
 */
#ifndef SN_BYTES_H
#define SN_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sn_bytes {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;
};

static inline struct sn_bytes sn_bytes(const void *data, size_t len)
{
    return (struct sn_bytes){.data = data, .len = len};
}

/* The octets of a C string without its terminator. */
static inline struct sn_bytes sn_bytes_text(const char *text)
{
    return sn_bytes(text, strlen(text));
}

static inline bool sn_bytes_equal(struct sn_bytes a, struct sn_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

struct sn_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed; /* something was read beyond the end; everything read since is 0 */
};

static inline struct sn_reader sn_reader(struct sn_bytes b)
{
    return (struct sn_reader){.at = b.data, .end = b.len == 0 ? b.data : b.data + b.len};
}

static inline size_t sn_reader_left(const struct sn_reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline uint8_t sn_read_u8(struct sn_reader *r)
{
    if (r->failed || r->at == r->end) {
        r->failed = true;
        return 0;
    }
    return *r->at++;
}

static inline uint16_t sn_read_u16(struct sn_reader *r)
{
    const unsigned high = sn_read_u8(r);
    return (uint16_t)(high << 8 | sn_read_u8(r));
}

static inline uint32_t sn_read_u32(struct sn_reader *r)
{
    const uint32_t high = sn_read_u16(r);
    return high << 16 | sn_read_u16(r);
}

static inline uint64_t sn_read_u64(struct sn_reader *r)
{
    const uint64_t high = sn_read_u32(r);
    return high << 32 | sn_read_u32(r);
}

/* The next len octets, or nothing and failure when there are fewer. */
static inline struct sn_bytes sn_read_bytes(struct sn_reader *r, size_t len)
{
    if (r->failed || sn_reader_left(r) < len) {
        r->failed = true;
        return (struct sn_bytes){0};
    }
    const struct sn_bytes b = sn_bytes(r->at, len);
    r->at += len;
    return b;
}

/* Everything up to the end; empty when nothing is left. */
static inline struct sn_bytes sn_read_rest(struct sn_reader *r)
{
    return sn_read_bytes(r, r->failed ? 0 : sn_reader_left(r));
}

struct sn_writer {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;
    bool failed; /* something did not fit; nothing was written since */
};

static inline struct sn_writer sn_writer(uint8_t *out, size_t size)
{
    return (struct sn_writer){.start = out, .at = out, .end = out + size};
}

static inline size_t sn_writer_len(const struct sn_writer *w)
{
    return (size_t)(w->at - w->start);
}

static inline void sn_write_u8(struct sn_writer *w, uint8_t value)
{
    if (w->failed || w->at == w->end) {
        w->failed = true;
        return;
    }
    *w->at++ = value;
}

static inline void sn_write_u16(struct sn_writer *w, uint16_t value)
{
    sn_write_u8(w, (uint8_t)(value >> 8));
    sn_write_u8(w, (uint8_t)value);
}

static inline void sn_write_u32(struct sn_writer *w, uint32_t value)
{
    sn_write_u16(w, (uint16_t)(value >> 16));
    sn_write_u16(w, (uint16_t)value);
}

static inline void sn_write_u64(struct sn_writer *w, uint64_t value)
{
    sn_write_u32(w, (uint32_t)(value >> 32));
    sn_write_u32(w, (uint32_t)value);
}

static inline void sn_write_bytes(struct sn_writer *w, struct sn_bytes b)
{
    if (w->failed || (size_t)(w->end - w->at) < b.len) {
        w->failed = true;
        return;
    }
    if (b.len > 0) {
        memcpy(w->at, b.data, b.len);
        w->at += b.len;
    }
}

#endif
