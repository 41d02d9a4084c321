#include "sim/check_claims.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "sim/world.h"

void sim_claims_violate(struct sim_claims *c, uint64_t at_us, const char *format, ...)
{
    if (c->violations++ >= SIM_CHECK_SHOWN)
        return;
    char *text = c->text[c->violations - 1];
    const int n = snprintf(text, SIM_CLAIMS_TEXT, "[%9" PRIu64 ".%03" PRIu64 "] ", at_us / SIM_S,
                           at_us % SIM_S / SIM_MS);
    va_list args;
    va_start(args, format);
    vsnprintf(text + n, SIM_CLAIMS_TEXT - (size_t)n, format, args);
    va_end(args);
}
