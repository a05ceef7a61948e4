"""Runs rows of tests/insn/system on Bochs' CPU, for the test that asks (see README.md here).

Reads requests from standard input, a line each, and answers each row with a line:

    image HEX                       the memory that all rows begin with, from physical address 0
    row CODE-BYTES KEY=VALUE ...    state before; mem=ADDRESS:HEX,... is what differs from the image
    END KEY=VALUE ...               state after, mem= as before; END is at, halt, shutdown or endless

Numbers are hexadecimal. A segment is SELECTOR:BASE:LIMIT:RIGHTS, a descriptor table BASE:LIMIT.
Linear addresses are physical where code runs, and what stands there outside the code under test
(LAHF; SETO AL) tells the arithmetic flags, which Bochs computes when they are needed.
"""

import os
import signal
import sys
import traceback

import bochscpu
import bochscpu.cpu
import bochscpu.memory

PAGE = 0x1000
CODE = 0x8000
SPARE = 0xE000  # where there is no code otherwise: Bochs does not see it change
LANDING = bytes.fromhex("9f0f90c0")
LIMIT = 64  # instructions
SECONDS = 5
SEGMENTS = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"]
TABLES = ["gdtr", "idtr"]
WORDS = """rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rflags
    cr0 cr2 cr3 cr4 efer dr0 dr1 dr2 dr3 dr6 dr7 xcr0 star lstar cstar fmask kernel_gs_base
    sysenter_cs sysenter_esp sysenter_eip pat""".split()
NAMES = {"fmask": "sfmask"}
RIGHTS = 0xF0FF
ARITHMETIC = 0x8D5

PE, PG = 1, 1 << 31
PAE = 1 << 5
LMA = 1 << 10


def write(address, data):
    """Writes to physical memory, page by page."""
    while data:
        part = data[: PAGE - address % PAGE]
        bochscpu.memory.phy_write(address, list(part))
        address, data = address + len(part), data[len(part) :]


def read(length):
    return b"".join(
        bytes(bochscpu.memory.phy_read(at, PAGE)) for at in range(0, length, PAGE)
    )


def parse(words):
    state, memory = {}, []
    for word in words:
        name, value = word.split("=")
        if name == "mem":
            for part in filter(None, value.split(",")):
                address, data = part.split(":")
                memory.append((int(address, 16), bytes.fromhex(data)))
        elif ":" in value:
            state[name] = [int(part, 16) for part in value.split(":")]
        else:
            state[name] = int(value, 16)
    return state, memory


def segment(value):
    result = bochscpu.Segment()
    result.selector, result.base, result.limit, result.attr = value
    result.present = value[3] & 0x80 != 0
    return result


def bochs_state(values):
    state = bochscpu.State()
    for name in WORDS:
        setattr(state, NAMES.get(name, name), values[name])
    for name in SEGMENTS:
        setattr(state, name, segment(values[name]))
    for name in TABLES:
        table = bochscpu.GlobalSegment()
        table.base, table.limit = values[name]
        setattr(state, name, table)
    state.rip = values["pc"] if is_long(values) else values["pc"] - values["cs"][1]
    state.mxcsr, state.mxcsr_mask, state.fpcw = 0x1F80, 0xFFFF, 0x37F
    return state


def is_long(values):
    return values["efer"] & LMA != 0 and values["cs"][3] & 0x2000 != 0


def told(state):
    """The state as the answer tells it, but for memory."""
    out = {}
    for name in WORDS:
        out[name] = "%x" % getattr(state, NAMES.get(name, name))
    for name in SEGMENTS:
        s = getattr(state, name)
        rights = s.attr & RIGHTS
        if s.present and rights & 0x80:
            out[name] = "%x:%x:%x:%x" % (s.selector, s.base, s.limit, rights)
        else:
            out[name] = "%x:0:0:0" % s.selector
    for name in TABLES:
        table = getattr(state, name)
        out[name] = "%x:%x" % (table.base, table.limit)
    return out


