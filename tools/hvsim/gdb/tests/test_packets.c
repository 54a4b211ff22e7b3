// SPDX-License-Identifier: Apache-2.0
/* The protocol, packet by packet. */
#include "tests/shim/shim.h"
#include "tools/hvsim/gdb/tests/fake_target.h"

#include <stdlib.h>
#include <string.h>

static struct gdb_state state;
static struct gdb_reply reply;

static enum gdb_verdict ask(const char *text)
{
    const struct gdb_target target = fake_target();

    free(reply.said);
    return gdb_packet(&state, &target, text, strlen(text), &reply);
}

static void begin(void)
{
    memset(&state, 0, sizeof state);
    state.current = 1;
    snprintf(state.stopped, sizeof state.stopped, "T05thread:1;");
}

static enum rsp_event feed(struct rsp *r, const char *text)
{
    enum rsp_event last = RSP_NONE;

    for (; *text; text++)
        last = rsp_feed(r, (uint8_t)*text);
    return last;
}

TEST(Rsp, APacketIsWhatItsChecksumSays)
{
    static struct rsp r;

    EXPECT_EQ(feed(&r, "+$m0,4#fd"), RSP_PACKET);
    EXPECT_STREQ(r.text, "m0,4");
    EXPECT_EQ(feed(&r, "$m0,4#fe"), RSP_BAD);
    EXPECT_EQ(feed(&r, "$m0,4#zz"), RSP_NONE);
    EXPECT_EQ(feed(&r, "$lost$OK#9a"), RSP_PACKET);
    EXPECT_STREQ(r.text, "OK");
    EXPECT_EQ(feed(&r, "\x03"), RSP_INTERRUPT);
    EXPECT_EQ(feed(&r, "-"), RSP_RESEND);
}

TEST(Rsp, WhatIsEncodedIsReadAgain)
{
    static struct rsp r;
    static char out[RSP_ENCODED_MAX(256)];
    char all[256];
    enum rsp_event last = RSP_NONE;

    for (unsigned i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    size_t size = rsp_encode(out, all, sizeof all);

    for (size_t i = 0; i < size; i++)
        last = rsp_feed(&r, (uint8_t)out[i]);
    EXPECT_EQ(last, RSP_PACKET);
    EXPECT_EQ(r.length, sizeof all);
    EXPECT_EQ(memcmp(r.text, all, sizeof all), 0);
}

TEST(Rsp, TooLongAPacketIsDropped)
{
    static struct rsp r;

    rsp_feed(&r, '$');
    for (unsigned i = 0; i < RSP_TEXT_MAX + 100; i++)
        EXPECT_EQ(rsp_feed(&r, 'a'), RSP_NONE);
    rsp_feed(&r, '#');
    rsp_feed(&r, '0');
    EXPECT_EQ(rsp_feed(&r, '0'), RSP_BAD);
    EXPECT_EQ(feed(&r, "$OK#9a"), RSP_PACKET);
}

TEST(Packets, HaveTheirReplies)
{
    static const struct {
        const char *packet, *reply;
    } rows[] = {
        {"?", "T05thread:1;"},
        {"qC", "QC1"},
        {"qfThreadInfo", "m1,2"},
        {"qsThreadInfo", "l"},
        {"qThreadExtraInfo,2", "66616b652032"},
        {"qThreadExtraInfo,3", "E0e"},
        {"T1", "OK"},
        {"T0", "E0e"},
        {"T3", "E0e"},
        {"qAttached", "1"},
        {"vMustReplyEmpty", ""},
        {"qTStatus", ""},
        {"", ""},
        {"Hg2", "OK"},
        {"p0", "0200000000000000"},
        {"Hg-1", "OK"},
        {"p0", "0100000000000000"},
        {"Hg99", "E0e"},
        {"H", "E0e"},
        {"pffff", "E0e"},
        {"p", "E01"},
        {"m1000,4", "00010203"},
        {"m1ffe,4", "feff"}, // As far as there is memory.
        {"m2000,4", "E0e"},
        {"mffffffffffffffff,1", "E0e"},
        {"m10000000000000000,1", "E01"},
        {"m1000", "E01"},
        {"M1000,1:00", "E1e"},
        {"G00", "E1e"},
        {"P0=00", "E1e"},
        {"Z0,1000,1", "OK"},
        {"Z9,1000,1", "E01"},
        {"Z0,1000", "E01"},
        {"z0,1234,1", "OK"},
        {"c1000", "E1e"},
        {"s1000", "E1e"},
        {"vCont?", "vCont;c;C;s;S"},
        {"vCont;x", "E01"},
        {"vCont;s:9", "E0e"},
        {"vCont;S", "E01"},
        {"qXfer:features:read:other.xml:0,10", ""},
        {"qXfer:features:read:target.xml:fffff,10", "l"},
        {"qXfer:features:read:target.xml:0,6", "m<?xml "},
        {"qXfer:features:read:target.xml:0", "E01"},
        {"QStartNoAckMode", "OK"},
        {"D", "OK"},
    };

    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].packet);
        ask(rows[i].packet);
        EXPECT_STREQ(reply.text, rows[i].reply);
        EXPECT_EQ(reply.length, strlen(rows[i].reply));
    }
    EXPECT_TRUE(state.no_ack);
}

