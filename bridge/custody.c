#include "bridge/core.h"

#include <assert.h>

/* A message from the broker is with us when all its copies are on the disk, and the
 * broker hears so then; it is with the broker, and comes again, when one of them was
 * refused. In between nothing is certain: a copy that is on the disk already, or still
 * waits for it, goes away with one that was refused. So which copies there are, and how
 * to take them back, is kept until the disk has decided about the last of them.
 *
 * Nothing else knows: a copy on disk only has left nothing in memory but its count. */

#define COPY_DROPPED UINT32_MAX /* there was no room in its queue */
#define MORE_COPIES  61         /* a block of 512 octets */

struct copy {
    uint32_t session;
    uint32_t after; /* the first one: its seq; or COPY_DROPPED */
};

struct copies {
    struct copies *next;
    uint32_t count;
    struct copy copy[MORE_COPIES];
};

struct custody {
    uint64_t first;      /* seq of the first copy; 0: all were dropped */
    uint64_t full_since; /* a refusal from here up may have made room; 0: nothing was dropped */
    uint32_t bytes;      /* of the payload */
    uint8_t class;
    bool returns; /* it comes again when it is refused; else we are all who has it */
    uint16_t count;
    struct copy copy[2]; /* most messages have one */
    struct copies *more;
};

/* ---- made ------------------------------------------------------------------------ */

struct custody *custody_take(struct bridge *b, uint8_t class, uint32_t bytes, bool returns)
{
    struct custody *c = arena_take(&b->arena, sizeof(*c));
    if (c == NULL) {
        bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, NULL, sn_bytes(NULL, 0), 0);
        return NULL;
    }
    c->class = class;
    c->bytes = bytes;
    c->returns = returns;
    return c;
}

void custody_put(struct bridge *b, struct custody *c)
{
    while (c != NULL && c->more != NULL) {
        struct copies *more = c->more;
        c->more = more->next;
        arena_put(&b->arena, more);
    }
    arena_put(&b->arena, c);
}

static struct copy *new_copy(struct bridge *b, struct custody *c)
{
    if (c->count < sizeof(c->copy) / sizeof(c->copy[0]))
        return &c->copy[c->count++];
    if (c->more == NULL || c->more->count == MORE_COPIES) {
        struct copies *more = arena_take(&b->arena, sizeof(*more));
        if (more == NULL) {
            bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, NULL, sn_bytes(NULL, 0), 0);
            return NULL;
        }
        more->next = c->more;
        c->more = more;
    }
    return &c->more->copy[c->more->count++];
}

bool custody_add(struct bridge *b, struct custody *c, const struct session *s, uint64_t seq)
{
    struct copy *copy = new_copy(b, c);
    if (copy == NULL)
        return false;
    if (c->first == 0)
        c->first = seq;
    *copy = (struct copy){.session = s->number, .after = (uint32_t)(seq - c->first)};
    return true;
}

bool custody_add_dropped(struct bridge *b, struct custody *c, const struct session *s)
{
    struct copy *copy = new_copy(b, c);
    if (copy == NULL)
        return false;
    if (c->full_since == 0)
        c->full_since = b->covered + 1;
    *copy = (struct copy){.session = s->number, .after = COPY_DROPPED};
    return true;
}

/* ---- walked ------------------------------------------------------------------------ */

typedef void copy_fn(struct bridge *b, const struct custody *c, const struct copy *copy,
                     uint64_t ticket);

static void each_copy(struct bridge *b, const struct custody *c, copy_fn *fn, uint64_t ticket)
{
    for (uint16_t i = 0; i < c->count; i++)
        fn(b, c, &c->copy[i], ticket);
    for (const struct copies *more = c->more; more != NULL; more = more->next)
        for (uint32_t i = 0; i < more->count; i++)
            fn(b, c, &more->copy[i], ticket);
}

size_t custody_memory(const struct custody *c)
{
    size_t size = arena_block(sizeof(*c));
    for (const struct copies *more = c->more; more != NULL; more = more->next)
        size += arena_block(sizeof(*more));
    return size;
}

/* ---- decided ------------------------------------------------------------------------ */

/* Whether STORE_FAILED up to this ticket is about this copy. */
static bool is_refused(const struct bridge *b, const struct custody *c, const struct copy *copy,
                       uint64_t ticket)
{
    const uint64_t seq = c->first + copy->after;
    return copy->after == COPY_DROPPED ? ticket >= c->full_since
                                       : seq > b->covered && seq <= ticket;
}

