"""What the simulated hub holds and what goes wrong with it, and how the API shows it."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hub.spec import manifest

Answer = tuple[int, Any, dict[str, str]]


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    server: str

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization")


@dataclass
class Version:
    """One version of an adapter."""

    repo: str
    number: int
    files: dict[str, bytes]
    label: str | None = None
    status: str = "published"
    yanked: str = ""
    report: dict[str, Any] | None = None
    base: dict[str, Any] | None = None
    compatibility: dict[str, Any] | None = None
    private: bool = False

    @property
    def manifest(self) -> manifest.Manifest:
        hashed = ((path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in self.files.items())
        return manifest.Manifest(tuple(manifest.File(*entry) for entry in hashed))

    @property
    def name(self) -> str:
        return self.label or str(self.number)

    @property
    def ref(self) -> str:
        return f"{self.repo}:{self.name}"


@dataclass
class Faults:
    """What goes wrong. The queues are used up, one entry a request."""

    cuts: deque[int] = field(default_factory=deque)  # downloads: break off after so many bytes
    upload_cuts: deque[int] = field(default_factory=deque)  # PUTs: keep so many bytes, then break off
    answers: deque[Answer] = field(default_factory=deque)  # API calls: answer this instead
    lost: deque[str] = field(default_factory=deque)  # API calls whose path ends so: do it, then break off
    tamper: Callable[[bytes], bytes] | None = None  # downloads: other bytes
    ranges: bool = True
    etags: bool = True
    redirect: Callable[[str], str | None] | None = None  # downloads: send elsewhere
    edit: Callable[[dict[str, Any]], None] | None = None  # resolve: change the answer
    expired: set[str] = field(default_factory=set)  # signatures that are over
    refusal: Answer | None = None  # complete: answer this
    forget: bool = False  # uploads: what came before a cut is lost
    slow: float = 0.0  # uploads and downloads: seconds of rest after each piece


def problem(status: int, code: str, detail: str, **more: Any) -> Answer:
    """A problem document."""
    body = {"status": status, "code": code, "title": code, "detail": detail, "hint": "", "problems": []}
    return status, {**body, "request_id": "r1", **more}, {}


def detail(version: Version) -> dict[str, Any]:
    """A version in full."""
    files = [file.to_json() for file in version.manifest.files]
    return {**short(version), "adapter": version.repo, "files": files, "base_model": version.base, "queue": None}


def short(version: Version) -> dict[str, Any]:
    """A version in a list."""
    return {
        "version": version.name,
        "number": version.number,
        "label": version.label,
        "ref": version.ref,
        "status": version.status,
        "stage": "",
        "digest": f"sha256:{version.manifest.digest}",
        "size": version.manifest.size,
        "yanked": {"at": "", "reason": version.yanked} if version.yanked else None,
        "report_url": report_url(version),
    }


def summary(version: Version) -> dict[str, Any]:
    """An adapter in a list."""
    space, name = version.repo.split("/")
    return {"namespace": space, "name": name, "ref": version.repo, "visibility": "public", "task": "", "method": "lora"}


def report_url(version: Version) -> str:
    """Where the report of a version is."""
    return f"/api/v1/adapters/{version.repo}/versions/{version.number}/report"
