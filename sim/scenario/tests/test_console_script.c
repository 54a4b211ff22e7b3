// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/console_script.h"
#include "tests/shim/shim.h"
#include <stdlib.h>
#include <string.h>

static struct console_script script;
static struct console_script_error error;

static void expect_step(uint32_t i, bool waits, const char *bytes, uint32_t size, uint32_t pause_ms,
                        uint32_t line)
{
    ASSERT_TRUE(i < script.step_count);
    const struct console_step *s = &script.steps[i];

    test_row("step %u", i);
    EXPECT_EQ(s->waits, waits);
    EXPECT_EQ(s->pause_ms, pause_ms);
    EXPECT_EQ(s->line, line);
    ASSERT_TRUE(s->size == size);
    EXPECT_EQ(memcmp(s->bytes, bytes, size), 0);
}

TEST(ConsoleScript, EachLineIsAStep)
{
    const char text[] = "# Logs in.\n"
                        "wait login:\n"
                        "\n"
                        "enter  root \t\r\n"
                        "  pause 20ms\n"
                        "type \"a\\\"\\\\\\n\\r\\t\\e\\x00\\xfF \"\n"
                        "wait \"/ # \"\n"
                        "enter\n"
                        "type say \"hi\\n\"";

    EXPECT_EQ(console_script_parse(text, &script, &error), 0);
    EXPECT_EQ(script.step_count, 6);
    expect_step(0, true, "login:", 6, 0, 2);
    expect_step(1, false, "root\r", 5, 0, 4);
    expect_step(2, false, "a\"\\\n\r\t\x1b\0\xff ", 10, 20, 6);
    expect_step(3, true, "/ # ", 4, 0, 7);
    expect_step(4, false, "\r", 1, 0, 8);
    expect_step(5, false, "say \"hi\\n\"", 10, 0, 9); // Quotes are quotes only around all of it.
    console_script_free(&script);
}

TEST(ConsoleScript, MistakesAreToldWithTheirLine)
{
    static const struct {
        const char *text;
        uint32_t line;
        const char *says;
    } rows[] = {
        {"type a\nwiat b", 2, "unknown step `wiat` (did you mean `wait`?); a line is `wait TEXT`"},
        {"Type a", 1, "unknown step `Type`"},
        {"abcdefghijklmnopqrstuvwxyz", 1, "unknown step `abcdefghijklmno`"},
        {"wait", 1, "`wait` wants a text"},
        {"wait \"\"", 1, "`wait` wants a text"},
        {"\ntype  ", 2, "`type` wants a text"},
        {"type \"a", 1, "the closing quote is missing"},
        {"type \"", 1, "the closing quote is missing"},
        {"type \"a\" b", 1, "there is more behind the closing quote"},
        {"type \"\\q\"", 1, "unknown escape `\\q`"},
        {"type \"\\x1\"", 1, "unknown escape `\\x`"},
        {"type \"\\x1g\"", 1, "unknown escape `\\x`"},
        {"type \"\\", 1, "unknown escape `\\`"},
        {"pause 20", 1, "expected a time in whole milliseconds up to 60s, such as 20ms, got `20`"},
        {"pause", 1, "expected a time"},
        {"pause 0ms", 1, "expected a time"},
        {"pause 1.5ms", 1, "expected a time"},
        {"pause 61s", 1, "expected a time"},
        {"pause 1s\npause 1s\ntype a", 2, "there is a pause before this one already"},
        {"type a\npause 1s\n\nwait b", 2, "put it behind the `wait`"},
        {"type a\npause 1s\n", 2, "nothing is typed behind this pause"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        error = (struct console_script_error){0};
        test_row("%s", rows[i].text);
        EXPECT_EQ(console_script_parse(rows[i].text, &script, &error), -1);
        EXPECT_EQ(error.line, rows[i].line);
        EXPECT_STRSTR(error.text, rows[i].says);
        console_script_free(&script);
    }
}

// Any bytes, as lines that mean them.
TEST(ConsoleScript, WrittenBytesAreReadBack)
{
    uint8_t bytes[612];
    char *text = NULL;
    size_t size = 0;
    uint32_t at = 0;

    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    FILE *out = open_memstream(&text, &size);

    console_script_type(out, bytes, sizeof bytes);
    fclose(out);
    EXPECT_EQ(console_script_parse(text, &script, &error), 0);
    for (uint32_t i = 0; i < script.step_count; i++) {
        EXPECT_FALSE(script.steps[i].waits);
        ASSERT_TRUE(at + script.steps[i].size <= sizeof bytes);
        EXPECT_EQ(memcmp(bytes + at, script.steps[i].bytes, script.steps[i].size), 0);
        at += script.steps[i].size;
    }
    EXPECT_EQ(at, sizeof bytes);
    console_script_free(&script);
    free(text);
}
