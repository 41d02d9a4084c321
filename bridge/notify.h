/* What the service manager hears: sd_notify(3), by a datagram to the socket that
 * $NOTIFY_SOCKET names. Without one nothing happens. */
#ifndef BRIDGE_NOTIFY_H
#define BRIDGE_NOTIFY_H

#include <stdint.h>

void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);

/* Still alive; call it at least as often as notify_alive_ms() says. */
void notify_alive(void);

/* Half of the time after which the service manager takes us for dead; UINT64_MAX: it
 * does not watch. */
uint64_t notify_alive_ms(void);

#endif
