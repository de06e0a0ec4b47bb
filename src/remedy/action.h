// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace stallscope::remedy {

/// What may be acted on: nothing that the user did not name.
struct Request {
  std::string option;
  std::vector<std::string> files;
  std::string cgroup;
  std::int32_t pid = 0;
  bool accept_stall = false;
};

/// One option that is carried out in steps.
class Action {
 public:
  Action() = default;
  Action(const Action&) = delete;
  Action& operator=(const Action&) = delete;
  Action(Action&&) = delete;
  Action& operator=(Action&&) = delete;
  virtual ~Action() = default;

  /// What it will do, one line each.
  [[nodiscard]] virtual std::vector<std::string> description() const = 0;
  [[nodiscard]] virtual std::string undo() const = 0;
  /// Steps' worth of work in all, in its own unit; 0: not known beforehand.
  [[nodiscard]] virtual std::int64_t total() const = 0;
  [[nodiscard]] virtual bool done() const = 0;
  /// Does about `amount` more and returns how much that was.
  [[nodiscard]] virtual base::Result<std::int64_t> step(std::int64_t amount) = 0;
  /// Once, after the last step, also where that was not the last needed: leaves nothing half done.
  [[nodiscard]] virtual base::Status finish(bool complete) = 0;
};

/// Checks everything that can be checked without changing anything. Refuses, with the reason and the next step: an unknown option,
/// an object that is missing, superfluous or not of the right kind, drop-caches without accept_stall. Opens what it will act on, so
/// that a name that later means something else is not followed.
[[nodiscard]] base::Result<std::unique_ptr<Action>> prepare(const Request& request);

/// "stop-reader", "drop-file-cache", ...: what prepare() understands.
[[nodiscard]] std::vector<std::string> applicable_options();

}  // namespace stallscope::remedy
