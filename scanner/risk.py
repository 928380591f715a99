"""The product's table of status levels, as data, and what makes a number unknown."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Level:
    """`status` and `label` are the public words; `severity` orders and draws them (Low and Medium share a status)."""

    status: str
    label: str
    severity: str


RISK_LEVELS = (  # from this many open security updates on
    (20, Level("danger", "High Risk", "high")),
    (5, Level("warning", "Medium Risk", "medium")),
    (1, Level("warning", "Low Risk", "low")),
    (0, Level("success", "Secure", "secure")),
)
UNKNOWN = Level("unknown", "Unknown", "unknown")


def level(
    security_updates: int | None, complete: bool, metadata_date: datetime | None, at: datetime, max_age: timedelta
) -> Level:
    """The level of a host at a time. A count of 0 needs a whole scan, and any count needs fresh metadata."""
    if security_updates is None or metadata_date is None or at - metadata_date > max_age:
        return UNKNOWN
    if security_updates == 0 and not complete:
        return UNKNOWN
    return next(level for least, level in RISK_LEVELS if security_updates >= least)
