#include "bridge/crc32c.h"
#include "bridge/store_sqlite.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

/* ---- the schema ------------------------------------------------------------ */

const char db_schema[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE message(queue INTEGER NOT NULL, seq INTEGER NOT NULL, session INTEGER NOT NULL,"
    " received_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, qos INTEGER NOT NULL,"
    " flags INTEGER NOT NULL, mid INTEGER NOT NULL, class INTEGER NOT NULL, link INTEGER NOT NULL,"
    " topic TEXT NOT NULL, payload BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY(queue, seq))"
    " WITHOUT ROWID;"
    "CREATE INDEX message_expires ON message(expires_ms) WHERE expires_ms > 0;"
    "CREATE TABLE record(session INTEGER NOT NULL, kind INTEGER NOT NULL, key INTEGER NOT NULL,"
    " value BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY(session, kind, key)) WITHOUT ROWID;"
    "CREATE TABLE damaged(found_ms INTEGER, origin TEXT, queue, seq, session, received_ms,"
    " expires_ms, qos, flags, mid, class, link, topic, payload, kind, key, value, crc);";

/* Younger than the other tables: a file may be without it. */
const char db_flight_schema[] =
    "CREATE TABLE IF NOT EXISTS flight(kind INTEGER NOT NULL, key INTEGER NOT NULL,"
    " conn INTEGER NOT NULL, queue INTEGER NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL,"
    " PRIMARY KEY(kind, key, conn)) WITHOUT ROWID";

/* The numbers of flags: RELEASED 2, DELIVERED 4. */
const char *const db_sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [PUT_META] = "INSERT OR REPLACE INTO meta(key, value, crc) VALUES(?, ?, ?)",
    [GET_META] = "SELECT value, crc FROM meta WHERE key = ?",
    [PUT_MESSAGE] = "INSERT OR REPLACE INTO message(" MESSAGE_COLUMNS ")"
                    " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [GET_MESSAGE] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE queue = ? AND seq = ?",
    [SET_FLAGS] = "UPDATE message SET flags = ?, crc = ? WHERE queue = ? AND seq = ?",
    [DELETE_MESSAGE] = "DELETE FROM message WHERE queue = ? AND seq = ?",
    [DELETE_QUEUE] = "DELETE FROM message WHERE queue = ?",
    [PUT_RECORD] = "INSERT OR REPLACE INTO record(" RECORD_COLUMNS ") VALUES(?, ?, ?, ?, ?)",
    [DELETE_RECORD] = "DELETE FROM record WHERE session = ? AND kind = ? AND key = ?",
    [DELETE_SESSION] = "DELETE FROM record WHERE session = ?",
    [PUT_FLIGHT] = "INSERT OR REPLACE INTO flight(" FLIGHT_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?)",
    [DELETE_FLIGHT] = "DELETE FROM flight WHERE kind = ? AND key = ? AND conn = ?",
    [DELETE_FLIGHTS_OF_CONN] = "DELETE FROM flight WHERE conn = ?",
    [DELETE_FLIGHT_OF_MESSAGE] = "DELETE FROM flight WHERE kind = 1 AND key = ?",
    [ALL_FLIGHTS] = "SELECT " FLIGHT_COLUMNS " FROM flight ORDER BY kind, key, conn",
    [FETCH] = "SELECT " MESSAGE_COLUMNS " FROM message"
              " WHERE queue = ? AND seq >= ? AND seq <= ? AND flags & 4 = 0 ORDER BY seq",
    [FETCH_NEWEST] = "SELECT " MESSAGE_COLUMNS " FROM message"
                     " WHERE queue = ? AND seq <= ? AND seq <= ? AND flags & 4 = 0"
                     " ORDER BY seq DESC",
    [FETCH_EXPIRED] = "SELECT " MESSAGE_COLUMNS " FROM message"
                      " WHERE expires_ms > 0 AND expires_ms <= ?2 AND seq <= ?3 AND flags & 4 = 0"
                      " ORDER BY expires_ms",
    [KEEP_DAMAGED_MESSAGE] = "INSERT INTO damaged(found_ms, origin, " MESSAGE_COLUMNS ")"
                             " SELECT ?, 'message', " MESSAGE_COLUMNS " FROM message"
                             " WHERE queue = ? AND seq = ?",
    [KEEP_DAMAGED_RECORD] = "INSERT INTO damaged(found_ms, origin, " RECORD_COLUMNS ")"
                            " SELECT ?, 'record', " RECORD_COLUMNS " FROM record"
                            " WHERE session = ? AND kind = ? AND key = ?",
    [ALL_RECORDS] = "SELECT " RECORD_COLUMNS " FROM record"
                    " WHERE (session, kind, key) > (?, ?, ?) ORDER BY session, kind, key",
    [ALL_WAITING] = "SELECT queue, seq, session, class, link, topic, length(payload),"
                    " expires_ms FROM message"
                    " WHERE (queue, seq) > (?, ?) AND flags & 4 = 0 ORDER BY queue, seq",
    [ALL_OPEN] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE (queue, seq) > (?, ?)"
                 " AND queue <= ? AND qos = 2 AND (flags & 2 = 0 OR flags & 4 != 0)"
                 " ORDER BY queue, seq",
    [PUT_DAMAGED_MESSAGE] = "INSERT INTO damaged(found_ms, origin, " MESSAGE_COLUMNS ")"
                            " VALUES(?, 'message', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_DAMAGED_RECORD] = "INSERT INTO damaged(found_ms, origin, " RECORD_COLUMNS ")"
                           " VALUES(?, 'record', ?, ?, ?, ?, ?)",
    [PUT_DAMAGED_FLIGHT] =
        ("INSERT INTO damaged(found_ms, origin, kind, key, session, queue, value, crc)"
         " VALUES(?, 'flight', ?, ?, ?, ?, ?, ?)"),
};

