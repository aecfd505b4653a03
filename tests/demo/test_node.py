"""A pretend node, driven with bytes and a clock of the test's own."""

from __future__ import annotations

from typing import List, Optional, Tuple

from hypothesis import given
from hypothesis import strategies as st

from demo.node import SYSRQ_SECONDS, Node, Phase
from demo.texts import PANIC_SECONDS

START = 1709251199.0


def booted() -> Node:
    node = Node("node1", pace=0, chatter_seconds=None)
    node.power_on(START)
    assert node.phase is Phase.LOGIN
    return node


def logged_in() -> Node:
    node = booted()
    node.receive(b"root\rdemo\r", START)
    assert node.phase is Phase.SHELL
    return node


def play(node: Node, until: float) -> bytes:
    """Everything a node says on its own until then."""
    output = b""
    while True:
        deadline = node.next_deadline()
        if deadline is None or deadline > until:
            return output
        output += node.tick(deadline)


def test_a_node_without_power_says_nothing() -> None:
    node = Node("node1")
    assert node.next_deadline() is None
    assert node.receive(b"\r", START) + node.receive_break(START) + node.crash(START) == b""


def test_a_node_boots_from_firmware_to_login() -> None:
    node = Node("node3", 3, chatter_seconds=None)
    output = node.power_on(START)
    assert node.phase is Phase.FIRMWARE
    output += play(node, START + 60)
    firmware = [b"BIOS Date", b"Node: node3", b"Welcome to GRUB!"]
    system = [b"[    0.000000] Linux", b"Hostname set to <node3>", b"[  OK  ] Started OpenSSH", b"node3 login: "]
    places = [output.index(part) for part in firmware + system]
    assert places == sorted(places)
    assert output.count(b"\n") == output.count(b"\r\n")
    assert output.endswith(b"\r\n\r\nnode3 login: ")
    assert node.next_deadline() is None


def test_without_pace_a_node_boots_at_once() -> None:
    assert Node("node1", pace=0).power_on(START).endswith(b"node1 login: ")


def test_keys_before_the_login_prompt_are_not_echoed() -> None:
    node = Node("node1")
    node.power_on(START)
    assert node.receive(b"hello\r", START) == b""


def test_login_echoes_the_user_and_not_the_password() -> None:
    node = booted()
    assert node.receive(b"root\r", START) == b"root\r\nPassword: "
    answer = node.receive(b"demo\r", START)
    assert answer.startswith(b"\r\nLast login: ") and answer.endswith(b"\r\n[root@node1 ~]# ")


def test_any_user_may_log_in() -> None:
    assert booted().receive(b"ann\rdemo\r", START).endswith(b"[ann@node1 ~]$ ")


def test_a_wrong_password_asks_again() -> None:
    answer = booted().receive(b"root\rsecret\r", START)
    assert answer.endswith(b"Password: \r\n\r\nLogin incorrect\r\n\r\nnode1 login: ")


def test_enter_at_the_login_prompt_repeats_it() -> None:
    assert booted().receive(b"\r", START) == b"\r\nnode1 login: "


def test_a_command_prints_and_prompts_again() -> None:
    assert logged_in().receive(b"hostname\r", START) == b"hostname\r\nnode1\r\n[root@node1 ~]# "


def test_control_c_gives_a_new_prompt_and_control_d_logs_out() -> None:
    node = logged_in()
    assert node.receive(b"ls\x03", START) == b"ls^C\r\n[root@node1 ~]# "
    assert node.receive(b"\x04", START).endswith(b"node1 login: ")
    assert node.phase is Phase.LOGIN


def test_exit_logs_out() -> None:
    assert logged_in().receive(b"exit\r", START).endswith(b"\r\n\r\nnode1 login: ")


def test_a_running_node_logs_a_kernel_line_now_and_then() -> None:
    node = Node("node1", pace=0, chatter_seconds=(10, 20))
    node.power_on(START)
    for _ in range(30):
        before, deadline = node.next_deadline(), node.next_deadline()
        assert before is not None and deadline is not None
        line = node.tick(deadline)
        assert line.startswith(b"[") and line.endswith(b"\r\n") and line.count(b"\n") == 1
        following = node.next_deadline()
        assert following is not None and 10 <= following - deadline <= 20


