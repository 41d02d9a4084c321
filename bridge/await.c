#include "bridge/core.h"

#include <assert.h>

bool await_add(struct bridge *b, struct await a)
{
    struct await *kept = arena_take(&b->arena, sizeof(*kept));
    if (kept == NULL) {
        bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, NULL, sn_bytes(NULL, 0), 0);
        return false;
    }
    assert(b->await_last == NULL || b->await_last->ticket <= a.ticket);
    *kept = a;
    kept->next = NULL;
    *(b->await_last == NULL ? &b->await_first : &b->await_last->next) = kept;
    b->await_last = kept;
    return true;
}

static bool take_first(struct bridge *b, uint64_t ticket, struct await *out)
{
    struct await *a = b->await_first;
    if (a == NULL || a->ticket > ticket)
        return false;
    *out = *a;
    b->await_first = a->next;
    if (a->next == NULL)
        b->await_last = NULL;
    arena_put(&b->arena, a);
    return true;
}

static void answer(struct bridge *b, const struct await *a, const struct sn_packet *p)
{
    struct session *s = clients_find_number(b, a->session);
    if (s != NULL)
        air_send(b, s, p, AIR_ACK, false);
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
        answer(b, a,
               &(struct sn_packet){.type = SN_REGACK,
                                   .ack = {.tid = a->tid, .mid = a->mid, .code = SN_ACCEPTED}});
        return;
    case AWAIT_SUBACK:
        if (s != NULL)
            s->subscribing = false;
        answer(b, a,
               &(struct sn_packet){
                   .type = SN_SUBACK,
                   .suback = {
                       .qos = (int8_t)a->qos, .tid = a->tid, .mid = a->mid, .code = SN_ACCEPTED}});
        if (s != NULL)
            downlink_pump(b, s);
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
        bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_ACCEPT, .accept.token = a->token});
        return;
    }
}

void await_stored(struct bridge *b, uint64_t ticket)
{
    if (ticket > b->durable)
        b->durable = ticket;
    struct await a;
    while (take_first(b, ticket, &a))
        say(b, &a);
}

/* Only messages are refused by the disk. Everything else up to the ticket is
 * tried again and waits for its STORED. */
void await_failed(struct bridge *b, uint64_t ticket)
{
    struct await *kept = NULL;
    struct await **end = &kept;
    struct await *last = NULL;
    bool refused_down = false;
    while (b->await_first != NULL && b->await_first->ticket <= ticket) {
        struct await *a = b->await_first;
        b->await_first = a->next;
        const enum await_kind kind = (enum await_kind)a->kind;
        if (kind == AWAIT_PUBACK || kind == AWAIT_PUBREC || kind == AWAIT_ACCEPT) {
            if (kind == AWAIT_ACCEPT)
                refused_down = true;
            else
                uplink_failed(b, a);
            arena_put(&b->arena, a);
            continue;
        }
        *end = last = a;
        end = &a->next;
    }
    *end = b->await_first;
    b->await_first = kept;
    if (*end == NULL)
        b->await_last = last;
    if (refused_down)
        downlink_failed(b, ticket);
}
