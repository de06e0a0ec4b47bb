// SPDX-License-Identifier: Apache-2.0
#include "evidence/schema.h"

#include <fmt/format.h>

#include <string>

#include "evidence/columns.h"

namespace stallscope::evidence {
namespace {

/// " CHECK (...)" for what a column may hold beyond its type, or nothing. Bounds that only keep arithmetic safe are left to the
/// reader, so that the schema stays readable.
template <typename T>
std::string check_clause(std::string_view name, Range range) {
  if constexpr (std::is_enum_v<T>) {
    std::string ids;
    for (const T value : EnumIds<T>::all) {
      ids += fmt::format("{}'{}'", ids.empty() ? "" : ", ", EnumIds<T>::id(value));
    }
    return fmt::format(" CHECK ({} IN ({}))", name, ids);
  } else if constexpr (std::is_same_v<T, bool>) {
    return fmt::format(" CHECK ({} IN (0, 1))", name);
  } else {
    if (range.minimum < -1) {
      return "";
    }
    if (range.minimum == range.maximum) {
      return fmt::format(" CHECK ({} = {})", name, range.minimum);
    }
    if (range.maximum >= process_ids.maximum) {
      return fmt::format(" CHECK ({} >= {})", name, range.minimum);
    }
    return fmt::format(" CHECK ({} BETWEEN {} AND {})", name, range.minimum, range.maximum);
  }
}

template <typename T>
std::string column_type(std::string_view name, Range range) {
  if constexpr (IsOptional<T>::value) {
    return "INTEGER" + check_clause<typename T::value_type>(name, range);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return "TEXT NOT NULL";
  } else if constexpr (std::is_enum_v<T>) {
    return "TEXT NOT NULL" + check_clause<T>(name, range);
  } else {
    return "INTEGER NOT NULL" + check_clause<T>(name, range);
  }
}

/// SQLite keeps the text of a statement from its first word to its last, so the comments stay in the file: `.schema` shows them.
template <typename Record>
std::string create_table() {
  using Definition = Table<Record>;
  struct Line {
    std::string sql;
    std::string comment;
  };
  std::vector<Line> lines;
  for_each_column<Record>([&](const auto& column) {
    using Value = ValueOf<Record, decltype(column.member)>;
    const std::string comment = column.about.empty() ? "" : fmt::format(" -- {}", column.about);
    lines.push_back({fmt::format("{} {}", column.name, column_type<Value>(column.name, column.range)), comment});
  });
  if (!Definition::key.empty()) {
    lines.push_back({fmt::format("PRIMARY KEY ({})", Definition::key), ""});
  }
  if (!Definition::constraint.empty()) {
    lines.push_back({fmt::format("CHECK ({})", Definition::constraint), ""});
  }
  std::string sql = fmt::format("CREATE TABLE {} ( -- {}\n", Definition::name, Definition::about);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    sql += fmt::format("  {}{}{}\n", lines[i].sql, i + 1 < lines.size() ? "," : "", lines[i].comment);
  }
  return sql + (Definition::without_rowid ? ") STRICT, WITHOUT ROWID" : ") STRICT");
}

// The questions people ask first. The reader of a bundle uses no view, so views may change without a new version.
constexpr std::string_view view_run_summary = R"(CREATE VIEW run_summary AS -- Start here.
SELECT hostname, kernel_release, target, state,
       strftime('%Y-%m-%dT%H:%M:%fZ', (start_ns + realtime_offset_ns) / 1e9, 'unixepoch') AS start_utc,
       round((end_ns - start_ns) / 1e9, 3) AS length_s,
       (SELECT count(*) FROM probe) AS probe_count,
       (SELECT count(*) FROM late_probes) AS late_count,
       (SELECT count(*) FROM probe WHERE received_ns = -1) AS unanswered_count,
       (SELECT count(*) FROM wait) AS wait_count,
       (SELECT ifnull(sum(count), 0) FROM loss) AS lost_event_count
  FROM run)";
constexpr std::string_view view_late_probes =
    R"(CREATE VIEW late_probes AS -- Replies later than the fastest by the wait threshold or more.
