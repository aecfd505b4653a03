from __future__ import annotations

import pytest

from conman import conmen


def settings(*arguments: str) -> conmen.Settings:
    found = conmen.Settings(["client"])
    assert conmen._parse("conmen-py", arguments, found) is None
    return found


def test_what_the_clients_are_told() -> None:
    found = settings("-d", "h:1", "-e!", "-r", "a,b", "-j", "c")
    assert found.single("x") == ["client", "-d", "h:1", "-e", "!", "-Q", "-j", "--", "x"]
    assert found.broadcast() == ["client", "-d", "h:1", "-e", "!", "-r", "-b", "-j", "--", "a", "b", "c"]


def test_monitoring_is_the_default() -> None:
    assert settings("n1").single("n1") == ["client", "-Q", "-m", "--", "n1"]


@pytest.mark.parametrize("arguments", [["-fj"], ["-m", "-f"], ["-d"], ["-x"]])
def test_misuse(arguments: list[str]) -> None:
    with pytest.raises(conmen._Misuse):
        settings(*arguments)


def test_help_shows_what_is_in_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONMAN_ESCAPE", "\x03")
    text = conmen._parse("/usr/bin/conmen-py", ["-d", "h", "-h"], conmen.Settings(["client"]))
    assert text is not None
    assert text.startswith("Usage: conmen-py [OPTIONS] [CONSOLES]\n")
    assert "[h:7890]" in text
    assert "[^C]" in text
