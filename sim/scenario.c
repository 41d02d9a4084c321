#include "sim/scenario.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "mqttsn/topic.h"
#include "radio/profile.h"

#define WORDS_MAX 200 /* of one statement */
#define WORD_MAX  199 /* octets */
#define MINUTE_US (60 * SIM_S)

struct word {
    char text[WORD_MAX + 1];
    unsigned line;
};

struct reading {
    struct sim_scenario *s;
    const struct sim_profiles *profiles;
    const char *name;
    const char *at; /* what has not been read */
    unsigned line;  /* of at */
    FILE *errors;
    unsigned faults;
    struct word *words; /* of the statement */
    size_t count;
    size_t next; /* the first that has not been understood */
    bool has_end;
};

/* ---- complaints -------------------------------------------------------------------- */

static void fault(struct reading *r, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void fault(struct reading *r, unsigned line, const char *format, ...)
{
    va_list args;
    if (r->faults++ >= SIM_SCENARIO_ERRORS)
        return;
    fprintf(r->errors, "%s:%u: ", r->name, line);
    va_start(args, format);
    vfprintf(r->errors, format, args);
    va_end(args);
    fputc('\n', r->errors);
}

static unsigned line_here(const struct reading *r)
{
    const size_t i = r->next < r->count ? r->next : r->count - 1;
    return r->words[i].line;
}

/* The word that would be next, for complaints. */
static const char *found(const struct reading *r)
{
    return r->next < r->count ? r->words[r->next].text : "(the end of the statement)";
}

/* Says what is wrong with the next word. */
static bool refuse(struct reading *r, const char *allowed)
{
    fault(r, line_here(r), "found \"%s\", allowed is %s", found(r), allowed);
    return false;
}

/* ---- words ----------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The words of one line, which begins at r->at. */
static void read_line(struct reading *r)
{
    const char *c = r->at;
    for (;;) {
        while (is_blank(*c))
            c++;
        if (*c == '\0' || *c == '\n' || *c == '#')
            break;
        const bool quoted = *c == '"';
        c += quoted;
        const char *start = c;
        while (*c != '\0' && *c != '\n' && (quoted ? *c != '"' : !is_blank(*c)))
            c++;
        const size_t len = (size_t)(c - start);
        if (quoted && *c != '"')
            fault(r, r->line, "found a \" without its other one in the line");
        c += quoted && *c == '"';
        if (len > WORD_MAX || r->count == WORDS_MAX) {
            fault(r, r->line, "found %s, allowed are %d words of %d octets",
                  len > WORD_MAX ? "a word too long" : "too many words", WORDS_MAX, WORD_MAX);
            continue;
        }
        struct word *w = &r->words[r->count++];
        memcpy(w->text, start, len);
        w->text[len] = '\0';
        w->line = r->line;
    }
    c += strcspn(c, "\n");
    r->at = c + (*c == '\n');
    r->line++;
}

/* The next statement, with the indented lines below it; false at the end. */
static bool read_statement(struct reading *r)
{
    r->count = r->next = 0;
    while (*r->at != '\0') {
        const bool goes_on = is_blank(*r->at);
        const bool is_empty = *r->at == '\n' || *r->at == '#' || *r->at == '\r';
        if (r->count > 0 && !goes_on && !is_empty)
            break;
        if (r->count == 0 && goes_on && r->at[strspn(r->at, " \t\r")] != '\n' &&
            r->at[strspn(r->at, " \t\r")] != '#' && r->at[strspn(r->at, " \t\r")] != '\0')
            fault(r, r->line, "found an indented line with no statement above it");
        read_line(r);
    }
    return r->count > 0;
}

static bool is_next(const struct reading *r, const char *word)
{
    return r->next < r->count && strcmp(r->words[r->next].text, word) == 0;
}

static bool take(struct reading *r, const char *word)
{
    if (!is_next(r, word))
        return false;
    r->next++;
    return true;
}

static bool take_number(struct reading *r, uint64_t min, uint64_t max, uint64_t *out)
{
    char allowed[80];
    uint64_t value = 0;
    const char *c = found(r);
    bool good = *c != '\0' && r->next < r->count;
    for (; good && *c != '\0'; c++) {
        good = *c >= '0' && *c <= '9' && value <= max / 10;
        value = value * 10 + (uint64_t)(*c - '0');
    }
    if (!good || value < min || value > max) {
        snprintf(allowed, sizeof(allowed), "a whole number from %" PRIu64 " to %" PRIu64, min, max);
        return refuse(r, allowed);
    }
    r->next++;
    *out = value;
    return true;
}

static bool take_time(struct reading *r, uint64_t *out)
{
    if (r->next >= r->count || !sim_time_read(found(r), out))
        return refuse(r, "a time such as 400ms, 90s, 5m, 1h30m or 2d");
    r->next++;
    return true;
}

static bool take_span(struct reading *r, struct sim_span *out)
{
    if (r->next >= r->count || !sim_span_read(found(r), out))
        return refuse(r, "a time such as 5m, or two such as 400ms..2s");
    r->next++;
    return true;
}

static bool take_flag(struct reading *r, bool *out)
{
    if (!is_next(r, "yes") && !is_next(r, "no"))
        return refuse(r, "yes or no");
    *out = take(r, "yes");
    r->next += !*out;
    return true;
}

static bool take_text(struct reading *r, char *out, size_t size, const char *allowed)
{
    if (r->next >= r->count || strlen(found(r)) >= size)
        return refuse(r, allowed);
    snprintf(out, size, "%s", r->words[r->next++].text);
    return true;
}

static bool take_qos(struct reading *r, bool minus_one, int8_t *out)
{
    uint64_t number;
    if (minus_one && take(r, "-1")) {
        *out = -1;
        return true;
    }
    if (!take_number(r, 0, 2, &number))
        return false;
    *out = (int8_t)number;
    return true;
}

/* ---- names --------------------------------------------------------------------------------- */

static bool find_link(const struct sim_scenario *s, const char *name, size_t *out)
{
    for (size_t i = 0; i < s->link_count; i++)
        if (strcmp(s->links[i].name, name) == 0) {
            *out = i;
            return true;
        }
    return false;
}

static bool find_fleet(const struct sim_scenario *s, const char *name, size_t *out)
{
    for (size_t i = 0; i < s->fleet_count; i++)
        if (strcmp(s->fleets[i].name, name) == 0) {
            *out = i;
            return true;
        }
    return false;
}

static bool take_link(struct reading *r, size_t *out)
{
    if (r->next >= r->count || !find_link(r->s, found(r), out))
        return refuse(r, "the name of a link that stands above");
    r->next++;
    return true;
}

static bool take_fleet(struct reading *r, size_t *out)
{
    if (r->next >= r->count || !find_fleet(r->s, found(r), out))
        return refuse(r, "the name of a device or a fleet that stands above");
    r->next++;
    return true;
}

/* A name that nothing else has. */
static bool take_new_name(struct reading *r, char *out)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t place;
    const char *name = found(r);
    bool good = r->next < r->count && strlen(name) <= SIM_SCENARIO_NAME_MAX && name[0] != '\0' &&
                name[strspn(name, letters)] == '\0' && strcmp(name, "one") != 0 &&
                strcmp(name, "bridge") != 0 && strcmp(name, "broker") != 0;
    good = good && !find_link(r->s, name, &place) && !find_fleet(r->s, name, &place);
    for (size_t i = 0; good && i < r->s->command_count; i++)
        good = strcmp(r->s->commands[i].name, name) != 0;
    if (!good)
        return refuse(r, "a new name of up to 15 letters, digits, - and _");
    snprintf(out, SIM_SCENARIO_NAME_MAX + 1, "%s", name);
    r->next++;
    return true;
}

