# SPDX-License-Identifier: Apache-2.0
"""One virtual machine, from start to end: without KVM, so that it runs inside virtual machines and containers, too."""
import dataclasses
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

import initramfs
from errors import VmError

QEMU = "qemu-system-x86_64"
CPUS = 2
MEMORY_MIB = 2048
# tsc=reliable: software emulation derives every CPU's time stamp counter from one clock, but does not say so, and each look at another clock would
# leave the emulated code. softlockup_panic=1: one way in which the fault below ends.
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 tsc=reliable softlockup_panic=1"
# Before QEMU 8.1 (commit deba78709ae8; Debian 12 has 7.2) one emulated CPU may keep a breakpoint that another has already taken out of the kernel's
# code, as happens whenever a tracepoint is switched on or off. The kernel then meets a breakpoint that nobody owns, or a CPU meets it for ever.
# Switching tracepoints by hand, without any BPF, does the same. The latter may also look like a machine that is never done, with nothing on its
# console. What is no accident happens in each attempt and is not hidden.
EMULATOR_FAULT = re.compile(r"int3: 0000 \[#|Kernel panic - not syncing: softlockup")
ATTEMPTS = 3
CONSOLE_LINES_SHOWN = 40


@dataclasses.dataclass(frozen=True)
class Outcome:
    # The program's.
    exit_status: int
    # What program and kernel wrote to the console.
    console: str


def run(kernel, command, files, out, timeout_s, live=False):
    """Runs `command` on `kernel` and puts the files that it left in $OUT into the folder `out`. `live` shows the console meanwhile.
    Where the emulator broke the kernel it begins anew. The machine is gone when this returns or raises, and when this process is killed."""
    for attempts_left in reversed(range(ATTEMPTS)):
        with tempfile.TemporaryDirectory(prefix="stallscope-vm-") as temporary:
            work = pathlib.Path(temporary)
            try:
                return run_once(kernel, command, files, pathlib.Path(out), timeout_s, live, work)
            except VmError as error:
                stuck = isinstance(error.__cause__, subprocess.TimeoutExpired)
                if attempts_left == 0 or not (stuck or EMULATOR_FAULT.search(console(work))):
                    raise
        print(f"The emulator broke Linux {kernel.release}, or it was not done in time (see EMULATOR_FAULT in lab/vm/machine.py); again", file=sys.stderr)


def run_once(kernel, command, files, out, timeout_s, live, work):
    (work / "initramfs").write_bytes(initramfs.build(kernel, command, files))
    try:
        subprocess.run(machine(kernel, work), stdin=subprocess.DEVNULL, stdout=None if live else subprocess.DEVNULL, timeout=timeout_s,
                       check=True)
    except FileNotFoundError:
        raise VmError("start", QEMU, "it is not installed", "Install the Debian package qemu-system-x86.") from None
    except subprocess.TimeoutExpired as expired:
        raise failed(kernel, work, f"it was not done after {timeout_s} s and was killed") from expired
    except subprocess.CalledProcessError as error:
        raise failed(kernel, work, f"{QEMU} ended with status {error.returncode}") from None
    if not (work / "result").stat().st_size:
        raise failed(kernel, work, "it ended without a result")
    try:
        return Outcome(receive(work, out), console(work))
    except (OSError, ValueError, tarfile.TarError) as error:
        raise failed(kernel, work, f"its result is damaged ({error})") from None


def machine(kernel, work):
    return ["setpriv", "--pdeathsig", "KILL", QEMU, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(CPUS), "-m", str(MEMORY_MIB),
            "-nodefaults", "-display", "none", "-no-reboot",
            "-chardev", f"stdio,id=console,signal=off,logfile={work}/console", "-serial", "chardev:console",
            "-serial", f"file:{work}/result",
            "-kernel", str(kernel.image), "-initrd", str(work / "initramfs"), "-append", KERNEL_ARGUMENTS]


def receive(work, out):
    with tarfile.open(work / "result") as tar:
        tar.extractall(work / "received", filter="data")
    status = int((work / "received" / "status").read_text())
    out.mkdir(parents=True, exist_ok=True)
    for file in (work / "received" / "out").iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return status


def console(work):
    try:
        return (work / "console").read_text(errors="replace").replace("\r\n", "\n")
    except FileNotFoundError:
        return ""


def failed(kernel, work, reason):
    lines = console(work).rstrip().splitlines()[-CONSOLE_LINES_SHOWN:]
    return VmError("run", f"Linux {kernel.release} in a virtual machine", reason, "The end of its console:\n  " + "\n  ".join(lines))
