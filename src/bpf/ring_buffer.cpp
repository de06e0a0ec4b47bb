// SPDX-License-Identifier: Apache-2.0
#include "bpf/ring_buffer.h"

#include <bpf/libbpf.h>

#include <cerrno>
#include <utility>

namespace stallscope::bpf {
namespace {

int forward(void* context, void* record, std::size_t size_bytes) {
  (*static_cast<RingBuffer::Callback*>(context))(record, size_bytes);
  return 0;
}

}  // namespace

void RingBuffer::Deleter::operator()(ring_buffer* buffer) const {
  ring_buffer__free(buffer);
}

RingBuffer::RingBuffer(std::unique_ptr<Callback> callback, std::unique_ptr<ring_buffer, Deleter> buffer)
    : callback_(std::move(callback)), buffer_(std::move(buffer)) {}

base::Result<RingBuffer> RingBuffer::open(int map_fd, Callback on_record) {
  auto callback = std::make_unique<Callback>(std::move(on_record));
  std::unique_ptr<ring_buffer, Deleter> buffer(ring_buffer__new(map_fd, forward, callback.get(), nullptr));
  if (!buffer) {
    return base::errno_error("open", "the tracer's ring buffer", errno);
  }
  return RingBuffer(std::move(callback), std::move(buffer));
}

base::Status RingBuffer::poll(int timeout_ms) {
  const int result = ring_buffer__poll(buffer_.get(), timeout_ms);
  if (result < 0 && result != -EINTR) {
    return base::errno_error("read", "the tracer's ring buffer", -result);
  }
  return base::ok();
}

base::Status RingBuffer::consume() {
  const int result = ring_buffer__consume(buffer_.get());
  if (result < 0) {
    return base::errno_error("read", "the tracer's ring buffer", -result);
  }
  return base::ok();
}

}  // namespace stallscope::bpf
