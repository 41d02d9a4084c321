#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bridge/config_parts.h"

#define LAN    "[link lan]\ntype = udp\n"
#define SERIAL "[link radio]\ntype = serial\ndevice = /dev/ttyUSB0\n"

static struct config load(const char *text)
{
    char path[] = "/tmp/test_config_reload.XXXXXX";
    struct config c;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    assert_int_equal(config_load(path, &c, stderr), 0);
    unlink(path);
    return c;
}

static void keep_change(void *ctx, bool applied, const char *line)
{
    fprintf(ctx, "%c %s\n", applied ? '+' : '-', line);
}

/* Makes *fresh into what to go on with, and says these lines. */
static void adopt(struct config *fresh, const struct config *start, const struct config *running,
                  const char *lines)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    config_adopt(fresh, start, running, keep_change, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, lines);
    free(text);
}

static void what_can_change_does_and_the_rest_is_told(void **state)
{
    (void)state;
    struct config start = load("[broker]\nusername = u\npassword = first\n"
                               "[class alarms]\ntopics = alarm/#\n" LAN "roam = no\n" SERIAL
                               "retries = 2\n[topics]\n1 = a\n");
    struct config fresh = load("[bridge]\nmax_queue = 5\nmax_clients = 6\nlog = warning\n"
                               "[broker]\nusername = u\npassword = second\n" LAN "roam = yes\n"
                               "listen = 127.0.0.1:7\n" SERIAL "retries = 4\nparity = even\n"
                               "[modes]\ntransparent = x*\n[topics]\n1 = a\n2 = b\n");
    adopt(&fresh, &start, &start,
          "- [bridge] max_clients: stays 10000; 6 needs a restart\n"
          "+ [bridge] max_queue: was 1000, is 5\n"
          "+ [bridge] log: was info, is warning\n"
          "+ [broker] password: is another one\n"
          "- [link lan] listen: stays 0.0.0.0:1883; 127.0.0.1:7 needs a restart\n"
          "+ [link lan] roam: was no, is yes\n"
          "- [link radio] parity: stays none; even needs a restart\n"
          "+ [link radio] retries: was 2, is 4\n"
          "- [link radio] bits_per_octet: stays 10; 11 needs a restart\n"
          "- [class]: stay as they are; a change needs a restart\n"
          "- [modes]: stay as they are; a change needs a restart\n"
          "+ [topics]: 2 predefined ids, were 1\n");
    assert_int_equal(fresh.bridge.max_queue, 5);
    assert_int_equal(fresh.bridge.max_clients, 10000);
    assert_int_equal(fresh.log, BRIDGE_LEVEL_WARNING);
    assert_string_equal(fresh.broker.password, "second");
    assert_string_equal(fresh.links[0].listen, "0.0.0.0:1883");
    assert_true(fresh.bridge.links[0].roam);
    assert_int_equal(fresh.bridge.links[1].retries, 4);
    assert_int_equal(fresh.bridge.class_count, 2);
    assert_int_equal(fresh.bridge.predefined_count, 2);
    config_free(&fresh);
    config_free(&start);
}

/* The password of another broker does not belong to this one. */
static void another_broker_changes_nothing_of_this_one(void **state)
{
    (void)state;
    struct config start = load("[broker]\nusername = u\npassword = first\n" LAN);
    struct config running = load("[broker]\nusername = u\npassword = second\n" LAN);
    adopt(&running, &start, &start, "+ [broker] password: is another one\n");
    struct config fresh = load("[broker]\nurl = tcp://elsewhere\nusername = v\npassword = x\n" LAN);
    adopt(&fresh, &start, &running,
          "- [broker] url: stays tcp://127.0.0.1:1883; tcp://elsewhere needs a restart\n"
          "- [broker] username: stays u; v needs a restart\n"
          "- [broker] password: stays; another one needs a restart\n");
    config_free(&running); /* nothing of it is used any more */
    assert_string_equal(fresh.broker.url, "tcp://127.0.0.1:1883");
    assert_string_equal(fresh.broker.username, "u");
    assert_string_equal(fresh.broker.password, "second");
    config_free(&fresh);
    config_free(&start);
}

static void a_link_that_is_another_or_gone_stays_as_it_is(void **state)
{
    (void)state;
    struct config start = load(LAN "retries = 2\n" SERIAL "roam = no\n");
    struct config fresh = load("[link wan]\ntype = udp\n" SERIAL "roam = yes\nbaud = 1200\n");
    adopt(&fresh, &start, &start,
          "- [link lan]: stays; to end it needs a restart\n"
          "- [link radio] baud: stays 9600; 1200 needs a restart\n"
          "- [link radio] retry_ms: stays 1000; 4522 needs a restart\n"
          "- [link radio] retry_min_ms: stays 500; 1130 needs a restart\n"
          "- [link radio] bits_per_s: stays 9600; 1200 needs a restart\n"
          "- [link radio] roam: stays no; yes needs a restart\n"
          "- [link wan]: is new, and needs a restart\n");
    assert_int_equal(fresh.bridge.link_count, 2);
    assert_string_equal(fresh.bridge.links[0].name, "lan");
    assert_int_equal(fresh.bridge.links[0].retries, 2);
    assert_int_equal(fresh.links[1].baud, 9600);
    assert_false(fresh.bridge.links[1].roam);
    config_free(&fresh);
    config_free(&start);
}

static void what_is_the_same_is_not_told(void **state)
{
    (void)state;
    const char *text =
        "[bridge]\nmax_queue = 5\n[class x]\ntopics = x\n" LAN SERIAL "[topics dev7]\n1 = a\n";
    struct config start = load(text);
    struct config fresh = load(text);
    adopt(&fresh, &start, &start, "");
    config_free(&fresh);
    config_free(&start);
}

static struct config load_with_login(const char *path, const char *login)
{
    char text[200];
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(login, f);
    fclose(f);
    snprintf(text, sizeof text, "[broker]\ncredentials_file = %s\n" LAN, path);
    return load(text);
}

static void another_login_is_told_and_stays(void **state)
{
    (void)state;
    char path[] = "/tmp/test_config_reload.XXXXXX";
    close(mkstemp(path)); /* for its owner only */
    struct config start = load_with_login(path, "a : b : c\n");
    struct config fresh = load_with_login(path, "a : b : d\n");
    adopt(&fresh, &start, &start,
          "- [broker] credentials_file: its logins stay; a change needs a restart\n");
    assert_string_equal(fresh.broker.logins[0].password, "c");
    unlink(path);
    config_free(&fresh);
    config_free(&start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_change_does_and_the_rest_is_told),
        cmocka_unit_test(another_login_is_told_and_stays),
        cmocka_unit_test(another_broker_changes_nothing_of_this_one),
        cmocka_unit_test(a_link_that_is_another_or_gone_stays_as_it_is),
        cmocka_unit_test(what_is_the_same_is_not_told),
    };
    return cmocka_run_group_tests_name("config_reload", tests, NULL, NULL);
}
