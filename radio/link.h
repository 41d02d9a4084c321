/* A link: what carries whole MQTT-SN frames to and from devices.
 *
 * Every kind of link (UDP socket, serial port, ...) offers the same operations,
 * so that one loop serves any number and mixture of them. A link keeps frame
 * boundaries, tells senders apart by their radio_address, and reports damage as
 * counters. It neither repeats nor orders anything.
 *
 * Single-threaded: call everything from the loop. Nothing here blocks.
 */
#ifndef RADIO_LINK_H
#define RADIO_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RADIO_ADDRESS_SIZE 24
#define RADIO_NEVER        UINT64_MAX

/* Who is at the other end: opaque octets, equal for the same peer on the same
 * link. UDP: family, port, address, scope. Serial: none, len is 0. */
struct radio_address {
    uint8_t len;
    uint8_t bytes[RADIO_ADDRESS_SIZE];
};

/* A set of peers: those whose octets under the mask are those of value. */
struct radio_mask {
    struct radio_address value;
    uint8_t mask[RADIO_ADDRESS_SIZE];
};

static inline bool radio_mask_has(const struct radio_mask *m, const struct radio_address *a)
{
    bool same = m->value.len == a->len;
    for (uint8_t i = 0; same && i < a->len; i++) {
        same = ((m->value.bytes[i] ^ a->bytes[i]) & m->mask[i]) == 0;
    }
    return same;
}

struct radio_counters {
    uint64_t frames_in;
    uint64_t frames_out;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t bad_frames;  /* damaged: checksum, framing, length */
    uint64_t dropped_out; /* could not be sent: buffer full, no route, link down */
    uint64_t dropped_in; /* the kernel says it had no room (SO_RXQ_OVFL); 0 where it does not say */
    uint64_t opens;      /* times the device came (back) up */
    uint64_t losses;     /* times it went away */
};

/* Takes one frame. Both pointers are borrowed for the call. */
typedef void radio_frame_fn(void *ctx, const struct radio_address *from, const uint8_t *frame,
                            size_t len);

struct radio_link; /* each kind has its own definition, which begins with struct radio_base */

struct radio_ops {
    /* The descriptor to watch, or -1 while there is none. May change after
     * receive(), send(), flush() and tick(). */
    int (*fd)(const struct radio_link *l);

    /* Whether to watch for writability as well. */
    bool (*wants_write)(const struct radio_link *l);

    /* The descriptor is ready: hands every frame that has arrived to fn, up to
     * a bound that keeps other links alive. A device that has gone away is
     * closed here and comes back by tick(). */
    void (*receive)(struct radio_link *l, uint64_t now_ms, radio_frame_fn *fn, void *ctx);

    /* Takes a copy of one frame for a peer; it goes out at flush() at the latest.
     * An address of length 0 is everybody on the link: the group, or the wire.
     * 0, -EMSGSIZE, -ENOBUFS or -ENODEV; a refused frame is counted. */
    int (*send)(struct radio_link *l, const struct radio_address *to, const uint8_t *frame,
                size_t len);

    /* End of a turn of the loop, or the descriptor is writable. */
    void (*flush)(struct radio_link *l);

    /* When tick() wants to be called next; RADIO_NEVER if not at all. */
    uint64_t (*deadline)(const struct radio_link *l);
    void (*tick)(struct radio_link *l, uint64_t now_ms);

    /* The peer as text ("192.0.2.7:5000", "" on a wire with one peer). Returns
     * the length, below size. */
    size_t (*print_address)(const struct radio_address *a, char *out, size_t size);

    void (*close)(struct radio_link *l);
};

struct radio_base {
    const struct radio_ops *ops;
    struct radio_counters count;
    bool up; /* frames can pass now */
};

static inline struct radio_base *radio_base(struct radio_link *l)
{
    return (struct radio_base *)(void *)l;
}

#endif
