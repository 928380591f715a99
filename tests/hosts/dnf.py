"""A dnf host in a folder: a real rpm database, real repositories, and wrappers that make dnf and rpm use them.

    host = DnfHost(folder, ["openssl-3.0.7-24.el9"], Repository("baseos", ["openssl-3.0.7-27.el9"], [
        Advisory("RHSA-2026:1", "security", "Important", ["openssl-3.0.7-27.el9"], cves=["CVE-2026-1"]),
    ]))

Packages are written as rpm prints them: name-[epoch:]version-release[.architecture]; without one it is noarch.
Nothing is built: rpmdb imports headers as rpm exports them, dnf reads metadata as createrepo_c writes it.
"""

import gzip
import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

DATE = 1_780_000_000
ALMALINUX = 'ID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n'
COMPARISONS = {"<": ("LT", 2), ">": ("GT", 4), "=": ("EQ", 8), "<=": ("LE", 10), ">=": ("GE", 12)}

# openssl-libs-1:3.0.7-24.el9.x86_64
NEVRA = re.compile(
    r"(?P<name>.+)-(?:(?P<epoch>\d+):)?(?P<version>[^-]+)-(?P<release>[^-]+?)"
    r"(?:\.(?P<architecture>noarch|src|x86_64|i686|aarch64))?"
)

CONFIGURATION = """\
[main]
gpgcheck=0
plugins=0
metadata_expire=-1
module_platform_id=platform:el9
{}
"""
WRAPPER = """\
#!/bin/sh
exec {program} {option}={root} "$@"
"""


@dataclass(frozen=True)
class Package:
    """One package. `obsoletes` and `requires` are written as in a spec file: "old < 2", `module` as rpm prints it:
    name:stream:version:context. Without a vendor it has none."""

    nevra: str
    source: str = ""
    obsoletes: str = ""
    requires: str = ""
    module: str = ""
    vendor: str = "AlmaLinux"

    @property
    def parts(self) -> Mapping[str, str]:
        found = NEVRA.fullmatch(self.nevra)
        assert found, f"{self.nevra} is no name-version-release"
        return {"epoch": "0", "architecture": "noarch"} | {k: v for k, v in found.groupdict().items() if v}

    @property
    def source_rpm(self) -> str:
        parts = self.parts
        return (self.source or f"{parts['name']}-{parts['version']}-{parts['release']}") + ".src.rpm"

    @property
    def location(self) -> str:
        parts = self.parts
        return f"{parts['name']}-{parts['version']}-{parts['release']}.{parts['architecture']}.rpm"


@dataclass(frozen=True)
class Advisory:
    """`module` as in updateinfo.xml: name:stream:version:context:architecture. `bugs` are their numbers."""

    id: str
    type: str
    severity: str
    packages: Sequence[str]
    cves: Sequence[str] = ()
    module: str = ""
    issued: str = "2026-08-01 00:00:00"
    updated: str = ""
    bugs: Sequence[str] = ()


@dataclass(frozen=True)
class Repository:
    """`options` are lines of its .repo file; without `advisories` it has no updateinfo at all."""

    name: str
    packages: Sequence[str | Package] = ()
    advisories: Sequence[Advisory] | None = None
    modules: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


class DnfHost:
    def __init__(
        self,
        folder: Path,
        installed: Iterable[str | Package],
        *repositories: Repository,
        configuration: str = "",
        modules: Mapping[str, str] | None = None,
        os_release: str = ALMALINUX,
    ) -> None:
        """`configuration`: further lines of dnf.conf. `modules`: enabled streams by module name."""
        self.root = folder / "root"
        self.repositories = folder / "repositories"
        self.bin = folder / "bin"
        self.home = folder / "home"
        for path in (self.root / "etc/yum.repos.d", self.root / "etc/dnf/modules.d", self.bin, self.home):
            path.mkdir(parents=True)
        (self.root / "etc/os-release").write_text(os_release)
        (self.root / "etc/dnf/vars").mkdir()
        (self.root / "etc/dnf/vars/releasever").write_text("9")
        (self.root / "etc/dnf/dnf.conf").write_text(CONFIGURATION.format(configuration))
        (self.home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")  # Debian's rpm would use ~/.rpmdb
        for name, stream in (modules or {}).items():
            lines = (f"[{name}]", f"name={name}", f"stream={stream}", "profiles=", "state=enabled")
            (self.root / f"etc/dnf/modules.d/{name}.module").write_text("\n".join(lines) + "\n")
        self.wrap("dnf", "--installroot")
        self.wrap("rpm", "--root")
        self.install(*installed)
        for repository in repositories:
            self.publish(repository)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.home)}

    def install(self, *packages: str | Package) -> None:
        """Write packages into the rpm database, as if they had been installed."""
        subprocess.run(
            ["rpmdb", "--root", self.root, "--importdb"],
            input=b"".join(header(package_of(package)) for package in packages),
            env=self.environment,
            capture_output=True,
            check=True,
        )

    def publish(self, repository: Repository) -> None:
        """Write a repository and configure it, or write a newer state of one."""
        folder = self.repositories / repository.name
        shutil.rmtree(folder, ignore_errors=True)
        write_repository(folder, repository)
        options = {"name": repository.name, "baseurl": folder.as_uri(), "enabled": "1", **repository.options}
        lines = [f"[{repository.name}]", *(f"{name}={value}" for name, value in options.items())]
        (self.root / f"etc/yum.repos.d/{repository.name}.repo").write_text("\n".join(lines) + "\n")

    def take_down(self, name: str) -> None:
        """The repository's server is gone; what was cached of it stays."""
        (self.repositories / name).rename(self.repositories / f"{name} is down")

    def run(self, *words: str) -> str:
        """Run one of the host's programs, as an administrator would."""
        result = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True)
        return result.stdout

    def make_cache(self) -> None:
        """The host's own cache, as its own timer would fill it."""
        self.run("dnf", "-q", f"--setopt=cachedir={self.cache}", "makecache")

    @property
    def cache(self) -> Path:
        return self.root / "var/cache/dnf"

    def wrap(self, program: str, option: str) -> None:
        real = shutil.which(program)
        assert real, f"{program} is not installed: apt-get install dnf rpm"
        script = self.bin / program
        script.write_text(WRAPPER.format(program=real, option=option, root=self.root))
        script.chmod(0o755)


