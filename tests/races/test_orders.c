// SPDX-License-Identifier: Apache-2.0
/*
 * scenarios/races: each bug is there in an order written by hand, and not in the same order, or the nearest
 * one that is left, once it is fixed. Without an order nothing of it shows (RaceFiles.PassAsTheyAre).
 *
 * Not here, as no order of accesses shows them on a processor that keeps stores in order and drains its
 * buffer soon: make-request none and no_entry_mb, lazy-rmaps norelease.
 */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <string.h>

#define STEPS_MAX 8

static const struct {
    const char *scenario, *broken, *fixed;
    const char *got;                // What the broken variant prints.
    const char *steps[STEPS_MAX];   // Of the broken variant ...
    const char *instead[STEPS_MAX]; // ... and of the fixed one, if its own differ,
    bool waits;                     // for a step that cannot come.
} rows[] = {
    {"memslot-delete",
     "before",
     "after",
     "spte_into_dead_slot",
     {"cpu1 hv/mmu/fault.c:page_fault+9 read", "cpu0 hv/core/memslots.c:install_version+5 write x3",
      "cpu1 hv/mmu/tdp.c:tdp_map"},
     {0},
     false},
    {"tlbs-dirty",
     "before",
     "after",
     "stale tlb hit",
     {"cpu2 hv/core/requests.c:flush_remote_tlbs+3 read x2", "cpu2 hv/core/requests.c:flush_remote_tlbs+10",
      "cpu0 hv/mmu/shadow_sync.c:shadow_invept", "cpu0 hv/mmu/shadow_sync.c:drop+10 atomic",
      "cpu2 hv/core/requests.c:flush_remote_tlbs+11"},
     {0},
     false},
    {"running-vcpu", // The other vCPU's ring has it ...
     "before",
     "after",
     "FAIL every page that the core wrote for vCPU 1",
     {"cpu0 hv/core/sched.c:thread_wake+16 write x5", "cpu0 hv/core/dirty_log.c:mark_page_dirty",
      "cpu1 hv/core/smp.c:cpu_send_ipi", "cpu1 hv/core/syscall.c:syscall_entry",
      "cpu1 hv/core/sched.c:schedule_irqs_off+7 write", "cpu0 hv/core/thread.h:this_cpu+4 read",
      "cpu0 hv/core/vcpu.c:vcpu_load+13 write ?", "cpu1 hv/core/vcpu.c:running_vcpu+6 read"},
     {0},
     false},
    {"running-vcpu", // ... or nobody's.
     "before",
     "after",
     "FAIL and none was written for nobody",
     {"cpu0 hv/core/sched.c:thread_wake+16 write x5", "cpu0 hv/core/dirty_log.c:mark_page_dirty",
      "cpu1 hv/core/smp.c:cpu_send_ipi", "cpu1 hv/core/syscall.c:syscall_entry",
      "cpu1 hv/core/sched.c:schedule_irqs_off+7 write", "cpu0 hv/core/thread.h:this_cpu+4 read"},
     {0},
     false},
    {"dirty-log-order",
     "actual",
     "after",
     "FAIL a page that was written between two rounds",
     {"cpu2 hv/mmu/log_start.c:mmu_log_start x2", "cpu0 hv/mmu/fast_fault.c:try_once+12 write",
      "cpu2 hv/mmu/write_protect_all.c:protect_entry+10 atomic",
      "cpu0 hv/mmu/fast_fault.c:try_once+18 atomic"},
     {0},
     false},
    {"dirty-log-order",
     "protect_fetch_flush",
     "after",
     "FAIL a page that was written between two rounds",
     {"cpu2 hv/mmu/dirty.c:make_clean+6 atomic", "cpu1 hv/mmu/fast_fault.c:walk_end+2",
      "cpu2 hv/core/dirty_log.c:fetch_word+5 atomic", "cpu2 hv/core/requests.c:flush_remote_tlbs"},
     {"cpu2 hv/core/dirty_log.c:fetch_word+8 atomic", "cpu2 hv/mmu/dirty.c:make_clean+6 atomic",
      "cpu1 hv/mmu/fast_fault.c:walk_end+2", "cpu2 hv/core/requests.c:flush_remote_tlbs"},
     false},
    {"dirty-log-order",
     "fetch_protect",
     "after",
     "FAIL a page that was written between two rounds",
     {"cpu1 hv/x86/exits_insn.c:handle_cpuid", "cpu2 hv/core/dirty_log.c:dirty_log_get"},
     {0},
     false},
    {"lazy-rmaps",
     "lockleak",
     "after",
     "lock_leaked",
     {"cpu0 hv/mmu/rmap.c:mmu_alloc_rmaps+6", "cpu1 hv/mmu/rmap.c:mmu_alloc_rmaps+6",
      "cpu0 hv/mmu/rmap.c:first_shadow_root+2"},
     {0},
     false},
    {"lazy-rmaps",
     "nocopylock",
     "after",
     "null_rmap",
     {"cpu2 hv/core/memslots.c:apply_change+6 write", "cpu0 hv/mmu/rmap.c:mmu_alloc_rmaps+6",
      "cpu0 hv/mmu/rmap.c:first_shadow_root+12", "cpu2 hv/core/memslots.c:install_version"},
     {"cpu2 hv/core/memslots.c:apply_change+6 write", "cpu0 hv/mmu/rmap.c:mmu_alloc_rmaps+6",
      "cpu0 hv/mmu/rmap.c:first_shadow_root+12 ?", "cpu2 hv/core/memslots.c:install_version"},
     true},
    {"killable-wait",
     "check_then_sleep",
     "after",
     "FAIL a vCPU that was answered goes on",
     {"cpu0 hv/core/introspection.c:introspection_tell", "cpu1 hv/core/ioctl.c:api_ioctl x5",
      "cpu0 hv/lib/wait.c:prepare_to_wait+2 x2"},
     {0},
     false},
    {"killable-wait",
     "uninterruptible",
     "after",
     "FAIL the VM is killed",
     {"cpu0 hv/core/introspection.c:introspection_tell x2", "cpu1 hv/core/thread.c:signal_tid+8 write"},
     {0},
     false},
    {"vmid-publish",
     "before",
     "after",
     "FAIL a VM runs under one number",
     {"cpu1 hv/x86/vmid.c:vmid_load+4 read", "cpu2 hv/x86/vmid.c:vmid_renew",
      "cpu0 hv/x86/vmid.c:publish+4 write x2", "cpu2 hv/x86/exits_insn.c:handle_cpuid",
      "cpu1 hv/x86/vmid.c:vmid_renew", "cpu1 hv/x86/vmid.c:vmid_load+7 read",
      "cpu0 hv/x86/vmid.c:publish+5 write"},
     {"cpu1 hv/x86/vmid.c:vmid_load+4 read", "cpu2 hv/x86/vmid.c:vmid_renew",
      "cpu0 hv/x86/vmid.c:publish+8 write x2", "cpu2 hv/x86/exits_insn.c:handle_cpuid",
      "cpu1 hv/x86/vmid.c:vmid_renew", "cpu1 hv/x86/vmid.c:vmid_load+7 read ?",
      "cpu0 hv/x86/vmid.c:publish+9 write"},
     true},
    {"rsm-torn-read",
     "before",
     "after",
     "FAIL the new CR3",
     {"cpu0 hv/x86/exits_insn.c:handle_cpuid", "cpu2 hv/core/guest_memory.c:vm_read_guest x39"},
     // Between the copies of CR4 and CR3.
     {"cpu2 hv/x86/smm.c:smm_leave", "cpu0 hv/x86/exits_insn.c:handle_cpuid",
      "cpu2 hv/lib/string.c:copy_forward+4 read x43"},
     false},
};
enum { ROWS = sizeof rows / sizeof *rows };

