"""Pull: one call to the hub, every byte verified.

decide (what the reference means, what is missing; whether it fits is `hub.fitting`'s) -> fetch -> verify -> a snapshot folder.
"""

import base64
import binascii
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub import bases, cache, errors, folder, paths
from hub.spec import reference
from hub.spec.documents import is_digest
from hub.spec.errors import SpecError
from hub.spec.manifest import File, Manifest
from hub.spec.snapshot import Snapshot
from hub.transfer import download
from hub.transfer.download import Remote
from hub.transfer.progress import Progress
from hub.transfer.wire import Wire

PARALLEL = 4
MAX_BYTES = 1 << 40
logger = logging.getLogger("hub")


@dataclass(frozen=True)
class Resolution:
    """What a reference means: the manifest with proof that it is the digest's, the hub's facts, where the bytes are.

    `folder`: of several adapters the one that was asked for, of which `facts["compatibility"]` then speaks.
    """

    digest: str
    manifest: Manifest
    facts: Mapping[str, Any]
    urls: Mapping[str, str]
    inline: Mapping[str, bytes]
    folder: str | None = None

    @property
    def ref(self) -> str:
        return str(self.facts.get("ref") or f"sha256:{self.digest}")

    @property
    def short(self) -> str:
        """The reference for people: without the digest, and the library's without its namespace."""
        return self.ref.split("@")[0].removeprefix("library/")

    @property
    def files(self) -> tuple[File, ...]:
        return self.manifest.files

    @property
    def base_model(self) -> Mapping[str, Any]:
        """What the hub says of the base model that it was made for; empty where it names none."""
        return self.facts.get("base_model") or {}


def parse(text: str | reference.Reference) -> reference.Reference:
    """A reference out of a user's text. Raises UsageError."""
    if isinstance(text, reference.Reference):
        return text
    try:
        return reference.parse(text)
    except SpecError as error:
        form = "references look like name, acme/name:1.4 or acme/name@sha256:<64 hex>"
        raise errors.from_spec(error, f"{text!r} is not a reference", hint=form) from error


def resolve(wire: Wire, store: cache.Cache, ref: reference.Reference, meant: bases.Meant | None) -> Resolution:
    """What `ref` means now. A digest whose snapshot is here needs no connection; with HUB_OFFLINE none is opened.

    Raises NotFound, Yanked, IntegrityError when the answer is not the digest's.
    """
    pinned = store.facts(ref.digest) if ref.digest and store.snapshot(ref.digest).is_dir() else None
    if pinned is not None and (wire.offline or meant is None or meant.base is not None):
        return read_answer(pinned, ref)
    if wire.offline:
        return _from_memory(wire, store, ref)
    asked = str(reference.Reference(ref.namespace, ref.name, ref.version, ref.digest))
    answer = wire.request("GET", "resolve", params={"ref": asked, **({"base": meant.word} if meant else {})})
    return read_answer(answer.data, ref)


def read_answer(answer: Any, ref: reference.Reference) -> Resolution:
    """Takes nothing on trust: names, sizes and digests of the answer are checked, and that they hash to its digest."""
    try:
        digest = str(answer["digest"]).removeprefix("sha256:")
        files = [_file(entry) for entry in answer["files"]]
        urls = {str(f["path"]): str(f["url"]) for f in answer["files"] if f.get("url")}
        inline = {
            str(f["path"]): base64.b64decode(f["inline"], validate=True) for f in answer["files"] if f.get("inline")
        }
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise errors.NetworkError(f"the hub's answer about {ref} cannot be read", hint="check HUB_ENDPOINT") from error
    paths.check((file.path for file in files), source=f"the hub's answer about {ref}")
    manifest = Manifest(tuple(files))
    if manifest.digest != digest or (ref.digest and ref.digest != digest):
        raise errors.IntegrityError(
            f"{ref}: the hub's answer lists other files than the digest stands for", hint="tell the owner of the hub"
        )
    facts = {key: value for key, value in answer.items() if key != "files"}
    facts["files"] = [file.to_json() for file in manifest.files]
    if ref.folder and "compatibility" in facts:
        facts["compatibility"] = _of_component(facts["compatibility"], ref.folder)
    return Resolution(digest, manifest, facts, urls, inline, ref.folder)


def _of_component(said: Any, folder: str) -> Any:
    """What the hub said of one of several adapters; where it tells no component apart, of all."""
    parts = said.get("components") if isinstance(said, dict) else None
    named = [part for part in parts or () if isinstance(part, dict) and part.get("folder") == folder]
    return named[0] if named else said


