#include "sim/realtime_pty.h"

#include "radio/link_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define GAP_MS 200u /* octets of one frame come together on a pty */

static int make_link(const char *name, const char *target)
{
    struct stat info;
    if (lstat(name, &info) == 0 && !S_ISLNK(info.st_mode))
        return -EEXIST;
    if (unlink(name) < 0 && errno != ENOENT)
        return -errno;
    return symlink(target, name) < 0 ? -errno : 0;
}

/* The slave is held open, so that our side does not hang up while nobody is there. */
static int open_slave(int master)
{
    char path[64];
    struct termios mode;
    if (grantpt(master) < 0 || unlockpt(master) < 0)
        return -errno;
    const int error = ptsname_r(master, path, sizeof path);
    if (error != 0)
        return -error;
    const int slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    if (tcgetattr(slave, &mode) == 0) {
        cfmakeraw(&mode);
        tcsetattr(slave, TCSANOW, &mode);
    }
    return slave;
}

int sim_pty_open(const char *name, enum radio_framing framing, size_t frame_max,
                 struct radio_link **out, int *keep)
{
    char path[64];
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0)
        return -errno;
    const int slave = open_slave(master);
    int result = slave;
    if (slave >= 0)
        result = ptsname_r(master, path, sizeof path) == 0 ? make_link(name, path) : -errno;
    if (result >= 0) {
        const struct radio_stream_options o = {
            .framing = framing,
            .frame_max = frame_max,
            .gap_ms = GAP_MS,
        };
        result = radio_stream_open(&o, NULL, master, out);
        if (result < 0)
            unlink(name);
    }
    if (result < 0) {
        if (slave >= 0)
            close(slave);
        close(master);
        return result;
    }
    *keep = slave;
    return 0;
}
