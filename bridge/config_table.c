/* The table of keys, and what follows from it alone. */
#include "bridge/config_parts.h"

#include "radio/profile.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define OWNER_BRIDGE struct config
#define OWNER_BROKER struct config
#define OWNER_LINK   struct config_link
#define OWNER_UDP    struct config_link
#define OWNER_SERIAL struct config_link
#define OWNER_CLASS  struct bridge_class_config
#define FROM_PROFILE CONFIG_FROM_PROFILE

const struct config_key config_keys[] = {
#define KEY(section_, name_, type_, field_, standard_, min_, max_, words_, help_)                  \
    {.section = CONFIG_IN_##section_,                                                              \
     .name = #name_,                                                                               \
     .type = CONFIG_##type_,                                                                       \
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

bool config_is_link_key(const struct config_key *k)
{
    return k->section == CONFIG_IN_LINK || k->section == CONFIG_IN_UDP ||
           k->section == CONFIG_IN_SERIAL;
}

bool config_is_text(const struct config_key *k)
{
    return k->type == CONFIG_TEXT || k->type == CONFIG_CHOICE || k->type == CONFIG_FILE ||
           k->type == CONFIG_URL || k->type == CONFIG_ADDRESS || k->type == CONFIG_FILTERS;
}

static bool is_secret(const struct config_key *k)
{
    return strcmp(k->name, "password") == 0;
}

const struct config_key *config_find_key(enum config_section s, const char *name)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const bool here =
            s == CONFIG_IN_LINK ? config_is_link_key(&config_keys[i]) : config_keys[i].section == s;
        if (here && strcmp(config_keys[i].name, name) == 0) {
            return &config_keys[i];
        }
    }
    return NULL;
}

size_t config_key_index(const struct config_key *k)
{
    return (size_t)(k - config_keys);
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

uint64_t config_get_number(const struct config_key *k, const void *owner)
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

void config_set_number(const struct config_key *k, void *owner, uint64_t value)
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

const char *config_get_text(const struct config_key *k, const void *owner)
{
    const char *text;
    memcpy(&text, (const char *)owner + k->offset, sizeof text);
    return text;
}

void config_set_text(const struct config_key *k, void *owner, const char *text)
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

void config_print_allowed(const struct config_key *k, FILE *out)
{
    switch (k->type) {
    case CONFIG_NUMBER:
        fprintf(out, "a whole number from %llu to %llu", (unsigned long long)k->min,
                (unsigned long long)k->max);
        break;
    case CONFIG_FILTERS:
        fputs("topic filters, separated by commas or spaces", out);
        break;
    case CONFIG_FLAG:
        fputs("no or yes", out);
        break;
    case CONFIG_WORD:
    case CONFIG_CHOICE:
        print_words(k->words, out);
        break;
    case CONFIG_TEXT:
        fprintf(out, "text of %llu to %llu octets", (unsigned long long)k->min,
                (unsigned long long)k->max);
        break;
    case CONFIG_FILE:
        fputs("a file that can be read", out);
        break;
    case CONFIG_URL:
        fputs("tcp://HOST:PORT, also with ssl://, ws:// or wss://", out);
        break;
    case CONFIG_ADDRESS:
        fputs("a numeric address and port such as 0.0.0.0:1883 or [::]:1883", out);
        break;
    }
}

/* ---- the syntax of values ------------------------------------------------ */

/* Decimal digits only. */
bool config_parse_number(const char *text, uint64_t *value)
{
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0' || strlen(text) > 19) {
        return false;
    }
    *value = strtoull(text, NULL, 10);
    return true;
}

bool config_parse_word(const char *words, const char *text, uint64_t *place)
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
    if (!config_parse_number(text, &value) || value < 1 || value > 65535) {
        return false;
    }
    *port = (uint16_t)value;
    return true;
}

bool config_parse_endpoint(const char *text, struct config_endpoint *out)
{
    char host[INET6_ADDRSTRLEN + 16];
    const char *colon = strrchr(text, ':');
    const bool bracketed = text[0] == '[';
    struct config_endpoint e = {.family = bracketed ? AF_INET6 : AF_INET};

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
    if (bracketed) {
        host[strcspn(host, "%")] = '\0'; /* the interface of a link-local address */
    }
    if (inet_pton(e.family, host, e.address) != 1) {
        return false;
    }
    *out = e;
    return true;
}

static const char *const schemes[] = {"tcp://", "ssl://", "ws://", "wss://"};

bool config_is_url(const char *text)
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

