"""What passes between the daemon and a device once its session is open: breaks, guarded keys, a device's own prompts.

Pure: bytes and times go in, bytes for either side come out; nothing here opens, reads or waits. It imports nothing
either, for each console's relay process pays for what this module loads.

The daemon asks for a serial break by the two bytes ``&B`` among the keys, whatever the client's escape character is.
They cannot be told from an ``&`` and a ``B`` that a user pasted; they can be told from the two typed one after the
other, which arrive apart, and then are just typed.
"""

from __future__ import annotations

# An "&" that ends a burst may be half of a break whose "B" is still on its way (the daemon's ring wrapped just there).
# After this long it was typed. Short enough not to be felt, long enough for one more turn of the daemon's loop.
BREAK_HOLD_SECONDS = 0.05

# How long output that may be the beginning of a device's own prompt is kept back. Its line end thereby reaches the log
# at most this late, where the original kept it until the next output.
PROMPT_HOLD_SECONDS = 0.2

# A prompt counts only when nothing follows it for this long: nodes print "-> " too, but go on printing.
PROMPT_QUIET_SECONDS = 0.4

# Output kept while a device's answer is awaited; more than this is no answer, and is shown.
MAX_ANSWER_BYTES = 16384

# ipmiconsole takes what is typed faster than its BMC, and gives the session up when some 8 KB wait (observed with
# FreeIPMI 1.6.10). It does not tell how much does, so more than a burst goes at the speed of a line of 9600 bit/s.
PACED_BURST_BYTES = 4096
PACED_BYTES_PER_SECOND = 960.0
PACE_SECONDS = 0.1

# Among the pieces for the tool: a serial break on the line itself.
BREAK = None

STOLEN = b"\r\nConsole session stolen.\r\n"


class Session:
    """Keys and output pass unchanged; a break is whatever ``break_keys`` says.

    Feed :meth:`keys` and :meth:`output`, take :meth:`for_tool` and :meth:`for_daemon`, call :meth:`expire` when
    ``deadline()`` has come. ``ended`` means that the program has nothing more to do and what exit status it gives.
    """

    break_keys: bytes | None = b"&B"
    farewell = b""  # what makes the tool end its session in good order, typed before its terminal is closed

    def __init__(self, *options: str) -> None:
        self.options = options
        self.ended: int | None = None
        self._held_key = b""
        self._key_deadline: float | None = None
        self._tool: list[bytes | None] = []
        self._daemon: list[bytes] = []

    def keys(self, data: bytes, now: float) -> None:
        """Bytes from the daemon: what clients typed, and breaks as ``&B``."""
        data = self._held_key + data
        self._held_key, self._key_deadline = b"", None
        if data.endswith(b"&"):
            data = data[:-1]
            self._held_key, self._key_deadline = b"&", now + BREAK_HOLD_SECONDS
        first, *others = data.split(b"&B")
        if first:
            self.type(first)
        for part in others:
            self.send_break()
            if part:
                self.type(part)

    def type(self, data: bytes) -> None:
        """Keys without a break among them."""
        self._tool.append(data)

    def send_break(self) -> None:
        self._tool.append(self.break_keys)

    def release(self, now: float) -> None:
        """Let go of keys that are kept to be sent later, as far as they may be sent now.

        To be called after :meth:`type` and :meth:`send_break` by who calls those instead of :meth:`keys`.
        """

    def waiting(self) -> int:
        """How many bytes of keys are kept to be sent later."""
        return 0

    def forget_waiting(self, count: int) -> None:
        """Drop the oldest ``count`` of them."""

    def output(self, data: bytes, now: float) -> None:
        """Bytes from the device."""
        self._daemon.append(data)

    def deadline(self) -> float | None:
        """When :meth:`expire` is due (the clock of ``now``), or None."""
        return self._key_deadline

    def expire(self, now: float) -> None:
        if self._key_deadline is not None and now >= self._key_deadline:
            held, self._held_key, self._key_deadline = self._held_key, b"", None
            self.type(held)

    def for_tool(self) -> list[bytes | None]:
        """What to send to the tool, in order; ``BREAK`` is a break on the line. Each piece is given once."""
        pieces, self._tool = self._tool, []
        return pieces

    def for_daemon(self) -> bytes:
        """What to write to the daemon; given once."""
        data, self._daemon = b"".join(self._daemon), []
        return data


