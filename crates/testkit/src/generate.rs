//! Random x86 instructions and states that make them do something.
//!
//! A form is one of iced's instruction codes: [`Generator`] picks forms evenly, so that a rare
//! instruction is tried as often as MOV. States come from [`crate::random`] and are then steered:
//! what an instruction uses as an address mostly lies in the test pages, sometimes across an edge
//! of them.

use crate::pages::{CODE, DATA, DATA_BYTES, ENTRY, READ_ONLY, data_range};
use crate::random::Rng;
use crate::subject::{Ignore, State};
use crate::x86::{FCW, FLAG0, FS_BASE, MXCSR, ST0, XMM0, flag};
use iced_x86::{
    Code, CodeSize, CpuidFeature, Decoder, DecoderOptions, EncodingKind, Instruction,
    InstructionInfoFactory, MandatoryPrefix, Mnemonic, OpAccess, OpCodeTableKind, OpKind, Register,
    RflagsBits, UsedMemory,
};
use mynah_x86::X86;
use std::rc::Rc;

/// An instruction to try.
#[derive(Clone, Debug)]
pub struct Insn {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The same, decoded.
    pub decoded: Instruction,
    memory: Vec<UsedMemory>,
}

impl Insn {
    /// The instruction at the start of `bytes`, if there is one.
    pub fn decode(bytes: &[u8]) -> Option<Insn> {
        let decoded = decode(bytes)?;
        let bytes = bytes[..decoded.len()].to_vec();
        let memory = InstructionInfoFactory::new().info(&decoded).used_memory().to_vec();
        Some(Insn { bytes, decoded, memory })
    }

    /// Whether it stores an MMX register.
    pub fn stores_mmx(&self) -> bool {
        self.decoded.op0_kind() == OpKind::Memory && self.decoded.op1_register().is_mm()
    }

    /// Whether its access to memory is locked, on the host or in a lift.
    pub fn locks(&self) -> bool {
        use Mnemonic as M;
        self.decoded.has_lock_prefix()
            || matches!(self.decoded.mnemonic(), M::Xchg | M::Cmpxchg | M::Cmpxchg8b)
    }

    /// Whether it is a string instruction that repeats.
    pub fn repeats(&self) -> bool {
        self.decoded.is_string_instruction()
            && (self.decoded.has_rep_prefix() || self.decoded.has_repne_prefix())
    }

    /// Whether its addresses have 32 bits.
    pub fn has_address_prefix(&self) -> bool {
        // What repeats has an opcode of one byte at its end.
        self.bytes[..self.bytes.len() - 1].contains(&0x67)
    }

    /// Whether it is a string instruction that compares.
    pub fn compares(&self) -> bool {
        use Mnemonic as M;
        matches!(
            self.decoded.mnemonic(),
            M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Scasb | M::Scasw | M::Scasd | M::Scasq
        )
    }
}

/// A source of instructions and states.
#[derive(Debug)]
pub struct Generator {
    forms: Vec<Code>,
    info: InstructionInfoFactory,
}

impl Generator {
    /// A generator of all instructions whose name contains `only`, ignoring case.
    pub fn new(only: &str) -> Generator {
        let only = only.to_lowercase();
        let wanted = |code: &Code| format!("{code:?}").to_lowercase().contains(&only);
        let forms = Code::values().filter(|&code| is_tried(code)).filter(wanted).collect();
        Generator { forms, info: InstructionInfoFactory::new() }
    }

    /// Number of forms.
    pub fn len(&self) -> usize {
        self.forms.len()
    }

    /// Whether there is no form.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// A random instruction.
    pub fn insn(&mut self, rng: &mut Rng) -> Insn {
        loop {
            let form = rng.pick(&self.forms);
            if let Some(insn) = self.try_form(rng, form) {
                return insn;
            }
        }
    }

