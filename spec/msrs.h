// SPDX-License-Identifier: Apache-2.0
//
// MSR numbers as constants: MSR_IA32_EFER, PV_MSR_KVM_STEAL_TIME ... (spec/msrs.def).
// Some do not fit an int, so gcc and clang give the enumerators type unsigned int (as C23 does).

#ifndef SPEC_MSRS_H
#define SPEC_MSRS_H

enum msr {
#define MSR(number, name, section) MSR_##name = number,
#include "spec/msrs.def"
};

enum pv_msr {
#define PV(number, name, origin) PV_MSR_##name = number,
#include "spec/msrs.def"
};

// x2APIC register MSRs start here; the xAPIC register at offset o is MSR_X2APIC_BASE + (o >> 4)
// (SDM 10.12.1.2).
#define MSR_X2APIC_BASE 0x800u

#endif
