// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "diagnose/diagnosis.h"

namespace stallscope::diagnose {

/// Finds the stalls in a bundle, says what held each of them up and names causes. Pure: the same evidence gives the same diagnosis,
/// on any machine and without privileges. Accepts any evidence, also damaged or hostile: records with impossible times are left out
/// and named as a gap. Takes time in proportion to n log n of the number of records.
[[nodiscard]] Diagnosis diagnose(const evidence::Evidence& evidence);

}  // namespace stallscope::diagnose
