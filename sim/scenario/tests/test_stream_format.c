// SPDX-License-Identifier: Apache-2.0
// What each form of a stream file means.
#include "sim/scenario/tests/stream_test.h"

#include "spec/exit_reasons.h"
#include "spec/msrs.h"
#include "spec/vmcs.h"

#define HEAD "hvsim-stream 1\n"

// One line alone: the op that it makes.
static const struct {
    const char *line;
    struct replay_op op; // rip and line are not compared.
} ops[] = {
    {"cpuid 7 1", {.kind = REPLAY_CPUID, .length = 2, .args = {7, 1}}},
    {"500 hlt", {.kind = REPLAY_HLT, .length = 1, .gap_cycles = 500}},
    {"2_000 hlt", {.kind = REPLAY_HLT, .length = 1, .gap_cycles = 2000}},
    {"0x10 hlt", {.kind = REPLAY_HLT, .length = 1, .gap_cycles = 16}},
    {"3ns hlt", {.kind = REPLAY_HLT, .length = 1, .gap_cycles = 6}},
    {"3us hlt", {.kind = REPLAY_HLT, .length = 1, .gap_cycles = 6000}},
    {"3ms hlt", {.kind = REPLAY_HLT, .length = 1, .gap_cycles = 6000000}},
    {"hlt len=2", {.kind = REPLAY_HLT, .length = 2}},
    {"hlt rec=5us", {.kind = REPLAY_HLT, .length = 1, .flags = REPLAY_HAS_RECORDED, .recorded_ns = 5000}},
    {"rdmsr IA32_APIC_BASE", {.kind = REPLAY_RDMSR, .length = 2, .args = {MSR_IA32_APIC_BASE}}},
    {"rdmsr 0x1b", {.kind = REPLAY_RDMSR, .length = 2, .args = {MSR_IA32_APIC_BASE}}},
    {"wrmsr KVM_STEAL_TIME 9", {.kind = REPLAY_WRMSR, .length = 2, .args = {PV_MSR_KVM_STEAL_TIME, 9}}},
    // tsc+ counts TSC cycles; times go by the TSC's clock, not the core's.
    {"wrmsr IA32_TSC_DEADLINE tsc+70",
     {.kind = REPLAY_WRMSR,
      .length = 2,
      .flags = REPLAY_ARG1_TSC_RELATIVE,
      .args = {MSR_IA32_TSC_DEADLINE, 70}}},
    {"wrmsr IA32_TSC_DEADLINE tsc+3us",
     {.kind = REPLAY_WRMSR,
      .length = 2,
      .flags = REPLAY_ARG1_TSC_RELATIVE,
      .args = {MSR_IA32_TSC_DEADLINE, 3000}}},
    {"in 0x1f0 2 256 0x1000", {.kind = REPLAY_IN, .length = 1, .args = {0x1f0, 2, 256, 0x1000}}},
    {"in 0x3fd 1", {.kind = REPLAY_IN, .length = 1, .args = {0x3fd, 1}}},
    {"out 0x3f8 1 0x41 16", {.kind = REPLAY_OUT, .length = 1, .args = {0x3f8, 1, 0x41, 16}}},
    {"read 0xfec00010", {.kind = REPLAY_READ, .length = 3, .args = {0xfec00010, 4}}},
    {"write 0xfee00300 8 0xffffffffffffffff",
     {.kind = REPLAY_WRITE, .length = 3, .args = {0xfee00300, 8, UINT64_MAX}}},
    {"xadd 0x1000 8 5", {.kind = REPLAY_XADD, .length = 5, .args = {0x1000, 8, 5}}},
    {"xchg 0x1000 1 5", {.kind = REPLAY_XCHG, .length = 3, .args = {0x1000, 1, 5}}},
    {"cmpxchg 0x1000 4 5 6", {.kind = REPLAY_CMPXCHG, .length = 5, .args = {0x1000, 4, 5, 6}}},
    {"fetch 0x3fffffffffff", {.kind = REPLAY_FETCH, .length = 1, .args = {0x3fffffffffff}}},
    {"movtocr cr3 0x1000", {.kind = REPLAY_MOVTOCR, .length = 3, .args = {3, 0x1000}}},
    {"movfromcr 8", {.kind = REPLAY_MOVFROMCR, .length = 3, .args = {8}}},
    {"movtodr 7 0x400", {.kind = REPLAY_MOVTODR, .length = 3, .args = {7, 0x400}}},
    {"vmcall 1 2 3 4 5", {.kind = REPLAY_VMCALL, .length = 3, .args = {1, 2, 3, 4, 5}}},
    {"exception 14 2 0xdead000", {.kind = REPLAY_EXCEPTION, .args = {14, 2, 0xdead000}}},
    {"exception 1 0 0x4000", {.kind = REPLAY_EXCEPTION, .args = {1, 0, 0x4000}}},
    {"intr 0xec", {.kind = REPLAY_INTR, .args = {0xec}}},
    {"msi 16", {.kind = REPLAY_MSI, .args = {16}}},
    {"msi 42 40us", {.kind = REPLAY_MSI, .args = {42, 40000}}}, // Nanoseconds, whatever the clock.
    {"msi 42 700", {.kind = REPLAY_MSI, .args = {42, 700}}},
    {"await PREEMPTION_TIMER", {.kind = REPLAY_AWAIT, .args = {EXIT_REASON_PREEMPTION_TIMER}}},
    {"vmread VM_EXIT_REASON", {.kind = REPLAY_VMREAD, .length = 4, .args = {VM_EXIT_REASON}}},
    {"vmwrite GUEST_RIP 5", {.kind = REPLAY_VMWRITE, .length = 4, .args = {GUEST_RIP, 5}}},
    {"vmwrite 0x6800 5", {.kind = REPLAY_VMWRITE, .length = 4, .args = {GUEST_CR0, 5}}},
};

