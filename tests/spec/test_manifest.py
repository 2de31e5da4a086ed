"""Manifests: the vectors of docs/manifest.md, hostile paths, kinds of files."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.spec import manifest
from hub.spec.errors import SpecError
from hub.spec.manifest import File, Manifest
from tests.spec import vectors

VECTORS = vectors.read("manifest.md")
HEX = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("title", VECTORS)
def test_a_vector_of_the_document_holds(title):
    value, expected = VECTORS[title]
    made = Manifest.from_json(value)
    assert made.canonical().decode() == expected["canonical"]
    assert made.digest == expected["digest"] == hashlib.sha256(expected["canonical"].encode()).hexdigest()
    assert made.adapter_digest == expected["adapter_digest"] == hashlib.sha256(expected["adapter"].encode()).hexdigest()


def test_the_document_has_vectors():
    assert len(VECTORS) >= 6


def test_a_changed_readme_keeps_the_evidence_and_a_changed_weight_does_not():
    def digests(**content):
        files = {"README.md": b"1", "LICENSE": b"1", "hub.json": b"1", "adapter_model.safetensors": b"1"} | content
        made = Manifest(tuple(File(path, hashlib.sha256(data).hexdigest(), 1) for path, data in files.items()))
        return made.digest, made.adapter_digest

    before = digests()
    readme, weights, facts = (
        digests(**{"README.md": b"2"}),
        digests(**{"adapter_model.safetensors": b"2"}),
        digests(**{"hub.json": b"2"}),
    )
    assert readme[0] != before[0] and readme[1] == before[1]
    assert weights[1] != before[1] and facts[1] != before[1]


@pytest.mark.parametrize("path", ["readme.safetensors", "LICENSE.json", "notice/adapter_config.json", ".gitx.json"])
def test_no_name_hides_a_judged_file_from_the_evidence(path):
    assert manifest.is_evidence(path)


@pytest.mark.parametrize(
    "path", ["README.md", "readme", "docs/guide.md", "LICENSE.txt", "Notice", ".gitattributes", "a/x.PNG"]
)
def test_prose_is_no_evidence(path):
    assert not manifest.is_evidence(path)


def test_a_manifest_survives_json():
    made = Manifest((File("b.json", HEX, 2), File("a.json", HEX, 1)))
    assert Manifest.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert (made.size, made.get("a.json"), made.get("c")) == (3, File("a.json", HEX, 1), None)


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"files": {}}, {"files": []}, {"files": [1]}, {"files": [{"path": "a"}]}, {"files": [], "manifest": 2},
     {"files": [{"path": "a", "sha256": HEX.upper(), "size": 1}]}, {"files": [{"path": "a", "sha256": HEX, "size": -1}]},
     {"files": [{"path": "a", "sha256": HEX, "size": True}]}, {"files": [{"path": "a", "sha256": HEX, "size": 1.0}]},
     {"files": [{"path": "a", "sha256": HEX, "size": 1 << 40}]}, {"files": [{"path": "a", "sha256": f"sha256:{HEX}", "size": 1}]},
     {"files": [{"path": "a", "sha256": HEX, "size": 1, "x": 1}]}, {"files": [{"path": 1, "sha256": HEX, "size": 1}]},
     {"files": [{"path": f"{n}", "sha256": HEX, "size": 1} for n in range(1001)]},
     {"files": [{"path": f"{n}", "sha256": HEX, "size": 5 << 30} for n in range(5)]},
     {"files": [{"path": "a", "sha256": HEX, "size": 1}] * 2}],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(value):
    with pytest.raises(SpecError):
        Manifest.from_json(value)


def test_every_fault_of_a_manifest_is_told():
    files = [
        {"path": "../a", "sha256": HEX, "size": 1},
        {"path": "b", "sha256": "x", "size": 1},
        {"path": "c", "sha256": HEX, "size": -1},
    ]
    with pytest.raises(SpecError) as refused:
        Manifest.from_json({"files": files})
    assert len(refused.value.problems) == 3


BAD_PATHS = [
    "", "/", "/etc/passwd", "a//b", "a/", "./a", "a/./b", "../a", "a/../b", "a\\b", "C:\\a", "C:a", "a\0b", "a\nb",
    "a\x1b[31mb", "con", "NUL.txt", "aux.json", "a/COM1.json", "com\u00b9.json", "a.", "a ", " a", "a/ b", ".env", ".git/config", "a/.ssh/x",
    "e\u0301.txt", "a\u202eb.txt", "a\u200bb", "a" * 256, "/".join("a" * 12), "a*", "a?b", "a|b", "a<b", 'a"b', "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_hostile_path_is_refused(path):
    with pytest.raises(SpecError):
        manifest.check_path(path)


@pytest.mark.parametrize(
    "path", ["a.json", "a/b/c.safetensors", "é.txt", "a b.txt", "a (1).md", ".gitattributes", "1_Pooling/config.json"]
)
def test_an_ordinary_path_is_taken(path):
    assert manifest.check_path(path) == path


@given(st.text(max_size=40))
def test_no_accepted_path_leaves_its_folder(path):
    if not manifest.path_fault(path):
        parts = path.split("/")
        assert not {"", ".", ".."} & set(parts) and "\\" not in path and "\0" not in path


@pytest.mark.parametrize("paths", [["a.txt", "A.TXT"], ["ß", "ss"], ["a", "a/b"], ["A", "a/b/c"], ["ﬁ", "fi"]])
def test_paths_that_cannot_stand_together_are_refused(paths):
    with pytest.raises(SpecError):
        manifest.check_paths(paths)


@pytest.mark.parametrize(
    "path",
    [
        "a.safetensors",
        "config.json",
        "README.md",
        "vocab.txt",
        "LICENSE",
        "spiece.model",
        "CITATION.cff",
        "x.png",
        "b.yaml",
    ],
)
def test_a_file_of_this_kind_is_kept(path):
    manifest.allowed_path(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [("pytorch_model.bin", "can run code"), ("x.PT", "can run code"), ("a/b.pkl", "can run code"), ("w.npz", "can run code"),
     ("w.h5", "does not read"), ("a.onnx", "does not read"), ("m.py", "is code"), ("x.zip", "is an archive"), ("x.tar.gz", "is an archive"),
     ("x", "does not keep"), ("x.html", "does not keep"), ("x.bin.exe", "is code"), ("a.safetensors.index", "does not keep")],
)  # fmt: skip
def test_a_file_of_that_kind_is_refused_with_the_reason(path, words):
    with pytest.raises(SpecError, match=words):
        manifest.allowed_path(path)
