#include "sim/broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A broker, what the bridge hears of it, and what it has. */
struct bench {
    struct sim_world *world;
    struct sim_trace *trace;
    struct sim_broker *broker;
    uint64_t durable; /* the token of a message that is on the disk */
    char said[4000];
};

static void say(struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct bench *b, const char *format, ...)
{
    va_list args;
    const size_t at = strlen(b->said);
    va_start(args, format);
    vsnprintf(b->said + at, sizeof(b->said) - at, format, args);
    va_end(args);
}

static void on_event(void *ctx, const struct bridge_event *e)
{
    struct bench *b = ctx;
    if (e->type == BRIDGE_ON_BROKER_UP)
        say(b, "up%s\n", e->up.session_present ? " session" : "");
    else if (e->type == BRIDGE_ON_BROKER_DOWN)
        say(b, "down %s\n", e->down.why);
    else if (e->type == BRIDGE_ON_DELIVERED)
        say(b, "delivered %u%s\n", (unsigned)e->delivered.seq,
            e->delivered.code >= 0x80 ? " refused" : "");
    else if (e->type == BRIDGE_ON_SUBSCRIBED)
        say(b, "subscribed %u\n", e->subscribed.code);
    else if (e->type == BRIDGE_ON_MESSAGE)
        say(b, "message %.*s qos %u%s token %u\n", (int)e->message.payload.len,
            (const char *)e->message.payload.data, e->message.qos,
            e->message.retain ? " retain" : "", (unsigned)e->message.token);
    for (uint8_t i = 0; e->type == BRIDGE_ON_MESSAGE && i < e->message.id_count; i++)
        say(b, "  id %u\n", (unsigned)e->message.ids[i]);
}

static void on_record(void *ctx, const struct sim_record *r)
{
    if (r->type == SIM_BROKER_HAS)
        say(ctx, "has %u\n", (unsigned)r->message->seq);
}

static bool has_flight(void *ctx, uint64_t token)
{
    return ((struct bench *)ctx)->durable == token;
}

static void pass(struct bench *b, uint64_t ms)
{
    sim_world_run_until(b->world, sim_now(b->world) + ms * SIM_MS);
}

static void expect(struct bench *b, const char *said)
{
    assert_string_equal(b->said, said);
    b->said[0] = '\0';
}

static void connect(struct bench *b)
{
    sim_broker_put(b->broker, &(struct bridge_action){.type = BRIDGE_DO_CONNECT});
    pass(b, 100);
}

static void subscribe(struct bench *b, const char *filter, uint32_t id)
{
    sim_broker_put(b->broker,
                   &(struct bridge_action){.type = BRIDGE_DO_SUBSCRIBE,
                                           .subscribe = {.request = 1,
                                                         .id = id,
                                                         .qos = 2,
                                                         .wants_retained = true,
                                                         .filter = sn_bytes_text(filter)}});
    pass(b, 100);
}

/* Connected, with a subscription to "down/#"; ways take 10 ms. */
static void begin_with(struct bench *b, uint64_t seed, bool plain,
                       enum sim_broker_overlaps overlaps)
{
    const struct sim_broker_options options = {.delay_min_us = 10 * SIM_MS,
                                               .delay_max_us = 10 * SIM_MS,
                                               .window = 10,
                                               .max_qos = 2,
                                               .plain = plain,
                                               .overlaps = overlaps,
                                               .has_flight = has_flight};
    memset(b, 0, sizeof(*b));
    b->world = sim_world_open();
    b->trace = sim_trace_open();
    sim_trace_listen(b->trace, on_record, b);
    b->broker = sim_broker_open(b->world, b->trace, seed, &options, on_event, b);
    connect(b);
    subscribe(b, "down/#", 0);
    expect(b, "up\nsubscribed 2\n");
}

static void begin(struct bench *b, uint64_t seed)
{
    begin_with(b, seed, false, SIM_OVERLAPS_NAMED);
}

static void end(struct bench *b)
{
    sim_broker_close(b->broker);
    sim_trace_close(b->trace);
    sim_world_close(b->world);
}

static void publish(struct bench *b, uint64_t seq, uint8_t qos)
{
    sim_broker_put(b->broker,
                   &(struct bridge_action){.type = BRIDGE_DO_PUBLISH,
                                           .publish.message = {.seq = seq,
                                                               .qos = qos,
                                                               .topic = sn_bytes_text("up/x"),
                                                               .payload = sn_bytes_text("v")}});
}

static void command(struct bench *b, const char *payload, uint8_t qos, bool retain)
{
    sim_broker_publish(b->broker, &(struct sim_message){.topic = sn_bytes_text("down/x"),
                                                        .payload = sn_bytes_text(payload),
                                                        .qos = qos,
                                                        .retain = retain});
}

