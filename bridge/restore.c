#include "bridge/core.h"

#include <assert.h>
#include <string.h>

#include "bridge/permit.h"

/* The values of state records. Numbers are most significant octet first; text
 * and octets are preceded by a 16-bit length. A reader refuses what it does not
 * know; fields are only ever added at the end.
 *
 *   SESSION  version u8 = 1, state u8, clean u8, keepalive_s u16, sleep_s u16,
 *            heard_ms u64, next_tid u16, client id, link name, address,
 *            has node u8, node, account from it and to it (see ACCOUNT), returned u8
 *            (not in early stores: then 1)
 *   WILL     version u8 = 1, qos u8, retain u8, topic, message
 *   TOPIC    name (to the end)
 *   FILTER   qos u8, filter (to the end)
 *   ACCOUNT  version u8 = 1, then accepted, delivered, expired, dropped u64,
 *            first from sensors, then to sensors; then for each class u8 = 1, its
 *            name, and the same; then for each link u8 = 2, its number u8, its
 *            name, and the same; u8 = 0
 *   OVERLAP  version u8 = 1, conn u32, hash u64, left u8, upto u8; key: its place
 */
#define VERSION          1
#define ACCOUNT_END      0
#define ACCOUNT_OF_CLASS 1
#define ACCOUNT_OF_LINK  2
#define ACCOUNT_MS       60000 /* how old the account on the disk may be while it changes */
#define VALUE_MAX        (SN_PACKET_MAX + 64)
#define TEXT_MAX         UINT16_MAX
#define ADDRESS_MAX      RADIO_ADDRESS_SIZE

static void write_text(struct sn_writer *w, struct sn_bytes text)
{
    assert(text.len <= TEXT_MAX);
    sn_write_u16(w, (uint16_t)text.len);
    sn_write_bytes(w, text);
}

static struct sn_bytes read_text(struct sn_reader *r)
{
    const uint16_t len = sn_read_u16(r);
    return sn_read_bytes(r, len);
}

/* ---- written ------------------------------------------------------------------- */

static uint64_t save(struct bridge *b, uint32_t session, enum bridge_record_kind kind, uint32_t key,
                     const struct sn_writer *w, bool lazy)
{
    assert(!w->failed);
    const uint64_t ticket = bridge_next_seq(b);
    bridge_emit(b, &(struct bridge_action){
                       .type = BRIDGE_DO_SAVE,
                       .lazy = lazy,
                       .record = {.ticket = ticket,
                                  .record = {.session = session,
                                             .kind = kind,
                                             .key = key,
                                             .value = sn_bytes(w->start, sn_writer_len(w))}}});
    return ticket;
}

static void write_account(struct sn_writer *w, const struct bridge_account *a)
{
    sn_write_u64(w, a->accepted);
    sn_write_u64(w, a->delivered);
    sn_write_u64(w, a->expired);
    sn_write_u64(w, a->dropped);
}

static void write_accounts(struct sn_writer *w, const struct bridge_accounts *a)
{
    write_account(w, &a->up);
    write_account(w, &a->down);
}

static struct bridge_account read_account(struct sn_reader *r)
{
    struct bridge_account a = {.accepted = sn_read_u64(r)};
    a.delivered = sn_read_u64(r);
    a.expired = sn_read_u64(r);
    a.dropped = sn_read_u64(r);
    return a;
}

static struct bridge_accounts read_accounts(struct sn_reader *r)
{
    struct bridge_accounts a = {.up = read_account(r)};
    a.down = read_account(r);
    return a;
}

