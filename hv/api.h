// SPDX-License-Identifier: Apache-2.0
// What user space may ask of the hypervisor core: KVM's surface in shape, meaning and errors.
//
// Every call is a system call of a user thread; results are >= 0, or a negated error number (hv/lib/errno.h).
// Pointers must lie in the process' own memory: -EFAULT otherwise. On error nothing has changed.
#ifndef HV_API_H
#define HV_API_H

#include "hv/hw/cpu.h"
#include "hv/hw/types.h"

enum hv_syscall {
#define SYSCALL(name, number, about) HV_SYS_##name = number,
#include "hv/api_cmds.def"
};
enum hv_ioctl_cmd {
#define IOCTL(name, number, scope, type, direction, about) HV_##name = number,
#include "hv/api_cmds.def"
};

#define HV_HANDLE_SYSTEM 0
// What every host's wall clock shows when it boots, in seconds since 1970: 2026-01-01 00:00:00 UTC.
#define HV_BOOT_SECONDS 1767225600ull
#define HV_CPU_ANY UINT32_MAX
#define HV_PRIO_NORMAL 1u // Of a thread.
#define HV_PRIO_URGENT 2u
#define HV_USER_MEMSLOTS 509u
#define HV_IRQCHIPS 3u // 0 PIC master, 1 PIC slave, 2 IOAPIC
#define HV_IRQCHIP_PINS 24u
#define HV_IRQ_ROUTES_MAX 4096u

// Flags of HV_SYS_MMAP.
#define HV_MAP_GUEST 0u    // Memory for a VM: a range of host virtual addresses, filled at first touch.
#define HV_MAP_DIRECT 1u   // Heap of the process: contiguous, populated, usable as a pointer.
#define HV_MAP_POPULATE 2u // Guest memory whose pages are all brought in now.

// How HV_SYS_TOUCH reaches a page.
#define HV_TOUCH_READ 0u
#define HV_TOUCH_WRITE 1u
#define HV_TOUCH_RESIDENT 2u // Only if it is there: -ENOENT otherwise.
#define HV_MADV_DONTNEED 0u  // Of HV_SYS_MADVISE_FREE: the pages go at once.
#define HV_MADV_FREE 1u      // They go when memory is short, unless they were touched again.

enum hv_cap {
    HV_CAP_IRQCHIP = 0,
    HV_CAP_USER_MEMORY = 3,
    HV_CAP_NR_VCPUS = 9, // Recommended.
    HV_CAP_NR_MEMSLOTS = 10,
    HV_CAP_MP_STATE = 14,
    HV_CAP_IRQ_ROUTING = 25, // Size of the table.
    HV_CAP_PIT2 = 33,
    HV_CAP_GET_TSC_KHZ = 61, // Rate of the host's time stamp counter, which guests' counters share.
    HV_CAP_MAX_VCPUS = 66,
    HV_CAP_SIGNAL_MSI = 77,
    HV_CAP_READONLY_MEM = 81,
    HV_CAP_SPLIT_IRQCHIP = 121,
    HV_CAP_MAX_VCPU_ID = 128,
    HV_CAP_IMMEDIATE_EXIT = 136,
    HV_CAP_MULTI_ADDRESS_SPACE = 118,
    HV_CAP_X86_DISABLE_EXITS = 143,         // args[0]: HV_DISABLE_EXITS_*, of those that the check returns.
    HV_CAP_MANUAL_DIRTY_LOG_PROTECT2 = 168, // args[0]: HV_DIRTY_LOG_*.
    HV_CAP_HALT_POLL = 182,                 // args[0]: this VM's halt_poll_ns maximum.
    HV_CAP_DIRTY_LOG_RING =
        192, // Bytes of a ring at most; args[0]: bytes of each vCPU's, before the first vCPU.
    HV_CAP_PRE_FAULT_MEMORY = 236,
    HV_CAP_VM_GPA_BITS = 0x4001, // Guest-physical address bits that stage 2 translates: 48 or 57.
    HV_CAP_VM_NUMBER = 0x4000,   // args[0] < 256: the VM's number in traces and towards assigned devices.
};

