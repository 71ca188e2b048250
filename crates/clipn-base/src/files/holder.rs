//! Who holds a lock.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

/// The process that holds a lock, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LockHolder {
    /// Process id on its host.
    pub process: Option<u32>,
    /// Name of its host; `None` if it is unknown or this one.
    pub host: Option<String>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.process, &self.host) {
            (Some(process), Some(host)) => write!(f, "process {process} on {host}"),
            (Some(process), None) => write!(f, "process {process}"),
            (None, _) => f.write_str("another process"),
        }
    }
}

/// Maximum bytes of a lock file that are read.
const MAX_RECORD: u64 = 1024;
/// Maximum characters of a host's name that are shown.
const MAX_HOST: usize = 80;

impl LockHolder {
    fn this() -> Self {
        Self {
            process: Some(std::process::id()),
            host: host_name(),
        }
    }

    /// Writes this process into a lock file. Errors are ignored: the lock holds without.
    pub(super) fn record(mut file: &File) {
        let Self { process, host } = Self::this();
        let record = format!(
            "process {}\nhost {}\n",
            process.unwrap_or_default(),
            host.unwrap_or_default()
        );
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(record.as_bytes()));
    }

    /// Reads the process that a lock file names.
    pub(super) fn from_record(mut file: &File) -> Self {
        let mut text = Vec::new();
        let read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.take(MAX_RECORD).read_to_end(&mut text));
        if read.is_err() {
            return Self::default();
        }
        Self::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        Self {
            process: field("process ").and_then(|process| process.parse().ok()),
            host: field("host ")
                .filter(|host| !host.is_empty())
                .map(|host| crate::text::escape_control(host, MAX_HOST).into_owned()),
        }
    }

    /// Finds the process that holds a lock on a file in the kernel's list, as only Linux has one. Those
    /// in other containers have no process id here.
    pub(super) fn from_kernel(file: &File) -> Self {
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::fs::MetadataExt;

            let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
            if let Ok(metadata) = file.metadata() {
                return Self {
                    process: process_of(&locks, metadata.st_ino()),
                    host: None,
                };
            }
        }
        let _ = file;
        Self::default()
    }
}

/// Finds the holder of a lock on an inode in the text of `/proc/locks`, whose lines are
/// `1: FLOCK ADVISORY WRITE 1234 fe:00:5678 0 EOF`. Waiting processes have `->`.
#[cfg(target_os = "linux")]
fn process_of(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().filter(|word| *word == "FLOCK")?;
        let process = words.nth(2)?;
        let found = words.next()?.rsplit(':').next()?.parse::<u64>().ok()?;
        (found == inode).then(|| process.parse().ok()).flatten()
    })
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_record_of_a_lock_file() {
        let holder = LockHolder::parse("process 17\nhost node7\n");
        assert_eq!(holder.to_string(), "process 17 on node7");
        for other in ["", "process x\nhost y\n", "\0\0"] {
            assert_eq!(LockHolder::parse(other).to_string(), "another process");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn finds_the_holder_in_the_list_of_the_kernel() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 fe:00:78 0 EOF\n";
        assert_eq!(process_of(locks, 77), Some(12));
        assert_eq!(process_of(locks, 78), None);
        assert_eq!(process_of("nonsense\n1: FLOCK", 77), None);
    }
}
