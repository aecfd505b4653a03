"""The transcripts of docs/protocol.md, played to our daemon and to the original's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List, Tuple

import pytest

from tests.docs.pages import REPOSITORY
from tests.fakes.daemons import ORIGINAL, OURS, start_daemon
from tests.fakes.sessions import RawClient

TRANSCRIPTS = re.findall(r"(?ms)^```transcript\n(.*?)^```$", (REPOSITORY / "docs" / "protocol.md").read_text())
CONSOLES = "".join(f'console name="{name}" dev="test:" testopts="b:0"\n' for name in ("node1", "node10", "node2"))
PLACEHOLDERS = ((rb"HOST", rb"[\w.-]+"), (rb"MM\-DD\ HH:MM", rb"\d\d-\d\d \d\d:\d\d"))


def _exchanges(transcript: str) -> List[Tuple[bytes, bytes]]:
    """What the client says, and what it is answered."""
    lines = [
        (line[:2], line[3:].encode().decode("unicode_escape").encode("latin-1")) for line in transcript.splitlines()
    ]
    assert [who for who, _text in lines] == ["C:", "S:"] * (len(lines) // 2)
    return [(said, answer) for (_c, said), (_s, answer) in zip(lines[::2], lines[1::2])]


@pytest.mark.parametrize("kind", [OURS, ORIGINAL])
def test_transcripts_are_true(kind: str, tmp_path: Path) -> None:
    assert len(TRANSCRIPTS) >= 4
    config = tmp_path / "conman.conf"
    config.write_text(CONSOLES)
    with start_daemon(kind, config) as daemon:
        for transcript in TRANSCRIPTS:
            with RawClient(daemon.port) as client:
                for said, answer in _exchanges(transcript):
                    client.send(said)
                    expected = re.escape(answer)
                    for word, meaning in PLACEHOLDERS:
                        expected = expected.replace(word, meaning)
                    got = client.receive_count(1)
                    while not re.fullmatch(expected, got):
                        assert len(got) < 2000, (said, got)
                        got += client.receive_count(1)
