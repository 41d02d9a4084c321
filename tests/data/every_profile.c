/* Every shipped profile for two days, with three devices and frames in both directions: what the
 * trace says, as text. tests/e2e/test_same.py compares what several compilers make of it. */
#include "sim/channel.h"
#include "sim/profile.h"

#include <inttypes.h>
#include <stdio.h>

static void hear(void *ctx, const struct sim_record *r)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < r->bytes.len; i++)
        sum = sum * 31 + r->bytes.data[i];
    fprintf(ctx,
            "%" PRIu64 " %d %d %s %s %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32
            "\n",
            r->at_us, (int)r->type, (int)r->direction, r->device != NULL ? r->device : "-",
            r->why != NULL ? r->why : "-", r->text != NULL ? r->text : "-", r->frame, r->until_us,
            r->number, r->air_bits, sum);
}

static void arrive(void *ctx, enum sim_direction direction, uint32_t peer, const uint8_t *frame,
                   size_t len)
{
    (void)ctx;
    (void)direction;
    (void)peer;
    (void)frame;
    (void)len;
}

static void run(const struct sim_profile *profile, FILE *out)
{
    static const char *const names[] = {"a", "b", "c"};
    struct sim_world *w = sim_world_open();
    struct sim_trace *trace = sim_trace_open();
    struct sim_random r;
    uint8_t frame[300];
    sim_random_init(&r, 5, profile->name);
    sim_trace_listen(trace, hear, out);
    struct sim_channel *c = sim_channel_open(w, trace, 42, profile->name, profile, arrive, NULL);
    for (int i = 0; i < 3; i++)
        sim_channel_attach(c, names[i]);
    while (sim_now(w) < 2 * 86400 * SIM_S) {
        const size_t len = (size_t)sim_random_between(&r, 1, sizeof frame);
        for (size_t i = 0; i < len; i++)
            frame[i] = (uint8_t)sim_random_next(&r);
        const enum sim_direction d = sim_random_below(&r, 3) == 0 ? SIM_DOWN : SIM_UP;
        sim_channel_send(c, d, (uint32_t)sim_random_between(&r, 1, 3), frame, len);
        sim_world_run_until(w, sim_now(w) + sim_random_wait(&r, 120 * SIM_S));
    }
    sim_channel_close(c);
    sim_trace_close(trace);
    sim_world_close(w);
}

int main(void)
{
    struct sim_profiles all;
    if (sim_profiles_open(&all, NULL, stderr) < 0)
        return 1;
    for (size_t i = 0; i < all.count; i++) {
        printf("%s\n", all.list[i].name);
        run(&all.list[i], stdout);
    }
    sim_profiles_close(&all);
    return 0;
}
