// SPDX-License-Identifier: Apache-2.0
// Whether a target is fit for a guest, against a core of a few lines: each reason for saying no, and that
// nothing has happened by then. And what starting a migration refuses.
#include "hv/vmm/migration.h"

#include "hv/hw/cpu.h"
#include "hv/hw/trace.h"
#include "tests/shim/shim.h"
#include <string.h>

#define MIB (1ull << 20)
// Linux numbers.
#define EBUSY 16
#define EINVAL 22

// The target's processor and core.
static struct {
    u32 vendor, physical_bits, tsc_khz, gpa_bits;
    u64 memory_free;
    u32 leaf1_ecx, leaf7_ebx, xcr0, extended_edx;
    u64 vmx_basic;
    u32 slots_added, slots_removed, threads, ended;
    u64 reason;
} host;

static struct vmm_vm_config config;
static struct vmm_config all = {.host = 0, .host_count = 2};
static struct vmm vmm = {.config = &all};
static struct vmm_vm vm;
static struct vmm_vcpu vcpu;
static struct vmm_migration migration;
static struct migration_shape shape;
static struct migration_vcpu_state vcpu_state;
static struct migration_vm_state vm_state;
#define CPUID_BYTES (sizeof(struct hv_cpuid2) + VMM_CPUID_MAX * sizeof(struct hv_cpuid_entry2))
static _Alignas(8) unsigned char given[CPUID_BYTES], have[CPUID_BYTES];
static _Alignas(8) unsigned char msrs[sizeof(struct hv_msrs) + sizeof(struct hv_msr_entry)];

void hw_cpuid(u32 leaf, u32 subleaf, struct hw_cpuid_regs *out)
{
    (void)subleaf;
    *out = (struct hw_cpuid_regs){.eax = leaf == 0x80000008 ? host.physical_bits : 0,
                                  .ebx = leaf == 0 ? host.vendor : 0};
}

static void supported(struct hv_cpuid2 *to)
{
    to->nent = 4;
    to->entries[0] = (struct hv_cpuid_entry2){.function = 1, .ecx = host.leaf1_ecx};
    to->entries[1] = (struct hv_cpuid_entry2){.function = 7, .ebx = host.leaf7_ebx};
    to->entries[2] = (struct hv_cpuid_entry2){.function = 13, .eax = host.xcr0};
    to->entries[3] = (struct hv_cpuid_entry2){.function = 0x80000001, .edx = host.extended_edx};
}

static s64 ioctl(u64 cmd, u64 arg)
{
    struct hv_msrs *m = (void *)arg;

    switch (cmd) {
    case HV_CHECK_EXTENSION:
        return arg == HV_CAP_GET_TSC_KHZ ? host.tsc_khz : arg == HV_CAP_VM_GPA_BITS ? host.gpa_bits : 0;
    case HV_GET_SUPPORTED_CPUID:
        supported((void *)arg);
        return 0;
    case HV_GET_MSRS:
        if (m->entries[0].index == 0x480)
            m->entries[0].data = host.vmx_basic;
        return m->entries[0].index == 0x480;
    default:
        EXPECT_EQ(cmd, 0); // Nothing else is asked of the core.
        return -1;
    }
}

u64 hw_syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    (void)a0, (void)a3;
    if (nr == HV_SYS_IOCTL)
        return (u64)ioctl(a1, a2);
    if (nr == HV_SYS_MEMORY_FREE)
        return host.memory_free;
    host.threads += nr == HV_SYS_THREAD_CREATE;
    return 0;
}
void hw_trace(enum hw_tracepoint tp, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
    (void)a0, (void)a2, (void)a3, (void)a4, (void)a5;
    if (tp == TP_MIGRATION_END) {
        host.ended++;
        host.reason = a1;
    }
}
void hw_trace_count(const char *name, u64 n)
{
    (void)name, (void)n;
}
void vmm_require(s64 result, const char *what)
{
    (void)what;
    EXPECT_GE(result, 0);
}
void vmm_check(bool condition, const char *what)
{
    (void)what;
    EXPECT_TRUE(condition);
}
void *vmm_alloc(struct vmm *of, u64 bytes)
{
    (void)of, (void)bytes;
    return NULL;
}
// A stream, which has no x87 and SSE registers.
const struct vmm_program_config *vmm_program_of(const struct vmm_vm *of)
{
    (void)of;
    return NULL;
}

