#include "bridge/broker_paho.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUBLISH_QOS_BITS 0x06 /* of the first octet of PUBLISH */
#define PUBLISH_QOS_1    0x02

/* ---- our thread: Paho's persistence, in memory ---- */

static int keep_open(void **handle, const char *client_id, const char *url, void *ctx)
{
    (void)client_id;
    (void)url;
    *handle = ctx;
    return 0;
}

static int keep_close(void *handle)
{
    (void)handle;
    return 0;
}

int paho_id_in(const char *key, const char *kind)
{
    const size_t len = strlen(kind);
    if (strncmp(key, kind, len) != 0)
        return 0;
    key += len;
    if (*key == '5')
        key++;
    return *key == '-' ? atoi(key + 1) : 0;
}

/* Paho has queued a command: its second part is the packet id. It cannot be on
 * its way before we return. */
static void note_mid(struct connection *c, const char *part)
{
    int mid;
    memcpy(&mid, part, sizeof mid);
    pthread_mutex_lock(&c->broker->lock);
    c->last_mid = mid;
    if (c->sending != NULL) {
        c->sending->token = mid;
        paho_custody_assigned(c, mid);
    }
    pthread_mutex_unlock(&c->broker->lock);
}

static int keep_put(void *handle, char *key, int count, char *parts[], int lens[])
{
    struct connection *c = handle;
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += (size_t)lens[i];
    if (key[0] == 'c' && count > 1 && lens[1] == (int)sizeof(int))
        note_mid(c, parts[1]);
    if (paho_id_in(key, "s") != 0 && (parts[0][0] & PUBLISH_QOS_BITS) == PUBLISH_QOS_1)
        return 0;
    paho_meter_packet(c);
    uint8_t *at = broker_keep_put(&c->keep, key, len);
    const uint8_t *first = at;
    for (int i = 0; i < count; i++) {
        memcpy(at, parts[i], (size_t)lens[i]);
        at += lens[i];
    }
    if (paho_id_in(key, "s") != 0)
        paho_custody_sending(c, paho_id_in(key, "s"));
    else if (paho_id_in(key, "sc") != 0)
        paho_custody_releasing(c, paho_id_in(key, "sc"));
    else if (paho_id_in(key, "r") != 0)
        paho_custody_received(c, paho_id_in(key, "r"), sn_bytes(first, len));
    return 0;
}

static int keep_get(void *handle, char *key, char **out, int *out_len)
{
    struct connection *c = handle;
    size_t len = 0;
    const uint8_t *octets = broker_keep_find(&c->keep, key, &len);
    if (octets == NULL)
        return MQTTCLIENT_PERSISTENCE_ERROR;
    *out = MQTTAsync_malloc(len + 1);
    if (*out == NULL)
        return MQTTCLIENT_PERSISTENCE_ERROR;
    memcpy(*out, octets, len);
    *out_len = (int)len;
    return 0;
}

/* Paho removes what may be there, under every name it may have. */
static int keep_remove(void *handle, char *key)
{
    struct connection *c = handle;
    size_t len;
    paho_meter_packet(c);
    if (paho_id_in(key, "r") != 0 && broker_keep_find(&c->keep, key, &len) != NULL)
        paho_custody_released(c, paho_id_in(key, "r"));
    broker_keep_remove(&c->keep, key);
    return 0;
}

struct key_list {
    char **keys;
    int count;
};

static void list_key(void *ctx, const char *name)
{
    struct key_list *list = ctx;
    char *copy = MQTTAsync_malloc(strlen(name) + 1);
    if (copy == NULL)
        return;
    strcpy(copy, name);
    list->keys[list->count++] = copy;
}

static int keep_keys(void *handle, char ***keys, int *count)
{
    struct connection *c = handle;
    struct broker_keep *k = &c->keep;
    struct key_list list = {0};
    if (k->count > 0 && (list.keys = MQTTAsync_malloc(k->count * sizeof(char *))) == NULL)
        return MQTTCLIENT_PERSISTENCE_ERROR;
    broker_keep_list(k, list_key, &list);
    *keys = list.keys;
    *count = list.count;
    return 0;
}

static int keep_clear(void *handle)
{
    struct connection *c = handle;
    broker_keep_clear(&c->keep);
    return 0;
}

static int keep_has(void *handle, char *key)
{
    struct connection *c = handle;
    size_t len;
    return broker_keep_find(&c->keep, key, &len) != NULL ? 0 : MQTTCLIENT_PERSISTENCE_ERROR;
}

/* Paho's name for a packet: a kind, by protocol, and the packet id. */
void paho_key_of(const struct connection *c, const char *kind, int mid, char *key)
{
    snprintf(key, BROKER_KEEP_NAME, "%s%s-%d", kind, c->handle_protocol == PROTOCOL_5 ? "5" : "",
             mid);
}

MQTTClient_persistence paho_persistence(struct connection *c)
{
    return (MQTTClient_persistence){
        .context = c,
        .popen = keep_open,
        .pclose = keep_close,
        .pput = keep_put,
        .pget = keep_get,
        .premove = keep_remove,
        .pkeys = keep_keys,
        .pclear = keep_clear,
        .pcontainskey = keep_has,
    };
}
