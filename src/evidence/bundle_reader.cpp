// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/files.h"
#include "base/owned_fd.h"
#include "evidence/bundle.h"
#include "evidence/columns.h"
#include "evidence/recovery.h"
#include "evidence/schema.h"
#include "evidence/sqlite.h"

namespace stallscope::evidence {
namespace {

using base::Error;
using base::ok;
using base::Result;
using base::Status;

/// Longer than a recorder holds its lock for one commit.
constexpr int reader_busy_timeout_ms = 5000;

Error read_error(const std::string& path, std::string reason, std::string hint) {
  return {"read bundle", path, std::move(reason), std::move(hint)};
}

Error damaged(const std::string& path, const std::string& detail) {
  return read_error(path, fmt::format("it is damaged: {}", detail),
                    "It was cut short or changed after it was recorded. Copy it again from where it was recorded.");
}

Error not_a_bundle(const std::string& path, const std::string& reason) {
  return read_error(path, reason, "Give the name of a .stall file that stallscope recorded.");
}

/// What can be told without SQLite. The file is not opened: closing it would drop the locks of a BundleWriter in this process
/// (fcntl(2) locks belong to the process).
Status check_file(const std::string& path, const ReadLimits& limits) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    switch (errno) {
      case ENOENT:
        return read_error(path, "it does not exist", "Check the name; a recording prints the name of its bundle when it ends.");
      case EACCES:
        return base::errno_error("read bundle", path, EACCES, "Read it as its owner or with sudo.");
      default:
        return base::errno_error("read bundle", path, errno);
    }
  }
  if (S_ISDIR(status.st_mode)) {
    return not_a_bundle(path, "it is a directory");
  }
  if (!S_ISREG(status.st_mode)) {
    return not_a_bundle(path, "it is not a regular file");
  }
  if (status.st_size == 0) {
    return read_error(path, "it is empty", "Its recorder was killed before it stored anything. Remove it and record again.");
  }
  if (status.st_size > limits.file_bytes) {
    return read_error(path, fmt::format("it has {} bytes, more than the {} that are read", status.st_size, limits.file_bytes),
                      "Record for a shorter time.");
  }
  return ok();
}

/// The first bytes of a file that SQLite refused: whether it is a database at all, and whether it uses a write-ahead log
/// (https://www.sqlite.org/fileformat2.html#the_database_header).
struct Header {
  bool sqlite = false;
  bool write_ahead_log = false;
};
Header read_header(const std::string& path) {
  constexpr std::string_view magic("SQLite format 3\0", 16);
  constexpr std::size_t read_version_offset = 19;
  const Result<base::OwnedFd> file = base::open_file(path, O_RDONLY | O_NONBLOCK);
  std::array<char, read_version_offset + 1> begin{};
  if (!file || ::read(file->get(), begin.data(), begin.size()) != static_cast<ssize_t>(begin.size())) {
    return {};
  }
  return {std::string_view(begin.data(), begin.size()).starts_with(magic), begin.at(read_version_offset) == 2};
}

/// Reads the tables of one bundle through an open connection.
class Reader {
 public:
  Reader(std::string path, const ReadLimits& limits) : path_(std::move(path)), limits_(limits) {}

  [[nodiscard]] Result<Evidence> read() {
    if (const Status checked = check_file(path_, limits_); !checked) {
      return checked.error();
    }
    int code = open(path_, SQLITE_OPEN_READONLY);
    if (code == SQLITE_READONLY_ROLLBACK) {
      const Result<int> recovered = recover();
      if (!recovered) {
        return recovered.error();
      }
      code = *recovered;
    }
    if (code != SQLITE_OK) {
      return error_of(code);
    }
    if (const Status ours = check_identity(); !ours) {
      return ours.error();
    }
    if (const Status whole = check_structure(); !whole) {
      return whole.error();
    }
    return read_tables();
  }

