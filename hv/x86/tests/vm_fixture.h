// SPDX-License-Identifier: Apache-2.0
// A virtual machine of one vCPU on the fake hardware: tests write the guest as a function that fills exit
// fields in.
//
// Everything here runs inside fake_run(): with_vm() boots a host, makes the VM as user space does, and calls
// the body in user mode.
#ifndef HV_X86_TESTS_VM_FIXTURE_H
#define HV_X86_TESTS_VM_FIXTURE_H

#include "hv/api.h"
#include "hv/tests/fake_hw.h"
#include "hv/x86/exits.h"
#include "tests/shim/shim.h"

struct test_vm {
    int vm, vcpu; // Handles.
    u64 memory;   // User address of slot 0 at gpa 0.
    u64 memory_bytes;
    struct hv_run *run;
    struct x86_vcpu *v; // White box.
};
extern struct test_vm t;

struct test_vm_options {
    bool irqchip;
    u64 memory_bytes;     // 0: 4 MiB
    unsigned page_shift;  // 0: 12
    u64 dirty_ring_bytes; // 0: no rings
    const struct knobs *knobs;
};
// 0 or what fake_run() gives. The body's VM is `t`; it is gone afterwards.
int with_vm(const struct test_vm_options *options, void (*body)(void));

// Guest side: what the exit under construction shows.
void guest_exit(u32 reason, u64 qualification, u64 insn_len);
// Runs until user space is needed: HV_RUN's result; t.run->exit_reason.
s64 run_vm(void);
// How many entries since with_vm() began.
u64 guest_entries(void);

// A guest that does one step of the script per entry; when it ends, exits with TRIPLE_FAULT (user space:
// SHUTDOWN).
typedef void (*guest_step)(struct hw_gprs *r);
void script_guest(const guest_step *steps, u32 count);

// From now on instructions and operands are in the VM's memory, which the core walks and reads itself.
void guest_is_machine_code(void);

// Bytes of the guest's current instruction, for hw_guest_fetch().
void guest_instruction(const u8 *bytes, unsigned count);

// Memory operand of the guest's current instruction, for hw_guest_read_operand(), at whatever address but 0.
void guest_operand(u64 low, u64 high);

#endif
