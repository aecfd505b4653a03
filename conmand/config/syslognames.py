"""The names that conman.conf(5) has for syslog(3) priorities and facilities, all in lower case.

They are ConMan 0.3.1's, which are not quite those of syslog.conf(5): ``ftp`` and ``syslog`` are missing.
"""

from __future__ import annotations

from conmand.config.model import LogLevel

LOG_LEVELS = {
    "emerg": LogLevel.EMERGENCY,
    "emergency": LogLevel.EMERGENCY,
    "panic": LogLevel.EMERGENCY,
    "alert": LogLevel.ALERT,
    "crit": LogLevel.CRITICAL,
    "critical": LogLevel.CRITICAL,
    "err": LogLevel.ERROR,
    "error": LogLevel.ERROR,
    "warn": LogLevel.WARNING,
    "warning": LogLevel.WARNING,
    "notice": LogLevel.NOTICE,
    "info": LogLevel.INFO,
    "debug": LogLevel.DEBUG,
}
_FACILITY_NUMBERS = {
    "kern": 1,  # mend: the kernel's own facility is not open to programs, syslog(3) makes it "user" as well
    "user": 1,
    "mail": 2,
    "daemon": 3,
    "auth": 4,
    "lpr": 6,
    "news": 7,
    "uucp": 8,
    "cron": 9,
    "authpriv": 10,
    **{f"local{number}": 16 + number for number in range(8)},
}
#: syslog(3) facilities by ConMan's names, shifted as openlog(3) wants them.
SYSLOG_FACILITIES = {name: number << 3 for name, number in _FACILITY_NUMBERS.items()}
