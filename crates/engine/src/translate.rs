//! From guest bytes to a translation.

use crate::table::{Place, Translation};
use crate::{CodeSource, Watch};
use hashbrown::HashSet;
use mynah_guest::{Fault, Guest, Lifted, MemFault};
use mynah_interp::OwnedCode;
use mynah_ir::{Block, BlockKey, Builder, End};
use mynah_mem::{Access, Cause, Memory, PAGE};

/// The most guest instructions in one block.
const MAX_INSTS: u32 = 64;
/// A block ends when it has this many operations.
const MAX_OPS: usize = 1500;

/// Where code is that is to be translated.
pub(crate) struct Origin<'s> {
    pub(crate) source: &'s dyn CodeSource,
    /// What [`Memory::locate`] says of the vCPU that asks.
    pub(crate) locate: &'s mut dyn FnMut(u64) -> Result<u64, MemFault>,
}

/// Translates the block at `key`, which ends before any of `breakpoints`. The error is what
/// fetching its first instruction caused.
pub(crate) fn translate<G: Guest>(
    origin: Origin<'_>,
    key: BlockKey,
    breakpoints: &HashSet<u64>,
) -> Result<Translation<G>, Fault> {
    let mut limit = MAX_INSTS;
    let mut bytes = Bytes::new(origin, key.pc);
    loop {
        let block = lift::<G>(&mut bytes, key, limit, breakpoints)?;
        match flatten::<G>(&block) {
            Some(code) => {
                let compare = bytes.compare.then(|| bytes.code[..block.len as usize].into());
                let place = bytes.place(block.len);
                return Ok(Translation::new(&block, code, place, compare));
            }
            None if limit > 1 => limit /= 2,
            None => panic!("one instruction has more values than the interpreter has places"),
        }
    }
}

fn flatten<G: Guest>(block: &Block) -> Option<OwnedCode<G>> {
    mynah_interp::flatten::<G>(block).ok()
}

/// The block of the one instruction at `key`, fetched anew and not watched.
pub(crate) fn single<G: Guest>(origin: Origin<'_>, key: BlockKey) -> Result<OwnedCode<G>, Fault> {
    let mut bytes = Bytes { watch: false, ..Bytes::new(origin, key.pc) };
    let block = lift::<G>(&mut bytes, key, 1, &HashSet::new())?;
    Ok(flatten::<G>(&block).expect("one instruction fits"))
}

/// The IR of `translation`, from the bytes that stand there now. If the translation is valid
/// afterwards, they are those that were translated. The error is that of fetching them.
pub(crate) fn again<G: Guest>(
    source: &dyn CodeSource,
    translation: &Translation<G>,
) -> Result<Block, Fault> {
    let mut code = vec![0; translation.len.max(1) as usize];
    let mut done = 0;
    for part in translation.parts() {
        let end = done + (part.end - part.start) as usize;
        let mut at = part.start;
        while done < end {
            let count = source.fetch(at, &mut code[done..end])?;
            done += count;
            at += count as u64;
        }
    }
    let key = translation.key();
    let none = MemFault { va: key.pc, access: Access::Fetch, cause: Cause::Unmapped };
    let origin = Origin { source, locate: &mut |_| Err(none) };
    let mut bytes = Bytes { code, fault: Some(none), ..Bytes::new(origin, key.pc) };
    // It ended before a breakpoint by the number of its instructions.
    lift::<G>(&mut bytes, key, translation.code.guest_insts, &HashSet::new())
}

fn lift<G: Guest>(
    bytes: &mut Bytes<'_>,
    key: BlockKey,
    limit: u32,
    breakpoints: &HashSet<u64>,
) -> Result<Block, Fault> {
    let builder = Builder::new(G::SLOTS);
    let mut lifter = G::Lifter::default();
    let mut len = 0u32;
    let mut insts = 0;
    let end = loop {
        let pc = key.pc.wrapping_add(len.into());
        let begin = builder.len();
        let first = insts == 0;
        // A block holds instructions that begin on one page.
        let full = pc / PAGE != key.pc / PAGE || insts == limit || begin > MAX_OPS;
        if !first && (full || breakpoints.contains(&pc)) {
            break End::Jump(pc);
        }
        let lifted = bytes.lift_one::<G>(&mut lifter, len as usize, pc, key.mode, &builder);
        match lifted {
            // Where its end lies is another matter than where the block lies: it goes by itself.
            Ok(lifted) if !first && G::Memory::PAGED && crosses(pc, &lifted) => {
                builder.truncate(begin);
                break End::Jump(pc);
            }
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

/// Whether an instruction at `pc` goes on behind the page on which it begins.
fn crosses(pc: u64, lifted: &Lifted) -> bool {
    match *lifted {
        Lifted::Next { len } | Lifted::End { len, .. } | Lifted::Undefined { len, .. } => {
            pc % PAGE + u64::from(len) > PAGE
        }
        Lifted::Truncated => true,
    }
}

/// Guest bytes from a pc on, fetched page by page as they are needed.
struct Bytes<'s> {
    origin: Origin<'s>,
    start: u64,
    code: Vec<u8>,
    /// Where `start`, and the page after it, are.
    at: u64,
    next: Option<u64>,
    /// What stopped the fetch.
    fault: Option<MemFault>,
    watch: bool,
    /// Whether a page is one whose writes go unnoticed.
    compare: bool,
}

/// Bytes fetched at a time.
const CHUNK: usize = 256;

impl<'s> Bytes<'s> {
    fn new(origin: Origin<'s>, start: u64) -> Bytes<'s> {
        Bytes {
            origin,
            start,
            code: Vec::new(),
            at: 0,
            next: None,
            fault: None,
            watch: true,
            compare: false,
        }
    }

    /// Where the first `len` bytes are.
    fn place(&self, len: u32) -> Place {
        let crosses = self.start % PAGE + u64::from(len.max(1)) > PAGE;
        Place { at: self.at, next: self.next.filter(|_| crosses) }
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
        match self.fetch(va, len) {
            Ok(count) => self.code.truncate(len + count),
            Err(fault) => {
                self.code.truncate(len);
                self.fault = Some(fault);
            }
        }
    }

    /// Fetches what is at `va` to the place for it, which begins at `len`.
    fn fetch(&mut self, va: u64, len: usize) -> Result<usize, MemFault> {
        let at = (self.origin.locate)(va)?;
        match len {
            0 => self.at = at,
            _ if va.is_multiple_of(PAGE) => self.next = self.next.or(Some(at)),
            _ => {}
        }
        let buffer = &mut self.code[len..];
        if self.watch {
            let watch = self.origin.source.watch(at..at + buffer.len() as u64)?;
            self.compare |= watch == Watch::Compare;
        }
        self.origin.source.fetch(at, buffer)
    }

    /// The fault of an instruction whose beginning is there and whose end is not.
    fn truncated(&self) -> MemFault {
        self.fault.expect("an instruction is truncated only where fetching stopped")
    }
}
