//! The corpus of the fuzz targets, `fuzz/corpus`: cases that once failed, and some that lie at edges.

use mynah_testkit::fuzz::Target;
use mynah_testkit::fuzz::decode::DecodeTarget;
use mynah_testkit::fuzz::devices::DevicesTarget;
use mynah_testkit::fuzz::elf::ElfTarget;
use mynah_testkit::fuzz::insn::InsnTarget;
use mynah_testkit::fuzz::tiers::TiersTarget;
use mynah_testkit::native::Native;
use std::path::Path;

fn replay(name: &str, target: &mut dyn Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
    {
        let path = entry.expect("a folder entry").path();
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        count += target
            .replay(&name, &text)
            .unwrap_or_else(|report| panic!("{}, {report}", path.display()));
    }
    assert!(count > 0, "{} holds cases", folder.display());
}

#[test]
fn insn() {
    if Native::new().is_some() {
        replay("insn", &mut InsnTarget::new("").unwrap_or_else(|e| panic!("{e}")));
    }
}

#[test]
fn tiers() {
    replay("tiers", &mut TiersTarget::new("").unwrap_or_else(|e| panic!("{e}")));
}

#[test]
fn decode() {
    replay("decode", &mut DecodeTarget);
}

#[test]
fn elf() {
    replay("elf", &mut ElfTarget::default());
}

#[test]
fn devices() {
    replay("devices", &mut DevicesTarget);
}
