"""The face of the package: what it offers, what it costs, what it is not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hub
from hub import errors

ROOT = Path(__file__).parents[2]


def run(code: str, *options: str) -> str:
    done = subprocess.run([sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_every_name_is_there_and_sorted() -> None:
    assert sorted(hub.__all__) == hub.__all__
    for name in hub.__all__:
        assert getattr(hub, name) is not None
        assert name in dir(hub)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hub.nonsense


def test_verbs_show_their_arguments() -> None:
    import inspect

    assert list(inspect.signature(hub.pull).parameters) == ["ref", "base", "to", "allow_shape_only"]
    assert "base" in (hub.pull.__doc__ or "")


def test_the_import_is_quick_and_brings_nothing_heavy() -> None:
    code = """
import sys, time
start = time.perf_counter()
import hub
took = time.perf_counter() - start
heavy = {"torch", "django", "httpx2", "transformers", "yaml", "blake3", "filelock", "tqdm"} & set(sys.modules)
print(took, sorted(heavy))
"""
    measured = [run(code).split(" ", 1) for _ in range(3)]
    assert min(float(took) for took, _ in measured) <= 0.15
    assert all(heavy == "[]" for _, heavy in measured)


def test_the_client_needs_neither_torch_nor_django() -> None:
    code = """
import sys
for name in ("torch", "transformers", "django", "rest_framework", "celery", "boto3", "safetensors", "numpy"):
    sys.modules[name] = None
import hub.cli, hub.client
from hub.client import Client
print(Client("http://127.0.0.1:9"))
"""
    assert run(code) == "Client('http://127.0.0.1:9')"


def test_without_torch_running_an_adapter_says_what_to_install() -> None:
    code = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from hub import config, errors
from hub.adapter import Adapter
facts = {"ref": "library/a:1@sha256:" + "0" * 64, "digest": "0" * 64, "base_model": {"fingerprint": "base:1"}}
try:
    Adapter(Path("."), facts, config.read()).predict(["x"])
except errors.UsageError as error:
    print(error)
"""
    assert 'pip install "adapter-hub[torch]"' in run(code)


def test_one_version_everywhere() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == hub.__version__


def test_exit_codes_are_the_promised_ones() -> None:
    codes = {
        kind.__name__: kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.HubError)
    }
    assert {code for name, code in codes.items() if not name.startswith("_")} == set(range(1, 11))
    assert (codes["Rejected"], codes["NotJudged"], codes["IncompatibleBaseModel"], codes["Yanked"]) == (7, 10, 5, 8)
    text = (ROOT / "docs" / "client.md").read_text()
    for name in codes:
        assert name.startswith("_") or f"`{name}`" in text, f"docs/client.md does not know {name}"


def test_a_foreign_hub_is_told(tmp_path: Path) -> None:
    """PyPI's `hub` installs into the same folder; whoever came last has won."""
    site = tmp_path / "site"
    (site / "hub-2.8.5.dist-info").mkdir(parents=True)
    (site / "hub-2.8.5.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: hub\nVersion: 2.8.5\n")
    code = f"import sys; sys.path.append({str(site)!r}); from hub import cli; sys.exit(cli.main(['logout']))"
    beside = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert beside.returncode == 0
    assert "hub` 2.8.5" in beside.stderr
    assert "pip uninstall" in beside.stderr
    code = code.replace("from hub import cli;", "import hub; del hub.__distribution__; from hub import cli;")
    over = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert over.returncode == 1
    assert "is not adapter-hub's" in over.stderr


def test_the_wheel_holds_the_client_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    if subprocess.run([sys.executable, "-c", "import build"], capture_output=True).returncode:
        command = [sys.executable, "-c", _HATCH, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"hub", f"adapter_hub-{hub.__version__}.dist-info"}
    assert {"hub/cli.py", "hub/spec/manifest.py", "hub/runtime/__init__.py", "hub/commands/publish.py"} <= set(names)


_HATCH = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
