//! `mynah explain`: one stretch of guest code through every stage of translation.

mod code;
mod layout;
mod lift;

use crate::out::print;
use clap::ValueEnum;
use code::{Code, Place};
use layout::Table;
use lift::Lift;
use mynah_guest::{Guest, GuestNames};
use mynah_ir::{Block, Op};
use mynah_jit::{Compiler, Effort};
use mynah_loader::Machine;
use mynah_riscv::RiscV;
use mynah_x86::{X86, mode};
use std::path::PathBuf;

/// Show guest code through every stage of translation, side by side
///
/// For each block of the code: its instructions, the IR they are lifted to, the IR after
/// optimisation, Cranelift's IR, and the host code; and the size of each. The code is a function or
/// an address of an ELF file, or bytes on the command line.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// An ELF file; without --symbol or --address, its entry is explained
    #[arg(value_name = "FILE", required_unless_present = "hex")]
    file: Option<PathBuf>,
    /// The function of FILE to explain
    #[arg(long, value_name = "NAME", requires = "file")]
    symbol: Option<String>,
    /// The address in FILE to explain; with --hex, where the bytes are
    #[arg(long, value_name = "ADDRESS", value_parser = code::address, conflicts_with = "symbol")]
    address: Option<u64>,
    /// Bytes to explain instead of a file
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["file", "symbol"])]
    hex: Option<String>,
    /// The architecture of --hex
    #[arg(long, value_enum, value_name = "GUEST", default_value = "x86_64", requires = "hex")]
    guest: GuestName,
    /// Explain at most this many blocks
    #[arg(long, value_name = "N", default_value_t = 4)]
    blocks: usize,
    /// Compile as for hot code, with Cranelift's optimiser
    #[arg(long)]
    optimise: bool,
    /// Stop before Cranelift: no CLIF and no host code
    #[arg(long)]
    ir_only: bool,
    /// As the system machine translates an x86-64 program's code: addresses are looked up in a TLB
    #[arg(long)]
    system: bool,
}

const EXAMPLES: &str = "\
Examples:
  mynah explain --hex '48 01 d8 c3'                        add rax, rbx; ret
  mynah explain --hex '33 05 b5 00' --guest riscv64        add a0, a0, a1
  mynah explain ./a.out --symbol main | less -S
  mynah explain /bin/true                                  where it starts
  mynah explain ./a.out --address 0x401136 --blocks 1
  mynah explain ./a.out --symbol main --system             as under `mynah boot`";

#[derive(ValueEnum, Clone, Copy, Debug)]
enum GuestName {
    /// x86-64
    #[value(name = "x86_64", alias = "x86-64")]
    X86_64,
    /// RV64GC
    #[value(name = "riscv64", alias = "riscv")]
    RiscV64,
}

/// Instructions of a block.
const MOST: u32 = 64;

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let code = match (&options.hex, &options.file) {
        (Some(text), _) => Code {
            machine: match options.guest {
                GuestName::X86_64 => Machine::X86_64,
                GuestName::RiscV64 => Machine::RiscV64,
            },
            pc: options.address.unwrap_or(0x1000),
            bytes: code::hex(text)?,
            name: None,
        },
        (None, Some(file)) => {
            let place = match (&options.symbol, options.address) {
                (Some(name), _) => Place::Symbol(name.clone()),
                (None, Some(pc)) => Place::Address(pc),
                (None, None) => Place::Entry,
            };
            code::in_file(file, &place)?
        }
        (None, None) => return Err("name a file, or give --hex".to_owned()),
    };
    match code.machine {
        Machine::X86_64 if options.system => {
            let program = mode::SYSTEM | mode::PROTECTED | mode::SSE | mode::with_cpl(3);
            explain::<mynah_pc::Guest>(&code, program | mode::CODE64, options)
        }
        Machine::RiscV64 if options.system => {
            Err("--system: there is no system machine for riscv64".to_owned())
        }
        Machine::X86_64 => explain::<X86>(&code, mode::CODE64, options),
        Machine::RiscV64 => explain::<RiscV>(&code, RiscV::mode(&RiscV::reset()), options),
    }
}

fn explain<G: Guest>(code: &Code, mode: u32, options: &Options) -> Result<(), String> {
    let name = code.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
    print(&format!("{} code at {:#x}{name}\n", G::NAME, code.pc))?;
    let mut compiler = Compiler::<G>::new();
    let mut at = 0;
    for number in 1..=options.blocks {
        let pc = code.pc.wrapping_add(at as u64);
        let block = match lift::lift::<G>(&code.bytes[at..], pc, mode, MOST) {
            Lift::Block(block) => block,
            Lift::Truncated => {
                return print(&format!("\n{pc:#x}: the code ends within an instruction\n"));
            }
            Lift::Undefined(len) => {
                let end = code.bytes.len().min(at + (len as usize).max(1));
                let bytes = spell(&code.bytes[at..end]);
                return print(&format!("\n{pc:#x}: {bytes}: no instruction that Mynah knows\n"));
            }
        };
        let bytes = &code.bytes[at..at + block.len as usize];
        print(&format!("\nBlock {number}\n\n{}", stages(&mut compiler, &block, bytes, options)?))?;
        at += block.len as usize;
        if at == code.bytes.len() {
            return Ok(());
        }
    }
    Ok(())
}

