// SPDX-License-Identifier: Apache-2.0
#include "traces/kinds.h"

#include "traces/trace.h"

const struct event_kind event_kinds[] = {
#define TRACEPOINT(id, name, argc, arguments, category) {#name, argc, arguments},
#include "spec/tracepoints.def"
#undef TRACEPOINT
};
const uint32_t event_kind_count = sizeof event_kinds / sizeof event_kinds[0];

const struct exit_kind exit_kinds[] = {
#define EXIT_REASON(number, name, qualification, section) {TRACE_ARCH_X86, number, #name},
#include "spec/exit_reasons.def"
};
const uint32_t exit_kind_count = sizeof exit_kinds / sizeof exit_kinds[0];
