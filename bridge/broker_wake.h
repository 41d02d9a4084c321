/* A pretended broker inside this process, to wake the client library.
 *
 * Paho's receiving thread sleeps in poll(2) for up to a second on the sockets
 * it knew when it went to sleep, and when nothing came it sleeps another 100 ms
 * without looking. A connection that is being made is therefore seen up to two
 * seconds late, and a lone acknowledgement up to 100 ms late. One more client
 * of the library, connected to this listener, cures both: whatever arrives for
 * it ends the sleep, so we send it an unasked PINGRESP when that is useful.
 *
 * The listener is on 127.0.0.1 with a port of the system's choice, takes one
 * connection, and only one whose other end is a socket of this process. It
 * speaks as much MQTT 3.1.1 as that client needs: CONNACK and PINGRESP.
 * Without it everything works, later.
 */
#ifndef BRIDGE_BROKER_WAKE_H
#define BRIDGE_BROKER_WAKE_H

#include <stddef.h>
#include <stdint.h>

struct broker_wake;

/* Listens, starts the thread and writes where to connect, as a URL. Returns 0
 * or -errno. */
int broker_wake_open(struct broker_wake **out, char *url, size_t url_size);

/* Wakes the library often from now on and less often as time goes by, until
 * broker_wake_rest(): while connections are being made. Any thread may call
 * these two; they never wait. */
void broker_wake_hurry(struct broker_wake *w);
void broker_wake_rest(struct broker_wake *w);

/* Ends the thread and the connection. NULL is fine. */
void broker_wake_close(struct broker_wake *w);

#endif
