"""Which adapters fit which base models: the table is what the rules say, and levels tell nobody of what is private."""

import copy
import random
import types

import pytest
from django.db import connection

from hub.spec import compatibility
from hub.spec import components as spec
from registry import jobs
from registry.models import BaseModel, BaseRelation, Component, Content, Fit, Need, Offer, Outbox
from registry.queries import base_models as bases
from registry.queries import fits as questions
from registry.queries import grid
from registry.queries.viewers import ANYBODY, Viewer
from registry.queries.visibility import visible_adapters
from registry.services import base_models, fits, outbox
from tests.registry import adapters
from tests.registry import factories as make
from tests.registry.cast import Caller, publish

pytestmark = pytest.mark.django_db

HEX = "0123456789abcdef" * 4


def work() -> int:
    """Do what the jobs would do for all messages that wait."""
    messages = Outbox.objects.filter(kind=outbox.COMPARE)
    return sum(jobs.compare(**row.payload, something_of_a_newer_hub=1) for row in messages)


def tiny(change=None, **config) -> dict:
    """What a client sends of the tiny base model, or of one that differs from it."""
    found = adapters.tiny().to_json()
    given = {key: copy.deepcopy(found[key]) for key in ("leaves", "config", "tokenizer_digest")}
    given["config"] |= config
    if change:
        given["leaves"] = [changed for leaf in given["leaves"] if (changed := change(leaf))]
    return given


def other_values(leaf: list) -> list:
    """Other weights of the same shape."""
    return [*leaf[:3], leaf[3][::-1]]


def wider(leaf: list) -> list:
    return [leaf[0], leaf[1], [2 * size for size in leaf[2]], leaf[3]]


def without_pooler(leaf: list) -> list | None:
    return None if "pooler" in leaf[0] else leaf


def register(worker: Caller, admin: Caller, name: str, given: dict) -> BaseModel:
    """Have a worker observe a base model, and an operator name it."""
    base_models.register(viewer=Viewer(worker.user, "worker"), **given)
    return base_models.register(viewer=Viewer(admin.user, "admin"), name=name, **given)[0]


@pytest.fixture
def siblings(base, worker, admin) -> dict[str, BaseModel]:
    """The tiny base model and three that are like it: other weights, twice as wide, the same without a pooler."""
    return {
        "tiny-bert": base,
        "other-bert": register(worker, admin, "other-bert", tiny(other_values)),
        "wide-bert": register(worker, admin, "wide-bert", tiny(wider, hidden_size=64)),
        "bare-bert": register(worker, admin, "bare-bert", tiny(without_pooler)),
    }


def level(who: Caller, base: str, ref: str = "acme/tone-bert") -> str:
    """The level of one adapter on one base, asked in six ways that must agree."""
    listed = {row["ref"]: row["compatibility"] for row in who.get(f"base-models/{base}/adapters")["results"]}
    found = {row["ref"]: row["compatibility"] for row in who.get(f"adapters?base={base}")["results"]}
    assert listed == found
    one = who.get(f"base-models/{base}/matrix?adapter={ref}")["rows"][0]["cells"][0]
    pulled = who.get(f"resolve?ref={ref}&base={base}")["compatibility"]
    assert one == pulled
    if ref in listed:
        assert (listed[ref]["level"], listed[ref]["evidence"]) == (one["level"], one["evidence"])
    else:
        assert one["level"] in ("unknown", "incompatible")
        assert one["reasons"]
    column, counted = at_once(base, who.viewer)
    assert {name: cell for name, cell in column.items() if cell["level"] in questions.LEVELS} == listed
    assert column[ref]["level"] == one["level"]
    assert counted == {word: sum(cell["level"] == word for cell in listed.values()) for word in questions.LEVELS}
    return one["level"]


