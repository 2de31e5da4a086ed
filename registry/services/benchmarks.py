"""Benchmarks: add one with its data."""

import hashlib
from collections.abc import Mapping

from django.db import transaction

from hub.spec import benchmark as spec
from hub.spec.errors import Problem, SpecError
from registry.errors import Forbidden, Invalid, TooLarge
from registry.models import Benchmark, Blob, Namespace, Scope
from registry.queries import blobs, viewers
from registry.queries.viewers import Viewer
from registry.services import events

MAX_FILE = 64 << 20


@transaction.atomic
def add(*, viewer: Viewer, definition: bytes, files: Mapping[str, bytes]) -> tuple[Benchmark, bool]:
    """Add a benchmark from its YAML and its data files, and return it, and whether it is new. Again: the same one.

    Every row of the data is read, so that no worker stumbles over it. The newest of a name is what the name means;
    therefore a name `namespace/...` needs the write role there, and every other name an operator. Raises Invalid with
    every problem, Forbidden, TooLarge.
    """
    viewers.require_scope(viewer, Scope.PUSH)
    value, rows = _read(definition, files)
    owner = _owner(viewer, value.name)
    benchmark, made = Benchmark.objects.get_or_create(
        digest=value.digest,
        defaults={
            "name": value.name,
            "definition": value.to_json(),
            "task": value.task,
            "metric": value.metric,
            "direction": value.direction,
            "visibility": value.visibility,
            "rows": rows,
            "owner": owner,
            "files": value.files,
        },
    )
    if made:
        _store(value, files)
        events.record(actor=viewer.name, kind="benchmark.added", subject=value.name, digest=value.digest)
    return benchmark, made


def _read(definition: bytes, files: Mapping[str, bytes]) -> tuple[spec.Benchmark, int]:
    """Return the benchmark and the number of rows that are scored."""
    for name, data in files.items():
        if len(data) > MAX_FILE:
            raise TooLarge(f"{name} has {len(data)} bytes, more than {MAX_FILE}.")
    try:
        value = spec.parse(definition, {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
        rows = {name: len(spec.read_rows(files[name], value, name)) for name in value.files}
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    unused = sorted(set(files) - set(value.files))
    if unused:
        problems = tuple(
            Problem("benchmark", name, "the definition does not name this file", "", "benchmark") for name in unused
        )
        raise Invalid(f"The definition does not name {', '.join(unused)}.", problems=problems)
    return value, rows[value.data]


def _owner(viewer: Viewer, name: str) -> Namespace | None:
    head = name.partition("/")[0]
    home = Namespace.objects.filter(name=head).first()
    if home is not None and viewers.role_in(viewer, home) in viewers.WRITING:
        return home
    if viewer.is_admin:
        return None
    raise Forbidden(
        f"The benchmark name {name!r} is not yours to give.",
        hint="Use namespace/name in a namespace of yours; other names are for operators of the hub.",
    )


def _store(value: spec.Benchmark, files: Mapping[str, bytes]) -> None:
    for name, sha256 in value.files.items():
        stored = blobs.store().put(files[name], expected_sha256=sha256)
        Blob.objects.get_or_create(sha256=stored.sha256, defaults={"size": stored.size})
