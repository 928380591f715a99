"""`manage.py setup_package_scanner_schedule`: scan on a systemd timer, or be told the crontab line for it."""

import os
import re
import shlex
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scanner import schedule
from scanner.package_managers.command import CommandError as ProgramError

NO_SYSTEMD = 3


class Command(BaseCommand):
    help = (
        "Scan this host regularly, with a systemd timer. Without systemd: print the line for a crontab. "
        "Exit status: 0 done, 1 it failed, 2 wrong usage, 3 no systemd can be reached."
    )
    requires_system_checks = ()  # it must work where there is no database yet

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--interval", choices=schedule.INTERVALS, help="Default: daily")
        parser.add_argument("--at", type=clock, metavar="HH:MM", help="This machine's time; default: 02:00")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--status", action="store_true", help="Tell the last run, the next run and the last exit")
        what.add_argument("--disable", action="store_true", help="Stop the timer and remove what was written")
        parser.add_argument("--system", action="store_true", help="A timer of the system, not of the user; needs root")
        parser.add_argument("--dry-run", action="store_true", help="Print files and commands; write and run nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        hour, minute = options["at"] or (2, 0)
        self.when = schedule.Schedule(options["interval"] or "daily", hour, minute)
        if (options["status"] or options["disable"]) and (options["interval"] or options["at"]):
            raise CommandError("--interval and --at do not go with --status or --disable.", returncode=2)
        self.systemd = schedule.Systemd(options["system"])
        try:
            self.here = schedule.this_installation(options["system"])
            self.act(options)
        except schedule.NoSystemd as error:
            self.offer_crontab(str(error), options)
            raise SystemExit(NO_SYSTEMD) from error
        except (schedule.ScheduleError, ProgramError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename or 'A file'} cannot be written: {error.strerror}.") from error

    def act(self, options: dict[str, Any]) -> None:
        if options["dry_run"] and not options["status"]:
            self.say(self.plan_to_remove() if options["disable"] else self.plan())
            self.say_if_it_would_not_work()
            return
        self.systemd.check()
        if options["status"]:
            self.say(schedule.status(self.here, self.systemd))
            return
        self.check_root(options)
        if options["disable"]:
            self.say(schedule.remove(self.here, self.systemd))
        else:
            self.set_up()

    def set_up(self) -> None:
        schedule.check_owner(self.here)
        self.say(schedule.install(self.here, self.when, self.systemd))
        if not self.systemd.system and not self.systemd.lingers(self.here.user):
            self.say(["", schedule.lingering(self.here.user)])

    def check_root(self, options: dict[str, Any]) -> None:
        if not options["system"] or os.geteuid() == 0:
            return
        # names only: values would show in the process list
        names = sorted(name for name in (*self.here.settings, *self.here.secrets) if name in os.environ)
        kept = [f"--preserve-env={','.join(names)}"] if names else []
        words = ["--disable"] if options["disable"] else ["--interval", self.when.interval, "--at", self.when.time]
        raise CommandError(
            "A timer of the system needs root. Run: "
            + shlex.join(["sudo", *kept, *self.here.command(schedule.SETUP, "--system", *words)])
            + "\nWithout --system it is a timer of your own, which needs nobody's permission."
        )

    def plan(self) -> list[str]:
        files = [*schedule.secrets_files(self.here), *schedule.unit_files(self.here, self.when, self.systemd.system)]
        commands = [shlex.join(self.systemd.argv(*words)) for words in schedule.INSTALLING]
        return [
            *(f"# would write {file.path} (mode {file.mode:04o})\n{file.shown()}" for file in files),
            "# would run",
            *commands,
        ]

    def say_if_it_would_not_work(self) -> None:
        try:
            self.systemd.check()
        except schedule.NoSystemd as error:
            self.stderr.write(f"{error}\nSo without --dry-run none of this would be done; the crontab line would be:")
            self.stderr.write(schedule.crontab_line(self.here, self.when, self.systemd.system))

    def plan_to_remove(self) -> list[str]:
        folder = schedule.unit_folder(self.systemd.system)
        there = [folder / unit for unit in schedule.UNITS if (folder / unit).exists()]
        if not there:
            return [f"Nothing to remove: there is no {schedule.TIMER} in {folder}."]
        commands = [shlex.join(self.systemd.argv(*words)) for words in (*schedule.REMOVING, ("daemon-reload",))]
        return ["# would run", *commands, *(f"# would remove {path}" for path in there)]

    def offer_crontab(self, why: str, options: dict[str, Any]) -> None:
        """The line alone is on stdout."""
        self.stderr.write(why)
        if options["disable"]:
            self.stderr.write("If cron scans: take the line out again with `crontab -e`.")
            return
        for file in schedule.secrets_files(self.here) if not options["status"] else ():
            file.write()
            self.stderr.write(f"Written: {file.path}, with the secrets that the line reads.")
        where = "put this line into /etc/cron.d/package-scanner" if options["system"] else "`crontab -e`, add this line"
        self.stderr.write(f"With cron instead ({self.when.words}): {where}. Cron mails what a failed scan says.")
        self.stdout.write(schedule.crontab_line(self.here, self.when, options["system"]))

    def say(self, lines: list[str]) -> None:
        for line in lines:
            self.stdout.write(line)


def clock(text: str) -> tuple[int, int]:
    # 02:00
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text, re.ASCII)
    if not found:
        raise ArgumentTypeError(f"{text!r} is not a time from 00:00 to 23:59, like 02:30")
    return int(found[1]), int(found[2])
