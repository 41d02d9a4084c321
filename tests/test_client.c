/* The test plays the gateway: it hands octets in and reads what comes out as
 * lines of text, frames in hexadecimal. Time is a number. */
#include "mqttsn/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct {
    struct sn_client c;
    struct sn_client_config cfg;
    struct sn_client_topic topics[3];
    struct sn_client_gateway gateways[3];
    uint8_t names[3][16];
    uint8_t kept[300];
    uint8_t frame[300];
    uint64_t now;
    size_t discarded;
    uint16_t mid;
    char log[4096];
    size_t len;
    void (*then)(const struct sn_client_event *e); /* what the application does at an event */
} d;

/* ---- the device and its radio ----------------------------------------------- */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    d.len += (size_t)vsnprintf(d.log + d.len, sizeof d.log - d.len, format, args);
    va_end(args);
    assert_true(d.len < sizeof d.log);
}

static void say_octets(struct sn_bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        say(" %02X", b.data[i]);
    }
}

static void say_until(uint64_t at_ms)
{
    if (at_ms == SN_NEVER) {
        say(" never");
    } else {
        say(" %llu", (unsigned long long)at_ms);
    }
}

static void say_done(const char *what, const struct sn_client_event *e)
{
    static const char *const results[] = {"accepted", "rejected", "unknown", "cancelled"};

    say("%s %s", what, results[e->done.result]);
    if (e->done.result == SN_RESULT_REJECTED) {
        say(" %u", e->done.code);
    } else if (e->type == SN_EVENT_SUBSCRIBED) {
        say(" qos %d", e->done.qos);
    }
}

static void say_message(const struct sn_client_event *e)
{
    say("message ");
    if (e->message.topic.kind == SN_TOPIC_PREDEFINED) {
        say("#%u", e->message.topic.tid);
    } else {
        say("%.*s", (int)e->message.topic.name.len, (const char *)e->message.topic.name.data);
    }
    say(" qos %d%s \"%.*s\"", e->message.qos, e->message.retain ? " retained" : "",
        (int)e->message.data.len, (const char *)e->message.data.data);
}

static void on_event(void *ctx, const struct sn_client_event *e)
{
    assert_ptr_equal(ctx, &d);
    switch (e->type) {
    case SN_EVENT_SEND:
        if (e->send.broadcast) {
            say("* %u", e->send.radius);
        } else {
            say(">%.*s", (int)e->send.to.len, (const char *)e->send.to.data);
        }
        say_octets(e->send.frame);
        break;
    case SN_EVENT_CONNECTED:
        say("connected");
        break;
    case SN_EVENT_REFUSED:
        say("refused %u again", e->refused.code);
        say_until(e->refused.again_ms);
        break;
    case SN_EVENT_LOST:
        say("lost %s", e->lost.why == SN_LOSS_LEFT ? "left" : "no answer to ");
        if (e->lost.why == SN_LOSS_NO_ANSWER) {
            say("%s", sn_type_name((uint8_t)e->lost.waiting_for));
        }
        break;
    case SN_EVENT_DISCONNECTED:
        say("disconnected");
        break;
    case SN_EVENT_ASLEEP:
        say("asleep%s until", e->asleep.answered ? "" : " in vain");
        say_until(e->asleep.until_ms);
        break;
    case SN_EVENT_MESSAGE:
        say_message(e);
        break;
    case SN_EVENT_PUBLISHED:
        say_done("published", e);
        break;
    case SN_EVENT_SUBSCRIBED:
        say_done("subscribed", e);
        break;
    case SN_EVENT_UNSUBSCRIBED:
        say_done("unsubscribed", e);
        break;
    case SN_EVENT_WILL_CHANGED:
        say_done("will", e);
        break;
    case SN_EVENT_CONGESTED:
        say("congested %s until", sn_type_name((uint8_t)e->congested.what));
        say_until(e->congested.until_ms);
        break;
    case SN_EVENT_DROPPED:
        say("dropped tid %u code %u", e->dropped.tid, e->dropped.code);
        break;
    case SN_EVENT_GATEWAY:
        say("gateway %u %s %.*s", e->gateway.id, e->gateway.found ? "found" : "gone",
            (int)e->gateway.address.len, (const char *)e->gateway.address.data);
        break;
    case SN_EVENT_DISCARDED:
        d.discarded++;
        return;
    }
    say("\n");
    if (d.then != NULL) {
        d.then(e);
    }
}

static void forget_log(void)
{
    d.log[0] = '\0';
    d.len = 0;
}

/* What came out since the last call. */
static void expect_(const char *want, const char *file, int line)
{
    if (strcmp(d.log, want) != 0) {
        print_error("%s:%d: wanted\n%sgot\n%s", file, line, want, d.log);
        _fail(file, line);
    }
    forget_log();
}

#define expect(want) expect_(want, __FILE__, __LINE__)

static size_t octets(const char *hex, uint8_t *out)
{
    size_t len = 0;

    while (*hex != '\0') {
        char *end;
        out[len++] = (uint8_t)strtoul(hex, &end, 16);
        assert_true(end > hex);
        hex = end;
        hex += *hex == ' ';
    }
    return len;
}

static void hear_from(const char *address, const char *hex)
{
    uint8_t frame[300];
    const size_t len = octets(hex, frame);
    /* A copy of exactly this size, so that the sanitizer sees reading beyond it. */
    uint8_t *copy = malloc(len);

    memcpy(copy, frame, len);
    sn_client_frame(&d.c, d.now, sn_bytes_text(address), sn_bytes(copy, len));
    free(copy);
}

static void hear(const char *hex)
{
    hear_from("", hex);
}

/* Time goes on; everything that falls due meanwhile happens at its moment. */
static void pass(uint64_t ms)
{
    const uint64_t end = d.now + ms;

    while (sn_client_deadline(&d.c) <= end) {
        const uint64_t due = sn_client_deadline(&d.c);
        if (due > d.now) {
            d.now = due;
        }
        sn_client_time(&d.c, d.now);
        assert_true(sn_client_deadline(&d.c) > d.now);
    }
    d.now = end;
    sn_client_time(&d.c, d.now);
}

static int set_up(void **state)
{
    (void)state;
    memset(&d, 0, sizeof d);
    /* Memory is handed in as it is. */
    memset(d.topics, 0xA5, sizeof d.topics);
    memset(d.gateways, 0xA5, sizeof d.gateways);
    d.now = 1000000;
    d.cfg = sn_client_defaults();
    d.cfg.client_id = sn_bytes_text("dev7");
    d.cfg.retry_max_ms = d.cfg.retry_ms;
    d.cfg.topics = d.topics;
    d.cfg.topics_max = 3;
    d.cfg.names = d.names[0];
    d.cfg.name_size = 16;
    d.cfg.kept = d.kept;
    d.cfg.kept_size = sizeof d.kept;
    d.cfg.frame = d.frame;
    d.cfg.frame_size = sizeof d.frame;
    d.cfg.emit = on_event;
    d.cfg.ctx = &d;
    return 0;
}

static void start(void)
{
    sn_client_init(&d.c, &d.cfg, 1);
    d.c.next_mid = 1;
}

static void connect_again(void)
{
    sn_client_connect(&d.c, d.now);
    hear("03 05 00");
    forget_log();
}

/* Connected with nothing said since. */
static void connected(void)
{
    start();
    connect_again();
}

/* With gateways A, and B and C if there are as many. */
static void start_with_gateways(size_t count)
{
    d.cfg.gateways = d.gateways;
    d.cfg.gateways_max = 3;
    start();
    for (size_t i = 0; i < count; i++) {
        sn_client_add_gateway(&d.c, sn_bytes(&"ABC"[i], 1));
    }
}

static enum sn_client_answer publish(const char *topic, int8_t qos, const char *text)
{
    return sn_client_publish(&d.c, d.now, sn_topic_named(topic), qos, false, sn_bytes_text(text));
}

static enum sn_client_answer subscribe(const char *filter, int8_t qos)
{
    return sn_client_subscribe(&d.c, d.now, sn_topic_named(filter), qos);
}

static enum sn_client_state state_of(void)
{
    return sn_client_state(&d.c);
}

/* Knows the topic "a/b" as id 5. */
static void connected_and_registered(void)
{
    connected();
    publish("a/b", 0, "x");
    hear("07 0B 00 05 00 01 00");
    forget_log();
    d.c.next_mid = 1;
}

static const struct sn_client_will will = {
    .topic = {(const uint8_t *)"w/t", 3},
    .message = {(const uint8_t *)"gone", 4},
    .qos = 1,
    .retain = true,
};

/* ---- frames, 5.2 to 5.4 ----------------------------------------------------- */

/* SN12C-6.2-1, SN12C-5.3.1-1, SN12C-5.3.8-1: the first message is CONNECT with
 * ProtocolId 1, keep-alive and the client id. SN12C-5.4-1: other flags are 0. */
static void the_first_message_is_connect(void **state)
{
    (void)state;
    start();
    assert_int_equal(publish("a/b", 1, "x"), SN_ANSWER_NOT_CONNECTED);
    assert_int_equal(subscribe("a/b", 1), SN_ANSWER_NOT_CONNECTED);
    assert_int_equal(sn_client_sleep(&d.c, d.now, 60), SN_ANSWER_NOT_CONNECTED);
    assert_int_equal(sn_client_ping(&d.c, d.now), SN_ANSWER_NOT_CONNECTED);
    expect("");
    assert_int_equal(sn_client_connect(&d.c, d.now), SN_ANSWER_STARTED);
    expect("> 0A 04 04 01 00 3C 64 65 76 37\n");
    assert_int_equal(publish("a/b", 1, "x"), SN_ANSWER_NOT_CONNECTED);
    assert_int_equal(sn_client_connect(&d.c, d.now), SN_ANSWER_BUSY);
    hear("03 05 00");
    expect("connected\n");
    assert_int_equal(state_of(), SN_CLIENT_ACTIVE);
}

static void without_clean_session_the_flag_is_clear(void **state)
{
    (void)state;
    d.cfg.clean = false;
    start();
    sn_client_connect(&d.c, d.now);
    expect("> 0A 04 00 01 00 3C 64 65 76 37\n");
}

