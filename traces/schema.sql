-- SPDX-License-Identifier: Apache-2.0
--
-- The trace database of hvsim. docs/trace-schema.md explains it and is checked against this file.
--
-- A database says that it is ours by PRAGMA application_id = 0x68767369 ('hvsi') and which layout it has by PRAGMA
-- user_version. Changing the layout changes user_version in traces/store.c.
--
-- Every column has a comment: unit first, then meaning. "cycles" are whole cycles of the pCPUs' core clock since the run's
-- start (a time) or long (a duration). Tables whose names end in _data hold packed rows; read the views of the same name
-- without _data. The row id of such a table is run << 32 | number within the run.

CREATE TABLE runs (
    run INTEGER PRIMARY KEY,  -- number, 1 is the database's first
    scenario TEXT,            -- name of the scenario
    variant TEXT,             -- name of its variant, NULL if it has none
    seed INTEGER,             -- number, what random choices started from
    knobs TEXT,               -- lines name=value, the knobs that were not at their default
    uarch TEXT,               -- name of the micro-architecture
    hv_build TEXT,            -- hexadecimal, build id of libhv.so
    quantum_cycles INTEGER,   -- cycles that a pCPU may run ahead of the others, 0 is exact order
    clock_khz INTEGER,        -- kHz of the pCPUs' core clock
    state TEXT NOT NULL,      -- running, complete, interrupted (Ctrl-C) or incomplete (a failed disk, a crash)
    stored TEXT,              -- categories that were stored, comma separated
    digest TEXT,              -- 32 hexadecimal digits over all records, stored or not
    cycles INTEGER,           -- cycles, length of the run
    verdict TEXT,             -- pass, fail or error; NULL without expectations
    resolved TEXT,            -- the scenario with every default filled in
    setup TEXT,               -- what was set up without taking simulated time, NULL for nothing
    memory TEXT               -- model of hypervisor code's memory: tso, sc or c11
);

CREATE TABLE swept (
    run INTEGER NOT NULL,     -- runs.run
    path TEXT NOT NULL,       -- field of the scenario that its sweep varies, such as vms[0].memory
    value TEXT NOT NULL,      -- what the field was in this run, as written
    number INTEGER,           -- number, bytes or nanoseconds that this means, NULL for a word
    PRIMARY KEY (run, path)
) WITHOUT ROWID;

CREATE VIEW sweep AS SELECT
    r.run AS run,             -- runs.run
    r.scenario AS scenario,   -- runs.scenario
    r.variant AS variant,     -- runs.variant
    s.path AS path,           -- swept.path
    s.value AS value,         -- swept.value
    s.number AS number,       -- swept.number
    r.cycles AS cycles        -- cycles, length of the run
FROM runs r JOIN swept s ON s.run = r.run;

CREATE TABLE expectations (
    run INTEGER NOT NULL,     -- runs.run
    number INTEGER NOT NULL,  -- number within the run, in the scenario's order, from 1
    about TEXT,               -- what is expected, in words
    sql TEXT,                 -- the query
    expected TEXT,            -- the value or range that was expected
    got TEXT,                 -- the value that the query gave
    verdict TEXT NOT NULL,    -- pass, fail or error
    PRIMARY KEY (run, number)
) WITHOUT ROWID;

CREATE TABLE texts (
    id INTEGER PRIMARY KEY,   -- number that rows use for the text
    text TEXT NOT NULL UNIQUE -- name of a function, instruction, lock, span, ...
);

CREATE TABLE places (
    id INTEGER PRIMARY KEY,   -- number that rows use for this combination
    pcpu INTEGER,             -- number of the physical CPU, NULL if it does not apply
    vm INTEGER,               -- number of the VM, NULL if it does not apply
    vcpu INTEGER,             -- number of the vCPU within its VM, NULL if it does not apply
    level INTEGER NOT NULL    -- 0 hypervisor or nobody, 1 an L1 guest, 2 an L2 guest
);

