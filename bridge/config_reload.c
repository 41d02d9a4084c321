/* A configuration that was read again while the bridge runs: what it changes, and what it cannot. */
#include "bridge/config_parts.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* All other keys decide over memory, files, ports or what is on disk already. */
static const struct {
    enum config_section section;
    const char *name;
} live[] = {
    {CONFIG_IN_BRIDGE, "ack"},
    {CONFIG_IN_BRIDGE, "broker_ack"},
    {CONFIG_IN_BRIDGE, "gateway_id"},
    {CONFIG_IN_BRIDGE, "standby"},
    {CONFIG_IN_BRIDGE, "connect_offline"},
    {CONFIG_IN_BRIDGE, "outage_disconnect_s"},
    {CONFIG_IN_BRIDGE, "expire_persistent_s"},
    {CONFIG_IN_BRIDGE, "expire_unreturned_s"},
    {CONFIG_IN_BRIDGE, "expire_clean_s"},
    {CONFIG_IN_BRIDGE, "max_new_clients"},
    {CONFIG_IN_BRIDGE, "max_writes"},
    {CONFIG_IN_BRIDGE, "max_client_id"},
    {CONFIG_IN_BRIDGE, "max_topic_levels"},
    {CONFIG_IN_BRIDGE, "dollar_topics"},
    {CONFIG_IN_BRIDGE, "tolerance_percent"},
    {CONFIG_IN_BRIDGE, "max_subscriptions"},
    {CONFIG_IN_BRIDGE, "max_queue"},
    {CONFIG_IN_BRIDGE, "max_queue_bytes"},
    {CONFIG_IN_BRIDGE, "max_queue_age_s"},
    {CONFIG_IN_BRIDGE, "max_backlog"},
    {CONFIG_IN_BRIDGE, "max_backlog_bytes"},
    {CONFIG_IN_BRIDGE, "max_backlog_age_s"},
    {CONFIG_IN_BRIDGE, "live_share"},
    {CONFIG_IN_BRIDGE, "qos0_backlog"},
    {CONFIG_IN_BRIDGE, "awake_messages"},
    {CONFIG_IN_BRIDGE, "awake_s"},
    {CONFIG_IN_BRIDGE, "strict_sleep"},
    {CONFIG_IN_BRIDGE, "register_short"},
    {CONFIG_IN_BRIDGE, "log"},
    {CONFIG_IN_BROKER, "username"},
    {CONFIG_IN_BROKER, "password"},
    {CONFIG_IN_BROKER, "password_file"},
    {CONFIG_IN_BROKER, "ca_file"},
    {CONFIG_IN_BROKER, "cert_file"},
    {CONFIG_IN_BROKER, "key_file"},
    {CONFIG_IN_BROKER, "verify"},
    {CONFIG_IN_BROKER, "connect_timeout_s"},
    {CONFIG_IN_BROKER, "session_expiry_s"},
    {CONFIG_IN_BROKER, "reconnect_min_ms"},
    {CONFIG_IN_BROKER, "answer_timeout_s"},
    {CONFIG_IN_BROKER, "reconnect_max_ms"},
    {CONFIG_IN_LINK, "advertise_s"},
    {CONFIG_IN_LINK, "retry_ms"},
    {CONFIG_IN_LINK, "retry_min_ms"},
    {CONFIG_IN_LINK, "retry_max_ms"},
    {CONFIG_IN_LINK, "retries"},
    {CONFIG_IN_LINK, "gwinfo"},
    {CONFIG_IN_LINK, "qos_minus_one"},
    {CONFIG_IN_LINK, "roam"},
    {CONFIG_IN_LINK, "forwarders"},
};

bool config_is_live(const struct config_key *k)
{
    for (size_t i = 0; i < sizeof live / sizeof live[0]; i++) {
        if (k->section == live[i].section && strcmp(k->name, live[i].name) == 0) {
            return true;
        }
    }
    return false;
}

struct reload {
    const struct config *start;
    const struct config *running;
    struct config *out;
    config_change_fn *fn;
    void *ctx;
};