/* SN12C-5.2-1 */
static void from_256_octets_on_the_length_has_three_octets(void **state)
{
    char text[251] = "";
    uint8_t in[300];

    (void)state;
    connected();
    memset(text, 'x', 248);
    sn_client_publish(&d.c, d.now, sn_topic_predefined(7), 0, false, sn_bytes(text, 248));
    assert_memory_equal(d.log, "> FF 0C 01 00 07 00 00 78", 25);
    forget_log();
    sn_client_publish(&d.c, d.now, sn_topic_predefined(7), 0, false, sn_bytes(text, 249));
    assert_memory_equal(d.log, "> 01 01 02 0C 01 00 07 00 00 78", 31);
    forget_log();

    octets("01 01 02 0C 01 00 07 00 00", in);
    memset(in + 9, 'y', 249);
    sn_client_frame(&d.c, d.now, sn_bytes_text(""), sn_bytes(in, 258));
    assert_memory_equal(d.log, "message #7 qos 0 \"yyy", 21);
    assert_int_equal(d.len, strlen("message #7 qos 0 \"\"\n") + 249);
    forget_log();
    hear("01 00 0A 0C 01 00 07 00 00 7A");
    expect("message #7 qos 0 \"z\"\n");
}

/* SN12C-5.2-2 */
static void what_is_broken_reserved_or_for_gateways_is_discarded(void **state)
{
    static const char *const frames[] = {
        "00",                            /* Length 0 */
        "01",                            /* half of a long Length */
        "05 0C 00",                      /* says more than came */
        "02 17 00",                      /* says less than came */
        "03 17 00",                      /* PINGRESP that is too long */
        "02 05",                         /* CONNACK without its code */
        "06 0D 00 05 00 01",             /* PUBACK without its code */
        "02 03",                         /* reserved */
        "02 11",                         /* reserved */
        "02 FF",                         /* reserved */
        "0A 04 04 01 00 3C 64 65 76 37", /* CONNECT */
        "05 07 00 61 62",                /* WILLTOPIC */
        "03 09 61",                      /* WILLMSG */
        "08 12 00 00 01 61 2F 62",       /* SUBSCRIBE */
        "08 14 00 00 01 61 2F 62",       /* UNSUBSCRIBE */
        "02 1A",                         /* WILLTOPICUPD */
        "03 1C 61",                      /* WILLMSGUPD */
        "04 FE 00 01 02 17",             /* PINGRESP in an envelope we have no use for */
        "08 0C 03 00 07 00 00 7A",       /* PUBLISH with reserved TopicIdType */
        "08 0C 61 00 07 00 00 7A",       /* PUBLISH with QoS -1 */
        "07 0B 00 05 00 01 00",          /* REGACK, and nothing was asked */
        "07 0D 00 05 00 01 00",          /* PUBACK */
        "04 0E 00 01",                   /* PUBCOMP */
        "08 13 00 00 05 00 01 00",       /* SUBACK */
        "04 15 00 01",                   /* UNSUBACK */
        "03 1B 00",                      /* WILLTOPICRESP */
        "03 1D 00",                      /* WILLMSGRESP */
        "02 17",                         /* PINGRESP */
        "03 05 00",                      /* CONNACK */
        "02 06",                         /* WILLTOPICREQ */
        "02 08",                         /* WILLMSGREQ */
    };
    const size_t count = sizeof frames / sizeof *frames;

    (void)state;
    connected();
    for (size_t i = 0; i < count; i++) {
        hear(frames[i]);
        expect("");
        assert_int_equal(d.discarded, i + 1);
    }
    assert_int_equal(state_of(), SN_CLIENT_ACTIVE);
}

/* SN12C-5.4-1: TopicId 0 in REGISTER, MsgId 0 and no DUP in a QoS 0 PUBLISH. */
static void unused_fields_are_zero(void **state)
{
    (void)state;
    connected();
    assert_int_equal(publish("a/b", 0, "x"), SN_ANSWER_STARTED);
    expect("> 09 0A 00 00 00 01 61 2F 62\n");
    hear("07 0B 00 05 00 01 00");
    expect("> 08 0C 00 00 05 00 00 78\npublished accepted\n");
    assert_int_equal(publish("a/b", 0, "y"), SN_ANSWER_DONE);
    expect("> 08 0C 00 00 05 00 00 79\n");
}

static void what_does_not_fit_is_refused_and_changes_nothing(void **state)
{
    static const char text[301];
    const struct sn_client_will long_will = {.topic = will.topic,
                                             .message = {(const uint8_t *)text, 299}};

    (void)state;
    connected();
    assert_int_equal(publish("a/b", 3, "x"), SN_ANSWER_BAD_QOS);
    assert_int_equal(subscribe("a/b", -1), SN_ANSWER_BAD_QOS);
    assert_int_equal(publish("a/+", 1, "x"), SN_ANSWER_BAD_TOPIC);
    assert_int_equal(publish("", 1, "x"), SN_ANSWER_BAD_TOPIC);
    assert_int_equal(subscribe("a/+b", 1), SN_ANSWER_BAD_TOPIC);
    assert_int_equal(publish("a/name/of/17/octs", 1, "x"), SN_ANSWER_TOO_LARGE);
    assert_int_equal(subscribe("a/name/of/17/octs", 1), SN_ANSWER_TOO_LARGE);
    assert_int_equal(
        sn_client_publish(&d.c, d.now, sn_topic_predefined(7), 1, false, sn_bytes(text, 292)),
        SN_ANSWER_TOO_LARGE);
    assert_int_equal(
        sn_client_publish(&d.c, d.now, sn_topic_predefined(0), 1, false, sn_bytes(text, 1)),
        SN_ANSWER_BAD_TOPIC);
    assert_int_equal(
        sn_client_publish(&d.c, d.now, sn_topic_short('a', '#'), 1, false, sn_bytes(text, 1)),
        SN_ANSWER_BAD_TOPIC);
    assert_int_equal(sn_client_set_will(&d.c, d.now, &long_will), SN_ANSWER_TOO_LARGE);
    assert_false(sn_client_is_busy(&d.c));
    d.cfg.kept_size = 2;
    assert_int_equal(subscribe("a/b", 1), SN_ANSWER_TOO_LARGE);
    assert_int_equal(publish("a/b", 1, "xyz"), SN_ANSWER_TOO_LARGE);
    d.cfg.kept_size = sizeof d.kept;
    expect("");
    /* The largest that fits: 3 octets of Length. */
    assert_int_equal(
        sn_client_publish(&d.c, d.now, sn_topic_predefined(7), 1, false, sn_bytes(text, 291)),
        SN_ANSWER_STARTED);
    assert_int_equal(d.len, 3 * 300 + 2);
    sn_client_cancel(&d.c);
    assert_int_equal(sn_client_publish(&d.c, d.now, sn_topic_predefined(7), 0, false,
                                       sn_bytes(text, SN_PACKET_MAX)),
                     SN_ANSWER_TOO_LARGE);
}

/* ---- gateways, 6.1 ---------------------------------------------------------- */

/* SN12C-6.1-1: from ADVERTISE the sender's address, from a neighbour's GWINFO the
 * one inside. */
static void gateways_are_learned_from_advertise_and_gwinfo(void **state)
{
    (void)state;
    start_with_gateways(0);
    hear_from("A", "05 00 01 03 84");
    expect("gateway 1 found A\n");
    hear_from("N", "04 02 02 42");
    expect("gateway 2 found B\n");
    hear_from("C", "03 02 03");
    expect("gateway 3 found C\n");
    hear_from("A", "05 00 01 03 84");
    hear_from("B", "03 02 02");
    hear_from("D", "05 00 04 03 84"); /* the table is full */
    expect("");
    assert_int_equal(sn_client_add_gateway(&d.c, sn_bytes_text("D")), SN_ANSWER_BUSY);
    assert_int_equal(sn_client_add_gateway(&d.c, sn_bytes_text("longer than an address is")),
                     SN_ANSWER_TOO_LARGE);
}

static void a_gateway_known_beforehand_gets_its_id_by_advertise(void **state)
{
    (void)state;
    start_with_gateways(0);
    assert_int_equal(sn_client_add_gateway(&d.c, sn_bytes_text("A")), SN_ANSWER_DONE);
    hear_from("N", "03 01 00"); /* cannot be answered without the id */
    pass(10000);
    expect("");
    hear_from("A", "05 00 01 03 84");
    expect("gateway 1 found A\n");
}

/* SN12C-6.1-2, SN12C-6.11-2: one gateway at a time; others are not listened to. */
static void only_the_current_gateway_is_listened_to(void **state)
{
    (void)state;
    start_with_gateways(2);
    sn_client_connect(&d.c, d.now);
    expect(">A 0A 04 04 01 00 3C 64 65 76 37\n");
    hear_from("B", "03 05 00");
    expect("");
    hear_from("A", "03 05 00");
    expect("connected\n");
    hear_from("B", "02 16");
    hear_from("B", "02 18");
    hear_from("B", "08 0C 01 00 07 00 00 7A");
    expect("");
    hear_from("A", "02 16");
    expect(">A 02 17\n");
}

/* SN12C-6.1-3 */
static void a_gateway_that_stops_advertising_is_forgotten(void **state)
{
    (void)state;
    start_with_gateways(0);
    hear_from("A", "05 00 01 03 84");
    hear_from("B", "03 02 02");
    expect("gateway 1 found A\ngateway 2 found B\n");
    assert_int_equal(sn_client_deadline(&d.c), d.now + 2700000);
    pass(2700000 - 1);
    expect("");
    pass(1);
    expect("gateway 1 gone A\n");
    sn_client_connect(&d.c, d.now);
    expect(">B 0A 04 04 01 00 3C 64 65 76 37\n");
}

static void the_gateway_in_use_is_kept_however_silent(void **state)
{
    (void)state;
    d.cfg.keepalive_s = 0;
    start_with_gateways(0);
    hear_from("A", "05 00 01 03 84");
    sn_client_connect(&d.c, d.now);
    hear_from("A", "03 05 00");
    forget_log();
    pass(3600000);
    expect("");
    assert_int_equal(state_of(), SN_CLIENT_ACTIVE);
}

/* SN12C-6.1-4: within T_SEARCHGW, and spread over it. */
static void searching_begins_after_a_random_delay(void **state)
{
    uint64_t earliest = SN_NEVER;
    uint64_t latest = 0;

    (void)state;
    d.cfg.gateways = d.gateways;
    d.cfg.gateways_max = 3;
    for (uint64_t seed = 0; seed < 200; seed++) {
        sn_client_init(&d.c, &d.cfg, seed);
        sn_client_connect(&d.c, 0);
        assert_int_equal(state_of(), SN_CLIENT_SEARCHING);
        const uint64_t at = sn_client_deadline(&d.c);
        assert_true(at <= 5000);
        earliest = at < earliest ? at : earliest;
        latest = at > latest ? at : latest;
    }
    expect("");
    assert_true(earliest < 250 && latest > 4750);
}

static void the_same_seed_gives_the_same_delay(void **state)
{
    (void)state;
    d.cfg.gateways = d.gateways;
    d.cfg.gateways_max = 3;
    sn_client_init(&d.c, &d.cfg, 77);
    sn_client_connect(&d.c, 0);
    const uint64_t at = sn_client_deadline(&d.c);
    sn_client_init(&d.c, &d.cfg, 77);
    sn_client_connect(&d.c, 0);
    assert_int_equal(sn_client_deadline(&d.c), at);
}

