// SPDX-License-Identifier: Apache-2.0
#include "probe/http_reader.h"

#include <algorithm>
#include <cstring>

#include "base/numbers.h"

namespace stallscope::probe {
namespace {

constexpr std::string_view end_of_head = "\r\n\r\n";
constexpr std::string_view end_of_line = "\r\n";

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_space(text.front())) {
    text.remove_prefix(1);
  }
  while (!text.empty() && is_space(text.back())) {
    text.remove_suffix(1);
  }
  return text;
}

/// "HTTP/1.1 200 OK"
std::int32_t status_of(std::string_view line) {
  constexpr std::string_view version = "HTTP/1.";
  constexpr std::size_t status_at = 9;
  constexpr std::size_t status_digits = 3;
  if (!line.starts_with(version) || line.size() < status_at + status_digits || line[status_at - 1] != ' ' ||
      (line.size() > status_at + status_digits && line[status_at + status_digits] != ' ')) {
    return 0;
  }
  const auto status = base::parse_number<std::int32_t>(line.substr(status_at, status_digits));
  return status && *status >= 100 ? *status : 0;
}

}  // namespace

void HttpReader::reset() {
  state_ = State::reading;
  status_ = 0;
  head_bytes_ = 0;
  in_body_ = false;
  content_length_.reset();
  body_bytes_ = 0;
}

HttpReader::State HttpReader::take(std::span<const std::byte> bytes) {
  while (state_ == State::reading && !bytes.empty()) {
    if (in_body_) {
      count_body(bytes.size());
      break;
    }
    const std::size_t room = std::min(bytes.size(), head_.size() - head_bytes_);
    std::memcpy(head_.data() + head_bytes_, bytes.data(), room);
    const std::size_t before = head_bytes_;
    head_bytes_ += room;
    // The end may have begun in an earlier piece.
    const std::size_t search_from = before >= end_of_head.size() ? before - end_of_head.size() : 0;
    const std::string_view head(head_.data(), head_bytes_);
    const std::size_t end = head.find(end_of_head, search_from);
    if (end == std::string_view::npos) {
      if (head_bytes_ == head_.size()) {
        state_ = State::malformed;
      }
      break;
    }
    read_head(head.substr(0, end));
    const std::size_t consumed = end + end_of_head.size() - before;
    bytes = bytes.subspan(consumed);
    if (state_ == State::reading && in_body_) {
      count_body(0);
    }
  }
  return state_;
}

void HttpReader::read_head(std::string_view head) {
  const std::size_t first_end = head.find(end_of_line);
  status_ = status_of(head.substr(0, first_end));
  if (status_ == 0) {
    state_ = State::malformed;
    return;
  }
  constexpr std::int32_t first_final_status = 200;
  if (status_ < first_final_status) {
    // Informational: the response itself follows.
    status_ = 0;
    head_bytes_ = 0;
    return;
  }
  constexpr std::int32_t no_content = 204;
  constexpr std::int32_t not_modified = 304;
  if (status_ == no_content || status_ == not_modified) {
    content_length_ = 0;
  }
  while (head.find(end_of_line) != std::string_view::npos) {
    head.remove_prefix(head.find(end_of_line) + end_of_line.size());
    const std::string_view line = head.substr(0, head.find(end_of_line));
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && equal_ignoring_case(line.substr(0, colon), "content-length")) {
      const auto length = base::parse_number<std::uint64_t>(trimmed(line.substr(colon + 1)));
      if (!length) {
        state_ = State::malformed;
        return;
      }
      content_length_ = content_length_.value_or(*length);
    }
  }
  in_body_ = true;
}

void HttpReader::count_body(std::uint64_t bytes) {
  body_bytes_ += bytes;
  if (body_bytes_ >= std::min(content_length_.value_or(longest_body_bytes), longest_body_bytes)) {
    state_ = State::complete;
  }
}

HttpReader::State HttpReader::end() {
  if (state_ == State::reading) {
    state_ = in_body_ && !content_length_ ? State::complete : State::malformed;
  }
  return state_;
}

}  // namespace stallscope::probe
