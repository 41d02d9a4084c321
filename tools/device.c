#include "tools/device.h"

#include <argp.h>
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "mqttsn/topic.h"
#include "radio/framing.h"
#include "radio/link_serial.h"
#include "radio/link_udp.h"

#define KERNEL_BUFFER 262144  /* octets in each direction, for one device */
#define WAIT_MAX_MS   3600000 /* nothing to do for that long: look again */
#define CLOSE_MS      60000   /* a slow line may need that long for what it has taken */

const char *argp_program_version = "snbridge " SNBRIDGE_VERSION;

/* One device per program: its memory is here and not on a stack. */
static struct sn_client_topic topics[DEVICE_TOPICS_MAX];
static uint8_t names[DEVICE_TOPICS_MAX][DEVICE_NAME_SIZE];
static struct sn_client_gateway gateways[8];
static uint8_t kept[DEVICE_FRAME_MAX];
static uint8_t scratch[DEVICE_FRAME_MAX];
static uint8_t waiting[DEVICE_FRAME_MAX]; /* a frame that the link had no room for yet */
static char own_id[SN_CLIENT_ID_MAX + 1];
static volatile sig_atomic_t signalled;

uint64_t device_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void device_say(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- options ---------------------------------------------------------------- */

enum {
    OPTION_WILL_TOPIC = 256,
    OPTION_WILL_PAYLOAD,
    OPTION_WILL_QOS,
    OPTION_WILL_RETAIN,
    OPTION_SERIAL,
    OPTION_FRAMING,
    OPTION_BAUD,
    OPTION_SLEEP,
    OPTION_FORWARDER,
    OPTION_DISCOVER,
    OPTION_INTERFACE,
    OPTION_RADIUS,
    OPTION_RETRY,
    OPTION_RETRIES,
};

static const struct argp_option option_list[] = {
    {.doc = "Gateway:", .group = 2},
    {"host", 'h', "HOST", 0, "Gateway's name or address (default localhost)", 2},
    {"port", 'p', "PORT", 0, "Gateway's UDP port (default 1883)", 2},
    {"serial", OPTION_SERIAL, "DEVICE", 0, "Use a serial port instead of UDP", 2},
    {"framing", OPTION_FRAMING, "NAME", 0, "cobs (default), slip, hdlc or raw", 2},
    {"baud", OPTION_BAUD, "N", 0, "Speed of the serial port (default 9600)", 2},
    {"forwarder", OPTION_FORWARDER, "NODE", 0,
     "Send as a forwarder would for this wireless node (hex digits)", 2},
    {"discover", OPTION_DISCOVER, "GROUP", OPTION_ARG_OPTIONAL,
     "Look for a gateway: in this multicast group (ADDRESS:PORT), or on the serial line", 2},
    {"interface", OPTION_INTERFACE, "NAME", 0, "Network interface of the group", 2},
    {"radius", OPTION_RADIUS, "HOPS", 0, "How far to look (default 0, everywhere)", 2},
    {.doc = "Connection:", .group = 3},
    {"id", 'i', "ID", 0, "Client id, 1 to 23 octets (default random)", 3},
    {"keepalive", 'k', "SECONDS", 0, "Keep-alive (default 60, 0 for none)", 3},
    {"disable-clean-session", 'c', NULL, 0, "Keep subscriptions and queued messages", 3},
    {"will-topic", OPTION_WILL_TOPIC, "TOPIC", 0, "What the gateway publishes if we are lost", 3},
    {"will-payload", OPTION_WILL_PAYLOAD, "TEXT", 0, "Its payload (default empty)", 3},
    {"will-qos", OPTION_WILL_QOS, "QOS", 0, "Its QoS (default 0)", 3},
    {"will-retain", OPTION_WILL_RETAIN, NULL, 0, "Retain it", 3},
    {"retry", OPTION_RETRY, "MS", 0,
     "First wait for an answer; doubles up to four times this (default 3000)", 3},
    {"retries", OPTION_RETRIES, "N", 0, "Repeats before giving up (default 3)", 3},
    {"debug", 'd', NULL, 0, "Print every frame to stderr", 3},
    {.doc = "Help:", .group = -1},
    {0},
};

long device_number(const char *text, long min, long max, const char *what, struct argp_state *state)
{
    char *end;

    errno = 0;
    const long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max) {
        argp_error(state, "%s is '%s', but must be a number from %ld to %ld", what, text, min, max);
    }
    return value;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, c | 0x20);

    return at == NULL ? -1 : (int)(at - digits);
}

