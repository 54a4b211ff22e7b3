// SPDX-License-Identifier: Apache-2.0
// Life of VMs and vCPUs.
#include "hv/core/vm.h"

#include "hv/core/api.h"
#include "hv/core/arch.h"
#include "hv/core/introspection.h"
#include "hv/core/requests.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"

static void unlink_vm(struct vm *vm)
{
    mutex_lock(&vm->host->handles_lock);
    list_del(&vm->node);
    mutex_unlock(&vm->host->handles_lock);
    hostmm_remove_vm(vm->mm, vm);
}

// Frees in the opposite order of vm_create(); whatever was not reached is zero.
static void free_vm(struct vm *vm)
{
    struct host *host = vm->host;
    if (vm->irq_srcu.counts != NULL)
        srcu_destroy(&vm->irq_srcu, host);
    if (vm->srcu.counts != NULL)
        srcu_destroy(&vm->srcu, host);
    hostmm_put(vm->mm);
    kfree(host, vm, arch_vm_bytes());
}

static void init_locks(struct vm *vm)
{
    rwlock_init(&vm->mmu_lock, LOCK_RANK_MMU);
    mutex_init(&vm->slots_lock, LOCK_RANK_SLOTS);
    mutex_init(&vm->slots_arch_lock, LOCK_RANK_SLOTS_ARCH);
    mutex_init(&vm->irq_lock, LOCK_RANK_IRQ_ROUTING);
    mutex_init(&vm->lock, LOCK_RANK_VM);
    list_init(&vm->irq_ack_notifiers);
    list_init(&vm->node);
    list_init(&vm->mm_node);
}

int vm_create(struct host *host, struct hostmm *mm, u64 type, struct vm **out)
{
    struct vm *vm = kzalloc(host, arch_vm_bytes());
    if (vm == NULL)
        return -ENOMEM;
    vm->host = host;
    vm->mm = mm;
    vm->users = 1;
    vm->handle = -1;
    vm->max_halt_poll_ns = HALT_POLL_HOST_DEFAULT;
    hostmm_get(mm);
    init_locks(vm);
    int result = srcu_init(&vm->srcu, host);
    if (result == 0)
        result = srcu_init(&vm->irq_srcu, host);
    if (result == 0)
        result = memslots_init(vm);
    if (result == 0)
        result = irq_routing_init(vm);
    if (result == 0)
        result = arch_vm_create(vm, type);
    if (result != 0) {
        irq_routing_destroy(vm);
        memslots_destroy(vm);
        free_vm(vm);
        return result;
    }
    mutex_lock(&host->handles_lock);
    vm->id = host->next_vm_id++;
    list_add_tail(&vm->node, &host->vms);
    mutex_unlock(&host->handles_lock);
    hostmm_add_vm(mm, vm);
    *out = vm;
    return 0;
}

int vm_set_number(struct vm *vm, u64 number)
{
    struct host *host = vm->host;
    int result = number > UINT8_MAX || vm->created_vcpus != 0 ? -EINVAL : 0;

    mutex_lock(&host->handles_lock);
    list_for_each(other, &host->vms, struct vm, node)
    {
        if (other != vm && other->id == number)
            result = -EEXIST;
    }
    if (result == 0)
        vm->id = (u32)number;
    mutex_unlock(&host->handles_lock);
    return result;
}

static void free_vcpu(struct vcpu *vcpu)
{
    struct host *host = vcpu->vm->host;
    dirty_ring_free(vcpu->vm, &vcpu->dirty_ring);
    if (vcpu->run != NULL)
        page_free(host, vcpu->run, MEM_USER);
    kfree(host, vcpu, arch_vcpu_bytes());
}

static void destroy_vcpu(struct vcpu *vcpu)
{
    arch_vcpu_destroy(vcpu);
    free_vcpu(vcpu);
}

static void destroy_vm(struct vm *vm)
{
    hw_trace_count("vms_destroyed", 1);
    unlink_vm(vm);
    arch_flush_shadow_all(vm);
    while (vm->online_vcpus !=
           0) { // Whoever looks through all of them meets only those that are still there.
        struct vcpu *last = vm->vcpus[vm->online_vcpus - 1];
        WRITE_ONCE(vm->online_vcpus, vm->online_vcpus - 1);
        destroy_vcpu(last);
    }
    introspection_destroy(vm);
    irq_routing_destroy(vm);
    memslots_destroy(vm);
    arch_vm_destroy(vm);
    free_vm(vm);
}

void vm_get(struct vm *vm)
{
    __atomic_fetch_add(&vm->users, 1, __ATOMIC_RELAXED);
}

