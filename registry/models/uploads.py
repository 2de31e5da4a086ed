"""Uploads: bytes on their way to becoming a version."""

import uuid
from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint
from django.db.models.functions import Now
from django.utils import timezone

from registry.models import rules
from registry.models.adapters import Adapter
from registry.models.users import User
from registry.models.versions import Version


class UploadState(models.TextChoices):
    OPEN = "open"
    INGESTING = "ingesting"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"


class UploadQuerySet(models.QuerySet["Upload"]):
    """Questions about uploads."""

    def pending(self) -> Self:
        """Return those that may still become a version: their reservations count."""
        return self.filter(state__in=[UploadState.OPEN, UploadState.INGESTING])

    def expired(self, now: datetime) -> Self:
        """Return the open ones whose time is over."""
        return self.filter(state=UploadState.OPEN, expires_at__lte=now)

    def stalled(self, now: datetime | Now) -> Self:
        """Return those whose ingest nobody works on: never begun, or its lease ran out."""
        free = Q(lease_expires_at=None) | Q(lease_expires_at__lte=now)
        return self.filter(free, state=UploadState.INGESTING)


class Upload(models.Model):
    """A push under way. `manifest` and `digest` are what the client announced; neither is believed before ingest.

    `attempt` numbers the leases of the ingest, `faults` counts those that a mistake of ours has ended, and the one
    under way until it ends in another way (a process that is killed tells nobody). After a fault nobody holds the lease and
    its time is a pause: the ingest begins again when it is over.
    """

    State = UploadState

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    adapter = models.ForeignKey(Adapter, models.CASCADE, related_name="uploads")
    user = models.ForeignKey(User, models.CASCADE, related_name="uploads")
    manifest = models.JSONField()
    digest = rules.DigestField()
    label = models.CharField(max_length=64, null=True, blank=True)
    private = models.BooleanField(default=False)
    message = models.TextField(default="", blank=True)
    state = models.CharField(max_length=16, choices=UploadState.choices, default=UploadState.OPEN)
    reserved_bytes = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    faults = models.PositiveIntegerField(default=0)
    version = models.ForeignKey(Version, models.SET_NULL, null=True, blank=True, related_name="uploads")
    problems = models.JSONField(null=True, blank=True)

    objects = UploadQuerySet.as_manager()

    class Meta:
        constraints = [
            *rules.digests("upload", "digest"),
            rules.matches("upload_label_is_wellformed", "label", rules.LABEL),
            rules.one_of("upload", "state", UploadState),
            UniqueConstraint(fields=["user", "idempotency_key"], name="upload_idempotency_key_is_one_a_user"),
        ]
        indexes = [
            Index(fields=["expires_at"], condition=Q(state="open"), name="upload_expiring"),
            Index(fields=["created_at"], condition=Q(state="ingesting"), name="upload_ingesting"),
        ]


class UploadBlob(models.Model):
    """One file of an upload, staged under a key of ours; `received` counts its bytes."""

    upload = models.ForeignKey(Upload, models.CASCADE, related_name="blobs")
    n = models.PositiveIntegerField()
    path = models.CharField(max_length=1024)
    sha256 = rules.DigestField()
    size = models.PositiveBigIntegerField()
    received = models.PositiveBigIntegerField(default=0)
    staging_key = models.CharField(max_length=255, default="", blank=True)
    multipart_id = models.CharField(max_length=1024, null=True, blank=True)
    done = models.BooleanField(default=False)

    class Meta:
        constraints = [
            *rules.digests("uploadblob", "sha256"),
            CheckConstraint(condition=Q(received__lte=F("size")), name="uploadblob_received_within_announced"),
            UniqueConstraint(fields=["upload", "n"], name="uploadblob_n_is_one_an_upload"),
            UniqueConstraint(fields=["upload", "path"], name="uploadblob_path_is_one_an_upload"),
        ]
