// SPDX-License-Identifier: Apache-2.0
// Any bytes as a path file, as a rung, and as what this node's tools print. A file that is read is written so that it reads the
// same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "bisect/discover.h"
#include "bisect/path_file.h"

// NOLINTNEXTLINE(readability-identifier-naming): the name libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stallscope::bisect;
  const std::string text(data, data + size);
  static_cast<void>(parse_rung(text));
  const Destination service{"10.0.1.2", 80};
  static_cast<void>(find_dnat_iptables(text, service));
  static_cast<void>(find_dnat_nft(text, service));
  static_cast<void>(find_dnat_conntrack(text, service));
  static_cast<void>(parse_route(text));
  static_cast<void>(find_tunnel(text, "vx0"));
  static_cast<void>(find_vxlan_remote(text, text, "vx0", "10.0.1.2"));
  const auto path = parse_path_file(text, "path.yaml");
  if (path && check(*path)) {
    const auto again = parse_path_file(write_path_file(*path, {text}), "again");
    if (!again || again->rungs.size() != path->rungs.size() || again->layers() != path->layers()) {
      std::abort();
    }
  }
  return 0;
}
