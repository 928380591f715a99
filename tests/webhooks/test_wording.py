"""What people are told: short, true, and not at the mercy of a package's name."""

from typing import Any

import pytest

from scanner.webhooks.harmless import fitted, is_web_address, plain, without_mentions
from scanner.webhooks.wording import Message, as_text, message
from tests.webhooks.sample_events import (
    TYPES,
    changes,
    digest_event,
    disabled_event,
    event,
    every_type,
    failed_scan,
    monstrous_event,
    package,
    scan,
)


def told(kind: str, **data: Any) -> Message:
    return message(event(kind, **data))


def fact(message: Message, label: str) -> str | None:
    return dict(message.facts).get(label)


def test_an_appeared_update_says_what_where_and_how_bad() -> None:
    assert told("update_appeared") == Message(
        title="web-1: 3 new security updates",
        level="high",
        sentence="web-1 has 3 new security updates. It is at High Risk: 23 security updates are waiting.",
        facts=(
            ("Status", "High Risk"),
            ("Security updates", "23 (3 new, 1 fixed)"),
            ("Oldest", "openssl, waiting since 22 Nov 2026, 14:03 UTC"),
            ("Tags", "prod, eu"),
        ),
        lines=tuple(f"{name} 3.0.1 → 3.0.2 (critical, CVE-2026-1111)" for name in ("openssl", "curl", "sudo")),
        link="https://scanner.example.org/scans/7/",
        link_label="Open the scan",
        footer="evt_0193f5a3c0de70008000000000000001 · 24 Nov 2026, 10:00 UTC",
    )


@pytest.mark.parametrize(
    ("made", "title", "level", "sentence"),
    [
        (
            event("package_scan_completed"),
            "web-1: 3 new security updates",
            "high",
            "web-1 is at High Risk: 23 security updates are waiting.",
        ),
        (
            event("package_scan_completed", changes=changes(new_security_updates=0)),
            "web-1: High Risk, 23 security updates",
            "high",
            "web-1 is at High Risk: 23 security updates are waiting.",
        ),
        (
            event(
                "package_scan_completed",
                status_label="Secure",
                scan=scan(security_updates=0),
                changes=changes(new_security_updates=0),
            ),
            "web-1: Secure, no security updates",
            "secure",
            "web-1 is Secure: no security update is waiting.",
        ),
        (
            event("package_scan_failed", **failed_scan()),
            "web-1: the scan failed",
            "unknown",
            "The scan of web-1 failed, so its status is unknown.",
        ),
        (
            event("package_scan_stale", status_label="Unknown"),
            "web-1: the last scan is too old",
            "unknown",
            "The last scan of web-1, or what it knew of updates, is too old: its status is unknown.",
        ),
        (
            event("status_changed"),
            "web-1: High Risk, was Low Risk",
            "high",
            "web-1 went from Low Risk to High Risk: 23 security updates are waiting.",
        ),
        (
            event("status_changed", status_label="Unknown"),
            "web-1: Unknown, was Low Risk",
            "unknown",
            "web-1 went from Low Risk to Unknown: 23 security updates were waiting at the last scan.",
        ),
        (
            event("status_changed", changes=changes(previous_status_label=None)),
            "web-1: High Risk",
            "high",
            "web-1 went to High Risk: 23 security updates are waiting.",
        ),
        (
            event("update_resolved"),
            "web-1: 1 security update fixed",
            "high",
            "1 security update of web-1 waits no longer. It is at High Risk: 23 security updates are waiting.",
        ),
        (
            event("update_late", late=[package("curl"), package("sudo")], late_more=1, target_hours=48),
            "web-1: 3 security updates late",
            "high",
            "3 security updates of web-1 have waited for more than 48 h. "
            "It is at High Risk: 23 security updates are waiting.",
        ),
        (
            event("reboot_required", status_label="Low Risk", scan=scan(security_updates=1, reboot_required=True)),
            "web-1 needs a reboot",
            "low",
            "web-1 needs a reboot before its updates protect it. It is at Low Risk: 1 security update is waiting.",
        ),
        (
            disabled_event(),
            "Webhook switched off: ops",
            "unknown",
            "The webhook “ops” was switched off. Nobody hears of anything through it until it is switched on again.",
        ),
        (
            digest_event(),
            "Daily digest: 3 hosts, 1 High Risk, 1 Low Risk, 1 Secure",
            "high",
            "12 events on 3 hosts since 23 Nov 2026, 10:00 UTC: 1 High Risk, 1 Low Risk, 1 Secure.",
        ),
    ],
)
def test_every_type_has_its_own_words(made: dict[str, Any], title: str, level: str, sentence: str) -> None:
    found = message(made)
    assert (found.title, found.level, found.sentence) == (title, level, sentence)


