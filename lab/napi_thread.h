// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "base/result.h"

namespace stallscope::lab {

/// While it lives, the packets that arrive on the node's n0 are received by a NAPI thread bound to one CPU: threaded NAPI, as hosts
/// have it that give receiving to threads. Such a thread waits for whoever has the CPU in the kernel and does not give it up,
/// where a softirq would interrupt it. Needs Linux 5.13.
class NapiThread {
 public:
  [[nodiscard]] static base::Result<NapiThread> on_cpu(int cpu);
  ~NapiThread();
  NapiThread(NapiThread&& other) noexcept : owned_(std::exchange(other.owned_, false)) {}
  NapiThread& operator=(NapiThread&&) = delete;
  NapiThread(const NapiThread&) = delete;
  NapiThread& operator=(const NapiThread&) = delete;

  /// Gives receiving back to softirqs. Once; later calls do nothing.
  [[nodiscard]] base::Status remove();

 private:
  NapiThread() = default;
  bool owned_ = true;
};

/// Undoes it where a killed run left it on a topology that is up; says whether there was anything.
[[nodiscard]] base::Result<bool> remove_napi_thread();

}  // namespace stallscope::lab
