/* The store against real files. See faulty_disk.h for the disk with trouble.
 *
 *   test_store                     runs the tests
 *   test_store --make-golden FILE  makes the golden file of this format
 */
#include "bridge/crc32c.h"
#include "bridge/store.h"
#include "tests/faulty_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_MS  20000 /* what must happen has happened by then, on any machine */
#define NEVER_MS 3600000u
#define GOLDEN   "tests/data/store-format-1.db"
#define KILLS    30
#define CUTS     60

/* ---- the rig --------------------------------------------------------------- */

static char folder[256];
static char path[300];
static struct store *store;
static uint64_t next_ticket;
static struct store_options options;
static char why[2048];
static bool mounted; /* a file system on folder */

/* What the last replay gave, as text, one event a line. */
static char replayed[65536];

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* What the WAITING of one queue say, to be compared with its QUEUE. */
static struct bridge_event waiting;
static char waiting_text[4096];

static void note_waiting(const struct bridge_event *e)
{
    static size_t len;
    len = waiting_text[0] == '\0' ? 0 : len;
    if (waiting.queue.count++ == 0)
        waiting.queue.first = e->waiting.seq;
    waiting.queue.queue = e->waiting.queue;
    waiting.queue.last = e->waiting.seq;
    waiting.queue.bytes += e->waiting.bytes;
    if (len < sizeof waiting_text / 2)
        len +=
            (size_t)snprintf(waiting_text + len, sizeof waiting_text - len,
                             "%" PRIu64 " from %" PRIu32 " class %u link %u %.*s\n", e->waiting.seq,
                             e->waiting.session, e->waiting.class, e->waiting.link,
                             (int)e->waiting.topic.len, (const char *)e->waiting.topic.data);
}

static bool is_what_waits(const struct bridge_event *e)
{
    const struct bridge_event w = waiting;
    waiting = (struct bridge_event){0};
    return w.queue.queue == e->queue.queue && w.queue.first == e->queue.first &&
           w.queue.last == e->queue.last && w.queue.count == e->queue.count &&
           w.queue.bytes == e->queue.bytes;
}

static void note_replayed(void *ctx, const struct bridge_event *e)
{
    const size_t len = strlen(replayed);
    char *at = replayed + len;
    const size_t room = sizeof replayed - len;
    (void)ctx;

    if (e->type == BRIDGE_ON_RECORD)
        snprintf(at, room, "record %" PRIu32 " %d %" PRIu32 " %.*s\n", e->record.session,
                 (int)e->record.kind, e->record.key, (int)e->record.value.len,
                 e->record.value.len > 0 ? (const char *)e->record.value.data : "");
    else if (e->type == BRIDGE_ON_WAITING)
        note_waiting(e);
    else if (e->type == BRIDGE_ON_QUEUE && !is_what_waits(e))
        snprintf(at, room, "queue %" PRIu32 " is not what waits in it\n", e->queue.queue);
    else if (e->type == BRIDGE_ON_QUEUE)
        snprintf(at, room,
                 "queue %" PRIu32 ": %" PRIu64 "..%" PRIu64 " count %" PRIu64 " bytes %" PRIu64
                 "\n",
                 e->queue.queue, e->queue.first, e->queue.last, e->queue.count, e->queue.bytes);
    else if (e->type == BRIDGE_ON_OPEN)
        snprintf(at, room,
                 "open %" PRIu64 " queue %" PRIu32 " session %" PRIu32 " mid %u flags %u\n",
                 e->open.seq, e->open.queue, e->open.session, e->open.mid, e->open.flags);
    else
        snprintf(at, room, "?\n");
}

static enum store_fault try_open(void)
{
    store = NULL;
    return store_open(&options, &store, why, sizeof why);
}

static void open_store(void)
{
    if (try_open() != STORE_OK)
        fail_msg("%s", why);
    replayed[0] = '\0';
    waiting_text[0] = '\0';
    next_ticket = store_replay(store, note_replayed, NULL);
}

static void close_store(void)
{
    if (store != NULL)
        store_close(store);
    store = NULL;
}

static void reopen_store(void)
{
    close_store();
    open_store();
}

static void remove_folder(const char *name)
{
    char entry[1024];
    DIR *d = opendir(name);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(entry, sizeof entry, "%s/%s", name, e->d_name);
        if (unlink(entry) != 0)
            remove_folder(entry);
    }
    closedir(d);
    rmdir(name);
}

static int make_folder(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%s/test_store.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/store.db", folder);
    options = (struct store_options){.path = path, .lazy_ms = NEVER_MS};
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    atomic_store(&disk.write_error, 0);
    atomic_store(&disk.sync_error, 0);
    atomic_store(&disk.read_error, 0);
    disk_let_go();
    close_store();
    disk_keep_books(false);
    disk.before_change = NULL;
    if (mounted && umount(folder) == 0)
        mounted = false;
    remove_folder(folder);
    return 0;
}

/* ---- actions --------------------------------------------------------------- */

static uint64_t put(struct bridge_action a)
{
    switch (a.type) {
    case BRIDGE_DO_STORE:
        a.store.message.seq = next_ticket;
        break;
    case BRIDGE_DO_MARK:
    case BRIDGE_DO_FORGET:
        a.row.ticket = next_ticket;
        break;
    case BRIDGE_DO_SAVE:
    case BRIDGE_DO_ERASE:
        a.record.ticket = next_ticket;
        break;
    case BRIDGE_DO_FETCH:
        store_put(store, &a);
        return 0;
    case BRIDGE_DO_SEND:
    case BRIDGE_DO_CONNECT:
    case BRIDGE_DO_DISCONNECT:
    case BRIDGE_DO_PUBLISH:
    case BRIDGE_DO_SUBSCRIBE:
    case BRIDGE_DO_UNSUBSCRIBE:
    case BRIDGE_DO_ACCEPT:
    case BRIDGE_DO_NOTE:
        fail();
    }
    store_put(store, &a);
    return next_ticket++;
}

static struct bridge_action message(uint32_t queue, const char *payload)
{
    return (struct bridge_action){.type = BRIDGE_DO_STORE,
                                  .store.message = {.queue = queue,
                                                    .session = 5,
                                                    .received_ms = 1700000000123,
                                                    .qos = 1,
                                                    .topic = sn_bytes_text("plant/1"),
                                                    .payload = sn_bytes_text(payload)}};
}

static struct bridge_action lazily(struct bridge_action a)
{
    a.lazy = true;
    return a;
}

static struct bridge_action forget(uint32_t queue, uint64_t seq)
{
    return (struct bridge_action){.type = BRIDGE_DO_FORGET, .row = {.queue = queue, .seq = seq}};
}

static struct bridge_action mark(uint32_t queue, uint64_t seq, uint8_t flags)
{
    return (struct bridge_action){.type = BRIDGE_DO_MARK,
                                  .row = {.queue = queue, .seq = seq, .flags = flags}};
}

static struct bridge_action save(uint32_t session, int kind, uint32_t key, const char *value)
{
    return (struct bridge_action){.type = BRIDGE_DO_SAVE,
                                  .record.record = {.session = session,
                                                    .kind = (enum bridge_record_kind)kind,
                                                    .key = key,
                                                    .value = sn_bytes_text(value)}};
}

static struct bridge_action erase(uint32_t session, int kind, uint32_t key)
{
    return (struct bridge_action){
        .type = BRIDGE_DO_ERASE,
        .record.record = {.session = session, .kind = (enum bridge_record_kind)kind, .key = key}};
}

static struct bridge_action fetch(uint32_t queue, uint64_t from, uint32_t count)
{
    return (struct bridge_action){.type = BRIDGE_DO_FETCH,
                                  .fetch = {.queue = queue, .from = from, .count = count}};
}

/* ---- events ---------------------------------------------------------------- */

static bool next_event_within(struct bridge_event *event, uint64_t ms)
{
    const uint64_t deadline = now_ms() + ms;
    struct pollfd p = {.fd = store_fd(store), .events = POLLIN};

    while (!store_next_event(store, event)) {
        const uint64_t now = now_ms();
        if (now >= deadline)
            return false;
        poll(&p, 1, (int)(deadline - now));
    }
    return true;
}

static struct bridge_event next_event(void)
{
    struct bridge_event event;
    if (!next_event_within(&event, LONG_MS))
        fail_msg("no event came");
    return event;
}

static void expect(enum bridge_event_type type, uint64_t ticket)
{
    const struct bridge_event event = next_event();
    assert_int_equal(event.type, type);
    assert_int_equal(event.stored.ticket, ticket);
}

/* Takes STORED events until they cover ticket. */
static void wait_stored(uint64_t ticket)
{
    for (;;) {
        const struct bridge_event event = next_event();
        assert_int_equal(event.type, BRIDGE_ON_STORED);
        if (event.stored.ticket >= ticket)
            return;
    }
}

static void expect_nothing(void)
{
    struct bridge_event event;
    assert_false(store_next_event(store, &event));
}

static void commit(void)
{
    store_flush(store);
    wait_stored(next_ticket - 1);
}

/* The answer to a FETCH as text: payloads with a space behind each, then "end"
 * or "more". Skips STORED events. */
static const char *fetched(void)
{
    static char text[8192];
    struct bridge_event event;

    do
        event = next_event();
    while (event.type == BRIDGE_ON_STORED);
    assert_int_equal(event.type, BRIDGE_ON_FETCHED);
    text[0] = '\0';
    for (size_t i = 0; i < event.fetched.count; i++) {
        const struct sn_bytes p = event.fetched.messages[i].payload;
        const size_t len = strlen(text);
        if (event.fetched.which != BRIDGE_FETCH_EXPIRED)
            assert_int_equal(event.fetched.messages[i].queue, event.fetched.queue);
        snprintf(text + len, sizeof text - len, "%.*s ", (int)p.len, (const char *)p.data);
    }
    strcat(text, event.fetched.end ? "end" : "more");
    return text;
}

static const char *fetch_now(uint32_t queue, uint64_t from, uint32_t count)
{
    put(fetch(queue, from, count));
    store_flush(store);
    return fetched();
}

static struct store_figures figures(void)
{
    struct store_figures f;
    store_figures(store, &f);
    return f;
}

/* The reports so far, one a line. */
static const char *reports(void)
{
    static char text[16 * 1400];
    char line[1400];
    text[0] = '\0';
    while (store_next_report(store, line, sizeof line)) {
        strcat(text, line);
        strcat(text, "\n");
    }
    return text;
}

/* ---- SQL from outside ------------------------------------------------------ */

static int64_t ask(const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;

    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix"), SQLITE_OK);
    sqlite3_busy_timeout(db, LONG_MS);
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    const int rc = sqlite3_step(st);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    const int64_t value = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return value;
}

/* ---- durable, and in order ------------------------------------------------- */

static void every_ticket_is_reported_in_order(void **state)
{
    (void)state;
    open_store();
    assert_int_equal(next_ticket, 1);

    uint64_t last = 0;
    for (int turn = 0; turn < 50; turn++) {
        const uint64_t seq = put(message(0, "x"));
        put(save(1, BRIDGE_RECORD_SESSION, 0, "s"));
        put(mark(0, seq, BRIDGE_FLAG_RELEASED));
        put(forget(0, seq));
        store_flush(store);
    }
    while (last < next_ticket - 1) {
        const struct bridge_event event = next_event();
        assert_int_equal(event.type, BRIDGE_ON_STORED);
        assert_true(event.stored.ticket > last);
        assert_int_equal(event.stored.ticket % 4, 0); /* whole turns */
        last = event.stored.ticket;
    }
    expect_nothing();
}

