//! Floating point in software, for hosts whose unit does not speak the environment word.

use crate::Ty;
use std::cell::Cell;

thread_local! {
    static WORD: Cell<u32> = const { Cell::new(super::DEFAULT) };
}

/// Runs `f`, whose operations are this module's, under `word`; yields the word afterwards.
pub fn with_word<R>(word: u32, f: impl FnOnce() -> R) -> (R, u32) {
    let before = WORD.replace(word);
    let result = f();
    (result, WORD.replace(before))
}

/// a × b + c with one rounding.
pub fn fma(_ty: Ty, _a: u64, _b: u64, _c: u64) -> u64 {
    todo!()
}
