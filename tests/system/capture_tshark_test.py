#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `stallscope capture` measures, packet by packet, against tshark on the same file: of echoes icmp.resptime, of handshakes, refusals
and data tcp.analysis.ack_rtt. Captures are made by hand, and one is recorded by tcpdump between two network namespaces. What --annotate
writes is read by tshark.

Of data we differ on purpose: of bytes that were sent more than once, and of what was sent after them, tshark counts from the first
transmission, and we only where a timestamp tells which one arrived; we follow eight segments of a direction at once; and of connections
without data nothing but how they begin.

    capture_tshark_test.py STALLSCOPE

Needs tshark; the recorded part needs root and tcpdump as well. Exits with 77 and the reason where something is missing.
"""
import csv
import json
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


def tcp(source, destination, sequence, acknowledgement, flags, payload=0, timestamps=None):
    options = b"" if timestamps is None else struct.pack(">BBBBII", 1, 1, 8, 10, *timestamps)
    header = struct.pack(">HHIIBBHHH", source, destination, sequence & 0xffffffff, acknowledgement & 0xffffffff, (5 + len(options) // 4) << 4, flags, 0xffff, 0, 0)
    return header + options + bytes(payload)


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
    write_pcap(path, packets)


def write_pcap(path, packets):
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 65535, 101))
        for time_ns, packet in sorted(packets, key=lambda timed: timed[0]):
            file.write(struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, len(packet), len(packet)) + packet)


class Talk:
    """A connection of which one side sends data and the other acknowledges."""

    def __init__(self, number, dice, packets):
        self.addresses = bytes([10, 3, number // 250, number % 250 + 1]), bytes([10, 4, 0, 1])
        self.port, self.dice, self.packets = 30_000 + number, dice, packets
        self.timestamps = number % 2 == 0
        self.now = 1_700_000_000_000_000_000 + number * 3_000_000
        self.sequence = dice.randrange(1 << 32)
        self.emit(True, self.sequence, 0, 0x02)
        self.emit(False, 5, self.sequence + 1, 0x12)
        self.sequence += 1
        self.emit(True, self.sequence, 6, 0x10)

    def value(self, at):
        return (at // 1_000_000) & 0xffffffff

    def emit(self, asks, sequence, acknowledgement, flags, payload=0, echo=0):
        self.now += self.dice.randrange(20_000, 400_000)
        timestamps = (self.value(self.now), echo) if self.timestamps else None
        body = tcp(*((self.port, 443) if asks else (443, self.port)), sequence, acknowledgement, flags, payload, timestamps)
        source, destination = self.addresses if asks else reversed(self.addresses)
        self.packets.append((self.now, ipv4(source, destination, 6, body)))
        return self.value(self.now)

    def turn(self, loss):
        sizes = [self.dice.choice((1, 100, 1448, 1448)) for _ in range(self.dice.choice((1, 2, 3)))]
        first, echo = self.sequence, 0
        for size in sizes:
            echo = self.emit(True, self.sequence, 6, 0x18, size)
            self.sequence += size
        if loss:
            self.now += 250_000_000
            echo = self.emit(True, first, 6, 0x18, sizes[0])
        elif self.dice.random() < 0.3:
            self.emit(False, 6, first + sizes[0], 0x10, echo=echo)
        self.now += self.dice.choice((0, 0, 3_000_000, 39_000_000))
        self.emit(False, 6, self.sequence, 0x10, echo=echo)


def generate_data(path, connection_count, turn_count):
    dice, packets = random.Random(9293), []
    for number in range(connection_count):
        talk = Talk(number, dice, packets)
        for _ in range(turn_count):
            talk.turn(dice.random() < 0.05)
    write_pcap(path, packets)


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
            if row["kind"] not in ("echo", "handshake"):
                continue
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


def data_by_tshark(path):
    """Of each ACK of data: the segment's frame, and the RTT in ns; and of all frames their timestamps."""
    fields = ("frame.number", "tcp.analysis.ack_rtt", "tcp.analysis.acks_frame", "tcp.flags.syn", "tcp.flags.reset", "tcp.options.timestamp.tsval",
              "tcp.options.timestamp.tsecr", "tcp.stream", "tcp.len")
    command = ["tshark", "-r", str(path), "-n", "-T", "fields", "-E", "occurrence=l"]
    done = subprocess.run(command + [part for field in fields for part in ("-e", field)], capture_output=True, text=True, check=True)
    rows = [dict(zip(fields, line.split("\t"))) for line in done.stdout.splitlines()]
    opening = {int(row["frame.number"]) for row in rows if row["tcp.flags.syn"] in ("1", "True") or row["tcp.flags.reset"] in ("1", "True")}
    # Connections that are opened and closed without data are not followed.
    with_data = {row["tcp.stream"] for row in rows if row["tcp.len"] not in ("", "0")}
    rtts = {}
    for row in rows:
        if row["tcp.analysis.ack_rtt"] and row["tcp.stream"] in with_data and int(row["frame.number"]) not in opening and int(row["tcp.analysis.acks_frame"]) not in opening:
            rtts[int(row["tcp.analysis.acks_frame"]), int(row["frame.number"])] = round(float(row["tcp.analysis.ack_rtt"]) * 1e9)
    stamps = {int(row["frame.number"]): (row["tcp.options.timestamp.tsval"], row["tcp.options.timestamp.tsecr"]) for row in rows}
    return rtts, stamps


