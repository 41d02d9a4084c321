#include "sim/profile.h"

#include "sim/trace.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum where {
    LINK,
    PATH,
};

enum type {
    COUNT,
    RATE,
    TIME,
    SPAN,
    CHANCE,
    LOSS,
    ANGLE,
    MONEY,
    FLAG,
    WORD,
    TEXT,
    LIST,
};

struct key {
    enum where where;
    enum type type;
    const char *name;
    size_t offset; /* in struct sim_profile, or in struct sim_path */
    const char *standard;
    int64_t min;
    int64_t max;
    const char *words; /* of a WORD, between spaces */
    const char *help;
};

#define FIELD_LINK(field) offsetof(struct sim_profile, field)
#define FIELD_PATH(field) offsetof(struct sim_path, field)
/* What the column max holds, by type. */
#define KEY_NUMBER(limit)     .max = (int64_t)(limit)
#define KEY_MAX_COUNT(limit)  KEY_NUMBER(limit)
#define KEY_MAX_RATE(limit)   KEY_NUMBER(limit)
#define KEY_MAX_TIME(limit)   KEY_NUMBER(limit)
#define KEY_MAX_SPAN(limit)   KEY_NUMBER(limit)
#define KEY_MAX_CHANCE(limit) KEY_NUMBER(limit)
#define KEY_MAX_LOSS(limit)   KEY_NUMBER(limit)
#define KEY_MAX_ANGLE(limit)  KEY_NUMBER(limit)
#define KEY_MAX_MONEY(limit)  KEY_NUMBER(limit)
#define KEY_MAX_TEXT(limit)   KEY_NUMBER(limit)
#define KEY_MAX_LIST(limit)   KEY_NUMBER(limit)
#define KEY_MAX_FLAG(limit)   .words = "no yes"
#define KEY_MAX_WORD(limit)   .words = limit

static const struct key keys[] = {
#define KEY(where_, name_, type_, field_, standard_, min_, max_, help_)                            \
    {                                                                                              \
        .where = where_,                                                                           \
        .type = type_,                                                                             \
        .name = #name_,                                                                            \
        .offset = FIELD_##where_(field_),                                                          \
        .standard = standard_,                                                                     \
        .min = min_,                                                                               \
        KEY_MAX_##type_(max_),                                                                     \
        .help = help_,                                                                             \
    },
#include "sim/profile.def"
#undef KEY
};

#define KEYS (sizeof keys / sizeof keys[0])

/* ---- numbers in text ---------------------------------------------------------- */

/* Reads digits with a decimal point and an exponent as a whole number of 10^-scale;
 * smaller parts are cut off. Returns what follows, NULL when there is no number or it is
 * above 10^18. */
static const char *read_decimal(const char *text, int scale, uint64_t *out)
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

/* Several may follow each other: 1h40min. Returns what follows. */
static const char *read_time(const char *text, uint64_t *us)
{
    uint64_t sum = 0;
    if (text[0] == '0' && text[1] == '\0') {
        *us = 0;
        return text + 1;
    }
    do {
        uint64_t millionths;
        const char *unit = read_decimal(text, 6, &millionths);
        if (unit == NULL)
            return NULL;
        const size_t len = strspn(unit, "dhimnsu");
        size_t u = 0;
        while (u < TIME_UNITS &&
               !(strlen(time_units[u].name) == len && strncmp(time_units[u].name, unit, len) == 0))
            u++;
        if (u == TIME_UNITS || millionths > UINT64_MAX / time_units[u].us)
            return NULL;
        sum += millionths * time_units[u].us / 1000000;
        text = unit + len;
    } while (isdigit((unsigned char)*text));
    *us = sum;
    return text;
}

bool sim_time_read(const char *text, uint64_t *us)
{
    uint64_t value;
    const char *end = read_time(text, &value);
    if (end == NULL || *end != '\0')
        return false;
    *us = value;
    return true;
}

