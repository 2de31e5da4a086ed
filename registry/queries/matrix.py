"""Adapters against a base model and its kin, and against a base model that somebody describes."""

import dataclasses
from collections.abc import Callable
from typing import Any

from django.db.models import Count, Q

from hub.spec import base_model as spec
from hub.spec import compatibility, reference
from hub.spec import located as headers
from hub.spec.errors import SpecError
from registry.errors import BadRequest, Invalid
from registry.models import Adapter, BaseModel, Component, LocatedBase, Version
from registry.queries import adapters, base_models, base_shapes, fits, grid, located, search, shapes, versions
from registry.queries.search import SearchQuery
from registry.queries.viewers import Viewer
from registry.queries.visibility import visible_adapters

COLUMNS = 12
KNOWN = 20
SHOWN = 6
ROWS = 50


def of(name: str, viewer: Viewer, query: SearchQuery, *, ref: str = "") -> tuple[base_shapes.Matrix, str]:
    """Return a page of the matrix of a base model and its kin, and the cursor of the next page.

    The rows are what fits the base, in the order of its list. With `ref` one row, that adapter (with `#folder` that
    component alone), with every tensor that clashes. Raises NotFound, BadRequest.
    """
    base = base_models.find(name, viewer)
    if base is None:
        return _of_located(located.get(name, viewer), viewer, dataclasses.replace(query, base=name), ref)
    if not ref:
        found = search.search(dataclasses.replace(query, base=base.pk), viewer)
        return of_page(base, found, viewer), found.cursor
    kin = relatives(base, viewer)
    row = _row_of(
        ref, viewer, lambda version, found: [fits.of_version(version, found, other, viewer) for _, other in kin]
    )
    return _matrix(base, kin, [fits.of_base(other, viewer) for _, other in kin], [row], viewer), ""


def _of_located(row: LocatedBase, viewer: Viewer, query: SearchQuery, ref: str) -> tuple[base_shapes.Matrix, str]:
    """The matrix of a base model that is known by its headers: it has no kin that anybody could know of."""
    column: base_shapes.MatrixColumn = {
        "base_model": located.ref(row),
        "relation": "itself",
        "counts": grid.counts([fits.of_located(row)], viewer)[0],
    }
    if ref:
        rows = [_row_of(ref, viewer, lambda version, found: [fits.of_version_on_located(version, found, row, viewer)])]
        cursor = ""
    else:
        listed = search.search(query, viewer)
        rows, cursor = [_row(one, [one["compatibility"]]) for one in listed.results], listed.cursor
    return {"base_model": located.ref(row), "columns": [column], "rows": rows, "next": None}, cursor


def of_page(base: BaseModel, found: search.Found, viewer: Viewer) -> base_shapes.Matrix:
    """Return the matrix over a page of what fits a base."""
    kin = relatives(base, viewer)
    targets = [fits.of_base(other, viewer) for _, other in kin]
    return _matrix(base, kin, targets, _rows(found.results, targets, viewer), viewer)


def _matrix(
    base: BaseModel,
    kin: list[tuple[str, BaseModel]],
    targets: list[fits.Target],
    rows: list[base_shapes.MatrixRow],
    viewer: Viewer,
) -> base_shapes.Matrix:
    """Put the heads of the columns, with how many fit each base, above the rows."""
    counted = grid.counts(targets, viewer)
    columns: list[base_shapes.MatrixColumn] = [
        {"base_model": _ref(other), "relation": relation, "counts": counts}
        for (relation, other), counts in zip(kin, counted, strict=True)
    ]
    return {"base_model": _ref(base), "columns": columns, "rows": rows, "next": None}


def relatives(base: BaseModel, viewer: Viewer) -> list[tuple[str, BaseModel]]:
    """Return the base itself and its kin, of those the viewer may know of, each with what it is to the base."""
    target = fits.of_base(base, viewer)
    names = {
        base.pk: "itself",
        **dict.fromkeys(sorted(target.itself - {base.pk}), "same_backbone"),
        **dict.fromkeys(sorted(target.same_values), "same_values"),
        **dict.fromkeys(sorted(target.derived), "derived"),
    }
    kept = dict(list(names.items())[:COLUMNS])
    rows = BaseModel.objects.filter(pk__in=kept).prefetch_related("aliases__namespace").in_bulk()
    return [(relation, rows[key]) for key, relation in kept.items()]


