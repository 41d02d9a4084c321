#include "sim/disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/store.h"

#define RETRY_US SIM_S /* between the attempts of a disk that refuses everything */

struct pending {
    struct sim_op op; /* empty, when this is a flight */
    uint64_t turn;
    uint64_t flight;
    bool refused;
};

/* What becomes of a run of messages, up to this ticket. */
struct outcome {
    enum bridge_event_type type;
    uint64_t ticket;
};

struct sim_disk {
    struct sim_world *world;
    struct sim_trace *trace;
    struct sim_random random;
    struct sim_disk_options options;
    sim_disk_event_fn *fn;
    void *ctx;

    struct sim_image durable;
    struct sim_image view; /* with all that was handed over */
    struct pending *pending;
    size_t begin;   /* the first that is not durable */
    size_t batch;   /* those before it are being committed */
    size_t flushed; /* of those before it the turn has ended */
    size_t end;
    size_t size;
    struct sim_op *fetches; /* not answered */
    size_t fetches_batch;   /* the first of them go with the batch */
    size_t fetches_flushed;
    size_t fetches_end;
    size_t fetches_size;
    struct outcome *outcomes; /* of the batch that has ended */
    size_t outcome_count;
    size_t outcomes_size;
    uint64_t refused_rows;              /* of it */
    uint64_t flights[SIM_DISK_FLIGHTS]; /* durable ones, the last of them */
    uint64_t flight_count;
    uint64_t turn;
    uint64_t last_ticket;
    uint64_t operations;
    uint64_t extra_us;
    uint64_t lazy_due_us; /* of the oldest lazy operation that waits */
    enum sim_disk_state state;
    bool hurry; /* something waits that is not lazy */
    bool busy;  /* a commit is under way, or the next attempt is being waited for */
    struct sim_timer commit;
    struct sim_timer lazy;
    struct bridge_message *fetched; /* STORE_FETCH_COUNT */
};

/* ---- commits ------------------------------------------------------------------- */

static void begin_commit(struct sim_disk *d, uint64_t wait_us)
{
    d->busy = true;
    d->hurry = false;
    d->batch = d->flushed;
    d->fetches_batch = d->fetches_flushed;
    d->lazy_due_us = SIM_NEVER;
    sim_timer_stop(d->world, &d->lazy);
    sim_timer_set(d->world, &d->commit, sim_now(d->world) + wait_us);
}

static uint64_t commit_us(struct sim_disk *d)
{
    return d->extra_us +
           sim_random_between(&d->random, d->options.commit_min_us, d->options.commit_max_us);
}

/* Begins the next batch if something is due. */
static void consider(struct sim_disk *d)
{
    if (d->busy || (d->begin == d->flushed && d->fetches_flushed == 0))
        return;
    if (d->hurry || d->lazy_due_us <= sim_now(d->world))
        begin_commit(d, commit_us(d));
    else
        sim_timer_set(d->world, &d->lazy, d->lazy_due_us);
}

static void tell(struct sim_disk *d, enum bridge_event_type type, uint64_t ticket)
{
    sim_trace_say(d->trace, &(struct sim_record){
                                .type = type == BRIDGE_ON_STORED ? SIM_STORED : SIM_STORE_FAILED,
                                .at_us = sim_now(d->world),
                                .number = ticket});
    d->fn(d->ctx, &(struct bridge_event){.type = type, .stored.ticket = ticket});
}

static void *grown(void *array, size_t count, size_t *size, size_t element)
{
    if (count < *size)
        return array;
    *size = *size == 0 ? 64 : *size * 2;
    return sim_more_memory(array, *size * element);
}

static void note_outcome(struct sim_disk *d, enum bridge_event_type type, uint64_t ticket)
{
    struct outcome *last = d->outcome_count == 0 ? NULL : &d->outcomes[d->outcome_count - 1];
    if (last != NULL && last->type == type) {
        last->ticket = ticket;
        return;
    }
    d->outcomes = grown(d->outcomes, d->outcome_count, &d->outcomes_size, sizeof(*d->outcomes));
    d->outcomes[d->outcome_count++] = (struct outcome){type, ticket};
}

static bool has_no_room(const struct sim_disk *d)
{
    return d->options.room != 0 && d->view.rows > d->options.room + d->refused_rows;
}

static bool refuses_turn(struct sim_disk *d)
{
    if (d->state == SIM_DISK_WORKS)
        return has_no_room(d);
    return d->state != SIM_DISK_PATCHY || sim_random_below(&d->random, 2) == 0;
}

/* The messages of a turn are written or refused together, and so are its flights. Of a
 * message that somebody has forgotten meanwhile nothing is said. */
