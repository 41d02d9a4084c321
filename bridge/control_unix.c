#include "bridge/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_MAX 64
#define TRIES       20 /* to be in time with a request */
#define SPARES      3  /* descriptors that one answer takes */

struct control {
    int fd;
    int spares[SPARES]; /* -1: there was none for it */
    struct sockaddr_un address;
};

static int make_address(const char *directory, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    const int len = snprintf(out->sun_path, sizeof(out->sun_path), "%s/control", directory);
    return len < (int)sizeof(out->sun_path) ? 0 : -ENAMETOOLONG;
}

/* Descriptors that are kept for the next answer: somebody wants to know what is wrong just when
 * none is left. False: not all could be had. */
static bool keep_spares(struct control *c)
{
    bool all = true;
    for (size_t i = 0; i < SPARES; i++) {
        c->spares[i] = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
        all = all && c->spares[i] >= 0;
    }
    return all;
}

static void give_spares(struct control *c)
{
    for (size_t i = 0; i < SPARES; i++)
        if (c->spares[i] >= 0)
            close(c->spares[i]);
}

int control_open(const char *directory, struct control **out, char *why, size_t why_size)
{
    struct sockaddr_un address;
    int rc = make_address(directory, &address);
    if (rc < 0) {
        snprintf(why, why_size, "data = %s: too long for the control socket in it", directory);
        return rc;
    }
    /* Whoever left a socket there is dead: the store's lock is ours. */
    unlink(address.sun_path);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(address.sun_path, 0600) < 0 || listen(fd, 8) < 0) {
        rc = -errno;
        snprintf(why, why_size, "%s: %s", address.sun_path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    struct control *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        close(fd);
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    c->fd = fd;
    c->address = address;
    keep_spares(c);
    *out = c;
    return 0;
}

int control_fd(const struct control *c)
{
    return c->fd;
}

void control_close(struct control *c)
{
    unlink(c->address.sun_path);
    give_spares(c);
    close(c->fd);
    free(c);
}

/* ---- one request ------------------------------------------------------------------ */

static void send_descriptor(int to, int fd)
{
    char ok = 0;
    struct iovec data = {.iov_base = &ok, .iov_len = 1};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control.space)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    sendmsg(to, &message, MSG_NOSIGNAL);
}

bool control_find_request(const char *word, enum control_request *out)
{
    static const char *const words[] = {
        [CONTROL_STATUS] = "status",
        [CONTROL_CLIENTS] = "clients",
        [CONTROL_LINKS] = "links",
        [CONTROL_QUEUE] = "queue",
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = (enum control_request)i;
            return true;
        }
    }
    return false;
}

static void answer(int to, char *text, control_answer_fn *fn, void *ctx)
{
    char *option = strchr(text, ' ');
    if (option != NULL)
        *option++ = '\0';
    const int fd = memfd_create("answer", MFD_CLOEXEC);
    FILE *out = fd < 0 ? NULL : fdopen(dup(fd), "w");
    if (out != NULL) {
        enum control_request request;
        if (control_find_request(text, &request))
            fn(ctx, request, option != NULL && strcmp(option, "--json") == 0, out);
        else
            fprintf(out, "unknown request: %s\n", text);
        fclose(out);
        send_descriptor(to, fd);
    }
    if (fd >= 0)
        close(fd);
}

/* The asker writes before it connects is over, so its request is nearly always
 * here; one that is slower asks again. */