static void what_was_reported_is_in_the_file(void **state)
{
    (void)state;
    open_store();
    put(message(0, "a"));
    put(message(7, "b"));
    commit();
    assert_int_equal(ask("SELECT count(*) FROM message"), 2);
    assert_int_equal(ask("SELECT crc FROM message WHERE queue = 7") >= 0, 1);
}

static void a_message_comes_back_with_every_field(void **state)
{
    (void)state;
    open_store();
    uint8_t payload[300];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)i;
    struct bridge_action a = message(9, "");
    a.store.message.session = UINT32_MAX;
    a.store.message.queue = UINT32_MAX - 1;
    a.store.message.received_ms = UINT64_MAX - 5;
    a.store.message.expires_ms = UINT64_MAX - 6;
    a.store.message.qos = 2;
    a.store.message.flags = BRIDGE_FLAG_RETAIN | BRIDGE_FLAG_RELEASED;
    a.store.message.mid = 65535;
    a.store.message.class = 255;
    a.store.message.link = 254;
    a.store.message.topic = sn_bytes("t\0\xFF/x", 5);
    a.store.message.payload = sn_bytes(payload, sizeof payload);
    const uint64_t seq = put(a);
    commit();
    reopen_store();

    put(fetch(UINT32_MAX - 1, 0, 10));
    store_flush(store);
    const struct bridge_event e = next_event();
    assert_int_equal(e.type, BRIDGE_ON_FETCHED);
    assert_int_equal(e.fetched.count, 1);
    assert_true(e.fetched.end);
    const struct bridge_message *m = &e.fetched.messages[0];
    assert_int_equal(m->seq, seq);
    assert_int_equal(m->queue, UINT32_MAX - 1);
    assert_int_equal(m->session, UINT32_MAX);
    assert_true(m->received_ms == UINT64_MAX - 5);
    assert_true(m->expires_ms == UINT64_MAX - 6);
    assert_int_equal(m->qos, 2);
    assert_int_equal(m->flags, BRIDGE_FLAG_RETAIN | BRIDGE_FLAG_RELEASED);
    assert_int_equal(m->mid, 65535);
    assert_int_equal(m->class, 255);
    assert_int_equal(m->link, 254);
    assert_true(sn_bytes_equal(m->topic, sn_bytes("t\0\xFF/x", 5)));
    assert_true(sn_bytes_equal(m->payload, sn_bytes(payload, sizeof payload)));
}

static void an_empty_payload_and_an_empty_record_come_back(void **state)
{
    (void)state;
    open_store();
    struct bridge_action a = message(0, "");
    a.store.message.topic = (struct sn_bytes){0};
    put(a);
    put(save(3, BRIDGE_RECORD_WILL, 0, ""));
    commit();
    reopen_store();
    assert_string_equal(replayed, "record 3 2 0 \nqueue 0: 1..1 count 1 bytes 0\n");
    assert_string_equal(fetch_now(0, 0, 10), " end");
}

static void closing_commits_what_was_handed_over(void **state)
{
    (void)state;
    open_store();
    put(lazily(message(0, "a")));
    store_flush(store);
    put(lazily(message(0, "b"))); /* not even flushed */
    reopen_store();
    assert_string_equal(fetch_now(0, 0, 10), "a b end");
}

static void turns_that_wait_become_one_commit(void **state)
{
    (void)state;
    open_store();
    disk_hold();
    put(message(0, "first"));
    store_flush(store);
    disk_wait_held();
    for (int i = 0; i < 100; i++) {
        put(message(0, "x"));
        store_flush(store); /* does not wait for the disk */
    }
    expect_nothing();
    assert_true(figures().waiting_bytes > 0);
    disk_let_go();
    expect(BRIDGE_ON_STORED, 1);
    expect(BRIDGE_ON_STORED, 101);
    assert_int_equal(figures().commits, 2);
    assert_int_equal(figures().written, 101);
    while (figures().waiting_bytes != 0)
        usleep(1000);
}

/* ---- lazy ------------------------------------------------------------------ */

static void lazy_operations_wait_for_one_that_is_not(void **state)
{
    (void)state;
    open_store();
    for (int i = 0; i < 20; i++) {
        put(lazily(message(0, "x")));
        store_flush(store);
    }
    expect_nothing();
    assert_int_equal(figures().commits, 0);
    put(save(1, BRIDGE_RECORD_SESSION, 0, "s"));
    store_flush(store);
    expect(BRIDGE_ON_STORED, 21);
    assert_int_equal(figures().commits, 1);
}

static void lazy_operations_wait_no_longer_than_lazy_ms(void **state)
{
    (void)state;
    options.lazy_ms = 60;
    open_store();
    const uint64_t start = now_ms();
    put(lazily(message(0, "x")));
    store_flush(store);
    put(lazily(message(0, "y")));
    store_flush(store);
    expect(BRIDGE_ON_STORED, 2);
    assert_true(now_ms() - start >= 59);
    assert_int_equal(figures().commits, 1);
}

static void lazy_operations_do_not_gather_without_bound(void **state)
{
    static char big[65536];
    (void)state;
    open_store();
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 70; i++) {
        put(lazily(message(0, big)));
        store_flush(store);
    }
    const struct bridge_event event = next_event();
    assert_int_equal(event.type, BRIDGE_ON_STORED);
}

static void fetch_is_not_lazy(void **state)
{
    (void)state;
    open_store();
    put(lazily(message(0, "a")));
    put(lazily(fetch(0, 0, 10)));
    store_flush(store);
    assert_string_equal(fetched(), "a end");
}

/* ---- what need not be written ---------------------------------------------- */

static void a_message_forgotten_in_time_is_never_written(void **state)
{
    (void)state;
    open_store();
    const uint64_t a = put(lazily(message(0, "a")));
    put(lazily(message(0, "b")));
    store_flush(store);
    put(lazily(forget(0, a)));
    store_flush(store);
    assert_int_equal(figures().avoided, 1);
    put(save(1, BRIDGE_RECORD_SESSION, 0, "s"));
    commit();
    assert_int_equal(figures().written, 2);
    assert_string_equal(fetch_now(0, 0, 10), "b end");
}

static void a_batch_that_cancels_itself_is_reported_without_a_commit(void **state)
{
    (void)state;
    open_store();
    for (int i = 0; i < 1000; i++)
        put(forget(0, put(message(0, "x"))));
    store_flush(store);
    expect(BRIDGE_ON_STORED, 2000);
    assert_int_equal(figures().commits, 0);
    assert_int_equal(figures().avoided, 1000);
}

static void a_message_being_committed_is_forgotten_afterwards(void **state)
{
    (void)state;
    open_store();
    disk_hold();
    const uint64_t a = put(message(0, "a"));
    store_flush(store);
    disk_wait_held();
    put(forget(0, a));
    store_flush(store);
    disk_let_go();
    wait_stored(2);
    assert_int_equal(figures().avoided, 0);
    assert_int_equal(figures().written, 1);
    assert_string_equal(fetch_now(0, 0, 10), "end");
}

/* The message moves to another queue within a turn: after a crash one of the
 * two must be there. So the store may not commit the batch from which the first
 * one was taken before it has the turn with the second. */
static void a_batch_waits_for_the_turn_that_cancelled_in_it(void **state)
{
    struct bridge_event event;
    (void)state;
    options.lazy_ms = 1;
    open_store();
    disk_hold();
    put(message(0, "first"));
    store_flush(store);
    disk_wait_held();
    const uint64_t a = put(message(1, "a"));
    store_flush(store);
    put(forget(1, a));
    disk_let_go();
    expect(BRIDGE_ON_STORED, 1);
    assert_false(next_event_within(&event, 50)); /* nothing may come, so no deadline helps */
    put(message(2, "a"));
    store_flush(store);
    expect(BRIDGE_ON_STORED, 4);
    assert_int_equal(figures().commits, 2);
    assert_string_equal(fetch_now(2, 0, 10), "a end");
}

static void a_mark_joins_its_message(void **state)
{
    (void)state;
    open_store();
    const uint64_t a = put(message(0, "a"));
    put(message(0, "b"));
    put(mark(0, a, BRIDGE_FLAG_DELIVERED));
    commit();
    assert_int_equal(figures().written, 2);
    assert_int_equal(ask("SELECT flags FROM message WHERE seq = 1"), BRIDGE_FLAG_DELIVERED);
    assert_string_equal(fetch_now(0, 0, 10), "b end");
}

static void marks_add_up(void **state)
{
    (void)state;
    open_store();
    const uint64_t a = put(message(0, "a"));
    commit();
    put(mark(0, a, BRIDGE_FLAG_RELEASED));
    put(mark(0, a, BRIDGE_FLAG_RETAIN));
    commit();
    put(mark(0, a, BRIDGE_FLAG_DELIVERED));
    put(mark(0, 999, BRIDGE_FLAG_DELIVERED)); /* there is no such message */
    commit();
    assert_int_equal(ask("SELECT flags FROM message"), 7);
    reopen_store();
    assert_string_equal(replayed, "");
    assert_int_equal(figures().damaged, 0);
}

static void only_the_last_save_of_a_record_is_written(void **state)
{
    (void)state;
    open_store();
    for (int i = 0; i < 10; i++)
        put(lazily(save(1, BRIDGE_RECORD_SESSION, 0, i == 9 ? "last" : "earlier")));
    put(save(1, BRIDGE_RECORD_WILL, 0, "gone"));
    put(erase(1, BRIDGE_RECORD_WILL, 0));
    commit();
    assert_int_equal(figures().written, 1);
    reopen_store();
    assert_string_equal(replayed, "record 1 1 0 last\n");
}

static void a_record_saved_after_its_session_was_erased_stays(void **state)
{
    (void)state;
    open_store();
    put(save(1, BRIDGE_RECORD_SESSION, 0, "old"));
    put(save(1, BRIDGE_RECORD_TOPIC, 5, "old"));
    put(erase(1, 0, 0));
    put(save(1, BRIDGE_RECORD_SESSION, 0, "new"));
    commit();
    reopen_store();
    assert_string_equal(replayed, "record 1 1 0 new\n");
}

/* ---- records and replay ---------------------------------------------------- */

