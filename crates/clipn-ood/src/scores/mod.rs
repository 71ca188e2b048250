//! OOD scores: one number per image from its logits, higher for in-distribution images.
//!
//! The trait [`Score`] has the implementations [`Msp`], [`MaxLogit`], [`Energy`], [`Mcm`], [`Ctw`]
//! and [`Atd`]. A [`DecisionRule`] turns a score into a label or "unknown". Each score has the
//! published `f32` arithmetic ([`Score::faithful`]) and a log-space `f64` form that does not
//! saturate ([`Score::stable`]).
//!
//! ```
//! use clipn_ood::scores::{DecisionRule, LogitsRow};
//!
//! // "Yes" and "no" logits of one image for two classes.
//! let row = LogitsRow::new(&[25.0, 30.0], &[26.0, 28.0]);
//! let decision = DecisionRule::Ctw { threshold: 0.5 }.decide(row);
//! assert_eq!(decision.label, Some(1));
//! // The probability of "yes" against "no" for class 1: 1 / (1 + exp(28 - 30)).
//! assert!((decision.score - 0.8808).abs() < 1e-4);
//! ```
mod atd;
mod ctw;
mod decision;
mod energy;
mod error;
mod maxlogit;
mod mcm;
mod msp;
mod registry;
mod row;
mod score;
mod softmax;

pub use atd::Atd;
pub use ctw::Ctw;
pub use decision::{Decision, DecisionRule};
pub use energy::{Energy, HandcraftedEnergy};
pub use error::ScoreError;
pub use maxlogit::MaxLogit;
pub use mcm::Mcm;
pub use msp::Msp;
pub use registry::{all, by_name, parse_list};
pub use row::{LogitsRow, agreement, predict, softmax_yes, top_k};
pub use score::{Score, stable, stable_each};

/// Published factor between cosine similarities and logits.
///
/// Inference multiplies by 100 rather than by the model's `exp(logit_scale)`, which is 100 for the
/// published weights.
pub const LOGIT_SCALE: f64 = 100.0;
