#include "mqttsn/client_parts.h"

uint32_t snc_random(struct sn_client *c)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 17;
    c->random ^= c->random << 5;
    return c->random;
}

uint32_t snc_random_up_to(struct sn_client *c, uint32_t limit)
{
    return (uint32_t)((uint64_t)snc_random(c) * ((uint64_t)limit + 1) >> 32);
}

static size_t envelope_size(const struct sn_client *c)
{
    return c->cfg->node.len == 0 ? 0 : 3 + c->cfg->node.len;
}

bool snc_fits(const struct sn_client *c, size_t fixed, size_t variable)
{
    const size_t room = c->cfg->frame_size - envelope_size(c);

    if (variable > room || variable > SN_PACKET_MAX - 16) {
        return false;
    }
    const size_t len = fixed + variable;
    return len + (len > 255 ? 2 : 0) <= room;
}

uint16_t snc_take_mid(struct sn_client *c)
{
    const uint16_t mid = c->next_mid++;

    if (c->next_mid == 0) {
        c->next_mid = 1;
    }
    return mid;
}

void snc_emit(const struct sn_client *c, const struct sn_client_event *e)
{
    c->cfg->emit(c->cfg->ctx, e);
}

/* Every caller has made sure that the message fits. */
static struct sn_bytes put_together(const struct sn_client *c, const struct sn_packet *p)
{
    const size_t head = envelope_size(c);
    const size_t len = sn_encode(p, c->cfg->frame + head, c->cfg->frame_size - head);

    assert(len > 0);
    if (head > 0) {
        struct sn_writer w = sn_writer(c->cfg->frame, head);
        sn_write_u8(&w, (uint8_t)head);
        sn_write_u8(&w, SN_FORWARD);
        sn_write_u8(&w, 0); /* the radius is the gateway's to set, 5.5 */
        sn_write_bytes(&w, c->cfg->node);
    }
    return sn_bytes(c->cfg->frame, head + len);
}

void snc_send(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    c->sent_ms = now_ms;
    c->sent_type = (uint8_t)p->type;
    snc_emit(c, &(struct sn_client_event){
                    .type = SN_EVENT_SEND,
                    .send = {.frame = put_together(c, p), .to = snc_current_address(c)},
                });
}

void snc_broadcast(struct sn_client *c, uint8_t radius, const struct sn_packet *p)
{
    snc_emit(c, &(struct sn_client_event){
                    .type = SN_EVENT_SEND,
                    .send = {.frame = put_together(c, p), .broadcast = true, .radius = radius},
                });
}

void snc_send_mid(struct sn_client *c, uint64_t now_ms, enum sn_type type, uint16_t mid)
{
    snc_send(c, now_ms, &(struct sn_packet){.type = type, .mid = mid});
}

void snc_send_ack(struct sn_client *c, uint64_t now_ms, enum sn_type type, uint16_t tid,
                  uint16_t mid, uint8_t code)
{
    snc_send(c, now_ms,
             &(struct sn_packet){.type = type, .ack = {.tid = tid, .mid = mid, .code = code}});
}

void snc_start_retry(const struct sn_client *c, struct sn_retry *r, uint64_t now_ms)
{
    sn_retry_start(r, now_ms, c->cfg->retry_ms, c->cfg->retry_max_ms, c->cfg->retries);
}

void snc_discard(const struct sn_client *c, enum sn_fault fault, enum sn_type type)
{
    snc_emit(c, &(struct sn_client_event){.type = SN_EVENT_DISCARDED,
                                          .discarded = {.fault = fault, .type = (uint8_t)type}});
}
