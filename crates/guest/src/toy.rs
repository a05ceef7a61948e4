//! A small guest for tests of the neutral parts. It has registers and helpers, and no code.

use crate::{Cpu, Guest, Helper, Lifted};
use mynah_ir::{Builder, Slot, SlotInfo, SlotSet, Trap, Ty};

/// Registers `r0` to `r7` (integers, one after the other), `f0`, `f1` (floats), `v0`, `v1`.
#[derive(Clone, Copy, Debug)]
pub struct Toy;

/// The registers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(C, align(16))]
pub struct State {
    /// Integers.
    pub r: [u64; 8],
    /// Bits of binary64.
    pub f: [u64; 2],
    /// Vectors.
    pub v: [u128; 2],
}

const fn slot(name: &'static str, offset: u32, ty: Ty) -> SlotInfo {
    SlotInfo { name, offset, ty }
}

/// `a + 2b + 4c`.
extern "C" fn mix(_: &mut Cpu<Toy>, a: u64, b: u64, c: u64) -> u64 {
    a.wrapping_add(b << 1).wrapping_add(c << 2)
}

/// Exchanges `r0` and `r1`; yields their sum.
extern "C" fn swap(cpu: &mut Cpu<Toy>, _: u64, _: u64, _: u64) -> u64 {
    cpu.state.r.swap(0, 1);
    cpu.state.r[0].wrapping_add(cpu.state.r[1])
}

/// Raises a trap if `a` is odd; yields `a + r2`.
extern "C" fn check(cpu: &mut Cpu<Toy>, a: u64, _: u64, _: u64) -> u64 {
    if a & 1 != 0 {
        cpu.raise(crate::Fault::Trap(Trap { code: 7, data: a as u32 }));
    }
    a.wrapping_add(cpu.state.r[2])
}

const SWAPPED: SlotSet = SlotSet::of(&[Slot(0), Slot(1)]);

impl Guest for Toy {
    type State = State;
    type Memory = crate::Flat;
    type Lifter = ();

    const NAME: &'static str = "toy";
    const SLOTS: &'static [SlotInfo] = &[
        slot("r0", 0, Ty::I64),
        slot("r1", 8, Ty::I64),
        slot("r2", 16, Ty::I64),
        slot("r3", 24, Ty::I64),
        slot("r4", 32, Ty::I64),
        slot("r5", 40, Ty::I64),
        slot("r6", 48, Ty::I64),
        slot("r7", 56, Ty::I64),
        slot("f0", 64, Ty::F64),
        slot("f1", 72, Ty::F64),
        slot("v0", 80, Ty::V128),
        slot("v1", 96, Ty::V128),
    ];
    const HELPERS: &'static [Helper<Toy>] = &[
        Helper {
            name: "mix",
            function: mix,
            reads: SlotSet::EMPTY,
            writes: SlotSet::EMPTY,
            faults: false,
            pure: true,
        },
        Helper {
            name: "swap",
            function: swap,
            reads: SWAPPED,
            writes: SWAPPED,
            faults: false,
            pure: false,
        },
        Helper {
            name: "check",
            function: check,
            reads: SlotSet::of(&[Slot(2)]),
            writes: SlotSet::EMPTY,
            faults: true,
            pure: false,
        },
    ];
    const MAX_INSN: usize = 1;

    fn reset() -> State {
        State::default()
    }

    fn mode(_: &State) -> u32 {
        0
    }

    fn lift(_: &mut (), _: &[u8], _: u64, _: u32, _: &Builder) -> Lifted {
        Lifted::Undefined { len: 1, trap: Trap { code: 0, data: 0 } }
    }

    fn disassemble(_: &[u8], _: u64, _: u32) -> (String, usize) {
        ("?".into(), 1)
    }
}
