// SPDX-License-Identifier: Apache-2.0
#include "bisect/path.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/text.h"

namespace stallscope::bisect {
namespace {

constexpr std::size_t longest_name = 40;
constexpr std::string_view rung_hint = "A rung looks like this: --rung 'pod=icmp://10.0.2.2 via overlay,node'";

base::Error bad_rung(const std::string& text, std::string reason) {
  return {"understand the rung", text, std::move(reason), std::string(rung_hint)};
}

bool has_layer(const Rung& rung, std::string_view layer) {
  return std::find(rung.layers.begin(), rung.layers.end(), layer) != rung.layers.end();
}

}  // namespace

RungSet Path::crossing(std::string_view layer) const {
  RungSet set;
  for (std::size_t i = 0; i < rungs.size() && i < most_rungs; ++i) {
    set.set(i, has_layer(rungs[i], layer));
  }
  return set;
}

std::vector<std::string> Path::layers() const {
  std::vector<std::string> all;
  for (const Rung& rung : rungs) {
    for (const std::string& layer : rung.layers) {
      if (std::find(all.begin(), all.end(), layer) == all.end()) {
        all.push_back(layer);
      }
    }
  }
  return all;
}

Path with_control(Path path) {
  path.rungs.push_back({.name = std::string(control_name), .target = "icmp://127.0.0.1", .layers = {}});
  for (Rung& rung : path.rungs) {
    if (!has_layer(rung, sender_layer)) {
      rung.layers.emplace_back(sender_layer);
    }
  }
  return path;
}

base::Status check(const Path& path) {
  // One place is the control's.
  if (path.rungs.empty() || path.rungs.size() > most_rungs - 1) {
    return base::Error{
        "compare", "the path", fmt::format("it has {} rungs", path.rungs.size()),
        fmt::format("A path has 1 to {} rungs; the more of them leave one layer out, the more can be told.", most_rungs - 1)};
  }
  std::set<std::string> names = {std::string(control_name)};
  for (const Rung& rung : path.rungs) {
    if (!is_name(rung.name)) {
      return base::Error{"use the name", rung.name, "it is not 1 to 40 printable ASCII characters", ""};
    }
    if (!names.insert(rung.name).second) {
      return base::Error{"use the name", rung.name, "another rung has it", "Give each rung a name of its own."};
    }
    if (rung.layers.empty()) {
      return base::Error{"compare the rung", rung.name, "it does not say which layers it crosses", std::string(rung_hint)};
    }
    for (const std::string& layer : rung.layers) {
      if (!is_name(layer)) {
        return base::Error{"use the layer", layer, "it is not 1 to 40 printable ASCII characters", ""};
      }
    }
  }
  return base::ok();
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= longest_name && text.front() != ' ' && text.back() != ' ' &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

base::Result<Rung> parse_rung(const std::string& text) {
  constexpr std::string_view via = " via ";
  constexpr std::string_view from = " from ";
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) {
    return bad_rung(text, "there is no '=' after its name");
  }
  const std::size_t end = text.rfind(via);
  if (end == std::string::npos || end < equals) {
    return bad_rung(text, "it does not say what it goes 'via'");
  }
  Rung rung{.name = text.substr(0, equals), .target = text.substr(equals + 1, end - equals - 1), .layers = {}};
  if (const std::size_t sender = rung.target.find(from); sender != std::string::npos) {
    rung.from = rung.target.substr(sender + from.size());
    rung.target.resize(sender);
    if (rung.from.empty()) {
      return bad_rung(text, "it does not say which host it comes 'from'");
    }
  }
  for (const std::string_view layer : base::split(std::string_view(text).substr(end + via.size()), ',')) {
    const std::size_t first = layer.find_first_not_of(' ');
    const std::string_view word =
        first == std::string_view::npos ? std::string_view() : layer.substr(first, layer.find_last_not_of(' ') - first + 1);
    if (!is_name(word)) {
      return bad_rung(text, "a layer is empty or not printable");
    }
    rung.layers.emplace_back(word);
  }
  if (!is_name(rung.name)) {
    return bad_rung(text, "its name is not 1 to 40 printable ASCII characters");
  }
  if (rung.target.empty()) {
    return bad_rung(text, "it does not say what to probe");
  }
  return rung;
}

}  // namespace stallscope::bisect
