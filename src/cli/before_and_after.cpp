// SPDX-License-Identifier: Apache-2.0
#include "cli/before_and_after.h"

#include <algorithm>
#include <utility>

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;
using evidence::BundleWriter;
using evidence::GapRecord;
using host::CounterValue;

/// What was counted between two readings; a counter that was not there before (a CPU that came online) is left out.
std::vector<evidence::CounterRecord> increases(const std::vector<CounterValue>& before, const std::vector<CounterValue>& after) {
  std::vector<evidence::CounterRecord> records;
  for (const CounterValue& value : after) {
    const auto earlier = std::find_if(before.begin(), before.end(), [&](const CounterValue& candidate) {
      return candidate.name == value.name && candidate.cpu == value.cpu;
    });
    if (earlier != before.end()) {
      const std::int64_t increase =
          value.name.starts_with("softnet.") ? host::softnet_increase(earlier->value, value.value) : value.value - earlier->value;
      records.push_back({value.name, value.cpu, earlier->value, earlier->value + increase});
    }
  }
  return records;
}

}  // namespace

BeforeAndAfter::BeforeAndAfter(std::optional<std::string> netns_path)
    : netns_path_(std::move(netns_path)), counters_(host::read_counters()), blocked_(census::read_blocked_threads("")) {
  if (netns_path_) {
    sockets_ = look_at_sockets(*netns_path_);
    if (*sockets_) {
      limited_servers_ = find_limited_servers(**sockets_);
    }
  }
}

Status BeforeAndAfter::add_to(BundleWriter& bundle) const {
  for (const auto& step : {&BeforeAndAfter::add_counters, &BeforeAndAfter::add_blocked_tasks, &BeforeAndAfter::add_sockets,
                           &BeforeAndAfter::add_throttled_servers}) {
    if (const Status added = (this->*step)(bundle); !added) {
      return added.error();
    }
  }
  return base::ok();
}

Status BeforeAndAfter::add_counters(BundleWriter& bundle) const {
  const Result<std::vector<CounterValue>> after = host::read_counters();
  if (!after || !counters_) {
    return bundle.add(GapRecord{"packet and steal counters", after ? counters_.error().reason : after.error().reason,
                                "Drops, NAPI budget squeezes and stolen CPU time are not known."});
  }
  return bundle.add_all(increases(*counters_, *after));
}

Status BeforeAndAfter::add_sockets(BundleWriter& bundle) const {
  if (!sockets_) {
    return base::ok();
  }
  const Result<SocketSnapshot> after = look_at_sockets(*netns_path_);
  if (!after || !*sockets_) {
    return bundle.add(GapRecord{"sockets", after ? sockets_->error().reason : after.error().reason,
                                "Whether an application was behind with what it had received is not known."});
  }
  if (const Status added = bundle.add_all(increases((*sockets_)->counters, after->counters)); !added) {
    return added.error();
  }
  return bundle.add_all(sockets_behind(**sockets_, *after));
}

Status BeforeAndAfter::add_throttled_servers(BundleWriter& bundle) const {
  if (!limited_servers_) {
    return base::ok();
  }
  if (!*limited_servers_) {
    return bundle.add(
        GapRecord{"CPU limits of cgroups", limited_servers_->error().reason, "Whether an application was throttled is not known."});
  }
  return bundle.add_all(throttled_since(**limited_servers_));
}

Status BeforeAndAfter::add_blocked_tasks(BundleWriter& bundle) const {
  const Result<census::BlockedThreads> after = census::read_blocked_threads("");
  if (!after || !blocked_) {
    return bundle.add(GapRecord{"tasks in uninterruptible sleep", after ? blocked_.error().reason : after.error().reason,
                                "Whether one hangs is not known."});
  }
  if (const Status added = bundle.add_all(census::blocked_throughout(*blocked_, *after)); !added) {
    return added.error();
  }
  return bundle.add_all(census::read_hung_task_settings(""));
}

}  // namespace stallscope::cli
