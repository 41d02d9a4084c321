/* A link over a serial port: opens and configures it, brings it back after it
 * was unplugged, and runs a stream link on it (link_stream.h).
 *
 * The device may be a symbolic link such as udev makes; it is followed anew each
 * time the port is opened, so an adapter that comes back under another name is
 * found. The port is taken for ourselves alone: TIOCEXCL against programs
 * without privileges, flock() against those that ask. Ports that libserialport
 * does not know, ptys above all, are opened by termios alone.
 */
#ifndef RADIO_LINK_SERIAL_H
#define RADIO_LINK_SERIAL_H

#include "radio/framing.h"
#include "radio/link.h"

enum radio_serial_parity {
    RADIO_SERIAL_PARITY_NONE,
    RADIO_SERIAL_PARITY_EVEN,
    RADIO_SERIAL_PARITY_ODD,
};

enum radio_serial_flow {
    RADIO_SERIAL_FLOW_NONE,
    RADIO_SERIAL_FLOW_RTSCTS,
    RADIO_SERIAL_FLOW_XONXOFF, /* only with a framing that keeps 11 and 13 off the line: hdlc */
};

struct radio_serial_options {
    const char *device; /* borrowed for the call */
    uint32_t baud;      /* 0 means 9600; any number that the driver takes */
    uint8_t data_bits;  /* 0 means 8, which the framings need: others are refused */
    uint8_t stop_bits;  /* 1 or 2; 0 means 1 */
    enum radio_serial_parity parity;
    enum radio_serial_flow flow;
    enum radio_framing framing;
    size_t frame_max; /* octets of a frame without framing; 0 means 256 */

    /* Silence that ends an unfinished frame. 0 means 1000 ms; with raw, which
     * has nothing else, the time of 20 octets, at least 100 ms. */
    uint32_t gap_ms;

    bool wait_at_start; /* a device that is missing at start is waited for like one unplugged */
    bool keep_dtr;      /* leave DTR up when closing: boards that it resets; hangs up no modem */
};

/* Opens the port. 0 or -errno; a failure leaves one line for the log in why and
 * *out untouched. Later losses are no failure: the link goes down and tick()
 * tries to open it again, for ever. */
int radio_serial_open(const struct radio_serial_options *o, struct radio_link **out, char *why,
                      size_t why_size);

/* Why the port could not be opened when that was last tried; "" when it could. */
const char *radio_serial_why(const struct radio_link *l);

/* Octets that the line carries in a second, start, parity and stop bits taken
 * off. Defaults apply as above. */
uint32_t radio_serial_octets_per_s(const struct radio_serial_options *o);

#endif