static void replay_gives_records_then_queues_then_open_exchanges(void **state)
{
    (void)state;
    open_store();
    put(message(7, "to seven"));
    struct bridge_action qos2 = message(0, "in flight");
    qos2.store.message.qos = 2;
    qos2.store.message.mid = 77;
    put(qos2); /* 2: not released */
    const uint64_t released = put(qos2);
    const uint64_t delivered = put(qos2);
    const uint64_t both = put(qos2);
    qos2.store.message.queue = 7;
    put(qos2); /* 6: to a sensor, none of ours */
    qos2.store.message.queue = BRIDGE_QUEUE_OWN + 7;
    put(qos2); /* 7: from it, by a connection of its own */
    put(mark(0, released, BRIDGE_FLAG_RELEASED));
    put(mark(0, delivered, BRIDGE_FLAG_DELIVERED));
    put(mark(0, both, BRIDGE_FLAG_DELIVERED | BRIDGE_FLAG_RELEASED));
    put(save(2, BRIDGE_RECORD_FILTER, 1, "f1"));
    put(save(2, BRIDGE_RECORD_TOPIC, 9, "t9"));
    put(save(2, BRIDGE_RECORD_SESSION, 0, "two"));
    put(save(1, BRIDGE_RECORD_SESSION, 0, "one"));
    put(save(0, BRIDGE_RECORD_ACCOUNT, 0, "account"));
    commit();
    reopen_store();
    assert_string_equal(replayed, "record 0 5 0 account\n"
                                  "record 1 1 0 one\n"
                                  "record 2 1 0 two\n"
                                  "record 2 3 9 t9\n"
                                  "record 2 4 1 f1\n"
                                  "queue 0: 2..3 count 2 bytes 18\n"
                                  "queue 7: 1..6 count 2 bytes 17\n"
                                  "queue 2147483655: 7..7 count 1 bytes 9\n"
                                  "open 2 queue 0 session 5 mid 77 flags 0\n"
                                  "open 4 queue 0 session 5 mid 77 flags 4\n"
                                  "open 5 queue 0 session 5 mid 77 flags 6\n"
                                  "open 7 queue 2147483655 session 5 mid 77 flags 0\n");
}

static void erasing_a_session_takes_its_records_and_its_queue(void **state)
{
    (void)state;
    open_store();
    put(save(0, BRIDGE_RECORD_ACCOUNT, 0, "account"));
    put(save(4, BRIDGE_RECORD_SESSION, 0, "four"));
    put(save(5, BRIDGE_RECORD_SESSION, 0, "five"));
    put(save(5, BRIDGE_RECORD_TOPIC, 1, "t"));
    put(message(4, "x"));
    put(message(5, "y"));
    put(message(0, "from five")); /* session 5, to the broker */
    put(message(BRIDGE_QUEUE_OWN + 5, "so is this"));
    commit();
    put(erase(5, 0, 0));
    put(erase(4, BRIDGE_RECORD_TOPIC, 1)); /* there is none */
    commit();
    reopen_store();
    assert_string_equal(replayed, "record 0 5 0 account\n"
                                  "record 4 1 0 four\n"
                                  "queue 0: 7..7 count 1 bytes 9\n"
                                  "queue 4: 5..5 count 1 bytes 1\n"
                                  "queue 2147483653: 8..8 count 1 bytes 10\n");
}

static void tickets_go_on_where_they_ended(void **state)
{
    (void)state;
    open_store();
    put(forget(0, put(message(0, "x"))));
    commit();
    put(save(1, BRIDGE_RECORD_SESSION, 0, "s"));
    put(erase(1, BRIDGE_RECORD_SESSION, 0));
    commit();
    reopen_store();
    assert_int_equal(next_ticket, 5);
    reopen_store();
    assert_int_equal(next_ticket, 5);
}

/* More tickets than one reservation holds, and then no clean end. */
static void tickets_never_go_back_after_a_crash(void **state)
{
    int ends[2];
    uint64_t reached = 0;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        open_store();
        for (int i = 0; i < 12; i++) {
            next_ticket += 199999;
            put(forget(0, put(message(0, "x"))));
            put(save(1, BRIDGE_RECORD_SESSION, 0, "s"));
            commit();
        }
        reached = next_ticket - 1;
        _exit(write(ends[1], &reached, sizeof reached) == sizeof reached ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], &reached, sizeof reached), sizeof reached);
    close(ends[0]);
    close(ends[1]);
    assert_true(reached > 2000000);
    open_store();
    assert_true(next_ticket > reached);
    assert_true(next_ticket < reached + 2000000);
}

/* ---- FETCH ----------------------------------------------------------------- */

static void fetch_pages_through_a_queue(void **state)
{
    (void)state;
    open_store();
    put(message(1, "other"));
    for (const char *const *p = (const char *const[]){"a", "b", "c", "d", NULL}; *p != NULL; p++)
        put(message(2, *p));
    put(message(3, "other"));
    commit();
    assert_string_equal(fetch_now(2, 0, 2), "a b more");
    assert_string_equal(fetch_now(2, 4, 2), "c d end");
    assert_string_equal(fetch_now(2, 4, 3), "c d end");
    assert_string_equal(fetch_now(2, 6, 3), "end");
    assert_string_equal(fetch_now(2, UINT64_MAX, 3), "end");
    assert_string_equal(fetch_now(9, 0, 3), "end");
    put(mark(2, 5, BRIDGE_FLAG_DELIVERED));
    assert_string_equal(fetch_now(2, 0, 3), "a b c end");
    assert_string_equal(fetch_now(2, 0, 2), "a b more");
}

static void fetch_sees_what_came_before_it_and_no_later_message(void **state)
{
    (void)state;
    open_store();
    put(lazily(message(0, "before")));
    put(fetch(0, 0, 10));
    put(lazily(message(0, "after")));
    put(fetch(0, 0, 10));
    store_flush(store);
    assert_string_equal(fetched(), "before end");
    assert_string_equal(fetched(), "before after end");
}

static void an_answer_is_bounded_in_octets(void **state)
{
    static char big[300001];
    (void)state;
    open_store();
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 5; i++)
        put(message(0, big));
    struct bridge_action huge = message(0, "");
    static uint8_t two_mib[2 << 20];
    huge.store.message.payload = sn_bytes(two_mib, sizeof two_mib);
    put(huge);
    commit();

    put(fetch(0, 0, 100));
    put(fetch(0, 4, 100));
    put(fetch(0, 6, 100));
    store_flush(store);
    struct bridge_event e = next_event();
    assert_int_equal(e.fetched.count, 3);
    assert_false(e.fetched.end);
    assert_int_equal(e.fetched.messages[2].payload.len, sizeof big - 1);
    assert_memory_equal(e.fetched.messages[2].payload.data, big, sizeof big - 1);
    e = next_event();
    assert_int_equal(e.fetched.count, 2);
    assert_false(e.fetched.end);
    e = next_event();
    assert_int_equal(e.fetched.count, 1); /* at least one, however large */
    assert_true(e.fetched.end);
}

static void an_answer_is_bounded_in_messages(void **state)
{
    (void)state;
    open_store();
    for (uint32_t i = 0; i < STORE_FETCH_COUNT + 1; i++)
        put(message(0, ""));
    put(fetch(0, 0, UINT32_MAX));
    store_flush(store);
    struct bridge_event e;
    do
        e = next_event();
    while (e.type != BRIDGE_ON_FETCHED);
    assert_int_equal(e.fetched.count, STORE_FETCH_COUNT);
    assert_false(e.fetched.end);
}

/* ---- one at a time, and only ours ------------------------------------------ */

static void a_second_process_is_told_that_the_file_is_in_use(void **state)
{
    int ends[2];
    char ready = 0;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        open_store();
        if (write(ends[1], "r", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ends[0], &ready, 1), 1);
    assert_int_equal(try_open(), STORE_LOCKED);
    assert_null(store);
    char expected[64];
    snprintf(expected, sizeof expected, "in use by another process, %ld", (long)child);
    assert_non_null(strstr(why, expected));

    /* A process that was killed leaves nothing locked. */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ends[0]);
    close(ends[1]);
    open_store();
}

static void a_newer_format_is_refused_and_left_alone(void **state)
{
    (void)state;
    open_store();
    put(message(0, "x"));
    close_store();
    char sql[128];
    const uint32_t crc = crc32c(0, sn_bytes("\0\0\0\0\0\0\0\2format", 14));
    snprintf(sql, sizeof sql, "UPDATE meta SET value = 2, crc = %" PRIu32 " WHERE key = 'format'",
             crc);
    ask(sql);
    assert_int_equal(try_open(), STORE_TOO_NEW);
    assert_non_null(strstr(why, "has format 2, this program knows up to 1"));
    assert_int_equal(ask("SELECT count(*) FROM message"), 1);
}

static void a_damaged_format_number_is_damage(void **state)
{
    (void)state;
    open_store();
    put(message(0, "x"));
    close_store();
    ask("UPDATE meta SET value = 2 WHERE key = 'format'");
    open_store();
    assert_non_null(strstr(why, "set aside as"));
    assert_string_equal(fetch_now(0, 0, 10), "x end");
}

static void a_database_of_another_program_is_refused_and_left_alone(void **state)
{
    sqlite3 *db = NULL;
    (void)state;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE song(title)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(try_open(), STORE_CANNOT_OPEN);
    assert_non_null(strstr(why, "a database of another program"));
    assert_int_equal(ask("SELECT count(*) FROM song"), 0);
}

static void a_missing_folder_is_an_error_with_its_name(void **state)
{
    (void)state;
    options.path = "/nonexistent/store.db";
    assert_int_equal(try_open(), STORE_CANNOT_OPEN);
    assert_non_null(strstr(why, "/nonexistent/store.db"));
    assert_non_null(strstr(why, "No such file"));
}

static void the_golden_file_of_format_1_opens(void **state)
{
    (void)state;
    FILE *in = fopen(GOLDEN, "rb");
    if (in == NULL)
        fail_msg("%s: %s (run from the top folder)", GOLDEN, strerror(errno));
    FILE *out = fopen(path, "wb");
    for (int c; (c = getc(in)) != EOF;)
        putc(c, out);
    fclose(in);
    fclose(out);

    open_store();
    assert_string_equal(why, "");
    assert_string_equal(replayed, "record 0 5 0 account\n"
                                  "record 2 1 0 sensor two\n"
                                  "record 2 3 9 plant/9\n"
                                  "queue 0: 1..1 count 1 bytes 4\n"
                                  "queue 2: 3..3 count 1 bytes 4\n"
                                  "open 2 queue 0 session 2 mid 513 flags 4\n");
    assert_int_equal(next_ticket, 8);
    put(fetch(2, 0, 10));
    store_flush(store);
    const struct bridge_event e = next_event();
    assert_int_equal(e.fetched.count, 1);
    const struct bridge_message *m = &e.fetched.messages[0];
    assert_int_equal(m->received_ms, 1700000000123);
    assert_int_equal(m->expires_ms, 1800000000456);
    assert_int_equal(m->qos, 1);
    assert_int_equal(m->flags, BRIDGE_FLAG_RETAIN);
    assert_int_equal(m->class, 3);
    assert_int_equal(m->link, 2);
    assert_true(sn_bytes_equal(m->topic, sn_bytes_text("plant/2/set")));
    assert_true(sn_bytes_equal(m->payload, sn_bytes("\x00\xFFok", 4)));
    assert_int_equal(figures().damaged, 0);
}

