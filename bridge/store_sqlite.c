#include "bridge/crc32c.h"
#include "bridge/store_parts.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID  0x736E6272 /* "snbr": tells our files from others */
#define PAGE_BYTES      4096u
#define TICKETS_AHEAD   1000000u /* next_seq is written this far ahead */
#define WAL_BYTES       (4u << 20)
#define BUSY_MS         5000 /* how long somebody's sqlite3 may hold the write lock */
#define REPLAY_ATTEMPTS 3
#define SHRINK_PAGES    4096u /* a file smaller than this is never worth shrinking */
#define KEY_BITS        95u   /* of struct key: 32 + 63 */

/* ---- the schema ------------------------------------------------------------ */

#define MESSAGE_COLUMNS                                                                            \
    "queue, seq, session, received_ms, expires_ms, qos, flags, mid, class, link, topic, payload,"  \
    " crc"
#define RECORD_COLUMNS "session, kind, key, value, crc"
#define FLIGHT_COLUMNS "kind, key, conn, queue, value, crc"

static const char schema[] =
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
static const char flight_schema[] =
    "CREATE TABLE IF NOT EXISTS flight(kind INTEGER NOT NULL, key INTEGER NOT NULL,"
    " conn INTEGER NOT NULL, queue INTEGER NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL,"
    " PRIMARY KEY(kind, key, conn)) WITHOUT ROWID";

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    PUT_META,
    GET_META,
    PUT_MESSAGE,
    GET_MESSAGE,
    SET_FLAGS,
    DELETE_MESSAGE,
    DELETE_QUEUE,
    PUT_RECORD,
    DELETE_RECORD,
    DELETE_SESSION,
    PUT_FLIGHT,
    DELETE_FLIGHT,
    DELETE_FLIGHTS_OF_CONN,
    DELETE_FLIGHT_OF_MESSAGE,
    ALL_FLIGHTS,
    FETCH,
    FETCH_NEWEST,
    FETCH_EXPIRED,
    KEEP_DAMAGED_MESSAGE,
    KEEP_DAMAGED_RECORD,
    ALL_RECORDS,
    ALL_WAITING,
    ALL_OPEN,
    PUT_DAMAGED_MESSAGE,
    PUT_DAMAGED_RECORD,
    PUT_DAMAGED_FLIGHT,
    STATEMENTS,
};

/* The numbers of flags: RELEASED 2, DELIVERED 4. */
static const char *const sql[STATEMENTS] = {
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
    [ALL_WAITING] = "SELECT queue, seq, session, class, link, topic, length(payload) FROM message"
                    " WHERE (queue, seq) > (?, ?) AND flags & 4 = 0 ORDER BY queue, seq",
    [ALL_OPEN] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE (queue, seq) > (?, ?)"
                 " AND queue <= ? AND qos = 2 AND (flags & 2 = 0 OR flags & 4 != 0)"
                 " ORDER BY queue, seq",
    [PUT_DAMAGED_MESSAGE] = "INSERT INTO damaged(found_ms, origin, " MESSAGE_COLUMNS ")"
                            " VALUES(?, 'message', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_DAMAGED_RECORD] = "INSERT INTO damaged(found_ms, origin, " RECORD_COLUMNS ")"
                           " VALUES(?, 'record', ?, ?, ?, ?, ?)",
    [PUT_DAMAGED_FLIGHT] =
        "INSERT INTO damaged(found_ms, origin, kind, key, session, queue, value, crc)"
        " VALUES(?, 'flight', ?, ?, ?, ?, ?, ?)",
};

struct db {
    sqlite3 *handle; /* NULL: not open */
    sqlite3_stmt *statements[STATEMENTS];
};

struct store_file {
    struct db db;
    bool has_flights;         /* to the broker, perhaps */
    bool reopen;              /* the handle may be the reason for the last error */
    uint64_t reserved;        /* next_seq in the file */
    uint32_t pages_stores;    /* max_page_count for transactions with STOREs; 0: no limit */
    uint32_t pages_others;    /* and for others */
    uint32_t pages_now;       /* as told to SQLite */
    uint64_t damaged_in_turn; /* rows moved in the transaction that is open */
    uint64_t written_in_turn;
};

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- statements ------------------------------------------------------------ */

/* SQLite's result codes carry details in their upper bits. */
static int primary(int rc)
{
    return rc & 0xFF;
}

static bool is_damage(int rc)
{
    return primary(rc) == SQLITE_CORRUPT || primary(rc) == SQLITE_NOTADB;
}

