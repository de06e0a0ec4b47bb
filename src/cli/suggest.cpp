// SPDX-License-Identifier: Apache-2.0
#include "cli/suggest.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

namespace stallscope::cli {
namespace {

/// Names of commands and options are short; anything longer was no slip of a finger, and comparing it would be slow.
constexpr std::size_t longest_word = 64;

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> before_last(to.size() + 1);
  std::vector<std::size_t> last(to.size() + 1);
  std::vector<std::size_t> current(to.size() + 1);
  std::iota(last.begin(), last.end(), 0);
  for (std::size_t i = 1; i <= from.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (from[i - 1] == to[j - 1] ? 0 : 1);
      current[j] = std::min({last[j] + 1, current[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1]) {
        current[j] = std::min(current[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, current);
  }
  return last[to.size()];
}

}  // namespace

std::vector<std::string> suggest(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr std::size_t most = 3;
  if (word.empty() || word.size() > longest_word) {
    return {};
  }
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& candidate : candidates) {
    if (candidate.starts_with(word)) {
      near.emplace_back(0, candidate);
      continue;
    }
    const std::size_t distance = edit_distance(word, candidate);
    if (distance <= 1 + (candidate.size() / 4)) {
      near.emplace_back(distance, candidate);
    }
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(most, near.size()); ++i) {
    names.push_back(near[i].second);
  }
  return names;
}

std::string did_you_mean(const std::vector<std::string>& suggestions) {
  std::string text;
  for (std::size_t i = 0; i < suggestions.size(); ++i) {
    text += (i == 0 ? "Did you mean '" : i + 1 == suggestions.size() ? " or '" : ", '") + suggestions[i] + "'";
  }
  return text.empty() ? text : text + "?";
}

}  // namespace stallscope::cli
