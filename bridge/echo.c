#include "bridge/core.h"

/* On a wire what we send may come back: a modem that echoes, RS-485 whose receiver stays on. A
 * PUBLISH of ours would be a sensor's, and so reach the broker and the sensor again, without end.
 * So what equals a frame that was just sent is dropped, as often as it was sent.
 *
 * A device may mean it, though: some frames are the same in both directions. Then it is heard
 * with its repeat, for each frame that was sent is taken for an echo once only, and not for
 * long; of these only a PUBLISH of QoS 0 is not repeated. */

/* How long an echo may take beside the frame's own time on the air, and what a busy machine is
 * late. No device on a wire should repeat sooner. */
#define ECHO_MS 1000

void echo_sent(struct bridge *b, uint16_t link, struct sn_bytes frame)
{
    struct bridge_link *l = &b->links[link];
    if (!l->config->may_echo)
        return;
    const struct radio_pacer *pacer = l->pacer;
    const uint64_t air_ms = pacer == NULL ? 0 : radio_pacer_air_us(pacer, frame.len) / 1000;
    l->sent[l->sent_next++ % ECHO_FRAMES] =
        (struct sent_frame){.hash = table_hash(b->config->seed, frame.data, frame.len),
                            .until_ms = b->now_ms + 2 * air_ms + ECHO_MS};
}

static bool was_just_sent(struct bridge *b, uint16_t link, struct sn_bytes frame)
{
    struct bridge_link *l = &b->links[link];
    const uint32_t hash = table_hash(b->config->seed, frame.data, frame.len);
    for (uint32_t i = 0; i < ECHO_FRAMES; i++) {
        /* The oldest first: they come back in their order. */
        struct sent_frame *f = &l->sent[(l->sent_next + i) % ECHO_FRAMES];
        if (f->hash == hash && f->until_ms > b->now_ms) {
            f->until_ms = 0;
            return true;
        }
    }
    return false;
}

static bool is_from_a_gateway(const struct bridge *b, const struct sn_packet *p)
{
    switch (p->type) {
    case SN_CONNACK:
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_SUBACK:
    case SN_UNSUBACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
        return true;
    case SN_ADVERTISE: /* with another id: another gateway's, for a stand-by to hear */
        return p->advertise.gw_id == b->config->gateway_id;
    case SN_GWINFO: /* a client that tells of us says our address, too */
        return p->gwinfo.gw_id == b->config->gateway_id && p->gwinfo.gw_add.len == 0;
    case SN_SEARCHGW:
    case SN_CONNECT:
    case SN_WILLTOPIC:
    case SN_WILLMSG:
    case SN_REGISTER:
    case SN_REGACK:
    case SN_PUBLISH:
    case SN_PUBACK:
    case SN_PUBCOMP:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
    case SN_PINGREQ:
    case SN_PINGRESP:
    case SN_DISCONNECT:
    case SN_WILLTOPICUPD:
    case SN_WILLMSGUPD:
    case SN_FORWARD:
        break;
    }
    return false;
}

static const struct sn_packet *innermost(const struct sn_packet *p, struct sn_packet *inner)
{
    if (p->type != SN_FORWARD || sn_decode(p->forward.inner, inner) != SN_OK)
        return p;
    return inner;
}

bool echo_drops(struct bridge *b, uint16_t link, struct sn_bytes frame, const struct sn_packet *p)
{
    struct bridge_link *l = &b->links[link];
    if (!l->config->may_echo)
        return false;
    struct sn_packet inner;
    const struct sn_packet *what = innermost(p, &inner);
    const bool from_gateway = is_from_a_gateway(b, what);
    if (!was_just_sent(b, link, frame) && !from_gateway)
        return false;
    bridge_note_at(b, BRIDGE_NOTE_FRAME_ECHO, link, sn_bytes(NULL, 0),
                   sn_bytes_text(sn_type_name((uint8_t)what->type)), 0);
    if (from_gateway && !l->echoes) {
        l->echoes = true;
        bridge_note_at(b, BRIDGE_NOTE_LINK_ECHOES, link, sn_bytes(NULL, 0), sn_bytes(NULL, 0), 0);
    }
    return true;
}
