#include "bridge/core.h"

#include <assert.h>

static bool has_message(const struct await *a)
{
    return a->kind == AWAIT_PUBACK || a->kind == AWAIT_PUBREC;
}

static bool has_topic(const struct await *a)
{
    return has_message(a) || a->kind == AWAIT_SUBACK;
}

static bool has_custody(const struct await *a)
{
    return a->kind == AWAIT_ACCEPT || a->kind == AWAIT_COPIES;
}

struct await *await_take(struct bridge *b)
{
    struct await *place = arena_take(&b->arena, sizeof(*place));
    if (place == NULL)
        bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, NULL, sn_bytes(NULL, 0), 0);
    return place;
}

static void release(struct bridge *b, const struct await *a)
{
    if (has_custody(a))
        custody_put(b, a->custody);
    if (has_topic(a))
        name_put(b, a->topic);
    b->undecided_up -= has_message(a);
    b->undecided_bytes -= a->bytes;
}

void await_put(struct bridge *b, struct await *place)
{
    arena_put(&b->arena, place);
}

void await_enter(struct bridge *b, struct await *place, struct await a)
{
    /* By ticket; nearly always that is the end. */
    struct await *before = b->await_last;
    while (before != NULL && before->ticket > a.ticket)
        before = before->prev;
    *place = a;
    if (has_topic(&a))
        name_share(a.topic);
    b->undecided_up += has_message(&a);
    b->undecided_bytes += a.bytes;
    place->prev = before;
    place->next = before == NULL ? b->await_first : before->next;
    *(before == NULL ? &b->await_first : &before->next) = place;
    *(place->next == NULL ? &b->await_last : &place->next->prev) = place;
}

bool await_add(struct bridge *b, struct await a)
{
    struct await *place = await_take(b);
    if (place != NULL)
        await_enter(b, place, a);
    return place != NULL;
}

bool await_has_message(const struct bridge *b, uint32_t conn)
{
    const struct await *a = b->await_first;
    while (a != NULL && (a->kind != AWAIT_ACCEPT || a->session != conn))
        a = a->next;
    return a != NULL;
}

static void unlink_await(struct bridge *b, struct await *a)
{
    *(a->prev == NULL ? &b->await_first : &a->prev->next) = a->next;
    *(a->next == NULL ? &b->await_last : &a->next->prev) = a->prev;
}

static bool take_first(struct bridge *b, uint64_t ticket, struct await *out)
{
    struct await *a = b->await_first;
    if (a == NULL || a->ticket > ticket)
        return false;
    *out = *a;
    unlink_await(b, a);
    arena_put(&b->arena, a);
    return true;
}

static void answer(struct bridge *b, const struct await *a, const struct sn_packet *p)
{
    struct session *s = clients_find_number(b, a->session);
    if (s != NULL)
        air_send(b, s, p, AIR_ACK, false);
}

static void accept(struct bridge *b, const struct await *a)
{
    struct upstream *u = upstream_find(b, a->session);
    bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_ACCEPT, .accept.token = a->token});
    if (u != NULL)
        upstream_accepted(b, u);
}

static void say(struct bridge *b, const struct await *a)
{
    struct session *s = clients_find_number(b, a->session);
    switch ((enum await_kind)a->kind) {
    case AWAIT_PUBACK:
    case AWAIT_PUBREC:
    case AWAIT_PUBCOMP:
        uplink_durable(b, a);
        return;
    case AWAIT_CONNACK:
        if (s != NULL)
            connect_done(b, s);
        return;
    case AWAIT_REGACK:
        if (s != NULL)
            uplink_registered(b, s, a->tid, a->mid);
        return;
    case AWAIT_SUBACK:
        if (s != NULL)
            subscribe_done(b, s, a);
        return;
    case AWAIT_UNSUBACK:
        answer(b, a, &(struct sn_packet){.type = SN_UNSUBACK, .mid = a->mid});
        return;
    case AWAIT_DISCONNECT:
        if (s != NULL)
            connect_gone(b, s);
        return;
    case AWAIT_WILLTOPICRESP:
        answer(b, a, &(struct sn_packet){.type = SN_WILLTOPICRESP, .code = SN_ACCEPTED});
        return;
    case AWAIT_WILLMSGRESP:
        answer(b, a, &(struct sn_packet){.type = SN_WILLMSGRESP, .code = SN_ACCEPTED});
        return;
    case AWAIT_PUBREL:
        downlink_durable(b, a);
        return;
    case AWAIT_SEND:
        if (s != NULL) {
            s->waiting_for_disk = false;
            downlink_pump(b, s);
        }
        return;
    case AWAIT_ACCEPT:
        accept(b, a);
        return;
    case AWAIT_COPIES:
        return;
    }
}

void await_stored(struct bridge *b, uint64_t ticket)
{
    if (ticket > b->durable)
        b->durable = ticket;
    struct await a;
    while (take_first(b, ticket, &a)) {
        say(b, &a);
        release(b, &a);
    }
}

/* Only messages are refused by the disk. Everything else up to the ticket is
 * tried again and waits for its STORED. A message of several copies is refused with any
 * of them; what was accepted before waits for the rest. */
static bool is_refused(const struct bridge *b, const struct await *a, uint64_t ticket)
{
    if (has_custody(a))
        return a->ticket <= ticket ||
               (a->kind == AWAIT_ACCEPT && custody_is_refused(b, a->custody, ticket));
    return a->ticket <= ticket && (has_message(a) || a->kind == AWAIT_SEND);
}

/* The broker has not been told that the message is ours: a new connection makes it
 * send it again. */
static void send_again(struct bridge *b, const struct await *a)
{
    struct upstream *u = upstream_find(b, a->session);
    if (u != NULL) {
        overlaps_forget(b, u);
        upstream_refused(b, u, a->ticket);
    } else {
        accept(b, a); /* the session is gone, and nobody wants it */
    }
}

static void failed(struct bridge *b, const struct await *a)
{
    if (a->kind == AWAIT_SEND)
        say(b, a); /* what it waited for may be gone; else it waits again */
    else if (a->kind == AWAIT_ACCEPT)
        send_again(b, a);
    else if (has_message(a))
        uplink_failed(b, a);
    if (has_custody(a))
        custody_pump(b, a->custody);
}

/* Taken out first, then handled: what is said may let others wait. */
void await_failed(struct bridge *b, uint64_t ticket)
{
    struct await *refused = NULL;
    struct await **end = &refused;
    for (struct await *a = b->await_first, *next; a != NULL; a = next) {
        next = a->next;
        const bool is_over = is_refused(b, a, ticket);
        if (has_custody(a) && (is_over || a->kind == AWAIT_COPIES))
            custody_refuse(b, a->custody, ticket);
        if (!is_over)
            continue;
        unlink_await(b, a);
        a->next = NULL;
        *end = a;
        end = &a->next;
    }
    while (refused != NULL) {
        struct await *a = refused;
        refused = a->next;
        failed(b, a);
        release(b, a);
        arena_put(&b->arena, a);
    }
}
