#include "bridge/crc32c.h"
#include "bridge/store.h"
#include "bridge/store_batch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES      1024u
#define SUFFIX_BYTES    64u   /* room behind a path for the names of its companions */
#define REPORT_BYTES    1280u /* holds two paths' worth of a line, cut if need be */
#define REPORTS_MAX     16u
#define APPLICATION_ID  0x736E6272 /* "snbr": tells our files from others */
#define PAGE_BYTES      4096u
#define TICKETS_AHEAD   1000000u /* next_seq is written this far ahead */
#define WAL_BYTES       (4u << 20)
#define BUSY_MS         5000 /* how long somebody's sqlite3 may hold the write lock */
#define RETRY_MIN_MS    10u
#define RETRY_MAX_MS    1000u
#define REPLAY_ATTEMPTS 3
#define SHRINK_PAGES    4096u /* a file smaller than this is never worth shrinking */
#define KEY_BITS        95u   /* of struct key: 32 + 63 */

/* ---- the schema ------------------------------------------------------------ */

#define MESSAGE_COLUMNS                                                                            \
    "queue, seq, session, received_ms, expires_ms, qos, flags, mid, class, topic, payload, crc"
#define RECORD_COLUMNS "session, kind, key, value, crc"

static const char schema[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE message(queue INTEGER NOT NULL, seq INTEGER NOT NULL, session INTEGER NOT NULL,"
    " received_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, qos INTEGER NOT NULL,"
    " flags INTEGER NOT NULL, mid INTEGER NOT NULL, class INTEGER NOT NULL, topic TEXT NOT NULL,"
    " payload BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY(queue, seq)) WITHOUT ROWID;"
    "CREATE TABLE record(session INTEGER NOT NULL, kind INTEGER NOT NULL, key INTEGER NOT NULL,"
    " value BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY(session, kind, key)) WITHOUT ROWID;"
    "CREATE TABLE damaged(found_ms INTEGER, origin TEXT, queue, seq, session, received_ms,"
    " expires_ms, qos, flags, mid, class, topic, payload, kind, key, value, crc);";

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
    FETCH,
    KEEP_DAMAGED_MESSAGE,
    KEEP_DAMAGED_RECORD,
    ALL_RECORDS,
    ALL_QUEUES,
    ALL_OPEN,
    PUT_DAMAGED_MESSAGE,
    PUT_DAMAGED_RECORD,
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
                    " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [GET_MESSAGE] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE queue = ? AND seq = ?",
    [SET_FLAGS] = "UPDATE message SET flags = ?, crc = ? WHERE queue = ? AND seq = ?",
    [DELETE_MESSAGE] = "DELETE FROM message WHERE queue = ? AND seq = ?",
    [DELETE_QUEUE] = "DELETE FROM message WHERE queue = ?",
    [PUT_RECORD] = "INSERT OR REPLACE INTO record(" RECORD_COLUMNS ") VALUES(?, ?, ?, ?, ?)",
    [DELETE_RECORD] = "DELETE FROM record WHERE session = ? AND kind = ? AND key = ?",
    [DELETE_SESSION] = "DELETE FROM record WHERE session = ?",
    [FETCH] = "SELECT " MESSAGE_COLUMNS " FROM message"
              " WHERE queue = ? AND seq >= ? AND seq <= ? AND flags & 4 = 0 ORDER BY seq",
    [KEEP_DAMAGED_MESSAGE] = "INSERT INTO damaged(found_ms, origin, " MESSAGE_COLUMNS ")"
                             " SELECT ?, 'message', " MESSAGE_COLUMNS " FROM message"
                             " WHERE queue = ? AND seq = ?",
    [KEEP_DAMAGED_RECORD] = "INSERT INTO damaged(found_ms, origin, " RECORD_COLUMNS ")"
                            " SELECT ?, 'record', " RECORD_COLUMNS " FROM record"
                            " WHERE session = ? AND kind = ? AND key = ?",
    [ALL_RECORDS] = "SELECT " RECORD_COLUMNS " FROM record"
                    " WHERE (session, kind, key) > (?, ?, ?) ORDER BY session, kind, key",
    [ALL_QUEUES] = "SELECT queue, min(seq), max(seq), count(*), sum(length(payload)) FROM message"
                   " WHERE queue > ? AND flags & 4 = 0 GROUP BY queue ORDER BY queue",
    [ALL_OPEN] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE queue = 0 AND seq > ? AND qos = 2"
                 " AND (flags & 2 = 0 OR flags & 4 != 0) ORDER BY seq",
    [PUT_DAMAGED_MESSAGE] = "INSERT INTO damaged(found_ms, origin, " MESSAGE_COLUMNS ")"
                            " VALUES(?, 'message', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_DAMAGED_RECORD] = "INSERT INTO damaged(found_ms, origin, " RECORD_COLUMNS ")"
                           " VALUES(?, 'record', ?, ?, ?, ?, ?)",
};

struct db {
    sqlite3 *handle; /* NULL: not open */
    sqlite3_stmt *statements[STATEMENTS];
};

/* ---- what the store is made of --------------------------------------------- */

/* Something for the loop. */
struct answer {
    struct answer *next;
    struct bridge_event event;
    struct bridge_message *messages; /* FETCHED */
    uint8_t *bytes;                  /* their topics and payloads */
};

struct store {
    char path[PATH_BYTES];
    char path_wal[PATH_BYTES];
    uint32_t lazy_ms;
    uint64_t max_bytes;
    int lock_fd;
    int event_fd;
    pthread_t thread;

    /* Of the loop. */
    struct answer *current; /* what the last event points to */
    uint64_t handed;        /* the highest ticket handed over */
    bool replayed;

    /* Of the thread; before its first batch, of the caller of store_open() and
     * store_replay(). */
    struct db db;
    uint64_t next_ticket;    /* as found in the file, or one more than was ever handed over */
    uint64_t reserved;       /* next_seq in the file */
    uint32_t pages_stores;   /* max_page_count for transactions with STOREs; 0: no limit */
    uint32_t pages_others;   /* and for others */
    uint32_t pages_now;      /* as told to SQLite */
    struct store_box keeper; /* what the disk has refused */
    struct store_batch kept;
    bool kept_fetch; /* FETCHes are among it */
    bool reopen;     /* the handle may be the reason */
    bool full;       /* STOREs were refused for want of room */
    uint64_t retry_at_ms;
    uint32_t retry_ms; /* the wait before that; 0: the last attempt succeeded */
    uint64_t failing_since_ms;
    uint64_t reported;        /* the highest ticket in an event */
    uint64_t damaged_in_turn; /* rows moved in the transaction that is open */
    uint64_t written_in_turn;

    /* Shared. */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop;
    bool sleeping;           /* the thread waits for `wake` */
    struct store_box box;    /* the memory of turn, ready and what is being committed */
    struct store_batch turn; /* not flushed yet */
    bool turn_urgent;        /* it holds something that is not lazy */
    bool turn_joins;         /* it has changed an operation in the last of ready */
    struct {                 /* flushed, not begun; the first is next */
        struct store_batch *first;
        struct store_batch *last;
        bool urgent;     /* the last one may not wait */
        uint64_t due_ms; /* until then it may */
    } ready;
    struct store_batch *spare; /* headers */
    uint64_t waiting_bytes;    /* of ready and of what is being committed */
    struct answer *answers;
    struct answer *answers_last;
    bool signalled; /* event_fd is readable */
    char reports[REPORTS_MAX][REPORT_BYTES];
    uint32_t report_first;
    uint32_t report_count;
    struct store_figures figures;
};

static uint64_t now_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void *grab(void *old, size_t size)
{
    void *memory = realloc(old, size);
    if (memory == NULL)
        abort();
    return memory;
}

/* With the mutex held. */
static void signal_loop(struct store *s)
{
    const uint64_t one = 1;
    if (!s->signalled)
        s->signalled = write(s->event_fd, &one, sizeof one) == sizeof one;
}

__attribute__((format(printf, 2, 3))) static void report(struct store *s, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    pthread_mutex_lock(&s->mutex);
    if (s->report_count == REPORTS_MAX) {
        s->report_first = (s->report_first + 1) % REPORTS_MAX;
        s->report_count--;
    }
    vsnprintf(s->reports[(s->report_first + s->report_count) % REPORTS_MAX], REPORT_BYTES, format,
              list);
    s->report_count++;
    signal_loop(s);
    pthread_mutex_unlock(&s->mutex);
    va_end(list);
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
        .topic = column_bytes(st, 9),
        .payload = column_bytes(st, 10),
    };
    return crc_of_message(m) == column(st, 11);
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
    bind_text(st, 10, m->topic);
    bind_bytes(st, 11, m->payload);
    bind_number(st, 12, crc_of_message(m));
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
    if (rc == SQLITE_OK && session != BRIDGE_QUEUE_BROKER) {
        st = db->statements[DELETE_QUEUE];
        bind_number(st, 1, session);
        rc = run(st);
    }
    return rc;
}

