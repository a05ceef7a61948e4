//! What the threads of a process share.

use crate::abi::Info;
use crate::image::Image;
use crate::row::Row;
use crate::signal::Actions;
use crate::space::Space;
use crate::{Options, calls, numbers};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize};
use std::time::Instant;

/// A guest process.
#[derive(Clone)]
pub(crate) struct Process {
    /// The guest's architecture.
    pub abi: &'static Info,
    /// How Mynah was asked to run it.
    pub options: Arc<Options>,
    /// Its memory.
    pub space: Arc<Space>,
    /// What its signals do. A child that shares memory with its parent (vfork) has its own.
    pub actions: Arc<Actions>,
    /// The program's file, absolute.
    pub exe: PathBuf,
    /// What it started from.
    pub image: Arc<Image>,
    /// Number of threads.
    pub threads: Arc<AtomicUsize>,
    /// What its first thread ended with, if it has.
    pub leader_status: Arc<AtomicI32>,
    /// The first thread's number when Mynah started.
    pub first_tid: i32,
    /// When Mynah started it.
    pub started: Instant,
    /// The calls by the guest's numbers.
    pub calls: Arc<CallTable>,
}

/// System calls by the numbers of one architecture.
pub(crate) struct CallTable(Vec<Option<&'static Row>>);

impl CallTable {
    /// The table of `abi`.
    pub(crate) fn new(abi: &Info) -> CallTable {
        let rows: HashMap<&str, &'static Row> =
            calls::FAMILIES.iter().copied().flatten().map(|row| (row.name, row)).collect();
        let count = numbers::all(abi.numbers).last().map_or(0, |(n, _)| usize::from(*n) + 1);
        let mut table = vec![None; count];
        for (number, name) in numbers::all(abi.numbers) {
            table[usize::from(*number)] = rows.get(name).copied();
        }
        CallTable(table)
    }

    /// The row of call `number`.
    pub(crate) fn row(&self, number: u64) -> Option<&'static Row> {
        *self.0.get(usize::try_from(number).ok()?)?
    }
}

impl Process {
    /// The name of call `number`, known to Mynah or not.
    pub(crate) fn call_name(&self, number: u64) -> Option<&'static str> {
        numbers::name(self.abi.numbers, number)
    }

    /// Where `path` is found: under `--sysroot` if anywhere.
    pub(crate) fn find(&self, path: &Path) -> PathBuf {
        find(&self.options, path)
    }

    /// The file that stands for one of the process's own under /proc.
    pub(crate) fn own_file(&self, path: &[u8]) -> Option<CString> {
        let own = path.strip_prefix(b"/proc/")?;
        let own = own.strip_prefix(b"self/").or_else(|| {
            own.strip_prefix(std::process::id().to_string().as_bytes())?.strip_prefix(b"/")
        })?;
        match own {
            b"exe" => CString::new(self.exe.as_os_str().as_bytes()).ok(),
            _ => None,
        }
    }
}

/// Where an absolute path is found: under `--sysroot` if it exists there.
pub(crate) fn find(options: &Options, path: &Path) -> PathBuf {
    let within = |root: &PathBuf| Some(root.join(path.strip_prefix("/").ok()?));
    let found = options.sysroot.as_ref().and_then(within).filter(|path| path.exists());
    found.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::CallTable;
    use crate::abi::Abi as _;
    use crate::numbers;
    use mynah_riscv::RiscV;
    use mynah_x86::X86;

    #[test]
    fn calls_are_found_by_their_numbers() {
        for abi in [&X86::INFO, &RiscV::INFO] {
            let table = CallTable::new(abi);
            // The architecture's own ones and those of all.
            for name in ["read", "futex", "clone3", "close_range"] {
                let number = numbers::number(abi.numbers, name).expect("a known call");
                assert_eq!(table.row(number.into()).map(|row| row.name), Some(name));
            }
        }
    }
}
