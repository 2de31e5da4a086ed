"""Where two reports on the same adapter differ, field by field: a published one and the same judgement made again.

Times, hosts, wording and the environment are left out, as they are of `report.result_digest`; `environment` tells of the
last by itself, because it explains the rest.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hub.spec import documents

_SCORED = ("metric", "direction", "value", "interval", "n", "baselines", "gain", "change", "gates", "evidence")


@dataclasses.dataclass(frozen=True)
class Difference:
    """A field by its path, what the published report says there and what the new one says; None where there is nothing."""

    where: str
    published: Any
    measured: Any

    def __str__(self) -> str:
        told = f"{self.where}: {documents.shorten(self.published)} published, {documents.shorten(self.measured)} now"
        numbers = all(type(value) in (int, float) for value in (self.published, self.measured))
        return f"{told} ({self.measured - self.published:+.3g})" if numbers else told

    def to_json(self) -> dict[str, Any]:
        """The three as a JSON object."""
        return dataclasses.asdict(self)


def differences(published: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Difference]:
    """Return every difference in verdict, digests, base model, checks, scores and predictions, in a report's order."""
    found = list(_leaves("", _told(published), _told(measured)))
    return found + list(_answers(published.get("predictions") or {}, measured.get("predictions") or {}))


def environment(published: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Difference]:
    """Return what ran otherwise: versions, threads, number format, machine."""
    before, now = published.get("environment") or {}, measured.get("environment") or {}
    return list(_leaves("environment", before, now))


def unworded(key: str, value: Any) -> Any:
    """Return a part of a score without the words on how it was found."""
    if key not in ("gain", "change") or not isinstance(value, dict):
        return value
    return {name: told for name, told in value.items() if name != "method"}


def _told(report: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a report that a replay has to repeat, by names that mean the same in both."""
    base = report.get("base_model") or {}
    return {
        "verdict": report.get("verdict"),
        "adapter_digest": str(report.get("adapter_digest") or "").removeprefix("sha256:"),
        "base_model": {key: base.get(key) for key in ("fingerprint", "architecture", "tokenizer_digest")},
        "checks": {
            str(check.get("name")): {"status": check.get("status"), "evidence": check.get("evidence") or {}}
            for check in report.get("checks") or []
        },
        "components": {
            str(part.get("folder") or ""): {
                str(score.get("benchmark")): _score(score) for score in part.get("scores") or []
            }
            for part in report.get("components") or []
        },
    }


def _score(score: Mapping[str, Any]) -> dict[str, Any]:
    return {key: unworded(key, score.get(key)) for key in _SCORED}


def _leaves(where: str, before: Any, now: Any) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*before, *now)):
            name = str(key) or "(root)"
            yield from _leaves(f"{where}.{name}" if where else name, before.get(key), now.get(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from _leaves(f"{where}[{place}]", one, other)
    elif not _same(before, now):
        yield Difference(where, before, now)


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, float) and isinstance(now, float) and math.isnan(before) and math.isnan(now):
        return True
    return bool(before == now)


def _answers(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """How many answers are others, by benchmark; only where both reports hold them."""
    for digest in before:
        one, other = _rows(before[digest]), _rows(now.get(digest))
        if one is None or other is None:
            continue
        if len(one) != len(other):
            yield Difference(f"predictions.{digest}.rows", len(one), len(other))
            continue
        changed = [row for row, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
        if changed:
            yield Difference(f"predictions.{digest}.others", 0, len(changed))


def _rows(answers: Any) -> list[Any] | None:
    """Every answer of every folder in one list; None where a report leaves them out."""
    if not isinstance(answers, dict) or not isinstance(answers.get("labels"), list):
        return None
    folders = answers.get("folders")
    more = [row for folder in sorted(folders) for row in folders[folder]] if isinstance(folders, dict) else []
    return [*answers["labels"], *more]
