/* snbridge: the gateway. */
#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bridge/config.h"
#include "bridge/control.h"
#include "bridge/loop.h"

const char *argp_program_version = "snbridge " SNBRIDGE_VERSION;

enum task {
    TASK_RUN,
    TASK_CHECK,
    TASK_PRINT,
    TASK_HELP_CONFIG,
    TASK_ASK,
};

struct options {
    const char *file;
    bool file_given;
    enum task task;
    const char *request; /* of a running bridge */
    bool json;
};

enum {
    KEY_CHECK = 256,
    KEY_PRINT,
    KEY_HELP_CONFIG,
    KEY_JSON,
};

static const struct argp_option known[] = {
    {"config", 'c', "FILE", 0, "Configuration (default /etc/snbridge.conf)", 0},
    {"check", KEY_CHECK, NULL, 0, "Check the configuration and end", 0},
    {"print-config", KEY_PRINT, NULL, 0, "Print every setting as it is in effect and end", 0},
    {"help-config", KEY_HELP_CONFIG, NULL, 0, "List every key of the configuration and end", 0},
    {"json", KEY_JSON, NULL, 0, "With a command: for programs", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    enum control_request request;
    switch (key) {
    case 'c':
        o->file = arg;
        o->file_given = true;
        return 0;
    case KEY_CHECK:
        o->task = TASK_CHECK;
        return 0;
    case KEY_PRINT:
        o->task = TASK_PRINT;
        return 0;
    case KEY_HELP_CONFIG:
        o->task = TASK_HELP_CONFIG;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->request != NULL)
            argp_error(state, "%s %s: one command at a time", o->request, arg);
        if (!control_find_request(arg, &request))
            argp_error(state, "%s: not a command; there are: status, clients, links, queue", arg);
        o->task = TASK_ASK;
        o->request = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = known,
    .parser = parse,
    .args_doc = "[status|clients|links|queue]",
    .doc = "Bridges MQTT-SN sensors on UDP and serial links to an MQTT broker, and keeps on disk "
           "what it has accepted until the other side has it."
           "\vRuns in the foreground and logs to stderr. SIGTERM stops it cleanly. With a "
           "command it asks the bridge that runs with the same configuration: status (the account, "
           "links, counters), clients (every session), links (each one's state, traffic, errors, "
           "round trip, air time) or queue (what waits, for whom, since when).\n"
           "Exit code: 0 clean, 1 something could not be opened, 2 wrong usage or configuration.",
};

int main(int argc, char **argv)
{
    struct options o = {.file = "/etc/snbridge.conf"};
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.task == TASK_HELP_CONFIG) {
        config_print_help(stdout);
        return 0;
    }
    struct config config;
    if (config_load(o.file, &config, stderr) < 0) {
        if (!o.file_given && access(o.file, F_OK) < 0)
            fprintf(stderr,
                    "snbridge: name another configuration with -c FILE; what can stand in it: "
                    "snbridge --help-config\n");
        return 2;
    }
    int code = 0;
    switch (o.task) {
    case TASK_RUN:
        code = loop_run(o.file, &config);
        break;
    case TASK_CHECK:
        printf("%s: good\n", o.file);
        break;
    case TASK_PRINT:
        config_print(&config, stdout);
        break;
    case TASK_ASK:
        code = control_ask(config.data, o.request, o.json, stdout);
        break;
    case TASK_HELP_CONFIG:
        break;
    }
    config_free(&config);
    return code;
}