    fn try_form(&mut self, rng: &mut Rng, form: Code) -> Option<Insn> {
        let mut bytes = encode(rng, form);
        let decoded = decode(&bytes)?;
        let len = decoded.len();
        bytes.truncate(len);
        let mut insn = Insn { bytes, decoded, memory: Vec::new() };
        aim_displacement(rng, &mut insn);
        let decoded = decode(&insn.bytes)?;
        insn.decoded = decoded;
        if decoded.len() != insn.bytes.len() || !is_tried(decoded.code()) || leads_back(&decoded) {
            return None;
        }
        // A LOCK that is not allowed is #UD whatever follows.
        let lockable = decoded.op_code().can_use_lock_prefix();
        if rng.chance(1) && !lockable && insn.bytes.len() < 15 {
            insn.bytes.insert(0, 0xf0);
            return Some(insn);
        }
        let info = self.info.info(&insn.decoded);
        insn.memory.extend_from_slice(info.used_memory());
        Some(insn)
    }
}

fn decode(bytes: &[u8]) -> Option<Instruction> {
    let decoded = Decoder::with_ip(64, bytes, ENTRY, DecoderOptions::NONE).decode();
    (!decoded.is_invalid()).then_some(decoded)
}

/// Whether the form is of x86-64-v2, and may run on the host CPU in user mode with an outcome that
/// depends on nothing but registers and data.
pub fn is_tried(code: Code) -> bool {
    use CpuidFeature as F;
    const FEATURES: &[F] = &[
        F::INTEL8086,
        F::INTEL186,
        F::INTEL286,
        F::INTEL386,
        F::INTEL486,
        F::X64,
        F::CLFSH,
        F::CMOV,
        F::CMPXCHG16B,
        F::CX8,
        F::FPU,
        F::FPU287,
        F::FPU387,
        F::FXSR,
        F::MMX,
        F::MULTIBYTENOP,
        F::PAUSE,
        F::POPCNT,
        F::SSE,
        F::SSE2,
        F::SSE3,
        F::SSSE3,
        F::SSE4_1,
        F::SSE4_2,
    ];
    use Mnemonic as M;
    /// What leads into the kernel, to other modes, or to what is not state.
    const NOT: &[M] = &[
        M::Syscall,
        M::Int,
        M::Int1,
        M::Iret,
        M::Iretd,
        M::Iretq,
        M::Retf,
        M::Lss,
        M::Lfs,
        M::Lgs,
        M::Sgdt,
        M::Sidt,
        M::Sldt,
        M::Smsw,
        M::Str,
        M::Lar,
        M::Lsl,
        M::Verr,
        M::Verw,
        M::Cpuid,
        M::Fnsave,
        M::Fsave,
        M::Fnstenv,
        M::Fstenv,
        M::Fxsave,
        M::Fxsave64,
        M::Fxrstor,
        M::Fxrstor64,
        M::Fldenv,
        M::Frstor,
    ];
    let op = code.op_code();
    let loads_segment = (0..op.op_count()).any(|n| {
        use iced_x86::OpCodeOperandKind as K;
        matches!(op.op_kind(n), K::seg_reg | K::es | K::cs | K::ss | K::ds | K::fs | K::gs)
    });
    op.is_instruction()
        && op.mode64()
        && op.encoding() == EncodingKind::Legacy
        && !op.fwait()
        && code.cpuid_features().iter().all(|f| FEATURES.contains(f))
        && !NOT.contains(&code.mnemonic())
        && !op.is_privileged()
        && !op.is_input_output()
        && !op.may_require_cpl0()
        && !is_far(code)
        && !loads_segment
}

fn is_far(code: Code) -> bool {
    code.is_jmp_far()
        || code.is_call_far()
        || code.is_jmp_far_indirect()
        || code.is_call_far_indirect()
}

/// Whether a jump leads into the instruction itself, where the host CPU would not stop.
fn leads_back(decoded: &Instruction) -> bool {
    let own = ENTRY..ENTRY + decoded.len() as u64;
    decoded.op_count() > 0
        && matches!(
            decoded.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        )
        && own.contains(&decoded.near_branch_target())
}

