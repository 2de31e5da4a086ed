"""What the static checks find in a stored snapshot: facts, components, problems, and what it would be judged on."""

import dataclasses

from hub.spec import benchmark as spec
from hub.spec import card, validation
from hub.spec import manifest as manifests
from hub.spec.errors import Problem, SpecError
from registry.models import Adapter, BaseModel, Benchmark, Visibility
from registry.queries import base_models, benchmarks, blobs, discretion, located, plans, proposals, shapes
from registry.queries.viewers import Viewer

ADD_BASE = "Add it first: hub base add DIR --name NAMESPACE/NAME"


@dataclasses.dataclass(frozen=True)
class Findings:
    """The inspection, the base model and benchmarks that the files name, and every problem with them.

    `proposals`: where they name no base model of this hub, those that they fit.
    """

    inspection: validation.Inspection
    base: BaseModel | None
    benchmarks: tuple[Benchmark, ...]
    problems: tuple[Problem, ...]
    proposals: tuple[shapes.BaseRef, ...] = ()


def inspect(content: manifests.Manifest, adapter: Adapter, viewer: Viewer, *, judged: bool) -> Findings:
    """Inspect stored files with the rules that client and worker use, too. Reads headers and small files only.

    `judged`: a run is to follow, so the files must name a base model that this hub knows.
    """
    snapshot = blobs.StoredSnapshot({file.path: (file.sha256, file.size) for file in content.files})
    facts, problems = _facts(snapshot)
    base = base_models.find(facts.base, viewer) if facts and facts.base else None
    if judged and facts is not None and base is None:
        problems += (_no_base(facts.base, viewer),)
    known = base_models.to_spec(base) if base else None
    inspection = validation.inspect(snapshot, known)
    chosen: tuple[Benchmark, ...] = ()
    if facts is not None:
        try:
            chosen = plans.chosen(adapter, facts.benchmarks, inspection.task, viewer)
        except SpecError as error:
            problems += error.problems
        problems += discretion.spent(adapter, chosen, viewer) if judged else ()
    labels = spec.common_labels(benchmarks.to_spec(row).labels for row in chosen)
    inspection = inspection.against(labels, named=all(row.visibility == Visibility.PUBLIC for row in chosen))
    if judged:
        inspection = inspection.asked({row.task for row in chosen}, known, base_models.name_of(base) if base else "")
    found = _all(inspection.problems, problems if judged else ())
    if base is not None or not judged:
        return Findings(inspection, base, chosen, found)
    fitting = proposals.of(inspection.components, viewer, home=adapter.namespace)
    return Findings(inspection, base, chosen, proposals.advise(found, fitting), tuple(fitting))


def _facts(snapshot: blobs.StoredSnapshot) -> tuple[card.Facts | None, tuple[Problem, ...]]:
    try:
        return card.read(snapshot), ()
    except SpecError as error:
        return None, error.problems


def _no_base(name: str | None, viewer: Viewer) -> Problem:
    if not name:
        message = "the files do not say which base model the adapter was trained on"
        return Problem("no_base", "hub.json", message, "Push with --base NAME, or write it into hub.json.", "config")
    return Problem("unknown_base", "base", *unknown_base(name, viewer), "config")


def unknown_base(name: str, viewer: Viewer) -> tuple[str, str]:
    """Return what to say of a name that leads to no base model with a fingerprint, and how to mend it."""
    if located.find(name, viewer) is not None:
        return f"the base model {name!r} {located.UNHASHED}", located.HASH_IT
    return f"this hub does not know the base model {name!r}", ADD_BASE


def _all(first: tuple[Problem, ...], second: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Both, each problem once."""
    return tuple(dict.fromkeys((*first, *second)))
