/* Files of profiles: the shipped one, which is part of the program, and the user's.
 *
 * inih splits lines into names and values. It reads them through our reader,
 * which knows their numbers, takes comments away, and begins a profile at each
 * section. A value goes on in lines that are indented.
 */
#include "sim/profile.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#define INI_LINE_LEN 198 /* octets; inih would cut what is longer */
#define FAULTS_MAX   20  /* complaints; after that it is another kind of file */
#define NAME_CHARS   "abcdefghijklmnopqrstuvwxyz0123456789-_."

/* sim/profiles.conf as it stands, with a 0 behind it. */
__asm__(".section .rodata\n"
        ".global sim_profiles_conf\n"
        "sim_profiles_conf:\n"
        ".incbin \"sim/profiles.conf\"\n"
        ".byte 0\n"
        ".previous\n");
extern const char sim_profiles_conf[];

struct reading {
    struct sim_profiles *all;
    FILE *file;
    const char *path;
    FILE *errors;
    unsigned faults;
    unsigned number; /* of the line that was read last */
    char *line;
    size_t line_size;

    bool in_profile;
    bool empty; /* no key yet */
    unsigned profile_line;
    struct sim_profile profile;

    char *key; /* being put together from its lines; NULL: none */
    char *value;
    unsigned key_line;
};

static void fault(struct reading *r, unsigned line, const char *text)
{
    if (++r->faults <= FAULTS_MAX)
        fprintf(r->errors, "%s:%u: %s\n", r->path, line, text);
}

static struct sim_profile *find(const struct sim_profiles *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->list[i].name, name) == 0)
            return &all->list[i];
    return NULL;
}

static void set_like(struct reading *r)
{
    char text[160];
    const struct sim_profile *like = find(r->all, r->value);
    if (!r->empty) {
        fault(r, r->key_line, "like: must be the first key of its section");
    } else if (like == NULL) {
        snprintf(text, sizeof text, "like: found \"%.60s\", which is no profile above this line",
                 r->value);
        fault(r, r->key_line, text);
    } else {
        char name[sizeof r->profile.name];
        memcpy(name, r->profile.name, sizeof name);
        r->profile = *like;
        memcpy(r->profile.name, name, sizeof name);
    }
}

static void finish_key(struct reading *r)
{
    char error[SIM_PROFILE_ERROR_MAX];
    if (r->key == NULL)
        return;
    if (!r->in_profile)
        fault(r, r->key_line, "a key before the first [PROFILE]");
    else if (strcmp(r->key, "like") == 0)
        set_like(r);
    else if (!sim_profile_set(&r->profile, r->key, r->value, error, sizeof error))
        fault(r, r->key_line, error);
    r->empty = false;
    free(r->key);
    free(r->value);
    r->key = r->value = NULL;
}

static void finish_profile(struct reading *r)
{
    char error[SIM_PROFILE_ERROR_MAX];
    finish_key(r);
    if (!r->in_profile)
        return;
    r->in_profile = false;
    if (!sim_profile_check(&r->profile, error, sizeof error))
        fault(r, r->profile_line, error);
    struct sim_profile *same = find(r->all, r->profile.name);
    if (same == NULL) {
        struct sim_profiles *all = r->all;
        all->list = sim_more_memory(all->list, (all->count + 1) * sizeof all->list[0]);
        same = &all->list[all->count++];
    }
    *same = r->profile;
}

static void begin_profile(struct reading *r, const char *line)
{
    char name[SIM_PROFILE_NAME_MAX + 1];
    const size_t len = strspn(line + 1, NAME_CHARS);
    finish_profile(r);
    r->profile_line = r->number;
    if (len == 0 || len > SIM_PROFILE_NAME_MAX || strcmp(line + 1 + len, "]") != 0) {
        fault(r, r->number,
              "a section is [NAME], a name has at most 31 small letters, digits, '-', '_', '.'");
        memcpy(name, "?", 2);
    } else {
        memcpy(name, line + 1, len);
        name[len] = '\0';
    }
    sim_profile_init(&r->profile, name);
    r->in_profile = true;
    r->empty = true;
}

