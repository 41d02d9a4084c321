#include "bridge/config.h"

#include "radio/framing.h"
#include "radio/link_udp.h"
#include "radio/profile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LAN    "[link lan]\ntype = udp\n"
#define SERIAL "[link radio]\ntype = serial\ndevice = /dev/ttyUSB0\n"

static char folder[] = "/tmp/test_config.XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        return -1;
    }
    strcpy(path, "conf");
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink("conf");
    unlink("secret");
    unlink("logins");
    unlink("a");
    unlink("b");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static void write_file(const char *name, const void *octets, size_t len)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(octets, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* A certificate and its key, both in the file "a". */
static void make_certificate(void)
{
    assert_int_equal(system("rm -f a && openssl req -x509 -newkey ec -nodes -subj /CN=a -days 2 "
                            "-pkeyopt ec_paramgen_curve:prime256v1 -keyout a >cert 2>/dev/null && "
                            "cat cert >>a && rm cert"),
                     0);
}

/* Loads octets as a file; the errors stand in the returned text, to be freed. */
static int load_octets(const void *octets, size_t len, struct config *c, char **errors)
{
    size_t size;
    FILE *e = open_memstream(errors, &size);
    assert_non_null(e);
    write_file(path, octets, len);
    const int result = config_load(path, c, e);
    assert_int_equal(fclose(e), 0);
    return result;
}

static struct config load(const char *text)
{
    struct config c = {0};
    char *errors;
    const int result = load_octets(text, strlen(text), &c, &errors);
    assert_string_equal(errors, "");
    assert_int_equal(result, 0);
    free(errors);
    return c;
}

/* The file is refused with exactly these lines, and nothing is left behind. */
static void refuses(const char *text, const char *lines)
{
    struct config c;
    struct config before;
    char *errors;
    memset(&c, 0x5A, sizeof c);
    memcpy(&before, &c, sizeof c);
    assert_int_equal(load_octets(text, strlen(text), &c, &errors), -1);
    assert_string_equal(errors, lines);
    assert_memory_equal(&c, &before, sizeof c);
    free(errors);
}

static char *printed(const struct config *c)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    config_print(c, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* ---- what a file means ------------------------------------------------------ */

static void a_link_is_all_that_must_be_said(void **state)
{
    (void)state;
    struct config c = load(LAN);

    assert_string_equal(c.data, "/var/lib/snbridge");
    assert_false(c.bridge.transparent);
    assert_int_equal(c.bridge.max_connections, 500);
    assert_true(c.bridge.ack_stored);
    assert_true(c.bridge.broker_ack_stored);
    assert_int_equal(c.bridge.gateway_id, 1);
    assert_int_equal(c.bridge.awake_messages, 0);
    assert_int_equal(c.bridge.outage_disconnect_s, 0);
    assert_int_equal(c.bridge.connect_offline, BRIDGE_OFFLINE_ALL);
    assert_int_equal(c.bridge.tolerance_percent, 0);
    assert_false(c.bridge.strict_sleep);
    assert_false(c.bridge.register_short);
    assert_int_equal(c.memory_mb, 0);
    assert_int_equal(c.log, BRIDGE_LEVEL_INFO);
    assert_string_equal(c.broker.url, "tcp://127.0.0.1:1883");
    assert_string_equal(c.broker.client_id, "snbridge");
    assert_int_equal(c.broker.protocol, 5);
    assert_true(c.broker.verify);
    assert_null(c.broker.username);
    assert_null(c.broker.password);
    assert_null(c.broker.ca_file);
    assert_int_equal(c.bridge.link_count, 1);
    assert_int_equal(c.links[0].type, CONFIG_LINK_UDP);
    assert_string_equal(c.links[0].listen, "0.0.0.0:1883");
    assert_null(c.links[0].multicast);
    assert_int_equal(c.links[0].core.advertise_s, 0);
    assert_string_equal(c.bridge.links[0].name, "lan");
    assert_false(c.bridge.links[0].qos_minus_one);
    assert_false(c.bridge.links[0].roam);
    assert_true(c.bridge.links[0].forwarders);
    assert_int_equal(c.bridge.predefined_count, 0);
    config_free(&c);
}

static void every_key_reaches_its_field(void **state)
{
    (void)state;
    make_certificate();
    write_file("secret", "pass word\r\nnot this\n", 20);
    struct config c = load("[bridge]\n"
                           "data = /tmp/state\n"
                           "ack = broker\n"
                           "broker_ack = early\n"
                           "gateway_id = 255\n"
                           "max_clients = 7\n"
                           "max_client_id = 23\n"
                           "max_topic_levels = 200\n"
                           "max_topics = 8\n"
                           "max_subscriptions = 9\n"
                           "max_queue = 10\n"
                           "max_backlog = 1000000000000\n"
                           "max_live = 12\n"
                           "live_share = 99\n"
                           "max_queue_bytes = 101\n"
                           "max_queue_age_s = 102\n"
                           "max_backlog_bytes = 1000000000000000\n"
                           "max_backlog_age_s = 104\n"
                           "qos0_backlog = 13\n"
                           "awake_messages = 14\n"
                           "outage_disconnect_s = 106\n"
                           "connect_offline = known\n"
                           "tolerance_percent = 105\n"
                           "strict_sleep = yes\n"
                           "register_short = yes\n"
                           "memory_mb = 15\n"
                           "commit_delay_ms = 16\n"
                           "store_max_mb = 17\n"
                           "log = debug\n"
                           "[broker]\n"
                           "url = ssl://[2001:db8::1]:8883\n"
                           "client_id = bridge 7\n"
                           "protocol = 3.1.1\n"
                           "username = me\n"
                           "password_file = secret\n"
                           "ca_file = a\n"
                           "cert_file = a\n"
                           "key_file = a\n"
                           "verify = no\n"
                           "keepalive_s = 18\n"
                           "connect_timeout_s = 19\n"
                           "max_inflight = 20\n"
                           "session_expiry_s = 4294967295\n"
                           "reconnect_min_ms = 22\n"
                           "answer_timeout_s = 99\n"
                           "reconnect_max_ms = 23\n"
                           "user_properties = always\n"
                           "[class alarm]\n"
                           "topics = a/#, +/b\n"
                           "expire_s = 24\n"
                           "priority = 0\n"
                           "order = live\n"
                           "drain = newest\n"
                           "keep = newest\n"
                           "max_messages = 105\n"
                           "max_bytes = 106\n"
                           "[class default]\n"
                           "expire_s = 25\n"
                           "[link v6]\n"
                           "type = udp\n"
                           "listen = [::1]:10000\n"
                           "multicast = [ff02::1]:1884\n"
                           "multicast_interface = eth0\n"
                           "multicast_hops = 3\n"
                           "advertise_s = 900\n"
                           "profile = lan-udp\n"
                           "frame_max = 100\n"
                           "retry_min_ms = 31\n"
                           "retry_ms = 32\n"
                           "retry_max_ms = 33\n"
                           "retries = 34\n"
                           "bits_per_s = 35\n"
                           "overhead_bits = 36\n"
                           "bits_per_octet = 37\n"
                           "duty_per_mille = 38\n"
                           "qos_minus_one = yes\n"
                           "roam = yes\n"
                           "forwarders = no\n"
                           "[link radio]\n"
                           "type = serial\n"
                           "device = /dev/ttyUSB0\n"
                           "baud = 1200\n"
                           "data_bits = 7\n"
                           "parity = odd\n"
                           "stop_bits = 2\n"
                           "flow_control = xonxoff\n"
                           "framing = hdlc\n"
                           "optional = yes\n"
                           "[topics]\n"
                           "1 = plant/1/temp\n"
                           "65534 = a b\n"
                           "[topics dev7]\n"
                           "1 = dev7/temp\n");

    assert_string_equal(c.data, "/tmp/state");
    assert_false(c.bridge.ack_stored);
    assert_false(c.bridge.broker_ack_stored);
    assert_int_equal(c.bridge.gateway_id, 255);
    assert_int_equal(c.bridge.max_clients, 7);
    assert_int_equal(c.bridge.max_client_id, 23);
    assert_int_equal(c.bridge.max_topic_levels, 200);
    assert_int_equal(c.bridge.max_topics, 8);
    assert_int_equal(c.bridge.max_subscriptions, 9);
    assert_int_equal(c.bridge.max_queue, 10);
    assert_true(c.bridge.max_backlog == 1000000000000u);
    assert_int_equal(c.bridge.max_live, 12);
    assert_int_equal(c.bridge.live_share, 99);
    assert_int_equal(c.bridge.max_queue_bytes, 101);
    assert_int_equal(c.bridge.max_queue_age_s, 102);
    assert_true(c.bridge.max_backlog_bytes == 1000000000000000u);
    assert_int_equal(c.bridge.max_backlog_age_s, 104);
    assert_int_equal(c.bridge.qos0_backlog, 13);
    assert_int_equal(c.bridge.awake_messages, 14);
    assert_int_equal(c.bridge.outage_disconnect_s, 106);
    assert_int_equal(c.bridge.connect_offline, BRIDGE_OFFLINE_KNOWN);
    assert_int_equal(c.bridge.tolerance_percent, 105);
    assert_true(c.bridge.strict_sleep);
    assert_true(c.bridge.register_short);
    assert_int_equal(c.memory_mb, 15);
    assert_int_equal(c.commit_delay_ms, 16);
    assert_int_equal(c.store_max_mb, 17);
    assert_int_equal(c.log, BRIDGE_LEVEL_DEBUG);
    assert_string_equal(c.broker.url, "ssl://[2001:db8::1]:8883");
    assert_string_equal(c.broker.client_id, "bridge 7");
    assert_int_equal(c.broker.protocol, 4);
    assert_string_equal(c.broker.username, "me");
    assert_string_equal(c.broker.password, "pass word");
    assert_string_equal(c.broker.ca_file, "a");
    assert_string_equal(c.broker.cert_file, "a");
    assert_string_equal(c.broker.key_file, "a");
    assert_false(c.broker.verify);
    assert_int_equal(c.broker.keepalive_s, 18);
    assert_int_equal(c.broker.connect_timeout_s, 19);
    assert_int_equal(c.broker.max_inflight, 20);
    assert_true(c.broker.session_expiry_s == UINT32_MAX);
    assert_int_equal(c.bridge.reconnect_min_ms, 22);
    assert_int_equal(c.bridge.answer_timeout_s, 99);
    assert_int_equal(c.bridge.reconnect_max_ms, 23);
    assert_int_equal(c.broker.user_properties, BROKER_PROPERTIES_ALWAYS);

    assert_int_equal(c.bridge.class_count, 2);
    assert_string_equal(c.bridge.classes[0].name, "default");
    assert_int_equal(c.bridge.classes[0].expire_s, 25);
    assert_string_equal(c.bridge.classes[1].name, "alarm");
    assert_string_equal(c.bridge.classes[1].topics, "a/#, +/b");
    assert_int_equal(c.bridge.classes[1].expire_s, 24);
    assert_int_equal(c.bridge.classes[1].priority, 0);
    assert_true(c.bridge.classes[1].live);
    assert_true(c.bridge.classes[1].newest);
    assert_int_equal(c.bridge.classes[1].keep, BRIDGE_KEEP_NEWEST);
    assert_int_equal(c.bridge.classes[1].max_messages, 105);
    assert_int_equal(c.bridge.classes[1].max_bytes, 106);
    assert_int_equal(c.bridge.classes[0].keep, BRIDGE_KEEP_REFUSE);
    assert_int_equal(c.bridge.classes[0].priority, 3);
    assert_false(c.bridge.classes[0].live);

    assert_int_equal(c.bridge.link_count, 2);
    const struct config_link *l = &c.links[0];
    assert_string_equal(l->listen, "[::1]:10000");
    assert_string_equal(l->multicast, "[ff02::1]:1884");
    assert_string_equal(l->multicast_interface, "eth0");
    assert_int_equal(l->multicast_hops, 3);
    assert_int_equal(l->core.advertise_s, 900);
    assert_string_equal(l->profile, "lan-udp");
    assert_string_equal(c.bridge.links[0].name, "v6");
    assert_int_equal(c.bridge.links[0].frame_max, 100);
    assert_int_equal(c.bridge.links[0].retry_min_ms, 31);
    assert_int_equal(c.bridge.links[0].retry_ms, 32);
    assert_int_equal(c.bridge.links[0].retry_max_ms, 33);
    assert_int_equal(c.bridge.links[0].retries, 34);
    assert_int_equal(c.bridge.links[0].bits_per_s, 35);
    assert_int_equal(c.bridge.links[0].overhead_bits, 36);
    assert_int_equal(c.bridge.links[0].bits_per_octet, 37);
    assert_int_equal(c.bridge.links[0].duty_per_mille, 38);
    assert_true(c.bridge.links[0].qos_minus_one);
    assert_true(c.bridge.links[0].roam);
    assert_false(c.bridge.links[0].forwarders);
    l = &c.links[1];
    assert_int_equal(l->type, CONFIG_LINK_SERIAL);
    assert_string_equal(l->device, "/dev/ttyUSB0");
    assert_int_equal(l->baud, 1200);
    assert_int_equal(l->data_bits, 7);
    assert_int_equal(l->parity, CONFIG_PARITY_ODD);
    assert_int_equal(l->stop_bits, 2);
    assert_int_equal(l->flow_control, CONFIG_FLOW_XONXOFF);
    assert_string_equal(l->framing, "hdlc");
    assert_true(l->optional);

    assert_int_equal(c.bridge.predefined_count, 3);
    assert_null(c.bridge.predefined[1].client);
    assert_int_equal(c.bridge.predefined[1].tid, 65534);
    assert_string_equal(c.bridge.predefined[1].topic, "a b");
    assert_string_equal(c.bridge.predefined[2].client, "dev7");
    assert_int_equal(c.bridge.predefined[2].tid, 1);
    assert_string_equal(c.bridge.predefined[2].topic, "dev7/temp");
    config_free(&c);
}

static void comments_indentation_cr_lf_and_a_byte_order_mark_are_harmless(void **state)
{
    (void)state;
    struct config c = load("\xEF\xBB\xBF; first\r\n"
                           "\t# second\r\n"
                           "[ bridge ]   ; third\r\n"
                           "  gateway_id=2\r\n"
                           "   max_clients : 3\t; fourth = 5\r\n"
                           "\r\n"
                           "[link  lan]\r\n"
                           "    type = udp\r\n"
                           "[topics]\r\n"
                           "1 = a;b = c\r\n"
                           "2 = d ;e");
    assert_int_equal(c.bridge.gateway_id, 2);
    assert_int_equal(c.bridge.max_clients, 3);
    assert_string_equal(c.bridge.links[0].name, "lan");
    assert_string_equal(c.bridge.predefined[0].topic, "a;b = c");
    assert_string_equal(c.bridge.predefined[1].topic, "d");
    config_free(&c);
}

static void sections_may_be_continued(void **state)
{
    (void)state;
    struct config c = load("[bridge]\nlog = error\n[topics]\n1 = a\n" LAN
                           "[bridge]\ngateway_id = 9\n[topics]\n2 = b\n");
    assert_int_equal(c.log, BRIDGE_LEVEL_ERROR);
    assert_int_equal(c.bridge.gateway_id, 9);
    assert_int_equal(c.bridge.predefined_count, 2);
    config_free(&c);
}

static void a_long_comment_is_no_long_line(void **state)
{
    (void)state;
    char text[2000] = LAN "; ";
    memset(text + strlen(text), 'x', 900);
    strcat(text, "\n[bridge]\ngateway_id = 4 ;");
    memset(text + strlen(text), 'y', 900);
    struct config c = load(text);
    assert_int_equal(c.bridge.gateway_id, 4);
    config_free(&c);
}

static void an_empty_value_is_not_set_where_there_is_no_default(void **state)
{
    (void)state;
    struct config c = load("[broker]\nusername =\nca_file =\n" LAN "multicast =\n");
    assert_null(c.broker.username);
    assert_null(c.broker.ca_file);
    assert_null(c.links[0].multicast);
    config_free(&c);
}

static void one_port_serves_both_families(void **state)
{
    (void)state;
    struct config c = load("[link v4]\ntype = udp\nlisten = 0.0.0.0:1883\n"
                           "[link v6]\ntype = udp\nlisten = [::]:1883\n"
                           "[link other]\ntype = udp\nlisten = 0.0.0.0:1884\n");
    assert_int_equal(c.bridge.link_count, 3);
    config_free(&c);
}

static void a_profile_gives_what_the_link_does_not_say(void **state)
{
    (void)state;
    struct config c = load(LAN "[link r1]\ntype = serial\ndevice = /dev/ttyS8\n"
                               "profile = serial-radio-1200\nbaud = 9600\nretries = 9\n"
                               "[link r2]\ntype = udp\nlisten = 127.0.0.1:9\n"
                               "profile = lora-sf10-eu\n");
    assert_string_equal(c.links[0].profile, "lan-udp");
    assert_int_equal(c.bridge.links[0].bits_per_s, 0); /* it is not paced */
    assert_int_equal(c.bridge.links[0].frame_max, 1472);
    assert_int_equal(c.bridge.links[1].bits_per_s, 1200); /* the port is faster than the air */
    assert_int_equal(c.bridge.links[1].bits_per_octet, 10);
    assert_int_equal(c.bridge.links[1].frame_max, 128);
    assert_int_equal(c.bridge.links[1].retries, 9);
    assert_true(c.bridge.links[1].retry_ms > 2000);
    assert_int_equal(c.bridge.links[2].frame_max, 51);
    assert_int_equal(c.bridge.links[2].duty_per_mille, 10);
    config_free(&c);
}

static void without_a_profile_a_wire_is_as_fast_as_its_port(void **state)
{
    (void)state;
    struct config c = load("[link r1]\ntype = serial\ndevice = /dev/ttyS8\nbaud = 115200\n"
                           "[link r2]\ntype = serial\ndevice = /dev/ttyS9\nbaud = 300\n"
                           "parity = even\nstop_bits = 2\n");
    assert_int_equal(c.bridge.links[0].bits_per_s, 115200);
    assert_int_equal(c.bridge.links[0].bits_per_octet, 10);
    assert_int_equal(c.bridge.links[0].retry_ms, 1000);
    assert_int_equal(c.bridge.links[1].bits_per_s, 300);
    assert_int_equal(c.bridge.links[1].bits_per_octet, 12);
    assert_true(c.bridge.links[1].retry_ms > 20000); /* 256 octets last 10 s */
    config_free(&c);
}

/* Timers that follow from others give way to the one that was chosen. */
static void a_chosen_retry_moves_its_limits(void **state)
{
    (void)state;
    struct config c = load(LAN "retry_ms = 100\n[link x]\ntype = udp\nlisten = 127.0.0.1:9\n"
                               "retry_ms = 100000\n");
    assert_int_equal(c.bridge.links[0].retry_ms, 100);
    assert_int_equal(c.bridge.links[0].retry_min_ms, 100);
    assert_int_equal(c.bridge.links[0].retry_max_ms, 60000);
    assert_int_equal(c.bridge.links[1].retry_min_ms, 25000);
    assert_int_equal(c.bridge.links[1].retry_max_ms, 800000);
    config_free(&c);
}

/* SN12-7.2-3, SN12-7.2-4: T_retry is the link's own, not 10 to 15 s everywhere, but either can be
 * had; N_retry is within 3 to 5. */
static void retries_are_the_specifications_and_their_time_is_the_links(void **state)
{
    (void)state;
    for (size_t i = 0; i < radio_profile_count(); i++) {
        const struct radio_profile *p = radio_profile_at(i);
        assert_in_range(p->retries, 3, 5);
        assert_true(radio_profile_retry_ms(p) >= 1000);
    }
    struct config c = load(LAN "retry_ms = 10000\nretry_min_ms = 10000\nretry_max_ms = 10000\n"
                               "retries = 4\n");
    assert_int_equal(c.bridge.links[0].retry_max_ms, 10000);
    config_free(&c);
}

static bool may_forward(const struct bridge_link_config *l, const char *peer)
{
    struct radio_address a;
    assert_int_equal(radio_udp_resolve(peer, &a), 0);
    for (size_t i = 0; i < l->forwarder_count; i++) {
        if (radio_mask_has(&l->forwarder_list[i], &a)) {
            return true;
        }
    }
    return false;
}

static void forwarders_are_listed_with_or_without_their_port(void **state)
{
    (void)state;
    struct config c = load(LAN "forwarder_list = 192.0.2.7, 192.0.2.8:1885,[fe80::1]:7 , fe80::2\n"
                               "[link y]\ntype = udp\nlisten = 127.0.0.1:9\n");
    const struct bridge_link_config *l = &c.bridge.links[0];
    assert_int_equal(l->forwarder_count, 4);
    assert_true(may_forward(l, "192.0.2.7:1"));
    assert_true(may_forward(l, "192.0.2.7:2"));
    assert_true(may_forward(l, "192.0.2.8:1885"));
    assert_false(may_forward(l, "192.0.2.8:1886"));
    assert_false(may_forward(l, "192.0.2.9:1885"));
    assert_true(may_forward(l, "[fe80::1%lo]:7"));
    assert_false(may_forward(l, "[fe80::1%lo]:8"));
    assert_true(may_forward(l, "[fe80::2]:8"));
    assert_int_equal(c.bridge.links[1].forwarder_count, 0);
    config_free(&c);
    refuses(LAN "forwarder_list = 192.0.2.7,host\n",
            "conf:3: [link lan] forwarder_list: found \"host\", allowed are addresses in numbers "
            "such as 192.0.2.7 or [2001:db8::7]:1883\n");
}

/* SN12-6.1-3: one octet, and never left to chance. */
static void a_gateway_id_is_one_octet(void **state)
{
    (void)state;
    refuses(
        "[bridge]\ngateway_id = 256\n" LAN,
        "conf:2: [bridge] gateway_id: found \"256\", allowed is a whole number from 0 to 255\n");
    struct config c = load("[bridge]\ngateway_id = 0\n" LAN);
    assert_int_equal(c.bridge.gateway_id, 0);
    config_free(&c);
}

static void every_profile_can_be_chosen_and_printed(void **state)
{
    (void)state;
    for (size_t i = 0; i < radio_profile_count(); i++) {
        char text[200];
        sprintf(text, LAN "profile = %s\n", radio_profile_at(i)->name);
        struct config c = load(text);
        char *first = printed(&c);
        config_free(&c);
        c = load(first);
        char *second = printed(&c);
        assert_string_equal(first, second);
        config_free(&c);
        free(first);
        free(second);
    }
}

/* Every word of the table means something to the link. */
static void every_framing_can_be_opened(void **state)
{
    const char *const words[] = {"cobs", "slip", "hdlc", "raw"};
    enum radio_framing framing;
    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        char text[200];
        sprintf(text, SERIAL "framing = %s\n", words[i]);
        struct config c = load(text);
        assert_true(radio_framing_find(c.links[0].framing, &framing));
        config_free(&c);
    }
}

/* ---- what is refused -------------------------------------------------------- */

static void an_unknown_key_names_the_nearest_one(void **state)
{
    (void)state;
    refuses("[bridge]\nmax_client = 5\nmaxqueue = 3\nzzz = 1\nurl = tcp://x\n" LAN "lissten = :1\n",
            "conf:2: [bridge] max_client: unknown key, did you mean max_clients?\n"
            "conf:3: [bridge] maxqueue: unknown key, did you mean max_queue?\n"
            "conf:4: [bridge] zzz: unknown key, `snbridge --help-config` lists those there are\n"
            "conf:5: [bridge] url: unknown here, it belongs into [broker]\n"
            "conf:8: [link lan] lissten: unknown key, did you mean listen?\n");
}

static void an_unknown_section_is_one_line_however_many_keys_it_has(void **state)
{
    (void)state;
    refuses("[borker]\nurl = tcp://x\nclient_id = y\n[serial port]\n[broker two]\n" LAN,
            "conf:1: [borker]: unknown section, did you mean broker?\n"
            "conf:4: [serial port]: unknown section, allowed are [bridge], [broker], [class NAME], "
            "[link NAME], "
            "[topics] and [topics CLIENT]\n"
            "conf:5: [broker two]: a section of this kind has no name, write [broker]\n");
}

static void a_number_is_digits_within_its_range(void **state)
{
    (void)state;
    refuses("[bridge]\ngateway_id = 256\nmax_clients = 10k\nmax_queue = -1\nmax_live =\n"
            "max_topics = 99999999999999999999999\nmemory_mb = 0x10\n" LAN,
            "conf:2: [bridge] gateway_id: found \"256\", allowed is a whole number from 0 to 255\n"
            "conf:3: [bridge] max_clients: found \"10k\", allowed is a whole number from 1 to "
            "1000000\n"
            "conf:4: [bridge] max_queue: found \"-1\", allowed is a whole number from 1 to "
            "1000000\n"
            "conf:5: [bridge] max_live: found \"\", allowed is a whole number from 1 to 10000000\n"
            "conf:6: [bridge] max_topics: found \"99999999999999999999999\", allowed is a whole "
            "number from 1 to 65534\n"
            "conf:7: [bridge] memory_mb: found \"0x10\", allowed is a whole number from 0 to "
            "1000000\n");
}

static void a_word_is_one_of_the_list(void **state)
{
    (void)state;
    refuses("[bridge]\nack = Stored\nlog = verbose\n[broker]\nprotocol = 4\nverify = true\n" SERIAL
            "framing = COBS\n",
            "conf:2: [bridge] ack: found \"Stored\", allowed is broker or stored\n"
            "conf:3: [bridge] log: found \"verbose\", allowed is debug, info, warning or error\n"
            "conf:5: [broker] protocol: found \"4\", allowed is 3.1.1 or 5\n"
            "conf:6: [broker] verify: found \"true\", allowed is no or yes\n"
            "conf:10: [link radio] framing: found \"COBS\", allowed is cobs, slip, hdlc or "
            "raw\n");
}

static void patterns_say_which_clients_are_transparent(void **state)
{
    (void)state;
    struct config c = load("[bridge]\nmode = transparent\n[modes]\naggregating = old-*\n"
                           "transparent = a:b=?\n" LAN);
    assert_true(c.bridge.transparent);
    assert_int_equal(c.bridge.mode_count, 2);
    assert_string_equal(c.bridge.modes[0].pattern, "old-*");
    assert_false(c.bridge.modes[0].transparent);
    assert_string_equal(c.bridge.modes[1].pattern, "a:b=?");
    assert_true(c.bridge.modes[1].transparent);
    char *text = printed(&c);
    assert_non_null(strstr(text, "[modes]\naggregating = old-*\ntransparent = a:b=?\n"));
    free(text);
    config_free(&c);
    refuses("[modes]\nopaque = x\ntransparent =\n[bridge]\nmax_connections = 1001\n" LAN,
            "conf:2: [modes] opaque: found \"opaque\", allowed is aggregating or transparent\n"
            "conf:3: [modes] transparent: a pattern for client ids is missing\n"
            "conf:5: [bridge] max_connections: found \"1001\", allowed is a whole number from 1 to "
            "1000\n");
}

static void credentials_are_read_line_by_line(void **state)
{
    (void)state;
    const char *const lines = "# who : user : password\n\nbuoy-* : fleet : se:cret \n  x:y:\n";
    write_file("logins", lines, strlen(lines));
    assert_int_equal(chmod("logins", 0600), 0);
    struct config c = load("[broker]\ncredentials_file = logins\n" LAN);
    assert_int_equal(c.broker.login_count, 2);
    assert_string_equal(c.broker.logins[0].pattern, "buoy-*");
    assert_string_equal(c.broker.logins[0].username, "fleet");
    assert_string_equal(c.broker.logins[0].password, "se:cret");
    assert_string_equal(c.broker.logins[1].pattern, "x");
    assert_string_equal(c.broker.logins[1].username, "y");
    assert_string_equal(c.broker.logins[1].password, "");
    config_free(&c);

    const char *const bad = "a : b\n: u : p\na : : p\njust words\n";
    write_file("logins", bad, strlen(bad));
    refuses("[broker]\ncredentials_file = logins\n" LAN,
            "logins:1: a line is CLIENTS : USER : PASSWORD, or begins with #\n"
            "logins:2: a line is CLIENTS : USER : PASSWORD, or begins with #\n"
            "logins:3: a line is CLIENTS : USER : PASSWORD, or begins with #\n"
            "logins:4: a line is CLIENTS : USER : PASSWORD, or begins with #\n");
    assert_int_equal(chmod("logins", 0640), 0);
    refuses("[broker]\ncredentials_file = logins\n" LAN,
            "conf:2: [broker] credentials_file: found \"logins\" with mode 0640, others must not "
            "read it; chmod 600\n");
}

static void a_key_stands_once(void **state)
{
    (void)state;
    refuses("[bridge]\nlog = info\n[broker]\n[bridge]\nlog = info\n" LAN "roam = yes\nroam = yes\n",
            "conf:5: [bridge] log: stands already in line 2, once is allowed\n"
            "conf:9: [link lan] roam: stands already in line 8, once is allowed\n");
}

static void links_have_names_of_their_own(void **state)
{
    (void)state;
    refuses(LAN "[link lan]\ntype = serial\n[link]\ntype = udp\n[link a b]\n",
            "conf:3: [link lan]: this link stands already in line 1, names must differ\n"
            "conf:5: [link]: a link needs a name of 1 to 31 letters, digits, \"-\", \"_\" or "
            "\".\"\n"
            "conf:7: [link a b]: a link needs a name of 1 to 31 letters, digits, \"-\", \"_\" or "
            "\".\"\n");
}

static void classes_have_names_and_topics_of_their_own(void **state)
{
    (void)state;
    refuses("[class]\ntopics = a\n"
            "[class a]\ntopics = x/#/y, ok\n"
            "[class a]\n"
            "[class b]\nexpire_s = 1\n"
            "[class c]\ntopics =\n"
            "[class d]\ntopics = d\ndrain = newest\n"
            "[class default]\ntopics = a\n" LAN,
            "conf:1: [class]: a class needs a name of 1 to 31 letters, digits, \"-\", \"_\" or "
            "\".\"\n"
            "conf:4: [class a] topics: found \"x/#/y\" (bad-filter), allowed are topic filters\n"
            "conf:5: [class a]: this class stands already in line 3, names must differ\n"
            "conf:14: [class default] topics: found, but this class is for all that no other "
            "matches\n"
            "conf:6: [class b] topics: missing, required\n"
            "conf:9: [class c] topics: missing, required\n"
            "conf:12: [class d] drain: found newest with order = strict, allowed is oldest\n");
}

static void there_are_only_so_many_classes(void **state)
{
    (void)state;
    char text[2000] = LAN;
    for (int i = 1; i <= BRIDGE_CLASSES_MAX; i++)
        sprintf(text + strlen(text), "[class c%d]\ntopics = t\n", i);
    refuses(text, "conf:33: [class c16]: one class too many, at most 16 are allowed\n");
}

static void links_do_not_share_a_port_or_device(void **state)
{
    (void)state;
    write_file("a", "", 0);
    unlink("b");
    assert_int_equal(symlink("a", "b"), 0);
    refuses("[link u1]\ntype = udp\nlisten = 127.0.0.1:1883\n"
            "[link u2]\ntype = udp\n"
            "[link s1]\ntype = serial\ndevice = a\n"
            "[link s2]\ntype = serial\ndevice = b\n"
            "[link s3]\ntype = serial\ndevice = gone\n"
            "[link s4]\ntype = serial\ndevice = gone\n",
            "conf:4: [link u2] listen: found \"0.0.0.0:1883\", which [link u1] uses already\n"
            "conf:11: [link s2] device: found \"b\", which [link s1] uses already\n"
            "conf:17: [link s4] device: found \"gone\", which [link s3] uses already\n");
}

static void a_link_says_what_it_is(void **state)
{
    (void)state;
    refuses("[link lan]\n[link radio]\ntype = serial\n[link x]\ntype = tcp\n",
            "conf:5: [link x] type: found \"tcp\", allowed is udp or serial\n"
            "conf:1: [link lan] type: missing, allowed is udp or serial\n"
            "conf:2: [link radio] device: missing, required with type = serial\n");
}

static void a_key_of_another_type_of_link_is_refused(void **state)
{
    (void)state;
    refuses("[link lan]\nbaud = 9600\ntype = udp\n" SERIAL "multicast = 225.1.1.1:1884\n",
            "conf:2: [link lan] baud: found, but the link's type is udp\n"
            "conf:7: [link radio] multicast: found, but the link's type is serial\n");
}

static void without_a_link_there_is_nothing_to_do(void **state)
{
    (void)state;
    refuses("", "conf: no [link NAME] section, at least one is required\n");
}

static void there_are_only_so_many_links(void **state)
{
    (void)state;
    char text[4096] = "";
    for (int i = 0; i <= BRIDGE_LINKS_MAX; i++) {
        sprintf(text + strlen(text), "[link l%d]\ntype = udp\nlisten = 0.0.0.0:%d\n", i, 1000 + i);
    }
    refuses(text, "conf:97: [link l32]: one link too many, at most 32 are allowed\n");
}

static void an_address_is_numeric_and_has_a_port(void **state)
{
    (void)state;
    refuses("[link a]\ntype = udp\nlisten = 1883\n"
            "[link b]\ntype = udp\nlisten = localhost:1883\n"
            "[link c]\ntype = udp\nlisten = ::1:1883\n"
            "[link d]\ntype = udp\nlisten = [::1]:0\n"
            "[link e]\ntype = udp\nlisten = 127.0.0.1:65536\n"
            "[link f]\ntype = udp\nlisten = 127.0.0.1:1\nmulticast = 10.0.0.1:1884\n"
            "[link g]\ntype = udp\nlisten = 127.0.0.1:2\nadvertise_s = 5\n"
            "[link h]\ntype = udp\nlisten = 127.0.0.1:3\nmulticast = [ff02::1]:1884\n"
            "[link i]\ntype = udp\nlisten = [fe80::1%eth0]:1883\n",
            "conf:3: [link a] listen: found \"1883\", allowed is a numeric address and port such "
            "as 0.0.0.0:1883 or [::]:1883\n"
            "conf:6: [link b] listen: found \"localhost:1883\", allowed is a numeric address and "
            "port such as 0.0.0.0:1883 or [::]:1883\n"
            "conf:9: [link c] listen: found \"::1:1883\", allowed is a numeric address and port "
            "such as 0.0.0.0:1883 or [::]:1883\n"
            "conf:12: [link d] listen: found \"[::1]:0\", allowed is a numeric address and port "
            "such as 0.0.0.0:1883 or [::]:1883\n"
            "conf:15: [link e] listen: found \"127.0.0.1:65536\", allowed is a numeric address "
            "and port such as 0.0.0.0:1883 or [::]:1883\n"
            "conf:19: [link f] multicast: found \"10.0.0.1:1884\", allowed is a multicast group "
            "such as 225.1.1.1:1884\n"
            "conf:23: [link g] advertise_s: found 5 without multicast, the group to send to\n"
            "conf:27: [link h] multicast: found \"[ff02::1]:1884\" with listen = 127.0.0.1:3, "
            "allowed are two IPv4 or two IPv6 addresses\n");
}

static void a_url_has_a_scheme_and_a_host(void **state)
{
    static const char *const bad[] = {"localhost",        "mqtt://localhost", "tcp://",
                                      "tcp://:1883",      "tcp://host:",      "tcp://host:0",
                                      "tcp://host:1883x", "tcp://[::1",       "tcp://a b"};
    static const char *const good[] = {"tcp://host", "ssl://a.example:8883", "ws://[::1]:80/mqtt",
                                       "wss://host/mqtt", "tcp://[fe80::1]"};
    char text[200];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char line[300];
        sprintf(text, "[broker]\nurl = %s\n" LAN, bad[i]);
        sprintf(line,
                "conf:2: [broker] url: found \"%s\", allowed is tcp://HOST:PORT, also with "
                "ssl://, ws:// or wss://\n",
                bad[i]);
        refuses(text, line);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        sprintf(text, "[broker]\nurl = %s\n" LAN, good[i]);
        struct config c = load(text);
        assert_string_equal(c.broker.url, good[i]);
        config_free(&c);
    }
}

