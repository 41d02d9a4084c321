#include "bridge/loop_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bridge/log.h"

/* A connection to the broker is a socket, and a second descriptor of it where it may have to
 * be cut. The rest is the store, sockets and ports of links, and what wakes whom. */
#define FILES_OF_CONNECTION 2u
#define FILES_OF_OURS       48u

/* Whether a sensor can have a connection of its own at all. */
static bool is_any_transparent(const struct bridge_config *c)
{
    bool any = c->transparent;
    for (size_t i = 0; i < c->mode_count; i++)
        any = any || c->modes[i].transparent;
    return any;
}

static rlim_t raise_to(rlim_t needed)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return RLIM_INFINITY;
    const rlim_t before = limit.rlim_cur;
    if (before >= needed)
        return before;
    limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

void loop_find_files(struct loop *l)
{
    struct bridge_config *c = &l->start_core;
    const rlim_t ours = FILES_OF_OURS + 2 * c->link_count;
    const rlim_t own = is_any_transparent(c) ? (rlim_t)c->max_connections : 0;
    const rlim_t needed = ours + (own + 1) * FILES_OF_CONNECTION;
    const rlim_t limit = raise_to(needed);
    if (limit >= needed)
        return;
    const rlim_t room =
        limit < ours + 2 * FILES_OF_CONNECTION ? 0 : (limit - ours) / FILES_OF_CONNECTION - 1;
    if (own > 0)
        c->max_connections = (uint32_t)room;
    log_line(BRIDGE_LEVEL_WARNING,
             "open files: the limit is %llu, and %llu may be needed; raise it (ulimit -Hn, "
             "LimitNOFILE= of systemd)",
             (unsigned long long)limit, (unsigned long long)needed);
    if (own > 0)
        log_line(
            BRIDGE_LEVEL_WARNING,
            "max_connections = %llu: only %llu fit into that limit; more sensors hear congestion",
            (unsigned long long)own, (unsigned long long)room);
}

void loop_check_files(struct loop *l)
{
    const int fd = fcntl(l->epoll, F_DUPFD_CLOEXEC, 0);
    const bool out = fd < 0 && errno == EMFILE;
    if (fd >= 0)
        close(fd);
    if (out && !l->files_told)
        log_line(BRIDGE_LEVEL_ERROR, "open files: the limit is reached, connections fail; raise it "
                                     "(ulimit -n, LimitNOFILE= of systemd)");
    l->files_told = out;
}
