//! System calls by family: tables of rows, and the functions of those that need one.

mod file;
mod fs;
mod info;
mod ipc;
mod memory;
mod names;
mod net;
mod poll;
mod proc;
mod process;
mod refused;
pub(crate) mod signal;
mod time;

use crate::row::Row;

/// All tables.
pub(crate) const FAMILIES: &[&[Row]] = &[
    file::ROWS,
    fs::ROWS,
    info::ROWS,
    ipc::ROWS,
    memory::ROWS,
    net::ROWS,
    poll::ROWS,
    process::ROWS,
    refused::ROWS,
    signal::ROWS,
    time::ROWS,
];

/// AT_FDCWD as an argument.
const CWD: u64 = libc::AT_FDCWD as u64;

#[cfg(test)]
mod tests {
    use super::FAMILIES;
    use crate::numbers;
    use std::collections::HashSet;

    #[test]
    fn one_row_for_each_call() {
        let mut seen = HashSet::new();
        for row in FAMILIES.iter().copied().flatten() {
            assert!(seen.insert(row.name), "two rows for {}", row.name);
            let known = [numbers::X86_64, numbers::RISCV64];
            assert!(known.iter().any(|n| numbers::number(n, row.name).is_some()), "{}", row.name);
        }
    }
}
