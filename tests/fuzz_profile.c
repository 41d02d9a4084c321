/* Any octets as a file of profiles.
 *
 * What must hold: every profile that a good file makes is printed and read back the same, and
 * all its figures are such that a channel can be opened with them and carries a frame.
 */
#include "sim/channel.h"
#include "sim/profile.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(fact)                                                                              \
    do {                                                                                           \
        if (!(fact)) {                                                                             \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #fact);                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define PROFILES_MAX 8 /* of a file: more teach nothing new */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static FILE *nowhere;

static int read_text(const char *text, size_t len, struct sim_profiles *out)
{
    if (len == 0)
        return 0;
    FILE *file = fmemopen((void *)(uintptr_t)text, len, "r");
    REQUIRE(file != NULL);
    const int result = sim_profiles_read(out, file, "fuzz", nowhere);
    fclose(file);
    return result;
}

static void is_read_back(const struct sim_profile *p)
{
    struct sim_profiles back = {0};
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    REQUIRE(out != NULL);
    sim_profile_print(p, false, out);
    fclose(out);
    REQUIRE(read_text(text, len, &back) == 0);
    REQUIRE(back.count == 1);
    REQUIRE(memcmp(&back.list[0], p, sizeof *p) == 0);
    sim_profiles_close(&back);
    free(text);
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

static void carries(const struct sim_profile *p)
{
    static const uint8_t frame[20];
    struct sim_world *w = sim_world_open();
    struct sim_trace *t = sim_trace_open();
    struct sim_channel *c = sim_channel_open(w, t, 1, "fuzz", p, arrive, NULL);
    sim_channel_attach(c, "device");
    sim_channel_send(c, SIM_UP, 1, frame, sizeof frame);
    sim_channel_send(c, SIM_DOWN, 1, frame, sizeof frame);
    /* So many events, however fast they come. */
    while (sim_world_events(w) < 200 && sim_world_next(w) != SIM_NEVER)
        sim_world_run_until(w, sim_world_next(w));
    sim_world_stop(w);
    sim_channel_close(c);
    sim_trace_close(t);
    sim_world_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_profiles all = {0};
    if (nowhere == NULL)
        nowhere = fopen("/dev/null", "w");
    REQUIRE(nowhere != NULL);
    const int result = read_text((const char *)data, size, &all);
    for (size_t i = 0; result == 0 && i < all.count && i < PROFILES_MAX; i++) {
        is_read_back(&all.list[i]);
        carries(&all.list[i]);
    }
    sim_profiles_close(&all);
    return 0;
}
