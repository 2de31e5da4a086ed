"""The report's list of checks while it is being written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub.spec import report

_WEIGHT = {"skipped": 0, "passed": 1, "warning": 2, "failed": 3}
LISTED = 3
"""Names told before "and N more"."""
DIGITS = 4


@dataclass(frozen=True)
class Finding:
    """What a check has to say. `status` is one of `report.STATUSES`; `evidence` is the same at every replay."""

    check: str
    status: str
    message: str = ""
    hint: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


class Ledger:
    """One entry per check name; what several components or benchmarks say of it is brought together."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {}

    def adopt(self, checks: Iterable[dict[str, Any]]) -> None:
        """Take over checks that are already in the report's shape."""
        for found in checks:
            self.note(found["name"], found["status"], found["message"], found["hint"], found["evidence"])

    def add(self, finding: Finding, folder: str = "") -> None:
        """Note what a check found about the adapter in a folder."""
        self.note(finding.check, finding.status, finding.message, finding.hint, finding.evidence, folder)

    def note(
        self,
        name: str,
        status: str,
        message: str = "",
        hint: str = "",
        evidence: dict[str, Any] | None = None,
        folder: str = "",
    ) -> None:
        """Add to a check. The worst status stands; messages of equal standing are joined."""
        text = f"{folder}: {message}" if folder and message else message
        facts = {folder: evidence} if folder and evidence else (evidence or {})
        known = self._found.get(name)
        if known is None or _WEIGHT[status] > _WEIGHT[known["status"]]:
            kept = {} if known is None else known["evidence"]
            self._found[name] = report.check(name, status, text, hint, {**kept, **facts})
        elif _WEIGHT[status] == _WEIGHT[known["status"]]:
            joined = "; ".join(dict.fromkeys(part for part in (known["message"], text) if part))
            hints = "; ".join(dict.fromkeys(part for part in (known["hint"], hint) if part))
            self._found[name] = report.check(name, status, joined, hints, {**known["evidence"], **facts})

    def status(self, name: str) -> str | None:
        """What a check has come to so far."""
        found = self._found.get(name)
        return None if found is None else str(found["status"])

    @property
    def failed(self) -> bool:
        return any(found["status"] == "failed" for found in self._found.values())

    def finish(self) -> list[dict[str, Any]]:
        """All checks in the report's order; those that nothing was noted for are `skipped`."""
        for name in report.CHECKS:
            if name not in self._found:
                self.note(name, "skipped", "not reached: the checks before it failed")
        return [self._found[name] for name in report.CHECKS]


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "none") + more


def significant(value: float) -> float:
    """A measured number as reports show it: rounded to a few significant digits."""
    return float(f"{value:.{DIGITS}g}")
