#include "radio/link_serial.h"
#include "radio/link_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#define PATIENCE_MS 5000

/* ---- the far side of a tty ------------------------------------------------- */

/* What the kernel says about a tty, made to say otherwise: a pty has no wire and
 * no modem lines. libserialport asks through the same function. */
static int octets_in_tty = -1;        /* TIOCOUTQ; -1: the truth */
static const char *known_port = NULL; /* what libserialport takes for a real serial port */
static int modem_lines;

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *const arg = va_arg(args, void *);
    va_end(args);
    switch (request) {
    case TIOCOUTQ:
        if (octets_in_tty >= 0) {
            *(int *)arg = octets_in_tty;
            return 0;
        }
        break;
    case TIOCMGET:
        *(int *)arg = modem_lines;
        return 0;
    case TIOCMSET:
        modem_lines = *(int *)arg;
        return 0;
    case TIOCMBIS:
        modem_lines |= *(int *)arg;
        return 0;
    case TIOCMBIC:
        modem_lines &= ~*(int *)arg;
        return 0;
    default:
        break;
    }
    return (int)syscall(SYS_ioctl, fd, request, arg);
}

/* libserialport knows a port by its entry in /sys/class/tty. */
int lstat(const char *restrict path, struct stat *restrict st)
{
    if (known_port != NULL && strncmp(path, "/sys/class/tty/", 15) == 0) {
        memset(st, 0, sizeof(*st));
        st->st_mode = S_IFLNK | 0777;
        return 0;
    }
    return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

/* What lstat() was in the ABI that older builds of the library were linked to. */
int __lxstat(int version, const char *path, struct stat *st);

int __lxstat(int version, const char *path, struct stat *st)
{
    (void)version;
    return lstat(path, st);
}

ssize_t readlink(const char *restrict path, char *restrict out, size_t size)
{
    static const char target[] = "../../devices/platform/shim/tty/ttyS9";
    if (known_port != NULL && strncmp(path, "/sys/class/tty/", 15) == 0) {
        memcpy(out, target, sizeof(target) - 1);
        return sizeof(target) - 1;
    }
    return readlinkat(AT_FDCWD, path, out, size);
}

struct wire {
    char dir[64];
    char device[96]; /* a symbolic link, as udev makes them */
    int master;
    struct radio_link *link;
    uint64_t now_ms;
    size_t frames;
    uint8_t last[600];
    size_t last_len;
    char lens[400]; /* lengths of all frames, "2 7 " */
};

static void keep(void *ctx, const struct radio_address *from, const uint8_t *frame, size_t len)
{
    struct wire *const w = ctx;
    assert_int_equal(from->len, 0);
    assert_true(len <= sizeof(w->last));
    w->frames++;
    memcpy(w->last, frame, len);
    w->last_len = len;
    const size_t at = strlen(w->lens);
    snprintf(w->lens + at, sizeof(w->lens) - at, "%zu ", len);
}

/* Makes a pty and lets the device point to it. */
static void plug_in(struct wire *w)
{
    char name[64];
    w->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    assert_true(w->master >= 0);
    assert_int_equal(grantpt(w->master), 0);
    assert_int_equal(unlockpt(w->master), 0);
    assert_int_equal(ptsname_r(w->master, name, sizeof(name)), 0);
    unlink(w->device);
    assert_int_equal(symlink(name, w->device), 0);
}

static void pull_out(struct wire *w)
{
    close(w->master);
    w->master = -1;
    unlink(w->device);
}

static int setup(void **state)
{
    struct wire *const w = calloc(1, sizeof(*w));
    assert_non_null(w);
    snprintf(w->dir, sizeof(w->dir), "/tmp/link_serial.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->device, sizeof(w->device), "%s/radio", w->dir);
    w->master = -1;
    w->now_ms = 1000000;
    *state = w;
    octets_in_tty = -1;
    known_port = NULL;
    modem_lines = 0;
    return 0;
}

static int teardown(void **state)
{
    struct wire *const w = *state;
    if (w->link != NULL) {
        radio_base(w->link)->ops->close(w->link);
    }
    if (w->master >= 0) {
        close(w->master);
    }
    unlink(w->device);
    rmdir(w->dir);
    free(w);
    return 0;
}

static const struct radio_ops *ops(const struct wire *w)
{
    return radio_base(w->link)->ops;
}

static const struct radio_counters *count(const struct wire *w)
{
    return &radio_base(w->link)->count;
}

static void open_with(struct wire *w, struct radio_serial_options o)
{
    char why[200] = "";
    o.device = w->device;
    const int rc = radio_serial_open(&o, &w->link, why, sizeof(why));
    assert_string_equal(why, "");
    assert_int_equal(rc, 0);
}

/* Plugs in, opens, and takes the delimiter that cobs sends first off the wire. */
static void open_wire(struct wire *w, enum radio_framing framing)
{
    plug_in(w);
    open_with(w, (struct radio_serial_options){.framing = framing});
    if (framing == RADIO_FRAMING_COBS) {
        struct pollfd p = {.fd = w->master, .events = POLLIN};
        uint8_t delimiter = 0xAA;
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        assert_int_equal(read(w->master, &delimiter, 1), 1);
        assert_int_equal(delimiter, 0);
    }
}

/* One turn of a loop: waits for the link's descriptor and lets it work. */
static void turn(struct wire *w)
{
    struct pollfd p = {.fd = ops(w)->fd(w->link), .events = POLLIN};
    if (poll(&p, 1, PATIENCE_MS) > 0) {
        ops(w)->receive(w->link, w->now_ms, keep, w);
    }
}

static void write_wire(const struct wire *w, const void *octets, size_t len)
{
    assert_int_equal(write(w->master, octets, len), len);
}

static void receive_frames(struct wire *w, size_t frames)
{
    for (int i = 0; i < 100 && w->frames < frames; i++) {
        turn(w);
    }
    assert_int_equal(w->frames, frames);
}

/* Reads exactly len octets from the far side. */
static void read_wire(const struct wire *w, uint8_t *out, size_t len)
{
    for (size_t at = 0; at < len;) {
        struct pollfd p = {.fd = w->master, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        const ssize_t n = read(w->master, out + at, len - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

static bool wire_is_silent(const struct wire *w)
{
    struct pollfd p = {.fd = w->master, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

static int send_frame(struct wire *w, const void *frame, size_t len)
{
    static const struct radio_address alone = {0};
    return ops(w)->send(w->link, &alone, frame, len);
}

static void tick(struct wire *w, uint64_t ms)
{
    w->now_ms += ms;
    ops(w)->tick(w->link, w->now_ms);
}

static const uint8_t nine[] = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};
static const uint8_t nine_cobs[] = {0x0C, '1', '2', '3',  '4',  '5', '6',
                                    '7',  '8', '9', 0x29, 0xB1, 0x00};

/* struct termios2 of Linux, whose header does not go together with <termios.h>. */
struct kernel_termios2 {
    unsigned c_iflag, c_oflag, c_cflag, c_lflag;
    unsigned char c_line, c_cc[19];
    unsigned c_ispeed, c_ospeed;
};

#undef TCGETS2
#define TCGETS2 _IOR('T', 0x2A, struct kernel_termios2)

/* ---- tests ----------------------------------------------------------------- */

static void frames_go_both_ways_octet_for_octet(void **state)
{
    struct wire *const w = *state;
    uint8_t octets[sizeof(nine_cobs)];
    char address[4] = "x";

    open_wire(w, RADIO_FRAMING_COBS);
    write_wire(w, nine_cobs, sizeof(nine_cobs));
    receive_frames(w, 1);
    assert_int_equal(w->last_len, sizeof(nine));
    assert_memory_equal(w->last, nine, sizeof(nine));

    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    assert_true(wire_is_silent(w));
    ops(w)->flush(w->link);
    read_wire(w, octets, sizeof(octets));
    assert_memory_equal(octets, nine_cobs, sizeof(octets));
    assert_true(wire_is_silent(w));

    assert_int_equal(count(w)->frames_in, 1);
    assert_int_equal(count(w)->frames_out, 1);
    assert_int_equal(count(w)->bytes_in, sizeof(nine_cobs));
    assert_int_equal(count(w)->bytes_out, 1 + sizeof(nine_cobs));
    assert_int_equal(count(w)->opens, 1);
    assert_int_equal(ops(w)->print_address(&(struct radio_address){0}, address, sizeof(address)),
                     0);
    assert_string_equal(address, "");
}

/* The line discipline must not touch a single octet: no echo, no CR, no signals,
 * no flow control. */
static void every_octet_passes_unchanged(void **state)
{
    struct wire *const w = *state;
    uint8_t frame[256];
    uint8_t octets[600];
    const enum radio_framing framings[] = {RADIO_FRAMING_COBS, RADIO_FRAMING_SLIP,
                                           RADIO_FRAMING_HDLC};

    for (unsigned i = 0; i < sizeof(frame); i++) {
        frame[i] = (uint8_t)i;
    }
    for (size_t k = 0; k < 3; k++) {
        open_wire(w, framings[k]);
        const size_t len =
            radio_framing_encode(framings[k], frame, sizeof(frame), octets, sizeof(octets));
        write_wire(w, octets, len);
        receive_frames(w, k + 1);
        assert_int_equal(w->last_len, sizeof(frame));
        assert_memory_equal(w->last, frame, sizeof(frame));
        assert_int_equal(count(w)->bad_frames, 0);

        uint8_t sent[600];
        assert_int_equal(send_frame(w, frame, sizeof(frame)), 0);
        ops(w)->flush(w->link);
        read_wire(w, sent, len);
        assert_memory_equal(sent, octets, len);
        ops(w)->close(w->link);
        w->link = NULL;
        pull_out(w);
    }
}

static void noise_between_frames_costs_no_frame(void **state)
{
    struct wire *const w = *state;
    const uint8_t noise[] = {0xFF, 0x00, 0x17, 0x03, 0x00, 0x55, 0x00};

    open_wire(w, RADIO_FRAMING_COBS);
    write_wire(w, nine_cobs, sizeof(nine_cobs));
    write_wire(w, noise, sizeof(noise));
    write_wire(w, nine_cobs, sizeof(nine_cobs));
    receive_frames(w, 2);
    assert_int_equal(count(w)->bad_frames, 3);
    assert_int_equal(radio_stream_deframed(w->link, RADIO_DEFRAME_BAD_STUFFING), 3);
    assert_string_equal(w->lens, "9 9 ");
}

/* A sensor loses power in the middle of a frame; minutes later the next one sends. */
static void half_a_frame_is_dropped_by_silence_and_the_next_is_whole(void **state)
{
    struct wire *const w = *state;

    open_wire(w, RADIO_FRAMING_COBS);
    assert_int_equal(ops(w)->deadline(w->link), RADIO_NEVER);
    write_wire(w, nine_cobs, 5);
    turn(w);
    assert_int_equal(w->frames, 0);
    assert_int_equal(ops(w)->deadline(w->link), w->now_ms + 1000);
    tick(w, 999);
    assert_int_equal(count(w)->bad_frames, 0);
    tick(w, 1);
    assert_int_equal(count(w)->bad_frames, 1);
    assert_int_equal(radio_stream_deframed(w->link, RADIO_DEFRAME_SILENCE), 1);
    assert_int_equal(ops(w)->deadline(w->link), RADIO_NEVER);
    write_wire(w, nine_cobs, sizeof(nine_cobs));
    receive_frames(w, 1);
    assert_memory_equal(w->last, nine, sizeof(nine));
}

/* The disk was slow for five seconds: the rest of the frame has long been in the
 * tty when the loop looks at the clock. */
static void a_late_loop_does_not_take_its_own_sleep_for_silence(void **state)
{
    struct wire *const w = *state;

    open_wire(w, RADIO_FRAMING_COBS);
    write_wire(w, nine_cobs, 5);
    turn(w);
    write_wire(w, nine_cobs + 5, sizeof(nine_cobs) - 5);
    struct pollfd p = {.fd = ops(w)->fd(w->link), .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    tick(w, 5000);
    receive_frames(w, 1);
    assert_int_equal(count(w)->bad_frames, 0);
}

static void raw_frames_are_told_apart_by_length_and_silence(void **state)
{
    struct wire *const w = *state;

    open_wire(w, RADIO_FRAMING_RAW);
    write_wire(w, "\x02\x16\x03\x01\x00\x07\x0C\x00", 8);
    receive_frames(w, 2);
    assert_string_equal(w->lens, "2 3 ");
    assert_int_equal(ops(w)->deadline(w->link), w->now_ms + 100);
    tick(w, 100);
    write_wire(w, "\x02\x17", 2);
    receive_frames(w, 3);
    assert_memory_equal(w->last, "\x02\x17", 2);
    assert_int_equal(count(w)->bad_frames, 1);
}

static void a_frame_waits_until_the_one_before_has_left_the_tty(void **state)
{
    struct wire *const w = *state;
    uint8_t octets[sizeof(nine_cobs)];

    open_wire(w, RADIO_FRAMING_COBS);
    ops(w)->tick(w->link, w->now_ms);
    octets_in_tty = 0;
    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    ops(w)->flush(w->link);
    octets_in_tty = 96; /* a tenth of a second at 9600 bit/s */
    ops(w)->flush(w->link);
    read_wire(w, octets, sizeof(octets));
    assert_int_equal(count(w)->frames_out, 2); /* TIOCOUTQ said 0 for both */

    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    read_wire(w, octets, sizeof(octets));
    ops(w)->flush(w->link);
    assert_true(wire_is_silent(w));
    assert_false(ops(w)->wants_write(w->link)); /* the descriptor is writable: no spinning on it */
    assert_int_equal(ops(w)->deadline(w->link), w->now_ms + 101);
    octets_in_tty = 48;
    tick(w, 50);
    assert_true(wire_is_silent(w));
    assert_int_equal(ops(w)->deadline(w->link), w->now_ms + 51);
    octets_in_tty = 1; /* gone within the next 2 ms */
    tick(w, 51);
    read_wire(w, octets, sizeof(octets));
    assert_int_equal(count(w)->frames_out, 3);
    assert_int_equal(ops(w)->deadline(w->link), RADIO_NEVER);
}

static void the_queue_is_short_and_refuses_beyond_it(void **state)
{
    struct wire *const w = *state;
    uint8_t octets[sizeof(nine_cobs)];

    open_wire(w, RADIO_FRAMING_COBS);
    octets_in_tty = 1000;
    for (int i = 0; i < RADIO_STREAM_QUEUE; i++) {
        assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
        ops(w)->flush(w->link);
    }
    assert_int_equal(send_frame(w, nine, sizeof(nine)), -ENOBUFS);
    assert_int_equal(count(w)->dropped_out, 1);
    octets_in_tty = 0;
    tick(w, 2000);
    for (int i = 0; i < RADIO_STREAM_QUEUE; i++) {
        read_wire(w, octets, sizeof(octets));
        assert_memory_equal(octets, nine_cobs, sizeof(octets));
    }
    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
}

/* Some drivers never report an empty buffer. They must not stop the link, unless
 * flow control is a good reason for octets to stay. */
static void a_tty_that_never_drains_is_believed_for_a_while_only(void **state)
{
    struct wire *const w = *state;

    open_wire(w, RADIO_FRAMING_COBS);
    ops(w)->tick(w->link, w->now_ms);
    octets_in_tty = 96;
    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    ops(w)->flush(w->link);
    tick(w, 1100);
    assert_int_equal(count(w)->frames_out, 0);
    tick(w, 200);
    assert_int_equal(count(w)->frames_out, 1);
    ops(w)->close(w->link);
    w->link = NULL;
    pull_out(w);

    plug_in(w);
    open_with(w, (struct radio_serial_options){.flow = RADIO_SERIAL_FLOW_RTSCTS});
    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    tick(w, 0);
    tick(w, 3600000);
    assert_int_equal(count(w)->frames_out, 0);
}

/* Nobody reads at the far side until the pty takes no more in the middle of a frame. */
static void a_frame_cut_by_a_full_tty_is_completed_later(void **state)
{
    struct wire *const w = *state;
    uint8_t frame[256];
    uint8_t octets[300];
    uint8_t expected[300];

    memset(frame, 0x42, sizeof(frame));
    open_wire(w, RADIO_FRAMING_COBS);
    unsigned taken = 0;
    while (send_frame(w, frame, sizeof(frame)) == 0 && taken < 1000) {
        ops(w)->flush(w->link);
        taken++;
    }
    assert_in_range(taken, RADIO_STREAM_QUEUE, 999);
    assert_true(ops(w)->wants_write(w->link));
    const size_t len =
        radio_framing_encode(RADIO_FRAMING_COBS, frame, sizeof(frame), expected, sizeof(expected));
    for (unsigned i = 0; i < taken; i++) {
        ops(w)->flush(w->link);
        for (size_t at = 0; at < len;) {
            struct pollfd p = {.fd = w->master, .events = POLLIN};
            ops(w)->flush(w->link);
            assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
            const ssize_t n = read(w->master, octets + at, len - at);
            assert_true(n > 0);
            at += (size_t)n;
        }
        assert_memory_equal(octets, expected, len);
    }
    assert_int_equal(count(w)->frames_out, taken);
    assert_false(ops(w)->wants_write(w->link));
}

static void an_unplugged_device_comes_back(void **state)
{
    struct wire *const w = *state;

    open_wire(w, RADIO_FRAMING_COBS);
    write_wire(w, nine_cobs, 3);
    turn(w);
    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    pull_out(w);
    turn(w);
    assert_int_equal(ops(w)->fd(w->link), -1);
    assert_false(radio_base(w->link)->up);
    assert_int_equal(count(w)->losses, 1);
    assert_int_equal(count(w)->dropped_out, 1);
    assert_int_equal(count(w)->bad_frames, 1);
    assert_int_equal(send_frame(w, nine, sizeof(nine)), -ENODEV);

    /* 0.2 s, 0.4 s, ... 5 s, and 5 s for ever. */
    assert_int_equal(ops(w)->deadline(w->link), 0);
    tick(w, 0);
    const unsigned waits[] = {200, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        assert_int_equal(ops(w)->deadline(w->link), w->now_ms + waits[i]);
        tick(w, waits[i] - 1);
        assert_int_equal(ops(w)->deadline(w->link), w->now_ms + 1);
        tick(w, 1);
        assert_int_equal(ops(w)->fd(w->link), -1);
    }
    assert_non_null(strstr(radio_serial_why(w->link), "there is no such device"));

    plug_in(w);
    tick(w, 5000);
    assert_true(ops(w)->fd(w->link) >= 0);
    assert_true(radio_base(w->link)->up);
    assert_string_equal(radio_serial_why(w->link), "");
    assert_int_equal(count(w)->opens, 2);
    write_wire(w, nine_cobs, sizeof(nine_cobs));
    receive_frames(w, 1);
    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    ops(w)->flush(w->link);
    assert_int_equal(count(w)->frames_out, 1);
}

static void a_loss_is_noticed_when_writing_too(void **state)
{
    struct wire *const w = *state;

    open_wire(w, RADIO_FRAMING_COBS);
    pull_out(w);
    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    ops(w)->flush(w->link);
    assert_int_equal(ops(w)->fd(w->link), -1);
    assert_int_equal(count(w)->losses, 1);
    assert_int_equal(count(w)->dropped_out, 1);

    /* flush() does not know the time: however late it is, a loop sees the loss first. */
    plug_in(w);
    tick(w, 3600000);
    assert_int_equal(ops(w)->fd(w->link), -1);
    tick(w, RADIO_STREAM_REOPEN_MIN_MS);
    assert_true(ops(w)->fd(w->link) >= 0);
}

static void a_port_that_hangs_up_at_once_is_not_hammered(void **state)
{
    struct wire *const w = *state;

    open_wire(w, RADIO_FRAMING_COBS);
    for (int i = 0; i < 5; i++) {
        pull_out(w);
        turn(w);
        plug_in(w);
        tick(w, 0);
        assert_false(radio_base(w->link)->up);
        assert_int_equal(ops(w)->deadline(w->link), w->now_ms + RADIO_STREAM_REOPEN_MIN_MS);
        tick(w, RADIO_STREAM_REOPEN_MIN_MS);
        assert_true(radio_base(w->link)->up);
    }
    assert_int_equal(count(w)->losses, 5);
    assert_int_equal(count(w)->opens, 6);
}

static void a_device_missing_at_start_is_an_error_or_waited_for(void **state)
{
    struct wire *const w = *state;
    char why[200];
    char expected[200];
    struct radio_serial_options o = {.device = w->device};

    assert_int_equal(radio_serial_open(&o, &w->link, why, sizeof(why)), -ENOENT);
    assert_null(w->link);
    snprintf(expected, sizeof(expected), "cannot open serial port %s: there is no such device",
             w->device);
    assert_string_equal(why, expected);

    o.wait_at_start = true;
    open_with(w, o);
    assert_false(radio_base(w->link)->up);
    assert_int_equal(ops(w)->fd(w->link), -1);
    tick(w, 0);
    assert_string_equal(radio_serial_why(w->link), expected);
    plug_in(w);
    tick(w, 200);
    assert_true(radio_base(w->link)->up);
    assert_int_equal(count(w)->opens, 1);
    assert_int_equal(count(w)->losses, 0);
}

static void a_port_in_use_is_left_alone(void **state)
{
    struct wire *const w = *state;
    struct radio_link *second = NULL;
    char why[200] = "";
    const struct radio_serial_options o = {.device = w->device};

    open_wire(w, RADIO_FRAMING_COBS);
    assert_int_equal(radio_serial_open(&o, &second, why, sizeof(why)), -EBUSY);
    assert_non_null(strstr(why, "it is in use by another program"));
    assert_true(wire_is_silent(w));

    ops(w)->close(w->link);
    w->link = NULL;
    open_with(w, o);
}

static void what_is_no_serial_port_is_refused(void **state)
{
    struct wire *const w = *state;
    const struct {
        struct radio_serial_options options;
        const char *end;
    } bad[] = {
        {{.device = "/dev/null"}, "/dev/null: it is no serial port"},
        {{.device = "/dev/null", .data_bits = 7}, "/dev/null: the framings need 8 data bits"},
        {{.device = "/dev/null", .stop_bits = 3}, "/dev/null: there are 1 or 2 stop bits"},
        {{.device = "/dev/null", .flow = RADIO_SERIAL_FLOW_XONXOFF},
         "/dev/null: xonxoff takes octets out of every framing but hdlc"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char why[200] = "";
        char expected[200];
        assert_true(radio_serial_open(&bad[i].options, &w->link, why, sizeof(why)) < 0);
        snprintf(expected, sizeof(expected), "cannot open serial port %s", bad[i].end);
        assert_string_equal(why, expected);
        assert_null(w->link);
    }
}

static void the_descriptor_is_closed_on_exec_and_the_tty_exclusive(void **state)
{
    struct wire *const w = *state;
    int exclusive = 0;

    open_wire(w, RADIO_FRAMING_COBS);
    const int fd = ops(w)->fd(w->link);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(ioctl(fd, TIOCGEXCL, &exclusive), 0);
    assert_int_equal(exclusive, 1);
    const int held = open(w->device, O_RDWR | O_NOCTTY | O_NONBLOCK);
    ops(w)->close(w->link);
    w->link = NULL;
    if (held >= 0) { /* only root gets past TIOCEXCL */
        assert_int_equal(ioctl(held, TIOCGEXCL, &exclusive), 0);
        assert_int_equal(exclusive, 0);
        close(held);
    }
}

static void frames_that_cannot_be_sent_are_refused(void **state)
{
    struct wire *const w = *state;
    const struct radio_address other = {.len = 7};
    const uint8_t big[257] = {0};

    open_wire(w, RADIO_FRAMING_COBS);
    assert_int_equal(send_frame(w, big, 257), -EMSGSIZE);
    assert_int_equal(send_frame(w, big, 0), -EMSGSIZE);
    assert_int_equal(ops(w)->send(w->link, &other, big, 2), -ENODEV);
    assert_int_equal(count(w)->dropped_out, 3);
    assert_int_equal(send_frame(w, big, 256), 0);
}

/* The genuine library on a pty that passes for a real port, line settings read
 * back from the tty. */
static void libserialport_configures_a_port_it_knows(void **state)
{
    struct wire *const w = *state;
    uint8_t octets[sizeof(nine_cobs)];
    struct termios t;

    plug_in(w);
    known_port = w->device;
    open_with(w, (struct radio_serial_options){.baud = 19200,
                                               .parity = RADIO_SERIAL_PARITY_EVEN,
                                               .stop_bits = 2,
                                               .flow = RADIO_SERIAL_FLOW_RTSCTS,
                                               .keep_dtr = true});
    const int fd = ops(w)->fd(w->link);
    assert_int_equal(modem_lines & TIOCM_DTR, TIOCM_DTR);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(tcgetattr(fd, &t), 0);
    assert_int_equal(cfgetospeed(&t), B19200);
    assert_int_equal(t.c_cflag & CSTOPB, CSTOPB);
    assert_int_equal(t.c_cflag & CRTSCTS, CRTSCTS);
    assert_int_equal(t.c_cflag & HUPCL, 0);
    assert_int_equal(t.c_iflag & (IXON | IXOFF | ICRNL | ISTRIP), 0);
    assert_int_equal(t.c_lflag & (ECHO | ICANON | ISIG), 0);
    assert_int_equal(t.c_cc[VMIN], 1);

    write_wire(w, nine_cobs, sizeof(nine_cobs));
    receive_frames(w, 1);
    read_wire(w, octets, 1);
    assert_int_equal(send_frame(w, nine, sizeof(nine)), 0);
    ops(w)->flush(w->link);
    read_wire(w, octets, sizeof(octets));
    assert_memory_equal(octets, nine_cobs, sizeof(octets));

    pull_out(w);
    turn(w);
    assert_false(radio_base(w->link)->up);
    assert_int_equal(count(w)->losses, 1);
    plug_in(w);
    tick(w, 0);
    tick(w, RADIO_STREAM_REOPEN_MIN_MS);
    assert_true(radio_base(w->link)->up);
    write_wire(w, nine_cobs, sizeof(nine_cobs));
    receive_frames(w, 2);
}

static void a_rate_that_no_table_knows_reaches_the_driver(void **state)
{
    struct wire *const w = *state;
    struct kernel_termios2 t;

    plug_in(w);
    known_port = w->device;
    open_with(w, (struct radio_serial_options){.baud = 12345});
    assert_int_equal(ioctl(ops(w)->fd(w->link), TCGETS2, &t), 0);
    assert_int_equal(t.c_ospeed, 12345);
    assert_int_equal(t.c_cflag & HUPCL, HUPCL);
}

static void the_line_carries_a_tenth_or_less_of_its_bits(void **state)
{
    (void)state;
    assert_int_equal(radio_serial_octets_per_s(&(struct radio_serial_options){0}), 960);
    assert_int_equal(radio_serial_octets_per_s(&(struct radio_serial_options){
                         .baud = 1200, .stop_bits = 2, .parity = RADIO_SERIAL_PARITY_ODD}),
                     100);
}

/* The second half alone: a link on a descriptor from elsewhere. */
static void a_stream_link_runs_on_a_socket_and_ends_with_it(void **state)
{
    struct wire *const w = *state;
    int pair[2];
    const struct radio_stream_options o = {
        .framing = RADIO_FRAMING_SLIP, .frame_max = 64, .gap_ms = 500};

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(radio_stream_open(&o, NULL, pair[0], &w->link), 0);
    w->master = pair[1];
    write_wire(w, "\xC0\x02\x16\xC0", 4);
    receive_frames(w, 1);
    assert_int_equal(send_frame(w, "\x02\x17", 2), 0);
    ops(w)->flush(w->link);
    uint8_t octets[4];
    read_wire(w, octets, 4);
    assert_memory_equal(octets, "\xC0\x02\x17\xC0", 4);
    close(w->master);
    w->master = -1;
    turn(w);
    assert_int_equal(ops(w)->fd(w->link), -1);
    assert_int_equal(ops(w)->deadline(w->link), RADIO_NEVER);
    tick(w, 10000);
    assert_int_equal(send_frame(w, "\x02\x17", 2), -ENODEV);
}

#define TEST(fact) cmocka_unit_test_setup_teardown(fact, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_go_both_ways_octet_for_octet),
        TEST(every_octet_passes_unchanged),
        TEST(noise_between_frames_costs_no_frame),
        TEST(half_a_frame_is_dropped_by_silence_and_the_next_is_whole),
        TEST(a_late_loop_does_not_take_its_own_sleep_for_silence),
        TEST(raw_frames_are_told_apart_by_length_and_silence),
        TEST(a_frame_waits_until_the_one_before_has_left_the_tty),
        TEST(the_queue_is_short_and_refuses_beyond_it),
        TEST(a_tty_that_never_drains_is_believed_for_a_while_only),
        TEST(a_frame_cut_by_a_full_tty_is_completed_later),
        TEST(an_unplugged_device_comes_back),
        TEST(a_loss_is_noticed_when_writing_too),
        TEST(a_port_that_hangs_up_at_once_is_not_hammered),
        TEST(a_device_missing_at_start_is_an_error_or_waited_for),
        TEST(a_port_in_use_is_left_alone),
        TEST(what_is_no_serial_port_is_refused),
        TEST(the_descriptor_is_closed_on_exec_and_the_tty_exclusive),
        TEST(frames_that_cannot_be_sent_are_refused),
        TEST(libserialport_configures_a_port_it_knows),
        TEST(a_rate_that_no_table_knows_reaches_the_driver),
        TEST(the_line_carries_a_tenth_or_less_of_its_bits),
        TEST(a_stream_link_runs_on_a_socket_and_ends_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
