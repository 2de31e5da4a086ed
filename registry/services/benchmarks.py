"""Benchmarks: add one with its data."""

import hashlib
from collections.abc import Mapping

from django.db import transaction

from hub.spec import benchmark as spec
from hub.spec import rows as examples
from hub.spec.errors import Problem, SpecError
from registry.errors import Invalid, TooLarge
from registry.models import Benchmark, Namespace, Scope
from registry.queries import blobs, viewers
from registry.queries.viewers import Viewer
from registry.services import blobs as blob_rows
from registry.services import events, namespaces
from registry.storage.base import Stored

MAX_FILE = 64 << 20


def add(*, viewer: Viewer, definition: bytes, files: Mapping[str, bytes]) -> tuple[Benchmark, bool]:
    """Add a benchmark from its YAML and its data files, and return it, and whether it is new. Again: the same one.

    Every row of the data is read, so that no worker stumbles over it. The newest of a name is what the name means;
    therefore a name `namespace/...` needs the write role there, and every other name an operator. Raises Invalid with
    every problem, Forbidden, TooLarge.
    """
    viewers.require_scope(viewer, Scope.PUSH)
    value, rows = _read(definition, files)
    owner, _ = namespaces.place(viewer, value.name)
    # The store may take its time: no transaction waits for it. Bytes without a row do no harm.
    known = Benchmark.objects.filter(pk=value.digest).exists()
    stored = [] if known else [blobs.store().put(files[name], expected_sha256=sha) for name, sha in value.files.items()]
    return _keep(viewer, value, rows, owner, stored)


@transaction.atomic
def _keep(
    viewer: Viewer, value: spec.Benchmark, rows: int, owner: Namespace | None, stored: list[Stored]
) -> tuple[Benchmark, bool]:
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
        for each in stored:
            blob_rows.keep(stored=each)
        events.record(actor=viewer.name, kind="benchmark.added", subject=value.name, digest=value.digest)
    return benchmark, made


def _read(definition: bytes, files: Mapping[str, bytes]) -> tuple[spec.Benchmark, int]:
    """Return the benchmark and the number of rows that are scored."""
    for name, data in files.items():
        if len(data) > MAX_FILE:
            raise TooLarge(f"{name} has {len(data)} bytes, more than {MAX_FILE}.")
    try:
        value = spec.parse(definition, {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
        rows = {name: len(examples.read(files[name], value, name)) for name in value.files}
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    unused = sorted(set(files) - set(value.files))
    if unused:
        problems = tuple(
            Problem("benchmark", name, "the definition does not name this file", "", "benchmark") for name in unused
        )
        raise Invalid(f"The definition does not name {', '.join(unused)}.", problems=problems)
    return value, rows[value.data]
