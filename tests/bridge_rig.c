#include "tests/bridge_rig.h"

#include "bridge/core.h"
#include "sim/action.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LINE_SIZE  1600
#define LINK_COUNT 2
#define CONNS      2000

/* ---- what the disk holds -------------------------------------------------------- */

struct octets {
    uint8_t *data;
    size_t len;
};

struct row {
    struct bridge_message m; /* topic and payload point into the two below */
    struct octets topic;
    struct octets payload;
};

struct record {
    struct bridge_record r;
    struct octets value;
};

struct image {
    struct row *rows; /* by queue and seq */
    size_t row_count;
    struct record *records; /* by session, kind and key */
    size_t record_count;
};

/* One store action that is not on the disk yet. */
struct op {
    enum bridge_action_type type;
    uint64_t ticket;
    struct row row;
    struct record record;
};

struct fetch {
    enum bridge_fetch which;
    uint32_t queue;
    struct row *rows;
    size_t count;
    bool end;
};

/* A message that a sensor has handed over. */
struct taken {
    char peer[64];
    uint16_t mid;
    uint32_t hash; /* of its payload */
    uint64_t seq;
    bool acked;
    uint64_t expires_ms;
    bool settled; /* the broker has it, or it was dropped as a class says */
};

/* Copies of one broker message; its token must wait for all of them. */
struct owed {
    uint64_t token;
    uint32_t queue;
    uint64_t seq;
    bool refused; /* by the disk: the broker must send it again, and the others are gone */
};

struct published {
    uint64_t seq;
    uint32_t conn;
    uint8_t qos;
    uint32_t life;  /* of the process that was told DELIVERED; 0: undecided */
    uint32_t topic; /* its hash */
};

/* One broker connection. */
struct conn {
    bool up;
    bool wanted;    /* CONNECT was asked for */
    bool clean;     /* and a clean session */
    bool kept;      /* the broker has a session of it */
    bool transient; /* which goes with the connection */
    uint32_t attempt;
    uint16_t window;
};

/* A message of the broker, until ACCEPT or DISCONNECT. */
struct unanswered {
    uint64_t token;
    uint32_t conn;
};
#define LOST UINT32_MAX /* the life of one that became undecided with its connection */

struct rig {
    struct rig_options o;
    struct rig_options reloaded[2]; /* by turns: the bridge points to the last one */
    unsigned reloads;
    void *memory;
    size_t size;
    struct bridge *bridge;
    uint64_t now_ms;
    uint32_t life;

    struct image disk; /* what a crash leaves */
    struct image view; /* with everything handed over since */
    struct op *ops;
    size_t op_count;
    uint64_t last_ticket;
    uint64_t refusals;
    struct fetch *fetches;
    size_t fetch_count;

    struct conn conns[CONNS];
    uint32_t conn_count; /* the rest has never been used */
    struct published *published;
    size_t published_count;
    struct taken *taken;
    size_t taken_count;
    struct owed *owed;
    size_t owed_count;
    struct unanswered *unanswered;
    size_t unanswered_count;
    const char *frame_from; /* the peer whose frame is being fed */
    uint64_t message_token;
    bool restarting;

    char **said;
    size_t said_count;
    size_t heard; /* lines that the transcript has seen */
    char stamp[32];
    const char *file;
    int line;
    bool show;
};

