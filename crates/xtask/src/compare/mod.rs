//! `cargo xtask compare`: the same programs run natively, under qemu and under Mynah.
//!
//! Runs are interleaved, so that a slow spell of the host meets every contender, and the least time
//! of each counts. With `--system`, whole machines.

mod programs;
mod system;

use crate::svg::{BarChart, Group};
use crate::{guests, shell};
use programs::Program;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often each program is run by each contender; the least time counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only programs whose name or class contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Mynah's tiers that take part
    #[arg(long, value_delimiter = ',', default_values = ["auto", "1", "0"])]
    tiers: Vec<String>,
    /// A `mynah` to measure, instead of a fresh release build
    #[arg(long, value_name = "FILE")]
    mynah: Option<PathBuf>,
    /// Gives up on a run after this many seconds
    #[arg(long, value_name = "N", default_value_t = 120)]
    patience: u64,
    /// Boots Linux in the system machine and under qemu-system-x86_64, and compares what it does
    /// there, from the first to the last
    #[arg(long, conflicts_with = "only")]
    system: bool,
}

/// One way to run a program.
struct Contender {
    name: String,
    prefix: Vec<String>,
    /// Takes too long to be run more than once.
    once: bool,
}

/// What one run came to.
#[derive(PartialEq)]
struct Outcome {
    status: Option<ExitStatus>,
    stdout: Vec<u8>,
}

/// A program's least time under each contender, in seconds.
struct Row<'a> {
    program: &'a Program,
    times: Vec<Option<f64>>,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let guests = guests::collect()?;
    if options.system {
        return system::run(options, &guests);
    }
    let mut programs = programs::collect(&guests)?;
    if let Some(only) = &options.only {
        programs.retain(|p| p.name.contains(only.as_str()) || p.class.contains(only.as_str()));
    }
    let contenders = contenders(options)?;
    let mut complaints = Vec::new();
    let rows: Vec<Row<'_>> = programs
        .iter()
        .map(|program| {
            eprintln!("compare: {}", program.name);
            measure(program, &contenders, options, &mut complaints)
        })
        .collect();
    println!("\n{}", table(&contenders, &rows));
    let picture = shell::target().join("compare.svg");
    let chart = chart(&contenders, &rows);
    std::fs::write(&picture, chart).map_err(|e| format!("{}: {e}", picture.display()))?;
    println!("plotted in {}", picture.display());
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n       ")) }
}

/// The `mynah` that is measured.
fn mynah(options: &Options) -> Result<PathBuf, String> {
    if let Some(file) = &options.mynah {
        return Ok(file.clone());
    }
    shell::run(shell::cargo().args(["build", "--release", "--locked", "--bin", "mynah"]))?;
    Ok(shell::target().join("release/mynah"))
}

fn tier_name(tier: &str) -> String {
    if tier == "auto" { "auto".to_owned() } else { format!("tier {tier}") }
}

/// Native is the first.
fn contenders(options: &Options) -> Result<Vec<Contender>, String> {
    let mynah = mynah(options)?;
    let mut all = vec![Contender { name: "native".to_owned(), prefix: Vec::new(), once: false }];
    match shell::find("qemu-x86_64") {
        Some(qemu) => all.push(Contender {
            name: "qemu".to_owned(),
            prefix: vec![qemu.display().to_string()],
            once: false,
        }),
        None => println!("compare: no qemu-x86_64, so Mynah is compared with native only"),
    }
    for tier in &options.tiers {
        let words = [&mynah.display().to_string(), "run", "--tier", tier];
        all.push(Contender {
            name: tier_name(tier),
            prefix: words.iter().map(|word| (*word).to_owned()).collect(),
            once: tier == "0",
        });
    }
    Ok(all)
}

fn measure<'a>(
    program: &'a Program,
    contenders: &[Contender],
    options: &Options,
    complaints: &mut Vec<String>,
) -> Row<'a> {
    let mut times: Vec<Option<f64>> = vec![None; contenders.len()];
    let mut wrong = vec![false; contenders.len()];
    let mut expected = None;
    for round in 0..options.runs.max(1) {
        for (i, contender) in contenders.iter().enumerate() {
            if wrong[i] || contender.once && round > 0 {
                continue;
            }
            match run_once(program, contender, Duration::from_secs(options.patience)) {
                Ok((outcome, time)) => {
                    if *expected.get_or_insert_with(|| outcome.clone()) == outcome {
                        times[i] = Some(times[i].map_or(time, |least| least.min(time)));
                        continue;
                    }
                    complaints.push(format!(
                        "{} under {}: {}, with other output than native",
                        program.name,
                        contender.name,
                        outcome.status.map_or("no status".to_owned(), |s| s.to_string()),
                    ));
                }
                Err(e) => {
                    complaints.push(format!("{} under {}: {e}", program.name, contender.name))
                }
            }
            wrong[i] = true;
            times[i] = None;
        }
    }
    Row { program, times }
}

