""" "Did you mean ...?" for names that the hub does not know. Only ever on the way to an error, and never its cause."""

import contextlib
from collections.abc import Iterable, Iterator

from hub import errors
from hub.spec import words
from hub.spec.reference import Reference
from hub.transfer.wire import Wire


def improve(error: errors.NotFound, name: str, names: Iterable[str]) -> errors.NotFound:
    """The same error, with the names that may have been meant in its hint."""
    likely = [known for known in words.closest(name, names) if _alike(name, known)]
    if likely:
        error.hint = f"did you mean {', '.join(likely)}?"
    return error


def _alike(name: str, known: str) -> bool:
    """Whether more than the namespace is alike."""
    (space, _, own), (its_space, _, its_own) = name.rpartition("/"), known.rpartition("/")
    return space != its_space or bool(words.closest(own, [its_own]))


@contextlib.contextmanager
def about(wire: Wire, meant: Reference) -> Iterator[None]:
    """Adds what may have been meant to a NotFound about a reference."""
    try:
        yield
    except errors.NotFound as error:
        if not wire.offline and error.code == "not_found":
            known = adapters(wire, meant.namespace, meant.name)
            if meant.repo not in known:  # else only the version is missing, and the hub has said which there are
                improve(error, meant.repo, known)
        raise


@contextlib.contextmanager
def about_name(wire: Wire, name: str, path: str) -> Iterator[None]:
    """The same for a name in one of the API's lists (base-models, benchmarks)."""
    try:
        yield
    except errors.NotFound as error:
        if not wire.offline:
            improve(error, name, names(wire, path))
        raise


def adapters(wire: Wire, namespace: str, name: str) -> list[str]:
    """References of adapters that may have been meant: of the same namespace, and what a search for the name gives."""
    found: dict[str, None] = {}
    for params in ({"namespace": namespace}, {"q": name.replace("-", " ")}, {"q": name[:4]}, {}):
        for entry in _results(wire, "adapters", params):
            found[f"{entry.get('namespace')}/{entry.get('name')}"] = None
    return list(found)


def names(wire: Wire, path: str) -> list[str]:
    """The names in a list of the API (base-models, benchmarks)."""
    found = _results(wire, path, {})
    return [name for entry in found for name in _names_of(entry)]


def _names_of(entry: dict[str, object]) -> list[str]:
    aliases = entry.get("aliases")
    return [str(name) for name in [entry.get("name"), *(aliases if isinstance(aliases, list) else [])] if name]


def _results(wire: Wire, path: str, params: dict[str, str]) -> list[dict[str, object]]:
    try:
        answer = wire.request("GET", path, params=params).data
    except errors.HubError:
        return []
    results = answer.get("results") if isinstance(answer, dict) else None
    return [entry for entry in results or [] if isinstance(entry, dict)]
