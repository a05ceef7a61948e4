//! Random blocks: flattened and optimised code does what a plain evaluation of the IR does.

use mynah_guest::toy::{State, Toy};
use mynah_guest::{Cpu, Fault, Guest, GuestNames};
use mynah_interp::{Outcome, eval};
use mynah_ir::ops::{Imm, Rule};
use mynah_ir::{Align, Args, Block, BlockKey, Effect, End, Inst, MemOp, NONE, Op, Order, Rmw};
use mynah_ir::{Slot, Trap, Ty, Value, print, verify};
use mynah_mem::{Flat, Memory as _};

const BLOCKS: u64 = 10_000;
const WORDS: usize = 16;

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn word(&mut self) -> u64 {
        let word = self.next();
        match self.below(4) {
            0 => word & 0xf,
            1 => (word & 0xff).wrapping_neg(),
            2 => 1 << (word & 63),
            _ => word,
        }
    }
}

// ── generation ───────────────────────────────────────────────────────────────────────────────

struct Generator<'r> {
    random: &'r mut Random,
    insts: Vec<Inst>,
}

impl Generator<'_> {
    fn push(&mut self, op: Op, ty: Ty, args: &[Value], imm: u64) -> Value {
        let mut padded = [NONE; 3];
        padded[..args.len()].copy_from_slice(args);
        self.insts.push(Inst { op, ty, args: padded, imm });
        Value(self.insts.len() as u16 - 1)
    }

    /// A value of which `fits` holds, the newer the likelier; made if there is none.
    fn value(&mut self, fits: impl Fn(Ty) -> bool, otherwise: Ty) -> Value {
        for _ in 0..6 {
            let back = self.random.below(8).min(self.insts.len() - 1);
            let index = if self.random.one_in(3) {
                self.random.below(self.insts.len())
            } else {
                self.insts.len() - 1 - back
            };
            if self.insts[index].result().is_some_and(&fits) {
                return Value(index as u16);
            }
        }
        self.fresh(otherwise)
    }

    fn fresh(&mut self, ty: Ty) -> Value {
        let slot = match ty {
            Ty::V128 => Some(10 + self.random.below(2)),
            Ty::F64 => Some(8 + self.random.below(2)),
            Ty::I64 if !self.random.one_in(4) => Some(self.random.below(8)),
            _ => None,
        };
        if let Some(slot) = slot {
            return self.push(Op::Get, ty, &[], slot as u64);
        }
        if ty.is_int() && ty != Ty::I64 && !self.random.one_in(3) {
            let wide = self.value(|t| t == Ty::I64, Ty::I64);
            return self.push(Op::Trunc, ty, &[wide], 0);
        }
        let imm = self.random.word();
        self.push(Op::Iconst, ty, &[], ty.wrap(imm))
    }

    /// The address of a word of the guest's memory, which `r7` points to, in some shape.
    fn address(&mut self) -> Value {
        let base = self.push(Op::Get, Ty::I64, &[], 7);
        let word = self.random.below(WORDS / 2) as u64;
        let disp = self.push(Op::Iconst, Ty::I64, &[], 16 * word);
        let sum = self.push(Op::Add, Ty::I64, &[base, disp], 0);
        if self.random.one_in(2) {
            return sum;
        }
        let any = self.value(|t| t == Ty::I64, Ty::I64);
        let mask = self.push(Op::Iconst, Ty::I64, &[], 3);
        let index = self.push(Op::And, Ty::I64, &[any, mask], 0);
        let by = self.push(Op::Iconst, Ty::I64, &[], 1);
        let scaled = self.push(Op::Shl, Ty::I64, &[index, by], 0);
        let args = if self.random.one_in(2) { [sum, scaled] } else { [scaled, sum] };
        self.push(Op::Add, Ty::I64, &args, 0)
    }

    fn any_op(&mut self) {
        let op = self.random.pick(Op::ALL);
        let info = op.info();
        let ty = self.random.pick(info.types);
        // What may fault comes first in its guest instruction.
        if matches!(info.effect, Effect::Memory | Effect::Leaves | Effect::Helper) {
            let pc = 0x1000 + self.insts.len() as u64;
            self.push(Op::Insn, Ty::I64, &[], pc);
        }
        match op {
            Op::Insn => {
                let pc = 0x1000 + self.insts.len() as u64;
                self.push(op, ty, &[], pc);
            }
            Op::Get | Op::Set => {
                let slot = self.random.below(Toy::SLOTS.len() + 6) % Toy::SLOTS.len();
                // The pointer stays.
                let slot = if slot == 7 { 0 } else { slot };
                let ty = Toy::SLOTS[slot].ty;
                if op == Op::Get {
                    self.push(op, ty, &[], slot as u64);
                } else {
                    let value = self.value(|t| t == ty, ty);
                    self.push(op, ty, &[value], slot as u64);
                }
            }
            Op::Load | Op::Store | Op::Rmw | Op::Cas => {
                let align = if self.random.one_in(4) { Align::Natural } else { Align::Any };
                let order = self.random.pick(&[Order::Relaxed, Order::Tso, Order::SeqCst]);
                let mem = MemOp { align, order };
                let mut imm = mem.pack();
                if op == Op::Rmw {
                    imm = self.random.pick(&Rmw::ALL).pack(mem);
                }
                let address = self.address();
                let mut args = vec![address];
                for _ in 1..info.args.len() {
                    args.push(self.value(|t| t == ty, ty));
                }
                self.push(op, ty, &args, imm);
            }
            Op::TrapIf | Op::ExitIf => {
                let cond = self.value(|t| t == Ty::I1, Ty::I1);
                let cond = if self.random.one_in(2) {
                    cond
                } else {
                    let wide = self.value(|t| t == Ty::I64, Ty::I64);
                    let k = self.push(Op::Iconst, Ty::I64, &[], 3);
                    self.push(Op::Ult, Ty::I64, &[wide, k], 0)
                };
                let imm = self.insts.len() as u64;
                self.push(op, ty, &[cond], imm);
            }
            Op::Call => {
                let helper = self.random.below(Toy::HELPERS.len()) as u64;
                let any = |t: Ty| t.is_int() || t == Ty::I1;
                let args: Vec<Value> =
                    (0..self.random.below(4)).map(|_| self.value(any, Ty::I8)).collect();
                self.push(op, ty, &args, helper);
            }
            _ => {
                let mut args = Vec::new();
                for rule in info.args {
                    let width = |t: Ty| t.bits();
                    let int = |t: Ty| t.is_int() || t == Ty::I1;
                    args.push(match *rule {
                        Rule::T => self.value(|t| t == ty, ty),
                        Rule::Is(is) => self.value(|t| t == is, is),
                        Rule::Narrower => self.value(|t| int(t) && width(t) < width(ty), Ty::I1),
                        Rule::Wider => self.value(|t| t.is_int() && width(t) > width(ty), Ty::I64),
                        Rule::SameWidth => self.value(|t| width(t) == width(ty), ty),
                        Rule::AnyInt => self.value(int, Ty::I64),
                    });
                }
                let of = |v: Value| self.insts[v.index()].result();
                let imm = match info.imm {
                    Imm::Const => ty.wrap(self.random.word()),
                    Imm::Ty => of(args[0]).map_or(0, |t| t as u64),
                    Imm::Round => self.random.below(5) as u64,
                    Imm::Lane => return,
                    _ => 0,
                };
                // The type rules know no type narrower than one bit or wider than 64.
                let fits = args.iter().zip(info.args).all(|(&v, rule)| match rule {
                    Rule::Narrower => of(v).is_some_and(|t| t.bits() < ty.bits()),
                    Rule::Wider => of(v).is_some_and(|t| t.bits() > ty.bits()),
                    _ => true,
                });
                if fits {
                    self.push(op, ty, &args, imm);
                }
            }
        }
    }

    /// A few sets in a row, such as those of lazily computed flags: to neighbours, the first one a
    /// constant.
    fn sets(&mut self) {
        let flags = self.random.one_in(3);
        let first = self.random.below(4);
        let mut values = Vec::new();
        for i in 0..1 + self.random.below(4) {
            values.push(match i {
                0 | 2 if flags && self.random.one_in(2) => {
                    let imm = self.random.word() >> 40;
                    self.push(Op::Iconst, Ty::I64, &[], imm)
                }
                _ if self.random.one_in(3) => {
                    let narrow = self.value(|t| t.bits() < 64, Ty::I32);
                    match self.insts[narrow.index()].result() {
                        Some(ty) if ty == Ty::I1 || ty.is_int() => {
                            self.push(Op::Zext, Ty::I64, &[narrow], 0)
                        }
                        _ => self.value(|t| t == Ty::I64, Ty::I64),
                    }
                }
                _ => self.value(|t| t == Ty::I64, Ty::I64),
            });
        }
        for (i, &value) in values.iter().enumerate() {
            let slot = if flags { first + i } else { self.random.below(7) };
            self.push(Op::Set, Ty::I64, &[value], slot as u64 % 7);
        }
    }

    fn block(mut self) -> Block {
        self.push(Op::Insn, Ty::I64, &[], 0x1000);
        for _ in 0..4 + self.random.below(60) {
            self.any_op();
            if self.random.one_in(4) {
                self.sets();
            }
        }
        let end = match self.random.below(5) {
            0 => End::Jump(0x2000),
            1 => End::Return(self.value(|t| t == Ty::I64, Ty::I64)),
            2 => End::Trap { trap: Trap { code: 3, data: 9 }, pc: 0x3000 },
            _ => {
                let cond = self.value(|t| t == Ty::I1, Ty::I1);
                End::Branch { cond, taken: 0x4000, not: 0x5000 }
            }
        };
        let key = BlockKey { pc: 0x1000, mode: 0 };
        Block { key, len: 1, guest_insts: 1, insts: self.insts, end, recover: Vec::new() }
    }
}

