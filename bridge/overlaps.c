#include "bridge/core.h"

/* A broker that does not name filters (MQTT 3.1.1, and some of MQTT 5) sends a message that
 * several of our filters match once for all of them, or once for each: MQTT allows both, and
 * nothing tells a copy from another message that is equal. But how many copies there are is
 * known: as many as filters match. So of each message one copy goes to the sensors, and as many
 * equal ones that follow it soon are dropped as other filters match. Two equal messages are
 * twice as many copies, and both arrive.
 *
 * Which kind the broker is, the configuration says, or it is learned: where several filters match
 * and another message comes behind a single copy, or none in time, it is one for all, and nothing
 * is dropped from then on. What can be dropped wrongly until then is the second of two equal
 * messages, one right behind the other, that are the first to match several filters.
 *
 * Copies differ in QoS as the filters do. A sensor has the first that is as good as its own filter
 * allows, or the last: see overlaps_wants().
 *
 * What is expected outlives the connection, for the broker sends what is not acknowledged in the
 * next one; and, above QoS 0, a restart: it is on the disk with the first copy. */

#define SEED        0x6F7665726C617073u /* the same after a restart */
#define OVERLAPS_MS 1000 /* between two copies of one message; beyond it, it is another one */
#define QOS_ALL     2

static enum bridge_overlaps kind(const struct bridge *b, const struct upstream *u)
{
    return b->config->overlaps != BRIDGE_OVERLAPS_AUTO ? (enum bridge_overlaps)b->config->overlaps
                                                       : (enum bridge_overlaps)u->overlaps;
}

static uint8_t place_of(const struct bridge *b, const struct overlapped *c)
{
    return (uint8_t)(c - b->overlapped);
}

static void forget(struct bridge *b, struct overlapped *c)
{
    if (c->saved)
        erase_overlap(b, place_of(b, c));
    *c = (struct overlapped){0};
}

/* Its time is over. That no second copy came where the broker had two filters says that it sends
 * one; but if it has sent several before, only that it may be so. */
static void end(struct bridge *b, struct upstream *u, struct overlapped *c)
{
    if (!c->came && c->due > 0)
        u->overlaps =
            u->overlaps == BRIDGE_OVERLAPS_EACH ? BRIDGE_OVERLAPS_AUTO : BRIDGE_OVERLAPS_ONE;
    forget(b, c);
}

static struct overlapped *find(struct bridge *b, struct upstream *u, uint64_t hash)
{
    struct overlapped *found = NULL;
    for (size_t i = 0; i < OVERLAPS_MAX; i++) {
        struct overlapped *c = &b->overlapped[i];
        if (c->hash == 0 || c->conn != u->conn)
            continue;
        /* Copies come together. A broker that is known to send them may put others between. */
        const bool alone = c->hash != hash && u->overlaps == BRIDGE_OVERLAPS_AUTO && c->due > 0;
        if (c->until_ms <= b->now_ms || alone)
            end(b, u, c);
        else if (c->hash == hash)
            found = c;
    }
    return found;
}

/* The one that ends first gives way: too many at a time, and a sensor may get a copy twice. */
static struct overlapped *take(struct bridge *b)
{
    struct overlapped *place = &b->overlapped[0];
    for (size_t i = 0; i < OVERLAPS_MAX; i++) {
        struct overlapped *c = &b->overlapped[i];
        if (c->hash == 0 || c->until_ms <= b->now_ms)
            return c;
        if (c->until_ms < place->until_ms)
            place = c;
    }
    return place;
}

struct census {
    uint32_t known; /* filters that the broker has for certain */
    uint8_t best;   /* QoS of the copies for these, at most */
    uint32_t all;   /* and those that it may have */
};

static void count(void *ctx, struct filter *f)
{
    struct census *census = ctx;
    if (f->name == NULL)
        return;
    census->all++;
    if (f->state != FILTER_ACTIVE || f->subscriptions == NULL)
        return;
    census->known++;
    census->best = f->granted > census->best ? f->granted : census->best;
}

static uint8_t others(uint32_t filters)
{
    return filters == 0 ? 0 : filters <= UINT8_MAX ? (uint8_t)(filters - 1) : UINT8_MAX;
}

static struct overlap first_copy(const struct census *census, const struct bridge_event *e)
{
    return (struct overlap){.above = -1,
                            .left = others(census->all),
                            .due = others(census->known),
                            .missed = e->message.qos == 0};
}

static struct overlap next_copy(const struct overlapped *c, const struct bridge_event *e)
{
    return (struct overlap){.above = c->upto,
                            .left = (uint8_t)(c->left - 1),
                            .due = c->due > 0 ? (uint8_t)(c->due - 1) : 0,
                            .is_more = true,
                            .missed = c->missed && e->message.qos > 0};
}

