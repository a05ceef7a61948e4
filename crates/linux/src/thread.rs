//! A guest thread, apart from its vCPU.

use crate::signal::{AltStack, Pending, SigSet};
use crate::{Process, host};
use std::sync::Arc;
use std::time::Instant;

/// A guest thread: a host thread's own.
pub(crate) struct Thread {
    /// Its process.
    pub process: Arc<Process>,
    /// The signals that the host has handed to Mynah for it.
    pub pending: Box<Pending>,
    /// The signals it blocks.
    pub mask: SigSet,
    /// The stack for handlers that ask for it.
    pub alt_stack: AltStack,
    /// Where 0 is written and a futex woken when it ends; 0 for nowhere.
    pub clear_tid: u64,
    /// Its robust futexes: address of the list's head; 0 for none.
    pub robust_list: u64,
    /// When the call that is being made began for the first time, if it waits for a while and was
    /// interrupted.
    pub began: Option<Instant>,
}

impl Thread {
    /// The host's number of the calling thread, which is the guest's.
    pub(crate) fn id() -> i32 {
        host::call(libc::SYS_gettid, [0; 6]).map_or(0, |tid| tid as i32)
    }

    /// Sets what it blocks, for the host too.
    pub(crate) fn set_mask(&mut self, mask: SigSet) {
        self.mask = mask.less(SigSet::FIXED);
        crate::signal::set_host_mask(self.mask);
        self.pending.recheck(self.mask);
    }

    /// The end of a guest thread: hands back signals and tells those who wait for it.
    pub(crate) fn end(&mut self) {
        while let Some(info) = self.pending.take(SigSet::default()) {
            crate::signal::pass_on(&info);
        }
        self.leave_robust_list();
        if self.clear_tid != 0 {
            _ = self.process.space.store(self.clear_tid, 0_u32);
            futex_wake(self.clear_tid, 1);
        }
    }

    /// Marks the robust futexes it still holds as left behind, as the kernel does when a task
    /// ends (get_robust_list(2)): the kernel itself will only see the host thread's end, when the
    /// list may be gone.
    fn leave_robust_list(&mut self) {
        const MAX: usize = 2048;
        let head = std::mem::take(&mut self.robust_list);
        if head == 0 {
            return;
        }
        // The kernel is told that there is none any more.
        _ = host::call(libc::SYS_set_robust_list, [0, 24, 0, 0, 0, 0]);
        let space = &self.process.space;
        let (Ok(mut entry), Ok(offset), Ok(last)) = (
            space.load::<u64>(head),
            space.load::<u64>(head.wrapping_add(8)),
            space.load::<u64>(head.wrapping_add(16)),
        ) else {
            return;
        };
        for _ in 0..MAX {
            if entry & !1 == head {
                break;
            }
            let next = space.load::<u64>(entry & !1);
            if entry & !1 != last & !1 {
                self.leave_futex((entry & !1).wrapping_add(offset));
            }
            match next {
                Ok(next) => entry = next,
                Err(_) => return,
            }
        }
        if last & !1 != 0 {
            self.leave_futex((last & !1).wrapping_add(offset));
        }
    }

    fn leave_futex(&self, va: u64) {
        const WAITERS: u64 = 1 << 31;
        const OWNER_DIED: u64 = 1 << 30;
        const TID_MASK: u64 = (1 << 30) - 1;
        let own = Thread::id() as u64;
        let died = |word: u64| match word & TID_MASK == own {
            true => word & WAITERS | OWNER_DIED,
            false => word,
        };
        use mynah_mem::Memory as _;
        if let Ok(old) = mynah_mem::Flat.update(va, 4, died)
            && old & TID_MASK == own
            && old & WAITERS != 0
        {
            futex_wake(va, 1);
        }
    }
}

fn futex_wake(va: u64, count: u64) {
    let wake = libc::FUTEX_WAKE as u64;
    _ = host::call(libc::SYS_futex, [va, wake, count, 0, 0, 0]);
}