TEST(Packets, SayHowTheRunGoesOn)
{
    static const struct {
        const char *packet;
        enum gdb_verdict verdict;
        unsigned stepping;
    } rows[] = {
        {"c", GDB_CONTINUE, 1},         {"s", GDB_STEP, 1},           {"S05", GDB_STEP, 1},
        {"vCont;c", GDB_CONTINUE, 1},   {"vCont;s:2;c", GDB_STEP, 2}, {"vCont;s:1;c:2", GDB_STEP, 1},
        {"vCont;C05;s:2", GDB_STEP, 2}, {"bc", GDB_BACK_CONTINUE, 1}, {"bs", GDB_BACK_STEP, 1},
        {"Hc2", GDB_STAY, 1},           {"bs", GDB_BACK_STEP, 2},     {"s", GDB_STEP, 2},
        {"D", GDB_DETACH, 2},           {"k", GDB_KILL, 2},           {"vKill;1", GDB_KILL, 2},
    };

    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].packet);
        EXPECT_EQ(ask(rows[i].packet), rows[i].verdict);
        if (rows[i].verdict != GDB_STAY)
            EXPECT_EQ(state.stepping, rows[i].stepping);
    }
}

TEST(Packets, BreakpointsAreKeptOnce)
{
    begin();
    ask("Z0,1000,1");
    ask("Z0,1000,1");
    ask("Z2,2000,8");
    EXPECT_EQ(state.stop_count, 2);
    ask("z0,1000,1");
    EXPECT_EQ(state.stop_count, 1);
    EXPECT_EQ(state.stops[0].kind, GDB_WRITE);
    EXPECT_EQ(state.stops[0].size, 8);
    for (unsigned i = 0; i < 2 * GDB_STOPS_MAX; i++) {
        char text[40];

        snprintf(text, sizeof text, "Z1,%x,1", i);
        ask(text);
    }
    EXPECT_EQ(state.stop_count, GDB_STOPS_MAX);
    EXPECT_STREQ(reply.text, "E1e");
}

TEST(Packets, MonitorSaysSomething)
{
    begin();
    ask("qRcmd,6869");
    EXPECT_STREQ(reply.text, "OK");
    EXPECT_STREQ(reply.said, "1: hi\n");
    ask("qRcmd,zz");
    EXPECT_STREQ(reply.said, "1: \n");
}

/* The whole description can be had in pieces of any size, and `g` has as many digits as it says. */
TEST(Packets, TheDescriptionAndTheRegistersAgree)
{
    static char all[1 << 16];
    size_t at = 0, bits = 0;

    begin();
    do {
        char text[80];

        snprintf(text, sizeof text, "qXfer:features:read:target.xml:%zx,%x", at, 777);
        ask(text);
        memcpy(all + at, reply.text + 1, reply.length - 1);
        at += reply.length - 1;
    } while (reply.text[0] == 'm');
    EXPECT_STREQ(all, gdb_regs_xml());
    for (const char *reg = all; (reg = strstr(reg, "bitsize=\"")) != NULL; reg++)
        bits += strtoul(reg + strlen("bitsize=\""), NULL, 10);
    ask("g");
    EXPECT_EQ(reply.length * 4, bits);
}
