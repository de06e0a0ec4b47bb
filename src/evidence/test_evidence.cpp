// SPDX-License-Identifier: Apache-2.0
#include "evidence/test_evidence.h"

#include <limits>
#include <stdexcept>

namespace stallscope::evidence {

Evidence complete_evidence() {
  Evidence evidence;
  evidence.run = {"0.1.0",
                  "node-1",
                  "6.18.0",
                  "8d2a0f6e-5f5a-4b0e-9a7e-0c1d2e3f4a5b",
                  1'790'000'000'000'000'000,
                  1'000'000'000,
                  21'000'000'000,
                  20'000'000'000,
                  1'000'000,
                  2,
                  "node",
                  "10.0.1.2",
                  "client",
                  10'000'000,
                  true,
                  true,
                  "finished"};
  evidence.flows = {{1, ProbeKind::tcp_syn, "node", "10.0.1.1", 61'000, "10.0.1.2", 443},
                    {2, ProbeKind::udp_echo, "\x1b[2J", "fd00::1", 0, "fd00::2", 65'535}};
  evidence.probes = {
      {1, 1'010'000'000, 1'010'050'000, 1'110'250'000, 1, 1, 1'010'051'000, AnswerKind::reset, 7'000, 1'010'052'000, 1'110'240'000},
      {2, 1'020'000'000, 1'020'050'000, 1'110'260'000, 1, 2}};
  evidence.http = {{1, 1'011'000'000, 1'109'000'000, 1'110'250'000, 503}, {2}};
  evidence.packets = {{1, PacketLeg::reply, 4'026'532'000U, 3, "veth-\xff\x1b[31m", 1, 2, 1'010'060'000, 1'110'200'000,
                       ServedBy::ksoftirqd, 14, "ksoftirqd/0", 44}};
  evidence.stacks = {{1, {"css_rstat_flush", "seq_read_iter", "vfs_read"}}, {2, {"f('x'); DROP TABLE run"}}};
  Occupant reader;
  reader.pid = 4121;
  reader.tgid = 4120;
  reader.comm = std::string("cad\0visor", 9);
  reader.kernel_thread = true;
  reader.cgroup = "/kubepods/pod7f9c";
  reader.syscall_number = 0;
  reader.syscall_arguments = {5, std::numeric_limits<std::uint64_t>::max(), 4096, 1, 2, 3};
  reader.file = "/sys/fs/cgroup/memory/kubepods/memory.stat";
  reader.stack_id = 1;
  reader.held_ns = 98'600'000;
  reader.sample_count = 24;
  Occupant other = reader;
  other.comm = "other";
  other.stack_id = 2;
  other.held_ns = 100'000;
  evidence.waits = {{7,
                     1,
                     WaitMode::softirq_vector,
                     1'011'000'000,
                     1'010'900'000,
                     1'011'100'000,
                     1'110'000'000,
                     7,
                     10,
                     5'000'000,
                     {reader, other}},
                    {8, 1, WaitMode::net_rx_work, 2'011'000'000, 2'010'900'000, 2'011'100'000, 2'110'000'000, 3, 1, 0, {other}}};
  evidence.samples = {{7, 1'012'000'000, 1'050'000'000, 38, 4121, "cad\x1bvisor", 1},
                      {7, 1'051'000'000, 1'051'000'000, 1, 0, "", 0}};
  evidence.flushes = {{1, 1'011'000'000, 1'109'000'000, 4121, 4120, "cadvisor", "/kubepods"}};
  evidence.memcg_census = MemcgCensusRecord{900'000'000, 1, 50'011, 50'006, 5, 4, 50'007, true, 12'000'000, 40'000};
  evidence.pinning_files = {{"/pins", "tmpfs", 26, std::numeric_limits<std::uint64_t>::max(), 50'006, 204'824'576}};
  evidence.stat_reads = {{"/sys/fs/cgroup/memory/memory.stat", 9, 30'000, 96'000'000}};
  evidence.memory = {{"MemTotal", 8'000'000'000}};
  evidence.slabs = {{"dentry", 10, 20, 192, 4096}};
  evidence.counters = {{"softnet.dropped", 1, 3, 4}, {"steal", 1, 5'000'000, 6'000'000}};
  evidence.blocked_tasks = {{812, 811, "backup", "do_truncate", 20'000'000'000}};
  // In order of names, as they are read back.
  evidence.settings = {{"kernel.hung_task_panic", 1}, {"kernel.hung_task_timeout_secs", 120}};
  evidence.sockets = {{"udp", "10.0.1.2:53", true, 1, 212'992, 17, 48'213, 911, "resolver"}};
  evidence.throttled_cgroups = {
      {"/kubepods/web", 20'000'000, 120'000'000, 40, 38, 3'800'000'000, 2, 911, "web", "tcp", "10.0.1.2:80"}};
  evidence.gaps = {{"kernel stacks", "kptr_restrict is 2", "functions have no names"}};
  evidence.losses = {{"ring buffer", 12}};
  return evidence;
}

void write_evidence(const std::string& path, const Evidence& evidence) {
  BundleWriter writer = value_of(BundleWriter::create(path, evidence.run));
  const auto add_all = [&](const auto& records) {
    for (const auto& record : records) {
      require(writer.add(record));
    }
  };
  for (const StackRecord& stack : evidence.stacks) {
    EXPECT_EQ(value_of(writer.add_stack(stack.frames)), stack.id);
  }
  add_all(evidence.flows);
  add_all(evidence.probes);
  add_all(evidence.http);
  add_all(evidence.packets);
  add_all(evidence.waits);
  add_all(evidence.samples);
  add_all(evidence.flushes);
  if (evidence.memcg_census) {
    require(writer.add(*evidence.memcg_census));
  }
  add_all(evidence.pinning_files);
  add_all(evidence.stat_reads);
  add_all(evidence.memory);
  add_all(evidence.slabs);
  add_all(evidence.counters);
  add_all(evidence.blocked_tasks);
  add_all(evidence.settings);
  add_all(evidence.sockets);
  add_all(evidence.throttled_cgroups);
  add_all(evidence.gaps);
  add_all(evidence.losses);
  require(writer.commit());
}

void tamper(const std::string& path, const std::string& sql) {
  Database database;
  if (database.open(path, SQLITE_OPEN_READWRITE) != SQLITE_OK || database.execute(sql) != SQLITE_OK) {
    throw std::runtime_error(sqlite3_errmsg(database.get()));
  }
}

std::string query_text(const std::string& path, const std::string& sql) {
  Database database;
  Statement statement;
  if (database.open(path, SQLITE_OPEN_READONLY) != SQLITE_OK || database.prepare(sql, statement) != SQLITE_OK ||
      statement.step() != SQLITE_ROW) {
    throw std::runtime_error(sqlite3_errmsg(database.get()));
  }
  return std::string(statement.text(0));
}

}  // namespace stallscope::evidence
