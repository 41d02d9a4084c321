#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

static const struct bridge_predefined predefined[] = {{NULL, 1, "x"}, {NULL, 2, "y"}};

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.predefined = predefined;
    o.config.predefined_count = sizeof(predefined) / sizeof(predefined[0]);
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

/* A queue at the broker is full: the message is not lost, and holds up its own topic only. */
static void what_the_broker_does_not_take_now_goes_again(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 2 qos=1 x '1' lazy\n"
            "    publish 2 qos=1 x '1'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "delivered 2 code 151\n"
            "    * UP_HELD a: x\n"
            "a > PUBLISH qos=1 predefined=1 mid=2 data='2'\n"
            "    store 3 qos=1 x '2' lazy\n"
            "a > PUBLISH qos=1 predefined=2 mid=3 data='3'\n"
            "    store 4 qos=1 y '3' lazy\n"
            "    publish 4 qos=1 y '3'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=2 code=accepted\n"
            "    a < PUBACK tid=2 mid=3 code=accepted\n"
            "delivered 4\n"
            "    forget 4 lazy\n"
            "wait 700\n"
            "wait 600\n"
            "    +405\n"
            "    publish 2 qos=1 x '1'\n"
            "delivered 2 code 151\n"
            "wait 1400\n"
            "wait 1200\n"
            "    +652\n"
            "    publish 2 qos=1 x '1'\n"
            "delivered 2\n"
            "    forget 2 lazy\n"
            "    publish 3 qos=1 x '2'\n"
            "delivered 3\n"
            "    forget 3 lazy\n");
}

/* What may be the broker's word for never is given up after ten minutes. */
static void an_unspecified_error_is_final_in_the_end(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 2 qos=1 x '1' lazy\n"
            "    publish 2 qos=1 x '1'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "delivered 2 code 131\n"
            "    * UP_HELD a: x\n");
    struct bridge_status status;
    unsigned times = 0;
    for (rig_status(r, &status); status.up.queued == 1; rig_status(r, &status), times++) {
        uint64_t seq;
        assert_true(times < 20);
        while (rig_undecided(r, &seq, 1) == 0)
            rig_pass(r, 1000);
        rig_delivered(r, 2, 131);
        rig_skip(r);
    }
    assert_int_equal(status.up.dropped, 1);
    assert_int_equal(status.notes[BRIDGE_NOTE_UP_REFUSED_BY_BROKER], 1);
    assert_true(times > 10 && times < 18); /* 1, 2, 4 .. 60 seconds apart */
}

/* The topic, the rights, the payload: it will never be another one. */
static void what_speaks_of_the_message_is_final(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='1'\n"
            "    store 2 qos=1 x '1' lazy\n"
            "    publish 2 qos=1 x '1'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "delivered 2 code 135\n"
            "    * UP_REFUSED_BY_BROKER a: x\n"
            "    forget 2 lazy\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_broker_does_not_take_now_goes_again),
        TEST(an_unspecified_error_is_final_in_the_end),
        TEST(what_speaks_of_the_message_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
