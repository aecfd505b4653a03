"""The toy shell of a pretend node: one command line in, text and perhaps a deed out. It knows nothing of terminals."""

from __future__ import annotations

import enum
import shlex
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Sequence

from demo import texts


class Deed(enum.Enum):
    """What a command does to the machine besides printing."""

    NONE = "nothing"
    LOGOUT = "end the session"
    REBOOT = "shut down and start again"
    SYSRQ = "hand the last word of the command to the kernel"


@dataclass(frozen=True)
class Situation:
    """What commands can tell about their machine. ``now`` is seconds since the epoch."""

    name: str
    user: str
    now: float
    uptime_seconds: float
    kernel_log: Sequence[str]
    status: int = 0  #: of the command before, for ``$?``


@dataclass(frozen=True)
class Outcome:
    """``text`` has LF line ends; ``argument`` is the SysRq key."""

    text: str = ""
    deed: Deed = Deed.NONE
    argument: str = ""
    status: int = 0


_FILES: Dict[str, Callable[[Situation], str]] = {
    "/etc/hostname": lambda at: f"{at.name}\n",
    "/etc/os-release": lambda at: f'NAME="Example Linux"\nVERSION="9.4 (Console)"\nPRETTY_NAME="{texts.SYSTEM}"\n',
    "/etc/motd": lambda at: "This node is a pretend one. Break it: echo c > /proc/sysrq-trigger\n",
    "/proc/cmdline": lambda at: f"BOOT_IMAGE=(hd0,gpt2)/vmlinuz-{texts.KERNEL} console=tty0 console=ttyS0,115200n8\n",
    "/proc/loadavg": lambda at: "0.08 0.03 0.01 1/212 21017\n",
    "/proc/uptime": lambda at: f"{at.uptime_seconds:.2f} {at.uptime_seconds * 15.8:.2f}\n",
    "/proc/version": lambda at: f"Linux version {texts.KERNEL} (build@example)\n",
}


