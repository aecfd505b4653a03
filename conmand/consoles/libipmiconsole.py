"""FreeIPMI's libipmiconsole (``ipmiconsole.h``) as Python sees it. It knows nothing of consoles or of asyncio.

The library runs threads of its own, its engine, that keep serial-over-LAN sessions open. Each session is a context: it
is made, submitted once, calls back once from a thread of the engine when it is established or has failed, passes its
bytes through a descriptor, and is destroyed. What is hard here:

- The engine calls into Python from threads that Python did not make. So there is one callback, which is never freed,
  and all it does is to look up a number; a context destroyed meanwhile is no longer found.
- The engine may hold locks while it calls back. So no call of ours may keep the interpreter's lock (``ctypes.PyDLL``).
- A submission that fails, above all for an unknown name, closes descriptor 0, whatever that is (FreeIPMI 1.6.10). So
  callers pass numeric addresses, and descriptor 0 is made good after every failure.
- A signal in a thread of the engine may make it forget its time-outs (1.6.10: it then polls without any). The kernel
  gives signals to the main thread as long as that takes them; so it must never block any, and only ``wake_engine``
  may send one there.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import os
import resource
import signal
from typing import Callable, Dict, FrozenSet, Iterable, NamedTuple, Optional

from conman.text import encode
from conmand.config.model import IpmiOptions

SONAME = "libipmiconsole.so.2"
PACKAGES = "libipmiconsole2 (Debian) or freeipmi (Fedora, RHEL)"

MAX_THREADS = 32  # IPMICONSOLE_THREAD_COUNT_MAX
CONSOLES_PER_THREAD = 128
"""As ConMan 0.3.1 divides them."""

_DEFAULT_FLAGS = 0xFFFFFFFF
"""The value of IPMICONSOLE_WORKAROUND_DEFAULT, _ENGINE_DEFAULT, _BEHAVIOR_DEFAULT and _DEBUG_DEFAULT alike: it leaves
a setting to libipmiconsole.conf(5), where sites set time-outs and keep-alives for ConMan."""

_DEFAULT_NUMBER = -1


class LibraryError(Exception):
    """The library could not do what was asked; the text is its own reason, in its own words."""


class LibraryMissing(LibraryError):
    """The library is not installed, or cannot be loaded."""


class Status(enum.IntEnum):
    ERROR = -1
    NOT_SUBMITTED = 0
    SUBMITTED = 1
    FAILED = 2
    ESTABLISHED = 3


class _IpmiConfig(ctypes.Structure):
    """``None`` and negative numbers leave a setting to libipmiconsole.conf(5)."""

    _fields_ = [
        ("username", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("k_g", ctypes.c_char_p),
        ("k_g_len", ctypes.c_uint),
        ("privilege_level", ctypes.c_int),
        ("cipher_suite_id", ctypes.c_int),
        ("workaround_flags", ctypes.c_uint),
    ]


class _ProtocolConfig(ctypes.Structure):
    """Times in milliseconds, and counts; 0 leaves each to libipmiconsole.conf(5)."""

    _fields_ = [
        ("session_timeout_len", ctypes.c_int),
        ("retransmission_timeout_len", ctypes.c_int),
        ("retransmission_backoff_count", ctypes.c_int),
        ("keepalive_timeout_len", ctypes.c_int),
        ("retransmission_keepalive_timeout_len", ctypes.c_int),
        ("acceptable_packet_errors_count", ctypes.c_int),
        ("maximum_retransmission_count", ctypes.c_int),
    ]


class _EngineConfig(ctypes.Structure):
    _fields_ = [
        ("engine_flags", ctypes.c_uint),
        ("behavior_flags", ctypes.c_uint),
        ("debug_flags", ctypes.c_uint),
    ]


_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_numbers = itertools.count(1)
_settled: Dict[int, Callable[[], None]] = {}
"""What to call for each context that was submitted and has not called back, by the number it was submitted with."""


def _find_and_call(number: int) -> None:
    """Runs in a thread of the engine."""
    settled = _settled.pop(number, None)
    if settled is not None:
        settled()


_call_settled = _Callback(_find_and_call)


def is_installed() -> bool:
    try:
        ctypes.CDLL(SONAME)
    except OSError:
        return False
    return True


class Library:
    """The library, loaded. Raises ``LibraryMissing``."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(SONAME, use_errno=True)
        except OSError as error:
            raise LibraryMissing(f"cannot load {SONAME}, install {PACKAGES}: {error}") from error
        _declare(self._library)
        self._threads: FrozenSet[int] = frozenset()

    def start_engine(self, threads: int) -> None:
        """Start its threads, once. It reads libipmiconsole.conf(5), and raises the limit of open files to the hard."""
        before = _threads()
        if self._library.ipmiconsole_engine_init(threads, 0):
            raise LibraryError(os.strerror(ctypes.get_errno()))
        self._threads = _threads() - before

    def wake_engine(self) -> None:
        """Have threads that have had nothing to do look for work now, and not when their sleep of 250 ms is over.

        For the first submissions only: see the signals above. While there are more of them, a thread that forgets its
        time-outs is woken by the next. Call it in the main thread.
        """
        _interrupt(self._threads)

    def stop_engine(self) -> None:
        """Close all sessions and end the threads. Blocks until the BMCs have answered, up to 45 s if one is silent."""
        self._library.ipmiconsole_engine_teardown(1)

    def context(
        self, address: str, options: IpmiOptions, protocol_milliseconds: Optional[Dict[str, int]] = None
    ) -> Context:
        """A context for the BMC at a numeric address: ``10.1.2.3``, ``fe80::1%eth0``, ``10.1.2.3:99``, ``[::1]:99``.

        Ports above 32767 are unknown to FreeIPMI 1.6.10 ("hostname invalid"). ``protocol_milliseconds`` sets fields of
        ``ipmiconsole_protocol_config``. Raises ``LibraryError``.
        """
        kg = options.kg or b""
        config = _IpmiConfig(
            options.username,
            options.password,
            options.kg,  # with its length: it may hold NUL bytes
            len(kg),
            _DEFAULT_NUMBER if options.privilege_level is None else options.privilege_level,
            _DEFAULT_NUMBER if options.cipher_suite is None else options.cipher_suite,
            _DEFAULT_FLAGS if options.workarounds is None else options.workarounds,
        )
        protocol = _ProtocolConfig(**(protocol_milliseconds or {}))
        engine = _EngineConfig(_DEFAULT_FLAGS, _DEFAULT_FLAGS, _DEFAULT_FLAGS)
        handle = self._library.ipmiconsole_ctx_create(
            encode(address), ctypes.byref(config), ctypes.byref(protocol), ctypes.byref(engine)
        )
        if not handle:
            raise LibraryError(os.strerror(ctypes.get_errno()))
        return Context(self._library, handle)


