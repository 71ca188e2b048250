//! OOD scores: one number per image from its logits, higher for in-distribution images.
//!
//! | score | needs | higher if |
//! |---|---|---|
//! | [`Msp`], [`Mcm`], [`Margin`], [`Gen`], [`LogitGap`] | at least two classes | one class stands out |
//! | [`MaxLogit`], [`Energy`] | | the image resembles a class |
//! | [`FittedScore`] | a fit to known images ([`crate::fitted`]) | the image resembles them |
//! | [`KlMatching`] | known images, at least two classes | the softmax is typical of its class |
//! | [`NegLabel`], [`Cma`], [`Eoe`] | negatives | the classes outweigh the negatives |
//! | [`Ctw`], [`Atd`] | "no" logits | the "no" texts do not contradict |
//! | [`GatedEnergy`] | "no" logits | the image resembles a class that its "no" text does not contradict |
//! | [`CtwNeg`], [`AtdNeg`], [`Ole`] | "no" logits and negatives | both |
//! | [`LMcm`], [`GlMcm`] | logits of patches, at least two classes | some part of the image resembles one class |
//!
//! A score needs the "yes" logits of a row and what the table lists; [`ScoreInputs`] checks it. All
//! implement the trait [`Score`]. A [`DecisionRule`] turns a score into a label or "unknown". Each score has the
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
mod atd_neg;
mod cma;
mod ctw;
mod ctw_neg;
mod decision;
mod energy;
mod eoe;
mod error;
mod exp;
mod fitted;
mod gated_energy;
mod generalized_entropy;
mod grouped;
mod inputs;
mod kl_matching;
mod local;
mod local_logits;
mod logitgap;
mod margin;
mod maxlogit;
mod mcm;
mod msp;
mod negatives;
mod neglabel;
mod ole;
mod registry;
mod row;
mod score;
mod softmax;

pub use atd::Atd;
pub use atd_neg::AtdNeg;
pub use cma::Cma;
pub use ctw::Ctw;
pub use ctw_neg::CtwNeg;
pub use decision::{Decision, DecisionRule};
pub use energy::{Energy, HandcraftedEnergy};
pub use eoe::Eoe;
pub use error::ScoreError;
pub use fitted::{FittedScore, FittedScoreSet, FittedValues};
pub use gated_energy::GatedEnergy;
pub use generalized_entropy::Gen;
pub use inputs::ScoreInputs;
pub(crate) use kl_matching::ClassSums;
pub use kl_matching::KlMatching;
pub use local::{GlMcm, LMcm};
pub use local_logits::LocalLogits;
pub use logitgap::LogitGap;
pub use margin::Margin;
pub use maxlogit::MaxLogit;
pub use mcm::Mcm;
pub use msp::Msp;
pub use negatives::NegativeLogits;
pub use neglabel::NegLabel;
pub use ole::Ole;
pub use registry::{all, by_name, is_built_in, parse_list};
pub(crate) use row::argmax;
pub use row::{LogitsRow, agreement, predict, softmax_yes, top_k};
pub use score::{Score, stable, stable_each};
pub use softmax::{logsumexp, sigmoid};

/// Published factor between cosine similarities and logits.
///
/// Inference multiplies by 100 rather than by the model's `exp(logit_scale)`, which is 100 for the
/// published weights.
pub const LOGIT_SCALE: f64 = 100.0;
