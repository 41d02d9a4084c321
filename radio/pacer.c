#include "radio/pacer.h"

#include <assert.h>
#include <string.h>

#define NONE      UINT16_MAX
#define MINUTE_MS 60000u

struct radio_pacer_slot {
    uint64_t key;
    uint64_t put_ms;
    struct radio_address to;
    uint16_t next; /* in its line, or among the free ones */
    uint16_t prev;
    uint16_t same_bucket;
    uint16_t len;
    uint8_t priority;
};

/* ---- memory ---------------------------------------------------------------- */

static uint32_t bucket_bits_for(uint32_t slots)
{
    uint32_t bits = 1;
    while ((1u << bits) < slots) {
        bits++;
    }
    return bits;
}

size_t radio_pacer_size(const struct radio_pacer_options *o)
{
    const size_t buckets = (size_t)1 << bucket_bits_for(o->slots);
    return o->slots * (sizeof(struct radio_pacer_slot) + o->frame_max) + buckets * sizeof(uint16_t);
}

void radio_pacer_init(struct radio_pacer *p, const struct radio_pacer_options *o, void *memory)
{
    assert(o->slots >= 1 && o->slots <= RADIO_PACER_SLOTS_MAX);
    assert(o->frame_max >= 1 && o->frame_max <= RADIO_PACER_FRAME_MAX);
    assert(o->duty_per_mille <= 1000);
    *p = (struct radio_pacer){.options = *o, .bucket_bits = bucket_bits_for(o->slots)};
    if (p->options.bits_per_octet == 0) {
        p->options.bits_per_octet = 8;
    }
    p->slots = memory;
    p->buckets = (uint16_t *)(p->slots + o->slots);
    p->octets = (uint8_t *)(p->buckets + ((size_t)1 << p->bucket_bits));
    for (uint32_t i = 0; i < o->slots; i++) {
        p->slots[i].next = i + 1 < o->slots ? (uint16_t)(i + 1) : NONE;
    }
    for (size_t i = 0; i < (size_t)1 << p->bucket_bits; i++) {
        p->buckets[i] = NONE;
    }
    for (unsigned i = 0; i < RADIO_PACER_PRIORITIES; i++) {
        p->line[i].first = NONE;
        p->line[i].last = NONE;
    }
}

static uint8_t *octets_of(const struct radio_pacer *p, uint16_t slot)
{
    return p->octets + (size_t)slot * p->options.frame_max;
}

/* ---- slots by key ---------------------------------------------------------- */

/* Keys are often small numbers in sequence; the multiplication spreads them. */
static uint16_t *bucket_of(const struct radio_pacer *p, uint64_t key)
{
    return &p->buckets[key * 0x9E3779B97F4A7C15u >> (64 - p->bucket_bits)];
}

static uint16_t find(const struct radio_pacer *p, uint64_t key)
{
    if (key == RADIO_PACER_NO_KEY) {
        return NONE;
    }
    uint16_t i = *bucket_of(p, key);
    while (i != NONE && p->slots[i].key != key) {
        i = p->slots[i].same_bucket;
    }
    return i;
}

static void index_put(struct radio_pacer *p, uint16_t slot)
{
    if (p->slots[slot].key != RADIO_PACER_NO_KEY) {
        uint16_t *const bucket = bucket_of(p, p->slots[slot].key);
        p->slots[slot].same_bucket = *bucket;
        *bucket = slot;
    }
}

static void index_take(struct radio_pacer *p, uint16_t slot)
{
    if (p->slots[slot].key != RADIO_PACER_NO_KEY) {
        uint16_t *at = bucket_of(p, p->slots[slot].key);
        while (*at != slot) {
            at = &p->slots[*at].same_bucket;
        }
        *at = p->slots[slot].same_bucket;
    }
}

/* ---- lines ----------------------------------------------------------------- */

static void line_put(struct radio_pacer *p, uint16_t slot)
{
    struct radio_pacer_slot *const s = &p->slots[slot];
    s->next = NONE;
    s->prev = p->line[s->priority].last;
    if (s->prev == NONE) {
        p->line[s->priority].first = slot;
    } else {
        p->slots[s->prev].next = slot;
    }
    p->line[s->priority].last = slot;
}

static void line_take(struct radio_pacer *p, uint16_t slot)
{
    const struct radio_pacer_slot *const s = &p->slots[slot];
    if (s->prev == NONE) {
        p->line[s->priority].first = s->next;
    } else {
        p->slots[s->prev].next = s->next;
    }
    if (s->next == NONE) {
        p->line[s->priority].last = s->prev;
    } else {
        p->slots[s->next].prev = s->prev;
    }
}

