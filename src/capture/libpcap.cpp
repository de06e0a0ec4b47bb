// SPDX-License-Identifier: Apache-2.0
#include "capture/libpcap.h"

#ifndef STALLSCOPE_WITHOUT_LIBPCAP
#include <pcap/pcap.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/units.h"

namespace stallscope::capture {
namespace {

/// Headers, of tunnels too; payload is not looked at.
constexpr int live_snap_length = 256;
constexpr int live_buffer_bytes = 64 << 20;
constexpr int live_timeout_ms = 100;
constexpr int filter_snap_length = 262'144;

struct Close {
  void operator()(pcap_t* handle) const { ::pcap_close(handle); }
};
using Handle = std::unique_ptr<pcap_t, Close>;

}  // namespace

class PacketFilter::Program {
 public:
  Program(const std::string& expression, std::uint32_t link) {
    const Handle handle(::pcap_open_dead(static_cast<int>(link), filter_snap_length));
    valid_ = handle && ::pcap_compile(handle.get(), &program_, expression.c_str(), 1, PCAP_NETMASK_UNKNOWN) == 0;
    if (!valid_ && handle) {
      reason_ = ::pcap_geterr(handle.get());
    }
  }
  ~Program() {
    if (valid_) {
      ::pcap_freecode(&program_);
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  Program(Program&&) = delete;
  Program& operator=(Program&&) = delete;

  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] const std::string& reason() const { return reason_; }
  [[nodiscard]] bool matches(const Packet& packet) const {
    pcap_pkthdr header{};
    header.caplen = static_cast<bpf_u_int32>(packet.data.size());
    header.len = packet.wire_size;
    return valid_ && ::pcap_offline_filter(&program_, &header, packet.data.data()) != 0;
  }

 private:
  bpf_program program_{};
  bool valid_ = false;
  std::string reason_;
};

PacketFilter::PacketFilter(std::string expression) : expression_(std::move(expression)) {}
PacketFilter::PacketFilter(PacketFilter&&) noexcept = default;
PacketFilter& PacketFilter::operator=(PacketFilter&&) noexcept = default;
PacketFilter::~PacketFilter() = default;

base::Result<PacketFilter> PacketFilter::make(const std::string& expression) {
  PacketFilter filter(expression);
  auto program = std::make_unique<Program>(expression, link_type::ethernet);
  if (!program->valid()) {
    return base::Error{"use --filter", expression, program->reason(), "The language is that of tcpdump: see pcap-filter(7)."};
  }
  filter.programs_.emplace(link_type::ethernet, std::move(program));
  return filter;
}

bool PacketFilter::matches(const Packet& packet) {
  std::unique_ptr<Program>& program = programs_[packet.link];
  if (!program) {
    program = std::make_unique<Program>(expression_, packet.link);
  }
  return program->matches(packet);
}

namespace {

class LiveSource : public PacketSource {
 public:
  LiveSource(Handle handle, Interface interface) : handle_(std::move(handle)), interfaces_{std::move(interface)} {}

  base::Result<std::size_t> next(std::span<Packet> batch) override {
    batch_ = batch;
    count_ = 0;
    bytes_.resize(batch.size());
    // libpcap's own timeout does not end a wait for the first packet (TPACKET_V3), nor does a signal.
    pollfd ready{::pcap_get_selectable_fd(handle_.get()), POLLIN, 0};
    if (::poll(&ready, 1, live_timeout_ms) <= 0) {
      return std::size_t{0};
    }
    const int result = ::pcap_dispatch(handle_.get(), static_cast<int>(batch.size()), take, reinterpret_cast<u_char*>(this));
    if (result < 0 && result != PCAP_ERROR_BREAK) {
      return base::Error{"capture from", interfaces_.front().name, ::pcap_geterr(handle_.get()), ""};
    }
    pcap_stat statistics{};
    if (::pcap_stats(handle_.get(), &statistics) == 0) {
      trouble_.dropped_count = std::int64_t{statistics.ps_drop} + statistics.ps_ifdrop;
    }
    return count_;
  }
  [[nodiscard]] bool ended() const override { return false; }
  [[nodiscard]] const std::vector<Interface>& interfaces() const override { return interfaces_; }
  [[nodiscard]] Progress progress() const override { return {}; }
  [[nodiscard]] const SourceTrouble& trouble() const override { return trouble_; }

