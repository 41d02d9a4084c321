#include "sim/action.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct line {
    char *out;
    size_t size;
    size_t len;
    bool lanes;
};

static void say(struct line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(l->out + l->len, l->size - l->len, format, args);
    va_end(args);
    l->len += (size_t)n < l->size - l->len ? (size_t)n : l->size - l->len - 1;
}

struct sim_word sim_word(struct sn_bytes b)
{
    struct sim_word t;
    size_t at = 0;
    for (size_t i = 0; i < b.len && i < 40; i++)
        at += (size_t)snprintf(t.c + at, sizeof(t.c) - at,
                               b.data[i] >= ' ' && b.data[i] <= '~' ? "%c" : "\\x%02x", b.data[i]);
    if (b.len > 40)
        at += (size_t)snprintf(t.c + at, sizeof(t.c) - at, "... %zu", b.len);
    t.c[at] = '\0';
    return t;
}

static void say_conn(struct line *l, uint32_t conn)
{
    if (conn != 0)
        say(l, " via %" PRIu32, conn);
}

/* To a sensor: its number and, but for that of class 0, the priority. */
static void say_tier(struct line *l, uint32_t queue)
{
    say(l, " for %" PRIu32, bridge_queue_session(queue));
    if (queue >= BRIDGE_TIER)
        say(l, " priority %" PRIu32, queue / BRIDGE_TIER - 1);
}

static void say_queue(struct line *l, uint32_t queue)
{
    if (!bridge_queue_is_up(queue)) {
        say_tier(l, queue);
        return;
    }
    say_conn(l, bridge_queue_session(queue));
    if (!l->lanes)
        return;
    const uint32_t own = (queue - BRIDGE_QUEUE_OWN) / BRIDGE_OWN_LANE;
    const bool shared = bridge_queue_session(queue) == 0;
    const bool live = shared ? (queue & BRIDGE_LANE_LIVE) != 0 : own >= BRIDGE_CLASSES_MAX;
    say(l, " in %s%" PRIu32, live ? "live " : "", shared ? queue & 0xFF : own % BRIDGE_CLASSES_MAX);
}

static void say_record(struct line *l, const char *verb, const struct bridge_record *r)
{
    const struct sn_bytes value = r->value;
    say(l, "%s ", verb);
    switch (r->kind) {
    case BRIDGE_RECORD_SESSION:
        say(l, "session %" PRIu32, r->session);
        return;
    case BRIDGE_RECORD_WILL:
        say(l, "will %" PRIu32, r->session);
        return;
    case BRIDGE_RECORD_TOPIC:
        say(l, "topic %" PRIu32 " %" PRIu32, r->session, r->key);
        if (value.len > 0)
            say(l, " %s", sim_word(value).c);
        return;
    case BRIDGE_RECORD_FILTER:
        say(l, "filter %" PRIu32 " %" PRIu32, r->session, r->key);
        if (value.len > 1)
            say(l, " qos=%u %s", value.data[0],
                sim_word(sn_bytes(value.data + 1, value.len - 1)).c);
        return;
    case BRIDGE_RECORD_ACCOUNT:
        say(l, "account");
        return;
    case BRIDGE_RECORD_OVERLAP:
        say(l, "overlap %" PRIu32, r->key);
        return;
    }
    say(l, "all of %" PRIu32, r->session);
}

static void say_message(struct line *l, const char *verb, const struct bridge_message *m)
{
    say(l, "%s %" PRIu64, verb, m->seq);
    say_queue(l, m->queue);
    say(l, " qos=%u%s %s \"%s\"", m->qos, m->flags & BRIDGE_FLAG_RETAIN ? " retain" : "",
        sim_word(m->topic).c, sim_word(m->payload).c);
}

static void say_row(struct line *l, const char *verb, const struct bridge_action *a)
{
    say(l, "%s %" PRIu64, verb, a->row.seq);
    say_queue(l, a->row.queue);
    if (a->type == BRIDGE_DO_MARK)
        say(l, "%s%s", a->row.flags & BRIDGE_FLAG_RELEASED ? " released" : "",
            a->row.flags & BRIDGE_FLAG_DELIVERED ? " delivered" : "");
}