__attribute__((format(printf, 3, 4))) static void tell(const struct reload *r, bool applied,
                                                       const char *format, ...)
{
    char line[CONFIG_CHANGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    r->fn(r->ctx, applied, line);
}

/* ---- keys ------------------------------------------------------------------------------- */

static bool is_same(const struct config_key *k, const void *a, const void *b)
{
    if (!config_is_text(k)) {
        return config_get_number(k, a) == config_get_number(k, b);
    }
    return config_same_client(config_get_text(k, a), config_get_text(k, b));
}

static void print_value(const struct config_key *k, const void *owner, char *out, size_t size)
{
    FILE *f = fmemopen(out, size, "w");
    assert(f != NULL);
    config_print_value(k, owner, f);
    fclose(f);
    out[size - 1] = '\0';
}

static void tell_change(const struct reload *r, const char *title, const struct config_key *k,
                        bool applied, const void *before, const void *after)
{
    char old[CONFIG_VALUE_MAX];
    char new[CONFIG_VALUE_MAX];
    print_value(k, before, old, sizeof old);
    print_value(k, after, new, sizeof new);
    if (strcmp(old, new) == 0) { /* secrets are not shown */
        tell(r, applied, "[%s] %s: %s", title, k->name,
             applied ? "is another one" : "stays; another one needs a restart");
    } else if (applied) {
        tell(r, true, "[%s] %s: was %s, is %s", title, k->name, old, new);
    } else {
        tell(r, false, "[%s] %s: stays %s; %s needs a restart", title, k->name, old, new);
    }
}

static void take_over(const struct config_key *k, void *to, const void *from)
{
    if (config_is_text(k)) {
        config_set_text(k, to, config_get_text(k, from));
    } else {
        config_set_number(k, to, config_get_number(k, from));
    }
}

/* One key of out, which has the values of the start. */
static void adopt_key(const struct reload *r, const char *title, const struct config_key *k,
                      void *out, const void *fresh, const void *running, bool may_change)
{
    const bool applied = may_change && config_is_live(k);
    if (!is_same(k, running, fresh)) {
        tell_change(r, title, k, applied, running, fresh);
    }
    take_over(k, out, applied ? fresh : running);
    if (config_is_text(k) && !applied && config_is_live(k) && config_get_text(k, out) != NULL) {
        /* It belongs to the one that will be gone. */
        config_set_text(k, out, config_own_text(r->out, config_get_text(k, out)));
    }
}

static void adopt_section(const struct reload *r, enum config_section section, const char *title,
                          struct config *out, const struct config *fresh, bool may_change)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (config_keys[i].section == section) {
            adopt_key(r, title, &config_keys[i], out, fresh, r->running, may_change);
        }
    }
}

/* Names and passwords belong to one broker, and its session to one client id. */
static bool is_same_broker(const struct config *a, const struct config *b)
{
    return strcmp(a->broker.url, b->broker.url) == 0 &&
           strcmp(a->broker.client_id, b->broker.client_id) == 0;
}

/* ---- links and classes ---------------------------------------------------------------------- */

static const struct config_link *find_link(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->bridge.link_count; i++) {
        if (strcmp(c->links[i].core.name, name) == 0) {
            return &c->links[i];
        }
    }
    return NULL;
}

/* What the others of a link take their defaults from. */
static bool is_same_kind(const struct config_link *a, const struct config_link *b)
{
    return a->type == b->type && a->baud == b->baud && strcmp(a->profile, b->profile) == 0;
}

static void adopt_link(const struct reload *r, struct config_link *out,
                       const struct config_link *fresh, const struct config_link *running)
{
    char title[CONFIG_SECTION_MAX + 1];
    snprintf(title, sizeof title, "link %s", out->core.name);
    const bool may_change = is_same_kind(out, fresh);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (config_is_link_key(&config_keys[i])) {
            adopt_key(r, title, &config_keys[i], out, fresh, running, may_change);
        }
    }
}

