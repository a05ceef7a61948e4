//! Systems that others made, on the emulated PC: what starts them, and what they start.
//!
//! `cargo xtask guests` fetches them. Without them, which only happens where there is no apt, the
//! tests say so and pass.

mod archive;
mod killed;
mod linux;
#[path = "../machine/mod.rs"]
mod machine;
mod media;
mod modules;
mod stress;
