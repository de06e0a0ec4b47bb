// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/ssh_connection.h"

namespace stallscope::cli {

struct FarProberOptions {
  /// As `stallscope probe` takes it.
  std::string target;
  std::int64_t interval_ns = 0;
  std::int64_t duration_ns = 0;
  std::int64_t timeout_ns = 0;
};

/// A probe of another host, by this host's clock (base::monotonic_ns).
struct FarProbe {
  std::int64_t intended_ns = 0;
  std::int64_t sent_ns = 0;
  /// Nothing: lost.
  std::optional<std::int64_t> received_ns;
};

/// Reads what `stallscope probe --each --json` prints on another host. The two clocks are aligned by the line that got here soonest
/// after its answer did there: this host's time may come out late by as long as that took, never early. Pure.
class FarProbeReader {
 public:
  /// Text as it comes, in pieces of any size, at `now_ns`. Lines that are no probe are passed over: what a login prints, for
  /// example.
  void add(std::string_view text, std::int64_t now_ns);

  /// Probes read since the last call. None before the clocks were compared for `align_ns` after the first line.
  [[nodiscard]] std::vector<FarProbe> take(std::int64_t now_ns);

  static constexpr std::int64_t align_ns = 2'000'000'000;

 private:
  void read_line(std::string_view line, std::int64_t now_ns);

  std::string partial_;
  /// By the far clock.
  std::vector<FarProbe> probes_;
  std::optional<std::int64_t> offset_ns_;
  std::int64_t first_line_ns_ = 0;
};

/// A prober on another host. It ends when this ends, or when the connection does.
class FarProber {
 public:
  /// Blocks until it has printed its first probe. Ctrl-C (InterruptGuard) ends the wait with an error.
  [[nodiscard]] static base::Result<FarProber> start(std::shared_ptr<const NodeProgram> program, const FarProberOptions& options);

  /// What came since the last call; does not block. Empty where nothing did. An error where the far prober failed, or ended
  /// unasked.
  [[nodiscard]] base::Result<std::vector<FarProbe>> take();

  void request_stop();
  [[nodiscard]] const std::string& host() const { return program_->access().host; }

 private:
  FarProber(std::shared_ptr<const NodeProgram> program, base::OwnedFd output, std::unique_ptr<SshConnection> connection)
      : program_(std::move(program)), output_(std::move(output)), connection_(std::move(connection)) {}

  [[nodiscard]] base::Status read_available(int wait_ms);

  /// Goes last: the prober runs it.
  std::shared_ptr<const NodeProgram> program_;
  base::OwnedFd output_;
  std::unique_ptr<SshConnection> connection_;
  FarProbeReader reader_;
  bool begun_ = false;
  bool ended_ = false;
  bool stopping_ = false;
};

}  // namespace stallscope::cli
