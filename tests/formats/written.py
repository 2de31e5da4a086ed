"""What the tests of written files share: the settings in groups, reading, and writing a folder with other tensors."""

import collections
import itertools
import os

from hub.spec import tensors, validation
from hub.spec.snapshot import MemorySnapshot
from tests.formats import options
from tests.specimens.spec import builders

_SORTED = sorted(options.every(), key=lambda option: option[:2])
GROUPS = {
    f"{name} on {family}": tuple(group)
    for (family, name), group in itertools.groupby(_SORTED, key=lambda option: option[:2])
}
FIRST = [group[0] for group in GROUPS.values()]
"""One setting of each method on each family that it fits."""
_FAMILIES = collections.Counter(option[1] for option in FIRST)
_METHODS = sorted({option[1] for option in FIRST})
_PLACES = {option[:2]: place for name in _METHODS for place, option in enumerate(o for o in FIRST if o[1] == name)}
EVERY = "HUB_TEST_EVERY" in os.environ
SOME = [
    option
    for option in FIRST
    if EVERY or _PLACES[option[:2]] % 3 == _METHODS.index(option[1]) % min(3, _FAMILIES[option[1]])
]
"""What is tried of them by `make test`: of each method a third of its families, other ones of the next; `make formats` tries all."""


def some_of(group):
    """What `make test` tries of a group: every third setting, the first among them."""
    return group if EVERY else group[::3]


def named(option):
    return f"{option[1]}-{option[0]}"


def read(files, base=None):
    return validation.inspect(MemorySnapshot(files), base, to_run=False)


def told(found):
    return [str(problem) for problem in found.problems]


def header(files):
    data = files["adapter_model.safetensors"]
    return tensors.parse_header(data, len(data))


def rewritten(files, change):
    """The same folder with the tensors' shapes changed: `change` gets and returns {name: (dtype, shape)}."""
    table = change({tensor.name: (tensor.dtype, tensor.shape) for tensor in header(files)})
    return files | {"adapter_model.safetensors": builders.safetensors(table)}
