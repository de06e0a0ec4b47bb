// SPDX-License-Identifier: Apache-2.0
#include "cli/lab_matrix_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/lab_matrix_score.h"
#include "cli/lab_run_command.h"
#include "cli/recorder.h"
#include "diagnose/diagnose.h"
#include "evidence/bundle.h"
#include "lab/child_process.h"
#include "lab/faults/catalogue.h"
#include "lab/session.h"
#include "lab/stop_signals.h"
#include "lab/topology.h"

namespace stallscope::cli {
namespace {

using base::Error;
using base::Result;
using base::Status;
using Json = nlohmann::json;

/// For a fault to be in place, and for its end: making 60,000 zombies takes a quarter of a minute here, more elsewhere.
constexpr std::int64_t patience_ns = 180 * base::ns_per_s;
/// From one stall to the next: several times the longest.
constexpr std::int64_t least_period_ns = 2 * base::ns_per_s;
/// In most modes a wait begins with the first packet, so that with fewer of them a short stall may hold none for long.
constexpr std::int64_t probes_per_stall = 10;
constexpr std::string_view case_bundle = "case.stall";

/// Tried beside the faults: in each, two causes stall one CPU in turns, and each has to get its own.
constexpr std::array<std::string_view, 2> pairs = {"irq-off-section+softirq-vector", "bh-off-section+memcg-stat-flush"};

struct MatrixOptions {
  std::vector<std::string> fault_ids;
  std::vector<std::string> lengths = {"20ms", "100ms", "400ms"};
  int cpu = 0;
  int probe_cpu = 1;
  int stalls = 4;
  int runs = 1;
  bool json = false;
  /// Where the bundles of cases that went wrong are kept; empty: nowhere.
  std::string keep;
};

/// A fault, or two at once.
struct Case {
  std::vector<const lab::Fault*> faults;
  std::int64_t length_ns = 0;
  bool healthy = false;
};

std::int64_t period_of(const Case& tried) {
  std::int64_t period_ns = least_period_ns;
  for (const lab::Fault* fault : tried.faults) {
    period_ns = std::max(period_ns, fault->turn_ns);
  }
  return period_ns;
}

struct CaseResult {
  Case tried;
  MatrixScore score;
  /// The lines of the ground truth.
  std::vector<Json> truth;
  /// Why it could not be tried here.
  std::optional<Error> unavailable;
};

/// A directory that goes with its owner.
class ScratchDirectory {
 public:
  [[nodiscard]] static Result<ScratchDirectory> make() {
    std::string path = (std::filesystem::temp_directory_path() / "stallscope-matrix-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) {
      return base::errno_error("make directory", path, errno);
    }
    return ScratchDirectory(path);
  }
  ~ScratchDirectory() {
    if (!path_.empty()) {
      std::error_code ignored;
      std::filesystem::remove_all(path_, ignored);
    }
  }
  ScratchDirectory(ScratchDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// What runs in a child until it is stopped, and the ground truth it has told.
class RunningFault {
 public:
  [[nodiscard]] static Result<RunningFault> start(const Case& tried, const MatrixOptions& options) {
    std::vector<lab::FaultRun> runs;
    for (const lab::Fault* fault : tried.faults) {
      Result<lab::Settings> settings = lab::complete_settings(*fault, tried.length_ns, {});
      if (!settings) {
        return settings.error();
      }
      runs.push_back({fault,
                      {.settings = std::move(*settings),
                       .cpu = options.cpu,
                       .receive_cpu = options.cpu,
                       .period_ns = period_of(tried),
                       .duration_ns = 2 * patience_ns,
                       .healthy = tried.healthy}});
    }
    Result<lab::ChildProcess> child = lab::ChildProcess::start("lab-matrix", [&](const lab::ReportPipe& pipe) -> Status {
      Result<lab::StopSignals> stop = lab::StopSignals::block();
      return stop ? lab::run_faults(runs, *stop, {pipe.fd(), [](std::string_view) {}}) : stop.error();
    });
    return child ? Result<RunningFault>(RunningFault(std::move(*child), tried.faults.size())) : child.error();
  }

  /// Waits until all of it is in place.
  [[nodiscard]] Status ready() {
    std::string line;
    const std::int64_t deadline_ns = base::monotonic_ns() + patience_ns;
    while (child_.next_line(line, -1, deadline_ns) == lab::ChildProcess::Event::line) {
      take(line);
      if (ready_count_ == fault_count_) {
        return base::ok();
      }
    }
    child_.ask_to_stop();
    Status ended = child_.finish();
    return ended ? Error{"run", "the fault", "it ended before it was in place", ""} : ended.error();
  }

  /// The lines of the ground truth.
  [[nodiscard]] Result<std::vector<Json>> stop() {
    child_.ask_to_stop();
    std::string line;
    const std::int64_t deadline_ns = base::monotonic_ns() + patience_ns;
    while (child_.next_line(line, -1, deadline_ns) == lab::ChildProcess::Event::line) {
      take(line);
    }
    if (const Status ended = child_.finish(); !ended) {
      return ended.error();
    }
    return std::move(lines_);
  }

 private:
  RunningFault(lab::ChildProcess child, std::size_t fault_count) : child_(std::move(child)), fault_count_(fault_count) {}

  void take(const std::string& line) {
    lines_.push_back(Json::parse(line, nullptr, /*allow_exceptions=*/false));
    if (lines_.back().is_object() && lines_.back().value("type", "") == "ready") {
      ++ready_count_;
    }
  }

  lab::ChildProcess child_;
  std::size_t fault_count_ = 1;
  std::size_t ready_count_ = 0;
  std::vector<Json> lines_;
};

Status try_case(const MatrixOptions& options, RunningFault& fault, const std::string& directory, CaseResult& result) {
  const Case& tried = result.tried;
  RecordOptions recording;
  recording.target = lab::node_address;
  recording.probe_netns = lab::client_netns;
  recording.probe_cpu = options.probe_cpu;
  recording.duration_ns = options.stalls * period_of(tried);
  recording.bundle_path = directory + "/" + std::string(case_bundle);
  recording.probe_interval_ns = std::min(recording.probe_interval_ns, tried.length_ns / probes_per_stall);
  recording.read_cost = false;
  const Result<RecordOutcome> recorded = record(recording, {});
  if (!recorded) {
    return recorded.error();
  }
  Result<std::vector<Json>> truth = fault.stop();
  const Result<evidence::Evidence> evidence = evidence::read_bundle(recorded->bundle_path);
  if (!truth || !evidence) {
    return truth ? evidence.error() : truth.error();
  }
  result.truth = std::move(*truth);
  const bool only_within =
      std::any_of(tried.faults.begin(), tried.faults.end(), [](const lab::Fault* one) { return one->stalls_while_preparing; });
  result.score = score(tried.healthy ? std::vector<TrueStall>{} : true_stalls(result.truth), *evidence,
                       diagnose::diagnose(*evidence), only_within ? std::optional(lab_turns(result.truth)) : std::nullopt);
  return base::ok();
}

std::string case_name(const Case& tried) {
  return tried.healthy ? "control" : base::format_duration(tried.length_ns);
}

/// A control, or a fault that shows that something does no harm.
bool causes_nothing(const Case& tried) {
  return tried.healthy || std::all_of(tried.faults.begin(), tried.faults.end(),
                                      [](const lab::Fault* one) { return one->expected_rule == lab::blames_nothing; });
}

bool right(const CaseResult& result) {
  return result.unavailable || (result.score.right() && (causes_nothing(result.tried) || result.score.stall_count > 0));
}

/// Disposes of a case's bundle: one that went wrong is worth a look, beside what really happened.
Status put_away(const CaseResult& result, const MatrixOptions& options, int run, const std::string& directory) {
  const std::filesystem::path bundle = std::filesystem::path(directory) / case_bundle;
  std::error_code error;
  if (!right(result) && !options.keep.empty() && std::filesystem::exists(bundle, error)) {
    std::string name = fmt::format("{}/{}-{}-{}", options.keep, lab::join_ids(result.tried.faults), case_name(result.tried), run);
    std::erase(name, ' ');
    std::filesystem::copy_file(bundle, name + ".stall", std::filesystem::copy_options::overwrite_existing, error);
    if (error) {
      return base::errno_error("keep", name + ".stall", error.value());
    }
    std::ofstream truth(name + ".jsonl");
    for (const Json& line : result.truth) {
      truth << line.dump() << '\n';
    }
    if (!truth.flush()) {
      return Error{"keep", name + ".jsonl", "it cannot be written", ""};
    }
  }
  std::filesystem::remove(bundle, error);
  return base::ok();
}

CaseResult run_case(const Case& tried, const MatrixOptions& options, const std::string& directory) {
  CaseResult result{tried, {}, {}, std::nullopt};
  Result<RunningFault> fault = RunningFault::start(tried, options);
  if (!fault) {
    result.unavailable = fault.error();
    return result;
  }
  if (const Status ready = fault->ready(); !ready) {
    result.unavailable = ready.error();
    return result;
  }
  if (const Status tried_it = try_case(options, *fault, directory, result); !tried_it) {
    result.unavailable = tried_it.error();
  }
  return result;
}

/// "irq-off-section x2, nothing x1"
std::string tally(const std::vector<std::string>& causes) {
  std::map<std::string, int> counts;
  for (const std::string& cause : causes) {
    ++counts[cause.empty() ? "not found" : cause];
  }
  std::string text;
  for (const auto& [cause, count] : counts) {
    text += fmt::format("{}{} x{}", text.empty() ? "" : ", ", cause, count);
  }
  return text;
}

constexpr const char* row_format = "{:<{}} {:>8} {:>6} {:>6} {:>6} {:>5} {:>4} {:>6} {:>7} {:>5}  {}\n";

void print_heading(std::size_t width) {
  fmt::print(row_format, "fault", width, "case", "stalls", "found", "cause", "mode", "CPU", "length", "process", "file",
             "blamed on");
}

void print_row(const CaseResult& result, std::size_t width) {
  const std::string fault = lab::join_ids(result.tried.faults);
  const MatrixScore& score = result.score;
  const std::string name = case_name(result.tried);
  if (result.unavailable) {
    fmt::print("{:<{}} {:>8}  not here: {}\n", fault, width, name, result.unavailable->message());
  } else if (causes_nothing(result.tried)) {
    fmt::print("{:<{}} {:>8}  {}\n", fault, width, name,
               score.invented_count == 0 ? "no finding" : "WRONG: " + tally(score.invented_causes));
  } else if (score.stall_count == 0) {
    fmt::print("{:<{}} {:>8}  WRONG: the lab caused none that was wholly recorded\n", fault, width, name);
  } else {
    std::string blamed = tally(score.blamed);
    blamed += score.invented_count == 0 ? "" : "; invented: " + tally(score.invented_causes);
    fmt::print(row_format, fault, width, name, score.stall_count, score.found_count, score.cause_count, score.mode_count,
               score.cpu_count, score.length_count, score.holder_count, score.file_count,
               (right(result) ? "" : "WRONG: ") + blamed);
  }
  static_cast<void>(std::fflush(stdout));
}

Json json_of(const CaseResult& result, int run) {
  const MatrixScore& score = result.score;
  return {{"run", run},
          {"fault", lab::join_ids(result.tried.faults)},
          {"length_ns", result.tried.length_ns},
          {"healthy", result.tried.healthy},
          {"unavailable", result.unavailable ? Json(result.unavailable->message()) : Json(nullptr)},
          {"right", right(result)},
          {"stalls", score.stall_count},
          {"found", score.found_count},
          {"cause", score.cause_count},
          {"mode", score.mode_count},
          {"cpu", score.cpu_count},
          {"length", score.length_count},
          {"process", score.holder_count},
          {"file", score.file_count},
          {"blamed", score.blamed},
          {"invented", score.invented_causes},
          {"foreign", score.foreign_count}};
}

Result<std::vector<Case>> cases_of(const MatrixOptions& options) {
  std::vector<std::string> ids = options.fault_ids;
  if (ids.empty()) {
    for (const lab::Fault* fault : lab::faults()) {
      ids.emplace_back(fault->id);
    }
    ids.insert(ids.end(), pairs.begin(), pairs.end());
  }
  std::vector<std::vector<const lab::Fault*>> chosen;
  for (const std::string& id : ids) {
    const Result<std::vector<const lab::Fault*>> faults = lab::find_faults(id);
    if (!faults) {
      return faults.error();
    }
    chosen.push_back(*faults);
  }
  std::vector<std::int64_t> lengths;
  for (const std::string& text : options.lengths) {
    const Result<std::int64_t> length = base::parse_duration("--lengths", text, lab::shortest_length_ns, lab::longest_length_ns);
    if (!length) {
      return length.error();
    }
    lengths.push_back(*length);
  }
  std::vector<Case> cases;
  for (const std::vector<const lab::Fault*>& faults : chosen) {
    for (const std::int64_t length_ns : lengths) {
      cases.push_back({faults, length_ns, false});
    }
    cases.push_back({faults, lengths.back(), true});
  }
  return cases;
}

/// The exit status.
Result<int> run_matrix(const MatrixOptions& options) {
  const Result<std::vector<Case>> cases = cases_of(options);
  if (!cases) {
    return cases.error();
  }
  for (const auto& [option, cpu] : {std::pair("--cpu", options.cpu), std::pair("--probe-cpu", options.probe_cpu)}) {
    if (const Status online = lab::check_cpu_online(option, cpu); !online) {
      return online.error();
    }
  }
  if (!options.keep.empty()) {
    // Before the first fault: the matrix takes half an hour, and would then have nowhere to put what it found.
    std::error_code failed;
    std::filesystem::create_directories(options.keep, failed);
    if (failed) {
      return base::errno_error("make directory", options.keep, failed.value());
    }
  }
  const Result<ScratchDirectory> directory = ScratchDirectory::make();
  if (!directory) {
    return directory.error();
  }
  const InterruptGuard interrupts;
  std::int64_t wrong_count = 0;
  std::int64_t unavailable_count = 0;
  std::int64_t foreign_count = 0;
  std::size_t width = 0;
  for (const Case& tried : *cases) {
    width = std::max(width, lab::join_ids(tried.faults).size());
  }
  if (!options.json) {
    print_heading(width);
  }
  for (int run = 1; run <= options.runs; ++run) {
    for (const Case& tried : *cases) {
      if (InterruptGuard::requested()) {
        return Error{"finish", "the matrix", "it was interrupted", ""};
      }
      const CaseResult result = run_case(tried, options, directory->path());
      if (const Status done = put_away(result, options, run, directory->path()); !done) {
        return done.error();
      }
      wrong_count += right(result) ? 0 : 1;
      unavailable_count += result.unavailable ? 1 : 0;
      foreign_count += result.score.foreign_count;
      if (options.json) {
        fmt::print("{}\n", json_of(result, run).dump());
        static_cast<void>(std::fflush(stdout));
      } else {
        print_row(result, width);
      }
    }
  }
  if (!options.json) {
    const auto tried_count = static_cast<std::int64_t>(cases->size()) * options.runs - unavailable_count;
    fmt::print("\n{} of {} cases right; {} could not be tried here. {} stall{} of others were left out.\n",
               tried_count - wrong_count, tried_count, unavailable_count, foreign_count, foreign_count == 1 ? "" : "s");
  }
  return wrong_count == 0 ? exit_clean : exit_findings;
}

}  // namespace

void add_lab_matrix(CLI::App& lab, int& exit_status) {
  constexpr int most_stalls = 100;
  constexpr int most_runs = 100;
  CLI::App* command = lab.add_subcommand("matrix", "Cause every fault and its control, diagnose each, and compare with the truth");
  const auto options = std::make_shared<MatrixOptions>();
  command->add_option("fault", options->fault_ids, "Faults to try, or two at once: FAULT+FAULT (default: all, and two pairs)");
  command->add_option("--lengths", options->lengths, "Lengths of the stalls, joined by commas: 10ms to 500ms")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--stalls", options->stalls, "How many stalls to cause for each length, one every 2 s where that suffices")
      ->check(CLI::Range(2, most_stalls))
      ->capture_default_str();
  command->add_option("--runs", options->runs, "How often to try everything")
      ->check(CLI::Range(1, most_runs))
      ->capture_default_str();
  command->add_option("--cpu", options->cpu, "The CPU that is held up")->capture_default_str();
  command->add_option("--probe-cpu", options->probe_cpu, "The CPU that the prober stays on")->capture_default_str();
  command->add_flag("--json", options->json, "Print one JSON object for each case");
  command->add_option("--keep", options->keep,
                      "A directory for bundle and ground truth of each case that went wrong; made where there is none");
  command->footer(
      "Each row: how many stalls the lab caused, how many of them were found, and of\n"
      "how many the first cause, the mode, the CPU, the length (within 5 % or 2 ms),\n"
      "the process with its system call, and the file were right.\n"
      "Exit status 1: something was wrong.\n"
      "\n"
      "EXAMPLES\n"
      "  sudo stallscope lab matrix\n"
      "  sudo stallscope lab matrix irq-off-section --lengths 10ms,500ms --stalls 10\n"
      "  sudo stallscope lab matrix irq-off-section+softirq-vector");
  command->callback([options, &exit_status] {
    const Result<int> status = run_matrix(*options);
    exit_status = status ? *status : report_lab(status.error());
  });
}

}  // namespace stallscope::cli