static const char *read_span(const char *text, struct sim_span *span)
{
    struct sim_span found;
    text = text[0] == '0' && strncmp(text, "0..", 3) == 0 ? (found.low = 0, text + 1)
                                                          : read_time(text, &found.low);
    if (text == NULL)
        return NULL;
    found.high = found.low;
    if (text[0] == '.' && text[1] == '.')
        text = read_time(text + 2, &found.high);
    if (text == NULL || found.high < found.low)
        return NULL;
    *span = found;
    return text;
}

/* In parts per thousand million. */
static const char *read_chance(const char *text, uint64_t *ppb)
{
    uint64_t value;
    const char *end = read_decimal(text, 9, &value);
    if (end == NULL)
        return NULL;
    const size_t space = strspn(end, " ");
    if (end[space] == '%') {
        end = read_decimal(text, 7, &value) + space + 1;
    }
    if (value > SIM_ALWAYS)
        return NULL;
    *ppb = value;
    return end;
}

static const char *read_rate(const char *text, uint64_t *bits_per_s)
{
    if (strcmp(text, "none") == 0) {
        *bits_per_s = 0;
        return text + 4;
    }
    uint64_t thousandths;
    text = read_decimal(text, 3, &thousandths);
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

/* One to four chances; the defaults are tc-netem's. */
static bool read_gemodel(const char *text, struct sim_gemodel *out)
{
    uint64_t value[4] = {0, 0, SIM_ALWAYS, 0};
    int count = 0;
    do {
        text = read_chance(text, &value[count]);
        if (text == NULL)
            return false;
        count++;
        text += strspn(text, " \t,");
    } while (*text != '\0' && count < 4);
    if (count == 1)
        value[1] = SIM_ALWAYS - value[0];
    if (*text != '\0')
        return false;
    *out = (struct sim_gemodel){
        .p = (uint32_t)value[0],
        .r = (uint32_t)value[1],
        .bad = (uint32_t)value[2],
        .good = (uint32_t)value[3],
    };
    return true;
}

/* Windows in order, separated by commas; the list is changed only when all is right. */
static bool read_contacts(const char *text, struct sim_profile *p)
{
    struct sim_span list[SIM_PROFILE_CONTACTS_MAX];
    uint32_t count = 0;
    text += strspn(text, " \t");
    while (*text != '\0') {
        if (count == SIM_PROFILE_CONTACTS_MAX)
            return false;
        text = read_span(text, &list[count]);
        if (text == NULL || list[count].low == list[count].high ||
            (count > 0 && list[count].low <= list[count - 1].high))
            return false;
        count++;
        text += strspn(text, " \t");
        if (*text == ',')
            text += 1 + strspn(text + 1, " \t");
        else if (*text != '\0')
            return false;
    }
    memcpy(p->contacts.list, list, count * sizeof list[0]);
    p->contacts.count = count;
    return true;
}

/* The place of a word among words, -1 when it is none of them. */
static int read_word(const char *text, const char *words)
{
    const size_t len = strlen(text);
    for (int index = 0; *words != '\0'; index++) {
        const size_t word = strcspn(words, " ");
        if (word == len && strncmp(words, text, len) == 0)
            return index;
        words += word + strspn(words + word, " ");
    }
    return -1;
}

/* A number with an optional sign, as a whole number of 10^-scale. */
static const char *read_signed(const char *text, int scale, int64_t *out)
{
    const bool negative = *text == '-';
    uint64_t value;
    text = read_decimal(text + negative, scale, &value);
    if (text != NULL)
        *out = negative ? -(int64_t)value : (int64_t)value;
    return text;
}

/* ---- setting ------------------------------------------------------------------- */

/* Whether the value was read and is within its limits; the field changes only then. */
static bool set_field(struct sim_profile *p, const struct key *k, void *field, const char *value)
{
    uint64_t number = 0;
    int64_t with_sign = 0;
    struct sim_span span;
    const char *end = NULL;
    switch (k->type) {
    case COUNT:
        end = read_decimal(value, 0, &number);
        if (value[strspn(value, "0123456789")] != '\0')
            return false;
        break;
    case RATE:
        end = read_rate(value, &number);
        break;
    case TIME:
        end = read_time(value, &number);
        break;
    case CHANCE:
        end = read_chance(value, &number);
        break;
    case MONEY:
        end = read_decimal(value, 2, &number);
        break;
    case FLAG:
    case WORD: {
        const int index = read_word(value, k->words);
        if (index < 0)
            return false;
        *(uint32_t *)field = (uint32_t)index;
        return true;
    }
    case SPAN:
        end = read_span(value, &span);
        if (end == NULL || *end != '\0' || span.high > (uint64_t)k->max ||
            span.low < (uint64_t)k->min)
            return false;
        *(struct sim_span *)field = span;
        return true;
    case LOSS:
        return read_gemodel(value, field);
    case ANGLE:
        end = read_signed(value, 3, &with_sign);
        if (end == NULL || *end != '\0' || with_sign < k->min || with_sign > k->max)
            return false;
        *(int32_t *)field = (int32_t)with_sign;
        return true;
    case TEXT:
        if (strlen(value) > SIM_PROFILE_TEXT_MAX)
            return false;
        memcpy(field, value, strlen(value) + 1);
        return true;
    case LIST:
        return read_contacts(value, p);
    }
    if (end == NULL || *end != '\0' || number < (uint64_t)k->min || number > (uint64_t)k->max)
        return false;
    if (k->type == RATE || k->type == TIME)
        *(uint64_t *)field = number;
    else
        *(uint32_t *)field = (uint32_t)number;
    return true;
}

static void print_words(const char *words, FILE *out)
{
    for (; *words != '\0'; words++) {
        if (*words == ' ')
            fputs(" or ", out);
        else
            fputc(*words, out);
    }
}

static const char *rate_print(uint64_t bits_per_s, char *out, size_t size)
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

/* A whole number of 10^-decimals, without needless zeros. */
static const char *decimal_print(int64_t value, int decimals, char *out, size_t size)
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

static const char *chance_print(uint32_t ppb, char *out, size_t size)
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
        snprintf(out, size, "%s%s", decimal_print(ppb, 7, number, sizeof number),
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
            decimal_print((int64_t)(us / (units[i] / 1000)), 3, number, sizeof number);
            return snprintf(out, size, "%s%s", number, names[i]), out;
        }
    }
    return snprintf(out, size, "%" PRIu64 "us", us), out;
}

