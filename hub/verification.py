"""Hash a pulled adapter again: every file, against the manifest it came with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hub import errors, folder, paths, retrieval, suggestions
from hub.cache import Cache
from hub.spec import words
from hub.spec.manifest import File
from hub.transfer.wire import Wire


def of_reference(wire: Wire, store: Cache, text: str, *, heal: bool, quiet: bool) -> dict[str, Any]:
    """Verifies the copy in the cache; damaged files are fetched again unless `heal` is off or no connection is allowed.

    Raises NotFound when it was never pulled, IntegrityError when damage stays.
    """
    meant = retrieval.parse(text)
    with suggestions.about(wire, meant):
        found = retrieval.resolve(wire, store, meant, None)
    root = store.snapshot(found.digest)
    if not root.is_dir():
        raise errors.NotFound(f"{found.ref} is not in the cache", hint=f"pull it first: hub pull {text}")
    damaged = [file.path for file in store.spoilt(found.digest, found.files)]
    healed = bool(damaged) and heal and not wire.offline
    if healed:
        retrieval.ensure(wire, store, found, quiet=quiet)
    return _told(found.ref, found.digest, found.files, damaged, root, healed)


def of_folder(store: Cache, root: Path) -> dict[str, Any]:
    """Verifies a folder that `pull(..., to=...)` made, or a snapshot folder of the cache. Raises IntegrityError."""
    note = retrieval.sidecar(root)
    if not note and root.absolute().parent == (store.root / "snapshots").absolute():
        note = store.facts(root.name) or {}
    try:
        digest = str(note["digest"]).removeprefix("sha256:")
        files = [File(str(f["path"]), str(f["sha256"]), int(f["size"])) for f in note["files"]]
    except (KeyError, TypeError, ValueError):
        hint = "verify a reference, or a folder made by `hub pull --to`"
        raise errors.UsageError(f"{root} does not say what it should hold", hint=hint) from None
    paths.check((file.path for file in files), source=str(root / folder.SIDECAR))
    damaged = [file.path for file in retrieval.damaged(root, files)]
    return _told(str(note.get("ref")), digest, files, damaged, root, False)


def _told(ref: str, digest: str, files: Iterable[File], damaged: list[str], root: Path, healed: bool) -> dict[str, Any]:
    if damaged and not healed:
        count = words.counted(len(damaged), "damaged file")
        raise errors.IntegrityError(f"{ref}: {count} in {root}: {', '.join(damaged)}", hint="pull it again")
    return {
        "ok": True,
        "ref": ref,
        "digest": f"sha256:{digest}",
        "folder": str(root),
        "files": len(list(files)),
        "damaged": damaged,
        "healed": healed,
    }
