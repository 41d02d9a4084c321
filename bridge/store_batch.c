#include "bridge/store_batch.h"

#include <assert.h>
#include <stdlib.h>

#define CHUNK_BYTES ((size_t)64 << 10)
#define SPARES_MAX  64u

struct store_chunk {
    struct store_chunk *next;
    size_t size;
    size_t used;
    max_align_t data[];
};

/* ---- memory ---------------------------------------------------------------- */

static void drop_chunk(struct store_box *box, struct store_chunk *chunk)
{
    if (chunk->size == CHUNK_BYTES && box->spares < SPARES_MAX) {
        chunk->next = box->spare;
        box->spare = chunk;
        box->spares++;
    } else {
        free(chunk);
    }
}

static struct store_chunk *take_chunk(struct store_box *box, size_t size)
{
    struct store_chunk *chunk = box->spare;

    if (size <= CHUNK_BYTES && chunk != NULL) {
        box->spare = chunk->next;
        box->spares--;
    } else {
        size = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        chunk = malloc(sizeof *chunk + size);
        if (chunk == NULL)
            abort();
        chunk->size = size;
    }
    chunk->next = NULL;
    chunk->used = 0;
    return chunk;
}

static void *take(struct store_box *box, size_t size)
{
    const size_t unit = sizeof(max_align_t);
    size = (size + unit - 1) / unit * unit;

    if (box->last == NULL || box->last->size - box->last->used < size) {
        struct store_chunk *chunk = take_chunk(box, size);
        if (box->last == NULL)
            box->first = chunk;
        else
            box->last->next = chunk;
        box->last = chunk;
    }
    void *at = (uint8_t *)box->last->data + box->last->used;
    box->last->used += size;
    return at;
}

void store_box_release(struct store_box *box, const struct store_batch *batch)
{
    const struct store_chunk *end = batch == NULL ? NULL : batch->end;

    if (batch != NULL && end == NULL)
        return;
    while (box->first != end) {
        struct store_chunk *chunk = box->first;
        box->first = chunk->next;
        drop_chunk(box, chunk);
    }
    if (box->first == NULL)
        box->last = NULL;
}

void store_box_clear(struct store_box *box)
{
    store_box_release(box, NULL);
    if (box->slots_used > 0)
        memset(box->slots, 0, box->slot_count * sizeof *box->slots);
    box->slots_used = 0;
    box->dead = 0;
}

void store_box_free(struct store_box *box)
{
    store_box_clear(box);
    while (box->spare != NULL) {
        struct store_chunk *chunk = box->spare;
        box->spare = chunk->next;
        free(chunk);
    }
    free(box->slots);
    *box = (struct store_box){0};
}

/* ---- the index ------------------------------------------------------------- */

static bool is_row(const struct store_op *op)
{
    return op->type == BRIDGE_DO_STORE || op->type == BRIDGE_DO_MARK ||
           op->type == BRIDGE_DO_FORGET;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ b * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
}

static uint64_t hash_row(uint32_t queue, uint64_t seq)
{
    return mix(queue, seq);
}

static uint64_t hash_record(uint32_t session, enum bridge_record_kind kind, uint32_t key)
{
    return mix((uint64_t)kind << 32 | session, ~(uint64_t)key);
}

static uint64_t hash_of(const struct store_op *op)
{
    if (op->type == BRIDGE_DO_STORE)
        return hash_row(op->message.queue, op->message.seq);
    if (is_row(op))
        return hash_row(op->row.queue, op->row.seq);
    return hash_record(op->record.session, op->record.kind, op->record.key);
}

static bool matches_row(const struct store_op *op, uint32_t queue, uint64_t seq)
{
    if (op->type == BRIDGE_DO_STORE)
        return op->message.queue == queue && op->message.seq == seq;
    return is_row(op) && op->row.queue == queue && op->row.seq == seq;
}

static bool matches_record(const struct store_op *op, uint32_t session,
                           enum bridge_record_kind kind, uint32_t key)
{
    return !is_row(op) && op->record.session == session && op->record.kind == kind &&
           op->record.key == key;
}