static void make_golden(void)
{
    open_store();
    put(message(0, "21.5"));
    struct bridge_action a = message(0, "once");
    a.store.message.session = 2;
    a.store.message.qos = 2;
    a.store.message.mid = 513;
    a.store.message.flags = BRIDGE_FLAG_DELIVERED;
    put(a);
    a = message(2, "");
    a.store.message.session = 2;
    a.store.message.expires_ms = 1800000000456;
    a.store.message.flags = BRIDGE_FLAG_RETAIN;
    a.store.message.class = 3;
    a.store.message.link = 2;
    a.store.message.topic = sn_bytes_text("plant/2/set");
    a.store.message.payload = sn_bytes("\x00\xFFok", 4);
    put(a);
    put(save(0, BRIDGE_RECORD_ACCOUNT, 0, "account"));
    put(save(2, BRIDGE_RECORD_SESSION, 0, "sensor two"));
    put(save(2, BRIDGE_RECORD_TOPIC, 9, "plant/9"));
    put(forget(0, 999));
    commit();
    close_store();
}

/* ---- damaged rows ---------------------------------------------------------- */

static long file_length(const char *name)
{
    struct stat st;
    return stat(name, &st) == 0 ? (long)st.st_size : -1;
}

/* Changes one bit of the first place where the file has these octets. */
static void flip_bit_at(const char *needle)
{
    const int fd = open(path, O_RDWR);
    const size_t size = (size_t)file_length(path);
    uint8_t *content = malloc(size);

    assert_true(fd >= 0);
    assert_non_null(content);
    assert_int_equal(pread(fd, content, size, 0), size);
    uint8_t *at = memmem(content, size, needle, strlen(needle));
    assert_non_null(at);
    at[strlen(needle) / 2] ^= 0x10;
    assert_int_equal(pwrite(fd, at, strlen(needle), at - content), strlen(needle));
    free(content);
    close(fd);
}

static void a_flipped_bit_in_a_message_is_found_and_the_rest_goes_on(void **state)
{
    (void)state;
    open_store();
    put(message(0, "first"));
    put(message(0, "needle in the haystack"));
    put(message(0, "third"));
    commit();
    close_store();
    flip_bit_at("needle in the haystack");
    open_store();
    assert_string_equal(replayed, "queue 0: 1..3 count 3 bytes 32\n");
    assert_int_equal(figures().damaged, 0); /* replay does not read payloads */
    assert_string_equal(fetch_now(0, 0, 10), "first third end");
    assert_string_equal(fetch_now(0, 0, 10), "first third end");
    assert_int_equal(figures().damaged, 1);
    assert_non_null(strstr(reports(), "1 damaged rows moved from message to the table damaged"));
    assert_int_equal(ask("SELECT count(*) FROM message"), 2);
    assert_int_equal(ask("SELECT seq FROM damaged WHERE origin = 'message'"), 2);
    assert_int_equal(ask("SELECT length(payload) FROM damaged"), 22);
}

static void every_column_is_covered_by_the_crc(void **state)
{
    static const char *const changes[] = {"queue = 6",
                                          "seq = 0",
                                          "session = session + 1",
                                          "received_ms = 1",
                                          "expires_ms = 1",
                                          "qos = 0",
                                          "flags = flags | 1",
                                          "mid = 1",
                                          "class = 1",
                                          "link = 1",
                                          "topic = 'p'",
                                          "payload = x'79'",
                                          "crc = crc + 1",
                                          "payload = 'y' || payload",
                                          "topic = topic || 'x', payload = ''"};
    char sql[128];
    (void)state;

    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        open_store();
        put(erase(6, 0, 0));
        put(erase(5, 0, 0));
        put(message(5, "x"));
        commit();
        snprintf(sql, sizeof sql, "UPDATE message SET %s", changes[i]);
        ask(sql);
        if (strcmp(fetch_now(i == 0 ? 6 : 5, 0, 10), "end") != 0 || figures().damaged != 1)
            fail_msg("not noticed: %s", changes[i]);
        close_store();
    }
}

/* ---- other ways to fetch ---------------------------------------------------- */

static const char *fetch_other(enum bridge_fetch which, uint32_t queue, uint64_t from,
                               uint32_t count)
{
    struct bridge_action a = fetch(queue, from, count);
    a.fetch.which = which;
    put(a);
    store_flush(store);
    return fetched();
}

static void the_newest_come_first_where_that_is_asked_for(void **state)
{
    (void)state;
    open_store();
    put(message(3, "other"));
    const uint64_t first = put(message(4, "a"));
    put(message(4, "b"));
    const uint64_t third = put(message(4, "c"));
    put(message(4, "d"));
    put(message(5, "other"));
    commit();
    assert_string_equal(fetch_other(BRIDGE_FETCH_NEWEST, 4, UINT64_MAX, 2), "d c more");
    assert_string_equal(fetch_other(BRIDGE_FETCH_NEWEST, 4, third - 1, 2), "b a end");
    assert_string_equal(fetch_other(BRIDGE_FETCH_NEWEST, 4, first - 1, 2), "end");
}

static void the_expired_are_found_in_all_queues(void **state)
{
    (void)state;
    open_store();
    const struct {
        uint32_t queue;
        uint64_t expires_ms;
        const char *payload;
    } rows[] = {{0, 0, "never"},     {0, 3000, "third"}, {7, 1000, "first"},
                {0, 2000, "second"}, {7, 9000, "later"}, {8, UINT64_MAX, "hardly ever"}};
    uint64_t seq[6];
    for (size_t i = 0; i < 6; i++) {
        struct bridge_action a = message(rows[i].queue, rows[i].payload);
        a.store.message.expires_ms = rows[i].expires_ms;
        seq[i] = put(a);
    }
    commit();
    assert_string_equal(fetch_other(BRIDGE_FETCH_EXPIRED, 0, 999, 10), "end");
    assert_string_equal(fetch_other(BRIDGE_FETCH_EXPIRED, 0, 3000, 2), "first second more");
    put(forget(7, seq[2]));
    assert_string_equal(fetch_other(BRIDGE_FETCH_EXPIRED, 0, 8999, 10), "second third end");
}

static void a_damaged_one_that_expired_is_set_aside(void **state)
{
    (void)state;
    open_store();
    struct bridge_action a = message(7, "needle in the haystack");
    a.store.message.expires_ms = 10;
    put(a);
    a = message(8, "sound");
    a.store.message.expires_ms = 11;
    put(a);
    commit();
    close_store();
    flip_bit_at("needle in the haystack");
    open_store();
    assert_string_equal(fetch_other(BRIDGE_FETCH_EXPIRED, 0, 20, 10), "sound end");
    assert_int_equal(figures().damaged, 1);
    assert_int_equal(ask("SELECT queue FROM damaged"), 7);
}

static void erase_empties_all_queues_to_a_sensor(void **state)
{
    (void)state;
    open_store();
    put(message(5, "x"));
    for (uint32_t tier = 1; tier < BRIDGE_TIERS; tier++)
        put(message(5 + tier * BRIDGE_TIER, "x"));
    put(message(6 + BRIDGE_TIER, "kept"));
    put(message(BRIDGE_QUEUE_OWN | 5, "kept"));
    put(message(BRIDGE_QUEUE_LANES | 5, "kept"));
    put(erase(5, 0, 0));
    commit();
    assert_int_equal(ask("SELECT count(*) FROM message"), 3);
    assert_int_equal(ask("SELECT count(*) FROM message WHERE payload = 'kept'"), 0);
    assert_int_equal(ask("SELECT count(*) FROM message WHERE payload = x'6b657074'"), 3);
}

static void what_waits_is_told_one_by_one(void **state)
{
    (void)state;
    open_store();
    struct bridge_action a = message(0, "abc");
    a.store.message.session = 4;
    a.store.message.class = 2;
    a.store.message.link = 1;
    a.store.message.topic = sn_bytes_text("plant/1");
    put(a);
    a.store.message.topic = sn_bytes_text("plant/2");
    a.store.message.flags = BRIDGE_FLAG_DELIVERED;
    put(a);
    put(message(BRIDGE_QUEUE_LANES, "de"));
    commit();
    reopen_store();
    assert_string_equal(waiting_text, "1 from 4 class 2 link 1 plant/1\n"
                                      "3 from 5 class 0 link 0 plant/1\n");
    assert_string_equal(replayed, "queue 0: 1..1 count 1 bytes 3\n"
                                  "queue 4278190080: 3..3 count 1 bytes 2\n");
}

/* ---- damage, continued ------------------------------------------------------ */

static void a_damaged_record_is_left_out(void **state)
{
    (void)state;
    open_store();
    put(save(1, BRIDGE_RECORD_SESSION, 0, "one"));
    put(save(2, BRIDGE_RECORD_SESSION, 0, "needle in the haystack"));
    put(save(2, BRIDGE_RECORD_TOPIC, 1, "t"));
    put(save(3, BRIDGE_RECORD_SESSION, 0, "three"));
    commit();
    close_store();
    flip_bit_at("needle in the haystack");
    open_store();
    assert_string_equal(replayed, "record 1 1 0 one\nrecord 2 3 1 t\nrecord 3 1 0 three\n");
    assert_int_equal(figures().damaged, 1);
    assert_int_equal(ask("SELECT session FROM damaged WHERE origin = 'record'"), 2);
    assert_int_equal(ask("SELECT count(*) FROM record"), 3);
}

static void marking_a_damaged_message_moves_it_away(void **state)
{
    (void)state;
    open_store();
    const uint64_t a = put(message(0, "needle in the haystack"));
    commit();
    close_store();
    flip_bit_at("needle in the haystack");
    open_store();
    put(mark(0, a, BRIDGE_FLAG_RELEASED));
    commit();
    assert_int_equal(figures().damaged, 1);
    assert_int_equal(ask("SELECT count(*) FROM message"), 0);
}

static void a_damaged_reservation_leads_to_higher_tickets(void **state)
{
    (void)state;
    open_store();
    next_ticket += 12345;
    put(message(0, "x"));
    const uint64_t reached = next_ticket;
    close_store();
    ask("UPDATE meta SET value = 3 WHERE key = 'next_seq'");
    open_store();
    assert_true(next_ticket > reached);
    put(message(0, "y"));
    assert_string_equal(fetch_now(0, 0, 10), "x y end");
}

/* ---- damaged files --------------------------------------------------------- */

static void put_many(int count)
{
    char text[64];
    for (int i = 0; i < count; i++) {
        snprintf(text, sizeof text, "message number %06d with some text behind it", i);
        put(message(1 + (uint32_t)i % 3, text));
    }
    commit();
}

static uint64_t count_rows(void)
{
    uint64_t count = 0;
    for (uint32_t queue = 0; queue < 4; queue++) {
        uint64_t from = 0;
        for (bool end = false; !end;) {
            put(fetch(queue, from, 1000));
            store_flush(store);
            struct bridge_event e;
            do
                e = next_event();
            while (e.type != BRIDGE_ON_FETCHED);
            for (size_t i = 0; i < e.fetched.count; i++) {
                assert_true(e.fetched.messages[i].seq >= from);
                from = e.fetched.messages[i].seq + 1;
            }
            count += e.fetched.count;
            end = e.fetched.end;
        }
    }
    return count;
}

/* How many files, or WALs, were set aside. */
static int count_aside(bool wals)
{
    static const char prefix[] = "store.db.damaged-";
    int count = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        count += strncmp(e->d_name, prefix, sizeof prefix - 1) == 0 &&
                 (strstr(e->d_name, "-wal") != NULL) == wals;
    closedir(d);
    return count;
}

