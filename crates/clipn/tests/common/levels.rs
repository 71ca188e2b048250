//! The tests of one program run again at every SIMD level of this processor.

use std::process::Command;

use clipn::simd::{SIMD_VARIABLE, SimdLevel};

/// Part of the names of the tests that call [`run_again_at_every_level`], which must not do so again.
const OUTER: &str = "at_every_level";

/// Runs the other tests of this program once for each level, and sees that each used the level it was told.
pub fn run_again_at_every_level() {
    let program = std::env::current_exe().unwrap();
    for level in SimdLevel::available() {
        let run = Command::new(&program)
            .args(["--skip", OUTER])
            .env(SIMD_VARIABLE, level.name())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "at level {}:\n{told}", level.name());
        assert!(
            told.contains("the_level_asked_for_is_used ... ok"),
            "at level {}:\n{told}",
            level.name()
        );
        println!("passed with {}", level.name());
    }
}

#[test]
fn the_level_asked_for_is_used() {
    if let Some(level) = SimdLevel::requested().unwrap() {
        assert_eq!(SimdLevel::current(), level);
    }
}
