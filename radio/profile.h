/* What kinds of link are like: rates, delays, sizes, and the timers that follow.
 *
 * A profile is where a link starts; what is measured (rtt.h) takes over, and
 * every figure can be overridden by configuration. Uplink is from sensor to
 * gateway. One-way links have no profile here: without answers there is nothing
 * to time. The table is radio/profiles.def.
 */
#ifndef RADIO_PROFILE_H
#define RADIO_PROFILE_H

#include "radio/pacer.h"
#include "radio/rtt.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct radio_profile {
    const char *name;
    uint32_t up_bits_per_s; /* 0: no limit */
    uint32_t down_bits_per_s;
    uint32_t delay_ms;      /* one way, without the time on the air */
    uint32_t jitter_ms;     /* how much longer it can take */
    uint32_t frame_max;     /* octets of an MQTT-SN message, in both directions */
    uint32_t turn_ms;       /* half duplex: from the end of one station to the start of the other */
    uint32_t overhead_bits; /* of every frame: key-up, preamble, headers, framing */
    uint8_t bits_per_octet; /* 10 on a UART */
    uint16_t duty_per_mille; /* share of the air that one station may use; 0: all of it */
    bool paced;              /* the bottleneck is ours: frames must wait here, not below */
    uint32_t retry_ms;       /* T_retry to start with; 0: derived, see radio_profile_retry_ms() */
    uint8_t retries;         /* N_retry */
    bool is_guess;           /* some of the figures are estimates */
    const char *text;        /* one line for people */
};

#define RADIO_PROFILE_UDP    "lan-udp" /* where nothing else is configured */
#define RADIO_PROFILE_SERIAL "serial-9600"

/* The profile of this name; NULL when there is none. */
const struct radio_profile *radio_profile_find(const char *name);

size_t radio_profile_count(void);

/* index is below radio_profile_count(); the order is that of the table. */
const struct radio_profile *radio_profile_at(size_t index);

/* How long a frame of len octets is on the air, rounded up. */
uint32_t radio_profile_air_ms(const struct radio_profile *p, uint32_t bits_per_s, size_t len);

/* T_retry to start with: twice the longest quiet exchange (a full frame one way
 * and a 7-octet acknowledgement back, in the slower direction, with both
 * turn-arounds), at least 1 s. MQTT-SN 1.2, 7.2 proposes 10 to 15 s for every
 * link, which is too long for a wire and fatal for a satellite. */
uint32_t radio_profile_retry_ms(const struct radio_profile *p);

/* Limits for the round-trip estimate: from a quarter of the start, but not below
 * 500 ms, to eight times the start, but not below 60 s. */
struct radio_rtt_limits radio_profile_rtt_limits(const struct radio_profile *p);

/* Options of a pacer for what the gateway sends over such a link; slots and
 * age_ms are the caller's choice. */
struct radio_pacer_options radio_profile_pacer(const struct radio_profile *p);

#endif
