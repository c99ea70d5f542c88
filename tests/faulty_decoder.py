"""A decoder that dies: on red pictures by a segmentation fault, on green ones by exhausting memory."""

import os
import signal

from resight.images.decode import decode_image


def decode(content, *, max_pixels, longer_side=None):
    decoded = decode_image(content, max_pixels=max_pixels, longer_side=longer_side)
    red, green, _ = decoded.pixels.reshape(-1, 3).mean(0)
    if red > 200 and green < 50:
        os.kill(os.getpid(), signal.SIGSEGV)
    if green > 200 and red < 50:
        hoard = []
        while True:
            hoard.append(bytearray(1 << 26))
    return decoded