def test_a_type_of_tomorrow_is_told_all_the_same() -> None:
    found = message(event("kernel_replaced"))
    assert found.title == "web-1: security.kernel_replaced"
    assert "23 security updates are waiting" in found.sentence


def test_no_type_is_missing_here() -> None:
    assert [made["type"] for made in every_type()] == list(TYPES)


@pytest.mark.parametrize(
    ("number", "words"), [(1, "web-1: 1 new security update"), (2, "web-1: 2 new security updates")]
)
def test_one_is_singular(number: int, words: str) -> None:
    assert told("update_appeared", changes=changes(new_security_updates=number)).title == words


# --- unknown is not zero ----------------------------------------------------------------------------


def test_a_failed_scan_says_why_what_to_do_and_what_was_known_before() -> None:
    found = told("package_scan_failed", **failed_scan())
    assert dict(found.facts) == {
        "Status": "Unknown",
        "Security updates": "unknown",
        "Error": "apt could not be read.",
        "Next step": "Run `apt update`.",
        "Before": "High Risk, 21 security updates, 23 Nov 2026, 10:00 UTC",
        "Oldest": "openssl, waiting since 22 Nov 2026, 14:03 UTC",
        "Tags": "prod, eu",
    }


def test_none_found_in_half_a_scan_is_unknown() -> None:
    half = scan(state="partial", security_updates=0, gaps=["The repository main could not be read."])
    found = told("package_scan_completed", status_label="Unknown", scan=half)
    assert found.title == "web-1: security updates unknown"
    assert found.sentence == "The status of web-1 is unknown: the number of security updates is unknown."
    assert fact(found, "Security updates") == "unknown"
    assert fact(found, "Not read") == "The repository main could not be read."


def test_the_count_of_an_old_scan_is_told_as_old() -> None:
    found = told("package_scan_stale", status_label="Unknown")
    assert fact(found, "Security updates") == "23 at the last scan"
    assert fact(found, "Scanned") == "24 Nov 2026, 09:59 UTC, with package lists of 24 Nov 2026, 09:59 UTC"


@pytest.mark.parametrize(
    ("new", "fixed", "words"),
    [
        (None, None, "23 (changes unknown)"),
        (3, None, "23 (3 new, unknown fixed)"),
        (0, 1, "23 (1 fixed)"),
        (0, 0, "23"),
    ],
)
def test_unknown_changes_are_written_as_unknown(new: int | None, fixed: int | None, words: str) -> None:
    counts = changes(new_security_updates=new, fixed_security_updates=fixed)
    assert fact(told("package_scan_completed", changes=counts), "Security updates") == words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reboot_required": True, "reboot_reason": "The kernel was replaced."}, "required: The kernel was replaced."),
        ({"reboot_required": True}, "required"),
        ({"reboot_required": None}, "unknown"),
        ({"reboot_required": False}, None),
    ],
)
def test_a_reboot_is_told_when_it_is_needed_or_unknown(fields: dict[str, Any], words: str | None) -> None:
    assert fact(told("package_scan_completed", scan=scan(**fields)), "Reboot") == words


@pytest.mark.parametrize("kind", [name.removeprefix("security.") for name in TYPES])
def test_an_event_without_anything_is_still_told(kind: str) -> None:
    empty = {"host": None, "scan": None, "changes": None, "oldest_security_update": None, "status_label": None}
    for made in (event(kind, **empty), {"type": f"security.{kind}"}):
        found = message(made)
        assert found.title
        assert found.sentence
        assert found.level == "unknown"
        assert "None" not in f"{found.title} {as_text(found)}"
        assert " 0 " not in f"{found.title} {as_text(found)}"


def test_a_host_without_numbers_in_a_digest_is_unknown() -> None:
    made = digest_event(1)
    made["data"]["digest"]["hosts"] = [{"name": "web-1", "url": None}]
    assert message(made).lines == ("web-1: Unknown, unknown security updates (changes unknown)",)


def test_none_found_on_a_host_of_unknown_status_is_unknown_in_a_digest_too() -> None:
    made = digest_event(1)
    made["data"]["digest"]["hosts"][0] |= {"security_updates": 0, "status_label": "Unknown"}
    assert message(made).lines == ("host-0: Unknown, unknown security updates",)


def test_a_digest_without_hosts_says_so() -> None:
    found = message(digest_event(0))
    assert found.title == "Daily digest: 12 events"
    assert found.sentence == "12 events since 23 Nov 2026, 10:00 UTC, none of them about a host."


# --- a test is a test -------------------------------------------------------------------------------


