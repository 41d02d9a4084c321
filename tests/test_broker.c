/* The broker module against a real mosquitto on a port of its own.
 *
 * struct peer plays the core: it keeps every message until DELIVERED, keeps to
 * the window, hands everything undelivered over again after BROKER_UP, accepts
 * what arrives and counts it. Where a broker must misbehave in a way mosquitto
 * cannot, a thread of this file plays it. */
#include "bridge/broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Paho 1.3.12 loses what belongs to a message that is unfinished when its handle
 * is destroyed: all stacks lead from MQTTAsync_send. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libpaho-mqtt3as";
}

#define PATIENCE_MS  10000 /* for what should take milliseconds, on a busy machine */
#define MESSAGES_MAX 4096u
#define WINDOW       50u

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void pause_ms(unsigned ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* ---- mosquitto --------------------------------------------------------------------- */

struct world {
    char dir[64];
    char url[64];
    uint16_t port;
    pid_t mosquitto;
};

static int listen_local(uint16_t *port)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_return_code(bind(fd, (struct sockaddr *)&at, len), errno);
    assert_return_code(listen(fd, 16), errno);
    assert_return_code(getsockname(fd, (struct sockaddr *)&at, &len), errno);
    *port = ntohs(at.sin_port);
    return fd;
}

static int connect_local(uint16_t port)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

static uint16_t free_port(void)
{
    uint16_t port = 0;
    close(listen_local(&port));
    return port;
}

