// SPDX-License-Identifier: Apache-2.0
#include "probe/resolve.h"

#include <gtest/gtest.h>

namespace stallscope::probe {
namespace {

std::string refusal(const std::string& host) {
  const base::Result<in_addr> resolved = resolve_target(host);
  return resolved ? "resolved to " + format_address(*resolved) : resolved.error().message();
}

TEST(Resolve, TakesAddressesAsWritten) {
  const base::Result<in_addr> address = resolve_target("10.0.1.2");
  ASSERT_TRUE(address);
  EXPECT_EQ(address->s_addr, htonl(0x0a000102));
  EXPECT_EQ(format_address(*address), "10.0.1.2");
}

TEST(Resolve, RefusesWhatIsNotOneHost) {
  EXPECT_NE(refusal("224.0.0.1").find("224.0.0.1: a multicast address"), std::string::npos) << refusal("224.0.0.1");
  EXPECT_NE(refusal("239.255.255.255").find("multicast"), std::string::npos);
  EXPECT_NE(refusal("255.255.255.255").find("the broadcast address"), std::string::npos);
  EXPECT_NE(refusal("0.0.0.0").find("not the address of a host"), std::string::npos);
  EXPECT_NE(refusal("0.1.2.3").find("not the address of a host"), std::string::npos);
  EXPECT_NE(refusal("").find("no host is named"), std::string::npos);
}

TEST(Resolve, SaysThatIpv6IsNotBuilt) {
  EXPECT_EQ(refusal("2001:db8::1"), "cannot probe 2001:db8::1: probing over IPv6 is not built\n  Give an IPv4 address.");
}

}  // namespace
}  // namespace stallscope::probe
