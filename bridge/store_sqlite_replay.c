#include "bridge/store_sqlite.h"

#include <assert.h>
#include <stdlib.h>

#define REPLAY_ATTEMPTS 3

/* ---- replay ---------------------------------------------------------------- */

struct replay {
    struct store *store;
    store_record_fn *fn;
    void *ctx;
    struct key at;                 /* the last record given */
    struct key waiting;            /* the last message given */
    struct bridge_event queue;     /* of the queue it is in; count 0: there was none yet */
    struct key open;               /* the last exchange given */
    struct bridge_record *records; /* damaged ones, without value */
    size_t record_count;
    struct key *messages; /* damaged ones of queues to the broker */
    size_t message_count;
};

static int replay_records(struct replay *r)
{
    sqlite3_stmt *st = r->store->file->db.statements[ALL_RECORDS];
    int rc;

    sqlite3_bind_int64(st, 1, r->at.low == 0 ? -1 : (sqlite3_int64)r->at.high);
    db_bind_number(st, 2, r->at.low >> 32);
    db_bind_number(st, 3, r->at.low & UINT32_MAX);
    while ((rc = db_query(st)) == SQLITE_ROW) {
        struct bridge_event event = {.type = BRIDGE_ON_RECORD};
        if (db_read_record(st, &event.record)) {
            r->at = (struct key){event.record.session,
                                 (uint64_t)event.record.kind << 32 | event.record.key};
            r->fn(r->ctx, &event);
        } else {
            r->records = store_grab(r->records, (r->record_count + 1) * sizeof *r->records);
            r->records[r->record_count] = event.record;
            r->records[r->record_count++].value = (struct sn_bytes){0};
        }
    }
    sqlite3_reset(st);
    return rc;
}

/* A queue is over when the next one begins, or nothing follows. */
static void end_queue(struct replay *r)
{
    if (r->queue.queue.count > 0)
        r->fn(r->ctx, &r->queue);
    r->queue = (struct bridge_event){.type = BRIDGE_ON_QUEUE};
}

static int replay_waiting(struct replay *r)
{
    sqlite3_stmt *st = r->store->file->db.statements[ALL_WAITING];
    int rc;

    db_bind_number(st, 1, r->waiting.high);
    db_bind_number(st, 2, r->waiting.low);
    while ((rc = db_query(st)) == SQLITE_ROW) {
        const struct bridge_event event = {.type = BRIDGE_ON_WAITING,
                                           .waiting = {.queue = (uint32_t)db_column(st, 0),
                                                       .seq = db_column(st, 1),
                                                       .session = (uint32_t)db_column(st, 2),
                                                       .class = (uint8_t)db_column(st, 3),
                                                       .link = (uint8_t)db_column(st, 4),
                                                       .topic = db_column_bytes(st, 5),
                                                       .bytes = db_column(st, 6),
                                                       .expires_ms = db_column(st, 7)}};
        const struct key key = {event.waiting.queue, event.waiting.seq};
        /* One key in the inside of the tree is enough to hide half of it from FETCH. */
        if (key.high < r->waiting.high ||
            (key.high == r->waiting.high && key.low <= r->waiting.low && key.low > 0)) {
            sqlite3_reset(st);
            return SQLITE_CORRUPT;
        }
        if (r->queue.queue.count == 0 || r->queue.queue.queue != event.waiting.queue) {
            end_queue(r);
            r->queue.queue.queue = event.waiting.queue;
            r->queue.queue.first = event.waiting.seq;
        }
        r->queue.queue.last = event.waiting.seq;
        r->queue.queue.count++;
        r->queue.queue.bytes += event.waiting.bytes;
        r->waiting = key;
        r->fn(r->ctx, &event);
    }
    sqlite3_reset(st);
    if (rc == SQLITE_OK)
        end_queue(r);
    return rc;
}

/* Of the queues that follow the last exchange given, up to this one. */
static int replay_open_to(struct replay *r, uint32_t queue)
{
    sqlite3_stmt *st = r->store->file->db.statements[ALL_OPEN];
    int rc;

    db_bind_number(st, 1, r->open.high);
    db_bind_number(st, 2, r->open.low);
    db_bind_number(st, 3, queue);
    while ((rc = db_query(st)) == SQLITE_ROW) {
        struct bridge_message m;
        if (!db_read_message(st, &m)) {
            r->messages = store_grab(r->messages, (r->message_count + 1) * sizeof *r->messages);
            r->messages[r->message_count++] = (struct key){db_column(st, 0), db_column(st, 1)};
            continue;
        }
        const struct bridge_event event = {.type = BRIDGE_ON_OPEN,
                                           .open = {.seq = m.seq,
                                                    .queue = m.queue,
                                                    .session = m.session,
                                                    .mid = m.mid,
                                                    .flags = m.flags,
                                                    .topic = m.topic,
                                                    .payload = m.payload}};
        r->open = (struct key){m.queue, m.seq};
        r->fn(r->ctx, &event);
    }
    sqlite3_reset(st);
    return rc;
}

