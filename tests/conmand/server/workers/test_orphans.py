"""Programs whose parent has died."""

from __future__ import annotations

import os
import signal
import subprocess

from conmand.server.workers.orphans import adopt_orphans, children, orphans


def left_by_a_shell(command: str) -> int:
    """The pid of a program that a shell, which has ended, has put into the background."""
    shell = subprocess.Popen(
        ["/bin/sh", "-c", f"{command} </dev/null >/dev/null & echo $!"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    shell.wait()
    shell.stdout.close()
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_the_child_of_a_child_that_died_becomes_ours() -> None:
    adopt_orphans()
    pid = left_by_a_shell("exec setsid sleep 600")
    try:
        while pid not in orphans([]):  # until setsid has done its work
            assert pid in children()
        assert pid not in orphans([pid])
    finally:
        end(pid)
    assert pid not in orphans([])


def test_what_was_put_into_the_background_is_left_alone() -> None:
    adopt_orphans()
    pid = left_by_a_shell("sleep 600")
    try:
        assert pid in children()
        assert pid not in orphans([])
    finally:
        end(pid)


def test_our_own_children_are_no_orphans() -> None:
    child = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    try:
        assert child.pid in orphans([])
        assert child.pid not in orphans([child.pid])
    finally:
        child.kill()
        child.wait()
