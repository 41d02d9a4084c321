/* Damage of every kind, at every place, to the file of a real store and to its
 * WAL: the store opens, hands back nothing but what was put into it, says so when
 * something is missing, and goes on. */
#include "bridge/store.h"

#include <assert.h>
#include <dirent.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE     4096
#define MESSAGES 400u
#define RECORDS  60u
#define FLIGHTS  20u
#define QUEUE    9u
#define LONG_MS  20000

static char folder[256];
static char path[300];
static char wal[320];
static struct store *store;
static char why[2048];

/* What is there when nothing is damaged, and what was found. */
static uint64_t first_seq;
static uint64_t next_ticket;
static unsigned records;
static unsigned flights;

/* ---- what is put in --------------------------------------------------------------------- */

static struct sn_bytes payload_of(uint64_t n)
{
    static char text[700];
    const int len = snprintf(text, sizeof text, "%" PRIu64 " ", n);
    for (size_t i = (size_t)len; i < sizeof text; i++)
        text[i] = (char)('a' + (n + i) % 23);
    return sn_bytes(text, 20 + n % 13 * 50);
}

static void wait_for(uint64_t ticket)
{
    struct bridge_event e;
    for (;;) {
        while (store_next_event(store, &e))
            if (e.type == BRIDGE_ON_STORED && e.stored.ticket >= ticket)
                return;
        struct pollfd p = {.fd = store_fd(store), .events = POLLIN};
        assert_int_equal(poll(&p, 1, LONG_MS), 1);
    }
}

static void ignore(void *ctx, const struct bridge_event *event)
{
    (void)ctx;
    (void)event;
}

static void put_message(uint64_t seq, uint64_t n)
{
    const struct bridge_action a = {
        .type = BRIDGE_DO_STORE,
        .store.message = {.seq = seq,
                          .queue = QUEUE,
                          .session = QUEUE,
                          .qos = 1,
                          .topic = sn_bytes_text("plant/1"),
                          .payload = payload_of(n)},
    };
    store_put(store, &a);
}

static void open_sound(void)
{
    const struct store_options o = {.path = path, .lazy_ms = 1, .max_bytes = 4 << 20};
    assert_int_equal(store_open(&o, &store, why, sizeof why), STORE_OK);
    next_ticket = store_replay(store, ignore, NULL);
}

static void fill(void)
{
    open_sound();
    first_seq = next_ticket;
    for (unsigned i = 0; i < MESSAGES; i++) {
        put_message(next_ticket, next_ticket - first_seq);
        next_ticket++;
        if (i % 20 == 19) {
            store_flush(store);
            wait_for(next_ticket - 1); /* each turn is a commit of its own */
        }
    }
    for (unsigned i = 0; i < RECORDS; i++) {
        const struct bridge_action a = {
            .type = BRIDGE_DO_SAVE,
            .record = {.ticket = next_ticket++,
                       .record = {.session = QUEUE,
                                  .kind = BRIDGE_RECORD_TOPIC,
                                  .key = i,
                                  .value = payload_of(i)}},
        };
        store_put(store, &a);
    }
    store_flush(store);
    wait_for(next_ticket - 1);
    for (unsigned i = 0; i < FLIGHTS; i++)
        store_flight_put(store, &(struct store_flight){
                                    .kind = STORE_FLIGHT_IN, .key = i, .value = payload_of(i)});
}

/* ---- what comes out ------------------------------------------------------------------------ */

static void check_record(void *ctx, const struct bridge_event *e)
{
    (void)ctx;
    if (e->type != BRIDGE_ON_RECORD)
        return;
    const struct sn_bytes expected = payload_of(e->record.key);
    assert_true(e->record.kind == BRIDGE_RECORD_TOPIC && e->record.session == QUEUE);
    assert_true(e->record.key < RECORDS && sn_bytes_equal(e->record.value, expected));
    records++;
}

static void check_flight(void *ctx, const struct store_flight *f, const struct bridge_message *m)
{
    (void)ctx;
    (void)m;
    assert_true(f->kind == STORE_FLIGHT_IN && f->key < FLIGHTS);
    assert_true(sn_bytes_equal(f->value, payload_of(f->key)));
    flights++;
}

/* All messages of the queue, each compared with what it was; returns how many. */
static unsigned check_messages(uint64_t *last)
{
    unsigned count = 0;
    uint64_t from = 0;
    for (bool end = false; !end;) {
        const struct bridge_action a = {.type = BRIDGE_DO_FETCH,
                                        .fetch = {.queue = QUEUE, .from = from, .count = 100}};
        struct bridge_event e = {0};
        store_put(store, &a);
        store_flush(store);
        do {
            struct pollfd p = {.fd = store_fd(store), .events = POLLIN};
            assert_int_equal(poll(&p, 1, LONG_MS), 1);
        } while (!store_next_event(store, &e) || e.type != BRIDGE_ON_FETCHED);
        for (size_t i = 0; i < e.fetched.count; i++) {
            const struct bridge_message *m = &e.fetched.messages[i];
            assert_true(m->seq >= first_seq && m->seq >= from);
            assert_true(sn_bytes_equal(m->payload, payload_of(m->seq - first_seq)));
            assert_true(sn_bytes_equal(m->topic, sn_bytes_text("plant/1")));
            from = m->seq + 1;
            *last = m->seq;
            count++;
        }
        end = e.fetched.end || e.fetched.count == 0;
    }
    return count;
}

