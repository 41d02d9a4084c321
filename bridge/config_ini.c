/* The configuration file: reading it.
 *
 * inih splits lines into section, name and value. It reads lines through our
 * reader, which knows their numbers and takes away what inih would silently
 * misread: indentation (a continued value), lines and names too long for its
 * buffers (cut), text behind a section's bracket (ignored).
 */
#include "bridge/config_parts.h"

#include "bridge/classes.h"
#include "mqttsn/topic.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECTION_MARK "\x01=" /* a line of ours behind each section's line, see read_line() */
#define PACKET_REST  4096u
#define TID_MAX      0xFFFE /* 0 and 0xFFFF are reserved, 5.3.11 */

/* "link", "class" and "topics" may be followed by a name. */
static const char *const section_words[] = {"bridge", "broker", "class", "link", "modes", "topics"};

/* ---- owning and complaining ---------------------------------------------- */

void config_own(struct config *c, void *allocation)
{
    if ((c->owned_count & (c->owned_count - 1)) == 0) {
        const size_t size = c->owned_count == 0 ? 1 : 2 * c->owned_count;
        c->owned = realloc(c->owned, size * sizeof *c->owned);
        assert(c->owned != NULL);
    }
    c->owned[c->owned_count++] = allocation;
}

const char *config_own_text(struct config *c, const char *text)
{
    char *copy = strdup(text);
    assert(copy != NULL);
    config_own(c, copy);
    return copy;
}

bool config_fault_begins(struct config_reading *r, unsigned line)
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

void config_fault(struct config_reading *r, unsigned line, const char *format, ...)
{
    if (!config_fault_begins(r, line)) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vfprintf(r->errors, format, arguments);
    va_end(arguments);
    fputc('\n', r->errors);
}

/* The value as found, then what is allowed. */
static void fault_in_value(struct config_reading *r, unsigned line, const struct config_key *k,
                           const char *value)
{
    if (!config_fault_begins(r, line)) {
        return;
    }
    fprintf(r->errors, "[%s] %s: found \"%s\", allowed is ", r->title, k->name, value);
    config_print_allowed(k, r->errors);
    fputc('\n', r->errors);
}

/* ---- the reader under inih ----------------------------------------------- */

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
static bool check_line(struct config_reading *r, const char *line)
{
    const size_t len = strlen(line);
    if (len > CONFIG_LINE_MAX) {
        config_fault(r, r->number, "the line has %zu octets, at most %d are allowed", len,
                     CONFIG_LINE_MAX);
        return false;
    }
    if (line[0] == '[') {
        if (strchr(line, ']') != line + len - 1) {
            config_fault(r, r->number,
                         "found \"%s\", a section is [bridge], [broker], [class NAME], "
                         "[link NAME], [topics] or [topics CLIENT]",
                         line);
            r->section = CONFIG_IN_NOTHING;
            return false;
        }
        if (len - 2 > CONFIG_SECTION_MAX) {
            config_fault(r, r->number, "the section's name has %zu octets, at most %d are allowed",
                         len - 2, CONFIG_SECTION_MAX);
            r->section = CONFIG_IN_NOTHING;
            return false;
        }
        return true;
    }
    const size_t name = strcspn(line, "=:");
    if (name == 0 || line[name] == '\0') {
        config_fault(r, r->number, "found \"%s\", a line is KEY = VALUE, [SECTION] or a comment",
                     line);
        return false;
    }
    return true;
}

/* Hands inih one line at a time. An empty one stands for what it need not see. Behind
 * each section's line it finds a key of ours, which tells take() of the section
 * even when it has no keys. */
static char *read_line(char *out, int size, void *stream)
{
    struct config_reading *r = stream;
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
        config_fault(r, r->number, "the line contains a NUL octet; is this a text file?");
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

/* ---- unknown words ------------------------------------------------------- */

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

static void fault_unknown_key(struct config_reading *r, const char *name)
{
    const struct config_key *near = NULL;
    const struct config_key *elsewhere = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const bool here = r->section == CONFIG_IN_LINK ? config_is_link_key(&config_keys[i])
                                                       : config_keys[i].section == r->section;
        if (here && is_near(name, config_keys[i].name, &best)) {
            near = &config_keys[i];
        }
        if (!here && strcmp(name, config_keys[i].name) == 0) {
            elsewhere = &config_keys[i];
        }
    }
    if (elsewhere != NULL) {
        config_fault(r, r->number, "[%s] %s: unknown here, it belongs into [%s]", r->title, name,
                     config_is_link_key(elsewhere)            ? "link NAME"
                     : elsewhere->section == CONFIG_IN_CLASS  ? "class NAME"
                     : elsewhere->section == CONFIG_IN_BRIDGE ? "bridge"
                                                              : "broker");
    } else if (near != NULL) {
        config_fault(r, r->number, "[%s] %s: unknown key, did you mean %s?", r->title, name,
                     near->name);
    } else {
        config_fault(r, r->number,
                     "[%s] %s: unknown key, `snbridge --help-config` lists those there are",
                     r->title, name);
    }
}

