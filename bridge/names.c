#include "bridge/core.h"

#include <assert.h>
#include <string.h>

/* ---- names, each held once ---------------------------------------------------- */

static uint32_t name_hash(const struct bridge *b, struct sn_bytes text)
{
    return table_hash(b->config->seed, text.data, text.len);
}

struct name *name_find(const struct bridge *b, struct sn_bytes text)
{
    for (struct table_link *l = table_first(&b->names, name_hash(b, text)); l != NULL;
         l = table_next(l)) {
        struct name *n = TABLE_ENTRY(l, struct name, link);
        if (sn_bytes_equal(name_bytes(n), text))
            return n;
    }
    return NULL;
}

struct name *name_share(struct name *n)
{
    n->refs++;
    return n;
}

struct name *name_take(struct bridge *b, struct sn_bytes text)
{
    struct name *n = name_find(b, text);
    if (n != NULL)
        return name_share(n);
    assert(text.len <= UINT16_MAX);
    n = arena_take(&b->arena, sizeof(*n) + text.len);
    if (n == NULL)
        return NULL;
    n->refs = 1;
    n->class = NAME_CLASS_UNKNOWN;
    n->len = (uint16_t)text.len;
    memcpy(n->text, text.data, text.len);
    table_add(&b->names, &n->link, name_hash(b, text));
    return n;
}

void name_put(struct bridge *b, struct name *n)
{
    if (n == NULL || --n->refs > 0)
        return;
    table_remove(&n->link);
    arena_put(&b->arena, n);
}

uint8_t name_class(const struct bridge *b, struct name *n)
{
    if (n->class == NAME_CLASS_UNKNOWN)
        n->class = classes_match(b->config, name_bytes(n));
    return n->class;
}

/* ---- topic ids of a session ----------------------------------------------------- */

static uint32_t tid_hash(const struct bridge *b, uint32_t session, uint16_t tid)
{
    const uint32_t key[2] = {session, tid};
    return table_hash(b->config->seed, key, sizeof(key));
}

struct topic *topics_find(const struct bridge *b, const struct session *s, uint16_t tid)
{
    for (struct table_link *l = table_first(&b->topics_by_tid, tid_hash(b, s->number, tid));
         l != NULL; l = table_next(l)) {
        struct topic *t = TABLE_ENTRY(l, struct topic, by_tid);
        if (t->session == s && t->tid == tid)
            return t;
    }
    return NULL;
}

struct topic *topics_find_name(const struct bridge *b, const struct session *s,
                               const struct name *name)
{
    for (struct table_link *l = table_first(&b->topics_by_name, name->link.hash ^ s->number);
         l != NULL; l = table_next(l)) {
        struct topic *t = TABLE_ENTRY(l, struct topic, by_name);
        if (t->session == s && t->name == name)
            return t;
    }
    return NULL;
}

static struct topic **ring_of(struct session *s, const struct topic *t)
{
    return t->asked ? &s->asked : &s->told;
}

static void join_ring(struct session *s, struct topic *t)
{
    struct topic **first = ring_of(s, t);
    t->next = *first == NULL ? t : *first;
    t->prev = *first == NULL ? t : (*first)->prev;
    t->next->prev = t;
    t->prev->next = t;
    *first = t;
}

static void leave_ring(struct session *s, struct topic *t)
{
    struct topic **first = ring_of(s, t);
    t->next->prev = t->prev;
    t->prev->next = t->next;
    if (*first == t)
        *first = t->next == t ? NULL : t->next;
}

void topics_use(struct session *s, struct topic *t, bool asked)
{
    leave_ring(s, t);
    t->asked |= asked;
    join_ring(s, t);
}

/* 5.3.11: 0x0000 and 0xFFFF are never assigned. */
static uint16_t next_free_tid(const struct bridge *b, struct session *s)
{
    do {
        s->next_tid = s->next_tid >= 0xFFFE ? 1 : (uint16_t)(s->next_tid + 1);
    } while (topics_find(b, s, s->next_tid) != NULL);
    return s->next_tid;
}

struct topic *topics_add(struct bridge *b, struct session *s, struct name *name, uint16_t tid)
{
    if (s->topic_count >= b->config->max_topics) {
        bridge_note(b, BRIDGE_NOTE_TOPIC_LIMIT, s, name_bytes(name), s->topic_count);
        return NULL;
    }
    struct topic *t = arena_take(&b->arena, sizeof(*t));
    if (t == NULL) {
        bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, s, sn_bytes(NULL, 0), 0);
        return NULL;
    }
    t->session = s;
    t->name = name_share(name);
    t->tid = tid != 0 ? tid : next_free_tid(b, s);
    join_ring(s, t);
    s->topic_count++;
    table_add(&b->topics_by_tid, &t->by_tid, tid_hash(b, s->number, t->tid));
    table_add(&b->topics_by_name, &t->by_name, name->link.hash ^ s->number);
    return t;
}

void topics_remove(struct bridge *b, struct session *s, struct topic *t)
{
    leave_ring(s, t);
    s->topic_count--;
    table_remove(&t->by_tid);
    table_remove(&t->by_name);
    name_put(b, t->name);
    arena_put(&b->arena, t);
}

void topics_remove_all(struct bridge *b, struct session *s)
{
    while (s->asked != NULL)
        topics_remove(b, s, s->asked);
    while (s->told != NULL)
        topics_remove(b, s, s->told);
}

