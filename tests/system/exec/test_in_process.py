"""The login as a coroutine, with ipmitool and simulated BMCs: what a daemon without script processes does."""

from __future__ import annotations

import asyncio
import os
import select
import time
from pathlib import Path

import pytest

from conman_exec.aio import LoginFailed, OpenSession, open_session
from conman_exec.arguments import Target
from conman_exec.ipmitool_exp import IpmitoolDialogue
from conman_exec.secret import Secret
from conman_exec.settings import Settings
from tests.fakes.bmc import BREAK, Bmc
from tests.fakes.files import PATIENCE_SECONDS

PATH = "/usr/bin:/bin"


async def log_in(bmc: Bmc, password: bytes = b"password") -> OpenSession:
    settings = Settings("ipmitool", {"port": bmc.port})
    return await open_session(
        IpmitoolDialogue(Target(bmc.host, user="admin", password=Secret(password)), settings), PATH
    )


def read_until(session: OpenSession, wanted: bytes) -> None:
    data, deadline = b"", time.monotonic() + PATIENCE_SECONDS
    while wanted not in data:
        assert select.select([session.descriptor], [], [], deadline - time.monotonic())[0], data
        data += os.read(session.descriptor, 65536)


def test_several_logins_at_once_give_descriptors(tmp_path: Path) -> None:
    async def log_in_to(*bmcs: Bmc) -> list[OpenSession]:
        return list(await asyncio.gather(*(log_in(bmc) for bmc in bmcs)))

    with Bmc(tmp_path) as first, Bmc(tmp_path) as second:
        sessions = asyncio.run(log_in_to(first, second))
        for session, bmc in zip(sessions, (first, second)):
            bmc.node.send(b"the node speaks")
            read_until(session, b"the node speaks")
            bmc.node.forget()
            session.session.keys(b"\r", 0.0)
            session.session.keys(b"abc&Bx", 0.0)
            for piece in session.session.for_tool():
                assert piece is not None
                os.write(session.descriptor, piece)
            bmc.node.wait_for(BREAK)
            # Its end: closing is enough for ipmitool to deactivate SOL.
            os.close(session.descriptor)
            assert os.waitpid(session.pid, 0)[1] == 0
            assert not bmc.is_active


def test_wrong_password_is_told(bmc: Bmc) -> None:
    with pytest.raises(LoginFailed, match="Unable to establish IPMI v2"):
        asyncio.run(log_in(bmc, b"wrong"))
