// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::cli {

struct FarNodeOptions {
  /// What the user's ssh takes as destination: "node7", "root@10.0.1.2".
  std::string host;
  /// How the node calls stallscope.
  std::string program = "stallscope";
  /// Send this very program over first, and remove it afterwards.
  bool copy = false;
  /// Run it there by sudo, which must not ask for a password.
  bool sudo = false;
  std::uint16_t echo_id = 0;
  /// The node ends by itself after this, whatever becomes of the connection.
  std::int64_t longest_ns = 0;
  std::int64_t wait_threshold_ns = 0;
};

/// "ssh:HOST" as given to --node.
[[nodiscard]] base::Result<std::string> parse_node(const std::string& text);

/// A recorder on another host, started through the user's own ssh: its configuration, keys and questions. It ends when this ends,
/// or when the connection does.
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
  class Connection;
  FarNode(FarNodeOptions options, std::string name, std::unique_ptr<Connection> recorder);

  [[nodiscard]] base::Status remove_files();

  FarNodeOptions options_;
  /// Of the files on the node, without a suffix.
  std::string name_;
  std::unique_ptr<Connection> recorder_;
};

}  // namespace stallscope::cli
