// SPDX-License-Identifier: Apache-2.0
// VMX of one processor: current VMCS, the guest that runs, the exit being made. Private to models/cpu/x86.
#ifndef MODELS_CPU_X86_VMX_STATE_H
#define MODELS_CPU_X86_VMX_STATE_H

#include "hv/hw/vmx.h"
#include "models/cpu/pcpu.h"
#include "models/cpu/x86/segment.h"
#include "models/cpu/x86/x87.h"
#include "models/mmu/mmu.h"
#include "spec/exit_reasons.h"
#include "spec/vm_errors.h"
#include "spec/vmcs.h"
#include "spec/vmx_controls.h"
#include <string.h>

#define VMX_NO_POINTER UINT64_MAX
#define VMX_REGION_BYTES 4096u

// --- The VMCS. ---
//
// The region in host memory is the storage: software that copies, corrupts or frees one meets what silicon
// would do.
//
//  byte 0            4               8             12          16            24        32
// +----------------+---------------+-------------+-----------+-------------+---------+------------------+
// | S | revision   | VMX abort     | launch state| owner     | VMXON epoch |    0    | fields, packed   |
// +----------------+---------------+-------------+-----------+-------------+---------+------------------+
//  owner: index + 1 of the processor on which it is active, 0: none; VMXON epoch: of the VMLAUNCH.
enum { VMCS_LAUNCH_STATE = 8, VMCS_OWNER = 12, VMCS_EPOCH = 16, VMCS_FIELDS = 32 };
enum { LAUNCH_CLEAR = 0, LAUNCH_LAUNCHED = 1 };

struct vmcs_layout {
    uint16_t offset[VMCS_SLOTS]; // In the region; 0: the processor does not have the field
    uint16_t bytes;              // Used of the region
    uint16_t checked_end; // From VMCS_FIELDS up to here: all that the checks of VM entry look at, but RIP
};

struct vmcs_ref {
    uint64_t hpa;       // VMX_NO_POINTER: none
    unsigned char *mem; // The region
};

// --- An exit. ---

struct vmexit {
    uint32_t reason; // With bit 31 for entry failures
    uint32_t intr_info, intr_error;
    uint32_t idt_info, idt_error;
    uint32_t insn_length, insn_info;
    bool has_linear, has_gpa;
    uint64_t qualification, linear, gpa;
    uint64_t io_rcx, io_rsi, io_rdi, io_rip;
};

// Controls of the VM entry, with those of an inactive field as 0.
struct vmx_controls {
    uint32_t pin, cpu, cpu2, exit, entry;
    uint32_t exceptions;
};

struct entry_rule;     // entry_checks.h
struct interp;         // interp/interp.h
struct guest_observer; // observer.h

// The result of the last arithmetic instruction, from which its flags can be had (SDM vol. 1 3.4.3.1).
struct lazy_flags {
    bool on;          // False: rflags has them all
    uint8_t bits;     // Of the operands
    uint8_t cf;       // 0 or 1
    uint64_t carries; // Carry or borrow out of each bit
    int64_t result;   // Sign-extended
};

// What the last successful checks of a VM entry looked at: as long as it is the same, they would succeed
// again.
#define ENTRY_MEMOS 4u // By the VMCS's address
#define ENTRY_MEMO_BYTES 1280u
struct entry_memo {
    bool valid;
    uint64_t host_cr4, host_efer;
    unsigned char fields[ENTRY_MEMO_BYTES];
};

struct vmx {
    struct pcpu *cpu;                // Whose it is
    struct interp *interp;           // interp/interp.h: decoded code
    struct guest_observer *observer; // observer.h; NULL: nobody watches
    bool on;                         // Between VMXON and VMXOFF
    bool in_guest;                   // Non-root operation
    uint64_t vmxon_pointer;
    uint64_t epoch; // Number of VMXONs
    struct vmcs_ref current;
    struct vmcs_ref shadow; // By the VMCS link pointer, while in a guest with VMCS shadowing
    struct vmcs_layout layout;
    uint64_t msr_bitmap, io_bitmap_a, io_bitmap_b, vapic; // Host physical, of the current guest

