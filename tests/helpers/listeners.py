"""Who listens on which address of this machine, as the kernel says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

Address = IPv4Address | IPv6Address
_LISTENING = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}


def listeners(processes: Iterable[int]) -> dict[int, list[tuple[Address, int]]]:
    """Process to the addresses and ports of its open internet sockets that take what comes; of those that have any."""
    sockets = _sockets()
    found: dict[int, list[tuple[Address, int]]] = defaultdict(list)
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            try:
                inode = str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]")
            except FileNotFoundError:  # closed meanwhile
                continue
            if inode in sockets:
                found[process].append(sockets[inode])
    return dict(found)


def _sockets() -> dict[str, tuple[Address, int]]:
    """Inode of a socket to its own address and port."""
    found = {}
    for kind, listening in _LISTENING.items():
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == listening:
                address, _, port = fields[1].partition(":")
                found[fields[9]] = _address(address), int(port, 16)
    return found


def _address(text: str) -> Address:
    """The kernel writes words of four bytes in the machine's order, here little-endian."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    address = ip_address(b"".join(words))
    return getattr(address, "ipv4_mapped", None) or address
