"""Which addresses an outgoing call may reach when somebody else chose the host: public ones, and our own networks."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

#: Addresses of IPv4 inside IPv6 (RFC 6052): what matters is where they lead.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class ForbiddenAddressError(Exception):
    """The host leads to an address that is not to be called."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be called.

    ``hosts`` and what lies below a host of ``domains`` were set by operators and are called wherever they lead, like
    addresses that are written as such: those come from the cluster, unless ``literals`` says that anybody may write
    one. Every other host has to lead to public addresses or into ``networks``.
    """

    hosts: frozenset[str] = frozenset()
    domains: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    literals: bool = True

    def trusts(self, host: str) -> bool:
        """Return whether ``host`` was chosen by us."""
        bare = host.strip("[]").lower()
        if bare in self.hosts or any(bare.endswith(f".{domain}") for domain in self.domains if domain):
            return True
        if not self.literals:
            return False
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            return False
        return True

    def check_host(self, host: str) -> None:
        """Return if every address of ``host`` may be called; a name that does not resolve is left to the call itself.

        Raises:
            ForbiddenAddressError: One may not.
        """
        if self.trusts(host):
            return
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        for *_, address in found:
            self.check_peer(host, str(address[0]))

    def check_peer(self, host: str, address: str) -> None:
        """Return if ``address``, to which ``host`` has led, may be called: a name may lead elsewhere the second time.

        Raises:
            ForbiddenAddressError: It may not.
        """
        if self.trusts(host) or is_allowed(address, self.networks):
            return
        raise ForbiddenAddressError(f"{host} leads to an address that is not public")


#: Nobody's domain can be ``localhost``: a domain has two labels.
OWN_MACHINE: Final = Reach(hosts=frozenset({"localhost"}))


def is_allowed(address: str, networks: Sequence[Network] = ()) -> bool:
    """Return whether ``address`` is public or lies in one of ``networks``."""
    found = ipaddress.ip_address(address.split("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        translated = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else None
        found = found.ipv4_mapped or found.sixtofour or translated or found
    return (found.is_global and not found.is_multicast) or any(found in network for network in networks)
