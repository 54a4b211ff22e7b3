// SPDX-License-Identifier: Apache-2.0
//
// VM-instruction error numbers as constants (SDM 30.4).

#ifndef SPEC_VM_ERRORS_H
#define SPEC_VM_ERRORS_H

enum vm_error {
    VMERR_NONE = 0,
#define VM_ERROR(number, name, text) VMERR_##name = number,
#include "spec/vm_errors.def"
};

#endif
