"""The daemon's own log: the form of its lines, where they go, what waits while its file fails."""

from __future__ import annotations

import os
import re
import syslog
from pathlib import Path
from typing import List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.model import LogLevel
from conmand.server import daemonlog
from conmand.server.daemonlog import MAX_HELD_LINES, DaemonLog, format_line, open_log, prefix

DATED = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", re.MULTILINE)


@pytest.mark.parametrize(
    "level, text",
    [
        (LogLevel.EMERGENCY, "EMERGENCY: "),
        (LogLevel.ALERT, "ALERT:     "),
        (LogLevel.CRITICAL, "CRITICAL:  "),
        (LogLevel.ERROR, "ERROR:     "),
        (LogLevel.WARNING, "WARNING:   "),
        (LogLevel.NOTICE, "NOTICE:    "),
        (LogLevel.INFO, "INFO:      "),
        (LogLevel.DEBUG, "DEBUG:     "),
    ],
)
def test_prefixes_are_the_originals(level: LogLevel, text: str) -> None:
    assert prefix(level) == text


@given(
    st.text(alphabet=st.characters(max_codepoint=0xDCFF, blacklist_categories=()), max_size=2000).map(
        lambda text: "".join(c for c in text if not "\ud800" <= c <= "\udc7f")
    )
)
def test_a_message_is_one_line_of_bounded_length_whatever_it_holds(text: str) -> None:
    line = format_line(LogLevel.INFO, text)
    assert line.startswith(b"INFO:      ") and line.endswith(b"\n")
    assert line.count(b"\n") == 1 and b"\r" not in line and b"\0" not in line
    assert len(line) <= 1024


def stderr(tmp_path: Path) -> Tuple[int, Path]:
    path = tmp_path / "stderr"
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), path


def test_lines_go_to_standard_error_undated_down_to_the_level(tmp_path: Path) -> None:
    fd, path = stderr(tmp_path)
    log = DaemonLog(stderr_fd=fd)
    for write in (log.error, log.warning, log.notice, log.info, log.debug):
        write("text")
    assert path.read_text() == "ERROR:     text\nWARNING:   text\nNOTICE:    text\nINFO:      text\n"
    log.level = LogLevel.DEBUG
    log.debug("now")
    assert path.read_text().endswith("DEBUG:     now\n")
    assert log.on_stderr and log.fileno() == fd
    os.close(fd)


def test_in_the_background_lines_are_dated_and_in_the_file(tmp_path: Path) -> None:
    fd, path = stderr(tmp_path)
    log = DaemonLog(stderr_fd=fd)
    log.detach_from_terminal()
    log.info("nowhere: without a logfile messages are discarded")
    before = os.umask(0o022)
    try:
        opened = open_log(str(tmp_path / "sub" / "log"))
    finally:
        os.umask(before)
    log.adopt(opened)
    log.info("hello")
    assert path.read_bytes() == b""
    text = (tmp_path / "sub/log").read_bytes()
    assert DATED.sub(b"", text) == b"INFO:      hello\n" and DATED.search(text)
    assert (tmp_path / "sub/log").stat().st_mode & 0o7777 == 0o644
    assert not log.on_stderr and log.fileno() == opened.fd
    log.close_file()
    assert log.fileno() is None
    os.close(fd)


