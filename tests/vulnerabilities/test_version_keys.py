"""The keys' byte order is the package managers' own order: checked against dpkg, rpm and vercmp themselves."""

import json
import random
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from scanner.vulnerabilities.version_keys import alpm_key, dpkg_key, rpm_key

HERE = Path(__file__).parent
DATA = (HERE.parent / "recorded/versions", Path(__file__).parents[3] / "shared/data/versions")
"""Our own small sample, and the full files where they stand beside the repository."""
SEED = 20260821

APT_PKG = """
import sys, apt_pkg
apt_pkg.init_system()
for line in sys.stdin:
    print(apt_pkg.version_compare(*line.split()))
"""

Key = Callable[[str], bytes]
Pair = tuple[str, str]


def sign(key: Key, left: str, right: str) -> int:
    one, other = key(left), key(right)
    return (one > other) - (one < other)


def alpm_sign(left: str, right: str) -> int:
    """vercmp compares pkgrel only where both versions have one."""
    if "-" not in left or "-" not in right:
        left, right = left.rpartition("-")[0] or left, right.rpartition("-")[0] or right
    return sign(alpm_key, left, right)


def differences(order: Callable[[str, str], int], pairs: Sequence[Pair], answers: Iterable[int]) -> list[tuple]:
    return [
        (left, right, answer)
        for (left, right), answer in zip(pairs, answers, strict=True)
        if order(left, right) != answer
    ]


def dpkg_sign(left: str, right: str) -> int:
    return sign(dpkg_key, left, right)


def rpm_sign(left: str, right: str) -> int:
    return sign(rpm_key, left, right)


# --- pairs on file ---------------------------------------------------------------------------------


