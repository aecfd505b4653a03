"""From the command line to a running daemon, in the order of conmand(8), "start-up"; and ``-k``, ``-q``, ``-r``.

Up to the moment the daemon is ready everything is synchronous: no threads, no event loop, so that forking is safe and a
failure can be told to the shell that waits.

What the running daemon needs, asyncio and all of ``conmand.server``, is imported late, by ``serve``. It takes as long
as everything before it, and there is something to be waited for meanwhile: libipmiconsole's threads sleep for 250 ms
before they look for work the first time.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, List, Mapping, Optional, Sequence, TypedDict, Union

from conman import __version__
from conman.text import decode
from conmand.config import settings_file
from conmand.config.errors import no_consoles_defined
from conmand.config.grammar import parse_configuration
from conmand.config.model import Configuration, IpmiDevice, LogLevel, ProcessDevice
from conmand.config.remarks import remarks
from conmand.config.settings import DaemonSettings
from conmand.errors import FatalError, reason
from conmand.server import configlock, listening, pidfile, process_setup
from conmand.server.daemonlog import DaemonLog, format_line, open_log
from conmand.server.workers import plan

if TYPE_CHECKING:
    from conmand.consoles.libipmiconsole import Started
    from conmand.server.daemon import Daemon
    from conmand.server.reload import Source


REPLACED_RECENTLY_SECONDS = 3.0
REPLACED_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 0.02
"""A configuration that has changed in the last seconds may have been replaced: its daemon hears of that by the kernel
and moves its lock to the new file, within milliseconds. So long we look for it, and so often."""


@dataclass(frozen=True)
class StartOptions:
    """The command line. ``port`` and ``pidfile`` are ``None`` where it leaves them to the file."""

    config: str
    foreground: bool = False
    port: Optional[int] = None
    pidfile: Optional[str] = None
    verbose: bool = False
    truncate_logs: bool = False
    settings: Optional[str] = None  # our own settings file; None: the default one, which need not exist
    workers: Union[int, str, None] = None


class DeviceScripts(TypedDict):
    """What ``parse_configuration`` wants to know of our own device scripts."""

    script_dirs: Sequence[str]
    stand_ins: Mapping[str, str]


def device_scripts() -> DeviceScripts:
    """Where our device scripts are installed, and for which of the original's they can stand in."""
    try:
        from conman_exec import PROGRAMS, script_directory
    except ImportError:  # packaged apart, and not installed
        return {"script_dirs": (), "stand_ins": {}}
    directory = script_directory()
    return {"script_dirs": () if directory is None else (directory,), "stand_ins": PROGRAMS}


def signal_daemon(options: StartOptions, number: int) -> int:
    """``-k`` and ``-r``, and with ``number`` 0 ``-q``: send a signal to the daemon of this configuration.

    Returns the exit status. Raises ``FatalError`` if there is no such daemon.
    """
    pid = _daemon_pid(options)
    problem = f'Configuration "{options.config}" does not appear to be active'
    if not pid or pid <= 1:
        raise FatalError(problem)
    if number == signal.SIGHUP and options.verbose:
        outcome = _answered_reload(options, pid)
        if outcome is not None:
            return outcome
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise FatalError(problem) from None
    except PermissionError as error:
        if number:
            raise FatalError(
                f'Configuration "{options.config}" (pid {pid}) cannot be sent signal={number}: {reason(error)}'
            ) from error
    if not number:
        print(pid)
    elif options.verbose:
        _tell_signalled(options, pid, "terminated" if number == signal.SIGTERM else "reconfigured", number)
    return 0


def _tell_signalled(options: StartOptions, pid: int, action: str, number: int) -> None:
    print(f'Configuration "{options.config}" (pid {pid}) {action} on signal={int(number)}', file=sys.stderr)


def _answered_reload(options: StartOptions, pid: int) -> Optional[int]:
    """``-r -v``: have the daemon reload, and tell what came of it. ``None`` if it gives no answers: the original."""
    from conmand.server.control import request_reload

    try:
        outcome = request_reload(pid)
    except OSError as error:
        raise FatalError(f'Configuration "{options.config}" (pid {pid}) gave no answer: {reason(error)}') from error
    if outcome is None:
        return None
    if outcome.is_done:
        _tell_signalled(options, pid, "reconfigured", signal.SIGHUP)
        for line in outcome.lines:
            print(line, file=sys.stderr)
        return 0
    for line in outcome.lines:
        os.write(2, format_line(LogLevel.ERROR, line))
    return 1


