#include "radio/profile.h"
#include "sim/node.h"
#include "sim/profile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct sim_profiles shipped;

static int open_shipped(void **state)
{
    (void)state;
    return sim_profiles_open(&shipped, NULL, stderr);
}

static int close_shipped(void **state)
{
    (void)state;
    sim_profiles_close(&shipped);
    return 0;
}

static const struct sim_profile *find(const char *name)
{
    const struct sim_profile *p = sim_profiles_find(&shipped, name);
    if (p == NULL)
        fail_msg("%s is no profile", name);
    return p;
}

/* ---- the shipped ones ----------------------------------------------------------- */

static void every_shipped_profile_says_what_it_is(void **state)
{
    (void)state;
    assert_true(shipped.count >= 22);
    for (size_t i = 0; i < shipped.count; i++)
        assert_true(strlen(shipped.list[i].text) > 10);
}

/* What is lost at random is nobody's data sheet. */
static void losses_in_shipped_profiles_are_called_guesses(void **state)
{
    (void)state;
    for (size_t i = 0; i < shipped.count; i++) {
        const struct sim_profile *p = &shipped.list[i];
        const bool everything = strcmp(p->guess, "everything") == 0;
        for (int d = SIM_UP; d <= SIM_DOWN; d++) {
            const struct sim_path *path = &p->path[d];
            if (path->loss > 0 && !everything && strstr(p->guess, "loss") == NULL)
                fail_msg("%s: loss", p->name);
            if (path->gemodel.p > 0 && !everything && strstr(p->guess, "gemodel") == NULL)
                fail_msg("%s: gemodel", p->name);
            if (path->bit_errors > 0 && !everything && strstr(p->guess, "bit_errors") == NULL)
                fail_msg("%s: bit_errors", p->name);
        }
    }
}

/* The bridge has figures of its own for the links it paces and times (radio/profiles.def). They
 * are of the same links. */
static void the_bridges_profiles_do_not_contradict(void **state)
{
    (void)state;
    for (size_t i = 0; i < radio_profile_count(); i++) {
        const struct radio_profile *r = radio_profile_at(i);
        const struct sim_profile *p = find(r->name);
        const struct sim_path *up = &p->path[SIM_UP], *down = &p->path[SIM_DOWN];
        const uint32_t frame_max =
            up->frame_max < down->frame_max ? up->frame_max : down->frame_max;
        if (r->frame_max != frame_max)
            fail_msg("%s: frame_max", r->name);
        if (r->duty_per_mille != (up->duty == SIM_ALWAYS ? 0 : up->duty / 1000000))
            fail_msg("%s: duty", r->name);
        const struct sim_span delay = p->sbd ? p->sbd_transit : up->delay;
        const uint64_t least_us = r->delay_ms * SIM_MS;
        const uint64_t most_us = least_us + r->jitter_ms * SIM_MS;
        /* On a shared air the bridge's jitter is the wait for the air. */
        if (least_us < delay.low || (p->duplex == SIM_FULL_DUPLEX && most_us > delay.high))
            fail_msg("%s: delay, jitter", r->name);
        if (p->sbd) /* sessions are no rate */
            continue;
        const uint64_t turn_us = r->turn_ms * SIM_MS;
        if (turn_us < p->turn.low + p->answer_us ||
            turn_us > p->turn.high + p->answer_us + p->slot_us)
            fail_msg("%s: turn", r->name);
        if (p->lora_sf == 0 && (r->up_bits_per_s != up->rate || r->down_bits_per_s != down->rate))
            fail_msg("%s: rate", r->name);
        if (r->up_bits_per_s == 0)
            continue;
        /* The largest frame takes as long, to 5 %. */
        uint32_t bits;
        const double here_us = (double)sim_airtime(p, SIM_UP, frame_max, 1, &bits);
        const double there_us = 1000.0 * radio_profile_air_ms(r, r->up_bits_per_s, r->frame_max);
        if (there_us < 0.95 * here_us - 1000 || there_us > 1.05 * here_us + 1000)
            fail_msg("%s: %.0f us on the air here, %.0f there", r->name, here_us, there_us);
    }
}

static void a_profile_that_is_printed_is_read_back_the_same(void **state)
{
    char path[] = "/tmp/snsim-profiles-XXXXXX";
    struct sim_profiles back;
    (void)state;
    FILE *file = fdopen(mkstemp(path), "w");
    for (size_t i = 0; i < shipped.count; i++)
        sim_profile_print(&shipped.list[i], i % 2 == 0, file);
    fclose(file);
    assert_int_equal(sim_profiles_open(&back, path, stderr), 0);
    unlink(path);
    assert_int_equal(back.count, shipped.count);
    for (size_t i = 0; i < shipped.count; i++)
        assert_memory_equal(&back.list[i], &shipped.list[i], sizeof back.list[i]);
    sim_profiles_close(&back);
}

/* ---- values ------------------------------------------------------------------------ */

