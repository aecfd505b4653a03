"""What may happen to IPMI consoles, with time-outs short enough to wait for."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
from pathlib import Path
from typing import Optional

from tests.fakes.bmc import Bmc
from tests.fakes.bmc_fleet import IPMIOPTS, dev, fleet
from tests.fakes.daemons import OURS, WORKERS
from tests.fakes.peers import installed_library, installed_program
from tests.fakes.sites import Site

SHORT = {
    "conmand.consoles.ipmi_engine.PROTOCOL_MILLISECONDS": {
        "session_timeout_len": 2500,
        "retransmission_timeout_len": 200,
        "retransmission_backoff_count": 20,
        "keepalive_timeout_len": 500,
        "retransmission_keepalive_timeout_len": 200,
        "maximum_retransmission_count": 5,
    }
}


IMPATIENT = {"conmand.consoles.ipmi_engine.STOP_SECONDS": 1}


def ours(directory: Path) -> Site:
    installed_library("libipmiconsole.so.2")
    return Site(OURS, directory)


def config(**consoles: str) -> str:
    """Logged consoles by name and ``dev`` string, and one beside them that is to suffer from nothing."""
    lines = [f'console name="{name}" dev="{device}"' for name, device in consoles.items()]
    return "\n".join(['server logdir="DIR"', f'global log="%N.log" ipmiopts="{IPMIOPTS}"', *lines, ""])


def test_a_bmc_that_falls_silent_or_loses_its_power_comes_back(tmp_path: Path) -> None:
    with ours(tmp_path) as site:
        silent, off, well = (site.use(Bmc(tmp_path)) for _ in range(3))
        site.start(config(silent=dev(silent), off=dev(off), well=dev(well)), constants=SHORT)
        for name in ("silent", "off", "well"):
            site.daemon.wait_for(f"Console [{name}] connected")
        silent.stop()
        off.power_off()
        for name in ("silent", "off"):
            site.daemon.wait_for("IPMI session with <", f"for [{name}] ended: session timeout")
            site.daemon.wait_for(f"Console [{name}] disconnected")
            site.daemon.wait_for(f"via IPMI for [{name}]: connection timeout")
        silent.cont()
        off.power_on()
        for name, bmc in (("silent", silent), ("off", off)):
            site.session(f"MONITOR CONSOLE='{name}'\n".encode())  # does not wait for the delay
            site.daemon.wait_for(f"Console [{name}] connected", count=2)
            bmc.node.send(b"I am back")
            site.read_with(f"{name}.log", b"I am back")
        well.node.send(b"what happened?")
        site.read_with("well.log", b"what happened?")
        assert site.daemon.count("[well]") == 1


def test_neither_a_large_paste_nor_a_reader_that_is_behind_ends_the_session(tmp_path: Path) -> None:
    with ours(tmp_path) as site:
        bmc = site.use(Bmc(tmp_path))
        # The simulator answers a repeated packet such that the session is lost: none is to be, on a busy machine.
        patient = {"conmand.consoles.ipmi_engine.PROTOCOL_MILLISECONDS": {"retransmission_timeout_len": 20_000}}
        site.start(config(n1=dev(bmc)), constants={**patient, "conmand.consoles.ipmi.BYTES_PER_SECOND": 4800.0})
        site.daemon.wait_for("Console [n1] connected")
        behind = site.session(b"MONITOR CONSOLE='n1'\n")  # and never reads
        typing = site.session(b"CONNECT CONSOLE='n1'\n")
        paste = b"".join(b"%07d\n" % number for number in range(2048))
        typing.send(paste)
        bmc.node.wait_for(paste[-8:])
        assert paste in bmc.node.received
        flood = b"".join(b"%07d%s\r\n" % (number, b"." * 91) for number in range(5_000))
        for start in range(0, len(flood), 50_000):  # a BMC is slower; more than 200 KB have no room in the library
            bmc.node.send(flood[start : start + 50_000])
            site.read_with("n1.log", flood[start + 49_900 : start + 50_000])
        assert flood in site.path("n1.log").read_bytes()
        assert site.daemon.count("[n1] disconnected") == 0
        behind.close()


def test_a_session_that_somebody_takes_over_is_taken_back(tmp_path: Path) -> None:
    """The simulator does not tell the victim, who learns of it when a key is not acknowledged."""
    with ours(tmp_path) as site:
        bmc = site.use(Bmc(tmp_path))
        site.start(config(n1=dev(bmc)), constants=SHORT)
        site.daemon.wait_for("Console [n1] connected")
        bmc.ipmitool("sol", "deactivate")
        client = site.session(b"CONNECT CONSOLE='n1'\n")
        client.send(b"key")
        client.receive_until(b"Console [n1] disconnected from <")
        site.daemon.wait_for("IPMI session with <", "for [n1] ended: excess retransmissions sent")
        client.receive_until(b"Console [n1] connected to <")
        client.send(b"\r")
        bmc.node.wait_for(b"\r")


def test_a_console_that_the_simulator_crashes_on_says_why(tmp_path: Path) -> None:
    """ipmi_sim dies of a question that ``W:solchannelsupport`` leaves out."""
    with ours(tmp_path) as site:
        bmc, well = site.use(Bmc(tmp_path)), site.use(Bmc(tmp_path))
        options = "U:admin,P:password,W:opensesspriv,W:solpayloadsize"
        site.start(
            f'console name="n1" dev="{dev(bmc)}" ipmiopts="{options}"\n' + config(well=dev(well)), constants=SHORT
        )
        site.daemon.wait_for("Console [well] connected")
        site.daemon.wait_for("Unable to connect to <", "via IPMI for [n1]: excess retransmissions sent")


class Babbler:
    """A host that answers every packet on its port with nonsense: random, cut, echoed."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.answered = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        chance = random.Random(1)
        while True:
            packet, sender = self._socket.recvfrom(2048)
            if packet == b"end":
                return
            header = packet[:4]
            for answer in (packet, packet[: chance.randrange(len(packet))], header + chance.randbytes(20), b""):
                self._socket.sendto(answer, sender)
            self.answered.set()

    def __enter__(self) -> Babbler:
        return self

    def __exit__(self, *_failure: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


def test_a_bmc_that_answers_nonsense_harms_only_its_console(tmp_path: Path) -> None:
    with ours(tmp_path) as site:
        well = site.use(Bmc(tmp_path))
        port = unused_port("127.0.0.1")
        babbler = site.use(Babbler("127.0.0.1", port))
        site.start(config(n1=f"ipmi:127.0.0.1:{port}", well=dev(well)), constants=SHORT)
        site.daemon.wait_for("Unable to connect to <127.0.0.1:", "via IPMI for [n1]: ")
        assert babbler.answered.is_set()
        site.daemon.wait_for("Console [well] connected")
        well.node.send(b"all is well")
        site.read_with("well.log", b"all is well")


def test_the_end_of_the_daemon_does_not_wait_long_for_a_silent_bmc(tmp_path: Path) -> None:
    with ours(tmp_path) as site:
        silent, well = site.use(Bmc(tmp_path)), site.use(Bmc(tmp_path))
        site.start(
            config(silent=dev(silent), well=dev(well)), constants={"conmand.consoles.ipmi_engine.STOP_SECONDS": 1}
        )
        site.daemon.wait_for("Console [silent] connected")
        site.daemon.wait_for("Console [well] connected")
        silent.stop()
        assert site.daemon.stop() == 0
        site.daemon.wait_for("WARNING", "Some BMCs did not confirm the end of their sessions")
        assert not well.is_active


def test_a_daemon_that_stops_while_it_connects_ends_in_order(tmp_path: Path) -> None:
    with ours(tmp_path) as site:
        bmc = site.use(Bmc(tmp_path))
        bmc.stop()
        site.start(config(n1=dev(bmc), nobody="ipmi:no-such-host.invalid"))
        site.daemon.wait_for("via IPMI for [nobody]: hostname invalid")
        assert site.daemon.stop() == 0
        assert site.daemon.count("[n1]") == 0


def test_unknown_hosts_cost_no_descriptor(tmp_path: Path) -> None:
    """In the original, through a fault in FreeIPMI, each costs one, whose ever that is: a log, the client port."""
    with ours(tmp_path) as site:
        unknown = {f"n{number}": f"ipmi:nobody{number}.invalid" for number in range(5)}
        site.start(config(**unknown, digits="ipmi:1.2.3.4.5", port="ipmi:127.0.0.1:40000"))
        for name in (*unknown, "digits", "port"):
            site.daemon.wait_for(f"via IPMI for [{name}]: hostname invalid")
            site.read_with(f"{name}.log", b"log opened")
        assert os.readlink(f"/proc/{site.daemon.pid}/fd/0") == os.devnull
        assert len(site.ask(b"QUERY\n").split()) == 8


def test_an_ipv6_bmc_is_reached(tmp_path: Path) -> None:
    with ours(tmp_path) as site:
        bmc = Bmc(tmp_path, host="::1")
        bmc.port = unused_port("::1")
        site.use(bmc)
        site.start(config(n1=dev(bmc)))
        site.daemon.wait_for(f"Console [n1] connected to <[::1]:{bmc.port}>")
        bmc.node.send(b"six")
        site.read_with("n1.log", b"six")


def test_without_the_library_only_these_consoles_are_down(tmp_path: Path) -> None:
    constants = {"conmand.consoles.libipmiconsole.SONAME": "libnothing.so.9"}
    with Site(OURS, tmp_path) as site:
        peer = site.unix_peer()
        site.start(config(n1="ipmi:127.0.0.1", u="unix:DIR/u.sock"), constants=constants)
        complaint = "cannot load libnothing.so.9, install libipmiconsole2 (Debian) or freeipmi (Fedora, RHEL)"
        site.daemon.wait_for(f"ERROR:     Unable to start IPMI SOL engine: {complaint}")
        site.daemon.wait_for(f"Unable to connect to <127.0.0.1> via IPMI for [n1]: {complaint}")
        client = site.session(b"CONNECT CONSOLE='n1'\n")
        client.receive_until(b"currently disconnected from <127.0.0.1>.\r\n")
        client.receive_until(complaint.encode())
        peer.accept()
        peer.send(b"up")
        site.read_with("u.log", b"up")


def test_a_configured_limit_of_open_files_is_kept(tmp_path: Path) -> None:
    with ours(tmp_path) as site:
        site.start("server nofile=500\n" + config(n1="ipmi:nobody.invalid"))
        site.daemon.wait_for("IPMI SOL engine started with 1 thread for 1 console")
        limits = Path(f"/proc/{site.daemon.pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3] == "500"


def test_secrets_are_in_no_log(tmp_path: Path) -> None:
    with ours(tmp_path) as site:
        bmc, other = (site.use(Bmc(tmp_path, password="Unguessable9", kg="Unspeakable9")) for _ in range(2))
        good = "U:admin,P:Unguessable9,K:Unspeakable9,W:opensesspriv,W:solchannelsupport,W:solpayloadsize"
        bad = good.replace("Unspeakable9", "Unheard9")
        site.start(
            f'server logdir="DIR" logfile="conmand.log,debug"\nglobal log="%N.log"\n'
            f'console name="good" dev="{dev(bmc)}" ipmiopts="{good}"\n'
            f'console name="bad" dev="{dev(other)}" ipmiopts="{bad}"\n'
        )
        site.daemon.wait_for("Console [good] connected")
        site.daemon.wait_for("via IPMI for [bad]: k_g invalid")
        site.daemon.stop()
        logged = "\n".join(site.daemon.lines) + site.path("good.log").read_text() + site.path("bad.log").read_text()
        assert not [secret for secret in ("Unguessable9", "Unspeakable9", "Unheard9") if secret in logged]


def test_two_hundred_bmcs_are_up_together(tmp_path: Path) -> None:
    installed_program("ipmi_sim")
    with ours(tmp_path) as site:
        bmcs = site.use(fleet(tmp_path / "bmcs", 200))
        site.start(config(**{f"n{number}": dev(bmc) for number, bmc in enumerate(bmcs.bmcs)}))
        site.daemon.wait_for("IPMI SOL engine started with", "" if WORKERS else "2 threads for 200 consoles")
        site.daemon.wait_for("] connected to <", count=200)
        bmcs.nodes.send(b"one line\r\n")
        for number in range(200):
            site.read_with(f"n{number}.log", b"one line\r\n")
        site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_for("Performing reconfig")
        bmcs.nodes.send(b"another line\r\n")
        for number in range(200):
            site.read_with(f"n{number}.log", b"another line\r\n")
        assert site.daemon.count("disconnected") == 0


def unused_port(host: str) -> int:
    """A UDP port that was free a moment ago, below those that FreeIPMI cannot take (1.6.10: above 32767)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found: Optional[int] = None
    while found is None:
        port = random.SystemRandom().randrange(10000, 32768)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found = port
    return found
