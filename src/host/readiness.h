// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/capabilities.h"
#include "host/cgroups.h"
#include "host/hooks.h"
#include "host/kernel.h"

namespace stallscope::host {

/// How kernel addresses become names of functions.
struct SymbolFacts {
  Presence presence = Presence::unknown;
  std::string reason;
};

/// All that is known about a machine before anything is recorded on it.
struct HostFacts {
  Kernel kernel;
  Capabilities capabilities;
  CgroupHierarchy memory_cgroups;
  SymbolFacts symbols;
  std::vector<HookState> hooks;
};

/// Reads and tests everything: a few hundred milliseconds. Never fails: what cannot be read is unknown.
[[nodiscard]] HostFacts gather_facts(const FileTree& files = {});

/// Whether this machine can be observed with one facility, and what it means if not.
struct Check {
  std::string name;
  Need need = Need::extra;
  Presence presence = Presence::unknown;
  std::string purpose;
  /// Why it is absent or unknown, and what that costs. Both empty where present.
  std::string reason;
  std::string cost;
  /// The next step, where a person can do something about it.
  std::string advice;
  /// First release of Linux and commit, where it depends on that.
  std::string since;
  std::string commit;
};

enum class Verdict : std::uint8_t {
  /// Everything essential and wanted is there.
  ready,
  /// Stalls are observed, but some kinds of them or some names will be missing.
  partial,
  /// Something essential is missing or could not be tested: nothing can be traced.
  unable,
};

struct Readiness {
  Verdict verdict = Verdict::unable;
  /// Privileges first, then hooks in the order of HookId.
  std::vector<Check> checks;
  /// Each next step once, the one that helps most first.
  std::vector<std::string> advice;
};

/// Pure: the same facts give the same answer.
[[nodiscard]] Readiness assess(const HostFacts& facts);

/// "ready", "partial", "unable".
[[nodiscard]] std::string_view verdict_name(Verdict verdict);

}  // namespace stallscope::host
