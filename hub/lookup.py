"""From bytes to the adapters that hold them: by the SHA-256 of a file, and by that of its tensors whatever its header."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hub import errors, folder
from hub.spec import contents, tensors
from hub.spec.documents import is_digest
from hub.spec.errors import SpecError
from hub.transfer.wire import Wire

_PIECE = 1 << 20


def find(wire: Wire, target: Path | str) -> dict[str, Any]:
    """{digests: {what: SHA-256}, results: [{kind, path, adapter, version}]}: the versions that hold a digest, or a file's.

    Raises UsageError for what is neither a digest nor a file, NotFound where nothing holds it.
    """
    digests = _digests(target)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for digest in digests.values():
        try:
            rows = wire.request("GET", f"by-hash/{digest}").data["results"]
        except errors.NotFound:
            continue
        for row in rows:
            found.setdefault((row["adapter"], row["version"]["version"], str(row.get("path"))), row)
    if not found:
        said = ", ".join(f"{what} {digest}" for what, digest in digests.items())
        raise errors.NotFound(
            f"nothing on this hub holds {target}" + (f" ({said})" if str(target) not in said else ""),
            hint="what is private is only found when you are logged in",
        )
    return {"digests": digests, "results": list(found.values())}


def _digests(target: Path | str) -> dict[str, str]:
    """The digests to look for: the one that is given, or those of a file."""
    text = str(target).removeprefix("sha256:").lower()
    if is_digest(text):
        return {"sha256": text}
    path = Path(target).expanduser()
    if path.is_dir():
        raise errors.UsageError(f"{path} is a folder", hint="name one of its files, such as adapter_model.safetensors")
    try:
        with folder.open_plain(path) as stream:
            own = {"file": folder.digest_of(stream)}
            return own | (_of_tensors(stream, path) if path.suffix == ".safetensors" else {})
    except FileNotFoundError:
        raise errors.UsageError(
            f"{target} is neither a SHA-256 nor a file", hint="64 hex digits, as `sha256sum` prints them, or a file"
        ) from None
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _of_tensors(stream: IO[bytes], path: Path) -> dict[str, str]:
    """The digest of what a safetensors file says; none where it is no such file."""
    size = stream.seek(0, 2)
    stream.seek(0)
    try:
        head = stream.read(8)
        head += stream.read(tensors.header_length(head, size, path.name))
        table = tensors.parse_header(head, size, path.name)
    except SpecError:
        return {}
    return {"tensors": contents.digest(contents.entries(table, _pieces(stream)))}


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while data := stream.read(_PIECE):
        yield data
