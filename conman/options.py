"""``conman-py``'s command line and environment: options in, settings out. What they do is elsewhere.

The letters are the original's, and their order matters as it does there: a console file is read where it stands, the
licence and the version are answered where they stand, and the last of two that contradict each other wins. Long
options are ours alone.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from conman.address import Address, from_environment
from conman.errors import ConmanError
from conman.protocol import Request, RequestCommand
from conman.text import decode, encode

DEFAULT_ESCAPE = ord("&")

MAX_PATTERN_BYTES = 1023
"""A longer line of a console file is several patterns; arguments have no limit. Source: ConMan 0.3.1."""

_WITH_VALUE = "deFl"


class UsageError(ConmanError):
    """The command line cannot be understood."""


class Answer(enum.Enum):
    """What is asked for instead of a connection."""

    HELP = "help"
    LICENSE = "license"
    VERSION = "version"


@dataclass
class Options:
    address: Address
    escape: int = DEFAULT_ESCAPE
    broadcast: bool = False
    force: bool = False
    join: bool = False
    quiet: bool = False
    regex: bool = False
    command: RequestCommand = RequestCommand.CONNECT
    log_path: Optional[str] = None
    patterns: List[str] = field(default_factory=list)
    status: bool = False
    json: bool = False
    tail: bool = False
    answer: Optional[Answer] = None

    def request(self) -> Request:
        connecting = self.command is RequestCommand.CONNECT
        return Request(
            self.command,
            tuple(self.patterns),
            quiet=self.quiet,
            regex=self.regex,
            force=self.force and connecting,
            join=self.join and connecting,
            broadcast=self.broadcast and connecting,
        )


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Raises ``UsageError``, or ``ConmanError`` for a file that cannot be read."""
    try:
        options = Options(from_environment(environ))
    except ValueError as error:
        raise UsageError(f"{error} in CONMAN_HOST or CONMAN_PORT") from error
    if environ.get("CONMAN_ESCAPE"):
        options.escape = encode(environ["CONMAN_ESCAPE"])[0]
    names: List[str] = []
    for argument in _walk(arguments):
        if argument.option is None:
            names.append(argument.value)
        else:
            _HANDLERS[argument.option](options, argument.value)
        if options.answer in (Answer.LICENSE, Answer.VERSION):
            return options
    for name in names:
        options.patterns += [part for part in name.split(",") if part]
    _finish(options)
    return options


class _Argument(NamedTuple):
    option: Optional[str]  #: with its dashes; None for a name
    value: str = ""


def _walk(arguments: Sequence[str]) -> Iterator[_Argument]:
    """The options and names in order, as getopt_long(3) finds them: a mistake is raised only when it is come to.

    Python's own getopt reports a mistake before anything is done, and abbreviated long options are not wanted here.
    """
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            yield from [_Argument(None, name) for name in rest]
            return
        if argument.startswith("--"):
            if argument not in _HANDLERS:
                raise UsageError('invalid option "-"')
            yield _Argument(argument)
        elif not argument.startswith("-") or argument == "-":
            yield _Argument(None, argument)
        else:
            yield from _letters(argument[1:], rest)


def _letters(letters: str, rest: List[str]) -> Iterator[_Argument]:
    while letters:
        letter, letters = letters[0], letters[1:]
        if f"-{letter}" not in _HANDLERS or (letter in _WITH_VALUE and not letters and not rest):
            raise UsageError(f'invalid option "{letter}"')
        if letter in _WITH_VALUE:
            yield _Argument(f"-{letter}", letters or rest.pop(0))
            return
        yield _Argument(f"-{letter}")


def first_name(arguments: Sequence[str]) -> Optional[int]:
    """The place of the first argument that is no option and no option's value; ``None`` if "--" comes before it."""
    place = 0
    while place < len(arguments) and arguments[place] != "--":
        argument = arguments[place]
        if not argument.startswith("-") or argument == "-":
            return place
        letters = "" if argument.startswith("--") else argument[1:]
        first_with_value = next((at for at, letter in enumerate(letters) if letter in _WITH_VALUE), None)
        place += 2 if first_with_value == len(letters) - 1 and letters else 1
    return None


def _finish(options: Options) -> None:
    if options.json and not options.status:
        raise UsageError("--json needs --status")
    if options.status and options.tail:
        raise UsageError("--status and --tail exclude each other")
    if options.command is RequestCommand.MONITOR:
        options.broadcast = options.force = options.join = False
    nothing_to_do = not options.patterns and options.command is not RequestCommand.QUERY
    if options.answer is None and nothing_to_do and not (options.status or options.tail):
        options.answer = Answer.HELP


def read_patterns(path: str) -> List[str]:
    """The patterns of a console file: a line each, without blanks around it; ``#`` makes a line a comment."""
    try:
        with open(encode(path), "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConmanError(f'Unable to open "{path}": {error.strerror}') from error
    patterns = []
    for line in content.split(b"\n"):
        for start in range(0, len(line), MAX_PATTERN_BYTES):
            pattern = line[start : start + MAX_PATTERN_BYTES].strip(b" \t\r\v\f")
            if pattern and not pattern.startswith(b"#"):
                patterns.append(decode(pattern))
    return patterns


# What each option does.


def _set_address(options: Options, value: str) -> None:
    try:
        options.address = options.address.with_text(value)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _set_escape(options: Options, value: str) -> None:
    options.escape = encode(value)[0] if value else 0


def _force(options: Options, _value: str) -> None:
    options.force, options.join = True, False


def _join(options: Options, _value: str) -> None:
    options.join, options.force = True, False


def _add_file(options: Options, value: str) -> None:
    options.patterns += read_patterns(value)


def _command(command: RequestCommand) -> Callable[[Options, str], None]:
    def handle(options: Options, _value: str) -> None:
        options.command = command

    return handle


def _flag(name: str) -> Callable[[Options, str], None]:
    def handle(options: Options, _value: str) -> None:
        setattr(options, name, True)

    return handle


def _log(options: Options, value: str) -> None:
    options.log_path = value


def _asks(answer: Answer) -> Callable[[Options, str], None]:
    def handle(options: Options, _value: str) -> None:
        options.answer = answer

    return handle


_HANDLERS: Dict[str, Callable[[Options, str], None]] = {
    "-b": _flag("broadcast"),
    "-d": _set_address,
    "-e": _set_escape,
    "-f": _force,
    "-F": _add_file,
    "-h": _asks(Answer.HELP),
    "-j": _join,
    "-l": _log,
    "-L": _asks(Answer.LICENSE),
    "-m": _command(RequestCommand.MONITOR),
    "-q": _command(RequestCommand.QUERY),
    "-Q": _flag("quiet"),
    "-r": _flag("regex"),
    "-v": lambda _options, _value: None,
    "-V": _asks(Answer.VERSION),
    "--help": _asks(Answer.HELP),
    "--version": _asks(Answer.VERSION),
    "--status": _flag("status"),
    "--json": _flag("json"),
    "--tail": _flag("tail"),
}
