// SPDX-License-Identifier: Apache-2.0
#include "cli/far_prober.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/interrupt.h"

namespace stallscope::cli {
namespace {

using base::Error;
using base::Result;
using base::Status;
using nlohmann::json;

constexpr std::size_t longest_line = std::size_t{64} * 1024;

/// A time of a clock that began with its host; anything else is none, and could not be calculated with.
std::optional<std::int64_t> time_of(const json& line, const char* name) {
  constexpr std::int64_t latest_ns = std::int64_t{1} << 62U;
  const auto field = line.find(name);
  if (field == line.end() || !field->is_number_integer()) {
    return std::nullopt;
  }
  const auto time_ns = field->get<std::int64_t>();
  return time_ns >= 0 && time_ns <= latest_ns ? std::optional(time_ns) : std::nullopt;
}

std::string prober_command(const FarProberOptions& options, const NodeProgram& program) {
  return until_input_ends(fmt::format("{} probe {} --each --json --interval {}us --for {}ms --timeout {}ms", program.command(),
                                      shell_word(options.target), options.interval_ns / base::ns_per_us,
                                      options.duration_ns / base::ns_per_ms, options.timeout_ns / base::ns_per_ms));
}

}  // namespace

void FarProbeReader::add(std::string_view text, std::int64_t now_ns) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    partial_ += text.substr(0, end);
    if (end == std::string_view::npos) {
      // A line that never ends must not fill the memory; what is left of it will be no probe.
      if (partial_.size() > longest_line) {
        partial_.clear();
      }
      return;
    }
    read_line(partial_, now_ns);
    partial_.clear();
    text.remove_prefix(end + 1);
  }
}

void FarProbeReader::read_line(std::string_view line, std::int64_t now_ns) {
  const json parsed = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object() || !parsed.contains("type") || parsed["type"] != "probe") {
    return;
  }
  const std::optional<std::int64_t> intended_ns = time_of(parsed, "intended_ns");
  const std::optional<std::int64_t> sent_ns = time_of(parsed, "sent_ns");
  if (!intended_ns || !sent_ns) {
    return;
  }
  const FarProbe probe{*intended_ns, *sent_ns, time_of(parsed, "received_ns")};
  probes_.push_back(probe);
  // The line of a lost one comes a timeout late: good enough where nothing else comes, and else no match for one that was answered.
  const std::int64_t offset_ns = now_ns - probe.received_ns.value_or(probe.sent_ns);
  if (!offset_ns_) {
    first_line_ns_ = now_ns;
  }
  offset_ns_ = std::min(offset_ns, offset_ns_.value_or(offset_ns));
}

std::vector<FarProbe> FarProbeReader::take(std::int64_t now_ns) {
  if (!offset_ns_ || now_ns - first_line_ns_ < align_ns) {
    return {};
  }
  std::vector<FarProbe> taken = std::exchange(probes_, {});
  for (FarProbe& probe : taken) {
    probe.intended_ns += *offset_ns_;
    probe.sent_ns += *offset_ns_;
    if (probe.received_ns) {
      *probe.received_ns += *offset_ns_;
    }
  }
  return taken;
}

Result<FarProber> FarProber::start(std::shared_ptr<const NodeProgram> program, const FarProberOptions& options) {
  const std::string host = program->access().host;
  Result<Pipe> input = Pipe::open();
  Result<Pipe> output = Pipe::open();
  if (!input || !output) {
    return input ? output.error() : input.error();
  }
  Result<std::unique_ptr<SshConnection>> connection =
      SshConnection::open("probe from", host, prober_command(options, *program), input->read.get(), output->write.get());
  if (!connection) {
    return connection.error();
  }
  (*connection)->hold_input(std::move(input->write));
  FarProber prober(std::move(program), std::move(output->read), *std::move(connection));
  output->write.reset();
  constexpr int wait_ms = 100;
  while (!prober.begun_) {
    if (InterruptGuard::requested()) {
      return Error{"probe from", host, "interrupted before its first probe", ""};
    }
    if (const Status read = prober.read_available(wait_ms); !read) {
      return read.error();
    }
    if (prober.ended_) {
      return Error{"probe from", host, "it ended there without a probe", ""};
    }
  }
  return prober;
}

Status FarProber::read_available(int wait_ms) {
  pollfd ready{output_.get(), POLLIN, 0};
  while (!ended_ && ::poll(&ready, 1, wait_ms) > 0) {
    std::array<char, longest_line> chunk{};
    const ssize_t got = ::read(output_.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      ended_ = true;
      return connection_->finish(exit_findings);
    }
    reader_.add({chunk.data(), static_cast<std::size_t>(got)}, base::monotonic_ns());
    begun_ = true;
    wait_ms = 0;
  }
  return base::ok();
}

void FarProber::request_stop() {
  stopping_ = true;
  connection_->end_input();
}

Result<std::vector<FarProbe>> FarProber::take() {
  if (const Status read = read_available(0); !read) {
    return read.error();
  }
  if (ended_ && !stopping_) {
    return Error{"probe from", host(), "its prober ended before this one did", ""};
  }
  return reader_.take(base::monotonic_ns());
}

}  // namespace stallscope::cli
