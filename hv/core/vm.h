// SPDX-License-Identifier: Apache-2.0
// A virtual machine: arch-neutral half. The arch's struct begins with this one.
#ifndef HV_CORE_VM_H
#define HV_CORE_VM_H

#include "hv/core/host.h"
#include "hv/core/hostmm.h"
#include "hv/core/irq_routing.h"
#include "hv/core/memslots.h"
#include "hv/core/vcpu.h"
#include "hv/lib/mutex.h"
#include "hv/lib/rwlock.h"
#include "hv/lib/srcu.h"

#define VM_VCPUS_MAX 256u
#define HV_VCPU_IDS_MAX 1024u
#define HALT_POLL_HOST_DEFAULT UINT64_MAX

struct mmu_vm; // hv/mmu
struct introspection;

struct vm {
    struct host *host;
    struct hostmm *mm; // Of the process that created it.
    u32 id;            // In the host, 0..
    int handle;
    u32 users;                       // Handles and vCPUs; the last one destroys.
    bool dead;                       // vm_mark_dead(): every further RUN fails with -EIO.
    u32 created_vcpus, online_vcpus; // online: published (release) after vcpus[] was written.
    struct vcpu *vcpus[VM_VCPUS_MAX];

    // Stage 2, on lines of its own.
    struct rwlock mmu_lock __cacheline_aligned;
    struct mmu_vm *mmu;
    u64 mmu_invalidate_seq; // Bumped under mmu_lock when host mappings change (fault retry).
    u64 mmu_invalidate_in_progress;
    u64 mmu_invalidate_start; // What it takes, in whole host pages: host virtual addresses.
    u64 mmu_invalidate_end;
    u64 tlbs_dirty; // Changes of SPTEs whose flush was put off; counted after the change.
    u64 remote_tlb_flush_count;

    // Memory slots: readers hold srcu.
    struct memslots *memslots[HV_ADDRESS_SPACES] __cacheline_aligned;
    struct srcu srcu;
    struct mutex slots_lock;
    struct mutex
        slots_arch_lock;  // Of arch_rmap in published slots; held from copying a version to publishing it.
    u32 manual_dirty_log; // HV_DIRTY_LOG_* of HV_CAP_MANUAL_DIRTY_LOG_PROTECT2.
    u32 dirty_ring_bytes; // Of each vCPU; 0: slots have bitmaps. Constant from the first vCPU on.

    struct srcu irq_srcu;
    struct mutex irq_lock;
    struct irq_routing_table *irq_routing;
    struct list irq_ack_notifiers; // struct irq_ack_notifier, read under irq_srcu.
    bool irqchip_in_kernel;        // Local APICs at least are in the core (release after the chip is ready).

    struct introspection *introspection; // NULL: no tool was ever there (release).

    u64 max_halt_poll_ns; // HV_CAP_HALT_POLL; HALT_POLL_HOST_DEFAULT: the host's knob.
    u32 last_boosted_vcpu;
    struct mutex lock;
    struct list node;    // host->vms
    struct list mm_node; // mm->vms
};

// 0 and *out, or -errno. The caller's process is the owner.
int vm_create(struct host *host, struct hostmm *mm, u64 type, struct vm **out);
void vm_get(struct vm *vm);
void vm_put(struct vm *vm);
// Handle of a new vCPU `id`: -EINVAL (id out of range, too many), -EEXIST, -ENOMEM, or the arch's refusal.
int vm_create_vcpu(struct vm *vm, u64 id);
// Its number beyond the host (vm->id): -EINVAL (256 and more, or it has vCPUs), -EEXIST (another VM's).
int vm_set_number(struct vm *vm, u64 number);
// A bug or resource that breaks it: no vCPU enters again.
void vm_mark_dead(struct vm *vm);

// for-loop over the vCPUs that are online: `struct vcpu *v; vm_for_each_vcpu(i, v, vm) { ... }`.
#define vm_for_each_vcpu(i, v, vm) for (u32 i = 0; ((v) = vm_vcpu_by_index((vm), i)) != NULL; i++)

// An ioctl on a VM or vCPU handle (hv/core/api.c).
s64 vm_ioctl(struct vm *vm, u32 cmd, u64 arg);
s64 vcpu_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg);

#endif
