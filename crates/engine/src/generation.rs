//! Generations of translations and compiled code.
//!
//! Links, caches and compiled code lead to translations and units without counting it. So they are
//! leaked, and freed all together when a new generation begins and no vCPU is in the older one.
#![expect(unsafe_code, reason = "frees what plain references lead to")]

use crate::Engine;
use mynah_guest::Guest;
use std::ptr::NonNull;
use std::sync::{Weak, atomic::Ordering};
use std::time::Duration;

/// The right to free a leaked value.
#[derive(Debug)]
pub(crate) struct Leaked<T: 'static>(NonNull<T>);

// SAFETY: it stands for a box, and gives access to the value only when that is dropped.
unsafe impl<T: Send + Sync> Send for Leaked<T> {}
// SAFETY: a shared one can do nothing.
unsafe impl<T: Send + Sync> Sync for Leaked<T> {}

impl<T> Leaked<T> {
    /// Leaks `value`.
    pub(crate) fn new(value: T) -> (&'static T, Leaked<T>) {
        let owner = NonNull::from(Box::leak(Box::new(value)));
        // SAFETY: freed by [`Leaked::free`] alone, whose caller answers for that.
        (unsafe { owner.as_ref() }, Leaked(owner))
    }

    /// Drops the value.
    ///
    /// # Safety
    /// No reference to it is used any more.
    pub(crate) unsafe fn free(self) {
        // SAFETY: it was a box, and the caller says that this is the only use left.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<G: Guest> Engine<G> {
    /// Begins a new generation if there are too many translations. The calling thread is in none.
    pub(crate) fn begin_generation(&self) {
        let _compiler = self.compile.compiler.lock();
        if self.full.swap(false, Ordering::Relaxed)
            && self.table.read().is_full(self.config.translations)
        {
            self.flush();
        }
    }

    /// Begins a new generation: all translations and compiled code are forgotten and freed. The
    /// caller holds the compiler.
    pub(crate) fn flush(&self) {
        let mut table = self.table.write();
        let retired = table.clear();
        let translations = table.take();
        drop(table);
        self.forget(&retired);
        let now = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        let vcpus: Vec<_> = self.vcpus.lock().iter().filter_map(Weak::upgrade).collect();
        for vcpu in vcpus {
            while vcpu.is_behind(now) {
                vcpu.kick();
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        let units = self.compile.discard();
        // SAFETY: no thread is in the older generation, whose translations and units alone led to
        // each other. The table and the queue have none of them. A vCPU's caches are emptied before
        // it enters this generation, and the compiler, which the caller holds, does nothing now.
        unsafe {
            translations.into_iter().for_each(|translation| translation.free());
            units.into_iter().for_each(|unit| unit.free());
        }
    }
}
