"""`manage.py up`: the whole scanner with one command. `make run` calls it."""

import hashlib
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from frontend.access import new_sign_in_link
from project import processes, static_storage


class Command(BaseCommand):
    help = "Start the web server, the worker and the scheduler, with what they need, and keep them running."
    requires_system_checks = ()  # they would load all pages first

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with processes.only_one() as leave_address, processes.listening(settings.HOST, settings.PORT) as listener:
                address = processes.address_to_open(listener)
                leave_address(address)
                self.migrate()
                self.collect_static()
                connection.close()  # our children must not inherit it
                processes.run(listener, lambda: self.say_where(address), self.say)
        except processes.CannotRun as error:
            sys.exit(str(error))
        except KeyboardInterrupt:  # while nothing ran yet
            sys.exit(130)

    def say(self, text: str) -> None:
        with suppress(OSError):  # the terminal has gone; the scanner goes on
            self.stdout.write(text)
            self.stdout.flush()

    def say_where(self, address: str) -> None:
        link = new_sign_in_link()
        connection.close()
        self.say(f"\nOpen {address}{link}  (signs you in once, within the hour)\n")
        self.say(f"Ctrl-C stops the scanner. Its logs are in {settings.SCANNER_DATA / 'logs'}")

    def migrate(self) -> None:
        try:
            executor = MigrationExecutor(connection)
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                self.say("Preparing the database …")
                call_command("migrate", interactive=False, verbosity=0)
        except OperationalError as error:
            raise processes.CannotRun(f"The database cannot be used: {error}") from error

    def collect_static(self) -> None:
        done = settings.SCANNER_DATA / "static.sha256"
        now = hash_of_static_files()
        if (settings.STATIC_ROOT / "staticfiles.json").exists() and done.exists() and done.read_text() == now:
            return
        self.say("Collecting the static files …")
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        done.write_text(now)


def hash_of_static_files() -> str:
    """Of the files that go in, and of the code that rewrites them."""
    total = hashlib.sha256(Path(static_storage.__file__).read_bytes())
    for finder in get_finders():
        for path, storage in finder.list([]):
            total.update(path.encode())
            with storage.open(path) as file:
                total.update(file.read())
    return total.hexdigest()