/* SN12C-6.1-6: 5 s, 10 s, 20 s, ... up to the limit. */
static void searching_is_repeated_at_growing_intervals(void **state)
{
    uint64_t last = 0;

    (void)state;
    d.cfg.search_radius = 2;
    d.cfg.search_max_ms = 30000;
    start_with_gateways(0);
    sn_client_connect(&d.c, d.now);
    static const uint64_t intervals[] = {5000, 10000, 20000, 30000, 30000};
    for (size_t i = 0; i < 6; i++) {
        const uint64_t at = sn_client_deadline(&d.c);
        if (i > 0) {
            assert_int_equal(at - last, intervals[i - 1]);
        }
        pass(at - d.now);
        expect("* 2 03 01 02\n");
        last = at;
    }
    hear_from("A", "03 02 09");
    expect("gateway 9 found A\n>A 0A 04 04 01 00 3C 64 65 76 37\n");
    hear_from("A", "03 05 00");
    hear_from("N", "03 01 02"); /* no longer our own search */
    d.cfg.keepalive_s = 0;
    pass(100000);
    expect("connected\n* 2 04 02 09 41\n");
}

/* SN12C-6.1-5 */
static void a_neighbours_search_replaces_our_own(void **state)
{
    (void)state;
    start_with_gateways(0);
    sn_client_connect(&d.c, d.now);
    const uint64_t planned = sn_client_deadline(&d.c) - d.now;
    assert_true(planned > 10);
    pass(planned - 10);
    hear_from("N", "03 01 01"); /* another radius: not the same search */
    assert_int_equal(sn_client_deadline(&d.c), d.now + 10);
    hear_from("N", "03 01 00");
    pass(4999);
    expect("");
    pass(1);
    expect("* 0 03 01 00\n");
}

/* SN12C-6.1-7, SN12C-6.1-8: after a random delay, with address and with the radius
 * of the question. */
static void a_neighbours_search_is_answered_by_who_knows_a_gateway(void **state)
{
    (void)state;
    start_with_gateways(0);
    hear_from("N", "03 01 02");
    pass(60000);
    expect("");
    hear_from("A", "05 00 01 03 84");
    expect("gateway 1 found A\n");
    hear_from("N", "03 01 02");
    assert_true(sn_client_deadline(&d.c) - d.now <= 5000);
    pass(5000);
    expect("* 2 04 02 01 41\n");
}

/* SN12C-6.1-7 */
static void nobody_answers_a_search_twice(void **state)
{
    (void)state;
    start_with_gateways(0);
    hear_from("A", "05 00 01 03 84");
    expect("gateway 1 found A\n");
    hear_from("N", "03 01 00");
    hear_from("A", "03 02 01");
    pass(60000);
    expect("");
}

/* ---- connecting, 6.2 and 6.3 ------------------------------------------------ */

/* SN12C-6.2-2: figure 3. SN12C-6.2-3: each question is answered as often as it comes. */
static void the_will_is_handed_over_when_asked_for(void **state)
{
    (void)state;
    start();
    assert_int_equal(sn_client_set_will(&d.c, d.now, &will), SN_ANSWER_DONE);
    sn_client_connect(&d.c, d.now);
    expect("> 0A 04 0C 01 00 3C 64 65 76 37\n");
    hear("02 06");
    expect("> 06 07 30 77 2F 74\n");
    hear("02 06");
    expect("> 06 07 30 77 2F 74\n");
    hear("02 08");
    expect("> 06 09 67 6F 6E 65\n");
    hear("02 08");
    expect("> 06 09 67 6F 6E 65\n");
    hear("03 05 00");
    expect("connected\n");
}

/* SN12C-6.13-1: WILLTOPIC and WILLMSG wait for their answer like everything else. */
static void the_dialogue_about_the_will_is_supervised(void **state)
{
    (void)state;
    start();
    sn_client_set_will(&d.c, d.now, &will);
    sn_client_connect(&d.c, d.now);
    hear("02 06");
    expect("> 0A 04 0C 01 00 3C 64 65 76 37\n> 06 07 30 77 2F 74\n");
    pass(10000);
    expect("> 06 07 30 77 2F 74\n");
    hear("02 08");
    expect("> 06 09 67 6F 6E 65\n");
    pass(40000);
    expect("> 06 09 67 6F 6E 65\n> 06 09 67 6F 6E 65\n> 06 09 67 6F 6E 65\n"
           "> 06 09 67 6F 6E 65\n");
    pass(10000);
    assert_memory_equal(d.log, "lost no answer to WILLMSG\n", 26);
}

/* SN12C-6.2-4 */
static void a_refusal_is_reported_and_tried_again_after_t_wait(void **state)
{
    (void)state;
    start();
    sn_client_connect(&d.c, d.now);
    hear("03 05 01");
    expect("> 0A 04 04 01 00 3C 64 65 76 37\nrefused 1 again 1360000\n");
    assert_int_equal(publish("a/b", 1, "x"), SN_ANSWER_NOT_CONNECTED);
    pass(359999);
    expect("");
    pass(1);
    expect("> 0A 04 04 01 00 3C 64 65 76 37\n");
    hear("03 05 83");
    expect("refused 131 again 1720000\n");
}

static void a_refused_client_tries_the_next_gateway(void **state)
{
    (void)state;
    start_with_gateways(2);
    sn_client_connect(&d.c, d.now);
    hear_from("A", "03 05 03");
    forget_log();
    pass(360000);
    expect(">B 0A 04 04 01 00 3C 64 65 76 37\n");
}

static void without_reconnecting_a_refusal_is_the_end(void **state)
{
    (void)state;
    d.cfg.reconnect_ms = 0;
    start();
    sn_client_connect(&d.c, d.now);
    hear("03 05 03");
    expect("> 0A 04 04 01 00 3C 64 65 76 37\nrefused 3 again never\n");
    assert_int_equal(sn_client_deadline(&d.c), SN_NEVER);
    assert_int_equal(state_of(), SN_CLIENT_IDLE);
}

/* SN12C-6.3-1 */
static void only_the_will_can_be_deleted(void **state)
{
    (void)state;
    d.cfg.clean = false;
    start();
    sn_client_set_will(&d.c, d.now, NULL);
    sn_client_connect(&d.c, d.now);
    hear("02 06");
    expect("> 0A 04 08 01 00 3C 64 65 76 37\n> 02 07\n");
    hear("02 08"); /* some gateways go on asking */
    expect("> 02 09\n");
    hear("03 05 00");
    expect("connected\n");
    hear("02 18");
    pass(1000); /* connects again, and has nothing to delete any more */
    assert_non_null(strstr(d.log, "> 0A 04 00 01 00 3C 64 65 76 37\n"));
}

/* SN12C-6.4-1 */
static void a_new_will_is_told_in_two_steps(void **state)
{
    (void)state;
    connected();
    assert_int_equal(sn_client_set_will(&d.c, d.now, &will), SN_ANSWER_STARTED);
    expect("> 06 1A 30 77 2F 74\n");
    assert_int_equal(sn_client_set_will(&d.c, d.now, NULL), SN_ANSWER_BUSY);
    pass(10000);
    expect("> 06 1A 30 77 2F 74\n");
    hear("03 1D 00"); /* not asked yet */
    expect("");
    hear("03 1B 00");
    expect("> 06 1C 67 6F 6E 65\n");
    hear("03 1B 00"); /* the answer to the copy */
    expect("");
    pass(10000);
    expect("> 06 1C 67 6F 6E 65\n");
    hear("03 1D 00");
    expect("will accepted\n");
    sn_client_set_will(&d.c, d.now, NULL);
    expect("> 02 1A\n");
    hear("03 1B 00");
    expect("will accepted\n");
    hear("02 18");
    pass(1000);
    expect("lost left\n> 0A 04 04 01 00 3C 64 65 76 37\n");
}

static void a_will_is_not_changed_in_the_middle_of_a_dialogue(void **state)
{
    const struct sn_client_will qos_3 = {.topic = will.topic, .qos = 3};
    const struct sn_client_will wildcard = {.topic = {(const uint8_t *)"#", 1}};

    (void)state;
    start();
    assert_int_equal(sn_client_set_will(&d.c, d.now, &qos_3), SN_ANSWER_BAD_QOS);
    assert_int_equal(sn_client_set_will(&d.c, d.now, &wildcard), SN_ANSWER_BAD_TOPIC);
    sn_client_connect(&d.c, d.now);
    assert_int_equal(sn_client_set_will(&d.c, d.now, &will), SN_ANSWER_BUSY);
    hear("03 05 00");
    publish("a/b", 1, "x");
    assert_int_equal(sn_client_set_will(&d.c, d.now, &will), SN_ANSWER_BUSY);
    sn_client_cancel(&d.c);
    sn_client_set_will(&d.c, d.now, &will);
    hear("02 18");
    assert_int_equal(sn_client_set_will(&d.c, d.now, NULL), SN_ANSWER_BUSY);
}

static void a_will_that_is_rejected_comes_with_the_next_connect(void **state)
{
    (void)state;
    connected();
    sn_client_set_will(&d.c, d.now, &will);
    hear("03 1B 03");
    expect("> 06 1A 30 77 2F 74\nwill rejected 3\n");
    hear("02 18");
    pass(1000);
    assert_non_null(strstr(d.log, "> 0A 04 0C 01 00 3C 64 65 76 37\n"));
}

static void a_will_that_came_with_connect_needs_no_update(void **state)
{
    (void)state;
    connected();
    sn_client_set_will(&d.c, d.now, &will);
    hear("02 18");
    pass(1000);
    forget_log();
    hear("02 06");
    hear("02 08");
    hear("03 05 00");
    expect("> 06 07 30 77 2F 74\n> 06 09 67 6F 6E 65\nwill accepted\nconnected\n");
}

/* ---- topic names, 6.5 ------------------------------------------------------- */

/* SN12C-6.5-1, SN12C-6.5-2 */
static void a_name_is_registered_once_before_it_is_used(void **state)
{
    (void)state;
    connected();
    assert_int_equal(publish("a/b", 1, "x"), SN_ANSWER_STARTED);
    expect("> 09 0A 00 00 00 01 61 2F 62\n");
    assert_int_equal(publish("a/c", 1, "y"), SN_ANSWER_BUSY);
    assert_int_equal(publish("a/c", 0, "y"), SN_ANSWER_BUSY);
    expect("");
    hear("07 0B 00 09 00 02 00"); /* for another REGISTER */
    expect("");
    hear("07 0B 12 34 00 01 00");
    expect("> 08 0C 20 12 34 00 02 78\n");
    hear("07 0D 12 34 00 02 00");
    expect("published accepted\n");
    publish("a/b", 1, "y");
    expect("> 08 0C 20 12 34 00 03 79\n");
}