static void fail(struct rig *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct rig *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (r->file != NULL)
        fprintf(stderr, "%s:%d: ", r->file, r->line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

static void *grown(void *array, size_t count, size_t size)
{
    if (count % 16 != 0)
        return array;
    void *more = realloc(array, (count + 16) * size);
    if (more == NULL)
        abort();
    return more;
}

static struct octets keep(struct sn_bytes b)
{
    struct octets o = {.data = malloc(b.len + 1), .len = b.len};
    if (o.data == NULL)
        abort();
    if (b.len > 0)
        memcpy(o.data, b.data, b.len);
    o.data[b.len] = 0;
    return o;
}

static struct row row_of(const struct bridge_message *m)
{
    struct row row = {.m = *m, .topic = keep(m->topic), .payload = keep(m->payload)};
    row.m.topic = sn_bytes(row.topic.data, row.topic.len);
    row.m.payload = sn_bytes(row.payload.data, row.payload.len);
    return row;
}

static void row_free(struct row *row)
{
    free(row->topic.data);
    free(row->payload.data);
}

static struct record record_of(const struct bridge_record *r)
{
    struct record record = {.r = *r, .value = keep(r->value)};
    record.r.value = sn_bytes(record.value.data, record.value.len);
    return record;
}

static int row_order(const struct row *row, uint32_t queue, uint64_t seq)
{
    if (row->m.queue != queue)
        return row->m.queue < queue ? -1 : 1;
    return row->m.seq == seq ? 0 : row->m.seq < seq ? -1 : 1;
}

static size_t row_place(const struct image *image, uint32_t queue, uint64_t seq)
{
    size_t i = 0;
    while (i < image->row_count && row_order(&image->rows[i], queue, seq) < 0)
        i++;
    return i;
}

static struct row *row_find(const struct image *image, uint32_t queue, uint64_t seq)
{
    const size_t i = row_place(image, queue, seq);
    return i < image->row_count && row_order(&image->rows[i], queue, seq) == 0 ? &image->rows[i]
                                                                               : NULL;
}

static void row_add(struct image *image, const struct bridge_message *m)
{
    const size_t i = row_place(image, m->queue, m->seq);
    image->rows = grown(image->rows, image->row_count, sizeof(*image->rows));
    memmove(&image->rows[i + 1], &image->rows[i], (image->row_count - i) * sizeof(*image->rows));
    image->rows[i] = row_of(m);
    image->row_count++;
}

static void row_remove(struct image *image, struct row *row)
{
    row_free(row);
    const size_t i = (size_t)(row - image->rows);
    image->row_count--;
    memmove(row, row + 1, (image->row_count - i) * sizeof(*row));
}

static int record_order(const struct record *a, const struct bridge_record *b)
{
    if (a->r.session != b->session)
        return a->r.session < b->session ? -1 : 1;
    if (a->r.kind != b->kind)
        return a->r.kind < b->kind ? -1 : 1;
    return a->r.key == b->key ? 0 : a->r.key < b->key ? -1 : 1;
}

static void record_remove(struct image *image, size_t i)
{
    free(image->records[i].value.data);
    image->record_count--;
    memmove(&image->records[i], &image->records[i + 1],
            (image->record_count - i) * sizeof(*image->records));
}

static void record_put(struct image *image, const struct bridge_record *r)
{
    size_t i = 0;
    while (i < image->record_count && record_order(&image->records[i], r) < 0)
        i++;
    if (i < image->record_count && record_order(&image->records[i], r) == 0)
        record_remove(image, i);
    image->records = grown(image->records, image->record_count, sizeof(*image->records));
    memmove(&image->records[i + 1], &image->records[i],
            (image->record_count - i) * sizeof(*image->records));
    image->records[i] = record_of(r);
    image->record_count++;
}

static void erase(struct image *image, const struct bridge_record *r)
{
    for (size_t i = image->record_count; i-- > 0;) {
        const struct bridge_record *at = &image->records[i].r;
        if (at->session == r->session &&
            (r->kind == 0 || (at->kind == r->kind && at->key == r->key)))
            record_remove(image, i);
    }
    for (size_t i = image->row_count; r->kind == 0 && i-- > 0;)
        if (!bridge_queue_is_up(image->rows[i].m.queue) &&
            bridge_queue_session(image->rows[i].m.queue) == r->session)
            row_remove(image, &image->rows[i]);
}

static void apply(struct image *image, const struct op *op)
{
    struct row *row;
    if (op->type == BRIDGE_DO_STORE) {
        row_add(image, &op->row.m);
    } else if (op->type == BRIDGE_DO_MARK) {
        if ((row = row_find(image, op->row.m.queue, op->row.m.seq)) != NULL)
            row->m.flags |= op->row.m.flags;
    } else if (op->type == BRIDGE_DO_FORGET) {
        if ((row = row_find(image, op->row.m.queue, op->row.m.seq)) != NULL)
            row_remove(image, row);
    } else if (op->type == BRIDGE_DO_SAVE) {
        record_put(image, &op->record.r);
    } else if (op->type == BRIDGE_DO_ERASE) {
        erase(image, &op->record.r);
    }
}

static void op_free(struct op *op)
{
    row_free(&op->row);
    free(op->record.value.data);
}

static void image_free(struct image *image)
{
    for (size_t i = 0; i < image->row_count; i++)
        row_free(&image->rows[i]);
    for (size_t i = 0; i < image->record_count; i++)
        free(image->records[i].value.data);
    free(image->rows);
    free(image->records);
    *image = (struct image){0};
}

static void image_copy(struct image *to, const struct image *from)
{
    image_free(to);
    for (size_t i = 0; i < from->row_count; i++)
        row_add(to, &from->rows[i].m);
    for (size_t i = 0; i < from->record_count; i++)
        record_put(to, &from->records[i].r);
}

/* ---- what is said, as text ---------------------------------------------------------- */

static void say(struct rig *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct rig *r, const char *format, ...)
{
    if (r->o.quiet && !r->show)
        return;
    if (r->stamp[0] != '\0') {
        char stamp[sizeof(r->stamp)];
        strcpy(stamp, r->stamp);
        r->stamp[0] = '\0';
        say(r, "%s", stamp);
    }
    char line[LINE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (char *c = line; *c != '\0'; c++)
        if (*c == '"')
            *c = '\'';
    if (r->o.quiet) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    r->said = grown(r->said, r->said_count, sizeof(*r->said));
    r->said[r->said_count++] = strdup(line);
}

void rig_peer_name(uint16_t link, const struct radio_address *to, struct sn_bytes node, char *out,
                   size_t size)
{
    int at = snprintf(out, size, "%.*s", to->len, (const char *)to->bytes);
    if (to->len == 0)
        at = snprintf(out, size, "(all)");
    if (link != 0)
        at += snprintf(out + at, size - (size_t)at, "@%u", link);
    if (node.data != NULL)
        snprintf(out + at, size - (size_t)at, "/%s", sim_word(node).c);
}

static void say_frame(struct rig *r, const char *peer, const struct sn_packet *p)
{
    char line[SN_PRINT_SIZE];
    sn_print(p, line, sizeof(line));
    say(r, "%s < %s", peer, line);
}

static void say_action(struct rig *r, const struct bridge_action *a)
{
    char line[LINE_SIZE];
    if (a->type == BRIDGE_DO_SEND)
        return; /* by sent() */
    sim_action_print(a, r->o.lanes, line, sizeof(line));
    say(r, "%s", line);
}

/* ---- the rules of the seams ------------------------------------------------------------ */

/* FNV-1a. */
static uint32_t hash_of(struct sn_bytes text)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ text.data[i]) * 16777619u;
    return hash;
}

static bool is_safe(struct rig *r, const struct taken *t)
{
    if (t->settled || (t->expires_ms != 0 && t->expires_ms <= r->now_ms))
        return true;
    for (size_t i = 0; i < r->disk.row_count; i++)
        if (bridge_queue_is_up(r->disk.rows[i].m.queue) && r->disk.rows[i].m.seq == t->seq)
            return true;
    return false;
}

/* The last one of this message id. A repetition may have been taken as a message of its own
 * (at least once) while the acknowledgement of the first copy waited for the air: then that copy
 * will do, if it is safe. */
static struct taken *taken_find(struct rig *r, const char *peer, uint16_t mid)
{
    struct taken *last = NULL;
    for (size_t i = r->taken_count; i-- > 0;) {
        struct taken *t = &r->taken[i];
        if (t->mid != mid || strcmp(t->peer, peer) != 0)
            continue;
        if (last == NULL)
            last = t;
        if (t->hash == last->hash && is_safe(r, t))
            return t;
    }
    return last;
}

static void acknowledged(struct rig *r, const char *peer, uint16_t mid)
{
    struct taken *t = taken_find(r, peer, mid);
    if (t == NULL)
        return;
    if (!is_safe(r, t))
        fail(r, "%s was acknowledged mid %u, seq %" PRIu64 ", which is nowhere", peer, mid, t->seq);
    t->acked = true;
}

/* What the specification forbids a gateway to send although it can be read;
 * NULL: nothing of it. */
static const char *not_a_gateways(const struct sn_packet *p)
{
    switch (p->type) {
    case SN_ADVERTISE:
    case SN_PINGRESP:
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_PUBCOMP:
    case SN_UNSUBACK:
        return NULL;
    case SN_GWINFO:
        return p->gwinfo.gw_add.len > 0 ? "an address" : NULL;
    case SN_CONNACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
        return p->code > SN_NOT_SUPPORTED ? "a reserved code" : NULL;
    case SN_REGACK:
    case SN_PUBACK:
        return p->ack.code > SN_NOT_SUPPORTED ? "a reserved code" : NULL;
    case SN_SUBACK:
        return p->suback.code > SN_NOT_SUPPORTED ? "a reserved code" : NULL;
    case SN_REGISTER:
        return p->reg.tid == 0 || p->reg.tid == UINT16_MAX ? "a reserved topic id" : NULL;
    case SN_PUBLISH:
        if (p->publish.qos < 0)
            return "QoS -1";
        return (p->publish.qos == 0) != (p->publish.mid == 0) ? "the wrong kind of message id"
                                                              : NULL;
    case SN_DISCONNECT:
        return p->disconnect.has_duration ? "a duration" : NULL;
    case SN_PINGREQ: /* a gateway may, this one does not */
    case SN_SEARCHGW:
    case SN_CONNECT:
    case SN_WILLTOPIC:
    case SN_WILLMSG:
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
    case SN_WILLTOPICUPD:
    case SN_WILLMSGUPD:
    case SN_FORWARD:
        break;
    }
    return "only clients may";
}

static void sent(struct rig *r, const struct bridge_action *a)
{
    struct sn_packet p;
    struct sn_bytes node = {0};
    if (a->send.link >= r->o.config.link_count)
        fail(r, "a frame for link %u", a->send.link);
    if (r->restarting)
        fail(r, "a restart sends frames");
    if (a->send.bytes.len > r->o.links[a->send.link].frame_max)
        fail(r, "a frame of %zu octets", a->send.bytes.len);
    enum sn_fault fault = sn_decode(a->send.bytes, &p);
    if (fault == SN_OK && p.type == SN_FORWARD) {
        node = p.forward.node;
        const struct sn_bytes inner = p.forward.inner;
        fault = sn_decode(inner, &p);
    }
    if (fault != SN_OK)
        fail(r, "a bad frame is sent: %s", sn_fault_name(fault));
    const char *fault_of_ours = not_a_gateways(&p);
    if (fault_of_ours != NULL)
        fail(r, "%s is sent: %s", sn_type_name((uint8_t)p.type), fault_of_ours);
    char peer[400];
    rig_peer_name(a->send.link, &a->send.to, node, peer, sizeof(peer));
    say_frame(r, peer, &p);
    if (p.type == SN_PUBACK && p.ack.code == SN_ACCEPTED)
        acknowledged(r, peer, p.ack.mid);
    else if (p.type == SN_PUBREC)
        acknowledged(r, peer, p.mid);
}

/* What gives way to newer ones may be forgotten although it was acknowledged and
 * the broker has not had it. */
static void done_by_policy(struct rig *r, const struct row *row)
{
    if (row == NULL || !bridge_queue_is_up(row->m.queue))
        return;
    const bool gives_way = classes_at(&r->o.config, row->m.class)->keep == BRIDGE_KEEP_NEWEST;
    for (size_t i = 0; i < r->taken_count && gives_way; i++)
        r->taken[i].settled |= r->taken[i].seq == row->m.seq;
}

static void handed_over(struct rig *r, const struct bridge_action *a, uint64_t ticket)
{
    if (ticket <= r->last_ticket)
        fail(r, "ticket %" PRIu64 " after %" PRIu64, ticket, r->last_ticket);
    r->last_ticket = ticket;
    struct op op = {.type = a->type, .ticket = ticket};
    if (a->type == BRIDGE_DO_STORE) {
        const struct bridge_message *m = &a->store.message;
        if (row_find(&r->view, m->queue, m->seq) != NULL)
            fail(r, "seq %" PRIu64 " is stored twice", m->seq);
        op.row = row_of(m);
        if (bridge_queue_is_up(m->queue) && r->frame_from != NULL && m->mid != 0) {
            r->taken = grown(r->taken, r->taken_count, sizeof(*r->taken));
            struct taken *t = &r->taken[r->taken_count++];
            *t = (struct taken){.mid = m->mid,
                                .hash = hash_of(m->payload),
                                .seq = m->seq,
                                .expires_ms = m->expires_ms};
            snprintf(t->peer, sizeof(t->peer), "%s", r->frame_from);
        } else if (!bridge_queue_is_up(m->queue) && r->message_token != 0) {
            r->owed = grown(r->owed, r->owed_count, sizeof(*r->owed));
            r->owed[r->owed_count++] =
                (struct owed){.token = r->message_token, .queue = m->queue, .seq = m->seq};
        }
    } else if (a->type == BRIDGE_DO_MARK || a->type == BRIDGE_DO_FORGET) {
        op.row = row_of(&(struct bridge_message){
            .queue = a->row.queue, .seq = a->row.seq, .flags = a->row.flags});
        done_by_policy(r, row_find(&r->view, a->row.queue, a->row.seq));
        if (row_find(&r->view, a->row.queue, a->row.seq) == NULL && r->refusals == 0)
            fail(r, "seq %" PRIu64 " is marked or forgotten and was not stored", a->row.seq);
    } else {
        op.record = record_of(&a->record.record);
    }
    r->ops = grown(r->ops, r->op_count, sizeof(*r->ops));
    r->ops[r->op_count++] = op;
    apply(&r->view, &op);
}

static bool is_fetched(const struct bridge_action *a, const struct bridge_message *m)
{
    if (m->flags & BRIDGE_FLAG_DELIVERED)
        return false;
    switch (a->fetch.which) {
    case BRIDGE_FETCH_OLDEST:
        return m->queue == a->fetch.queue && m->seq >= a->fetch.from;
    case BRIDGE_FETCH_NEWEST:
        return m->queue == a->fetch.queue && m->seq <= a->fetch.from;
    case BRIDGE_FETCH_EXPIRED:
        return m->expires_ms != 0 && m->expires_ms <= a->fetch.from;
    }
    return false;
}

static void fetch(struct rig *r, const struct bridge_action *a)
{
    struct fetch f = {.which = a->fetch.which, .queue = a->fetch.queue, .end = true};
    const bool back = a->fetch.which == BRIDGE_FETCH_NEWEST;
    for (size_t k = 0; k < r->view.row_count; k++) {
        const struct row *row = &r->view.rows[back ? r->view.row_count - 1 - k : k];
        if (!is_fetched(a, &row->m))
            continue;
        if (f.count == a->fetch.count) {
            f.end = false;
            break;
        }
        f.rows = grown(f.rows, f.count, sizeof(*f.rows));
        f.rows[f.count++] = row_of(&row->m);
    }
    r->fetches = grown(r->fetches, r->fetch_count, sizeof(*r->fetches));
    r->fetches[r->fetch_count++] = f;
}

static struct conn *conn_of(struct rig *r, uint32_t number)
{
    if (number >= CONNS)
        fail(r, "connection %" PRIu32 " is one too many", number);
    if (number >= r->conn_count)
        r->conn_count = number + 1;
    return &r->conns[number];
}

static void undecide(struct rig *r, uint32_t conn)
{
    for (size_t i = 0; i < r->published_count; i++)
        if (r->published[i].life == 0 && r->published[i].conn == conn)
            r->published[i].life = LOST;
}

/* Order is kept per topic: a message does not go out for the first time after a
 * newer one of its topic, nor again before one that is undecided. */
static void check_order(struct rig *r, uint32_t conn, const struct bridge_message *m,
                        uint32_t topic)
{
    bool again = false;
    for (size_t i = 0; i < r->published_count; i++)
        again |= r->published[i].seq == m->seq;
    for (size_t i = 0; i < r->published_count; i++) {
        const struct published *p = &r->published[i];
        if (p->conn == conn && p->topic == topic && p->seq > m->seq && (!again || p->life == 0) &&
            !classes_at(&r->o.config, m->class)->live)
            fail(r, "seq %" PRIu64 " is published after %" PRIu64, m->seq, p->seq);
    }
}

static void publish(struct rig *r, uint32_t number, const struct bridge_message *m)
{
    const struct conn *conn = conn_of(r, number);
    const uint32_t topic = table_hash(1, m->topic.data, m->topic.len);
    size_t open = 0;
    check_order(r, number, m, topic);
    if (!conn->up)
        fail(r, "seq %" PRIu64 " is published while the broker is away", m->seq);
    for (size_t i = 0; i < r->published_count; i++) {
        struct published *p = &r->published[i];
        if (p->conn != number)
            continue;
        open += p->life == 0 && p->qos > 0;
        if (p->seq == m->seq && (p->life == 0 || p->life == r->life))
            fail(r, "seq %" PRIu64 " is published twice", m->seq);
    }
    if (m->qos > 0 && open >= conn->window)
        fail(r, "more than %u messages are undecided", conn->window);
    if (m->qos == 2 && row_find(&r->disk, m->queue, m->seq) == NULL && r->refusals == 0)
        fail(r, "seq %" PRIu64 " of QoS 2 is published before it is stored", m->seq);
    r->published = grown(r->published, r->published_count, sizeof(*r->published));
    r->published[r->published_count++] =
        (struct published){.seq = m->seq, .conn = number, .qos = m->qos, .topic = topic};
}

static void accepted(struct rig *r, uint64_t token)
{
    if (token == 0)
        fail(r, "no token is accepted");
    for (size_t i = r->unanswered_count; i-- > 0;)
        if (r->unanswered[i].token == token)
            r->unanswered[i] = r->unanswered[--r->unanswered_count];
    for (size_t i = r->owed_count; i-- > 0;) {
        const struct owed *o = &r->owed[i];
        if (o->token != token)
            continue;
        if (r->o.config.broker_ack_stored && o->refused)
            fail(r, "token %" PRIu64 " is accepted and seq %" PRIu64 " was refused", token, o->seq);
        if (r->o.config.broker_ack_stored && row_find(&r->view, o->queue, o->seq) != NULL &&
            row_find(&r->disk, o->queue, o->seq) == NULL)
            fail(r, "token %" PRIu64 " is accepted and seq %" PRIu64 " is not stored", token,
                 o->seq);
        r->owed[i] = r->owed[--r->owed_count];
    }
}

static void connect(struct rig *r, const struct bridge_action *a)
{
    struct conn *conn = conn_of(r, a->connect.conn);
    if (conn->up || conn->wanted)
        fail(r, "CONNECT while the broker is there, or asked already");
    conn->wanted = true;
    conn->clean = a->connect.clean;
    conn->transient = a->connect.transient;
    conn->attempt = a->connect.attempt;
}

static void disconnect(struct rig *r, const struct bridge_action *a)
{
    struct conn *conn = conn_of(r, a->disconnect.conn);
    const size_t before = r->unanswered_count;
    for (size_t i = r->unanswered_count; i-- > 0;)
        if (r->unanswered[i].conn == a->disconnect.conn)
            r->unanswered[i] = r->unanswered[--r->unanswered_count];
    if (!conn->up && !conn->wanted && r->unanswered_count == before)
        fail(r, "DISCONNECT from nowhere");
    if (a->disconnect.forget)
        conn->kept = false;
    conn->up = conn->wanted = false;
    undecide(r, a->disconnect.conn);
}

static void emit(void *ctx, const struct bridge_action *a)
{
    struct rig *r = ctx;
    say_action(r, a);
    switch (a->type) {
    case BRIDGE_DO_SEND:
        sent(r, a);
        break;
    case BRIDGE_DO_STORE:
        handed_over(r, a, a->store.message.seq);
        break;
    case BRIDGE_DO_MARK:
    case BRIDGE_DO_FORGET:
        handed_over(r, a, a->row.ticket);
        break;
    case BRIDGE_DO_SAVE:
    case BRIDGE_DO_ERASE:
        handed_over(r, a, a->record.ticket);
        break;
    case BRIDGE_DO_FETCH:
        fetch(r, a);
        break;
    case BRIDGE_DO_CONNECT:
        connect(r, a);
        break;
    case BRIDGE_DO_PUBLISH:
        publish(r, a->publish.conn, &a->publish.message);
        break;
    case BRIDGE_DO_SUBSCRIBE:
    case BRIDGE_DO_UNSUBSCRIBE:
        if (!conn_of(r, a->subscribe.conn)->up)
            fail(r, "a request while the broker is away");
        break;
    case BRIDGE_DO_ACCEPT:
        accepted(r, a->accept.token);
        break;
    case BRIDGE_DO_DISCONNECT:
        disconnect(r, a);
        break;
    case BRIDGE_DO_NOTE:
        break;
    }
    if (r->o.watch != NULL)
        r->o.watch(r->o.ctx, a);
}

/* ---- events -------------------------------------------------------------------------------- */

/* One message is with us with all its copies, or with the broker. */
static void check_owed(struct rig *r)
{
    for (size_t i = 0; i < r->owed_count && r->o.config.broker_ack_stored; i++)
        for (size_t k = 0; k < r->owed_count && r->owed[i].refused; k++)
            if (r->owed[k].token == r->owed[i].token &&
                row_find(&r->view, r->owed[k].queue, r->owed[k].seq) != NULL)
                fail(r, "seq %" PRIu64 " is kept and seq %" PRIu64 " was refused", r->owed[k].seq,
                     r->owed[i].seq);
}

void rig_step(struct rig *r, const struct bridge_event *event)
{
    if (event->type == BRIDGE_ON_MESSAGE) {
        r->message_token = event->message.token;
        r->unanswered = grown(r->unanswered, r->unanswered_count, sizeof(*r->unanswered));
        r->unanswered[r->unanswered_count] =
            (struct unanswered){.token = event->message.token, .conn = event->message.conn};
        r->unanswered_count += event->message.token != 0;
    }
    bridge_step(r->bridge, r->now_ms, event);
    r->message_token = 0;
    check_owed(r);
    bridge_check(r->bridge);
    if (r->op_count == 0 && !r->restarting && r->bridge->await_first != NULL)
        fail(r, "something waits for a disk that has nothing to do");
    for (size_t i = 0; i < r->taken_count; i++)
        if (r->taken[i].acked && !is_safe(r, &r->taken[i]))
            fail(r, "seq %" PRIu64 " was acknowledged to %s and is nowhere", r->taken[i].seq,
                 r->taken[i].peer);
}

void rig_pass(struct rig *r, uint64_t ms)
{
    const uint64_t from = r->now_ms;
    for (unsigned turns = 0;; turns++) {
        const uint64_t due = bridge_deadline(r->bridge);
        if (due > from + ms)
            break;
        if (turns > 100000)
            fail(r, "the deadline does not move");
        r->now_ms = due > r->now_ms ? due : r->now_ms;
        snprintf(r->stamp, sizeof(r->stamp), "+%" PRIu64, r->now_ms - from);
        rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_TIME});
        r->stamp[0] = '\0';
    }
    r->now_ms = from + ms;
}