uint64_t save_session(struct bridge *b, struct session *s, bool lazy)
{
    struct sn_writer w = sn_writer(b->scratch, sizeof(b->scratch));
    sn_write_u8(&w, VERSION);
    sn_write_u8(&w, s->sn.state);
    sn_write_u8(&w, s->clean);
    sn_write_u16(&w, s->sn.keepalive_s);
    sn_write_u16(&w, s->sn.sleep_s);
    sn_write_u64(&w, s->sn.heard_ms);
    sn_write_u16(&w, s->next_tid);
    write_text(&w, blob_bytes(s->client_id));
    write_text(&w, s->link == UINT16_MAX ? sn_bytes(NULL, 0)
                                         : sn_bytes_text(b->links[s->link].config->name));
    write_text(&w, sn_bytes(s->address.bytes, s->address.len));
    sn_write_u8(&w, s->node != NULL);
    write_text(&w, blob_bytes(s->node));
    write_accounts(&w, &s->account);
    sn_write_u8(&w, s->returned);
    s->account_changed = false;
    s->on_disk = true;
    s->saved_ms = s->sn.heard_ms;
    return save(b, s->number, BRIDGE_RECORD_SESSION, 0, &w, lazy);
}

/* A session that only publishes and pings does not cost a write per ping: the
 * disk hears when the deadline has moved by more than a tenth. */
void save_heard(struct bridge *b, struct session *s)
{
    const uint16_t seconds = s->sn.state == SN_ASLEEP ? s->sn.sleep_s : s->sn.keepalive_s;
    if (seconds != 0 && s->sn.heard_ms > s->saved_ms + (uint64_t)seconds * 100 && s->on_disk)
        save_session(b, s, true);
}

uint64_t save_will(struct bridge *b, const struct session *s)
{
    struct sn_writer w = sn_writer(b->scratch, sizeof(b->scratch));
    sn_write_u8(&w, VERSION);
    sn_write_u8(&w, s->will.qos);
    sn_write_u8(&w, s->will.retain);
    write_text(&w, name_bytes(s->will.topic));
    write_text(&w, blob_bytes(s->will.message));
    return save(b, s->number, BRIDGE_RECORD_WILL, 0, &w, false);
}

uint64_t save_topic(struct bridge *b, const struct session *s, struct topic *t)
{
    struct sn_writer w = sn_writer(b->scratch, sizeof(b->scratch));
    sn_write_bytes(&w, name_bytes(t->name));
    return t->saved = save(b, s->number, BRIDGE_RECORD_TOPIC, t->tid, &w, false);
}

uint64_t save_subscription(struct bridge *b, const struct subscription *sub)
{
    struct sn_writer w = sn_writer(b->scratch, sizeof(b->scratch));
    sn_write_u8(&w, sub->qos);
    sn_write_bytes(&w, name_bytes(sub->filter->name));
    return save(b, sub->session->number, BRIDGE_RECORD_FILTER, sub->key, &w, false);
}

/* What is queued follows from the queues. */
static bool is_same(const struct bridge_account *a, const struct bridge_account *b)
{
    return a->accepted == b->accepted && a->delivered == b->delivered && a->expired == b->expired &&
           a->dropped == b->dropped;
}

void save_account_now(struct bridge *b)
{
    if (!b->started ||
        (is_same(&b->status.up, &b->saved_up) && is_same(&b->status.down, &b->saved_down)))
        return;
    struct sn_writer w = sn_writer(b->scratch, sizeof(b->scratch));
    sn_write_u8(&w, VERSION);
    write_account(&w, &b->status.up);
    write_account(&w, &b->status.down);
    for (uint8_t i = 0; i < b->config->class_count || i == 0; i++) {
        sn_write_u8(&w, ACCOUNT_OF_CLASS);
        write_text(&w, sn_bytes_text(classes_at(b->config, i)->name));
        write_accounts(&w, &b->status.classes[i]);
    }
    for (size_t i = 0; i < b->config->link_count; i++) {
        sn_write_u8(&w, ACCOUNT_OF_LINK);
        sn_write_u8(&w, b->links[i].number);
        write_text(&w, sn_bytes_text(b->links[i].config->name));
        write_accounts(&w, &b->status.links[i]);
    }
    sn_write_u8(&w, ACCOUNT_END);
    b->saved_up = b->status.up;
    b->saved_down = b->status.down;
    b->account_ms = b->now_ms;
    save(b, 0, BRIDGE_RECORD_ACCOUNT, 0, &w, true);
}