    // Registers in non-root operation; CRs, DRs and MSRs are x86_state's, which a guest shares with root
    // mode.
    struct hw_gprs gpr; // r[4] is RSP, which VM entry and exit load and save
    // Neither VM entry nor exit touches these; streams do not use them.
    uint64_t xmm[16][2];
    uint32_t mxcsr;
    struct x87 x87;
    uint64_t rip, rflags;
    uint32_t blocking; // As GUEST_INTERRUPTIBILITY_INFO
    uint32_t activity;
    uint64_t pending_debug;
    bool mtf_pending;
    struct vmx_controls ctl;
    uint64_t timer_start_tsc; // Of the VMX-preemption timer
    uint64_t timer_at_ticks;  // When it expires
    uint32_t timer_value;
    uint64_t ple_first_tsc, ple_last_tsc;
    // In the optimized state of MWAIT, which GUEST_ACTIVITY_STATE never shows (SDM 24.4.2). `masked`:
    // interrupts end it even where RFLAGS.IF blocks them (ECX bit 0); `asleep`: time has passed in it.
    bool mwait, mwait_masked, mwait_asleep;
    bool tpr_check;         // TPR virtualization is to be looked at before the next instruction
    bool virtual_interrupt; // A virtual interrupt is recognized (SDM 29.2.1)
    uint32_t delivering_info, delivering_error, delivering_length; // The event being delivered; info 0: none

    // Of machine code only (guest == NULL): loaded at entry, saved at exit (segment.h).
    struct segment seg[SEGMENTS];
    struct descriptor_table gdtr, idtr;
    bool plain_stale;       // A segment has changed since segments_plain().
    bool alignment;         // Of data is checked: ring 3, CR0.AM, RFLAGS.AC (guest_space_cpl())
    struct lazy_flags lazy; // interp/flags.h: arithmetic flags that rflags does not have yet

    struct replay_guest *guest;  // The program that runs; NULL: machine code
    bool linear;                 // Its addresses are linear, not guest-physical
    bool delivered;              // An event went through the IDT at this boundary
    bool behind;                 // Machine code: something is to be looked at behind this instruction
    bool element;                // INSN_AGAIN is of a string instruction: a trap follows each element
    bool trap_held;              // SYSCALL has cleared RFLAGS.TF: no single-step trap follows it
    uint32_t trap_exit;          // Reason of an exit that follows the current instruction (0: none) ...
    uint64_t trap_qualification; // ... and its qualification
    bool look_again;             // Something changed: higher priorities are to be looked at first
    bool exit_pending;           // v->exit is to be made
    uint64_t exit_begin_ticks, exit_tsc;
    struct vmexit exit;
    const struct entry_rule *failed_rule; // Of the last VM entry; NULL: none
    struct entry_memo memos[ENTRY_MEMOS];
    bool entry_known; // The VM entry being made has been found in the memo
    uint64_t exit_count;
};

void vmx_create(struct pcpu *c);
void vmx_reset(struct pcpu *c);
void vmx_destroy(struct vmx *v);
// CR0 bits that guests with "unrestricted guest" may clear although they are fixed (SDM 23.8).
uint64_t vmx_cr0_freed(const struct pcpu *c);

// --- vmcs.c ---

void vmcs_layout_make(struct vmcs_layout *l, const struct uarch *u);
static inline uint32_t vmcs_header32(const struct vmcs_ref *r, unsigned offset)
{
    uint32_t value;

    memcpy(&value, r->mem + offset, 4);
    return value;
}
static inline void vmcs_set_header32(const struct vmcs_ref *r, unsigned offset, uint32_t value)
{
    memcpy(r->mem + offset, &value, 4);
}
// Reads a field by its full encoding; 0 where the processor does not have it. `enc` is a constant in most
// callers.
static inline uint64_t vmcs_get_ref(const struct vmx *v, const struct vmcs_ref *r, uint32_t enc)
{
    unsigned offset = v->layout.offset[VMCS_SLOT(enc)];
    uint64_t value = 0;

    if (offset)
        memcpy(&value, r->mem + offset, VMCS_ENC_BYTES(enc)); // Little endian, as the modelled processor.
    return value;
}
static inline void vmcs_put_ref(const struct vmx *v, const struct vmcs_ref *r, uint32_t enc, uint64_t value)
{
    unsigned offset = v->layout.offset[VMCS_SLOT(enc)];

    if (offset)
        memcpy(r->mem + offset, &value, VMCS_ENC_BYTES(enc));
}
static inline uint64_t vmcs_get(const struct vmx *v, uint32_t enc)
{
    return vmcs_get_ref(v, &v->current, enc);
}
static inline uint32_t vmcs_get32(const struct vmx *v, uint32_t enc)
{
    return (uint32_t)vmcs_get(v, enc);
}
static inline void vmcs_put(const struct vmx *v, uint32_t enc, uint64_t value)
{
    vmcs_put_ref(v, &v->current, enc, value);
}
// VMREAD and VMWRITE of any 64-bit encoding, high halves included: VMERR_NONE, UNSUPPORTED_COMPONENT (12) or,
// for writes where the processor forbids it, VMWRITE_READ_ONLY (13).
enum vm_error vmcs_access_read(const struct vmx *v, const struct vmcs_ref *r, uint64_t enc, uint64_t *value);
enum vm_error vmcs_access_write(const struct vmx *v, const struct vmcs_ref *r, const struct uarch *u,
                                uint64_t enc, uint64_t value);

