"""Names and references."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.spec import reference
from hub.spec.errors import SpecError
from hub.spec.reference import Reference

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("sentiment-bert", Reference("library", "sentiment-bert")),
        ("acme/sentiment-bert", Reference("acme", "sentiment-bert")),
        ("acme/x:1.4.0", Reference("acme", "x", "1.4.0")),
        ("acme/x:7", Reference("acme", "x", "7")),
        ("x:latest", Reference("library", "x", "latest")),
        (f"acme/x@sha256:{HEX}", Reference("acme", "x", None, HEX)),
        (f"acme/x:1@sha256:{HEX.upper()}", Reference("acme", "x", "1", HEX)),
        ("acme/x:1#german/formal", Reference("acme", "x", "1", None, "german/formal")),
        (f"acme/x:1@sha256:{HEX}#a", Reference("acme", "x", "1", HEX, "a")),
        ("  acme/x\n", Reference("acme", "x")),
    ],
)
def test_a_reference_is_read(text, parsed):
    assert reference.parse(text) == parsed


@pytest.mark.parametrize(
    "text",
    ["", "/", "/x", "acme/", "a/b/c", "x:", "x@", "x#", "x@sha256:12", f"x@md5:{HEX}", f"x@{HEX}", "x:a b", "x:-1",
     "x:" + "a" * 65, "a" * 97, "x y", "..", "../x", "a/..", "x#/etc", "x#../y", "x#a//b", "x\0", "é", "a--b", "x.git",
     "-x", "x-", "http://host/x", "x#" + "a" * 600, "x:1:2", "acme/x#a\nb"],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(SpecError) as refused:
        reference.parse(text)
    assert all(problem.message for problem in refused.value.problems)


def test_every_fault_of_a_reference_is_told():
    with pytest.raises(SpecError) as refused:
        reference.parse("-a/b-:c d")
    assert [problem.where for problem in refused.value.problems] == ["namespace", "name", "version"]


NAMES = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z_]{0,20}", fullmatch=True)


@given(NAMES, NAMES, st.none() | NAMES, st.none() | st.just(HEX), st.none() | NAMES)
def test_a_reference_survives_being_written(namespace, name, version, digest, folder):
    made = Reference(namespace, name, version, digest, folder)
    assert reference.parse(str(made)) == made


@given(st.text(max_size=60))
def test_no_text_makes_the_parser_fail_otherwise(text):
    try:
        reference.parse(text)
    except SpecError:
        return


@pytest.mark.parametrize("name", ["b0ok", "BOOK", "b-o-o-k", "b.o_ok", "bo0k"])
def test_names_that_look_alike_share_the_strong_skeleton(name):
    assert reference.skeleton_strong(name) == reference.skeleton_strong("book")


@pytest.mark.parametrize(("one", "two"), [("lily", "1i1y"), ("Il1", "lII"), ("sentiment-bert", "SENT1MENT.BERT")])
def test_l_one_and_i_look_the_same(one, two):
    assert reference.skeleton_strong(one) == reference.skeleton_strong(two)


def test_the_mild_skeleton_keeps_letters_and_digits_apart():
    assert reference.skeleton_mild("Sentiment_.-Bert") == "sentiment-bert"
    assert reference.skeleton_mild("sent1ment-bert") != reference.skeleton_mild("sentiment-bert")
    assert reference.skeleton_mild("sentimentbert") != reference.skeleton_mild("sentiment-bert")


@pytest.mark.parametrize("name", [*sorted(reference.RESERVED_NAMESPACES), "API", "ap1", "l0g1n", "D.O.C.S", "0"])
def test_a_reserved_namespace_or_its_look_alike_cannot_be_made(name):
    with pytest.raises(SpecError, match="reserved"):
        reference.check_namespace(name)


def test_an_ordinary_namespace_can_be_made():
    assert reference.check_namespace("acme-Research_1") == "acme-Research_1"


@pytest.mark.parametrize("label", ["1.4.0", "v2", "prod", "0", "a" * 64])
def test_a_label_is_taken(label):
    assert reference.check_label(label) == label


@pytest.mark.parametrize("label", ["", "latest", "LATEST", "-1", ".a", "a b", "a/b", "a" * 65, "é", "a:b"])
def test_what_is_no_label_is_refused(label):
    with pytest.raises(SpecError):
        reference.check_label(label)
