/* What the files that know SQLite share. Private to the store.
 *
 * store_sqlite_rows.c     statements, and rows with their crc
 * store_sqlite_file.c     opening, limits, closing
 * store_sqlite_room.c     what the disk has room for, and the reserve
 * store_sqlite_clock.c    the mark of the bridge's own time
 * store_sqlite_recover.c  a damaged file: copying what is sound, setting it aside
 * store_sqlite_replay.c   what is handed back at start
 * store_sqlite.c          transactions and FETCH
 */
#ifndef BRIDGE_STORE_SQLITE_H
#define BRIDGE_STORE_SQLITE_H

#include "bridge/store_parts.h"

#include <sqlite3.h>

#define TICKETS_AHEAD 1000000u /* next_seq is written this far ahead */

#define MESSAGE_COLUMNS                                                                            \
    "queue, seq, session, received_ms, expires_ms, qos, flags, mid, class, link, topic, payload,"  \
    " crc"
#define RECORD_COLUMNS "session, kind, key, value, crc"
#define FLIGHT_COLUMNS "kind, key, conn, queue, value, crc"

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
    uint64_t wal_bytes;       /* the WAL has this size from the start; half of it is in use
                               * when its pages are brought to the file */
    uint32_t wal_pages;       /* in use */
    bool wal_whole;           /* it has that size */
    bool reserve_whole;       /* the reserve is there */
    int reserve_fd;           /* -1: there cannot be one */
    uint64_t marked_ms;       /* by the monotonic clock, when the mark was written; 0: it was not */
    uint64_t damaged_in_turn; /* rows moved in the transaction that is open */
    uint64_t written_in_turn;
};

/* A place in a table: the primary key as one number of 32 + 63 bits. */
struct key {
    uint32_t high;
    uint64_t low;
};

/* The text of the statements; the schema, and its younger part. */
extern const char *const db_sql[STATEMENTS];
extern const char db_schema[];
extern const char db_flight_schema[];

/* ---- store_sqlite_rows.c ---------------------------------------------------------
 * An int is a result code of SQLite. */

/* Without the details in its upper bits; whether it says that the file is damaged. */
int db_primary(int rc);
bool db_is_damage(int rc);
/* Whether it says that the disk is full. */
bool db_is_full(const struct db *db, int rc);

/* Steps to the first row (SQLITE_ROW) or to the end (SQLITE_OK); carries out a
 * statement that returns no rows; a text; a query for one number. */
int db_query(sqlite3_stmt *st);
int db_run(sqlite3_stmt *st);
int db_exec(struct db *db, const char *text);
int db_number(struct db *db, const char *text, uint64_t *out);

void db_bind_number(sqlite3_stmt *st, int i, uint64_t value);
uint64_t db_column(sqlite3_stmt *st, int i);
struct sn_bytes db_column_bytes(sqlite3_stmt *st, int i);

/* The row a statement stands on; false when its crc does not fit. What is pointed
 * to is valid until the next step. */
bool db_read_message(sqlite3_stmt *st, struct bridge_message *m);
bool db_read_record(sqlite3_stmt *st, struct bridge_record *r);
bool db_read_flight(sqlite3_stmt *st, struct store_flight *f);

/* Of meta SQLITE_NOTFOUND: missing, or its crc does not fit. */
int db_put_meta(struct db *db, const char *key, uint64_t value);
int db_get_meta(struct db *db, const char *key, uint64_t *value);

int db_put_message(struct db *db, const struct bridge_message *m);
int db_put_record(struct db *db, const struct bridge_record *r);
int db_put_flight(struct db *db, const struct store_flight *f);
int db_delete_flight(struct db *db, uint8_t kind, uint64_t key, uint32_t conn);
int db_delete_message(struct db *db, uint32_t queue, uint64_t seq);
int db_delete_record(struct db *db, const struct bridge_record *r);
int db_delete_session(struct db *db, uint32_t session);

/* Within a transaction. A damaged row goes to the table `damaged`. */
int file_move_damaged_message(struct store *s, uint32_t queue, uint64_t seq);
int file_move_damaged_record(struct store *s, const struct bridge_record *r);
int file_set_flags(struct store *s, uint32_t queue, uint64_t seq, uint8_t flags);
/* The broker has the message for good: its flight goes with it. */
int file_land(struct store *s, uint32_t queue, uint64_t seq);
int file_apply_flight(struct store *s, const struct store_flight_op *op);

/* ---- store_sqlite_file.c --------------------------------------------------------- */

void db_close(struct db *db);
/* The words for a result, and closes. */
enum store_fault db_fault(struct db *db, const char *path, int rc, char *why, size_t size);
/* Looks before it changes anything: another program's database, or one of a
 * newer version, stays as it is. */
enum store_fault db_open(const char *path, bool create, struct db *db, char *why, size_t why_size);

/* What follows from max_bytes; and how many pages there may be now. */
int file_set_limits(struct store *s);
int file_set_page_limit(struct store *s, uint32_t pages);

/* ---- store_sqlite_room.c ---------------------------------------------------------
 * The disk may be full at any time, and others may have filled it. What is not a
 * STORE must go on all the same, or nothing would ever be forgotten. So the WAL has
 * its size from the start, and FILE.reserve keeps as much again: for the pages that
 * the WAL has and the file does not, and for a WAL after a restart. STOREs leave
 * both alone: there is no room for them as soon as they would need of it. */

/* Before the file is opened; after it was closed. */
void file_room_open(struct store *s);
void file_room_close(struct store *s);
/* Makes WAL and reserve whole again where the disk allows. */
void file_room_keep(struct store *s);
/* The disk is full: gives the reserve to WAL and file. False: there is none, or
 * it is not for that. */
bool file_room_give(struct store *s);
/* How many pages a batch may write, at most; and whether there is room for them. */
uint64_t file_pages_of(const struct store_batch *batch);
bool file_has_room(struct store *s, uint64_t pages);
/* Deletions of a row that half of the WAL holds, however far apart they are. */
uint32_t file_ops_that_fit(const struct store *s);
/* Of a handle that was just opened: how much of the WAL is in use is counted. */
void file_watch_wal(struct store *s);
/* Brings what the WAL has to the file; and does so after a commit when it is time. */
int file_checkpoint(struct store *s);
void file_tidy(struct store *s);

/* ---- store_sqlite_recover.c ------------------------------------------------------ */

/* Where tickets go on when the reservation cannot be read. */
uint64_t db_next_after_loss(uint64_t highest);

/* A free name for a file to be set aside, and doing it. */
bool file_set_aside(const struct store *s, const char *name, const char *suffix);
void file_free_name(const struct store *s, char name[48]);

/* A recovery that a crash has interrupted; one at start; one while in use, whose
 * line goes to the reports. */
void file_finish_recovery(const struct store *s);
enum store_fault file_recover(struct store *s, const char *cause, char *why, size_t why_size);
bool file_recover_now(struct store *s);

/* ---- store_sqlite.c --------------------------------------------------------------- */

/* Ends a transaction by the result so far, and counts what it has moved. */
int file_end_transaction(struct store *s, int rc);
void file_count_damaged(struct store *s, const char *where);

/* ---- store_sqlite_clock.c ---------------------------------------------------------- */

extern const char *const db_marks[4]; /* keys in meta */

/* Where the bridge's own time goes on; and its mark, within a
 * transaction, when one is due. */
void file_resume_time(struct store *s);
int file_mark_in_turn(struct store *s);

/* Moves damaged rows, in a transaction of its own. */
int file_move_messages(struct store *s, const struct key *damaged, size_t count);

#endif
