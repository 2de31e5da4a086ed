"""Does this adapter fit this base model? Decided from headers and tables alone, before any weight is read.

The hub is asked first: it knows what was validated on what. Of a base model that it does not know, the table of tensors is
held against the adapter's header here, and sent to be compared where that decides nothing.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hub import bases, cache, errors, local_fits, preparation, retrieval
from hub.findings import KnownBase
from hub.retrieval import Resolution
from hub.spec import compatibility, located, torch_file, validation
from hub.spec.base_model import BaseModel
from hub.spec.errors import Problem, SpecError
from hub.spec.manifest import Manifest
from hub.spec.reference import Reference
from hub.transfer.wire import Wire
from hub.verdicts import segment_path, version_path

NO_BASE_NAMED = "nothing says what base model it was made on: only shapes were compared"
NOT_COMPARED = "its tensors are in another number format: whether their values are the same is not known"
NOT_HASHED = "every tensor fits; the hashes of both base models are not at hand, so whether their weights are the same is not known"
NOT_PUBLISHED = "every tensor fits; whether it works is found out by a push"
PATIENCE = 3.0
"""Seconds that a hub has to say whether it knows a folder's bytes."""
MOST = 50
"""Adapters that the hub lists for a base model that it does not know."""
logger = logging.getLogger("hub")


@dataclasses.dataclass(frozen=True)
class Fit:
    """How an adapter and a base model go together: a level of `hub.spec.compatibility`, why, and the report it stands on.

    `clash`: it is proven that the adapter was made for something else, by tensors that the reasons name.
    """

    level: str
    reasons: tuple[str, ...] = ()
    evidence: Mapping[str, Any] | None = None
    clash: bool = False

    def to_json(self) -> dict[str, Any]:
        """{level, reasons, evidence, clash}"""
        return {**dataclasses.asdict(self), "reasons": list(self.reasons)}


def base_tensors(wire: Wire, word: str) -> BaseModel:
    """The base model that the hub knows under a name or fingerprint, every hash recomputed. Raises NotFound."""
    found, hashed = base_outline(wire, word)
    if not hashed:
        raise errors.NotFound(
            f"{word} is known to the hub by its headers only: nobody has hashed it yet",
            hint="whoever holds it gives it its fingerprint: hub base add DIR",
        )
    return found


def base_outline(wire: Wire, word: str) -> tuple[BaseModel, bool]:
    """The same, and whether it was hashed: of a base model that is known by its headers only shapes mean something."""
    answer = wire.request("GET", f"base-models/{segment_path(word)}", params={"tensors": "1"}).data
    hashed = answer.get("fingerprint") is not None
    try:
        return BaseModel.from_json(answer) if hashed else located.outline(answer), hashed
    except SpecError as error:
        raise errors.IntegrityError(
            f"the hub's tensor table of {word} is not what its fingerprint says", problems=error.problems
        ) from error


def from_place(wire: Wire) -> Callable[[str, str], BaseModel | None]:
    """Asks the hub for the base model that lies under a Hugging Face name at a commit; None where it knows of none."""

    def known(name: str, commit: str) -> BaseModel | None:
        try:
            if wire.offline:
                return None
            with wire.hasty() as hasty:
                entry = hasty.request("GET", f"base-models/{segment_path(name)}", timeout=PATIENCE).data
                places = entry.get("locations") or ()
                here = any((p.get("kind"), p.get("name"), p.get("revision")) == ("hub", name, commit) for p in places)
                return base_tensors(hasty, str(entry["fingerprint"])) if here else None
        except errors.HubError as error:
            logger.debug("%s at %s is not looked up: %s", name, commit, error.message)
            return None

    return known


def judge(
    wire: Wire, store: cache.Cache, found: Resolution, meant: bases.Meant | None, *, allow_shape_only: bool = False
) -> Fit | None:
    """How a base model goes with this adapter; no weights are read.

    Raises IncompatibleBaseModel for a proven clash: of shapes, or of weights unless that is allowed. What is not known
    only warns.
    """
    if meant is None:
        return None
    fit = of_resolution(wire, store, found, meant)
    if fit.level == "incompatible":
        raise errors.unfit(
            f"{found.short} does not fit the base model {meant.called}",
            fit.reasons,
            hint="no weights were downloaded; `hub search --base` lists what fits",
        )
    if fit.clash and not allow_shape_only:
        raise errors.unfit(
            f"{found.short} has the shapes of {meant.called}, but was made on other weights{_made_on(found)}",
            fit.reasons,
            hint="no weights were downloaded; pass --allow-shape-only (allow_shape_only=True) if you know that it fits",
            code="shape_only",
        )
    if fit.level in {"unknown", "shape_only", ""} and not fit.clash:
        logger.warning(
            "whether %s fits %s is not known: %s", found.short, meant.called, "; ".join(fit.reasons) or "no proof"
        )
    return fit