 private:
  // The ring's bytes are the kernel's again once this returns.
  // NOLINTNEXTLINE(readability-non-const-parameter): pcap_handler's type
  static void take(u_char* user, const pcap_pkthdr* header, const u_char* data) {
    auto& self = *reinterpret_cast<LiveSource*>(user);
    if (self.count_ == self.batch_.size()) {
      return;
    }
    auto& bytes = self.bytes_[self.count_];
    const std::size_t size = std::min<std::size_t>(header->caplen, bytes.size());
    std::copy_n(data, size, bytes.begin());
    self.batch_[self.count_] = {(std::int64_t{header->ts.tv_sec} * base::ns_per_s) + header->ts.tv_usec,
                                Bytes(bytes).first(size),
                                header->len,
                                self.interfaces_.front().link,
                                0,
                                ++self.number_};
    ++self.count_;
  }

  Handle handle_;
  std::vector<Interface> interfaces_;
  SourceTrouble trouble_;
  std::span<Packet> batch_;
  std::size_t count_ = 0;
  std::uint32_t number_ = 0;
  std::vector<std::array<std::uint8_t, live_snap_length>> bytes_;
};

base::Error live_error(const std::string& name, const Handle& handle, int status) {
  const std::string detail = ::pcap_geterr(handle.get());
  return base::Error{
      "capture from", name, detail.empty() ? ::pcap_statustostr(status) : detail,
      status == PCAP_ERROR_PERM_DENIED ? "Run it as root, or with CAP_NET_RAW." : "See the interfaces with: ip link"};
}

}  // namespace

base::Result<std::unique_ptr<PacketSource>> open_interface(const std::string& name, const std::string& filter) {
  std::array<char, PCAP_ERRBUF_SIZE> error{};
  Handle handle(::pcap_create(name.c_str(), error.data()));
  if (!handle) {
    return base::Error{"capture from", name, error.data(), ""};
  }
  ::pcap_set_snaplen(handle.get(), live_snap_length);
  ::pcap_set_buffer_size(handle.get(), live_buffer_bytes);
  ::pcap_set_timeout(handle.get(), live_timeout_ms);
  ::pcap_set_tstamp_precision(handle.get(), PCAP_TSTAMP_PRECISION_NANO);
  if (const int status = ::pcap_activate(handle.get()); status < 0) {
    return live_error(name, handle, status);
  }
  if (::pcap_setnonblock(handle.get(), 1, error.data()) != 0) {
    return base::Error{"capture from", name, error.data(), ""};
  }
  if (!filter.empty()) {
    bpf_program program{};
    if (::pcap_compile(handle.get(), &program, filter.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0) {
      return base::Error{"use --filter", filter, ::pcap_geterr(handle.get()),
                         "The language is that of tcpdump: see pcap-filter(7)."};
    }
    const int status = ::pcap_setfilter(handle.get(), &program);
    ::pcap_freecode(&program);
    if (status != 0) {
      return live_error(name, handle, status);
    }
  }
  Interface interface;
  interface.name = name;
  interface.link = static_cast<std::uint32_t>(::pcap_datalink(handle.get()));
  interface.snap_length = live_snap_length;
  return std::unique_ptr<PacketSource>(std::make_unique<LiveSource>(std::move(handle), std::move(interface)));
}

}  // namespace stallscope::capture
#else
namespace stallscope::capture {

namespace {
base::Error without(const char* operation, const std::string& object) {
  return {operation, object, "this static build has no libpcap",
          "Let tcpdump do it: tcpdump -i IFACE -w - FILTER | stallscope capture -"};
}
}  // namespace

class PacketFilter::Program {};
PacketFilter::PacketFilter(std::string expression) : expression_(std::move(expression)) {}
PacketFilter::PacketFilter(PacketFilter&&) noexcept = default;
PacketFilter& PacketFilter::operator=(PacketFilter&&) noexcept = default;
PacketFilter::~PacketFilter() = default;
base::Result<PacketFilter> PacketFilter::make(const std::string& expression) {
  return without("use --filter", expression);
}
bool PacketFilter::matches(const Packet& /*packet*/) {
  return false;
}
base::Result<std::unique_ptr<PacketSource>> open_interface(const std::string& name, const std::string& /*filter*/) {
  return without("capture from", name);
}

}  // namespace stallscope::capture
#endif
