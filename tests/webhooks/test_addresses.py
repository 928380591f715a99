"""Which addresses and URLs a webhook may go to."""

import pytest

from scanner.webhooks.addresses import allowed, check_url, listed, networks_of
from scanner.webhooks.interface import BadTarget

SPECIAL = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16
    169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.31.196.1
    192.52.193.1 192.88.99.1 192.168.1.1 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
    239.255.255.250 240.0.0.1 255.255.255.255

    :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:168.63.129.16 ::ffff:0.0.0.0
    64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 100:0:0:1::1
    2001::1 2001:0:7f00:1::1 2001:2::1 2001:10::1 2001:20::1 2001:1ff::1 2001:db8::1 2002:7f00:1:: 2002:a9fe:a9fe::1
    2620:4f:8000::1 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fd12:3456::1 fe80::1 febf::1 fec0::1 ff02::1 ff0e::1
"""

PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15
    168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.1 192.167.255.255
    192.169.0.0 198.17.255.255 198.20.0.0 203.0.114.0 223.255.255.255
    2001:200::1 2001:4860:4860::8888 2001:db7::1 2001:db9::1 2003::1 2606:4700:4700::1111 2620:4f:8001::1 2a00:1450::1
    3ffe::1 ::ffff:8.8.8.8 ::ffff:1.1.1.1
"""

METADATA = """
    169.254.169.254 169.254.170.2 fe80::1 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254 ::ffff:169.254.169.254
    64:ff9b::169.254.169.254 2002:a9fe:a9fe:: ::169.254.169.254 fd20:ce::254 fd00:c1::a9fe:a9fe
"""

DISGUISED = """
    127.1 127.0.1 2130706433 0x7f.1 0x7f000001 0x7f.0.0.1 0X7F.1 017700000001 0177.0.0.1 127.0.0.01 127.0.0.1.
    256.0.0.1 1.2.3.4.5 example.1 0x ①②⑦.1
"""

PRIVATE = """
    127.0.0.1 10.0.0.1 169.254.169.254 0.0.0.0 127。0。0。1 127.0.0.1 ①②⑦.⓪.⓪.①
    [::1] [::] [fe80::1] [::ffff:127.0.0.1] [::ffff:7f00:1] [64:ff9b::7f00:1] [::127.0.0.1]
    [2002:7f00:1::] [fd00:ec2::254] [0:0:0:0:0:0:0:1]
"""

LAN = networks_of(["10.0.0.0/8", "192.168.1.0/24", "fd12:3456::/32"])
EVERYTHING = networks_of(["0.0.0.0/0", "::/0"])


# --- addresses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ip", SPECIAL.split())
def test_a_special_address_is_refused(ip: str) -> None:
    assert not allowed(ip)


@pytest.mark.parametrize("ip", PUBLIC.split())
def test_a_public_address_is_allowed(ip: str) -> None:
    assert allowed(ip)
    assert allowed(ip, LAN)


@pytest.mark.parametrize("ip", ["fe80::1%eth0", "2606:4700::1%eth0", "::ffff:8.8.8.8%1", "::1%lo"])
def test_an_address_with_a_scope_is_refused_whatever_is_listed(ip: str) -> None:
    assert not allowed(ip, EVERYTHING)
    assert not allowed(ip, networks_of(["fe80::/10"]))


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "8.8.8.8.8", "08.8.8.8", "8.8.8.8/32", "[2606:4700::1]"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not allowed(text, EVERYTHING)


@pytest.mark.parametrize("ip", ["10.1.2.3", "192.168.1.77", "fd12:3456::1", "::ffff:10.1.2.3"])
def test_a_listed_network_opens_its_addresses(ip: str) -> None:
    assert allowed(ip, LAN)


@pytest.mark.parametrize("ip", ["11.0.0.1", "192.168.2.1", "172.16.0.1", "127.0.0.1", "fd12:3457::1", "::1", "fe80::1"])
def test_a_listed_network_opens_nothing_else(ip: str) -> None:
    assert allowed(ip, LAN) == allowed(ip)


