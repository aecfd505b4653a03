"""``conman-py``: what the options ask for, and exit statuses.

0 is done, 1 a failure of ours or of the user's, 2 a server that cannot be reached or says no.
"""

from __future__ import annotations

import os
import sys
from typing import List, Optional

from conman import identity, texts
from conman.connection import Connection, connect
from conman.errors import ConmanError, ConnectError, RefusedError
from conman.keys import Keyboard
from conman.options import Answer, Options, UsageError, first_name, parse
from conman.protocol import ErrorCode, Greeting, Request, RequestCommand, too_many_consoles
from conman.session import Session
from conman.session_log import SessionLog
from conman.status import parse_statuses, table
from conman.text import decode, encode

DONE, FAILED_HERE, FAILED_THERE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Optional[List[str]] = None) -> int:
    """Run ``conman-py`` with ``argv`` (default ``sys.argv``); returns the exit status."""
    given = sys.argv if argv is None else argv
    arguments = [decode(os.fsencode(argument)) for argument in given]
    try:
        return _run(arguments[0], arguments[1:])
    except UsageError as error:
        return _failed_here(f"CMDLINE: {error}")
    except ConmanError as error:
        return _failed_here(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads our output: nothing is left to be flushed into it
        return _failed_here("Unable to write to stdout: Broken pipe")
    except KeyboardInterrupt:
        if os.isatty(2):
            _write(2, b"\n")  # behind the ^C
        return INTERRUPTED


def _run(program: str, arguments: List[str]) -> int:
    arguments_of_run = _arguments_of_run(arguments)
    if arguments_of_run is not None:
        from conman import run  # which needs threads and more, and the rest does without

        return run.main(program, arguments_of_run)
    options = parse(arguments, os.environ)
    if options.answer is not None:
        _print(_answer(program, options).encode("utf-8", "surrogateescape"))
        return DONE
    log = SessionLog(options.log_path)
    log.open()
    try:
        return _talk(options, log)
    except RefusedError as error:
        return _refused(error, options, log)
    except ConnectError as error:
        _complain(f"ERROR: {error}.\n\n", log)
        return FAILED_THERE
    finally:
        log.close()


def _arguments_of_run(arguments: List[str]) -> Optional[List[str]]:
    """A console may be called "run": only as the first name and with ``-- COMMAND`` something else is meant.

    Options before the word are as good as behind it.
    """
    place = first_name(arguments)
    if place is None or arguments[place] != "run":
        return None
    before, behind = arguments[:place], arguments[place + 1 :]
    return before + behind if "--" in behind[1:-1] or behind[:1] in (["-h"], ["--help"]) else None


def _talk(options: Options, log: SessionLog) -> int:
    if options.tail:
        return _tail(options, log)
    greeting = identity.greeting(os.environ)
    if options.status:
        statuses = _statuses(options, greeting)
        log.write(statuses)
        _print(statuses)
    elif options.command is RequestCommand.QUERY:
        connection = connect(options.address, greeting, options.request())
        connection.sock.close()
        names = b"".join(encode(name) + b"\n" for name in connection.ok.names)
        log.write(names)
        _print(names)
    else:
        _refuse_half_a_run(options, greeting)
        _require_terminals(options, greeting)
        connection = connect(options.address, greeting, options.request())
        Session(connection, _keyboard(connection, options), log).run()
    log.finish()
    return DONE


def _statuses(options: Options, greeting: Greeting) -> bytes:
    request = Request(RequestCommand.QUERY, tuple(options.patterns), regex=options.regex, status=True)
    connection = connect(options.address, greeting, request)
    lines = connection.read_to_end()
    if not connection.ok.status:
        raise ConnectError(f"No status from <{connection.endpoint.label}>: its daemon tells names only")
    return lines if options.json else encode(table(parse_statuses(lines)))


def _tail(options: Options, log: SessionLog) -> int:
    from conman.tail import tail  # asyncio is slow to load, and the other modes do without it

    return tail(options, log)


def _keyboard(connection: Connection, options: Options) -> Keyboard:
    return Keyboard(
        options.escape,
        connection.ok.names,
        connection.endpoint.label,
        read_only=options.command is RequestCommand.MONITOR,
        quiet=options.quiet,
        reset=connection.ok.reset,
    )


def _refuse_half_a_run(options: Options, greeting: Greeting) -> None:
    """``run NAME COMMAND`` without its "--" would open the console NAME, which is the last thing that is meant."""
    if options.patterns[0] != "run" or len(options.patterns) < 3:
        return
    try:
        connect(options.address, greeting, Request(RequestCommand.QUERY, ("run",))).sock.close()
    except RefusedError as error:
        if error.code == ErrorCode.NO_CONSOLES:
            raise UsageError('no console is called "run"; to run a command: run NAMES -- COMMAND') from error


def _require_terminals(options: Options, greeting: Greeting) -> None:
    """The original notices only when its session is open, and disturbs everybody for nothing (errata B8).

    So that its other complaints still come first, the server is asked what it would have to say, without a session.
    """
    missing = [name for fd, name in ((0, "Input"), (1, "Output")) if not os.isatty(fd)]
    if not missing:
        return
    query = Request(RequestCommand.QUERY, tuple(options.patterns), regex=options.regex)
    connection = connect(options.address, greeting, query)
    connection.sock.close()
    names = connection.ok.names
    if len(names) > 1 and not options.broadcast:
        listing = "".join(f"{name}\n" for name in names)
        raise RefusedError(ErrorCode.TOO_MANY_CONSOLES, too_many_consoles(len(names)), listing)
    raise ConmanError(f"Standard {missing[0]} is not a terminal device")


def _refused(error: RefusedError, options: Options, log: SessionLog) -> int:
    text = f"ERROR: {error.message}.\n\n"
    if error.code != ErrorCode.LOCAL:
        text += error.details
    text += texts.hint(error.code, broadcast=options.broadcast, force=options.force, join=options.join)
    _complain(text, log)
    return FAILED_THERE


def _complain(text: str, log: SessionLog) -> None:
    sys.stdout.flush()
    _write(2, encode(text))
    log.write(encode(text))


def _failed_here(text: str) -> int:
    _write(2, encode(f"ERROR:     {text}\n"))
    return FAILED_HERE


def _print(data: bytes) -> None:
    _write(1, data)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _answer(program: str, options: Options) -> str:
    if options.answer is Answer.LICENSE:
        return texts.LICENSE
    if options.answer is Answer.VERSION:
        return texts.VERSION
    return texts.help_text(program, options.address, options.escape)


if __name__ == "__main__":
    sys.exit(main())
