// SPDX-License-Identifier: Apache-2.0
// Whole recordings, in every format, to the guest programs that they become.
#include "sim/scenario/stream.h"
#include "tests/shim/shim.h"
#include "tools/hvsim/import/recording.h"

#include <stdlib.h>
#include <string.h>

struct kept {
    char text[16384];
    size_t size;
};

static bool keep(void *context, struct vcpu *vcpu, const char *text, size_t size)
{
    (void)context;
    if (vcpu->output == NULL) {
        vcpu->output = calloc(1, sizeof(struct kept));
    }
    struct kept *kept = vcpu->output;
    if (kept == NULL || kept->size + size >= sizeof(kept->text)) {
        return false;
    }
    memcpy(kept->text + kept->size, text, size);
    kept->size += size;
    return true;
}

static struct recording *begin_recording(void)
{
    struct recording *recording = malloc(sizeof(*recording));
    EXPECT_TRUE(recording != NULL && recording_begin(recording, keep, NULL));
    return recording;
}

static void feed(struct recording *recording, const char *text)
{
    while (*text != 0) {
        size_t size = strcspn(text, "\n");
        EXPECT_TRUE(recording_line(recording, span_of(text, size)));
        text += size + (text[size] == '\n');
    }
}

static struct recording *import_text(const char *text)
{
    struct recording *recording = begin_recording();
    feed(recording, text);
    EXPECT_TRUE(recording_finish(recording));
    return recording;
}

static void end_recording(struct recording *recording)
{
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        free(recording->vcpus[i]->vcpu.output);
    }
    recording_end(recording);
    free(recording);
}

static char *read_fixture(const char *name)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/tests/fixtures/traces/%s", test_source_dir(), name);
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 65536);
    EXPECT_TRUE(file != NULL && text != NULL);
    if (file != NULL) {
        EXPECT_LT(fread(text, 1, 65535, file), 65535);
        (void)fclose(file);
    }
    return text;
}

// The stream of a vCPU, "" if it has none.
static const char *stream_of(const struct recording *recording, unsigned vm, int id)
{
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        const struct vcpu *v = &recording->vcpus[i]->vcpu;
        if (v->vm == vm && v->id == id && v->output != NULL) {
            return ((const struct kept *)v->output)->text;
        }
    }
    return "";
}

static const struct {
    const char *file;
    unsigned vm;
    int vcpu;
    const char *stream;
} fixtures[] = {
    {"trace-cmd.txt", 0, 0,
     "msi 236 50us\n"
     "hlt rip=0xffffffff81a00010 rec=60us\n"
     "4us wrmsr IA32_TSC_DEADLINE tsc+236us rip=0xffffffff81050020 rec=2us\n"
     "4us write 0xfe003000 2 rip=0xffffffff81060000 rec=3us\n"
     "7us read 0xfe00100e 2 rip=0xffffffff81060100 len=2 rec=10us\n"
     "5us out 0x3f8 1 72 rip=0xffffffff81070000 rec=15us\n"
     "10us cpuid 7 1 rip=0xffffffff81080000 rec=2us\n"
     "await PREEMPTION_TIMER rip=0xffffffff81090000 rec=2us\n"
     "8us msi 49 31us\n"
     "hlt rip=0xffffffff81a00010 rec=40us\n"
     "10us intr 246 rip=0xffffffff81a10000 rec=5us\n"},
    {"ftrace.txt", 0, 1,
     "write 0x1234ff8 4 rip=0x1000 rec=1250ns\n"
     "3us vmcall 5 1 2 3 4 rip=0x1010 rec=1us\n"
     "1us movtocr cr3 0x7000 rip=0x1020 rec=1us\n"},
    {"perf-script.txt", 0, 0,
     "intr 253 rip=0xffffffff810000a0 rec=5us\n"
     "20us xsetbv 0 7 rip=0xffffffff810000b0 rec=1us\n"},
    {"svm.txt", 0, 1,
     "write 0x3fe000 4 rip=0xfd11d rec=4us\n"
     "6us rdmsr IA32_APIC_BASE rip=0xfd200 rec=2us\n"
     "8us movtocr cr4 0x6b0 rip=0xfd300 rec=2us\n"
     "8us out 96 1 0 rip=0xfd400 rec=2us\n"
     "8us exception 6 rip=0xfd500 rec=2us\n"},
    {"bare.txt", 0, 0,
     "write 0x1ab000 4 rip=0xffffffffffbb0000\n"
     "1us msi 253 3us\n"
     "hlt rip=0xffffffffffbb1000\n"
     "1us cpuid 0 rip=0xffffffffffbb2000\n"},
    {"mail.txt", 0, 0,
     "write 0x5000 4 rip=0xfffff80298700000 rec=4us\n"
     "6us intr 253 rip=0xfffff80298700000 rec=10us\n"
     "20us exception 14 2 0x9000 rip=0xfffff80298700010 rec=11us\n"},
    {"two-vms.txt", 0, 0, "9us cpuid 0 rip=0x1000\n"},
    {"two-vms.txt", 0, 1, "12us invd rip=0x1000\n"},
    {"two-vms.txt", 1, 0, "10us rdtsc rip=0x1000\n"},
    {"two-vms.txt", 1, 1, "11us wbinvd rip=0x1000\n"},
    {"eoi.txt", 0, 0,
     "10us msi 43 20us\n"
     "hlt rip=0x1000 rec=30us\n"
     "5us cpuid 0 rip=0x1002 rec=1us\n"
     "on 43:\niret\n"
     "4us eoi rip=0x1010 rec=1us\n"},
};

