"""Columns, constraints and QuerySet filters. What each constraint is for: docs/data-model.md."""

from registry.models.adapters import Adapter, Commit, Pull, Redirect, Ref, Tombstone, Visibility
from registry.models.base_files import BaseFile
from registry.models.base_models import BaseAlias, BaseModel, BaseRelation
from registry.models.benchmarks import Benchmark, Direction, Policy
from registry.models.blobs import Blob, Component, Content, Manifest, ManifestFile, Original
from registry.models.events import Event, Outbox
from registry.models.fits import Fit, Need, Offer
from registry.models.located import LocatedBase
from registry.models.runs import Evidence, Run, Score
from registry.models.uploads import Upload, UploadBlob
from registry.models.users import Membership, Namespace, Role, Scope, SignIn, Token, User
from registry.models.versions import Alias, Version

__all__ = [
    "Adapter", "Alias", "BaseAlias", "BaseFile", "BaseModel", "BaseRelation", "Benchmark", "Blob", "Commit", "Component", "Content", "Direction",
    "Event", "Evidence", "Fit", "LocatedBase", "Manifest", "ManifestFile", "Membership", "Namespace", "Need", "Offer", "Original", "Outbox", "Policy",
    "Pull", "Redirect", "Ref", "Role", "Run", "Scope", "Score", "SignIn", "Token", "Tombstone", "Upload", "UploadBlob", "User",
    "Version", "Visibility",
]  # fmt: skip