TEST(StreamFormat, EachLineMakesItsOp)
{
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops)[0]; i++) {
        char text[200];
        (void)snprintf(text, sizeof(text), HEAD "%s\n", ops[i].line);
        struct stream_set set = parse_good(text);
        ASSERT_EQ(set.count, 1);
        struct replay_op got = set.programs[0].ops[0], want = ops[i].op;
        EXPECT_EQ(set.programs[0].op_count, 2);
        EXPECT_EQ(set.programs[0].ops[1].kind, REPLAY_END);
        EXPECT_EQ(got.line, 2);
        want.line = got.line;
        want.rip = got.rip;
        EXPECT_MEMEQ(&got, &want, sizeof(got));
        if (test_failed()) {
            TEST_FAIL("in the line: %s", ops[i].line);
            return;
        }
        stream_free(&set);
    }
}

TEST(StreamFormat, RipFollowsFromLengthsUnlessGiven)
{
    struct stream_set set = parse_good(HEAD "stream main rip=0x1000\n"
                                            "cpuid 0\nhlt\nintr 0xec\nhlt rip=0x5000 len=2\n"
                                            "again:\nbranch VM_EXIT_REASON 1 1 again\ncpuid 1\n");
    static const uint64_t rips[] = {0x1000, 0x1002, 0x1003, 0x5000, 0x5002, 0x5006, 0x5008};
    const struct replay_program *p = set.programs;
    ASSERT_EQ(p->op_count, 7);
    EXPECT_EQ(p->initial_rip, 0x1000);
    for (unsigned i = 0; i < 7; i++) {
        EXPECT_EQ(p->ops[i].rip, rips[i]);
        EXPECT_EQ(p->ops[i].flags, i == 3 ? REPLAY_HAS_RIP : 0);
    }
    stream_free(&set);
}

TEST(StreamFormat, LoopsKnowTheirEndsAndDepth)
{
    struct stream_set set = parse_good(HEAD "loop 3 {\nhlt\nloop {\ncpuid 0\n}\n}\n");
    const struct replay_op *op = set.programs[0].ops;
    EXPECT_EQ(op[0].kind, REPLAY_LOOP);
    EXPECT_EQ(op[0].args[0], 3);
    EXPECT_EQ(op[0].args[1], 5);
    EXPECT_EQ(op[0].args[2], 0);
    EXPECT_EQ(op[2].kind, REPLAY_LOOP);
    EXPECT_EQ(op[2].args[0], 0); // For ever.
    EXPECT_EQ(op[2].args[1], 4);
    EXPECT_EQ(op[2].args[2], 1);
    EXPECT_EQ(op[4].kind, REPLAY_ENDLOOP);
    EXPECT_EQ(op[4].args[0], 2);
    EXPECT_EQ(op[4].args[1], 1);
    EXPECT_EQ(op[5].args[0], 0);
    stream_free(&set);
}

