//! Reruns the tests of a test binary at every SIMD level of this processor.

use std::process::Command;

use clipn::simd::{SIMD_VARIABLE, SimdLevel};

/// Substring of the names of the tests that call [`run_again_at_every_level`]; the reruns skip
/// them.
const SKIPPED: &str = "at_every_level";

/// Runs the other tests of this binary once per level and checks that each run used its level.
pub fn run_again_at_every_level() {
    let program = std::env::current_exe().unwrap();
    for level in SimdLevel::available() {
        let run = Command::new(&program)
            .args(["--skip", SKIPPED])
            .env(SIMD_VARIABLE, level.name())
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "at level {}:\n{stdout}", level.name());
        assert!(
            stdout.contains("the_requested_level_is_used ... ok"),
            "at level {}:\n{stdout}",
            level.name()
        );
        println!("passed with {}", level.name());
    }
}

#[test]
fn the_requested_level_is_used() {
    if let Some(level) = SimdLevel::requested().unwrap() {
        assert_eq!(SimdLevel::current(), level);
    }
}
