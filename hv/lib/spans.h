// SPDX-License-Identifier: Apache-2.0
// Numbers of the named phases: SPAN_VCPU_RUN ... (spec/spans.def).
#ifndef HV_LIB_SPANS_H
#define HV_LIB_SPANS_H

enum span {
#define SPAN(id, name, meaning) SPAN_##id,
#include "spec/spans.def"
    SPAN_COUNT
};

#endif
