//! Network file systems whose locks hold on one machine only.

use std::path::Path;

/// Why a lock in a directory does not exclude processes on other machines; `None` if it does, or if the
/// system does not say.
pub(super) fn local_locks(directory: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    from_mounts(&mounts, &directory.canonicalize().ok()?)
}

/// Looks for the mount of a path in the text of proc(5)'s `mountinfo`.
fn from_mounts(mounts: &str, path: &Path) -> Option<String> {
    let mut found: Option<(usize, &str, String)> = None;
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut fields = before.split(' ');
        let Some(point) = fields.nth(4).map(unescaped) else {
            continue;
        };
        let mut end = after.split(' ');
        let (Some(kind), Some(options)) = (end.next(), end.nth(1)) else {
            continue;
        };
        // A later mount covers an earlier one of the same point.
        let is_closer = found
            .as_ref()
            .is_none_or(|(length, ..)| point.len() >= *length);
        if path.starts_with(&point) && is_closer {
            let all = format!("{},{options}", fields.next().unwrap_or_default());
            found = Some((point.len(), kind, all));
        }
    }
    let (_, kind, options) = found?;
    let has = |wanted: &[&str]| {
        options
            .split(',')
            .find(|option| wanted.contains(option))
            .map(str::to_owned)
    };
    let option = match kind {
        "nfs" | "nfs4" => has(&["nolock", "local_lock=all", "local_lock=flock"])?,
        "cifs" | "smb3" => has(&["nobrl", "nolock"])?,
        "lustre" => has(&["localflock"])?,
        "fuse.sshfs" => return Some(format!("the file system {kind} locks on one machine only")),
        _ => return None,
    };
    Some(format!(
        "the file system {kind} is mounted with {option} and locks on one machine only"
    ))
}

/// Decodes the octal escapes of spaces and the like.
fn unescaped(point: &str) -> String {
    point
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /share rw,relatime shared:1 - nfs4 srv:/a rw,vers=4.2,local_lock=none,addr=1.2.3.4
31 22 0:41 / /old\\040share rw - nfs srv:/b rw,vers=3,nolock,local_lock=all
32 30 0:42 / /share/win rw - cifs //srv/c rw,nobrl
33 22 0:43 / /ssh rw - fuse.sshfs host: rw,user_id=0
";

    #[test]
    fn names_file_systems_that_lock_on_one_machine_only() {
        let says = |path: &str| from_mounts(MOUNTS, Path::new(path));
        assert_eq!(says("/home/a"), None);
        assert_eq!(says("/share/a"), None);
        assert_eq!(says("/shared"), None);
        let expected = "is mounted with nolock and locks on one machine only";
        assert!(says("/old share/runs").unwrap().contains(expected));
        assert!(says("/share/win/a").unwrap().contains("cifs"));
        assert!(says("/ssh").unwrap().contains("fuse.sshfs"));
        assert_eq!(from_mounts("nonsense\n - \n", Path::new("/a")), None);
    }
}