void save_accounts_of_sessions(struct bridge *b)
{
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++) {
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next) {
            struct session *s = TABLE_ENTRY(l, struct session, by_number);
            if (s->on_disk && s->account_changed)
                save_session(b, s, true);
        }
    }
}

void save_account(struct bridge *b)
{
    if (b->started && b->now_ms - b->account_ms >= ACCOUNT_MS)
        save_account_now(b);
}

static uint64_t erase(struct bridge *b, uint32_t session, enum bridge_record_kind kind,
                      uint32_t key)
{
    const uint64_t ticket = bridge_next_seq(b);
    bridge_emit(b, &(struct bridge_action){
                       .type = BRIDGE_DO_ERASE,
                       .record = {.ticket = ticket,
                                  .record = {.session = session, .kind = kind, .key = key}}});
    return ticket;
}

uint64_t save_overlap(struct bridge *b, uint32_t place, const struct overlapped *c)
{
    struct sn_writer w = sn_writer(b->scratch, sizeof(b->scratch));
    sn_write_u8(&w, VERSION);
    sn_write_u32(&w, c->conn);
    sn_write_u64(&w, c->hash);
    sn_write_u8(&w, c->left);
    sn_write_u8(&w, (uint8_t)c->upto);
    return save(b, 0, BRIDGE_RECORD_OVERLAP, place, &w, false);
}

uint64_t erase_overlap(struct bridge *b, uint32_t place)
{
    return erase(b, 0, BRIDGE_RECORD_OVERLAP, place);
}

uint64_t erase_record(struct bridge *b, const struct session *s, enum bridge_record_kind kind,
                      uint32_t key)
{
    return erase(b, s->number, kind, key);
}

uint64_t erase_session(struct bridge *b, const struct session *s)
{
    return erase(b, s->number, 0, 0);
}

/* ---- read back -------------------------------------------------------------------- */

static uint16_t link_by_name(const struct bridge *b, struct sn_bytes name)
{
    for (size_t i = 0; i < b->config->link_count; i++)
        if (sn_bytes_equal(sn_bytes_text(b->config->links[i].name), name))
            return (uint16_t)i;
    return UINT16_MAX;
}

/* The lowest number that no link has, and that is not this one. */
static uint8_t free_link_number(const struct bridge *b, uint8_t other)
{
    uint8_t number = 1;
    for (size_t i = 0; i < b->config->link_count; i++) {
        if (b->links[i].number == number || number == other) {
            number++;
            i = SIZE_MAX; /* from the beginning */
        }
    }
    return number;
}

static bool restore_session(struct bridge *b, const struct bridge_record *r)
{
    struct sn_reader in = sn_reader(r->value);
    const uint8_t version = sn_read_u8(&in);
    const uint8_t state = sn_read_u8(&in);
    const bool clean = sn_read_u8(&in) != 0;
    const uint16_t keepalive_s = sn_read_u16(&in);
    const uint16_t sleep_s = sn_read_u16(&in);
    const uint64_t heard_ms = sn_read_u64(&in);
    const uint16_t next_tid = sn_read_u16(&in);
    const struct sn_bytes client_id = read_text(&in);
    const struct sn_bytes link = read_text(&in);
    const struct sn_bytes address = read_text(&in);
    const bool has_node = sn_read_u8(&in) != 0;
    const struct sn_bytes node = read_text(&in);
    const struct bridge_accounts account = read_accounts(&in);
    const bool returned = sn_reader_left(&in) == 0 || sn_read_u8(&in) != 0;
    if (in.failed || version != VERSION || state > SN_LOST || address.len > ADDRESS_MAX ||
        client_id.len == 0 || r->session == 0 || r->session > BRIDGE_SESSION_MAX ||
        clients_find_id(b, client_id) != NULL || clients_find_number(b, r->session) != NULL ||
        (state == SN_ASLEEP && sleep_s == 0))
        return false;
    struct session *s = clients_add(b, client_id, r->session);
    if (s == NULL)
        return false;

    struct radio_address where = {.len = (uint8_t)address.len};
    memcpy(where.bytes, address.data, address.len);
    const struct peer peer = {.link = link_by_name(b, link),
                              .address = &where,
                              .node = has_node ? node : sn_bytes(NULL, 0)};
    if (peer.link != UINT16_MAX && clients_find_peer(b, &peer) == NULL)
        clients_move(b, s, &peer);
    s->clean = clean;
    s->on_disk = true;
    s->returned = returned;
    s->next_tid = next_tid;
    s->saved_ms = heard_ms;
    s->account = account;
    s->sn.keepalive_s = keepalive_s;
    s->sn.sleep_s = sleep_s;
    s->sn.heard_ms = heard_ms < b->now_ms ? heard_ms : b->now_ms;
    /* One that was awake will ask again. */
    s->sn.state = state == SN_AWAKE ? SN_ASLEEP : state;
    session_changed(b, s, SN_DISCONNECTED);
    return true;
}

