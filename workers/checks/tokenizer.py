"""Does the tokenizer that the snapshot brings go with the base model's table of tokens?

Runs use the base model's tokenizer, and so does `Adapter.load()`. People who load the folder with other programs get the
one that lies in it: a token whose number has no row there ends them with an index error, and one that nobody trained says
nothing. Numbers without a row are refused; the rest is told.
"""

import json
import posixpath
from collections.abc import Mapping
from typing import Any

import torch

from hub import base_folder
from hub.runtime.base import Backbone
from hub.spec import documents
from hub.spec.components import Component
from hub.spec.errors import SpecError
from hub.spec.snapshot import Snapshot
from hub.spec.words import counted
from workers.ledger import Finding, listed

MAX_BYTES, MAX_NODES = 64 << 20, 5_000_000
FILE = "tokenizer.json"
ADDED = "added_tokens.json"
TABLES = ("embed", "tokens")
"""What the name of a table of tokens holds, or the kind of part that trains some of its rows."""
RESIZED = (
    "save the embeddings that were trained with it (save_embedding_layers=True in PEFT), name the rows in "
    "trainable_token_indices, or leave the tokenizer out"
)

Tensors = Mapping[str, torch.Tensor]


def tokenizer(backbone: Backbone, snapshot: Snapshot, component: Component, tensors: Tensors) -> Finding | None:
    """What is to be said of the tokenizer beside a component; None where the snapshot brings none that can be read."""
    found = _tokens(snapshot, component.folder)
    if found is None:
        return None
    digest, tokens = found
    if digest is not None and digest in _digests(backbone):
        return Finding("tokenizer", "passed", "the snapshot's tokenizer is the base model's", evidence={"same": True})
    known = backbone.tokenizer.get_vocab()
    new = sorted((place, token) for token, place in tokens.items() if token not in known)
    rows = max(_rows(backbone), _brought(component, tensors))
    beyond = [token for place, token in new if place >= rows]
    evidence: dict[str, Any] = {"same": False, "new": len(new), "rows": rows, "without_row": len(beyond)}
    if beyond:
        message = f"{counted(len(beyond), 'token')} without a row in the table of {rows}: {listed(beyond)}"
        return Finding("tokenizer", "failed", message, RESIZED, evidence)
    if new and not _trains_table(component):
        message = (
            f"{counted(len(new), 'new token')}, and no row of the table was trained: {listed([t for _, t in new])}"
        )
        return Finding("tokenizer", "warning", message, RESIZED, evidence)
    if digest is None:
        return None
    message = "the snapshot's tokenizer is another than the base model's, which is the one used here"
    hint = "" if new else "leave it out, unless you mean it to be used"
    return Finding("tokenizer", "warning", message, hint, evidence)


def _digests(backbone: Backbone) -> set[str | None]:
    """The base model's tokenizer as it lies in its folder, and as a program of today writes it anew."""
    backend = getattr(backbone.tokenizer, "backend_tokenizer", None)
    written = set() if backend is None else {base_folder.tokenizer_digest_of(json.loads(backend.to_str()))}
    return written | {backbone.base.tokenizer_digest}


def _tokens(snapshot: Snapshot, folder: str) -> tuple[str | None, dict[str, int]] | None:
    """(digest, token -> number) of the tokenizer beside a component, or at the root; the digest where the whole is there."""
    for place in dict.fromkeys((folder, "")):
        table = _json(snapshot, posixpath.join(place, FILE))
        added = _json(snapshot, posixpath.join(place, ADDED))
        if table is None and added is None:
            continue
        tokens = {**_vocabulary(table or {}), **(added or {})}
        digest = None if table is None else base_folder.tokenizer_digest_of(table)
        return digest, {str(token): place for token, place in tokens.items() if type(place) is int}
    return None


def _vocabulary(table: Mapping[str, Any]) -> dict[str, Any]:
    model, added = table.get("model"), table.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):  # Unigram: [[token, score], ...]
        vocabulary = {entry[0]: place for place, entry in enumerate(vocabulary) if isinstance(entry, list) and entry}
    tokens = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    for entry in added if isinstance(added, list) else []:
        if isinstance(entry, dict):
            tokens[str(entry.get("content"))] = entry.get("id")
    return tokens


def _json(snapshot: Snapshot, path: str) -> dict[str, Any] | None:
    size = snapshot.files.get(path)
    if size is None or size > MAX_BYTES:
        return None
    try:
        value = documents.loads_json(snapshot.read(path, 0, size), where=path, max_bytes=MAX_BYTES, max_nodes=MAX_NODES)
    except SpecError:
        return None  # told by the static checks
    return value if isinstance(value, dict) else None


def _rows(backbone: Backbone) -> int:
    """Rows of the base model's own table of tokens."""
    return int(backbone.model.get_input_embeddings().weight.shape[0])


def _brought(component: Component, tensors: Tensors) -> int:
    """Rows of the table that the adapter brings whole, 0 where it brings none."""
    tables = [
        tensors[key]
        for part in component.parts
        if part.kind in ("saved", "copy") and TABLES[0] in part.module
        for role, key in part.tensors.items()
        if role == "weight"
    ]
    return max((len(table) for table in tables), default=0)


def _trains_table(component: Component) -> bool:
    """Whether the adapter changes rows of the table of tokens, by whatever method."""
    return any(word in f"{part.module} {part.kind}" for part in component.parts for word in TABLES)
