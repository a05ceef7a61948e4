//! The text form of a block, printed and parsed.
//!
//! ```text
//! block 0x1000 mode 0x0 len 3 insts 1
//!   insn 0x1000
//!   v1 = get.i64 rax
//!   v2 = iconst.i64 0x1
//!   v3 = add.i64 v1 v2
//!   set.i64 rax v3
//!   v5 = load.i32 v3 tso
//! jump 0x1003
//! ```
//!
//! A result's number is its index; operations without a result take an index too.

use crate::fp::Round;
use crate::ops::{Imm, Op};
use crate::{Align, Block, BlockKey, End, Inst, Known, MemOp, NONE, Order, Recover, Rmw, Slot};
use crate::{Trap, Ty, Value};
use std::fmt::Write as _;

/// Names of a guest's slots and helpers.
pub trait Names {
    /// The slot's name.
    fn slot(&self, index: u64) -> Option<&str>;
    /// The helper's name.
    fn helper(&self, index: u64) -> Option<&str>;
}

/// Names nothing: slots print as `s3`, helpers as `h7`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumericNames;

impl Names for NumericNames {
    fn slot(&self, _: u64) -> Option<&str> {
        None
    }
    fn helper(&self, _: u64) -> Option<&str> {
        None
    }
}

/// Why a text is not a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

const ORDERS: [(Order, &str); 4] = [
    (Order::Relaxed, "relaxed"),
    (Order::Tso, "tso"),
    (Order::AcqRel, "acqrel"),
    (Order::SeqCst, "seqcst"),
];

/// The block's text form.
pub fn print(block: &Block, names: &dyn Names) -> String {
    let mut out = String::new();
    let BlockKey { pc, mode } = block.key;
    let (len, count) = (block.len, block.guest_insts);
    let _ = writeln!(out, "block {pc:#x} mode {mode:#x} len {len} insts {count}");
    for (index, inst) in block.insts.iter().enumerate() {
        let indent = if inst.op == Op::Insn { "  " } else { "    " };
        let _ = writeln!(out, "{indent}{}", print_inst(index, inst, names));
        if inst.op == Op::Insn {
            for Recover { slot, known, .. } in block.recover.iter().filter(|r| r.pc == inst.imm) {
                let _ = write!(out, "    recover {}", slot_name(*slot, names));
                let _ = match known {
                    Known::Const(value) => writeln!(out, " {value:#x}"),
                    Known::Slot(from) => writeln!(out, " {}", slot_name(*from, names)),
                };
            }
        }
    }
    let _ = match block.end {
        End::Jump(to) => writeln!(out, "jump {to:#x}"),
        End::Branch { cond, taken, not } => {
            writeln!(out, "branch v{} {taken:#x} {not:#x}", cond.0)
        }
        End::Dispatch(to) => writeln!(out, "dispatch v{}", to.0),
        End::Call { to, ret } => writeln!(out, "call_to {to:#x} {ret:#x}"),
        End::CallIndirect { to, ret } => writeln!(out, "call_indirect v{} {ret:#x}", to.0),
        End::Return(to) => writeln!(out, "return v{}", to.0),
        End::Trap { trap, pc } => writeln!(out, "trap {:#x} {:#x} {pc:#x}", trap.code, trap.data),
    };
    out
}

fn slot_name(slot: Slot, names: &dyn Names) -> String {
    names.slot(slot.0.into()).map_or_else(|| format!("s{}", slot.0), str::to_string)
}

/// One operation's line, without indentation.
pub fn print_inst(index: usize, inst: &Inst, names: &dyn Names) -> String {
    let info = inst.op.info();
    let mut out = String::new();
    if inst.result().is_some() {
        let _ = write!(out, "v{index} = ");
    }
    let _ = write!(out, "{}", info.name);
    if info.types.len() > 1 {
        let _ = write!(out, ".{}", inst.ty.name());
    }
    if info.imm == Imm::Slot {
        let _ = write!(out, " {}", slot_name(Slot(inst.imm as u8), names));
    }
    if info.imm == Imm::Helper {
        let _ = match names.helper(inst.imm) {
            Some(name) => write!(out, " {name}"),
            None => write!(out, " h{}", inst.imm),
        };
    }
    for arg in inst.args() {
        let _ = write!(out, " v{}", arg.0);
    }
    let _ = match info.imm {
        Imm::None | Imm::Slot | Imm::Helper => Ok(()),
        Imm::Const | Imm::Pc | Imm::Round | Imm::Lane => write!(out, " {:#x}", inst.imm),
        Imm::Mem => write!(out, " {}", mem_words(inst.imm)),
        Imm::Rmw => {
            let name = format!("{:?}", Rmw::unpack(inst.imm)).to_lowercase();
            write!(out, " {name} {}", mem_words(inst.imm))
        }
        Imm::Ty => write!(out, " {}", Ty::ALL[(inst.imm & 7) as usize].name()),
        Imm::Trap => {
            let trap = Trap::unpack(inst.imm);
            write!(out, " {:#x} {:#x}", trap.code, trap.data)
        }
    };
    out
}

