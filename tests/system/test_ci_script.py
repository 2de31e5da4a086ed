"""docs/ci.md is run, not only read: its bash script against a real hub, its workflow step by step."""

import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hub import base_folder, cli
from hub.spec import documents
from tests.ports import free_port
from tests.system.hubs import ROOT, TINY_BASE, RunningHub, stopped, wait_for

PAGE = (ROOT / "docs" / "ci.md").read_text()
PATIENCE = "120"


def block(language: str, begin: str) -> str:
    """The code block of the page in this language that begins with these words."""
    found = re.search(rf"```{language}\n({re.escape(begin)}.*?)```", PAGE, re.DOTALL)
    assert found, f"docs/ci.md has no {language} block that begins with {begin!r}"
    return found[1]


@pytest.fixture(scope="session")
def script(hub_folder: Path) -> Path:
    """The page's script as a file."""
    path = hub_folder / "push.sh"
    path.write_text(block("bash", "#!/usr/bin/env bash"))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def make_adapter(hub_folder: Path) -> Callable[..., Path]:
    """Make a LoRA adapter on the tiny base, with its facts: make("name", std=0.5); std=0 leaves it without effect."""
    from tests.engine import makers

    def make(name: str, **options: float) -> Path:
        folder = hub_folder / "adapters" / name
        seed = int.from_bytes(name.encode(), "big") % 10_000  # other bytes for every name
        makers.lora_model(TINY_BASE, seed=seed, **options).save_pretrained(folder)
        facts = {"base": base_folder.fingerprint(TINY_BASE), "labels": ["negative", "positive"]}
        (folder / "hub.json").write_bytes(documents.canonical(facts))
        return folder

    return make


@pytest.fixture
def push(hub: RunningHub, script: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the script as CI would: push(folder, "owner/name", HUB_WAIT="5"). The worker has announced its base model by then."""
    known = f"/api/v1/base-models/{base_folder.fingerprint(TINY_BASE)}"
    wait_for(lambda: hub.get(known)[0] == 200, 60, lambda: hub.said)

    def run(folder: Path, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"HUB_ENDPOINT": hub.endpoint, "HUB_TOKEN": hub.tokens["owner"], "HUB_WAIT": PATIENCE}
        chosen = {"PATH": os.environ["PATH"], **given, **environment}
        line = ["bash", str(script), str(folder), name]
        return subprocess.run(line, env=chosen, capture_output=True, text=True, check=False)

    return run


Push = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., Path]


def status(hub: RunningHub, name: str, version: str = "1") -> str:
    """How a version stands."""
    code, body = hub.get(f"/api/v1/adapters/{name}/versions/{version}", hub.tokens["owner"])
    assert code == 200, body
    return str(documents.loads_json(body, where="version")["status"])


# --- the script ---


def test_a_good_adapter_is_published_with_0(hub: RunningHub, push: Push, make_adapter: Make) -> None:
    folder = make_adapter("good")
    (folder / "notes").mkdir()
    (folder / "notes" / "read me first.md").write_text("# A name with spaces\n")
    (folder / ".hidden").write_text("stays here")
    done = push(folder, "owner/good", HUB_VERSION="1.4.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [done.stdout.splitlines()[0], f"{hub.endpoint}/a/owner/good/v/1"]
    assert done.stdout.startswith("published")
    assert status(hub, "owner/good", "1.4.0") == "published"


def test_the_same_bytes_again_are_the_same_version(hub: RunningHub, push: Push, make_adapter: Make) -> None:
    folder = make_adapter("again")
    assert [push(folder, "owner/again").returncode for _ in range(2)] == [0, 0]
    code, body = hub.get("/api/v1/adapters/owner/again/versions", hub.tokens["owner"])
    assert code == 200
    assert len(documents.loads_json(body, where="versions")["results"]) == 1


def test_an_adapter_without_effect_ends_with_7_and_says_why(hub: RunningHub, push: Push, make_adapter: Make) -> None:
    done = push(make_adapter("void", std=0.0), "owner/void")
    assert done.returncode == 7, done.stderr
    assert "effect" in done.stderr
    assert f"{hub.endpoint}/a/owner/void/v/1" in done.stderr
    assert status(hub, "owner/void") == "rejected"


def test_what_the_static_checks_refuse_ends_with_7_too(push: Push, make_adapter: Make) -> None:
    folder = make_adapter("broken")
    (folder / "adapter_model.safetensors").write_bytes(b"\x80\x04 a pickle by another name")
    done = push(folder, "owner/broken")
    assert done.returncode == 7
    assert "adapter_model.safetensors" in done.stderr


def test_without_a_worker_it_ends_with_10_and_the_verdict_follows(
    hub: RunningHub, push: Push, make_adapter: Make
) -> None:
    folder = make_adapter("late")
    with stopped(hub.pids("worker")):
        done = push(folder, "owner/late", HUB_WAIT="2")
    assert done.returncode == 10, done.stderr
    assert "not judged within 2 s" in done.stderr
    assert push(folder, "owner/late").returncode == 0


def test_a_wrong_token_ends_with_3(push: Push, make_adapter: Make) -> None:
    assert push(make_adapter("token"), "owner/token", HUB_TOKEN="ahub_wrong").returncode == 3


def test_a_namespace_of_somebody_else_ends_with_3(hub: RunningHub, push: Push, make_adapter: Make) -> None:
    done = push(make_adapter("foreign"), "owner/foreign", HUB_TOKEN=hub.tokens["stranger"])
    assert done.returncode == 3
    assert hub.tokens["stranger"] not in done.stderr


def test_an_unknown_base_model_ends_with_4_before_a_byte_travels(push: Push, make_adapter: Make) -> None:
    folder = make_adapter("homeless")
    (folder / "hub.json").write_text('{"base": "no-such-base"}')
    done = push(folder, "owner/homeless")
    assert done.returncode == 4, done.stderr
    assert "no-such-base" in done.stderr


def test_a_hub_that_is_away_ends_with_9_and_not_with_curls_own_7(push: Push, make_adapter: Make) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    done = push(make_adapter("away"), "owner/away", HUB_ENDPOINT=away, HUB_WAIT="1")
    assert done.returncode == 9
    assert "does not answer" in done.stderr


def test_the_token_is_in_no_command_line(
    hub: RunningHub, script: Path, push: Push, make_adapter: Make, tmp_path: Path
) -> None:
    spy = tmp_path / "curl"
    spy.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/seen"\nexec /usr/bin/curl "$@"\n')
    spy.chmod(0o755)
    done = push(make_adapter("spied"), "owner/spied", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    seen = (tmp_path / "seen").read_text()
    assert "/api/v1/uploads/" in seen
    assert hub.tokens["owner"] not in seen


def test_a_cut_connection_is_taken_up_where_it_broke_off(
    hub: RunningHub, push: Push, make_adapter: Make, tmp_path: Path
) -> None:
    """A curl that sends half of the weights and then claims that the network went away."""
    spy = tmp_path / "curl"
    spy.write_text(
        "#!/bin/bash\n"
        f"case \"$*\" in *'-X PUT'*) if [ ! -e '{tmp_path}/cut' ]; then touch '{tmp_path}/cut'\n"
        'for word in "$@"; do case $word in */piece) truncate -s 5000 "$word" ;; esac; done; fi ;; esac\n'
        f'echo "$@" >>"{tmp_path}/seen"; exec /usr/bin/curl "$@"\n'
    )
    spy.chmod(0o755)
    folder = make_adapter("cut")
    assert (folder / "adapter_model.safetensors").stat().st_size > 5000
    done = push(folder, "owner/cut", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert "offset=5000" in (tmp_path / "seen").read_text()


def test_nothing_is_left_behind(push: Push, make_adapter: Make, tmp_path: Path) -> None:
    assert push(make_adapter("tidy"), "owner/tidy", TMPDIR=str(tmp_path)).returncode == 0
    assert list(tmp_path.iterdir()) == []


# --- the workflow ---


@pytest.fixture(scope="session")
def steps() -> list[dict[str, object]]:
    """The steps of the GitHub Actions workflow."""
    workflow = yaml.safe_load(block("yaml", "name: publish-adapter"))
    return list(workflow["jobs"]["publish"]["steps"])


def run_step(steps: list[dict[str, object]], words: str, cwd: Path, **environment: str) -> tuple[int, str]:
    """Run the step that holds these words, as GitHub's runner does (`bash -e`)."""
    lines = next(str(step["run"]) for step in steps if words in str(step.get("run", "")))
    given = {"PATH": os.environ["PATH"], "GITHUB_REF_NAME": "v1.4.0"} | environment
    done = subprocess.run(["bash", "-e", "-c", lines], cwd=cwd, env=given, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (7, 7), (10, 0), (3, 3), (9, 9)])