static bool restore_will(struct bridge *b, struct session *s, struct sn_bytes value)
{
    struct sn_reader in = sn_reader(value);
    const uint8_t version = sn_read_u8(&in);
    const uint8_t qos = sn_read_u8(&in);
    const bool retain = sn_read_u8(&in) != 0;
    const struct sn_bytes topic = read_text(&in);
    const struct sn_bytes message = read_text(&in);
    if (in.failed || version != VERSION || qos > 2)
        return false;
    const bool allowed = permit_publish(b->config, topic) == NULL;
    if (!allowed)
        bridge_note(b, BRIDGE_NOTE_TOPIC_REFUSED, s, topic, 0);
    s->will.topic = topic.len == 0 || !allowed ? NULL : name_take(b, topic);
    s->will.message = blob_take(b, message);
    s->will.qos = qos;
    s->will.retain = retain;
    return true;
}

static bool restore_topic(struct bridge *b, struct session *s, const struct bridge_record *r)
{
    if (r->key == 0 || r->key >= 0xFFFF || r->value.len == 0 || r->value.len > TEXT_MAX ||
        topics_find(b, s, (uint16_t)r->key) != NULL)
        return false;
    struct name *name = name_take(b, r->value);
    struct topic *t = name == NULL ? NULL : topics_add(b, s, name, (uint16_t)r->key);
    name_put(b, name);
    if (t == NULL)
        return false;
    if (t->tid > s->next_tid) /* given since the session was saved, or before it began anew */
        s->next_tid = t->tid;
    /* The device has not been restarted, only we have: it knows what it knew, and may have
     * asked for it. One that is not connected has to show it then. */
    t->known = sn_session_is_connected(&s->sn) ? TOPIC_KNOWN : TOPIC_TOLD_BEFORE;
    topics_use(s, t, true);
    return true;
}

static bool restore_filter(struct bridge *b, struct session *s, const struct bridge_record *r)
{
    struct sn_reader in = sn_reader(r->value);
    const uint8_t qos = sn_read_u8(&in);
    const struct sn_bytes text = sn_read_rest(&in);
    if (in.failed || qos > 2 || text.len == 0 || text.len > TEXT_MAX)
        return false;
    struct name *name = name_take(b, text);
    if (name == NULL)
        return false;
    subscribe_restore(b, s, name, r->key, qos);
    name_put(b, name);
    return true;
}

static void restore_class_account(struct bridge *b, struct sn_bytes name,
                                  const struct bridge_accounts *a)
{
    for (uint8_t i = 0; i < b->config->class_count || i == 0; i++)
        if (sn_bytes_equal(sn_bytes_text(classes_at(b->config, i)->name), name))
            b->status.classes[i] = *a;
}

/* Rows know links by numbers, which stay with the names: whoever had this number
 * takes the one that is free now. */
