/* Publishes messages as a device would. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/device.h"

#define LINE_MAX_LEN DEVICE_FRAME_MAX

enum {
    OPTION_REPEAT = 512,
    OPTION_INTERVAL,
    OPTION_SLEEP,
};

static const struct argp_option option_list[] = {
    {.doc = "Message:", .group = 1},
    {"topic", 't', "TOPIC", 0, "Topic to publish to", 1},
    {"predefined", 'T', "ID", 0, "Predefined topic id to publish to, instead of -t", 1},
    {"short", 'S', NULL, 0, "Send a topic of two characters as a short topic", 1},
    {"message", 'm', "TEXT", 0, "Publish this text", 1},
    {"file", 'f', "FILE", 0, "Publish what is in this file (- for stdin)", 1},
    {"null-message", 'n', NULL, 0, "Publish a message of no octets", 1},
    {"stdin-line", 'l', NULL, 0, "Publish each line of stdin", 1},
    {"qos", 'q', "QOS", 0, "-1, 0, 1 or 2 (default 0); -1 does without a connection", 1},
    {"retain", 'r', NULL, 0, "Ask the broker to retain the message", 1},
    {"repeat", OPTION_REPEAT, "N", 0, "Publish -m N times, with the count for {n} in it", 1},
    {"interval", OPTION_INTERVAL, "MS", 0, "Time from one message to the next (default 0)", 1},
    {"sleep", OPTION_SLEEP, "SECONDS", 0, "Sleep between messages, wake up at least this often", 1},
    {0},
};

enum source { SOURCE_NONE, SOURCE_TEXT, SOURCE_FILE, SOURCE_LINES };

struct options {
    struct device_options device;
    enum source source;
    const char *topic;
    const char *text; /* message, or name of the file */
    uint16_t tid;     /* 0: by topic */
    bool retain;
    uint32_t repeat;
    uint32_t interval_ms;
};

static void set_source(struct options *o, enum source source, const char *text,
                       struct argp_state *state)
{
    if (o->source != SOURCE_NONE) {
        argp_error(state, "only one of -m, -f, -n and -l is possible");
    }
    o->source = source;
    o->text = text;
}

