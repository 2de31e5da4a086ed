"""Adapters (the repositories), their history, and what stays of a name that is gone."""

import re
from typing import Self

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db import models
from django.db.models import CheckConstraint, F, GeneratedField, Index, Q, UniqueConstraint, Value
from django.db.models.expressions import CombinedExpression
from django.utils import timezone

from registry.models import rules
from registry.models.blobs import Manifest
from registry.models.users import Namespace, User


class Visibility(models.TextChoices):
    PUBLIC = "public"
    PRIVATE = "private"


class AdapterQuerySet(models.QuerySet["Adapter"]):
    """Questions about adapters."""

    def live(self) -> Self:
        """Return those that were not deleted."""
        return self.filter(deleted_at=None)

    def visible_to(self, user: User | None) -> Self:
        """Return the live ones that this person (None: anybody) may know of. The one place where privacy is decided."""
        if user is None:
            return self.live().filter(visibility=Visibility.PUBLIC)
        own = Namespace.objects.of(user).values("pk")
        return self.live().filter(Q(visibility=Visibility.PUBLIC) | Q(namespace__in=own))

    def matching(self, text: str) -> Self:
        """Return those whose name, description, task or method hold these words (web search syntax)."""
        apart = re.sub(r"(?<=\w)[._/-]+(?=\w)", " ", text)  # as the index has the words; a leading hyphen means "not"
        return self.filter(search=SearchQuery(apart, config="simple", search_type="websearch"))


def _search() -> CombinedExpression:
    parts = [rules.tsvector("A", "name"), rules.tsvector("B", "task", "method"), rules.tsvector("D", "description")]
    first = CombinedExpression(parts[0], "||", parts[1], output_field=SearchVectorField())
    return CombinedExpression(first, "||", parts[2], output_field=SearchVectorField())


class Adapter(models.Model):
    """`namespace/name`. Task, method, base and digests are those of the newest published version, kept here for searching.

    `description` is what is shown: the publisher's `own_description`, else what the README of that version says.
    """

    Visibility = Visibility

    namespace = models.ForeignKey(Namespace, models.PROTECT, related_name="adapters")
    name = models.CharField(max_length=96)
    skeleton = GeneratedField(
        expression=rules.in_namespace(),
        output_field=models.CharField(max_length=96),
        db_persist=True,
    )
    visibility = models.CharField(max_length=16, choices=Visibility.choices, default=Visibility.PUBLIC)
    description = models.CharField(max_length=4000, default="", blank=True)
    own_description = models.CharField(max_length=4000, default="", blank=True)
    task = models.CharField(max_length=64, default="", blank=True)
    method = models.CharField(max_length=64, default="", blank=True)
    base_fingerprint = models.CharField(max_length=69, null=True, blank=True)
    digest = rules.DigestField(null=True, blank=True)
    adapter_digest = rules.DigestField(null=True, blank=True)
    search = GeneratedField(expression=_search(), output_field=SearchVectorField(), db_persist=True)
    pulls = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = AdapterQuerySet.as_manager()

    class Meta:
        constraints = [
            *rules.name_checks("adapter"),
            rules.one_of("adapter", "visibility", Visibility),
            rules.fingerprint("adapter"),
            *rules.digests("adapter", "digest", "adapter_digest"),
            UniqueConstraint(fields=["namespace", "skeleton"], name="adapter_looks_like_no_other"),
        ]
        indexes = [
            GinIndex(fields=["search"], name="adapter_by_words"),
            Index(fields=["base_fingerprint"], name="adapter_by_base"),
            Index(fields=["task"], name="adapter_by_task"),
            Index(fields=["method"], name="adapter_by_method"),
            Index(F("updated_at").desc(), F("id").desc(), condition=Q(deleted_at=None), name="adapter_newest_first"),
            Index(F("pulls").desc(), F("id").desc(), condition=Q(deleted_at=None), name="adapter_most_pulled"),
        ]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Pull(models.Model):
    """A pull that is not counted in `Adapter.pulls` yet: whoever pulls must not wait for the row of the adapter."""

    adapter = models.ForeignKey(Adapter, models.CASCADE, related_name="uncounted_pulls")


