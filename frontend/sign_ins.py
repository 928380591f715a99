"""Tells the audit log of signing in and out, by whichever page: the only place that hears Django's signals."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from scanner import audit
from scanner.audit import Actor, How
from scanner.models import AuditEntry

STRANGER = Actor("somebody", How.PAGE)
UNKNOWN = "unknown account"  # not what was typed: people type passwords into the field for the name
REFUSED = "user.sign_in_refused"
QUIET = timedelta(minutes=1)  # between two entries about one account: who tries a million passwords fills no table


@receiver(user_logged_in)
def signed_in(request: HttpRequest, user: AbstractBaseUser, **_: Any) -> None:
    tell("user.signed_in", request, user)


@receiver(user_logged_out)
def signed_out(request: HttpRequest, user: AbstractBaseUser | None, **_: Any) -> None:
    if user is not None:  # else the session had ended before
        tell("user.signed_out", request, user)


def tell(action: str, request: HttpRequest, user: AbstractBaseUser) -> None:
    if request.method:  # else a program has made a session: nobody was there
        audit.record(Actor(user.get_username(), How.PAGE), action, user)


@receiver(user_login_failed)
def refused(credentials: dict[str, Any], **_: Any) -> None:
    users: Any = get_user_model()
    account = users.objects.filter(**{users.USERNAME_FIELD: credentials.get(users.USERNAME_FIELD)}).first()
    before = AuditEntry.objects.filter(action=REFUSED, target_id=str(account.pk) if account else "")
    if not before.filter(at__gt=timezone.now() - QUIET).exists():
        audit.record(STRANGER, REFUSED, account or UNKNOWN)
