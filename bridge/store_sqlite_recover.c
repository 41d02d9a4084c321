#include "bridge/store_sqlite.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_BITS 95u /* of struct key: 32 + 63 */

/* ---- recovery -------------------------------------------------------------- */

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

    db_bind_number(st, 1, store_now_ms(CLOCK_REALTIME));
    for (int i = 0; i < sqlite3_column_count(from); i++)
        sqlite3_bind_value(st, i + 2, sqlite3_column_value(from, i));
    c->damaged++;
    const int rc = db_run(st);
    sqlite3_clear_bindings(st);
    return rc;
}

static int copy_message(struct copy *c, sqlite3_stmt *st, struct key *key)
{
    struct bridge_message m;
    if (!db_read_message(st, &m))
        return copy_damaged(c, st, PUT_DAMAGED_MESSAGE);
    *key = (struct key){m.queue, m.seq & INT64_MAX};
    c->rows++;
    if (m.seq > c->highest)
        c->highest = m.seq;
    return db_put_message(c->to, &m);
}

static int copy_record(struct copy *c, sqlite3_stmt *st, struct key *key)
{
    struct bridge_record r;
    if (!db_read_record(st, &r))
        return copy_damaged(c, st, PUT_DAMAGED_RECORD);
    *key = (struct key){r.session, (uint64_t)r.kind << 32 | r.key};
    c->rows++;
    return db_put_record(c->to, &r);
}

static int copy_flight(struct copy *c, sqlite3_stmt *st, struct key *key)
{
    struct store_flight f;
    if (!db_read_flight(st, &f))
        return copy_damaged(c, st, PUT_DAMAGED_FLIGHT);
    *key = (struct key){(uint32_t)f.kind, f.key & INT64_MAX};
    return db_put_flight(c->to, &f);
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
    db_bind_number(st, 1, key.high);
    db_bind_number(st, 2, t->pair ? key.low >> 32 : key.low);
    if (t->pair)
        db_bind_number(st, 3, key.low & UINT32_MAX);
}

static bool can_read(const struct table *t, sqlite3_stmt *st, struct key key)
{
    seek(t, st, key);
    const int rc = db_query(st);
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
        while ((found = db_query(st)) == SQLITE_ROW && rc == SQLITE_OK) {
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
uint64_t db_next_after_loss(uint64_t highest)
{
    const uint64_t by_time = store_now_ms(CLOCK_REALTIME) * 1000;
    highest += TICKETS_AHEAD;
    return highest > by_time ? highest : by_time;
}

static int copy_all(struct copy *c)
{
    uint64_t next = 0;
    sqlite3_stmt *meta = NULL;
    int rc = db_run(c->to->statements[BEGIN]);

    for (size_t i = 0; rc == SQLITE_OK && i < sizeof tables / sizeof tables[0]; i++)
        rc = c->from->handle == NULL ? SQLITE_OK : copy_table(c, &tables[i]);
    if (c->from->handle != NULL &&
        sqlite3_prepare_v2(c->from->handle, db_sql[GET_META], -1, &meta, NULL) == SQLITE_OK) {
        c->from->statements[GET_META] = meta;
        if (db_get_meta(c->from, "next_seq", &next) != SQLITE_OK)
            next = 0;
    }
    for (size_t i = 0; rc == SQLITE_OK && meta != NULL && i < 4; i++) {
        uint64_t value;
        if (db_get_meta(c->from, db_marks[i], &value) == SQLITE_OK)
            rc = db_put_meta(c->to, db_marks[i], value);
    }
    if (next <= c->highest)
        next = db_next_after_loss(c->highest);
    if (rc == SQLITE_OK)
        rc = db_put_meta(c->to, "next_seq", next);
    if (rc == SQLITE_OK)
        rc = db_run(c->to->statements[COMMIT]);
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
    db_exec(db, "PRAGMA writable_schema = ON; PRAGMA cell_size_check = ON;"
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
bool file_set_aside(const struct store *s, const char *name, const char *suffix)
{
    char from[STORE_PATH_BYTES];
    char tail[STORE_SUFFIX_BYTES];
    char to[STORE_PATH_BYTES];

    beside(s, suffix, from);
    snprintf(tail, sizeof tail, "%s%s", name, suffix);
    beside(s, tail, to);
    return rename(from, to) == 0 || errno == ENOENT;
}

void file_free_name(const struct store *s, char name[48])
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
 * file_finish_recovery(). */
static bool replace(const struct store *s, const char *name)
{
    char fresh[STORE_PATH_BYTES];

    beside(s, ".new", fresh);
    if (!file_set_aside(s, name, ""))
        return false;
    sync_folder(s);
    if (!file_set_aside(s, name, "-wal") || !file_set_aside(s, name, "-journal"))
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

void file_finish_recovery(const struct store *s)
{
    char fresh[STORE_PATH_BYTES];
    char name[48];

    beside(s, ".new", fresh);
    if (exists(s->path) || !exists(fresh)) {
        remove_fresh(s);
        return;
    }
    file_free_name(s, name);
    replace(s, name);
}

/* Copies what is sound to a fresh file and sets the damaged one aside. The
 * store's handle is closed before and open on the fresh file afterwards. */
enum store_fault file_recover(struct store *s, const char *cause, char *why, size_t why_size)
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

    file_free_name(s, name);
    if (!replace(s, name)) {
        snprintf(why, why_size, "%s: damaged (%s), and cannot be set aside: %s", s->path, cause,
                 strerror(errno));
        return STORE_DAMAGED;
    }
    fault = db_open(s->path, false, &s->file->db, why, why_size);
    if (fault == STORE_OK && file_set_limits(s) != SQLITE_OK)
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
bool file_recover_now(struct store *s)
{
    char why[STORE_LINE_BYTES];
    char cause[160];

    snprintf(cause, sizeof cause, "%s",
             s->file->db.handle != NULL ? sqlite3_errmsg(s->file->db.handle) : "cannot be opened");
    const enum store_fault fault = file_recover(s, cause, why, sizeof why);
    store_report(s, "%s", why);
    return fault == STORE_OK;
}
