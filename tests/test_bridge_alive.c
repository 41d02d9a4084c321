/* Who is alive: clients that are slow, late or deaf, and whose will must not go out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bridge/core.h"
#include "tests/bridge_rig.h"

/* A client "a" with a will and a keep-alive of ten minutes that has subscribed to "t/1". */
static void connect_with_will(struct rig *r, const char *connect)
{
    play(r, "broker up\n"
            "    * BROKER_UP\n");
    play(r, connect);
    play(r, "a > WILLTOPIC topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=2 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    subscribe 1 qos=2 t/1 retained\n"
            "subscribed 1 2\n"
            "    save filter 1 1 qos=2 t/1\n"
            "stored\n"
            "    a < SUBACK qos=2 tid=1 mid=1 code=accepted\n");
}

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    *state = rig_new(&o);
    connect_with_will(*state, "a > CONNECT will=1 keepalive_s=600 client_id='a'\n"
                              "    a < WILLTOPICREQ\n");
    return 0;
}

static int begin_clean(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    *state = rig_new(&o);
    connect_with_will(*state, "a > CONNECT will=1 clean=1 keepalive_s=600 client_id='a'\n"
                              "    a < WILLTOPICREQ\n");
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* SN12-6.13-1: CONNECT is about something else than what is open, and its dialogue may take
 * longer than all repeats of that. */
static void connect_with_will_ends_the_open_delivery(void **state)
{
    struct rig *r = *state;
    play(r, "message token 1 qos=1 t/1 '1'\n"
            "    store 5 for 1 qos=1 t/1 '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=6 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "wait 9000\n"
            "a > CONNECT will=1 keepalive_s=600 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "wait 30000\n"
            "    +10000\n"
            "    a < WILLTOPICREQ\n"
            "    +20000\n"
            "    a < WILLTOPICREQ\n"
            "    +30000\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "wait 30000\n"
            "    +10000\n"
            "    a < WILLMSGREQ\n"
            "    +20000\n"
            "    a < WILLMSGREQ\n"
            "    +30000\n"
            "    a < WILLMSGREQ\n"
            "    save account lazy\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=6 data='1'\n");
}

static void a_clean_connect_with_will_ends_the_open_delivery_for_good(void **state)
{
    struct rig *r = *state;
    play(r, "message token 1 qos=2 t/1 '1'\n"
            "    store 5 for 1 qos=2 t/1 '1'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=6 data='1'\n"
            "a > CONNECT will=1 clean=1 keepalive_s=600 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "wait 30000\n"
            "    +10000\n"
            "    a < WILLTOPICREQ\n"
            "    +20000\n"
            "    a < WILLTOPICREQ\n"
            "    +30000\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    unsubscribe 2 t/1\n"
            "    erase all of 1\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 100000\n");
}

/* The client answers nothing more: what was before goes on, and it has been heard meanwhile. */
static void an_abandoned_connect_leaves_the_client_as_it_was(void **state)
{
    struct rig *r = *state;
    play(r, "message token 1 qos=2 t/1 '1'\n"
            "    store 5 for 1 qos=2 t/1 '1'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=6 data='1'\n"
            "a > PUBREC mid=6\n"
            "    mark 5 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=6\n"
            "a > PUBCOMP mid=6\n"
            "    forget 5 for 1\n"
            "wait 659000\n"
            "message token 2 qos=2 t/1 '2'\n"
            "    store 8 for 1 qos=2 t/1 '2'\n"
            "    save account lazy\n"
            "stored\n"
            "    accept 2\n"
            "    a < PUBLISH qos=2 tid=1 mid=9 data='2'\n"
            "a > CONNECT will=1 keepalive_s=600 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "wait 20000\n"
            "    +10000\n"
            "    a < WILLTOPICREQ\n"
            "    +20000\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "wait 39999\n"
            "    +10000\n"
            "    a < WILLMSGREQ\n"
            "    +20000\n"
            "    a < WILLMSGREQ\n"
            "    +30000\n"
            "    a < WILLMSGREQ\n"
            "wait 1\n"
            "    +1\n"
            "    * WILL_ABANDONED a\n"
            "    a < PUBLISH dup=1 qos=2 tid=1 mid=9 data='2'\n"
            "a > PUBREC mid=9\n"
            "    save session 1 lazy\n"
            "    mark 8 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=9\n"
            "a > PUBCOMP mid=9\n"
            "    forget 8 for 1\n"
            "    save account lazy\n");
}

#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(connect_with_will_ends_the_open_delivery, begin),
        WITH(connect_with_will_ends_the_open_delivery, begin_clean),
        WITH(a_clean_connect_with_will_ends_the_open_delivery_for_good, begin),
        WITH(a_clean_connect_with_will_ends_the_open_delivery_for_good, begin_clean),
        WITH(an_abandoned_connect_leaves_the_client_as_it_was, begin),
        WITH(an_abandoned_connect_leaves_the_client_as_it_was, begin_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