def at_once(base: str, viewer: Viewer) -> tuple[dict, dict]:
    """The column of a base in a matrix of all adapters, by reference, and the counts above it: found without ranks in SQL."""
    row = bases.find(base, viewer)
    assert row is not None
    target = questions.of_base(row, viewer)
    names = {one.pk: f"{one.namespace.name}/{one.name}" for one in visible_adapters(viewer).select_related("namespace")}
    (column,), (counted,) = grid.cells(names, [target], viewer), grid.counts([target], viewer)
    return {names[key]: cell for key, cell in column.items()}, counted


class TestTheTable:
    def test_it_is_what_the_rules_say(self):
        """Random needs and offers, in SQL and by `hub.spec.compatibility`."""
        draw = random.Random(7)
        paths = [f"layer.{n}.{part}" for n in range(3) for part in "qkv"]

        def sizes(kind: str) -> dict[str, int]:
            return {
                name: draw.choice((4, 8)) for name in {"linear": ("in", "out"), "embedding": ("rows", "width")}[kind]
            }

        def offer() -> dict:
            found = {
                path: sizes(draw.choice(("linear", "linear", "embedding")))
                for path in draw.sample(paths, draw.randint(1, 9))
            }
            return found | {
                "": {
                    name: draw.choice((4, 8)) for name in draw.sample(("hidden", "prefix", "vocab"), draw.randint(0, 3))
                }
            }

        def need(of: dict) -> dict:
            taken = draw.sample([path for path in of if path], draw.randint(0, len(of) - 1))
            found = {path: dict(draw.sample(sorted(of[path].items()), draw.randint(1, 2))) for path in taken}
            if draw.random() < 0.3:
                found[draw.choice(paths)] = sizes("linear")
            if draw.random() < 0.4:
                found[""] = {draw.choice(("hidden", "prefix")): draw.choice((4, 8))}
            return found

        bases = [types.SimpleNamespace(offers=offer(), modules={}, roots={}, fingerprint="") for _ in range(40)]
        parts = []
        for _ in range(150):
            wanted = need(draw.choice(bases).offers)
            part = spec.Part("m", "lora", {"w": "m.w"}, shapes={"w": (1, 1)}, needs=wanted)
            parts.append(spec.Component("", "peft", "lora", "lora", {}, "w", (part,), None, 1, 1, 0))
        rows = [(part, fits.need_of(component=part)) for part in parts]
        offers = [(base, fits.offer_of(base=base)) for base in bases]
        work()
        there = set(Fit.objects.values_list("need", "offer"))
        wanted, levels = set(), []
        for part, row in rows:
            for base, offered in offers:
                found = compatibility.check([part], base).level
                levels.append(found)
                if row is None:
                    assert found == "unknown"
                elif found == "shape_only":
                    wanted.add((row.pk, offered.pk))
        assert there == wanted
        assert min(levels.count("shape_only"), levels.count("incompatible")) > 100
        for base, offered in offers:
            own, whole = fits.split(base.offers)
            assert {(need.pk, offered.pk) for need in Need.objects.met_by(own, whole)} == {
                pair for pair in wanted if pair[1] == offered.pk
            }

    @pytest.mark.parametrize("first", ["need", "offer"])
    def test_whichever_came_last_is_compared_with_what_was_there(self, first):
        base = types.SimpleNamespace(offers={"a": {"in": 4}, "": {}})
        wants = types.SimpleNamespace(needs={"a": {"in": 4}})
        calls = [lambda: fits.need_of(component=wants), lambda: fits.offer_of(base=base)]
        for call in calls if first == "need" else reversed(calls):
            call()
            work()
        assert Fit.objects.count() == 1
        assert work() == 0

    def test_the_same_need_is_one_row_and_asks_for_one_comparison(self):
        wants = types.SimpleNamespace(needs={"a": {"in": 4}, "": {"hidden": 4}})
        assert fits.need_of(component=wants) == fits.need_of(component=types.SimpleNamespace(needs=dict(wants.needs)))
        assert Outbox.objects.filter(kind=outbox.COMPARE).count() == 1
        assert fits.need_of(component=types.SimpleNamespace(needs={})) is None

    def test_a_comparison_that_is_killed_is_begun_again_and_gives_the_same(self, monkeypatch):
        fits.offer_of(base=types.SimpleNamespace(offers={"a": {"in": 4}, "": {}}))
        work()
        row = fits.need_of(component=types.SimpleNamespace(needs={"a": {"in": 4}}))

        def killed() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(fits, "Now", killed)  # after the cells were written
        with pytest.raises(KeyboardInterrupt):
            fits.compare(digest=row.digest)
        assert not Fit.objects.exists()
        monkeypatch.undo()
        assert fits.compare(digest=row.digest)
        assert not fits.compare(digest=row.digest)
        assert Fit.objects.count() == 1

    def test_a_need_whose_message_was_lost_waits_for_the_relay(self, settings):
        row = fits.need_of(component=types.SimpleNamespace(needs={"a": {"in": 4}}))
        assert fits.waiting(0, 10) == [row.digest]
        assert fits.waiting(60, 10) == []
        fits.compare(digest=row.digest)
        assert fits.waiting(0, 10) == []

    def test_a_digest_that_means_nothing_is_passed_over(self):
        assert jobs.compare(digest=HEX) is False

    def test_what_an_earlier_edition_did_not_note_is_derived_once(self, published, base):
        kept = Component.objects.get().need_id
        assert kept
        Component.objects.update(need=None)
        BaseModel.objects.update(offer=None)
        Content.objects.all().delete()
        found = fits.note_missing()
        assert (found["base models"], found["components"], found["weights files"]) == (1, 1, 1)
        assert Component.objects.get().need_id == kept
        assert BaseModel.objects.get(pk=base.pk).offer_id
        assert Fit.objects.count() == 1
        assert set(fits.note_missing().values()) == {0}

    def test_what_an_earlier_edition_could_not_tell_is_read_from_the_files(self, published):
        row = Component.objects.get()
        kept, facts = row.need_id, row.facts
        for part in facts["component"]["parts"]:
            part["needs"] = {}
        Component.objects.update(need=None, facts=facts | {"component": facts["component"] | {"head": None}})
        assert fits.note_missing()["components"] == 1
        assert Component.objects.get().need_id == kept
        assert fits.note_missing()["components"] == 0

    def test_the_index_finds_offers_and_probes_find_needs(self):
        for _ in range(3):
            make.make_offer(modules={"a": {"in": 4}})
            make.make_need(modules={"a": {"in": 4}}, probe="a in 4")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        assert "need_by_probe" in Need.objects.met_by({"a": {"in": 4}}, {}).explain()
        assert "offer_by_modules" in Offer.objects.filter(modules__contains={"a": {"in": 4}}).explain()


