/* What is made of a scenario's gateway statements: a configuration file in
 * memory, read by the bridge's own parser, so that a key means the same here and
 * there and a mistake is explained in the same words. */
#include "sim/scenario.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "radio/profile.h"

#define PORT_FIRST  20000 /* never opened: a configuration has one for each link */
#define GROUP_FIRST 30000

struct ini {
    FILE *out;
    unsigned *lines; /* of the scenario, for each line written */
    size_t count;
};

struct statement {
    const char *text;
    size_t len;
    unsigned line;
};

static void write_line(struct ini *ini, unsigned line, const char *text, size_t len)
{
    fprintf(ini->out, "%.*s\n", (int)len, text);
    ini->lines = sim_more_memory(ini->lines, (ini->count + 1) * sizeof(*ini->lines));
    ini->lines[ini->count++] = line;
}

static bool is_section(const struct statement *s, const char *title)
{
    return s->len == strlen(title) && strncmp(s->text, title, s->len) == 0;
}

/* The key that a line sets. */
static bool has_key(const struct statement *s, const char *key)
{
    const size_t len = strlen(key);
    return s->len > len && strncmp(s->text, key, len) == 0 && s->text[len] == ' ';
}

/* What the statements say in this section; each is given once. */
static void write_section(struct ini *ini, struct statement *all, size_t count, const char *title)
{
    bool here = false;
    for (size_t i = 0; i < count; i++) {
        if (all[i].len > 0 && all[i].text[0] == '[')
            here = is_section(&all[i], title);
        if (here && all[i].len > 0 && all[i].text[0] != '[')
            write_line(ini, all[i].line, all[i].text, all[i].len);
        if (here)
            all[i].len = 0;
    }
}

static bool is_given(const struct statement *all, size_t count, const char *title, const char *key)
{
    bool here = false;
    for (size_t i = 0; i < count; i++) {
        if (all[i].text[0] == '[')
            here = is_section(&all[i], title);
        else if (here && has_key(&all[i], key))
            return true;
    }
    return false;
}

static void write_link(struct ini *ini, struct statement *all, size_t count,
                       const struct sim_scenario_link *link, size_t number)
{
    const struct radio_profile p = sim_scenario_radio(link);
    const struct radio_rtt_limits rtt = radio_profile_rtt_limits(&p);
    char title[64];
    const int len = snprintf(title, sizeof(title), "[link %s]", link->name);
    write_line(ini, 0, title, (size_t)len);
    const struct {
        const char *key;
        uint64_t value;
    } keys[] = {
        {"frame_max", p.frame_max},
        {"retry_ms", rtt.start_ms},
        {"retry_min_ms", rtt.min_ms},
        {"retry_max_ms", rtt.max_ms},
        {"retries", p.retries},
        {"bits_per_s", p.paced ? p.down_bits_per_s : 0},
        {"overhead_bits", p.overhead_bits},
        {"bits_per_octet", p.bits_per_octet},
        {"duty_per_mille", p.duty_per_mille},
    };
    char text[80];
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (is_given(all, count, title, keys[i].key))
            continue;
        const int n = snprintf(text, sizeof(text), "%s = %llu", keys[i].key,
                               (unsigned long long)keys[i].value);
        write_line(ini, 0, text, (size_t)n);
    }
    write_line(ini, 0, "type = udp", 10);
    snprintf(text, sizeof(text), "listen = 127.0.0.1:%zu", PORT_FIRST + number);
    write_line(ini, 0, text, strlen(text));
    /* So that the link can advertise. */
    snprintf(text, sizeof(text), "multicast = 225.0.0.1:%zu", GROUP_FIRST + number);
    write_line(ini, 0, text, strlen(text));
    write_section(ini, all, count, title);
}

static size_t split(const struct sim_scenario *s, struct statement *all)
{
    size_t count = 0;
    for (const char *c = s->ini; count < s->ini_count; count++) {
        all[count] =
            (struct statement){.text = c, .len = strcspn(c, "\n"), .line = s->ini_lines[count]};
        c += all[count].len + 1;
    }
    return count;
}

