/* What the checker (check.h) has found violated: counted, and the first few told.
 */
#ifndef SIM_CHECK_CLAIMS_H
#define SIM_CHECK_CLAIMS_H

#include <stdint.h>

#define SIM_CHECK_SHOWN 10 /* violations that are kept with their text; the rest is counted */
#define SIM_CLAIMS_TEXT 200

/* Zeroed, nothing is violated. */
struct sim_claims {
    uint64_t violations;
    char text[SIM_CHECK_SHOWN][SIM_CLAIMS_TEXT];
};

void sim_claims_violate(struct sim_claims *c, uint64_t at_us, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
