"""The framings of serial lines, taken off again: a second reading of what the bridge writes."""

import binascii


def fcs16(octets):
    """RFC 1662, appendix C.2."""
    fcs = 0xFFFF
    for octet in octets:
        fcs ^= octet
        for _ in range(8):
            fcs = fcs >> 1 ^ (0x8408 if fcs & 1 else 0)
    return fcs ^ 0xFFFF


def unescape(chunk, escape, meaning):
    out, octets = bytearray(), iter(chunk)
    for octet in octets:
        out.append(meaning(next(octets)) if octet == escape else octet)
    return bytes(out)


def cobs(chunk):
    out, at = bytearray(), 0
    while at < len(chunk):
        code = chunk[at]
        out += chunk[at + 1 : at + code]
        at += code
        if code < 0xFF and at < len(chunk):
            out.append(0)
    assert len(out) > 2 and binascii.crc_hqx(bytes(out[:-2]), 0xFFFF) == (out[-2] << 8 | out[-1])
    return bytes(out[:-2])


def slip(chunk):
    return unescape(chunk, 0xDB, {0xDC: 0xC0, 0xDD: 0xDB}.__getitem__)


def hdlc(chunk):
    out = unescape(chunk, 0x7D, lambda octet: octet ^ 0x20)
    assert len(out) > 2 and fcs16(out[:-2]) == (out[-1] << 8 | out[-2])
    return out[:-2]


def frames(name, octets):
    """The whole frames in what was written to a line; the last one may have been cut off."""
    if name == "raw":
        found = []
        while octets:
            size = octets[1] << 8 | octets[2] if octets[0] == 1 else octets[0]
            if octets[1] == 0xFE and len(octets) > size:
                size += octets[size]  # an envelope, and what is in it
            assert size > 1, octets.hex()
            found.append(octets[:size])
            octets = octets[size:]
        return found
    mark, decode = {"cobs": (0x00, cobs), "slip": (0xC0, slip), "hdlc": (0x7E, hdlc)}[name]
    return [decode(chunk) for chunk in octets.split(bytes([mark]))[:-1] if chunk]
