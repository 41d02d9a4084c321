#include "bridge/broker_keep.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct broker_kept **place(struct broker_keep *k, const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *p = name; *p != '\0'; p++)
        hash = (hash ^ (uint8_t)*p) * 16777619u;
    struct broker_kept **at = &k->buckets[hash % BROKER_KEEP_BUCKETS];
    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static void remove_at(struct broker_keep *k, struct broker_kept **at)
{
    struct broker_kept *kept = *at;
    if (kept == NULL)
        return;
    *at = kept->next;
    k->count--;
    free(kept);
}

void broker_keep_init(struct broker_keep *k)
{
    memset(k, 0, sizeof *k);
    pthread_mutex_init(&k->lock, NULL);
}

void broker_keep_free(struct broker_keep *k)
{
    broker_keep_clear(k);
    pthread_mutex_destroy(&k->lock);
}

uint8_t *broker_keep_put(struct broker_keep *k, const char *name, size_t len)
{
    assert(strlen(name) < BROKER_KEEP_NAME);
    struct broker_kept *kept = malloc(sizeof *kept + len);
    assert(kept != NULL);
    strcpy(kept->name, name);
    kept->len = len;
    pthread_mutex_lock(&k->lock);
    struct broker_kept **at = place(k, name);
    remove_at(k, at);
    kept->next = *at;
    *at = kept;
    k->count++;
    pthread_mutex_unlock(&k->lock);
    return kept->octets;
}

const uint8_t *broker_keep_find(struct broker_keep *k, const char *name, size_t *len)
{
    pthread_mutex_lock(&k->lock);
    const struct broker_kept *kept = *place(k, name);
    pthread_mutex_unlock(&k->lock);
    if (kept == NULL)
        return NULL;
    *len = kept->len;
    return kept->octets;
}

void broker_keep_remove(struct broker_keep *k, const char *name)
{
    pthread_mutex_lock(&k->lock);
    remove_at(k, place(k, name));
    pthread_mutex_unlock(&k->lock);
}

void broker_keep_clear(struct broker_keep *k)
{
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < BROKER_KEEP_BUCKETS; i++)
        while (k->buckets[i] != NULL)
            remove_at(k, &k->buckets[i]);
    pthread_mutex_unlock(&k->lock);
}

void broker_keep_list(struct broker_keep *k, void (*each)(void *ctx, const char *name), void *ctx)
{
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < BROKER_KEEP_BUCKETS; i++)
        for (const struct broker_kept *kept = k->buckets[i]; kept != NULL; kept = kept->next)
            each(ctx, kept->name);
    pthread_mutex_unlock(&k->lock);
}
