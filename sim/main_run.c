/* snsim run: scenarios, one after the other. */
#include "sim/main.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/chart_gnuplot.h"
#include "sim/measure.h"
#include "sim/pcapng.h"
#include "sim/report.h"
#include "sim/run.h"
#include "sim/sweep.h"
#include "sim/transcript.h"

#define FILES_MAX 256

struct options {
    const char *files[FILES_MAX];
    size_t file_count;
    uint64_t seed;
    uint64_t kill_at;
    uint64_t check_every;
    const char *transcript;
    const char *pcapng;
    const char *report;
    const char *profiles;
    struct sim_parameters parameters;
    struct sim_sweep sweep;
    bool quiet;
};

enum {
    KEY_PCAPNG = 256,
    KEY_REPORT,
    KEY_PROFILES,
    KEY_FAULTS,
    KEY_CUT,
    KEY_SET,
    KEY_SWEEP,
    KEY_CHECK,
};

static const struct argp_option known[] = {
    {"seed", 's', "N", 0, "What chance follows from (1)", 0},
    {"transcript", 't', "FILE", 0, "Write what happens, line by line; - is standard output", 0},
    {"pcapng", KEY_PCAPNG, "FILE", 0, "Write every frame for Wireshark", 0},
    {"report", KEY_REPORT, "FILE", 0,
     "Write a page of HTML with charts, for people; needs gnuplot, and one scenario only", 0},
    {"power-cut-at", KEY_CUT, "N", 0, "Cut the power at the disk's Nth operation", 0},
    {"set", KEY_SET, "NAME=VALUE", 0, "Change a figure that the scenario names with `set`", 0},
    {"sweep", KEY_SWEEP, "NAME=A,B,C", 0,
     "Run it with each of these values, every combination when given more than once, and write a "
     "line of CSV for each",
     0},
    {"check-every", KEY_CHECK, "N", 0,
     "Recompute and compare all that the bridge keeps, every N steps (1000)", 0},
    {"profiles", KEY_PROFILES, "FILE", 0, "Add the profiles of FILE", 0},
    {"quiet", 'q', NULL, 0, "Say only what is wrong", 0},
    {"faults", KEY_FAULTS, NULL, 0, "List the faults that a scenario can have", 0},
    {0},
};

