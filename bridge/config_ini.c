/* The configuration file: parsing, checking, printing, documenting.
 *
 * inih splits lines into section, name and value. It reads lines through our
 * reader, which knows their numbers and takes away what inih would silently
 * misread: indentation (a continued value), lines and names too long for its
 * buffers (cut), text behind a section's bracket (ignored).
 */
#include "bridge/config.h"

#include "mqttsn/topic.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECTION_MAX  49      /* octets between the brackets; inih cuts longer ones */
#define SECTION_MARK "\x01=" /* a line of ours behind each section's line, see read_line() */
#define FROM_PROFILE "profile"
#define TID_MAX      0xFFFE /* 0 and 0xFFFF are reserved, 5.3.11 */

/* ---- the table ------------------------------------------------------------- */

enum section { BRIDGE, BROKER, LINK, UDP, SERIAL, TOPICS, NOWHERE };
enum type { NUMBER, FLAG, WORD, TEXT, CHOICE, FILE_, URL, ADDRESS };

struct key {
    enum section section;
    const char *name;
    enum type type;
    size_t offset;
    size_t size;
    const char *standard; /* the default as text */
    uint64_t min;
    uint64_t max;
    const char *words;
    const char *help;
};

#define OWNER_BRIDGE struct config
#define OWNER_BROKER struct config
#define OWNER_LINK   struct config_link
#define OWNER_UDP    struct config_link
#define OWNER_SERIAL struct config_link
#define TYPE_NUMBER  NUMBER
#define TYPE_FLAG    FLAG
#define TYPE_WORD    WORD
#define TYPE_TEXT    TEXT
#define TYPE_CHOICE  CHOICE
#define TYPE_FILE    FILE_
#define TYPE_URL     URL
#define TYPE_ADDRESS ADDRESS