static void overwrite(const char *name, long at, int octet, size_t len)
{
    const int fd = open(name, O_RDWR);
    uint8_t *bytes = malloc(len);
    assert_true(fd >= 0);
    memset(bytes, octet, len);
    assert_int_equal(pwrite(fd, bytes, len, at), len);
    free(bytes);
    close(fd);
}

static void a_damaged_page_costs_only_its_rows(void **state)
{
    (void)state;
    open_store();
    put(save(1, BRIDGE_RECORD_SESSION, 0, "one"));
    put_many(3000);
    close_store();
    const long pages = file_length(path) / 4096;
    assert_true(pages > 60);
    overwrite(path, 4096L * 30, 0xA5, 4096);
    overwrite(path, 4096L * 31, 0xA5, 4096);
    overwrite(path, 4096L * 50, 0xA5, 4096);
    open_store();
    const uint64_t left = count_rows();
    print_message("           %" PRIu64 " of 3000 messages recovered\n", left);
    assert_true(left < 3000 && left >= 3000 - 3 * 60);
    assert_memory_equal(replayed, "record 1 1 0 one\n", 17);
    assert_int_equal(figures().recoveries, 1);
    assert_int_equal(count_aside(false), 1);
    assert_non_null(strstr(why, "set aside as"));
    assert_true(next_ticket > 3001);
    put(message(0, "goes on"));
    commit();
    reopen_store();
    assert_string_equal(why, "");
    assert_int_equal(count_rows(), left + 1);
}

static void a_truncated_file_is_read_as_far_as_it_goes(void **state)
{
    (void)state;
    open_store();
    put_many(1000);
    close_store();
    assert_int_equal(truncate(path, file_length(path) / 4096 / 2 * 4096 + 100), 0);
    open_store();
    assert_non_null(strstr(why, "set aside as"));
    assert_non_null(strstr(why, "others cannot be read"));
    const uint64_t left = count_rows();
    print_message("           %" PRIu64 " of 1000 messages recovered\n", left);
    assert_true(left > 300);
    assert_true(next_ticket > 1000);
}

static void a_file_of_garbage_is_set_aside(void **state)
{
    (void)state;
    open_store();
    put_many(10);
    close_store();
    overwrite(path, 0, 0x5A, (size_t)file_length(path));
    open_store();
    assert_non_null(strstr(why, "set aside as"));
    assert_string_equal(replayed, "");
    assert_true(next_ticket > 10);
    put(message(0, "goes on"));
    commit();
    assert_int_equal(count_aside(false), 1);
}

static void an_empty_file_is_a_new_store(void **state)
{
    (void)state;
    close(open(path, O_CREAT | O_WRONLY, 0600));
    open_store();
    assert_string_equal(why, "");
    assert_int_equal(next_ticket, 1);
}

static void copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb");
    FILE *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    for (int c; (c = getc(in)) != EOF;)
        putc(c, out);
    fclose(in);
    fclose(out);
}

/* Leaves the folder as a crash would: the file, and a WAL with 20 turns of three
 * messages. */
static void leave_a_wal(char wal[400])
{
    char save_db[400];
    char save_wal[400];

    open_store();
    for (int i = 0; i < 20; i++)
        put_many(3);
    snprintf(wal, 400, "%s-wal", path);
    snprintf(save_db, sizeof save_db, "%s/a", folder);
    snprintf(save_wal, sizeof save_wal, "%s/b", folder);
    copy_file(path, save_db);
    copy_file(wal, save_wal);
    close_store();
    assert_int_equal(rename(save_db, path), 0);
    assert_int_equal(rename(save_wal, wal), 0);
}

/* Behind what was written there are zeros only. */
static long length_in_use(const char *name)
{
    static uint8_t content[9 << 20];
    FILE *file = fopen(name, "rb");
    size_t size = fread(content, 1, sizeof content, file);
    fclose(file);
    while (size > 0 && content[size - 1] == 0)
        size--;
    return (long)size;
}

static void a_torn_wal_ends_at_its_last_whole_commit(void **state)
{
    char wal[400];
    (void)state;
    leave_a_wal(wal);
    const long size = length_in_use(wal);
    assert_int_equal(truncate(wal, size - 3000), 0);
    open_store();
    const uint64_t left = count_rows();
    assert_true(left % 3 == 0 && left < 60 && left > 30);
    close_store();

    leave_a_wal(wal);
    overwrite(wal, size * 3 / 4, 0xFF, 10);
    open_store();
    assert_true(count_rows() % 3 == 0);
}

static void a_wal_without_its_file_is_set_aside(void **state)
{
    char wal[400];
    (void)state;
    leave_a_wal(wal);
    assert_int_equal(truncate(path, 0), 0);
    open_store();
    assert_non_null(strstr(why, "missing or empty but for its WAL"));
    assert_int_equal(count_rows(), 0);
    assert_int_equal(count_aside(true), 1);
}

static void damage_while_running_is_recovered_from(void **state)
{
    static char big[901];
    (void)state;
    memset(big, 'x', sizeof big - 1);
    open_store();
    for (int i = 0; i < 14000; i++)
        put(message(1, big)); /* more than SQLite keeps in memory */
    commit();
    reopen_store();
    for (long page = 20; page < 40; page++)
        overwrite(path, 4096 * page, 0xA5, 4096);
    const uint64_t left = count_rows();
    assert_true(left < 14000 && left > 13500);
    assert_int_equal(figures().recoveries, 1);
    assert_non_null(strstr(reports(), "set aside as"));
    put(message(1, "goes on"));
    put(forget(1, 14000));
    commit();
    reopen_store();
    assert_int_equal(count_rows(), left);
}

static void a_recovery_that_was_interrupted_is_completed(void **state)
{
    char fresh[400];
    (void)state;
    snprintf(fresh, sizeof fresh, "%s.new", path);
    open_store();
    put_many(10);
    close_store();
    assert_int_equal(rename(path, fresh), 0); /* the old one is aside already */
    open_store();
    assert_int_equal(count_rows(), 10);
    close_store();
    copy_file(path, fresh); /* not complete: the old one is still in its place */
    assert_int_equal(truncate(fresh, 5000), 0);
    open_store();
    assert_int_equal(count_rows(), 10);
    assert_int_equal(file_length(fresh), -1);
}

/* ---- a disk that refuses --------------------------------------------------- */

static void wait_for_report(const char *text)
{
    const uint64_t deadline = now_ms() + LONG_MS;
    char line[1400];
    struct bridge_event event;

    while (now_ms() < deadline) {
        while (store_next_report(store, line, sizeof line))
            if (strstr(line, text) != NULL)
                return;
        if (next_event_within(&event, 10))
            fail_msg("an event in between");
    }
    fail_msg("no report with: %s", text);
}

static void a_failed_write_refuses_messages_and_keeps_the_rest(int error)
{
    open_store();
    const uint64_t a = put(message(1, "a"));
    const uint64_t b = put(message(1, "b"));
    put(save(1, BRIDGE_RECORD_SESSION, 0, "old"));
    commit();
    atomic_store(&disk.write_error, error);
    put(forget(1, a));
    put(message(1, "refused"));
    put(save(1, BRIDGE_RECORD_SESSION, 0, "new"));
    put(mark(1, b, BRIDGE_FLAG_RELEASED));
    store_flush(store);
    expect(BRIDGE_ON_STORE_FAILED, 5);
    assert_string_equal(fetch_now(1, 0, 10), "b end"); /* as if they had been carried out */
    put(message(1, "refused too"));
    store_flush(store);
    expect(BRIDGE_ON_STORE_FAILED, 8);
    assert_int_equal(figures().refused, 2);
    assert_true(figures().kept >= 3 && figures().kept <= 5);

    atomic_store(&disk.write_error, 0);
    expect(BRIDGE_ON_STORED, 8); /* without being asked */
    assert_non_null(strstr(reports(), "the disk refuses"));
    put(message(1, "c"));
    store_flush(store);
    expect(BRIDGE_ON_STORED, 9);
    assert_string_equal(fetch_now(1, 0, 10), "b c end");
    reopen_store();
    assert_string_equal(replayed, "record 1 1 0 new\nqueue 1: 2..9 count 2 bytes 2\n");
    assert_int_equal(ask("SELECT flags FROM message WHERE seq = 2"), BRIDGE_FLAG_RELEASED);
}

static void an_io_error_refuses_messages_and_keeps_the_rest(void **state)
{
    (void)state;
    a_failed_write_refuses_messages_and_keeps_the_rest(SQLITE_IOERR_WRITE);
}

static void a_full_disk_refuses_messages_and_keeps_the_rest(void **state)
{
    (void)state;
    a_failed_write_refuses_messages_and_keeps_the_rest(SQLITE_FULL);
}

static void a_failed_sync_is_a_failed_commit(void **state)
{
    (void)state;
    open_store();
    atomic_store(&disk.sync_error, SQLITE_IOERR_FSYNC);
    put(message(0, "a"));
    store_flush(store);
    expect(BRIDGE_ON_STORE_FAILED, 1);
    atomic_store(&disk.sync_error, 0);
    put(save(1, BRIDGE_RECORD_SESSION, 0, "s"));
    store_flush(store);
    expect(BRIDGE_ON_STORED, 2);
    reopen_store();
    assert_string_equal(replayed, "record 1 1 0 s\n");
}

static void a_batch_without_messages_is_silent_until_it_succeeds(void **state)
{
    struct bridge_event event;
    (void)state;
    open_store();
    atomic_store(&disk.write_error, SQLITE_IOERR_WRITE);
    put(save(1, BRIDGE_RECORD_SESSION, 0, "s"));
    store_flush(store);
    while (figures().failures < 3)
        assert_false(next_event_within(&event, 5));
    atomic_store(&disk.write_error, 0);
    expect(BRIDGE_ON_STORED, 1);
    wait_for_report("the disk works again");
}

static void what_is_kept_does_not_grow_with_repetition(void **state)
{
    (void)state;
    open_store();
    const uint64_t a = put(message(1, "a"));
    commit();
    atomic_store(&disk.write_error, SQLITE_IOERR_WRITE);
    for (int i = 0; i < 20000; i++) {
        put(save(1, BRIDGE_RECORD_SESSION, 0, i == 19999 ? "last" : "earlier"));
        put(mark(1, a, i % 2 == 0 ? BRIDGE_FLAG_RELEASED : BRIDGE_FLAG_RETAIN));
        store_flush(store);
    }
    put(message(0, "refused"));
    store_flush(store);
    expect(BRIDGE_ON_STORE_FAILED, next_ticket - 1);
    /* One for the record, one for the row, and one for the refused message when
     * its transaction had come as far as the disk. */
    while (figures().kept > 3)
        usleep(1000);
    put(erase(1, 0, 0));
    assert_string_equal(fetch_now(1, 0, 10), "end");
    atomic_store(&disk.write_error, 0);
    wait_stored(next_ticket - 1);
    reopen_store();
    assert_string_equal(replayed, "");
}

