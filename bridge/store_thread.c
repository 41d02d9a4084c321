#include "bridge/store_parts.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#define RETRY_MIN_MS 10u
#define RETRY_MAX_MS 1000u
#define ROOM_MS      1000u /* a full disk is asked again after it whether it has room */

uint64_t store_now_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void *store_grab(void *old, size_t size)
{
    void *memory = realloc(old, size);
    if (memory == NULL)
        abort();
    return memory;
}

/* With the mutex held. */
static void signal_loop(struct store *s)
{
    const uint64_t one = 1;
    if (!s->signalled)
        s->signalled = write(s->event_fd, &one, sizeof one) == sizeof one;
}

void store_report(struct store *s, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    pthread_mutex_lock(&s->mutex);
    if (s->report_count == STORE_REPORTS_MAX) {
        s->report_first = (s->report_first + 1) % STORE_REPORTS_MAX;
        s->report_count--;
    }
    vsnprintf(s->reports[(s->report_first + s->report_count) % STORE_REPORTS_MAX], STORE_LINE_BYTES,
              format, list);
    s->report_count++;
    signal_loop(s);
    pthread_mutex_unlock(&s->mutex);
    va_end(list);
}

bool store_batch_changes_something(const struct store_batch *b)
{
    for (const struct store_op *op = b->first; op != NULL; op = op->next)
        if (!op->dead && !op->refused && op->type != BRIDGE_DO_FETCH)
            return true;
    return b->flights.first != NULL;
}

bool store_batch_has_stores(const struct store_batch *b)
{
    for (const struct store_op *op = b->first; op != NULL; op = op->next)
        if (op->type == BRIDGE_DO_STORE && !op->dead && !op->refused)
            return true;
    return false;
}

/* ---- answers to the loop --------------------------------------------------- */

static void free_answer(struct store_answer *a)
{
    if (a != NULL) {
        free(a->messages);
        free(a->bytes);
        free(a);
    }
}

static void push(struct store *s, struct store_answer *a)
{
    a->next = NULL;
    pthread_mutex_lock(&s->mutex);
    if (s->answers == NULL)
        s->answers = a;
    else
        s->answers_last->next = a;
    s->answers_last = a;
    signal_loop(s);
    pthread_mutex_unlock(&s->mutex);
}

/* A STORED that still waits for the loop is moved on instead of followed. */
static void push_ticket(struct store *s, enum bridge_event_type type, uint64_t ticket)
{
    bool joined = false;

    if (ticket < s->reported)
        ticket = s->reported;
    s->reported = ticket;
    pthread_mutex_lock(&s->mutex);
    if (s->answers != NULL && s->answers_last->event.type == type) {
        s->answers_last->event.stored.ticket = ticket;
        joined = true;
    }
    pthread_mutex_unlock(&s->mutex);
    if (!joined) {
        struct store_answer *a = store_grab(NULL, sizeof *a);
        *a = (struct store_answer){.event = {.type = type, .stored = {.ticket = ticket}}};
        push(s, a);
    }
}

/* ---- when the disk refuses ------------------------------------------------- */

static void note_failure(struct store *s)
{
    if (s->retry_ms == 0) {
        s->failing_since_ms = store_now_ms(CLOCK_MONOTONIC);
        store_report(s, "%s: the disk refuses: %s; new messages are refused meanwhile", s->path,
                     s->error);
    }
    s->retry_ms = s->retry_ms == 0 ? RETRY_MIN_MS : 2 * s->retry_ms;
    if (s->retry_ms > RETRY_MAX_MS)
        s->retry_ms = RETRY_MAX_MS;
    s->retry_at_ms = store_now_ms(CLOCK_MONOTONIC) + s->retry_ms;
    pthread_mutex_lock(&s->mutex);
    s->figures.failures++;
    pthread_mutex_unlock(&s->mutex);
}

static void note_success(struct store *s)
{
    store_report(s, "%s: the disk works again after %" PRIu64 " ms", s->path,
                 store_now_ms(CLOCK_MONOTONIC) - s->failing_since_ms);
    s->retry_ms = 0;
}

