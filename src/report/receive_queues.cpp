// SPDX-License-Identifier: Apache-2.0
#include "report/receive_queues.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/layout.h"

namespace stallscope::report {
namespace {

std::string hash_text(const rss::ReceiveQueues& queues) {
  if (queues.key.empty()) {
    return "no hash key known";
  }
  const std::uint32_t function = queues.hash_function.value_or(rss::hash_toeplitz);
  const std::string_view name = function == rss::hash_toeplitz ? "Toeplitz"
                                : function == rss::hash_xor    ? "XOR"
                                : function == rss::hash_crc32  ? "CRC32"
                                                               : "unknown";
  return fmt::format("hash {}{}, key of {} bytes, table of {}", name,
                     queues.transform && *queues.transform != rss::InputTransform::none
                         ? fmt::format(" ({})", rss::transform_id(*queues.transform))
                         : "",
                     queues.key.size(), queues.table.size());
}

}  // namespace

std::string render_receive_queues(const rss::ReceiveQueues& queues, std::size_t width) {
  Page page(width, false);
  std::string head = base::printable(queues.device);
  head += queues.driver.empty() ? "" : fmt::format(" ({})", base::printable(queues.driver));
  head += fmt::format(": {} receive queue{}, {}", queues.queue_count, queues.queue_count == 1 ? "" : "s", hash_text(queues));
  for (const std::string& line : fill(head, width)) {
    page.line(line);
  }
  if (!queues.key.empty()) {
    std::string hashed = "hashed:";
    for (const rss::PacketKind kind : rss::all_packet_kinds) {
      if (const auto fields = queues.fields_of(kind)) {
        hashed += fmt::format("{} {} {}", hashed.back() == ':' ? "" : ",", rss::packet_kind_id(kind), rss::fields_text(*fields));
      }
    }
    for (const std::string& line : fill(hashed, page.room(2))) {
      page.line("  " + line);
    }
  }
  if (!queues.queues.empty()) {
    page.line(fmt::format("  {:>5}  {:>5}  {:<16}  {}", "queue", "IRQ", "interrupts CPUs", "RPS moves to CPUs"));
  }
  for (const rss::QueueCpus& queue : queues.queues) {
    const std::string rps = !queue.rps_cpus ? "not known" : queue.rps_cpus->empty() ? "off" : rss::cpu_list(*queue.rps_cpus);
    page.line(fit(fmt::format("  {:>5}  {:>5}  {:<16}  {}", queue.queue, queue.irq ? fmt::format("{}", *queue.irq) : "?",
                              queue.irq ? rss::cpu_list(queue.irq_cpus) : "not known", rps),
                  width));
  }
  for (const std::string& note : queues.notes) {
    for (const std::string& line : fill(base::printable(note), page.room(2))) {
      page.line("  " + line);
    }
  }
  return page.take();
}

Json receive_queues_json(const rss::ReceiveQueues& queues) {
  Json list = Json::array();
  for (const rss::QueueCpus& queue : queues.queues) {
    list.push_back({{"queue", queue.queue},
                    {"irq", or_null(queue.irq)},
                    {"irq_cpus", queue.irq ? Json(queue.irq_cpus) : Json(nullptr)},
                    {"rps_cpus", or_null(queue.rps_cpus)}});
  }
  Json fields = Json::object();
  for (const rss::PacketKind kind : rss::all_packet_kinds) {
    const auto known = queues.fields_of(kind);
    fields[std::string(rss::packet_kind_id(kind))] = known ? Json(rss::fields_text(*known)) : Json(nullptr);
  }
  Json notes = Json::array();
  for (const std::string& note : queues.notes) {
    notes.push_back(base::printable(note));
  }
  return {{"device", base::printable(queues.device)},
          {"driver", queues.driver.empty() ? Json(nullptr) : Json(base::printable(queues.driver))},
          {"netns_inode", queues.netns_inode},
          {"queue_count", queues.queue_count},
          {"hash_function", or_null(queues.hash_function)},
          {"input_transform", queues.transform ? Json(rss::transform_id(*queues.transform)) : Json(nullptr)},
          {"key_bytes", queues.key.size()},
          {"table", queues.table},
          {"fields", std::move(fields)},
          {"steering_rules", or_null(queues.steering_rule_count)},
          {"queues", std::move(list)},
          {"notes", std::move(notes)}};
}

}  // namespace stallscope::report
