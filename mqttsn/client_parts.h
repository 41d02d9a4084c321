/* What the files of the client share. Private to mqttsn/; applications see client.h.
 *
 *   client.c            what the application wishes, and time
 *   client_receive.c    frames that came in, and what is published to us
 *   client_session.c    CONNECT with its will dialogue, sleep, loss, the end
 *   client_request.c    the one open request: REGISTER, PUBLISH, SUBSCRIBE, a new will
 *   client_gateways.c   the table of gateways, ADVERTISE, SEARCHGW, GWINFO
 *   client_topics.c     the table of topic names and ids
 *   client_send.c       frames on their way out
 *
 * The prefix snc_ keeps these names apart from those of the firmware that
 * libmqttsn.a is linked into.
 */
#ifndef SN_CLIENT_PARTS_H
#define SN_CLIENT_PARTS_H

#include "mqttsn/client.h"
#include "mqttsn/topic.h"

#include <assert.h>

#define SNC_NO_GATEWAY UINT8_MAX

/* What the gateway is to be told about the will (6.3, 6.4). */
enum snc_will_state {
    SNC_WILL_NONE,   /* nothing: there is none, or whatever the gateway has is fine */
    SNC_WILL_NEW,    /* the gateway does not have it yet */
    SNC_WILL_TOLD,   /* the gateway has it: only a fresh connection needs it again */
    SNC_WILL_DELETE, /* the gateway is to forget an older one */
};

static inline uint32_t snc_doubled(uint32_t wait_ms, uint32_t max_ms)
{
    return wait_ms > max_ms / 2 ? max_ms : 2 * wait_ms;
}

static inline bool snc_is_assignable(uint16_t tid)
{
    return tid != 0x0000 && tid != 0xFFFF; /* 5.3.11 */
}

/* Whether messages may come from the gateway now. */
static inline bool snc_is_listening(const struct sn_client *c)
{
    return c->state == SN_CLIENT_ACTIVE || c->state == SN_CLIENT_DROWSY ||
           c->state == SN_CLIENT_ASLEEP || c->state == SN_CLIENT_AWAKE;
}

/* ---- client_send.c: frames on their way out */

uint32_t snc_random(struct sn_client *c);
/* 0 to limit, both included. */
uint32_t snc_random_up_to(struct sn_client *c, uint32_t limit);
/* Whether a message of fixed + variable octets fits into the frame limit. */
bool snc_fits(const struct sn_client *c, size_t fixed, size_t variable);
/* The next message id; never 0. */
uint16_t snc_take_mid(struct sn_client *c);
void snc_emit(const struct sn_client *c, const struct sn_client_event *e);
/* To the current gateway. Every caller has made sure that the message fits. */
void snc_send(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p);
void snc_broadcast(struct sn_client *c, uint8_t radius, const struct sn_packet *p);
void snc_send_mid(struct sn_client *c, uint64_t now_ms, enum sn_type type, uint16_t mid);
void snc_send_ack(struct sn_client *c, uint64_t now_ms, enum sn_type type, uint16_t tid,
                  uint16_t mid, uint8_t code);
/* T_retry and N_retry of the configuration, from now. */
void snc_start_retry(const struct sn_client *c, struct sn_retry *r, uint64_t now_ms);
/* fault SN_OK: a correct message that does not fit in here. */
void snc_discard(const struct sn_client *c, enum sn_fault fault, enum sn_type type);

/* ---- client_topics.c: the table of topics */

struct sn_bytes snc_topic_name(const struct sn_client *c, size_t place);
/* Both count as a use of the place; NULL when there is none. */
struct sn_client_topic *snc_find_name(struct sn_client *c, struct sn_bytes name);
struct sn_client_topic *snc_find_tid(struct sn_client *c, uint16_t tid);
/* The place of a name: its own, a free one, or the one that was not used for
 * the longest time. NULL if the open request needs the only place. */
struct sn_client_topic *snc_place_for(struct sn_client *c, struct sn_bytes name);
/* The newest pairing wins in both directions (6.5). */
void snc_pair(struct sn_client *c, struct sn_client_topic *t, uint16_t tid);
void snc_forget_tids(struct sn_client *c);

/* ---- client_gateways.c: gateways come and go, 6.1 */

/* Empty when the table has no places. */
struct sn_bytes snc_current_address(const struct sn_client *c);
/* The gateway in the current place, or if it is gone another one. */
bool snc_choose_gateway(struct sn_client *c);
/* NULL: the table is full. */
struct sn_client_gateway *snc_add_gateway(struct sn_client *c, struct sn_bytes address);
void snc_start_search(struct sn_client *c, uint64_t now_ms);
/* 6.13: another gateway first, then the former one again. */
void snc_next_gateway(struct sn_client *c);
/* A search was made, by us or by a neighbour: the next one later (6.1). */
void snc_postpone_search(struct sn_client *c, uint64_t now_ms);
/* GWINFO on behalf of a gateway: its delay is over. */
void snc_answer_search(struct sn_client *c);
/* Those whose ADVERTISE did not come N_ADV times. */
void snc_drop_silent_gateways(struct sn_client *c, uint64_t now_ms);
void snc_on_broadcast(struct sn_client *c, uint64_t now_ms, struct sn_bytes from,
                      const struct sn_packet *p);

/* ---- client_request.c: the open request: from opening it to its answer */

/* Ends the open request and tells the application. */
void snc_finish(struct sn_client *c, enum sn_client_result result, uint8_t code, int8_t qos);
/* The same, if there is one. */
void snc_finish_open(struct sn_client *c, enum sn_client_result result);
void snc_send_will_topic(struct sn_client *c, uint64_t now_ms, enum sn_type type);
void snc_send_will_message(struct sn_client *c, uint64_t now_ms, enum sn_type type);
/* Sends what the open request needs next, or parks it. */
void snc_go_on(struct sn_client *c, uint64_t now_ms);
void snc_repeat_open(struct sn_client *c, uint64_t now_ms);
void snc_open_request(struct sn_client *c, enum sn_type what, struct sn_topic_ref topic, int8_t qos,
                      struct sn_bytes kept);
/* What answers a request of ours. */
void snc_on_answer(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p);

/* ---- client_session.c: connecting, losing, sleeping */

/* When keep-alive wants a PINGREQ; SN_NEVER: not. */
uint64_t snc_ping_due(const struct sn_client *c);
void snc_send_pingreq(struct sn_client *c, uint64_t now_ms);
void snc_send_disconnect(struct sn_client *c, uint64_t now_ms);
/* CONNECT, or SEARCHGW when no gateway is known. */
void snc_start_connect(struct sn_client *c, uint64_t now_ms);
/* The connection, or the attempt at one, has failed: pause, then again. */
void snc_lose(struct sn_client *c, uint64_t now_ms, enum sn_client_loss why,
              enum sn_type waiting_for);
/* PINGREQ with our id, 6.14. */
void snc_wake_up(struct sn_client *c, uint64_t now_ms);
void snc_end(struct sn_client *c);
void snc_on_will_request(struct sn_client *c, uint64_t now_ms, enum sn_type answer);
void snc_on_connack(struct sn_client *c, uint64_t now_ms, uint8_t code);
void snc_on_pingresp(struct sn_client *c, uint64_t now_ms);
void snc_on_disconnect(struct sn_client *c, uint64_t now_ms);
/* What these repeat, or give up, is what c->retry supervises. */
void snc_repeat(struct sn_client *c, uint64_t now_ms);
void snc_give_up(struct sn_client *c, uint64_t now_ms);

#endif