def compare_data(stallscope, path, directory, at_least):
    table = pathlib.Path(directory, "data.csv")
    done = subprocess.run([stallscope, "capture", str(path), "--json", "--csv", str(table)], capture_output=True, text=True, check=False)
    expect(done.returncode in (0, 1), f"capture failed ({done.returncode}): {done.stderr}")
    counts = json.loads(done.stdout)["captures"][0]["data"]
    theirs, stamps = data_by_tshark(path)
    ours, stamped = {}, {}
    with open(table, newline="", encoding="ascii") as file:
        for row in csv.DictReader(file):
            if row["kind"] == "data":
                which = stamped if row["by_timestamp"] == "1" else ours
                which[int(row["request_packet"]), int(row["answer_packet"])] = int(row["rtt_ns"])
    expect(len(ours) >= at_least, f"only {len(ours)} RTTs of data in {path}")
    expect(set(ours) <= set(theirs), f"not in tshark: {sorted(set(ours) - set(theirs))[:5]}")
    for frames, rtt_ns in ours.items():
        expect(abs(theirs[frames] - rtt_ns) <= 1, f"{frames}: {rtt_ns} ns here, {theirs[frames]} ns in tshark")
    for request, answer in stamped:
        expect(stamps[request][0] == stamps[answer][1] != "", f"{request} has {stamps[request]}, and {answer} echoes {stamps[answer]}")
    # An ACK has one RTT; what tshark has besides is what was sent again, or not followed.
    missing = {answer for _, answer in theirs} - {answer for _, answer in [*ours, *stamped]}
    expect(len(missing) <= counts["ambiguous"] + counts["not_followed"], f"{len(missing)} ACKs have an RTT in tshark alone: {sorted(missing)[:5]}, {counts}")
    expect(counts["rtts"] == len(ours) + len(stamped) and counts["rtts_by_timestamp"] == len(stamped), f"{counts}")
    return counts, f"{len(ours)} RTTs of data agree, {len(stamped)} are by timestamps, {len(missing)} are left out ({counts})"


def packets_of(path):
    fields = ("frame.time_epoch", "frame.len", "frame.cap_len", "ip.id", "tcp.seq_raw", "icmp.seq")
    command = ["tshark", "-r", str(path), "-n", "-T", "fields"] + [part for field in fields for part in ("-e", field)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def annotated(stallscope, path, directory):
    """The comments are where packets were held, and nothing else has changed."""
    target, table = pathlib.Path(directory, "annotated.pcapng"), pathlib.Path(directory, "held.csv")
    done = subprocess.run([stallscope, "capture", str(path), "--annotate", str(target), "--csv", str(table)], capture_output=True, text=True, check=False)
    expect(done.returncode == 1, f"nothing held in {path} ({done.returncode}): {done.stderr}")
    command = ["tshark", "-r", str(target), "-n", "-Y", "frame.comment", "-T", "fields", "-e", "frame.number", "-e", "frame.comment"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    commented = {int(line.split("\t")[0]): line.split("\t")[1] for line in lines}
    with open(table, newline="", encoding="ascii") as file:
        rows = [row for row in csv.DictReader(file) if row["rtt_ns"] and row["may_be_delayed"] == "0" and row["kind"] != "response"]
    late = {int(row[which]) for row in rows if int(row["rtt_ns"]) > 100_000_000 for which in ("request_packet", "answer_packet")}
    prompt = {int(row[which]) for row in rows if int(row["rtt_ns"]) < 2_000_000 for which in ("request_packet", "answer_packet")}
    expect(late and late <= set(commented), f"without a comment: {sorted(late - set(commented))[:5]}")
    expect(not (prompt - late) & set(commented), f"with a comment for no reason: {sorted((prompt - late) & set(commented))[:5]}")
    expect(all(text.startswith("stallscope: held ") for text in commented.values()), f"{list(commented.values())[:3]}")
    expect(packets_of(path) == packets_of(target), "the packets have changed")
    summary = subprocess.run(["capinfos", str(target)], capture_output=True, text=True, check=True).stdout
    expect("exchanges were held" in summary, f"no comment on the capture: {summary}")
    return f"{len(commented)} comments"


SERVER = """
import socket
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("10.99.0.2", 8080))
server.listen(64)
print("ready", flush=True)
for _ in range(60):
    server.accept()[0].close()
def whole(connection, size):
    while size > 0:
        size -= len(connection.recv(size))
connection = server.accept()[0]
for _ in range(300):
    whole(connection, 200)
    connection.sendall(bytes(5000))
whole(connection, 1 << 20)
connection.close()
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
connection = socket.create_connection(("10.99.0.2", 8080))
for _ in range(300):
    connection.sendall(bytes(200))
    left = 5000
    while left > 0:
        left -= len(connection.recv(left))
connection.sendall(bytes(1 << 20))
connection.recv(1)
connection.close()
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
        print("made by hand:", annotated(stallscope, made, directory), flush=True)
        talks = pathlib.Path(directory, "talks.pcap")
        generate_data(talks, 120, 20)
        counts, text = compare_data(stallscope, talks, directory, 1_500)
        expect(counts["ambiguous"] > 20 and counts["rtts_by_timestamp"] > 20 and counts["not_followed"] == 0, f"{counts}")
        print("data made by hand:", text, flush=True)
        if os.geteuid() != 0 or shutil.which("tcpdump") is None:
            print("cannot run the rest: recording needs root and tcpdump")
            return CANNOT_RUN
        recorded = pathlib.Path(directory, "recorded.pcap")
        try:
            record(recorded)
        finally:
            for namespace in NAMESPACES:
                subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        print("recorded:", compare(stallscope, recorded, directory, {"echo": 100, "handshake": 80}), flush=True)
        print("recorded:", compare_data(stallscope, recorded, directory, 300)[1])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssertionError as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
