/* The checker finds nothing in a sound bridge, and each planted fault in a bridge
 * that has one. */
#include "sim/run.h"
#include "tests/mutant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS 10

static struct sim_profiles profiles;

/* Both directions, all that is promised, trouble of every kind. */
static const char rough[] = "link air profile xbee-mesh\n"
                            "fleet s 6 on air\n"
                            "    publishes up/{n} qos 1 every 15s..25s\n"
                            "    publishes exact/{n} qos 2 every 15s..25s\n"
                            "    subscribes down/# qos 2\n"
                            "commands c publishes down/all qos 2 every 20s\n"
                            "disk commit 20ms..200ms\n"
                            "about every 2m bridge killed for 1s..5s\n"
                            "about every 5m broker down for 10s..1m\n"
                            "at 20m stop\n";

/* Nothing but what the bridge does itself. */
static const char smooth[] = "link lan profile lan-udp\n"
                             "fleet s 6 on lan\n"
                             "    publishes up/{n} qos 1 every 5s..10s\n"
                             "    publishes exact/{n} qos 2 every 5s..10s\n"
                             "    subscribes down/# qos 2\n"
                             "commands c publishes down/all qos 2 every 7s\n"
                             "at 10m stop\n";

/* Whether one of the violations is of this kind. */
static bool finds(const struct sim_scenario *s, uint64_t seed, enum mutation mutation,
                  const char *kind, struct sim_result *result)
{
    struct mutant m;
    mutant_init(&m, mutation);
    struct sim_run *run =
        sim_run_open(&(struct sim_run_options){.scenario = s, .seed = seed, .filter = &m.filter});
    sim_run_go(run, result);
    bool found = false;
    for (size_t i = 0; sim_run_violation(run, i) != NULL; i++) {
        if (kind == NULL)
            fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, sim_run_violation(run, i));
        else
            found |= strstr(sim_run_violation(run, i), kind) != NULL;
    }
    sim_run_close(run);
    return found;
}

static void assert_found(const char *text, enum mutation mutation, const char *kind)
{
    struct sim_scenario *s = sim_scenario_read("mutant.sim", text, &profiles, stderr);
    struct sim_result result;
    bool found = false;
    assert_non_null(s);
    for (uint64_t seed = 1; seed <= SEEDS && !found; seed++)
        found = finds(s, seed, mutation, kind, &result);
    assert_true(found);
    sim_scenario_close(s);
}

static void assert_sound(const char *text)
{
    struct sim_scenario *s = sim_scenario_read("sound.sim", text, &profiles, stderr);
    struct sim_result result;
    assert_non_null(s);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        finds(s, seed, MUTATION_NONE, NULL, &result);
        assert_int_equal(result.violations, 0);
        assert_true(result.check.accepted > 100);
        assert_true(result.check.got > 100);
    }
    sim_scenario_close(s);
}

/* With a bridge that waits for the broker for ever. */
static const char patient[] = "link lan profile lan-udp\n"
                              "gateway [broker] answer_timeout_s 0\n"
                              "fleet s 6 on lan\n"
                              "    publishes up/{n} qos 1 every 5s..10s\n"
                              "    publishes exact/{n} qos 2 every 5s..10s\n"
                              "at 10m stop\n";

/* A sensor's own connection is there before the checker has heard of the sensor, and is
 * nobody else's all the same. */
static const char *const own = "link air profile lan-udp  loss 20%\n"
                               "fleet d 6 on air  publishes up/{n} qos 1 every 20s  start 30s\n"
                               "    subscribes down/# qos 1\n"
                               "commands c publishes down/all qos 1 every 2s\n"
                               "gateway mode transparent\n"
                               "at 15s broker refuses for 1m\n"
                               "at 10m stop\n";

static void a_sound_bridge_is_not_accused(void **state)
{
    (void)state;
    assert_sound(own);
    assert_sound(rough);
    assert_sound(smooth);
}

static void an_acknowledgement_before_the_disk_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_EARLY_ACKNOWLEDGEMENT, "custody:");
    assert_found(rough, MUTATION_EARLY_ACKNOWLEDGEMENT, "custody:");
}

static void an_acceptance_before_the_disk_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_EARLY_ACCEPTANCE, "is accepted from the broker and is not");
}

static void a_forgotten_message_is_found(void **state)
{
    (void)state;
    assert_found(rough, MUTATION_FORGOTTEN_MESSAGE, "custody:");
}