static void fault_unknown_section(struct config_reading *r, const char *word)
{
    const char *near = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < sizeof section_words / sizeof section_words[0]; i++) {
        if (is_near(word, section_words[i], &best)) {
            near = section_words[i];
        }
    }
    if (near != NULL) {
        config_fault(r, r->number, "[%s]: unknown section, did you mean %s?", r->title, near);
    } else {
        config_fault(
            r, r->number,
            "[%s]: unknown section, allowed are [bridge], [broker], [class NAME], [link NAME], "
            "[topics] and [topics CLIENT]",
            r->title);
    }
}

/* ---- values -------------------------------------------------------------- */

static void check_readable(struct config_reading *r, const struct config_key *k, const char *path)
{
    char octet;
    FILE *f = fopen(path, "re");
    /* A directory opens and fails at the first read. */
    if (f == NULL || (fread(&octet, 1, 1, f) == 0 && ferror(f))) {
        config_fault(r, r->number, "[%s] %s: cannot read \"%s\": %s", r->title, k->name, path,
                     strerror(errno));
    }
    if (f != NULL) {
        fclose(f);
    }
}

/* Text that was likely meant in another way; true if a line was written. */
static bool check_text(struct config_reading *r, const struct config_key *k, const char *value)
{
    const size_t len = strlen(value);
    if (len >= 2 && (value[0] == '"' || value[0] == '\'') && value[len - 1] == value[0]) {
        config_fault(r, r->number, "[%s] %s: found %s, values stand without quotes", r->title,
                     k->name, value);
        return true;
    }
    for (size_t i = 1; i < len; i++) {
        if (value[i] == '#' && isspace((unsigned char)value[i - 1])) {
            config_fault(
                r, r->number,
                "[%s] %s: found \"%s\", a comment behind a value begins with \";\" after a space",
                r->title, k->name, value);
            return true;
        }
    }
    return false;
}

static void check_filters(struct config_reading *r, const struct config_key *k, const char *value)
{
    const char *at = value;
    struct sn_bytes filter;
    while (classes_next_filter(&at, &filter)) {
        const enum sn_fault f = sn_topic_check_filter(filter);
        if (f != SN_OK) {
            config_fault(r, r->number, "[%s] %s: found \"%.*s\" (%s), allowed are topic filters",
                         r->title, k->name, (int)filter.len, (const char *)filter.data,
                         sn_fault_name(f));
        }
    }
}

