// SPDX-License-Identifier: Apache-2.0
// Machine code's first registers, and the processor that it is shown.
#include "hv/vmm/vmm.h"

#include "hv/hw/setup.h"
#include "hv/hw/trace.h"
#include "spec/cpuid.h"
#include "spec/x86_bits.h"
#include "tests/shim/shim.h"
#include <string.h>

static struct {
    struct hv_sregs sregs;
    struct hv_regs regs;
    u32 sets;
    u64 written_gpa, written;
    u32 untimed;
} core;
static struct {
    struct vmm_config head;
    struct vmm_program_config program;
    struct vmm_segment_config segments[2];
} block;
static struct vmm_vm_config config;
static struct vmm vmm;
static struct vmm_vm vm;

u64 hw_syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    (void)a0, (void)a3;
    EXPECT_EQ(nr, HV_SYS_IOCTL);
    if (a1 == HV_GET_SREGS)
        *(struct hv_sregs *)a2 = core.sregs;
    if (a1 == HV_SET_SREGS)
        core.sregs = *(const struct hv_sregs *)a2;
    if (a1 == HV_SET_REGS)
        core.regs = *(const struct hv_regs *)a2;
    core.sets += a1 == HV_SET_SREGS || a1 == HV_SET_REGS;
    return 0;
}
void hw_trace_span_begin(u32 span)
{
    (void)span;
}
void hw_trace_span_end(u32 span)
{
    (void)span;
}
void hw_setup_begin(void)
{
    core.untimed++;
}
void hw_setup_end(void)
{
    core.untimed++;
}
void vmm_require(s64 result, const char *what)
{
    (void)what;
    EXPECT_GE(result, 0);
}
s64 vmm_write_guest(struct vmm_vm *of, u64 gpa, const void *from, u64 bytes)
{
    (void)of;
    EXPECT_EQ(core.untimed, 1);
    EXPECT_EQ((u64)from, gpa + 0x1000);
    core.written_gpa = gpa;
    core.written += bytes;
    return 0;
}

static void enter(enum vmm_cpu_mode mode, u64 rip, u32 index)
{
    const struct vmm_vcpu vcpu = {.vm = &vm, .index = index};

    memset(&core, 0, sizeof core);
    core.sregs.cs = (struct hv_segment){.selector = 0xf000, .base = 0xffff0000, .limit = 0xffff};
    memset(&block, 0, sizeof block);
    block.program = (struct vmm_program_config){.mode = mode,
                                                .rip = rip,
                                                .rax = 0x2badb002,
                                                .rbx = 0x9000,
                                                .rsi = 0x8000,
                                                .gdt = 0x7000,
                                                .segment_count = 2};
    block.program.segments_offset = (u64)((char *)block.segments - (char *)&block);
    block.segments[0] = (struct vmm_segment_config){.gpa = 0x100000, .bytes = 10, .source = 0x101000};
    block.segments[1] = (struct vmm_segment_config){.gpa = 0x200000, .bytes = 20, .source = 0x201000};
    config = (struct vmm_vm_config){.program_offset = (u64)((char *)&block.program - (char *)&block)};
    vmm = (struct vmm){.config = &block.head};
    vm = (struct vmm_vm){.vmm = &vmm, .config = &config};
    vmm_program_enter(&vcpu, 0x5000);
}

// Multiboot 3.2: 32-bit read/execute code segment, read/write data, both of 4 GiB from 0; paging off, PE on.
TEST(VmmProgram, ProtectedModeIsFlatWithoutPaging)
{
    enter(VMM_MODE_PROTECTED, 0x100010, 0);
    EXPECT_EQ(core.regs.rip, 0x100010);
    EXPECT_EQ(core.regs.rax, 0x2badb002);
    EXPECT_EQ(core.regs.rbx, 0x9000);
    EXPECT_EQ(core.regs.rsi, 0x8000);
    EXPECT_EQ(core.regs.rflags, 2); // IF and VM are clear.
    EXPECT_EQ(core.sregs.cr0 & (X86_CR0_PE | X86_CR0_PG), X86_CR0_PE);
    EXPECT_EQ(core.sregs.efer, 0);
    EXPECT_EQ(core.sregs.cs.selector, 0x10);
    EXPECT_EQ(core.sregs.cs.base, 0);
    EXPECT_EQ(core.sregs.cs.limit, 0xffffffff);
    EXPECT_EQ(core.sregs.cs.db, 1);
    EXPECT_EQ(core.sregs.ss.selector, 0x18);
    EXPECT_EQ(core.sregs.ss.type, 3);
    EXPECT_EQ(core.sregs.gdt.base, 0x7000);
    EXPECT_EQ(core.sregs.gdt.limit, 31);
}

