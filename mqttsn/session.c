#include "mqttsn/session.h"

#include <assert.h>

void sn_session_connect(struct sn_session *s, uint64_t now_ms, uint16_t keepalive_s)
{
    s->state = SN_ACTIVE;
    s->keepalive_s = keepalive_s;
    s->sleep_s = 0;
    s->heard_ms = now_ms;
}

void sn_session_sleep(struct sn_session *s, uint64_t now_ms, uint16_t sleep_s)
{
    assert(sn_session_is_connected(s) && sleep_s > 0);
    s->state = SN_ASLEEP;
    s->sleep_s = sleep_s;
    s->heard_ms = now_ms;
}

void sn_session_wake(struct sn_session *s, uint64_t now_ms)
{
    assert(s->state == SN_ASLEEP);
    s->state = SN_AWAKE;
    s->heard_ms = now_ms;
}

void sn_session_rest(struct sn_session *s, uint64_t now_ms)
{
    assert(s->state == SN_AWAKE);
    s->state = SN_ASLEEP;
    s->heard_ms = now_ms;
}

void sn_session_disconnect(struct sn_session *s)
{
    s->state = SN_DISCONNECTED;
}

void sn_session_lose(struct sn_session *s)
{
    assert(sn_session_is_connected(s));
    s->state = SN_LOST;
}

void sn_session_return(struct sn_session *s, uint64_t now_ms)
{
    assert(s->state == SN_LOST);
    s->state = s->sleep_s > 0 ? SN_ASLEEP : SN_ACTIVE;
    s->heard_ms = now_ms;
}

void sn_session_hear(struct sn_session *s, uint64_t now_ms)
{
    s->heard_ms = now_ms;
}

uint64_t sn_session_tolerance_ms(uint16_t seconds, uint16_t percent)
{
    const uint16_t standard = seconds < 60 ? 50 : 10;
    return (uint64_t)seconds * 10 * (100u + (percent != 0 ? percent : standard));
}

static uint64_t silence_ms(uint16_t seconds, uint16_t percent, uint64_t late_ms)
{
    const uint64_t tolerated_ms = sn_session_tolerance_ms(seconds, percent);
    const uint64_t least_ms = (uint64_t)seconds * 1000 + late_ms;
    return tolerated_ms > least_ms ? tolerated_ms : least_ms;
}

uint64_t sn_session_deadline(const struct sn_session *s, uint16_t percent, uint64_t late_ms)
{
    switch ((enum sn_state)s->state) {
    case SN_ACTIVE:
        return s->keepalive_s == 0 ? SN_NEVER
                                   : s->heard_ms + silence_ms(s->keepalive_s, percent, late_ms);
    case SN_ASLEEP:
        return s->heard_ms + silence_ms(s->sleep_s, percent, late_ms);
    case SN_DISCONNECTED:
    case SN_AWAKE:
    case SN_LOST:
        return SN_NEVER;
    }
    assert(false);
    return SN_NEVER;
}

bool sn_session_is_connected(const struct sn_session *s)
{
    return s->state == SN_ACTIVE || s->state == SN_ASLEEP || s->state == SN_AWAKE;
}

const char *sn_state_name(enum sn_state state)
{
    switch (state) {
    case SN_DISCONNECTED:
        return "disconnected";
    case SN_ACTIVE:
        return "active";
    case SN_ASLEEP:
        return "asleep";
    case SN_AWAKE:
        return "awake";
    case SN_LOST:
        return "lost";
    }
    return "?";
}