TEST(ImportStreams, EveryFormatBecomesItsProgram)
{
    for (size_t i = 0; i < sizeof(fixtures) / sizeof(fixtures)[0]; i++) {
        char *text = read_fixture(fixtures[i].file);
        struct recording *recording = import_text(text);
        test_row("%s vm%u vcpu%d", fixtures[i].file, fixtures[i].vm, fixtures[i].vcpu);
        EXPECT_STREQ(stream_of(recording, fixtures[i].vm, fixtures[i].vcpu), fixtures[i].stream);
        EXPECT_EQ(recording->bad_lines, 0);
        end_recording(recording);
        free(text);
    }
}

TEST(ImportStreams, Arm64IsCountedByClass)
{
    char *text = read_fixture("arm64.txt");
    struct recording *recording = import_text(text);
    EXPECT_EQ(recording->exits, 3);
    EXPECT_EQ(recording->arm64_exits, 3);
    stats_sort(&recording->stats);
    ASSERT_EQ(recording->stats.row_count, 3);
    EXPECT_STREQ(recording->stats.rows[0].name, "DABT_LOW");
    EXPECT_STREQ(recording->stats.rows[1].name, "IRQ"); // Its class means nothing.
    EXPECT_STREQ(recording->stats.rows[2].name, "SYS64");
    EXPECT_EQ(stats_percentile_ns(&recording->stats, &recording->stats.rows[2], 50), 4000);
    EXPECT_STREQ(stream_of(recording, 0, 0), "");
    end_recording(recording);
    free(text);
}

struct complaint {
    uint64_t lines[16];
    unsigned count;
};

static void note(void *context, uint64_t line, const char *why)
{
    struct complaint *c = context;
    EXPECT_TRUE(why[0] != 0);
    c->lines[c->count++ % 16] = line;
}

TEST(ImportStreams, BadLinesAreToldByNumberAndLeftOut)
{
    struct complaint told = {.count = 0};
    char *text = read_fixture("bad-lines.txt");
    struct recording *recording = begin_recording();
    recording->complain = note;
    recording->complain_context = &told;
    feed(recording, text);
    EXPECT_TRUE(recording_finish(recording));
    static const uint64_t want[] = {2, 4, 5, 6, 9};
    EXPECT_EQ(recording->bad_lines, 5);
    ASSERT_EQ(told.count, 5);
    EXPECT_MEMEQ(told.lines, want, sizeof(want));
    EXPECT_EQ(recording->exits, 2);
    end_recording(recording);
    free(text);
}

TEST(ImportStreams, OnlyTheFirstTenBadLinesAreShown)
{
    struct complaint told = {.count = 0};
    struct recording *recording = begin_recording();
    recording->complain = note;
    recording->complain_context = &told;
    for (unsigned i = 0; i < 25; i++) {
        EXPECT_TRUE(recording_line(recording, span_of(" v-1 [0] 1.0: kvm_exit: x", 25)));
    }
    EXPECT_TRUE(recording_finish(recording));
    EXPECT_EQ(told.count, 10);
    EXPECT_EQ(recording->bad_lines, 25);
    end_recording(recording);
}

