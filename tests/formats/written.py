"""What the tests of written files share: the settings in groups, reading, and writing a folder with other tensors."""

import itertools

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
