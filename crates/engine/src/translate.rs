//! From guest bytes to a translation.

use crate::table::{PAGE, Translation};
use crate::{CodeSource, Watch};
use mynah_guest::{Fault, Guest, Lifted, MemFault};
use mynah_interp::Code;
use mynah_ir::{Block, BlockKey, Builder, End};

/// The most guest instructions in one block.
const MAX_INSTS: u32 = 64;
/// A block ends when it has this many operations.
const MAX_OPS: usize = 1500;

/// Translates the block at `key`. The error is what fetching its first instruction caused.
pub(crate) fn translate<G: Guest>(
    source: &dyn CodeSource,
    key: BlockKey,
) -> Result<&'static Translation<G>, Fault> {
    let mut limit = MAX_INSTS;
    loop {
        let (block, compare) = lift::<G>(source, key, limit)?;
        match flatten::<G>(&block) {
            Some(code) => return Ok(Translation::leak(block, code.leak(), compare)),
            None if limit > 1 => limit /= 2,
            None => panic!("one instruction has more values than the interpreter has places"),
        }
    }
}

fn flatten<G: Guest>(block: &Block) -> Option<Code<G>> {
    mynah_interp::flatten::<G>(block).ok()
}

/// The block of the one instruction at `key`, fetched anew and not watched.
pub(crate) fn single<G: Guest>(source: &dyn CodeSource, key: BlockKey) -> Result<Code<G>, Fault> {
    let mut bytes = Bytes { source, watch: false, ..Bytes::new(source, key.pc) };
    let block = lift_from::<G>(&mut bytes, key, 1)?;
    Ok(flatten::<G>(&block).expect("one instruction fits"))
}

type Lift = (Block, Option<Box<[u8]>>);

fn lift<G: Guest>(source: &dyn CodeSource, key: BlockKey, limit: u32) -> Result<Lift, Fault> {
    let mut bytes = Bytes::new(source, key.pc);
    let block = lift_from::<G>(&mut bytes, key, limit)?;
    let compare = bytes.compare.then(|| bytes.code[..block.len as usize].into());
    Ok((block, compare))
}

fn lift_from<G: Guest>(bytes: &mut Bytes<'_>, key: BlockKey, limit: u32) -> Result<Block, Fault> {
    let builder = Builder::new(G::SLOTS);
    let mut lifter = G::Lifter::default();
    let mut len = 0u32;
    let mut insts = 0;
    let end = loop {
        let pc = key.pc.wrapping_add(len.into());
        let begin = builder.len();
        let first = insts == 0;
        // A block holds instructions that begin on one page.
        if !first && (pc / PAGE != key.pc / PAGE || insts == limit || begin > MAX_OPS) {
            break End::Jump(pc);
        }
        let lifted = bytes.lift_one::<G>(&mut lifter, len as usize, pc, key.mode, &builder);
        match lifted {
            Ok(Lifted::Next { len: n }) => {
                len += n;
                insts += 1;
            }
            Ok(Lifted::End { len: n, end }) => {
                len += n;
                insts += 1;
                break end;
            }
            // What stops the block takes effect when it is reached.
            Ok(_) | Err(_) if !first => {
                builder.truncate(begin);
                break End::Jump(pc);
            }
            Ok(Lifted::Undefined { trap, .. }) => return Err(Fault::Trap(trap)),
            Ok(_) => return Err(bytes.truncated().into()),
            Err(fault) => return Err(fault.into()),
        }
    };
    let mut block = builder.finish(key, len, insts, end);
    debug_assert_eq!(mynah_ir::verify(&block, G::SLOTS), Ok(()));
    mynah_opt::optimise::<G>(&mut block);
    debug_assert_eq!(mynah_ir::verify(&block, G::SLOTS), Ok(()));
    Ok(block)
}

/// Guest bytes from a pc on, fetched page by page as they are needed.
struct Bytes<'s> {
    source: &'s dyn CodeSource,
    start: u64,
    code: Vec<u8>,
    /// What stopped the fetch.
    fault: Option<MemFault>,
    watch: bool,
    /// Whether a page is one whose writes go unnoticed.
    compare: bool,
}

/// Bytes fetched at a time.
const CHUNK: usize = 256;

impl<'s> Bytes<'s> {
    fn new(source: &'s dyn CodeSource, start: u64) -> Bytes<'s> {
        Bytes { source, start, code: Vec::new(), fault: None, watch: true, compare: false }
    }

    fn lift_one<G: Guest>(
        &mut self,
        lifter: &mut G::Lifter,
        offset: usize,
        pc: u64,
        mode: u32,
        builder: &Builder,
    ) -> Result<Lifted, MemFault> {
        let begin = builder.len();
        builder.insn(pc);
        loop {
            let code = self.code.get(offset..).unwrap_or(&[]);
            if !code.is_empty() {
                match G::lift(lifter, code, pc, mode, builder) {
                    Lifted::Truncated if self.fault.is_none() => {
                        builder.truncate(begin);
                        builder.insn(pc);
                    }
                    lifted => return Ok(lifted),
                }
            } else if let Some(fault) = self.fault {
                return Err(fault);
            }
            self.more();
        }
    }

    /// Fetches on, to the end of the page at most.
    fn more(&mut self) {
        let va = self.start.wrapping_add(self.code.len() as u64);
        let len = self.code.len();
        let room = (PAGE - va % PAGE) as usize;
        self.code.resize(len + room.min(CHUNK), 0);
        let watched = match self.watch {
            true => self.source.watch(va).map(|watch| self.compare |= watch == Watch::Compare),
            false => Ok(()),
        };
        match watched.and_then(|()| self.source.fetch(va, &mut self.code[len..])) {
            Ok(count) => self.code.truncate(len + count),
            Err(fault) => {
                self.code.truncate(len);
                self.fault = Some(fault);
            }
        }
    }

    /// The fault of an instruction whose beginning is there and whose end is not.
    fn truncated(&self) -> MemFault {
        self.fault.expect("an instruction is truncated only where fetching stopped")
    }
}