static void parse_peer(const char *name, uint16_t *link, struct radio_address *from,
                       struct sn_bytes *node)
{
    const size_t len = strcspn(name, "@/");
    *from = (struct radio_address){.len = (uint8_t)len};
    memcpy(from->bytes, name, len);
    *link = name[len] == '@' ? (uint16_t)(name[len + 1] - '0') : 0;
    const char *slash = strchr(name, '/');
    *node = slash == NULL ? sn_bytes(NULL, 0) : sn_bytes_text(slash + 1);
}

/* A transcript has the line already; the fuzzer's has not. */
static void show_frame(struct rig *r, const char *peer, struct sn_bytes bytes)
{
    struct sn_packet p;
    char line[SN_PRINT_SIZE];
    if (!r->o.quiet || !r->show || sn_decode(bytes, &p) != SN_OK)
        return;
    sn_print(&p, line, sizeof(line));
    say(r, "%s > %s", peer, line);
}

static void feed_bytes(struct rig *r, const char *peer, struct sn_bytes bytes)
{
    struct bridge_event event = {.type = BRIDGE_ON_FRAME};
    struct sn_bytes node;
    static uint8_t outer[2 * SN_PACKET_MAX];
    parse_peer(peer, &event.frame.link, &event.frame.from, &node);
    if (node.data != NULL) {
        struct sn_writer w = sn_writer(outer, sizeof(outer));
        sn_write_u8(&w, (uint8_t)(3 + node.len));
        sn_write_u8(&w, SN_FORWARD);
        sn_write_u8(&w, 0);
        sn_write_bytes(&w, node);
        sn_write_bytes(&w, bytes);
        bytes = sn_bytes(outer, sn_writer_len(&w));
    }
    /* A block of its own, so that a sanitizer sees whoever reads beyond it. */
    struct octets copy = keep(bytes);
    event.frame.bytes = sn_bytes(copy.data, copy.len);
    show_frame(r, peer, event.frame.bytes);
    r->frame_from = peer;
    rig_step(r, &event);
    r->frame_from = NULL;
    free(copy.data);
}