static void a_predefined_topic_is_an_id_and_a_name(void **state)
{
    (void)state;
    refuses(LAN "[topics]\n0 = a\n65535 = a\nx = a\n1 = a/+\n2 = #\n3 =\n4 = \xFF\n5 = a\n5 = b\n"
                "[topics dev7]\n5 = c\n5 = c\n",
            "conf:4: [topics] 0: found \"0\", allowed is a topic id from 1 to 65534\n"
            "conf:5: [topics] 65535: found \"65535\", allowed is a topic id from 1 to 65534\n"
            "conf:6: [topics] x: found \"x\", allowed is a topic id from 1 to 65534\n"
            "conf:7: [topics] 1: found \"a/+\", a topic id stands for one topic, without + and "
            "#\n"
            "conf:8: [topics] 2: found \"#\", a topic id stands for one topic, without + and #\n"
            "conf:9: [topics] 3: found \"\" (empty-topic), allowed is the name of a topic\n"
            "conf:10: [topics] 4: found \"\xFF\" (bad-utf8), allowed is the name of a topic\n"
            "conf:12: [topics] 5: this id stands already for \"a\"\n"
            "conf:15: [topics dev7] 5: this id stands already for \"c\"\n");
}

/* What a group would do to its other members no configuration can want. */
static void topics_with_a_dollar_are_those_that_are_named(void **state)
{
    (void)state;
    refuses("[topics]\n1 = $SYS/broker/uptime\n2 = $share/g/a\n[topics dev7]\n3 = $aws/x\n"
            "[bridge]\ndollar_topics = $SYS, $queue aws\n" LAN,
            "conf:7: [bridge] dollar_topics: found \"$queue\", allowed are first levels of topics "
            "such as $SYS, and no groups or queues\n"
            "conf:7: [bridge] dollar_topics: found \"aws\", allowed are first levels of topics "
            "such as $SYS, and no groups or queues\n"
            "conf:3: [topics] 2: found \"$share/g/a\", allowed with $ in front are those of "
            "dollar_topics = $SYS, $queue aws\n"
            "conf:5: [topics dev7] 3: found \"$aws/x\", allowed with $ in front are those of "
            "dollar_topics = $SYS, $queue aws\n");
    refuses("[topics]\n1 = a/b/c\n2 = a/b\n[bridge]\nmax_topic_levels = 2\n" LAN,
            "conf:2: [topics] 1: found \"a/b/c\", allowed are max_topic_levels = 2\n");
    struct config c = load("[bridge]\ndollar_topics = $aws\n[topics]\n1 = $aws/x\n" LAN);
    assert_string_equal(c.bridge.dollar_topics, "$aws");
    config_free(&c);
    c = load("[bridge]\ndollar_topics =\n" LAN);
    assert_string_equal(c.bridge.dollar_topics, "");
    config_free(&c);
}

