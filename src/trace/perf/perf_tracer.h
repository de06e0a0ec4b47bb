// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/result.h"
#include "trace/backend.h"
#include "trace/sink.h"
#include "trace/tracer.h"

namespace stallscope::trace::perf {

/// Watches by perf events and tracefs alone, for kernels that have no BTF. Needs root (CAP_SYS_ADMIN; CAP_PERFMON where tracefs is
/// mounted), Linux 4.1 or later, and the PID namespace of the host: elsewhere perf does not tell who had a CPU.
[[nodiscard]] base::Result<std::unique_ptr<Backend>> start(const TracerOptions& options, Sink& sink);

}  // namespace stallscope::trace::perf