// --- vmx.c ---

// The region at `hpa`, or a ref with mem NULL where there is no such memory.
struct vmcs_ref vmcs_ref_at(const struct pcpu *c, uint64_t hpa);

// --- entry.c, exit.c, nonroot.c, events.c ---

// Loads the guest of the current VMCS; false: an entry failure is in v->exit, nothing of the guest was loaded
// that would survive.
bool vmx_load_guest(struct pcpu *c);
// MSR areas (SDM 26.4, 27.4, 27.6). Number of the failing entry from 1, 0: none.
uint32_t vmx_load_msrs(struct pcpu *c, uint64_t area, uint32_t count, bool exit);
uint32_t vmx_store_msrs(struct pcpu *c, uint64_t area, uint32_t count);
// Completes v->exit: saves the guest (not after an entry failure), loads the host (SDM 27.2 to 27.6).
void vmx_do_exit(struct pcpu *c);
// Runs the guest until v->exit is to be made.
void vmx_run_guest(struct pcpu *c);

// Starts an exit of the given reason, everything else 0.
struct vmexit *vmx_exit_begin(struct pcpu *c, uint32_t reason);
// An event at an instruction boundary: true if it makes an exit (in v->exit). May deliver others to the
// guest.
bool vmx_boundary(struct pcpu *c);
// Delivers through the guest's IDT, with the faults of delivery (SDM 6.14, 25.4.1): true if that makes an
// exit. `info` as VM_ENTRY_INTR_INFO_FIELD.
bool vmx_deliver(struct pcpu *c, uint32_t info, uint32_t error, uint32_t length);
// An exception that the current instruction raises: exception bitmap, then delivery. True: exit. `detail`:
// the address of #PF, DEBUG_INFO_* of #DB.
bool vmx_exception(struct pcpu *c, unsigned vector, uint32_t error, uint64_t detail);
// The same for INT3, INTO and INT1, of `type` INTR_TYPE_SOFT_EXCEPTION or INTR_TYPE_PRIV_SOFT_EXCEPTION,
// whose instruction has `length` bytes.
bool vmx_software_exception(struct pcpu *c, uint32_t type, unsigned vector, unsigned length);
// An instruction is done: traps that follow it (SDM 6.9, 25.5.2). `blocking` and `rflags` are those before
// it, `branched` says whether it was a taken branch. True: v->exit is to be made.
bool vmx_retired(struct pcpu *c, uint32_t blocking, uint64_t rflags, bool branched);

// IRET ends blocking by NMI, virtual where NMIs are virtual (SDM 25.3).
void vmx_unblock_nmi(struct pcpu *c);
// Ends the optimized state of MWAIT, if the guest is in it: what comes next does after the time to wake up.
void vmx_mwait_end(struct pcpu *c);

// Processes what passed-in time may have brought, without letting any pass.
void vmx_sync(struct pcpu *c);
// TSC as the guest reads it.
uint64_t vmx_guest_tsc(const struct pcpu *c);

// --- vapic.c: SDM ch. 29 ---

#define VAPIC_NONE 0xffffffffu
uint32_t vapic_read(struct pcpu *c, uint32_t offset);
void vapic_write(struct pcpu *c, uint32_t offset, uint32_t value);
// At VM entry (SDM 26.3.2.5) and after posted interrupts: PPR, then recognition of pending virtual
// interrupts.
void vapic_entry(struct pcpu *c);
// Delivers the recognized virtual interrupt (SDM 29.2.2). True: exit.
bool vapic_deliver(struct pcpu *c);
// Posted-interrupt processing of the notification vector (SDM 29.6).
void vapic_posted(struct pcpu *c);
// TPR, EOI and self-IPI virtualization after a write by the guest. Exits they make follow the instruction.
bool vapic_write_tpr(struct pcpu *c);
bool vapic_write_eoi(struct pcpu *c);
void vapic_self_ipi(struct pcpu *c, uint8_t vector);
// What a guest access of the APIC-access page does (SDM 29.4): true: exit. `value` in and out.
bool vapic_page_access(struct pcpu *c, uint32_t offset, unsigned size, unsigned access, uint64_t *value);
// RDMSR, WRMSR of 800H..8FFH under "virtualize x2APIC mode" (SDM 29.5): handled says whether they were
// virtual.
bool vapic_read_msr(struct pcpu *c, uint32_t msr, uint64_t *value, bool *handled);
bool vapic_write_msr(struct pcpu *c, uint32_t msr, uint64_t value, bool *handled);

