// SPDX-License-Identifier: Apache-2.0
#include "cli/rss_options.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "rss/hash_key.h"

namespace stallscope::cli {

void add_rss_options(CLI::App& command, RssOptions& options, const std::string& whose) {
  CLI::Option* const key = command.add_option(
      "--rss-key", options.key,
      fmt::format("Name the receive queue that stalled flows share, by this hash key of the network card of {}, as 'ethtool "
                  "-x' prints it; only where the flows that stalled agree with it",
                  whose));
  CLI::Option* const queues =
      command
          .add_option("--rss-queues", options.queue_count,
                      "How many receive queues that card has (1 to 128), in turn in a table of 128 entries, as is usual")
          ->check(CLI::Range(1, static_cast<int>(rss::default_table_size)))
          ->needs(key);
  key->needs(queues);
  command
      .add_option("--rss-fields", options.tcp_fields,
                  "What the card hashes of TCP, in the letters of 'ethtool -N': sdfn (addresses and ports) or sd (addresses)")
      ->check(CLI::IsMember({"sdfn", "sd"}))
      ->capture_default_str()
      ->needs(key);
}

base::Result<std::optional<rss::QueueMap>> read_rss_options(const RssOptions& given) {
  // Neither key nor number is given without the other.
  if (given.queue_count == 0) {
    return std::optional<rss::QueueMap>();
  }
  base::Result<std::vector<std::uint8_t>> key = rss::parse_key(given.key);
  if (!key) {
    return key.error();
  }
  const std::uint64_t fields = rss::fields_addresses | (given.tcp_fields == "sd" ? 0 : rss::fields_ports);
  base::Result<rss::QueueMap> map = rss::QueueMap::make(rss::device_with_key(*std::move(key), given.queue_count, fields));
  if (!map) {
    return map.error();
  }
  return std::optional(*std::move(map));
}

}  // namespace stallscope::cli
