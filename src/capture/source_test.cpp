// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <string>

#include "capture/file_source.h"
#include "capture/testing.h"

namespace stallscope::capture {
namespace {

using namespace testing;

constexpr std::uint64_t time_ns = 1'700'000'000'123'456'789;

struct ReadBack {
  std::vector<std::int64_t> times_ns;
  std::vector<Buffer> packets;
  std::vector<std::uint32_t> interface_of;
  std::vector<Interface> interfaces;
  SourceTrouble trouble;
  std::string error;
};

ReadBack read_back(base::Result<std::unique_ptr<PacketSource>> source) {
  ReadBack back;
  if (!source) {
    back.error = source.error().reason;
    return back;
  }
  std::array<Packet, 3> batch;
  while (!(*source)->ended()) {
    const base::Result<std::size_t> count = (*source)->next(batch);
    if (!count) {
      back.error = count.error().reason;
      break;
    }
    for (std::size_t at = 0; at < *count; ++at) {
      back.times_ns.push_back(batch[at].time_ns);
      back.packets.emplace_back(batch[at].data.begin(), batch[at].data.end());
      back.interface_of.push_back(batch[at].interface);
    }
  }
  back.interfaces = (*source)->interfaces();
  back.trouble = (*source)->trouble();
  return back;
}

ReadBack read_back(const Buffer& file) {
  return read_back(read_packets(memory_source(file), "test"));
}

/// Through a buffer that is filled bit by bit, as a pipe is.
class Trickle : public Input {
 public:
  explicit Trickle(Buffer bytes) : bytes_(std::move(bytes)) {}
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const auto part = std::min<std::size_t>({buffer.size(), bytes_.size() - taken_, 7});
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(taken_), part, buffer.begin());
    taken_ += part;
    return part;
  }
  [[nodiscard]] std::int64_t stored_bytes() const override { return static_cast<std::int64_t>(taken_); }

 private:
  Buffer bytes_;
  std::size_t taken_ = 0;
};

Buffer five_packets() {
  Buffer file = pcap_header();
  for (std::uint8_t number = 0; number < 5; ++number) {
    pcap_record(file, time_ns + number, Buffer(20U + number, number));
  }
  return file;
}

TEST(PcapSource, ReadsBothOrdersAndResolutions) {
  for (const bool big : {false, true}) {
    for (const bool nanoseconds : {false, true}) {
      Buffer file = pcap_header(113, big, nanoseconds);
      pcap_record(file, time_ns, {1, 2, 3}, big, nanoseconds);
      const ReadBack back = read_back(file);
      ASSERT_EQ(back.times_ns.size(), 1U);
      EXPECT_EQ(back.times_ns[0], nanoseconds ? 1'700'000'000'123'456'789 : 1'700'000'000'123'456'000);
      EXPECT_EQ(back.packets[0], (Buffer{1, 2, 3}));
      EXPECT_EQ(back.interfaces[0].link, link_type::linux_cooked);
      EXPECT_FALSE(back.trouble.truncated);
    }
  }
}

TEST(PcapSource, GivesTheSameThroughAPipe) {
  const ReadBack whole = read_back(five_packets());
  const ReadBack trickled = read_back(read_packets(stream_source(std::make_unique<Trickle>(five_packets()), std::nullopt), "test"));
  EXPECT_EQ(whole.packets.size(), 5U);
  EXPECT_EQ(trickled.packets, whole.packets);
  EXPECT_EQ(trickled.times_ns, whole.times_ns);
}

TEST(PcapSource, CountsATruncatedTailAndKeepsWhatIsBefore) {
  const Buffer file = five_packets();
  const std::size_t last_record = file.size() - 16 - 24;
  for (std::size_t size = last_record + 1; size < file.size(); ++size) {
    const ReadBack back = read_back(Buffer(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size)));
    EXPECT_EQ(back.packets.size(), 4U);
    EXPECT_TRUE(back.trouble.truncated) << size;
  }
}

TEST(PcapSource, StopsAtARecordThatClaimsFourGigabytes) {
  Buffer file = five_packets();
  for (const std::uint32_t part : {0U, 0U, 0xffffffffU, 0xffffffffU}) {
    put32(file, part);
  }
  file.resize(file.size() + 100);
  const ReadBack back = read_back(file);
  EXPECT_EQ(back.packets.size(), 5U);
  EXPECT_NE(back.trouble.damage.find("4,294,967,295 bytes"), std::string::npos) << back.trouble.damage;
}

TEST(PcapSource, RefusesWhatIsNoCapture) {
  EXPECT_EQ(read_back(Buffer{}).error, "it is empty");
  EXPECT_EQ(read_back(Buffer{1, 2}).error, "it is too short for a capture");
  EXPECT_EQ(read_back(Buffer(100, 'x')).error, "it is neither pcap nor pcapng");
  const Buffer header = pcap_header();
  EXPECT_EQ(read_back(Buffer(header.begin(), header.begin() + 10)).trouble.damage, "the file ends within its header");
}