static bool same(const struct store_op *a, const struct store_op *b)
{
    if (b->type == BRIDGE_DO_STORE)
        return matches_row(a, b->message.queue, b->message.seq);
    if (is_row(b))
        return matches_row(a, b->row.queue, b->row.seq);
    return matches_record(a, b->record.session, b->record.kind, b->record.key);
}

/* A slot below the floor may point to memory that has been given back. */
static bool is_current(const struct store_box *box, const struct store_slot *slot)
{
    return slot->ticket != 0 && slot->ticket >= box->floor && !slot->op->dead;
}

static void insert(struct store_box *box, uint64_t ticket, uint64_t hash, struct store_op *op)
{
    size_t i = hash & (box->slot_count - 1);
    while (is_current(box, &box->slots[i]))
        i = (i + 1) & (box->slot_count - 1);
    if (box->slots[i].ticket == 0)
        box->slots_used++;
    box->slots[i] = (struct store_slot){.ticket = ticket, .hash = hash, .op = op};
}

/* Leaves behind what is not current; doubles when most of it is. */
static void rebuild(struct store_box *box)
{
    struct store_slot *old = box->slots;
    const size_t old_count = box->slot_count;
    size_t current = 0;

    for (size_t i = 0; i < old_count; i++)
        current += is_current(box, &old[i]);
    box->slot_count = 256;
    while (box->slot_count < 4 * current)
        box->slot_count *= 2;
    box->slots = calloc(box->slot_count, sizeof *box->slots);
    if (box->slots == NULL)
        abort();
    box->slots_used = 0;
    for (size_t i = 0; i < old_count; i++)
        if (is_current(box, &old[i]))
            insert(box, old[i].ticket, old[i].hash, old[i].op);
    free(old);
}

static void index_op(struct store_box *box, struct store_op *op)
{
    if (2 * (box->slots_used + 1) > box->slot_count)
        rebuild(box);
    insert(box, op->ticket, hash_of(op), op);
}

static struct store_op *find(const struct store_box *box, const struct store_op *like)
{
    if (box->slot_count == 0)
        return NULL;

    const uint64_t hash = hash_of(like);
    for (size_t i = hash & (box->slot_count - 1); box->slots[i].ticket != 0;
         i = (i + 1) & (box->slot_count - 1))
        if (box->slots[i].hash == hash && is_current(box, &box->slots[i]) &&
            same(box->slots[i].op, like))
            return box->slots[i].op;
    return NULL;
}

struct store_op *store_box_find_row(const struct store_box *box, uint32_t queue, uint64_t seq)
{
    return find(box, &(struct store_op){.type = BRIDGE_DO_FORGET, .row = {queue, seq, 0}});
}

struct store_op *store_box_find_record(const struct store_box *box, uint32_t session,
                                       enum bridge_record_kind kind, uint32_t key)
{
    return find(box, &(struct store_op){.type = BRIDGE_DO_ERASE,
                                        .record = {.session = session, .kind = kind, .key = key}});
}

/* ---- batches --------------------------------------------------------------- */

/* Returns how much memory that took. The copies of one message for many come one after
 * the other, in one turn: they share what an earlier one has. */
static size_t copy_bytes(struct store_box *box, struct sn_bytes *bytes, struct sn_bytes earlier)
{
    if (bytes->len == 0) {
        bytes->data = NULL;
        return 0;
    }
    if (bytes->len == earlier.len && memcmp(bytes->data, earlier.data, bytes->len) == 0) {
        bytes->data = earlier.data;
        return 0;
    }
    uint8_t *copy = take(box, bytes->len);
    memcpy(copy, bytes->data, bytes->len);
    bytes->data = copy;
    return bytes->len;
}

