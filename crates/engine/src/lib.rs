//! Running guest code: vCPUs, the block table, tier policy and invalidation.
//!
//! An [`Engine`] holds what the vCPUs of a machine share: translations and compiled code. A
//! [`Vcpu`] runs guest code on the calling thread and hands every [`Event`] it cannot deal with to
//! its [`Env`], the machine around it.

mod engine;
mod env;
mod vcpu;

pub use engine::{Config, Engine, Stats, Tier};
pub use env::{CodeSource, Env, Event, Exit, Flow, Watch};
pub use mynah_guest::{Cpu, Fault, Guest};
pub use vcpu::Vcpu;