class Guarded(Session):
    """ipmitool and ssh: their escape character counts only as the first byte of a line.

    There it is doubled, so that nothing typed can end or suspend the tool. A break in the middle of a line needs a CR
    before it, the one byte that is ever invented. Both tools count as at a line start after a break (observed:
    ipmitool 1.8.19, OpenSSH 9.2).
    """

    escape = b"&"

    def __init__(self, *options: str) -> None:
        super().__init__(*options)
        self._at_line_start = True

    def type(self, data: bytes) -> None:
        last, escape = data[-1:], self.escape
        if self._at_line_start and data.startswith(escape):
            data = escape + data
        for line_end in (b"\r", b"\n"):
            data = data.replace(line_end + escape, line_end + escape + escape)
        self._tool.append(data)
        self._at_line_start = last in (b"\r", b"\n")

    def send_break(self) -> None:
        if not self._at_line_start:
            self._tool.append(b"\r")
            self._at_line_start = True
        self._tool.append(self.escape + b"B")


class GuardedSsh(Guarded):
    """ssh, with an escape character of our choice: ``&`` doubled would put it into the background."""

    escape = b"\x1e"


class Unguarded(Guarded):
    """As :class:`Guarded`, for sites that want the tool's own escapes (setting ``escapes = yes``)."""

    def type(self, data: bytes) -> None:
        self._tool.append(data)
        self._at_line_start = data[-1:] in (b"\r", b"\n")


class UnguardedIpmiconsole(Session):
    """ipmiconsole with its own escapes: a large paste is sent in pieces."""

    farewell = b"&."

    def __init__(self, *options: str) -> None:
        super().__init__(*options)
        self._waiting = b""
        self._credit, self._credit_time = float(PACED_BURST_BYTES), 0.0
        self._next_piece: float | None = None

    def waiting(self) -> int:
        return len(self._waiting)

    def forget_waiting(self, count: int) -> None:
        self._waiting = self._waiting[count:]

    def keys(self, data: bytes, now: float) -> None:
        super().keys(data, now)
        self.release(now)

    def type(self, data: bytes) -> None:
        self._waiting += data

    def send_break(self) -> None:
        self._waiting += b"&B"

    def deadline(self) -> float | None:
        dues = [due for due in (self._key_deadline, self._next_piece) if due is not None]
        return min(dues) if dues else None

    def expire(self, now: float) -> None:
        super().expire(now)
        self.release(now)

    def release(self, now: float) -> None:
        earned = (now - self._credit_time) * PACED_BYTES_PER_SECOND
        self._credit, self._credit_time = min(self._credit + earned, PACED_BURST_BYTES), now
        count = min(int(self._credit), len(self._waiting))
        if count:
            self._tool.append(self._waiting[:count])
            self._waiting = self._waiting[count:]
            self._credit -= count
        self._next_piece = now + PACE_SECONDS if self._waiting else None


class Ipmiconsole(UnguardedIpmiconsole):
    """``&`` is its escape character anywhere in a line, so every one that was typed is doubled."""

    def type(self, data: bytes) -> None:
        super().type(data.replace(b"&", b"&&"))


class Line(Session):
    """A serial port: the break is made on the line."""

    break_keys = BREAK


class TelnetBreak(Session):
    """A terminal server that speaks telnet: the break is the telnet command, which the codec makes of ``BREAK``."""

    break_keys = BREAK