static void fetch_waits_while_the_file_cannot_be_read(void **state)
{
    struct bridge_event event;
    (void)state;
    open_store();
    put(message(0, "a"));
    commit();
    atomic_store(&disk.write_error, SQLITE_IOERR_WRITE);
    atomic_store(&disk.read_error, SQLITE_IOERR_READ);
    put(save(1, BRIDGE_RECORD_SESSION, 0, "s"));
    store_flush(store);
    while (figures().failures < 3)
        usleep(1000);
    put(fetch(0, 0, 10));
    put(fetch(9, 0, 10));
    store_flush(store);
    assert_false(next_event_within(&event, 50));
    atomic_store(&disk.read_error, 0);
    atomic_store(&disk.write_error, 0);
    assert_string_equal(fetched(), "a end");
    assert_string_equal(fetched(), "end");
}

/* A file system that is really full, for which one must be root. */
static void a_full_file_system_is_survived(void **state)
{
    static char text[201];
    char ballast[400];
    struct bridge_event event;
    uint64_t stored = 0;
    (void)state;
    if (mount("none", folder, "tmpfs", 0, "size=3m") != 0)
        skip();
    mounted = true;
    memset(text, 'x', sizeof text - 1);
    open_store();
    snprintf(ballast, sizeof ballast, "%s/ballast", folder);
    close(open(ballast, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(truncate(ballast, 1 << 20), 0);
    overwrite(ballast, 0, 'b', 1 << 20);
    do {
        for (int i = 0; i < 100; i++)
            put(message(1, text));
        store_flush(store);
        event = next_event();
        if (event.type == BRIDGE_ON_STORED)
            stored = event.stored.ticket;
    } while (event.type == BRIDGE_ON_STORED && stored < 100000);
    assert_int_equal(event.type, BRIDGE_ON_STORE_FAILED);
    assert_true(stored > 1000);
    for (uint64_t seq = 1; seq <= 50; seq++)
        put(forget(1, seq));
    put(fetch(1, 0, 1));
    store_flush(store);
    do
        event = next_event();
    while (event.type != BRIDGE_ON_FETCHED);
    assert_int_equal(event.fetched.messages[0].seq, 51); /* forgotten, durable or not */
    unlink(ballast);
    do {
        put(message(2, "room again"));
        store_flush(store);
        event = next_event();
    } while (event.type != BRIDGE_ON_STORED || event.stored.ticket != next_ticket - 1);
    reopen_store();
    assert_string_equal(why, "");
    assert_int_equal(count_rows(), stored - 50 +
                                       (uint64_t)ask("SELECT count(*) FROM message"
                                                     " WHERE queue = 2"));
}

/* Messages of a size until one is refused; returns how many are stored. */
static uint64_t fill_up(struct sn_bytes payload)
{
    struct bridge_action a = message(1, "");
    uint64_t stored = 0;
    a.store.message.payload = payload;
    for (;;) {
        const uint64_t first = next_ticket;
        for (int i = 0; i < 10; i++)
            put(a);
        store_flush(store);
        const struct bridge_event event = next_event();
        if (event.type == BRIDGE_ON_STORE_FAILED)
            return stored;
        assert_int_equal(event.stored.ticket, first + 9);
        stored += 10;
        assert_true(stored < 100000);
    }
}

static void fill_the_rest(const char *name)
{
    static const uint8_t block[4096];
    FILE *file = fopen(name, "wb");
    setvbuf(file, NULL, _IONBF, 0);
    while (fwrite(block, sizeof block, 1, file) == 1)
        continue;
    fclose(file);
}

/* Whoever has filled it: everything that was stored can be taken up, moved on and
 * forgotten, and then the place is used again. */
static void a_full_disk_is_emptied_and_filled_again(void **state)
{
    static const size_t sizes[] = {20, 1000, 30000};
    static uint8_t kilos[30000];
    char ballast[400];
    (void)state;
    if (mount("none", folder, "tmpfs", 0, "size=6m") != 0)
        skip();
    mounted = true;
    snprintf(ballast, sizeof ballast, "%s/ballast", folder);
    open_store();
    for (size_t i = 0; i < 3; i++) {
        uint64_t stored = 0;
        for (int turn = 0; turn < 3; turn++) {
            const uint64_t first = next_ticket;
            const uint64_t now = fill_up(sn_bytes(kilos, sizes[i]));
            const uint64_t end = next_ticket;
            assert_true(now > 0 && now >= stored * 2 / 3);
            stored = now;
            fill_the_rest(ballast);
            reopen_store();
            for (uint64_t seq = first; seq < end; seq++)
                if (seq % 3 > 0) /* something on every page */
                    put(forget(1, seq));
            commit(); /* it fails unless all of it is durable */
            for (uint64_t seq = first; seq < end; seq++)
                put(forget(1, seq));
            commit();
            assert_int_equal(count_rows(), 0);
            unlink(ballast);
        }
    }
}

/* ---- limits ---------------------------------------------------------------- */

static void a_full_store_refuses_messages_but_lets_the_rest_through(void **state)
{
    static char text[201];
    uint64_t stored = 0;
    (void)state;
    memset(text, 'x', sizeof text - 1);
    options.max_bytes = 2 << 20;
    open_store();
    struct bridge_event event;
    do {
        for (int i = 0; i < 100; i++)
            put(message(1, text));
        store_flush(store);
        event = next_event();
        if (event.type == BRIDGE_ON_STORED)
            stored = event.stored.ticket;
    } while (event.type == BRIDGE_ON_STORED && stored < 10000);
    assert_int_equal(event.type, BRIDGE_ON_STORE_FAILED);
    assert_true(stored > 3000);
    assert_int_equal(event.stored.ticket, stored + 100);
    assert_true(figures().file_bytes <= options.max_bytes);
    print_message("           %" PRIu64 " messages of 200 octets fit into 2 MiB\n", stored);
    assert_non_null(strstr(reports(), "full, new messages are refused"));

    /* One event for what is refused, and one for all the rest. */
    const uint64_t first = next_ticket;
    put(save(1, BRIDGE_RECORD_SESSION, 0, text));
    for (int i = 0; i < 100; i++)
        put(message(1, text));
    put(forget(1, 1));
    store_flush(store);
    expect(BRIDGE_ON_STORE_FAILED, first + 100);
    expect(BRIDGE_ON_STORED, first + 101);

    for (uint64_t seq = 2; seq < 500; seq++)
        put(forget(1, seq));
    commit();
    put(message(1, text));
    commit();
    assert_non_null(strstr(reports(), "has room again"));
    assert_true(figures().file_bytes <= options.max_bytes);
}

static void what_waits_in_memory_is_bounded(void **state)
{
    static uint8_t mib[1 << 20];
    uint64_t refused = 0;
    (void)state;
    open_store();
    disk_hold();
    put(message(0, "first"));
    store_flush(store);
    disk_wait_held();
    struct bridge_action a = message(0, "");
    a.store.message.payload = sn_bytes(mib, sizeof mib);
    for (int i = 0; i < 80; i++) {
        put(a);
        store_flush(store);
    }
    put(forget(0, 1));
    store_flush(store);
    assert_true(figures().waiting_bytes < STORE_WAITING_BYTES + (2u << 20));
    disk_let_go();
    for (uint64_t last = 0; last < 82;) {
        const struct bridge_event event = next_event();
        assert_true(event.stored.ticket > last);
        if (event.type == BRIDGE_ON_STORE_FAILED)
            refused += event.stored.ticket - last;
        last = event.stored.ticket;
    }
    assert_true(refused >= 15 && refused <= 17);
    assert_int_equal(figures().refused, refused);
    assert_int_equal(ask("SELECT count(*) FROM message"), 80 - (int)refused);
}

/* One turn is decided about as a whole, its flights with it, and may be larger than what may
 * wait: a message for very many gets through. */
static void the_messages_of_a_turn_are_refused_together(void **state)
{
    static uint8_t mib[1 << 20];
    uint64_t last = 0;
    (void)state;
    open_store();
    disk_hold();
    const uint64_t first = put(message(0, "first"));
    store_flush(store);
    disk_wait_held();
    struct bridge_action a = message(0, "");
    a.store.message.payload = sn_bytes(mib, sizeof mib);
    for (int i = 0; i < 70; i++) {
        mib[0] = (uint8_t)i;
        last = put(a);
    }
    store_flush(store);
    put(message(7, "a"));
    put(save(7, BRIDGE_RECORD_WILL, 0, "will"));
    const uint64_t refused = put(message(7, "b"));
    store_flight_put_with_turn(store, &(struct store_flight){.kind = STORE_FLIGHT_IN, .key = 1});
    store_flush(store);
    disk_let_go();
    expect(BRIDGE_ON_STORED, first);
    expect(BRIDGE_ON_STORED, last);
    expect(BRIDGE_ON_STORE_FAILED, refused);
    expect(BRIDGE_ON_STORED, refused);
    assert_int_equal(figures().refused, 2);
    assert_int_equal(ask("SELECT count(*) FROM message WHERE queue = 0"), 71);
    assert_int_equal(ask("SELECT count(*) FROM message WHERE queue = 7"), 0);
    assert_int_equal(ask("SELECT count(*) FROM record"), 1);
    assert_int_equal(ask("SELECT count(*) FROM flight"), 0);
}

static void copies_of_one_message_share_its_memory(void **state)
{
    static uint8_t mib[1 << 20];
    (void)state;
    open_store();
    struct bridge_action a = message(0, "");
    a.store.message.payload = sn_bytes(mib, sizeof mib);
    for (uint32_t i = 1; i <= 50; i++) {
        a.store.message.queue = i;
        put(a);
    }
    mib[0] = 1;
    const uint64_t last = put(a);
    assert_true(figures().waiting_bytes < 3u << 20);
    store_flush(store);
    expect(BRIDGE_ON_STORED, last);
    assert_int_equal(ask("SELECT count(*) FROM message WHERE length(payload) = 1048576"), 51);
}

static void the_file_does_not_grow_while_messages_come_and_go(void **state)
{
    static char kilo[1001];
    uint64_t after_warm_up = 0;
    (void)state;
    memset(kilo, 'x', sizeof kilo - 1);
    open_store();
    for (int turn = 0; turn < 200; turn++) {
        const uint64_t first = next_ticket;
        for (int i = 0; i < 50; i++)
            put(message(0, kilo));
        commit();
        for (uint64_t i = 0; i < 50; i++)
            put(forget(0, first + i));
        commit();
        if (turn == 100)
            after_warm_up = figures().file_bytes;
    }
    assert_true(figures().file_bytes <= after_warm_up + (1 << 20));
    assert_true(figures().file_bytes < (3 << 20) + (8 << 20)); /* the latter is the WAL */
}

static void an_emptied_file_is_shrunk_at_the_next_start(void **state)
{
    static char kilo[1001];
    (void)state;
    memset(kilo, 'x', sizeof kilo - 1);
    open_store();
    for (int i = 0; i < 30000; i++)
        put(message(1, kilo));
    put(message(2, "stays"));
    commit();
    put(erase(1, 0, 0));
    commit();
    close_store();
    assert_true(file_length(path) > 20 << 20);
    open_store();
    assert_true(file_length(path) < 1 << 20);
    assert_string_equal(fetch_now(2, 0, 10), "stays end");
}

static void a_million_messages_are_replayed_soon(void **state)
{
    (void)state;
    open_store();
    close_store();
    ask("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)"
        " INSERT INTO message SELECT i % 10, i, 5, 1700000000000, 0, 1, 0, 7, 0, 0,"
        " 'plant/1/temperature', zeroblob(64), 1 FROM n");
    const uint64_t start = now_ms();
    open_store();
    const uint64_t took = now_ms() - start;
    print_message("           opened and replayed in %" PRIu64 " ms\n", took);
    assert_non_null(strstr(replayed, "queue 9: 9..999999 count 100000 bytes 6400000\n"));
    assert_true(took < LONG_MS); /* well below a second on an idle machine */
}

/* ---- flights --------------------------------------------------------------- */

/* The flights there are, as text: kind key conn value, and + when its message is there. */
static char flights[1024];

static void note_flight(void *ctx, const struct store_flight *f, const struct bridge_message *m)
{
    const size_t len = strlen(flights);
    (void)ctx;
    snprintf(flights + len, sizeof flights - len, "%d %" PRIu64 " %" PRIu32 " %.*s%s\n",
             (int)f->kind, f->key, f->conn, (int)f->value.len, (const char *)f->value.data,
             m != NULL ? " +" : "");
}

static const char *flights_after_reopening(void)
{
    reopen_store();
    flights[0] = '\0';
    store_each_flight(store, note_flight, NULL);
    return flights;
}

static struct store_flight flight(enum store_flight_kind kind, uint64_t key, const char *value)
{
    return (struct store_flight){
        .kind = kind, .key = key, .conn = 7, .value = sn_bytes_text(value)};
}

static void put_flight(struct store_flight f)
{
    assert_true(store_flight_is_durable(store, store_flight_put(store, &f), LONG_MS));
}

static void a_flight_stays_until_its_message_is_forgotten_or_delivered(void **state)
{
    char expected[256];
    (void)state;
    open_store();
    const uint64_t one = put(message(0, "one"));
    const uint64_t two = put(message(0, "two"));
    const uint64_t three = put(message(0, "three"));
    commit();
    put_flight(flight(STORE_FLIGHT_OUT, one, "a"));
    put_flight(flight(STORE_FLIGHT_OUT, two, "b"));
    put_flight(flight(STORE_FLIGHT_OUT, three, "c"));
    put_flight(flight(STORE_FLIGHT_OUT, three, "d"));
    put(mark(0, three, BRIDGE_FLAG_RELEASED));
    commit();
    snprintf(expected, sizeof expected,
             "1 %" PRIu64 " 7 a +\n1 %" PRIu64 " 7 b +\n1 %" PRIu64 " 7 d +\n", one, two, three);
    assert_string_equal(flights_after_reopening(), expected);

    put(forget(0, one));
    put(mark(0, two, BRIDGE_FLAG_DELIVERED));
    commit();
    snprintf(expected, sizeof expected, "1 %" PRIu64 " 7 d +\n", three);
    assert_string_equal(flights_after_reopening(), expected);
}

static void flights_are_dropped_one_by_one_and_by_connection(void **state)
{
    (void)state;
    open_store();
    put_flight(flight(STORE_FLIGHT_IN, 1, "x"));
    put_flight(flight(STORE_FLIGHT_IN, 2, "y"));
    put_flight(flight(STORE_FLIGHT_OUT, 99, "z"));
    struct store_flight other = flight(STORE_FLIGHT_IN, 1, "other");
    other.conn = 8;
    put_flight(other);
    store_flight_drop(store, STORE_FLIGHT_IN, 1, 7);
    assert_string_equal(flights_after_reopening(), "1 99 7 z\n2 1 8 other\n2 2 7 y\n");
    store_flight_drop_all(store, 7);
    assert_string_equal(flights_after_reopening(), "2 1 8 other\n");
}

/* Neither the messages nor what says that they are here. */
static void a_flight_with_the_turn_is_left_out_when_the_turn_is_refused(void **state)
{
    (void)state;
    open_store();
    put(message(1, "kept"));
    struct store_flight f = flight(STORE_FLIGHT_IN, 1, "kept");
    store_flight_put_with_turn(store, &f);
    commit();
    atomic_store(&disk.write_error, SQLITE_IOERR_WRITE);
    put(message(1, "refused"));
    f = flight(STORE_FLIGHT_IN, 2, "refused");
    store_flight_put_with_turn(store, &f);
    store_flush(store);
    assert_int_equal(next_event().type, BRIDGE_ON_STORE_FAILED);
    atomic_store(&disk.write_error, 0);
    assert_string_equal(flights_after_reopening(), "2 1 7 kept\n");
}

static void a_flight_waits_until_the_disk_works_again(void **state)
{
    (void)state;
    open_store();
    atomic_store(&disk.write_error, SQLITE_IOERR_WRITE);
    const struct store_flight f = flight(STORE_FLIGHT_IN, 1, "x");
    const uint64_t number = store_flight_put(store, &f);
    assert_false(store_flight_is_durable(store, number, 50));
    atomic_store(&disk.write_error, 0);
    assert_true(store_flight_is_durable(store, number, LONG_MS));
    assert_string_equal(flights_after_reopening(), "2 1 7 x\n");
}

/* As one from before there were flights. */
static void a_file_without_the_table_of_flights_gets_one(void **state)
{
    (void)state;
    open_store();
    put(message(0, "old"));
    commit();
    close_store();
    ask("DROP TABLE flight");
    open_store();
    put_flight(flight(STORE_FLIGHT_IN, 1, "x"));
    assert_string_equal(flights_after_reopening(), "2 1 7 x\n");
    assert_string_equal(fetch_now(0, 0, 10), "old end");
}

static void a_damaged_flight_is_left_out(void **state)
{
    (void)state;
    open_store();
    put_flight(flight(STORE_FLIGHT_IN, 1, "sound"));
    put_flight(flight(STORE_FLIGHT_IN, 2, "needle in the haystack"));
    close_store();
    flip_bit_at("needle in the haystack");
    open_store();
    assert_string_equal(flights_after_reopening(), "2 1 7 sound\n");
    assert_int_equal(ask("SELECT count(*) FROM damaged WHERE origin = 'flight'"), 1);
}

/* ---- crashes --------------------------------------------------------------- */

/* A history of which any prefix can be told from what is in the file. Turn n
 * stores three messages, forgets the first one of turn n - 2 and the others of
 * turn n - 20, saves n in a record and puts it, with the turn, in a flight from
 * the broker. Messages to the broker get a flight, for the last of their turn.
 * Payloads say turn and place. */
struct history {
    uint64_t turn;        /* of the next */
    uint64_t seqs[32][3]; /* of recent messages, by turn */
    uint64_t tickets[64]; /* the last ticket of recent turns */
    uint64_t durable;     /* the last turn that was reported */
    uint64_t flights[64]; /* numbers, by turn; 0: none */
    uint64_t flight;      /* the last turn whose flight is durable */
};

static uint64_t found_turn; /* of the record, 0: none */
static uint64_t found_in;   /* of the flight from the broker */
static uint64_t found_out;  /* a bit for each of the last 64 turns that has a flight */
static bool found_orphan;   /* a flight without its message */

static uint64_t as_number(struct sn_bytes b)
{
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)b.len, (const char *)b.data);
    return strtoull(text, NULL, 10);
}

