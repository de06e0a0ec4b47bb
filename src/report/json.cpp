// SPDX-License-Identifier: Apache-2.0
#include "report/json.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "diagnose/arithmetic.h"
#include "diagnose/stacks.h"
#include "evidence/containers.h"
#include "evidence/syscalls.h"
#include "report/json_parts.h"
#include "report/packets.h"

namespace stallscope::report {
namespace {

using diagnose::Diagnosis;
using evidence::Evidence;

std::string_view fate_id(diagnose::ProbeFate fate) {
  switch (fate) {
    case diagnose::ProbeFate::on_time:
      return "on_time";
    case diagnose::ProbeFate::late:
      return "late";
    case diagnose::ProbeFate::own_late:
      return "own_late";
    case diagnose::ProbeFate::lost:
      return "lost";
    case diagnose::ProbeFate::undecided:
      return "undecided";
    case diagnose::ProbeFate::unusable:
      break;
  }
  return "unusable";
}

std::string_view release_id(diagnose::Release release) {
  switch (release) {
    case diagnose::Release::together:
      return "together";
    case diagnose::Release::apart:
      return "apart";
    case diagnose::Release::unknown:
      break;
  }
  return "unknown";
}

std::string_view share_id(diagnose::ShareKind kind) {
  switch (kind) {
    case diagnose::ShareKind::occupant:
      return "occupant";
    case diagnose::ShareKind::hypervisor:
      return "hypervisor";
    case diagnose::ShareKind::unseen:
      return "unseen";
    case diagnose::ShareKind::catching_up:
      return "catching_up";
    case diagnose::ShareKind::unexplained:
      break;
  }
  return "unexplained";
}

std::string_view joined_id(diagnose::JoinedBy joined_by) {
  switch (joined_by) {
    case diagnose::JoinedBy::sequence:
      return "sequence";
    case diagnose::JoinedBy::time:
      return "time";
    case diagnose::JoinedBy::nothing:
      break;
  }
  return "nothing";
}

std::string_view confidence_id(diagnose::Confidence confidence) {
  switch (confidence) {
    case diagnose::Confidence::low:
      return "low";
    case diagnose::Confidence::medium:
      return "medium";
    case diagnose::Confidence::high:
      break;
  }
  return "high";
}

std::string_view verdict_id(diagnose::OtherCause::Verdict verdict) {
  switch (verdict) {
    case diagnose::OtherCause::Verdict::excluded:
      return "excluded";
    case diagnose::OtherCause::Verdict::present:
      return "present";
    case diagnose::OtherCause::Verdict::unknown:
      break;
  }
  return "unknown";
}

class JsonReport {
 public:
  JsonReport(const Evidence& evidence, const Diagnosis& diagnosis, const std::optional<TwoEndsFacts>& two_ends)
      : evidence_(evidence), diagnosis_(diagnosis), two_ends_(two_ends), stacks_(evidence) {
    for (const evidence::PacketRecord& packet : evidence.packets) {
      packets_.emplace(packet.sequence, &packet);
    }
    for (const evidence::SampleRecord& sample : evidence.samples) {
      samples_.emplace(sample.wait_id, &sample);
    }
  }

  [[nodiscard]] Json make() const {
    Json report;
    report["schema_version"] = json_schema_version;
    report["outcome"] = diagnosis_.outcome == diagnose::Outcome::clean ? "clean" : "findings";
    report["run"] = run();
    report["two_ends"] = two_ends();
    report["probes"] = diagnosis_.probed ? probes() : Json(nullptr);
    report["episodes"] = episodes();
    report["stalled_ns"] = diagnosis_.stalled_ns;
    report["stalls"] = stalls();
    report["findings"] = findings();
    report["notes"] = diagnosis_.notes;
    report["other_waits"] = {{"count", diagnosis_.other_waits.count}, {"longest_ns", diagnosis_.other_waits.longest_ns}};
    report["waits"] = waits();
    report["flushes"] = flushes();
    report["census"] = census_json(evidence_);
    report["counters"] = counters();
    report["sockets"] = sockets_json(evidence_);
    report["throttled_cgroups"] = throttled_cgroups_json(evidence_);
    report["gaps"] = gaps();
    report["losses"] = losses();
    return report;
  }

 private:
  [[nodiscard]] std::string utc(std::int64_t time_ns) const {
    return base::iso_time(diagnose::saturating_add(time_ns, evidence_.run.realtime_offset_ns));
  }

  [[nodiscard]] Json two_ends() const {
    if (!two_ends_) {
      return nullptr;
    }
    return {{"seen", two_ends_->seen_count},
            {"probes", two_ends_->probe_count},
            {"clock_uncertainty_ns", two_ends_->clock_uncertainty_ns},
            {"clock_drift_ppm", two_ends_->clock_drift_ppm}};
  }

