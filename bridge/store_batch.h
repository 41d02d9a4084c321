/* Operations on their way to the disk, in order, and which of them need not go
 * there at all. Private to the store.
 *
 * Memory is a stream of chunks: operations are copied in at the end and whole
 * batches are released from the front, so nothing is allocated per operation.
 * An index over what may still be changed finds the earlier operation on the
 * same message or record.
 *
 * Nothing here locks, waits or touches a file. A failed malloc ends the program.
 */
#ifndef BRIDGE_STORE_BATCH_H
#define BRIDGE_STORE_BATCH_H

#include "bridge/bridge.h"

struct store_op {
    struct store_op *next;
    enum bridge_action_type type; /* one of the store's */
    bool dead;                    /* cancelled, or taken over by a later one */
    bool refused;                 /* a STORE of a turn for which there was no memory left */
    uint64_t ticket;              /* of FETCH: the last ticket handed over before it */
    union {
        struct bridge_message message; /* STORE */
        struct {
            uint32_t queue;
            uint64_t seq;
            uint8_t flags;
        } row;                       /* MARK, FORGET */
        struct bridge_record record; /* SAVE, ERASE */
        struct {
            enum bridge_fetch which;
            uint32_t queue;
            uint64_t from;
            uint32_t count;
        } fetch;
    };
};

/* A change to the table of flights. Each has memory of its own: they are few. */
struct store_flight_op {
    struct store_flight_op *next;
    enum {
        STORE_FLIGHT_PUT,
        STORE_FLIGHT_DROP,
        STORE_FLIGHT_DROP_ALL,
    } what;
    uint64_t number; /* 0: with a turn */
    uint8_t kind;    /* enum store_flight_kind */
    uint32_t conn;
    uint32_t queue;
    uint64_t key;
    size_t len;
    uint8_t value[];
};

struct store_flights {
    struct store_flight_op *first;
    struct store_flight_op *last;
};

/* Moves more to the end of f; to its front. more is empty then. */
void store_flights_append(struct store_flights *f, struct store_flights *more);
void store_flights_prepend(struct store_flights *f, struct store_flights *more);
void store_flights_free(struct store_flights *f);

struct store_chunk;

/* Operations in the order they were handed over. */
struct store_batch {
    struct store_batch *next; /* for the owner */
    struct store_op *first;
    struct store_op *last;
    struct store_chunk *end; /* where the memory of its last operation is */
    uint64_t first_ticket;   /* 0: none, only FETCH */
    uint64_t last_ticket;
    size_t bytes;
    size_t count;                 /* of the operations in the list, dead ones too */
    struct store_flights flights; /* that belong to its turns */
};

struct store_slot {
    uint64_t ticket; /* 0: never used */
    uint64_t hash;
    struct store_op *op; /* valid while ticket >= floor */
};

/* Memory and index of operations. Zeroed memory is a valid empty one. */
struct store_box {
    struct store_chunk *first;
    struct store_chunk *last;
    struct store_chunk *spare;
    uint32_t spares;
    struct store_slot *slots;
    size_t slot_count; /* a power of two, or 0 */
    size_t slots_used; /* the ones whose ticket is not 0 */
    uint64_t floor;    /* operations with lower tickets may not be touched any more */
    uint64_t dead;     /* operations in it that were taken over since the last clear */
};

struct store_added {
    uint64_t touched; /* the ticket of an earlier operation that was changed; 0: none */
    bool avoided;     /* a STORE and its FORGET removed each other */
};

/* Adds a copy of an operation and of what it points to at the end of batch,
 * after applying it to the earlier one on the same message or record. Tickets
 * must ascend. */
struct store_added store_box_add(struct store_box *box, struct store_batch *batch,
                                 const struct store_op *op);

/* The living operation on a message, or on a record (kind 0: ERASE of a whole
 * session), that is not below the floor; NULL when there is none. */
struct store_op *store_box_find_row(const struct store_box *box, uint32_t queue, uint64_t seq);
struct store_op *store_box_find_record(const struct store_box *box, uint32_t session,
                                       enum bridge_record_kind kind, uint32_t key);

/* Moves the operations of more to the end of batch; more is empty then. */
void store_batch_append(struct store_batch *batch, struct store_batch *more);

/* Gives back the memory of a batch and of everything added before it; NULL: of
 * everything. The operations must be below the floor by now. */
void store_box_release(struct store_box *box, const struct store_batch *batch);

/* Forgets all operations; keeps some memory for the next ones. */
void store_box_clear(struct store_box *box);

/* Gives all memory back. */
void store_box_free(struct store_box *box);

#endif