TEST(PcapngSource, ReadsSectionsOfEitherOrderWithTheirInterfaces) {
  Buffer file = section();
  append(file, interface(1, 9, "eth0"));
  append(file, interface(276, 0x80 | 20, "any"));
  append(file, enhanced(0, time_ns, {1, 2, 3, 4, 5}));
  append(file, enhanced(1, std::uint64_t{10} << 20U, {6}));
  append(file, section(true));
  append(file, interface(101, 6, "tun0", true));
  append(file, enhanced(0, 1'700'000'000'000'001, {7}, true));
  const ReadBack back = read_back(file);
  EXPECT_EQ(back.times_ns, (std::vector<std::int64_t>{1'700'000'000'123'456'789, 10'000'000'000, 1'700'000'000'000'001'000}));
  EXPECT_EQ(back.packets, (std::vector<Buffer>{{1, 2, 3, 4, 5}, {6}, {7}}));
  EXPECT_EQ(back.interface_of, (std::vector<std::uint32_t>{0, 1, 2}));
  ASSERT_EQ(back.interfaces.size(), 3U);
  EXPECT_EQ(back.interfaces[1].name, "any");
  EXPECT_EQ(back.interfaces[2].link, link_type::raw_ip);
}

TEST(PcapngSource, SkipsWhatHasNoTimeOrNoInterface) {
  Buffer file = section();
  append(file, enhanced(0, 1, {1}));  // before any interface
  append(file, interface(1, 9));
  append(file, block(3, Buffer{4, 0, 0, 0, 1, 2, 3, 4}));  // simple packet
  append(file, enhanced(7, 1, {1}));
  append(file, enhanced(0, ~std::uint64_t{0}, {1}));  // the year 2554
  append(file, block(0x0bad, Buffer(50'000, 9)));     // unknown, and longer than a pipe's first pieces
  append(file, enhanced(0, 5, {8}));
  const ReadBack back = read_back(file);
  EXPECT_EQ(back.packets, (std::vector<Buffer>{{8}}));
  EXPECT_EQ(back.trouble.skipped_count, 4);
  EXPECT_EQ(read_back(read_packets(stream_source(std::make_unique<Trickle>(file), std::nullopt), "test")).packets, back.packets);
}

TEST(PcapngSource, StopsAtLengthsThatLie) {
  Buffer good = section();
  append(good, interface(1, 9));
  append(good, enhanced(0, 5, {8}));
  for (const std::uint32_t length : {0U, 4U, 11U, 13U, 0xfffffffcU}) {
    Buffer file = good;
    put32(file, 6);
    put32(file, length);
    file.resize(file.size() + 64);
    const ReadBack back = read_back(file);
    EXPECT_EQ(back.packets.size(), 1U) << length;
    EXPECT_FALSE(back.trouble.damage.empty()) << length;
  }
  // The second length of the last block.
  Buffer file = good;
  file[file.size() - 4] ^= 4U;
  EXPECT_EQ(read_back(file).trouble.damage, "the two lengths of a block differ");
  // A section whose byte order is nothing known.
  file = good;
  append(file, section());
  file[good.size() + 8] = 0;
  EXPECT_EQ(read_back(file).trouble.damage, "a section header has no byte-order magic");
}

TEST(PcapngSource, ACapturedLengthBeyondItsBlockIsSkipped) {
  Buffer file = section();
  append(file, interface(1, 9));
  Buffer lying = enhanced(0, 5, {8});
  lying[8 + 12] = 0xff;
  append(file, lying);
  append(file, enhanced(0, 6, {9}));
  const ReadBack back = read_back(file);
  EXPECT_EQ(back.packets, (std::vector<Buffer>{{9}}));
  EXPECT_EQ(back.trouble.skipped_count, 1);
}

class OpenCapture : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/stallscope-capture-XXXXXX";
    const int fd = ::mkstemp(name.data());
    ASSERT_GE(fd, 0);
    ::close(fd);
    path_ = name;
  }
  void TearDown() override { ::unlink(path_.c_str()); }
  void write(const Buffer& bytes) const {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Buffer gzipped(const Buffer& bytes) {
  z_stream stream{};
  EXPECT_EQ(::deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  Buffer out(::deflateBound(&stream, bytes.size()));
  stream.next_in = const_cast<Bytef*>(bytes.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast): zlib's type
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

Buffer zstd_compressed(const Buffer& bytes) {
  Buffer out(::ZSTD_compressBound(bytes.size()));
  out.resize(::ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1));
  return out;
}

TEST_F(OpenCapture, ReadsFilesAsTheyAreAndCompressed) {
  const Buffer plain = five_packets();
  const ReadBack expected = read_back(plain);
  // Two members of gzip one after the other are one file (RFC 1952, section 2.2), and so are frames of zstd.
  Buffer two_members = gzipped(Buffer(plain.begin(), plain.begin() + 50));
  append(two_members, gzipped(Buffer(plain.begin() + 50, plain.end())));
  Buffer two_frames = zstd_compressed(Buffer(plain.begin(), plain.begin() + 50));
  append(two_frames, zstd_compressed(Buffer(plain.begin() + 50, plain.end())));
  for (const Buffer& stored : {plain, gzipped(plain), two_members, zstd_compressed(plain), two_frames}) {
    write(stored);
    const ReadBack back = read_back(open_capture(path()));
    EXPECT_EQ(back.error, "");
    EXPECT_EQ(back.packets, expected.packets);
  }
}

TEST_F(OpenCapture, TellsDamagedFromCutOffCompression) {
  Buffer cut = gzipped(five_packets());
  cut.resize(cut.size() - 12);
  write(cut);
  EXPECT_EQ(read_back(open_capture(path())).error, "");
  Buffer damaged = gzipped(five_packets());
  damaged[14] ^= 0xffU;
  write(damaged);
  EXPECT_NE(read_back(open_capture(path())).error, "");
  Buffer frame = zstd_compressed(five_packets());
  frame[6] ^= 0xffU;
  write(frame);
  EXPECT_NE(read_back(open_capture(path())).error, "");
}

TEST_F(OpenCapture, SaysWhatIsWrongWithAPath) {
  EXPECT_EQ(read_back(open_capture(path() + ".missing")).error, "No such file or directory");
  EXPECT_EQ(read_back(open_capture("/")).error, "Is a directory");
  EXPECT_EQ(read_back(open_capture(path())).error, "it is empty");
}

}  // namespace
}  // namespace stallscope::capture
