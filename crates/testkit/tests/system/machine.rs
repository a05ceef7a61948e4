//! A machine without devices around one interpreted vCPU: RAM, and a port for text.

use mynah_guest::{Cpu, Fault, Guest, Lifted, Ports};
use mynah_interp::{Outcome, OwnedCode};
use mynah_ir::{BlockKey, Builder, End};
use mynah_mem::{Io, Memory, Paged, Phys, Ram, Rights};
use mynah_x86::events::{Due, Event, Shutdown, attend, deliver};
use mynah_x86::paging::Walker;
use mynah_x86::segment::{CS, Segment};
use mynah_x86::{X86, trap};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The vCPU's architecture.
pub(crate) type Guest86 = X86<Paged<Walker>>;

/// Bytes of RAM, from physical address 0.
const RAM: usize = 4 << 20;
const PAGE: u64 = 4096;
/// Instructions that a block has at most.
const BLOCK: u32 = 16;
/// Blocks that a program may execute before it counts as endless.
const LIMIT: u32 = 1_000_000;
/// The port that takes text.
const TEXT: u16 = 0xe9;

/// Nothing answers.
struct Nothing;

impl Io for Nothing {
    fn read(&self, _: u64, _: u8) -> u64 {
        u64::MAX
    }

    fn write(&self, _: u64, _: u8, _: u64) {}
}

/// The ports: what was written to [`TEXT`], and a counter at all others.
#[derive(Default)]
struct Text(Mutex<Vec<u8>>);

impl Ports for Text {
    fn read(&self, port: u16, bytes: u8) -> u32 {
        let pattern = u32::from(port).wrapping_mul(0x0101_0101);
        pattern & u32::MAX >> (32 - 8 * u32::from(bytes))
    }

    fn write(&self, port: u16, bytes: u8, value: u32) {
        if port == TEXT {
            let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            text.extend(&value.to_le_bytes()[..bytes as usize]);
        }
    }
}

/// Why a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// HLT with interrupts off.
    Halted,
    /// A triple fault.
    Shutdown,
    /// It goes on and on.
    Endless,
    /// The pc is outside the code under test, and could be fetched from.
    Outside,
}

/// How code is lifted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// Each instruction by itself.
    Single,
    /// Blocks, optimised and remembered by what they were lifted from.
    Blocks,
}

pub(crate) struct Machine {
    pub(crate) cpu: Box<Cpu<Guest86>>,
    phys: Arc<Phys>,
    text: Arc<Text>,
    style: Style,
    /// Linear addresses of the code that is executed; blocks end where it ends.
    code: Range<u64>,
    blocks: HashMap<(BlockKey, Vec<u8>), OwnedCode<Guest86>>,
}

impl Machine {
    pub(crate) fn new(style: Style) -> Machine {
        // Leaked: the memory stays for as long as anything may point there.
        let host = vec![0u8; RAM + PAGE as usize].leak().as_ptr() as u64;
        let host = host.next_multiple_of(PAGE);
        let ram = Ram { start: 0, len: RAM as u64, host, rights: Rights::ALL, behind: None };
        let phys = Phys::new(vec![ram], Arc::new(Nothing));
        let memory = Paged::new(Walker::default(), phys.clone());
        let mut cpu = Cpu::new(memory);
        let text = Arc::new(Text::default());
        cpu.core.ports = Some(text.clone());
        let code = 0..u64::MAX;
        Machine { cpu, phys, text, style, code, blocks: HashMap::new() }
    }

    /// RESET, with a page walker and a TLB that know nothing.
    pub(crate) fn reset(&mut self) {
        self.cpu.state = Guest86::reset();
        self.cpu.core.attention.store(0, std::sync::atomic::Ordering::SeqCst);
        self.cpu.take_fault();
        self.blocks.clear();
    }

    /// Begins at the linear address `pc` with the state as it was set.
    pub(crate) fn begin(&mut self, pc: u64) {
        self.cpu.memory.walker = Walker::new(&self.cpu.state);
        self.cpu.memory.flush(true);
        self.cpu.core.pc = pc;
    }

    /// Stores `bytes` at physical address `pa`.
    pub(crate) fn store(&self, pa: u64, bytes: &[u8]) {
        for (at, &byte) in (pa..).zip(bytes) {
            self.phys.store(at, byte);
        }
    }

    /// Begins at `offset` in the segment at 0, in real mode.
    pub(crate) fn start(&mut self, offset: u64) {
        let state = &mut self.cpu.state;
        let code = Segment { selector: 0, base: 0, ..state.segment(CS) };
        state.set_segment(CS, code);
        state.refresh_mode();
        self.cpu.core.pc = offset;
    }

    /// What was written to the text port.
    pub(crate) fn text(&self) -> String {
        let text = self.text.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Its memory.
    pub(crate) fn phys(&self) -> Arc<Phys> {
        self.phys.clone()
    }

    /// Makes memory from physical address 0 on `bytes`.
    pub(crate) fn fill(&self, bytes: &[u8]) {
        let mut now = vec![0; bytes.len()];
        self.phys.read(0, &mut now);
        for (n, (new, old)) in bytes.chunks(64).zip(now.chunks(64)).enumerate() {
            if new != old {
                self.store(64 * n as u64, new);
            }
        }
    }

    /// Loads the bytes at physical address `pa`.
    pub(crate) fn load(&self, pa: u64, bytes: &mut [u8]) {
        self.phys.read(pa, bytes);
    }

    /// Makes the code at these linear addresses all that there is.
    pub(crate) fn limit_to(&mut self, code: Range<u64>) {
        self.code = code;
    }

    /// Runs until the program ends.
    pub(crate) fn run(&mut self) -> Ended {
        self.run_for(LIMIT)
    }

    /// Runs until the program ends, or for so many blocks.
    pub(crate) fn run_for(&mut self, turns: u32) -> Ended {
        for _ in 0..turns {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(Shutdown) => return Ended::Shutdown,
            }
        }
        Ended::Endless
    }

