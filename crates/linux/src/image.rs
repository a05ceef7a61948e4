//! A program becomes a process image: its segments, its interpreter's, and the first stack.

use crate::abi::Info;
use crate::error::Error;
use crate::space::Space;
use crate::{Errno, Options, host};
use mynah_loader::{Elf, Placement};
use mynah_mem::PAGE;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where a program that may lie anywhere is put: far from where the host puts things, with space
/// for its data segment to grow.
const PROGRAM_BASE: u64 = 0x10_0000_0000;

/// The stack's size where the limit is larger or none, and at least.
const STACK: u64 = 8 << 20;
const MAX_STACK: u64 = 64 << 20;
/// Left free below the stack.
const GUARD: u64 = 1 << 20;

/// A program's file, opened and found to be one that can be run.
pub(crate) struct Program {
    /// Its absolute path.
    pub path: PathBuf,
    /// What it was called by: the path in execve.
    pub name: PathBuf,
    file: File,
    elf: Elf,
}

/// What a process starts from.
pub(crate) struct Image {
    /// The first instruction's address.
    pub entry: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The auxiliary vector.
    pub auxv: Vec<u8>,
    /// Addresses of the argument strings.
    pub args: (u64, u64),
    /// Addresses of the environment strings.
    pub env: (u64, u64),
    /// The stack.
    pub stack: (u64, u64),
    /// What signal handlers return to, where the architecture has no restorers.
    pub trampoline: Option<u64>,
}

fn error(path: &Path, what: impl Into<Reason>) -> Error {
    let Reason { errno, text } = what.into();
    Error { path: path.to_owned(), errno, text }
}

struct Reason {
    errno: Errno,
    text: String,
}

impl From<Errno> for Reason {
    fn from(errno: Errno) -> Reason {
        Reason { errno, text: errno.to_string() }
    }
}

impl From<std::io::Error> for Reason {
    fn from(error: std::io::Error) -> Reason {
        Errno::of(&error).into()
    }
}

impl From<mynah_loader::Error> for Reason {
    fn from(error: mynah_loader::Error) -> Reason {
        Reason { errno: Errno::ENOEXEC, text: error.to_string() }
    }
}

impl Program {
    /// Opens the program at `path`, of any machine that Mynah knows.
    pub(crate) fn open(path: &Path) -> Result<Program, Error> {
        let file = File::open(path).map_err(|e| error(path, e))?;
        let meta = file.metadata().map_err(|e| error(path, e))?;
        if !meta.is_file() {
            let text = "not a regular file".to_owned();
            return Err(error(path, Reason { errno: Errno::EACCES, text }));
        }
        let elf = Elf::read(&file).map_err(|e| error(path, e))?;
        let absolute = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Ok(Program { path: absolute, name: path.to_owned(), file, elf })
    }

    /// The machine it is for.
    pub(crate) fn machine(&self) -> mynah_loader::Machine {
        self.elf.machine
    }