/* The daemon's default would cost more memory than the whole simulation. */
static void write_bridge(struct ini *ini, struct statement *all, size_t count,
                         const struct sim_scenario *s)
{
    char text[40];
    uint32_t devices = 0;
    for (size_t i = 0; i < s->fleet_count; i++)
        devices += s->fleets[i].count;
    write_line(ini, 0, "[bridge]", 8);
    if (!is_given(all, count, "[bridge]", "max_clients")) {
        snprintf(text, sizeof(text), "max_clients = %u", devices * 2 + 16);
        write_line(ini, 0, text, strlen(text));
    }
    write_section(ini, all, count, "[bridge]");
}

static void write_all(struct ini *ini, const struct sim_scenario *s)
{
    struct statement *all = sim_memory((s->ini_count + 1) * sizeof(*all));
    const size_t count = split(s, all);
    write_bridge(ini, all, count, s);
    for (size_t i = 0; i < s->link_count; i++)
        write_link(ini, all, count, &s->links[i], i);
    for (size_t i = 0; i < count; i++) {
        char title[256];
        if (all[i].len == 0 || all[i].text[0] != '[')
            continue;
        snprintf(title, sizeof(title), "%.*s", (int)all[i].len, all[i].text);
        write_line(ini, all[i].line, title, strlen(title));
        write_section(ini, all, count, title);
    }
    free(all);
}

/* The parser speaks of lines of the file in memory. */
static void complain(const struct ini *ini, const char *name, char *text, FILE *errors)
{
    const size_t skip = strlen(name) + 1;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        unsigned number = 0;
        int end = 0;
        if (strlen(line) > skip && sscanf(line + skip, "%u:%n", &number, &end) == 1 && end > 0 &&
            number > 0 && number <= ini->count)
            fprintf(errors, "%s:%u:%s\n", name, ini->lines[number - 1], line + skip + end);
        else
            fprintf(errors, "%s\n", line);
    }
}

static int configure(struct sim_scenario *s, const char *name, FILE *errors)
{
    char *text = NULL;
    char *complaints = NULL;
    size_t size;
    size_t complaints_size;
    struct ini ini = {.out = open_memstream(&text, &size)};
    write_all(&ini, s);
    fclose(ini.out);
    FILE *in = fmemopen(text, size, "r");
    FILE *found = open_memstream(&complaints, &complaints_size);
    const int rc = config_read(in, name, &s->config, found);
    fclose(in);
    fclose(found);
    if (rc < 0)
        complain(&ini, name, complaints, errors);
    free(complaints);
    free(ini.lines);
    free(text);
    return rc;
}

struct sim_scenario *sim_scenario_read(const char *name, const char *text,
                                       const struct sim_profiles *profiles, FILE *errors)
{
    struct sim_scenario *s = sim_scenario_parse(name, text, profiles, errors);
    if (s == NULL || configure(s, name, errors) == 0)
        return s;
    sim_scenario_discard(s);
    return NULL;
}

void sim_scenario_close(struct sim_scenario *s)
{
    config_free(&s->config);
    sim_scenario_discard(s);
}

/* ---- files ------------------------------------------------------------------------ */

struct sim_scenario *sim_scenario_open(const char *path, const struct sim_profiles *profiles,
                                       const struct sim_parameters *parameters, FILE *errors)
{
    char *text = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        fprintf(errors, "%s: cannot be read: %s\n", path, strerror(errno));
        return NULL;
    }
    const ssize_t len = getdelim(&text, &size, '\0', in);
    const bool good = len > 0 && !ferror(in);
    fclose(in);
    struct sim_scenario *s = NULL;
    char *replaced = good ? sim_parameters_apply(parameters, path, text, errors) : NULL;
    if (replaced != NULL)
        s = sim_scenario_read(path, replaced, profiles, errors);
    if (!good)
        fprintf(errors, "%s: cannot be read, or is empty\n", path);
    free(replaced);
    free(text);
    return s;
}