static void accept(struct bench *b, uint64_t token)
{
    sim_broker_put(b->broker,
                   &(struct bridge_action){.type = BRIDGE_DO_ACCEPT, .accept.token = token});
}

static void messages_arrive_in_order_and_are_answered(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    publish(&b, 1, 1);
    publish(&b, 2, 2);
    publish(&b, 3, 0);
    pass(&b, 100);
    expect(&b, "delivered 3\nhas 1\nhas 2\nhas 3\ndelivered 1\ndelivered 2\n");
    sim_broker_reject(b.broker, "up/#");
    publish(&b, 4, 1);
    pass(&b, 100);
    expect(&b, "delivered 4 refused\n");
    end(&b);
}

/* The connection goes while the message, or its answer, is under way. */
static void what_is_under_way_is_lost_or_arrives_and_qos_2_arrives_once(void **state)
{
    unsigned arrived = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct bench b;
        begin(&b, seed);
        publish(&b, 1, 2);
        pass(&b, 5);
        sim_broker_drop(b.broker);
        pass(&b, 100);
        const bool is_there = strstr(b.said, "has 1") != NULL;
        arrived += is_there;
        expect(&b, is_there ? "down connection lost\nhas 1\n" : "down connection lost\n");
        connect(&b);
        publish(&b, 1, 2);
        pass(&b, 100);
        expect(&b, is_there ? "up session\ndelivered 1\n" : "up session\nhas 1\ndelivered 1\n");
        end(&b);
    }
    assert_in_range(arrived, 1, 19);
}

static void qos_2_to_the_broker_outlives_the_bridges_process(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    publish(&b, 1, 2);
    pass(&b, 15);
    expect(&b, "has 1\n");
    sim_broker_end_client(b.broker);
    pass(&b, 100);
    connect(&b);
    publish(&b, 1, 2);
    pass(&b, 100);
    expect(&b, "up session\ndelivered 1\n");
    sim_broker_end_client(b.broker); /* and the disk did not know that it was delivered */
    connect(&b);
    publish(&b, 1, 2);
    pass(&b, 100);
    expect(&b, "up session\ndelivered 1\n");
    end(&b);
}

static void one_message_comes_at_a_time_and_waits_to_be_accepted(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    command(&b, "a", 1, false);
    command(&b, "b", 2, false);
    command(&b, "c", 0, false);
    pass(&b, 1000);
    expect(&b, "message a qos 1 token 1\n");
    accept(&b, 1);
    pass(&b, 1000);
    expect(&b, "message b qos 2 token 2\n");
    accept(&b, 2);
    pass(&b, 1000);
    expect(&b, "message c qos 0 token 0\n");
    assert_true(sim_broker_is_idle(b.broker));
    end(&b);
}

static void a_session_keeps_messages_while_its_client_is_away(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    sim_broker_drop(b.broker);
    command(&b, "a", 1, false);
    command(&b, "b", 0, false);
    connect(&b);
    expect(&b, "down connection lost\nup session\nmessage a qos 1 token 1\n");
    sim_broker_forget(b.broker);
    connect(&b);
    expect(&b, "down connection lost\nup\n");
    end(&b);
}

static void a_message_that_was_not_accepted_comes_again_unless_the_disk_has_it(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    command(&b, "a", 2, false);
    pass(&b, 100);
    sim_broker_end_client(b.broker);
    connect(&b);
    expect(&b, "message a qos 2 token 1\nup session\nmessage a qos 2 token 2\n");
    b.durable = 2;
    sim_broker_end_client(b.broker);
    connect(&b);
    expect(&b, "up session\n");
    end(&b);
}

static void disconnect(struct bench *b)
{
    sim_broker_put(b->broker, &(struct bridge_action){.type = BRIDGE_DO_DISCONNECT});
}

/* As the library: its thread is in the bridge's hands, whatever the network does. */
static void a_message_waits_for_its_answer_when_its_connection_is_lost(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    command(&b, "a", 2, false);
    command(&b, "b", 2, false);
    pass(&b, 100);
    sim_broker_drop(b.broker);
    connect(&b);
    pass(&b, 1000);
    expect(&b, "message a qos 2 token 1\ndown connection lost\nup session\n");
    accept(&b, 1);
    pass(&b, 1000);
    expect(&b, "message b qos 2 token 2\n");
    sim_broker_drop(b.broker);
    connect(&b);
    expect(&b, "down connection lost\nup session\n");
    disconnect(&b);
    connect(&b);
    expect(&b, "up session\nmessage b qos 2 token 3\n");
    end(&b);
}

