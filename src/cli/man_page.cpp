// SPDX-License-Identifier: Apache-2.0
#include "cli/man_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <fstream>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/text.h"
#include "cli/app.h"
#include "cli/commands.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

/// What roff prints for these characters differs from the character itself.
std::string_view roff_character(char character) {
  switch (character) {
    case '\\':
      return "\\(rs";
    case '-':
      return "\\-";
    case '\'':
      return "\\(aq";
    case '`':
      return "\\(ga";
    case '^':
      return "\\(ha";
    case '~':
      return "\\(ti";
    case '"':
      return "\\(dq";
    default:
      return {};
  }
}

/// The code point at the start of `text` and its length in bytes. Only for text that is valid, as that of our own tables is.
std::pair<unsigned, std::size_t> decode(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  unsigned code = lead & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length && i < text.size(); ++i) {
    code = (code << 6U) | (static_cast<unsigned char>(text[i]) & 0x3fU);
  }
  return {code, std::min(length, text.size())};
}

/// The first sentence, without its full stop: what whatis(1) shows.
std::string_view summary(std::string_view description) {
  const std::size_t end = description.find(". ");
  description = description.substr(0, end);
  return description.ends_with('.') ? description.substr(0, description.size() - 1) : description;
}

std::string bold(std::string_view text) {
  return "\\fB" + escape_roff(text) + "\\fR";
}

std::string italic(std::string_view text) {
  return "\\fI" + escape_roff(text) + "\\fR";
}

std::string page_name(const CLI::App& app, const CLI::App& command) {
  return &app == &command ? app.get_name() : app.get_name() + "-" + command.get_name();
}

std::string command_words(const CLI::App& command) {
  const CLI::App* const parent = command.get_parent();
  return parent == nullptr ? command.get_name() : command_words(*parent) + " " + command.get_name();
}

bool is_shown(const CLI::Option* option) {
  return !option->get_group().empty();
}

bool takes_many(const CLI::Option& option) {
  return option.get_expected_max() == CLI::detail::expected_max_vector_size;
}

std::string synopsis(const CLI::App& command) {
  std::string text = bold(command_words(command)) + " [" + italic("OPTIONS") + "]";
  for (const CLI::Option* option : command.get_options(is_shown)) {
    if (option->get_positional()) {
      const std::string name = italic(option->get_name(true)) + (takes_many(*option) ? "..." : "");
      text += option->get_required() ? " " + name : " [" + name + "]";
    }
  }
  if (!visible_commands(command).empty()) {
    text += " " + italic("COMMAND") + " ...";
  }
  return text;
}

/// "-o, --output FILE"
std::string option_heading(const CLI::Option& option) {
  if (!option.nonpositional()) {
    return italic(option.get_name(true));
  }
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) {
    names.push_back(bold("-" + name));
  }
  for (const std::string& name : option.get_lnames()) {
    names.push_back(bold("--" + name));
  }
  std::string text = fmt::format("{}", fmt::join(names, ", "));
  if (option.get_items_expected_max() > 0 && !option.get_type_name().empty()) {
    text += " " + italic(option.get_type_name()) + (takes_many(option) ? "..." : "");
  }
  return text;
}

/// Whether the parent command has it too, and its page therefore says it already.
bool is_of_parent(const CLI::App& command, const CLI::Option& option) {
  const CLI::App* const parent = command.get_parent();
  return option.nonpositional() && parent != nullptr && parent->get_option_no_throw(option.get_name()) != nullptr;
}

/// `all`: those that the parent has too.
std::string options(const CLI::App& command, bool all = true) {
  std::string text;
  for (const CLI::Option* option : command.get_options(is_shown)) {
    if (!all && is_of_parent(command, *option)) {
      continue;
    }
    text += ".TP\n" + option_heading(*option) + "\n" + escape_roff(option->get_description());
    if (!option->get_default_str().empty()) {
      text += escape_roff(" (default: " + option->get_default_str() + ")");
    }
    text += option->get_required() ? " (required)\n" : "\n";
  }
  return text;
}

/// Of a command that has commands of its own. One level down all options are listed, from there on those that are new.
std::string nested_commands(const CLI::App& command, const std::string& prefix = {}) {
  std::string text;
  for (const CLI::App* nested : visible_commands(command)) {
    text += ".SS " + escape_roff(prefix + nested->get_name()) + "\n" + synopsis(*nested) + "\n.PP\n" +
            escape_roff(nested->get_description()) + "\n" + options(*nested, prefix.empty()) +
            nested_commands(*nested, prefix + nested->get_name() + " ");
  }
  return text;
}

bool is_heading(std::string_view line) {
  return !line.empty() && std::isupper(static_cast<unsigned char>(line[0])) != 0 &&
         std::none_of(line.begin(), line.end(), [](unsigned char character) { return std::islower(character) != 0; });
}

/// The sections of a footer, each line kept as it is.
std::string footer_sections(const CLI::App& command) {
  std::string text;
  bool open = false;
  const std::string footer = command.get_footer();
  for (const std::string_view line : base::split(footer, '\n')) {
    if (is_heading(line)) {
      text += (open ? ".fi\n" : "") + (".SH " + escape_roff(line) + "\n.nf\n");
      open = true;
    } else if (open) {
      const std::string kept = escape_roff(line.starts_with("  ") ? line.substr(2) : line);
      text += (kept.empty() ? "\\&" : kept) + "\n";
    }
  }
  return open ? text + ".fi\n" : text;
}

