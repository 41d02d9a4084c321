/* Subscribes as a device would, and prints what comes. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/device.h"

#define TOPICS_MAX 64

enum { OPTION_SLEEP = 512 };

static const struct argp_option option_list[] = {
    {.doc = "Messages:", .group = 1},
    {"topic", 't', "FILTER", 0, "Topic or filter to subscribe to; may be repeated", 1},
    {"predefined", 'T', "ID", 0, "Predefined topic id to subscribe to; may be repeated", 1},
    {"short", 'S', NULL, 0, "Subscribe to topics of two characters as short topics", 1},
    {"qos", 'q', "QOS", 0, "QoS to ask for, 0, 1 or 2 (default 0)", 1},
    {"verbose", 'v', NULL, 0, "Print the topic before the message; #7 is a predefined id", 1},
    {NULL, 'C', "COUNT", 0, "Leave after this many messages", 1},
    {NULL, 'W', "SECONDS", 0, "Leave after this time", 1},
    {"sleep", OPTION_SLEEP, "SECONDS", 0, "Sleep, and fetch messages at least this often", 1},
    {0},
};

struct wanted {
    const char *name; /* NULL: predefined */
    uint16_t tid;
};

struct options {
    struct device_options device;
    struct wanted topics[TOPICS_MAX];
    size_t topics_len;
    uint32_t count;     /* 0: no limit */
    uint32_t timeout_s; /* 0: no limit */
    bool verbose;
};

