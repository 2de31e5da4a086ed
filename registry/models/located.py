"""Base models that are known by their headers, before anybody has hashed them."""

from typing import Self

from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.utils import timezone

from registry.models import rules
from registry.models.adapters import Visibility
from registry.models.base_models import BaseModel
from registry.models.fits import Offer
from registry.models.users import Namespace


class LocatedState(models.TextChoices):
    OPEN = "open"
    CLAIMED = "claimed"
    OBSERVED = "observed"


class LocatedBaseQuerySet(models.QuerySet["LocatedBase"]):
    """Questions about located base models."""

    def current(self) -> Self:
        """Return those that their names mean now, not an earlier commit."""
        return self.filter(superseded_at=None)

    def unhashed(self) -> Self:
        """Return those whose fingerprint nobody has told whom others rely on."""
        return self.current().exclude(state=LocatedState.OBSERVED)


class LocatedBase(models.Model):
    """A repository at a commit, as the headers of its weights describe it.

    `tensors` is `[[name, dtype, shape], ...]`, `files` the weights' `[{path, size, sha256}, ...]`, `files_digest` the digest
    over their SHA-256 whatever they are called. `base` is who it is: `claimed` where a person says so, which counts for
    nothing; `observed` where a worker or an operator held the same files. Without a namespace the name is the library's.
    """

    State = LocatedState
    Visibility = Visibility

    name = models.CharField(max_length=512)
    namespace = models.ForeignKey(Namespace, models.CASCADE, null=True, blank=True, related_name="located_bases")
    source = models.CharField(max_length=512)
    revision = models.CharField(max_length=40)
    config = models.JSONField(default=dict)
    tensors = models.JSONField()
    files = models.JSONField()
    files_digest = rules.DigestField()
    size = models.PositiveBigIntegerField()
    architecture = rules.DigestField()
    offer = models.ForeignKey(Offer, models.PROTECT, related_name="located_bases")
    tokenizer_digest = rules.DigestField(null=True, blank=True)
    parameters = models.PositiveBigIntegerField(default=0)
    visibility = models.CharField(max_length=16, choices=Visibility.choices, default=Visibility.PUBLIC)
    state = models.CharField(max_length=16, choices=LocatedState.choices, default=LocatedState.OPEN)
    base = models.ForeignKey(BaseModel, models.PROTECT, null=True, blank=True, related_name="located")
    claimed_by = models.CharField(max_length=200, default="", blank=True)
    located_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)
    superseded_at = models.DateTimeField(null=True, blank=True)

    objects = LocatedBaseQuerySet.as_manager()

    class Meta:
        constraints = [
            *rules.digests("locatedbase", "files_digest", "architecture", "tokenizer_digest"),
            rules.matches("locatedbase_revision_is_a_commit", "revision", rules.OID),
            rules.one_of("locatedbase", "state", LocatedState),
            rules.one_of("locatedbase", "visibility", Visibility),
            CheckConstraint(
                condition=Q(state="open", base__isnull=True) | (~Q(state="open") & Q(base__isnull=False)),
                name="locatedbase_base_is_told_or_open",
            ),
            rules.implies("locatedbase_claim_says_who", Q(state="claimed"), ~Q(claimed_by="")),
            rules.implies("locatedbase_private_has_namespace", Q(visibility="private"), Q(namespace__isnull=False)),
            UniqueConstraint(
                fields=["namespace", "name"],
                condition=Q(superseded_at=None),
                nulls_distinct=False,
                name="locatedbase_name_is_one",
            ),
        ]
        indexes = [
            Index(fields=["name"], name="locatedbase_by_name"),
            Index(fields=["files_digest"], name="locatedbase_by_files"),
            Index(fields=["size"], condition=~Q(state="observed"), name="locatedbase_awaited"),
        ]

    def __str__(self) -> str:
        return f"{self.source}@{self.revision[:10]}"
