/* CRC-32C (Castagnoli): polynomial 1EDC6F41, reflected, start and final value
 * FFFFFFFF; "123456789" is E3069283. RFC 3720, B.4 has more test vectors.
 */
#ifndef BRIDGE_CRC32C_H
#define BRIDGE_CRC32C_H

#include "mqttsn/bytes.h"

/* The CRC of a run of octets that continues one whose CRC is crc; 0 starts. */
uint32_t crc32c(uint32_t crc, struct sn_bytes bytes);

#endif
