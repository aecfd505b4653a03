"""A hundred thousand malformed greetings and requests: the daemon stays up, stays small, and serves who is polite."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from tests.fakes.daemons import OURS
from tests.fakes.sites import Site
from tests.fakes.swarm import Conversation, Swarm

SEED = int(os.environ.get("CONMAN_FUZZ_SEED", "1"))
CONNECTIONS = int(os.environ.get("CONMAN_FUZZ_CONNECTIONS", "100000"))
WARM_UP = 20_000
ALLOWED_GROWTH_KIB = 4096

CONFIG = "".join(f'console name="n{number}" dev="test:" testopts="b:0"\n' for number in range(20))
GREETING = b"HELLO USER='root' TTY='pts/0'\n"
REQUESTS = [
    b"QUERY CONSOLE='n1' CONSOLE='n2'\n",
    b"QUERY\n",
    b"MONITOR CONSOLE='n3'\n",
    b"CONNECT OPTION=QUIET OPTION=JOIN CONSOLE='n4'\n",
    b"CONNECT OPTION=FORCE CONSOLE='n5'\n",
    b"CONNECT OPTION=BROADCAST OPTION=JOIN CONSOLE='n6' CONSOLE='n7'\n",
    b"CONNECT CONSOLE='zz'\n",
]
WORDS = b"""
HELLO USER TTY QUERY MONITOR CONNECT OPTION CONSOLE OK ERROR QUIET REGEX FORCE JOIN = = = ' ' " \\ # 5 -7 n1
""".split()
EXPENSIVE = [
    b"QUERY CONSOLE='n[' CONSOLE='*'\n",
    b"QUERY OPTION=REGEX CONSOLE='(((('\n",
    b"MONITOR OPTION=REGEX CONSOLE='n1{99999}'\n",
]


def conversations(dice: random.Random, count: int) -> Iterator[Conversation]:
    for _number in range(count):
        kind = dice.random()
        data = malformed(dice, kind)
        pieces = split(dice, data) if dice.random() < 0.3 else (data,)
        slow = dice.random() < 0.02
        yield Conversation(pieces, resets=dice.random() < 0.2, patience=dice.randrange(50, 2000) if slow else 0)


def malformed(dice: random.Random, kind: float) -> bytes:
    if kind < 0.2:
        return dice.randbytes(dice.randrange(300))
    if kind < 0.4:
        return mutated(dice, GREETING + dice.choice(REQUESTS))
    if kind < 0.6:
        return GREETING + mutated(dice, dice.choice(REQUESTS)) + dice.randbytes(dice.randrange(40))
    if kind < 0.75:
        return b" ".join(dice.choices(WORDS, k=dice.randrange(30))) + b"\n" + dice.randbytes(dice.randrange(20))
    if kind < 0.9:
        return GREETING + b" ".join(dice.choices(WORDS, k=dice.randrange(30))) + b"\n"
    if kind < 0.96:  # a session with any bytes in it
        return GREETING + dice.choice(REQUESTS) + b"\xff".join(dice.randbytes(3) for _ in range(20))
    if kind < 0.97:
        return GREETING[: dice.randrange(len(GREETING))]
    if kind < 0.99:
        return b"HELLO USER='" + b"x" * dice.randrange(20_000) + b"'\n"
    if kind < 0.9985:
        return GREETING + b"QUERY" + b" CONSOLE='nothing'" * dice.randrange(1000)
    if kind < 0.9995:
        return GREETING + dice.choice(EXPENSIVE)
    return GREETING + b"QUERY " + b"x" * 1_100_000


def mutated(dice: random.Random, data: bytes) -> bytes:
    text = bytearray(data)
    for _change in range(dice.randrange(1, 6)):
        place = dice.randrange(len(text))
        kind = dice.randrange(4)
        if kind == 0:
            text[place] = dice.randrange(256)
        elif kind == 1:
            del text[place : place + dice.randrange(1, 8)]
            text += b"\n" if not text else b""
        elif kind == 2:
            text[place:place] = dice.randbytes(dice.randrange(1, 4))
        else:
            text[place:place] = text[: dice.randrange(60)]
    # Patterns cost a process each: how those are bounded has its own test.
    return bytes(text).translate(None, b"*?[")


def split(dice: random.Random, data: bytes) -> Tuple[bytes, ...]:
    places = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(1, 5)))
    return tuple(data[start:end] for start, end in zip([0, *places], [*places, len(data)]))


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.timeout(400)  # about 60 s of work, on however busy a machine
def test_malformed_requests_cost_the_daemon_nothing_that_lasts(tmp_path: Path) -> None:
    with Site(OURS, tmp_path) as site:
        site.start(CONFIG)
        pid = site.daemon.pid
        polite = b"QUERY CONSOLE='n1'\n"
        assert site.ask(polite) == b"OK CONSOLE='n1'\n"
        descriptors_before = descriptors(pid)
        memory: List[int] = []
        swarm = Swarm(site.daemon.port, width=48)
        checked = 0
        for ended in swarm.run(conversations(random.Random(SEED), CONNECTIONS)):
            if ended - checked >= 1000:
                checked = ended
                assert site.ask(polite) == b"OK CONSOLE='n1'\n"
                if ended >= WARM_UP:
                    memory.append(resident_kib(pid))
        assert swarm.ended == CONNECTIONS
        assert swarm.bytes_received > CONNECTIONS
        while descriptors(pid) > descriptors_before:  # the last ones' ends are on their way
            assert site.ask(polite) == b"OK CONSOLE='n1'\n"
        assert not memory or memory[-1] - memory[0] <= ALLOWED_GROWTH_KIB, memory
        assert site.daemon.count("Internal error") == 0
