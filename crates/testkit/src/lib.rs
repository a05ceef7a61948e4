//! What the tests of Mynah share: test pages, the host CPU as an oracle, row tests, generators and
//! the comparison of tiers.

pub mod check;
pub mod fuzz;
pub mod generate;
pub mod metadata;
pub mod native;
pub mod pages;
pub mod random;
pub mod riscv;
pub mod rows;
pub mod runner;
pub mod subject;
pub mod tier;
pub mod x86;
