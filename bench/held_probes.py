#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Probes through stalls of a known length, and asks of each tool whether it tells the truth of every packet.

usage: held_probes.py STALLSCOPE [--count N] [--rate N] [--hold SECONDS] [--every SECONDS] [--tool NAME]... [--json FILE]

The far end is a program behind a TAP device, which answers ICMP echo and, for --hold out of --every seconds, reads nothing: requests wait in
the device's queue, as in a receive queue whose CPU is held. The truth of each probe is what tcpdump saw on that device: the kernel's
time stamps of request and reply. Of the tools, stallscope, hping3 and fping (those that are installed) are each asked for as many
probes at the same rate, one after the other.

Needs root; happens in a network namespace of its own, which ends with it. Nothing passes or fails.
"""

import argparse
import collections
import fcntl
import json
import os
import re
import select
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

HERE, FAR = "10.9.0.1", "10.9.0.2"
DEVICE = "held0"
# linux/if_tun.h
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
FAR_MAC = bytes.fromhex("020000000902")
# More than the prober takes for itself, less than anything that was held: what a tool may be off by.
TOLERANCE_S = 0.001
HELD_S = 0.01
# Any more packets than can wait while the far end reads nothing.
QUEUE_PACKETS = 200_000


def run(command):
    subprocess.run(command, check=True, capture_output=True, text=True)


# ---- the far end ------------------------------------------------------------------------------------------------------------------

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def answer_to(frame):
    """The reply to an ARP or ICMP echo request, nothing to anything else."""
    kind = frame[12:14]
    if kind == b"\x08\x06" and frame[20:22] == b"\0\1":
        return frame[6:12] + FAR_MAC + frame[12:20] + b"\0\2" + FAR_MAC + frame[38:42] + frame[22:32]
    if kind == b"\x08\x00" and frame[14] == 0x45 and frame[23] == 1 and frame[34] == 8:
        # A changed type changes the checksum by as much (RFC 1624).
        total = struct.unpack_from("!H", frame, 36)[0] + 0x0800
        icmp = b"\0\0" + struct.pack("!H", (total & 0xFFFF) + (total >> 16)) + frame[38:]
        header = frame[14:24] + b"\0\0" + frame[30:34] + frame[26:30]
        return frame[6:12] + frame[:6] + kind + header[:10] + struct.pack("!H", checksum(header)) + header[12:] + icmp
    return None


def far_end(hold_s, every_s):
    """Answers until it is ended."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TAP | IFF_NO_PI))
    print("ready", flush=True)
    next_hold = time.monotonic() + every_s
    while True:
        select.select([tap], [], [], 0.05)
        for _ in range(64):
            try:
                answer = answer_to(os.read(tap, 2048))
            except BlockingIOError:
                break
            if answer:
                os.write(tap, answer)
        if time.monotonic() >= next_hold:
            time.sleep(hold_s)
            next_hold += every_s


# ---- the truth --------------------------------------------------------------------------------------------------------------------

def true_times(capture):
    """RTT in seconds by (identifier, sequence), a list each in order of sending: sequence numbers have 16 bits and come again."""
    asked, times = collections.defaultdict(collections.deque), collections.defaultdict(list)
    with open(capture, "rb") as file:
        magic = struct.unpack("<I", file.read(24)[:4])[0]
        assert magic == 0xA1B23C4D, f"not a capture with nanoseconds: {magic:x}"
        while len(header := file.read(16)) == 16:
            seconds, nanoseconds, length, _ = struct.unpack("<IIII", header)
            frame = file.read(length)
            key = struct.unpack_from("!HH", frame, 38)
            now = seconds * 1_000_000_000 + nanoseconds
            if frame[34] == 8:
                times[key].append(None)
                asked[key].append((len(times[key]) - 1, now))
            elif frame[34] == 0 and asked[key]:
                index, sent = asked[key].popleft()
                times[key][index] = (now - sent) / 1e9
    return times


