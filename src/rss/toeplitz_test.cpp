// SPDX-License-Identifier: Apache-2.0
#include "rss/toeplitz.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "rss/testing.h"

namespace stallscope::rss {
namespace {

struct Vector {
  const char* destination;
  std::uint16_t destination_port;
  const char* source;
  std::uint16_t source_port;
  std::uint32_t addresses_hash;
  std::uint32_t ports_hash;
};

// "Verifying the RSS Hash Calculation", Windows driver documentation: all of it.
constexpr std::array<Vector, 8> published = {
    {{"161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
     {"65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
     {"12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
     {"209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
     {"202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
     {"3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
     {"ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
     {"fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61e985, 0x02d1feef}}};

TEST(Toeplitz, agrees_with_the_published_vectors) {
  const base::Result<Toeplitz> toeplitz = Toeplitz::make(verification_key);
  ASSERT_TRUE(toeplitz);
  EXPECT_EQ(toeplitz->max_input(), max_input_bytes);
  for (const Vector& vector : published) {
    const Flow flow = tcp_flow(vector.source, vector.source_port, vector.destination, vector.destination_port);
    EXPECT_EQ(toeplitz->hash(hash_input(flow, fields_addresses, InputTransform::none).span()), vector.addresses_hash)
        << vector.source;
    EXPECT_EQ(toeplitz->hash(hash_input(flow, fields_addresses | fields_ports, InputTransform::none).span()), vector.ports_hash)
        << vector.source;
  }
}

/// Bit by bit, as the definition says it.
std::uint32_t by_definition(std::span<const std::uint8_t> key, std::span<const std::uint8_t> input) {
  std::uint32_t hash = 0;
  for (std::size_t bit = 0; bit < 8 * input.size(); ++bit) {
    if ((std::uint32_t{input[bit / 8]} >> (7 - bit % 8) & 1U) == 0) {
      continue;
    }
    std::uint32_t window = 0;
    for (std::size_t at = bit; at < bit + 32; ++at) {
      window = (window << 1U) | (std::uint32_t{key[at / 8]} >> (7 - at % 8) & 1U);
    }
    hash ^= window;
  }
  return hash;
}

TEST(Toeplitz, agrees_with_the_definition_for_any_key_and_input) {
  std::mt19937 random(1);
  const auto byte = [&] { return static_cast<std::uint8_t>(random() & 0xffU); };
  for (int round = 0; round < 200; ++round) {
    std::vector<std::uint8_t> key(40 + random() % 13);
    std::generate(key.begin(), key.end(), byte);
    std::vector<std::uint8_t> input(random() % (max_input_bytes + 1));
    std::generate(input.begin(), input.end(), byte);
    EXPECT_EQ(Toeplitz::make(key)->hash(input), by_definition(key, input));
  }
}

TEST(Toeplitz, of_a_short_key_says_how_much_it_can_hash) {
  EXPECT_EQ(Toeplitz::make(std::span(verification_key).first(16))->max_input(), 12U);
  EXPECT_FALSE(Toeplitz::make(std::span(verification_key).first(4)));
  EXPECT_FALSE(Toeplitz::make({}));
}

}  // namespace
}  // namespace stallscope::rss
