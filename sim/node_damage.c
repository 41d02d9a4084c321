/* Bits that are wrong, and frames that come twice.
 *
 * bit_errors is the chance of each bit on the air, so that long frames suffer more: a frame of
 * n bits survives with chance (1 - b)^n. corrupt is tc-netem's: one wrong bit in so many
 * frames, whatever their length. With check a layer below notices, and the frame is lost;
 * without, it arrives with other octets. duplicate sends a frame on twice.
 */
#include "sim/node.h"

struct damage {
    struct sim_node node;
    const struct sim_path *path;
    struct sim_random random;
};

/* The upper half of a product. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
    const uint64_t a0 = a & UINT32_MAX, a1 = a >> 32;
    const uint64_t b0 = b & UINT32_MAX, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
    const uint64_t other = a0 * b1 + (middle & UINT32_MAX);
    return a1 * b1 + (middle >> 32) + (other >> 32);
}

/* (1 - ppb)^bits, in 2^-64. */
static uint64_t survival(uint32_t ppb, uint32_t bits)
{
    /* 2^64 / 10^9, cut; the rest is far below what ppb resolves. */
    uint64_t base = UINT64_MAX - (uint64_t)ppb * UINT64_C(18446744073);
    uint64_t result = UINT64_MAX;
    for (; bits > 0; bits >>= 1) {
        if (bits & 1)
            result = multiply(result, base);
        base = multiply(base, base);
    }
    return result;
}

static void flip_a_bit(struct damage *d, struct sim_packet *p)
{
    const uint64_t bit = sim_random_below(&d->random, 8 * p->len);
    p->octets[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* Whether some bit is wrong; then they are. */
static bool damage(struct damage *d, struct sim_packet *p)
{
    bool wrong = false;
    if (d->path->bit_errors > 0) {
        const uint64_t survives = survival(d->path->bit_errors, p->air_bits);
        /* After each wrong bit, another one is about as likely as the first. */
        for (int left = 64; left > 0 && sim_random_next(&d->random) > survives; left--) {
            flip_a_bit(d, p);
            wrong = true;
        }
    }
    if (sim_random_chance(&d->random, d->path->corrupt)) {
        flip_a_bit(d, p);
        wrong = true;
    }
    return wrong;
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct damage *d = (struct damage *)n;
    if (p->len > 0 && damage(d, p)) {
        if (n->line->profile->check) {
            sim_lose(n->line, p, "bit-errors");
            return;
        }
        sim_packet_say(n->line, p, (struct sim_record){.type = SIM_FRAME_DAMAGED});
    }
    struct sim_packet *copy =
        sim_random_chance(&d->random, d->path->duplicate) ? sim_copy(n->line, p) : NULL;
    sim_pass(n, p);
    if (copy != NULL)
        sim_pass(n, copy);
}

void sim_damage_add(struct sim_line *l, enum sim_direction direction)
{
    static const struct sim_node_ops ops = {.take = take};
    const struct sim_path *path = &l->profile->path[direction];
    if (path->bit_errors == 0 && path->corrupt == 0 && path->duplicate == 0)
        return;
    struct damage *d = sim_node_new(l, sizeof *d, &ops);
    d->path = path;
    sim_line_random(l, direction == SIM_UP ? "damage up" : "damage down", &d->random);
    sim_node_join(&d->node, direction);
}