def ensure(
    wire: Wire, store: cache.Cache, found: Resolution, *, names: Iterable[str] = (), quiet: bool = False
) -> Path:
    """The snapshot folder of a resolution, complete and hashed now; fetches only what is missing or spoilt."""
    folder_ = store.snapshot(found.digest)
    exists = folder_.is_dir()
    wanted = store.spoilt(found.digest, found.files) if exists else list(found.files)
    if wanted:
        unique = {file.sha256: file for file in wanted}
        _fill(wire, store, found, [file for file in unique.values() if not store.holds(file)], quiet)
        if exists:
            store.mend(found.digest, wanted)
        else:
            folder_ = store.assemble(found.digest, found.files)
    if wanted or names:
        kept = {key: value for key, value in found.facts.items() if key != "compatibility"}  # that was about one base
        store.remember(found.digest, kept, names)
    return folder_


def missing(store: cache.Cache, found: Resolution) -> list[File]:
    """The files of which the cache holds no good bytes: what a pull would fetch."""
    good = store.snapshot(found.digest).is_dir() and not store.spoilt(found.digest, found.files)
    return [] if good else [file for file in found.files if not store.holds(file)]


def place(store: cache.Cache, found: Resolution, target: Path) -> Path:
    """Copies a snapshot to a folder of the user's: absent or empty before, complete after. Raises UsageError."""
    target = target.expanduser().absolute()
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise errors.UsageError(f"{target} is not a folder", hint="name a folder that is empty or does not exist")
    if target.is_dir() and any(target.iterdir()):
        if sidecar(target).get("digest") == f"sha256:{found.digest}" and not damaged(target, found.files):
            return target
        raise errors.UsageError(f"{target} is not empty", hint="nothing was changed there; name an empty folder")
    work = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    note = {"ref": found.ref, "digest": f"sha256:{found.digest}", "files": found.facts["files"]}
    try:
        store.lay_out(work, found.files, copies=True)
        cache.write_synced(work / folder.SIDECAR, json.dumps(note, indent=1).encode())
        os.rename(work, target)
        cache.sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise download.disk_error(error, target, found.manifest.size) from error
    return target


def deliver(wire: Wire, wanted: Iterable[Remote], root: Path, *, token: str | None) -> None:
    """Fetches files straight into a folder, each verified before it gets its name; what is right already is kept."""
    remotes = list(wanted)
    paths.check((remote.path for remote in remotes), source="the list of files")
    missing = {file.path for file in damaged(root, [File(r.path, r.sha256, r.size) for r in remotes])}
    for remote in remotes:
        if remote.path in missing:
            target = paths.inside(root, remote.path)
            part = target.with_name(f".{target.name[:64]}.{os.urandom(6).hex()}.part")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                download.fetch(wire, remote, part, token=token)
                os.replace(part, target)
            except OSError as error:
                raise download.disk_error(error, target, remote.size) from error
            finally:
                part.unlink(missing_ok=True)


