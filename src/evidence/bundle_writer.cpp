// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/owned_fd.h"
#include "evidence/bundle.h"
#include "evidence/columns.h"
#include "evidence/schema.h"
#include "evidence/sqlite.h"

namespace stallscope::evidence {
namespace {

using base::Error;
using base::ok;
using base::Result;
using base::Status;

/// Longer than any report takes to read a bundle; see commit().
constexpr int writer_busy_timeout_ms = 5000;

// journal_mode DELETE: with a write-ahead log the newest records would live in a second file, and a bundle copied while it is
// recorded would lack them without anybody noticing. The rollback journal exists during a transaction only. synchronous NORMAL: one
// fsync for the journal and one for the file. Without them a power cut could tear the file; with FULL there is a third, and each
// disturbs the host that is being watched. After a power cut the file opens, perhaps without its last commit. cache_size: this much
// of a transaction stays in memory, so the file itself changes during commit() only unless a caller adds more than that between two
// commits.
constexpr const char* connection_settings =
    "PRAGMA journal_mode = DELETE;"
    "PRAGMA synchronous = NORMAL;"
    "PRAGMA cache_size = -8192;"
    "PRAGMA temp_store = MEMORY;";

/// A path whose directory part holds no symbolic link any more, so that SQLite can be told to follow none.
Result<std::string> resolve_directory(const std::string& path) {
  const std::filesystem::path given(path);
  const std::string directory = given.has_parent_path() ? given.parent_path().string() : ".";
  struct FreeText {
    void operator()(char* text) const { std::free(text); }  // NOLINT(cppcoreguidelines-no-malloc): realpath(3) allocates so
  };
  const std::unique_ptr<char, FreeText> resolved(::realpath(directory.c_str(), nullptr));
  if (!resolved) {
    const bool missing = errno == ENOENT;
    Error error = base::errno_error("create bundle", path, errno);
    if (missing) {
      error.reason = fmt::format("the directory {} does not exist", directory);
      error.hint = "Make the directory first, or give another name with --out.";
    }
    return error;
  }
  return (std::filesystem::path(resolved.get()) / given.filename()).string();
}

Error create_error(const std::string& path, int errno_value) {
  Error error = base::errno_error("create bundle", path, errno_value);
  switch (errno_value) {
    case EEXIST:
      error.reason = "it exists already";
      error.hint = "Give another name with --out, or remove it.";
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      error.hint = "Give a name in a directory that you may write to with --out.";
      break;
    case ENOSPC:
    case EDQUOT:
      error.hint = "Free some space, or give a name on another file system with --out.";
      break;
    default:
      error.hint = "Give another name with --out.";
  }
  return error;
}

/// A file that was just made, removed again unless kept.
class NewFile {
 public:
  static Result<NewFile> create(const std::string& shown_path, const std::string& path) {
    constexpr mode_t mode = S_IRUSR | S_IWUSR | S_IRGRP;
    // O_EXCL refuses a symbolic link in the last component, even a dangling one.
    const base::OwnedFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!file) {
      return create_error(shown_path, errno);
    }
    return NewFile(path);
  }
  NewFile(NewFile&& other) noexcept : path_(std::exchange(other.path_, std::string())) {}
  NewFile& operator=(NewFile&&) = delete;
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() {
    if (!path_.empty()) {
      ::unlink(path_.c_str());
      ::unlink(journal_path(path_).c_str());
    }
  }
  void keep() { path_.clear(); }

 private:
  explicit NewFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

template <typename Record>
struct Insert {
  Statement statement;
};

}  // namespace

class BundleWriter::Impl {
 public:
  explicit Impl(std::string path) : path_(std::move(path)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  Impl(Impl&&) = delete;
  Impl& operator=(Impl&&) = delete;
  ~Impl() {
    if (created_) {
      static_cast<void>(commit());
    }
  }

  [[nodiscard]] Status open(const std::string& resolved_path, const RunRecord& run) {
    int code = database_.open(resolved_path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW);
    if (code == SQLITE_OK) {
      sqlite3_busy_timeout(database_.get(), writer_busy_timeout_ms);
      code = database_.execute(connection_settings + fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}; BEGIN",
                                                                 bundle_application_id, bundle_version));
    }
    in_transaction_ = code == SQLITE_OK;
    for (const std::string& statement : create_statements()) {
      code = code == SQLITE_OK ? database_.execute(statement) : code;
    }
    std::apply([&](auto&... insert) { ((code = code == SQLITE_OK ? prepare(insert) : code), ...); }, inserts_);
    if (code != SQLITE_OK) {
      return fail(code);
    }
    Status done = write(OnlyRow<RunRecord>{run});
    if (done) {
      done = commit();
    }
    created_ = static_cast<bool>(done);
    return done;
  }

