"""A short report as PDF: how a host stands, what to fix first and why, and what is not known.

It lists the security updates, and counts the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from scanner import diff
from scanner.exports.interface import Content, Export, Report, Row
from scanner.exports.sheet import BOLD, INNER, MARGIN, MUTED, Point, Sheet
from scanner.vulnerabilities.urgency import day

FIRST = 5  # that "Fix first" names; all of them follow in a table
TREND_DAYS = 30
LEVELS = {  # of pages, in the light
    "Secure": ("#135c2c", "#e0f7e4", "#1b763a"),
    "Low Risk": ("#5f4f01", "#f7f0d6", "#7c6702"),
    "Medium Risk": ("#763c00", "#ffecd9", "#954e00"),
    "High Risk": ("#920a11", "#ffe8e4", "#b91319"),
    "Unknown": ("#484d55", "#eef0f4", "#5e646c"),
}
SECURITY, SECURITY_LABEL = "#b91319", "#920a11"
ARROW = "\N{RIGHTWARDS ARROW}"
VERDICTS = {True: "yes", False: "no", None: "?"}


class Pdf(Export):
    name = "pdf"
    label = "PDF report"
    holds = "A short report: what to fix first, and why"
    content_type = "application/pdf"
    extension = "pdf"
    is_text = False
    takes_diffs = True

    def scan(self, content: Content, part: str = "") -> Iterator[bytes]:
        yield report(content)

    def diff(self, found: Row) -> Iterator[bytes]:
        yield changes(found)


# --- a scan -----------------------------------------------------------------------------------------


def report(content: Content) -> bytes:
    scan, said = content.scan, content.report()
    at = moment(scan["scan_date"])
    sheet = Sheet(f"Security report of {scan['host']}", f"{scan['host']} · scan {scan['id']} of {at}")
    sheet.text("Security report", 10, colour=MUTED)
    sheet.text(scan["host"], 22, BOLD, gap=6)
    lists = f"package lists of {moment(scan['metadata_date'])}"
    about = (f"Scan of {at}, {scan['state']}", scan["distribution"], scan["package_manager"], lists)
    sheet.text(" · ".join(filter(None, about)), colour=MUTED, gap=12)
    sheet.box(scan["status_label"], standing(scan, said), LEVELS.get(scan["status_label"], LEVELS["Unknown"]))
    sheet.numbers(
        ("Security updates", known(scan["security_updates"])),
        ("All updates", known(scan["total_updates"])),
        ("Packages", known(scan["total_packages"])),
        ("Reboot", {True: "needed", False: "not needed", None: "?"}[scan["reboot_required"]]),
    )
    restarts(sheet, scan)
    sheet.heading(f"The {TREND_DAYS} days up to this scan")
    trend(sheet, said.days, parsed(scan["scan_date"]))
    first_to_fix(sheet, said)
    security_updates(sheet, scan, said)
    others(sheet, scan)
    vulnerabilities(sheet, said)
    sheet.heading("What is not known")
    sheet.bullets(content.unknown() or ["Everything that a scan looks at could be read."])
    if scan["notes"]:
        sheet.heading("Notes")
        sheet.bullets(scan["notes"])
    sheet.text(f"{content.link} · made on {spoken(content.made_at)}", 8, colour=MUTED, above=14)
    return sheet.save()


def standing(scan: Row, said: Report) -> str:
    """In a sentence or two: what waits, and what makes it urgent."""
    number = scan["security_updates"]
    if number is None:
        return "How many security updates are waiting is not known: why, the end of this report says."
    words = [f"{counted(number, 'security update is', 'security updates are')} waiting."]
    if exploited := sum(row["known_exploited"] is True for row in said.security):
        words.append(f"{exploited} of them {verb(exploited, 'fixes', 'fix')} what is known to be exploited.")
    if late := scan["late_security_updates"]:
        words.append(f"{late} {verb(late, 'has', 'have')} been waiting for longer than {scan['target_hours']} h.")
    if scan["status_label"] == "Unknown":
        words.append("There may be more: some of it could not be read, or the package lists were too old.")
    return " ".join(words)


def restarts(sheet: Sheet, scan: Row) -> None:
    """What has to be restarted, so that what is installed is what runs."""
    if scan["reboot_required"] and scan["reboot_reason"]:
        sheet.aside(scan["reboot_reason"])
    if services := scan["services_to_restart"]:
        sheet.aside(f"Still on replaced libraries, until they are restarted: {', '.join(services)}.")


def first_to_fix(sheet: Sheet, said: Report) -> None:
    chosen = [row for row in said.security if not row["risk_accepted_until"]][:FIRST]
    if not chosen:
        return
    sheet.heading("Fix first")
    for number, row in enumerate(chosen, 1):
        sheet.keep(40)
        sheet.text(f"{number}. {row['name']} {row['available_version']}", 9.5, BOLD, gap=1)
        sheet.text(row["why"] or row["reason"], indent=14, gap=1)
        if row["command"]:
            sheet.text(row["command"], 8, colour=MUTED, indent=14, gap=6)
    if left := len(said.security) - len(chosen):
        sheet.aside(f"{left} more {verb(left, 'is', 'are')} in the table of security updates.")


def security_updates(sheet: Sheet, scan: Row, said: Report) -> None:
    sheet.heading(f"Security updates ({known(scan['security_updates'])})")
    if not said.security:
        whole = scan["security_updates"] == 0
        sheet.text("None is waiting." if whole else "None was found, but not everything could be read.")
    columns = (
        *(("Package", 118), (f"Installed {ARROW} available", 118), ("Severity", 56)),
        *(("Waiting since", 76), ("Why", INNER - 368)),
    )
    sheet.table(columns, map(update_cells, said.security))
    if said.pinned:
        why = "a pin keeps them away, or only Ubuntu Pro has them"
        sheet.text(f"Out of reach ({len(said.pinned)}), not in the counts: {why}.", font=BOLD, above=10)
        sheet.table(columns, map(update_cells, said.pinned))


def update_cells(row: Row) -> tuple[str, ...]:
    marks = ["held"] if row["held"] else []
    if row["blocked"] not in (None, "pinned"):
        marks.append(row["blocked"])
    name = f"{row['name']} {row['architecture']}"
    return (
        f"{name} ({', '.join(marks)})" if marks else name,
        f"{row['installed_version']} {ARROW} {row['available_version']}",
        row["worst"] or "",
        f"{brief(row['available_since'])}{' (late)' if row['late'] else ''}",
        row["why"] or row["reason"],
    )


def others(sheet: Sheet, scan: Row) -> None:
    """What is counted and not listed here is said."""
    total, security = scan["total_updates"], scan["security_updates"]
    words = f"{counted(total, 'update is', 'updates are')} waiting in all."
    if security is not None:
        words = f"{counted(total - security, 'other update is', 'other updates are')} waiting."
    sheet.heading("Everything else")
    sheet.text(
        f"{words} {counted(scan['total_packages'], 'package is', 'packages are')} installed. This report counts them;"
        " the exports as CSV, JSON and CycloneDX list each of them."
    )


def vulnerabilities(sheet: Sheet, said: Report) -> None:
    sheet.heading("Vulnerabilities of what is installed")
    if said.tally is None:
        sheet.text("Not known: no feed that has been read tells of this release. That is no all-clear.")
    elif not said.tally:
        sheet.text("The feeds name none.")
    else:
        rows = ((label, known(number), means) for label, means, number in said.tally)
        sheet.table((("Status", 120), ("CVEs", 44), ("Meaning", INNER - 164)), rows)
    if said.exploited:
        sheet.text(f"Known to be exploited ({len(said.exploited)})", font=BOLD, above=10)
        columns = (
            *(("CVE, since", 100), ("Package", 108), ("Installed", 98)),
            *(("Fixed in", 98), ("On this host", INNER - 404)),
        )
        sheet.table(
            columns,
            (
                (
                    f"{row.id}, {day(row.exploited)}" if row.exploited else row.id,
                    row.source,
                    ", ".join(row.versions),
                    row.fixed_version or "no fix",
                    f"Accepted until {day(row.accepted.until)}" if row.accepted else row.state,
                )
                for row in said.exploited
            ),
        )
    if said.tally or said.exploited:
        sheet.aside("The exports as CSV (its part vulnerabilities) and CycloneDX list each of them.")


# --- a diff -----------------------------------------------------------------------------------------


def changes(found: Row) -> bytes:
    """All of it: a table for each kind of change."""
    before, after = found["from"], found["to"]
    hosts = before["host"], after["host"]
    is_about_one = hosts[0] == hosts[1]
    what = hosts[0] if is_about_one else f"{hosts[0]} and {hosts[1]}"
    sheet = Sheet(f"What changed: {what}", f"{what} · scans {before['id']} and {after['id']}")
    sheet.text("What changed" if is_about_one else "What differs", 10, colour=MUTED)
    sheet.text(what, 22, BOLD, gap=6)
    for word, side in (("From", before), ("To", after)):
        sheet.text(side_in_words(word, side), gap=3)
    if found["filter"]:
        sheet.text(f"Only what was asked for: {found['filter']}.", font=BOLD, above=4)
    sheet.bullets(found["notes"])
    if not found["updates"] and not found["packages"]:
        sheet.text("Nothing differs." if not found["filter"] else "Nothing matches.", 10, BOLD, above=10)
    for change in (*diff.UPDATE_CHANGES, *diff.PACKAGE_CHANGES):
        of_packages = change in diff.PACKAGE_CHANGES
        rows = [row for row in found["packages" if of_packages else "updates"] if row["change"] == change]
        if not rows:
            continue
        sheet.heading(f"{diff.title(change, *hosts)} ({known(len(rows))})")
        if meaning := diff.MEANINGS.get(change):
            sheet.aside(meaning)
        if of_packages:
            columns = [("Package", 150), ("Before", 120), ("After", 120), ("", INNER - 390)]
            sheet.table(columns, map(package_cells, rows))
        else:
            columns = [("Package", 120), ("Before", 95), ("After", 95), ("Security", 60), ("", INNER - 370)]
            sheet.table(columns, (changed_update_cells(row, *hosts) for row in rows))
    sheet.text(f"{found['url']}", 8, colour=MUTED, above=14)
    return sheet.save()


def side_in_words(word: str, side: Row) -> str:
    counts = (
        counted(side["security_updates"], "security update", "security updates"),
        f"{counted(side['total_updates'], 'update', 'updates')} in all",
        counted(side["total_packages"], "package", "packages"),
    )
    about = f"{word}: scan {side['id']} of {side['host']}, {moment(side['scan_date'])}"
    return " · ".join(filter(None, (about, side["distribution"], ", ".join(counts))))


def package_cells(row: Row) -> tuple[str, ...]:
    said = [f"Also {', '.join(row['both'])}."] if row["both"] and (row["before"] or row["after"]) else []
    said += [f"{diff.detail(**each)}." for each in row["details"]]
    versions = ", ".join(row["before"]), ", ".join(row["after"])
    return f"{row['name']} {row['architecture']}", *versions, " ".join(said)


def changed_update_cells(row: Row, before: str, after: str) -> tuple[str, ...]:
    sides = row["before"], row["after"]
    said = [diff.other_side(row["change"], row["other_side"] or "", before, after)]
    said += [f"{diff.detail(**each)}." for each in row["details"] if each["about"] != "security"]
    if row["change"] in ("became_security", "appeared"):
        said.append(row["after"]["reason"])
    verdicts = dict.fromkeys(VERDICTS[side["security"]] for side in sides if side)
    return (
        f"{row['name']} {row['architecture']}",
        *(side["available_version"] if side else "" for side in sides),
        f" {ARROW} ".join(verdicts),
        " ".join(filter(None, said)),
    )


# --- words ------------------------------------------------------------------------------------------


def parsed(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def moment(text: str | None) -> str:
    at = parsed(text)
    return spoken(at) if at else "unknown date"


def spoken(at: datetime) -> str:
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def brief(text: str | None) -> str:
    at = parsed(text)
    return f"{at:%-d %b %Y}" if at else ""


def known(number: int | None) -> str:
    """Unknown is not zero."""
    return "?" if number is None else f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(number: int | None, one: str, many: str) -> str:
    return f"{'No' if number == 0 else known(number)} {one if number in (0, 1) else many}"


def verb(number: int, one: str, many: str) -> str:
    return one if number == 1 else many


# --- a chart ----------------------------------------------------------------------------------------

CHART_HEIGHT, CHART_LEFT, CHART_RIGHT = 96, 30, 84
DAY_MARKS = range(0, TREND_DAYS + 1, 5)


def trend(sheet: Sheet, days: Sequence[tuple[datetime, int | None, int]], end: datetime | None) -> None:
    """Security updates as a line, all updates dashed. A day without a scan is a gap in the line, not a zero."""
    if not days or end is None:
        sheet.text("No scan has completed in these days.")
        return
    top = nice_top(max(total for _, _, total in days))
    bottom = sheet.take(CHART_HEIGHT + 24) + 16
    left, right = MARGIN + CHART_LEFT, MARGIN + INNER - CHART_RIGHT

    def place(at: datetime, number: float) -> Point:
        part = min(max(1 - (end - at) / timedelta(days=TREND_DAYS), 0), 1)
        return left + part * (right - left), bottom + number / top * CHART_HEIGHT

    for number in range(0, top + 1, top // 4):
        _, y = place(end, number)
        sheet.line((left, y), (right, y))
        sheet.put(known(number), (left - 6, y - 2.5), 7, colour=MUTED, align="right")
    for back in DAY_MARKS:
        at = end - timedelta(days=back)
        sheet.put(f"{at:%-d %b}", (place(at, 0)[0], bottom - 11), 7, colour=MUTED, align="centre")
    total = [(at, number) for at, _, number in days]
    security = [(at, number) for at, number, _ in days if number is not None]
    series(sheet, total, place, MUTED, dashed=True)
    series(sheet, security, place, SECURITY)
    upper = place(end, total[-1][1])[1] - 2.5
    lower = min(place(end, security[-1][1])[1] - 2.5, upper - 10) if security else upper
    if lower < bottom - 3:
        lower, upper = bottom - 3, max(upper, bottom + 7)
    sheet.put(f"{known(total[-1][1])} all", (right + 8, upper), 8, font=BOLD, colour=MUTED)
    if security:
        sheet.put(f"{known(security[-1][1])} security", (right + 8, lower), 8, font=BOLD, colour=SECURITY_LABEL)


def series(
    sheet: Sheet,
    dots: Sequence[tuple[datetime, int]],
    place: Callable[[datetime, float], Point],
    colour: str,
    *,
    dashed: bool = False,
) -> None:
    for before, dot in pairwise(dots):
        if (dot[0].date() - before[0].date()).days <= 1:
            sheet.line(place(*before), place(*dot), colour=colour, width=1.4, dashed=dashed)
    for dot in dots:
        sheet.dot(place(*dot), colour, hollow=dashed)


def nice_top(highest: int) -> int:
    """The least of 4, 8, 20, 40, 80, 200 … that holds every point: four steps in whole, round numbers."""
    power = 1
    while highest > 20 * power:
        power *= 10
    return next(4 * digit * power for digit in (1, 2, 5) if highest <= 4 * digit * power)
