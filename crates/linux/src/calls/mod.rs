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
