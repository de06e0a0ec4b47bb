// SPDX-License-Identifier: Apache-2.0
#include "host/symbols.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace stallscope::host {
namespace {

constexpr std::string_view kallsyms_path = "/proc/kallsyms";
constexpr std::string_view bpf_module = "[bpf]";
constexpr std::string_view padding_prefix = "__pfx_";

/// A line of kallsyms: "ffffffff81000000 T _stext", with "\t[module]" behind it for a module's.
struct Symbol {
  std::uint64_t address = 0;
  std::string_view name;
  /// With its brackets; empty for the core kernel.
  std::string_view module;
  bool is_function = false;
};

/// Section ends are listed as functions but mark where functions end.
bool is_section_end(std::string_view name) {
  return name == "_etext" || name == "_einittext";
}

std::optional<Symbol> parse_line(std::string_view line) {
  Symbol symbol;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), symbol.address, 16);
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  // " T x" is the least that can follow.
  if (error != std::errc{} || line.size() < 4 || line[0] != ' ' || line[2] != ' ') {
    return std::nullopt;
  }
  const char type = line[1];
  line.remove_prefix(3);
  const std::size_t tab = line.find('\t');
  symbol.name = line.substr(0, tab);
  if (tab != std::string_view::npos) {
    symbol.module = line.substr(tab + 1);
  }
  symbol.is_function = (type == 't' || type == 'T' || type == 'w' || type == 'W') && !is_section_end(symbol.name);
  return symbol;
}

/// The name without what the compiler added to it.
std::string_view plain_name(const Symbol& symbol) {
  // Names of BPF programs are chosen by people and may contain dots.
  if (symbol.module == bpf_module) {
    return symbol.name;
  }
  std::string_view name = symbol.name;
  if (name.starts_with(padding_prefix) && name.size() > padding_prefix.size()) {
    name.remove_prefix(padding_prefix.size());
  }
  const std::size_t dot = name.find('.', 1);
  return name.substr(0, dot);
}

std::vector<Symbol> parse_symbols(std::string_view text) {
  constexpr std::size_t typical_line_bytes = 40;
  std::vector<Symbol> symbols;
  symbols.reserve(text.size() / typical_line_bytes);
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (const std::optional<Symbol> symbol = parse_line(text.substr(0, end))) {
      symbols.push_back(*symbol);
    }
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return symbols;
}

}  // namespace

KernelSymbols KernelSymbols::parse(std::string_view text) {
  KernelSymbols table;
  std::vector<Symbol> symbols = parse_symbols(text);
  table.addresses_hidden_ =
      !symbols.empty() && std::all_of(symbols.begin(), symbols.end(), [](const Symbol& symbol) { return symbol.address == 0; });
  if (table.addresses_hidden_) {
    return table;
  }
  // Of several names for one address the first listed is kept, as the kernel does in its own stack traces; a function wins over
  // a variable or a section's end, which only says where the function before ends.
  std::stable_sort(symbols.begin(), symbols.end(), [](const Symbol& left, const Symbol& right) {
    return left.address != right.address ? left.address < right.address : left.is_function && !right.is_function;
  });
  std::optional<std::uint64_t> last_address;
  for (const Symbol& symbol : symbols) {
    if (last_address == symbol.address) {
      continue;
    }
    last_address = symbol.address;
    const bool after_function = !table.entries_.empty() && table.entries_.back().name_length > 0;
    if (!symbol.is_function) {
      if (after_function) {
        table.entries_.push_back({symbol.address, 0, 0});
      }
      continue;
    }
    const std::size_t offset = table.names_.size();
    table.names_ += plain_name(symbol);
    if (!symbol.module.empty()) {
      table.names_ += ' ';
      table.names_ += symbol.module;
    }
    const Entry entry{symbol.address, static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(table.names_.size() - offset)};
    // A function and the padding before it have one name and become one entry.
    if (after_function && table.name_of(table.entries_.back()) == table.name_of(entry)) {
      table.names_.resize(offset);
      continue;
    }
    table.entries_.push_back(entry);
    ++table.function_count_;
  }
  table.entries_.shrink_to_fit();
  table.names_.shrink_to_fit();
  return table;
}

base::Result<KernelSymbols> KernelSymbols::load(const FileTree& files) {
  const base::Result<std::string> text = files.read(kallsyms_path);
  if (!text) {
    return text.error();
  }
  return parse(*text);
}

base::Status KernelSymbols::reload(const FileTree& files) {
  base::Result<KernelSymbols> fresh = load(files);
  if (!fresh) {
    return fresh.error();
  }
  *this = *std::move(fresh);
  return base::ok();
}

std::string_view KernelSymbols::function_at(std::uint64_t address) const {
  const auto next = std::upper_bound(entries_.begin(), entries_.end(), address,
                                     [](std::uint64_t wanted, const Entry& entry) { return wanted < entry.address; });
  if (next == entries_.begin()) {
    return {};
  }
  const Entry& entry = *std::prev(next);
  return address - entry.address < longest_function_bytes ? name_of(entry) : std::string_view();
}

}  // namespace stallscope::host