static void keys_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    write_file("secret", "x\n", 2);
    refuses("[broker]\nusername = u\npassword = p\npassword_file = secret\nca_file = secret\n"
            "reconnect_min_ms = 2000\nreconnect_max_ms = 1000\n" LAN
            "retry_min_ms = 500\nretry_ms = 400\nretry_max_ms = 60000\n",
            "conf:4: [broker] password_file: found beside password, allowed is one of the two\n"
            "conf:5: [broker] ca_file: found, but url is \"tcp://127.0.0.1:1883\" and not "
            "encrypted; ssl:// and wss:// are\n"
            "conf:6: [broker] reconnect_min_ms: found 2000, allowed is up to reconnect_max_ms = "
            "1000\n"
            "conf:8: [link lan] retry_ms: found retry_min_ms = 500, retry_ms = 400, retry_max_ms "
            "= 60000, allowed is this order only\n");
    refuses("[broker]\nurl = ssl://x\nkey_file = secret\npassword = p\n" LAN,
            "conf:3: [broker] key_file: found without cert_file\n"
            "conf:4: [broker] password: found without username\n");
}

static void flow_control_must_not_eat_data(void **state)
{
    (void)state;
    refuses(SERIAL "flow_control = xonxoff\n",
            "conf:4: [link radio] flow_control: found xonxoff with framing = cobs, which sends the "
            "octets 11 and 13 as data; allowed is framing = hdlc\n");
    struct config c = load(SERIAL "flow_control = xonxoff\nframing = hdlc\n");
    config_free(&c);
}

