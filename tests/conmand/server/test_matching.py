from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from typing import Any, Callable, Coroutine, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar

import pytest

from conman.protocol import (
    ErrorReply,
    Greeting,
    Ok,
    Request,
    RequestCommand,
    encode_greeting,
    encode_request,
    parse_response,
)
from conman.text import encode
from conmand.server import matching
from conmand.server.matching import Matcher, PatternError, PatternTimeout
from tests.fakes.peers import original_conmand

T = TypeVar("T")
NAMES = ["n10", "n2", "n1", "N1", "café", "a'b", "u v", "x*", "gate-3"]


class FakeReaper:
    """Starts real programs; a thread of its own waits for each."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._processes: Dict[int, subprocess.Popen[bytes]] = {}
        self._threads: List[threading.Thread] = []
        self.environments: List[Optional[Mapping[str, str]]] = []
        self.most_at_once = 0
        self.running = 0

    def spawn(
        self,
        argv: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        on_exit: Optional[Callable[[int], None]] = None,
    ) -> int:
        process = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd)
        self._processes[process.pid] = process
        self.environments.append(env)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        thread = threading.Thread(target=self._wait, args=(process, on_exit))
        self._threads.append(thread)
        thread.start()
        return process.pid

    def kill(self, pid: int, signal_number: int) -> None:
        self._processes[pid].send_signal(signal_number)

    def join(self) -> List[int]:
        """Wait until every program has ended; their return codes."""
        for thread in self._threads:
            thread.join()
        return [process.returncode for process in self._processes.values()]

    def _wait(self, process: subprocess.Popen[bytes], on_exit: Optional[Callable[[int], None]]) -> None:
        code = process.wait()
        self._loop.call_soon_threadsafe(self._exited, code, on_exit)

    def _exited(self, code: int, on_exit: Optional[Callable[[int], None]]) -> None:
        self.running -= 1
        if on_exit is not None:
            on_exit(code)


class NoReaper:
    """For what must be answered without a child."""

    def spawn(self, *args: object, **kwargs: object) -> int:
        raise AssertionError("a child was started")

    def kill(self, pid: int, signal_number: int) -> None:
        raise AssertionError("nothing to kill")


def run(main: Callable[[FakeReaper], Coroutine[Any, Any, T]]) -> Tuple[T, List[int]]:
    """Run ``main`` with a reaper; its result, and how the children ended."""

    async def with_reaper() -> Tuple[T, List[int]]:
        reaper = FakeReaper()
        try:
            result = await main(reaper)
        finally:
            codes = await asyncio.get_running_loop().run_in_executor(None, reaper.join)
        return result, codes

    return asyncio.run(with_reaper())


def match(patterns: Sequence[str], regex: bool = False, names: Sequence[str] = NAMES) -> List[str]:
    result, codes = run(lambda reaper: Matcher(names, reaper).match(patterns, regex))
    assert set(codes) <= {0}
    return result


def match_without_child(patterns: Sequence[str], regex: bool = False) -> List[str]:
    return asyncio.run(Matcher(NAMES, NoReaper()).match(patterns, regex))


def test_no_pattern_means_all_in_order() -> None:
    assert match_without_child([]) == ["N1", "a'b", "café", "gate-3", "n1", "n2", "n10", "u v", "x*"]
    assert match_without_child([], regex=True) == match_without_child([])


def test_names_in_full_need_no_child() -> None:
    assert match_without_child(["n2", "n10", "n2", "none", "café", "N1"]) == ["N1", "café", "n2", "n10"]
    assert match_without_child(["n1", "GATE-3", "u v"], regex=True) == ["N1", "gate-3", "n1", "u v"]


def test_globs_and_names_unite() -> None:
    assert match(["n?", "café", "n10"]) == ["café", "n1", "n2", "n10"]
    assert match(["x\\*"]) == ["x*"]
    assert match(["c*"]) == ["café"]
    assert match(["z*"]) == []


def test_regexes_ignore_case() -> None:
    assert match(["N[12]", "gate-3"], regex=True) == ["N1", "gate-3", "n1", "n2"]


def test_there_may_be_no_names() -> None:
    assert asyncio.run(Matcher([], NoReaper()).match(["n*"])) == []
    assert asyncio.run(Matcher([], NoReaper()).match(["n"], True)) == []


def test_a_bad_regex_is_refused_in_libcs_words() -> None:
    with pytest.raises(PatternError) as caught:
        match(["(a"], regex=True)
    assert caught.value.message == "Unmatched ( or \\("
    assert not isinstance(caught.value, PatternTimeout)


def test_a_pattern_ends_at_nul_as_in_libc() -> None:
    assert match(["n?\0x"]) == ["n1", "n2"]


def test_a_pattern_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MATCH_SECONDS", 0.3)

    async def endless(reaper: FakeReaper) -> str:
        # A worker that reads and never answers: what a hostile pattern does to libc, whatever libc it is.
        with pytest.raises(PatternTimeout) as caught:
            await Matcher(NAMES, reaper).match(["n*"])
        return caught.value.message

    monkeypatch.setattr(matching, "_COMMAND", ["/bin/sh", "-c", "cat >/dev/null; exec sleep 60"])
    message, codes = run(endless)
    assert message == "Unable to match consoles: pattern took more than 0.3 s"
    assert codes == [-9]


def test_a_worker_that_dies_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_COMMAND", ["/bin/sh", "-c", "kill -SEGV $$"])
    names = [f"a{number}" for number in range(100_000)]  # more than a socket holds: it dies while we write

    async def dying(reaper: FakeReaper) -> str:
        with pytest.raises(PatternError) as caught:
            await Matcher(names, reaper).match(["n*"])
        return caught.value.message

    message, _ = run(dying)
    assert message == "Unable to match consoles: pattern ended its evaluation with status -11"


def test_a_worker_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_COMMAND", ["/nonexistent"])
    with pytest.raises(PatternError, match="Unable to match consoles: No such file or directory"):
        match(["n*"])


def test_hostile_patterns_harm_nobody() -> None:
    for pattern in ["(" * 50_000 + "a" + ")" * 50_000, "((a{1,255}){1,255}){1,255}"]:
        with pytest.raises(PatternError) as caught:
            match([pattern], regex=True)
        assert caught.value.message


def test_a_request_that_is_given_up_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_COMMAND", ["/bin/sh", "-c", "exec sleep 60"])
    monkeypatch.setattr(matching, "MATCH_SECONDS", 100.0)

    async def given_up(reaper: FakeReaper) -> None:
        task = asyncio.ensure_future(Matcher(NAMES, reaper).match(["n*"]))
        while not reaper.running:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    _, codes = run(given_up)
    assert codes == [-9]


def test_only_some_children_run_at_once() -> None:
    async def many(reaper: FakeReaper) -> int:
        matcher = Matcher(NAMES, reaper)
        answers = await asyncio.gather(*(matcher.match(["n?"]) for _ in range(10)))
        assert answers == [["n1", "n2"]] * 10
        return reaper.most_at_once

    assert run(many)[0] == matching.MAX_WORKERS


def test_a_request_waits_for_its_turn_for_a_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_COMMAND", ["/bin/sh", "-c", "exec sleep 60"])
    monkeypatch.setattr(matching, "MATCH_SECONDS", 100.0)
    monkeypatch.setattr(matching, "QUEUE_SECONDS", 0.05)

    async def crowded(reaper: FakeReaper) -> str:
        matcher = Matcher(NAMES, reaper)
        tasks = [asyncio.ensure_future(matcher.match(["n*"])) for _ in range(matching.MAX_WORKERS)]
        while reaper.running < matching.MAX_WORKERS:
            await asyncio.sleep(0)
        with pytest.raises(PatternTimeout) as caught:
            await matcher.match(["n*"])
        assert await matcher.match(["n1"]) == ["n1"]  # needs no turn
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return caught.value.message

    message, _ = run(crowded)
    assert message == "Unable to match consoles: too many patterns are being matched"


def test_names_can_be_replaced() -> None:
    async def replaced(reaper: FakeReaper) -> Tuple[List[str], List[str], List[str]]:
        matcher = Matcher(["a1", "a2"], reaper)
        under_way = asyncio.ensure_future(matcher.match(["a*"]))
        await asyncio.sleep(0)
        matcher.update(["a3"])
        return await under_way, await matcher.match([]), await matcher.match(["a?"])

    assert run(replaced)[0] == (["a1", "a2"], ["a3"], ["a3"])


def test_the_worker_gets_a_clean_environment() -> None:
    async def environments(reaper: FakeReaper) -> List[Optional[Mapping[str, str]]]:
        await Matcher(NAMES, reaper).match(["n*"])
        return reaper.environments

    assert run(environments)[0] == [{"LC_ALL": "C"}]


# Against the original


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def original_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A daemon of the original with the consoles NAMES."""
    program = original_conmand()
    port = free_port()
    directory = tmp_path_factory.mktemp("original")
    lines = [f'server port={port} loopback=on pidfile="{directory}/pid" logfile="{directory}/log"']
    lines += [f'console name="{name}" dev="test:" testopts="m:100000,n:100000"' for name in NAMES]
    (directory / "conman.conf").write_bytes(encode("\n".join(lines) + "\n"))
    daemon = subprocess.Popen(
        [program, "-F", "-v", "-c", "conman.conf"], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert daemon.stdout is not None
        output = b""
        while b"Listening on port" not in output:
            line = daemon.stdout.readline()
            assert line, output
            output += line
        yield port
    finally:
        daemon.terminate()
        daemon.communicate()


def ask_original(port: int, patterns: Sequence[str], regex: bool) -> object:
    request = Request(RequestCommand.QUERY, tuple(patterns), regex=regex)
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as file:
        sock.sendall(encode_greeting(Greeting("tester")) + encode_request(request))
        assert parse_response(file.readline()) == Ok()
        return parse_response(file.readline())


@pytest.mark.parametrize(
    ("patterns", "regex"),
    [
        ([], False),
        (["n1"], False),
        (["n*", "a'b"], False),
        (["[nN][!2]"], False),
        (["x\\*", "gate*", "?*?-?"], False),
        (["n[12]"], True),
        (["N1|GATE.*", "u v"], True),
        (["gate-3", "n2"], True),
        (["a(.b|c)?"], True),
        (["\\N1"], True),
        (["\\n1"], True),  # glibc: nothing
        (["(a"], True),
        (["[z-a]"], True),
        (["a{2,1}"], True),
        (["zz"], False),
    ],
)
def test_consoles_are_found_as_the_original_finds_them(original_port: int, patterns: List[str], regex: bool) -> None:
    try:
        expected: object = Ok(tuple(match(patterns, regex)))
    except PatternError as error:
        expected = ErrorReply(3, error.message)
    if expected == Ok():
        expected = ErrorReply(5, "Found no matching consoles")
    assert ask_original(original_port, patterns, regex) == expected