/// A block's stages.
fn stages<G: Guest>(
    compiler: &mut Compiler<G>,
    lifted: &Block,
    bytes: &[u8],
    options: &Options,
) -> Result<String, String> {
    mynah_ir::verify(lifted, G::SLOTS).map_err(|e| format!("the lifted IR is wrong: {e}"))?;
    let mut optimised = lifted.clone();
    mynah_opt::optimise::<G>(&mut optimised);
    let (ops, fewer) = (count_ops(lifted), count_ops(&optimised));
    let insts = counted(lifted.guest_insts as usize, "instruction");
    let mut table = Table::new(vec![
        format!("guest code ({insts}, {})", counted(bytes.len(), "byte")),
        format!("IR as lifted ({ops})"),
        format!("IR optimised ({fewer})"),
    ]);
    let (before, after) = (lines::<G>(lifted), lines::<G>(&optimised));
    let mut pc = lifted.key.pc;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (text, len) = G::disassemble(rest, pc, lifted.key.mode);
        let len = len.clamp(1, rest.len());
        table.row(vec![
            vec![format!("{pc:#x}  {text}"), format!("    {}", spell(&rest[..len]))],
            before.at(pc),
            after.at(pc),
        ]);
        pc = pc.wrapping_add(len as u64);
        rest = &rest[len..];
    }
    table.row(vec![Vec::new(), vec![before.end.clone()], vec![after.end.clone()]]);
    let mut text = table.text();
    let mut sizes =
        format!("sizes: {}, {insts} → {ops} → {fewer}", counted(bytes.len(), "guest byte"),);
    if !options.ir_only {
        let effort = if options.optimise { Effort::Optimise } else { Effort::Quick };
        let listing = compiler.explain(&[&optimised], effort).map_err(|e| e.to_string())?;
        let mut table = Table::new(vec![
            format!("CLIF ({})", counted(listing.clif_insts, "instruction")),
            format!("host code ({})", counted(listing.host_len, "byte")),
        ]);
        let host = listing.host.lines().map(str::to_owned).collect();
        table.row(vec![listing.clif.lines().filter_map(clif_line).collect(), host]);
        text += "\n";
        text += &table.text();
        sizes += &format!(
            " → {} → {} ({:.1} per guest instruction)",
            counted(listing.clif_insts, "CLIF instruction"),
            counted(listing.host_len, "host byte"),
            listing.host_len as f64 / f64::from(lifted.guest_insts.max(1)),
        );
    }
    Ok(format!("{text}\n{sizes}\n"))
}

/// A block's operations by the instruction they belong to.
struct Lines {
    by_pc: Vec<(u64, Vec<String>)>,
    end: String,
}

impl Lines {
    fn at(&self, pc: u64) -> Vec<String> {
        let found = self.by_pc.iter().find(|(at, _)| *at == pc);
        found.map_or(Vec::new(), |(_, lines)| lines.clone())
    }
}

fn lines<G: Guest>(block: &Block) -> Lines {
    let names = GuestNames::<G>::new();
    let mut by_pc: Vec<(u64, Vec<String>)> = Vec::new();
    for (index, inst) in block.insts.iter().enumerate() {
        match by_pc.last_mut() {
            _ if inst.op == Op::Insn => by_pc.push((inst.imm, Vec::new())),
            Some((_, lines)) => lines.push(mynah_ir::print_inst(index, inst, &names)),
            None => {}
        }
    }
    let end = mynah_ir::print(block, &names).lines().last().unwrap_or_default().to_owned();
    Lines { by_pc, end }
}

/// A line of CLIF without its source location and its wide indentation.
fn clif_line(line: &str) -> Option<String> {
    let text = match line.strip_prefix('@') {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_hexdigit()),
        None => line,
    };
    let text = text.trim();
    let outer = ["function", "block", "}"].iter().any(|start| text.starts_with(start));
    (!text.is_empty()).then(|| if outer { text.to_owned() } else { format!("  {text}") })
}

/// A number of things.
fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

fn count_ops(block: &Block) -> String {
    counted(block.insts.iter().filter(|inst| inst.op != Op::Insn).count(), "op")
}

fn spell(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