class Commit(models.Model):
    """A snapshot in the history of an adapter. `oid` is what Hugging Face clients call a commit hash."""

    adapter = models.ForeignKey(Adapter, models.CASCADE, related_name="commits")
    oid = models.CharField(max_length=40)
    parent = models.ForeignKey("self", models.RESTRICT, null=True, blank=True, related_name="children")
    manifest = models.ForeignKey(Manifest, models.PROTECT, related_name="commits")
    author = models.ForeignKey(User, models.PROTECT, related_name="commits")
    message = models.TextField(default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            rules.matches("commit_oid_is_sha1", "oid", rules.OID),
            UniqueConstraint(fields=["adapter", "oid"], name="commit_oid_is_one_an_adapter"),
            # Targets of the foreign keys of Commit.parent, Ref and Version.
            UniqueConstraint(fields=["id", "adapter"], name="commit_id_adapter_key"),
            UniqueConstraint(fields=["id", "adapter", "manifest"], name="commit_id_adapter_manifest_key"),
        ]


class RefKind(models.TextChoices):
    HEAD = "head"
    TAG = "tag"


class Ref(models.Model):
    """A branch or a tag: a name that points at a commit of the same adapter."""

    Kind = RefKind

    adapter = models.ForeignKey(Adapter, models.CASCADE, related_name="refs")
    kind = models.CharField(max_length=8, choices=RefKind.choices)
    name = models.CharField(max_length=255)
    commit = models.ForeignKey(Commit, models.CASCADE, related_name="refs")

    class Meta:
        constraints = [
            rules.one_of("ref", "kind", RefKind),
            UniqueConstraint(fields=["adapter", "kind", "name"], name="ref_is_one_a_name"),
        ]


class Redirect(models.Model):
    """The old name of an adapter that moved."""

    namespace = models.ForeignKey(Namespace, models.PROTECT, related_name="redirects")
    name = models.CharField(max_length=96)
    skeleton = GeneratedField(
        expression=rules.in_namespace(),
        output_field=models.CharField(max_length=96),
        db_persist=True,
    )
    adapter = models.ForeignKey(Adapter, models.CASCADE, related_name="redirects")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            *rules.name_checks("redirect"),
            UniqueConstraint(fields=["namespace", "skeleton"], name="redirect_looks_like_no_other"),
        ]


class TombstoneKind(models.TextChoices):
    NAMESPACE = "namespace"
    ADAPTER = "adapter"


class TombstoneQuerySet(models.QuerySet["Tombstone"]):
    """Questions about the dead, by the same skeletons as the triggers of migration 0004."""

    def of_namespace(self, name: str) -> Self:
        """Return the tombstones of the namespaces that this name looks like, newest first: the first one decides."""
        skeleton = rules.strong(Value(name))
        return self.filter(kind=TombstoneKind.NAMESPACE, namespace_skeleton=skeleton).order_by("-pk")

    def of_adapter(self, adapter: "Adapter") -> Self:
        """Return the tombstones on the name of a (saved) adapter, newest first."""
        names = {"namespace_skeleton": adapter.namespace.skeleton, "skeleton": adapter.skeleton}
        return self.filter(kind=TombstoneKind.ADAPTER, **names).order_by("-pk")


class Tombstone(models.Model):
    """What stays of a deleted namespace (`name` is '') or adapter: only `owner` may make the name again.

    `namespace_id` is the key the namespace had; no foreign key, for the row may be gone. `last_number` is the highest
    version number given out: numbering goes on after it.
    """

    Kind = TombstoneKind

    kind = models.CharField(max_length=16, choices=TombstoneKind.choices)
    namespace_id = models.BigIntegerField()
    namespace_name = models.CharField(max_length=96)
    namespace_skeleton = GeneratedField(
        expression=rules.strong(F("namespace_name")), output_field=models.CharField(max_length=96), db_persist=True
    )
    name = models.CharField(max_length=96, default="", blank=True)
    skeleton = GeneratedField(
        expression=rules.in_namespace(),
        output_field=models.CharField(max_length=96),
        db_persist=True,
    )
    owner = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    last_number = models.PositiveIntegerField(default=0)
    reason = models.TextField(default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = TombstoneQuerySet.as_manager()

    class Meta:
        constraints = [
            rules.one_of("tombstone", "kind", TombstoneKind),
            CheckConstraint(
                condition=Q(kind="namespace", name="") | (Q(kind="adapter") & ~Q(name="")),
                name="tombstone_names_its_dead",
            ),
        ]
        indexes = [Index(fields=["namespace_skeleton", "skeleton"], name="tombstone_by_name")]
