"""Attacks by words: what a child may say to its parent instead of a report."""

import os
import time

from tests.engine.hostile import own_pipe
from tests.engine.resident import Attack, Place


def saying(data: bytes, times: int = 1) -> Attack:
    """An attack by words: these bytes, so many times, and then nothing more."""

    def say(place: Place) -> object:
        pipe = own_pipe()
        for _ in range(times):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(pipe, rest) :]
        time.sleep(600)
        return None

    return say


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def go_quiet(place: Place) -> object:
    """Close the pipe and live on."""
    os.close(own_pipe())
    time.sleep(600)
    return None


def recurse(place: Place) -> object:
    import sys

    sys.setrecursionlimit(1 << 30)

    class Deep:
        def __repr__(self) -> str:
            return repr(self)

    return repr(Deep())