static void a_transient_session_outlives_an_outage_and_not_more(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    disconnect(&b);
    sim_broker_put(b.broker,
                   &(struct bridge_action){.type = BRIDGE_DO_CONNECT, .connect.transient = true});
    pass(&b, 100);
    disconnect(&b);
    command(&b, "a", 1, false);
    pass(&b, 1800 * 1000);
    assert_false(sim_broker_is_idle(b.broker));
    expect(&b, "up session\n");
    pass(&b, 1900 * 1000);
    assert_true(sim_broker_is_idle(b.broker));
    connect(&b);
    expect(&b, "up\n");
    end(&b);
}

static void retained_messages_come_with_a_subscription(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, 1);
    command(&b, "a", 1, true);
    pass(&b, 100);
    accept(&b, 1);
    pass(&b, 100);
    sim_broker_put(b.broker,
                   &(struct bridge_action){.type = BRIDGE_DO_SUBSCRIBE,
                                           .subscribe = {.request = 2,
                                                         .qos = 1,
                                                         .wants_retained = true,
                                                         .filter = sn_bytes_text("down/x")}});
    pass(&b, 100);
    expect(&b, "message a qos 1 token 1\nmessage a qos 1 retain token 2\nsubscribed 1\n");
    end(&b);
}

/* A message that answers "down/#", "down/+" and "down/x", all of QoS 2, and is accepted. */
static void expect_copies(bool plain, enum sim_broker_overlaps overlaps, const char *said)
{
    struct bench b;
    begin_with(&b, 1, plain, overlaps);
    subscribe(&b, "down/+", 7);
    subscribe(&b, "down/x", 8);
    expect(&b, "subscribed 2\nsubscribed 2\n");
    command(&b, "a", 2, false);
    for (uint64_t token = 1; token <= 3; token++) {
        pass(&b, 100);
        accept(&b, token);
    }
    pass(&b, 100);
    expect(&b, said);
    end(&b);
}

static void a_message_comes_for_each_subscription_or_once_as_brokers_differ(void **state)
{
    (void)state;
    expect_copies(false, SIM_OVERLAPS_NAMED,
                  "message a qos 2 token 1\n  id 7\nmessage a qos 2 token 2\n  id 8\n"
                  "message a qos 2 token 3\n");
    expect_copies(false, SIM_OVERLAPS_EACH,
                  "message a qos 2 token 1\nmessage a qos 2 token 2\n  id 7\n"
                  "message a qos 2 token 3\n  id 8\n");
    expect_copies(false, SIM_OVERLAPS_ONE, "message a qos 2 token 1\n  id 7\n  id 8\n");
    expect_copies(true, SIM_OVERLAPS_NAMED, "message a qos 2 token 1\n");
    expect_copies(true, SIM_OVERLAPS_EACH,
                  "message a qos 2 token 1\nmessage a qos 2 token 2\nmessage a qos 2 token 3\n");
}

/* What was too large before is lost again after a reconnect; others are taken. */
static void it_hangs_up_on_what_it_does_not_like(void **state)
{
    struct bench b;
    (void)state;
    memset(&b, 0, sizeof(b));
    const struct sim_broker_options options = {
        .delay_min_us = 10 * SIM_MS, .delay_max_us = 10 * SIM_MS, .window = 10, .max_levels = 1};
    b.world = sim_world_open();
    b.trace = sim_trace_open();
    sim_trace_listen(b.trace, on_record, &b);
    b.broker = sim_broker_open(b.world, b.trace, 1, &options, on_event, &b);
    connect(&b);
    publish(&b, 1, 1);
    pass(&b, 100);
    expect(&b, "up\ndown hangs-up\n");
    connect(&b);
    subscribe(&b, "a/b", 0);
    expect(&b, "up session\ndown hangs-up\n");
    connect(&b);
    subscribe(&b, "a", 0);
    expect(&b, "up session\nsubscribed 0\n");
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_in_order_and_are_answered),
        cmocka_unit_test(what_is_under_way_is_lost_or_arrives_and_qos_2_arrives_once),
        cmocka_unit_test(qos_2_to_the_broker_outlives_the_bridges_process),
        cmocka_unit_test(one_message_comes_at_a_time_and_waits_to_be_accepted),
        cmocka_unit_test(a_session_keeps_messages_while_its_client_is_away),
        cmocka_unit_test(a_message_that_was_not_accepted_comes_again_unless_the_disk_has_it),
        cmocka_unit_test(a_transient_session_outlives_an_outage_and_not_more),
        cmocka_unit_test(a_message_waits_for_its_answer_when_its_connection_is_lost),
        cmocka_unit_test(retained_messages_come_with_a_subscription),
        cmocka_unit_test(it_hangs_up_on_what_it_does_not_like),
        cmocka_unit_test(a_message_comes_for_each_subscription_or_once_as_brokers_differ),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