static void serve_one(int fd, control_answer_fn *fn, void *ctx)
{
    const struct timeval patience = {.tv_usec = 20000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    char request[REQUEST_MAX];
    const ssize_t len = recv(fd, request, sizeof(request) - 1, 0);
    if (len > 0) {
        request[len] = '\0';
        answer(fd, request, fn, ctx);
    }
    close(fd);
}

enum control_served control_serve(struct control *c, control_answer_fn *fn, void *ctx)
{
    int fd;
    give_spares(c);
    while ((fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        serve_one(fd, fn, ctx);
    const bool deaf = errno == EMFILE || errno == ENFILE;
    const bool all = keep_spares(c);
    if (deaf)
        return CONTROL_DEAF;
    return all ? CONTROL_SERVED : CONTROL_SPARED;
}

/* ---- text ---------------------------------------------------------------------------- */

typedef unsigned long long ull;

static void print_account(FILE *out, const char *name, const struct bridge_account *a)
{
    fprintf(out, "%-14s %12llu %12llu %12llu %12llu %12llu\n", name, (ull)a->accepted,
            (ull)a->delivered, (ull)a->expired, (ull)a->dropped, (ull)a->queued);
}

/* Of links that the configuration has no more, and of none. */
static void print_others(FILE *out, const struct bridge_account *a)
{
    if (a->accepted > 0)
        print_account(out, "(no link)", a);
}

void control_print_text(const struct control_status *s, FILE *out)
{
    const struct bridge_status *b = &s->bridge;
    fprintf(out, "snbridge %s, up for %llu s\n", SNBRIDGE_VERSION, (ull)s->uptime_s);
    fprintf(out, "broker         %s, %s, %u messages undecided\n", s->broker_url,
            b->broker_up ? "connected" : "not connected", b->undecided);
    if (s->broker.dropped + s->broker.oversized > 0)
        fprintf(out, "from it        %llu messages dropped unread, %llu cut for their size\n",
                (ull)s->broker.dropped, (ull)s->broker.oversized);
    if (b->connections > 0)
        fprintf(out, "connections    %u of transparent sensors, %u connected\n", b->connections,
                b->connections_up);
    fprintf(out, "clients        %u known: %u active, %u asleep, %u lost, %u disconnected\n",
            b->clients, b->active, b->asleep, b->lost, b->disconnected);
    fprintf(out, "subscriptions  %u, as %u filters at the broker\n", b->subscriptions, b->filters);
    fprintf(out, "memory         %.1f of %.1f MiB\n", (double)b->memory_used / 1048576,
            (double)b->memory_size / 1048576);
    fprintf(out,
            "store          %.1f MiB, %llu commits, %llu rows written, %llu spared, %llu damaged, "
            "%llu failures\n",
            (double)s->store.file_bytes / 1048576, (ull)s->store.commits, (ull)s->store.written,
            (ull)s->store.avoided, (ull)s->store.damaged, (ull)s->store.failures);
    fprintf(out, "\n%-14s %12s %12s %12s %12s %12s\n", "account", "accepted", "delivered",
            "expired", "dropped", "queued");
    print_account(out, "from sensors", &b->up);
    print_account(out, "to sensors", &b->down);
    fprintf(out, "from sensors, by class\n");
    for (size_t i = 0; i < s->classes; i++)
        print_account(out, s->class_name[i], &b->classes[i].up);
    fprintf(out, "to sensors, by class\n");
    for (size_t i = 0; i < s->classes; i++)
        print_account(out, s->class_name[i], &b->classes[i].down);
    fprintf(out, "from sensors, by link\n");
    for (size_t i = 0; i < s->links; i++)
        print_account(out, s->link[i].name, &b->links[i].up);
    print_others(out, &b->links[BRIDGE_LINKS_MAX].up);
    fprintf(out, "to sensors, by link\n");
    for (size_t i = 0; i < s->links; i++)
        print_account(out, s->link[i].name, &b->links[i].down);
    print_others(out, &b->links[BRIDGE_LINKS_MAX].down);
    fprintf(out, "\n%-14s %-5s %12s %12s %12s %12s\n", "link", "", "frames in", "frames out", "bad",
            "dropped");
    for (size_t i = 0; i < s->links; i++)
        fprintf(out, "%-14s %-5s %12llu %12llu %12llu %12llu\n", s->link[i].name,
                s->link[i].up ? "up" : "down", (ull)s->link[i].count.frames_in,
                (ull)s->link[i].count.frames_out, (ull)s->link[i].count.bad_frames,
                (ull)(s->link[i].count.dropped_in + s->link[i].count.dropped_out));
    fprintf(out, "\n");
    for (int i = 0; i < BRIDGE_NOTE_COUNT; i++)
        if (b->notes[i] > 0)
            fprintf(out, "%12llu  %s\n", (ull)b->notes[i], bridge_note_text((enum bridge_note)i));
}

static void json_account(FILE *out, const char *name, const struct bridge_account *a)
{
    fprintf(out,
            "\"%s\":{\"accepted\":%llu,\"delivered\":%llu,\"expired\":%llu,\"dropped\":%llu,"
            "\"queued\":%llu}",
            name, (ull)a->accepted, (ull)a->delivered, (ull)a->expired, (ull)a->dropped,
            (ull)a->queued);
}

static void json_accounts(FILE *out, const char *name, const struct bridge_accounts *a)
{
    fprintf(out, "\"%s\":{", name);
    json_account(out, "up", &a->up);
    fprintf(out, ",");
    json_account(out, "down", &a->down);
    fprintf(out, "}");
}

/* Names of links are checked words and notes are ours: nothing needs escaping. */
void control_print_json(const struct control_status *s, FILE *out)
{
    const struct bridge_status *b = &s->bridge;
    fprintf(out, "{\"version\":\"%s\",\"uptime_s\":%llu,\"broker_up\":%s,\"undecided\":%u,",
            SNBRIDGE_VERSION, (ull)s->uptime_s, b->broker_up ? "true" : "false", b->undecided);
    fprintf(out, "\"broker\":{\"received\":%llu,\"dropped\":%llu,\"oversized\":%llu},",
            (ull)s->broker.received, (ull)s->broker.dropped, (ull)s->broker.oversized);
    fprintf(out, "\"connections\":%u,\"connections_up\":%u,", b->connections, b->connections_up);
    fprintf(out,
            "\"clients\":%u,\"active\":%u,\"asleep\":%u,\"lost\":%u,\"disconnected\":%u,"
            "\"subscriptions\":%u,\"filters\":%u,\"memory_used\":%llu,\"memory_size\":%llu,",
            b->clients, b->active, b->asleep, b->lost, b->disconnected, b->subscriptions,
            b->filters, (ull)b->memory_used, (ull)b->memory_size);
    json_account(out, "up", &b->up);
    fprintf(out, ",");
    json_account(out, "down", &b->down);
    fprintf(out, ",\"classes\":{");
    for (size_t i = 0; i < s->classes; i++) {
        fputs(i == 0 ? "" : ",", out);
        json_accounts(out, s->class_name[i], &b->classes[i]);
    }
    fprintf(out, "},");
    json_accounts(out, "no_link", &b->links[BRIDGE_LINKS_MAX]);
    fprintf(out,
            ",\"store\":{\"file_bytes\":%llu,\"commits\":%llu,\"written\":%llu,\"avoided\":%llu,"
            "\"damaged\":%llu,\"failures\":%llu},\"links\":{",
            (ull)s->store.file_bytes, (ull)s->store.commits, (ull)s->store.written,
            (ull)s->store.avoided, (ull)s->store.damaged, (ull)s->store.failures);
    for (size_t i = 0; i < s->links; i++) {
        fprintf(out,
                "%s\"%s\":{\"up\":%s,\"frames_in\":%llu,\"frames_out\":%llu,\"bytes_in\":%llu,"
                "\"bytes_out\":%llu,\"bad_frames\":%llu,\"dropped_in\":%llu,\"dropped_out\":%llu,"
                "\"opens\":%llu,\"losses\":%llu,",
                i == 0 ? "" : ",", s->link[i].name, s->link[i].up ? "true" : "false",
                (ull)s->link[i].count.frames_in, (ull)s->link[i].count.frames_out,
                (ull)s->link[i].count.bytes_in, (ull)s->link[i].count.bytes_out,
                (ull)s->link[i].count.bad_frames, (ull)s->link[i].count.dropped_in,
                (ull)s->link[i].count.dropped_out, (ull)s->link[i].count.opens,
                (ull)s->link[i].count.losses);
        json_accounts(out, "account", &b->links[i]);
        fprintf(out, "}");
    }
    fprintf(out, "},\"notes\":{");
    for (int i = 0; i < BRIDGE_NOTE_COUNT; i++)
        fprintf(out, "%s\"%s\":%llu", i == 0 ? "" : ",", bridge_note_name((enum bridge_note)i),
                (ull)b->notes[i]);
    fprintf(out, "}}\n");
}

void control_print_client_head(FILE *out)
{
    fprintf(out, "%-23s %-12s %-10s %-22s %8s %6s %5s %6s %8s %9s %9s %9s %7s %s\n", "client",
            "state", "link", "address", "heard s", "limit", "subs", "topics", "queued", "T_retry",
            "from it", "to it", "lost", "broker");
}

void control_printable(struct sn_bytes text, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len && len + 5 < size; i++) {
        const uint8_t c = text.data[i];
        const bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        len += (size_t)snprintf(out + len, size - len, plain ? "%c" : "\\u%04x", c);
    }
    out[len] = '\0';
}

void control_print_client(const struct bridge_client *c, const char *link, const char *address,
                          uint64_t now_ms, FILE *out)
{
    char id[200];
    control_printable(c->id, id, sizeof(id));
    fprintf(out, "%-23s %-12s %-10s %-22s %8llu %6u %5u %6u %8llu %9u %9llu %9llu %7llu %s\n", id,
            c->state, link, address, (ull)((now_ms - c->heard_ms) / 1000),
            c->sleep_s > 0 ? c->sleep_s : c->keepalive_s, c->subscriptions, c->topics,
            (ull)c->queued, c->round_trip_ms, (ull)c->account.up.delivered,
            (ull)c->account.down.delivered,
            (ull)(c->account.up.expired + c->account.up.dropped + c->account.down.expired +
                  c->account.down.dropped),
            c->connection == NULL ? "shared" : c->connection);
}

void control_print_client_json(const struct bridge_client *c, const char *link, const char *address,
                               uint64_t now_ms, bool first, FILE *out)
{
    char id[200];
    control_printable(c->id, id, sizeof(id));
    fprintf(out,
            "%s{\"client\":\"%s\",\"state\":\"%s\",\"link\":\"%s\",\"address\":\"%s\",\"heard_ms\":"
            "%llu,"
            "\"keepalive_s\":%u,\"sleep_s\":%u,\"subscriptions\":%u,\"topics\":%u,\"queued\":%llu,"
            "\"oldest_ms\":%llu,\"retry_ms\":%u,\"connection\":\"%s\",\"unsent\":%llu,",
            first ? "" : ",\n", id, c->state, link, address, (ull)(now_ms - c->heard_ms),
            c->keepalive_s, c->sleep_s, c->subscriptions, c->topics, (ull)c->queued,
            (ull)(c->oldest_ms == 0 ? 0 : now_ms - c->oldest_ms), c->round_trip_ms,
            c->connection == NULL ? "shared" : c->connection, (ull)c->unsent);
    json_accounts(out, "account", &c->account);
    fprintf(out, "}");
}

/* ---- the asker --------------------------------------------------------------------------- */

/* As ask(). */
static int receive_descriptor(int from)
{
    char ok;
    struct iovec data = {.iov_base = &ok, .iov_len = 1};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control.space)};
    const ssize_t len = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    if (len < 0 && errno != ECONNRESET)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    const struct cmsghdr *c = len <= 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (c == NULL || c->cmsg_type != SCM_RIGHTS)
        return -EAGAIN;
    int fd;
    memcpy(&fd, CMSG_DATA(c), sizeof(int));
    return fd;
}

