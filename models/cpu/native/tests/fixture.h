// SPDX-License-Identifier: Apache-2.0
// A machine of a few processors for small hypervisor cores (hv/tests/*_hv.c): no VMX, a local APIC that knows
// one vector at a time, and the door hw_test_start_ap(). Other doors hw_test_* are the test's own.
#ifndef MODELS_CPU_NATIVE_TESTS_FIXTURE_H
#define MODELS_CPU_NATIVE_TESTS_FIXTURE_H

#include "models/cpu/native/native.h"

#define FIXTURE_CPUS_MAX 4u

struct fixture {
    struct machine machine;
    struct pcpu *cpus[FIXTURE_CPUS_MAX], cpu[FIXTURE_CPUS_MAX];
    struct uarch *uarch;
    struct native_image *image;
};

// `library` is in the build's lib folder. False with `error`.
bool fixture_open(struct fixture *f, const char *source, const char *build, const char *library,
                  uint32_t cpus, char *error, size_t size);
void fixture_close(struct fixture *f);
// Processors and memory as after power-on, for the next run.
void fixture_reset(struct fixture *f);

#endif
