// SPDX-License-Identifier: Apache-2.0
/* Live migrations as whole runs: every scenario of scenarios/migration, and what must hold wherever one is
 * broken. */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {"precopy", "postcopy", "auto-converge",     "cancel",
                                    "refused", "checksum", "refused-processor", "uarchs"};
enum { NAMES = sizeof names / sizeof *names };

TEST(Migration, EveryScenarioHolds)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (unsigned i = 0; i < NAMES; i++) {
        test_row("%s", names[i]);
        EXPECT_EQ(
            hvsim("run '%s/scenarios/migration/%s.yaml' --db %s.db", test_source_dir(), names[i], names[i]),
            0);
        EXPECT_STRSTR(cli_out, "verdict: pass");
    }
}

static const char *digest_of_run(const char *scenario)
{
    static char digests[2][64];
    static unsigned which;
    char *d = digests[which++ % 2];

    *d = 0;
    hvsim("run '%s/scenarios/migration/%s.yaml' --db twice.db --json", test_source_dir(), scenario);
    const char *at = strstr(cli_out, "\"digest\": \"");

    if (at)
        sscanf(at + 11, "%32[0-9a-f]", d);
    return d;
}

TEST(Migration, TwoHostsGiveTheSameRunTwice)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (unsigned i = 3; i < NAMES; i++) {
        test_row("%s", names[i]);
        const char *first = digest_of_run(names[i]), *second = digest_of_run(names[i]);

        EXPECT_EQ(strlen(first), 32);
        EXPECT_STREQ(second, first);
    }
}

/* A guest that verifies what it wrote, moved at 2 ms over 1 Gbit/s; `action` at `us`. */
static const char *broken_scenario(const char *method, const char *action, unsigned us)
{
    char text[2000];

    snprintf(
        text, sizeof text,
        "scenario: broken\n"
        "machine: { uarch: skylake-sp }\n"
        "hosts:\n"
        "  - { name: source, cpus: 2, memory: 256MiB }\n"
        "  - { name: target, cpus: 2, memory: 256MiB }\n"
        "link: { bandwidth: 1Gbit/s, latency: 20us }\n"
        "vms:\n"
        "  - name: web\n"
        "    memory: 16MiB\n"
        "    pcpu: 1\n"
        "    vcpus:\n"
        "      - { native: checksum, args: { bytes: 256KiB, step: 128B, rounds: 6, pause: 5ms }, pcpu: 0 }\n"
        "vmm:\n"
        "  - { at: 2ms, do: migrate, method: %s, verify: on, downtime_limit: 1ms }\n"
        "  - { at: %uus, do: %s }\n"
        "run: { until: 1s }\n",
        method, us, action);
    return cli_write_text("broken.yaml", text);
}

/* What holds whatever breaks when: one guest, which does all its work once and finds its memory as it was. */
static void expect_one_whole_guest(void)
{
    EXPECT_EQ(cli_query(cli_path("broken.db"), "SELECT count(*) FROM violations"), 0);
    EXPECT_EQ(cli_query(cli_path("broken.db"), "SELECT count(*) FROM events WHERE kind = 'guest_mark'"), 12);
    EXPECT_EQ(
        cli_query(cli_path("broken.db"), "SELECT count(DISTINCT a1) FROM events WHERE kind = 'guest_mark'"),
        12);
    EXPECT_EQ(cli_query(cli_path("broken.db"), "SELECT count(*) FROM migrations"), 1);
    /* It ran where the end says it does: on the target only if the migration was completed. */
    EXPECT_EQ(cli_query(cli_path("broken.db"),
                        "SELECT (SELECT reason FROM migrations) = 0 AND (SELECT max(pcpu) FROM events "
                        "WHERE kind = 'guest_mark') < 2 AND (SELECT max(cycle) FROM events WHERE kind = "
                        "'guest_mark') > (SELECT running_cycle FROM migrations)"),
              0);
    EXPECT_EQ(cli_query(cli_path("broken.db"),
                        "SELECT (SELECT reason FROM migrations) != 0 AND (SELECT max(pcpu) FROM exits) >= 2"),
              0);
}

static void break_everywhere(const char *method, const char *action, unsigned from_us, unsigned to_us,
                             unsigned step_us)
{
    char row[80];

    for (unsigned us = from_us; us <= to_us; us += step_us) {
        snprintf(row, sizeof row, "%s at %u us of %s", action, us, method);
        test_row("%s", row);
        const char *path = broken_scenario(method, action, us);

        remove(cli_path("broken.db"));
        EXPECT_LE(hvsim("run '%s' --db broken.db", path), 1);
        expect_one_whole_guest();
    }
}

TEST(Migration, ACancelledOneLeavesOneWholeGuest)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    break_everywhere("precopy", "migrate_cancel", 2000, 12000, 500);
    break_everywhere("postcopy", "migrate_cancel", 2000, 3000, 100);
}

