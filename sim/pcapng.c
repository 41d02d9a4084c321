#include "sim/pcapng.h"

#include "sim/names.h"
#include "sim/world.h"

#include <assert.h>
#include <stdlib.h>

/* Block types and option codes, by the names of the format's description. */
#define BLOCK_SECTION   0x0A0D0D0Au
#define BLOCK_INTERFACE 1u
#define BLOCK_NAMES     4u
#define BLOCK_PACKET    6u
#define BYTE_ORDER_MARK 0x1A2B3C4Du
#define LINKTYPE_IPV4   228u
#define OPT_END         0u
#define OPT_COMMENT     1u
#define IF_NAME         2u
#define IF_TSRESOL      9u
#define EPB_FLAGS       2u
#define EPB_INBOUND     1u
#define EPB_OUTBOUND    2u
#define NRB_END         0u
#define NRB_IPV4        1u

#define IP_HEADER      20u
#define UDP_HEADER     8u
#define DATAGRAM_MAX   65535u
#define DEVICE_PORT    1884u
#define GATEWAY_HOST   0xFFFEu
#define BLOCK_SIZE_MAX (DATAGRAM_MAX + 512u)

struct sim_pcapng {
    FILE *out;
    struct sim_names links; /* its number is that of the interface */
    struct sim_names devices;
    uint8_t block[BLOCK_SIZE_MAX];
};

/* ---- blocks --------------------------------------------------------------- */

static struct sn_writer begin(struct sim_pcapng *p, uint32_t type)
{
    struct sn_writer w = sn_writer(p->block, sizeof p->block);
    sn_write_u32(&w, type);
    sn_write_u32(&w, 0); /* the length, when it is known */
    return w;
}

static void pad(struct sn_writer *w)
{
    while (sn_writer_len(w) % 4 != 0)
        sn_write_u8(w, 0);
}

/* Options and name records have the same form. */
static void put_option(struct sn_writer *w, uint16_t code, struct sn_bytes value)
{
    sn_write_u16(w, code);
    sn_write_u16(w, (uint16_t)value.len);
    sn_write_bytes(w, value);
    pad(w);
}

static void end(struct sim_pcapng *p, struct sn_writer *w)
{
    const uint32_t total = (uint32_t)sn_writer_len(w) + 4;
    sn_write_u32(w, total);
    assert(!w->failed);
    struct sn_writer length = sn_writer(p->block + 4, 4);
    sn_write_u32(&length, total);
    fwrite(p->block, 1, total, p->out);
}

static void write_section(struct sim_pcapng *p)
{
    struct sn_writer w = begin(p, BLOCK_SECTION);
    sn_write_u32(&w, BYTE_ORDER_MARK);
    sn_write_u16(&w, 1); /* version 1.0 */
    sn_write_u16(&w, 0);
    sn_write_u64(&w, UINT64_MAX); /* the section's length is not given */
    end(p, &w);
}

static void write_interface(struct sim_pcapng *p, const char *name)
{
    const uint8_t microseconds = 6;
    struct sn_writer w = begin(p, BLOCK_INTERFACE);
    sn_write_u16(&w, LINKTYPE_IPV4);
    sn_write_u16(&w, 0);
    sn_write_u32(&w, 0); /* no limit of the captured length */
    put_option(&w, IF_NAME, sn_bytes_text(name));
    put_option(&w, IF_TSRESOL, sn_bytes(&microseconds, 1));
    put_option(&w, OPT_END, sn_bytes(NULL, 0));
    end(p, &w);
}

static void write_name(struct sim_pcapng *p, uint32_t address, const char *name)
{
    uint8_t record[256];
    struct sn_writer r = sn_writer(record, sizeof record);
    sn_write_u32(&r, address);
    const size_t room = sizeof record - 5;
    const struct sn_bytes text = sn_bytes_text(name);
    sn_write_bytes(&r, sn_bytes(text.data, text.len < room ? text.len : room));
    sn_write_u8(&r, 0);

    struct sn_writer w = begin(p, BLOCK_NAMES);
    put_option(&w, NRB_IPV4, sn_bytes(record, sn_writer_len(&r)));
    put_option(&w, NRB_END, sn_bytes(NULL, 0));
    end(p, &w);
}

/* ---- frames ---------------------------------------------------------------- */

static uint32_t address_of(uint32_t link, uint32_t host)
{
    return 10u << 24 | (link & 0xFF) << 16 | (host & 0xFFFF);
}

/* RFC 791, 3.1: the ones' complement of the ones' complement sum of the header. */
static uint16_t header_checksum(const uint8_t *header)
{
    struct sn_reader r = sn_reader(sn_bytes(header, IP_HEADER));
    uint32_t sum = 0;
    while (sn_reader_left(&r) > 0)
        sum += sn_read_u16(&r);
    while (sum > 0xFFFF)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)~sum;
}

