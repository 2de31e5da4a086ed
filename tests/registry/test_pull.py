"""Pulling over the API: resolve, files, ranges; and yanking."""

import base64
import hashlib

import pytest

from registry.models import Adapter, Alias, Version
from registry.services import adapters as services
from tests.registry import adapters
from tests.registry.cast import Caller, caller, publish

pytestmark = pytest.mark.django_db

GOOD = {"benchmarks": ["acme/tone"]}
FILE = "adapters/acme/tone-bert/versions/1/files/adapter_model.safetensors"


class TestResolve:
    def test_one_call_gives_everything_that_a_pull_needs(self, anybody: Caller, published: Version) -> None:
        found = anybody.get("resolve?ref=acme/tone-bert")
        assert found.status == 200
        assert found.headers["X-Resolved-Digest"] == found["digest"] == f"sha256:{published.digest}"
        assert found["ref"] == f"acme/tone-bert:1@sha256:{published.digest}"
        assert found["base_model"]["name"] == "tiny-bert"
        assert found["base_model"]["locations"][0]["name"] == "tiny-bert"
        assert found["task"] == "text-classification"
        for file in found["files"]:
            data = base64.b64decode(file["inline"]) if file["inline"] else anybody.get(file["url"]).body
            assert hashlib.sha256(data).hexdigest() == file["sha256"]
            assert anybody.get(file["url"]).body == data

    def test_large_files_are_not_sent_inline(self, anybody: Caller, published: Version, settings) -> None:
        settings.HUB_INLINE_FILE_BYTES = 500
        inline = {file["path"]: file["inline"] for file in anybody.get("resolve?ref=acme/tone-bert")["files"]}
        assert inline["adapter_model.safetensors"] is None
        assert inline["hub.json"]

    def test_a_pull_is_counted(self, anybody: Caller, published: Version) -> None:
        anybody.get("resolve?ref=acme/tone-bert")
        anybody.get("resolve?ref=acme/tone-bert")
        assert Adapter.objects.get().pulls == 0
        assert [services.count_pulls(), services.count_pulls()] == [2, 0]
        assert Adapter.objects.get().pulls == 2

    @pytest.mark.parametrize("version", ["1", "latest", "prod", "sha256:{digest}"])
    def test_a_version_goes_by_number_alias_latest_and_digest(
        self, anybody: Caller, published: Version, version: str
    ) -> None:
        Alias.objects.create(adapter=published.adapter, name="prod", version=published)
        version = version.format(digest=published.digest)
        ref = f"acme/tone-bert@{version}" if version.startswith("sha256:") else f"acme/tone-bert:{version}"
        assert anybody.get(f"resolve?ref={ref}")["digest"] == f"sha256:{published.digest}"
        assert anybody.get(f"adapters/acme/tone-bert/versions/{version}")["number"] == 1

    def test_a_version_and_a_digest_that_disagree_are_refused(self, anybody: Caller, published: Version) -> None:
        answer = anybody.get(f"resolve?ref=acme/tone-bert:1@sha256:{'0' * 64}")
        assert (answer.status, answer["code"]) == (409, "digest_mismatch")

    def test_latest_is_the_highest_published_number(self, owner: Caller, anybody: Caller, published: Version) -> None:
        publish(owner, "acme/tone-bert", adapters.lora(hub=GOOD, value=0.02), version="2.0")
        owner.push("acme/tone-bert", adapters.lora(hub=GOOD, value=0.03))
        assert anybody.get("resolve?ref=acme/tone-bert")["version"] == "2.0"
        assert anybody.get("adapters/acme/tone-bert")["latest"]["version"] == "2.0"

    def test_latest_is_never_hosted_where_something_was_validated(
        self, owner: Caller, anybody: Caller, published: Version, settings
    ) -> None:
        settings.HUB_VALIDATION = "off"
        assert owner.push("acme/tone-bert", adapters.lora(value=0.5))["status"] == "hosted"
        assert anybody.get("resolve?ref=acme/tone-bert")["version"] == "1"
        assert anybody.get("resolve?ref=acme/tone-bert:2")["status"] == "hosted"

    def test_a_bare_name_is_the_librarys(self, admin: Caller, anybody: Caller, base) -> None:
        publish(admin, "library/tone-bert", adapters.lora())
        assert anybody.get("resolve?ref=tone-bert")["namespace"] == "library"

    def test_a_bare_name_never_falls_through_to_others(self, anybody: Caller, published: Version) -> None:
        assert anybody.get("resolve?ref=tone-bert").status == 404

    def test_a_folder_names_one_adapter_of_several(self, anybody: Caller, published: Version) -> None:
        answer = anybody.get("resolve?ref=acme/tone-bert%23other")
        assert answer.status == 404
        assert "(root)" in answer["hint"]

    def test_members_are_told_that_a_version_is_not_published(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora())
        answer = owner.get("resolve?ref=acme/tone-bert:1")
        assert (answer.status, answer["code"]) == (409, "not_published")

    @pytest.mark.parametrize("ref", ["", "a/b/c", "@", "x:", "x@sha256:12", "x%23", "%00", "x" * 600])
    def test_what_is_no_reference_is_told(self, anybody: Caller, published: Version, ref: str) -> None:
        assert anybody.get(f"resolve?ref={ref}").status == 400