def test_a_test_message_is_marked_as_one() -> None:
    found = told("package_scan_completed", test=True)
    assert found.title == "[Test] web-1: 3 new security updates"
    assert found.sentence.startswith("This is a test, nothing has happened.")


# --- lists ------------------------------------------------------------------------------------------


def test_a_long_list_is_cut_and_the_rest_is_counted() -> None:
    rows = [package(f"package-{number}") for number in range(20)]
    found = told(
        "update_appeared",
        changes=changes(appeared=rows, new_security_updates=33, more={"appeared": 13, "resolved": 5}),
    )
    assert len(found.lines) == 11
    assert found.lines[9].startswith("package-9 ")
    assert found.lines[10] == "and 23 more"


def test_exactly_ten_are_all_shown() -> None:
    rows = [package(f"package-{number}") for number in range(10)]
    found = told("update_appeared", changes=changes(appeared=rows))
    assert len(found.lines) == 10
    assert found.lines[9].startswith("package-9 ")


def test_what_is_fixed_is_listed_as_fixed() -> None:
    assert told("update_resolved").lines == ("zlib1g: fixed",)


def test_what_is_late_is_listed_and_what_to_fix_first_says_why() -> None:
    first = {"name": "curl", "reason": "CVE-2026-1111 is known to be exploited (CISA, since 3 Nov 2026)."}
    found = told("update_late", late=[package("curl")], late_more=4, fix_first=first)
    assert found.lines == ("curl 3.0.1 → 3.0.2 (critical, CVE-2026-1111)", "and 4 more")
    assert fact(found, "Fix first") == f"curl: {first['reason']}"


def test_a_package_line_leaves_out_what_is_not_known() -> None:
    rows = [
        package("a", installed_version=None, severity=None, cves=[]),
        package("b", severity="", cves=["CVE-1", "CVE-2", "CVE-3"]),
        package("c", architecture="amd64", cves=[]),
        package("c", architecture="i386", cves=[]),
    ]
    assert told("update_appeared", changes=changes(appeared=rows)).lines == (
        "a 3.0.2",
        "b 3.0.1 → 3.0.2 (CVE-1 and 2 more)",
        "c [amd64] 3.0.1 → 3.0.2 (critical)",
        "c [i386] 3.0.1 → 3.0.2 (critical)",
    )


def test_a_digest_lists_the_worst_hosts_first_and_says_when_there_are_more() -> None:
    found = message(digest_event(50, more=7))
    assert found.title.startswith("Daily digest: 57 hosts, at least 17 High Risk")
    assert found.lines[0] == "host-1: High Risk, 23 security updates (3 new, 1 fixed)"
    assert len(found.lines) == 21
    assert found.lines[20] == "and 37 more"


# --- text from outside ------------------------------------------------------------------------------


def test_hostile_text_stays_one_short_visible_line() -> None:
    found = message(monstrous_event())
    texts = [found.title, found.sentence, found.footer, *found.lines, *(value for _, value in found.facts)]
    for text in texts:
        assert text.isprintable()
        assert "\u202e" not in text
        assert len(text) < 1200
    assert len(found.title) < 200
    assert len(as_text(found)) < 9000


def test_control_characters_and_directions_are_taken_out() -> None:
    assert plain("a\r\nBcc: x\x00\x1b[31m\u202eb\u200b\ud800") == "a Bcc: x [31mb"
    assert plain("x" * 500, 10) == "xxxxxxxxx…"
    assert plain(None) == ""


def test_only_web_addresses_become_links() -> None:
    evil = scan(url="javascript:alert(1)")
    assert told("update_appeared", scan=evil, host=None).link == ""
    assert told("update_appeared", scan=evil).link == "https://scanner.example.org/?host=web-1"
    assert not is_web_address("https://example.org/ x")
    assert not is_web_address("https://[example")
    assert message(disabled_event()).link == "https://scanner.example.org/w/1/"


@pytest.mark.parametrize(
    "text", ["@everyone", "@here", "@channel", "@all", "@**all**", "<!channel>", "<users/all>", "<at id=all>", "<@U1>"]
)
def test_a_mention_is_broken_but_reads_the_same(text: str) -> None:
    quiet = without_mentions(f"x{text}")
    assert text not in quiet
    assert quiet.replace("\u200b", "") == f"x{text}"
    assert without_mentions("a < b, mail me @ noon") == "a < b, mail me @ noon"


def test_an_escape_is_never_cut_in_half() -> None:
    table = str.maketrans({"&": "&amp;"})
    assert fitted("a&b", 20, table) == "a&amp;b"
    assert fitted("&&&&", 12, table) == "&amp;&amp;…"
    assert fitted("&&&&", 11, table) == "&amp;&amp;…"
    assert fitted("&&&&", 10, table) == "&amp;…"
