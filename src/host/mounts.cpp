// SPDX-License-Identifier: Apache-2.0
#include "host/mounts.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/numbers.h"
#include "base/text.h"

namespace stallscope::host {
namespace {

/// mountinfo writes space, tab, newline and backslash as \040, \011, \012 and \134.
std::string undo_octal_escapes(std::string_view text) {
  constexpr std::size_t escape_length = 4;
  std::string plain;
  while (!text.empty()) {
    unsigned value = 0;
    if (text.front() == '\\' && text.size() >= escape_length) {
      const char* const end = text.data() + escape_length;
      const auto [stopped, error] = std::from_chars(text.data() + 1, end, value, 8);
      if (error == std::errc{} && stopped == end) {
        plain += static_cast<char>(value);
        text.remove_prefix(escape_length);
        continue;
      }
    }
    plain += text.front();
    text.remove_prefix(1);
  }
  return plain;
}

std::optional<std::uint32_t> parse_device(std::string_view text) {
  const std::size_t colon = std::min(text.find(':'), text.size() - 1);
  const auto major = base::parse_number<std::uint32_t>(text.substr(0, colon));
  const auto minor = base::parse_number<std::uint32_t>(text.substr(colon + 1));
  return major && minor ? std::optional(*major << 20U | *minor) : std::nullopt;
}

std::optional<Mount> parse_mount(std::string_view line) {
  constexpr std::size_t first_optional_field = 6;
  const std::vector<std::string_view> fields = base::split_fields(line);
  if (fields.size() < first_optional_field) {
    return std::nullopt;
  }
  const auto separator = std::find(fields.begin() + first_optional_field, fields.end(), "-");
  const auto id = base::parse_number<std::int32_t>(fields[0]);
  const auto parent_id = base::parse_number<std::int32_t>(fields[1]);
  const std::optional<std::uint32_t> device = parse_device(fields[2]);
  if (fields.end() - separator < 3 || !id || !parent_id || !device) {
    return std::nullopt;
  }
  // The source between the two may be empty, and then so is its field.
  return Mount{*id,
               *parent_id,
               *device,
               undo_octal_escapes(fields[3]),
               undo_octal_escapes(fields[4]),
               undo_octal_escapes(*(separator + 1)),
               undo_octal_escapes(fields.back())};
}

bool is_at_or_below(std::string_view path, std::string_view directory) {
  return directory == "/" || path == directory || (path.starts_with(directory) && path[directory.size()] == '/');
}

/// The mount on `parent` (nullptr: on none of the table) that is entered first on the way to `path`.
const Mount* next_mount_towards(const std::vector<Mount>& mounts, const Mount* parent, std::string_view path) {
  const auto is_on_parent = [&](const Mount& mount) {
    if (parent != nullptr) {
      return mount.parent_id == parent->id && mount.id != parent->id;
    }
    return std::none_of(mounts.begin(), mounts.end(),
                        [&](const Mount& other) { return other.id == mount.parent_id && other.id != mount.id; });
  };
  const Mount* first = nullptr;
  for (const Mount& mount : mounts) {
    if (is_at_or_below(path, mount.mount_point) && (first == nullptr || mount.mount_point.size() < first->mount_point.size()) &&
        is_on_parent(mount)) {
      first = &mount;
    }
  }
  return first;
}

/// Whether its mount point leads into it, as path resolution goes, and not into another mount above or on top of it.
bool is_reachable(const std::vector<Mount>& mounts, const Mount& mount) {
  const Mount* reached = nullptr;
  // Each step enters another mount, so there are no more steps than mounts.
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    const Mount* const next = next_mount_towards(mounts, reached, mount.mount_point);
    if (next == nullptr) {
      break;
    }
    reached = next;
  }
  return reached == &mount;
}

}  // namespace

std::vector<Mount> parse_mountinfo(std::string_view text) {
  std::vector<Mount> mounts;
  for (const std::string_view line : base::split(text, '\n')) {
    if (std::optional<Mount> mount = parse_mount(line)) {
      mounts.push_back(std::move(*mount));
    }
  }
  return mounts;
}

base::Result<std::vector<Mount>> read_mounts(const FileTree& files) {
  const base::Result<std::string> text = files.read("/proc/self/mountinfo");
  if (!text) {
    return text.error();
  }
  return parse_mountinfo(*text);
}

std::string path_through_mounts(const std::vector<Mount>& mounts, std::uint32_t device, const std::string& path) {
  const Mount* best = nullptr;
  for (const Mount& mount : mounts) {
    if (mount.device != device || !is_at_or_below(path, mount.root) || !is_reachable(mounts, mount)) {
      continue;
    }
    // The whole file system says more about where the file belongs than a bind mount of a part of it.
    if (best == nullptr || mount.root.size() < best->root.size()) {
      best = &mount;
    }
  }
  if (best == nullptr) {
    return path;
  }
  const std::string below = best->root == "/" ? path : path.substr(best->root.size());
  return best->mount_point == "/" ? below : best->mount_point + below;
}

}  // namespace stallscope::host
