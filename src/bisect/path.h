// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bitset>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// Which layer of a path makes packets wait: the same stall is looked at through probes that cross different layers, and what the
// late ones have in common, less what a punctual one crosses too, remains.
namespace stallscope::bisect {

/// One way to probe: what it is called, where the probes go, and what they cross on the way.
struct Rung {
  std::string name;
  /// "icmp://10.0.2.2", "tcp://10.0.1.2:30080", ...; the caller knows how to send it.
  std::string target;
  /// The words are the user's own: "nat", "overlay", "application".
  std::vector<std::string> layers;
  /// The host that sends, where it is not this one: "ssh:node7". The other direction of a path, back to here.
  std::string from = {};
};

/// Some of the rungs of a path, by index.
inline constexpr std::size_t most_rungs = 32;
using RungSet = std::bitset<most_rungs>;

struct Path {
  std::vector<Rung> rungs;

  /// The rungs that cross a layer.
  [[nodiscard]] RungSet crossing(std::string_view layer) const;
  /// Every layer once, in the order in which the rungs name them.
  [[nodiscard]] std::vector<std::string> layers() const;
};

/// What this host itself does to every probe: sending and receiving.
inline constexpr std::string_view sender_layer = "sender";
inline constexpr std::string_view control_name = "this host";

/// `path` with what is always there: a rung that goes no further than this host, and the layer "sender" on every rung.
[[nodiscard]] Path with_control(Path path);

/// Refuses a path that cannot be compared: no rung, too many, two of one name, one without layers, and names that a terminal
/// should not be shown.
[[nodiscard]] base::Status check(const Path& path);

/// A name or layer is 1 to 40 printable ASCII characters.
[[nodiscard]] bool is_name(std::string_view text);

/// "pod=icmp://10.0.2.2 via overlay,node", "back=icmp://10.0.1.1 from ssh:node7 via node"
[[nodiscard]] base::Result<Rung> parse_rung(const std::string& text);

}  // namespace stallscope::bisect