/* ---- statements: links, gateway -------------------------------------------------------------- */

static bool read_profile_key(struct reading *r, struct sim_scenario_link *link)
{
    char key[WORD_MAX + 1];
    char value[WORDS_MAX];
    char error[SIM_PROFILE_ERROR_MAX];
    const unsigned line = line_here(r);
    snprintf(key, sizeof(key), "%s", r->words[r->next++].text);
    /* Some values have several words. */
    size_t at = 0;
    value[0] = '\0';
    do {
        if (r->next >= r->count)
            return refuse(r, "the value of a key");
        at += (size_t)snprintf(value + at, sizeof(value) - at, "%s%s", at > 0 ? " " : "",
                               r->words[r->next++].text);
    } while (at < sizeof(value) && r->next < r->count && !sim_profile_is_key(found(r)));
    if (sim_profile_set(&link->profile, key, value, error, sizeof(error)))
        return true;
    fault(r, line, "%s", error);
    return false;
}

static void read_link(struct reading *r)
{
    char error[SIM_PROFILE_ERROR_MAX];
    if (r->s->link_count == SIM_SCENARIO_LINKS) {
        fault(r, line_here(r), "found one link too many, allowed are %d", SIM_SCENARIO_LINKS);
        return;
    }
    struct sim_scenario_link *link = &r->s->links[r->s->link_count];
    const unsigned line = line_here(r);
    if (!take_new_name(r, link->name))
        return;
    sim_profile_init(&link->profile, link->name);
    link->is_changed = true;
    if (take(r, "profile")) {
        const struct sim_profile *p =
            r->next < r->count ? sim_profiles_find(r->profiles, found(r)) : NULL;
        if (p == NULL) {
            refuse(r, "the name of a profile, see `snsim profiles`");
            return;
        }
        link->profile = *p;
        link->is_changed = false;
        r->next++;
    }
    while (r->next < r->count) {
        if (!sim_profile_is_key(found(r))) {
            refuse(r, "a key of a link, see `snsim profiles --keys`");
            return;
        }
        if (!read_profile_key(r, link))
            return;
        link->is_changed = true;
    }
    if (!sim_profile_check(&link->profile, error, sizeof(error)))
        fault(r, line, "%s", error);
    r->s->link_count++;
}