static bool was_reported(void)
{
    char line[2048];
    bool any = why[0] != '\0';
    while (store_next_report(store, line, sizeof line))
        any = true;
    return any;
}

/* Opens what was damaged. Returns how many of the messages are there. */
static unsigned survey(const char *what, long at)
{
    const struct store_options o = {.path = path, .lazy_ms = 1, .max_bytes = 4 << 20};
    uint64_t last = 0;
    why[0] = '\0';
    if (store_open(&o, &store, why, sizeof why) != STORE_OK)
        fail_msg("%s at %ld: does not open: %s", what, at, why);
    records = flights = 0;
    next_ticket = store_replay(store, check_record, NULL);
    store_each_flight(store, check_flight, NULL);
    const unsigned count = check_messages(&last);
    if (next_ticket <= last)
        fail_msg("%s at %ld: ticket %" PRIu64 " was used", what, at, next_ticket);
    if ((count < MESSAGES || records < RECORDS || flights < FLIGHTS) && !was_reported())
        fail_msg("%s at %ld: %u messages, %u records, %u flights, and not a word", what, at, count,
                 records, flights);

    /* And it goes on. */
    const uint64_t fresh = next_ticket;
    put_message(fresh, fresh - first_seq);
    store_flush(store);
    wait_for(fresh);
    store_close(store);
    open_sound();
    if (why[0] != '\0')
        fail_msg("%s at %ld: still damaged: %s", what, at, why);
    const unsigned again = check_messages(&last);
    if (again != count + 1 || last != fresh)
        fail_msg("%s at %ld: %u messages and a new one, but %u after a restart", what, at, count,
                 again);
    store_close(store);
    store = NULL;
    return count;
}

/* ---- files ------------------------------------------------------------------------------------ */

static struct {
    char *octets;
    long len;
} file, log_file;

static void read_whole(const char *name, char **octets, long *len)
{
    FILE *f = fopen(name, "rb");
    *len = 0;
    *octets = NULL;
    if (f == NULL)
        return;
    fseek(f, 0, SEEK_END);
    *len = ftell(f);
    rewind(f);
    *octets = malloc((size_t)*len + 1);
    assert_int_equal(fread(*octets, 1, (size_t)*len, f), *len);
    fclose(f);
}

static void write_whole(const char *name, const char *octets, long len)
{
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(octets, 1, (size_t)len, f), len);
    fclose(f);
}

static void empty_folder(void)
{
    char name[600];
    DIR *d = opendir(folder);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", folder, e->d_name);
        unlink(name);
    }
    if (d != NULL)
        closedir(d);
}

/* The folder as it was, but for what the test does to it. */
static void lay_out(bool with_wal)
{
    empty_folder();
    write_whole(path, file.octets, file.len);
    if (with_wal)
        write_whole(wal, log_file.octets, log_file.len);
}

static void flip(const char *name, long at, unsigned bit)
{
    FILE *f = fopen(name, "r+b");
    assert_non_null(f);
    fseek(f, at, SEEK_SET);
    const int c = getc(f);
    fseek(f, at, SEEK_SET);
    putc(c ^ 1 << bit, f);
    fclose(f);
}

static uint32_t chance = 1;

static uint32_t choose(uint32_t below)
{
    chance = chance * 1664525u + 1013904223u;
    return (chance >> 8) % below;
}

static int make_store(void **state)
{
    /* Nothing here is about the disk: hundreds of stores are opened and closed. */
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%s/test_damage.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/store.db", folder);
    snprintf(wal, sizeof wal, "%s-wal", path);
    fill();
    store_close(store);
    read_whole(path, &file.octets, &file.len);
    return 0;
}

/* As a crash leaves it: most of it in the WAL. */
static int make_store_with_wal(void **state)
{
    if (make_store(state) != 0)
        return -1;
    empty_folder();
    free(file.octets);
    fill();
    assert_true(store_flight_is_durable(store, FLIGHTS, LONG_MS));
    read_whole(path, &file.octets, &file.len);
    read_whole(wal, &log_file.octets, &log_file.len);
    /* Behind its last frame there are zeros only. */
    while (log_file.len > 32 && log_file.octets[log_file.len - 1] == 0)
        log_file.len--;
    log_file.len += (PAGE + 24) - 1 - (log_file.len - 32 - 1) % (PAGE + 24);
    store_close(store);
    return log_file.len > 50L * PAGE ? 0 : -1;
}

