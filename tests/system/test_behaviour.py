"""BEHAVIOUR.md held to its word: its limits are the code's, each mended defect has a test, and differences that no
other test shows on the running daemon are shown here.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

from tests.fakes.background import background, run
from tests.fakes.daemons import ORIGINAL, OURS, REPOSITORY, environment, our_command
from tests.fakes.files import PATIENCE_SECONDS, read_with
from tests.fakes.sites import Seen, Site, assert_same, run_on_both

PAGE = " ".join((REPOSITORY / "BEHAVIOUR.md").read_text().split())
QUIET = 'console name="c" dev="test:" testopts="b:0"\n'

KIB, MIB = 1024, 1024 * 1024


@pytest.mark.parametrize(
    "constant, value, words",
    [
        # Clients.
        ("server.listener.PAUSE_SECONDS", 1, "accepting pauses for 1 s at a time"),
        ("server.farewell.LINGER_SECONDS", 2, "discarded for at most 2 s"),
        ("server.handshake.HANDSHAKE_SECONDS", 60, "has not sent its request 60 s after connecting"),
        ("server.handshake.REPLY_SECONDS", 60, "or not taken its answer 60 s after that"),
        ("server.daemon.MAX_CLIENTS", 10_000, "At most 10,000 clients"),
        ("server.daemon.RESERVED_DESCRIPTORS", 64, "6 × IPMI consoles, − 64, at least 16)"),
        ("server.daemon.MIN_CLIENTS", 16, "− 64, at least 16)"),
        ("conman.protocol.MAX_GREETING_BYTES", 8 * KIB, "A greeting may have 8 KiB"),
        ("conman.protocol.MAX_REQUEST_BYTES", MIB, "a request 1 MiB and 100,000 words"),
        ("conman.protocol.MAX_REQUEST_TOKENS", 100_000, "a request 1 MiB and 100,000 words"),
        ("server.matching.MATCH_SECONDS", 2, "2 s of time and 256 MiB of memory"),
        ("server.match_worker.MAX_MEMORY_BYTES", 256 * MIB, "2 s of time and 256 MiB of memory"),
        ("server.matching.MAX_WORKERS", 4, "Four at once"),
        ("server.matching.QUEUE_SECONDS", 10, "a fifth waits for its turn, at most 10 s"),
        ("server.resolver.REVERSE_SECONDS", 5, "Names of clients are looked up in threads, at most 5 s, kept for 60 s"),
        ("server.resolver.CACHE_SECONDS", 60, "Names of clients are looked up in threads, at most 5 s, kept for 60 s"),
        ("server.resolver.FORWARD_SECONDS", 30, "those of devices at most 30 s"),
        # The client.
        ("conman.session.FLUSH_SECONDS", 2, "at most 2 s for the server to take the last keys"),
        ("conman.session.LINGER_SECONDS", 5, "and 5 s of silence for it to close"),
        ("conman.session.MAX_UNSENT_BYTES", 64 * KIB, "64 KiB wait for the server"),
        ("conman.handshake.MAX_REPLY_BYTES", 256 * MIB, "Replies may have 256 MiB"),
        ("conman.console.DEFAULT_SECONDS", 30, "30 s for each wait, 10 s for each step of opening"),
        ("conman.console.OPEN_SECONDS", 10, "30 s for each wait, 10 s for each step of opening"),
        ("conman.expect.MAX_UNREAD", 16 * MIB, "16 Mi characters unread"),
        ("conman.parallel.DEFAULT_LIMIT", 64, "64 consoles at a time"),
        # Sessions.
        ("server.client.FLUSH_SECONDS", 10, "ends too, within 10 s"),
        ("consoles.base.MAX_UNSENT_BYTES", 64 * KIB, "(64 KiB may wait)"),
        ("consoles.base.STALL_SECONDS", 10, "takes nothing for 10 s the oldest bytes go"),
        ("server.client.HOLD_BYTES", 128 * KIB, "128 KiB behind holds its console"),
        ("server.client.HOLD_SECONDS", 2, "does not come so far within 2 s is slow"),
        ("server.client.MAX_UNSENT_BYTES", 256 * KIB, "may fall 256 KiB behind"),
        ("server.reset.LIMIT_SECONDS", 60, "ended after 60 s"),
        ("server.control.ANSWER_SECONDS", 120, "waits for the outcome, at most 120 s"),
        # Logs.
        ("server.poller.BATCH_SECONDS", 0.05, "may be logged up to 50 ms late"),
        ("server.logs.console_log.RETRY_SECONDS", (1, 60), "is retried after 1 s, 2 s, ... 60 s. Meanwhile"),
        ("server.logs.console_log.MAX_BACKLOG_BYTES", 256 * KIB, "256 KiB per log (128 MiB in all) wait"),
        ("server.logs.backlog.MAX_ALL_BACKLOGS_BYTES", 128 * MIB, "256 KiB per log (128 MiB in all) wait"),
        ("server.logs.files.OPENING_SECONDS", 10, "the other consoles' start by at most 10 s"),
        ("server.logs.files.DELETED_SECONDS", 5, "is made anew within 5 s of the console's next output"),
        ("server.logs.rotation.LOOK_SECONDS", 1, "Logs are looked at once a second"),
        ("server.logs.rotation.RETRY_SECONDS", 60, "and the next attempt is made after 60 s"),
        ("server.logs.lanes.MAX_HUNG_IN_DIRECTORY", 2, "up to two in a directory and eight in a file system"),
        ("server.logs.lanes.MAX_HUNG_IN_LANE", 8, "up to two in a directory and eight in a file system"),
        ("server.daemon.DAEMON_LOG_RETRY_SECONDS", 60, "own log is retried every 60 s"),
        ("server.daemonlog.MAX_HELD_LINES", 1000, "up to 1,000 lines wait"),
        # Devices.
        ("consoles.script.JITTER", 0.1, "Each delay is up to a tenth longer, at random. Until its turn"),
        ("consoles.script.BREAK_SECONDS", 0.5, "waits up to 0.5 s for ipmitool"),
        ("consoles.script_logins.TURN_SECONDS", 3, "a login that takes longer than 3 s counts no more"),
        ("consoles.script_logins.READ_SECONDS", 30, "reading them may take 30 s"),
        ("consoles.script_tools.SOCKET_SECONDS", 30, "ipmitool has 30 s to end it at the BMC"),
        ("consoles.script_tools.TERMINAL_SECONDS", 1, "a tool with a terminal 1 s; then it is killed"),
        ("server.children.CHILD_UMASK", 0o022, "SIGPIPE is default, umask 022"),
        ("server.site.CHILDREN_SECONDS", 2, "2 s later SIGTERM, 2 s later SIGKILL"),
        ("consoles.serialport.AT_ONCE_AFTER_SECONDS", 1, "at once if it was up for a second"),
        ("proto.telnet.MAX_SUBNEGOTIATION_BYTES", 1024, "one without an end hides at most 1024 bytes"),
        ("consoles.unixsock.APPEARED_RETRY_SECONDS", (0.02, 0.1, 0.3), "retried after 20, 100 and 300 ms"),
        ("consoles.ipmi.RELAPSES", (1, 60, 60, 0), "lost within 60 s is opened again after 1 s, 2 s, ... 60 s"),
        ("consoles.ipmi.JITTER", 0.1, "up to a tenth longer, at random"),
        ("consoles.ipmi_engine.MAX_OPENING", 64, "64 sessions are opened at a time"),
        ("consoles.ipmi_engine.MAX_OPENING_QUICKLY", 256, "up to 256 while they take"),
        ("consoles.ipmi_engine.QUICK_SECONDS", 0.25, "no longer than 0.25 s"),
        ("consoles.ipmi_engine.TURN_SECONDS", 0.5, "longer than 0.5 s counts no more"),
        ("consoles.ipmi.BURST_BYTES", 4 * KIB, "4 KiB go to the BMC at once, more at 960"),
        ("consoles.ipmi.BYTES_PER_SECOND", 960, "4 KiB go to the BMC at once, more at 960"),
        ("consoles.ipmi_engine.STOP_SECONDS", 5, "5 s for the BMCs"),
        # Workers.
        ("server.workers.plan.ONE_PROCESS_BELOW", 500, "one process below 500 consoles"),
        ("server.workers.plan.CONSOLES_PER_WORKER", 250, "a worker for each 250 of them"),
        ("server.workers.process.PING_SECONDS", 1, "five pings, one a second"),
        ("server.workers.process.MISSED_PINGS", 5, "five pings, one a second"),
        ("server.workers.process.MAX_DELAY_SECONDS", 60, "then 2, 4, ... 60 s, until one has lasted 60 s"),
        ("server.workers.process.HEALTHY_SECONDS", 60, "then 2, 4, ... 60 s, until one has lasted 60 s"),
        ("server.workers.process.READY_SECONDS", 5, "comes meanwhile waits up to 5 s"),
        ("server.workers.front.STOP_SECONDS", 60, "At the end each worker has 60 s"),
        # Client port of tcpwrappers=ON.
        ("server.hosts_access.MAX_FILE_BYTES", 4 * MIB, "or are larger than 4 MiB"),
    ],
)
def test_the_limits_are_those_of_the_page(constant: str, value: object, words: str) -> None:
    module, _, name = (constant if constant.startswith("conman.") else f"conmand.{constant}").rpartition(".")
    assert getattr(importlib.import_module(module), name) == value
    assert words in PAGE


PINNED: Dict[str, str] = {
    "A1": "system/test_robustness.py::test_connecting_and_resetting_at_once_ends_only_the_original",
    "A2": "system/test_robustness.py::test_descriptors_that_run_out_come_back",
    "A3": "conmand/server/test_client.py::test_a_suspended_client_that_is_robbed_is_told_and_closed",
    "A4": "system/test_robustness.py::test_a_silent_client_is_dropped_and_a_slow_one_is_not_served_for_ever",
    "A5": "conmand/server/test_hub.py::test_a_client_whose_connection_fails_while_it_joins_does_not_keep_the_console",
    "A6": "conmand/server/test_daemon.py::test_a_signal_that_asks_for_a_core_leaves_no_pid_file",
    "A7": "conmand/config/test_specifiers.py::test_specifiers",
    "A8": "system/test_behaviour.py::test_a_real_fault_leaves_the_interpreters_trace_in_the_log",
    "B1": "conmand/server/test_client.py::test_a_client_that_suspended_and_left_is_cleaned_up_and_gets_its_bytes",
    "B2": "system/test_sessions.py::test_a_robbed_writer_is_closed_whatever_its_state",
    "B3": "system/test_sessions.py::test_a_monitor_sent_to_monitor_stays_one",
    "B4": "system/test_sessions.py::test_commands_and_keys_stay_in_order",
    "B5": "system/test_sessions.py::test_keys_typed_while_the_console_is_down_are_not_delivered_later",
    "B6": "system/test_robustness.py::test_a_large_paste_to_a_slow_console_arrives_whole",
    "B7": "conmand/server/test_client.py::test_output_for_a_client_that_has_left_is_no_matter",
    "B8": "system/client/test_ways_out.py::test_without_a_terminal_nobody_is_disturbed",
    "B9": "system/client/test_ways_out.py::test_a_lost_server_is_an_error",
    "B10": "conman/test_keys.py::test_any_byte_can_be_the_escape",
    "B11": "system/client/test_ways_out.py::test_echo_outlives_a_suspension",
    "B12": "system/client/test_ways_out.py::test_a_signal_ends_a_session_and_says_so",
    "B13": "system/test_sessions.py::test_only_the_stolen_console_is_lost_to_a_broadcast",
    "C1": "conmand/server/test_client.py::test_a_slow_client_loses_its_oldest_bytes_and_is_told_how_many",
    "C2": "system/test_robustness.py::test_a_full_disk_is_survived_and_what_it_cost_is_marked",
    "C3": "system/test_logs.py::test_a_log_on_a_full_device_is_retried_without_a_flood_of_messages",
    "C4": "conmand/proto/test_logline.py::test_a_carriage_return_is_logged_at_once",
    "C5": "conmand/server/logs/test_console_log.py::test_stop_writes_what_waits_and_gives_up_the_rest",
    "C7": "conmand/server/test_resolver.py::test_a_name_server_that_does_not_answer_is_waited_for_in_bounds",
    "D1": "system/test_devices.py::test_an_ordinary_filter_is_a_console",
    "D2": "conmand/consoles/test_process.py::"
    "test_children_have_their_own_session_a_default_sigpipe_and_an_ordinary_umask",
    "D3": "system/test_devices.py::test_what_a_program_started_ends_with_it",
    "D5": "system/test_devices.py::test_a_serial_port_that_comes_back_is_opened_without_a_client",
    "D6": "system/test_devices.py::test_a_byte_of_all_ones_is_doubled_on_telnet",
    "D7": "system/test_devices.py::test_a_subnegotiation_may_contain_a_doubled_byte",
    "D8": "system/test_devices.py::test_a_failed_connection_is_logged_once",
    "D9": "system/test_devices.py::test_a_live_unix_connection_survives_a_new_socket_file",
    "D10": "system/test_devices.py::test_a_unix_socket_is_found_in_a_directory_that_came_later",
    "D11": "conmand/consoles/test_telnet.py::test_the_hosts_addresses_are_tried_in_turn",
    "D12": "system/test_sessions.py::test_a_reset_is_possible_again_when_the_last_has_ended",
    "E1": "conmand/config/test_grammar.py::test_timestamp_leaves_the_next_line_alone",
    "E2": "conmand/config/test_grammar.py::test_the_last_port_and_pidfile_win_on_any_line",
    "E3": "system/test_command_line.py::test_a_port_that_is_no_number_is_refused",
    "E4": "system/test_behaviour.py::test_a_hangup_reads_the_configuration_again",
    "E5": "system/test_command_line.py::"
    "test_the_pid_file_of_the_configuration_finds_the_daemon_whose_file_was_replaced",
    "E6": "conmand/server/test_pidfile.py::test_another_program_with_that_pid_is_no_daemon",
    "E7": "system/test_command_line.py::test_a_configuration_that_another_program_has_locked_is_not_in_use",
    "E8": "conmand/config/test_grammar.py::test_syslog_kern_is_user_as_for_the_c_library",
    "E9": "conmand/config/test_devices.py::test_telnet_needs_a_host",
    "E10": "conmand/config/test_grammar.py::test_logs_that_come_to_share_a_file_are_both_kept_with_a_warning",
    "E11": "system/test_behaviour.py::test_programs_of_a_relative_execpath_run_in_the_background",
    "E12": "conmand/config/test_grammar.py::test_a_mistake_is_reported_once_with_its_line",
    "E13": "conmand/config/test_grammar.py::test_resetcmd_may_use_the_shell",
    "E14": "conmand/config/test_grammar.py::test_a_mistake_is_reported_once_with_its_line",
    "E15": "conmand/config/test_grammar.py::test_unknown_logopts_are_warned_of_with_their_line",
    "E16": "conmand/config/test_grammar.py::test_values_that_the_original_cuts_are_refused",
    "E17": "system/test_behaviour.py::test_a_file_limit_that_cannot_be_set_is_told_to_the_shell",
    "E19": "system/test_behaviour.py::test_the_daemons_own_log_is_opened_when_it_can_be",
    "F2": "system/test_queries.py::test_a_reply_may_exceed_the_originals_limit",
    "F3": "system/test_queries.py::test_text_beyond_ascii_survives",
    "F5": "system/test_queries.py::test_each_regular_expression_stands_for_itself",
    "F6": "conmand/server/test_name_order.py::test_trailing_digits_count_as_numbers",
    "F8": "conman/test_protocol.py::test_too_long_a_request_is_refused_and_never_taken_for_session_input",
}
"""The test that fails first if a defect of the original, by its letter on the page, came back."""


def test_each_letter_of_the_page_has_its_test() -> None:
    assert set(re.findall(r"\b[A-F]\d{1,2}\b", PAGE)) == set(PINNED)
    for pin in PINNED.values():
        path, _, name = pin.partition("::")
        assert f"def {name}(" in (REPOSITORY / "tests" / path).read_text(), pin


# The command line.


def test_the_version_names_python() -> None:
    assert " PYTHON\n" in run(OURS, ["-V"], REPOSITORY)[1].decode()


# Devices and the end.

AT_THE_END = """\
#!/usr/bin/env python3
import os, select, signal, sys, time
def tell(word):
    with open(sys.argv[1], "a") as file:
        file.write(word + "\\n")
