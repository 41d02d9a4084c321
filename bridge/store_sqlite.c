#include "bridge/store_sqlite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- FETCH ----------------------------------------------------------------- */

/* Applies what the disk has refused so far to a row that was read. */
static bool is_hidden(const struct store *s, struct bridge_message *m)
{
    if (s->kept.first == NULL)
        return false;
    if (!bridge_queue_is_up(m->queue) &&
        store_box_find_record(&s->keeper, bridge_queue_session(m->queue),
                              (enum bridge_record_kind)0, 0) != NULL)
        return true;
    const struct store_op *op = store_box_find_row(&s->keeper, m->queue, m->seq);
    if (op == NULL)
        return false;
    if (op->type == BRIDGE_DO_FORGET)
        return true;
    m->flags |= op->row.flags;
    return (m->flags & BRIDGE_FLAG_DELIVERED) != 0;
}

struct harvest {
    struct bridge_message *messages;
    size_t count;
    size_t room;
    uint8_t *bytes;
    size_t size;
    size_t bytes_room;
    struct key *damaged;
    size_t damaged_count;
};

static void harvest_message(struct harvest *h, const struct bridge_message *m)
{
    const size_t more = m->topic.len + m->payload.len;

    if (h->count == h->room) {
        h->room = h->room == 0 ? 64 : 2 * h->room;
        h->messages = store_grab(h->messages, h->room * sizeof *h->messages);
    }
    if (h->size + more > h->bytes_room) {
        h->bytes_room = 2 * h->bytes_room + more + 4096;
        h->bytes = store_grab(h->bytes, h->bytes_room);
    }
    struct sn_writer w = sn_writer(h->bytes + h->size, h->bytes_room - h->size);
    sn_write_bytes(&w, m->topic);
    sn_write_bytes(&w, m->payload);
    h->size += more;
    h->messages[h->count++] = *m;
}

/* The octets have moved while they grew; they lie in the order of the messages. */
static void point_to_bytes(struct harvest *h)
{
    const uint8_t *at = h->bytes;

    for (size_t i = 0; i < h->count; i++) {
        h->messages[i].topic.data = at;
        at += h->messages[i].topic.len;
        h->messages[i].payload.data = at;
        at += h->messages[i].payload.len;
    }
}

static void harvest_damaged(struct harvest *h, sqlite3_stmt *st)
{
    h->damaged = store_grab(h->damaged, (h->damaged_count + 1) * sizeof *h->damaged);
    h->damaged[h->damaged_count++] = (struct key){db_column(st, 0), db_column(st, 1)};
}

/* Reads up to the limits, and one row further to know whether that is all. */
static int collect(struct store *s, const struct store_op *op, struct harvest *h, bool *end)
{
    const uint32_t count =
        op->fetch.count < STORE_FETCH_COUNT ? op->fetch.count : STORE_FETCH_COUNT;
    const uint64_t from = op->fetch.from < INT64_MAX ? op->fetch.from : INT64_MAX;
    static const enum statement which[] = {
        [BRIDGE_FETCH_OLDEST] = FETCH,
        [BRIDGE_FETCH_NEWEST] = FETCH_NEWEST,
        [BRIDGE_FETCH_EXPIRED] = FETCH_EXPIRED,
    };
    sqlite3_stmt *st = s->file->db.statements[which[op->fetch.which]];
    int rc;

    if (s->file->db.handle == NULL)
        return SQLITE_CANTOPEN;
    db_bind_number(st, 1, op->fetch.queue);
    db_bind_number(st, 2, from);
    db_bind_number(st, 3, op->ticket);
    *end = true;
    while ((rc = db_query(st)) == SQLITE_ROW) {
        struct bridge_message m;
        if (!db_read_message(st, &m)) {
            harvest_damaged(h, st);
            continue;
        }
        if (is_hidden(s, &m))
            continue;
        const size_t size = h->size + m.topic.len + m.payload.len;
        if (h->count == count || (h->count > 0 && size > STORE_FETCH_BYTES)) {
            *end = false;
            rc = SQLITE_OK;
            break;
        }
        harvest_message(h, &m);
    }
    sqlite3_reset(st);
    return rc;
}

void file_count_damaged(struct store *s, const char *where)
{
    const uint64_t count = s->file->damaged_in_turn;

    s->file->damaged_in_turn = 0;
    if (count == 0)
        return;
    pthread_mutex_lock(&s->mutex);
    s->figures.damaged += count;
    pthread_mutex_unlock(&s->mutex);
    store_report(s, "%s: %" PRIu64 " damaged rows moved from %s to the table damaged", s->path,
                 count, where);
}

int file_end_transaction(struct store *s, int rc)
{
    if (rc == SQLITE_OK)
        rc = db_run(s->file->db.statements[COMMIT]);
    if (rc != SQLITE_OK && sqlite3_get_autocommit(s->file->db.handle) == 0)
        db_run(s->file->db.statements[ROLLBACK]);
    if (rc != SQLITE_OK)
        s->file->damaged_in_turn = 0;
    return rc;
}

