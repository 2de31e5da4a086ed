"""What the project has, asked of the project itself: targets of make, commands and options, variables that are read."""

import argparse
import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import django

from hub import cli
from tests.docs.pages import ROOT

MAKEFILE = ROOT / "Makefile"
COMMANDS = ROOT / "registry" / "management" / "commands"
# Django's own applications that have commands, and are installed
BUILT_IN = ("core", "contrib/auth", "contrib/contenttypes", "contrib/sessions", "contrib/staticfiles")
EVERYWHERE = frozenset(
    {"--help", "--settings", "--pythonpath", "--verbosity", "--traceback", "--no-color", "--force-color"}
)
READERS = frozenset({"get", "getenv", "text", "flag", "number", "one_of", "words", "address"})
"""Functions that read the environment: of dict and os, and those of registry/settings.py."""
BY_FILE = READERS - {"get", "getenv"}
"""Those that look at NAME_FILE, too."""
ROOMS = ("hub", "registry", "workers", "tests")
SETTINGS = tuple(ROOT / name for name in ("registry/settings.py", "workers/settings.py", "hub/config.py"))
OURS = re.compile(r"HUB_[A-Z0-9_]*[A-Z0-9]")


# --- make and manage.py ---


@functools.cache
def targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z][a-z-]*):", MAKEFILE.read_text(), re.MULTILINE))


@functools.cache
def make_variables() -> frozenset[str]:
    return frozenset(re.findall(r"\$\(?(?:if \$\()?([A-Z_]+)\)", MAKEFILE.read_text()))


@functools.cache
def commands() -> dict[str, Path]:
    """The file of every command of manage.py."""
    folders = [Path(django.__file__).parent / place / "management" / "commands" for place in BUILT_IN] + [COMMANDS]
    return {path.stem: path for folder in folders for path in folder.glob("[a-z]*.py")}


def command_options(name: str) -> frozenset[str] | None:
    """The options of one of our commands, None for a command of Django's."""
    path = commands()[name]
    if path.parent != COMMANDS:
        return None
    return EVERYWHERE | frozenset(re.findall(r'"(--[a-z-]+)"', path.read_text()))


# --- the client's command line ---


@functools.cache
def client() -> argparse.ArgumentParser:
    return cli.parser()


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs (or actions of a verb) that a parser knows; none for a verb that takes its arguments."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def options_of(parser: argparse.ArgumentParser) -> frozenset[str]:
    return frozenset(parser._option_string_actions)


# --- variables ---


def read_in(path: Path, readers: frozenset[str] = READERS) -> set[str]:
    """Names that a file asks the environment for: `get("NAME")`, `text("NAME")`, `environ["NAME"]`."""
    return {name for name in asked(ast.parse(path.read_text()), readers) if OURS.fullmatch(name)}


def asked(tree: ast.AST, readers: frozenset[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            key: ast.expr | None = node.args[0] if name in readers else None
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            key = node.slice if "environ" in ast.dump(node.value) else None
        else:
            continue
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


@functools.cache
def variables() -> frozenset[str]:
    """Every HUB_... that code or docker/compose.yaml reads, with its NAME_FILE where there is one."""
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    found = set().union(*(read_in(path) for path in paths))
    found |= {f"{name}_FILE" for name in read_in(SETTINGS[0], BY_FILE)}
    return frozenset(found | set(re.findall(r"\$\{(HUB_\w+)", (ROOT / "docker" / "compose.yaml").read_text())))


@functools.cache
def settings() -> frozenset[str]:
    """What the three files of settings read: a user has to find it described."""
    return frozenset(set().union(*(read_in(path) for path in SETTINGS)))
