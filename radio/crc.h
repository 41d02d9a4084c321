/* The two 16-bit checks that our framings carry.
 *
 * Both use the polynomial x^16 + x^12 + x^5 + 1 (1021) and start from FFFF; they
 * differ in the order of the bits. A run of octets may be fed in pieces: the
 * answer of one call is the start of the next.
 */
#ifndef RADIO_CRC_H
#define RADIO_CRC_H

#include <stddef.h>
#include <stdint.h>

#define RADIO_CRC_START 0xFFFFu

/* CRC-16/CCITT-FALSE: not reflected, nothing added at the end; "123456789" is 29B1.
 * Travels most significant octet first. Over a run and its own check it is 0. */
uint16_t radio_crc_ccitt(uint16_t crc, const uint8_t *data, size_t len);

/* FCS-16 of RFC 1662, appendix C.2: reflected. What travels is the complement of the
 * answer, least significant octet first; for "123456789" the complement is 906E. Over a
 * run and its own check it is RADIO_CRC_FCS16_GOOD. */
uint16_t radio_crc_fcs16(uint16_t crc, const uint8_t *data, size_t len);

#define RADIO_CRC_FCS16_GOOD 0xF0B8u

#endif
