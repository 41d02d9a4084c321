#include "bridge/classes.h"

#include "mqttsn/topic.h"

/* What holds where no class is configured. */
static const struct bridge_class_config standard = {
    .name = "default", .priority = BRIDGE_PRIORITY_STANDARD, .keep = BRIDGE_KEEP_REFUSE};

static bool is_separator(char c)
{
    return c == ',' || c == ' ' || c == '\t';
}

bool classes_next_filter(const char **at, struct sn_bytes *filter)
{
    while (is_separator(**at))
        (*at)++;
    const char *begin = *at;
    while (**at != '\0' && !is_separator(**at))
        (*at)++;
    *filter = sn_bytes(begin, (size_t)(*at - begin));
    return filter->len > 0;
}

uint8_t classes_match(const struct bridge_config *c, struct sn_bytes topic)
{
    for (uint8_t i = 1; i < c->class_count; i++) {
        const char *at = c->classes[i].topics;
        struct sn_bytes filter;
        while (classes_next_filter(&at, &filter))
            if (sn_topic_matches(filter, topic))
                return i;
    }
    return 0;
}

const struct bridge_class_config *classes_at(const struct bridge_config *c, uint8_t number)
{
    if (c->class_count == 0)
        return &standard;
    return &c->classes[number < c->class_count ? number : 0];
}

static uint64_t sooner(uint64_t at_ms, uint64_t now_ms, uint32_t limit_s)
{
    const uint64_t limit_ms = now_ms + (uint64_t)limit_s * 1000;
    return limit_s == 0 || (at_ms != 0 && at_ms < limit_ms) ? at_ms : limit_ms;
}

uint64_t classes_expires_ms(const struct bridge_class_config *class, uint64_t now_ms,
                            uint32_t expiry_s, uint32_t age_s)
{
    return sooner(sooner(sooner(0, now_ms, class->expire_s), now_ms, expiry_s), now_ms, age_s);
}
