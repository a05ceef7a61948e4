//! RV64GC.

use super::{Inspect, Register};
use mynah_guest::Cpu;
use mynah_riscv::RiscV;
use mynah_riscv::state::{F_NAMES, X_NAMES, f, x};

const CPU: &str = "org.gnu.gdb.riscv.cpu";
const FPU: &str = "org.gnu.gdb.riscv.fpu";

impl Inspect for RiscV {
    fn architecture(_: bool) -> &'static str {
        "riscv:rv64"
    }

    fn registers(_: bool) -> Vec<Register> {
        let register = |name: &str, bits, kind, feature| Register {
            name: name.to_owned(),
            bits,
            kind,
            feature,
        };
        let mut all: Vec<_> = X_NAMES.iter().map(|name| register(name, 64, "int", CPU)).collect();
        for (n, kind) in [(1, "code_ptr"), (2, "data_ptr"), (3, "data_ptr"), (4, "data_ptr")] {
            all[n].kind = kind;
        }
        all.push(register("pc", 64, "code_ptr", CPU));
        all.extend(F_NAMES.iter().map(|name| register(name, 64, "ieee_double", FPU)));
        all
    }

    fn read_register(cpu: &Cpu<RiscV>, name: &str) -> u128 {
        if name == "pc" {
            return cpu.core.pc.into();
        }
        slot(name).map_or(0, |slot| cpu.slot(slot))
    }

    fn write_register(cpu: &mut Cpu<RiscV>, name: &str, bits: u128) {
        match (name, slot(name)) {
            ("zero", _) => {}
            ("pc", _) => cpu.core.pc = bits as u64 & !1,
            (_, Some(slot)) => cpu.set_slot(slot, bits),
            _ => {}
        }
    }
}

fn slot(name: &str) -> Option<mynah_ir::Slot> {
    let of = |names: &[&str]| names.iter().position(|known| *known == name);
    of(&X_NAMES).map(|n| x(n as u8)).or_else(|| of(&F_NAMES).map(|n| f(n as u8)))
}
