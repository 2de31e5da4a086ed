"""When to try again, and how long to wait."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
NOT_PROCESSED = frozenset({429, 503})  # the hub says itself that it did nothing: safe to repeat whatever it was


@dataclass(frozen=True)
class Retry:
    """Waits of `first`, `first * factor`, ... seconds, none above `cap`, each stretched or shrunk by a fifth.

    `attempts` holds for a hub that has answered before: about 30 seconds, enough for a restart. A hub that never
    answered gets `first_contact` attempts, so that a wrong address is told soon.
    """

    attempts: int = 9
    first_contact: int = 5
    first: float = 0.25
    factor: float = 2.0
    cap: float = 8.0
    longest_wait: float = 60.0
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, headers: Mapping[str, str] | None = None) -> None:
        """Sleeps after failed attempt `attempt` (0, 1, ...); Retry-After of the answer wins, up to `longest_wait`."""
        asked = retry_after(headers or {})
        pause = min(self.cap, self.first * self.factor**attempt) * random.uniform(0.8, 1.2)  # noqa: S311
        self.sleep(min(self.longest_wait, max(pause, asked)))


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header, 0 without one (the date form is not used by the hub)."""
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
