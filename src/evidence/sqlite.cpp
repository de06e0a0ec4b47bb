// SPDX-License-Identifier: Apache-2.0
#include "evidence/sqlite.h"

#include <cstring>

namespace stallscope::evidence {
namespace {

/// Debian's SQLite takes "file:..." for a URI and ":memory:" for no file at all; a leading directory makes every name a plain one.
std::string plain_path(const std::string& path) {
  return path.starts_with('/') ? path : "./" + path;
}

}  // namespace

void Statement::bind_text(int parameter, std::string_view text) {
  // A null pointer would bind NULL, and that is what an empty view may hold.
  const char* const data = text.data() == nullptr ? "" : text.data();
  sqlite3_bind_text64(statement_.get(), parameter, data, text.size(), SQLITE_STATIC, SQLITE_UTF8);
}

int Statement::run() {
  const int code = step();
  sqlite3_reset(statement_.get());
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

std::string_view Statement::text(int column) const {
  const auto* const data = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  return data == nullptr ? std::string_view()
                         : std::string_view(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column)));
}

int Database::open(const std::string& path, int flags) {
  sqlite3* connection = nullptr;
  const int code =
      sqlite3_open_v2(plain_path(path).c_str(), &connection, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  connection_.reset(connection);
  return code;
}

int Database::execute(const std::string& sql) {
  return sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr);
}

int Database::prepare(std::string_view sql, Statement& statement) {
  sqlite3_stmt* prepared = nullptr;
  const int code = sqlite3_prepare_v3(connection_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                      &prepared, nullptr);
  statement = Statement(prepared);
  return code;
}

int Database::query_integer(std::string_view sql, std::int64_t& value) {
  Statement statement;
  if (const int code = prepare(sql, statement); code != SQLITE_OK) {
    return code;
  }
  const int code = statement.step();
  if (code != SQLITE_ROW) {
    return code;
  }
  value = statement.integer(0);
  return SQLITE_OK;
}

std::string Database::reason(int code) const {
  if (primary_code(code) == SQLITE_FULL) {
    return "no space left on the device";
  }
  if (primary_code(code) == SQLITE_BUSY) {
    return "another program holds a lock on it";
  }
  int system_error = 0;
  if (connection_ && primary_code(code) == SQLITE_IOERR) {
    // COMMIT does not pass the reason on to sqlite3_system_errno; the file itself remembers it.
    sqlite3_file_control(connection_.get(), "main", SQLITE_FCNTL_LAST_ERRNO, &system_error);
  }
  if (connection_ && system_error == 0 && (primary_code(code) == SQLITE_IOERR || primary_code(code) == SQLITE_CANTOPEN)) {
    system_error = sqlite3_system_errno(connection_.get());
  }
  if (system_error != 0) {
    return std::strerror(system_error);  // NOLINT(concurrency-mt-unsafe)
  }
  return connection_ ? sqlite3_errmsg(connection_.get()) : sqlite3_errstr(code);
}

}  // namespace stallscope::evidence