void rig_frame(struct rig *r, const char *peer, const struct sn_packet *p)
{
    static uint8_t frame[SN_PACKET_MAX];
    const size_t len = sn_encode(p, frame, sizeof(frame));
    if (len == 0)
        fail(r, "a frame that cannot be encoded");
    feed_bytes(r, peer, sn_bytes(frame, len));
}

void rig_commit(struct rig *r, uint64_t up_to)
{
    uint64_t ticket = 0;
    size_t done = 0;
    while (done < r->op_count && r->ops[done].ticket <= up_to) {
        apply(&r->disk, &r->ops[done]);
        ticket = r->ops[done].ticket;
        op_free(&r->ops[done++]);
    }
    if (done == 0)
        return;
    r->op_count -= done;
    memmove(r->ops, r->ops + done, r->op_count * sizeof(*r->ops));
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_STORED, .stored.ticket = ticket});
}

static bool is_taken(struct rig *r, uint64_t seq, bool remove)
{
    for (size_t i = 0; i < r->taken_count; i++) {
        if (r->taken[i].seq != seq)
            continue;
        if (remove)
            r->taken[i] = r->taken[--r->taken_count];
        return true;
    }
    return false;
}

/* FETCH is answered after the batch that it came with. */
static void unfetch(struct rig *r, uint32_t queue, uint64_t seq)
{
    for (size_t i = 0; i < r->fetch_count; i++) {
        struct fetch *f = &r->fetches[i];
        for (size_t k = f->count; k-- > 0;) {
            if (row_order(&f->rows[k], queue, seq) != 0)
                continue;
            row_free(&f->rows[k]);
            f->count--;
            memmove(&f->rows[k], &f->rows[k + 1], (f->count - k) * sizeof(*f->rows));
        }
    }
}

