#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/dollar.h"

static const struct bridge_config usual = {.dollar_topics = "$SYS"};
static const struct bridge_config cloud = {.dollar_topics = "$aws, $SYS $dps"};
static const struct bridge_config none = {.dollar_topics = ""};
static const struct bridge_config unset;

static bool subscribes(const struct bridge_config *c, const char *filter)
{
    return dollar_may_subscribe(c, sn_bytes_text(filter));
}

static bool publishes(const struct bridge_config *c, const char *name)
{
    return dollar_may_publish(c, sn_bytes_text(name));
}

static void topics_without_a_dollar_are_free(void **state)
{
    static const char *const texts[] = {"a", "/", "/$share/g/a", "a/$SYS", " $SYS"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_true(subscribes(&unset, texts[i]) && publishes(&unset, texts[i]));
        assert_true(subscribes(&usual, texts[i]) && publishes(&usual, texts[i]));
    }
    assert_true(subscribes(&none, "#") && subscribes(&none, "+/$share"));
}

static void topics_with_a_dollar_are_those_of_the_configuration(void **state)
{
    static const char *const texts[] = {
        "$",        "$/a",       "$share",         "$share/g/a", "$share:g:a", "$queue/a",
        "$share/g", "$oshare/g", "$exclusive/a",   "$limit/1/a", "$local/a",   "$fastlane/a",
        "$SYSTEM",  "$sys/a",    "$CONTROL/acl/1", "$aws/a"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(subscribes(&usual, texts[i]) || publishes(&usual, texts[i]));
        assert_false(subscribes(&none, texts[i]) || publishes(&none, texts[i]));
        assert_false(subscribes(&unset, texts[i]) || publishes(&unset, texts[i]));
    }
    assert_true(subscribes(&cloud, "$aws/things/+/shadow/#") && subscribes(&cloud, "$dps"));
    assert_true(publishes(&cloud, "$aws/things/x/shadow/update"));
    assert_false(subscribes(&cloud, "$share/g/a"));
}

static void what_the_broker_says_of_itself_can_only_be_read(void **state)
{
    (void)state;
    assert_true(subscribes(&usual, "$SYS/#") && subscribes(&usual, "$SYS/broker/uptime"));
    assert_false(publishes(&usual, "$SYS/broker/uptime") || publishes(&cloud, "$SYS"));
}

static void a_configuration_names_first_levels_that_are_plain_topics(void **state)
{
    static const char *const bad[] = {"",   "$",    "aws",    "$aws/#", "$aws:",     "$+",
                                      "$#", "$a+b", "$share", "$queue", "$exclusive"};
    (void)state;
    assert_true(dollar_may_name(sn_bytes_text("$SYS")));
    assert_true(dollar_may_name(sn_bytes_text("$aws")));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(dollar_may_name(sn_bytes_text(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_without_a_dollar_are_free),
        cmocka_unit_test(topics_with_a_dollar_are_those_of_the_configuration),
        cmocka_unit_test(what_the_broker_says_of_itself_can_only_be_read),
        cmocka_unit_test(a_configuration_names_first_levels_that_are_plain_topics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
