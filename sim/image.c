#include "sim/image.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/store.h"
#include "sim/world.h"

/* Makes room for one more element. */
static void *grown(void *array, size_t count, size_t *size, size_t element)
{
    if (count < *size)
        return array;
    *size = *size == 0 ? 8 : *size * 2;
    return sim_more_memory(array, *size * element);
}

/* ---- what is kept ------------------------------------------------------------ */

static struct sn_bytes put(uint8_t **at, struct sn_bytes b)
{
    uint8_t *start = *at;
    if (b.len > 0)
        memcpy(start, b.data, b.len);
    *at += b.len;
    return sn_bytes(start, b.len);
}

static struct sim_row *row_keep(const struct bridge_message *m)
{
    struct sim_row *row = sim_memory(sizeof(*row) + m->topic.len + m->payload.len);
    uint8_t *at = row->octets;
    row->refs = 1;
    row->message = *m;
    row->message.topic = put(&at, m->topic);
    row->message.payload = put(&at, m->payload);
    return row;
}

static void row_drop(struct sim_row *row)
{
    if (row != NULL && --row->refs == 0)
        free(row);
}

static struct sim_value *value_keep(const struct bridge_record *r)
{
    struct sim_value *value = sim_memory(sizeof(*value) + r->value.len);
    uint8_t *at = value->octets;
    value->refs = 1;
    value->record = *r;
    value->record.value = put(&at, r->value);
    return value;
}

static void value_drop(struct sim_value *value)
{
    if (value != NULL && --value->refs == 0)
        free(value);
}

struct sim_op sim_op_keep(const struct bridge_action *a, uint64_t ticket)
{
    struct sim_op op = {.type = a->type, .lazy = a->lazy};
    if (a->type == BRIDGE_DO_STORE) {
        op.ticket = a->store.message.seq;
        op.row = row_keep(&a->store.message);
    } else if (a->type == BRIDGE_DO_MARK || a->type == BRIDGE_DO_FORGET) {
        op.ticket = a->row.ticket;
        op.queue = a->row.queue;
        op.seq = a->row.seq;
        op.flags = a->row.flags;
    } else if (a->type == BRIDGE_DO_FETCH) {
        op.ticket = ticket;
        op.queue = a->fetch.queue;
        op.seq = a->fetch.from;
        op.which = a->fetch.which;
        op.count = a->fetch.count;
    } else {
        assert(a->type == BRIDGE_DO_SAVE || a->type == BRIDGE_DO_ERASE);
        op.ticket = a->record.ticket;
        op.value = value_keep(&a->record.record);
    }
    return op;
}

void sim_op_drop(struct sim_op *op)
{
    row_drop(op->row);
    value_drop(op->value);
    *op = (struct sim_op){0};
}

/* ---- queues --------------------------------------------------------------------- */