static const char doc[] =
    "Runs scenarios in virtual time, with the bridge's own core, and checks what must hold in "
    "every run."
    "\vA scenario has one statement in a line; indented lines belong to the one above. "
    "Times are written 400ms, 2s, 5m, 1h30m, 2d; a span is 400ms..2s.\n"
    "\n"
    "  set NAME VALUE    for $NAME; --set changes it\n"
    "  link NAME [profile PROFILE] [KEY VALUE]...\n"
    "  device NAME on LINK CLAUSE...\n"
    "  fleet NAME COUNT on LINK CLAUSE...\n"
    "      publishes TOPIC [qos -1..2] [every SPAN] [spread TIME]\n"
    "                [together] [from TIME] [until TIME] [burst N]\n"
    "                [size N] [retain]\n"
    "      subscribes FILTER [qos 0..2]\n"
    "      sleep TIME, keepalive TIME, clean yes|no, alike yes|no, start TIME,\n"
    "      outbox N, retry measured|SPAN, retries N,\n"
    "      will TOPIC MESSAGE [qos 0..2]\n"
    "  commands NAME publishes TOPIC ...    somebody at the broker\n"
    "  gateway [[SECTION]] KEY VALUE...     as in snbridge's configuration\n"
    "  broker delay SPAN, max_qos 0..2, reorder yes|no, overlaps named|each|one,\n"
    "      max_levels N, max_packet N, retain yes|no\n"
    "  disk commit SPAN, room N\n"
    "  memory N                             octets of the bridge, beyond the least\n"
    "  at TIME FAULT [for SPAN]\n"
    "  at operation N power cut [for SPAN]\n"
    "  about every TIME FAULT [for SPAN] [from TIME] [until TIME]\n"
    "  at TIME stop    all comes to rest, and is checked\n"
    "  at TIME end     then and there\n"
    "\n"
    "In topics {n} is the device's number, {name} its name; id=N is a predefined topic id. "
    "--faults lists the faults, `snsim profiles` the links.\n"
    "\n"
    "Exit code: 0 good, 1 something does not hold, 2 wrong usage or a wrong file.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 's':
        o->seed = sim_main_number(arg, state);
        return 0;
    case 't':
        o->transcript = arg;
        return 0;
    case 'q':
        o->quiet = true;
        return 0;
    case KEY_PCAPNG:
        o->pcapng = arg;
        return 0;
    case KEY_REPORT:
        o->report = arg;
        return 0;
    case KEY_PROFILES:
        o->profiles = arg;
        return 0;
    case KEY_SET:
        if (!sim_parameters_set(&o->parameters, arg, stderr))
            exit(SIM_EXIT_USAGE);
        return 0;
    case KEY_SWEEP:
        if (!sim_sweep_add(&o->sweep, arg, stderr))
            exit(SIM_EXIT_USAGE);
        return 0;
    case KEY_CUT:
        o->kill_at = sim_main_number(arg, state);
        return 0;
    case KEY_CHECK:
        o->check_every = sim_main_number(arg, state);
        return 0;
    case KEY_FAULTS:
        sim_scenario_print_faults(stdout);
        exit(0);
    case ARGP_KEY_ARG:
        if (o->file_count == FILES_MAX)
            argp_error(state, "at most %d scenarios", FILES_MAX);
        o->files[o->file_count++] = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no scenario");
        return 0;
    case ARGP_KEY_END:
        if (o->file_count > 1 && (o->report != NULL || o->sweep.count > 0))
            argp_error(state, "--report and --sweep want one scenario");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static FILE *create(const char *path)
{
    if (strcmp(path, "-") == 0)
        return stdout;
    FILE *out = fopen(path, "we");
    if (out == NULL)
        fprintf(stderr, "snsim: %s: %s\n", path, strerror(errno));
    return out;
}

static int end_file(FILE *out, const char *path)
{
    const bool failed = fflush(out) != 0 || ferror(out);
    if (failed)
        fprintf(stderr, "snsim: %s: %s\n", path, strerror(errno));
    if (out != stdout)
        fclose(out);
    return failed ? 1 : 0;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_result(const struct sim_result *r, double seconds)
{
    const double hours = (double)r->end_us / 3.6e9 * (double)r->devices;
    const uint64_t rest_s = r->settled_us / SIM_S;
    printf("  devices: %" PRIu64 " messages, %" PRIu64 " acknowledged or sent, %" PRIu64
           " given up; %.2f copies of each\n",
           r->sum.made, r->sum.accepted, r->sum.rejected + r->sum.unknown + r->sum.discarded,
           r->check.accepted == 0 ? 1.0 : (double)r->sum.publishes / (double)r->check.accepted);
    printf("  broker: %" PRIu64 " arrived, %" PRIu64 " of them again\n", r->check.arrived,
           r->check.again);
    if (r->check.owed > 0 || r->sum.got > 0)
        printf("  commands: %" PRIu64 " owed, %" PRIu64 " came, %" PRIu64 " of them again\n",
               r->check.owed, r->check.got, r->check.got_again);
    if (r->bound_us > 0)
        printf("  at rest %" PRIu64 " s after the stop, %" PRIu64 " s were allowed\n", rest_s,
               r->bound_us / SIM_S);
    printf("  %.0f device-hours in %.2f s: %.0f per second; %" PRIu64 " events\n", hours, seconds,
           seconds > 0 ? hours / seconds : 0, r->events);
}

static void print_command(const char *file, const struct options *o, FILE *out)
{
    fprintf(out, "snsim run %s --seed %" PRIu64, file, o->seed);
    if (o->kill_at != 0)
        fprintf(out, " --power-cut-at %" PRIu64, o->kill_at);
    if (o->profiles != NULL)
        fprintf(out, " --profiles %s", o->profiles);
    for (uint32_t i = 0; i < o->parameters.count; i++)
        fprintf(out, " --set '%s=%s'", o->parameters.list[i].name, o->parameters.list[i].value);
}

static void print_violations(const struct sim_run *run, const struct sim_result *r,
                             const char *file, const struct options *o)
{
    const char *text;
    for (size_t i = 0; (text = sim_run_violation(run, i)) != NULL; i++)
        fprintf(stderr, "%s\n", text);
    if (r->violations > SIM_CHECK_SHOWN)
        fprintf(stderr, "... %" PRIu64 " in all\n", r->violations);
    fputs("to repeat it: ", stderr);
    print_command(file, o, stderr);
    fputc('\n', stderr);
}

/* ---- the report --------------------------------------------------------------------- */

/* A file as a text, given back with free(); NULL when it cannot be read. */
static char *read_all(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return NULL;
    if (getdelim(&text, &size, '\0', in) < 0) {
        free(text);
        text = NULL;
    }
    fclose(in);
    return text;
}

/* What the comment at the head of a scenario says, without its marks. */
static char *head_comment(const char *text)
{
    char *about = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&about, &size);
    if (out == NULL)
        abort();
    while (text != NULL && *text == '#') {
        const size_t len = strcspn(text, "\n");
        fprintf(out, "%.*s\n", (int)len - 1, text + 1);
        text += len + (text[len] == '\n');
    }
    fclose(out);
    return about;
}

