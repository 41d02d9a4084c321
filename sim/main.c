/* snsim: the link simulator. */
#include "sim/main.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "snsim " SNBRIDGE_VERSION;

static const struct command {
    const char *name;
    sim_main_fn *fn;
    const char *help;
} commands[] = {
    {"link", sim_link_main, "put a link with trouble between two real programs"},
    {"run", sim_run_main, "run scenarios in virtual time and check what must hold"},
    {"soak", sim_soak_main, "run scenarios, and made-up ones, under many seeds"},
    {"profiles", sim_profiles_main, "list the kinds of link there are, or explain one"},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void print_commands(FILE *out)
{
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  snsim %-10s %s\n", commands[i].name, commands[i].help);
}

/* Behind the commands' list argp tells of its own options. */
static char *help_filter(int key, const char *text, void *input)
{
    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC)
        return (char *)(size_t)text;
    char *list = NULL;
    size_t size;
    FILE *out = open_memstream(&list, &size);
    if (out == NULL)
        abort();
    fputs("Commands:\n", out);
    print_commands(out);
    fputs("\nEach explains itself with --help.\n"
          "Exit code: 0 good, 1 something failed, 2 wrong usage or a wrong file.",
          out);
    fclose(out);
    return list;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    const struct command **command = state->input;
    if (key == ARGP_KEY_NO_ARGS) {
        argp_state_help(state, stderr, ARGP_HELP_STD_USAGE);
        exit(SIM_EXIT_USAGE);
    }
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    *command = find_command(arg);
    if (*command == NULL) {
        fprintf(stderr, "snsim: %s is no command; there are:\n", arg);
        print_commands(stderr);
        exit(SIM_EXIT_USAGE);
    }
    /* What follows is the command's own. */
    state->quoted = state->next;
    state->next = state->argc;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "COMMAND [ARGUMENT...]",
        .doc = "Simulates links with trouble: satellites, radios, telephone calls.\v",
        .help_filter = help_filter,
    };
    const struct command *command = NULL;
    int at = 1;
    argp_err_exit_status = SIM_EXIT_USAGE;
    while (at < argc && argv[at][0] == '-')
        at++;
    argp_parse(&argp, at < argc ? at + 1 : argc, argv, ARGP_IN_ORDER, NULL, &command);
    char name[64];
    snprintf(name, sizeof name, "snsim %s", command->name);
    argv[at] = name;
    return command->fn(argc - at, argv + at);
}
