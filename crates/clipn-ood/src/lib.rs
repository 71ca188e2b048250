//! Out-of-distribution (OOD) detection for zero-shot classifiers: scores, metrics and calibrated
//! thresholds.
//!
//! The crate is pure arithmetic over logits. It knows no model: any classifier that yields one
//! logit per class can use it, with or without the "no" logits of CLIPN and the logits of negatives,
//! texts that name none of the classes.
//!
//! ```text
//! logits of an image ──► scores::Score ──► scores::DecisionRule ──► label or "unknown"
//!   yes [K], no [K],       (one number)        ▲
//!   negatives [M]               │              │
//!                               │              │ threshold with a guarantee
//!                               ├────► calibration::calibrate ──► p-values, intervals, warnings
//!                               └────► metrics::RankedScores ──► AUROC, AUPR, FPR95
//! ```
//!
//! | module | for |
//! |---|---|
//! | [`scores`] | MSP, MaxLogit, energy, MCM, GEN, LogitGap, KL-matching, NegLabel and others with negatives, and CLIPN's CTW and ATD, in the published `f32` arithmetic and in a log-space `f64` form that does not saturate |
//! | [`fitted`] | scores that are fitted to features of known images: KNN, MDS, RMDS, ViM, Residual, SHE, NNGuide, fDBD, ReAct, KL-matching |
//! | [`streams`] | scores that learn from a stream of images, in bounded memory: AdaNeg, TANL |
//! | [`calibration`] | thresholds by split conformal prediction or a tolerance limit, conformal p-values, control of the false discovery rate |
//! | [`metrics`] | AUROC, AUPR and FPR at a TPR in the three conventions of the field, ID accuracy |
//!
//! # Example
//!
//! ```
//! use clipn_ood::calibration::{CalibrationSettings, calibrate};
//! use clipn_ood::scores::{Ctw, LogitsRow, stable};
//!
//! // Logits of 100 images of the known classes: "yes" against "no" for two classes.
//! let known: Vec<[f32; 4]> = (0..100)
//!     .map(|i| [30.0 + i as f32 / 50.0, 20.0, 28.0, 22.0])
//!     .collect();
//! let row = |logits: &'static [f32]| LogitsRow::new(&logits[..2], &logits[2..]);
//! let scores: Vec<f64> = known
//!     .iter()
//!     .map(|logits| stable(&Ctw, LogitsRow::new(&logits[..2], &logits[2..])))
//!     .collect();
//!
//! // A threshold that keeps 95 % of further images of these classes on average.
//! let settings = CalibrationSettings::default().with_score(&Ctw);
//! let calibration = calibrate(&scores, &[], &settings)?;
//! let rule = calibration.rule();
//! assert_eq!(rule.decide(row(&[31.0, 20.0, 28.0, 22.0])).label, Some(0));
//! assert_eq!(rule.decide(row(&[31.0, 20.0, 31.0, 22.0])).label, None);
//! # Ok::<(), clipn_ood::calibration::CalibrationError>(())
//! ```
//!
//! The crate has no features.

pub mod calibration;
pub mod fitted;
pub mod metrics;
pub mod scores;
pub mod streams;