/* Puts a value into its field, or writes a line. */
static void take_value(struct config_reading *r, const struct config_key *k, void *owner,
                       const char *value)
{
    uint64_t number;

    if (value[0] == '\0' && config_is_text(k) && k->standard == NULL) {
        return;
    }
    if (config_is_text(k) && check_text(r, k, value)) {
        return;
    }
    switch (k->type) {
    case CONFIG_NUMBER:
        if (!config_parse_number(value, &number) || number < k->min || number > k->max) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        config_set_number(k, owner, number);
        return;
    case CONFIG_FLAG:
        if (!config_parse_word("no|yes", value, &number)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        config_set_number(k, owner, number);
        return;
    case CONFIG_WORD:
        if (!config_parse_word(k->words, value, &number)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        config_set_number(k, owner, k->min + number);
        return;
    case CONFIG_CHOICE:
        if (!config_parse_word(k->words, value, &number)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        break;
    case CONFIG_FILTERS:
        check_filters(r, k, value);
        break;
    case CONFIG_TEXT:
        if (strlen(value) < k->min || strlen(value) > k->max) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        break;
    case CONFIG_FILE:
        check_readable(r, k, value);
        break;
    case CONFIG_URL:
        if (!config_is_url(value)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        break;
    case CONFIG_ADDRESS: {
        struct config_endpoint e;
        if (!config_parse_endpoint(value, &e)) {
            fault_in_value(r, r->number, k, value);
            return;
        }
        break;
    }
    }
    config_set_text(k, owner, config_own_text(&r->config, value));
}

static void set_defaults(struct config *c, enum config_section section, void *owner)
{
    /* Defaults go through the same parser; a faulty one is our own mistake. */
    struct config_reading r = {.path = "config.def", .errors = stderr, .config = *c};
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *k = &config_keys[i];
        const bool here = section == CONFIG_IN_LINK ? config_is_link_key(k) : k->section == section;
        if (here && k->standard != NULL && strcmp(k->standard, CONFIG_FROM_PROFILE) != 0) {
            take_value(&r, k, owner == c ? &r.config : owner, k->standard);
        }
    }
    assert(r.faults == 0);
    *c = r.config;
}

/* ---- what inih calls ----------------------------------------------------- */

/* Names stand in tables and in JSON as they are. */
static bool check_name(struct config_reading *r, const char *what, const char *name)
{
    const size_t len = strlen(name);
    const char *letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    if (len == 0 || len > CONFIG_NAME_MAX || name[strspn(name, letters)] != '\0') {
        config_fault(r, r->number,
                     "[%s]: a %s needs a name of 1 to %d letters, digits, \"-\", \"_\" or \".\"",
                     r->title, what, CONFIG_NAME_MAX);
        return false;
    }
    return true;
}

static void start_link(struct config_reading *r, const char *name)
{
    struct config *c = &r->config;

    if (!check_name(r, "link", name)) {
        return;
    }
    for (size_t i = 0; i < c->bridge.link_count; i++) {
        if (strcmp(c->links[i].core.name, name) == 0) {
            config_fault(r, r->number,
                         "[%s]: this link stands already in line %u, names must differ", r->title,
                         r->links[i].section);
            return;
        }
    }
    if (c->bridge.link_count == BRIDGE_LINKS_MAX) {
        config_fault(r, r->number, "[%s]: one link too many, at most %d are allowed", r->title,
                     BRIDGE_LINKS_MAX);
        return;
    }
    struct config_link *l = &c->links[c->bridge.link_count];
    set_defaults(c, CONFIG_IN_LINK, l);
    l->core.name = config_own_text(c, name);
    r->links[c->bridge.link_count] = (struct section_lines){.section = r->number};
    c->bridge.link_count++;
    r->section = CONFIG_IN_LINK;
}

static void start_class(struct config_reading *r, const char *name)
{
    struct config *c = &r->config;
    size_t at = 0;

    if (!check_name(r, "class", name)) {
        return;
    }
    while (at < c->bridge.class_count && strcmp(c->classes[at].name, name) != 0) {
        at++;
    }
    if (at < c->bridge.class_count && r->classes[at].section != 0) {
        config_fault(r, r->number, "[%s]: this class stands already in line %u, names must differ",
                     r->title, r->classes[at].section);
        return;
    }
    if (at == BRIDGE_CLASSES_MAX) {
        config_fault(r, r->number, "[%s]: one class too many, at most %d are allowed", r->title,
                     BRIDGE_CLASSES_MAX);
        return;
    }
    if (at == c->bridge.class_count) {
        set_defaults(c, CONFIG_IN_CLASS, &c->classes[at]);
        c->classes[at].name = config_own_text(c, name);
        c->bridge.class_count++;
    }
    r->classes[at].section = r->number;
    r->class = at;
    r->section = CONFIG_IN_CLASS;
}

static void start_topics(struct config_reading *r, const char *client)
{
    r->topics_client = NULL;
    if (client[0] != '\0') {
        if (sn_utf8_check(sn_bytes_text(client)) != SN_OK) {
            config_fault(r, r->number, "[topics]: the client id is not valid UTF-8");
            return;
        }
        r->topics_client = config_own_text(&r->config, client);
    }
    r->section = CONFIG_IN_TOPICS;
}

/* Makes the section's title current; its keys are skipped when it is faulty. */
static void start_section(struct config_reading *r, const char *title)
{
    char word[CONFIG_SECTION_MAX + 1];
    snprintf(r->title, sizeof r->title, "%s", title);
    r->section = CONFIG_IN_NOTHING;

    const char *first = title + strspn(title, " \t");
    const size_t len = strcspn(first, " \t");
    snprintf(word, sizeof word, "%.*s", (int)len, first);
    const char *name = first + len + strspn(first + len, " \t");

    if (strcmp(word, "link") == 0) {
        start_link(r, name);
    } else if (strcmp(word, "class") == 0) {
        start_class(r, name);
    } else if (strcmp(word, "topics") == 0) {
        start_topics(r, name);
    } else if (name[0] != '\0' && (strcmp(word, "bridge") == 0 || strcmp(word, "broker") == 0 ||
                                   strcmp(word, "modes") == 0)) {
        config_fault(r, r->number, "[%s]: a section of this kind has no name, write [%s]", r->title,
                     word);
    } else if (name[0] != '\0') {
        fault_unknown_section(r, word);
    } else if (strcmp(word, "bridge") == 0) {
        r->section = CONFIG_IN_BRIDGE;
    } else if (strcmp(word, "broker") == 0) {
        r->section = CONFIG_IN_BROKER;
    } else if (strcmp(word, "modes") == 0) {
        r->section = CONFIG_IN_MODES;
    } else {
        fault_unknown_section(r, word);
    }
}

static void take_topic(struct config_reading *r, const char *name, const char *value)
{
    struct config *c = &r->config;
    uint64_t tid;

    if (!config_parse_number(name, &tid) || tid < 1 || tid > TID_MAX) {
        config_fault(r, r->number, "[%s] %s: found \"%s\", allowed is a topic id from 1 to %d",
                     r->title, name, name, TID_MAX);
        return;
    }
    const enum sn_fault f = sn_topic_check_name(sn_bytes_text(value));
    if (f == SN_FAULT_WILDCARD_IN_NAME) {
        config_fault(r, r->number,
                     "[%s] %s: found \"%s\", a topic id stands for one topic, without + and #",
                     r->title, name, value);
        return;
    }
    if (f != SN_OK) {
        config_fault(r, r->number, "[%s] %s: found \"%s\" (%s), allowed is the name of a topic",
                     r->title, name, value, sn_fault_name(f));
        return;
    }
    for (size_t i = 0; i < c->bridge.predefined_count; i++) {
        if (r->predefined[i].tid == tid &&
            config_same_client(r->predefined[i].client, r->topics_client)) {
            config_fault(r, r->number, "[%s] %s: this id stands already for \"%s\"", r->title, name,
                         r->predefined[i].topic);
            return;
        }
    }
    if (c->bridge.predefined_count == r->predefined_size) {
        r->predefined_size = r->predefined_size == 0 ? 16 : 2 * r->predefined_size;
        r->predefined = realloc(r->predefined, r->predefined_size * sizeof *r->predefined);
        r->predefined_line =
            realloc(r->predefined_line, r->predefined_size * sizeof *r->predefined_line);
        assert(r->predefined != NULL && r->predefined_line != NULL);
    }
    r->predefined_line[c->bridge.predefined_count] = r->number;
    r->predefined[c->bridge.predefined_count++] = (struct bridge_predefined){
        .client = r->topics_client, .tid = (uint16_t)tid, .topic = config_own_text(c, value)};
}

static void take_key(struct config_reading *r, const char *name, const char *value)
{
    const struct config_key *k = config_find_key(r->section, name);
    if (k == NULL) {
        fault_unknown_key(r, name);
        return;
    }
    const size_t last = r->config.bridge.link_count - 1; /* not used outside of a link */
    unsigned *lines = r->section == CONFIG_IN_LINK    ? r->links[last].key
                      : r->section == CONFIG_IN_CLASS ? r->classes[r->class].key
                                                      : r->key_line;
    unsigned *line = &lines[config_key_index(k)];
    if (*line != 0) {
        config_fault(r, r->number, "[%s] %s: stands already in line %u, once is allowed", r->title,
                     name, *line);
        return;
    }
    *line = r->number;
    if (r->section == CONFIG_IN_LINK) {
        const unsigned before = r->faults;
        take_value(r, k, &r->config.links[last], value);
        r->links[last].faulty |= r->faults > before;
    } else if (r->section == CONFIG_IN_CLASS) {
        take_value(r, k, &r->config.classes[r->class], value);
    } else {
        take_value(r, k, &r->config, value);
    }
}

/* MODE = CLIENTS: the name of the line is the mode, for client ids may have "=" in them. */
static void take_mode(struct config_reading *r, const char *name, const char *value)
{
    struct config *c = &r->config;
    uint64_t mode;

    if (!config_parse_word("aggregating|transparent", name, &mode)) {
        config_fault(r, r->number,
                     "[modes] %s: found \"%s\", allowed is aggregating or transparent", name, name);
        return;
    }
    if (value[0] == '\0') {
        config_fault(r, r->number, "[modes] %s: a pattern for client ids is missing", name);
        return;
    }
    if (c->bridge.mode_count == r->modes_size) {
        r->modes_size = r->modes_size == 0 ? 16 : 2 * r->modes_size;
        r->modes = realloc(r->modes, r->modes_size * sizeof *r->modes);
        assert(r->modes != NULL);
    }
    r->modes[c->bridge.mode_count++] =
        (struct bridge_mode){.pattern = config_own_text(c, value), .transparent = mode == 1};
}

static int take(void *user, const char *section, const char *name, const char *value)
{
    struct config_reading *r = user;
    if (name[0] == SECTION_MARK[0]) {
        start_section(r, section);
        return 1;
    }
    if (r->title[0] == '\0' && section[0] == '\0') {
        config_fault(r, r->number, "%s: stands before the first section", name);
        return 1;
    }
    switch (r->section) {
    case CONFIG_IN_BRIDGE:
    case CONFIG_IN_BROKER:
    case CONFIG_IN_LINK:
    case CONFIG_IN_CLASS:
        take_key(r, name, value);
        break;
    case CONFIG_IN_TOPICS:
        take_topic(r, name, value);
        break;
    case CONFIG_IN_MODES:
        take_mode(r, name, value);
        break;
    case CONFIG_IN_UDP:
    case CONFIG_IN_SERIAL:
    case CONFIG_IN_NOTHING:
        break;
    }
    return 1;
}

/* ---- loading ------------------------------------------------------------- */

/* Of a packet from the broker nothing larger is of use: payload and name of the topic, which a
 * sensor registers, each fill a frame at most; and what others may say beside them. */
static uint32_t packet_max(const struct config *c)
{
    uint32_t frame_max = 0;
    for (size_t i = 0; i < c->bridge.link_count; i++) {
        if (c->links[i].core.frame_max > frame_max)
            frame_max = c->links[i].core.frame_max;
    }
    return 2 * frame_max + PACKET_REST;
}

/* The core wants its links side by side. */
static void gather(struct config_reading *r)
{
    struct config *c = &r->config;
    struct bridge_link_config *cores = calloc(c->bridge.link_count, sizeof *cores);
    assert(cores != NULL);
    config_own(c, cores);
    for (size_t i = 0; i < c->bridge.link_count; i++) {
        cores[i] = c->links[i].core;
    }
    c->bridge.links = cores;
    c->bridge.classes = c->classes;
    c->broker.links = cores;
    c->broker.max_packet = packet_max(c);
}

int config_read(FILE *file, const char *name, struct config *out, FILE *errors)
{
    struct config_reading *r = calloc(1, sizeof *r);
    assert(r != NULL);
    r->path = name;
    r->file = file;
    r->errors = errors;
    r->section = CONFIG_IN_NOTHING;
    r->config.links = calloc(BRIDGE_LINKS_MAX, sizeof *r->config.links);
    assert(r->config.links != NULL);
    config_own(&r->config, r->config.links);
    r->config.classes = calloc(BRIDGE_CLASSES_MAX, sizeof *r->config.classes);
    assert(r->config.classes != NULL);
    config_own(&r->config, r->config.classes);
    set_defaults(&r->config, CONFIG_IN_CLASS, &r->config.classes[0]);
    r->config.classes[0].name = "default";
    r->config.bridge.class_count = 1;
    set_defaults(&r->config, CONFIG_IN_BRIDGE, &r->config);
    set_defaults(&r->config, CONFIG_IN_BROKER, &r->config);

    const int bad = ini_parse_stream(read_line, r, take, r);
    if (ferror(file)) {
        config_fault(r, 0, "cannot be read: %s", strerror(errno));
    } else if (bad != 0 && r->faults == 0) {
        config_fault(r, 0, "is not a configuration file");
    } else {
        config_complete(r);
    }
    if (r->predefined != NULL) {
        config_own(&r->config, r->predefined);
        r->config.bridge.predefined = r->predefined;
    }
    if (r->modes != NULL) {
        config_own(&r->config, r->modes);
        r->config.bridge.modes = r->modes;
    }
    if (r->faults == 0) {
        gather(r);
    }
    const unsigned faults = r->faults;
    struct config config = r->config;
    free(r->line);
    free(r->predefined_line);
    free(r);
    if (faults > CONFIG_ERRORS_MAX) {
        fprintf(errors, "%s: %u more errors\n", name, faults - CONFIG_ERRORS_MAX);
    }
    if (faults > 0) {
        config_free(&config);
        return -1;
    }
    *out = config;
    return 0;
}

int config_load(const char *path, struct config *out, FILE *errors)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fprintf(errors, "%s: cannot be read: %s\n", path, strerror(errno));
        return -1;
    }
    const int rc = config_read(file, path, out, errors);
    fclose(file);
    return rc;
}

void config_free(struct config *c)
{
    for (size_t i = 0; i < c->owned_count; i++) {
        free(c->owned[i]);
    }
    free(c->owned);
    *c = (struct config){0};
}
