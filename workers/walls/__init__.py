"""The walls around a child that touches uploaded bytes: what each is called, which must hold, what to do where one does not.

`view` (Landlock) and `syscalls` (seccomp) are two of the means, `workers.sandbox` puts them up, `workers.selftest` has a
throwaway child run against them. What a run's report says is what that child found, not what was asked for.
"""

from collections.abc import Collection
from dataclasses import dataclass

MEANS = frozenset({"limits", "namespace", "syscalls", "user", "view"})
"""What a child is confined by: resource limits, an empty network namespace, a filter of system calls, a user id of its
own, a view of the file system. Several stop the same attack, so that a fault in one is not yet a way out."""


@dataclass(frozen=True)
class Wall:
    """One thing that a child cannot do."""

    says: str
    essential: bool
    """Whether nothing is judged without it, unless HUB_ISOLATION says otherwise."""
    mend: str


_SECCOMP = "use a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64; in a container, no profile that forbids prctl"
_LANDLOCK = "use Linux 6.12 or later with landlock in the list of LSMs (lsm=landlock,...)"
_NAMESPACE = "allow unshare(CLONE_NEWUSER | CLONE_NEWNET); Docker's default profile does not, and the walls do without"
WALLS: dict[str, Wall] = {
    "network": Wall("reaches no network", True, _SECCOMP),
    "sockets": Wall("opens no socket of any kind, unix sockets included", False, _SECCOMP),
    "network namespace": Wall("has an empty network of its own besides", False, _NAMESPACE),
    "writing": Wall("writes, renames and removes no file", True, _SECCOMP),
    "reading": Wall("reads no file but the installed libraries", False, _LANDLOCK),
    "processes": Wall("starts no process and runs no program", True, _SECCOMP),
    "neighbours": Wall("neither signals, traces nor reads another process", False, _SECCOMP),
    "limits": Wall("has so much memory, time, file size and open files", True, "let the worker lower its own limits"),
    "user": Wall("is not root", False, "run the worker as an ordinary user, or as root with CAP_SETUID and CAP_SETGID"),
    "kernel": Wall("makes no system call but those of computing", False, _SECCOMP),
}


@dataclass(frozen=True)
class Isolation:
    """Which walls were found to hold."""

    held: tuple[str, ...]
    asked: bool = True
    """False where HUB_ISOLATION=off asked for none."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The walls that do not hold, in the table's order."""
        return tuple(name for name in WALLS if name not in self.held)

    @property
    def breaches(self) -> tuple[str, ...]:
        """Those among them without which nothing should be judged."""
        return tuple(name for name in self.missing if WALLS[name].essential)

    @property
    def level(self) -> str:
        """`full`, `off`, or what is missing: `all but network namespace, reading`."""
        if not self.asked:
            return "off"
        return f"all but {', '.join(self.missing)}" if self.missing else "full"

    def advice(self) -> list[str]:
        """For each wall that does not hold, a line that says what that means and what to do about it."""
        if not self.asked:
            return ["HUB_ISOLATION=off: nothing confines an adapter's child but the time limit of its run"]
        return [
            f"nothing makes sure that an adapter's child {WALLS[name].says}; to mend: {WALLS[name].mend}"
            for name in self.missing
        ]

    def to_json(self) -> dict[str, object]:
        """As a run's report has it."""
        return {"level": self.level, "walls": list(self.held)}


def found(held: Collection[str], asked: bool = True) -> Isolation:
    """The walls that hold, in the table's order."""
    return Isolation(tuple(name for name in WALLS if name in held), asked)