struct overlap overlaps_look(struct bridge *b, struct upstream *u, const struct bridge_event *e)
{
    const struct overlap only = {.above = -1, .upto = QOS_ALL};
    struct census census = {0};
    if (e->message.retain || e->message.id_count > 0)
        return only;
    filter_each(b, u, e->message.topic, count, &census);
    const uint64_t hash =
        (uint64_t)table_hash(SEED, e->message.topic.data, e->message.topic.len) << 32 |
        table_hash(SEED, e->message.payload.data, e->message.payload.len) | 1; /* 0 is no hash */
    const struct overlapped *c = find(b, u, hash);
    if (census.all < 2 || kind(b, u) == BRIDGE_OVERLAPS_ONE)
        return only;
    struct overlap copy = c == NULL ? first_copy(&census, e) : next_copy(c, e);
    const bool better_comes =
        kind(b, u) == BRIDGE_OVERLAPS_EACH && copy.due > 0 && e->message.qos < census.best;
    copy.hash = hash;
    copy.upto = better_comes ? (int8_t)e->message.qos : QOS_ALL;
    return copy;
}

bool overlaps_wants(const struct overlap *copy, const struct session *s)
{
    if (s->match_qos > copy->above)
        return s->match_qos <= copy->upto;
    return copy->is_more && copy->missed && s->match_qos > 0 && !sn_session_is_connected(&s->sn);
}

void overlaps_take(struct bridge *b, struct upstream *u, const struct overlap *copy, uint8_t qos)
{
    if (copy->hash == 0)
        return;
    struct overlapped *c = find(b, u, copy->hash);
    if (c == NULL) {
        c = take(b);
        forget(b, c);
        *c = (struct overlapped){.hash = copy->hash, .conn = u->conn, .upto = -1};
    }
    const bool more = copy->upto > c->upto;
    c->came = copy->is_more;
    c->due = copy->due;
    c->missed = copy->missed && !copy->is_more;
    c->left = copy->left;
    c->upto = more ? copy->upto : c->upto;
    c->until_ms = b->now_ms + OVERLAPS_MS;
    if (copy->is_more)
        u->overlaps = BRIDGE_OVERLAPS_EACH;
    if (c->left == 0) {
        forget(b, c);
    } else if (qos > 0 && more) {
        c->saved = true;
        save_overlap(b, place_of(b, c), c);
    }
}

/* As it was before. */
void overlaps_untake(struct bridge *b, struct upstream *u, const struct overlap *copy)
{
    if (copy->hash == 0)
        return;
    struct overlapped *c = find(b, u, copy->hash);
    if (c == NULL)
        c = take(b);
    forget(b, c);
    if (copy->is_more)
        *c = (struct overlapped){.hash = copy->hash,
                                 .conn = u->conn,
                                 .upto = copy->above,
                                 .left = (uint8_t)(copy->left + 1),
                                 .until_ms = b->now_ms + OVERLAPS_MS};
}

bool overlaps_restore(struct bridge *b, uint32_t place, struct overlapped c)
{
    if (place >= OVERLAPS_MAX || c.hash == 0 || c.left == 0)
        return false;
    b->overlapped[place] = c;
    b->overlapped[place].saved = true;
    b->overlapped[place].until_ms = BRIDGE_NEVER; /* the connection is down */
    return true;
}

/* While it is down nothing can come, and what comes then is no proof of anything. */
void overlaps_down(struct bridge *b, const struct upstream *u)
{
    for (size_t i = 0; i < OVERLAPS_MAX; i++)
        if (b->overlapped[i].hash != 0 && b->overlapped[i].conn == u->conn) {
            b->overlapped[i].until_ms = BRIDGE_NEVER;
            b->overlapped[i].due = 0;
        }
}

void overlaps_up(struct bridge *b, const struct upstream *u, bool session_present)
{
    for (size_t i = 0; i < OVERLAPS_MAX; i++) {
        struct overlapped *c = &b->overlapped[i];
        if (c->hash == 0 || c->conn != u->conn)
            continue;
        c->until_ms = b->now_ms + OVERLAPS_MS;
        if (!session_present)
            forget(b, c);
    }
}

void overlaps_forget(struct bridge *b, const struct upstream *u)
{
    for (size_t i = 0; i < OVERLAPS_MAX; i++)
        if (b->overlapped[i].hash != 0 && b->overlapped[i].conn == u->conn)
            forget(b, &b->overlapped[i]);
}
