"""The client: one hub, one token, every verb."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hub import (
    base_choice,
    base_folder,
    bases,
    catalogue,
    errors,
    fitting,
    live,
    lookup,
    plans,
    preparation,
    publication,
    pulling,
    retrieval,
    suggestions,
    verdicts,
    verification,
)
from hub.adapter import Adapter
from hub.findings import KnownBase
from hub.session import Session
from hub.spec import reference
from hub.spec.snapshot import Snapshot
from hub.verdicts import Report, version_path

logger = logging.getLogger("hub")


class Client(Session):
    """Every verb of one hub: find, get and publish adapters. Settings come from the arguments, then the environment, then
    the files of `hub login`.

    Use it as a context manager, or `close()` it, to give its connections back. Every error is a `hub.HubError`.
    """

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
        given = {"q": query, "task": task, "benchmark": benchmark, "method": method, "sort": sort}
        params = {key: value for key, value in given.items() if value}
        return catalogue.search(self.wire, self._meant(base), params, limit)

    def info(self, ref: str) -> dict[str, Any]:
        """An adapter with its versions; one version with its files when the reference names one. Raises NotFound."""
        return catalogue.info(self.wire, ref)

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
            version = catalogue.named(meant) or catalogue.newest(self.wire, meant)
            if follow:
                return verdicts.wait(self.wire, meant.repo, version, timeout=timeout, tell=tell)
            return verdicts.fetch(self.wire, meant.repo, version)

    def report(self, ref: str) -> Report:
        """The whole report of a version: of `latest` without one, or of the newest where nothing is published."""
        return catalogue.report(self.wire, ref)

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
        decision = self._decide(ref, base, allow_shape_only)
        names, found = () if self.settings.offline else decision.names(self.wire), decision.found
        snapshot = retrieval.ensure(self.wire, self.cache, found, names=names, quiet=self.quiet)
        if to is not None:
            snapshot = retrieval.place(self.cache, found, Path(to))
        return Adapter(snapshot, found.facts, self.settings, folder=decision.meant.folder)

    def plan(self, ref: str, *, base: object = None, allow_shape_only: bool = False) -> dict[str, Any]:
        """What `pull` would do: {ref, digest, files, fetch, bytes, base_model, compatibility}. Nothing is downloaded."""
        return self._decide(ref, base, allow_shape_only).plan(self.cache)

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
        described, hashed = base_choice.outlined(self.wire, meant)
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
        described = base_choice.described(self.wire, self._meant(base))
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
        dry: bool = True,
        home: str | None = None,
    ) -> preparation.Prepared:
        """What `push` would send, with every problem in it (`--dry-run`). Only questions are asked of the hub.

        `dry`: nothing will be sent, so where the hub cannot be reached a note says so and it is judged without it, and what the
        hub would refuse once it has the files is a problem here. `home`: the namespace, whose policy counts. Raises NotFound for a base model that is nowhere known,
        where the user or hub.json names it.
        """
        said: dict[str, Any] = {"task": task, "benchmarks": list(benchmarks), "labels": list(labels or ())}
        meant, notes, unknown = base_choice.of_folder(self.wire, self.settings, folder, base, said, dry)
        wanted = plans.labels_of(self.wire, benchmarks, notes if dry else None) or (tuple(labels) if labels else None)
        prepared = preparation.prepare(
            folder,
            said,
            base=meant,
            called=str(base) if isinstance(base, (str, os.PathLike)) else preparation.declared_base(folder) or "",
            labels=wanted,
            tasks=lambda named: plans.tasks_of(self.wire, named, home),
            unknown=unknown if dry else None,
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
            dry=False,
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
        path = f"{version_path(meant.repo, catalogue.named(meant))}/{'unyank' if undo else 'yank'}"
        return dict(self.request("POST", path, json={} if undo else {"reason": reason}, idempotent=True))

    # -- inside -------------------------------------------------------------------------------------------------

    def _meant(self, base: object) -> bases.Meant | None:
        return base_choice.meaning(self.wire, self.settings, base)

    def _decide(self, ref: str, base: object, allow_shape_only: bool) -> pulling.Decision:
        return pulling.decide(
            self.wire, self.cache, retrieval.parse(ref), self._meant(base), allow_shape_only=allow_shape_only
        )

    def _target(self, folder: Path | str, name: str | None) -> reference.Reference:
        if name is None:
            name = f"{self.whoami()['user']}/{Path(folder).absolute().name}"
        meant = retrieval.parse(name)
        if meant.digest or meant.folder:
            raise errors.UsageError(
                f"{name} names bytes that exist", hint="push to namespace/name, or namespace/name:version"
            )
        return meant
