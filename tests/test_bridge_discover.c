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

/* SN12-6.1-9, SN12-7.2-6, SN12-6.1-7, SN12-6.1-8, SN12-5.4.3-1, SN12-5.4.3-2, SN12-5.3.9-1,
 * SN12-6.1-10 */
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

static struct {
    uint8_t octets[64];
    size_t len;
} last; /* frame that was sent */

static void note_frame(void *ctx, const struct bridge_action *a)
{
    (void)ctx;
    if (a->type != BRIDGE_DO_SEND)
        return;
    assert_true(a->send.bytes.len <= sizeof(last.octets));
    memcpy(last.octets, a->send.bytes.data, a->send.bytes.len);
    last.len = a->send.bytes.len;
}

static int begin_watched(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.watch = note_frame;
    *state = rig_new(&o);
    return 0;
}

/* SN12-5.5-6, SN12-6.1-8: two bits in the encapsulation; what does not
 * fit them is everywhere. The forwarder's own radius is of no concern, and what is for one node has
 * none. */
static void the_radius_of_a_search_is_that_of_its_answer(void **state)
{
    struct rig *r = *state;
    static const struct {
        uint8_t asked, answered;
    } cases[] = {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 0}, {255, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const uint8_t frame[] = {4, SN_FORWARD, 0xFD, 'n', 3, SN_SEARCHGW, cases[i].asked};
        const uint8_t answer[] = {4, SN_FORWARD, cases[i].answered, 'n', 3, SN_GWINFO, 7};
        const struct radio_address f = {.len = 1, .bytes = "f"};
        rig_step(r, &(struct bridge_event){
                        .type = BRIDGE_ON_FRAME,
                        .frame = {.from = f, .bytes = sn_bytes(frame, sizeof(frame))}});
        assert_int_equal(last.len, sizeof(answer));
        assert_memory_equal(last.octets, answer, sizeof(answer));
    }
    const uint8_t ping[] = {4, SN_FORWARD, 3, 'n', 2, SN_PINGREQ};
    const uint8_t told[] = {4, SN_FORWARD, 0, 'n', 2, SN_DISCONNECT};
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_FRAME,
                                       .frame = {.from = {.len = 1, .bytes = "f"},
                                                 .bytes = sn_bytes(ping, sizeof(ping))}});
    assert_int_equal(last.len, sizeof(told));
    assert_memory_equal(last.octets, told, sizeof(told));
    rig_skip(r);
}

/* SN12-6.1-5, SN12-7.2-1: less often than every 15 minutes, unless the configuration wants it. */
static void without_advertise_s_nothing_is_advertised(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "wait 100000000\n");
}

/* SN12-5.3.5-1, A-07: of whatever form its address is, another's GWINFO is not for us. */
static void what_others_say_of_gateways_is_of_no_concern(void **state)
{
    struct rig *r = *state;
    play(r, "x > hex 03 02 01\n"
            "x > hex 07 02 01 0A 00 00 01\n"
            "x > hex 08 02 01 04 0A 00 00 01\n"
            "a > SEARCHGW radius=0\n"
            "    a < GWINFO gw_id=7\n");
}

static int begin_listed(void **state)
{
    static const struct radio_mask list[] = {
        {.value = {.len = 1, .bytes = "f"}, .mask = {0xFF}},
        {.value = {.len = 1, .bytes = "p"}, .mask = {0xFC}},
    };
    struct rig_options o;
    rig_defaults(&o);
    o.links[0].forwarder_list = list;
    o.links[0].forwarder_count = 2;
    *state = rig_new(&o);
    return 0;
}

/* Without a list everybody may be one; with a list, these on this link. */
static void a_list_of_forwarders_shuts_others_out(void **state)
{
    struct rig *r = *state;
    play(r, "f/n > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    f/n < DISCONNECT\n"
            "q/n > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    q/n < DISCONNECT\n"
            "g/n > PINGREQ\n"
            "    * FORWARDER_REFUSED\n"
            "g > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    g < DISCONNECT\n"
            "g@1/n > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    g@1/n < DISCONNECT\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_advertises_while_the_broker_is_there, begin, end),
        cmocka_unit_test_setup_teardown(it_answers_a_search_at_once_and_to_everybody, begin, end),
        cmocka_unit_test_setup_teardown(a_forwarder_passes_broadcasts_on, begin, end),
        cmocka_unit_test_setup_teardown(a_standby_takes_over_when_the_other_falls_silent,
                                        begin_standby, end),
        cmocka_unit_test_setup_teardown(the_radius_of_a_search_is_that_of_its_answer, begin_watched,
                                        end),
        cmocka_unit_test_setup_teardown(without_advertise_s_nothing_is_advertised, begin_watched,
                                        end),
        cmocka_unit_test_setup_teardown(what_others_say_of_gateways_is_of_no_concern, begin_watched,
                                        end),
        cmocka_unit_test_setup_teardown(a_list_of_forwarders_shuts_others_out, begin_listed, end),
        cmocka_unit_test_setup_teardown(it_does_not_stand_back_for_itself, begin_standby, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
