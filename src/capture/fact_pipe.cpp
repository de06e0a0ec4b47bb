// SPDX-License-Identifier: Apache-2.0
#include "capture/fact_pipe.h"

#include <sched.h>

#include <algorithm>
#include <csignal>
#include <system_error>
#include <utility>

namespace stallscope::capture {
namespace {

/// What is taken at once stays in the CPU's first cache with it, and is as much as the tracker looks up at the same time.
constexpr std::size_t alone_batch_size = 32;

/// While it lives, this thread and those that it starts get no signals: one that asks for the end has to interrupt the thread that
/// waits for packets.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  SignalsBlocked(SignalsBlocked&&) = delete;
  SignalsBlocked& operator=(SignalsBlocked&&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

bool has_several_cpus() {
  cpu_set_t cpus;
  // It fails where there are more CPUs than the set has room for.
  return ::sched_getaffinity(0, sizeof(cpus), &cpus) != 0 || CPU_COUNT(&cpus) > 1;
}

FactPipe::FactPipe(const PipeOptions& options, Take take)
    : options_(options), take_(std::move(take)), facts_(alone_batch_size), filling_(facts_) {}

FactPipe::~FactPipe() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
  abandoned_ = true;
  filled_.notify_one();
}

void FactPipe::hand_on() {
  if (!thread_.joinable()) {
    take_alone();
    if (options_.may_start_thread && alone_count_ >= options_.alone_count) {
      start_thread();
    }
    return;
  }
  {
    std::unique_lock lock(mutex_);
    put();
    emptied_.wait(lock, [this] { return waiting_count_ < options_.batch_count; });
    if (failure_) {
      std::rethrow_exception(failure_);
    }
  }
  fill((filling_batch_ + 1) % options_.batch_count);
}

void FactPipe::finish() {
  if (!thread_.joinable()) {
    take_alone();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    put();
  }
  thread_.join();
  if (failure_) {
    std::rethrow_exception(failure_);
  }
}

void FactPipe::take_alone() {
  take_(filling_.first(filled_count_));
  alone_count_ += static_cast<std::int64_t>(filled_count_);
  filled_count_ = 0;
}

void FactPipe::fill(std::size_t batch) {
  filling_batch_ = batch;
  filling_ = batch_of(batch);
  filled_count_ = 0;
}

void FactPipe::put() {
  sizes_[filling_batch_] = filled_count_;
  ++waiting_count_;
  if (worth_waking()) {
    filled_.notify_one();
  }
}

void FactPipe::start_thread() {
  facts_.resize(options_.batch_size * options_.batch_count);
  sizes_.resize(options_.batch_count);
  fill(0);
  try {
    const SignalsBlocked blocked;
    thread_ = std::jthread([this] { run(); });
  } catch (const std::system_error&) {
    // No more threads are allowed here. It goes without.
    options_.may_start_thread = false;
  }
}

void FactPipe::run() {
  std::unique_lock lock(mutex_);
  for (std::size_t batch = 0; !abandoned_; batch = (batch + 1) % options_.batch_count) {
    if (waiting_count_ == 0) {
      filled_.wait(lock, [this] { return worth_waking(); });
    }
    if (waiting_count_ == 0 || abandoned_) {
      return;
    }
    if (const auto facts = batch_of(batch).first(sizes_[batch]); !failure_) {
      lock.unlock();
      std::exception_ptr failure = take_caught(facts);
      lock.lock();
      failure_ = std::move(failure);
    }
    --waiting_count_;
    emptied_.notify_one();
  }
}

bool FactPipe::worth_waking() const {
  // Waking takes as long as some hundred packets, and as long again for who wakes: once for several batches.
  return ending_ || waiting_count_ >= std::max<std::size_t>(options_.batch_count / 2, 1);
}

std::span<PacketFacts> FactPipe::batch_of(std::size_t batch) {
  return std::span(facts_).subspan(batch * options_.batch_size, options_.batch_size);
}

std::exception_ptr FactPipe::take_caught(std::span<const PacketFacts> facts) const {
  try {
    take_(facts);
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace stallscope::capture
