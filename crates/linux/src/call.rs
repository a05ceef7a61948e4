//! One system call being made: what handlers see, and how a row's call is carried out.

use crate::row::{Kind, Row, Run};
use crate::thread::Thread;
use crate::{Errno, Process, host, numbers};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// A system call on its way.
pub(crate) struct Call<'a> {
    /// The thread that makes it.
    pub thread: &'a mut Thread,
    /// What is called.
    pub row: &'static Row,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Call<'_> {
    /// The process that makes the call.
    pub(crate) fn process(&self) -> &Process {
        &self.thread.process
    }

    /// Argument `index` as `int`.
    pub(crate) fn int(&self, index: usize) -> i32 {
        self.args[index] as i32
    }

    /// The string that argument `index` points at.
    pub(crate) fn text(&self, index: usize) -> Result<CString, Errno> {
        self.process().space.cstr(self.args[index])
    }

    /// The path that argument `index` points at, where it is found under `--sysroot` if anywhere.
    pub(crate) fn path(&self, index: usize) -> Result<CString, Errno> {
        let path = self.text(index)?;
        Ok(self.process().translate(&path).unwrap_or(path))
    }

    /// How long the call has waited already, if it was interrupted and is being made again.
    pub(crate) fn waited(&mut self) -> Duration {
        match self.thread.began {
            Some(began) => began.elapsed(),
            None => {
                self.thread.began = Some(Instant::now());
                Duration::ZERO
            }
        }
    }

    /// What is left of the time at `va` (seconds, nanoseconds), for which the call is to wait.
    pub(crate) fn time_left(&mut self, va: u64) -> Result<[i64; 2], Errno> {
        const SECOND: i64 = 1_000_000_000;
        let space = &self.process().space;
        let time: [u64; 2] = [space.load(va)?, space.load(va.wrapping_add(8))?];
        let [seconds, nanoseconds] = time.map(|word| word as i64);
        let waited = self.waited();
        if waited.is_zero() || seconds < 0 || !(0..SECOND).contains(&nanoseconds) {
            return Ok([seconds, nanoseconds]); // the host refuses what is wrong
        }
        let left = Duration::new(seconds as u64, nanoseconds as u32).saturating_sub(waited);
        Ok([left.as_secs() as i64, left.subsec_nanos().into()])
    }

    /// What is left of `milliseconds`, for which the call is to wait; less than 0 is forever.
    pub(crate) fn milliseconds_left(&mut self, milliseconds: i32) -> i32 {
        match u64::try_from(milliseconds) {
            Ok(time) => {
                Duration::from_millis(time).saturating_sub(self.waited()).as_millis() as i32
            }
            Err(_) => -1,
        }
    }

    /// The host's call of this name with the guest's arguments: the default of [`Run::Pass`].
    pub(crate) fn pass(&mut self) -> Result<u64, Errno> {
        self.host(self.row.name, self.args)
    }

    /// As [`Call::pass`], interrupted by signals with `restart` (see [`Run::Block`]).
    pub(crate) fn block(&mut self, restart: Errno) -> Result<u64, Errno> {
        self.host_block(self.row.name, self.args, restart)
    }

    /// The host's call `name`, which does not block.
    pub(crate) fn host(&mut self, name: &str, args: [u64; 6]) -> Result<u64, Errno> {
        let number = numbers::number(numbers::HOST, name).ok_or(Errno::ENOSYS)?;
        self.made(args, |args| host::call(number.into(), args))
    }

    /// The host's call `name`, which may block; an interruption fails with `restart`.
    pub(crate) fn host_block(
        &mut self,
        name: &str,
        args: [u64; 6],
        restart: Errno,
    ) -> Result<u64, Errno> {
        let number = numbers::number(numbers::HOST, name).ok_or(Errno::ENOSYS)?;
        let pending = self.thread.pending.word();
        match self.made(args, |args| host::interruptible(pending, number.into(), args)) {
            Err(Errno::EINTR) => Err(restart),
            result => result,
        }
    }

    /// Makes a call whose arguments, as the row says, may include paths to translate.
    fn made(
        &self,
        args: [u64; 6],
        make: impl Fn([u64; 6]) -> Result<u64, Errno>,
    ) -> Result<u64, Errno> {
        let mut made = args;
        let mut paths = Vec::new();
        for (index, arg) in self.row.args.iter().enumerate() {
            // A handler that passes another pointer has translated it.
            if matches!(arg.kind, Kind::Path) && args[index] == self.args[index] && args[index] != 0
            {
                let path = self.text(index)?;
                if let Some(found) = self.process().translate(&path) {
                    made[index] = found.as_ptr() as u64;
                    paths.push(found);
                }
            }
        }
        match make(made) {
            // Perhaps a pointer that the row does not know of leads to a watched page.
            Err(Errno::EFAULT) if self.process().space.unwatch_all() => make(made),
            result => result,
        }
    }

    /// Stops watching the pages that the kernel is about to write.
    fn prepare(&self) {
        let space = &self.process().space;
        if !space.watches() {
            return;
        }
        for (arg, &va) in self.row.args.iter().zip(&self.args) {
            if va == 0 {
                continue;
            }
            match arg.kind {
                Kind::Out(len) => space.prepare(va, self.args[len]),
                Kind::OutFixed(bytes) => space.prepare(va, bytes as u64),
                Kind::OutArray(count, bytes) => {
                    space.prepare(va, self.args[count].saturating_mul(bytes as u64));
                }
                Kind::OutSized(len) => {
                    if let Ok(bytes) = space.load::<u32>(self.args[len]) {
                        space.prepare(va, bytes.into());
                    }
                    space.prepare(self.args[len], 4);
                }
                Kind::OutIov(count) => prepare_iov(space, va, self.args[count]),
                Kind::OutMsg => prepare_msg(space, va),
                Kind::OutMsgs(count) => {
                    // struct mmsghdr: a message and the number of bytes received, 64 bytes. The
                    // kernel takes at most 1024 (UIO_MAXIOV).
                    for index in 0..(self.args[count] & 0xffff_ffff).min(1024) {
                        let message = va.wrapping_add(64 * index);
                        prepare_msg(space, message);
                        space.prepare(message.wrapping_add(56), 4);
                    }
                }
                _ => {}
            }
        }
    }

    /// Carries the call out, unless it is the run loop's.
    pub(crate) fn run(&mut self) -> Result<u64, Errno> {
        self.prepare();
        match self.row.run {
            Run::Pass => self.pass(),
            Run::Block(restart) => self.block(restart),
            Run::Do(handler) => handler(self),
            Run::Refuse(errno) => Err(errno),
            Run::Task => Err(Errno::ENOSYS),
        }
    }
}

