#include "sim/main.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>

uint64_t sim_main_number(const char *text, struct argp_state *state)
{
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || text[0] < '0' || text[0] > '9')
        argp_error(state, "found %s, allowed is a number", text);
    return value;
}
