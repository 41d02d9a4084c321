/* Any octets: as a frame, and as a topic filter and name.
 *
 * Built with -fsanitize=fuzzer this is a libFuzzer target, which afl-clang-fast
 * builds, too. Built with -DFUZZ_STDIN it is a plain program: it takes the files
 * it is given, or one input from stdin, and ends by abort() when a property
 * does not hold. Seeds: tests/corpus/packet/.
 */
#include "mqttsn/topic.h"

#include <stdio.h>
#include <stdlib.h>

#define MUST(property)                                                                             \
    do {                                                                                           \
        if (!(property)) {                                                                         \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #property);                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- a frame ----------------------------------------------------------------- */

/* The bits of the first octet after the header that mean something (5.3.4, 5.5);
 * the others are ignored on receipt and sent as 0. */
static uint8_t used_bits(enum sn_type type)
{
    switch (type) {
    case SN_CONNECT:
        return 0x0C;
    case SN_WILLTOPIC:
    case SN_WILLTOPICUPD:
        return 0x70;
    case SN_PUBLISH:
        return 0xF3;
    case SN_SUBSCRIBE:
        return 0xE3;
    case SN_UNSUBSCRIBE:
    case SN_FORWARD:
        return 0x03;
    case SN_SUBACK:
        return 0x60;
    case SN_ADVERTISE:
    case SN_SEARCHGW:
    case SN_GWINFO:
    case SN_CONNACK:
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_WILLMSG:
    case SN_REGISTER:
    case SN_REGACK:
    case SN_PUBACK:
    case SN_PUBCOMP:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_UNSUBACK:
    case SN_PINGREQ:
    case SN_PINGRESP:
    case SN_DISCONNECT:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGUPD:
    case SN_WILLMSGRESP:
        break;
    }
    return 0xFF;
}

static struct sn_bytes after_header(struct sn_bytes frame)
{
    struct sn_reader r = sn_reader(frame);
    (void)sn_read_bytes(&r, frame.data[0] == 0x01 ? 4 : 2);
    return sn_read_rest(&r);
}

/* What was read is written again octet for octet, but for unused bits. */
static void check_written(struct sn_bytes frame, struct sn_bytes out, enum sn_type type)
{
    const struct sn_bytes was = after_header(frame);
    const struct sn_bytes is = after_header(out);
    MUST(was.len == is.len);
    if (was.len > 0) {
        MUST((was.data[0] & used_bits(type)) == is.data[0]);
        MUST(memcmp(was.data + 1, is.data + 1, was.len - 1) == 0);
    }
}

static void check_printed(const struct sn_packet *p)
{
    static char line[SN_PRINT_SIZE];
    static char part[SN_PRINT_SIZE];
    const size_t len = sn_print(p, line, sizeof line);
    MUST(len < sizeof line - 1 && strlen(line) == len);
    for (size_t i = 0; i < len; i++) {
        MUST(line[i] >= ' ' && line[i] <= '~');
    }
    const size_t room = len / 2 + 1;
    MUST(sn_print(p, part, room) == room - 1);
    MUST(part[room - 1] == '\0' && memcmp(line, part, room - 1) == 0);
}

/* Opens at most so many encapsulations within each other. */
#define DEPTH_MAX 4

static void check_frame(struct sn_bytes frame, int depth)
{
    static uint8_t out[SN_PACKET_MAX];
    static uint8_t out_again[SN_PACKET_MAX];
    struct sn_packet p;
    struct sn_packet before;
    struct sn_packet again;

    memset(&p, 0xA5, sizeof p);
    memset(&before, 0xA5, sizeof before);
    const enum sn_fault fault = sn_decode(frame, &p);
    MUST(strcmp(sn_fault_name(fault), "?") != 0);
    if (fault != SN_OK && !sn_fault_is_answerable(fault)) {
        MUST(memcmp(&p, &before, sizeof p) == 0);
        return;
    }
    MUST(sn_type_name((uint8_t)p.type) != NULL);
    check_printed(&p);

    const size_t len = sn_encode(&p, out, sizeof out);
    MUST(len > 0 && len <= frame.len);
    MUST(sn_encode(&p, out_again, len - 1) == 0);
    check_written(frame, sn_bytes(out, len), p.type);
    MUST(sn_decode(sn_bytes(out, len), &again) == fault);
    MUST(sn_encode(&again, out_again, len) == len);
    MUST(memcmp(out, out_again, len) == 0);

    if (p.type == SN_FORWARD && depth < DEPTH_MAX) {
        MUST(p.forward.inner.len < frame.len);
        check_frame(p.forward.inner, depth + 1);
    }
}

/* ---- a topic ----------------------------------------------------------------- */

/* The levels, put together again, are the topic. */
static void check_levels(struct sn_bytes topic)
{
    struct sn_bytes rest = topic;
    struct sn_bytes level;
    bool more = true;
    size_t at = 0;
    while (sn_topic_next_level(&rest, &more, &level)) {
        MUST(at + level.len <= topic.len);
        MUST(level.len == 0 || memcmp(topic.data + at, level.data, level.len) == 0);
        at += level.len;
        MUST(more ? topic.data[at] == '/' : at == topic.len);
        at += more;
    }
    MUST(rest.len == 0);
}

/* Control characters and non-characters, by their numbers. The text is valid. */
static bool has_unwelcome_character(struct sn_bytes text)
{
    for (size_t i = 0; i < text.len;) {
        const uint8_t first = text.data[i];
        const size_t len = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
        uint32_t c = len == 1 ? first : first & (0x7Fu >> len);
        for (size_t k = 1; k < len; k++) {
            c = c << 6 | (text.data[i + k] & 0x3F);
        }
        if (c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0xFDD0 && c <= 0xFDEF) ||
            (c & 0xFFFE) == 0xFFFE) {
            return true;
        }
        i += len;
    }
    return false;
}

static void check_topic(struct sn_bytes text)
{
    const enum sn_fault as_name = sn_topic_check_name(text);
    const enum sn_fault as_filter = sn_topic_check_filter(text);
    const enum sn_fault as_text = sn_utf8_check(text);

    check_levels(text);
    MUST(as_text == SN_OK || text.len > 0);
    if (text.len == 0 || as_text != SN_OK) {
        MUST(as_name == (text.len == 0 ? SN_FAULT_EMPTY_TOPIC : as_text));
        MUST(as_filter == as_name);
        return;
    }
    if (has_unwelcome_character(text)) {
        MUST(as_name == SN_FAULT_BAD_UTF8);
        MUST(as_filter == as_name);
        return;
    }
    MUST((as_name == SN_OK) == !sn_topic_has_wildcard(text));
    if (as_name != SN_OK) {
        MUST(as_name == SN_FAULT_WILDCARD_IN_NAME);
        MUST(as_filter == SN_OK || as_filter == SN_FAULT_BAD_FILTER);
        return;
    }
    MUST(as_filter == SN_OK);
    MUST(sn_topic_matches(text, text));
    MUST(sn_topic_matches(sn_bytes_text("#"), text) == (text.data[0] != '$'));
}

/* The rules of matching once more, octet by octet. */
static bool matches(struct sn_bytes filter, size_t f, struct sn_bytes name, size_t n)
{
    for (;;) {
        const bool level_begins = f == 0 || filter.data[f - 1] == '/';
        if (f < filter.len && level_begins && filter.data[f] == '#') {
            return true;
        }
        if (f < filter.len && level_begins && filter.data[f] == '+') {
            while (n < name.len && name.data[n] != '/') {
                n++;
            }
            f++;
        }
        if (n == name.len) {
            return f == filter.len || (filter.len - f == 2 && filter.data[f + 1] == '#');
        }
        if (f == filter.len || filter.data[f] != name.data[n]) {
            return false;
        }
        f++;
        n++;
    }
}

/* A filter and a name, with the octet between them that neither may hold. */
static void check_pair(struct sn_bytes filter, struct sn_bytes name)
{
    if (sn_topic_check_filter(filter) != SN_OK || sn_topic_check_name(name) != SN_OK) {
        return;
    }
    const bool hidden = name.data[0] == '$' && (filter.data[0] == '+' || filter.data[0] == '#');
    MUST(sn_topic_matches(filter, name) == (!hidden && matches(filter, 0, name, 0)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct sn_bytes input = sn_bytes(data, size);
    check_frame(input, 0);
    check_topic(input);

    size_t filter_len = 0;
    while (filter_len < size && data[filter_len] != 0) {
        filter_len++;
    }
    if (filter_len < size) {
        struct sn_reader r = sn_reader(input);
        const struct sn_bytes filter = sn_read_bytes(&r, filter_len);
        (void)sn_read_u8(&r);
        const struct sn_bytes name = sn_read_rest(&r);
        check_topic(filter);
        check_topic(name);
        check_pair(filter, name);
    }
    return 0;
}

/* ---- without libFuzzer -------------------------------------------------------- */

#ifdef FUZZ_STDIN
static void run_file(FILE *file)
{
    static uint8_t octets[SN_PACKET_MAX + 1];
    const size_t len = fread(octets, 1, sizeof octets, file);
    /* In memory of its own size, so that a read beyond the end is seen. */
    uint8_t *data = malloc(len > 0 ? len : 1);
    MUST(data != NULL);
    memcpy(data, octets, len);
    (void)LLVMFuzzerTestOneInput(data, len);
    free(data);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        run_file(stdin);
    }
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }
        run_file(file);
        (void)fclose(file);
    }
    return 0;
}
#endif