class TestLevels:
    def test_it_is_validated_where_it_passed_and_fits_by_shape_elsewhere(self, published, siblings, anybody):
        work()
        assert level(anybody, "tiny-bert") == "validated"
        assert level(anybody, "other-bert") == "shape_only"
        assert level(anybody, "wide-bert") == "incompatible"

    def test_another_pooler_does_not_matter_where_the_backbone_is_the_same(self, published, siblings, anybody):
        work()
        assert siblings["bare-bert"].architecture == siblings["tiny-bert"].architecture
        assert siblings["bare-bert"].offer_id != siblings["tiny-bert"].offer_id
        assert level(anybody, "bare-bert") == "validated"

    def test_the_evidence_is_the_report_of_the_run(self, published, siblings, anybody):
        work()
        found = anybody.get("base-models/tiny-bert/adapters")["results"][0]["compatibility"]
        assert found["evidence"]["base_model"]["name"] == "tiny-bert"
        assert anybody.get(found["evidence"]["report_url"])["verdict"] == "passed"
        other = anybody.get("base-models/other-bert/adapters")["results"][0]["compatibility"]
        assert (other["level"], other["evidence"]) == ("shape_only", None)

    def test_before_it_was_compared_nothing_is_claimed(self, published, siblings, anybody):
        assert anybody.get("base-models/tiny-bert/adapters")["results"][0]["compatibility"]["level"] == "validated"
        assert anybody.get("base-models/other-bert/adapters")["results"] == []
        assert _cell(anybody, "other-bert") is None

    @pytest.mark.parametrize("way", ["this is a cast of it", "it is a cast of this"])
    def test_a_copy_in_another_format_has_the_same_values(self, published, siblings, anybody, way):
        work()
        one, two = siblings["tiny-bert"], siblings["other-bert"]
        holder, cast = (two, one) if way == "this is a cast of it" else (one, two)
        holder.cast_roots = {"bf16": {"root": HEX, "backbone": cast.roots["backbone"]}, "odd": "nonsense"}
        holder.cast_roots_by = "worker"
        holder.save()
        assert level(anybody, "other-bert") == "same_values"
        found = anybody.get("base-models/other-bert/adapters")["results"][0]["compatibility"]
        assert found["evidence"]["base_model"]["name"] == "tiny-bert"

    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize(
        ("kind", "wanted"), [("derived", "derived"), ("quantised", "derived"), ("same_values", "same_values")]
    )
    def test_kin_that_was_observed_counts_both_ways(self, published, siblings, anybody, kind, wanted, turned):
        work()
        pair = [siblings["other-bert"], siblings["tiny-bert"]]
        parent, child = reversed(pair) if turned else pair
        make.make_base_relation(base=child, parent=parent, kind=kind)
        assert level(anybody, "other-bert") == wanted

    def test_kin_that_is_only_claimed_counts_for_nothing(self, published, siblings, anybody):
        work()
        make.make_base_relation(base=siblings["other-bert"], parent=siblings["tiny-bert"], state="claimed")
        assert level(anybody, "other-bert") == "shape_only"

    def test_kin_whose_tensors_clash_stays_incompatible(self, published, siblings, anybody):
        work()
        make.make_base_relation(base=siblings["wide-bert"], parent=siblings["tiny-bert"])
        assert level(anybody, "wide-bert") == "incompatible"

    def test_the_best_level_comes_first_and_then_the_best_score(self, published, siblings, owner, anybody):
        shown = {"benchmarks": ["acme/tone"]}
        publish(owner, "acme/also-tiny", adapters.lora(value=0.2, hub=shown))
        publish(owner, "acme/for-other", adapters.lora(value=0.3, hub=shown | {"base": "other-bert"}))
        work()
        order = [row["name"] for row in anybody.get("base-models/other-bert/adapters")["results"]]
        assert order[0] == "for-other"
        assert set(order[1:]) == {"also-tiny", "tone-bert"}
        only = anybody.get("base-models/other-bert/adapters?level=shape_only")["results"]
        assert {row["name"] for row in only} == {"also-tiny", "tone-bert"}
        named = [row["name"] for row in anybody.get("adapters?base=other-bert&sort=name")["results"]]
        assert named == ["for-other", "also-tiny", "tone-bert"]

    @pytest.mark.parametrize("sort", ["recent", "score", "name"])
    def test_pages_go_through_all_levels_once(self, published, siblings, owner, anybody, sort):
        for n in range(3):
            publish(owner, f"acme/tiny-{n}", adapters.lora(value=0.2 + n / 100))
            publish(owner, f"acme/other-{n}", adapters.lora(value=0.3 + n / 100, hub={"base": "other-bert"}))
        work()
        found, address = [], f"adapters?base=other-bert&limit=2&sort={sort}"
        while address:
            page = anybody.get(address)
            found += [(row["compatibility"]["level"], row["name"]) for row in page["results"]]
            address = page["next"]
        assert len(found) == len(set(found)) == 7
        assert [one for one, _ in found] == ["validated"] * 3 + ["shape_only"] * 4

    def test_what_was_published_for_a_base_without_a_verdict_comes_before_what_happens_to_fit(
        self, siblings, owner, anybody, settings
    ):
        settings.HUB_VALIDATION = "off"
        publish(owner, "acme/a", adapters.lora(value=0.2, hub={"base": "other-bert"}))
        publish(owner, "acme/b", adapters.lora(value=0.3))
        work()
        rows = anybody.get("adapters?base=other-bert")["results"]
        assert [(row["name"], row["compatibility"]["level"]) for row in rows] == [
            ("a", "shape_only"),
            ("b", "shape_only"),
        ]
        assert level(anybody, "other-bert", "acme/a") == level(anybody, "other-bert", "acme/b") == "shape_only"

    @pytest.mark.parametrize("address", ["base-models/no/such/adapters", "base-models/no/such/matrix"])
    def test_a_base_that_is_not_there_is_missing(self, anybody, address):
        assert anybody.get(address).status == 404

    def test_a_level_that_means_nothing_is_refused(self, base, anybody):
        answer = anybody.get("base-models/tiny-bert/adapters?level=perfect")
        assert (answer.status, "shape_only" in answer["hint"]) == (400, True)


