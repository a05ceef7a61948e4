//! Arbitrary bytes as code: lifting, optimising and flattening never panic, and keep the IR's rules.

use super::{Target, Verdict, lines};
use crate::random::Rng;
use crate::rows;
use crate::subject::Subject;
use mynah_guest::{Guest, GuestNames, Lifted};
use mynah_ir::{BlockKey, Builder, End, SlotInfo};
use mynah_riscv::RiscV;
use mynah_x86::X86;

/// Bytes of a case at most.
const BYTES: usize = 64;

/// The decoders and lifts of both guests.
#[derive(Debug, Default)]
pub struct DecodeTarget;

impl Target for DecodeTarget {
    fn case(&mut self, rng: &mut Rng) -> Verdict {
        let mut bytes = Vec::with_capacity(BYTES);
        while bytes.len() < BYTES {
            match rng.below(4) {
                // What leads into the depths of the opcode maps.
                0 => bytes.push(rng.pick(&[0x0f, 0x66, 0xf2, 0xf3, 0x48, 0x38, 0x3a, 0xf0, 0xc4])),
                1 => bytes.push(rng.bits() as u8),
                _ => bytes.extend(rng.bits().to_le_bytes()),
            }
        }
        bytes.truncate(rng.below(BYTES) + 1);
        let pc = rng.edge();
        let useful =
            u64::from(check::<X86>(&bytes, pc)) + u64::from(check::<RiscV>(&bytes, pc & !1));
        Verdict::Passed { cases: 2, useful }
    }

    /// A case is bytes in hexadecimal, and `@` with an address if it matters. To fail is to panic.
    fn replay(&mut self, _: &str, text: &str) -> Result<usize, String> {
        let mut count = 0;
        for (number, line) in lines(text) {
            let (code, pc) = line.split_once('@').unwrap_or((line, "1000"));
            let wrong = |what: String| format!("line {number}: {what}");
            let bytes = rows::bytes(&code.replace(' ', "")).map_err(wrong)?;
            let pc = u64::from_str_radix(pc.trim(), 16).map_err(|e| wrong(e.to_string()))?;
            check::<X86>(&bytes, pc);
            check::<RiscV>(&bytes, pc & !1);
            count += 1;
        }
        Ok(count)
    }
}

/// Lifts what it can of `bytes`; whether that was anything.
fn check<S: Subject>(bytes: &[u8], pc: u64) -> bool {
    let slots: &'static [SlotInfo] = S::SLOTS;
    let builder = Builder::new(slots);
    let mut lifter = <S as Guest>::Lifter::default();
    let mode = S::mode(&S::reset());
    let (mut at, mut insts) = (0usize, 0);
    let end = loop {
        let here = pc.wrapping_add(at as u64);
        let rest = &bytes[at..];
        let (text, len) =
            if rest.is_empty() { (" ".into(), 1) } else { S::disassemble(rest, here, mode) };
        assert!(len >= 1 && !text.is_empty(), "{rest:02x?} disassembles to nothing");
        let mark = builder.len();
        builder.insn(here);
        match S::lift(&mut lifter, rest, here, mode, &builder) {
            Lifted::Next { len } => {
                assert!(len as usize <= rest.len() && len > 0, "{rest:02x?} has {len} bytes");
                at += len as usize;
                insts += 1;
            }
            Lifted::End { len, end } => {
                assert!(len as usize <= rest.len() && len > 0, "{rest:02x?} has {len} bytes");
                at += len as usize;
                insts += 1;
                break end;
            }
            Lifted::Truncated => {
                assert!(rest.len() < S::MAX_INSN, "{rest:02x?} is not truncated");
                builder.truncate(mark);
                break End::Jump(here);
            }
            Lifted::Undefined { .. } => {
                builder.truncate(mark);
                break End::Jump(here);
            }
        }
    };
    if insts == 0 {
        return false;
    }
    let mut block = builder.finish(BlockKey { pc, mode }, at as u32, insts, end);
    let verify = |block: &mynah_ir::Block, stage| {
        if let Err(error) = mynah_ir::verify(block, slots) {
            let text = mynah_ir::print(block, &GuestNames::<S>::new());
            panic!("{bytes:02x?} {stage}: {error}\n{text}");
        }
    };
    verify(&block, "as lifted");
    mynah_opt::optimise::<S>(&mut block);
    verify(&block, "optimised");
    if let Err(error) = mynah_interp::flatten::<S>(&block) {
        panic!("{bytes:02x?}: {error:?}");
    }
    true
}
