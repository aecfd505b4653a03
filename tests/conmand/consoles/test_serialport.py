"""Serial consoles on pseudo-terminals. A pseudo-terminal has no line; its flags, hang-up and locks are a port's."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import termios
import tty
from pathlib import Path
from typing import Iterator, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conmand.config.model import ConsoleSettings, LogLevel, SerialDevice, SerialOptions
from conmand.consoles.base import State
from conmand.consoles.serialport import SerialConsole, line_settings
from tests.fakes.loops import ManualLoop, run, settle
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink, open_descriptors


class Line:
    """A port (``path``) and its far end."""

    def __init__(self) -> None:
        self.far, self.near = os.openpty()
        tty.setraw(self.far)
        self.path = os.ttyname(self.near)

    def attributes(self) -> List[object]:
        return termios.tcgetattr(self.near)

    def hang_up(self) -> None:
        os.close(self.far)
        self.far = -1

    def close(self) -> None:
        for fd in (self.far, self.near):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


def console(loop: ManualLoop, path: str, options: SerialOptions = SerialOptions()) -> SerialConsole:  # noqa: B008
    return SerialConsole(ConsoleSettings("s", SerialDevice(path, options)), RecordingSink(), FakeServices(loop))


def told(shared: SerialConsole) -> RecordingSink:
    assert isinstance(shared.sink, RecordingSink)
    return shared.sink


def locker(path: str) -> subprocess.Popen[bytes]:
    """Another program that tries to lock the port: prints ``got`` or ``busy``, and holds it until its input ends."""
    program = (
        "import fcntl, os, sys\nfd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)\n"
        "try: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept OSError: print('busy', flush=True)\n"
        "else: print('got', flush=True)\nsys.stdin.read()"
    )
    return subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def can_be_locked_by_others(path: str) -> bool:
    with locker(path) as other:
        assert other.stdin is not None and other.stdout is not None
        return other.stdout.readline() == b"got\n"


def test_it_opens_says_so_and_passes_bytes_both_ways(line: Line) -> None:
    async def test(loop: ManualLoop) -> None:
        shared = console(loop, line.path)
        shared.start()
        assert told(shared).announced == [f'Console [s] connected to "{line.path}"']
        assert told(shared).levels == [LogLevel.INFO]
        os.write(line.far, b"login:\r\n\x03\x13\xff\0")
        await told(shared).until(lambda: told(shared).published == b"login:\r\n\x03\x13\xff\0")
        shared.send(b"\n\r\x03\xff")
        assert os.read(line.far, 100) == b"\n\r\x03\xff"
        shared.stop()

    run(test)


def test_the_port_is_set_as_configured_and_put_back_at_the_end(line: Line) -> None:
    async def test(loop: ManualLoop) -> None:
        found = line.attributes()
        shared = console(loop, line.path, SerialOptions(115200, 7, "e", 2))
        shared.start()
        iflag, oflag, cflag, lflag, ispeed, ospeed, _cc = line.attributes()
        assert ispeed == ospeed == termios.B115200
        assert isinstance(lflag, int) and isinstance(oflag, int)
        assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG) and not oflag & termios.OPOST
        shared.stop()
        assert line.attributes() == found

    run(test)


def test_settings_that_conman_does_not_name_stay(line: Line) -> None:
    async def test(loop: ManualLoop) -> None:
        found = termios.tcgetattr(line.near)
        found[0] |= termios.IXOFF | termios.IGNBRK
        found[2] |= termios.CRTSCTS
        found[3] |= termios.NOFLSH
        termios.tcsetattr(line.near, termios.TCSANOW, found)
        found = termios.tcgetattr(line.near)
        shared = console(loop, line.path)
        shared.start()
        expected = line_settings(found, SerialOptions())
        expected[2] = expected[2] & ~0o10017 | termios.B9600  # the kernel shows the speed in cflag too
        assert line.attributes() == expected
        shared.stop()

    run(test)


def test_the_port_is_locked_as_long_as_it_is_open(line: Line) -> None:
    async def test(loop: ManualLoop) -> None:
        shared = console(loop, line.path)
        shared.start()
        assert not can_be_locked_by_others(line.path)
        shared.stop()
        assert can_be_locked_by_others(line.path)

    run(test)


def test_a_port_costs_one_descriptor(line: Line) -> None:
    """pyserial's own open port is five: 200 ports with logs would not fit into the usual limit of 1024."""

    async def test(loop: ManualLoop) -> None:
        shared = console(loop, line.path)
        before = open_descriptors()
        shared.start()
        assert open_descriptors() == before + 1
        shared.stop()
        assert open_descriptors() == before

    run(test)


