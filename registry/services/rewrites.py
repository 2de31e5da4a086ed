"""Configurations as this hub serves them, where that is not what was sent. The rules: hub.spec.methods.

The same files always give the same bytes, so a rewriting may be begun again at any time and by several at once.
"""

from collections.abc import Iterable

from hub.spec import manifest as manifests
from hub.spec.methods.rewriting import Rewritten
from registry.queries import blobs
from registry.services import blobs as blob_rows
from registry.services.conversions import Conversion


def rewrite(
    content: manifests.Manifest, rewritten: Iterable[Rewritten]
) -> tuple[manifests.Manifest, tuple[Conversion, ...]]:
    """Return the manifest with these files in the place of those of the same path, and what became what.

    Their bytes are stored. Raises StorageError.
    """
    sent = {file.path: file for file in content.files}
    made = tuple(Conversion(sent[one.path], _stored(one), one.changes) for one in rewritten)
    if not made:
        return content, ()
    files = sent | {one.kept.path: one.kept for one in made}
    return manifests.Manifest.from_json(manifests.Manifest(tuple(files.values())).to_json()), made


def _stored(one: Rewritten) -> manifests.File:
    stored = blobs.store().put(one.data)
    blob_rows.keep(stored=stored)
    return manifests.File(one.path, stored.sha256, stored.size)
