#include "bridge/crc32c.h"

/* A CRC is linear: the entry of any octet is the sum of the entries of its
 * bits. So eight constants make a table, and the compiler fills it in. Table k
 * holds the octet's effect after k further octets, so that four octets are
 * taken in one round instead of waiting for each other. */
#define BIT(i, n, value) (((i) >> (n)&1u) != 0 ? (value) : 0u)
#define ENTRY_0(i)                                                                                 \
    (BIT(i, 0, 0xF26B8303u) ^ BIT(i, 1, 0xE13B70F7u) ^ BIT(i, 2, 0xC79A971Fu) ^                    \
     BIT(i, 3, 0x8AD958CFu) ^ BIT(i, 4, 0x105EC76Fu) ^ BIT(i, 5, 0x20BD8EDEu) ^                    \
     BIT(i, 6, 0x417B1DBCu) ^ BIT(i, 7, 0x82F63B78u))
#define ENTRY_1(i)                                                                                 \
    (BIT(i, 0, 0x13A29877u) ^ BIT(i, 1, 0x274530EEu) ^ BIT(i, 2, 0x4E8A61DCu) ^                    \
     BIT(i, 3, 0x9D14C3B8u) ^ BIT(i, 4, 0x3FC5F181u) ^ BIT(i, 5, 0x7F8BE302u) ^                    \
     BIT(i, 6, 0xFF17C604u) ^ BIT(i, 7, 0xFBC3FAF9u))
#define ENTRY_2(i)                                                                                 \
    (BIT(i, 0, 0xA541927Eu) ^ BIT(i, 1, 0x4F6F520Du) ^ BIT(i, 2, 0x9EDEA41Au) ^                    \
     BIT(i, 3, 0x38513EC5u) ^ BIT(i, 4, 0x70A27D8Au) ^ BIT(i, 5, 0xE144FB14u) ^                    \
     BIT(i, 6, 0xC76580D9u) ^ BIT(i, 7, 0x8B277743u))
#define ENTRY_3(i)                                                                                 \
    (BIT(i, 0, 0xDD45AAB8u) ^ BIT(i, 1, 0xBF672381u) ^ BIT(i, 2, 0x7B2231F3u) ^                    \
     BIT(i, 3, 0xF64463E6u) ^ BIT(i, 4, 0xE964B13Du) ^ BIT(i, 5, 0xD725148Bu) ^                    \
     BIT(i, 6, 0xABA65FE7u) ^ BIT(i, 7, 0x52A0C93Fu))

#define TIMES_4(entry, i) entry(i), entry((i) + 1u), entry((i) + 2u), entry((i) + 3u)
#define TIMES_16(entry, i)                                                                         \
    TIMES_4(entry, i), TIMES_4(entry, (i) + 4u), TIMES_4(entry, (i) + 8u), TIMES_4(entry, (i) + 12u)
#define TIMES_64(entry, i)                                                                         \
    TIMES_16(entry, i), TIMES_16(entry, (i) + 16u), TIMES_16(entry, (i) + 32u),                    \
        TIMES_16(entry, (i) + 48u)
#define TABLE(entry)                                                                               \
    {                                                                                              \
        TIMES_64(entry, 0u), TIMES_64(entry, 64u), TIMES_64(entry, 128u), TIMES_64(entry, 192u)    \
    }

static const uint32_t table[4][256] = {TABLE(ENTRY_0), TABLE(ENTRY_1), TABLE(ENTRY_2),
                                       TABLE(ENTRY_3)};

uint32_t crc32c(uint32_t crc, struct sn_bytes bytes)
{
    const uint8_t *at = bytes.data;
    size_t left = bytes.len;

    crc = ~crc;
    for (; left >= 4; left -= 4, at += 4)
        crc = table[3][(crc ^ at[0]) & 0xFF] ^ table[2][(crc >> 8 ^ at[1]) & 0xFF] ^
              table[1][(crc >> 16 ^ at[2]) & 0xFF] ^ table[0][crc >> 24 ^ at[3]];
    for (; left > 0; left--, at++)
        crc = crc >> 8 ^ table[0][(crc ^ *at) & 0xFF];
    return ~crc;
}