  [[nodiscard]] Json run() const {
    const evidence::RunRecord& run = evidence_.run;
    return {{"tool_version", run.tool_version},
            {"hostname", run.hostname},
            {"kernel_release", run.kernel_release},
            {"boot_id", run.boot_id},
            {"state", run.state},
            {"start_utc", utc(run.start_ns)},
            {"start_ns", run.start_ns},
            {"end_ns", run.end_ns},
            {"realtime_offset_ns", run.realtime_offset_ns},
            {"planned_duration_ns", run.planned_duration_ns},
            {"wait_threshold_ns", run.wait_threshold_ns},
            {"cpu_count", run.cpu_count},
            {"target", run.target},
            {"target_address", run.target_address},
            {"target_is_local", run.target_is_local},
            {"probe_netns", run.probe_netns},
            {"probe_interval_ns", run.probe_interval_ns},
            {"traced", run.traced}};
  }

  [[nodiscard]] Json probe(std::size_t index) const {
    const evidence::ProbeRecord& probe = evidence_.probes[index];
    return {{"sequence", probe.sequence},
            {"fate", fate_id(diagnosis_.fates[index])},
            {"intended_ns", probe.intended_ns},
            {"sent_ns", probe.sent_ns},
            {"received_ns", probe.answered() ? Json(probe.received_ns) : Json(nullptr)},
            {"sender_cpu", probe.sender_cpu},
            {"parts", parts(index)},
            {"packets", packets(probe.sequence)}};
  }

  [[nodiscard]] static Json parts(const std::vector<diagnose::LatePart>& parts) {
    Json list = Json::array();
    for (const diagnose::LatePart& part : parts) {
      list.push_back({{"part", late_part_id(part)}, {"length_ns", part.length_ns}});
    }
    return list;
  }

  [[nodiscard]] Json parts(std::size_t index) const {
    const auto& late = diagnosis_.late_probes;
    const auto found = std::lower_bound(late.begin(), late.end(), index,
                                        [](const diagnose::LateProbe& probe, std::size_t wanted) { return probe.probe < wanted; });
    return found != late.end() && found->probe == index ? parts(found->parts) : Json(nullptr);
  }

  [[nodiscard]] Json packets(std::int64_t sequence) const {
    Json list = Json::array();
    const auto [first, last] = packets_.equal_range(sequence);
    for (auto entry = first; entry != last; ++entry) {
      const evidence::PacketRecord& packet = *entry->second;
      list.push_back({{"leg", evidence::packet_leg_id(packet.leg)},
                      {"netns_inode", packet.netns_inode},
                      {"ifindex", packet.ifindex},
                      {"device", packet.device},
                      {"cpu", packet.cpu},
                      {"rx_queue", packet.rx_queue >= 0 ? Json(packet.rx_queue) : Json(nullptr)},
                      {"enqueued_ns", packet.enqueued_ns != 0 ? Json(packet.enqueued_ns) : Json(nullptr)},
                      {"received_ns", packet.received_ns},
                      {"served_by", evidence::served_by_id(packet.served_by)},
                      {"pid", packet.pid},
                      {"comm", packet.comm},
                      {"syscall", packet.syscall_number ? Json(evidence::syscall_name(*packet.syscall_number)) : Json(nullptr)}});
    }
    return list;
  }

  [[nodiscard]] Json probes() const {
    const diagnose::ProbeSummary& summary = diagnosis_.probes;
    Json not_on_time = Json::array();
    for (std::size_t index = 0; index < evidence_.probes.size(); ++index) {
      if (diagnosis_.fates[index] != diagnose::ProbeFate::on_time) {
        not_on_time.push_back(probe(index));
      }
    }
    return {{"sent", summary.sent_count},
            {"answered", summary.answered_count},
            {"late", summary.late_count},
            {"own_late", summary.own_late_count},
            {"lost", summary.lost_count},
            {"undecided", summary.undecided_count},
            {"baseline_rtt_ns", summary.baseline_rtt_ns},
            {"noise_ns", summary.noise_ns},
            {"late_after_ns", summary.late_after_ns},
            {"worst_ns", summary.worst_ns},
            {"worst_own_lateness_ns", summary.worst_own_lateness_ns},
            {"late_time", parts(diagnosis_.late_time)},
            {"not_on_time", not_on_time}};
  }