CREATE TABLE exit_reasons (
    id INTEGER PRIMARY KEY,   -- arch << 16 | number
    arch INTEGER NOT NULL,    -- 1 x86 VMX, 2 arm64, 3 s390
    number INTEGER NOT NULL,  -- basic exit reason of that architecture
    reason TEXT NOT NULL      -- the kernel's name for it, such as EPT_VIOLATION
);

CREATE TABLE exit_sites (
    id INTEGER PRIMARY KEY,   -- number that exits_data uses
    place INTEGER NOT NULL,   -- places.id
    reason INTEGER NOT NULL,  -- exit_reasons.id
    rip INTEGER NOT NULL,     -- address, the guest's instruction pointer (64 bits; SQLite shows them as signed)
    instr INTEGER,            -- texts.id, the guest's instruction
    path INTEGER,             -- texts.id, how the exit was handled
    intr_info INTEGER NOT NULL,  -- VM-exit interruption information
    error_code INTEGER NOT NULL, -- VM-exit interruption error code
    hw_exit_cycles INTEGER NOT NULL, -- cycles that the hardware took to leave the guest
    hw_entry_cycles INTEGER NOT NULL -- cycles that the hardware took to enter it again
);

CREATE TABLE exits_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number, in the order of their entries
    site,                     -- exit_sites.id
    exit_cycle,               -- cycles, when the exit began
    guest_cycles,             -- cycles in the guest before it
    cycles,                   -- cycles from exit to entry, NULL if no entry followed
    qualification,            -- exit qualification
    gpa,                      -- address, guest-physical
    ahead                     -- seq less the number in id: exits of several pCPUs overlap
);

CREATE TABLE exits_more (
    id INTEGER PRIMARY KEY,   -- exits_data.id; only for exits where one of these is not 0
    device_cycles,            -- cycles in the user-space VMM
    wait_cycles,              -- cycles halted or blocked
    other_cycles,             -- cycles of this pCPU that went to others between exit and entry
    recorded_ns               -- nanoseconds from exit to entry in an imported trace, else NULL
);

CREATE VIEW exits AS SELECT
    r.run AS run,                                   -- runs.run
    (e.id & 0xffffffff) + e.ahead AS seq,           -- number of the exit within the run, from 1, in the order of their begins
    p.pcpu AS pcpu,                                 -- number of the pCPU
    p.vm AS vm,                                     -- number of the VM
    p.vcpu AS vcpu,                                 -- number of the vCPU
    p.level AS level,                               -- 1 the exit left an L1 guest, 2 an L2 guest
    (SELECT reason FROM exit_reasons x WHERE x.id = s.reason) AS reason, -- the kernel's name, such as EPT_VIOLATION
    e.qualification AS qualification,               -- exit qualification
    printf('0x%x', s.rip) AS rip,                   -- hexadecimal address, the guest's instruction pointer
    (SELECT text FROM texts x WHERE x.id = s.instr) AS instr, -- the guest's instruction, NULL if unknown
    nullif(e.gpa, -1) AS gpa,                       -- guest-physical address, NULL where the reason has none
    s.intr_info AS intr_info,                       -- VM-exit interruption information
    s.error_code AS error_code,                     -- VM-exit interruption error code
    (SELECT text FROM texts x WHERE x.id = s.path) AS path, -- how it was handled
    e.guest_cycles AS guest_cycles,                 -- cycles in the guest before the exit
    e.exit_cycle AS exit_cycle,                     -- cycles, when the exit began
    e.exit_cycle + e.cycles AS entry_cycle,         -- cycles, when the next entry completed, NULL if none did
    e.cycles AS cycles,                             -- cycles from exit to entry
    s.hw_exit_cycles AS hw_exit_cycles,             -- cycles of the hardware, leaving the guest
    s.hw_entry_cycles AS hw_entry_cycles,           -- cycles of the hardware, entering it again
    e.cycles - s.hw_exit_cycles - s.hw_entry_cycles - coalesce((SELECT device_cycles + wait_cycles + other_cycles
        FROM exits_more m WHERE m.id = e.id), 0) AS hv_cycles, -- cycles of the hypervisor core
    coalesce((SELECT device_cycles FROM exits_more m WHERE m.id = e.id), 0) AS device_cycles, -- cycles of the user-space VMM
    coalesce((SELECT wait_cycles FROM exits_more m WHERE m.id = e.id), 0) AS wait_cycles,     -- cycles halted or blocked
    coalesce((SELECT other_cycles FROM exits_more m WHERE m.id = e.id), 0) AS other_cycles,   -- cycles that went to others
    (SELECT recorded_ns FROM exits_more m WHERE m.id = e.id) AS recorded_ns -- nanoseconds in an imported trace, else NULL