/// Bytes that begin with an instruction of the form, mostly.
fn encode(rng: &mut Rng, form: Code) -> Vec<u8> {
    let op = form.op_code();
    let mut out = Vec::with_capacity(24);
    if rng.chance(4) {
        out.push(rng.pick(&[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x64, 0x65]));
    }
    if op.address_size() == 32 || op.address_size() == 0 && rng.chance(5) {
        out.push(0x67);
    }
    if op.can_use_lock_prefix() && rng.chance(30) {
        out.push(0xf0);
    }
    if op.can_use_rep_prefix() && rng.chance(40) {
        out.push(0xf3);
    } else if op.can_use_repne_prefix() && rng.chance(40) {
        out.push(0xf2);
    } else if rng.chance(1) {
        out.push(rng.pick(&[0xf2, 0xf3]));
    }
    if op.operand_size() == 16 || rng.chance(1) {
        out.push(0x66);
    }
    match op.mandatory_prefix() {
        MandatoryPrefix::P66 => out.push(0x66),
        MandatoryPrefix::PF3 => out.push(0xf3),
        MandatoryPrefix::PF2 => out.push(0xf2),
        _ => {}
    }
    let wide = op.operand_size() == 64 && !op.default_op_size64() || op.w() != 0;
    let rex = (rng.bits() & 7) as u8;
    if wide || rng.chance(50) {
        let w = wide || op.operand_size() == 0 && rng.chance(10);
        out.push(0x40 | u8::from(w) << 3 | rex);
    }
    match op.table() {
        OpCodeTableKind::T0F => out.push(0x0f),
        OpCodeTableKind::T0F38 => out.extend([0x0f, 0x38]),
        OpCodeTableKind::T0F3A => out.extend([0x0f, 0x3a]),
        _ => {}
    }
    let code = op.op_code();
    if op.op_code_len() == 2 {
        out.push((code >> 8) as u8);
    }
    let in_opcode = (0..op.op_count()).any(|n| {
        use iced_x86::OpCodeOperandKind as K;
        matches!(op.op_kind(n), K::r8_opcode | K::r16_opcode | K::r32_opcode | K::r64_opcode)
    });
    out.push(code as u8 | if in_opcode { (rng.bits() & 7) as u8 } else { 0 });
    out.extend(tail(rng, op.group_index(), op.rm_group_index()));
    out
}

/// ModRM and what may follow: SIB, displacement, immediate.
fn tail(rng: &mut Rng, group: i32, rm_group: i32) -> impl Iterator<Item = u8> {
    let mut modrm = rng.bits() as u8;
    if rng.chance(40) || rm_group >= 0 {
        modrm |= 0xc0;
    }
    if group >= 0 {
        modrm = modrm & 0xc7 | (group as u8) << 3;
    }
    if rm_group >= 0 {
        modrm = modrm & 0xf8 | rm_group as u8;
    }
    let rest = if rng.chance(50) { rng.bits() } else { rng.edge() };
    let sib = rng.bits() as u8;
    let last = rng.edge();
    [modrm, sib].into_iter().chain(rest.to_le_bytes()).chain(last.to_le_bytes())
}

/// An address that an access of `size` bytes may be tried at: mostly within the data, sometimes
/// across an edge of it. Only what is read may reach from the read-only page to nothing: for what
/// is written as well, processors differ in which of the two faults comes first.
fn target(rng: &mut Rng, size: usize, access: OpAccess) -> u64 {
    let within = |rng: &mut Rng, from: u64, bytes: usize| from + rng.below(bytes) as u64;
    let back = rng.below(size.max(1) + 1) as u64;
    match rng.below(64) {
        0..40 => within(rng, DATA + 64, 2 * 4096 - 128 - size.min(4096)) & !15,
        40..52 => within(rng, DATA + 64, 2 * 4096 - 128 - size.min(4096)),
        52..54 => DATA + 4096 - back,
        54 => READ_ONLY - back,
        55..57 => within(rng, READ_ONLY, 4096 - size.min(4096)),
        57 if matches!(access, OpAccess::Read | OpAccess::CondRead) => {
            DATA + DATA_BYTES as u64 - back
        }
        57 => DATA + DATA_BYTES as u64 + back,
        58 => DATA - back,
        59 => CODE + 4096 - size.min(4096) as u64 - rng.below(64) as u64,
        60 => rng.edge() & 0xffff,
        61 => rng.edge() | 1 << 63,
        _ => within(rng, DATA + 64, 256),
    }
}