TEST(Migration, ABrokenLinkLeavesOneWholeGuest)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    break_everywhere("precopy", "link_down, ns: 500_000", 2000, 12000, 500);
    break_everywhere("postcopy", "link_down, ns: 500_000", 2000, 8000, 500);
    break_everywhere("precopy", "link_down", 2000, 5000, 500);
}

/* Each row changes the target or the VM so that it is not fit, and says why in a counter. */
static const struct {
    const char *target, *vm, *reason;
} refusals[] = {
    {"cpus: 1, memory: 96MiB", "memory: 128MiB", "refused_memory"},
    {"cpus: 1, knobs: { mmu.ept_levels: 5 }, replace: { vmx_cap.ept_vpid: 0xf01067341c1 }", "memory: 16MiB",
     "refused_address_width"},
    {"cpus: 1, replace: { address.physical_bits: 45 }", "memory: 16MiB", "refused_address_width"},
    {"cpus: 1, replace: { vmx_cap.proc2_allowed1: 0x025f7ff7 }", "memory: 16MiB", "refused_cpuid"}, // RDTSCP
    {"cpus: 1, uarch: sandybridge-ep", "memory: 16MiB", "refused_cpuid"},
    {"cpus: 1, replace: { vmx_cap.proc2_allowed1: 0x025f77ff }", "memory: 16MiB\n    nested: on",
     "refused_vmx"}, // RDRAND exiting
};

TEST(Migration, AnUnfitTargetIsRefusedBeforeAPageIsSent)
{
    char text[1200], sql[200];

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (unsigned i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        test_row("%s", refusals[i].reason);
        snprintf(text, sizeof text,
                 "scenario: unfit\n"
                 "hosts:\n"
                 "  - { name: source, cpus: 2, memory: 512MiB }\n"
                 "  - { name: target, %s }\n"
                 "vms:\n"
                 "  - name: web\n"
                 "    %s\n"
                 "    vcpus:\n"
                 "      - { native: checksum, args: { bytes: 64KiB, pause: 5ms }, pcpu: 0 }\n"
                 "vmm:\n"
                 "  - { at: 1ms, do: migrate }\n",
                 refusals[i].target, refusals[i].vm);
        remove(cli_path("unfit.db"));
        EXPECT_EQ(hvsim("run '%s' --db unfit.db", cli_write_text("unfit.yaml", text)), 0);
        snprintf(sql, sizeof sql, "SELECT sum(value) FROM counters WHERE name = 'migration.%s'",
                 refusals[i].reason);
        EXPECT_EQ(cli_query(cli_path("unfit.db"), sql), 1);
        EXPECT_EQ(cli_query(cli_path("unfit.db"),
                            "SELECT count(*) FROM events WHERE kind = 'migration_round_begin'"),
                  0);
        EXPECT_EQ(cli_query(cli_path("unfit.db"), "SELECT count(*) FROM events WHERE kind = 'guest_mark'"),
                  4);
        EXPECT_EQ(cli_query(cli_path("unfit.db"), "SELECT count(*) FROM violations"), 0);
    }
}

/* What a CPUID exit takes, instructions and the core's code priced, on the host that the text describes. */
static int64_t cpuid_cycles(const char *hosts)
{
    char text[600];

    snprintf(text, sizeof text,
             "scenario: own\n%s\nvms:\n  - name: web\n    memory: 64MiB\n"
             "    vcpus: [{ stream: '%s/scenarios/migration/refused.stream', pcpu: 0 }]\n",
             hosts, test_source_dir());
    remove(cli_path("own.db"));
    EXPECT_EQ(hvsim("run '%s' --db own.db", cli_write_text("own.yaml", text)), 0);
    return cli_query(cli_path("own.db"), "SELECT min(cycles) FROM exits WHERE reason = 'CPUID'");
}

TEST(Migration, AHostsOwnProcessorIsThatProcessor)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    int64_t machine = cpuid_cycles("machine: { uarch: sandybridge-ep }");
    int64_t host =
        cpuid_cycles("machine: { uarch: skylake-sp }\nhosts: [{ name: a, uarch: sandybridge-ep }]");
    int64_t other = cpuid_cycles("machine: { uarch: skylake-sp }\nhosts: [{ name: a }]");

    EXPECT_EQ(host, machine);
    EXPECT_NE(host, other);
    EXPECT_EQ(cpuid_cycles("machine: { uarch: sandybridge-ep }\nhosts: [{ name: a, uarch: skylake-sp }]"),
              other);
}

TEST(Migration, IsExplained)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    EXPECT_EQ(hvsim("run '%s/scenarios/migration/precopy.yaml' --variant after --db e.db", test_source_dir()),
              0);
    EXPECT_EQ(hvsim("explain e.db --migration"), 0);
    EXPECT_STRSTR(cli_out, "the guest runs on the target");
    EXPECT_STRSTR(cli_out, "the guest stood still for");
    EXPECT_EQ(hvsim("run '%s' --db none.db", cli_scenario("none", 3)), 0);
    EXPECT_EQ(hvsim("explain none.db --migration"), 2);
    EXPECT_STRSTR(cli_err, "has no migration");
}