void vm_put(struct vm *vm)
{
    if (__atomic_sub_fetch(&vm->users, 1, __ATOMIC_ACQ_REL) == 0)
        destroy_vm(vm);
}

void object_release(u32 handle_kind, void *object)
{
    if (handle_kind == HANDLE_VM)
        vm_put(object);
    else if (handle_kind == HANDLE_VCPU)
        vm_put(((struct vcpu *)object)->vm);
}

void vm_mark_dead(struct vm *vm)
{
    WRITE_ONCE(vm->dead, true);
    (void)make_all_cpus_request(vm, REQ_VM_DEAD);
}

struct vcpu *vm_vcpu_by_index(struct vm *vm, u32 index)
{
    return index < load_acquire(&vm->online_vcpus) ? vm->vcpus[index] : NULL;
}

struct vcpu *vm_vcpu_by_id(struct vm *vm, u32 id)
{
    struct vcpu *v;
    if (id < VM_VCPUS_MAX && (v = vm_vcpu_by_index(vm, id)) != NULL && v->id == id)
        return v; // Usually created in this order.
    vm_for_each_vcpu(i, v, vm)
    {
        if (v->id == id)
            return v;
    }
    return NULL;
}

static struct vcpu *alloc_vcpu(struct vm *vm, u32 id)
{
    struct host *host = vm->host;
    struct vcpu *vcpu = kzalloc(host, arch_vcpu_bytes());
    if (vcpu == NULL)
        return NULL;
    vcpu->vm = vm;
    vcpu->run = page_alloc_zeroed(host, MEM_USER);
    if (vcpu->run == NULL || (vm->dirty_ring_bytes != 0 && dirty_ring_alloc(vm, &vcpu->dirty_ring) != 0)) {
        free_vcpu(vcpu);
        return NULL;
    }
    vcpu->id = id;
    vcpu->handle = -1;
    vcpu->entry_mb = knob(&host->knobs, KNOB_REQ_ENTRY_MB) != 0;
    vcpu->slot_cache_generation = UINT64_MAX;
    waitqueue_init(&vcpu->wq);
    mutex_init(&vcpu->mutex, LOCK_RANK_VCPU);
    list_init(&vcpu->notifier.node);
    return vcpu;
}

// Publishes a built vCPU. -EEXIST if the id was taken meanwhile.
static int add_vcpu(struct vm *vm, struct vcpu *vcpu)
{
    int result = -EEXIST;
    mutex_lock(&vm->lock);
    if (vm_vcpu_by_id(vm, vcpu->id) == NULL) {
        vcpu->index = vm->online_vcpus;
        vm->vcpus[vcpu->index] = vcpu;
        // The pointer before the count that makes it reachable.
        store_release(&vm->online_vcpus, vm->online_vcpus + 1);
        result = 0;
    }
    mutex_unlock(&vm->lock);
    return result;
}

static int reserve_vcpu(struct vm *vm, u64 id)
{
    mutex_lock(&vm->lock);
    int result = vm->created_vcpus >= VM_VCPUS_MAX ? -EINVAL : arch_vcpu_precreate(vm, id);
    if (result == 0)
        vm->created_vcpus++;
    mutex_unlock(&vm->lock);
    return result;
}

static void unreserve_vcpu(struct vm *vm)
{
    mutex_lock(&vm->lock);
    vm->created_vcpus--;
    mutex_unlock(&vm->lock);
}

int vm_create_vcpu(struct vm *vm, u64 id)
{
    if (id >= HV_VCPU_IDS_MAX)
        return -EINVAL;
    int result = reserve_vcpu(vm, id);
    if (result != 0)
        return result;
    struct vcpu *vcpu = alloc_vcpu(vm, (u32)id);
    result = vcpu == NULL ? -ENOMEM : arch_vcpu_create(vcpu);
    if (result != 0) {
        if (vcpu != NULL)
            free_vcpu(vcpu);
        unreserve_vcpu(vm);
        return result;
    }
    result = add_vcpu(vm, vcpu);
    if (result != 0) {
        destroy_vcpu(vcpu);
        unreserve_vcpu(vm);
        return result;
    }
    arch_vcpu_postcreate(vcpu);
    // The handle keeps the VM. Out of handles: the vCPU stays, unreachable, until the VM goes, as its id
    // does.
    vm_get(vm);
    int handle = handle_alloc(vm->host, HANDLE_VCPU, vcpu);
    if (handle < 0)
        vm_put(vm);
    vcpu->handle = handle;
    return handle;
}
