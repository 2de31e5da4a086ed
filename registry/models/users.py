"""People, the namespaces they write in, and their tokens."""

from datetime import datetime
from typing import Self

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import CheckConstraint, F, GeneratedField, Index, Q, UniqueConstraint, Value
from django.db.models.functions import Lower
from django.utils import timezone

from registry.models import rules


class User(AbstractUser):
    """Somebody who signs in. What they may write is a matter of their memberships."""

    class Meta:
        constraints = [UniqueConstraint(Lower("username"), name="user_username_is_unique_in_any_case")]


class NamespaceKind(models.TextChoices):
    USER = "user"
    ORG = "org"
    LIBRARY = "library"


class NamespaceQuerySet(models.QuerySet["Namespace"]):
    """Questions about namespaces."""

    def of(self, user: User) -> Self:
        """Return the namespaces this user is a member of."""
        return self.filter(memberships__user=user)

    def looking_like(self, name: str) -> Self:
        """Return the namespace, if any, that this name would be mistaken for."""
        return self.filter(skeleton=rules.strong(Value(name)))


class Namespace(models.Model):
    """The first half of `namespace/name`: a person, an organisation, or the one `library`."""

    Kind = NamespaceKind

    name = models.CharField(max_length=96)
    skeleton = GeneratedField(
        expression=rules.strong(F("name")), output_field=models.CharField(max_length=96), db_persist=True
    )
    kind = models.CharField(max_length=16, choices=NamespaceKind.choices, default=NamespaceKind.USER)
    created_at = models.DateTimeField(default=timezone.now)

    objects = NamespaceQuerySet.as_manager()

    class Meta:
        constraints = [
            *rules.name_checks("namespace"),
            rules.one_of("namespace", "kind", NamespaceKind),
            UniqueConstraint(fields=["skeleton"], name="namespace_looks_like_no_other"),
            CheckConstraint(condition=~Q(skeleton__in=rules.reserved_skeletons()), name="namespace_is_not_reserved"),
            # Adapter.skeleton relies on the constant: see rules.LIBRARY_ID.
            CheckConstraint(
                condition=Q(pk=rules.LIBRARY_ID, kind="library", name="library")
                | (~Q(pk=rules.LIBRARY_ID) & ~Q(kind="library") & ~Q(name="library")),
                name="namespace_library_is_the_first",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    OWNER = "owner"
    ADMIN = "admin"
    WRITE = "write"
    READ = "read"


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Questions about memberships."""

    def writing(self) -> Self:
        """Return those whose role may push."""
        return self.filter(role__in=[Role.OWNER, Role.ADMIN, Role.WRITE])


class Membership(models.Model):
    """What one user may do in one namespace."""

    Role = Role

    namespace = models.ForeignKey(Namespace, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices)
    created_at = models.DateTimeField(default=timezone.now)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            rules.one_of("membership", "role", Role),
            UniqueConstraint(fields=["namespace", "user"], name="membership_is_one_a_user"),
        ]


class Scope(models.TextChoices):
    READ = "read"
    PUSH = "push"
    WORKER = "worker"
    ADMIN = "admin"


class TokenQuerySet(models.QuerySet["Token"]):
    """Questions about tokens."""

    def usable(self, now: datetime) -> Self:
        """Return those neither revoked nor expired."""
        return self.filter(revoked_at=None).filter(Q(expires_at=None) | Q(expires_at__gt=now))


class Token(models.Model):
    """An API token. Its secret is shown once; only the SHA-256 of it is kept."""

    Scope = Scope

    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=200, default="", blank=True)
    prefix = models.CharField(max_length=12)
    digest = rules.DigestField(unique=True)
    scope = models.CharField(max_length=16, choices=Scope.choices)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        constraints = [*rules.digests("token", "digest"), rules.one_of("token", "scope", Scope)]


class SignIn(models.Model):
    """An attempt to sign in that failed, or is not over yet; `subject` is the hash of a name or of an address."""

    subject = rules.DigestField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [*rules.digests("signin", "subject")]
        indexes = [
            Index(fields=["subject", "at"], name="signin_by_subject"),
            Index(fields=["at"], name="signin_by_time"),
        ]
