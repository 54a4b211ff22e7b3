// SPDX-License-Identifier: Apache-2.0
// Register manual of the modelled assigned device: a function with one MSI-X table slot per guest program.
//
// The host programs every slot to send ASSIGNED_VECTOR to the processor on which the guest runs. A message
// says only that some slot fired; which one, and which guest vector it stands for, is read from a FIFO in the
// device's ports (hw_in, 4 bytes):
//
//   port 0xcd0  FUNCTION  bit 31: an entry is there; bits 19:0: function (program index). 0: the FIFO is
//   empty. port 0xcd4  VECTOR    bits 7:0: guest vector of the oldest entry, which is removed by this read.
//   0: empty.
//
// Each host has its own FIFO, entries in order of arrival. Messages that arrive while others wait merge in
// the IRR as any edge interrupt does: the handler reads until the FIFO is empty.
#ifndef HV_HW_ASSIGNED_H
#define HV_HW_ASSIGNED_H

#include "hv/hw/types.h"

#define ASSIGNED_VECTOR 0xd0u
#define ASSIGNED_PORT_FUNCTION 0xcd0u
#define ASSIGNED_PORT_VECTOR 0xcd4u

#define ASSIGNED_FUNCTION_VALID (1u << 31)
#define ASSIGNED_FUNCTION_MASK 0xfffffu

// Function number of a slot: bits 19:12 the VM, 11:4 the vCPU, 3:0 the stream that was given to the device.
static inline u32 assigned_function_vm(u32 function)
{
    return (function & ASSIGNED_FUNCTION_MASK) >> 12;
}
static inline u32 assigned_function_vcpu(u32 function)
{
    return (function >> 4) & 0xffu;
}

#endif
