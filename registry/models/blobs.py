"""Content: bytes by their SHA-256, and the manifests that name them. Immutable, shared by every adapter."""

from typing import Self

from django.db import models
from django.db.models import UniqueConstraint
from django.utils import timezone

from registry.models import rules
from registry.models.fits import Need


class BlobState(models.TextChoices):
    LIVE = "live"
    DELETING = "deleting"
    GONE = "gone"


class BlobQuerySet(models.QuerySet["Blob"]):
    """Questions about blobs."""

    def live(self) -> Self:
        """Return those whose bytes are in the store and stay there."""
        return self.filter(state=BlobState.LIVE)


class Blob(models.Model):
    """Stored bytes. `version` counts changes of state, for compare-and-swap."""

    State = BlobState

    sha256 = rules.DigestField(primary_key=True)
    size = models.PositiveBigIntegerField()
    git_oid = models.CharField(max_length=40, null=True, blank=True)
    state = models.CharField(max_length=16, choices=BlobState.choices, default=BlobState.LIVE)
    version = models.PositiveIntegerField(default=0)
    last_referenced_at = models.DateTimeField(default=timezone.now)

    objects = BlobQuerySet.as_manager()

    class Meta:
        constraints = [
            *rules.digests("blob", "sha256"),
            rules.matches("blob_git_oid_is_sha1", "git_oid", rules.OID),
            rules.one_of("blob", "state", BlobState),
            # Target of manifestfile_size_fk.
            UniqueConstraint(fields=["sha256", "size"], name="blob_sha256_size_key"),
        ]
        indexes = [models.Index(fields=["git_oid"], name="blob_by_git_oid")]


class Content(models.Model):
    """What a safetensors file says, whatever its header looks like: the digest over its tensors (`hub.spec.contents`)."""

    blob = models.OneToOneField(Blob, models.CASCADE, primary_key=True, related_name="content")
    digest = rules.DigestField()

    class Meta:
        constraints = [*rules.digests("content", "digest")]
        indexes = [models.Index(fields=["digest"], name="content_by_digest")]


class Manifest(models.Model):
    """What a snapshot holds. `digest` names its canonical bytes, `adapter_digest` those of its evidence files only."""

    digest = rules.DigestField(primary_key=True)
    adapter_digest = rules.DigestField(db_index=True)
    size = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            *rules.digests("manifest", "digest", "adapter_digest"),
            # Target of the foreign keys of Version and Run.
            UniqueConstraint(fields=["digest", "adapter_digest"], name="manifest_digest_adapter_digest_key"),
        ]


class ManifestFile(models.Model):
    """One path of a manifest."""

    manifest = models.ForeignKey(Manifest, models.CASCADE, related_name="files")
    path = models.CharField(max_length=1024)
    blob = models.ForeignKey(Blob, models.PROTECT, related_name="manifest_files")
    size = models.PositiveBigIntegerField()

    class Meta:
        constraints = [UniqueConstraint(fields=["manifest", "path"], name="manifestfile_path_is_one_a_manifest")]


class Original(models.Model):
    """A file as it was sent that a manifest holds converted or rewritten: evidence, kept and never served. No file of a
    manifest. `changes` says in words what was rewritten."""

    manifest = models.ForeignKey(Manifest, models.PROTECT, related_name="originals")
    path = models.CharField(max_length=1024)
    blob = models.ForeignKey(Blob, models.PROTECT, related_name="originals")
    converted = models.CharField(max_length=1024)
    changes = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            # several: what differs only around its tensors becomes the same file
            UniqueConstraint(fields=["manifest", "path", "blob"], name="original_blob_is_one_a_path"),
        ]


class Component(models.Model):
    """One adapter inside a manifest; `folder` is '' at the root. Derived from the files, so it may be derived again.

    `need` is what it needs of a base model; null where its files do not tell, or nobody has looked yet.
    """

    manifest = models.ForeignKey(Manifest, models.CASCADE, related_name="components")
    folder = models.CharField(max_length=1024, default="", blank=True)
    library = models.CharField(max_length=32)
    method = models.CharField(max_length=64)
    variant = models.CharField(max_length=64, default="", blank=True)
    rank = models.PositiveIntegerField(null=True, blank=True)
    parameters = models.PositiveBigIntegerField(default=0)
    head_parameters = models.PositiveBigIntegerField(default=0)
    head = models.JSONField(null=True, blank=True)
    base_fingerprint = models.CharField(max_length=69, null=True, blank=True, db_index=True)
    facts = models.JSONField(default=dict, blank=True)
    need = models.ForeignKey(Need, models.PROTECT, null=True, blank=True, related_name="components")

    class Meta:
        constraints = [
            rules.fingerprint("component"),
            UniqueConstraint(fields=["manifest", "folder"], name="component_is_one_a_folder"),
        ]