/// Rewrites the displacement of an operand without registers, or relative to RIP, so that it lies
/// in the data.
fn aim_displacement(rng: &mut Rng, insn: &mut Insn) {
    let mut decoder = Decoder::with_ip(64, &insn.bytes, ENTRY, DecoderOptions::NONE);
    let decoded = decoder.decode();
    let offsets = decoder.get_constant_offsets(&decoded);
    let relative = decoded.is_ip_rel_memory_operand();
    let absolute = decoded.memory_base() == Register::None
        && decoded.memory_index() == Register::None
        && (0..decoded.op_count()).any(|n| decoded.op_kind(n) == OpKind::Memory);
    if !offsets.has_displacement() || !relative && !absolute {
        return;
    }
    let mut to = target(rng, 16, OpAccess::Write) & 0x7fff_ffff;
    if insn.locks() {
        to &= !15;
    }
    if relative {
        to = to.wrapping_sub(decoded.next_ip());
    }
    let size = offsets.displacement_size();
    let at = offsets.displacement_offset();
    insn.bytes[at..at + size].copy_from_slice(&to.to_le_bytes()[..size]);
}

fn gpr_index(register: Register) -> Option<usize> {
    (register.is_gpr32() || register.is_gpr64()).then(|| register.number())
}

/// A random data image.
pub fn data(rng: &mut Rng) -> Box<[u8; DATA_BYTES]> {
    let mut image = Box::new([0; DATA_BYTES]);
    for chunk in image.chunks_exact_mut(16) {
        chunk.copy_from_slice(&rng.vector().to_le_bytes());
    }
    image
}

/// A random state for `insn`. May have to change the data that it will find.
pub fn state(rng: &mut Rng, insn: &Insn, data: &mut Rc<[u8; DATA_BYTES]>) -> State {
    let mut state = State::reset::<X86>(ENTRY);
    for word in &mut state.words[..16] {
        *word = rng.edge().into();
    }
    if rng.chance(20) {
        state.words[rng.below(16)] = state.words[rng.below(16)];
    }
    let flags = rng.bits();
    for n in 0..8 {
        state.words[FLAG0 + n] = (flags >> n & 1).into();
    }
    if rng.chance(50) {
        state.words[FLAG0 + flag("df")] = 0;
    }
    for n in 0..2 {
        state.words[FS_BASE + n] = match rng.below(3) {
            0 => 0,
            1 => rng.below(4096) as u128,
            _ => u128::from(rng.bits() >> 20),
        };
    }
    for word in &mut state.words[XMM0..XMM0 + 16] {
        *word = rng.vector();
    }
    let mut mxcsr = 0x1f80 | (rng.bits() as u32 & 0xe07f);
    if rng.chance(50) {
        mxcsr = 0x1f80 | rng.bits() as u32 & 0x603f;
    }
    if rng.chance(6) {
        mxcsr &= rng.bits() as u32 | !0x1f80;
    }
    state.words[MXCSR] = mxcsr.into();
    x87(rng, &mut state);
    arguments(rng, insn, &mut state);
    for used in &insn.memory {
        steer(rng, used, insn.locks(), &mut state);
    }
    if matches!(insn.decoded.mnemonic(), Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq) {
        // The trap flag would stop the host CPU in the wrong place.
        if let Some(range) = data_range(state.words[4] as u64, 8) {
            Rc::make_mut(data)[range.start + 1] &= !1;
        }
    }
    state
}

/// A random state for code that begins with `insns`: as [`state`] makes it for the first, with the
/// addresses that the others use steered as well.
pub fn block_state(rng: &mut Rng, insns: &[Insn], data: &mut Rc<[u8; DATA_BYTES]>) -> State {
    let mut state = state(rng, &insns[0], data);
    for insn in insns.iter().rev() {
        for used in &insn.memory {
            steer(rng, used, insn.locks(), &mut state);
        }
    }
    state
}

