//! Running programs: the demo's on each tier, in guest instructions per second, and the start-up of
//! a short one.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Lines of program, guest, instructions once, instructions per round.
const COUNTS: &str = include_str!("../crates/cli/demo/counts.txt");

const TIERS: [&str; 3] = ["0", "1", "auto"];

/// Rounds of one measured run.
const ROUNDS: u64 = 20;

fn run(options: &[&str], program: &Path, args: &[&str]) {
    let status = Command::new(env!("CARGO_BIN_EXE_mynah"))
        .arg("run")
        .args(options)
        .arg(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "{} runs", program.display());
}

fn demo(c: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/cli/demo");
    for line in COUNTS.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, guest, once, per_round] = words[..] else { continue };
        let count = |text: &str| text.parse::<u64>().expect("counts are numbers");
        let mut group = c.benchmark_group(format!("{name}.{guest}"));
        group.throughput(Throughput::Elements(count(once) + ROUNDS * count(per_round)));
        group.sample_size(10);
        let file = folder.join(format!("{name}.{guest}.elf"));
        for tier in TIERS {
            group.bench_function(format!("tier {tier}"), |b| {
                b.iter(|| run(&["--tier", tier], &file, &[&ROUNDS.to_string()]));
            });
        }
        group.finish();
    }
}

fn start_up(c: &mut Criterion) {
    let program = PathBuf::from("/bin/true");
    if !program.exists() || std::env::consts::ARCH != "x86_64" {
        println!("start-up is left out: this host has no {}", program.display());
        return;
    }
    let mut group = c.benchmark_group("start-up");
    group.sample_size(20);
    for tier in TIERS {
        group.bench_function(format!("tier {tier}"), |b| {
            b.iter(|| run(&["--tier", tier], &program, &[]));
        });
    }
    group.finish();
}

criterion_group!(benches, demo, start_up);
criterion_main!(benches);
