#include "radio/link_stream.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define READ_SIZE 4096

/* One call of receive() takes at most this many reads, so that a flood on one
 * link does not keep the loop from the others. */
#define READS_MAX 16

/* A driver that never admits to have sent its octets is believed for this much
 * longer than they need. */
#define DRAIN_SLACK_MS 1000

struct queued {
    uint8_t *octets;
    size_t len;
};

struct radio_link {
    struct radio_base base;
    struct radio_stream_options options;
    struct radio_stream_port port;
    bool has_port;
    int fd;          /* -1 while there is none */
    bool is_tty;     /* TIOCOUTQ and hang-up are told by the tty */
    uint64_t now_ms; /* as last heard; may be behind */

    bool lost;          /* since the last tick(), which will say when to try again */
    uint64_t reopen_ms; /* when to try again */
    uint32_t reopen_wait_ms;

    struct radio_deframer deframer;
    uint64_t heard_ms; /* when octets last came */

    struct queued queue[RADIO_STREAM_QUEUE]; /* a ring of encoded frames */
    size_t slot_size;
    size_t first;
    size_t count;
    size_t written;   /* octets of the first one that are gone */
    bool blocked;     /* the descriptor takes no more */
    bool draining;    /* the tty still holds the frame before */
    uint64_t look_ms; /* while draining: when to look again */
    uint64_t free_ms; /* while draining: when the tty is no longer believed */

    uint8_t *memory;
};

/* ---- coming and going ------------------------------------------------------ */

static void came(struct radio_link *l, int fd)
{
    l->fd = fd;
    l->is_tty = isatty(fd) == 1;
    l->reopen_wait_ms = RADIO_STREAM_REOPEN_MIN_MS;
    l->base.up = true;
    l->base.count.opens++;
    radio_deframer_restart(&l->deframer);
    /* Opening a port makes noise on the line. slip and hdlc begin every frame
     * with the delimiter that ends it; for cobs one is sent here. What becomes
     * of it shows at the next write. */
    if (l->options.framing == RADIO_FRAMING_COBS && write(fd, "", 1) == 1) {
        l->base.count.bytes_out++;
    }
}

static void went(struct radio_link *l)
{
    if (l->has_port) {
        l->port.close(l->port.ctx, l->fd);
    } else {
        close(l->fd);
    }
    l->fd = -1;
    l->base.up = false;
    l->base.count.losses++;
    l->base.count.dropped_out += l->count;
    l->base.count.bad_frames += radio_deframer_silence(&l->deframer) != RADIO_DEFRAME_MORE;
    l->count = 0;
    l->written = 0;
    l->blocked = false;
    l->draining = false;
    l->lost = true;
}

static void try_to_open(struct radio_link *l)
{
    const int fd = l->port.open(l->port.ctx);
    if (fd >= 0) {
        came(l, fd);
        return;
    }
    l->reopen_ms = l->now_ms + l->reopen_wait_ms;
    l->reopen_wait_ms = l->reopen_wait_ms > RADIO_STREAM_REOPEN_MAX_MS / 2
                            ? RADIO_STREAM_REOPEN_MAX_MS
                            : l->reopen_wait_ms * 2;
}

/* ---- receiving ------------------------------------------------------------- */

static void take(struct radio_link *l, const uint8_t *octets, size_t len, radio_frame_fn *fn,
                 void *ctx)
{
    static const struct radio_address alone = {0};
    while (len > 0) {
        size_t used = 0;
        const enum radio_deframe verdict = radio_deframer_feed(&l->deframer, octets, len, &used);
        octets += used;
        len -= used;
        if (verdict == RADIO_DEFRAME_FRAME) {
            l->base.count.frames_in++;
            fn(ctx, &alone, l->deframer.frame, l->deframer.len);
        } else if (verdict != RADIO_DEFRAME_MORE) {
            l->base.count.bad_frames++;
        }
    }
}

