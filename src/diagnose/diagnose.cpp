// SPDX-License-Identifier: Apache-2.0
#include "diagnose/diagnose.h"

#include <utility>

#include "diagnose/arithmetic.h"
#include "diagnose/episodes.h"
#include "diagnose/joins.h"
#include "diagnose/late_time.h"
#include "diagnose/notes.h"
#include "diagnose/rules/rule.h"
#include "diagnose/stalls.h"
#include "diagnose/time_window.h"
#include "diagnose/wait_index.h"

namespace stallscope::diagnose {

Diagnosis diagnose(const evidence::Evidence& evidence) {
  const TimeWindow window(evidence.run);
  const WaitIndex waits(evidence, window);
  ProbeAnalysis probes = analyse_probes(evidence, window);
  const Joins joins = join_probes(evidence, probes, waits, window);
  StallSet set = build_stalls(evidence, probes, joins, waits);

  Diagnosis diagnosis;
  diagnosis.probed = !evidence.probes.empty() || !evidence.run.target.empty();
  diagnosis.stalls = std::move(set.stalls);
  diagnosis.other_waits = set.other_waits;
  for (const Stall& stall : diagnosis.stalls) {
    diagnosis.stalled_ns = saturating_add(diagnosis.stalled_ns, stall.length_ns());
  }
  diagnosis.late_probes = split_late_probes(evidence, probes, joins, waits);
  diagnosis.late_time = sum_parts(diagnosis.late_probes);
  diagnosis.probes = probes.summary;
  diagnosis.fates = std::move(probes.fates);
  diagnosis.episodes = std::move(probes.episodes);

  const StackTable stacks(evidence);
  diagnosis.findings =
      rules::evaluate_rules({evidence, diagnosis.probes, diagnosis.stalls, diagnosis.stalled_ns, stacks, window, /*claimed=*/{}});
  diagnosis.notes = make_notes(evidence, diagnosis);
  diagnosis.gaps = evidence.gaps;
  const std::int64_t unusable_count = probes.unusable_count + waits.unusable_count() + joins.unusable_packet_count;
  for (evidence::GapRecord& gap : derived_gaps(evidence, diagnosis, unusable_count)) {
    diagnosis.gaps.push_back(std::move(gap));
  }
  for (const evidence::LossRecord& loss : evidence.losses) {
    if (loss.count > 0) {
      diagnosis.losses.push_back(loss);
    }
  }
  const bool wrong = !diagnosis.stalls.empty() || diagnosis.probes.lost_count > 0 || !diagnosis.findings.empty();
  diagnosis.outcome = wrong ? Outcome::findings : Outcome::clean;
  return diagnosis;
}

}  // namespace stallscope::diagnose
