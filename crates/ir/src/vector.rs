//! Evaluators of the vector operations, as lanes in plain Rust.

/// The 128 bits with `low` and `high` halves.
#[inline(always)]
pub(crate) fn pair(low: u128, high: u128) -> u128 {
    low | high << 64
}
