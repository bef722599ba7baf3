"""TLS: certificates for every connection of a cluster, and a word where there are none.

Whoever reaches a Dask scheduler or worker can run code as its user. Between machines, TLS with certificates of one's
own keeps others out; `local` makes certificates for clusters of one machine.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import dask
from distributed.security import Security

from geoseg.errors import ClusterError

_ROLES = ("client", "scheduler", "worker")
_log = logging.getLogger(__name__)


def certificates(
    ca: Path | str | None = None, cert: Path | str | None = None, key: Path | str | None = None
) -> Security:
    """Certificates to show and to ask for; with none given, what dask's own configuration says.

    Parameters
    ----------
    ca, cert, key : path, optional
        PEM files: the authority that signed everybody's certificate, one's own certificate, and its key (not needed
        if it is in the certificate's file). The same serve as client, scheduler and worker.

    Raises
    ------
    ClusterError
        If only some are given, or a file is missing.
    """
    if ca is None and cert is None and key is None:
        return Security()
    if ca is None or cert is None:
        raise ClusterError("TLS needs both an authority and a certificate; give --tls-ca and --tls-cert")
    for file in (ca, cert, key):
        if file is not None and not Path(file).is_file():
            raise ClusterError(f"the TLS file {file} does not exist; check the path")
    own = {f"tls_{role}_{kind}": str(file) for role in _ROLES for kind, file in (("cert", cert), ("key", key)) if file}
    return Security(tls_ca_file=str(ca), require_encryption=True, **own)


def full_address(address: str, security: Security, note: Callable[[str], None] = _log.warning) -> str:
    """The full address of a scheduler; says so if what is sent there can be read and forged by others.

    An address without a scheme is tls:// where certificates were given or dask is configured so.

    Parameters
    ----------
    address : str
        As the user gave it, host:8786 say.
    security : Security
        From `certificates`.
    note : callable
        Called with a sentence if the connection is open to others; default: it is logged.
    """
    if "://" not in address:
        encrypted = security.require_encryption or dask.config.get("distributed.comm.default-scheme", "tcp") == "tls"
        address = f"{'tls' if encrypted else 'tcp'}://{address}"
    if address.startswith(("tcp://", "ws://")) and not is_loopback(address):
        note(
            f"{address} is plain TCP beyond this machine: whoever reaches that port can run code as you; "
            "keep it on a private network or use TLS (--tls-ca, --tls-cert, --tls-key)"
        )
    return address


def is_loopback(address: str) -> bool:
    """Whether only processes of this machine reach an address, with or without a scheme and a port.

    That is all of 127.0.0.0/8 and ::1, in each way of writing them that the system's resolver knows, and 'localhost'.
    Other names are not looked up; they count as beyond this machine.

    >>> is_loopback("tcp://127.0.1.1:8786"), is_loopback("[::1]:8786"), is_loopback("tcp://10.0.0.7:8786")
    (True, True, False)
    """
    try:
        host = (urlsplit(address if "://" in address else f"//{address}").hostname or "").partition("%")[0]
    except ValueError:  # unbalanced brackets, say
        return False
    if host.rstrip(".") == "localhost":
        return True
    try:
        number = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)[0][4][0]
    except (OSError, UnicodeError):
        return False
    ip = ipaddress.ip_address(number)
    return ((isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped) or ip).is_loopback
