//! Every operation on vectors or floats, compiled, does what its evaluator does, flags included.

use mynah_guest::toy::Toy;
use mynah_guest::{Cpu, Guest, GuestNames, JumpEntry};
use mynah_ir::ops::{Imm, Rule};
use mynah_ir::{Args, Block, BlockKey, Effect, End, Inst, Lane, NONE, Op, Slot, Ty, Value};
use mynah_ir::{fp, print, verify};
use mynah_jit::{CodeCache, Compiler, Effort, Exit};
use mynah_mem::Flat;

/// Where a case puts its result.
const WORD: Slot = Slot(7);
const VECTOR: Slot = Slot(10);

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A vector of numbers at which something changes, or of random ones.
    fn vector(&mut self) -> u128 {
        const SINGLES: [u32; 10] = [
            0,
            1,
            0x7f80_0000,
            0x7fc0_0001,
            0x7f80_0001,
            0x3f80_0000,
            0x4f00_0000,
            0x7fff,
            0xff,
            3,
        ];
        const DOUBLES: [u64; 8] = [
            0,
            1,
            0x3ff0_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0x7ff8_0000_0000_0001,
            0x7ff0_0000_0000_0001,
            0x41e0_0000_0000_0000,
            0x4009_21fb_5444_2d18,
        ];
        let random = u128::from(self.next()) << 64 | u128::from(self.next());
        match self.next() % 3 {
            0 => random,
            1 => (0..4).fold(0, |sum, _| {
                let single = SINGLES[self.next() as usize % SINGLES.len()];
                sum << 32 | u128::from(single ^ (self.next() as u32) << 31)
            }),
            _ => (0..2).fold(0, |sum, _| {
                let double = DOUBLES[self.next() as usize % DOUBLES.len()];
                sum << 64 | u128::from(double ^ self.next() << 63)
            }),
        }
    }
}

/// An operation as it is tried.
#[derive(Clone, Copy)]
struct Case {
    op: Op,
    ty: Ty,
    imm: u64,
    /// What the scalar argument is, if it is a constant.
    constant: Option<u64>,
}

impl Case {
    fn arguments(self) -> impl Iterator<Item = Ty> {
        self.op.info().args.iter().map(move |rule| match *rule {
            Rule::Is(is) => is,
            _ => self.ty,
        })
    }

    fn is_shift(self) -> bool {
        matches!(self.op, Op::Vshl | Op::Vshr | Op::Vsar)
    }

    /// A block that applies the operation to values in the integer slots, two for each argument.
    fn block(self) -> Block {
        let mut insts = Vec::new();
        let mut push = |op, ty, args: &[Value], imm| {
            let mut padded = [NONE; 3];
            padded[..args.len()].copy_from_slice(args);
            insts.push(Inst { op, ty, args: padded, imm });
            Value(insts.len() as u16 - 1)
        };
        push(Op::Insn, Ty::I64, &[], 0x1000);
        let mut args = Vec::new();
        for (i, arg) in self.arguments().enumerate() {
            let low = push(Op::Get, Ty::I64, &[], 2 * i as u64);
            let int = Ty::int(arg.bytes());
            args.push(match (int, self.constant) {
                (None, _) => {
                    let high = push(Op::Get, Ty::I64, &[], 2 * i as u64 + 1);
                    push(Op::Vpair, Ty::V128, &[low, high], 0)
                }
                (_, Some(constant)) => push(Op::Iconst, arg, &[], arg.wrap(constant)),
                (Some(int), _) => {
                    let cut = if int == Ty::I64 { low } else { push(Op::Trunc, int, &[low], 0) };
                    if arg == int { cut } else { push(Op::Bitcast, arg, &[cut], 0) }
                }
            });
        }
        let value = push(self.op, self.ty, &args, self.imm);
        let result = self.result();
        match Ty::int(result.bytes()) {
            None => push(Op::Set, Ty::V128, &[value], VECTOR.0.into()),
            Some(int) => {
                let is_int = result == int || result == Ty::I1;
                let bits = if is_int { value } else { push(Op::Bitcast, int, &[value], 0) };
                let wide = if int == Ty::I64 { bits } else { push(Op::Zext, Ty::I64, &[bits], 0) };
                push(Op::Set, Ty::I64, &[wide], WORD.0.into())
            }
        };
        let key = BlockKey { pc: 0x1000, mode: 0 };
        let recover = Vec::new();
        Block { key, len: 4, guest_insts: 1, insts, recover, end: End::Jump(0x1004) }
    }

    fn result(self) -> Ty {
        self.op.result(self.ty).expect("an operation with an evaluator yields a value")
    }
}

