// SPDX-License-Identifier: Apache-2.0
// What the files of the emulator share. vCPU loaded, srcu read section held.
//
// A function that returns bool says whether to go on. False: v->emu.stop tells why not, and nothing of the
// guest has changed but memory below what faulted; the instruction is done again from its start or given up.
// Instructions read before they write: a second try finds what the first one found (emulation.reads).
#ifndef HV_X86_EMULATE_INTERNAL_H
#define HV_X86_EMULATE_INTERNAL_H

#include "hv/hw/guest.h"
#include "hv/x86/alu.h"
#include "hv/x86/exits.h"
#include "hv/x86/guest_walk.h"

// First argument of the tracepoint kvm_mmio.
enum { MMIO_UNSATISFIED_READ = 0, MMIO_READ = 1, MMIO_WRITE = 2 };

typedef bool (*emu_function)(struct x86_vcpu *v);
#define INSN(name, function) bool function(struct x86_vcpu *v);
#include "hv/x86/insns.def"

// --- Ends of an instruction; all false.
bool emu_fault(struct x86_vcpu *v, u8 vector);
bool emu_fault_e(struct x86_vcpu *v, u8 vector, u32 error_code);
bool emu_unhandled(struct x86_vcpu *v);
// Somebody else has done it, RIP included: `result` is the exit handler's.
bool emu_result(struct x86_vcpu *v, int result);

// --- Registers, as the instruction sees them so far.
u64 emu_reg(struct x86_vcpu *v, unsigned n);
// Smaller than 4 bytes: the rest stays; 4: the upper half becomes 0 (SDM vol. 1, 3.4.1.1).
void emu_set_reg(struct x86_vcpu *v, unsigned n, unsigned bytes, u64 value);
static inline bool emu_protected(const struct x86_vcpu *v)
{
    return v->emu.mode >= EMU_PROT16;
}
// Of the stack pointer: 2, 4, 8 (SDM 6.2.3 of volume 1).
unsigned emu_stack_bytes(struct x86_vcpu *v);
unsigned emu_code_bytes(const struct x86_vcpu *v); // Of the instruction pointer.
// The instruction pointer becomes `rip`: canonical, within CS, else #GP(0).
bool emu_jump(struct x86_vcpu *v, u64 rip);

// --- Memory. Sizes up to 16 bytes; `access` as guest_walk(), without PFERR_USER: that is added by CPL.
bool emu_linear(struct x86_vcpu *v, unsigned segment, u64 offset, unsigned bytes, u32 access, u64 *linear);
bool emu_translate(struct x86_vcpu *v, u64 linear, u32 access, u64 *gpa);
bool emu_read(struct x86_vcpu *v, u64 linear, void *to, unsigned bytes, u32 access);
bool emu_write(struct x86_vcpu *v, u64 linear, const void *from, unsigned bytes, u32 access);
bool emu_read_at(struct x86_vcpu *v, unsigned segment, u64 offset, unsigned bytes, u64 *value);
bool emu_write_at(struct x86_vcpu *v, unsigned segment, u64 offset, unsigned bytes, u64 value);

void emu_trace_mmio(unsigned type, const struct mmio_fragment *f);

// --- Operands.
u64 emu_effective_address(struct x86_vcpu *v);
bool emu_operand_linear(struct x86_vcpu *v, const struct operand *o, u32 access, u64 *linear);
bool emu_get(struct x86_vcpu *v, const struct operand *o, u64 *value);
// A destination that is read and written: a fault of the write comes before the read.
bool emu_get_rmw(struct x86_vcpu *v, const struct operand *o, u64 *value);
// After emu_get_rmw() of a locked instruction: in one step with it.
bool emu_put(struct x86_vcpu *v, const struct operand *o, u64 value);

// --- Stack.
bool emu_push_value(struct x86_vcpu *v, u64 value, unsigned bytes);
bool emu_pop_value(struct x86_vcpu *v, unsigned bytes, u64 *value);

// --- Segments, far transfers, interrupts (emulate_segment.c).
enum emu_load { LOAD_DATA, LOAD_JMP, LOAD_CALL, LOAD_RET, LOAD_IRET, LOAD_TASK, LOAD_INTERRUPT };
// Segment register `s` as `selector` makes it, after all checks of the instruction's kind; the descriptor is
// then marked (accessed, busy). emu_load_segment() puts it into the register besides.
bool emu_check_segment(struct x86_vcpu *v, u16 selector, enum x86_segment s, enum emu_load kind, unsigned cpl,
                       struct hv_segment *out);
bool emu_load_segment(struct x86_vcpu *v, u16 selector, enum x86_segment s, enum emu_load kind, unsigned cpl);
// Descriptor of `selector`; false: #GP(selector) outside of its table, or a fault on the way. *at: where.
bool emu_read_descriptor(struct x86_vcpu *v, u16 selector, u8 vector, u64 *descriptor, u64 *at);
void emu_segment_from_descriptor(u64 descriptor, u16 selector, struct hv_segment *s);
bool emu_far_pointer(struct x86_vcpu *v, const struct operand *o, u16 *selector, u64 *offset);
u64 emu_writable_flags(struct x86_vcpu *v, unsigned bytes); // By POPF and IRET.
// INT of real mode through the vector table at IDTR (SDM 20.1.4); `rip`: to return to.
bool emu_real_interrupt(struct x86_vcpu *v, u8 vector, u64 rip);

// The same in protected mode, to a handler of the same privilege; with `error_code` unless NULL. `soft`: INT
// n, whose gate has a privilege.
bool emu_protected_interrupt(struct x86_vcpu *v, u8 vector, bool soft, const u32 *error_code, u64 rip);

// --- For what is no instruction (task_switch.c, real mode's events).

// As at the start of an instruction of `length` bytes, of which emulation.rip is then the end.
void emu_begin_task(struct x86_vcpu *v, unsigned length);
// General registers, RIP and RFLAGS become the guest's.
void emu_commit_task(struct x86_vcpu *v);
// What follows from emulation.stop, as exit handlers.
int emu_stopped(struct x86_vcpu *v);

// IN or OUT of `bytes` at `port` allowed (SDM vol. 1, 18.5)?
bool emu_io_allowed(struct x86_vcpu *v, u16 port, unsigned bytes);

#endif
