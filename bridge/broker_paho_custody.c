/* What of the messages in flight is on disk, and how they are found there after
 * a crash. The proof that this makes QoS 2 exactly once stands in broker.h.
 *
 * An OUT flight says: this message of ours has this packet id. It is written
 * before the PUBLISH goes out, once more, as released, before the PUBREL, and
 * goes away with the message. The packets themselves are not written: the PUBLISH
 * is made again from the message.
 *
 * A packet id may be used again as soon as PUBCOMP is here, which may be before
 * the message is forgotten on disk. So flights carry an ascending order: of two
 * with one packet id the older one has ended.
 *
 * Paho calls for the first write on its sending thread for one message after the
 * other, which would be a commit for each. So our thread, which hands over a whole
 * turn of the loop, foresees the packet ids and writes them in one commit; where
 * it was wrong, the call does the writing. A flight that was written and not sent
 * is harmless: the message has not left us, and would be sent with that id.
 *
 * On its receiving thread it does the same with one PUBREC after the other. Those behind
 * the one that it is handling are seen in the socket and go into its commit. With TLS
 * and WebSockets they are not, and each message costs a commit of its own there:
 *   - Paho gives nobody its SSL, and OpenSSL shows ahead no more than the record that it
 *     has decrypted, in which a broker has one packet; what Paho has of a WebSocket's
 *     frame in its own buffer cannot be seen either, and to take other octets for a
 *     PUBREC would lose a message.
 *   - The write cannot be put off: Paho sends PUBREL when the call returns, and what was
 *     released and not written would after a crash be published once more, by an id that
 *     the broker does not know any more.
 *   - Nor can it be made before the PUBREC is here: after a crash only PUBREL would be
 *     repeated, and a message that had not arrived be lost.
 *
 * An IN flight says: the message with this packet id is ours, do not take it
 * again. With MQTT 5 Paho hands a message over at PUBLISH, so the flight is put
 * in the turn that stores the message. With 3.1.1 it hands it over at PUBREL: the
 * flight with the whole packet is put before PUBREC, and dropped in that turn. It
 * is dropped, at the latest, before PUBCOMP lets the broker use the id again.
 *
 * Values, most significant octet first: protocol u8, session u32; then OUT:
 * packet id u16, released u8, order u64; IN with 3.1.1: the PUBLISH.
 */
#include "bridge/broker_paho.h"
#include "bridge/crc32c.h"
#include "bridge/store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS   50u   /* for the disk, before looking whether we are closing */
#define AHEAD_MAX 2048u /* octets that are looked at before Paho reads them */
#define PUBREC    5
#define VALUE_MAX 16u

/* ---- writing ------------------------------------------------------------------------- */

static uint64_t put_out(const struct connection *c, const struct flight *f, int mid, bool released)
{
    uint8_t value[VALUE_MAX];
    struct sn_writer w = sn_writer(value, sizeof value);
    sn_write_u8(&w, c->handle_protocol);
    sn_write_u32(&w, c->session);
    sn_write_u16(&w, (uint16_t)mid);
    sn_write_u8(&w, released);
    sn_write_u64(&w, f->order);
    assert(!w.failed);
    return store_flight_put(c->broker->options.store,
                            &(struct store_flight){.kind = STORE_FLIGHT_OUT,
                                                   .key = f->seq,
                                                   .conn = c->number,
                                                   .queue = f->queue,
                                                   .value = sn_bytes(value, sn_writer_len(&w))});
}

/* Only in a callback: returns when the disk has it, or when nothing that depends
 * on it can be sent any more; or never, as wait_for_accept(). */
static void wait_in_callback(struct connection *c, uint64_t number)
{
    struct broker *b = c->broker;
    while (!store_flight_is_durable(b->options.store, number, WAIT_MS)) {
        pthread_mutex_lock(&b->lock);
        const bool cut = b->cut;
        const bool shut = cut && paho_shut_socket(c);
        if (cut && !shut) {
            b->abandoned = true;
            pthread_cond_broadcast(&b->work);
        }
        pthread_mutex_unlock(&b->lock);
        if (shut)
            return;
    }
}

