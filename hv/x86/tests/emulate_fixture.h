// SPDX-License-Identifier: Apache-2.0
// A guest in machine code whose instructions the core carries out: a VM (vm_fixture.h) in a mode of the
// test's choice, with page tables that map linear addresses below 1 GiB to themselves, and a device.
#ifndef HV_X86_TESTS_EMULATE_FIXTURE_H
#define HV_X86_TESTS_EMULATE_FIXTURE_H

#include "hv/x86/tests/vm_fixture.h"

// Guest-physical layout. Nothing but the device is beyond the memory's end.
enum {
    G_GDT = 0x1000,
    G_TABLES = 0x10000, // PML4, PDPT, PD, PT of the first 2 MiB.
    G_CODE = 0x20000,
    G_DATA = 0x30000,
    G_STACK = 0x40000, // Top.
    G_DEVICE = 0x8000000,
    G_DEVICE_BYTES = 0x2000,
};

enum guest_mode { GUEST_REAL, GUEST_PROT32, GUEST_LONG };

// What the device was asked, in order.
struct device_access {
    bool write;
    u32 len;
    u64 at, value; // Offset in the device.
};
struct emulated {
    struct hv_regs *regs;   // For HV_SET_REGS before, as HV_GET_REGS gives them after.
    struct hv_sregs *sregs; // Likewise.
    u8 device[G_DEVICE_BYTES];
    struct device_access accesses[64];
    unsigned access_count;
    // The exception that the instruction raised: VM-entry interruption information, 0 for none, and its code.
    u32 intr_info, error_code;
};
extern struct emulated m;

// Inside with_vm()'s body: sets the mode up; registers as after it: RIP G_CODE, RSP G_STACK, flags 2.
void guest_setup(enum guest_mode mode);
// Guest memory.
void guest_store(u64 gpa, const void *bytes, unsigned count);
u64 guest_load(u64 gpa, unsigned bytes);
// The instruction `code` at m.regs->rip, done by the core, device accesses answered. m has what came of it;
// user's exit reason: HV_EXIT_SHUTDOWN where all went well (the script's end).
void guest_emulate(const u8 *code, unsigned count);
#define EMULATE(...) guest_emulate((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))
// An exit that `exit` makes, with registers as m.regs and m.sregs say, until the guest runs again.
void guest_one_exit(guest_step exit);
// PTE of the 4 KiB page at `linear` (below 2 MiB).
void guest_map(u64 linear, u64 pte);

#endif