def package_of(package: str | Package) -> Package:
    return Package(package) if isinstance(package, str) else package


# --- a header, as `rpmdb --exportdb` writes it -----------------------------------------------------

TAGS = {"name": 1000, "version": 1001, "release": 1002, "epoch": 1003, "summary": 1004, "description": 1005}
TAGS |= {"size": 1009, "license": 1014, "vendor": 1011, "os": 1021, "architecture": 1022, "source": 1044}
TAGS |= {
    "requireflags": 1048,
    "requirename": 1049,
    "requireversion": 1050,
    "providename": 1047,
    "provideflags": 1112,
    "provideversion": 1113,
    "module": 5096,
}
INT32, STRING, STRINGS, TRANSLATED = 4, 6, 8, 9


def header(package: Package) -> bytes:
    parts = package.parts
    evr = f"{parts['epoch']}:{parts['version']}-{parts['release']}"
    values: dict[str, tuple[int, int, bytes]] = {
        "name": text(parts["name"]),
        "version": text(parts["version"]),
        "release": text(parts["release"]),
        "summary": (TRANSLATED, 1, b"test\0"),
        "description": (TRANSLATED, 1, b"test\0"),
        "size": (INT32, 1, struct.pack(">I", 1)),
        "license": text("MIT"),
        "os": text("linux"),
        "architecture": text(parts["architecture"]),
        "source": text(package.source_rpm),
        "providename": (STRINGS, 1, parts["name"].encode() + b"\0"),
        "provideflags": (INT32, 1, struct.pack(">I", 8)),
        "provideversion": (STRINGS, 1, evr.encode() + b"\0"),
    }
    if parts["epoch"] != "0":  # else there is none, and rpm's %{EPOCH} says "(none)"
        values["epoch"] = (INT32, 1, struct.pack(">I", int(parts["epoch"])))
    if package.requires:  # the name is enough for who asks the database
        name = package.requires.split()[0]
        values["requirename"] = (STRINGS, 1, name.encode() + b"\0")
        values["requireflags"] = (INT32, 1, struct.pack(">I", 0))
        values["requireversion"] = (STRINGS, 1, b"\0")
    if package.vendor:
        values["vendor"] = text(package.vendor)
    if package.module:
        values["module"] = text(package.module)
    index, data = b"", b""
    for name, (kind, count, value) in sorted(values.items(), key=lambda item: TAGS[item[0]]):
        if kind == INT32:
            data += b"\0" * (-len(data) % 4)
        index += struct.pack(">IIII", TAGS[name], kind, len(data), count)
        data += value
    return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", len(values), len(data)) + index + data


def text(value: str) -> tuple[int, int, bytes]:
    return STRING, 1, value.encode() + b"\0"


# --- a repository, as createrepo_c and modifyrepo_c write it ---------------------------------------


