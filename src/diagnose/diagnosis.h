// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "evidence/records.h"
#include "shape/release.h"

// What was concluded from a bundle. Everything here refers to the Evidence it was made from: indices point into its vectors, so a
// Diagnosis is only of use together with that Evidence. Text may contain names from the kernel as they were read; it is made
// printable where it is rendered.
namespace stallscope::diagnose {

/// What became of one probe.
enum class ProbeFate : std::uint8_t {
  on_time,
  /// Its packet came back late.
  late,
  /// It was sent late and came back promptly: the prober's own delay, no sign of a stall in the network.
  own_late,
  /// No reply, long enough before the end of the recording.
  lost,
  /// No reply yet when the recording ended: neither lost nor late.
  undecided,
  /// Its times are impossible; ignored.
  unusable,
};

struct ProbeSummary {
  std::int64_t sent_count = 0;
  std::int64_t answered_count = 0;
  std::int64_t late_count = 0;
  std::int64_t own_late_count = 0;
  std::int64_t lost_count = 0;
  std::int64_t undecided_count = 0;
  /// Median RTT, and 1.4826 times the median absolute deviation from it (the standard deviation, were the RTTs normal).
  std::int64_t baseline_rtt_ns = 0;
  std::int64_t noise_ns = 0;
  /// A reply later than this, counted from the intended send time, is late. Where several targets or kinds of probe were used, each
  /// is judged by its own; this is that of all together.
  std::int64_t late_after_ns = 0;
  /// Latest reply, counted from the intended send time, leaving out what was the prober's own.
  std::int64_t worst_ns = 0;
  std::int64_t worst_own_lateness_ns = 0;
};

using shape::Release;
/// Line through (intended send time, reply time).
using shape::SlopeFit;

/// Late probes that belong together.
struct HeldProbes {
  /// Indices into Evidence::probes, in order of sequence.
  std::vector<std::size_t> probes;
  std::int64_t first_sequence = 0;
  std::int64_t last_sequence = 0;
  /// Reply times, counted from the intended send times.
  std::int64_t first_score_ns = 0;
  std::int64_t last_score_ns = 0;
  std::int64_t worst_score_ns = 0;
  /// Nothing with fewer than two probes.
  std::optional<SlopeFit> fit;
  Release release = Release::unknown;
};

/// Consecutive late probes, found from the probes alone.
struct Episode {
  HeldProbes held;
  /// The stall began between these: when the last probe that came through in time was sent, and the first that did not.
  std::int64_t earliest_start_ns = 0;
  std::int64_t latest_start_ns = 0;
  /// When the last reply of the episode arrived.
  std::int64_t release_ns = 0;
};

enum class ShareKind : std::uint8_t {
  /// A task or kernel thread held the CPU.
  occupant,
  /// The hypervisor did not run the virtual CPU.
  hypervisor,
  /// The CPU could not receive, the mode is known, who held it was not seen.
  unseen,
  /// The wait was over and the network stack worked off what had queued up.
  catching_up,
  unexplained,
};

/// Part of a stall. The shares of a stall add up to its length, to the nanosecond.
struct Share {
  ShareKind kind = ShareKind::unexplained;
  std::int64_t length_ns = 0;
  /// For occupant, hypervisor and unseen: the wait (index into Evidence::waits) and its mode.
  std::optional<std::size_t> wait;
  std::optional<evidence::WaitMode> mode;
  /// For occupant: index into the wait's occupants.
  std::optional<std::size_t> occupant;
};

/// How probes were joined to the waits that held them.
enum class JoinedBy : std::uint8_t {
  /// No probe is involved, or no wait.
  nothing,
  /// The probe was under way while the CPU could not receive.
  time,
  /// The kernel that received saw the probe's own packet wait on that CPU.
  sequence,
};

/// An interval in which received packets waited.
struct Stall {
  /// Nothing: not known where.
  std::optional<std::int32_t> cpu;
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  /// The true start lies between these.
  std::int64_t earliest_start_ns = 0;
  std::int64_t latest_start_ns = 0;
  /// Mode of the longest share that has one.
  std::optional<evidence::WaitMode> mode;
  /// Longest first.
  std::vector<Share> shares;
  /// Indices into Evidence::waits, in order of start.
  std::vector<std::size_t> waits;
  HeldProbes held;
  /// Index into Diagnosis::episodes.
  std::optional<std::size_t> episode;
  JoinedBy joined_by = JoinedBy::nothing;
  /// How many held probes waited on their way to the target and on their way back, as far as known.
  std::int64_t request_count = 0;
  std::int64_t reply_count = 0;
  /// Probes the prober could not send on time because it was held up on this CPU by this wait.
  std::int64_t prober_delayed_count = 0;
  /// Probes that got lost while this stall lasted.
  std::int64_t lost_probe_count = 0;
  /// Packets of any kind the kernel delivered at the end. Nothing: not known.
  std::optional<std::int64_t> packets_released;

