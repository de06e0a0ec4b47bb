// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"
#include "lab/progress.h"
#include "lab/stop_signals.h"

namespace stallscope::lab {

/// What is given on the command line for a parameter: a bare number, or a duration such as 20ms.
enum class ParameterKind : std::uint8_t { count, duration };

/// One setting of a fault. Values of durations are nanoseconds.
struct Parameter {
  /// "zombies" is set by --zombies. "length" stands for the common option --length and gives it a default.
  std::string_view name;
  std::string_view help;
  ParameterKind kind = ParameterKind::count;
  std::int64_t default_value = 0;
  std::int64_t minimum = 0;
  std::int64_t maximum = 0;
  /// Said to whom asks for a value out of bounds: why they are there. May be empty.
  std::string_view reason_for_bounds = {};
};

/// Values of a fault's parameters.
class Settings {
 public:
  Settings() = default;
  Settings(std::initializer_list<std::pair<const std::string, std::int64_t>> values) : values_(values) {}

  void set(std::string_view name, std::int64_t value) { values_[std::string(name)] = value; }
  /// Takes over every value of `other`.
  void set_all(const Settings& other);
  [[nodiscard]] std::optional<std::int64_t> find(std::string_view name) const;
  /// The parameter's default where it was not set.
  [[nodiscard]] std::int64_t value(const Parameter& parameter) const;
  [[nodiscard]] const std::map<std::string, std::int64_t>& values() const { return values_; }

 private:
  std::map<std::string, std::int64_t> values_;
};

struct RunOptions {
  Settings settings;
  /// The CPU the fault holds up, and the one that receives on the node.
  int cpu = 0;
  int receive_cpu = 0;
  std::int64_t period_ns = base::ns_per_s;
  std::int64_t duration_ns = 20 * base::ns_per_s;
  /// When the first turn is due; a later turn of that schedule where it is not ready by then. 0: half a period after it is ready.
  std::int64_t first_turn_ns = 0;
  /// Whether a culprit gets the lab's cgroup, where the fault has none for it. Several faults at once would have to share it.
  bool own_cgroup = true;
  /// The control: the same work without the damage.
  bool healthy = false;
};

struct RunOutput {
  /// Gets one JSON object per line, each written at once.
  int ground_truth_fd = -1;
  Progress progress;
};

/// Stall lengths that every fault can be set to.
inline constexpr std::int64_t shortest_length_ns = 10 * base::ns_per_ms;
inline constexpr std::int64_t longest_length_ns = 500 * base::ns_per_ms;

/// As a mode: of a fault that makes no received packet wait, such as one by which packets are lost or by which an application is
/// late. As a rule: of one that no rule is to name.
inline constexpr std::string_view blames_nothing = "none";

/// A fault the lab can cause for real. Each is defined once, in its own folder.
struct Fault {
  std::string_view id;
  /// One line of at most 90 characters, without a full stop.
  std::string_view summary;
  /// What its stalls are to be blamed on: the ids of a diagnosis rule and of a wait mode, or blames_nothing.
  std::string_view expected_rule;
  std::string_view expected_mode;
  /// What the control does, for the help: "the same reads, with nothing to flush".
  std::string_view healthy_help;
  std::span<const Parameter> parameters;
  /// The values that make stalls of about this length. Pure; answers for all of shortest_length_ns..longest_length_ns.
  Settings (*settings_for)(std::int64_t length_ns);
  /// How long a turn takes with all that has to be made for it; a shorter period makes turns late.
  std::int64_t turn_ns = 0;
  /// Making what a turn needs stalls packets as well: only what happens within the times of its lines is the fault's.
  bool stalls_while_preparing = false;
  /// Blocks for the duration of the run or until a stop. What it makes is removed before it returns, whatever the result.
  base::Status (*run)(const RunOptions&, StopSignals&, const RunOutput&);
  /// Removes what a killed run left beyond what Undo and CulpritCgroup take care of; says whether there was anything. Called
  /// before every run of every fault. May be null.
  base::Result<bool> (*remove_leftovers)(const Progress&);
};

/// Of a fault whose parameter "length" is the length of a stall itself.
[[nodiscard]] Settings length_alone(std::int64_t length_ns);

/// All values a run needs: those `given`, else those that make stalls of `length_ns`, else the defaults. An error names the
/// option whose value is out of bounds.
[[nodiscard]] base::Result<Settings> complete_settings(const Fault& fault, std::optional<std::int64_t> length_ns,
                                                       const Settings& given);

}  // namespace stallscope::lab
