/* Why no connection comes about, in words for the operator.
 *
 * The client library reports one and the same error for a name that does not
 * resolve, a port where nothing listens and a network without a route. So the
 * attempt is made once more, by hand.
 */
#ifndef BRIDGE_BROKER_REACH_H
#define BRIDGE_BROKER_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Resolves the host and connects to the first of its addresses that answers, each
 * within wait_ms (name servers may take longer). Returns a connected, blocking
 * descriptor; or -1 and the reason in why, for each address if there are several. */
int broker_reach_open(const char *host, uint16_t port, uint32_t wait_ms, char *why,
                      size_t why_size);

/* The same, and hangs up at once. True when it worked. */
bool broker_reach(const char *host, uint16_t port, uint32_t wait_ms, char *why, size_t why_size);

#endif
