"""Consoles for programs, the plain way: open one, type, wait for words. ``conman.aio`` is the same for asyncio.

What matches is ``conman.expect``'s, what is said again and again ``conman.dialogues``'s; this is the I/O around them.
"""

from __future__ import annotations

import codecs
import os
import re
import select
import socket
import time
from typing import List, Optional, Sequence, Tuple, TypeVar, Union

from conman import dialogues, escapes, identity
from conman.address import Address, from_environment
from conman.connection import Connection, connect
from conman.dialogues import CommandResult, Dialogue, Login, State
from conman.errors import ConmanError, ConnectError, LostError
from conman.escapes import Command
from conman.expect import EOF, TIMEOUT, Compiled, Expecter, Match, PatternLike, compiled
from conman.protocol import Request, RequestCommand
from conman.status import ConsoleStatus, parse_statuses

READ_BYTES = 65536
DEFAULT_SECONDS = 30.0
OPEN_SECONDS = 10.0
"""For each step of opening a session; the original's library has as much for all of them."""

MODES = ("connect", "join", "force", "monitor")
T = TypeVar("T")


def as_address(server: Optional[Union[str, Address]]) -> Address:
    """``HOST[:PORT]``, or what the environment says, as for ``conman-py``. Raises ``ValueError`` for a bad port."""
    if isinstance(server, Address):
        return server
    return from_environment(os.environ).with_text(server or "")


def session_request(name: str, mode: str, quiet: bool) -> Request:
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}")
    command = RequestCommand.MONITOR if mode == "monitor" else RequestCommand.CONNECT
    pattern = re.sub(r"([*?\[\\])", r"\\\1", name)  # a name, not a pattern
    return Request(command, (pattern,), quiet=quiet, join=mode == "join", force=mode == "force")


def query(
    *patterns: str, server: Optional[Union[str, Address]] = None, regex: bool = False, timeout: float = OPEN_SECONDS
) -> List[str]:
    """Names of the consoles that match, in the server's order; all of them without a pattern.

    Raises ``RefusedError`` if there are none, ``ConnectError`` if there is no answer.
    """
    request = Request(RequestCommand.QUERY, tuple(patterns), regex=regex)
    connection = connect(as_address(server), identity.greeting(os.environ), request, timeout_seconds=timeout)
    connection.sock.close()
    return list(connection.ok.names)


def query_status(
    *patterns: str, server: Optional[Union[str, Address]] = None, regex: bool = False, timeout: float = OPEN_SECONDS
) -> List[ConsoleStatus]:
    """The state of the consoles that match. Raises as ``query``; the original's daemon does not tell."""
    request = Request(RequestCommand.QUERY, tuple(patterns), regex=regex, status=True)
    connection = connect(as_address(server), identity.greeting(os.environ), request, timeout_seconds=timeout)
    lines = connection.read_to_end()
    if not connection.ok.status:
        raise ConnectError(f"No status from <{connection.endpoint.label}>: its daemon tells names only")
    return parse_statuses(lines)


def open_console(name: str, **options: object) -> Console:
    """``Console(name, ...)``, for those who prefer a verb."""
    return Console(name, **options)  # type: ignore[arg-type]


