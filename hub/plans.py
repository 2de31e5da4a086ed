"""What a push will be judged on, as far as its publisher may see: the benchmarks that it names, and those that its namespace
requires."""

from collections.abc import Iterable

from hub import errors, registration, suggestions
from hub.spec.benchmark import common_labels
from hub.transfer.wire import Wire
from hub.verdicts import segment


def labels_of(wire: Wire, names: Iterable[str], notes: list[str] | None) -> tuple[str, ...] | None:
    """The labels that a head has to have, None where they are not known or differ.

    Where the hub cannot be reached a note is made; without `notes` a NetworkError goes through. Raises NotFound.
    """
    asked = []
    for name in names:
        try:
            with suggestions.about_name(wire, name, "benchmarks"):
                asked.append(registration.benchmark_labels(wire, name))
        except errors.NetworkError as error:
            if notes is None:
                raise
            notes.append(f"the benchmark {name} was not looked up: {error.message}")
    return common_labels(asked)


def tasks_of(wire: Wire, names: Iterable[str], home: str | None) -> set[str]:
    """The ML tasks of these benchmarks and of those that the policy of the namespace `home` requires. What cannot be seen is
    left to the hub: a private benchmark, or all where it cannot be reached."""
    found = set()
    for name in {*names, *_required(wire, home)}:
        try:
            found.add(registration.benchmark_of(wire, name)["task"])
        except (errors.HubError, KeyError):
            continue
    return found


def _required(wire: Wire, home: str | None) -> list[str]:
    if home is None:
        return []
    try:
        return [str(name) for name in wire.request("GET", f"policies/{segment(home)}").data.get("required") or ()]
    except errors.HubError:
        return []
