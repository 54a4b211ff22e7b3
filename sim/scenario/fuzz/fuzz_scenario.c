// SPDX-License-Identifier: Apache-2.0
// A hostile scenario file: loading it never crashes, and what loads also prints, loads again, and then prints
// the same.
#include "sim/scenario/scenario.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *resolved(const struct scenario *s, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);

    if (!out)
        abort();
    scenario_print_resolved(s, out);
    fclose(out);
    return text;
}

static void print_and_load_again(const struct scenario *s)
{
    struct user_error e = {""};
    size_t once_size, twice_size;
    char *once = resolved(s, &once_size);
    struct scenario *again = scenario_load_text("fuzz/again.yaml", once, once_size, &e);

    if (!again) {
        fprintf(stderr, "%s\n%s\n", e.text, once);
        abort();
    }
    char *twice = resolved(again, &twice_size);

    if (once_size != twice_size || memcmp(once, twice, once_size) != 0) {
        fprintf(stderr, "%s\nis not\n%s\n", twice, once);
        abort();
    }
    free(once);
    free(twice);
    scenario_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct user_error e = {""};
    struct scenario *s = scenario_load_text("fuzz/fuzz.yaml", data, size, &e);

    if (s)
        print_and_load_again(s);
    else if (!e.text[0])
        abort();
    scenario_free(s);
    return 0;
}