static struct store_op *append(struct store_box *box, struct store_batch *batch,
                               const struct store_op *op)
{
    struct store_op *copy = take(box, sizeof *copy);
    *copy = *op;
    copy->next = NULL;
    batch->bytes += sizeof *copy;
    if (op->type == BRIDGE_DO_STORE) {
        static const struct bridge_message none = {0};
        const struct store_op *last = batch->last;
        const struct bridge_message *earlier =
            last != NULL && last->type == BRIDGE_DO_STORE ? &last->message : &none;
        batch->bytes += copy_bytes(box, &copy->message.topic, earlier->topic);
        batch->bytes += copy_bytes(box, &copy->message.payload, earlier->payload);
    } else if (op->type == BRIDGE_DO_SAVE) {
        batch->bytes += copy_bytes(box, &copy->record.value, (struct sn_bytes){0});
    } else if (op->type == BRIDGE_DO_ERASE) {
        copy->record.value = (struct sn_bytes){0};
    }

    if (batch->last == NULL)
        batch->first = copy;
    else
        batch->last->next = copy;
    batch->last = copy;
    batch->end = box->last;
    batch->count++;
    return copy;
}

/* What a later operation does to an earlier one on the same message or record,
 * both still in memory. True when the later one has nothing left to do. */
static bool take_over(struct store_op *old, const struct store_op *op, struct store_added *added)
{
    const bool on_forget = old->type == BRIDGE_DO_FORGET;

    if (op->type == BRIDGE_DO_MARK) {
        if (on_forget)
            return true;
        if (old->type == BRIDGE_DO_STORE)
            old->message.flags |= op->row.flags;
        else
            old->row.flags |= op->row.flags;
        added->touched = old->ticket;
        return true;
    }
    if (op->type == BRIDGE_DO_FORGET && on_forget)
        return true;
    old->dead = true;
    added->touched = old->ticket;
    added->avoided = old->type == BRIDGE_DO_STORE;
    return added->avoided;
}

struct store_added store_box_add(struct store_box *box, struct store_batch *batch,
                                 const struct store_op *op)
{
    struct store_added added = {0};
    bool done = false;

    if (op->type != BRIDGE_DO_FETCH) {
        assert(op->ticket > batch->last_ticket);
        if (batch->first_ticket == 0)
            batch->first_ticket = op->ticket;
        batch->last_ticket = op->ticket;
    }
    if (op->type != BRIDGE_DO_FETCH && op->type != BRIDGE_DO_STORE) {
        struct store_op *old = find(box, op);
        if (old != NULL)
            done = take_over(old, op, &added);
        box->dead += old != NULL && old->dead;
    }
    if (!done) {
        struct store_op *copy = append(box, batch, op);
        if (op->type != BRIDGE_DO_FETCH && !op->refused)
            index_op(box, copy);
    }
    return added;
}

void store_batch_append(struct store_batch *batch, struct store_batch *more)
{
    if (more->first != NULL) {
        if (batch->last == NULL)
            batch->first = more->first;
        else
            batch->last->next = more->first;
        batch->last = more->last;
        batch->end = more->end;
    }
    if (batch->first_ticket == 0)
        batch->first_ticket = more->first_ticket;
    if (more->last_ticket != 0)
        batch->last_ticket = more->last_ticket;
    batch->bytes += more->bytes;
    batch->count += more->count;
    store_flights_append(&batch->flights, &more->flights);
    *more = (struct store_batch){0};
}

/* ---- flights ------------------------------------------------------------------ */

void store_flights_append(struct store_flights *f, struct store_flights *more)
{
    if (more->first == NULL)
        return;
    if (f->last == NULL)
        f->first = more->first;
    else
        f->last->next = more->first;
    f->last = more->last;
    *more = (struct store_flights){0};
}

void store_flights_prepend(struct store_flights *f, struct store_flights *more)
{
    store_flights_append(more, f);
    *f = *more;
    *more = (struct store_flights){0};
}

void store_flights_free(struct store_flights *f)
{
    while (f->first != NULL) {
        struct store_flight_op *op = f->first;
        f->first = op->next;
        free(op);
    }
    f->last = NULL;
}
