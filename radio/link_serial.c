#include "radio/link_serial.h"

#include "radio/link_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <libserialport.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#define BAUD_DEFAULT      9600u
#define FRAME_MAX_DEFAULT 256u
#define GAP_DEFAULT_MS    1000u
#define GAP_RAW_MIN_MS    100u /* USB adapters alone hold octets back for 16 ms */
#define GAP_RAW_OCTETS    20u
#define WHY_SIZE          256

/* Linux: the majors of the far ends of ptys. */
#define PTY_MAJOR_FIRST 136
#define PTY_MAJOR_LAST  143

struct serial_port {
    struct radio_serial_options options; /* device points to our own copy */
    char *device;
    int lock; /* holds flock(); the port itself when library is NULL */
    struct sp_port *library;
    char why[WHY_SIZE];
};

static int fail(struct serial_port *p, int rc, const char *what)
{
    snprintf(p->why, sizeof(p->why), "cannot open serial port %s: %s", p->options.device, what);
    return rc;
}

static int fail_errno(struct serial_port *p, int error)
{
    switch (error) {
    case ENOENT:
        return fail(p, -error, "there is no such device");
    case EBUSY:
    case EWOULDBLOCK:
        return fail(p, -EBUSY, "it is in use by another program");
    case EACCES:
        return fail(p, -error, "permission denied; is the user in the group of the device?");
    default:
        return fail(p, -error, strerror(error));
    }
}

/* ---- the two ways to configure a port -------------------------------------- */

static enum sp_parity library_parity(enum radio_serial_parity parity)
{
    switch (parity) {
    case RADIO_SERIAL_PARITY_NONE:
        return SP_PARITY_NONE;
    case RADIO_SERIAL_PARITY_EVEN:
        return SP_PARITY_EVEN;
    case RADIO_SERIAL_PARITY_ODD:
        return SP_PARITY_ODD;
    }
    return SP_PARITY_INVALID;
}

static enum sp_flowcontrol library_flow(enum radio_serial_flow flow)
{
    switch (flow) {
    case RADIO_SERIAL_FLOW_NONE:
        return SP_FLOWCONTROL_NONE;
    case RADIO_SERIAL_FLOW_RTSCTS:
        return SP_FLOWCONTROL_RTSCTS;
    case RADIO_SERIAL_FLOW_XONXOFF:
        return SP_FLOWCONTROL_XONXOFF;
    }
    return SP_FLOWCONTROL_NONE;
}

/* All settings in one sp_set_config(): every single setter would read and write
 * the whole configuration, with the port in states in between that nobody asked for. */
static enum sp_return library_configure(struct sp_port *port, const struct radio_serial_options *o)
{
    struct sp_port_config *config = NULL;
    enum sp_return rc = sp_new_config(&config);
    if (rc != SP_OK) {
        return rc;
    }
    sp_set_config_baudrate(config, (int)o->baud);
    sp_set_config_bits(config, o->data_bits);
    sp_set_config_parity(config, library_parity(o->parity));
    sp_set_config_stopbits(config, o->stop_bits);
    sp_set_config_flowcontrol(config, library_flow(o->flow));
    sp_set_config_dtr(config, SP_DTR_ON);
    if (o->flow != RADIO_SERIAL_FLOW_RTSCTS) {
        sp_set_config_rts(config, SP_RTS_ON);
    }
    rc = sp_set_config(port, config);
    sp_free_config(config);
    return rc;
}