static void assert_refused(const char *key, const char *value, const char *complaint)
{
    struct sim_profile p, before;
    char error[SIM_PROFILE_ERROR_MAX] = "";
    sim_profile_init(&p, "test");
    before = p;
    assert_false(sim_profile_set(&p, key, value, error, sizeof error));
    assert_string_equal(error, complaint);
    assert_memory_equal(&p, &before, sizeof p);
}

static void a_complaint_says_what_was_found_and_what_is_allowed(void **state)
{
    (void)state;
    assert_refused("speed", "9600",
                   "speed: there is no such key; `snsim profiles --keys` lists them");
    assert_refused("hold_up", "yes",
                   "hold_up: there is no such key; `snsim profiles --keys` lists them");
    assert_refused("delay", "fast",
                   "delay: found \"fast\", allowed is a time or a range such as 400ms..2s, "
                   "from 0 to 1d");
    assert_refused("loss_up", "200%",
                   "loss_up: found \"200%\", allowed is a chance such as 2%, 0.02 or 1e-6, "
                   "from 0 to 100%");
    assert_refused("frame_max", "0",
                   "frame_max: found \"0\", allowed is a whole number from 1 to 65535");
    assert_refused("gemodel", "1% 2% 3% 4% 5%",
                   "gemodel: found \"1% 2% 3% 4% 5%\", allowed is one to four chances: "
                   "p r 1-h 1-k, such as 2% 30% 60% 0%");
    assert_refused("duplex", "simplex", "duplex: found \"simplex\", allowed is full or half");
    assert_refused("hold", "maybe", "hold: found \"maybe\", allowed is no or yes");
    assert_refused("station_latitude", "91",
                   "station_latitude: found \"91\", allowed is degrees from -90 to 90");
}

static void a_key_sets_both_directions_or_one(void **state)
{
    struct sim_profile p;
    char error[SIM_PROFILE_ERROR_MAX];
    (void)state;
    sim_profile_init(&p, "test");
    assert_true(sim_profile_set(&p, "loss", "2%", error, sizeof error));
    assert_true(sim_profile_set(&p, "loss_down", "3%", error, sizeof error));
    assert_true(sim_profile_set(&p, "rate_up", "64k", error, sizeof error));
    assert_int_equal(p.path[SIM_UP].loss, 20000000);
    assert_int_equal(p.path[SIM_DOWN].loss, 30000000);
    assert_int_equal(p.path[SIM_UP].rate, 64000);
    assert_int_equal(p.path[SIM_DOWN].rate, 0);
}

/* tc-netem: r is 100 % - p, 1-h is 100 %, 1-k is 0 where they are not given. */
static void gemodel_has_the_defaults_of_netem(void **state)
{
    struct sim_profile p;
    char error[SIM_PROFILE_ERROR_MAX];
    (void)state;
    sim_profile_init(&p, "test");
    assert_true(sim_profile_set(&p, "gemodel", "2%", error, sizeof error));
    const struct sim_gemodel *g = &p.path[SIM_UP].gemodel;
    assert_int_equal(g->p, 20000000);
    assert_int_equal(g->r, 980000000);
    assert_int_equal(g->bad, SIM_ALWAYS);
    assert_int_equal(g->good, 0);
    assert_true(sim_profile_set(&p, "gemodel", "2%, 30%, 60%", error, sizeof error));
    assert_int_equal(g->r, 300000000);
    assert_int_equal(g->bad, 600000000);
}

static void contacts_must_be_in_order(void **state)
{
    struct sim_profile p;
    char error[SIM_PROFILE_ERROR_MAX];
    (void)state;
    sim_profile_init(&p, "test");
    assert_true(
        sim_profile_set(&p, "contacts", "10min..18min, 1h40min..1h50min", error, sizeof error));
    assert_int_equal(p.contacts.count, 2);
    assert_int_equal(p.contacts.list[1].low, 6000 * SIM_S);
    assert_false(sim_profile_set(&p, "contacts", "10s..20s, 15s..30s", error, sizeof error));
    assert_false(sim_profile_set(&p, "contacts", "10s", error, sizeof error));
    assert_int_equal(p.contacts.count, 2);
}

