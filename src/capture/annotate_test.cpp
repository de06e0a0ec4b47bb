// SPDX-License-Identifier: Apache-2.0
#include "capture/annotate.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/files.h"
#include "capture/file_source.h"
#include "capture/pcapng_format.h"
#include "capture/testing.h"

namespace stallscope::capture {
namespace {

using namespace testing;

constexpr std::uint64_t first_ns = 1'700'000'000'123'456'789;

class Annotate : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "stallscope-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory = name;
    from = (directory / "in").string();
    to = (directory / "out").string();
  }
  void TearDown() override { std::filesystem::remove_all(directory); }
  void write(const Buffer& bytes) const {
    std::ofstream(from, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  }
  [[nodiscard]] base::Result<Annotated> run(std::vector<std::uint32_t> packets, bool interrupted = false) const {
    Annotations annotations;
    annotations.summary = "in all";
    annotations.packets = std::move(packets);
    annotations.comment = [](std::size_t index) { return "comment " + std::to_string(index); };
    return annotate(from, to, annotations, [interrupted] { return interrupted; });
  }
  [[nodiscard]] Buffer read(const std::string& path) const {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  struct Seen {
    std::vector<std::int64_t> times_ns;
    std::vector<Buffer> packets;
    std::vector<Interface> interfaces;
    SourceTrouble trouble;
    friend bool operator==(const Seen& a, const Seen& b) { return a.times_ns == b.times_ns && a.packets == b.packets; }
  };
  [[nodiscard]] static Seen packets_of(const std::string& path) {
    Seen seen;
    base::Result<std::unique_ptr<PacketSource>> source = open_capture(path);
    EXPECT_TRUE(source);
    std::array<Packet, 4> batch;
    while (!(*source)->ended()) {
      const std::size_t count = *(*source)->next(batch);
      for (const Packet& packet : std::span(batch).first(count)) {
        seen.times_ns.push_back(packet.time_ns);
        seen.packets.emplace_back(packet.data.begin(), packet.data.end());
      }
    }
    seen.interfaces = (*source)->interfaces();
    seen.trouble = (*source)->trouble();
    return seen;
  }
  /// Comments by place: "section" or the number of the packet.
  [[nodiscard]] std::vector<std::string> comments(bool swap = false) const {
    const Buffer bytes = read(to);
    std::vector<std::string> found;
    int number = 0;
    for (std::size_t at = 0; at < bytes.size();) {
      const auto type = load_file<std::uint32_t>(&bytes[at], swap);
      const auto length = load_file<std::uint32_t>(&bytes[at + 4], swap);
      const Bytes body = Bytes(bytes).subspan(at + 8, length - 12);
      std::size_t fields = body.size();
      std::string place = "section";
      if (type == pcapng::section_header) {
        fields = 16;
        EXPECT_EQ(load<std::uint64_t>(body.data() + 8), ~std::uint64_t{0});
      } else if (type == pcapng::enhanced_packet) {
        fields = 20 + pcapng::padded(load_file<std::uint32_t>(body.data() + 12, swap));
        place = std::to_string(++number);
      }
      pcapng::each_option(body.subspan(fields), swap, [&](std::uint16_t code, Bytes value) {
        if (code == pcapng::option_comment) {
          found.push_back(place + ": " + std::string(value.begin(), value.end()));
        }
      });
      at += length;
    }
    return found;
  }

  std::filesystem::path directory;
  std::string from;
  std::string to;
};

TEST_F(Annotate, WritesPcapAsPcapngWithTheSamePackets) {
  for (const bool big : {false, true}) {
    Buffer file = pcap_header(1, big, true);
    for (std::uint64_t number = 0; number < 10; ++number) {
      pcap_record(file, first_ns + number, ethernet(0x0800, echo(8, 1, static_cast<std::uint16_t>(number))), big, true);
    }
    write(file);
    const auto done = run({2, 2, 9});
    ASSERT_TRUE(done);
    EXPECT_EQ(done->packet_count, 10);
    EXPECT_EQ(done->comment_count, 3);
    EXPECT_EQ(packets_of(to), packets_of(from));
    EXPECT_EQ(packets_of(to).interfaces.at(0).snap_length, 262'144U);
    EXPECT_EQ(comments(), (std::vector<std::string>{"section: in all", "2: comment 0", "2: comment 1", "9: comment 2"}));
  }
}

/// Two interfaces, a comment that was there, a packet without a time, and a block of no known type.
Buffer pcapng_file(bool big) {
  Buffer file = section(big);
  append(file, interface(1, 9, "eth0", big));
  append(file, interface(101, 6, "tun0", big));
  append(file, enhanced(0, first_ns, ethernet(0x0800, {1, 2, 3}), big));
  Buffer simple;
  put32(simple, 3, big);
  append(simple, {7, 7, 7});
  append(file, block(3, simple, big));
  append(file, block(0x0bad, {1, 2, 3, 4}, big));
  Buffer body;
  put32(body, 1, big);
  put32(body, 0x00060a24, big);
  put32(body, 0x181ba1d1, big);
  put32(body, 5, big);
  put32(body, 5, big);
  append(body, {5, 5, 5, 5, 5, 0, 0, 0});
  put16(body, 1, big);
  put16(body, 3, big);
  append(body, {'o', 'l', 'd', 0});
  put32(body, 0, big);
  append(file, block(6, body, big));
  return file;
}

TEST_F(Annotate, KeepsEverythingThatPcapngHolds) {
  for (const bool big : {false, true}) {
    write(pcapng_file(big));
    const auto done = run({3});
    ASSERT_TRUE(done);
    EXPECT_EQ(done->packet_count, 3);
    const Seen after = packets_of(to);
    EXPECT_EQ(after, packets_of(from));
    ASSERT_EQ(after.interfaces.size(), 2U);
    EXPECT_EQ(after.interfaces[1].name, "tun0");
    EXPECT_EQ(after.trouble.skipped_count, 1) << "the packet without a time";
    EXPECT_EQ(comments(big), (std::vector<std::string>{"section: in all", "2: old", "2: comment 0"}));
    const Buffer unknown = block(0x0bad, {1, 2, 3, 4}, big);
    const Buffer bytes = read(to);
    EXPECT_NE(std::search(bytes.begin(), bytes.end(), unknown.begin(), unknown.end()), bytes.end());
  }
}

TEST_F(Annotate, EndsWhereTheCaptureIsCutOff) {
  Buffer file = pcapng_file(false);
  file.resize(file.size() - 5);
  write(file);
  const auto done = run({1, 3});
  ASSERT_TRUE(done);
  EXPECT_EQ(done->comment_count, 1);
  EXPECT_EQ(packets_of(to), packets_of(from));
  EXPECT_FALSE(packets_of(to).trouble.truncated);
}

TEST_F(Annotate, NeverTakesTheCapturesPlace) {
  write(pcapng_file(false));
  std::filesystem::create_hard_link(from, to);
  EXPECT_FALSE(run({}));
  EXPECT_EQ(read(from), pcapng_file(false));
  EXPECT_FALSE(can_annotate("-", to));
  EXPECT_FALSE(can_annotate("/dev/null", to));
}

TEST_F(Annotate, LeavesNothingWhenInterrupted) {
  Buffer file = pcap_header();
  for (std::uint64_t number = 0; number < 5'000; ++number) {
    pcap_record(file, first_ns + number, {1, 2, 3});
  }
  write(file);
  EXPECT_FALSE(run({}, true));
  EXPECT_FALSE(std::filesystem::exists(to));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator()), 1);
}

}  // namespace
}  // namespace stallscope::capture