def write_repository(folder: Path, repository: Repository) -> None:
    (folder / "repodata").mkdir(parents=True)
    packages = [package_of(package) for package in repository.packages]
    files = {
        "primary": PRIMARY.format(count=len(packages), packages="".join(map(primary_of, packages))),
        "filelists": FILELISTS.format(count=len(packages), packages="".join(map(filelists_of, packages))),
    }
    if repository.advisories is not None:
        files["updateinfo"] = f"<updates>{''.join(map(update_of, repository.advisories))}</updates>"
    if repository.modules:
        files["modules"] = repository.modules
    entries = []
    for kind, content in files.items():
        packed = gzip.compress(content.encode(), 1, mtime=0)
        checksum = hashlib.sha256(packed).hexdigest()
        location = f"repodata/{checksum}-{kind}.{'yaml' if kind == 'modules' else 'xml'}.gz"
        (folder / location).write_bytes(packed)
        open_checksum = hashlib.sha256(content.encode()).hexdigest()
        entries.append(
            f'<data type="{kind}"><checksum type="sha256">{checksum}</checksum>'
            f'<open-checksum type="sha256">{open_checksum}</open-checksum><location href="{location}"/>'
            f"<timestamp>{DATE}</timestamp><size>{len(packed)}</size>"
            f"<open-size>{len(content.encode())}</open-size></data>"
        )
    revision = hashlib.sha256("".join(entries).encode()).hexdigest()[:10]
    (folder / "repodata/repomd.xml").write_text(REPOMD.format(revision=revision, entries="\n".join(entries)))


REPOMD = """\
<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>{revision}</revision>
{entries}
</repomd>
"""
PRIMARY = """\
<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"
packages="{count}">
{packages}</metadata>
"""
FILELISTS = """\
<?xml version="1.0" encoding="UTF-8"?>
<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="{count}">
{packages}</filelists>
"""
PRIMARY_PACKAGE = """\
<package type="rpm"><name>{name}</name><arch>{architecture}</arch>{evr}
<checksum type="sha256" pkgid="YES">{checksum}</checksum><summary>test</summary><description>test</description>
<packager/><url/><time file="{date}" build="{date}"/><size package="1" installed="1" archive="1"/>
<location href="{location}"/><format><rpm:license>MIT</rpm:license><rpm:vendor>{vendor}</rpm:vendor><rpm:group/>
<rpm:buildhost>test</rpm:buildhost><rpm:sourcerpm>{source}</rpm:sourcerpm><rpm:header-range start="1" end="2"/>
<rpm:provides><rpm:entry name={quoted} flags="EQ" {attributes}/></rpm:provides>
{relations}</format></package>
"""


def evr_attributes(parts: Mapping[str, str]) -> str:
    return f'epoch="{parts["epoch"]}" ver="{parts["version"]}" rel="{parts["release"]}"'


def primary_of(package: Package) -> str:
    parts = package.parts
    relations = relation("obsoletes", package.obsoletes) + relation("requires", package.requires)
    return PRIMARY_PACKAGE.format(
        name=escape(parts["name"]),
        architecture=parts["architecture"],
        evr=f"<version {evr_attributes(parts)}/>",
        checksum=checksum_of(package),
        date=DATE,
        location=escape(package.location),
        source=escape(package.source_rpm),
        vendor=escape(package.vendor),
        quoted=quoteattr(parts["name"]),
        attributes=evr_attributes(parts),
        relations=relations,
    )


def filelists_of(package: Package) -> str:
    parts = package.parts
    return (
        f'<package pkgid="{checksum_of(package)}" name={quoteattr(parts["name"])} arch="{parts["architecture"]}">'
        f"<version {evr_attributes(parts)}/></package>\n"
    )


def relation(kind: str, written: str) -> str:
    # "old < 2", "old"
    if not written:
        return ""
    name, *rest = written.split()
    attributes = f' flags="{COMPARISONS[rest[0]][0]}" epoch="0" ver="{rest[1]}"' if rest else ""
    return f"<rpm:{kind}><rpm:entry name={quoteattr(name)}{attributes}/></rpm:{kind}>"


def checksum_of(package: Package) -> str:
    return hashlib.sha256(repr(package).encode()).hexdigest()


def update_of(advisory: Advisory) -> str:
    packages = "".join(
        f'<package name="{parts["name"]}" {attributes_of_update(parts)} arch="{parts["architecture"]}"/>'
        for parts in (Package(nevra).parts for nevra in advisory.packages)
    )
    references = "".join(f'<reference href="" id="{cve}" title="{cve}" type="cve"/>' for cve in advisory.cves)
    references += "".join(f'<reference href="" id="{bug}" title="{bug}" type="bugzilla"/>' for bug in advisory.bugs)
    references += f'<reference href="" id="{advisory.id}" title="{advisory.id}" type="self"/>'
    module = ""
    if advisory.module:
        keys = ("name", "stream", "version", "context", "arch")
        pairs = zip(keys, advisory.module.split(":"), strict=True)
        module = f"<module {' '.join(f'{key}={quoteattr(value)}' for key, value in pairs)}/>"
    return (
        f'<update from="security@example.com" status="final" type="{advisory.type}" version="2">'
        f"<id>{advisory.id}</id><title>{advisory.id}</title><severity>{advisory.severity}</severity>"
        f'<issued date="{advisory.issued}"/><updated date="{advisory.updated or advisory.issued}"/>'
        f"<references>{references}</references><pkglist><collection>{module}{packages}</collection></pkglist></update>"
    )


def attributes_of_update(parts: Mapping[str, str]) -> str:
    return f'version="{parts["version"]}" release="{parts["release"]}" epoch="{parts["epoch"]}"'
