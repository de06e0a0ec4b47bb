// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "base/result.h"

struct ring_buffer;

namespace stallscope::bpf {

/// The reading end of a BPF_MAP_TYPE_RINGBUF (Linux 5.8). One thread reads it.
class RingBuffer {
 public:
  using Callback = std::function<void(const void* record, std::size_t size_bytes)>;

  /// `on_record` is called from poll() and consume() for each record, in the order they were submitted.
  [[nodiscard]] static base::Result<RingBuffer> open(int map_fd, Callback on_record);

  /// Waits for records, at most `timeout_ms`; an interrupting signal ends the wait early and is no error.
  [[nodiscard]] base::Status poll(int timeout_ms);
  /// Takes what is there without waiting.
  [[nodiscard]] base::Status consume();

 private:
  struct Deleter {
    void operator()(ring_buffer* buffer) const;
  };
  RingBuffer(std::unique_ptr<Callback> callback, std::unique_ptr<ring_buffer, Deleter> buffer);
  std::unique_ptr<Callback> callback_;  // libbpf keeps its address
  std::unique_ptr<ring_buffer, Deleter> buffer_;
};

}  // namespace stallscope::bpf