class Capture:
    def __init__(self, file):
        self.file = file
        self.process = subprocess.Popen(["tcpdump", "-i", DEVICE, "-w", file, "-s", "64", "-B", "262144", "--nano", "-U", "-Z", "root",
                                         "icmp[0] = 8 or icmp[0] = 0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while "listening on" not in (line := self.process.stderr.readline()):
            if not line:
                raise RuntimeError("tcpdump did not start")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        dropped = re.search(r"(\d+) packets? dropped by kernel", self.process.communicate()[1])
        return int(dropped.group(1)) if dropped else None


# ---- what the tools say -----------------------------------------------------------------------------------------------------------

class Tool:
    """`told` gives seconds, or nothing for a lost one, by (place in the order of sending) of each probe."""

    def __init__(self, command, told):
        self.command = command
        self.told = told


def stallscope_told(bundle):
    with sqlite3.connect(bundle) as db:
        rows = db.execute("SELECT transmitted_ns, received_ns FROM probe ORDER BY sequence").fetchall()
    return [None if not received or not sent else (received - sent) / 1e9 for sent, received in rows]


def hping3_told(text, count):
    """It prints no line for a lost one, and counts from 0, in 16 bits."""
    told, wraps, before = [None] * count, 0, 0
    for sequence, rtt in re.findall(r"icmp_seq=(\d+) rtt=([\d.]+) ms", text):
        sequence = int(sequence)
        wraps += 1 if sequence + 32768 < before else 0
        before = sequence
        place = sequence + 65536 * wraps
        if place < count:
            told[place] = float(rtt) / 1e3
    return told


def fping_told(text, count):
    told = [None] * count
    for place, rtt in re.findall(r"\[(\d+)\], \d+ bytes, ([\d.]+) ms", text):
        if int(place) < count:
            told[int(place)] = float(rtt) / 1e3
    return told


def tools(binary, count, rate, directory):
    bundle = os.path.join(directory, "probes.stall")
    milliseconds = f"{1000 / rate:g}"
    yield "stallscope", Tool([binary, "probe", FAR, "--count", str(count), "--interval", f"{1_000_000 // rate}us", "--rate", str(rate),
                              "--timeout", "10s", "-o", bundle, "--json"], lambda _: stallscope_told(bundle))
    yield "hping3", Tool(["hping3", "-1", "-i", f"u{1_000_000 // rate}", "-c", str(count), FAR], lambda text: hping3_told(text, count))
    yield "fping", Tool(["fping", "-p", milliseconds, "-i", milliseconds, "-t", "10000", "-c", str(count), FAR],
                        lambda text: fping_told(text, count))


def judge(told, truth_by_key):
    """Compares in order of sending: all a tool's probes have one identifier, or hping3's and fping's wrap around."""
    identifier = max({key[0] for key in truth_by_key}, key=lambda one: sum(len(v) for k, v in truth_by_key.items() if k[0] == one))
    first = min(key[1] for key in truth_by_key if key[0] == identifier)
    truth = [times[lap] for lap in range(max(map(len, truth_by_key.values())))
             for sequence in list(range(first, 65536)) + list(range(0, first))
             if (times := truth_by_key.get((identifier, sequence))) and lap < len(times)]
    pairs = list(zip(told, truth))
    off = sorted(abs(said - true) for said, true in pairs if said is not None and true is not None)
    held = [(said, true) for said, true in pairs if true is not None and true > HELD_S]
    answered = [true for true in truth if true is not None]
    return {
        "sent": len(truth),
        "answered": len(answered),
        "worst_ms": round(1e3 * max(answered, default=0), 1),
        "held": len(held),
        "held_told_right": sum(1 for said, true in held if said is not None and abs(said - true) <= TOLERANCE_S),
        "held_called_lost": sum(1 for said, _ in held if said is None),
        "invented": sum(1 for said, true in pairs if said is not None and true is not None and said > HELD_S and true + TOLERANCE_S < said),
        "off_p50_us": round(1e6 * off[len(off) // 2], 1) if off else None,
        "off_p99_us": round(1e6 * off[len(off) * 99 // 100], 1) if off else None,
        "off_max_us": round(1e6 * off[-1], 1) if off else None,
    }


def measure(name, tool, directory, hold_s, every_s):
    far = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--far-end", str(hold_s), str(every_s)], stdout=subprocess.PIPE, text=True)
    try:
        far.stdout.readline()
        run(["ip", "link", "set", DEVICE, "txqueuelen", str(QUEUE_PACKETS), "up"])
        run(["ip", "addr", "add", f"{HERE}/24", "dev", DEVICE])
        run(["ping", "-c", "1", FAR])
        capture = Capture(os.path.join(directory, "truth.pcap"))
        output = os.path.join(directory, "said")
        with open(output, "w+", encoding="utf-8") as file:
            began = time.monotonic()
            subprocess.run(tool.command, stdout=file, stderr=subprocess.STDOUT, check=False)
            took_s = time.monotonic() - began
        missed = capture.stop()
        with open(output, encoding="utf-8", errors="replace") as file:
            told = tool.told(file.read())
    finally:
        far.kill()
        far.wait()
    result = {"tool": name, "hold_s": hold_s, **judge(told, true_times(capture.file)), "seconds": round(took_s, 1), "missed_by_tcpdump": missed}
    result["per_second"] = round(result["sent"] / took_s)
    print(json.dumps(result), flush=True)
    return result


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--far-end":
        far_end(float(sys.argv[2]), float(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=1000, help="probes per second")
    parser.add_argument("--hold", type=float, default=0.1, help="seconds")
    parser.add_argument("--every", type=float, default=10, help="seconds from one hold to the next")
    parser.add_argument("--tool", action="append", choices=["stallscope", "hping3", "fping"])
    parser.add_argument("--json")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("held_probes.py needs root, for a network namespace")
    if not arguments.inside:
        os.execvp("unshare", ["unshare", "--net", sys.executable, os.path.abspath(__file__), "--inside"] + sys.argv[1:])
    results = []
    with tempfile.TemporaryDirectory(prefix="stallscope-bench-") as directory:
        for name, tool in tools(os.path.abspath(arguments.binary), arguments.count, arguments.rate, directory):
            if arguments.tool and name not in arguments.tool:
                continue
            if not shutil.which(tool.command[0]):
                print(json.dumps({"tool": name, "missing": tool.command[0]}), flush=True)
                continue
            results.append(measure(name, tool, directory, arguments.hold, arguments.every))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"kernel": os.uname().release, "rate": arguments.rate, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