impl Clone for Outcome {
    fn clone(&self) -> Outcome {
        Outcome { status: self.status, stdout: self.stdout.clone() }
    }
}

/// Runs the program to its end, or kills it when patience is over.
fn run_once(
    program: &Program,
    contender: &Contender,
    patience: Duration,
) -> Result<(Outcome, f64), String> {
    let mut words = contender.prefix.iter().map(String::as_str).map(Path::new).map(Path::as_os_str);
    let mut command = match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(&program.file);
            command
        }
        None => Command::new(&program.file),
    };
    command
        .args(&program.args)
        .env("LD_LIBRARY_PATH", guests::Guests::libraries())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("{}: {e}", shell::spell(&command)))?;
    let output = read_in_background(&mut child);
    let Ok(stdout) = output.recv_timeout(patience) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("not finished after {} s", patience.as_secs()));
    };
    let status = child.wait().ok();
    Ok((Outcome { status, stdout }, start.elapsed().as_secs_f64()))
}

fn read_in_background(child: &mut Child) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stdout) = stdout {
            let _ = stdout.read_to_end(&mut bytes);
        }
        let _ = send.send(bytes);
    });
    receive
}

/// The geometric mean, of anything.
fn mean(ratios: impl Iterator<Item = f64>) -> Option<f64> {
    let logs: Vec<f64> = ratios.map(f64::ln).collect();
    let sum: f64 = logs.iter().sum();
    (!logs.is_empty()).then(|| (sum / logs.len() as f64).exp())
}

impl Row<'_> {
    /// Time under contender `i` over native time.
    fn slowdown(&self, i: usize) -> Option<f64> {
        Some(self.times[i]? / self.times[0]?)
    }
}

fn classes(rows: &[Row<'_>]) -> Vec<&'static str> {
    let mut classes: Vec<&str> = rows.iter().map(|row| row.program.class).collect();
    classes.dedup();
    classes
}

/// Slow-downs against native, and Mynah's time over qemu's.
fn table(contenders: &[Contender], rows: &[Row<'_>]) -> String {
    let qemu = contenders.iter().position(|c| c.name == "qemu");
    let mynah: Vec<usize> = (1..contenders.len()).filter(|i| Some(*i) != qemu).collect();
    let mut text = format!("{:16}{:>12}", "", "native");
    for contender in &contenders[1..] {
        text += &format!("{:>10}", contender.name);
    }
    if qemu.is_some() {
        for i in &mynah {
            text += &format!("{:>13}", format!("{}/qemu", contenders[*i].name));
        }
    }
    text.push('\n');
    let cell = |value: Option<f64>, width: usize| match value {
        Some(value) => format!("{:>width$}", format!("{value:.2}×")),
        None => format!("{:>width$}", "—"),
    };
    for class in classes(rows) {
        let members: Vec<&Row<'_>> = rows.iter().filter(|r| r.program.class == class).collect();
        for row in &members {
            let native = row.times[0].map_or("—".to_owned(), |t| format!("{:.1} ms", t * 1e3));
            text += &format!("{:16}{native:>12}", row.program.name);
            for i in 1..contenders.len() {
                text += &cell(row.slowdown(i), 10);
            }
            if let Some(q) = qemu {
                for &i in &mynah {
                    text += &cell(row.times[i].zip(row.times[q]).map(|(m, q)| m / q), 13);
                }
            }
            text.push('\n');
        }
        text += &format!("{:28}", format!("  {class} (mean)"));
        for i in 1..contenders.len() {
            text += &cell(mean(members.iter().filter_map(|row| row.slowdown(i))), 10);
        }
        if let Some(q) = qemu {
            for &i in &mynah {
                let ratio = |row: &&Row<'_>| Some(row.times[i]? / row.times[q]?);
                text += &cell(mean(members.iter().copied().filter_map(|row| ratio(&row))), 13);
            }
        }
        text += "\n\n";
    }
    text
}

fn chart(contenders: &[Contender], rows: &[Row<'_>]) -> String {
    let groups = classes(rows)
        .into_iter()
        .map(|class| {
            let members = || rows.iter().filter(|row| row.program.class == class);
            let means = (1..contenders.len())
                .map(|i| mean(members().filter_map(|row| row.slowdown(i))))
                .collect();
            Group { label: class.to_owned(), values: means }
        })
        .collect();
    let chart = BarChart {
        title: "Time relative to native (geometric means; shorter is better)".to_owned(),
        series: contenders[1..].iter().map(|c| c.name.clone()).collect(),
        groups,
    };
    chart.draw()
}