static void add_topic(struct options *o, const char *name, uint16_t tid, struct argp_state *state)
{
    if (o->topics_len == TOPICS_MAX) {
        argp_error(state, "no more than %d topics are possible", TOPICS_MAX);
        return;
    }
    o->topics[o->topics_len++] = (struct wanted){.name = name, .tid = tid};
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        *o = (struct options){0};
        state->child_inputs[0] = &o->device;
        break;
    case 't':
        add_topic(o, arg, 0, state);
        break;
    case 'T':
        add_topic(o, NULL, (uint16_t)device_number(arg, 1, 65534, "predefined topic id", state),
                  state);
        break;
    case 'S':
        o->device.short_topics = true;
        break;
    case 'q':
        o->device.qos = (int8_t)device_number(arg, 0, 2, "QoS", state);
        break;
    case 'v':
        o->verbose = true;
        break;
    case 'C':
        o->count = (uint32_t)device_number(arg, 1, 1000000000, "count", state);
        break;
    case 'W':
        o->timeout_s = (uint32_t)device_number(arg, 1, 1000000000, "timeout", state);
        break;
    case OPTION_SLEEP:
        o->device.sleep_s = (uint16_t)device_number(arg, 1, 65535, "sleep", state);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one argument too many", arg);
        break;
    case ARGP_KEY_END:
        if (o->topics_len == 0) {
            argp_error(state, "a topic is needed: -t FILTER, or -T ID");
        }
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

struct subscriber {
    const struct options *options;
    struct device device;
    size_t subscribed; /* how many of the topics, in this connection */
    uint32_t count;
    bool failed;
    bool over;
};

static void name_topic(const struct wanted *w, char *out, size_t size)
{
    if (w->name != NULL) {
        (void)snprintf(out, size, "'%s'", w->name);
    } else {
        (void)snprintf(out, size, "#%u", (unsigned)w->tid);
    }
}

/* Asks for the next topic that has not been asked for, then lies down. */
static void advance(struct subscriber *s)
{
    const struct options *o = s->options;
    struct sn_client *c = &s->device.client;
    char name[300];

    if (s->over || sn_client_is_busy(c) || sn_client_state(c) != SN_CLIENT_ACTIVE) {
        return;
    }
    if (s->subscribed == o->topics_len) {
        if (o->device.sleep_s != 0) {
            sn_client_sleep(c, device_now(), o->device.sleep_s);
        }
        return;
    }
    const struct wanted *w = &o->topics[s->subscribed];
    const struct sn_topic_ref topic =
        w->name != NULL ? device_topic(&o->device, w->name) : sn_topic_predefined(w->tid);
    const enum sn_client_answer answer = sn_client_subscribe(c, device_now(), topic, o->device.qos);
    if (answer != SN_ANSWER_STARTED) {
        name_topic(w, name, sizeof name);
        device_say("cannot subscribe to %s: %s", name,
                   answer == SN_ANSWER_BAD_TOPIC ? "not a valid topic filter"
                                                 : device_explain(answer));
        s->failed = s->over = true;
    }
}

static void on_subscribed(struct subscriber *s, const struct sn_client_event *e)
{
    char name[300];

    if (s->subscribed < s->options->topics_len && e->done.result == SN_RESULT_REJECTED) {
        name_topic(&s->options->topics[s->subscribed], name, sizeof name);
        device_say("the gateway refused the subscription to %s: %s (code %u)", name,
                   device_explain_code(e->done.code), (unsigned)e->done.code);
        s->failed = s->over = true;
    }
    if (e->done.result == SN_RESULT_ACCEPTED) {
        s->subscribed++;
    }
}

static void print_message(struct subscriber *s, const struct sn_client_event *e)
{
    char topic[DEVICE_NAME_SIZE + 1];
    const struct sn_bytes data = e->message.data;

    if (s->over) {
        return;
    }
    if (s->options->verbose) {
        device_print_topic(e->message.topic, topic, sizeof topic);
        printf(data.len == 0 ? "%s (null)" : "%s ", topic);
    }
    fwrite(data.data, 1, data.len, stdout);
    putchar('\n');
    if (fflush(stdout) != 0) {
        device_say("cannot write to stdout");
        s->failed = s->over = true;
    }
    s->count++;
    s->over = s->over || s->count == s->options->count;
}

static void on_event(void *ctx, const struct sn_client_event *e)
{
    struct subscriber *s = ctx;

    switch (e->type) {
    case SN_EVENT_CONNECTED:
        s->subscribed = 0; /* the gateway may have forgotten them */
        break;
    case SN_EVENT_SUBSCRIBED:
        on_subscribed(s, e);
        break;
    case SN_EVENT_MESSAGE:
        print_message(s, e);
        break;
    case SN_EVENT_LOST:
    case SN_EVENT_REFUSED:
        if (!s->device.in_vain) {
            device_report(&s->device, e);
        }
        if (!s->device.was_connected) {
            s->failed = s->over = true;
        }
        break;
    case SN_EVENT_CONGESTED:
        device_say("the gateway is congested; going on in %u s",
                   (unsigned)((e->congested.until_ms - device_now()) / 1000));
        break;
    case SN_EVENT_ASLEEP:
        if (!e->asleep.answered) {
            device_say("the gateway did not answer this time; trying at the next waking");
        }
        break;
    case SN_EVENT_PUBLISHED:
    case SN_EVENT_DISCONNECTED:
    case SN_EVENT_UNSUBSCRIBED:
    case SN_EVENT_WILL_CHANGED:
    case SN_EVENT_DROPPED:
    case SN_EVENT_GATEWAY:
    case SN_EVENT_SEND:
    case SN_EVENT_DISCARDED:
        break;
    }
}

static void run(struct subscriber *s)
{
    struct device *d = &s->device;
    const struct options *o = s->options;
    const uint64_t end_ms =
        o->timeout_s == 0 ? SN_NEVER : d->start_ms + (uint64_t)o->timeout_s * 1000;

    sn_client_connect(&d->client, device_now());
    while (!s->over && device_may_go_on(d) && device_now() < end_ms) {
        (void)device_wait(d, end_ms, -1);
        advance(s);
    }
    s->failed = s->failed || d->in_void;
    if (!s->over && device_may_go_on(d)) {
        if (!d->was_connected) {
            device_say("no connection within %u s", (unsigned)o->timeout_s);
            s->failed = true;
        } else if (o->count > 0) {
            device_say("only %u of %u messages came within %u s", (unsigned)s->count,
                       (unsigned)o->count, (unsigned)o->timeout_s);
            s->failed = true;
        }
    }
    device_leave(d);
}

int main(int argc, char **argv)
{
    const struct argp_child children[] = {{.argp = &device_argp}, {0}};
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .doc = "Subscribe at an MQTT-SN gateway and print the messages that come.\v"
               "Exit status: 0 as wished; 1 no connection, a subscription was refused, or "
               "fewer messages than -C came; 2 wrong usage.",
        .children = children,
    };
    static struct subscriber s;
    static struct options options;

    argp_err_exit_status = DEVICE_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    s.options = &options;
    if (device_open(&s.device, &options.device, on_event, &s) != DEVICE_OK) {
        return DEVICE_FAILED;
    }
    run(&s);
    device_close(&s.device);
    return s.failed ? DEVICE_FAILED : DEVICE_OK;
}
