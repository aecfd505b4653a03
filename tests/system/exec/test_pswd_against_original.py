"""The password file, compared with the original's procedure on the worked examples and on generated files."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import List

import pytest

from conman_exec.pswd import PasswordFile
from tests.conman_exec.test_pswd import EXAMPLES
from tests.fakes.original_passwords import Answer, Question, ask_original

SEED = 20240607
HOSTS = [b"n1", b"n12", b"10.0.0.1", b"fe80::1", b"xn2"]
USERS = [b"admin", b"root", b""]
FIELDS = [b"n1", b"n1", b"n.*", rb"n\d+", b"n1|n2", b"(n1|n2)", b"n{1", b"*", b"[n", b"", b".*", b"10.0.0.1", rb"\w+"]
BLANKS = [b"", b"", b"", b" ", b"\t", b"  ", b"\0", b"\x0b", b"\x85", b"\xa0"]
SECRETS = [b"pw", b"two words", b'a$b[c]{d\\e"f', b"#pw", b"", b"\xe9\xff", b"p;w", b"{", b"\\"]
# The original evaluates the K_g as a part of a command: blanks and signs are lost on the way to its tool, not read
# otherwise from the file.
KEYS = [b"kg", b"kg2", b""]
LINE_ENDS = [b"\n", b"\n", b"\r\n", b"\r", b"\n\n"]


def generated_file(generator: random.Random) -> bytes:
    lines = []
    for _ in range(generator.randint(1, 6)):
        fields = [generator.choice(FIELDS), generator.choice(USERS), generator.choice(SECRETS)]
        fields += [generator.choice(KEYS)] * generator.randint(0, 2)
        fields = fields[: generator.choice([1, 2, 3, 5, 5, 5])]
        text = b":".join(generator.choice(BLANKS) + field + generator.choice(BLANKS) for field in fields)
        lines.append(generator.choice([b"", b"", b"", b"", b"#", b" \t#", b"\x0b#"]) + text)
    return b"".join(line + generator.choice(LINE_ENDS) for line in lines)


def ours(question: Question) -> Answer:
    found = PasswordFile(question.contents).look_up(question.host, question.user)
    if found is None or found.password is None:  # then the script ends, and never gets to the K_g
        return Answer(None, None)
    return Answer(bytes(found.password), None if found.kg is None else bytes(found.kg))


def test_same_password_from_the_same_file(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        assert not os.environ.get("CI")
        pytest.skip("takes root: a mount name space of its own")
    generator = random.Random(SEED)
    questions: List[Question] = [Question(contents, host, user) for contents, host, user, _, _ in EXAMPLES]
    while len(questions) < 250:
        questions.append(Question(generated_file(generator), generator.choice(HOSTS), generator.choice(USERS)))
    answers = ask_original(tmp_path, questions)
    assert any(answer.password for answer in answers[len(EXAMPLES) :])
    different = [
        (question, theirs, ours(question)) for question, theirs in zip(questions, answers) if ours(question) != theirs
    ]
    assert different == []
