/* snsim link: a profile in real time, between two programs. */
#include "sim/main.h"
#include "sim/realtime.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTINGS_MAX 64

struct options {
    struct sim_realtime_options link;
    const char *file;
    const char *name;
    const char *settings[SETTINGS_MAX];
    size_t setting_count;
    char listen[300];
};

enum {
    KEY_PROFILES = 256,
    KEY_SET,
    KEY_SEED,
    KEY_TRACE,
    KEY_PCAPNG,
    KEY_UDP,
    KEY_PTY,
    KEY_TO,
    KEY_TO_PTY,
    KEY_FRAMING,
};

static const struct argp_option known[] = {
    {NULL, 0, NULL, 0, "The devices' end:", 1},
    {"udp", KEY_UDP, "[HOST:]PORT", 0, "Listen here (HOST: 127.0.0.1)", 1},
    {"pty", KEY_PTY, "NAME", 0, "Make a serial device of this name, a pty", 1},
    {NULL, 0, NULL, 0, "The gateway's end:", 2},
    {"to", KEY_TO, "HOST:PORT", 0, "Send there, from a port of its own for each device", 2},
    {"to-pty", KEY_TO_PTY, "NAME", 0, "Make a serial device of this name, a pty", 2},
    {NULL, 0, NULL, 0, "The link:", 3},
    {"framing", KEY_FRAMING, "WORD", 0, "Of frames on ptys: cobs (default), slip, hdlc, raw", 3},
    {"set", KEY_SET, "KEY=VALUE", 0, "Change a figure of the profile; repeat it for more", 3},
    {"seed", KEY_SEED, "N", 0, "Another course of chance (default 1)", 3},
    {"profiles", KEY_PROFILES, "FILE", 0, "Add the profiles of FILE", 3},
    {"trace", KEY_TRACE, NULL, 0, "Say on stderr what happens to each frame", 3},
    {"pcapng", KEY_PCAPNG, "FILE", 0, "Write every frame to FILE, for Wireshark", 3},
    {0},
};

static void set_listen(struct options *o, const char *arg, struct argp_state *state)
{
    const char *host = strchr(arg, ':') == NULL ? "127.0.0.1:" : "";
    if (strlen(arg) > 255)
        argp_error(state, "--udp %s: too long", arg);
    snprintf(o->listen, sizeof o->listen, "%s%s", host, arg);
    o->link.udp = o->listen;
}

static void check(const struct options *o, struct argp_state *state)
{
    if (o->name == NULL)
        argp_error(state, "which PROFILE? `snsim profiles` lists them");
    if ((o->link.udp != NULL) == (o->link.pty != NULL))
        argp_error(state, "one of --udp and --pty is needed");
    if ((o->link.to != NULL) == (o->link.to_pty != NULL))
        argp_error(state, "one of --to and --to-pty is needed");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case KEY_UDP:
        set_listen(o, arg, state);
        return 0;
    case KEY_PTY:
        o->link.pty = arg;
        return 0;
    case KEY_TO:
        o->link.to = arg;
        return 0;
    case KEY_TO_PTY:
        o->link.to_pty = arg;
        return 0;
    case KEY_FRAMING:
        if (!radio_framing_find(arg, &o->link.framing))
            argp_error(state, "--framing %s: allowed is cobs, slip, hdlc or raw", arg);
        return 0;
    case KEY_SET:
        if (o->setting_count == SETTINGS_MAX || strchr(arg, '=') == NULL)
            argp_error(state, "--set %s: not KEY=VALUE, or one too many", arg);
        o->settings[o->setting_count++] = arg;
        return 0;
    case KEY_SEED:
        o->link.seed = sim_main_number(arg, state);
        return 0;
    case KEY_PROFILES:
        o->file = arg;
        return 0;
    case KEY_PCAPNG:
        o->link.capture = arg;
        return 0;
    case KEY_TRACE:
        o->link.trace = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->name != NULL)
            argp_error(state, "one PROFILE at a time");
        o->name = arg;
        return 0;
    case ARGP_KEY_END:
        check(o, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The profile with what --set changes. */
static bool find_profile(const struct options *o, struct sim_profile *out)
{
    struct sim_profiles all;
    char error[SIM_PROFILE_ERROR_MAX];
    if (sim_profiles_open(&all, o->file, stderr) < 0)
        return false;
    const struct sim_profile *found = sim_profiles_find(&all, o->name);
    if (found != NULL)
        *out = *found;
    sim_profiles_close(&all);
    if (found == NULL) {
        fprintf(stderr, "snsim: %s is no profile; `snsim profiles` lists them\n", o->name);
        return false;
    }
    for (size_t i = 0; i < o->setting_count; i++) {
        char key[40];
        const char *value = strchr(o->settings[i], '=');
        snprintf(key, sizeof key, "%.*s", (int)(value - o->settings[i]), o->settings[i]);
        if (!sim_profile_set(out, key, value + 1, error, sizeof error)) {
            fprintf(stderr, "snsim: --set %s: %s\n", o->settings[i], error);
            return false;
        }
    }
    if (sim_profile_check(out, error, sizeof error))
        return true;
    fprintf(stderr, "snsim: %s: %s\n", out->name, error);
    return false;
}

int sim_link_main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = known,
        .parser = parse,
        .args_doc = "PROFILE",
        .doc =
            "Puts a link with the trouble of a profile between real programs: devices at one "
            "end, a gateway at the other."
            "\vRuns until it is told to stop (Ctrl-C), then says what became of the frames. Each "
            "UDP client is a device of the link.",
    };
    struct sim_profile profile;
    struct options o = {.link = {.profile = &profile, .seed = 1, .framing = RADIO_FRAMING_COBS}};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (!find_profile(&o, &profile))
        return SIM_EXIT_USAGE;
    /* Whoever waits for a line in a file shall find it whole. */
    setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
    return sim_realtime_run(&o.link);
}
