"""Ports of this machine for servers that a test starts."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path

LOWEST = 10_000
_DEALT_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that nobody listens on now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now, below those that the kernel deals out: one of these may go to another server of
    the tests, or to a connection, before the server that it was meant for binds it."""
    dealt_out = int(_DEALT_OUT.read_text().split()[0]) if _DEALT_OUT.exists() else 32_768
    highest = dealt_out if dealt_out > 2 * LOWEST else 65_536  # where they may have any port there are no others
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", random.randrange(LOWEST, highest)))
            except OSError:  # somebody's
                continue
            found.append(int(probe.getsockname()[1]))
    return found
