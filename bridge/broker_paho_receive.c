#include "bridge/broker_paho.h"

#include <errno.h>
#include <string.h>

#define RECEIVED_MAX    65536u
#define RECEIVED_OCTETS (64u * 1024u * 1024u)
#define STALLED_MS      5000u

/* ---- callbacks: receiving ---------------------------------------------------------------- */

static uint32_t message_expiry(const MQTTAsync_message *m)
{
    const MQTTProperty *p = NULL;
    for (int i = 0; i < m->properties.count; i++)
        if (m->properties.array[i].identifier == MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL)
            p = &m->properties.array[i];
    return p != NULL ? (uint32_t)p->value.integer4 : 0;
}

static void take_ids(const MQTTAsync_message *m, struct bridge_event *event)
{
    event->message.id_count = 0;
    for (int i = 0; i < m->properties.count; i++) {
        const MQTTProperty *p = &m->properties.array[i];
        if (p->identifier != MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER)
            continue;
        if (event->message.id_count == BRIDGE_IDS_MAX) {
            event->message.id_count = 0; /* too many to name: one copy for all that match */
            return;
        }
        event->message.ids[event->message.id_count++] = (uint32_t)p->value.integer4;
    }
}

static bool is_mailbox_full(struct broker *b, size_t octets)
{
    return b->qos0_notices >= RECEIVED_MAX || b->qos0_octets + octets > RECEIVED_OCTETS;
}

/* Waits until the loop has accepted the message, or until it never will and the
 * acknowledgement cannot be sent. With the lock. */
static void wait_for_accept(struct connection *c, uint64_t token, int mid)
{
    struct broker *b = c->broker;
    b->waiting = true;
    b->waiting_since_ms = paho_clock_ms();
    const struct timespec late = paho_clock_at(b->waiting_since_ms + STALLED_MS);
    bool stalled = false;
    while (b->accepted_token != token) {
        if (b->cut || c->cut) {
            if (paho_shut_socket(c))
                break;
            /* Without a socket to shut the acknowledgement could only be kept
             * back by never returning. */
            if (b->cut) {
                b->abandoned = true;
                pthread_cond_broadcast(&b->work);
            }
        }
        if (stalled) {
            pthread_cond_wait(&b->accepted, &b->lock);
        } else if (pthread_cond_timedwait(&b->accepted, &b->lock, &late) == ETIMEDOUT) {
            stalled = true;
            b->figures.stalls++;
        }
    }
    b->waiting = false;
    if (b->accepted_token != token)
        c->refused_mid = mid;
}

int paho_on_message(void *ctx, char *topic, int topic_len, MQTTAsync_message *message)
{
    struct connection *c = ctx;
    struct broker *b = c->broker;
    const size_t len = topic_len > 0 ? (size_t)topic_len : strlen(topic);
    const size_t octets = len + (size_t)message->payloadlen;
    paho_meter_packet(c);

    pthread_mutex_lock(&b->lock);
    b->figures.received++;
    if (message->qos == 0 && is_mailbox_full(b, octets)) {
        b->figures.dropped++;
    } else {
        struct notice *n = paho_add_notice(b, BRIDGE_ON_MESSAGE);
        n->event.message.conn = c->number;
        n->event.message.qos = (uint8_t)message->qos;
        n->event.message.retain = message->retained != 0;
        n->event.message.expiry_s = message_expiry(message);
        take_ids(message, &n->event);
        n->event.message.token = message->qos > 0 ? ++b->token : 0;
        n->text = broker_mail_keep(&b->notices, sn_bytes(topic, len));
        n->body =
            broker_mail_keep(&b->notices, sn_bytes(message->payload, (size_t)message->payloadlen));
        n->event.message.topic.len = len;
        n->event.message.payload.len = (size_t)message->payloadlen;
        if (message->qos == 2) {
            n->mid = (uint16_t)message->msgid;
            n->protocol = c->handle_protocol;
            n->session = c->session;
        }
        if (message->qos == 0) {
            b->qos0_notices++;
            b->qos0_octets += octets;
        } else {
            wait_for_accept(c, b->token, message->msgid);
        }
    }
    pthread_mutex_unlock(&b->lock);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1; /* with 0 Paho would acknowledge all the same, and keep the message */
}
