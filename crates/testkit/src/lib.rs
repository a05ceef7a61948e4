//! What the tests of Mynah share: test pages, the host CPU as an oracle, row tests, generators and
//! the comparison of tiers.

pub mod native;
pub mod pages;