/* Every STORE that waits, up to a ticket, is refused; everything else goes on waiting. */
void rig_refuse(struct rig *r, uint64_t up_to)
{
    size_t kept = 0;
    uint64_t ticket = 0;
    for (size_t i = 0; i < r->op_count; i++) {
        struct op *op = &r->ops[i];
        if (op->ticket <= up_to)
            ticket = op->ticket;
        if (op->type != BRIDGE_DO_STORE || op->ticket > up_to) {
            r->ops[kept++] = *op;
            continue;
        }
        r->refusals++;
        struct row *row = row_find(&r->view, op->row.m.queue, op->row.m.seq);
        if (row != NULL)
            row_remove(&r->view, row);
        unfetch(r, op->row.m.queue, op->row.m.seq);
        for (size_t k = 0; k < r->owed_count; k++)
            r->owed[k].refused |= r->owed[k].seq == op->row.m.seq;
        op_free(op);
    }
    r->op_count = kept;
    if (ticket != 0)
        rig_step(r,
                 &(struct bridge_event){.type = BRIDGE_ON_STORE_FAILED, .stored.ticket = ticket});
}

bool rig_fetched(struct rig *r)
{
    if (r->fetch_count == 0)
        return false;
    struct fetch f = r->fetches[0];
    r->fetch_count--;
    memmove(r->fetches, r->fetches + 1, r->fetch_count * sizeof(*r->fetches));
    struct bridge_message *messages = calloc(f.count + 1, sizeof(*messages));
    if (messages == NULL)
        abort();
    for (size_t i = 0; i < f.count; i++)
        messages[i] = f.rows[i].m;
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_FETCHED,
                                       .fetched = {.which = f.which,
                                                   .queue = f.queue,
                                                   .messages = messages,
                                                   .count = f.count,
                                                   .end = f.end}});
    free(messages);
    for (size_t i = 0; i < f.count; i++)
        row_free(&f.rows[i]);
    free(f.rows);
    return true;
}

void rig_conn_up(struct rig *r, uint32_t number, bool session, uint16_t window, uint8_t max_qos)
{
    struct conn *conn = conn_of(r, number);
    conn->up = true;
    conn->wanted = false;
    conn->window = window;
    conn->kept = true;
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_BROKER_UP,
                                       .up = {.conn = number,
                                              .attempt = conn->attempt,
                                              .session_present = session && !conn->clean,
                                              .window = window,
                                              .max_qos = max_qos}});
}

void rig_broker_up(struct rig *r, bool session, uint16_t window, uint8_t max_qos)
{
    rig_conn_up(r, 0, session, window, max_qos);
}

void rig_conn_down(struct rig *r, uint32_t number, uint8_t code)
{
    struct conn *conn = conn_of(r, number);
    conn->up = false;
    conn->wanted = false;
    r->owed_count = 0;
    undecide(r, number);
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_BROKER_DOWN,
                                       .down = {.conn = number,
                                                .attempt = conn->attempt,
                                                .code = code,
                                                .why = code == 0 ? "gone" : "refused"}});
}

void rig_delivered(struct rig *r, uint64_t seq, uint8_t code)
{
    uint32_t conn = 0;
    size_t kept = 0;
    for (size_t i = 0; i < r->published_count; i++) {
        struct published p = r->published[i];
        if (p.seq == seq)
            conn = p.conn;
        const bool open = p.seq == seq && p.life == 0;
        if (open && bridge_may_pass(code))
            continue; /* the broker has not got it */
        if (open)
            p.life = r->life;
        r->published[kept++] = p;
    }
    r->published_count = kept;
    for (size_t i = 0; i < r->taken_count; i++)
        if (r->taken[i].seq == seq && !bridge_may_pass(code))
            r->taken[i].settled = true;
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_DELIVERED,
                                       .delivered = {.conn = conn, .seq = seq, .code = code}});
}

/* ---- life ------------------------------------------------------------------------------------- */

static void replay_queues(struct rig *r)
{
    const struct image *disk = &r->disk;
    for (size_t i = 0, next; i < disk->row_count; i = next) {
        struct bridge_event event = {.type = BRIDGE_ON_QUEUE,
                                     .queue = {.queue = disk->rows[i].m.queue}};
        for (next = i; next < disk->row_count && disk->rows[next].m.queue == event.queue.queue;
             next++) {
            const struct bridge_message *m = &disk->rows[next].m;
            if (m->flags & BRIDGE_FLAG_DELIVERED)
                continue;
            if (event.queue.count++ == 0)
                event.queue.first = m->seq;
            event.queue.last = m->seq;
            event.queue.bytes += m->payload.len;
            const struct bridge_event waiting = {.type = BRIDGE_ON_WAITING,
                                                 .waiting = {.queue = m->queue,
                                                             .seq = m->seq,
                                                             .session = m->session,
                                                             .class = m->class,
                                                             .link = m->link,
                                                             .topic = m->topic,
                                                             .expires_ms = m->expires_ms,
                                                             .bytes = m->payload.len}};
            bridge_step(r->bridge, r->now_ms, &waiting);
        }
        if (event.queue.count > 0)
            bridge_step(r->bridge, r->now_ms, &event);
    }
    for (size_t i = 0; i < disk->row_count; i++) {
        const struct bridge_message *m = &disk->rows[i].m;
        if (!bridge_queue_is_up(m->queue) || m->qos != 2 ||
            ((m->flags & BRIDGE_FLAG_RELEASED) && !(m->flags & BRIDGE_FLAG_DELIVERED)))
            continue;
        const struct bridge_event event = {.type = BRIDGE_ON_OPEN,
                                           .open = {.seq = m->seq,
                                                    .queue = m->queue,
                                                    .session = m->session,
                                                    .mid = m->mid,
                                                    .flags = m->flags,
                                                    .topic = m->topic,
                                                    .payload = m->payload}};
        bridge_step(r->bridge, r->now_ms, &event);
    }
}

