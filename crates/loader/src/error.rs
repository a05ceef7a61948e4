//! Why a file cannot be loaded.

/// Why a file cannot be loaded. Displays as a clause that follows the file's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The file does not begin as ELF files do.
    NotElf,
    /// It is an ELF file of another class than ELFCLASS64.
    Class,
    /// It is big-endian.
    Endian,
    /// It is for a machine that Mynah does not know: `e_machine`.
    Machine(u16),
    /// It is no program: `e_type`.
    Type(u16),
    /// Its headers, or something that they point at, lie beyond its end.
    Truncated,
    /// A header says something that cannot be: what.
    Malformed(&'static str),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NotElf => f.write_str("not an ELF file"),
            Error::Class => f.write_str("a 32-bit ELF file; Mynah runs 64-bit programs"),
            Error::Endian => f.write_str("a big-endian ELF file"),
            Error::Machine(machine) => {
                write!(
                    f,
                    "for machine {machine}, which Mynah does not know (x86-64: 62, RISC-V: 243)"
                )
            }
            Error::Type(kind) => write!(f, "no executable (ELF type {kind})"),
            Error::Truncated => f.write_str("the ELF file is truncated"),
            Error::Malformed(what) => write!(f, "a malformed ELF file: {what}"),
        }
    }
}

impl std::error::Error for Error {}