FROM runs r CROSS JOIN exits_data e ON e.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN exit_sites s ON s.id = e.site CROSS JOIN places p ON p.id = s.place;

CREATE TABLE event_kinds (
    id INTEGER PRIMARY KEY,   -- number that event_tags uses
    kind TEXT NOT NULL UNIQUE, -- name of the tracepoint, the kernel's own such as kvm_page_fault
    argc INTEGER NOT NULL,    -- number of arguments, 0 to 6
    n0 TEXT,                  -- name of argument 0, NULL if there is none
    n1 TEXT,                  -- name of argument 1
    n2 TEXT,                  -- name of argument 2
    n3 TEXT,                  -- name of argument 3
    n4 TEXT,                  -- name of argument 4
    n5 TEXT                   -- name of argument 5
);

CREATE TABLE event_tags (
    id INTEGER PRIMARY KEY,   -- number that events_data uses
    kind INTEGER NOT NULL,    -- event_kinds.id
    place INTEGER NOT NULL    -- places.id
);

CREATE TABLE events_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number
    seq,                      -- number of the event within the run
    tag,                      -- event_tags.id
    cycle,                    -- cycles, when it happened
    a0,                       -- argument 0 (64 bits, signed in SQLite), NULL if there is none
    a1,                       -- argument 1
    a2,                       -- argument 2
    a3,                       -- argument 3
    a4,                       -- argument 4
    a5                        -- argument 5
);

CREATE TABLE event_shapes (
    id INTEGER PRIMARY KEY,   -- shape << 3 | index of the event in the group
    tag INTEGER NOT NULL,     -- event_tags.id
    ticks INTEGER NOT NULL,   -- 1/16 cycles since the group's first event
    a0,                       -- argument 0, NULL if there is none
    a1,                       -- argument 1
    a2,                       -- argument 2
    a3,                       -- argument 3
    a4,                       -- argument 4
    a5                        -- argument 5
);

CREATE TABLE event_groups_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number
    seq,                      -- number within the run of the group's first event
    shape,                    -- event_shapes.id >> 3
    tick                      -- 1/16 cycles, when the first event happened
);

