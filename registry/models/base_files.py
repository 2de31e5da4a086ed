"""Base models whose bytes the hub itself holds."""

from django.db import models
from django.db.models import F, Q, UniqueConstraint
from django.utils import timezone

from registry.models import rules
from registry.models.base_models import BaseModel
from registry.models.blobs import Blob


class BaseFile(models.Model):
    """One file of a base model: weights, configuration or tokenizer. `blob` is null until its bytes have arrived and were hashed
    here."""

    base = models.ForeignKey(BaseModel, models.PROTECT, related_name="files")
    path = models.CharField(max_length=255)
    sha256 = rules.DigestField()
    size = models.PositiveBigIntegerField()
    blob = models.ForeignKey(Blob, models.PROTECT, null=True, blank=True, related_name="base_files")
    stored_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            *rules.digests("basefile", "sha256"),
            models.CheckConstraint(
                condition=Q(blob__isnull=True) | Q(blob=F("sha256")), name="basefile_blob_is_what_was_announced"
            ),
            UniqueConstraint(fields=["base", "path"], name="basefile_path_is_one_a_base"),
        ]

    @property
    def staging_key(self) -> str:
        """Where its bytes are received."""
        return f"basefile-{self.pk}/0"
