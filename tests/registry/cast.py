"""The cast: an owner, a member and a stranger, each with a client that speaks for them; and a base model."""

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from django.http import HttpResponseBase
from django.test import Client

from hub.spec import policy as policies
from hub.spec import report as reports
from registry import models
from registry.models import Membership, Namespace, Run, Score, User
from registry.queries.viewers import Viewer
from registry.services import answers, base_models, benchmarks, evidence, namespaces, tokens, users
from tests.registry import adapters

API = "/api/v1"


@dataclasses.dataclass
class Answer:
    """An answer of the API: its status, its JSON (or None) and the whole response."""

    status: int
    json: Any
    response: HttpResponseBase

    def __getitem__(self, key: str) -> Any:
        return self.json[key]

    @property
    def body(self) -> bytes:
        """The bytes, streamed or not."""
        return b"".join(self.response) if self.response.streaming else self.response.content

    @property
    def headers(self) -> Any:
        return self.response.headers


class Caller:
    """Somebody who calls the API, with a token or without."""

    def __init__(self, token: str | None = None, user: User | None = None) -> None:
        self.token, self.user = token, user
        self.client = Client(raise_request_exception=True)

    @property
    def viewer(self) -> Viewer:
        """This person, as queries see them."""
        return Viewer(self.user, "push" if self.user else None)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """Call a route below /api/v1 (or an absolute path)."""
        headers = dict(more.pop("headers", {}))
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if isinstance(body, bytes):
            more |= {"data": body, "content_type": more.get("content_type", "application/octet-stream")}
        elif body is not None:
            more |= {"data": json.dumps(body), "content_type": "application/json"}
        url = path if path.startswith("/") else f"{API}/{path}"
        response = self.client.generic(method, url, headers=headers, **more)
        kind = response.headers.get("Content-Type", "")
        return Answer(
            response.status_code,
            json.loads(response.content) if "json" in kind and response.content else None,
            response,
        )

    def browser(self) -> Client:
        """A browser in which this person has signed in, if it is somebody, and which holds no token."""
        client = Client()
        if self.user is not None:
            client.force_login(self.user)
        return client

    def get(self, path: str, **more: Any) -> Answer:
        return self.call("GET", path, **more)

    def head(self, path: str, **more: Any) -> Answer:
        return self.call("HEAD", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.call("POST", path, {} if body is None else body, **more)

    def put(self, path: str, body: Any, **more: Any) -> Answer:
        return self.call("PUT", path, body, **more)

    def patch(self, path: str, body: Any, **more: Any) -> Answer:
        return self.call("PATCH", path, body, **more)

    def start(self, ref: str, files: dict[str, bytes], *, key: str | None = None, **more: Any) -> Answer:
        """Announce an upload."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.post(f"adapters/{ref}/uploads", {"manifest": manifest_of(files), **more}, headers=headers)

    def send(self, started: Answer, files: dict[str, bytes]) -> None:
        """Send every byte that the hub wants."""
        for blob in started["blobs"]:
            answer = self.put(f"{blob['url']}?offset={blob['received']}", files[blob["path"]][blob["received"] :])
            assert (answer.status, answer.json) == (200, {"received": blob["size"], "size": blob["size"]})

    def push(self, ref: str, files: dict[str, bytes], **more: Any) -> Answer:
        """Push a whole snapshot and return the answer to `complete`, or the refusal that came before."""
        started = self.start(ref, files, **more)
        if started.status not in (200, 201):
            return started
        self.send(started, files)
        return self.post(f"uploads/{started['id']}/complete")


def manifest_of(files: dict[str, bytes]) -> dict[str, Any]:
    """Return the manifest of files in memory."""
    listed = [
        {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for path, data in files.items()
    ]
    return {"files": listed}


def caller(username: str, scope: str = "push", **more: Any) -> Caller:
    """Make a person with a token."""
    user = users.create(username=username, staff=scope in ("admin", "worker"), **more)
    return Caller(tokens.issue(user=user, scope=scope)[1], user)


def judge(run: Run, verdict: str = "passed", value: float = 0.9) -> Run:
    """Give a run its judgement, as the service that takes a worker's report would."""
    report = report_for(run, verdict, value)
    run.status, run.report = ("passed" if verdict == "passed" else "failed"), report
    run.result_digest, run.finished_at = report["result_digest"], models.runs.timezone.now()
    run.lease_token_digest = run.lease_expires_at = None
    run.save()
    for score in report["components"][0]["scores"] if report["components"] else []:
        Score.objects.create(
            run=run,
            benchmark_id=score["digest"].removeprefix("sha256:"),
            metric=score["metric"],
            value=score["value"],
            low=score["interval"][0],
            high=score["interval"][1],
            n=score["n"],
            gain=score["gain"],
            gates=score["gates"],
            baselines=score["baselines"],
            answers=answered([1, 0, 1, 0]),
        )
    evidence.settle(run=run)
    return run


def answered(labels: list[Any]) -> models.Blob:
    """Return the blob of these answers, its bytes in the store."""
    kept = answers.store({"sha256:b": {"labels": labels}}, [("", "b")])
    answers.note(kept)
    return models.Blob.objects.get(pk=kept["", "b"].sha256)


def report_for(run: Run, verdict: str = "passed", value: float = 0.9) -> dict[str, Any]:
    """Return a report that the rules accept for this run."""
    bad = verdict == "failed"
    checks = [
        reports.check(name, "failed" if bad and name == "effect" else "passed", f"{name} was looked at")
        for name in reports.REQUIRED
    ]
    scores = [_score(digest, run.plan, value) for digest in run.plan["benchmarks"]]
    body: dict[str, Any] = {
        "verdict": verdict,
        "checks": checks,
        "components": [] if bad else [{"folder": "", "scores": scores}],
        "base_model": {"fingerprint": run.base_fingerprint, "name": "tiny-bert", "state": "observed"},
        "adapter_digest": f"sha256:{run.adapter_digest}",
        "policy": None,
        "protocol": run.plan["protocol"],
        "environment": {},
        "seconds": 1.0,
    }
    body["summary"] = reports.summary_line(body)
    body["result_digest"] = reports.result_digest(body)
    reports.validate(body, run.plan)
    return body


def _score(digest: str, plan: dict[str, Any], value: float) -> dict[str, Any]:
    score: dict[str, Any] = {
        "benchmark": models.Benchmark.objects.get(pk=digest).name,
        "digest": f"sha256:{digest}",
        "metric": "accuracy",
        "direction": "up",
        "value": value,
        "interval": [value - 0.05, value + 0.05],
        "n": 4,
        "baselines": {"majority": 0.5, "probe": value - 0.2, "adapter_off": 0.5},
        "gain": {"value": 0.2, "interval": [0.1, 0.3], "method": "paired bootstrap"},
        "change": None,
        "claimed": None,
        "runtime": "reference",
        "evidence": "ran",
    }
    return {**score, "gates": policies.decide(score, plan["gates"])}


@pytest.fixture
def anybody(db: None) -> Caller:
    """Nobody in particular."""
    return Caller()


@pytest.fixture
def owner(db: None) -> Caller:
    """Ada owns the namespace acme."""
    person = caller("ada")
    assert person.user is not None
    namespaces.create(name="acme", owner=person.user)
    return person


@pytest.fixture
def member(owner: Caller) -> Caller:
    """Max may write in acme."""
    person = caller("max")
    Membership.objects.create(namespace=Namespace.objects.get(name="acme"), user=person.user, role="write")
    return person


@pytest.fixture
def reader(owner: Caller) -> Caller:
    """Rita may only read in acme."""
    person = caller("rita")
    Membership.objects.create(namespace=Namespace.objects.get(name="acme"), user=person.user, role="read")
    return person


@pytest.fixture
def stranger(db: None) -> Caller:
    """Charlie should have no access to anything of acme."""
    return caller("charlie")


@pytest.fixture
def worker(db: None) -> Caller:
    """A worker's token."""
    return caller("gpu-farm", "worker")


@pytest.fixture
def admin(db: None) -> Caller:
    """An operator of the hub."""
    return caller("operator", "admin")


@pytest.fixture
def base(worker: Caller, admin: Caller) -> models.BaseModel:
    """The tiny base model: observed by a worker, named `tiny-bert` by an operator."""
    tiny = adapters.tiny().to_json()
    given = {"leaves": tiny["leaves"], "config": tiny["config"], "tokenizer_digest": tiny["tokenizer_digest"]}
    base_models.register(viewer=Viewer(worker.user, "worker"), **given)
    return base_models.register(viewer=Viewer(admin.user, "admin"), name="tiny-bert", **given)[0]


@pytest.fixture
def benchmark(owner: Caller) -> models.Benchmark:
    """A benchmark of acme with four rows."""
    definition = adapters.BENCHMARK.format(name="acme/tone").encode()
    files = {"dev.tsv": adapters.DEV, "train.tsv": adapters.TRAIN}
    return benchmarks.add(viewer=owner.viewer, definition=definition, files=files)[0]


@pytest.fixture
def published(owner: Caller, base: models.BaseModel, benchmark: models.Benchmark) -> models.Version:
    """acme/tone-bert:1, public, published on a passed run."""
    return publish(owner, "acme/tone-bert", adapters.lora(hub={"benchmarks": ["acme/tone"]}))


def publish(who: Caller, ref: str, files: dict[str, bytes], **more: Any) -> models.Version:
    """Push and have it judged good."""
    answer = who.push(ref, files, **more)
    assert answer.status == 202, answer.json
    version = models.Version.objects.get(
        adapter__namespace__name=ref.partition("/")[0],
        number=answer["version"]["number"],
        adapter__name=ref.partition("/")[2],
    )
    if version.status == "validating":
        assert version.run is not None
        judge(version.run)
        version.refresh_from_db()
    return version