// SDM 9.8.5: what software has done when it is in 64-bit mode.
TEST(VmmProgram, LongModeHasTablesAndCode64)
{
    enter(VMM_MODE_LONG, 0x100010, 0);
    EXPECT_EQ(core.sregs.cr0 & (X86_CR0_PE | X86_CR0_PG), X86_CR0_PE | X86_CR0_PG);
    EXPECT_EQ(core.sregs.cr3, 0x5000);
    EXPECT_EQ(core.sregs.cr4, X86_CR4_PAE);
    EXPECT_EQ(core.sregs.efer, EFER_LME | EFER_LMA);
    EXPECT_EQ(core.sregs.cs.l, 1);
    EXPECT_EQ(core.sregs.cs.db, 0);
    EXPECT_EQ(core.regs.rflags, 2);
}

TEST(VmmProgram, RealModeBeginsAtCsIp)
{
    enter(VMM_MODE_REAL, 0x7c00, 0);
    EXPECT_EQ(core.sregs.cs.selector, 0);
    EXPECT_EQ(core.sregs.cs.base, 0);
    EXPECT_EQ(core.regs.rip, 0x7c00);
    enter(VMM_MODE_REAL, 0x12345, 0);
    EXPECT_EQ(core.sregs.cs.selector, 0x1234);
    EXPECT_EQ(core.sregs.cs.base, 0x12340);
    EXPECT_EQ(core.regs.rip, 5);
    EXPECT_EQ(core.sregs.cs.limit, 0xffff);
}

TEST(VmmProgram, OtherProcessorsStayAsResetLeavesThem)
{
    enter(VMM_MODE_PROTECTED, 0x100010, 1);
    EXPECT_EQ(core.sets, 0);
}

TEST(VmmProgram, SegmentsAreCopiedInNoTime)
{
    enter(VMM_MODE_PROTECTED, 0x100010, 0);
    vmm_program_load(&vm);
    EXPECT_EQ(core.written, 30);
    EXPECT_EQ(core.written_gpa, 0x200000);
    EXPECT_EQ(core.untimed, 2);
}

TEST(VmmProgram, WithoutOneThereIsNone)
{
    enter(VMM_MODE_PROTECTED, 0x100010, 0);
    config.program_offset = 0;
    EXPECT_TRUE(vmm_program_of(&vm) == NULL);
}

// --- CPUID. ---

#define LEAVES 12u
static _Alignas(
    8) unsigned char table_bytes[sizeof(struct hv_cpuid2) + LEAVES * sizeof(struct hv_cpuid_entry2)];
static struct hv_cpuid2 *const table = (struct hv_cpuid2 *)(void *)table_bytes;

static struct hv_cpuid_entry2 *leaf(u32 function, u32 index)
{
    for (u32 i = 0; i < table->nent; i++)
        if (table->entries[i].function == function && table->entries[i].index == index)
            return &table->entries[i];
    struct hv_cpuid_entry2 *e = &table->entries[table->nent++];

    *e = (struct hv_cpuid_entry2){
        .function = function, .index = index, .eax = ~0u, .ebx = ~0u, .ecx = ~0u, .edx = ~0u};
    return e;
}

static void make_table(u32 vcpus)
{
    memset(table_bytes, 0, sizeof table_bytes);
    (void)leaf(1, 0), (void)leaf(7, 0), (void)leaf(0xb, 0), (void)leaf(0xb, 1), (void)leaf(0xd, 1);
    leaf(4, 0)->eax = 1 << 5, leaf(4, 3)->eax = 3 << 5;
    leaf(0xd, 0)->eax = 0x2ff;
    leaf(0xd, 2)->ebx = 576, leaf(0xd, 2)->eax = 256;
    leaf(0xd, 9)->ebx = 2688, leaf(0xd, 9)->eax = 8;
    vmm_guest_cpuid(table, vcpus, NULL, 0);
}