def _cell(who: Caller, base: str):
    """The evidence of the one cell that a list would show."""
    rows = who.get(f"base-models/{base}/adapters")["results"]
    return rows[0]["compatibility"]["evidence"] if rows else None


class TestTheMatrix:
    def test_its_columns_are_the_base_and_its_kin(self, published, siblings, anybody):
        make.make_base_relation(base=siblings["other-bert"], parent=siblings["tiny-bert"])
        work()
        found = anybody.get("base-models/tiny-bert/matrix")
        columns = {column["base_model"]["name"]: column for column in found["columns"]}
        assert {name: column["relation"] for name, column in columns.items()} == {
            "tiny-bert": "itself",
            "bare-bert": "same_backbone",
            "other-bert": "derived",
        }
        assert columns["tiny-bert"]["counts"] == {"validated": 1, "same_values": 0, "derived": 0, "shape_only": 0}
        assert columns["other-bert"]["counts"]["derived"] == 1
        (row,) = found["rows"]
        assert (row["adapter"], [cell["level"] for cell in row["cells"]]) == (
            "acme/tone-bert",
            ["validated", "validated", "derived"],
        )

    def test_a_clash_is_told_with_its_tensors_where_one_adapter_is_asked_for(self, published, siblings, anybody):
        work()
        make.make_base_relation(base=siblings["wide-bert"], parent=siblings["tiny-bert"])
        cells = anybody.get("base-models/tiny-bert/matrix")["rows"][0]["cells"]
        assert [(cell["level"], cell["reasons"]) for cell in cells][-1] == ("incompatible", [])
        told = anybody.get("base-models/wide-bert/matrix?adapter=acme/tone-bert")["rows"][0]["cells"][0]
        assert "needs input width 32" in " ".join(told["reasons"])