@pytest.mark.parametrize("ip", METADATA.split())
@pytest.mark.parametrize(
    "wide",
    ["0.0.0.0/0", "::/0", "169.0.0.0/8", "168.63.129.0/24", "100.64.0.0/10", "192.0.0.0/24", "fd00::/8", "fe00::/7"],
)
def test_a_wide_network_does_not_open_metadata_and_link_local_addresses(ip: str, wide: str) -> None:
    assert not allowed(ip, networks_of([wide]))


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("169.254.169.254", "169.254.169.254"),
        ("169.254.7.7", "169.254.7.0/24"),
        ("169.254.7.7", "169.254.0.0/16"),
        ("::ffff:169.254.7.7", "169.254.0.0/16"),
        ("fe80::1", "fe80::/64"),
        ("168.63.129.16", "168.63.129.16/32"),
        ("100.100.100.200", "100.100.100.200"),
        ("192.0.0.192", "192.0.0.192"),
        ("fd00:ec2::254", "fd00:ec2::254"),
    ],
)
def test_metadata_and_link_local_addresses_are_opened_by_their_own_name_only(ip: str, network: str) -> None:
    assert allowed(ip, networks_of([network]))
    assert not allowed("10.0.0.1", networks_of([network]))


def test_an_address_is_listed_only_within_the_networks() -> None:
    assert listed("10.1.2.3", LAN)
    assert listed("8.8.8.8", networks_of(["8.8.8.0/24"]))
    assert not listed("8.8.8.8", LAN)
    assert not listed("169.254.169.254", EVERYTHING)


# --- the setting -------------------------------------------------------------------------------------


def test_networks_are_read_as_an_administrator_writes_them() -> None:
    networks = networks_of(["10.20.0.0/16", " 192.168.1.7 ", "fd12::/16", "10.0.0.0/255.0.0.0"])
    assert [str(network) for network in networks] == ["10.20.0.0/16", "192.168.1.7/32", "fd12::/16", "10.0.0.0/8"]
    assert networks_of([]) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.1.2.3/8", r"'10\.1\.2\.3/8' .*Write 10\.0\.0\.0/8 for the network, or 10\.1\.2\.3 for the host"),
        ("fd12::1/64", r"Write fd12::/64 for the network, or fd12::1 for the host"),
        ("intranet", r"'intranet' is not a network"),
        ("", r"'' is not a network"),
        ("10.0.0.0/33", r"'10\.0\.0\.0/33' is not a network"),
        ("10.0.0.0/8,192.168.0.0/16", r"'10\.0\.0\.0/8,192\.168\.0\.0/16' is not a network"),
        ("fe80::1%eth0", r"'fe80::1%eth0' has a scope"),
        ("::ffff:10.0.0.0/104", r"is IPv4 in the guise of IPv6"),
    ],
)
def test_a_network_that_cannot_be_meant_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        networks_of(["172.16.0.0/12", text])


