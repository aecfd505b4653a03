"""A pretend Linux node as its serial console shows it: pure, so that tests can drive it at a plain prompt.

Bytes and the time go in, bytes come out. ``now`` is seconds since the epoch; call ``tick`` when ``next_deadline`` has
come. Knows nothing of telnet or sockets: a serial break arrives as a call. A node boots, asks for a login, runs a toy
shell, logs a kernel line now and then, answers SysRq after a break, crashes, and comes back.
"""

from __future__ import annotations

import enum
import random
import time
from collections import deque
from typing import Callable, Deque, List, Optional, Sequence, Tuple

from demo import shell, texts
from demo.lineedit import Key, LineEditor

SYSRQ_SECONDS = 5.0
"""How long after a break the next key is a SysRq key. Source: Linux, drivers/tty/serial."""

MAX_KERNEL_LOG_LINES = 500


class Phase(enum.Enum):
    OFF = "no power"
    FIRMWARE = "BIOS and boot loader; no kernel, so no SysRq"
    BOOTING = "kernel and services are starting"
    LOGIN = "asking for a user"
    PASSWORD = "asking for a password"
    SHELL = "at the prompt"
    GOING_DOWN = "services are stopping"
    PANIC = "the kernel has crashed and will reboot"


_KERNEL_RUNS = frozenset(Phase) - {Phase.OFF, Phase.FIRMWARE}
_READS_KEYS = frozenset({Phase.LOGIN, Phase.PASSWORD, Phase.SHELL})

_Step = Callable[[float], None]


