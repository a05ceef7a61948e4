//! `mynah boot`: an operating system on an emulated PC.

use crate::run::TierName;
use mynah_engine::Config;
use mynah_pc::{End, Machine};
use std::path::PathBuf;
use std::process::ExitCode;

/// Boot an operating system on an emulated PC
///
/// The terminal is the machine's serial console: Ctrl-A X ends the machine, Ctrl-A H tells what
/// else there is. When the guest turns the machine off, Mynah's exit status is 0; a guest that
/// writes a value to the exit device (port f4h) ends it with status 2 x value + 1.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// A Linux kernel (bzImage) to start
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// Its initial RAM disk
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// Its command line
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0")]
    append: String,
    /// Memory: a number of MiB, or with K, M or G behind it
    #[arg(long, short, value_name = "SIZE", default_value = "256M", value_parser = memory)]
    memory: u64,
    /// Number of vCPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    smp: u8,
    /// Which tiers run guest code
    #[arg(long, value_enum, default_value_t, value_name = "TIER")]
    tier: TierName,
    /// Executions after which `--tier auto` compiles a block
    #[arg(long, value_name = "N", default_value_t = Config::default().threshold)]
    threshold: u32,
    /// At the end, report on stderr what each tier did
    #[arg(long)]
    stats: bool,
}

const EXAMPLES: &str = "\
Examples:
  mynah boot --kernel vmlinuz --initrd initrd.img
  mynah boot --kernel vmlinuz --append \"console=ttyS0 quiet\" --memory 1G --smp 2
  mynah boot --kernel vmlinuz --tier 0 --stats      interpret everything";

/// Bytes, from a number with an optional unit; without one it counts MiB.
fn memory(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 20),
    };
    let number: u64 = number.parse().map_err(|_| "not a size such as 512M or 2G".to_owned())?;
    let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes <= 1 << 40);
    match bytes {
        None => Err("more than 1024G".to_owned()),
        Some(bytes) if bytes < 1 << 20 => Err("less than 1M".to_owned()),
        Some(bytes) => Ok(bytes & !0xfff),
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    loop {
        let machine = Machine::new(&mynah_pc::Options {
            memory: options.memory,
            cpus: options.smp.into(),
            kernel: options.kernel.clone(),
            initrd: options.initrd.clone(),
            append: options.append.clone(),
            config: Config {
                tier: options.tier.into(),
                threshold: options.threshold,
                ..Config::default()
            },
        });
        let machine = match machine {
            Ok(machine) => machine,
            Err(error) => {
                crate::complain(&error.to_string());
                return ExitCode::FAILURE;
            }
        };
        let end = machine.run();
        if options.stats {
            crate::tell(&machine.stats().to_string());
        }
        return match end {
            End::PowerOff | End::Quit => ExitCode::SUCCESS,
            End::Status(status) => ExitCode::from(status),
            End::Reset => continue,
            End::TripleFault { vcpu, pc } => {
                crate::complain(&format!("vCPU {vcpu} met a triple fault at {pc:#x}"));
                ExitCode::FAILURE
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn sizes_have_units() {
        assert_eq!(memory("512"), Ok(512 << 20));
        assert_eq!(memory("2G"), Ok(2 << 30));
        assert_eq!(memory("640k"), Err("less than 1M".to_owned()));
        assert!(memory("much").is_err());
        assert!(memory("99999999999G").is_err());
    }
}
