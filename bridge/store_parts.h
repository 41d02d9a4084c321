/* What the two halves of the store share. Private to the store.
 *
 * store_thread.c takes operations from the loop, decides which of them become
 * one transaction, and what is to be done when the disk refuses it; it knows
 * nothing of SQLite. store_sqlite*.c know rows, transactions and damaged files,
 * and nothing of the loop. store_batch.h is about operations in memory.
 */
#ifndef BRIDGE_STORE_PARTS_H
#define BRIDGE_STORE_PARTS_H

#include "bridge/store.h"
#include "bridge/store_batch.h"

#include <pthread.h>
#include <time.h>

#define STORE_PATH_BYTES   1024u
#define STORE_SUFFIX_BYTES 64u   /* room behind a path for the names of its companions */
#define STORE_LINE_BYTES   1280u /* of a report; a longer one is cut */
#define STORE_REPORTS_MAX  16u

struct store_file; /* the open database, of store_sqlite.h */

/* Something for the loop. */
struct store_answer {
    struct store_answer *next;
    struct bridge_event event;
    struct bridge_message *messages; /* FETCHED */
    uint8_t *bytes;                  /* their topics and payloads */
};

struct store {
    char path[STORE_PATH_BYTES];
    char path_wal[STORE_PATH_BYTES];
    uint32_t lazy_ms;
    uint64_t max_bytes;
    uint64_t own_ms; /* the bridge's own time less the monotonic clock; set when it is opened */
    int lock_fd;
    int event_fd;
    pthread_t thread;

    /* Of the loop. */
    struct store_answer *current; /* what the last event points to */
    bool replayed;

    /* Of the thread; before its first batch, of the caller of store_open() and
     * store_replay(). */
    struct store_file *file;
    uint64_t next_ticket;    /* the first one that was free when the file was opened */
    char error[256];         /* why the disk refused last */
    struct store_box keeper; /* what the disk has refused */
    struct store_batch kept;
    bool kept_fetch; /* FETCHes are among it */
    bool full;       /* STOREs are refused for want of room */
    uint64_t
        room_at_ms; /* when to look whether there is some again; BRIDGE_NEVER: it is not full */
    uint64_t retry_at_ms;
    uint32_t retry_ms; /* the wait before that; 0: the last attempt succeeded */
    uint64_t failing_since_ms;
    uint64_t reported; /* the highest ticket in an event */

    /* Shared, under the mutex. */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop;
    bool begun; /* store_flush() was called: until then the file is the caller's */
    bool clock_was_set;
    bool sleeping;           /* the thread waits for `wake` */
    uint64_t handed;         /* the highest ticket handed over; only the loop writes it */
    struct store_box box;    /* the memory of turn, ready and what is being committed */
    struct store_batch turn; /* not flushed yet */
    bool turn_urgent;        /* it holds something that is not lazy */
    bool turn_joins;         /* it has changed an operation in the last of ready */
    bool turn_refused;       /* its STOREs are: too much waits already */
    struct {                 /* flushed, not begun; the first is next */
        struct store_batch *first;
        struct store_batch *last;
        bool urgent;     /* the last one may not wait */
        uint64_t due_ms; /* until then it may */
    } ready;
    struct store_batch *spare;    /* headers */
    uint64_t waiting_bytes;       /* of ready and of what is being committed */
    struct store_flights flights; /* handed over, not begun */
    uint64_t flights_handed;      /* their highest number */
    uint64_t flights_durable;     /* everything up to this one is durable */
    pthread_cond_t flights_wake;  /* that has changed */
    struct store_answer *answers;
    struct store_answer *answers_last;
    bool signalled; /* event_fd is readable */
    char reports[STORE_REPORTS_MAX][STORE_LINE_BYTES];
    uint32_t report_first;
    uint32_t report_count;
    struct store_figures figures;
};

/* ---- store_sqlite*.c ------------------------------------------------------- */

/* What became of a transaction or a FETCH. What is not DONE has left no trace
 * but s->error, except that a transaction whose sync failed may be found in the
 * file when it is opened anew. */
enum store_outcome {
    STORE_DONE,
    STORE_FULL,    /* no room */
    STORE_REFUSED, /* any other error */
};

/* Opens or creates the file at s->path, recovers what is damaged, reserves
 * tickets. As store_open(). */
enum store_fault store_file_open(struct store *s, char *why, size_t why_size);
void store_file_close(struct store *s);

/* Carries out what was kept and then the batch, with or without its STOREs (and
 * what belongs to them), and then the flights, in one transaction. Nothing is touched when there is nothing to change. */
enum store_outcome store_file_commit(struct store *s, const struct store_batch *batch,
                                     const struct store_flights *flights, bool with_stores);

/* Answers a FETCH, as if everything kept had been carried out. *out is the
 * caller's. */
enum store_outcome store_file_fetch(struct store *s, const struct store_op *op,
                                    struct store_answer **out);

uint64_t store_file_bytes(const struct store *s);

/* Writes what all clocks say now; if that fails it goes with the next commit. */
void store_file_mark(struct store *s);

/* Whether a few messages would fit; and whether the reserve is used up. */
bool store_file_has_room(struct store *s);
bool store_file_is_short(const struct store *s);

/* ---- store_thread.c -------------------------------------------------------- */

/* A line for the operator. */
__attribute__((format(printf, 2, 3))) void store_report(struct store *s, const char *format, ...);

/* malloc and realloc of what cannot be done without: ends the program instead
 * of returning NULL. */
void *store_grab(void *old, size_t size);

uint64_t store_now_ms(clockid_t clock);

bool store_batch_changes_something(const struct store_batch *batch);
bool store_batch_has_stores(const struct store_batch *batch);

#endif