bool custody_is_refused(const struct bridge *b, const struct custody *c, uint64_t ticket)
{
    bool any = false;
    for (uint16_t i = 0; i < c->count; i++)
        any |= is_refused(b, c, &c->copy[i], ticket);
    for (const struct copies *more = c->more; more != NULL; more = more->next)
        for (uint32_t i = 0; i < more->count && !any; i++)
            any = is_refused(b, c, &more->copy[i], ticket);
    return any;
}

/* Where the copy was put; NULL: there is nothing any more. */
static struct queue *queue_of(const struct bridge *b, const struct custody *c,
                              const struct copy *copy)
{
    const struct session *s = clients_find_number(b, copy->session);
    return s == NULL ? NULL : tiers_find(s, tiers_id(b, s, c->class));
}

/* The copy is as if it had never come; NULL: it is not there any more. */
static struct session *uncount(struct bridge *b, const struct custody *c, const struct copy *copy,
                               struct bridge_account change)
{
    struct session *s = clients_find_number(b, copy->session);
    struct queue *q = queue_of(b, c, copy);
    const uint64_t seq = c->first + copy->after;
    struct message *m = q == NULL ? NULL : queue_find(q, seq);
    if (q == NULL || (m == NULL && !queue_is_on_disk(q, seq)))
        return NULL;
    account_down(b, s, c->class, change);
    q->bytes -= c->bytes;
    if (m == NULL) {
        q->on_disk--;
        return s;
    }
    if (m == s->flying)
        downlink_land(b, s);
    queue_remove(b, q, m);
    return s;
}

static void take_back(struct bridge *b, const struct custody *c, const struct copy *copy,
                      uint64_t ticket)
{
    const uint64_t seq = c->first + copy->after;
    struct session *s = clients_find_number(b, copy->session);
    if (copy->after == COPY_DROPPED) {
        if (s != NULL)
            account_down(b, s, c->class,
                         (struct bridge_account){.accepted = 0 - 1ull, .dropped = 0 - 1ull});
        return;
    }
    s = uncount(b, c, copy, (struct bridge_account){.accepted = 0 - 1ull, .queued = 0 - 1ull});
    if (s != NULL && (seq <= b->covered || seq > ticket)) /* it is on the disk, or may be */
        bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_FORGET,
                                               .row = {.ticket = bridge_next_seq(b),
                                                       .queue = tiers_id(b, s, c->class),
                                                       .seq = seq}});
}

/* What is in memory stays there. */
static void do_without_disk(struct bridge *b, const struct custody *c, const struct copy *copy,
                            uint64_t ticket)
{
    struct session *s = clients_find_number(b, copy->session);
    struct queue *q = queue_of(b, c, copy);
    if (q == NULL || copy->after == COPY_DROPPED || !is_refused(b, c, copy, ticket))
        return;
    struct message *m = queue_find(q, c->first + copy->after);
    if (m != NULL)
        m->stored = false;
    else if (uncount(b, c, copy, (struct bridge_account){.dropped = 1, .queued = 0 - 1ull}) != NULL)
        bridge_note(b, BRIDGE_NOTE_DOWN_NOT_STORED, s, sn_bytes(NULL, 0), c->bytes);
}

void custody_refuse(struct bridge *b, const struct custody *c, uint64_t ticket)
{
    each_copy(b, c, c->returns ? take_back : do_without_disk, ticket);
}

void custody_undo(struct bridge *b, const struct custody *c)
{
    each_copy(b, c, take_back, 0);
}

static void pump(struct bridge *b, const struct custody *c, const struct copy *copy,
                 uint64_t ticket)
{
    struct session *s = clients_find_number(b, copy->session);
    (void)c;
    (void)ticket;
    if (s != NULL)
        downlink_pump(b, s);
}

void custody_pump(struct bridge *b, const struct custody *c)
{
    each_copy(b, c, pump, 0);
}

uint64_t custody_ticket(const struct bridge *b, uint64_t seq)
{
    const struct await *a = b->await_first;
    if (seq > b->durable)
        return seq;
    /* The first that is undecided is the only one that the disk can have begun. */
    while (a != NULL &&
           ((a->kind != AWAIT_ACCEPT && a->kind != AWAIT_COPIES) || a->custody->first == 0))
        a = a->next;
    return a != NULL && a->custody->first <= seq ? a->ticket : seq;
}
