#include "mqttsn/retry.h"

#include <assert.h>

void sn_retry_start(struct sn_retry *r, uint64_t now_ms, uint32_t wait_ms, uint32_t max_ms,
                    uint8_t repeats)
{
    assert(wait_ms > 0);
    *r = (struct sn_retry){
        .due_ms = now_ms + wait_ms,
        .wait_ms = wait_ms,
        .max_ms = max_ms > wait_ms ? max_ms : wait_ms,
        .left = repeats,
    };
}

void sn_retry_sent(struct sn_retry *r, uint64_t now_ms)
{
    if (r->due_ms != SN_NEVER) {
        r->due_ms = now_ms + r->wait_ms;
    }
}

void sn_retry_stop(struct sn_retry *r)
{
    *r = (struct sn_retry){.due_ms = SN_NEVER};
}

enum sn_retry_verdict sn_retry_check(struct sn_retry *r, uint64_t now_ms)
{
    if (now_ms < r->due_ms || r->due_ms == SN_NEVER) {
        return SN_RETRY_WAIT;
    }
    if (r->left == 0) {
        sn_retry_stop(r);
        return SN_RETRY_LOST;
    }
    r->left--;
    /* Compared before it is doubled: twice a wait of 25 days does not fit. */
    r->wait_ms = r->wait_ms > r->max_ms / 2 ? r->max_ms : 2 * r->wait_ms;
    r->due_ms = now_ms + r->wait_ms;
    return SN_RETRY_REPEAT;
}