class Context:
    """One session, from its making to its end. ``destroy`` it whatever happens, once, after closing its descriptor."""

    __slots__ = ("_library", "_handle", "_number")

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library = library
        self._handle = handle
        self._number = 0

    def submit(self, settled: Callable[[], None]) -> None:
        """Ask the engine for a session. ``settled`` is called in one of its threads when there is one or has failed;
        not at all if this raises ``LibraryError``, or after ``destroy``."""
        self._number = next(_numbers)
        _settled[self._number] = settled
        if self._library.ipmiconsole_engine_submit(self._handle, _call_settled, self._number):
            del _settled[self._number]
            _reopen_descriptor_0()
            raise LibraryError(self.error_text())

    def fd(self) -> int:
        """The blocking socket for its bytes, the caller's to close. It ends when the session has failed or ended."""
        fd = int(self._library.ipmiconsole_ctx_fd(self._handle))
        if fd < 0:
            raise LibraryError(self.error_text())
        return fd

    def status(self) -> Status:
        return Status(self._library.ipmiconsole_ctx_status(self._handle))

    def error_text(self) -> str:
        """The last error in the library's words (``password invalid``); ``success`` if there was none."""
        text: bytes = self._library.ipmiconsole_ctx_errormsg(self._handle)
        return text.decode("ascii", "replace")

    def generate_break(self) -> bool:
        return bool(self._library.ipmiconsole_ctx_generate_break(self._handle) == 0)

    def destroy(self) -> None:
        """Returns at once; the engine closes the session with the BMC in its own time."""
        _settled.pop(self._number, None)
        self._library.ipmiconsole_ctx_destroy(self._handle)


class Started(NamedTuple):
    """The engine, which exists once in a process; or the reason why there is none."""

    library: Optional[Library]
    threads: int
    problem: str = ""


def start(threads: int, *, keep_file_limit: bool, load: Callable[[], Library] = Library) -> Started:
    """Load the library and start its engine. Never raises: see ``problem``.

    The library raises the limit of open files as far as it goes; ``keep_file_limit`` undoes that, where the
    configuration sets the limit.
    """
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        library = load()
        library.start_engine(threads)
    except LibraryError as error:
        return Started(None, threads, str(error))
    if keep_file_limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    return Started(library, threads)


def threads_for(consoles: int) -> int:
    return min(MAX_THREADS, -(-consoles // CONSOLES_PER_THREAD))


def _declare(library: ctypes.CDLL) -> None:
    """Types of the functions: without them a pointer would be cut to an ``int``."""
    context, number, flags = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint
    signatures = {
        "engine_init": (number, [flags, flags]),
        "engine_submit": (number, [context, _Callback, ctypes.c_void_p]),
        "engine_teardown": (None, [number]),
        "ctx_create": (
            context,
            [
                ctypes.c_char_p,
                ctypes.POINTER(_IpmiConfig),
                ctypes.POINTER(_ProtocolConfig),
                ctypes.POINTER(_EngineConfig),
            ],
        ),
        "ctx_errormsg": (ctypes.c_char_p, [context]),
        "ctx_status": (number, [context]),
        "ctx_fd": (number, [context]),
        "ctx_generate_break": (number, [context]),
        "ctx_destroy": (None, [context]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"ipmiconsole_{name}")
        function.restype, function.argtypes = result, arguments


def _reopen_descriptor_0() -> None:
    """Put ``/dev/null`` where the library has closed: the next failure would close whatever was opened there."""
    try:
        os.fstat(0)
    except OSError:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd:
            os.dup2(fd, 0)
            os.close(fd)


_tgkill = getattr(ctypes.CDLL(None), "tgkill", None)
"""glibc's from 2.30 on; without it nobody is interrupted."""


def _threads() -> FrozenSet[int]:
    """The kernel's numbers of this process's threads; none where ``/proc`` cannot be seen."""
    try:
        return frozenset(map(int, os.listdir("/proc/self/task")))
    except OSError:
        return frozenset()


def _interrupt(threads: Iterable[int]) -> None:
    """End the sleep of each. A set*id call would interrupt them too, but waits for every thread of the process, and one
    that opens a file on a dead server does not answer."""
    if _tgkill is None:
        return
    # A handler that does nothing: a signal that is ignored, as this one is otherwise, ends no sleep.
    signal.signal(signal.SIGURG, lambda _number, _frame: None)
    for thread in threads:
        _tgkill(os.getpid(), thread, signal.SIGURG)
