/* What only several keys together can get wrong, and what one gives another. */
#include "bridge/config_parts.h"

#include "bridge/broker_tls.h"
#include "bridge/classes.h"
#include "bridge/dollar.h"
#include "bridge/permit.h"
#include "radio/framing.h"
#include "radio/link_udp.h"
#include "radio/profile.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static bool is_any(const struct config_endpoint *e)
{
    static const uint8_t zero[16];
    return memcmp(e->address, zero, sizeof zero) == 0;
}

static bool is_multicast(const struct config_endpoint *e)
{
    return e->family == AF_INET ? (e->address[0] & 0xF0) == 0xE0 : e->address[0] == 0xFF;
}

static bool is_encrypted(const char *url)
{
    return strncmp(url, "ssl:", 4) == 0 || strncmp(url, "wss:", 4) == 0 ||
           strncmp(url, "mqtts:", 6) == 0;
}

static unsigned line_of(const unsigned *lines, enum config_section s, const char *name)
{
    return lines[config_key_index(config_find_key(s, name))];
}

static void read_password(struct config_reading *r)
{
    struct config *c = &r->config;
    const unsigned line = line_of(r->key_line, CONFIG_IN_BROKER, "password_file");
    char *text = NULL;
    size_t size = 0;

    if (c->password_file == NULL) {
        return;
    }
    if (c->broker.password != NULL) {
        config_fault(r, line,
                     "[broker] password_file: found beside password, allowed is one of the two");
        return;
    }
    FILE *f = fopen(c->password_file, "re");
    if (f == NULL) {
        return; /* has been said when the key was read */
    }
    if (getline(&text, &size, f) > 0 && strcspn(text, "\r\n") > 0) {
        text[strcspn(text, "\r\n")] = '\0';
        c->broker.password = config_own_text(c, text);
    } else if (!ferror(f)) {
        config_fault(
            r, line,
            "[broker] password_file: the first line of \"%s\" is empty, it is the password",
            c->password_file);
    }
    free(text);
    fclose(f);
}

/* What is in the files; that they can be read has been seen. */
static void check_tls(struct config_reading *r)
{
    const char *key = NULL;
    char why[512];
    if (is_encrypted(r->config.broker.url) && r->faults == 0 &&
        !broker_tls_check(&r->config.broker, &key, why, sizeof why)) {
        config_fault(r, line_of(r->key_line, CONFIG_IN_BROKER, key), "[broker] %s: %s", key, why);
    }
}

static void check_broker(struct config_reading *r)
{
    const struct config *c = &r->config;
    const char *const tls[] = {"ca_file", "cert_file", "key_file"};

    for (size_t i = 0; i < sizeof tls / sizeof tls[0]; i++) {
        const unsigned line = line_of(r->key_line, CONFIG_IN_BROKER, tls[i]);
        const char *path = config_get_text(config_find_key(CONFIG_IN_BROKER, tls[i]), c);
        if (path != NULL && !is_encrypted(c->broker.url)) {
            config_fault(r, line,
                         "[broker] %s: found, but url is \"%s\" and not encrypted; ssl:// and "
                         "wss:// are",
                         tls[i], c->broker.url);
        }
    }
    if (c->broker.key_file != NULL && c->broker.cert_file == NULL) {
        config_fault(r, line_of(r->key_line, CONFIG_IN_BROKER, "key_file"),
                     "[broker] key_file: found without cert_file");
    }
    if (c->broker.password != NULL && c->broker.username == NULL) {
        config_fault(r, line_of(r->key_line, CONFIG_IN_BROKER, "password"),
                     "[broker] password: found without username");
    }
    if (c->bridge.reconnect_min_ms > c->bridge.reconnect_max_ms) {
        config_fault(r, line_of(r->key_line, CONFIG_IN_BROKER, "reconnect_min_ms"),
                     "[broker] reconnect_min_ms: found %u, allowed is up to reconnect_max_ms = %u",
                     c->bridge.reconnect_min_ms, c->bridge.reconnect_max_ms);
    }
}

