/* A link over UDP: one socket, any number of peers, one datagram per frame.
 *
 * A socket serves one family: listen on IPv4 and on IPv6 with two links.
 * Datagrams are received and sent in batches. A peer is its address and port;
 * the octets of its radio_address mean the same after a restart, so they may be
 * stored. What the network says about datagrams already sent (unreachable port
 * or host) concerns one peer only and never closes the link.
 */
#ifndef RADIO_LINK_UDP_H
#define RADIO_LINK_UDP_H

#include "radio/link.h"

#define RADIO_UDP_BATCH 64 /* datagrams handed over in one system call, and held back for one */

#define RADIO_UDP_FRAME_MAX 65507u /* IPv4 cannot carry more */

struct radio_udp_options {
    /* "host:port", "[address]:port" or "[address%interface]:port"; an empty host
     * or "*" is every IPv4 address; port 0 takes a free one. Looking up a name
     * blocks, an address does not. */
    const char *listen;

    /* A multicast group, in the family of listen, that is heard as well: here
     * sensors look for a gateway. NULL for none. What arrives there is answered
     * from the listening socket, which sensors take for the gateway's address. */
    const char *group;

    /* Name of the interface on which to hear and to speak to the group; NULL
     * lets the kernel choose by its routes. */
    const char *group_interface;
    uint8_t group_hops; /* how far frames to the group may travel; 0 means 1 */

    size_t frame_max; /* longer frames are damage; 0 means 2048, at most RADIO_UDP_FRAME_MAX */

    /* Room asked from the kernel in each direction, in octets; 0 means 4 MiB: a
     * datagram of a few octets takes more than a thousand there. */
    size_t kernel_buffer;
};

/* Opens the socket, and the group's. 0 or -errno; a failure leaves one line for
 * the log in why and *out untouched. All strings are borrowed for the call. */
int radio_udp_open(const struct radio_udp_options *o, struct radio_link **out, char *why,
                   size_t why_size);

/* The port it listens on, also when that was chosen by the kernel. */
uint16_t radio_udp_port(const struct radio_link *l);

/* How many octets the kernel keeps for us, as it counts them (twice what was
 * asked for). Far less than twice kernel_buffer means that net.core.rmem_max
 * limits us and bursts will be lost. */
size_t radio_udp_receive_room(const struct radio_link *l);

/* The group's address, to send to; false, and nothing changed, without a group. */
bool radio_udp_group(const struct radio_link *l, struct radio_address *out);

/* The peer at "host:port" or "[address]:port". Blocks while a name is looked
 * up. 0, or -EINVAL (not such a text), -ENOENT (no such host), -EAGAIN (the name
 * service did not answer). */
int radio_udp_resolve(const char *text, struct radio_address *out);

/* The peers at "address:port", or at any port of "address", in numbers; brackets are needed with
 * a port only. False: not such a text. */
bool radio_udp_mask(const char *text, struct radio_mask *out);

/* What a client that only speaks to this peer listens on. */
const char *radio_udp_any(const struct radio_address *peer);

#endif
