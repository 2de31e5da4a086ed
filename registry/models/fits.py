"""What adapters need, what base models offer, and which need is met by which offer.

Many adapters need the same, and many base models offer the same, so that the matrix of compatibility is small: a row of
`Fit` stands for every adapter with that need on every base with that offer. Needs and offers are named by their content
and never change, and whether one meets the other depends on nothing else: a cell is computed once.
"""

import json
from typing import Self

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import BooleanField, Index, Q, UniqueConstraint
from django.db.models.expressions import RawSQL
from django.utils import timezone

from registry.models import rules

Sizes = dict[str, dict[str, int]]

WORDS = "SELECT path || ' ' || name || ' ' || size FROM jsonb_each(%s::jsonb) AS module(path, sizes), jsonb_each_text(sizes) AS own(name, size)"
MET = f"probe = ANY(ARRAY({WORDS} UNION ALL SELECT '')) AND %s::jsonb @> modules AND (whole || %s::jsonb) @> whole"
MEETING = "modules @> %s::jsonb AND (%s::jsonb || whole) @> %s::jsonb"
"""`hub.spec.compatibility` in SQL, asked from either side. Every module that is needed is there with every size; of the whole
model, what the configuration says does not contradict (where it says nothing, the need stands in for it). One side is a
constant, because a stored table of modules would be unpacked anew for every row of the other."""


def met_by(modules: Sizes, whole: dict[str, int]) -> tuple[str, list[str]]:
    """Return the condition, with its parameters, that a row of `Need` is met by this offer."""
    return MET, [json.dumps(modules), json.dumps(modules), json.dumps(whole)]


def meeting(modules: Sizes, whole: dict[str, int]) -> tuple[str, list[str]]:
    """Return the condition, with its parameters, that a row of `Offer` meets this need."""
    return MEETING, [json.dumps(modules), json.dumps(whole), json.dumps(whole)]


def split(sizes: Sizes) -> tuple[Sizes, dict[str, int]]:
    """Return the sizes of modules, and apart from them those of the whole model."""
    return {path: own for path, own in sizes.items() if path}, sizes.get("", {})


class OfferQuerySet(models.QuerySet["Offer"]):
    """Questions about offers."""

    def meeting(self, modules: Sizes, whole: dict[str, int]) -> Self:
        """Return those that meet a need which is not in our tables."""
        sql, params = meeting(modules, whole)
        return self.filter(RawSQL(sql, params, output_field=BooleanField()))  # noqa: S611  a constant of ours


class Offer(models.Model):
    """What a base model has: `modules` {path: {out, in, ...}}, `whole` the sizes of the whole model.

    `compared_at`: when it was held against every need that was there; null while that is still to be done.
    """

    digest = rules.DigestField(unique=True)
    modules = models.JSONField()
    whole = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    compared_at = models.DateTimeField(null=True, blank=True)

    objects = OfferQuerySet.as_manager()

    class Meta:
        constraints = [*rules.digests("offer", "digest")]
        indexes = [
            GinIndex(fields=["modules"], name="offer_by_modules", opclasses=["jsonb_path_ops"]),
            Index(fields=["id"], condition=Q(compared_at=None), name="offer_to_compare"),
        ]


class NeedQuerySet(models.QuerySet["Need"]):
    """Questions about needs."""

    def met_by(self, modules: Sizes, whole: dict[str, int]) -> Self:
        """Return those that an offer meets which is not in our tables."""
        sql, params = met_by(modules, whole)
        return self.filter(RawSQL(sql, params, output_field=BooleanField()))  # noqa: S611  a constant of ours


class Need(models.Model):
    """What an adapter needs of a base model, in the same form as an offer.

    `probe` is one of its sizes, `path name size`, as a word: an offer meets only needs whose probe is among its own words.
    Empty where no module is needed. `compared_at` as for offers.
    """

    digest = rules.DigestField(unique=True)
    modules = models.JSONField()
    whole = models.JSONField()
    probe = models.TextField(default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    compared_at = models.DateTimeField(null=True, blank=True)

    objects = NeedQuerySet.as_manager()

    class Meta:
        constraints = [*rules.digests("need", "digest")]
        indexes = [
            Index(fields=["probe"], name="need_by_probe"),
            Index(fields=["id"], condition=Q(compared_at=None), name="need_to_compare"),
        ]


class Fit(models.Model):
    """This offer meets this need. What does not fit has no row.

    Rows come by the hundred thousand, so both keys are looked at once a statement (`fit_is_of_what_there_is`) and not once
    a row, as foreign keys are; and needs and offers are never deleted.
    """

    need = models.ForeignKey(Need, models.PROTECT, related_name="fits", db_index=False, db_constraint=False)
    offer = models.ForeignKey(Offer, models.PROTECT, related_name="fits", db_constraint=False)

    class Meta:
        constraints = [UniqueConstraint(fields=["need", "offer"], name="fit_is_one_a_pair")]
