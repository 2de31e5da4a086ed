"""A worker's own place in a scratch folder. Several may be given the same one, under the same name even: none touches what
another pulls and makes ready."""

import fcntl
import itertools
from pathlib import Path
from typing import IO

LOCK = "lock"


class Seat:
    """The scratch folder itself for the first worker, `worker-2` in it for the second, ...; held until the process ends.

    A lock of the kernel's says that a seat is taken, so that one is free again however its worker has ended. Where the file
    system has no locks every worker takes the first.
    """

    def __init__(self, scratch: Path) -> None:
        for self.number in itertools.count(1):
            self.folder = scratch if self.number == 1 else scratch / f"worker-{self.number}"
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / LOCK).open("w")
            if _locked(self._lock):
                return
            self._lock.close()

    def named(self, worker: str) -> str:
        """What a worker is called in this seat: two of one name are two."""
        return worker if self.number == 1 else f"{worker}#{self.number}"


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system
        return True
    return True
