"""What is in the files by now: taken as a whole, or refused as a whole."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional

import pytest

from conmand.config import settings_file
from conmand.config.grammar import parse_configuration
from conmand.config.model import Configuration, LogLevel
from conmand.config.settings import DaemonSettings, RotationSettings
from conmand.errors import FatalError
from conmand.server import reload as module
from conmand.server.configlock import LockedFile, lock_configuration, open_configuration
from conmand.server.reload import Found, Refused, Source

A = b'console name="a" dev="test:"\n'
B = b'console name="b" dev="test:"\n'
WRONG = b'console name="x" dev="nonsense"\n'
OUTCOME = 'Configuration "{path}" is not reloaded: the running one stays in effect'


class Case:
    def __init__(self, path: Path, text: bytes) -> None:
        self.path = path
        self.settings_path: Optional[Path] = None
        self.write(text)
        fd = open_configuration(str(path))
        lock_configuration(fd, str(path))
        self.source = Source(
            LockedFile(fd, str(path), "/"), text, self.parse, self.load_settings, self.parse(text), DaemonSettings()
        )

    def parse(self, text: bytes) -> Configuration:
        return parse_configuration(text, str(self.path), cwd="/")

    def load_settings(self) -> DaemonSettings:
        return DaemonSettings() if self.settings_path is None else settings_file.load(str(self.settings_path))

    def write(self, text: bytes) -> None:
        self.path.write_bytes(text)
        os.utime(self.path, (0, 0))  # it has been left alone for long

    def read(self, text: bytes) -> Found:
        self.write(text)
        return self.source.read()

    def refused(self, text: Optional[bytes] = None) -> List[str]:
        """Why, without the last line."""
        if text is not None:
            self.write(text)
        before = self.source.configuration
        with pytest.raises(Refused) as refusal:
            self.source.read()
        assert all(level is LogLevel.ERROR for level, _text in refusal.value.lines)
        *reasons, outcome = [text for _level, text in refusal.value.lines]
        assert outcome == OUTCOME.format(path=self.path)
        assert self.source.configuration is before
        return reasons


@contextmanager
def running(directory: Path, text: bytes) -> Iterator[Case]:
    case = Case(directory / "conman.conf", text)
    try:
        yield case
    finally:
        case.source.file.close()


def test_the_same_file_is_no_change_however_often(tmp_path: Path) -> None:
    with running(tmp_path, A + WRONG + b'console name="w" dev="test:" log="/w" logopts="zork"\n') as case:
        for _ in range(3):
            found = case.source.read()
            assert not found.changes and not found.remarks
            case.source.accept(found)


def test_what_is_found_counts_once_it_is_accepted(tmp_path: Path) -> None:
    with running(tmp_path, A) as case:
        for _ in range(2):
            found = case.read(A + B)
            assert [settings.name for settings in found.changes.consoles.added] == ["b"]
        case.source.accept(found)
        assert case.source.configuration is found.configuration
        assert not case.source.read().changes
        assert case.read(B).changes.consoles.removed == ("a",)


def test_a_new_error_refuses_everything_with_its_place(tmp_path: Path) -> None:
    with running(tmp_path, A) as case:
        assert case.refused(B + WRONG) == [f'CONFIG[{case.path}:2]: console [x] device "nonsense" type unrecognized']
        assert len(case.refused(WRONG + A + b"server port=x\n" + B)) == 2
        assert case.read(B).changes  # mended


def test_an_error_of_the_start_is_no_reason(tmp_path: Path) -> None:
    with running(tmp_path, WRONG + A) as case:
        assert case.read(A + B + WRONG).changes.summary == "1 console added"
        assert len(case.refused(A + WRONG + WRONG)) == 1


def test_an_error_that_was_mended_is_a_new_one_when_it_comes_back(tmp_path: Path) -> None:
    with running(tmp_path, WRONG + A) as case:
        case.source.accept(case.read(A))
        assert len(case.refused(WRONG + A)) == 1


def test_new_warnings_are_told_once_and_refuse_nothing(tmp_path: Path) -> None:
    text = A + b'console name="w" dev="test:" log="/w" logopts="zork"\n'
    with running(tmp_path, A) as case:
        found = case.read(text)
        ((level, remark),) = found.remarks
        assert level is LogLevel.WARNING and remark.endswith(":2]: ignoring unrecognized token 'zork'")
        case.source.accept(found)
        assert not case.source.read().remarks


def test_passwords_that_a_reload_would_show_to_everybody_are_remarked_on_once(tmp_path: Path) -> None:
    with running(tmp_path, A) as case:
        case.path.chmod(0o644)
        found = case.read(A + b'console name="i" dev="ipmi:bmc" ipmiopts="U:u,P:hush"\n')
        ((level, remark),) = found.remarks
        assert level is LogLevel.WARNING and remark.startswith("Everybody can read the passwords in")
        case.source.accept(found)
        assert not case.source.read().remarks
        case.path.chmod(0o640)
        case.source.accept(case.source.read())
        case.path.chmod(0o644)
        assert case.source.read().remarks


def test_a_device_that_is_missing_is_no_reason_while_the_file_is_the_same(tmp_path: Path) -> None:
    """What is unplugged while logs are rotated costs neither its console nor a message."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    line = f'console name="p" dev="{program}"\n'.encode()
    with running(tmp_path, A + line) as case:
        program.unlink()
        assert not case.source.read().changes
        assert len(case.refused(A + B + line)) == 1
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert case.source.read().changes.summary == "1 console added"


