//! Names of functions (gABI, chapter 4, "Symbol Table").

use object::{Object as _, ObjectSymbol as _, SymbolKind};

/// A function as the file's symbol table has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its address in the file's own address space.
    pub va: u64,
    /// Its length in bytes; 0 if the file does not say.
    pub size: u64,
}

/// The functions that the file in `data` defines and names, in no order; none if it is no ELF file.
pub fn functions(data: &[u8]) -> Vec<Function> {
    let Ok(file) = object::read::elf::ElfFile64::<object::LittleEndian>::parse(data) else {
        return Vec::new();
    };
    file.symbols()
        .chain(file.dynamic_symbols())
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| {
            let name = symbol.name().ok()?.to_owned();
            Some(Function { name, va: symbol.address(), size: symbol.size() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_that_is_not_elf_names_nothing() {
        assert!(super::functions(b"#!/bin/sh\n").is_empty());
    }
}
