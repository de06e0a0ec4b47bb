// SPDX-License-Identifier: Apache-2.0
// read_bundle on hostile files. An input that begins with "SQLite" is the file itself. Any other is a list of edits of a valid
// bundle, because random bytes hardly ever pass SQLite's header: 3 bytes of position, 1 of length, then the bytes to put there. A
// position beyond the bundle edits the journal beside it. A TMPDIR on tmpfs makes it some times faster.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/files.h"
#include "evidence/bundle.h"
#include "evidence/recovery.h"
#include "evidence/sqlite.h"

namespace stallscope::evidence {
namespace {

void require(const base::Status& status) {
  if (!status) {
    throw std::runtime_error(status.error().message());
  }
}

std::string make_valid_bundle(const std::string& path) {
  BundleWriter writer = *BundleWriter::create(path, {});
  const std::vector<std::string> frames = {"css_rstat_flush", "vfs_read"};
  WaitRecord wait;
  wait.occupants.resize(2);
  wait.occupants[0].stack_id = *writer.add_stack(frames);
  require(writer.add(wait));
  for (std::int64_t sequence = 0; sequence < 50; ++sequence) {
    require(writer.add(ProbeRecord{.sequence = sequence}));
    PacketRecord packet;
    packet.sequence = sequence;
    packet.device = "veth0";
    require(writer.add(packet));
  }
  require(writer.add(SampleRecord{}));
  require(writer.add(FlushRecord{}));
  require(writer.add(MemcgCensusRecord{}));
  require(writer.add(CounterRecord{"steal", 0, 1, 2}));
  require(writer.add(GapRecord{"stacks", "no symbols", "no names"}));
  require(writer.commit());
  return *base::read_file(path);
}

/// The largest journal an input can describe: a header and a few pages.
constexpr std::size_t journal_bytes = 16'384;

void read_input(std::string_view input) {
  static const TemporaryDirectory directory = *TemporaryDirectory::create();
  static const std::string path = directory.path() + "/fuzz.stall";
  static const std::string valid = make_valid_bundle(path);

  std::string bundle(input);
  std::string journal;
  if (!input.starts_with("SQLite")) {
    bundle = valid;
    while (input.size() > 4) {
      const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(input[i])); };
      const std::size_t position = ((byte(0) << 16U) | (byte(1) << 8U) | byte(2)) % (valid.size() + journal_bytes);
      const std::string_view bytes = input.substr(4, byte(3));
      input.remove_prefix(4 + bytes.size());
      std::string& target = position < valid.size() ? bundle : journal;
      const std::size_t offset = position < valid.size() ? position : position - valid.size();
      target.resize(std::max(target.size(), offset + bytes.size()));
      target.replace(offset, bytes.size(), bytes);
    }
  }
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bundle;
  ::unlink(journal_path(path).c_str());
  if (!journal.empty()) {
    std::ofstream(journal_path(path), std::ios::binary) << journal;
  }
  const base::Result<Evidence> evidence = read_bundle(path, {.file_bytes = 1 << 24, .memory_bytes = 1 << 24});
  if (!evidence && evidence.error().message().empty()) {
    std::abort();
  }
}

}  // namespace
}  // namespace stallscope::evidence

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  stallscope::evidence::read_input({reinterpret_cast<const char*>(data), size});
  return 0;
}