static void release(struct radio_pacer *p, uint16_t slot)
{
    line_take(p, slot);
    index_take(p, slot);
    p->slots[slot].next = p->free;
    p->free = slot;
    p->queued--;
}

/* Makes room for one frame of this priority: false when everything queued is at
 * least as urgent. */
static bool push_out_below(struct radio_pacer *p, uint8_t priority)
{
    for (uint8_t low = RADIO_PACER_PRIORITIES - 1; low > priority; low--) {
        if (p->line[low].last != NONE) {
            p->count.full[low]++;
            release(p, p->line[low].last);
            return true;
        }
    }
    return false;
}

/* The priority that counts at this time. */
static uint8_t aged(const struct radio_pacer *p, const struct radio_pacer_slot *s, uint64_t at_ms)
{
    if (p->options.age_ms == 0 || s->priority <= RADIO_PACER_CONTROL || at_ms <= s->put_ms) {
        return s->priority;
    }
    const uint64_t steps = (at_ms - s->put_ms) / p->options.age_ms;
    const uint8_t most = (uint8_t)(s->priority - RADIO_PACER_CONTROL);
    return (uint8_t)(s->priority - (steps < most ? steps : most));
}

/* Only the first of each line can be next. Of equals, the one that waits longer. */
static uint16_t next_at(const struct radio_pacer *p, uint64_t at_ms)
{
    uint16_t best = NONE;
    uint8_t best_priority = 0;
    for (unsigned i = 0; i < RADIO_PACER_PRIORITIES; i++) {
        const uint16_t slot = p->line[i].first;
        if (slot == NONE) {
            continue;
        }
        const uint8_t priority = aged(p, &p->slots[slot], at_ms);
        if (best == NONE || priority < best_priority ||
            (priority == best_priority && p->slots[slot].put_ms < p->slots[best].put_ms)) {
            best = slot;
            best_priority = priority;
        }
    }
    return best;
}

/* ---- the air --------------------------------------------------------------- */

uint64_t radio_pacer_air_us(const struct radio_pacer *p, size_t len)
{
    if (p->options.bits_per_s == 0) {
        return 0;
    }
    const uint64_t bits = p->options.overhead_bits + (uint64_t)len * p->options.bits_per_octet;
    return (bits * 1000000u + p->options.bits_per_s - 1) / p->options.bits_per_s;
}

static bool is_limited(const struct radio_pacer *p)
{
    return p->options.duty_per_mille != 0 && p->options.duty_per_mille < 1000;
}

static uint64_t budget_us(const struct radio_pacer *p)
{
    return (uint64_t)p->options.duty_per_mille * 60 * MINUTE_MS;
}

/* When, from at_ms on, a frame of this air time fits into the budget. A minute
 * counts as long as any part of it lies within 60 minutes of the frame's end;
 * minutes that no longer count are zero or left out here. */
static uint64_t allowed_at(const struct radio_pacer *p, uint64_t at_ms, uint64_t air_us)
{
    if (!is_limited(p)) {
        return at_ms;
    }
    const uint64_t end = (at_ms + air_us / 1000) / MINUTE_MS;
    const uint64_t window = RADIO_PACER_WINDOW_MINUTES;
    const uint64_t oldest = end >= window ? end - window + 1 : 0;
    uint64_t total = air_us;
    for (uint64_t minute = oldest; minute <= p->minute; minute++) {
        total += p->used_us[minute % window];
    }
    uint64_t when_ms = at_ms;
    for (uint64_t minute = oldest; total > budget_us(p); minute++) {
        assert(minute <= p->minute); /* alone, every frame that is queued fits */
        total -= p->used_us[minute % window];
        when_ms = (minute + window) * MINUTE_MS;
    }
    return when_ms;
}

static void account(struct radio_pacer *p, uint64_t end_us, uint64_t air_us)
{
    const uint64_t minute = end_us / 1000 / MINUTE_MS;
    if (minute > p->minute) {
        const uint64_t passed = minute - p->minute;
        for (uint64_t i = 1; i <= passed && i <= RADIO_PACER_WINDOW_MINUTES; i++) {
            p->used_us[(p->minute + i) % RADIO_PACER_WINDOW_MINUTES] = 0;
        }
        p->minute = minute;
    }
    p->used_us[p->minute % RADIO_PACER_WINDOW_MINUTES] += (uint32_t)air_us;
}

/* ---- the interface --------------------------------------------------------- */

static void fill(struct radio_pacer *p, uint16_t slot, const struct radio_address *to,
                 const uint8_t *frame, size_t len)
{
    p->slots[slot].to = *to;
    p->slots[slot].len = (uint16_t)len;
    memcpy(octets_of(p, slot), frame, len);
}

