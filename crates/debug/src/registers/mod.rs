//! What a guest's registers are to a debugger.

mod riscv;
mod x86;

use crate::{Watch, WatchKind};
use mynah_guest::{Cpu, Guest};
use std::fmt::Write as _;

/// A register of a target description. Its number is its place in the list.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its name.
    pub name: String,
    /// Its width.
    pub bits: usize,
    /// Its type, of gdb's or of the description's.
    pub kind: &'static str,
    /// The feature of the description it belongs to, by whose name gdb knows it.
    pub feature: &'static str,
}

/// A guest architecture as a debugger sees it.
pub trait Inspect: Guest {
    /// The name of the architecture in gdb.
    fn architecture(narrow: bool) -> &'static str;

    /// The registers. With `narrow` they are those of the architecture's 32-bit kind, if it has
    /// one.
    fn registers(narrow: bool) -> Vec<Register>;

    /// Types that the registers of `feature` use, as XML.
    fn types(_feature: &str) -> &'static str {
        ""
    }

    /// The bits of register `name`, zero-extended.
    fn read_register(cpu: &Cpu<Self>, name: &str) -> u128;

    /// Sets register `name`, if it can be set, and all that follows from it.
    fn write_register(cpu: &mut Cpu<Self>, name: &str, bits: u128);

    /// Whether accesses can be watched.
    const WATCHES: bool = false;

    /// Watches these accesses, in place of those before.
    fn set_watches(_cpu: &mut Cpu<Self>, _watches: &[Watch]) {}

    /// The first watched access since the last call, and which kind of watch it meets.
    fn take_watched(_cpu: &mut Cpu<Self>) -> Option<(u64, WatchKind)> {
        None
    }
}

/// The target description: XML in the form of gdb's manual, "Target Descriptions".
pub(crate) fn description<G: Inspect>(narrow: bool) -> String {
    let mut xml =
        String::from("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">");
    let _ = write!(xml, "<target><architecture>{}</architecture>", G::architecture(narrow));
    let mut feature = "";
    for register in G::registers(narrow) {
        if register.feature != feature {
            if !feature.is_empty() {
                xml += "</feature>";
            }
            feature = register.feature;
            let _ = write!(xml, "<feature name=\"{feature}\">{}", G::types(feature));
        }
        let Register { name, bits, kind, .. } = register;
        let _ = write!(xml, "<reg name=\"{name}\" bitsize=\"{bits}\" type=\"{kind}\"/>");
    }
    xml + "</feature></target>"
}
