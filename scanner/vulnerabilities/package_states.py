"""How each package of a scan stands as to security, in one of four words: for pictures and lists of all of them."""

from collections.abc import Mapping

from django.db.models import Q

from scanner.models import Scan
from scanner.vulnerabilities.findings import what_is_missing
from scanner.vulnerabilities.places import COUNTED, Word

STATES: Mapping[str, Word] = {
    "update": Word("Security update waits", "A security update of it waits: install it."),
    "open": Word("Vulnerabilities open", "The feeds name vulnerabilities in it, and no security update of it waits."),
    "unknown": Word("Not known", "No feed says anything of it, or an update waits that may be one for security."),
    "clear": Word("None known", "No security update of it waits, and the feeds name no open vulnerability in it."),
}
"""The gravest first."""
JUDGED_BY_NOBODY = Q(package_version=None) | Q(package_version__generation=None)


def states_of(scan: Scan) -> dict[str, str]:
    """By name: the gravest of what its architectures are. The scan has counts."""
    rows = scan.packages.order_by()
    names = rows.values_list("name", flat=True)
    unjudged = names if what_is_missing(scan.distribution) else names.filter(JUDGED_BY_NOBODY)
    waiting = scan.updates.counted().values_list("name", flat=True)
    return {
        **dict.fromkeys(names, "clear"),
        **dict.fromkeys(unjudged, "unknown"),
        **dict.fromkeys(waiting.filter(security=None), "unknown"),
        **dict.fromkeys(names.filter(package_version__findings__status__in=COUNTED).distinct(), "open"),
        **dict.fromkeys(waiting.filter(security=True), "update"),
    }
