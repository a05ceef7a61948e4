//! System calls by family: tables of rows, and the functions of those that need one.

mod file;
mod fs;
mod info;
mod ipc;
mod names;
mod net;
mod poll;
mod proc;
mod process;
mod refused;
mod time;

use crate::Errno;
use crate::call::Call;
use crate::row::Row;
use crate::signal::SigSet;

/// All tables.
pub(crate) const FAMILIES: &[&[Row]] = &[
    file::ROWS,
    fs::ROWS,
    info::ROWS,
    ipc::ROWS,
    net::ROWS,
    poll::ROWS,
    process::ROWS,
    refused::ROWS,
    time::ROWS,
];

/// AT_FDCWD as an argument.
const CWD: u64 = libc::AT_FDCWD as u64;

/// Makes a call under the signal mask at `mask`, if there is one: `ppoll` and its kind. The old mask
/// comes back when a signal has been delivered, or none is found.
fn with_mask(
    call: &mut Call<'_>,
    mask: u64,
    size: u64,
    make: impl FnOnce(&mut Call<'_>) -> Result<u64, Errno>,
) -> Result<u64, Errno> {
    if mask != 0 {
        if size != 8 {
            return Err(Errno::EINVAL);
        }
        let mask = SigSet(call.process().space.load(mask)?);
        call.thread.mask_for_now(mask);
    }
    make(call)
}
