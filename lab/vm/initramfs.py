# SPDX-License-Identifier: Apache-2.0
"""What the virtual machine finds in its memory when it starts: a shell, ip(8), the kernel's modules, and the job."""
import glob
import os
import pathlib
import re
import shlex
import shutil
import stat
import subprocess

from errors import VmError

# The program's exit status and the files it left in $OUT come back as a compressed tar over the second serial port. /sbin comes first: its ip(8)
# is not busybox's.
INIT = """#!/bin/busybox sh
set -e
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /proc /run /sys /tmp /var/tmp /result/out
ln -s /run /var/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for place in /dev/shm /run /tmp; do mount -t tmpfs tmpfs $place; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo +memory +cpu >/sys/fs/cgroup/cgroup.subtree_control
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
hostname stallscope-vm
while read -r module; do insmod "/modules/$module"; done </modules/order
ip link set lo up
cd /job
set +e
OUT=/result/out PATH=/sbin:/bin HOME=/tmp sh /command
echo $? >/result/status
stty -F /dev/ttyS1 raw
tar -C /result -cz . >/dev/ttyS1
dmesg -n 1
poweroff -f
"""
ROOT_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
PACKET_FILTERS = ("nft", "iptables-legacy-restore")
# What iptables loads for a rule that only jumps.
PACKET_FILTER_PLUGINS = "/usr/lib/*/xtables/libxt_standard.so"
NO_IP = "Install the Debian package iproute2."


class Cpio:
    """An archive in the format "newc" (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel)."""

    def __init__(self):
        self._parts = []
        self._names = set()

    def add_file(self, name, content, executable=False):
        if name in self._names:
            return  # a library of two programs
        self._add_parents(name)
        self._add(name, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def finish(self):
        self._add("TRAILER!!!", 0, b"")
        return b"".join(self._parts)

    def _add_parents(self, name):
        for parent in reversed(pathlib.PurePath(name).parents):
            if str(parent) not in (".", *self._names):
                self._add(str(parent), stat.S_IFDIR | 0o755, b"")

    def _add(self, name, mode, content):
        self._names.add(name)
        encoded = name.encode() + b"\0"
        inode = len(self._names)
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (header + encoded, content):
            self._parts.append(part + b"\0" * (-len(part) % 4))


def build(kernel, command, files):
    """The archive for one run of `command` in a folder that holds `files`; the first word of the command may be one of them."""
    archive = Cpio()
    archive.add_file("init", INIT.encode(), executable=True)
    archive.add_file("bin/busybox", read("/bin/busybox", "Install the Debian package busybox-static."), executable=True)
    add_with_libraries(archive, "sbin/ip", find_ip())
    # For faults only: without them a fault says what is missing.
    for name in PACKET_FILTERS:
        if path := shutil.which(name, path=ROOT_PATH):
            add_with_libraries(archive, f"sbin/{name}", path)
    for plugin in glob.glob(PACKET_FILTER_PLUGINS):
        archive.add_file(plugin.lstrip("/"), read(plugin, "Install the Debian package iptables."))
    archive.add_file("modules/order", b"".join(module.name.encode() + b"\n" for module in kernel.modules))
    for module in kernel.modules:
        archive.add_file(f"modules/{module.name}", module.read_bytes())
    archive.add_file("command", (shlex.join(command) + "\n").encode())
    for file in files:
        archive.add_file(f"job/{file.name}", read(file, "Give the path of a file."), os.access(file, os.X_OK))
    return archive.finish()


def find_ip():
    # Not busybox's: that one knows no namespaces and no number of queues.
    path = shutil.which("ip", path=ROOT_PATH)
    return path or "/usr/sbin/ip"


def add_with_libraries(archive, name, path):
    archive.add_file(name, read(path, NO_IP), executable=True)
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+) \(0x", listed):
        archive.add_file(library.lstrip("/"), read(library, NO_IP), executable=True)


def read(path, next_step):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise VmError("read", path, error.strerror, next_step) from None