/// A transfer of some kind over `distance` bytes from its start: mostly a conditional jump, else a
/// jump or a call.
pub fn jump(kind: u64, distance: i32) -> Vec<u8> {
    let opcode = match kind % 8 {
        0 => 0xe8,
        1 => 0xeb,
        _ => 0x70 | (kind >> 3 & 15) as u8,
    };
    let mut bytes = vec![opcode];
    if opcode == 0xe8 {
        bytes.extend((distance - 5).to_le_bytes());
    } else {
        bytes.push((distance - 2) as u8);
    }
    bytes
}

fn x87(rng: &mut Rng, state: &mut State) {
    let words = &mut state.words;
    words[FCW] = 0x37f;
    words[FCW + 2] = 0xff;
    if rng.chance(60) {
        words[FCW] = (0x7f | rng.bits() as u128 & 0xf00) & 0xfff;
    }
    words[FCW + 1] = rng.bits() as u128 & 0x7f7f;
    if rng.chance(40) {
        words[FCW + 2] = rng.bits() as u128 & 0xff;
    }
    for word in &mut words[ST0..ST0 + 8] {
        *word = rng.extended();
    }
}

/// Values that particular instructions need in order to do something.
fn arguments(rng: &mut Rng, insn: &Insn, state: &mut State) {
    let words = &mut state.words;
    match insn.decoded.mnemonic() {
        // Quotients that fit.
        Mnemonic::Div | Mnemonic::Idiv if rng.chance(70) => {
            let small = rng.bits() & 0xff;
            let high = rng.pick(&[0, 0, u64::MAX, 1, small]);
            words[2] = high.into();
            if rng.chance(50) {
                words[0] = u128::from(rng.bits() >> rng.below(64));
            }
        }
        // Offsets that stay in the data.
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
            if insn.decoded.op1_kind() == OpKind::Register && rng.chance(95) =>
        {
            let n = insn.decoded.op1_register().full_register().number();
            words[n] = u128::from((rng.bits() as i16 >> rng.below(12)) as i64 as u64);
        }
        _ => {}
    }
    if insn.decoded.has_rep_prefix() || insn.decoded.has_repne_prefix() {
        let limit = rng.pick(&[1, 4, 64, 0x4000]);
        words[1] = rng.below(limit) as u128;
    }
}

/// Changes a register that `used` takes its address from so that it is a [`target`].
fn steer(rng: &mut Rng, used: &UsedMemory, locked: bool, state: &mut State) {
    let size = if used.access() == OpAccess::NoMemAccess { 1 } else { used.memory_size().size() };
    let mut target = target(rng, size, used.access());
    if locked && !(size == 16 && rng.chance(20)) {
        // Kernels punish a locked access across cache lines with a pause of milliseconds.
        target &= !(size.next_power_of_two() as u64 - 1);
    }
    let base = gpr_index(used.base());
    let index = gpr_index(used.index());
    let segment = match used.segment() {
        Register::FS => state.words[FS_BASE] as u64,
        Register::GS => state.words[FS_BASE + 1] as u64,
        _ => 0,
    };
    let to = target.wrapping_sub(used.displacement()).wrapping_sub(segment);
    let scale = u64::from(used.scale());
    let (register, value) = match (base, index) {
        (Some(base), Some(index)) if base == index => (base, to / (1 + scale)),
        (Some(base), Some(index)) => {
            if rng.chance(80) {
                state.words[index] = (rng.below(64) as u64).into();
            }
            let scaled = (state.words[index] as u64).wrapping_mul(scale);
            (base, to.wrapping_sub(scaled))
        }
        (Some(base), None) => (base, to),
        (None, Some(index)) => (index, to / scale.max(1)),
        (None, None) => return,
    };
    let old = state.words[register];
    state.words[register] = match used.address_size() {
        CodeSize::Code32 => old & !0xffff_ffff | u128::from(value as u32),
        _ => value.into(),
    };
}

