/* A bridge on a bench: one core with a model of everything around it.
 *
 * A test is a transcript. A line at the margin is something that happens outside,
 * and is fed in; the indented ones below it are what the bridge must do about it,
 * word for word and nothing else. Single quotes stand for double quotes.
 *
 *   play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
 *           "    save session 1\n"
 *           "stored\n"
 *           "    * CLIENT_CONNECTED a\n"
 *           "    a < CONNACK code=accepted\n");
 *
 * What may come from outside:
 *   NAME > PACKET         a frame as sn_print() writes it, from peer NAME; NAME@1
 *                         is on link 1, NAME/NODE is behind forwarder NAME
 *   NAME > hex 0102       octets as they are
 *   stored [SEQ]          the disk has everything, or everything up to SEQ
 *   store failed [SEQ]    the disk refuses the messages that wait for it, or those up to SEQ
 *   fetched               the answer to the oldest FETCH
 *   broker [CONN] up [session] [window N] [qos N]
 *   broker [CONN] down [code N]
 *   delivered SEQ [code N]
 *   subscribed N CODE     the answer to request N
 *   unsubscribed N
 *   message [via CONN] [token N] qos=Q [retain] [expiry N] TOPIC 'PAYLOAD'
 *   wait MS               time passes; "+MS" stands before what is said meanwhile
 *   crash                 a new bridge, with what the disk had
 *   kill                  the same, after the disk has got everything
 *   stop
 *
 * CONN is the number of a session that has a broker connection of its own; what
 * concerns that says "via CONN". Without it the shared one is meant.
 *
 * bridge_check() and the rules of the seams are applied after every step: what
 * store.h and broker.h promise each other, that nothing acknowledged is missing
 * from both the disk and the broker, and that a restart sends nothing.
 *
 * With the environment variable RIG_SHOW the whole transcript is printed as it
 * is, and expectations are left out: the way to write a new one.
 */
#ifndef TESTS_BRIDGE_RIG_H
#define TESTS_BRIDGE_RIG_H

#include "bridge/bridge.h"

struct rig;

struct rig_options {
    struct bridge_config config;
    struct bridge_link_config links[2];
    size_t memory; /* beyond the least; 0: 4 MiB */
    bool quiet;    /* no transcript is made: for the fuzzer */
    bool lanes;    /* the transcript tells the queues to the broker apart */
    /* Told of every action after the rig has seen it; may be NULL. */
    void (*watch)(void *ctx, const struct bridge_action *a);
    void *ctx;
};

/* Two links; forwarders, roaming and QoS -1 allowed on both; T_retry 10 s fixed,
 * 3 repeats; ack = stored; one copy of a message for all filters; three predefined ids: 1 for every client, 2 for every
 * client, 2 another for client "a". */
void rig_defaults(struct rig_options *o);

/* A bridge that has started with an empty disk and whose broker is down (and up
 * after `broker up`). The transcript begins after that. */
struct rig *rig_new(const struct rig_options *o);
void rig_free(struct rig *r);

#define play(r, transcript) rig_play(r, __FILE__, __LINE__, transcript)
void rig_play(struct rig *r, const char *file, int line, const char *transcript);

/* What was said up to here is of no interest. */
void rig_skip(struct rig *r);

/* ---- the same by calls, for programs that make up their events ---- */

/* Feeds one event, checks everything. */
void rig_step(struct rig *r, const struct bridge_event *event);
void rig_pass(struct rig *r, uint64_t ms); /* time passes, timers run */
void rig_frame(struct rig *r, const char *peer, const struct sn_packet *p);
void rig_commit(struct rig *r, uint64_t up_to);
void rig_refuse(struct rig *r, uint64_t up_to);
bool rig_fetched(struct rig *r); /* false: no FETCH was open */
void rig_broker_up(struct rig *r, bool session, uint16_t window, uint8_t max_qos);
void rig_conn_up(struct rig *r, uint32_t conn, bool session, uint16_t window, uint8_t max_qos);
/* code: the broker refuses CONNECT; 0: it is away or lost. */
void rig_conn_down(struct rig *r, uint32_t conn, uint8_t code);
void rig_delivered(struct rig *r, uint64_t seq, uint8_t code);
void rig_restart(struct rig *r, bool committed);

uint64_t rig_now(const struct rig *r);
uint64_t rig_ticket(const struct rig *r); /* the last one handed over */
struct bridge *rig_bridge(const struct rig *r);
void rig_status(const struct rig *r, struct bridge_status *out);

/* The driver has another configuration; whether the bridge goes on with it. */
bool rig_reload(struct rig *r, const struct rig_options *o);

/* Damage: the disk has lost a message, or has other octets in a record (none:
 * the record is missing). Takes effect with the next restart. */
void rig_lose_row(struct rig *r, uint32_t queue, uint64_t seq);
void rig_spoil(struct rig *r, uint32_t session, enum bridge_record_kind kind, uint32_t key,
               struct sn_bytes value);
/* Everything has another name after the next restart; the configuration has changed. */
void rig_rename_link(struct rig *r, uint16_t link, const char *name);

/* What is open. */
size_t rig_undecided(const struct rig *r, uint64_t *seqs, size_t size); /* at the broker */
size_t rig_fetches(const struct rig *r);
size_t rig_uncommitted(const struct rig *r);
bool rig_wants_broker(const struct rig *r, uint32_t conn); /* CONNECT was asked for */
bool rig_has_broker(const struct rig *r, uint32_t conn);   /* it is up */
bool rig_has_session(const struct rig *r, uint32_t conn);  /* and the broker keeps its session */
uint32_t rig_conns(const struct rig *r); /* connections have lower numbers than this */
size_t rig_rows(const struct rig *r);    /* messages on the disk */

/* "a", "a@1", "fwd/n1" */
void rig_peer_name(uint16_t link, const struct radio_address *to, struct sn_bytes node, char *out,
                   size_t size);

#endif
