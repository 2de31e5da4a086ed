"""The fingerprint in figures: GB/s beside read, memcpy and SHA-256 of the same file. A table on stderr, JSON on stdout.

    python bench/fingerprint.py [--gb 1.0] [--repeats 5] [--in DIR]

One safetensors file of float32 weights, a quarter of it a single embedding, is written into a temporary folder and read
once, so that it lies in the page cache. Then all are measured in turn, round after round: a busy moment of the machine
hits each of them. The table has medians, and beside them the GB per second of processor time, which tells how much two
cores were worth. Read, copy and SHA-256 use one core, the fingerprints two.
"""

import argparse
import hashlib
import importlib.util
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from hub import base_folder, casting

BAR = 2.0  # times the SHA-256 of OpenSSL, which uses what the processor has for it; a busy machine has one core for us
WIDTH = 1024
BUFFER = 1 << 20


def say(text: str = "") -> None:
    print(text, file=sys.stderr, flush=True)


def shapes(numbers: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a BERT-like model of about `numbers` parameters."""
    found: dict[str, tuple[int, ...]] = {"embeddings.word_embeddings.weight": (numbers // 4 // WIDTH, WIDTH)}
    for layer in range(max(1, numbers * 3 // 4 // (12 * WIDTH * WIDTH))):
        at = f"encoder.layer.{layer}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            found |= {f"{at}.{name}.weight": (WIDTH, WIDTH), f"{at}.{name}.bias": (WIDTH,)}
        found |= {
            f"{at}.intermediate.dense.weight": (4 * WIDTH, WIDTH),
            f"{at}.output.dense.weight": (WIDTH, 4 * WIDTH),
        }
    return found


def write(folder: Path, size: float) -> Path:
    """A base model of `size` GB, normally distributed with 0.02 as weights are."""
    table, at = {}, 0
    for name, shape in shapes(int(size * 1e9) // 4).items():
        end = at + 4 * int(np.prod(shape))
        table[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    noise = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for left in range(at, 0, -(1 << 26)):
            file.write((noise.standard_normal(min(left, 1 << 26) // 4, dtype=np.float32) * np.float32(0.02)).data)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder / "model.safetensors"


def read(path: Path) -> None:
    buffer = memoryview(bytearray(BUFFER))
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def sha256(path: Path) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256").hexdigest()


def copier(size: int) -> Callable[[], None]:
    """A copy in memory of as many bytes, between two buffers that no cache holds."""
    source = np.ones(min(size, 1 << 28), np.uint8)
    target = np.ones_like(source)

    def copy() -> None:
        for left in range(size, 0, -len(source)):
            np.copyto(target[:left], source[:left])

    return copy


def casts(path: Path, kind: type[casting.Bench]) -> Callable[[], None]:
    """The fingerprint with cast roots, the casts made by numpy alone or by torch."""

    def work() -> None:
        casting.use(kind)
        base_folder.read(path.parent, casts=True)

    return work


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(entry.ru_utime + entry.ru_stime for entry in used)


def measure(path: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Per way: GB/s by the wall clock, and by processor time."""
    size = path.stat().st_size
    ways: dict[str, Callable[[], Any]] = {
        "read": lambda: read(path),
        "memcpy": copier(size),
        "sha256sum": lambda: subprocess.run(["sha256sum", str(path)], check=True, capture_output=True),
        "sha256 (OpenSSL)": lambda: sha256(path),
        "exact": lambda: base_folder.read(path.parent),
        "with casts": casts(path, casting.Bench),
    }
    if importlib.util.find_spec("torch"):
        from hub.runtime.torch_casting import TorchBench

        ways["with casts, torch"] = casts(path, TorchBench)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, work in ways.items():
            before, started = cpu(), time.perf_counter()
            work()
            if number:  # the first round warms up
                taken[name].append((time.perf_counter() - started, cpu() - before))
    found = {}
    for name, seconds in taken.items():
        walls, processor = [wall for wall, _ in seconds], statistics.median(used for _, used in seconds)
        found[name] = {
            "wall": round(size / statistics.median(walls) / 1e9, 2),
            "best": round(size / min(walls) / 1e9, 2),
            "cpu": round(size / max(processor, 1e-9) / 1e9, 2),
        }
    return found


def table(found: dict[str, dict[str, float]]) -> None:
    say(f"{'':>17} {'GB/s':>7} {'best':>7} {'per CPU':>8} {'of sha256sum':>13} {'of OpenSSL':>11}")
    for name, rates in found.items():
        command, library = (rates["wall"] / found[other]["wall"] for other in ("sha256sum", "sha256 (OpenSSL)"))
        row = f"{rates['wall']:>7.2f} {rates['best']:>7.2f} {rates['cpu']:>8.2f} {command:>13.2f} {library:>11.2f}"
        say(f"{name:>17} {row}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=1.0, help="size of the file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--in", dest="place", type=Path, help="where the temporary folder is made")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=given.place))
    try:
        found = measure(write(folder, given.gb), given.repeats)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table(found)
    ratio = round(found["exact"]["wall"] / found["sha256 (OpenSSL)"]["wall"], 2)
    torch = (
        {"casts by torch": round(found["with casts, torch"]["wall"] / found["with casts"]["wall"], 2)}
        if "with casts, torch" in found
        else {}
    )
    print(json.dumps({"rates": found, "ratio": ratio, **torch, "met": ratio >= BAR}))
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