static void print_time(uint64_t us, FILE *out)
{
    char text[56];
    fputs(sim_time_print(us, text, sizeof text), out);
}

static void print_span(struct sim_span span, FILE *out)
{
    print_time(span.low, out);
    if (span.high != span.low) {
        fputs("..", out);
        print_time(span.high, out);
    }
}

static void print_allowed(const struct key *k, FILE *out)
{
    char low[56], high[56];
    switch (k->type) {
    case COUNT:
        fprintf(out, "a whole number from %" PRId64 " to %" PRId64, k->min, k->max);
        break;
    case RATE:
        fputs("bits per second such as 9600, 64k or 1.5M, or none", out);
        break;
    case TIME:
        fprintf(out, "a time such as 150ms, 2s, 10min or 4h, from %s to %s",
                sim_time_print((uint64_t)k->min, low, sizeof low),
                sim_time_print((uint64_t)k->max, high, sizeof high));
        break;
    case SPAN:
        fprintf(out, "a time or a range such as 400ms..2s, from %s to %s",
                sim_time_print((uint64_t)k->min, low, sizeof low),
                sim_time_print((uint64_t)k->max, high, sizeof high));
        break;
    case CHANCE:
        fprintf(out, "a chance such as 2%%, 0.02 or 1e-6, from %s to %s",
                chance_print((uint32_t)k->min, low, sizeof low),
                chance_print((uint32_t)k->max, high, sizeof high));
        break;
    case LOSS:
        fputs("one to four chances: p r 1-h 1-k, such as 2% 30% 60% 0%", out);
        break;
    case ANGLE:
        fprintf(out, "degrees from %" PRId64 " to %" PRId64, k->min / 1000, k->max / 1000);
        break;
    case MONEY:
        fprintf(out, "a number with at most two decimals, up to %" PRId64, k->max / 100);
        break;
    case FLAG:
    case WORD:
        print_words(k->words, out);
        break;
    case TEXT:
        fprintf(out, "a text of at most %d octets", SIM_PROFILE_TEXT_MAX);
        break;
    case LIST:
        fprintf(out, "at most %d ranges in order, such as 10min..18min, 1h40min..1h50min",
                SIM_PROFILE_CONTACTS_MAX);
        break;
    }
}