static void a_file_that_is_named_must_be_readable(void **state)
{
    (void)state;
    refuses("[broker]\nurl = ssl://x\nusername = u\npassword_file = gone\nca_file = /\n" LAN,
            "conf:4: [broker] password_file: cannot read \"gone\": No such file or directory\n"
            "conf:5: [broker] ca_file: cannot read \"/\": Is a directory\n");
    write_file("secret", "\nx\n", 3);
    refuses("[broker]\nusername = u\npassword_file = secret\n" LAN,
            "conf:3: [broker] password_file: the first line of \"secret\" is empty, it is the "
            "password\n");
}

static void an_unknown_profile_is_refused(void **state)
{
    (void)state;
    struct config c;
    char *errors;
    const char *text = LAN "profile = moon\n";
    assert_int_equal(load_octets(text, strlen(text), &c, &errors), -1);
    const char *begin = "conf:3: [link lan] profile: found \"moon\", allowed is one of ";
    assert_memory_equal(errors, begin, strlen(begin));
    assert_non_null(strstr(errors, "lan-udp"));
    assert_non_null(strstr(errors, "serial-9600"));
    free(errors);
}

static void values_stand_without_quotes_and_hash_comments(void **state)
{
    (void)state;
    refuses("[bridge]\ndata = \"/tmp/x\"\n" SERIAL "optional = yes # later\nprofile = a # b\n",
            "conf:2: [bridge] data: found \"/tmp/x\", values stand without quotes\n"
            "conf:6: [link radio] optional: found \"yes # later\", allowed is no or yes\n"
            "conf:7: [link radio] profile: found \"a # b\", a comment behind a value begins with "
            "\";\" after a space\n");
}

