#include "radio/crc.h"

/* Tables of 16 entries take four bits at a time: 64 octets of constants, so that
 * this file also suits the smallest devices. */
static const uint16_t ccitt_table[16] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
    0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
};

static const uint16_t fcs16_table[16] = {
    0x0000, 0x1081, 0x2102, 0x3183, 0x4204, 0x5285, 0x6306, 0x7387,
    0x8408, 0x9489, 0xA50A, 0xB58B, 0xC60C, 0xD68D, 0xE70E, 0xF78F,
};

uint16_t radio_crc_ccitt(uint16_t crc, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)((unsigned)crc << 4 ^ ccitt_table[(crc >> 12) ^ (data[i] >> 4)]);
        crc = (uint16_t)((unsigned)crc << 4 ^ ccitt_table[(crc >> 12) ^ (data[i] & 0x0F)]);
    }
    return crc;
}

uint16_t radio_crc_fcs16(uint16_t crc, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)(crc >> 4 ^ fcs16_table[(crc ^ data[i]) & 0x0F]);
        crc = (uint16_t)(crc >> 4 ^ fcs16_table[(crc ^ data[i] >> 4) & 0x0F]);
    }
    return crc;
}
