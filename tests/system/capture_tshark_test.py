#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `stallscope capture` measures, packet by packet, against tshark on the same file: of echoes icmp.resptime, of handshakes and
refusals tcp.analysis.ack_rtt. One capture is made by hand, one is recorded by tcpdump between two network namespaces.

    capture_tshark_test.py STALLSCOPE

Needs tshark; the recorded part needs root and tcpdump as well. Exits with 77 and the reason where something is missing.
"""
import csv
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

CANNOT_RUN = 77
LAST = b"last"
NAMESPACES = ("stallscope-capt-a", "stallscope-capt-b")
# tshark prints milliseconds with three decimals for echoes, and seconds with nine for TCP.
ECHO_ROUNDING_NS = 1_000


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def ipv4(source, destination, protocol, body):
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, source, destination)
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + body


def echo(kind, identifier, sequence):
    body = struct.pack(">BBHHH", kind, 0, 0, identifier, sequence) + b"stallscope"
    return body[:2] + struct.pack(">H", checksum(body)) + body[4:]


def tcp(source, destination, sequence, acknowledgement, flags):
    return struct.pack(">HHIIBBHHH", source, destination, sequence, acknowledgement, 0x50, flags, 0xffff, 0, 0)


def generate(path, exchange_count):
    """Exchanges in random order with random answer times, some never answered."""
    dice = random.Random(2019)
    packets = []
    for number in range(exchange_count):
        client, server = bytes([10, 1, number % 7, number % 251]), bytes([10, 2, 0, number % 5])
        sent = 1_700_000_000_000_000_000 + number * 1_000_000 + dice.randrange(900_000)
        answered = sent + dice.choice((50_000, 300_000, 5_000_000, 120_000_000)) + dice.randrange(40_000)
        if number % 3 == 0:
            request, answer = ipv4(client, server, 1, echo(8, number % 65536, number // 3)), ipv4(server, client, 1, echo(0, number % 65536, number // 3))
        else:
            port, first = 20_000 + number % 40_000, dice.randrange(1 << 32)
            flags = 0x12 if number % 3 == 1 else 0x14
            request = ipv4(client, server, 6, tcp(port, 443, first, 0, 0x02))
            answer = ipv4(server, client, 6, tcp(443, port, 99 if flags == 0x12 else 0, (first + 1) & 0xffffffff, flags))
        packets.append((sent, request))
        if dice.random() < 0.95:
            packets.append((answered, answer))
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 65535, 101))
        for time_ns, packet in sorted(packets):
            file.write(struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, len(packet), len(packet)) + packet)


def by_tshark(path):
    """RTTs in ns by what tells an exchange from others, from the answer's point of view."""
    fields = ("ip.src", "ip.dst", "icmp.ident", "icmp.seq", "icmp.resptime", "tcp.srcport", "tcp.dstport", "tcp.analysis.ack_rtt", "tcp.flags.syn",
              "tcp.flags.ack", "tcp.flags.reset")
    command = ["tshark", "-r", str(path), "-n", "-T", "fields", "-E", "occurrence=f", "-o", "tcp.relative_sequence_numbers:false"]
    done = subprocess.run(command + [part for field in fields for part in ("-e", field)], capture_output=True, text=True, check=True)
    rtts = {}
    for line in done.stdout.splitlines():
        row = dict(zip(fields, line.split("\t")))
        if row["icmp.resptime"]:
            rtts["echo", row["ip.dst"], row["ip.src"], int(row["icmp.ident"]), int(row["icmp.seq"])] = round(float(row["icmp.resptime"]) * 1e6)
        elif row["tcp.analysis.ack_rtt"] and row["tcp.flags.ack"] in ("1", "True") and (row["tcp.flags.syn"] in ("1", "True") or row["tcp.flags.reset"] in ("1", "True")):
            rtts["handshake", row["ip.dst"], row["ip.src"], int(row["tcp.dstport"]), int(row["tcp.srcport"])] = round(float(row["tcp.analysis.ack_rtt"]) * 1e9)
    return rtts