    /// What is due, then one block.
    fn turn(&mut self) -> Result<Option<Ended>, Shutdown> {
        let attention = self.cpu.core.attention.swap(0, std::sync::atomic::Ordering::SeqCst);
        let mut single = self.style == Style::Single;
        if attention & mynah_guest::Core::ATTENTION != 0 {
            match attend(&mut self.cpu)? {
                Due::Delivered => return Ok(None),
                Due::Nothing => {}
                Due::Instruction => {
                    single = true;
                    let word = &self.cpu.core.attention;
                    word.fetch_or(
                        mynah_guest::Core::ATTENTION,
                        std::sync::atomic::Ordering::SeqCst,
                    );
                }
            }
        }
        let mode = Guest86::mode(&self.cpu.state);
        self.cpu.core.mode = mode;
        self.cpu.set_space();
        let outcome = if self.code.contains(&self.cpu.core.pc) {
            self.block(single).unwrap_or_else(Outcome::Fault)
        } else {
            match self.cpu.memory.locate(self.cpu.core.pc) {
                Ok(_) => return Ok(Some(Ended::Outside)),
                Err(fault) => Outcome::Fault(fault.into()),
            }
        };
        match outcome {
            Outcome::Pc => Ok(None),
            Outcome::Fault(fault) => deliver(&mut self.cpu, Event::Fault(fault)).map(|()| None),
            Outcome::Trap(trap) if trap.code == trap::HALT => Ok(Some(Ended::Halted)),
            // It may end at once.
            Outcome::Trap(trap) if trap.code == trap::WAIT => Ok(None),
            Outcome::Trap(trap) => deliver(&mut self.cpu, Event::Trap(trap)).map(|()| None),
        }
    }

    /// Executes the block at the pc.
    fn block(&mut self, single: bool) -> Result<Outcome, Fault> {
        let key = BlockKey { pc: self.cpu.core.pc, mode: self.cpu.core.mode };
        let bytes = self.fetch(key.pc)?;
        let limit = if single { 1 } else { BLOCK };
        let code = match self.style {
            Style::Single => None,
            Style::Blocks => self.blocks.remove(&(key, bytes.clone())),
        };
        let code = match code {
            Some(code) => code,
            None => lift(&bytes, key, limit, self.style).map_err(|trap| match trap {
                Some(trap) => Fault::Trap(trap),
                None => self
                    .cpu
                    .memory
                    .locate(key.pc / PAGE * PAGE + PAGE)
                    .map_or_else(Fault::Memory, |_| {
                        unreachable!("an instruction ends where fetching stopped")
                    }),
            })?,
        };
        self.cpu.core.enter_fp();
        let outcome = mynah_interp::once(&code, &mut self.cpu);
        self.cpu.core.leave_fp();
        if self.style == Style::Blocks && !single {
            self.blocks.insert((key, bytes), code);
        }
        Ok(outcome)
    }

    /// The code at `va`, up to a block's length.
    fn fetch(&mut self, va: u64) -> Result<Vec<u8>, Fault> {
        const BYTES: usize = BLOCK as usize * 15;
        let mut bytes = Vec::new();
        while bytes.len() < BYTES {
            let at = va.wrapping_add(bytes.len() as u64);
            let pa = match self.cpu.memory.locate(at) {
                Ok(pa) => pa,
                Err(_) if !bytes.is_empty() => break,
                Err(fault) => return Err(fault.into()),
            };
            let mut part = vec![0; (PAGE - at % PAGE) as usize];
            self.phys.read(pa, &mut part);
            bytes.extend(part);
        }
        bytes.truncate(BYTES.min((self.code.end - va) as usize));
        Ok(bytes)
    }
}

/// Lifts up to `limit` instructions. The error is the trap of the first; none if it is cut off.
fn lift(
    bytes: &[u8],
    key: BlockKey,
    limit: u32,
    style: Style,
) -> Result<OwnedCode<Guest86>, Option<mynah_ir::Trap>> {
    let builder = Builder::new(Guest86::SLOTS);
    let mut lifter = <Guest86 as Guest>::Lifter::default();
    let (mut len, mut insts) = (0, 0);
    let end = loop {
        let pc = key.pc.wrapping_add(len.into());
        if insts == limit {
            break End::Jump(pc);
        }
        let mark = builder.len();
        builder.insn(pc);
        match Guest86::lift(&mut lifter, &bytes[len as usize..], pc, key.mode, &builder) {
            Lifted::Next { len: n } => len += n,
            Lifted::End { len: n, end } => {
                len += n;
                insts += 1;
                break end;
            }
            Lifted::Undefined { .. } | Lifted::Truncated if insts > 0 => {
                builder.truncate(mark);
                break End::Jump(pc);
            }
            Lifted::Undefined { trap, .. } => return Err(Some(trap)),
            Lifted::Truncated => return Err(None),
        }
        insts += 1;
    };
    let mut block = builder.finish(key, len, insts, end);
    assert_eq!(mynah_ir::verify(&block, Guest86::SLOTS), Ok(()));
    if style == Style::Blocks {
        mynah_opt::optimise::<Guest86>(&mut block);
        assert_eq!(mynah_ir::verify(&block, Guest86::SLOTS), Ok(()));
    }
    Ok(mynah_interp::flatten(&block).unwrap_or_else(|error| panic!("{error:?}")))
}