  [[nodiscard]] std::int64_t length_ns() const { return end_ns - start_ns; }
};

/// Part of what a late probe took, counted from when it should have been sent.
struct LatePart {
  enum class Kind : std::uint8_t {
    /// It was not sent on time.
    prober,
    /// It stood in a receive queue of a CPU that could not receive.
    wait,
    /// It stood there when the CPU worked off what had queued up.
    catching_up,
    /// As much of the rest as a probe takes that meets no wait: the median.
    network,
    unexplained,
  };
  Kind kind = Kind::unexplained;
  /// For wait.
  std::optional<evidence::WaitMode> mode;
  std::int64_t length_ns = 0;
};

/// Where the time of a late probe went. The parts add up to its reply time, to the nanosecond.
struct LateProbe {
  /// Index into Evidence::probes.
  std::size_t probe = 0;
  /// Longest first.
  std::vector<LatePart> parts;
};

/// Waits in which, as far as known, no packet waited long enough to matter.
struct OtherWaits {
  std::int64_t count = 0;
  std::int64_t longest_ns = 0;
};

enum class Confidence : std::uint8_t { low, medium, high };

/// Another cause that was looked at.
struct OtherCause {
  enum class Verdict : std::uint8_t { excluded, present, unknown };
  Verdict verdict = Verdict::unknown;
  std::string name;
  /// "0 squeezes", or why it is not known.
  std::string measured;
};

/// A share that a finding explains.
struct Claim {
  std::size_t stall = 0;
  std::size_t share = 0;
  std::int64_t length_ns = 0;
};

struct Finding {
  /// Name of the rule, of its page in docs/rules and of nothing else.
  std::string rule_id;
  /// One sentence without a full stop.
  std::string cause;
  std::int64_t explained_ns = 0;
  /// Nothing for what stays unexplained.
  std::optional<Confidence> confidence;
  std::string confidence_reason;
  std::vector<std::string> evidence_for;
  std::vector<OtherCause> other_causes;
  std::vector<std::string> next_steps;
  /// Empty for what is wrong and stalls nobody.
  std::vector<Claim> claims;
  /// What that is instead, as it goes on after "no stall:". Only with empty claims.
  std::string no_stall;
};

enum class Outcome : std::uint8_t {
  /// Nothing wrong was seen. What could not be seen is in the gaps.
  clean,
  /// Stalls, lost probes, or something else that is wrong.
  findings,
};

struct Diagnosis {
  /// Whether probes were sent at all.
  bool probed = false;
  ProbeSummary probes;
  /// For each of Evidence::probes.
  std::vector<ProbeFate> fates;
  std::vector<Episode> episodes;
  /// In order of sequence.
  std::vector<LateProbe> late_probes;
  /// Of all late probes together, longest first.
  std::vector<LatePart> late_time;
  /// In order of start.
  std::vector<Stall> stalls;
  std::int64_t stalled_ns = 0;
  OtherWaits other_waits;
  /// What explains most first, what stays unexplained last.
  std::vector<Finding> findings;
  /// Whole sentences.
  std::vector<std::string> notes;
  /// Those of the evidence, and what the diagnosis found missing.
  std::vector<evidence::GapRecord> gaps;
  std::vector<evidence::LossRecord> losses;
  Outcome outcome = Outcome::clean;
};

/// The task of an occupant share, or nullptr.
[[nodiscard]] const evidence::Occupant* occupant_of(const evidence::Evidence& evidence, const Share& share);

}  // namespace stallscope::diagnose
