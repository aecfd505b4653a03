"""The binding: what reaches the library, over a pretended one; and what only the real one can show."""

from __future__ import annotations

import ctypes
import errno
import resource
import signal
import subprocess
import sys
import threading
from typing import Any, Dict, List

import pytest

from conmand.config.model import IpmiOptions
from conmand.consoles import libipmiconsole
from conmand.consoles.libipmiconsole import (
    SONAME,
    Library,
    LibraryError,
    LibraryMissing,
    Started,
    Status,
    is_installed,
    start,
    threads_for,
)
from tests.fakes.daemons import environment
from tests.fakes.peers import installed_library

DEFAULT = 0xFFFFFFFF
_usleep = ctypes.CDLL(None).usleep


class Function:
    """One function of a pretended library: records its arguments, returns ``result``."""

    def __init__(self, result: object = 0) -> None:
        self.result = result
        self.calls: List[Any] = []
        self.restype: Any = None
        self.argtypes: List[Any] = []

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        return self.result


class FakeCDLL:
    def __init__(self, _name: str, use_errno: bool = False) -> None:
        results = {"ctx_create": 7, "ctx_errormsg": b"password invalid", "ctx_fd": 9, "ctx_status": 3}
        self.functions: Dict[str, Function] = {}
        for name in ("engine_init", "engine_submit", "engine_teardown", "ctx_generate_break", "ctx_destroy", *results):
            self.functions[name] = Function(results.get(name, 0))
            setattr(self, f"ipmiconsole_{name}", self.functions[name])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCDLL:
    library = FakeCDLL("")
    monkeypatch.setattr(libipmiconsole.ctypes, "CDLL", lambda name, use_errno=False: library)
    return library


def configuration(fake: FakeCDLL, options: IpmiOptions, **protocol: int) -> Any:
    Library().context("127.0.0.1", options, protocol)
    ((_host, ipmi, *_rest),) = fake.functions["ctx_create"].calls
    return ipmi._obj


def test_an_engine_that_does_not_start_is_a_problem_told(fake: FakeCDLL) -> None:
    fake.functions["engine_init"].result = -1
    ctypes.set_errno(errno.EMFILE)
    assert start(1, keep_file_limit=False) == Started(None, 1, "Too many open files")


@pytest.mark.parametrize("keep", [True, False])
def test_the_librarys_limit_of_open_files_is_kept_only_where_none_is_configured(keep: bool) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    class Raising(Library):
        def __init__(self) -> None: ...

        def start_engine(self, threads: int) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        assert start(3, keep_file_limit=keep, load=Raising).threads == 3
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == (soft - 1 if keep else soft)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("consoles, threads", [(1, 1), (128, 1), (129, 2), (1000, 8), (4096, 32), (9000, 32)])
def test_a_thread_serves_128_consoles(consoles: int, threads: int) -> None:
    assert threads_for(consoles) == threads


def test_what_is_not_configured_is_left_to_the_librarys_configuration(fake: FakeCDLL) -> None:
    ipmi = configuration(fake, IpmiOptions())
    assert (ipmi.username, ipmi.password, ipmi.k_g, ipmi.k_g_len) == (None, None, None, 0)
    assert (ipmi.privilege_level, ipmi.cipher_suite_id, ipmi.workaround_flags) == (-1, -1, DEFAULT)
    ((host, _ipmi, protocol, engine),) = fake.functions["ctx_create"].calls
    assert host == b"127.0.0.1"
    assert bytes(protocol._obj) == bytes(7 * 4)
    assert bytes(engine._obj) == b"\xff" * 12


def test_all_options_reach_the_library_and_a_k_g_keeps_its_nul_bytes(fake: FakeCDLL) -> None:
    kg = b"k\0g\0\0"
    ipmi = configuration(fake, IpmiOptions(b"admin", b"secret", kg, 0, 0, 0))
    assert (ipmi.username, ipmi.password, ipmi.k_g_len) == (b"admin", b"secret", 5)
    pointer = ctypes.cast(ctypes.addressof(ipmi) + type(ipmi).k_g.offset, ctypes.POINTER(ctypes.c_void_p))
    assert ctypes.string_at(pointer[0], ipmi.k_g_len) == kg
    assert (ipmi.privilege_level, ipmi.cipher_suite_id, ipmi.workaround_flags) == (0, 0, 0)
    assert "secret" not in repr(ipmi)


