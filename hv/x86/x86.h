// SPDX-License-Identifier: Apache-2.0
// The x86 halves of host, CPU, VM and vCPU under Intel VMX, and what the files of hv/x86 share.
//
// Registers of a guest live in three places: general registers in vcpu->gprs while the host runs, the rest in
// the current VMCS, and copies of VMCS fields in the caches below. A cache is valid while its bit in
// regs_avail is set (cleared at every exit) and newer than the VMCS while its bit in regs_dirty is set
// (written back before entry). All vcpu_* and vmcs_* functions need the vCPU loaded on the calling CPU unless
// said otherwise.
#ifndef HV_X86_X86_H
#define HV_X86_X86_H

#include "hv/core/arch.h"
#include "hv/hw/trace.h"
#include "hv/hw/vmx.h"
#include "hv/x86/emulate_state.h"
#include "hv/x86/vmid.h"
#include "hv/x86/vmx_caps.h"
#include "spec/exit_reasons.h"
#include "spec/vmcs.h"
#include "spec/vmx_controls.h"
#include "spec/x86_bits.h"

struct apic_map;
struct ioapic;
struct lapic;
struct nested;
struct pic;
struct pit;
struct guest_timer;
struct posted_desc;

// --- Host and CPU.

// MSRs that a guest may own while its vCPU is loaded, put back for the host at arch_vcpu_put().
enum switched_msr {
    SWITCHED_STAR,
    SWITCHED_LSTAR,
    SWITCHED_FMASK,
    SWITCHED_TSC_AUX,
    SWITCHED_KERNEL_GS_BASE,
    SWITCHED_MSRS,
};

// host->arch. Read only after arch_host_init().
struct x86_host {
    struct vmx_caps caps;
    u64 cr0, cr4, efer, pat, xcr0;   // Of the host, same on every CPU.
    u64 switched_msr[SWITCHED_MSRS]; // Host values.
    u8 maxphyaddr;                   // Bits.
    u64 xcr0_supported;              // What a guest may set.
    bool has_rdtscp, has_invpcid, has_xsaves, has_1g_pages, has_xsave;
    struct vmid_space vmids;
};

struct loaded_vmcs;

// cpu->arch
struct arch_cpu {
    void *vmxon_region;
    struct loaded_vmcs *current_vmcs; // VMPTRLDed here.
    struct list loaded_vmcss;         // Active on this CPU; interrupts disabled.
    u64 switched_msr[SWITCHED_MSRS];  // What the processor holds now.
    // Posted interrupts of vCPUs that blocked here (hv/x86/apicv.c).
    struct spinlock blocked_lock;
    struct list blocked_vcpus;
};

static inline struct x86_host *x86_host(struct host *host)
{
    return host->arch;
}

// --- VM.

enum irqchip_mode { IRQCHIP_NONE, IRQCHIP_KERNEL, IRQCHIP_SPLIT };

struct x86_vm {
    struct vm vm;
    enum irqchip_mode irqchip_mode; // Written once (release) under vm->lock.
    u32 split_reserved_pins;        // IOAPIC pins whose EOIs leave to user space in split mode.
    struct apic_map *apic_map;      // Who answers to which destination (hv/x86/lapic_state.h).
    struct ioapic *ioapic;
    struct pic *pic;
    struct pit *pit;
    u64 tss_addr, identity_map_addr;
    u32 disabled_exits; // HV_DISABLE_EXITS_*
    u32 apicv_inhibits; // Reasons, a bit each (hv/x86/apicv.h); 0: may be active.
    struct vmid vmid;   // With knob vmid.bits.
    u64 tsc_offset;     // Of a new vCPU: the guest's TSC starts at 0 when the VM is created.
};

static inline struct x86_vm *to_x86_vm(struct vm *vm)
{
    return container_of(vm, struct x86_vm, vm);
}

// --- VMCS.

// Values last written to controls that change at run time: VMWRITE only when they differ.
struct vmcs_controls {
    u32 pin, cpu, cpu2, exit, entry;
};
// Host state last written: constant but for these.
struct vmcs_host_state {
    u64 cr3, gs_base, rsp;
    u64 tr_base, gdtr_base;
};

// A VMCS, where it is active and whether it was launched (SDM 24.1, 24.11.3). One per vCPU and nesting level.
struct loaded_vmcs {
    void *vmcs; // Page.
    hpa_t hpa;
    struct cpu *cpu;  // Active there; NULL: clear.
    struct list node; // arch_cpu.loaded_vmcss
    bool launched;    // VMRESUME, not VMLAUNCH.
    bool nmi_known_unmasked;
    bool hv_timer_armed; // VMX_PREEMPTION_TIMER_VALUE holds something else than "never".
    bool hv_timer_zero;
    struct vmcs_controls controls;
    struct vmcs_host_state host;
    void *msr_bitmap;     // Page.
    u64 vmwrite_host_rsp; // How often HOST_RSP was written: counter of the run path's tests.
    u16 vpid;             // That vmid_load() put in; 0: never did.
};

// --- vCPU.

