"""What the pretend nodes say: boot, shutdown, chatter, SysRq answers. Nothing but tables, shaped as Linux prints them.

``{name}`` is the node's name and ``{number}`` its number; texts with other braces are not formatted.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

KERNEL = "5.14.0-427.demo.x86_64"
SYSTEM = "Example Linux 9.4 (Console)"
PASSWORD = "demo"

# Seconds after the line before, and the line.
FIRMWARE: List[Tuple[float, str]] = [
    (0.3, "Example Firmware v2.14  Copyright (C) 2024 Example Systems"),
    (0.2, "BIOS Date: 02/29/2024 12:00:00  Ver: 2.14.1  Node: {name}"),
    (0.2, "CPU: 2 x Example 8-Core Processor @ 2.40GHz, Speed: 2400 MHz"),
    (0.6, "Memory test: 65536 MB OK"),
    (0.3, "PCIe enumeration ... done"),
    (0.2, "BMC: 10.0.0.{number}  SOL: ttyS0 115200n8"),
    (0.5, "Booting from Hard Disk 0 ..."),
    (0.2, ""),
    (0.2, "GRUB loading."),
    (0.2, "Welcome to GRUB!"),
    (0.2, ""),
    (0.5, f"  Booting `{SYSTEM}, kernel {KERNEL}'"),
    (0.2, ""),
]

# Seconds since the kernel started, and what it logs then.
KERNEL_BOOT: List[Tuple[float, str]] = [
    (0.000000, f"Linux version {KERNEL} (build@example) (gcc 11.4.1, GNU ld 2.35.2) #1 SMP PREEMPT_DYNAMIC"),
    (0.000000, f"Command line: BOOT_IMAGE=(hd0,gpt2)/vmlinuz-{KERNEL} root=/dev/mapper/vg0-root ro "
               "console=tty0 console=ttyS0,115200n8"),
    (0.000000, "x86/fpu: Supporting XSAVE feature 0x001: 'x87 floating point registers'"),
    (0.000000, "BIOS-provided physical RAM map:"),
    (0.000000, "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable"),
    (0.000000, "BIOS-e820: [mem 0x0000000000100000-0x000000007ffdbfff] usable"),
    (0.000000, "BIOS-e820: [mem 0x0000000100000000-0x000000107fffffff] usable"),
    (0.000000, "DMI: Example Systems ES-1042/X11DPT, BIOS 2.14.1 02/29/2024"),
    (0.000006, "tsc: Detected 2400.000 MHz processor"),
    (0.012043, "Memory: 65312188K/67108324K available (14336K kernel code, 5602K rwdata, 9844K rodata)"),
    (0.019276, "SLUB: HWalign=64, Order=0-3, MinObjects=0, CPUs=16, Nodes=2"),
    (0.034515, "printk: console [tty0] enabled"),
    (0.061207, "printk: console [ttyS0] enabled"),
    (0.105713, "smpboot: CPU0: Example 8-Core Processor @ 2.40GHz (family: 0x6, model: 0x55, stepping: 0x7)"),
    (0.241936, "smp: Brought up 2 nodes, 16 CPUs"),
    (0.318420, "PCI: Using configuration type 1 for base access"),
    (0.402117, "NET: Registered PF_INET6 protocol family"),
    (0.611054, "Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled"),
    (0.632809, "00:04: ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A"),
    (0.874410, "ahci 0000:00:17.0: AHCI 0001.0301 32 slots 8 ports 6 Gbps 0xff impl SATA mode"),
    (1.203377, "ata1.00: ATA-10: EXAMPLE SSD 480GB, XC31, max UDMA/133"),
    (1.207914, "sd 0:0:0:0: [sda] 937703088 512-byte logical blocks: (480 GB/447 GiB)"),
    (1.223045, " sda: sda1 sda2 sda3"),
    (1.408862, "ixgbe 0000:3b:00.0 eth0: Example 10 Gigabit Network Connection, 02:00:00:00:00:0{number}"),
    (1.602118, "Run /init as init process"),
    (1.844907, "systemd[1]: systemd 252 running in system mode"),
    (1.851266, "systemd[1]: Hostname set to <{name}>."),
    (2.208441, "EXT4-fs (dm-0): mounted filesystem with ordered data mode. Quota mode: none."),
]

# Seconds after the line before, and what systemd prints.
SERVICES: List[Tuple[float, str]] = [
    (0.2, "[  OK  ] Reached target Local File Systems."),
    (0.1, "         Starting Create Volatile Files and Directories..."),
    (0.2, "[  OK  ] Finished Create Volatile Files and Directories."),
    (0.2, "[  OK  ] Reached target System Initialization."),
    (0.1, "[  OK  ] Listening on D-Bus System Message Bus Socket."),
    (0.2, "         Starting Network Manager..."),
    (0.4, "[  OK  ] Started Network Manager."),
    (0.1, "[  OK  ] Reached target Network."),
    (0.1, "         Starting OpenSSH server daemon..."),
    (0.1, "         Starting Batch node daemon..."),
    (0.3, "[  OK  ] Started OpenSSH server daemon."),
    (0.3, "[  OK  ] Started Batch node daemon."),
    (0.1, "[  OK  ] Started Serial Getty on ttyS0."),
    (0.1, "[  OK  ] Reached target Multi-User System."),
    (0.3, ""),
]

SHUTDOWN: List[Tuple[float, str]] = [
    (0.2, "[  OK  ] Stopped target Multi-User System."),
    (0.1, "         Stopping Batch node daemon..."),
    (0.1, "         Stopping OpenSSH server daemon..."),
    (0.2, "[  OK  ] Stopped OpenSSH server daemon."),
    (0.4, "[  OK  ] Stopped Batch node daemon."),
    (0.2, "[  OK  ] Unmounted /scratch."),
    (0.2, "[  OK  ] Reached target System Shutdown."),
]

BANNER = f"{SYSTEM}\r\nKernel {KERNEL} on an x86_64\r\n\r\n"

CHATTER = [
    "ixgbe 0000:3b:00.0 eth0: NIC Link is Up 10 Gbps, Flow Control: RX/TX",
    "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x3f2a41 offset:0x2c0 "
    "grain:32 syndrome:0x0)",
    "mce: [Hardware Error]: Machine check events logged",
    "nfs: server storage1 not responding, still trying",
    "nfs: server storage1 OK",
    "ixgbe 0000:3b:00.0 eth0: NIC Link is Down",
    "perf: interrupt took too long (2511 > 2500), lowering kernel.perf_event_max_sample_rate to 79000",
    "python3[20417]: segfault at 0 ip 00007f3d1c2b4a10 sp 00007ffd5a1e0c38 error 4 in libsolver.so[7f3d1c29e000+3f000]",
    "CPU5: Core temperature above threshold, cpu clock throttled (total events = 1)",
    "CPU5: Core temperature/speed normal",
]

SYSRQ_HELP = (
    "sysrq: HELP : loglevel(0-9) reboot(b) crash(c) terminate-all-tasks(e) memory-full-oom-kill(f) "
    "show-memory-usage(m) sync(s) show-task-states(t) unmount(u) show-blocked-tasks(w)"
)

# SysRq key -> what the kernel logs for it. Those that do more, b and c, are the node's business.
SYSRQ: Dict[str, List[str]] = {
    "h": [SYSRQ_HELP],
    "m": [
        "sysrq: Show Memory",
        "Mem-Info:",
        "active_anon:18322 inactive_anon:402117 isolated_anon:0",
        " active_file:221806 inactive_file:1093318 isolated_file:0",
        " unevictable:0 dirty:214 writeback:0",
        " slab_reclaimable:84410 slab_unreclaimable:41277",
        " mapped:96255 shmem:20981 pagetables:5122 bounce:0",
        " free:14381924 free_pcp:1402 free_cma:0",
        "Node 0 Normal free:28116324kB min:45056kB low:78032kB high:111008kB present:33554432kB managed:32828072kB",
        "Node 1 Normal free:29411372kB min:45056kB low:78080kB high:111104kB present:33554432kB managed:33026756kB",
        "1336148 total pagecache pages",
        "0 pages in swap cache",
        "Free swap  = 8388604kB",
        "16777081 pages RAM",
    ],
    "s": ["sysrq: Emergency Sync", "Emergency Sync complete"],
    "t": [
        "sysrq: Show State",
        "task:systemd         state:S stack:    0 pid:    1 ppid:     0 flags:0x00000002",
        "Call Trace:",
        " <TASK>",
        " __schedule+0x20a/0x550",
        " schedule+0x2d/0x70",
        " schedule_hrtimeout_range_clock+0x128/0x130",
        " ep_poll+0x33a/0x390",
        " do_epoll_wait+0xb4/0xe0",
        " do_syscall_64+0x5c/0x90",
        " entry_SYSCALL_64_after_hwframe+0x72/0xdc",
        " </TASK>",
        "task:kthreadd        state:S stack:    0 pid:    2 ppid:     0 flags:0x00004000",
        "Call Trace:",
        " <TASK>",
        " __schedule+0x20a/0x550",
        " schedule+0x2d/0x70",
        " kthreadd+0x2c2/0x310",
        " ret_from_fork+0x1f/0x30",
        " </TASK>",
        "task:batchd          state:D stack:    0 pid: 1312 ppid:     1 flags:0x00000000",
        "Call Trace:",
        " <TASK>",
        " __schedule+0x20a/0x550",
        " schedule+0x2d/0x70",
        " rpc_wait_bit_killable+0x11/0x70 [sunrpc]",
        " nfs4_call_sync_sequence+0x6a/0xa0 [nfsv4]",
        " vfs_statx+0x83/0x140",
        " do_syscall_64+0x5c/0x90",
        " entry_SYSCALL_64_after_hwframe+0x72/0xdc",
        " </TASK>",
    ],
    "u": [
        "sysrq: Emergency Remount R/O",
        "EXT4-fs (dm-0): re-mounted. Quota mode: none.",
        "Emergency Remount complete",
    ],
    "w": [
        "sysrq: Show Blocked State",
        "task:batchd          state:D stack:    0 pid: 1312 ppid:     1 flags:0x00000000",
        "Call Trace:",
        " <TASK>",
        " __schedule+0x20a/0x550",
        " rpc_wait_bit_killable+0x11/0x70 [sunrpc]",
        " do_syscall_64+0x5c/0x90",
        " </TASK>",
    ],
}

SYSRQ_RESET = "sysrq: Resetting"

PANIC = [
    "sysrq: Trigger a crash",
    "BUG: kernel NULL pointer dereference, address: 0000000000000000",
    "#PF: supervisor write access in kernel mode",
    "#PF: error_code(0x0002) - not-present page",
    "PGD 0 P4D 0",
    "Oops: 0002 [#1] PREEMPT SMP PTI",
    f"CPU: 3 PID: 20981 Comm: bash Kdump: loaded Not tainted {KERNEL} #1",
    "Hardware name: Example Systems ES-1042/X11DPT, BIOS 2.14.1 02/29/2024",
    "RIP: 0010:sysrq_handle_crash+0x16/0x20",
    "Code: 4c 89 e7 e8 dd f9 ff ff 0f 1f 44 00 00 c7 05 1c 3a 6e 01 01 00 00 00 0f ae f8 <c6> 04 25 00 00 00 00 01 c3",
    "RSP: 0018:ffffa9e3c0f57e58 EFLAGS: 00010282",
    "RAX: ffffffff9b1d0b80 RBX: 0000000000000063 RCX: 0000000000000000",
    "RDX: 0000000000000000 RSI: ffff8f4a5fade7c8 RDI: 0000000000000063",
    "CR2: 0000000000000000 CR3: 0000000105b6c003 CR4: 00000000007706e0",
    "Call Trace:",
    " <TASK>",
    " __handle_sysrq.cold+0x48/0xaf",
    " write_sysrq_trigger+0x28/0x40",
    " proc_reg_write+0x3b/0x80",
    " vfs_write+0xb9/0x270",
    " ksys_write+0x4f/0xc0",
    " do_syscall_64+0x5c/0x90",
    " entry_SYSCALL_64_after_hwframe+0x72/0xdc",
    " </TASK>",
    "Modules linked in: nfsv4 nfs lockd grace sunrpc ipmi_si ipmi_devintf ipmi_msghandler ixgbe mdio ext4 mbcache jbd2",
    "---[ end trace 0000000000000000 ]---",
    "Kernel panic - not syncing: Fatal exception",
    "Kernel Offset: 0x19a00000 from 0xffffffff81000000 (relocation range: 0xffffffff80000000-0xffffffffbfffffff)",
    "Rebooting in 10 seconds..",
]
PANIC_SECONDS = 10.0