static void note_room(struct store *s, bool full)
{
    if (full != s->full)
        store_report(s, full ? "%s: full, new messages are refused" : "%s: has room again",
                     s->path);
    s->full = full;
    s->room_at_ms = full ? store_now_ms(CLOCK_MONOTONIC) + ROOM_MS : BRIDGE_NEVER;
}

/* After a commit. Where a small message still fits and others do not, it is full. */
static void look_for_room(struct store *s, bool refused)
{
    if (refused || s->full || store_file_is_short(s))
        note_room(s, refused || !store_file_has_room(s));
    if (refused) {
        pthread_mutex_lock(&s->mutex);
        s->figures.failures++;
        pthread_mutex_unlock(&s->mutex);
    }
}

/* Leaves behind the operations that later ones have taken over. */
static void compact_kept(struct store *s)
{
    struct store_box box = {0};
    struct store_batch kept = {0};

    for (const struct store_op *op = s->kept.first; op != NULL; op = op->next)
        if (!op->dead)
            store_box_add(&box, &kept, op);
    kept.last_ticket = s->kept.last_ticket;
    store_box_free(&s->keeper);
    s->keeper = box;
    s->kept = kept;
}

static void keep(struct store *s, const struct store_op *op)
{
    store_box_add(&s->keeper, &s->kept, op);
    s->kept_fetch = s->kept_fetch || op->type == BRIDGE_DO_FETCH;
    if (s->keeper.dead > s->kept.count / 2 + 1024)
        compact_kept(s);
}

/* Answers keep their order: once one has to wait, all later ones do. */
static void answer_fetch(struct store *s, const struct store_op *op)
{
    struct store_answer *answer = NULL;

    if (s->kept_fetch) {
        keep(s, op);
    } else if (store_file_fetch(s, op, &answer) == STORE_DONE) {
        push(s, answer);
    } else {
        note_failure(s);
        keep(s, op);
    }
}

static void count_refused(struct store *s, uint64_t count)
{
    if (count == 0)
        return;
    pthread_mutex_lock(&s->mutex);
    s->figures.refused += count;
    pthread_mutex_unlock(&s->mutex);
}

/* A transaction that failed when it was synced may lie complete in the WAL, and
 * would be found there after a restart or when the file is opened anew. So the
 * messages that were tried are also forgotten, like any other. */
static void refuse(struct store *s, const struct store_batch *batch, bool tried)
{
    uint64_t last = 0;
    uint64_t refused = 0;

    for (const struct store_op *op = batch->first; op != NULL; op = op->next) {
        if (op->dead)
            continue;
        if (op->type == BRIDGE_DO_STORE) {
            last = op->ticket;
            refused++;
            if (tried && !op->refused)
                keep(s, &(struct store_op){.type = BRIDGE_DO_FORGET,
                                           .ticket = op->ticket,
                                           .row = {op->message.queue, op->message.seq, 0}});
        } else if (op->type == BRIDGE_DO_FETCH) {
            answer_fetch(s, op);
        } else {
            keep(s, op);
        }
    }
    if (batch->last_ticket > s->kept.last_ticket)
        s->kept.last_ticket = batch->last_ticket;
    count_refused(s, refused);
    if (refused > 0)
        push_ticket(s, BRIDGE_ON_STORE_FAILED, last);
}

static bool is_refused(const struct store_op *op, bool with_stores)
{
    return op->type == BRIDGE_DO_STORE && !op->dead && (op->refused || !with_stores);
}

/* Reports the tickets of a batch that was committed with or without its STOREs: one event
 * for each run of STOREs of the same outcome, and one for all that is durable. */
