"""Programs that see another machine: other files in /etc, another network. Linux namespaces, which need root."""

from __future__ import annotations

import os
from typing import List

import pytest

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="namespaces and other users need root"
)

_MOUNT = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 1; shift 2; done; shift; exec "$@"'
_WITHOUT_IPV6 = 'ip link set lo up && sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && exec "$@"'


def mounted(*pairs: object) -> List[str]:
    """Runs a program that sees files in the places of others: what, where, what, where, ..."""
    return ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", *map(str, pairs), "--"]


def without_ipv6() -> List[str]:
    """Runs a program on a machine of its own, with a loopback interface for IPv4 and nothing else."""
    return ["unshare", "--net", "sh", "-c", _WITHOUT_IPV6, "sh"]
