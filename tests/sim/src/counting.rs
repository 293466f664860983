//! [`Counting`]: the system's allocator, for tests of what something takes of memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is in use, and the most that ever was. A test that makes it the global allocator must be alone in its process,
/// or take turns with the others.
#[derive(Debug)]
pub struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    /// Returns how many bytes are in use.
    #[must_use]
    pub fn in_use() -> usize {
        IN_USE.load(Ordering::Relaxed)
    }

    /// Returns how many bytes were in use at most since [`Self::start`].
    #[must_use]
    pub fn most() -> usize {
        MOST.load(Ordering::Relaxed)
    }

    /// Forgets how many bytes were in use at most, and returns how many are now.
    #[must_use]
    pub fn start() -> usize {
        let in_use = Self::in_use();
        MOST.store(in_use, Ordering::Relaxed);
        in_use
    }
}

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(in_use, Ordering::Relaxed);
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: it came from `alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}
