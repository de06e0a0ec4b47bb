// SPDX-License-Identifier: Apache-2.0
#include "bisect/path_file.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <set>
#include <utility>

#include "base/text.h"

namespace stallscope::bisect {
namespace {

using base::Error;
using base::Result;

constexpr std::size_t largest_file = std::size_t{64} * 1024;
constexpr std::size_t most_layers = 64;
constexpr std::string_view hint = "See EXAMPLES in: stallscope bisect --help";

class Reader {
 public:
  explicit Reader(const std::string& file_name) : file_name_(file_name) {}

  Result<Path> read(const YAML::Node& document) const {
    if (!document.IsMap()) {
      return error(document, "", "the file is not a list of rungs under 'rungs:'");
    }
    Path path;
    for (const auto& entry : document) {
      if (const std::string key = entry.first.Scalar(); key != "rungs") {
        return error(entry.first, key, "there is no such field; 'rungs' is the only one");
      }
      if (!entry.second.IsSequence()) {
        return error(entry.second, "rungs", "it is not a list");
      }
      // Before they are read: aliases can make a small file large.
      if (entry.second.size() >= most_rungs) {
        return error(entry.second, "rungs", fmt::format("it has more than {} rungs", most_rungs - 1));
      }
      for (const YAML::Node& node : entry.second) {
        Result<Rung> rung = read_rung(node);
        if (!rung) {
          return rung.error();
        }
        path.rungs.push_back(*std::move(rung));
      }
    }
    return path;
  }

  [[nodiscard]] Error error(const YAML::Mark& mark, std::string_view field, std::string reason) const {
    std::string object = mark.line < 0 ? file_name_ : fmt::format("{}, line {}", file_name_, mark.line + 1);
    object += field.empty() ? "" : fmt::format(", field '{}'", field);
    return {"read", std::move(object), std::move(reason), std::string(hint)};
  }

 private:
  [[nodiscard]] Error error(const YAML::Node& node, std::string_view field, std::string reason) const {
    return error(node.Mark(), field, std::move(reason));
  }

  static std::string* text_field(Rung& rung, std::string_view key) {
    return key == "name" ? &rung.name : key == "probe" ? &rung.target : key == "from" ? &rung.from : nullptr;
  }

  Result<Rung> read_rung(const YAML::Node& node) const {
    if (!node.IsMap()) {
      return error(node, "rungs", "a rung has the fields name, probe, via and, at will, from");
    }
    Rung rung;
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string key = entry.first.Scalar();
      const YAML::Node& value = entry.second;
      if (!seen.insert(key).second) {
        return error(entry.first, key, "it is there twice");
      }
      if (key == "via") {
        if (!value.IsSequence()) {
          return error(value, key, "it is not a list, as in [overlay, node]");
        }
        if (value.size() > most_layers) {
          return error(value, key, fmt::format("it has more than {} layers", most_layers));
        }
        for (const YAML::Node& layer : value) {
          if (!layer.IsScalar() || !is_name(layer.Scalar())) {
            return error(layer, key, "a layer is 1 to 40 printable ASCII characters");
          }
          rung.layers.push_back(layer.Scalar());
        }
      } else if (std::string* const text = text_field(rung, key)) {
        if (!value.IsScalar() || value.Scalar().empty()) {
          return error(value, key, "it has no text");
        }
        *text = value.Scalar();
      } else {
        return error(entry.first, key, "there is no such field; a rung has name, probe, via and, at will, from");
      }
    }
    if (!is_name(rung.name)) {
      return error(node, "name", "a name is 1 to 40 printable ASCII characters");
    }
    if (rung.target.empty()) {
      return error(node, "probe", fmt::format("rung '{}' lacks it", rung.name));
    }
    if (rung.layers.empty()) {
      return error(node, "via", fmt::format("rung '{}' lacks it, or it is empty", rung.name));
    }
    return rung;
  }

  const std::string& file_name_;
};

std::string yaml_text(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    out += c == '\'' ? "''" : std::string(1, c);
  }
  return out + "'";
}

}  // namespace

Result<Path> parse_path_file(const std::string& text, const std::string& file_name) {
  const Reader reader(file_name);
  if (text.size() > largest_file) {
    return reader.error(YAML::Mark::null_mark(), "", "it is larger than 64 KiB");
  }
  // The library tells errors by exceptions; none leaves this function.
  try {
    return reader.read(YAML::Load(text));
  } catch (const YAML::Exception& exception) {
    return reader.error(exception.mark, "", base::printable(exception.msg));
  }
}

std::string write_path_file(const Path& path, const std::vector<std::string>& comment) {
  std::string text;
  for (const std::string& line : comment) {
    text += line.empty() ? "#\n" : "# " + base::printable(line) + "\n";
  }
  text += "rungs:\n";
  for (const Rung& rung : path.rungs) {
    text += fmt::format("  - name: {}\n    probe: {}\n    via: [", yaml_text(rung.name), yaml_text(rung.target));
    for (std::size_t i = 0; i < rung.layers.size(); ++i) {
      text += (i == 0 ? "" : ", ") + yaml_text(rung.layers[i]);
    }
    text += "]\n";
    if (!rung.from.empty()) {
      text += fmt::format("    from: {}\n", yaml_text(rung.from));
    }
  }
  return text;
}

}  // namespace stallscope::bisect