class Node:
    """One node, without power until ``power_on``.

    ``pace`` stretches the delays of boot, shutdown and crash; 0 takes them out. ``chatter_seconds`` are the least and
    the greatest time between two kernel lines while the node runs; None keeps it silent. Any user may log in, with the
    password ``demo``.
    """

    def __init__(
        self,
        name: str,
        number: int = 1,
        *,
        pace: float = 1.0,
        chatter_seconds: Optional[Tuple[float, float]] = (10.0, 45.0),
    ) -> None:
        self.name = name
        self.phase = Phase.OFF
        self._number = number
        self._pace = pace
        self._chatter_seconds = chatter_seconds
        self._random = random.Random(number)
        self._editor = LineEditor()
        self._user = ""
        self._kernel_started = 0.0
        self._kernel_log: Deque[str] = deque(maxlen=MAX_KERNEL_LOG_LINES)
        self._status = 0  # of the last command
        self._agenda: Deque[Tuple[float, _Step]] = deque()  # in order of time
        self._next_chatter: Optional[float] = None
        self._chatter_line = number * 3
        self._sysrq_until: Optional[float] = None
        self._output: List[bytes] = []

    def power_on(self, now: float) -> bytes:
        """Start from the firmware on, whatever was running: also a reset button."""
        self._start_again(now)
        return self.tick(now)

    def receive(self, data: bytes, now: float) -> bytes:
        """The console's answer to typed bytes."""
        for byte in data:
            if self._sysrq_until is not None:
                pressed_in_time = now <= self._sysrq_until
                self._sysrq_until = None
                if pressed_in_time:
                    self._sysrq(chr(byte), now)
                    continue
            if self.phase in _READS_KEYS:
                self._receive_key(byte, now)
        return self.tick(now)

    def receive_break(self, now: float) -> bytes:
        """A serial break: the next key is a SysRq key."""
        if self.phase in _KERNEL_RUNS:
            self._sysrq_until = now + SYSRQ_SECONDS
        return self.tick(now)

    def crash(self, now: float) -> bytes:
        """A kernel panic, and a reboot some seconds later. Nothing happens without a kernel."""
        if self.phase in _KERNEL_RUNS:
            self._panic(now)
        return self.tick(now)

    def tick(self, now: float) -> bytes:
        """Do what is due, and give what is to be sent."""
        while self._agenda and self._agenda[0][0] <= now:
            when, step = self._agenda.popleft()
            step(when)
        if self._next_chatter is not None and self._next_chatter <= now:
            self._chatter(now)
        output = b"".join(self._output)
        self._output.clear()
        return output

    def next_deadline(self) -> Optional[float]:
        """When to call ``tick``; None if only input can bring something new."""
        deadlines = [when for when, _ in list(self._agenda)[:1]]
        if self._next_chatter is not None:
            deadlines.append(self._next_chatter)
        return min(deadlines, default=None)

    # Scripts: a list of delays and steps, played one after the other.

    def _schedule(self, now: float, steps: Sequence[Tuple[float, _Step]]) -> None:
        """Play ``steps`` instead of what was under way."""
        self._agenda.clear()
        when = now
        for delay_seconds, step in steps:
            when += delay_seconds * self._pace
            self._agenda.append((when, step))

    def _boot_steps(self) -> List[Tuple[float, _Step]]:
        steps = self._printing(texts.FIRMWARE)
        before = 0.0
        for uptime, text in texts.KERNEL_BOOT:
            steps.append((uptime - before, self._booting(uptime, text)))
            before = uptime
        return [*steps, *self._printing(texts.SERVICES), (0.0, self._boot_finished)]

    def _printing(self, lines: Sequence[Tuple[float, str]]) -> List[Tuple[float, _Step]]:
        def printing(text: str) -> _Step:
            return lambda now: self._print(self._filled_in(text) + "\r\n")

        return [(delay, printing(text)) for delay, text in lines]

    def _booting(self, uptime: float, text: str) -> _Step:
        def step(now: float) -> None:
            self.phase = Phase.BOOTING
            self._kernel_started = now - uptime
            self._kernel_line(self._filled_in(text), now)

        return step

    def _boot_finished(self, now: float) -> None:
        self._print(texts.BANNER)
        self._ask_for_login()
        self._plan_chatter(now)

    def _plan_chatter(self, now: float) -> None:
        if self._chatter_seconds is not None:
            self._next_chatter = now + self._random.uniform(*self._chatter_seconds)

    def _chatter(self, now: float) -> None:
        self._kernel_line(texts.CHATTER[self._chatter_line % len(texts.CHATTER)], now)
        self._chatter_line += 1
        self._plan_chatter(now)

    def _reboot(self, now: float) -> None:
        self._next_chatter = None
        self.phase = Phase.GOING_DOWN
        final = (0.3, lambda when: self._kernel_line("reboot: Restarting system", when))
        self._schedule(now, [*self._printing(texts.SHUTDOWN), final, (1.0, self._start_again)])

    def _panic(self, now: float) -> None:
        if self.phase is Phase.PANIC:
            return
        self._next_chatter = None
        self.phase = Phase.PANIC
        self._kernel_lines(texts.PANIC, now)
        self._schedule(now, [(texts.PANIC_SECONDS, self._start_again)])

    def _start_again(self, now: float) -> None:
        self._print("\r\n")
        self._editor.clear()
        self._kernel_log.clear()
        self._next_chatter = None
        self._sysrq_until = None
        self.phase = Phase.FIRMWARE
        self._schedule(now, self._boot_steps())

    def _sysrq(self, key: str, now: float) -> None:
        if key == "c":
            self._panic(now)
        elif key == "b":
            self._kernel_line(texts.SYSRQ_RESET, now)
            self._next_chatter = None
            self.phase = Phase.GOING_DOWN
            self._schedule(now, [(0.5, self._start_again)])
        else:
            self._kernel_lines(texts.SYSRQ.get(key, [texts.SYSRQ_HELP]), now)

    # The terminal session.

    def _receive_key(self, byte: int, now: float) -> None:
        echo, typed = self._editor.receive_byte(byte, echo=self.phase is not Phase.PASSWORD)
        self._output.append(echo)
        if isinstance(typed, Key):
            self._special_key(typed)
        elif typed is not None:
            self._typed_line(typed.decode("utf-8", "replace"), now)

    def _special_key(self, key: Key) -> None:
        if self.phase is Phase.SHELL and key is Key.INTERRUPT:
            self._prompt()
        elif self.phase is Phase.SHELL:
            self._print("logout\r\n\r\n" + texts.BANNER)
            self._ask_for_login()
        else:
            self._print("\r\n")
            self._ask_for_login()

    def _typed_line(self, line: str, now: float) -> None:
        if self.phase is Phase.LOGIN:
            self._user = line.strip()
            if self._user:
                self._print("Password: ")
                self.phase = Phase.PASSWORD
            else:
                self._ask_for_login()
        elif self.phase is Phase.PASSWORD:
            self._log_in(line, now)
        else:
            self._run(line, now)

    def _log_in(self, password: str, now: float) -> None:
        if password != texts.PASSWORD:
            self._print("\r\nLogin incorrect\r\n\r\n")
            self._ask_for_login()
            return
        self._print(time.strftime("Last login: %a %b %e %H:%M:%S on ttyS0\r\n", time.localtime(now)))
        self._prompt()

    def _run(self, line: str, now: float) -> None:
        uptime = now - self._kernel_started
        log = tuple(self._kernel_log)
        outcome = shell.run(line, shell.Situation(self.name, self._user, now, uptime, log, self._status))
        self._status = outcome.status
        self._print(outcome.text.replace("\n", "\r\n"))
        if outcome.deed is shell.Deed.LOGOUT:
            self._print("\r\n" + texts.BANNER)
            self._ask_for_login()
            return
        if outcome.deed is shell.Deed.REBOOT:
            self._reboot(now)
        elif outcome.deed is shell.Deed.SYSRQ:
            self._sysrq(outcome.argument, now)
        if self.phase is Phase.SHELL:
            self._prompt()

    def _ask_for_login(self) -> None:
        self.phase = Phase.LOGIN
        self._print(f"{self.name} login: ")

    def _prompt(self) -> None:
        self.phase = Phase.SHELL
        self._print(f"[{self._user}@{self.name} ~]{'#' if self._user == 'root' else '$'} ")

    def _kernel_line(self, text: str, now: float) -> None:
        line = f"[{now - self._kernel_started:12.6f}] {text}"
        self._kernel_log.append(line)
        self._print(line + "\r\n")

    def _kernel_lines(self, lines: Sequence[str], now: float) -> None:
        """A burst, each line a little later than the one before, as the kernel stamps them."""
        for number, text in enumerate(lines):
            self._kernel_line(text, now + number * 0.000027)

    def _filled_in(self, text: str) -> str:
        return text.replace("{name}", self.name).replace("{number}", str(self._number))

    def _print(self, text: str) -> None:
        self._output.append(text.encode("utf-8", "replace"))
