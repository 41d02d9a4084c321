/* What goes over a slow link next, and when.
 *
 * Octets that have been given to a tty or a modem cannot be overtaken, so the
 * queue is kept here and the link below gets one frame at a time, when the air
 * is free for it. Acknowledgements go first, then control, then messages by
 * class; within one priority first come, first served. A frame that has waited
 * for age_ms counts as one priority higher, and so on up to control, so that
 * nothing starves.
 *
 * A repetition replaces its copy that is still queued: put both under the same
 * key. Retry timers start at left_ms, when the last bit has left, not when a
 * frame was queued.
 *
 * The air is modelled, not measured: a frame takes overhead_bits and
 * bits_per_octet for each octet, at bits_per_s. With bits_per_s 0 it takes no
 * time and everything passes at once. A duty cycle, where the law or a
 * modem sets one, is kept over every 60 minutes, counted in whole minutes and
 * never in our favour.
 *
 * Times are milliseconds on the caller's monotonic clock. All memory is handed
 * in; when it is full the lowest priority yields, the newest first, and is
 * counted.
 */
#ifndef RADIO_PACER_H
#define RADIO_PACER_H

#include "radio/link.h"

#define RADIO_PACER_ACK        0u       /* PUBACK, PUBREC, ...: they stop repetitions */
#define RADIO_PACER_CONTROL    1u       /* CONNACK, REGISTER, PINGRESP, ... */
#define RADIO_PACER_CLASS(n)   (2u + n) /* messages of class 0 (first) to 7 (last) */
#define RADIO_PACER_PRIORITIES 10u

#define RADIO_PACER_NO_KEY 0u /* replaces nothing and is replaced by nothing */

#define RADIO_PACER_FRAME_MAX 65535u
#define RADIO_PACER_SLOTS_MAX 32768u

#define RADIO_PACER_WINDOW_MINUTES 61 /* 60 whole ones, and the one that has begun */

struct radio_pacer_options {
    uint32_t bits_per_s;     /* 0: frames take no time */
    uint32_t overhead_bits;  /* of every frame: key-up, preamble, headers, framing */
    uint8_t bits_per_octet;  /* 10 on a UART with 8N1; 0 means 8 */
    uint16_t duty_per_mille; /* share of the air that we may use; 0 or 1000: all of it */
    uint32_t age_ms;         /* 0: priorities are strict */
    uint32_t frame_max;      /* octets of the longest frame, 1 to RADIO_PACER_FRAME_MAX */
    uint32_t slots;          /* frames that can be queued, 1 to RADIO_PACER_SLOTS_MAX */
};

struct radio_pacer_counters {
    uint64_t taken;
    uint64_t replaced;                     /* a newer copy took the place */
    uint64_t too_long;                     /* refused for good */
    uint64_t full[RADIO_PACER_PRIORITIES]; /* refused or pushed out for want of room */
};

struct radio_pacer_slot; /* private */

struct radio_pacer {
    struct radio_pacer_counters count;
    uint32_t queued; /* frames that wait */

    /* Private from here on. */
    struct radio_pacer_options options;
    struct radio_pacer_slot *slots;
    uint8_t *octets;   /* frame_max for each slot */
    uint16_t *buckets; /* slots by the hash of their key */
    uint32_t bucket_bits;
    uint16_t free; /* first slot that is not in use */
    struct {
        uint16_t first, last;
    } line[RADIO_PACER_PRIORITIES];
    uint64_t free_us;                             /* when the air is free of our last frame */
    uint64_t hold_ms;                             /* when it is free of others */
    uint32_t used_us[RADIO_PACER_WINDOW_MINUTES]; /* our air time, by minute modulo window */
    uint64_t minute;                              /* the newest of them */
};

struct radio_pacer_frame {
    struct radio_address to;
    const uint8_t *data; /* valid until the next put or take */
    size_t len;
    uint64_t key;
    uint8_t priority;
    uint64_t left_ms; /* when its last bit will have left */
};

enum radio_pacer_put {
    RADIO_PACER_QUEUED,   /* possibly in the place of a frame of lower priority */
    RADIO_PACER_REPLACED, /* the copy under the same key is gone */
    RADIO_PACER_FULL,     /* refused: nothing of lower priority could yield */
    RADIO_PACER_TOO_LONG, /* refused: above frame_max, or more air than the duty cycle ever allows */
};

/* How much memory a pacer with these options needs. */
size_t radio_pacer_size(const struct radio_pacer_options *o);

/* Makes a pacer. memory has radio_pacer_size() octets, is aligned as malloc()
 * does, and is borrowed until the pacer is no longer used. */
void radio_pacer_init(struct radio_pacer *p, const struct radio_pacer_options *o, void *memory);

/* How long a frame of len octets is on the air, in microseconds. */
uint64_t radio_pacer_air_us(const struct radio_pacer *p, size_t len);

/* Queues a copy of a frame. One whose key is still queued replaces that copy: in
 * its place when the priority is the same, else at the end of the new one. */
enum radio_pacer_put radio_pacer_put(struct radio_pacer *p, uint64_t now_ms, uint8_t priority,
                                     uint64_t key, const struct radio_address *to,
                                     const uint8_t *frame, size_t len);

/* The frame under this key is no longer wanted. Whether there was one; never
 * for RADIO_PACER_NO_KEY. */
bool radio_pacer_drop(struct radio_pacer *p, uint64_t key);

/* Hands out the next frame, when the air is free for it; false otherwise. From
 * then on the air is taken until left_ms. */
bool radio_pacer_take(struct radio_pacer *p, uint64_t now_ms, struct radio_pacer_frame *out);

/* When take() can next succeed; RADIO_NEVER while nothing is queued. A time in
 * the past means now. */
uint64_t radio_pacer_deadline(const struct radio_pacer *p, uint64_t now_ms);

/* The air time of what was handed out in the last 60 minutes and the minute that has begun. */
uint64_t radio_pacer_used_us(const struct radio_pacer *p, uint64_t now_ms);

/* How much of that the duty cycle allows; 0: there is none. */
uint64_t radio_pacer_budget_us(const struct radio_pacer *p);

/* The air is not ours before this time: another station sends, the radio turns
 * round, a contact has ended. Earlier times change nothing. */
void radio_pacer_hold(struct radio_pacer *p, uint64_t until_ms);

#endif