 private:
  /// Opens a connection that trusts nothing in the file and takes its shared lock, so that all tables are of one commit.
  int open(const std::string& path, int flags) {
    database_.close();
    if (const int code = database_.open(path, flags); code != SQLITE_OK) {
      return code;
    }
    restrict();
    sqlite3_busy_timeout(database_.get(), reader_busy_timeout_ms);
    const int code = database_.execute(
        "PRAGMA trusted_schema = OFF;"
        "PRAGMA cell_size_check = ON;"
        // A file that shrinks while it is mapped would end the process with SIGBUS; the shared memory of a write-ahead log too,
        // which exclusive locking keeps on the heap.
        "PRAGMA mmap_size = 0;"
        "PRAGMA locking_mode = EXCLUSIVE;"
        "PRAGMA temp_store = MEMORY;"
        "BEGIN");
    std::int64_t ignored = 0;
    return code == SQLITE_OK ? database_.query_integer("SELECT count(*) FROM sqlite_schema", ignored) : code;
  }

  /// https://www.sqlite.org/security.html, "Untrusted SQLite Database Files".
  void restrict() {
    sqlite3* const connection = database_.get();
    sqlite3_db_config(connection, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(connection, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(connection, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
    // A view or a virtual table under the name of one of ours could compute rows without end.
    sqlite3_db_config(connection, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
    sqlite3_drop_modules(connection, nullptr);
    // A row of the widest table with the longest texts, and the longest CREATE statement.
    constexpr int longest_row_bytes = 16 * static_cast<int>(longest_text_bytes);
    sqlite3_limit(connection, SQLITE_LIMIT_LENGTH, longest_row_bytes);
    sqlite3_limit(connection, SQLITE_LIMIT_SQL_LENGTH, longest_text_bytes);
    sqlite3_limit(connection, SQLITE_LIMIT_COLUMN, 100);
    sqlite3_limit(connection, SQLITE_LIMIT_EXPR_DEPTH, 50);
    sqlite3_limit(connection, SQLITE_LIMIT_COMPOUND_SELECT, 10);
    sqlite3_limit(connection, SQLITE_LIMIT_VDBE_OP, 25'000);
    sqlite3_limit(connection, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(connection, SQLITE_LIMIT_TRIGGER_DEPTH, 1);
    sqlite3_limit(connection, SQLITE_LIMIT_WORKER_THREADS, 0);
  }

  /// Rolls back what a killed recorder had not committed. Returns the result of opening what is left.
  [[nodiscard]] Result<int> recover() {
    database_.close();
    // SQLite looks for the journal beside the file that a symbolic link names.
    std::error_code unresolved;
    std::string path = std::filesystem::canonical(path_, unresolved).string();
    if (unresolved) {
      return base::errno_error("read bundle", path_, unresolved.value());
    }
    if (!can_recover_in_place(path)) {
      Result<TemporaryDirectory> directory = TemporaryDirectory::create();
      if (!directory) {
        return directory.error();
      }
      copy_.emplace(*std::move(directory));
      Result<std::string> copy = copy_with_journal(path, *copy_);
      if (!copy) {
        return copy.error();
      }
      path = *std::move(copy);
    }
    if (const Status safe = check_journal(path); !safe) {
      return safe.error();
    }
    const int code = open(path, SQLITE_OPEN_READWRITE);
    // The journal decides how long the file is afterwards.
    const Status checked = check_file(path, limits_);
    return checked ? Result<int>(code) : Result<int>(checked.error());
  }

  [[nodiscard]] Error error_of(int code) const {
    const std::string reason = database_.reason(code);
    switch (primary_code(code)) {
      case SQLITE_NOTADB:
        return read_header(path_).sqlite ? damaged(path_, reason) : not_a_bundle(path_, "it is not an SQLite database");
      case SQLITE_CANTOPEN:
      case SQLITE_PERM:
      case SQLITE_AUTH:
      case SQLITE_READONLY:
        return read_error(path_, reason, "Read it as its owner or with sudo.");
      case SQLITE_BUSY:
        return read_error(path_, reason, "Close the program that has it open, for example sqlite3, and try again.");
      case SQLITE_NOMEM:
        return read_error(path_, reason, "Read it on a host with more memory.");
      default:
        // Reading a write-ahead log would need write access; a recorder never makes one.
        return code == SQLITE_IOERR_LOCK && read_header(path_).write_ahead_log
                   ? read_error(path_, "it was switched to a write-ahead log",
                                "Switch it back with: sqlite3 FILE 'PRAGMA journal_mode = DELETE'")
                   : damaged(path_, reason);
    }
  }

  [[nodiscard]] Status check_identity() {
    std::int64_t application_id = 0;
    std::int64_t version = 0;
    int code = database_.query_integer("PRAGMA application_id", application_id);
    code = code == SQLITE_OK ? database_.query_integer("PRAGMA user_version", version) : code;
    if (code != SQLITE_OK) {
      return error_of(code);
    }
    if (application_id != bundle_application_id) {
      // SQLite takes a file of a few bytes for an empty database.
      return not_a_bundle(
          path_, read_header(path_).sqlite ? "it is an SQLite database, but not of stallscope" : "it is not an SQLite database");
    }
    if (version > bundle_version) {
      return read_error(path_, fmt::format("it has version {}; this stallscope reads version {}", version, bundle_version),
                        "Read it with a newer stallscope.");
    }
    if (version < bundle_version) {
      return read_error(path_, fmt::format("it has version {}; this stallscope reads version {}", version, bundle_version),
                        "Read it with the stallscope that recorded it, or record again.");
    }
    return ok();
  }

  /// Visits each page once and stops at the first fault. A page that is used twice could otherwise give rows without end.
  [[nodiscard]] Status check_structure() {
    Statement check;
    int code = database_.prepare("PRAGMA main.quick_check(1)", check);
    code = code == SQLITE_OK ? check.step() : code;
    if (code != SQLITE_ROW) {
      return error_of(code);
    }
    const std::string_view verdict = check.text(0);
    return verdict == "ok" ? ok() : Status(damaged(path_, std::string(verdict)));
  }

  /// Hands each row of Record's table, in the order of its key, to `take`, which says what is wrong with it, if anything.
  template <typename Record, typename Take>
  [[nodiscard]] Status read_rows(Take take) {
    Statement select;
    if (const int code = database_.prepare(select_statement<Record>(), select); code != SQLITE_OK) {
      return error_of(code);
    }
    std::int64_t row = 0;
    int code = SQLITE_OK;
    while ((code = select.step()) == SQLITE_ROW) {
      ++row;
      Record record;
      std::optional<BadColumn> bad = read_record(select, record);
      memory_bytes_ += static_cast<std::int64_t>(size_bytes(record));
      if (memory_bytes_ > limits_.memory_bytes) {
        return read_error(path_, fmt::format("its records take more than the {} bytes that are allowed", limits_.memory_bytes),
                          "Record for a shorter time.");
      }
      if (!bad) {
        bad = take(std::move(record));
      }
      if (bad) {
        return damaged(path_, fmt::format("{} row {}: {} {}", Table<Record>::name, row, bad->name, bad->problem));
      }
    }
    return code == SQLITE_DONE ? ok() : Status(error_of(code));
  }

  template <typename Record>
  [[nodiscard]] Status read_all(std::vector<Record>& records) {
    return read_rows<Record>([&](Record record) {
      records.push_back(std::move(record));
      return std::optional<BadColumn>();
    });
  }

  /// As read_all, for records that are looked up by an id.
  template <typename Record>
  [[nodiscard]] Status read_by_id(std::vector<Record>& records, std::int64_t Record::*id) {
    return read_rows<Record>([&](Record record) {
      const bool repeated = !records.empty() && records.back().*id == record.*id;
      records.push_back(std::move(record));
      return repeated ? std::optional(BadColumn{Table<Record>::key, "is not unique"}) : std::nullopt;
    });
  }

  template <typename Record>
  [[nodiscard]] Status read_only_row(std::optional<Record>& only) {
    return read_rows<OnlyRow<Record>>([&](OnlyRow<Record> row) {
      const bool repeated = only.has_value();
      only = std::move(row);
      return repeated ? std::optional(BadColumn{"id", "is not unique"}) : std::nullopt;
    });
  }

  [[nodiscard]] Status read_stacks(std::vector<StackRecord>& stacks) {
    return read_rows<StackFrameRow>([&](StackFrameRow frame) {
      if (stacks.empty() || stacks.back().id != frame.stack_id) {
        stacks.push_back({frame.stack_id, {}});
      }
      stacks.back().frames.push_back(std::move(frame.function));
      return std::optional<BadColumn>();
    });
  }

  /// Both the waits and the occupants come in the order of the wait's id.
  [[nodiscard]] Status read_occupants(std::vector<WaitRecord>& waits, const std::vector<StackRecord>& stacks) {
    auto wait = waits.begin();
    return read_rows<OccupantRow>([&](OccupantRow occupant) -> std::optional<BadColumn> {
      wait = std::find_if(wait, waits.end(), [&](const WaitRecord& each) { return each.id >= occupant.wait_id; });
      if (wait == waits.end() || wait->id != occupant.wait_id) {
        return BadColumn{"wait_id", "names no wait"};
      }
      const auto stack = std::lower_bound(stacks.begin(), stacks.end(), occupant.stack_id,
                                          [](const StackRecord& each, std::int64_t id) { return each.id < id; });
      if (occupant.stack_id != 0 && (stack == stacks.end() || stack->id != occupant.stack_id)) {
        return BadColumn{"stack_id", "names no stack"};
      }
      wait->occupants.push_back(std::move(occupant));
      return std::nullopt;
    });
  }

  [[nodiscard]] Result<Evidence> read_tables() {
    Evidence evidence;
    std::optional<RunRecord> run;
    Status status = read_only_row(run);
    const auto then = [&](auto read) {
      if (status) {
        status = read();
      }
    };
    then([&] { return read_by_id(evidence.flows, &FlowRecord::id); });
    then([&] { return read_by_id(evidence.probes, &ProbeRecord::sequence); });
    then([&] { return read_by_id(evidence.http, &HttpRecord::sequence); });
    then([&] { return read_all(evidence.packets); });
    then([&] { return read_by_id(evidence.waits, &WaitRecord::id); });
    then([&] { return read_stacks(evidence.stacks); });
    then([&] { return read_occupants(evidence.waits, evidence.stacks); });
    then([&] { return read_all(evidence.samples); });
    then([&] { return read_all(evidence.flushes); });
    then([&] { return read_only_row(evidence.memcg_census); });
    then([&] { return read_all(evidence.pinning_files); });
    then([&] { return read_all(evidence.stat_reads); });
    then([&] { return read_all(evidence.memory); });
    then([&] { return read_all(evidence.slabs); });
    then([&] { return read_all(evidence.counters); });
    then([&] { return read_all(evidence.blocked_tasks); });
    then([&] { return read_all(evidence.settings); });
    then([&] { return read_all(evidence.sockets); });
    then([&] { return read_all(evidence.throttled_cgroups); });
    then([&] { return read_all(evidence.gaps); });
    then([&] { return read_all(evidence.losses); });
    if (!status) {
      return status.error();
    }
    if (!run) {
      return damaged(path_, "it has no run");
    }
    evidence.run = *std::move(run);
    return evidence;
  }

  std::string path_;
  ReadLimits limits_;
  /// Outlives the connection that is open on it.
  std::optional<TemporaryDirectory> copy_;
  Database database_;
  std::int64_t memory_bytes_ = 0;
};

}  // namespace

Result<Evidence> read_bundle(const std::string& path, const ReadLimits& limits) {
  return Reader(path, limits).read();
}

}  // namespace stallscope::evidence
