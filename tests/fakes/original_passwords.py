"""Which password the original's script takes from a password file: it is run, and its tool notes what it gets.

The script runs in a mount name space of its own (which takes root), where its password file and its ipmitool are ours.
Run as a program, it is what runs there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from tests.fakes.peers import installed_program, original_script

REPOSITORY = Path(__file__).resolve().parents[2]


class Question(NamedTuple):
    contents: bytes
    host: bytes
    user: bytes


class Answer(NamedTuple):
    password: Optional[bytes]
    kg: Optional[bytes]


# Takes a password like ipmitool, and notes it and the K_g among its arguments. Raw, so that every byte arrives.
_TOOL = """\
#!/usr/bin/python3 -IS
import os, sys, termios
if "deactivate" in sys.argv:
    sys.exit(0)
modes = termios.tcgetattr(0)
modes[0] = modes[1] = modes[3] = 0
termios.tcsetattr(0, termios.TCSANOW, modes)
os.write(1, b"Password: ")
password = b""
while not password.endswith(b"\\r"):
    password += os.read(0, 100)
kg = os.fsencode(sys.argv[sys.argv.index("-k") + 1]).hex() if "-k" in sys.argv else "-"
with open(os.environ["NOTE"], "w") as note:
    note.write(password[:-1].hex() + " " + kg)
os.write(1, b"[SOL Session operational]\\r\\n")
"""


def ask_original(directory: Path, questions: Sequence[Question]) -> List[Answer]:
    """The original's answers; skips or fails without it, root or the programs that it needs."""
    script, unshare = original_script("ipmitool.exp"), installed_program("unshare")
    for program in ("expect", "ipmitool"):
        installed_program(program)
    tool = directory / "ipmitool"
    tool.write_text(_TOOL)
    tool.chmod(0o755)
    etc = directory / "etc"
    etc.mkdir()
    asked = directory / "questions.json"
    asked.write_text(json.dumps([[part.hex() for part in question] for question in questions]))
    done = subprocess.run(
        [unshare, "-m", sys.executable, "-m", "tests.fakes.original_passwords", script, directory],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
    )
    return [
        Answer(*(None if part is None else bytes.fromhex(part) for part in answer))
        for answer in json.loads(done.stdout)
    ]


def _answer_all(script: Path, directory: Path) -> List[List[Optional[str]]]:
    etc, note = directory / "etc", directory / "note"
    for name in os.listdir("/etc"):
        (etc / name).symlink_to(f"/proc/1/root/etc/{name}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", directory / "ipmitool", installed_program("ipmitool")], check=True)
    subprocess.run(["mount", "--bind", etc, "/etc"], check=True)
    answers = []
    for contents, host, user in json.loads((directory / "questions.json").read_text()):
        (etc / "conman.pswd").write_bytes(bytes.fromhex(contents))
        note.unlink(missing_ok=True)
        subprocess.run(
            [script, bytes.fromhex(host), bytes.fromhex(user)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "NOTE": str(note)},
            check=False,
        )
        password, kg = note.read_text().split(" ") if note.exists() else (None, None)
        answers.append([password, None if kg == "-" else kg])
    return answers


if __name__ == "__main__":
    print(json.dumps(_answer_all(Path(sys.argv[1]), Path(sys.argv[2]))))
