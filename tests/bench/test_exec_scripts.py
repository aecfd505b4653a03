from __future__ import annotations

import os

from bench import exec_scripts
from tests.fakes.peers import original_script


def test_costs_keep_their_limits() -> None:
    if os.geteuid() == 0:
        original_script("ipmitool.exp")
    figures = exec_scripts.measure(logins=1, consoles=4)
    ours, bare = figures[exec_scripts.OURS], figures[exec_scripts.BARE]
    assert (ours.processes, bare.processes) == (2, 1)
    # Shared pages count as shared between four only, hence a little more than the 4.5 and 1.6 MB of many consoles.
    assert ours.private_kib <= 4900
    assert bare.private_kib <= 1900
    original = figures.get(exec_scripts.ORIGINAL)
    if original:
        assert ours.private_kib < original.private_kib


def test_table_has_a_row_for_each_way() -> None:
    figures = {exec_scripts.ORIGINAL: exec_scripts.Figures(1, 2, 3), exec_scripts.OURS: exec_scripts.Figures(4, 5, 6)}
    text = exec_scripts.table(figures, exec_scripts.parse([]))
    assert "| original | 1 | 2 | 3 |" in text
    assert "| ours | 4 | 5 | 6 |" in text
