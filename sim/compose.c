#include "sim/compose.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "sim/parameters.h"
#include "sim/random.h"

/* pace_s: about how often a device can publish there, with a dozen of them. */
struct kind {
    const char *profile;
    uint32_t pace_s;
};

/* Links on which every device hears and is heard again within a day. */
static const struct kind kinds[] = {
    {"ideal", 10},        {"lan-udp", 10},      {"serial-9600", 15}, {"serial-radio-1200", 120},
    {"ax25-1200", 120},   {"xbee-mesh", 15},    {"geo-vsat", 20},    {"geo-ntn-nbiot", 120},
    {"bgan-m2m", 30},     {"meo-150", 15},      {"pstn-v34", 60},    {"gsm-csd", 60},
    {"outage-storm", 30}, {"iridium-csd", 300},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct composer {
    struct sim_random random;
    FILE *out;
    uint32_t links;
    uint32_t fleets;
    uint32_t pace_s;
};

static uint64_t pick(struct composer *c, uint64_t low, uint64_t high)
{
    return sim_random_between(&c->random, low, high);
}

static bool one_in(struct composer *c, uint64_t n)
{
    return sim_random_below(&c->random, n) == 0;
}

/* ---- links and devices ---------------------------------------------------------- */

static void compose_link(struct composer *c)
{
    const struct kind *k = &kinds[sim_random_below(&c->random, KINDS)];
    fprintf(c->out, "link l%" PRIu32 " profile %s", c->links, k->profile);
    if (one_in(c, 4))
        fprintf(c->out, " loss %" PRIu64 "%%", pick(c, 1, 20));
    if (one_in(c, 5))
        fprintf(c->out, " duplicate %" PRIu64 "%%", pick(c, 1, 10));
    if (one_in(c, 5))
        fprintf(c->out, " reorder %" PRIu64 "%%", pick(c, 1, 10));
    fputc('\n', c->out);
    c->pace_s = k->pace_s > c->pace_s ? k->pace_s : c->pace_s;
    c->links++;
}

/* Names at the bounds of what a topic may be: empty levels, the shortest, two octets
 * (one letter among them), letters of two to four octets, the last that Unicode has, more
 * levels than anybody wants, as long as a device can say, and names that are not for
 * everybody. */
static const char *const odd_names[] = {
    "f0//t1",
    "/f0/{n}",
    "f0/{n}/",
    "/",
    "x",
    "zz",
    "\u00e9",
    "f0/\u00e9\u20ac\U0001F321/{n}",
    "f0/\U0010FFFD/{n}",
    "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/{n}",
    "////////////////////////////////////////",
    "f0/{n}/and-as-long-as-a-name-can-be-that-a-device-of-this-simulation-is-able-to-say-in-one-go",
    "$$odd/{n}",
    "$$SYS/broker/{n}",
    "$$share/g/f0/{n}",
};

/* Some of them answer each other, or what commands are sent to. */
static const char *const odd_filters[] = {
    "cmd/+",     "+/all",  "cmd/all",   "+/+",     "own/+",           "own/{n}/#",       "own/#",
    "/#",        "+/+/t1", "f0/{n}/t1", "$$SYS/#", "$$share/g/cmd/#", "$$share/h/own/+", "$$odd/#",
    "a/b/+/d/#", "cmd//#", "\u00e9/#",  "zz",      "////////////#",   "gone/+",          "id=1",
};

#define ONE_OF(c, list) (list)[sim_random_below(&(c)->random, sizeof(list) / sizeof((list)[0]))]

static void compose_publication(struct composer *c)
{
    const uint64_t every = c->pace_s * pick(c, 1, 6);
    if (one_in(c, 6))
        fprintf(c->out, "    publishes \"%s\"", ONE_OF(c, odd_names));
    else
        fprintf(c->out, "    publishes f%" PRIu32 "/{n}/t%" PRIu64, c->fleets, pick(c, 1, 3));
    fprintf(c->out, " qos %" PRIu64 " every %" PRIu64 "s..%" PRIu64 "s", pick(c, 0, 2), every,
            every * pick(c, 1, 3));
    if (one_in(c, 4))
        fprintf(c->out, " together");
    if (one_in(c, 4))
        fprintf(c->out, " burst %" PRIu64, pick(c, 2, 4));
    if (one_in(c, 3))
        fprintf(c->out, " size %" PRIu64, pick(c, 10, 60));
    if (one_in(c, 6))
        fprintf(c->out, " retain");
    fputc('\n', c->out);
}

static void compose_fleet(struct composer *c)
{
    fprintf(c->out, "fleet d%" PRIu32 "x %" PRIu64 " on l%" PRIu64 "\n", c->fleets, pick(c, 1, 6),
            sim_random_below(&c->random, c->links));
    for (uint64_t i = pick(c, 1, 2); i > 0; i--)
        compose_publication(c);
    if (one_in(c, 5))
        fprintf(c->out, "    publishes id=1 qos %s every %" PRIu64 "s\n", one_in(c, 2) ? "-1" : "1",
                c->pace_s * pick(c, 2, 8));
    if (one_in(c, 2))
        fprintf(c->out, "    subscribes cmd/# qos %" PRIu64 "\n", pick(c, 0, 2));
    if (one_in(c, 3))
        fprintf(c->out, "    subscribes own/{n} qos %" PRIu64 "\n", pick(c, 0, 2));
    for (uint64_t i = one_in(c, 3) ? pick(c, 1, 2) : 0; i > 0; i--)
        fprintf(c->out, "    subscribes \"%s\" qos %" PRIu64 "\n", ONE_OF(c, odd_filters),
                pick(c, 0, 2));
    if (one_in(c, 3))
        fprintf(c->out, "    sleep %" PRIu64 "s\n", c->pace_s * pick(c, 5, 20));
    if (one_in(c, 4))
        fprintf(c->out, "    clean yes\n");
    if (one_in(c, 10))
        fprintf(c->out, "    alike yes\n");
    if (one_in(c, 4))
        fprintf(c->out, "    will gone/{name} lost qos %" PRIu64 "\n", pick(c, 0, 2));
    fprintf(c->out, "    keepalive %" PRIu64 "s  outbox %" PRIu64 "  start %" PRIu32 "s\n",
            c->pace_s * pick(c, 10, 40), pick(c, 4, 64), c->pace_s);
    c->fleets++;
}

static void compose_command(struct composer *c, const char *name, const char *topic)
{
    const uint64_t every = c->pace_s * pick(c, 1, 12);
    fprintf(c->out, "commands %s publishes %s qos %" PRIu64 " every %" PRIu64 "s..%" PRIu64 "s%s",
            name, topic, pick(c, 0, 2), every, every * pick(c, 1, 4),
            one_in(c, 4) ? " retain" : "");
    if (one_in(c, 4))
        fprintf(c->out, " burst %" PRIu64, pick(c, 2, 15));
    fputc('\n', c->out);
}

static void compose_commands(struct composer *c)
{
    compose_command(c, "c", "cmd/all");
    if (one_in(c, 2))
        compose_command(c, "o", "own/1");
    if (one_in(c, 3))
        compose_command(c, "p", "own/2");
    if (one_in(c, 4))
        compose_command(c, "q", "cmd/q");
    if (one_in(c, 6))
        compose_command(c, "r", "a/b/c/d/e");
}

/* ---- the gateway and what is around it --------------------------------------------- */

static void compose_gateway(struct composer *c)
{
    fprintf(c->out, "gateway [topics] 1 known/one\n");
    for (uint32_t i = 0; i < c->links; i++)
        fprintf(c->out, "gateway [link l%" PRIu32 "] qos_minus_one yes\n", i);
    static const struct {
        const char *key;
        uint64_t low;
        uint64_t high;
    } limits[] = {
        {"max_backlog", 3, 60},        {"max_queue", 2, 30},        {"max_live", 2, 40},
        {"qos0_backlog", 0, 10},       {"awake_messages", 1, 5},    {"commit_delay_ms", 1, 2000},
        {"max_clients", 20, 40},       {"max_subscriptions", 4, 8}, {"max_topics", 2, 6},
        {"max_queue_age_s", 60, 3600},
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (one_in(c, 5))
            fprintf(c->out, "gateway %s %" PRIu64 "\n", limits[i].key,
                    pick(c, limits[i].low, limits[i].high));
    if (one_in(c, 5))
        fprintf(c->out, "gateway ack broker\n");
    if (one_in(c, 4))
        fprintf(c->out, "gateway mode transparent\n");
    if (one_in(c, 4))
        fprintf(c->out, "gateway [class urgent] topics f0/+/t1 priority 1\n");
    if (one_in(c, 6))
        fprintf(c->out, "gateway [class brief] topics f1/# priority 5 expire_s %" PRIu64 "\n",
                c->pace_s * pick(c, 2, 20));
    if (one_in(c, 8))
        fprintf(c->out,
                "gateway [class news] topics f0/+/t2 order live drain %s keep %s "
                "max_messages %" PRIu64 "\n",
                one_in(c, 2) ? "newest" : "oldest", one_in(c, 2) ? "newest" : "oldest",
                pick(c, 3, 30));
    if (one_in(c, 4))
        fprintf(c->out, "gateway [broker] protocol 3.1.1\n");
    if (one_in(c, 3))
        fprintf(c->out, "broker overlaps %s\n", one_in(c, 2) ? "each" : "one");
    if (one_in(c, 8))
        fprintf(c->out, "disk room %" PRIu64 "\n", pick(c, 30, 150));
    if (one_in(c, 2))
        fprintf(c->out, "gateway [broker] max_inflight %" PRIu64 "\n", pick(c, 1, 8));
    if (one_in(c, 2))
        fprintf(c->out, "broker delay %" PRIu64 "ms..%" PRIu64 "ms reorder %s\n", pick(c, 1, 50),
                pick(c, 50, 800), one_in(c, 2) ? "yes" : "no");
    if (one_in(c, 2))
        fprintf(c->out, "disk commit %" PRIu64 "ms..%" PRIu64 "ms\n", pick(c, 1, 30),
                pick(c, 30, 900));
}

static void compose_fault(struct composer *c, uint64_t run_s)
{
    static const char *const lasting[] = {
        "broker down", "broker refuses", "disk full",        "disk fails",  "broker slow 200ms..3s",
        "unplug l0",   "one d0x off",    "disk slow 1s..5s", "disk patchy",
    };
    static const char *const short_ones[] = {
        "bridge killed",   "bridge stopped",    "power cut",      "broker drops", "clock +1h",
        "one d0x reboots", "one d0x publishes", "broker forgets", "clock -20m",   "d0x reboots",
    };
    if (c->links > 1 && one_in(c, 6)) {
        fprintf(c->out, "about every %" PRIu64 "s one d0x moves l%" PRIu64 "\n",
                run_s / pick(c, 3, 12), pick(c, 0, 1));
        return;
    }
    const bool lasts = one_in(c, 2);
    fprintf(
        c->out, "about every %" PRIu64 "s %s", run_s / pick(c, 3, 12),
        lasts
            ? lasting[sim_random_below(&c->random, sizeof(lasting) / sizeof(lasting[0]))]
            : short_ones[sim_random_below(&c->random, sizeof(short_ones) / sizeof(short_ones[0]))]);
    if (lasts)
        fprintf(c->out, " for %" PRIu64 "s..%" PRIu64 "s", pick(c, 1, 60), pick(c, 60, 900));
    fputc('\n', c->out);
}

void sim_compose(uint64_t seed, FILE *out)
{
    struct composer c = {.out = out};
    sim_random_init(&c.random, seed, "compose");
    fprintf(out, "# made up by `snsim soak --print %" PRIu64 "`\n", seed);
    for (uint64_t i = pick(&c, 1, 2); i > 0; i--)
        compose_link(&c);
    for (uint64_t i = pick(&c, 1, 3); i > 0; i--)
        compose_fleet(&c);
    compose_commands(&c);
    compose_gateway(&c);
    const uint64_t run_s = c.pace_s * pick(&c, 50, 200);
    for (uint64_t i = pick(&c, 0, 5); i > 0; i--)
        compose_fault(&c, run_s);
    fprintf(out, "at %" PRIu64 "s stop\n", run_s);
}

char *sim_compose_text(uint64_t seed)
{
    const struct sim_parameters none = {0};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    sim_compose(seed, out);
    fclose(out);
    char *applied = sim_parameters_apply(&none, "made-up", text, stderr);
    free(text);
    assert(applied != NULL);
    return applied;
}
