"""`manage.py sign_in_link [--user NAME]`: a link that signs in once, within the hour."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from frontend.access import new_sign_in_link


class Command(BaseCommand):
    help = "Print a link that signs in once, within the hour: as the first administrator, or as --user."
    requires_system_checks = ()  # they would load all pages first

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", default="", help="Sign in as this user")

    def handle(self, *args: Any, user: str, **options: Any) -> None:
        try:
            path = new_sign_in_link(user)
        except User.DoesNotExist:
            raise CommandError(f"There is no user {user!r}. `manage.py createsuperuser` makes one.") from None
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used ({error}). `manage.py migrate` prepares it.") from error
        self.stdout.write(f"{settings.BASE_URL}{path}")
