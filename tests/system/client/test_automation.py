"""The automation library on the demo's nodes and on real shells."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Iterator, List

import pytest

from conman import (
    EOF,
    TIMEOUT,
    AsyncConsole,
    CommandResult,
    ConnectError,
    Console,
    DialogueError,
    Login,
    LostError,
    Outcome,
    RefusedError,
    State,
    query,
    query_status,
    run_on,
    run_on_async,
)
from tests.fakes.daemons import ORIGINAL
from tests.fakes.demo_site import DemoSite
from tests.fakes.devices import Peer
from tests.fakes.sites import Site

SHELLS = """\
console name="sh1" dev="pty:/bin/bash --norc --noprofile -i"
console name="sh2" dev="pty:/bin/bash --norc --noprofile -i"
console name="sh[3]" dev="pty:/bin/sh -i"
console name="mute" dev="test:" testopts="b:0"
console name="chatty" dev="test:" testopts="b:1,m:10,n:10,p:100"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    with DemoSite(tmp_path_factory.mktemp("demo"), extra=SHELLS) as site:
        yield site


def test_a_login_and_a_command(site: DemoSite) -> None:
    with Console("node1", server=site.server) as console:
        assert console.login("root", "demo") == Login("[root@node1 ~]# ", fresh=True)
        assert console.login("root") == Login("[root@node1 ~]# ", fresh=False)
        assert console.run("cat /etc/hostname").output == "node1"
        assert console.state() is State.SHELL
        console.sendline("exit")
        console.expect("node1 login: ")
        assert console.state() is State.LOGIN
        assert console.before.count("logout") == 1


def test_a_command_after_typing_gets_its_own_output(site: DemoSite) -> None:
    with Console("sh1", server=site.server) as console:
        console.sendline("echo o''ne")
        console.expect("one")
        assert console.run("echo t''wo") == CommandResult("two", 0)
        console.sendline()
        assert console.run("echo th''ree") == CommandResult("three", 0)


def test_a_wrong_password_is_refused(site: DemoSite) -> None:
    with Console("node2", server=site.server) as console:
        with pytest.raises(DialogueError, match="login as root refused") as caught:
            console.login("root", "t0psecret")
        assert "t0psecret" not in str(caught.value)
        with pytest.raises(DialogueError, match="a password is asked for"):
            console.login("root")


def test_real_shells_tell_their_status(site: DemoSite) -> None:
    with Console("sh1", server=site.server) as console:
        result = console.run("echo $((6*7)); printf 'a\\nb'; false")
        assert (result.output, result.status) == ("42\na\nb", 1)
        assert console.run("exec 2>&1; ls /nonexistent").status == 2
        long = "echo " + " ".join(["0123456789"] * 20)
        assert console.run(long).output == long[5:]
        assert console.run("true").status == 0
        assert console.run("echo é; printf '\\377'").output == "é\n\udcff"
        with pytest.raises(DialogueError, match="Timed-out"):
            console.run("sleep 60", timeout=0.2)
        console.send("\x03")


def test_names_are_no_patterns(site: DemoSite) -> None:
    with Console("sh[3]", server=site.server) as console:
        assert console.name == "sh[3]"
        assert console.run("echo $0", timeout=10).output.endswith("sh")
    with pytest.raises(RefusedError, match="Found no matching consoles"):
        Console("node*", server=site.server)


def test_states(site: DemoSite) -> None:
    names = ["node3", "sh2", "mute", "chatty"]
    outcomes = run_on(names, lambda console: console.state(1.0), server=site.server)
    assert [outcomes[name].value for name in names] == [State.LOGIN, State.SHELL, State.INACTIVE, State.ACTIVE]


def test_errors_are_collected_by_console(site: DemoSite) -> None:
    done: List[Outcome[str]] = []
    with Console("mute", server=site.server):
        outcomes = run_on(
            ["mute", "sh2", "absent"], lambda console: console.name, server=site.server, limit=1, on_done=done.append
        )
    assert list(outcomes) == ["mute", "sh2", "absent"]
    assert outcomes["sh2"].value == "sh2"
    assert isinstance(outcomes["mute"].error, RefusedError)
    assert "Console [mute] open R/W by" in outcomes["mute"].error.details
    assert not outcomes["absent"].ok
    assert len(done) == 3


def test_a_mistake_in_the_function_surfaces(site: DemoSite) -> None:
    with pytest.raises(ZeroDivisionError):
        run_on(["sh1", "sh2"], lambda console: 1 / 0, server=site.server)


