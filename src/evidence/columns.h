// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "evidence/schema.h"
#include "evidence/sqlite.h"

// How the members of a record become the columns of a row and back, by their type.
namespace stallscope::evidence {

/// The ids an enumeration is stored as.
template <typename Enum>
struct EnumIds;
template <>
struct EnumIds<WaitMode> {
  static constexpr auto& all = all_wait_modes;
  static std::string_view id(WaitMode value) { return wait_mode_id(value); }
  static std::optional<WaitMode> from_id(std::string_view id) { return wait_mode_from_id(id); }
};
template <>
struct EnumIds<ServedBy> {
  static constexpr auto& all = all_served_by;
  static std::string_view id(ServedBy value) { return served_by_id(value); }
  static std::optional<ServedBy> from_id(std::string_view id) { return served_by_from_id(id); }
};
template <>
struct EnumIds<PacketLeg> {
  static constexpr auto& all = all_packet_legs;
  static std::string_view id(PacketLeg value) { return packet_leg_id(value); }
  static std::optional<PacketLeg> from_id(std::string_view id) { return packet_leg_from_id(id); }
};
template <>
struct EnumIds<ProbeKind> {
  static constexpr auto& all = all_probe_kinds;
  static std::string_view id(ProbeKind value) { return probe_kind_id(value); }
  static std::optional<ProbeKind> from_id(std::string_view id) { return probe_kind_from_id(id); }
};
template <>
struct EnumIds<AnswerKind> {
  static constexpr auto& all = all_answer_kinds;
  static std::string_view id(AnswerKind value) { return answer_kind_id(value); }
  static std::optional<AnswerKind> from_id(std::string_view id) { return answer_kind_from_id(id); }
};

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

/// Calls `visit(column)` for each column of Record's table, in order.
template <typename Record, typename Visit>
void for_each_column(Visit visit) {
  std::apply([&](const auto&... column) { (visit(column), ...); }, Table<Record>::columns);
}

/// The type of the member behind a column.
template <typename Record, typename Member>
using ValueOf = std::remove_cvref_t<std::invoke_result_t<Member, Record&>>;

/// The names of all columns, comma-separated.
template <typename Record>
[[nodiscard]] std::string column_names() {
  std::string names;
  for_each_column<Record>([&](const auto& column) { names.append(names.empty() ? "" : ", ").append(column.name); });
  return names;
}

template <typename Record>
[[nodiscard]] std::string insert_statement() {
  std::string parameters;
  for_each_column<Record>([&](const auto&) { parameters += parameters.empty() ? "?" : ", ?"; });
  const std::string verb = Table<Record>::conflict == Conflict::replace ? "INSERT OR REPLACE INTO " : "INSERT INTO ";
  return verb + std::string(Table<Record>::name) + " (" + column_names<Record>() + ") VALUES (" + parameters + ")";
}

/// All rows in the order of their key. A last column tells whether the constraint on the row as a whole holds: a file that was
/// tampered with need not enforce it.
template <typename Record>
[[nodiscard]] std::string select_statement() {
  using Definition = Table<Record>;
  const std::string constraint = Definition::constraint.empty() ? "" : ", (" + std::string(Definition::constraint) + ")";
  const std::string order(Definition::key.empty() ? "rowid" : Definition::key);
  return "SELECT " + column_names<Record>() + constraint + " FROM main." + std::string(Definition::name) + " ORDER BY " + order;
}

/// No text of a record is longer: the kernel's paths end at 4,096 bytes.
inline constexpr std::size_t longest_text_bytes = 65'536;

/// A column that does not hold what it should. The content, which may be hostile, is not repeated.
struct BadColumn {
  std::string_view name;
  std::string_view problem;
};

/// The range of a column, no wider than its C++ type.
template <typename T>
[[nodiscard]] constexpr Range range_of(Range range) {
  if constexpr (std::is_same_v<T, bool>) {
    return {0, 1};
  } else if constexpr (sizeof(T) < sizeof(std::int64_t)) {
    return {std::max<std::int64_t>(range.minimum, std::numeric_limits<T>::min()),
            std::min<std::int64_t>(range.maximum, std::numeric_limits<T>::max())};
  } else {
    return range;
  }
}

/// Binds a value, or says why it may not be stored. SQLite's integers are signed: unsigned 64-bit values are stored as the same
/// bits.
template <typename T>
[[nodiscard]] std::optional<std::string_view> bind_value(Statement& statement, int parameter, Range range, const T& value) {
  if constexpr (IsOptional<T>::value) {
    if (value) {
      return bind_value(statement, parameter, range, *value);
    }
    statement.bind_null(parameter);
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (value.size() > longest_text_bytes) {
      return "is too long";
    }
    statement.bind_text(parameter, value);
  } else if constexpr (std::is_enum_v<T>) {
    statement.bind_text(parameter, EnumIds<T>::id(value));
  } else {
    const auto stored = static_cast<std::int64_t>(value);
    if (!range_of<T>(range).holds(stored)) {
      return "is out of range";
    }
    statement.bind_integer(parameter, stored);
  }
  return std::nullopt;
}

/// Binds the members of a record to the parameters of its insert_statement. The record must live until the statement has run.
template <typename Record>
[[nodiscard]] std::optional<BadColumn> bind_record(Statement& statement, const Record& record) {
  std::optional<BadColumn> bad;
  int parameter = 0;
  for_each_column<Record>([&](const auto& column) {
    const auto problem = bind_value(statement, ++parameter, column.range, std::invoke(column.member, record));
    if (problem && !bad) {
      bad = BadColumn{column.name, *problem};
    }
  });
  return bad;
}

/// Takes a column into `value`. Nothing when that worked, else what is wrong with it.
template <typename T>
[[nodiscard]] std::optional<std::string_view> read_value(const Statement& statement, int column, Range range, T& value) {
  const int type = statement.type(column);
  if constexpr (IsOptional<T>::value) {
    if (type == SQLITE_NULL) {
      return std::nullopt;
    }
    return read_value(statement, column, range, value.emplace());
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (type != SQLITE_TEXT) {
      return "is not text";
    }
    const std::string_view text = statement.text(column);
    if (text.size() > longest_text_bytes) {
      return "is too long";
    }
    value = text;
  } else if constexpr (std::is_enum_v<T>) {
    const std::optional<T> known = EnumIds<T>::from_id(statement.text(column));
    if (!known) {
      return "holds an unknown id";
    }
    value = *known;
  } else {
    const std::int64_t stored = statement.integer(column);
    if (type != SQLITE_INTEGER) {
      return "is not an integer";
    }
    if (!range_of<T>(range).holds(stored)) {
      return "is out of range";
    }
    value = static_cast<T>(stored);
  }
  return std::nullopt;
}

/// Takes a row of select_statement into `record`.
template <typename Record>
[[nodiscard]] std::optional<BadColumn> read_record(const Statement& statement, Record& record) {
  std::optional<BadColumn> bad;
  int index = 0;
  for_each_column<Record>([&](const auto& column) {
    const auto problem = read_value(statement, index++, column.range, std::invoke(column.member, record));
    if (problem && !bad) {
      bad = BadColumn{column.name, *problem};
    }
  });
  if (!bad && !Table<Record>::constraint.empty() && statement.integer(index) != 1) {
    bad = BadColumn{Table<Record>::constraint, "does not hold"};
  }
  return bad;
}

/// The memory a record takes, its text included.
template <typename Record>
[[nodiscard]] std::size_t size_bytes(const Record& record) {
  std::size_t size = sizeof(Record);
  for_each_column<Record>([&](const auto& column) {
    if constexpr (std::is_same_v<ValueOf<Record, decltype(column.member)>, std::string>) {
      size += std::invoke(column.member, record).size();
    }
  });
  return size;
}

}  // namespace stallscope::evidence
