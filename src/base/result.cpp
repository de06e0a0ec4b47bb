// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <cstring>

#include "base/text.h"

namespace stallscope::base {

std::string Error::message() const {
  std::string text = "cannot " + operation;
  if (!object.empty()) {
    text += " " + printable(object);
  }
  if (!reason.empty()) {
    text += ": " + printable(reason);
  }
  if (!hint.empty()) {
    text += "\n  " + hint;
  }
  return text;
}

Error errno_error(std::string operation, std::string object, int errno_value, std::string hint) {
  return {std::move(operation), std::move(object), std::strerror(errno_value), std::move(hint)};  // NOLINT(concurrency-mt-unsafe)
}

}  // namespace stallscope::base
