// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bpf/btf.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stallscope::host {

/// For tests: builds type information as a kernel would export it.
class FakeBtf {
 public:
  FakeBtf() : btf_(btf__new_empty(), btf__free), int_id_(btf__add_int(btf_.get(), "int", 4, BTF_INT_SIGNED)) {}

  FakeBtf& add_tracepoint(const std::string& name) {
    btf__add_typedef(btf_.get(), ("btf_trace_" + name).c_str(), int_id_);
    return *this;
  }
  FakeBtf& add_function(const std::string& name) {
    const int prototype = btf__add_func_proto(btf_.get(), int_id_);
    btf__add_func(btf_.get(), name.c_str(), BTF_FUNC_STATIC, prototype);
    return *this;
  }
  FakeBtf& add_enumerator(const std::string& enumeration, const std::string& enumerator) {
    btf__add_enum(btf_.get(), enumeration.c_str(), 4);
    btf__add_enum_value(btf_.get(), enumerator.c_str(), 1);
    return *this;
  }
  /// struct NAME { int plain; union { int inside; }; }
  FakeBtf& add_struct(const std::string& name, const std::string& plain, const std::string& inside) {
    const int anonymous = btf__add_union(btf_.get(), nullptr, 4);
    btf__add_field(btf_.get(), inside.c_str(), int_id_, 0, 0);
    btf__add_struct(btf_.get(), name.c_str(), 8);
    btf__add_field(btf_.get(), plain.c_str(), int_id_, 0, 0);
    btf__add_field(btf_.get(), nullptr, anonymous, 32, 0);
    return *this;
  }
  /// int NAME, per CPU, that far into the section; several make one section.
  FakeBtf& add_per_cpu(const std::vector<std::pair<std::string, std::uint32_t>>& variables) {
    std::vector<int> ids;
    for (const auto& [name, offset] : variables) {
      ids.push_back(btf__add_var(btf_.get(), name.c_str(), BTF_VAR_GLOBAL_ALLOCATED, int_id_));
    }
    btf__add_datasec(btf_.get(), ".data..percpu", 1U << 20U);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      btf__add_datasec_var_info(btf_.get(), ids[i], variables[i].second, 4);
    }
    return *this;
  }
  /// The content of /sys/kernel/btf/vmlinux.
  [[nodiscard]] std::string bytes() const {
    std::uint32_t size = 0;
    const void* const data = btf__raw_data(btf_.get(), &size);
    return {static_cast<const char*>(data), size};
  }

 private:
  std::unique_ptr<btf, void (*)(btf*)> btf_;
  int int_id_;
};

inline constexpr std::string_view btf_file = "/sys/kernel/btf/vmlinux";

}  // namespace stallscope::host
