#include "sim/quantity.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- reading ----------------------------------------------------------------------- */

const char *sim_read_decimal(const char *text, int scale, uint64_t *out)
{
    const uint64_t most = 1000000000000000000;
    uint64_t value = 0;
    int point = -1; /* digits since the point, once it was seen */
    bool any = false;
    for (; isdigit((unsigned char)*text) || (*text == '.' && point < 0 && text[1] != '.'); text++) {
        if (*text == '.') {
            point = 0;
            continue;
        }
        any = true;
        if (point >= 0 && point++ >= 18)
            continue;
        if (value > most / 10)
            return NULL;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    if (!any)
        return NULL;
    int exponent = scale - (point < 0 ? 0 : point < 18 ? point : 18);
    if ((*text == 'e' || *text == 'E') && (text[1] == '-' || isdigit((unsigned char)text[1]))) {
        const bool negative = text[1] == '-';
        int e = 0;
        text += negative ? 2 : 1;
        if (!isdigit((unsigned char)*text))
            return NULL;
        for (; isdigit((unsigned char)*text) && e < 100; text++)
            e = e * 10 + (*text - '0');
        exponent += negative ? -e : e;
    }
    for (; exponent > 0; exponent--) {
        if (value > most / 10)
            return NULL;
        value *= 10;
    }
    for (; exponent < 0 && value > 0; exponent++)
        value /= 10;
    *out = value;
    return text;
}

static const struct {
    const char *name;
    uint64_t us;
} time_units[] = {
    {"us", 1},         {"ms", SIM_MS},      {"s", SIM_S},         {"min", 60 * SIM_S},
    {"m", 60 * SIM_S}, {"h", 3600 * SIM_S}, {"d", 86400 * SIM_S},
};

#define TIME_UNITS (sizeof time_units / sizeof time_units[0])

/* Several may follow each other: 1h40min. */
const char *sim_read_time(const char *text, uint64_t *us)
{
    uint64_t sum = 0;
    if (text[0] == '0' && text[1] == '\0') {
        *us = 0;
        return text + 1;
    }
    do {
        uint64_t millionths;
        const char *unit = sim_read_decimal(text, 6, &millionths);
        if (unit == NULL)
            return NULL;
        const size_t len = strspn(unit, "dhimnsu");
        size_t u = 0;
        while (u < TIME_UNITS &&
               !(strlen(time_units[u].name) == len && strncmp(time_units[u].name, unit, len) == 0))
            u++;
        /* Whole ones and the rest apart: together they are too large from 213 days on. */
        const uint64_t whole = millionths / 1000000;
        if (u == TIME_UNITS || whole > UINT64_MAX / 4 / time_units[u].us)
            return NULL;
        sum += whole * time_units[u].us + millionths % 1000000 * time_units[u].us / 1000000;
        text = unit + len;
    } while (isdigit((unsigned char)*text));
    *us = sum;
    return text;
}

bool sim_time_read(const char *text, uint64_t *us)
{
    uint64_t value;
    const char *end = sim_read_time(text, &value);
    if (end == NULL || *end != '\0')
        return false;
    *us = value;
    return true;
}

bool sim_span_read(const char *text, struct sim_span *span)
{
    struct sim_span found;
    const char *end = sim_read_span(text, &found);
    if (end == NULL || *end != '\0')
        return false;
    *span = found;
    return true;
}

const char *sim_read_span(const char *text, struct sim_span *span)
{
    struct sim_span found;
    text = text[0] == '0' && strncmp(text, "0..", 3) == 0 ? (found.low = 0, text + 1)
                                                          : sim_read_time(text, &found.low);
    if (text == NULL)
        return NULL;
    found.high = found.low;
    if (text[0] == '.' && text[1] == '.')
        text = sim_read_time(text + 2, &found.high);
    if (text == NULL || found.high < found.low)
        return NULL;
    *span = found;
    return text;
}

const char *sim_read_chance(const char *text, uint64_t *ppb)
{
    uint64_t value;
    const char *end = sim_read_decimal(text, 9, &value);
    if (end == NULL)
        return NULL;
    const size_t space = strspn(end, " ");
    if (end[space] == '%') {
        end = sim_read_decimal(text, 7, &value) + space + 1;
    }
    if (value > SIM_ALWAYS)
        return NULL;
    *ppb = value;
    return end;
}

const char *sim_read_rate(const char *text, uint64_t *bits_per_s)
{
    if (strcmp(text, "none") == 0) {
        *bits_per_s = 0;
        return text + 4;
    }
    uint64_t thousandths;
    text = sim_read_decimal(text, 3, &thousandths);
    if (text == NULL)
        return NULL;
    uint64_t times = 1;
    if (*text == 'k' || *text == 'M' || *text == 'G') {
        times = *text == 'k' ? 1000 : *text == 'M' ? 1000000 : 1000000000;
        text++;
    }
    static const char *const endings[] = {"bit/s", "bit"};
    for (size_t i = 0; i < 2; i++) {
        if (strncmp(text, endings[i], strlen(endings[i])) == 0) {
            text += strlen(endings[i]);
            break;
        }
    }
    if (thousandths > UINT64_MAX / times)
        return NULL;
    *bits_per_s = thousandths * times / 1000;
    return text;
}

const char *sim_read_signed(const char *text, int scale, int64_t *out)
{
    const bool negative = *text == '-';
    uint64_t value;
    text = sim_read_decimal(text + negative, scale, &value);
    if (text != NULL)
        *out = negative ? -(int64_t)value : (int64_t)value;
    return text;
}

/* ---- printing ---------------------------------------------------------------------- */

const char *sim_rate_print(uint64_t bits_per_s, char *out, size_t size)
{
    if (bits_per_s == 0)
        snprintf(out, size, "none");
    else if (bits_per_s >= 1000000 && bits_per_s % 100000 == 0)
        snprintf(out, size, bits_per_s % 1000000 ? "%" PRIu64 ".%" PRIu64 "M" : "%" PRIu64 "M",
                 bits_per_s / 1000000, bits_per_s / 100000 % 10);
    else if (bits_per_s >= 10000 && bits_per_s % 100 == 0)
        snprintf(out, size, bits_per_s % 1000 ? "%" PRIu64 ".%" PRIu64 "k" : "%" PRIu64 "k",
                 bits_per_s / 1000, bits_per_s / 100 % 10);
    else
        snprintf(out, size, "%" PRIu64, bits_per_s);
    return out;
}

const char *sim_decimal_print(int64_t value, int decimals, char *out, size_t size)
{
    char digits[48];
    uint64_t rest = value < 0 ? (uint64_t)-value : (uint64_t)value;
    uint64_t one = 1;
    for (int i = 0; i < decimals; i++)
        one *= 10;
    snprintf(digits, sizeof digits, "%s%" PRIu64 ".%0*" PRIu64, value < 0 ? "-" : "", rest / one,
             decimals, rest % one);
    size_t len = strlen(digits);
    while (digits[len - 1] == '0')
        digits[--len] = '\0';
    if (digits[len - 1] == '.')
        digits[--len] = '\0';
    snprintf(out, size, "%s", digits);
    return out;
}

const char *sim_chance_print(uint32_t ppb, char *out, size_t size)
{
    char number[48];
    unsigned exponent = 9;
    if (ppb > 0 && ppb < 100000) { /* below 0.01 % */
        while (ppb % 10 == 0) {
            ppb /= 10;
            exponent--;
        }
        snprintf(out, size, "%" PRIu32 "e-%u", ppb, exponent);
    } else {
        snprintf(out, size, "%s%s", sim_decimal_print(ppb, 7, number, sizeof number),
                 ppb > 0 ? "%" : "");
    }
    return out;
}

const char *sim_time_print(uint64_t us, char *out, size_t size)
{
    static const char *const names[] = {"d", "h", "min", "s", "ms"};
    static const uint64_t units[] = {86400 * SIM_S, 3600 * SIM_S, 60 * SIM_S, SIM_S, SIM_MS};
    char number[48];
    if (us == 0)
        return snprintf(out, size, "0"), out;
    for (size_t i = 0; i < 5; i++) {
        /* At most three decimals, which must say it all. */
        if (us >= units[i] && us % (units[i] / 1000) == 0 &&
            (us % units[i] == 0 || i >= 3 || us % (units[i] / 10) == 0)) {
            sim_decimal_print((int64_t)(us / (units[i] / 1000)), 3, number, sizeof number);
            return snprintf(out, size, "%s%s", number, names[i]), out;
        }
    }
    return snprintf(out, size, "%" PRIu64 "us", us), out;
}
