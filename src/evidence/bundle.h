// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "evidence/records.h"

struct sqlite3;

namespace stallscope::evidence {

/// "stal" in ASCII: SQLite's application_id, by which file(1) and we tell a bundle from another database.
inline constexpr std::int32_t bundle_application_id = 0x7374616c;
/// Raised with every change of the tables. A reader refuses any other version and says so.
inline constexpr std::int32_t bundle_version = 1;

/// Writes a bundle while it is recorded. Records are buffered in one transaction and become durable with commit(); whatever ends
/// the process, the file holds what the last commit wrote and opens. Not thread-safe: one thread owns it.
///
/// After a failed write (a full disk, an I/O error) the writer refuses further records with the same error; what was committed
/// before stays readable.
class BundleWriter {
 public:
  /// Refuses to overwrite: the error for an existing file names the next step. Leaves no file behind when it fails.
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
  /// A probe is added twice when its reply comes after it was first written; the later record replaces the earlier.
  [[nodiscard]] base::Status add(const ProbeRecord& probe);
  [[nodiscard]] base::Status add(const PacketRecord& packet);
  [[nodiscard]] base::Status add(const WaitRecord& wait);
  [[nodiscard]] base::Status add(const FlushRecord& flush);
  /// The id under which the frames are stored; the same frames get the same id.
  [[nodiscard]] base::Result<std::int64_t> add_stack(std::span<const std::string> frames);
  [[nodiscard]] base::Status add(const MemcgCensusRecord& census);
  [[nodiscard]] base::Status add(const PinningFileRecord& file);
  [[nodiscard]] base::Status add(const StatReadRecord& read);
  [[nodiscard]] base::Status add(const MemoryRecord& memory);
  [[nodiscard]] base::Status add(const SlabRecord& slab);
  [[nodiscard]] base::Status add(const CounterRecord& counter);
  [[nodiscard]] base::Status add(const GapRecord& gap);
  [[nodiscard]] base::Status add(const LossRecord& loss);

  /// Blocks for one fsync.
  [[nodiscard]] base::Status commit();

 private:
  class Impl;
  explicit BundleWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Reads a whole bundle. Errors tell apart: missing, not readable, not a database, truncated or damaged, not ours, of another
/// version. Needs no privileges and does not write to an intact file; one left by a killed recorder is recovered first, in place
/// where the directory can be written and in memory otherwise.
[[nodiscard]] base::Result<Evidence> read_bundle(const std::string& path);

}  // namespace stallscope::evidence