/* Moves a row to `damaged`, within a transaction. A row that a scan met but its
 * own key does not find stands in the wrong place: then the file is damaged,
 * not only the row. */
static int move_damaged_message(struct store *s, uint32_t queue, uint64_t seq)
{
    sqlite3_stmt *st = s->db.statements[KEEP_DAMAGED_MESSAGE];
    bind_number(st, 1, now_ms(CLOCK_REALTIME));
    bind_number(st, 2, queue);
    bind_number(st, 3, seq);

    int rc = run(st);
    if (rc == SQLITE_OK && sqlite3_changes(s->db.handle) == 0)
        rc = SQLITE_CORRUPT;
    if (rc == SQLITE_OK)
        rc = delete_message(&s->db, queue, seq);
    s->damaged_in_turn += rc == SQLITE_OK;
    return rc;
}

static int move_damaged_record(struct store *s, const struct bridge_record *r)
{
    sqlite3_stmt *st = s->db.statements[KEEP_DAMAGED_RECORD];
    bind_number(st, 1, now_ms(CLOCK_REALTIME));
    bind_number(st, 2, r->session);
    bind_number(st, 3, (uint64_t)r->kind);
    bind_number(st, 4, r->key);

    int rc = run(st);
    if (rc == SQLITE_OK && sqlite3_changes(s->db.handle) == 0)
        rc = SQLITE_CORRUPT;
    if (rc == SQLITE_OK)
        rc = delete_record(&s->db, r);
    s->damaged_in_turn += rc == SQLITE_OK;
    return rc;
}

static int set_flags(struct store *s, uint32_t queue, uint64_t seq, uint8_t flags)
{
    sqlite3_stmt *st = s->db.statements[GET_MESSAGE];
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

    st = s->db.statements[SET_FLAGS];
    bind_number(st, 1, m.flags);
    bind_number(st, 2, crc);
    bind_number(st, 3, queue);
    bind_number(st, 4, seq);
    return run(st);
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
        rc = put_meta(db, "created_ms", now_ms(CLOCK_REALTIME));
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

    const int rc = number(&s->db, "PRAGMA page_size", &page);
    if (rc != SQLITE_OK)
        return rc;
    s->pages_stores = 0;
    s->pages_others = 0;
    s->pages_now = 0;
    if (s->max_bytes > 0) {
        if (wal > s->max_bytes / 4)
            wal = s->max_bytes / 4;
        const uint64_t pages = (s->max_bytes - wal) / page;
        const uint64_t reserve = pages / 8 < 1024 ? pages / 8 : 1024;
        s->pages_others = pages < UINT32_MAX - 1 ? (uint32_t)pages : UINT32_MAX - 1;
        s->pages_stores = s->pages_others - (uint32_t)reserve;
    }
    snprintf(text, sizeof text,
             "PRAGMA wal_autocheckpoint = %" PRIu64 "; PRAGMA journal_size_limit = %" PRIu64,
             wal / page, wal);
    return exec(&s->db, text);
}

/* SQLite counts the pages for us; the pragma is only spoken when it changes. */
static int set_page_limit(struct store *s, uint32_t pages)
{
    char text[64];
    if (pages == s->pages_now)
        return SQLITE_OK;
    snprintf(text, sizeof text, "PRAGMA max_page_count = %" PRIu32, pages);
    const int rc = exec(&s->db, text);
    if (rc == SQLITE_OK)
        s->pages_now = pages;
    return rc;
}