class Watching(Session):
    """A device whose own prompt appears in the output when its console was left or taken away.

    ``prompt`` is compared with the end of the output, ``None`` in it standing for any byte. What may become the prompt
    is kept back for a moment, so that it stays hidden when it comes in one go, and is recognised also when it did not.
    """

    prompt: tuple[int | None, ...] = ()
    quiet_seconds = PROMPT_QUIET_SECONDS
    answer_seconds = 2.0

    def __init__(self, *options: str) -> None:
        super().__init__(*options)
        self._recent = b""  # the last bytes shown, fewer than the prompt has
        self._held = b""  # not shown: may become the prompt, or is it
        self._answer: bytes | None = None  # not shown: what followed our command; None while none is awaited
        self._deadline: float | None = None

    def output(self, data: bytes, now: float) -> None:
        if self._answer is not None:
            self._answer += data
            if not self.on_answer(self._answer, now) and len(self._answer) > MAX_ANSWER_BYTES:
                self.stop_waiting(self._answer)
            return
        text = self._recent + self._held + data
        hidden = self._held + data
        overlap = _overlap(text, self.prompt)
        kept = min(overlap, len(hidden))
        self._show(hidden[: len(hidden) - kept])
        self._held = hidden[len(hidden) - kept :]
        if overlap == len(self.prompt):
            self._deadline = now + self.quiet_seconds
        else:
            self._deadline = now + PROMPT_HOLD_SECONDS if self._held else None

    def deadline(self) -> float | None:
        dues = [due for due in (self._key_deadline, self._deadline) if due is not None]
        return min(dues) if dues else None

    def expire(self, now: float) -> None:
        super().expire(now)
        if self._deadline is None or now < self._deadline:
            return
        self._deadline = None
        if self._answer is not None:
            self.stop_waiting(self._answer)
        elif _overlap(self._recent + self._held, self.prompt) == len(self.prompt):
            self._recent = self._held = b""
            self.on_prompt(now)
        else:
            self._show(self._held)
            self._held = b""

    def on_prompt(self, now: float) -> None:
        """The device's prompt stands at the end of the output and nothing follows it."""
        raise NotImplementedError

    def on_answer(self, answer: bytes, now: float) -> bool:
        """What the device said since the command; true when that settled it."""
        raise NotImplementedError

    def ask(self, command: bytes, now: float) -> None:
        """Send a command, and keep what comes until ``on_answer`` settles it or ``answer_seconds`` have passed."""
        self._tool.append(command)
        self._answer = b""
        self._deadline = now + self.answer_seconds

    def stop_waiting(self, shown: bytes) -> None:
        """Back to passing output on, beginning with ``shown``."""
        self._answer = self._deadline = None
        self._show(shown)

    def steal(self, message: bytes = STOLEN) -> None:
        self.stop_waiting(message)
        self.ended = 1

    def _show(self, data: bytes) -> None:
        if data:
            self._daemon.append(data)
            self._recent = (self._recent + data)[1 - len(self.prompt) :]


class HpIlo(Watching):
    """HP iLO: leaving the virtual serial port (ESC ``(``) shows iLO's prompt; ask for the port again."""

    break_keys = b"\x1b\x02"
    prompt = tuple(b"</>hpiLO-> ")
    quiet_seconds = 0.05  # no node prints this by accident
    answer_seconds = 5.0

    def on_prompt(self, now: float) -> None:
        self.ask(b"vsp\r", now)

    def on_answer(self, answer: bytes, now: float) -> bool:
        _, found, rest = answer.partition(b"Virtual Serial Port active")
        _, line_end, rest = rest.partition(b"\n")
        if found and line_end:
            self.stop_waiting(rest[2:] if rest.startswith(b"\r\n") else rest)
            return True
        return False


class HpLo100(Watching):
    """HP Lights-Out 100: ESC ``Q`` returns from its prompt to the console."""

    break_keys = b"\x1b\x02"
    prompt = (0x2F, None, *b"/-> ")

    def on_prompt(self, now: float) -> None:
        self._tool.append(b"\x1bQ\r")


