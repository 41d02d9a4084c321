/* The durable store: messages and state records that outlive the process.
 *
 * The contract towards the core is the store actions of bridge.h: STORE, MARK,
 * FORGET, SAVE, ERASE, FETCH. The caller is one thread, the loop. A thread of
 * the store's own is the only one that waits for the disk.
 *
 * Turns and batches. Everything handed over between two store_flush() calls is
 * one turn. Turns that wait while a commit runs become one batch, and a batch
 * is one transaction: after a crash a turn is there as a whole or not at all.
 * Nothing of a turn is looked at before its store_flush(). Its STOREs are refused
 * together or not at all, so what belongs together is handed over in one turn.
 *
 * Tickets. STORE (its seq), MARK, FORGET, SAVE and ERASE carry a ticket, below
 * 2^63; each is higher than the one before, over restarts too (see
 * store_replay()). Two events speak of them:
 *
 *   STORED(t)        Every operation with a ticket up to t is durable, except
 *                    the STOREs that a STORE_FAILED has named.
 *   STORE_FAILED(t)  Every STORE with a ticket up to t that no event has
 *                    covered yet is refused: it is not in the file and will
 *                    not be. All other operations up to t are kept in memory
 *                    and tried again until they succeed; the next STORED at or
 *                    above their ticket says so.
 *
 * So whoever waits for a STORE takes the first event at or above its seq, and
 * whoever waits for something else takes the first STORED at or above its
 * ticket. The tickets of events never go down; a STORED may repeat the ticket
 * of the STORE_FAILED before it. What a commit made durable together may be
 * reported in several events when a part of it was refused.
 *
 * A FORGET, MARK, SAVE or ERASE is never given up: a FORGET that was lost would
 * raise a message from the dead after a restart. While the disk refuses
 * everything they wait in memory, at most one for each row and record, at most
 * one second between attempts, and FETCH answers as if they had been carried
 * out. A crash in this state loses them, and no STORED had covered them; and if
 * it was the sync that failed, a message that was refused may be there again,
 * for its transaction can lie complete in the WAL.
 *
 * Lazy operations wait for an operation that is not lazy, for lazy_ms since
 * the oldest of them, or for STORE_BATCH_BYTES to gather. FETCH is not lazy.
 * Within the batch that has not been begun:
 *   - FORGET removes the STORE of the same message and itself: that message is
 *     never written at all, and counted in `avoided`;
 *   - MARK joins the STORE of the same message;
 *   - SAVE and ERASE remove an earlier SAVE of the same record.
 * Their tickets are reported all the same, in order. A (queue, seq) is stored
 * once and never reused.
 *
 * FETCH sees everything handed over before it, and no STORE handed over after.
 * FETCHED carries the messages that enum bridge_fetch says, without DELIVERED
 * ones: at most `count`, at most STORE_FETCH_COUNT, and at most
 * STORE_FETCH_BYTES of topics and payloads, but at least one if there is one.
 * `end` is true when no other such message lies beyond the last one given. An
 * index finds the expired ones, so asking for them costs nothing when there are
 * none.
 * Every FETCH is answered once, in order; while the file cannot be read the
 * answer waits.
 *
 * ERASE with kind 0 removes all records of the session and the messages of the
 * queues to it. It does nothing to messages from that session to the
 * broker: neither in queue 0 nor in those of its own (BRIDGE_QUEUE_OWN).
 *
 * Limits, and what happens there:
 *   max_bytes            STORE is refused (STORE_FAILED). A reserve beyond it
 *                        lets the other operations through.
 *   STORE_WAITING_BYTES  more than this handed over in earlier turns and not yet
 *                        durable: the STOREs of the turn are refused. A turn itself
 *                        may be larger; STOREs of the same topic and payload that
 *                        follow each other need memory for these once.
 *   the disk is full     as max_bytes, whoever has filled it. The reserve is
 *                        FILE.reserve, as large as the WAL; a STORE is refused
 *                        before it would need any of it. What forgets so much
 *                        that even this is too small is made durable in parts:
 *                        FORGETs first, then the rest of the batch.
 *   memory               when malloc fails, the program ends.
 *
 * What is in the file: one file in WAL mode with synchronous = FULL. `sqlite3
 * FILE` may look at it while the bridge runs. (FILE.lock keeps a second process
 * out; it is left behind, and means nothing without the lock on it. FILE.reserve
 * holds nothing: it may be deleted while no process has the store open.) The WAL
 * has its full size from the start: 8 MiB, or an eighth of a smaller disk, or a
 * quarter of max_bytes.
 *
 *   meta(key TEXT PRIMARY KEY, value INTEGER, crc)   the same in every format
 *       format     the version of this layout, BRIDGE_STORE_FORMAT
 *       next_seq   a number that no ticket ever handed over reaches; moved
 *                  ahead in steps, so that it costs no write per message
 *       created_ms when the file was made
 *       own_ms, wall_ms, boot_ms, boot: a moment by all clocks (timeline.h): written
 *                  when the wall clock is set, at the end, and with a commit when
 *                  the last one is a minute old. A file may be without them
 *   message(queue, seq, session, received_ms, expires_ms, qos, flags, mid,
 *           class, link, topic TEXT, payload BLOB, crc)   PRIMARY KEY (queue, seq) WITHOUT ROWID
 *       queue: bridge.h; the ones below 2147483648, but for 0, go to sensors
 *       flags: enum bridge_flag
 *   record(session, kind, key, value BLOB, crc)     PRIMARY KEY (session, kind, key) WITHOUT ROWID
 *       kinds: enum bridge_record_kind, their values: bridge/restore.h
 *   flight(kind, key, conn, queue, value BLOB, crc)   PRIMARY KEY (kind, key, conn)
 *       WITHOUT ROWID
 *       kinds: enum store_flight_kind; the broker module's own, see below. A file
 *       without this table is given an empty one
 *   damaged(found_ms, origin, then the columns of message and record)
 *       rows whose crc did not fit, for a human to look at; never read again
 *
 * Tables without rowid keep a queue together and cost one write per message, at
 * a price for large ones: of a row beyond 1000 octets the end goes to a page of
 * its own.
 *
 * crc is CRC-32C (crc32c.h) over all other columns of the row, because SQLite
 * itself does not notice a flipped bit. Numbers most significant octet first:
 *   message  queue u32, seq u64, session u32, received_ms u64, expires_ms u64,
 *            qos u8, flags u8, mid u16, class u8, link u8, length of topic u32, length of
 *            payload u32, topic, payload
 *   record   session u32, kind u32, key u32, length of value u32, value
 *   flight   kind u8, key u64, conn u32, queue u32, length of value u32, value
 *   meta     value u64, key
 *
 * Flights. How far the broker module has come with a message in flight: it needs
 * that after a crash to carry its half of the QoS 2 handshake to the end. It is
 * on disk before the packet that depends on it goes out, so any thread may hand a
 * flight over and wait for it, without the loop and without a ticket. Their order
 * among each other is kept, and each goes into a transaction no earlier than
 * every turn that was flushed before it. They are never refused; while the disk
 * refuses, they wait.
 *
 *   - A flight of kind STORE_FLIGHT_OUT is named by the seq of its message, and
 *     goes in the same transaction as that message: with its FORGET, or with the
 *     MARK that makes it DELIVERED. So after a crash there is the message with its
 *     flight, or neither.
 *   - What is put with_turn is in the same transaction as the turn of the loop it
 *     is put in, and left out when the STOREs of that turn are refused.
 *
 * What a crash can leave behind: exactly the state after some commit, that is
 * the effect of all operations up to some ticket at or above the last one
 * reported, whole turns only, and none after it.
 *
 * Damage. A row whose crc does not fit is moved to `damaged`, counted in the
 * figures and reported; its message or record is missing from then on (the core
 * sees this as a queue that ends with fewer messages than QUEUE announced). If
 * the file itself is damaged, at start or while running, every row that can
 * still be reached is copied to a fresh file, the old one is set aside as
 * FILE.damaged-<time>, and the store goes on. A torn end of the WAL is cut at
 * the last whole commit. Nothing of this stops the bridge from starting.
 */