/// struct msghdr: name, namelen, iov, iovlen, control, controllen, flags.
fn prepare_msg(space: &crate::space::Space, va: u64) {
    let field = |offset| space.load::<u64>(va.wrapping_add(offset)).unwrap_or(0);
    space.prepare(va, 56);
    space.prepare(field(0), field(8) & 0xffff_ffff);
    prepare_iov(space, field(16), field(24));
    space.prepare(field(32), field(40));
}

fn prepare_iov(space: &crate::space::Space, va: u64, count: u64) {
    // More than IOV_MAX are refused by the kernel.
    for index in 0..count.min(1024) {
        let at = va.wrapping_add(16 * index);
        if let (Ok(base), Ok(len)) = (space.load(at), space.load(at.wrapping_add(8))) {
            space.prepare(base, len);
        }
    }
}

impl Process {
    /// Where `path` is found instead: under `--sysroot`, or as what stands for it.
    pub(crate) fn translate(&self, path: &CStr) -> Option<CString> {
        let bytes = path.to_bytes();
        if !bytes.starts_with(b"/") {
            return None;
        }
        if let Some(own) = self.own_file(bytes) {
            return Some(own);
        }
        let path = Path::new(OsStr::from_bytes(bytes));
        let found = self.find(path);
        if found == path {
            return None;
        }
        CString::new(found.into_os_string().into_vec()).ok()
    }
}
