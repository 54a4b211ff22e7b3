// SPDX-License-Identifier: Apache-2.0
// The vCPUs of machine-code guests and their memory, as they are at this moment. Looking takes no simulated
// time and changes nothing.
#ifndef TOOLS_HVSIM_GDB_VIEW_H
#define TOOLS_HVSIM_GDB_VIEW_H

#include "sim/machine/machine.h"
#include "tools/hvsim/gdb/packets.h"
#include <stdio.h>

struct vmx; // models/cpu/x86/vmx_state.h

#define VIEW_REASONS 128u // Basic exit reasons

struct view_vcpu {
    uint32_t vm, vcpu;
    const struct pcpu *cpu; // That it ran on last; NULL: it has never been entered
    bool in_guest;
    struct gdb_regs regs;      // At the last exit, or as view_regs() found them in the guest
    uint64_t begun, begun_rip; // Position and RIP of its last instruction
    uint64_t instructions;
    bool unfinished; // That instruction is to be begun again if RIP is still this:
    uint64_t unfinished_rip;
    struct gdb_hit hit; // By that instruction: the stop is before its next one
    uint64_t exits[VIEW_REASONS];
    uint32_t last_reason;
};

enum view_space { VIEW_VIRTUAL, VIEW_PHYSICAL, VIEW_HOST };

struct view {
    const struct sim_machine *machine;
    const struct scenario *scenario;
    struct view_vcpu *vcpus; // Of all VMs with an image, in order; thread n is vcpus[n - 1]
    uint32_t count;
    uint32_t first[SCENARIO_VMS_MAX]; // Index of a VM's first
    enum view_space space;            // Of reads
};

// False: no VM of the scenario boots an image.
bool view_open(struct view *v, const struct sim_machine *m, const struct scenario *s);
void view_close(struct view *v);
// The vCPU that executes on `c`; NULL: none of these.
struct view_vcpu *view_of(const struct view *v, const struct pcpu *c);

// Linear address of the instruction at RIP.
uint64_t view_pc(const struct vmx *v);
// Registers of the machine code that `c` executes in non-root operation.
void view_capture(struct gdb_regs *r, const struct pcpu *c);
// Registers of thread `thread`: those it has in the guest, or with which it left it. Zeros before its first
// entry.
const struct gdb_regs *view_regs(void *view, unsigned thread);
// struct gdb_target's: memory in v->space.
size_t view_read(void *view, unsigned thread, uint64_t address, void *to, size_t size);
size_t view_read_in(const struct view *v, unsigned thread, enum view_space space, uint64_t address, void *to,
                    size_t size);
// "vm 0 vCPU 1: in the guest".
void view_describe(void *view, unsigned thread, char *text, size_t size);

// A monitor command.
void view_monitor(void *view, unsigned thread, const char *command, FILE *out);

#endif