static const struct key keys[] = {
#define KEY(section_, name_, type_, field_, standard_, min_, max_, words_, help_)                  \
    {.section = section_,                                                                          \
     .name = #name_,                                                                               \
     .type = TYPE_##type_,                                                                         \
     .offset = offsetof(OWNER_##section_, field_),                                                 \
     .size = sizeof(((OWNER_##section_ *)0)->field_),                                              \
     .standard = standard_,                                                                        \
     .min = min_,                                                                                  \
     .max = max_,                                                                                  \
     .words = words_,                                                                              \
     .help = help_},
#include "bridge/config.def"
#undef KEY
};
#define KEY_COUNT (sizeof keys / sizeof keys[0])

/* "link" and "topics" may be followed by a name. */
static const char *const section_words[] = {"bridge", "broker", "link", "topics"};

static bool is_link_key(const struct key *k)
{
    return k->section == LINK || k->section == UDP || k->section == SERIAL;
}

static bool is_text(const struct key *k)
{
    return k->type == TEXT || k->type == CHOICE || k->type == FILE_ || k->type == URL ||
           k->type == ADDRESS;
}

static bool is_secret(const struct key *k)
{
    return strcmp(k->name, "password") == 0;
}

/* A key of the table by name; for a section of links all three kinds. */
static const struct key *key_find(enum section s, const char *name)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const bool here = s == LINK ? is_link_key(&keys[i]) : keys[i].section == s;
        if (here && strcmp(keys[i].name, name) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

static size_t key_index(const struct key *k)
{
    return (size_t)(k - keys);
}

/* The n-th of the words; false when there are fewer. */
static bool word_at(const char *words, size_t n, struct sn_bytes *word)
{
    for (const char *at = words;; n--) {
        const size_t len = strcspn(at, "|");
        if (n == 0) {
            *word = sn_bytes(at, len);
            return true;
        }
        if (at[len] == '\0') {
            return false;
        }
        at += len + 1;
    }
}

static uint64_t number_get(const struct key *k, const void *owner)
{
    const void *field = (const char *)owner + k->offset;
    switch (k->size) {
    case 1:
        return *(const uint8_t *)field;
    case 2:
        return *(const uint16_t *)field;
    case 4:
        return *(const uint32_t *)field;
    default:
        assert(k->size == 8);
        return *(const uint64_t *)field;
    }
}

static void number_set(const struct key *k, void *owner, uint64_t value)
{
    void *field = (char *)owner + k->offset;
    switch (k->size) {
    case 1:
        *(uint8_t *)field = (uint8_t)value;
        break;
    case 2:
        *(uint16_t *)field = (uint16_t)value;
        break;
    case 4:
        *(uint32_t *)field = (uint32_t)value;
        break;
    default:
        assert(k->size == 8);
        *(uint64_t *)field = value;
        break;
    }
}

static const char *text_get(const struct key *k, const void *owner)
{
    const char *text;
    memcpy(&text, (const char *)owner + k->offset, sizeof text);
    return text;
}

static void text_set(const struct key *k, void *owner, const char *text)
{
    assert(k->size == sizeof text);
    memcpy((char *)owner + k->offset, &text, sizeof text);
}

/* "cobs, slip or raw" */
static void print_words(const char *words, FILE *out)
{
    struct sn_bytes word;
    struct sn_bytes next;
    for (size_t i = 0; word_at(words, i, &word); i++) {
        const bool last = !word_at(words, i + 1, &next);
        fprintf(out, "%s%.*s",
                i == 0 ? ""
                : last ? " or "
                       : ", ",
                (int)word.len, (const char *)word.data);
    }
}

static void print_allowed(const struct key *k, FILE *out)
{
    switch (k->type) {
    case NUMBER:
        fprintf(out, "a whole number from %llu to %llu", (unsigned long long)k->min,
                (unsigned long long)k->max);
        break;
    case FLAG:
        fputs("no or yes", out);
        break;
    case WORD:
    case CHOICE:
        print_words(k->words, out);
        break;
    case TEXT:
        fprintf(out, "text of %llu to %llu octets", (unsigned long long)k->min,
                (unsigned long long)k->max);
        break;
    case FILE_:
        fputs("a file that can be read", out);
        break;
    case URL:
        fputs("tcp://HOST:PORT, also with ssl://, ws:// or wss://", out);
        break;
    case ADDRESS:
        fputs("a numeric address and port such as 0.0.0.0:1883 or [::]:1883", out);
        break;
    }
}

/* ---- profiles -------------------------------------------------------------- */

struct profile {
    const char *name;
    uint32_t frame_max;
    uint32_t retry_ms;
    uint32_t retry_min_ms;
    uint32_t retry_max_ms;
    uint8_t retries;
    uint32_t bits_per_s;
    uint32_t overhead_bits;
};

static const struct profile profiles[] = {
    {"lan-udp", 1472, 1000, 200, 60000, 5, 0, 0},
    {"serial-9600", 256, 2000, 500, 60000, 5, 9600, 40},
};

static const struct profile *profile_find(const char *name)
{
    for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++) {
        if (strcmp(profiles[i].name, name) == 0) {
            return &profiles[i];
        }
    }
    return NULL;
}

static void profile_print_names(FILE *out)
{
    for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++) {
        fprintf(out, "%s%s", i == 0 ? "" : ", ", profiles[i].name);
    }
}

/* The link as it would be if the file said nothing. */
static struct config_link profile_apply(const struct profile *p, const struct config_link *l)
{
    struct config_link filled = *l;
    filled.core.frame_max = p->frame_max;
    filled.core.retry_ms = p->retry_ms;
    filled.core.retry_min_ms = p->retry_min_ms;
    filled.core.retry_max_ms = p->retry_max_ms;
    filled.core.retries = p->retries;
    filled.core.bits_per_s = p->bits_per_s;
    filled.core.overhead_bits = p->overhead_bits;
    return filled;
}

/* ---- a file while it is read ------------------------------------------------ */

/* Where in the file something stood. */
struct link_lines {
    unsigned section;
    bool faulty;             /* a line was written about it: do not compare what is left of it */
    unsigned key[KEY_COUNT]; /* 0: not in the file */
};

struct reading {
    const char *path;
    FILE *file;
    FILE *errors;
    unsigned faults;

    char *line; /* of getline() */
    size_t line_size;
    unsigned number;      /* of the line, from 1 */
    bool section_started; /* the next line handed out is SECTION_MARK */

    struct config config;
    enum section section;        /* NOWHERE: unknown or faulty, its keys are skipped */
    char title[SECTION_MAX + 1]; /* the section as it is written, for messages */
    const char *topics_client;
    unsigned key_line[KEY_COUNT]; /* of [bridge] and [broker] */
    struct link_lines links[BRIDGE_LINKS_MAX];
    struct bridge_predefined *predefined; /* owned; grows by doubling */
    size_t predefined_size;
};

static void own(struct config *c, void *allocation)
{
    if ((c->owned_count & (c->owned_count - 1)) == 0) {
        const size_t size = c->owned_count == 0 ? 1 : 2 * c->owned_count;
        c->owned = realloc(c->owned, size * sizeof *c->owned);
        assert(c->owned != NULL);
    }
    c->owned[c->owned_count++] = allocation;
}

static const char *own_text(struct config *c, const char *text)
{
    char *copy = strdup(text);
    assert(copy != NULL);
    own(c, copy);
    return copy;
}

/* Begins an error line; false when there have been enough of them. */
static bool fault_begins(struct reading *r, unsigned line)
{
    if (++r->faults > CONFIG_ERRORS_MAX) {
        return false;
    }
    fputs(r->path, r->errors);
    if (line > 0) {
        fprintf(r->errors, ":%u", line);
    }
    fputs(": ", r->errors);
    return true;
}

__attribute__((format(printf, 3, 4))) static void fault(struct reading *r, unsigned line,
                                                        const char *format, ...)
{
    if (!fault_begins(r, line)) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vfprintf(r->errors, format, arguments);
    va_end(arguments);
    fputc('\n', r->errors);
}

/* The value as found, then what is allowed. */
static void fault_in_value(struct reading *r, unsigned line, const struct key *k, const char *value)
{
    if (!fault_begins(r, line)) {
        return;
    }
    fprintf(r->errors, "[%s] %s: found \"%s\", allowed is ", r->title, k->name, value);
    print_allowed(k, r->errors);
    fputc('\n', r->errors);
}

/* ---- the reader under inih --------------------------------------------------- */

/* The line without what surrounds its content; empty for a comment. */
static char *strip(char *line)
{
    line += strspn(line, " \t\v\f");
    if (*line == ';' || *line == '#') {
        *line = '\0';
    }
    for (char *at = line; *at != '\0'; at++) {
        if (*at == ';' && at > line && isspace((unsigned char)at[-1])) {
            *at = '\0';
            break;
        }
    }
    size_t len = strlen(line);
    while (len > 0 && isspace((unsigned char)line[len - 1])) {
        line[--len] = '\0';
    }
    return line;
}

/* Whether inih would read the line as it is meant. */
static bool check_line(struct reading *r, const char *line)
{
    const size_t len = strlen(line);
    if (len > CONFIG_LINE_MAX) {
        fault(r, r->number, "the line has %zu octets, at most %d are allowed", len,
              CONFIG_LINE_MAX);
        return false;
    }
    if (line[0] == '[') {
        if (strchr(line, ']') != line + len - 1) {
            fault(r, r->number,
                  "found \"%s\", a section is [bridge], [broker], [link NAME], "
                  "[topics] or [topics CLIENT]",
                  line);
            r->section = NOWHERE;
            return false;
        }
        if (len - 2 > SECTION_MAX) {
            fault(r, r->number, "the section's name has %zu octets, at most %d are allowed",
                  len - 2, SECTION_MAX);
            r->section = NOWHERE;
            return false;
        }
        return true;
    }
    const size_t name = strcspn(line, "=:");
    if (name == 0 || line[name] == '\0') {
        fault(r, r->number, "found \"%s\", a line is KEY = VALUE, [SECTION] or a comment", line);
        return false;
    }
    return true;
}

/* Hands inih one line at a time. An empty one stands for what it need not see. Behind
 * each section's line it finds a key of ours, which tells take() of the section
 * even when it has no keys. */
static char *read_line(char *out, int size, void *stream)
{
    struct reading *r = stream;
    assert(size > CONFIG_LINE_MAX + 1);

    if (r->section_started) {
        r->section_started = false;
        return strcpy(out, SECTION_MARK);
    }
    const ssize_t got = getline(&r->line, &r->line_size, r->file);
    if (got < 0) {
        return NULL;
    }
    r->number++;
    out[0] = '\0';
    if (memchr(r->line, '\0', (size_t)got) != NULL) {
        fault(r, r->number, "the line contains a NUL octet; is this a text file?");
        return out;
    }
    char *line = r->line;
    if (r->number == 1 && strncmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3;
    }
    line = strip(line);
    if (line[0] != '\0' && check_line(r, line)) {
        r->section_started = line[0] == '[';
        strcpy(out, line);
    }
    return out;
}

/* ---- unknown words ------------------------------------------------------------ */

/* How many letters must be added, removed or replaced to get from a to b. */
static size_t distance(const char *a, const char *b)
{
    size_t row[64];
    const size_t len = strlen(b);
    if (len >= sizeof row / sizeof row[0]) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            const size_t above = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            best = above + 1 < best ? above + 1 : best;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[len];
}

static bool is_near(const char *found, const char *known, size_t *best)
{
    const size_t d = distance(found, known);
    if (d < *best && d <= 1 + strlen(known) / 4) {
        *best = d;
        return true;
    }
    return false;
}

static void fault_unknown_key(struct reading *r, const char *name)
{
    const struct key *near = NULL;
    const struct key *elsewhere = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const bool here =
            r->section == LINK ? is_link_key(&keys[i]) : keys[i].section == r->section;
        if (here && is_near(name, keys[i].name, &best)) {
            near = &keys[i];
        }
        if (!here && strcmp(name, keys[i].name) == 0) {
            elsewhere = &keys[i];
        }
    }
    if (elsewhere != NULL) {
        fault(r, r->number, "[%s] %s: unknown here, it belongs into [%s]", r->title, name,
              is_link_key(elsewhere)         ? "link NAME"
              : elsewhere->section == BRIDGE ? "bridge"
                                             : "broker");
    } else if (near != NULL) {
        fault(r, r->number, "[%s] %s: unknown key, did you mean %s?", r->title, name, near->name);
    } else {
        fault(r, r->number, "[%s] %s: unknown key, `snbridge --help-config` lists those there are",
              r->title, name);
    }
}

static void fault_unknown_section(struct reading *r, const char *word)
{
    const char *near = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < sizeof section_words / sizeof section_words[0]; i++) {
        if (is_near(word, section_words[i], &best)) {
            near = section_words[i];
        }
    }
    if (near != NULL) {
        fault(r, r->number, "[%s]: unknown section, did you mean %s?", r->title, near);
    } else {
        fault(r, r->number,
              "[%s]: unknown section, allowed are [bridge], [broker], [link NAME], [topics] and "
              "[topics CLIENT]",
              r->title);
    }
}

/* ---- values -------------------------------------------------------------------- */

/* Decimal digits only. */
static bool parse_number(const char *text, uint64_t *value)
{
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0' || strlen(text) > 19) {
        return false;
    }
    *value = strtoull(text, NULL, 10);
    return true;
}