  [[nodiscard]] const std::string& path() const { return path_; }

  /// Adds one row within the open transaction.
  template <typename Record>
  [[nodiscard]] Status write(const Record& record) {
    if (failure_) {
      return *failure_;
    }
    if (!in_transaction_) {
      if (const int code = database_.execute("BEGIN"); code != SQLITE_OK) {
        return fail(code);
      }
      in_transaction_ = true;
    }
    Statement& statement = std::get<Insert<Record>>(inserts_).statement;
    if (const auto bad = bind_record(statement, record)) {
      return refused<Record>(fmt::format("{} {}", bad->name, bad->problem));
    }
    const int code = statement.run();
    if (primary_code(code) == SQLITE_CONSTRAINT) {
      return refused<Record>(database_.reason(code));
    }
    return code == SQLITE_OK ? ok() : fail(code);
  }

  [[nodiscard]] Status write_wait(const WaitRecord& wait) {
    for (const Occupant& occupant : wait.occupants) {
      if (occupant.stack_id < 0 || occupant.stack_id > static_cast<std::int64_t>(stack_ids_.size())) {
        return refused<OccupantRow>("stack_id was not given by add_stack");
      }
    }
    const std::int64_t id = wait.id == 0 ? next_wait_id_ : wait.id;
    if (Status written = write_wait_row(wait, id); !written) {
      return written;
    }
    std::int32_t rank = 0;
    for (const Occupant& occupant : wait.occupants) {
      if (Status written = write(OccupantRow{occupant, id, rank++}); !written) {
        remove_rows(fmt::format("DELETE FROM occupant WHERE wait_id = {0}; DELETE FROM wait WHERE id = {0}", id));
        return written;
      }
    }
    next_wait_id_ = std::max(next_wait_id_, id + 1);
    return ok();
  }

  [[nodiscard]] Result<std::int64_t> add_stack(std::span<const std::string> frames) {
    if (frames.empty()) {
      return std::int64_t{0};
    }
    // No kernel symbol holds a NUL, so different frames cannot give the same key.
    std::string key;
    for (const std::string& function : frames) {
      key.append(function).push_back('\0');
    }
    const auto [entry, is_new] = stack_ids_.try_emplace(std::move(key), static_cast<std::int64_t>(stack_ids_.size()) + 1);
    if (is_new) {
      std::int32_t position = 0;
      for (const std::string& function : frames) {
        if (const Status written = write(StackFrameRow{entry->second, position++, function}); !written) {
          remove_rows(fmt::format("DELETE FROM stack_frame WHERE stack_id = {}", entry->second));
          stack_ids_.erase(entry);
          return written.error();
        }
      }
    }
    return entry->second;
  }

  [[nodiscard]] Status commit() {
    if (failure_) {
      return *failure_;
    }
    if (!in_transaction_) {
      return ok();
    }
    const int code = database_.execute("COMMIT");
    if (code != SQLITE_OK) {
      return fail(code);
    }
    in_transaction_ = false;
    return ok();
  }

 private:
  template <typename Record>
  [[nodiscard]] int prepare(Insert<Record>& insert) {
    return database_.prepare(insert_statement<Record>(), insert.statement);
  }

  [[nodiscard]] Status write_wait_row(const WaitRecord& wait, std::int64_t id) {
    if (wait.id == id) {
      return write(wait);
    }
    WaitRecord numbered = wait;
    numbered.id = id;
    return write(numbered);
  }

  /// Takes back the rows of a record that was refused half-way. After a failure the whole transaction is gone already.
  void remove_rows(const std::string& sql) {
    if (!failure_) {
      static_cast<void>(database_.execute(sql));
    }
  }

  template <typename Record>
  [[nodiscard]] Error refused(std::string reason) const {
    return {fmt::format("store a {} record in", Table<Record>::name), path_, std::move(reason), ""};
  }

  /// Turns a failed call into an error and, unless the cause passes by itself, makes the writer refuse from now on. The unfinished
  /// transaction is undone at once, so that the file is whole and no journal stays beside it.
  [[nodiscard]] Error fail(int code) {
    Error error{created_ ? "write bundle" : "create bundle", path_, database_.reason(code), ""};
    if (primary_code(code) == SQLITE_BUSY) {
      error.hint = "Close the program that has it open, for example sqlite3; what was recorded is kept until then.";
      return error;
    }
    error.hint =
        created_ ? "What was committed before is kept. Make room (space, quota, ulimit -f) or record again elsewhere with --out."
                 : "Make room (space, quota, ulimit -f) or give another name with --out.";
    failure_ = error;
    if (sqlite3_get_autocommit(database_.get()) == 0) {
      static_cast<void>(database_.execute("ROLLBACK"));
    }
    in_transaction_ = false;
    return error;
  }