def _ref(base: BaseModel) -> shapes.BaseRef:
    return {"fingerprint": base.pk, "name": base_models.name_of(base), "state": base.state}


def _rows(found: list[shapes.Summary], targets: list[fits.Target], viewer: Viewer) -> list[base_shapes.MatrixRow]:
    """Fill the cells of these adapters, column by column."""
    named = Q(pk__in=[])
    for row in found:
        named |= Q(namespace__name=row["namespace"], name=row["name"])
    keys = {f"{row.namespace.name}/{row.name}": row.pk for row in _adapters(viewer).filter(named)}
    columns = grid.cells(keys.values(), targets, viewer)
    cells = {key: [column[key] for column in columns if key in column] for key in keys.values()}
    return [_row(one, cells[keys[one["ref"]]]) for one in found if one["ref"] in keys and cells[keys[one["ref"]]]]


def _row(adapter: shapes.Summary, cells: list[shapes.Compatibility]) -> base_shapes.MatrixRow:
    return {
        "adapter": adapter["ref"],
        "url": adapter["url"],
        "task": adapter["task"],
        "method": adapter["method"],
        "cells": cells,
    }


def _adapters(viewer: Viewer) -> Any:
    return visible_adapters(viewer).select_related("namespace").defer("search")


def _named(ref: str, viewer: Viewer) -> tuple[Version, list[Component], str]:
    """The version that a reference means, its components (with `#folder` that one alone), and the adapter's name."""
    try:
        wanted = reference.parse(ref)
    except SpecError as error:
        raise BadRequest.from_spec(error) from None
    name = wanted.version or (f"sha256:{wanted.digest}" if wanted.digest else "latest")
    version = versions.get(wanted.namespace, wanted.name, name, viewer)
    adapter = reference.Reference(version.adapter.namespace.name, version.adapter.name, folder=wanted.folder)
    return version, versions.components_of(version.digest, wanted.folder), str(adapter)


def _row_of(
    ref: str, viewer: Viewer, cell: Callable[[Version, list[Component]], list[shapes.Compatibility]]
) -> base_shapes.MatrixRow:
    """One adapter's row; `cell` gives its cells."""
    version, found, name = _named(ref, viewer)
    return {
        "adapter": name,
        "url": versions.page_url(version),
        "task": version.adapter.task,
        "method": version.adapter.method,
        "cells": cell(version, found),
    }


def described(
    viewer: Viewer,
    *,
    config: dict[str, Any],
    leaves: Any = None,
    tensors: Any = None,
    adapter: str = "",
    **asked: str,
) -> base_shapes.Checked:
    """Return what fits a base model of which somebody sends the table of tensors; nothing of it is kept.

    `tensors` [name, dtype, shape] are enough; with `leaves`, which have the hashes, too, levels above `shape_only` are
    found. With `adapter`, the verdict on that one, and every tensor that clashes; else `asked`, fields of `SearchQuery`, say
    which adapters are looked for. Raises Invalid, NotFound.
    """
    hashed = leaves is not None
    if hashed == (tensors is not None):
        raise Invalid("Send either `leaves` or `tensors`.", hint="tensors: [[name, dtype, shape], ...]")
    try:
        value = spec.from_leaves(spec.parse_leaves(leaves if hashed else headers.unhashed(tensors)), config)
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    known = equals(value, viewer, hashed=hashed)
    return {
        "fingerprint": value.fingerprint if hashed else None,
        "architecture": value.architecture,
        "parameters": value.parameters,
        "known": known,
        "results": (
            [_one(adapter, value, viewer, hashed=hashed)]
            if adapter
            else _all(value, viewer, SearchQuery(**{"sort": "score", **asked}, limit=ROWS), hashed=hashed)
        ),
    }


def _all(value: spec.BaseModel, viewer: Viewer, query: SearchQuery, *, hashed: bool) -> list[shapes.Summary]:
    base = base_models.find(value.fingerprint, viewer) if hashed else None
    target = fits.of_base(base, viewer) if base else fits.of_value(value, viewer, hashed=hashed)
    return search.search(query, viewer, target).results


