// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/memcg-stat-flush/ground_truth.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "lab/topology.h"

namespace stallscope::lab {
namespace {

// Keys in the order a person reads them.
using Json = nlohmann::ordered_json;

std::string line_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string read_line(const char* type, const ReaderIdentity& reader, const StatRead& read, const char* flushed_by) {
  return line_of({{"type", type},
                  {"fault", "memcg-stat-flush"},
                  {"cpu", reader.cpu},
                  {"start_ns", read.start_ns},
                  {"end_ns", read.end_ns},
                  {"length_ns", read.end_ns - read.start_ns},
                  {"pid", reader.pid},
                  {"comm", reader_comm},
                  {"syscall", "read"},
                  {"file", reader.stat_path},
                  {"flushed_by", flushed_by},
                  {"window_start_ns", read.window_start_ns},
                  {"window_end_ns", read.window_end_ns}});
}

}  // namespace

FlushedBy FlushJudge::judge(std::int64_t length_ns, std::optional<bool> worker_ran) {
  if (worker_ran) {
    return *worker_ran ? FlushedBy::kernel_worker : FlushedBy::reader;
  }
  constexpr std::int64_t noise_ns = 300 * base::ns_per_us;
  if (!lengths_ns_.empty()) {
    const auto middle = lengths_ns_.begin() + std::ssize(lengths_ns_) / 2;
    std::nth_element(lengths_ns_.begin(), middle, lengths_ns_.end());
    const std::int64_t typical_ns = *middle;
    if (length_ns * 10 < typical_ns * 9 && typical_ns - length_ns > noise_ns) {
      return FlushedBy::kernel_worker;
    }
  }
  lengths_ns_.push_back(length_ns);
  return FlushedBy::reader;
}

std::string ready_line(const ReaderIdentity& reader, int zombies_count, std::int64_t kernel_total_count, bool worker_is_watched) {
  return line_of({{"type", "ready"},
                  {"zombies", zombies_count},
                  {"kernel_total", kernel_total_count},
                  {"cpu", reader.cpu},
                  {"pid", reader.pid},
                  {"target", node_address},
                  {"client_netns", client_netns},
                  {"flushed_by_is", worker_is_watched ? "observed" : "inferred"}});
}

std::string stall_line(const ReaderIdentity& reader, const StatRead& read, FlushedBy flushed_by) {
  return read_line("stall", reader, read, flushed_by == FlushedBy::reader ? "reader" : "kernel-worker");
}

std::string control_line(const ReaderIdentity& reader, const StatRead& read) {
  return read_line("control-read", reader, read, "reader");
}

std::string end_line(std::int64_t reads_count) {
  return line_of({{"type", "end"}, {"reads", reads_count}});
}

}  // namespace stallscope::lab