def test_a_break_does_not_give_the_lock_away(line: Line) -> None:
    """POSIX locks end when any descriptor of the file is closed, and the break is sent through one of its own."""

    async def test(loop: ManualLoop) -> None:
        shared = console(loop, line.path)
        shared.start()
        shared.send_break()
        await shared_executor_is_idle(loop)
        await settle()
        assert not can_be_locked_by_others(line.path)
        shared.stop()

    run(test)


async def shared_executor_is_idle(loop: ManualLoop) -> None:
    """Everything that was given to the executor before has been done."""
    while True:
        executor = loop._default_executor  # type: ignore[attr-defined]
        await loop.run_in_executor(None, lambda: None)
        if executor is None or executor._work_queue.empty():
            await asyncio.wait([loop.run_in_executor(None, lambda: None)])
            return


def test_a_break_that_fails_is_a_warning(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int, _duration: int) -> None:
        raise termios.error(5, "Input/output error")

    async def test(loop: ManualLoop) -> None:
        monkeypatch.setattr(termios, "tcsendbreak", fail)
        shared = console(loop, line.path)
        shared.start()
        shared.send_break()
        await told(shared).until(lambda: len(told(shared).reported) > 0)
        warning = "Unable to send serial-break to console [s]: Input/output error"
        assert told(shared).reported == [(LogLevel.WARNING, warning)]
        shared.stop()

    run(test)


def test_a_break_is_sent_for_the_usual_time_and_only_while_up(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(loop: ManualLoop) -> None:
        sent = loop.create_future()

        def send(fd: int, duration: int) -> None:
            assert os.path.samestat(os.fstat(fd), os.stat(line.path))
            loop.call_soon_threadsafe(sent.set_result, duration)

        monkeypatch.setattr(termios, "tcsendbreak", send)
        shared = console(loop, line.path)
        shared.send_break()
        shared.start()
        shared.send_break()
        assert await sent == 0
        await shared_executor_is_idle(loop)
        shared.stop()
        shared.send_break()

    run(test)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("gone", 'Unable to open [s] device "{path}": No such file or directory'),
        ("file", '[s] device "{path}" not a terminal'),
    ],
)
def test_a_port_that_cannot_be_used_is_a_warning_once_and_is_retried(tmp_path: Path, name: str, reason: str) -> None:
    async def test(loop: ManualLoop) -> None:
        path = str(tmp_path / name)
        (tmp_path / "file").write_text("")
        shared = console(loop, path)
        shared.start()
        assert told(shared).reported == [(LogLevel.WARNING, reason.format(path=path))]
        assert shared.client_attached() == f'Console [s] is currently disconnected from "{path}"'
        delays = []
        for _ in range(8):
            (delay,) = loop.timers()
            delays.append(delay)
            await loop.advance(delay)
        assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
        assert len(told(shared).reported) == 1
        shared.stop()

    run(test)


def test_a_port_that_another_program_has_locked_is_left_alone(line: Line) -> None:
    async def test(loop: ManualLoop) -> None:
        found = line.attributes()
        with locker(line.path) as other:
            assert other.stdin is not None and other.stdout is not None
            assert other.stdout.readline() == b"got\n"
            shared = console(loop, line.path)
            shared.start()
            assert told(shared).reported == [(LogLevel.WARNING, f'Unable to lock [s] device "{line.path}"')]
            assert shared.state is State.DOWN
            assert line.attributes() == found
        shared.stop()

    run(test)


