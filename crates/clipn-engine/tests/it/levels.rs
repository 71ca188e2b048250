//! The random towers and gradients, once per SIMD level.

#[test]
fn towers_and_gradients_agree_with_the_plain_form_at_every_level() {
    clipn_testing::levels::rerun_at_every_level(&["engine_random", "gradients_random", "int8"]);
}

#[test]
fn the_requested_level_is_used() {
    clipn_testing::levels::assert_requested_level_is_used();
}