static size_t queue_place(const struct sim_image *image, uint32_t id)
{
    size_t low = 0;
    for (size_t high = image->queue_count; low < high;) {
        const size_t middle = (low + high) / 2;
        if (image->queues[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct sim_image_queue *queue_find(const struct sim_image *image, uint32_t id)
{
    const size_t i = queue_place(image, id);
    return i < image->queue_count && image->queues[i].id == id ? &image->queues[i] : NULL;
}

static struct sim_image_queue *queue_make(struct sim_image *image, uint32_t id)
{
    const size_t i = queue_place(image, id);
    if (i < image->queue_count && image->queues[i].id == id)
        return &image->queues[i];
    image->queues =
        grown(image->queues, image->queue_count, &image->queue_size, sizeof(*image->queues));
    memmove(&image->queues[i + 1], &image->queues[i],
            (image->queue_count - i) * sizeof(*image->queues));
    image->queue_count++;
    image->queues[i] = (struct sim_image_queue){.id = id};
    return &image->queues[i];
}

/* The first place at or above seq. */
static size_t seq_place(const struct sim_image_queue *q, uint64_t seq)
{
    size_t low = q->begin;
    for (size_t high = q->end; low < high;) {
        const size_t middle = (low + high) / 2;
        if (q->places[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Places that were left empty are closed when they are the most. */
static void queue_pack(struct sim_image_queue *q)
{
    size_t to = 0;
    for (size_t i = q->begin; i < q->end; i++)
        if (q->places[i].row != NULL)
            q->places[to++] = q->places[i];
    q->begin = 0;
    q->end = to;
}

static void queue_add(struct sim_image_queue *q, struct sim_row *row)
{
    if (q->end == q->size && q->rows < q->size / 2)
        queue_pack(q);
    q->places = grown(q->places, q->end, &q->size, sizeof(*q->places));
    /* Numbers ascend, but for what was kept while the disk refused. */
    const size_t i = seq_place(q, row->message.seq);
    memmove(&q->places[i + 1], &q->places[i], (q->end - i) * sizeof(*q->places));
    q->places[i] =
        (struct sim_image_place){.seq = row->message.seq, .row = row, .flags = row->message.flags};
    row->refs++;
    q->end++;
    q->rows++;
}

static void place_empty(struct sim_image *image, struct sim_image_queue *q,
                        struct sim_image_place *place)
{
    image->expiring -= place->row->message.expires_ms != 0;
    row_drop(place->row);
    place->row = NULL;
    q->rows--;
    image->rows--;
    while (q->begin < q->end && q->places[q->begin].row == NULL)
        q->begin++;
}

static void queue_clear(struct sim_image *image, struct sim_image_queue *q)
{
    for (size_t i = q->begin; i < q->end; i++)
        if (q->places[i].row != NULL)
            place_empty(image, q, &q->places[i]);
    free(q->places);
    *q = (struct sim_image_queue){.id = q->id};
}

struct sim_image_place *sim_image_find(const struct sim_image *image, uint32_t queue, uint64_t seq)
{
    struct sim_image_queue *q = queue_find(image, queue);
    const size_t i = q == NULL ? 0 : seq_place(q, seq);
    return q != NULL && i < q->end && q->places[i].seq == seq && q->places[i].row != NULL
               ? &q->places[i]
               : NULL;
}

void sim_image_remove(struct sim_image *image, uint32_t queue, uint64_t seq)
{
    struct sim_image_place *place = sim_image_find(image, queue, seq);
    if (place != NULL)
        place_empty(image, queue_find(image, queue), place);
}

/* ---- records ------------------------------------------------------------------------ */

static int record_order(const struct bridge_record *a, const struct bridge_record *b)
{
    if (a->session != b->session)
        return a->session < b->session ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return a->key == b->key ? 0 : a->key < b->key ? -1 : 1;
}

static size_t value_place(const struct sim_image *image, const struct bridge_record *r)
{
    size_t low = 0;
    for (size_t high = image->value_count; low < high;) {
        const size_t middle = (low + high) / 2;
        if (record_order(&image->values[middle]->record, r) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void save(struct sim_image *image, struct sim_value *value)
{
    const size_t i = value_place(image, &value->record);
    value->refs++;
    if (i < image->value_count && record_order(&image->values[i]->record, &value->record) == 0) {
        value_drop(image->values[i]);
        image->values[i] = value;
        return;
    }
    image->values =
        grown(image->values, image->value_count, &image->value_size, sizeof(struct sim_value *));
    memmove(&image->values[i + 1], &image->values[i],
            (image->value_count - i) * sizeof(struct sim_value *));
    image->values[i] = value;
    image->value_count++;
}

static bool is_erased_by(const struct bridge_record *r, const struct bridge_record *erase)
{
    return r->session == erase->session &&
           (erase->kind == 0 || (r->kind == erase->kind && r->key == erase->key));
}

static void erase(struct sim_image *image, const struct bridge_record *r)
{
    /* With kind 0, from the lowest kind and key of the session on. */
    const size_t from = value_place(image, r);
    size_t to = from;
    while (to < image->value_count && is_erased_by(&image->values[to]->record, r))
        value_drop(image->values[to++]);
    memmove(&image->values[from], &image->values[to],
            (image->value_count - to) * sizeof(struct sim_value *));
    image->value_count -= to - from;
    for (size_t i = 0; r->kind == 0 && i < image->queue_count; i++) {
        struct sim_image_queue *q = &image->queues[i];
        if (!bridge_queue_is_up(q->id) && bridge_queue_session(q->id) == r->session)
            queue_clear(image, q);
    }
}

/* ---- the whole ---------------------------------------------------------------------- */

void sim_image_clear(struct sim_image *image)
{
    for (size_t i = 0; i < image->queue_count; i++)
        queue_clear(image, &image->queues[i]);
    for (size_t i = 0; i < image->value_count; i++)
        value_drop(image->values[i]);
    free(image->queues);
    free(image->values);
    *image = (struct sim_image){0};
}

void sim_image_copy(struct sim_image *to, const struct sim_image *from)
{
    sim_image_clear(to);
    for (size_t i = 0; i < from->queue_count; i++) {
        const struct sim_image_queue *q = &from->queues[i];
        struct sim_image_queue *copy = queue_make(to, q->id);
        for (size_t k = q->begin; k < q->end; k++) {
            if (q->places[k].row == NULL)
                continue;
            queue_add(copy, q->places[k].row);
            copy->places[copy->end - 1].flags = q->places[k].flags;
        }
    }
    for (size_t i = 0; i < from->value_count; i++)
        save(to, from->values[i]);
    to->rows = from->rows;
    to->expiring = from->expiring;
}

void sim_image_apply(struct sim_image *image, const struct sim_op *op)
{
    if (op->type == BRIDGE_DO_STORE) {
        queue_add(queue_make(image, op->row->message.queue), op->row);
        image->rows++;
        image->expiring += op->row->message.expires_ms != 0;
    } else if (op->type == BRIDGE_DO_MARK) {
        struct sim_image_place *place = sim_image_find(image, op->queue, op->seq);
        if (place != NULL)
            place->flags |= op->flags;
    } else if (op->type == BRIDGE_DO_FORGET) {
        sim_image_remove(image, op->queue, op->seq);
    } else if (op->type == BRIDGE_DO_SAVE) {
        save(image, op->value);
    } else if (op->type == BRIDGE_DO_ERASE) {
        erase(image, &op->value->record);
    }
}

uint64_t sim_image_waiting(const struct sim_image *image)
{
    uint64_t count = 0;
    for (size_t i = 0; i < image->queue_count; i++) {
        const struct sim_image_queue *q = &image->queues[i];
        for (size_t k = q->begin; k < q->end; k++)
            count += q->places[k].row != NULL && !(q->places[k].flags & BRIDGE_FLAG_DELIVERED);
    }
    return count;
}

static struct bridge_message message_at(const struct sim_image_place *place)
{
    struct bridge_message m = place->row->message;
    m.flags = place->flags;
    return m;
}

/* What is put into an answer. */
struct answer {
    struct bridge_message *messages;
    size_t count;
    size_t limit;
    size_t bytes;
    bool full;
};

static bool is_wanted(const struct sim_image_place *place, const struct sim_op *fetch)
{
    return place->row != NULL && !(place->flags & BRIDGE_FLAG_DELIVERED) &&
           place->seq <= fetch->ticket;
}

static void add(struct answer *a, const struct sim_image_place *place)
{
    const struct bridge_message m = message_at(place);
    a->bytes += m.topic.len + m.payload.len;
    a->full = a->count == a->limit || (a->count > 0 && a->bytes > STORE_FETCH_BYTES);
    if (!a->full)
        a->messages[a->count++] = m;
}

static int expiry_order(const void *a, const void *b)
{
    const struct sim_image_place *x = *(struct sim_image_place *const *)a;
    const struct sim_image_place *y = *(struct sim_image_place *const *)b;
    const uint64_t left = x->row->message.expires_ms;
    const uint64_t right = y->row->message.expires_ms;
    if (left != right)
        return left < right ? -1 : 1;
    return x->seq == y->seq ? 0 : x->seq < y->seq ? -1 : 1;
}

static void add_expired(struct answer *a, const struct sim_image *image, const struct sim_op *fetch)
{
    struct sim_image_place **found = sim_memory((image->expiring + 1) * sizeof(*found));
    size_t count = 0;
    for (size_t i = 0; i < image->queue_count; i++) {
        const struct sim_image_queue *q = &image->queues[i];
        for (size_t k = q->begin; k < q->end; k++) {
            struct sim_image_place *place = &q->places[k];
            if (is_wanted(place, fetch) && place->row->message.expires_ms != 0 &&
                place->row->message.expires_ms <= fetch->seq)
                found[count++] = place;
        }
    }
    qsort(found, count, sizeof(*found), expiry_order);
    for (size_t i = 0; i < count && !a->full; i++)
        add(a, found[i]);
    free(found);
}

size_t sim_image_fetch(const struct sim_image *image, const struct sim_op *fetch,
                       struct bridge_message *messages, bool *end)
{
    const struct sim_image_queue *q = queue_find(image, fetch->queue);
    struct answer a = {
        .messages = messages,
        .limit = fetch->count < STORE_FETCH_COUNT ? fetch->count : STORE_FETCH_COUNT,
    };
    if (fetch->which == BRIDGE_FETCH_EXPIRED) {
        if (image->expiring > 0)
            add_expired(&a, image, fetch);
    } else if (q != NULL && fetch->which == BRIDGE_FETCH_OLDEST) {
        for (size_t i = seq_place(q, fetch->seq); i < q->end && !a.full; i++)
            if (is_wanted(&q->places[i], fetch))
                add(&a, &q->places[i]);
    } else if (q != NULL) {
        const bool all = fetch->seq == UINT64_MAX;
        for (size_t i = all ? q->end : seq_place(q, fetch->seq + 1); i-- > q->begin && !a.full;)
            if (is_wanted(&q->places[i], fetch))
                add(&a, &q->places[i]);
    }
    *end = !a.full;
    return a.count;
}

/* ---- a restart ------------------------------------------------------------------------- */

static void replay_queue(const struct sim_image_queue *q, sim_replay_fn *fn, void *ctx)
{
    struct bridge_event event = {.type = BRIDGE_ON_QUEUE, .queue = {.queue = q->id}};
    for (size_t i = q->begin; i < q->end; i++) {
        const struct sim_image_place *place = &q->places[i];
        if (place->row == NULL || place->flags & BRIDGE_FLAG_DELIVERED)
            continue;
        if (event.queue.count++ == 0)
            event.queue.first = place->seq;
        event.queue.last = place->seq;
        const struct bridge_message *m = &place->row->message;
        event.queue.bytes += m->payload.len;
        fn(ctx, &(struct bridge_event){.type = BRIDGE_ON_WAITING,
                                       .waiting = {.queue = m->queue,
                                                   .seq = m->seq,
                                                   .session = m->session,
                                                   .class = m->class,
                                                   .link = m->link,
                                                   .expires_ms = m->expires_ms,
                                                   .topic = m->topic,
                                                   .bytes = m->payload.len}});
    }
    if (event.queue.count > 0)
        fn(ctx, &event);
}

static void replay_open(const struct sim_image_queue *q, sim_replay_fn *fn, void *ctx)
{
    for (size_t i = q->begin; i < q->end; i++) {
        if (q->places[i].row == NULL)
            continue;
        const struct bridge_message m = message_at(&q->places[i]);
        const bool released = (m.flags & BRIDGE_FLAG_RELEASED) != 0;
        const bool delivered = (m.flags & BRIDGE_FLAG_DELIVERED) != 0;
        if (m.qos != 2 || (released && !delivered))
            continue;
        fn(ctx, &(struct bridge_event){.type = BRIDGE_ON_OPEN,
                                       .open = {.seq = m.seq,
                                                .queue = m.queue,
                                                .session = m.session,
                                                .mid = m.mid,
                                                .flags = m.flags,
                                                .topic = m.topic,
                                                .payload = m.payload}});
    }
}

void sim_image_replay(const struct sim_image *image, sim_replay_fn *fn, void *ctx)
{
    for (size_t i = 0; i < image->value_count; i++)
        fn(ctx,
           &(struct bridge_event){.type = BRIDGE_ON_RECORD, .record = image->values[i]->record});
    for (size_t i = 0; i < image->queue_count; i++)
        replay_queue(&image->queues[i], fn, ctx);
    for (size_t i = 0; i < image->queue_count; i++)
        if (bridge_queue_is_up(image->queues[i].id))
            replay_open(&image->queues[i], fn, ctx);
}
