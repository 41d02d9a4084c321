/* What a disk holds: messages and records, under the contract of bridge/store.h.
 *
 * An image is changed by store actions in their order and answers what the
 * core may ask: a queue from some number on, and everything for a restart. It
 * knows nothing of time, commits or faults; disk.h does, and keeps two images,
 * of what is durable and of what has been handed over.
 *
 * Rows and values are shared between images and never change. Memory comes from
 * malloc(); when there is none the program ends.
 */
#ifndef SIM_IMAGE_H
#define SIM_IMAGE_H

#include "bridge/bridge.h"

/* A stored message; its topic and payload point behind it. */
struct sim_row {
    uint32_t refs;
    struct bridge_message message;
    uint8_t octets[];
};

/* A record, likewise. */
struct sim_value {
    uint32_t refs;
    struct bridge_record record;
    uint8_t octets[];
};

/* One store action, kept. */
struct sim_op {
    enum bridge_action_type type;
    bool lazy;
    uint64_t ticket;         /* FETCH: the last one handed over before it */
    uint32_t queue;          /* MARK, FORGET, FETCH */
    uint64_t seq;            /* MARK, FORGET; FETCH: from */
    enum bridge_fetch which; /* FETCH */
    uint32_t count;          /* FETCH */
    uint8_t flags;           /* MARK */
    struct sim_row *row;     /* STORE */
    struct sim_value *value; /* SAVE, ERASE */
};

/* Keeps a store action. ticket is for FETCH, which has none of its own. */
struct sim_op sim_op_keep(const struct bridge_action *a, uint64_t ticket);
void sim_op_drop(struct sim_op *op);

struct sim_image_place {
    uint64_t seq;
    struct sim_row *row; /* NULL: it has been removed */
    uint8_t flags;       /* as they are now */
};

struct sim_image_queue {
    uint32_t id;
    size_t begin; /* places before it are empty */
    size_t end;
    size_t size;
    size_t rows;
    struct sim_image_place *places; /* ascending seq */
};

/* Zeroed, it is empty. */
struct sim_image {
    struct sim_image_queue *queues; /* ascending id */
    size_t queue_count;
    size_t queue_size;
    struct sim_value **values; /* by session, kind and key */
    size_t value_count;
    size_t value_size;
    uint64_t rows;     /* messages, in all queues, */
    uint64_t expiring; /* and those of them that expire */
};

void sim_image_clear(struct sim_image *image);
void sim_image_copy(struct sim_image *to, const struct sim_image *from);

/* Carries out anything but FETCH. What is not there cannot be marked, forgotten
 * or erased, which is fine. */
void sim_image_apply(struct sim_image *image, const struct sim_op *op);

/* Its place; NULL when it is not there. */
struct sim_image_place *sim_image_find(const struct sim_image *image, uint32_t queue, uint64_t seq);

void sim_image_remove(struct sim_image *image, uint32_t queue, uint64_t seq);

/* How many messages are waiting for somebody: those that are not DELIVERED. */
uint64_t sim_image_waiting(const struct sim_image *image);

/* Answers a FETCH: fills messages, borrowed from the image's rows, with those
 * that it asks for and that were handed over before it. Returns how many; *end as
 * in bridge.h. The limits of store.h apply. */
size_t sim_image_fetch(const struct sim_image *image, const struct sim_op *fetch,
                       struct bridge_message *messages, bool *end);

/* Hands out what a restart gets, in the order of store.h. */
typedef void sim_replay_fn(void *ctx, const struct bridge_event *event);
void sim_image_replay(const struct sim_image *image, sim_replay_fn *fn, void *ctx);

#endif