def test_the_workflow_is_red_for_a_rejection_but_not_for_not_judged(
    steps: list[dict[str, object]], tmp_path: Path, code: int, expected: int
) -> None:
    stub = tmp_path / "hub"
    stub.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/words\nexit {code}\n')
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    found, said = run_step(steps, "hub push", tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert found == expected
    assert ("::warning::" in said) == (code == 10)
    words = (tmp_path / "words").read_text().split()
    assert cli.parser().parse_args(words).version == "1.4.0"


def test_the_workflow_installs_the_client_from_the_hub(
    hub: RunningHub, steps: list[dict[str, object]], tmp_path: Path
) -> None:
    """With its own pip in a folder of its own; the dependencies are here already."""
    pip = tmp_path / "pip"
    options = f"--isolated --disable-pip-version-check --no-deps --no-index --target {tmp_path}/site"
    pip.write_text(f'#!/bin/sh\nverb=$1; shift\nexec {sys.executable} -m pip "$verb" {options} "$@"\n')
    pip.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    code, said = run_step(steps, "pip install", tmp_path, PATH=path, HUB_ENDPOINT=hub.endpoint)
    assert code == 0, said
    assert (tmp_path / "site" / "hub" / "__init__.py").exists()


def test_two_at_once_get_along(hub: RunningHub, script: Path, make_adapter: Make) -> None:
    """A job that was started twice: both end well, and there is one version."""
    folder = make_adapter("twice")
    given = {"HUB_ENDPOINT": hub.endpoint, "HUB_TOKEN": hub.tokens["owner"], "HUB_WAIT": PATIENCE}
    line = ["bash", str(script), str(folder), "owner/twice"]
    chosen = {"PATH": os.environ["PATH"], **given}
    jobs = [subprocess.Popen(line, env=chosen, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    deadline = time.monotonic() + float(PATIENCE)
    told = [job.communicate(timeout=deadline - time.monotonic())[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], told
    code, body = hub.get("/api/v1/adapters/owner/twice/versions", hub.tokens["owner"])
    assert code == 200
    assert len(documents.loads_json(body, where="versions")["results"]) == 1
