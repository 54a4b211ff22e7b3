// SPDX-License-Identifier: Apache-2.0
// Error numbers of the API (spec/errnos.def): EINVAL ... Functions return them negated. A C library's
// <errno.h> included before has the same names as macros, with the same values.
#ifndef HV_LIB_ERRNO_H
#define HV_LIB_ERRNO_H

#ifndef EINVAL
enum hv_errno {
#define ERRNO(number, name, text) name = number,
#include "spec/errnos.def"
};
#endif

#endif
