/* What the client library wants kept of a session: values by short names.
 *
 * In memory only. It outlives a handle of the library, so that the messages in
 * flight when a connection is lost can be given to the handle of the next one.
 * Exactly once through the end of the process would need the same values on
 * disk, written together with the store's own: this is the seam for it.
 *
 * Every function takes the lock inside; any thread may call.
 */
#ifndef BRIDGE_BROKER_KEEP_H
#define BRIDGE_BROKER_KEEP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BROKER_KEEP_BUCKETS 256u
#define BROKER_KEEP_NAME    16u /* octets of the longest name, with its zero */

struct broker_kept {
    struct broker_kept *next;
    char name[BROKER_KEEP_NAME];
    size_t len;
    uint8_t octets[];
};

struct broker_keep {
    pthread_mutex_t lock;
    size_t count;
    struct broker_kept *buckets[BROKER_KEEP_BUCKETS];
};

void broker_keep_init(struct broker_keep *k);

/* Forgets everything and the lock. */
void broker_keep_free(struct broker_keep *k);

/* Room for a value of len octets under this name, replacing an older value: the
 * caller fills it before he lets anybody else use the name. */
uint8_t *broker_keep_put(struct broker_keep *k, const char *name, size_t len);

/* The value, or NULL. Valid until it is replaced or removed. */
const uint8_t *broker_keep_find(struct broker_keep *k, const char *name, size_t *len);

void broker_keep_remove(struct broker_keep *k, const char *name);
void broker_keep_clear(struct broker_keep *k);

/* Calls each() once for every name. */
void broker_keep_list(struct broker_keep *k, void (*each)(void *ctx, const char *name), void *ctx);

#endif
