// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "diagnose/rules/common.h"

// Applications that are behind with what the network delivered in time.
namespace stallscope::diagnose::rules {
namespace {

using evidence::CounterRecord;
using evidence::SocketRecord;

/// A connection with so much unread, both before and after, is not being read: what a busy server leaves at a given moment is less.
constexpr std::int64_t unread_bytes = std::int64_t{64} * 1024;

std::int64_t netns_increase(const Context& context, std::string_view name) {
  for (const CounterRecord& counter : context.evidence.counters) {
    if (counter.name == name && counter.cpu < 0) {
      return std::max<std::int64_t>(0, saturating_subtract(counter.after, counter.before));
    }
  }
  return 0;
}

bool is_unread(const SocketRecord& socket) {
  const bool stays_full = socket.queued_before >= unread_bytes && socket.queued_after >= unread_bytes;
  return !socket.listening && (socket.drop_count > 0 || stays_full);
}

std::string owner_name(const SocketRecord& socket) {
  return socket.pid == 0 ? "a process that is not known" : fmt::format("{} (pid {})", socket.comm, socket.pid);
}

std::string socket_name(const SocketRecord& socket) {
  return fmt::format("{} {}", socket.protocol, socket.local_address);
}

}  // namespace

std::optional<Finding> accept_queue(const Context& context) {
  const std::int64_t overflows = netns_increase(context, "tcp.listen_overflows");
  if (overflows == 0) {
    return std::nullopt;
  }
  const SocketRecord* fullest = nullptr;
  for (const SocketRecord& socket : context.evidence.sockets) {
    if (socket.listening && socket.queued_after > 0 && (fullest == nullptr || socket.queued_after > fullest->queued_after)) {
      fullest = &socket;
    }
  }
  Finding finding;
  finding.no_stall = "the packet path is innocent, a server does not accept its connections";
  finding.evidence_for.push_back(
      fmt::format("the kernel counted {} overflow{} of accept queues (ListenOverflows) in that network namespace",
                  base::format_count(overflows), overflows == 1 ? "" : "s"));
  if (fullest == nullptr) {
    finding.confidence = Confidence::medium;
    finding.confidence_reason = "which server it was is not known: no accept queue held anything at the end";
    finding.cause = "the accept queue of a server overflowed: attempts to connect were dropped and have to be repeated";
  } else {
    finding.confidence = Confidence::high;
    finding.cause =
        fmt::format("{} does not accept connections to {} fast enough: attempts to connect were dropped and have to be repeated",
                    owner_name(*fullest), socket_name(*fullest));
    finding.evidence_for.push_back(fmt::format("{} connection{} waited in its accept queue at the end",
                                               base::format_count(fullest->queued_after), fullest->queued_after == 1 ? "" : "s"));
  }
  finding.other_causes = other_causes(context, {Check::prober});
  finding.next_steps.push_back(fmt::format("look at what {} does instead of accept(2): blocked, overloaded, or without CPU",
                                           fullest == nullptr ? "the server" : owner_name(*fullest)));
  finding.next_steps.emplace_back("read docs/rules/accept-queue.md");
  return finding;
}

std::optional<Finding> socket_unread(const Context& context) {
  std::vector<const SocketRecord*> unread;
  for (const SocketRecord& socket : context.evidence.sockets) {
    if (is_unread(socket)) {
      unread.push_back(&socket);
    }
  }
  if (unread.empty()) {
    return std::nullopt;
  }
  std::stable_sort(unread.begin(), unread.end(), [](const SocketRecord* a, const SocketRecord* b) {
    return a->drop_count != b->drop_count ? a->drop_count > b->drop_count : a->queued_after > b->queued_after;
  });
  const SocketRecord& worst = *unread.front();
  Finding finding;
  finding.no_stall = "the packet path is innocent, what it delivered lies in the socket";
  const bool dropped = worst.drop_count > 0;
  finding.confidence = dropped ? Confidence::high : Confidence::medium;
  finding.confidence_reason = dropped ? "" : "the queue was long at two moments, not watched in between";
  finding.cause = fmt::format(
      "{} does not read {} fast enough{}", owner_name(worst), socket_name(worst),
      dropped ? fmt::format(": {} packets were dropped for want of room", base::format_count(worst.drop_count)) : std::string{});
  for (const SocketRecord* socket : unread) {
    if (finding.evidence_for.size() == 5) {
      finding.evidence_for.push_back(
          fmt::format("and {} more sockets", base::format_count(static_cast<std::int64_t>(unread.size()) - 5)));
      break;
    }
    finding.evidence_for.push_back(fmt::format(
        "{} of {}: {} bytes unread before, {} after", socket_name(*socket), owner_name(*socket),
        base::format_count(std::max<std::int64_t>(socket->queued_before, 0)), base::format_count(socket->queued_after)));
  }
  finding.other_causes = other_causes(context, {Check::prober});
  finding.next_steps.push_back(
      fmt::format("look at what {} does instead of reading: blocked, overloaded, or without CPU", owner_name(worst)));
  finding.next_steps.emplace_back("read docs/rules/socket-unread.md");
  return finding;
}

}  // namespace stallscope::diagnose::rules
