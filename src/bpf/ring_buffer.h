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

  /// Waits for records, at most `timeout_ms`; an interrupting signal ends the wait early and is no error. True when it stopped with
  /// records left: a call takes a bounded number, so that records that come faster than they are handled cannot hold the caller.
  [[nodiscard]] base::Result<bool> poll(int timeout_ms);
  /// Takes what is there without waiting, as bounded as poll().
  [[nodiscard]] base::Result<bool> consume();

 private:
  struct Reader {
    Callback on_record;
    int left = 0;
  };
  struct Deleter {
    void operator()(ring_buffer* buffer) const;
  };
  RingBuffer(std::unique_ptr<Reader> reader, std::unique_ptr<ring_buffer, Deleter> buffer);
  [[nodiscard]] base::Result<bool> take(const std::function<int(ring_buffer*)>& from);
  static int forward(void* reader, void* record, std::size_t size_bytes);

  std::unique_ptr<Reader> reader_;  // libbpf keeps its address
  std::unique_ptr<ring_buffer, Deleter> buffer_;
};

}  // namespace stallscope::bpf
