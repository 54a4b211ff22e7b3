// SPDX-License-Identifier: Apache-2.0
// Notes of hypervisor code (hv/hw/note.h) on their way to the watchers.
#include "hv/hw/note.h"

#include "models/cpu/native/native.h"
#include "models/cpu/native/watch.h"

static void tell(const struct native_note *note)
{
    if (__builtin_expect(pcpu_current && pcpu_current->machine->watch, 0))
        native_watch_event(pcpu_current,
                           &(struct native_event){.kind = NATIVE_EVENT_NOTE, .pc = note->pc, .note = note});
}

#define TELL(...)                                                                                            \
    tell(&(struct native_note){.pc = (uint64_t)(uintptr_t)__builtin_return_address(0), __VA_ARGS__})

void hw_note_alloc(const void *p, u64 bytes, u64 room_bytes)
{
    TELL(.kind = NATIVE_NOTE_ALLOC, .p = p, .bytes = bytes, .room_bytes = room_bytes);
}

void hw_note_free(const void *p, u64 room_bytes)
{
    TELL(.kind = NATIVE_NOTE_FREE, .p = p, .room_bytes = room_bytes);
}

void hw_note_pages(const void *p, u64 bytes, u32 owner, bool content)
{
    TELL(.kind = NATIVE_NOTE_PAGES, .p = p, .bytes = bytes, .owner = owner, .content = content);
}

void hw_note_lock(const void *lock, enum hw_note_lock what, enum hw_note_mode mode, const u8 *rank)
{
    TELL(.kind = NATIVE_NOTE_LOCK, .p = lock, .what = what, .mode = mode, .rank = *rank);
}

void hw_note_srcu(const void *srcu, enum hw_note_srcu what, u32 index)
{
    TELL(.kind = NATIVE_NOTE_SRCU, .p = srcu, .what = what, .index = index);
}

void hw_note_user_return(const u32 *preempt_count, const u32 *srcu_depth)
{
    TELL(.kind = NATIVE_NOTE_USER_RETURN, .preempt_count = preempt_count, .srcu_depth = srcu_depth);
}

void hw_note_this_cpu(const u32 *preempt_count, const u32 *pinned)
{
    TELL(.kind = NATIVE_NOTE_THIS_CPU, .preempt_count = preempt_count, .pinned = pinned);
}
