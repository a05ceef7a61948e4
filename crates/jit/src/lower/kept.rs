//! Floating-point operations whose result nothing uses. Cranelift would drop them, but their flags
//! are part of the environment.

use mynah_ir::{Block, Effect, NONE, Op, Value};

/// For each operation of `block`, whether its result must be stored somewhere for its flags' sake.
/// Empty if there is none. Of comparisons of the same values one is enough.
pub(super) fn for_flags(block: &Block) -> Vec<bool> {
    let is_float = |op: Op| op.info().effect == Effect::Float;
    if !block.insts.iter().any(|i| is_float(i.op)) {
        return Vec::new();
    }
    let mut used = vec![false; block.insts.len()];
    for value in block.insts.iter().flat_map(|i| i.args()).chain(block.end.value()) {
        used[value.index()] = true;
    }
    let mut kept = vec![false; block.insts.len()];
    for (i, inst) in block.insts.iter().enumerate() {
        kept[i] = is_float(inst.op) && !used[i];
    }
    for i in 0..kept.len() {
        let Some(compared) = compared(block, i).filter(|_| kept[i]) else { continue };
        // Another one that is done anyway, or a later one that will be.
        kept[i] = !(0..kept.len()).any(|other| {
            let covers = Compared::covers;
            (used[other] || other > i && kept[other])
                && self::compared(block, other).is_some_and(|o| covers(&o, &compared))
        });
    }
    kept
}

/// What a comparison compares, whatever it asks.
struct Compared {
    values: [Value; 2],
    /// Whether a quiet NaN is invalid.
    signalling: bool,
}

impl Compared {
    /// Whether this one's flags are at least the other's.
    fn covers(&self, other: &Compared) -> bool {
        self.values == other.values && (self.signalling || !other.signalling)
    }
}

fn compared(block: &Block, index: usize) -> Option<Compared> {
    let inst = &block.insts[index];
    let signalling = match inst.op {
        Op::Feq | Op::Fltq | Op::Fleq | Op::Funord => false,
        Op::Flt | Op::Fle => true,
        _ => return None,
    };
    let [mut a, mut b, _] = inst.args;
    debug_assert_ne!(b, NONE, "a comparison has two arguments");
    if b < a {
        std::mem::swap(&mut a, &mut b);
    }
    Some(Compared { values: [a, b], signalling })
}
