// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/terminal.h"
#include "spec/console_input.h"
#include "tests/shim/shim.h"
#include <stdlib.h>
#include <string.h>

static struct scenario_program program;
static struct scenario scenario;
static struct terminal_set set;

// A VM with a script at its console, and one without.
static void begin(const char *script)
{
    struct console_script_error error;
    struct user_error e = {""};

    scenario = (struct scenario){.vms = calloc(2, sizeof *scenario.vms), .vm_count = 2};
    program = (struct scenario_program){0};
    scenario.vms[0].program = &program;
    scenario.vms[0].name = (char[]){"guest"};
    EXPECT_EQ(console_script_parse(script, &program.typing, &error), 0);
    EXPECT_EQ(terminals_load(&set, &scenario, &e), 0);
    terminals_reset(&set);
}
static void end(void)
{
    terminals_free(&set);
    console_script_free(&program.typing);
    free(scenario.vms);
}
static void show(const char *text)
{
    while (*text)
        terminals_show(&set, 0, (uint8_t)*text++);
}
// All that is typed before something must be shown; pauses are in angle brackets.
static const char *typed(void)
{
    static char text[200];
    size_t at = 0;
    uint32_t word;

    for (*text = 0; (word = terminals_type(&set, 0)) != CONSOLE_INPUT_NONE;) {
        if (word >> 8)
            at += (size_t)snprintf(text + at, sizeof text - at, "<%u,%u>", word >> 8 & 0xff, word >> 16);
        at += (size_t)snprintf(text + at, sizeof text - at, "%c", (char)word);
    }
    return text;
}

TEST(Terminal, TypesWhatIsWaitedForAsSoonAsItWasShown)
{
    char left[200];

    begin("wait in:\nenter me\nwait $\npause 3ms\ntype ls\n");
    EXPECT_STREQ(typed(), "");
    show("log in");
    EXPECT_STREQ(typed(), "");
    EXPECT_TRUE(terminals_left(&set, 0, left, sizeof left));
    EXPECT_STREQ(left, "line 1 of the script still waits for `in:`; 5 bytes were not typed");
    show(": x$ $");
    EXPECT_STREQ(typed(), "<10,0>me\r<10,3>ls");
    EXPECT_FALSE(terminals_left(&set, 0, left, sizeof left));
    show("in:$");
    EXPECT_STREQ(typed(), "");
    end();
}

// A text counts once, and only behind the one before it.
TEST(Terminal, WhatWasFoundIsUsedUp)
{
    begin("wait $\nwait $\ntype a\nwait b\ntype c");
    show("b $");
    EXPECT_STREQ(typed(), "");
    show("$ab");
    EXPECT_STREQ(typed(), "<10,0>a<10,0>c");
    end();
}

// However it is cut up, and where its beginning comes twice.
TEST(Terminal, FindsATextByteByByte)
{
    begin("wait ababc\ntype x");
    for (const char *p = "abababab"; *p; p++) {
        terminals_show(&set, 0, (uint8_t)*p);
        EXPECT_STREQ(typed(), "");
    }
    show("c");
    EXPECT_STREQ(typed(), "<10,0>x");
    end();
}

TEST(Terminal, EachRunBeginsAnew)
{
    begin("type a\nwait b\ntype c");
    for (uint32_t run = 0; run < 2; run++) {
        EXPECT_STREQ(typed(), "a");
        show("xb");
        EXPECT_STREQ(typed(), "<10,0>c");
        terminals_reset(&set);
    }
    EXPECT_STREQ(typed(), "a");
    end();
}

TEST(Terminal, OthersHaveNobody)
{
    begin("type a");
    EXPECT_EQ(terminals_type(&set, 1), CONSOLE_INPUT_NONE);
    EXPECT_EQ(terminals_type(&set, 2), CONSOLE_INPUT_NONE);
    terminals_show(&set, 2, 'x');
    EXPECT_STREQ(typed(), "a");
    end();
}

// Two texts that differ in anything have different digests.
TEST(Terminal, TheRunsRowNamesWhatIsTyped)
{
    static const char *const scripts[] = {
        "type a", "type b", "wait a\ntype a", "pause 1ms\ntype a", "pause 2ms\ntype a", "type a\ntype a"};
    char texts[6][100];

    for (uint32_t i = 0; i < 6; i++) {
        FILE *out = fmemopen(texts[i], sizeof texts[i], "w");

        begin(scripts[i]);
        terminals_print(&set, &scenario, out);
        fclose(out);
        EXPECT_STRSTR(texts[i],
                      i < 5 ? "1 bytes typed at guest (digest " : "2 bytes typed at guest (digest ");
        for (uint32_t k = 0; k < i; k++)
            EXPECT_TRUE(strcmp(texts[i], texts[k]) != 0);
        end();
    }
}
