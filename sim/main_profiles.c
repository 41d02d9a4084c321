/* snsim profiles: what kinds of link there are. */
#include "sim/main.h"
#include "sim/profile.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *file;
    const char *name;
    bool dump;
    bool keys;
};

enum {
    KEY_DUMP = 256,
    KEY_KEYS,
    KEY_PROFILES,
};

static const struct argp_option known[] = {
    {"profiles", KEY_PROFILES, "FILE", 0, "Add the profiles of FILE", 0},
    {"dump", KEY_DUMP, NULL, 0, "Print the file of the shipped profiles, to copy and change", 0},
    {"keys", KEY_KEYS, NULL, 0, "List every key of a profile with its default", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case KEY_PROFILES:
        o->file = arg;
        return 0;
    case KEY_DUMP:
        o->dump = true;
        return 0;
    case KEY_KEYS:
        o->keys = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->name != NULL)
            argp_error(state, "one NAME at a time");
        o->name = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void list(const struct sim_profiles *all)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct sim_profile *p = &all->list[i];
        printf("%-18s %s%s\n", p->name, p->text, p->guess[0] != '\0' ? " [*]" : "");
    }
    puts("[*] some figures are estimates; `snsim profiles NAME` says which");
}

static int explain(const struct sim_profiles *all, const char *name)
{
    const struct sim_profile *p = sim_profiles_find(all, name);
    if (p == NULL) {
        fprintf(stderr, "snsim: %s is no profile; `snsim profiles` lists them\n", name);
        return SIM_EXIT_USAGE;
    }
    sim_profile_print(p, true, stdout);
    return 0;
}

int sim_profiles_main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = known,
        .parser = parse,
        .args_doc = "[NAME]",
        .doc = "Lists the profiles, or explains one: every figure that is not that of a perfect "
               "link, as a section of a file of profiles.",
    };
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.keys) {
        sim_profile_print_keys(stdout);
        return 0;
    }
    if (o.dump) {
        sim_profiles_dump(stdout);
        return 0;
    }
    struct sim_profiles all;
    if (sim_profiles_open(&all, o.file, stderr) < 0)
        return SIM_EXIT_USAGE;
    int code = 0;
    if (o.name != NULL)
        code = explain(&all, o.name);
    else
        list(&all);
    sim_profiles_close(&all);
    return code;
}
