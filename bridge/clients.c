#include "bridge/core.h"

#include <assert.h>
#include <string.h>

struct blob *blob_take(struct bridge *b, struct sn_bytes bytes)
{
    struct blob *blob = arena_take(&b->arena, sizeof(*blob) + bytes.len);
    if (blob == NULL)
        return NULL;
    blob->len = (uint32_t)bytes.len;
    if (bytes.len > 0)
        memcpy(blob->data, bytes.data, bytes.len);
    return blob;
}

static uint32_t number_hash(uint32_t number)
{
    return number * 2654435761u; /* numbers are ours: spreading them is enough */
}

static uint32_t id_hash(const struct bridge *b, struct sn_bytes client_id)
{
    return table_hash(b->config->seed, client_id.data, client_id.len);
}

static uint32_t peer_hash(const struct bridge *b, uint16_t link, const struct radio_address *a,
                          struct sn_bytes node)
{
    const uint32_t h = table_hash(b->config->seed + link, a->bytes, a->len);
    return node.len == 0 ? h : table_hash(h, node.data, node.len);
}

struct session *clients_find_number(const struct bridge *b, uint32_t number)
{
    for (struct table_link *l = table_first(&b->sessions_by_number, number_hash(number)); l != NULL;
         l = table_next(l)) {
        struct session *s = TABLE_ENTRY(l, struct session, by_number);
        if (s->number == number)
            return s;
    }
    return NULL;
}

struct session *clients_find_id(const struct bridge *b, struct sn_bytes client_id)
{
    for (struct table_link *l = table_first(&b->sessions_by_id, id_hash(b, client_id)); l != NULL;
         l = table_next(l)) {
        struct session *s = TABLE_ENTRY(l, struct session, by_id);
        if (sn_bytes_equal(blob_bytes(s->client_id), client_id))
            return s;
    }
    return NULL;
}

bool clients_is_at(const struct session *s, const struct peer *peer)
{
    return s->link == peer->link && s->address.len == peer->address->len &&
           memcmp(s->address.bytes, peer->address->bytes, s->address.len) == 0 &&
           (s->node != NULL) == (peer->node.data != NULL) &&
           sn_bytes_equal(blob_bytes(s->node), peer->node);
}

struct session *clients_find_peer(const struct bridge *b, const struct peer *peer)
{
    const uint32_t hash = peer_hash(b, peer->link, peer->address, peer->node);
    for (struct table_link *l = table_first(&b->sessions_by_peer, hash); l != NULL;
         l = table_next(l)) {
        struct session *s = TABLE_ENTRY(l, struct session, by_peer);
        if (clients_is_at(s, peer))
            return s;
    }
    return NULL;
}

static uint32_t free_number(struct bridge *b)
{
    do {
        b->last_number = (b->last_number + 1) & BRIDGE_SESSION_MAX;
    } while (b->last_number == 0 || clients_find_number(b, b->last_number) != NULL);
    return b->last_number;
}