enum x86_gpr {
    GPR_RAX,
    GPR_RCX,
    GPR_RDX,
    GPR_RBX,
    GPR_RSP, // In the VMCS: use vcpu_rsp().
    GPR_RBP,
    GPR_RSI,
    GPR_RDI,
};

// Bits of regs_avail and regs_dirty.
enum x86_cached_reg {
    CACHED_RIP,
    CACHED_RSP,
    CACHED_RFLAGS,
    CACHED_CR0, // Guest-owned bits.
    CACHED_CR3,
    CACHED_CR4,            // Guest-owned bits.
    CACHED_QUALIFICATION,  // EXIT_QUALIFICATION
    CACHED_EXIT_INTR_INFO, // VM_EXIT_INTR_INFO
    CACHED_INSN_LEN,
    CACHED_GPA,
    CACHED_REGS,
};

enum x86_segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };
// A field of the segment cache.
enum x86_segment_field { SEGF_SELECTOR, SEGF_BASE, SEGF_LIMIT, SEGF_AR, SEGF_COUNT };
struct segment_cache {
    u32 avail; // Bit segment * SEGF_COUNT + field.
    u16 selector[SEG_COUNT];
    u32 limit[SEG_COUNT], ar[SEG_COUNT];
    u64 base[SEG_COUNT];
};

struct x86_exception {
    bool pending;  // To be delivered.
    bool injected; // Put into the entry, or its delivery was interrupted by the exit.
    bool has_error_code, has_payload;
    u8 vector;
    u32 error_code;
    u64 payload; // #PF: CR2. #DB: bits for DR6.
};
struct x86_event {
    bool injected, soft;
    u8 vector;
};

#define MMIO_FRAGMENTS 8u
// User space finishes an access that an exit began; carried out by arch_vcpu_pre_run().
struct mmio_fragment {
    u64 gpa;
    u8 data[8];
    u32 len; // Bytes, 1..8.
};

struct x86_vcpu {
    struct vcpu vcpu;

    // Hot: entry and exit.
    struct hw_gprs gprs __cacheline_aligned;
    u32 regs_avail, regs_dirty; // Bits of enum x86_cached_reg.
    u64 cached[CACHED_REGS];
    struct loaded_vmcs *vmcs; // The one in use: vmcs01 or that of the nested guest.
    u32 exit_reason;          // VM_EXIT_REASON, read once per exit.
    u32 idt_vectoring;        // IDT_VECTORING_INFO_FIELD, likewise.
    u64 hv_deadline_tsc;      // Host TSC at which the preemption timer is to fire; ~0: off.
    bool immediate_exit;      // This entry leaves before an instruction of the guest.
    bool fail;                // VM entry failed as an instruction (VMfail).
    u8 fail_status;           // enum hw_vmx_status
    bool emulating;           // The last entry was none: the core carries the guest's instructions out.
    bool guest_msrs_loaded;
    bool in_guest_mode; // Runs a nested guest (L2).
    bool apicv_active;

    struct loaded_vmcs vmcs01;
    struct segment_cache segs;

    // Events.
    struct x86_exception exception;
    struct x86_event interrupt; // Being injected.
    bool nmi_injected;
    u8 nmi_pending;           // At most two (KVM).
    u32 nmi_queued;           // By others, atomically; REQ_NMI takes them over.
    s32 user_vector;          // Queued by HV_INTERRUPT; -1: none.
    u8 event_insn_len;        // Of a software event that has to be delivered again.
    bool pv_unhalted;         // Kicked by the guest's own kernel.
    bool preempted_in_kernel; // CPL 0 when its thread was scheduled out.

    // Interrupt controller and timer (hvirq's files).
    struct lapic *apic; // NULL without irqchip in the core.
    u64 apic_base;      // IA32_APIC_BASE
    struct posted_desc *pi_desc;
    struct guest_timer *timer;
    u64 eoi_exit_bitmap[4];   // Of IOAPIC and routes; vectors whose EOI must exit.
    struct list blocked_node; // arch_cpu.blocked_vcpus
    struct cpu *blocked_cpu;

    // Control registers: guest's view; CR0, CR4 guest-owned bits may be newer in the VMCS.
    u64 efer, xcr0, xss;
    u64 cr0_guest_owned, cr4_guest_owned;
    u64 cr8; // Without a LAPIC in the core.
    u64 db[4], dr6, dr7;
    u64 cr4_reserved; // By the guest's CPUID.

    // MSRs that are plain storage (see hv/x86/msr_table.def).
    u64 switched_msr[SWITCHED_MSRS];
    u64 pat, cstar, misc_enable, tsc_offset, tsc_adjust, spec_ctrl, arch_capabilities, debugctl;
    u64 mcg_status, mcg_cap, mcg_ctl;
    u64 feature_control, platform_info, bios_sign_id;
    u64 mtrr_fixed[11], mtrr_var[20], mtrr_def_type;
    u64 mc_banks[4 * 4];
    u64 pv_poll_control, pv_wall_clock, pv_system_time;

    // CPUID.
    struct hv_cpuid_entry2 *cpuid;
    u32 cpuid_count;
    u8 maxphyaddr;

