// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

namespace stallscope::bpf {

/// Owns a bpftool skeleton: unloads its programs, links and maps with it.
///   using WaitSkeleton = bpf::Skeleton<wait_bpf, &wait_bpf::destroy>;
template <typename T, void (*destroy)(T*)>
struct SkeletonDeleter {
  void operator()(T* skeleton) const { destroy(skeleton); }
};
template <typename T, void (*destroy)(T*)>
using Skeleton = std::unique_ptr<T, SkeletonDeleter<T, destroy>>;

}  // namespace stallscope::bpf
