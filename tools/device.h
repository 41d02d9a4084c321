/* What snpub and snsub share: options, one link to one gateway, and the loop
 * around a struct sn_client.
 *
 * Everything said to people goes to stderr, one line each, and names what to do.
 * Times are milliseconds of the monotonic clock.
 */
#ifndef TOOLS_DEVICE_H
#define TOOLS_DEVICE_H

#include "mqttsn/client.h"
#include "radio/link.h"

#define DEVICE_TOPICS_MAX 1024
#define DEVICE_NAME_SIZE  1024
#define DEVICE_FRAME_MAX  65507 /* a UDP datagram carries no more */

#define DEVICE_SERIAL_FRAME_MAX 256

enum { DEVICE_OK = 0, DEVICE_FAILED = 1, DEVICE_USAGE = 2 }; /* exit codes */

struct device_options {
    const char *host;
    const char *serial;    /* NULL: UDP */
    const char *framing;   /* of the serial line */
    bool discover;         /* look for a gateway, */
    const char *group;     /* over UDP in this multicast group */
    const char *interface; /* of the group; NULL: the kernel chooses */
    uint8_t radius;        /* of the search */
    const char *id;        /* NULL: one of our own */
    uint16_t port;
    uint32_t baud;
    uint16_t keepalive_s;
    uint16_t sleep_s; /* 0: stays awake */
    bool keep_session;
    bool debug;
    bool short_topics;
    int8_t qos;
    uint32_t retry_ms;
    uint8_t retries;
    uint8_t node[SN_CLIENT_NODE_MAX];
    size_t node_len;
    struct sn_client_will will;
};

struct argp; /* <argp.h> */
struct argp_state;

/* The common options, as a child of a program's own parser: its input is a
 * struct device_options, which it fills with the defaults first. */
extern const struct argp device_argp;

/* A number of an option's argument, or a usage error. */
long device_number(const char *text, long min, long max, const char *what,
                   struct argp_state *state);

struct device {
    struct sn_client client;
    struct sn_client_config cfg;
    const struct device_options *options;
    struct radio_link *link;
    struct radio_address peer;
    uint64_t start_ms;
    bool was_connected; /* at least once */
    bool in_vain;       /* an attempt has failed since the last connection */
    bool interrupted;   /* SIGINT or SIGTERM came */
    bool in_void;       /* no gateway answers a search: nothing more can be done */
    uint32_t searches;  /* sent without an answer */
    uint32_t echoes;    /* of our own searches that the group will bring back to us */
    struct radio_address waiting_to;
    size_t waiting_len; /* octets of a frame that waits for room on the link; 0: none */
    uint64_t handed;    /* frames handed to the link, whether it took them or not */
    uint64_t unsent;    /* frames that could not be sent */

    /* The program's part: events that are not about the link. */
    sn_client_emit_fn *handle;
    void *ctx;
};

uint64_t device_now(void);

/* Opens the link and prepares the client: DEVICE_OK, or after a line on stderr
 * DEVICE_FAILED. The options must outlive the device. There is one at a time. */
int device_open(struct device *d, const struct device_options *o, sn_client_emit_fn *handle,
                void *ctx);
void device_close(struct device *d);

/* Whether to go on. */
static inline bool device_may_go_on(const struct device *d)
{
    return !d->interrupted && !d->in_void;
}

/* Waits until a frame comes, the client has something to do, until_ms, a signal,
 * or input on extra_fd (-1: none); does what the link and the client need.
 * Returns whether extra_fd is readable. */
bool device_wait(struct device *d, uint64_t until_ms, int extra_fd);

/* Leaves the gateway in an orderly way; returns when that is done. */
void device_leave(struct device *d);

/* One topic for one option: short if it has two characters and the user wants
 * that, else by name. */
struct sn_topic_ref device_topic(const struct device_options *o, const char *name);

/* "a/b", or "#7" for a predefined id, which no topic name can look like. */
void device_print_topic(struct sn_topic_ref topic, char *out, size_t size);

/* Lines on stderr, in the program's name. */
void device_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Why a call was refused, for people. */
const char *device_explain(enum sn_client_answer answer);

/* What the gateway meant by a return code. */
const char *device_explain_code(uint8_t code);

/* Says what a REFUSED or LOST event means and what can be done about it. */
void device_report(const struct device *d, const struct sn_client_event *e);

#endif