#define T(us) " v-9 [0] 1.0" us ": "
#define ENTRY(us) T(us) "kvm_entry: vcpu 0 rip 0x5000\n"
#define EXIT_OF(us, reason) T(us) "kvm_exit: reason " reason " rip 0x1000 info 0 0\n"
#define DEADLINE(us, value) EXIT_OF(us, "MSR_WRITE") T(us) "kvm_msr: msr_write 6e0 = " value "\n"
#define ACCEPT(us, vector) T(us) "kvm_apic_accept_irq: apicid 0 vec " vector " (Fixed|edge)\n"

// The rules about timers and halts, each alone.
static const struct {
    const char *law, *text, *stream;
} rules[] = {
    {"a deadline that a HLT waits for fires when recorded",
     ENTRY("00000") DEADLINE("00010", "0x999") ENTRY("00011") EXIT_OF("00020", "HLT") ACCEPT("00400", "236")
         ENTRY("00402"),
     "10us wrmsr IA32_TSC_DEADLINE tsc+390us rip=0x1000 rec=1us\n"
     "9us hlt rip=0x1000 rec=382us\n"},
    {"but not before the HLT itself, whatever the simulated handling takes",
     ENTRY("00000") DEADLINE("00010", "0x999") ENTRY("00011") EXIT_OF("00020", "HLT") ACCEPT("00021", "236")
         ENTRY("00022"),
     "10us wrmsr IA32_TSC_DEADLINE tsc+13us rip=0x1000 rec=1us\n"
     "9us hlt rip=0x1000 rec=2us\n"},
    {"a deadline that is overwritten is kept behind the next write",
     ENTRY("00000") DEADLINE("00010", "0x999") ENTRY("00011") DEADLINE("00110", "0x998") ENTRY("00111")
         EXIT_OF("00120", "PREEMPTION_TIMER"),
     "10us wrmsr IA32_TSC_DEADLINE tsc+134us rip=0x1000 rec=1us\n" // 100 us + a quarter + slack.
     "99us wrmsr IA32_TSC_DEADLINE tsc+10us rip=0x1000 rec=1us\n"
     "await PREEMPTION_TIMER rip=0x1000\n"},
    {"a deadline in the past fires at once",
     ENTRY("00000") EXIT_OF("00010", "MSR_WRITE") ACCEPT("00010", "236")
         T("00010") "kvm_msr: msr_write 6e0 = 0x999\n" ENTRY("00011"),
     "10us wrmsr IA32_TSC_DEADLINE tsc+0ns rip=0x1000 rec=1us\n"},
    {"a write of 0 disarms", ENTRY("00000") DEADLINE("00010", "0x0") ENTRY("00011"),
     "10us wrmsr IA32_TSC_DEADLINE 0 rip=0x1000 rec=1us\n"},
    {"a timer exit without a write cannot be caused",
     ENTRY("00000") EXIT_OF("00010", "PREEMPTION_TIMER") ENTRY("00011") EXIT_OF("00020", "CPUID"),
     "19us cpuid 0 rip=0x1000\n"}, // Its guest time is not lost.
    {"a halt that nobody was seen to end gets an interrupt when it ended",
     ENTRY("00000") EXIT_OF("00010", "HLT") ENTRY("00500"), "10us msi 253 490us\nhlt rip=0x1000 rec=490us\n"},
    {"a device that comes before the timer wakes; the timer is put off",
     ENTRY("00000") DEADLINE("00010", "0x999") ENTRY("00011") EXIT_OF("00020", "HLT") ACCEPT("00100", "49")
         ACCEPT("00101", "236") ENTRY("00102"),
     "10us wrmsr IA32_TSC_DEADLINE tsc+3600000000us rip=0x1000 rec=1us\n"
     "9us msi 49 80us\nhlt rip=0x1000 rec=82us\n"},
    {"an exit without kvm_entry has no handling time",
     ENTRY("00000") EXIT_OF("00010", "CPUID") EXIT_OF("00020", "RDTSC") ENTRY("00021"),
     "10us cpuid 0 rip=0x1000\n1us rdtsc rip=0x1000 rec=1us\n"},
    {"an EOI exit without a halt gets its interrupt from the exit before",
     ENTRY("00000") EXIT_OF("00010", "CPUID") ENTRY("00011")
         T("00020") "kvm_exit: reason EOI_INDUCED rip 0x1000 info 31 0\n",
     "10us msi 49 500ns\ncpuid 0 rip=0x1000 rec=1us\non 49:\niret\n9us eoi rip=0x1000\n"},
    {"a page beyond the scenario's memory is folded, a device's is not",
     ENTRY("00000") EXIT_OF("00010", "EPT_VIOLATION")
         T("00010") "kvm_page_fault: address 0x40000008 error_code 0x14\n" ENTRY("00011") EXIT_OF(
             "00020", "EPT_VIOLATION") T("00020") "kvm_page_fault: address 0xfed00ffe error_code 0x0\n",
     "10us fetch 0x1000008 rip=0x1000 rec=1us\n9us read 0xfed00ffc 4 rip=0x1000\n"},
};

