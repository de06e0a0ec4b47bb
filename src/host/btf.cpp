// SPDX-License-Identifier: Apache-2.0
#include "host/btf.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string_view>

namespace stallscope::host {
namespace {

constexpr std::string_view btf_path = "/sys/kernel/btf/vmlinux";
/// Anonymous structs nest a few deep in the kernel; a damaged file must not recurse for ever.
constexpr int nesting_limit = 16;

/// Offset in bits of a member, in anonymous members too.
std::optional<std::uint32_t> find_member(const btf* types, unsigned type_id, std::string_view wanted, int depth = 0) {
  const btf_type* const type = btf__type_by_id(types, type_id);
  if (type == nullptr || !btf_is_composite(type) || depth > nesting_limit) {
    return std::nullopt;
  }
  for (std::uint32_t index = 0; index < btf_vlen(type); ++index) {
    const btf_member& member = std::span(btf_members(type), btf_vlen(type))[index];
    const char* const name = btf__name_by_offset(types, member.name_off);
    const std::uint32_t offset_bits = btf_member_bit_offset(type, index);
    if (name != nullptr && *name != '\0') {
      if (wanted == name) {
        return offset_bits;
      }
    } else if (const std::optional<std::uint32_t> inner = find_member(types, member.type, wanted, depth + 1)) {
      return offset_bits + *inner;
    }
  }
  return std::nullopt;
}

int find_composite(const btf* types, const std::string& name) {
  const int id = btf__find_by_name_kind(types, name.c_str(), BTF_KIND_STRUCT);
  return id > 0 ? id : btf__find_by_name_kind(types, name.c_str(), BTF_KIND_UNION);
}

}  // namespace

void Btf::Free::operator()(struct btf* btf) const {
  btf__free(btf);
}

base::Result<Btf> Btf::load(const FileTree& files) {
  const std::string path = files.path(btf_path);
  struct btf* const loaded = btf__parse(path.c_str(), nullptr);
  if (loaded == nullptr) {
    return base::errno_error("read the kernel's type information from", path, errno,
                             "It needs a kernel built with CONFIG_DEBUG_INFO_BTF=y (Linux 5.4 or later).");
  }
  return Btf(loaded);
}

bool Btf::has_tracepoint(const std::string& name) const {
  return btf__find_by_name_kind(btf_.get(), ("btf_trace_" + name).c_str(), BTF_KIND_TYPEDEF) > 0;
}

bool Btf::has_type(const std::string& name) const {
  return find_composite(btf_.get(), name) > 0;
}

bool Btf::has_member(const std::string& type, const std::string& member) const {
  const int id = find_composite(btf_.get(), type);
  return id > 0 && find_member(btf_.get(), static_cast<unsigned>(id), member);
}

std::optional<std::int64_t> Btf::member_offset(const std::string& type, const std::string& member) const {
  const int id = find_composite(btf_.get(), type);
  const auto offset_bits = id > 0 ? find_member(btf_.get(), static_cast<unsigned>(id), member) : std::nullopt;
  constexpr std::uint32_t bits_per_byte = 8;
  return offset_bits && *offset_bits % bits_per_byte == 0 ? std::optional<std::int64_t>(*offset_bits / bits_per_byte)
                                                          : std::nullopt;
}

std::optional<std::int64_t> Btf::per_cpu_offset(const std::string& variable) const {
  const int id = btf__find_by_name_kind(btf_.get(), ".data..percpu", BTF_KIND_DATASEC);
  const btf_type* const section = id > 0 ? btf__type_by_id(btf_.get(), static_cast<unsigned>(id)) : nullptr;
  if (section == nullptr) {
    return std::nullopt;
  }
  for (const btf_var_secinfo& place : std::span<const btf_var_secinfo>(btf_var_secinfos(section), btf_vlen(section))) {
    const btf_type* const type = btf__type_by_id(btf_.get(), place.type);
    const char* const name = type == nullptr ? nullptr : btf__name_by_offset(btf_.get(), type->name_off);
    if (name != nullptr && variable == name) {
      return place.offset;
    }
  }
  return std::nullopt;
}

bool Btf::has_function(const std::string& name) const {
  return btf__find_by_name_kind(btf_.get(), name.c_str(), BTF_KIND_FUNC) > 0;
}

bool Btf::has_enumerator(const std::string& enumeration, const std::string& enumerator) const {
  const int id = btf__find_by_name_kind(btf_.get(), enumeration.c_str(), BTF_KIND_ENUM);
  const btf_type* const type = id > 0 ? btf__type_by_id(btf_.get(), static_cast<unsigned>(id)) : nullptr;
  if (type == nullptr) {
    return false;
  }
  const std::span<const struct btf_enum> values(btf_enum(type), btf_vlen(type));
  return std::any_of(values.begin(), values.end(), [&](const struct btf_enum& value) {
    const char* const name = btf__name_by_offset(btf_.get(), value.name_off);
    return name != nullptr && enumerator == name;
  });
}

}  // namespace stallscope::host