if sys.argv[2] != "leaves":
    signal.signal(signal.SIGTERM, lambda *_: (tell("TERM"), os._exit(0)) if sys.argv[2] == "obeys" else tell("TERM"))
os.write(1, b"ready")
select.select([0], [], [])
tell("end of file" if os.read(0, 1) == b"" else "input")
while sys.argv[2] != "leaves":
    time.sleep(1000)
"""


def test_programs_see_the_end_of_their_input_then_sigterm_then_sigkill(tmp_path: Path) -> None:
    """The original sends SIGTERM at once, and nothing at all with -F. What is left over, the fixture would find."""
    kinds = ["leaves", "obeys", "stays"]
    with Site(OURS, tmp_path) as site:
        site.program("program", AT_THE_END)
        config = "".join(f'console name="{kind}" dev="DIR/program DIR/{kind} {kind}" log="%N.log"\n' for kind in kinds)
        site.start('server logdir="DIR"\n' + config, constants={"conmand.server.site.CHILDREN_SECONDS": 0.5})
        for kind in kinds:
            site.read_with(f"{kind}.log", b"ready")
        assert site.daemon.stop() == 0
        told = {kind: site.path(kind).read_text() for kind in kinds}
    assert told == {"leaves": "end of file\n", "obeys": "end of file\nTERM\n", "stays": "end of file\nTERM\n"}


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_configuration_with_passwords_that_everybody_can_read_is_warned_of(mode: int, tmp_path: Path) -> None:
    script, config = tmp_path / "ipmitool.exp", tmp_path / "conman.conf"
    script.write_text("#!/bin/sh\nexec cat\n")
    script.chmod(0o755)
    config.write_text(f'server logfile="{tmp_path}/conmand.log"\nconsole name="n1" dev="{script} bmc1 admin hidden"\n')
    config.chmod(mode)
    with background(OURS, config):
        log = read_with(tmp_path / "conmand.log", b"Listening on TCP port")
    log = (tmp_path / "conmand.log").read_bytes()
    words = b'Everybody can read the passwords in "conman.conf" (console [n1]); its mode is 0644 and should be 0640'
    assert (words in log) is (mode == 0o644)
    assert b"hidden" not in log


def test_a_reset_that_runs_when_the_daemon_stops_is_left_to_finish(tmp_path: Path) -> None:
    """Half a power cycle is an outage (errata D12)."""
    with Site(OURS, tmp_path) as site:
        os.mkfifo(site.path("gate"))
        site.start('server resetcmd="echo >>DIR/resets; cat DIR/gate; echo done >>DIR/resets"\n' + QUIET)
        client = site.session(b"CONNECT CONSOLE='c'\n")
        client.send(b"\xffR")
        client.receive_until(b"reset by <root@localhost>")
        pid = int(client.receive_until(b")")[len(" (pid ") : -1])
        site.read_with("resets", b"\n")
        assert site.daemon.stop() == 0
        site.daemon.wait_for(f"WARNING:   Reset command (pid {pid}) is still running and is left to finish")
        with open(site.path("gate"), "wb"):
            pass
        site.read_with("resets", b"done")


# Start and life.


def test_a_service_manager_hears_of_start_and_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE_SECONDS)
        manager.bind(str(tmp_path / "notify"))
        with Site(OURS, tmp_path) as site:
            site.start(QUIET, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
            assert manager.recv(100).startswith(b"READY=1\nMAINPID=")
        assert manager.recv(100) == b"STOPPING=1"


def test_a_hangup_reads_the_configuration_again(tmp_path: Path) -> None:
    """Errata E4: the original reopens the logs, and no more."""

    def scenario(site: Site) -> Seen:
        site.start('server logdir="DIR"\n' + QUIET.replace("\n", ' log="c.log"\n'))
        site.read_with("c.log", b"log opened")
        with site.path("conman.conf").open("a") as config:
            config.write('console name="new" dev="test:"\n')
        site.daemon.signal(signal.SIGHUP)
        site.read_with("c.log", b"log opened", 2)
        if site.is_ours:
            site.daemon.wait_for("is reloaded: 1 console added")
        return {"names": site.ask(b"QUERY\n")}

    original, ours = run_on_both(scenario, tmp_path)
    assert original["names"] == b"OK CONSOLE='c'\n"
    assert ours["names"] == b"OK CONSOLE='c' CONSOLE='new'\n"


def test_a_hangup_with_the_same_configuration_is_the_originals(tmp_path: Path) -> None:
    def scenario(site: Site) -> Seen:
        site.start('server logdir="DIR"\n' + QUIET.replace("\n", ' log="c.log"\n') + "nonsense\n")
        site.read_with("c.log", b"log opened")
        for count in (2, 3):
            site.daemon.signal(signal.SIGHUP)
            site.read_with("c.log", b"log opened", count)
        site.daemon.stop()
        return {"log": site.path("c.log")}

    assert_same(scenario, tmp_path)


def test_a_file_limit_that_cannot_be_set_is_told_to_the_shell(tmp_path: Path) -> None:
    """Errata E17: the original says that all is well, and ends."""
    (tmp_path / "conman.conf").write_text("server nofile=2000000000\n" + QUIET)
    status, _output, error = run(OURS, ["-c", "conman.conf", "-p", "0"], tmp_path)
    assert (status, error) == (1, b"ERROR:     Unable to set open file limit to 2000000000: Operation not permitted\n")


def test_programs_of_a_relative_execpath_run_in_the_background(tmp_path: Path) -> None:
    """Errata E11: the original looks for them from its last directory, which is the root."""
    (tmp_path / "scripts").mkdir()
    program = tmp_path / "scripts" / "greeter"
    program.write_text("#!/bin/sh\necho hello from $(pwd)\nread line\n")
    program.chmod(0o755)
    config = tmp_path / "conman.conf"
    config.write_text(
        f'server logfile="{tmp_path}/conmand.log" execpath="scripts"\nconsole name="c" dev="greeter" log="c.log"\n'
    )
    with background(OURS, config):
        read_with(tmp_path / "c.log", b"hello from /\n")


@pytest.mark.parametrize("server", ["", "coredump=on coredumpdir='DIR/cores'"], ids=["without", "with"])
def test_the_directory_of_cores_is_the_daemons_from_the_start(server: str, tmp_path: Path) -> None:
    (tmp_path / "cores").mkdir()
    config = tmp_path / "conman.conf"
    config.write_text(f"server logfile='DIR/conmand.log' {server}\n".replace("DIR", str(tmp_path)) + QUIET)
    with background(OURS, config) as daemon:
        expected = str(tmp_path / "cores") if server else "/"
        assert os.readlink(f"/proc/{daemon.pid}/cwd") == expected


def test_an_abort_is_logged_and_leaves_no_pid_file(tmp_path: Path) -> None:
    """Errata A6 and A8."""
    config = tmp_path / "conman.conf"
    config.write_text(f"server logfile='{tmp_path}/conmand.log' pidfile='{tmp_path}/pid'\n" + QUIET)
    with background(OURS, config) as daemon:
        os.kill(daemon.pid, signal.SIGABRT)
        assert daemon.wait_for_end() == -signal.SIGABRT
    assert (tmp_path / "conmand.log").read_text().endswith("ERROR:     Terminating on signal=6\n")
    assert not (tmp_path / "pid").exists()


def test_a_real_fault_leaves_the_interpreters_trace_in_the_log(tmp_path: Path) -> None:
    """Errata A8: nothing of ours runs in a handler, so the pid file stays; -q and -k do not believe it."""
    config = tmp_path / "conman.conf"
    config.write_text(f"server logfile='{tmp_path}/conmand.log' pidfile='{tmp_path}/pid'\n" + QUIET)
    with background(OURS, config) as daemon:
        os.kill(daemon.pid, signal.SIGSEGV)
        assert daemon.wait_for_end() == -signal.SIGSEGV
    log = (tmp_path / "conmand.log").read_text()
    assert "Fatal Python error: Segmentation fault" in log and "asyncio" in log
    assert run(OURS, ["-q", "-c", "conman.conf"], tmp_path)[0] == 1


def test_the_daemons_own_log_is_opened_when_it_can_be(tmp_path: Path) -> None:
    """Errata E19: the original runs without a log."""
    log = tmp_path / "conmand.log"
    log.mkdir()
    (tmp_path / "conman.conf").write_text(f"server logfile='{log}'\n" + QUIET)
    command = our_command({"conmand.server.daemon.DAEMON_LOG_RETRY_SECONDS": 0.05})
    started = subprocess.run(
        [*command, "-c", "conman.conf", "-p", "0"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    assert started.returncode == 0
    assert started.stderr.decode() == f'WARNING:   Unable to open daemon logfile "{log}": Is a directory\n'
    pid = int(run(OURS, ["-q", "-c", "conman.conf"], tmp_path, mask=False)[1])
    try:
        log.rmdir()
        lines = read_with(log, b"Listening on TCP port")
        assert lines.index(b"Starting ConMan daemon") < lines.index(b"Listening on TCP port")
    finally:
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_of_daemons_started_together_at_most_one_runs(tmp_path: Path) -> None:
    """Errata E7."""
    (tmp_path / "conman.conf").write_text(QUIET)
    command = [sys.executable, "-m", "conmand", "-F", "-c", "conman.conf", "-p", "0"]
    daemons = [
        subprocess.Popen(command, cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _count in range(4)
    ]
    running: List[subprocess.Popen[bytes]] = []
    for daemon in daemons:
        assert daemon.stderr is not None
        line = daemon.stderr.readline()
        if line.startswith(b"NOTICE:    Starting"):
            running.append(daemon)
        else:
            assert re.fullmatch(rb'ERROR:     Configuration "conman.conf" in use by pid \d+\n', line)
    for daemon in running:
        daemon.terminate()
    statuses = [daemon.wait(PATIENCE_SECONDS) for daemon in daemons]
    for daemon in daemons:
        assert daemon.stderr is not None
        daemon.stderr.close()
    assert len(running) <= 1
    assert sorted(statuses) == sorted([0] * len(running) + [1] * (4 - len(running)))


def test_a_number_out_of_range_spoils_no_later_one(tmp_path: Path) -> None:
    """The original refuses every number in testopts after one that overflows."""
    big = "9" * 20
    (tmp_path / "conman.conf").write_text(f'global testopts="b:{big}"\nglobal testopts="b:5"\n' + QUIET)
    complaint = b'ERROR:     CONFIG[conman.conf:%d]: invalid testopts value "b:%b"\n'
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ["-F", "-c", "conman.conf", "-p", str(taken.getsockname()[1])]
        ours, original = (complaints(kind, arguments, tmp_path) for kind in (OURS, ORIGINAL))
    assert ours == [complaint % (1, big.encode())]
    assert original[:2] == [complaint % (1, big.encode()), complaint % (2, b"5")]


def complaints(kind: str, arguments: List[str], directory: Path) -> List[bytes]:
    status, _output, error = run(kind, arguments, directory)
    assert status == 1  # the port is taken
    return [line for line in error.splitlines(keepends=True) if b"CONFIG[" in line]