static void check_classes(struct config_reading *r)
{
    const struct config *c = &r->config;
    for (size_t i = 0; i < c->bridge.class_count; i++) {
        const unsigned line = line_of(r->classes[i].key, CONFIG_IN_CLASS, "topics");
        const char *at = c->classes[i].topics == NULL ? "" : c->classes[i].topics;
        struct sn_bytes filter;
        if (i == 0 && line != 0) {
            config_fault(r, line,
                         "[class default] topics: found, but this class is for all that "
                         "no other matches");
        } else if (i > 0 && !classes_next_filter(&at, &filter)) {
            config_fault(r, line != 0 ? line : r->classes[i].section,
                         "[class %s] topics: missing, required", c->classes[i].name);
        }
        if (c->classes[i].newest && !c->classes[i].live)
            config_fault(r, line_of(r->classes[i].key, CONFIG_IN_CLASS, "drain"),
                         "[class %s] drain: found newest with order = strict, allowed is oldest",
                         c->classes[i].name);
    }
}

/* ---- which topics sensors may use --------------------------------------------- */

static void check_topics(struct config_reading *r)
{
    const struct bridge_config *c = &r->config.bridge;
    const unsigned line = line_of(r->key_line, CONFIG_IN_BRIDGE, "dollar_topics");
    const char *at = c->dollar_topics;
    struct sn_bytes word;
    while (classes_next_filter(&at, &word))
        if (!dollar_may_name(word))
            config_fault(r, line,
                         "[bridge] dollar_topics: found \"%.*s\", allowed are first levels of "
                         "topics such as $SYS, and no groups or queues",
                         (int)word.len, (const char *)word.data);
    for (size_t i = 0; i < c->predefined_count; i++) {
        const struct bridge_predefined *p = &r->predefined[i];
        if (!dollar_may_subscribe(c, sn_bytes_text(p->topic)))
            config_fault(r, r->predefined_line[i],
                         "[topics%s%s] %u: found \"%s\", allowed with $ in front are those of "
                         "dollar_topics = %s",
                         p->client != NULL ? " " : "", p->client != NULL ? p->client : "", p->tid,
                         p->topic, c->dollar_topics);
        else if (!permit_levels(c, sn_bytes_text(p->topic)))
            config_fault(r, r->predefined_line[i],
                         "[topics%s%s] %u: found \"%s\", allowed are max_topic_levels = %u",
                         p->client != NULL ? " " : "", p->client != NULL ? p->client : "", p->tid,
                         p->topic, c->max_topic_levels);
    }
}

/* ---- links ------------------------------------------------------------------ */

static const struct radio_profile *find_profile(struct config_reading *r, struct config_link *l,
                                                const struct section_lines *lines)
{
    if (l->profile == NULL) {
        l->profile = l->type == CONFIG_LINK_UDP ? RADIO_PROFILE_UDP : RADIO_PROFILE_SERIAL;
    }
    const struct radio_profile *p = radio_profile_find(l->profile);
    if (p != NULL) {
        return p;
    }
    if (config_fault_begins(r, line_of(lines->key, CONFIG_IN_LINK, "profile"))) {
        fprintf(r->errors, "[link %s] profile: found \"%s\", allowed is one of ", l->core.name,
                l->profile);
        for (size_t i = 0; i < radio_profile_count(); i++) {
            fprintf(r->errors, "%s%s", i == 0 ? "" : ", ", radio_profile_at(i)->name);
        }
        fputc('\n', r->errors);
    }
    return radio_profile_find(RADIO_PROFILE_UDP);
}

/* A wire is as fast as its port, unless a profile says that there is more
 * between the ends than a wire. */
static void adopt_port(struct radio_profile *p, const struct config_link *l)
{
    p->up_bits_per_s = l->baud;
    p->down_bits_per_s = l->baud;
    p->bits_per_octet =
        (uint8_t)(1 + l->data_bits + (l->parity != CONFIG_PARITY_NONE) + l->stop_bits);
}

