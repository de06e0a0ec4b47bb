// SPDX-License-Identifier: Apache-2.0
#include "host/rss.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

using Cpus = std::vector<std::int32_t>;

TEST(CpuMask, is_read_from_the_last_word_on) {
  EXPECT_EQ(parse_cpu_mask("3"), (Cpus{0, 1}));
  EXPECT_EQ(parse_cpu_mask("00000001,80000000"), (Cpus{31, 32}));
  EXPECT_EQ(parse_cpu_mask("00"), Cpus{});
  EXPECT_FALSE(parse_cpu_mask(""));
  EXPECT_FALSE(parse_cpu_mask("1,,1"));
  EXPECT_FALSE(parse_cpu_mask("g"));
}

TEST(Interrupts, are_told_apart_by_the_names_that_drivers_give_them) {
  EXPECT_EQ(queue_of_interrupt("eth0-TxRx-3", "eth0", "0000:3b:00.0"), 3);
  EXPECT_EQ(queue_of_interrupt("i40e-eth0-TxRx-12", "eth0", "0000:3b:00.0"), 12);
  EXPECT_EQ(queue_of_interrupt("eth0-Tx-Rx-0", "eth0", "0000:00:05.0"), 0);
  EXPECT_EQ(queue_of_interrupt("mlx5_comp7@pci:0000:3b:00.0", "eth0", "0000:3b:00.0"), 7);
  EXPECT_EQ(queue_of_interrupt("virtio2-input.1", "eth0", "virtio2"), 1);
  EXPECT_FALSE(queue_of_interrupt("virtio2-output.1", "eth0", "virtio2"));
  EXPECT_FALSE(queue_of_interrupt("virtio3-input.1", "eth0", "virtio2"));
  EXPECT_FALSE(queue_of_interrupt("mlx5_comp7@pci:0000:3b:00.1", "eth0", "0000:3b:00.0"));
  EXPECT_FALSE(queue_of_interrupt("mlx5_async@pci:0000:3b:00.0", "eth0", "0000:3b:00.0"));
  EXPECT_FALSE(queue_of_interrupt("eth01-TxRx-3", "eth0", "0000:3b:00.0"));
  EXPECT_FALSE(queue_of_interrupt("xeth0-TxRx-3", "eth0", "0000:3b:00.0"));
  EXPECT_FALSE(queue_of_interrupt("eth0-TxRx-99999999999", "eth0", "0000:3b:00.0"));
  EXPECT_FALSE(queue_of_interrupt("eth0", "eth0", ""));
}

TEST(ReceiveQueues, of_a_file_tree_have_masks_and_interrupts) {
  FakeTree tree;
  tree.add("/sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,00000003\n")
      .add("/sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n")
      .add("/sys/devices/virtio2/net", "")
      .add("/proc/interrupts",
           "           CPU0       CPU1\n"
           " 38:          0       1837  PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0\n"
           " 39:       1717          0  PCI-MSIX-0000:00:03.0   2-edge      virtio2-output.0\n"
           " 40:          7          0  PCI-MSIX-0000:00:03.0   3-edge      virtio2-input.1\n"
           "NMI:          0          0   Non-maskable interrupts\n")
      .add("/proc/irq/38/effective_affinity_list", "1\n")
      .add("/proc/irq/38/smp_affinity_list", "0-1\n")
      .add("/proc/irq/40/smp_affinity_list", "0-1\n");
  std::filesystem::create_directory_symlink("../../../devices/virtio2", tree.root() + "/sys/class/net/eth0/device");
  const base::Result<rss::ReceiveQueues> queues = read_receive_queues("eth0", tree.files());
  ASSERT_TRUE(queues) << queues.error().message();
  ASSERT_EQ(queues->queues.size(), 2U);
  EXPECT_EQ(queues->queue_count, 2);
  EXPECT_EQ(queues->queues[0].rps_cpus, (Cpus{0, 1}));
  EXPECT_EQ(queues->queues[0].irq, 38);
  EXPECT_EQ(queues->queues[0].irq_cpus, (Cpus{1}));
  EXPECT_EQ(queues->queues[1].rps_cpus, Cpus{});
  EXPECT_EQ(queues->queues[1].irq_cpus, (Cpus{0, 1}));
  EXPECT_FALSE(read_receive_queues("eth9", tree.files()));
}

}  // namespace
}  // namespace stallscope::host