static bool parse_word(const char *words, const char *text, uint64_t *place)
{
    struct sn_bytes word;
    for (size_t i = 0; word_at(words, i, &word); i++) {
        if (sn_bytes_equal(word, sn_bytes_text(text))) {
            *place = i;
            return true;
        }
    }
    return false;
}

static bool parse_port(const char *text, uint16_t *port)
{
    uint64_t value;
    if (!parse_number(text, &value) || value < 1 || value > 65535) {
        return false;
    }
    *port = (uint16_t)value;
    return true;
}

/* A numeric address with its port. */
struct endpoint {
    int family;
    uint8_t address[16];
    uint16_t port;
};

static bool parse_endpoint(const char *text, struct endpoint *out)
{
    char host[INET6_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    const bool bracketed = text[0] == '[';
    struct endpoint e = {.family = bracketed ? AF_INET6 : AF_INET};

    if (colon == NULL || !parse_port(colon + 1, &e.port)) {
        return false;
    }
    const char *from = text + (bracketed ? 1 : 0);
    const char *to = colon - (bracketed ? 1 : 0);
    if (to < from || (size_t)(to - from) >= sizeof host || (bracketed && *to != ']')) {
        return false;
    }
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    if (inet_pton(e.family, host, e.address) != 1) {
        return false;
    }
    *out = e;
    return true;
}

static bool is_any(const struct endpoint *e)
{
    static const uint8_t zero[16];
    return memcmp(e->address, zero, sizeof zero) == 0;
}

static bool is_multicast(const struct endpoint *e)
{
    return e->family == AF_INET ? (e->address[0] & 0xF0) == 0xE0 : e->address[0] == 0xFF;
}

static const char *const schemes[] = {"tcp://", "ssl://", "ws://", "wss://"};

static bool is_encrypted(const char *url)
{
    return strncmp(url, "ssl:", 4) == 0 || strncmp(url, "wss:", 4) == 0;
}

/* scheme://host[:port][/path]; an IPv6 address stands in brackets. */
static bool is_url(const char *text)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        const size_t len = strlen(schemes[i]);
        if (strncmp(text, schemes[i], len) != 0) {
            continue;
        }
        const char *host = text + len;
        const size_t host_len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
        if (host_len == 0 || host_len > strlen(host) || host[strcspn(host, " \t")] != '\0') {
            return false;
        }
        const char *rest = host + host_len;
        if (rest[0] != ':') {
            return rest[0] == '\0' || rest[0] == '/';
        }
        char port[6] = "";
        const size_t port_len = strcspn(rest + 1, "/");
        uint16_t number;
        if (port_len >= sizeof port) {
            return false;
        }
        memcpy(port, rest + 1, port_len);
        return parse_port(port, &number);
    }
    return false;
}