// --- guest_space.c: what translates the guest's addresses ---

// The processor's memory-management unit, once.
void guest_mem_create(struct pcpu *c);
// Translation follows CR0, CR3, CR4, PDPTE registers, IA32_EFER, PKRU and VMCS from now on: after VM entry,
// and after whatever else changes one of them but the functions below. CPL and RFLAGS.AC are for
// guest_space_cpl() and guest_space_ac() (x86_state.h) to say.
void guest_space_load(struct pcpu *c);
// PDPTE registers of PAE paging at VM entry, from the VMCS or, without EPT, from memory (SDM 26.3.2.4),
// before guest_space_load(); at VM exit, to the VMCS (SDM 27.3.4).
void guest_pdptes_load(struct pcpu *c);
void guest_pdptes_save(struct pcpu *c);

// What the guest's own instructions do to translation (SDM 4.10.4.1).
void guest_tlb_invlpg(struct pcpu *c, uint64_t linear);
// INVPCID of a legal type.
void guest_tlb_invpcid(struct pcpu *c, uint64_t type, uint16_t pcid, uint64_t linear);

// What became of an access.
enum guest_access { GUEST_DONE, GUEST_EXIT, GUEST_FAULT }; // FAULT: an exception was delivered to the guest

// MOV to CR0, CR3 (with bit 63) or CR4 in non-root operation, of the value that the register is to have:
// exits by masks and shadows are decided, and bits that the host owns are merged in. All else is done:
// #GP(0), loading of PDPTEs, IA32_EFER.LMA, invalidation, guest_space_load(). Also for LMSW, and for CR3 in a
// task switch. Not DONE: nothing was written. No time but that of the PDPTEs' loads.
enum guest_access guest_mov_to_cr(struct pcpu *c, unsigned n, uint64_t value);

// --- guest_mem.c: accesses of the guest ---

// With the bits of an access (enum ept_access): the processor's own, of GDT, LDT, IDT or TSS. Supervisor-mode
// whatever CPL is, and whatever RFLAGS.AC is (SDM 4.6.1: implicit supervisor-mode accesses).
#define GUEST_SYSTEM 8u

// Translates. `address` is linear where the guest's program says so and for machine code, else
// guest-physical. DONE: *hpa is valid.
enum guest_access guest_translate(struct pcpu *c, uint64_t address, unsigned access, uint64_t *hpa);
// Translates a guest-physical address that is nobody's linear one: PDPTEs that MOV to CR loads.
enum guest_access guest_translate_physical(struct pcpu *c, uint64_t gpa, uint64_t *hpa);
// Reads or writes `size` (1..16) bytes. DONE: all were; else none.
enum guest_access guest_access(struct pcpu *c, uint64_t address, unsigned size, unsigned access, void *bytes);

// A locked read-modify-write of `size` (1..16) bytes. Begin makes all checks of a read and a write, and takes
// the time; DONE: the bytes at `p` are the old value, and the caller may write there what it wants before it
// calls end, with nothing in between. End of an access to memory is always DONE.
struct guest_rmw {
    unsigned char *p;
    uint64_t address;
    unsigned size;
    bool apart; // Not one access of memory: a read and a write of `bytes`
    unsigned char bytes[16];
};
enum guest_access guest_rmw_begin(struct pcpu *c, uint64_t address, unsigned size, struct guest_rmw *r);
enum guest_access guest_rmw_end(struct pcpu *c, struct guest_rmw *r);
// Both for programs' operations of at most 8 bytes. *value: what COMPARE expects; the old value.
enum guest_rmw_kind { GUEST_RMW_ADD, GUEST_RMW_EXCHANGE, GUEST_RMW_COMPARE };
enum guest_access guest_rmw(struct pcpu *c, uint64_t address, unsigned size, enum guest_rmw_kind what,
                            uint64_t operand, uint64_t *value);
// Its data: returns the old value.
uint64_t guest_rmw_bytes(unsigned char *p, unsigned size, enum guest_rmw_kind what, uint64_t expected,
                         uint64_t operand);

#endif