static pid_t spawn(const char *const argv[], const char *log)
{
    const pid_t pid = fork();
    assert_return_code(pid, errno);
    if (pid == 0) {
        const int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        char *copy[16] = {0};
        for (size_t i = 0; argv[i] != NULL && i < 15; i++)
            copy[i] = strdup(argv[i]);
        execvp(copy[0], copy);
        _exit(127);
    }
    return pid;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void start_mosquitto(struct world *w)
{
    char conf[96];
    char log[96];
    snprintf(conf, sizeof conf, "%s/mosquitto.conf", w->dir);
    snprintf(log, sizeof log, "%s/mosquitto.log", w->dir);
    const char *const argv[] = {"mosquitto", "-c", conf, NULL};
    w->mosquitto = spawn(argv, log);
    for (const int64_t until = clock_ms() + PATIENCE_MS; clock_ms() < until; pause_ms(5)) {
        const int fd = connect_local(w->port);
        if (fd >= 0) {
            close(fd);
            return;
        }
    }
    fail_msg("mosquitto does not listen on port %u", w->port);
}

static void stop_mosquitto(struct world *w, int signal)
{
    if (w->mosquitto <= 0)
        return;
    kill(w->mosquitto, signal);
    waitpid(w->mosquitto, NULL, 0);
    w->mosquitto = 0;
}

/* A folder with the configuration of a mosquitto; @ in the lines is the folder. */
static void make_world(struct world *w, const char *lines)
{
    char path[96];
    char own[1024];
    char text[2048];
    *w = (struct world){0};
    snprintf(w->dir, sizeof w->dir, "/tmp/test_broker.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->port = free_port();
    snprintf(w->url, sizeof w->url, "tcp://127.0.0.1:%u", w->port);
    size_t len = 0;
    for (const char *p = lines; *p != '\0' && len < sizeof own - 80; p++)
        len += (size_t)(*p == '@' ? snprintf(own + len, 80, "%s", w->dir)
                                  : snprintf(own + len, 80, "%c", *p));
    own[len] = '\0';
    snprintf(text, sizeof text,
             "per_listener_settings false\nset_tcp_nodelay true\nmax_queued_messages 100000\n"
             "user root\nlog_type all\nlistener %u 127.0.0.1\n%s",
             w->port, own);
    snprintf(path, sizeof path, "%s/mosquitto.conf", w->dir);
    write_file(path, text);
}

static void open_world(struct world *w, const char *lines)
{
    make_world(w, lines);
    start_mosquitto(w);
}

static void close_world(struct world *w)
{
    stop_mosquitto(w, SIGKILL);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    assert_int_equal(system(command), 0);
}

#define PLAIN   "allow_anonymous true\n"
#define DURABLE "allow_anonymous true\npersistence true\npersistence_location @/\n"

/* ---- the core's part ------------------------------------------------------------------ */

struct peer {
    struct broker *broker;
    bool reconnects;
    bool accepts;
    /* what is to be sent: seq 1 to total at the given QoS, or QoS seq % 3 */
    const char *topic;
    int qos; /* -1: all */
    unsigned total;
    unsigned handed; /* up to this seq, since the last BROKER_UP */
    bool delivered[MESSAGES_MAX];
    unsigned delivered_count;
    unsigned delivered_twice;
    uint8_t code; /* of the last DELIVERED */
    unsigned refused;
    unsigned window;
    bool up;
    unsigned ups;
    unsigned downs;
    bool session_present;
    int64_t connect_at_ms;
    char why[256];
    unsigned subscribed;
    uint8_t granted;
    /* what came: payloads are numbers */
    unsigned received;
    unsigned counts[MESSAGES_MAX];
    struct bridge_event last;
    uint64_t token;
};

static struct broker_options options(const char *url, const char *client_id)
{
    return (struct broker_options){
        .url = url,
        .client_id = client_id,
        .verify = true,
        .keepalive_s = 10,
        .connect_timeout_s = 5,
        .max_inflight = WINDOW,
        .protocol = 5,
        .session_expiry_s = 3600,
    };
}

static void put_connect(struct peer *p)
{
    const struct bridge_action a = {.type = BRIDGE_DO_CONNECT};
    broker_put(p->broker, &a);
    broker_flush(p->broker);
}

static void open_peer_with(struct peer *p, const struct broker_options *o)
{
    char why[256] = "";
    *p = (struct peer){.reconnects = true, .accepts = true, .qos = -1};
    if (broker_open(o, &p->broker, why, sizeof why) != 0)
        fail_msg("%s", why);
    put_connect(p);
}

static void open_peer(struct peer *p, const char *url, const char *client_id)
{
    const struct broker_options o = options(url, client_id);
    open_peer_with(p, &o);
}

static void put_subscribe(struct peer *p, const char *filter, uint8_t qos, bool wants_retained)
{
    const struct bridge_action a = {
        .type = BRIDGE_DO_SUBSCRIBE,
        .subscribe = {.request = 77,
                      .qos = qos,
                      .wants_retained = wants_retained,
                      .filter = sn_bytes_text(filter)},
    };
    broker_put(p->broker, &a);
    broker_flush(p->broker);
}

static void put_publish(struct peer *p, uint64_t seq, const char *topic, uint8_t qos, uint8_t flags,
                        const char *payload)
{
    struct bridge_action a = {.type = BRIDGE_DO_PUBLISH};
    a.publish.message = (struct bridge_message){
        .seq = seq,
        .qos = qos,
        .flags = flags,
        .topic = sn_bytes_text(topic),
        .payload = sn_bytes_text(payload),
    };
    broker_put(p->broker, &a);
}

/* Hands over what the window allows, in order. */
static void hand_over(struct peer *p)
{
    unsigned undecided = 0;
    for (unsigned seq = 1; seq <= p->handed; seq++)
        undecided += !p->delivered[seq];
    while (p->up && p->handed < p->total && undecided < p->window) {
        const unsigned seq = ++p->handed;
        if (p->delivered[seq])
            continue;
        char payload[16];
        snprintf(payload, sizeof payload, "%u", seq);
        put_publish(p, seq, p->topic, (uint8_t)(p->qos < 0 ? (int)(seq % 3) : p->qos), 0, payload);
        undecided++;
    }
    broker_flush(p->broker);
}

static void take_message(struct peer *p, const struct bridge_event *e)
{
    char number[16] = "";
    memcpy(number, e->message.payload.data,
           e->message.payload.len < 15 ? e->message.payload.len : 15);
    const unsigned n = (unsigned)strtoul(number, NULL, 10);
    if (n < MESSAGES_MAX)
        p->counts[n]++;
    p->received++;
    if (e->message.token == 0)
        return;
    p->token = e->message.token;
    if (!p->accepts)
        return;
    const struct bridge_action a = {.type = BRIDGE_DO_ACCEPT, .accept.token = e->message.token};
    broker_put(p->broker, &a);
}

static void take_delivered(struct peer *p, const struct bridge_event *e)
{
    assert_true(e->delivered.seq < MESSAGES_MAX);
    if (p->delivered[e->delivered.seq])
        p->delivered_twice++;
    else
        p->delivered_count++;
    p->delivered[e->delivered.seq] = true;
    p->code = e->delivered.code;
    p->refused += e->delivered.code >= 0x80;
}

static void take(struct peer *p, const struct bridge_event *e)
{
    p->last = *e;
    if (e->type == BRIDGE_ON_BROKER_UP) {
        p->up = true;
        p->ups++;
        p->window = e->up.window;
        p->session_present = e->up.session_present;
        p->handed = 0;
    } else if (e->type == BRIDGE_ON_BROKER_DOWN) {
        p->up = false;
        p->downs++;
        snprintf(p->why, sizeof p->why, "%s", e->down.why);
        p->connect_at_ms = clock_ms() + 20;
    } else if (e->type == BRIDGE_ON_DELIVERED) {
        take_delivered(p, e);
    } else if (e->type == BRIDGE_ON_SUBSCRIBED) {
        assert_int_equal(e->subscribed.request, 77);
        p->subscribed++;
        p->granted = e->subscribed.code;
    } else if (e->type == BRIDGE_ON_MESSAGE) {
        take_message(p, e);
    }
}

static void turn(struct peer *p)
{
    struct bridge_event e;
    while (broker_next_event(p->broker, &e))
        take(p, &e);
    if (p->reconnects && !p->up && p->connect_at_ms != 0 && clock_ms() >= p->connect_at_ms) {
        p->connect_at_ms = 0;
        put_connect(p);
    }
    if (p->up && p->total > 0)
        hand_over(p);
}

/* For the reader of a failure. */
static void print_peer(const struct peer *p)
{
    if (p == NULL)
        return;
    struct broker_figures f;
    broker_figures(p->broker, &f);
    print_message("up %d (%u times) down %u (%s) handed %u delivered %u of %u received %u; "
                  "published %u connects %u waiting %u ms; undelivered:",
                  p->up, p->ups, p->downs, p->why, p->handed, p->delivered_count, p->total,
                  p->received, (unsigned)f.published, (unsigned)f.connects, (unsigned)f.waiting_ms);
    for (unsigned seq = 1; seq <= p->handed; seq++)
        if (!p->delivered[seq])
            print_message(" %u", seq);
    print_message("; not received:");
    for (unsigned n = 1; n < p->received && n < MESSAGES_MAX; n++)
        if (p->counts[n] == 0 && n % 3 != 0)
            print_message(" %u", n);
    print_message("\n");
}

/* Runs both loops until the condition holds. */
#define RUN_UNTIL(a, b, condition)                                                                 \
    do {                                                                                           \
        const int64_t until_ = clock_ms() + PATIENCE_MS;                                           \
        run_once(a, b, 0);                                                                         \
        while (!(condition) && clock_ms() < until_)                                                \
            run_once(a, b, 5);                                                                     \
        if (!(condition)) {                                                                        \
            print_peer(a);                                                                         \
            print_peer(b);                                                                         \
            fail_msg("still not so: %s", #condition);                                              \
        }                                                                                          \
    } while (0)

static void run_once(struct peer *a, struct peer *b, int wait_ms)
{
    struct pollfd fds[2] = {{.fd = broker_fd(a->broker), .events = POLLIN},
                            {.fd = b != NULL ? broker_fd(b->broker) : -1, .events = POLLIN}};
    poll(fds, 2, wait_ms);
    turn(a);
    if (b != NULL)
        turn(b);
}

static unsigned count_of(const struct peer *p, unsigned from, unsigned to, unsigned step,
                         unsigned at_least)
{
    unsigned n = 0;
    for (unsigned i = from; i <= to; i += step)
        n += p->counts[i] >= at_least;
    return n;
}

static void wait_for_line(const char *path, const char *line)
{
    for (const int64_t until = clock_ms() + PATIENCE_MS; clock_ms() < until; pause_ms(5)) {
        char text[4096] = "";
        FILE *f = fopen(path, "r");
        if (f != NULL) {
            const size_t n = fread(text, 1, sizeof text - 1, f);
            text[n] = '\0';
            fclose(f);
        }
        if (strstr(text, line) != NULL)
            return;
    }
    fail_msg("%s does not say \"%s\"", path, line);
}

/* ---- tests ------------------------------------------------------------------------------ */

static void messages_of_every_qos_arrive_once_and_are_reported_once(void **state)
{
    static struct peer from;
    static struct peer to;
    struct world w;
    (void)state;
    open_world(&w, PLAIN);
    open_peer(&to, w.url, "to");
    open_peer(&from, w.url, "from");
    RUN_UNTIL(&from, &to, from.up && to.up);
    put_subscribe(&to, "plant/#", 2, true);
    RUN_UNTIL(&from, &to, to.subscribed == 1);
    assert_int_equal(to.granted, 2);
    assert_int_equal(from.window, 19); /* mosquitto's receive maximum is 20 */

    from.topic = "plant/1/temp";
    from.total = 1500;
    RUN_UNTIL(&from, &to, from.delivered_count == 1500 && to.received >= 1500);
    assert_int_equal(from.delivered_twice, 0);
    for (unsigned i = 1; i <= 1500; i++)
        assert_int_equal(to.counts[i], 1);
    assert_memory_equal(to.last.message.topic.data, "plant/1/temp", 12);

    struct broker_figures figures;
    broker_figures(from.broker, &figures);
    assert_int_equal(figures.published, 1500);
    assert_int_equal(figures.protocol, 5);
    broker_close(from.broker, 1000);
    broker_close(to.broker, 1000);
    close_world(&w);
}

static void retained_messages_come_only_when_wanted(void **state)
{
    static struct peer p;
    struct world w;
    (void)state;
    open_world(&w, PLAIN);
    open_peer(&p, w.url, "p");
    RUN_UNTIL(&p, NULL, p.up);
    put_publish(&p, 1, "kept", 1, BRIDGE_FLAG_RETAIN, "1");
    broker_flush(p.broker);
    RUN_UNTIL(&p, NULL, p.delivered_count == 1);

    put_subscribe(&p, "kept", 1, false);
    put_publish(&p, 2, "kept", 1, 0, "2");
    broker_flush(p.broker);
    RUN_UNTIL(&p, NULL, p.counts[2] == 1);
    assert_int_equal(p.counts[1], 0);
    assert_false(p.last.message.retain);

    put_subscribe(&p, "kept", 1, true);
    RUN_UNTIL(&p, NULL, p.counts[1] == 1);
    broker_close(p.broker, 1000);
    close_world(&w);
}

/* MQTT 5, 3.2.2.3.14: by the first connection, before anything is said of it. */
static void the_keep_alive_of_the_broker_is_obeyed(void **state)
{
    static struct peer first;
    struct world w;
    char log[96];
    (void)state;
    open_world(&w, PLAIN "max_keepalive 10\n");
    snprintf(log, sizeof log, "%s/mosquitto.log", w.dir);
    struct broker_options o = options(w.url, "first");
    o.keepalive_s = 30;
    open_peer_with(&first, &o);
    RUN_UNTIL(&first, NULL, first.up);
    wait_for_line(log, "as first (p5, c0, k30)");
    wait_for_line(log, "as first (p5, c0, k10)");
    struct broker_figures figures;
    broker_figures(first.broker, &figures);
    assert_int_equal(figures.connects, 2);
    assert_int_equal(first.ups, 1);
    assert_int_equal(first.downs, 0);

    /* And by all that come later, at once. */
    const struct bridge_action a = {.type = BRIDGE_DO_CONNECT,
                                    .connect = {.conn = 7, .client_id = sn_bytes_text("seven")}};
    broker_put(first.broker, &a);
    broker_flush(first.broker);
    RUN_UNTIL(&first, NULL, first.ups == 2);
    wait_for_line(log, "as seven (p5, c0, k10)");
    broker_figures(first.broker, &figures);
    assert_int_equal(figures.connects, 3);
    broker_close(first.broker, 1000);
    close_world(&w);
}

static void a_refused_message_is_reported_with_its_code(void **state)
{
    static struct peer p;
    struct world w;
    char path[96];
    (void)state;
    make_world(&w, "allow_anonymous true\nacl_file @/acl\nretain_available false\n");
    snprintf(path, sizeof path, "%s/acl", w.dir);
    write_file(path, "topic readwrite good/#\n");
    start_mosquitto(&w);
    open_peer(&p, w.url, "p");
    RUN_UNTIL(&p, NULL, p.up);
    static const struct {
        const char *topic;
        uint8_t qos;
        uint8_t flags;
        uint8_t code;
    } cases[] = {
        {"bad/1", 1, 0, 0x87},        {"good/1", 2, 0, 0}, {"a/+", 1, 0, 0x90},
        {"not\xff text", 1, 0, 0x90}, {"", 1, 0, 0x90},    {"good/1", 1, BRIDGE_FLAG_RETAIN, 0x9A},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* This mosquitto hangs up after having refused a message of MQTT 5. */
        while (!p.delivered[i + 1]) {
            RUN_UNTIL(&p, NULL, p.up);
            put_publish(&p, i + 1, cases[i].topic, cases[i].qos, cases[i].flags, "0");
            broker_flush(p.broker);
            RUN_UNTIL(&p, NULL, p.delivered[i + 1] || !p.up);
        }
        assert_int_equal(p.code, cases[i].code);
    }
    broker_close(p.broker, 1000);
    close_world(&w);
}

/* Sends a packet and reads what comes within a moment. */
static size_t ask(int fd, const uint8_t *packet, size_t len, uint8_t *answer, size_t size)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(send(fd, packet, len, MSG_NOSIGNAL), len);
    if (poll(&p, 1, PATIENCE_MS) <= 0)
        return 0;
    const ssize_t n = recv(fd, answer, size, 0);
    return n > 0 ? (size_t)n : 0;
}

/* Leaves QoS 2 messages half done in the session "p": a process killed between
 * PUBREC and PUBREL. */
static void leave_half_done(const struct world *w, unsigned count)
{
    static const uint8_t connect[] = {0x10, 19, 0,  4, 'M', 'Q', 'T', 'T', 5, 0,  0,
                                      60,   5,  17, 0, 0,   14,  16,  0,   1, 'p'};
    uint8_t answer[256];
    const int fd = connect_local(w->port);
    assert_true(fd >= 0);
    assert_true(ask(fd, connect, sizeof connect, answer, sizeof answer) > 4);
    assert_int_equal(answer[0], 0x20);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t publish[] = {0x34, 7, 0, 1, 'x', 0x70, (uint8_t)i, 0, '0'};
        assert_int_equal(ask(fd, publish, sizeof publish, answer, sizeof answer), 4);
        assert_int_equal(answer[0], 0x50);
    }
    close(fd);
}

/* mosquitto counts what is half done against the receive maximum of 20. */
static void a_message_the_broker_has_no_room_for_is_not_lost(void **state)
{
    static const unsigned half_done[] = {5, 19};
    (void)state;
    for (size_t i = 0; i < sizeof half_done / sizeof half_done[0]; i++) {
        for (int qos = 1; qos <= 2; qos++) {
            static struct peer p;
            static struct peer to;
            struct world w;
            open_world(&w, PLAIN);
            open_peer(&to, w.url, "to");
            RUN_UNTIL(&to, NULL, to.up);
            put_subscribe(&to, "y", 2, true);
            RUN_UNTIL(&to, NULL, to.subscribed == 1);
            leave_half_done(&w, half_done[i]);

            open_peer(&p, w.url, "p");
            RUN_UNTIL(&p, &to, p.up);
            assert_true(p.session_present);
            p.topic = "y";
            p.qos = qos;
            p.total = 100;
            RUN_UNTIL(&p, &to, p.delivered_count == 100 && to.received >= 100);
            assert_int_equal(p.delivered_twice, 0);
            assert_int_equal(p.refused, 0);
            assert_true(qos == 1 || p.downs >= 1); /* it was met */
            for (unsigned n = 1; n <= 100; n++)
                assert_true(qos == 1 ? to.counts[n] >= 1 : to.counts[n] == 1);
            broker_close(p.broker, 1000);
            broker_close(to.broker, 1000);
            close_world(&w);
        }
    }
}

static void an_unreachable_broker_is_reported_with_a_reason(void **state)
{
    static struct peer p;
    char url[64];
    (void)state;
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", free_port());
    open_peer(&p, url, "p");
    p.reconnects = false;
    RUN_UNTIL(&p, NULL, p.downs == 1);
    assert_non_null(strstr(p.why, "Connection refused"));
    assert_non_null(strstr(p.why, url));
    broker_close(p.broker, 1000);
}

static void a_wrong_password_is_reported_as_such(void **state)
{
    static struct peer p;
    struct world w;
    char path[96];
    char log[96];
    (void)state;
    make_world(&w, "allow_anonymous false\npassword_file @/passwords\n");
    snprintf(path, sizeof path, "%s/passwords", w.dir);
    snprintf(log, sizeof log, "%s/log", w.dir);
    const char *const argv[] = {"mosquitto_passwd", "-b", "-c", path, "me", "right", NULL};
    waitpid(spawn(argv, log), NULL, 0);
    start_mosquitto(&w);
    struct broker_options o = options(w.url, "p");
    o.username = "me";
    o.password = "wrong";
    open_peer_with(&p, &o);
    p.reconnects = false;
    RUN_UNTIL(&p, NULL, p.downs == 1);
    assert_non_null(strstr(p.why, "Not authorized"));
    broker_close(p.broker, 1000);
    o.password = "right";
    open_peer_with(&p, &o);
    RUN_UNTIL(&p, NULL, p.up);
    broker_close(p.broker, 1000);
    close_world(&w);
}

/* ---- brokers of our own -------------------------------------------------------------------- */

enum refusal {
    REFUSE_AS_5,     /* CONNACK of MQTT 5 with 0x84 */
    REFUSE_AS_3_1_1, /* CONNACK of MQTT 3.1.1 with 1 */
    REFUSE_SILENTLY, /* hangs up */
};

struct old_broker {
    int listener;
    uint16_t port;
    enum refusal refusal;
    pthread_t thread;
    atomic_int last_version;
};

/* Speaks 3.1.1 as far as CONNACK. */
static void *run_old_broker(void *ctx)
{
    struct old_broker *o = ctx;
    int accepted = -1;
    for (;;) {
        const int fd = accept(o->listener, NULL, NULL);
        if (fd < 0)
            break;
        uint8_t connect[256] = {0};
        if (recv(fd, connect, sizeof connect, 0) < 10) {
            close(fd);
            continue;
        }
        o->last_version = connect[8];
        if (connect[8] == 4) {
            send(fd, "\x20\x02\x00\x00", 4, MSG_NOSIGNAL);
            accepted = fd;
            continue;
        }
        if (o->refusal == REFUSE_AS_5)
            send(fd, "\x20\x03\x00\x84\x00", 5, MSG_NOSIGNAL);
        else if (o->refusal == REFUSE_AS_3_1_1)
            send(fd, "\x20\x02\x00\x01", 4, MSG_NOSIGNAL);
        close(fd);
    }
    if (accepted >= 0)
        close(accepted);
    return NULL;
}

static void falls_back(enum refusal refusal)
{
    static struct peer p;
    struct old_broker o = {.refusal = refusal};
    char url[64];
    o.listener = listen_local(&o.port);
    assert_int_equal(pthread_create(&o.thread, NULL, run_old_broker, &o), 0);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", o.port);
    open_peer(&p, url, "p");
    RUN_UNTIL(&p, NULL, p.up);
    /* The hang-up can overtake the refusal; then one more attempt is needed. */
    assert_true(p.downs <= 1);
    assert_int_equal(o.last_version, 4);
    assert_int_equal(p.window, 20);
    struct broker_figures figures;
    broker_figures(p.broker, &figures);
    assert_int_equal(figures.protocol, 4);
    assert_in_range(figures.connects, 2, 3);
    broker_close(p.broker, 100);
    shutdown(o.listener, SHUT_RDWR);
    pthread_join(o.thread, NULL);
    close(o.listener);
}

static void a_broker_that_refuses_mqtt_5_gets_3_1_1(void **state)
{
    (void)state;
    falls_back(REFUSE_AS_5);
    falls_back(REFUSE_AS_3_1_1);
    falls_back(REFUSE_SILENTLY);
}

/* Carries octets between our client and mosquitto, and can drop the line. */
struct line {
    int listener;
    uint16_t port;
    uint16_t to;
    pthread_t thread;
    atomic_bool quit;
    atomic_uint cut_after; /* octets towards the client until the line drops; 0: never */
    atomic_uint cuts;
};

static void *run_line(void *ctx)
{
    struct line *l = ctx;
    int near = -1;
    int far = -1;
    while (!l->quit) {
        struct pollfd fds[] = {{.fd = near < 0 ? l->listener : -1, .events = POLLIN},
                               {.fd = near, .events = POLLIN},
                               {.fd = far, .events = POLLIN}};
        if (poll(fds, 3, 20) <= 0)
            continue;
        if (fds[0].revents != 0) {
            near = accept(l->listener, NULL, NULL);
            far = connect_local(l->to);
            const int on = 1;
            setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            continue;
        }
        uint8_t some[512];
        bool drop = far < 0;
        for (int i = 1; i <= 2 && !drop; i++) {
            if (fds[i].revents == 0)
                continue;
            ssize_t n = recv(fds[i].fd, some, sizeof some, 0);
            drop = n <= 0;
            if (!drop && i == 2 && l->cut_after > 0) {
                drop = (unsigned)n >= l->cut_after;
                n = drop ? (ssize_t)l->cut_after : n;
                l->cut_after -= (unsigned)n;
                l->cuts += drop;
            }
            if (n > 0 && send(i == 1 ? far : near, some, (size_t)n, MSG_NOSIGNAL) < 0)
                drop = true;
        }
        if (drop) {
            close(near);
            close(far);
            near = far = -1;
        }
    }
    close(near);
    close(far);
    return NULL;
}

static void open_line(struct line *l, const struct world *w, char *url, size_t url_size)
{
    *l = (struct line){.to = w->port};
    l->listener = listen_local(&l->port);
    snprintf(url, url_size, "tcp://127.0.0.1:%u", l->port);
    assert_int_equal(pthread_create(&l->thread, NULL, run_line, l), 0);
}

static void close_line(struct line *l)
{
    l->quit = true;
    pthread_join(l->thread, NULL);
    close(l->listener);
}

/* ---- losing the connection -------------------------------------------------------------------- */

/* The line drops again and again, in the middle of packets too; the broker keeps
 * the session. Whatever was in flight is decided in the end. */
static void lossy(uint8_t protocol)
{
    static struct peer from;
    static struct peer to;
    struct world w;
    struct line line;
    char url[64];
    open_world(&w, PLAIN);
    open_line(&line, &w, url, sizeof url);
    open_peer(&to, w.url, "to");
    struct broker_options o = options(url, "from");
    o.protocol = protocol;
    open_peer_with(&from, &o);
    RUN_UNTIL(&from, &to, from.up && to.up);
    put_subscribe(&to, "x", 2, true);
    RUN_UNTIL(&from, &to, to.subscribed == 1);

    const unsigned total = 1800;
    from.topic = "x";
    from.total = total;
    srand(1);
    for (unsigned cut = 1; cut <= 20; cut++) {
        RUN_UNTIL(&from, &to, from.up);
        line.cut_after = 1 + (unsigned)rand() % 300;
        RUN_UNTIL(&from, &to, line.cuts == cut || from.delivered_count == total);
        RUN_UNTIL(&from, &to, !from.up || from.delivered_count == total || from.downs >= cut);
    }
    line.cut_after = 0;
    RUN_UNTIL(&from, &to, from.delivered_count == total);
    RUN_UNTIL(&from, &to,
              count_of(&to, 1, total, 3, 1) == total / 3 &&
                  count_of(&to, 2, total, 3, 1) == total / 3);
    run_once(&from, &to, 100);
    assert_true(line.cuts >= 15);
    assert_true(from.session_present);
    assert_int_equal(from.delivered_twice, 0);
    for (unsigned seq = 2; seq <= total; seq += 3)
        assert_int_equal(to.counts[seq], 1);
    broker_close(from.broker, 1000);
    broker_close(to.broker, 1000);
    close_line(&line);
    close_world(&w);
}

static void qos_2_is_exactly_once_while_the_line_drops(void **state)
{
    (void)state;
    lossy(5);
}

static void qos_2_is_exactly_once_while_the_line_drops_with_3_1_1(void **state)
{
    (void)state;
    lossy(4);
}

static void a_broker_restarted_with_its_sessions_has_everything_once(void **state)
{
    static struct peer from;
    static struct peer to;
    struct world w;
    (void)state;
    open_world(&w, DURABLE);
    open_peer(&to, w.url, "to");
    open_peer(&from, w.url, "from");
    RUN_UNTIL(&from, &to, from.up && to.up);
    put_subscribe(&to, "x", 2, true);
    RUN_UNTIL(&from, &to, to.subscribed == 1);
    from.topic = "x";
    from.qos = 2;
    from.total = 2000;
    for (unsigned i = 1; i <= 3; i++) {
        RUN_UNTIL(&from, &to, from.delivered_count >= 300 * i);
        stop_mosquitto(&w, SIGTERM);
        RUN_UNTIL(&from, &to, from.downs >= i && to.downs >= i);
        start_mosquitto(&w);
        RUN_UNTIL(&from, &to, from.up && to.up);
        assert_true(from.session_present);
    }
    RUN_UNTIL(&from, &to, from.delivered_count == 2000 && to.received >= 2000);
    run_once(&from, &to, 100);
    for (unsigned seq = 1; seq <= 2000; seq++)
        assert_int_equal(to.counts[seq], 1);
    broker_close(from.broker, 1000);
    broker_close(to.broker, 1000);
    close_world(&w);
}

static void a_killed_broker_without_memory_gets_everything_again(void **state)
{
    static struct peer from;
    struct world w;
    (void)state;
    open_world(&w, PLAIN);
    open_peer(&from, w.url, "from");
    RUN_UNTIL(&from, NULL, from.up);
    from.topic = "x";
    from.total = 3000;
    for (unsigned i = 1; i <= 3; i++) {
        RUN_UNTIL(&from, NULL, from.delivered_count >= 300 * i);
        stop_mosquitto(&w, SIGKILL);
        RUN_UNTIL(&from, NULL, from.downs >= i);
        start_mosquitto(&w);
        RUN_UNTIL(&from, NULL, from.up);
        assert_false(from.session_present);
    }
    RUN_UNTIL(&from, NULL, from.delivered_count == 3000);
    assert_int_equal(from.delivered_twice, 0);
    broker_close(from.broker, 1000);
    close_world(&w);
}

/* ---- acknowledging --------------------------------------------------------------------------- */

/* Run as another process: subscribes, receives one message, does not accept it,
 * says so and waits to be killed. */
static int receive_and_hang(const char *url)
{
    static struct peer p;
    open_peer(&p, url, "keeper");
    p.accepts = false;
    RUN_UNTIL(&p, NULL, p.up);
    put_subscribe(&p, "x", 2, true);
    RUN_UNTIL(&p, NULL, p.subscribed == 1);
    puts("subscribed");
    fflush(stdout);
    RUN_UNTIL(&p, NULL, p.received == 1);
    puts("received");
    fflush(stdout);
    for (;;)
        pause();
    return 0;
}

static void a_process_killed_before_accept_gets_the_message_again(void **state)
{
    static struct peer from;
    static struct peer keeper;
    (void)state;
    for (uint8_t qos = 1; qos <= 2; qos++) {
        struct world w;
        char log[96];
        open_world(&w, PLAIN);
        snprintf(log, sizeof log, "%s/child.log", w.dir);
        const char *const argv[] = {"/proc/self/exe", "receive_and_hang", w.url, NULL};
        const pid_t child = spawn(argv, log);
        wait_for_line(log, "subscribed");
        open_peer(&from, w.url, "from");
        from.topic = "x";
        from.qos = qos;
        from.total = 1;
        RUN_UNTIL(&from, NULL, from.delivered_count == 1);
        wait_for_line(log, "received");
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);

        open_peer(&keeper, w.url, "keeper");
        RUN_UNTIL(&from, &keeper, keeper.received == 1);
        assert_true(keeper.session_present);
        assert_int_equal(keeper.counts[1], 1);
        broker_close(keeper.broker, 1000);

        /* Accepted, it does not come a third time. */
        open_peer(&keeper, w.url, "keeper");
        RUN_UNTIL(&from, &keeper, keeper.up);
        run_once(&from, &keeper, 50);
        assert_int_equal(keeper.received, 0);
        broker_close(keeper.broker, 1000);
        broker_close(from.broker, 1000);
        close_world(&w);
    }
}

