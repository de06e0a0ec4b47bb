// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace stallscope::base {

/// What a person is told when something fails: the object, the reason and the next step.
struct Error {
  /// What was tried, in the infinitive: "open", "load the tracer".
  std::string operation;
  /// What it was tried on: a path, a host name, an option. May be empty.
  std::string object;
  /// Why it failed, without a trailing full stop.
  std::string reason;
  /// What the person can do now. May be empty.
  std::string hint;

  /// "cannot OPERATION OBJECT: REASON" and, on a line of its own, the hint. Control characters in the object are escaped, so
  /// the text can go to a terminal.
  [[nodiscard]] std::string message() const;
};

/// An Error whose reason is the text of `errno_value`.
[[nodiscard]] Error errno_error(std::string operation, std::string object, int errno_value, std::string hint = {});

/// A value or the reason there is none. Used for everything a caller can recover from; nothing throws across rooms.
///
///   Result<OwnedFd> file = open_file(path);
///   if (!file) return file.error();
///   use(*file);
template <typename T>
class [[nodiscard]] Result {
 public:
  // Both conversions are implicit so that a function can say `return value;` and `return error;`.
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] explicit operator bool() const { return state_.index() == 0; }
  [[nodiscard]] T& operator*() & { return std::get<0>(state_); }
  [[nodiscard]] const T& operator*() const& { return std::get<0>(state_); }
  [[nodiscard]] T&& operator*() && { return std::get<0>(std::move(state_)); }
  [[nodiscard]] T* operator->() { return &std::get<0>(state_); }
  [[nodiscard]] const T* operator->() const { return &std::get<0>(state_); }
  /// Only where the result holds no value.
  [[nodiscard]] const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

/// The result of an action that has no value: `return ok();` or `return error;`.
using Status = Result<std::monostate>;
[[nodiscard]] inline Status ok() {
  return std::monostate{};
}

}  // namespace stallscope::base
