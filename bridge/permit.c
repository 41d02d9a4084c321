#include "bridge/permit.h"

#include "bridge/dollar.h"

bool permit_levels(const struct bridge_config *c, struct sn_bytes text)
{
    unsigned levels = 1;
    for (size_t i = 0; i < text.len; i++)
        levels += text.data[i] == '/';
    return levels <= c->max_topic_levels;
}

static const char *permit(const struct bridge_config *c, struct sn_bytes text, bool allowed)
{
    if (!allowed)
        return "not in dollar_topics";
    return permit_levels(c, text) ? NULL : "more than max_topic_levels";
}

const char *permit_subscribe(const struct bridge_config *c, struct sn_bytes filter)
{
    return permit(c, filter, dollar_may_subscribe(c, filter));
}

const char *permit_publish(const struct bridge_config *c, struct sn_bytes name)
{
    return permit(c, name, dollar_may_publish(c, name));
}