static void an_impossible_id_in_regack_is_not_taken(void **state)
{
    (void)state;
    connected();
    publish("a/b", 1, "x");
    hear("07 0B FF FF 00 01 00");
    hear("07 0B 00 00 00 01 00");
    expect("> 09 0A 00 00 00 01 61 2F 62\n");
    assert_int_equal(d.discarded, 2);
}

/* SN12C-6.5-3 */
static void a_congested_register_waits_for_t_wait(void **state)
{
    (void)state;
    d.cfg.keepalive_s = 0;
    connected();
    publish("a/b", 1, "x");
    hear("07 0B 00 00 00 01 01");
    expect("> 09 0A 00 00 00 01 61 2F 62\ncongested REGISTER until 1360000\n");
    pass(359999);
    expect("");
    pass(1);
    expect("> 09 0A 00 00 00 02 61 2F 62\n");
    hear("07 0B 00 05 00 02 00");
    expect("> 08 0C 20 00 05 00 03 78\n");
}

static void a_refused_name_ends_the_publication(void **state)
{
    (void)state;
    connected();
    publish("a/b", 1, "x");
    hear("07 0B 00 00 00 01 03");
    expect("> 09 0A 00 00 00 01 61 2F 62\npublished rejected 3\n");
    assert_false(sn_client_is_busy(&d.c));
}

/* SN12C-6.5-4 */
static void a_name_from_the_gateway_is_acknowledged_and_remembered(void **state)
{
    (void)state;
    connected();
    hear("09 0A 00 05 00 01 61 2F 62");
    expect("> 07 0B 00 05 00 01 00\n");
    hear("09 0A 00 05 00 01 61 2F 62");
    expect("> 07 0B 00 05 00 01 00\n");
    hear("08 0C 00 00 05 00 00 78");
    expect("message a/b qos 0 \"x\"\n");
    publish("a/b", 0, "y"); /* and it is the id for our own messages, too */
    expect("> 08 0C 00 00 05 00 00 79\n");
}

/* SN12C-6.5-5 */
static void the_newer_pair_of_id_and_name_wins(void **state)
{
    (void)state;
    connected();
    hear("09 0A 00 05 00 01 61 2F 62");
    hear("09 0A 00 05 00 02 61 2F 63"); /* 5 is now a/c */
    hear("08 0C 00 00 05 00 00 78");
    expect("> 07 0B 00 05 00 01 00\n> 07 0B 00 05 00 02 00\nmessage a/c qos 0 \"x\"\n");
    hear("09 0A 00 06 00 03 61 2F 63"); /* a/c is now 6 */
    hear("08 0C 00 00 06 00 00 78");
    hear("08 0C 00 00 05 00 00 78");
    expect("> 07 0B 00 06 00 03 00\nmessage a/c qos 0 \"x\"\n> 07 0D 00 05 00 00 02\n");
}

/* SN12C-6.10-2: a name that is too long or not a name, and an id that cannot be. */
static void a_name_that_cannot_be_kept_is_refused(void **state)
{
    (void)state;
    connected();
    hear("17 0A 00 05 00 01 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61");
    expect("> 07 0B 00 05 00 01 03\n");
    hear("09 0A 00 05 00 02 61 2F 2B");
    expect("> 07 0B 00 05 00 02 03\n");
    hear("09 0A FF FF 00 03 61 2F 62");
    expect("> 07 0B FF FF 00 03 02\n");
}

/* The table is a cache: what was used last stays, and is learned again if needed. */
static void a_full_table_forgets_the_name_not_used_for_longest(void **state)
{
    (void)state;
    connected();
    hear("07 0A 00 01 00 01 61");
    hear("07 0A 00 02 00 02 62");
    hear("07 0A 00 03 00 03 63");
    hear("08 0C 00 00 01 00 00 78");
    hear("07 0A 00 04 00 04 64");
    expect("> 07 0B 00 01 00 01 00\n> 07 0B 00 02 00 02 00\n> 07 0B 00 03 00 03 00\n"
           "message a qos 0 \"x\"\n> 07 0B 00 04 00 04 00\n");
    hear("08 0C 00 00 01 00 00 78");
    hear("08 0C 00 00 03 00 00 78");
    hear("08 0C 00 00 04 00 00 78");
    hear("08 0C 00 00 02 00 00 78");
    expect("message a qos 0 \"x\"\nmessage c qos 0 \"x\"\nmessage d qos 0 \"x\"\n"
           "> 07 0D 00 02 00 00 02\n");
}

static void the_name_of_the_open_message_is_not_forgotten(void **state)
{
    (void)state;
    d.cfg.topics_max = 1;
    connected();
    publish("a/b", 1, "x");
    hear("07 0A 00 01 00 01 61");
    expect("> 09 0A 00 00 00 01 61 2F 62\n> 07 0B 00 01 00 01 01\n");
    hear("07 0B 00 05 00 01 00");
    expect("> 08 0C 20 00 05 00 02 78\n");
}

/* ---- publishing, 6.6 to 6.8 ------------------------------------------------- */

/* SN12C-6.6-1, SN12C-6.6-6, SN12C-6.13-1: the copy has DUP and the same MsgId. */
static void one_publish_is_open_and_repeated_with_dup(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 1, "x");
    expect("> 08 0C 20 00 05 00 01 78\n");
    assert_int_equal(publish("a/b", 2, "y"), SN_ANSWER_BUSY);
    assert_int_equal(publish("a/b", 0, "z"), SN_ANSWER_DONE); /* needs no answer */
    expect("> 08 0C 00 00 05 00 00 7A\n");
    pass(10000);
    expect("> 08 0C A0 00 05 00 01 78\n");
    hear("07 0D 00 05 00 02 00"); /* not the answer */
    expect("");
    hear("04 0F 00 01"); /* an answer to QoS 2, not to this */
    hear("04 0E 00 01");
    expect("> 04 10 00 01\n");
    hear("07 0D 00 05 00 01 00");
    expect("published accepted\n");
    hear("07 0D 00 05 00 01 00"); /* the answer to the copy */
    expect("");
    publish("a/b", 1, "x");
    expect("> 08 0C 20 00 05 00 02 78\n");
}

static void each_name_has_its_own_id(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/c", 1, "y");
    hear("07 0B 00 06 00 01 00");
    expect("> 09 0A 00 00 00 01 61 2F 63\n> 08 0C 20 00 06 00 02 79\n");
    hear("07 0D 00 06 00 02 00");
    publish("a/b", 1, "x");
    expect("published accepted\n> 08 0C 20 00 05 00 03 78\n");
}

static void keep_mid(const struct sn_client_event *e)
{
    if (e->type == SN_EVENT_PUBLISHED) {
        d.mid = e->done.mid;
    }
}

static void the_result_names_the_message_id(void **state)
{
    (void)state;
    connected_and_registered();
    d.then = keep_mid;
    publish("a/b", 1, "x");
    hear("07 0D 00 05 00 01 00");
    assert_int_equal(d.mid, 1);
    publish("a/c", 0, "x");
    hear("07 0B 00 06 00 02 00");
    assert_int_equal(d.mid, 0);
}

static void an_id_that_went_to_another_name_is_not_used_for_a_repeat(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 1, "x");
    hear("09 0A 00 05 00 01 61 2F 63");
    expect("> 08 0C 20 00 05 00 01 78\n> 07 0B 00 05 00 01 00\n");
    pass(10000);
    expect("> 09 0A 00 00 00 02 61 2F 62\n");
}

static void retain_is_passed_on(void **state)
{
    (void)state;
    connected();
    sn_client_publish(&d.c, d.now, sn_topic_predefined(7), 1, true, sn_bytes_text("x"));
    expect("> 08 0C 31 00 07 00 01 78\n");
    hear("08 0C 11 00 07 00 00 7A");
    expect("message #7 qos 0 retained \"z\"\n");
}

/* SN12C-6.6-2 */
static void an_unknown_id_is_registered_again_and_the_message_repeated_once(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 1, "x");
    hear("07 0D 00 05 00 01 02");
    expect("> 08 0C 20 00 05 00 01 78\n> 09 0A 00 00 00 02 61 2F 62\n");
    hear("07 0D 00 05 00 01 02"); /* the answer to a copy: it is over */
    expect("");
    hear("07 0B 00 06 00 02 00");
    expect("> 08 0C 20 00 06 00 03 78\n");
    hear("07 0D 00 06 00 03 02");
    expect("published rejected 2\n");
    publish("a/b", 1, "y"); /* the next message has its own second chance */
    hear("07 0D 00 06 00 04 02");
    expect("> 08 0C 20 00 06 00 04 79\n> 09 0A 00 00 00 05 61 2F 62\n");
}

/* SN12C-6.6-3 */
static void congestion_stops_publishing_for_t_wait(void **state)
{
    (void)state;
    d.cfg.keepalive_s = 0;
    connected_and_registered();
    publish("a/b", 1, "x");
    hear("07 0D 00 05 00 01 01");
    expect("> 08 0C 20 00 05 00 01 78\ncongested PUBLISH until 1360000\n");
    assert_int_equal(sn_client_deadline(&d.c), 1360000);
    assert_int_equal(publish("a/b", 0, "y"), SN_ANSWER_BUSY);
    pass(359999);
    expect("");
    pass(1);
    expect("> 08 0C 20 00 05 00 02 78\n"); /* accepted by nobody before: no DUP */
    hear("07 0D 00 05 00 02 00");
    expect("published accepted\n");
}

/* One copy was refused and another accepted: it is one message all the same. */
static void a_congested_qos_2_message_keeps_its_id(void **state)
{
    (void)state;
    d.cfg.keepalive_s = 0;
    connected_and_registered();
    publish("a/b", 2, "x");
    expect("> 08 0C 40 00 05 00 01 78\n");
    hear("07 0D 00 05 00 01 01");
    expect("congested PUBLISH until 1360000\n");
    pass(360000);
    expect("> 08 0C C0 00 05 00 01 78\n");
    hear("07 0D 00 05 00 01 01");
    expect("congested PUBLISH until 1720000\n");
    hear("04 0F 00 01"); /* to an earlier copy */
    expect("> 04 10 00 01\n");
    hear("04 0E 00 01");
    expect("published accepted\n");
}

