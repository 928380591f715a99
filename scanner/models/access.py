"""Who may talk to us without a password: API tokens, and links that sign in once. Only hashes are kept.

And who sees which hosts: all, unless a limit says that they must have one of some tags.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from scanner.models.host import Host, Tag

LINK_LIFETIME = timedelta(hours=1)


@dataclass(frozen=True)
class Sight:
    """Which hosts somebody sees: all of them, or those that have one of these tags, names by their ids."""

    tags: Mapping[int, str] | None = None

    @property
    def limited(self) -> bool:
        return self.tags is not None

    @property
    def names(self) -> list[str]:
        return sorted((self.tags or {}).values())

    def __str__(self) -> str:
        """In words for who has it; empty where nothing is hidden."""
        if self.tags is None:
            return ""
        if not self.tags:
            return "You are limited to the hosts with certain tags, and no tag is named yet: so you see no host."
        return f"You see the hosts tagged {', '.join(self.names)}."

    def shows(self, host: str) -> Q:
        """A condition for rows whose host is in this column. Without a join, so that none is counted twice."""
        if self.tags is None:
            return Q()
        return Q(Exists(Host.tags.through.objects.filter(host=OuterRef(host), tag__in=list(self.tags))))

    def shows_host_with(self, tags: Iterable[int]) -> bool:
        return self.tags is None or not self.tags.keys().isdisjoint(tags)


class HostLimitQuerySet(models.QuerySet["HostLimit"]):
    def sight_of(self, user: Any) -> Sight:
        """The user's own limit and those of the groups add up; who has none sees everything, and so do superusers.

        One query, the first time that a user is asked about: the answer stays with the object.
        """
        if not user.is_authenticated:
            return Sight({})
        if user.is_superuser:
            return Sight()
        if not hasattr(user, "known_sight"):
            rows = list(self.filter(Q(user=user) | Q(group__user=user)).values_list("tags", "tags__name"))
            user.known_sight = Sight({pk: name for pk, name in rows if pk} if rows else None)
        return user.known_sight


class HostLimit(models.Model):
    """A user, or all of a group, see only the hosts that have one of these tags."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="host_limit"
    )
    group = models.OneToOneField(Group, on_delete=models.CASCADE, null=True, blank=True, related_name="host_limit")
    tags = models.ManyToManyField(
        Tag,
        blank=True,
        related_name="limits",
        help_text="Hosts with one of these are seen, and no others. Those of a user and of the groups add up.",
    )

    objects = HostLimitQuerySet.as_manager()

    class Meta:
        verbose_name = "limit to hosts by tag"
        verbose_name_plural = "limits to hosts by tag"
        constraints = [
            models.CheckConstraint(
                condition=Q(user=None, group__isnull=False) | Q(user__isnull=False, group=None),
                name="a_limit_is_of_a_user_or_a_group",
                violation_error_message="A limit is of a user or of a group: name one of them.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user or self.group}: {', '.join(tag.name for tag in self.tags.all()) or 'no host'}"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def issue(self, name: str, scope: str, tags: Iterable[str] = (), **fields: object) -> str:
        """A new token's text, shown this once; the row keeps its hash. `tags`: it sees only hosts with one of these.

        Raises ValidationError for what cannot be a tag, and for a limited token that is to manage what is about all.
        """
        text = f"scanner_{secrets.token_urlsafe(32)}"
        with transaction.atomic():
            token = ApiToken(name=name, scope=scope, hash=hashed(text), beginning=text[:12], **fields)
            seen = Tag.objects.all_named(tags)
            token.limited = bool(seen)
            token.validate_constraints()
            token.save(force_insert=True)
            token.tags.set(seen)
        return text

    def valid(self, text: str) -> "ApiToken | None":
        return self.filter(hash=hashed(text), revoked_at=None).first()


class ApiToken(models.Model):
    """A monitoring tool's or a script's way in: `Authorization: Bearer …`. Each scope includes those before it."""

    class Scope(models.TextChoices):
        READ = "read", "read: see hosts and scans"
        SCAN = "scan", "scan: also start and cancel scans"
        ADMIN = "admin", "admin: also manage webhooks and schedules, and read the audit log"

    name = models.CharField(max_length=100)
    scope = models.CharField(max_length=10, choices=Scope)
    beginning = models.CharField(max_length=12, editable=False, help_text="The token's first characters, to tell it.")
    hash = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    limited = models.BooleanField(default=False, editable=False, help_text="To the hosts that have one of its tags.")
    tags = models.ManyToManyField(Tag, blank=True, editable=False, related_name="tokens")

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = "API token"
        constraints = [
            models.CheckConstraint(
                condition=~Q(limited=True, scope="admin"),
                name="a_limited_token_manages_nothing",
                violation_error_message="Scope admin is about all hosts: a token with it cannot be limited to tags.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.scope})"

    def allows(self, scope: str) -> bool:
        order = list(self.Scope.values)
        return order.index(scope) <= order.index(self.scope)

    @property
    def sight(self) -> Sight:
        """A tag that is gone takes its hosts along: a limited token never sees more than before."""
        return Sight({tag.pk: tag.name for tag in self.tags.all()} if self.limited else None)


class SignInLinkQuerySet(models.QuerySet["SignInLink"]):
    def issue(self, user: models.Model) -> str:
        """The text of a link that signs this user in once, within the hour."""
        self.filter(expires_at__lt=timezone.now()).delete()
        text = secrets.token_urlsafe(32)
        self.create(user=user, hash=hashed(text), expires_at=timezone.now() + LINK_LIFETIME)
        return text

    def use(self, text: str) -> "SignInLink | None":
        """Claim a link; None if there is none, or it was used or is too old. Of two uses at once one wins."""
        link = self.filter(hash=hashed(text), expires_at__gt=timezone.now()).select_related("user").first()
        return link if link and self.filter(pk=link.pk).delete()[0] else None


class SignInLink(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()

    objects = SignInLinkQuerySet.as_manager()


def hashed(text: str) -> str:
    """Plain SHA-256 is enough for a random text of 256 bits."""
    return hashlib.sha256(text.encode()).hexdigest()
