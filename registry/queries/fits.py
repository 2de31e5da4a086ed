"""Which adapters fit which base models, for who asks, from the best level down, with the evidence.

A verdict stands on what this viewer may know of: a run counts where one of its versions is visible, so that nobody learns
from a level what somebody else has pushed in private.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from django.db.models import Case, Exists, IntegerField, OuterRef, Q, QuerySet, Value, When

from hub.spec import base_model as spec
from hub.spec import compatibility
from hub.spec import components as parts
from registry.models import Adapter, BaseModel, BaseRelation, Component, Fit, LocatedBase, Need, Version
from registry.models.adapters import AdapterQuerySet
from registry.models.fits import Sizes
from registry.models.versions import VersionQuerySet
from registry.queries import adapters, base_models, located, shapes, versions
from registry.queries.viewers import Viewer
from registry.queries.visibility import visible_adapters

RANKS = ("validated", "same_values", "derived", "declared", "shape_only")
"""The levels of what fits, best first; `declared` is `shape_only` for the base that the adapter was published for."""
LEVELS = compatibility.FITTING
DECLARED, SHAPE_ONLY = RANKS.index("declared"), RANKS.index("shape_only")


class Proof(NamedTuple):
    """A version that was published on a base, and how it is shown."""

    version: Version
    shown: shapes.CompatibilityEvidence


Proofs = dict[tuple[int, str, int], Proof]
"""By rank, adapter digest and adapter; under 0 that of any adapter with the same bytes."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A base model as adapters are held against it, whether it is registered or not.

    `offer` is the key of what it offers; where that is no row, `modules` and `whole` say it. `itself`, `same_values` and
    `derived` are fingerprints: of the bases with this very backbone, with its values in another format, and of its kin.
    """

    fingerprint: str = ""
    offer: int | None = None
    modules: Sizes | None = None
    whole: dict[str, int] = dataclasses.field(default_factory=dict)
    itself: frozenset[str] = frozenset()
    same_values: frozenset[str] = frozenset()
    derived: frozenset[str] = frozenset()

    @property
    def by_rank(self) -> tuple[frozenset[str], ...]:
        """The bases on which a passed run gives each of the first ranks."""
        return self.itself, self.same_values, self.derived


def of_base(base: BaseModel, viewer: Viewer) -> Target:
    """Return a base model that is registered, with its kin among those the viewer may know of."""
    seen = base_models.visible(viewer)
    backbone = base.roots.get("backbone", "")
    casts = {cast["backbone"] for cast in base.cast_roots.values() if isinstance(cast, dict) and "backbone" in cast}
    itself = {base.pk} | _with_backbones(seen, {backbone})
    same = _with_backbones(seen, casts) | _keys(base_models.cast_to(seen, "backbone", backbone))
    derived: set[str] = set()
    for kind, one, other in _relations(itself, seen):
        (same if kind == BaseRelation.Kind.SAME_VALUES else derived).update({one, other})
    return Target(
        fingerprint=base.pk,
        offer=base.offer_id,
        itself=frozenset(itself),
        same_values=frozenset(same - itself),
        derived=frozenset(derived - same - itself),
    )


def of_located(row: LocatedBase) -> Target:
    """Return a base model that is known by its headers: only shapes can be compared."""
    return Target(offer=row.offer_id)


def of_value(value: spec.BaseModel, viewer: Viewer, *, hashed: bool) -> Target:
    """Return a base model that somebody describes. Without the hashes of its tensors only their shapes are compared."""
    modules = {path: sizes for path, sizes in value.offers.items() if path}
    target = Target(modules=modules, whole=value.offers.get("", {}))
    if not hashed:
        return target
    seen = base_models.visible(viewer)
    backbone = value.roots.get("backbone", "")
    itself = _with_backbones(seen, {backbone})
    return dataclasses.replace(
        target,
        fingerprint=value.fingerprint,
        itself=frozenset(itself),
        same_values=frozenset(_keys(base_models.cast_to(seen, "backbone", backbone)) - itself),
    )


def _with_backbones(seen: QuerySet[BaseModel], backbones: set[str]) -> set[str]:
    wanted = sorted(backbones - {""})
    return _keys(seen.filter(roots__backbone__in=wanted)) if wanted else set()


def _keys(rows: QuerySet[BaseModel]) -> set[str]:
    return set(rows.values_list("pk", flat=True))


def _relations(fingerprints: set[str], seen: QuerySet[BaseModel]) -> list[tuple[str, str, str]]:
    """The relations of these bases that somebody observed, to others that the viewer may know of."""
    rows = BaseRelation.objects.filter(
        Q(base__in=fingerprints) | Q(parent__in=fingerprints),
        state=BaseRelation.State.OBSERVED,
        base__in=seen.values("pk"),
        parent__in=seen.values("pk"),
    )
    return list(rows.values_list("kind", "base", "parent"))


def proofs(fingerprints: Iterable[str], viewer: Viewer) -> VersionQuerySet:
    """Return the versions, of those the viewer may know of, that were published on one of these bases."""
    rows = Version.objects.published().served().filter(base_fingerprint__in=sorted(fingerprints))
    return rows.filter(adapter__in=visible_adapters(viewer).values("pk"))


def fitting(target: Target) -> Q:
    """Return the condition that every adapter in the manifest an adapter shows fits this base by its shapes."""
    if target.modules is not None:
        needs: QuerySet[Any, Any] = Need.objects.met_by(target.modules, target.whole).values("pk")
    else:
        needs = Fit.objects.filter(offer=target.offer).values("need")
    found = Component.objects.filter(manifest=OuterRef("digest"))
    return Q(Exists(found)) & ~Q(Exists(found.exclude(need__in=needs)))


def ranked(rows: AdapterQuerySet, target: Target, viewer: Viewer) -> AdapterQuerySet:
    """Keep the adapters that fit a base, with the place of their level in RANKS as `rank`.

    For lists that are cut into pages. `grid.Facts.rank` is the same rule for a few adapters on several bases; the tests ask both.
    """
    proven = [Q(adapter_digest__in=digests(bases, viewer)) for bases in target.by_rank]
    declared = Q(base_fingerprint=target.fingerprint)
    itself = Q(adapter_digest__in=digests({target.fingerprint}, viewer))
    cases = [When(condition, then=Value(place)) for place, condition in enumerate((*proven, declared))]
    rank = Case(*cases, default=Value(SHAPE_ONLY), output_field=IntegerField())
    return rows.filter(itself | declared | fitting(target)).annotate(rank=rank)


def digests(bases: Iterable[str], viewer: Viewer) -> QuerySet[Version, str | None]:
    """Return the weights that were published on one of these bases, as the viewer may know.

    None of them is NULL: one in a subquery makes `NOT IN` true of nothing.
    """
    return proofs(bases, viewer).filter(adapter_digest__isnull=False).values_list("adapter_digest", flat=True)


def at_level(rows: AdapterQuerySet, level: str) -> AdapterQuerySet:
    """Keep those of one level, of rows that are `ranked`."""
    return rows.filter(Q(rank__in=[place for place, name in enumerate(RANKS) if level_of(name) == level]))


def level_of(rank: str) -> str:
    """Return the level that a name of RANKS is shown as."""
    return "shape_only" if rank == "declared" else rank


def shown(
    ranks: Mapping[int, tuple[int, str | None]], target: Target, viewer: Viewer
) -> dict[int, shapes.Compatibility]:
    """Return the verdict on each of these adapters, with the report that proves it: key -> (rank, adapter digest)."""
    evidence = proven_by({digest for rank, digest in ranks.values() if rank < DECLARED and digest}, target, viewer)
    return {pk: cell(RANKS[rank], proof_of(evidence, rank, digest, pk)) for pk, (rank, digest) in ranks.items()}


def cell(rank: str, proof: Proof | None) -> shapes.Compatibility:
    """Return the verdict that a name of RANKS stands for."""
    return {
        "level": level_of(rank),
        "reasons": [compatibility.REASONS[rank]],
        "evidence": proof.shown if proof else None,
    }


def proven_by(digests: set[str], target: Target, viewer: Viewer) -> Proofs:
    """Return what proves that adapters with these digests run on this base or its kin, of what the viewer may know of."""
    found: Proofs = {}
    if not digests:
        return found
    for rank, bases in enumerate(target.by_rank):
        rows = proofs(bases, viewer).filter(adapter_digest__in=digests)
        rows = rows.select_related("adapter__namespace", "base_model").prefetch_related("base_model__aliases")
        for version in rows.order_by("-base_fingerprint", "pk"):
            proof = Proof(version, _proof(version, viewer))
            for adapter in (0, version.adapter_id):
                known = found.get((rank, version.adapter_digest or "", adapter))
                if known is None or version.base_fingerprint == target.fingerprint:
                    found[rank, version.adapter_digest or "", adapter] = proof
    return found


def proof_of(found: Proofs, rank: int, digest: str | None, adapter: int) -> Proof | None:
    """Return what gives an adapter this rank: its own, else one with the same bytes."""
    return found.get((rank, digest or "", adapter)) or found.get((rank, digest or "", 0))


def _proof(version: Version, viewer: Viewer) -> shapes.CompatibilityEvidence:
    base = base_models.ref(version.base_model, viewer)
    assert base is not None, "version_published_has_evidence"
    return {
        "base_model": base,
        "ref": versions.ref_of(version),
        "report_url": versions.report_url(version),
        "page_url": versions.page_url(version),
    }


def of_version(version: Version, found: list[Component], base: BaseModel, viewer: Viewer) -> shapes.Compatibility:
    """Return the verdict on one version and one base, with every tensor that clashes."""
    return _verdict(version, found, base_models.to_spec(base), of_base(base, viewer), viewer)


def of_version_on(
    version: Version, found: list[Component], value: spec.BaseModel, viewer: Viewer, *, hashed: bool
) -> shapes.Compatibility:
    """Return the verdict on one version and a base that somebody describes."""
    return _verdict(version, found, value, of_value(value, viewer, hashed=hashed), viewer)


def of_version_on_located(
    version: Version, found: list[Component], row: LocatedBase, viewer: Viewer
) -> shapes.Compatibility:
    """Return the verdict on one version and a base that is known by its headers: `shape_only` at best."""
    return of_version_on(version, found, located.to_spec(row), viewer, hashed=False)


def _verdict(
    version: Version, found: list[Component], value: spec.BaseModel, target: Target, viewer: Viewer
) -> shapes.Compatibility:
    """The verdict on all components together, and where there are several on each of them alone."""
    digest = version.adapter_digest or ""
    evidence = proven_by({digest} - {""}, target, viewer)
    unlike = functools.cache(lambda: _differences(value, version, viewer))
    whole = _check(version, found, value, target, evidence, unlike)
    if len(found) > 1:
        scores = adapters.scores_of((proof.version for proof in evidence.values()), viewer)
        whole["components"] = []
        for one in found:
            told = _check(version, [one], value, target, evidence, unlike)
            proof = (
                proof_of(evidence, RANKS.index(told["level"]), digest, version.adapter_id) if told["evidence"] else None
            )
            whole["components"].append(of_component(one.folder, told, proof, scores))
    return whole


def of_component(
    folder: str, told: shapes.Compatibility, proof: Proof | None, scores: dict[str, list[shapes.ScoreShort]]
) -> shapes.ComponentCompatibility:
    """Return the verdict on one component, with what it measured in the run that the verdict stands on."""
    measured = scores.get(str(proof.version.run_id), []) if proof else []
    return {
        "folder": folder,
        "level": told["level"],
        "reasons": told["reasons"],
        "evidence": told["evidence"],
        "scores": [score for score in measured if score["folder"] == folder],
    }


def _check(
    version: Version,
    found: list[Component],
    value: spec.BaseModel,
    target: Target,
    evidence: Proofs,
    unlike: Callable[[], list[str]],
) -> shapes.Compatibility:
    root = value.roots.get("backbone", "")
    digest = version.adapter_digest or ""
    proven = [{root} if (rank, digest, 0) in evidence and root else set() for rank in range(3)]
    verdict = compatibility.check(
        [parts.Component.from_json(component.facts["component"]) for component in found],
        value,
        version.base_fingerprint if target.fingerprint else None,
        proven[0],
        same_values=proven[1],
        derived=proven[2],
    )
    rank = RANKS.index(verdict.level) if verdict.level in RANKS else len(RANKS)
    proof = proof_of(evidence, rank, digest, version.adapter_id)
    reasons = [*verdict.reasons, *(unlike() if verdict.level == "shape_only" and target.fingerprint else ())]
    return {"level": verdict.level, "reasons": reasons, "evidence": proof.shown if proof else None}


def _differences(value: spec.BaseModel, version: Version, viewer: Viewer) -> list[str]:
    """Name the tensors in which a base is not the one that the version is for, where both are known to the viewer."""
    other = version.base_model if version.base_fingerprint else None
    if other is None or not base_models.sees(viewer, other):
        return []
    told = compatibility.unlike(value, base_models.to_spec(other), base_models.name_of(other) or other.pk)
    return [told] if told else []


def is_compared(target: Target) -> bool:
    """Tell whether what a registered base offers was held against every need, so that what has no row does not fit."""
    return BaseModel.objects.filter(pk=target.fingerprint, offer__compared_at__isnull=False).exists()


def compared(pks: Iterable[int]) -> set[int]:
    """Return those of these adapters of which all needs are known and were held against every offer."""
    components = Component.objects.filter(manifest=OuterRef("digest"))
    open_ = components.filter(Q(need=None) | Q(need__compared_at=None))
    rows = Adapter.objects.filter(Exists(components), ~Exists(open_), pk__in=list(pks))
    return set(rows.values_list("pk", flat=True))