CREATE VIEW events AS SELECT
    r.run AS run,             -- runs.run
    e.seq AS seq,             -- number of the event within the run, from 1, in simulated order; NULL for kvm_exit
    e.cycle AS cycle,         -- cycles, when it happened
    p.pcpu AS pcpu,           -- number of the pCPU
    p.vm AS vm,               -- number of the VM, NULL outside one
    p.vcpu AS vcpu,           -- number of the vCPU, NULL outside one
    p.level AS level,         -- 0 hypervisor, 1 for an L1 guest, 2 for an L2 guest
    k.kind AS kind,           -- name of the tracepoint
    e.a0 AS a0,               -- argument 0; event_kinds names it
    e.a1 AS a1,               -- argument 1
    e.a2 AS a2,               -- argument 2
    e.a3 AS a3,               -- argument 3
    e.a4 AS a4,               -- argument 4
    e.a5 AS a5,               -- argument 5
    CASE k.argc WHEN 0 THEN '{}'
        WHEN 1 THEN json_object(k.n0, e.a0)
        WHEN 2 THEN json_object(k.n0, e.a0, k.n1, e.a1)
        WHEN 3 THEN json_object(k.n0, e.a0, k.n1, e.a1, k.n2, e.a2)
        WHEN 4 THEN json_object(k.n0, e.a0, k.n1, e.a1, k.n2, e.a2, k.n3, e.a3)
        WHEN 5 THEN json_object(k.n0, e.a0, k.n1, e.a1, k.n2, e.a2, k.n3, e.a3, k.n4, e.a4)
        ELSE json_object(k.n0, e.a0, k.n1, e.a1, k.n2, e.a2, k.n3, e.a3, k.n4, e.a4, k.n5, e.a5)
    END AS args,              -- JSON object of the arguments by name
    e.cycle AS near_cycle     -- cycles, at most 65,536 before cycle: a search by it too is quick
FROM runs r CROSS JOIN events_data e ON e.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN event_tags t ON t.id = e.tag CROSS JOIN event_kinds k ON k.id = t.kind
    CROSS JOIN places p ON p.id = t.place
-- Those that came in a shape: one row for each event of a group.
UNION ALL SELECT r.run, g.seq + (s.id & 7), (g.tick + s.ticks) / 16, p.pcpu, p.vm, p.vcpu, p.level, k.kind,
    s.a0, s.a1, s.a2, s.a3, s.a4, s.a5, CASE k.argc WHEN 0 THEN '{}'
        WHEN 1 THEN json_object(k.n0, s.a0)
        WHEN 2 THEN json_object(k.n0, s.a0, k.n1, s.a1)
        WHEN 3 THEN json_object(k.n0, s.a0, k.n1, s.a1, k.n2, s.a2)
        WHEN 4 THEN json_object(k.n0, s.a0, k.n1, s.a1, k.n2, s.a2, k.n3, s.a3)
        WHEN 5 THEN json_object(k.n0, s.a0, k.n1, s.a1, k.n2, s.a2, k.n3, s.a3, k.n4, s.a4)
        ELSE json_object(k.n0, s.a0, k.n1, s.a1, k.n2, s.a2, k.n3, s.a3, k.n4, s.a4, k.n5, s.a5)
    END, g.tick / 16
FROM runs r CROSS JOIN event_groups_data g ON g.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN event_shapes s ON s.id BETWEEN g.shape << 3 AND g.shape << 3 | 7
    CROSS JOIN event_tags t ON t.id = s.tag CROSS JOIN event_kinds k ON k.id = t.kind
    CROSS JOIN places p ON p.id = t.place
-- The exits as kvm_exit events, so that queries for them work; their one place is the view exits.
UNION ALL SELECT run, NULL, exit_cycle, pcpu, vm, vcpu, level, 'kvm_exit', x.number, s.rip, e.qualification, s.intr_info,
    s.error_code, NULL, json_object('exit_reason', x.number, 'guest_rip', s.rip, 'info1', e.qualification,
    'intr_info', s.intr_info, 'error_code', s.error_code), exit_cycle
FROM runs r CROSS JOIN exits_data e ON e.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN exit_sites s ON s.id = e.site CROSS JOIN places p ON p.id = s.place
    CROSS JOIN exit_reasons x ON x.id = s.reason;

CREATE TABLE span_tags (
    id INTEGER PRIMARY KEY,   -- number that spans_data uses
    place INTEGER NOT NULL,   -- places.id
    name INTEGER NOT NULL     -- texts.id
);

CREATE TABLE spans_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number, in the order of their ends
    tag,                      -- span_tags.id
    begin_cycle,              -- cycles, when it began
    cycles                    -- cycles from begin to end
);

