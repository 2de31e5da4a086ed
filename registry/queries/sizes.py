"""What fills an adapter's bytes, and how many of them are the base model's own: from the stored bytes and the base's hashes."""

from collections.abc import Callable, Iterable
from typing import Any

from blake3 import blake3

from hub.spec import sizes
from hub.spec.base_model import BaseModel
from hub.spec.components import Component
from registry.queries import blobs


def measure(
    digest: str, found: Iterable[Component], base: BaseModel | None, beat: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Return for each adapter of a manifest {"folder", "adapter", "head", "saved", "copied", "unchanged"}.

    `unchanged` is {"bytes", "told"}: what lies in saved tensors that begin with all rows of the base's tensor, and a sentence on
    it; None without a base. A table of which some rows were trained has another hash: only who has the base's bytes can count its
    rows (`hub doctor`). `beat` is called before each stretch that is read.
    """
    files = {row.path: (row.blob_id, row.size) for row in blobs.files_of(digest)}
    return [_measure(component, files, base, beat) for component in found]


def _measure(
    component: Component, files: dict[str, tuple[str, int]], base: BaseModel | None, beat: Callable[[], None]
) -> dict[str, Any]:
    told = {"folder": component.folder, **sizes.of(component, base.parameters if base else 0), "unchanged": None}
    if base is None:
        return told
    same = {}
    for copy in sizes.copies(component, blobs.StoredSnapshot(files), base):
        beat()
        if copy.digest and _hash(files[copy.path][0], copy) == copy.digest:
            same[copy] = copy.end - copy.start
    return told | {"unchanged": {"bytes": sum(same.values()), "told": sizes.sentence(same)}}


def _hash(sha256: str, copy: sizes.Copy) -> str:
    hashed = blake3()
    for piece in blobs.chunks(sha256, copy.start, copy.end):
        hashed.update(piece)
    return hashed.hexdigest()
