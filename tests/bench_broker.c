/* Messages per second through broker_put, to a mosquitto on this machine.
 *
 *   bench_broker [messages]
 *
 * Keeps `window` messages undecided, hands over the next for each DELIVERED,
 * and prints the rate and the CPU time of this process per message: Paho's
 * threads, ours and the loop together. mosquitto shares the machine. */
#include "bridge/broker.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD 64

static double wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_broker: %s\n", what);
    exit(1);
}

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        fail("no port");
    close(fd);
    return ntohs(at.sin_port);
}

static pid_t start_mosquitto(const char *dir, uint16_t port)
{
    char path[96];
    snprintf(path, sizeof path, "%s/mosquitto.conf", dir);
    FILE *f = fopen(path, "w");
    if (f == NULL)
        fail("no configuration");
    fprintf(f,
            "listener %u 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
            "max_inflight_messages 1000\nlog_type error\n",
            port);
    fclose(f);
    const pid_t pid = fork();
    if (pid == 0) {
        execlp("mosquitto", "mosquitto", "-c", path, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static bool next(struct broker *b, struct bridge_event *e)
{
    struct pollfd p = {.fd = broker_fd(b), .events = POLLIN};
    while (!broker_next_event(b, e)) {
        broker_flush(b);
        if (poll(&p, 1, 5000) == 0)
            return false;
    }
    return true;
}

static void put(struct broker *b, uint64_t seq, uint8_t qos)
{
    static const uint8_t payload[PAYLOAD];
    struct bridge_action a = {.type = BRIDGE_DO_PUBLISH};
    a.publish.message = (struct bridge_message){
        .seq = seq,
        .qos = qos,
        .topic = sn_bytes_text("plant/1/temp"),
        .payload = sn_bytes(payload, sizeof payload),
    };
    broker_put(b, &a);
}

static void connect_to(struct broker *b)
{
    const struct bridge_action a = {.type = BRIDGE_DO_CONNECT};
    struct bridge_event e;
    for (;;) {
        broker_put(b, &a);
        broker_flush(b);
        if (!next(b, &e))
            fail("no connection");
        if (e.type == BRIDGE_ON_BROKER_UP)
            return;
        const struct timespec soon = {.tv_nsec = 50000000};
        nanosleep(&soon, NULL);
    }
}

static void row(const char *url, uint8_t qos, uint16_t window, unsigned messages)
{
    const struct broker_options o = {
        .url = url,
        .client_id = "bench",
        .keepalive_s = 60,
        .connect_timeout_s = 5,
        .max_inflight = window,
        .protocol = 5,
        .session_expiry_s = 60,
    };
    struct broker *b;
    char why[256];
    if (broker_open(&o, &b, why, sizeof why) != 0)
        fail(why);
    connect_to(b);
    const double start = wall();
    const double cpu_start = cpu();
    unsigned sent = 0;
    unsigned done = 0;
    while (sent < window)
        put(b, ++sent, qos);
    while (done < messages) {
        struct bridge_event e;
        if (!next(b, &e))
            fail("no progress");
        if (e.type != BRIDGE_ON_DELIVERED)
            continue;
        done++;
        if (sent < messages)
            put(b, ++sent, qos);
    }
    const double took = wall() - start;
    printf("QoS %u  window %4u  %8.0f messages/s  %5.1f us CPU each\n", qos, window,
           messages / took, (cpu() - cpu_start) * 1e6 / messages);
    fflush(stdout);
    broker_close(b, 1000);
}

int main(int argc, char **argv)
{
    const unsigned messages = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20000;
    char dir[] = "/tmp/bench_broker.XXXXXX";
    char url[64];
    char command[96];
    if (messages == 0 || mkdtemp(dir) == NULL)
        fail("usage: bench_broker [messages]");
    const uint16_t port = free_port();
    const pid_t mosquitto = start_mosquitto(dir, port);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    static const uint16_t windows[] = {1, 20, 50, 100};
    for (uint8_t qos = 0; qos <= 2; qos++)
        for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++)
            row(url, qos, windows[i], messages);
    kill(mosquitto, SIGTERM);
    waitpid(mosquitto, NULL, 0);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : 1;
}
