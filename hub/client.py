"""The client: one hub, one token, every verb."""

import getpass
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hub import (
    base_folder,
    bases,
    config,
    errors,
    fitting,
    live,
    lookup,
    plans,
    preparation,
    publication,
    retrieval,
    suggestions,
    verdicts,
    verification,
)
from hub.adapter import Adapter
from hub.cache import Cache
from hub.diagnosis import KnownBase
from hub.spec import reference
from hub.spec.base_model import BaseModel
from hub.spec.snapshot import Snapshot
from hub.transfer.download import Remote
from hub.transfer.wire import INHERIT, Wire
from hub.verdicts import Report, segment, segment_path, version_path

logger = logging.getLogger("hub")


class Client:
    """Speaks to one hub. Settings come from the arguments, then the environment, then the files of `hub login`.

    Use it as a context manager, or `close()` it, to give its connections back. Every error is a `hub.HubError`.
    """

    def __init__(self, endpoint: str | None = None, token: str | None = None, *, quiet: bool = False) -> None:
        self.settings = config.read(endpoint=endpoint, token=token)
        self.quiet = quiet
        self.wire = Wire(self.settings.endpoint, self.settings.token, offline=self.settings.offline)
        self.cache = Cache(self.settings.cache)

    def __repr__(self) -> str:
        return f"Client({self.settings.endpoint!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; the client may be used again."""
        self.wire.close()

    # -- for workers and for what has no verb -------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = INHERIT,
        idempotent: bool | None = None,
        timeout: float | None = None,
    ) -> Any:
        """One call of the API (`path` without /api/v1/), tried again where safe. Returns the JSON, None for 204.

        `token` overrides the client's own. Errors carry `.status`, `.code` and `.data` of the hub's problem document.
        """
        return self.wire.request(
            method, path, json=json, params=params, headers=headers, token=token, idempotent=idempotent, timeout=timeout
        ).data

    def download(self, files: Iterable[Mapping[str, Any]], folder: Path | str, *, token: str | None = INHERIT) -> Path:
        """Fetches files [{path, sha256, size, url}] into a folder, each verified before it gets its name.

        What is there already with the right bytes is kept. `token` is sent to the hub itself only.
        """
        root = Path(folder)
        retrieval.deliver(self.wire, map(Remote.of, files), root, token=token)
        return root

    # -- account ------------------------------------------------------------------------------------------------

    def login(self, token: str | None = None) -> dict[str, Any]:
        """Checks a token (asked for when none is given), keeps it for this hub, and says who it belongs to."""
        token = config.check_token(token if token is not None else _ask_for_token(self.settings.endpoint))
        me = self.request("GET", "me", token=token)
        path = config.store_token(self.settings, token)
        logger.info("the token is kept in %s", path)
        return dict(me)

    def logout(self) -> bool:
        """Forgets the kept token of this hub; False when there was none. It stays valid: revoke it on the website."""
        return config.forget_token(self.settings)

    def whoami(self) -> dict[str, Any]:
        """{user, namespaces, scope, expires_at} of the token. Raises AuthError."""
        if not self.wire.has_token and not self.settings.offline:
            raise errors.AuthError("you are not logged in", hint="run `hub login`, or set HUB_TOKEN")
        return dict(self.request("GET", "me"))

    # -- find ---------------------------------------------------------------------------------------------------

    def search(
        self,
        query: str = "",
        *,
        base: object = None,
        task: str | None = None,
        benchmark: str | None = None,
        method: str | None = None,
        sort: str | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Adapters that match, each with its `latest` and scores. Raises NotFound for a base model that is nowhere known.

        `base` (a folder, a name, a fingerprint, a live model): what fits it, best level first, then by `sort` (best
        score); each with `compatibility` {level, reasons, evidence}. The hub need not know the base model: its table of
        tensors is then sent to be compared (50 adapters at most).
        """
        meant = self._meant(base)
        given = {"q": query, "task": task, "benchmark": benchmark, "method": method, "sort": sort}
        params = {key: value for key, value in given.items() if value}
        if meant is None:
            return self._pages("adapters", params, limit)
        try:
            path = f"base-models/{segment_path(meant.word)}/adapters"
            with suggestions.about_name(self.wire, meant.word, "base-models"):
                return self._pages(path, params, limit)
        except errors.NotFound:
            if meant.base is None:
                raise
        return fitting.search(self.wire, meant.base, params, limit)

    def info(self, ref: str) -> dict[str, Any]:
        """An adapter with its versions; one version with its files when the reference names one. Raises NotFound."""
        meant = retrieval.parse(ref)
        with suggestions.about(self.wire, meant):
            if meant.version or meant.digest:
                return dict(self.request("GET", version_path(meant.repo, _version(meant, "latest"))))
            return dict(self.request("GET", f"adapters/{segment(meant.namespace)}/{segment(meant.name)}"))

    def status(
        self,
        ref: str,
        *,
        follow: bool = False,
        timeout: float | None = None,
        tell: Callable[[Report], None] = lambda _: None,
    ) -> Report:
        """How far a version is; without one in the reference, the newest, whatever its status.

        `follow` waits for the verdict: raises Rejected or NotJudged.
        """
        meant = retrieval.parse(ref)
        with suggestions.about(self.wire, meant):
            version = _version(meant, "") or self._newest(meant)
            if follow:
                return verdicts.wait(self.wire, meant.repo, version, timeout=timeout, tell=tell)
            return verdicts.fetch(self.wire, meant.repo, version)

    def report(self, ref: str) -> Report:
        """The whole report of a version: of `latest` without one, or of the newest where nothing is published."""
        meant = retrieval.parse(ref)
        with suggestions.about(self.wire, meant):
            if meant.version or meant.digest:
                return verdicts.fetch(self.wire, meant.repo, _version(meant, "latest"))
            try:
                return verdicts.fetch(self.wire, meant.repo, "latest")
            except (errors.NotFound, errors.Yanked):
                return verdicts.fetch(self.wire, meant.repo, self._newest(meant))

    # -- get ----------------------------------------------------------------------------------------------------

    def pull(
        self,
        ref: str,
        *,
        base: object = None,
        to: Path | str | None = None,
        allow_shape_only: bool = False,
    ) -> Adapter:
        """The adapter, every byte verified, from the cache where it is there. With `to`, a copy in that folder.

        With `base` (folder, name, fingerprint, live model) the fit is decided before any weight is fetched. Raises
        NotFound, Yanked, IncompatibleBaseModel, IntegrityError, NetworkError, StorageError.
        """
        meant, found, _ = self._decide(ref, base, allow_shape_only)
        names = () if self.settings.offline else self._names(meant, found)
        snapshot = retrieval.ensure(self.wire, self.cache, found, names=names, quiet=self.quiet)
        if to is not None:
            snapshot = retrieval.place(self.cache, found, Path(to))
        return Adapter(snapshot, found.facts, self.settings, folder=meant.folder)

    def plan(self, ref: str, *, base: object = None, allow_shape_only: bool = False) -> dict[str, Any]:
        """What `pull` would do: {ref, digest, files, fetch, bytes, base_model, compatibility}. Nothing is downloaded."""
        _, found, fit = self._decide(ref, base, allow_shape_only)
        missing = retrieval.missing(self.cache, found)
        return {
            "ref": found.ref,
            "digest": f"sha256:{found.digest}",
            "base_model": found.facts.get("base_model"),
            "compatibility": fit and fit.to_json(),
            "files": [file.to_json() for file in found.files],
            "fetch": [file.path for file in missing],
            "bytes": sum(file.size for file in missing),
            "size": found.manifest.size,
        }

    def verify(self, target: str | Path, *, heal: bool = True) -> dict[str, Any]:
        """Hashes every file of a pulled adapter again: {ok, ref, digest, files, damaged, healed, folder}.

        `target` is a reference (its copy in the cache; damaged files are fetched again unless `heal` is off) or a
        folder made by `pull(..., to=...)`. Raises IntegrityError, naming the files, when damage stays.
        """
        root = Path(target).expanduser()
        if root.is_dir():
            return verification.of_folder(self.cache, root)
        return verification.of_reference(self.wire, self.cache, str(target), heal=heal, quiet=self.quiet)

    def check(self, target: str | Path, *, base: object = None, labels: Sequence[str] | None = None) -> dict[str, Any]:
        """Everything that can be said about an adapter without running it: {ok, checks, problems, components, ...}.

        `target` is a folder, or a reference, of which only headers are read. With `base`, `compatibility` says how they go
        together: {level, reasons, evidence, clash}; without, `fits` lists base models that it fits: of this machine for
        a folder, of the hub for a reference.
        """
        root = Path(target).expanduser()
        meant = self._meant(base)
        described, hashed = self._outlined(meant)
        if root.is_dir():
            known = [KnownBase(*found) for found in bases.outlines(self.settings)] if meant is None else []
            return fitting.check_folder(self.wire, root, meant, described, labels or (), known, hashed=hashed)
        asked = retrieval.parse(str(target))
        with suggestions.about(self.wire, asked):
            found = retrieval.resolve(self.wire, self.cache, asked, meant)
        return fitting.check_reference(self.wire, self.cache, found, meant, described, tuple(labels or ()))

    def headers(self, ref: str) -> tuple[str, Snapshot]:
        """(the reference with its version, its files): of those that were not pulled only the bytes travel that are read."""
        asked = retrieval.parse(ref)
        with suggestions.about(self.wire, asked):
            found = retrieval.resolve(self.wire, self.cache, asked, None)
        return found.short, retrieval.files_of(self.wire, self.cache, found)

    def find_hash(self, target: str | Path) -> dict[str, Any]:
        """{digests, results}: the versions that hold what has a SHA-256, or a file of this machine: its bytes, or, of a
        safetensors file, its tensors whatever the header. Raises NotFound where nothing does."""
        return lookup.find(self.wire, target)

    def fingerprint(self, base: object) -> str:
        """ "base:<64 hex>" of a base model: its folder, or a live model. Every weight is hashed now."""
        if isinstance(base, (str, os.PathLike)):
            return base_folder.fingerprint(Path(base).expanduser())
        if hasattr(base, "state_dict"):
            return live.from_model(base).fingerprint
        described = self._described(self._meant(base))
        return described.fingerprint if described else ""

    # -- publish ------------------------------------------------------------------------------------------------

    def prepare(
        self,
        folder: Path | str,
        *,
        base: object = None,
        task: str | None = None,
        benchmarks: Sequence[str] = (),
        labels: Sequence[str] | None = None,
        check: bool = True,
        lonely: bool = True,
        home: str | None = None,
    ) -> preparation.Prepared:
        """What `push` would send, with every problem in it (`--dry-run`). Only questions are asked of the hub.

        `lonely`: where the hub cannot be reached, say so and judge without it. `home`: the namespace, whose policy counts.
        """
        said: dict[str, Any] = {"task": task, "benchmarks": list(benchmarks), "labels": list(labels or ())}
        meant, notes = self._base_of(folder, base, said, lonely)
        wanted = plans.labels_of(self.wire, benchmarks, notes if lonely else None) or (
            tuple(labels) if labels else None
        )
        prepared = preparation.prepare(
            folder,
            said,
            base=meant,
            called=str(base) if isinstance(base, (str, os.PathLike)) else preparation.declared_base(folder) or "",
            labels=wanted,
            tasks=lambda named: plans.tasks_of(self.wire, named, home),
            check=check,
        )
        for note in (*prepared.notes, *notes):
            logger.warning("%s", note)
        return prepared

    def push(
        self,
        folder: Path | str,
        name: str | None = None,
        *,
        base: object = None,
        task: str | None = None,
        benchmarks: Sequence[str] = (),
        labels: Sequence[str] | None = None,
        version: str | None = None,
        private: bool = False,
        message: str = "",
        wait: bool = False,
        timeout: float | None = None,
        check: bool = True,
        tell: Callable[[Report], None] = lambda _: None,
    ) -> Report:
        """Publishes a folder once the hub has judged it. With `wait`, returns the report of the verdict.

        Problems seen here are told at once, before a byte travels (Rejected; `check=False` leaves that to the hub).
        Pushing the same content again is the same push. Raises Rejected, and with `wait` NotJudged.
        """
        meant = self._target(folder, name)
        prepared = self.prepare(
            folder,
            base=base,
            task=task,
            benchmarks=benchmarks,
            labels=labels,
            check=check,
            lonely=False,
            home=meant.namespace,
        )
        preparation.refuse(prepared, str(folder))
        label, quiet = version or meant.version, self.quiet
        done = publication.send(
            self.wire, prepared, meant, version=label, private=private, message=message, quiet=quiet
        )
        if not wait:
            return done
        return verdicts.wait(self.wire, meant.repo, str(done["number"]), timeout=timeout, tell=tell)

    def yank(self, ref: str, reason: str = "", *, undo: bool = False) -> dict[str, Any]:
        """Withdraws a version (`latest` passes it by, a pull by digest still works), or takes that back."""
        meant = retrieval.parse(ref)
        if not meant.version and not meant.digest:
            raise errors.UsageError(f"{ref} names no version", hint=f"say which one: {ref}:1")
        if not undo and not reason.strip():
            raise errors.UsageError("a yank needs a reason", hint="--reason tells everyone who still uses it")
        path = f"{version_path(meant.repo, _version(meant, ''))}/{'unyank' if undo else 'yank'}"
        return dict(self.request("POST", path, json={} if undo else {"reason": reason}, idempotent=True))

    # -- inside -------------------------------------------------------------------------------------------------

    def _meant(self, base: object) -> bases.Meant | None:
        return bases.meaning(base, self.settings, fitting.from_place(self.wire))

    def _pages(self, path: str, params: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page = self.request("GET", path, params={**params, "limit": min(limit, 50)})
        while True:
            found += page["results"]
            if len(found) >= limit or not page.get("next"):
                return found[:limit]
            page = self.request("GET", page["next"])

    def _decide(
        self, ref: str, base: object, allow_shape_only: bool
    ) -> tuple[reference.Reference, retrieval.Resolution, fitting.Fit | None]:
        meant, wanted = retrieval.parse(ref), self._meant(base)
        with suggestions.about(self.wire, meant):
            found = retrieval.resolve(self.wire, self.cache, meant, wanted)
        folders = [str(part.get("folder") or "") for part in found.facts.get("components") or []]
        if meant.folder and meant.folder not in folders:
            raise suggestions.improve(
                errors.NotFound(f"{found.ref} has no adapter in #{meant.folder}", hint=f"there are: {folders}"),
                meant.folder,
                folders,
            )
        if found.facts.get("yanked"):
            logger.warning("%s was yanked: %s", found.ref, found.facts["yanked"].get("reason"))
        if found.facts.get("regressed"):
            logger.warning("%s no longer passes what it passed when it was published: hub report says more", found.ref)
        fit = fitting.judge(self.wire, self.cache, found, wanted, allow_shape_only=allow_shape_only)
        return meant, found, fit

    def _names(self, meant: reference.Reference, found: retrieval.Resolution) -> tuple[str, ...]:
        exact = reference.Reference(meant.namespace, meant.name, str(found.facts.get("version") or "") or None)
        return tuple({retrieval.memory_key(self.wire, entry) for entry in (exact, meant)} if not meant.digest else ())

    def _newest(self, meant: reference.Reference) -> str:
        path = f"adapters/{segment(meant.namespace)}/{segment(meant.name)}/versions"
        found = self.request("GET", path)["results"]
        if not found:
            raise errors.NotFound(f"{meant.repo} has no version yet")
        return str(found[0]["number"])

    def _target(self, folder: Path | str, name: str | None) -> reference.Reference:
        if name is None:
            name = f"{self.whoami()['user']}/{Path(folder).absolute().name}"
        meant = retrieval.parse(name)
        if meant.digest or meant.folder:
            raise errors.UsageError(
                f"{name} names bytes that exist", hint="push to namespace/name, or namespace/name:version"
            )
        return meant

    def _base_of(
        self, folder: Path | str, base: object, said: dict[str, Any], lonely: bool
    ) -> tuple[BaseModel | None, list[str]]:
        """(the base model to compare with, notes); writes its fingerprint into `said` where the user chose it."""
        meant, chosen = self._meant(base), base is not None
        own = preparation.declared_base(folder) if meant is None else None
        if meant is None and own:
            meant = bases.Meant(own)
        try:
            described = self._described(meant)
        except (errors.NetworkError, errors.NotFound) as error:
            if chosen if isinstance(error, errors.NotFound) else not lonely:
                raise
            if chosen and meant is not None:
                said["base"] = meant.word
            return None, [f"the shapes were not compared with the base model: {error.message}"]
        if chosen and described is not None:
            said["base"] = described.fingerprint
        return described, []

    def _described(self, meant: bases.Meant | None) -> BaseModel | None:
        if meant is None or meant.base is not None:
            return meant.base if meant else None
        with suggestions.about_name(self.wire, meant.word, "base-models"):
            return fitting.base_tensors(self.wire, meant.word)

    def _outlined(self, meant: bases.Meant | None) -> tuple[BaseModel | None, bool]:
        if meant is None or meant.base is not None:
            return (meant.base if meant else None), True
        with suggestions.about_name(self.wire, meant.word, "base-models"):
            return fitting.base_outline(self.wire, meant.word)


def _version(meant: reference.Reference, default: str) -> str:
    return f"sha256:{meant.digest}" if meant.digest else meant.version or default


def _ask_for_token(endpoint: str) -> str:
    if sys.stdin is not None and not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    return getpass.getpass(f"Token for {endpoint} (it is not shown): ", stream=sys.stderr).strip()