def test_protocol_times_can_be_set_by_name(fake: FakeCDLL) -> None:
    configuration(fake, IpmiOptions(), session_timeout_len=1000)
    ((_host, _ipmi, protocol, _engine),) = fake.functions["ctx_create"].calls
    assert protocol._obj.session_timeout_len == 1000


def test_the_engines_call_reaches_the_one_who_submitted_and_nobody_after_destroy(fake: FakeCDLL) -> None:
    library = Library()
    called: List[str] = []
    first, second = (library.context("127.0.0.1", IpmiOptions()) for _ in range(2))
    first.submit(lambda: called.append("first"))
    second.submit(lambda: called.append("second"))
    second.destroy()
    for _context, callback, number in fake.functions["engine_submit"].calls:
        callback(number)
        callback(number)  # the library promises to call once; twice does no harm either
    assert called == ["first"]
    assert first.status() is Status.ESTABLISHED
    assert first.fd() == 9
    assert first.generate_break()
    first.destroy()
    assert fake.functions["ctx_destroy"].calls == [(7,), (7,)]


def test_failures_are_told_in_the_librarys_words(fake: FakeCDLL) -> None:
    library = Library()
    context = library.context("127.0.0.1", IpmiOptions())
    fake.functions["engine_submit"].result = -1
    with pytest.raises(LibraryError, match="^password invalid$"):
        context.submit(lambda: None)
    fake.functions["ctx_fd"].result = -1
    with pytest.raises(LibraryError, match="^password invalid$"):
        context.fd()
    fake.functions["ctx_generate_break"].result = -1
    assert not context.generate_break()
    fake.functions["ctx_create"].result = None
    ctypes.set_errno(24)
    with pytest.raises(LibraryError, match="^Too many open files$"):
        library.context("127.0.0.1", IpmiOptions())
    fake.functions["engine_init"].result = -1
    ctypes.set_errno(12)
    with pytest.raises(LibraryError, match="^Cannot allocate memory$"):
        library.start_engine(1)
    context.destroy()


class Sleeper(threading.Thread):
    """Sleeps as a thread of the library does, until it is interrupted."""

    def __init__(self, name: str, ended: List[str]) -> None:
        super().__init__(name=name, daemon=True)
        self._ended = ended
        self.start()

    def run(self) -> None:
        _usleep(100_000_000)
        self._ended.append(self.name)


def test_waking_the_engine_ends_the_sleep_of_its_threads_and_of_no_others(fake: FakeCDLL) -> None:
    ended: List[str] = []
    begun: List[Sleeper] = []

    class Start(Function):
        def __call__(self, *arguments: Any) -> int:
            begun.extend(Sleeper(f"engine {number}", ended) for number in range(arguments[0]))
            return 0

    vars(fake)["ipmiconsole_engine_init"] = Start()
    bystander = Sleeper("bystander", ended)
    before = signal.getsignal(signal.SIGURG)
    try:
        library = Library()
        library.start_engine(2)
        for sleeper in begun:
            while sleeper.is_alive():  # it may not sleep yet
                library.wake_engine()
                sleeper.join(0.01)
        assert sorted(ended) == ["engine 0", "engine 1"]
        while bystander.is_alive():
            libipmiconsole._interrupt([bystander.native_id or 0])
            bystander.join(0.01)
    finally:
        signal.signal(signal.SIGURG, before)


def test_a_missing_library_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libipmiconsole, "SONAME", "libnothing.so.9")
    assert not is_installed()
    with pytest.raises(LibraryMissing, match=r"cannot load libnothing\.so\.9, install libipmiconsole2 \(Debian\)"):
        Library()


def test_every_function_exists_in_the_real_library() -> None:
    installed_library(SONAME)
    Library()


_UNKNOWN_NAME = """\
import os
from conmand.config.model import IpmiOptions
from conmand.consoles.libipmiconsole import Library, LibraryError
library = Library()
library.start_engine(1)
context = library.context("1.2.3.4.5", IpmiOptions())
try:
    context.submit(lambda: None)
except LibraryError as error:
    os.fstat(0)
    print(error)
context.destroy()
library.stop_engine()
"""


def test_descriptor_0_survives_an_unknown_name() -> None:
    """FreeIPMI 1.6.10 closes it. In a process of its own: the engine has threads."""
    installed_library(SONAME)
    done = subprocess.run(
        [sys.executable, "-c", _UNKNOWN_NAME],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout == b"hostname invalid\n"