/* SN12C-6.6-4 */
static void qos_0_and_2_may_be_refused_by_puback(void **state)
{
    (void)state;
    d.cfg.keepalive_s = 0;
    connected_and_registered();
    publish("a/b", 0, "x");
    hear("07 0D 00 05 00 00 02");
    expect("> 08 0C 00 00 05 00 00 78\ndropped tid 5 code 2\n");
    publish("a/b", 2, "x"); /* the id was forgotten */
    expect("> 09 0A 00 00 00 01 61 2F 62\n");
    hear("07 0B 00 05 00 01 00");
    expect("> 08 0C 40 00 05 00 02 78\n");
    hear("07 0D 00 05 00 02 00"); /* QoS 2 is accepted by PUBREC only */
    expect("");
    hear("07 0D 00 05 00 02 03");
    expect("published rejected 3\n");
    publish("a/b", 0, "x");
    hear("07 0D 00 05 00 00 01");
    expect("> 08 0C 00 00 05 00 00 78\ndropped tid 5 code 1\n");
    publish("a/b", 0, "y"); /* waits */
    expect("");
    pass(360000);
    expect("> 08 0C 00 00 05 00 00 79\npublished accepted\n");
}

/* SN12C-6.6-5, SN12C-6.13-1 */
static void qos_2_runs_through_pubrec_and_pubrel_to_pubcomp(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 2, "x");
    expect("> 08 0C 40 00 05 00 01 78\n");
    pass(10000);
    expect("> 08 0C C0 00 05 00 01 78\n");
    pass(5000);
    hear("04 0F 00 07"); /* of another message: let that one go, and wait on */
    expect("> 04 10 00 07\n");
    hear("04 0F 00 01");
    expect("> 04 10 00 01\n");
    pass(9999);
    expect("");
    pass(1);
    expect("> 04 10 00 01\n");
    hear("04 0F 00 01"); /* a copy of PUBREC: our PUBREL was lost */
    expect("> 04 10 00 01\n");
    assert_int_equal(publish("a/b", 2, "y"), SN_ANSWER_BUSY);
    hear("04 0E 00 01");
    expect("published accepted\n");
    hear("04 0E 00 01");
    expect("");
    hear("04 0F 00 09"); /* from before a restart of ours: let it go */
    expect("> 04 10 00 09\n");
}

/* SN12C-6.6-5 */
static void a_qos_2_message_is_delivered_once(void **state)
{
    (void)state;
    connected();
    hear("08 0C 41 00 07 00 01 78");
    expect("message #7 qos 2 \"x\"\n> 04 0F 00 01\n");
    hear("08 0C C1 00 07 00 01 78");
    expect("> 04 0F 00 01\n");
    hear("04 10 00 01");
    expect("> 04 0E 00 01\n");
    hear("04 10 00 01");
    expect("> 04 0E 00 01\n");
    hear("08 0C 41 00 07 00 01 79"); /* the id is free again */
    expect("message #7 qos 2 \"y\"\n> 04 0F 00 01\n");
}

static void a_repeat_that_pubrel_has_overtaken_is_no_new_message(void **state)
{
    (void)state;
    connected();
    hear("08 0C 41 00 07 00 01 78");
    hear("04 10 00 01");
    expect("message #7 qos 2 \"x\"\n> 04 0F 00 01\n> 04 0E 00 01\n");
    hear("08 0C C1 00 07 00 01 78");
    expect("> 04 0F 00 01\n");
    hear("04 10 00 01");
    expect("> 04 0E 00 01\n");
    hear("08 0C C1 00 07 00 02 79"); /* its first copy was lost */
    expect("message #7 qos 2 \"y\"\n> 04 0F 00 02\n");
}

static void in_a_new_session_the_same_message_id_is_a_new_message(void **state)
{
    (void)state;
    connected();
    hear("08 0C 41 00 07 00 01 78");
    hear("02 18");
    pass(1000);
    hear("03 05 00");
    forget_log();
    hear("08 0C 41 00 07 00 01 79");
    expect("message #7 qos 2 \"y\"\n> 04 0F 00 01\n");
}

static void more_open_qos_2_messages_than_places_are_not_answered(void **state)
{
    (void)state;
    connected();
    hear("08 0C 41 00 07 00 01 61");
    hear("08 0C 41 00 07 00 02 62");
    hear("08 0C 41 00 07 00 03 63");
    hear("08 0C 41 00 07 00 04 64");
    forget_log();
    hear("08 0C 41 00 07 00 05 65");
    expect("");
    assert_int_equal(d.discarded, 1);
    hear("04 10 00 02");
    hear("08 0C C1 00 07 00 05 65");
    expect("> 04 0E 00 02\nmessage #7 qos 2 \"e\"\n> 04 0F 00 05\n");
}

/* SN12C-6.7-1 */
static void a_predefined_id_is_not_cured_by_registering(void **state)
{
    (void)state;
    connected();
    sn_client_publish(&d.c, d.now, sn_topic_predefined(7), 1, false, sn_bytes_text("x"));
    hear("07 0D 00 07 00 01 02");
    expect("> 08 0C 21 00 07 00 01 78\npublished rejected 2\n");
}

/* SN12C-6.8-1 */
static void qos_minus_1_needs_neither_connection_nor_name(void **state)
{
    (void)state;
    start();
    assert_int_equal(
        sn_client_publish(&d.c, d.now, sn_topic_predefined(7), -1, false, sn_bytes_text("x")),
        SN_ANSWER_DONE);
    expect("> 08 0C 61 00 07 00 00 78\n");
    assert_int_equal(
        sn_client_publish(&d.c, d.now, sn_topic_short('A', 'B'), -1, false, sn_bytes_text("x")),
        SN_ANSWER_DONE);
    expect("> 08 0C 62 41 42 00 00 78\n");
    assert_int_equal(publish("a/b", -1, "x"), SN_ANSWER_BAD_TOPIC);
    assert_int_equal(sn_client_deadline(&d.c), SN_NEVER);
    hear("07 0D 00 07 00 00 02");
    expect("dropped tid 7 code 2\n");
}

static void a_message_may_be_cancelled(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 1, "x");
    sn_client_cancel(&d.c);
    sn_client_cancel(&d.c);
    expect("> 08 0C 20 00 05 00 01 78\npublished cancelled\n");
    hear("07 0D 00 05 00 01 00");
    expect("");
}

/* ---- subscribing, 6.9 and 6.10 ---------------------------------------------- */

/* SN12C-6.9-1, SN12C-6.13-1 */
static void one_subscription_is_open_at_a_time(void **state)
{
    (void)state;
    connected();
    assert_int_equal(subscribe("a/b", 1), SN_ANSWER_STARTED);
    expect("> 08 12 20 00 01 61 2F 62\n");
    assert_int_equal(subscribe("a/c", 1), SN_ANSWER_BUSY);
    assert_int_equal(sn_client_unsubscribe(&d.c, d.now, sn_topic_named("a/c")), SN_ANSWER_BUSY);
    pass(10000);
    expect("> 08 12 20 00 01 61 2F 62\n");
    hear("08 13 20 00 05 00 02 00"); /* not the answer */
    expect("");
    hear("08 13 20 00 05 00 01 00");
    expect("subscribed accepted qos 1\n");
    hear("08 0C 20 00 05 00 09 78");
    expect("message a/b qos 1 \"x\"\n> 07 0D 00 05 00 09 00\n");
    sn_client_unsubscribe(&d.c, d.now, sn_topic_named("a/b"));
    expect("> 08 14 00 00 02 61 2F 62\n");
    pass(10000);
    expect("> 08 14 00 00 02 61 2F 62\n");
    hear("04 15 00 03");
    expect("");
    hear("04 15 00 02");
    expect("unsubscribed accepted\n");
}

/* SN12C-6.9-2, SN12C-6.9-4: the id in the SUBACK of a wildcard means nothing. */
static void the_names_of_a_wildcard_come_by_register(void **state)
{
    (void)state;
    connected();
    subscribe("a/+", 2);
    hear("08 13 40 00 05 00 01 00");
    expect("> 08 12 40 00 01 61 2F 2B\nsubscribed accepted qos 2\n");
    hear("08 0C 00 00 05 00 00 78");
    expect("> 07 0D 00 05 00 00 02\n");
    hear("09 0A 00 06 00 01 61 2F 62");
    hear("08 0C 00 00 06 00 00 78");
    expect("> 07 0B 00 06 00 01 00\nmessage a/b qos 0 \"x\"\n");
}

/* SN12C-6.9-2 */
static void a_suback_without_an_id_teaches_none(void **state)
{
    (void)state;
    connected();
    subscribe("a/b", 0);
    hear("08 13 00 00 00 00 01 00");
    hear("08 0C 00 00 00 00 00 78");
    expect("> 08 12 00 00 01 61 2F 62\nsubscribed accepted qos 0\n> 07 0D 00 00 00 00 02\n");
}

/* SN12C-6.9-4 */
static void the_id_in_the_suback_of_a_short_topic_means_nothing(void **state)
{
    (void)state;
    connected();
    sn_client_subscribe(&d.c, d.now, sn_topic_short('A', 'B'), 1);
    hear("08 13 20 12 34 00 01 00");
    expect("> 07 12 22 00 01 41 42\nsubscribed accepted qos 1\n");
    hear("08 0C 02 41 42 00 00 78");
    hear("08 0C 00 12 34 00 00 78");
    expect("message AB qos 0 \"x\"\n> 07 0D 12 34 00 00 02\n");
    sn_client_subscribe(&d.c, d.now, sn_topic_predefined(7), 0);
    expect("> 07 12 01 00 02 00 07\n");
}

/* SN12C-6.9-3 */
static void a_congested_subscription_waits_for_t_wait(void **state)
{
    (void)state;
    d.cfg.keepalive_s = 0;
    connected();
    subscribe("a/b", 1);
    hear("08 13 00 00 00 00 01 01");
    expect("> 08 12 20 00 01 61 2F 62\ncongested SUBSCRIBE until 1360000\n");
    pass(359999);
    expect("");
    pass(1);
    expect("> 08 12 20 00 02 61 2F 62\n");
    hear("08 13 00 00 00 00 02 02");
    expect("subscribed rejected 2\n");
}

/* SN12C-6.10-1: at every QoS, with TopicId and MsgId as they came. */
static void a_message_with_an_unknown_id_is_refused(void **state)
{
    (void)state;
    connected();
    hear("08 0C 00 12 34 00 00 78");
    expect("> 07 0D 12 34 00 00 02\n");
    hear("08 0C 20 12 34 00 08 78");
    expect("> 07 0D 12 34 00 08 02\n");
    hear("08 0C 40 12 34 00 09 78");
    expect("> 07 0D 12 34 00 09 02\n");
    hear("08 0C 20 FF FF 00 0A 78");
    expect("> 07 0D FF FF 00 0A 02\n");
}