/* Rows that cannot be moved now are met, and left out, again next time. */
int file_move_messages(struct store *s, const struct key *damaged, size_t count)
{
    if (count == 0)
        return SQLITE_OK;

    int rc = file_set_page_limit(s, s->file->pages_others);
    if (rc == SQLITE_OK)
        rc = db_run(s->file->db.statements[BEGIN]);
    for (size_t i = 0; rc == SQLITE_OK && i < count; i++)
        rc = file_move_damaged_message(s, (uint32_t)damaged[i].high, damaged[i].low);
    rc = file_end_transaction(s, rc);
    file_count_damaged(s, "message");
    return rc;
}

static enum store_outcome outcome(struct store *s, int rc)
{
    if (rc == SQLITE_OK)
        return STORE_DONE;
    snprintf(s->error, sizeof s->error, "%s (SQLite %d)", sqlite3_errstr(rc), rc);
    s->file->reopen = s->file->reopen || s->file->db.handle == NULL ||
                      (db_primary(rc) != SQLITE_FULL && db_primary(rc) != SQLITE_BUSY);
    return db_is_full(&s->file->db, rc) ? STORE_FULL : STORE_REFUSED;
}

enum store_outcome store_file_fetch(struct store *s, const struct store_op *op,
                                    struct store_answer **out)
{
    struct harvest h = {0};
    bool end = false;
    int rc = collect(s, op, &h, &end);

    if (db_is_damage(rc) && file_recover_now(s)) {
        h.count = h.size = h.damaged_count = 0;
        rc = collect(s, op, &h, &end);
    }
    if (rc == SQLITE_OK) {
        if (db_is_damage(file_move_messages(s, h.damaged, h.damaged_count)))
            file_recover_now(s);
        point_to_bytes(&h);
        *out = store_grab(NULL, sizeof **out);
        **out = (struct store_answer){
            .event = {.type = BRIDGE_ON_FETCHED,
                      .fetched = {.which = op->fetch.which,
                                  .queue = op->fetch.queue,
                                  .messages = h.messages,
                                  .count = h.count,
                                  .end = end}},
            .messages = h.messages,
            .bytes = h.bytes,
        };
    } else {
        free(h.messages);
        free(h.bytes);
    }
    free(h.damaged);
    return outcome(s, rc);
}

/* ---- transactions ---------------------------------------------------------- */

static int apply(struct store *s, const struct store_op *op, bool with_stores)
{
    int rc;
    if (op->dead)
        return SQLITE_OK;
    switch (op->type) {
    case BRIDGE_DO_STORE:
        if (op->refused || !with_stores)
            return SQLITE_OK;
        s->file->written_in_turn++;
        return db_put_message(&s->file->db, &op->message);
    case BRIDGE_DO_MARK:
        s->file->written_in_turn++;
        rc = file_set_flags(s, op->row.queue, op->row.seq, op->row.flags);
        if (rc == SQLITE_OK && (op->row.flags & BRIDGE_FLAG_DELIVERED) != 0)
            rc = file_land(s, op->row.queue, op->row.seq);
        return rc;
    case BRIDGE_DO_FORGET:
        rc = db_delete_message(&s->file->db, op->row.queue, op->row.seq);
        return rc == SQLITE_OK ? file_land(s, op->row.queue, op->row.seq) : rc;
    case BRIDGE_DO_SAVE:
        s->file->written_in_turn++;
        return db_put_record(&s->file->db, &op->record);
    case BRIDGE_DO_ERASE:
        return op->record.kind == 0 ? db_delete_session(&s->file->db, op->record.session)
                                    : db_delete_record(&s->file->db, &op->record);
    case BRIDGE_DO_FETCH:
    case BRIDGE_DO_SEND:
    case BRIDGE_DO_CONNECT:
    case BRIDGE_DO_DISCONNECT:
    case BRIDGE_DO_PUBLISH:
    case BRIDGE_DO_SUBSCRIBE:
    case BRIDGE_DO_UNSUBSCRIBE:
    case BRIDGE_DO_ACCEPT:
    case BRIDGE_DO_NOTE:
        break;
    }
    return SQLITE_OK;
}

/* next_seq is moved ahead long before the tickets get there. */
static int reserve(struct store *s, uint64_t ticket, uint64_t *reserved)
{
    *reserved = s->file->reserved;
    if (ticket + TICKETS_AHEAD / 2 < s->file->reserved)
        return SQLITE_OK;
    *reserved = (ticket > s->next_ticket ? ticket : s->next_ticket) + TICKETS_AHEAD;
    return db_put_meta(&s->file->db, "next_seq", *reserved);
}

