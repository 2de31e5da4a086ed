"""The words of which the constraints of the tables are made.

Everything here builds a CHECK or an expression that PostgreSQL itself evaluates. What each constraint is for:
docs/data-model.md.
"""

from django.db import models
from django.db.models import Case, CheckConstraint, F, Func, Q, TextChoices, Value, When
from django.db.models.functions import Collate, Lower

from hub.spec import reference

HEX64 = r"^[0-9a-f]{64}$"
OID = r"^[0-9a-f]{40}$"
FINGERPRINT = r"^base:[0-9a-f]{64}$"
LABEL = r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$"
NAME = r"^[0-9A-Za-z][0-9A-Za-z._-]{0,95}$"
NAME_HAS_BAD_PART = r"(--|\.\.|[.-]$|\.git$)"

LIBRARY_ID = 1
"""Primary key of the namespace `library`, which the first migration seeds.

A constant, because a generated column sees its own row only.
"""


class DigestField(models.CharField):  # type: ignore[type-arg]
    """64 lowercase hexadecimal digits of a SHA-256 (the table adds the CHECK: `digests`)."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{**options, "max_length": 64})  # type: ignore[arg-type]


def _lower(text: F | Value) -> Func:
    # The collation is named, because lower('I') is not 'i' in a Turkish database.
    return Lower(Collate(text, "C"))


def strong(name: F | Value) -> Func:
    """Return the strong look-alike skeleton: lower case, separators dropped, l and i as 1, o as 0."""
    return Func(_lower(name), Value("lio._-"), Value("110"), function="translate", output_field=models.TextField())


def mild(name: F | Value) -> Func:
    """Return the mild look-alike skeleton: lower case, every run of `-_.` as one hyphen."""
    return Func(
        _lower(name),
        Value("[-_.]+"),
        Value("-"),
        Value("g"),
        function="regexp_replace",
        output_field=models.TextField(),
    )


def in_namespace(name: str = "name") -> Case:
    """Return the skeleton of a name inside a namespace: strong in `library`, mild elsewhere."""
    return Case(When(namespace_id=LIBRARY_ID, then=strong(F(name))), default=mild(F(name)))


def words(*columns: str) -> Func:
    """Return a text whose words PostgreSQL finds: as written, then with separators as spaces.

    Its parser reads `sentiment.bert` as a host name and keeps it whole.
    """
    parts: list[F | Func | Value] = []
    for column in columns:
        spaced = Func(F(column), Value("._/-"), Value("    "), function="translate")
        parts += [F(column), Value(" "), spaced, Value(" ")]
    return Func(*parts[:-1], template="(%(expressions)s)", arg_joiner=" || ", output_field=models.TextField())


def tsvector(weight: str, *columns: str) -> Func:
    """Return the weighted search vector of these columns, in the configuration without a language."""
    config = Func(template="'simple'::regconfig")
    vector = Func(config, words(*columns), function="to_tsvector")
    return Func(vector, template=f"setweight(%(expressions)s, '{weight}')")


def reserved_skeletons() -> list[str]:
    """Return the strong skeletons of the reserved namespaces, so that `ap1` is refused with `api`."""
    return sorted({reference.skeleton_strong(name) for name in reference.RESERVED_NAMESPACES})


def matches(name: str, column: str, pattern: str) -> CheckConstraint:
    """Return the CHECK that a column, where it is set, matches a regular expression."""
    return CheckConstraint(condition=Q(**{f"{column}__regex": pattern}), name=name)


def digests(table: str, *columns: str) -> list[CheckConstraint]:
    """Return one CHECK a column: 64 lowercase hex digits."""
    return [matches(f"{table}_{column}_is_sha256", column, HEX64) for column in columns]


def fingerprint(table: str, column: str = "base_fingerprint") -> CheckConstraint:
    """Return the CHECK that a column holds `base:<64 hex>`."""
    return matches(f"{table}_{column}_is_base", column, FINGERPRINT)


def one_of(table: str, column: str, choices: type[TextChoices]) -> CheckConstraint:
    """Return the CHECK that a column holds one of the words of `choices`."""
    return CheckConstraint(condition=Q(**{f"{column}__in": sorted(choices.values)}), name=f"{table}_{column}_is_known")


def both_or_neither(name: str, first: str, second: str) -> CheckConstraint:
    """Return the CHECK that two columns are set together."""
    return CheckConstraint(
        condition=Q(**{f"{first}__isnull": True, f"{second}__isnull": True})
        | Q(**{f"{first}__isnull": False, f"{second}__isnull": False}),
        name=name,
    )


def implies(name: str, condition: Q, consequence: Q) -> CheckConstraint:
    """Return the CHECK that where `condition` holds, `consequence` does.

    Both must be true or false: a CHECK lets NULL pass.
    """
    return CheckConstraint(condition=~condition | consequence, name=name)


def name_checks(table: str, column: str = "name") -> list[CheckConstraint]:
    """Return the CHECKs of the grammar of namespaces and adapter names."""
    return [
        matches(f"{table}_{column}_is_wellformed", column, NAME),
        CheckConstraint(condition=~Q(**{f"{column}__regex": NAME_HAS_BAD_PART}), name=f"{table}_{column}_reads_well"),
    ]