/* ---- keep-alive and loss, 6.11 to 6.13 -------------------------------------- */

/* SN12C-6.11-1: 50 s after the last message, so that a repeat comes within 60 s. */
static void the_gateway_hears_from_us_within_the_keep_alive_period(void **state)
{
    (void)state;
    connected_and_registered();
    pass(49999);
    expect("");
    pass(1);
    expect("> 02 16\n");
    hear("02 17");
    pass(30000);
    publish("a/b", 1, "x");
    hear("07 0D 00 05 00 01 00");
    expect("> 08 0C 20 00 05 00 01 78\npublished accepted\n");
    pass(49999);
    expect("");
    pass(1);
    expect("> 02 16\n");
}

/* What we only send proves nothing: the gateway may be gone for long. */
static void who_only_sends_still_asks_whether_the_gateway_is_there(void **state)
{
    (void)state;
    connected_and_registered();
    for (int i = 0; i < 5; i++) {
        publish("a/b", 0, "x");
        pass(10000);
    }
    assert_non_null(strstr(d.log, "> 02 16\n"));
}

static void without_keep_alive_there_is_no_pingreq(void **state)
{
    (void)state;
    d.cfg.keepalive_s = 0;
    connected();
    pass(86400000);
    expect("");
    assert_int_equal(sn_client_ping(&d.c, d.now), SN_ANSWER_STARTED);
    assert_int_equal(sn_client_ping(&d.c, d.now), SN_ANSWER_BUSY);
    expect("> 02 16\n");
}

/* SN12C-6.11-2 */
static void a_pingreq_of_the_gateway_is_answered(void **state)
{
    (void)state;
    connected();
    hear("02 16");
    expect("> 02 17\n");
}

/* SN12C-6.11-3, SN12C-6.13-2: another gateway first, then the former one. */
static void after_n_retry_repeats_the_gateway_is_lost_and_the_next_one_tried(void **state)
{
    (void)state;
    start_with_gateways(2);
    sn_client_connect(&d.c, d.now);
    hear_from("A", "03 05 00");
    forget_log();
    pass(50000 + 4 * 10000);
    expect(">A 02 16\n>A 02 16\n>A 02 16\n>A 02 16\n>A 02 16\n");
    pass(9999);
    expect("");
    pass(1);
    expect("lost no answer to PINGREQ\n");
    pass(1000);
    expect(">B 0A 04 04 01 00 3C 64 65 76 37\n");
    pass(40000);
    forget_log();
    pass(10000);
    expect("lost no answer to CONNECT\n");
    pass(2000);
    expect(">A 0A 04 04 01 00 3C 64 65 76 37\n");
}

/* SN12C-6.13-1: every request, with its own repeats. */
static void every_request_is_supervised(void **state)
{
    (void)state;
    connected();
    d.cfg.retries = 1;
    d.cfg.reconnect_ms = 0;
    publish("a/b", 1, "x");
    pass(20000);
    expect("> 09 0A 00 00 00 01 61 2F 62\n> 09 0A 00 00 00 01 61 2F 62\npublished unknown\n"
           "lost no answer to REGISTER\n");
    connect_again();
    sn_client_disconnect(&d.c, d.now);
    pass(20000);
    expect("> 02 18\n> 02 18\ndisconnected\n");
    sn_client_connect(&d.c, d.now);
    pass(20000);
    expect("> 0A 04 04 01 00 3C 64 65 76 37\n> 0A 04 04 01 00 3C 64 65 76 37\n"
           "lost no answer to CONNECT\n");
    connect_again();
    sn_client_sleep(&d.c, d.now, 300);
    pass(20000);
    expect("> 04 18 01 2C\n> 04 18 01 2C\nlost no answer to DISCONNECT\n");
    assert_int_equal(state_of(), SN_CLIENT_IDLE);
}

static void the_wait_for_an_answer_grows(void **state)
{
    (void)state;
    d.cfg.retry_ms = 1000;
    d.cfg.retry_max_ms = 4000;
    start();
    sn_client_connect(&d.c, d.now);
    pass(0);
    const uint64_t began = d.now;
    static const uint64_t due[] = {1000, 3000, 7000, 11000, 15000};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(sn_client_deadline(&d.c), began + due[i]);
        pass(began + due[i] - d.now);
    }
}

static void on_a_slow_link_the_wait_begins_when_the_frame_has_left(void **state)
{
    (void)state;
    start();
    sn_client_connect(&d.c, d.now);
    pass(8000);
    sn_client_sent(&d.c, d.now);
    assert_int_equal(sn_client_deadline(&d.c), d.now + 10000);
    hear("03 05 00");
    publish("a/b", 1, "x");
    pass(8000);
    sn_client_sent(&d.c, d.now);
    assert_int_equal(sn_client_deadline(&d.c), d.now + 10000);
}

static void an_acknowledgement_that_leaves_puts_no_repeat_off(void **state)
{
    (void)state;
    start();
    sn_client_connect(&d.c, d.now);
    hear("03 05 00");
    publish("a/b", 1, "x");
    const uint64_t due = sn_client_deadline(&d.c);
    pass(8000);
    hear("08 0C 21 00 01 00 05 78");
    sn_client_sent(&d.c, d.now);
    assert_int_equal(sn_client_deadline(&d.c), due);
}

/* SN12C-6.12-1 */
static void disconnect_waits_for_its_answer(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 1, "x");
    assert_int_equal(sn_client_disconnect(&d.c, d.now), SN_ANSWER_STARTED);
    expect("> 08 0C 20 00 05 00 01 78\n> 02 18\npublished cancelled\n");
    assert_int_equal(state_of(), SN_CLIENT_CLOSING);
    hear("02 18");
    expect("disconnected\n");
    assert_int_equal(sn_client_disconnect(&d.c, d.now), SN_ANSWER_DONE);
    assert_int_equal(sn_client_deadline(&d.c), SN_NEVER);
    connect_again();
    sn_client_ping(&d.c, d.now);
    sn_client_disconnect(&d.c, d.now);
    hear("02 18");
    connect_again();
    pass(50000);
    expect("> 02 16\n");
}

static void between_two_attempts_disconnect_needs_no_frame(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 1, "x");
    hear("02 18");
    sn_client_disconnect(&d.c, d.now);
    expect("> 08 0C 20 00 05 00 01 78\nlost left\npublished cancelled\ndisconnected\n");
    assert_int_equal(sn_client_deadline(&d.c), SN_NEVER);
    start_with_gateways(0);
    sn_client_connect(&d.c, d.now);
    sn_client_disconnect(&d.c, d.now);
    expect("disconnected\n");
    assert_int_equal(sn_client_deadline(&d.c), SN_NEVER);
}

/* SN12C-6.12-2 */
static void after_an_unsolicited_disconnect_the_client_connects_again(void **state)
{
    (void)state;
    connected();
    hear("02 18");
    expect("lost left\n");
    assert_int_equal(state_of(), SN_CLIENT_PAUSE);
    assert_in_range(sn_client_deadline(&d.c), d.now + 500, d.now + 1000);
    pass(1000);
    expect("> 0A 04 04 01 00 3C 64 65 76 37\n");
    hear("03 05 00");
    expect("connected\n");
}

/* A fleet must not come back in step. */
static void the_pause_before_reconnecting_doubles_and_is_random(void **state)
{
    (void)state;
    d.cfg.retries = 0;
    d.cfg.reconnect_max_ms = 4000;
    start();
    sn_client_connect(&d.c, d.now);
    uint64_t sum = 0;
    static const uint64_t longest[] = {1000, 2000, 4000, 4000};
    for (size_t i = 0; i < 4; i++) {
        pass(sn_client_deadline(&d.c) - d.now);
        assert_int_equal(state_of(), SN_CLIENT_PAUSE);
        const uint64_t pause = sn_client_deadline(&d.c) - d.now;
        assert_in_range(pause, longest[i] / 2, longest[i]);
        sum += longest[i] - pause;
        pass(pause);
    }
    assert_true(sum > 0);
    hear("03 05 00"); /* after a success it begins anew */
    hear("02 18");
    assert_in_range(sn_client_deadline(&d.c) - d.now, 500, 1000);
}

static void an_open_message_goes_on_after_a_reconnect(void **state)
{
    (void)state;
    d.cfg.clean = false;
    connected_and_registered();
    publish("a/b", 2, "x");
    hear("02 18");
    expect("> 08 0C 40 00 05 00 01 78\nlost left\n");
    assert_true(sn_client_is_busy(&d.c));
    pass(1000);
    hear("03 05 00");
    expect("> 0A 04 00 01 00 3C 64 65 76 37\n> 08 0C C0 00 05 00 01 78\nconnected\n");
    hear("04 0F 00 01");
    hear("02 18");
    pass(2000);
    hear("03 05 00");
    expect("> 04 10 00 01\nlost left\n> 0A 04 00 01 00 3C 64 65 76 37\n> 04 10 00 01\n"
           "connected\n");
    hear("04 0E 00 01");
    expect("published accepted\n");
}

/* A clean session has forgotten the MsgId: a second copy would be a second message. */
static void half_a_qos_2_exchange_does_not_outlive_a_clean_session(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 2, "x");
    hear("02 18");
    pass(1000);
    hear("03 05 00");
    expect("> 08 0C 40 00 05 00 01 78\nlost left\n> 0A 04 04 01 00 3C 64 65 76 37\n"
           "published unknown\nconnected\n");
    publish("a/b", 1, "y"); /* the id is forgotten, too */
    expect("> 09 0A 00 00 00 02 61 2F 62\n");
}

static void at_qos_1_the_message_is_sent_again_in_a_clean_session(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 1, "x");
    hear("02 18");
    pass(1000);
    forget_log();
    hear("03 05 00");
    expect("> 09 0A 00 00 00 02 61 2F 62\nconnected\n");
    hear("07 0B 00 08 00 02 00");
    expect("> 08 0C 20 00 08 00 03 78\n");
}

/* Ids are the gateway's own: at another one the same number is another name. */
static void the_ids_of_one_gateway_are_not_used_at_another(void **state)
{
    (void)state;
    d.cfg.clean = false;
    d.cfg.retries = 0;
    start_with_gateways(2);
    sn_client_connect(&d.c, d.now);
    hear_from("A", "03 05 00");
    hear_from("A", "09 0A 00 05 00 01 61 2F 62");
    publish("a/b", 1, "x");
    pass(10000);
    pass(1000);
    forget_log();
    hear_from("B", "03 05 00");
    expect(">B 09 0A 00 00 00 02 61 2F 62\nconnected\n");
}