def run(line: str, at: Situation) -> Outcome:
    """What ``line`` prints and does. Any line is answered; none raises. There are no pipes and no ``;``."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return Outcome("-bash: syntax error: unexpected end of file\n", status=2)
    if not words:
        return Outcome(status=at.status)
    words = [str(at.status) if word == "$?" else word for word in words]
    if ">" in words or ">>" in words:
        return _redirect(words, at)
    return _run_command(words, at)


def _run_command(words: List[str], at: Situation) -> Outcome:
    command = _COMMANDS.get(words[0])
    if command is None:
        return Outcome(f"-bash: {words[0]}: command not found\n", status=127)
    return command(words[1:], at)


def _redirect(words: List[str], at: Situation) -> Outcome:
    where = next(index for index, word in enumerate(words) if word in (">", ">>"))
    target = words[where + 1 : where + 2]
    if not target:
        return Outcome("-bash: syntax error near unexpected token `newline'\n", status=2)
    if target[0] not in ("/proc/sysrq-trigger", "/dev/null"):
        return Outcome(f"-bash: {target[0]}: Read-only file system\n", status=1)
    if where == 0:
        return Outcome()
    outcome = _run_command(words[:where], at)
    if target[0] == "/proc/sysrq-trigger" and outcome.text.strip():
        return Outcome(deed=Deed.SYSRQ, argument=outcome.text[0])
    return Outcome(deed=outcome.deed, status=outcome.status)


def _cat(arguments: List[str], at: Situation) -> Outcome:
    text, status = "", 0
    for path in arguments:
        content = _FILES.get(path)
        text += content(at) if content else f"cat: {path}: No such file or directory\n"
        status = status if content else 1
    return Outcome(text, status=status)


def _date(arguments: List[str], at: Situation) -> Outcome:
    return Outcome(time.strftime("%a %b %e %H:%M:%S %Z %Y\n", time.localtime(at.now)))


def _dmesg(arguments: List[str], at: Situation) -> Outcome:
    return Outcome("".join(line + "\n" for line in at.kernel_log))


def _echo(arguments: List[str], at: Situation) -> Outcome:
    return Outcome(" ".join(arguments) + "\n")


def _free(arguments: List[str], at: Situation) -> Outcome:
    return Outcome(
        "               total        used        free      shared  buff/cache   available\n"
        "Mem:        65854828     2411236    57527696       83924     5915896    62720436\n"
        "Swap:        8388604           0     8388604\n"
    )


def _help(arguments: List[str], at: Situation) -> Outcome:
    return Outcome("This toy shell knows: " + " ".join(sorted(_COMMANDS)) + "\n")


def _id(arguments: List[str], at: Situation) -> Outcome:
    number = 0 if at.user == "root" else 1000
    return Outcome(f"uid={number}({at.user}) gid={number}({at.user}) groups={number}({at.user})\n")


def _ls(arguments: List[str], at: Situation) -> Outcome:
    if not [word for word in arguments if not word.startswith("-")]:
        return Outcome("anaconda-ks.cfg  crash  jobs\n")
    text, status = "", 0
    for path in arguments:
        prefix = path.rstrip("/") + "/"
        names = sorted({known[len(prefix) :].split("/")[0] for known in _FILES if known.startswith(prefix)})
        if path in _FILES:
            text += f"{path}\n"
        elif names:
            text += "  ".join(names) + "\n"
        elif not path.startswith("-"):
            text += f"ls: cannot access '{path}': No such file or directory\n"
            status = 2
    return Outcome(text, status=status)


def _ps(arguments: List[str], at: Situation) -> Outcome:
    return Outcome(
        "    PID TTY          TIME CMD\n"
        "      1 ?        00:00:02 systemd\n"
        "      2 ?        00:00:00 kthreadd\n"
        "    871 ?        00:00:00 sshd\n"
        "   1312 ?        00:00:07 batchd\n"
        "  20417 ?        03:12:44 solver\n"
        "  20981 ttyS0    00:00:00 bash\n"
        "  21017 ttyS0    00:00:00 ps\n"
    )


def _uname(arguments: List[str], at: Situation) -> Outcome:
    parts = {"s": "Linux", "n": at.name, "r": texts.KERNEL, "v": "#1 SMP", "m": "x86_64", "o": "GNU/Linux"}
    flags = "".join(word[1:] for word in arguments if word.startswith("-")) or "s"
    return Outcome(" ".join(text for flag, text in parts.items() if flag in flags or "a" in flags) + "\n")


def _uptime(arguments: List[str], at: Situation) -> Outcome:
    minutes = int(at.uptime_seconds) // 60
    up = f"{minutes} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}"
    clock = time.strftime("%H:%M:%S", time.localtime(at.now))
    return Outcome(f" {clock} up {up},  1 user,  load average: 0.08, 0.03, 0.01\n")


_Command = Callable[[List[str], Situation], Outcome]

_COMMANDS: Dict[str, _Command] = {
    "cat": _cat,
    "date": _date,
    "dmesg": _dmesg,
    "echo": _echo,
    "exit": lambda arguments, at: Outcome("logout\n", Deed.LOGOUT),
    "free": _free,
    "help": _help,
    "hostname": lambda arguments, at: Outcome(f"{at.name}\n"),
    "id": _id,
    "logout": lambda arguments, at: Outcome(deed=Deed.LOGOUT),
    "ls": _ls,
    "ps": _ps,
    "pwd": lambda arguments, at: Outcome("/root\n" if at.user == "root" else f"/home/{at.user}\n"),
    "reboot": lambda arguments, at: Outcome(deed=Deed.REBOOT),
    "sync": lambda arguments, at: Outcome(),
    "true": lambda arguments, at: Outcome(),
    "uname": _uname,
    "uptime": _uptime,
    "whoami": lambda arguments, at: Outcome(f"{at.user}\n"),
}
