"""The AdapterHub library itself writes every sample anew: our own samples are still its own, and its real files are read.

`make formats` makes the environment and runs this. HUB_TEST_ADAPTERS names another Python that has the library.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from hub.diagnosis import FlatFolder
from hub.spec import compatibility, scan, torch_file, validation
from tests.formats.test_adapterhub import METHODS, SAMPLES, bases, family, named  # noqa: F401  # bases: a fixture

pytestmark = [pytest.mark.formats, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[3]
WRITER = ROOT / "tests" / "specimens" / "adapterhub" / "zoo.py"
# the library's older names -> today's, which it writes under
OLDER = {
    "pfeiffer": "seq_bn", "houlsby": "double_seq_bn", "parallel": "par_bn", "scaled_parallel": "scaled_par_bn",
    "pfeiffer+inv": "seq_bn_inv", "houlsby+inv": "double_seq_bn_inv",
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Where the library wrote every sample just now, and what it says of them: in the order of zoo.json."""
    python = Path(os.environ.get("HUB_TEST_ADAPTERS") or ROOT / ".venv-adapters" / "bin" / "python")
    if not python.is_file():
        pytest.skip(
            f"no AdapterHub library: {python} is not there (`make formats` makes it; HUB_TEST_ADAPTERS names one)"
        )
    place = tmp_path_factory.mktemp("adapterhub")
    done = subprocess.run([python, WRITER, place], capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stderr[-2000:]
    return place, json.loads(done.stdout)


def without_versions(value):
    """The same without the version of the library: a release that writes the same under a new number is no difference."""
    if isinstance(value, dict):
        return {key: without_versions(item) for key, item in value.items() if key != "version"}
    return [without_versions(item) for item in value] if isinstance(value, list) else value


def stored(files):
    """Parameters in all weights of a folder, by its headers."""
    return sum(tensor.count for path in files.files if scan.is_weights(path) for tensor in scan.header(files, path))


def test_the_library_still_writes_what_was_kept_of_it(written):
    _, fresh = written
    assert [named(sample) for sample in fresh] == [named(sample) for sample in SAMPLES]
    different = [
        named(old) for old, new in zip(SAMPLES, fresh, strict=True) if without_versions(old) != without_versions(new)
    ]
    assert different == []


def test_every_configuration_that_the_library_names_is_among_them(written):
    place, fresh = written
    names = json.loads((place / "catalogue.json").read_text())
    assert len(names) >= 27
    have = {sample["config"].partition("[")[0] for sample in fresh}
    assert {OLDER.get(name, name) for name in names} - have == set()
    assert set(METHODS) <= have, "what we take a configuration for is held against a sample of it"


def test_its_real_files_are_read_with_its_own_count(written, bases):  # noqa: F811
    place, fresh = written
    counts = {"adapter": 0, "head": 0, "unions": 0, "fusions": 0, "pickled": 0, "static heads": 0}
    for number, sample in enumerate(fresh):
        files = FlatFolder(place / str(number))
        base = bases[family(sample)]
        for known in (None, base):
            found = validation.inspect(files, known, to_run=False)
            assert found.ok, (named(sample), [str(problem) for problem in found.problems])
        (component,) = found.components
        assert component.parameters == sample["trainable"], named(sample)
        assert component.head_parameters == sample["head"], named(sample)
        assert compatibility.check(found, base).level == "shape_only", named(sample)
        kept = torch_file.as_kept(files)
        told = component.nbytes["adapter"] + component.nbytes["head"] + component.nbytes["copied"]
        assert told == 4 * stored(kept), f"{named(sample)}: every byte of the weights is accounted for"
        counts["adapter"] += component.parameters
        counts["head"] += component.head_parameters
        counts["unions"] += component.method == "union"
        counts["fusions"] += component.method == "fusion"
        counts["pickled"] += any(map(torch_file.is_torch, files.files))
        counts["static heads"] += sample["family"].endswith("its own head") and bool(sample["head"])
    print(f"\n{len(fresh)} samples written anew and read: {counts}")
    assert counts["unions"] and counts["fusions"] == 2 and counts["pickled"] and counts["static heads"]


def test_a_byte_less_in_any_real_file_is_refused(written, bases):  # noqa: F811
    """The negative control: what reads them all does not read anything."""
    place, fresh = written
    for number, sample in enumerate(fresh):
        files = FlatFolder(place / str(number))
        data = {path: files.read(path, 0, size) for path, size in files.files.items()}
        weights = next(path for path in data if scan.is_weights(path) or torch_file.is_torch(path))
        cut = validation.MemorySnapshot(data | {weights: data[weights][:-1]})
        assert not validation.inspect(cut, bases[family(sample)], to_run=False).ok, named(sample)
