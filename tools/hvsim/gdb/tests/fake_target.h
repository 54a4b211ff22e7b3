// SPDX-License-Identifier: Apache-2.0
/* Two threads with nothing behind them: thread n's RAX is n, memory at address a is a's low byte, 0x1000 to
 * 0x1fff. */
#ifndef TOOLS_HVSIM_GDB_TESTS_FAKE_TARGET_H
#define TOOLS_HVSIM_GDB_TESTS_FAKE_TARGET_H

#include "tools/hvsim/gdb/packets.h"

struct gdb_target fake_target(void);

#endif