/* The descriptor of the answer; -EAGAIN: hung up on, for we were slow; or -errno. */
static int ask(const struct sockaddr_un *address, const char *request)
{
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int file = -EAGAIN;
    const struct timeval patience = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
        file = -errno;
    else if (send(fd, request, strlen(request), MSG_NOSIGNAL) >= 0)
        file = receive_descriptor(fd);
    close(fd);
    return file;
}

static void say_unanswered(const char *path, int error)
{
    if (error == EACCES || error == EPERM)
        fprintf(stderr,
                "snbridge: %s: %s; only the user that snbridge runs as, and root, may ask it\n",
                path, strerror(error));
    else if (error == ENOENT || error == ECONNREFUSED)
        fprintf(stderr, "snbridge: no bridge is running here: %s: %s\n", path, strerror(error));
    else
        fprintf(stderr, "snbridge: the bridge at %s gives no answer: %s\n", path, strerror(error));
}

int control_ask(const char *directory, const char *word, bool json, FILE *out)
{
    char request[REQUEST_MAX];
    snprintf(request, sizeof(request), "%s%s", word, json ? " --json" : "");
    struct sockaddr_un address;
    if (make_address(directory, &address) < 0) {
        fprintf(stderr, "snbridge: %s: path too long\n", directory);
        return 1;
    }
    int file = -EAGAIN;
    for (int i = 0; i < TRIES && file == -EAGAIN; i++)
        file = ask(&address, request);
    if (file < 0) {
        say_unanswered(address.sun_path, -file);
        return 1;
    }
    char buffer[4096];
    ssize_t len;
    off_t at = 0; /* the writer's place is shared with us */
    while ((len = pread(file, buffer, sizeof(buffer), at)) > 0) {
        fwrite(buffer, 1, (size_t)len, out);
        at += len;
    }
    close(file);
    return 0;
}