// --- Memory.
#define HV_MEM_LOG_DIRTY_PAGES 0x1u
#define HV_MEM_READONLY 0x2u
struct hv_user_memory_region {
    u32 slot; // Bits 15:0 id, 31:16 address space.
    u32 flags;
    u64 guest_phys_addr;
    u64 memory_size; // Bytes; 0 deletes.
    u64 userspace_addr;
};
// Options of HV_CAP_MANUAL_DIRTY_LOG_PROTECT2.
#define HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE                                                                   \
    0x1u                                // GET_DIRTY_LOG only reads; CLEAR_DIRTY_LOG clears and protects.
#define HV_DIRTY_LOG_INITIALLY_SET 0x2u // Logging starts with every page dirty; needs the other one.
struct hv_dirty_log {
    u32 slot, padding;
    u64 bitmap; // User pointer to u64 words, a bit per page of the slot.
};
struct hv_clear_dirty_log {
    u32 slot;
    u32 num_pages;  // A multiple of 64, or what is left of the slot.
    u64 first_page; // In the slot; a multiple of 64.
    u64 bitmap;     // User pointer to u64 words: what to clear; bit 0 is first_page.
};
// An entry of a vCPU's dirty ring. The core writes slot and offset, then DIRTY; user space takes the entry
// and sets RESET; HV_RESET_DIRTY_RINGS gives it back to the core.
#define HV_DIRTY_GFN_F_DIRTY 0x1u
#define HV_DIRTY_GFN_F_RESET 0x2u
#define HV_DIRTY_RING_ENTRIES_MAX 65536u
struct hv_dirty_gfn {
    u32 flags;
    u32 slot;   // As in struct hv_user_memory_region.
    u64 offset; // Page in the slot.
};
struct hv_pre_fault_memory {
    u64 gpa, size, flags;
    u64 padding[5];
};

// --- Introspection: a tool is told what vCPUs do, and they wait for its answer.
#define HV_KVMI_EVENT_MSR 1u // A write of an MSR that exits; index and value are its.
#define HV_KVMI_EVENTS HV_KVMI_EVENT_MSR
struct hv_kvmi_event {
    u64 seq;        // Of this VM's messages; the reply names it.
    u32 vcpu, kind; // By index.
    u64 index, value;
};
struct hv_kvmi_reply {
    u64 seq;
    u32 vcpu, padding;
};
struct hv_kvmi_command {
    u32 vcpu, command; // HV_GET_REGS or HV_GET_SREGS, carried out by the waiting vCPU.
    u64 argument;      // As the ioctl's.
};

// --- Interrupts.
struct hv_irq_level {
    u32 irq;   // GSI. On return: > 0 delivered, 0 coalesced, < 0 ignored.
    u32 level; // 0 or 1.
};
#define HV_IRQ_ROUTING_IRQCHIP 1u
#define HV_IRQ_ROUTING_MSI 2u
struct hv_irq_routing_entry {
    u32 gsi;
    u32 type;
    u32 flags; // 0
    u32 padding;
    union {
        struct {
            u32 irqchip, pin;
        } irqchip;
        struct {
            u32 address_lo, address_hi, data;
        } msi;
        u32 words[8];
    } u;
};
struct hv_irq_routing {
    u32 nr;
    u32 flags; // 0
    struct hv_irq_routing_entry entries[];
};
struct hv_msi {
    u32 address_lo, address_hi, data;
    u32 flags; // 0
    u64 padding[2];
};
#define HV_PIT_SPEAKER_PORT 1u // Port 61H is the core's too.
struct hv_pit_config {
    u32 flags; // HV_PIT_*
    u32 padding[15];
};
struct hv_irqchip {
    u32 chip_id, padding;
    u8 state[512]; // struct of hv/x86/irqchip_state.h
};
// Instructions that wait on the processor without an exit, before the first vCPU. MWAIT takes MONITOR along.
#define HV_DISABLE_EXITS_MWAIT 1u
#define HV_DISABLE_EXITS_HLT 2u
#define HV_DISABLE_EXITS_PAUSE 4u