static struct flight *find_flight(struct connection *c, int mid)
{
    for (struct flight *f = c->flights.next; f != &c->flights; f = f->next)
        if (f->kind == FLIGHT_PUBLISH && f->state == FLIGHT_SENT && f->token == mid)
            return f;
    return paho_find_carried_token(c, mid);
}

/* A PUBREC that is in the socket is as good as one that was handled. */
static uint64_t note_ahead(struct connection *c, struct sn_bytes body)
{
    struct sn_reader r = sn_reader(body);
    const int mid = sn_read_u16(&r);
    const uint8_t reason = sn_reader_left(&r) > 0 ? sn_read_u8(&r) : 0;
    struct flight *f = r.failed || reason >= 0x80 ? NULL : find_flight(c, mid);
    if (f == NULL || f->qos != 2 || f->released)
        return 0;
    f->released = true;
    return put_out(c, f, mid, true);
}

/* Paho handles one packet after the other, which would be a commit for each. What
 * lies behind the one it is handling goes into the same commit. With the lock;
 * returns the number to wait for. */
static uint64_t look_ahead(struct connection *c, uint64_t number)
{
    uint8_t octets[AHEAD_MAX];
    struct sn_reader r = sn_reader(sn_bytes(octets, paho_peek_socket(c, octets, sizeof octets)));
    for (;;) {
        const uint8_t type = sn_read_u8(&r) >> 4;
        size_t len = 0;
        uint8_t digit = 128;
        for (unsigned shift = 0; shift < 28 && (digit & 128) != 0; shift += 7) {
            digit = sn_read_u8(&r);
            len |= (size_t)(digit & 127) << shift;
        }
        const struct sn_bytes body = sn_read_bytes(&r, len);
        if (r.failed)
            return number;
        const uint64_t n = type == PUBREC ? note_ahead(c, body) : 0;
        number = n != 0 ? n : number;
    }
}

static void write_out(struct connection *c, int mid, bool released)
{
    struct broker *b = c->broker;
    uint64_t number = 0;
    pthread_mutex_lock(&b->lock);
    struct flight *f = find_flight(c, mid);
    if (f != NULL && f->qos == 2) {
        const bool known = f->state != FLIGHT_SENT || f->recorded == mid;
        if (b->options.store != NULL && (released ? !f->released : !known))
            number = put_out(c, f, mid, released);
        f->recorded = mid;
        f->released = f->released || released;
        if (number != 0 && released)
            number = look_ahead(c, number);
    }
    pthread_mutex_unlock(&b->lock);
    if (number != 0)
        wait_in_callback(c, number);
}

void paho_custody_sending(struct connection *c, int mid)
{
    write_out(c, mid, false);
}

void paho_custody_releasing(struct connection *c, int mid)
{
    write_out(c, mid, true);
}

void paho_custody_drop(const struct flight *f)
{
    const struct broker *b = f->conn->broker;
    if (b->options.store != NULL && f->recorded != 0)
        store_flight_drop(b->options.store, STORE_FLIGHT_OUT, f->seq, f->conn->number);
}

void paho_custody_forget(struct connection *c)
{
    broker_keep_clear(&c->keep);
    paho_drop_carried(c);
    if (c->broker->options.store != NULL)
        store_flight_drop_all(c->broker->options.store, c->number);
}

/* ---- foreseeing ------------------------------------------------------------------------ */

static bool is_used(struct connection *c, int mid)
{
    for (const struct flight *f = c->flights.next; f != &c->flights; f = f->next)
        if (f->token == mid)
            return true;
    return paho_find_carried_token(c, mid) != NULL;
}