static void a_message_not_accepted_when_closing_is_not_acknowledged(void **state)
{
    static struct peer p;
    (void)state;
    for (uint8_t qos = 1; qos <= 2; qos++) {
        struct world w;
        open_world(&w, PLAIN);
        open_peer(&p, w.url, "p");
        p.accepts = false;
        RUN_UNTIL(&p, NULL, p.up);
        put_subscribe(&p, "x", 2, true);
        put_publish(&p, 1, "x", qos, 0, "1");
        broker_flush(p.broker);
        RUN_UNTIL(&p, NULL, p.received == 1);
        const int64_t before = clock_ms();
        broker_close(p.broker, 500);
        assert_true(clock_ms() - before < 2000);

        open_peer(&p, w.url, "p");
        RUN_UNTIL(&p, NULL, p.counts[1] == 1);
        broker_close(p.broker, 1000);
        close_world(&w);
    }
}

/* ---- time ---------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Without the wake client one in ten waits up to 100 ms, because Paho sleeps
 * blindly after a second of silence; here silences are of all lengths. */
static void a_lone_acknowledgement_comes_soon(void **state)
{
    static struct peer p;
    struct world w;
    double took_ms[24];
    const unsigned n = sizeof took_ms / sizeof took_ms[0];
    (void)state;
    open_world(&w, PLAIN);
    open_peer(&p, w.url, "p");
    RUN_UNTIL(&p, NULL, p.up);
    for (unsigned i = 0; i < n; i++) {
        pause_ms(20 + i * 7);
        struct timespec a;
        struct timespec b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        put_publish(&p, i + 1, "x", 1, 0, "0");
        broker_flush(p.broker);
        RUN_UNTIL(&p, NULL, p.delivered[i + 1]);
        clock_gettime(CLOCK_MONOTONIC, &b);
        took_ms[i] = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    }
    qsort(took_ms, n, sizeof took_ms[0], compare);
    print_message("lone QoS 1: median %.2f ms, worst %.2f ms\n", took_ms[n / 2], took_ms[n - 1]);
    assert_true(took_ms[n / 2] < 20);
    broker_close(p.broker, 1000);
    close_world(&w);
}