CREATE VIEW spans AS SELECT
    r.run AS run,             -- runs.run
    p.pcpu AS pcpu,           -- number of the pCPU, NULL if it is of no single one
    p.vm AS vm,               -- number of the VM, NULL outside one
    p.vcpu AS vcpu,           -- number of the vCPU, NULL outside one
    x.text AS name,           -- name of the phase, such as vcpu.stall
    d.begin_cycle AS begin_cycle,            -- cycles, when it began
    d.begin_cycle + d.cycles AS end_cycle,   -- cycles, when it ended
    d.cycles AS cycles        -- cycles from begin to end
FROM runs r CROSS JOIN spans_data d ON d.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN span_tags t ON t.id = d.tag CROSS JOIN texts x ON x.id = t.name CROSS JOIN places p ON p.id = t.place;

CREATE TABLE call_chunks (
    id INTEGER PRIMARY KEY,   -- number, in the order in which they were filled
    run INTEGER NOT NULL,     -- runs.run
    thread INTEGER NOT NULL,  -- number of the hypervisor's thread
    pcpu INTEGER NOT NULL,    -- number of the pCPU that it was on when the chunk began
    first_cycle INTEGER NOT NULL, -- cycles, time of the first call or return in it
    last_cycle INTEGER NOT NULL,  -- cycles, time of the last one
    first_exit INTEGER NOT NULL,  -- exits.seq that was being handled when it began, 0 for none
    last_exit INTEGER NOT NULL,   -- the highest exits.seq of a call that ended in it
    calls INTEGER NOT NULL,   -- number of calls that ended in it
    packed BLOB NOT NULL      -- calls and returns, coded as docs/trace-schema.md says
);

CREATE TABLE functions (
    run INTEGER NOT NULL,     -- runs.run
    function TEXT NOT NULL,   -- name of the hypervisor's function
    calls INTEGER NOT NULL,   -- number of calls that ended
    total_cycles INTEGER NOT NULL, -- cycles on a pCPU in it and in what it called; recursion counts once
    self_cycles INTEGER NOT NULL,  -- cycles on a pCPU in it alone; summed up in sixteenths, while calls are stamped in whole cycles
    PRIMARY KEY (run, function)
) WITHOUT ROWID;

CREATE TABLE irqs_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number, in the order in which they were completed
    place,                    -- places.id of the target
    vector,                   -- vector or interrupt number
    route,                    -- texts.id
    raised_cycle,             -- cycles, when a device, timer or CPU raised it
    injected_cycle,           -- cycles, when the hypervisor put it into the VMCS, NULL if never
    delivered_cycle,          -- cycles, when the guest's handler began, NULL if never
    eoi_cycle                 -- cycles, when the guest acknowledged it, NULL if never
);

CREATE VIEW irqs AS SELECT
    r.run AS run,             -- runs.run
    p.pcpu AS pcpu,           -- number of the pCPU it went to
    p.vm AS vm,               -- number of the VM, NULL for one of the host
    p.vcpu AS vcpu,           -- number of the vCPU, NULL for one of the host
    p.level AS level,         -- 0 host, 1 an L1 guest, 2 an L2 guest
    d.vector AS vector,       -- vector or interrupt number
    (SELECT text FROM texts x WHERE x.id = d.route) AS route, -- ipi, ioapic, msi, timer, ...
    d.raised_cycle AS raised_cycle,       -- cycles, when it was raised
    d.injected_cycle AS injected_cycle,   -- cycles, when it was injected, NULL if never
    d.delivered_cycle AS delivered_cycle, -- cycles, when the handler began, NULL if never
    d.eoi_cycle AS eoi_cycle,             -- cycles, when it was acknowledged, NULL if never
    d.delivered_cycle - d.raised_cycle AS latency_cycles -- cycles from raised to delivered
FROM runs r CROSS JOIN irqs_data d ON d.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN places p ON p.id = d.place;

