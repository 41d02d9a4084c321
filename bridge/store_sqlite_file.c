#include "bridge/store_sqlite.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x736E6272 /* "snbr": tells our files from others */
#define PAGE_BYTES     4096u
#define BUSY_MS        5000  /* how long somebody's sqlite3 may hold the write lock */
#define CHECKED_PAGES  4096u /* a file up to this is checked as a whole when it is opened */
#define SHRINK_PAGES   4096u /* a file smaller than this is never worth shrinking */

/* ---- opening and closing the file ------------------------------------------ */

void db_close(struct db *db)
{
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->handle);
    *db = (struct db){0};
}

static int db_prepare(struct db *db)
{
    for (int i = 0; i < STATEMENTS; i++) {
        const int rc = sqlite3_prepare_v3(db->handle, db_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                          &db->statements[i], NULL);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

static int db_create(struct db *db)
{
    char text[128];
    int rc = db_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN IMMEDIATE");

    if (rc == SQLITE_OK)
        rc = db_exec(db, db_schema);
    if (rc == SQLITE_OK)
        rc = db_exec(db, db_flight_schema);
    snprintf(text, sizeof text, "PRAGMA application_id = %d", APPLICATION_ID);
    if (rc == SQLITE_OK)
        rc = db_exec(db, text);
    if (rc == SQLITE_OK)
        rc = db_prepare(db);
    if (rc == SQLITE_OK)
        rc = db_put_meta(db, "format", BRIDGE_STORE_FORMAT);
    if (rc == SQLITE_OK)
        rc = db_put_meta(db, "next_seq", 1);
    if (rc == SQLITE_OK)
        rc = db_put_meta(db, "created_ms", store_now_ms(CLOCK_REALTIME));
    if (rc == SQLITE_OK)
        rc = db_run(db->statements[COMMIT]);
    return rc;
}

/* By the octets, when SQLite itself cannot make sense of the header. */
static bool has_our_mark(const char *path)
{
    uint8_t header[72] = {0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? 0 : read(fd, header, sizeof header);
    if (fd >= 0)
        close(fd);
    struct sn_reader r = sn_reader(sn_bytes(header + 68, 4));
    return n == sizeof header && sn_read_u32(&r) == APPLICATION_ID;
}

static enum store_fault fault_of(int rc)
{
    return db_is_damage(rc) ? STORE_DAMAGED : STORE_CANNOT_OPEN;
}

enum store_fault db_fault(struct db *db, const char *path, int rc, char *why, size_t size)
{
    snprintf(why, size, "%s: %s (SQLite %d)", path,
             db->handle != NULL ? sqlite3_errmsg(db->handle) : sqlite3_errstr(rc), rc);
    db_close(db);
    return fault_of(rc);
}

/* Whether the trees hang together: a table that a flipped bit has put elsewhere is
 * not noticed by reading rows. A large file would take seconds, and the chance is
 * small: most of its pages hold rows. */
static int quick_check(struct db *db)
{
    sqlite3_stmt *st = NULL;
    uint64_t pages = 0;
    if (db_number(db, "PRAGMA page_count", &pages) == SQLITE_OK && pages > CHECKED_PAGES)
        return SQLITE_OK;
    int rc = sqlite3_prepare_v2(db->handle, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = db_query(st);
    if (rc == SQLITE_ROW)
        rc = sn_bytes_equal(db_column_bytes(st, 0), sn_bytes_text("ok")) ? SQLITE_OK
                                                                         : SQLITE_CORRUPT;
    sqlite3_finalize(st);
    return rc;
}

/* Only `meta` is the same in every format, so it is asked first. A table or
 * column that should be there and is not (SQLITE_ERROR) is damage. */
static int db_check(struct db *db, bool complete, uint64_t *format)
{
    int rc = sqlite3_prepare_v2(db->handle, db_sql[GET_META], -1, &db->statements[GET_META], NULL);

    if (rc == SQLITE_OK)
        rc = db_get_meta(db, "format", format);
    sqlite3_finalize(db->statements[GET_META]);
    db->statements[GET_META] = NULL;
    if (rc == SQLITE_OK && *format > BRIDGE_STORE_FORMAT)
        return SQLITE_OK;
    if (rc == SQLITE_OK && complete)
        rc = db_exec(db, db_flight_schema);
    if (rc == SQLITE_OK)
        rc = complete ? db_prepare(db) : SQLITE_ERROR;
    if (rc == SQLITE_OK)
        rc = quick_check(db);
    if (rc == SQLITE_OK)
        rc = db_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    return rc == SQLITE_ERROR || rc == SQLITE_NOTFOUND ? SQLITE_CORRUPT : rc;
}

/* Looks before it changes anything: another program's database, or one of a
 * newer version, stays as it is. */
enum store_fault db_open(const char *path, bool create, struct db *db, char *why, size_t why_size)
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
        /* A deletion that overwrites what it frees writes as much as it has deleted. */
        rc = db_exec(db, "PRAGMA cell_size_check = ON; PRAGMA cache_size = -4096;"
                         "PRAGMA temp_store = MEMORY; PRAGMA secure_delete = OFF");
    }
    if (rc == SQLITE_OK)
        rc = db_number(db, "SELECT count(*) FROM sqlite_master", &tables);
    if (rc == SQLITE_OK)
        rc = db_number(db,
                       "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
                       " AND name IN ('meta', 'message', 'record', 'damaged')",
                       &ours);
    if (rc == SQLITE_OK)
        rc = db_number(db, "PRAGMA application_id", &application);
    if (db_primary(rc) == SQLITE_ERROR && has_our_mark(path))
        rc = SQLITE_CORRUPT;
    if (rc != SQLITE_OK)
        return db_fault(db, path, rc, why, why_size);
    if (sqlite3_db_readonly(db->handle, "main") == 1) {
        /* Two octets of its header say who may write it. */
        const bool header = access(path, W_OK) == 0;
        snprintf(why, why_size, "%s: cannot be written%s", path,
                 header ? ", as its header says" : "");
        db_close(db);
        return header ? STORE_DAMAGED : STORE_CANNOT_OPEN;
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

/* Sizes that follow from max_bytes: the WAL gets a quarter of it, at most 8 MiB;
 * an eighth of the rest, at most 4 MiB, is the reserve for what is not a STORE. */
int file_set_limits(struct store *s)
{
    uint64_t page = PAGE_BYTES;
    char text[128];

    const int rc = db_number(&s->file->db, "PRAGMA page_size", &page);
    if (rc != SQLITE_OK)
        return rc;
    s->file->pages_stores = 0;
    s->file->pages_others = 0;
    s->file->pages_now = 0;
    if (s->max_bytes > 0) {
        const uint64_t pages = (s->max_bytes - s->file->wal_bytes) / page;
        const uint64_t reserve = pages / 8 < 1024 ? pages / 8 : 1024;
        s->file->pages_others = pages < UINT32_MAX - 1 ? (uint32_t)pages : UINT32_MAX - 1;
        s->file->pages_stores = s->file->pages_others - (uint32_t)reserve;
    }
    file_watch_wal(s);
    snprintf(text, sizeof text, "PRAGMA journal_size_limit = %" PRIu64, s->file->wal_bytes);
    return db_exec(&s->file->db, text);
}

/* SQLite counts the pages for us; the pragma is only spoken when it changes. */
int file_set_page_limit(struct store *s, uint32_t pages)
{
    char text[64];
    if (pages == s->file->pages_now)
        return SQLITE_OK;
    snprintf(text, sizeof text, "PRAGMA max_page_count = %" PRIu32, pages);
    const int rc = db_exec(&s->file->db, text);
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

    if (db_number(&s->file->db, "PRAGMA page_count", &pages) == SQLITE_OK &&
        db_number(&s->file->db, "PRAGMA freelist_count", &unused) == SQLITE_OK &&
        pages > SHRINK_PAGES && unused > pages / 4 * 3) {
        db_exec(&s->file->db, "VACUUM");
        db_exec(&s->file->db, "PRAGMA wal_checkpoint(TRUNCATE)");
    }
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
    file_free_name(s, name);
    if (file_set_aside(s, name, "-wal"))
        snprintf(why, why_size, "%s: missing or empty but for its WAL, set aside as %s%s-wal",
                 s->path, s->path, name);
}

static enum store_fault open_file(struct store *s, char *why, size_t why_size)
{
    char cause[STORE_LINE_BYTES];

    file_finish_recovery(s);
    save_stray_wal(s, why, why_size);
    enum store_fault fault = db_open(s->path, true, &s->file->db, cause, sizeof cause);
    if (fault == STORE_OK && file_set_limits(s) != SQLITE_OK)
        fault = db_fault(&s->file->db, s->path, SQLITE_CORRUPT, cause, sizeof cause);
    if (fault == STORE_DAMAGED)
        return file_recover(s, cause + strlen(s->path) + 2, why, why_size);
    if (fault != STORE_OK)
        snprintf(why, why_size, "%s", cause);
    return fault;
}

/* Where tickets go on. If the reservation cannot be written now, the first
 * transaction does it; until then nothing that needs it is durable. */
static void find_next_ticket(struct store *s)
{
    uint64_t highest = 0;

    if (db_get_meta(&s->file->db, "next_seq", &s->next_ticket) != SQLITE_OK) {
        db_number(&s->file->db, "SELECT max(seq) FROM message", &highest);
        s->next_ticket = db_next_after_loss(highest);
    }
    s->handed = s->reported = s->next_ticket - 1;
    s->file->reserved = s->next_ticket;
    if (db_put_meta(&s->file->db, "next_seq", s->next_ticket + TICKETS_AHEAD) == SQLITE_OK)
        s->file->reserved = s->next_ticket + TICKETS_AHEAD;
}

enum store_fault store_file_open(struct store *s, char *why, size_t why_size)
{
    s->file = store_grab(NULL, sizeof *s->file);
    *s->file = (struct store_file){.has_flights = true};

    file_room_open(s);
    const enum store_fault fault = open_file(s, why, why_size);
    if (fault != STORE_OK) {
        file_room_close(s);
        free(s->file);
        s->file = NULL;
        return fault;
    }
    shrink(s);
    find_next_ticket(s);
    file_resume_time(s);
    file_checkpoint(s);
    file_room_keep(s);
    return STORE_OK;
}

void store_file_close(struct store *s)
{
    /* The numbers that were only reserved need not be skipped. */
    if (s->file->db.handle != NULL) {
        db_put_meta(&s->file->db, "next_seq", s->handed + 1);
        store_file_mark(s);
        if (db_is_full(&s->file->db, file_checkpoint(s)))
            file_room_give(s);
    }
    db_close(&s->file->db);
    file_room_close(s);
    free(s->file);
    s->file = NULL;
}

uint64_t store_file_bytes(const struct store *s)
{
    return file_size(s->path) + file_size(s->path_wal);
}