    /// Maps its segments; yields how far they are from the addresses in the file.
    fn map(&self, space: &Space, hint: u64) -> Result<u64, Errno> {
        let span = self.elf.span();
        let len = span.end - span.start;
        let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let align = self.elf.align;
        let start = match self.elf.placement {
            Placement::Fixed => {
                space.mmap(span.start, len, 0, none | libc::MAP_FIXED_NOREPLACE, -1, 0)?
            }
            Placement::Anywhere => {
                // With space to align it.
                let larger = len.checked_add(align - PAGE).ok_or(Errno::ENOMEM)?;
                let hint = hint.next_multiple_of(align);
                let at = space.mmap(hint, larger, 0, none, -1, 0)?;
                let start = at.next_multiple_of(align);
                if at < start {
                    space.munmap(at, start - at)?;
                }
                if start + len < at + larger {
                    space.munmap(start + len, at + larger - start - len)?;
                }
                start
            }
        };
        let bias = start.wrapping_sub(span.start);
        let mut end = start;
        for segment in &self.elf.segments {
            let prot = [
                (segment.read, libc::PROT_READ),
                (segment.write, libc::PROT_WRITE),
                (segment.execute, libc::PROT_EXEC),
            ];
            let prot = prot.iter().filter(|(is, _)| *is).fold(0, |all, (_, p)| all | *p as u32);
            let va = segment.va.start.wrapping_add(bias);
            let first = va & !(PAGE - 1);
            let file_bytes = segment.file.end - segment.file.start;
            let file_end = va + file_bytes;
            let mapped_end = file_end.next_multiple_of(PAGE);
            let memory_end = segment.va.end.wrapping_add(bias).next_multiple_of(PAGE);
            if end < first {
                space.munmap(end, first - end)?;
            }
            if file_bytes != 0 {
                let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
                let offset = segment.file.start & !(PAGE - 1);
                let fd = self.file.as_raw_fd();
                space.mmap(first, mapped_end - first, prot, flags, fd, offset)?;
                if segment.write && segment.va.end.wrapping_add(bias) > file_end {
                    space.write(file_end, &vec![0; (mapped_end - file_end) as usize])?;
                }
            }
            let zeros = if file_bytes != 0 { mapped_end } else { first };
            if zeros < memory_end {
                let flags = none | libc::MAP_FIXED;
                space.mmap(zeros, memory_end - zeros, prot, flags, -1, 0)?;
            }
            end = memory_end.max(mapped_end);
        }
        Ok(bias)
    }

    /// Maps the program and its interpreter and builds the stack.
    pub(crate) fn load(
        &self,
        space: &Space,
        abi: &Info,
        options: &Options,
        find: impl Fn(&Path) -> PathBuf,
    ) -> Result<Image, Error> {
        let failed = |errno: Errno| {
            let text = format!("cannot be mapped: {errno}");
            error(&self.name, Reason { errno, text })
        };
        let bias = self.map(space, PROGRAM_BASE).map_err(failed)?;
        space.set_brk(self.elf.span().end.wrapping_add(bias));
        let mut entry = self.elf.entry.wrapping_add(bias);
        let mut base = 0;
        if let Some(name) = &self.elf.interpreter {
            let path = find(Path::new(&OsString::from_vec(name.clone())));
            let interpreter = Program::open(&path).map_err(|e| Error {
                text: format!("its interpreter {}: {}", path.display(), e.text),
                path: self.name.clone(),
                errno: e.errno,
            })?;
            if interpreter.machine() != self.machine() {
                let text = format!("its interpreter {} is for another machine", path.display());
                return Err(error(&self.name, Reason { errno: Errno::ELIBBAD, text }));
            }
            base = interpreter.map(space, 0).map_err(failed)?;
            entry = interpreter.elf.entry.wrapping_add(base);
        }
        let headers = match self.elf.headers_va {
            0 => 0,
            va => va.wrapping_add(bias),
        };
        let auxv = [
            (libc::AT_HWCAP, abi.hwcap),
            (libc::AT_PAGESZ, PAGE),
            (libc::AT_CLKTCK, 100),
            (libc::AT_PHDR, headers),
            (libc::AT_PHENT, Elf::HEADER_BYTES.into()),
            (libc::AT_PHNUM, self.elf.headers.into()),
            (libc::AT_BASE, base),
            (libc::AT_FLAGS, 0),
            (libc::AT_ENTRY, self.elf.entry.wrapping_add(bias)),
        ];
        let prot = if self.elf.executable_stack { libc::PROT_EXEC } else { 0 };
        stack(space, abi, options, &self.name, prot as u32, &auxv, entry).map_err(failed)
    }
}

/// Strings and words growing down from the stack's top.
struct Stack<'a> {
    space: &'a Space,
    sp: u64,
}

impl Stack<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<u64, Errno> {
        self.sp -= bytes.len() as u64;
        self.space.write(self.sp, bytes)?;
        Ok(self.sp)
    }

    fn push_text(&mut self, text: &[u8]) -> Result<u64, Errno> {
        self.push(&[0])?;
        self.push(text)
    }
}