static void parse_node(struct device_options *o, const char *text, struct argp_state *state)
{
    const size_t len = strlen(text);

    o->node_len = len / 2;
    if (len == 0 || len % 2 != 0 || o->node_len > sizeof o->node) {
        argp_error(state, "forwarder node '%s' must have 2 to %zu hex digits, two for each octet",
                   text, 2 * sizeof o->node);
        return;
    }
    for (size_t i = 0; i < o->node_len; i++) {
        const int high = hex_digit(text[2 * i]);
        const int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            argp_error(state, "forwarder node '%s' must be hex digits", text);
            return;
        }
        o->node[i] = (uint8_t)(high << 4 | low);
    }
}

static void check_options(struct device_options *o, struct argp_state *state)
{
    enum radio_framing framing;
    struct radio_address group;

    if (o->discover && (o->host != NULL || o->port != 0)) {
        argp_error(state, "--discover takes the place of -h and -p");
    }
    if (o->discover && (o->group == NULL) != (o->serial != NULL)) {
        argp_error(state, "--discover needs a GROUP, or --serial");
    }
    if (o->group != NULL && radio_udp_resolve(o->group, &group) != 0) {
        argp_error(state, "the group '%s' must be ADDRESS:PORT, IPv6 addresses in brackets",
                   o->group);
    }
    if (!o->discover && (o->interface != NULL || o->radius != 0)) {
        argp_error(state, "--interface and --radius go with --discover");
    }
    o->host = o->host == NULL ? "localhost" : o->host;
    o->port = o->port == 0 ? 1883 : o->port;

    if (o->id != NULL && (o->id[0] == '\0' || strlen(o->id) > SN_CLIENT_ID_MAX ||
                          sn_utf8_check(sn_bytes_text(o->id)) != SN_OK)) {
        argp_error(state, "client id '%s' must be UTF-8 of 1 to %d octets", o->id,
                   SN_CLIENT_ID_MAX);
    }
    if (!radio_framing_find(o->framing, &framing)) {
        argp_error(state, "framing '%s' must be cobs, slip, hdlc or raw", o->framing);
    }
    if (o->will.topic.len == 0) {
        if (o->will.message.len > 0 || o->will.qos != 0 || o->will.retain) {
            argp_error(state, "a will needs --will-topic");
        }
    } else if (sn_topic_check_name(o->will.topic) != SN_OK) {
        argp_error(state, "--will-topic must be a topic name without wildcards");
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct device_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        *o = (struct device_options){
            .framing = "cobs",
            .baud = 9600,
            .keepalive_s = 60,
            .retry_ms = 3000,
            .retries = 3,
        };
        break;
    case 'h':
        o->host = arg;
        break;
    case 'p':
        o->port = (uint16_t)device_number(arg, 1, 65535, "port", state);
        break;
    case 'i':
        o->id = arg;
        break;
    case 'k':
        o->keepalive_s = (uint16_t)device_number(arg, 0, 65535, "keep-alive", state);
        break;
    case 'c':
        o->keep_session = true;
        break;
    case 'd':
        o->debug = true;
        break;
    case OPTION_WILL_TOPIC:
        o->will.topic = sn_bytes_text(arg);
        break;
    case OPTION_WILL_PAYLOAD:
        o->will.message = sn_bytes_text(arg);
        break;
    case OPTION_WILL_QOS:
        o->will.qos = (int8_t)device_number(arg, 0, 2, "will QoS", state);
        break;
    case OPTION_WILL_RETAIN:
        o->will.retain = true;
        break;
    case OPTION_SERIAL:
        o->serial = arg;
        break;
    case OPTION_FRAMING:
        o->framing = arg;
        break;
    case OPTION_BAUD:
        o->baud = (uint32_t)device_number(arg, 50, 4000000, "baud", state);
        break;
    case OPTION_FORWARDER:
        parse_node(o, arg, state);
        break;
    case OPTION_DISCOVER:
        o->discover = true;
        o->group = arg;
        break;
    case OPTION_INTERFACE:
        o->interface = arg;
        break;
    case OPTION_RADIUS:
        o->radius = (uint8_t)device_number(arg, 0, 255, "radius", state);
        break;
    case OPTION_RETRY:
        o->retry_ms = (uint32_t)device_number(arg, 1, 3600000, "retry", state);
        break;
    case OPTION_RETRIES:
        o->retries = (uint8_t)device_number(arg, 0, 255, "retries", state);
        break;
    case ARGP_KEY_END:
        check_options(o, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp device_argp = {.options = option_list, .parser = parse_option};

struct sn_topic_ref device_topic(const struct device_options *o, const char *name)
{
    if (o->short_topics && strlen(name) == 2) {
        return sn_topic_short(name[0], name[1]);
    }
    return sn_topic_named(name);
}

void device_print_topic(struct sn_topic_ref topic, char *out, size_t size)
{
    if (topic.kind == SN_TOPIC_PREDEFINED) {
        (void)snprintf(out, size, "#%u", (unsigned)topic.tid);
    } else {
        (void)snprintf(out, size, "%.*s", (int)topic.name.len, (const char *)topic.name.data);
    }
}

/* ---- what happened, for people ---------------------------------------------- */

const char *device_explain(enum sn_client_answer answer)
{
    switch (answer) {
    case SN_ANSWER_STARTED:
    case SN_ANSWER_DONE:
        return "fine";
    case SN_ANSWER_BUSY:
        return "another request is open";
    case SN_ANSWER_NOT_CONNECTED:
        return "not connected";
    case SN_ANSWER_BAD_TOPIC:
        return "not a valid topic; use no wildcards to publish, and for QoS -1 a predefined id "
               "(-T) "
               "or a short topic (-S)";
    case SN_ANSWER_BAD_QOS:
        return "not a valid QoS";
    case SN_ANSWER_TOO_LARGE:
        return "too long for one frame, or the topic is longer than 1024 octets";
    }
    return "";
}

const char *device_explain_code(uint8_t code)
{
    switch (code) {
    case SN_ACCEPTED:
        return "accepted";
    case SN_CONGESTION:
        return "congestion, try again later";
    case SN_INVALID_TOPIC_ID:
        return "invalid topic id, is it configured there?";
    case SN_NOT_SUPPORTED:
        return "not supported, its log may say why";
    default:
        return "a reason of its own, its log may say which";
    }
}

static void print_gateway(const struct device *d, char *out, size_t size)
{
    if (d->options->serial != NULL) {
        (void)snprintf(out, size, "at the other end of %s", d->options->serial);
    } else {
        (void)snprintf(out, size, "at ");
        radio_base(d->link)->ops->print_address(&d->peer, out + 3, size - 3);
    }
}

void device_report(const struct device *d, const struct sn_client_event *e)
{
    char gateway[300];

    print_gateway(d, gateway, sizeof gateway);
    if (e->type == SN_EVENT_REFUSED) {
        device_say("the gateway %s refused the connection: %s (code %u)", gateway,
                   device_explain_code(e->refused.code), (unsigned)e->refused.code);
    } else if (e->lost.why == SN_LOSS_LEFT) {
        device_say("the gateway %s ended the connection; connecting again", gateway);
    } else if (!d->was_connected) {
        device_say("no gateway answers %s: is it running, and are %s right?", gateway,
                   d->options->serial != NULL ? "--serial, --framing and --baud" : "-h and -p");
    } else {
        device_say("the gateway %s does not answer %s any more", gateway,
                   sn_type_name((uint8_t)e->lost.waiting_for));
    }
}

static void say_nobody_answers(const struct device *d)
{
    if (d->options->group != NULL) {
        device_say("no gateway answers in the group %s: does one have multicast = %s, and is "
                   "--interface right?",
                   d->options->group, d->options->group);
    } else {
        device_say("no gateway answers on %s: are --framing and --baud right?", d->options->serial);
    }
}

/* One that was found, or has fallen silent. */
static void on_gateway(struct device *d, const struct sn_client_event *e)
{
    struct radio_address a = {.len = (uint8_t)e->gateway.address.len};
    char text[300];

    d->searches = 0;
    if (!d->options->debug) {
        return;
    }
    memcpy(a.bytes, e->gateway.address.data, a.len);
    radio_base(d->link)->ops->print_address(&a, text, sizeof text);
    const uint64_t ms = device_now() - d->start_ms;
    fprintf(stderr, "%4u.%03u * gateway %u %s%s%s\n", (unsigned)(ms / 1000), (unsigned)(ms % 1000),
            (unsigned)e->gateway.id, e->gateway.found ? "found" : "gone",
            text[0] == '\0' ? "" : " at ", text);
}

static void trace(const struct device *d, const char *direction, struct sn_bytes frame)
{
    char line[SN_PRINT_SIZE];
    struct sn_packet p;
    const uint64_t ms = device_now() - d->start_ms;

    if (!d->options->debug) {
        return;
    }
    const enum sn_fault fault = sn_decode(frame, &p);
    if (fault == SN_OK || sn_fault_is_answerable(fault)) {
        sn_print(&p, line, sizeof line);
    } else {
        (void)snprintf(line, sizeof line, "%zu octets: %s", frame.len, sn_fault_name(fault));
    }
    fprintf(stderr, "%4u.%03u %s %s\n", (unsigned)(ms / 1000), (unsigned)(ms % 1000), direction,
            line);
}

/* ---- the link and the client ------------------------------------------------ */

/* A serial line takes a few frames, then one waits here; what does not find
 * room even so is like a frame lost on the air. */
static void send_frame(struct device *d, const struct radio_address *to, struct sn_bytes frame)
{
    const struct radio_ops *ops = radio_base(d->link)->ops;
    const int rc = d->waiting_len > 0 ? -EBUSY : ops->send(d->link, to, frame.data, frame.len);

    d->handed += d->waiting_len == 0;
    if (rc == -ENOBUFS) {
        memcpy(waiting, frame.data, frame.len);
        d->waiting_len = frame.len;
        d->waiting_to = *to;
    } else if (rc != 0) {
        d->unsent++;
    }
}

static void send_waiting(struct device *d)
{
    const size_t len = d->waiting_len;

    if (len > 0) {
        d->waiting_len = 0;
        const struct radio_address to = d->waiting_to;
        send_frame(d, &to, sn_bytes(waiting, len));
    }
}

static void on_send(struct device *d, const struct sn_client_event *e)
{
    struct radio_address to = {0}; /* everybody */
    const bool search = e->send.broadcast && sn_client_state(&d->client) == SN_CLIENT_SEARCHING;

    trace(d, ">", e->send.frame);
    if (search && d->searches++ == (uint32_t)d->options->retries + 1) {
        say_nobody_answers(d);
        d->in_void = true;
        return;
    }
    if (!e->send.broadcast) {
        to.len = (uint8_t)e->send.to.len;
        memcpy(to.bytes, e->send.to.data, e->send.to.len);
        d->peer = to;
    }
    d->echoes += search && d->options->group != NULL;
    send_frame(d, &to, e->send.frame);
}

static void on_event(void *ctx, const struct sn_client_event *e)
{
    struct device *d = ctx;

    if (e->type == SN_EVENT_SEND) {
        on_send(d, e);
        return;
    }
    if (e->type == SN_EVENT_GATEWAY) {
        on_gateway(d, e);
        return;
    }
    if (e->type == SN_EVENT_DISCARDED) {
        return; /* -d has shown the frame */
    }
    if (e->type == SN_EVENT_CONNECTED) {
        d->was_connected = true;
        d->in_vain = false;
    }
    d->handle(d->ctx, e);
    if (e->type == SN_EVENT_LOST || e->type == SN_EVENT_REFUSED) {
        d->in_vain = true;
    }
}

/* What we say to the group comes back; a neighbour's search that is taken for ours makes no
 * difference. */
static bool is_echo(struct device *d, const uint8_t *frame, size_t len)
{
    struct sn_packet p;

    if (d->echoes == 0 || sn_decode(sn_bytes(frame, len), &p) != SN_OK || p.type != SN_SEARCHGW) {
        return false;
    }
    d->echoes--;
    return true;
}

static void on_frame(void *ctx, const struct radio_address *from, const uint8_t *frame, size_t len)
{
    struct device *d = ctx;

    if (is_echo(d, frame, len)) {
        return;
    }
    trace(d, "<", sn_bytes(frame, len));
    sn_client_frame(&d->client, device_now(), sn_bytes(from->bytes, from->len),
                    sn_bytes(frame, len));
}

static void on_signal(int number)
{
    signalled = number;
}

/* Signals come only while poll() waits, so that none is missed before it. */
static void catch_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int open_group(struct device *d)
{
    char why[300];
    struct radio_address group;

    if (radio_udp_resolve(d->options->group, &group) != 0) {
        device_say("there is no group '%s'", d->options->group);
        return DEVICE_FAILED;
    }
    const struct radio_udp_options udp = {
        .listen = radio_udp_any(&group),
        .group = d->options->group,
        .group_interface = d->options->interface,
        .group_hops = d->options->radius == 0 ? UINT8_MAX : d->options->radius,
        .frame_max = DEVICE_FRAME_MAX,
        .kernel_buffer = KERNEL_BUFFER,
    };
    if (radio_udp_open(&udp, &d->link, why, sizeof why) != 0) {
        device_say("%s", why);
        return DEVICE_FAILED;
    }
    return DEVICE_OK;
}

static int open_udp(struct device *d)
{
    char text[300];
    char why[300];
    const char *host = d->options->host;
    const bool bare_v6 = strchr(host, ':') != NULL && host[0] != '[';

    (void)snprintf(text, sizeof text, bare_v6 ? "[%s]:%u" : "%s:%u", host,
                   (unsigned)d->options->port);
    const int failure = radio_udp_resolve(text, &d->peer);
    if (failure != 0) {
        device_say(failure == -EAGAIN ? "cannot look up '%s': the name service does not answer"
                                      : "there is no host '%s': check -h",
                   host);
        return DEVICE_FAILED;
    }
    const struct radio_udp_options udp = {
        .listen = radio_udp_any(&d->peer),
        .frame_max = DEVICE_FRAME_MAX,
        .kernel_buffer = KERNEL_BUFFER,
    };
    if (radio_udp_open(&udp, &d->link, why, sizeof why) != 0) {
        device_say("%s", why);
        return DEVICE_FAILED;
    }
    return DEVICE_OK;
}

static int open_serial(struct device *d)
{
    char why[300];
    struct radio_serial_options serial = {
        .device = d->options->serial,
        .baud = d->options->baud,
        .frame_max = DEVICE_SERIAL_FRAME_MAX,
    };

    (void)radio_framing_find(d->options->framing, &serial.framing);
    if (radio_serial_open(&serial, &d->link, why, sizeof why) != 0) {
        device_say("%s", why);
        return DEVICE_FAILED;
    }
    return DEVICE_OK;
}

static void make_id(uint64_t random)
{
    (void)snprintf(own_id, sizeof own_id, "%.10s-%08x", program_invocation_short_name,
                   (unsigned)(random >> 32));
}

int device_open(struct device *d, const struct device_options *o, sn_client_emit_fn *handle,
                void *ctx)
{
    uint64_t seed = device_now();

    *d = (struct device){.options = o, .handle = handle, .ctx = ctx, .start_ms = device_now()};
    (void)!getrandom(&seed, sizeof seed, 0);
    make_id(seed);
    const int failure = o->serial != NULL  ? open_serial(d)
                        : o->group != NULL ? open_group(d)
                                           : open_udp(d);
    if (failure != DEVICE_OK) {
        return failure;
    }
    catch_signals();

    d->cfg = sn_client_defaults();
    d->cfg.client_id = sn_bytes_text(o->id != NULL ? o->id : own_id);
    d->cfg.keepalive_s = o->keepalive_s;
    d->cfg.clean = !o->keep_session;
    d->cfg.node = sn_bytes(o->node, o->node_len);
    d->cfg.retry_ms = o->retry_ms;
    d->cfg.retry_max_ms = 4 * o->retry_ms;
    d->cfg.retries = o->retries;
    d->cfg.topics = topics;
    d->cfg.topics_max = DEVICE_TOPICS_MAX;
    d->cfg.names = names[0];
    d->cfg.name_size = DEVICE_NAME_SIZE;
    d->cfg.gateways = gateways;
    d->cfg.gateways_max = sizeof gateways / sizeof gateways[0];
    d->cfg.search_ms = o->retry_ms;
    d->cfg.search_radius = o->radius;
    d->cfg.kept = kept;
    d->cfg.kept_size = sizeof kept;
    d->cfg.frame = scratch;
    d->cfg.frame_size = o->serial != NULL ? DEVICE_SERIAL_FRAME_MAX : sizeof scratch;
    d->cfg.emit = on_event;
    d->cfg.ctx = d;
    sn_client_init(&d->client, &d->cfg, seed);
    if (!o->discover) {
        sn_client_add_gateway(&d->client, sn_bytes(d->peer.bytes, d->peer.len));
    }
    if (o->will.topic.len > 0) {
        const enum sn_client_answer answer = sn_client_set_will(&d->client, d->start_ms, &o->will);
        if (answer != SN_ANSWER_DONE) {
            device_say("the will cannot be used: %s", device_explain(answer));
            device_close(d);
            return DEVICE_FAILED;
        }
    }
    return DEVICE_OK;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool has_left(const struct device *d)
{
    const struct radio_base *link = radio_base(d->link);

    return d->waiting_len == 0 &&
           (!link->up || link->count.frames_out + link->count.dropped_out >= d->handed);
}

void device_close(struct device *d)
{
    const uint64_t end_ms = device_now() + CLOSE_MS;

    radio_base(d->link)->ops->flush(d->link);
    while (!has_left(d) && device_now() < end_ms && signalled == 0) {
        (void)device_wait(d, end_ms, -1);
    }
    radio_base(d->link)->ops->close(d->link);
}

bool device_wait(struct device *d, uint64_t until_ms, int extra_fd)
{
    const struct radio_ops *ops = radio_base(d->link)->ops;
    sigset_t none;

    sigemptyset(&none);
    ops->flush(d->link);
    const uint64_t now_ms = device_now();
    until_ms = earliest(until_ms, earliest(sn_client_deadline(&d->client), ops->deadline(d->link)));
    const uint64_t left_ms = until_ms <= now_ms ? 0 : earliest(until_ms - now_ms, WAIT_MAX_MS);
    const struct timespec timeout = {.tv_sec = (time_t)(left_ms / 1000),
                                     .tv_nsec = (long)(left_ms % 1000) * 1000000};
    struct pollfd fds[2] = {
        {.fd = ops->fd(d->link),
         .events = (short)(POLLIN | (ops->wants_write(d->link) ? POLLOUT : 0))},
        {.fd = extra_fd, .events = POLLIN},
    };
    if (ppoll(fds, 2, &timeout, &none) > 0 && fds[0].revents != 0) {
        ops->receive(d->link, device_now(), on_frame, d);
    }
    if (signalled != 0) {
        d->interrupted = true;
    }
    if (device_now() >= ops->deadline(d->link)) {
        ops->tick(d->link, device_now());
    }
    send_waiting(d);
    sn_client_time(&d->client, device_now());
    ops->flush(d->link);
    return fds[1].revents != 0;
}

void device_leave(struct device *d)
{
    /* The answer only tells that the gateway knows: one repeat is enough. */
    d->cfg.retries = d->cfg.retries < 1 ? d->cfg.retries : 1;
    sn_client_disconnect(&d->client, device_now());
    signalled = 0;
    while (sn_client_state(&d->client) != SN_CLIENT_IDLE && signalled == 0) {
        (void)device_wait(d, SN_NEVER, -1);
    }
}