def _daemon_pid(options: StartOptions) -> Optional[int]:
    """The pid of the daemon that has the configuration in use; one that was just replaced is given a moment to."""
    fd = configlock.open_configuration(options.config)
    try:
        pid = configlock.daemon_pid(fd) or _pid_from_files(options, fd, DaemonLog())
        patience = REPLACED_SECONDS if time.time() - os.fstat(fd).st_ctime < REPLACED_RECENTLY_SECONDS else 0.0
        while not pid and patience > 0:
            time.sleep(LOOK_AGAIN_SECONDS)
            patience -= LOOK_AGAIN_SECONDS
            pid = configlock.daemon_pid(fd)
        return pid
    finally:
        os.close(fd)


def _pid_from_files(options: StartOptions, fd: int, log: DaemonLog) -> Optional[int]:
    """The pid in the ``-P`` file, else (ours, errata E5) in the configuration's own ``server pidfile``."""
    cwd = os.getcwd()
    configured = parse_configuration(
        configlock.read_configuration(fd, options.config), options.config, cwd=cwd, pidfile=options.pidfile
    ).server.pidfile
    if configured is None:
        return None
    warnings: List[str] = []
    pid = pidfile.read_pid(configured, warnings)
    for warning in warnings:
        log.warning(warning)
    return pid


def start(options: StartOptions) -> int:
    """Run the daemon until it ends; in the background, the shell's process leaves inside. Returns the exit status.

    Raises ``FatalError`` for what prevents the start; the message has then been reported.
    """
    startup = _Startup(options)
    try:
        startup.prepare()
    except FatalError as error:
        startup.failed(error)
        raise
    return startup.serve()