static int library_open(struct serial_port *p)
{
    int fd = -1;
    if (sp_open(p->library, SP_MODE_READ_WRITE) != SP_OK) {
        const int error = sp_last_error_code();
        sp_free_port(p->library);
        p->library = NULL;
        return fail_errno(p, error == 0 ? EIO : error);
    }
    if (library_configure(p->library, &p->options) != SP_OK ||
        sp_get_port_handle(p->library, &fd) != SP_OK) {
        sp_close(p->library);
        sp_free_port(p->library);
        p->library = NULL;
        return fail(p, -EINVAL, "the driver refuses these line settings");
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

static bool is_pty(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && major(st.st_rdev) >= PTY_MAJOR_FIRST &&
           major(st.st_rdev) <= PTY_MAJOR_LAST;
}

static int termios_open(struct serial_port *p)
{
    const struct radio_serial_options *const o = &p->options;
    const int fd = p->lock;
    struct termios t;
    if (tcgetattr(fd, &t) != 0) {
        return fail_errno(p, errno);
    }
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    t.c_cflag &= ~(tcflag_t)(PARENB | PARODD | CSTOPB);
    t.c_iflag &= ~(tcflag_t)(IXON | IXOFF | IXANY | INPCK);
    if (o->parity != RADIO_SERIAL_PARITY_NONE) {
        t.c_cflag |= PARENB | (o->parity == RADIO_SERIAL_PARITY_ODD ? PARODD : 0);
    }
    if (o->stop_bits == 2) {
        t.c_cflag |= CSTOPB;
    }
    if (o->flow == RADIO_SERIAL_FLOW_XONXOFF) {
        t.c_iflag |= IXON | IXOFF;
    }
    /* A pty has no rate; anything else that did not take it would be mute. */
    if (cfsetspeed(&t, o->baud) != 0 && !is_pty(fd)) {
        return fail(p, -EINVAL, "the driver refuses this baud rate");
    }
    return tcsetattr(fd, TCSANOW, &t) == 0 ? fd : fail_errno(p, errno);
}

/* ---- the port of a stream link --------------------------------------------- */

/* What both ways have in common. VMIN 1 makes read() tell "nothing yet" from
 * "gone". Without HUPCL closing leaves DTR as it is. RTS/CTS is set here again,
 * because libserialport 0.1.1 puts CRTSCTS into c_iflag, where it does nothing. */
static void finish(const struct serial_port *p, int fd)
{
    struct termios t;
    if (tcgetattr(fd, &t) == 0) {
        t.c_cc[VMIN] = 1;
        t.c_cc[VTIME] = 0;
        t.c_cflag = p->options.keep_dtr ? t.c_cflag & ~(tcflag_t)HUPCL : t.c_cflag | HUPCL;
        t.c_cflag &= ~(tcflag_t)CRTSCTS;
        t.c_cflag |= p->options.flow == RADIO_SERIAL_FLOW_RTSCTS ? CRTSCTS : 0;
        tcsetattr(fd, TCSANOW, &t);
    }
    ioctl(fd, TIOCEXCL);
}

/* The lock comes before the settings: a port that another program uses must not
 * be touched. */
static int take_lock(struct serial_port *p, const char *path)
{
    const int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(p, errno);
    }
    int rc = fd;
    if (isatty(fd) != 1) {
        rc = errno == EIO ? fail_errno(p, EIO) : fail(p, -ENOTTY, "it is no serial port");
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        rc = fail_errno(p, errno);
    }
    if (rc < 0) {
        close(fd);
    }
    return rc;
}

static int serial_open(void *ctx)
{
    struct serial_port *const p = ctx;
    char path[PATH_MAX];
    if (realpath(p->options.device, path) == NULL) {
        return fail_errno(p, errno);
    }
    const int lock = take_lock(p, path);
    if (lock < 0) {
        return lock;
    }
    p->lock = lock;
    p->library = NULL;
    const int fd =
        sp_get_port_by_name(path, &p->library) == SP_OK ? library_open(p) : termios_open(p);
    if (fd < 0) {
        close(lock);
        return fd;
    }
    finish(p, fd);
    p->why[0] = '\0';
    return fd;
}

static void serial_close(void *ctx, int fd)
{
    struct serial_port *const p = ctx;
    /* The last close of a tty waits until its octets have left: with the other
     * side holding them back that would stop the loop for half a minute. */
    if (p->options.flow != RADIO_SERIAL_FLOW_NONE) {
        tcflush(fd, TCOFLUSH);
    }
    /* A tty that somebody else keeps open stays exclusive otherwise, for us too. */
    ioctl(fd, TIOCNXCL);
    if (p->library != NULL) {
        sp_close(p->library);
        sp_free_port(p->library);
        p->library = NULL;
    }
    close(p->lock);
}

static void serial_release(void *ctx)
{
    struct serial_port *const p = ctx;
    free(p->device);
    free(p);
}

/* ---- opening --------------------------------------------------------------- */

static struct radio_serial_options with_defaults(const struct radio_serial_options *given)
{
    struct radio_serial_options o = *given;
    o.baud = o.baud == 0 ? BAUD_DEFAULT : o.baud;
    o.data_bits = o.data_bits == 0 ? 8 : o.data_bits;
    o.stop_bits = o.stop_bits == 0 ? 1 : o.stop_bits;
    o.frame_max = o.frame_max == 0 ? FRAME_MAX_DEFAULT : o.frame_max;
    return o;
}

uint32_t radio_serial_octets_per_s(const struct radio_serial_options *given)
{
    const struct radio_serial_options o = with_defaults(given);
    const uint32_t bits = 1u + o.data_bits + (o.parity != RADIO_SERIAL_PARITY_NONE) + o.stop_bits;
    return o.baud / bits;
}

static uint32_t gap_of(const struct radio_serial_options *o)
{
    if (o->gap_ms != 0) {
        return o->gap_ms;
    }
    if (o->framing != RADIO_FRAMING_RAW) {
        return GAP_DEFAULT_MS;
    }
    const uint32_t octets_per_s = radio_serial_octets_per_s(o);
    const uint32_t gap_ms =
        octets_per_s == 0 ? GAP_DEFAULT_MS : GAP_RAW_OCTETS * 1000 / octets_per_s;
    return gap_ms < GAP_RAW_MIN_MS ? GAP_RAW_MIN_MS : gap_ms;
}

static const char *what_is_wrong(const struct radio_serial_options *o)
{
    if (o->data_bits != 8) {
        return "the framings need 8 data bits";
    }
    if (o->stop_bits > 2) {
        return "there are 1 or 2 stop bits";
    }
    if (o->baud > INT_MAX) {
        return "the driver refuses this baud rate";
    }
    if (o->flow == RADIO_SERIAL_FLOW_XONXOFF && !radio_framing_is_xonxoff_safe(o->framing)) {
        return "xonxoff takes octets out of every framing but hdlc";
    }
    return NULL;
}

static int run(struct serial_port *p, int fd, struct radio_link **out)
{
    const struct radio_stream_options stream = {
        .framing = p->options.framing,
        .frame_max = p->options.frame_max,
        .gap_ms = gap_of(&p->options),
        .octets_per_s = radio_serial_octets_per_s(&p->options),
        .has_flow_control = p->options.flow != RADIO_SERIAL_FLOW_NONE,
    };
    const struct radio_stream_port port = {
        .open = serial_open, .close = serial_close, .release = serial_release, .ctx = p};
    const int rc = radio_stream_open(&stream, &port, fd, out);
    if (rc != 0 && fd >= 0) {
        serial_close(p, fd);
    }
    return rc == 0 ? 0 : fail_errno(p, -rc);
}

static int open_and_run(struct serial_port *p, struct radio_link **out)
{
    const char *const wrong = what_is_wrong(&p->options);
    if (wrong != NULL) {
        return fail(p, -EINVAL, wrong);
    }
    const int fd = serial_open(p);
    return fd < 0 && !p->options.wait_at_start ? fd : run(p, fd, out);
}

int radio_serial_open(const struct radio_serial_options *given, struct radio_link **out, char *why,
                      size_t why_size)
{
    struct serial_port *const p = calloc(1, sizeof(*p));
    char *const device = strdup(given->device);
    if (p == NULL || device == NULL) {
        free(p);
        free(device);
        snprintf(why, why_size, "cannot open serial port %s: %s", given->device, strerror(ENOMEM));
        return -ENOMEM;
    }
    p->options = with_defaults(given);
    p->device = device;
    p->options.device = device;
    const int rc = open_and_run(p, out);
    if (rc != 0) {
        snprintf(why, why_size, "%s", p->why);
        serial_release(p);
    }
    return rc;
}

const char *radio_serial_why(const struct radio_link *l)
{
    return ((const struct serial_port *)radio_stream_ctx(l))->why;
}
