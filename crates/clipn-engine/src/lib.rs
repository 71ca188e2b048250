//! The towers on the CPU. [`VisionTower`], [`ResNetTower`] and [`TransformerText`] are the fast f32 form: threads take chunks of the
//! batch, and each runs whole towers on its chunk with one-thread matrix products. [`plain`] is the slow, obvious form
//! in f32 and f64, which the tests hold the fast one against. Both forms of
//! ViT and text towers can be trained: [`clipn_model::TrainImage`] and
//! [`clipn_model::TrainText`] keep a tape on the way forward and take gradients back over it, written out by hand.

mod block;
mod chunks;
mod head;
mod kernels;
mod peak;
pub mod plain;
mod products;
mod text;
mod vision;

pub use peak::product_peak;
pub use text::{TextEncoder, TextTape, TransformerText};
pub use vision::{
    ResNetTower, VisionEncoder, VisionTape, VisionTower, image_tower, image_tower_alone,
};

#[cfg(test)]
mod simd_levels {
    #[test]
    fn the_kernels_agree_at_every_level() {
        clipn_testing::levels::rerun_at_every_level(&["kernels"]);
    }

    #[test]
    fn the_requested_level_is_used() {
        clipn_testing::levels::assert_requested_level_is_used();
    }
}
