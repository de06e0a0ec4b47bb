// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "host/mounts.h"

namespace stallscope::lab {

/// What is charged to a memory cgroup and outlives its directory.
enum class PinKind : std::uint8_t {
  /// A page of a file in memory.
  tmpfs,
  /// A clean page of a file on a disk. The kernel may reclaim it at any time, and the zombie with it.
  page_cache,
  /// An entry of the kernel's cache of names, of a name that there is none of. Since Linux 5.9 (commit 10befea91b61) its charge
  /// moves to the parent, so that it pins nothing.
  dentries,
  /// A page of a file in memory that is swapped out.
  swap,
};

inline constexpr std::array<std::string_view, 4> pin_names = {"tmpfs", "page-cache", "dentries", "swap"};
[[nodiscard]] std::optional<PinKind> parse_pin_kind(std::string_view name);

/// What the lab pins with, and where that is: a file, or for dentries an empty directory.
struct PinPlace {
  PinKind kind = PinKind::tmpfs;
  std::string path;
};

/// The first of the usual places that has the file system which the kind needs: a tmpfs, or one on a disk.
[[nodiscard]] base::Result<PinPlace> choose_pin_place(PinKind kind, const std::vector<host::Mount>& mounts);

/// Every place at which a lab may have left something.
[[nodiscard]] std::vector<PinPlace> find_left_pins(const std::vector<host::Mount>& mounts);

/// What pins, open. It outlives this object: remove() removes it.
class Pins {
 public:
  /// Makes it, for root only; nothing of the name may be there. The name may lie in a directory anyone can write to: a link or a
  /// file that someone else put there is never followed or overwritten.
  [[nodiscard]] static base::Result<Pins> create(const PinPlace& place);
  /// What an earlier lab left: none, or the open file. An error when the name is taken by something that no lab made.
  [[nodiscard]] static base::Result<std::optional<Pins>> open(const PinPlace& place);

  /// Charges the `index`th pin to the cgroup that the calling process is in.
  [[nodiscard]] base::Status charge(std::int64_t index) const;
  /// After the last: writes out what would otherwise pin as long as it is dirty. Blocks for that.
  [[nodiscard]] base::Status settle() const;
  /// Pins there are, one per zombie. 0 for dentries, which nobody counts.
  [[nodiscard]] base::Result<std::int64_t> count() const;
  /// Takes `most` at most away, from the end, and says how many zombies that lets go; nothing once there are none.
  [[nodiscard]] base::Result<std::optional<std::int64_t>> release(std::int64_t most) const;
  /// Removes the name, and with it what is left.
  [[nodiscard]] base::Status remove() const;

 private:
  Pins(PinPlace place, base::OwnedFd fd) : place_(std::move(place)), fd_(std::move(fd)) {}
  [[nodiscard]] base::Result<std::int64_t> size_pages() const;
  [[nodiscard]] base::Status swap_out(std::int64_t index) const;

  PinPlace place_;
  base::OwnedFd fd_;
};

}  // namespace stallscope::lab
