"""A hub in memory behind a real HTTP server: an editable registry, and the faults of the way to it.

Speaks the shapes of the API. `Simulator.faults` breaks connections, alters bytes and answers badly; `seen` and `sent` tell
what was asked and how many bytes went out. With `presigned`, bytes travel over a second server with an origin of its own.
"""

import base64
import contextlib
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

from hub import config
from hub.spec import base_model, compatibility, contents, manifest, reference, snapshot, tensors, validation
from hub.spec.base_model import BaseModel
from hub.spec.errors import SpecError
from tests.client.records import Answer, Faults, Seen, Version, detail, problem, report_url, short, summary

OWNER = "ahub_" + "O" * 30 + config.checksum("O" * 30)
STRANGER = "ahub_" + "S" * 30 + config.checksum("S" * 30)
PART = 1 << 20


class Simulator:
    """The registry and its servers. Use as a context manager."""

    def __init__(self, *, presigned: bool = False, inline: int = 0) -> None:
        self.versions: list[Version] = []
        self.bases: dict[str, dict[str, Any]] = {}
        self.bases_a_page = 100
        self.files_of: dict[str, Any] = {}
        self.located: dict[str, dict[str, Any]] = {}
        self.benchmarks: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, Any] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.staged: dict[str, bytearray] = {}
        self.seen: list[Seen] = []
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.faults = Faults()
        self.verdict: Callable[[Version], None] = lambda version: None
        self.presigned, self.inline = presigned, inline
        self.lock = threading.RLock()
        self._busy = 0
        self._idle = threading.Condition()
        self._signature = 0
        self._servers: list[ThreadingHTTPServer] = []

    def __enter__(self) -> "Simulator":
        self.url = self._serve("api")
        self.store = self._serve("store")
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def publish(self, repo: str, files: dict[str, bytes], **more: Any) -> Version:
        """Puts a version into the registry."""
        number = 1 + sum(version.repo == repo for version in self.versions)
        self.versions.append(Version(repo, number, files, **more))
        return self.versions[-1]

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """A request is at work while the block lasts."""
        with self._idle:
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def wait_until_idle(self) -> None:
        """Wait for the requests of a client that was killed: each ends when it meets the closed connection."""
        with self._idle:
            assert self._idle.wait_for(lambda: not self._busy, 60)

    def count(self, pattern: str) -> int:
        """How many requests `METHOD path` matched."""
        return sum(bool(re.fullmatch(pattern, f"{entry.method} {entry.path}")) for entry in self.seen)

    def _serve(self, name: str) -> str:
        from tests.client import door

        server = ThreadingHTTPServer(("127.0.0.1", 0), door.handler(self, name))
        server.handle_error = lambda *_: None  # type: ignore[method-assign] - clients are killed here on purpose
        server.daemon_threads = True
        server.request_queue_size = 128
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    # -- what the API answers -----------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]) -> Answer:
        """The answer to one call of the API."""
        for pattern, verb, route in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                token = headers.get("authorization", "").removeprefix("Bearer ")
                return route(self, *map(unquote, match.groups()), query=query, body=body, token=token, headers=headers)
        return problem(404, "not_found", f"no route {path}")

    def find(self, repo: str, name: str | None, digest: str | None, token: str) -> Version | None:
        mine = [v for v in self.versions if v.repo == repo and (not v.private or token == OWNER)]
        if digest:
            return next((v for v in mine if v.manifest.digest == digest), None)
        if name in (None, "latest"):
            served = [v for v in mine if v.status in {"published", "hosted"}]
            offered = [v for v in served if not v.yanked]
            return (offered or served or [None])[-1]
        return next((v for v in mine if name in {v.label, str(v.number)}), None)

    def me(self, *, token: str, **_: Any) -> Answer:
        if token != OWNER:
            return problem(401, "unauthenticated", "The token is unknown, expired or revoked.")
        spaces = [{"name": "owner", "role": "owner"}, {"name": "library", "role": "write"}]
        return 200, {"user": "owner", "namespaces": spaces, "scope": "push", "expires_at": None}, {}

    def resolve(self, *, query: dict[str, str], token: str, **_: Any) -> Answer:
        wanted = reference.parse(query["ref"])
        version = self.find(wanted.repo, wanted.version, wanted.digest, token)
        if version is None:
            return problem(404, "not_found", f"There is no adapter {wanted.repo}.")
        if version.yanked and not wanted.digest:
            return problem(410, "yanked", f"{version.ref} was yanked: {version.yanked}")
        answer = {
            "ref": f"{version.ref}@sha256:{version.manifest.digest}",
            "namespace": wanted.namespace,
            "name": wanted.name,
            "version": version.name,
            "digest": f"sha256:{version.manifest.digest}",
            "adapter_digest": f"sha256:{version.manifest.adapter_digest}",
            "status": version.status,
            "yanked": {"at": "2026-01-01T00:00:00Z", "reason": version.yanked} if version.yanked else None,
            "base_model": version.base,
            "task": "text-classification",
            "method": "lora",
            "labels": ["negative", "positive"],
            "components": [{"folder": "", "library": "peft", "method": "lora", "variant": "lora", "rank": 2}],
            "compatibility": version.compatibility if query.get("base") else None,
            "files": [self._file(version, file) for file in version.manifest.files],
            "report_url": f"/api/v1/adapters/{version.repo}/versions/{version.name}/report",
        }
        if self.faults.edit:
            self.faults.edit(answer)
        return 200, answer, {"X-Resolved-Digest": answer["digest"]}

    def _file(self, version: Version, file: manifest.File) -> dict[str, Any]:
        small = file.size <= self.inline
        url = f"/api/v1/adapters/{version.repo}/versions/sha256:{version.manifest.digest}/files/{quote(file.path)}"
        return {
            **file.to_json(),
            "inline": base64.b64encode(version.files[file.path]).decode() if small else None,
            "url": self.sign(f"blobs/{file.sha256}") if self.presigned else url,
        }

    def sign(self, path: str) -> str:
        """A presigned URL on the store's own origin."""
        self._signature += 1
        return f"{self.store}/{path}?X-Amz-Signature=s{self._signature}"

    def blob(self, sha256: str) -> bytes | None:
        """Bytes of a published file."""
        for version in self.versions:
            for file in version.manifest.files:
                if file.sha256 == sha256:
                    return version.files[file.path]
        return None

    def adapters(self, *, query: dict[str, str], token: str, **_: Any) -> Answer:
        seen = {v.repo: v for v in self.versions if v.status == "published" and (not v.private or token == OWNER)}
        words = [w for w in seen.values() if query.get("q", "") in w.repo]
        space = query.get("namespace")
        found = [v for v in words if space in (None, v.repo.split("/")[0])]
        return 200, {"results": [summary(v) for v in found], "next": None}, {}

    def adapter(self, space: str, name: str, *, token: str, **_: Any) -> Answer:
        mine = [v for v in self.versions if v.repo == f"{space}/{name}" and (not v.private or token == OWNER)]
        if not mine:
            return problem(404, "not_found", f"There is no adapter {space}/{name}.")
        return 200, {**summary(mine[-1]), "versions": [short(v) for v in reversed(mine)], "aliases": []}, {}

    def listing(self, space: str, name: str, **more: Any) -> Answer:
        status, body, _ = self.adapter(space, name, **more)
        return (status, body, {}) if status != 200 else (200, {"results": body["versions"], "next": None}, {})

    def version(self, space: str, name: str, which: str, *, token: str, **_: Any) -> Answer:
        found = self._version(f"{space}/{name}", which, token)
        return (200, detail(found), {}) if found else problem(404, "not_found", f"no version {which}")

    def report(self, space: str, name: str, which: str, *, token: str, **_: Any) -> Answer:
        found = self._version(f"{space}/{name}", which, token)
        if found is None:
            return problem(404, "not_found", f"no version {which}")
        self.verdict(found)
        told = found.report or {"verdict": None, "stage": "queued", "queue": {"position": 1, "run": "r"}}
        page = f"/a/{found.repo}/v/{found.name}"
        return 200, {**told, "version": found.ref, "status": found.status, "page_url": page}, {}

    def _version(self, repo: str, which: str, token: str) -> Version | None:
        digest = which.removeprefix("sha256:") if which.startswith("sha256:") else None
        return self.find(repo, None if digest else which, digest, token)

    def yank(self, space: str, name: str, which: str, *, body: Any, token: str, **_: Any) -> Answer:
        if token != OWNER:
            return problem(403, "forbidden", "You may not write there.")
        found = self._version(f"{space}/{name}", which, token)
        assert found is not None
        found.yanked = (body or {}).get("reason", "")
        return 200, detail(found), {}

    # -- uploads ------------------------------------------------------------------------------------------------

    def start(self, space: str, name: str, *, body: Any, token: str, headers: dict[str, str], **_: Any) -> Answer:
        if token != OWNER:
            return problem(
                403 if token else 401, "forbidden" if token else "unauthenticated", "You may not write there."
            )
        key = headers.get("idempotency-key", "")
        with self.lock:
            for upload in self.uploads.values():
                if upload["key"] == key and upload["state"] != "expired":
                    return 200, self.shape(upload), {}
            content = manifest.Manifest.from_json(body["manifest"])
            known = {f.sha256 for v in self.versions if v.repo == f"{space}/{name}" for f in v.manifest.files}
            upload = {"id": f"u{len(self.uploads) + 1}", "key": key, "repo": f"{space}/{name}", "manifest": content}
            upload |= {"state": "open", "body": body, "version": None}
            upload["blobs"] = [file for file in content.files if file.sha256 not in known]
            self.uploads[upload["id"]] = upload
            return 201, self.shape(upload), {}

    def upload(self, number: str, **_: Any) -> Answer:
        return 200, self.shape(self.uploads[number]), {}

    def shape(self, upload: dict[str, Any]) -> dict[str, Any]:
        """An upload as the API shows it."""
        blobs = [self._wanted(upload, n, file) for n, file in enumerate(upload["blobs"])]
        return {
            "id": upload["id"],
            "adapter": upload["repo"],
            "digest": f"sha256:{upload['manifest'].digest}",
            "state": upload["state"],
            "blobs": blobs if upload["state"] == "open" else [],
            "have": [],
        }

    def _wanted(self, upload: dict[str, Any], n: int, file: manifest.File) -> dict[str, Any]:
        key = f"{upload['id']}/{n}"
        urls = None
        if self.presigned:
            spans = range(0, file.size, PART)
            urls = [
                {"n": i, "url": self.sign(f"staging/{key}/{i}"), "offset": at, "size": min(PART, file.size - at)}
                for i, at in enumerate(spans)
                if f"{key}/{i}" not in self.staged
            ]
        received = len(self.staged.get(key, b""))
        url = None if self.presigned else f"/api/v1/uploads/{upload['id']}/blobs/{n}"
        return {"n": n, **file.to_json(), "received": received, "urls": urls, "url": url}

    def put(self, key: str, offset: int, stream: Iterator[bytes], total: int) -> Answer:
        """Bytes of one blob at the door; what arrives before a cut is kept."""
        with self.lock:
            return self._append(key, offset, stream, total)

    def _append(self, key: str, offset: int, stream: Iterator[bytes], total: int) -> Answer:
        have = self.staged.setdefault(key, bytearray())
        if len(have) != offset:
            return problem(409, "offset", "go on elsewhere", received=len(have))
        try:
            for chunk in stream:
                self.received[key] += len(chunk)
                have += chunk
        except BaseException:
            del have[offset if self.faults.forget else len(have) :]
            raise
        return 200, {"received": len(have), "size": total}, {}

    def complete(self, number: str, **_: Any) -> Answer:
        if self.faults.refusal:
            return self.faults.refusal
        with self.lock:
            upload = self.uploads[number]
            if upload["version"] is None:
                files = self._assembled(upload)
                if files is None:
                    return problem(409, "incomplete", "Bytes are missing.")
                label, private = upload["body"].get("version"), upload["body"].get("private", False)
                made = self.publish(upload["repo"], files, label=label, private=private, status="validating")
                upload |= {"version": made, "state": "done"}
            version = upload["version"]
        return 202, {"version": detail(version), "status": version.status, "report_url": report_url(version)}, {}

    def _assembled(self, upload: dict[str, Any]) -> dict[str, bytes] | None:
        files = {}
        places = {file.sha256: n for n, file in enumerate(upload["blobs"])}
        for file in upload["manifest"].files:
            key = f"{upload['id']}/{places[file.sha256]}" if file.sha256 in places else ""
            data = bytes(self.staged.get(key, b"")) if key else self.blob(file.sha256) or b""
            if self.presigned and key:
                parts = range(-(-file.size // PART))
                data = b"".join(bytes(self.staged.get(f"{key}/{i}", b"")) for i in parts)
            if hashlib.sha256(data).hexdigest() != file.sha256:
                return None
            files[file.path] = data
        return files

    # -- what a hub knows ---------------------------------------------------------------------------------------

    def base_models(self, *, query: Any = None, **_: Any) -> Answer:
        start = int((query or {}).get("cursor", 0))
        found, end = list(self.bases.values()), start + self.bases_a_page
        more = f"/api/v1/base-models?cursor={end}" if end < len(found) else None
        return 200, {"results": found[start:end], "next": more}, {}

    def located_bases(self, *, query: Any = None, **_: Any) -> Answer:
        size = int((query or {}).get("bytes", 0))
        waits = [row for row in self.located.values() if size == sum(file["size"] for file in row["files"])]
        return 200, {"results": waits, "next": None}, {}

    def locate_base(self, *, body: Any, **_: Any) -> Answer:
        self.located[body["name"]] = body
        return 201, {**body, "fingerprint": None, "state": "located", "aliases": [body["name"]]}, {}

    def base_model(self, name: str, **_: Any) -> Answer:
        for entry in self.bases.values():
            if name in {entry["fingerprint"], entry["name"]}:
                return 200, entry, {}
        return problem(404, "not_found", f"There is no base model {name!r}.")

    def fitting(self, name: str, *, query: dict[str, str], **_: Any) -> Answer:
        """What fits a base model that the hub knows."""
        status, entry, _headers = self.base_model(name)
        if status != 200:
            return status, entry, {}
        return 200, {"results": self._compared(BaseModel.from_json(entry), query), "next": None}, {}

    def compare(self, *, body: Any, **_: Any) -> Answer:
        """What fits a base model that is described."""
        base = base_model.from_leaves(base_model.parse_leaves(body["leaves"]), body["config"])
        return 200, {"known": [], "results": self._compared(base, body)}, {}

    def _compared(self, base: BaseModel, asked: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = reference.parse(asked["adapter"]) if asked.get("adapter") else None
        rows = [
            v for v in self.versions if wanted is None or (v.repo, v.manifest.digest) == (wanted.repo, wanted.digest)
        ]
        rows = [v for v in rows if asked.get("q", "") in v.repo]
        found = [{**summary(v), "compatibility": self.verdict_on(v, base)} for v in rows]
        found = found if wanted else [row for row in found if row["compatibility"]["level"] != "incompatible"]
        return sorted(found, key=lambda row: compatibility.LEVELS.index(row["compatibility"]["level"]))

    def verdict_on(self, version: Version, base: BaseModel) -> dict[str, Any]:
        """How a version goes with a base model, as the hub says it."""
        known: dict[str, Any] = version.base or {}
        casts = (self.bases.get(known.get("fingerprint", "")) or {}).get("cast_roots") or {}
        proven = {(known.get("roots") or {}).get("backbone", "")} if version.status == "published" else set()
        same = {cast["backbone"] for cast in casts.values()}
        inspection = validation.inspect(snapshot.MemorySnapshot(version.files), None)
        verdict = compatibility.check(inspection, base, known.get("fingerprint"), proven, same_values=same)
        proof = verdict.level in ("validated", "same_values")
        page = f"/a/{version.repo}/v/{version.name}"
        evidence = {"base_model": known, "ref": version.ref, "report_url": report_url(version), "page_url": page}
        return {"level": verdict.level, "reasons": list(verdict.reasons), "evidence": evidence if proof else None}

    def fits(self, space: str, name: str, which: str, *, token: str, **_: Any) -> Answer:
        """The base models that a version fits."""
        version = self._version(f"{space}/{name}", which, token)
        if version is None:
            return problem(404, "not_found", f"no version {which}")
        rows = [
            {"base_model": entry, "compatibility": self.verdict_on(version, BaseModel.from_json(entry))}
            for entry in self.bases.values()
        ]
        return 200, {"results": [r for r in rows if r["compatibility"]["level"] != "incompatible"], "next": None}, {}

    def by_hash(self, digest: str, *, token: str, **_: Any) -> Answer:
        """The versions that hold a file, its tensors, or what makes an adapter."""
        seen = [version for version in self.versions if not version.private or token == OWNER]
        held = [("adapter", None, version) for version in seen if digest == version.manifest.adapter_digest]
        held += [
            ("file" if digest == file.sha256 else "tensors", file.path, version)
            for version in seen
            for file in version.manifest.files
            if digest in (file.sha256, contents_of(version.files[file.path]))
        ]
        rows = [{"kind": k, "path": path, "adapter": v.repo, "version": short(v)} for k, path, v in held]
        return (200, {"results": rows, "next": None}, {}) if rows else problem(404, "not_found", "Nothing here has it.")

    def add_base(self, *, body: Any, token: str, **_: Any) -> Answer:
        leaves = base_model.parse_leaves(body["leaves"])
        value = base_model.from_leaves(leaves, body["config"], body.get("tokenizer_digest"))
        entry = {**value.to_json(), "name": body.get("name", ""), "state": "claimed", "aliases": []}
        self.files_of[value.fingerprint] = body.get("files")
        self.bases[value.fingerprint] = entry
        return 201, entry, {}

    def benchmark_list(self, **_: Any) -> Answer:
        return 200, {"results": list(self.benchmarks.values()), "next": None}, {}

    def benchmark(self, name: str, **_: Any) -> Answer:
        found = self.benchmarks.get(name)
        return (200, found, {}) if found else problem(404, "not_found", f"There is no benchmark {name!r}.")

    def add_benchmark(self, *, body: Any, **_: Any) -> Answer:
        name = re.search(rb"name: (\S+)", body)
        assert name is not None
        entry = {"name": name[1].decode(), "digest": "sha256:" + "b" * 64, "task": "text-classification", "rows": 2}
        self.benchmarks[entry["name"]] = {**entry, "metric": "accuracy", "labels": ["negative", "positive"]}
        return 201, self.benchmarks[entry["name"]], {}

    def policy(self, space: str, *, body: Any, **_: Any) -> Answer:
        if body is not None:
            self.policies[space] = body
        return 200, {"namespace": space, **self.policies.get(space, {"required": [], "gates": {}})}, {}


def contents_of(data: bytes) -> str:
    """The digest of what a safetensors file says; empty where it is none."""
    try:
        start = 8 + tensors.header_length(data[:8], len(data))
        return contents.digest(contents.entries(tensors.parse_header(data[:start], len(data)), [data[start:]]))
    except SpecError:
        return ""


ADAPTER = "/api/v1/adapters/([^/]+)/([^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("/api/v1/me", "GET", Simulator.me),
    ("/api/v1/resolve", "GET", Simulator.resolve),
    ("/api/v1/adapters", "GET", Simulator.adapters),
    (ADAPTER, "GET", Simulator.adapter),
    (f"{ADAPTER}/versions", "GET", Simulator.listing),
    (f"{ADAPTER}/versions/([^/]+)", "GET", Simulator.version),
    (f"{ADAPTER}/versions/([^/]+)/report", "GET", Simulator.report),
    (f"{ADAPTER}/versions/([^/]+)/(?:un)?yank", "POST", Simulator.yank),
    (f"{ADAPTER}/uploads", "POST", Simulator.start),
    ("/api/v1/uploads/([^/]+)", "GET", Simulator.upload),
    ("/api/v1/uploads/([^/]+)/complete", "POST", Simulator.complete),
    (f"{ADAPTER}/versions/([^/]+)/fits", "GET", Simulator.fits),
    ("/api/v1/by-hash/([^/]+)", "GET", Simulator.by_hash),
    ("/api/v1/compat/check", "POST", Simulator.compare),
    ("/api/v1/base-models", "GET", Simulator.base_models),
    ("/api/v1/base-models", "POST", Simulator.add_base),
    ("/api/v1/base-models/(.+)/adapters", "GET", Simulator.fitting),
    ("/api/v1/base-models/located", "GET", Simulator.located_bases),
    ("/api/v1/base-models/located", "POST", Simulator.locate_base),
    ("/api/v1/base-models/(.+)", "GET", Simulator.base_model),
    ("/api/v1/benchmarks", "GET", Simulator.benchmark_list),
    ("/api/v1/benchmarks", "POST", Simulator.add_benchmark),
    ("/api/v1/benchmarks/(.+)", "GET", Simulator.benchmark),
    ("/api/v1/policies/([^/]+)", "GET", Simulator.policy),
    ("/api/v1/policies/([^/]+)", "PUT", Simulator.policy),
]