def by_stallscope(stallscope, path, directory):
    table = pathlib.Path(directory, "exchanges.csv")
    done = subprocess.run([stallscope, "capture", str(path), "--csv", str(table)], capture_output=True, text=True)
    expect(done.returncode in (0, 1), f"capture failed ({done.returncode}): {done.stderr}")
    rtts = {}
    with open(table, newline="", encoding="ascii") as file:
        for row in csv.DictReader(file):
            numbers = ("echo_id", "echo_sequence") if row["kind"] == "echo" else ("source_port", "destination_port")
            if row["rtt_ns"]:
                rtts[row["kind"], row["source"], row["destination"], int(row[numbers[0]]), int(row[numbers[1]])] = int(row["rtt_ns"])
    return rtts


def compare(stallscope, path, directory, at_least):
    ours, theirs = by_stallscope(stallscope, path, directory), by_tshark(path)
    for kind, least in at_least.items():
        count = sum(1 for key in theirs if key[0] == kind)
        expect(count >= least, f"tshark has only {count} of kind {kind} in {path}")
    expect(set(ours) == set(theirs), f"only here: {list(set(ours) - set(theirs))[:5]}, only in tshark: {list(set(theirs) - set(ours))[:5]}")
    for key, rtt_ns in theirs.items():
        rounding_ns = ECHO_ROUNDING_NS if key[0] == "echo" else 1
        expect(abs(ours[key] - rtt_ns) <= rounding_ns, f"{key}: {ours[key]} ns here, {rtt_ns} ns in tshark")
    return f"{len(theirs)} exchanges agree"


SERVER = """
import socket
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("10.99.0.2", 8080))
server.listen(64)
print("ready", flush=True)
for _ in range(60):
    server.accept()[0].close()
"""
CLIENT = """
import socket
for _ in range(60):
    socket.create_connection(("10.99.0.2", 8080)).close()
for _ in range(20):
    try:
        socket.create_connection(("10.99.0.2", 9))
    except ConnectionRefusedError:
        pass
"""


def run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True)


def inside(namespace, *command):
    return ("ip", "netns", "exec", namespace, *command)


def record(path):
    near, far = NAMESPACES
    for namespace in NAMESPACES:
        run("ip", "netns", "add", namespace)
    run("ip", "link", "add", "capt-a", "netns", near, "type", "veth", "peer", "name", "capt-b", "netns", far)
    for namespace, device, address in ((near, "capt-a", "10.99.0.1/24"), (far, "capt-b", "10.99.0.2/24")):
        run("ip", "-n", namespace, "address", "add", address, "dev", device)
        run("ip", "-n", namespace, "link", "set", device, "up")
    run(*inside(near, "ping", "-c", "1", "-W", "10", "10.99.0.2"))
    recorder = subprocess.Popen(inside(near, "tcpdump", "-Z", "root", "-i", "capt-a", "-s", "256", "-B", "8192", "-U", "-w", str(path)), stderr=subprocess.PIPE,
                                text=True)
    try:
        while "listening" not in recorder.stderr.readline():
            expect(recorder.poll() is None, "tcpdump ended")
        with subprocess.Popen(inside(far, sys.executable, "-c", SERVER), stdout=subprocess.PIPE, text=True) as server:
            server.stdout.readline()
            run(*inside(near, "ping", "-i", "0.01", "-c", "100", "10.99.0.2"))
            run(*inside(near, sys.executable, "-c", CLIENT))
        # tcpdump has written all that was before once this one is in the file.
        run(*inside(near, "ping", "-c", "1", "-p", LAST.hex(), "10.99.0.2"))
        while LAST * 4 not in path.read_bytes():
            expect(recorder.poll() is None, "tcpdump ended")
    finally:
        recorder.terminate()
        recorder.communicate(timeout=60)


def main():
    stallscope = os.path.abspath(sys.argv[1])
    if shutil.which("tshark") is None:
        print("cannot run: tshark is not installed")
        return CANNOT_RUN
    with tempfile.TemporaryDirectory(prefix="stallscope-test-") as directory:
        made = pathlib.Path(directory, "made.pcap")
        generate(made, 3_000)
        print("made by hand:", compare(stallscope, made, directory, {"echo": 900, "handshake": 1_800}), flush=True)
        if os.geteuid() != 0 or shutil.which("tcpdump") is None:
            print("cannot run the rest: recording needs root and tcpdump")
            return CANNOT_RUN
        recorded = pathlib.Path(directory, "recorded.pcap")
        try:
            record(recorded)
        finally:
            for namespace in NAMESPACES:
                subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        print("recorded:", compare(stallscope, recorded, directory, {"echo": 100, "handshake": 80}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssertionError as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
