"""Where a webhook may go: which addresses may be connected to, and which URLs are taken.

`ipaddress.is_global` is no gate: it passes NAT64, multicast, old translation prefixes and Azure's metadata address, and
what it passes differs between Python's releases. The lists below are IANA's special-purpose registries and the clouds'
own documentation. Everything in 2000::/3 is taken but for a list; of IPv6, nothing else is.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, quote, urlsplit

import idna

from scanner.webhooks.interface import BadTarget

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SETTING = "WEBHOOK_ALLOWED_NETWORKS"
URL_LIMIT = 2048  # characters
HOST_LIMIT = 253  # characters, of DNS
DEFAULT_PORTS = {"http": 80, "https": 443}
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))  # left as it is in a path: only what is not ASCII is encoded

# fmt: off
SPECIAL = tuple(map(ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
    "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
)))
"""Refused, unless a network is listed."""

GLOBAL_V6 = IPv6Network("2000::/3")

CLOSED = tuple(map(ip_network, (
    "169.254.0.0/16", "fe80::/10",
    "168.63.129.16", "100.100.100.200", "192.0.0.192",
    "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe",
)))
# fmt: on
"""Link-local, and where clouds (Azure, Alibaba, Oracle, AWS, Google) hand out credentials to whoever asks.

Refused, unless a network is listed that lies within one of these: a wide one must not open them by accident.
"""

TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))
"""The last 32 bits are an IPv4 address that a gateway may send this to."""

HOST_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?")
BRACKETED = re.compile(r"\[[^]]+\](?::[0-9]*)?")  # [2001:db8::1]:8443
# 127.1  2130706433  0x7f.1  0x7f000001  0177.0.0.1  127.0.0.1.
NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")


# --- addresses ---------------------------------------------------------------------------------------


def allowed(ip: str, networks: Sequence[Network] = ()) -> bool:
    """Whether a webhook may connect to this address; `networks` are the private ones that are open.

    What is no address, or has a scope (fe80::1%eth0), is not allowed.
    """
    address = address_of(ip)
    if address is None:
        return False
    for closed in CLOSED:
        if contains(closed, address) or contains(closed, embedded(address)):
            return any(contains(network, address) and within(network, closed) for network in networks)
    if any(contains(network, address) for network in networks):
        return True
    if isinstance(address, IPv6Address) and address not in GLOBAL_V6:
        return False
    return not any(contains(network, address) for network in SPECIAL)


def listed(ip: str, networks: Sequence[Network]) -> bool:
    """Whether this address is allowed because it lies within `networks`; only there plain http may go."""
    address = address_of(ip)
    return allowed(ip, networks) and any(contains(network, address) for network in networks)


def address_of(ip: str) -> Address | None:
    """An IPv4-mapped IPv6 address is the IPv4 address: the kernel connects to that."""
    try:
        address = ip_address(ip)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return None if address.scope_id is not None else address.ipv4_mapped or address


def embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address within a NAT64, 6to4 or IPv4-compatible one."""
    if isinstance(address, IPv4Address):
        return None
    if any(address in network for network in TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour


def contains(network: Network, address: Address | None) -> bool:
    return address is not None and network.version == address.version and address in network


def within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks as an administrator writes them: 10.20.0.0/16, or one address. Raises ValueError, naming the bad one."""
    return tuple(network_of(text.strip()) for text in texts)


def network_of(text: str) -> Network:
    try:
        network = ip_network(text, strict=False)
        address = ip_address(text.partition("/")[0])
    except ValueError:
        raise ValueError(f"{text!r} is not a network. Write it like 10.20.0.0/16 or fd12:3456::/32.") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{text!r} has a scope, and scoped addresses are never reached. Write it without.")
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        raise ValueError(f"{text!r} is IPv4 in the guise of IPv6. Write {address.ipv4_mapped} and an IPv4 prefix.")
    if network.network_address != address:
        raise ValueError(
            f"{text!r} names a host within the network. Write {network} for the network, or {address} for the host."
        )
    return network


# --- URLs --------------------------------------------------------------------------------------------


def check_url(url: str, networks: Sequence[Network]) -> str:
    """The URL as it is kept and sent to. Raises BadTarget. No name is looked up: that is judged at the connect.

    It is asked when a webhook is saved and again before each sending, and takes its own result unchanged.
    """
    check_text(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port that is no number, unbalanced brackets, look-alikes of / and @
        raise bad("This is not a valid URL.") from None
    check_parts(parts, port, networks)
    host = host_of(parts)
    check_literal(host, parts.scheme, networks)
    authority = host if port in (None, DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    query = f"?{quote(parts.query, safe=PRINTABLE)}" if parts.query else ""
    checked = f"{parts.scheme}://{authority}{quote(parts.path, safe=PRINTABLE) or '/'}{query}"
    if len(checked) > URL_LIMIT:
        raise bad(f"The URL is longer than {URL_LIMIT:,} characters once it is encoded.")
    return checked


def bad(words: str) -> BadTarget:
    return BadTarget("url", words)


def check_text(url: str) -> None:
    """Before anything is parsed: urlsplit() quietly drops tabs, newlines and leading spaces."""
    if len(url) > URL_LIMIT:
        raise bad(f"The URL is longer than {URL_LIMIT:,} characters.")
    if "\\" in url or any(char.isspace() or not char.isprintable() for char in url):
        raise bad("The URL has a space, a backslash or an invisible character in it. Encode it, or take it out.")
    if "#" in url:
        raise bad("The part after # is never sent. Leave it out.")


def check_parts(parts: SplitResult, port: int | None, networks: Sequence[Network]) -> None:
    if parts.scheme not in DEFAULT_PORTS or not parts.netloc:
        raise bad("The URL must begin with https:// and the name of the receiver.")
    if "@" in parts.netloc:
        raise bad("Leave out the user name and password. Use a header to prove who is sending.")
    if port == 0:
        raise bad("Port 0 does not exist.")
    if parts.scheme == "http" and not networks:
        raise bad(f"Use https. Plain http goes only to private networks that are listed in {SETTING}.")


def host_of(parts: SplitResult) -> str:
    """As it is written in a URL: a name in ASCII, four decimal numbers, or IPv6 in brackets."""
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        address = address_of(host)
        if address is None or not BRACKETED.fullmatch(parts.netloc):
            raise bad("The address in brackets is not a plain IPv6 address.")
        return f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    name = ascii_name(host)
    if NUMERIC_END.fullmatch(name) and not isinstance(address_of(name), IPv4Address):
        raise bad("The host ends in a number, but is not an address of four decimal numbers.")
    return name


def ascii_name(host: str) -> str:
    """Look-alikes (ⓛocalhost, 127。0。0。1) become what they are taken for, and are judged so. Raises BadTarget."""
    try:
        name = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except UnicodeError:
        name = ""
    if len(name.rstrip(".")) > HOST_LIMIT or not HOST_NAME.fullmatch(name):
        raise bad("The name of the receiver is not a valid host name.")
    return name


def check_literal(host: str, scheme: str, networks: Sequence[Network]) -> None:
    """An address can be judged at once; a name is judged when it is connected to."""
    ip = host.strip("[]")
    if address_of(ip) is None:
        return
    if not allowed(ip, networks):
        raise bad(
            "This address is private or reserved, and webhooks may not reach it. An administrator can list its network "
            f"in {SETTING}."
        )
    if scheme == "http" and not listed(ip, networks):
        raise bad(f"Use https. Plain http goes only to private networks that are listed in {SETTING}.")
