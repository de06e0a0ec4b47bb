// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/file_tree.h"

namespace stallscope::host {

/// The functions of the kernel, its modules and its loaded BPF programs by address (/proc/kallsyms).
///
/// Names are as a person knows them: without what the compiler appended (".isra.0", ".constprop.0", ".part.0", ".cold") and
/// without the prefix of the padding in front of a function ("__pfx_"); functions outside the core kernel end in " [MODULE]", BPF
/// programs in " [bpf]".
class KernelSymbols {
 public:
  /// kallsyms does not say how long a function is: it reaches to the next symbol of any kind, and no further than this where
  /// nothing follows closely (the last function of a module). Twice the longest function of a distribution's kernel.
  static constexpr std::uint64_t longest_function_bytes = std::uint64_t{64} << 10U;

  /// Reads the whole table: tens of milliseconds. Hidden addresses are no error, see addresses_hidden().
  [[nodiscard]] static base::Result<KernelSymbols> load(const FileTree& files = {});
  /// From text in the format of /proc/kallsyms; lines in another format are left out.
  [[nodiscard]] static KernelSymbols parse(std::string_view text);

  /// Reads the table again: modules and BPF programs loaded since are missing in it, and addresses inside them would be unknown.
  /// Invalidates the names handed out. When it fails the old table stays.
  [[nodiscard]] base::Status reload(const FileTree& files = {});

  /// The function the address lies in, or an empty view where none is known: the address is outside of kernel text, or addresses
  /// are hidden. The view lives until the next reload().
  [[nodiscard]] std::string_view function_at(std::uint64_t address) const;

  /// The kernel showed zeros in place of addresses (kernel.kptr_restrict, or no CAP_SYSLOG), so that nothing can be named.
  [[nodiscard]] bool addresses_hidden() const { return addresses_hidden_; }
  [[nodiscard]] std::size_t function_count() const { return function_count_; }

 private:
  /// From `address` on, the text of `name_length` bytes at `name_offset` names the function; none where the length is 0.
  struct Entry {
    std::uint64_t address;
    std::uint32_t name_offset;
    std::uint32_t name_length;
  };
  [[nodiscard]] std::string_view name_of(const Entry& entry) const {
    return std::string_view(names_).substr(entry.name_offset, entry.name_length);
  }

  std::vector<Entry> entries_;
  std::string names_;
  std::size_t function_count_ = 0;
  bool addresses_hidden_ = false;
};

}  // namespace stallscope::host
