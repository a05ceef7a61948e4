//! Row tests at work: every row of a file on a runner, and expectations filled in from the host.

use crate::generate::{self, Insn};
use crate::pages::{ENTRY, Pages};
use crate::rows::{self, Expected, Group, Row, RowError};
use crate::runner::{Runner, outcome};
use crate::subject::{Ignore, Outcome, Subject, difference};
use mynah_x86::X86;
use std::collections::HashMap;
use std::fmt::Write as _;

/// Runs every row of `text` on `runner`. The error tells of each row that came out otherwise.
pub fn check<S: Subject>(text: &str, runner: &mut dyn Runner<S>) -> Result<usize, String> {
    let groups = rows::parse::<S>(text).map_err(|e| e.to_string())?;
    let mut pages = Pages::lock();
    let mut failures = String::new();
    let mut count = 0;
    let on_host = runner.name() == "host";
    for group in groups.iter().filter(|g| g.host || !on_host) {
        for row in &group.rows {
            count += 1;
            if let Err(message) = check_row(group, row, runner, &mut pages) {
                let _ = writeln!(
                    failures,
                    "line {}: {} on {}\n  {}\n{message}",
                    row.line,
                    listing::<S>(&group.code),
                    runner.name(),
                    row.input,
                );
            }
        }
    }
    if failures.is_empty() { Ok(count) } else { Err(failures) }
}

fn check_row<S: Subject>(
    group: &Group,
    row: &Row,
    runner: &mut dyn Runner<S>,
    pages: &mut Pages,
) -> Result<(), String> {
    let expected = row.expected.as_ref().ok_or("no expectation: fill it in with BLESS=1")?;
    let got = outcome(runner, pages, &group.code, &row.state, &rows::image(row));
    let got = without_open(got, expected);
    let difference = difference::<S>(&got, &expected.outcome, &expected.ignore);
    if difference.is_empty() {
        return Ok(());
    }
    let report = runner.explain(&group.code, ENTRY);
    let right = rows::right_side_text::<S>(&row.state, &got, &expected.ignore, group.code.len());
    Err(format!("{difference}  it did  {right}\n{report}"))
}

/// The outcome without the bytes that the row leaves open.
fn without_open(mut outcome: Outcome, expected: &Expected) -> Outcome {
    if expected.open.is_empty() {
        return outcome;
    }
    let mut kept: Vec<(u64, Vec<u8>)> = Vec::new();
    for (va, bytes) in outcome.data {
        for (at, byte) in (va..).zip(bytes).filter(|(at, _)| !expected.open.contains(at)) {
            match kept.last_mut() {
                Some((start, run)) if *start + run.len() as u64 == at => run.push(byte),
                _ => kept.push((at, vec![byte])),
            }
        }
    }
    outcome.data = kept;
    outcome
}

/// The code in the manual's syntax, instructions separated by semicolons.
pub fn listing<S: Subject>(code: &[u8]) -> String {
    let mut at = 0;
    let mut parts = Vec::new();
    while at < code.len() {
        let (text, len) = S::disassemble(&code[at..], ENTRY + at as u64, 0);
        parts.push(text);
        at += len.max(1);
    }
    parts.join("; ")
}

/// The headers of `text` whose disassembly is not what the guest's disassembler says.
pub fn check_listings<S: Subject>(text: &str) -> Result<(), String> {
    let groups = rows::parse::<S>(text).map_err(|e| e.to_string())?;
    let mut failures = String::new();
    for group in groups {
        let right = listing::<S>(&group.code);
        if right != group.listing {
            let _ = writeln!(failures, "line {}: {right}, not {}", group.line, group.listing);
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// `text` with listings and expectations as the host CPU has them. Rows of `{no-host}` groups and
/// comments stay as they are; so do rows that hold on the host.
pub fn bless(text: &str, host: &mut dyn Runner<X86>) -> Result<String, RowError> {
    let groups = rows::parse::<X86>(text)?;
    let mut pages = Pages::lock();
    let mut lines: HashMap<usize, String> = HashMap::new();
    for group in &groups {
        let code = &group.code;
        let listing = listing::<X86>(code);
        if listing != group.listing {
            lines.insert(group.line, rows::header_text(code, &listing, group.host));
        }
        for row in group.rows.iter().filter(|_| group.host) {
            if check_row(group, row, host, &mut pages).is_ok() {
                continue;
            }
            let got = outcome(host, &mut pages, code, &row.state, &rows::image(row));
            let ignore = undefined(code, row);
            let right = rows::right_side_text::<X86>(&row.state, &got, &ignore, code.len());
            lines.insert(row.line, rows::line_text(&row.input, &right, ""));
        }
    }
    Ok(rows::rewrite(text, |line| lines.get(&line).cloned()))
}

/// What the manual leaves undefined, if the code is one instruction.
fn undefined(code: &[u8], row: &Row) -> Ignore {
    match Insn::decode(code) {
        Some(insn) if insn.decoded.len() == code.len() => generate::undefined(&insn, &row.state),
        _ => Ignore::default(),
    }
}