#ifndef BRIDGE_STORE_H
#define BRIDGE_STORE_H

#include "bridge/bridge.h"

#define BRIDGE_STORE_FORMAT 1

#define STORE_BATCH_BYTES   (4u << 20)  /* lazy operations beyond it are committed */
#define STORE_WAITING_BYTES (64u << 20) /* memory of what is not yet durable */
#define STORE_FETCH_COUNT   4096u       /* messages of one answer */
#define STORE_FETCH_BYTES   (1u << 20)  /* topics and payloads of one answer */
#define STORE_MAX_BYTES_MIN (1u << 20)  /* a lower max_bytes is raised to this */

struct store;

struct store_options {
    const char *path;   /* the file; created when missing, its folder is not */
    uint32_t lazy_ms;   /* how long a lazy operation may wait */
    uint64_t max_bytes; /* of the file with its WAL, apart from the batch being
                         * written; 0: no limit but the disk */
};

enum store_fault {
    STORE_OK,          /* why is empty, or says what was recovered */
    STORE_CANNOT_OPEN, /* path, permission, another program's database */
    STORE_LOCKED,      /* another process has it open */
    STORE_TOO_NEW,     /* a format that this program does not know */
    STORE_DAMAGED,     /* damaged, and could not be set aside */
};

/* Opens or creates, checks, recovers; starts the thread. On failure *out is
 * untouched and why holds one line for the operator. On success why is empty,
 * or one line about what had to be recovered. Nothing needs to be released
 * after a crash: the lock goes with the process. */