def _one(ref: str, value: spec.BaseModel, viewer: Viewer, *, hashed: bool) -> shapes.Summary:
    version, found, _ = _named(ref, viewer)
    base = base_models.find(value.fingerprint, viewer) if hashed else None
    summary = adapters.summaries([version.adapter], viewer)[0]
    summary["compatibility"] = (
        fits.of_version(version, found, base, viewer)
        if base
        else fits.of_version_on(version, found, value, viewer, hashed=hashed)
    )
    return summary


def equals(value: spec.BaseModel, viewer: Viewer, *, hashed: bool) -> list[base_shapes.KnownBase]:
    """Return the base models of this hub that a described one equals, the strongest likeness first."""
    seen = base_models.visible(viewer)
    alike: dict[str, str] = {}
    if hashed:
        target = fits.of_value(value, viewer, hashed=True)
        alike |= dict.fromkeys(seen.filter(pk=value.fingerprint).values_list("pk", flat=True), "weights")
        for keys, word in ((target.itself, "backbone"), (target.same_values, "values")):
            alike = dict.fromkeys(sorted(keys), word) | alike
    shaped = seen.filter(architecture=value.architecture).order_by("created_at", "pk").values_list("pk", flat=True)
    alike = dict.fromkeys(shaped[:KNOWN], "architecture") | alike
    order = ("weights", "backbone", "values", "architecture")
    best = sorted(alike, key=lambda key: order.index(alike[key]))[:KNOWN]
    named = base_models.refs(set(best), viewer)
    return [{"base_model": named[key], "equal": alike[key]} for key in best]


def of_adapter(adapter: Adapter, version: Version, viewer: Viewer) -> list[tuple[BaseModel, shapes.Compatibility]]:
    """Return the base models that an adapter's version fits, best level first: what its page shows.

    Where it has several components, also those that only some of them fit, the worst of them last.
    """
    likely = _likely(version, viewer)
    columns = grid.cells([adapter.pk], [fits.of_base(base, viewer) for base in likely], viewer)
    found = [(base, column[adapter.pk]) for base, column in zip(likely, columns, strict=True) if adapter.pk in column]
    return _best_first(found)


def of_version(namespace: str, name: str, version: str, viewer: Viewer) -> list[base_shapes.FittingBase]:
    """Return the base models, of those the viewer may know of, that a version fits, best level first. Raises NotFound."""
    chosen = versions.get(namespace, name, version, viewer)
    parts = versions.components_of(chosen.digest)
    found = [(base, fits.of_version(chosen, parts, base, viewer)) for base in _likely(chosen, viewer)]
    return [{"base_model": _ref(base), "compatibility": verdict} for base, verdict in _best_first(found)]


def _likely(version: Version, viewer: Viewer) -> list[BaseModel]:
    """The bases that a version was published on, and some of those that it, or a component of it, fits by its shapes."""
    needs = {row.need_id for row in versions.components_of(version.digest)} - {None}
    rows = base_models.visible(viewer).exclude(offer=None).prefetch_related("aliases__namespace")
    rows = rows.filter(offer__fits__need__in=needs).annotate(met=Count("offer__fits__need", distinct=True))
    proven = fits.proofs(base_models.visible(viewer).values_list("pk", flat=True), viewer)
    mine = set(proven.filter(adapter_digest=version.adapter_digest).values_list("base_fingerprint", flat=True))
    bases = [*BaseModel.objects.filter(pk__in=mine).prefetch_related("aliases__namespace")]
    others = rows.exclude(pk__in=mine).order_by("-met", "-state", "created_at", "pk")
    bases += others[: max(0, SHOWN - len(bases))] if needs else []
    return bases


def _best_first(
    found: list[tuple[BaseModel, shapes.Compatibility]],
) -> list[tuple[BaseModel, shapes.Compatibility]]:
    fitting = [
        (base, cell)
        for base, cell in found
        if any(one["level"] in fits.LEVELS for one in (cell, *cell.get("components", [])))
    ]
    return sorted(fitting, key=lambda pair: compatibility.LEVELS.index(pair[1]["level"]))
