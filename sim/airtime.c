/* How long a frame is on the air. */
#include "sim/node.h"

/* The symbols of a LoRa packet with an explicit header, a CRC, coding rate 4/5 and a
 * preamble of 8 symbols, after Semtech's SX1276 data sheet, 4.1.1.6 and 4.1.1.7. In
 * quarters of a symbol, since the preamble has 12.25. Low data rate optimisation is on from
 * SF11, as LoRaWAN demands at 125 kHz. */
static uint64_t lora_quarter_symbols(uint32_t sf, uint64_t octets)
{
    const int64_t low_rate = sf >= 11 ? 1 : 0;
    const int64_t bits = 8 * (int64_t)octets - 4 * (int64_t)sf + 28 + 16;
    const int64_t per_block = 4 * ((int64_t)sf - 2 * low_rate);
    const int64_t blocks = bits > 0 ? (bits + per_block - 1) / per_block : 0;
    return 49 + 4 * (8 + (uint64_t)blocks * 5);
}

#define LORA_HERTZ 125000u

uint64_t sim_airtime(const struct sim_profile *p, enum sim_direction direction, size_t len,
                     uint32_t slower, uint32_t *bits)
{
    const uint64_t rate = p->path[direction].rate;
    uint64_t count = (uint64_t)len * p->bits_per_octet + p->overhead_bits;
    count += (count * p->stuffing + SIM_ALWAYS / 2) / SIM_ALWAYS;
    *bits = (uint32_t)count;
    if (p->lora_sf > 0) {
        const uint64_t quarters =
            lora_quarter_symbols(p->lora_sf, len + (p->overhead_bits + 7) / 8);
        const uint64_t us = ((quarters << p->lora_sf) * 1000000 / 4 + LORA_HERTZ - 1) / LORA_HERTZ;
        return us * slower + p->overhead_us;
    }
    if (rate == 0)
        return p->overhead_us;
    return (count * 1000000 * slower + rate - 1) / rate + p->overhead_us;
}