fn mem_words(imm: u64) -> String {
    let mem = MemOp::unpack(imm);
    let order = ORDERS.iter().find(|(o, _)| *o == mem.order).map_or("?", |(_, n)| n);
    match mem.align {
        Align::Any => order.to_string(),
        Align::Natural => format!("{order} aligned"),
    }
}

/// Reads a block's text form. Blank lines and what follows `;` do not count.
pub fn parse(text: &str, names: &dyn Names) -> Result<Block, ParseError> {
    let mut key = None;
    let mut insts = Vec::new();
    let mut end = None;
    let mut recover = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let mut words = Words { line: number + 1, words: line.split_whitespace().collect(), at: 0 };
        if key.is_none() {
            key = Some(parse_header(&mut words)?);
        } else if end.is_some() {
            return Err(words.error("text after the block's end"));
        } else if words.peek() == Some("recover") {
            let at = insts.iter().rev().find(|i: &&Inst| i.op == Op::Insn);
            let pc = at.ok_or_else(|| words.error("`recover` before the first insn"))?.imm;
            recover.push(parse_recover(&mut words, pc, names)?);
        } else if let Some(found) = parse_end(&mut words)? {
            end = Some(found);
        } else {
            insts.push(parse_inst(&mut words, insts.len(), names)?);
        }
        words.finish()?;
    }
    let missing = |what: &str| ParseError { line: text.lines().count(), message: what.into() };
    let (key, len, guest_insts) = key.ok_or_else(|| missing("no `block` line"))?;
    let end = end.ok_or_else(|| missing("the block does not end"))?;
    Ok(Block { key, len, guest_insts, insts, end, recover })
}

struct Words<'t> {
    line: usize,
    words: Vec<&'t str>,
    at: usize,
}

impl<'t> Words<'t> {
    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, message: message.into() }
    }

    fn peek(&self) -> Option<&'t str> {
        self.words.get(self.at).copied()
    }

    fn next(&mut self) -> Result<&'t str, ParseError> {
        let word = self.peek().ok_or_else(|| self.error("the line ends too early"))?;
        self.at += 1;
        Ok(word)
    }

    fn word(&mut self, expected: &str) -> Result<(), ParseError> {
        match self.next()? {
            word if word == expected => Ok(()),
            word => Err(self.error(format!("`{expected}` expected, `{word}` found"))),
        }
    }

    fn number(&mut self) -> Result<u64, ParseError> {
        let word = self.next()?;
        let parsed = match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => word.parse(),
        };
        parsed.map_err(|_| self.error(format!("`{word}` is not a number")))
    }

    fn number_as<N: TryFrom<u64>>(&mut self) -> Result<N, ParseError> {
        let number = self.number()?;
        N::try_from(number).map_err(|_| self.error(format!("{number:#x} is too large")))
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        let word = self.next()?;
        let number = word.strip_prefix('v').and_then(|n| n.parse().ok());
        number.map(Value).ok_or_else(|| self.error(format!("`{word}` is not a value")))
    }

    fn finish(&self) -> Result<(), ParseError> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(self.error(format!("`{word}` is too much"))),
        }
    }
}

fn parse_header(words: &mut Words<'_>) -> Result<(BlockKey, u32, u32), ParseError> {
    words.word("block")?;
    let pc = words.number()?;
    words.word("mode")?;
    let mode = words.number_as()?;
    words.word("len")?;
    let len = words.number_as()?;
    words.word("insts")?;
    Ok((BlockKey { pc, mode }, len, words.number_as()?))
}

fn parse_recover(words: &mut Words<'_>, pc: u64, names: &dyn Names) -> Result<Recover, ParseError> {
    words.word("recover")?;
    let slot =
        |words: &mut Words<'_>| named(words, 's', |i| names.slot(i)).map(|index| Slot(index as u8));
    let target = slot(words)?;
    let constant = words.peek().is_some_and(|w| w.starts_with(|c: char| c.is_ascii_digit()));
    let known = if constant { Known::Const(words.number()?) } else { Known::Slot(slot(words)?) };
    Ok(Recover { pc, slot: target, known })
}

