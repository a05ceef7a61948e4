//! Passes that make a block smaller without changing what it means.
//!
//! [`forward`] replaces reads of state by the values known to be there and simplifies what it sees;
//! [`dead`] then removes state writes that nothing can observe, which is what makes lazily computed
//! flags free, and operations whose results nothing uses. Both are linear in the block's length.
//!
//! What may observe state: the end of the block, every operation that may fault or leave, and
//! helpers, as far as their table says.

mod dead;
mod forward;
mod holders;
mod lanes;
mod simplify;

pub use dead::dead;
pub use forward::forward;

use mynah_guest::Guest;
use mynah_ir::{Block, Inst, Recover, Value};
use std::cell::RefCell;

/// Memory that the passes keep from one block to the next: a block is small, and to allocate would
/// take a good part of the time.
#[derive(Default)]
struct Scratch {
    insts: Vec<Inst>,
    renamed: Vec<Value>,
    used: Vec<bool>,
    places: Vec<holders::Place>,
    faults: Vec<usize>,
    recover: Vec<(usize, Recover)>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `vec` with `len` times `value` in it.
fn filled<T: Clone>(vec: &mut Vec<T>, len: usize, value: T) -> &mut [T] {
    vec.clear();
    vec.resize(len, value);
    vec
}

/// Optimises `block`, which keeps the rules of [`mynah_ir::verify`] before and after.
pub fn optimise<G: Guest>(block: &mut Block) {
    forward::<G>(block);
    dead::<G>(block);
}
