"""What is said to devices again and again: who is there, logging in, running a shell command. Pure.

A dialogue is a generator: it yields what to type (``Type``) and what to wait for (``Await``), and returns its result.
Both faces of the library, the plain one and the asyncio one, perform it; see ``Console.perform``. ``Await`` gives a
``Match``, or ``None`` when its time is over; the end of the session is raised in the dialogue as ``EOF``.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import Generator, Optional, Pattern, Tuple, TypeVar, Union

from conman.errors import DialogueError
from conman.expect import EOF, Match

_CONTROL_SEQUENCES = r"(?:\x1b\[[0-9;?]*[A-Za-z])*"

LOGIN_PROMPT = re.compile(r"(?i)(?<!last )login: *" + _CONTROL_SEQUENCES + r"\Z")
PASSWORD_PROMPT = re.compile(r"(?i)password[^\r\n:]*: *\Z")
SHELL_PROMPT = re.compile(
    r"(?:^|[\r\n])([^\r\n]*(?:[%#$\]]|[^>\r\n]>)" + _CONTROL_SEQUENCES + " )" + _CONTROL_SEQUENCES + r"\Z"
)
"""A line that ends in ``%``, ``#``, ``$``, ``]`` or one ``>``, and one blank. Source: the original's library."""

_REFUSED = re.compile(r"(?i)login incorrect|authentication failure|permission denied|access denied")
_ANYTHING = re.compile(r".", re.DOTALL)
_ALL = re.compile(r".+", re.DOTALL)
_NEVER = re.compile(r"(?!)")
_NOTICE = re.compile(r"\r\n<ConMan> [^\r\n]*\.\r\n")


@dataclass(frozen=True)
class Type:
    """Text for the console. A password is ``secret``: it stays out of every ``repr``."""

    text: str = field(repr=False)


@dataclass(frozen=True)
class Await:
    """Wait for one of ``patterns``, at most ``seconds``."""

    patterns: Tuple[Pattern[str], ...]
    seconds: float


T = TypeVar("T")
Dialogue = Generator[Union[Type, Await], Optional[Match], T]


MAX_DISCARDED_READS = 64
"""A console that floods is not waited for to be silent."""

SETTLE_SECONDS = 0.2
"""After a prompt, for another one that was on its way already."""


def discard() -> Dialogue[None]:
    """Forget what has come. An old prompt would be taken for the answer to what is typed next."""
    for _read in range(MAX_DISCARDED_READS):
        if (yield Await((_ALL,), 0)) is None:
            return


class State(enum.Enum):
    """What is at a console. ``SRM``, ``SROM`` and ``RMC`` are Alpha firmware, with names of the original's library."""

    ACTIVE = "active"  #: it talks, and waits for nothing that we know
    ERROR = "error"  #: the session ended
    INACTIVE = "inactive"  #: silent, even when asked
    LOGIN = "login"
    SHELL = "shell"
    FIRMWARE = "firmware"  #: a boot loader or firmware prompt
    RMC = "rmc"
    SRM = "srm"
    SROM = "srom"

    @property
    def is_firmware(self) -> bool:
        return self in (State.FIRMWARE, State.RMC, State.SRM, State.SROM)


_LINE = r"(?:^|[\r\n])[^\r\n]*"  # all begin at the same place, so that their order decides
_STATES = (
    (State.LOGIN, re.compile(r"(?i)" + _LINE + r"(?:(?<!last )login:|password:)")),
    (State.SRM, re.compile(_LINE + r">>>\Z")),
    (State.SROM, re.compile(_LINE + r"SROM> \Z")),
    (State.RMC, re.compile(_LINE + r"RMC>")),
    (State.FIRMWARE, re.compile(r"(?i)(?:^|[\r\n])(?:grub(?: rescue)?>|shell>|=>|ok|iPXE>|boot:) ?\Z")),
    (State.SHELL, SHELL_PROMPT),
)


def detect_state(listen_seconds: float = 1.0, wait_seconds: float = 4.0) -> Dialogue[State]:
    """Listen; if nothing is said press Enter, and see what answers. The console is left as it is."""
    try:
        heard = yield Await((_NOTICE, _ANYTHING), listen_seconds)
        while heard is not None:
            if heard.index == 1:
                return State.ACTIVE
            heard = yield Await((_NOTICE, _ANYTHING), listen_seconds)
        yield Type("\r")
        answer = yield Await(tuple(pattern for _state, pattern in _STATES), wait_seconds)
        if answer is not None:
            return _STATES[answer.index][0]
        spoke = yield Await((re.compile(r"[^\r\n]"),), 0)
        return State.INACTIVE if spoke is None else State.ACTIVE
    except EOF:
        return State.ERROR


@dataclass(frozen=True)
class Login:
    """``prompt`` is the shell's; ``fresh`` tells that nobody was logged in before."""

    prompt: str
    fresh: bool


