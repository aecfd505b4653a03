"""Mistakes of our own: they reach the daemon's log, whole; what they hit is lost, the rest goes on."""

from __future__ import annotations

import traceback
from typing import Any, Mapping

from conmand.server.daemonlog import DaemonLog


def report_bug(log: DaemonLog, context: Mapping[str, Any]) -> None:
    """``context`` is what an event loop gives to its exception handler."""
    error = context.get("exception")
    log.error(f"Internal error: {context.get('message')}: {error!r}")
    if isinstance(error, BaseException):
        for line in "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines():
            log.error(line)
