// SPDX-License-Identifier: Apache-2.0
// Names of CPUID's feature bits, those of spec/cpuid.def in lower case: `pcid`, `x2apic`, `sse4_2`.
#ifndef SIM_SCENARIO_CPU_FEATURES_H
#define SIM_SCENARIO_CPU_FEATURES_H

#include "hv/vmm/config.h"
#include <stddef.h>

#define CPU_FEATURE_NAME_BYTES 32u

// The bit of that name. False: there is none; *near is the nearest name in `text` (CPU_FEATURE_NAME_BYTES),
// or NULL if none is near.
bool cpu_feature_find(const char *name, struct vmm_cpuid_bit *out, char *text, const char **near);
// Its name into `text` (CPU_FEATURE_NAME_BYTES).
void cpu_feature_name(const struct vmm_cpuid_bit *bit, char *text);

#endif
