"""The trend as SVG: pure, so no database and no browser."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from frontend.charts import nice_top, runs, trend

NOW = datetime(2026, 11, 18, 14, 0, tzinfo=UTC)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def drawings(points: list[tuple[datetime, int | None, int]]) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(f"<both>{trend(points, NOW)}</both>"))  # noqa: S314 - our own markup


def lines(drawing: ElementTree.Element, series: str) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]
        for line in drawing.findall("polyline")
        if line.attrib["class"] == series
    ]


def labels(drawing: ElementTree.Element) -> dict[str, float]:
    return {
        text.text or "": float(text.attrib["y"])
        for text in drawing.findall("text")
        if text.attrib["class"].startswith("label")
    }


def test_without_a_scan_nothing_is_drawn() -> None:
    assert trend([], NOW) == ""


def test_a_day_without_a_scan_is_a_gap_and_not_a_zero() -> None:
    wide, narrow = drawings([(days_ago(days), 5, 9) for days in (6, 5, 2, 1, 0)])
    for drawing in (wide, narrow):
        assert [len(line) for line in lines(drawing, "total")] == [2, 3]
        assert {y for line in lines(drawing, "total") for _, y in line} == {lines(drawing, "total")[0][0][1]}


def test_a_lone_day_is_a_dot() -> None:
    wide, _ = drawings([(days_ago(3), 1, 2)])
    assert lines(wide, "total") == []
    assert len(wide.findall("circle")) == 2


def test_an_unknown_number_of_security_updates_is_not_drawn() -> None:
    wide, _ = drawings([(days_ago(2), 4, 9), (days_ago(1), None, 9), (days_ago(0), 4, 9)])
    assert len(lines(wide, "total")[0]) == 3
    assert lines(wide, "security") == []
    assert sum(circle.attrib["class"] == "security" for circle in wide.findall("circle")) == 2


def test_security_updates_that_are_all_unknown_have_no_label() -> None:
    wide, _ = drawings([(days_ago(0), None, 9)])
    assert list(labels(wide)) == ["9 all"]
    assert "Security updates: unknown" in trend([(days_ago(0), None, 9)], NOW)


def test_more_updates_are_drawn_higher_and_later_days_further_right() -> None:
    wide, _ = drawings([(days_ago(1), 0, 10), (days_ago(0), 0, 30)])
    (x1, y1), (x2, y2) = lines(wide, "total")[0]
    assert x2 > x1
    assert y2 < y1


@pytest.mark.parametrize(("security", "total"), [(0, 0), (9, 9), (9, 10), (0, 1), (200, 200), (0, 5000)])
def test_the_two_labels_never_meet_and_stay_inside(security: int, total: int) -> None:
    for drawing in drawings([(days_ago(0), security, total)]):
        places = labels(drawing)
        assert places[f"{security} security"] - places[f"{total} all"] >= 16
        assert min(places.values()) > 0
        assert max(places.values()) < float(drawing.attrib["viewBox"].split()[3])


def test_it_is_named_and_described_for_who_cannot_see_it() -> None:
    for drawing in drawings([(days_ago(1), 2, 8), (days_ago(0), 3, 7)]):
        title, description = drawing.attrib["aria-labelledby"].split()
        texts = {element.attrib.get("id"): element.text for element in drawing}
        assert drawing.attrib["role"] == "img"
        assert texts[title] == "Updates of the last 30 days"
        assert texts[description] == (
            "2 days have a scan. All updates: first 8, last 7. Security updates: first 2, last 3, at most 3."
        )


def test_it_keeps_the_content_security_policy() -> None:
    markup = trend([(days_ago(1), 2, 8), (days_ago(0), 3, 7)], NOW)
    assert "style=" not in markup
    assert "<script" not in markup


@pytest.mark.parametrize(("highest", "top"), [(0, 4), (4, 4), (5, 8), (8, 8), (9, 20), (21, 40), (78, 80), (81, 200)])
def test_the_axis_ends_at_a_round_number_in_four_whole_steps(highest: int, top: int) -> None:
    assert nice_top(highest) == top
    assert top % 4 == 0


def test_runs_of_nothing_are_nothing() -> None:
    assert list(runs([])) == []
