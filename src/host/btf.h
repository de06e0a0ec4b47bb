// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "host/file_tree.h"

struct btf;

namespace stallscope::host {

/// The kernel's type information (/sys/kernel/btf/vmlinux, Linux 5.4, commit 341dfcf8d78e): the answer to "does this kernel have
/// ...", needing no privileges. Covers vmlinux, not modules.
class Btf {
 public:
  /// The error for a kernel without BTF names what it would take.
  [[nodiscard]] static base::Result<Btf> load(const FileTree& files = {});

  /// Whether BPF programs can attach to the tracepoint with typed arguments: the typedef btf_trace_NAME that e8c423fb31fa (5.5)
  /// makes for each tracepoint.
  [[nodiscard]] bool has_tracepoint(const std::string& name) const;
  /// A struct or union.
  [[nodiscard]] bool has_type(const std::string& name) const;
  /// A member by its own name, in anonymous members of the type too.
  [[nodiscard]] bool has_member(const std::string& type, const std::string& member) const;
  /// A function of the kernel, kfuncs among them.
  [[nodiscard]] bool has_function(const std::string& name) const;
  [[nodiscard]] bool has_enumerator(const std::string& enumeration, const std::string& enumerator) const;

  /// Where a per-CPU variable lies in the section of all of them: only the difference of two such places means something. Nothing
  /// where BTF has no such variable, as before 5.10.
  [[nodiscard]] std::optional<std::int64_t> per_cpu_offset(const std::string& variable) const;
  /// Of a member by its own name, in anonymous members too; nothing for a bit field.
  [[nodiscard]] std::optional<std::int64_t> member_offset(const std::string& type, const std::string& member) const;

  [[nodiscard]] const struct btf* get() const { return btf_.get(); }

 private:
  struct Free {
    void operator()(struct btf* btf) const;
  };
  explicit Btf(struct btf* btf) : btf_(btf) {}
  std::unique_ptr<struct btf, Free> btf_;
};

}  // namespace stallscope::host