def test_a_device_that_was_missing_at_the_start_is_found_when_it_is_there(tmp_path: Path) -> None:
    program = tmp_path / "program"
    with running(tmp_path, A + f'console name="p" dev="{program}"\n'.encode()) as case:
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        found = case.source.read()
        assert found.changes.lines == ("Added console [p]",)
        case.source.accept(found)
        assert not case.source.read().changes


@pytest.mark.parametrize("text", [b"", b"# nothing\n", b"server port=1\n"])
def test_a_file_without_consoles_is_refused(tmp_path: Path, text: bytes) -> None:
    with running(tmp_path, A) as case:
        assert case.refused(text) == [f'Configuration "{case.path}" has no consoles defined']


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, A) as case:
        case.path.unlink()
        assert case.refused() == [f'Unable to open "{case.path}": No such file or directory']
        case.path.mkdir()
        assert case.refused() == [f'Unable to read "{case.path}": Is a directory']


def test_a_file_in_use_by_another_daemon_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_use(fd: int, path: str) -> None:
        raise FatalError(f'Configuration "{path}" in use by pid 1')

    with running(tmp_path, A) as case:
        other = tmp_path / "other"
        other.write_bytes(A)
        other.rename(case.path)
        monkeypatch.setattr("conmand.server.configlock.lock_configuration", in_use)
        assert case.refused() == [f'Configuration "{case.path}" in use by pid 1']


def test_our_own_settings_are_read_too_and_can_refuse(tmp_path: Path) -> None:
    with running(tmp_path, A) as case:
        case.settings_path = tmp_path / "settings"
        case.settings_path.write_text("[rotation]\nsize = 1M\n")
        found = case.source.read()
        assert found.changes.applied == ("setting rotation size",)
        case.source.accept(found)
        assert case.source.settings.rotation == RotationSettings(size_bytes=1024 * 1024)
        case.settings_path.write_text("[rotation]\nsize = much\n")
        reasons = case.refused(A + B)
        assert len(reasons) == 2 and reasons[0].startswith("SETTINGS[") and reasons[1].startswith("Unable to use")


def test_settings_of_device_scripts_that_get_lost_are_a_reason_and_old_complaints_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints = ["old"]

    def serve(configuration: Configuration, complain: object, scripts: object = None) -> Configuration:
        assert callable(complain)
        for text in complaints:
            complain(text)
        return configuration

    monkeypatch.setattr(module, "serve_natively", serve)
    with running(tmp_path, A) as case:
        said: List[str] = []
        case.source.serve_natively(said.append)
        assert said == ["old"]
        assert case.read(A + B).changes
        complaints.append("new")
        assert case.refused() == ["new"]
        complaints.clear()
        case.source.accept(case.source.read())
        complaints.append("old")  # it was mended, and is a reason when it comes back
        assert case.refused() == ["old"]