def test_truncation_and_appending(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    log = DaemonLog(stderr_fd=-1)
    log.adopt(open_log(str(path)))
    assert path.read_text() == "old\n"
    log.close_file()
    log.adopt(open_log(str(path), truncate=True))
    assert path.read_text() == ""
    log.close_file()


def test_lines_wait_while_the_file_is_being_reopened(tmp_path: Path) -> None:
    log = DaemonLog(stderr_fd=-1)
    log.adopt(open_log(str(tmp_path / "one")))
    log.close_file()
    log.info("between")
    assert log.file_is_failing
    log.adopt(open_log(str(tmp_path / "two")))
    assert DATED.sub(b"", (tmp_path / "two").read_bytes()) == b"INFO:      between\n"
    assert not log.file_is_failing
    log.close_file()


def test_a_file_that_cannot_be_opened_is_complained_of_and_lines_wait_for_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.mkdir()
    seen: List[str] = []
    log = DaemonLog(stderr_fd=-1)
    log.observer = lambda level, text: seen.append(text)
    log.adopt(open_log(str(path)))
    log.info("waits")
    assert seen[0] == f'Unable to open daemon logfile "{path}": Is a directory'
    assert log.file_is_failing
    path.rmdir()
    log.adopt(open_log(str(path)))
    assert DATED.sub(b"", path.read_bytes()).decode() == f"WARNING:   {seen[0]}\nINFO:      waits\n"
    log.close_file()


def test_a_full_disk_neither_loses_nor_reorders_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    log = DaemonLog(stderr_fd=-1)
    log.adopt(open_log(str(path)))

    def fail(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(daemonlog.os, "write", fail)
        log.info("one")
    log.info("two")
    assert log.file_is_failing
    log.adopt(open_log(str(path)))
    log.info("three")
    assert DATED.sub(b"", path.read_bytes()) == b"INFO:      one\nINFO:      two\nINFO:      three\n"
    log.close_file()


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    log = DaemonLog(stderr_fd=-1)
    log.close_file()
    for number in range(MAX_HELD_LINES + 10):
        log.info(str(number))
    log.adopt(open_log(str(tmp_path / "log")))
    assert (tmp_path / "log").read_bytes().count(b"\n") <= MAX_HELD_LINES + 1
    log.close_file()


def test_syslog_gets_every_level_without_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    told: List[object] = []
    monkeypatch.setattr(syslog, "openlog", lambda *args: told.append(args))
    monkeypatch.setattr(syslog, "syslog", lambda level, text: told.append((int(level), text)))
    monkeypatch.setattr("sys.argv", ["/usr/sbin/conmand-py"])
    log = DaemonLog(stderr_fd=-1, level=LogLevel.ERROR)
    log.start_syslog(syslog.LOG_LOCAL3)
    log.debug("fine")
    log.error("bad")
    assert told == [("conmand-py", syslog.LOG_PID, syslog.LOG_LOCAL3), (7, "fine"), (3, "bad")]


@pytest.mark.parametrize("text", ["caf\udce9", "a\0b", "two\nlines", "\U0001f600"])
def test_syslog_takes_what_clients_may_call_themselves(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """syslog.syslog() raises on bytes that are no UTF-8 and on NUL; a client's name must not be able to do that."""

    def strict(_level: int, text: str) -> None:
        text.encode("utf-8")
        assert "\0" not in text and "\n" not in text

    monkeypatch.setattr(syslog, "openlog", lambda *args: None)
    monkeypatch.setattr(syslog, "syslog", strict)
    log = DaemonLog(stderr_fd=-1)
    log.start_syslog(syslog.LOG_DAEMON)
    log.info(f"Client <{text}@h:1> connected to [n1]")


def test_a_name_that_is_too_long_or_a_lock_of_another_is_a_complaint(tmp_path: Path) -> None:
    assert open_log(str(tmp_path / ("x" * 300))).complaint == (
        f'Unable to open daemon logfile "{tmp_path}/{"x" * 300}": File name too long'
    )


def test_all_directories_that_are_made_are_their_owners(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = os.umask(0)  # as a daemon in the foreground may find it
    try:
        opened = open_log(str(tmp_path / "a" / "b" / "c" / "conmand.log"))
    finally:
        os.umask(before)
    assert opened.fd is not None
    os.close(opened.fd)
    for directory in ("a", "a/b", "a/b/c"):
        assert (tmp_path / directory).stat().st_mode & 0o7777 == 0o755
    path = tmp_path / "file" / "d" / "conmand.log"
    assert open_log(str(path)).complaint == f'Unable to open daemon logfile "{path}": Not a directory'


def test_a_file_that_is_not_wanted_any_more_keeps_no_lines(tmp_path: Path) -> None:
    log = DaemonLog(stderr_fd=-1)
    log.detach_from_terminal()
    log.adopt(open_log(str(tmp_path / "log")))
    log.notice("one")
    log.close_file()
    log.notice("held")
    log.drop_file()
    log.notice("two")
    assert not log.file_is_failing and log.fileno() is None
    assert b"one" in (tmp_path / "log").read_bytes() and b"two" not in (tmp_path / "log").read_bytes()


def test_syslog_can_be_taken_up_changed_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    said: List[object] = []
    monkeypatch.setattr(daemonlog.syslog, "openlog", lambda name, options, facility: said.append(facility))
    monkeypatch.setattr(daemonlog.syslog, "syslog", lambda level, text: said.append(text))
    monkeypatch.setattr(daemonlog.syslog, "closelog", lambda: said.append("closed"))
    log = DaemonLog(stderr_fd=-1)
    log.detach_from_terminal()
    for facility, text in ((None, "nowhere"), (8, "user"), (24, "daemon"), (None, "nowhere again")):
        log.use_syslog(facility)
        log.notice(text)
    assert said == [8, "user", "closed", 24, "daemon", "closed"]
