// SPDX-License-Identifier: Apache-2.0
// A run under gdb: where it stops, what gdb hears then, and how it goes on.
//
// The simulation stands still, in host time only, inside of the observer's functions; simulated time and the
// digest are those of the run without gdb. See history.h for the way back.
#ifndef TOOLS_HVSIM_GDB_SESSION_H
#define TOOLS_HVSIM_GDB_SESSION_H

#include "models/cpu/x86/observer.h"
#include "tools/hvsim/gdb/history.h"
#include "tools/hvsim/gdb/server.h"
#include "tools/hvsim/gdb/view.h"

enum session_mode {
    SESSION_WAITING, // For gdb, before the first instruction
    SESSION_LIVE,
    SESSION_SCANNING,
    SESSION_SEEKING,
    SESSION_OVER, // gdb has gone: the run goes on by itself, or ends
};

struct session {
    struct guest_observer observer; // First: its functions get this address.
    struct history history;
    struct server server;
    struct view view;
    struct sim_machine *machine;
    enum session_mode mode;
    uint64_t position;   // Instructions begun
    bool at_instruction; // The stop is before an instruction; else between two
    unsigned stepping;   // Thread whose next instruction is a stop; 0: none
    uint64_t next_look;  // Positions before it need no look unless the filter says so, or `look` ...
    uint64_t filter;     // ... bit a % 64: there may be a breakpoint at address a
    bool look;           // Look at each
    uint64_t next_snapshot, next_poll;
    uint64_t console_bytes; // That the guests have sent so far
    bool killed;            // By gdb
};

// `server` is open, `history` begun; the machine belongs to the caller. False: no VM of the scenario has
// machine code.
bool session_open(struct session *s, struct sim_machine *m, const struct scenario *scenario);
void session_close(struct session *s);

// For struct machine_run's functions.
void session_attention(struct session *s);
void session_end(struct session *s);
// May this byte of the console be written? False: it was, before gdb went back.
bool session_console(struct session *s);
// The run is over with this status of the command: gdb is told.
void session_exited(struct session *s, int status);

#endif
