#include "sim/profile.h"

#include "sim/trace.h"

#include <assert.h>
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

/* ---- values --------------------------------------------------------------------- */

/* One to four chances; the defaults are tc-netem's. */
static bool read_gemodel(const char *text, struct sim_gemodel *out)
{
    uint64_t value[4] = {0, 0, SIM_ALWAYS, 0};
    int count = 0;
    do {
        text = sim_read_chance(text, &value[count]);
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
        text = sim_read_span(text, &list[count]);
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
    memset(&p->contacts, 0, sizeof p->contacts);
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
        end = sim_read_decimal(value, 0, &number);
        if (value[strspn(value, "0123456789")] != '\0')
            return false;
        break;
    case RATE:
        end = sim_read_rate(value, &number);
        break;
    case TIME:
        end = sim_read_time(value, &number);
        break;
    case CHANCE:
        end = sim_read_chance(value, &number);
        break;
    case MONEY:
        end = sim_read_decimal(value, 2, &number);
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
        end = sim_read_span(value, &span);
        if (end == NULL || *end != '\0' || span.high > (uint64_t)k->max ||
            span.low < (uint64_t)k->min)
            return false;
        *(struct sim_span *)field = span;
        return true;
    case LOSS:
        return read_gemodel(value, field);
    case ANGLE:
        end = sim_read_signed(value, 3, &with_sign);
        if (end == NULL || *end != '\0' || with_sign < k->min || with_sign > k->max)
            return false;
        *(int32_t *)field = (int32_t)with_sign;
        return true;
    case TEXT:
        if (strlen(value) > SIM_PROFILE_TEXT_MAX)
            return false;
        memset(field, 0, SIM_PROFILE_TEXT_MAX + 1);
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
                sim_chance_print((uint32_t)k->min, low, sizeof low),
                sim_chance_print((uint32_t)k->max, high, sizeof high));
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

bool sim_profile_is_key(const char *key)
{
    unsigned directions;
    return find_key(key, &directions) != NULL;
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
        fputs(sim_rate_print(*(const uint64_t *)field, text, sizeof text), out);
        break;
    case TIME:
        print_time(*(const uint64_t *)field, out);
        break;
    case SPAN:
        print_span(*(const struct sim_span *)field, out);
        break;
    case CHANCE:
        fputs(sim_chance_print(*(const uint32_t *)field, text, sizeof text), out);
        break;
    case LOSS: {
        const struct sim_gemodel *g = field;
        const uint32_t chances[] = {g->p, g->r, g->bad, g->good};
        for (size_t i = 0; i < 4; i++)
            fprintf(out, "%s%s", i > 0 ? " " : "", sim_chance_print(chances[i], text, sizeof text));
        break;
    }
    case ANGLE:
        fputs(sim_decimal_print(*(const int32_t *)field, 3, text, sizeof text), out);
        break;
    case MONEY:
        fputs(sim_decimal_print(*(const uint32_t *)field, 2, text, sizeof text), out);
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

/* ---- many ---------------------------------------------------------------------------- */

const struct sim_profile *sim_profiles_find(const struct sim_profiles *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->list[i].name, name) == 0)
            return &all->list[i];
    return NULL;
}