/* What the device or the disk is being told of stays. */
static bool may_go(const struct bridge *b, const struct session *s, const struct topic *t)
{
    return t->saved <= b->durable && (s->flying == NULL || s->flying->topic != t->name);
}

static struct topic *least_used(const struct bridge *b, const struct session *s,
                                struct topic *first)
{
    if (first == NULL)
        return NULL;
    struct topic *t = first->prev;
    while (t != first && !may_go(b, s, t))
        t = t->prev;
    return may_go(b, s, t) ? t : NULL;
}

static void make_room(struct bridge *b, struct session *s)
{
    struct topic *t = least_used(b, s, s->told);
    if (t == NULL)
        t = least_used(b, s, s->asked);
    if (t == NULL)
        return;
    bridge_note(b, BRIDGE_NOTE_TOPIC_REPLACED, s, name_bytes(t->name), t->tid);
    erase_record(b, s, BRIDGE_RECORD_TOPIC, t->tid);
    topics_remove(b, s, t);
}

struct topic *topics_take(struct bridge *b, struct session *s, struct name *name, bool asked)
{
    struct topic *t = topics_find_name(b, s, name);
    if (t == NULL) {
        if (s->topic_count >= b->config->max_topics)
            make_room(b, s);
        if ((t = topics_add(b, s, name, 0)) == NULL)
            return NULL;
        save_topic(b, s, t);
    }
    topics_use(s, t, asked);
    return t;
}

static void turn_known(struct topic *first, enum topic_known from, enum topic_known to)
{
    struct topic *t = first;
    if (t == NULL)
        return;
    do {
        if (t->known == from)
            t->known = (uint8_t)to;
        t = t->next;
    } while (t != first);
}

void topics_doubt(struct session *s)
{
    turn_known(s->asked, TOPIC_KNOWN, TOPIC_TOLD_BEFORE);
    turn_known(s->told, TOPIC_KNOWN, TOPIC_TOLD_BEFORE);
}

void topics_kept(struct session *s, bool kept)
{
    turn_known(s->asked, TOPIC_TOLD_BEFORE, kept ? TOPIC_KNOWN : TOPIC_UNKNOWN);
    turn_known(s->told, TOPIC_TOLD_BEFORE, kept ? TOPIC_KNOWN : TOPIC_UNKNOWN);
}

/* ---- predefined ids --------------------------------------------------------------- */

static uint32_t predefined_hash(const struct bridge *b, struct sn_bytes client, uint32_t tid)
{
    return table_hash(b->config->seed + tid, client.data, client.len);
}

static void predefined_free(struct bridge *b, struct predefined *list)
{
    while (list != NULL) {
        struct predefined *p = list;
        list = p->next;
        table_remove(&p->link);
        name_put(b, p->name);
        arena_put(&b->arena, p);
    }
}

/* All of a configuration, in no table yet; false: no memory. */
static bool predefined_make(struct bridge *b, const struct bridge_config *c,
                            struct predefined **out)
{
    struct predefined *list = NULL;
    for (size_t i = 0; i < c->predefined_count; i++) {
        const struct bridge_predefined *from = &c->predefined[i];
        struct name *name = name_take(b, sn_bytes_text(from->topic));
        struct predefined *p = name == NULL ? NULL : arena_take(&b->arena, sizeof(*p));
        if (p == NULL) {
            if (name != NULL)
                name_put(b, name);
            predefined_free(b, list);
            return false;
        }
        *p = (struct predefined){
            .next = list,
            .client = from->client == NULL ? sn_bytes(NULL, 0) : sn_bytes_text(from->client),
            .tid = from->tid,
            .name = name,
        };
        list = p;
    }
    *out = list;
    return true;
}

bool predefined_change(struct bridge *b, const struct bridge_config *c)
{
    struct predefined *fresh;
    if (!predefined_make(b, c, &fresh))
        return false;
    predefined_free(b, b->predefined);
    b->predefined = fresh;
    for (struct predefined *p = fresh; p != NULL; p = p->next)
        table_add(&b->predefined_by_tid, &p->link, predefined_hash(b, p->client, p->tid));
    return true;
}

static struct name *predefined_of(const struct bridge *b, struct sn_bytes client, uint16_t tid)
{
    for (struct table_link *l = table_first(&b->predefined_by_tid, predefined_hash(b, client, tid));
         l != NULL; l = table_next(l)) {
        struct predefined *p = TABLE_ENTRY(l, struct predefined, link);
        if (p->tid == tid && sn_bytes_equal(p->client, client))
            return p->name;
    }
    return NULL;
}

struct name *predefined_find(const struct bridge *b, const struct session *s, uint16_t tid)
{
    struct name *own = s == NULL ? NULL : predefined_of(b, blob_bytes(s->client_id), tid);
    return own != NULL ? own : predefined_of(b, sn_bytes(NULL, 0), tid);
}

/* Tables of predefined ids are short and this is asked once per message to a
 * sensor that does not know the name: a walk is enough. */
uint16_t predefined_find_name(const struct bridge *b, const struct session *s,
                              const struct name *name)
{
    for (size_t i = 0; i < b->config->predefined_count; i++) {
        const struct bridge_predefined *p = &b->config->predefined[i];
        const bool ours =
            p->client == NULL || sn_bytes_equal(sn_bytes_text(p->client), blob_bytes(s->client_id));
        if (ours && sn_bytes_equal(sn_bytes_text(p->topic), name_bytes(name)) &&
            predefined_find(b, s, p->tid) == name)
            return p->tid;
    }
    return 0;
}