static void connecting_takes_milliseconds(void **state)
{
    static struct peer p;
    struct world w;
    (void)state;
    open_world(&w, PLAIN);
    open_peer(&p, w.url, "p");
    RUN_UNTIL(&p, NULL, p.up);
    int64_t best = INT64_MAX;
    for (unsigned i = 1; i <= 3; i++) {
        const struct bridge_action a = {.type = BRIDGE_DO_DISCONNECT};
        broker_put(p.broker, &a);
        broker_flush(p.broker);
        p.up = false;
        const int64_t before = clock_ms();
        put_connect(&p);
        RUN_UNTIL(&p, NULL, p.up);
        const int64_t took = clock_ms() - before;
        best = took < best ? took : best;
    }
    print_message("connecting again: %d ms\n", (int)best);
    assert_true(best < 200);
    assert_int_equal(p.downs, 0); /* DISCONNECT is not reported */
    broker_close(p.broker, 1000);
    close_world(&w);
}

static void closing_while_busy_is_quick(void **state)
{
    static struct peer p;
    struct world w;
    (void)state;
    open_world(&w, PLAIN);
    open_peer(&p, w.url, "p");
    RUN_UNTIL(&p, NULL, p.up);
    put_subscribe(&p, "x", 2, true);
    p.topic = "x";
    p.total = MESSAGES_MAX - 1;
    RUN_UNTIL(&p, NULL, p.delivered_count > 300);
    const int64_t before = clock_ms();
    broker_close(p.broker, 1000);
    assert_true(clock_ms() - before < 2000);
    close_world(&w);
}