class TestWhoSeesWhat:
    def test_a_private_run_of_the_same_bytes_proves_nothing_to_a_stranger(
        self, published, siblings, owner, member, stranger, anybody
    ):
        """The same bytes, pushed in private for another base: only members learn that they passed there."""
        files = adapters.lora(hub={"benchmarks": ["acme/tone"]})
        owner.post("base-models", {**tiny(other_values), "name": "acme/their-base"})
        publish(owner, "acme/secret", files, private=True)
        secret = publish(owner, "acme/secret", adapters.lora(hub={"base": "other-bert"}), private=True)
        public = published.adapter
        # the public one shows the very bytes that passed in private on the other base
        public.adapter_digest, public.digest = secret.adapter_digest, secret.digest
        public.save(update_fields=["adapter_digest", "digest"])
        work()
        for who, seen in (
            (member, "validated"),
            (owner, "validated"),
            (stranger, "shape_only"),
            (anybody, "shape_only"),
        ):
            rows = {row["ref"]: row["compatibility"] for row in who.get("base-models/other-bert/adapters")["results"]}
            assert rows["acme/tone-bert"]["level"] == seen
            assert ("acme/secret" in rows) == (seen == "validated")
            counts = who.get("base-models/other-bert/matrix")["columns"][0]["counts"]
            assert counts["validated"] == (2 if seen == "validated" else 0)

    def test_a_private_base_is_no_column_no_proposal_and_no_relation(
        self, published, siblings, owner, member, stranger, anybody
    ):
        work()
        hidden = siblings["other-bert"]
        BaseModel.objects.filter(pk=hidden.pk).update(visibility="private", owner=published.adapter.namespace)
        make.make_base_relation(base=hidden, parent=siblings["tiny-bert"])
        asked = tiny(other_values)
        del asked["tokenizer_digest"]
        for who, seen in ((owner, True), (member, True), (stranger, False), (anybody, False)):
            names = [column["base_model"]["name"] for column in who.get("base-models/tiny-bert/matrix")["columns"]]
            assert ("other-bert" in names) == seen
            relations = who.get("base-models/tiny-bert")["relations"]
            assert bool(relations) == seen
            known = [base["base_model"]["fingerprint"] for base in who.post("compat/check", asked)["known"]]
            assert (hidden.pk in known) == seen
            assert (who.get(f"base-models/{hidden.pk}/adapters").status == 200) == seen

    def test_a_private_adapter_is_found_by_its_members_only(
        self, base, owner, member, reader, stranger, anybody, worker
    ):
        publish(owner, "acme/secret", adapters.lora(), private=True)
        work()
        for who in (owner, member, reader):
            assert [row["ref"] for row in who.get("base-models/tiny-bert/adapters")["results"]] == ["acme/secret"]
        for who in (stranger, anybody, worker):
            assert who.get("base-models/tiny-bert/adapters")["results"] == []