/* Fills in what the file does not say. */
static void apply_profile(struct config_reading *r, struct config_link *l,
                          const struct section_lines *lines)
{
    const bool is_given = l->profile != NULL;
    struct radio_profile p = *find_profile(r, l, lines);
    if (l->type == CONFIG_LINK_SERIAL && !is_given) {
        adopt_port(&p, l);
    }
    if (line_of(lines->key, CONFIG_IN_LINK, "frame_max") != 0) {
        p.frame_max = l->core.frame_max;
    }
    const bool has_retry = line_of(lines->key, CONFIG_IN_LINK, "retry_ms") != 0;
    if (has_retry) {
        p.retry_ms = l->core.retry_ms;
    }
    const struct radio_rtt_limits limits = radio_profile_rtt_limits(&p);
    const struct radio_pacer_options pacer = radio_profile_pacer(&p);
    struct config_link filled = *l;
    filled.core.frame_max = p.frame_max;
    filled.core.retry_ms = limits.start_ms;
    /* A wait that was chosen below the usual least one is meant so. */
    filled.core.retry_min_ms = limits.min_ms < limits.start_ms ? limits.min_ms : limits.start_ms;
    filled.core.retry_max_ms = limits.max_ms;
    filled.core.retries = p.retries;
    filled.core.bits_per_s = pacer.bits_per_s;
    filled.core.overhead_bits = pacer.overhead_bits;
    filled.core.bits_per_octet = pacer.bits_per_octet;
    filled.core.duty_per_mille = pacer.duty_per_mille;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *k = &config_keys[i];
        if (k->standard != NULL && strcmp(k->standard, CONFIG_FROM_PROFILE) == 0 &&
            lines->key[i] == 0) {
            config_set_number(k, l, config_get_number(k, &filled));
        }
    }
}

static void check_serial(struct config_reading *r, const struct config_link *l,
                         const struct section_lines *lines)
{
    enum radio_framing framing;
    if (l->device == NULL) {
        config_fault(r, lines->section, "[link %s] device: missing, required with type = serial",
                     l->core.name);
    }
    if (l->flow_control == CONFIG_FLOW_XONXOFF && radio_framing_find(l->framing, &framing) &&
        !radio_framing_is_xonxoff_safe(framing)) {
        config_fault(r, line_of(lines->key, CONFIG_IN_LINK, "flow_control"),
                     "[link %s] flow_control: found xonxoff with framing = %s, which sends the "
                     "octets 11 and 13 as data; allowed is framing = hdlc",
                     l->core.name, l->framing);
    }
}

static void check_forwarders(struct config_reading *r, struct config_link *l,
                             const struct section_lines *lines)
{
    if (l->forwarder_list == NULL) {
        return;
    }
    size_t count = 1;
    for (const char *at = l->forwarder_list; (at = strchr(at, ',')) != NULL; at++) {
        count++;
    }
    struct radio_mask *list = calloc(count, sizeof *list);
    assert(list != NULL);
    config_own(&r->config, list);
    l->core.forwarder_list = list;
    for (const char *at = l->forwarder_list; at != NULL; at = strchr(at, ',')) {
        char text[100];
        at += strspn(at, ", \t");
        const size_t len = strcspn(at, ", \t");
        (void)snprintf(text, sizeof text, "%.*s", (int)len, at);
        if (len >= sizeof text || !radio_udp_mask(text, &list[l->core.forwarder_count++])) {
            config_fault(r, line_of(lines->key, CONFIG_IN_LINK, "forwarder_list"),
                         "[link %s] forwarder_list: found \"%s\", allowed are addresses in numbers "
                         "such as 192.0.2.7 or [2001:db8::7]:1883",
                         l->core.name, text);
            return;
        }
    }
}

static void check_udp(struct config_reading *r, struct config_link *l,
                      const struct section_lines *lines)
{
    struct config_endpoint e;
    struct config_endpoint listen;
    check_forwarders(r, l, lines);
    if (l->multicast == NULL) {
        if (l->core.advertise_s > 0) {
            config_fault(r, line_of(lines->key, CONFIG_IN_LINK, "advertise_s"),
                         "[link %s] advertise_s: found %u without multicast, the group to send to",
                         l->core.name, l->core.advertise_s);
        }
        l->core.gwinfo_broadcast = false; /* there is nobody to broadcast to */
        return;
    }
    if (!config_parse_endpoint(l->multicast, &e) || !config_parse_endpoint(l->listen, &listen)) {
        return; /* has been said */
    }
    if (!is_multicast(&e)) {
        config_fault(r, line_of(lines->key, CONFIG_IN_LINK, "multicast"),
                     "[link %s] multicast: found \"%s\", allowed is a multicast group such as "
                     "225.1.1.1:1884",
                     l->core.name, l->multicast);
    } else if (e.family != listen.family) {
        config_fault(r, line_of(lines->key, CONFIG_IN_LINK, "multicast"),
                     "[link %s] multicast: found \"%s\" with listen = %s, allowed are two IPv4 or "
                     "two IPv6 addresses",
                     l->core.name, l->multicast, l->listen);
    }
}