// ── the plain evaluation ─────────────────────────────────────────────────────────────────────

fn reference(block: &Block, cpu: &mut Cpu<Toy>) -> Outcome {
    let mut values = vec![0u128; block.insts.len()];
    let mut insn = block.key.pc;
    for (index, inst) in block.insts.iter().enumerate() {
        let arg = |i: usize| values.get(inst.args[i].index()).copied().unwrap_or(0);
        let mut memory = cpu.memory;
        let va = arg(0) as u64;
        macro_rules! access {
            ($result:expr) => {
                match $result {
                    Ok(value) => value.into(),
                    Err(fault) => {
                        cpu.core.pc = insn;
                        return Outcome::Fault(fault.into());
                    }
                }
            };
        }
        if matches!(inst.op, Op::Load | Op::Store | Op::Rmw | Op::Cas) {
            let natural = MemOp::unpack(inst.imm).align == Align::Natural;
            let always = inst.op == Op::Cas && inst.ty == Ty::V128;
            if (natural || always) && !va.is_multiple_of(inst.ty.bytes().into()) {
                let access = match inst.op {
                    Op::Load => mynah_mem::Access::Read,
                    _ => mynah_mem::Access::Write,
                };
                cpu.core.pc = insn;
                let cause = mynah_mem::Cause::Misaligned;
                return Outcome::Fault(mynah_mem::MemFault { va, access, cause }.into());
            }
        }
        values[index] = match inst.op {
            Op::Insn => {
                insn = inst.imm;
                0
            }
            Op::Get => cpu.slot(Slot(inst.imm as u8)),
            Op::Set => {
                cpu.set_slot(Slot(inst.imm as u8), arg(0));
                0
            }
            Op::Load => match inst.ty.bytes() {
                1 => access!(memory.load::<u8>(va)),
                2 => access!(memory.load::<u16>(va)),
                4 => access!(memory.load::<u32>(va)),
                8 => access!(memory.load::<u64>(va)),
                _ => access!(memory.load::<u128>(va)),
            },
            Op::Store => {
                let value = arg(1);
                let done = match inst.ty.bytes() {
                    1 => memory.store(va, value as u8),
                    2 => memory.store(va, value as u16),
                    4 => memory.store(va, value as u32),
                    8 => memory.store(va, value as u64),
                    _ => memory.store(va, value),
                };
                access!(done.map(|()| 0u8))
            }
            Op::Rmw => {
                let change = |old| Rmw::unpack(inst.imm).apply(inst.ty, old, arg(1) as u64);
                access!(memory.update(va, inst.ty.bytes(), change))
            }
            Op::Cas if inst.ty == Ty::V128 => {
                access!(memory.compare_exchange128(va, arg(1), arg(2)))
            }
            Op::Cas => {
                let bytes = inst.ty.bytes();
                access!(memory.compare_exchange(va, bytes, arg(1) as u64, arg(2) as u64))
            }
            Op::Fence => 0,
            Op::ExitIf if arg(0) != 0 => {
                cpu.core.pc = inst.imm;
                return Outcome::Pc;
            }
            Op::TrapIf if arg(0) != 0 => {
                cpu.core.pc = insn;
                return Outcome::Fault(Fault::Trap(Trap::unpack(inst.imm)));
            }
            Op::ExitIf | Op::TrapIf => 0,
            Op::Call => {
                let helper = &Toy::HELPERS[inst.imm as usize];
                let (a, b, c) = (arg(0) as u64, arg(1) as u64, arg(2) as u64);
                let result = (helper.function)(cpu, a, b, c);
                if let Some(fault) = cpu.take_fault() {
                    cpu.core.pc = insn;
                    return Outcome::Fault(fault);
                }
                result.into()
            }
            op => {
                let x = Args { ty: inst.ty, imm: inst.imm, a: arg(0), b: arg(1), c: arg(2) };
                op.eval(x).unwrap_or_else(|| panic!("{op:?} has no evaluator"))
            }
        };
    }
    let value = |v: Value| values[v.index()] as u64;
    cpu.core.pc = match block.end {
        End::Jump(to) | End::Call { to, .. } => to,
        End::Branch { cond, taken, not } => {
            if value(cond) != 0 {
                taken
            } else {
                not
            }
        }
        End::Dispatch(to) | End::Return(to) | End::CallIndirect { to, .. } => value(to),
        End::Trap { trap, pc } => {
            cpu.core.pc = pc;
            return Outcome::Trap(trap);
        }
    };
    Outcome::Pc
}