/* A file that an outage has blown up and that is nearly empty again is
 * rewritten; below that its free pages are used again. Failing is no harm. */
static void shrink(struct store *s)
{
    uint64_t pages = 0;
    uint64_t unused = 0;

    if (number(&s->db, "PRAGMA page_count", &pages) == SQLITE_OK &&
        number(&s->db, "PRAGMA freelist_count", &unused) == SQLITE_OK && pages > SHRINK_PAGES &&
        unused > pages / 4 * 3) {
        exec(&s->db, "VACUUM");
        exec(&s->db, "PRAGMA wal_checkpoint(TRUNCATE)");
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

    bind_number(st, 1, now_ms(CLOCK_REALTIME));
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

static const struct table tables[] = {
    {"SELECT " RECORD_COLUMNS " FROM record WHERE (session, kind, key) >= (?, ?, ?)"
     " ORDER BY session, kind, key",
     copy_record, true},
    {"SELECT " MESSAGE_COLUMNS " FROM message WHERE (queue, seq) >= (?, ?) ORDER BY queue, seq",
     copy_message, false},
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
    const uint64_t by_time = now_ms(CLOCK_REALTIME) * 1000;
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

static void beside(const struct store *s, const char *suffix, char out[PATH_BYTES])
{
    const size_t len = strlen(s->path);
    const size_t more = strlen(suffix) + 1;
    assert(len + more <= PATH_BYTES);
    memcpy(out, s->path, len);
    memcpy(out + len, suffix, more);
}

static void sync_folder(const struct store *s)
{
    char folder[PATH_BYTES];
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
    char from[PATH_BYTES];
    char tail[SUFFIX_BYTES];
    char to[PATH_BYTES];

    beside(s, suffix, from);
    snprintf(tail, sizeof tail, "%s%s", name, suffix);
    beside(s, tail, to);
    return rename(from, to) == 0 || errno == ENOENT;
}

static void free_name(const struct store *s, char name[48])
{
    char path[PATH_BYTES];
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
    char path[PATH_BYTES];
    beside(s, suffix, path);
    unlink(path);
}

/* Puts FILE.new in the place of FILE. FILE goes first and FILE.new last, so
 * that after a crash in between FILE is missing and FILE.new is complete: see
 * finish_recovery(). */
static bool replace(const struct store *s, const char *name)
{
    char fresh[PATH_BYTES];

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
    char fresh[PATH_BYTES];
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
    char fresh[PATH_BYTES];
    char name[48];
    struct db from = {0};
    struct db to = {0};

    if (s->db.handle != NULL)
        sqlite3_db_config(s->db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    db_close(&s->db);
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
    fault = db_open(s->path, false, &s->db, why, why_size);
    if (fault == STORE_OK && set_limits(s) != SQLITE_OK)
        fault = db_fault(&s->db, s->path, SQLITE_ERROR, why, why_size);
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
    char why[REPORT_BYTES];
    char cause[160];

    snprintf(cause, sizeof cause, "%s",
             s->db.handle != NULL ? sqlite3_errmsg(s->db.handle) : "cannot be opened");
    const enum store_fault fault = recover(s, cause, why, sizeof why);
    report(s, "%s", why);
    return fault == STORE_OK;
}

/* ---- answers to the loop --------------------------------------------------- */

static void free_answer(struct answer *a)
{
    if (a != NULL) {
        free(a->messages);
        free(a->bytes);
        free(a);
    }
}

static void push(struct store *s, struct answer *a)
{
    a->next = NULL;
    pthread_mutex_lock(&s->mutex);
    if (s->answers == NULL)
        s->answers = a;
    else
        s->answers_last->next = a;
    s->answers_last = a;
    signal_loop(s);
    pthread_mutex_unlock(&s->mutex);
}

/* A STORED that still waits for the loop is moved on instead of followed. */
static void push_ticket(struct store *s, enum bridge_event_type type, uint64_t ticket)
{
    bool joined = false;

    if (ticket < s->reported)
        ticket = s->reported;
    s->reported = ticket;
    pthread_mutex_lock(&s->mutex);
    if (s->answers != NULL && s->answers_last->event.type == type) {
        s->answers_last->event.stored.ticket = ticket;
        joined = true;
    }
    pthread_mutex_unlock(&s->mutex);
    if (!joined) {
        struct answer *a = grab(NULL, sizeof *a);
        *a = (struct answer){.event = {.type = type, .stored = {.ticket = ticket}}};
        push(s, a);
    }
}

/* ---- FETCH ----------------------------------------------------------------- */

/* Applies what the disk has refused so far to a row that was read. */
static bool is_hidden(const struct store *s, struct bridge_message *m)
{
    if (s->kept.first == NULL)
        return false;
    if (m->queue != BRIDGE_QUEUE_BROKER &&
        store_box_find_record(&s->keeper, m->queue, (enum bridge_record_kind)0, 0) != NULL)
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
    uint64_t *damaged; /* seqs */
    size_t damaged_count;
};

static void harvest_message(struct harvest *h, const struct bridge_message *m)
{
    const size_t more = m->topic.len + m->payload.len;

    if (h->count == h->room) {
        h->room = h->room == 0 ? 64 : 2 * h->room;
        h->messages = grab(h->messages, h->room * sizeof *h->messages);
    }
    if (h->size + more > h->bytes_room) {
        h->bytes_room = 2 * h->bytes_room + more + 4096;
        h->bytes = grab(h->bytes, h->bytes_room);
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

static void harvest_damaged(struct harvest *h, uint64_t seq)
{
    h->damaged = grab(h->damaged, (h->damaged_count + 1) * sizeof *h->damaged);
    h->damaged[h->damaged_count++] = seq;
}

/* Reads up to the limits, and one row further to know whether that is all. */
static int collect(struct store *s, const struct store_op *op, struct harvest *h, bool *end)
{
    const uint32_t count =
        op->fetch.count < STORE_FETCH_COUNT ? op->fetch.count : STORE_FETCH_COUNT;
    const uint64_t from = op->fetch.from < INT64_MAX ? op->fetch.from : INT64_MAX;
    sqlite3_stmt *st = s->db.statements[FETCH];
    int rc;

    if (s->db.handle == NULL)
        return SQLITE_CANTOPEN;
    bind_number(st, 1, op->fetch.queue);
    bind_number(st, 2, from);
    bind_number(st, 3, op->ticket);
    *end = true;
    while ((rc = query(st)) == SQLITE_ROW) {
        struct bridge_message m;
        if (!read_message(st, &m)) {
            harvest_damaged(h, column(st, 1));
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
    const uint64_t count = s->damaged_in_turn;

    s->damaged_in_turn = 0;
    if (count == 0)
        return;
    pthread_mutex_lock(&s->mutex);
    s->figures.damaged += count;
    pthread_mutex_unlock(&s->mutex);
    report(s, "%s: %" PRIu64 " damaged rows moved from %s to the table damaged", s->path, count,
           where);
}

static int end_transaction(struct store *s, int rc)
{
    if (rc == SQLITE_OK)
        rc = run(s->db.statements[COMMIT]);
    if (rc != SQLITE_OK && sqlite3_get_autocommit(s->db.handle) == 0)
        run(s->db.statements[ROLLBACK]);
    if (rc != SQLITE_OK)
        s->damaged_in_turn = 0;
    return rc;
}

/* Rows that cannot be moved now are met, and left out, again next time. */
static int move_harvest(struct store *s, uint32_t queue, const struct harvest *h)
{
    if (h->damaged_count == 0)
        return SQLITE_OK;

    int rc = set_page_limit(s, s->pages_others);
    if (rc == SQLITE_OK)
        rc = run(s->db.statements[BEGIN]);
    for (size_t i = 0; rc == SQLITE_OK && i < h->damaged_count; i++)
        rc = move_damaged_message(s, queue, h->damaged[i]);
    rc = end_transaction(s, rc);
    count_damaged(s, "message");
    return rc;
}

static int fetch(struct store *s, const struct store_op *op)
{
    struct harvest h = {0};
    bool end = false;
    int rc = collect(s, op, &h, &end);

    if (is_damage(rc) && recover_now(s)) {
        h.count = h.size = h.damaged_count = 0;
        rc = collect(s, op, &h, &end);
    }
    if (rc == SQLITE_OK) {
        struct answer *a = grab(NULL, sizeof *a);
        if (is_damage(move_harvest(s, op->fetch.queue, &h)))
            recover_now(s);
        point_to_bytes(&h);
        *a = (struct answer){
            .event = {.type = BRIDGE_ON_FETCHED,
                      .fetched = {.queue = op->fetch.queue,
                                  .messages = h.messages,
                                  .count = h.count,
                                  .end = end}},
            .messages = h.messages,
            .bytes = h.bytes,
        };
        push(s, a);
    } else {
        free(h.messages);
        free(h.bytes);
    }
    free(h.damaged);
    return rc;
}

/* ---- transactions ---------------------------------------------------------- */

static int apply(struct store *s, const struct store_op *op, bool with_stores)
{
    if (op->dead)
        return SQLITE_OK;
    switch (op->type) {
    case BRIDGE_DO_STORE:
        if (op->refused || !with_stores)
            return SQLITE_OK;
        s->written_in_turn++;
        return put_message(&s->db, &op->message);
    case BRIDGE_DO_MARK:
        s->written_in_turn++;
        return set_flags(s, op->row.queue, op->row.seq, op->row.flags);
    case BRIDGE_DO_FORGET:
        return delete_message(&s->db, op->row.queue, op->row.seq);
    case BRIDGE_DO_SAVE:
        s->written_in_turn++;
        return put_record(&s->db, &op->record);
    case BRIDGE_DO_ERASE:
        return op->record.kind == 0 ? delete_session(&s->db, op->record.session)
                                    : delete_record(&s->db, &op->record);
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

static bool changes_something(const struct store_batch *b)
{
    for (const struct store_op *op = b->first; op != NULL; op = op->next)
        if (!op->dead && !op->refused && op->type != BRIDGE_DO_FETCH)
            return true;
    return false;
}

static bool has_stores(const struct store_batch *b)
{
    for (const struct store_op *op = b->first; op != NULL; op = op->next)
        if (op->type == BRIDGE_DO_STORE && !op->dead && !op->refused)
            return true;
    return false;
}

/* next_seq is moved ahead long before the tickets get there. */
static int reserve(struct store *s, uint64_t ticket, uint64_t *reserved)
{
    *reserved = s->reserved;
    if (ticket + TICKETS_AHEAD / 2 < s->reserved)
        return SQLITE_OK;
    *reserved = (ticket > s->next_ticket ? ticket : s->next_ticket) + TICKETS_AHEAD;
    return put_meta(&s->db, "next_seq", *reserved);
}

static int attempt(struct store *s, const struct store_batch *batch, bool with_stores)
{
    const uint64_t started_us = now_us();
    const uint64_t last =
        batch->last_ticket > s->kept.last_ticket ? batch->last_ticket : s->kept.last_ticket;
    uint64_t reserved = 0;

    s->written_in_turn = 0;
    int rc =
        set_page_limit(s, with_stores && has_stores(batch) ? s->pages_stores : s->pages_others);
    if (rc == SQLITE_OK)
        rc = run(s->db.statements[BEGIN]);
    for (const struct store_op *op = s->kept.first; rc == SQLITE_OK && op != NULL; op = op->next)
        rc = apply(s, op, false);
    for (const struct store_op *op = batch->first; rc == SQLITE_OK && op != NULL; op = op->next)
        rc = apply(s, op, with_stores);
    if (rc == SQLITE_OK)
        rc = reserve(s, last, &reserved);
    rc = end_transaction(s, rc);
    if (rc != SQLITE_OK)
        return rc;

    const uint64_t took_us = now_us() - started_us;
    s->reserved = reserved;
    pthread_mutex_lock(&s->mutex);
    s->figures.commits++;
    s->figures.written += s->written_in_turn;
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
    char why[REPORT_BYTES];

    if (s->db.handle != NULL)
        sqlite3_db_config(s->db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    db_close(&s->db);
    const enum store_fault fault = db_open(s->path, false, &s->db, why, sizeof why);
    if (fault == STORE_DAMAGED)
        return SQLITE_CORRUPT;
    if (fault != STORE_OK)
        return SQLITE_CANTOPEN;
    s->reopen = false;
    return set_limits(s);
}

static int transact(struct store *s, const struct store_batch *batch, bool with_stores)
{
    int rc = s->reopen ? reopen(s) : SQLITE_OK;

    if (rc == SQLITE_OK && (changes_something(&s->kept) || changes_something(batch)))
        rc = attempt(s, batch, with_stores);
    if (is_damage(rc)) {
        rc = recover_now(s) ? attempt(s, batch, with_stores) : rc;
        s->reopen = s->db.handle == NULL;
    }
    return rc;
}

/* ---- when the disk refuses ------------------------------------------------- */

static void note_failure(struct store *s, int rc)
{
    if (s->retry_ms == 0) {
        s->failing_since_ms = now_ms(CLOCK_MONOTONIC);
        report(s, "%s: the disk refuses: %s (SQLite %d); new messages are refused meanwhile",
               s->path, sqlite3_errstr(rc), rc);
    }
    s->retry_ms = s->retry_ms == 0 ? RETRY_MIN_MS : 2 * s->retry_ms;
    if (s->retry_ms > RETRY_MAX_MS)
        s->retry_ms = RETRY_MAX_MS;
    s->retry_at_ms = now_ms(CLOCK_MONOTONIC) + s->retry_ms;
    if (primary(rc) != SQLITE_FULL && primary(rc) != SQLITE_BUSY)
        s->reopen = true;
    pthread_mutex_lock(&s->mutex);
    s->figures.failures++;
    pthread_mutex_unlock(&s->mutex);
}

static void note_success(struct store *s)
{
    report(s, "%s: the disk works again after %" PRIu64 " ms", s->path,
           now_ms(CLOCK_MONOTONIC) - s->failing_since_ms);
    s->retry_ms = 0;
}

static void note_room(struct store *s, bool full)
{
    if (full != s->full)
        report(s, full ? "%s: full, new messages are refused" : "%s: has room again", s->path);
    s->full = full;
    if (full) {
        pthread_mutex_lock(&s->mutex);
        s->figures.failures++;
        pthread_mutex_unlock(&s->mutex);
    }
}

/* Leaves behind the operations that later ones have taken over. */
static void compact_kept(struct store *s)
{
    struct store_box box = {0};
    struct store_batch kept = {0};

    for (const struct store_op *op = s->kept.first; op != NULL; op = op->next)
        if (!op->dead)
            store_box_add(&box, &kept, op);
    kept.last_ticket = s->kept.last_ticket;
    store_box_free(&s->keeper);
    s->keeper = box;
    s->kept = kept;
}

static void keep(struct store *s, const struct store_op *op)
{
    store_box_add(&s->keeper, &s->kept, op);
    s->kept_fetch = s->kept_fetch || op->type == BRIDGE_DO_FETCH;
    if (s->keeper.dead > s->kept.count / 2 + 1024)
        compact_kept(s);
}

/* Answers keep their order: once one has to wait, all later ones do. */
static void answer_fetch(struct store *s, const struct store_op *op)
{
    int rc = SQLITE_OK;

    if (!s->kept_fetch)
        rc = fetch(s, op);
    if (rc != SQLITE_OK)
        note_failure(s, rc);
    if (rc != SQLITE_OK || s->kept_fetch)
        keep(s, op);
}

static void count_refused(struct store *s, uint64_t count)
{
    if (count == 0)
        return;
    pthread_mutex_lock(&s->mutex);
    s->figures.refused += count;
    pthread_mutex_unlock(&s->mutex);
}

/* A transaction that failed when it was synced may lie complete in the WAL, and
 * would be found there after a restart or when the file is opened anew. So the
 * messages that were tried are also forgotten, like any other. */
static void refuse(struct store *s, const struct store_batch *batch, bool tried)
{
    uint64_t last = 0;
    uint64_t refused = 0;

    for (const struct store_op *op = batch->first; op != NULL; op = op->next) {
        if (op->dead)
            continue;
        if (op->type == BRIDGE_DO_STORE) {
            last = op->ticket;
            refused++;
            if (tried && !op->refused)
                keep(s, &(struct store_op){.type = BRIDGE_DO_FORGET,
                                           .ticket = op->ticket,
                                           .row = {op->message.queue, op->message.seq, 0}});
        } else if (op->type == BRIDGE_DO_FETCH) {
            answer_fetch(s, op);
        } else {
            keep(s, op);
        }
    }
    if (batch->last_ticket > s->kept.last_ticket)
        s->kept.last_ticket = batch->last_ticket;
    count_refused(s, refused);
    if (refused > 0)
        push_ticket(s, BRIDGE_ON_STORE_FAILED, last);
}

static bool is_refused(const struct store_op *op, bool with_stores)
{
    return op->type == BRIDGE_DO_STORE && !op->dead && (op->refused || !with_stores);
}

/* Reports the tickets of a batch that was committed with or without its STOREs:
 * one event for each run of the same outcome. */
static void report_batch(struct store *s, const struct store_batch *batch, bool with_stores)
{
    enum bridge_event_type outcome = BRIDGE_ON_STORED;
    uint64_t ticket = 0;
    uint64_t refused = 0;

    for (const struct store_op *op = batch->first; op != NULL; op = op->next)
        refused += is_refused(op, with_stores);
    count_refused(s, refused);
    for (const struct store_op *op = batch->first; refused > 0 && op != NULL; op = op->next) {
        if (op->dead || op->type == BRIDGE_DO_FETCH)
            continue;
        const enum bridge_event_type now =
            is_refused(op, with_stores) ? BRIDGE_ON_STORE_FAILED : BRIDGE_ON_STORED;
        if (now != outcome && ticket != 0)
            push_ticket(s, outcome, ticket);
        outcome = now;
        ticket = op->ticket;
    }
    if (outcome == BRIDGE_ON_STORE_FAILED)
        push_ticket(s, outcome, ticket);
    if (batch->last_ticket > s->reported)
        push_ticket(s, BRIDGE_ON_STORED, batch->last_ticket);
}

static void conclude(struct store *s, const struct store_batch *batch, bool with_stores)
{
    struct store_box keeper = s->keeper;
    const struct store_batch kept = s->kept;
    const bool was_keeping = kept.first != NULL || kept.last_ticket != 0;

    if (was_keeping) {
        s->keeper = (struct store_box){0};
        s->kept = (struct store_batch){0};
        s->kept_fetch = false;
        if (kept.last_ticket != 0)
            push_ticket(s, BRIDGE_ON_STORED, kept.last_ticket);
    }
    report_batch(s, batch, with_stores);
    for (const struct store_op *op = kept.first; op != NULL; op = op->next)
        if (op->type == BRIDGE_DO_FETCH)
            answer_fetch(s, op);
    for (const struct store_op *op = batch->first; op != NULL; op = op->next)
        if (op->type == BRIDGE_DO_FETCH)
            answer_fetch(s, op);
    if (was_keeping)
        store_box_free(&keeper);
}

/* One batch, or only another attempt at what was kept. */
static void work(struct store *s, const struct store_batch *batch, bool now_or_never)
{
    bool with_stores = true;

    if (s->retry_ms != 0 && !now_or_never && now_ms(CLOCK_MONOTONIC) < s->retry_at_ms) {
        refuse(s, batch, false);
        return;
    }
    const bool touched = s->kept.first != NULL || changes_something(batch);
    int rc = transact(s, batch, with_stores);
    if (primary(rc) == SQLITE_FULL && has_stores(batch)) {
        with_stores = false;
        rc = transact(s, batch, with_stores);
    }
    if (rc != SQLITE_OK) {
        note_failure(s, rc);
        refuse(s, batch, true);
        return;
    }
    if (has_stores(batch))
        note_room(s, !with_stores);
    conclude(s, batch, with_stores);
    if (s->retry_ms != 0 && s->kept.first == NULL && touched)
        note_success(s);
}

/* ---- the thread ------------------------------------------------------------ */

static bool may_begin(const struct store *s, uint64_t now)
{
    const struct store_batch *first = s->ready.first;

    if (first == NULL)
        return false;
    if (first != s->ready.last)
        return true;
    /* A turn that is not over has cancelled something in it: they belong together. */
    if (s->turn_joins)
        return false;
    return s->ready.urgent || s->stop || first->bytes >= STORE_BATCH_BYTES ||
           now >= s->ready.due_ms;
}

/* Nothing handed over so far, but for the turn that is not over, may be changed
 * by what is handed over from now on. */
static void close_door(struct store *s)
{
    s->box.floor = s->turn.first_ticket != 0 ? s->turn.first_ticket : s->handed + 1;
}

static struct store_batch *pop_ready(struct store *s)
{
    struct store_batch *batch = s->ready.first;

    s->ready.first = batch->next;
    if (s->ready.first == NULL) {
        s->ready.last = NULL;
        close_door(s);
    }
    return batch;
}

static void finish(struct store *s, struct store_batch *batch)
{
    const bool idle = s->ready.first == NULL && s->turn.first == NULL;

    store_box_release(&s->box, idle ? NULL : batch);
    s->waiting_bytes -= batch->bytes;
    batch->next = s->spare;
    s->spare = batch;
}

static void sleep_until(struct store *s, uint64_t due_ms)
{
    s->sleeping = true;
    if (due_ms == BRIDGE_NEVER) {
        pthread_cond_wait(&s->wake, &s->mutex);
    } else {
        const struct timespec due = {.tv_sec = (time_t)(due_ms / 1000),
                                     .tv_nsec = (long)(due_ms % 1000) * 1000000};
        pthread_cond_timedwait(&s->wake, &s->mutex, &due);
    }
    s->sleeping = false;
}

static void *serve(void *arg)
{
    static const struct store_batch nothing = {0};
    struct store *s = arg;

    pthread_mutex_lock(&s->mutex);
    for (;;) {
        const uint64_t now = now_ms(CLOCK_MONOTONIC);
        const bool owing = s->kept.first != NULL || s->kept.last_ticket > s->reported;

        if (may_begin(s, now)) {
            struct store_batch *batch = pop_ready(s);
            const bool last = s->stop && s->ready.first == NULL;
            pthread_mutex_unlock(&s->mutex);
            work(s, batch, last);
            pthread_mutex_lock(&s->mutex);
            finish(s, batch);
        } else if (owing && (s->stop || now >= s->retry_at_ms)) {
            pthread_mutex_unlock(&s->mutex);
            work(s, &nothing, true);
            pthread_mutex_lock(&s->mutex);
            if (s->stop)
                break;
        } else if (s->stop) {
            break;
        } else {
            uint64_t due = owing ? s->retry_at_ms : BRIDGE_NEVER;
            if (s->ready.first != NULL && !s->turn_joins && s->ready.due_ms < due)
                due = s->ready.due_ms;
            sleep_until(s, due);
        }
        s->figures.kept = (uint32_t)(s->kept.count - s->keeper.dead);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* ---- the loop's side ------------------------------------------------------- */

static bool to_op(const struct bridge_action *a, uint64_t handed, struct store_op *op)
{
    *op = (struct store_op){.type = a->type};
    switch (a->type) {
    case BRIDGE_DO_STORE:
        op->ticket = a->store.message.seq;
        op->message = a->store.message;
        return true;
    case BRIDGE_DO_MARK:
    case BRIDGE_DO_FORGET:
        op->ticket = a->row.ticket;
        op->row.queue = a->row.queue;
        op->row.seq = a->row.seq;
        op->row.flags = a->row.flags;
        return true;
    case BRIDGE_DO_SAVE:
    case BRIDGE_DO_ERASE:
        op->ticket = a->record.ticket;
        op->record = a->record.record;
        return true;
    case BRIDGE_DO_FETCH:
        op->ticket = handed;
        op->fetch.queue = a->fetch.queue;
        op->fetch.from = a->fetch.from;
        op->fetch.count = a->fetch.count;
        return true;
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
    return false;
}

void store_put(struct store *s, const struct bridge_action *action)
{
    struct store_op op;

    if (!to_op(action, s->handed, &op))
        return;
    pthread_mutex_lock(&s->mutex);
    if (op.type != BRIDGE_DO_FETCH) {
        assert(op.ticket > s->handed && op.ticket < INT64_MAX);
        s->handed = op.ticket;
    }
    if (op.type == BRIDGE_DO_STORE && s->waiting_bytes + s->turn.bytes > STORE_WAITING_BYTES) {
        op.refused = true;
        op.message.topic = op.message.payload = (struct sn_bytes){0};
    }
    const struct store_added added = store_box_add(&s->box, &s->turn, &op);
    if (added.touched != 0 && added.touched < s->turn.first_ticket)
        s->turn_joins = true;
    s->figures.avoided += added.avoided;
    s->turn_urgent = s->turn_urgent || !action->lazy || op.type == BRIDGE_DO_FETCH;
    pthread_mutex_unlock(&s->mutex);
}

static struct store_batch *new_batch(struct store *s)
{
    struct store_batch *batch = s->spare;

    if (batch != NULL)
        s->spare = batch->next;
    else
        batch = grab(NULL, sizeof *batch);
    *batch = (struct store_batch){0};
    return batch;
}

void store_flush(struct store *s)
{
    pthread_mutex_lock(&s->mutex);
    if (s->turn.first == NULL && s->turn.last_ticket == 0) {
        pthread_mutex_unlock(&s->mutex);
        return;
    }
    struct store_batch *last = s->ready.last;
    bool wake = s->turn_urgent;
    if (last == NULL || (last->bytes >= STORE_BATCH_BYTES && !s->turn_joins)) {
        struct store_batch *batch = new_batch(s);
        if (last == NULL)
            s->ready.first = batch;
        else
            last->next = batch;
        s->ready.last = last = batch;
        s->ready.urgent = false;
        s->ready.due_ms = now_ms(CLOCK_MONOTONIC) + s->lazy_ms;
        wake = true;
        close_door(s);
    }
    s->waiting_bytes += s->turn.bytes;
    store_batch_append(last, &s->turn);
    s->ready.urgent = s->ready.urgent || s->turn_urgent;
    wake = wake || last->bytes >= STORE_BATCH_BYTES || s->turn_joins;
    s->turn_urgent = false;
    s->turn_joins = false;
    if (wake && s->sleeping)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

int store_fd(const struct store *s)
{
    return s->event_fd;
}

bool store_next_event(struct store *s, struct bridge_event *event)
{
    free_answer(s->current);
    pthread_mutex_lock(&s->mutex);
    s->current = s->answers;
    if (s->current != NULL) {
        s->answers = s->current->next;
    } else if (s->signalled) {
        uint64_t count;
        s->signalled = read(s->event_fd, &count, sizeof count) != sizeof count;
    }
    pthread_mutex_unlock(&s->mutex);
    if (s->current == NULL)
        return false;
    *event = s->current->event;
    return true;
}

bool store_next_report(struct store *s, char *line, size_t size)
{
    pthread_mutex_lock(&s->mutex);
    const bool found = s->report_count > 0;
    if (found) {
        snprintf(line, size, "%s", s->reports[s->report_first]);
        s->report_first = (s->report_first + 1) % REPORTS_MAX;
        s->report_count--;
    }
    pthread_mutex_unlock(&s->mutex);
    return found;
}

static uint64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void store_figures(struct store *s, struct store_figures *out)
{
    pthread_mutex_lock(&s->mutex);
    *out = s->figures;
    out->waiting_bytes = s->waiting_bytes + s->turn.bytes;
    pthread_mutex_unlock(&s->mutex);
    out->file_bytes = file_size(s->path) + file_size(s->path_wal);
}

/* ---- replay ---------------------------------------------------------------- */

struct replay {
    struct store *store;
    store_record_fn *fn;
    void *ctx;
    struct key at;                 /* the last record given */
    int64_t queue;                 /* the last queue given; -1: none */
    int64_t open;                  /* the last exchange given; -1: none */
    struct bridge_record *records; /* damaged ones, without value */
    size_t record_count;
    struct harvest messages; /* damaged ones of queue 0 */
};

static int replay_records(struct replay *r)
{
    sqlite3_stmt *st = r->store->db.statements[ALL_RECORDS];
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
            r->records = grab(r->records, (r->record_count + 1) * sizeof *r->records);
            r->records[r->record_count] = event.record;
            r->records[r->record_count++].value = (struct sn_bytes){0};
        }
    }
    sqlite3_reset(st);
    return rc;
}

static int replay_queues(struct replay *r)
{
    sqlite3_stmt *st = r->store->db.statements[ALL_QUEUES];
    int rc;

    sqlite3_bind_int64(st, 1, r->queue);
    while ((rc = query(st)) == SQLITE_ROW) {
        const struct bridge_event event = {.type = BRIDGE_ON_QUEUE,
                                           .queue = {.queue = (uint32_t)column(st, 0),
                                                     .first = column(st, 1),
                                                     .last = column(st, 2),
                                                     .count = column(st, 3),
                                                     .bytes = column(st, 4)}};
        r->queue = sqlite3_column_int64(st, 0);
        r->fn(r->ctx, &event);
    }
    sqlite3_reset(st);
    return rc;
}

static int replay_open(struct replay *r)
{
    sqlite3_stmt *st = r->store->db.statements[ALL_OPEN];
    int rc;

    sqlite3_bind_int64(st, 1, r->open);
    while ((rc = query(st)) == SQLITE_ROW) {
        struct bridge_message m;
        if (!read_message(st, &m)) {
            harvest_damaged(&r->messages, column(st, 1));
            continue;
        }
        const struct bridge_event event = {
            .type = BRIDGE_ON_OPEN,
            .open = {.seq = m.seq, .session = m.session, .mid = m.mid, .flags = m.flags}};
        r->open = (int64_t)m.seq;
        r->fn(r->ctx, &event);
    }
    sqlite3_reset(st);
    return rc;
}

static int move_replayed(struct replay *r)
{
    struct store *s = r->store;
    int rc = SQLITE_OK;

    if (r->record_count > 0) {
        rc = set_page_limit(s, s->pages_others);
        if (rc == SQLITE_OK)
            rc = run(s->db.statements[BEGIN]);
        for (size_t i = 0; rc == SQLITE_OK && i < r->record_count; i++)
            rc = move_damaged_record(s, &r->records[i]);
        rc = end_transaction(s, rc);
        count_damaged(s, "record");
    }
    if (rc == SQLITE_OK)
        rc = move_harvest(s, BRIDGE_QUEUE_BROKER, &r->messages);
    return rc;
}

/* Each part remembers how far it came, and goes on from there in the fresh file
 * when the old one turns out to be damaged in the middle of it. A part of the
 * disk that cannot be read at all is damage too: the bridge has to start. */
uint64_t store_replay(struct store *s, store_record_fn *fn, void *ctx)
{
    static int (*const parts[])(struct replay *) = {replay_records, replay_queues, replay_open,
                                                    move_replayed};
    struct replay r = {.store = s, .fn = fn, .ctx = ctx, .queue = -1, .open = -1};
    int recoveries = 0;

    assert(!s->replayed && s->handed + 1 == s->next_ticket);
    s->replayed = true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0];) {
        const int rc = parts[i](&r);
        const bool again = (is_damage(rc) || rc == SQLITE_IOERR_READ) &&
                           recoveries++ < REPLAY_ATTEMPTS && recover_now(s);
        if (rc != SQLITE_OK && !again)
            report(s, "%s: cannot be read as a whole: %s (SQLite %d)", s->path, sqlite3_errstr(rc),
                   rc);
        if (again)
            r.record_count = r.messages.damaged_count = 0;
        else
            i++;
    }
    s->reopen = s->db.handle == NULL;
    free(r.records);
    free(r.messages.damaged);
    return s->next_ticket;
}

/* ---- life ------------------------------------------------------------------ */

/* The lock lives on a file of its own, because the database file may be
 * replaced, and because SQLite's own locks vanish when any descriptor of the
 * database is closed. The kernel drops it with the process. */
static enum store_fault lock(const struct store *s, int *out, char *why, size_t why_size)
{
    char path[PATH_BYTES];
    char owner[32] = "";

    beside(s, ".lock", path);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return STORE_CANNOT_OPEN;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        const int error = errno;
        const ssize_t len = read(fd, owner, sizeof owner - 1);
        owner[len > 0 ? strcspn(owner, "\n") : 0] = '\0';
        close(fd);
        if (error != EWOULDBLOCK) {
            snprintf(why, why_size, "%s: %s", path, strerror(error));
            return STORE_CANNOT_OPEN;
        }
        snprintf(why, why_size, "%s: in use by another process%s%s", s->path,
                 owner[0] != '\0' ? ", " : "", owner);
        return STORE_LOCKED;
    }
    const int len = snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, owner, (size_t)len, 0) != len)
        (void)0; /* only a help for the reader of the message above */
    *out = fd;
    return STORE_OK;
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
    char cause[REPORT_BYTES];

    finish_recovery(s);
    save_stray_wal(s, why, why_size);
    enum store_fault fault = db_open(s->path, true, &s->db, cause, sizeof cause);
    if (fault == STORE_OK && set_limits(s) != SQLITE_OK)
        fault = db_fault(&s->db, s->path, SQLITE_CORRUPT, cause, sizeof cause);
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

    if (get_meta(&s->db, "next_seq", &s->next_ticket) != SQLITE_OK) {
        number(&s->db, "SELECT max(seq) FROM message", &highest);
        s->next_ticket = next_after_loss(highest);
    }
    s->handed = s->reported = s->next_ticket - 1;
    s->reserved = s->next_ticket;
    if (put_meta(&s->db, "next_seq", s->next_ticket + TICKETS_AHEAD) == SQLITE_OK)
        s->reserved = s->next_ticket + TICKETS_AHEAD;
}

static void free_store(struct store *s)
{
    store_box_free(&s->box);
    store_box_free(&s->keeper);
    while (s->spare != NULL) {
        struct store_batch *batch = s->spare;
        s->spare = batch->next;
        free(batch);
    }
    while (s->answers != NULL) {
        struct answer *a = s->answers;
        s->answers = a->next;
        free_answer(a);
    }
    free_answer(s->current);
    if (s->event_fd >= 0)
        close(s->event_fd);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

static int start_thread(struct store *s)
{
    sigset_t all;
    sigset_t before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&s->thread, NULL, serve, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

enum store_fault store_open(const struct store_options *o, struct store **out, char *why,
                            size_t why_size)
{
    pthread_condattr_t monotonic;

    why[0] = '\0';
    if (strlen(o->path) + SUFFIX_BYTES > PATH_BYTES) {
        snprintf(why, why_size, "%.200s...: the path is too long", o->path);
        return STORE_CANNOT_OPEN;
    }
    struct store *s = grab(NULL, sizeof *s);
    memset(s, 0, sizeof *s);
    snprintf(s->path, sizeof s->path, "%s", o->path);
    beside(s, "-wal", s->path_wal);
    s->lazy_ms = o->lazy_ms;
    s->max_bytes =
        o->max_bytes > 0 && o->max_bytes < STORE_MAX_BYTES_MIN ? STORE_MAX_BYTES_MIN : o->max_bytes;
    s->lock_fd = -1;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    enum store_fault fault = lock(s, &s->lock_fd, why, why_size);
    if (fault == STORE_OK)
        fault = open_file(s, why, why_size);
    if (fault == STORE_OK) {
        shrink(s);
        find_next_ticket(s);
        const int error = s->event_fd < 0 ? EMFILE : start_thread(s);
        if (error != 0) {
            snprintf(why, why_size, "%s: %s", o->path, strerror(error));
            db_close(&s->db);
            fault = STORE_CANNOT_OPEN;
        }
    }
    if (fault != STORE_OK) {
        free_store(s);
        return fault;
    }
    *out = s;
    return STORE_OK;
}

void store_close(struct store *s)
{
    store_flush(s);
    pthread_mutex_lock(&s->mutex);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);

    /* The numbers that were only reserved need not be skipped. */
    if (s->db.handle != NULL)
        put_meta(&s->db, "next_seq", s->handed + 1);
    db_close(&s->db);
    free_store(s);
}