  std::string path_;
  Database database_;
  std::tuple<Insert<OnlyRow<RunRecord>>, Insert<FlowRecord>, Insert<ProbeRecord>, Insert<HttpRecord>, Insert<PacketRecord>,
             Insert<WaitRecord>, Insert<OccupantRow>, Insert<StackFrameRow>, Insert<SampleRecord>, Insert<FlushRecord>,
             Insert<OnlyRow<MemcgCensusRecord>>, Insert<PinningFileRecord>, Insert<StatReadRecord>, Insert<MemoryRecord>,
             Insert<SlabRecord>, Insert<CounterRecord>, Insert<BlockedTaskRecord>, Insert<SettingRecord>, Insert<SocketRecord>,
             Insert<ThrottledCgroupRecord>, Insert<GapRecord>, Insert<LossRecord>>
      inserts_;
  std::unordered_map<std::string, std::int64_t> stack_ids_;
  std::int64_t next_wait_id_ = 1;
  bool created_ = false;
  bool in_transaction_ = false;
  std::optional<Error> failure_;
};

Result<BundleWriter> BundleWriter::create(const std::string& path, const RunRecord& run) {
  const Result<std::string> resolved = resolve_directory(path);
  if (!resolved) {
    return resolved.error();
  }
  Result<NewFile> file = NewFile::create(path, *resolved);
  if (!file) {
    return file.error();
  }
  auto impl = std::make_unique<Impl>(path);
  if (const Status opened = impl->open(*resolved, run); !opened) {
    return opened.error();
  }
  file->keep();
  return BundleWriter(std::move(impl));
}

BundleWriter::BundleWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BundleWriter::BundleWriter(BundleWriter&&) noexcept = default;
BundleWriter& BundleWriter::operator=(BundleWriter&&) noexcept = default;
BundleWriter::~BundleWriter() = default;

const std::string& BundleWriter::path() const {
  return impl_->path();
}
Status BundleWriter::update_run(const RunRecord& run) {
  return impl_->write(OnlyRow<RunRecord>{run});
}
Status BundleWriter::add(const FlowRecord& flow) {
  return impl_->write(flow);
}
Status BundleWriter::add(const ProbeRecord& probe) {
  return impl_->write(probe);
}
Status BundleWriter::add(const HttpRecord& http) {
  return impl_->write(http);
}
Status BundleWriter::add(const PacketRecord& packet) {
  return impl_->write(packet);
}
Status BundleWriter::add(const WaitRecord& wait) {
  return impl_->write_wait(wait);
}
Status BundleWriter::add(const SampleRecord& sample) {
  return impl_->write(sample);
}
Status BundleWriter::add(const FlushRecord& flush) {
  return impl_->write(flush);
}
Result<std::int64_t> BundleWriter::add_stack(std::span<const std::string> frames) {
  return impl_->add_stack(frames);
}
Status BundleWriter::add(const MemcgCensusRecord& census) {
  return impl_->write(OnlyRow<MemcgCensusRecord>{census});
}
Status BundleWriter::add(const PinningFileRecord& file) {
  return impl_->write(file);
}
Status BundleWriter::add(const StatReadRecord& read) {
  return impl_->write(read);
}
Status BundleWriter::add(const MemoryRecord& memory) {
  return impl_->write(memory);
}
Status BundleWriter::add(const SlabRecord& slab) {
  return impl_->write(slab);
}
Status BundleWriter::add(const CounterRecord& counter) {
  return impl_->write(counter);
}
Status BundleWriter::add(const BlockedTaskRecord& task) {
  return impl_->write(task);
}
Status BundleWriter::add(const SettingRecord& setting) {
  return impl_->write(setting);
}
Status BundleWriter::add(const SocketRecord& socket) {
  return impl_->write(socket);
}
Status BundleWriter::add(const ThrottledCgroupRecord& cgroup) {
  return impl_->write(cgroup);
}
Status BundleWriter::add(const GapRecord& gap) {
  return impl_->write(gap);
}
Status BundleWriter::add(const LossRecord& loss) {
  return impl_->write(loss);
}
Status BundleWriter::commit() {
  return impl_->commit();
}

}  // namespace stallscope::evidence