def sidecar(target: Path) -> dict[str, Any]:
    """What `place` noted beside the files of a folder; empty when it did not make it."""
    try:
        value = json.loads((target / folder.SIDECAR).read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def damaged(root: Path, files: Iterable[File]) -> list[File]:
    """Files below `root` that are missing or whose bytes, hashed now, are others."""
    return [file for file in files if folder.file_digest(root.joinpath(*file.path.split("/"))) != file.sha256]


def memory_key(wire: Wire, ref: reference.Reference) -> str:
    """Under which name the cache remembers what a reference of this hub meant."""
    return f"{wire.endpoint} {ref.repo}:{ref.version or 'latest'}"


def _fill(wire: Wire, store: cache.Cache, found: Resolution, files: list[File], quiet: bool) -> None:
    total = sum(file.size for file in files)
    store.reserve(total)
    store.sweep()
    large = []
    for file in files:
        if file.path in found.inline:
            store.put(file, found.inline[file.path])
        else:
            large.append(file)
    with Progress(sum(file.size for file in large), found.ref.split("@")[0], quiet=quiet) as progress:
        if len(large) == 1:
            _fetch(wire, store, found, large[0], progress)
        elif large:
            with ThreadPoolExecutor(PARALLEL) as pool:
                for _ in pool.map(lambda file: _fetch(wire, store, found, file, progress), large):
                    pass


def _fetch(wire: Wire, store: cache.Cache, found: Resolution, file: File, progress: Progress) -> None:
    with store.lock(file.sha256):
        if store.holds(file):  # another process was faster
            return
        for _ in range(3):
            part = store.part(file.sha256)
            remote = Remote(file.path, file.sha256, file.size, _url(wire, found, file))
            download.fetch(
                wire,
                remote,
                part,
                seeds=[seed for seed in store.parts(file.sha256) if seed != part],
                progress=progress,
                renew=lambda: _renewed(wire, found, file),
            )
            if store.admit(part, file.sha256):
                return
    raise errors.StorageError(
        f"temporary files vanish from {store.root / 'tmp'}", hint="is something cleaning that folder?"
    )


def _url(wire: Wire, found: Resolution, file: File) -> str:
    """The address of a file; what came out of the cache has none, so the hub is asked (it then is a repair)."""
    return found.urls.get(file.path) or _renewed(wire, found, file)


def _renewed(wire: Wire, found: Resolution, file: File) -> str:
    pinned = parse(found.ref)
    answer = wire.request("GET", "resolve", params={"ref": f"{pinned.repo}@sha256:{found.digest}"})
    fresh = read_answer(answer.data, reference.Reference(pinned.namespace, pinned.name, None, found.digest))
    if file.path not in fresh.urls:
        raise errors.NetworkError(f"the hub gives no address for {file.path}")
    return fresh.urls[file.path]


def files_of(wire: Wire, store: cache.Cache, found: Resolution) -> Snapshot:
    """The files of a resolution: those in the cache where it was pulled, else where they are."""
    here = store.snapshot(found.digest)
    return folder.FolderSnapshot(here) if here.is_dir() else RemoteSnapshot(wire, found)


class RemoteSnapshot:
    """The files of a resolution where they are: small ones from the answer, of large ones only the bytes asked for.

    The beginning of a file, as far as it was read, is kept: a header is read more than once.
    """

    def __init__(self, wire: Wire, found: Resolution) -> None:
        self._wire, self._found = wire, found
        self.files: Mapping[str, int] = {file.path: file.size for file in found.files}
        self._begin: dict[str, bytes] = dict(found.inline)

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive). They prove nothing until the whole file is hashed."""
        end = min(end, self.files[path])
        begin = self._begin.get(path, b"")
        if start >= end or end <= len(begin):
            return begin[start:end] if start < end else b""
        if start == 0:
            self._begin[path] = begin + self._fetch(path, len(begin), end)
            return self._begin[path]
        return self._fetch(path, start, end)

    def _fetch(self, path: str, start: int, end: int) -> bytes:
        address = _url(self._wire, self._found, next(file for file in self._found.files if file.path == path))
        with self._wire.open(address, headers={"Range": f"bytes={start}-{end - 1}"}) as response:
            if response.status_code != 206:
                raise errors.from_answer(response.status_code, None, asked=f"GET {path}")
            data = b""
            for chunk in response.iter_raw():
                data += chunk
                if len(data) >= end - start:
                    break
        return data[: end - start]


def _file(entry: Mapping[str, Any]) -> File:
    path, sha256, size = entry["path"], entry["sha256"], entry["size"]
    if not isinstance(path, str) or not is_digest(sha256) or type(size) is not int or not 0 <= size <= MAX_BYTES:
        raise ValueError("not a file of a manifest")
    return File(path, sha256, size)


def _from_memory(wire: Wire, store: cache.Cache, ref: reference.Reference) -> Resolution:
    """HUB_OFFLINE: what the name meant when it was last pulled, with a warning when names like it may move."""
    entry = store.meant(memory_key(wire, ref)) if ref.digest is None else None
    facts = store.facts(str(entry["digest"])) if entry else None
    if entry is None or facts is None or not store.snapshot(str(entry["digest"])).is_dir():
        here = sorted({str(known["ref"]) for known in store.known() if f" {ref.repo}:" in str(known.get("name"))})
        raise errors.NotFound(
            f"{ref} is not in the cache, and HUB_OFFLINE is set",
            hint=f"in the cache: {', '.join(here)}" if here else "pull it once with a connection",
        )
    found = read_answer(facts, ref)
    if ref.version != facts.get("version"):
        day = time.strftime("%Y-%m-%d", time.gmtime(float(entry.get("at") or 0)))
        logger.warning("offline: %s is what it was on %s: %s", ref, day, found.ref)
    return found