static void check_readable(struct reading *r, const struct key *k, const char *path)
{
    char octet;
    FILE *f = fopen(path, "re");
    /* A directory opens and fails at the first read. */
    if (f == NULL || (fread(&octet, 1, 1, f) == 0 && ferror(f))) {
        fault(r, r->number, "[%s] %s: cannot read \"%s\": %s", r->title, k->name, path,
              strerror(errno));
    }
    if (f != NULL) {
        fclose(f);
    }
}

/* Text that was likely meant in another way; true if a line was written. */
static bool check_text(struct reading *r, const struct key *k, const char *value)
{
    const size_t len = strlen(value);
    if (len >= 2 && (value[0] == '"' || value[0] == '\'') && value[len - 1] == value[0]) {
        fault(r, r->number, "[%s] %s: found %s, values stand without quotes", r->title, k->name,
              value);
        return true;
    }
    for (size_t i = 1; i < len; i++) {
        if (value[i] == '#' && isspace((unsigned char)value[i - 1])) {
            fault(r, r->number,
                  "[%s] %s: found \"%s\", a comment behind a value begins with \";\" after a space",
                  r->title, k->name, value);
            return true;
        }
    }
    return false;
}

/* Puts a value into its field, or writes a line. */
static void take_value(struct reading *r, const struct key *k, void *owner, const char *value)
{
    uint64_t number;

    if (value[0] == '\0' && is_text(k) && k->standard == NULL) {
        return;
    }
    if (is_text(k) && check_text(r, k, value)) {
        return;
    }
    switch (k->type) {
    case NUMBER:
        if (!parse_number(value, &number) || number < k->min || number > k->max) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        number_set(k, owner, number);
        return;
    case FLAG:
        if (!parse_word("no|yes", value, &number)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        number_set(k, owner, number);
        return;
    case WORD:
        if (!parse_word(k->words, value, &number)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        number_set(k, owner, k->min + number);
        return;
    case CHOICE:
        if (!parse_word(k->words, value, &number)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        break;
    case TEXT:
        if (strlen(value) < k->min || strlen(value) > k->max) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        break;
    case FILE_:
        check_readable(r, k, value);
        break;
    case URL:
        if (!is_url(value)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        break;
    case ADDRESS: {
        struct endpoint e;
        if (!parse_endpoint(value, &e)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        break;
    }
    }
    text_set(k, owner, own_text(&r->config, value));
}

static void set_defaults(struct config *c, enum section section, void *owner)
{
    /* Defaults go through the same parser; a faulty one is our own mistake. */
    struct reading r = {.path = "config.def", .errors = stderr, .config = *c};
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct key *k = &keys[i];
        const bool here = section == LINK ? is_link_key(k) : k->section == section;
        if (here && k->standard != NULL && strcmp(k->standard, FROM_PROFILE) != 0) {
            take_value(&r, k, owner == c ? &r.config : owner, k->standard);
        }
    }
    assert(r.faults == 0);
    *c = r.config;
}

/* ---- what inih calls ----------------------------------------------------------- */

static void start_link(struct reading *r, const char *name)
{
    struct config *c = &r->config;
    const size_t len = strlen(name);
    const char *letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    if (len == 0 || len > CONFIG_NAME_MAX || name[strspn(name, letters)] != '\0') {
        fault(r, r->number,
              "[%s]: a link needs a name of 1 to %d letters, digits, \"-\", \"_\" or \".\"",
              r->title, CONFIG_NAME_MAX);
        return;
    }
    for (size_t i = 0; i < c->bridge.link_count; i++) {
        if (strcmp(c->links[i].core.name, name) == 0) {
            fault(r, r->number, "[%s]: this link stands already in line %u, names must differ",
                  r->title, r->links[i].section);
            return;
        }
    }
    if (c->bridge.link_count == BRIDGE_LINKS_MAX) {
        fault(r, r->number, "[%s]: one link too many, at most %d are allowed", r->title,
              BRIDGE_LINKS_MAX);
        return;
    }
    struct config_link *l = &c->links[c->bridge.link_count];
    set_defaults(c, LINK, l);
    l->core.name = own_text(c, name);
    r->links[c->bridge.link_count] = (struct link_lines){.section = r->number};
    c->bridge.link_count++;
    r->section = LINK;
}

static void start_topics(struct reading *r, const char *client)
{
    r->topics_client = NULL;
    if (client[0] != '\0') {
        if (sn_utf8_check(sn_bytes_text(client)) != SN_OK) {
            fault(r, r->number, "[topics]: the client id is not valid UTF-8");
            return;
        }
        r->topics_client = own_text(&r->config, client);
    }
    r->section = TOPICS;
}

/* Makes the section's title current; its keys are skipped when it is faulty. */
static void start_section(struct reading *r, const char *title)
{
    char word[SECTION_MAX + 1];
    snprintf(r->title, sizeof r->title, "%s", title);
    r->section = NOWHERE;

    const char *first = title + strspn(title, " \t");
    const size_t len = strcspn(first, " \t");
    snprintf(word, sizeof word, "%.*s", (int)len, first);
    const char *name = first + len + strspn(first + len, " \t");

    if (strcmp(word, "link") == 0) {
        start_link(r, name);
    } else if (strcmp(word, "topics") == 0) {
        start_topics(r, name);
    } else if (name[0] != '\0' && (strcmp(word, "bridge") == 0 || strcmp(word, "broker") == 0)) {
        fault(r, r->number, "[%s]: a section of this kind has no name, write [%s]", r->title, word);
    } else if (name[0] != '\0') {
        fault_unknown_section(r, word);
    } else if (strcmp(word, "bridge") == 0) {
        r->section = BRIDGE;
    } else if (strcmp(word, "broker") == 0) {
        r->section = BROKER;
    } else {
        fault_unknown_section(r, word);
    }
}

static bool same_client(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void take_topic(struct reading *r, const char *name, const char *value)
{
    struct config *c = &r->config;
    uint64_t tid;

    if (!parse_number(name, &tid) || tid < 1 || tid > TID_MAX) {
        fault(r, r->number, "[%s] %s: found \"%s\", allowed is a topic id from 1 to %d", r->title,
              name, name, TID_MAX);
        return;
    }
    const enum sn_fault f = sn_topic_check_name(sn_bytes_text(value));
    if (f == SN_FAULT_WILDCARD_IN_NAME) {
        fault(r, r->number,
              "[%s] %s: found \"%s\", a topic id stands for one topic, without + and #", r->title,
              name, value);
        return;
    }
    if (f != SN_OK) {
        fault(r, r->number, "[%s] %s: found \"%s\" (%s), allowed is the name of a topic", r->title,
              name, value, sn_fault_name(f));
        return;
    }
    for (size_t i = 0; i < c->bridge.predefined_count; i++) {
        if (r->predefined[i].tid == tid && same_client(r->predefined[i].client, r->topics_client)) {
            fault(r, r->number, "[%s] %s: this id stands already for \"%s\"", r->title, name,
                  r->predefined[i].topic);
            return;
        }
    }
    if (c->bridge.predefined_count == r->predefined_size) {
        r->predefined_size = r->predefined_size == 0 ? 16 : 2 * r->predefined_size;
        r->predefined = realloc(r->predefined, r->predefined_size * sizeof *r->predefined);
        assert(r->predefined != NULL);
    }
    r->predefined[c->bridge.predefined_count++] = (struct bridge_predefined){
        .client = r->topics_client, .tid = (uint16_t)tid, .topic = own_text(c, value)};
}

static void take_key(struct reading *r, const char *name, const char *value)
{
    const struct key *k = key_find(r->section, name);
    if (k == NULL) {
        fault_unknown_key(r, name);
        return;
    }
    const size_t last = r->config.bridge.link_count - 1; /* not used outside of a link */
    unsigned *line =
        r->section == LINK ? &r->links[last].key[key_index(k)] : &r->key_line[key_index(k)];
    if (*line != 0) {
        fault(r, r->number, "[%s] %s: stands already in line %u, once is allowed", r->title, name,
              *line);
        return;
    }
    *line = r->number;
    if (r->section == LINK) {
        const unsigned before = r->faults;
        take_value(r, k, &r->config.links[last], value);
        r->links[last].faulty |= r->faults > before;
    } else {
        take_value(r, k, &r->config, value);
    }
}

static int take(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    if (name[0] == SECTION_MARK[0]) {
        start_section(r, section);
        return 1;
    }
    if (r->title[0] == '\0' && section[0] == '\0') {
        fault(r, r->number, "%s: stands before the first section", name);
        return 1;
    }
    switch (r->section) {
    case BRIDGE:
    case BROKER:
    case LINK:
        take_key(r, name, value);
        break;
    case TOPICS:
        take_topic(r, name, value);
        break;
    case UDP:
    case SERIAL:
    case NOWHERE:
        break;
    }
    return 1;
}

/* ---- checks between keys --------------------------------------------------------- */

static unsigned line_of(const unsigned *lines, enum section s, const char *name)
{
    return lines[key_index(key_find(s, name))];
}

static void read_password(struct reading *r)
{
    struct config *c = &r->config;
    const unsigned line = line_of(r->key_line, BROKER, "password_file");
    char *text = NULL;
    size_t size = 0;

    if (c->password_file == NULL) {
        return;
    }
    if (c->broker.password != NULL) {
        fault(r, line, "[broker] password_file: found beside password, allowed is one of the two");
        return;
    }
    FILE *f = fopen(c->password_file, "re");
    if (f == NULL) {
        return; /* has been said when the key was read */
    }
    if (getline(&text, &size, f) > 0 && strcspn(text, "\r\n") > 0) {
        text[strcspn(text, "\r\n")] = '\0';
        c->broker.password = own_text(c, text);
    } else if (!ferror(f)) {
        fault(r, line,
              "[broker] password_file: the first line of \"%s\" is empty, it is the password",
              c->password_file);
    }
    free(text);
    fclose(f);
}

static void check_broker(struct reading *r)
{
    const struct config *c = &r->config;
    const char *const tls[] = {"ca_file", "cert_file", "key_file"};

    for (size_t i = 0; i < sizeof tls / sizeof tls[0]; i++) {
        const unsigned line = line_of(r->key_line, BROKER, tls[i]);
        const char *path = text_get(key_find(BROKER, tls[i]), c);
        if (path != NULL && !is_encrypted(c->broker.url)) {
            fault(r, line,
                  "[broker] %s: found, but url is \"%s\" and not encrypted; ssl:// and "
                  "wss:// are",
                  tls[i], c->broker.url);
        }
    }
    if (c->broker.key_file != NULL && c->broker.cert_file == NULL) {
        fault(r, line_of(r->key_line, BROKER, "key_file"),
              "[broker] key_file: found without cert_file");
    }
    if (c->broker.password != NULL && c->broker.username == NULL) {
        fault(r, line_of(r->key_line, BROKER, "password"),
              "[broker] password: found without username");
    }
    if (c->bridge.reconnect_min_ms > c->bridge.reconnect_max_ms) {
        fault(r, line_of(r->key_line, BROKER, "reconnect_min_ms"),
              "[broker] reconnect_min_ms: found %u, allowed is up to reconnect_max_ms = %u",
              c->bridge.reconnect_min_ms, c->bridge.reconnect_max_ms);
    }
}

static void check_bridge(struct reading *r)
{
    if (r->config.transparent) {
        fault(r, line_of(r->key_line, BRIDGE, "mode"),
              "[bridge] mode: transparent is not yet supported, allowed is aggregating");
    }
}

static void apply_profile(struct reading *r, struct config_link *l, const struct link_lines *lines)
{
    if (l->profile == NULL) {
        l->profile = l->type == CONFIG_LINK_UDP ? "lan-udp" : "serial-9600";
    }
    const struct profile *p = profile_find(l->profile);
    if (p == NULL) {
        if (fault_begins(r, line_of(lines->key, LINK, "profile"))) {
            fprintf(r->errors, "[link %s] profile: found \"%s\", allowed is one of ", l->core.name,
                    l->profile);
            profile_print_names(r->errors);
            fputc('\n', r->errors);
        }
        p = &profiles[0];
    }
    const struct config_link filled = profile_apply(p, l);
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct key *k = &keys[i];
        if (k->standard != NULL && strcmp(k->standard, FROM_PROFILE) == 0 && lines->key[i] == 0) {
            number_set(k, l, number_get(k, &filled));
        }
    }
}

static void check_link(struct reading *r, struct config_link *l, struct link_lines *lines)
{
    const char *name = l->core.name;
    if (line_of(lines->key, LINK, "type") == 0) {
        fault(r, lines->section, "[link %s] type: missing, allowed is udp or serial", name);
        lines->faulty = true;
        return;
    }
    const enum section other = l->type == CONFIG_LINK_UDP ? SERIAL : UDP;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (keys[i].section == other && lines->key[i] != 0) {
            fault(r, lines->key[i], "[link %s] %s: found, but the link's type is %s", name,
                  keys[i].name, l->type == CONFIG_LINK_UDP ? "udp" : "serial");
        }
    }
    apply_profile(r, l, lines);
    if (l->core.retry_min_ms > l->core.retry_ms || l->core.retry_ms > l->core.retry_max_ms) {
        fault(r, lines->section,
              "[link %s] retry_ms: found retry_min_ms = %u, retry_ms = %u, retry_max_ms = %u, "
              "allowed is this order only",
              name, l->core.retry_min_ms, l->core.retry_ms, l->core.retry_max_ms);
    }
    if (l->type == CONFIG_LINK_SERIAL && l->device == NULL) {
        fault(r, lines->section, "[link %s] device: missing, required with type = serial", name);
    }
    struct endpoint e;
    if (l->type == CONFIG_LINK_UDP && l->multicast != NULL && parse_endpoint(l->multicast, &e) &&
        !is_multicast(&e)) {
        fault(r, line_of(lines->key, LINK, "multicast"),
              "[link %s] multicast: found \"%s\", allowed is a multicast group such as "
              "225.1.1.1:1884",
              name, l->multicast);
    }
    if (l->type == CONFIG_LINK_UDP && l->multicast == NULL && l->advertise_s > 0) {
        fault(r, line_of(lines->key, LINK, "advertise_s"),
              "[link %s] advertise_s: found %u without multicast, the group to send to", name,
              l->advertise_s);
    }
}

/* Whether two links would take the same port or device. */
static bool is_same_place(const struct config_link *a, const struct config_link *b)
{
    if (a->type != b->type) {
        return false;
    }
    if (a->type == CONFIG_LINK_UDP) {
        struct endpoint x;
        struct endpoint y;
        return parse_endpoint(a->listen, &x) && parse_endpoint(b->listen, &y) &&
               x.family == y.family && x.port == y.port &&
               (is_any(&x) || is_any(&y) || memcmp(x.address, y.address, sizeof x.address) == 0);
    }
    if (a->device == NULL || b->device == NULL) {
        return false;
    }
    /* Two names under /dev may mean one port. */
    char *real_a = realpath(a->device, NULL);
    char *real_b = realpath(b->device, NULL);
    const bool same = real_a != NULL && real_b != NULL ? strcmp(real_a, real_b) == 0
                                                       : strcmp(a->device, b->device) == 0;
    free(real_a);
    free(real_b);
    return same;
}

static void check_place(struct reading *r, size_t i)
{
    const struct config_link *links = r->config.links;
    for (size_t j = 0; j < i; j++) {
        if (r->links[j].faulty || !is_same_place(&links[i], &links[j])) {
            continue;
        }
        const bool udp = links[i].type == CONFIG_LINK_UDP;
        const char *key = udp ? "listen" : "device";
        const unsigned line = line_of(r->links[i].key, LINK, key);
        fault(r, line > 0 ? line : r->links[i].section,
              "[link %s] %s: found \"%s\", which [link %s] uses already", links[i].core.name, key,
              udp ? links[i].listen : links[i].device, links[j].core.name);
        return;
    }
}

static void check_links(struct reading *r)
{
    struct config *c = &r->config;
    if (c->bridge.link_count == 0) {
        fault(r, 0, "no [link NAME] section, at least one is required");
    }
    for (size_t i = 0; i < c->bridge.link_count; i++) {
        check_link(r, &c->links[i], &r->links[i]);
        if (!r->links[i].faulty) {
            check_place(r, i);
        }
    }
}

/* ---- loading ----------------------------------------------------------------------- */

/* The core wants its links side by side. */
static void gather(struct reading *r)
{
    struct config *c = &r->config;
    struct bridge_link_config *cores = calloc(c->bridge.link_count, sizeof *cores);
    assert(cores != NULL);
    own(c, cores);
    for (size_t i = 0; i < c->bridge.link_count; i++) {
        cores[i] = c->links[i].core;
    }
    c->bridge.links = cores;
}

int config_load(const char *path, struct config *out, FILE *errors)
{
    struct reading *r = calloc(1, sizeof *r);
    assert(r != NULL);
    r->path = path;
    r->errors = errors;
    r->section = NOWHERE;
    r->config.links = calloc(BRIDGE_LINKS_MAX, sizeof *r->config.links);
    assert(r->config.links != NULL);
    own(&r->config, r->config.links);
    set_defaults(&r->config, BRIDGE, &r->config);
    set_defaults(&r->config, BROKER, &r->config);

    r->file = fopen(path, "re");
    if (r->file == NULL) {
        fault(r, 0, "cannot be read: %s", strerror(errno));
    } else {
        const int bad = ini_parse_stream(read_line, r, take, r);
        if (ferror(r->file)) {
            fault(r, 0, "cannot be read: %s", strerror(errno));
        } else if (bad != 0 && r->faults == 0) {
            fault(r, 0, "is not a configuration file");
        } else {
            check_bridge(r);
            read_password(r);
            check_broker(r);
            check_links(r);
        }
        fclose(r->file);
    }
    if (r->predefined != NULL) {
        own(&r->config, r->predefined);
        r->config.bridge.predefined = r->predefined;
    }
    if (r->faults == 0) {
        gather(r);
    }
    const unsigned faults = r->faults;
    struct config config = r->config;
    free(r->line);
    free(r);
    if (faults > CONFIG_ERRORS_MAX) {
        fprintf(errors, "%s: %u more errors\n", path, faults - CONFIG_ERRORS_MAX);
    }
    if (faults > 0) {
        config_free(&config);
        return -1;
    }
    *out = config;
    return 0;
}

void config_free(struct config *c)
{
    for (size_t i = 0; i < c->owned_count; i++) {
        free(c->owned[i]);
    }
    free(c->owned);
    *c = (struct config){0};
}

/* ---- printing ------------------------------------------------------------------------ */

static void print_key(const struct key *k, const void *owner, FILE *out)
{
    struct sn_bytes word;
    fprintf(out, "\n; %s\n", k->help);
    if (is_text(k)) {
        const char *text = text_get(k, owner);
        if (text == NULL) {
            fprintf(out, "; %s is not set\n", k->name);
        } else if (is_secret(k)) {
            fprintf(out, "; %s is set, and not shown\n", k->name);
        } else {
            fprintf(out, "%s = %s\n", k->name, text);
        }
        return;
    }
    const uint64_t number = number_get(k, owner);
    if (k->type == FLAG) {
        fprintf(out, "%s = %s\n", k->name, number != 0 ? "yes" : "no");
    } else if (k->type == WORD && word_at(k->words, number - k->min, &word)) {
        fprintf(out, "%s = %.*s\n", k->name, (int)word.len, (const char *)word.data);
    } else {
        fprintf(out, "%s = %llu\n", k->name, (unsigned long long)number);
    }
}

static void print_topics(const struct config *c, FILE *out)
{
    const char *section = "";
    for (size_t i = 0; i < c->bridge.predefined_count; i++) {
        const struct bridge_predefined *p = &c->bridge.predefined[i];
        if (section != NULL && section[0] == '\0' ? true : !same_client(section, p->client)) {
            fprintf(out, "\n[topics%s%s]\n", p->client != NULL ? " " : "",
                    p->client != NULL ? p->client : "");
            section = p->client;
        }
        fprintf(out, "%u = %s\n", p->tid, p->topic);
    }
}

void config_print(const struct config *c, FILE *out)
{
    const enum section sections[] = {BRIDGE, BROKER};
    for (size_t s = 0; s < 2; s++) {
        fprintf(out, "%s[%s]\n", s == 0 ? "" : "\n", section_words[s]);
        for (size_t i = 0; i < KEY_COUNT; i++) {
            if (keys[i].section == sections[s]) {
                print_key(&keys[i], c, out);
            }
        }
    }
    for (size_t n = 0; n < c->bridge.link_count; n++) {
        const struct config_link *l = &c->links[n];
        const enum section kind = l->type == CONFIG_LINK_UDP ? UDP : SERIAL;
        fprintf(out, "\n[link %s]\n", l->core.name);
        for (size_t i = 0; i < KEY_COUNT; i++) {
            if (keys[i].section == LINK || keys[i].section == kind) {
                print_key(&keys[i], l, out);
            }
        }
    }
    print_topics(c, out);
}

static void print_help_section(enum section section, const char *title, FILE *out)
{
    fprintf(out, "%s\n", title);
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct key *k = &keys[i];
        if (k->section != section) {
            continue;
        }
        fprintf(out, "  %s\n      %s.\n      Allowed: ", k->name, k->help);
        print_allowed(k, out);
        if (k->standard == NULL) {
            fputs(". Not set by default.\n", out);
        } else if (strcmp(k->standard, FROM_PROFILE) == 0) {
            fputs(". Default: from the profile.\n", out);
        } else {
            fprintf(out, ". Default: %s\n", k->standard);
        }
    }
    fputc('\n', out);
}

void config_print_help(FILE *out)
{
    print_help_section(BRIDGE, "[bridge]", out);
    print_help_section(BROKER, "[broker]", out);
    print_help_section(LINK, "[link NAME]  any number of links", out);
    print_help_section(UDP, "[link NAME]  with type = udp", out);
    print_help_section(SERIAL, "[link NAME]  with type = serial", out);
    fputs("[topics]  predefined topic ids for every client\n"
          "[topics CLIENT]  for one client; these win\n"
          "  ID = TOPIC\n"
          "      Allowed: an id from 1 to 65534, once in a section; a topic's name, without\n"
          "      wildcards.\n",
          out);
}