static void put_ip_header(uint8_t out[IP_HEADER], uint32_t from, uint32_t to, uint16_t total)
{
    struct sn_writer w = sn_writer(out, IP_HEADER);
    sn_write_u16(&w, 0x4500); /* version 4, five words, no service wanted */
    sn_write_u16(&w, total);
    sn_write_u32(&w, 0);      /* not a fragment */
    sn_write_u16(&w, 0x4011); /* 64 hops, UDP */
    sn_write_u16(&w, 0);
    sn_write_u32(&w, from);
    sn_write_u32(&w, to);
    w = sn_writer(out + 10, 2);
    sn_write_u16(&w, header_checksum(out));
}

static void put_datagram(struct sn_writer *w, uint32_t link, uint32_t device,
                         enum sim_direction direction, struct sn_bytes frame)
{
    const bool up = direction == SIM_UP;
    const uint32_t gateway = address_of(link, GATEWAY_HOST);
    const uint32_t sensor = address_of(link, device);
    const uint16_t udp = (uint16_t)(UDP_HEADER + frame.len);
    uint8_t ip[IP_HEADER];

    put_ip_header(ip, up ? sensor : gateway, up ? gateway : sensor, (uint16_t)(IP_HEADER + udp));
    sn_write_bytes(w, sn_bytes(ip, sizeof ip));
    sn_write_u16(w, up ? DEVICE_PORT : SIM_PCAPNG_PORT);
    sn_write_u16(w, up ? SIM_PCAPNG_PORT : DEVICE_PORT);
    sn_write_u16(w, udp);
    sn_write_u16(w, 0); /* no checksum */
    sn_write_bytes(w, frame);
}

static uint32_t interface_of(struct sim_pcapng *p, const char *name)
{
    const uint32_t known = p->links.count;
    const uint32_t link = sim_names_number(&p->links, name);
    if (link == known) {
        write_interface(p, name);
        write_name(p, address_of(link, GATEWAY_HOST), "gateway");
    }
    return link;
}

/* Hosts count from 1; 0 is everybody on the link, and has no name. A device that
 * moves to another link keeps its number; its name is written for the first link. */
static uint32_t host_of(struct sim_pcapng *p, uint32_t link, const char *name)
{
    if (name == NULL)
        return 0;
    const uint32_t known = p->devices.count;
    const uint32_t device = sim_names_number(&p->devices, name);
    if (device == known)
        write_name(p, address_of(link, device + 1), name);
    return device + 1;
}

static void write_frame(struct sim_pcapng *p, const struct sim_record *record, const char *comment)
{
    const uint32_t link = interface_of(p, record->link);
    const uint32_t device = host_of(p, link, record->device);
    const size_t room = DATAGRAM_MAX - IP_HEADER - UDP_HEADER;
    struct sn_bytes frame = record->bytes;
    const size_t cut = frame.len > room ? frame.len - room : 0;
    frame.len -= cut;
    const uint32_t captured = (uint32_t)(IP_HEADER + UDP_HEADER + frame.len);

    struct sn_writer w = begin(p, BLOCK_PACKET);
    sn_write_u32(&w, link);
    sn_write_u64(&w, record->at_us);
    sn_write_u32(&w, captured);
    sn_write_u32(&w, captured + (uint32_t)cut);
    put_datagram(&w, link, device, record->direction, frame);
    pad(&w);
    uint8_t flags[4];
    struct sn_writer f = sn_writer(flags, sizeof flags);
    sn_write_u32(&f, record->direction == SIM_UP ? EPB_INBOUND : EPB_OUTBOUND);
    put_option(&w, EPB_FLAGS, sn_bytes(flags, sizeof flags));
    if (comment != NULL)
        put_option(&w, OPT_COMMENT, sn_bytes_text(comment));
    put_option(&w, OPT_END, sn_bytes(NULL, 0));
    end(p, &w);
}

/* ---- life ------------------------------------------------------------------ */

struct sim_pcapng *sim_pcapng_open(FILE *out)
{
    struct sim_pcapng *p = sim_memory(sizeof *p);
    p->out = out;
    write_section(p);
    return p;
}

void sim_pcapng_hear(void *ctx, const struct sim_record *record)
{
    struct sim_pcapng *p = ctx;
    char comment[80];

    if (record->type == SIM_FRAME_ARRIVED) {
        write_frame(p, record, NULL);
    } else if (record->type == SIM_FRAME_LOST) {
        snprintf(comment, sizeof comment, "lost: %s", record->why);
        write_frame(p, record, comment);
    }
}

void sim_pcapng_close(struct sim_pcapng *p)
{
    sim_names_close(&p->links);
    sim_names_close(&p->devices);
    free(p);
}
