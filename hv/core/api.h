// SPDX-License-Identifier: Apache-2.0
// System calls: from the vector to the ioctls of host, VM and vCPU.
#ifndef HV_CORE_API_H
#define HV_CORE_API_H

#include "hv/api.h"
#include "hv/core/host.h"

// What hw_syscall() of user mode leads to (struct hw_vectors). Results as hv/api.h says.
u64 syscall_entry(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3);
// An ioctl on a handle; -EBADF, -ENOTTY or what the command says.
s64 api_ioctl(struct host *host, s64 handle, u32 cmd, u64 arg);
// The last user of a closed handle is gone.
void object_release(u32 handle_kind, void *object);

// Sleeping on and waking by a word of user memory.
void futex_init(struct host *host);
// 0 woken; -EAGAIN: the word holds another value; -EFAULT; -EINTR; -ETIMEDOUT (deadline in TSC cycles, 0:
// none).
s64 futex_wait(struct host *host, u64 word, u32 expected, u64 deadline_tsc);
s64 futex_wake(struct host *host, u64 word, u32 count);

#endif