/// The immediates to try.
fn immediates(op: Op, ty: Ty) -> Vec<u64> {
    match op.info().imm {
        Imm::Lane => {}
        Imm::Round => return vec![0, 1, 2, 3, 4, 8, 9, 10, 11, 12],
        _ => return vec![0],
    }
    let lanes = Lane::ALL.into_iter().filter(|lane| match op {
        Op::Vsplat | Op::Vextract | Op::Vinsert => lane.ty() == ty,
        Op::Vshuffle => *lane != Lane::I8,
        _ => op.info().effect != Effect::Float || lane.ty().is_float(),
    });
    let mut found = Vec::new();
    for lane in lanes {
        let params: Vec<u64> = match op {
            Op::Vextract | Op::Vinsert => (0..lane.count().into()).collect(),
            Op::Vshuffle => vec![0x7654_3210, 0x3120, 0, 0xfedc_ba98, 0x5140, 0x9172_3648, 0x6420],
            Op::Valign => (0..=16).collect(),
            Op::Vmsad | Op::Vfcmp => (0..8).collect(),
            Op::Vfround => vec![0, 1, 2, 3, 4, 8, 9, 10, 11, 12],
            Op::Vftosi => vec![fp::Round::CURRENT.pack(), fp::Round::ZERO.pack()],
            _ => vec![0],
        };
        found.extend(params.into_iter().map(|param| lane as u64 | param << 8));
    }
    found
}

fn cases() -> Vec<Case> {
    let is_vector = |rule: &Rule| *rule == Rule::Is(Ty::V128);
    let is_tried = |op: &&Op| {
        let info = op.info();
        let other = matches!(op, Op::Get | Op::Set | Op::Load | Op::Store | Op::Cas);
        let among_types = info.types == [Ty::V128];
        let has_vector = among_types || info.args.iter().chain(&info.result).any(is_vector);
        !other && (has_vector || info.effect == Effect::Float)
    };
    let mut cases = Vec::new();
    for &op in Op::ALL.iter().filter(is_tried) {
        for &ty in op.info().types {
            for imm in immediates(op, ty) {
                let case = Case { op, ty, imm, constant: None };
                cases.push(case);
                if case.is_shift() {
                    let counts = [0, 1, 7, 8, 15, 16, 31, 32, 33, 63, 64, 200];
                    cases.extend(counts.map(|count| Case { constant: Some(count), ..case }));
                }
            }
        }
    }
    cases
}

#[test]
fn operations_are_their_evaluators() {
    let mut random = Random(1);
    let mut compiler = Compiler::<Toy>::new();
    let cache = CodeCache::new(64 << 20).expect("code memory");
    let mut cpu = Cpu::<Toy>::new(Flat);
    mynah_jit::attach(&mut cpu, mynah_jit::helper_table::<Toy>());
    cpu.core.jump_cache = Box::leak(JumpEntry::cache()).as_ptr() as usize;
    for case in cases() {
        for effort in [Effort::Quick, Effort::Optimise] {
            let block = case.block();
            let text = print(&block, &GuestNames::<Toy>::new());
            verify(&block, Toy::SLOTS).unwrap_or_else(|e| panic!("{e}: {text}"));
            let artifact = compiler.compile(&[&block], effort);
            let artifact = artifact.unwrap_or_else(|e| panic!("{e}: {text}"));
            let unit = Box::leak(Box::new(cache.install(artifact).expect("room")));
            for turn in 0..60 {
                let word = fp::DEFAULT
                    | if turn < 20 { 0 } else { (random.next() as u32 & 0xf) << 13 & 0xe000 };
                check(case, word, &mut cpu, unit.entry, &mut random, &text);
            }
        }
    }
}

fn check(case: Case, word: u32, cpu: &mut Cpu<Toy>, entry: usize, random: &mut Random, text: &str) {
    let mut bits = [0u128; 3];
    for (i, arg) in case.arguments().enumerate() {
        let mut value = random.vector();
        if arg != Ty::V128 {
            let scalar = if case.is_shift() { random.next() % 70 } else { value as u64 };
            value = arg.wrap(case.constant.unwrap_or(scalar)).into();
        }
        bits[i] = value;
        cpu.state.r[2 * i] = value as u64;
        cpu.state.r[2 * i + 1] = (value >> 64) as u64;
    }
    let [a, b, c] = bits;
    let x = Args { ty: case.ty, imm: case.imm, a, b, c };
    let (expected, flags) = fp::with_env(word, || case.op.eval(x));
    cpu.core.fp_env = word;
    cpu.core.enter_fp();
    let left = mynah_jit::enter(cpu, entry);
    cpu.core.leave_fp();
    assert!(matches!(Exit::decode(left), Exit::Unlinked(_)), "{text}");
    let got = cpu.slot(if case.result() == Ty::V128 { VECTOR } else { WORD });
    let expected = expected.expect("an evaluator");
    assert!(got == expected, "{got:x} not {expected:x}: {a:x} {b:x} {c:x} under {word:x}: {text}");
    let after = cpu.core.fp_env;
    assert!(after == flags, "flags {after:x} not {flags:x}: {a:x} {b:x} {c:x}: {text}");
}
