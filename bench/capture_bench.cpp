// SPDX-License-Identifier: Apache-2.0
// capture_bench FILE [RUNS]: the whole analysis of a capture beside loops that only read it: libpcap's, and libtins' where that was
// found. All in one process on one core, in turn, so that the machine treats them alike; the median of the runs is printed.
#include <fmt/format.h>
#include <pcap/pcap.h>
#include <sys/resource.h>

#ifdef STALLSCOPE_BENCH_TINS
#include <tins/tins.h>
#endif

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "arguments.h"
#include "base/clock.h"
#include "capture/analysis.h"
#include "capture/evidence.h"
#include "capture/file_source.h"
#include "diagnose/target_shapes.h"

namespace stallscope::bench {
namespace {

std::int64_t libpcap_loop(const char* path) {
  std::array<char, PCAP_ERRBUF_SIZE> error{};
  pcap_t* const handle = ::pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, error.data());
  if (handle == nullptr) {
    fmt::print(stderr, "{}\n", error.data());
    std::exit(EXIT_FAILURE);
  }
  pcap_pkthdr* header = nullptr;
  const u_char* data = nullptr;
  std::int64_t count = 0;
  std::uint64_t bytes = 0;
  while (::pcap_next_ex(handle, &header, &data) == 1) {
    ++count;
    bytes += header->caplen + data[0];
  }
  ::pcap_close(handle);
  return bytes == 0 ? 0 : count;
}

#ifdef STALLSCOPE_BENCH_TINS
std::int64_t libtins_loop(const char* path) {
  Tins::FileSniffer sniffer(path);
  std::int64_t count = 0;
  sniffer.sniff_loop([&](Tins::PDU& pdu) {
    count += pdu.find_pdu<Tins::IP>() != nullptr ? 1 : 0;
    return true;
  });
  return count;
}
#endif

/// What `stallscope capture` does before it renders.
std::int64_t whole_analysis(const char* path) {
  base::Result<std::unique_ptr<capture::PacketSource>> source = capture::open_capture(path);
  if (!source) {
    fmt::print(stderr, "{}\n", source.error().message());
    std::exit(EXIT_FAILURE);
  }
  capture::Analysis analysis(false);
  std::array<capture::Packet, 256> batch;
  while (!(*source)->ended()) {
    const base::Result<std::size_t> count = (*source)->next(batch);
    if (!count) {
      std::exit(EXIT_FAILURE);
    }
    analysis.add(std::span(batch).first(*count));
  }
  const capture::Findings findings = analysis.finish();
  const evidence::Evidence evidence = capture::make_evidence(findings.exchanges, findings.counts, std::nullopt);
  const auto shapes = diagnose::shapes_of(evidence);
  return shapes.empty() ? 0 : findings.counts.packet_count;
}

/// Reading and pairing alone, without what is made of it.
std::int64_t one_pass(const char* path) {
  base::Result<std::unique_ptr<capture::PacketSource>> source = capture::open_capture(path);
  capture::Analysis analysis(false);
  std::array<capture::Packet, 256> batch;
  while (source && !(*source)->ended()) {
    const base::Result<std::size_t> count = (*source)->next(batch);
    analysis.add(std::span(batch).first(count ? *count : 0));
  }
  return analysis.packet_count();
}

struct Contender {
  const char* name;
  std::int64_t (*run)(const char* path);
  std::vector<double> ns_per_packet;
};

}  // namespace
}  // namespace stallscope::bench

int main(int argc, char** argv) {
  using namespace stallscope::bench;
  if (argc < 2) {
    fmt::print(stderr, "usage: capture_bench FILE [RUNS]\n");
    return 2;
  }
  const int runs = argc > 2 ? small_number(argv[2]) : 5;
  std::vector<Contender> contenders = {{"stallscope, whole analysis", whole_analysis, {}},
                                       {"stallscope, the pass alone", one_pass, {}},
                                       {"libpcap, bare loop", libpcap_loop, {}}};
#ifdef STALLSCOPE_BENCH_TINS
  contenders.push_back({"libtins, bare loop", libtins_loop, {}});
#endif
  std::int64_t packets = 0;
  for (int run = 0; run < runs; ++run) {
    for (Contender& contender : contenders) {
      const std::int64_t before_ns = stallscope::base::monotonic_ns();
      packets = contender.run(argv[1]);
      contender.ns_per_packet.push_back(static_cast<double>(stallscope::base::monotonic_ns() - before_ns) /
                                        static_cast<double>(std::max<std::int64_t>(packets, 1)));
    }
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  fmt::print("{} packets, median of {} runs\n", packets, runs);
  for (Contender& contender : contenders) {
    std::sort(contender.ns_per_packet.begin(), contender.ns_per_packet.end());
    const double ns = contender.ns_per_packet[contender.ns_per_packet.size() / 2];
    fmt::print("{:<28} {:7.1f} ns/packet  {:6.2f} million packets/s\n", contender.name, ns, 1e3 / ns);
  }
  fmt::print("most memory: {} MiB\n", usage.ru_maxrss / 1024);
  return 0;
}
