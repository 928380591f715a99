"""What is fixed first, and why."""

from datetime import date

import pytest

from scanner.vulnerabilities.urgency import Cve, most_urgent, order, why

EXPLOITED = Cve("CVE-2026-1", "low", "the vendor", exploited=date(2026, 1, 3), epss=0.01)
LIKELY = Cve("CVE-2026-2", "medium", "CVSS", epss=0.43)
CRITICAL = Cve("CVE-2026-3", "critical", "the vendor", epss=0.002)
HIGH_LESS_LIKELY = Cve("CVE-2026-4", "high", "the vendor", epss=0.001)
HIGH = Cve("CVE-2026-5", "important", "the vendor", epss=0.05)
UNRATED = Cve("CVE-2026-6")


def test_exploited_comes_before_likely_and_likely_before_severe() -> None:
    found = sorted((UNRATED, HIGH_LESS_LIKELY, CRITICAL, LIKELY, HIGH, EXPLOITED), key=order)
    assert found == [EXPLOITED, LIKELY, CRITICAL, HIGH, HIGH_LESS_LIKELY, UNRATED]
    assert most_urgent(found) == EXPLOITED and most_urgent([]) is None


@pytest.mark.parametrize(
    ("cve", "words"),
    [
        (EXPLOITED, "CVE-2026-1 is known to be exploited (CISA, since 3 Jan 2026)"),
        (LIKELY, "CVE-2026-2 is likely to be exploited (EPSS 43\N{NARROW NO-BREAK SPACE}%)"),
        (CRITICAL, "CVE-2026-3 is rated critical by the vendor"),
        (UNRATED, "CVE-2026-6, which nobody has rated"),
    ],
)
def test_the_reason_is_said_in_words(cve: Cve, words: str) -> None:
    assert why(cve) == words
