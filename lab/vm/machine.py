# SPDX-License-Identifier: Apache-2.0
"""One virtual machine, from start to end: without KVM, so that it runs inside virtual machines and containers, too."""
import dataclasses
import pathlib
import subprocess
import tarfile
import tempfile

import initramfs
from errors import VmError

QEMU = "qemu-system-x86_64"
CPUS = 2
MEMORY_MIB = 2048
# tsc=reliable: software emulation derives every CPU's time stamp counter from one clock, but does not say so, and each look at another clock would
# leave the emulated code.
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 tsc=reliable"
CONSOLE_LINES_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Outcome:
    # The program's.
    exit_status: int
    # What program and kernel wrote to the console.
    console: str


def run(kernel, command, files, out, timeout_s, live=False):
    """Runs `command` on `kernel` and puts the files that it left in $OUT into the folder `out`. `live` shows the console meanwhile.
    The machine is gone when this returns or raises, and when this process is killed."""
    with tempfile.TemporaryDirectory(prefix="stallscope-vm-") as temporary:
        work = pathlib.Path(temporary)
        (work / "initramfs").write_bytes(initramfs.build(kernel, command, files))
        try:
            subprocess.run(machine(kernel, work), stdin=subprocess.DEVNULL, stdout=None if live else subprocess.DEVNULL,
                           timeout=timeout_s, check=True)
        except FileNotFoundError:
            raise VmError("start", QEMU, "it is not installed", "Install the Debian package qemu-system-x86.") from None
        except subprocess.TimeoutExpired:
            raise failed(kernel, work, f"it was not done after {timeout_s} s and was killed") from None
        except subprocess.CalledProcessError as error:
            raise failed(kernel, work, f"{QEMU} ended with status {error.returncode}") from None
        try:
            status = receive(work, pathlib.Path(out))
        except (OSError, tarfile.TarError) as error:
            raise failed(kernel, work, f"it ended without a result ({error})") from None
        return Outcome(status, console(work))


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
