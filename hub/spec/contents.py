"""The identity of what a safetensors file says: its tensors, whatever the header around them looks like.

Two files that differ in metadata, in the order of their tensors or in padding have two SHA-256, and one of these:

    SHA-256 of canonical JSON {"contents": 1, "tensors": [[name, dtype, shape, SHA-256 of the tensor's bytes], ...]}, sorted
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from hub.spec import documents
from hub.spec.tensors import Tensor

Entry = tuple[str, str, tuple[int, ...], str]
"""Name, dtype, shape, and the SHA-256 (64 hex) of the bytes."""


def digest(entries: Iterable[Entry]) -> str:
    """Return the digest (64 hex) over these tensors, in whatever order they come."""
    table = sorted([name, dtype, list(shape), content] for name, dtype, shape, content in entries)
    return documents.digest({"contents": 1, "tensors": table})


def entries(tensors: Iterable[Tensor], chunks: Iterable[bytes]) -> Iterator[Entry]:
    """Give each tensor of a file with the digest of its bytes.

    `chunks` are the bytes behind the header, in pieces of any length: read once, never held together.
    """
    pieces = iter(chunks)
    held = memoryview(b"")
    for tensor in sorted(tensors, key=lambda item: (item.start, item.end)):
        hashed, left = hashlib.sha256(), tensor.nbytes
        while left:
            if not held:
                held = memoryview(next(pieces, b""))
                if not held:
                    raise EOFError(f"the bytes end within tensor {tensor.name!r}")
            hashed.update(held[:left])
            taken = min(left, len(held))
            held, left = held[taken:], left - taken
        yield tensor.name, tensor.dtype, tensor.shape, hashed.hexdigest()