class TestCompatibility:
    def test_the_base_that_it_passed_on_is_validated(self, anybody: Caller, published: Version) -> None:
        for name in ("tiny-bert", published.base_fingerprint):
            verdict = anybody.get(f"resolve?ref=acme/tone-bert&base={name}")["compatibility"]
            assert verdict["level"] == "validated"

    def test_a_base_of_another_shape_is_incompatible_by_name(
        self, admin: Caller, anybody: Caller, published: Version
    ) -> None:
        tiny = adapters.tiny().to_json()
        wider = [[n, d, [2 * s for s in shape], h] for n, d, shape, h in tiny["leaves"]]
        body = {"leaves": wider, "config": tiny["config"] | {"hidden_size": 64}, "name": "wide-bert"}
        assert admin.post("base-models", body).status == 201
        verdict = anybody.get("resolve?ref=acme/tone-bert&base=wide-bert")["compatibility"]
        assert verdict["level"] == "incompatible"
        assert "query" in verdict["reasons"][0]

    def test_a_base_that_nobody_knows_is_unknown(self, anybody: Caller, published: Version) -> None:
        verdict = anybody.get("resolve?ref=acme/tone-bert&base=no/such")["compatibility"]
        assert verdict["level"] == "unknown"


class TestFiles:
    def test_a_file_comes_as_an_attachment_that_no_browser_runs(self, anybody: Caller, published: Version) -> None:
        answer = anybody.get(FILE)
        assert hashlib.sha256(answer.body).hexdigest() == answer.headers["ETag"].strip('"')
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["X-Resolved-Digest"] == f"sha256:{published.digest}"

    @pytest.mark.parametrize(
        ("asked", "start", "end"),
        [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-7", -7, None), ("bytes=5-999999", 5, None)],
    )
    def test_a_part_is_served(
        self, anybody: Caller, published: Version, asked: str, start: int, end: int | None
    ) -> None:
        whole = anybody.get(FILE).body
        part = anybody.get(FILE, headers={"Range": asked})
        assert part.status == 206
        body = part.body
        assert body == whole[start:end]
        first = start if start >= 0 else len(whole) + start
        assert part.headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(whole)}"
        assert part.headers["Content-Length"] == str(len(body))

    @pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=9-2", "lines=1-2", "bytes=x-"])
    def test_what_is_no_single_range_gives_the_whole(self, anybody: Caller, published: Version, asked: str) -> None:
        assert anybody.get(FILE, headers={"Range": asked}).status == 200

    @pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=-0"])
    def test_a_range_behind_the_end_is_told(self, anybody: Caller, published: Version, asked: str) -> None:
        answer = anybody.get(FILE, headers={"Range": asked})
        assert answer.status == 416
        assert answer.headers["Content-Range"].startswith("bytes */")

    def test_a_range_is_ignored_where_the_file_is_another(self, anybody: Caller, published: Version) -> None:
        etag = anybody.get(FILE).headers["ETag"]
        same = {"Range": "bytes=0-9", "If-Range": etag}
        other = {"Range": "bytes=0-9", "If-Range": '"other"'}
        assert anybody.get(FILE, headers=same).status == 206
        assert anybody.get(FILE, headers=other).status == 200

    def test_who_has_it_gets_nothing(self, anybody: Caller, published: Version) -> None:
        etag = anybody.get(FILE).headers["ETag"]
        for header in (etag, f'"x", {etag}', "*", f"W/{etag}"):
            answer = anybody.get(FILE, headers={"If-None-Match": header})
            assert (answer.status, answer.body) == (304, b"")
        assert anybody.get(FILE, headers={"If-None-Match": '"x"'}).status == 200

    def test_head_gives_the_headers_only(self, anybody: Caller, published: Version) -> None:
        whole, head = anybody.get(FILE), anybody.head(FILE)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]
        assert head.headers["ETag"] == whole.headers["ETag"]

    def test_only_what_is_pinned_by_digest_may_be_kept_for_long(self, anybody: Caller, published: Version) -> None:
        pinned = f"adapters/acme/tone-bert/versions/sha256:{published.digest}/files/README.md"
        assert "immutable" in anybody.get(pinned).headers["Cache-Control"]
        assert "immutable" not in anybody.get(FILE).headers["Cache-Control"]

    @pytest.mark.parametrize("path", ["nothing.json", "../../../../etc/passwd", "%2e%2e/x", "README.md/x"])
    def test_a_file_that_is_not_in_the_version_is_missing(self, anybody: Caller, published: Version, path: str) -> None:
        assert anybody.get(f"adapters/acme/tone-bert/versions/1/files/{path}").status == 404

    def test_every_address_that_is_given_leads_to_its_file(
        self, owner: Caller, anybody: Caller, base, benchmark
    ) -> None:
        notes = {"notes #1, 100%.txt": b"a", "a+b & c.txt": b"b"}
        publish(owner, "acme/odd", adapters.lora(hub={"benchmarks": ["acme/tone"]}) | notes)
        files = anybody.get("adapters/acme/odd/versions/1")["files"]
        assert {file["path"] for file in files} >= set(notes)
        for file in files:
            assert anybody.get(file["url"].removeprefix("/api/v1/")).status == 200, file


