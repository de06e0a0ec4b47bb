// SPDX-License-Identifier: Apache-2.0
// What keeping evidence costs: per record, per commit, and for reading a long recording.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "base/units.h"
#include "evidence/bundle.h"
#include "evidence/recovery.h"

namespace stallscope::evidence {
namespace {

void require(const base::Status& status) {
  if (!status) {
    throw std::runtime_error(status.error().message());
  }
}

/// A bundle in a directory of its own, under $TMPDIR.
struct Recording {
  TemporaryDirectory directory = *TemporaryDirectory::create();
  std::string path = directory.path() + "/bench.stall";
  BundleWriter writer = *BundleWriter::create(path, {});
};

ProbeRecord probe(std::int64_t sequence) {
  const std::int64_t time_ns = base::ns_per_s + sequence * 10 * base::ns_per_ms;
  return {sequence, time_ns, time_ns + 50'000, time_ns + 200'000, 1};
}

WaitRecord wait_with_occupant(std::int64_t stack_id) {
  WaitRecord wait;
  wait.cpu = 1;
  wait.end_ns = base::ns_per_ms;
  Occupant occupant;
  occupant.pid = 4121;
  occupant.comm = "cadvisor";
  occupant.cgroup = "/kubepods/burstable/pod7f9c2f0e-4c1d-4b6e-9d43-1f6a3c0f7d55/2b1c";
  occupant.file = "/sys/fs/cgroup/memory/kubepods/memory.stat";
  occupant.stack_id = stack_id;
  wait.occupants.push_back(occupant);
  return wait;
}

/// A recorder commits about once a second; at the rates here that is every few thousand records.
constexpr std::int64_t records_per_commit = 4096;

void add_probe(benchmark::State& state) {
  Recording recording;
  std::int64_t sequence = 0;
  for (auto iteration : state) {
    require(recording.writer.add(probe(sequence)));
    if (++sequence % records_per_commit == 0) {
      state.PauseTiming();
      require(recording.writer.commit());
      state.ResumeTiming();
    }
  }
}
BENCHMARK(add_probe);

void add_packet(benchmark::State& state) {
  Recording recording;
  PacketRecord packet;
  packet.device = "veth0";
  packet.comm = "ksoftirqd/1";
  for (auto iteration : state) {
    require(recording.writer.add(packet));
    if (++packet.sequence % records_per_commit == 0) {
      state.PauseTiming();
      require(recording.writer.commit());
      state.ResumeTiming();
    }
  }
}
BENCHMARK(add_packet);

void add_wait(benchmark::State& state) {
  Recording recording;
  const std::vector<std::string> frames = {"css_rstat_flush", "memcg1_stat_format", "seq_read_iter", "vfs_read", "ksys_read"};
  std::int64_t added = 0;
  for (auto iteration : state) {
    require(recording.writer.add(wait_with_occupant(*recording.writer.add_stack(frames))));
    if (++added % records_per_commit == 0) {
      state.PauseTiming();
      require(recording.writer.commit());
      state.ResumeTiming();
    }
  }
}
BENCHMARK(add_wait);

/// One second of probes at the default rate of 100 a second, made durable.
void commit_one_second(benchmark::State& state) {
  Recording recording;
  std::int64_t sequence = 0;
  for (auto iteration : state) {
    for (int i = 0; i < 100; ++i) {
      require(recording.writer.add(probe(sequence++)));
    }
    require(recording.writer.commit());
  }
}
BENCHMARK(commit_one_second)->Unit(benchmark::kMillisecond);

void read_probes(benchmark::State& state) {
  Recording recording;
  for (std::int64_t sequence = 0; sequence < state.range(0); ++sequence) {
    require(recording.writer.add(probe(sequence)));
  }
  require(recording.writer.commit());
  for (auto iteration : state) {
    base::Result<Evidence> evidence = read_bundle(recording.path);
    if (!evidence) {
      throw std::runtime_error(evidence.error().message());
    }
    benchmark::DoNotOptimize(evidence->probes.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["file_bytes"] = static_cast<double>(std::filesystem::file_size(recording.path));
}
BENCHMARK(read_probes)->Arg(2'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace stallscope::evidence