struct hv_enable_cap {
    u32 cap, flags;
    u64 args[4];
    u8 padding[64];
};

// --- Processor state (Intel SDM 3.4, 3.7, 2.1; values as in the registers).
struct hv_regs {
    u64 rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    u64 rip, rflags;
};
struct hv_segment {
    u64 base;
    u32 limit;
    u16 selector;
    u8 type, present, dpl, db, s, l, g, avl, unusable, padding;
};
struct hv_dtable {
    u64 base;
    u16 limit, padding[3];
};
struct hv_sregs {
    struct hv_segment cs, ds, es, fs, gs, ss, tr, ldt;
    struct hv_dtable gdt, idt;
    u64 cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    u64 interrupt_bitmap[4]; // At most one bit: an external interrupt being injected.
};
struct hv_msr_entry {
    u32 index, reserved;
    u64 data;
};
#define HV_MSRS_MAX 256u
struct hv_msrs {
    u32 nmsrs, padding;
    struct hv_msr_entry entries[];
};
struct hv_msr_list {
    u32 nmsrs;
    u32 indices[];
};
#define HV_CPUID_SIGNIFICANT_INDEX 1u
#define HV_CPUID_ENTRIES_MAX 256u
struct hv_cpuid_entry2 {
    u32 function, index, flags;
    u32 eax, ebx, ecx, edx;
    u32 padding[3];
};
struct hv_cpuid2 {
    u32 nent, padding;
    struct hv_cpuid_entry2 entries[];
};
struct hv_lapic_state {
    u8 regs[0x400];
};
struct hv_mp_state {
    u32 mp_state; // enum mp_state of hv/core/vcpu.h
};
struct hv_vcpu_events {
    struct {
        u8 injected, nr, has_error_code, pending;
        u32 error_code;
    } exception;
    struct {
        u8 injected, nr, soft, shadow;
    } interrupt;
    struct {
        u8 injected, pending, masked, padding;
    } nmi;
    u32 sipi_vector;
    u32 flags;
    u8 exception_has_payload;
    u8 triple_fault_pending;
    u8 padding[6];
    u64 exception_payload;
};
struct hv_debugregs {
    u64 db[4];
    u64 dr6, dr7, flags;
    u64 reserved[9];
};

// An XSAVE area in standard form (SDM vol. 1 13.4). Offset of MXCSR in it, bytes.
#define HV_XSAVE_MXCSR 24u
struct hv_xsave {
    u32 region[1024];
};
#define HV_XCRS_MAX 16u
struct hv_xcr {
    u32 xcr, reserved;
    u64 value;
};
struct hv_xcrs {
    u32 nr_xcrs, flags;
    struct hv_xcr xcrs[HV_XCRS_MAX];
    u64 padding[16];
};

// --- The page shared between a vCPU's thread in user space and the core.
enum hv_exit {
#define EXIT_USER(number, name) HV_EXIT_##name = number,
#include "spec/exit_user.def"
};
#define HV_IO_IN 0u
#define HV_IO_OUT 1u
enum hv_internal_error {
    HV_INTERNAL_ERROR_EMULATION = 1,
    HV_INTERNAL_ERROR_SIMUL_EX = 2,
    HV_INTERNAL_ERROR_DELIVERY_EV = 3,
    HV_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON = 4,
};
struct hv_run {
    // In.
    u8 request_interrupt_window; // Exit as soon as an interrupt could be injected.
    u8 immediate_exit;           // Return -EINTR before entering the guest.
    u8 padding1[6];
    // Out.
    u32 exit_reason; // enum hv_exit
    u8 ready_for_interrupt_injection;
    u8 if_flag;
    u16 flags;
    // In and out.
    u64 cr8;
    u64 apic_base;
    union {
        struct {
            u64 hardware_exit_reason;
        } hw;
        struct {
            u64 hardware_entry_failure_reason;
            u32 cpu;
        } fail_entry;
        struct {
            u32 exception, error_code;
        } ex;
        struct {
            u8 direction; // HV_IO_IN, HV_IO_OUT
            u8 size;      // Bytes: 1, 2, 4
            u16 port;
            u32 count;
            u64 data_offset; // Of the data from the start of struct hv_run.
        } io;
        struct {
            u64 phys_addr;
            u8 data[8];
            u32 len; // Bytes: 1..8
            u8 is_write;
        } mmio;
        struct {
            u64 nr, args[6], ret;
            u64 flags;
        } hypercall;
        struct {
            u32 suberror; // enum hv_internal_error
            u32 ndata;
            u64 data[16];
        } internal;
        struct {
            u32 type; // 1 shutdown, 2 reset, 3 crash
            u32 ndata;
            u64 data[16];
        } system_event;
        struct {
            u8 vector;
        } eoi;
        struct {
            u8 error, padding[7];
            u32 reason, index;
            u64 data;
        } msr;
        u8 padding[256];
    };
};
#define HV_RUN_IO_DATA_OFFSET 2048u
_Static_assert(sizeof(struct hv_run) <= HV_RUN_IO_DATA_OFFSET, "port I/O data has the page's second half");