static void check_link(struct config_reading *r, struct config_link *l, struct section_lines *lines)
{
    const char *name = l->core.name;
    if (line_of(lines->key, CONFIG_IN_LINK, "type") == 0) {
        config_fault(r, lines->section, "[link %s] type: missing, allowed is udp or serial", name);
        lines->faulty = true;
        return;
    }
    const enum config_section other = l->type == CONFIG_LINK_UDP ? CONFIG_IN_SERIAL : CONFIG_IN_UDP;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (config_keys[i].section == other && lines->key[i] != 0) {
            config_fault(r, lines->key[i], "[link %s] %s: found, but the link's type is %s", name,
                         config_keys[i].name, l->type == CONFIG_LINK_UDP ? "udp" : "serial");
        }
    }
    apply_profile(r, l, lines);
    l->core.may_echo = l->type == CONFIG_LINK_SERIAL;
    if (l->core.retry_min_ms > l->core.retry_ms || l->core.retry_ms > l->core.retry_max_ms) {
        config_fault(
            r, lines->section,
            "[link %s] retry_ms: found retry_min_ms = %u, retry_ms = %u, retry_max_ms = %u, "
            "allowed is this order only",
            name, l->core.retry_min_ms, l->core.retry_ms, l->core.retry_max_ms);
    }
    if (l->type == CONFIG_LINK_SERIAL) {
        check_serial(r, l, lines);
    } else {
        check_udp(r, l, lines);
    }
}

/* Whether two links would take the same port or device. */
static bool is_same_place(const struct config_link *a, const struct config_link *b)
{
    if (a->type != b->type) {
        return false;
    }
    if (a->type == CONFIG_LINK_UDP) {
        struct config_endpoint x;
        struct config_endpoint y;
        return config_parse_endpoint(a->listen, &x) && config_parse_endpoint(b->listen, &y) &&
               x.family == y.family && x.port == y.port &&
               (is_any(&x) || is_any(&y) || memcmp(x.address, y.address, sizeof x.address) == 0);
    }
    if (a->device == NULL || b->device == NULL) {
        return false;
    }
    /* Two names under /dev may mean one port. */
    char *real_a = realpath(a->device, NULL);
    char *real_b = realpath(b->device, NULL);
    const bool same = real_a != NULL && real_b != NULL ? strcmp(real_a, real_b) == 0
                                                       : strcmp(a->device, b->device) == 0;
    free(real_a);
    free(real_b);
    return same;
}

static void check_place(struct config_reading *r, size_t i)
{
    const struct config_link *links = r->config.links;
    for (size_t j = 0; j < i; j++) {
        if (r->links[j].faulty || !is_same_place(&links[i], &links[j])) {
            continue;
        }
        const bool udp = links[i].type == CONFIG_LINK_UDP;
        const char *key = udp ? "listen" : "device";
        const unsigned line = line_of(r->links[i].key, CONFIG_IN_LINK, key);
        config_fault(r, line > 0 ? line : r->links[i].section,
                     "[link %s] %s: found \"%s\", which [link %s] uses already", links[i].core.name,
                     key, udp ? links[i].listen : links[i].device, links[j].core.name);
        return;
    }
}

static void check_links(struct config_reading *r)
{
    struct config *c = &r->config;
    if (c->bridge.link_count == 0) {
        config_fault(r, 0, "no [link NAME] section, at least one is required");
    }
    for (size_t i = 0; i < c->bridge.link_count; i++) {
        check_link(r, &c->links[i], &r->links[i]);
        if (!r->links[i].faulty) {
            check_place(r, i);
        }
    }
}

void config_complete(struct config_reading *r)
{
    read_password(r);
    config_read_credentials(r);
    check_broker(r);
    check_classes(r);
    check_topics(r);
    check_links(r);
    check_tls(r);
}