def test_settings_that_the_port_refuses_are_a_warning_and_are_retried(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = termios.tcsetattr

    def refuse(fd: int, when: int, attributes: List[object]) -> None:
        if when == termios.TCSAFLUSH:
            raise termios.error(22, "Invalid argument")
        real(fd, when, attributes)  # type: ignore[arg-type]

    async def test(loop: ManualLoop) -> None:
        shared = console(loop, line.path)
        with monkeypatch.context() as patch:
            patch.setattr(termios, "tcsetattr", refuse)
            shared.start()
        assert told(shared).reported == [
            (LogLevel.WARNING, f'Unable to open [s] device "{line.path}": Invalid argument')
        ]
        await loop.advance(1)
        assert shared.state is State.UP
        shared.stop()

    run(test)


def test_a_hang_up_is_announced_and_retried_at_once_then_by_the_timer(line: Line) -> None:
    async def test(loop: ManualLoop) -> None:
        shared = console(loop, line.path)
        shared.start()
        await loop.advance(100)
        line.hang_up()
        await told(shared).until(lambda: len(told(shared).reported) > 0)
        assert told(shared).announced[1:] == [f'Console [s] disconnected from "{line.path}"']
        # The second attempt came at once, and found the port hung up.
        ((level, text),) = told(shared).reported
        assert level is LogLevel.WARNING
        assert text.startswith(f'Unable to open [s] device "{line.path}": ')
        assert len(loop.timers()) == 1
        shared.stop()

    run(test)


def test_a_port_that_hangs_up_again_and_again_does_not_make_us_spin(line: Line) -> None:
    async def test(loop: ManualLoop) -> None:
        shared = console(loop, line.path)
        shared.start()
        shared.ended(None)  # as a port that opens, but reads its end at once
        assert shared.state is State.DOWN
        assert loop.timers() == [1]
        await loop.advance(1)
        assert shared.state is State.UP
        shared.stop()

    run(test)


def test_a_port_that_is_replaced_is_used_again(tmp_path: Path) -> None:
    """A USB adapter that is pulled out and put back, under the same name."""

    async def test(loop: ManualLoop) -> None:
        first, second = Line(), Line()
        path = tmp_path / "ttyUSB0"
        path.symlink_to(first.path)
        shared = console(loop, str(path))
        shared.start()
        path.unlink()
        first.hang_up()
        first.close()
        await told(shared).until(lambda: len(told(shared).announced) == 2)
        path.symlink_to(second.path)
        await loop.advance(60)
        os.write(second.far, b"back")
        await told(shared).until(lambda: told(shared).published == b"back")
        shared.stop()
        second.close()

    run(test)


@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4),
    st.sampled_from([50, 9600, 115200, 460800]),
    st.integers(5, 8),
    st.sampled_from("noe"),
    st.integers(1, 2),
)
def test_line_settings_change_what_conman_names_and_nothing_else(
    flags: List[int], bps: int, databits: int, parity: str, stopbits: int
) -> None:
    found = [*flags, termios.B300, termios.B300, [b"\0"] * 32]
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = line_settings(
        found, SerialOptions(bps, databits, parity, stopbits)
    )
    input_flags = termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON
    local_flags = termios.ECHO | 0o1000 | termios.ICANON | termios.IEXTEN | termios.ISIG  # 0o1000 is ECHOCTL
    size = {5: termios.CS5, 6: termios.CS6, 7: termios.CS7, 8: termios.CS8}[databits]
    framing = {"n": 0, "e": termios.PARENB, "o": termios.PARENB | termios.PARODD}[parity]
    framing |= termios.CSTOPB if stopbits == 2 else 0
    framing_flags = termios.CSIZE | termios.PARENB | termios.PARODD | termios.CSTOPB
    assert iflag == flags[0] & ~input_flags
    assert oflag == flags[1] & ~termios.OPOST
    assert cflag == flags[2] & ~framing_flags | size | framing | termios.CLOCAL
    assert lflag == flags[3] & ~local_flags
    assert ispeed == ospeed == getattr(termios, f"B{bps}")
    assert (cc[termios.VMIN], cc[termios.VTIME]) == (1, 0)
    assert found[:4] == flags and found[6] == [b"\0"] * 32


def test_lockf_is_what_we_think_it_is(tmp_path: Path) -> None:
    """The reason for taking the lock again after a break: closing one descriptor ends the process's locks."""
    path = tmp_path / "file"
    path.write_text("")
    with open(path, "r+") as first:
        fcntl.lockf(first, fcntl.LOCK_EX)
        open(path).close()
        assert can_be_locked_by_others(str(path))
