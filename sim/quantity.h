/* Times, rates and chances: between text and whole numbers.
 *
 *   time      150ms, 2s, 1.5min, 4h, 1d, 1h40min; 0     microseconds
 *   span      a time, or low..high: 400ms..2s
 *   rate      9600, 64k, 1.5M, 64kbit/s; none           bit/s, 0 for none
 *   chance    2%, 0.02, 1e-6                            parts per thousand million
 *
 * By integer arithmetic, so that no machine reads a figure differently. Readers that return
 * text return what follows what they have read, or NULL when it is none of theirs; then
 * nothing is written.
 */
#ifndef SIM_QUANTITY_H
#define SIM_QUANTITY_H

#include "sim/random.h"
#include "sim/world.h"

struct sim_span {
    uint64_t low; /* microseconds, both ends included */
    uint64_t high;
};

/* Digits with a decimal point and an exponent as a whole number of 10^-scale, at most
 * 10^18; smaller parts are cut off. The second one with a minus sign, too. */
const char *sim_read_decimal(const char *text, int scale, uint64_t *out);
const char *sim_read_signed(const char *text, int scale, int64_t *out);

const char *sim_read_time(const char *text, uint64_t *us);
const char *sim_read_span(const char *text, struct sim_span *span);
const char *sim_read_rate(const char *text, uint64_t *bits_per_s);
const char *sim_read_chance(const char *text, uint64_t *ppb);

/* Reads a time, or a span, and nothing else; false when it is none. */
bool sim_time_read(const char *text, uint64_t *us);
bool sim_span_read(const char *text, struct sim_span *span);

/* Each returns out. What is printed is read back the same. */
const char *sim_decimal_print(int64_t value, int decimals, char *out, size_t size);
const char *sim_time_print(uint64_t us, char *out, size_t size);
const char *sim_rate_print(uint64_t bits_per_s, char *out, size_t size);
const char *sim_chance_print(uint32_t ppb, char *out, size_t size);

#endif