CREATE TABLE walks_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number
    place,                    -- places.id
    dimension,                -- 1 one table, 2 nested
    access,                   -- bit 0 read, 1 write, 2 execute
    gva,                      -- address, guest-virtual, NULL if the walk began with a guest-physical one
    gpa,                      -- address, guest-physical, NULL if it was not reached
    hpa,                      -- address, host-physical, NULL if it was not reached
    result,                   -- texts.id
    cycle,                    -- cycles, when it began
    cycles                    -- cycles that it took
);

CREATE VIEW walks AS SELECT
    r.run AS run,             -- runs.run
    d.id & 0xffffffff AS walk, -- number of the walk within the run, from 1
    p.pcpu AS pcpu,           -- number of the pCPU
    p.vm AS vm,               -- number of the VM
    p.vcpu AS vcpu,           -- number of the vCPU
    p.level AS level,         -- 1 for an L1 guest, 2 for an L2 guest
    d.dimension AS dimension, -- 1 one table, 2 nested
    d.access AS access,       -- bit 0 read, 1 write, 2 execute
    d.gva AS gva,             -- address, guest-virtual
    d.gpa AS gpa,             -- address, guest-physical
    d.hpa AS hpa,             -- address, host-physical
    (SELECT text FROM texts x WHERE x.id = d.result) AS result, -- ok, or the fault's name
    d.cycle AS cycle,         -- cycles, when it began
    d.cycles AS cycles        -- cycles that it took
FROM runs r CROSS JOIN walks_data d ON d.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN places p ON p.id = d.place;

CREATE TABLE walk_steps_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number
    walk,                     -- number of the walk within the run
    stage,                    -- 1 the guest's table, 2 the hypervisor's
    level,                    -- level of the table, 5 or 4 (root) to 1
    address,                  -- address, host-physical, of the entry that was read
    entry,                    -- value of the entry
    hit,                      -- texts.id
    cycles                    -- cycles that the step took
);

CREATE VIEW walk_steps AS SELECT
    r.run AS run,             -- runs.run
    d.walk AS walk,           -- walks.walk
    d.id & 0xffffffff AS step, -- number of the step within the run; rising within a walk
    d.stage AS stage,         -- 1 the guest's table, 2 the hypervisor's
    d.level AS level,         -- level of the table, 5 or 4 (root) to 1
    d.address AS address,     -- address, host-physical, of the entry that was read
    d.entry AS entry,         -- value of the entry
    (SELECT text FROM texts x WHERE x.id = d.hit) AS hit, -- where it was found: l1, l2, llc, core (another core's cache), memory
    d.cycles AS cycles        -- cycles that the step took
FROM runs r CROSS JOIN walk_steps_data d ON d.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff;

CREATE TABLE locks_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number, in the order of their releases
    place,                    -- places.id
    name,                     -- texts.id
    kind,                     -- texts.id
    address,                  -- address of the lock
    thread,                   -- number of the hypervisor's thread that took it
    holder,                   -- number of the thread that held it when waiting began, NULL if none did
    acquired_cycle,           -- cycles, when it was taken
    wait_cycles,              -- cycles of waiting before that
    hold_cycles               -- cycles until it was released, NULL if it never was
);

CREATE VIEW locks AS SELECT
    r.run AS run,             -- runs.run
    p.pcpu AS pcpu,           -- number of the pCPU
    p.vm AS vm,               -- number of the VM, NULL outside one
    p.vcpu AS vcpu,           -- number of the vCPU, NULL outside one
    (SELECT text FROM texts x WHERE x.id = d.name) AS name, -- name of the lock, such as vm->mmu_lock
    (SELECT text FROM texts x WHERE x.id = d.kind) AS kind, -- spin, read, write, mutex, srcu
    d.address AS address,     -- address of the lock
    d.thread AS thread,       -- number of the thread that took it
    d.holder AS holder,       -- number of the thread that held it when waiting began, NULL if none did
    d.acquired_cycle AS acquired_cycle, -- cycles, when it was taken
    d.wait_cycles AS wait_cycles,       -- cycles of waiting before that
    d.hold_cycles AS hold_cycles        -- cycles until it was released