/* The key of this name, and the directions it is for: bit 0 up, bit 1 down. */
static const struct key *find_key(const char *name, unsigned *directions)
{
    for (size_t i = 0; i < KEYS; i++) {
        const size_t len = strlen(keys[i].name);
        if (strncmp(name, keys[i].name, len) != 0)
            continue;
        const bool has_two = keys[i].where == PATH;
        if (name[len] == '\0')
            *directions = has_two ? 3 : 1;
        else if (has_two && strcmp(name + len, "_up") == 0)
            *directions = 1 << SIM_UP;
        else if (has_two && strcmp(name + len, "_down") == 0)
            *directions = 1 << SIM_DOWN;
        else
            continue;
        return &keys[i];
    }
    return NULL;
}

static void *field_of(struct sim_profile *p, const struct key *k, unsigned direction)
{
    return k->where == LINK ? (char *)p + k->offset : (char *)&p->path[direction] + k->offset;
}

bool sim_profile_set(struct sim_profile *p, const char *key, const char *value, char *error,
                     size_t size)
{
    unsigned directions;
    const struct key *k = find_key(key, &directions);
    if (k == NULL) {
        snprintf(error, size, "%.60s: there is no such key; `snsim profiles --keys` lists them",
                 key);
        return false;
    }
    bool good = true;
    for (unsigned d = 0; d < 2; d++)
        if (directions >> d & 1)
            good = good && set_field(p, k, field_of(p, k, d), value);
    if (good)
        return true;
    FILE *out = fmemopen(error, size, "w");
    if (out != NULL) {
        fprintf(out, "%s: found \"%.80s\", allowed is ", key, value);
        print_allowed(k, out);
        fclose(out);
    }
    return false;
}

void sim_profile_init(struct sim_profile *p, const char *name)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", name);
    for (size_t i = 0; i < KEYS; i++) {
        char error[SIM_PROFILE_ERROR_MAX];
        const bool good = sim_profile_set(p, keys[i].name, keys[i].standard, error, sizeof error);
        assert(good);
    }
}

bool sim_profile_check(const struct sim_profile *p, char *error, size_t size)
{
    const bool has_plan[] = {p->contacts.count > 0, p->contact_every_us > 0,
                             p->orbit_altitude_km > 0};
    const char *fault = NULL;
    if (has_plan[0] + has_plan[1] + has_plan[2] > 1)
        fault = "only one of contacts, contact_every and orbit_altitude can be given";
    else if (p->contact_every_us > 0 &&
             (p->contact_for_us == 0 || p->contact_for_us >= p->contact_every_us))
        fault = "contact_for must be more than 0 and less than contact_every";
    else if (p->lora_sf > 0 && p->lora_sf < 7)
        fault = "lora_sf: allowed is 0 or 7 to 12";
    else if (p->sbd && !p->per_device)
        fault = "sbd needs per_device = yes, since a mailbox belongs to one device";
    else if ((p->sbd || p->dial.high > 0) && !p->hold)
        fault = "sbd and dial need hold = yes, since frames wait for a session";
    else if (p->sbd && p->dial.high > 0)
        fault = "only one of sbd and dial can be given";
    else if ((uint64_t)p->dial_busy + p->dial_fail >= SIM_ALWAYS)
        fault = "dial_busy and dial_fail leave no call that succeeds";
    else if ((p->flap_up_us > 0) != (p->flap_down_us > 0))
        fault = "flap_up and flap_down need each other";
    else if ((p->fade_every_us > 0) != (p->fade_for_us > 0))
        fault = "fade_every and fade_for need each other";
    else if (p->access == SIM_CSMA && p->persistence < SIM_ALWAYS && p->slot_us == 0)
        fault = "a persistence below 100% needs a slot";
    if (fault == NULL)
        return true;
    snprintf(error, size, "%s", fault);
    return false;
}