/// Whether the access lies across cache lines.
fn crosses_line(used: &UsedMemory, state: &State) -> bool {
    let value = |register: Register, _, _| match register {
        Register::FS => Some(state.words[FS_BASE] as u64),
        Register::GS => Some(state.words[FS_BASE + 1] as u64),
        r if r.is_gpr32() => Some(u64::from(state.words[r.number()] as u32)),
        r if r.is_gpr64() => Some(state.words[r.number()] as u64),
        _ => Some(0),
    };
    let va = used.virtual_address(0, value).unwrap_or(0);
    va % 64 + used.memory_size().size() as u64 > 64
}

/// What the manual leaves undefined when `insn` runs from `state`.
pub fn undefined(insn: &Insn, state: &State) -> Ignore {
    let mut flags = insn.decoded.rflags_undefined();
    if let Some(count) = shift_count(&insn.decoded, state) {
        use Mnemonic as M;
        let rotate = matches!(insn.decoded.mnemonic(), M::Rol | M::Ror | M::Rcl | M::Rcr);
        flags = match count {
            0 => 0,
            1 if rotate => 0,
            1 => RflagsBits::AF,
            _ if rotate => RflagsBits::OF,
            _ => RflagsBits::AF | RflagsBits::OF | flags & RflagsBits::CF,
        };
        let width = operand_bits(&insn.decoded);
        if !rotate && count >= width {
            flags |= RflagsBits::CF;
        }
    }
    let mut ignore = Ignore::default();
    ignore_flags(&mut ignore, flags);
    ignore
}

/// The arithmetic flags.
pub const ARITHMETIC: u32 = RflagsBits::CF
    | RflagsBits::PF
    | RflagsBits::AF
    | RflagsBits::ZF
    | RflagsBits::SF
    | RflagsBits::OF;

/// Ignores the flags that `flags`, a set of [`RflagsBits`], has.
pub fn ignore_flags(ignore: &mut Ignore, flags: u32) {
    for (bit, name) in [
        (RflagsBits::CF, "cf"),
        (RflagsBits::PF, "pf"),
        (RflagsBits::AF, "af"),
        (RflagsBits::ZF, "zf"),
        (RflagsBits::SF, "sf"),
        (RflagsBits::OF, "of"),
    ] {
        if flags & bit != 0 {
            ignore.words[FLAG0 + flag(name)] = 1;
        }
    }
}

fn operand_bits(decoded: &Instruction) -> u32 {
    match decoded.op0_kind() {
        OpKind::Register => decoded.op0_register().size() as u32 * 8,
        _ => decoded.memory_size().size() as u32 * 8,
    }
}

/// The count of a shift or rotate, as masked by the processor.
fn shift_count(decoded: &Instruction, state: &State) -> Option<u32> {
    use Mnemonic as M;
    let last = match decoded.mnemonic() {
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr => 1,
        M::Shld | M::Shrd => 2,
        _ => return None,
    };
    let raw = match decoded.op_kind(last) {
        OpKind::Register => state.words[1] as u32,
        _ => decoded.immediate(last) as u32,
    };
    Some(raw & if operand_bits(decoded) == 64 { 63 } else { 31 })
}

/// Whether the outcome of `insn` from `state` is not defined at all, or differs between processors:
/// a repetition of 32-bit address size with a count of 0 may clear the upper halves of RSI and RDI.
/// A locked access across cache lines is as bad: kernels punish it with a pause of milliseconds.
pub fn is_undefined(insn: &Insn, state: &State) -> bool {
    if insn.locks() && insn.memory.iter().any(|used| crosses_line(used, state)) {
        return true;
    }
    if insn.repeats() && state.words[1] as u32 == 0 && insn.has_address_prefix() {
        return true;
    }
    let double = matches!(insn.decoded.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd);
    double && shift_count(&insn.decoded, state).is_some_and(|c| c > operand_bits(&insn.decoded))
}