/* A tty answers 0 both when it is gone and, with some settings, when nothing
 * has come; only poll() knows which. */
static bool is_gone(const struct radio_link *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    return !l->is_tty || (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0);
}

static void stream_receive(struct radio_link *l, uint64_t now_ms, radio_frame_fn *fn, void *ctx)
{
    l->now_ms = now_ms;
    for (int i = 0; i < READS_MAX && l->fd >= 0; i++) {
        uint8_t octets[READ_SIZE];
        const ssize_t n = read(l->fd, octets, sizeof(octets));
        if (n > 0) {
            l->heard_ms = now_ms;
            l->base.count.bytes_in += (uint64_t)n;
            take(l, octets, (size_t)n, fn, ctx);
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        } else if (n < 0 || is_gone(l)) {
            went(l);
        } else {
            return;
        }
    }
}

/* Silence is measured by us, not by the line: as long as octets wait to be
 * read, the loop was late and the line may not have been silent at all. */
static void check_silence(struct radio_link *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    if (radio_deframer_is_inside(&l->deframer) && l->now_ms >= l->heard_ms + l->options.gap_ms &&
        poll(&p, 1, 0) == 0) {
        l->base.count.bad_frames += radio_deframer_silence(&l->deframer) != RADIO_DEFRAME_MORE;
    }
}

/* ---- sending --------------------------------------------------------------- */

/* Octets in the tty, less what leaves within 2 ms: so little is as good as gone. */
static size_t waiting_below(const struct radio_link *l)
{
    int waiting = 0;
    const size_t little = l->options.octets_per_s / 500;
    if (!l->is_tty || ioctl(l->fd, TIOCOUTQ, &waiting) != 0 || waiting <= 0) {
        return 0;
    }
    return (size_t)waiting > little ? (size_t)waiting : 0;
}

static bool has_drained(struct radio_link *l)
{
    const size_t waiting = waiting_below(l);
    if (waiting == 0) {
        l->draining = false;
        return true;
    }
    const uint64_t needs_ms =
        l->options.octets_per_s == 0 ? 1 : waiting * 1000 / l->options.octets_per_s + 1;
    if (!l->draining) {
        l->draining = true;
        l->free_ms = l->now_ms + 2 * needs_ms + DRAIN_SLACK_MS;
    } else if (!l->options.has_flow_control && l->now_ms >= l->free_ms) {
        l->draining = false;
        return true;
    }
    l->look_ms = l->now_ms + needs_ms;
    return false;
}

static void stream_flush(struct radio_link *l)
{
    l->blocked = false;
    while (l->count > 0 && (l->written > 0 || has_drained(l))) {
        struct queued *const q = &l->queue[l->first];
        const ssize_t n = write(l->fd, q->octets + l->written, q->len - l->written);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            l->blocked = true;
            return;
        }
        if (n < 0) {
            went(l);
            return;
        }
        l->base.count.bytes_out += (uint64_t)n;
        l->written += (size_t)n;
        if (l->written == q->len) {
            l->base.count.frames_out++;
            l->first = (l->first + 1) % RADIO_STREAM_QUEUE;
            l->count--;
            l->written = 0;
        }
    }
}

static int refuse(struct radio_link *l, int rc)
{
    l->base.count.dropped_out++;
    return rc;
}

static int stream_send(struct radio_link *l, const struct radio_address *to, const uint8_t *frame,
                       size_t len)
{
    if (l->fd < 0 || to->len != 0) {
        return refuse(l, -ENODEV);
    }
    if (len == 0 || len > l->options.frame_max) {
        return refuse(l, -EMSGSIZE);
    }
    if (l->count == RADIO_STREAM_QUEUE) {
        stream_flush(l);
        if (l->fd < 0 || l->count == RADIO_STREAM_QUEUE) {
            return refuse(l, l->fd < 0 ? -ENODEV : -ENOBUFS);
        }
    }
    struct queued *const q = &l->queue[(l->first + l->count) % RADIO_STREAM_QUEUE];
    q->len = radio_framing_encode(l->options.framing, frame, len, q->octets, l->slot_size);
    assert(q->len > 0);
    l->count++;
    return 0;
}

