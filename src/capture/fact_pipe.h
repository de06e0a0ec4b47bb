// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "capture/packet_facts.h"

namespace stallscope::capture {

/// Whether threads of this process can run at the same time.
[[nodiscard]] bool has_several_cpus();

struct PipeOptions {
  bool may_start_thread = has_several_cpus();
  /// So many are taken before a thread is started: what is short is over before that pays.
  std::int64_t alone_count = 32'768;
  /// Of what is handed to the thread at once: 88 KiB, so that handing over costs little beside it.
  std::size_t batch_size = 1'024;
  /// All of them stay in the CPUs' caches.
  std::size_t batch_count = 8;
};

/// Brings the facts of packets, in order, from who reads them to who takes them, on another thread where that pays. Waits for that
/// thread where it is behind by all batches there are. In the steady state nothing is allocated.
class FactPipe {
 public:
  using Take = std::function<void(std::span<const PacketFacts>)>;

  /// `take` is called by one thread at a time: by the one that calls push() and finish(), later by another one alone, until
  /// finish() returns or the destructor does.
  FactPipe(const PipeOptions& options, Take take);
  /// What was not taken yet is dropped.
  ~FactPipe();
  FactPipe(const FactPipe&) = delete;
  FactPipe& operator=(const FactPipe&) = delete;
  FactPipe(FactPipe&&) = delete;
  FactPipe& operator=(FactPipe&&) = delete;

  /// To be filled in; has any content.
  [[nodiscard]] PacketFacts& next() { return filling_[filled_count_]; }
  /// Hands on what next() returned. Throws what `take` has thrown.
  void push() {
    if (++filled_count_ == filling_.size()) {
      hand_on();
    }
  }
  /// Returns when all was taken. Throws what `take` has thrown. To be called once, last.
  void finish();

 private:
  void hand_on();
  void take_alone();
  void start_thread();
  void fill(std::size_t batch);
  [[nodiscard]] std::span<PacketFacts> batch_of(std::size_t batch);
  /// With the mutex held.
  void put();
  [[nodiscard]] bool worth_waking() const;
  /// The other thread.
  void run();
  [[nodiscard]] std::exception_ptr take_caught(std::span<const PacketFacts> facts) const;

  PipeOptions options_;
  Take take_;
  std::int64_t alone_count_ = 0;
  /// One batch, or with the thread as many as the options say.
  std::vector<PacketFacts> facts_;
  std::span<PacketFacts> filling_;
  std::size_t filled_count_ = 0;
  std::size_t filling_batch_ = 0;

  std::mutex mutex_;
  std::condition_variable filled_;
  std::condition_variable emptied_;
  /// Of each batch.
  std::vector<std::size_t> sizes_;
  /// Batches that were handed on and are not taken yet.
  std::size_t waiting_count_ = 0;
  bool ending_ = false;
  bool abandoned_ = false;
  std::exception_ptr failure_;
  std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace stallscope::capture