static char *verdict_of(const struct sim_run *run, const struct sim_result *r)
{
    char *verdict = NULL;
    size_t size = 0;
    if (r->violations == 0)
        return NULL;
    FILE *out = open_memstream(&verdict, &size);
    if (out == NULL)
        abort();
    fprintf(out, "%" PRIu64 " promises were not kept; the first: %s", r->violations,
            sim_run_violation(run, 0));
    fclose(out);
    return verdict;
}

/* 0 or 1, the program's exit code. */
static int write_report(const char *file, const struct options *o, const struct sim_run *run,
                        const struct sim_result *r, const struct sim_measure *m)
{
    FILE *out = create(o->report);
    if (out == NULL)
        return 1;
    char *command = NULL;
    size_t size = 0;
    FILE *words = open_memstream(&command, &size);
    if (words == NULL)
        abort();
    print_command(file, o, words);
    fclose(words);
    char *scenario = read_all(file);
    char *about = head_comment(scenario);
    char *verdict = verdict_of(run, r);
    const char *slash = strrchr(file, '/');
    const int drawn =
        sim_report_write(&(struct sim_report){.title = slash == NULL ? file : slash + 1,
                                              .about = about,
                                              .command = command,
                                              .scenario = scenario,
                                              .verdict = verdict,
                                              .seed = o->seed,
                                              .measure = m,
                                              .status = &r->status},
                         sim_chart, out);
    if (drawn == -ENOENT)
        fputs("snsim: --report: gnuplot is not installed; on Debian: apt-get install gnuplot-nox\n",
              stderr);
    else if (drawn != 0)
        fprintf(stderr, "snsim: --report: gnuplot: %s\n", strerror(-drawn));
    free(command);
    free(scenario);
    free(about);
    free(verdict);
    return end_file(out, o->report) != 0 || drawn != 0 ? 1 : 0;
}

static struct sim_run *open_run(const struct sim_scenario *s, const struct options *o)
{
    return sim_run_open(&(struct sim_run_options){.scenario = s,
                                                  .seed = o->seed,
                                                  .kill_at = o->kill_at,
                                                  .check_every = (uint32_t)o->check_every});
}