class TestYank:
    def yank(self, who: Caller) -> object:
        return who.post("adapters/acme/tone-bert/versions/1/yank", {"reason": "labels swapped"})

    def test_a_yanked_version_is_told_to_who_asks_for_it(self, owner: Caller, anybody: Caller, published) -> None:
        assert self.yank(owner).status == 200
        answer = anybody.get("resolve?ref=acme/tone-bert:1")
        assert (answer.status, answer["code"]) == (410, "yanked")
        assert "labels swapped" in answer["detail"]
        assert f"@sha256:{published.digest}" in answer["hint"]

    def test_a_yanked_version_is_still_pulled_by_digest(self, owner: Caller, anybody: Caller, published) -> None:
        self.yank(owner)
        for ref in (f"acme/tone-bert@sha256:{published.digest}", f"acme/tone-bert:1@sha256:{published.digest}"):
            found = anybody.get(f"resolve?ref={ref}")
            assert found.status == 200
            assert found["yanked"]["reason"] == "labels swapped"
        assert anybody.get(FILE).status == 200

    def test_latest_passes_a_yanked_version_by(self, owner: Caller, anybody: Caller, published) -> None:
        publish(owner, "acme/tone-bert", adapters.lora(hub=GOOD, value=0.02))
        owner.post("adapters/acme/tone-bert/versions/2/yank", {"reason": "worse"})
        assert anybody.get("resolve?ref=acme/tone-bert")["version"] == "1"

    def test_where_all_are_yanked_latest_says_so(self, owner: Caller, anybody: Caller, published) -> None:
        self.yank(owner)
        assert anybody.get("resolve?ref=acme/tone-bert")["code"] == "yanked"

    def test_a_yank_can_be_taken_back_and_repeated(self, owner: Caller, anybody: Caller, published) -> None:
        self.yank(owner)
        self.yank(owner)
        for _ in range(2):
            assert owner.post("adapters/acme/tone-bert/versions/1/unyank").status == 200
        assert anybody.get("resolve?ref=acme/tone-bert").status == 200

    def test_a_member_may_yank(self, member: Caller, published) -> None:
        assert self.yank(member).status == 200

    def test_a_stranger_cannot_yank(self, stranger: Caller, anybody: Caller, published) -> None:
        assert self.yank(stranger).status == 403
        assert self.yank(anybody).status == 401
        published.refresh_from_db()
        assert published.yanked_at is None

    def test_a_reason_is_needed(self, owner: Caller, published) -> None:
        assert owner.post("adapters/acme/tone-bert/versions/1/yank", {"reason": " "}).status == 422
        assert owner.post("adapters/acme/tone-bert/versions/1/yank").status == 422

    def test_what_was_never_published_cannot_be_yanked(self, owner: Caller, base) -> None:
        owner.push("acme/tone-bert", adapters.lora())
        assert self.yank(owner).status == 409


def test_the_readme_and_the_versions_are_on_the_adapter(anybody: Caller, published: Version) -> None:
    found = anybody.get("adapters/acme/tone-bert")
    assert found["readme"].startswith("# Tiny")
    assert [version["ref"] for version in found["versions"]] == ["acme/tone-bert:1"]


def test_versions_come_in_pages(owner: Caller, published: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.queries import versions

    monkeypatch.setattr(versions, "PAGE", 2)
    for _ in range(4):
        owner.push("acme/tone-bert", adapters.lora(hub=GOOD))
    numbers, following = [], "/api/v1/adapters/acme/tone-bert/versions"
    while following:
        page = owner.get(following)
        numbers.append([version["number"] for version in page["results"]])
        following = page["next"]
    assert numbers == [[5, 4], [3, 2], [1]]


def test_a_new_hub_has_no_adapters(db) -> None:
    assert caller("first").get("adapters").json == {"results": [], "next": None}
