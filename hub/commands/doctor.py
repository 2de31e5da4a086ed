"""doctor: what are these adapters, what is wrong with them, which bases fit. Needs no torch, and a server for references only."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hub import bases, config, descriptions, diagnosis, errors
from hub.commands.context import Context, Verbs, size, table
from hub.diagnosis import FlatFolder
from hub.findings import Finding, KnownBase
from hub.spec.base_model import is_fingerprint
from hub.spec.snapshot import Snapshot
from hub.spec.words import counted
from hub.transfer import ranges
from hub.transfer.progress import Progress

HEAD = ("ADAPTER", "METHOD", "RANK", "PARAMS", "BASE", "FITS", "SIZE", "VERDICT")
_MARKS = {"problem": "✗", "warning": "!", "note": "·"}
MAX_TOLD = 12
"""Adapters that are told in full; of more, only what is wrong."""
MAX_ALIKE = 3
"""Adapters that are told the same thing, each by itself; what more of them share is told once."""


def add(verbs: Verbs) -> None:
    """Adds the verb of this file."""
    verb = verbs.add_parser("doctor", help="what adapters are and what is wrong with them")
    verb.add_argument(
        "places",
        nargs="+",
        metavar="DIR|REF|hf://ID",
        help="folders (searched through), adapters of the hub, or repositories of a Hugging Face hub",
    )
    verb.add_argument(
        "--base",
        action="append",
        default=[],
        metavar="DIR",
        help="a base model, or a folder of several, to compare with",
    )
    verb.set_defaults(run=_doctor)


def _doctor(context: Context) -> None:
    settings = config.read(endpoint=getattr(context.arguments, "endpoint", None))
    also = [Path(text).expanduser() for text in context.base]
    known = [KnownBase(*found) for found in bases.outlines(settings, also)]
    for folder in also:
        _insist_on_a_base(folder, known, settings)
    found = [one for text in context.places for one in _snapshots(text, context, settings)]
    with Progress(len(found), "reading", quiet=context.out.quiet, unit=" adapters") as bar:
        findings = diagnosis.examine(found, known, lambda place: bar.add(1))
    if not findings:
        raise errors.NotFound("there is no adapter_config.json at or below " + ", ".join(context.places))
    context.out.result(
        {"adapters": [one.to_json() for one in findings], "bases": [one.name for one in known]}, _lines(findings)
    )
    wrong = sum(not finding.ok for finding in findings)
    compared = f"shapes compared with {counted(len(known), 'base model')} of this machine"
    more = "" if known else " (--base DIR names some)"
    context.out.say(f"{counted(len(findings), 'adapter')}, {wrong} with problems; {compared}{more}")


def _insist_on_a_base(folder: Path, known: list[KnownBase], settings: config.Settings) -> None:
    """A folder that was named must hold a base model that can be read: raises what is wrong with it."""
    if not folder.is_dir():
        raise errors.UsageError(
            f"{folder} is not a folder", hint="name the folder of a base model, or one that holds several"
        )
    inside = list(descriptions.candidates([folder]))
    if not inside:
        raise errors.UsageError(
            f"{folder} holds no base model", hint="a base model is a config.json beside its weights as safetensors"
        )
    if not {one.folder for one in known} & set(inside):
        descriptions.outline(inside[0], cache=settings.cache / "bases")


def _snapshots(text: str, context: Context, settings: config.Settings) -> Iterator[tuple[str, Snapshot]]:
    """What a word of the command line names: a repository, the folders at or below one, or a version of the hub."""
    root = Path(text).expanduser()
    if text.startswith("hf://"):
        yield text, ranges.repository(text.removeprefix("hf://"), offline=settings.offline)
    elif root.is_dir():
        for folder in diagnosis.places(root):
            yield str(folder), FlatFolder(folder)
    elif text.startswith((".", "/", "~")):
        raise errors.UsageError(f"{text} is not a folder", hint="name a folder, an adapter, or hf://OWNER/NAME")
    else:
        yield context.client.headers(text)


def _lines(findings: list[Finding]) -> list[str]:
    shared = _shared_place(findings)
    lines = [f"in {shared}", ""] if shared else []
    lines += table(HEAD, [_row(finding, shared) for finding in findings])
    told = [(finding.place.removeprefix(shared), _told(finding, len(findings) <= MAX_TOLD)) for finding in findings]
    wide: dict[str, list[str]] = {}
    for place, remarks in told:
        for remark in dict.fromkeys(remarks):
            wide.setdefault(remark, []).append(place)
    for place, remarks in told:
        own = [remark for remark in remarks if len(wide[remark]) <= MAX_ALIKE]
        lines += ["", place, *own] if own else []
    groups: dict[tuple[str, ...], list[str]] = {}
    for remark, places in wide.items():
        if len(places) > MAX_ALIKE:
            groups.setdefault(tuple(places), []).append(remark)
    for together, remarks in groups.items():
        lines += ["", _together(together, len(findings)), *remarks]
    return lines


def _together(places: tuple[str, ...], of: int) -> str:
    """What several adapters are called above what they share."""
    if len(places) == of:
        return f"all {of} adapters"
    more = f" and {len(places) - MAX_ALIKE} more"
    return f"{len(places)} adapters: {', '.join(places[:MAX_ALIKE])}{more}"


def _told(finding: Finding, full: bool) -> list[str]:
    """What one adapter is told, a text each; the way to mend it is on a line of its own."""
    remarks = [one for one in finding.remarks if full or one["kind"] == "problem"]
    texts = [
        f"  {_MARKS[one['kind']]} {one['text']}" + (f"\n    {one['hint']}" if one.get("hint") else "")
        for one in remarks
    ]
    if full:
        texts += [f"  · {engine}: {need}" for engine, need in finding.serving.items() if need]
        texts += [f"  · not judged yet: {reason}" for reason in finding.unrun[:2]]
        if component := finding.component:
            texts += [f"  · only {component.library} runs it: {what}" for what in component.by_library[:2]]
    return texts


def _shared_place(findings: list[Finding]) -> str:
    """The folder that every adapter lies in, told once instead of in each line."""
    paths = [finding.place.partition("#")[0] for finding in findings]
    if len(paths) < 2 or any(path.startswith("hf://") for path in paths):
        return ""
    shared = (
        os.path.commonpath([os.path.dirname(path) or "." for path in paths])
        if len(set(map(os.path.isabs, paths))) == 1
        else ""
    )
    return f"{shared}{os.sep}" if shared and all(path.startswith(f"{shared}{os.sep}") for path in paths) else ""


def _base_of(finding: Finding) -> str:
    """The base model it names; of a fingerprint the name of that base model, or its beginning."""
    named = next((fit["name"] for fit in finding.fits if fit["fingerprint"] == finding.base), finding.base or "-")
    return named[:17] + "…" if is_fingerprint(named) else named


def _row(finding: Finding, shared: str) -> tuple[Any, ...]:
    component = finding.component
    fits = ", ".join(fit["name"] for fit in finding.fits[:2]) or "-"
    fits += f" +{len(finding.fits) - 2}" if len(finding.fits) > 2 else ""
    method, rank, parameters = finding.declared[0] or "-", str(finding.declared[1] or "-"), "-"
    if component is not None:
        method, rank = component.variant, str(component.rank or "-")
        parameters = f"{component.parameters:,}"
    return (
        finding.place.removeprefix(shared),
        method,
        rank,
        parameters,
        _base_of(finding),
        fits,
        size(finding.nbytes),
        finding.verdict,
    )