// The scenario with an order, and with time enough for one that cannot be (SCHEDULE_HOLD_PS).
static void write_ordered(const char *scenario, const char *const *steps, bool waits)
{
    static char file[20000], out[24000];
    char path[700];
    size_t used = 0;

    snprintf(path, sizeof path, "%s/scenarios/races/%s.yaml", test_source_dir(), scenario);
    FILE *f = fopen(path, "r");
    ASSERT_TRUE(f != NULL);
    size_t bytes = fread(file, 1, sizeof file - 1, f);

    fclose(f);
    file[bytes] = 0;
    const char *run = strstr(file, "\nrun:");
    ASSERT_TRUE(run != NULL);
    const char *rest = strchr(run + 1, '\n');

    used += (size_t)snprintf(out, sizeof out, "%.*s\nschedule:\n", (int)(run - file), file);
    for (unsigned i = 0; i < STEPS_MAX && steps[i]; i++)
        used += (size_t)snprintf(out + used, sizeof out - used, "  - %s\n", steps[i]);
    if (waits)
        used += (size_t)snprintf(out + used, sizeof out - used, "run: { until: 60ms }");
    else
        used += (size_t)snprintf(out + used, sizeof out - used, "%.*s", (int)(rest - run - 1), run + 1);
    snprintf(out + used, sizeof out - used, "%s", rest);
    cli_write_text("ordered.yaml", out);
}

static void run_row(unsigned row, bool fixed)
{
    bool other = fixed && rows[row].instead[0];
    char copy[1000];

    write_ordered(rows[row].scenario, other ? rows[row].instead : rows[row].steps, other && rows[row].waits);
    snprintf(copy, sizeof copy, "cp '%s'/scenarios/races/*.stream .", test_source_dir());
    int status = hvsim_under(copy, "run ordered.yaml --variant %s --db %s%u.db",
                             fixed ? rows[row].fixed : rows[row].broken, fixed ? "f" : "b", row);
    EXPECT_EQ(status, fixed ? 0 : 1);
}

TEST(RaceFiles, PassAsTheyAre)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    EXPECT_EQ(hvsim("run '%s'/scenarios/races/*.yaml --db all.db", test_source_dir()), 0);
    EXPECT_STRSTR(cli_out, "verdict: pass");
}

TEST(RaceFiles, HaveTheirBugsInTheirOrders)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (unsigned i = 0; i < ROWS; i++) {
        test_row("%s, %s", rows[i].scenario, rows[i].broken);
        run_row(i, false);
        EXPECT_STRSTR(cli_out, rows[i].got);
        EXPECT_TRUE(strstr(cli_out, "schedule") == NULL); // All steps were passed.
    }
}

TEST(RaceFiles, AreFixedInTheSameOrders)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (unsigned i = 0; i < ROWS; i++) {
        test_row("%s, %s against %s", rows[i].scenario, rows[i].fixed, rows[i].broken);
        run_row(i, true);
        EXPECT_STRSTR(cli_out, "verdict: pass");
    }
}
