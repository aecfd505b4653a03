"""Programs whose parent has died."""

from __future__ import annotations

import os
import signal
import subprocess

from conmand.server.workers.orphans import adopt_orphans, children, is_leader, orphans


def test_the_child_of_a_child_that_died_becomes_ours() -> None:
    adopt_orphans()
    shell = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 600 </dev/null >/dev/null & echo $!"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert shell.stdout is not None
    grandchild = int(shell.stdout.readline())
    shell.wait()
    shell.stdout.close()
    try:
        assert grandchild in children()
        assert grandchild in orphans([])
        assert grandchild not in orphans([grandchild])
        assert not is_leader(grandchild)  # it was started by the leader
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.waitpid(grandchild, 0)
    assert not is_leader(grandchild)


def test_our_own_children_are_no_orphans() -> None:
    child = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    try:
        assert child.pid not in orphans([child.pid])
        assert is_leader(child.pid)
    finally:
        child.kill()
        child.wait()