// --- The link to another host (hv/hw/link.h has the rules).
#define HV_LINK_HEADER_MAX 4016u
#define HV_LINK_IOV_MAX 512u
#define HV_LINK_PAYLOAD_MAX (2u << 20)
// Memory of the process' own (HV_MAP_DIRECT) or a VM's. Whole pages, except the last piece's end.
struct hv_link_iov {
    u64 address, bytes;
};
struct hv_link_send {
    u64 header; // User pointer; copied.
    u32 header_bytes, iov_count;
    u64 iov; // User pointer. What it names may be read until the peer has placed it.
};
struct hv_link_message {
    u32 header_bytes, payload_bytes;
    u64 zero[8]; // Bit i: page i of the payload is zeros.
    u8 header[HV_LINK_HEADER_MAX];
};
struct hv_link_place {
    u64 iov; // User pointer; bytes at address 0 are dropped. Guest pages that are not there yet come in with
             // their content.
    u32 iov_count, padding;
};

// --- Calls.
static inline s64 hv_ioctl(int handle, enum hv_ioctl_cmd cmd, u64 arg)
{
    return (s64)hw_syscall(HV_SYS_IOCTL, (u64)(s64)handle, cmd, arg, 0);
}
static inline s64 hv_ioctl_ptr(int handle, enum hv_ioctl_cmd cmd, const void *arg)
{
    return hv_ioctl(handle, cmd, (u64)arg);
}
static inline s64 hv_syscall(enum hv_syscall nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    return (s64)hw_syscall(nr, a0, a1, a2, a3);
}
static inline s64 hv_mmap(u64 bytes, unsigned page_shift, u64 flags)
{
    return hv_syscall(HV_SYS_MMAP, bytes, page_shift, flags, 0);
}
static inline s64 hv_thread_create(void (*fn)(void *), void *arg, u32 cpu, u64 prio)
{
    return hv_syscall(HV_SYS_THREAD_CREATE, (u64)fn, (u64)arg, cpu, prio);
}
static inline s64 hv_sleep_until(u64 ns)
{
    return hv_syscall(HV_SYS_SLEEP_UNTIL, ns, 0, 0, 0);
}
static inline u64 hv_clock_ns(void)
{
    return (u64)hv_syscall(HV_SYS_CLOCK, 0, 0, 0, 0);
}
static inline s64 hv_futex_wait(u32 *word, u32 expected, u64 deadline_ns)
{
    return hv_syscall(HV_SYS_FUTEX_WAIT, (u64)word, expected, deadline_ns, 0);
}
static inline s64 hv_futex_wake(u32 *word, u32 count)
{
    return hv_syscall(HV_SYS_FUTEX_WAKE, (u64)word, count, 0, 0);
}
static inline void hv_exit(void)
{
    (void)hv_syscall(HV_SYS_EXIT, 0, 0, 0, 0);
}

// Entry of the VMM's main thread, user mode (hv/vmm). `arg` is a struct vmm_config.
void vmm_main(void *arg);

#endif