/* Steps to the first row (SQLITE_ROW) or to the end (SQLITE_OK). */
static int query(sqlite3_stmt *st)
{
    const int rc = sqlite3_step(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Carries out a statement that returns no rows. */
static int run(sqlite3_stmt *st)
{
    const int rc = query(st);
    sqlite3_reset(st);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int exec(struct db *db, const char *text)
{
    return sqlite3_exec(db->handle, text, NULL, NULL, NULL);
}

static void bind_number(sqlite3_stmt *st, int i, uint64_t value)
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

static uint64_t column(sqlite3_stmt *st, int i)
{
    return (uint64_t)sqlite3_column_int64(st, i);
}

static struct sn_bytes column_bytes(sqlite3_stmt *st, int i)
{
    const void *data = sqlite3_column_blob(st, i);
    return sn_bytes(data, (size_t)sqlite3_column_bytes(st, i));
}

static int number(struct db *db, const char *text, uint64_t *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->handle, text, -1, &st, NULL);

    if (rc == SQLITE_OK)
        rc = query(st);
    if (rc == SQLITE_ROW) {
        *out = column(st, 0);
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
static bool read_message(sqlite3_stmt *st, struct bridge_message *m)
{
    *m = (struct bridge_message){
        .queue = (uint32_t)column(st, 0),
        .seq = column(st, 1),
        .session = (uint32_t)column(st, 2),
        .received_ms = column(st, 3),
        .expires_ms = column(st, 4),
        .qos = (uint8_t)column(st, 5),
        .flags = (uint8_t)column(st, 6),
        .mid = (uint16_t)column(st, 7),
        .class = (uint8_t)column(st, 8),
        .link = (uint8_t)column(st, 9),
        .topic = column_bytes(st, 10),
        .payload = column_bytes(st, 11),
    };
    return crc_of_message(m) == column(st, 12);
}

static bool read_record(sqlite3_stmt *st, struct bridge_record *r)
{
    *r = (struct bridge_record){
        .session = (uint32_t)column(st, 0),
        .kind = (enum bridge_record_kind)column(st, 1),
        .key = (uint32_t)column(st, 2),
        .value = column_bytes(st, 3),
    };
    return crc_of_record(r) == column(st, 4);
}

static bool read_flight(sqlite3_stmt *st, struct store_flight *f)
{
    *f = (struct store_flight){
        .kind = (enum store_flight_kind)column(st, 0),
        .key = column(st, 1),
        .conn = (uint32_t)column(st, 2),
        .queue = (uint32_t)column(st, 3),
        .value = column_bytes(st, 4),
    };
    return crc_of_flight(f) == column(st, 5);
}

static int put_meta(struct db *db, const char *key, uint64_t value)
{
    sqlite3_stmt *st = db->statements[PUT_META];
    bind_text(st, 1, sn_bytes_text(key));
    bind_number(st, 2, value);
    bind_number(st, 3, crc_of_meta(key, value));
    return run(st);
}

/* SQLITE_NOTFOUND when it is missing or its crc does not fit. */
static int get_meta(struct db *db, const char *key, uint64_t *value)
{
    sqlite3_stmt *st = db->statements[GET_META];
    bind_text(st, 1, sn_bytes_text(key));

    int rc = query(st);
    if (rc == SQLITE_OK)
        rc = SQLITE_NOTFOUND;
    if (rc == SQLITE_ROW) {
        const uint64_t found = column(st, 0);
        rc = crc_of_meta(key, found) == column(st, 1) ? SQLITE_OK : SQLITE_NOTFOUND;
        if (rc == SQLITE_OK)
            *value = found;
    }
    sqlite3_reset(st);
    return rc;
}

static int put_message(struct db *db, const struct bridge_message *m)
{
    sqlite3_stmt *st = db->statements[PUT_MESSAGE];
    bind_number(st, 1, m->queue);
    bind_number(st, 2, m->seq);
    bind_number(st, 3, m->session);
    bind_number(st, 4, m->received_ms);
    bind_number(st, 5, m->expires_ms);
    bind_number(st, 6, m->qos);
    bind_number(st, 7, m->flags);
    bind_number(st, 8, m->mid);
    bind_number(st, 9, m->class);
    bind_number(st, 10, m->link);
    bind_text(st, 11, m->topic);
    bind_bytes(st, 12, m->payload);
    bind_number(st, 13, crc_of_message(m));
    return run(st);
}

static int put_record(struct db *db, const struct bridge_record *r)
{
    sqlite3_stmt *st = db->statements[PUT_RECORD];
    bind_number(st, 1, r->session);
    bind_number(st, 2, (uint64_t)r->kind);
    bind_number(st, 3, r->key);
    bind_bytes(st, 4, r->value);
    bind_number(st, 5, crc_of_record(r));
    return run(st);
}

static int put_flight(struct db *db, const struct store_flight *f)
{
    sqlite3_stmt *st = db->statements[PUT_FLIGHT];
    bind_number(st, 1, (uint64_t)f->kind);
    bind_number(st, 2, f->key);
    bind_number(st, 3, f->conn);
    bind_number(st, 4, f->queue);
    bind_bytes(st, 5, f->value);
    bind_number(st, 6, crc_of_flight(f));
    return run(st);
}

static int delete_flight(struct db *db, uint8_t kind, uint64_t key, uint32_t conn)
{
    sqlite3_stmt *st = db->statements[DELETE_FLIGHT];
    bind_number(st, 1, kind);
    bind_number(st, 2, key);
    bind_number(st, 3, conn);
    return run(st);
}

static int delete_message(struct db *db, uint32_t queue, uint64_t seq)
{
    sqlite3_stmt *st = db->statements[DELETE_MESSAGE];
    bind_number(st, 1, queue);
    bind_number(st, 2, seq);
    return run(st);
}

static int delete_record(struct db *db, const struct bridge_record *r)
{
    sqlite3_stmt *st = db->statements[DELETE_RECORD];
    bind_number(st, 1, r->session);
    bind_number(st, 2, (uint64_t)r->kind);
    bind_number(st, 3, r->key);
    return run(st);
}

static int delete_session(struct db *db, uint32_t session)
{
    sqlite3_stmt *st = db->statements[DELETE_SESSION];
    bind_number(st, 1, session);

    int rc = run(st);
    /* Session 0 holds the account; queue 0 belongs to the broker. */
    st = db->statements[DELETE_QUEUE];
    for (uint32_t tier = 0; rc == SQLITE_OK && session != 0 && tier < BRIDGE_TIERS; tier++) {
        bind_number(st, 1, session + tier * BRIDGE_TIER);
        rc = run(st);
    }
    return rc;
}

/* Moves a row to `damaged`, within a transaction. A row that a scan met but its
 * own key does not find stands in the wrong place: then the file is damaged,
 * not only the row. */
static int move_damaged_message(struct store *s, uint32_t queue, uint64_t seq)
{
    sqlite3_stmt *st = s->file->db.statements[KEEP_DAMAGED_MESSAGE];
    bind_number(st, 1, store_now_ms(CLOCK_REALTIME));
    bind_number(st, 2, queue);
    bind_number(st, 3, seq);

    int rc = run(st);
    if (rc == SQLITE_OK && sqlite3_changes(s->file->db.handle) == 0)
        rc = SQLITE_CORRUPT;
    if (rc == SQLITE_OK)
        rc = delete_message(&s->file->db, queue, seq);
    s->file->damaged_in_turn += rc == SQLITE_OK;
    return rc;
}

static int move_damaged_record(struct store *s, const struct bridge_record *r)
{
    sqlite3_stmt *st = s->file->db.statements[KEEP_DAMAGED_RECORD];
    bind_number(st, 1, store_now_ms(CLOCK_REALTIME));
    bind_number(st, 2, r->session);
    bind_number(st, 3, (uint64_t)r->kind);
    bind_number(st, 4, r->key);

    int rc = run(st);
    if (rc == SQLITE_OK && sqlite3_changes(s->file->db.handle) == 0)
        rc = SQLITE_CORRUPT;
    if (rc == SQLITE_OK)
        rc = delete_record(&s->file->db, r);
    s->file->damaged_in_turn += rc == SQLITE_OK;
    return rc;
}

static int set_flags(struct store *s, uint32_t queue, uint64_t seq, uint8_t flags)
{
    sqlite3_stmt *st = s->file->db.statements[GET_MESSAGE];
    bind_number(st, 1, queue);
    bind_number(st, 2, seq);

    const int found = query(st);
    if (found != SQLITE_ROW) {
        sqlite3_reset(st);
        return found;
    }
    struct bridge_message m;
    const bool sound = read_message(st, &m);
    m.flags |= flags;
    const uint32_t crc = crc_of_message(&m);
    sqlite3_reset(st);
    if (!sound)
        return move_damaged_message(s, queue, seq);

    st = s->file->db.statements[SET_FLAGS];
    bind_number(st, 1, m.flags);
    bind_number(st, 2, crc);
    bind_number(st, 3, queue);
    bind_number(st, 4, seq);
    return run(st);
}

/* The broker has the message for good: its flight goes with it. */
static int land(struct store *s, uint32_t queue, uint64_t seq)
{
    if (!bridge_queue_is_up(queue) || !s->file->has_flights)
        return SQLITE_OK;
    sqlite3_stmt *st = s->file->db.statements[DELETE_FLIGHT_OF_MESSAGE];
    bind_number(st, 1, seq);
    return run(st);
}

static int apply_flight(struct store *s, const struct store_flight_op *op)
{
    struct db *db = &s->file->db;
    switch (op->what) {
    case STORE_FLIGHT_PUT:
        s->file->has_flights = true;
        s->file->written_in_turn++;
        return put_flight(db, &(struct store_flight){.kind = (enum store_flight_kind)op->kind,
                                                     .key = op->key,
                                                     .conn = op->conn,
                                                     .queue = op->queue,
                                                     .value = sn_bytes(op->value, op->len)});
    case STORE_FLIGHT_DROP:
        return delete_flight(db, op->kind, op->key, op->conn);
    case STORE_FLIGHT_DROP_ALL:
        bind_number(db->statements[DELETE_FLIGHTS_OF_CONN], 1, op->conn);
        return run(db->statements[DELETE_FLIGHTS_OF_CONN]);
    }
    return SQLITE_OK;
}

/* ---- opening and closing the file ------------------------------------------ */

static void db_close(struct db *db)
{
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->handle);
    *db = (struct db){0};
}

static int db_prepare(struct db *db)
{
    for (int i = 0; i < STATEMENTS; i++) {
        const int rc = sqlite3_prepare_v3(db->handle, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                          &db->statements[i], NULL);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

static int db_create(struct db *db)
{
    char text[128];
    int rc = exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN IMMEDIATE");

    if (rc == SQLITE_OK)
        rc = exec(db, schema);
    if (rc == SQLITE_OK)
        rc = exec(db, flight_schema);
    snprintf(text, sizeof text, "PRAGMA application_id = %d", APPLICATION_ID);
    if (rc == SQLITE_OK)
        rc = exec(db, text);
    if (rc == SQLITE_OK)
        rc = db_prepare(db);
    if (rc == SQLITE_OK)
        rc = put_meta(db, "format", BRIDGE_STORE_FORMAT);
    if (rc == SQLITE_OK)
        rc = put_meta(db, "next_seq", 1);
    if (rc == SQLITE_OK)
        rc = put_meta(db, "created_ms", store_now_ms(CLOCK_REALTIME));
    if (rc == SQLITE_OK)
        rc = run(db->statements[COMMIT]);
    return rc;
}

static enum store_fault fault_of(int rc)
{
    return is_damage(rc) ? STORE_DAMAGED : STORE_CANNOT_OPEN;
}

static enum store_fault db_fault(struct db *db, const char *path, int rc, char *why, size_t size)
{
    snprintf(why, size, "%s: %s (SQLite %d)", path,
             db->handle != NULL ? sqlite3_errmsg(db->handle) : sqlite3_errstr(rc), rc);
    db_close(db);
    return fault_of(rc);
}

/* Only `meta` is the same in every format, so it is asked first. A table or
 * column that should be there and is not (SQLITE_ERROR) is damage. */
static int db_check(struct db *db, bool complete, uint64_t *format)
{
    int rc = sqlite3_prepare_v2(db->handle, sql[GET_META], -1, &db->statements[GET_META], NULL);

    if (rc == SQLITE_OK)
        rc = get_meta(db, "format", format);
    sqlite3_finalize(db->statements[GET_META]);
    db->statements[GET_META] = NULL;
    if (rc == SQLITE_OK && *format > BRIDGE_STORE_FORMAT)
        return SQLITE_OK;
    if (rc == SQLITE_OK && complete)
        rc = exec(db, flight_schema);
    if (rc == SQLITE_OK)
        rc = complete ? db_prepare(db) : SQLITE_ERROR;
    if (rc == SQLITE_OK)
        rc = exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    return rc == SQLITE_ERROR || rc == SQLITE_NOTFOUND ? SQLITE_CORRUPT : rc;
}

/* Looks before it changes anything: another program's database, or one of a
 * newer version, stays as it is. */
static enum store_fault db_open(const char *path, bool create, struct db *db, char *why,
                                size_t why_size)
{
    uint64_t tables = 0;
    uint64_t ours = 0;
    uint64_t application = 0;
    uint64_t format = BRIDGE_STORE_FORMAT;
    int rc = sqlite3_open_v2(
        path, &db->handle,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0), NULL);
    if (rc == SQLITE_OK) {
        sqlite3_extended_result_codes(db->handle, 1);
        sqlite3_busy_timeout(db->handle, BUSY_MS);
        rc = exec(db, "PRAGMA cell_size_check = ON; PRAGMA cache_size = -4096;"
                      "PRAGMA temp_store = MEMORY");
    }
    if (rc == SQLITE_OK)
        rc = number(db, "SELECT count(*) FROM sqlite_master", &tables);
    if (rc == SQLITE_OK)
        rc = number(db,
                    "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
                    " AND name IN ('meta', 'message', 'record', 'damaged')",
                    &ours);
    if (rc == SQLITE_OK)
        rc = number(db, "PRAGMA application_id", &application);
    if (rc != SQLITE_OK)
        return db_fault(db, path, rc, why, why_size);
    if (sqlite3_db_readonly(db->handle, "main") == 1) {
        snprintf(why, why_size, "%s: cannot be written", path);
        db_close(db);
        return STORE_CANNOT_OPEN;
    }
    if (tables > 0 && application != APPLICATION_ID && ours < 4) {
        snprintf(why, why_size, "%s: a database of another program", path);
        db_close(db);
        return STORE_CANNOT_OPEN;
    }

    if (tables == 0)
        rc = db_create(db);
    else
        rc = db_check(db, ours == 4, &format);
    if (rc == SQLITE_OK && format > BRIDGE_STORE_FORMAT) {
        snprintf(why, why_size, "%s: has format %" PRIu64 ", this program knows up to %d", path,
                 format, BRIDGE_STORE_FORMAT);
        db_close(db);
        return STORE_TOO_NEW;
    }
    if (rc != SQLITE_OK)
        return db_fault(db, path, rc, why, why_size);
    return STORE_OK;
}

/* Sizes that follow from max_bytes: the WAL gets a quarter of it, at most 4 MiB;
 * an eighth of the rest, at most 4 MiB too, is the reserve for what is not a
 * STORE. */
static int set_limits(struct store *s)
{
    uint64_t page = PAGE_BYTES;
    uint64_t wal = WAL_BYTES;
    char text[128];

    const int rc = number(&s->file->db, "PRAGMA page_size", &page);
    if (rc != SQLITE_OK)
        return rc;
    s->file->pages_stores = 0;
    s->file->pages_others = 0;
    s->file->pages_now = 0;
    if (s->max_bytes > 0) {
        if (wal > s->max_bytes / 4)
            wal = s->max_bytes / 4;
        const uint64_t pages = (s->max_bytes - wal) / page;
        const uint64_t reserve = pages / 8 < 1024 ? pages / 8 : 1024;
        s->file->pages_others = pages < UINT32_MAX - 1 ? (uint32_t)pages : UINT32_MAX - 1;
        s->file->pages_stores = s->file->pages_others - (uint32_t)reserve;
    }
    snprintf(text, sizeof text,
             "PRAGMA wal_autocheckpoint = %" PRIu64 "; PRAGMA journal_size_limit = %" PRIu64,
             wal / page, wal);
    return exec(&s->file->db, text);
}

/* SQLite counts the pages for us; the pragma is only spoken when it changes. */
static int set_page_limit(struct store *s, uint32_t pages)
{
    char text[64];
    if (pages == s->file->pages_now)
        return SQLITE_OK;
    snprintf(text, sizeof text, "PRAGMA max_page_count = %" PRIu32, pages);
    const int rc = exec(&s->file->db, text);
    if (rc == SQLITE_OK)
        s->file->pages_now = pages;
    return rc;
}

/* A file that an outage has blown up and that is nearly empty again is
 * rewritten; below that its free pages are used again. Failing is no harm. */
static void shrink(struct store *s)
{
    uint64_t pages = 0;
    uint64_t unused = 0;

    if (number(&s->file->db, "PRAGMA page_count", &pages) == SQLITE_OK &&
        number(&s->file->db, "PRAGMA freelist_count", &unused) == SQLITE_OK &&
        pages > SHRINK_PAGES && unused > pages / 4 * 3) {
        exec(&s->file->db, "VACUUM");
        exec(&s->file->db, "PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

/* ---- recovery -------------------------------------------------------------- */

/* A place in a table: the primary key as one number of 32 + 63 bits. */
struct key {
    uint32_t high;
    uint64_t low;
};

/* False when it would pass the end of the table. */
static bool advance(struct key *key, unsigned bit)
{
    uint64_t high = key->high;

    if (bit < 63) {
        key->low += (uint64_t)1 << bit;
        high += key->low >> 63;
        key->low &= INT64_MAX;
    } else {
        high += (uint64_t)1 << (bit - 63);
    }
    key->high = (uint32_t)high;
    return high <= UINT32_MAX;
}

struct copy {
    struct db *from;
    struct db *to;
    uint64_t rows;
    uint64_t damaged;
    uint64_t highest; /* seq */
    bool gaps;        /* something could not be read */
};

struct table {
    const char *select; /* all rows with a key at or above the parameters */
    int (*take)(struct copy *c, sqlite3_stmt *st, struct key *key);
    bool pair; /* the lower part of the key is two columns */
};

static int copy_damaged(struct copy *c, sqlite3_stmt *from, enum statement into)
{
    sqlite3_stmt *st = c->to->statements[into];

    bind_number(st, 1, store_now_ms(CLOCK_REALTIME));
    for (int i = 0; i < sqlite3_column_count(from); i++)
        sqlite3_bind_value(st, i + 2, sqlite3_column_value(from, i));
    c->damaged++;
    const int rc = run(st);
    sqlite3_clear_bindings(st);
    return rc;
}

static int copy_message(struct copy *c, sqlite3_stmt *st, struct key *key)
{
    struct bridge_message m;
    if (!read_message(st, &m))
        return copy_damaged(c, st, PUT_DAMAGED_MESSAGE);
    *key = (struct key){m.queue, m.seq & INT64_MAX};
    c->rows++;
    if (m.seq > c->highest)
        c->highest = m.seq;
    return put_message(c->to, &m);
}

static int copy_record(struct copy *c, sqlite3_stmt *st, struct key *key)
{
    struct bridge_record r;
    if (!read_record(st, &r))
        return copy_damaged(c, st, PUT_DAMAGED_RECORD);
    *key = (struct key){r.session, (uint64_t)r.kind << 32 | r.key};
    c->rows++;
    return put_record(c->to, &r);
}

static int copy_flight(struct copy *c, sqlite3_stmt *st, struct key *key)
{
    struct store_flight f;
    if (!read_flight(st, &f))
        return copy_damaged(c, st, PUT_DAMAGED_FLIGHT);
    *key = (struct key){(uint32_t)f.kind, f.key & INT64_MAX};
    return put_flight(c->to, &f);
}

static const struct table tables[] = {
    {"SELECT " RECORD_COLUMNS " FROM record WHERE (session, kind, key) >= (?, ?, ?)"
     " ORDER BY session, kind, key",
     copy_record, true},
    {"SELECT " MESSAGE_COLUMNS " FROM message WHERE (queue, seq) >= (?, ?) ORDER BY queue, seq",
     copy_message, false},
    {"SELECT " FLIGHT_COLUMNS " FROM flight WHERE (kind, key) >= (?, ?) ORDER BY kind, key, conn",
     copy_flight, false},
};

static void seek(const struct table *t, sqlite3_stmt *st, struct key key)
{
    sqlite3_reset(st);
    bind_number(st, 1, key.high);
    bind_number(st, 2, t->pair ? key.low >> 32 : key.low);
    if (t->pair)
        bind_number(st, 3, key.low & UINT32_MAX);
}

static bool can_read(const struct table *t, sqlite3_stmt *st, struct key key)
{
    seek(t, st, key);
    const int rc = query(st);
    return rc == SQLITE_ROW || rc == SQLITE_OK;
}

/* Finds the nearest place behind a page that cannot be read: ever longer jumps
 * until one lands on sound ground, then again from where the last one failed. */
static bool skip(const struct table *t, sqlite3_stmt *st, struct key *at)
{
    for (;;) {
        struct key next = *at;
        struct key failed = *at;
        unsigned bit = 0;
        for (;; bit++) {
            next = *at;
            if (bit == KEY_BITS || !advance(&next, bit))
                return false;
            if (can_read(t, st, next))
                break;
            failed = next;
        }
        *at = bit == 0 ? next : failed;
        if (bit == 0)
            return true;
    }
}

/* Copies every row that can be read. An error of the new file ends it. */
static int copy_table(struct copy *c, const struct table *t)
{
    sqlite3_stmt *st = NULL;
    struct key at = {0};
    int rc = SQLITE_OK;

    if (sqlite3_prepare_v2(c->from->handle, t->select, -1, &st, NULL) != SQLITE_OK) {
        c->gaps = true;
        return SQLITE_OK;
    }
    for (bool more = true; more && rc == SQLITE_OK;) {
        int found;
        seek(t, st, at);
        while ((found = query(st)) == SQLITE_ROW && rc == SQLITE_OK) {
            struct key key = at;
            rc = t->take(c, st, &key);
            at = key;
        }
        more = rc == SQLITE_OK && found != SQLITE_OK;
        if (more) {
            c->gaps = true;
            more = skip(t, st, &at);
        }
    }
    sqlite3_finalize(st);
    return rc;
}

/* When the reservation cannot be read, the number of microseconds since 1970
 * lies above any ticket that was handed out at less than one per microsecond. */
static uint64_t next_after_loss(uint64_t highest)
{
    const uint64_t by_time = store_now_ms(CLOCK_REALTIME) * 1000;
    highest += TICKETS_AHEAD;
    return highest > by_time ? highest : by_time;
}

static int copy_all(struct copy *c)
{
    uint64_t next = 0;
    sqlite3_stmt *meta = NULL;
    int rc = run(c->to->statements[BEGIN]);

    for (size_t i = 0; rc == SQLITE_OK && i < sizeof tables / sizeof tables[0]; i++)
        rc = c->from->handle == NULL ? SQLITE_OK : copy_table(c, &tables[i]);
    if (c->from->handle != NULL &&
        sqlite3_prepare_v2(c->from->handle, sql[GET_META], -1, &meta, NULL) == SQLITE_OK) {
        c->from->statements[GET_META] = meta;
        if (get_meta(c->from, "next_seq", &next) != SQLITE_OK)
            next = 0;
    }
    if (next <= c->highest)
        next = next_after_loss(c->highest);
    if (rc == SQLITE_OK)
        rc = put_meta(c->to, "next_seq", next);
    if (rc == SQLITE_OK)
        rc = run(c->to->statements[COMMIT]);
    return rc;
}

/* A wreck is read as it lies: nothing is checkpointed into it, and a file
 * shorter than its header says is read as far as it goes. */
static void open_wreck(const char *path, struct db *db)
{
    if (sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK) {
        db_close(db);
        return;
    }
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    exec(db, "PRAGMA writable_schema = ON; PRAGMA cell_size_check = ON;"
             "PRAGMA wal_autocheckpoint = 0");
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static void beside(const struct store *s, const char *suffix, char out[STORE_PATH_BYTES])
{
    const size_t len = strlen(s->path);
    const size_t more = strlen(suffix) + 1;
    assert(len + more <= STORE_PATH_BYTES);
    memcpy(out, s->path, len);
    memcpy(out + len, suffix, more);
}

static void sync_folder(const struct store *s)
{
    char folder[STORE_PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", s->path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder ? 1 : 0] = '\0';
    const int fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* Renames FILE+suffix to FILE.damaged-<time>+suffix when it exists. */
static bool set_aside(const struct store *s, const char *name, const char *suffix)
{
    char from[STORE_PATH_BYTES];
    char tail[STORE_SUFFIX_BYTES];
    char to[STORE_PATH_BYTES];

    beside(s, suffix, from);
    snprintf(tail, sizeof tail, "%s%s", name, suffix);
    beside(s, tail, to);
    return rename(from, to) == 0 || errno == ENOENT;
}

static void free_name(const struct store *s, char name[48])
{
    char path[STORE_PATH_BYTES];
    const time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    for (unsigned i = 1; i < 1000; i++) {
        char stamp[24];
        strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
        if (i == 1)
            snprintf(name, 48, ".damaged-%s", stamp);
        else
            snprintf(name, 48, ".damaged-%s-%u", stamp, i);
        beside(s, name, path);
        if (!exists(path))
            return;
    }
}

static void remove_beside(const struct store *s, const char *suffix)
{
    char path[STORE_PATH_BYTES];
    beside(s, suffix, path);
    unlink(path);
}

/* Puts FILE.new in the place of FILE. FILE goes first and FILE.new last, so
 * that after a crash in between FILE is missing and FILE.new is complete: see
 * finish_recovery(). */
static bool replace(const struct store *s, const char *name)
{
    char fresh[STORE_PATH_BYTES];

    beside(s, ".new", fresh);
    if (!set_aside(s, name, ""))
        return false;
    sync_folder(s);
    if (!set_aside(s, name, "-wal") || !set_aside(s, name, "-journal"))
        return false;
    remove_beside(s, "-shm");
    if (rename(fresh, s->path) != 0)
        return false;
    sync_folder(s);
    return true;
}

static void remove_fresh(const struct store *s)
{
    remove_beside(s, ".new");
    remove_beside(s, ".new-wal");
    remove_beside(s, ".new-shm");
    remove_beside(s, ".new-journal");
}

static void finish_recovery(const struct store *s)
{
    char fresh[STORE_PATH_BYTES];
    char name[48];

    beside(s, ".new", fresh);
    if (exists(s->path) || !exists(fresh)) {
        remove_fresh(s);
        return;
    }
    free_name(s, name);
    replace(s, name);
}

/* Copies what is sound to a fresh file and sets the damaged one aside. The
 * store's handle is closed before and open on the fresh file afterwards. */
static enum store_fault recover(struct store *s, const char *cause, char *why, size_t why_size)
{
    char fresh[STORE_PATH_BYTES];
    char name[48];
    struct db from = {0};
    struct db to = {0};

    if (s->file->db.handle != NULL)
        sqlite3_db_config(s->file->db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    db_close(&s->file->db);
    remove_fresh(s);
    beside(s, ".new", fresh);
    enum store_fault fault = db_open(fresh, true, &to, why, why_size);
    if (fault != STORE_OK)
        return STORE_DAMAGED;

    struct copy c = {.from = &from, .to = &to};
    open_wreck(s->path, &from);
    int rc = copy_all(&c);
    db_close(&from);
    if (rc != SQLITE_OK) {
        snprintf(why, why_size, "%s: damaged (%s), and cannot be copied: %s", s->path, cause,
                 sqlite3_errmsg(to.handle));
        db_close(&to);
        remove_fresh(s);
        return STORE_DAMAGED;
    }
    db_close(&to);

    free_name(s, name);
    if (!replace(s, name)) {
        snprintf(why, why_size, "%s: damaged (%s), and cannot be set aside: %s", s->path, cause,
                 strerror(errno));
        return STORE_DAMAGED;
    }
    fault = db_open(s->path, false, &s->file->db, why, why_size);
    if (fault == STORE_OK && set_limits(s) != SQLITE_OK)
        fault = db_fault(&s->file->db, s->path, SQLITE_ERROR, why, why_size);
    if (fault != STORE_OK)
        return fault;
    snprintf(why, why_size,
             "%s: damaged (%s), set aside as %s%s; %" PRIu64 " rows recovered, %" PRIu64
             " found damaged%s",
             s->path, cause, s->path, name, c.rows, c.damaged,
             c.gaps || c.rows == 0 ? ", others cannot be read" : "");
    pthread_mutex_lock(&s->mutex);
    s->figures.recoveries++;
    s->figures.damaged += c.damaged;
    pthread_mutex_unlock(&s->mutex);
    return STORE_OK;
}

/* The same while the store is in use: the line goes to the reports. */
static bool recover_now(struct store *s)
{
    char why[STORE_LINE_BYTES];
    char cause[160];

    snprintf(cause, sizeof cause, "%s",
             s->file->db.handle != NULL ? sqlite3_errmsg(s->file->db.handle) : "cannot be opened");
    const enum store_fault fault = recover(s, cause, why, sizeof why);
    store_report(s, "%s", why);
    return fault == STORE_OK;
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
    h->damaged[h->damaged_count++] = (struct key){column(st, 0), column(st, 1)};
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
    bind_number(st, 1, op->fetch.queue);
    bind_number(st, 2, from);
    bind_number(st, 3, op->ticket);
    *end = true;
    while ((rc = query(st)) == SQLITE_ROW) {
        struct bridge_message m;
        if (!read_message(st, &m)) {
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

static void count_damaged(struct store *s, const char *where)
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

static int end_transaction(struct store *s, int rc)
{
    if (rc == SQLITE_OK)
        rc = run(s->file->db.statements[COMMIT]);
    if (rc != SQLITE_OK && sqlite3_get_autocommit(s->file->db.handle) == 0)
        run(s->file->db.statements[ROLLBACK]);
    if (rc != SQLITE_OK)
        s->file->damaged_in_turn = 0;
    return rc;
}

/* Rows that cannot be moved now are met, and left out, again next time. */
static int move_messages(struct store *s, const struct key *damaged, size_t count)
{
    if (count == 0)
        return SQLITE_OK;

    int rc = set_page_limit(s, s->file->pages_others);
    if (rc == SQLITE_OK)
        rc = run(s->file->db.statements[BEGIN]);
    for (size_t i = 0; rc == SQLITE_OK && i < count; i++)
        rc = move_damaged_message(s, (uint32_t)damaged[i].high, damaged[i].low);
    rc = end_transaction(s, rc);
    count_damaged(s, "message");
    return rc;
}

static enum store_outcome outcome(struct store *s, int rc)
{
    if (rc == SQLITE_OK)
        return STORE_DONE;
    snprintf(s->error, sizeof s->error, "%s (SQLite %d)", sqlite3_errstr(rc), rc);
    s->file->reopen = s->file->reopen || s->file->db.handle == NULL ||
                      (primary(rc) != SQLITE_FULL && primary(rc) != SQLITE_BUSY);
    return primary(rc) == SQLITE_FULL ? STORE_FULL : STORE_REFUSED;
}

enum store_outcome store_file_fetch(struct store *s, const struct store_op *op,
                                    struct store_answer **out)
{
    struct harvest h = {0};
    bool end = false;
    int rc = collect(s, op, &h, &end);

    if (is_damage(rc) && recover_now(s)) {
        h.count = h.size = h.damaged_count = 0;
        rc = collect(s, op, &h, &end);
    }
    if (rc == SQLITE_OK) {
        if (is_damage(move_messages(s, h.damaged, h.damaged_count)))
            recover_now(s);
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
        return put_message(&s->file->db, &op->message);
    case BRIDGE_DO_MARK:
        s->file->written_in_turn++;
        rc = set_flags(s, op->row.queue, op->row.seq, op->row.flags);
        if (rc == SQLITE_OK && (op->row.flags & BRIDGE_FLAG_DELIVERED) != 0)
            rc = land(s, op->row.queue, op->row.seq);
        return rc;
    case BRIDGE_DO_FORGET:
        rc = delete_message(&s->file->db, op->row.queue, op->row.seq);
        return rc == SQLITE_OK ? land(s, op->row.queue, op->row.seq) : rc;
    case BRIDGE_DO_SAVE:
        s->file->written_in_turn++;
        return put_record(&s->file->db, &op->record);
    case BRIDGE_DO_ERASE:
        return op->record.kind == 0 ? delete_session(&s->file->db, op->record.session)
                                    : delete_record(&s->file->db, &op->record);
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
    return put_meta(&s->file->db, "next_seq", *reserved);
}

static int attempt(struct store *s, const struct store_batch *batch,
                   const struct store_flights *flights, bool with_stores)
{
    const uint64_t started_us = now_us();
    const uint64_t last =
        batch->last_ticket > s->kept.last_ticket ? batch->last_ticket : s->kept.last_ticket;
    uint64_t reserved = 0;

    s->file->written_in_turn = 0;
    int rc =
        set_page_limit(s, with_stores && store_batch_has_stores(batch) ? s->file->pages_stores
                                                                       : s->file->pages_others);
    if (rc == SQLITE_OK)
        rc = run(s->file->db.statements[BEGIN]);
    for (const struct store_op *op = s->kept.first; rc == SQLITE_OK && op != NULL; op = op->next)
        rc = apply(s, op, false);
    for (const struct store_op *op = batch->first; rc == SQLITE_OK && op != NULL; op = op->next)
        rc = apply(s, op, with_stores);
    for (const struct store_flight_op *op = with_stores ? batch->flights.first : NULL;
         rc == SQLITE_OK && op != NULL; op = op->next)
        rc = apply_flight(s, op);
    for (const struct store_flight_op *op = flights->first; rc == SQLITE_OK && op != NULL;
         op = op->next)
        rc = apply_flight(s, op);
    if (rc == SQLITE_OK)
        rc = reserve(s, last, &reserved);
    rc = end_transaction(s, rc);
    if (rc != SQLITE_OK)
        return rc;

    const uint64_t took_us = now_us() - started_us;
    s->file->reserved = reserved;
    pthread_mutex_lock(&s->mutex);
    s->figures.commits++;
    s->figures.written += s->file->written_in_turn;
    s->figures.commit_us_last = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX;
    if (s->figures.commit_us_max < s->figures.commit_us_last)
        s->figures.commit_us_max = s->figures.commit_us_last;
    pthread_mutex_unlock(&s->mutex);
    count_damaged(s, "message");
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
    const enum store_fault fault = db_open(s->path, false, &s->file->db, why, sizeof why);
    if (fault == STORE_DAMAGED)
        return SQLITE_CORRUPT;
    if (fault != STORE_OK)
        return SQLITE_CANTOPEN;
    s->file->reopen = false;
    return set_limits(s);
}

enum store_outcome store_file_commit(struct store *s, const struct store_batch *batch,
                                     const struct store_flights *flights, bool with_stores)
{
    int rc = s->file->reopen ? reopen(s) : SQLITE_OK;

    if (rc == SQLITE_OK && (store_batch_changes_something(&s->kept) ||
                            store_batch_changes_something(batch) || flights->first != NULL))
        rc = attempt(s, batch, flights, with_stores);
    if (is_damage(rc) && recover_now(s)) {
        s->file->reopen = false;
        rc = attempt(s, batch, flights, with_stores);
    }
    return outcome(s, rc);
}

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
    bind_number(st, 2, r->at.low >> 32);
    bind_number(st, 3, r->at.low & UINT32_MAX);
    while ((rc = query(st)) == SQLITE_ROW) {
        struct bridge_event event = {.type = BRIDGE_ON_RECORD};
        if (read_record(st, &event.record)) {
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

    bind_number(st, 1, r->waiting.high);
    bind_number(st, 2, r->waiting.low);
    while ((rc = query(st)) == SQLITE_ROW) {
        const struct bridge_event event = {.type = BRIDGE_ON_WAITING,
                                           .waiting = {.queue = (uint32_t)column(st, 0),
                                                       .seq = column(st, 1),
                                                       .session = (uint32_t)column(st, 2),
                                                       .class = (uint8_t)column(st, 3),
                                                       .link = (uint8_t)column(st, 4),
                                                       .topic = column_bytes(st, 5),
                                                       .bytes = column(st, 6)}};
        if (r->queue.queue.count == 0 || r->queue.queue.queue != event.waiting.queue) {
            end_queue(r);
            r->queue.queue.queue = event.waiting.queue;
            r->queue.queue.first = event.waiting.seq;
        }
        r->queue.queue.last = event.waiting.seq;
        r->queue.queue.count++;
        r->queue.queue.bytes += event.waiting.bytes;
        r->waiting = (struct key){event.waiting.queue, event.waiting.seq};
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

    bind_number(st, 1, r->open.high);
    bind_number(st, 2, r->open.low);
    bind_number(st, 3, queue);
    while ((rc = query(st)) == SQLITE_ROW) {
        struct bridge_message m;
        if (!read_message(st, &m)) {
            r->messages = store_grab(r->messages, (r->message_count + 1) * sizeof *r->messages);
            r->messages[r->message_count++] = (struct key){column(st, 0), column(st, 1)};
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
        rc = set_page_limit(s, s->file->pages_others);
        if (rc == SQLITE_OK)
            rc = run(s->file->db.statements[BEGIN]);
        for (size_t i = 0; rc == SQLITE_OK && i < r->record_count; i++)
            rc = move_damaged_record(s, &r->records[i]);
        rc = end_transaction(s, rc);
        count_damaged(s, "record");
    }
    return rc == SQLITE_OK ? move_messages(s, r->messages, r->message_count) : rc;
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
        const bool again = (is_damage(rc) || rc == SQLITE_IOERR_READ) &&
                           recoveries++ < REPLAY_ATTEMPTS && recover_now(s);
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
    while ((rc = query(st)) == SQLITE_ROW) {
        struct store_flight f;
        struct bridge_message m;
        bool found = false;
        if (!read_flight(st, &f))
            continue; /* move_damaged_flights() */
        if (f.kind == STORE_FLIGHT_OUT) {
            s->file->has_flights = true;
            bind_number(row, 1, f.queue);
            bind_number(row, 2, f.key);
            found = query(row) == SQLITE_ROW && read_message(row, &m);
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
    int rc = run(db->statements[BEGIN]);
    int found = SQLITE_OK;

    while (rc == SQLITE_OK && (found = query(st)) == SQLITE_ROW) {
        struct store_flight f;
        if (read_flight(st, &f))
            continue;
        sqlite3_stmt *put = db->statements[PUT_DAMAGED_FLIGHT];
        bind_number(put, 1, store_now_ms(CLOCK_REALTIME));
        for (int i = 0; i < sqlite3_column_count(st); i++)
            sqlite3_bind_value(put, i + 2, sqlite3_column_value(st, i));
        rc = run(put);
        sqlite3_clear_bindings(put);
        s->file->damaged_in_turn++;
        if (rc == SQLITE_OK)
            rc = delete_flight(db, (uint8_t)column(st, 0), f.key, f.conn);
    }
    sqlite3_reset(st);
    rc = end_transaction(s, rc != SQLITE_OK ? rc : found);
    count_damaged(s, "flight");
    return rc;
}

void store_each_flight(struct store *s, store_flight_fn *fn, void *ctx)
{
    int rc = move_damaged_flights(s);
    if ((is_damage(rc) || rc == SQLITE_IOERR_READ) && recover_now(s))
        rc = move_damaged_flights(s);
    if (rc == SQLITE_OK)
        rc = each_flight(s, fn, ctx);
    if (rc != SQLITE_OK)
        store_report(s, "%s: messages in flight cannot be read: %s (SQLite %d)", s->path,
                     sqlite3_errstr(rc), rc);
}

/* ---- life ---------------------------------------------------------------- */

static uint64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* A WAL whose database is gone or empty would be deleted by SQLite. */
static void save_stray_wal(const struct store *s, char *why, size_t why_size)
{
    char name[48];

    if (file_size(s->path) > 0 || file_size(s->path_wal) == 0)
        return;
    free_name(s, name);
    if (set_aside(s, name, "-wal"))
        snprintf(why, why_size, "%s: missing or empty but for its WAL, set aside as %s%s-wal",
                 s->path, s->path, name);
}

static enum store_fault open_file(struct store *s, char *why, size_t why_size)
{
    char cause[STORE_LINE_BYTES];

    finish_recovery(s);
    save_stray_wal(s, why, why_size);
    enum store_fault fault = db_open(s->path, true, &s->file->db, cause, sizeof cause);
    if (fault == STORE_OK && set_limits(s) != SQLITE_OK)
        fault = db_fault(&s->file->db, s->path, SQLITE_CORRUPT, cause, sizeof cause);
    if (fault == STORE_DAMAGED)
        return recover(s, cause + strlen(s->path) + 2, why, why_size);
    if (fault != STORE_OK)
        snprintf(why, why_size, "%s", cause);
    return fault;
}

/* Where tickets go on. If the reservation cannot be written now, the first
 * transaction does it; until then nothing that needs it is durable. */
static void find_next_ticket(struct store *s)
{
    uint64_t highest = 0;

    if (get_meta(&s->file->db, "next_seq", &s->next_ticket) != SQLITE_OK) {
        number(&s->file->db, "SELECT max(seq) FROM message", &highest);
        s->next_ticket = next_after_loss(highest);
    }
    s->handed = s->reported = s->next_ticket - 1;
    s->file->reserved = s->next_ticket;
    if (put_meta(&s->file->db, "next_seq", s->next_ticket + TICKETS_AHEAD) == SQLITE_OK)
        s->file->reserved = s->next_ticket + TICKETS_AHEAD;
}

enum store_fault store_file_open(struct store *s, char *why, size_t why_size)
{
    s->file = store_grab(NULL, sizeof *s->file);
    *s->file = (struct store_file){.has_flights = true};

    const enum store_fault fault = open_file(s, why, why_size);
    if (fault != STORE_OK) {
        free(s->file);
        s->file = NULL;
        return fault;
    }
    shrink(s);
    find_next_ticket(s);
    return STORE_OK;
}

void store_file_close(struct store *s)
{
    /* The numbers that were only reserved need not be skipped. */
    if (s->file->db.handle != NULL)
        put_meta(&s->file->db, "next_seq", s->handed + 1);
    db_close(&s->file->db);
    free(s->file);
    s->file = NULL;
}

uint64_t store_file_bytes(const struct store *s)
{
    return file_size(s->path) + file_size(s->path_wal);
}
