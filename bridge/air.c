#include "bridge/core.h"

#include <assert.h>

size_t air_memory(const struct bridge_config *c)
{
    (void)c;
    return 0;
}

bool air_init(struct bridge *b)
{
    for (size_t i = 0; i < b->config->link_count; i++)
        b->links[i].config = &b->config->links[i];
    return true;
}

static struct sn_bytes encode(struct bridge *b, const struct sn_packet *p, struct sn_bytes node)
{
    const size_t len = sn_encode(p, b->scratch, sizeof(b->scratch));
    assert(len > 0);
    if (node.data == NULL)
        return sn_bytes(b->scratch, len);
    const struct sn_packet outer = {
        .type = SN_FORWARD,
        .forward = {.node = node, .inner = sn_bytes(b->scratch, len)},
    };
    const size_t whole = sn_encode(&outer, b->wrapped, sizeof(b->wrapped));
    assert(whole > 0);
    return sn_bytes(b->wrapped, whole);
}

static void send(struct bridge *b, uint16_t link, const struct radio_address *to,
                 struct sn_bytes bytes)
{
    bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_SEND,
                                           .send = {.link = link, .to = *to, .bytes = bytes}});
}

void air_send(struct bridge *b, struct session *s, const struct sn_packet *p, enum air_class class,
              bool supervised)
{
    (void)class;
    if (s->link == UINT16_MAX)
        return;
    send(b, s->link, &s->address, encode(b, p, blob_bytes(s->node)));
    if (supervised) {
        s->sent_ms = b->now_ms;
        sn_retry_sent(&s->retry, b->now_ms);
    }
}

void air_answer(struct bridge *b, const struct peer *peer, const struct sn_packet *p)
{
    send(b, peer->link, peer->address, encode(b, p, peer->node));
}

bool air_is_free(struct bridge *b, struct session *s)
{
    (void)b;
    (void)s;
    return true;
}

void air_leave(struct bridge *b, struct session *s)
{
    (void)b;
    (void)s;
}

void air_pump(struct bridge *b, uint16_t link)
{
    (void)b;
    (void)link;
}

uint64_t air_deadline(const struct bridge *b)
{
    (void)b;
    return BRIDGE_NEVER;
}
