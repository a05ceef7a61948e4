//! What translation costs, stage by stage, in guest instructions per second: the blocks of the
//! demo's programs, each translated once.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mynah_guest::Guest;
use mynah_ir::Block;
use mynah_jit::{Compiler, Effort};
use mynah_loader::Elf;
use mynah_riscv::RiscV;
use mynah_testkit::runner::lift;
use mynah_testkit::subject::Subject;
use mynah_x86::X86;
use std::hint::black_box;

/// A program's code: its bytes and where each block of them begins.
struct Code {
    bytes: Vec<u8>,
    pc: u64,
    starts: Vec<usize>,
    insts: u64,
}

const X86_PROGRAMS: [&[u8]; 3] = [
    include_bytes!("../crates/cli/demo/mandelbrot.x86_64.elf"),
    include_bytes!("../crates/cli/demo/sieve.x86_64.elf"),
    include_bytes!("../crates/cli/demo/nbody.x86_64.elf"),
];

const RISCV_PROGRAMS: [&[u8]; 3] = [
    include_bytes!("../crates/cli/demo/mandelbrot.riscv64.elf"),
    include_bytes!("../crates/cli/demo/sieve.riscv64.elf"),
    include_bytes!("../crates/cli/demo/nbody.riscv64.elf"),
];

/// Bytes that one block is looked for in.
const MOST: usize = 256;

/// Every block from the entry to the end of the entry's segment.
fn code<G: Subject>(file: &[u8]) -> Code {
    let elf = Elf::parse(file).expect("the demo's programs are sound");
    let segment = elf.segments.iter().find(|s| s.va.contains(&elf.entry)).expect("it has code");
    let start = segment.file.start + (elf.entry - segment.va.start);
    let bytes = file[start as usize..segment.file.end as usize].to_vec();
    let mut code = Code { bytes, pc: elf.entry, starts: Vec::new(), insts: 0 };
    let mut at = 0;
    while at < code.bytes.len() {
        match lift_at::<G>(&code, at) {
            Some(block) if block.len > 0 => {
                code.starts.push(at);
                code.insts += u64::from(block.guest_insts);
                at += block.len as usize;
            }
            _ => at += 1,
        }
    }
    code
}

fn lift_at<G: Subject>(code: &Code, at: usize) -> Option<Block> {
    let mode = G::mode(&G::reset());
    lift::<G>(code.bytes[at..].get(..MOST).unwrap_or(&code.bytes[at..]), code.pc + at as u64, mode)
        .ok()
}

fn blocks<G: Subject>(programs: &[Code]) -> Vec<Block> {
    let at = |code| move |&at: &usize| lift_at::<G>(code, at);
    programs.iter().flat_map(|code| code.starts.iter().filter_map(at(code))).collect()
}

fn stages<G: Subject>(c: &mut Criterion, files: &[&[u8]]) {
    let programs: Vec<Code> = files.iter().map(|file| code::<G>(file)).collect();
    let lifted = blocks::<G>(&programs);
    let optimised: Vec<Block> = lifted
        .iter()
        .cloned()
        .map(|mut block| {
            mynah_opt::optimise::<G>(&mut block);
            block
        })
        .collect();
    let insts = programs.iter().map(|code| code.insts).sum();
    let mut group = c.benchmark_group(<G as Guest>::NAME);
    group.throughput(Throughput::Elements(insts)).sample_size(20);
    group.bench_function("lift", |b| b.iter(|| black_box(blocks::<G>(&programs))));
    group.bench_function("optimise", |b| {
        b.iter_batched(
            || lifted.clone(),
            |mut blocks| {
                blocks.iter_mut().for_each(mynah_opt::optimise::<G>);
                blocks
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("flatten", |b| {
        b.iter(|| {
            for block in &optimised {
                let _ = black_box(mynah_interp::flatten::<G>(block));
            }
        });
    });
    for (name, effort) in
        [("compile, quick", Effort::Quick), ("compile, optimise", Effort::Optimise)]
    {
        let mut compiler = Compiler::<G>::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                for block in &optimised {
                    let _ = black_box(compiler.compile(&[block], effort));
                }
            });
        });
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    stages::<X86>(c, &X86_PROGRAMS);
    stages::<RiscV>(c, &RISCV_PROGRAMS);
}

criterion_group!(benches, all);
criterion_main!(benches);
