// SPDX-License-Identifier: Apache-2.0
// capture_bench FILE [RUNS] [tshark]: the whole analysis of a capture beside loops that only read it: libpcap's, and libtins' where
// that was found. All in one process on one core, in turn, so that the machine treats them alike; the median of the runs is
// printed. With `tshark`, that program too, once: it dissects for the same figures, response times of echoes and RTTs of ACKs.
#include <fcntl.h>
#include <fmt/format.h>
#include <pcap/pcap.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

/// Blocks until it has ended. Its time contains the start of the program, a second or so.
std::int64_t run_tshark(const char* path) {
  std::array<const char*, 9> words = {"tshark", "-r", path, "-T", "fields", "-e", "tcp.analysis.ack_rtt", "-e", "icmp.resptime"};
  std::vector<char*> arguments;
  for (const char* word : words) {
    arguments.push_back(const_cast<char*>(word));  // NOLINT(cppcoreguidelines-pro-type-const-cast): posix_spawn(3) changes none
  }
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int failed = ::posix_spawnp(&pid, "tshark", &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (failed != 0 || ::waitpid(pid, &status, 0) != pid || status != 0) {
    fmt::print(stderr, "tshark cannot be run, or failed\n");
    std::exit(EXIT_FAILURE);
  }
  return libpcap_loop(path);
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
    fmt::print(stderr, "usage: capture_bench FILE [RUNS] [tshark]\n");
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
  if (argc > 3) {
    contenders.push_back({"tshark, fields", run_tshark, {}});
  }
  for (int run = 0; run < runs; ++run) {
    for (Contender& contender : contenders) {
      if (contender.run == run_tshark && run > 0) {
        continue;
      }
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
