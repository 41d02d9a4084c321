/* Messages of sensors that look like repeats: which are, and which are new ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bridge/core.h"
#include "tests/bridge_rig.h"

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    *state = rig_new(&o);
    play(*state, "broker up\n"
                 "    * BROKER_UP\n"
                 "a > CONNECT client_id='a'\n"
                 "    save session 1\n"
                 "stored\n"
                 "    * CLIENT_CONNECTED a\n"
                 "    a < CONNACK code=accepted\n");
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* A device that sleeps deeply begins again with message id 1, and has the same reading. The
 * first copy of it is lost. */
static void a_repeat_of_before_a_connect_is_a_new_message(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 2 qos=1 pre/one 'x' lazy\n"
            "    publish 2 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "delivered 2\n"
            "    forget 2 lazy\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH dup=1 qos=1 predefined=1 mid=1 data='x'\n"
            "    store 5 qos=1 pre/one 'x' lazy\n"
            "    publish 5 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "a > PUBLISH qos=2 predefined=1 mid=2 data='x'\n"
            "    store 6 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=2\n"
            "    publish 6 qos=2 pre/one 'x'\n"
            "delivered 6\n"
            "    mark 6 delivered\n"
            "a > PUBREL mid=2\n"
            "    forget 6\n"
            "stored\n"
            "    a < PUBCOMP mid=2\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=2 data='x'\n"
            "    store 10 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=2\n"
            "    publish 10 qos=2 pre/one 'x'\n");
}

/* An exchange that is half done lives through a CONNECT; but who goes on with it says DUP. */
static void what_is_open_at_a_connect_goes_on_with_dup_only(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 2 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 2 qos=2 pre/one 'x'\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=1\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=1\n"
            "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    mark 2 released\n"
            "    store 5 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 5 qos=2 pre/one 'x'\n"
            "a > PUBREL mid=1\n"
            "    mark 5 released\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n");
}

/* T_retry is 10 s, there are three repeats, and the last may be 5 s under way. */
static void at_qos_1_nobody_repeats_for_ever(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 2 qos=1 pre/one 'x' lazy\n"
            "    publish 2 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "delivered 2\n"
            "    forget 2 lazy\n"
            "wait 45000\n"
            "a > PUBLISH dup=1 qos=1 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "wait 1\n"
            "a > PUBLISH dup=1 qos=1 predefined=1 mid=1 data='x'\n"
            "    store 4 qos=1 pre/one 'x' lazy\n"
            "    publish 4 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n");
}

/* At QoS 2 it would have come twice. */
static void at_qos_2_a_copy_may_be_late(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=2 predefined=1 mid=1 data='x'\n"
            "    store 2 qos=2 pre/one 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 2 qos=2 pre/one 'x'\n"
            "delivered 2\n"
            "    mark 2 delivered\n"
            "a > PUBREL mid=1\n"
            "    forget 2\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n"
            "wait 3600000\n"
            "a > PUBLISH dup=1 qos=2 predefined=1 mid=1 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=1\n"
            "    save account lazy\n");
}

#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_repeat_of_before_a_connect_is_a_new_message, begin),
        WITH(what_is_open_at_a_connect_goes_on_with_dup_only, begin),
        WITH(at_qos_1_nobody_repeats_for_ever, begin),
        WITH(at_qos_2_a_copy_may_be_late, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
