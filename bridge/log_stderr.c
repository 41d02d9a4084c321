#include "bridge/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static enum bridge_note_level lowest = BRIDGE_LEVEL_INFO;

static const char *const level_names[] = {
    [BRIDGE_LEVEL_DEBUG] = "debug",
    [BRIDGE_LEVEL_INFO] = "info",
    [BRIDGE_LEVEL_WARNING] = "warning",
    [BRIDGE_LEVEL_ERROR] = "error",
};

void log_level(enum bridge_note_level level)
{
    lowest = level;
}

bool log_wants(enum bridge_note_level level)
{
    return level >= lowest;
}

void log_line(enum bridge_note_level level, const char *format, ...)
{
    if (!log_wants(level))
        return;
    struct timespec t;
    struct tm tm;
    char line[1024];
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    int len = snprintf(line, sizeof(line), "%s.%03ldZ %s: ", stamp, t.tv_nsec / 1000000,
                       level_names[level]);
    va_list args;
    va_start(args, format);
    vsnprintf(line + len, sizeof(line) - (size_t)len, format, args);
    va_end(args);
    fprintf(stderr, "%s\n", line); /* one write: stderr of others may be the same file */
}

/* What peers send may hold anything; on the terminal it is text. */
static size_t put_text(char *out, size_t size, struct sn_bytes text)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len && len + 5 < size; i++) {
        const uint8_t c = text.data[i];
        if (c >= 0x20 && c < 0x7f && c != '\\')
            out[len++] = (char)c;
        else
            len += (size_t)snprintf(out + len, size - len, "\\x%02x", c);
    }
    out[len] = '\0';
    return len;
}

/* Whether one more line of this note is welcome in this second. */
static bool may_say(enum bridge_note note)
{
    static struct {
        time_t second;
        unsigned count;
    } said[BRIDGE_NOTE_COUNT];
    const time_t now = time(NULL);
    if (said[note].second != now) {
        if (said[note].count > LOG_PER_SECOND)
            log_line(bridge_note_level(note), "%s: %u more times", bridge_note_text(note),
                     said[note].count - LOG_PER_SECOND);
        said[note].second = now;
        said[note].count = 0;
    }
    return ++said[note].count <= LOG_PER_SECOND;
}

void log_note(const struct bridge_action *a, const struct bridge_config *config)
{
    const enum bridge_note note = a->note.note;
    if (!log_wants(bridge_note_level(note)) || !may_say(note))
        return;
    char text[600];
    size_t len = 0;
    if (a->note.client.len > 0) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, " client=");
        len += put_text(text + len, 140, a->note.client);
    }
    if (a->note.link != UINT16_MAX)
        len += (size_t)snprintf(text + len, sizeof(text) - len, " link=%s",
                                config->links[a->note.link].name);
    if (a->note.detail.len > 0) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, " \"");
        len += put_text(text + len, 300, a->note.detail);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "\"");
    }
    if (a->note.number != 0)
        snprintf(text + len, sizeof(text) - len, " (%llu)", (unsigned long long)a->note.number);
    else
        text[len] = '\0';
    log_line(bridge_note_level(note), "%s%s", bridge_note_text(note), text);
}