TEST(ImportStreams, RulesOfTimersAndHalts)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules)[0]; i++) {
        struct recording *recording = import_text(rules[i].text);
        test_row("%s", rules[i].law);
        EXPECT_STREQ(stream_of(recording, 0, 0), rules[i].stream);
        EXPECT_EQ(recording->bad_lines, 0);
        end_recording(recording);
    }
}

TEST(ImportStreams, TheTscIsLearntFromLateness)
{
    // 2 GHz: each deadline is seen reached 4000 cycles (2 us) before its line. The guest asked for 500 us
    // each time, of which the trace shows 502; the first writes profit too, for they still wait.
    struct recording *recording = begin_recording();
    for (unsigned i = 0; i < 10; i++) {
        char line[512];
        unsigned long at = 1000000 + i * 1000ul, tsc = 2000 * (at - 900000);
        (void)snprintf(line, sizeof(line),
                       " v-9 [0] 1.%06lu: kvm_exit: reason MSR_WRITE rip 0x1000 info 0 0\n"
                       " v-9 [0] 1.%06lu: kvm_msr: msr_write 6e0 = %lx\n"
                       " v-9 [0] 1.%06lu: kvm_entry: vcpu 0 rip 0x1002\n"
                       " v-9 [0] 1.%06lu: kvm_exit: reason PREEMPTION_TIMER rip 0x1004 info 0 0\n"
                       " v-9 [0] 1.%06lu: kvm_entry: vcpu 0 rip 0x1004\n"
                       " v-9 [0] 1.%06lu: kvm_wait_lapic_expire: vcpu 0: delta 4000 (late)\n",
                       at - 1000000, at - 1000000, tsc + 1000000, at - 1000000 + 1, at - 1000000 + 502,
                       at - 1000000 + 502, at - 1000000 + 502);
        feed(recording, line);
    }
    EXPECT_TRUE(recording_finish(recording));
    const char *stream = stream_of(recording, 0, 0);
    unsigned count = 0;
    for (const char *hit = stream; (hit = strstr(hit, "tsc+500us ")) != NULL; hit++) {
        count++;
    }
    EXPECT_EQ(count, 10);
    EXPECT_EQ(tsc_line_khz(&recording->vcpus[0]->vcpu.tsc), 2000000);
    end_recording(recording);
}

TEST(ImportStreams, MoreExitsThanCanWaitKeepTheirOrder)
{
    enum { EXITS = 3 * VCPU_RING };
    struct recording *recording = begin_recording();
    char line[200];
    for (unsigned i = 0; i < EXITS; i++) {
        (void)snprintf(line, sizeof(line), " v-9 [0] 1.%06u: kvm_exit: reason RDTSC rip 0x%x info 0 0", i * 2,
                       0x1000 + i);
        feed(recording, line);
    }
    EXPECT_TRUE(recording_finish(recording));
    const char *at = stream_of(recording, 0, 0);
    for (unsigned i = 0; i < EXITS; i++) {
        (void)snprintf(line, sizeof(line), "rdtsc rip=0x%x\n", 0x1000 + i);
        at = strstr(at, line);
        ASSERT_TRUE(at != NULL);
    }
    end_recording(recording);
}

TEST(ImportStreams, HistogramsAreExactWhereItMatters)
{
    struct histogram h = {0};
    for (uint64_t i = 1; i <= 1000; i++) {
        EXPECT_TRUE(histogram_add(&h, i));
    }
    EXPECT_EQ(histogram_percentile(&h, 50), 500);
    EXPECT_EQ(histogram_percentile(&h, 99), 990);
    EXPECT_EQ(histogram_percentile(&h, 100), 1000);
    histogram_free(&h);
    EXPECT_EQ(histogram_percentile(&h, 50), 0);
    static const uint64_t values[] = {0, 1, 1023, 1024, 2047, 2048, 123456789, 1ull << 48, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values)[0]; i++) {
        EXPECT_TRUE(histogram_add(&h, values[i]));
        uint64_t got = histogram_percentile(&h, 50);
        EXPECT_LE(got, values[i]);
        EXPECT_LE(values[i] - got, values[i] / 1024);
        histogram_free(&h);
    }
}
