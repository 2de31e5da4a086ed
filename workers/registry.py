"""The registry as a worker sees it: a few calls of its API. Everything else about it is unknown here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hub import Client, HubError, NetworkError, registration
from hub.spec import answers, benchmark, policy
from hub.spec.base_model import BaseModel
from hub.spec.errors import SpecError
from workers.assignment import BenchmarkFiles
from workers.errors import Fault, LeaseLost

LEASE_LOST = "lease_lost"
BEAT_SECONDS = 10.0
"""How long one heartbeat may take."""


class Lease:
    """A claimed run: what to do, and the token that opens what is needed for it until the lease ends."""

    def __init__(self, client: Client, claim: dict[str, Any]) -> None:
        self._client = client
        self._claim = claim
        self._token = str(claim["token"])
        self.run: dict[str, Any] = claim["run"]
        self.id = str(self.run["id"])
        self.seconds = float(self.run["lease_seconds"])

    @property
    def base_model(self) -> dict[str, Any]:
        """{fingerprint, name, state, architecture, tokenizer_digest} of the base model, as the registry knows it."""
        known = self._claim["base_model"]
        return {key: known.get(key) for key in ("fingerprint", "name", "state", "architecture", "tokenizer_digest")}

    def heartbeat(self, stage: str) -> None:
        """Keep the lease. Raises LeaseLost, or a HubError where the registry cannot be asked."""
        with _lease():
            self._client.request(
                "POST",
                f"runs/{self.id}/heartbeat",
                json={"stage": stage[:64]},
                token=self._token,
                idempotent=True,
                timeout=BEAT_SECONDS,
            )

    def report(self, report: dict[str, Any]) -> str:
        """End the run; returns its status. Raises LeaseLost, or a HubError: UsageError where the report is refused."""
        with _lease():
            answer = self._client.request(
                "POST", f"runs/{self.id}/report", json={"report": report}, token=self._token, idempotent=True
            )
        return str(answer["status"])

    def pull(self, folder: Path) -> Path:
        """The adapter's files, each verified by its SHA-256."""
        with _pulling("the adapter"):
            return self._client.download(self._claim["files"], folder, token=self._token)

    def previous(self, folder: Path) -> dict[str, Any] | None:
        """What the version behind `latest` answered, as an assignment has it, where the plan compares with it; each file verified."""
        told = self._claim.get("previous")
        if told is None:
            return None
        with _pulling("what the version before answered"):
            self._client.download(told["answers"], folder, token=self._token)
            predictions: dict[str, Any] = {}
            for file in told["answers"]:
                given = answers.from_lines((folder / file["path"]).read_bytes())
                answers.put(predictions, file["benchmark"], file["folder"], given)
        return {"adapter_digest": told["adapter_digest"], "predictions": predictions}

    def benchmarks(self, folder: Path) -> tuple[BenchmarkFiles, ...]:
        """The benchmarks of the plan with their data, kept below `folder` from run to run by digest."""
        return tuple(self._benchmark(shape, folder) for shape in self._claim["benchmarks"])

    def _benchmark(self, shape: dict[str, Any], folder: Path) -> BenchmarkFiles:
        found = benchmark.from_json(shape["definition"])
        if found.digest != str(shape["digest"]).removeprefix("sha256:"):
            message = f"benchmark {found.name}: its definition hashes to {found.digest}, not to {shape['digest']}"
            raise Fault(message, started=False)
        place = folder / found.digest
        with _pulling(f"benchmark {found.name}"):
            self._client.download(shape["files"], place, token=self._token)
        return BenchmarkFiles(found, place / found.data, place / found.train if found.train else None)


class Registry:
    """One worker's way to the registry."""

    def __init__(self, endpoint: str | None, token: str | None) -> None:
        self._client = Client(endpoint, token, quiet=True)

    def claim(
        self, worker: str, bases: list[str], *, held: Sequence[str], run: str | None, starting: bool
    ) -> Lease | None:
        """Lease a waiting run on one of these base models, rather on one that is `held` open; None where there is none."""
        wanted = {"worker": worker, "bases": bases, "held": list(held), "starting": starting, "runtimes": ["reference"]}
        wanted["protocols"] = [policy.PROTOCOL]
        found = self._client.request("POST", "runs/claim", json=wanted | ({"run": run} if run else {}))
        return None if found is None else Lease(self._client, found)

    def announce(self, base: BaseModel, folder: Path) -> None:
        """Tell the registry of a base model whose bytes this worker has hashed, and where it waits for them, of its files."""
        told = registration.hashed(self._client.wire, base, folder)
        self._client.request("POST", "base-models", json=told, idempotent=True)


@contextmanager
def _lease() -> Iterator[None]:
    try:
        yield
    except HubError as error:
        if error.code == LEASE_LOST:
            raise LeaseLost(str(error)) from error
        raise


@contextmanager
def _pulling(what: str) -> Iterator[None]:
    """Raises Fault for what waiting does not mend, and lets a NetworkError through: it says nothing about this run."""
    try:
        with _lease():
            yield
    except NetworkError:
        raise
    except (HubError, SpecError) as error:
        raise Fault(f"{what} could not be pulled: {error}", started=False) from error
