// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trace/sink.h"
#include "trace/stack.h"

// What the tests of this room share.
namespace stallscope::trace {

/// Keeps what it is given.
class CollectingSink : public Sink {
 public:
  base::Result<std::int64_t> add_stack(std::span<const std::string> frames) override {
    const std::vector<std::string> stack(frames.begin(), frames.end());
    const auto known = std::find(stacks.begin(), stacks.end(), stack);
    if (known != stacks.end()) {
      return known - stacks.begin() + 1;
    }
    stacks.push_back(stack);
    return static_cast<std::int64_t>(stacks.size());
  }
  base::Status add(const evidence::WaitRecord& wait) override {
    waits.push_back(wait);
    return fail ? base::Status(base::Error{"write", "bundle", "disk full", ""}) : base::ok();
  }
  base::Status add(const evidence::SampleRecord& sample) override {
    samples.push_back(sample);
    return base::ok();
  }
  base::Status add(const evidence::FlushRecord& flush) override {
    flushes.push_back(flush);
    return base::ok();
  }
  base::Status add(const evidence::PacketRecord& packet) override {
    packets.push_back(packet);
    return base::ok();
  }

  std::vector<std::vector<std::string>> stacks;
  std::vector<evidence::WaitRecord> waits;
  std::vector<evidence::SampleRecord> samples;
  std::vector<evidence::FlushRecord> flushes;
  std::vector<evidence::PacketRecord> packets;
  bool fail = false;
};

/// A kernel of a few functions: each has an address of its own.
class FakeKernel {
 public:
  std::uint64_t at(const std::string& function) {
    const auto [entry, added] = addresses_.try_emplace(function, 0x1000 + (0x100 * addresses_.size()));
    names_[entry->second] = function;
    return entry->second;
  }
  [[nodiscard]] SymbolLookup lookup() {
    return [this](std::uint64_t address) -> std::string_view {
      const auto found = names_.find(address);
      return found == names_.end() ? std::string_view() : found->second;
    };
  }

 private:
  std::map<std::string, std::uint64_t> addresses_;
  std::map<std::uint64_t, std::string> names_;
};

}  // namespace stallscope::trace
