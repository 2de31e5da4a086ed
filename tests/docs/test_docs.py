"""What the prose says is there: links, targets, commands, options, variables, files. And each check finds what is not."""

from collections.abc import Callable

import pytest

from tests.docs import checks, known, pages
from tests.docs.pages import ROOT, Page

Check = Callable[[Page], list[str]]
PAGES = pages.every()


def made_up(text: str) -> Page:
    """A page that nobody wrote, beside the others."""
    return Page(ROOT / "docs" / "made-up.md", text)


def faults(check: Check) -> list[str]:
    return [fault for page in PAGES for fault in check(page)]


def test_the_pages_are_found() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "SECURITY.md", "docs/house.md", "docs/operations.md", "docs/decisions/README.md"} <= names


def test_every_link_and_anchor_leads_somewhere() -> None:
    assert faults(checks.links) == []


def test_every_target_of_make_is_in_the_makefile() -> None:
    assert faults(checks.make) == []


def test_every_command_of_the_server_is_there_with_its_options() -> None:
    assert faults(checks.manage) == []


def test_every_verb_of_the_client_is_there_with_its_options() -> None:
    assert faults(checks.client) == []


def test_every_variable_is_read_somewhere() -> None:
    assert faults(checks.variables) == []


def test_every_setting_is_described() -> None:
    described = [pages.read(ROOT / "docs" / name) for name in ("operations.md", "client.md")]
    assert checks.undescribed(*described) == []


def test_every_file_of_the_project_that_is_named_is_there() -> None:
    assert faults(checks.paths) == []


# --- negative controls: a fault that was planted is found, and what is right beside it is left alone ---

PLANTED: dict[str, tuple[Check, str, str]] = {
    "a link to no file": (checks.links, "[a](house.md) [b](nowhere.md)", "nowhere.md"),
    "a link out of the project": (checks.links, "[a](../README.md) [b](../../etc)", "../../etc"),
    "a link in a table": (checks.links, "| a |\n|---|\n| [b](nowhere.md) |", "nowhere.md"),
    "an image that is not there": (checks.links, "![b](picture.png)", "picture.png"),
    "an anchor of another page": (checks.links, "[a](house.md#rooms) [b](house.md#cellar)", "house.md#cellar"),
    "an anchor of the page": (checks.links, "# Ann, & more\n[a](#ann--more) [b](#ann)", "#ann "),
    "an anchor counted too far": (checks.links, "# A\n# A\n[a](#a-1) [b](#a-2)", "#a-2"),
    "an anchor of what has none": (checks.links, "[a](../LICENSE) [b](../LICENSE#2)", "../LICENSE#2"),
    "a target in a span": (checks.make, "`make demo` and `make coffee`", "make coffee"),
    "a target in a block": (checks.make, "```\nmake test && make coffee   # make tea\n```", "make coffee"),
    "a variable of make": (checks.make, "`make up PORT=1 SUGAR=2`", "SUGAR"),
    "a command": (checks.manage, "`manage.py migrate`, `manage.py brew`", "manage.py brew"),
    "a command in a block": (checks.manage, "```\nX=1 python manage.py brew --now\n```", "manage.py brew"),
    "an option of a command": (checks.manage, "`manage.py token ann --create --sweet`", "--sweet"),
    "a verb": (checks.client, "```\nhub push out/ a/b\nhub brew\n```", "hub brew"),
    "a verb in a span": (checks.client, "`hub pull REF`, `hub brew REF`", "hub brew"),
    "a verb behind another": (checks.client, "```\n$ hub login && hub brew\n```", "hub brew"),
    "a verb in a workflow": (checks.client, "```yaml\n      - run: hub brew out/\n```", "hub brew"),
    "an action": (checks.client, "`hub base ls`, `hub base drop`", "hub base drop"),
    "an option": (checks.client, "```\nhub pull a --base b | tail --lines 1   # --dark\nhub pull a --milk\n```", "--milk"),
    "an option of an action": (checks.client, "`hub base add DIR [--name NAME] [--milk]`", "--milk"),
    "an option of another verb": (checks.client, "`hub pull a --json --reason r`", "--reason"),
    "an option on the next line": (checks.client, "```\nhub push a \\\n  --base b \\\n  --milk\n```", "--milk"),
    "a variable": (checks.variables, "Set `HUB_CACHE`, or HUB_CASH.", "HUB_CASH"),
    "a variable of a file": (checks.variables, "`HUB_SECRET_KEY_FILE`, `HUB_CACHE_FILE`", "HUB_CACHE_FILE"),
    "a variable that only a comment names": (checks.variables, "`HUB_WAIT`", "HUB_WAIT"),
    "a file": (checks.paths, "`docker/env.example`, `docker/.env` and `docker/tea.yaml`", "docker/tea.yaml"),
    "a folder": (checks.paths, "`registry/storage/` and `registry/kitchen/`", "registry/kitchen/"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(name: str) -> None:
    check, text, told = PLANTED[name]
    found = check(made_up(text))
    assert len(found) == 1, found
    assert told in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "```python\nhub.brew('tea')\nimport hub  # make tea\n```",
        "We make sure, and hub brew is prose.",
        "```bash\nwait=${HUB_PATIENCE:-5}\n```\n`HUB_PATIENCE` is read by this script.",
        "`hub ...`, `manage.py ...`, `HUB_...`, GITHUB_TOKEN, HF_HUB_OFFLINE",
        "[elsewhere](https://example.org/nowhere.md#x) and `[no](link.md)`",
    ],
)
def test_what_only_looks_like_a_fault_is_left_alone(text: str) -> None:
    every = (checks.links, checks.make, checks.manage, checks.client, checks.variables, checks.paths)
    assert [fault for check in every for fault in check(made_up(text))] == []


def test_a_setting_that_no_page_describes_is_found() -> None:
    told = checks.undescribed(made_up("Nothing but `HUB_CACHE`, HUB_STORAGE_PUBLIC_ENDPOINT and HUB_BASES."))
    names = {fault.split()[0] for fault in told}
    assert {"HUB_STORAGE", "HUB_SCRATCH", "HUB_OFFLINE"} <= names, "one of each file of settings"
    assert not {"HUB_CACHE", "HUB_BASES"} & names


def test_what_the_project_has_is_really_asked_of_it() -> None:
    assert {"up", "test", "check"} <= known.targets()
    assert {"up", "relay", "storage", "migrate", "createsuperuser", "collectstatic"} <= set(known.commands())
    assert {"--port", "--data"} <= (known.command_options("up") or frozenset())
    assert known.command_options("migrate") is None
    assert {"push", "base", "policy"} <= set(known.verbs_of(known.client()))
    assert {"HUB_LEASE_SECONDS", "HUB_RUN_SECONDS", "HUB_TOKEN", "HUB_BASES_DIR"} <= known.variables()
    assert "HUB_LEASE_SECOND" not in known.variables(), "a string in a test is not read from the environment"
