/* Profiles: what a kind of link is like, as the simulator wants to know it.
 *
 * A profile is a set of figures with defaults that stand for a perfect link.
 * The keys, their units and their limits are the table profile.def; values are
 * given as text, by profiles.conf or by a scenario's overrides, and read here:
 *
 *   times, spans, rates, chances   see quantity.h
 *   gemodel   one to four chances: p, r (default 1-p), 1-h (1), 1-k (0)
 *   flag      yes, no
 *
 * Everything becomes integers by integer arithmetic, so that no machine reads a
 * figure differently. A struct sim_profile is a plain value that may be copied, and equal
 * ones are equal octet by octet.
 */
#ifndef SIM_PROFILE_H
#define SIM_PROFILE_H

#include "sim/quantity.h"

#include <stdio.h>

#define SIM_PROFILE_NAME_MAX     31
#define SIM_PROFILE_TEXT_MAX     199
#define SIM_PROFILE_CONTACTS_MAX 256
#define SIM_PROFILE_ERROR_MAX    400 /* octets that a complaint needs at most */

/* tc-netem's names: gemodel p r 1-h 1-k. */
struct sim_gemodel {
    uint32_t p;    /* from good to bad, at each frame */
    uint32_t r;    /* from bad to good */
    uint32_t bad;  /* 1-h: loss while bad */
    uint32_t good; /* 1-k: loss while good */
};

enum sim_duplex {
    SIM_FULL_DUPLEX,
    SIM_HALF_DUPLEX,
};

enum sim_access {
    SIM_CSMA,
    SIM_ALOHA,
};

enum sim_dial_by {
    SIM_DIAL_BOTH,
    SIM_DIAL_DEVICE,
    SIM_DIAL_GATEWAY,
};

/* One direction. */
struct sim_path {
    uint64_t rate;
    uint32_t queue;
    uint32_t frame_max;
    uint32_t duty;
    uint32_t loss;
    struct sim_gemodel gemodel;
    uint32_t bit_errors;
    uint32_t corrupt;
    uint32_t duplicate;
    uint32_t reorder;
    uint64_t reorder_us;
    uint32_t arq;
    uint64_t arq_us;
    struct sim_span delay;
};

/* The fields are explained by the help of their key in profile.def. */
struct sim_profile {
    char name[SIM_PROFILE_NAME_MAX + 1];
    char text[SIM_PROFILE_TEXT_MAX + 1];
    char source[SIM_PROFILE_TEXT_MAX + 1];
    char guess[SIM_PROFILE_TEXT_MAX + 1];
    char cost_unit[SIM_PROFILE_TEXT_MAX + 1];
    struct sim_path path[2]; /* by enum sim_direction */

    uint32_t per_device;
    uint32_t bits_per_octet;
    uint32_t overhead_bits;
    uint64_t overhead_us;
    uint32_t stuffing;
    uint32_t lora_sf;

    uint32_t duplex; /* enum sim_duplex */
    uint32_t access; /* enum sim_access */
    struct sim_span turn;
    uint64_t slot_us;
    uint32_t persistence;
    uint64_t sense_us;
    uint32_t hidden;
    uint64_t answer_us;
    uint32_t check;

    uint32_t hold;
    struct {
        struct sim_span list[SIM_PROFILE_CONTACTS_MAX]; /* in order, not overlapping */
        uint32_t count;
    } contacts;
    uint64_t contact_every_us;
    uint64_t contact_for_us;
    uint64_t contact_after_us;
    uint32_t orbit_altitude_km;
    int32_t orbit_inclination;
    int32_t orbit_node;
    int32_t orbit_phase;
    int32_t station_latitude;
    int32_t station_longitude;
    int32_t station_elevation;
    uint32_t orbit_loss;
    uint64_t flap_up_us;
    uint64_t flap_down_us;
    uint64_t fade_every_us;
    uint64_t fade_for_us;
    uint32_t fade_slower;
    uint32_t fade_loss;

    struct sim_span dial;
    uint32_t dial_by; /* enum sim_dial_by */
    uint32_t dial_busy;
    uint32_t dial_fail;
    uint64_t dial_retry_us;
    uint32_t dial_tries;
    uint64_t dial_drop_us;
    uint64_t dial_idle_us;

    uint32_t sbd;
    struct sim_span sbd_session;
    struct sim_span sbd_transit;
    uint64_t sbd_gap_us;
    uint64_t sbd_retry_us;
    uint32_t sbd_mailbox;
    uint32_t sbd_ring;
    uint64_t sbd_check_us;
    uint64_t sbd_csq_every_us;
    uint32_t sbd_fail_good;
    uint32_t sbd_fail_poor;

    uint32_t one_way;
    uint32_t copies;
    struct sim_span copies_gap;

    uint32_t cost_per_minute;
    uint32_t cost_per_kilobyte;
    uint32_t cost_per_frame;
    uint32_t cost_per_credit;
};

/* A perfect link of this name, which is cut to what fits. */
void sim_profile_init(struct sim_profile *p, const char *name);

/* Sets one key from text. When there is no such key, or the value is not
 * allowed, nothing changes, false is returned, and error says what was found
 * and what is allowed; it takes SIM_PROFILE_ERROR_MAX octets at most. */
bool sim_profile_set(struct sim_profile *p, const char *key, const char *value, char *error,
                     size_t size);

/* Whether sim_profile_set() knows this key. */
bool sim_profile_is_key(const char *key);

/* What only several keys together can get wrong; after the last set. */
bool sim_profile_check(const struct sim_profile *p, char *error, size_t size);

/* The profile as a section of profiles.conf: every key that differs from its
 * default, with its help as a comment if with_help. */
void sim_profile_print(const struct sim_profile *p, bool with_help, FILE *out);

/* Every key with its default and help. */
void sim_profile_print_keys(FILE *out);

/* ---- a file full of them (profile_ini.c) ------------------------------------ */

struct sim_profiles {
    struct sim_profile *list; /* in the order of the files; a name is there once */
    size_t count;
};

/* The shipped profiles, then those of a file when path is not NULL; a name that
 * is there already is replaced. A section may begin with "like = NAME" and
 * starts from that one. What is wrong is said on errors, with file and line;
 * then -EINVAL is returned, or what the system says of the file. */
int sim_profiles_open(struct sim_profiles *all, const char *path, FILE *errors);

/* Adds those of an open file to all, which may be zeroed; name is that of the file, for
 * complaints. 0 or -EINVAL; what was right is added in any case. */
int sim_profiles_read(struct sim_profiles *all, FILE *file, const char *name, FILE *errors);

void sim_profiles_close(struct sim_profiles *all);
const struct sim_profile *sim_profiles_find(const struct sim_profiles *all, const char *name);

/* The shipped file itself, to copy and change. */
void sim_profiles_dump(FILE *out);

#endif