static void start(struct rig *r)
{
    r->life++;
    /* What was touched is zero again, and nothing else costs anything. */
    if (madvise(r->memory, r->size, MADV_DONTNEED) != 0)
        abort();
    r->bridge = bridge_init(r->memory, r->size, &r->o.config, emit, r);
    if (r->bridge == NULL)
        fail(r, "no bridge in %zu octets", r->size);
    r->restarting = true;
    for (size_t i = 0; i < r->disk.record_count; i++)
        bridge_step(
            r->bridge, r->now_ms,
            &(struct bridge_event){.type = BRIDGE_ON_RECORD, .record = r->disk.records[i].r});
    replay_queues(r);
    rig_step(r,
             &(struct bridge_event){.type = BRIDGE_ON_START, .start.next_seq = r->last_ticket + 1});
    r->restarting = false;
}

/* The disk has never heard of their numbers: they are given out once more. */
static void forget_qos0(struct rig *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->published_count; i++)
        if (r->published[i].qos > 0)
            r->published[kept++] = r->published[i];
    r->published_count = kept;
}

void rig_restart(struct rig *r, bool committed)
{
    if (committed)
        rig_commit(r, UINT64_MAX);
    for (size_t i = 0; i < r->op_count; i++) {
        if (r->ops[i].type == BRIDGE_DO_STORE)
            for (size_t t = r->taken_count; t-- > 0;)
                if (r->taken[t].seq == r->ops[i].row.m.seq && !r->taken[t].acked)
                    is_taken(r, r->taken[t].seq, true);
        op_free(&r->ops[i]);
    }
    r->op_count = 0;
    for (size_t i = 0; i < r->fetch_count; i++) {
        for (size_t k = 0; k < r->fetches[i].count; k++)
            row_free(&r->fetches[i].rows[k]);
        free(r->fetches[i].rows);
    }
    r->fetch_count = 0;
    r->owed_count = 0;
    r->unanswered_count = 0;
    for (uint32_t i = 0; i < r->conn_count; i++) {
        if (r->conns[i].up)
            undecide(r, i);
        r->conns[i].up = r->conns[i].wanted = false;
    }
    forget_qos0(r);
    image_copy(&r->view, &r->disk);
    start(r);
}

void rig_defaults(struct rig_options *o)
{
    static const struct bridge_predefined predefined[] = {
        {.client = NULL, .tid = 1, .topic = "pre/one"},
        {.client = NULL, .tid = 2, .topic = "pre/two"},
        {.client = "a", .tid = 2, .topic = "a/two"},
    };
    *o = (struct rig_options){
        .config = {.gateway_id = 7,
                   .ack_stored = true,
                   .broker_ack_stored = true,
                   .max_clients = 8,
                   .max_topics = 6,
                   .max_subscriptions = 6,
                   .max_queue = 20,
                   .max_backlog = 40,
                   .max_live = 20,
                   .live_share = 80,
                   .max_client_id = 23,
                   .max_topic_levels = 64,
                   .dollar_topics = "$SYS",
                   .max_connections = 3,
                   .overlaps = BRIDGE_OVERLAPS_ONE,
                   .qos0_backlog = 3,
                   .reconnect_min_ms = 1000,
                   .reconnect_max_ms = 60000,
                   .predefined = predefined,
                   .predefined_count = sizeof(predefined) / sizeof(predefined[0]),
                   .link_count = LINK_COUNT,
                   .seed = 1},
        .links = {{.name = "lan", .frame_max = 1024}, {.name = "radio", .frame_max = 60}},
    };
    for (size_t i = 0; i < LINK_COUNT; i++) {
        struct bridge_link_config *link = &o->links[i];
        link->retry_ms = link->retry_min_ms = link->retry_max_ms = 10000;
        link->retries = 3;
        link->qos_minus_one = link->roam = link->forwarders = true;
    }
}

struct rig *rig_new(const struct rig_options *o)
{
    struct rig *r = calloc(1, sizeof(*r));
    if (r == NULL)
        abort();
    r->o = *o;
    r->o.config.links = r->o.links;
    r->now_ms = 1000000;
    r->show = getenv("RIG_SHOW") != NULL;
    r->size = bridge_memory_min(&r->o.config) + (o->memory == 0 ? (size_t)4 << 20 : o->memory);
    r->memory = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->memory == MAP_FAILED)
        abort();
    start(r);
    r->heard = r->said_count;
    return r;
}

bool rig_reload(struct rig *r, const struct rig_options *o)
{
    struct rig_options *next = &r->reloaded[r->reloads % 2];
    *next = *o;
    next->config.links = next->links;
    if (!bridge_reload(r->bridge, r->now_ms, &next->config))
        return false;
    r->reloads++;
    r->o = *next;
    r->o.config.links = r->o.links;
    bridge_check(r->bridge);
    return true;
}

void rig_free(struct rig *r)
{
    for (size_t i = 0; i < r->op_count; i++)
        op_free(&r->ops[i]);
    for (size_t i = 0; i < r->fetch_count; i++) {
        for (size_t k = 0; k < r->fetches[i].count; k++)
            row_free(&r->fetches[i].rows[k]);
        free(r->fetches[i].rows);
    }
    for (size_t i = 0; i < r->said_count; i++)
        free(r->said[i]);
    image_free(&r->disk);
    image_free(&r->view);
    free(r->said);
    free(r->ops);
    free(r->fetches);
    free(r->published);
    free(r->taken);
    free(r->owed);
    free(r->unanswered);
    munmap(r->memory, r->size);
    free(r);
}

void rig_lose_row(struct rig *r, uint32_t queue, uint64_t seq)
{
    struct row *row = row_find(&r->disk, queue, seq);
    if (row == NULL)
        fail(r, "there is no such row");
    row_remove(&r->disk, row);
    is_taken(r, seq, true);
    if ((row = row_find(&r->view, queue, seq)) != NULL)
        row_remove(&r->view, row);
}

void rig_spoil(struct rig *r, uint32_t session, enum bridge_record_kind kind, uint32_t key,
               struct sn_bytes value)
{
    const struct bridge_record record = {
        .session = session, .kind = kind, .key = key, .value = value};
    if (value.len > 0)
        record_put(&r->disk, &record);
    for (size_t i = r->disk.record_count; value.len == 0 && i-- > 0;)
        if (record_order(&r->disk.records[i], &record) == 0)
            record_remove(&r->disk, i);
}

