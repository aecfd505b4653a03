"""IPMI consoles, until they can be connected."""

from __future__ import annotations

from conmand.config.model import ConsoleSettings, IpmiDevice
from conmand.consoles.base import State
from conmand.consoles.ipmi import REASON, IpmiConsole
from tests.fakes.loops import ManualLoop, run
from tests.fakes.services import FakeServices
from tests.fakes.sinks import RecordingSink


def test_an_ipmi_console_says_at_start_and_to_each_client_that_it_is_down() -> None:
    async def test(loop: ManualLoop) -> None:
        sink = RecordingSink()
        console = IpmiConsole(ConsoleSettings("n1", IpmiDevice("bmc1")), sink, FakeServices(loop))
        console.start()
        complaint = f"Unable to connect to <bmc1> via IPMI for [n1]: {REASON}"
        assert sink.announced == [complaint]
        assert console.client_attached() == "Console [n1] is currently disconnected from <bmc1>"
        console.retry_now()
        assert sink.announced == [complaint, complaint]
        assert console.state is State.DOWN
        console.send(b"x")
        console.send_break()
        console.stop()
        assert loop.timers() == []

    run(test)
