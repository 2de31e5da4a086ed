"""What a report's page shows beside its scores, read out of evidence that may hold anything: an old report, or an odd one."""

from collections.abc import Iterable, Mapping
from typing import Any

from hub.spec.methods import rewriting
from registry.templatetags import hub


def layers(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The merged layers of each adapter in a report: [{folder, layers: [{module, ratio, lost}], most, lost}]."""
    found = []
    for folder, evidence in _by_folder(_evidence(report, "merge"), "layers"):
        rows = [_layer(row) for row in items(evidence.get("layers")) if isinstance(row, dict)]
        rows = [row for row in rows if row["ratio"] is not None]
        if rows:
            most = max(row["ratio"] for row in rows)
            found.append({"folder": folder, "layers": rows, "most": most, "lost": hub.number(evidence.get("lost"))})
    return found


def marks(report: dict[str, Any]) -> list[dict[str, str]]:
    """Single numbers about what an adapter does to its base model: [{value, words}], those that were measured."""
    found = []
    for name, key, form, words in _MARKS:
        for folder, evidence in _by_folder(_evidence(report, name), key):
            value = hub.number(evidence.get(key))
            if value is not None:
                place = f"{folder}: " if folder else ""
                found.append({"value": form(value), "words": f"{place}{words}"})
    return found


def environment(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What ran, a line a word. How it was confined is one word; the walls one by one stand in the report itself."""
    told = report.get("environment")
    return [(str(key), _line(_level(value))) for key, value in told.items()] if isinstance(told, dict) else []


def again(report: dict[str, Any]) -> dict[str, Any] | None:
    """What came of judging it again, None where nobody did."""
    told = report.get("revalidation")
    if not isinstance(told, dict) or told.get("verdict") not in ("passed", "failed"):
        return None
    ran = told.get("environment")
    changed = [(str(key), *_pair(pair)) for key, pair in ran.items()] if isinstance(ran, dict) else []
    return {**told, "environment": changed}


def rewritten(files: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The configurations that are served in other words: [{path, changes, matters}]. `matters`: somebody may miss something."""
    return [
        {**file, "matters": not all(rewriting.is_form(str(change)) for change in file["changes"])} for file in files
    ]


def _level(value: Any) -> Any:
    return value.get("level", value) if isinstance(value, dict) else value


def _pair(pair: Any) -> tuple[str, str]:
    both = items(pair)
    return (_line(_level(both[0])), _line(_level(both[1]))) if len(both) == 2 else ("–", "–")


def _evidence(report: dict[str, Any], name: str) -> dict[str, Any]:
    for check in items(report.get("checks")):
        if isinstance(check, dict) and check.get("name") == name and isinstance(check.get("evidence"), dict):
            return dict(check["evidence"])
    return {}


def _by_folder(evidence: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """Evidence of an adapter in the root, or one each of several in folders."""
    if key in evidence:
        return [("", evidence)]
    return [(str(name), value) for name, value in evidence.items() if isinstance(value, dict) and key in value]


def _layer(row: dict[str, Any]) -> dict[str, Any]:
    ratio, lost = hub.number(row.get("ratio")), hub.number(row.get("lost"))
    kept = None if ratio is None or ratio < 0 else ratio
    return {
        "module": str(row.get("module") or "?"),
        "ratio": kept,
        "lost": None if lost is None else min(1.0, max(0.0, lost)),
    }


def items(value: Any) -> list[Any]:
    """The items of a list; none of anything else."""
    return value if isinstance(value, list) else []


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_line(held)}" for key, held in value.items())
    if isinstance(value, list):
        return ", ".join(_line(held) for held in value) or "–"
    return "–" if value is None else str(value)


def _short(value: float) -> str:
    return f"{value:.3g}"


def _share(value: float) -> str:
    return hub.percent(100 * value)


_MARKS = (
    ("effect", "hidden", _short, "largest change of a hidden state"),
    ("effect", "noise", _short, "of the same by other batches alone (noise)"),
    ("drift", "cosine", _short, "cosine to the base model on neutral text"),
    ("drift", "moved", _share, "change of hidden states on neutral text"),
    ("merge", "lost", _share, "of the delta lost when merged in bfloat16"),
    ("parity", "distance", _short, "largest distance from PEFT's own answer"),
)
