/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_EVIDENCE_SYN_MARK_H
#define STALLSCOPE_EVIDENCE_SYN_MARK_H

/* How a probe's SYN is marked: the only definition, for the prober that writes it and for the BPF program that recognises it on its
 * way. Ports and addresses would not do for that, since NAT rewrites them; the initial sequence number it leaves alone. Plain C for
 * both sides. */

/* C, so that clang can compile it for BPF: C++'s checks do not apply. NOLINTBEGIN */

/* The lower bits of an initial sequence number are those of the probe's sequence, so that an answer leads to its probe. */
#define SYN_MARK_SEQUENCE_BITS 20
#define SYN_MARK_SEQUENCE_MASK ((1U << SYN_MARK_SEQUENCE_BITS) - 1)

/* The token of a session that both ends know by a number (`diagnose --echo-id`), so that a far host recognises the SYNs. Guessed
 * more easily than a random one: who sees the number can forge answers, as with the identifier of echoes. */
static inline unsigned long long syn_token_of_number(unsigned short number) {
  return 0xd6e8feb86659fd93ULL * (number + 1ULL);
}

/* The others follow from the session's token and these bits, so that they cannot be guessed; 1 of 4,096 foreign numbers looks like
 * a mark. `sequence` needs no more than its lower SYN_MARK_SEQUENCE_BITS. */
static inline unsigned int syn_mark(unsigned long long token, unsigned int sequence) {
  /* The finaliser of MurmurHash3 (public domain): every bit of the result depends on every bit of both. */
  const unsigned int low_bits = sequence & SYN_MARK_SEQUENCE_MASK;
  unsigned long long mixed = token ^ (low_bits * 0x9e3779b97f4a7c15ULL);

  mixed = (mixed ^ (mixed >> 33U)) * 0xff51afd7ed558ccdULL;
  mixed = (mixed ^ (mixed >> 33U)) * 0xc4ceb9fe1a85ec53ULL;
  mixed ^= mixed >> 33U;
  return (mixed & ~SYN_MARK_SEQUENCE_MASK) | low_bits;
}

/* NOLINTEND */

#endif