# --- URLs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://hooks.example.com/services/T0/B0/x?y=z&a", "https://hooks.example.com/services/T0/B0/x?y=z&a"),
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/A%2fb", "https://example.com/A%2fb"),
        ("https://example.com:8443?x", "https://example.com:8443/?x"),
        ("https://example.com.:0443/", "https://example.com./"),
        ("https://bücher.example/ü?ö=ä", "https://xn--bcher-kva.example/%C3%BC?%C3%B6=%C3%A4"),
        ("https://straße.example/", "https://xn--strae-oqa.example/"),
        ("https://my_service/", "https://my_service/"),
        ("https://8.8.8.8:9000/x", "https://8.8.8.8:9000/x"),
        ("https://[2606:4700:0::1111]:443/", "https://[2606:4700::1111]/"),
        ("https://[::ffff:808:808]/", "https://8.8.8.8/"),
        ("https://example.com/a@b:c//d/{e}|f", "https://example.com/a@b:c//d/{e}|f"),
        ("https://1e100.example/", "https://1e100.example/"),
        ("https://localhost/", "https://localhost/"),  # any name may change what it means; see test_safe_http.py
    ],
)
def test_a_good_url_is_brought_into_one_form_and_stays_in_it(url: str, checked: str) -> None:
    assert check_url(url, ()) == checked
    assert check_url(checked, ()) == checked


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with https://"),
        ("example.com/hook", "must begin with https://"),
        ("//example.com/", "must begin with https://"),
        ("https:///hook", "must begin with https://"),
        ("https:example.com", "must begin with https://"),
        ("ftp://example.com/", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("gopher://127.0.0.1:6379/_x", "must begin with https://"),
        ("javascript:alert(1)", "must begin with https://"),
        ("http://example.com/", "WEBHOOK_ALLOWED_NETWORKS"),
        ("https://user@example.com/", "user name and password"),
        ("https://user:secret@example.com/", "user name and password"),
        ("https://@example.com/", "user name and password"),
        ("https://example.com/#part", "after # is never sent"),
        ("https://example.com/#", "after # is never sent"),
        ("https://example.com/a b", "space"),
        (" https://example.com/", "space"),
        ("https://example.com/\n", "invisible"),
        ("https://exam\tple.com/", "invisible"),
        ("https://example.com/\r\nHost: x", "invisible"),
        ("https://example.com/\0", "invisible"),
        ("https://example.com/\u00a0", "space"),
        ("https://example.com/\u200b", "invisible"),
        ("https://example.com/\u202e", "invisible"),
        ("https://example.com/\ud800", "invisible"),
        ("https://example.com\\@127.0.0.1/", "backslash"),
        ("https://example.com:0/", "Port 0"),
        ("https://example.com:65536/", "not a valid URL"),
        ("https://example.com:https/", "not a valid URL"),
        ("https://example.com:-1/", "not a valid URL"),
        ("https://[::1/", "not a valid URL"),
        ("https://exa℀mple.com/", "not a valid URL"),
        ("https://exam%70le.com/", "not a valid host name"),
        ("https://exam..ple.com/", "not a valid host name"),
        ("https://.example.com/", "not a valid host name"),
        ("https://-example.com/", "not a valid host name"),
        ("https://exa$mple.com/", "not a valid host name"),
        (f"https://{'a' * 64}.example/", "not a valid host name"),
        (f"https://{'a.' * 127}example/", "not a valid host name"),
        ("https://xn--ü.example/", "not a valid host name"),
        (f"https://example.com/{'a' * 2048}", "longer than 2,048"),
        (f"https://example.com/{'ü' * 1000}", "longer than 2,048 characters once it is encoded"),
    ],
)
def test_a_url_that_is_not_taken_says_why(url: str, words: str) -> None:
    with pytest.raises(BadTarget, match=words) as caught:
        check_url(url, ())
    assert caught.value.field == "url"


@pytest.mark.parametrize("host", DISGUISED.split())
def test_a_number_in_disguise_is_refused_whatever_is_listed(host: str) -> None:
    with pytest.raises(BadTarget, match="four decimal numbers"):
        check_url(f"https://{host}/", EVERYTHING)


@pytest.mark.parametrize("host", PRIVATE.split())
def test_a_private_address_is_refused_and_the_setting_named(host: str) -> None:
    with pytest.raises(BadTarget, match="WEBHOOK_ALLOWED_NETWORKS"):
        check_url(f"https://{host}/", ())


@pytest.mark.parametrize("host", ["[::1%lo]", "[fe80::1%25eth0]", "[v1.fe80]", "[127.0.0.1]", "[]", "[::1]x", "x[::1]"])
def test_only_plain_ipv6_goes_into_brackets(host: str) -> None:
    with pytest.raises(BadTarget):
        check_url(f"https://{host}/", EVERYTHING)


def test_a_private_address_is_taken_where_its_network_is_listed() -> None:
    assert check_url("https://10.1.2.3/", LAN) == "https://10.1.2.3/"
    assert check_url("http://10.1.2.3:8080/x", LAN) == "http://10.1.2.3:8080/x"
    assert check_url("http://[fd12:3456::1]:80/", LAN) == "http://[fd12:3456::1]/"
    assert check_url("http://intranet/", LAN) == "http://intranet/"  # where it leads is judged at the connect


@pytest.mark.parametrize("url", ["http://8.8.8.8/", "http://192.168.2.1/", "http://[2606:4700::1]/"])
def test_plain_http_is_only_for_addresses_in_the_listed_networks(url: str) -> None:
    with pytest.raises(BadTarget, match="WEBHOOK_ALLOWED_NETWORKS"):
        check_url(url, LAN)


@pytest.mark.parametrize("ip", ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16"])
def test_metadata_is_refused_though_everything_is_listed(ip: str) -> None:
    with pytest.raises(BadTarget):
        check_url(f"http://{ip}/latest/meta-data/", EVERYTHING)