  [[nodiscard]] Json held(const diagnose::HeldProbes& held) const {
    if (held.probes.empty()) {
      return nullptr;
    }
    Json sequences = Json::array();
    for (const std::size_t index : held.probes) {
      sequences.push_back(evidence_.probes[index].sequence);
    }
    return {{"count", held.probes.size()},
            {"sequences", sequences},
            {"first_score_ns", held.first_score_ns},
            {"last_score_ns", held.last_score_ns},
            {"worst_score_ns", held.worst_score_ns},
            {"slope", held.fit ? Json(held.fit->slope) : Json(nullptr)},
            {"slope_standard_error", held.fit ? or_null(held.fit->standard_error) : Json(nullptr)},
            {"release", release_id(held.release)}};
  }

  [[nodiscard]] Json episodes() const {
    Json list = Json::array();
    for (const diagnose::Episode& episode : diagnosis_.episodes) {
      list.push_back({{"held", held(episode.held)},
                      {"earliest_start_ns", episode.earliest_start_ns},
                      {"latest_start_ns", episode.latest_start_ns},
                      {"release_ns", episode.release_ns}});
    }
    return list;
  }

  [[nodiscard]] Json occupant(const evidence::Occupant& occupant) const {
    const evidence::CgroupOwner owner = evidence::cgroup_owner(occupant.cgroup);
    Json system_call = nullptr;
    if (occupant.syscall_number) {
      system_call = {{"number", *occupant.syscall_number},
                     {"name", evidence::syscall_name(*occupant.syscall_number)},
                     {"arguments", occupant.arguments_known() ? Json(occupant.syscall_arguments) : Json(nullptr)}};
    }
    const std::vector<std::string>* frames = stacks_.frames(occupant.stack_id);
    return {{"pid", occupant.pid},
            {"tgid", occupant.tgid},
            {"comm", occupant.comm},
            {"kernel_thread", occupant.kernel_thread},
            {"cgroup", occupant.cgroup},
            {"container_runtime", owner.runtime},
            {"container_id", owner.container_id},
            {"pod_uid", owner.pod_uid},
            {"systemd_unit", owner.systemd_unit},
            {"syscall", system_call},
            {"file", occupant.file},
            {"stack", frames != nullptr ? Json(*frames) : Json(nullptr)},
            {"held_ns", occupant.held_ns},
            {"sample_count", occupant.sample_count}};
  }

  [[nodiscard]] Json shares(const diagnose::Stall& stall) const {
    Json list = Json::array();
    for (const diagnose::Share& share : stall.shares) {
      const evidence::Occupant* who = diagnose::occupant_of(evidence_, share);
      list.push_back({{"kind", share_id(share.kind)},
                      {"length_ns", share.length_ns},
                      {"mode", share.mode ? Json(evidence::wait_mode_id(*share.mode)) : Json(nullptr)},
                      {"wait_id", share.wait ? Json(evidence_.waits[*share.wait].id) : Json(nullptr)},
                      {"occupant", who != nullptr ? occupant(*who) : Json(nullptr)}});
    }
    return list;
  }

  [[nodiscard]] Json stalls() const {
    Json list = Json::array();
    for (const diagnose::Stall& stall : diagnosis_.stalls) {
      Json wait_ids = Json::array();
      for (const std::size_t wait : stall.waits) {
        wait_ids.push_back(evidence_.waits[wait].id);
      }
      list.push_back({{"cpu", or_null(stall.cpu)},
                      {"start_utc", utc(stall.start_ns)},
                      {"start_ns", stall.start_ns},
                      {"earliest_start_ns", stall.earliest_start_ns},
                      {"latest_start_ns", stall.latest_start_ns},
                      {"end_ns", stall.end_ns},
                      {"length_ns", stall.length_ns()},
                      {"mode", stall.mode ? Json(evidence::wait_mode_id(*stall.mode)) : Json(nullptr)},
                      {"shares", shares(stall)},
                      {"wait_ids", wait_ids},
                      {"joined_by", joined_id(stall.joined_by)},
                      {"episode", or_null(stall.episode)},
                      {"held", held(stall.held)},
                      {"request_count", stall.request_count},
                      {"reply_count", stall.reply_count},
                      {"prober_delayed_count", stall.prober_delayed_count},
                      {"lost_probe_count", stall.lost_probe_count},
                      {"packets_released", or_null(stall.packets_released)}});
    }
    return list;
  }

