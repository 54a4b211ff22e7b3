// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/vmid.h"

#include "hv/hw/trace.h"
#include "hv/hw/vmx.h"
#include "hv/x86/vmcs.h"
#include "hv/x86/x86.h"

void vmid_host_init(struct host *host)
{
    struct vmid_space *s = &x86_host(host)->vmids;
    s->bits = x86_host(host)->caps.vpid ? (u32)knob(&host->knobs, KNOB_VMID_BITS) : 0;
    u64 all = (1ull << s->bits) - 1;
    s->next = (u32)(all - min_u64(knob(&host->knobs, KNOB_VMID_LEFT), all) + 1);
    s->generation = 1;
    spin_lock_init(&s->lock, LOCK_RANK_VMID);
}

// On every processor, in its interrupt: the guest was left, and nothing of the old numbers stays.
static void drop_all(void *arg)
{
    (void)arg;
    (void)hw_invept(INVEPT_ALL, 0);
    (void)hw_invvpid(INVVPID_ALL, 0, 0);
}

// Under the lock until all have answered: no number of the new generation is in use before.
static void roll_over(struct host *host, struct vmid_space *s)
{
    __atomic_store_n(&s->generation, s->generation + 1, __ATOMIC_SEQ_CST);
    s->next = 1;
    cpu_call_all(host, drop_all, NULL);
    hw_trace_count("vmid_roll_overs", 1);
}

static void publish(const struct host *host, struct vmid *vmid, u64 generation, u32 id)
{
    if (knob(&host->knobs, KNOB_VMID_PUBLISH) == VMID_PUBLISH_GEN_FIRST) {
        // As it was: whoever looks in between takes the old number for one of this generation.
        WRITE_ONCE(vmid->generation, generation);
        WRITE_ONCE(vmid->id, id);
        return;
    }
    WRITE_ONCE(vmid->id, id);
    store_release(&vmid->generation, generation);
}

void vmid_renew(struct x86_vcpu *v)
{
    struct host *host = v->vcpu.vm->host;
    struct vmid_space *s = &x86_host(host)->vmids;
    struct vmid *vmid = &to_x86_vm(v->vcpu.vm)->vmid;
    if (likely(READ_ONCE(vmid->generation) == READ_ONCE(s->generation)))
        return;
    spin_lock(&s->lock);
    if (vmid->generation != s->generation) { // No other vCPU of the VM was faster.
        if (s->next >> s->bits != 0)
            roll_over(host, s);
        publish(host, vmid, s->generation, s->next);
        s->next++;
    }
    spin_unlock(&s->lock);
}

bool vmid_load(struct x86_vcpu *v)
{
    const struct vmid_space *s = &x86_host_of(v)->vmids;
    const struct vmid *vmid = &to_x86_vm(v->vcpu.vm)->vmid;
    u64 generation = load_acquire(&vmid->generation);
    if (generation != READ_ONCE(s->generation))
        return false;
    u32 id = READ_ONCE(vmid->id);
    u16 vpid = (u16)(id * VM_VCPUS_MAX + v->vcpu.index + 1);
    if (v->vmcs->vpid == vpid && v->vmid_generation == generation)
        return true;
    hw_trace(TP_VMID_USE, v->vcpu.vm->id, v->vcpu.index, id, generation, 0, 0);
    v->vmid_generation = generation;
    v->vpid = vpid;
    v->vmcs->vpid = vpid;
    vmcs_write(VIRTUAL_PROCESSOR_ID, vpid);
    return true;
}
