"""serial_exp.py on a pair of terminals, and on pyserial's own RFC 2217 server, run as the daemon runs it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import termios
import threading
from pathlib import Path
from typing import Iterator, List

import pytest
import serial.rfc2217

from tests.fakes.files import PATIENCE_SECONDS
from tests.fakes.installed import Installed
from tests.fakes.peers import installed_program
from tests.fakes.script import Script, descendants

OPEN = b"Connection established via serial (pid "


class Pair:
    """Two terminals joined by socat: ``a`` is for the script, ``b`` is the node's."""

    def __init__(self, directory: Path) -> None:
        self.a, self.b = str(directory / "a"), str(directory / "b")
        self.process = subprocess.Popen(
            [installed_program("socat"), "-d", "-d", f"pty,rawer,link={self.a}", f"pty,rawer,link={self.b}"],
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if b"starting data transfer loop" in line:
                break
        self.node = os.open(self.b, os.O_RDWR | os.O_NOCTTY)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += os.read(self.node, 4096)
        return data

    def close(self) -> None:
        os.close(self.node)
        self.process.terminate()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    started = Pair(tmp_path)
    yield started
    started.close()


def test_data_both_ways_on_a_port(installed: Installed, pair: Pair) -> None:
    with Script(*installed.argv("serial", pair.a, "115200", "8N1", "none")) as script:
        script.read_until(OPEN)
        assert descendants(script.process.pid) == [script.process.pid]
        script.send(b"to the node &. \xff\0\r")
        assert pair.read(18) == b"to the node &. \xff\0\r"
        os.write(pair.node, b"from the node \xff\0")
        script.read_until(b"from the node \xff\0")
        descriptor = os.open(pair.a, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            assert termios.tcgetattr(descriptor)[4] == termios.B115200
            with pytest.raises(BlockingIOError):  # nobody else is to read along
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)


def test_break_does_not_disturb_the_data(installed: Installed, pair: Pair) -> None:
    # A terminal pair shows no break; that one is sent is seen by the RFC 2217 server below.
    with Script(*installed.argv("serial", pair.a)) as script:
        script.read_until(OPEN)
        script.send(b"ab&Bcd")
        assert pair.read(4) == b"abcd"


def test_missing_port_is_told(installed: Installed) -> None:
    with Script(*installed.argv("serial", "/dev/no-such-port")) as script:
        assert script.read_to_end() == b"Error: cannot open /dev/no-such-port: No such file or directory.\r\n"
        assert script.wait() == 1


def test_port_that_goes_away_ends_the_program(installed: Installed, pair: Pair) -> None:
    with Script(*installed.argv("serial", pair.a)) as script:
        script.read_until(OPEN)
        pair.process.terminate()
        script.read_to_end()


def test_login_on_the_line(installed: Installed, pair: Pair) -> None:
    installed.passwords(b":admin:t0psecret\n")
    with Script(*installed.argv("serial", pair.a, "9600", "8N1", "none", "admin")) as script:
        assert pair.read(1) == b"\r"
        os.write(pair.node, b"\r\nnode login: ")
        assert pair.read(6) == b"admin\r"
        os.write(pair.node, b"admin\r\nPassword: ")
        assert pair.read(10) == b"t0psecret\r"
        os.write(pair.node, b"\r\nWelcome\r\nnode$ ")
        script.read_until(OPEN)
        script.read_until(b"Welcome\r\nnode$ ")


class FakePort:
    """What pyserial's server side controls: remembers settings and breaks."""

    def __init__(self) -> None:
        self.baudrate, self.bytesize, self.stopbits, self.parity = 9600, 8, 1, "N"
        self.xonxoff = self.rtscts = self.rts = self.dtr = self.cts = self.dsr = self.ri = self.cd = False
        self.breaks: List[bool] = []
        self.changed = threading.Condition()

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name == "break_condition":
            with self.changed:
                self.breaks.append(bool(value))
                self.changed.notify_all()

    def reset_input_buffer(self) -> None:
        pass

    def reset_output_buffer(self) -> None:
        pass


class Rfc2217Server:
    """An echoing port across the network."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self.listener.getsockname()[1]}"
        self.port = FakePort()
        self.line: socket.socket | None = None
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self) -> Rfc2217Server:
        self.thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        for end in (self.listener, self.line):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        self.thread.join(PATIENCE_SECONDS)

    def write(self, data: bytes) -> None:
        assert self.line is not None
        self.line.sendall(data)

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            self.line, _ = self.listener.accept()
            manager = serial.rfc2217.PortManager(self.port, self)
            while True:
                data = self.line.recv(4096)
                if not data:
                    return
                plain = b"".join(manager.filter(data))
                self.write(b"".join(manager.escape(plain)))


def test_port_across_the_network(installed: Installed) -> None:
    with Rfc2217Server() as server, Script(*installed.argv("serial", server.url, "19200", "7E2")) as script:
        script.read_until(OPEN)
        assert (server.port.baudrate, server.port.bytesize, server.port.parity) == (19200, 7, "E")
        script.send(b"echo \xff\r")
        script.read_until(b"echo \xff\r")
        script.send(b"a&Bc")
        script.read_until(b"ac")
        with server.port.changed:
            assert server.port.changed.wait_for(lambda: True in server.port.breaks, PATIENCE_SECONDS)
        assert server.line is not None
        server.line.shutdown(socket.SHUT_RDWR)
        script.read_to_end()


@pytest.mark.parametrize("way", ["eof", "term", "hup"])
def test_program_ends_with_the_daemon(installed: Installed, way: str) -> None:
    with Rfc2217Server() as server, Script(*installed.argv("serial", server.url)) as script:
        script.read_until(OPEN)
        if way == "eof":
            script.close()
        else:
            script.signal(signal.SIGTERM if way == "term" else signal.SIGHUP)
        script.wait(5)


def test_unreachable_server_is_told(installed: Installed) -> None:
    with Script(*installed.argv("serial", "socket://127.0.0.1:9")) as script:
        assert b"Error: cannot open socket://127.0.0.1:9" in script.read_to_end()
