"""A worker between the registry and its child: which faults count as an attempt at a run, and which give it back."""

import errno
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub import Client, base_folder
from hub.spec import answers, policy
from hub.transfer.retry import Retry
from tests.engine import makers
from workers import jobs
from workers.assignment import Limits
from workers.bases import Base
from workers.errors import Fault
from workers.process import BackboneProcess
from workers.registry import Lease
from workers.registry import Registry as RegistryCalls
from workers.settings import Settings

CONFIG = b'{"peft_type": "LORA"}'
LINES = answers.to_lines([1, 0, 1])
QUICK = Retry(attempts=3, first=0.001, cap=0.01)


class Registry(http.server.ThreadingHTTPServer):
    """A registry with one run and one file, which it gives as `mode` says: cut | busy | gone | damaged | answers."""

    def __init__(self, mode: str) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.mode = mode
        self.reports: list[dict[str, Any]] = []
        self.bases: list[dict[str, Any]] = []
        self.claims: list[dict[str, Any]] = []


class Door(http.server.BaseHTTPRequestHandler):
    server: Registry

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/report"):
            self.server.reports.append(body["report"])
        if self.path.endswith("/base-models"):
            self.server.bases.append(body)
        if self.path.endswith("/claim"):
            self.server.claims.append(body)
            self._answer(204, b"")
            return
        self._answer(200, json.dumps({"status": "queued", "lease_seconds": 60}).encode())

    def do_GET(self) -> None:
        if self.path.startswith("/api/v1/base-models/located"):
            self._answer(200, b'{"results": []}')
            return
        damaged = LINES[::-1] if self.path.endswith("/answers") else CONFIG[::-1]
        answers = {"busy": (503, b"{}"), "gone": (404, b"{}"), "damaged": (200, damaged), "answers": (200, LINES)}
        if self.server.mode != "cut":
            self._answer(*answers[self.server.mode])

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    with Registry(request.param) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def endpoint_of(registry: Registry) -> str:
    return f"http://127.0.0.1:{registry.server_address[1]}"


def serve(registry: Registry, scratch: Path, **wanted: str) -> bool:
    """Have a worker judge the run of this registry, on a base model of which it says what is `wanted`; tell whether all is
    well with this machine."""
    endpoint = endpoint_of(registry)
    file = {
        "path": "adapter_config.json",
        "sha256": hashlib.sha256(CONFIG).hexdigest(),
        "size": len(CONFIG),
        "url": "/api/v1/runs/r/blobs/b",
    }
    run = {"id": "r", "lease_no": 1, "lease_seconds": 60, "adapter_digest": "sha256:" + "0" * 64, "plan": {}}
    with Client(endpoint, quiet=True) as client:
        client.wire.retry = QUICK
        lease = Lease(client, {"run": run, "token": "t", "files": [file], "benchmarks": [], "base_model": wanted})
        worker = jobs.Worker("w1", Settings(endpoint, None, "", (), scratch, Limits()))
        return worker.serve(lease, Base(makers.TINY, base_folder.read(makers.TINY)))


@pytest.mark.parametrize("registry", ["busy"], indirect=True)
def test_a_worker_tells_by_which_rules_it_judges(registry: Registry) -> None:
    assert RegistryCalls(endpoint_of(registry), None).claim("w1", [], held=[], run=None, starting=True) is None
    assert [claim["protocols"] for claim in registry.claims] == [[policy.PROTOCOL]]


@pytest.mark.parametrize("registry", ["cut", "busy"], indirect=True)
def test_a_registry_that_goes_away_during_the_pull_costs_no_attempt(registry: Registry, tmp_path: Path) -> None:
    """Three would end the run in an error: a store that is away for some minutes would lose every run that waits."""
    serve(registry, tmp_path)
    assert registry.reports == []


@pytest.mark.parametrize("registry", ["gone", "damaged"], indirect=True)
def test_a_file_that_cannot_be_had_is_told_and_is_no_attempt(registry: Registry, tmp_path: Path) -> None:
    """The control: what waiting does not mend is told, so that the run ends some day. The adapter is not to blame."""
    serve(registry, tmp_path)
    (report,) = registry.reports
    assert report["verdict"] == "error"
    assert report["started"] is False
    assert "could not be pulled" in report["error"]


def before(registry: Registry, folder: Path) -> dict[str, Any] | None:
    """What a worker learns of the answers of the version before: of two adapters, on one benchmark."""
    file = {"sha256": hashlib.sha256(LINES).hexdigest(), "size": len(LINES), "url": "/api/v1/runs/r/blobs/answers"}
    told = [
        {**file, "path": f"{n}.jsonl", "folder": name, "benchmark": "sha256:b"} for n, name in enumerate(("a", "z"))
    ]
    run = {"id": "r", "lease_no": 1, "lease_seconds": 60}
    with Client(endpoint_of(registry), quiet=True) as client:
        client.wire.retry = QUICK
        previous = {"adapter_digest": "sha256:c", "answers": told}
        return Lease(client, {"run": run, "token": "t", "previous": previous}).previous(folder)


@pytest.mark.parametrize("registry", ["answers"], indirect=True)
def test_what_the_version_before_answered_is_pulled_folder_by_folder(registry: Registry, tmp_path: Path) -> None:
    said = {"labels": [1, 0, 1], "folders": {"a": [1, 0, 1], "z": [1, 0, 1]}}
    assert before(registry, tmp_path) == {"adapter_digest": "sha256:c", "predictions": {"sha256:b": said}}