static int next_mid(struct connection *c, int mid)
{
    do
        mid = mid == UINT16_MAX ? 1 : mid + 1;
    while (is_used(c, mid));
    return mid;
}

static uint64_t foresee_one(struct broker *b, struct command *command)
{
    struct connection *c = paho_find_connection(b, command->conn);
    if (c == NULL || c->state != CONNECTION_UP || !c->wanted)
        return 0;
    if (command->type != BRIDGE_DO_PUBLISH) {
        c->foreseen_mid = next_mid(c, c->foreseen_mid);
        return 0;
    }
    const uint8_t qos = command->qos < c->max_qos ? command->qos : c->max_qos;
    if (qos == 0 || paho_find_carried(c, command->seq) != NULL)
        return 0;
    c->foreseen_mid = next_mid(c, c->foreseen_mid);
    if (qos < 2)
        return 0;
    command->foreseen = c->foreseen_mid;
    command->order = ++b->custody_order;
    const struct flight f = {.seq = command->seq, .queue = command->queue, .order = command->order};
    return put_out(c, &f, command->foreseen, false);
}

void paho_custody_foresee(struct broker *b)
{
    struct command *command;
    uint64_t number = 0;
    if (b->options.store == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; (command = broker_mail_peek(&b->working, i)) != NULL; i++) {
        struct connection *c = paho_find_connection(b, command->conn);
        if (c != NULL)
            c->foreseen_mid = c->last_mid;
    }
    for (size_t i = 0; (command = broker_mail_peek(&b->working, i)) != NULL; i++) {
        const uint64_t n = foresee_one(b, command);
        number = n != 0 ? n : number;
    }
    pthread_mutex_unlock(&b->lock);
    /* What is not on disk when we close is written, or not sent, by Paho's call. */
    bool closing = false;
    while (number != 0 && !closing && !store_flight_is_durable(b->options.store, number, WAIT_MS)) {
        pthread_mutex_lock(&b->lock);
        closing = b->closing;
        pthread_mutex_unlock(&b->lock);
    }
    for (size_t i = 0; closing && (command = broker_mail_peek(&b->working, i)) != NULL; i++)
        command->foreseen = 0;
}

/* When an id was not the one foreseen, those behind it will not be either, and one
 * may already be written for another message: then two would have it, and the
 * older one be taken for ended. So they are dropped before anything else is
 * written, and Paho's call does the writing. */
void paho_custody_assigned(struct connection *c, int mid)
{
    struct broker *b = c->broker;
    struct command *command;
    if (c->sending->recorded == 0 || c->sending->recorded == mid)
        return;
    for (size_t i = 0; (command = broker_mail_peek(&b->working, i)) != NULL; i++) {
        if (command->conn != c->number || command->foreseen == 0)
            continue;
        store_flight_drop(b->options.store, STORE_FLIGHT_OUT, command->seq, command->conn);
        command->foreseen = 0;
    }
}

/* ---- messages from the broker --------------------------------------------------------------- */

static void put_in(const struct broker *b, struct store_flight *f, uint8_t protocol,
                   uint32_t session, struct sn_bytes packet, uint64_t *number)
{
    const size_t size = VALUE_MAX + packet.len;
    uint8_t *value = paho_allocate(size);
    struct sn_writer w = sn_writer(value, size);
    sn_write_u8(&w, protocol);
    sn_write_u32(&w, session);
    sn_write_bytes(&w, packet);
    assert(!w.failed);
    f->kind = STORE_FLIGHT_IN;
    f->value = sn_bytes(value, sn_writer_len(&w));
    if (number != NULL)
        *number = store_flight_put(b->options.store, f);
    else
        store_flight_put_with_turn(b->options.store, f);
    free(value);
}

void paho_custody_received(struct connection *c, int mid, struct sn_bytes packet)
{
    uint64_t number = 0;
    if (c->broker->options.store == NULL || c->handle_protocol == PROTOCOL_5)
        return;
    struct store_flight f = {.key = (uint64_t)mid, .conn = c->number};
    put_in(c->broker, &f, c->handle_protocol, c->session, packet, &number);
    wait_in_callback(c, number);
}