/* Cuts a comment and blanks at the end. */
static void strip(char *line)
{
    const size_t indent = strspn(line, " \t");
    if (line[indent] == ';' || line[indent] == '#')
        line[0] = '\0';
    for (char *at = line; *at != '\0'; at++) {
        if (*at == ';' && at > line && isspace((unsigned char)at[-1])) {
            *at = '\0';
            break;
        }
    }
    size_t len = strlen(line);
    while (len > 0 && isspace((unsigned char)line[len - 1]))
        line[--len] = '\0';
}

/* Hands inih one line at a time; an empty one stands for what it need not see. */
static char *read_line(char *out, int size, void *stream)
{
    struct reading *r = stream;
    const ssize_t got = getline(&r->line, &r->line_size, r->file);
    if (got < 0)
        return NULL;
    assert(size > INI_LINE_LEN + 1);
    r->number++;
    out[0] = '\0';
    strip(r->line);
    if (r->line[0] != '\0' && !isspace((unsigned char)r->line[0]))
        finish_key(r);
    if (strlen(r->line) > INI_LINE_LEN) {
        fault(r, r->number, "the line is longer than 198 octets; go on in an indented one");
    } else if (r->line[0] != '\0' && r->line[0] != '[' && !isspace((unsigned char)r->line[0]) &&
               strpbrk(r->line, "=:") == NULL) {
        fault(r, r->number, "a line is KEY = VALUE, [PROFILE] or a comment");
    } else {
        if (r->line[0] == '[')
            begin_profile(r, r->line);
        memcpy(out, r->line, strlen(r->line) + 1);
    }
    return out;
}

/* From inih: a key, or a further line of the one before. */
static int take(void *ctx, const char *section, const char *name, const char *value)
{
    struct reading *r = ctx;
    (void)section;
    if (isspace((unsigned char)r->line[0]) && r->key != NULL) {
        const size_t len = strlen(r->value);
        r->value = sim_more_memory(r->value, len + 1 + strlen(value) + 1);
        r->value[len] = ' ';
        memcpy(r->value + len + 1, value, strlen(value) + 1);
        return 1;
    }
    r->key = strdup(name);
    r->value = strdup(value);
    if (r->key == NULL || r->value == NULL)
        abort();
    r->key_line = r->number;
    return 1;
}

int sim_profiles_read(struct sim_profiles *all, FILE *file, const char *name, FILE *errors)
{
    struct reading r = {.all = all, .file = file, .path = name, .errors = errors};
    ini_parse_stream(read_line, &r, take, &r);
    finish_profile(&r);
    free(r.line);
    if (r.faults > FAULTS_MAX)
        fprintf(errors, "%s: %u more\n", name, r.faults - FAULTS_MAX);
    return r.faults > 0 ? -EINVAL : 0;
}

int sim_profiles_open(struct sim_profiles *all, const char *path, FILE *errors)
{
    *all = (struct sim_profiles){0};
    FILE *file = fmemopen((void *)(uintptr_t)sim_profiles_conf, strlen(sim_profiles_conf), "r");
    if (file == NULL)
        abort();
    int result = sim_profiles_read(all, file, "profiles.conf", errors);
    fclose(file);
    if (result == 0 && path != NULL) {
        file = fopen(path, "re");
        result = file == NULL ? -errno : 0;
        if (file == NULL) {
            fprintf(errors, "%s: %s\n", path, strerror(-result));
        } else {
            result = sim_profiles_read(all, file, path, errors);
            fclose(file);
        }
    }
    if (result < 0)
        sim_profiles_close(all);
    return result;
}

void sim_profiles_close(struct sim_profiles *all)
{
    free(all->list);
    *all = (struct sim_profiles){0};
}

void sim_profiles_dump(FILE *out)
{
    fputs(sim_profiles_conf, out);
}