@pytest.mark.parametrize("registry", ["gone", "damaged"], indirect=True)
def test_where_its_answers_are_lost_or_damaged_nothing_is_compared_with_less(
    registry: Registry, tmp_path: Path
) -> None:
    """A gate against the version before must not be passed because its answers were not there."""
    with pytest.raises(Fault, match="what the version before answered could not be pulled") as fault:
        before(registry, tmp_path)
    assert fault.value.started is False


@pytest.mark.parametrize("registry", ["cut"], indirect=True)
@pytest.mark.parametrize("key", ["architecture", "tokenizer_digest"])
def test_the_same_weights_under_another_configuration_or_tokenizer_are_not_judged(
    registry: Registry, key: str, tmp_path: Path
) -> None:
    """They give other answers. The adapter is not to blame: no attempt."""
    serve(registry, tmp_path, **{key: "0" * 64})
    (report,) = registry.reports
    assert report["started"] is False
    assert f"another {key}" in report["error"]


@pytest.mark.parametrize("registry", ["cut"], indirect=True)
def test_with_its_own_configuration_and_tokenizer_it_goes_on(registry: Registry, tmp_path: Path) -> None:
    """The control: it comes as far as the pull, which this registry cuts."""
    own = base_folder.read(makers.TINY)
    serve(registry, tmp_path, architecture=own.architecture, tokenizer_digest=str(own.tokenizer_digest))
    assert registry.reports == []


@pytest.mark.parametrize("registry", ["gone"], indirect=True)
def test_a_full_scratch_disk_is_no_attempt_either(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Lease, "pull", full)
    serve(registry, tmp_path)
    (report,) = registry.reports
    assert report["started"] is False
    assert "No space left" in report["error"]


@pytest.mark.parametrize("registry", ["gone"], indirect=True)
@pytest.mark.parametrize("digest", ["d" * 64, None], ids=["a benchmark", "the control: this machine"])
def test_a_benchmark_that_cannot_be_made_ready_is_named_and_the_worker_goes_on(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str | None
) -> None:
    def unfit(*_: object) -> None:
        raise Fault("out of memory", started=False, benchmark=digest)

    monkeypatch.setattr(Lease, "pull", lambda lease, folder: folder)
    monkeypatch.setattr(BackboneProcess, "judge", unfit)
    assert serve(registry, tmp_path) == (digest is not None)
    (report,) = registry.reports
    assert report["started"] is False
    assert report.get("benchmark") == (f"sha256:{digest}" if digest else None)


@pytest.mark.parametrize("registry", ["gone"], indirect=True)
def test_a_worker_that_cannot_get_a_run_started_rests_longer_each_time(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would burn the whole queue within seconds otherwise."""
    claims: list[str] = []
    clock = [0.0]
    worker = jobs.Worker("w1", Settings(endpoint_of(registry), None, "", (makers.TINY,), tmp_path, Limits()))

    def claim(*_: object, **__: object) -> Any:
        claims.append("claimed")
        return SimpleNamespace(run={"base_fingerprint": base_folder.fingerprint(makers.TINY)})

    monkeypatch.setattr(worker.registry, "claim", claim)
    monkeypatch.setattr(worker, "serve", lambda lease, base: False)
    monkeypatch.setattr(jobs.time, "monotonic", lambda: clock[0])
    try:
        for moment, expected in ((1.0, 1), (2.0, 1), (6.5, 2), (12.0, 2), (17.0, 3)):
            clock[0] = moment
            worker.drain()
            assert len(claims) == expected, moment
    finally:
        worker.process.stop()


@pytest.mark.parametrize("registry", ["gone"], indirect=True)
def test_a_worker_that_starts_again_removes_what_it_had_pulled_and_nobody_elses(
    registry: Registry, tmp_path: Path
) -> None:
    for name in ("w1", "w2"):
        (tmp_path / "runs" / name / "some-run-1").mkdir(parents=True)
    worker = jobs.Worker("w1", Settings(endpoint_of(registry), None, "", (), tmp_path, Limits()))
    try:
        worker.drain()
        assert [path.name for path in (tmp_path / "runs").iterdir()] == ["w2"]
    finally:
        worker.process.stop()


def test_what_lies_here_is_told_again_after_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then the registry may wait for the files of a base model that it knows by its headers."""
    told: list[Path] = []
    worker = jobs.Worker("w1", Settings("http://127.0.0.1:9", None, "", (), tmp_path, Limits()))
    monkeypatch.setattr(worker.registry, "announce", lambda model, folder: told.append(folder))
    known = {"base:x": Base(makers.TINY, base_folder.read(makers.TINY))}
    worker._announce(known)
    worker._announce(known)
    assert told == [makers.TINY]
    monkeypatch.setattr(jobs, "ANNOUNCED_FOR", 0.0)
    worker._announce(known)
    assert len(told) == 2


@pytest.mark.parametrize("registry", ["cut"], indirect=True)
def test_a_worker_tells_of_its_base_model_what_needs_the_bytes(registry: Registry, tmp_path: Path) -> None:
    """Nobody else is believed the roots of its copies in other formats."""
    given = Settings(endpoint_of(registry), None, "", (makers.TINY,), tmp_path, Limits())
    worker = jobs.Worker("w1", given)
    worker.process.warm = lambda *_: None  # type: ignore[method-assign]  # nothing is judged here
    worker.drain()
    (told,) = registry.bases
    expected = base_folder.read(makers.TINY, casts=True)
    assert told["cast_roots"] == expected.cast_roots
    assert set(told["cast_roots"]) == {"bf16", "fp16", "bf16_of_fp16"}
    assert "logical" not in told, "it is not quantised"