fn stack(
    space: &Space,
    abi: &Info,
    options: &Options,
    name: &Path,
    prot: u32,
    fixed: &[(u64, u64)],
    entry: u64,
) -> Result<Image, Errno> {
    let argv0 = options.argv0.clone().unwrap_or_else(|| name.as_os_str().to_owned());
    let args: Vec<&[u8]> =
        std::iter::once(&argv0).chain(&options.args).map(|arg| arg.as_bytes()).collect();
    let env: Vec<Vec<u8>> = options
        .env
        .iter()
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
        .collect();
    let strings: u64 =
        args.iter().copied().chain(env.iter().map(Vec::as_slice)).map(|s| s.len() as u64 + 9).sum();

    let mut limit = [0_u64; 2];
    let resource = u64::from(libc::RLIMIT_STACK);
    host::call(libc::SYS_prlimit64, [0, resource, 0, limit.as_mut_ptr() as u64, 0, 0])?;
    let size = limit[0].clamp(STACK, MAX_STACK).next_multiple_of(PAGE);
    let size = if limit[0] > MAX_STACK { STACK } else { size } + strings.next_multiple_of(PAGE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    let below = space.mmap(0, size + GUARD, 0, flags, -1, 0)?;
    let bottom = below + GUARD;
    space.mprotect(bottom, size, prot | (libc::PROT_READ | libc::PROT_WRITE) as u32)?;
    space.abandon(&(below..bottom));

    let mut stack = Stack { space, sp: bottom + size };
    stack.push(&[0; 8])?;
    let file_name = stack.push_text(name.as_os_str().as_bytes())?;
    let env_end = stack.sp;
    let mut env_at = Vec::new();
    for text in env.iter().rev() {
        env_at.push(stack.push_text(text)?);
    }
    env_at.reverse();
    let args_end = stack.sp;
    let mut args_at = Vec::new();
    for text in args.iter().rev() {
        args_at.push(stack.push_text(text)?);
    }
    args_at.reverse();
    let args_start = stack.sp;
    let platform = match abi.platform {
        Some(platform) => stack.push_text(platform.as_bytes())?,
        None => 0,
    };
    stack.sp &= !15;
    let mut random = [0_u8; 16];
    host::call(libc::SYS_getrandom, [random.as_mut_ptr() as u64, 16, 0, 0, 0, 0])?;
    let random = stack.push(&random)?;

    let id = |call| host::call(call, [0; 6]).unwrap_or(0);
    let trampoline = abi.trampoline.map(|code| trampoline(space, code)).transpose()?;
    let mut auxv = fixed.to_vec();
    auxv.extend([
        (libc::AT_UID, id(libc::SYS_getuid)),
        (libc::AT_EUID, id(libc::SYS_geteuid)),
        (libc::AT_GID, id(libc::SYS_getgid)),
        (libc::AT_EGID, id(libc::SYS_getegid)),
        (libc::AT_SECURE, 0),
        (libc::AT_RANDOM, random),
        (libc::AT_HWCAP2, 0),
        (libc::AT_EXECFN, file_name),
    ]);
    if platform != 0 {
        auxv.push((libc::AT_PLATFORM, platform));
    }
    auxv.push((libc::AT_MINSIGSTKSZ, 2048));
    auxv.push((libc::AT_NULL, 0));
    let auxv: Vec<u8> = auxv
        .iter()
        .flat_map(|(key, value)| [key.to_le_bytes(), value.to_le_bytes()])
        .flatten()
        .collect();

    let mut words = vec![args_at.len() as u64];
    words.extend(args_at);
    words.push(0);
    words.extend(env_at);
    words.push(0);
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend_from_slice(&auxv);
    stack.sp = (stack.sp - bytes.len() as u64) & !15;
    space.write(stack.sp, &bytes)?;
    Ok(Image {
        entry,
        sp: stack.sp,
        auxv,
        args: (args_start, args_end),
        env: (args_end, env_end),
        stack: (bottom, bottom + size),
        trampoline,
    })
}

/// Maps `code` for the guest to execute.
fn trampoline(space: &Space, code: &[u8]) -> Result<u64, Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let at = space.mmap(0, PAGE, libc::PROT_WRITE as u32, flags, -1, 0)?;
    space.write(at, code)?;
    space.mprotect(at, PAGE, (libc::PROT_READ | libc::PROT_EXEC) as u32)?;
    Ok(at)
}
