// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "evidence/records.h"

namespace stallscope::trace {

/// Where the tracer's records go. Called from the thread that drains the tracer. The first error ends the draining.
class Sink {
 public:
  Sink() = default;
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  Sink(Sink&&) = delete;
  Sink& operator=(Sink&&) = delete;
  virtual ~Sink() = default;

  /// The id under which a stack (innermost function first) is kept; equal stacks get equal ids.
  [[nodiscard]] virtual base::Result<std::int64_t> add_stack(std::span<const std::string> frames) = 0;
  [[nodiscard]] virtual base::Status add(const evidence::WaitRecord& wait) = 0;
  [[nodiscard]] virtual base::Status add(const evidence::SampleRecord& sample) = 0;
  [[nodiscard]] virtual base::Status add(const evidence::FlushRecord& flush) = 0;
  [[nodiscard]] virtual base::Status add(const evidence::PacketRecord& packet) = 0;
};

}  // namespace stallscope::trace