class TestTheBasesOfAVersion:
    def test_they_come_best_first_with_their_evidence(self, published, siblings, anybody):
        work()
        rows = anybody.get("adapters/acme/tone-bert/versions/1/fits")["results"]
        assert [(row["base_model"]["name"], row["compatibility"]["level"]) for row in rows] == [
            ("tiny-bert", "validated"),
            ("bare-bert", "validated"),
            ("other-bert", "shape_only"),
        ]
        assert rows[0]["compatibility"]["evidence"]["ref"] == "acme/tone-bert:1"
        assert rows[-1]["compatibility"]["evidence"] is None

    def test_a_private_base_is_its_members_own_business(self, published, siblings, member, stranger):
        work()
        hidden = siblings["other-bert"]
        BaseModel.objects.filter(pk=hidden.pk).update(visibility="private", owner=published.adapter.namespace)
        for who, seen in ((member, True), (stranger, False)):
            rows = who.get("adapters/acme/tone-bert/versions/1/fits")["results"]
            assert (hidden.pk in [row["base_model"]["fingerprint"] for row in rows]) == seen


class TestADescribedBase:
    def test_shapes_without_hashes_find_what_fits(self, published, siblings, anybody):
        work()
        given = tiny()
        table = [leaf[:3] for leaf in given["leaves"]]
        found = anybody.post("compat/check", {"tensors": table, "config": given["config"]})
        assert found["fingerprint"] is None
        assert [(row["ref"], row["compatibility"]["level"]) for row in found["results"]] == [
            ("acme/tone-bert", "shape_only")
        ]
        assert {base["equal"] for base in found["known"]} == {"architecture"}
        assert siblings["wide-bert"].pk not in [base["base_model"]["fingerprint"] for base in found["known"]]

    def test_with_hashes_the_very_weights_are_known_again(self, published, siblings, anybody):
        work()
        given = tiny()
        found = anybody.post("compat/check", {"leaves": given["leaves"], "config": given["config"]})
        assert found["fingerprint"] == siblings["tiny-bert"].pk
        assert found["results"][0]["compatibility"]["level"] == "validated"
        assert [base["equal"] for base in found["known"]] == ["weights", "backbone", "architecture"]

    def test_a_base_that_nobody_registered_has_a_validated_backbone_all_the_same(self, published, base, anybody):
        work()
        given = tiny(without_pooler)
        found = anybody.post("compat/check", {"leaves": given["leaves"], "config": given["config"]})
        assert found["results"][0]["compatibility"]["level"] == "validated"
        assert BaseModel.objects.count() == 1, "nothing is kept"

    def test_words_and_a_benchmark_narrow_what_fits_whether_the_base_is_registered_or_not(
        self, published, base, owner, anybody
    ):
        publish(owner, "acme/other", adapters.lora(value=0.5))
        work()
        unknown = tiny(without_pooler)
        asked = {"leaves": unknown["leaves"], "config": unknown["config"]}
        for given, names in (
            ({}, {"acme/tone-bert", "acme/other"}),
            ({"q": "other"}, {"acme/other"}),
            ({"q": "nowhere"}, set()),
            ({"benchmark": "no/such"}, set()),
            ({"sort": "size"}, {"acme/tone-bert", "acme/other"}),
        ):
            words = "&".join(f"{key}={value}" for key, value in given.items())
            found = anybody.get(f"base-models/tiny-bert/adapters?{words}")["results"]
            assert {row["ref"] for row in found} == names
            assert {row["ref"] for row in anybody.post("compat/check", asked | given)["results"]} == names
        assert anybody.post("compat/check", asked | {"sort": "luck"}).status == 422
        assert anybody.get("base-models/tiny-bert/adapters?sort=luck").status == 400

    def test_one_adapter_is_told_every_clash(self, published, base, anybody):
        given = tiny(wider, hidden_size=64)
        asked = {
            "tensors": [leaf[:3] for leaf in given["leaves"]],
            "config": given["config"],
            "adapter": "acme/tone-bert",
        }
        (row,) = anybody.post("compat/check", asked)["results"]
        assert row["compatibility"]["level"] == "incompatible"
        assert len(row["compatibility"]["reasons"]) >= 4

    @pytest.mark.parametrize(
        "body",
        [
            {"config": {}},
            {"config": {}, "tensors": []},
            {"config": {}, "tensors": [["a", "F32"]]},
            {"config": {}, "tensors": [["a", "F32", [1], "0" * 64]], "leaves": []},
            {"config": {}, "tensors": {"a": 1}},
            {"config": {}, "tensors": [["a", "F32", [-1]]]},
            {"config": {}, "leaves": [["a", "F32", [1]]]},
        ],
    )
    def test_what_is_no_table_of_tensors_is_refused_with_a_hint(self, anybody, body):
        answer = anybody.post("compat/check", body)
        assert (answer.status, answer["code"]) == (422, "invalid")
        assert answer["hint"]