bool config_same_client(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* ---- printing ------------------------------------------------------------ */

void config_print_value(const struct config_key *k, const void *owner, FILE *out)
{
    struct sn_bytes word;
    if (config_is_text(k)) {
        const char *text = config_get_text(k, owner);
        fputs(text == NULL ? "not set" : is_secret(k) ? "set, and not shown" : text, out);
        return;
    }
    const uint64_t number = config_get_number(k, owner);
    if (k->type == CONFIG_FLAG) {
        fputs(number != 0 ? "yes" : "no", out);
    } else if (k->type == CONFIG_WORD && word_at(k->words, number - k->min, &word)) {
        fprintf(out, "%.*s", (int)word.len, (const char *)word.data);
    } else {
        fprintf(out, "%llu", (unsigned long long)number);
    }
}

static void print_modes(const struct config *c, FILE *out)
{
    if (c->bridge.mode_count > 0)
        fputs("\n[modes]\n", out);
    for (size_t i = 0; i < c->bridge.mode_count; i++)
        fprintf(out, "%s = %s\n", c->bridge.modes[i].transparent ? "transparent" : "aggregating",
                c->bridge.modes[i].pattern);
}

static void print_key(const struct config_key *k, const void *owner, FILE *out)
{
    const bool is_comment =
        config_is_text(k) && (config_get_text(k, owner) == NULL || is_secret(k));
    fprintf(out, "\n; %s\n", k->help);
    fprintf(out, is_comment ? "; %s is " : "%s = ", k->name);
    config_print_value(k, owner, out);
    fputc('\n', out);
}

static void print_topics(const struct config *c, FILE *out)
{
    const char *section = "";
    for (size_t i = 0; i < c->bridge.predefined_count; i++) {
        const struct bridge_predefined *p = &c->bridge.predefined[i];
        if (section != NULL && section[0] == '\0' ? true
                                                  : !config_same_client(section, p->client)) {
            fprintf(out, "\n[topics%s%s]\n", p->client != NULL ? " " : "",
                    p->client != NULL ? p->client : "");
            section = p->client;
        }
        fprintf(out, "%u = %s\n", p->tid, p->topic);
    }
}

void config_print(const struct config *c, FILE *out)
{
    const enum config_section sections[] = {CONFIG_IN_BRIDGE, CONFIG_IN_BROKER};
    for (size_t s = 0; s < 2; s++) {
        fputs(s == 0 ? "[bridge]\n" : "\n[broker]\n", out);
        for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
            if (config_keys[i].section == sections[s]) {
                print_key(&config_keys[i], c, out);
            }
        }
    }
    for (size_t n = 0; n < c->bridge.class_count; n++) {
        fprintf(out, "\n[class %s]\n", c->classes[n].name);
        for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
            if (config_keys[i].section == CONFIG_IN_CLASS) {
                print_key(&config_keys[i], &c->classes[n], out);
            }
        }
    }
    for (size_t n = 0; n < c->bridge.link_count; n++) {
        const struct config_link *l = &c->links[n];
        const enum config_section kind =
            l->type == CONFIG_LINK_UDP ? CONFIG_IN_UDP : CONFIG_IN_SERIAL;
        fprintf(out, "\n[link %s]\n", l->core.name);
        for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
            if (config_keys[i].section == CONFIG_IN_LINK || config_keys[i].section == kind) {
                print_key(&config_keys[i], l, out);
            }
        }
    }
    print_modes(c, out);
    print_topics(c, out);
}

static void print_help_section(enum config_section section, const char *title, FILE *out)
{
    fprintf(out, "%s\n", title);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *k = &config_keys[i];
        if (k->section != section) {
            continue;
        }
        fprintf(out, "  %s\n      %s.\n      Allowed: ", k->name, k->help);
        config_print_allowed(k, out);
        if (k->standard == NULL) {
            fputs(". Not set by default.", out);
        } else if (strcmp(k->standard, CONFIG_FROM_PROFILE) == 0) {
            fputs(". Default: from the profile.", out);
        } else {
            fprintf(out, ". Default: %s", k->standard);
        }
        fputs(config_is_live(k) ? "  (SIGHUP)\n" : "\n", out);
    }
    fputc('\n', out);
}

void config_print_help(FILE *out)
{
    fputs("Keys with (SIGHUP), and [topics], are read again then; others need a restart.\n\n", out);
    print_help_section(CONFIG_IN_BRIDGE, "[bridge]", out);
    print_help_section(CONFIG_IN_BROKER, "[broker]", out);
    print_help_section(CONFIG_IN_CLASS,
                       "[class NAME]  classes of messages; [class default] is for all others", out);
    print_help_section(CONFIG_IN_LINK, "[link NAME]  any number of links", out);
    print_help_section(CONFIG_IN_UDP, "[link NAME]  with type = udp", out);
    print_help_section(CONFIG_IN_SERIAL, "[link NAME]  with type = serial", out);
    fputs("[modes]  which sensors have a connection to the broker of their own\n"
          "  MODE = CLIENTS\n"
          "      Allowed: aggregating or transparent, and a pattern for client ids: * stands for\n"
          "      any octets, ? for one. The first line that matches decides; else mode does.\n\n"
          "[topics]  predefined topic ids for every client\n"
          "[topics CLIENT]  for one client; these win\n"
          "  ID = TOPIC\n"
          "      Allowed: an id from 1 to 65534, once in a section; a topic's name, without\n"
          "      wildcards.\n\n"
          "Profiles of links:\n",
          out);
    for (size_t i = 0; i < radio_profile_count(); i++) {
        const struct radio_profile *p = radio_profile_at(i);
        fprintf(out, "  %-18s %s%s\n", p->name, p->text, p->is_guess ? " (estimates)" : "");
    }
}