static void check(const struct options *o, struct argp_state *state)
{
    if ((o->topic == NULL) == (o->tid == 0)) {
        argp_error(state, "one topic is needed: -t TOPIC, or -T ID");
    }
    if (o->device.discover && o->device.qos == SN_QOS_MINUS_ONE) {
        argp_error(state, "QoS -1 goes to a gateway that is known: -h and -p, not --discover");
    }
    if (o->source == SOURCE_NONE) {
        argp_error(state, "a message is needed: -m TEXT, -f FILE, -n or -l");
    }
    if (o->source == SOURCE_LINES && o->repeat != 1) {
        argp_error(state, "--repeat does not go with -l");
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        *o = (struct options){.repeat = 1};
        state->child_inputs[0] = &o->device;
        break;
    case 't':
        o->topic = arg;
        break;
    case 'T':
        o->tid = (uint16_t)device_number(arg, 1, 65534, "predefined topic id", state);
        break;
    case 'S':
        o->device.short_topics = true;
        break;
    case 'm':
        set_source(o, SOURCE_TEXT, arg, state);
        break;
    case 'f':
        set_source(o, SOURCE_FILE, arg, state);
        break;
    case 'n':
        set_source(o, SOURCE_TEXT, "", state);
        break;
    case 'l':
        set_source(o, SOURCE_LINES, NULL, state);
        break;
    case 'q':
        o->device.qos = (int8_t)device_number(arg, -1, 2, "QoS", state);
        break;
    case 'r':
        o->retain = true;
        break;
    case OPTION_REPEAT:
        o->repeat = (uint32_t)device_number(arg, 1, 1000000000, "repeat", state);
        break;
    case OPTION_INTERVAL:
        o->interval_ms = (uint32_t)device_number(arg, 0, 86400000, "interval", state);
        break;
    case OPTION_SLEEP:
        o->device.sleep_s = (uint16_t)device_number(arg, 1, 65535, "sleep", state);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one argument too many", arg);
        break;
    case ARGP_KEY_END:
        check(o, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- where messages come from ----------------------------------------------- */

/* stdin by lines, without stopping the loop. */
struct lines {
    char *buffer; /* LINE_MAX_LEN + 1 octets */
    size_t len;
    bool ended;
};

/* Takes what stdin has; a line that is longer than any frame ends the input. */
static bool fill_lines(struct lines *in)
{
    if (in->len > LINE_MAX_LEN) {
        device_say("a line has more than %d octets and fits into no frame", LINE_MAX_LEN);
        return false;
    }
    const ssize_t n = read(STDIN_FILENO, in->buffer + in->len, LINE_MAX_LEN + 1 - in->len);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        device_say("cannot read stdin: %s", strerror(errno));
        return false;
    }
    if (n > 0) {
        in->len += (size_t)n;
    }
    in->ended = n == 0;
    return true;
}

/* The next whole line, or the rest if the last one has no end. */
static bool peek_line(const struct lines *in, struct sn_bytes *line, size_t *taken)
{
    const char *end = memchr(in->buffer, '\n', in->len);

    if (end == NULL && (!in->ended || in->len == 0)) {
        return false;
    }
    const size_t len = end == NULL ? in->len : (size_t)(end - in->buffer);
    *line = sn_bytes(in->buffer, len);
    *taken = end == NULL ? len : len + 1;
    return true;
}

static char *read_file(const char *name, size_t *len)
{
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    char *text = malloc(DEVICE_FRAME_MAX + 1);

    if (f == NULL || text == NULL) {
        device_say("cannot open '%s': %s", name, strerror(errno));
        free(text);
        return NULL;
    }
    *len = fread(text, 1, DEVICE_FRAME_MAX + 1, f);
    if (ferror(f)) {
        device_say("cannot read '%s': %s", name, strerror(errno));
        free(text);
        text = NULL;
    }
    if (f != stdin) {
        fclose(f);
    }
    return text;
}

/* The text, in a series with every {n} replaced by the number; returns its length. */
static size_t fill_in_number(const struct options *o, uint32_t number, char *out, size_t size)
{
    const char *text = o->text;
    char digits[12];
    size_t len = 0;

    (void)snprintf(digits, sizeof digits, "%u", (unsigned)number);
    while (*text != '\0' && len < size) {
        const bool here = o->repeat > 1 && strncmp(text, "{n}", 3) == 0;
        const char *piece = here ? digits : text;
        const size_t piece_len = here ? strlen(digits) : 1;
        if (piece_len > size - len) {
            return size;
        }
        memcpy(out + len, piece, piece_len);
        len += piece_len;
        text += here ? 3 : 1;
    }
    return len;
}

/* ---- publishing ------------------------------------------------------------- */

struct publisher {
    const struct options *options;
    struct device device;
    struct lines lines;
    char *file;
    size_t file_len;
    char *text;       /* room for a message with its number */
    uint32_t count;   /* messages taken from the source */
    uint64_t next_ms; /* not before */
    bool failed;      /* something was not published */
    bool over;        /* nothing more can be done */
};

static void on_event(void *ctx, const struct sn_client_event *e)
{
    struct publisher *p = ctx;
    struct device *d = &p->device;

    switch (e->type) {
    case SN_EVENT_LOST:
        device_report(d, e);
        /* One attempt to come back, then the truth. */
        p->over = !d->was_connected || d->in_vain;
        break;
    case SN_EVENT_REFUSED:
        device_report(d, e);
        p->over = true;
        break;
    case SN_EVENT_PUBLISHED:
        if (e->done.result == SN_RESULT_REJECTED) {
            device_say("message %u was refused: %s (code %u)", (unsigned)p->count,
                       device_explain_code(e->done.code), (unsigned)e->done.code);
        } else if (e->done.result == SN_RESULT_UNKNOWN) {
            device_say("message %u may have arrived, or not", (unsigned)p->count);
        }
        p->failed = p->failed || e->done.result != SN_RESULT_ACCEPTED;
        break;
    case SN_EVENT_DROPPED:
        device_say("a message of QoS 0 was refused: %s (code %u)",
                   device_explain_code(e->dropped.code), (unsigned)e->dropped.code);
        p->failed = true;
        break;
    case SN_EVENT_CONGESTED:
        device_say("the gateway is congested; going on in %u s",
                   (unsigned)((e->congested.until_ms - device_now()) / 1000));
        break;
    case SN_EVENT_CONNECTED:
    case SN_EVENT_DISCONNECTED:
    case SN_EVENT_ASLEEP:
    case SN_EVENT_MESSAGE:
    case SN_EVENT_SUBSCRIBED:
    case SN_EVENT_UNSUBSCRIBED:
    case SN_EVENT_WILL_CHANGED:
    case SN_EVENT_GATEWAY:
    case SN_EVENT_SEND:
    case SN_EVENT_DISCARDED:
        break;
    }
}

/* The next message if there is one already; taken is what to remove from the lines. */
static bool peek(struct publisher *p, struct sn_bytes *data, size_t *taken)
{
    const struct options *o = p->options;

    *taken = 0;
    if (o->source == SOURCE_LINES) {
        return peek_line(&p->lines, data, taken);
    }
    if (p->count == o->repeat) {
        return false;
    }
    if (o->source == SOURCE_FILE) {
        *data = sn_bytes(p->file, p->file_len);
    } else {
        *data = sn_bytes(p->text, fill_in_number(o, p->count + 1, p->text, DEVICE_FRAME_MAX + 1));
    }
    return true;
}

static bool is_finished(struct publisher *p)
{
    if (p->options->source == SOURCE_LINES) {
        return p->lines.ended && p->lines.len == 0;
    }
    return p->count == p->options->repeat;
}

/* Hands the next message to the client. */
static void publish_next(struct publisher *p, struct sn_bytes data, size_t taken)
{
    const struct options *o = p->options;
    const struct sn_topic_ref topic =
        o->tid != 0 ? sn_topic_predefined(o->tid) : device_topic(&o->device, o->topic);
    const uint64_t now_ms = device_now();

    const uint64_t unsent = p->device.unsent;

    p->count++;
    const enum sn_client_answer answer =
        sn_client_publish(&p->device.client, now_ms, topic, o->device.qos, o->retain, data);
    if (answer != SN_ANSWER_STARTED && answer != SN_ANSWER_DONE) {
        device_say("message %u (%zu octets) cannot be published: %s", (unsigned)p->count, data.len,
                   device_explain(answer));
        p->failed = true;
        p->over = answer == SN_ANSWER_BAD_TOPIC || o->source != SOURCE_LINES;
    } else if (o->device.qos <= 0 && p->device.unsent > unsent) {
        device_say("message %u could not be sent: the link does not take it", (unsigned)p->count);
        p->failed = true;
    }
    memmove(p->lines.buffer, p->lines.buffer + taken, p->lines.len - taken);
    p->lines.len -= taken;
    p->next_ms = now_ms + o->interval_ms;
}

/* Does what can be done without waiting. */
static void advance(struct publisher *p)
{
    struct sn_client *c = &p->device.client;
    const uint64_t now_ms = device_now();
    const bool connectionless = p->options->device.qos == SN_QOS_MINUS_ONE;
    struct sn_bytes data;
    size_t taken;

    if (sn_client_is_busy(c) || p->device.waiting_len > 0) {
        return;
    }
    const bool ready = now_ms >= p->next_ms && peek(p, &data, &taken);
    if (connectionless || sn_client_state(c) == SN_CLIENT_ACTIVE) {
        if (ready) {
            publish_next(p, data, taken);
        } else if (!connectionless && p->options->device.sleep_s != 0 && !is_finished(p)) {
            sn_client_sleep(c, now_ms, p->options->device.sleep_s);
        }
    } else if (ready && sn_client_state(c) == SN_CLIENT_ASLEEP) {
        sn_client_connect(c, now_ms);
    }
}

static bool wants_input(const struct publisher *p)
{
    return p->options->source == SOURCE_LINES && !p->lines.ended &&
           memchr(p->lines.buffer, '\n', p->lines.len) == NULL &&
           !sn_client_is_busy(&p->device.client);
}

/* When there will be something to do although nothing arrives. */
static uint64_t next_turn(struct publisher *p)
{
    const enum sn_client_state state = sn_client_state(&p->device.client);
    const bool can = state == SN_CLIENT_ACTIVE || state == SN_CLIENT_ASLEEP ||
                     p->options->device.qos == SN_QOS_MINUS_ONE;
    struct sn_bytes data;
    size_t taken;

    return can && !sn_client_is_busy(&p->device.client) && p->device.waiting_len == 0 &&
                   peek(p, &data, &taken)
               ? p->next_ms
               : SN_NEVER;
}

static void run(struct publisher *p)
{
    struct device *d = &p->device;

    if (p->options->device.qos != SN_QOS_MINUS_ONE) {
        sn_client_connect(&d->client, device_now());
    }
    while (!p->over && device_may_go_on(d) && (!is_finished(p) || sn_client_is_busy(&d->client))) {
        if (device_wait(d, next_turn(p), wants_input(p) ? STDIN_FILENO : -1) &&
            !fill_lines(&p->lines)) {
            p->failed = p->over = true;
        }
        advance(p);
    }
    if (sn_client_is_busy(&d->client)) {
        device_say("message %u has no answer: it may have arrived, or not%s", (unsigned)p->count,
                   is_finished(p) ? "" : "; what follows it was not published");
        p->failed = true;
    } else if (!is_finished(p)) {
        if (d->interrupted || d->was_connected) {
            device_say("not everything was published; the last was message %u", (unsigned)p->count);
        }
        p->failed = true;
    }
    device_leave(d);
}

int main(int argc, char **argv)
{
    const struct argp_child children[] = {{.argp = &device_argp}, {0}};
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .doc = "Publish messages to an MQTT-SN gateway.\v"
               "Exit status: 0 all messages were published, at QoS 1 and 2 acknowledged; "
               "1 something was not; 2 wrong usage.",
        .children = children,
    };
    static struct publisher p;
    static struct options options;

    argp_err_exit_status = DEVICE_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    p.options = &options;
    p.lines.buffer = malloc(LINE_MAX_LEN + 1);
    p.text = malloc(DEVICE_FRAME_MAX + 1);
    if (options.source == SOURCE_FILE) {
        p.file = read_file(options.text, &p.file_len);
        if (p.file == NULL) {
            return DEVICE_FAILED;
        }
    }
    if (device_open(&p.device, &options.device, on_event, &p) != DEVICE_OK) {
        return DEVICE_FAILED;
    }
    run(&p);
    device_close(&p.device);
    free(p.lines.buffer);
    free(p.text);
    free(p.file);
    return p.failed ? DEVICE_FAILED : DEVICE_OK;
}
