// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lab/faults/fault.h"

namespace stallscope::lab::unread_socket {

/// A server does not read what its socket receives: packets are delivered in time, and dropped once the socket is full.
extern const Fault fault;

}  // namespace stallscope::lab::unread_socket
