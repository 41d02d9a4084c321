/* Scenarios: what is simulated, as a small language, and what it means.
 *
 * One statement in a line; indented lines belong to the statement above them; a
 * comment runs from "#" at the beginning of a word to the end of the line; a
 * word with spaces stands in double quotes. Times are written 400ms, 2s, 5m,
 * 1h30m, 2d; a span 400ms..2s is drawn from anew each time.
 *
 *   set NAME VALUE                                 then $NAME, see parameters.h
 *   link NAME [profile PROFILE] [KEY VALUE]...     keys of `snsim profiles --keys`
 *   device NAME on LINK CLAUSE...
 *   fleet NAME COUNT on LINK CLAUSE...             NAME1, NAME2, ...
 *       publishes TOPIC [qos -1..2] [every SPAN] [spread TIME] [together]
 *                 [from TIME] [until TIME] [burst N] [size N] [retain]
 *       subscribes FILTER [qos 0..2]
 *       sleep TIME, keepalive TIME, clean yes|no, alike yes|no, start TIME, outbox N
 *       retry measured|SPAN, retries N, will TOPIC MESSAGE [qos 0..2]
 *   commands NAME publishes TOPIC ...              somebody at the broker
 *   gateway [[SECTION]] KEY VALUE...               keys of `snbridge --help-config`
 *   broker KEY VALUE...                            delay SPAN, max_qos 0..2, reorder yes|no,
 *                                                  overlaps named|each|one, and what it hangs
 *                                                  up on: max_levels N, max_packet N, retain no
 *   disk KEY VALUE...                              commit SPAN, room N (messages)
 *   memory N                                       octets, beyond the least that the bridge needs
 *   at TIME FAULT [for SPAN]
 *   at operation N power cut [for SPAN]            the disk's Nth operation
 *   about every TIME FAULT [for SPAN] [from TIME] [until TIME]
 *   at TIME stop | end
 *
 * In TOPICs and FILTERs {n} is the device's number and {name} its name; id=N is
 * a predefined topic id. `stop` ends what applications do and lifts all faults;
 * the run goes on until all has come to rest. `end` ends it then and there, and
 * nothing is claimed about what was still under way.
 *
 * FAULTs: sim_scenario_print_faults().
 */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include "bridge/config.h"
#include "sim/broker.h"
#include "sim/device.h"
#include "sim/parameters.h"
#include "sim/profile.h"

#include <stdio.h>

#define SIM_SCENARIO_LINKS    16
#define SIM_SCENARIO_FLEETS   32
#define SIM_SCENARIO_COMMANDS 16
#define SIM_SCENARIO_FAULTS   64
#define SIM_SCENARIO_DEVICES  100000 /* all fleets together */
#define SIM_SCENARIO_NAME_MAX 15
#define SIM_SCENARIO_ERRORS   20 /* complaints; after that it is another kind of file */

struct sim_scenario_link {
    char name[SIM_SCENARIO_NAME_MAX + 1];
    bool is_changed; /* the profile, by keys of the statement */
    struct sim_profile profile;
};

struct sim_fleet {
    char name[SIM_SCENARIO_NAME_MAX + 1];
    uint32_t count;
    bool is_one; /* a device: its name has no number behind it */
    size_t link;
    struct sim_device_plan plan;
};

struct sim_commands {
    char name[SIM_SCENARIO_NAME_MAX + 1];
    struct sim_publication publication;
};

