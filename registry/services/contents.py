"""What a weights file says, whatever its header looks like: reckoned once for each blob, from the stored bytes."""

from collections.abc import Callable

from hub.spec import contents, tensors
from hub.spec.errors import SpecError
from registry.models import Content, Manifest, ManifestFile
from registry.queries import blobs


def note(*, manifest: Manifest, beat: Callable[[], None] = lambda: None) -> int:
    """Note the content of every safetensors file of a manifest; return how many were new. Again: none.

    `beat` is called before each file: reading may take long.
    """
    files = ManifestFile.objects.filter(manifest=manifest, path__endswith=".safetensors", blob__content=None)
    found = 0
    for sha256, size in dict(files.values_list("blob_id", "size")).items():
        beat()
        digest = _digest(sha256, size)
        if digest is not None:
            found += Content.objects.get_or_create(blob_id=sha256, defaults={"digest": digest})[1]
    return found


def _digest(sha256: str, size: int) -> str | None:
    """Return the digest of a blob's tensors, None where these are no safetensors bytes."""
    try:
        length = 8 + tensors.header_length(blobs.store().read(sha256, 0, min(8, size)), size)
        table = tensors.parse_header(blobs.store().read(sha256, 0, length), size)
    except SpecError:
        return None
    return contents.digest(contents.entries(table, blobs.chunks(sha256, length, size) if length < size else ()))