// ── the comparison ───────────────────────────────────────────────────────────────────────────

/// What a run leaves behind. `env` is the floating-point environment.
#[derive(PartialEq, Debug)]
struct After {
    outcome: Outcome,
    pc: u64,
    state: State,
    memory: [u64; WORDS],
    env: u32,
}

struct Machine {
    cpu: Box<Cpu<Toy>>,
    memory: Box<[u64; WORDS]>,
}

impl Machine {
    fn run(&mut self, seed: u64, run: impl FnOnce(&mut Cpu<Toy>) -> Outcome) -> After {
        let mut random = Random(seed);
        let Machine { cpu, memory } = self;
        memory.fill_with(|| random.word());
        cpu.state.r.fill_with(|| random.word());
        cpu.state.f.fill_with(|| random.word());
        cpu.state.v.fill_with(|| u128::from(random.word()) << 64 | u128::from(random.word()));
        cpu.state.r[7] = (&raw mut **memory).expose_provenance() as u64;
        cpu.core.fp_env = mynah_ir::fp::DEFAULT;
        let outcome = run(cpu);
        let (pc, env) = (cpu.core.pc, cpu.core.fp_env);
        After { outcome, pc, state: cpu.state, memory: **memory, env }
    }
}

#[test]
fn random_blocks() {
    mynah_mem::host::signal::install(None);
    let memory = Box::new([0; WORDS]);
    let mut machine = Machine { cpu: Cpu::new(Flat), memory };
    let mut effects = 0u32;
    for seed in 0..BLOCKS {
        let mut random = Random(seed);
        let block = Generator { random: &mut random, insts: Vec::new() }.block();
        verify(&block, Toy::SLOTS).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let expected = machine.run(seed, |cpu| {
            let word = cpu.core.fp_env;
            let (outcome, word) = mynah_ir::fp::with_env(word, || reference(&block, cpu));
            cpu.core.fp_env = word;
            outcome
        });
        effects += u32::from(matches!(expected.outcome, Outcome::Fault(_)));
        let mut check = |what: &str, other: &Block| {
            verify(other, Toy::SLOTS).unwrap_or_else(|e| panic!("seed {seed}, {what}: {e}"));
            let found = machine.run(seed, |cpu| eval(other, cpu).expect("a small block"));
            let names = GuestNames::<Toy>::new();
            assert!(
                found == expected,
                "seed {seed}, {what}\n{}\n{}\n{expected:#x?}\n{found:#x?}",
                print(&block, &names),
                print(other, &names)
            );
        };
        check("as it is", &block);
        let mut dead = block.clone();
        mynah_opt::dead::<Toy>(&mut dead);
        check("dead", &dead);
        let mut forward = block.clone();
        mynah_opt::forward::<Toy>(&mut forward);
        check("forward", &forward);
        let mut all = block.clone();
        mynah_opt::optimise::<Toy>(&mut all);
        check("optimised", &all);
        let len = all.insts.len();
        mynah_opt::optimise::<Toy>(&mut all);
        check("optimised twice", &all);
        assert!(all.insts.len() <= len, "seed {seed}: a second time adds nothing");
    }
    assert!(effects > 100, "the blocks reach faults: {effects}");
}