static void closing_lets_the_published_go_out(void **state)
{
    static struct peer p;
    static struct peer to;
    struct world w;
    (void)state;
    open_world(&w, PLAIN);
    open_peer(&to, w.url, "to");
    open_peer(&p, w.url, "p");
    RUN_UNTIL(&p, &to, p.up && to.up);
    /* QoS 0: an accept that is waited for would hold up all of Paho in this process. */
    put_subscribe(&to, "x", 0, true);
    RUN_UNTIL(&p, &to, to.subscribed == 1);
    p.topic = "x";
    p.total = 18;
    turn(&p);
    broker_close(p.broker, 5000);
    RUN_UNTIL(&to, NULL, to.received >= 18);
    broker_close(to.broker, 1000);
    close_world(&w);
}

static void messages_nobody_reads_are_dropped_and_counted_at_qos_0_only(void **state)
{
    static struct peer p;
    struct world w;
    (void)state;
    open_world(&w, PLAIN);
    open_peer(&p, w.url, "p");
    RUN_UNTIL(&p, NULL, p.up);
    put_subscribe(&p, "x", 0, true);
    RUN_UNTIL(&p, NULL, p.subscribed == 1);
    /* 65536 are the limit; nobody takes events meanwhile. mosquitto too may drop some. */
    struct broker_figures figures = {0};
    unsigned n = 0;
    for (const int64_t until = clock_ms() + PATIENCE_MS; figures.dropped == 0 && clock_ms() < until;
         broker_figures(p.broker, &figures)) {
        for (unsigned i = 0; i < 500 && n < figures.published + 2000; i++, n++)
            put_publish(&p, 10 + n % 4000, "x", 0, 0, "0");
        broker_flush(p.broker);
        pause_ms(1);
    }
    assert_in_range(figures.dropped, 1, n - 60000);
    RUN_UNTIL(&p, NULL,
              (broker_figures(p.broker, &figures), figures.published == n) &&
                  p.received == figures.received - figures.dropped);
    /* Read, there is room again. */
    RUN_UNTIL(&p, NULL,
              (put_publish(&p, 1, "x", 0, 0, "1"), broker_flush(p.broker), p.counts[1] > 0));
    broker_close(p.broker, 1000);
    close_world(&w);
}