void rig_rename_link(struct rig *r, uint16_t link, const char *name)
{
    r->o.links[link].name = name;
}

uint64_t rig_now(const struct rig *r)
{
    return r->now_ms;
}

uint64_t rig_ticket(const struct rig *r)
{
    return r->last_ticket;
}

struct bridge *rig_bridge(const struct rig *r)
{
    return r->bridge;
}

void rig_status(const struct rig *r, struct bridge_status *out)
{
    bridge_get_status(r->bridge, out);
}

size_t rig_undecided(const struct rig *r, uint64_t *seqs, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < r->published_count && count < size; i++)
        if (r->published[i].life == 0)
            seqs[count++] = r->published[i].seq;
    return count;
}

size_t rig_fetches(const struct rig *r)
{
    return r->fetch_count;
}

size_t rig_uncommitted(const struct rig *r)
{
    return r->op_count;
}

uint32_t rig_conns(const struct rig *r)
{
    return r->conn_count;
}

bool rig_wants_broker(const struct rig *r, uint32_t conn)
{
    return r->conns[conn].wanted;
}

bool rig_has_broker(const struct rig *r, uint32_t conn)
{
    return r->conns[conn].up;
}

bool rig_has_session(const struct rig *r, uint32_t conn)
{
    return r->conns[conn].kept;
}

size_t rig_rows(const struct rig *r)
{
    return r->disk.row_count;
}

/* ---- frames from text ------------------------------------------------------------------------- */

struct field {
    char name[24];
    char value[SN_PRINT_SIZE];
    size_t len;
};

struct fields {
    struct field at[12];
    size_t count;
    struct rig *rig;
};

static size_t unescape(const char *from, char *out)
{
    size_t len = 0;
    const char *c = from;
    for (; *c != '\0' && *c != '\''; c++) {
        unsigned octet;
        if (*c == '\\' && sscanf(c + 1, "x%2x", &octet) == 1) {
            out[len++] = (char)octet;
            c += 3;
        } else {
            if (*c == '\\')
                c++;
            out[len++] = *c;
        }
    }
    return len;
}

static void parse_fields(struct fields *f, const char *text_)
{
    const char *c = text_;
    while (*(c += strspn(c, " ")) != '\0') {
        struct field *field = &f->at[f->count++];
        const size_t name = strcspn(c, "= ");
        memcpy(field->name, c, name);
        field->name[name] = '\0';
        c += name;
        if (*c != '=') {
            strcpy(field->value, "1");
            field->len = 1;
            continue;
        }
        c++;
        if (*c == '\'') {
            field->len = unescape(c + 1, field->value);
            const char *end = c + 1;
            while (*end != '\'' && *end != '\0')
                end += *end == '\\' && end[1] != '\0' ? 2 : 1;
            c = end + (*end == '\'');
        } else {
            field->len = strcspn(c, " ");
            memcpy(field->value, c, field->len);
            c += field->len;
        }
        field->value[field->len] = '\0';
    }
}

static const struct field *field_of(const struct fields *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->at[i].name, name) == 0)
            return &f->at[i];
    return NULL;
}

static struct sn_bytes bytes_of(const struct fields *f, const char *name)
{
    const struct field *field = field_of(f, name);
    return field == NULL ? sn_bytes("", 0) : sn_bytes(field->value, field->len);
}

static int number_of(const struct fields *f, const char *name)
{
    const struct field *field = field_of(f, name);
    return field == NULL ? 0 : atoi(field->value);
}

static uint8_t code_of(const struct fields *f)
{
    static const char *const names[] = {"accepted", "congestion", "invalid-topic-id",
                                        "not-supported"};
    const struct field *field = field_of(f, "code");
    for (uint8_t i = 0; field != NULL && i < 4; i++)
        if (strcmp(field->value, names[i]) == 0)
            return i;
    return field == NULL ? 0 : (uint8_t)atoi(field->value);
}

static enum sn_topic_kind kind_of(const struct fields *f, uint16_t *tid)
{
    if (field_of(f, "predefined") != NULL) {
        *tid = (uint16_t)number_of(f, "predefined");
        return SN_TOPIC_PREDEFINED;
    }
    if (field_of(f, "short") != NULL) {
        const char *name = field_of(f, "short")->value;
        *tid = SN_SHORT_ID(name[0], name[1]);
        return SN_TOPIC_SHORT;
    }
    *tid = (uint16_t)number_of(f, "tid");
    return SN_TOPIC_NORMAL;
}

static struct sn_packet parse_packet(const struct fields *f, enum sn_type type)
{
    struct sn_packet p = {.type = type};
    switch (type) {
    case SN_SEARCHGW:
        p.searchgw.radius = (uint8_t)number_of(f, "radius");
        break;
    case SN_CONNECT:
        p.connect.will = number_of(f, "will") != 0;
        p.connect.clean = number_of(f, "clean") != 0;
        p.connect.protocol_id = field_of(f, "protocol_id") == NULL
                                    ? SN_PROTOCOL_ID
                                    : (uint8_t)number_of(f, "protocol_id");
        p.connect.keepalive_s = (uint16_t)number_of(f, "keepalive_s");
        p.connect.client_id = bytes_of(f, "client_id");
        break;
    case SN_WILLTOPIC:
    case SN_WILLTOPICUPD:
        p.willtopic.empty = number_of(f, "empty") != 0;
        p.willtopic.qos = (int8_t)number_of(f, "qos");
        p.willtopic.retain = number_of(f, "retain") != 0;
        p.willtopic.topic = bytes_of(f, "topic");
        break;
    case SN_WILLMSG:
    case SN_WILLMSGUPD:
        p.willmsg.message = bytes_of(f, "message");
        break;
    case SN_REGISTER:
        p.reg.mid = (uint16_t)number_of(f, "mid");
        p.reg.name = bytes_of(f, "name");
        break;
    case SN_PUBLISH:
        p.publish.dup = number_of(f, "dup") != 0;
        p.publish.qos = (int8_t)number_of(f, "qos");
        p.publish.retain = number_of(f, "retain") != 0;
        p.publish.kind = kind_of(f, &p.publish.tid);
        p.publish.mid = (uint16_t)number_of(f, "mid");
        p.publish.data = bytes_of(f, "data");
        break;
    case SN_REGACK:
    case SN_PUBACK:
        p.ack.tid = (uint16_t)number_of(f, "tid");
        p.ack.mid = (uint16_t)number_of(f, "mid");
        p.ack.code = code_of(f);
        break;
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_PUBCOMP:
    case SN_UNSUBACK:
        p.mid = (uint16_t)number_of(f, "mid");
        break;
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
        p.subscribe.dup = number_of(f, "dup") != 0;
        p.subscribe.qos = (int8_t)number_of(f, "qos");
        p.subscribe.mid = (uint16_t)number_of(f, "mid");
        p.subscribe.kind = kind_of(f, &p.subscribe.tid);
        p.subscribe.name = bytes_of(f, "name");
        break;
    case SN_PINGREQ:
        p.pingreq.client_id = bytes_of(f, "client_id");
        break;
    case SN_DISCONNECT:
        p.disconnect.has_duration = field_of(f, "duration_s") != NULL;
        p.disconnect.duration_s = (uint16_t)number_of(f, "duration_s");
        break;
    case SN_PINGRESP:
        break;
    case SN_ADVERTISE:
    case SN_GWINFO:
    case SN_CONNACK:
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_SUBACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
    case SN_FORWARD:
        fail(f->rig, "a test sends %s as octets", sn_type_name((uint8_t)type));
    }
    return p;
}