static void restore_link_account(struct bridge *b, struct sn_bytes name, uint8_t number,
                                 const struct bridge_accounts *a)
{
    const uint16_t link = link_by_name(b, name);
    for (size_t i = 0; i < b->config->link_count; i++)
        if (b->links[i].number == number)
            b->links[i].number =
                link == UINT16_MAX ? free_link_number(b, number) : b->links[link].number;
    if (link == UINT16_MAX)
        return;
    b->links[link].number = number;
    b->status.links[link] = *a;
}

static bool restore_account(struct bridge *b, struct sn_bytes value)
{
    struct sn_reader in = sn_reader(value);
    const uint8_t version = sn_read_u8(&in);
    const struct bridge_accounts all = read_accounts(&in);
    if (in.failed || version != VERSION)
        return false;
    b->status.up = all.up;
    b->status.down = all.down;
    for (;;) {
        const uint8_t what = sn_read_u8(&in);
        const uint8_t number = what == ACCOUNT_OF_LINK ? sn_read_u8(&in) : 0;
        const struct sn_bytes name = what == ACCOUNT_END ? sn_bytes(NULL, 0) : read_text(&in);
        const struct bridge_accounts a =
            what == ACCOUNT_END ? (struct bridge_accounts){0} : read_accounts(&in);
        if (in.failed || what == ACCOUNT_END || what > ACCOUNT_OF_LINK)
            return !in.failed && what == ACCOUNT_END;
        if (what == ACCOUNT_OF_CLASS)
            restore_class_account(b, name, &a);
        else
            restore_link_account(b, name, number, &a);
    }
}

/* What belongs to a session that could not be read stays on the disk for a human
 * to look at: no new session may get its number, and with it what is not its own. */
static void reserve_number(struct bridge *b, uint32_t number)
{
    if (number > b->last_number)
        b->last_number = number;
}

static bool restore_overlap(struct bridge *b, const struct bridge_record *r)
{
    struct sn_reader in = sn_reader(r->value);
    if (sn_read_u8(&in) != VERSION)
        return false;
    const uint32_t conn = sn_read_u32(&in);
    const uint64_t hash = sn_read_u64(&in);
    const uint8_t left = sn_read_u8(&in);
    const uint8_t upto = sn_read_u8(&in);
    return !in.failed && upto <= 2 &&
           overlaps_restore(
               b, r->key,
               (struct overlapped){.conn = conn, .hash = hash, .left = left, .upto = (int8_t)upto});
}

void restore_record(struct bridge *b, const struct bridge_record *r)
{
    reserve_number(b, r->session & BRIDGE_SESSION_MAX);
    struct session *s = clients_find_number(b, r->session);
    bool good = false;
    switch (r->kind) {
    case BRIDGE_RECORD_SESSION:
        good = restore_session(b, r);
        break;
    case BRIDGE_RECORD_WILL:
        good = s != NULL && restore_will(b, s, r->value);
        break;
    case BRIDGE_RECORD_TOPIC:
        good = s != NULL && restore_topic(b, s, r);
        break;
    case BRIDGE_RECORD_FILTER:
        good = s != NULL && restore_filter(b, s, r);
        break;
    case BRIDGE_RECORD_ACCOUNT:
        good = restore_account(b, r->value);
        break;
    case BRIDGE_RECORD_OVERLAP:
        good = restore_overlap(b, r);
        break;
    }
    if (!good)
        bridge_note(b, BRIDGE_NOTE_RECORD_REFUSED, s, sn_bytes(NULL, 0),
                    (uint64_t)r->session << 32 | (uint32_t)r->kind);
}

/* What is left for a connection of a sensor's own goes by one, even if it has none
 * any more by the configuration. */
static struct queue *queue_of(struct bridge *b, uint32_t id)
{
    struct session *s = clients_find_number(b, bridge_queue_session(id));
    if (bridge_queue_is_up(id) && bridge_queue_session(id) == 0)
        return lanes_take(b, &b->shared, id);
    if (s == NULL || (bridge_queue_is_up(id) && s->own == NULL && !upstream_add(b, s)))
        return NULL;
    return bridge_queue_is_up(id) ? lanes_take(b, s->own, id) : tiers_take(b, s, id);
}