static void a_line_that_is_nothing_is_refused(void **state)
{
    (void)state;
    refuses("log = info\n[bridge]\nlog\n= x\n[link lan\ntype = udp\n[] x\n[bridge] x\n[]\n",
            "conf:1: log: stands before the first section\n"
            "conf:3: found \"log\", a line is KEY = VALUE, [SECTION] or a comment\n"
            "conf:4: found \"= x\", a line is KEY = VALUE, [SECTION] or a comment\n"
            "conf:5: found \"[link lan\", a section is [bridge], [broker], [class NAME], [link "
            "NAME], [topics] "
            "or [topics CLIENT]\n"
            "conf:7: found \"[] x\", a section is [bridge], [broker], [class NAME], [link NAME], "
            "[topics] or "
            "[topics CLIENT]\n"
            "conf:8: found \"[bridge] x\", a section is [bridge], [broker], [class NAME], [link "
            "NAME], [topics] "
            "or [topics CLIENT]\n"
            "conf:9: []: unknown section, allowed are [bridge], [broker], [class NAME], [link "
            "NAME], [topics] "
            "and [topics CLIENT]\n"
            "conf: no [link NAME] section, at least one is required\n");
}

/* The parser below would cut them and say nothing. */
static void a_line_or_name_too_long_is_refused(void **state)
{
    (void)state;
    char text[1024] = LAN "[topics]\n1 = ";
    memset(text + strlen(text), 'x', CONFIG_LINE_MAX - 4);
    struct config c = load(text);
    assert_int_equal(strlen(c.bridge.predefined[0].topic), CONFIG_LINE_MAX - 4);
    config_free(&c);
    strcat(text, "x\n[topics ");
    memset(text + strlen(text), 'c', 43);
    strcat(text, "]\n1 = a\n[bridge]\n");
    memset(text + strlen(text), 'k', 60);
    strcat(text, " = 1\n");
    refuses(text, "conf:4: the line has 198 octets, at most 197 are allowed\n"
                  "conf:5: the section's name has 50 octets, at most 49 are allowed\n"
                  "conf:8: [bridge] kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk: "
                  "unknown key, "
                  "`snbridge --help-config` lists those there are\n");
}

