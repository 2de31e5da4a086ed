"""Versions: what may be published, and the aliases that move over them."""

from typing import Self

from django.db import models
from django.db.models import CheckConstraint, Exists, F, Index, OuterRef, Q, UniqueConstraint
from django.db.models.functions import Cast
from django.utils import timezone

from registry.models import rules
from registry.models.adapters import Adapter, Commit
from registry.models.base_models import BaseModel
from registry.models.blobs import Manifest
from registry.models.runs import Run
from registry.models.users import User


class VersionStatus(models.TextChoices):
    DRAFT = "draft"
    VALIDATING = "validating"
    PUBLISHED = "published"
    REJECTED = "rejected"
    HOSTED = "hosted"


class VersionQuerySet(models.QuerySet["Version"]):
    """Questions about versions."""

    def published(self) -> Self:
        """Return those with a passed run, yanked or not."""
        return self.filter(status=VersionStatus.PUBLISHED)

    def served(self) -> Self:
        """Return those whose bytes a reader may have: published or hosted, and not in quarantine."""
        return self.filter(status__in=[VersionStatus.PUBLISHED, VersionStatus.HOSTED], quarantined_at=None)

    def offered(self) -> Self:
        """Return the served ones that are not yanked: what `latest` chooses from.

        A hosted one is offered only where nothing was ever published: a yank must not lead to what nobody has judged.
        """
        judged = Version.objects.published().filter(adapter=OuterRef("adapter"))
        unjudged = Q(status=VersionStatus.HOSTED) & Exists(judged)
        return self.served().filter(~unjudged, yanked_at=None)

    def newest_first(self) -> Self:
        """Order by number, highest first."""
        return self.order_by("-number")


_PUBLIC = Q(status__in=["hosted", "published"])
_DIGITS = Q(label__regex=r"^[0-9]+$")


class Version(models.Model):
    """One version of an adapter.

    Number, label, adapter and digests are set once. `published` needs its evidence, yanked or not.
    `run_passed` and `base_observed` repeat what run and base say and follow them (ON UPDATE CASCADE), so that a CHECK
    can see them.
    """

    Status = VersionStatus

    adapter = models.ForeignKey(Adapter, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    label = models.CharField(max_length=64, null=True, blank=True)
    commit = models.ForeignKey(Commit, models.RESTRICT, null=True, blank=True, related_name="versions")
    digest = rules.DigestField(null=True, blank=True)
    adapter_digest = rules.DigestField(null=True, blank=True)
    base_fingerprint = models.CharField(max_length=69, null=True, blank=True)
    base_observed = models.BooleanField(null=True, blank=True)
    plan = models.JSONField(null=True, blank=True)
    plan_digest = rules.DigestField(null=True, blank=True)
    run = models.ForeignKey(Run, models.PROTECT, null=True, blank=True, related_name="versions")
    run_passed = models.BooleanField(null=True, blank=True)
    status = models.CharField(max_length=16, choices=VersionStatus.choices, default=VersionStatus.DRAFT)
    stage = models.CharField(max_length=64, default="", blank=True)
    report = models.JSONField(null=True, blank=True)
    message = models.TextField(default="", blank=True)
    author = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="versions")
    created_at = models.DateTimeField(default=timezone.now)
    published_at = models.DateTimeField(null=True, blank=True)
    yanked_at = models.DateTimeField(null=True, blank=True)
    yank_reason = models.TextField(default="", blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)
    regressed_at = models.DateTimeField(null=True, blank=True)

    # Virtual: joins, no columns. The database holds the constraints (migration 0002).
    manifest = models.ForeignObject(
        Manifest,
        models.PROTECT,
        from_fields=["digest", "adapter_digest"],
        to_fields=["digest", "adapter_digest"],
        null=True,
        related_name="versions",
        editable=False,
    )
    base_model = models.ForeignObject(
        BaseModel,
        models.PROTECT,
        from_fields=["base_fingerprint"],
        to_fields=["fingerprint"],
        null=True,
        related_name="versions",
        editable=False,
    )

    objects = VersionQuerySet.as_manager()

    class Meta:
        constraints = [
            *rules.digests("version", "digest", "adapter_digest", "plan_digest"),
            rules.fingerprint("version"),
            rules.one_of("version", "status", VersionStatus),
            rules.matches("version_label_is_wellformed", "label", rules.LABEL),
            CheckConstraint(condition=~Q(label__iexact="latest"), name="version_label_is_not_latest"),
            CheckConstraint(condition=Q(number__gte=1), name="version_number_is_positive"),
            # `name:2` must never change its meaning: a label of digits is the version's own number.
            CheckConstraint(
                condition=Q(label__isnull=True) | ~_DIGITS | Q(label=Cast(F("number"), models.CharField())),
                name="version_label_of_digits_is_its_number",
            ),
            rules.both_or_neither("version_digests_come_together", "digest", "adapter_digest"),
            rules.implies(
                "version_public_has_content",
                _PUBLIC,
                Q(digest__isnull=False, commit__isnull=False, published_at__isnull=False),
            ),
            # Every part by name: a CHECK lets NULL pass, and a foreign key with a NULL in it is not looked at.
            rules.implies(
                "version_published_has_evidence",
                Q(status="published"),
                Q(
                    adapter_digest__isnull=False,
                    base_fingerprint__isnull=False,
                    plan_digest__isnull=False,
                    run__isnull=False,
                    run_passed__isnull=False,
                    run_passed=True,
                    base_observed__isnull=False,
                    base_observed=True,
                ),
            ),
            rules.implies(
                "version_rejected_says_why", Q(status="rejected"), Q(report__isnull=False) | Q(run__isnull=False)
            ),
            rules.implies("version_yanked_was_public", Q(yanked_at__isnull=False), _PUBLIC),
            UniqueConstraint(fields=["adapter", "number"], name="version_number_is_one_an_adapter"),
            UniqueConstraint(
                fields=["adapter", "label"], condition=~Q(status="rejected"), name="version_label_is_one_an_adapter"
            ),
            # Target of alias_version_fk.
            UniqueConstraint(fields=["id", "adapter"], name="version_id_adapter_key"),
        ]
        indexes = [
            Index(F("adapter"), F("status"), F("number").desc(), name="version_newest"),
            Index(fields=["digest"], name="version_by_digest"),
            Index(fields=["adapter_digest", "base_fingerprint", "plan_digest"], name="version_by_evidence_key"),
            Index(fields=["base_fingerprint"], name="version_by_base"),
        ]

    def __str__(self) -> str:
        return f"{self.adapter}:{self.label or self.number}"


class Alias(models.Model):
    """A name that moves over the versions of one adapter: prod, stable, ..."""

    adapter = models.ForeignKey(Adapter, models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=64)
    version = models.ForeignKey(Version, models.CASCADE, related_name="aliases")
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "aliases"
        constraints = [
            rules.matches("alias_name_is_wellformed", "name", rules.LABEL),
            CheckConstraint(condition=~Q(name__regex=r"^[0-9]+$"), name="alias_is_not_a_number"),
            UniqueConstraint(fields=["adapter", "name"], name="alias_is_one_a_name"),
        ]