static void feed_hex(struct rig *r, const char *peer, const char *hex)
{
    uint8_t frame[512];
    size_t len = 0;
    unsigned octet;
    for (; sscanf(hex, " %2x", &octet) == 1 && len < sizeof(frame); hex += 2 + strspn(hex, " "))
        frame[len++] = (uint8_t)octet;
    feed_bytes(r, peer, sn_bytes(frame, len));
}

static void feed_frame(struct rig *r, const char *peer, const char *words)
{
    char name[32];
    if (sscanf(words, "%31s", name) != 1)
        fail(r, "no packet");
    const char *rest = words + strspn(words, " ") + strlen(name);
    if (strcmp(name, "hex") == 0) {
        feed_hex(r, peer, rest);
        return;
    }
    for (unsigned type = 0; type < 256; type++) {
        if (sn_type_name((uint8_t)type) == NULL || strcmp(sn_type_name((uint8_t)type), name) != 0)
            continue;
        struct fields f = {.rig = r};
        parse_fields(&f, rest);
        const struct sn_packet p = parse_packet(&f, (enum sn_type)type);
        rig_frame(r, peer, &p);
        return;
    }
    fail(r, "no packet is called %s", name);
}

/* ---- the transcript ------------------------------------------------------------------------------- */

static uint64_t number_after(const char *line, const char *word, uint64_t otherwise)
{
    const char *at = strstr(line, word);
    return at == NULL ? otherwise : strtoull(at + strlen(word), NULL, 10);
}

static void feed_message(struct rig *r, const char *line)
{
    struct bridge_event event = {.type = BRIDGE_ON_MESSAGE};
    const char *quote = strchr(line, '\'');
    if (quote == NULL)
        fail(r, "no payload");
    char payload[SN_PRINT_SIZE];
    event.message.payload = sn_bytes(payload, unescape(quote + 1, payload));
    const char *end = quote - 1;
    const char *topic = end;
    while (topic > line && topic[-1] != ' ')
        topic--;
    event.message.topic = sn_bytes(topic, (size_t)(end - topic));
    char head[200];
    snprintf(head, sizeof(head), "%.*s", (int)(topic - line), line);
    event.message.conn = (uint32_t)number_after(head, "via ", 0);
    event.message.token = number_after(head, "token ", 0);
    event.message.qos = (uint8_t)number_after(head, "qos=", 0);
    event.message.retain = strstr(head, "retain") != NULL;
    event.message.expiry_s = (uint32_t)number_after(head, "expiry ", 0);
    rig_step(r, &event);
}

static bool begins(const char *line, const char *word)
{
    const size_t len = strlen(word);
    return strncmp(line, word, len) == 0 && (line[len] == '\0' || line[len] == ' ');
}

static bool feed_broker(struct rig *r, const char *line)
{
    uint32_t conn = 0;
    char word[8] = "";
    if (sscanf(line, "broker %" SCNu32 " %7s", &conn, word) != 2)
        sscanf(line, "broker %7s", word);
    if (strcmp(word, "up") == 0) {
        rig_conn_up(r, conn, strstr(line, "session") != NULL,
                    (uint16_t)number_after(line, "window ", 50),
                    (uint8_t)number_after(line, "qos ", 2));
    } else if (strcmp(word, "down") == 0) {
        rig_conn_down(r, conn, (uint8_t)number_after(line, "code ", 0));
    } else if (begins(line, "delivered")) {
        rig_delivered(r, strtoull(line + 9, NULL, 10), (uint8_t)number_after(line, "code ", 0));
    } else if (begins(line, "subscribed") || begins(line, "unsubscribed")) {
        struct bridge_event event = {.type = line[0] == 's' ? BRIDGE_ON_SUBSCRIBED
                                                            : BRIDGE_ON_UNSUBSCRIBED};
        unsigned request = 0;
        unsigned code = 0;
        sscanf(strchr(line, ' '), "%u %u", &request, &code);
        event.subscribed.request = request;
        event.subscribed.code = (uint8_t)code;
        rig_step(r, &event);
    } else if (begins(line, "message")) {
        feed_message(r, line);
    } else {
        return false;
    }
    return true;
}

/* Whether the line was something that comes from outside. */
static bool feed(struct rig *r, const char *line)
{
    const char *arrow = strstr(line, " > ");
    if (arrow != NULL && strcspn(line, " ") == (size_t)(arrow - line)) {
        char peer[64];
        snprintf(peer, sizeof(peer), "%.*s", (int)(arrow - line), line);
        feed_frame(r, peer, arrow + 3);
    } else if (begins(line, "store failed")) {
        rig_refuse(r, line[12] == '\0' ? UINT64_MAX : strtoull(line + 12, NULL, 10));
    } else if (begins(line, "stored")) {
        rig_commit(r, line[6] == '\0' ? UINT64_MAX : strtoull(line + 6, NULL, 10));
    } else if (strcmp(line, "fetched") == 0) {
        if (!rig_fetched(r))
            fail(r, "nothing was to be fetched");
    } else if (begins(line, "wait")) {
        rig_pass(r, strtoull(line + 4, NULL, 10));
    } else if (strcmp(line, "crash") == 0 || strcmp(line, "kill") == 0) {
        rig_restart(r, line[0] == 'k');
    } else if (strcmp(line, "stop") == 0) {
        rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_STOP});
    } else {
        return feed_broker(r, line);
    }
    return true;
}

static void print_rest(struct rig *r)
{
    for (; r->heard < r->said_count; r->heard++)
        fprintf(stderr, "    %s\n", r->said[r->heard]);
}

static void expect(struct rig *r, const char *line)
{
    if (r->heard < r->said_count && strcmp(r->said[r->heard], line) == 0) {
        r->heard++;
        return;
    }
    fprintf(stderr, "expected:\n    %s\nit says:\n", line);
    print_rest(r);
    fail(r, "the transcript differs");
}

void rig_play(struct rig *r, const char *file, int line, const char *transcript)
{
    r->file = file;
    r->line = line;
    if (r->show)
        fprintf(stderr, "--play\n");
    while (*transcript != '\0') {
        char text_[LINE_SIZE];
        const size_t len = strcspn(transcript, "\n");
        snprintf(text_, sizeof(text_), "%.*s", (int)len, transcript);
        transcript += len + (transcript[len] == '\n');
        if (text_[0] == ' ') {
            if (!r->show)
                expect(r, text_ + strspn(text_, " "));
            continue;
        }
        if (r->show && strcmp(text_, "fetched") == 0 && r->fetch_count == 0)
            continue; /* left out */
        if (r->show)
            fprintf(stderr, "%s\n", text_);
        else if (r->heard < r->said_count)
            expect(r, "(nothing more)");
        if (!feed(r, text_))
            fail(r, "what is this: %s", text_);
        if (r->show)
            print_rest(r);
    }
    if (r->heard < r->said_count)
        expect(r, "(nothing more)");
    r->file = NULL;
}

void rig_skip(struct rig *r)
{
    r->heard = r->said_count;
}