  [[nodiscard]] Json findings() const {
    Json list = Json::array();
    for (const diagnose::Finding& finding : diagnosis_.findings) {
      Json claims = Json::array();
      for (const diagnose::Claim& claim : finding.claims) {
        claims.push_back({{"stall", claim.stall}, {"share", claim.share}, {"length_ns", claim.length_ns}});
      }
      Json other_causes = Json::array();
      for (const diagnose::OtherCause& cause : finding.other_causes) {
        other_causes.push_back({{"name", cause.name}, {"verdict", verdict_id(cause.verdict)}, {"measured", cause.measured}});
      }
      list.push_back({{"rule", finding.rule_id},
                      {"cause", finding.cause},
                      {"explained_ns", finding.explained_ns},
                      {"confidence", finding.confidence ? Json(confidence_id(*finding.confidence)) : Json(nullptr)},
                      {"confidence_reason", finding.confidence_reason},
                      {"no_stall", finding.claims.empty() && finding.confidence ? Json(finding.no_stall) : Json(nullptr)},
                      {"for", finding.evidence_for},
                      {"other_causes", other_causes},
                      {"do", finding.next_steps},
                      {"claims", claims}});
    }
    return list;
  }

  [[nodiscard]] Json waits() const {
    Json list = Json::array();
    for (const evidence::WaitRecord& wait : evidence_.waits) {
      Json occupants = Json::array();
      for (const evidence::Occupant& who : wait.occupants) {
        occupants.push_back(occupant(who));
      }
      list.push_back({{"id", wait.id},
                      {"cpu", wait.cpu},
                      {"mode", evidence::wait_mode_id(wait.mode)},
                      {"start_ns", wait.start_ns},
                      {"earliest_start_ns", wait.earliest_start_ns},
                      {"latest_start_ns", wait.latest_start_ns},
                      {"end_ns", wait.end_ns},
                      {"vector", wait.vector >= 0 ? Json(evidence::softirq_vector_name(wait.vector)) : Json(nullptr)},
                      {"packets_released", wait.packets_released >= 0 ? Json(wait.packets_released) : Json(nullptr)},
                      {"occupants", occupants},
                      {"samples", samples(wait.id)}});
    }
    return list;
  }

  [[nodiscard]] Json samples(std::int64_t wait_id) const {
    Json list = Json::array();
    const auto [first, last] = samples_.equal_range(wait_id);
    for (auto entry = first; entry != last; ++entry) {
      const evidence::SampleRecord& sample = *entry->second;
      const std::vector<std::string>* frames = stacks_.frames(sample.stack_id);
      list.push_back({{"first_ns", sample.first_ns},
                      {"last_ns", sample.last_ns},
                      {"sample_count", sample.sample_count},
                      {"pid", sample.pid},
                      {"comm", sample.comm},
                      {"stack", frames != nullptr ? Json(*frames) : Json(nullptr)}});
    }
    return list;
  }

  [[nodiscard]] Json flushes() const {
    Json list = Json::array();
    for (const evidence::FlushRecord& flush : evidence_.flushes) {
      list.push_back({{"cpu", flush.cpu},
                      {"start_ns", flush.start_ns},
                      {"end_ns", flush.end_ns},
                      {"pid", flush.pid},
                      {"tgid", flush.tgid},
                      {"comm", flush.comm},
                      {"cgroup", flush.cgroup}});
    }
    return list;
  }

  [[nodiscard]] Json counters() const {
    Json list = Json::array();
    for (const evidence::CounterRecord& counter : evidence_.counters) {
      list.push_back({{"name", counter.name}, {"cpu", counter.cpu}, {"before", counter.before}, {"after", counter.after}});
    }
    return list;
  }

  [[nodiscard]] Json gaps() const {
    Json list = Json::array();
    for (const evidence::GapRecord& gap : diagnosis_.gaps) {
      list.push_back({{"what", gap.what}, {"reason", gap.reason}, {"consequence", gap.consequence}});
    }
    return list;
  }

  [[nodiscard]] Json losses() const {
    Json list = Json::array();
    for (const evidence::LossRecord& loss : diagnosis_.losses) {
      list.push_back({{"where", loss.where}, {"count", loss.count}});
    }
    return list;
  }

  const Evidence& evidence_;
  const Diagnosis& diagnosis_;
  const std::optional<TwoEndsFacts>& two_ends_;
  diagnose::StackTable stacks_;
  std::multimap<std::int64_t, const evidence::PacketRecord*> packets_;
  std::multimap<std::int64_t, const evidence::SampleRecord*> samples_;
};

}  // namespace

std::string render_json(const Evidence& evidence, const Diagnosis& diagnosis, const std::optional<TwoEndsFacts>& two_ends) {
  constexpr int spaces = 2;
  constexpr bool ascii_only = true;
  return JsonReport(evidence, diagnosis, two_ends).make().dump(spaces, ' ', ascii_only, Json::error_handler_t::replace) + "\n";
}

}  // namespace stallscope::report
