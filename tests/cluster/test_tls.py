"""TLS: certificates are checked at the door, and what others could reach is said."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import dask
import pytest
from certificates import certificate
from hypothesis import given
from hypothesis import strategies as st

from geoseg.cluster import tls
from geoseg.errors import ClusterError


def test_no_files_leave_it_to_the_configuration_of_dask() -> None:
    assert not tls.certificates().require_encryption
    with dask.config.set({"distributed.comm.require-encryption": True}):
        assert tls.certificates().require_encryption


def test_one_certificate_serves_client_scheduler_and_worker(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    made = tls.certificates(cert, cert, key)
    assert made.require_encryption
    for role in ("client", "scheduler", "worker"):
        given_files = made.get_tls_config_for_role(role)
        assert (given_files["ca_file"], given_files["cert"], given_files["key"]) == (str(cert), str(cert), str(key))
        assert made.get_connection_args(role)["ssl_context"] is not None  # the files are what they should be


def test_tls_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="does not exist"):
        tls.certificates(tmp_path / "ca.pem", tmp_path / "cert.pem")
    for some in ({"ca": tmp_path / "ca.pem"}, {"cert": tmp_path / "cert.pem"}, {"key": tmp_path / "key.pem"}):
        with pytest.raises(ClusterError, match="--tls-ca and --tls-cert"):
            tls.certificates(**some)
    cert, _ = certificate(tmp_path)
    with pytest.raises(ClusterError, match=r"key\.none does not exist"):
        tls.certificates(cert, cert, tmp_path / "key.none")


@pytest.mark.parametrize(
    ("address", "open_to_others"),
    [
        ("tcp://10.0.0.7:8786", True),
        ("cluster.example.org:8786", True),
        ("tls://10.0.0.7:8786", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("localhost:8786", False),
    ],
)
def test_plain_tcp_beyond_this_machine_is_noted(address: str, open_to_others: bool) -> None:
    notes: list[str] = []
    tls.full_address(address, tls.certificates(), notes.append)
    assert bool(notes) is open_to_others


def test_an_address_without_a_scheme_gets_one(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    ours = tls.certificates(cert, cert, key)
    assert tls.full_address("10.0.0.7:8786", ours) == "tls://10.0.0.7:8786"
    assert tls.full_address("localhost:8786", tls.certificates()) == "tcp://localhost:8786"
    with dask.config.set({"distributed.comm.default-scheme": "tls"}):
        assert tls.full_address("10.0.0.7:8786", tls.certificates()) == "tls://10.0.0.7:8786"


def written(host: str) -> list[str]:
    """The ways in which an address may name a host."""
    literal = f"[{host}]" if ":" in host else host
    return [literal, f"{literal}:8786", f"tcp://{literal}:8786", f"tls://{literal}:8786", f"tcp://{literal}"]


@given(st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_all_of_127_is_loopback_however_it_is_written(ip: ipaddress.IPv4Address) -> None:
    low = int(ip) & 0xFFFFFF
    short = f"127.{low}"  # what inet_aton, and so every connection, takes for the same
    for host in (str(ip), short, hex(int(ip)), str(int(ip)), f"::ffff:{ip}"):
        for address in written(host):
            assert tls.is_loopback(address), address


@given(st.ip_addresses().filter(lambda ip: not ip.is_loopback))
def test_nothing_else_is_loopback(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = getattr(ip, "ipv4_mapped", None)
    for address in written(str(ip)):
        assert tls.is_loopback(address) is bool(mapped and mapped.is_loopback), address


@pytest.mark.parametrize("host", ["::1", "0:0:0:0:0:0:0:1", "::1%lo", "localhost", "LocalHost", "localhost."])
def test_ipv6_and_localhost_are_loopback(host: str) -> None:
    assert all(tls.is_loopback(address) for address in written(host))


@pytest.mark.parametrize(
    "address",
    [
        *("", "tcp://", "tcp://:8786", "tcp://[::1", "tcp://]:1", "0.0.0.0:8786", "[::]:8786", "128.0.0.1:1", "::1"),
        *("tcp://127.0.0.1.example.org:1", "localhost.example.org:1", "tcp://127.0.0.1@example.org:1"),
        *("tcp://" + "a" * 70 + ":1", "tcp://ü..x:1", "tcp://a b:1", "tcp://\x00:1", "tcp://127.0.0.256:1"),
    ],
)
def test_what_only_looks_like_loopback_is_not(address: str) -> None:
    assert not tls.is_loopback(address)
