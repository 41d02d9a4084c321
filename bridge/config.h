/* The configuration: one INI file, read once, checked as a whole.
 *
 * Every key is one line of config.def, which gives its section, type, default,
 * range and the words of the manual. From that table the file is parsed and
 * checked, `--print-config` prints, and `--help-config` documents, so that the
 * three cannot disagree.
 *
 *   [bridge]          the gateway: state, limits, log
 *   [broker]          the MQTT side
 *   [class NAME]      classes of messages, up to BRIDGE_CLASSES_MAX; the order counts
 *   [class default]   the one of all other messages
 *   [link NAME]       any number of links up to BRIDGE_LINKS_MAX
 *   [topics]          ID = TOPIC, predefined for every client
 *   [topics CLIENT]   the same for one client; these win
 *   [modes]           MODE = CLIENTS, a pattern (pattern.h): which sensors are
 *                     transparent; the first that matches decides, else mode
 *
 * credentials_file has lines CLIENTS : USER : PASSWORD, the first that matches
 * decides. The password is all that follows the second colon; blanks around a field
 * do not belong to it; "?" in a pattern stands for a colon, too. Empty lines and
 * those that begin with "#" are skipped. Nobody but the owner may read the file.
 *
 * A line is KEY = VALUE, indented as you like. A comment begins with ";" or "#"
 * at the start of a line, or with ";" after a space. Values have no quotes, no
 * escapes and no continuation lines. An empty value means "not set" where a key
 * has no default. A byte order mark and CR LF are accepted.
 */
#ifndef BRIDGE_CONFIG_H
#define BRIDGE_CONFIG_H

#include "bridge/bridge.h"
#include "bridge/broker.h"

#include <stdio.h>

#define CONFIG_ERRORS_MAX 20  /* lines that config_load() writes before it only counts */
#define CONFIG_LINE_MAX   197 /* octets of a line without its comment */
#define CONFIG_NAME_MAX   31  /* octets of a link's or class's name */

enum config_link_type {
    CONFIG_LINK_UDP,
    CONFIG_LINK_SERIAL,
};

enum config_parity {
    CONFIG_PARITY_NONE,
    CONFIG_PARITY_EVEN,
    CONFIG_PARITY_ODD,
};

enum config_flow_control {
    CONFIG_FLOW_NONE,
    CONFIG_FLOW_RTSCTS,
    CONFIG_FLOW_XONXOFF,
};

/* One [link NAME] section. */
struct config_link {
    struct bridge_link_config core; /* what the core wants to know, with the link's name */
    enum config_link_type type;
    const char *profile; /* where the defaults of core came from */

    /* type = udp */
    const char *listen;              /* "0.0.0.0:1883", "[::]:1883" */
    const char *multicast;           /* group and port, as above; NULL: none */
    const char *multicast_interface; /* NULL: the kernel chooses */
    uint8_t multicast_hops;
    const char *forwarder_list; /* core.forwarder_list as text; NULL: everybody */

    /* type = serial */
    const char *device;
    const char *framing; /* one of the words in config.def */
    uint32_t baud;
    enum config_parity parity;
    uint8_t data_bits;
    uint8_t stop_bits;
    enum config_flow_control flow_control;
    bool optional; /* start although the device is missing, and keep looking for it */
};

struct config {
    const char *data;         /* directory of the durable state */
    uint32_t memory_mb;       /* for the core; 0: what max_clients needs */
    uint32_t commit_delay_ms; /* how long a lazy write may wait: store_options.lazy_ms */
    uint32_t store_max_mb;    /* 0: no limit but the disk */
    enum bridge_note_level log;
    bool one_cpu; /* all threads on the CPU that the program starts on */

    struct bridge_config bridge; /* complete, but for the seed */
    struct broker_options broker;
    const char *password_file;    /* NULL, or where broker.password was read from */
    const char *credentials_file; /* NULL, or where broker.logins was read from */

    struct config_link *links;           /* bridge.link_count of them, in the order of the file */
    struct bridge_class_config *classes; /* bridge.class_count of them */

    void **owned; /* every allocation above, for config_free() */
    size_t owned_count;
};

/* Reads and checks a file. Returns 0; or -1 after at least one line
 * "FILE:LINE: [section] key: what was found, what is allowed" was written to
 * errors, all faults of the file up to CONFIG_ERRORS_MAX. On failure *out is
 * untouched. Files named in it are opened to see that they can be; devices,
 * ports and the broker are not. */
int config_load(const char *path, struct config *out, FILE *errors);

/* The same with a file that is open; name stands for it in errors. */
int config_read(FILE *file, const char *name, struct config *out, FILE *errors);

/* Makes a configuration that was read while the bridge runs into the one to go on with:
 * what may change at any time is as *fresh says, everything else as at the start, and
 * of the broker nothing if it is another one. fn hears of every difference, one line
 * each: what was taken over from *running, and what needs a restart.
 *
 * *fresh points into *start afterwards, and into nothing of *running. */
#define CONFIG_CHANGE_MAX 640
typedef void config_change_fn(void *ctx, bool applied, const char *line);
void config_adopt(struct config *fresh, const struct config *start, const struct config *running,
                  config_change_fn *fn, void *ctx);

/* Gives back what config_load() and config_read() took; the pointers in *c are invalid then. */
void config_free(struct config *c);

/* Prints every key that has an effect, defaults included, with its meaning as a
 * comment. The text is a configuration file that loads to the same values, with one
 * exception: a password that stands in the file itself is not shown. */
void config_print(const struct config *c, FILE *out);

/* The manual's list: every section and key with what is allowed, the default
 * and the meaning. */
void config_print_help(FILE *out);

#endif