std::string exit_status_section() {
  return fmt::format(
      ".SH EXIT STATUS\n.TP\n{}\nNothing is wrong.\n.TP\n{}\nStalls or other findings.\n.TP\n{}\nAn error, explained on standard "
      "error.\n",
      static_cast<int>(exit_clean), static_cast<int>(exit_findings), static_cast<int>(exit_error));
}

std::string files_section() {
  return ".SH FILES\n.TP\n" + italic("*.stall") +
         "\nA bundle: everything that was observed in one recording, as an SQLite database. " + bold("stallscope report") +
         " and " + bold("sqlite3") + "(1) open it.\n";
}

std::string see_also_section(const CLI::App& app, const CLI::App& command) {
  std::vector<std::string> pages;
  if (&app != &command) {
    pages.push_back(bold(app.get_name()) + "(1)");
  }
  for (const CLI::App* other : visible_commands(app)) {
    if (other != &command) {
      pages.push_back(bold(page_name(app, *other)) + "(1)");
    }
  }
  return pages.empty() ? std::string() : fmt::format(".SH SEE ALSO\n{}\n", fmt::join(pages, ",\n"));
}

base::Status write_page(const std::string& directory, const CLI::App& app, const CLI::App& command) {
  const std::string path = directory + "/" + page_name(app, command) + ".1";
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << man_page(app, command);
  file.close();
  if (!file) {
    return base::errno_error("write", path, errno, "The directory must exist.");
  }
  return base::ok();
}

base::Status write_pages(const std::string& directory, const CLI::App& app) {
  std::vector<const CLI::App*> pages = visible_commands(app);
  pages.push_back(&app);
  for (const CLI::App* page : pages) {
    if (base::Status written = write_page(directory, app, *page); !written) {
      return written;
    }
  }
  return base::ok();
}

}  // namespace

std::string escape_roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  while (!text.empty()) {
    const char character = text.front();
    // At the start of a line these two would make a request of it.
    if (line_start && (character == '.' || character == '\'')) {
      out += "\\&";
    }
    line_start = character == '\n';
    const std::string_view replacement = roff_character(character);
    std::size_t length = 1;
    if (!replacement.empty()) {
      out += replacement;
    } else if ((static_cast<unsigned char>(character) & 0x80U) != 0) {
      const auto [code, bytes] = decode(text);
      out += fmt::format("\\[u{:04X}]", code);
      length = bytes;
    } else {
      out += character;
    }
    text.remove_prefix(length);
  }
  return out;
}

std::string man_page(const CLI::App& app, const CLI::App& command) {
  const bool whole = &app == &command;
  std::string title = page_name(app, command);
  std::transform(title.begin(), title.end(), title.begin(), [](unsigned char character) { return std::toupper(character); });
  // No date: the same source makes the same page.
  std::string page = fmt::format(".TH {} 1 \"\" \"stallscope {}\" \"User Commands\"\n", escape_roff(title), escape_roff(version()));
  page += ".SH NAME\n" + escape_roff(page_name(app, command)) + " \\- " +
          escape_roff(whole ? "find out why received packets wait" : summary(command.get_description())) + "\n";
  // Left-aligned and unhyphenated, so that options and paths can be copied.
  page += ".SH SYNOPSIS\n.ad l\n.nh\n" + synopsis(command) + "\n";
  page += ".SH DESCRIPTION\n" + escape_roff(command.get_description()) + "\n";
  if (whole) {
    page += ".SH COMMANDS\n";
    for (const CLI::App* each : visible_commands(app)) {
      page += ".TP\n" + bold(each->get_name()) + "\n" + escape_roff(summary(each->get_description())) + ". See " +
              bold(page_name(app, *each)) + "(1).\n";
    }
  } else if (const std::string nested = nested_commands(command); !nested.empty()) {
    page += ".SH COMMANDS\n" + nested;
  }
  page += ".SH OPTIONS\n" + options(command);
  page += exit_status_section() + footer_sections(command) + files_section() + see_also_section(app, command);
  return page;
}

void add_man_command(CLI::App& app, int& exit_status) {
  struct Request {
    std::string command;
    std::string directory;
  };
  const auto request = std::make_shared<Request>();
  CLI::App* const man = app.add_subcommand("man", "Print a man page in roff");
  man->group("");
  man->add_option("COMMAND", request->command, "Subcommand; the whole tool without it");
  man->add_option("--directory", request->directory, "Write the pages of all commands into this directory instead");
  man->callback([&app, &exit_status, request] {
    if (!request->directory.empty()) {
      if (const base::Status written = write_pages(request->directory, app); !written) {
        print_error(written.error());
        exit_status = exit_error;
      }
      return;
    }
    for (const CLI::App* command : visible_commands(app)) {
      if (command->get_name() == request->command) {
        print_out(man_page(app, *command));
        return;
      }
    }
    if (!request->command.empty()) {
      print_error({"print the man page of", request->command, "no such command", "'stallscope --help' lists the commands."});
      exit_status = exit_error;
      return;
    }
    print_out(man_page(app, app));
  });
}

}  // namespace stallscope::cli
