"""A bar on a terminal, silence in a pipe."""

import sys
import threading
from types import TracebackType
from typing import Any, Self


class Progress:
    """Counts bytes, or what `unit` says, for a person. Drawn on stderr, only on a terminal, never when `quiet`. Safe for threads."""

    def __init__(self, total: int, label: str, *, quiet: bool = False, unit: str = "B") -> None:
        self._lock = threading.Lock()
        self._bar: Any = None
        if not quiet and total and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm  # 4 ms, only where somebody looks

            scaled = unit == "B"
            self._bar = tqdm(
                total=total,
                desc=label,
                unit=unit,
                unit_scale=scaled,
                unit_divisor=1024 if scaled else 1000,
                leave=False,
            )

    def add(self, count: int) -> None:
        """`count` more bytes are through; negative when a file starts again."""
        if self._bar is not None:
            with self._lock:
                self._bar.update(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


SILENT = Progress(0, "", quiet=True)