/* The queues to the broker: 0, and those beyond the queues to sensors. */
static int replay_open(struct replay *r)
{
    if (r->open.high == BRIDGE_QUEUE_BROKER) {
        const int rc = replay_open_to(r, BRIDGE_QUEUE_BROKER);
        if (rc != SQLITE_OK)
            return rc;
        r->open = (struct key){BRIDGE_QUEUE_OWN, 0};
    }
    return replay_open_to(r, UINT32_MAX);
}

static int move_replayed(struct replay *r)
{
    struct store *s = r->store;
    int rc = SQLITE_OK;

    if (r->record_count > 0) {
        rc = file_set_page_limit(s, s->file->pages_others);
        if (rc == SQLITE_OK)
            rc = db_run(s->file->db.statements[BEGIN]);
        for (size_t i = 0; rc == SQLITE_OK && i < r->record_count; i++)
            rc = file_move_damaged_record(s, &r->records[i]);
        rc = file_end_transaction(s, rc);
        file_count_damaged(s, "record");
    }
    return rc == SQLITE_OK ? file_move_messages(s, r->messages, r->message_count) : rc;
}

/* Each part remembers how far it came, and goes on from there in the fresh file
 * when the old one turns out to be damaged in the middle of it. A part of the
 * disk that cannot be read at all is damage too: the bridge has to start. */
uint64_t store_replay(struct store *s, store_record_fn *fn, void *ctx)
{
    static int (*const parts[])(struct replay *) = {replay_records, replay_waiting, replay_open,
                                                    move_replayed};
    struct replay r = {.store = s, .fn = fn, .ctx = ctx};
    int recoveries = 0;

    assert(!s->replayed && s->handed + 1 == s->next_ticket);
    s->replayed = true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0];) {
        const int rc = parts[i](&r);
        const bool again = (db_is_damage(rc) || rc == SQLITE_IOERR_READ) &&
                           recoveries++ < REPLAY_ATTEMPTS && file_recover_now(s);
        if (rc != SQLITE_OK && !again)
            store_report(s, "%s: cannot be read as a whole: %s (SQLite %d)", s->path,
                         sqlite3_errstr(rc), rc);
        if (again)
            r.record_count = r.message_count = 0;
        else
            i++;
    }
    s->file->reopen = s->file->db.handle == NULL;
    free(r.records);
    free(r.messages);
    return s->next_ticket;
}

/* ---- flights at start ------------------------------------------------------- */

static int each_flight(struct store *s, store_flight_fn *fn, void *ctx)
{
    struct db *db = &s->file->db;
    sqlite3_stmt *st = db->statements[ALL_FLIGHTS];
    sqlite3_stmt *row = db->statements[GET_MESSAGE];
    int rc;

    s->file->has_flights = false;
    while ((rc = db_query(st)) == SQLITE_ROW) {
        struct store_flight f;
        struct bridge_message m;
        bool found = false;
        if (!db_read_flight(st, &f))
            continue; /* move_damaged_flights() */
        if (f.kind == STORE_FLIGHT_OUT) {
            s->file->has_flights = true;
            db_bind_number(row, 1, f.queue);
            db_bind_number(row, 2, f.key);
            found = db_query(row) == SQLITE_ROW && db_read_message(row, &m);
        }
        fn(ctx, &f, found ? &m : NULL);
        sqlite3_reset(row);
    }
    sqlite3_reset(st);
    return rc;
}

static int move_damaged_flights(struct store *s)
{
    struct db *db = &s->file->db;
    sqlite3_stmt *st = db->statements[ALL_FLIGHTS];
    int rc = db_run(db->statements[BEGIN]);
    int found = SQLITE_OK;

    while (rc == SQLITE_OK && (found = db_query(st)) == SQLITE_ROW) {
        struct store_flight f;
        if (db_read_flight(st, &f))
            continue;
        sqlite3_stmt *put = db->statements[PUT_DAMAGED_FLIGHT];
        db_bind_number(put, 1, store_now_ms(CLOCK_REALTIME));
        for (int i = 0; i < sqlite3_column_count(st); i++)
            sqlite3_bind_value(put, i + 2, sqlite3_column_value(st, i));
        rc = db_run(put);
        sqlite3_clear_bindings(put);
        s->file->damaged_in_turn++;
        if (rc == SQLITE_OK)
            rc = db_delete_flight(db, (uint8_t)db_column(st, 0), f.key, f.conn);
    }
    sqlite3_reset(st);
    rc = file_end_transaction(s, rc != SQLITE_OK ? rc : found);
    file_count_damaged(s, "flight");
    return rc;
}

void store_each_flight(struct store *s, store_flight_fn *fn, void *ctx)
{
    int rc = move_damaged_flights(s);
    if ((db_is_damage(rc) || rc == SQLITE_IOERR_READ) && file_recover_now(s))
        rc = move_damaged_flights(s);
    if (rc == SQLITE_OK)
        rc = each_flight(s, fn, ctx);
    if (rc != SQLITE_OK)
        store_report(s, "%s: messages in flight cannot be read: %s (SQLite %d)", s->path,
                     sqlite3_errstr(rc), rc);
}
