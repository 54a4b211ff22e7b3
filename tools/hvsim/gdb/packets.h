// SPDX-License-Identifier: Apache-2.0
// What gdb's packets ask for, and the replies [GDB manual, appendix "Remote Protocol", Packets].
//
// Registers and memory can be read, not written: a run follows from its inputs alone, and so can be carried
// out again to go back. Unknown packets get the empty reply, wrong ones an error; none is trusted.
#ifndef TOOLS_HVSIM_GDB_PACKETS_H
#define TOOLS_HVSIM_GDB_PACKETS_H

#include "tools/hvsim/gdb/regs.h"
#include "tools/hvsim/gdb/rsp.h"
#include <stdio.h>

// As in Z packets.
enum gdb_stop_kind { GDB_SOFTWARE, GDB_HARDWARE, GDB_WRITE, GDB_READ, GDB_ACCESS, GDB_STOP_KINDS };
#define GDB_STOPS_MAX 256u
struct gdb_stop {
    enum gdb_stop_kind kind;
    uint64_t address, size;
};

// An access that a watchpoint asks for.
struct gdb_hit {
    bool set;
    uint8_t kind; // enum gdb_stop_kind
    uint64_t address;
};

// Of the conversation; survives the process that has it (history.h).
struct gdb_state {
    bool no_ack;
    unsigned current;  // Thread of the last stop, from 1
    unsigned selected; // By H: of registers and memory
    unsigned moving;   // By H: of steps
    unsigned stepping; // Of the step to be made
    struct gdb_stop stops[GDB_STOPS_MAX];
    unsigned stop_count;
    char stopped[128]; // The last stop reply
};

// Whom they are asked of. Threads count from 1.
struct gdb_target {
    void *ctx;
    unsigned threads;
    const struct gdb_regs *(*regs)(void *ctx, unsigned thread);
    // Reads at most `size` bytes of memory; how many there were from `address` on.
    size_t (*read)(void *ctx, unsigned thread, uint64_t address, void *to, size_t size);
    void (*describe)(void *ctx, unsigned thread, char *text, size_t size);
    // A command of the user's; what it says goes to `out`.
    void (*monitor)(void *ctx, unsigned thread, const char *command, FILE *out);
};

enum gdb_verdict {
    GDB_STAY, // The reply is to be sent.
    GDB_CONTINUE,
    GDB_STEP,
    GDB_BACK_CONTINUE,
    GDB_BACK_STEP,
    GDB_DETACH, // After the reply
    GDB_KILL,
};
struct gdb_reply {
    size_t length;
    char text[RSP_TEXT_MAX + 1];
    char *said; // By a monitor command: to be sent before the reply, and freed
};

// `text` is followed by a 0. *reply is filled where something is to be sent: always but for continuing, steps
// and 'k'.
enum gdb_verdict gdb_packet(struct gdb_state *s, const struct gdb_target *t, const char *text, size_t length,
                            struct gdb_reply *reply);

#endif
