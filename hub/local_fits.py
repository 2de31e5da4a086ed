"""Which base models of this machine an adapter fits, and what that proves: of one that was held against none, nothing."""

from collections.abc import Sequence

from hub.findings import Finding, KnownBase
from hub.spec import compatibility, families, quantised, validation
from hub.spec.components import Component
from hub.spec.snapshot import Snapshot
from hub.spec.words import counted


def clashes(files: Snapshot, component: Component | None, known: KnownBase, *, whole: bool = False) -> tuple[str, ...]:
    """Why an adapter does not fit a base model; empty where it does.

    `whole`: not by the names alone, where these decide; the whole look costs twenty times as much.
    """
    return _held(files, component, known, whole)[0]


def tell_fits(finding: Finding, files: Snapshot, bases: Sequence[KnownBase]) -> None:
    """Which of the known bases it fits, the named one first; why that one does not; and why no worker runs it: on the named one
    where it fits that, else on any that it fits."""
    named = {known.name for known in bases if _is_named(finding, known)}
    unrun: dict[str, tuple[str, ...]] = {}
    for known in sorted(bases, key=lambda item: (item.name not in named, item.name)):
        reasons, not_run = _held(files, finding.component, known, whole=known.name in named)
        if not reasons:
            place = {"name": known.name, "folder": str(known.folder), "fingerprint": known.base.fingerprint}
            finding.fits.append(place)
            unrun[known.name] = not_run
        elif known.name in named and finding.ok:
            finding.remark("problem", f"it does not fit {known.name}, which it names: {reasons[0]}")
    decisive = [not_run for name, not_run in unrun.items() if name in named] or list(unrun.values())
    if decisive and all(decisive):
        finding.unrun = decisive[0]
    if finding.ok:
        _tell_what_was_compared(finding, len(bases), bool(named))


def tell_named(finding: Finding) -> None:
    """What the files say of the base model it was trained on."""
    if not finding.base:
        fits = f": it fits {', '.join(fit['name'] for fit in finding.fits[:3])}" if finding.fits else ""
        finding.remark("warning", f"no file names the base model it was trained on{fits}", "push with --base")
    elif finding.trained_on and quantised.guess(finding.trained_on):
        finding.remark(
            "warning", f"trained on {finding.trained_on}, a quantised copy: on the full weights it gives other answers"
        )


def _is_named(finding: Finding, known: KnownBase) -> bool:
    """Whether the adapter's files name this base model, with or without its organisation, or by its fingerprint."""
    said = finding.base or ""
    last, own = (name.rpartition("/")[2].lower() for name in (said, known.name))
    return bool(said) and (last == own or said == known.base.fingerprint)


def _held(
    files: Snapshot, component: Component | None, known: KnownBase, whole: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(why the adapter does not fit, why no worker runs it on this base model)"""
    if component is not None and not whole and not families.of(known.base.model_type).renames:
        verdict = compatibility.check([component], known.base)
        if verdict.level == "incompatible":
            return verdict.reasons, ()
    inspection = validation.inspect(files, known.base, to_run=False)
    verdict = compatibility.check(inspection, known.base)
    if verdict.level == "incompatible":
        return verdict.reasons, ()
    same = [one for one in inspection.components if component is not None and one.folder == component.folder]
    return tuple(map(str, inspection.problems)), same[0].unrun if same else ()


def _tell_what_was_compared(finding: Finding, count: int, named: bool) -> None:
    if count and not finding.fits:
        finding.remark("warning", f"it fits none of this machine's base models ({count})")
    if finding.component is None:
        return
    if not count:
        told = f"held against no base model: {_condition(finding.component)}"
        finding.remark("note", told, "--base DIR names a base model, or a folder of several")
    elif finding.base and not named:
        finding.remark("note", f"{finding.base}, which it names, is none of this machine's base models by its name")


def _condition(component: Component) -> str:
    """What a base model has to be for the adapter to fit, as far as the tensors say."""
    needs = {module: sizes for module, sizes in component.needs.items() if sizes}
    if not needs:
        return "nor do its tensors say what it needs of one"
    module = min(needs, key=lambda path: (not path, path))
    sizes = ", ".join(f"{compatibility.WORDS.get(name, name)} {size}" for name, size in needs[module].items())
    more = f", and {counted(len(needs) - 1, 'more module')} as its tensors need" if len(needs) > 1 else ""
    return f"it fits one with {f'{module} of ' if module else ''}{sizes}{more}"