class Session:
    """What both faces have: the text that has come, and what the last ``expect`` made of it. No I/O."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self.name = connection.ok.names[0]
        self.can_reset = connection.ok.reset
        self.timeout = timeout
        self.before = ""
        self.after = ""
        self.match: Optional[re.Match[str]] = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._expecter = Expecter()
        if connection.rest:
            self._received(connection.rest)

    def _received(self, data: bytes) -> None:
        """No bytes are the end of the session."""
        if data:
            self._expecter.feed(self._decoder.decode(data))
        else:
            self._expecter.feed_eof()

    def _seconds(self, timeout: Optional[float]) -> float:
        return self.timeout if timeout is None else timeout

    def _keep(self, match: Match) -> int:
        self.before, self.match, self.after = match.before, match.found, match.text
        return match.index

    def _reset_bytes(self) -> bytes:
        if not self.can_reset:
            raise ConmanError(f"cannot reset [{self.name}]: the server has no resetcmd")
        return escapes.encode_command(Command.RESET)

    def _require_open(self) -> None:
        """What is typed behind the end would be taken by the network, and by nobody else."""
        if self._expecter.ended:
            raise LostError(f"cannot type at [{self.name}]: the session is over")

    def _lost(self, error: OSError) -> LostError:
        return LostError(f"cannot type at [{self.name}]: {error.strerror or error}; the session is over")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def typed(text: str) -> bytes:
    """``text`` as the wire has it."""
    return escapes.stuff(text.encode("utf-8", "surrogateescape"))


class Console(Session):
    """An open session with one console. Use it as a context manager, or call ``close``.

    ``mode`` is ``connect`` (refused if somebody writes already), ``join``, ``force`` or ``monitor``. ``timeout`` is the
    default of all waiting, in seconds. Text is UTF-8, and other bytes survive as surrogate escapes. With ``quiet`` the
    daemon's messages (who came and went) stay out of the text. Raises ``ConnectError`` or ``RefusedError``.

    After ``expect`` there are, as in pexpect: ``before``, ``after``, ``match``.
    """

    def __init__(
        self,
        name: str,
        *,
        mode: str = "connect",
        server: Optional[Union[str, Address]] = None,
        timeout: float = DEFAULT_SECONDS,
        quiet: bool = True,
    ) -> None:
        request = session_request(name, mode, quiet)
        greeting = identity.greeting(os.environ)
        connection = connect(as_address(server), greeting, request, timeout_seconds=OPEN_SECONDS)
        super().__init__(connection, timeout)
        self._sock = connection.sock
        self._sock.settimeout(None)

    # Typing.

    def send(self, text: str) -> None:
        """Type ``text``. Raises ``LostError`` when the session is over."""
        self._write(typed(text))

    def sendline(self, text: str = "") -> None:
        """Type ``text`` and Enter."""
        self.send(text + "\r")

    def send_break(self) -> None:
        """A serial break."""
        self._command(Command.BREAK)

    def reset(self) -> None:
        """Reset the node. Raises ``ConmanError`` if the server has no command for that."""
        self._write(self._reset_bytes())

    def _command(self, command: Command) -> None:
        self._write(escapes.encode_command(command))

    def _write(self, data: bytes) -> None:
        self._require_open()
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    # Waiting.

    def expect(self, patterns: Union[PatternLike, Sequence[PatternLike]], timeout: Optional[float] = None) -> int:
        """Wait for the first of ``patterns`` (regular expressions, ``EOF``, ``TIMEOUT``); returns its number.

        Raises ``EOF`` or ``TIMEOUT`` where those are none of the patterns. No ``timeout`` means the console's.
        """
        return self._keep(self._await(compiled(patterns), self._seconds(timeout)))

    def expect_exact(self, texts: Union[PatternLike, Sequence[PatternLike]], timeout: Optional[float] = None) -> int:
        """``expect`` for plain strings."""
        return self._keep(self._await(compiled(texts, exact=True), self._seconds(timeout)))

    def _await(self, patterns: Sequence[Compiled], seconds: float) -> Match:
        wanted = tuple(patterns)
        match = self._find(wanted, seconds)
        return self._expecter.time_out(wanted, seconds) if match is None else match

    def _find(self, wanted: Tuple[Compiled, ...], seconds: float) -> Optional[Match]:
        """``None`` when the time is over, whether the console is silent by then or still talks."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            match = self._expecter.find(wanted)
            if match is not None or not self._receive(left):
                return match
            if left <= 0:
                return self._expecter.find(wanted)

    def _receive(self, seconds: float) -> bool:
        """Whether something came, be it the end."""
        if not _readable(self._sock, seconds):
            return False
        try:
            data = self._sock.recv(READ_BYTES)
        except OSError:
            data = b""
        self._received(data)
        return True

    def read(self, timeout: Optional[float] = None) -> str:
        """What has come and was not read, waiting for it if need be; empty at the end. Raises ``TIMEOUT``."""
        deadline = time.monotonic() + self._seconds(timeout)
        while not self._expecter.unread and not self._expecter.ended:
            if not self._receive(deadline - time.monotonic()):
                raise TIMEOUT(f"[{self.name}] said nothing within {self._seconds(timeout):g} s")
        return self._expecter.take()

    # Dialogues.

    def perform(self, dialogue: Dialogue[T]) -> T:
        """Hold a dialogue of ``conman.dialogues``, or of your own."""
        try:
            step = next(dialogue)
            while True:
                if isinstance(step, dialogues.Type):
                    self.send(step.text)
                    step = dialogue.send(None)
                else:
                    try:
                        match = self._find(step.patterns, step.seconds)
                    except EOF as end:
                        step = dialogue.throw(end)
                    else:
                        step = dialogue.send(match)
        except StopIteration as end:
            result: T = end.value
            return result

    def state(self, timeout: float = 4.0) -> State:
        """What is at the console: a login prompt, a shell, firmware, silence."""
        return self.perform(dialogues.detect_state(wait_seconds=timeout))

    def login(self, user: str, password: Optional[str] = None) -> Login:
        """Log in if asked to. Raises ``DialogueError``."""
        return self.perform(dialogues.log_in(user, password, self.timeout))

    def run(self, command: str, timeout: Optional[float] = None) -> CommandResult:
        """Run a shell command. Raises ``DialogueError`` if there is no shell or the command does not return."""
        return self.perform(dialogues.run_command(command, self._seconds(timeout)))

    def replay(self) -> Optional[str]:
        """The last 4096 bytes of the console's log; ``None`` if it has none."""
        self._command(Command.REPLAY)
        return self.perform(dialogues.await_replay())

    def boot(self, timeout: float = 600.0) -> str:
        """Reset the node and wait for its login prompt; returns what it said until then."""
        self.perform(dialogues.discard())
        self.reset()
        return self.perform(dialogues.boot(timeout))

    def sysrq(self, key: str, timeout: float = 10.0) -> str:
        """A break and a SysRq key; returns what the kernel prints then."""
        self.perform(dialogues.discard())
        self.send_break()
        self.send(key)
        return self.perform(dialogues.sysrq_answer(seconds=timeout))

    # The end.

    def fileno(self) -> int:
        """For select(2); ``expect`` may still find text that was read before."""
        return self._sock.fileno()

    def close(self) -> None:
        """Leave the console. What was typed is delivered. May be called again."""
        if self._sock.fileno() < 0:
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + CLOSE_SECONDS
            # Closing with something unread would reset the connection, and what was typed might be lost.
            while _readable(self._sock, deadline - time.monotonic()) and self._sock.recv(READ_BYTES):
                if time.monotonic() > deadline:
                    break
        except OSError:
            pass
        self._sock.close()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()


MAX_WAIT_SECONDS = 1e6
"""A longer wait ends here; poll(2) takes milliseconds up to 2^31."""

CLOSE_SECONDS = 2.0
"""For the daemon to close in turn."""


def _readable(sock: socket.socket, seconds: float) -> bool:
    poll = select.poll()  # select(2) fails from descriptor 1024 on
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(min(max(0.0, seconds), MAX_WAIT_SECONDS) * 1000))