s64 vmm_add_slot(struct vmm_vm *of, u32 slot, u32 flags, u64 gpa, u64 bytes, unsigned page_shift)
{
    (void)of, (void)slot, (void)flags, (void)gpa, (void)bytes, (void)page_shift;
    host.slots_added++;
    return 0;
}
s64 vmm_remove_slot(struct vmm_vm *of, u32 slot)
{
    (void)of, (void)slot;
    host.slots_removed++;
    return 0;
}
struct vmm_slot *vmm_find_slot(struct vmm_vm *of, u32 slot)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++)
        if (of->slots[i].used && of->slots[i].slot == slot)
            return &of->slots[i];
    return NULL;
}
void vmm_balloon_save(struct vmm_vm *of, struct vmm_balloon *out)
{
    *out = of->balloon;
}
s64 vmm_balloon_load(struct vmm_vm *of, const struct vmm_balloon *in)
{
    of->balloon = *in;
    return 0;
}
void vmm_ioapic_save(struct vmm_ioapic *io, struct vmm_ioapic_state *s)
{
    (void)io, (void)s;
}
void vmm_ioapic_load(struct vmm_ioapic *io, const struct vmm_ioapic_state *s)
{
    (void)io, (void)s;
}
s64 vmm_do(struct vmm *of, const struct vmm_action *action)
{
    (void)of, (void)action;
    return 0;
}
// Pages and the sending thread are other files'.
void migration_thread(void *of)
{
    (void)of;
}
s64 migration_mark_all(struct vmm_vm *of)
{
    (void)of;
    return 0;
}
void migration_unmark(struct vmm_vm *of)
{
    (void)of;
}
u64 migration_mark(struct vmm_vm *of, struct vmm_slot *s, u64 page, u64 count, bool set)
{
    (void)of, (void)s, (void)page, (void)count, (void)set;
    return 0;
}
bool migration_is_marked(const struct vmm_slot *s, u64 page)
{
    (void)s, (void)page;
    return false;
}
u64 migration_collect(struct vmm_vm *of, struct vmm_slot *s, u64 *page, u64 pages_max,
                      struct migration_message *m)
{
    (void)of, (void)s, (void)page, (void)pages_max, (void)m;
    return 0;
}

// A guest of one vCPU and 64 MiB that was shown all of the processor; `shape` describes it.
static void make(void)
{
    memset(&host, 0, sizeof host);
    memset(&vm, 0, sizeof vm);
    memset(&migration, 0, sizeof migration);
    host.vendor = 0x756e6547;
    host.physical_bits = 46;
    host.tsc_khz = 2100000;
    host.gpa_bits = 48;
    host.memory_free = 64 * MIB;
    host.leaf1_ecx = 0x2000001;
    host.leaf7_ebx = 0x420;
    host.xcr0 = 7;
    host.extended_edx = 0x8000000;
    host.vmx_basic = 0xda0400000000010;
    config = (struct vmm_vm_config){.memory_bytes = 64 * MIB, .vcpu_count = 1, .flags = VMM_VM_NESTED};
    vm = (struct vmm_vm){.vmm = &vmm, .config = &config, .vcpus = &vcpu, .migration = &migration};
    vm.cpuid = (struct hv_cpuid2 *)(void *)given;
    supported(vm.cpuid);
    migration.cpuid = (struct hv_cpuid2 *)(void *)have;
    migration.msrs = (struct hv_msrs *)(void *)msrs;
    migration.vcpus = &vcpu_state;
    migration.vm = &vm_state;
    migration.shape = &shape;
    vm.slots[0] = (struct vmm_slot){.used = 1, .bytes = 64 * MIB, .page_shift = 12};
    migration_read_vmx(&vm);
    migration_describe(&vm, &shape);
}

// Each row takes one thing away from the target that the guest has.
static void less_memory(void)
{
    host.memory_free--;
}
static void more_vcpus(void)
{
    shape.vcpu_count++;
}
static void another_device(void)
{
    shape.device_count++;
}
static void another_irqchip(void)
{
    shape.flags |= VMM_VM_IRQCHIP;
}
static void too_many_slots(void)
{
    shape.slot_count = VMM_SLOTS_MAX + 1;
}
static void too_much_cpuid(void)
{
    shape.cpuid_count = VMM_CPUID_MAX + 1;
}
static void another_vendor(void)
{
    host.vendor = 0x68747541;
}
static void another_clock(void)
{
    host.tsc_khz++;
}
static void fewer_physical_bits(void)
{
    host.physical_bits--;
}
static void another_depth(void)
{
    host.gpa_bits = 57;
}
static void no_leaf1_feature(void)
{
    host.leaf1_ecx &= ~1u;
}
static void no_leaf7_feature(void)
{
    host.leaf7_ebx &= ~0x400u; // INVPCID
}
static void no_xsave_component(void)
{
    host.xcr0 = 3;
}
static void no_extended_feature(void)
{
    host.extended_edx = 0;
}
static void other_vmx(void)
{
    migration.vmx[0] ^= 1ull << 54;
}
static void guest_is_here(void)
{
    migration.here = 1;
}
static void is_being_sent(void)
{
    migration.phase = MIGRATION_ACTIVE;
}

static const struct {
    const char *name;
    void (*take)(void);
    u32 reason;
} refusals[] = {
    {"memory", less_memory, MIGRATION_MEMORY},
    {"vCPUs", more_vcpus, MIGRATION_SHAPE},
    {"devices", another_device, MIGRATION_SHAPE},
    {"irqchip", another_irqchip, MIGRATION_SHAPE},
    {"slots", too_many_slots, MIGRATION_SHAPE},
    {"length of CPUID", too_much_cpuid, MIGRATION_SHAPE},
    {"vendor", another_vendor, MIGRATION_PROCESSOR},
    {"TSC", another_clock, MIGRATION_PROCESSOR},
    {"physical bits", fewer_physical_bits, MIGRATION_LEVELS},
    {"depth of stage 2", another_depth, MIGRATION_LEVELS},
    {"CPUID 1", no_leaf1_feature, MIGRATION_CPUID},
    {"CPUID 7", no_leaf7_feature, MIGRATION_CPUID},
    {"CPUID 0DH", no_xsave_component, MIGRATION_CPUID},
    {"CPUID 80000001H", no_extended_feature, MIGRATION_CPUID},
    {"VMX", other_vmx, MIGRATION_VMX},
    {"guest here", guest_is_here, MIGRATION_BUSY},
    {"sending", is_being_sent, MIGRATION_BUSY},
};

