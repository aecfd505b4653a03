"""The client's table in BEHAVIOUR.md: each of its rows has a test that fails first if the row is no longer true."""

from __future__ import annotations

from typing import Dict

from tests.fakes.daemons import REPOSITORY

CLIENT_ROWS: Dict[str, str] = {
    "A missing terminal": "system/client/test_ways_out.py::test_without_a_terminal_nobody_is_disturbed",
    "The terminal is as before": "system/client/test_ways_out.py::"
    "test_a_log_that_fails_in_a_session_leaves_the_terminal_sane",
    "SIGTERM and SIGHUP": "system/client/test_ways_out.py::test_a_signal_ends_a_session_and_says_so",
    "Escape characters from 80 hex": "conman/test_keys.py::test_any_byte_can_be_the_escape",
    "`&Z` keeps": "system/client/test_ways_out.py::test_echo_outlives_a_suspension",
    "`&E` does not drop": "system/client/test_ways_out.py::test_what_is_typed_behind_an_echo_command_is_kept",
    "`&.` waits at most": "conman/test_session.py::test_a_daemon_that_takes_no_keys_does_not_keep_who_leaves",
    "Pasted text": "system/client/test_bulk.py::test_a_paste_arrives_whole_though_the_device_is_slow",
    "A client that was stopped": "system/client/test_ways_out.py::"
    "test_a_stop_from_outside_does_not_leave_the_session_cooked",
    "A name is looked up": "conman/test_connection.py::test_all_addresses_of_a_host_are_tried_in_turn",
    "`-d` and `CONMAN_HOST` take the path": "conman/test_address.py::test_a_path_is_its_own_label_and_is_not_looked_up",
    "Ports above 65535": "system/client/test_ways_out.py::test_a_port_that_is_none_is_refused",
    "Replies may have": "system/client/test_ways_out.py::test_a_reply_may_be_longer_than_the_originals_limit",
    "UTF-8 in names": "system/client/test_ways_out.py::test_ipv6_addresses",
    "`-L` and `-V`": "system/client/test_transcripts.py::test_licence_version_and_the_longer_help_are_ours",
    "`--status": "system/client/test_commands.py::test_status_as_a_table_and_as_json",
    "`--tail": "system/client/test_commands.py::test_tail_prefixes_lines_and_shows_prompts",
    "`run [OPTIONS]": "system/client/test_commands.py::test_an_interrupted_run_tells_what_it_waits_for",
    "`conmen-py` opens": "system/client/test_commands.py::test_conmen_uses_panes_of_tmux",
}
"""The test of each row of the client's table, by how the row begins."""


def test_each_row_of_the_clients_table_has_its_test() -> None:
    section = (REPOSITORY / "BEHAVIOUR.md").read_text().partition("## The client")[2].partition("\n## ")[0]
    rows = [line[2:] for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(CLIENT_ROWS)
    for row, (start, pin) in zip(rows, CLIENT_ROWS.items()):
        assert row.startswith(start)
        path, _, name = pin.partition("::")
        assert f"def {name}(" in (REPOSITORY / "tests" / path).read_text(), pin
