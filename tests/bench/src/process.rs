//! [`Usage`]: what this process has used, by `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// What one tick of `/proc/self/stat` lasts: Linux shows 100 a second on every platform.
const TICK: Duration = Duration::from_millis(10);

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
            cpu: cpu_time()?,
            resident_len: resident_pages * PAGE_LEN,
            descriptor_count: fs::read_dir("/proc/self/fd")?.count(),
            thread_count: fs::read_dir("/proc/self/task")?.count(),
        })
    }
}

/// Returns the processor time of this process so far, in steps of 10 ms.
///
/// # Errors
///
/// There is no `/proc`, or it is not that of Linux.
pub fn cpu_time() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field, the program's name in brackets, may hold spaces. utime is the 14th, stime the 15th.
    let (_, rest) = stat.rsplit_once(") ").ok_or_else(unreadable)?;
    let mut fields = rest.split(' ').skip(11);
    let user: u32 = field(fields.next())?;
    let system: u32 = field(fields.next())?;
    Ok(TICK * user + TICK * system)
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
