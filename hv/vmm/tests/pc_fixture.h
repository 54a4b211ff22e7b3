// SPDX-License-Identifier: Apache-2.0
// A VM of the user-space VMM with a PC's devices, on system calls and memory of a few lines.
#ifndef HV_VMM_TESTS_PC_FIXTURE_H
#define HV_VMM_TESTS_PC_FIXTURE_H

#include "hv/vmm/pc.h"
#include "tests/shim/shim.h"

#define MIB (1ull << 20)
#define PC_VCPUS 3u

extern u8 memory[2 * MIB]; // The guest's, from address 0 on.
extern struct vmm_vm vm;   // Its number is 5.

// What the devices did since make(), and what time it is.
struct pc_core {
    u64 now_ns;
    char console[64];
    u32 console_length;
    u32 console_vm;
    u32 typed[32]; // Words of port INPUT that the terminal has for the UART, ended by 0.
    u32 typed_next;
    u32 inputs, lost; // Events guest_input.
    u8 line[24];
    u32 line_changes;
    u32 raised[24]; // How often each rose.
    enum guest_end how;
    u64 code;
    u32 ends;
    u64 freed;
    struct hv_msi msi;
    u32 msis;
    u32 wakes;
    u32 not_modelled;
};
extern struct pc_core core;

// A VM as it is before its vCPUs start; somebody types at the console of the second kind.
void make(void);
void make_typed(const u32 *words, u32 count);
// A guest's accesses of 1, 2, 4 or (memory) 8 bytes. Somebody must be there.
void out(u16 port, u64 value, u32 size);
u64 in(u16 port, u32 size);
void store(u64 gpa, u64 value, u32 size);
u64 load(u64 gpa, u32 size);
// Lets time pass up to `ns` since boot as the threads of devices see it: each expires when it wants to.
void pass_until(u64 ns);

#endif