def files(*names: str) -> list[Path]:
    return [place / name for place in DATA for name in names if (place / name).exists()]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        (dpkg_sign, ("debian-versions.txt", "debian-versions-generated.txt")),
        (rpm_sign, ("redhat-versions.txt",)),
    ],
)
def test_the_written_pairs_are_in_their_order(order, names):
    signs = {"<": -1, "=": 0, ">": 1}
    for path in files(*names):
        lines = [line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
        pairs = [(left, right) for left, _, right in lines]
        assert differences(order, pairs, [signs[word] for _, word, _ in lines]) == [], path


@pytest.mark.parametrize(
    ("order", "pairs", "answers"),
    [(dpkg_sign, "deb_pairs.json", "deb_ref.json"), (rpm_sign, "rpm_pairs.json", "rpm_ref.json")],
)
def test_the_pairs_with_the_libraries_answers_are_in_their_order(order, pairs, answers):
    for path in files(pairs):
        found = differences(order, json.loads(path.read_text()), json.loads((path.parent / answers).read_text()))
        assert found == [], path


def test_the_pairs_with_libalpms_answers_are_in_their_order():
    for path in files("alpm_ref.json"):
        pairs, answers = json.loads(path.read_text())
        assert differences(alpm_sign, pairs, answers) == [], path


# --- generated pairs, against the real programs ----------------------------------------------------


def generated(count: int, separators: str, beginnings: Sequence[str], release: bool) -> list[Pair]:
    """Pairs that are mostly close to each other: a version, and the same one with a little changed."""
    chance = random.Random(SEED)
    words = ("a", "b", "rc", "Z", "git", "el9", "deb12u1", "0", "00", "1", "01", "9", "10", "100", "20260821")

    def part() -> str:
        pieces = [chance.choice(("0", "1", "2", "10", "007"))]
        for _ in range(chance.randrange(5)):
            pieces += ["".join(chance.choices(separators, k=chance.choice((0, 1, 1, 1, 2)))), chance.choice(words)]
        return "".join(pieces)

    def near(text: str) -> str:
        place = chance.randrange(len(text) + 1)
        return text[:place] + chance.choice((*separators, *words, "")) + text[place + chance.choice((0, 0, 1)) :] or "0"

    def version(first: str, second: str) -> str:
        return chance.choice(beginnings) + first + (f"-{second}" if release and chance.random() < 0.8 else "")

    def pair() -> Pair:
        first, second = part(), part()
        other = near(first) if chance.random() < 0.8 else part()
        return version(first, second), version(other, near(second) if chance.random() < 0.5 else second)

    return [pair() for _ in range(count)]


def no_separator_at_an_end(pair: Pair) -> bool:
    """alpm has no order for a part that ends in a separator; no package's version does."""
    return not any(part[-1:] in (".", "_", "+") for version in pair for part in version.rsplit("-", 1))


def test_generated_pairs_agree_with_dpkg():
    pairs = [
        pair
        for pair in generated(8000, ".+~", ("", "", "0:", "1:", "10:"), release=True)
        if all(version.split(":")[-1][:1].isdigit() for version in pair)
    ]
    # python3-apt asks the same library as apt and takes thousands at once; dpkg itself takes one pair a process.
    printed = subprocess.run(
        ["/usr/bin/python3", "-c", APT_PKG], input=lines_of(pairs), capture_output=True, text=True, check=True
    )
    assert differences(dpkg_sign, pairs, signs_of(printed.stdout)) == []

    few = pairs[:400]
    relation = {-1: "lt-nl", 0: "eq", 1: "gt-nl"}
    script = (
        'while read left word right; do dpkg --compare-versions "$left" "$word" "$right" || echo "$left $right"; done'
    )
    questions = "".join(f"{left} {relation[dpkg_sign(left, right)]} {right}\n" for left, right in few)
    refuted = subprocess.run(["sh", "-c", script], input=questions, capture_output=True, text=True, check=True)
    assert (refuted.stdout, refuted.stderr) == ("", "")


def test_generated_pairs_agree_with_rpm(tmp_path):
    pairs = generated(10000, "._+~^", ("", "", "0:", "1:", "10:"), release=True)
    (tmp_path / "versions").write_text("".join(f"{left}\n{right}\n" for left, right in pairs))
    script = f"""local read, out = io.lines("{tmp_path}/versions"), io.open("{tmp_path}/answers", "w")
        for left in read do out:write(rpm.vercmp(left, read()), " ") end
        out:close()"""  # not print: rpm dies of so long a macro
    subprocess.run(["rpm", "--eval", "%{lua: " + script + "}"], capture_output=True, check=True)
    assert differences(rpm_sign, pairs, signs_of((tmp_path / "answers").read_text())) == []


def test_generated_pairs_agree_with_vercmp():
    pairs = list(filter(no_separator_at_an_end, generated(1700, "._+", ("", "", "0:", "1:", "10:"), release=True)))
    assert len(pairs) > 1000
    script = 'while read left right; do vercmp "$left" "$right"; done'
    printed = subprocess.run(["sh", "-c", script], input=lines_of(pairs), capture_output=True, text=True, check=True)
    assert differences(alpm_sign, pairs, signs_of(printed.stdout)) == []


def lines_of(pairs: Sequence[Pair]) -> str:
    return "".join(f"{left} {right}\n" for left, right in pairs)


def signs_of(text: str) -> list[int]:
    return [(number > 0) - (number < 0) for number in map(int, text.split())]


# --- what a person would look up -------------------------------------------------------------------


def test_a_tilde_sorts_below_the_end_everywhere_it_is_known():
    assert dpkg_key("1.0~rc1-1") < dpkg_key("1.0-1") < dpkg_key("1.0+b1-1")
    assert rpm_key("1.0~rc1-1") < rpm_key("1.0-1") < rpm_key("1.0^git1-1") < rpm_key("1.0.1-1")
    assert alpm_key("1.0rc1-1") < alpm_key("1.0-1") < alpm_key("1.0.1-1")


@pytest.mark.parametrize("key", [dpkg_key, rpm_key, alpm_key])
def test_an_epoch_outweighs_everything_and_zero_is_none(key):
    assert key("9.9-9") < key("1:0.1-1") < key("10:0.1-1")
    assert key("0:1.0-1") == key("1.0-1") == key("1.00-01")


@pytest.mark.parametrize("key", [dpkg_key, rpm_key, alpm_key])
def test_a_number_of_three_hundred_digits_is_still_a_number(key):
    assert key("1" * 299) < key("1" * 300) < key("2" + "0" * 299) < key("1" * 301)


@pytest.mark.parametrize("key", [dpkg_key, alpm_key])
def test_what_no_version_may_hold_is_refused(key):
    with pytest.raises(ValueError, match="allows"):
        key("1.0-é")
    with pytest.raises(ValueError, match="fit"):
        key("99999999999:1.0")
