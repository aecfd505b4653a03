from __future__ import annotations

import os
import threading
from typing import List

from conman_exec.serial_exp import Bridge

PATIENCE_SECONDS = 30


class SlowPort:
    """A port without a descriptor that is still writing the keys when a break is asked for."""

    in_waiting = 0

    def __init__(self) -> None:
        self.happened: List[object] = []
        self.reached, self.may_write, self.may_end = (threading.Event() for _ in range(3))

    def read(self, count: int) -> bytes:
        assert self.may_end.wait(PATIENCE_SECONDS)
        raise OSError("the end")

    def write(self, data: bytes) -> None:
        self.reached.set()
        assert self.may_write.wait(PATIENCE_SECONDS)
        self.happened.append(data)

    def send_break(self) -> None:
        self.happened.append("break")


def test_break_does_not_overtake_the_keys_before_it() -> None:
    port = SlowPort()
    bridge = Bridge(port)
    os.write(bridge.descriptor, b"keys")
    assert port.reached.wait(PATIENCE_SECONDS)
    asking = threading.Thread(target=bridge.send_break)
    asking.start()
    port.may_write.set()
    asking.join(PATIENCE_SECONDS)
    port.may_end.set()
    os.close(bridge.descriptor)
    assert port.happened == [b"keys", "break"]


def test_break_for_a_port_that_has_ended_does_not_wait_for_its_keys() -> None:
    port = SlowPort()
    bridge = Bridge(port)
    port.may_end.set()
    os.set_blocking(bridge.descriptor, True)
    assert os.read(bridge.descriptor, 1) == b""
    bridge.send_break()
    os.close(bridge.descriptor)
    assert port.happened == []
