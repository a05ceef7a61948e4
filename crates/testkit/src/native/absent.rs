//! A host whose CPU does not execute x86 code.

use super::{Regs, Stop};
use crate::pages::Pages;

/// No oracle.
#[derive(Debug)]
pub struct Native(std::convert::Infallible);

impl Native {
    /// Nothing: the host is no oracle.
    pub fn new() -> Option<Native> {
        None
    }

    /// Cannot be called.
    pub fn run(&mut self, _: &mut Pages, _: &[u8], _: &Regs) -> (Stop, Regs) {
        match self.0 {}
    }
}
