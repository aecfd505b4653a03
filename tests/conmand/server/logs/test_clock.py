"""The stamp of log lines."""

from __future__ import annotations

import re
import time

from conmand.server.logs.clock import LogClock


def test_the_stamp_is_local_time_with_a_blank_behind() -> None:
    clock = LogClock()
    clock.turn(86400 * 365)
    assert re.fullmatch(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", clock.text)
    assert clock.text == time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(86400 * 365)).encode()
    assert clock.second == 86400 * 365


def test_a_new_clock_shows_no_second_there_is() -> None:
    assert LogClock().second == -1