FROM runs r CROSS JOIN locks_data d ON d.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN places p ON p.id = d.place;

CREATE TABLE violations_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number
    place,                    -- places.id
    kind,                     -- texts.id
    detail,                   -- texts.id
    thread,                   -- number of the hypervisor's thread
    other_thread,             -- number of the other thread, NULL if there is none
    address,                  -- address concerned, NULL if none
    cycle                     -- cycles, when it was noticed
);

CREATE VIEW violations AS SELECT
    r.run AS run,             -- runs.run
    d.cycle AS cycle,         -- cycles, when it was noticed
    p.pcpu AS pcpu,           -- number of the pCPU
    p.vm AS vm,               -- number of the VM, NULL outside one
    p.vcpu AS vcpu,           -- number of the vCPU, NULL outside one
    (SELECT text FROM texts x WHERE x.id = d.kind) AS kind,     -- data race, lock order, sleep in atomic, ...
    (SELECT text FROM texts x WHERE x.id = d.detail) AS detail, -- what happened, in one line
    d.thread AS thread,       -- number of the thread
    d.other_thread AS other_thread, -- number of the other thread, NULL if there is none
    d.address AS address      -- address concerned, NULL if none
FROM runs r CROSS JOIN violations_data d ON d.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN places p ON p.id = d.place;

CREATE TABLE counters (
    run INTEGER NOT NULL,     -- runs.run
    name TEXT NOT NULL,       -- name of the counter
    value INTEGER NOT NULL,   -- count at the end of the run
    PRIMARY KEY (run, name)
) WITHOUT ROWID;

-- Live migrations, from the events that the VMM records.
CREATE VIEW migrations AS SELECT
    b.run AS run,             -- runs.run
    b.a0 AS vm,               -- number of the VM
    b.cycle AS begin_cycle,   -- cycles, when the source began to ask the target
    (SELECT min(cycle) FROM events e WHERE e.run = b.run AND e.kind = 'migration_phase' AND e.a0 = b.a0 AND e.a1 = 3
        AND e.cycle > b.cycle AND e.cycle < f.cycle) AS stop_cycle, -- cycles, when the guest was stopped, NULL if it never was
    (SELECT min(cycle) FROM events e WHERE e.run = b.run AND e.kind = 'migration_running' AND e.a0 = b.a0
        AND e.cycle > b.cycle AND e.cycle <= f.cycle) AS running_cycle, -- cycles, when it ran again, on either host; NULL if it was not stopped
    f.cycle AS end_cycle,     -- cycles, when all was over
    f.a1 AS reason            -- how it ended: hv/vmm/migration_reasons.def; 0 the guest runs on the target
FROM events b JOIN events f ON f.run = b.run AND f.kind = 'migration_end' AND f.a0 = b.a0 AND f.cycle =
    (SELECT min(cycle) FROM events e WHERE e.run = b.run AND e.kind = 'migration_end' AND e.a0 = b.a0 AND e.cycle > b.cycle)
WHERE b.kind = 'migration_phase' AND b.a1 = 1;

CREATE VIEW dirty_rounds AS SELECT
    b.run AS run,             -- runs.run
    b.a0 AS vm,               -- number of the VM
    b.a1 AS round,            -- number of the round in its migration, 0 sends all memory; the last one while the guest stands still
    b.cycle AS begin_cycle,   -- cycles, when it began
    e.cycle AS end_cycle,     -- cycles, when the dirty log had been read after it
    e.cycle - b.cycle AS cycles, -- cycles from begin to end
    b.a2 AS wanted,           -- pages of 4 KiB that were to be sent
    e.a2 AS sent,             -- pages that were given to the link
    e.a3 AS bytes,            -- bytes that left the card meanwhile, framing included; zeros are not sent
    e.a4 AS dirtied,          -- pages that the guest had written meanwhile
    e.a5 AS throttle_percent, -- percent of its time that the guest is kept from running
    x.a2 AS bandwidth,        -- bytes a second, as estimated last
    x.a3 AS dirty_rate,       -- bytes a second that the guest dirties
    x.a5 AS downtime_ns       -- nanoseconds that the guest would stand still for what is left
