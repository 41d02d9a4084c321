/* What is wrong with TLS towards the broker, in words for the operator.
 *
 * The client library makes the connections; when one fails it has little to
 * say. So the files are looked at before, and an attempt that failed is made
 * once more by hand, with the same files and the same checks. What comes back in
 * why is one line that says what was found and which key of the configuration, or
 * what else, mends it.
 *
 * Nothing is kept between calls.
 */
#ifndef BRIDGE_BROKER_TLS_H
#define BRIDGE_BROKER_TLS_H

#include "bridge/broker.h"

/* Whether ca_file, cert_file and key_file can be used: PEM, a key without a
 * password (nobody is there to type it), the key of this certificate. When not,
 * *key is the name of the key of the configuration that is to blame. */
bool broker_tls_check(const struct broker_options *o, const char **key, char *why, size_t why_size);

/* Connects, shakes hands, waits at most wait_ms for the broker's verdict on our
 * certificate (in TLS 1.3 it comes after the handshake), and hangs up. True: TLS
 * works, the reason for the failure is another. */
bool broker_tls_reach(const struct broker_options *o, const char *host, uint16_t port,
                      uint32_t wait_ms, char *why, size_t why_size);

/* Whether who listens there speaks TLS, whoever it is. */
bool broker_tls_is_spoken(const char *host, uint16_t port, uint32_t wait_ms);

#endif