struct session *clients_add(struct bridge *b, struct sn_bytes client_id, uint32_t number)
{
    if (b->status.clients >= b->config->max_clients && !expire_make_room(b))
        return NULL;
    struct session *s = arena_take(&b->arena, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->client_id = blob_take(b, client_id);
    if (s->client_id == NULL) {
        arena_put(&b->arena, s);
        return NULL;
    }
    s->transparent = upstream_is_own(b, client_id);
    s->number = number != 0 ? number : free_number(b);
    if (s->transparent && !upstream_add(b, s)) {
        arena_put(&b->arena, s->client_id);
        arena_put(&b->arena, s);
        return NULL;
    }
    if (s->number > b->last_number)
        b->last_number = s->number;
    s->link = UINT16_MAX;
    tiers_open(s);
    s->timer.due_ms = s->idle.due_ms = TIMER_NEVER;
    s->retry.due_ms = SN_NEVER;
    s->dialogue_retry.due_ms = SN_NEVER;
    table_add(&b->sessions_by_number, &s->by_number, number_hash(s->number));
    table_add(&b->sessions_by_id, &s->by_id, id_hash(b, client_id));
    b->status.clients++;
    b->status.disconnected++;
    return s;
}

static void drop_pending(struct bridge *b, struct session *s)
{
    if (s->pending != NULL)
        name_put(b, s->pending->will_topic);
    arena_put(&b->arena, s->pending);
    s->pending = NULL;
    s->dialogue = DIALOGUE_NONE;
    sn_retry_stop(&s->dialogue_retry);
}

static void drop_will(struct bridge *b, struct session *s)
{
    name_put(b, s->will.topic);
    arena_put(&b->arena, s->will.message);
    s->will = (struct will){0};
}

static void drop_contents(struct bridge *b, struct session *s)
{
    s->subscribing = SUBSCRIBING_NOT;
    drop_will(b, s);
    subscribe_remove_all(b, s);
    topics_remove_all(b, s);
    exchanges_remove_all(b, s);
    downlink_forget_all(b, s);
}

void clients_wipe(struct bridge *b, struct session *s)
{
    drop_contents(b, s);
    s->subscribe_mid = 0;
    s->acked_mid = 0;
    s->next_tid = 0;
    if (s->on_disk) {
        erase_session(b, s);
        s->on_disk = false;
    }
}

void clients_retire(struct bridge *b, struct session *s)
{
    clients_wipe(b, s);
    if (!upstream_is_wanted(s)) {
        clients_remove(b, s);
        return;
    }
    save_session(b, s, false);
    session_reschedule(b, s);
}

void clients_remove(struct bridge *b, struct session *s)
{
    drop_pending(b, s);
    drop_contents(b, s);
    tiers_close(b, s);
    upstream_remove(b, s);
    air_leave(b, s);
    const uint8_t before = s->sn.state;
    sn_session_disconnect(&s->sn);
    session_changed(b, s, before);
    b->status.disconnected--;
    timers_remove(&b->timers, &s->timer);
    timers_remove(&b->idle, &s->idle);
    table_remove(&s->by_number);
    table_remove(&s->by_id);
    table_remove(&s->by_peer);
    arena_put(&b->arena, s->client_id);
    arena_put(&b->arena, s->node);
    arena_put(&b->arena, s);
    b->status.clients--;
}

void clients_end_dialogue(struct bridge *b, struct session *s)
{
    drop_pending(b, s);
}

void clients_drop_will(struct bridge *b, struct session *s)
{
    drop_will(b, s);
}

/* it cannot be reached any more; that is the same as being lost. */
static void evict(struct bridge *b, struct session *s)
{
    const bool remains = s->on_disk;
    if (s->dialogue == DIALOGUE_STORING || s->dialogue == DIALOGUE_BROKER)
        s->dialogue = DIALOGUE_NONE;
    else if (s->dialogue != DIALOGUE_NONE)
        connect_abandon(b, s); /* frees one that is not on the disk */
    if (remains && sn_session_is_connected(&s->sn))
        connect_lose(b, s, BRIDGE_NOTE_CLIENT_LOST);
    else if (remains)
        session_reschedule(b, s);
}

bool clients_move(struct bridge *b, struct session *s, const struct peer *peer)
{
    if (clients_is_at(s, peer))
        return true;
    struct blob *node = NULL;
    if (peer->node.data != NULL && (node = blob_take(b, peer->node)) == NULL)
        return false;

    struct session *other = clients_find_peer(b, peer);
    if (other != NULL) {
        bridge_note(b, BRIDGE_NOTE_CLIENT_REPLACED, other, blob_bytes(s->client_id), 0);
        air_leave(b, other);
        table_remove(&other->by_peer);
        account_moved(b, other, other->link, UINT16_MAX);
        other->link = UINT16_MAX;
        evict(b, other);
    }
    table_remove(&s->by_peer);
    air_leave(b, s);
    arena_put(&b->arena, s->node);
    s->node = node;
    account_moved(b, s, s->link, peer->link);
    s->link = peer->link;
    s->address = *peer->address;
    radio_rtt_init(&s->rtt, &b->links[s->link].rtt);
    table_add(&b->sessions_by_peer, &s->by_peer,
              peer_hash(b, peer->link, peer->address, peer->node));
    return true;
}
