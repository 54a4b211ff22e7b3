// SPDX-License-Identifier: Apache-2.0
// VMCS access: checked VMREAD and VMWRITE, cached controls, and the life of a VMCS (SDM 24.11).
#ifndef HV_X86_VMCS_H
#define HV_X86_VMCS_H

#include "hv/x86/x86.h"

// A VMREAD (VMWRITE) that failed: a bug of ours or no current VMCS. Traces vm_fail; never returns.
void vmread_failed(u32 field);
void vmwrite_failed(u32 field, u64 value);

static inline u64 vmcs_read(u32 field)
{
    u64 value = 0;
    if (unlikely(hw_vmread(field, &value) != HW_VMX_OK))
        vmread_failed(field);
    return value;
}
static inline u32 vmcs_read32(u32 field)
{
    return (u32)vmcs_read(field);
}
static inline void vmcs_write(u32 field, u64 value)
{
    if (unlikely(hw_vmwrite(field, value) != HW_VMX_OK))
        vmwrite_failed(field, value);
}

// One of the five control fields that change at run time: VMWRITE only if the value does.
#define VMCS_CONTROL(name, field)                                                                            \
    static inline void name##_controls_set(struct x86_vcpu *v, u32 value)                                    \
    {                                                                                                        \
        if (v->vmcs->controls.name == value)                                                                 \
            return;                                                                                          \
        vmcs_write(field, value);                                                                            \
        v->vmcs->controls.name = value;                                                                      \
    }                                                                                                        \
    static inline void name##_controls_setbit(struct x86_vcpu *v, u32 bits)                                  \
    {                                                                                                        \
        name##_controls_set(v, v->vmcs->controls.name | bits);                                               \
    }                                                                                                        \
    static inline void name##_controls_clearbit(struct x86_vcpu *v, u32 bits)                                \
    {                                                                                                        \
        name##_controls_set(v, v->vmcs->controls.name & ~bits);                                              \
    }                                                                                                        \
    static inline bool name##_controls_has(const struct x86_vcpu *v, u32 bits)                               \
    {                                                                                                        \
        return (v->vmcs->controls.name & bits) == bits;                                                      \
    }
// clang-format off
VMCS_CONTROL(pin,   PIN_BASED_VM_EXEC_CONTROL)
VMCS_CONTROL(cpu,   CPU_BASED_VM_EXEC_CONTROL)
VMCS_CONTROL(cpu2,  SECONDARY_VM_EXEC_CONTROL)
VMCS_CONTROL(exit,  VM_EXIT_CONTROLS)
VMCS_CONTROL(entry, VM_ENTRY_CONTROLS)
// clang-format on
#undef VMCS_CONTROL

// A VMCS and its MSR bitmap, cleared, not active anywhere. 0 or -ENOMEM.
int loaded_vmcs_alloc(struct host *host, struct loaded_vmcs *l);
// Clears it where it is active and frees the pages. Interrupts enabled.
void loaded_vmcs_free(struct host *host, struct loaded_vmcs *l);
// VMCLEAR where it is active, by a call to that CPU if it is another one: its data is then in memory and
// launch state clear (SDM 24.11.3). Interrupts enabled unless it is active here or nowhere.
void loaded_vmcs_clear(struct loaded_vmcs *l);
// Makes it current on this CPU; true if it was active elsewhere or nowhere: per-CPU host state must be
// written. Preemption disabled.
bool loaded_vmcs_load(struct loaded_vmcs *l, struct cpu *cpu);
// All fields of a new vmcs01; vCPU loaded. Guest state comes from reset.
void vmcs_setup(struct x86_vcpu *v);
// Host-state fields that differ between CPUs.
void vmcs_write_cpu_state(struct x86_vcpu *v, const struct cpu *cpu);

// vmx.c: where VM exits return to.
void vmx_exit_landing(void);

#endif