static int attempt(struct store *s, const struct store_batch *batch,
                   const struct store_flights *flights, bool with_stores)
{
    const uint64_t started_us = now_us();
    const uint64_t last =
        batch->last_ticket > s->kept.last_ticket ? batch->last_ticket : s->kept.last_ticket;
    uint64_t reserved = 0;

    s->file->written_in_turn = 0;
    int rc = file_set_page_limit(s, with_stores && store_batch_has_stores(batch)
                                        ? s->file->pages_stores
                                        : s->file->pages_others);
    if (rc == SQLITE_OK)
        rc = db_run(s->file->db.statements[BEGIN]);
    for (const struct store_op *op = s->kept.first; rc == SQLITE_OK && op != NULL; op = op->next)
        rc = apply(s, op, false);
    for (const struct store_op *op = batch->first; rc == SQLITE_OK && op != NULL; op = op->next)
        rc = apply(s, op, with_stores);
    for (const struct store_flight_op *op = with_stores ? batch->flights.first : NULL;
         rc == SQLITE_OK && op != NULL; op = op->next)
        rc = file_apply_flight(s, op);
    for (const struct store_flight_op *op = flights->first; rc == SQLITE_OK && op != NULL;
         op = op->next)
        rc = file_apply_flight(s, op);
    if (rc == SQLITE_OK)
        rc = reserve(s, last, &reserved);
    if (rc == SQLITE_OK)
        rc = file_mark_in_turn(s);
    rc = file_end_transaction(s, rc);
    if (rc != SQLITE_OK) {
        s->file->marked_ms = 0; /* the mark may have been in it */
        return rc;
    }

    const uint64_t took_us = now_us() - started_us;
    s->file->reserved = reserved;
    pthread_mutex_lock(&s->mutex);
    s->figures.commits++;
    s->figures.written += s->file->written_in_turn;
    s->figures.commit_us_last = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX;
    if (s->figures.commit_us_max < s->figures.commit_us_last)
        s->figures.commit_us_max = s->figures.commit_us_last;
    pthread_mutex_unlock(&s->mutex);
    file_count_damaged(s, "message");
    return SQLITE_OK;
}

/* After an error of the disk the file is opened anew; a file that has gone is
 * not replaced by an empty one. */
static int reopen(struct store *s)
{
    char why[STORE_LINE_BYTES];

    if (s->file->db.handle != NULL)
        sqlite3_db_config(s->file->db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    db_close(&s->file->db);
    file_room_give(s); /* a WAL and its index may be needed */
    const enum store_fault fault = db_open(s->path, false, &s->file->db, why, sizeof why);
    if (fault == STORE_DAMAGED)
        return SQLITE_CORRUPT;
    if (fault != STORE_OK)
        return SQLITE_CANTOPEN;
    s->file->reopen = false;
    return file_set_limits(s);
}

/* FORGETs of a list, a few to a transaction. */
static int forget_some(struct store *s, const struct store_op *op)
{
    const uint32_t few = file_ops_that_fit(s);

    while (op != NULL) {
        int rc = db_run(s->file->db.statements[BEGIN]);
        for (uint32_t i = 0; rc == SQLITE_OK && op != NULL && i < few; op = op->next) {
            if (op->type != BRIDGE_DO_FORGET || op->dead)
                continue;
            rc = apply(s, op, false);
            i++;
        }
        rc = file_end_transaction(s, rc);
        if (rc == SQLITE_OK)
            rc = file_checkpoint(s);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

/* The disk is full, and the transaction needs more than WAL and reserve. Messages that
 * are done with go ahead of it: then it finds them gone already. */
static int attempt_in_parts(struct store *s, const struct store_batch *batch,
                            const struct store_flights *flights, bool with_stores)
{
    file_room_give(s);
    int rc = attempt(s, batch, flights, with_stores);
    if (!db_is_full(&s->file->db, rc))
        return rc;
    rc = file_set_page_limit(s, s->file->pages_others);
    if (rc == SQLITE_OK)
        rc = file_checkpoint(s);
    if (rc == SQLITE_OK)
        rc = forget_some(s, s->kept.first);
    if (rc == SQLITE_OK)
        rc = forget_some(s, batch->first);
    return rc == SQLITE_OK ? attempt(s, batch, flights, with_stores) : rc;
}

enum store_outcome store_file_commit(struct store *s, const struct store_batch *batch,
                                     const struct store_flights *flights, bool with_stores)
{
    const bool stores = with_stores && store_batch_has_stores(batch);
    int rc = s->file->reopen ? reopen(s) : SQLITE_OK;

    if (rc == SQLITE_OK && (store_batch_changes_something(&s->kept) ||
                            store_batch_changes_something(batch) || flights->first != NULL))
        rc = stores && !file_has_room(s, file_pages_of(batch))
                 ? SQLITE_FULL
                 : attempt(s, batch, flights, with_stores);
    if (db_is_damage(rc) && file_recover_now(s)) {
        s->file->reopen = false;
        rc = attempt(s, batch, flights, with_stores);
    }
    if (!stores && db_is_full(&s->file->db, rc))
        rc = attempt_in_parts(s, batch, flights, with_stores);
    if (rc == SQLITE_OK)
        file_tidy(s);
    return outcome(s, rc);
}
