/* snsim soak: scenarios and made-up ones under many seeds, on all processors.
 *
 * Every worker is a process of its own, so that an assertion that fails ends one
 * run and not the soak: what a worker is doing stands in memory that the parent
 * sees, who says how to repeat it and goes on behind it. */
#include "sim/main.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/compose.h"
#include "sim/run.h"

#define FILES_MAX  256
#define JOBS_MAX   64
#define FAULTS_MAX 20 /* failures that are told; the rest is counted */

struct options {
    const char *files[FILES_MAX];
    size_t file_count;
    uint64_t seeds;
    uint64_t first;
    uint64_t jobs;
    uint64_t cuts;
    uint64_t check_every;
    bool every_cut;
};

/* What a worker is doing, and has done; shared with the parent. */
struct worker {
    volatile uint64_t task; /* number of the task that is being run */
    volatile uint64_t file; /* place in files; file_count: a made-up one */
    volatile uint64_t cut;
    volatile uint64_t seed;
    volatile uint64_t runs;
    volatile uint64_t failures;
    volatile uint64_t device_us;
    volatile uint64_t cpu_us;
    pid_t pid;
};

enum {
    KEY_FROM = 256,
    KEY_PRINT,
    KEY_CUTS,
    KEY_EVERY,
};

static const struct argp_option known[] = {
    {"seeds", 'n', "N", 0, "How many seeds (100)", 0},
    {"from", KEY_FROM, "SEED", 0, "The first of them (1)", 0},
    {"jobs", 'j', "N", 0, "Workers (one for each processor)", 0},
    {"power-cuts", KEY_CUTS, "N", 0,
     "Also cut the power at N operations of the disk, by chance, in each scenario and seed (1)", 0},
    {"every-power-cut", KEY_EVERY, NULL, 0,
     "Cut the power at every single operation, one run for each", 0},
    {"print", KEY_PRINT, "SEED", 0, "Print the scenario that is made up from a seed", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 'n':
        o->seeds = sim_main_number(arg, state);
        return 0;
    case 'j':
        o->jobs = sim_main_number(arg, state);
        if (o->jobs < 1 || o->jobs > JOBS_MAX)
            argp_error(state, "found %s jobs, allowed are 1 to %d", arg, JOBS_MAX);
        return 0;
    case KEY_FROM:
        o->first = sim_main_number(arg, state);
        return 0;
    case KEY_CUTS:
        o->cuts = sim_main_number(arg, state);
        return 0;
    case KEY_EVERY:
        o->every_cut = true;
        return 0;
    case KEY_PRINT:
        sim_compose(sim_main_number(arg, state), stdout);
        exit(0);
    case ARGP_KEY_ARG:
        if (o->file_count == FILES_MAX)
            argp_error(state, "at most %d scenarios", FILES_MAX);
        o->files[o->file_count++] = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- a worker ------------------------------------------------------------------- */

static void print_command(const struct options *o, const struct worker *w)
{
    if (w->file == o->file_count)
        printf("    snsim soak --print %" PRIu64 " > made-up.sim && snsim run made-up.sim",
               w->seed);
    else
        printf("    snsim run %s", o->files[w->file]);
    printf(" --seed %" PRIu64, w->seed);
    if (w->cut != 0)
        printf(" --power-cut-at %" PRIu64, w->cut);
    putchar('\n');
}

static uint64_t cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Returns how many operations the disk had. */
static uint64_t run_one(const struct options *o, struct worker *w, const struct sim_scenario *s,
                        uint64_t cut)
{
    struct sim_result result;
    w->cut = cut;
    struct sim_run *run = sim_run_open(&(struct sim_run_options){
        .scenario = s, .seed = w->seed, .kill_at = cut, .check_every = (uint32_t)o->check_every});
    sim_run_go(run, &result);
    w->runs++;
    w->device_us += result.end_us * result.devices;
    if (result.violations > 0) {
        if (w->failures++ < FAULTS_MAX) {
            printf("%s\n", sim_run_violation(run, 0));
            print_command(o, w);
            fflush(stdout);
        }
    }
    sim_run_close(run);
    return result.operations;
}

static struct sim_scenario *open_scenario(const struct options *o, const struct worker *w,
                                          const struct sim_profiles *profiles)
{
    const struct sim_parameters none = {0};
    if (w->file < o->file_count)
        return sim_scenario_open(o->files[w->file], profiles, &none, stderr);
    char *text = sim_compose_text(w->seed);
    struct sim_scenario *s = sim_scenario_read("made-up", text, profiles, stderr);
    free(text);
    return s;
}

/* One scenario under one seed, without and with power cuts. */
static void run_task(const struct options *o, struct worker *w, const struct sim_profiles *profiles)
{
    struct sim_scenario *s = open_scenario(o, w, profiles);
    struct sim_random random;
    if (s == NULL)
        exit(SIM_EXIT_USAGE);
    sim_random_init(&random, w->seed, "power cuts");
    const uint64_t operations = run_one(o, w, s, 0);
    if (o->every_cut)
        for (uint64_t cut = 1; cut <= operations; cut++)
            run_one(o, w, s, cut);
    else
        for (uint64_t i = 0; operations > 0 && i < o->cuts; i++)
            run_one(o, w, s, sim_random_between(&random, 1, operations));
    sim_scenario_close(s);
}

/* Tasks are all scenarios under the first seed, then under the next, ... */
static void work(const struct options *o, struct worker *w, uint64_t index)
{
    struct sim_profiles profiles;
    const uint64_t per_seed = o->file_count + 1;
    if (sim_profiles_open(&profiles, NULL, stderr) != 0)
        exit(SIM_EXIT_USAGE);
    const uint64_t before = w->cpu_us;
    for (; w->task < o->seeds * per_seed; w->task++) {
        if (w->task % o->jobs != index)
            continue;
        w->file = w->task % per_seed;
        w->seed = o->first + w->task / per_seed;
        run_task(o, w, &profiles);
        w->cpu_us = before + cpu_us();
    }
    sim_profiles_close(&profiles);
    fflush(stdout);
    _exit(0);
}

/* ---- the parent -------------------------------------------------------------------- */

static void begin_worker(const struct options *o, struct worker *w, uint64_t index)
{
    fflush(stdout);
    w->pid = fork();
    if (w->pid == 0)
        work(o, w, index);
    if (w->pid < 0) {
        fprintf(stderr, "snsim: no process: %s\n", strerror(errno));
        exit(1);
    }
}

/* Whether the worker has come to its end; else another goes on behind its task. */
static bool end_worker(const struct options *o, struct worker *w, uint64_t index, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFEXITED(status))
        exit(WEXITSTATUS(status));
    w->failures++;
    printf("died of %s\n", strsignal(WTERMSIG(status)));
    print_command(o, w);
    w->task++;
    begin_worker(o, w, index);
    return false;
}

static void wait_for_all(const struct options *o, struct worker *workers)
{
    for (uint64_t i = 0; i < o->jobs; i++) {
        int status = 0;
        do {
            while (waitpid(workers[i].pid, &status, 0) < 0 && errno == EINTR)
                continue;
        } while (!end_worker(o, &workers[i], i, status));
    }
}

int sim_soak_main(int argc, char **argv)
{
    static const struct argp argp = {
        known,
        parse,
        "[SCENARIO...]",
        "Runs scenarios, and others made up by chance, under many seeds, and checks what must "
        "hold in every run. A failure is told with the command that repeats it."
        "\vExit code: 0 all held, 1 something did not, 2 wrong usage or a wrong file.",
        NULL,
        NULL,
        NULL};
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct options o = {.seeds = 100,
                        .first = 1,
                        .cuts = 1,
                        .check_every = 500,
                        .jobs = processors < 1          ? 1
                                : processors > JOBS_MAX ? JOBS_MAX
                                                        : (uint64_t)processors};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    struct worker *workers = mmap(NULL, JOBS_MAX * sizeof(*workers), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (workers == MAP_FAILED) {
        fprintf(stderr, "snsim: no memory: %s\n", strerror(errno));
        return 1;
    }
    for (uint64_t i = 0; i < o.jobs; i++)
        begin_worker(&o, &workers[i], i);
    wait_for_all(&o, workers);
    struct worker sum = {0};
    for (uint64_t i = 0; i < o.jobs; i++) {
        sum.runs += workers[i].runs;
        sum.failures += workers[i].failures;
        sum.device_us += workers[i].device_us;
        sum.cpu_us += workers[i].cpu_us;
    }
    const double hours = (double)sum.device_us / 3.6e9;
    printf("%" PRIu64 " runs under %" PRIu64 " seeds, %" PRIu64 " of them failed; %.0f "
           "device-hours, %.0f per second of one core\n",
           sum.runs, o.seeds, sum.failures, hours,
           sum.cpu_us == 0 ? 0 : hours / ((double)sum.cpu_us / 1e6));
    return sum.failures == 0 ? 0 : 1;
}