class TestByHash:
    def test_every_digest_of_a_version_leads_to_it(self, published, anybody):
        files = {file.path: file.blob_id for file in published.manifest.files.all()}
        weights = files["adapter_model.safetensors"]
        content = Content.objects.get(blob=weights).digest
        for digest, kind, path in (
            (published.digest, "manifest", None),
            (published.adapter_digest, "adapter", None),
            (files["README.md"], "file", "README.md"),
            (weights, "file", "adapter_model.safetensors"),
            (content, "tensors", "adapter_model.safetensors"),
        ):
            for written in (digest, f"sha256:{digest}"):
                (row,) = anybody.get(f"by-hash/{written}")["results"]
                assert (row["kind"], row["path"], row["adapter"], row["version"]["number"]) == (
                    kind,
                    path,
                    "acme/tone-bert",
                    1,
                )

    def test_the_same_tensors_under_another_header_are_found_together(self, published, owner, anybody):
        turned = dict(reversed(adapters.lora_tensors().items()))
        other = publish(owner, "acme/again", adapters.lora(weights=adapters.safetensors(turned)))
        digests = {Content.objects.get(blob__manifest_files__manifest=row.digest).digest for row in (published, other)}
        (digest,) = digests
        found = anybody.get(f"by-hash/{digest}")["results"]
        assert {row["adapter"] for row in found} == {"acme/again", "acme/tone-bert"}

    def test_what_nobody_has_and_what_is_no_digest(self, published, anybody):
        assert anybody.get(f"by-hash/{HEX}").status == 404
        assert anybody.get("by-hash/abc").status == 400

    def test_a_version_that_was_refused_is_its_namespaces_own(self, published, owner, reader, stranger):
        owner.push("acme/tone-bert", adapters.lora(value=0.5, config={"peft_type": "TELEPATHY"}))
        refused = published.adapter.versions.get(number=2)
        assert reader.get(f"by-hash/{refused.digest}").status == 200
        assert stranger.get(f"by-hash/{refused.digest}").status == 404


