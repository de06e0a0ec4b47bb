// SPDX-License-Identifier: Apache-2.0
#include "bpf/ring_buffer.h"

#include <bpf/libbpf.h>

#include <cerrno>
#include <utility>

namespace stallscope::bpf {
namespace {

// About 50 ms of work: a commit once a second and Ctrl-C are not kept waiting.
constexpr int records_per_call = 16'384;

}  // namespace

// An error from here ends libbpf's loop after this record.
int RingBuffer::forward(void* reader, void* record, std::size_t size_bytes) {
  auto& self = *static_cast<Reader*>(reader);
  self.on_record(record, size_bytes);
  return --self.left > 0 ? 0 : -EAGAIN;
}

void RingBuffer::Deleter::operator()(ring_buffer* buffer) const {
  ring_buffer__free(buffer);
}

RingBuffer::RingBuffer(std::unique_ptr<Reader> reader, std::unique_ptr<ring_buffer, Deleter> buffer)
    : reader_(std::move(reader)), buffer_(std::move(buffer)) {}

base::Result<RingBuffer> RingBuffer::open(int map_fd, Callback on_record) {
  auto reader = std::make_unique<Reader>(Reader{std::move(on_record)});
  std::unique_ptr<ring_buffer, Deleter> buffer(ring_buffer__new(map_fd, forward, reader.get(), nullptr));
  if (!buffer) {
    return base::errno_error("open", "the tracer's ring buffer", errno);
  }
  return RingBuffer(std::move(reader), std::move(buffer));
}

base::Result<bool> RingBuffer::take(const std::function<int(ring_buffer*)>& from) {
  reader_->left = records_per_call;
  const int result = from(buffer_.get());
  if (result < 0 && result != -EINTR && result != -EAGAIN) {
    return base::errno_error("read", "the tracer's ring buffer", -result);
  }
  return result == -EAGAIN;
}

base::Result<bool> RingBuffer::poll(int timeout_ms) {
  return take([timeout_ms](ring_buffer* buffer) { return ring_buffer__poll(buffer, timeout_ms); });
}

base::Result<bool> RingBuffer::consume() {
  return take(ring_buffer__consume);
}

}  // namespace stallscope::bpf
