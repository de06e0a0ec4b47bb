/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_THREAD_NAME_H
#define STALLSCOPE_TRACE_THREAD_NAME_H

/* Which kernel threads receive packets, by their names. Plain C for both sides, so that a test can hold it against a running
 * kernel's names: a misspelt one is found nowhere else. */

#include "trace/wait_record.h"

/* C, so that clang can compile it for BPF: C++'s checks do not apply. NOLINTBEGIN */

/* The first eight characters of a name as a word of a little-endian CPU, so that they are compared in one step. */
#define TRACE_NAME_WORD(a, b, c, d, e, f, g, h)                                                                           \
  ((0ULL + (a)) | (0ULL + (b)) << 8 | (0ULL + (c)) << 16 | (0ULL + (d)) << 24 | (0ULL + (e)) << 32 | (0ULL + (f)) << 40 | \
   (0ULL + (g)) << 48 | (0ULL + (h)) << 56)

/* Of a kernel thread: ksoftirqd/CPU (kernel/softirq.c) and napi/DEVICE-ID (net/core/dev.c, Linux 5.12, commit 29863d41bb6e). */
static inline enum trace_thread trace_thread_of_name(__u64 first_eight) {
  if (first_eight == TRACE_NAME_WORD('k', 's', 'o', 'f', 't', 'i', 'r', 'q'))
    return TRACE_THREAD_KSOFTIRQD;
  if ((first_eight & 0xffffffffffULL) == TRACE_NAME_WORD('n', 'a', 'p', 'i', '/', 0, 0, 0))
    return TRACE_THREAD_NAPI;
  return TRACE_THREAD_OTHER;
}

/* NOLINTEND */

#endif
