/* What the files config_*.c share. Nobody else includes this.
 *
 * config_table.c  the table, and what follows from it alone: accessors, the
 *                 syntax of values, printing, the manual
 * config_ini.c    reading a file
 * config_reload.c what may change while the bridge runs
 * config_check.c  what only several keys together can get wrong
 * config_credentials.c  the file of logins
 */
#ifndef BRIDGE_CONFIG_PARTS_H
#define BRIDGE_CONFIG_PARTS_H

#include "bridge/config.h"

#define CONFIG_SECTION_MAX  49 /* octets between the brackets; inih cuts longer ones */
#define CONFIG_FROM_PROFILE "profile"

/* ---- the table ------------------------------------------------------------- */

enum config_section {
    CONFIG_IN_BRIDGE,
    CONFIG_IN_BROKER,
    CONFIG_IN_LINK, /* and for both types of links: */
    CONFIG_IN_UDP,
    CONFIG_IN_SERIAL,
    CONFIG_IN_CLASS,
    CONFIG_IN_TOPICS,
    CONFIG_IN_MODES,
    CONFIG_IN_NOTHING, /* unknown or faulty */
};

/* See the head of config.def. */
enum config_type {
    CONFIG_NUMBER,
    CONFIG_FILTERS,
    CONFIG_FLAG,
    CONFIG_WORD,
    CONFIG_TEXT,
    CONFIG_CHOICE,
    CONFIG_FILE,
    CONFIG_URL,
    CONFIG_ADDRESS,
};

struct config_key {
    enum config_section section;
    const char *name;
    enum config_type type;
    size_t offset; /* in struct config, config_link or bridge_class_config */
    size_t size;
    const char *standard; /* the default as text */
    uint64_t min;
    uint64_t max;
    const char *words;
    const char *help;
};

enum {
    CONFIG_KEY_COUNT = 0
#define KEY(section, key, type, field, standard, min, max, words, help) +1
#include "bridge/config.def"
#undef KEY
};

extern const struct config_key config_keys[CONFIG_KEY_COUNT];

bool config_is_link_key(const struct config_key *k);
bool config_is_text(const struct config_key *k);

/* By name; CONFIG_IN_LINK stands for all three kinds of link keys. NULL: none. */
const struct config_key *config_find_key(enum config_section s, const char *name);
size_t config_key_index(const struct config_key *k);

/* The field of a key in its owner, see config_key.offset. */
uint64_t config_get_number(const struct config_key *k, const void *owner);
void config_set_number(const struct config_key *k, void *owner, uint64_t value);
const char *config_get_text(const struct config_key *k, const void *owner);
void config_set_text(const struct config_key *k, void *owner, const char *text);

/* Its value as it stands in a file; "not set", and for secrets whether it is set. */
#define CONFIG_VALUE_MAX 220
void config_print_value(const struct config_key *k, const void *owner, FILE *out);

/* Whether it can change while the bridge runs. */
bool config_is_live(const struct config_key *k);

/* "a whole number from 1 to 255" */
void config_print_allowed(const struct config_key *k, FILE *out);

/* ---- the syntax of values ---------------------------------------------------- */

/* A numeric address with its port. */
struct config_endpoint {
    int family;
    uint8_t address[16];
    uint16_t port;
};

/* True, and *out is filled in, if text is one. */
bool config_parse_number(const char *text, uint64_t *out);
bool config_parse_word(const char *words, const char *text, uint64_t *place);
bool config_parse_endpoint(const char *text, struct config_endpoint *out);

/* scheme://host[:port][/path]; an IPv6 address stands in brackets. */
bool config_is_url(const char *text);

/* Both may be NULL: every client. */
bool config_same_client(const char *a, const char *b);

/* ---- a file while it is read ------------------------------------------------- */

/* Where in the file a link or class stood. */
struct section_lines {
    unsigned section; /* 0: nowhere */
    bool faulty;      /* a line was written about it: do not compare what is left of it */
    unsigned key[CONFIG_KEY_COUNT]; /* 0: not in the file */
};

struct config_reading {
    const char *path;
    FILE *file;
    FILE *errors;
    unsigned faults;

    char *line; /* of getline() */
    size_t line_size;
    unsigned number;      /* of the line, from 1 */
    bool section_started; /* the next line handed out is SECTION_MARK */

    struct config config;
    enum config_section section;        /* keys in CONFIG_IN_NOTHING are skipped */
    char title[CONFIG_SECTION_MAX + 1]; /* the section as it is written, for messages */
    const char *topics_client;
    unsigned key_line[CONFIG_KEY_COUNT]; /* of [bridge] and [broker] */
    struct section_lines links[BRIDGE_LINKS_MAX];
    struct section_lines classes[BRIDGE_CLASSES_MAX];
    size_t class;                         /* whose keys these are, in CONFIG_IN_CLASS */
    struct bridge_predefined *predefined; /* owned; grows by doubling */
    unsigned *predefined_line;            /* where each of them stands */
    size_t predefined_size;
    struct bridge_mode *modes; /* owned; likewise */
    size_t modes_size;
};

/* Writes one line about a line of the file; 0: about the file. */
__attribute__((format(printf, 3, 4))) void config_fault(struct config_reading *r, unsigned line,
                                                        const char *format, ...);

/* The same in pieces: true if the rest and a newline are to be written to
 * r->errors, false when there have been enough lines. */
bool config_fault_begins(struct config_reading *r, unsigned line);

/* Keeps an allocation, or a copy of text, until config_free(). */
void config_own(struct config *c, void *allocation);
const char *config_own_text(struct config *c, const char *text);

/* Reads credentials_file, if there is one, into broker.logins. */
void config_read_credentials(struct config_reading *r);

/* After the last line: profiles, passwords, and checks between keys. */
void config_complete(struct config_reading *r);

#endif
