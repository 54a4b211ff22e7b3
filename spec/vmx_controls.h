// SPDX-License-Identifier: Apache-2.0
//
// VMX control bits as masks: PIN_NMI_EXITING, CPU_HLT_EXITING, CPU2_ENABLE_EPT, CPU3_IPI_VIRTUALIZATION,
// EXIT_ACK_INTERRUPT_ON_EXIT, ENTRY_IA32E_MODE_GUEST ... (spec/vmx_controls.def), and the layout of the
// capability MSRs.

#ifndef SPEC_VMX_CONTROLS_H
#define SPEC_VMX_CONTROLS_H

enum vmx_control {
#define CTRL(group, name, bit, section) group##_##name = 1u << (bit),
#include "spec/vmx_controls.def"
};

enum vmx_control_default1 {
#define CTRL_DEFAULT1(group, mask) group##_DEFAULT1 = mask,
#include "spec/vmx_controls.def"
};

// IA32_VMX_PINBASED_CTLS and its like (SDM A.3.1): what a control field may hold.
//
//  63                               32 31                                0
// +-----------------------------------+-----------------------------------+
// |      allowed 1-settings           |      allowed 0-settings           |
// +-----------------------------------+-----------------------------------+
// Bit X of the low half set: bit X of the field must be 1. Bit X of the high half clear: it must be 0.
// The tertiary controls and secondary exit controls have 64 bits of allowed 1-settings and no default-1 bits.
#define VMX_CAP_MUST_BE_1(msr) ((unsigned)((msr)&0xffffffffu))
#define VMX_CAP_MAY_BE_1(msr) ((unsigned)((msr) >> 32))

// IA32_VMX_BASIC (SDM A.1).
//
//  63                56 55 54 53  50 49 48 47 45 44       32 31 30          0
// +--------------------+--+--+------+--+--+-----+-----------+--+-------------+
// |         0          |TC|IO| type |DM|32|  0  | size      | 0| revision    |
// +--------------------+--+--+------+--+--+-----+-----------+--+-------------+
#define VMX_BASIC_REVISION_MASK 0x7fffffffull
#define VMX_BASIC_SIZE_SHIFT 32 // Bytes of a VMXON region or VMCS, at most 4096.
#define VMX_BASIC_SIZE_MASK (0x1fffull << 32)
#define VMX_BASIC_ADDR_32 (1ull << 48)      // Addresses of VMX structures are limited to 32 bits.
#define VMX_BASIC_DUAL_MONITOR (1ull << 49) // Dual-monitor treatment of SMIs and SMM.
#define VMX_BASIC_MEMTYPE_SHIFT 50
#define VMX_BASIC_MEMTYPE_MASK (0xfull << 50) // 0 UC or 6 WB.
#define VMX_BASIC_INS_OUTS (1ull << 54)       // INS and OUTS exits report instruction information.
#define VMX_BASIC_TRUE_CTLS (1ull << 55)      // IA32_VMX_TRUE_* exist; default-1 bits may be cleared.
#define VMX_BASIC_ANY_ERROR_CODE (1ull << 56) // Exceptions may be injected with or without error code.

// IA32_VMX_MISC (SDM A.6).
#define VMX_MISC_PREEMPTION_SHIFT_MASK 0x1full // The preemption timer counts when TSC bit X changes.
#define VMX_MISC_STORE_LMA (1ull << 5)         // VM exits store EFER.LMA into ENTRY_IA32E_MODE_GUEST.
#define VMX_MISC_ACTIVITY_HLT (1ull << 6)
#define VMX_MISC_ACTIVITY_SHUTDOWN (1ull << 7)
#define VMX_MISC_ACTIVITY_WAIT_SIPI (1ull << 8)
#define VMX_MISC_PT_IN_VMX (1ull << 14)
#define VMX_MISC_RDMSR_SMBASE (1ull << 15)
#define VMX_MISC_CR3_TARGETS_SHIFT 16
#define VMX_MISC_CR3_TARGETS_MASK (0x1ffull << 16)
#define VMX_MISC_MSR_LIST_SHIFT 25 // Recommended maximum of an MSR list is 512 * (N + 1) entries.
#define VMX_MISC_MSR_LIST_MASK (7ull << 25)
#define VMX_MISC_BLOCK_SMI (1ull << 28)
#define VMX_MISC_VMWRITE_ANY (1ull << 29)     // VMWRITE to VM-exit information fields is allowed.
#define VMX_MISC_INJECT_LENGTH_0 (1ull << 30) // Software events may be injected with length 0.
#define VMX_MISC_MSEG_REVISION_SHIFT 32

// IA32_VMX_EPT_VPID_CAP (SDM A.10).
#define EPT_CAP_EXECUTE_ONLY (1ull << 0)
#define EPT_CAP_WALK_4 (1ull << 6)
#define EPT_CAP_WALK_5 (1ull << 7)
#define EPT_CAP_UC (1ull << 8)
#define EPT_CAP_WB (1ull << 14)
#define EPT_CAP_2M (1ull << 16)
#define EPT_CAP_1G (1ull << 17)
#define EPT_CAP_INVEPT (1ull << 20)
#define EPT_CAP_AD (1ull << 21)
#define EPT_CAP_EXIT_INFO (1ull << 22) // Advanced exit information of EPT violations.
#define EPT_CAP_SHADOW_STACK (1ull << 23)
#define EPT_CAP_INVEPT_SINGLE (1ull << 25)
#define EPT_CAP_INVEPT_ALL (1ull << 26)
#define VPID_CAP_INVVPID (1ull << 32)
#define VPID_CAP_ADDRESS (1ull << 40)
#define VPID_CAP_SINGLE (1ull << 41)
#define VPID_CAP_ALL (1ull << 42)
#define VPID_CAP_SINGLE_RETAIN_GLOBALS (1ull << 43)
#define HLAT_CAP_PREFIX_SIZE_SHIFT 48
#define HLAT_CAP_PREFIX_SIZE_MASK (0x3full << 48)

// IA32_FEATURE_CONTROL (SDM 23.7).
#define FEATURE_CONTROL_LOCK (1ull << 0)
#define FEATURE_CONTROL_VMX_IN_SMX (1ull << 1)
#define FEATURE_CONTROL_VMX_OUTSIDE_SMX (1ull << 2)

#endif