void restore_waiting(struct bridge *b, const struct bridge_event *event)
{
    const uint32_t id = event->waiting.queue;
    const struct bridge_account queued = {.queued = 1};
    if (queue_of(b, id) == NULL)
        return;
    if (!bridge_queue_is_up(id)) {
        struct session *s = clients_find_number(b, bridge_queue_session(id));
        account_down(b, s, event->waiting.class, queued);
        tiers_restore(b, s, event);
        sweep_expect(b, event->waiting.expires_ms);
        return;
    }
    account_bytes(b, event->waiting.class, event->waiting.bytes);
    account_up(b, event->waiting.session, event->waiting.class, event->waiting.link, queued);
    lanes_restore(b, upstream_with_queue(b, id), event);
}

void restore_queue(struct bridge *b, const struct bridge_event *event)
{
    struct queue *q = queue_of(b, event->queue.queue);
    reserve_number(b, bridge_queue_session(event->queue.queue));
    if (q == NULL) { /* its session is gone or could not be read */
        bridge_note(b, BRIDGE_NOTE_ROWS_MISSING, NULL, sn_bytes(NULL, 0), event->queue.count);
        return;
    }
    q->on_disk = event->queue.count;
    if (!bridge_queue_is_up(q->id))
        q->bytes = event->queue.bytes;
    q->disk_from = event->queue.first;
    q->disk_last = event->queue.last;
}

void restore_open(struct bridge *b, const struct bridge_event *event)
{
    struct session *s = clients_find_number(b, event->open.session);
    struct exchange *e = s == NULL ? NULL : exchanges_add(b, s, event->open.mid);
    if (e == NULL)
        return; /* without its session nobody will release it; the message goes on */
    e->seq = event->open.seq;
    e->queue = event->open.queue;
    e->qos = 2;
    e->acked = true;
    e->delivered = (event->open.flags & BRIDGE_FLAG_DELIVERED) != 0;
    if (event->open.topic.len > 0)
        e->hash = exchange_hash(b, event->open.topic, event->open.payload);
}

/* Silence while we were away is not the client's. It gets a fifth of its time,
 * and half a minute for a repeat, before it can be taken for lost. */
static void grace(struct bridge *b, struct session *s)
{
    const uint64_t deadline = session_deadline(b, s);
    if (deadline == SN_NEVER)
        return;
    const uint64_t whole = deadline - s->sn.heard_ms;
    uint64_t least = whole / 5 + 30000;
    if (least > whole)
        least = whole;
    if (deadline < b->now_ms + least)
        s->sn.heard_ms = b->now_ms + least - whole;
}

/* A message that was open towards a device runs on as if it had been sent just
 * now: when T_retry is over it is repeated, and not because of the restart. */
static void resume(struct bridge *b, struct session *s)
{
    upstream_resume(b, s);
    subscribe_resume(b, s);
    if (s->clean && !sn_session_is_connected(&s->sn)) { /* its end was not written any more */
        clients_retire(b, s);
        return;
    }
    s->quiet = tiers_resume(s) && s->sn.state == SN_ACTIVE;
    s->register_mid = (uint16_t)bridge_random(b, 0x10000);
    grace(b, s);
    session_reschedule(b, s);
    downlink_pump(b, s);
}

void restore_start(struct bridge *b)
{
    account_balance(b);
    b->saved_up = b->status.up;
    b->saved_down = b->status.down;
    b->account_ms = b->now_ms;
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++) {
        for (struct table_link *l = b->sessions_by_number.buckets[i], *next; l != NULL; l = next) {
            next = l->next;
            resume(b, TABLE_ENTRY(l, struct session, by_number));
        }
    }
    bridge_note(b, BRIDGE_NOTE_RESTORED, NULL, sn_bytes(NULL, 0), b->status.clients);
}