def test_kernel_lines_carry_the_uptime_and_are_kept_for_dmesg() -> None:
    node = logged_in()
    node.receive_break(START + 100)
    assert b"[  102.208441] sysrq: HELP" in node.receive(b"h", START + 100)
    assert b"] sysrq: HELP" in node.receive(b"dmesg\r", START + 101)


def test_a_break_makes_the_next_key_a_sysrq_key() -> None:
    node = logged_in()
    assert node.receive_break(START) == b""
    assert b"task:systemd" in node.receive(b"t", START)
    assert node.receive(b"t", START) == b"t"
    node.receive_break(START)
    assert b"Mem-Info:" in node.receive(b"m", START + SYSRQ_SECONDS)


def test_a_sysrq_key_comes_too_late_after_five_seconds() -> None:
    node = logged_in()
    node.receive_break(START)
    assert node.receive(b"c", START + SYSRQ_SECONDS + 0.1) == b"c"


def test_an_unknown_sysrq_key_helps() -> None:
    node = booted()
    node.receive_break(START)
    assert b"sysrq: HELP :" in node.receive(b"?", START)


def test_sysrq_does_nothing_before_the_kernel_runs() -> None:
    node = Node("node1")
    node.power_on(START)
    node.receive_break(START)
    assert node.receive(b"h", START) == b""


def test_sysrq_b_reboots_without_shutting_down() -> None:
    node = Node("node1", chatter_seconds=None)
    node.power_on(START)
    play(node, START + 60)
    node.receive_break(START + 60)
    assert node.receive(b"b", START + 60).endswith(b"sysrq: Resetting\r\n")
    output = play(node, START + 120)
    assert b"Stopping" not in output and output.endswith(b"login: ")


def test_a_crash_shows_a_backtrace_and_ends_in_a_reboot() -> None:
    node = Node("node1", chatter_seconds=(100, 200))
    node.power_on(START)
    play(node, START + 60)
    node.receive_break(START + 60)
    output = node.receive(b"c", START + 60)
    for part in (b"NULL pointer dereference", b"Call Trace:", b"RIP: 0010:", b"Kernel panic - not syncing"):
        assert part in output
    assert node.phase is Phase.PANIC
    assert node.receive(b"help?\r", START + 61) == b""
    assert node.next_deadline() == START + 60 + PANIC_SECONDS
    output = play(node, START + 90)
    assert b"BIOS Date" in output and output.endswith(b"node1 login: ")


def test_sysrq_trigger_crashes_like_the_key() -> None:
    node = Node("node1", chatter_seconds=None)
    node.power_on(START)
    play(node, START + 60)
    node.receive(b"root\rdemo\r", START + 60)
    assert b"Kernel panic" in node.receive(b"echo c > /proc/sysrq-trigger\r", START + 60)
    assert node.phase is Phase.PANIC


def test_reboot_stops_services_first() -> None:
    node = Node("node1", chatter_seconds=None)
    node.power_on(START)
    play(node, START + 60)
    node.receive(b"root\rdemo\rreboot\r", START + 60)
    assert node.phase is Phase.GOING_DOWN
    output = play(node, START + 120)
    assert output.index(b"Stopped OpenSSH") < output.index(b"reboot: Restarting") < output.index(b"BIOS Date")


def test_power_on_restarts_whatever_was_running() -> None:
    node = logged_in()
    assert node.power_on(START).endswith(b"login: ")
    assert b"sysrq" not in node.receive(b"root\rdemo\rdmesg\r", START)


typed = st.one_of(st.binary(max_size=20), st.sampled_from([b"root\rdemo\r", b"reboot\r", b"\x03", b"exit\r"]))
events = st.one_of(typed, st.none())


@given(st.lists(st.tuples(events, st.floats(0, 20))))
def test_any_input_at_any_time_leaves_a_working_node(history: List[Tuple[Optional[bytes], float]]) -> None:
    node, now = Node("node1"), START
    node.power_on(now)
    for data, delay in history:
        now += delay
        if data is None:
            node.receive_break(now)
        else:
            node.receive(data, now)
        deadline = node.next_deadline()
        assert deadline is None or deadline > now
    node.power_on(now)
    assert b"login: " in play(node, now + 30)