class _Startup:
    """The steps of conmand(8), "start-up", and what each leaves for the next."""

    def __init__(self, options: StartOptions) -> None:
        self._options = options
        process_setup.open_standard_files()
        self._service_manager = process_setup.ServiceManager()
        self._directory = decode(os.getcwdb())
        self._log = DaemonLog()
        self._pid_file = pidfile.PidFile(None)
        self._listening: List[listening.ListeningSocket] = []
        self._activated = listening.take_activated(os.environ)
        self._starter = process_setup.Starter() if options.foreground else process_setup.detach()

    def prepare(self) -> None:
        self._configuration = self._read_configuration()
        self._server = self._configuration.server
        self._settings = self._read_settings()
        self._pid_file = pidfile.PidFile(self._server.pidfile)
        process_setup.hold_signals()
        self._warn(self._pid_file.write())
        process_setup.set_core_limit(self._server.coredump)
        process_setup.clean_environment()
        time.tzset()
        if not self._configuration.consoles:
            raise FatalError(no_consoles_defined(self._options.config))
        # Before the shell is told that all is well (errata E17), and before anything that needs the descriptors.
        file_limit = process_setup.set_file_limit(self._server.nofile)
        self._ipmi = self._start_ipmi()
        if self._options.verbose:
            sys.stderr.write(summary(self._configuration, self._options))
            sys.stderr.flush()
        self._listening = listening.open_listening(
            self._server, self._settings.listen, self._activated, warn=self._log.warning
        )
        self._log.level = self._server.loglevel
        if not self._options.foreground:
            self._leave_terminal()
        self._log.notice(f"Starting ConMan daemon {__version__} (pid {os.getpid()})")
        for one in self._listening:
            if one.announcement is not None:
                self._log.info(one.announcement)
        if self._activated and self._options.port is not None:
            port = self._options.port
            self._log.warning(f"Port {port} is not listened on: the service manager's sockets take its place")
        if file_limit is not None:
            self._log.info(f"Open file limit set to {file_limit}")
        for remark in remarks(self._configuration, self._file.mode(), self._settings):
            self._log.warning(remark)
        if not self._options.foreground:
            self._leave_directory()
            process_setup.redirect_standard_files()
        self._starter.ready()

    def failed(self, error: FatalError) -> None:
        for one in self._listening:
            one.close()
        complaint = self._pid_file.remove()  # a daemon that never ran is not to be found (errata A6)
        self._warn(complaint)
        self._log.error(str(error))
        if not self._log.on_stderr:
            self._starter.failed(decode(format_line(LogLevel.ERROR, str(error)).rstrip(b"\n")))

    def _start_ipmi(self) -> Optional[Started]:
        """Start libipmiconsole's engine, if this process will own IPMI consoles and it is known how many.

        After the fork and with signals on hold, so that its threads take none. Nothing is sent yet.
        """
        devices = [settings.device for settings in self._configuration.consoles]
        consoles = sum(isinstance(device, IpmiDevice) for device in devices)
        scripts = any(isinstance(device, ProcessDevice) for device in devices)  # may become IPMI consoles
        if not consoles or scripts or self._workers(len(devices)) > 1:
            return None
        from conmand.consoles import libipmiconsole

        threads = libipmiconsole.threads_for(consoles)
        return libipmiconsole.start(threads, keep_file_limit=self._server.nofile != 0)

    def _workers(self, consoles: int) -> int:
        return plan.count(self._settings.workers, consoles, len(os.sched_getaffinity(0)))

    def serve(self) -> int:
        from conmand.server.daemon import Daemon
        from conmand.server.site import SiteOptions

        faulthandler.enable(self._log.fileno() or 2, all_threads=False)
        daemon = Daemon(
            self._source(),
            SiteOptions(
                foreground=self._options.foreground,
                truncate_logs=self._options.truncate_logs,
                settings=self._settings,
                ipmi=self._ipmi,
            ),
            listening=self._listening,
            daemon_log=self._log,
            pid_file=self._pid_file,
            service_manager=self._service_manager,
        )
        status = self._run(daemon)
        self._file.close()
        if threading.active_count() > 1:
            # A name server or file server that never answers holds a thread; it must not hold the daemon's end too.
            os._exit(status)
        return status

    def _run(self, daemon: Daemon) -> int:
        import asyncio

        from conmand.server.ending import end_tasks

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(daemon.run())
        except Exception:
            for line in traceback.format_exc().splitlines():
                self._log.error(line)
            self._warn(self._pid_file.remove())
            return 1
        # A child that ends while the loop closes must not have its signal written to the loop's closed pipe.
        signal.set_wakeup_fd(-1)
        # Nor must a second request to end, which the loop has no handler for any more, make it a death by signal.
        process_setup.hold_signals()
        end_tasks(loop)
        loop.close()
        return 0

    def _read_configuration(self) -> Configuration:
        path = self._options.config
        # Stays open, and is the only descriptor of the file that this process ever opens: the lock hangs on it.
        fd = configlock.open_configuration(path)
        self._file = configlock.LockedFile(fd, path, self._directory)
        self._text = configlock.read_configuration(fd, path)
        self._warn(configlock.lock_configuration(fd, path))
        configuration = self._parse(self._text)
        for problem in configuration.problems:
            self._log.write(problem.level, str(problem))
        return configuration

    def _parse(self, text: bytes) -> Configuration:
        return parse_configuration(
            text,
            self._options.config,
            cwd=self._directory,
            port=self._options.port,
            pidfile=self._options.pidfile,
            **device_scripts(),
        )

    def _read_settings(self) -> DaemonSettings:
        try:
            return self._load_settings()
        except settings_file.SettingsError as error:
            for problem in error.problems:
                self._log.error(str(problem))
            raise FatalError(str(error)) from error

    def _load_settings(self) -> DaemonSettings:
        settings = settings_file.load(self._options.settings)
        workers = self._options.workers
        return settings if workers is None else replace(settings, workers=workers)

    def _source(self) -> Source:
        """What the daemon reloads from, in the same way as we have read it."""
        from conmand.server.reload import Source

        text, self._text = self._text, b""
        return Source(self._file, text, self._parse, self._load_settings, self._configuration, self._settings)

    def _warn(self, complaint: Optional[str]) -> None:
        if complaint is not None:
            self._log.warning(complaint)

    def _leave_terminal(self) -> None:
        """Move the messages from standard error to syslog and the log file."""
        from conmand.server.daemon import daemon_log_path

        opened = None
        if self._server.logfile is not None:
            opened = open_log(daemon_log_path(self._server.logfile), truncate=self._options.truncate_logs)
            if opened.complaint is not None:
                self._log.warning(opened.complaint)  # while somebody can see it
        self._log.detach_from_terminal()
        if self._server.syslog is not None:
            self._log.start_syslog(self._server.syslog)
        if opened is not None:
            self._log.adopt(opened)

    def _leave_directory(self) -> None:
        """Keep no file system busy; a core is written to the working directory."""
        try:
            os.chdir((self._server.coredumpdir or self._directory) if self._server.coredump else "/")
        except OSError as error:
            self._log.error(f'Unable to change directory to coredumpdir "{self._server.coredumpdir}": {reason(error)}')
            os.chdir("/")


def summary(configuration: Configuration, options: StartOptions) -> str:
    """What ``-v`` prints at the start, with the empty line after it."""
    server = configuration.server
    enabled = {
        "CoreDump": server.coredump,
        "KeepAlive": server.keepalive,
        "LogFile": server.logfile is not None,
        "LoopBack": server.loopback,
        "ResetCmd": server.resetcmd is not None,
        "SysLog": server.syslog is not None,
        "TCP-Wrappers": server.tcpwrappers,
        f"TimeStamp={server.timestamp_minutes}m": server.timestamp_minutes > 0,
        "ZeroLogs": options.truncate_logs,
    }
    names = [name for name, is_enabled in enabled.items() if is_enabled] or ["None"]
    count = len(configuration.consoles)
    return (
        f"Configuration: {configuration.path}\n"
        f"Options: {' '.join(names)}\n"
        f"Monitoring {count} console{'' if count == 1 else 's'}\n\n"
    )
