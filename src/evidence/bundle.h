// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "evidence/records.h"

namespace stallscope::evidence {

/// "stal" in ASCII: SQLite's application_id, by which file(1) and we tell a bundle from another database.
inline constexpr std::int32_t bundle_application_id = 0x7374616c;
/// Raised with every change of the tables. A reader refuses any other version and says so.
inline constexpr std::int32_t bundle_version = 6;

/// Writes a bundle while it is recorded. Records are buffered in one transaction and become durable with commit(); whatever ends
/// the process, the file holds what the last commit wrote and opens. Between a commit() and the next record the bundle is that one
/// file and can be copied. Not thread-safe: one thread owns it.
///
/// After a failed write (a full disk, an I/O error) the writer refuses further records with the same error; what was committed
/// before stays readable. A record that cannot be stored (an id that exists, a value out of range) is refused by itself.
class BundleWriter {
 public:
  /// Refuses to overwrite, and does not follow a symbolic link in the last part of `path`: the error for an existing file names the
  /// next step. Leaves no file behind when it fails. The file has mode 0640 less the umask: it names processes, cgroups and files
  /// of the host, which is for its administrators. Blocks for the first commit.
  [[nodiscard]] static base::Result<BundleWriter> create(const std::string& path, const RunRecord& run);

  BundleWriter(BundleWriter&&) noexcept;
  BundleWriter& operator=(BundleWriter&&) noexcept;
  BundleWriter(const BundleWriter&) = delete;
  BundleWriter& operator=(const BundleWriter&) = delete;
  /// Commits what is buffered; errors at that point are lost, so call commit() first.
  ~BundleWriter();

  [[nodiscard]] const std::string& path() const;

  /// Replaces the run's record.
  [[nodiscard]] base::Status update_run(const RunRecord& run);
  /// A later record of the same id replaces the earlier.
  [[nodiscard]] base::Status add(const FlowRecord& flow);
  /// A probe is added twice when its reply comes after it was first written; the later record replaces the earlier.
  [[nodiscard]] base::Status add(const ProbeRecord& probe);
  [[nodiscard]] base::Status add(const HttpRecord& http);
  [[nodiscard]] base::Status add(const PacketRecord& packet);
  /// With its occupants, whose stack ids must come from add_stack. An id of 0 is replaced by the next free one.
  [[nodiscard]] base::Status add(const WaitRecord& wait);
  [[nodiscard]] base::Status add(const SampleRecord& sample);
  [[nodiscard]] base::Status add(const FlushRecord& flush);
  /// The id under which the frames are stored; the same frames get the same id, no frames get 0.
  [[nodiscard]] base::Result<std::int64_t> add_stack(std::span<const std::string> frames);
  /// A later census replaces the earlier.
  [[nodiscard]] base::Status add(const MemcgCensusRecord& census);
  [[nodiscard]] base::Status add(const PinningFileRecord& file);
  [[nodiscard]] base::Status add(const StatReadRecord& read);
  [[nodiscard]] base::Status add(const MemoryRecord& memory);
  [[nodiscard]] base::Status add(const SlabRecord& slab);
  /// A later record of the same name and CPU replaces the earlier, so that a killed recorder leaves the last values.
  [[nodiscard]] base::Status add(const CounterRecord& counter);
  [[nodiscard]] base::Status add(const BlockedTaskRecord& task);
  [[nodiscard]] base::Status add(const SettingRecord& setting);
  [[nodiscard]] base::Status add(const SocketRecord& socket);
  [[nodiscard]] base::Status add(const ThrottledCgroupRecord& cgroup);
  [[nodiscard]] base::Status add(const GapRecord& gap);
  /// A later count for the same place replaces the earlier.
  [[nodiscard]] base::Status add(const LossRecord& loss);
  /// Any number of records of one kind; ends at the first error.
  template <typename Records>
  [[nodiscard]] base::Status add_all(const Records& records) {
    for (const auto& record : records) {
      if (base::Status added = add(record); !added) {
        return added;
      }
    }
    return base::ok();
  }

  /// Blocks for two fsyncs, and for at most five seconds while another program reads the file; if that still reads then, the error
  /// says so, nothing is lost and the next commit() tries again.
  [[nodiscard]] base::Status commit();

 private:
  class Impl;
  explicit BundleWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// What read_bundle refuses to take in. A bundle may come from anybody, so its size decides about the reader's memory only up to
/// here.
struct ReadLimits {
  std::int64_t file_bytes = std::int64_t{4} << 30U;
  std::int64_t memory_bytes = std::int64_t{4} << 30U;
};

/// Reads a whole bundle. Errors tell apart: missing, not readable, not a database, truncated or damaged, not ours, of another
/// version. Needs no privileges and does not write to an intact file. One left by a killed recorder is rolled back to its last
/// commit: in place where the caller owns the file and its directory, else in a private copy under $TMPDIR. Any content is safe to
/// read: every value is checked against its column. Can be called while the bundle is recorded; it then gives the last commit.
[[nodiscard]] base::Result<Evidence> read_bundle(const std::string& path, const ReadLimits& limits = {});

}  // namespace stallscope::evidence
