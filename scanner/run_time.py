"""Settings that may be changed while the scanner runs: what somebody has chosen, or else what the environment says."""

import math
import time
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from scanner import audit
from scanner.audit import Actor
from scanner.models.setting import Setting

KEPT = 5.0  # seconds for which a process goes by what it has read: so long a change needs to be known everywhere


@dataclass(frozen=True)
class RunTime:
    """A number that is read anew each time it is used, so that changing it needs no restart."""

    name: str
    label: str
    unit: str
    least: int
    most: int
    about: str

    @property
    def default(self) -> int:
        return int(getattr(settings, self.name))


SETTINGS = {
    each.name: each
    for each in (
        RunTime(
            "SECURITY_TARGET_HOURS",
            "Target for security updates",
            "hours",
            1,
            24 * 365,
            "A security update that has been available for longer is late: on pages, in metrics, filters and events.",
        ),
        RunTime(
            "METADATA_MAX_AGE_DAYS",
            "Package lists may be this old",
            "days",
            1,
            365,
            "After that a result means nothing any more, and the host is Unknown.",
        ),
        RunTime(
            "WEBHOOK_LOG_DAYS",
            "Deliveries and events are kept for",
            "days",
            1,
            3650,
            "What is older is deleted once a day. A longer time brings nothing back.",
        ),
        RunTime(
            "WEBHOOK_LOG_BODY_DAYS",
            "Requests and answers of deliveries are kept for",
            "days",
            1,
            3650,
            "After that only the row of the delivery is left.",
        ),
    )
}

kept: tuple[float, dict[str, int]] = (0.0, {})


def value(name: str) -> int:
    """What holds now; at most one query in five seconds."""
    return chosen().get(name, SETTINGS[name].default)


def chosen() -> dict[str, int]:
    global kept  # noqa: PLW0603 - that is what a process keeps
    until, values = kept
    if time.monotonic() >= until:
        values = dict(Setting.objects.values_list("name", "value"))
        kept = time.monotonic() + KEPT, values
    return values


def forget() -> None:
    """Read anew at the next use."""
    global kept  # noqa: PLW0603
    kept = 0.0, {}


def ask_no_database() -> None:
    """Go by the environment alone from now on: for a scan that leaves nothing behind."""
    global kept  # noqa: PLW0603
    kept = math.inf, {}


class NotPossible(ValueError):
    """Why a value cannot be taken."""


def read(setting: RunTime, text: str) -> int:
    """What somebody has typed. Raises NotPossible."""
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and setting.least <= int(text[:9]) <= setting.most):
        raise NotPossible(f"It is a whole number of {setting.unit}, from {setting.least} to {setting.most}.")
    return int(text)


@transaction.atomic
def choose(setting: RunTime, number: int, by: Actor) -> None:
    before = told(setting)
    Setting.objects.update_or_create(name=setting.name, defaults={"value": number, "chosen_by": by.name})
    tell(setting, before, by)


@transaction.atomic
def back_to_default(setting: RunTime, by: Actor) -> None:
    before = told(setting)
    Setting.objects.filter(name=setting.name).delete()
    tell(setting, before, by)


def told(setting: RunTime) -> dict[str, object]:
    row = Setting.objects.filter(name=setting.name).first()
    return {"value": row.value if row else setting.default, "from": "choice" if row else "environment"}


def tell(setting: RunTime, before: dict[str, object], by: Actor) -> None:
    after = told(setting)
    if after != before:
        audit.record(by, "setting.changed", setting.name, before, after)
    transaction.on_commit(forget)
