// SPDX-License-Identifier: Apache-2.0
#include "probe/source_ports.h"

#include <algorithm>

namespace stallscope::probe {

SourcePorts::SourcePorts(PortRange range, std::size_t target_count, std::span<const std::uint16_t> in_use, std::uint64_t random)
    : range_(range), taken_(range.size() * target_count), next_(target_count), quarantine_(quarantine_capacity) {
  for (std::size_t target = 0; target < target_count; ++target) {
    // Different beginnings: a run that follows another soon does not meet what that left behind.
    next_[target] = static_cast<std::uint16_t>((random + target * 977) % range.size());
    for (const std::uint16_t port : in_use) {
      if (port >= range.first && port <= range.last) {
        taken_[index_of(target, port)] = true;
      }
    }
  }
}

std::size_t SourcePorts::index_of(std::size_t target, std::uint16_t port) const {
  return (target * range_.size()) + (std::size_t{port} - range_.first);
}

std::optional<std::uint16_t> SourcePorts::take(std::size_t target, std::int64_t now_ns) {
  release(now_ns);
  const std::size_t size = range_.size();
  // Looking through all of a large range for each probe would cost more than the probe.
  const std::size_t tries = std::min<std::size_t>(size, 64);
  for (std::size_t i = 0; i < tries; ++i) {
    const std::size_t offset = next_[target];
    next_[target] = static_cast<std::uint16_t>((offset + 1) % size);
    const std::size_t index = (target * size) + offset;
    if (!taken_[index]) {
      taken_[index] = true;
      return static_cast<std::uint16_t>(range_.first + offset);
    }
  }
  return std::nullopt;
}

void SourcePorts::answered(std::size_t target, std::uint16_t port) {
  taken_[index_of(target, port)] = false;
}

void SourcePorts::lost(std::size_t target, std::uint16_t port, std::int64_t now_ns) {
  if (quarantine_count_ == quarantine_.size()) {
    free_oldest();
    ++freed_early_count_;
  }
  quarantine_[(quarantine_begin_ + quarantine_count_) % quarantine_.size()] = {index_of(target, port), now_ns + quarantine_ns};
  ++quarantine_count_;
}

void SourcePorts::release(std::int64_t now_ns) {
  while (quarantine_count_ > 0 && quarantine_[quarantine_begin_].until_ns <= now_ns) {
    free_oldest();
  }
}

void SourcePorts::free_oldest() {
  taken_[quarantine_[quarantine_begin_].index] = false;
  quarantine_begin_ = (quarantine_begin_ + 1) % quarantine_.size();
  --quarantine_count_;
}

}  // namespace stallscope::probe
