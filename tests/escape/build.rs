//! The guest as it is built and started.

use crate::machine::guests::{guest, run, scratch, text};
use std::fs;
use std::path::Path;

/// Where the guest has a block for each vCPU, and the size of one (`guest/layout.h`).
pub(crate) const CPUS: u64 = 0x28_0000;
pub(crate) const CPU_SIZE: u64 = 0x8000;

/// Where the image has its configuration.
const CONFIG: usize = 32;
/// Where it is entered after reset.
const RESET: u16 = 64;
/// Bytes of the ROM that is made of it.
const ROM: usize = 64 << 10;

/// What the guest is told.
#[derive(Clone, Copy)]
pub(crate) struct Config {
    pub(crate) seed: u64,
    /// Bytes of RAM.
    pub(crate) memory: u64,
    pub(crate) cpus: u64,
}

/// The guest.
pub(crate) struct Guest(Vec<u8>);

impl Guest {
    /// Builds it, as a file of this name, with the host's compiler if there is one.
    pub(crate) fn build(name: &str) -> Option<Guest> {
        let (gcc, file) = (guest("bin/gcc")?, scratch(name));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/escape/guest");
        let mut arguments: Vec<String> = [
            "-O2",
            "-march=x86-64",
            "-mgeneral-regs-only",
            "-mno-red-zone",
            "-static",
            "-nostdlib",
            "-nostartfiles",
            "-ffreestanding",
            "-fno-pie",
            "-no-pie",
            "-fno-stack-protector",
            "-fno-asynchronous-unwind-tables",
            "-fno-tree-loop-distribute-patterns",
            "-fcf-protection=none",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wl,--build-id=none",
            "-Wl,-z,noexecstack",
            "-Wl,--oformat,binary",
            "-o",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(text(&file));
        arguments.push(format!("-Wl,-T,{}", folder.join("guest.ld").display()));
        for source in ["start.S", "main.c", "memory.c", "devices.c", "code.c"] {
            arguments.push(text(&folder.join(source)));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&gcc, &arguments);
        Some(Guest(fs::read(&file).expect("gcc has written it")))
    }

    /// The file that a machine is started from: a multiboot kernel, or firmware.
    pub(crate) fn image(&self, config: Config, is_firmware: bool) -> Vec<u8> {
        let mut image = self.0.clone();
        let words = [config.seed, config.memory, config.cpus];
        for (at, word) in (CONFIG..).step_by(8).zip(words) {
            image[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        if is_firmware {
            let vector = ROM - 16;
            assert!(image.len() <= vector, "the image has room in a ROM");
            image.resize(ROM, 0xff);
            // JMP rel16, from the end of the instruction.
            image[vector] = 0xe9;
            let jump = RESET.wrapping_sub(vector as u16 + 3);
            image[vector + 1..vector + 3].copy_from_slice(&jump.to_le_bytes());
        }
        image
    }
}
