#include "sim/chart_gnuplot.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_INSTALLED 127 /* as a shell says it */

/* In the child: the script is read from a file, so nobody waits for anybody. */
static _Noreturn void run_gnuplot(FILE *script, int answer)
{
    if (dup2(fileno(script), STDIN_FILENO) >= 0 && dup2(answer, STDOUT_FILENO) >= 0)
        execlp("gnuplot", "gnuplot", (char *)NULL);
    _exit(errno == ENOENT ? NOT_INSTALLED : 1);
}

static void copy(int from, FILE *out)
{
    char octets[65536];
    ssize_t len;
    while ((len = read(from, octets, sizeof octets)) > 0 || (len < 0 && errno == EINTR))
        if (len > 0)
            fwrite(octets, 1, (size_t)len, out);
}

static int result_of(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == NOT_INSTALLED ? -ENOENT : -EIO;
}

/* The child's output goes through a pipe that is read until its end. */
static int run(FILE *script, FILE *out)
{
    int ends[2];
    if (pipe(ends) < 0)
        return -errno;
    fflush(out); /* or the child would have what is not written yet, too */
    const pid_t child = fork();
    if (child == 0)
        run_gnuplot(script, ends[1]);
    const int fault = child < 0 ? -errno : 0;
    close(ends[1]);
    if (child > 0)
        copy(ends[0], out);
    close(ends[0]);
    return fault < 0 ? fault : result_of(child);
}

int sim_chart(const char *script, size_t len, FILE *out)
{
    FILE *file = tmpfile();
    if (file == NULL)
        return -errno;
    fwrite(script, 1, len, file);
    rewind(file);
    const int result = ferror(file) ? -EIO : run(file, out);
    fclose(file);
    return result;
}
