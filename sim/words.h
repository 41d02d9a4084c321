/* Figures as people say them: "3 h 12 min", "288,000", "99.97 %", "1.4 MB".
 *
 * Each function fills a buffer of SIM_WORDS_SIZE octets that the caller owns and
 * returns it, so that it can stand where a text is wanted.
 */
#ifndef SIM_WORDS_H
#define SIM_WORDS_H

#include <stdint.h>

#define SIM_WORDS_SIZE 40

/* Two units at most, the second one rounded down: "850 us", "340 ms", "1.25 s",
 * "2 min 5 s", "3 h 12 min", "2 d 4 h". */
const char *sim_say_duration(char out[SIM_WORDS_SIZE], uint64_t us);

const char *sim_say_count(char out[SIM_WORDS_SIZE], uint64_t n);

/* "100 %" means all and "0 %" none: what is rounded stays between 0.01 and 99.99. */
const char *sim_say_share(char out[SIM_WORDS_SIZE], uint64_t part, uint64_t whole);

/* "312 B", "14.2 kB", "1.4 MB"; a kB is 1000 octets. */
const char *sim_say_octets(char out[SIM_WORDS_SIZE], uint64_t octets);

/* Hundredths: "1.07". */
const char *sim_say_hundredths(char out[SIM_WORDS_SIZE], uint64_t n);

#endif