/* ---- printing -------------------------------------------------------------------- */

static void print_word(const char *words, uint32_t index, FILE *out)
{
    for (; index > 0; index--)
        words += strcspn(words, " ") + 1;
    fprintf(out, "%.*s", (int)strcspn(words, " "), words);
}

static void print_value(const struct sim_profile *p, const struct key *k, const void *field,
                        FILE *out)
{
    char text[80];
    switch (k->type) {
    case COUNT:
        fprintf(out, "%" PRIu32, *(const uint32_t *)field);
        break;
    case RATE:
        fputs(rate_print(*(const uint64_t *)field, text, sizeof text), out);
        break;
    case TIME:
        print_time(*(const uint64_t *)field, out);
        break;
    case SPAN:
        print_span(*(const struct sim_span *)field, out);
        break;
    case CHANCE:
        fputs(chance_print(*(const uint32_t *)field, text, sizeof text), out);
        break;
    case LOSS: {
        const struct sim_gemodel *g = field;
        const uint32_t chances[] = {g->p, g->r, g->bad, g->good};
        for (size_t i = 0; i < 4; i++)
            fprintf(out, "%s%s", i > 0 ? " " : "", chance_print(chances[i], text, sizeof text));
        break;
    }
    case ANGLE:
        fputs(decimal_print(*(const int32_t *)field, 3, text, sizeof text), out);
        break;
    case MONEY:
        fputs(decimal_print(*(const uint32_t *)field, 2, text, sizeof text), out);
        break;
    case FLAG:
    case WORD:
        print_word(k->words, *(const uint32_t *)field, out);
        break;
    case TEXT:
        fputs(field, out);
        break;
    case LIST:
        for (uint32_t i = 0; i < p->contacts.count; i++) {
            fputs(i > 0 ? ", " : "", out);
            print_span(p->contacts.list[i], out);
        }
        break;
    }
}

static char *value_text(const struct sim_profile *p, const struct key *k, unsigned direction)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        abort();
    const void *field = k->where == LINK ? (const char *)p + k->offset
                                         : (const char *)&p->path[direction] + k->offset;
    print_value(p, k, field, out);
    fclose(out);
    return text;
}

static void print_line(const struct key *k, const char *ending, const char *value, bool with_help,
                       FILE *out)
{
    const int len = fprintf(out, "%s%s = %s", k->name, ending, value);
    if (with_help && k->type != TEXT)
        fprintf(out, "%*s; %s", len < 36 ? 36 - len : 1, "", k->help);
    fputc('\n', out);
}

void sim_profile_print(const struct sim_profile *p, bool with_help, FILE *out)
{
    struct sim_profile plain;
    sim_profile_init(&plain, p->name);
    fprintf(out, "[%s]\n", p->name);
    for (size_t i = 0; i < KEYS; i++) {
        const struct key *k = &keys[i];
        char *up = value_text(p, k, SIM_UP);
        char *down = value_text(p, k, SIM_DOWN);
        char *standard = value_text(&plain, k, SIM_UP);
        const bool same = strcmp(up, down) == 0;
        if (same && strcmp(up, standard) != 0)
            print_line(k, "", up, with_help, out);
        if (!same && strcmp(up, standard) != 0)
            print_line(k, "_up", up, with_help, out);
        if (!same && strcmp(down, standard) != 0)
            print_line(k, "_down", down, with_help, out);
        free(up);
        free(down);
        free(standard);
    }
}

void sim_profile_print_keys(FILE *out)
{
    for (size_t i = 0; i < KEYS; i++) {
        const struct key *k = &keys[i];
        fprintf(out, "%s%s%s%s\n", k->name, k->where == PATH ? "[_up|_down]" : "",
                k->standard[0] != '\0' ? " = " : "", k->standard);
        fprintf(out, "    %s.\n    Allowed is ", k->help);
        print_allowed(k, out);
        fputs(".\n", out);
    }
}