static void adopt_links(const struct reload *r, struct config *out, const struct config *fresh)
{
    const size_t count = out->bridge.link_count;
    struct config_link *links = calloc(count, sizeof *links);
    struct bridge_link_config *cores = calloc(count, sizeof *cores);
    assert(links != NULL && cores != NULL);
    config_own(out, links);
    config_own(out, cores);
    for (size_t i = 0; i < count; i++) {
        links[i] = r->start->links[i];
        const struct config_link *found = find_link(fresh, links[i].core.name);
        if (found == NULL) {
            tell(r, false, "[link %s]: stays; to end it needs a restart", links[i].core.name);
            links[i] = r->running->links[i];
        } else {
            adopt_link(r, &links[i], found, &r->running->links[i]);
        }
        cores[i] = links[i].core;
    }
    for (size_t i = 0; i < fresh->bridge.link_count; i++) {
        if (find_link(r->start, fresh->links[i].core.name) == NULL) {
            tell(r, false, "[link %s]: is new, and needs a restart", fresh->links[i].core.name);
        }
    }
    out->links = links;
    out->bridge.links = cores;
}

/* Messages on disk carry the number of their class. */
static void look_at_classes(const struct reload *r, const struct config *fresh)
{
    const struct config *start = r->start;
    bool same = start->bridge.class_count == fresh->bridge.class_count;
    for (size_t n = 0; same && n < start->bridge.class_count; n++) {
        same = strcmp(start->classes[n].name, fresh->classes[n].name) == 0;
        for (size_t i = 0; same && i < CONFIG_KEY_COUNT; i++) {
            same = config_keys[i].section != CONFIG_IN_CLASS ||
                   is_same(&config_keys[i], &start->classes[n], &fresh->classes[n]);
        }
    }
    if (!same) {
        tell(r, false, "[class]: stay as they are; a change needs a restart");
    }
}

/* Sessions and their connections were made by them. */
static void look_at_modes(const struct reload *r, const struct config *fresh)
{
    const struct bridge_config *a = &r->start->bridge;
    const struct bridge_config *b = &fresh->bridge;
    bool same = a->mode_count == b->mode_count;
    for (size_t i = 0; same && i < a->mode_count; i++)
        same = a->modes[i].transparent == b->modes[i].transparent &&
               strcmp(a->modes[i].pattern, b->modes[i].pattern) == 0;
    if (!same)
        tell(r, false, "[modes]: stay as they are; a change needs a restart");
}

static void look_at_logins(const struct reload *r, const struct config *fresh)
{
    const struct broker_options *a = &r->start->broker;
    const struct broker_options *b = &fresh->broker;
    bool same = a->login_count == b->login_count;
    for (size_t i = 0; same && i < a->login_count; i++) {
        same = strcmp(a->logins[i].pattern, b->logins[i].pattern) == 0 &&
               strcmp(a->logins[i].username, b->logins[i].username) == 0 &&
               strcmp(a->logins[i].password, b->logins[i].password) == 0;
    }
    if (!same) {
        tell(r, false, "[broker] credentials_file: its logins stay; a change needs a restart");
    }
}

/* ---- topics ----------------------------------------------------------------------------------- */

static void look_at_topics(const struct reload *r, const struct config *fresh)
{
    const struct bridge_config *a = &r->running->bridge;
    const struct bridge_config *b = &fresh->bridge;
    bool same = a->predefined_count == b->predefined_count;
    for (size_t i = 0; same && i < a->predefined_count; i++) {
        same = a->predefined[i].tid == b->predefined[i].tid &&
               config_same_client(a->predefined[i].client, b->predefined[i].client) &&
               strcmp(a->predefined[i].topic, b->predefined[i].topic) == 0;
    }
    if (!same) {
        tell(r, true, "[topics]: %zu predefined ids, were %zu", b->predefined_count,
             a->predefined_count);
    }
}

void config_adopt(struct config *fresh, const struct config *start, const struct config *running,
                  config_change_fn *fn, void *ctx)
{
    struct config out = *start;
    const struct reload r = {.start = start, .running = running, .out = &out, .fn = fn, .ctx = ctx};
    out.owned = fresh->owned;
    out.owned_count = fresh->owned_count;
    adopt_section(&r, CONFIG_IN_BRIDGE, "bridge", &out, fresh, true);
    adopt_section(&r, CONFIG_IN_BROKER, "broker", &out, fresh, is_same_broker(start, fresh));
    adopt_links(&r, &out, fresh);
    look_at_classes(&r, fresh);
    look_at_modes(&r, fresh);
    look_at_logins(&r, fresh);
    look_at_topics(&r, fresh);
    out.bridge.predefined = fresh->bridge.predefined;
    out.bridge.predefined_count = fresh->bridge.predefined_count;
    *fresh = out;
}
