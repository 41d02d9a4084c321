/* A link over a stream of octets: frames by a framing, one peer on the wire.
 *
 * Runs on any descriptor that can be polled: a serial port, a pty, a socket.
 * Where it comes from, and how it comes back after it has gone, is the business
 * of a struct radio_stream_port (link_serial.c has one for serial ports).
 *
 * Nothing that leaves here can be overtaken any more, and a tty would swallow
 * seconds of backlog. So a frame is written only when what was written before
 * has left the tty (TIOCOUTQ), and only RADIO_STREAM_QUEUE frames wait here;
 * send() refuses the next with -ENOBUFS. Keep the backlog in a radio_pacer.
 * Flow control of the line, or a peer that does not read, holds them there.
 *
 * After a loss fd() is -1 until the second tick() at least, so that a loop always
 * notices, even if the port comes back with the same descriptor. On a socket a
 * write may raise SIGPIPE: ignore it.
 *
 * bytes_in and bytes_out count octets on the wire, with framing. bad_frames
 * counts every kind of damage; radio_stream_deframed() tells them apart.
 */
#ifndef RADIO_LINK_STREAM_H
#define RADIO_LINK_STREAM_H

#include "radio/framing.h"
#include "radio/link.h"

#define RADIO_STREAM_QUEUE 4

#define RADIO_STREAM_REOPEN_MIN_MS 200u  /* the first attempt after a loss; doubles */
#define RADIO_STREAM_REOPEN_MAX_MS 5000u /* up to this, for ever */

struct radio_stream_port {
    /* A non-blocking descriptor, or -errno. Called again until it succeeds. */
    int (*open)(void *ctx);
    /* The descriptor has gone, or is no longer wanted. */
    void (*close)(void *ctx, int fd);
    /* The link is closed for good: frees ctx. */
    void (*release)(void *ctx);
    void *ctx;
};

struct radio_stream_options {
    enum radio_framing framing;
    size_t frame_max;      /* octets of a frame without framing; must not be 0 */
    uint32_t gap_ms;       /* silence that ends an unfinished frame; must not be 0 */
    uint32_t octets_per_s; /* of the line, to know when to look again; 0: as fast as it goes */
    bool has_flow_control; /* the other side may hold our octets back for as long as it likes */
};

/* Runs a link on a descriptor, which it owns from now on, or, with fd -1, on
 * the first one that the port gives. Without a port (NULL) a lost descriptor is
 * lost for good. 0 or -ENOMEM; after a failure everything still belongs to the
 * caller. */
int radio_stream_open(const struct radio_stream_options *o, const struct radio_stream_port *port,
                      int fd, struct radio_link **out);

/* How often the parser came to this verdict. */
uint64_t radio_stream_deframed(const struct radio_link *l, enum radio_deframe verdict);

/* ctx of the port; NULL without one. */
void *radio_stream_ctx(const struct radio_link *l);

#endif