enum sim_fault_kind {
    SIM_FAULT_BROKER_DOWN,
    SIM_FAULT_BROKER_SLOW,
    SIM_FAULT_BROKER_DROPS,
    SIM_FAULT_BROKER_REFUSES,
    SIM_FAULT_BROKER_FORGETS,
    SIM_FAULT_BROKER_REJECTS,
    SIM_FAULT_BRIDGE_KILLED,
    SIM_FAULT_BRIDGE_STOPPED,
    SIM_FAULT_DISK_FULL,
    SIM_FAULT_DISK_PATCHY,
    SIM_FAULT_DISK_FAILS,
    SIM_FAULT_DISK_SLOW,
    SIM_FAULT_CLOCK,
    SIM_FAULT_LINK_DOWN,
    SIM_FAULT_DEVICE_REBOOTS,
    SIM_FAULT_DEVICE_OFF,
    SIM_FAULT_DEVICE_LEAVES,
    SIM_FAULT_DEVICE_MOVES,
    SIM_FAULT_DEVICE_PUBLISHES,
    SIM_FAULT_KINDS,
};

struct sim_fault {
    enum sim_fault_kind kind;
    bool ends;      /* "broker up": what the kind begins is over */
    bool at_random; /* about every at_us, else once at at_us */
    uint64_t at_us;
    uint64_t operation;     /* the disk's; 0: not so */
    uint64_t from_us;       /* at random: not before, */
    uint64_t until_us;      /* not later; 0: up to the stop */
    struct sim_span length; /* then it ends by itself; high 0: it does not */
    struct sim_span slow;   /* _SLOW */
    int64_t clock_ms;
    size_t link;                           /* LINK_DOWN, MOVES */
    size_t fleet;                          /* DEVICE_...: all of it, */
    bool one;                              /* or one of it, by chance */
    char filter[SIM_DEVICE_TOPIC_MAX + 1]; /* REJECTS; empty: nothing */
};

struct sim_scenario {
    char name[64]; /* of the file without its folder */
    struct sim_scenario_link links[SIM_SCENARIO_LINKS];
    size_t link_count;
    struct sim_fleet fleets[SIM_SCENARIO_FLEETS];
    size_t fleet_count;
    struct sim_commands commands[SIM_SCENARIO_COMMANDS];
    size_t command_count;
    struct sim_fault faults[SIM_SCENARIO_FAULTS];
    size_t fault_count;
    struct config config; /* of the gateway */
    struct sim_span broker_delay;
    uint8_t broker_max_qos;
    bool broker_reorders;
    enum sim_broker_overlaps broker_overlaps;
    uint64_t broker_max_levels; /* it hangs up on more; 0: never */
    uint64_t broker_max_packet;
    bool broker_no_retain;
    struct sim_span disk_commit;
    uint64_t disk_room; /* for messages; 0: no limit */
    size_t memory;      /* of the bridge, beyond the least that it needs; 0: as usual */
    uint64_t stop_us;
    bool settles; /* stop, not end */

    /* The [sections] of the configuration, and the statement's line for each of
     * its lines; while it is read. */
    char *ini;
    size_t ini_len;
    unsigned *ini_lines;
    size_t ini_count;
};

/* Reads text, which is called `name` in messages. Returns NULL after at least one
 * line "NAME:LINE: what was found, what is allowed" was written to errors. */
struct sim_scenario *sim_scenario_read(const char *name, const char *text,
                                       const struct sim_profiles *profiles, FILE *errors);

/* The same with a file, whose parameters (parameters.h) are replaced first. */
struct sim_scenario *sim_scenario_open(const char *path, const struct sim_profiles *profiles,
                                       const struct sim_parameters *parameters, FILE *errors);
void sim_scenario_close(struct sim_scenario *s);

/* Every fault there is, one line each. */
void sim_scenario_print_faults(FILE *out);

/* What the links are like for those who have to time their retries: the profile
 * of radio/profile.h with this name, or figures that follow from the link's. */
struct radio_profile sim_scenario_radio(const struct sim_scenario_link *link);

/* ---- in two steps --------------------------------------------------------------- */

/* What sim_scenario_read() does before it turns to the configuration: that stays
 * empty (scenario.c, which touches nothing outside). */
struct sim_scenario *sim_scenario_parse(const char *name, const char *text,
                                        const struct sim_profiles *profiles, FILE *errors);
void sim_scenario_discard(struct sim_scenario *s); /* one that has no configuration yet */

#endif