static void a_binary_file_is_refused(void **state)
{
    (void)state;
    static const char text[] = LAN "[bri\0dge]\n";
    struct config c;
    char *errors;
    assert_int_equal(load_octets(text, sizeof text - 1, &c, &errors), -1);
    assert_string_equal(errors, "conf:3: the line contains a NUL octet; is this a text file?\n");
    free(errors);
}

static void all_errors_are_reported_up_to_a_bound(void **state)
{
    (void)state;
    char text[1024] = "[bridge]\n";
    char lines[4096] = "";
    for (int i = 0; i < 25; i++) {
        strcat(text, "log = x\n");
    }
    sprintf(lines, "conf:2: [bridge] log: found \"x\", allowed is debug, info, warning or "
                   "error\n");
    for (int i = 1; i < CONFIG_ERRORS_MAX; i++) {
        sprintf(lines + strlen(lines),
                "conf:%d: [bridge] log: stands already in line 2, once is allowed\n", i + 2);
    }
    strcat(lines, "conf: 5 more errors\n");
    strcat(text, LAN);
    refuses(text, lines);
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
    (void)state;
    struct config c;
    char *errors;
    size_t size;
    FILE *e = open_memstream(&errors, &size);
    assert_int_equal(config_load("missing.conf", &c, e), -1);
    assert_int_equal(config_load(".", &c, e), -1);
    assert_int_equal(fclose(e), 0);
    assert_string_equal(errors, "missing.conf: cannot be read: No such file or directory\n"
                                ".: cannot be read: Is a directory\n");
    free(errors);
}