void paho_custody_taken(struct broker *b, const struct notice *n)
{
    if (b->options.store == NULL || n->mid == 0)
        return;
    struct store_flight f = {.key = n->mid, .conn = n->event.message.conn};
    if (n->protocol == PROTOCOL_5)
        put_in(b, &f, n->protocol, n->session, sn_bytes(NULL, 0), NULL);
    else
        store_flight_drop_with_turn(b->options.store, STORE_FLIGHT_IN, f.key, f.conn);
    pthread_mutex_lock(&b->lock);
    b->taken_in_turn = b->turn;
    pthread_mutex_unlock(&b->lock);
}

/* The flight of a message that was taken in a turn that is not over would be put
 * after it is dropped, and stay: so the end of the turn is waited for. */
void paho_custody_released(struct connection *c, int mid)
{
    struct broker *b = c->broker;
    if (b->options.store == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    while (b->taken_in_turn == b->turn && !b->cut)
        pthread_cond_wait(&b->accepted, &b->lock);
    pthread_mutex_unlock(&b->lock);
    wait_in_callback(
        c, store_flight_drop(b->options.store, STORE_FLIGHT_IN, (uint64_t)mid, c->number));
}

/* ---- after a restart ---------------------------------------------------------------------- */

static void keep_packet(struct connection *c, const char *kind, int mid, struct sn_bytes packet)
{
    char key[BROKER_KEEP_NAME];
    paho_key_of(c, kind, mid, key);
    uint8_t *at = broker_keep_put(&c->keep, key, packet.len);
    memcpy(at, packet.data, packet.len);
}

static void write_length(struct sn_writer *w, size_t len)
{
    do {
        sn_write_u8(w, (uint8_t)(len % 128 + (len > 127 ? 128 : 0)));
        len /= 128;
    } while (len > 0);
}

/* As it went out, but for user properties; the expiry is what is left of it. */
static void keep_publish(struct connection *c, const char *kind, int mid,
                         const struct bridge_message *m)
{
    const bool five = c->handle_protocol == PROTOCOL_5;
    const uint64_t now_ms = paho_own_ms(c->broker);
    const bool expires = five && m->expires_ms != 0;
    const uint64_t left_ms = m->expires_ms > now_ms ? m->expires_ms - now_ms : 0;
    const size_t properties = expires ? 5 : 0;
    const size_t len = 2 + m->topic.len + 2 + (five ? 1 + properties : 0) + m->payload.len;
    uint8_t *packet = paho_allocate(len + 5);
    struct sn_writer w = sn_writer(packet, len + 5);
    sn_write_u8(&w, (m->flags & BRIDGE_FLAG_RETAIN) != 0 ? 0x35 : 0x34);
    write_length(&w, len);
    sn_write_u16(&w, (uint16_t)m->topic.len);
    sn_write_bytes(&w, m->topic);
    sn_write_u16(&w, (uint16_t)mid);
    if (five)
        sn_write_u8(&w, (uint8_t)properties);
    if (expires) {
        sn_write_u8(&w, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL);
        sn_write_u32(&w, left_ms < 1000 ? 1 : (uint32_t)(left_ms / 1000));
    }
    sn_write_bytes(&w, m->payload);
    assert(!w.failed);
    keep_packet(c, kind, mid, sn_bytes(packet, sn_writer_len(&w)));
    free(packet);
}

static struct connection *restored_connection(struct broker *b, uint32_t number, uint8_t protocol,
                                              uint32_t session)
{
    struct connection *c = paho_find_connection(b, number);
    if (c == NULL)
        c = paho_add_connection(b, number);
    c->handle_protocol = protocol;
    c->session = session;
    c->restored = true;
    c->proved = true; /* else it had no flights */
    b->protocol = b->options.protocol == PROTOCOL_5 ? protocol : PROTOCOL_3_1_1;
    return c;
}

/* The other flight with this packet id has ended, whichever is older. */
static bool has_ended(struct connection *c, struct flight *f)
{
    struct flight *other = paho_find_carried_token(c, f->token);
    if (other == NULL || other == f)
        return false;
    if (other->order > f->order)
        return true;
    other->state = FLIGHT_SETTLED;
    return false;
}

static void restore_out(struct broker *b, const struct store_flight *stored,
                        const struct bridge_message *m)
{
    struct sn_reader r = sn_reader(stored->value);
    const uint8_t protocol = sn_read_u8(&r);
    const uint32_t session = sn_read_u32(&r);
    const int mid = sn_read_u16(&r);
    const bool released = sn_read_u8(&r) != 0;
    const uint64_t order = sn_read_u64(&r);
    if (r.failed || mid == 0 || (m == NULL && !released)) {
        store_flight_drop(b->options.store, STORE_FLIGHT_OUT, stored->key, stored->conn);
        return;
    }
    /* The broker waits for the PUBREL of a message that we have lost since. */
    const struct bridge_message unknown = {.topic = sn_bytes_text("?")};
    struct connection *c = restored_connection(b, stored->conn, protocol, session);
    struct flight *f = paho_take_carried(c);
    f->seq = stored->key;
    f->queue = stored->queue;
    f->qos = 2;
    f->token = f->recorded = mid;
    f->released = released;
    f->order = order;
    f->silent = m == NULL;
    if (order > b->custody_order)
        b->custody_order = order;
    if (has_ended(c, f)) {
        f->state = FLIGHT_SETTLED;
        return;
    }
    keep_publish(c, "s", mid, m != NULL ? m : &unknown);
    char key[BROKER_KEEP_NAME];
    paho_key_of(c, "sc", mid, key);
    broker_keep_remove(&c->keep, key);
    const uint8_t pubrel[] = {0x62, 2, (uint8_t)(mid >> 8), (uint8_t)mid};
    if (released)
        keep_packet(c, "sc", mid, sn_bytes(pubrel, sizeof pubrel));
}

static void restore_in(struct broker *b, const struct store_flight *stored)
{
    struct sn_reader r = sn_reader(stored->value);
    const uint8_t protocol = sn_read_u8(&r);
    const uint32_t session = sn_read_u32(&r);
    const struct sn_bytes packet = sn_read_rest(&r);
    if (r.failed || stored->key == 0 || stored->key > UINT16_MAX) {
        store_flight_drop(b->options.store, STORE_FLIGHT_IN, stored->key, stored->conn);
        return;
    }
    struct connection *c = restored_connection(b, stored->conn, protocol, session);
    const struct bridge_message known = {.topic = sn_bytes_text("?")};
    if (packet.len > 0)
        keep_packet(c, "r", (int)stored->key, packet);
    else
        keep_publish(c, "r", (int)stored->key, &known);
}

static void restore(void *ctx, const struct store_flight *f, const struct bridge_message *m)
{
    if (f->kind == STORE_FLIGHT_OUT)
        restore_out(ctx, f, m);
    else if (f->kind == STORE_FLIGHT_IN)
        restore_in(ctx, f);
}

void paho_custody_restore(struct broker *b)
{
    if (b->options.store != NULL)
        store_each_flight(b->options.store, restore, b);
}

void paho_custody_connect(struct connection *c)
{
    const uint32_t session =
        crc32c(crc32c(0, sn_bytes_text(c->broker->url)), sn_bytes_text(c->client_id));
    const bool foreign = c->clean || (c->restored && c->session != session);
    c->session = session;
    c->restored = false;
    if (!foreign)
        return;
    pthread_mutex_lock(&c->broker->lock);
    paho_custody_forget(c);
    pthread_mutex_unlock(&c->broker->lock);
}
