#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    *state = rig_new(&o);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* SN12-6.2-1; the session is durable before the client hears so. */
static void connect_is_confirmed_when_the_session_is_stored(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=60 client_id='a'", "save session 1", "stored",
         "* CLIENT_CONNECTED a", "a < CONNACK code=accepted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(connect_is_confirmed_when_the_session_is_stored, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