def of_resolution(wire: Wire, store: cache.Cache, found: Resolution, meant: bases.Meant) -> Fit:
    """How a base model goes with a version of the hub."""
    fit = _read(found.facts.get("compatibility"))
    if meant.base is not None and fit.level in {"", "unknown"}:
        fit = _looked_at(wire, store, found, meant.base)
        if fit.level in {"unknown", "shape_only"}:
            with wire.hasty() as hasty:
                fit = _asked(hasty, retrieval.parse(found.ref), found.digest, meant.base, found.folder) or fit
    return _proven(wire, found, meant, fit) if fit.level == "shape_only" else fit


def search(wire: Wire, base: BaseModel, params: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    """What fits a base model that the hub does not know, from its table of tensors."""
    body = {**_described(base), **params}
    found = list(wire.request("POST", "compat/check", json=body, idempotent=True).data["results"])
    if limit > len(found) >= MOST:
        logger.warning("these are the best %s; register the base model to see all: hub base add", len(found))
    return found[:limit]


def inspect(
    wire: Wire, store: cache.Cache, found: Resolution, base: BaseModel | None, labels: tuple[str, ...] = ()
) -> validation.Inspection:
    """What can be said of a version without running it: from its copy in the cache, else from its headers."""
    return validation.inspect(retrieval.files_of(wire, store, found), base, labels or None)


def check_reference(
    wire: Wire,
    store: cache.Cache,
    found: Resolution,
    meant: bases.Meant | None,
    base: BaseModel | None,
    labels: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Everything that can be said about a version, and how it goes with a base model, or with which of the hub's."""
    inspection = inspect(wire, store, found, base, labels)
    told = {
        "ref": found.ref,
        "digest": f"sha256:{found.digest}",
        "size": found.manifest.size,
        "files": [file.to_json() for file in found.files],
    }
    fit = of_resolution(wire, store, found, meant) if meant is not None else None
    fits = [] if fit is not None or wire.offline else _of_hub(wire, found)
    return _told(told, inspection, inspection.problems, fit, meant, fits)


def check_folder(
    wire: Wire,
    root: Path,
    meant: bases.Meant | None,
    base: BaseModel | None,
    labels: Sequence[str],
    known: Sequence[KnownBase],
    *,
    hashed: bool = True,
) -> dict[str, Any]:
    """Everything that can be said about a folder, and how it goes with a base model, or with which of `known`.

    The hub is asked whether it knows these very bytes; without it, or where the base model was not `hashed`, shapes are compared.
    """
    prepared = preparation.prepare(root, {}, base=base, labels=tuple(labels) or None)
    inspection = prepared.inspection
    assert inspection is not None, "prepare(check=True) inspects"
    files = torch_file.as_kept(prepared.snapshot)
    fit, fits = None, []
    if base is not None:
        alone = validation.inspect(files, None)  # held against the base model, parts that clash are no parts any more
        verdict = compatibility.check(alone, base)
        fit = Fit(verdict.level, verdict.reasons, clash=verdict.level == "incompatible")
        if fit.level == "shape_only":
            there = _published(wire, prepared.manifest, base) if hashed else None
            fit = there or Fit("shape_only", (NOT_PUBLISHED,))
    elif inspection.components:
        fits = [
            {"name": one.name, "fingerprint": one.base.fingerprint, "folder": str(one.folder)}
            | Fit("shape_only", (NOT_PUBLISHED,)).to_json()
            for one in known
            if not any(local_fits.clashes(files, component, one) for component in inspection.components)
        ]
    facts = prepared.to_json() | {"compared": len(known)}
    return _told(facts, inspection, prepared.problems, fit, meant, fits)


def _told(
    facts: dict[str, Any],
    inspection: validation.Inspection,
    problems: Sequence[Problem],
    fit: Fit | None,
    meant: bases.Meant | None,
    fits: list[dict[str, Any]],
) -> dict[str, Any]:
    return facts | {
        "ok": not problems,
        "components": [preparation.summary(component) for component in inspection.components],
        "checks": list(inspection.checks),
        "problems": [problem.to_json() for problem in problems],
        "base": meant and {"name": meant.called, "fingerprint": meant.base.fingerprint if meant.base else None},
        "compatibility": fit and fit.to_json(),
        "fits": fits,
    }


def _of_hub(wire: Wire, found: Resolution) -> list[dict[str, Any]]:
    """The base models of the hub that a version fits, best first; none where this hub does not say."""
    meant = retrieval.parse(found.ref)
    try:
        answer = wire.request("GET", f"{version_path(meant.repo, f'sha256:{found.digest}')}/fits").data
    except errors.NotFound:
        return []
    return [
        {
            **{key: row["base_model"].get(key) for key in ("name", "fingerprint")},
            **_read(row["compatibility"]).to_json(),
        }
        for row in answer["results"]
    ]


def _read(said: Any) -> Fit:
    """A verdict of the hub's."""
    said = said if isinstance(said, dict) else {}
    level = str(said.get("level") or "")
    reasons = tuple(str(reason) for reason in said.get("reasons") or ())
    return Fit(level, reasons, said.get("evidence"), clash=level == "incompatible")


def _looked_at(wire: Wire, store: cache.Cache, found: Resolution, base: BaseModel) -> Fit:
    """Our own look at the headers."""
    known = found.base_model
    backbone = (known.get("roots") or {}).get("backbone")
    proven = {backbone} if backbone and found.facts.get("status") == "published" else set()
    parts = [part for part in inspect(wire, store, found, None).components if found.folder in (None, part.folder)]
    verdict = compatibility.check(parts, base, known.get("fingerprint"), proven)
    return Fit(verdict.level, verdict.reasons, clash=verdict.level == "incompatible")


def _asked(wire: Wire, meant: Reference, digest: str, base: BaseModel, folder: str | None = None) -> Fit | None:
    """What the hub says of a base model that we describe to it; None where it says nothing."""
    body = _described(base) | {"adapter": str(Reference(meant.namespace, meant.name, None, digest, folder))}
    try:
        answer = None if wire.offline else wire.request("POST", "compat/check", json=body, idempotent=True).data
        fit = _read(answer["results"][0]["compatibility"]) if answer else None
    except (errors.HubError, KeyError, IndexError, TypeError) as error:
        logger.debug("the hub was not asked to compare: %s", error)
        return None
    return fit if fit is not None and fit.level not in {"", "unknown"} else None


def _described(base: BaseModel) -> dict[str, Any]:
    """A base model as `compat/check` takes it."""
    return {"config": base.config, "leaves": [leaf.to_json() for leaf in base.leaves]}


def _published(wire: Wire, content: Manifest, base: BaseModel) -> Fit | None:
    """What the hub says of a folder's bytes where they are published there; None where they are not, or it is not reached."""
    try:
        with wire.hasty() as hasty:
            path = f"by-hash/{content.adapter_digest}"
            rows = [] if wire.offline else hasty.request("GET", path, timeout=PATIENCE).data["results"]
            served = [row for row in rows if row["version"]["status"] == "published"]
            if not served:
                return None
            digest = str(served[0]["version"]["digest"]).removeprefix("sha256:")
            return _asked(hasty, retrieval.parse(served[0]["adapter"]), digest, base)
    except (errors.HubError, KeyError, TypeError) as error:
        logger.debug("the hub was not asked for the folder's bytes: %s", error)
        return None


def _proven(wire: Wire, found: Resolution, meant: bases.Meant, fit: Fit) -> Fit:
    """The same verdict with what proves that the weights are others, or with the reason why nothing does."""
    known = found.base_model
    fingerprint = str(known.get("fingerprint") or "")
    if not fingerprint:
        return dataclasses.replace(fit, reasons=(NO_BASE_NAMED,))
    if fingerprint == meant.word:
        return dataclasses.replace(fit, reasons=(compatibility.REASONS["declared"],))
    mine = meant.base or _table(wire, meant.word)
    theirs = meant.here(fingerprint) or _table(wire, fingerprint)
    if mine is None or theirs is None:
        return dataclasses.replace(fit, reasons=(NOT_HASHED,))
    if mine.fingerprint == theirs.fingerprint:
        return dataclasses.replace(fit, reasons=(compatibility.REASONS["declared"],))
    reason = compatibility.other_weights(mine, theirs)
    return dataclasses.replace(fit, reasons=(reason or NOT_COMPARED,), clash=bool(reason))


def _table(wire: Wire, word: str) -> BaseModel | None:
    try:
        if wire.offline:
            return None
        with wire.hasty() as hasty:
            return base_tensors(hasty, word)
    except errors.HubError as error:
        logger.debug("no table of %s: %s", word, error.message)
        return None


def _made_on(found: Resolution) -> str:
    known = found.base_model
    return f" ({known['name']})" if known.get("name") else ""
