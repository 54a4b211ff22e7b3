// SPDX-License-Identifier: Apache-2.0
// Any bytes as a recording: counted, replayable or refused, never a crash. Whatever is written must be a
// stream that the parser takes.
#include "sim/scenario/stream.h"
#include "tools/hvsim/import/recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    char *at;
    size_t size, capacity;
};

static bool keep(void *context, struct vcpu *vcpu, const char *text, size_t size)
{
    (void)context;
    struct text *kept = vcpu->output;
    if (kept == NULL) {
        vcpu->output = kept = calloc(1, sizeof(*kept));
    }
    if (kept == NULL) {
        return false;
    }
    if (kept->size + size > kept->capacity) {
        kept->capacity = (kept->size + size) * 2;
        char *grown = realloc(kept->at, kept->capacity);
        if (grown == NULL) {
            return false;
        }
        kept->at = grown;
    }
    memcpy(kept->at + kept->size, text, size);
    kept->size += size;
    return true;
}

static void check_stream(const struct text *kept)
{
    static const struct stream_target target = {.clock_khz = 2100000, .tsc_khz = 2100000};
    static const char head[] = STREAM_MAGIC "\n";
    struct stream_set set;
    struct stream_error error;
    size_t size = sizeof(head) - 1 + kept->size;
    char *whole = malloc(size);
    if (whole == NULL) {
        return;
    }
    memcpy(whole, head, sizeof(head) - 1);
    memcpy(whole + sizeof(head) - 1, kept->at, kept->size);
    if (!stream_parse("import.stream", whole, size, &target, &set, &error)) {
        (void)fprintf(stderr, "%s\n%.*s\n", error.text, (int)size, whole);
        abort();
    }
    stream_free(&set);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct recording recording; // Big; the fuzzer runs one input at a time.
    if (!recording_begin(&recording, keep, NULL)) {
        return 0;
    }
    const char *at = (const char *)data, *end = at + size;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline == NULL ? end : newline;
        (void)recording_line(&recording, span_of(at, (size_t)(stop - at)));
        at = stop + 1;
    }
    (void)recording_finish(&recording);
    for (unsigned i = 0; i < recording.vcpu_count; i++) {
        struct vcpu *v = &recording.vcpus[i]->vcpu;
        struct text *kept = v->output;
        if (kept != NULL && v->ops > 0) {
            check_stream(kept);
        }
        if (kept != NULL) {
            free(kept->at);
            free(kept);
        }
    }
    recording_end(&recording);
    return 0;
}