static void report_batch(struct store *s, const struct store_batch *batch, bool with_stores)
{
    enum bridge_event_type outcome = BRIDGE_ON_STORED;
    uint64_t ticket = 0;
    uint64_t refused = 0;

    for (const struct store_op *op = batch->first; op != NULL; op = op->next)
        refused += is_refused(op, with_stores);
    count_refused(s, refused);
    for (const struct store_op *op = batch->first; refused > 0 && op != NULL; op = op->next) {
        if (op->dead || op->type != BRIDGE_DO_STORE)
            continue;
        const enum bridge_event_type now =
            is_refused(op, with_stores) ? BRIDGE_ON_STORE_FAILED : BRIDGE_ON_STORED;
        if (now != outcome && ticket != 0)
            push_ticket(s, outcome, ticket);
        outcome = now;
        ticket = op->ticket;
    }
    if (outcome == BRIDGE_ON_STORE_FAILED)
        push_ticket(s, outcome, ticket);
    if (batch->last_ticket > s->reported || (refused > 0 && refused < batch->count))
        push_ticket(s, BRIDGE_ON_STORED, batch->last_ticket);
}

static void conclude(struct store *s, const struct store_batch *batch, bool with_stores)
{
    struct store_box keeper = s->keeper;
    const struct store_batch kept = s->kept;
    const bool was_keeping = kept.first != NULL || kept.last_ticket != 0;

    if (was_keeping) {
        s->keeper = (struct store_box){0};
        s->kept = (struct store_batch){0};
        s->kept_fetch = false;
        if (kept.last_ticket != 0)
            push_ticket(s, BRIDGE_ON_STORED, kept.last_ticket);
    }
    report_batch(s, batch, with_stores);
    for (const struct store_op *op = kept.first; op != NULL; op = op->next)
        if (op->type == BRIDGE_DO_FETCH)
            answer_fetch(s, op);
    for (const struct store_op *op = batch->first; op != NULL; op = op->next)
        if (op->type == BRIDGE_DO_FETCH)
            answer_fetch(s, op);
    if (was_keeping)
        store_box_free(&keeper);
}

/* One batch, or only another attempt at what was kept; and flights. False: these
 * are still to be written. */
static bool work(struct store *s, const struct store_batch *batch,
                 const struct store_flights *flights, bool now_or_never)
{
    bool with_stores = true;

    if (s->retry_ms != 0 && !now_or_never && store_now_ms(CLOCK_MONOTONIC) < s->retry_at_ms) {
        refuse(s, batch, false);
        return false;
    }
    const bool touched =
        s->kept.first != NULL || flights->first != NULL || store_batch_changes_something(batch);
    enum store_outcome outcome = store_file_commit(s, batch, flights, with_stores);
    if (outcome == STORE_FULL && store_batch_has_stores(batch)) {
        with_stores = false;
        outcome = store_file_commit(s, batch, flights, with_stores);
    }
    if (outcome != STORE_DONE) {
        note_failure(s);
        refuse(s, batch, true);
        return false;
    }
    look_for_room(s, !with_stores);
    conclude(s, batch, with_stores);
    if (s->retry_ms != 0 && s->kept.first == NULL && touched)
        note_success(s);
    return true;
}

/* ---- the thread ------------------------------------------------------------ */

static bool may_begin(const struct store *s, uint64_t now)
{
    const struct store_batch *first = s->ready.first;

    if (first == NULL)
        return false;
    if (first != s->ready.last)
        return true;
    /* A turn that is not over has cancelled something in it: they belong together. */
    if (s->turn_joins)
        return false;
    return s->ready.urgent || s->stop || s->flights.first != NULL ||
           first->bytes >= STORE_BATCH_BYTES || now >= s->ready.due_ms;
}

/* Nothing handed over so far, but for the turn that is not over, may be changed
 * by what is handed over from now on. */
static void close_door(struct store *s)
{
    s->box.floor = s->turn.first_ticket != 0 ? s->turn.first_ticket : s->handed + 1;
}

static struct store_batch *pop_ready(struct store *s)
{
    struct store_batch *batch = s->ready.first;

    s->ready.first = batch->next;
    if (s->ready.first == NULL) {
        s->ready.last = NULL;
        close_door(s);
    }
    return batch;
}

