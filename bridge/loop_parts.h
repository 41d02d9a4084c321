/* What the files loop*.c share. Nobody else includes this.
 *
 * loop.c         sources of events, and what the core says
 * loop_answer.c  what a running bridge is asked
 * loop_files.c   the limit of open files
 * loop_reload.c  the configuration, read again
 */
#ifndef BRIDGE_LOOP_PARTS_H
#define BRIDGE_LOOP_PARTS_H

#include "bridge/broker.h"
#include "bridge/control.h"
#include "bridge/loop.h"
#include "bridge/store.h"
#include "radio/link.h"

struct loop_link {
    struct radio_link *link;
    int watched;        /* descriptor in the epoll set, -1: none */
    bool watched_write; /* and what it is watched for */
    bool was_up;        /* when it was looked at last */
    uint64_t since_ms;  /* up or down since then */
    uint64_t in_ms;     /* when the last frame came; 0: none has */
    uint64_t out_ms;    /* and when the last one went out */
};

struct loop {
    const char *path;           /* of the configuration */
    const struct config *start; /* as it was at the start */
    struct config *reloaded;    /* NULL, or what has taken its place */
    struct bridge_config start_core;
    struct bridge_config next_core[2]; /* of reloads, in turn */
    unsigned reloads;
    const struct config *config;      /* the one in effect */
    const struct bridge_config *core; /* of it, with the seed */
    struct bridge *bridge;
    struct store *store;
    struct broker *broker;
    struct control *control;
    struct loop_link links[BRIDGE_LINKS_MAX];
    size_t link_count;
    void *memory;
    size_t memory_size;
    int epoll;
    int signals;
    int clock;         /* readable when somebody sets the wall clock */
    int64_t wall_ms;   /* wall clock minus monotonic clock, as far as we know */
    uint64_t own_ms;   /* of loop_now_ms(), less the monotonic clock */
    uint64_t start_ms; /* when the program started */
    bool stopping;
    uint64_t stop_by_ms;
    uint64_t alive_ms;      /* between two signs of life for the service manager, at most */
    uint64_t alive_due_ms;  /* when the next is due */
    bool files_told;        /* that no descriptor is free */
    uint64_t deaf_until_ms; /* no descriptor is free: questions wait so long; 0: they do not */
};

/* The clock of the core: see bridge.h. */
uint64_t loop_now_ms(const struct loop *l);

/* Reads the configuration again, and says in the log what that changes. */
void loop_reload(struct loop *l);

/* Before anything is opened: raises the limit of open files to what may be needed, and where
 * that is not allowed lowers max_connections to what fits, so that sensors hear of it. */
void loop_find_files(struct loop *l);
/* Something has failed: says so, once, if that is because no descriptor is free. */
void loop_check_files(struct loop *l);

/* Where a link is: the address it listens on, or its device. */
const char *loop_place(const struct config_link *c);

/* The control_answer_fn of a struct loop. */
void loop_answer(void *ctx, enum control_request request, bool json, FILE *out);

#endif
