"""`manage.py create_api_token NAME --scope read|scan|admin [--tag TAG …]`: prints a new token, once."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, transaction

from scanner import audit
from scanner.models import ApiToken


class Command(BaseCommand):
    help = "Make an API token. Its text is printed once and stored only as a hash; it is revoked in the admin."
    requires_system_checks = ()  # they would load all pages first

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="What uses it, for example: grafana")
        parser.add_argument("--scope", choices=ApiToken.Scope.values, default="read", help="Default: read")
        parser.add_argument(
            "--tag", action="append", default=[], help="It sees only the hosts with this tag; may be repeated"
        )

    def handle(self, *args: Any, name: str, scope: str, tag: list[str], **options: Any) -> None:
        try:
            with transaction.atomic():
                text = ApiToken.objects.issue(name, scope, tag)
                seen = {"tags": tag} if tag else {}
                audit.record(audit.COMMAND_LINE, "token.created", name, after={"scope": scope, **seen})
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used ({error}). `manage.py migrate` prepares it.") from error
        hosts = f" for the hosts tagged {', '.join(tag)}" if tag else ""
        self.stderr.write(f"Token {name!r} with scope {scope}{hosts}. It is shown only now: keep it safe.")
        self.stdout.write(text)
