#include "bridge/dollar.h"

#include "bridge/classes.h"

/* What is not a plain topic behind these: groups (MQTT 5, 4.8.2, and their kin), queues,
 * locks, and subscriptions that the broker keeps apart. HiveMQ also takes a colon for
 * the slash. */
static const char *const special[] = {"$share",     "$oshare", "$queue", "$q",
                                      "$exclusive", "$limit",  "$local", "$fastlane"};

static struct sn_bytes first_level(struct sn_bytes text)
{
    size_t len = 0;
    while (len < text.len && text.data[len] != '/' && text.data[len] != ':')
        len++;
    return sn_bytes(text.data, len);
}

bool dollar_may_name(struct sn_bytes word)
{
    const struct sn_bytes level = first_level(word);
    if (level.len < 2 || level.len != word.len || level.data[0] != '$')
        return false;
    for (size_t i = 1; i < level.len; i++)
        if (level.data[i] == '+' || level.data[i] == '#')
            return false;
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
        if (sn_bytes_equal(level, sn_bytes_text(special[i])))
            return false;
    return true;
}

bool dollar_may_subscribe(const struct bridge_config *c, struct sn_bytes filter)
{
    const char *at = c->dollar_topics;
    struct sn_bytes word;
    if (filter.len == 0 || filter.data[0] != '$')
        return true;
    while (at != NULL && classes_next_filter(&at, &word))
        if (sn_bytes_equal(word, first_level(filter)))
            return true;
    return false;
}

bool dollar_may_publish(const struct bridge_config *c, struct sn_bytes name)
{
    return dollar_may_subscribe(c, name) &&
           !sn_bytes_equal(first_level(name), sn_bytes_text("$SYS"));
}