/* ---- printing ----------------------------------------------------------------- */

static void what_is_printed_loads_to_the_same(void **state)
{
    (void)state;
    make_certificate();
    write_file("secret", "word\n", 5);
    struct config c = load("[bridge]\nack = broker\nmax_backlog = 5\nlog = warning\n"
                           "[broker]\nurl = wss://h:1/mqtt\nusername = u\npassword_file = secret\n"
                           "ca_file = a\nprotocol = 3.1.1\nsession_expiry_s = 4294967295\n"
                           "[class x]\ntopics = a/# b\nexpire_s = 5\n[class default]\n" LAN
                           "multicast = 225.1.1.1:1884\nadvertise_s = 60\nretries = 0\n" SERIAL
                           "parity = even\nframing = raw\nroam = yes\nqos_minus_one = yes\n"
                           "[topics]\n1 = a/b\n[topics dev7]\n1 = c\n2 = d\n[topics]\n2 = e\n");
    char *first = printed(&c);
    config_free(&c);
    c = load(first);
    char *second = printed(&c);
    assert_string_equal(first, second);

    assert_false(c.bridge.ack_stored);
    assert_string_equal(c.broker.password, "word");
    assert_int_equal(c.broker.protocol, 4);
    assert_int_equal(c.links[0].core.retries, 0);
    assert_int_equal(c.links[1].parity, CONFIG_PARITY_EVEN);
    assert_int_equal(c.bridge.predefined_count, 4);
    assert_string_equal(c.bridge.predefined[2].client, "dev7");
    assert_null(c.bridge.predefined[3].client);
    assert_non_null(strstr(first, "\n; QoS 1 and 2 messages on the way to the broker at a time\n"
                                  "max_inflight = 100\n"));
    free(first);
    free(second);
    config_free(&c);
}

