// SPDX-License-Identifier: Apache-2.0
// Any bytes as an HTTP response, whole and in pieces of a length that the first byte chooses: both must come to the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "probe/http_reader.h"

// NOLINTNEXTLINE(readability-identifier-naming): the name libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using stallscope::probe::HttpReader;
  if (size == 0) {
    return 0;
  }
  static HttpReader whole;
  static HttpReader pieces;
  whole.reset();
  pieces.reset();
  const std::size_t piece = (*data % 64U) + 1;
  const std::span<const std::byte> response = std::as_bytes(std::span(data, size)).subspan(1);
  whole.take(response);
  for (std::size_t i = 0; i < response.size(); i += piece) {
    pieces.take(response.subspan(i, std::min(piece, response.size() - i)));
  }
  if (whole.state() != pieces.state() || whole.status() != pieces.status() || whole.end() != pieces.end()) {
    std::abort();
  }
  return 0;
}