fn parse_end(words: &mut Words<'_>) -> Result<Option<End>, ParseError> {
    let first = words.next()?;
    Ok(Some(match first {
        "jump" => End::Jump(words.number()?),
        "branch" => {
            End::Branch { cond: words.value()?, taken: words.number()?, not: words.number()? }
        }
        "dispatch" => End::Dispatch(words.value()?),
        "call_to" => End::Call { to: words.number()?, ret: words.number()? },
        "call_indirect" => End::CallIndirect { to: words.value()?, ret: words.number()? },
        "return" => End::Return(words.value()?),
        "trap" => {
            let trap = Trap { code: words.number_as()?, data: words.number_as()? };
            End::Trap { trap, pc: words.number()? }
        }
        _ => {
            words.at = 0;
            return Ok(None);
        }
    }))
}

fn parse_inst(words: &mut Words<'_>, index: usize, names: &dyn Names) -> Result<Inst, ParseError> {
    let mut word = words.next()?;
    let mut has_result = false;
    if let Some(number) = word.strip_prefix('v').and_then(|n| n.parse::<usize>().ok()) {
        if number != index {
            return Err(words.error(format!("v{number} stands at index {index}")));
        }
        words.word("=")?;
        word = words.next()?;
        has_result = true;
    }
    let (name, ty) = word.split_once('.').map_or((word, None), |(n, t)| (n, Some(t)));
    let op = Op::from_name(name).ok_or_else(|| words.error(format!("no op `{name}`")))?;
    let info = op.info();
    let ty = match ty {
        None if info.types.len() == 1 => info.types[0],
        None => return Err(words.error(format!("`{name}` needs a type"))),
        Some(t) => Ty::from_name(t).ok_or_else(|| words.error(format!("no type `{t}`")))?,
    };
    if has_result != info.result.is_some() {
        return Err(words.error(format!("`{name}` and its result do not agree")));
    }
    let mut imm = match info.imm {
        Imm::Slot => named(words, 's', |i| names.slot(i))?,
        Imm::Helper => named(words, 'h', |i| names.helper(i))?,
        _ => 0,
    };
    let mut args = [NONE; 3];
    for arg in args.iter_mut().take(info.args.len()) {
        if info.imm == Imm::Helper && words.peek().is_none() {
            break;
        }
        *arg = words.value()?;
    }
    match info.imm {
        Imm::None | Imm::Slot | Imm::Helper => {}
        Imm::Const | Imm::Pc | Imm::Lane => imm = words.number()?,
        Imm::Round => imm = Round::unpack(words.number()?).pack(),
        Imm::Mem => imm = parse_mem(words)?.pack(),
        Imm::Rmw => {
            let name = words.next()?;
            let rmw = Rmw::ALL.into_iter().find(|r| format!("{r:?}").to_lowercase() == name);
            let rmw = rmw.ok_or_else(|| words.error(format!("no rmw `{name}`")))?;
            imm = rmw.pack(parse_mem(words)?);
        }
        Imm::Ty => {
            let name = words.next()?;
            let ty = Ty::from_name(name).ok_or_else(|| words.error(format!("no type `{name}`")))?;
            imm = ty as u64;
        }
        Imm::Trap => imm = Trap { code: words.number_as()?, data: words.number_as()? }.pack(),
    }
    Ok(Inst { op, ty, args, imm })
}

fn named<'n>(
    words: &mut Words<'_>,
    prefix: char,
    name: impl Fn(u64) -> Option<&'n str>,
) -> Result<u64, ParseError> {
    let word = words.next()?;
    if let Some(index) = (0..256).find(|&i| name(i) == Some(word)) {
        return Ok(index);
    }
    let number = word.strip_prefix(prefix).and_then(|n| n.parse().ok());
    number.ok_or_else(|| words.error(format!("no slot or helper `{word}`")))
}

fn parse_mem(words: &mut Words<'_>) -> Result<MemOp, ParseError> {
    let name = words.next()?;
    let order = ORDERS.iter().find(|(_, n)| *n == name).map(|(o, _)| *o);
    let order = order.ok_or_else(|| words.error(format!("no ordering `{name}`")))?;
    let aligned = words.peek() == Some("aligned");
    words.at += usize::from(aligned);
    Ok(MemOp { align: if aligned { Align::Natural } else { Align::Any }, order })
}
