//! The guest memory that tests work in: a few pages at fixed addresses.
//!
//! Guest addresses are host addresses, so code under test reaches these pages the same way on
//! every runner, the host CPU included:
//!
//! ```text
//! 1000_0000  data, two pages, readable and writable
//! 1000_2000  data, one page, readable only
//! 1000_3000  nothing
//! 2000_0000  code, one page, readable and executable; filled with INT3 around the code under test
//! ```
//!
//! [`Pages`] is the right to use them. There is one; tests that run at the same time take turns.
//! It writes through a second mapping of the same memory, so that no page is writable and
//! executable.
#![expect(unsafe_code, reason = "maps memory at fixed addresses and copies to and from it")]

use parking_lot::{Mutex, MutexGuard};
use std::ops::Range;
use std::sync::{Once, OnceLock};

const PAGE: usize = 4096;

/// Where data is.
pub const DATA: u64 = 0x1000_0000;
/// Bytes of data, the read-only page included.
pub const DATA_BYTES: usize = 3 * PAGE;
/// Where data that cannot be written begins.
pub const READ_ONLY: u64 = DATA + 2 * PAGE as u64;
/// Where the code page is.
pub const CODE: u64 = 0x2000_0000;
/// Where the code under test begins: short jumps backward stay in the page.
pub const ENTRY: u64 = CODE + 0x100;
/// Bytes of code that fit.
pub const CODE_BYTES: usize = PAGE - 0x100;
/// What surrounds the code under test: INT3 on an x86 host.
const FILL: u8 = 0xcc;

/// The mapping through which the pages are written: data, then code.
struct Window {
    base: usize,
    /// Bytes of code under test that the code page holds.
    code_len: usize,
}

/// The right to use the test pages.
pub struct Pages {
    window: MutexGuard<'static, Window>,
}

impl Pages {
    /// Waits for the pages.
    ///
    /// # Panics
    /// If the host does not give the addresses.
    pub fn lock() -> Pages {
        static WINDOW: OnceLock<Mutex<Window>> = OnceLock::new();
        let window = WINDOW.get_or_init(|| {
            let window = map().unwrap_or_else(|e| panic!("the test pages cannot be mapped: {e}"));
            catch_faults();
            Mutex::new(window)
        });
        Pages { window: window.lock() }
    }

    /// Makes `code` the code under test, at [`ENTRY`].
    ///
    /// # Panics
    /// If it is longer than [`CODE_BYTES`].
    pub fn set_code(&mut self, code: &[u8]) {
        assert!(code.len() <= CODE_BYTES, "code under test has at most {CODE_BYTES} bytes");
        let old = self.window.code_len;
        let at = DATA_BYTES + (ENTRY - CODE) as usize;
        if old > code.len() {
            self.put(at + code.len(), &vec![FILL; old - code.len()]);
        }
        self.put(at, code);
        self.window.code_len = code.len();
    }

    /// Makes `bytes` all of the data.
    pub fn set_data(&mut self, bytes: &[u8; DATA_BYTES]) {
        self.put(0, bytes);
    }

    /// Copies all of the data.
    pub fn data(&self, bytes: &mut [u8; DATA_BYTES]) {
        // SAFETY: the window begins with that many bytes of data, which only raw pointers reach.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.window.base as *const u8,
                bytes.as_mut_ptr(),
                DATA_BYTES,
            );
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= DATA_BYTES + PAGE);
        // SAFETY: the window has that many bytes, which only raw pointers reach.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                (self.window.base + at) as *mut u8,
                bytes.len(),
            );
        }
    }
}

/// Installs the handler that makes refused accesses of ours errors, once: before any other.
pub(crate) fn catch_faults() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| mynah_mem::host::signal::install(None));
}

/// The place of `range` in the data, if it lies there.
pub fn data_range(va: u64, len: usize) -> Option<Range<usize>> {
    let start = usize::try_from(va.checked_sub(DATA)?).ok()?;
    let end = start.checked_add(len)?;
    (end <= DATA_BYTES).then_some(start..end)
}

fn map() -> std::io::Result<Window> {
    use libc::{MAP_FIXED_NOREPLACE, MAP_POPULATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE};
    const BYTES: usize = DATA_BYTES + PAGE;
    // SAFETY: plain system calls; no mapping replaces another.
    unsafe {
        let fd = libc::memfd_create(c"mynah-test-pages".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 || libc::ftruncate(fd, BYTES as i64) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let map = |va: u64, offset: usize, bytes: usize, protection: i32| {
            let fixed = if va == 0 { 0 } else { MAP_FIXED_NOREPLACE };
            let flags = MAP_SHARED | MAP_POPULATE | fixed;
            let at = libc::mmap(va as *mut _, bytes, protection, flags, fd, offset as i64);
            if at == libc::MAP_FAILED {
                return Err(std::io::Error::last_os_error());
            }
            if va != 0 && at as u64 != va {
                return Err(std::io::ErrorKind::AddrInUse.into());
            }
            Ok(at as usize)
        };
        let base = map(0, 0, BYTES, PROT_READ | PROT_WRITE)?;
        map(DATA, 0, 2 * PAGE, PROT_READ | PROT_WRITE)?;
        map(READ_ONLY, 2 * PAGE, PAGE, PROT_READ)?;
        map(CODE, DATA_BYTES, PAGE, PROT_READ | PROT_EXEC)?;
        libc::close(fd);
        std::ptr::write_bytes((base + DATA_BYTES) as *mut u8, FILL, PAGE);
        Ok(Window { base, code_len: 0 })
    }
}
