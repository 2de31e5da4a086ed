"""`hub doctor` in figures: the header of an adapter of 10 MB, and 400 adapter folders. A table on stderr, JSON on stdout.

    python bench/doctor.py [--folders 400] [--repeats 5]

Beside it what a person would take: `safetensors` opening the same file and listing names and shapes, and peft's own
configuration class reading each adapter_config.json. All in one process, files in the page cache.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hub import diagnosis
from hub.diagnosis import FlatFolder
from hub.findings import KnownBase
from hub.spec import scan, validation
from tests.specimens.spec import builders as make

FOLDER_SECONDS = 5.0


def say(text: str = "") -> None:
    print(text, file=sys.stderr, flush=True)


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def adapter(rank: int, hidden: int, layers: int) -> dict[str, bytes]:
    return make.lora({"r": rank}, make.lora_shapes(rank=rank, hidden=hidden, layers=layers))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folders", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        large = write(Path(place) / "large", adapter(64, 768, 24))
        size = (large / "adapter_model.safetensors").stat().st_size
        header = timed(lambda: scan.header(FlatFolder(large), "adapter_model.safetensors"), given.repeats)
        whole = timed(lambda: validation.inspect(FlatFolder(large), None, to_run=False), given.repeats)

        def opened() -> list[object]:
            from safetensors import safe_open

            with safe_open(large / "adapter_model.safetensors", "np") as file:
                return [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118

        opened()
        library = timed(opened, given.repeats)
        many = Path(place) / "many"
        for index in range(given.folders):
            write(many / f"team-{index % 20}" / f"adapter-{index}", adapter(4 + index % 13, 64, 12))
        bases = [KnownBase(f"base-{width}", many, make.base_model.from_leaves(
            make.leaves(make.base_shapes(width, 4 * width, 12)), make.CONFIG | {"hidden_size": width, "num_hidden_layers": 12}))
            for width in (64, 96, 128)]  # fmt: skip

        def doctor() -> int:
            return len(diagnosis.examine([(str(one), FlatFolder(one)) for one in diagnosis.places(many)], bases))

        assert doctor() == given.folders
        folders = timed(doctor, 3)

        def configs() -> None:
            from peft import LoraConfig

            for one in diagnosis.places(many):
                LoraConfig.from_pretrained(str(one))

        configs()
        peft = timed(configs, 3)
    result = {
        "header_bytes": size, "header_seconds": header, "safetensors_seconds": library, "header_ratio": header / library,
        "inspection_seconds": whole,
        "folders": given.folders, "doctor_seconds": folders, "per_folder_ms": 1000 * folders / given.folders,
        "peft_configs_seconds": peft, "doctor_ratio": folders / peft,
    }  # fmt: skip
    say(
        f"an adapter of {size / 1e6:.1f} MB, 96 tensors: its header {1000 * header:.2f} ms (asked: at most 2), all of it {1000 * whole:.2f} ms"
    )
    say(f"  safetensors lists its names and shapes in {1000 * library:.2f} ms: ratio {header / library:.1f}")
    say(f"{given.folders} folders against 3 base models: {folders:.2f} s (asked: at most {FOLDER_SECONDS:.0f})")
    say(f"  peft reads the configurations alone in {peft:.2f} s: ratio {folders / peft:.1f}")
    print(json.dumps(result))
    sys.exit(0 if folders <= FOLDER_SECONDS else 1)


main()
