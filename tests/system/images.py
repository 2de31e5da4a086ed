"""docker/ without Docker: what its files say, and a folder that holds what an image would hold.

A made image is honest about imports: a virtual environment of its own with the same packages, but without the
checkout on its path (the editable install of the tests is left out); the client installed as `pip install .` does; and
of the checkout only what COPY brings.
"""

import dataclasses
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from registry.embedded import account as accounts
from tests.system import pythons
from tests.system.hubs import ROOT

DOCKER = ROOT / "docker"
PLACES = ("venv", "app", "static", "scratch", "bases")  # folders at the root of our images
USER = 10001
PATH = "/usr/local/bin:/usr/bin:/bin"


# --- reading ---


def instructions(name: str) -> list[tuple[str, str]]:
    """The lines of a Dockerfile as (instruction, rest), continued lines joined, comments left out."""
    text = (DOCKER / name).read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def last_stage(name: str) -> list[tuple[str, str]]:
    """The instructions of the stage that becomes the image."""
    lines = instructions(name)
    begins = [number for number, (word, _) in enumerate(lines) if word == "FROM"]
    return lines[begins[-1] :]


def read(lines: str) -> dict[str, str]:
    """The settings of an env file."""
    pairs = [line.split("=", 1) for line in lines.splitlines() if line and not line.startswith("#")]
    return dict(pairs)


def compose(given: Mapping[str, str]) -> dict[str, Any]:
    """compose.yaml with its variables filled in from `given`. Raises KeyError for one that must be given."""
    value = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return dict(_filled(value, given))


def _filled(value: Any, given: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, given) for item in value]
    return _substituted(value, given) if isinstance(value, str) else value


def _substituted(text: str, given: Mapping[str, str]) -> str:
    def found(match: re.Match[str]) -> str:
        name, rule, default = match["name"], match["rule"], match["default"]
        if match[0] == "$$":
            return "$"
        if not given.get(name) and rule == ":?":
            raise KeyError(name)
        return given.get(name) or default or ""

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?:(?P<rule>:[-?])(?P<default>[^}]*))?\}", found, text)


# --- making ---


@dataclasses.dataclass(frozen=True)
class Image:
    """A folder in the place of an image, and what its Dockerfile says of a process in it."""

    root: Path
    environment: dict[str, str]
    command: list[str]
    healthcheck: list[str]
    user: int | None

    def here(self, text: str) -> str:
        """The same text with the image's folders where they really are."""
        return re.sub(rf"(?<![\w./-])/({'|'.join(PLACES)})\b", lambda match: f"{self.root}/{match[1]}", text)

    def line(self, words: list[str]) -> list[str]:
        """A command line of the image, for the host."""
        return [self.here(word) for word in words]

    def start(self, words: list[str], environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
        """Start a process as a container would: this environment alone, as the image's user, in /app."""
        env = self.environment | dict(environment)
        program = shutil.which(words[0], path=env["PATH"])
        assert program, f"the image has no {words[0]}"
        with log.open("ab") as out:
            return subprocess.Popen(
                [program, *self.line(words[1:])],
                env=env,
                cwd=self.root / "app",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
                start_new_session=True,
            )


def make(name: str, root: Path) -> Image:
    """Make the image of a Dockerfile below `root`: its last stage, instruction by instruction."""
    for place in PLACES:
        (root / place).mkdir(parents=True)
    make_venv(root / "venv")
    image = Image(root, {"PATH": PATH, "HOME": "/nonexistent"}, [], [], user_of(root))
    for word, rest in last_stage(name):
        if word == "COPY" and not rest.startswith("--from"):
            copy(rest, root / "app")
        elif word == "ENV":
            for name_, value in (pair.split("=", 1) for pair in shlex.split(rest)):
                image.environment[name_] = image.here(value.replace("$PATH", image.environment["PATH"]))
        elif word == "RUN" and rest.startswith("python manage.py"):
            run = image.start(shlex.split(rest), {}, root / "build.log")
            assert run.wait(timeout=120) == 0, (root / "build.log").read_text()
        elif word in ("CMD", "HEALTHCHECK"):
            target = image.command if word == "CMD" else image.healthcheck
            target += yaml.safe_load(rest[rest.index("[") :])
    return image


def copy(rest: str, app: Path) -> None:
    """Do what COPY does."""
    *sources, target = rest.split()
    for source in sources:
        found = ROOT / source
        if found.is_dir():
            shutil.copytree(found, app / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, app / target)


def python_for_all() -> str | None:
    """A Python that the image's user can run, None where there is none: then everything runs as we do."""
    return pythons.reachable(accounts.Account("hub", USER, USER))


def user_of(root: Path) -> int | None:
    """Whom processes of an image run as; root's folders are made readable for them."""
    if python_for_all() is None:
        return None
    for folder in (root, root / "static", root / "scratch"):
        folder.chmod(0o755)
    for folder in ("static", "scratch"):
        os.chown(root / folder, USER, USER)
    return USER


def make_venv(folder: Path) -> None:
    """A virtual environment with the packages of this one, the checkout left out, and the client laid in."""
    python = python_for_all() or sys.executable
    subprocess.run([python, "-m", "venv", "--without-pip", "--clear", str(folder)], check=True)
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A path in a .pth file is put on sys.path, but the .pth files in it (the editable install) are not read.
    (packages / "packages.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    pythons.add_backports(python, packages)
    shutil.copytree(ROOT / "hub", packages / "hub", ignore=shutil.ignore_patterns("__pycache__"))
    for entry in importlib.metadata.entry_points(group="console_scripts"):
        if entry.name in ("celery", "gunicorn"):
            script = folder / "bin" / entry.name
            code = f"import sys\nfrom {entry.module} import {entry.attr}\nsys.exit({entry.attr}())\n"
            script.write_text(f"#!{folder}/bin/python\n{code}")
            script.chmod(0o755)