static void every_connection_has_its_own_client_id_and_will(void **state)
{
    static struct peer p;
    static struct peer watcher;
    struct world w;
    (void)state;
    open_world(&w, PLAIN);
    open_peer(&watcher, w.url, "watcher");
    open_peer(&p, w.url, "p");
    RUN_UNTIL(&p, &watcher, p.up && watcher.up);
    put_subscribe(&watcher, "#", 1, true);
    RUN_UNTIL(&p, &watcher, watcher.subscribed == 1);
    struct bridge_action a = {.type = BRIDGE_DO_CONNECT};
    for (uint32_t conn = 5; conn < 5 + 512; conn += 256) {
        char id[16];
        char will[16];
        snprintf(id, sizeof id, "sensor%u", conn);
        snprintf(will, sizeof will, "%u", conn);
        a.connect.conn = conn;
        a.connect.client_id = sn_bytes_text(id);
        a.connect.will_topic = sn_bytes_text("gone");
        a.connect.will_message = sn_bytes_text(will);
        a.connect.will_qos = 1;
        broker_put(p.broker, &a);
    }
    broker_flush(p.broker);
    RUN_UNTIL(&p, &watcher, p.ups == 3);
    a = (struct bridge_action){.type = BRIDGE_DO_PUBLISH};
    a.publish.conn = 5;
    a.publish.message = (struct bridge_message){
        .seq = 9, .qos = 2, .topic = sn_bytes_text("x"), .payload = sn_bytes_text("9")};
    broker_put(p.broker, &a);
    broker_flush(p.broker);
    RUN_UNTIL(&p, &watcher, p.delivered[9] && watcher.counts[9] == 1);
    assert_int_equal(p.last.delivered.conn, 5);

    /* DISCONNECT of one: its will is not published, the other stays. */
    a = (struct bridge_action){.type = BRIDGE_DO_DISCONNECT, .disconnect.conn = 5};
    broker_put(p.broker, &a);
    a = (struct bridge_action){.type = BRIDGE_DO_PUBLISH};
    a.publish.conn = 261;
    a.publish.message = (struct bridge_message){
        .seq = 10, .qos = 1, .topic = sn_bytes_text("x"), .payload = sn_bytes_text("10")};
    broker_put(p.broker, &a);
    broker_flush(p.broker);
    RUN_UNTIL(&p, &watcher, p.delivered[10] && watcher.counts[10] == 1);
    assert_int_equal(watcher.counts[5], 0);
    broker_close(p.broker, 1000);
    broker_close(watcher.broker, 1000);
    close_world(&w);
}