static void judge_turn(struct sim_disk *d, size_t from, size_t to)
{
    bool has_messages = false;
    for (size_t i = from; i < to; i++)
        has_messages |= d->pending[i].flight == 0 && d->pending[i].op.type == BRIDGE_DO_STORE;
    const bool refused = has_messages && refuses_turn(d);
    for (size_t i = from; i < to; i++) {
        struct pending *p = &d->pending[i];
        if (p->flight != 0) {
            p->refused = refused;
            continue;
        }
        if (p->op.type != BRIDGE_DO_STORE)
            continue;
        p->refused = refused;
        const struct bridge_message *m = &p->op.row->message;
        if (sim_image_find(&d->view, m->queue, m->seq) == NULL)
            continue;
        d->refused_rows += refused;
        note_outcome(d, refused ? BRIDGE_ON_STORE_FAILED : BRIDGE_ON_STORED, p->op.ticket);
    }
}

/* What is refused leaves the batch. */
static void drop_refused(struct sim_disk *d)
{
    size_t to = d->batch;
    for (size_t i = d->batch; i-- > d->begin;) {
        struct pending *p = &d->pending[i];
        if (!p->refused) {
            d->pending[--to] = *p;
            continue;
        }
        if (p->flight != 0)
            continue;
        sim_image_remove(&d->view, p->op.row->message.queue, p->op.row->message.seq);
        sim_op_drop(&p->op);
    }
    d->begin = to;
}

/* Returns whether messages are refused. */
static bool judge(struct sim_disk *d, uint64_t last_ticket)
{
    d->outcome_count = 0;
    d->refused_rows = 0;
    if (d->state == SIM_DISK_WORKS && !has_no_room(d))
        return false;
    for (size_t from = d->begin, to; from < d->batch; from = to) {
        to = from + 1;
        while (to < d->batch && d->pending[to].turn == d->pending[from].turn)
            to++;
        judge_turn(d, from, to);
    }
    drop_refused(d);
    if (d->outcome_count == 0)
        return false;
    struct outcome *last = &d->outcomes[d->outcome_count - 1];
    last->ticket = last_ticket; /* it covers what comes after it, too */
    return d->outcome_count > 1 || last->type == BRIDGE_ON_STORE_FAILED;
}

/* Makes pending operations durable, up to a place. */
static void settle(struct sim_disk *d, size_t up_to)
{
    for (; d->begin < up_to; d->begin++) {
        struct pending *p = &d->pending[d->begin];
        if (p->flight != 0) {
            d->flights[d->flight_count++ % SIM_DISK_FLIGHTS] = p->flight;
            continue;
        }
        sim_image_apply(&d->durable, &p->op);
        sim_op_drop(&p->op);
    }
}

/* What waits moves to the front, so that the array does not grow for ever. */
static void close_up(struct sim_disk *d)
{
    memmove(d->pending, d->pending + d->begin, (d->end - d->begin) * sizeof(*d->pending));
    d->batch -= d->begin;
    d->flushed -= d->begin;
    d->end -= d->begin;
    d->begin = 0;
}

/* Fetches of the batch. The core may ask for more while it is being told. */
static void answer_fetches(struct sim_disk *d)
{
    while (d->fetches_batch > 0) {
        const struct sim_op fetch = d->fetches[0];
        memmove(d->fetches, d->fetches + 1, --d->fetches_end * sizeof(*d->fetches));
        d->fetches_flushed--;
        d->fetches_batch--;
        struct bridge_event event = {
            .type = BRIDGE_ON_FETCHED,
            .fetched = {.which = fetch.which, .queue = fetch.queue, .messages = d->fetched},
        };
        event.fetched.count = sim_image_fetch(&d->view, &fetch, d->fetched, &event.fetched.end);
        d->fn(d->ctx, &event);
    }
}

/* The highest ticket before a place; 0: there is none, only flights. */
static uint64_t last_ticket(const struct sim_disk *d, size_t up_to)
{
    while (up_to > d->begin && d->pending[up_to - 1].flight != 0)
        up_to--;
    return up_to > d->begin ? d->pending[up_to - 1].op.ticket : 0;
}

static void commit_ended(void *ctx, uint64_t arg)
{
    struct sim_disk *d = ctx;
    (void)arg;
    const uint64_t ticket = last_ticket(d, d->batch);
    const bool refused = judge(d, ticket);
    const bool kept = d->state == SIM_DISK_FAILS && d->batch > d->begin;
    const bool stored = ticket != 0 && !kept && (d->batch > d->begin || !refused);
    if (!kept)
        settle(d, d->batch);
    close_up(d);
    d->busy = kept;
    if (kept)
        begin_commit(d, RETRY_US);
    enum bridge_event_type told = BRIDGE_ON_STORE_FAILED;
    for (size_t i = 0; refused && i < d->outcome_count; i++)
        tell(d, told = d->outcomes[i].type, d->outcomes[i].ticket);
    if (stored && told != BRIDGE_ON_STORED)
        tell(d, BRIDGE_ON_STORED, ticket);
    answer_fetches(d);
    consider(d);
}

static void lazy_is_due(void *ctx, uint64_t arg)
{
    (void)arg;
    consider(ctx);
}

/* ---- what the bridge does ---------------------------------------------------------- */

