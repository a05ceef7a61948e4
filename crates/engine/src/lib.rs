//! Running guest code: vCPUs, the block table, tier policy and invalidation.
//!
//! An [`Engine`] holds what the vCPUs of a machine share: translations and compiled code. A
//! [`Vcpu`] runs guest code on the calling thread and hands every [`Event`] it cannot deal with to
//! its [`Env`], the machine around it.
//!
//! A block is translated to IR when it is first reached and interpreted (tier 0). When it has run
//! [`Config::threshold`] times it becomes the head of a unit that the compile thread makes of it
//! and of the blocks reachable from it. Translations are found through the block table, and
//! without it through links between blocks and each vCPU's jump caches. Invalidation retires a
//! translation: it is taken out of the table, links to it are cut, and jump caches forget it.

mod compile;
mod engine;
mod env;
mod generation;
mod lookup;
mod shared;
mod stats;
mod sync;
mod table;
mod translate;
mod vcpu;

pub use engine::{Config, Engine, Tier};
pub use env::{CodeSource, Env, Event, Exit, Flow, Watch};
pub use mynah_guest::{Cpu, Fault, Guest};
pub use stats::Stats;
pub use vcpu::Vcpu;
