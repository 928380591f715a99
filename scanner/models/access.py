"""Who may talk to us without a password: API tokens, and links that sign in once. Only hashes are kept."""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

LINK_LIFETIME = timedelta(hours=1)


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def issue(self, name: str, scope: str, **fields: object) -> str:
        """A new token's text, shown this once; the row keeps its hash."""
        text = f"scanner_{secrets.token_urlsafe(32)}"
        self.create(name=name, scope=scope, hash=hashed(text), beginning=text[:12], **fields)
        return text

    def valid(self, text: str) -> "ApiToken | None":
        return self.filter(hash=hashed(text), revoked_at=None).first()


class ApiToken(models.Model):
    """A monitoring tool's or a script's way in: `Authorization: Bearer …`. Each scope includes those before it."""

    class Scope(models.TextChoices):
        READ = "read", "read: see hosts and scans"
        SCAN = "scan", "scan: also start and cancel scans"
        ADMIN = "admin", "admin: also manage webhooks"

    name = models.CharField(max_length=100)
    scope = models.CharField(max_length=10, choices=Scope)
    beginning = models.CharField(max_length=12, editable=False, help_text="The token's first characters, to tell it.")
    hash = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} ({self.scope})"

    def allows(self, scope: str) -> bool:
        order = list(self.Scope.values)
        return order.index(scope) <= order.index(self.scope)


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
