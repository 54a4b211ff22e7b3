// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/cpu_features.h"
#include "sim/scenario/user_error.h"
#include "spec/cpuid.h"
#include <ctype.h>
#include <string.h>

static const struct {
    const char *name;
    struct vmm_cpuid_bit bit;
} features[] = {
#define CPUID_BIT(leaf, subleaf, reg, bit, name, source) {#name, {leaf, subleaf, CPUID_##reg, 1u << (bit)}},
#include "spec/cpuid.def"
};
#define FEATURES (sizeof features / sizeof *features)

static void lower(const char *name, char *text)
{
    size_t i = 0;

    for (; name[i] && i + 1 < CPU_FEATURE_NAME_BYTES; i++)
        text[i] = (char)tolower((unsigned char)name[i]);
    text[i] = 0;
}

bool cpu_feature_find(const char *name, struct vmm_cpuid_bit *out, char *text, const char **near)
{
    char texts[FEATURES][CPU_FEATURE_NAME_BYTES];
    const char *words[FEATURES];

    for (size_t i = 0; i < FEATURES; i++) {
        lower(features[i].name, texts[i]);
        words[i] = texts[i];
        if (strcmp(texts[i], name) != 0)
            continue;
        *out = features[i].bit;
        return true;
    }
    *near = nearest_word(name, words, FEATURES);
    if (*near)
        *near = memcpy(text, *near, strlen(*near) + 1);
    return false;
}

void cpu_feature_name(const struct vmm_cpuid_bit *bit, char *text)
{
    *text = 0;
    for (size_t i = 0; i < FEATURES; i++)
        if (memcmp(&features[i].bit, bit, sizeof *bit) == 0)
            lower(features[i].name, text);
}