FROM events b JOIN events e ON e.run = b.run AND e.kind = 'migration_round' AND e.a0 = b.a0 AND e.cycle =
    (SELECT min(cycle) FROM events m WHERE m.run = b.run AND m.kind = 'migration_round' AND m.a0 = b.a0 AND m.cycle > b.cycle)
    JOIN events x ON x.run = e.run AND x.kind = 'migration_estimate' AND x.a0 = e.a0 AND x.cycle = e.cycle
WHERE b.kind = 'migration_round_begin';

CREATE TABLE dirty_pages_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number
    place,                    -- places.id
    cycle,                    -- cycles, when it was marked
    slot,                     -- number of the memory slot, its address space in bits 31:16
    gfn,                      -- number of the guest page
    method,                   -- texts.id
    ring,                     -- 1 the mark is an entry of the vCPU's dirty ring, 0 a bit
    round                     -- number of the migration's round, NULL if there is none
);

CREATE VIEW dirty_pages AS SELECT
    r.run AS run,             -- runs.run
    d.cycle AS cycle,         -- cycles, when it was marked; of method pml: when the processor's log was emptied
    p.vm AS vm,               -- number of the VM
    p.vcpu AS vcpu,           -- number of the vCPU that wrote it, NULL for the VMM or the core
    p.pcpu AS pcpu,           -- number of the pCPU that marked it
    d.slot AS slot,           -- number of the memory slot, its address space in bits 31:16
    d.gfn AS gfn,             -- number of the guest page
    (SELECT text FROM texts x WHERE x.id = d.method) AS method, -- how it was noticed: write_fault, pml, write, vmm
    d.ring AS ring,           -- 1 the mark is an entry of the vCPU's dirty ring, 0 a bit of a bitmap
    d.round AS round          -- number of the migration's round that went on (dirty_rounds.round), NULL if there is none
FROM runs r CROSS JOIN dirty_pages_data d ON d.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN places p ON p.id = d.place;

CREATE TABLE instructions_data (
    id INTEGER PRIMARY KEY,   -- run << 32 | number
    place,                    -- places.id
    cycle,                    -- cycles, when it began
    rip,                      -- address, guest-virtual
    text,                     -- texts.id
    cycles,                   -- cycles that it took
    stall                     -- cycles of these beyond its static price
);

CREATE VIEW instructions AS SELECT
    r.run AS run,             -- runs.run
    d.id & 0xffffffff AS seq, -- number of the row within the run, from 1
    d.cycle AS cycle,         -- cycles, when it began
    p.pcpu AS pcpu,           -- number of the pCPU
    p.vm AS vm,               -- number of the VM
    p.vcpu AS vcpu,           -- number of the vCPU
    p.level AS level,         -- 1 for an L1 guest, 2 for an L2 guest
    printf('0x%x', d.rip) AS rip, -- hexadecimal address, where the instruction is
    (SELECT text FROM texts x WHERE x.id = d.text) AS text, -- the instruction, as Capstone writes it
    d.cycles AS cycles,       -- cycles that it took
    d.stall AS stall_cycles   -- cycles of these beyond its static price: caches, translation, a wrong prediction
FROM runs r CROSS JOIN instructions_data d ON d.id BETWEEN r.run << 32 AND r.run << 32 | 0xffffffff
    CROSS JOIN places p ON p.id = d.place;