/* The program's exit code. */
static int run_one(const char *file, const struct sim_profiles *profiles, const struct options *o,
                   FILE *transcript, struct sim_pcapng *pcapng)
{
    struct sim_scenario *s = sim_scenario_open(file, profiles, &o->parameters, stderr);
    struct sim_result result;
    if (s == NULL)
        return SIM_EXIT_USAGE;
    struct sim_run *run = open_run(s, o);
    if (transcript != NULL)
        sim_trace_listen(sim_run_trace(run), sim_transcript_hear, transcript);
    if (pcapng != NULL)
        sim_trace_listen(sim_run_trace(run), sim_pcapng_hear, pcapng);
    struct sim_measure *measure = o->report == NULL ? NULL : sim_measure_open();
    if (measure != NULL)
        sim_trace_listen(sim_run_trace(run), sim_measure_hear, measure);
    const double from = cpu_s();
    sim_run_go(run, &result);
    if (!o->quiet) {
        char time[32];
        printf("%s, seed %" PRIu64 ": %s of %" PRIu64 " devices, %s\n", file, o->seed,
               sim_time_print(result.end_us / SIM_S * SIM_S, time, sizeof(time)), result.devices,
               result.violations == 0 ? "all holds" : "NOT ALL HOLDS");
        print_result(&result, cpu_s() - from);
    }
    if (result.violations > 0)
        print_violations(run, &result, file, o);
    int code = result.violations == 0 ? 0 : 1;
    if (measure != NULL) {
        sim_measure_end(measure, result.end_us);
        code |= write_report(file, o, run, &result, measure);
        sim_measure_close(measure);
    }
    sim_run_close(run);
    sim_scenario_close(s);
    return code;
}

/* Every combination, as a table on standard output. */
static int run_sweep(const struct sim_profiles *profiles, struct options *o)
{
    int code = 0;
    sim_sweep_write_head(&o->sweep, stdout);
    for (uint32_t i = 0; i < sim_sweep_runs(&o->sweep); i++) {
        struct sim_result result;
        sim_sweep_choose(&o->sweep, i, &o->parameters);
        struct sim_scenario *s = sim_scenario_open(o->files[0], profiles, &o->parameters, stderr);
        if (s == NULL)
            return SIM_EXIT_USAGE;
        struct sim_run *run = open_run(s, o);
        struct sim_measure *measure = sim_measure_open();
        sim_trace_listen(sim_run_trace(run), sim_measure_hear, measure);
        sim_run_go(run, &result);
        sim_measure_end(measure, result.end_us);
        sim_sweep_write_row(&o->sweep, i, o->seed, measure, result.violations, stdout);
        fflush(stdout);
        if (result.violations > 0) {
            print_violations(run, &result, o->files[0], o);
            code = 1;
        }
        sim_measure_close(measure);
        sim_run_close(run);
        sim_scenario_close(s);
    }
    return code;
}

int sim_run_main(int argc, char **argv)
{
    static const struct argp argp = {known, parse, "SCENARIO...", doc, NULL, NULL, NULL};
    struct options o = {.seed = 1, .check_every = 1000};
    struct sim_profiles profiles;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (sim_profiles_open(&profiles, o.profiles, stderr) != 0)
        return SIM_EXIT_USAGE;
    if (o.sweep.count > 0) {
        const int swept = run_sweep(&profiles, &o);
        sim_profiles_close(&profiles);
        return swept;
    }
    FILE *transcript = o.transcript == NULL ? NULL : create(o.transcript);
    FILE *capture = o.pcapng == NULL ? NULL : create(o.pcapng);
    int code = (o.transcript != NULL && transcript == NULL) || (o.pcapng != NULL && capture == NULL)
                   ? 1
                   : 0;
    struct sim_pcapng *pcapng = capture == NULL ? NULL : sim_pcapng_open(capture);
    for (size_t i = 0; code != SIM_EXIT_USAGE && i < o.file_count; i++) {
        const int one = run_one(o.files[i], &profiles, &o, transcript, pcapng);
        code = one > code ? one : code;
    }
    if (pcapng != NULL)
        sim_pcapng_close(pcapng);
    if (capture != NULL)
        code |= end_file(capture, o.pcapng);
    if (transcript != NULL)
        code |= end_file(transcript, o.transcript);
    sim_profiles_close(&profiles);
    return code;
}