/* ---- statements ------------------------------------------------------------ */

/* SQLite's result codes carry details in their upper bits. */
int db_primary(int rc)
{
    return rc & 0xFF;
}

bool db_is_damage(int rc)
{
    return db_primary(rc) == SQLITE_CORRUPT || db_primary(rc) == SQLITE_NOTADB;
}

/* A quota is a disk, too. */
bool db_is_full(const struct db *db, int rc)
{
    const int error =
        db_primary(rc) == SQLITE_IOERR && db->handle != NULL ? sqlite3_system_errno(db->handle) : 0;
    return db_primary(rc) == SQLITE_FULL || error == ENOSPC || error == EDQUOT;
}

/* Steps to the first row (SQLITE_ROW) or to the end (SQLITE_OK). */
int db_query(sqlite3_stmt *st)
{
    const int rc = sqlite3_step(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Carries out a statement that returns no rows. */
int db_run(sqlite3_stmt *st)
{
    const int rc = db_query(st);
    sqlite3_reset(st);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

int db_exec(struct db *db, const char *text)
{
    return sqlite3_exec(db->handle, text, NULL, NULL, NULL);
}

void db_bind_number(sqlite3_stmt *st, int i, uint64_t value)
{
    sqlite3_bind_int64(st, i, (sqlite3_int64)value);
}

/* An empty value is not NULL. */
static void bind_bytes(sqlite3_stmt *st, int i, struct sn_bytes b)
{
    sqlite3_bind_blob64(st, i, b.len > 0 ? (const void *)b.data : "", b.len, SQLITE_STATIC);
}

static void bind_text(sqlite3_stmt *st, int i, struct sn_bytes b)
{
    sqlite3_bind_text64(st, i, b.len > 0 ? (const char *)b.data : "", b.len, SQLITE_STATIC,
                        SQLITE_UTF8);
}

uint64_t db_column(sqlite3_stmt *st, int i)
{
    return (uint64_t)sqlite3_column_int64(st, i);
}

struct sn_bytes db_column_bytes(sqlite3_stmt *st, int i)
{
    const void *data = sqlite3_column_blob(st, i);
    return sn_bytes(data, (size_t)sqlite3_column_bytes(st, i));
}

int db_number(struct db *db, const char *text, uint64_t *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->handle, text, -1, &st, NULL);

    if (rc == SQLITE_OK)
        rc = db_query(st);
    if (rc == SQLITE_ROW) {
        *out = db_column(st, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc;
}

/* ---- rows ------------------------------------------------------------------ */

static uint32_t crc_of_message(const struct bridge_message *m)
{
    uint8_t fixed[64];
    struct sn_writer w = sn_writer(fixed, sizeof fixed);

    sn_write_u32(&w, m->queue);
    sn_write_u64(&w, m->seq);
    sn_write_u32(&w, m->session);
    sn_write_u64(&w, m->received_ms);
    sn_write_u64(&w, m->expires_ms);
    sn_write_u8(&w, m->qos);
    sn_write_u8(&w, m->flags);
    sn_write_u16(&w, m->mid);
    sn_write_u8(&w, m->class);
    sn_write_u8(&w, m->link);
    sn_write_u32(&w, (uint32_t)m->topic.len);
    sn_write_u32(&w, (uint32_t)m->payload.len);
    assert(!w.failed);
    return crc32c(crc32c(crc32c(0, sn_bytes(fixed, sn_writer_len(&w))), m->topic), m->payload);
}

static uint32_t crc_of_record(const struct bridge_record *r)
{
    uint8_t fixed[16];
    struct sn_writer w = sn_writer(fixed, sizeof fixed);

    sn_write_u32(&w, r->session);
    sn_write_u32(&w, (uint32_t)r->kind);
    sn_write_u32(&w, r->key);
    sn_write_u32(&w, (uint32_t)r->value.len);
    assert(!w.failed);
    return crc32c(crc32c(0, sn_bytes(fixed, sn_writer_len(&w))), r->value);
}

static uint32_t crc_of_flight(const struct store_flight *f)
{
    uint8_t fixed[24];
    struct sn_writer w = sn_writer(fixed, sizeof fixed);

    sn_write_u8(&w, (uint8_t)f->kind);
    sn_write_u64(&w, f->key);
    sn_write_u32(&w, f->conn);
    sn_write_u32(&w, f->queue);
    sn_write_u32(&w, (uint32_t)f->value.len);
    assert(!w.failed);
    return crc32c(crc32c(0, sn_bytes(fixed, sn_writer_len(&w))), f->value);
}

static uint32_t crc_of_meta(const char *key, uint64_t value)
{
    uint8_t fixed[8];
    struct sn_writer w = sn_writer(fixed, sizeof fixed);

    sn_write_u64(&w, value);
    return crc32c(crc32c(0, sn_bytes(fixed, sizeof fixed)), sn_bytes_text(key));
}

/* Reads the row a statement stands on; false when its crc does not fit. What
 * *m points to is valid until the next step. */
bool db_read_message(sqlite3_stmt *st, struct bridge_message *m)
{
    *m = (struct bridge_message){
        .queue = (uint32_t)db_column(st, 0),
        .seq = db_column(st, 1),
        .session = (uint32_t)db_column(st, 2),
        .received_ms = db_column(st, 3),
        .expires_ms = db_column(st, 4),
        .qos = (uint8_t)db_column(st, 5),
        .flags = (uint8_t)db_column(st, 6),
        .mid = (uint16_t)db_column(st, 7),
        .class = (uint8_t)db_column(st, 8),
        .link = (uint8_t)db_column(st, 9),
        .topic = db_column_bytes(st, 10),
        .payload = db_column_bytes(st, 11),
    };
    return crc_of_message(m) == db_column(st, 12);
}

bool db_read_record(sqlite3_stmt *st, struct bridge_record *r)
{
    *r = (struct bridge_record){
        .session = (uint32_t)db_column(st, 0),
        .kind = (enum bridge_record_kind)db_column(st, 1),
        .key = (uint32_t)db_column(st, 2),
        .value = db_column_bytes(st, 3),
    };
    return crc_of_record(r) == db_column(st, 4);
}

bool db_read_flight(sqlite3_stmt *st, struct store_flight *f)
{
    *f = (struct store_flight){
        .kind = (enum store_flight_kind)db_column(st, 0),
        .key = db_column(st, 1),
        .conn = (uint32_t)db_column(st, 2),
        .queue = (uint32_t)db_column(st, 3),
        .value = db_column_bytes(st, 4),
    };
    return crc_of_flight(f) == db_column(st, 5);
}

int db_put_meta(struct db *db, const char *key, uint64_t value)
{
    sqlite3_stmt *st = db->statements[PUT_META];
    bind_text(st, 1, sn_bytes_text(key));
    db_bind_number(st, 2, value);
    db_bind_number(st, 3, crc_of_meta(key, value));
    return db_run(st);
}

/* SQLITE_NOTFOUND when it is missing or its crc does not fit. */
int db_get_meta(struct db *db, const char *key, uint64_t *value)
{
    sqlite3_stmt *st = db->statements[GET_META];
    bind_text(st, 1, sn_bytes_text(key));

    int rc = db_query(st);
    if (rc == SQLITE_OK)
        rc = SQLITE_NOTFOUND;
    if (rc == SQLITE_ROW) {
        const uint64_t found = db_column(st, 0);
        rc = crc_of_meta(key, found) == db_column(st, 1) ? SQLITE_OK : SQLITE_NOTFOUND;
        if (rc == SQLITE_OK)
            *value = found;
    }
    sqlite3_reset(st);
    return rc;
}

int db_put_message(struct db *db, const struct bridge_message *m)
{
    sqlite3_stmt *st = db->statements[PUT_MESSAGE];
    db_bind_number(st, 1, m->queue);
    db_bind_number(st, 2, m->seq);
    db_bind_number(st, 3, m->session);
    db_bind_number(st, 4, m->received_ms);
    db_bind_number(st, 5, m->expires_ms);
    db_bind_number(st, 6, m->qos);
    db_bind_number(st, 7, m->flags);
    db_bind_number(st, 8, m->mid);
    db_bind_number(st, 9, m->class);
    db_bind_number(st, 10, m->link);
    bind_text(st, 11, m->topic);
    bind_bytes(st, 12, m->payload);
    db_bind_number(st, 13, crc_of_message(m));
    return db_run(st);
}

int db_put_record(struct db *db, const struct bridge_record *r)
{
    sqlite3_stmt *st = db->statements[PUT_RECORD];
    db_bind_number(st, 1, r->session);
    db_bind_number(st, 2, (uint64_t)r->kind);
    db_bind_number(st, 3, r->key);
    bind_bytes(st, 4, r->value);
    db_bind_number(st, 5, crc_of_record(r));
    return db_run(st);
}

int db_put_flight(struct db *db, const struct store_flight *f)
{
    sqlite3_stmt *st = db->statements[PUT_FLIGHT];
    db_bind_number(st, 1, (uint64_t)f->kind);
    db_bind_number(st, 2, f->key);
    db_bind_number(st, 3, f->conn);
    db_bind_number(st, 4, f->queue);
    bind_bytes(st, 5, f->value);
    db_bind_number(st, 6, crc_of_flight(f));
    return db_run(st);
}

int db_delete_flight(struct db *db, uint8_t kind, uint64_t key, uint32_t conn)
{
    sqlite3_stmt *st = db->statements[DELETE_FLIGHT];
    db_bind_number(st, 1, kind);
    db_bind_number(st, 2, key);
    db_bind_number(st, 3, conn);
    return db_run(st);
}

int db_delete_message(struct db *db, uint32_t queue, uint64_t seq)
{
    sqlite3_stmt *st = db->statements[DELETE_MESSAGE];
    db_bind_number(st, 1, queue);
    db_bind_number(st, 2, seq);
    return db_run(st);
}

int db_delete_record(struct db *db, const struct bridge_record *r)
{
    sqlite3_stmt *st = db->statements[DELETE_RECORD];
    db_bind_number(st, 1, r->session);
    db_bind_number(st, 2, (uint64_t)r->kind);
    db_bind_number(st, 3, r->key);
    return db_run(st);
}

int db_delete_session(struct db *db, uint32_t session)
{
    sqlite3_stmt *st = db->statements[DELETE_SESSION];
    db_bind_number(st, 1, session);

    int rc = db_run(st);
    /* Session 0 holds the account; queue 0 belongs to the broker. */
    st = db->statements[DELETE_QUEUE];
    for (uint32_t tier = 0; rc == SQLITE_OK && session != 0 && tier < BRIDGE_TIERS; tier++) {
        db_bind_number(st, 1, session + tier * BRIDGE_TIER);
        rc = db_run(st);
    }
    return rc;
}

/* Moves a row to `damaged`, within a transaction. A row that a scan met but its
 * own key does not find, or finds a sound one in its stead, stands in the wrong
 * place: then the file is damaged, not only the row. */
int file_move_damaged_message(struct store *s, uint32_t queue, uint64_t seq)
{
    struct bridge_message m;
    sqlite3_stmt *found = s->file->db.statements[GET_MESSAGE];
    db_bind_number(found, 1, queue);
    db_bind_number(found, 2, seq);
    const bool is_another = db_query(found) == SQLITE_ROW && db_read_message(found, &m);
    sqlite3_reset(found);
    if (is_another)
        return SQLITE_CORRUPT;

    sqlite3_stmt *st = s->file->db.statements[KEEP_DAMAGED_MESSAGE];
    db_bind_number(st, 1, store_now_ms(CLOCK_REALTIME));
    db_bind_number(st, 2, queue);
    db_bind_number(st, 3, seq);

    int rc = db_run(st);
    if (rc == SQLITE_OK && sqlite3_changes(s->file->db.handle) == 0)
        rc = SQLITE_CORRUPT;
    if (rc == SQLITE_OK)
        rc = db_delete_message(&s->file->db, queue, seq);
    s->file->damaged_in_turn += rc == SQLITE_OK;
    return rc;
}

int file_move_damaged_record(struct store *s, const struct bridge_record *r)
{
    sqlite3_stmt *st = s->file->db.statements[KEEP_DAMAGED_RECORD];
    db_bind_number(st, 1, store_now_ms(CLOCK_REALTIME));
    db_bind_number(st, 2, r->session);
    db_bind_number(st, 3, (uint64_t)r->kind);
    db_bind_number(st, 4, r->key);

    int rc = db_run(st);
    if (rc == SQLITE_OK && sqlite3_changes(s->file->db.handle) == 0)
        rc = SQLITE_CORRUPT;
    if (rc == SQLITE_OK)
        rc = db_delete_record(&s->file->db, r);
    s->file->damaged_in_turn += rc == SQLITE_OK;
    return rc;
}

int file_set_flags(struct store *s, uint32_t queue, uint64_t seq, uint8_t flags)
{
    sqlite3_stmt *st = s->file->db.statements[GET_MESSAGE];
    db_bind_number(st, 1, queue);
    db_bind_number(st, 2, seq);

    const int found = db_query(st);
    if (found != SQLITE_ROW) {
        sqlite3_reset(st);
        return found;
    }
    struct bridge_message m;
    const bool sound = db_read_message(st, &m);
    m.flags |= flags;
    const uint32_t crc = crc_of_message(&m);
    sqlite3_reset(st);
    if (!sound)
        return file_move_damaged_message(s, queue, seq);

    st = s->file->db.statements[SET_FLAGS];
    db_bind_number(st, 1, m.flags);
    db_bind_number(st, 2, crc);
    db_bind_number(st, 3, queue);
    db_bind_number(st, 4, seq);
    return db_run(st);
}

/* The broker has the message for good: its flight goes with it. */
int file_land(struct store *s, uint32_t queue, uint64_t seq)
{
    if (!bridge_queue_is_up(queue) || !s->file->has_flights)
        return SQLITE_OK;
    sqlite3_stmt *st = s->file->db.statements[DELETE_FLIGHT_OF_MESSAGE];
    db_bind_number(st, 1, seq);
    return db_run(st);
}

int file_apply_flight(struct store *s, const struct store_flight_op *op)
{
    struct db *db = &s->file->db;
    switch (op->what) {
    case STORE_FLIGHT_PUT:
        s->file->has_flights = true;
        s->file->written_in_turn++;
        return db_put_flight(db, &(struct store_flight){.kind = (enum store_flight_kind)op->kind,
                                                        .key = op->key,
                                                        .conn = op->conn,
                                                        .queue = op->queue,
                                                        .value = sn_bytes(op->value, op->len)});
    case STORE_FLIGHT_DROP:
        return db_delete_flight(db, op->kind, op->key, op->conn);
    case STORE_FLIGHT_DROP_ALL:
        db_bind_number(db->statements[DELETE_FLIGHTS_OF_CONN], 1, op->conn);
        return db_run(db->statements[DELETE_FLIGHTS_OF_CONN]);
    }
    return SQLITE_OK;
}