class IbmBc(Watching):
    """IBM BladeCenter. Options: the console command, and the idle time-out in seconds (0 for none)."""

    break_keys = BREAK
    prompt = tuple(b"\r\nsystem> ")

    def __init__(self, command: str, idle_seconds: str = "0") -> None:
        super().__init__(command, idle_seconds)
        self._command = command.encode() + b"\r"
        self._idle_seconds = float(idle_seconds)
        self._idle_deadline: float | None = None

    def output(self, data: bytes, now: float) -> None:
        if self._idle_seconds > 0:
            self._idle_deadline = now + self._idle_seconds
        super().output(data, now)

    def deadline(self) -> float | None:
        due = super().deadline()
        return due if self._idle_deadline is None else min(self._idle_deadline, due or self._idle_deadline)

    def expire(self, now: float) -> None:
        super().expire(now)
        if self._idle_deadline is not None and now >= self._idle_deadline:
            self._idle_deadline = now + self._idle_seconds
            self._tool.append(b" \x7f")

    def on_prompt(self, now: float) -> None:
        self.ask(self._command, now)

    def on_answer(self, answer: bytes, now: float) -> bool:
        _, cleared, rest = answer.partition(b"\x1b[2J")
        if cleared:
            self.stop_waiting(rest)
        elif answer.endswith(b"\r\nSOL session is already active\r\nsystem> "):
            self.steal()
        return bool(cleared) or self.ended is not None


class SunIlom(Watching):
    """Sun ILOM. Option: ``override`` to take a console back that another session has taken."""

    break_keys = b"\x1bB"
    prompt = tuple(b"\r\n-> ")
    stopped = b"Serial console stopped."
    start = b"start -script /SP/console\r"
    started = b"Serial console started."
    in_use = b"Serial console is in use"

    def on_prompt(self, now: float) -> None:
        # After "stopped", the user left the console by its own escape; without it another session took the console.
        left = self._stopped_lately
        self._stopped_lately = False
        if left or "override" in self.options:
            self.ask(self.start, now)
        else:
            self.steal()

    def on_answer(self, answer: bytes, now: float) -> bool:
        _, started, rest = answer.partition(self.started)
        _, line_end, rest = rest.partition(b"\n")
        if started and line_end:
            self.stop_waiting(rest)
        elif self.in_use in answer:
            self.steal()
        return bool(started and line_end) or self.ended is not None

    _stopped_lately = False

    def output(self, data: bytes, now: float) -> None:
        if self._answer is None:
            self._tail = (self._tail + data)[-64:]
            self._stopped_lately = self._tail.endswith(b"\r\n" + self.stopped + b"\r\n\r\n-> ")
        super().output(data, now)

    _tail = b""


class SunElom(SunIlom):
    """Sun ELOM: other words. Its own text for a taken console is recognised too, which the original does not."""

    start = b"start /SP/AgentInfo/console\r"
    started = b"console activate successful."
    in_use = b"console already active on another session"


class SunV20z(Session):
    """Sun v20z and v40z. Option: ``override`` to take the console back from whoever made us a spectator."""

    def __init__(self, *options: str) -> None:
        super().__init__(*options)
        self._tail = b""

    break_keys = b"\x05cl0\r"

    def output(self, data: bytes, now: float) -> None:
        super().output(data, now)
        if "override" not in self.options:
            return
        # Whole lines only; the text is shown as it comes, so that nothing is ever kept back.
        *lines, rest = (self._tail + data).split(b"\n")
        self._tail = rest[-256:]
        if any(b"[forced to `spy' mode by " in line for line in lines):
            self._tool.append(b"\x05cf\r")


KINDS: dict[str, type[Session]] = {
    kind.__name__: kind
    for kind in (
        Session,
        Guarded,
        GuardedSsh,
        Unguarded,
        Ipmiconsole,
        UnguardedIpmiconsole,
        Line,
        TelnetBreak,
        HpIlo,
        HpLo100,
        IbmBc,
        SunIlom,
        SunElom,
        SunV20z,
    )
}


def _overlap(text: bytes, prompt: tuple[int | None, ...]) -> int:
    """The length of the longest end of ``text`` that is a beginning of ``prompt``."""
    for length in range(min(len(text), len(prompt)), 0, -1):
        end = text[len(text) - length :]
        if all(want is None or want == byte for want, byte in zip(prompt, end)):
            return length
    return 0