static enum radio_pacer_put replace(struct radio_pacer *p, uint16_t slot, uint64_t now_ms,
                                    uint8_t priority, const struct radio_address *to,
                                    const uint8_t *frame, size_t len)
{
    struct radio_pacer_slot *const s = &p->slots[slot];
    if (s->priority != priority) {
        line_take(p, slot);
        s->priority = priority;
        s->put_ms = now_ms;
        line_put(p, slot);
    }
    fill(p, slot, to, frame, len);
    p->count.replaced++;
    return RADIO_PACER_REPLACED;
}

enum radio_pacer_put radio_pacer_put(struct radio_pacer *p, uint64_t now_ms, uint8_t priority,
                                     uint64_t key, const struct radio_address *to,
                                     const uint8_t *frame, size_t len)
{
    assert(priority < RADIO_PACER_PRIORITIES);
    if (len > p->options.frame_max ||
        (is_limited(p) && radio_pacer_air_us(p, len) > budget_us(p))) {
        p->count.too_long++;
        return RADIO_PACER_TOO_LONG;
    }
    const uint16_t old = find(p, key);
    if (old != NONE) {
        return replace(p, old, now_ms, priority, to, frame, len);
    }
    if (p->free == NONE && !push_out_below(p, priority)) {
        p->count.full[priority]++;
        return RADIO_PACER_FULL;
    }
    const uint16_t slot = p->free;
    struct radio_pacer_slot *const s = &p->slots[slot];
    p->free = s->next;
    s->key = key;
    s->put_ms = now_ms;
    s->priority = priority;
    fill(p, slot, to, frame, len);
    index_put(p, slot);
    line_put(p, slot);
    p->queued++;
    return RADIO_PACER_QUEUED;
}

bool radio_pacer_drop(struct radio_pacer *p, uint64_t key)
{
    const uint16_t slot = find(p, key);
    if (slot == NONE) {
        return false;
    }
    release(p, slot);
    return true;
}

/* Where the next frame is, and from when it may go; NONE when nothing is queued. */
static uint16_t next_and_when(const struct radio_pacer *p, uint64_t now_ms, uint64_t *when_ms)
{
    const uint64_t free_ms = p->free_us / 1000;
    uint64_t at_ms = now_ms > free_ms ? now_ms : free_ms;
    at_ms = at_ms > p->hold_ms ? at_ms : p->hold_ms;
    const uint16_t slot = next_at(p, at_ms);
    if (slot != NONE) {
        *when_ms = allowed_at(p, at_ms, radio_pacer_air_us(p, p->slots[slot].len));
    }
    return slot;
}

bool radio_pacer_take(struct radio_pacer *p, uint64_t now_ms, struct radio_pacer_frame *out)
{
    uint64_t when_ms = RADIO_NEVER;
    const uint16_t slot = next_and_when(p, now_ms, &when_ms);
    if (slot == NONE || when_ms > now_ms) {
        return false;
    }
    /* The clock has milliseconds, short frames on fast links take less: the
     * rest of the air time is carried on, so that the rate holds on average. */
    const struct radio_pacer_slot *const s = &p->slots[slot];
    const uint64_t air_us = radio_pacer_air_us(p, s->len);
    const uint64_t start_us = p->free_us > now_ms * 1000 ? p->free_us : now_ms * 1000;
    p->free_us = start_us + air_us;
    account(p, p->free_us, air_us);
    p->count.taken++;
    *out = (struct radio_pacer_frame){
        .to = s->to,
        .data = octets_of(p, slot),
        .len = s->len,
        .key = s->key,
        .priority = s->priority,
        .left_ms = (p->free_us + 999) / 1000,
    };
    release(p, slot);
    return true;
}

uint64_t radio_pacer_deadline(const struct radio_pacer *p, uint64_t now_ms)
{
    uint64_t when_ms = RADIO_NEVER;
    next_and_when(p, now_ms, &when_ms);
    return when_ms;
}

uint64_t radio_pacer_used_us(const struct radio_pacer *p, uint64_t now_ms)
{
    /* The last frame may end in a minute that has not begun. */
    const uint64_t end = now_ms / MINUTE_MS > p->minute ? now_ms / MINUTE_MS : p->minute;
    const uint64_t window = RADIO_PACER_WINDOW_MINUTES;
    uint64_t total = 0;
    for (uint64_t minute = end >= window ? end - window + 1 : 0; minute <= p->minute; minute++)
        total += p->used_us[minute % window];
    return total;
}

uint64_t radio_pacer_budget_us(const struct radio_pacer *p)
{
    return is_limited(p) ? budget_us(p) : 0;
}

void radio_pacer_hold(struct radio_pacer *p, uint64_t until_ms)
{
    if (until_ms > p->hold_ms) {
        p->hold_ms = until_ms;
    }
}