static void ini_line(struct sim_scenario *s, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void ini_line(struct sim_scenario *s, unsigned line, const char *format, ...)
{
    char text[2 * WORD_MAX + 8];
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    s->ini = sim_more_memory(s->ini, s->ini_len + (size_t)len + 2);
    memcpy(s->ini + s->ini_len, text, (size_t)len);
    s->ini_len += (size_t)len;
    s->ini[s->ini_len++] = '\n';
    s->ini[s->ini_len] = '\0';
    s->ini_lines = sim_more_memory(s->ini_lines, (s->ini_count + 1) * sizeof(*s->ini_lines));
    s->ini_lines[s->ini_count++] = line;
}

/* Goes to the configuration's own parser, with a section before each statement:
 * scenario_ini.c puts the sections together. */
static void read_gateway(struct reading *r)
{
    char section[WORD_MAX + 1] = "[bridge]";
    const unsigned line = line_here(r);
    if (r->next < r->count && found(r)[0] == '[') {
        size_t at = 0;
        do {
            at += (size_t)snprintf(section + at, sizeof(section) - at, "%s%s", at > 0 ? " " : "",
                                   r->words[r->next++].text);
        } while (at < sizeof(section) && section[at - 1] != ']' && r->next < r->count);
        if (at >= sizeof(section) || section[at - 1] != ']') {
            refuse(r, "the ] of a [section]");
            return;
        }
    }
    if (r->next + 1 >= r->count) {
        refuse(r, "a key of the gateway and its value, see `snbridge --help-config`");
        return;
    }
    ini_line(r->s, line, "%s", section);
    while (r->next + 1 < r->count) {
        ini_line(r->s, line_here(r), "%s = %s", r->words[r->next].text, r->words[r->next + 1].text);
        r->next += 2;
    }
    if (r->next < r->count)
        refuse(r, "a key and its value");
}

static bool take_overlaps(struct reading *r, enum sim_broker_overlaps *out)
{
    if (take(r, "named"))
        *out = SIM_OVERLAPS_NAMED;
    else if (take(r, "each"))
        *out = SIM_OVERLAPS_EACH;
    else if (take(r, "one"))
        *out = SIM_OVERLAPS_ONE;
    else
        return refuse(r, "named, each or one");
    return true;
}

static void read_broker(struct reading *r)
{
    uint64_t number;
    while (r->next < r->count) {
        bool good;
        if (take(r, "delay")) {
            good = take_span(r, &r->s->broker_delay);
        } else if (take(r, "max_qos")) {
            good = take_number(r, 0, 2, &number);
            if (good)
                r->s->broker_max_qos = (uint8_t)number;
        } else if (take(r, "reorder")) {
            good = take_flag(r, &r->s->broker_reorders);
        } else if (take(r, "overlaps")) {
            good = take_overlaps(r, &r->s->broker_overlaps);
        } else if (take(r, "max_levels")) {
            good = take_number(r, 1, UINT16_MAX, &r->s->broker_max_levels);
        } else if (take(r, "max_packet")) {
            good = take_number(r, 1, UINT32_MAX, &r->s->broker_max_packet);
        } else if (take(r, "retain")) {
            good = take_flag(r, &r->s->broker_no_retain);
            r->s->broker_no_retain = !r->s->broker_no_retain;
        } else {
            good = refuse(r, "delay SPAN, max_qos N, reorder yes|no, overlaps named|each|one, "
                             "max_levels N, max_packet N or retain yes|no");
        }
        if (!good)
            return;
    }
}

static void read_disk(struct reading *r)
{
    while (r->next < r->count) {
        bool good;
        if (take(r, "commit"))
            good = take_span(r, &r->s->disk_commit);
        else if (take(r, "room"))
            good = take_number(r, 1, UINT32_MAX, &r->s->disk_room);
        else
            good = refuse(r, "commit SPAN or room N");
        if (!good)
            return;
    }
}

static void read_memory(struct reading *r)
{
    uint64_t number = 0;
    if (take_number(r, 1, UINT32_MAX, &number) && r->next < r->count)
        refuse(r, "one number");
    r->s->memory = (size_t)number;
}

/* ---- statements: who sends and receives ---------------------------------------------------------- */

static bool read_topic(struct reading *r, bool is_filter, char *topic, uint16_t *tid)
{
    const char *word = found(r);
    if (r->next < r->count && strncmp(word, "id=", 3) == 0) {
        uint64_t number = 0;
        const char *c = word + 3;
        while (*c >= '0' && *c <= '9' && number < 100000)
            number = number * 10 + (uint64_t)(*c++ - '0');
        if (*c != '\0' || number < 1 || number > 65534)
            return refuse(r, "id=N with a topic id from 1 to 65534");
        *tid = (uint16_t)number;
        r->next++;
        return true;
    }
    const enum sn_fault f = is_filter ? sn_topic_check_filter(sn_bytes_text(word))
                                      : sn_topic_check_name(sn_bytes_text(word));
    if (r->next >= r->count || f != SN_OK)
        return refuse(r, is_filter ? "a topic filter, or id=N" : "the name of a topic, or id=N");
    return take_text(r, topic, SIM_DEVICE_TOPIC_MAX + 1, "a topic of at most 95 octets");
}

static bool read_publication(struct reading *r, struct sim_publication *p)
{
    uint64_t number;
    *p = (struct sim_publication){.qos = 1, .burst = 1};
    bool good = read_topic(r, false, p->topic, &p->tid);
    while (good && r->next < r->count) {
        if (take(r, "qos")) {
            good = take_qos(r, true, &p->qos);
        } else if (take(r, "every")) {
            good = take_span(r, &p->every);
            if (good && p->every.low == 0)
                good = (fault(r, line_here(r), "found every 0, allowed is at least 1us"), false);
        } else if (take(r, "spread")) {
            good = take_time(r, &p->spread_us);
        } else if (take(r, "from")) {
            good = take_time(r, &p->from_us);
        } else if (take(r, "until")) {
            good = take_time(r, &p->until_us);
        } else if (take(r, "burst")) {
            good = take_number(r, 1, 10000, &number);
            p->burst = good ? (uint32_t)number : 1;
        } else if (take(r, "size")) {
            good = take_number(r, 0, SIM_DEVICE_PAYLOAD_MAX, &number);
            p->size = good ? (uint32_t)number : 0;
        } else if (take(r, "together")) {
            p->together = true;
        } else if (take(r, "retain")) {
            p->retain = true;
        } else {
            break;
        }
    }
    if (good && p->qos < 0 && p->tid == 0 && strlen(p->topic) != 2) {
        fault(r, line_here(r), "found qos -1 with \"%s\", allowed is id=N or a topic of two octets",
              p->topic);
        return false;
    }
    return good;
}

static bool read_subscription(struct reading *r, struct sim_subscription *s)
{
    *s = (struct sim_subscription){.qos = 1};
    return read_topic(r, true, s->filter, &s->tid) &&
           (!take(r, "qos") || take_qos(r, false, &s->qos));
}

static bool read_seconds(struct reading *r, uint16_t *out)
{
    uint64_t us;
    const size_t at = r->next;
    if (!take_time(r, &us))
        return false;
    if (us / SIM_S > UINT16_MAX || us % SIM_S != 0) {
        r->next = at;
        return refuse(r, "whole seconds, at most 65535");
    }
    *out = (uint16_t)(us / SIM_S);
    return true;
}

static bool read_will(struct reading *r, struct sim_device_plan *plan)
{
    return take_text(r, plan->will_topic, sizeof(plan->will_topic), "the topic of a will") &&
           take_text(r, plan->will_message, sizeof(plan->will_message), "the message of a will") &&
           (!take(r, "qos") || take_qos(r, false, &plan->will_qos));
}

static bool read_retry(struct reading *r, struct sim_device_plan *plan)
{
    if (take(r, "measured")) {
        plan->retry = SIM_RETRY_MEASURED;
        return true;
    }
    plan->retry = SIM_RETRY_GIVEN;
    return take_span(r, &plan->retry_us);
}

static bool read_clause(struct reading *r, struct sim_device_plan *plan)
{
    uint64_t number = 0;
    if (take(r, "publishes")) {
        if (plan->publication_count == SIM_DEVICE_PUBLICATIONS)
            return refuse(r, "no more than 4 publications");
        return read_publication(r, &plan->publications[plan->publication_count++]);
    }
    if (take(r, "subscribes")) {
        if (plan->subscription_count == SIM_DEVICE_SUBSCRIPTIONS)
            return refuse(r, "no more than 4 subscriptions");
        return read_subscription(r, &plan->subscriptions[plan->subscription_count++]);
    }
    if (take(r, "sleep"))
        return read_seconds(r, &plan->sleep_s);
    if (take(r, "keepalive"))
        return read_seconds(r, &plan->keepalive_s);
    if (take(r, "clean"))
        return take_flag(r, &plan->clean);
    if (take(r, "alike"))
        return take_flag(r, &plan->alike);
    if (take(r, "start"))
        return take_time(r, &plan->start_us);
    if (take(r, "retry"))
        return read_retry(r, plan);
    if (take(r, "will"))
        return read_will(r, plan);
    if (take(r, "outbox")) {
        const bool good = take_number(r, 1, 100000, &number);
        plan->outbox = good ? (uint32_t)number : 1;
        return good;
    }
    if (take(r, "retries")) {
        const bool good = take_number(r, 0, 100, &number);
        plan->retries = (uint8_t)number;
        return good;
    }
    return refuse(r, "publishes, subscribes, sleep, keepalive, clean, alike, start, retry, "
                     "retries, outbox or will");
}

static uint32_t device_count(const struct sim_scenario *s)
{
    uint32_t count = 0;
    for (size_t i = 0; i < s->fleet_count; i++)
        count += s->fleets[i].count;
    return count;
}

static void read_fleet(struct reading *r, bool is_one)
{
    uint64_t count = 1;
    if (r->s->fleet_count == SIM_SCENARIO_FLEETS) {
        fault(r, line_here(r), "found one fleet too many, allowed are %d", SIM_SCENARIO_FLEETS);
        return;
    }
    struct sim_fleet *f = &r->s->fleets[r->s->fleet_count];
    if (!take_new_name(r, f->name) ||
        (!is_one && !take_number(r, 1, SIM_SCENARIO_DEVICES - device_count(r->s), &count)))
        return;
    f->count = (uint32_t)count;
    f->is_one = is_one;
    if (!take(r, "on")) {
        refuse(r, "on LINK");
        return;
    }
    if (!take_link(r, &f->link))
        return;
    sim_device_plan_init(&f->plan);
    while (r->next < r->count)
        if (!read_clause(r, &f->plan))
            return;
    r->s->fleet_count++;
}

static void read_commands(struct reading *r)
{
    if (r->s->command_count == SIM_SCENARIO_COMMANDS) {
        fault(r, line_here(r), "found one of them too many, allowed are %d", SIM_SCENARIO_COMMANDS);
        return;
    }
    struct sim_commands *c = &r->s->commands[r->s->command_count];
    if (!take_new_name(r, c->name))
        return;
    if (!take(r, "publishes")) {
        refuse(r, "publishes TOPIC");
        return;
    }
    const unsigned line = line_here(r);
    if (!read_publication(r, &c->publication))
        return;
    if (c->publication.qos < 0 || c->publication.tid != 0)
        fault(r, line, "found a topic id, allowed at the broker are names and qos 0 to 2");
    if (r->next < r->count)
        refuse(r, "qos, every, spread, together, from, until, burst, size or retain");
    r->s->command_count++;
}

/* ---- statements: what goes wrong ------------------------------------------------------------------- */

/* Words in capitals stand for something. */
static const struct form {
    const char *pattern;
    enum sim_fault_kind kind;
    bool ends;
    const char *help;
} forms[] = {
    {"broker down", SIM_FAULT_BROKER_DOWN, false, "connections are lost, none is to be had"},
    {"broker up", SIM_FAULT_BROKER_DOWN, true, "and is back"},
    {"broker slow SPAN", SIM_FAULT_BROKER_SLOW, false,
     "every way takes so much longer; slow 0 ends it"},
    {"broker drops", SIM_FAULT_BROKER_DROPS, false, "connections are lost, with what is under way"},
    {"broker refuses", SIM_FAULT_BROKER_REFUSES, false, "no new connections"},
    {"broker accepts", SIM_FAULT_BROKER_REFUSES, true, "connections again"},
    {"broker forgets", SIM_FAULT_BROKER_FORGETS, false,
     "sessions, subscriptions, what waited in them"},
    {"broker rejects FILTER", SIM_FAULT_BROKER_REJECTS, false, "messages of such topics, for good"},
    {"broker rejects nothing", SIM_FAULT_BROKER_REJECTS, true, "any more"},
    {"bridge killed", SIM_FAULT_BRIDGE_KILLED, false, "and started again after 1s, or `for SPAN`"},
    {"bridge stopped", SIM_FAULT_BRIDGE_STOPPED, false, "cleanly, and started again"},
    {"power cut", SIM_FAULT_BRIDGE_KILLED, false, "the same as killed, for the bridge"},
    {"disk full", SIM_FAULT_DISK_FULL, false, "messages are refused"},
    {"disk patchy", SIM_FAULT_DISK_PATCHY, false,
     "what comes together is refused together, by chance"},
    {"disk fails", SIM_FAULT_DISK_FAILS, false, "nothing can be written"},
    {"disk works", SIM_FAULT_DISK_FAILS, true, "again"},
    {"disk slow SPAN", SIM_FAULT_DISK_SLOW, false, "commits take so much longer; slow 0 ends it"},
    {"clock CLOCK", SIM_FAULT_CLOCK, false, "the wall clock steps by +TIME or -TIME"},
    {"link LINK down", SIM_FAULT_LINK_DOWN, false, "frames on their way are lost, too"},
    {"link LINK up", SIM_FAULT_LINK_DOWN, true, "as far as its contacts allow"},
    {"unplug LINK", SIM_FAULT_LINK_DOWN, false, "the same as down"},
    {"FLEET reboots", SIM_FAULT_DEVICE_REBOOTS, false, "all of it, and each forgets all it knew"},
    {"FLEET off", SIM_FAULT_DEVICE_OFF, false, "without a word"},
    {"FLEET on", SIM_FAULT_DEVICE_OFF, true, "with an empty memory"},
    {"FLEET leaves", SIM_FAULT_DEVICE_LEAVES, false, "disconnects for good"},
    {"FLEET moves LINK", SIM_FAULT_DEVICE_MOVES, false, "to that link"},
    {"FLEET publishes", SIM_FAULT_DEVICE_PUBLISHES, false, "one message more"},
    {"one FLEET reboots", SIM_FAULT_DEVICE_REBOOTS, false, "one device of it, by chance"},
    {"one FLEET off", SIM_FAULT_DEVICE_OFF, false, NULL},
    {"one FLEET moves LINK", SIM_FAULT_DEVICE_MOVES, false, NULL},
    {"one FLEET publishes", SIM_FAULT_DEVICE_PUBLISHES, false, NULL},
};

#define FORMS (sizeof(forms) / sizeof(forms[0]))

void sim_scenario_print_faults(FILE *out)
{
    for (size_t i = 0; i < FORMS; i++)
        fprintf(out, "  %-24s%s\n", forms[i].pattern, forms[i].help == NULL ? "" : forms[i].help);
}

/* Whether the words could be this form, whatever stands for its capitals. */
static bool looks_like(const struct reading *r, const char *pattern)
{
    size_t at = r->next;
    while (*pattern != '\0') {
        const size_t len = strcspn(pattern, " ");
        if (at >= r->count)
            return false;
        const char *word = r->words[at++].text;
        const bool stands_for = pattern[0] >= 'A' && pattern[0] <= 'Z';
        if (!stands_for && (strlen(word) != len || strncmp(word, pattern, len) != 0))
            return false;
        pattern += len + (pattern[len] == ' ');
    }
    return true;
}

static bool take_clock(struct reading *r, int64_t *ms)
{
    uint64_t us;
    const char *word = found(r);
    if (r->next >= r->count || (word[0] != '+' && word[0] != '-') ||
        !sim_time_read(word + 1, &us) || us > UINT64_C(3650) * 86400 * SIM_S)
        return refuse(r, "+TIME or -TIME, at most ten years");
    *ms = (int64_t)(us / SIM_MS) * (word[0] == '-' ? -1 : 1);
    r->next++;
    return true;
}

static bool take_form(struct reading *r, const struct form *form, struct sim_fault *f)
{
    f->kind = form->kind;
    f->ends = form->ends;
    for (const char *p = form->pattern; *p != '\0';) {
        const size_t len = strcspn(p, " ");
        bool good = true;
        if (strncmp(p, "SPAN", len) == 0)
            good = take_span(r, &f->slow);
        else if (strncmp(p, "CLOCK", len) == 0)
            good = take_clock(r, &f->clock_ms);
        else if (strncmp(p, "LINK", len) == 0)
            good = take_link(r, &f->link);
        else if (strncmp(p, "FLEET", len) == 0)
            good = take_fleet(r, &f->fleet);
        else if (strncmp(p, "FILTER", len) == 0)
            good = sn_topic_check_filter(sn_bytes_text(found(r))) == SN_OK
                       ? take_text(r, f->filter, sizeof(f->filter), "a shorter topic filter")
                       : refuse(r, "a topic filter");
        else
            r->next++;
        if (!good)
            return false;
        p += len + (p[len] == ' ');
    }
    f->one = strncmp(form->pattern, "one ", 4) == 0;
    return true;
}

static bool take_fault(struct reading *r, struct sim_fault *f)
{
    const struct form *best = NULL;
    for (size_t i = 0; i < FORMS; i++)
        /* "broker rejects nothing" stands behind the one with the filter. */
        if (looks_like(r, forms[i].pattern))
            best = &forms[i];
    if (best == NULL)
        return refuse(r, "a fault, see `snsim run --faults`");
    if (!take_form(r, best, f))
        return false;
    while (r->next < r->count) {
        bool good;
        if (take(r, "for"))
            good = take_span(r, &f->length);
        else if (f->at_random && take(r, "from"))
            good = take_time(r, &f->from_us);
        else if (f->at_random && take(r, "until"))
            good = take_time(r, &f->until_us);
        else
            good = refuse(r, f->at_random ? "for SPAN, from TIME or until TIME" : "for SPAN");
        if (!good)
            return false;
    }
    return true;
}

static void add_fault(struct reading *r, struct sim_fault *f)
{
    if (r->s->fault_count == SIM_SCENARIO_FAULTS)
        fault(r, line_here(r), "found one fault too many, allowed are %d", SIM_SCENARIO_FAULTS);
    else if (take_fault(r, f))
        r->s->faults[r->s->fault_count++] = *f;
}

static void read_end(struct reading *r, uint64_t at_us)
{
    if (r->has_end)
        fault(r, line_here(r), "found a second stop or end, allowed is one");
    r->has_end = true;
    r->s->stop_us = at_us;
    r->s->settles = take(r, "stop");
    r->next += !r->s->settles;
    if (r->next < r->count)
        refuse(r, "nothing more in this statement");
}

static void read_at(struct reading *r)
{
    struct sim_fault f = {0};
    if (take(r, "operation")) {
        if (take_number(r, 1, UINT32_MAX, &f.operation)) {
            if (is_next(r, "power") || is_next(r, "bridge"))
                add_fault(r, &f);
            else
                refuse(r, "power cut");
        }
        return;
    }
    if (!take_time(r, &f.at_us))
        return;
    if (is_next(r, "stop") || is_next(r, "end"))
        read_end(r, f.at_us);
    else
        add_fault(r, &f);
}

static void read_about(struct reading *r)
{
    struct sim_fault f = {.at_random = true};
    if (!take(r, "every")) {
        refuse(r, "every TIME FAULT");
        return;
    }
    if (take_time(r, &f.at_us))
        add_fault(r, &f);
}

/* ---- all of it ------------------------------------------------------------------------------------------ */

static void read_one(struct reading *r)
{
    if (take(r, "link"))
        read_link(r);
    else if (take(r, "device"))
        read_fleet(r, true);
    else if (take(r, "fleet"))
        read_fleet(r, false);
    else if (take(r, "commands"))
        read_commands(r);
    else if (take(r, "gateway"))
        read_gateway(r);
    else if (take(r, "broker"))
        read_broker(r);
    else if (take(r, "disk"))
        read_disk(r);
    else if (take(r, "memory"))
        read_memory(r);
    else if (take(r, "at"))
        read_at(r);
    else if (take(r, "about"))
        read_about(r);
    else
        refuse(r, "link, device, fleet, commands, gateway, broker, disk, memory, at or about");
}

static void check_whole(struct reading *r)
{
    const struct sim_scenario *s = r->s;
    if (s->link_count == 0)
        fault(r, r->line, "found no link, one is required");
    if (!r->has_end)
        fault(r, r->line, "found no end, `at TIME stop` or `at TIME end` is required");
    for (size_t i = 0; i < s->fault_count; i++)
        if (s->faults[i].kind == SIM_FAULT_DEVICE_PUBLISHES &&
            s->fleets[s->faults[i].fleet].plan.publication_count == 0)
            fault(r, r->line, "found \"%s publishes\", but it has no publication",
                  s->fleets[s->faults[i].fleet].name);
}

void sim_scenario_discard(struct sim_scenario *s)
{
    free(s->ini);
    free(s->ini_lines);
    free(s);
}

struct sim_scenario *sim_scenario_parse(const char *name, const char *text,
                                        const struct sim_profiles *profiles, FILE *errors)
{
    struct sim_scenario *s = sim_memory(sizeof(*s));
    struct reading r = {
        .s = s,
        .profiles = profiles,
        .name = name,
        .at = text,
        .line = 1,
        .errors = errors,
        .words = sim_memory(WORDS_MAX * sizeof(struct word)),
    };
    const char *slash = strrchr(name, '/');
    snprintf(s->name, sizeof(s->name), "%s", slash == NULL ? name : slash + 1);
    s->broker_delay = (struct sim_span){5 * SIM_MS, 15 * SIM_MS};
    s->broker_max_qos = 2;
    s->disk_commit = (struct sim_span){2 * SIM_MS, 15 * SIM_MS};
    while (read_statement(&r))
        read_one(&r);
    if (r.faults == 0)
        check_whole(&r);
    if (r.faults > SIM_SCENARIO_ERRORS)
        fprintf(errors, "%s: %u more\n", name, r.faults - SIM_SCENARIO_ERRORS);
    free(r.words);
    if (r.faults == 0)
        return s;
    sim_scenario_discard(s);
    return NULL;
}

struct radio_profile sim_scenario_radio(const struct sim_scenario_link *link)
{
    const struct sim_profile *p = &link->profile;
    const struct radio_profile *known = radio_profile_find(p->name);
    if (known != NULL && !link->is_changed)
        return *known;
    const struct sim_path *up = &p->path[SIM_UP];
    const struct sim_path *down = &p->path[SIM_DOWN];
    const uint64_t delay_us = (up->delay.low + down->delay.low) / 2;
    struct radio_profile r = known != NULL ? *known : *radio_profile_find(RADIO_PROFILE_UDP);
    r.name = p->name;
    r.up_bits_per_s = (uint32_t)up->rate;
    r.down_bits_per_s = (uint32_t)down->rate;
    r.delay_ms = (uint32_t)(delay_us / SIM_MS);
    r.jitter_ms =
        (uint32_t)((up->delay.high + down->delay.high - up->delay.low - down->delay.low) / SIM_MS);
    r.frame_max = up->frame_max < down->frame_max ? up->frame_max : down->frame_max;
    r.turn_ms = (uint32_t)(p->turn.high / SIM_MS);
    r.overhead_bits = p->overhead_bits + (uint32_t)(p->overhead_us * down->rate / SIM_S);
    r.bits_per_octet = (uint8_t)p->bits_per_octet;
    r.paced = known != NULL ? known->paced : down->rate != 0;
    return r;
}
