"""Base models, identified by the hash of their weights, and the names people give them."""

from typing import Self

from django.db import models
from django.db.models import ExpressionWrapper, GeneratedField, Q, UniqueConstraint
from django.utils import timezone

from registry.models import rules
from registry.models.adapters import Visibility
from registry.models.fits import Offer
from registry.models.users import Namespace


class BaseState(models.TextChoices):
    CLAIMED = "claimed"
    OBSERVED = "observed"
    LOCATED = "located"


class BaseModelManager(models.Manager["BaseModel"]):
    """Leaves the tables of tensors in the database: they have thousands of rows, and hardly anybody looks at them."""

    def get_queryset(self) -> models.QuerySet["BaseModel"]:
        """Return the base models; `tensors` and `logical` are read when somebody asks for them."""
        return super().get_queryset().defer("tensors", "logical")


class CastsBy(models.TextChoices):
    NOBODY = "nobody"
    WORKER = "worker"
    OPERATOR = "operator"


class BaseModel(models.Model):
    """A base model, by the hash of its weights.

    `claimed`: somebody sent its leaves; `observed`: a worker hashed the bytes it loaded (`located` is a word that
    no row here has: what is known by its headers alone is a `LocatedBase`). Only an observed one publishes.
    `tensors` is the table of leaves, `[[name, dtype, shape, digest], ...]`. `architecture` leaves pooler and head out;
    `offer` has all that adapters may need, and is derived from the leaves and the configuration (null until it was).
    `cast_roots` are its roots in other number formats: `{format: {root, backbone, embeddings}}`, empty until somebody
    reckoned them. They follow from no leaf, so only a worker's or an operator's are kept (`cast_roots_by`): else anybody
    could say that somebody's fine-tuned model is a copy of theirs.
    `quantisation` is the scheme of a quantised base, else empty; `logical` the shape of every tensor before it was packed,
    `{name: [sizes]}`, null where nothing is packed or the layout is not known.
    """

    State = BaseState
    CastsBy = CastsBy
    Visibility = Visibility

    fingerprint = models.CharField(max_length=69, primary_key=True)
    state = models.CharField(max_length=16, choices=BaseState.choices, default=BaseState.CLAIMED)
    observed = GeneratedField(
        expression=ExpressionWrapper(~Q(state="claimed"), output_field=models.BooleanField()),
        output_field=models.BooleanField(),
        db_persist=True,
    )
    name = models.CharField(max_length=255, default="", blank=True)
    config = models.JSONField(default=dict, blank=True)
    roots = models.JSONField(default=dict, blank=True)
    cast_roots = models.JSONField(default=dict, blank=True)
    cast_roots_by = models.CharField(max_length=16, choices=CastsBy.choices, default=CastsBy.NOBODY)
    quantisation = models.CharField(max_length=100, default="", blank=True)
    logical = models.JSONField(null=True, blank=True)
    architecture = rules.DigestField()
    offer = models.ForeignKey(Offer, models.PROTECT, null=True, blank=True, related_name="base_models")
    tokenizer_digest = rules.DigestField(null=True, blank=True)
    tensors = models.JSONField(default=list)
    parameters = models.PositiveBigIntegerField(default=0)
    owner = models.ForeignKey(Namespace, models.SET_NULL, null=True, blank=True, related_name="base_models")
    visibility = models.CharField(max_length=16, choices=Visibility.choices, default=Visibility.PUBLIC)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = BaseModelManager()

    class Meta:
        base_manager_name = "objects"  # whoever comes from a version or run goes without the leaves, too
        constraints = [
            rules.fingerprint("basemodel", "fingerprint"),
            *rules.digests("basemodel", "architecture", "tokenizer_digest"),
            rules.one_of("basemodel", "state", BaseState),
            rules.one_of("basemodel", "visibility", Visibility),
            rules.one_of("basemodel", "cast_roots_by", CastsBy),
            models.CheckConstraint(
                condition=Q(cast_roots={}) | ~Q(cast_roots_by=CastsBy.NOBODY),
                name="basemodel_cast_roots_have_a_witness",
            ),
            models.CheckConstraint(
                condition=Q(logical__isnull=True) | ~Q(quantisation=""), name="basemodel_only_packed_shapes_are_told"
            ),
            # Target of version_base_is_observed_fk.
            UniqueConstraint(fields=["fingerprint", "observed"], name="basemodel_fingerprint_observed_key"),
        ]
        indexes = [models.Index(fields=["architecture"], name="basemodel_by_architecture")]

    def __str__(self) -> str:
        return self.name or self.fingerprint