static void keys_that_contradict_each_other_are_found(void **state)
{
    static const struct {
        const char *settings[6];
        const char *complaint;
    } cases[] = {
        {{"contact_every", "1h"}, "contact_for must be more than 0 and less than contact_every"},
        {{"sbd", "yes", "hold", "yes"},
         "sbd needs per_device = yes, since a mailbox belongs to one device"},
        {{"dial", "20s"}, "sbd and dial need hold = yes, since frames wait for a session"},
        {{"flap_up", "20s"}, "flap_up and flap_down need each other"},
        {{"contacts", "1s..2s", "orbit_altitude", "500"},
         "only one of contacts, contact_every and orbit_altitude can be given"},
        {{"persistence", "20%"}, "a persistence below 100% needs a slot"},
        {{"lora_sf", "6"}, "lora_sf: allowed is 0 or 7 to 12"},
        {{"dial", "1s", "hold", "yes", "dial_fail", "100%"},
         "dial_busy and dial_fail leave no call that succeeds"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sim_profile p;
        char error[SIM_PROFILE_ERROR_MAX];
        sim_profile_init(&p, "test");
        for (size_t k = 0; k < 6 && cases[i].settings[k] != NULL; k += 2)
            assert_true(sim_profile_set(&p, cases[i].settings[k], cases[i].settings[k + 1], error,
                                        sizeof error));
        assert_false(sim_profile_check(&p, error, sizeof error));
        assert_string_equal(error, cases[i].complaint);
    }
}

/* ---- files --------------------------------------------------------------------------- */

/* What a file of profiles is found to be: its complaints without the file's name. */
static int read_text(const char *text, struct sim_profiles *all, char *complaints, size_t size)
{
    char path[] = "/tmp/snsim-profiles-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    fputs(text, file);
    fclose(file);
    char *said = NULL;
    size_t len;
    FILE *errors = open_memstream(&said, &len);
    const int result = sim_profiles_open(all, path, errors);
    fclose(errors);
    unlink(path);
    complaints[0] = '\0';
    for (char *line = strtok(said, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        assert_memory_equal(line, path, strlen(path));
        const size_t at = strlen(complaints);
        snprintf(complaints + at, size - at, "%s\n", line + strlen(path) + 1);
    }
    free(said);
    return result;
}

static void a_users_profile_starts_from_another(void **state)
{
    struct sim_profiles all;
    char said[1000];
    (void)state;
    assert_int_equal(read_text("# mine\n"
                               "[my-vsat]\n"
                               "like = geo-vsat   ; but\n"
                               "text = ours\n"
                               "\n"
                               "rate_up = 128k\n"
                               "[geo-vsat]\n"
                               "text = replaced\n"
                               "[empty]\n",
                               &all, said, sizeof said),
                     0);
    const struct sim_profile *mine = sim_profiles_find(&all, "my-vsat");
    assert_non_null(mine);
    assert_string_equal(mine->name, "my-vsat");
    assert_int_equal(mine->path[SIM_UP].rate, 128000);
    assert_int_equal(mine->path[SIM_DOWN].rate, 256000);
    assert_string_equal(sim_profiles_find(&all, "geo-vsat")->text, "replaced");
    assert_non_null(sim_profiles_find(&all, "empty"));
    assert_int_equal(all.count, shipped.count + 2);
    sim_profiles_close(&all);
}

static void a_long_value_goes_on_in_indented_lines(void **state)
{
    struct sim_profiles all;
    char said[1000];
    (void)state;
    assert_int_equal(read_text("[a]\n"
                               "contacts = 1s..2s,  ; first\n"
                               "    3s..4s,\n"
                               "    5s..6s\n"
                               "delay = 1s\n",
                               &all, said, sizeof said),
                     0);
    assert_int_equal(sim_profiles_find(&all, "a")->contacts.count, 3);
    assert_int_equal(sim_profiles_find(&all, "a")->path[SIM_UP].delay.low, SIM_S);
    sim_profiles_close(&all);
}

static void complaints_have_the_line(void **state)
{
    struct sim_profiles all;
    char said[2000];
    (void)state;
    assert_int_equal(read_text("rate = 5\n"
                               "[a]\n"
                               "delay = soon\n"
                               "nonsense\n"
                               "like = b\n"
                               "[Big]\n"
                               "[c]\n"
                               "like = nobody\n"
                               "[d]\n"
                               "dial = 5s\n",
                               &all, said, sizeof said),
                     -EINVAL);
    assert_string_equal(
        said,
        "1: a key before the first [PROFILE]\n"
        "3: delay: found \"soon\", allowed is a time or a range such as 400ms..2s, from 0 to 1d\n"
        "4: a line is KEY = VALUE, [PROFILE] or a comment\n"
        "5: like: must be the first key of its section\n"
        "6: a section is [NAME], a name has at most 31 small letters, digits, '-', '_', '.'\n"
        "8: like: found \"nobody\", which is no profile above this line\n"
        "9: sbd and dial need hold = yes, since frames wait for a session\n");
    assert_int_equal(all.count, 0);
}

static void a_file_that_is_not_there_is_an_error(void **state)
{
    struct sim_profiles all;
    (void)state;
    FILE *errors = fopen("/dev/null", "w");
    assert_int_equal(sim_profiles_open(&all, "/nonexistent/profiles", errors), -ENOENT);
    fclose(errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shipped_profile_says_what_it_is),
        cmocka_unit_test(losses_in_shipped_profiles_are_called_guesses),
        cmocka_unit_test(the_bridges_profiles_do_not_contradict),
        cmocka_unit_test(a_profile_that_is_printed_is_read_back_the_same),
        cmocka_unit_test(a_complaint_says_what_was_found_and_what_is_allowed),
        cmocka_unit_test(a_key_sets_both_directions_or_one),
        cmocka_unit_test(gemodel_has_the_defaults_of_netem),
        cmocka_unit_test(contacts_must_be_in_order),
        cmocka_unit_test(keys_that_contradict_each_other_are_found),
        cmocka_unit_test(a_users_profile_starts_from_another),
        cmocka_unit_test(a_long_value_goes_on_in_indented_lines),
        cmocka_unit_test(complaints_have_the_line),
        cmocka_unit_test(a_file_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, open_shipped, close_shipped);
}
