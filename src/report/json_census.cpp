// SPDX-License-Identifier: Apache-2.0
#include "diagnose/memcg_facts.h"
#include "report/json_parts.h"

namespace stallscope::report {
namespace {

using evidence::Evidence;

Json memory_cgroups(const Evidence& evidence) {
  if (!evidence.memcg_census) {
    return nullptr;
  }
  const evidence::MemcgCensusRecord& census = *evidence.memcg_census;
  const diagnose::MemcgCounts counts = diagnose::memcg_counts(evidence);
  return {{"taken_ns", census.taken_ns},
          {"cgroup_version", census.cgroup_version},
          {"total", or_null(counts.total)},
          {"dying", or_null(counts.dying)},
          {"kernel_total", or_null(census.kernel_total)},
          {"kernel_dying", or_null(census.kernel_dying)},
          {"visible", or_null(census.visible)},
          {"walked_live", or_null(census.walked_live)},
          {"walked_dying", or_null(census.walked_dying)},
          {"walk_approximate", census.walk_approximate},
          {"walk_ns", census.walk_ns},
          {"walk_longest_section_ns", census.walk_longest_section_ns}};
}

}  // namespace

Json census_json(const Evidence& evidence) {
  Json files = Json::array();
  for (const evidence::PinningFileRecord& file : evidence.pinning_files) {
    files.push_back({{"path", file.path},
                     {"filesystem", file.filesystem},
                     {"device", file.device},
                     {"inode", file.inode},
                     {"memcg_count", file.memcg_count},
                     {"charged_bytes", file.charged_bytes}});
  }
  Json reads = Json::array();
  for (const evidence::StatReadRecord& read : evidence.stat_reads) {
    reads.push_back(
        {{"path", read.path}, {"read_count", read.read_count}, {"median_ns", read.median_ns}, {"worst_ns", read.worst_ns}});
  }
  Json memory = Json::array();
  for (const evidence::MemoryRecord& row : evidence.memory) {
    memory.push_back({{"name", row.name}, {"bytes", row.bytes}});
  }
  Json slabs = Json::array();
  for (const evidence::SlabRecord& slab : evidence.slabs) {
    slabs.push_back({{"cache", slab.cache},
                     {"active_objects", slab.active_objects},
                     {"total_objects", slab.total_objects},
                     {"object_bytes", slab.object_bytes},
                     {"total_bytes", slab.total_bytes}});
  }
  Json blocked = Json::array();
  for (const evidence::BlockedTaskRecord& task : evidence.blocked_tasks) {
    blocked.push_back({{"pid", task.pid},
                       {"tgid", task.tgid},
                       {"comm", task.comm},
                       {"waits_in", task.waits_in.empty() ? Json(nullptr) : Json(task.waits_in)},
                       {"blocked_ns", task.blocked_ns}});
  }
  Json settings = Json::object();
  for (const evidence::SettingRecord& setting : evidence.settings) {
    settings[setting.name] = setting.value;
  }
  return {{"memory_cgroups", memory_cgroups(evidence)},
          {"pinning_files", files},
          {"stat_reads", reads},
          {"memory", memory},
          {"slabs", slabs},
          {"blocked_tasks", blocked},
          {"settings", settings}};
}

Json sockets_json(const Evidence& evidence) {
  const auto known = [](std::int64_t count) { return count >= 0 ? Json(count) : Json(nullptr); };
  Json list = Json::array();
  for (const evidence::SocketRecord& socket : evidence.sockets) {
    list.push_back({{"protocol", socket.protocol},
                    {"local_address", socket.local_address},
                    {"listening", socket.listening},
                    {"queued_before", known(socket.queued_before)},
                    {"queued_after", known(socket.queued_after)},
                    {"drop_count", known(socket.drop_count)},
                    {"inode", socket.inode},
                    {"pid", socket.pid != 0 ? Json(socket.pid) : Json(nullptr)},
                    {"comm", socket.comm}});
  }
  return list;
}

Json throttled_cgroups_json(const Evidence& evidence) {
  Json list = Json::array();
  for (const evidence::ThrottledCgroupRecord& cgroup : evidence.throttled_cgroups) {
    list.push_back({{"cgroup", cgroup.cgroup},
                    {"quota_ns", cgroup.quota_ns},
                    {"period_ns", cgroup.period_ns},
                    {"period_count", cgroup.period_count},
                    {"throttled_count", cgroup.throttled_count},
                    {"throttled_ns", cgroup.throttled_ns},
                    {"process_count", cgroup.process_count},
                    {"pid", cgroup.pid},
                    {"comm", cgroup.comm},
                    {"protocol", cgroup.protocol},
                    {"local_address", cgroup.local_address}});
  }
  return list;
}

}  // namespace stallscope::report