/* The place in the table of gateways is the same, the gateway is not. */
static void the_ids_of_a_forgotten_gateway_are_forgotten(void **state)
{
    (void)state;
    d.cfg.clean = false;
    d.cfg.reconnect_ms = 4000 * 1000;
    d.cfg.reconnect_max_ms = d.cfg.reconnect_ms;
    start_with_gateways(0);
    hear_from("A", "05 00 01 00 3C");
    sn_client_connect(&d.c, d.now);
    hear_from("A", "03 05 00");
    hear_from("A", "09 0A 00 05 00 01 61 2F 62");
    hear_from("A", "02 18");
    pass(300000);
    hear_from("B", "03 02 02");
    sn_client_connect(&d.c, d.now);
    hear_from("B", "03 05 00");
    forget_log();
    publish("a/b", 1, "x");
    expect(">B 09 0A 00 00 00 01 61 2F 62\n");
}

static void while_the_gateway_is_lost_the_open_message_waits(void **state)
{
    (void)state;
    d.cfg.reconnect_ms = 100000;
    connected_and_registered();
    publish("a/b", 1, "x");
    hear("02 18");
    forget_log();
    pass(49000);
    expect("");
    sn_client_connect(&d.c, d.now);
    hear("08 0C 01 00 07 00 00 7A"); /* not connected yet */
    expect("> 0A 04 04 01 00 3C 64 65 76 37\n");
    assert_int_equal(d.discarded, 1);
}

static void publish_again(const struct sn_client_event *e)
{
    if (e->type == SN_EVENT_PUBLISHED) {
        d.then = NULL;
        publish("a/b", 1, "y");
    }
}

static void the_callback_may_publish_the_next_message(void **state)
{
    (void)state;
    connected_and_registered();
    d.then = publish_again;
    publish("a/b", 1, "x");
    hear("07 0D 00 05 00 01 00");
    expect("> 08 0C 20 00 05 00 01 78\npublished accepted\n> 08 0C 20 00 05 00 02 79\n");
    hear("07 0D 00 05 00 02 00");
    expect("published accepted\n");
    /* Also in the middle of a reconnect that ends a message. */
    publish("a/b", 2, "x");
    hear("02 18");
    pass(1000);
    forget_log();
    d.then = publish_again;
    hear("03 05 00");
    expect("published unknown\n> 09 0A 00 00 00 04 61 2F 62\nconnected\n");
}

/* ---- sleep, 6.14 ------------------------------------------------------------ */

static void fell_asleep(uint16_t duration_s)
{
    connected_and_registered();
    sn_client_sleep(&d.c, d.now, duration_s);
    hear("02 18");
    forget_log();
}

/* SN12C-6.14-1, SN12C-6.14-2: the answer is the permission, also when it comes twice. */
static void the_gateways_disconnect_is_the_permission_to_sleep(void **state)
{
    (void)state;
    connected();
    sn_client_sleep(&d.c, d.now, 300);
    expect("> 04 18 01 2C\n");
    assert_int_equal(sn_client_sleep(&d.c, d.now, 300), SN_ANSWER_BUSY);
    pass(10000);
    expect("> 04 18 01 2C\n");
    hear("02 18");
    expect("asleep until 1280000\n");
    hear("02 18");
    expect("");
    assert_int_equal(state_of(), SN_CLIENT_ASLEEP);
    hear("02 18"); /* the third is the gateway's own: it has forgotten us */
    pass(1000);
    expect("lost left\n> 0A 04 04 01 00 3C 64 65 76 37\n");
    hear("03 05 00");
    sn_client_sleep(&d.c, d.now, 300);
    pass(10000); /* and one answer of two is lost */
    hear("02 18");
    sn_client_sleep(&d.c, d.now, 300);
    hear("02 18");
    forget_log();
    hear("02 18");
    expect("lost left\n");
}

static void after_connack_every_disconnect_is_the_gateways_own(void **state)
{
    (void)state;
    connected();
    sn_client_sleep(&d.c, d.now, 300);
    pass(10000);
    hear("02 18");
    connect_again();
    hear("02 18");
    expect("lost left\n");
}

static void a_late_answer_does_not_end_an_awake_period(void **state)
{
    (void)state;
    connected();
    sn_client_sleep(&d.c, d.now, 300);
    pass(10000);
    hear("02 18");
    sn_client_ping(&d.c, d.now);
    hear("02 18");
    expect("> 04 18 01 2C\n> 04 18 01 2C\nasleep until 1280000\n> 06 16 64 65 76 37\n");
    assert_int_equal(state_of(), SN_CLIENT_AWAKE);
    hear("02 18");
    expect("lost left\n");
}

/* SN12C-6.14-3, SN12C-6.14-5: figure 5, and nothing of its own in between. */
static void the_client_wakes_up_in_time_takes_its_messages_and_sleeps_on(void **state)
{
    (void)state;
    fell_asleep(300);
    pass(269999);
    expect("");
    pass(1);
    expect("> 06 16 64 65 76 37\n");
    assert_int_equal(publish("a/b", 1, "x"), SN_ANSWER_BUSY);
    hear("08 0C 20 00 05 00 09 78");
    hear("09 0A 00 06 00 0A 61 2F 63");
    hear("08 0C 00 00 06 00 00 79");
    hear("02 17");
    expect("message a/b qos 1 \"x\"\n> 07 0D 00 05 00 09 00\n> 07 0B 00 06 00 0A 00\n"
           "message a/c qos 0 \"y\"\nasleep until 1540000\n");
    assert_int_equal(publish("a/b", 1, "x"), SN_ANSWER_NOT_CONNECTED);
    pass(269999);
    expect("");
    pass(1);
    expect("> 06 16 64 65 76 37\n");
    pass(10000);
    expect("> 06 16 64 65 76 37\n");
}

/* SN12C-6.14-4 */
static void while_messages_come_pingreq_is_not_repeated(void **state)
{
    (void)state;
    fell_asleep(300);
    pass(270000);
    pass(9000);
    hear("08 0C 00 00 05 00 00 78");
    pass(9999);
    expect("> 06 16 64 65 76 37\nmessage a/b qos 0 \"x\"\n");
    pass(1);
    expect("> 06 16 64 65 76 37\n");
    pass(30000);
    expect("> 06 16 64 65 76 37\n> 06 16 64 65 76 37\n> 06 16 64 65 76 37\n");
    pass(10000);
    expect("asleep in vain until 1599000\n");
    assert_int_equal(state_of(), SN_CLIENT_ASLEEP);
    pass(270000);
    expect("> 06 16 64 65 76 37\n");
}

/* SN12C-6.14-6: with CleanSession 0 even if the first CONNECT had 1, and without
 * telling the will again. */
static void returning_from_sleep_keeps_the_session(void **state)
{
    (void)state;
    start();
    sn_client_set_will(&d.c, d.now, &will);
    connect_again();
    sn_client_sleep(&d.c, d.now, 300);
    hear("02 18");
    forget_log();
    assert_int_equal(sn_client_connect(&d.c, d.now), SN_ANSWER_STARTED);
    expect("> 0A 04 00 01 00 3C 64 65 76 37\n");
    hear("03 05 00");
    expect("connected\n");
    hear("02 18"); /* the next connection is a fresh one */
    pass(1000);
    expect("lost left\n> 0A 04 0C 01 00 3C 64 65 76 37\n");
}

static void after_disconnecting_from_sleep_the_next_session_is_a_new_one(void **state)
{
    (void)state;
    fell_asleep(300);
    sn_client_disconnect(&d.c, d.now);
    hear("02 18");
    sn_client_connect(&d.c, d.now);
    expect("> 02 18\ndisconnected\n> 0A 04 04 01 00 3C 64 65 76 37\n");
}

static void a_lost_connect_from_sleep_still_keeps_the_session(void **state)
{
    (void)state;
    d.cfg.retries = 0;
    fell_asleep(300);
    sn_client_connect(&d.c, d.now);
    pass(10000);
    pass(1000);
    expect("> 0A 04 00 01 00 3C 64 65 76 37\nlost no answer to CONNECT\n"
           "> 0A 04 00 01 00 3C 64 65 76 37\n");
}

/* A try at another gateway in between changes nothing at the first one. */
static void the_session_is_kept_where_the_client_fell_asleep(void **state)
{
    (void)state;
    d.cfg.retries = 0;
    start_with_gateways(2);
    sn_client_connect(&d.c, d.now);
    hear_from("A", "03 05 00");
    sn_client_sleep(&d.c, d.now, 300);
    hear_from("A", "02 18");
    forget_log();
    sn_client_connect(&d.c, d.now);
    pass(11000);
    expect(">A 0A 04 00 01 00 3C 64 65 76 37\nlost no answer to CONNECT\n"
           ">B 0A 04 04 01 00 3C 64 65 76 37\n");
    pass(12000);
    expect("lost no answer to CONNECT\n>A 0A 04 00 01 00 3C 64 65 76 37\n");
}

static void messages_that_come_although_asleep_are_taken(void **state)
{
    (void)state;
    fell_asleep(300);
    hear("08 0C 20 00 05 00 09 78");
    expect("message a/b qos 1 \"x\"\n> 07 0D 00 05 00 09 00\n");
    assert_int_equal(sn_client_deadline(&d.c), d.now + 270000);
}

static void the_keep_alive_rests_during_sleep(void **state)
{
    (void)state;
    fell_asleep(3600);
    pass(3000000);
    expect("");
}

static void a_ping_without_answer_does_not_outlive_the_sleep(void **state)
{
    (void)state;
    connected();
    sn_client_ping(&d.c, d.now);
    sn_client_sleep(&d.c, d.now, 300);
    hear("02 18");
    sn_client_connect(&d.c, d.now);
    hear("03 05 00");
    forget_log();
    pass(50000);
    expect("> 02 16\n");
}

static void a_waiting_message_ends_when_returning_is_refused_for_good(void **state)
{
    (void)state;
    d.cfg.reconnect_ms = 0;
    connected_and_registered();
    publish("a/b", 1, "x");
    hear("07 0D 00 05 00 01 01");
    sn_client_sleep(&d.c, d.now, 600);
    hear("02 18");
    sn_client_connect(&d.c, d.now);
    forget_log();
    hear("03 05 03");
    expect("published unknown\nrefused 3 again never\n");
}

static void asleep_the_duration_can_be_changed(void **state)
{
    (void)state;
    fell_asleep(300);
    sn_client_sleep(&d.c, d.now, 60);
    hear("02 18");
    expect("> 04 18 00 3C\nasleep until 1050000\n");
    pass(40000);
    sn_client_sleep(&d.c, d.now, 60);
    pass(15000); /* beyond the old end of sleep */
    expect("> 04 18 00 3C\n> 04 18 00 3C\n");
}