def test_sysrq_and_boot(site: DemoSite) -> None:
    with Console("node3", server=site.server) as console:
        assert "Emergency Sync complete" in console.sysrq("s", timeout=5)
        said = console.boot(timeout=30)
        assert "Linux version" in said
        assert said.endswith("node3 login: ")
        replayed = console.replay()
        assert replayed is not None
        assert "login:" in replayed


def test_expect_is_pexpects(site: DemoSite) -> None:
    with Console("sh2", server=site.server) as console:
        console.sendline("echo one; echo t''wo")
        assert console.expect(["two\r\n", r"on(e)\r\n", EOF]) == 1
        assert console.match is not None
        assert console.match[1] == "e"
        assert console.after == "one\r\n"
        assert console.expect_exact(["t.o", "two"]) == 1
        assert console.expect([TIMEOUT, "never"], timeout=0) == 0
        with pytest.raises(TIMEOUT, match="never"):
            console.expect("never", timeout=0.01)
        assert console.expect(re.compile("(?i)[$#] $")) == 0


def test_a_stolen_console_is_lost(site: DemoSite) -> None:
    with Console("mute", server=site.server) as victim, Console("mute", server=site.server, mode="force"):
        with pytest.raises(EOF):
            victim.expect("anything")
        assert victim.read() == ""
        with pytest.raises(LostError, match=r"cannot type at \[mute\]: the session is over"):
            victim.send("x")


def test_queries(site: DemoSite) -> None:
    assert query("node*", server=site.server) == ["node1", "node2", "node3"]
    assert query("NODE[12]", server=site.server, regex=True) == ["node1", "node2"]
    with pytest.raises(RefusedError):
        query("zz", server=site.server)
    with pytest.raises(ConnectError, match="Connection refused"):
        query(server="127.0.0.1:1")
    (status,) = query_status("sh2", server=site.server)
    assert (status.console, status.is_up, status.kind) == ("sh2", True, "process")


def test_the_same_with_asyncio(site: DemoSite) -> None:
    async def job(console: AsyncConsole, word: str) -> str:
        await console.login("root", "demo")
        assert (await console.run(f"echo {word}")).output == word
        await console.sendline("exit")
        await console.expect("login: ")
        await console.expect([TIMEOUT, EOF, "never"], timeout=0)
        assert "login:" in (await console.replay() or "")
        return console.before

    async def main() -> None:
        done: List[Outcome[str]] = []
        outcomes = await run_on_async(
            ["node1", "node2", "absent"], job, "hello", server=site.server, limit=2, on_done=done.append
        )
        assert [outcome.ok for outcome in outcomes.values()] == [True, True, False]
        assert len(done) == 3
        async with await AsyncConsole.open("mute", server=site.server) as console:
            assert await console.state(0.1) is State.INACTIVE
            with pytest.raises(TIMEOUT):
                await console.read(timeout=0.01)

    asyncio.run(main())


def test_many_consoles_at_once(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(60)]
    cats = "\n".join(f'console name="{name}" dev="/bin/cat"' for name in names)
    with DemoSite(tmp_path, ["node1"], cats) as site:

        def job(console: Console) -> str:
            console.sendline(f"I am {console.name}")
            console.expect(r"I am (\w+)\r")
            assert console.match is not None
            return console.match[1]

        outcomes = run_on(names, job, server=site.server, limit=20)
        assert [outcome.value for outcome in outcomes.values()] == names


def test_the_originals_daemon_serves_it_too(tmp_path: Path) -> None:
    with Site(ORIGINAL, tmp_path) as site:
        node = site.use(Peer.on_unix_socket(site.path("u.sock")))
        site.start('server logdir="DIR"\nconsole name="u" dev="unix:DIR/u.sock" log="u.log"\n')
        node.accept()
        site.daemon.wait_for("[u] connected")
        server = f"127.0.0.1:{site.daemon.port}"
        assert query(server=server) == ["u"]
        with pytest.raises(ConnectError, match="names only"):
            query_status(server=server)
        with Console("u", server=server) as console:
            site.daemon.wait_for("connected to [u]")  # it drops keys that come before that
            console.send("typed\xff.")
            assert node.receive_until(b".") == "typed\xff.".encode()
            node.send(b"said\r\n")
            console.expect("said\r\n")
            assert "said" in (console.replay() or "")