TEST(VmmMigration, EachLackIsRefusedAndNothingHasChanged)
{
    for (u32 i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        static struct vmm_vm vm_before;
        static struct vmm_migration before;

        test_row("%s", refusals[i].name);
        make();
        refusals[i].take();
        vm_before = vm;
        before = migration;
        EXPECT_EQ(migration_check(&vm, &shape), refusals[i].reason);
        EXPECT_EQ(memcmp(&vm_before, &vm, sizeof vm), 0);
        EXPECT_EQ(memcmp(&before, &migration, sizeof migration), 0);
        EXPECT_EQ(host.slots_added + host.slots_removed, 0);
    }
}

TEST(VmmMigration, ATargetThatHasEverythingIsFit)
{
    make();
    EXPECT_EQ(migration_check(&vm, &shape), MIGRATION_OK);
    EXPECT_EQ(host.slots_added + host.slots_removed, 0);
    // One that has more is, too; what the guest has switched on is no feature of the processor.
    host.memory_free *= 2;
    host.physical_bits++;
    host.leaf1_ecx |= 0x10;
    host.leaf7_ebx |= 8;
    host.xcr0 |= 0xe0;
    shape.cpuid[0].ecx |= 1u << 27; // OSXSAVE
    EXPECT_EQ(migration_check(&vm, &shape), MIGRATION_OK);
}

TEST(VmmMigration, TheTargetsSlotsFollowTheSources)
{
    make();
    shape.slots[shape.slot_count++] = shape.slots[0];
    shape.slots[1].slot = 5;
    shape.slots[1].gpa = 1ull << 32;
    EXPECT_EQ(migration_check(&vm, &shape), MIGRATION_OK);
    EXPECT_EQ(host.slots_added, 1);
    EXPECT_EQ(host.slots_removed, 0);
    shape.slots[0].bytes /= 2;
    EXPECT_EQ(migration_check(&vm, &shape), MIGRATION_OK);
    EXPECT_EQ(host.slots_removed, 1);
}

// Starting one: args[0] is the host to go to.
TEST(VmmMigration, StartingRefusesBeforeAnythingBegins)
{
    static const struct {
        const char *name;
        u64 to;
        u32 phase;
        bool link, missing;
        s64 result;
        u64 reason;
    } rows[] = {
        {"to where it is", 0, MIGRATION_IDLE, true, false, -EINVAL, 0},
        {"to no host", 2, MIGRATION_IDLE, true, false, -EINVAL, 0},
        {"without a link", 1, MIGRATION_IDLE, false, false, -EINVAL, 0},
        {"while one goes on", 1, MIGRATION_SETUP, true, false, -EBUSY, MIGRATION_BUSY},
        {"while pages still come", 1, MIGRATION_IDLE, true, true, -EBUSY, MIGRATION_BUSY},
    };
    for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
        static struct vmm_migration before;
        const u64 args[VMM_ACTION_ARGS] = {rows[i].to, 1, 300};

        test_row("%s", rows[i].name);
        make();
        migration.phase = rows[i].phase;
        migration.missing = rows[i].missing;
        if (!rows[i].link)
            vm.migration = NULL;
        before = migration;
        EXPECT_EQ(migration_start(&vm, args), rows[i].result);
        EXPECT_EQ(memcmp(&before, &migration, sizeof migration), 0);
        EXPECT_EQ(host.threads, 0);
        EXPECT_EQ(host.ended, rows[i].reason != 0);
        EXPECT_EQ(host.reason, rows[i].reason);
    }
    make();
    EXPECT_EQ(migration_start(&vm, (const u64[VMM_ACTION_ARGS]){1, 1, 300}), 0);
    EXPECT_EQ(host.threads, 1);
    EXPECT_EQ(migration.phase, MIGRATION_SETUP);
}

TEST(VmmMigration, OnlyWhatGoesOnCanBeCancelled)
{
    make();
    EXPECT_EQ(migration_cancel(&vm), -EINVAL);
    migration.phase = MIGRATION_COMMITTED;
    EXPECT_EQ(migration_cancel(&vm), -EINVAL);
    EXPECT_EQ(migration.cancel, MIGRATION_OK);
    migration.phase = MIGRATION_ACTIVE;
    EXPECT_EQ(migration_cancel(&vm), 0);
    EXPECT_EQ(migration.cancel, MIGRATION_CANCELLED);
    vm.migration = NULL;
    EXPECT_EQ(migration_cancel(&vm), -EINVAL);
}
