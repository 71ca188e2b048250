//! Runs the tests of a binary again at every SIMD level of this processor.

use std::process::Command;

use clipn_base::simd::{SIMD_ENV_VAR, SimdLevel};

/// Part of the names of the tests that call [`rerun_at_every_level`], which must not start themselves.
const OUTER: &str = "at_every_level";

/// Name of the test of each such binary that calls [`assert_requested_level_is_used`].
const WITNESS: &str = "the_requested_level_is_used";

/// Runs the tests of this binary whose names contain one of `filters` once per SIMD level, and checks
/// that they passed and that the level was used.
pub fn rerun_at_every_level(filters: &[&str]) {
    let program = std::env::current_exe().unwrap();
    for level in SimdLevel::available() {
        let run = Command::new(&program)
            .args(filters)
            .args([WITNESS, "--skip", OUTER])
            .env(SIMD_ENV_VAR, level.as_str())
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&run.stdout);
        assert!(
            run.status.success(),
            "at level {}:\n{output}",
            level.as_str()
        );
        assert!(
            output.contains(&format!("{WITNESS} ... ok")),
            "at level {}:\n{output}",
            level.as_str()
        );
        for filter in filters {
            assert!(
                output
                    .lines()
                    .any(|line| line.contains(filter) && line.ends_with("... ok")),
                "no test ran for `{filter}` at level {}:\n{output}",
                level.as_str()
            );
        }
        println!("passed with {}", level.as_str());
    }
}

/// Checks that the level named in the environment, if any, is the one in use.
pub fn assert_requested_level_is_used() {
    if let Some(level) = SimdLevel::requested().unwrap() {
        assert_eq!(SimdLevel::current(), level);
    }
}