/* Flights follow the turns that were flushed before them, so they go with the
 * last batch that is ready. */
static struct store_flights take_flights(struct store *s)
{
    struct store_flights taken = {0};
    if (s->ready.first == NULL)
        store_flights_append(&taken, &s->flights);
    return taken;
}

static void finish_flights(struct store *s, struct store_flights *taken, bool done)
{
    if (!done) {
        store_flights_prepend(&s->flights, taken);
    } else if (taken->last != NULL) {
        s->flights_durable = taken->last->number;
        store_flights_free(taken);
        pthread_cond_broadcast(&s->flights_wake);
    }
}

static void finish(struct store *s, struct store_batch *batch)
{
    store_flights_free(&batch->flights);
    const bool idle = s->ready.first == NULL && s->turn.first == NULL;

    store_box_release(&s->box, idle ? NULL : batch);
    s->waiting_bytes -= batch->bytes;
    batch->next = s->spare;
    s->spare = batch;
}

static void sleep_until(struct store *s, uint64_t due_ms)
{
    s->sleeping = true;
    if (due_ms == BRIDGE_NEVER) {
        pthread_cond_wait(&s->wake, &s->mutex);
    } else {
        const struct timespec due = {.tv_sec = (time_t)(due_ms / 1000),
                                     .tv_nsec = (long)(due_ms % 1000) * 1000000};
        pthread_cond_timedwait(&s->wake, &s->mutex, &due);
    }
    s->sleeping = false;
}

