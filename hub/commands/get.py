"""pull, verify, check, fingerprint."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub import errors
from hub.commands.context import Context, Verbs, report_lines, size, table
from hub.spec.words import counted
from hub.verdicts import page_of

if TYPE_CHECKING:
    from hub.spec.base_model import BaseModel


def add(verbs: Verbs) -> None:
    """Adds the verbs of this file."""
    pull = verbs.add_parser("pull", help="fetch an adapter, every byte verified; prints its folder")
    pull.add_argument("ref", metavar="REF")
    pull.add_argument("--base", metavar="DIR|NAME", help="refuse before any weight is fetched if it does not fit")
    pull.add_argument("--to", metavar="DIR", help="put a copy into this folder (empty, or not there yet)")
    pull.add_argument("--dry-run", action="store_true", help="say what would be fetched")
    pull.add_argument("--locked", action="store_true", help="(not yet) only what hub.lock names")
    pull.add_argument("--allow-shape-only", action="store_true", help="take it although other weights were validated")
    pull.set_defaults(run=_pull)
    verify = verbs.add_parser(
        "verify", help="hash a pulled adapter again; damaged files in the cache are fetched again"
    )
    verify.add_argument("target", metavar="REF|DIR")
    verify.set_defaults(run=_verify)
    check = verbs.add_parser("check", help="everything that can be said about an adapter without running or pulling it")
    check.add_argument("target", metavar="DIR|REF")
    check.add_argument(
        "--base", metavar="DIR|NAME", help="whether it fits this base model (default: which ones it fits)"
    )
    check.set_defaults(run=_check)
    fingerprint = verbs.add_parser("fingerprint", help="the fingerprint of a base model's folder")
    fingerprint.add_argument("folder", metavar="DIR")
    fingerprint.add_argument(
        "--no-casts", action="store_true", help="leave out the roots of copies in other formats: five times as fast"
    )
    fingerprint.set_defaults(run=_fingerprint)


def _pull(context: Context) -> None:
    if context.locked:
        raise errors.UsageError(
            "--locked is not there yet: this edition writes no hub.lock", hint="pin the digest: name@sha256:<64 hex>"
        )
    if context.dry_run:
        _plan(context)
        return
    adapter = context.client.pull(
        context.ref, base=context.base, to=context.to, allow_shape_only=context.allow_shape_only
    )
    value = {
        "ref": adapter.ref,
        "version": adapter.version,
        "digest": adapter.digest,
        "path": str(adapter.path),
        "base_model": adapter.base_model,
        "task": adapter.task,
        "method": adapter.method,
        "labels": adapter.labels,
    }
    context.out.say(adapter.ref)
    context.out.result(value, [str(adapter.path)])


def _plan(context: Context) -> None:
    plan = context.client.plan(context.ref, base=context.base, allow_shape_only=context.allow_shape_only)
    lines = [
        plan["ref"],
        f"{len(plan['fetch'])} of {counted(len(plan['files']), 'file')} to fetch, {size(plan['bytes'])}",
    ]
    context.out.result(plan, lines)


def _verify(context: Context) -> None:
    told = context.client.verify(context.target)
    mended = f"; {len(told['damaged'])} damaged, fetched again" if told["healed"] else ""
    context.out.result(told, [f"{told['ref']}: {counted(told['files'], 'file')} verified by digest{mended}"])


def _check(context: Context) -> None:
    told = context.client.check(context.target, base=context.base)
    problems = errors.problems_from(told["problems"])
    fit = told["compatibility"]
    if fit and fit["level"] == "incompatible":
        raise errors.unfit(
            f"{context.target} does not fit the base model {told['base']['name']}",
            fit["reasons"],
            hint="`hub check` without --base lists base models that it fits",
        )
    if not told["ok"]:
        raise errors.Rejected(f"{context.target} would be refused", problems=problems, report=told)
    context.out.result(told, _check_lines(told, context.target, context.client.settings.endpoint))


def _check_lines(told: dict[str, Any], target: str, endpoint: str) -> list[str]:
    ref, _, digest = str(told.get("ref") or target).removeprefix("library/").partition("@")
    lines = report_lines({"version": ref, "verdict": "nothing wrong", "status": "not run", **told})
    lines[1:1] = [f"  {digest}"] if digest else []
    fit, fits = told["compatibility"], told["fits"]
    if fit:
        lines += ["", f"on {told['base']['name']}: {fit['level']}", *(f"  {reason}" for reason in fit["reasons"])]
        lines += [f"  {_evidence(fit, endpoint)}"] if _evidence(fit, endpoint) else []
    elif fits:
        rows = ((one["name"] or one["fingerprint"], one["level"], _where(one, endpoint)) for one in fits)
        lines += ["", *table(("FITS", "LEVEL", "EVIDENCE" if "folder" not in fits[0] else "FOLDER"), rows)]
    elif told.get("ref"):
        lines += ["", "fits no base model that the hub has compared it with"]
    elif told["compared"]:
        lines += ["", f"fits none of this machine's base models ({told['compared']})"]
    else:
        lines += ["", "no base model of this machine is known: name one with --base, or its folder in HUB_BASES"]
    return lines


def _evidence(fit: dict[str, Any], endpoint: str) -> str:
    """The address of the report that a level stands on."""
    return page_of(endpoint, fit.get("evidence") or {})


def _where(one: dict[str, Any], endpoint: str) -> str:
    return one.get("folder") or _evidence(one, endpoint) or "-"


def _fingerprint(context: Context) -> None:
    from hub import base_folder, casting
    from hub.transfer.progress import Progress

    folder = Path(context.folder).expanduser()
    casts = not context.no_casts
    if casts and not casting.available():
        context.out.say("without the roots of copies in other formats: they need numpy (pip install numpy)")
        casts = False
    with Progress(base_folder.size(folder), "hashing", quiet=context.out.quiet) as bar:
        base = base_folder.read(folder, bar.add, casts=casts)
    if base.quantisation and base.logical is None:
        context.out.say(f"quantised ({base.quantisation}), in a layout that is not known here: shapes are the file's")
    context.out.result({"fingerprint": base.fingerprint, "folder": context.folder, **_facts(base)}, _lines(base))


def _facts(base: "BaseModel") -> dict[str, Any]:
    names = ("roots", "cast_roots", "architecture", "tokenizer_digest", "quantisation", "parameters")
    return {name: getattr(base, name) for name in names}


def _lines(base: "BaseModel") -> list[str]:
    rows = list(base.roots.items())
    rows += [(f"as {cast}", entry["root"]) for cast, entry in base.cast_roots.items()]
    rows += [
        (f"as {cast}, backbone", entry["backbone"]) for cast, entry in base.cast_roots.items() if "backbone" in entry
    ]
    rows += [("architecture", base.architecture), ("tokenizer", base.tokenizer_digest or "none")]
    rows += [("quantisation", base.quantisation)] if base.quantisation else []
    width = max(len(name) for name, _ in rows)
    return [base.fingerprint, *(f"  {name:<{width}}  {value}" for name, value in rows)]
