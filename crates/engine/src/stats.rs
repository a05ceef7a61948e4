//! Counters of an engine.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since an engine was made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Blocks translated to IR.
    pub blocks_lifted: u64,
    /// Guest instructions in them.
    pub insts_lifted: u64,
    /// Guest bytes in them.
    pub bytes_lifted: u64,
    /// Nanoseconds spent on translating to IR.
    pub lift_ns: u64,
    /// Units compiled.
    pub units_compiled: u64,
    /// Blocks in them; a block may be in several.
    pub blocks_compiled: u64,
    /// Guest instructions in them.
    pub insts_compiled: u64,
    /// Host bytes of compiled code.
    pub host_bytes: u64,
    /// Nanoseconds spent on compiling.
    pub compile_ns: u64,
    /// The most blocks that waited for the compile thread.
    pub queue_peak: u64,
    /// Guest instructions interpreted.
    pub insts_interpreted: u64,
    /// Entries into compiled code from the run loop.
    pub compiled_entries: u64,
    /// Translations retired because guest code changed.
    pub blocks_invalidated: u64,
}

impl fmt::Display for Stats {
    /// A table of several lines, without a line break at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        let per = |ns: u64, n: u64| ns as f64 / n.max(1) as f64;
        let Stats { blocks_lifted, insts_lifted, bytes_lifted, lift_ns, .. } = *self;
        let Stats { units_compiled, blocks_compiled, insts_compiled, compile_ns, .. } = *self;
        writeln!(
            f,
            "translated   {blocks_lifted:>12} blocks {insts_lifted:>14} guest instructions \
             {bytes_lifted:>10} bytes {:>9.1} ms {:>8.0} ns each",
            ms(lift_ns),
            per(lift_ns, insts_lifted)
        )?;
        writeln!(
            f,
            "compiled     {blocks_compiled:>12} blocks {insts_compiled:>14} guest instructions \
             {units_compiled:>10} units {:>9.1} ms {:>8.0} ns each",
            ms(compile_ns),
            per(compile_ns, insts_compiled)
        )?;
        writeln!(
            f,
            "host code    {:>12} bytes  {:>14.1} bytes per guest instruction, queue at most {}",
            self.host_bytes,
            self.host_bytes as f64 / insts_compiled.max(1) as f64,
            self.queue_peak
        )?;
        write!(
            f,
            "interpreted  {:>12} guest instructions; {} entries into compiled code, \
             {} blocks invalidated",
            self.insts_interpreted, self.compiled_entries, self.blocks_invalidated
        )
    }
}

macro_rules! counters {
    ($($name:ident)*) => {
        /// The live counters behind [`Stats`].
        #[derive(Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)* }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    blocks_lifted insts_lifted bytes_lifted lift_ns units_compiled blocks_compiled insts_compiled
    host_bytes compile_ns queue_peak insts_interpreted compiled_entries blocks_invalidated
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