static void *serve(void *arg)
{
    static const struct store_batch nothing = {0};
    struct store *s = arg;

    pthread_mutex_lock(&s->mutex);
    for (;;) {
        const uint64_t now = store_now_ms(CLOCK_MONOTONIC);
        const uint64_t room_at_ms = s->begun ? s->room_at_ms : BRIDGE_NEVER;
        const bool owing = s->kept.first != NULL || s->kept.last_ticket > s->reported ||
                           (s->flights.first != NULL && s->ready.first == NULL);

        if (s->clock_was_set) {
            s->clock_was_set = false;
            pthread_mutex_unlock(&s->mutex);
            store_file_mark(s);
            pthread_mutex_lock(&s->mutex);
        } else if (may_begin(s, now)) {
            struct store_batch *batch = pop_ready(s);
            const bool last = s->stop && s->ready.first == NULL;
            struct store_flights flights = take_flights(s);
            pthread_mutex_unlock(&s->mutex);
            const bool done = work(s, batch, &flights, last);
            pthread_mutex_lock(&s->mutex);
            finish(s, batch);
            finish_flights(s, &flights, done);
        } else if (owing && (s->stop || s->retry_ms == 0 || now >= s->retry_at_ms)) {
            struct store_flights flights = take_flights(s);
            pthread_mutex_unlock(&s->mutex);
            const bool done = work(s, &nothing, &flights, true);
            pthread_mutex_lock(&s->mutex);
            finish_flights(s, &flights, done);
            if (s->stop && (!done || s->flights.first == NULL))
                break;
        } else if (s->stop) {
            break;
        } else if (now >= room_at_ms) {
            pthread_mutex_unlock(&s->mutex);
            look_for_room(s, false);
            pthread_mutex_lock(&s->mutex);
        } else {
            uint64_t due = owing && s->retry_at_ms < room_at_ms ? s->retry_at_ms : room_at_ms;
            if (s->ready.first != NULL && !s->turn_joins && s->ready.due_ms < due)
                due = s->ready.due_ms;
            sleep_until(s, due);
        }
        s->figures.kept = (uint32_t)(s->kept.count - s->keeper.dead);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* ---- the loop's side ------------------------------------------------------- */

static bool to_op(const struct bridge_action *a, uint64_t handed, struct store_op *op)
{
    *op = (struct store_op){.type = a->type};
    switch (a->type) {
    case BRIDGE_DO_STORE:
        op->ticket = a->store.message.seq;
        op->message = a->store.message;
        return true;
    case BRIDGE_DO_MARK:
    case BRIDGE_DO_FORGET:
        op->ticket = a->row.ticket;
        op->row.queue = a->row.queue;
        op->row.seq = a->row.seq;
        op->row.flags = a->row.flags;
        return true;
    case BRIDGE_DO_SAVE:
    case BRIDGE_DO_ERASE:
        op->ticket = a->record.ticket;
        op->record = a->record.record;
        return true;
    case BRIDGE_DO_FETCH:
        op->ticket = handed;
        op->fetch.which = a->fetch.which;
        op->fetch.queue = a->fetch.queue;
        op->fetch.from = a->fetch.from;
        op->fetch.count = a->fetch.count;
        return true;
    case BRIDGE_DO_SEND:
    case BRIDGE_DO_CONNECT:
    case BRIDGE_DO_DISCONNECT:
    case BRIDGE_DO_PUBLISH:
    case BRIDGE_DO_SUBSCRIBE:
    case BRIDGE_DO_UNSUBSCRIBE:
    case BRIDGE_DO_ACCEPT:
    case BRIDGE_DO_NOTE:
        break;
    }
    return false;
}

void store_put(struct store *s, const struct bridge_action *action)
{
    struct store_op op;

    if (!to_op(action, s->handed, &op))
        return;
    pthread_mutex_lock(&s->mutex);
    if (op.type != BRIDGE_DO_FETCH) {
        assert(op.ticket > s->handed && op.ticket < INT64_MAX);
        s->handed = op.ticket;
    }
    /* Whatever the turn itself brings: one message for very many would never get through. */
    if (op.type == BRIDGE_DO_STORE)
        s->turn_refused = s->turn_refused || s->waiting_bytes > STORE_WAITING_BYTES;
    if (op.type == BRIDGE_DO_STORE && s->turn_refused) {
        op.refused = true;
        op.message.topic = op.message.payload = (struct sn_bytes){0};
    }
    const struct store_added added = store_box_add(&s->box, &s->turn, &op);
    if (added.touched != 0 && added.touched < s->turn.first_ticket)
        s->turn_joins = true;
    s->figures.avoided += added.avoided;
    s->turn_urgent = s->turn_urgent || !action->lazy || op.type == BRIDGE_DO_FETCH;
    pthread_mutex_unlock(&s->mutex);
}

static struct store_batch *new_batch(struct store *s)
{
    struct store_batch *batch = s->spare;

    if (batch != NULL)
        s->spare = batch->next;
    else
        batch = store_grab(NULL, sizeof *batch);
    *batch = (struct store_batch){0};
    return batch;
}

void store_flush(struct store *s)
{
    pthread_mutex_lock(&s->mutex);
    if (!s->begun && s->full && s->sleeping)
        pthread_cond_signal(&s->wake);
    s->begun = true;
    if (s->turn.first == NULL && s->turn.last_ticket == 0 && s->turn.flights.first == NULL) {
        pthread_mutex_unlock(&s->mutex);
        return;
    }
    struct store_batch *last = s->ready.last;
    bool wake = s->turn_urgent;
    if (last == NULL || (last->bytes >= STORE_BATCH_BYTES && !s->turn_joins)) {
        struct store_batch *batch = new_batch(s);
        if (last == NULL)
            s->ready.first = batch;
        else
            last->next = batch;
        s->ready.last = last = batch;
        s->ready.urgent = false;
        s->ready.due_ms = store_now_ms(CLOCK_MONOTONIC) + s->lazy_ms;
        wake = true;
        close_door(s);
    }
    if (s->turn_refused)
        store_flights_free(&s->turn.flights);
    s->waiting_bytes += s->turn.bytes;
    store_batch_append(last, &s->turn);
    s->ready.urgent = s->ready.urgent || s->turn_urgent;
    wake = wake || last->bytes >= STORE_BATCH_BYTES || s->turn_joins;
    s->turn_urgent = false;
    s->turn_joins = false;
    s->turn_refused = false;
    if (wake && s->sleeping)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

uint64_t store_own_ms(const struct store *s)
{
    return s->own_ms + store_now_ms(CLOCK_MONOTONIC);
}

void store_clock_was_set(struct store *s)
{
    pthread_mutex_lock(&s->mutex);
    s->clock_was_set = true;
    if (s->sleeping)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

/* ---- flights ----------------------------------------------------------------- */

static struct store_flight_op *new_flight_op(const struct store_flight *f, int what)
{
    struct store_flight_op *op = store_grab(NULL, sizeof *op + f->value.len);
    *op = (struct store_flight_op){
        .what = what, .kind = (uint8_t)f->kind, .conn = f->conn, .queue = f->queue, .key = f->key};
    op->len = f->value.len;
    if (f->value.len > 0)
        memcpy(op->value, f->value.data, f->value.len);
    return op;
}

static uint64_t add_flight(struct store *s, const struct store_flight *f, int what)
{
    struct store_flight_op *op = new_flight_op(f, what);
    struct store_flights one = {op, op};
    pthread_mutex_lock(&s->mutex);
    const uint64_t number = op->number = ++s->flights_handed;
    store_flights_append(&s->flights, &one);
    if (s->sleeping)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
    return number;
}

uint64_t store_flight_put(struct store *s, const struct store_flight *f)
{
    return add_flight(s, f, STORE_FLIGHT_PUT);
}

uint64_t store_flight_drop(struct store *s, enum store_flight_kind kind, uint64_t key,
                           uint32_t conn)
{
    return add_flight(s, &(struct store_flight){.kind = kind, .key = key, .conn = conn},
                      STORE_FLIGHT_DROP);
}

uint64_t store_flight_drop_all(struct store *s, uint32_t conn)
{
    return add_flight(s, &(struct store_flight){.conn = conn}, STORE_FLIGHT_DROP_ALL);
}

static void add_with_turn(struct store *s, const struct store_flight *f, int what)
{
    struct store_flight_op *op = new_flight_op(f, what);
    struct store_flights one = {op, op};
    pthread_mutex_lock(&s->mutex);
    store_flights_append(&s->turn.flights, &one);
    pthread_mutex_unlock(&s->mutex);
}

void store_flight_put_with_turn(struct store *s, const struct store_flight *f)
{
    add_with_turn(s, f, STORE_FLIGHT_PUT);
}

void store_flight_drop_with_turn(struct store *s, enum store_flight_kind kind, uint64_t key,
                                 uint32_t conn)
{
    add_with_turn(s, &(struct store_flight){.kind = kind, .key = key, .conn = conn},
                  STORE_FLIGHT_DROP);
}

bool store_flight_is_durable(struct store *s, uint64_t number, uint32_t wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->mutex);
    while (s->flights_durable < number)
        if (pthread_cond_timedwait(&s->flights_wake, &s->mutex, &until) == ETIMEDOUT)
            break;
    const bool durable = s->flights_durable >= number;
    pthread_mutex_unlock(&s->mutex);
    return durable;
}

int store_fd(const struct store *s)
{
    return s->event_fd;
}

bool store_next_event(struct store *s, struct bridge_event *event)
{
    free_answer(s->current);
    pthread_mutex_lock(&s->mutex);
    s->current = s->answers;
    if (s->current != NULL) {
        s->answers = s->current->next;
    } else if (s->signalled) {
        uint64_t count;
        s->signalled = read(s->event_fd, &count, sizeof count) != sizeof count;
    }
    pthread_mutex_unlock(&s->mutex);
    if (s->current == NULL)
        return false;
    *event = s->current->event;
    return true;
}

bool store_next_report(struct store *s, char *line, size_t size)
{
    pthread_mutex_lock(&s->mutex);
    const bool found = s->report_count > 0;
    if (found) {
        snprintf(line, size, "%s", s->reports[s->report_first]);
        s->report_first = (s->report_first + 1) % STORE_REPORTS_MAX;
        s->report_count--;
    }
    pthread_mutex_unlock(&s->mutex);
    return found;
}

void store_figures(struct store *s, struct store_figures *out)
{
    pthread_mutex_lock(&s->mutex);
    *out = s->figures;
    out->waiting_bytes = s->waiting_bytes + s->turn.bytes;
    pthread_mutex_unlock(&s->mutex);
    out->file_bytes = store_file_bytes(s);
}

/* ---- life ---- */

/* The lock lives on a file of its own, because the database file may be
 * replaced, and because SQLite's own locks vanish when any descriptor of the
 * database is closed. The kernel drops it with the process. */
static enum store_fault lock(const struct store *s, int *out, char *why, size_t why_size)
{
    char path[STORE_PATH_BYTES + 8];
    char owner[32] = "";

    snprintf(path, sizeof path, "%s.lock", s->path);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return STORE_CANNOT_OPEN;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        const int error = errno;
        const ssize_t len = read(fd, owner, sizeof owner - 1);
        owner[len > 0 ? strcspn(owner, "\n") : 0] = '\0';
        close(fd);
        if (error != EWOULDBLOCK) {
            snprintf(why, why_size, "%s: %s", path, strerror(error));
            return STORE_CANNOT_OPEN;
        }
        snprintf(why, why_size, "%s: in use by another process%s%s", s->path,
                 owner[0] != '\0' ? ", " : "", owner);
        return STORE_LOCKED;
    }
    const int len = snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, owner, (size_t)len, 0) != len)
        (void)0; /* only a help for the reader of the message above */
    *out = fd;
    return STORE_OK;
}

