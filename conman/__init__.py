"""What both sides of ConMan's client port share: the protocol, its escapes and its lexical rules.

The client and the automation library will live here too; the daemon is in the package ``conmand``.
"""

from __future__ import annotations

__version__ = "0.4.0"