static int clean_up(void **state)
{
    (void)state;
    if (store != NULL)
        store_close(store);
    store = NULL;
    free(file.octets);
    free(log_file.octets);
    file.octets = log_file.octets = NULL;
    empty_folder();
    rmdir(folder);
    return 0;
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void a_sound_file_gives_everything_and_says_nothing(void **state)
{
    (void)state;
    lay_out(false);
    assert_int_equal(survey("nothing", 0), MESSAGES);
    assert_int_equal(records, RECORDS);
    assert_int_equal(flights, FLIGHTS);
}

static void a_file_cut_at_any_page_gives_what_is_left(void **state)
{
    unsigned most = 0;
    (void)state;
    /* An empty file is a new store. */
    for (long at = PAGE / 2; at < file.len; at += PAGE / 2) {
        lay_out(false);
        assert_int_equal(truncate(path, at), 0);
        const unsigned count = survey("cut", at);
        most = count > most ? count : most;
    }
    assert_true(most > MESSAGES / 2);
}

static void a_flipped_bit_in_any_page_costs_at_most_what_it_hit(void **state)
{
    unsigned least = MESSAGES;
    (void)state;
    for (long page = 1; page < file.len / PAGE; page++) {
        for (int i = 0; i < 8; i++) {
            const long at = page * PAGE + (long)choose(PAGE);
            lay_out(false);
            flip(path, at, choose(8));
            const unsigned count = survey("flip", at);
            least = count < least ? count : least;
        }
    }
    print_message("           at least %u of %u messages\n", least, MESSAGES);
}

static void a_flipped_bit_in_the_header_costs_no_start(void **state)
{
    (void)state;
    for (long at = 0; at < 100; at++) {
        lay_out(false);
        flip(path, at, choose(8));
        survey("flip", at);
    }
    for (int i = 0; i < 100; i++) {
        const long at = 100 + (long)choose(PAGE - 100);
        lay_out(false);
        flip(path, at, choose(8));
        survey("flip", at);
    }
}

static void a_zeroed_page_costs_at_most_what_was_in_it(void **state)
{
    static const char zeros[PAGE];
    (void)state;
    for (long page = 0; page < file.len / PAGE; page++) {
        lay_out(false);
        FILE *f = fopen(path, "r+b");
        fseek(f, page * PAGE, SEEK_SET);
        fwrite(zeros, 1, PAGE, f);
        fclose(f);
        survey("zeroed page", page);
    }
}

static void a_wal_cut_anywhere_ends_at_a_whole_commit(void **state)
{
    const long frame = PAGE + 24;
    unsigned before = 0;
    (void)state;
    for (long at = 32; at <= log_file.len; at += frame / 2) {
        lay_out(true);
        assert_int_equal(truncate(wal, at), 0);
        const struct store_options o = {.path = path, .lazy_ms = 1, .max_bytes = 4 << 20};
        assert_int_equal(store_open(&o, &store, why, sizeof why), STORE_OK);
        store_replay(store, ignore, NULL);
        uint64_t last = 0;
        const unsigned count = check_messages(&last);
        store_close(store);
        store = NULL;
        if (count % 20 != 0 || count < before)
            fail_msg("cut at %ld: %u messages, after %u", at, count, before);
        before = count;
    }
    assert_int_equal(before, MESSAGES);
}

static void a_flipped_bit_in_any_frame_of_the_wal_ends_it_before(void **state)
{
    const long frame = PAGE + 24;
    (void)state;
    for (long at = 32; at < log_file.len; at += frame) {
        lay_out(true);
        flip(wal, at + (long)choose((uint32_t)frame), choose(8));
        const struct store_options o = {.path = path, .lazy_ms = 1, .max_bytes = 4 << 20};
        if (store_open(&o, &store, why, sizeof why) != STORE_OK)
            fail_msg("flip in the frame at %ld: %s", at, why);
        store_replay(store, ignore, NULL);
        uint64_t last = 0;
        if (check_messages(&last) % 20 != 0)
            fail_msg("flip in the frame at %ld: part of a turn", at);
        store_close(store);
        store = NULL;
    }
}

#define WITH(setup, f) cmocka_unit_test_setup_teardown(f, setup, clean_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(make_store, a_sound_file_gives_everything_and_says_nothing),
        WITH(make_store, a_file_cut_at_any_page_gives_what_is_left),
        WITH(make_store, a_flipped_bit_in_any_page_costs_at_most_what_it_hit),
        WITH(make_store, a_flipped_bit_in_the_header_costs_no_start),
        WITH(make_store, a_zeroed_page_costs_at_most_what_was_in_it),
        WITH(make_store_with_wal, a_wal_cut_anywhere_ends_at_a_whole_commit),
        WITH(make_store_with_wal, a_flipped_bit_in_any_frame_of_the_wal_ends_it_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
