/* A device: an application of ours on mqttsn/client.h, the library that real
 * devices use.
 *
 * What it does follows from a plan: it connects, subscribes, publishes now and
 * then, sleeps in between, or is always there; with QoS -1 alone it never connects. Messages that cannot be handed
 * over at once wait in its outbox, in order. At QoS 1 a message whose fate is
 * unknown is published again; at QoS 2 it is not, for it may have arrived.
 *
 * The payload says whose message it is and which: "d7:42", filled up with dots
 * to the planned size. No two messages of a run are equal, so that the checker
 * (check.h) can tell them apart; but where the plan wants them alike, "d7=same", and
 * then it counts them.
 *
 * What it does is said as SIM_DEVICE, why being one of
 *   connected connected-clean refused lost left asleep subscribed rejected
 *   reboots off moves dropped
 * and of its messages as SIM_DEVICE_PUBLISHES, _ACCEPTED, _GOT and _GIVES_UP, why
 * being one of rejected, unknown, outbox-full, memory-lost.
 */
#ifndef SIM_DEVICE_H
#define SIM_DEVICE_H

#include "mqttsn/client.h"
#include "radio/rtt.h"
#include "sim/channel.h"
#include "sim/profile.h"

#define SIM_DEVICE_NAME_MAX      23
#define SIM_DEVICE_TOPIC_MAX     95
#define SIM_DEVICE_PUBLICATIONS  4
#define SIM_DEVICE_SUBSCRIPTIONS 4
#define SIM_DEVICE_PAYLOAD_MAX   1400

/* In topics "{n}" stands for the device's number and "{name}" for its name. */
struct sim_publication {
    char topic[SIM_DEVICE_TOPIC_MAX + 1];
    uint16_t tid; /* a predefined topic id instead; 0: none */
    int8_t qos;
    bool retain;
    bool together;         /* all devices at the same moment */
    struct sim_span every; /* from one message to the next; high 0: only one */
    uint64_t spread_us;    /* the first one comes within it; 0: within `every` */
    uint64_t from_us;      /* since the beginning of the run */
    uint64_t until_us;     /* 0: as long as the run */
    uint32_t burst;        /* messages at a time */
    uint32_t size;         /* octets of payload, at least */
};

struct sim_subscription {
    char filter[SIM_DEVICE_TOPIC_MAX + 1];
    uint16_t tid;
    int8_t qos;
};

enum sim_retry {
    SIM_RETRY_MEASURED, /* from the link's profile, then by the round trips */
    SIM_RETRY_GIVEN,    /* retry.low, doubled up to retry.high */
};

struct sim_device_plan {
    struct sim_publication publications[SIM_DEVICE_PUBLICATIONS];
    size_t publication_count;
    struct sim_subscription subscriptions[SIM_DEVICE_SUBSCRIPTIONS];
    size_t subscription_count;
    uint16_t keepalive_s;
    bool clean;
    bool alike;       /* all its messages are, and after each boot its message ids are the same */
    uint16_t sleep_s; /* 0: it stays awake */
    enum sim_retry retry;
    struct sim_span retry_us;
    uint8_t retries;
    uint32_t outbox;                           /* messages; the oldest one gives way */
    uint64_t start_us;                         /* connects within this time; 0: all at once */
    char will_topic[SIM_DEVICE_TOPIC_MAX + 1]; /* empty: none */
    char will_message[SIM_DEVICE_TOPIC_MAX + 1];
    int8_t will_qos;
};

/* Connects on its own, keeps the session, retries by measurement. */
void sim_device_plan_init(struct sim_device_plan *plan);

/* Where a device is: one of the links. */
struct sim_device_place {
    struct sim_channel *channel;
    const char *name;
    uint32_t peer; /* sim_channel_attach() */
    uint32_t frame_max;
    struct radio_rtt_limits rtt;
    uint8_t retries; /* of the link's profile */
};

struct sim_device;

/* The names of predefined topics come from the bridge's configuration. Everything
 * must outlive the device. It is off. */
struct sim_device *sim_device_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                                   const struct sim_device_plan *plan, const char *name,
                                   uint32_t number, const struct bridge_config *config);
void sim_device_close(struct sim_device *d);

/* Where it is from now on. Its radio changes, what it knows stays. */
void sim_device_place(struct sim_device *d, const struct sim_device_place *place);

void sim_device_start(struct sim_device *d);
void sim_device_reboot(struct sim_device *d); /* everything in its memory is gone */
void sim_device_off(struct sim_device *d);    /* likewise, until sim_device_start() */
void sim_device_leave(struct sim_device *d);  /* a clean DISCONNECT; connects no more */

/* No more messages of its own; what is in the outbox goes on. */
void sim_device_quiet(struct sim_device *d);

void sim_device_frame(struct sim_device *d, const uint8_t *frame, size_t len);

/* The frame that it sent last waits for the air: its radio has not taken it yet,
 * and a device that retries by measurement does not count this time. Then it has
 * left the antenna, or will never. */
void sim_device_waits(struct sim_device *d);
void sim_device_sent(struct sim_device *d, bool lost);

/* One message beyond its plan, like those of publication number `which`. */
void sim_device_publish(struct sim_device *d, size_t which);

const char *sim_device_name(const struct sim_device *d);
bool sim_device_is_on(const struct sim_device *d);
bool sim_device_has_left(const struct sim_device *d);

/* Nothing waits: the outbox is empty, nothing is open, and it is connected,
 * asleep, off, or has left. */
bool sim_device_is_idle(const struct sim_device *d);

struct sim_device_figures {
    uint64_t made;      /* messages */
    uint64_t accepted;  /* acknowledged, or sent at QoS 0 */
    uint64_t rejected;  /* refused by the gateway */
    uint64_t unknown;   /* QoS 2: given up with its fate unknown */
    uint64_t discarded; /* outbox full, or lost with the memory */
    uint64_t got;
    uint64_t losses;    /* of the connection */
    uint64_t publishes; /* PUBLISH frames at QoS 1 and 2, repeats included */
};
void sim_device_figures(const struct sim_device *d, struct sim_device_figures *out);
void sim_device_sum(const struct sim_device *d, struct sim_device_figures *sum); /* adds them */

#endif
