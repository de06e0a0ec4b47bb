# SPDX-License-Identifier: Apache-2.0
"""The kernel's own accounts of BPF programs (how often each ran and for how long), and what to compare them with."""
import ctypes
import errno
import json
import os
import pathlib
import subprocess

# include/uapi/linux/bpf.h
BPF_PROG_LOAD = 5
BPF_RAW_TRACEPOINT_OPEN = 17
BPF_ENABLE_STATS = 32
BPF_STATS_RUN_TIME = 0
BPF_PROG_TYPE_RAW_TRACEPOINT = 17
# include/uapi/linux/perf_event.h
PERF_TYPE_SOFTWARE = 1
PERF_COUNT_SW_CPU_CLOCK = 0
PERF_FLAG_FD_CLOEXEC = 8
PERF_ATTR_SIZE = 112
# x86_64
SYS_BPF = 321
SYS_PERF_EVENT_OPEN = 298

_libc = ctypes.CDLL(None, use_errno=True)


def _system_call(what, *arguments):
    result = _libc.syscall(*arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def _bpf(command, attributes, what):
    buffer = ctypes.create_string_buffer(attributes, 128)
    return _system_call(what, SYS_BPF, command, buffer, len(buffer))


def _u64(*values):
    return b"".join(value.to_bytes(8, "little") for value in values)


def _u32(*values):
    return b"".join(value.to_bytes(4, "little") for value in values)


class RunTimeStatistics:
    """Makes the kernel count while it is entered. It ends with the file descriptor, so with this process whatever ends it."""

    def __enter__(self):
        self.fd = _bpf(BPF_ENABLE_STATS, _u32(BPF_STATS_RUN_TIME), "count the runs of BPF programs (Linux 5.8)")
        return self

    def __exit__(self, *_):
        os.close(self.fd)


class EmptyProgram:
    """A program that does nothing, on a tracepoint that fires often. What the kernel counts for it is what counting costs."""

    # r0 = 0; exit
    INSTRUCTIONS = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])

    def __init__(self, tracepoint):
        self.tracepoint = tracepoint

    def __enter__(self):
        instructions = ctypes.create_string_buffer(self.INSTRUCTIONS)
        licence = ctypes.create_string_buffer(b"Dual BSD/GPL")
        count = len(self.INSTRUCTIONS) // 8
        load = _u32(BPF_PROG_TYPE_RAW_TRACEPOINT, count) + _u64(ctypes.addressof(instructions), ctypes.addressof(licence))
        self.program = _bpf(BPF_PROG_LOAD, load, "load an empty program")
        name = ctypes.create_string_buffer(self.tracepoint.encode())
        try:
            self.link = _bpf(BPF_RAW_TRACEPOINT_OPEN, _u64(ctypes.addressof(name)) + _u32(self.program),
                             f"attach an empty program to {self.tracepoint}")
        except OSError:
            os.close(self.program)
            raise
        return self

    def __exit__(self, *_):
        os.close(self.link)
        os.close(self.program)

    def account(self):
        return Account.of_descriptor(os.getpid(), self.program)


class CpuClock:
    """A perf event that interrupts a CPU at a steady rate, as the tracer's does, and has no program."""

    def __init__(self, cpu, period_ns):
        self.cpu = cpu
        self.period_ns = period_ns

    def __enter__(self):
        attributes = ctypes.create_string_buffer(
            _u32(PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE) + _u64(PERF_COUNT_SW_CPU_CLOCK, self.period_ns), PERF_ATTR_SIZE)
        every_task, no_group = -1, -1
        self.fd = _system_call(f"open the clock of CPU {self.cpu}", SYS_PERF_EVENT_OPEN, attributes, every_task, self.cpu, no_group,
                               PERF_FLAG_FD_CLOEXEC)
        return self

    def __exit__(self, *_):
        os.close(self.fd)


class Account:
    """How often a program ran, and for how long in all."""

    def __init__(self, runs, time_ns):
        self.runs = runs
        self.time_ns = time_ns

    def __sub__(self, other):
        return Account(self.runs - other.runs, self.time_ns - other.time_ns)

    @staticmethod
    def of_descriptor(pid, descriptor):
        fields = _descriptor_fields(pid, descriptor)
        return Account(int(fields["run_cnt"]), int(fields["run_time_ns"]))


def _descriptor_fields(pid, descriptor):
    lines = pathlib.Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().splitlines()
    return dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)


class Programs:
    """The BPF programs that a process holds, by name."""

    def __init__(self, pid):
        self.pid = pid
        self.descriptors = {}
        names = self._names()
        for descriptor in sorted(map(int, os.listdir(f"/proc/{pid}/fd"))):
            try:
                fields = _descriptor_fields(pid, descriptor)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
                continue
            if "run_cnt" in fields:
                self.descriptors.setdefault(names[int(fields["prog_id"])], descriptor)

    @staticmethod
    def _names():
        listing = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True, check=True)
        return {program["id"]: program.get("name", f"program {program['id']}") for program in json.loads(listing.stdout)}

    def accounts(self):
        return {name: Account.of_descriptor(self.pid, descriptor) for name, descriptor in self.descriptors.items()}
