#ifndef RADIO_RTT_H
#define RADIO_RTT_H
#include <stdint.h>
struct radio_rtt { uint32_t a; };
static inline void radio_rtt_init(struct radio_rtt *r, uint32_t s, uint32_t mi, uint32_t ma){(void)mi;(void)ma;r->a=s;}
static inline uint32_t radio_rtt_rto(const struct radio_rtt *r){return r->a;}
static inline void radio_rtt_sample(struct radio_rtt *r, uint32_t ms){(void)r;(void)ms;}
static inline void radio_rtt_weak(struct radio_rtt *r, uint32_t ms){(void)r;(void)ms;}
#endif
