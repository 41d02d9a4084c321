#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* Link 0 advertises every 1000 s, link 1 does not. */
static int begin_with(void **state, bool standby)
{
    struct rig_options o;
    rig_defaults(&o);
    o.links[0].advertise_s = 1000;
    o.links[0].gwinfo_broadcast = true;
    o.config.gateway_id = 7;
    o.config.standby = standby;
    *state = rig_new(&o);
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, false);
}

static int begin_standby(void **state)
{
    return begin_with(state, true);
}

/* SN12-6.1-1, SN12-6.1-2, SN12-6.1-4, SN12-5.4.1-1, SN12-5.3.6-1 */
static void it_advertises_while_the_broker_is_there(void **state)
{
    struct rig *r = *state;
    play(r, "wait 5000000\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "wait 3000000\n"
            "    +355\n"
            "    (all) < ADVERTISE gw_id=7 duration_s=1000\n"
            "    +1000355\n"
            "    (all) < ADVERTISE gw_id=7 duration_s=1000\n"
            "    +2000355\n"
            "    (all) < ADVERTISE gw_id=7 duration_s=1000\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 5000000\n"
            "    +534\n"
            "    connect broker\n");
}

/* SN12-6.1-7, SN12-6.1-8, SN12-5.4.3-1, SN12-5.4.3-2, SN12-5.3.9-1, SN12-6.1-10 */
static void it_answers_a_search_at_once_and_to_everybody(void **state)
{
    struct rig *r = *state;
    play(r, "a > SEARCHGW radius=0\n"
            "    (all) < GWINFO gw_id=7\n"
            "b@1 > SEARCHGW radius=1\n"
            "    b@1 < GWINFO gw_id=7\n"
            "a > hex 0201\n"
            "    * FRAME_BAD: truncated\n");
}

/* SN12-5.5-6, SN12-6.1-8 */
static void a_forwarder_passes_broadcasts_on(void **state)
{
    struct rig *r = *state;
    play(r, "f/n1 > SEARCHGW radius=2\n"
            "    f/n1 < GWINFO gw_id=7\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "wait 1000\n"
            "    +355\n"
            "    (all) < ADVERTISE gw_id=7 duration_s=1000\n"
            "    f/ < ADVERTISE gw_id=7 duration_s=1000\n");
}

/* SN12-6.1-6, SN12-7.2-2: after three times the other's interval. */
static void a_standby_takes_over_when_the_other_falls_silent(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "wait 600000\n"
            "x > hex 0500010384\n"
            "a > SEARCHGW radius=0\n"
            "wait 2699000\n"
            "wait 2000\n"
            "    +1000\n"
            "    (all) < ADVERTISE gw_id=7 duration_s=1000\n"
            "a > SEARCHGW radius=0\n"
            "    (all) < GWINFO gw_id=7\n"
            "x > hex 0500010384\n"
            "wait 2000000\n");
}

/* SN12-6.1-3: our own ADVERTISE comes back from the group. */
static void it_does_not_stand_back_for_itself(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "wait 3000000\n"
            "    +3000000\n"
            "    (all) < ADVERTISE gw_id=7 duration_s=1000\n"
            "x > hex 05000703e8\n"
            "wait 1000000\n"
            "    +1000000\n"
            "    (all) < ADVERTISE gw_id=7 duration_s=1000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_advertises_while_the_broker_is_there, begin, end),
        cmocka_unit_test_setup_teardown(it_answers_a_search_at_once_and_to_everybody, begin, end),
        cmocka_unit_test_setup_teardown(a_forwarder_passes_broadcasts_on, begin, end),
        cmocka_unit_test_setup_teardown(a_standby_takes_over_when_the_other_falls_silent,
                                        begin_standby, end),
        cmocka_unit_test_setup_teardown(it_does_not_stand_back_for_itself, begin_standby, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
