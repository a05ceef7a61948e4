//! A stretch of guest code as one block of IR.

use mynah_guest::{Guest, Lifted};
use mynah_ir::{Block, BlockKey, Builder, End};

/// What the first instructions of some code are.
pub(super) enum Lift {
    /// A block, which covers at least one instruction.
    Block(Block),
    /// The first instruction is cut off at the end of the code.
    Truncated,
    /// The first bytes, so many, are no instruction.
    Undefined(u32),
}

/// Lifts code at `pc` up to its first transfer, or `most` instructions.
pub(super) fn lift<G: Guest>(code: &[u8], pc: u64, mode: u32, most: u32) -> Lift {
    let builder = Builder::new(G::SLOTS);
    let mut lifter = G::Lifter::default();
    let (mut len, mut insts) = (0, 0);
    let finish =
        |len: u32, insts, end| Lift::Block(builder.finish(BlockKey { pc, mode }, len, insts, end));
    loop {
        let here = pc.wrapping_add(len.into());
        if insts == most {
            return finish(len, insts, End::Jump(here));
        }
        let before = builder.len();
        builder.insn(here);
        match G::lift(&mut lifter, &code[len as usize..], here, mode, &builder) {
            Lifted::Next { len: more } => {
                len += more;
                insts += 1;
            }
            Lifted::End { len: more, end } => return finish(len + more, insts + 1, end),
            Lifted::Truncated | Lifted::Undefined { .. } if insts > 0 => {
                builder.truncate(before);
                return finish(len, insts, End::Jump(here));
            }
            Lifted::Truncated => return Lift::Truncated,
            Lifted::Undefined { len, .. } => return Lift::Undefined(len),
        }
    }
}