/* ---- TLS -------------------------------------------------------------------------------------------- */

static void make_certificates(const struct world *w)
{
    char script[2048];
    snprintf(script, sizeof script,
             "cd '%s' && exec >openssl.log 2>&1 && "
             "k='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes' && "
             "openssl req -x509 $k -keyout ca.key -out ca.crt -subj /CN=ca -days 2 && "
             "openssl req -x509 $k -keyout other.key -out other.crt -subj /CN=other -days 2 && "
             "openssl req $k -keyout server.key -out server.csr -subj /CN=server && "
             "printf 'subjectAltName=IP:127.0.0.1' > san && "
             "openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial "
             "-out server.crt -days 2 -extfile san && "
             "openssl req $k -keyout client.key -out client.csr -subj /CN=bridge && "
             "openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial "
             "-out client.crt -days 2",
             w->dir);
    assert_int_equal(system(script), 0);
}

static void tls_checks_the_server_and_shows_a_certificate(void **state)
{
    static struct peer p;
    struct world w;
    char url[64];
    char ca[96];
    char other[96];
    char cert[96];
    char key[96];
    (void)state;
    make_world(&w, "allow_anonymous true\ncafile @/ca.crt\ncertfile @/server.crt\n"
                   "keyfile @/server.key\nrequire_certificate true\n");
    make_certificates(&w);
    start_mosquitto(&w);
    snprintf(url, sizeof url, "ssl://127.0.0.1:%u", w.port);
    snprintf(ca, sizeof ca, "%s/ca.crt", w.dir);
    snprintf(other, sizeof other, "%s/other.crt", w.dir);
    snprintf(cert, sizeof cert, "%s/client.crt", w.dir);
    snprintf(key, sizeof key, "%s/client.key", w.dir);

    struct broker_options o = options(url, "p");
    o.ca_file = other;
    o.cert_file = cert;
    o.key_file = key;
    open_peer_with(&p, &o);
    p.reconnects = false;
    RUN_UNTIL(&p, NULL, p.downs == 1);
    print_message("%s\n", p.why);
    assert_non_null(strstr(p.why, "signed by \"ca\""));
    broker_close(p.broker, 1000);

    o.ca_file = ca;
    open_peer_with(&p, &o);
    RUN_UNTIL(&p, NULL, p.up);
    put_subscribe(&p, "x", 2, true);
    p.topic = "x";
    p.total = 100;
    RUN_UNTIL(&p, NULL, p.delivered_count == 100 && p.received >= 100);
    broker_close(p.broker, 1000);
    close_world(&w);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "receive_and_hang") == 0)
        return receive_and_hang(argv[2]);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_every_qos_arrive_once_and_are_reported_once),
        cmocka_unit_test(retained_messages_come_only_when_wanted),
        cmocka_unit_test(the_keep_alive_of_the_broker_is_obeyed),
        cmocka_unit_test(a_refused_message_is_reported_with_its_code),
        cmocka_unit_test(a_message_the_broker_has_no_room_for_is_not_lost),
        cmocka_unit_test(an_unreachable_broker_is_reported_with_a_reason),
        cmocka_unit_test(a_wrong_password_is_reported_as_such),
        cmocka_unit_test(a_broker_that_refuses_mqtt_5_gets_3_1_1),
        cmocka_unit_test(qos_2_is_exactly_once_while_the_line_drops),
        cmocka_unit_test(qos_2_is_exactly_once_while_the_line_drops_with_3_1_1),
        cmocka_unit_test(a_broker_restarted_with_its_sessions_has_everything_once),
        cmocka_unit_test(a_killed_broker_without_memory_gets_everything_again),
        cmocka_unit_test(a_process_killed_before_accept_gets_the_message_again),
        cmocka_unit_test(a_message_not_accepted_when_closing_is_not_acknowledged),
        cmocka_unit_test(a_lone_acknowledgement_comes_soon),
        cmocka_unit_test(connecting_takes_milliseconds),
        cmocka_unit_test(closing_while_busy_is_quick),
        cmocka_unit_test(closing_lets_the_published_go_out),
        cmocka_unit_test(messages_nobody_reads_are_dropped_and_counted_at_qos_0_only),
        cmocka_unit_test(every_connection_has_its_own_client_id_and_will),
        cmocka_unit_test(tls_checks_the_server_and_shows_a_certificate),
    };
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
