//! Placeholder.

/// Optimises the block.
pub fn optimise<G: mynah_guest::Guest>(_block: &mut mynah_ir::Block) {}