enum store_fault store_open(const struct store_options *o, struct store **out, char *why,
                            size_t why_size);

/* Commits what was handed over, stops the thread, closes. Events that were not
 * taken are gone. If the disk refuses to the end, what was kept is lost. */
void store_close(struct store *s);

/* Hands everything durable to fn as events, in this order: RECORDs, ascending
 * by session, kind and key (so SESSION comes first of its session, and the
 * account, session 0, before all); for each queue that holds messages that are
 * not DELIVERED one WAITING for each of them, and QUEUE; OPEN for each open exchange. Payloads are not read
 * and the crc of messages not checked here, except for OPEN; FETCH does that. A
 * RECORD may come without its SESSION when that one was damaged.
 *
 * Call once after store_open() and before anything else. Returns the first
 * unused ticket, higher than every one ever handed over; after a crash numbers
 * are skipped. What fn gets is borrowed for the call. */
typedef void store_record_fn(void *ctx, const struct bridge_event *event);
uint64_t store_replay(struct store *s, store_record_fn *fn, void *ctx);

/* The bridge's own time, by which all times in the store are (timeline.h). Any thread. */
uint64_t store_own_ms(const struct store *s);
/* The wall clock was set: what the store knows of it is written anew. */
void store_clock_was_set(struct store *s);

/* ---- flights: see above ---- */

enum store_flight_kind {
    STORE_FLIGHT_OUT = 1, /* to the broker; key: seq of the message */
    STORE_FLIGHT_IN = 2,  /* from the broker; key: its packet id */
};

struct store_flight {
    enum store_flight_kind kind;
    uint64_t key;
    uint32_t conn;  /* number of the broker connection */
    uint32_t queue; /* OUT: of the message */
    struct sn_bytes value;
};

/* Put replaces one of the same name; drop removes it; drop_all removes all of a
 * connection. What is pointed to is copied. They return a number for
 * store_flight_is_durable(), higher than the one before. Any thread. */
uint64_t store_flight_put(struct store *s, const struct store_flight *f);
uint64_t store_flight_drop(struct store *s, enum store_flight_kind kind, uint64_t key,
                           uint32_t conn);
uint64_t store_flight_drop_all(struct store *s, uint32_t conn);

/* Put, and drop, with the turn; the loop only. */
void store_flight_put_with_turn(struct store *s, const struct store_flight *f);
void store_flight_drop_with_turn(struct store *s, enum store_flight_kind kind, uint64_t key,
                                 uint32_t conn);

/* Whether everything up to this number is durable; waits for it, at most wait_ms.
 * Any thread but the loop, which some of it may be waiting for. */
bool store_flight_is_durable(struct store *s, uint64_t number, uint32_t wait_ms);

/* Hands all flights to fn, with the message of an OUT one, or NULL when that is
 * missing or damaged. After store_open(), before anything is put. */
typedef void store_flight_fn(void *ctx, const struct store_flight *f,
                             const struct bridge_message *m);
void store_each_flight(struct store *s, store_flight_fn *fn, void *ctx);

/* Takes a copy of one store action of the core; other actions are ignored. */
void store_put(struct store *s, const struct bridge_action *action);

/* End of a turn of the loop: wakes the thread if there is something to do. */
void store_flush(struct store *s);

/* A descriptor that is readable while events or reports wait; and the next
 * event, false when there is none. Events: STORED, STORE_FAILED, FETCHED. What
 * an event points to is valid until the next call. */
int store_fd(const struct store *s);
bool store_next_event(struct store *s, struct bridge_event *event);

/* The next line for the operator's log about damage, recovery, and a disk that
 * fails or works again; false when there is none. Ask when store_next_event()
 * has nothing more. The oldest are dropped when more than 16 wait. */
bool store_next_report(struct store *s, char *line, size_t size);

/* Figures for status. */
struct store_figures {
    uint64_t file_bytes;    /* the file with its WAL */
    uint64_t commits;       /* transactions that succeeded */
    uint64_t written;       /* messages and records written, marks included */
    uint64_t avoided;       /* messages never written: forgotten in time */
    uint64_t refused;       /* STOREs answered with STORE_FAILED */
    uint64_t damaged;       /* rows found damaged since store_open() */
    uint64_t failures;      /* transactions that failed */
    uint64_t recoveries;    /* files set aside since store_open() */
    uint64_t waiting_bytes; /* memory of operations not yet durable */
    uint32_t kept;          /* operations waiting for a disk that refuses them */
    uint32_t commit_us_last;
    uint32_t commit_us_max;
};
void store_figures(struct store *s, struct store_figures *out);

#endif
