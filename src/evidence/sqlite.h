// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

// Owners of SQLite's handles. Functions that run SQL return SQLite's extended result code, because what a code means to a person
// differs between a writer and a reader; each of the two turns it into a base::Error.
namespace stallscope::evidence {

/// One prepared statement. Text is bound without a copy, so what was bound must live until step() returned.
class Statement {
 public:
  Statement() = default;
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  void bind_null(int parameter) { sqlite3_bind_null(statement_.get(), parameter); }
  void bind_integer(int parameter, std::int64_t value) { sqlite3_bind_int64(statement_.get(), parameter, value); }
  void bind_text(int parameter, std::string_view text);

  /// SQLITE_ROW, SQLITE_DONE or an error.
  [[nodiscard]] int step() { return sqlite3_step(statement_.get()); }
  /// Runs a statement that gives no rows and makes it ready for the next run.
  [[nodiscard]] int run();

  /// SQLITE_INTEGER, SQLITE_TEXT, SQLITE_NULL, ...
  [[nodiscard]] int type(int column) const { return sqlite3_column_type(statement_.get(), column); }
  [[nodiscard]] std::int64_t integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  /// Valid until the next step.
  [[nodiscard]] std::string_view text(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// One connection. Not thread-safe.
class Database {
 public:
  Database() = default;
  /// Opens `path` as a file of that name: never as a URI or as ":memory:". On failure the connection stays open to explain the
  /// failure with reason().
  [[nodiscard]] int open(const std::string& path, int flags);
  void close() { connection_.reset(); }

  [[nodiscard]] sqlite3* get() const { return connection_.get(); }
  [[nodiscard]] int execute(const std::string& sql);
  [[nodiscard]] int prepare(std::string_view sql, Statement& statement);
  /// The first column of the first row of `sql`, a number.
  [[nodiscard]] int query_integer(std::string_view sql, std::int64_t& value);
  /// Why the last call failed with `code`: the system's reason where there is one, else SQLite's.
  [[nodiscard]] std::string reason(int code) const;

 private:
  struct Close {
    void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
  };
  std::unique_ptr<sqlite3, Close> connection_;
};

/// An extended result code without its extension.
[[nodiscard]] constexpr int primary_code(int code) {
  return code & 0xff;
}

/// The rollback journal SQLite keeps beside `path` during a transaction.
[[nodiscard]] inline std::string journal_path(const std::string& path) {
  return path + "-journal";
}

}  // namespace stallscope::evidence
