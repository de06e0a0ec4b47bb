// SPDX-License-Identifier: Apache-2.0
#include "cli/help_format.h"

#include <cstddef>
#include <string>

#include "base/text.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

constexpr std::size_t help_width = 80;
constexpr std::size_t option_indent = 28;
constexpr std::size_t command_indent = 13;

class HelpFormatter : public CLI::Formatter {
 public:
  [[nodiscard]] std::string make_description(const CLI::App* app) const override {
    return base::wrap(app->get_description(), help_width, 0) + "\n\n";
  }
  [[nodiscard]] std::string make_option(const CLI::Option* option, bool is_positional) const override {
    return entry("  " + make_option_name(option, is_positional) + make_option_opts(option), make_option_desc(option), option_indent,
                 help_width) +
           "\n";
  }
  [[nodiscard]] std::string make_subcommand(const CLI::App* command) const override {
    return entry("  " + command->get_name(), command->get_description(), command_indent, help_width) + "\n";
  }
};

}  // namespace

std::shared_ptr<CLI::FormatterBase> make_help_formatter() {
  return std::make_shared<HelpFormatter>();
}

}  // namespace stallscope::cli
