// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/help_format.h"
#include "cli/man_page.h"
#include "cli/suggest.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

constexpr std::array<AddCommand, 12> commands = {add_diagnose_command, add_report_command,  add_probe_command,   add_bisect_command,
                                                 add_capture_command,  add_queues_command,  add_respond_command, add_census_command,
                                                 add_remedy_command,   add_compare_command, add_doctor_command,  add_lab_command};

constexpr std::string_view description =
    "Finds out why received packets wait on a Linux host: from a late packet to the process, system call, file, cgroup and kernel "
    "function that held the CPU.";

constexpr std::string_view examples =
    "EXAMPLES\n"
    "  What keeps packets of this node waiting, right now?\n"
    "    sudo stallscope diagnose --for 20s\n"
    "  Why are some replies of a host 100 ms late?\n"
    "    sudo stallscope diagnose 10.0.1.2 --for 20s\n"
    "  What can be observed on this machine, and what not?\n"
    "    stallscope doctor";

bool is_visible(const CLI::App* command) {
  return !command->get_group().empty();
}

bool is_command(const CLI::App& app, std::string_view word) {
  return !app.get_subcommands([&](const CLI::App* command) { return command->get_name() == word; }).empty();
}

std::vector<std::string> names_of(const std::vector<const CLI::App*>& apps) {
  std::vector<std::string> names(apps.size());
  std::transform(apps.begin(), apps.end(), names.begin(), [](const CLI::App* app) { return app->get_name(); });
  return names;
}

/// The command that was being parsed when parsing ended.
const CLI::App& selected_command(const CLI::App& app) {
  const CLI::App* selected = &app;
  while (!selected->get_subcommands().empty()) {
    selected = selected->get_subcommands().back();
  }
  return *selected;
}

/// "stallscope diagnose"
std::string full_name(const CLI::App& command) {
  const CLI::App* const parent = command.get_parent();
  return parent == nullptr ? command.get_name() : full_name(*parent) + " " + command.get_name();
}

void print_usage_error(std::string_view command, std::string_view what, std::string_view hint) {
  const std::string text = fmt::format("{}: {}\n  {}\n", command, base::printable(what), hint);
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), stderr));
}

int report_unknown_command(const CLI::App& app, std::string_view word) {
  const std::vector<std::string> names = names_of(visible_commands(app));
  const std::string meant = did_you_mean(suggest(word, names));
  print_usage_error(app.get_name(), fmt::format("unknown command '{}'", word),
                    meant.empty() ? fmt::format("The commands are {}; see '{} --help'.", fmt::join(names, ", "), app.get_name())
                                  : meant + fmt::format(" '{} --help' lists all commands.", app.get_name()));
  return exit_error;
}

/// A nearly right name for the first option that was not understood.
std::string suggest_option(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back("--" + name);
    }
  }
  for (const std::string& word : command.remaining()) {
    if (word.starts_with("--")) {
      return did_you_mean(suggest(std::string_view(word).substr(0, word.find('=')), names));
    }
  }
  return {};
}

int report_parse_error(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = selected_command(app);
  const std::string name = full_name(command);
  std::string hint = suggest_option(command);
  hint += fmt::format("{}'{} --help' explains the options.", hint.empty() ? "" : " ", name);
  // CLI11 writes some messages over several lines.
  std::string what = error.what();
  for (char& character : what) {
    character = character == '\n' ? ' ' : character;
  }
  print_usage_error(name, what, hint);
  return exit_error;
}

/// The first word that is no option: only flags come before a command.
const char* first_word(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    if (*argv[i] != '-') {
      return argv[i];
    }
  }
  return nullptr;
}

std::string short_help(const CLI::App& app) {
  std::string text = fmt::format("Usage: {} COMMAND [OPTIONS]\n\n", app.get_name());
  for (const CLI::App* command : visible_commands(app)) {
    text += entry("  " + command->get_name(), command->get_description(), 13, 80) + "\n";
  }
  return text + fmt::format("\n'{} COMMAND --help' explains a command.\n", app.get_name());
}

}  // namespace

std::string_view version() {
  return STALLSCOPE_VERSION;
}

std::span<const AddCommand> all_commands() {
  return commands;
}

std::vector<const CLI::App*> visible_commands(const CLI::App& app) {
  return app.get_subcommands(is_visible);
}

std::unique_ptr<CLI::App> make_app(std::span<const AddCommand> commands_to_add, int& exit_status) {
  auto app = std::make_unique<CLI::App>(std::string(description), "stallscope");
  app->formatter(make_help_formatter());
  app->set_version_flag("--version", "stallscope " + std::string(version()), "Print the version and exit");
  app->set_help_flag("-h,--help", "Print this help and exit");
  app->require_subcommand(0, 1);
  app->footer(std::string(examples));
  for (const AddCommand add : commands_to_add) {
    add(*app, exit_status);
  }
  add_man_command(*app, exit_status);
  return app;
}

int run(int argc, const char* const* argv) {
  int exit_status = exit_clean;
  const std::unique_ptr<CLI::App> app = make_app(all_commands(), exit_status);
  const char* const word = first_word(argc, argv);
  if (word != nullptr && !is_command(*app, word)) {
    return report_unknown_command(*app, word);
  }
  try {
    app->parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    print_out(app->help());
    return exit_clean;
  } catch (const CLI::CallForVersion& called) {
    print_out(std::string(called.what()) + "\n");
    return exit_clean;
  } catch (const CLI::ParseError& error) {
    return report_parse_error(*app, error);
  }
  if (app->get_subcommands().empty()) {
    const std::string help = short_help(*app);
    static_cast<void>(std::fwrite(help.data(), 1, help.size(), stderr));
    return exit_error;
  }
  return exit_status;
}

}  // namespace stallscope::cli
