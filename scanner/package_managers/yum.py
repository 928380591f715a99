"""yum 3: CentOS and RHEL 7, Amazon Linux 2. On anything newer, yum is only another name of dnf.

Commands: rpm(8), yum(8). yum prints what dnf prints, wraps long rows, and keeps its cache in another shape. It cannot
be run beside itself, and it is written from its documentation: no machine of ours still has it.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from scanner.package_managers.command import Result
from scanner.package_managers.dnf import (
    ANY_ROOT,
    Detail,
    Details,
    Dnf,
    Offer,
    date_of,
    has_rpm_database,
    is_yum_only,
)
from scanner.package_managers.interface import Gap, Progress
from scanner.package_managers.next_steps import advice


class Yum(Dnf):
    name = "yum"
    distributions = frozenset(("rhel", "centos", "ol", "amzn", "scientific"))
    program = "yum"
    is_dnf5 = False
    loudness = "-q"

    @classmethod
    def has_database(cls, root: Path | None) -> bool:
        return has_rpm_database(root) and is_yum_only(root)

    def refresh(self, progress: Progress) -> tuple[Gap, ...]:
        progress(0, "Fetching the repositories' metadata")
        self.own_cache = True
        result = self.runner.run(self.yum("--setopt=metadata_expire=1", "makecache", "fast"))
        progress(100, "Metadata fetched")
        if result.code == 0:
            return ()
        words = f"{result.last_words} {advice(result.last_words)}".strip()
        return (Gap(f"The repositories' metadata could not be refreshed: {words}"),)

    def metadata(self, cache: Path, repository: str) -> Path | None:
        # x86_64/7/base/repomd.xml
        found = cache.glob(f"**/{repository}/repomd.xml")
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def host_cache(self) -> Path:
        return (self.root or Path("/")) / "var/cache/yum"

    def yum(self, *words: str) -> list[str]:
        options = ["--setopt=exit_on_lock=1"]
        if self.own_cache:
            options.append(f"--setopt=cachedir={ANY_ROOT}{self.private}/cache")
        if self.root is not None:
            options.append(f"--installroot={self.root}")
        return [self.program, *options, *words]

    def ask(self, questions: Sequence[Sequence[str]], cache: Path) -> list[Result]:
        """One after the other: a second yum would wait for the first, or give up."""
        return [self.runner.run(self.yum("-C", *words)) for words in questions]

    def questions(self, missing: Sequence[str]) -> list[list[str]]:
        return [["-q", *words] if words[0] != "-q" else words for words in super().questions(missing)]

    def advisory_list(self) -> list[str]:
        return ["updateinfo", "list", "updates"]

    def detail_list(self) -> list[str]:
        return ["updateinfo", "info", "updates", "security"]

    def parse_details(self, text: str) -> Details:
        return parse_info(text)

    def security_replacements(
        self, replacements: Iterable[Offer], missing: Sequence[str], cache: Path
    ) -> frozenset[str] | None:
        return None  # repoquery belongs to another package, yum-utils


# "     Issued : 2019-01-29 15:21:23 UTC", "     Issued : 2015-12-15 13:30"
ISSUED = re.compile(r"^[ \t]*Issued : (\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?)?)", re.MULTILINE)
# "       CVEs : CVE-2015-3194", then "            : CVE-2015-3195"; yum forgets to end the line before
CVES = re.compile(r"CVEs : (\S+(?:\n[ \t]*: \S+)*)")


def parse_info(text: str) -> Details:
    # ===============================================================================
    #   Amazon Linux AMI 2014.03 - ALAS-2015-614: medium priority package update for openssl
    # ===============================================================================
    #   Update ID : ALAS-2015-614
    #      Issued : 2015-12-15 10:00
    #     Updated : 2015-12-16 14:15       CVEs : CVE-2015-3194
    #             : CVE-2015-3195
    # Description : Package updates are available …                    and here may stand anything
    found = {}
    for block in re.split(r"^  Update ID : ", text, flags=re.MULTILINE)[1:]:
        head, _, _ = block.partition("\nDescription : ")
        issued, cves = ISSUED.search(head), CVES.search(head)
        found[head.split("\n")[0].strip()] = Detail(
            tuple(re.findall(r"CVE-\d+-\d+", cves[1])) if cves else (), date_of(issued[1]) if issued else None
        )
    return found