TEST(VmmGuestCpuid, WhatTheInterpreterDoesNotModelIsHidden)
{
    make_table(1);
    EXPECT_EQ(leaf(1, 0)->ecx & (CPUID_AVX | CPUID_FMA | CPUID_F16C | CPUID_AES | CPUID_PCLMULQDQ), 0);
    EXPECT_EQ(leaf(7, 0)->ebx & (CPUID_AVX2 | CPUID_AVX512F | CPUID_RTM | CPUID_HLE | CPUID_MPX | CPUID_SGX),
              0);
    EXPECT_EQ(leaf(7, 0)->ecx & (CPUID_WAITPKG | CPUID_CET_SS), 0);
    EXPECT_EQ(leaf(7, 0)->edx & CPUID_CET_IBT, 0);
}

TEST(VmmGuestCpuid, AVmHidesMore)
{
    static const struct vmm_cpuid_bit bits[] = {{1, 0, CPUID_ECX, CPUID_PCID},
                                                {7, 0, CPUID_EBX, CPUID_INVPCID}};

    make_table(1);
    vmm_guest_cpuid(table, 1, bits, 2);
    EXPECT_EQ(leaf(1, 0)->ecx & (CPUID_PCID | CPUID_X2APIC), CPUID_X2APIC);
    EXPECT_EQ(leaf(7, 0)->ebx & (CPUID_INVPCID | CPUID_SMEP), CPUID_SMEP);
}

TEST(VmmGuestCpuid, WhatItModelsStays)
{
    const u32 ecx = CPUID_SSE3 | CPUID_SSSE3 | CPUID_SSE4_1 | CPUID_SSE4_2 | CPUID_POPCNT | CPUID_MOVBE |
                    CPUID_XSAVE | CPUID_CX16 | CPUID_PCID | CPUID_X2APIC;
    const u32 ebx = CPUID_BMI1 | CPUID_BMI2 | CPUID_ADX | CPUID_SMEP | CPUID_SMAP | CPUID_FSGSBASE;

    make_table(1);
    EXPECT_EQ(leaf(1, 0)->ecx & ecx, ecx);
    EXPECT_EQ(leaf(7, 0)->ebx & ebx, ebx);
}

// SDM vol.1 13.2: sizes follow from the components that are left.
TEST(VmmGuestCpuid, XsaveHasX87SseAndProtectionKeys)
{
    make_table(1);
    EXPECT_EQ(leaf(0xd, 0)->eax, 0x203);
    EXPECT_EQ(leaf(0xd, 0)->ebx, 576);
    EXPECT_EQ(leaf(0xd, 0)->ecx, 2696);
    EXPECT_EQ(leaf(0xd, 2)->eax, 0);
    EXPECT_EQ(leaf(0xd, 9)->eax, 8);
    EXPECT_EQ(leaf(0xd, 1)->eax & CPUID_XSAVES, 0);
}

// SDM vol.2 CPUID: leaf 1 counts addressable ids, leaf 0xb the processors.
TEST(VmmGuestCpuid, TopologyIsOnePackageOfSingleThreadedCores)
{
    make_table(3);
    EXPECT_EQ(leaf(1, 0)->ebx >> 16 & 0xff, 4);
    EXPECT_EQ(leaf(4, 0)->eax >> 26, 3);
    EXPECT_EQ(leaf(4, 0)->eax >> 14 & 0xfff, 0);
    EXPECT_EQ(leaf(4, 3)->eax >> 14 & 0xfff, 3);
    EXPECT_EQ(leaf(0xb, 0)->eax, 0);
    EXPECT_EQ(leaf(0xb, 0)->ebx, 1);
    EXPECT_EQ(leaf(0xb, 1)->eax, 2);
    EXPECT_EQ(leaf(0xb, 1)->ebx, 3);
    make_table(1);
    EXPECT_EQ(leaf(1, 0)->edx & CPUID_HTT, 0);
}
