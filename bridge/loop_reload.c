#include "bridge/loop_parts.h"

#include <stdlib.h>
#include <string.h>

#include "bridge/log.h"
#include "bridge/notify.h"

static void log_change(void *ctx, bool applied, const char *line)
{
    size_t *changes = ctx;
    (*changes)++;
    log_line(applied ? BRIDGE_LEVEL_INFO : BRIDGE_LEVEL_WARNING, "reload: %s", line);
}

/* The errors of a file, one line of the log each. */
static int load(const char *path, struct config *out)
{
    char *text = NULL;
    size_t size = 0;
    FILE *errors = open_memstream(&text, &size);
    if (errors == NULL)
        return -1;
    const int rc = config_load(path, out, errors);
    fclose(errors);
    for (char *line = text, *rest; rc < 0 && (rest = strchr(line, '\n')) != NULL; line = rest + 1) {
        *rest = '\0';
        log_line(BRIDGE_LEVEL_ERROR, "reload: %s", line);
    }
    free(text);
    return rc;
}

static void take_effect(struct loop *l, struct config *fresh, const struct bridge_config *core)
{
    l->config = fresh;
    l->core = core;
    l->reloads++;
    log_level(fresh->log);
    broker_configure(l->broker, &fresh->broker);
    if (l->reloaded != NULL) {
        config_free(l->reloaded);
        free(l->reloaded);
    }
    l->reloaded = fresh;
}

void loop_reload(struct loop *l)
{
    size_t changes = 0;
    notify_reloading();
    struct config *fresh = calloc(1, sizeof(*fresh));
    if (fresh == NULL || load(l->path, fresh) < 0) {
        log_line(BRIDGE_LEVEL_ERROR, "reload: %s is not taken over, nothing has changed", l->path);
        free(fresh);
    } else {
        config_adopt(fresh, l->start, l->config, log_change, &changes);
        struct bridge_config *core = &l->next_core[l->reloads % 2];
        *core = fresh->bridge;
        core->seed = l->core->seed;
        core->max_connections = l->core->max_connections; /* that fit */
        if (bridge_reload(l->bridge, loop_now_ms(l), core)) {
            take_effect(l, fresh, core);
            log_line(BRIDGE_LEVEL_INFO, "reload: done%s", changes == 0 ? ", nothing differs" : "");
        } else {
            log_line(BRIDGE_LEVEL_ERROR, "reload: no memory for [topics], nothing has changed");
            config_free(fresh);
            free(fresh);
        }
    }
    notify_ready();
}
