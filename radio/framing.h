/* Framings: how whole frames travel over a stream of octets.
 *
 *   cobs  COBS(frame | CRC-16/CCITT-FALSE) 00    one octet in 254, any damage noticed
 *   slip  C0 stuffed(frame) C0                   RFC 1055: no check
 *   hdlc  7E stuffed(frame | FCS-16) 7E          RFC 1662: also escapes XON and XOFF
 *   raw   frame                                  the Length of MQTT-SN itself: no check
 *
 * radio_framing_encode() makes the octets of one frame. A struct radio_deframer
 * finds the frames in what arrives, in pieces of any size. What is damaged is
 * named and counted, never handed out; with cobs and hdlc a damaged frame
 * passes for a good one with the odds of a 16-bit check, with slip and raw
 * nothing protects the inside of a frame.
 *
 * After damage the next delimiter begins anew: at most the frame that shares a
 * delimiter with the noise is lost. raw has no delimiter and needs silence on
 * the line, so its user must call radio_deframer_silence(); the others gain by
 * it, because the half of a frame no longer spoils the whole one after it.
 *
 * Delimiters without anything between them mean nothing, in every framing.
 * Frames have at least one octet. No clock, no memory but what is handed in.
 */
#ifndef RADIO_FRAMING_H
#define RADIO_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum radio_framing {
    RADIO_FRAMING_COBS,
    RADIO_FRAMING_SLIP,
    RADIO_FRAMING_HDLC,
    RADIO_FRAMING_RAW,
};

#define RADIO_FRAMING_COUNT 4

/* "cobs", "slip", "hdlc", "raw". */
const char *radio_framing_name(enum radio_framing framing);

/* Finds the framing of a name; false, and nothing changed, when there is none. */
bool radio_framing_find(const char *name, enum radio_framing *out);

/* Whether the stream may pass a line with XON/XOFF flow control: only where 11
 * and 13 never travel as data. */
bool radio_framing_is_xonxoff_safe(enum radio_framing framing);

/* How many octets a frame of len octets can take at most. */
size_t radio_framing_bound(enum radio_framing framing, size_t len);

/* Writes one frame as octets of the stream and returns how many, at most
 * radio_framing_bound(); 0 when len is 0 or size is below that bound. out must
 * not overlap frame. raw trusts the frame's own Length. */
size_t radio_framing_encode(enum radio_framing framing, const uint8_t *frame, size_t len,
                            uint8_t *out, size_t size);

enum radio_deframe {
    RADIO_DEFRAME_MORE,         /* nothing is complete yet */
    RADIO_DEFRAME_FRAME,        /* frame and len hold one whole frame */
    RADIO_DEFRAME_BAD_CHECK,    /* the check does not fit the octets */
    RADIO_DEFRAME_BAD_STUFFING, /* an escape or a count that no encoder writes */
    RADIO_DEFRAME_BAD_LENGTH,   /* raw: a Length that cannot be */
    RADIO_DEFRAME_TOO_SHORT,    /* no room for one octet and the check */
    RADIO_DEFRAME_TOO_LONG,     /* more octets than the buffer takes */
    RADIO_DEFRAME_ABORTED,      /* hdlc: the sender gave the frame up (7D 7E) */
    RADIO_DEFRAME_SILENCE,      /* the line fell silent inside a frame */
};

#define RADIO_DEFRAME_COUNT 9

/* "bad check", "too long", ... */
const char *radio_deframe_name(enum radio_deframe verdict);

/* The buffer that frames of up to frame_max octets need: the check is kept with
 * the frame until it has been compared. */
#define RADIO_DEFRAMER_BUFFER(frame_max) ((size_t)(frame_max) + 2)

struct radio_deframer {
    const uint8_t *frame; /* after RADIO_DEFRAME_FRAME: the frame, until the next call */
    size_t len;
    uint64_t count[RADIO_DEFRAME_COUNT]; /* how often each verdict was given; MORE is not counted */

    /* Private from here on. */
    enum radio_framing framing;
    uint8_t *buffer; /* the caller's */
    size_t room;     /* octets that may stand in it */
    size_t have;     /* octets that do */
    bool skip;       /* what comes is part of something already reported, or of an unknown */
    bool escaped;    /* slip, hdlc: the octet before was the escape */
    bool begun;      /* cobs: a count has been read */
    bool zero;       /* cobs: a 00 stands before the next block, if there is one */
    uint8_t left;    /* cobs: octets of this block still to come */
    size_t start;    /* raw: where the current message begins (behind an encapsulation) */
    size_t need;     /* raw: its octets; 0 while not known */
};

/* Makes a parser for frames of up to size - 2 octets. The buffer is borrowed
 * until the parser is no longer used; size must be at least 3. */
void radio_deframer_init(struct radio_deframer *d, enum radio_framing framing, uint8_t *buffer,
                         size_t size);

/* Takes octets up to the end of the first frame or the first damage, and stores
 * in *used how many that were; call again with the rest. With
 * RADIO_DEFRAME_MORE everything has been taken. */
enum radio_deframe radio_deframer_feed(struct radio_deframer *d, const uint8_t *data, size_t len,
                                       size_t *used);

/* The line is a new one: what was unfinished is forgotten, the counts are kept. */
void radio_deframer_restart(struct radio_deframer *d);

/* Whether something unfinished is held, so that silence would be news. */
bool radio_deframer_is_inside(const struct radio_deframer *d);

/* Nothing has arrived for so long that the rest of a frame no longer comes:
 * what follows is the beginning of something new. RADIO_DEFRAME_SILENCE when
 * that cost an unfinished frame, else RADIO_DEFRAME_MORE. */
enum radio_deframe radio_deframer_silence(struct radio_deframer *d);

#endif