void sim_disk_put(struct sim_disk *d, const struct bridge_action *a)
{
    const struct sim_op op = sim_op_keep(a, d->last_ticket);
    if (op.type == BRIDGE_DO_FETCH) {
        d->fetches = grown(d->fetches, d->fetches_end, &d->fetches_size, sizeof(*d->fetches));
        d->fetches[d->fetches_end++] = op;
        d->hurry = true;
        return;
    }
    assert(op.ticket > d->last_ticket);
    d->pending = grown(d->pending, d->end, &d->size, sizeof(*d->pending));
    d->pending[d->end++] = (struct pending){.op = op, .turn = d->turn};
    d->last_ticket = op.ticket;
    d->operations++;
    sim_image_apply(&d->view, &op);
    if (!op.lazy)
        d->hurry = true;
    else if (d->lazy_due_us == SIM_NEVER)
        d->lazy_due_us = sim_now(d->world) + d->options.lazy_us;
}

void sim_disk_put_flight(struct sim_disk *d, uint64_t number)
{
    d->pending = grown(d->pending, d->end, &d->size, sizeof(*d->pending));
    d->pending[d->end++] = (struct pending){.turn = d->turn, .flight = number};
    d->hurry = true;
}

bool sim_disk_has_flight(const struct sim_disk *d, uint64_t number)
{
    for (size_t i = 0; i < SIM_DISK_FLIGHTS; i++)
        if (d->flights[i] == number)
            return number != 0;
    return false;
}

void sim_disk_flush(struct sim_disk *d)
{
    d->turn++;
    d->flushed = d->end;
    d->fetches_flushed = d->fetches_end;
    consider(d);
}

/* ---- faults ------------------------------------------------------------------------- */

void sim_disk_set(struct sim_disk *d, enum sim_disk_state state)
{
    d->state = state;
}

void sim_disk_slow(struct sim_disk *d, uint64_t extra_us)
{
    d->extra_us = extra_us;
}

/* Where a crash may have left the disk: after any whole turn. */
static size_t choose_cut(struct sim_disk *d)
{
    if (d->state != SIM_DISK_WORKS || d->begin == d->flushed)
        return d->begin;
    const uint64_t first = d->pending[d->begin].turn;
    const uint64_t last = d->pending[d->flushed - 1].turn;
    const uint64_t turn = sim_random_between(&d->random, first, last + 1);
    size_t i = d->begin;
    while (i < d->flushed && d->pending[i].turn < turn)
        i++;
    return i;
}

void sim_disk_cut(struct sim_disk *d, bool whole)
{
    const size_t up_to = whole && d->state == SIM_DISK_WORKS ? d->end : choose_cut(d);
    if (up_to > d->begin) {
        const uint64_t ticket = last_ticket(d, up_to);
        settle(d, up_to);
        sim_trace_say(
            d->trace,
            &(struct sim_record){.type = SIM_STORED, .at_us = sim_now(d->world), .number = ticket});
    }
    for (size_t i = d->begin; i < d->end; i++)
        sim_op_drop(&d->pending[i].op);
    d->begin = d->batch = d->flushed = d->end = 0;
    d->fetches_batch = d->fetches_flushed = d->fetches_end = 0;
    d->busy = d->hurry = false;
    d->lazy_due_us = SIM_NEVER;
    sim_timer_stop(d->world, &d->commit);
    sim_timer_stop(d->world, &d->lazy);
    sim_image_copy(&d->view, &d->durable);
}

uint64_t sim_disk_replay(struct sim_disk *d, sim_replay_fn *fn, void *ctx)
{
    sim_image_replay(&d->durable, fn, ctx);
    return d->last_ticket + 1;
}

/* ---- life ------------------------------------------------------------------------------ */

struct sim_disk *sim_disk_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                               const struct sim_disk_options *options, sim_disk_event_fn *fn,
                               void *ctx)
{
    struct sim_disk *d = sim_memory(sizeof(*d));
    d->world = w;
    d->trace = trace;
    d->options = *options;
    d->fn = fn;
    d->ctx = ctx;
    d->lazy_due_us = SIM_NEVER;
    d->commit = (struct sim_timer){.fn = commit_ended, .ctx = d};
    d->lazy = (struct sim_timer){.fn = lazy_is_due, .ctx = d};
    d->fetched = sim_memory(STORE_FETCH_COUNT * sizeof(*d->fetched));
    sim_random_init(&d->random, seed, "disk");
    return d;
}

void sim_disk_close(struct sim_disk *d)
{
    d->state = SIM_DISK_FAILS; /* nothing more is decided */
    sim_disk_cut(d, false);
    sim_image_clear(&d->durable);
    sim_image_clear(&d->view);
    free(d->pending);
    free(d->fetches);
    free(d->outcomes);
    free(d->fetched);
    free(d);
}

uint64_t sim_disk_operations(const struct sim_disk *d)
{
    return d->operations;
}

bool sim_disk_is_idle(const struct sim_disk *d)
{
    return d->begin == d->end && d->fetches_end == 0;
}

const struct sim_image *sim_disk_image(const struct sim_disk *d)
{
    return &d->durable;
}
