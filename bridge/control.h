/* How a running bridge is asked what it is doing: a Unix socket named "control"
 * in its data directory.
 *
 * One request is one packet, a word ("status", "clients --json"). The answer is
 * the descriptor of a file in memory, so that an answer of any length never
 * keeps the loop waiting for a slow reader.
 */
#ifndef BRIDGE_CONTROL_H
#define BRIDGE_CONTROL_H

#include <stdio.h>

#include "bridge/bridge.h"
#include "bridge/broker.h"
#include "bridge/store.h"

struct control;

struct control_status {
    struct bridge_status bridge;
    struct store_figures store;
    struct broker_figures broker;
    const char *broker_url;
    uint64_t uptime_s;
    size_t classes;
    const char *class_name[BRIDGE_CLASSES_MAX];
    size_t links;
    struct {
        const char *name;
        bool up;
        struct radio_counters count;
    } link[BRIDGE_LINKS_MAX];
};

/* Listens in the directory. 0 or -errno with one line in why. */
int control_open(const char *directory, struct control **out, char *why, size_t why_size);
int control_fd(const struct control *c);

enum control_request {
    CONTROL_STATUS,
    CONTROL_CLIENTS,
    CONTROL_LINKS,
    CONTROL_QUEUE,
};

/* "status", "clients", "links", "queue"; false when there is no such request. */
bool control_find_request(const char *word, enum control_request *out);

/* The descriptor is ready: answers every request that waits by fn. */
typedef void control_answer_fn(void *ctx, enum control_request request, bool json, FILE *out);
enum control_served {
    CONTROL_SERVED,
    CONTROL_SPARED, /* the same by spare descriptors: no other is free */
    CONTROL_DEAF,   /* not even so: who asks waits, and the descriptor stays ready */
};
enum control_served control_serve(struct control *c, control_answer_fn *fn, void *ctx);

void control_close(struct control *c); /* removes the socket */

void control_print_text(const struct control_status *s, FILE *out);
void control_print_json(const struct control_status *s, FILE *out);

/* One line of the list of clients, and its head. address and link are text. */
void control_print_client_head(FILE *out);
void control_print_client(const struct bridge_client *c, const char *link, const char *address,
                          uint64_t now_ms, FILE *out);
void control_print_client_json(const struct bridge_client *c, const char *link, const char *address,
                               uint64_t now_ms, bool first, FILE *out);

/* What devices call themselves may hold anything: as text for a terminal, and inside
 * double quotes for JSON. */
void control_printable(struct sn_bytes text, char *out, size_t size);

/* ---- control_tables.c: links and queues -------------------------------------------- */

struct control_link {
    const char *name;
    const char *place; /* the address it listens on, or its device */
    bool up;
    uint64_t since_ms; /* up or down since then */
    uint64_t in_ms;    /* when the last frame came; 0: none has */
    uint64_t out_ms;   /* the same for one that went out */
    uint32_t bits_per_s;
    struct radio_counters count;
    struct bridge_link_figures core;
};

void control_print_links(const struct control_link *links, size_t count, uint64_t now_ms, bool json,
                         FILE *out);

struct control_queue {
    const struct bridge_waiting *waiting; /* the shared one to the broker first, then the */
    size_t count;                         /* biggest */
    bool broker_up;
};

void control_print_queue(const struct control_queue *q, uint64_t now_ms, bool json, FILE *out);

/* The other side: asks the bridge of this directory and copies the answer to
 * out. Returns the exit code; says on stderr what went wrong. */
int control_ask(const char *directory, const char *request, bool json, FILE *out);

#endif