class Run:
    """One row."""

    def __init__(self, image, words):
        self.length = len(bytes.fromhex(words[0]))
        self.values, edits = parse(words[1:])
        self.memory = bytearray(image)
        for address, data in edits + [(CODE, bytes.fromhex(words[0]))]:
            self.memory[address : address + len(data)] = data
            write(address, data)
        self.count = 0
        self.stop = None  # pc, and what is told of it
        self.double = False
        self.flags = ""

    def linear(self, cpu):
        state = cpu.state
        if state.efer & LMA and state.cs.attr & 0x2000:
            return state.rip
        return (state.cs.base + state.rip) & 0xFFFFFFFF

    def before(self, session, _cpu, _insn):
        self.double = False
        pc = self.linear(session.cpu)
        if self.stop is None:
            self.count += 1
            if self.count > LIMIT:
                self.answer("endless", session.cpu.state)
            if not CODE <= pc < CODE + self.length:
                self.stop = pc, told(session.cpu.state), self.changes()
            return
        # The first instruction there has told the flags but OF, the next one OF.
        start, state, changes = self.stop
        ax = session.cpu.state.rax
        rflags = int(state["rflags"], 16)
        tells = self.memory[start : start + 4] == LANDING
        if tells and pc == start + 1:
            low = ax >> 8 & ARITHMETIC & 0xFF
            state["rflags"] = "%x" % (rflags & ~(ARITHMETIC & 0xFF) | low)
            return
        if tells and pc == start + 4:
            state["rflags"] = "%x" % (rflags & ~0x800 | (ax & 1) << 11)
        self.finish("at", start, state, changes)

    def exception(self, session, _cpu, vector, _error):
        if self.double:
            self.answer("shutdown", session.cpu.state)
        self.double = vector == 8
        if self.stop is not None:
            self.finish("at", *self.stop)

    def halt(self, session, _cpu):
        self.answer("shutdown" if self.double else "halt", session.cpu.state)

    def changes(self):
        after = read(len(self.memory))
        found = []
        for page in range(0, len(after), PAGE):
            was, is_ = self.memory[page : page + PAGE], after[page : page + PAGE]
            differs = [n for n in range(PAGE) if was[n] != is_[n]] if was != is_ else []
            while differs:
                start = end = differs.pop(0)
                while differs and differs[0] == end + 1:
                    end = differs.pop(0)
                found.append("%x:%s" % (page + start, is_[start : end + 1].hex()))
        return ",".join(found)

    def answer(self, end, state):
        if self.stop is not None:
            self.finish("at", *self.stop)
        base = 0 if state.efer & LMA and state.cs.attr & 0x2000 else state.cs.base
        self.finish(end, state.rip + base, told(state), self.changes())

    def finish(self, end, pc, state, changes):
        words = ["%s=%s" % item for item in state.items()]
        print(end, "pc=%x" % pc, *words, "mem=" + changes, flush=True)
        os._exit(0)

    def go(self):
        session = bochscpu.Session()
        session.missing_page_handler = missing
        if self.values["cr4"] & PAE and not self.values["efer"] & LMA:
            self.load_pointers(session)
        hook = bochscpu.Hook()
        hook.before_execution = self.before
        hook.exception = self.exception
        hook.hlt = self.halt
        session.cpu.state = bochs_state(self.values)
        session.cpu.set_mode()
        session.run([hook])
        self.answer("shutdown", session.cpu.state)

    def load_pointers(self, session):
        """Makes Bochs read the page-directory-pointer table, by turning paging on."""
        before = bytes(self.memory[SPARE : SPARE + 8])
        write(SPARE, bytes.fromhex("0f22c0f4"))
        values = dict(self.values, pc=SPARE, rax=self.values["cr0"] | PE | PG, rflags=2)
        values["cr0"] = values["cr0"] & 0x7FFFFFFF | PE
        values["cs"] = [8, 0, 0xFFFFFFFF, 0xC09B]
        hook = bochscpu.Hook()
        hook.before_execution = lambda s, _c, _i: s.cpu.rip != SPARE and s.stop()
        session.cpu.state = bochs_state(values)
        session.cpu.set_mode()
        session.run([hook])
        write(SPARE, before)


def missing(address):
    """Memory that is not there: the row should not have asked for it."""
    bochscpu.memory.page_insert(address & ~(PAGE - 1), bochscpu.memory.allocate_host_page())


def main():
    image = b""
    for line in sys.stdin:
        kind, *words = line.split()
        if kind == "image":
            image = bytes.fromhex(words[0])
            for at in range(0, len(image), PAGE):
                host = bochscpu.memory.allocate_host_page()
                bochscpu.memory.page_insert(at, host)
            write(0, image)
            continue
        # A process of its own for each row: nothing of the last one is left.
        child = os.fork()
        if child == 0:
            # Bochs may wait for ever for what does not come.
            signal.alarm(SECONDS)
            try:
                Run(image, words).go()
            except Exception:
                traceback.print_exc()
            os._exit(1)
        _, status = os.waitpid(child, 0)
        if status != 0:
            print("failed", flush=True)


main()
sys.stdout.flush()
os._exit(0)
