"""From the original to ours and back, with packages: nothing of the site's may be lost on the way."""

from __future__ import annotations

import stat
from typing import List

from tests.fakes.rpm_root import RpmRoot
from tests.packaging.conftest import COMPAT, OURS, Packages

SITE = 'console name="n1" dev="test:"\n'


def ours(packages: Packages) -> List[object]:
    return [packages[name] for name in OURS]


def site_with_the_original(machine: RpmRoot, packages: Packages) -> None:
    machine.install(packages["conman"])
    machine.path("/etc/conman.conf").write_text(SITE)
    machine.path("/etc/conman.pswd").write_text("bmc1 : admin : secret\n")
    machine.path("/var/log/conman/n1.log").write_text("written by root\n")


def owner_and_mode(machine: RpmRoot, path: str) -> str:
    return machine.run("stat", "--format=%U:%G %a", path).stdout.strip()


def test_the_daemon_can_be_looked_at_beside_the_original(machine: RpmRoot, packages: Packages) -> None:
    site_with_the_original(machine, packages)
    machine.install(*ours(packages))
    assert "Problems: 0 errors" in machine.run("conmand-py", "--check", "/etc/conman.conf").stdout
    assert machine.path("/usr/sbin/conmand").read_text() == "original\n"
    assert machine.rpm("--verify", "conman", check=False).stdout.split("\n")[0].endswith(" c /etc/conman.conf")


def test_what_the_original_wrote_as_root_is_the_daemon_s(machine: RpmRoot, packages: Packages) -> None:
    site_with_the_original(machine, packages)
    machine.install(*ours(packages))
    assert owner_and_mode(machine, "/etc/conman.conf") == "root:conman 640"
    assert owner_and_mode(machine, "/etc/conman.pswd") == "root:conman 640"
    assert owner_and_mode(machine, "/var/log/conman/n1.log") == "conman:conman 644"


def test_the_original_s_names_are_refused_while_it_is_installed(machine: RpmRoot, packages: Packages) -> None:
    site_with_the_original(machine, packages)
    machine.install(*ours(packages))
    done = machine.rpm("--install", machine.bring(packages[COMPAT]), check=False)
    assert done.returncode != 0 and "conman conflicts with conman-py-compat" in done.stdout


def test_a_site_moves_and_moves_back_with_its_files(machine: RpmRoot, packages: Packages) -> None:
    site_with_the_original(machine, packages)
    machine.install(*ours(packages))

    machine.swap("conman", packages[COMPAT])
    assert machine.path("/etc/conman.conf").read_text() == SITE
    assert "conman-py" in machine.run("conman", "-L").stdout
    assert "ExecStart=/usr/sbin/conmand" in machine.path("/usr/lib/systemd/system/conman.service").read_text()
    assert machine.rpm("--query", "--whatprovides", "conman").stdout.startswith(COMPAT)

    machine.swap(COMPAT, packages["conman"])
    assert machine.path("/etc/conman.conf").read_text() == SITE
    assert machine.path("/usr/bin/conman").read_text() == "original\n"
    assert machine.path("/etc/conman.pswd").exists() and machine.path("/var/log/conman/n1.log").exists()


def test_a_new_site_gets_a_configuration_that_others_cannot_read(machine: RpmRoot, packages: Packages) -> None:
    machine.install(*ours(packages))
    assert owner_and_mode(machine, "/etc/conman.conf") == "root:conman 640"
    assert owner_and_mode(machine, "/var/log/conman") == "conman:conman 755"


def test_the_site_s_files_outlive_the_packages(machine: RpmRoot, packages: Packages) -> None:
    machine.install(*ours(packages))
    machine.path("/etc/conman.conf").write_text(SITE)
    machine.path("/etc/conman.pswd").write_text("")
    machine.path("/var/log/conman/n1.log").write_text("")
    machine.rpm("--erase", *OURS)
    assert not machine.path("/usr/bin/conmand-py").exists()
    assert machine.path("/etc/conman.conf").read_text() == SITE
    assert machine.path("/etc/conman.pswd").exists() and machine.path("/var/log/conman/n1.log").exists()


def test_settings_that_were_changed_are_kept_in_an_upgrade(machine: RpmRoot, packages: Packages) -> None:
    machine.install(*ours(packages))
    changed = ["/etc/conmand-py.conf", "/etc/conman-exec.conf", "/etc/sysconfig/conmand-py", "/etc/conman.conf"]
    for path in [*changed, "/etc/logrotate.d/conman-py-daemon"]:
        machine.path(path).write_text("# changed\n")
    machine.rpm("--upgrade", "--force", *(machine.bring(packages[name]) for name in OURS))
    for path in [*changed, "/etc/logrotate.d/conman-py-daemon"]:
        assert machine.path(path).read_text() == "# changed\n"


def test_files_of_a_site_are_made_readable_for_the_daemon_at_each_start(machine: RpmRoot, packages: Packages) -> None:
    machine.install(*ours(packages))
    machine.path("/etc/conman/second.conf").write_text(SITE)
    machine.path("/var/log/conman/old").mkdir()
    machine.path("/var/log/conman/old/n1.log").write_text("")
    machine.run("systemd-tmpfiles", "--create", "conman-py.conf")
    assert owner_and_mode(machine, "/etc/conman/second.conf") == "root:conman 640"
    assert owner_and_mode(machine, "/var/log/conman/old/n1.log") == "conman:conman 644"
    assert stat.S_IMODE(machine.path("/etc/conman").stat().st_mode) == 0o750


def test_the_user_is_the_same_whoever_makes_it(machine: RpmRoot, packages: Packages) -> None:
    """rpm's scriptlet, before rpm 4.19, or systemd-sysusers."""
    machine.install(*ours(packages))
    made_by_rpm = machine.run("getent", "passwd", "conman").stdout
    machine.run("userdel", "conman")
    machine.run("systemd-sysusers", "conman-py.conf")
    made_by_systemd = machine.run("getent", "passwd", "conman").stdout
    assert made_by_rpm.split(":")[4:] == made_by_systemd.split(":")[4:]
    assert made_by_rpm.split(":")[4:] == ["ConMan-compatible console manager", "/var/lib/conman", "/usr/sbin/nologin\n"]