static void a_message_published_twice_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_DOUBLE_PUBLISH, "of QoS 2 has come to the broker again");
}

static void a_message_delivered_twice_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_DOUBLE_DELIVERY, "once:");
}

static void wrong_order_is_found(void **state)
{
    (void)state;
    assert_found("link lan profile lan-udp\n"
                 "device d on lan publishes t qos 1 every 1s burst 3\n"
                 "at 1m  broker down for 1m\n"
                 "at 5m  stop\n",
                 MUTATION_WRONG_ORDER, "order:");
}

static void a_slot_that_is_never_freed_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_LEAKED_SLOT, "account: the disk holds");
}

static void a_lost_wakeup_is_found(void **state)
{
    (void)state;
    assert_found(patient, MUTATION_LOST_WAKEUP, "liveness:");
}

static void a_topic_id_that_was_never_told_is_found(void **state)
{
    (void)state;
    assert_found("link lan profile lan-udp\n"
                 "fleet s 8 on lan  subscribes own/{n} qos 1  retries 0\n"
                 "commands c publishes own/7 qos 1 every 10s\n"
                 "at 5m stop\n",
                 MUTATION_UNTOLD_ID, "ids:");
}

static void a_message_under_another_topic_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_WRONG_TOPIC, "topic:");
}

static void a_copy_that_the_disk_refused_is_found(void **state)
{
    (void)state;
    assert_found("link lan profile lan-udp\n"
                 "fleet s 4 on lan  subscribes down/# qos 1\n"
                 "commands c publishes down/all qos 1 every 5s burst 3\n"
                 "at 1m disk patchy for 3m\n"
                 "at 5m stop\n",
                 MUTATION_DEAF_TO_REFUSAL, "the disk has refused a copy");
}

static void a_member_of_a_group_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_MEMBER, "becomes a member");
}

/* Nobody could tell it from the others; one is missing all the same. */
static void a_swallowed_message_is_found_among_those_that_are_alike(void **state)
{
    (void)state;
    assert_found("link lan profile lan-udp\n"
                 "device d on lan  alike yes  publishes t qos 1 every 10s\n"
                 "at 5m stop\n",
                 MUTATION_SWALLOWED_READING, "that are alike were acknowledged");
}

static void a_queue_that_is_called_full_and_is_not_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_FALSELY_FULL, "is dropped, and no queue is full");
}

static void a_reading_that_is_turned_away_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_HARD_OF_HEARING, "is told to disconnect, and was never silent");
}

static void the_will_of_somebody_who_lives_is_found(void **state)
{
    (void)state;
    assert_found(smooth, MUTATION_FALSE_WILL, "alive: the will of");
}

static void a_message_that_expires_too_soon_is_found(void **state)
{
    (void)state;
    assert_found("link lan profile lan-udp\n"
                 "fleet s 2 on lan  publishes up/{n} qos 2 every 10s\n"
                 "gateway max_backlog_age_s 3600\n"
                 "at 5m stop\n",
                 MUTATION_HASTE, "expiry:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_bridge_is_not_accused),
        cmocka_unit_test(an_acknowledgement_before_the_disk_is_found),
        cmocka_unit_test(an_acceptance_before_the_disk_is_found),
        cmocka_unit_test(a_forgotten_message_is_found),
        cmocka_unit_test(a_message_published_twice_is_found),
        cmocka_unit_test(a_message_delivered_twice_is_found),
        cmocka_unit_test(wrong_order_is_found),
        cmocka_unit_test(a_slot_that_is_never_freed_is_found),
        cmocka_unit_test(a_lost_wakeup_is_found),
        cmocka_unit_test(a_topic_id_that_was_never_told_is_found),
        cmocka_unit_test(a_message_under_another_topic_is_found),
        cmocka_unit_test(a_copy_that_the_disk_refused_is_found),
        cmocka_unit_test(a_member_of_a_group_is_found),
        cmocka_unit_test(a_queue_that_is_called_full_and_is_not_is_found),
        cmocka_unit_test(a_reading_that_is_turned_away_is_found),
        cmocka_unit_test(the_will_of_somebody_who_lives_is_found),
        cmocka_unit_test(a_message_that_expires_too_soon_is_found),
        cmocka_unit_test(a_swallowed_message_is_found_among_those_that_are_alike),
    };
    if (sim_profiles_open(&profiles, NULL, stderr) != 0)
        return 1;
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sim_profiles_close(&profiles);
    return failed;
}