SELECT sequence,
       strftime('%H:%M:%f', (intended_ns + realtime_offset_ns) / 1e9, 'unixepoch') AS intended_utc,
       round((received_ns - intended_ns) / 1e6, 3) AS score_ms, -- from the intended send time
       round((received_ns - sent_ns) / 1e6, 3) AS rtt_ms,
       round((sent_ns - intended_ns) / 1e6, 3) AS own_lateness_ms, -- the prober's own
       sender_cpu
  FROM probe, run
 WHERE received_ns <> -1
   AND received_ns - intended_ns >= wait_threshold_ns
       + (SELECT min(received_ns - intended_ns) FROM probe WHERE received_ns <> -1)
 ORDER BY sequence)";
constexpr std::string_view view_http_phases =
    R"(CREATE VIEW http_phases AS -- Where the time of each HTTP probe went. NULL: it did not come to that.
SELECT sequence, status,
       CASE WHEN connected_ns <> -1 THEN round((connected_ns - sent_ns) / 1e6, 3) END AS connect_ms,
       CASE WHEN first_byte_ns <> -1 THEN round((first_byte_ns - connected_ns) / 1e6, 3) END AS first_byte_ms,
       CASE WHEN finished_ns <> -1 THEN round((finished_ns - first_byte_ns) / 1e6, 3) END AS rest_ms
  FROM http JOIN probe USING (sequence)
 ORDER BY sequence)";
constexpr std::string_view view_waits = R"(CREATE VIEW waits AS -- Each wait with the occupant that held the CPU longest.
SELECT wait.id,
       strftime('%H:%M:%f', (wait.start_ns + realtime_offset_ns) / 1e9, 'unixepoch') AS start_utc,
       round((wait.end_ns - wait.start_ns) / 1e6, 3) AS length_ms,
       round((latest_start_ns - earliest_start_ns) / 1e6, 3) AS start_uncertainty_ms,
       cpu, mode, packets_released, comm, pid,
       round(held_ns / 1e6, 3) AS held_ms,
       cgroup, syscall_number, file, stack_id
  FROM wait JOIN run LEFT JOIN occupant ON wait_id = wait.id AND rank = 0
 ORDER BY wait.start_ns)";
constexpr std::string_view view_waits_by_occupant = R"(CREATE VIEW waits_by_occupant AS -- Who held CPUs, in all, worst first.
SELECT comm, tgid, cgroup, mode, syscall_number, file,
       count(DISTINCT wait_id) AS wait_count,
       round(sum(held_ns) / 1e6, 3) AS held_ms,
       round(max(held_ns) / 1e6, 3) AS longest_ms
  FROM occupant JOIN wait ON wait.id = wait_id
 GROUP BY comm, tgid, cgroup, mode, syscall_number, file
 ORDER BY sum(held_ns) DESC)";
constexpr std::string_view view_stacks = R"(CREATE VIEW stacks AS -- Each stack as one line, outermost function first.
SELECT stack_id, group_concat(function, ' > ') AS functions
  FROM (SELECT stack_id, function FROM stack_frame ORDER BY stack_id, position DESC)
 GROUP BY stack_id)";

}  // namespace

const std::vector<std::string>& create_statements() {
  static const std::vector<std::string> statements = {create_table<OnlyRow<RunRecord>>(),
                                                      create_table<FlowRecord>(),
                                                      create_table<ProbeRecord>(),
                                                      create_table<HttpRecord>(),
                                                      create_table<PacketRecord>(),
                                                      create_table<WaitRecord>(),
                                                      create_table<OccupantRow>(),
                                                      create_table<StackFrameRow>(),
                                                      create_table<SampleRecord>(),
                                                      create_table<FlushRecord>(),
                                                      create_table<OnlyRow<MemcgCensusRecord>>(),
                                                      create_table<PinningFileRecord>(),
                                                      create_table<StatReadRecord>(),
                                                      create_table<MemoryRecord>(),
                                                      create_table<SlabRecord>(),
                                                      create_table<CounterRecord>(),
                                                      create_table<BlockedTaskRecord>(),
                                                      create_table<SettingRecord>(),
                                                      create_table<SocketRecord>(),
                                                      create_table<ThrottledCgroupRecord>(),
                                                      create_table<GapRecord>(),
                                                      create_table<LossRecord>(),
                                                      std::string(view_late_probes),
                                                      std::string(view_run_summary),
                                                      std::string(view_http_phases),
                                                      std::string(view_waits),
                                                      std::string(view_waits_by_occupant),
                                                      std::string(view_stacks)};
  return statements;
}

}  // namespace stallscope::evidence
