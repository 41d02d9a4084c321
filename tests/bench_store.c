/* What the store costs: messages a second and CPU time for each, by how many
 * share a commit.
 *
 *   bench_store [FOLDER [SECONDS]]
 *
 * The file lies in FOLDER (default: the current one), which should be on the
 * disk that is meant: a tmpfs has nothing to wait for. Each line stores 64-byte
 * messages for SECONDS (default 1), hands over one batch, waits until it is
 * durable, hands over the next. "mixed" also forgets each message one batch
 * later, as a bridge does that the broker keeps up with. "in time" forgets
 * within the batch, lazily: what QoS 1 costs while the broker answers faster
 * than lazy_ms. The last part fills the file with a million messages and says
 * how long a restart and a full delivery take. */
#include "bridge/store.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static char path[512];

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void remove_files(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    char name[600];
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static void ignore(void *ctx, const struct bridge_event *event)
{
    (void)ctx;
    (void)event;
}

static struct store *open_store(uint64_t *next, store_record_fn *fn)
{
    char why[512];
    struct store *s = NULL;
    const struct store_options o = {.path = path, .lazy_ms = 100};

    if (store_open(&o, &s, why, sizeof why) != STORE_OK) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
    *next = store_replay(s, fn, NULL);
    return s;
}

static struct bridge_event next_event(struct store *s)
{
    struct bridge_event event;
    struct pollfd p = {.fd = store_fd(s), .events = POLLIN};

    while (!store_next_event(s, &event))
        poll(&p, 1, 10000);
    return event;
}

static void wait_for(struct store *s, uint64_t ticket)
{
    struct bridge_event event;
    do {
        event = next_event(s);
        if (event.type != BRIDGE_ON_STORED) {
            fprintf(stderr, "the store refuses\n");
            exit(1);
        }
    } while (event.stored.ticket < ticket);
}

static void put_message(struct store *s, uint64_t seq, bool lazy)
{
    static const uint8_t payload[64] = {1, 2, 3};
    const struct bridge_action a = {
        .type = BRIDGE_DO_STORE,
        .lazy = lazy,
        .store.message = {.seq = seq,
                          .session = (uint32_t)(seq % 1000) + 1,
                          .received_ms = 1700000000000 + seq,
                          .qos = 1,
                          .mid = (uint16_t)seq,
                          .topic = sn_bytes_text("plant/1/temperature"),
                          .payload = sn_bytes(payload, sizeof payload)}};
    store_put(s, &a);
}

static void forget_message(struct store *s, uint64_t ticket, uint64_t seq, bool lazy)
{
    const struct bridge_action a = {
        .type = BRIDGE_DO_FORGET, .lazy = lazy, .row = {.ticket = ticket, .seq = seq}};
    store_put(s, &a);
}

enum kind { INSERT, MIXED, IN_TIME };

static void measure(enum kind kind, uint64_t batch, double duration)
{
    static const char *const names[] = {"insert", "mixed", "in time"};
    uint64_t next = 0;
    uint64_t count = 0;
    uint64_t oldest = 0;

    remove_files();
    struct store *s = open_store(&next, ignore);
    const double start = seconds();
    const double cpu = cpu_seconds();
    while (seconds() - start < duration) {
        const uint64_t first = next;
        for (uint64_t i = 0; i < batch; i++)
            put_message(s, next++, kind == IN_TIME);
        if (kind == MIXED && oldest != 0)
            for (uint64_t i = 0; i < batch; i++, next++)
                forget_message(s, next, oldest + i, false);
        if (kind == IN_TIME)
            for (uint64_t i = 0; i < batch; i++, next++)
                forget_message(s, next, first + i, true);
        oldest = first;
        store_flush(s);
        if (kind != IN_TIME)
            wait_for(s, next - 1);
        count += batch;
    }
    const double took = seconds() - start;
    const double used = cpu_seconds() - cpu;
    struct store_figures f;
    store_figures(s, &f);
    printf("%-8s %6" PRIu64 " %10.0f %10.2f %10.0f %8" PRIu64 " %8.1f\n", names[kind], batch,
           (double)count / took, used / (double)count * 1e6,
           f.commits > 0 ? took / (double)f.commits * 1e6 : 0.0, f.commits,
           (double)f.file_bytes / 1048576);
    fflush(stdout);
    store_close(s);
}

static uint64_t queued;

static void take_queue(void *ctx, const struct bridge_event *event)
{
    (void)ctx;
    if (event->type == BRIDGE_ON_QUEUE)
        queued += event->queue.count;
}

static void restart(void)
{
    uint64_t next = 0;

    remove_files();
    struct store *s = open_store(&next, ignore);
    for (int i = 0; i < 1000; i++) {
        for (int k = 0; k < 1000; k++)
            put_message(s, next++, false);
        store_flush(s);
        wait_for(s, next - 1);
    }
    store_close(s);

    double start = seconds();
    s = open_store(&next, take_queue);
    printf("\nrestart with %" PRIu64 " messages: %.0f ms", queued, (seconds() - start) * 1e3);

    start = seconds();
    uint64_t got = 0;
    for (uint64_t from = 0;;) {
        const struct bridge_action a = {.type = BRIDGE_DO_FETCH,
                                        .fetch = {.from = from, .count = 1000}};
        store_put(s, &a);
        store_flush(s);
        const struct bridge_event event = next_event(s);
        if (event.type != BRIDGE_ON_FETCHED)
            continue;
        got += event.fetched.count;
        if (event.fetched.end)
            break;
        from = event.fetched.messages[event.fetched.count - 1].seq + 1;
    }
    printf("; fetching them by thousands: %.0f ms\n", (seconds() - start) * 1e3);
    if (got != queued)
        printf("but only %" PRIu64 " came\n", got);
    store_close(s);
}

int main(int argc, char **argv)
{
    static const uint64_t batches[] = {1, 10, 100, 1000};
    const double duration = argc > 2 ? atof(argv[2]) : 1.0;

    snprintf(path, sizeof path, "%s/bench_store.%ld.db", argc > 1 ? argv[1] : ".", (long)getpid());
    printf("what      batch messages/s     us CPU  us/commit  commits      MiB\n");
    for (int kind = INSERT; kind <= IN_TIME; kind++)
        for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++)
            measure((enum kind)kind, batches[i], duration);
    restart();
    remove_files();
    return 0;
}
