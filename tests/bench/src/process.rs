//! [`Usage`]: what this process has used, by `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Bytes of a page, as `/proc/self/statm` counts.
const PAGE_LEN: u64 = 4096;

/// What a process has used by now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time on a processor, in the kernel as well, of all threads.
    pub cpu: Duration,
    /// Memory in RAM, in bytes.
    pub resident_len: u64,
    /// Open descriptors.
    pub descriptor_count: usize,
    /// Threads, those of the measuring program included.
    pub thread_count: usize,
}

impl Usage {
    /// Reads what this process has used.
    ///
    /// # Errors
    ///
    /// There is no `/proc`, or it is not that of Linux.
    pub fn now() -> io::Result<Self> {
        let statm = fs::read_to_string("/proc/self/statm")?;
        let resident_pages: u64 = field(statm.split(' ').nth(1))?;
        Ok(Self {
            cpu: cpu_time(),
            resident_len: resident_pages * PAGE_LEN,
            descriptor_count: fs::read_dir("/proc/self/fd")?.count(),
            thread_count: fs::read_dir("/proc/self/task")?.count(),
        })
    }
}

/// Returns the processor time of this process so far: all threads, the kernel's part included.
#[must_use]
pub fn cpu_time() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Returns the processor time of the calling thread so far, the kernel's part included.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Duration {
    // These two clocks exist on every Linux and count from zero.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

fn field<T: std::str::FromStr>(text: Option<&str>) -> io::Result<T> {
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(unreadable)
}

fn unreadable() -> io::Error {
    io::Error::other("/proc/self is not as Linux writes it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_something() {
        let usage = Usage::now().unwrap();
        assert!(usage.resident_len > PAGE_LEN);
        assert!(usage.descriptor_count >= 3);
        assert!(usage.thread_count >= 1);
    }
}