static void find_flight(void *ctx, const struct store_flight *f, const struct bridge_message *m)
{
    (void)ctx;
    if (f->kind == STORE_FLIGHT_IN) {
        found_in = as_number(f->value);
        return;
    }
    found_orphan = found_orphan || m == NULL || as_number(m->payload) != as_number(f->value);
    found_out |= (uint64_t)1 << (as_number(f->value) % 64);
}

static void find_turn(void *ctx, const struct bridge_event *e)
{
    (void)ctx;
    if (e->type == BRIDGE_ON_RECORD)
        found_turn = as_number(e->record.value);
}

static uint32_t queue_of(uint64_t turn)
{
    return (uint32_t)(turn % 3) * 7;
}

/* Opens the store at any path and learns what is there: false, with a text in
 * why, when it is not exactly the effect of the turns up to found_turn. */
static bool open_history(struct history *h)
{
    *h = (struct history){0};
    found_turn = 0;
    if (try_open() != STORE_OK)
        return false;
    next_ticket = store_replay(store, find_turn, NULL);
    found_in = found_out = 0;
    found_orphan = false;
    store_each_flight(store, find_flight, NULL);
    h->turn = found_turn + 1;
    h->durable = found_turn;
    if (found_in != found_turn || found_orphan)
        snprintf(why, sizeof why, "after turn %" PRIu64 ": a flight with turn %" PRIu64 "%s",
                 found_turn, found_in, found_orphan ? ", one without its message" : "");
    if (why[0] != '\0')
        return false;

    uint64_t count = 0;
    for (uint64_t q = 0; q < 3; q++) {
        put(fetch(queue_of(q), 0, 1000));
        store_flush(store);
        const struct bridge_event e = next_event();
        if (e.type != BRIDGE_ON_FETCHED || !e.fetched.end)
            return false;
        for (size_t i = 0; i < e.fetched.count; i++) {
            char text[32];
            uint64_t turn = 0;
            unsigned place = 9;
            snprintf(text, sizeof text, "%.*s", (int)e.fetched.messages[i].payload.len,
                     (const char *)e.fetched.messages[i].payload.data);
            sscanf(text, "%" SCNu64 " %u", &turn, &place);
            const bool expected = place < 3 && turn % 3 == q && turn <= found_turn &&
                                  turn + (place == 0 ? 2 : 20) > found_turn;
            if (!expected) {
                snprintf(why, sizeof why, "after turn %" PRIu64 ": there is message %s", found_turn,
                         text);
                return false;
            }
            h->seqs[turn % 32][place] = e.fetched.messages[i].seq;
            count++;
        }
    }
    const uint64_t n = found_turn;
    const uint64_t expected = (n < 2 ? n : 2) + 2 * (n < 20 ? n : 20);
    if (count != expected)
        snprintf(why, sizeof why, "after turn %" PRIu64 ": %" PRIu64 " messages, not %" PRIu64, n,
                 count, expected);
    return count == expected;
}

static void put_turn(struct history *h)
{
    const uint64_t n = h->turn++;
    const bool lazy = n % 5 == 0;
    char text[32];

    for (int place = 0; place < 3; place++) {
        snprintf(text, sizeof text, "%" PRIu64 " %d", n, place);
        struct bridge_action a = message(queue_of(n), text);
        a.lazy = lazy;
        h->seqs[n % 32][place] = put(a);
    }
    for (int place = 0; place < 3; place++) {
        const uint64_t old = place == 0 ? 2 : 20;
        if (n <= old)
            continue;
        struct bridge_action a = forget(queue_of(n - old), h->seqs[(n - old) % 32][place]);
        a.lazy = lazy;
        put(a);
    }
    snprintf(text, sizeof text, "%" PRIu64, n);
    struct bridge_action a = save(1, BRIDGE_RECORD_SESSION, 0, text);
    a.lazy = lazy;
    h->tickets[n % 64] = put(a);
    struct store_flight f = {.kind = STORE_FLIGHT_IN, .key = 1, .value = sn_bytes_text(text)};
    store_flight_put_with_turn(store, &f);
    store_flush(store);
    f.kind = STORE_FLIGHT_OUT;
    f.key = h->seqs[n % 32][2];
    h->flights[n % 64] = queue_of(n) == BRIDGE_QUEUE_BROKER ? store_flight_put(store, &f) : 0;
}

