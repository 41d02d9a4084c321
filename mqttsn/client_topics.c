#include "mqttsn/client_parts.h"

struct sn_bytes snc_topic_name(const struct sn_client *c, size_t place)
{
    return sn_bytes(c->cfg->names + place * c->cfg->name_size, c->cfg->topics[place].len);
}

struct sn_client_topic *snc_find_name(struct sn_client *c, struct sn_bytes name)
{
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        struct sn_client_topic *t = &c->cfg->topics[i];
        if (t->used != 0 && sn_bytes_equal(snc_topic_name(c, i), name)) {
            t->used = ++c->uses;
            return t;
        }
    }
    return NULL;
}

struct sn_client_topic *snc_find_tid(struct sn_client *c, uint16_t tid)
{
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        struct sn_client_topic *t = &c->cfg->topics[i];
        if (t->used != 0 && t->tid == tid) {
            t->used = ++c->uses;
            return t;
        }
    }
    return NULL;
}

static bool is_in_open_request(const struct sn_client *c, size_t place)
{
    return c->open.what == SN_PUBLISH && c->open.topic_kind == SN_TOPIC_NORMAL &&
           c->open.slot == place;
}

struct sn_client_topic *snc_place_for(struct sn_client *c, struct sn_bytes name)
{
    struct sn_client_topic *oldest = snc_find_name(c, name);
    if (oldest != NULL) {
        return oldest;
    }
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        struct sn_client_topic *t = &c->cfg->topics[i];
        if (!is_in_open_request(c, i) && (oldest == NULL || t->used < oldest->used)) {
            oldest = t;
        }
    }
    if (oldest != NULL) {
        const size_t place = (size_t)(oldest - c->cfg->topics);
        memcpy(c->cfg->names + place * c->cfg->name_size, name.data, name.len);
        *oldest = (struct sn_client_topic){.used = ++c->uses, .len = (uint16_t)name.len};
    }
    return oldest;
}

void snc_pair(struct sn_client *c, struct sn_client_topic *t, uint16_t tid)
{
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        if (c->cfg->topics[i].tid == tid) {
            c->cfg->topics[i].tid = 0;
        }
    }
    t->tid = tid;
}

void snc_forget_tids(struct sn_client *c)
{
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        c->cfg->topics[i].tid = 0;
    }
}
