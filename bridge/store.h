/* The durable store: messages and state records that outlive the process.
 *
 * The contract towards the core is the store actions of bridge.h: STORE, MARK,
 * FORGET, SAVE, ERASE, FETCH. Everything handed over before store_flush() is
 * one batch, committed by a thread of the store's own in one transaction while
 * the loop goes on. Order holds: a commit covers everything that was handed
 * over before it, and FETCH sees everything handed over before it.
 *
 * Lazy operations wait for an operation that is not lazy, or for lazy_ms. A
 * FORGET that meets its own STORE still uncommitted removes both: that message
 * is never written at all. STORE, MARK, SAVE, ERASE and FORGET all carry a
 * ticket; tickets increase, and store_next_event() reports the highest ticket
 * up to which everything is durable.
 *
 * What is in the file: see the schema below. One file in WAL mode with
 * synchronous = FULL. `sqlite3 FILE` may look at it while the bridge runs.
 *
 *   meta(key TEXT PRIMARY KEY, value)
 *       format   the version of this layout, BRIDGE_STORE_FORMAT
 *       next_seq a number that no seq in the file reaches
 *       created_ms, ...
 *   message(queue, seq, session, received_ms, expires_ms, qos, flags, mid,
 *           class, topic TEXT, payload BLOB, crc)   PRIMARY KEY (queue, seq) WITHOUT ROWID
 *       queue 0 goes to the broker, any other to the session of that id
 *       flags: enum bridge_flag
 *   record(session, kind, key, value BLOB, crc)     PRIMARY KEY (session, kind, key) WITHOUT ROWID
 *       kinds: enum bridge_record_kind, their values: bridge/restore.h
 *   crc is CRC-32C over all other columns of the row: SQLite itself does not
 *   notice a flipped bit.
 *
 * What a crash can leave behind: exactly the state after some commit, that is
 * the effect of all operations up to some ticket at or above the last one
 * reported, and none after it.
 *
 * A row whose crc does not fit is moved to the table `damaged`, reported as an
 * event and counted; the rest goes on.
 */
#ifndef BRIDGE_STORE_H
#define BRIDGE_STORE_H

#include "bridge/bridge.h"

#define BRIDGE_STORE_FORMAT 1

struct store;

struct store_options {
    const char *path;   /* the file; created when missing */
    uint32_t lazy_ms;   /* how long a lazy operation may wait */
    uint64_t max_bytes; /* the file never grows beyond it; 0: no limit but the disk */
};

enum store_fault {
    STORE_OK,
    STORE_CANNOT_OPEN, /* path, permission, not a database */
    STORE_LOCKED,      /* another process has it open */
    STORE_TOO_NEW,     /* a format that this program does not know */
    STORE_DAMAGED,     /* SQLite says so; the text says what was set aside */
};

/* Opens or creates, checks, recovers; starts the thread. On failure *out is
 * untouched and why holds one line for the operator. */
enum store_fault store_open(const struct store_options *o, struct store **out, char *why,
                            size_t why_size);

/* Commits what was handed over, stops the thread, closes. */
void store_close(struct store *s);

/* Hands everything durable to fn as RECORD events, in the order: SESSION,
 * then other records of that session, ..., then QUEUE summaries, then OPEN
 * exchanges. Call once after store_open() and before anything else. Returns
 * the first unused seq. What fn gets is borrowed for the call. */
typedef void store_record_fn(void *ctx, const struct bridge_event *event);
uint64_t store_replay(struct store *s, store_record_fn *fn, void *ctx);

/* Takes a copy of one store action of the core. */
void store_put(struct store *s, const struct bridge_action *action);

/* End of a turn of the loop: wakes the thread if there is something to do. */
void store_flush(struct store *s);

/* A descriptor that is readable while events wait; and the next one, false
 * when there is none. Events: STORED, STORE_FAILED, FETCHED. What an event
 * points to is valid until the next call. */
int store_fd(const struct store *s);
bool store_next_event(struct store *s, struct bridge_event *event);

/* Figures for status: bytes of the file with its WAL, commits, rows written,
 * rows never written because they were forgotten in time, damaged rows. */
struct store_figures {
    uint64_t file_bytes;
    uint64_t commits;
    uint64_t written;
    uint64_t avoided;
    uint64_t damaged;
    uint64_t failures;
    uint32_t commit_us_last;
    uint32_t commit_us_max;
};
void store_figures(struct store *s, struct store_figures *out);

#endif