static void a_password_is_not_printed(void **state)
{
    (void)state;
    struct config c = load("[broker]\nusername = u\npassword = tops3cret\n" LAN);
    char *text = printed(&c);
    assert_null(strstr(text, "tops3cret"));
    assert_non_null(strstr(text, "; password is set, and not shown\n"));
    free(text);
    config_free(&c);
}

static void the_manual_lists_every_key_with_what_is_allowed(void **state)
{
    (void)state;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_print_help(out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(
        text,
        "  gateway_id\n      GwId in ADVERTISE and GWINFO; every gateway in reach needs its own.\n"
        "      Allowed: a whole number from 0 to 255. Default: 1  (SIGHUP)\n"));
    assert_non_null(strstr(text, "Allowed: cobs, slip, hdlc or raw. Default: cobs\n"));
#define KEY(section, key, type, field, standard, min, max, words, help)                            \
    assert_non_null(strstr(text, "\n  " #key "\n      " help ".\n"));
#include "bridge/config.def"
#undef KEY
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_is_all_that_must_be_said),
        cmocka_unit_test(every_key_reaches_its_field),
        cmocka_unit_test(comments_indentation_cr_lf_and_a_byte_order_mark_are_harmless),
        cmocka_unit_test(sections_may_be_continued),
        cmocka_unit_test(a_long_comment_is_no_long_line),
        cmocka_unit_test(an_empty_value_is_not_set_where_there_is_no_default),
        cmocka_unit_test(one_port_serves_both_families),
        cmocka_unit_test(a_profile_gives_what_the_link_does_not_say),
        cmocka_unit_test(without_a_profile_a_wire_is_as_fast_as_its_port),
        cmocka_unit_test(a_chosen_retry_moves_its_limits),
        cmocka_unit_test(retries_are_the_specifications_and_their_time_is_the_links),
        cmocka_unit_test(forwarders_are_listed_with_or_without_their_port),
        cmocka_unit_test(a_gateway_id_is_one_octet),
        cmocka_unit_test(every_profile_can_be_chosen_and_printed),
        cmocka_unit_test(every_framing_can_be_opened),
        cmocka_unit_test(flow_control_must_not_eat_data),
        cmocka_unit_test(an_unknown_key_names_the_nearest_one),
        cmocka_unit_test(an_unknown_section_is_one_line_however_many_keys_it_has),
        cmocka_unit_test(a_number_is_digits_within_its_range),
        cmocka_unit_test(a_word_is_one_of_the_list),
        cmocka_unit_test(patterns_say_which_clients_are_transparent),
        cmocka_unit_test(credentials_are_read_line_by_line),
        cmocka_unit_test(a_key_stands_once),
        cmocka_unit_test(links_have_names_of_their_own),
        cmocka_unit_test(classes_have_names_and_topics_of_their_own),
        cmocka_unit_test(there_are_only_so_many_classes),
        cmocka_unit_test(links_do_not_share_a_port_or_device),
        cmocka_unit_test(a_link_says_what_it_is),
        cmocka_unit_test(a_key_of_another_type_of_link_is_refused),
        cmocka_unit_test(without_a_link_there_is_nothing_to_do),
        cmocka_unit_test(there_are_only_so_many_links),
        cmocka_unit_test(an_address_is_numeric_and_has_a_port),
        cmocka_unit_test(a_url_has_a_scheme_and_a_host),
        cmocka_unit_test(a_predefined_topic_is_an_id_and_a_name),
        cmocka_unit_test(topics_with_a_dollar_are_those_that_are_named),
        cmocka_unit_test(keys_that_contradict_each_other_are_refused),
        cmocka_unit_test(a_file_that_is_named_must_be_readable),
        cmocka_unit_test(an_unknown_profile_is_refused),
        cmocka_unit_test(values_stand_without_quotes_and_hash_comments),
        cmocka_unit_test(a_line_that_is_nothing_is_refused),
        cmocka_unit_test(a_line_or_name_too_long_is_refused),
        cmocka_unit_test(a_binary_file_is_refused),
        cmocka_unit_test(all_errors_are_reported_up_to_a_bound),
        cmocka_unit_test(a_file_that_cannot_be_read_says_why),
        cmocka_unit_test(what_is_printed_loads_to_the_same),
        cmocka_unit_test(a_password_is_not_printed),
        cmocka_unit_test(the_manual_lists_every_key_with_what_is_allowed),
    };
    return cmocka_run_group_tests_name("config", tests, make_folder, remove_folder);
}