class AliasKind(models.TextChoices):
    HUB = "hub"
    MIRROR = "mirror"
    FOLDER = "folder"
    STORED = "stored"


class AliasState(models.TextChoices):
    LIVE = "live"
    RENAMED = "renamed"
    GONE = "gone"
    GATED = "gated"


class BaseAliasQuerySet(models.QuerySet["BaseAlias"]):
    """Questions about names of base models."""

    def best_first(self) -> Self:
        """Order by what a name means: that which is live, else what it meant last. A name outlives what it led to."""
        return self.annotate(is_live=Q(state=AliasState.LIVE)).order_by("-is_live", "-pk")

    def live(self) -> Self:
        """Return those that still lead to their base."""
        return self.filter(state=AliasState.LIVE)


class BaseAlias(models.Model):
    """A name or place of a base model.

    Without a namespace it belongs to the library, and came from an admin or from an observed commit. A `stored` one is no
    name: the hub itself holds the files.
    """

    Kind = AliasKind
    State = AliasState

    name = models.CharField(max_length=512)
    revision = models.CharField(max_length=128, default="", blank=True)
    kind = models.CharField(max_length=16, choices=AliasKind.choices)
    base = models.ForeignKey(BaseModel, models.CASCADE, related_name="aliases")
    namespace = models.ForeignKey(Namespace, models.CASCADE, null=True, blank=True, related_name="base_aliases")
    state = models.CharField(max_length=16, choices=AliasState.choices, default=AliasState.LIVE)
    created_at = models.DateTimeField(default=timezone.now)

    objects = BaseAliasQuerySet.as_manager()

    class Meta:
        constraints = [
            rules.one_of("basealias", "kind", AliasKind),
            rules.one_of("basealias", "state", AliasState),
            UniqueConstraint(
                fields=["namespace", "name"],
                condition=Q(state="live"),
                nulls_distinct=False,
                name="basealias_live_name_is_one",
            ),
        ]
        indexes = [models.Index(fields=["name"], name="basealias_by_name")]


class RelationKind(models.TextChoices):
    SAME_VALUES = "same_values"
    DERIVED = "derived"
    QUANTISED = "quantised"


class RelationState(models.TextChoices):
    CLAIMED = "claimed"
    OBSERVED = "observed"


class BaseRelation(models.Model):
    """What one base model is of another: its copy in another number format, a fine-tuned or a quantised one.

    `claimed`: whoever answers for the base says so; `observed`: an operator, or a worker that compared the bytes, or the hub
    itself that held the tensors of two observed bases against each other (`claimed_by` is then empty). Only what was
    observed counts for a verdict.
    """

    Kind = RelationKind
    State = RelationState

    base = models.ForeignKey(BaseModel, models.CASCADE, related_name="parents")
    parent = models.ForeignKey(BaseModel, models.CASCADE, related_name="children")
    kind = models.CharField(max_length=16, choices=RelationKind.choices)
    state = models.CharField(max_length=16, choices=RelationState.choices, default=RelationState.CLAIMED)
    claimed_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            rules.one_of("baserelation", "kind", RelationKind),
            rules.one_of("baserelation", "state", RelationState),
            models.CheckConstraint(condition=~Q(base=models.F("parent")), name="baserelation_is_between_two"),
            UniqueConstraint(fields=["base", "parent", "kind"], name="baserelation_is_one_a_kind"),
        ]