class TestRelations:
    @pytest.fixture
    def theirs(self, owner, base) -> str:
        """A base model that Ada registered for acme."""
        return owner.post("base-models", {**tiny(other_values), "name": "acme/tuned"})["fingerprint"]

    def say(self, who: Caller, **more):
        return who.post("base-models/acme/tuned/relations", {"parent": "tiny-bert", "kind": "derived", **more})

    def test_who_registered_a_base_claims_what_it_comes_from(self, theirs, owner, anybody):
        answer = self.say(owner)
        assert answer.status == 201
        (relation,) = answer["relations"]
        assert (relation["kind"], relation["direction"], relation["state"]) == ("derived", "parent", "claimed")
        assert (relation["base_model"]["name"], relation["claimed_by"]) == ("tiny-bert", "ada")
        (back,) = anybody.get("base-models/tiny-bert")["relations"]
        assert (back["direction"], back["base_model"]["fingerprint"]) == ("child", theirs)
        assert self.say(owner).status == 200
        assert BaseRelation.objects.count() == 1

    def test_a_member_of_the_namespace_that_owns_a_base_claims_and_a_reader_does_not(self, theirs, member, reader):
        BaseModel.objects.filter(pk=theirs).update(owner=member.user.memberships.get(namespace__name="acme").namespace)
        assert self.say(reader).status == 403
        assert self.say(member).status == 201

    def test_a_stranger_says_nothing(self, theirs, stranger, anybody):
        assert self.say(stranger).status == 403
        assert self.say(anybody).status == 401
        assert not BaseRelation.objects.exists()

    @pytest.mark.parametrize("who", ["admin", "worker"])
    def test_what_operators_and_workers_say_is_observed_and_stays_so(self, request, theirs, owner, who):
        self.say(owner)
        assert self.say(request.getfixturevalue(who))["relations"][0]["state"] == "observed"
        assert self.say(owner)["relations"][0]["state"] == "observed"

    def test_what_cannot_be_is_refused(self, theirs, owner):
        assert self.say(owner, kind="cousin").status == 422
        assert self.say(owner, parent="acme/tuned").status == 422
        assert self.say(owner, parent="no/such").status == 404

    def test_no_name_ends_like_a_route(self, owner, base):
        for word in ("adapters", "matrix", "relations"):
            assert owner.post("base-models", {**tiny(other_values), "name": f"acme/{word}"}).status == 422


def test_a_base_whose_configuration_was_only_claimed_offers_what_the_worker_saw(owner, worker):
    claimed = owner.post("base-models", tiny(hidden_size=999))["fingerprint"]
    before = BaseModel.objects.get(pk=claimed).offer
    worker.post("base-models", tiny())
    after = BaseModel.objects.get(pk=claimed).offer
    assert (before.whole["hidden"], after.whole["hidden"]) == (999, 32)


def test_what_fits_costs_the_same_few_queries_whatever_its_length(
    published, siblings, owner, django_assert_max_num_queries
):
    for n in range(4):
        publish(owner, f"acme/tiny-{n}", adapters.lora(value=0.2 + n / 100))
    work()
    from registry.queries import search

    with django_assert_max_num_queries(24):
        found = search.search(search.SearchQuery(base="other-bert"), ANYBODY)
    assert len(found.results) == 5
    targets = [questions.of_base(base, ANYBODY) for base in siblings.values()]
    with django_assert_max_num_queries(4 + 3):  # and one for each offer: two of the bases offer the same
        counted = grid.counts(targets, ANYBODY)
    assert [found["shape_only"] for found in counted] == [0, 5, 0, 0]
    assert [found["validated"] for found in counted] == [5, 0, 0, 5]
