"""What a worker is told by its environment; nothing has a file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workers.assignment import Limits

ISOLATION = ("required", "best", "off")
BROKER = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True)
class Settings:
    """HUB_ENDPOINT, HUB_WORKER_TOKEN, HUB_WORKER_BROKER_URL, HUB_BASES, HUB_SCRATCH, the limits of a run and its walls."""

    endpoint: str | None
    token: str | None
    broker: str
    bases: tuple[Path, ...]
    """Folders to look for base models in."""
    scratch: Path
    limits: Limits
    isolation: str = "required"
    """`required`: nothing is judged unless the essential walls hold. `best`: with those that do. `off`: without any."""
    parity: bool = False
    """HUB_PARITY: compare with the library that wrote an adapter, where it is installed."""


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process."""
    given = {key: value for key, value in environment.items() if value}
    scratch = given.get("HUB_SCRATCH") or str(Path(given.get("HOME", ".")) / ".cache" / "adapter-hub-worker")
    limits = Limits(
        seconds=float(given.get("HUB_RUN_SECONDS", Limits.seconds)),
        memory_gb=float(given.get("HUB_RUN_MEMORY_GB", Limits.memory_gb)),
    )
    return Settings(
        endpoint=given.get("HUB_ENDPOINT"),
        token=given.get("HUB_WORKER_TOKEN"),
        broker=given.get("HUB_WORKER_BROKER_URL", BROKER),
        bases=tuple(Path(folder) for folder in given.get("HUB_BASES", "").split(os.pathsep) if folder),
        scratch=Path(scratch).expanduser().resolve(),
        limits=limits,
        isolation=_isolation(given.get("HUB_ISOLATION", "required")),
        parity=given.get("HUB_PARITY", "0").lower() in ("1", "true", "yes", "on"),
    )


def _isolation(word: str) -> str:
    if word not in ISOLATION:
        raise ValueError(f"HUB_ISOLATION is {word!r}: say {', '.join(ISOLATION[:-1])} or {ISOLATION[-1]}")
    return word