static void say_fetch(struct line *l, const struct bridge_action *a)
{
    if (a->fetch.which == BRIDGE_FETCH_EXPIRED) {
        say(l, "fetch expired");
        return;
    }
    say(l, "fetch");
    say_queue(l, a->fetch.queue);
    say(l, " %s %" PRIu64, a->fetch.which == BRIDGE_FETCH_NEWEST ? "back from" : "from",
        a->fetch.from);
}

static void say_connect(struct line *l, const struct bridge_action *a)
{
    if (a->connect.conn == 0) {
        say(l, "connect broker%s", a->connect.careful ? " careful" : "");
        return;
    }
    say(l, "connect");
    say_conn(l, a->connect.conn);
    say(l, " \"%s\"%s%s%s", sim_word(a->connect.client_id).c, a->connect.clean ? " clean" : "",
        a->connect.transient ? " transient" : "", a->connect.careful ? " careful" : "");
    if (a->connect.will_topic.len > 0)
        say(l, " will qos=%u%s %s \"%s\"", a->connect.will_qos,
            a->connect.will_retain ? " retain" : "", sim_word(a->connect.will_topic).c,
            sim_word(a->connect.will_message).c);
}

static void say_disconnect(struct line *l, const struct bridge_action *a)
{
    say(l, "disconnect%s", a->disconnect.conn == 0 ? " broker" : "");
    say_conn(l, a->disconnect.conn);
    say(l, "%s%s", a->disconnect.forget ? " forget" : "",
        a->disconnect.with_will ? " with will" : "");
}

static void say_subscribe(struct line *l, const char *verb, const struct bridge_action *a)
{
    say(l, "%s %" PRIu32, verb, a->subscribe.request);
    say_conn(l, a->subscribe.conn);
    if (a->type == BRIDGE_DO_SUBSCRIBE)
        say(l, " qos=%u", a->subscribe.qos);
    say(l, " %s%s", sim_word(a->subscribe.filter).c,
        a->type == BRIDGE_DO_SUBSCRIBE && a->subscribe.wants_retained ? " retained" : "");
}

static void say_note(struct line *l, const struct bridge_action *a)
{
    say(l, "* %s", bridge_note_name(a->note.note));
    if (a->note.client.len > 0)
        say(l, " %s", sim_word(a->note.client).c);
    if (a->note.detail.len > 0)
        say(l, ": %s", sim_word(a->note.detail).c);
}

static void say_action(struct line *l, const struct bridge_action *a)
{
    switch (a->type) {
    case BRIDGE_DO_SEND:
        return;
    case BRIDGE_DO_STORE:
        say_message(l, "store", &a->store.message);
        break;
    case BRIDGE_DO_MARK:
        say_row(l, "mark", a);
        break;
    case BRIDGE_DO_FORGET:
        say_row(l, "forget", a);
        break;
    case BRIDGE_DO_SAVE:
        say_record(l, "save", &a->record.record);
        break;
    case BRIDGE_DO_ERASE:
        say_record(l, "erase", &a->record.record);
        break;
    case BRIDGE_DO_FETCH:
        say_fetch(l, a);
        return;
    case BRIDGE_DO_CONNECT:
        say_connect(l, a);
        return;
    case BRIDGE_DO_DISCONNECT:
        say_disconnect(l, a);
        return;
    case BRIDGE_DO_PUBLISH:
        say_message(l, "publish", &a->publish.message);
        if (a->publish.expiry_s > 0)
            say(l, " expiry %" PRIu32, a->publish.expiry_s);
        return;
    case BRIDGE_DO_SUBSCRIBE:
        say_subscribe(l, "subscribe", a);
        return;
    case BRIDGE_DO_UNSUBSCRIBE:
        say_subscribe(l, "unsubscribe", a);
        return;
    case BRIDGE_DO_ACCEPT:
        say(l, "accept %" PRIu64, a->accept.token);
        return;
    case BRIDGE_DO_NOTE:
        say_note(l, a);
        return;
    }
    if (a->lazy)
        say(l, " lazy");
}

size_t sim_action_print(const struct bridge_action *a, bool lanes, char *out, size_t size)
{
    struct line l = {.out = out, .size = size, .lanes = lanes};
    out[0] = '\0';
    say_action(&l, a);
    return l.len;
}