/* Takes events until at most `open` turns are not durable. */
static void catch_up(struct history *h, uint64_t open)
{
    struct bridge_event event;
    for (;;) {
        while (store_next_event(store, &event))
            if (event.type == BRIDGE_ON_STORED)
                while (h->durable + 1 < h->turn &&
                       h->tickets[(h->durable + 1) % 64] <= event.stored.ticket)
                    h->durable++;
        while (h->flight < h->durable &&
               store_flight_is_durable(store, h->flights[(h->flight + 1) % 64], 0))
            h->flight++;
        if (h->turn - 1 - h->durable <= open)
            return;
        struct pollfd p = {.fd = store_fd(store), .events = POLLIN};
        poll(&p, 1, 100);
    }
}

static void write_history_until_killed(int report)
{
    struct history h;
    if (!open_history(&h)) {
        dprintf(STDERR_FILENO, "%s\n", why);
        _exit(3);
    }
    for (;;) {
        const uint64_t before = h.durable;
        put_turn(&h);
        catch_up(&h, 8);
        if (h.durable != before && write(report, &h.durable, sizeof h.durable) != sizeof h.durable)
            _exit(4);
    }
}

static void a_killed_process_leaves_every_reported_turn_and_no_partial_one(void **state)
{
    struct history h;
    uint64_t turns = 0;
    (void)state;
    options.lazy_ms = 2;
    srand(1);
    for (int kill_count = 0; kill_count < KILLS; kill_count++) {
        int ends[2];
        uint64_t reported = 0;
        assert_int_equal(pipe(ends), 0);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            write_history_until_killed(ends[1]);
        }
        close(ends[1]);
        /* Let it get going, then strike at some microsecond. */
        if (read(ends[0], &reported, sizeof reported) == sizeof reported)
            usleep((useconds_t)(rand() % 40000));
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        for (uint64_t n; read(ends[0], &n, sizeof n) == sizeof n;)
            reported = n;
        close(ends[0]);

        if (!open_history(&h))
            fail_msg("kill %d: %s", kill_count, why);
        if (found_turn < reported)
            fail_msg("kill %d: turn %" PRIu64 " was reported, %" PRIu64 " is there", kill_count,
                     reported, found_turn);
        turns = found_turn;
        close_store();
    }
    print_message("           %d kills in %" PRIu64 " turns\n", KILLS, turns);
}

/* ---- power cuts ------------------------------------------------------------ */

static struct {
    atomic_ulong durable; /* the last turn that was reported before now */
    atomic_ulong flight;  /* and the last whose flight was */
    uint64_t reported[CUTS];
    uint64_t flights[CUTS];
    atomic_int count;
    uint32_t random;
} cuts;

static uint32_t choose(void)
{
    cuts.random = cuts.random * 1664525u + 1013904223u;
    return cuts.random >> 8;
}

static void perhaps_cut(void)
{
    char name[400];

    if (cuts.count == CUTS || choose() % 25 != 0)
        return;
    snprintf(name, sizeof name, "%s/cut%d", folder, cuts.count);
    mkdir(name, 0700);
    cuts.reported[cuts.count] = atomic_load(&cuts.durable);
    cuts.flights[cuts.count] = atomic_load(&cuts.flight);
    disk_cut(name, choose);
    cuts.count++;
}

static void a_power_cut_leaves_every_reported_turn_and_no_partial_one(void **state)
{
    struct history h;
    char name[400];
    (void)state;
    cuts.count = 0;
    cuts.random = 7;
    atomic_store(&cuts.durable, 0);
    atomic_store(&cuts.flight, 0);
    options.lazy_ms = 2;
    options.max_bytes = STORE_MAX_BYTES_MIN; /* checkpoints often */
    disk_keep_books(true);
    disk.before_change = perhaps_cut;
    assert_true(open_history(&h));
    while (cuts.count < CUTS && h.turn < 20000) {
        put_turn(&h);
        catch_up(&h, 3);
        atomic_store(&cuts.durable, h.durable);
        atomic_store(&cuts.flight, h.flight);
    }
    close_store();
    disk.before_change = NULL;
    disk_keep_books(false);
    assert_int_equal(cuts.count, CUTS);

    for (int i = 0; i < CUTS; i++) {
        snprintf(name, sizeof name, "%s/cut%d/store.db", folder, i);
        options.path = name;
        if (!open_history(&h))
            fail_msg("cut %d: %s", i, why);
        if (found_turn < cuts.reported[i])
            fail_msg("cut %d: turn %" PRIu64 " was reported, %" PRIu64 " is there", i,
                     cuts.reported[i], found_turn);
        for (uint64_t n = cuts.flights[i]; n > 0 && n + 20 > found_turn; n--)
            if (queue_of(n) == BRIDGE_QUEUE_BROKER && (found_out >> n % 64 & 1) == 0)
                fail_msg("cut %d: the flight of turn %" PRIu64 " is not there", i, n);
        close_store();
    }
    options.path = path;
    print_message("           %d cuts in %" PRIu64 " turns\n", CUTS, cuts.reported[CUTS - 1]);
}

/* ---- CRC-32C --------------------------------------------------------------- */

static void crc32c_gives_the_known_values(void **state)
{
    uint8_t bytes[32];
    (void)state;
    assert_int_equal(crc32c(0, sn_bytes(NULL, 0)), 0);
    assert_int_equal(crc32c(0, sn_bytes_text("123456789")), 0xE3069283);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(0, sn_bytes(bytes, 32)), 0x8A9136AA);
    memset(bytes, 0xFF, sizeof bytes);
    assert_int_equal(crc32c(0, sn_bytes(bytes, 32)), 0x62A8AB43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, sn_bytes(bytes, 32)), 0x46DD794E);
    for (size_t cut = 0; cut <= 32; cut++)
        assert_int_equal(crc32c(crc32c(0, sn_bytes(bytes, cut)), sn_bytes(bytes + cut, 32 - cut)),
                         0x46DD794E);
}

#define FACT(name) cmocka_unit_test_setup_teardown(name, make_folder, clean_up)

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_gives_the_known_values),
        FACT(every_ticket_is_reported_in_order),
        FACT(what_was_reported_is_in_the_file),
        FACT(a_message_comes_back_with_every_field),
        FACT(an_empty_payload_and_an_empty_record_come_back),
        FACT(closing_commits_what_was_handed_over),
        FACT(turns_that_wait_become_one_commit),
        FACT(lazy_operations_wait_for_one_that_is_not),
        FACT(lazy_operations_wait_no_longer_than_lazy_ms),
        FACT(lazy_operations_do_not_gather_without_bound),
        FACT(fetch_is_not_lazy),
        FACT(a_message_forgotten_in_time_is_never_written),
        FACT(a_batch_that_cancels_itself_is_reported_without_a_commit),
        FACT(a_message_being_committed_is_forgotten_afterwards),
        FACT(a_batch_waits_for_the_turn_that_cancelled_in_it),
        FACT(a_mark_joins_its_message),
        FACT(marks_add_up),
        FACT(only_the_last_save_of_a_record_is_written),
        FACT(a_record_saved_after_its_session_was_erased_stays),
        FACT(replay_gives_records_then_queues_then_open_exchanges),
        FACT(erasing_a_session_takes_its_records_and_its_queue),
        FACT(tickets_go_on_where_they_ended),
        FACT(tickets_never_go_back_after_a_crash),
        FACT(fetch_pages_through_a_queue),
        FACT(fetch_sees_what_came_before_it_and_no_later_message),
        FACT(an_answer_is_bounded_in_octets),
        FACT(an_answer_is_bounded_in_messages),
        FACT(a_second_process_is_told_that_the_file_is_in_use),
        FACT(a_newer_format_is_refused_and_left_alone),
        FACT(a_damaged_format_number_is_damage),
        FACT(a_database_of_another_program_is_refused_and_left_alone),
        FACT(a_missing_folder_is_an_error_with_its_name),
        FACT(the_golden_file_of_format_1_opens),
        FACT(a_flipped_bit_in_a_message_is_found_and_the_rest_goes_on),
        FACT(every_column_is_covered_by_the_crc),
        FACT(the_newest_come_first_where_that_is_asked_for),
        FACT(the_expired_are_found_in_all_queues),
        FACT(a_damaged_one_that_expired_is_set_aside),
        FACT(erase_empties_all_queues_to_a_sensor),
        FACT(what_waits_is_told_one_by_one),
        FACT(a_damaged_record_is_left_out),
        FACT(marking_a_damaged_message_moves_it_away),
        FACT(a_damaged_reservation_leads_to_higher_tickets),
        FACT(a_damaged_page_costs_only_its_rows),
        FACT(a_truncated_file_is_read_as_far_as_it_goes),
        FACT(a_file_of_garbage_is_set_aside),
        FACT(an_empty_file_is_a_new_store),
        FACT(a_torn_wal_ends_at_its_last_whole_commit),
        FACT(a_wal_without_its_file_is_set_aside),
        FACT(damage_while_running_is_recovered_from),
        FACT(a_recovery_that_was_interrupted_is_completed),
        FACT(an_io_error_refuses_messages_and_keeps_the_rest),
        FACT(a_full_disk_refuses_messages_and_keeps_the_rest),
        FACT(a_failed_sync_is_a_failed_commit),
        FACT(a_batch_without_messages_is_silent_until_it_succeeds),
        FACT(what_is_kept_does_not_grow_with_repetition),
        FACT(fetch_waits_while_the_file_cannot_be_read),
        FACT(a_full_file_system_is_survived),
        FACT(a_full_disk_is_emptied_and_filled_again),
        FACT(a_full_store_refuses_messages_but_lets_the_rest_through),
        FACT(what_waits_in_memory_is_bounded),
        FACT(the_messages_of_a_turn_are_refused_together),
        FACT(copies_of_one_message_share_its_memory),
        FACT(the_file_does_not_grow_while_messages_come_and_go),
        FACT(an_emptied_file_is_shrunk_at_the_next_start),
        FACT(a_million_messages_are_replayed_soon),
        FACT(a_killed_process_leaves_every_reported_turn_and_no_partial_one),
        FACT(a_flight_stays_until_its_message_is_forgotten_or_delivered),
        FACT(flights_are_dropped_one_by_one_and_by_connection),
        FACT(a_flight_with_the_turn_is_left_out_when_the_turn_is_refused),
        FACT(a_flight_waits_until_the_disk_works_again),
        FACT(a_file_without_the_table_of_flights_gets_one),
        FACT(a_damaged_flight_is_left_out),
        FACT(a_power_cut_leaves_every_reported_turn_and_no_partial_one),
    };

    if (argc == 3 && strcmp(argv[1], "--make-golden") == 0) {
        snprintf(path, sizeof path, "%s", argv[2]);
        options = (struct store_options){.path = path, .lazy_ms = NEVER_MS};
        make_golden();
        return 0;
    }
    disk_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
