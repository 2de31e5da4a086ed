"""Base models that the hub itself holds: send one there, and fetch one from there.

What is fetched is verified twice: every file by its SHA-256, and the whole by hashing its tensors, as any folder is.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from hub import base_folder, bases, config, descriptions, errors
from hub.folder import file_digest
from hub.spec.base_model import is_fingerprint
from hub.spec.located import is_kept
from hub.transfer import download, upload
from hub.transfer.download import Remote
from hub.transfer.progress import Progress
from hub.transfer.wire import Wire

HASHING = 600.0
"""Seconds within which a hub hashes a file that it has received."""


def store(wire: Wire, fingerprint: str, folder: Path, *, quiet: bool = False) -> list[str]:
    """Sends the files of a base model to the hub, which hashes each; returns their names. What is there is not sent again.

    Raises AuthError where the token is no operator's, NetworkError, UsageError.
    """
    files = base_folder.kept_files(folder)
    body = {"files": [file.to_json() for file in files]}
    place = f"base-models/{fingerprint}/files"
    wanted = _wanted(wire, place, body)
    with Progress(sum(int(blob["size"]) for blob in wanted.values()), "store", quiet=quiet) as progress:
        for path, blob in wanted.items():
            source = upload.Source(path, int(blob["size"]), lambda path=path: (folder / path).open("rb"))  # type: ignore[misc]
            destination = upload.Destination.from_json(blob)
            upload.send(
                wire,
                source,
                destination,
                look=lambda path=path: upload.Destination.from_json(_wanted(wire, place, body)[path]),  # type: ignore[misc]
                progress=progress,
            )
            wire.request("POST", str(blob["complete_url"]), json={}, idempotent=True, timeout=HASHING)
    return sorted(file.path for file in files)


def _wanted(wire: Wire, place: str, body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    told = wire.request("POST", place, json=body, idempotent=True).data
    known = {file["path"] for file in body["files"]}
    return {str(blob["path"]): blob for blob in told["blobs"] if blob["path"] in known}


def locate(wanted: Mapping[str, Any], settings: config.Settings, *, base: object = None) -> Path:
    """The folder of the base model that an adapter is bound to: on this machine (`bases.locate`), else fetched from the hub
    where that holds it. Raises as `bases.locate` does, NetworkError, IntegrityError, StorageError."""
    try:
        return bases.locate(wanted, settings, base=base)
    except errors.NotFound:
        fingerprint = wanted.get("fingerprint")
        if not is_fingerprint(fingerprint):  # it names a folder, which is replaced: `../..` would be another one
            raise
        folder = settings.cache / "stored" / str(fingerprint).removeprefix("base:")
        if folder.is_dir() and bases.same(descriptions.describe(folder, cache=settings.cache / "bases"), wanted):
            return folder
        if settings.offline or not _is_stored(wanted):
            raise
    with Wire(settings.endpoint, settings.token) as wire:
        return _fetch(wire, wanted, folder)


def _is_stored(wanted: Mapping[str, Any]) -> bool:
    return any(
        place.get("kind") == "stored" and place.get("state") == "live" for place in wanted.get("locations") or ()
    )


def _fetch(wire: Wire, wanted: Mapping[str, Any], folder: Path) -> Path:
    """Every file into a folder beside the final one, that a killed call leaves to the next; then it is hashed, and renamed."""
    listed = wire.request("GET", f"base-models/{wanted['fingerprint']}/files").data["files"]
    remotes = [Remote.of(file) for file in listed]
    strange = [remote.path for remote in remotes if not is_kept(remote.path)]
    if strange or not remotes:
        raise errors.NetworkError(f"the hub does not tell the files of {wanted['fingerprint']} as it should: {strange}")
    work = folder.with_name(f".{folder.name}.part")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise download.disk_error(error, work, sum(remote.size for remote in remotes)) from error
    with FileLock(work.with_suffix(".lock")), Progress(sum(remote.size for remote in remotes), "base") as progress:
        for remote in remotes:
            _fetch_one(wire, remote, work, progress)
        found = descriptions.describe(work)
        if not bases.same(found, wanted):
            shutil.rmtree(work)
            raise errors.IntegrityError(
                f"what the hub holds as {wanted['fingerprint']} is not that base model but {found.fingerprint}",
                hint="tell its owner; nothing was kept",
            )
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(work, folder)
    return folder


def _fetch_one(wire: Wire, remote: Remote, work: Path, progress: Progress) -> None:
    final = work / remote.path
    if final.is_file() and final.stat().st_size == remote.size and file_digest(final) == remote.sha256:
        progress.add(remote.size)
        return
    left, target = list(work.glob(f"{remote.path}.*.part")), work / f"{remote.path}.{os.getpid()}.part"
    seeds = [path.rename(work / f"{remote.path}.left.part") for path in left[:1]]
    download.fetch(wire, remote, target, seeds=seeds, progress=progress)
    os.replace(target, final)
    for path in {*left, *seeds}:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