static void free_store(struct store *s)
{
    store_box_free(&s->box);
    store_box_free(&s->keeper);
    store_flights_free(&s->flights);
    store_flights_free(&s->turn.flights);
    while (s->spare != NULL) {
        struct store_batch *batch = s->spare;
        s->spare = batch->next;
        free(batch);
    }
    while (s->answers != NULL) {
        struct store_answer *a = s->answers;
        s->answers = a->next;
        free_answer(a);
    }
    free_answer(s->current);
    if (s->event_fd >= 0)
        close(s->event_fd);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    pthread_cond_destroy(&s->flights_wake);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

static int start_thread(struct store *s)
{
    sigset_t all;
    sigset_t before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&s->thread, NULL, serve, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

enum store_fault store_open(const struct store_options *o, struct store **out, char *why,
                            size_t why_size)
{
    pthread_condattr_t monotonic;

    why[0] = '\0';
    if (strlen(o->path) + STORE_SUFFIX_BYTES > STORE_PATH_BYTES) {
        snprintf(why, why_size, "%.200s...: the path is too long", o->path);
        return STORE_CANNOT_OPEN;
    }
    struct store *s = store_grab(NULL, sizeof *s);
    memset(s, 0, sizeof *s);
    snprintf(s->path, sizeof s->path, "%s", o->path);
    snprintf(s->path_wal, sizeof s->path_wal, "%s-wal", o->path);
    s->lazy_ms = o->lazy_ms;
    s->max_bytes =
        o->max_bytes > 0 && o->max_bytes < STORE_MAX_BYTES_MIN ? STORE_MAX_BYTES_MIN : o->max_bytes;
    s->lock_fd = -1;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_cond_init(&s->flights_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    enum store_fault fault = lock(s, &s->lock_fd, why, why_size);
    if (fault == STORE_OK)
        fault = store_file_open(s, why, why_size);
    if (fault == STORE_OK) {
        note_room(s, !store_file_has_room(s));
        const int error = s->event_fd < 0 ? EMFILE : start_thread(s);
        if (error != 0) {
            snprintf(why, why_size, "%s: %s", o->path, strerror(error));
            store_file_close(s);
            fault = STORE_CANNOT_OPEN;
        }
    }
    if (fault != STORE_OK) {
        free_store(s);
        return fault;
    }
    *out = s;
    return STORE_OK;
}

void store_close(struct store *s)
{
    store_flush(s);
    pthread_mutex_lock(&s->mutex);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
    store_file_close(s);
    free_store(s);
}