def log_in(user: str, password: Optional[str] = None, seconds: float = 30.0) -> Dialogue[Login]:
    """Log in if asked to. Raises ``DialogueError``.

    A console where somebody is logged in already is used as it is.
    """
    yield from discard()
    yield Type("\r")
    typed_user = typed_password = False
    for _turn in range(6):
        answer = yield Await((SHELL_PROMPT, LOGIN_PROMPT, PASSWORD_PROMPT, _REFUSED), seconds)
        if answer is None:
            raise DialogueError(f"no prompt within {seconds:g} s")
        prompt = (SHELL_PROMPT, LOGIN_PROMPT, PASSWORD_PROMPT, _REFUSED)[answer.index]
        if prompt is SHELL_PROMPT:
            assert answer.found is not None
            return Login(answer.found[1], typed_user)
        if prompt is _REFUSED and not typed_password:
            continue  # somebody else's attempt, which our first key has ended
        if prompt is _REFUSED or (prompt is LOGIN_PROMPT and typed_password):
            raise DialogueError(f"login as {user} refused")
        if prompt is LOGIN_PROMPT:
            typed_user = True
            yield Type(user + "\r")
        elif not typed_user:
            yield Type("\r")  # somebody has left half a login behind
        elif password is None:
            raise DialogueError(f"a password is asked for {user}, and none is known")
        else:
            typed_password = True
            yield Type(password + "\r")
    raise DialogueError(f"login as {user} leads nowhere")


@dataclass(frozen=True)
class CommandResult:
    """``output`` has LF line ends, and neither the echoed command nor the prompt. ``status`` is ``None`` if the shell
    did not tell.
    """

    output: str
    status: Optional[int]


def run_command(command: str, seconds: float = 30.0, prompt_seconds: float = 3.0) -> Dialogue[CommandResult]:
    """Run ``command``, one line, in the shell at the console. Raises ``DialogueError`` if there is none, or it does not
    return in time; then it still runs.

    Hard here: a prompt that answers earlier typing looks like the end of the command, whose output would then be given
    as that of the next one. So what has come is forgotten first, and of several prompts the last one counts.
    """
    yield from discard()
    yield Type("\r")
    shown = ""
    answer = yield Await((SHELL_PROMPT,), prompt_seconds)
    while answer is not None and answer.found is not None:
        shown = answer.found[1]
        answer = yield Await((SHELL_PROMPT,), SETTLE_SECONDS)
    if not shown:
        login = yield Await((LOGIN_PROMPT,), 0)
        raise DialogueError("No shell prompt" if login is None else "No shell prompt: a login is asked for")
    prompt = _returned(shown)
    output = yield from _output_of(command, prompt, seconds)
    status = yield from _output_of("echo $?", prompt, seconds)
    numbers = re.findall(r"(?m)^([0-9]{1,3})$", status)
    return CommandResult(output, int(numbers[0]) if numbers else None)


def _returned(prompt: str) -> Pattern[str]:
    """``prompt`` at the start of a line; or, if it is long enough to be told apart, behind output that ends in none."""
    escaped = re.escape(prompt)
    return re.compile(rf"(?:^|[\r\n]){escaped}" + (rf"|{escaped}\Z" if len(prompt) > 4 else ""))


def _output_of(command: str, prompt: Pattern[str], seconds: float) -> Dialogue[str]:
    yield Type(command + "\r")
    answer = yield Await((prompt,), seconds)
    if answer is None:
        raise DialogueError(f"Timed-out: the prompt did not return within {seconds:g} s")
    return clean(without_echo(answer.before, command))


ECHO_TAIL = 16
"""Characters at a command's end that tell its echo."""


def without_echo(text: str, command: str) -> str:
    """``text`` without the echo of ``command`` that it begins with, also where a line editor has wrapped it.

    One that scrolls repaints the line again and again, and ends it with the last of what was typed.
    """
    first_line, newline, rest = text.partition("\n")
    if newline and first_line.rstrip().endswith(command.rstrip()[-ECHO_TAIL:]):
        return rest
    place = 0
    for character in command:
        while text[place : place + 1] != character:
            if text[place : place + 1] not in ("\r", "\n", " ", "\b"):
                return text
            place += 1
        place += 1
    end = text.find("\n", place)
    return text[place:].lstrip("\r") if end < 0 else text[end + 1 :]


def clean(text: str) -> str:
    """Console output as plain text: LF line ends, no colours, no messages of the daemon's."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", _NOTICE.sub("\n", text))
    return re.sub(r"\r+\n", "\n", text).replace("\r", "\n").strip("\n")


_REPLAY = (
    re.compile(
        r"\r\n<ConMan> Begin log replay of console [^\r\n]*\.\r\n(.*?)"
        r"\r\n<ConMan> End log replay of console [^\r\n]*\.\r\n",
        re.DOTALL,
    ),
    re.compile(r"\r\n<ConMan> Console [^\r\n]* is not being logged -- cannot replay\.\r\n"),
)


def await_replay(seconds: float = 10.0) -> Dialogue[Optional[str]]:
    """After a replay was asked for: the end of the log, ``None`` if there is none."""
    answer = yield Await(_REPLAY, seconds)
    if answer is None:
        raise DialogueError(f"no replay within {seconds:g} s")
    return answer.found[1] if answer.index == 0 and answer.found else None


def boot(seconds: float = 600.0) -> Dialogue[str]:
    """After a reset: what the node says up to its login prompt."""
    answer = yield Await((LOGIN_PROMPT,), seconds)
    if answer is None:
        raise DialogueError(f"no login prompt within {seconds:g} s")
    return clean(answer.before + answer.text)


def sysrq_answer(quiet_seconds: float = 1.0, seconds: float = 10.0) -> Dialogue[str]:
    """After a break and a SysRq key: what the kernel prints, until it has been silent for a while or time is over."""
    said = ""
    for _turn in range(max(1, round(seconds / quiet_seconds))):
        yield Await((_NEVER,), quiet_seconds)
        answer = yield Await((_ALL,), 0)
        if answer is None and said:
            break
        said += answer.text if answer else ""
    return clean(said)
