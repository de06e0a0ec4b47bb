// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "cli/ssh_connection.h"

namespace stallscope::cli {

struct FarNodeOptions {
  NodeAccess node;
  std::uint16_t echo_id = 0;
  /// The probes are SYNs to this port instead of echoes.
  std::optional<std::uint16_t> tcp_port;
  /// The node ends by itself after this, whatever becomes of the connection.
  std::int64_t longest_ns = 0;
  std::int64_t wait_threshold_ns = 0;
};

/// A recorder on another host. It ends when this ends, or when the connection does.
class FarNode {
 public:
  /// Blocks until the node records. Ctrl-C (InterruptGuard) ends the wait with an error.
  [[nodiscard]] static base::Result<FarNode> start(const FarNodeOptions& options);

  FarNode(FarNode&&) noexcept;
  FarNode& operator=(FarNode&&) = delete;
  FarNode(const FarNode&) = delete;
  FarNode& operator=(const FarNode&) = delete;
  /// Ends the recorder and removes what was left on the node, as far as it can still be reached.
  ~FarNode();

  /// Ends the recording, and writes its bundle to `path`, which must not exist. Blocks until it is here.
  [[nodiscard]] base::Status fetch(const std::string& path);

 private:
  FarNode(NodeProgram program, std::unique_ptr<SshConnection> recorder);

  /// Goes last: the recorder runs it.
  NodeProgram program_;
  std::unique_ptr<SshConnection> recorder_;
};

}  // namespace stallscope::cli