static void a_request_on_the_air_forbids_sleep_a_waiting_one_does_not(void **state)
{
    (void)state;
    connected_and_registered();
    publish("a/b", 1, "x");
    assert_int_equal(sn_client_sleep(&d.c, d.now, 600), SN_ANSWER_BUSY);
    hear("07 0D 00 05 00 01 01");
    assert_int_equal(sn_client_sleep(&d.c, d.now, 600), SN_ANSWER_STARTED);
    hear("02 18");
    forget_log();
    pass(400000);
    expect("");
    sn_client_connect(&d.c, d.now);
    hear("03 05 00");
    expect("> 0A 04 00 01 00 3C 64 65 76 37\n> 08 0C 20 00 05 00 02 78\nconnected\n");
}

/* ---- forwarder, 5.5 --------------------------------------------------------- */

static void with_a_node_id_every_frame_has_an_envelope(void **state)
{
    (void)state;
    d.cfg.node = sn_bytes("\x0A\x0B", 2);
    start();
    sn_client_connect(&d.c, d.now);
    expect("> 05 FE 00 0A 0B 0A 04 04 01 00 3C 64 65 76 37\n");
    hear("03 05 00");
    hear("05 FE 00 0A 0C 03 05 00");
    hear("05 FE 00 0A 0B 02 05");
    hear("05 FE 00 0A 0B 05 FE 00 0A 0B 03 05 00");
    expect("");
    assert_int_equal(d.discarded, 4);
    hear("05 FE 03 0A 0B 03 05 00");
    expect("connected\n");
}

/* ---- the rest --------------------------------------------------------------- */

/* SN12C-7.2-1 */
static void the_defaults_are_the_specifications(void **state)
{
    const struct sn_client_config cfg = sn_client_defaults();

    (void)state;
    assert_int_equal(cfg.search_ms, 5000);
    assert_int_equal(cfg.gwinfo_ms, 5000);
    assert_true(cfg.congestion_ms > 5 * 60 * 1000);
    assert_in_range(cfg.retry_ms, 10000, 15000);
    assert_in_range(cfg.retries, 3, 5);
    assert_in_range(cfg.advertise_missed, 2, 3);
}

static void two_starts_do_not_begin_with_the_same_message_id(void **state)
{
    uint16_t first = 0;
    int equal = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        sn_client_init(&d.c, &d.cfg, seed);
        assert_true(d.c.next_mid != 0);
        equal += d.c.next_mid == first;
        first = d.c.next_mid;
    }
    assert_int_equal(equal, 0);
}

static void message_ids_skip_zero(void **state)
{
    (void)state;
    connected_and_registered();
    d.c.next_mid = 0xFFFF;
    publish("a/b", 1, "x");
    hear("07 0D 00 05 FF FF 00");
    publish("a/b", 1, "x");
    expect("> 08 0C 20 00 05 FF FF 78\npublished accepted\n> 08 0C 20 00 05 00 01 78\n");
}

/* A fleet of thousands in one simulator, and a sensor with 8 KB of RAM. */
static void a_client_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct sn_client) <= 256);
    assert_true(sizeof(struct sn_client_topic) <= 8);
}

/* Whatever octets come in whatever state: no crash, no deadline in the past. */
static void noise_does_no_harm(void **state)
{
    uint32_t random = 1;

    (void)state;
    d.cfg.gateways = d.gateways;
    d.cfg.gateways_max = 3;
    start_with_gateways(1);
    for (int round = 0; round < 30000; round++) {
        uint8_t frame[16];
        random = random * 1664525 + 1013904223;
        const size_t len = 2 + (random >> 8) % 10;
        for (size_t i = 0; i < len; i++) {
            random = random * 1664525 + 1013904223;
            frame[i] = (uint8_t)(random >> 24 & (i > 2 ? 0x07 : 0xFF));
        }
        frame[0] = (uint8_t)len;
        frame[1] &= 0x1F;
        sn_client_frame(&d.c, d.now, sn_bytes_text("A"), sn_bytes(frame, len));
        switch (random >> 16 & 0x0F) {
        case 0:
            sn_client_connect(&d.c, d.now);
            break;
        case 1:
            publish("a/b", (int8_t)(random >> 20 & 3) - 1, "x");
            break;
        case 2:
            subscribe("a/+", 1);
            break;
        case 3:
            sn_client_sleep(&d.c, d.now, 10);
            break;
        case 4:
            sn_client_set_will(&d.c, d.now, (random & 0x100000) != 0 ? &will : NULL);
            break;
        case 5:
            pass(random >> 18);
            break;
        case 6:
            if ((random >> 20 & 0x0F) == 0) {
                sn_client_disconnect(&d.c, d.now);
            }
            break;
        default:
            break;
        }
        sn_client_time(&d.c, d.now);
        assert_true(sn_client_deadline(&d.c) > d.now);
        d.log[0] = '\0';
        d.len = 0;
    }
}

#define test(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(the_first_message_is_connect),
        test(without_clean_session_the_flag_is_clear),
        test(from_256_octets_on_the_length_has_three_octets),
        test(what_is_broken_reserved_or_for_gateways_is_discarded),
        test(unused_fields_are_zero),
        test(what_does_not_fit_is_refused_and_changes_nothing),
        test(gateways_are_learned_from_advertise_and_gwinfo),
        test(a_gateway_known_beforehand_gets_its_id_by_advertise),
        test(only_the_current_gateway_is_listened_to),
        test(a_gateway_that_stops_advertising_is_forgotten),
        test(the_gateway_in_use_is_kept_however_silent),
        test(searching_begins_after_a_random_delay),
        test(the_same_seed_gives_the_same_delay),
        test(searching_is_repeated_at_growing_intervals),
        test(a_neighbours_search_replaces_our_own),
        test(a_neighbours_search_is_answered_by_who_knows_a_gateway),
        test(nobody_answers_a_search_twice),
        test(the_will_is_handed_over_when_asked_for),
        test(the_dialogue_about_the_will_is_supervised),
        test(a_refusal_is_reported_and_tried_again_after_t_wait),
        test(a_refused_client_tries_the_next_gateway),
        test(without_reconnecting_a_refusal_is_the_end),
        test(only_the_will_can_be_deleted),
        test(a_new_will_is_told_in_two_steps),
        test(a_will_is_not_changed_in_the_middle_of_a_dialogue),
        test(a_will_that_is_rejected_comes_with_the_next_connect),
        test(a_will_that_came_with_connect_needs_no_update),
        test(a_name_is_registered_once_before_it_is_used),
        test(an_impossible_id_in_regack_is_not_taken),
        test(a_congested_register_waits_for_t_wait),
        test(a_refused_name_ends_the_publication),
        test(a_name_from_the_gateway_is_acknowledged_and_remembered),
        test(the_newer_pair_of_id_and_name_wins),
        test(a_name_that_cannot_be_kept_is_refused),
        test(a_full_table_forgets_the_name_not_used_for_longest),
        test(the_name_of_the_open_message_is_not_forgotten),
        test(one_publish_is_open_and_repeated_with_dup),
        test(each_name_has_its_own_id),
        test(the_result_names_the_message_id),
        test(an_id_that_went_to_another_name_is_not_used_for_a_repeat),
        test(retain_is_passed_on),
        test(an_unknown_id_is_registered_again_and_the_message_repeated_once),
        test(congestion_stops_publishing_for_t_wait),
        test(a_congested_qos_2_message_keeps_its_id),
        test(qos_0_and_2_may_be_refused_by_puback),
        test(qos_2_runs_through_pubrec_and_pubrel_to_pubcomp),
        test(a_qos_2_message_is_delivered_once),
        test(a_repeat_that_pubrel_has_overtaken_is_no_new_message),
        test(in_a_new_session_the_same_message_id_is_a_new_message),
        test(more_open_qos_2_messages_than_places_are_not_answered),
        test(a_predefined_id_is_not_cured_by_registering),
        test(qos_minus_1_needs_neither_connection_nor_name),
        test(a_message_may_be_cancelled),
        test(one_subscription_is_open_at_a_time),
        test(the_names_of_a_wildcard_come_by_register),
        test(a_suback_without_an_id_teaches_none),
        test(the_id_in_the_suback_of_a_short_topic_means_nothing),
        test(a_congested_subscription_waits_for_t_wait),
        test(a_message_with_an_unknown_id_is_refused),
        test(the_gateway_hears_from_us_within_the_keep_alive_period),
        test(who_only_sends_still_asks_whether_the_gateway_is_there),
        test(without_keep_alive_there_is_no_pingreq),
        test(a_pingreq_of_the_gateway_is_answered),
        test(after_n_retry_repeats_the_gateway_is_lost_and_the_next_one_tried),
        test(every_request_is_supervised),
        test(the_wait_for_an_answer_grows),
        test(on_a_slow_link_the_wait_begins_when_the_frame_has_left),
        test(an_acknowledgement_that_leaves_puts_no_repeat_off),
        test(disconnect_waits_for_its_answer),
        test(between_two_attempts_disconnect_needs_no_frame),
        test(after_an_unsolicited_disconnect_the_client_connects_again),
        test(the_pause_before_reconnecting_doubles_and_is_random),
        test(an_open_message_goes_on_after_a_reconnect),
        test(half_a_qos_2_exchange_does_not_outlive_a_clean_session),
        test(at_qos_1_the_message_is_sent_again_in_a_clean_session),
        test(the_ids_of_one_gateway_are_not_used_at_another),
        test(the_ids_of_a_forgotten_gateway_are_forgotten),
        test(while_the_gateway_is_lost_the_open_message_waits),
        test(the_callback_may_publish_the_next_message),
        test(the_gateways_disconnect_is_the_permission_to_sleep),
        test(after_connack_every_disconnect_is_the_gateways_own),
        test(a_late_answer_does_not_end_an_awake_period),
        test(the_client_wakes_up_in_time_takes_its_messages_and_sleeps_on),
        test(while_messages_come_pingreq_is_not_repeated),
        test(returning_from_sleep_keeps_the_session),
        test(after_disconnecting_from_sleep_the_next_session_is_a_new_one),
        test(a_lost_connect_from_sleep_still_keeps_the_session),
        test(the_session_is_kept_where_the_client_fell_asleep),
        test(messages_that_come_although_asleep_are_taken),
        test(the_keep_alive_rests_during_sleep),
        test(a_ping_without_answer_does_not_outlive_the_sleep),
        test(a_waiting_message_ends_when_returning_is_refused_for_good),
        test(asleep_the_duration_can_be_changed),
        test(a_request_on_the_air_forbids_sleep_a_waiting_one_does_not),
        test(with_a_node_id_every_frame_has_an_envelope),
        test(the_defaults_are_the_specifications),
        test(two_starts_do_not_begin_with_the_same_message_id),
        test(message_ids_skip_zero),
        test(a_client_is_small),
        test(noise_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