TEST(StreamFormat, HandlersStandBehindTheMainPart)
{
    struct stream_set set =
        parse_good(HEAD "hlt\non 236:\nloop 2 {\ncpuid 0\n}\niret\ncpuid 1\non 0x2b:\niret\n");
    const struct replay_program *p = set.programs;
    ASSERT_EQ(p->op_count, 9);
    EXPECT_EQ(p->ops[1].kind, REPLAY_CPUID);
    EXPECT_EQ(p->ops[2].kind, REPLAY_END);
    EXPECT_EQ(p->handler[236], 3);
    EXPECT_EQ(p->ops[3].args[1], 5); // The loop's indexes moved with it.
    EXPECT_EQ(p->ops[5].args[0], 3);
    EXPECT_EQ(p->ops[6].kind, REPLAY_IRET);
    EXPECT_EQ(p->handler[0x2b], 7);
    EXPECT_EQ(p->ops[7].kind, REPLAY_IRET);
    EXPECT_EQ(p->ops[8].kind, REPLAY_END);
    EXPECT_EQ(p->handler[0], REPLAY_NO_HANDLER);
    stream_free(&set);
}

TEST(StreamFormat, LabelsAndStreamsBecomeNumbers)
{
    struct stream_set set = parse_good(HEAD "stream main rip=0x1000\n"
                                            "again:\n"
                                            "vmwrite GUEST_IDTR_BASE stream:l2\n"
                                            "vmwrite HOST_RIP label:exit\n"
                                            "vmwrite GUEST_RIP label:begin\n"
                                            "exit:\n"
                                            "vmresume\n"
                                            "branch VM_EXIT_REASON 0xffff 48 again\n"
                                            "goto over\n"
                                            "hlt\n"
                                            "over:\n"
                                            "stream l2 rip=0x8000\n"
                                            "cpuid 0\n"
                                            "begin:\n"
                                            "cpuid 1\n"
                                            "goto begin\n");
    ASSERT_EQ(set.count, 2);
    const struct replay_op *op = set.programs[0].ops;
    EXPECT_EQ(op[0].args[1], replay_idtr_base(test_target.vm, test_target.vcpu, 1));
    EXPECT_EQ(op[1].args[1], op[3].rip);
    EXPECT_EQ(op[2].args[1], 0x8002);
    EXPECT_EQ(op[4].args[3], 0);
    EXPECT_EQ(op[5].args[0], 7);
    EXPECT_EQ(op[7].kind, REPLAY_END);
    EXPECT_STREQ(set.programs[1].name, "l2");
    EXPECT_EQ(set.programs[1].ops[2].args[0], 1);
    stream_free(&set);
}

TEST(StreamFormat, CommentsBlanksAndLineEndsDoNotCount)
{
    struct stream_set set =
        parse_good("\xef\xbb\xbf# before\r\n\r\nhvsim-stream 1 # after\r\n\t 5\thlt   # why\r\n#\n hlt");
    ASSERT_EQ(set.programs[0].op_count, 3);
    EXPECT_EQ(set.programs[0].ops[0].gap_cycles, 5);
    EXPECT_EQ(set.programs[0].ops[1].line, 6);
    EXPECT_STREQ(set.programs[0].name, "main");
    stream_free(&set);
}

TEST(StreamFormat, AJumpMayLeaveLoops)
{
    struct stream_set set =
        parse_good(HEAD "loop {\nloop 4 {\nhlt\nbranch VM_EXIT_REASON 1 1 out\n}\n}\nout:\nhlt\n");
    EXPECT_EQ(set.programs[0].ops[3].args[3], 6);
    stream_free(&set);
}

TEST(StreamFormat, EachVcpuHasItsOwnTables)
{
    // The same file for another vCPU finds another IDTR base.
    static const char text[] = HEAD "vmwrite GUEST_IDTR_BASE stream:n\nstream n\nhlt\n";
    struct stream_target other = test_target;
    struct stream_set set;
    struct stream_error error;
    other.vcpu = 6;
    ASSERT_TRUE(stream_parse("t", text, sizeof(text) - 1, &other, &set, &error));
    EXPECT_EQ(set.programs[0].ops[0].args[1], replay_idtr_base(2, 6, 1));
    stream_free(&set);
}
