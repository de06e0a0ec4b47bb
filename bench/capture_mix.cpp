// SPDX-License-Identifier: Apache-2.0
// Writes a capture of SYNs, SYN-ACKs and echoes for capture_bench: capture_mix PACKETS FLOWS FILE [data]. A flow is one direction;
// they take turns, so that hardly two packets in a row are of the same. One in eight queues stalls for 50 ms every 5 s. With
// `data`, what is TCP is not SYNs but segments of 1448 bytes, cut to their headers, and their ACKs.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "arguments.h"
#include "capture/testing.h"

namespace stallscope::bench {
namespace {

using namespace capture::testing;  // NOLINT(google-build-using-namespace): all of it is made of these

constexpr std::uint64_t start_ns = 1'700'000'000'000'000'000;
constexpr std::uint64_t apart_ns = 20'000;
constexpr std::uint64_t rtt_ns = 200'000;
constexpr std::uint64_t stall_every_ns = 5'000'000'000;
constexpr std::uint64_t stall_ns = 50'000'000;
constexpr std::uint64_t answers_at_once = 4'096;

struct Due {
  std::uint64_t time_ns;
  std::uint64_t pair;
  std::uint64_t turn;
  /// How often the pair had its turn before.
  std::uint64_t round;
  bool answer;
};

Buffer packet(const Due& due, bool data) {
  // An odd multiplier makes neighbours in time strangers in address.
  const auto scattered = static_cast<std::uint32_t>((due.pair * 0x9e3779b1U) & 0xffffffU);
  const std::uint32_t client = 0x0a000000U | (scattered & 0xffffU);
  const std::uint32_t server = 0x0b000000U | (scattered >> 16U);
  const auto port = static_cast<std::uint16_t>(1024U + (due.pair >> 24U) + (scattered % 60'000U));
  const auto sequence = static_cast<std::uint32_t>(due.turn);
  if (due.pair % 5 == 0) {
    const Buffer body = echo(due.answer ? 0 : 8, port, static_cast<std::uint16_t>(due.turn));
    return ethernet(0x0800, due.answer ? ipv4(server, client, 1, body) : ipv4(client, server, 1, body));
  }
  if (!data) {
    const Buffer body = due.answer ? tcp(443, port, 77, sequence + 1, 0x12, 9, 8) : tcp(port, 443, sequence, 0, 0x02, 8);
    return ethernet(0x0800, due.answer ? ipv4(server, client, 6, body) : ipv4(client, server, 6, body));
  }
  constexpr std::uint32_t segment_bytes = 1'448;
  const std::uint32_t first = static_cast<std::uint32_t>(due.round) * segment_bytes;
  const Buffer body = due.answer ? tcp(443, port, 77, first + segment_bytes, 0x10, 9, 8) : tcp(port, 443, first, 77, 0x10, 8, 9);
  Buffer out = ethernet(0x0800, due.answer ? ipv4(server, client, 6, body) : ipv4(client, server, 6, body));
  if (!due.answer) {
    // The length that IP had on the wire.
    const std::uint32_t length = 20 + static_cast<std::uint32_t>(body.size()) + segment_bytes;
    out[16] = static_cast<std::uint8_t>(length >> 8U);
    out[17] = static_cast<std::uint8_t>(length);
  }
  return out;
}

void write(std::FILE* file, const Due& due, bool data) {
  Buffer record;
  pcap_record(record, due.time_ns, packet(due, data));
  if (std::fwrite(record.data(), 1, record.size(), file) != record.size()) {
    fmt::print(stderr, "cannot write: is the disk full?\n");
    std::exit(EXIT_FAILURE);
  }
}

/// Requests in order, answers as they fall due.
void generate(std::uint64_t packets, std::uint64_t flows, std::FILE* file, bool data) {
  const auto later = [](const Due& a, const Due& b) { return a.time_ns > b.time_ns; };
  std::vector<Due> answers;
  answers.reserve(answers_at_once);
  const Buffer header = pcap_header();
  std::fwrite(header.data(), 1, header.size(), file);
  for (std::uint64_t turn = 0; turn < packets / 2; ++turn) {
    const std::uint64_t now_ns = start_ns + (turn * apart_ns);
    while (!answers.empty() && answers.front().time_ns <= now_ns) {
      std::pop_heap(answers.begin(), answers.end(), later);
      write(file, answers.back(), data);
      answers.pop_back();
    }
    const std::uint64_t pair = turn % (flows / 2);
    const std::uint64_t round = turn / (flows / 2);
    write(file, {now_ns, pair, turn, round, false}, data);
    const std::uint64_t phase_ns = (turn * apart_ns) % stall_every_ns;
    const bool held = (pair * 0x9e3779b97f4a7c15U) >> 61U == 0 && phase_ns < stall_ns;
    answers.push_back({now_ns + rtt_ns + (held ? stall_ns - phase_ns : 0), pair, turn, round, true});
    std::push_heap(answers.begin(), answers.end(), later);
  }
  for (; !answers.empty(); answers.pop_back()) {
    std::pop_heap(answers.begin(), answers.end(), later);
    write(file, answers.back(), data);
  }
}

}  // namespace
}  // namespace stallscope::bench

int main(int argc, char** argv) {
  using namespace stallscope::bench;
  if (argc < 4) {
    fmt::print(stderr, "usage: capture_mix PACKETS FLOWS FILE [data]\n");
    return 2;
  }
  std::FILE* const file = std::fopen(argv[3], "wb");
  if (file == nullptr) {
    fmt::print(stderr, "cannot write {}\n", argv[3]);
    return 2;
  }
  generate(static_cast<std::uint64_t>(whole_number(argv[1])),
           static_cast<std::uint64_t>(std::max<std::int64_t>(whole_number(argv[2]), 2)), file, argc > 4);
  return std::fclose(file) == 0 ? 0 : 2;
}