/* ---- the rest -------------------------------------------------------------- */

static int stream_fd(const struct radio_link *l)
{
    return l->fd;
}

static bool stream_wants_write(const struct radio_link *l)
{
    return l->blocked;
}

static uint64_t stream_deadline(const struct radio_link *l)
{
    if (l->fd < 0 && !l->has_port) {
        return RADIO_NEVER;
    }
    if (l->fd < 0) {
        return l->lost ? 0 : l->reopen_ms;
    }
    uint64_t due = RADIO_NEVER;
    if (l->draining && l->count > 0) {
        due = l->look_ms;
    }
    if (radio_deframer_is_inside(&l->deframer) && l->heard_ms + l->options.gap_ms < due) {
        due = l->heard_ms + l->options.gap_ms;
    }
    return due;
}

static void stream_tick(struct radio_link *l, uint64_t now_ms)
{
    l->now_ms = now_ms;
    if (l->fd >= 0) {
        check_silence(l);
        stream_flush(l);
    } else if (l->lost) {
        /* A loss may be noticed where nobody says what time it is. And it must be
         * seen: a port that came back at once could have the same descriptor. */
        l->lost = false;
        l->reopen_ms = now_ms + l->reopen_wait_ms;
    } else if (l->has_port && now_ms >= l->reopen_ms) {
        try_to_open(l);
    }
}

static size_t stream_print_address(const struct radio_address *a, char *out, size_t size)
{
    (void)a;
    assert(size > 0);
    out[0] = '\0';
    return 0;
}

static void stream_close(struct radio_link *l)
{
    if (l->fd >= 0) {
        stream_flush(l);
    }
    if (l->fd >= 0) {
        went(l);
    }
    if (l->has_port) {
        l->port.release(l->port.ctx);
    }
    free(l->memory);
    free(l);
}

static const struct radio_ops stream_ops = {
    .fd = stream_fd,
    .wants_write = stream_wants_write,
    .receive = stream_receive,
    .send = stream_send,
    .flush = stream_flush,
    .deadline = stream_deadline,
    .tick = stream_tick,
    .print_address = stream_print_address,
    .close = stream_close,
};

int radio_stream_open(const struct radio_stream_options *o, const struct radio_stream_port *port,
                      int fd, struct radio_link **out)
{
    assert(o->frame_max > 0 && o->gap_ms > 0 && (fd >= 0 || port != NULL));
    const size_t in_size = RADIO_DEFRAMER_BUFFER(o->frame_max);
    const size_t slot_size = radio_framing_bound(o->framing, o->frame_max);
    struct radio_link *const l = calloc(1, sizeof(*l));
    uint8_t *const memory = malloc(in_size + RADIO_STREAM_QUEUE * slot_size);
    if (l == NULL || memory == NULL) {
        free(l);
        free(memory);
        return -ENOMEM;
    }
    l->base.ops = &stream_ops;
    l->options = *o;
    l->fd = -1;
    l->reopen_wait_ms = RADIO_STREAM_REOPEN_MIN_MS;
    l->slot_size = slot_size;
    l->memory = memory;
    for (size_t i = 0; i < RADIO_STREAM_QUEUE; i++) {
        l->queue[i].octets = memory + in_size + i * slot_size;
    }
    radio_deframer_init(&l->deframer, o->framing, memory, in_size);
    if (port != NULL) {
        l->port = *port;
        l->has_port = true;
    }
    if (fd >= 0) {
        came(l, fd);
    }
    *out = l;
    return 0;
}

uint64_t radio_stream_deframed(const struct radio_link *l, enum radio_deframe verdict)
{
    return l->deframer.count[verdict];
}

void *radio_stream_ctx(const struct radio_link *l)
{
    return l->port.ctx;
}
