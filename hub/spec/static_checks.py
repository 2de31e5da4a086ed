"""One entry of a report for each check that needs no run: what failed, else what was found in order."""

from __future__ import annotations

import posixpath
from typing import Any

from hub.spec import errors, report
from hub.spec.inspecting import Inspector
from hub.spec.words import counted

CHECKS = ("files", "config", "scan", "shapes", "head", "tokenizer")
_TOKENIZER = frozenset(
    {"tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
     "tokenizer.model", "sentencepiece.bpe.model", "special_tokens_map.json", "added_tokens.json"}
)  # fmt: skip


def entries(found: Inspector) -> tuple[dict[str, Any], ...]:
    """Return one entry for each of CHECKS, as a report has them."""
    return tuple(_entry(name, found) for name in CHECKS)


def _entry(name: str, found: Inspector) -> dict[str, Any]:
    problems = [problem for problem in found.collector.problems if problem.check == name]
    return refused(name, problems) if problems else _PASSED[name](found)


def refused(name: str, problems: list[errors.Problem]) -> dict[str, Any]:
    """Return the entry of a check that failed by these problems."""
    codes = sorted({problem.code for problem in problems})
    hint = next((problem.hint for problem in problems if problem.hint), "")
    return report.check(name, "failed", _told(problems), hint, {"problems": len(problems), "codes": codes})


def _told(problems: list[errors.Problem], limit: int = 3) -> str:
    """How many there are and the first of them; the file is named once, not before every tensor."""
    clauses, place = [], ""
    for problem in problems[:limit]:
        clauses.append(f"{problem.where}: {problem.message}" if problem.where not in ("", place) else problem.message)
        place = problem.where
    count = f"{len(problems)} problems, " if len(problems) > 1 else ""
    more = f"; and {len(problems) - limit} more" if len(problems) > limit else ""
    return count + "; ".join(clauses) + more


def _files(found: Inspector) -> dict[str, Any]:
    sizes = found.files.files
    total = sum(sizes.values())
    message = f"{counted(len(sizes), 'file')}, {counted(total, 'byte')}: safetensors, JSON and text only"
    return report.check("files", "passed", message, "", {"files": len(sizes), "bytes": total})


def _config(found: Inspector) -> dict[str, Any]:
    variants = [component.variant for component in found.components]
    if not variants:
        return report.check("config", "skipped", "no configuration was read")
    notices = [*found.facts.notices, *found.notices]
    status = "warning" if notices else "passed"
    message = "; ".join([f"{', '.join(sorted(set(variants)))}: every key was judged", *notices])
    return report.check("config", status, message, "", {"variants": variants})


def _scan(found: Inspector) -> dict[str, Any]:
    count = sum(len(header) for header in found.headers.values())
    if not found.headers:
        return report.check("scan", "skipped", "there were no weights to scan")
    files = counted(len(found.headers), "safetensors file")
    message = f"{counted(count, 'tensor')} in {files}; no file is loaded as code"
    return report.check("scan", "passed", message, "", {"tensors": count})


def _shapes(found: Inspector) -> dict[str, Any]:
    if found.base is None or not found.components:
        reason = "no base model to compare with" if found.base is None else "no adapter was read"
        return report.check("shapes", "skipped", reason, "name the base model" if found.base is None else "")
    modules = sum(len(component.parts) for component in found.components)
    parameters = sum(component.parameters for component in found.components)
    message = f"{counted(modules, 'module')} with {counted(parameters, 'parameter')} fit the base model, and no tensor is left over"
    return report.check("shapes", "passed", message, "", {"modules": modules, "parameters": parameters})


def _head(found: Inspector) -> dict[str, Any]:
    heads = [component.head for component in found.components if component.head]
    if not heads:
        return report.check("head", "skipped", "the adapter brings no head")
    classes = [head.num_labels for head in heads]
    message = f"{heads[0].kind} head with {counted(classes[0], 'class')}" + (
        f" and {len(heads) - 1} more" if len(heads) > 1 else ""
    )
    return report.check("head", "passed", message, "", {"classes": classes})


def _tokenizer(found: Inspector) -> dict[str, Any]:
    names = sorted(path for path in found.files.files if posixpath.basename(path) in _TOKENIZER)
    message = "the snapshot brings tokenizer files" if names else "the base model's tokenizer is used"
    return report.check("tokenizer", "passed", message, "", {"files": names})


_PASSED = {"files": _files, "config": _config, "scan": _scan, "shapes": _shapes, "head": _head, "tokenizer": _tokenizer}
