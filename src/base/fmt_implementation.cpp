// SPDX-License-Identifier: Apache-2.0
// The compiled part of {fmt} for static binaries: Debian has it as a shared library only. The alternative, all of it in headers,
// makes every file that formats text take three times as long to compile.
#include <fmt/format-inl.h>

// What fmt/format.h promises ("extern template") for char; wide characters are not used here.
FMT_BEGIN_NAMESPACE
namespace detail {
template auto thousands_sep_impl<char>(locale_ref) -> thousands_sep_result<char>;
template auto decimal_point_impl(locale_ref) -> char;
}  // namespace detail
FMT_END_NAMESPACE
