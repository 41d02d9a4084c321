/* The nodes of a channel, and what they share. Only sim/channel.c and the files
 * node_*.c include this.
 *
 * A line is one way to the gateway and back: that of all devices of a channel,
 * or of one. Each direction of a line is a chain of nodes. A node takes a
 * packet and owns it until it passes it on, loses it, or holds it for a while.
 * A node that concerns both directions (a medium, a call) is one node in both
 * chains.
 *
 * A line can be down, for several reasons at once. All nodes are told when it
 * goes down, and lose what is on its way; a node with a queue also loses that,
 * unless the profile says hold. Nodes with a queue ask sim_line_takes() before
 * they take a packet.
 */
#ifndef SIM_NODE_H
#define SIM_NODE_H

#include "sim/channel.h"
#include "sim/profile.h"

/* A frame under way. */
struct sim_packet {
    struct sim_packet *next; /* in its holder's queue */
    uint64_t frame;          /* its number in the trace */
    uint64_t late_us;        /* what nodes have added to its delay */
    uint64_t due_us;         /* the holder's own: when it goes on */
    enum sim_direction direction;
    uint32_t peer; /* a device; 0, downwards only: all of them */
    uint32_t air_bits;
    bool out_of_order; /* others may overtake it */
    size_t len;
    uint8_t octets[];
};

/* First in, first out. */
struct sim_queue {
    struct sim_packet *first;
    struct sim_packet *last;
    uint32_t count;
};

void sim_queue_put(struct sim_queue *q, struct sim_packet *p);
struct sim_packet *sim_queue_take(struct sim_queue *q); /* NULL when empty */

struct sim_node;

struct sim_node_ops {
    /* Becomes the owner of p. NULL for a node that is in no chain, and acts on the line. */
    void (*take)(struct sim_node *n, struct sim_packet *p);
    /* The line went down: loses what is on its way, and what waits if queues is
     * true. Also without a line that goes down, when what waits is given up. NULL: it
     * holds nothing. */
    void (*drop)(struct sim_node *n, const char *why, bool queues);
    /* The line came up. NULL: nothing to do. */
    void (*up)(struct sim_node *n);
    /* The channel ends: gives back what it holds, without a word, but not the node. NULL:
     * nothing. */
    void (*close)(struct sim_node *n);
};

struct sim_node {
    const struct sim_node_ops *ops;
    struct sim_line *line;
    struct sim_node *next[2]; /* by direction; NULL: the other end */
    struct sim_node *another; /* of the line, in the order in which they were made */
};

/* Why a line is down: one bit each. */
enum sim_cause {
    SIM_CAUSE_BROKEN = 1 << 0,  /* a planned fault */
    SIM_CAUSE_CONTACT = 1 << 1, /* nothing above the horizon */
    SIM_CAUSE_FLAP = 1 << 2,    /* went by itself */
    SIM_CAUSE_CALL = 1 << 3,    /* no call stands */
};

struct sim_line {
    struct sim_channel *channel;
    struct sim_world *world;
    struct sim_trace *trace;
    const struct sim_profile *profile;
    const char *name;   /* the channel's */
    const char *device; /* whose line it is; NULL: everybody's */
    uint64_t seed;
    struct sim_node *nodes;
    struct sim_node *first[2]; /* by direction; NULL: straight to the other end */
    unsigned causes;           /* of enum sim_cause: why it is down; 0: it is up */
    uint32_t slower;           /* divides every rate */
    uint32_t waiting;          /* packets that wait for the air or are on it */
};

/* Makes a node of this size known to its line, zeroed but for its head. It joins the chains with
 * sim_node_join(), in the order from sender to receiver. */
void *sim_node_new(struct sim_line *l, size_t size, const struct sim_node_ops *ops);
void sim_node_join(struct sim_node *n, enum sim_direction direction);

/* To the next node of p's direction, or out at the other end. */
void sim_pass(struct sim_node *n, struct sim_packet *p);

/* Says so and forgets it. why is one word. */
void sim_lose(struct sim_line *l, struct sim_packet *p, const char *why);
void sim_lose_all(struct sim_line *l, struct sim_queue *q, const char *why);
void sim_forget_all(struct sim_queue *q); /* without a word */

/* Another of the same, without a word; and one more under way, which is said. */
struct sim_packet *sim_packet_clone(const struct sim_packet *p);
struct sim_packet *sim_copy(struct sim_line *l, const struct sim_packet *p);

/* Says something of a line, or of a packet: the caller gives type and what is special. */
void sim_line_say(struct sim_line *l, struct sim_record record);
void sim_packet_say(struct sim_line *l, const struct sim_packet *p, struct sim_record record);

/* A cause comes or goes; the line goes down with the first and up with the last. */
void sim_line_set(struct sim_line *l, enum sim_cause cause, bool down, const char *why);

static inline bool sim_line_is_up(const struct sim_line *l)
{
    return l->causes == 0;
}

/* Whether a queue may take a packet: up, or held until it is. */
static inline bool sim_line_takes(const struct sim_line *l)
{
    return l->causes == 0 || l->profile->hold;
}

/* Says that so many hundredths of the profile's unit are to be paid; 0 is not said. */
void sim_line_pay(struct sim_line *l, uint64_t hundredths);

/* What waits is given up. */
void sim_line_give_up(struct sim_line *l, const char *why);

/* A node's own stream of chance; part names it within the line. */
void sim_line_random(const struct sim_line *l, const char *part, struct sim_random *r);

/* A time within the span, evenly. */
uint64_t sim_draw(struct sim_random *r, struct sim_span span);

/* ---- the air ------------------------------------------------------------------ */

/* airtime.c: how long a frame is on the air, in microseconds, rounded up, and in *bits
 * how much that is with overhead. slower divides the rate. */
uint64_t sim_airtime(const struct sim_profile *p, enum sim_direction direction, size_t len,
                     uint32_t slower, uint32_t *bits);

/* ---- making nodes: each adds itself if the profile asks for it ------------------ */

struct sim_node *sim_plan_add(struct sim_line *l);                     /* node_plan.c */
void sim_repeat_add(struct sim_line *l);                               /* node_repeat.c */
void sim_repeat_add_end(struct sim_line *l);                           /* and its other half */
struct sim_node *sim_answer_add(struct sim_line *l);                   /* node_answer.c */
void sim_dial_add(struct sim_line *l);                                 /* node_dial.c */
void sim_sbd_add(struct sim_line *l);                                  /* node_sbd.c */
void sim_wire_add(struct sim_line *l, enum sim_direction direction);   /* node_wire.c */
void sim_air_add(struct sim_line *l);                                  /* node_air.c */
void sim_meter_add(struct sim_line *l);                                /* node_meter.c */
void sim_fade_add(struct sim_line *l);                                 /* node_fade.c */
void sim_loss_add(struct sim_line *l, enum sim_direction direction);   /* node_loss.c */
void sim_damage_add(struct sim_line *l, enum sim_direction direction); /* node_damage.c */
void sim_delay_add(struct sim_line *l, enum sim_direction direction);  /* node_delay.c */

#endif