    // I/O that user space completes.
    int (*complete)(struct x86_vcpu *v); // As arch_vcpu_pre_run() returns.
    u32 pio_count, pio_size;
    u32 pio_stored; // Elements of an INS that devices have got.
    u16 pio_port;
    bool pio_in, pio_rep;
    u64 pio_linear;
    u64 pio_address_mask;                      // Of the string's registers, by address size.
    struct emulation emu;                      // The instruction being emulated.
    struct mmio_fragment mmio[MMIO_FRAGMENTS]; // Its writes, or the one read that is asked for.
    u32 mmio_count, mmio_done;
    // Last address that was found to be MMIO.
    u64 mmio_gfn, mmio_generation;

    // PAUSE-loop exiting.
    u32 ple_window;
    bool ple_window_dirty;
    bool ple_shrink; // At the next load.

    u16 vpid;            // 0: none.
    bool has_vmid;       // It changes with its VM's number (hv/x86/vmid.h).
    u64 vmid_generation; // That the VPID is of.
    u64 *pml_buffer;     // Page where the processor logs what the vCPU makes dirty; NULL: no such log.
    struct nested *nested;
    u32 insn_err;             // VM_INSTRUCTION_ERROR of a failed entry.
    u32 msr_intercept_x2apic; // What apicv_update_msr_bitmap() last made of it.
    struct guest_fpu *fpu;    // hv/x86/fpu.c; NULL: no such registers of its own.
};

static inline struct x86_vcpu *to_x86(struct vcpu *vcpu)
{
    return container_of(vcpu, struct x86_vcpu, vcpu);
}
static inline struct x86_vm *x86_vm_of(struct x86_vcpu *v)
{
    return to_x86_vm(v->vcpu.vm);
}
static inline struct x86_host *x86_host_of(struct x86_vcpu *v)
{
    return x86_host(v->vcpu.vm->host);
}
static inline const struct knobs *knobs_of(struct x86_vcpu *v)
{
    return &v->vcpu.vm->host->knobs;
}
static inline bool irqchip_in_kernel(struct vm *vm)
{
    return load_acquire(&to_x86_vm(vm)->irqchip_mode) != IRQCHIP_NONE;
}

// --- Events (inject.c).

// Queue an exception; combined with one that is already on its way as SDM 6.15 table 6-5 says (double fault,
// shutdown). Requests EVENT.
void queue_exception(struct x86_vcpu *v, u8 vector);
void queue_exception_e(struct x86_vcpu *v, u8 vector, u32 error_code);
void queue_exception_p(struct x86_vcpu *v, u8 vector, u64 payload);
void queue_page_fault(struct x86_vcpu *v, u64 cr2, u32 error_code);
static inline void inject_gp(struct x86_vcpu *v, u32 error_code)
{
    queue_exception_e(v, GP_VECTOR, error_code);
}
static inline void inject_ud(struct x86_vcpu *v)
{
    queue_exception(v, UD_VECTOR);
}
// From any context: queues an NMI and kicks.
void inject_nmi(struct x86_vcpu *v);
// An exception, interrupt or NMI that the last exit interrupted, or that was put into this entry.
static inline bool event_reinjected(const struct x86_vcpu *v)
{
    return v->exception.injected || v->nmi_injected || v->interrupt.injected;
}
// Could the guest take an external interrupt (NMI) now? RFLAGS.IF, STI and MOV SS blocking.
bool interrupt_allowed(struct x86_vcpu *v);
bool nmi_allowed(struct x86_vcpu *v);
bool nmi_masked(struct x86_vcpu *v);
void set_nmi_mask(struct x86_vcpu *v, bool masked);

// --- What the interrupt controllers call (vmx.c, regs.c).

// SIPI: real mode at vector << 12 (SDM 8.4.4.1 item 6), runnable is the caller's.
void vcpu_deliver_sipi(struct x86_vcpu *v, u8 vector);
// Arms the VMX-preemption timer for host TSC `deadline_tsc`, ~0 disarms it. False: no such timer, or the
// deadline is beyond what it can count; use another.
bool vmx_set_hv_timer(struct x86_vcpu *v, u64 deadline_tsc);
// Does an RDMSR (WRMSR) of `msr` exit? MSRs outside of the bitmap's ranges always do.
void vmx_set_msr_intercept(struct x86_vcpu *v, u32 msr, bool read, bool write);
// Controls from capabilities, knobs, irqchip mode and apicv_active, written if they changed.
void vmx_update_controls(struct x86_vcpu *v);
static inline u64 guest_tsc(const struct x86_vcpu *v, u64 host_tsc)
{
    return host_tsc + v->tsc_offset;
}
static inline u64 host_tsc_of_guest(const struct x86_vcpu *v, u64 tsc)
{
    return tsc - v->tsc_offset;
}
// Guest's CPUID answers bit: `reg` is an enum cpuid_reg, mask one of spec/cpuid.h.
bool guest_cpuid_has(const struct x86_vcpu *v, u32 leaf, u32 subleaf, unsigned reg, u32 mask);

#endif
